"""HumanSplat: one photo of a person becomes a posable Gaussian-splat avatar. The extension's entry point."""

from .humansplat_blender.gltf import glTF2ExportUserExtension

__all__ = ["glTF2ExportUserExtension", "register", "unregister"]


def register() -> None:
    """Called by Blender when the extension is switched on."""
    from . import humansplat_blender

    humansplat_blender.register()


def unregister() -> None:
    """Called by Blender when the extension is switched off."""
    from . import humansplat_blender

    humansplat_blender.unregister()
