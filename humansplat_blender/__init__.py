"""The Blender side of HumanSplat: bpy, numpy and the standard library; never PyTorch."""


def register() -> None:
    """Register classes, properties, handlers and the command."""
    from . import cli, ui

    ui.register()
    cli.register()


def unregister() -> None:
    """Undo :func:`register` and end the backend."""
    from . import cli, ui

    cli.unregister()
    ui.unregister()
