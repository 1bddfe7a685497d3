"""HumanSplat: one photo of a person becomes a posable Gaussian-splat avatar. The extension's entry point."""


def register() -> None:
    """Called by Blender when the extension is switched on."""
    from . import humansplat_blender

    humansplat_blender.register()


def unregister() -> None:
    """Called by Blender when the extension is switched off."""
    from . import humansplat_blender

    humansplat_blender.unregister()
