"""Operators of motions: thin layers over this package's functions."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from ...backend.avatar.bone_maps import BoneMap, load_bone_map
from ...backend.avatar.motion import MotionError
from . import settings
from .apply import ApplyOptions
from .assets import make_motion_assets
from .avatar import find_target
from .bone_map_file import write_bone_map
from .live import clear_constraints, live_constraints, live_source
from .sample import animated_range
from .transfer import TransferOptions, import_library_motion, import_motion_file, retarget_from_armature

_HIDDEN = {"options": {"HIDDEN", "SKIP_SAVE"}}


class _AvatarOperator:
    """Needs an avatar; errors become one sentence."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar that is active, or the only one."""
        if find_target(context) is None:
            cls.poll_message_set("Select an avatar")
            return False
        return True

    def _try(self, work: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether it went well, and the result; otherwise the error is reported."""
        try:
            return True, work()
        except MotionError as error:
            self.report({"ERROR"}, str(error))
        except Exception as error:
            traceback.print_exc()
            self.report({"ERROR"}, f"The motion cannot be used ({type(error).__name__}: {error})")
        return False, None


class _KeyProperties:
    """How a motion is keyed."""

    keys: bpy.props.EnumProperty(items=settings.KEYS, name="Keys")
    former: bpy.props.EnumProperty(
        items=settings.FORMER, name="Former Action", description="What becomes of the avatar's present action"
    )
    extend_range: bpy.props.BoolProperty(
        name="Extend Frame Range",
        description="Lengthen the scene's frame range where the motion is longer",
        default=True,
    )

    def _apply_options(self, start_frame: float) -> ApplyOptions:
        return ApplyOptions(start_frame, self.keys, self.former, self.extend_range)

    def _draw_keys(self, column: bpy.types.UILayout) -> None:
        for name in ("keys", "former", "extend_range"):
            column.prop(self, name)


class _TransferProperties(_KeyProperties):
    """How a motion is carried over."""

    root: bpy.props.EnumProperty(items=settings.ROOTS, name="Root Motion")
    origin: bpy.props.EnumProperty(items=settings.ORIGINS, name="Begins at")
    pin_feet: bpy.props.BoolProperty(
        name="Pin Feet", description="Feet on the floor neither slide nor sink", default=True
    )
    hands: bpy.props.BoolProperty(
        name="Hands Outside", description="Hands do not enter the avatar's body", default=True
    )
    bone_map: bpy.props.StringProperty(**settings.BONE_MAP)

    def _options(self, start_frame: float, **more: object) -> TransferOptions:
        """Raises MotionError for a bone map that cannot be used."""
        return TransferOptions(
            root=self.root,
            pin_feet=self.pin_feet,
            hands=self.hands,
            origin=self.origin,
            bone_map=_bone_map(self.bone_map),
            apply=self._apply_options(start_frame),
            **more,
        )

    def _draw_transfer(self, column: bpy.types.UILayout) -> None:
        for name in ("root", "origin", "pin_feet", "hands", "bone_map"):
            column.prop(self, name)
        self._draw_keys(column)


def _bone_map(path: str) -> BoneMap | None:
    return load_bone_map(bpy.path.abspath(path)) if path else None


class HUMANSPLAT_OT_import_motion(_AvatarOperator, _TransferProperties, bpy.types.Operator):
    """Import a motion of a BVH or AMASS file onto the avatar"""

    bl_idname = "humansplat.import_motion"
    bl_label = "Import Motion"

    filepath: bpy.props.StringProperty(name="Motion", subtype="FILE_PATH", **_HIDDEN)
    filter_glob: bpy.props.StringProperty(default="*.npz;*.bvh", **_HIDDEN)
    up: bpy.props.EnumProperty(items=settings.UPS, name="Up", description="Upward axis of the file")
    fps: bpy.props.FloatProperty(
        name="Frame Rate", description="Frames a second; 0 takes what the file says", min=0, max=1000
    )
    start_frame: bpy.props.IntProperty(name="Start Frame", default=1)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for a file; one that was dropped only for the options."""
        if self.filepath:
            return context.window_manager.invoke_props_dialog(self, confirm_text="Import")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, _context: bpy.types.Context) -> None:
        """The file browser's and the dialog's options."""
        column = _column(self.layout)
        self._draw_transfer(column)
        for name in ("up", "fps", "start_frame"):
            column.prop(self, name)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read, carry over and key."""
        path = Path(bpy.path.abspath(self.filepath))
        done, action = self._try(
            lambda: import_motion_file(
                context,
                find_target(context),
                path,
                self._options(self.start_frame, up=self.up, fps=self.fps or None),
            )
        )
        return _keyed(self, action) if done else {"CANCELLED"}


class HUMANSPLAT_OT_retarget_armature(_AvatarOperator, _TransferProperties, bpy.types.Operator):
    """Carry the motion of another armature of the scene over to the avatar, as keyframes"""

    bl_idname = "humansplat.retarget_armature"
    bl_label = "Retarget Armature"

    source: bpy.props.StringProperty(name="Source", description="Armature that has the motion")
    whole: bpy.props.BoolProperty(
        name="Whole Motion", description="All frames of the source's action, or of the scene", default=True
    )
    frame_start: bpy.props.IntProperty(name="Start", default=1)
    frame_end: bpy.props.IntProperty(name="End", default=250)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for source and options."""
        source = self._source(context)
        if source is not None:
            self.frame_start, self.frame_end = animated_range(context.scene, source)
        return context.window_manager.invoke_props_dialog(self, confirm_text="Retarget")

    def draw(self, _context: bpy.types.Context) -> None:
        """The dialog's options."""
        column = _column(self.layout)
        column.prop_search(self, "source", bpy.data, "objects", icon="ARMATURE_DATA")
        column.prop(self, "whole")
        frames = column.column(align=True)
        frames.active = not self.whole
        frames.prop(self, "frame_start")
        frames.prop(self, "frame_end")
        self._draw_transfer(column)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Sample, carry over and key; keys stand where the source's frames are."""
        source = self._source(context)
        if source is None:
            self.report({"ERROR"}, "Choose the armature that has the motion as the source.")
            return {"CANCELLED"}
        frames = animated_range(context.scene, source) if self.whole else (self.frame_start, self.frame_end)
        done, action = self._try(
            lambda: retarget_from_armature(context, find_target(context), source, frames, self._options(frames[0]))
        )
        return _keyed(self, action) if done else {"CANCELLED"}

    def _source(self, context: bpy.types.Context) -> bpy.types.Object | None:
        return _source(context, self.source)


