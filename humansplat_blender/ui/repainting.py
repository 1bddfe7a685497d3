"""Pictures of an avatar's sides for an image editor, and retouched ones taken over into the avatar."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy

from .. import scene
from ..jobs import ExportJob, RepaintJob
from ..scene.roles import PACKAGE
from . import operators, runtime
from .sides import PictureChooser

VIEWS = "views"
"""Folder in an avatar package, as ``backend.retouch.views`` has it, which needs PyTorch."""
_HIDDEN = {"options": {"HIDDEN", "SKIP_SAVE"}}


def package_of(context: bpy.types.Context) -> Path | None:
    """The avatar package that the active avatar was imported from, if it is still there."""
    armature = scene.avatar_armature(context.object)
    folder = Path(str(armature.get(PACKAGE, ""))) if armature is not None else Path()
    return folder if (folder / "avatar.json").is_file() else None


class _OnPackage:
    """Base of operators on the active avatar's package."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar whose package is there, a backend and no other job."""
        if not runtime.idle(cls):
            return False
        if scene.find_avatar(context.object) is None:
            cls.poll_message_set("Select an avatar")
            return False
        if package_of(context) is None:
            cls.poll_message_set("The folder that this avatar was imported from is gone")
            return False
        return runtime.ready(cls)


class HUMANSPLAT_OT_save_views(_OnPackage, bpy.types.Operator):
    """Write pictures of the avatar's front, back and sides into its folder, to be retouched in an image editor"""

    bl_idname = "humansplat.save_views"
    bl_label = "Save Views"
    bl_options = {"REGISTER"}

    directory: bpy.props.StringProperty(
        name="Folder", description="Empty: views, in the avatar's own folder", subtype="DIR_PATH", **_HIDDEN
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; without a window, also wait for it."""
        package = package_of(context)
        folder = Path(bpy.path.abspath(self.directory)).absolute() if self.directory else package / VIEWS
        name = scene.avatar_armature(context.object).name
        parameters = {"package": str(package), "output": str(folder)}
        job = ExportJob(name, parameters, None, lambda _result: [], "views", "was drawn from four sides")
        runtime.start_export(job)
        return operators.pump(self)


class HUMANSPLAT_OT_repaint(_OnPackage, PictureChooser, bpy.types.Operator):
    """Choose saved views that were retouched, one or several: the avatar takes over what was painted on them.

    It takes the place of the selected one, whose pose and action stay; the package that it was made of stays too"""

    bl_idname = "humansplat.repaint"
    bl_label = "Repaint from Picture"
    bl_options = {"REGISTER"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", **_HIDDEN)
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, **_HIDDEN)
    last_folder: ClassVar[Path | None] = None
    """Where pictures were chosen last: a repainted avatar has no views of its own, and is painted on once more."""

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Open the file browser where the views are saved."""
        views = package_of(context) / VIEWS
        if not views.is_dir() and self.last_folder is not None:
            views = self.last_folder
        if not self.directory and views.is_dir():
            self.directory = f"{views}/"
        return super().invoke(context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; without a window, also wait for it."""
        names = [Path(self.directory) / item.name for item in self.files if item.name]
        chosen = names or ([Path(self.filepath)] if self.filepath else [])
        if not chosen:
            self.report({"ERROR"}, "Choose a picture that was retouched")
            return {"CANCELLED"}
        paths = tuple(Path(bpy.path.abspath(str(path))).absolute() for path in chosen)
        HUMANSPLAT_OT_repaint.last_folder = paths[0].parent
        package = package_of(context)
        known = next((result for result in runtime.results().results if result.folder == package), None)
        made_from = (known.photo, known.pictures, known.sides) if known else (Path(package.name),)
        runtime.replace_next(scene.avatar_armature(context.object))
        runtime.start_repaint(RepaintJob(package, paths, *made_from))
        done = operators.pump(self)
        if runtime.manager().failure is not None:
            runtime.replace_next(None)
        return done


def draw_repainting(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw both buttons, and one that opens the views' folder where there is one."""
    column = layout.column(align=True)
    row = column.row(align=True)
    row.operator("humansplat.save_views", icon="IMAGE_REFERENCE")
    package = package_of(context)
    if package is not None and (package / VIEWS).is_dir():
        row.operator("humansplat.open_folder", text="", icon="FILE_FOLDER").directory = str(package / VIEWS)
    column.operator("humansplat.repaint", text="Repaint from Picture…", icon="BRUSH_DATA")


CLASSES = (HUMANSPLAT_OT_save_views, HUMANSPLAT_OT_repaint)
