"""Ways in besides the panel: the File menu, files dropped on the 3D view, splats of other programs."""

from __future__ import annotations

from pathlib import Path

import bpy

from ...backend.avatar.formats.axes import AXES
from ...backend.avatar.formats.read import SUFFIXES
from .. import scene
from ..scene.importer import selection_kept
from ..scene.static_splats import AUTO
from . import preferences, runtime
from .avatar import to_object_mode

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


class HUMANSPLAT_OT_import_splats(bpy.types.Operator):
    """Import Gaussian splats of any program (3DGS PLY, compressed PLY, SPZ, .splat) as an object, at the 3D cursor"""

    bl_idname = "humansplat.import_splats"
    bl_label = "Import Splats"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(
        default=";".join(f"*{suffix}" for suffix in SUFFIXES), options={"HIDDEN", "SKIP_SAVE"}
    )
    axes: bpy.props.EnumProperty(
        items=(
            (AUTO, "Usual", "Y up for SPZ, y down for the other formats, which is how they are trained"),
            *((entry.name, entry.label, entry.says) for entry in AXES.values()),
        ),
        name="Axes",
        description="What the file's numbers mean; files do not say it",
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file, unless one was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import the file."""
        path = Path(bpy.path.abspath(self.filepath))
        try:
            with selection_kept(context):
                to_object_mode(context)
                made = scene.import_splats(context, path, self.axes, context.scene.cursor.location)
        except (OSError, ValueError) as error:
            self.report({"ERROR"}, f"{path.name} cannot be imported: {error}")
            return {"CANCELLED"}
        if preferences.get().setup_scene:
            runtime.note_setup(scene.scene_setup(context.scene))
        self.report({"INFO"}, f"Imported {made.name}")
        return {"FINISHED"}


class HUMANSPLAT_FH_splats(bpy.types.FileHandler):
    """A file of splats, dropped on a 3D view."""

    bl_idname = "HUMANSPLAT_FH_splats"
    bl_label = "Gaussian Splats"
    bl_import_operator = "humansplat.import_splats"
    bl_file_extensions = ";".join(SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Anywhere in a 3D view."""
        return context.area is not None and context.area.type == "VIEW_3D"


def _draw_import(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator("humansplat.import_avatar", text="HumanSplat Avatar (folder)", icon="OUTLINER_OB_ARMATURE")
    self.layout.operator("humansplat.import_splats", text="Gaussian Splats (.ply .spz .splat)", icon="POINTCLOUD_DATA")


def register() -> None:
    """Add the menu entry."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)


def unregister() -> None:
    """Take it away."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)


CLASSES = (HUMANSPLAT_FH_package, HUMANSPLAT_FH_photo, HUMANSPLAT_OT_import_splats, HUMANSPLAT_FH_splats)