class HUMANSPLAT_OT_follow_armature(_AvatarOperator, bpy.types.Operator):
    """Let the avatar follow another armature live, by constraints; its keyframes stay"""

    bl_idname = "humansplat.follow_armature"
    bl_label = "Follow Armature"

    source: bpy.props.StringProperty(name="Source", description="Armature to follow")
    root: bpy.props.EnumProperty(items=settings.ROOTS, name="Root Motion")
    bone_map: bpy.props.StringProperty(**settings.BONE_MAP)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the constraints."""
        source = _source(context, self.source)
        if source is None:
            self.report({"ERROR"}, "Choose the armature that the avatar is to follow as the source.")
            return {"CANCELLED"}
        done, _ = self._try(
            lambda: live_constraints(context, find_target(context), source, _bone_map(self.bone_map), self.root)
        )
        return {"FINISHED"} if done else {"CANCELLED"}


class HUMANSPLAT_OT_stop_following(_AvatarOperator, bpy.types.Operator):
    """Remove the constraints with which the avatar follows another armature"""

    bl_idname = "humansplat.stop_following"
    bl_label = "Stop Following"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove them."""
        return {"FINISHED"} if clear_constraints(find_target(context)) else {"CANCELLED"}


class HUMANSPLAT_OT_library_motion(_AvatarOperator, _KeyProperties, bpy.types.Operator):
    """Give the avatar a motion or a still pose of the library"""

    bl_idname = "humansplat.library_motion"
    bl_label = "Library Motion"

    motion: bpy.props.EnumProperty(items=settings.LIBRARY, name="Motion")
    in_place: bpy.props.BoolProperty(**settings.IN_PLACE)
    start_frame: bpy.props.IntProperty(name="Start Frame", default=1)

    def draw(self, _context: bpy.types.Context) -> None:
        """The options of the last operation."""
        column = _column(self.layout)
        for name in ("motion", "in_place", "start_frame"):
            column.prop(self, name)
        self._draw_keys(column)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Key the motion, or set the pose."""
        done, action = self._try(
            lambda: import_library_motion(
                context, find_target(context), self.motion, self.in_place, self._apply_options(self.start_frame)
            )
        )
        if done and action is None:
            return {"FINISHED"}
        return _keyed(self, action) if done else {"CANCELLED"}


class HUMANSPLAT_OT_save_bone_map(bpy.types.Operator):
    """Write which bones of the source are which joints to a file, to edit it and use it as the bone map"""

    bl_idname = "humansplat.save_bone_map"
    bl_label = "Save Bone Map"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(name="Bone Map", subtype="FILE_PATH", **_HIDDEN)
    filter_glob: bpy.props.StringProperty(default="*.json", **_HIDDEN)
    check_existing: bpy.props.BoolProperty(default=True, **_HIDDEN)
    source: bpy.props.StringProperty(name="Source", description="Armature whose bones are listed", **_HIDDEN)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs a source armature."""
        if _source(context, "") is None:
            cls.poll_message_set("Choose a source armature")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        if not self.filepath:
            self.filepath = f"{bpy.path.clean_name(_source(context, self.source).name)}_bones.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write, and use the file from now on."""
        path = Path(bpy.path.abspath(self.filepath)).with_suffix(".json")
        try:
            missing = write_bone_map(_source(context, self.source), path)
        except MotionError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        context.scene.humansplat_motion.bone_map = str(path)
        if missing:
            self.report({"WARNING"}, f"{path.name}: name the bones for {', '.join(missing)} in a text editor.")
        else:
            self.report({"INFO"}, f"{path.name}: all joints have bones; edit it in a text editor where they are wrong.")
        return {"FINISHED"}


