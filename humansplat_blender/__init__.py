"""The Blender side of HumanSplat: bpy, numpy and the standard library; never PyTorch."""


def register() -> None:
    """Register classes, properties and handlers."""
    from . import ui

    ui.register()


def unregister() -> None:
    """Undo :func:`register` and end the backend."""
    from . import ui

    ui.unregister()
