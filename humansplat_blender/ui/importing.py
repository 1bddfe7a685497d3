"""Ways in besides the panel: the File menu, and files dropped on the 3D view."""

from __future__ import annotations

import bpy

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif")


class HUMANSPLAT_FH_package(bpy.types.FileHandler):
    """The file avatar.json of a package, dropped on a 3D view."""

    bl_idname = "HUMANSPLAT_FH_package"
    bl_label = "HumanSplat Avatar"
    bl_import_operator = "humansplat.import_avatar"
    bl_file_extensions = ".json"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Anywhere in a 3D view."""
        return context.area is not None and context.area.type == "VIEW_3D"


class HUMANSPLAT_FH_photo(bpy.types.FileHandler):
    """A picture, dropped on the sidebar of a 3D view; elsewhere Blender makes a reference image of it."""

    bl_idname = "HUMANSPLAT_FH_photo"
    bl_label = "HumanSplat Photo"
    bl_import_operator = "humansplat.choose_photo"
    bl_file_extensions = ";".join(PHOTO_ENDINGS)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """In the sidebar alone."""
        region = context.region
        return (
            context.area is not None and context.area.type == "VIEW_3D" and region is not None and region.type == "UI"
        )


def _draw_import(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator("humansplat.import_avatar", text="HumanSplat Avatar (folder)", icon="OUTLINER_OB_ARMATURE")


def register() -> None:
    """Add the menu entry."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)


def unregister() -> None:
    """Take it away."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)


CLASSES = (HUMANSPLAT_FH_package, HUMANSPLAT_FH_photo)