class HUMANSPLAT_OT_make_motion_assets(_AvatarOperator, bpy.types.Operator):
    """Make the library's motions and poses for this avatar, as assets of the asset browser"""

    bl_idname = "humansplat.make_motion_assets"
    bl_label = "Make Motion Assets"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make them."""
        done, made = self._try(lambda: make_motion_assets(context, find_target(context)))
        if not done:
            return {"CANCELLED"}
        self.report({"INFO"}, f"Made {len(made)} motion assets: see Current File in the asset browser")
        return {"FINISHED"}


def _source(context: bpy.types.Context, name: str) -> bpy.types.Object | None:
    """The named armature; the panel's where none is named."""
    if name:
        obj = bpy.data.objects.get(name)
    else:
        chosen = getattr(context.scene, "humansplat_motion", None)
        obj = None if chosen is None else chosen.source
    return obj if obj is not None and obj.type == "ARMATURE" else None


def _keyed(operator: bpy.types.Operator, action: bpy.types.Action) -> set[str]:
    first, last = action.curve_frame_range
    operator.report({"INFO"}, f"{action.name}: frames {first:g} to {last:g}")
    return {"FINISHED"}


def _column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    layout.use_property_split = True
    layout.use_property_decorate = False
    return layout.column()


class _MotionDrop:
    """A motion file that is dropped onto the 3D view."""

    bl_import_operator = "humansplat.import_motion"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """In the 3D view, with an avatar that is active or the only one."""
        area = context.area
        return area is not None and area.type == "VIEW_3D" and find_target(context) is not None


class HUMANSPLAT_FH_bvh(_MotionDrop, bpy.types.FileHandler):
    """BVH files."""

    bl_idname = "HUMANSPLAT_FH_bvh"
    bl_label = "Motion for HumanSplat Avatar"
    bl_file_extensions = ".bvh"


class HUMANSPLAT_FH_npz(_MotionDrop, bpy.types.FileHandler):
    """AMASS files."""

    bl_idname = "HUMANSPLAT_FH_npz"
    bl_label = "Motion for HumanSplat Avatar"
    bl_file_extensions = ".npz"


def menu_import(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """The entry in File > Import."""
    menu.layout.operator("humansplat.import_motion", text="Motion for HumanSplat Avatar (.bvh, .npz)")


def draw_motion(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What a panel shows of motions."""
    chosen = context.scene.humansplat_motion
    column = layout.column(align=True)
    row = column.row(align=True)
    row.prop(chosen, "library", text="")
    row.prop(chosen, "in_place", text="", icon="PINNED")
    operator = column.operator("humansplat.library_motion", text="Apply Library Motion", icon="ACTION")
    operator.motion, operator.in_place = chosen.library, chosen.in_place
    layout.operator("humansplat.import_motion", text="Import Motion File", icon="FILEBROWSER")

    column = layout.column(align=True)
    column.prop(chosen, "source", text="", icon="ARMATURE_DATA")
    if chosen.source is not None:
        row = column.row(align=True)
        row.prop(chosen, "bone_map", text="")
        row.operator("humansplat.save_bone_map", text="", icon="EXPORT")
    row = column.row(align=True)
    row.enabled = chosen.source is not None
    name = chosen.source.name if chosen.source is not None else ""
    for idname, text, icon in (
        ("humansplat.retarget_armature", "Retarget", "KEYFRAME"),
        ("humansplat.follow_armature", "Follow Live", "CONSTRAINT_BONE"),
    ):
        operator = row.operator(idname, text=text, icon=icon)
        operator.source, operator.bone_map = name, chosen.bone_map
    target = find_target(context)
    if target is not None and live_source(target) is not None:
        layout.operator("humansplat.stop_following", icon="X")
    layout.operator("humansplat.make_motion_assets", icon="ASSET_MANAGER")


CLASSES = (
    HUMANSPLAT_OT_import_motion,
    HUMANSPLAT_OT_retarget_armature,
    HUMANSPLAT_OT_follow_armature,
    HUMANSPLAT_OT_stop_following,
    HUMANSPLAT_OT_library_motion,
    HUMANSPLAT_OT_save_bone_map,
    HUMANSPLAT_OT_make_motion_assets,
    HUMANSPLAT_FH_bvh,
    HUMANSPLAT_FH_npz,
)
