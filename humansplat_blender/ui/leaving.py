"""The panel *Export*, its operator, and the entry of the File menu: an avatar for a game engine, the web, a program."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ...backend.avatar import save_avatar
from ...backend.avatar.formats.merge import BUDGETS
from ...backend.export.clips import save_clips
from ...backend.export.job import TEXTURES, TRIANGLES, ExportOptions, expected_losses, export_avatar, safe_name
from ...backend.export.targets import TARGETS
from .. import scene
from ..client import Failure
from ..export import action_motions, avatar_actions, scene_avatar, write_fbx
from ..jobs import ExportJob
from . import preferences, runtime
from .layout import wrapped
from .operators import pump

FOLDER = "exports"
"""Inside the folder for results: where exports go that name no folder."""
_FBX_TARGETS = frozenset({"unity", "unreal", "mixamo"})
_BUDGETS = (("0", "All", "Every splat"), *((str(n), f"{n:,}", f"Merged into {n:,} splats") for n in BUDGETS))
_TRIANGLES = tuple((str(n), f"{n:,}", f"{n:,} triangles") for n in TRIANGLES)
_TEXTURES = tuple((str(n), str(n), f"{n} x {n} pixels") for n in TEXTURES)


class HumanSplatExportSettings(bpy.types.PropertyGroup):
    """What the panel *Export* offers, kept in the scene."""

    target: bpy.props.EnumProperty(
        items=[(t.name, t.label, " ".join(t.clicks[:1])) for t in TARGETS.values()],
        name="For",
        description="Engine or program that the files are for",
    )
    motions: bpy.props.EnumProperty(
        items=(
            ("ALL", "All Actions", "Every action of the file that moves the avatar becomes a clip"),
            ("OWN", "Its Actions", "The avatar's own action and those of its NLA strips become clips"),
            ("NONE", "None", "No clips"),
        ),
        name="Motion",
        description="Which actions come along",
    )
    pose: bpy.props.EnumProperty(
        items=(
            ("REST", "Rest Pose", "Arms out to the sides"),
            ("CURRENT", "Current Pose", "As in this frame; files with bones stay in their rest pose"),
        ),
        name="Pose",
        description="Pose of splats in formats without bones",
    )
    budget: bpy.props.EnumProperty(items=_BUDGETS, name="Splats", description="How many splats at most")
    triangles: bpy.props.EnumProperty(items=_TRIANGLES, name="Triangles", description="Of the textured mesh")
    texture: bpy.props.EnumProperty(
        items=_TEXTURES, name="Texture", default="2048", description="Pixels a side of the mesh's texture"
    )
    lit: bpy.props.BoolProperty(
        name="Lit by the Engine",
        description="The engine's lamps shade the mesh. Off: it shows the photo's own light, which its colours hold",
    )
    in_place: bpy.props.BoolProperty(
        name="In Place",
        description="Clips stay where they are, as on a treadmill: the game moves the person",
    )
    folder: bpy.props.StringProperty(
        name="Folder",
        subtype="DIR_PATH",
        description="Where the export's folder is made; empty: in the folder for results",
    )


class HUMANSPLAT_OT_export_avatar(bpy.types.Operator):
    """Write the avatar for a game engine, the web or another program, with its motions"""

    bl_idname = "humansplat.export_avatar"
    bl_label = "Export Avatar"

    directory: bpy.props.StringProperty(name="Folder", subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    browse: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar, and no job under way."""
        if runtime.manager().busy:
            cls.poll_message_set("Another job is under way: wait or cancel it")
            return False
        if scene.find_avatar(context.object) is None:
            cls.poll_message_set("Select an avatar")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for a folder where the File menu calls."""
        if self.browse and not self.directory:
            self.directory = str(_base_folder(context))
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return self.execute(context)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings beside the file browser."""
        draw_settings(self.layout, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the export; without a window, wait for it."""
        avatar = scene.find_avatar(context.object)
        base = Path(bpy.path.abspath(self.directory)) if self.directory else _base_folder(context)
        name = safe_name(avatar.armature.name)
        options = export_options(context.scene.humansplat_export, name)
        folder = base / f"{name} {options.target}"
        target, spec = TARGETS[options.target], runtime.backend_spec()
        if spec is None and (target.mesh or target.extra):
            runtime.manager().fail(
                Failure(
                    "backend_missing",
                    f"Exporting for {target.label} needs the backend, which is not installed.",
                    "Install it, or choose an environment.",
                )
            )
            return {"CANCELLED"}
        work: Path | None = None
        try:
            if spec is None:
                return self._export_here(context, avatar, options, folder)
            work = Path(tempfile.mkdtemp(prefix="humansplat-export-", dir=bpy.app.tempdir))
            job = prepare_export(context, avatar, options, folder, work)
        except (ValueError, OSError) as error:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
            self.report({"ERROR"}, _sentence(error))
            return {"CANCELLED"}
        runtime.manager().start_export(job, spec)
        return pump(self)

    def _export_here(
        self, context: bpy.types.Context, avatar: scene.ImportedAvatar, options: ExportOptions, folder: Path
    ) -> set[str]:
        """Files that need numpy alone are written by Blender itself."""
        settings = context.scene.humansplat_export
        result = export_avatar(
            scene_avatar(context, avatar),
            folder,
            options,
            motions_of(context, avatar, settings.motions),
            _pose(context, avatar, settings.pose),
        )
        runtime.manager().say(f"{avatar.armature.name} was exported to {result.folder}.")
        runtime.manager().add_notes(result.notes)
        return {"FINISHED"}


def export_options(settings: HumanSplatExportSettings, name: str) -> ExportOptions:
    """The panel's settings."""
    return ExportOptions(
        target=settings.target,
        name=name,
        triangles=int(settings.triangles),
        texture=int(settings.texture),
        budget=int(settings.budget),
        lit=settings.lit,
        in_place=settings.in_place,
        offline=not bpy.app.online_access,
    )


def prepare_export(
    context: bpy.types.Context, avatar: scene.ImportedAvatar, options: ExportOptions, folder: Path, work: Path
) -> ExportJob:
    """Write what the backend needs into ``work``: the avatar as edited, its motions, its pose.

    Raises:
        ExportError: the avatar cannot be exported; one sentence.
        OSError: ``work`` cannot be written.
    """
    settings = context.scene.humansplat_export
    save_avatar(scene_avatar(context, avatar), work / "avatar")
    parameters: dict[str, Any] = {
        "package": str(work / "avatar"),
        "output": str(folder),
        **{
            key: getattr(options, key)
            for key in ("target", "name", "triangles", "texture", "budget", "lit", "in_place", "offline")
        },
    }
    motions = motions_of(context, avatar, settings.motions)
    if motions:
        save_clips(work / "clips.npz", motions)
        parameters["clips"] = str(work / "clips.npz")
    pose = _pose(context, avatar, settings.pose)
    if pose is not None:
        np.savez(work / "pose.npz", pose=pose[0], translation=pose[1])
        parameters["pose"] = str(work / "pose.npz")

    def finish(result: dict[str, Any]) -> list[str]:
        if options.target not in _FBX_TARGETS:
            return []
        made = Path(result["folder"])
        write_fbx(bpy.context, made / f"{options.name}.glb", made / f"{options.name}.fbx")
        return []

    return ExportJob(avatar.armature.name, parameters, work, finish)


def motions_of(context: bpy.types.Context, avatar: scene.ImportedAvatar, which: str) -> list:
    """Motions of the avatar's actions, as the panel's setting says."""
    if which == "NONE":
        return []
    return action_motions(context, avatar.armature, avatar_actions(avatar.armature, every=which == "ALL"))


def _pose(context: bpy.types.Context, avatar: scene.ImportedAvatar, which: str) -> tuple[np.ndarray, np.ndarray] | None:
    if which == "REST":
        return None
    return scene.read_pose(avatar.armature, context.evaluated_depsgraph_get())


def _base_folder(context: bpy.types.Context) -> Path:
    chosen = context.scene.humansplat_export.folder
    return Path(bpy.path.abspath(chosen)) if chosen else preferences.results_folder() / FOLDER


def _sentence(error: BaseException) -> str:
    text = str(error).strip()
    return text if text.endswith(".") else f"{text}."


def draw_settings(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw what can be chosen for the target."""
    settings = context.scene.humansplat_export
    target = TARGETS[settings.target]
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "target")
    column.prop(settings, "motions")
    row = column.row()
    row.active = settings.motions != "NONE"
    row.prop(settings, "in_place")
    if target.mesh:
        column.prop(settings, "triangles")
        column.prop(settings, "texture")
        column.prop(settings, "lit")
    if target.splats or target.extra:
        column.prop(settings, "budget")
    if target.splats and not target.extra:
        column.prop(settings, "pose")


def draw_export(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the panel: settings, folder, button, and what the formats lose."""
    settings = context.scene.humansplat_export
    draw_settings(layout, context)
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "folder", placeholder="Folder for results")
    row = layout.row()
    row.scale_y = 1.4
    row.operator("humansplat.export_avatar", text="Export", icon="EXPORT")
    for loss in expected_losses(ExportOptions(settings.target, budget=int(settings.budget))):
        wrapped(layout, loss, context.region.width, icon="INFO")


def _draw_menu(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    operator = self.layout.operator("humansplat.export_avatar", text="HumanSplat Avatar", icon="OUTLINER_OB_ARMATURE")
    operator.browse = True


def register() -> None:
    """Attach the settings to scenes and the entry to the menu."""
    bpy.types.Scene.humansplat_export = bpy.props.PointerProperty(type=HumanSplatExportSettings)
    bpy.types.TOPBAR_MT_file_export.append(_draw_menu)


def unregister() -> None:
    """Take both away."""
    bpy.types.TOPBAR_MT_file_export.remove(_draw_menu)
    del bpy.types.Scene.humansplat_export


CLASSES = (HumanSplatExportSettings, HUMANSPLAT_OT_export_avatar)
