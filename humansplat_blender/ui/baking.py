"""Operators that bake an avatar: its frames as files of splats, the present frame as an object that follows nothing."""

from __future__ import annotations

import traceback
from pathlib import Path

import bpy

from ...backend.avatar.formats.axes import AXES
from .. import scene
from ..scene.frozen import freeze_avatar
from ..scene.sequence import BakeError, BakeJob, BakeOptions, frame_range
from .avatar import OnAvatar, to_object_mode
from .layout import wrapped

_INTERVAL = 0.02  # seconds between two frames, in which Blender draws and takes what the user does

_job: BakeJob | None = None
_stopping = False
_message = ""


def running_job() -> BakeJob | None:
    """The bake that is under way in a window."""
    return _job


class _OnAvatar(OnAvatar):
    """The same, while no bake is under way."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar, and no bake under way."""
        if _job is not None:
            cls.poll_message_set("A sequence is being baked: wait or cancel it")
            return False
        return super().poll(context)


class HUMANSPLAT_OT_bake_sequence(_OnAvatar, bpy.types.Operator):
    """Write the avatar's splats as one PLY or SPZ file a frame. Blender stays usable meanwhile; Esc cancels"""

    bl_idname = "humansplat.bake_sequence"
    bl_label = "Bake Sequence"
    bl_options = {"REGISTER"}

    directory: bpy.props.StringProperty(name="Folder", subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    scene_range: bpy.props.BoolProperty(
        name="Scene's Range", description="Bake the frames that the scene renders", default=True
    )
    frame_start: bpy.props.IntProperty(name="Start", default=1)
    frame_end: bpy.props.IntProperty(name="End", default=250)
    frame_step: bpy.props.IntProperty(name="Step", min=1, default=1)
    format: bpy.props.EnumProperty(
        items=(("ply", "PLY", "3DGS PLY, exact"), ("spz", "SPZ", "SPZ 3, about a tenth of the size")),
        name="Format",
    )
    axes: bpy.props.EnumProperty(
        items=[(entry.name, entry.label, entry.says) for entry in AXES.values()],
        name="Axes",
        description="What the files' numbers mean to the program that reads them",
    )
    world: bpy.props.BoolProperty(
        name="Place in the Scene",
        description="Apply the armature object's place, rotation and size; off: the avatar's own space, in metres",
    )
    resume: bpy.props.BoolProperty(
        name="Resume", description="Leave files alone that already hold their frame's splats", default=True
    )

    _timer: bpy.types.Timer | None = None

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the folder, unless one is given."""
        if self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the options beside the file browser."""
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "scene_range")
        frames = column.column(align=True)
        frames.enabled = not self.scene_range
        for name in ("frame_start", "frame_end", "frame_step"):
            frames.prop(self, name)
        column.prop(self, "format")
        column.prop(self, "axes")
        column.prop(self, "world")
        column.prop(self, "resume")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start to bake; without a window, bake everything."""
        global _job, _stopping, _message
        if not self.directory:
            self.report({"ERROR"}, "Choose a folder for the files")
            return {"CANCELLED"}
        avatar = scene.find_avatar(context.object)
        folder = Path(bpy.path.abspath(self.directory))
        options = BakeOptions(self.format, self.axes, self.world, self.resume)
        try:
            job = BakeJob(context, avatar, self._frames(context.scene), folder, options)
            if bpy.app.background or context.window is None:
                for _ in job.run(context):
                    pass
                self.report({"INFO"}, _told(job))
                return {"FINISHED"}
        except BakeError as error:
            _message = str(error)
            self.report({"ERROR"}, _message)
            return {"CANCELLED"}
        _job, _stopping, _message = job, False, ""
        self._timer = context.window_manager.event_timer_add(_INTERVAL, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Bake a frame at every tick of the timer."""
        job = _job
        if job is None:
            return self._end(context, {"CANCELLED"})
        if _stopping or (event.type == "ESC" and event.value == "PRESS"):
            job.cancel()
            return self._end(context, {"CANCELLED"}, f"Baking was cancelled: {_told(job)}")
        if event.type != "TIMER" or _has_to_wait(context):
            return {"PASS_THROUGH"}
        try:
            more = job.step(context)
        except BakeError as error:
            self.report({"ERROR"}, str(error))
            return self._end(context, {"CANCELLED"}, str(error))
        except Exception as error:
            traceback.print_exc()
            text = f"Baking stopped on an unexpected {type(error).__name__}: {error}"
            self.report({"ERROR"}, text)
            return self._end(context, {"CANCELLED"}, text)
        _redraw(context)
        if more:
            return {"PASS_THROUGH"}
        self.report({"INFO"}, _told(job))
        return self._end(context, {"FINISHED"}, _told(job))

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator, as where another file is opened."""
        if _job is not None:
            _job.cancel()
        self._end(context, {"CANCELLED"})

    def _frames(self, of_scene: bpy.types.Scene) -> range:
        if self.scene_range:
            return frame_range(of_scene.frame_start, of_scene.frame_end, of_scene.frame_step)
        return frame_range(self.frame_start, self.frame_end, self.frame_step)

    def _end(self, context: bpy.types.Context, outcome: set[str], message: str = "") -> set[str]:
        global _job, _message
        _job, _message = None, message
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        _redraw(context)
        return outcome


class HUMANSPLAT_OT_cancel_bake(bpy.types.Operator):
    """Stop baking; the files of finished frames stay"""

    bl_idname = "humansplat.cancel_bake"
    bl_label = "Cancel Baking"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs a bake under way."""
        return _job is not None

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Have the operator that bakes stop at its next tick."""
        global _stopping
        _stopping = True
        return {"FINISHED"}


class HUMANSPLAT_OT_freeze_avatar(_OnAvatar, bpy.types.Operator):
    """Make an object of the avatar's splats as they are in this frame, which follows no armature"""

    bl_idname = "humansplat.freeze_avatar"
    bl_label = "Freeze Copy"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make it and select it."""
        avatar = scene.find_avatar(context.object)
        to_object_mode(context)
        try:
            frozen = freeze_avatar(context, avatar)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{frozen.name} holds {avatar.armature.name} as it is in this frame")
        return {"FINISHED"}


def draw_baking(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the buttons, or the progress of the bake that is under way."""
    if _job is not None:
        left = _job.seconds_left
        column = layout.column(align=True)
        time_left = "" if left is None else f"   about {max(left, 1):.0f} s left"
        column.progress(factor=_job.progress, text=f"{_job.count} of {len(_job.frames)} frames{time_left}")
        column.operator("humansplat.cancel_bake", text="Cancel", icon="X")
        return
    column = layout.column(align=True)
    column.operator("humansplat.bake_sequence", icon="RENDER_ANIMATION")
    column.operator("humansplat.freeze_avatar", icon="FREEZE")
    if _message:
        wrapped(layout, _message, context.region.width, icon="INFO")


def _told(job: BakeJob) -> str:
    there = f", {job.skipped} were there" if job.skipped else ""
    return f"{job.written} of {len(job.frames)} frames were written to {job.folder}{there}"


def _has_to_wait(context: bpy.types.Context) -> bool:
    """Whether the user does what a change of frame would disturb."""
    return bpy.app.is_job_running("RENDER") or context.mode not in {"OBJECT", "POSE"}


def _redraw(context: bpy.types.Context) -> None:
    """Redraw the sidebars, not the scene."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


CLASSES = (
    HUMANSPLAT_OT_bake_sequence,
    HUMANSPLAT_OT_cancel_bake,
    HUMANSPLAT_OT_freeze_avatar,
)
