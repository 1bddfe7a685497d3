"""Motions of files, of the library and of other armatures, carried over to an avatar."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import bpy
import numpy as np

from ...backend.avatar.bone_maps import JOINT_PARENTS, BoneMap
from ...backend.avatar.bvh import read_bvh
from ...backend.avatar.clips import Clip
from ...backend.avatar.motion import Motion, MotionError
from ...backend.avatar.motion_files import MotionOptions, read_motion
from ...backend.avatar.motion_library import library, make_motion
from ...backend.avatar.motion_tools import avatar_translation, pin_feet, separate_hands, source_contacts
from ...backend.avatar.retarget import RetargetOptions, retarget
from ..scene import convert
from ..scene.armature import apply_pose, standing
from .apply import ApplyOptions, apply_motion
from .avatar import check_animatable, heading, rest_joints, world_matrix
from .sample import animated_range, armature_bone_map, sample_armature, turned

ORIGINS = ("avatar", "source")


@dataclass(frozen=True)
class TransferOptions:
    """How a motion is carried over to an avatar.

    Attributes:
        root: ``scaled`` moves the avatar as far as its legs are long, ``in_place`` keeps the height alone, ``off``
            leaves the pelvis where it stands at rest.
        pin_feet: planted feet neither slide nor sink; with the root ``scaled`` only.
        hands: hands do not enter the body.
        origin: where the motion begins: ``avatar`` at the avatar's own place, ``source`` where the file says, or
            where the source armature stands.
        up: the file's upward axis: ``auto``, ``y`` or ``z``.
        fps: the file's frames a second, against what it says.
        bone_map: the source's bones; found by the names where None.
        reference_frame: the frame of the source that serves as its rest pose, counted from 0.
        apply: how it is keyed.
    """

    root: str = "scaled"
    pin_feet: bool = True
    hands: bool = True
    origin: str = "avatar"
    up: str = "auto"
    fps: float | None = None
    bone_map: BoneMap | None = None
    reference_frame: int | None = None
    apply: ApplyOptions = field(default_factory=ApplyOptions)

    def __post_init__(self) -> None:
        """Raise MotionError for an option that is not known."""
        if self.origin not in ORIGINS:
            raise MotionError(f"The origin must be one of {', '.join(ORIGINS)}, not {self.origin!r}.")
        _ = self.retarget

    @property
    def retarget(self) -> RetargetOptions:
        """Those of the numpy code."""
        return RetargetOptions(root=self.root, reference_frame=self.reference_frame)


def import_motion_file(
    context: bpy.types.Context,
    avatar_armature: bpy.types.Object,
    path: str | Path,
    options: TransferOptions | None = None,
) -> bpy.types.Action:
    """Read a ``.bvh`` or ``.npz`` file and key it; see :func:`.apply.apply_motion`.

    Raises:
        MotionError: in one sentence; nothing has changed.
    """
    options = options or TransferOptions()
    check_animatable(avatar_armature)
    motion = read_file(path, rest_joints(avatar_armature), options)
    return apply_motion(context, avatar_armature, motion, options.apply)


def read_file(path: str | Path, rest: np.ndarray, options: TransferOptions) -> Motion:
    """A file's motion for the avatar with the rest joints [24, 3], feet and hands seen to."""
    path = Path(path)
    if path.suffix.lower() == ".bvh" and path.is_file():
        try:
            clip = read_bvh(path, up=options.up, bone_map=options.bone_map, mapped_only=True)
            if options.fps is not None:
                clip = replace(clip, fps=options.fps)
            return _carried(clip, rest, options)
        except MemoryError as error:
            raise MotionError(f"{path.name} is too long for the memory at hand; cut it into parts.") from error
    file_options = MotionOptions(up=options.up, fps=options.fps, retarget=options.retarget)
    return _tidied(read_motion(path, rest, JOINT_PARENTS, file_options), None, rest, options)


def retarget_from_armature(
    context: bpy.types.Context,
    avatar_armature: bpy.types.Object,
    source_armature: bpy.types.Object,
    frames: tuple[int, int] | None = None,
    options: TransferOptions | None = None,
) -> bpy.types.Action:
    """Key what another armature of the scene does.

    The avatar's bones point in the world as the source's do, also where the avatar's object is turned about the
    vertical.

    Args:
        context: whose scene is read.
        avatar_armature: of the avatar.
        source_armature: any armature with the bones of a person.
        frames: first and last frame; None takes what its action or NLA strips cover, otherwise the scene's range.
        options: None for the defaults, with the keys beginning at the source's first frame.

    Raises:
        MotionError: in one sentence; nothing has changed.
    """
    frames = frames or animated_range(context.scene, source_armature)
    if options is None:
        options = TransferOptions(apply=ApplyOptions(start_frame=frames[0]))
    check_animatable(avatar_armature)
    if source_armature == avatar_armature:
        raise MotionError("The source is the avatar's own armature: choose another one.")
    bone_map = options.bone_map or armature_bone_map(source_armature)
    options = replace(options, bone_map=bone_map)
    rest = rest_joints(avatar_armature)
    clip = sample_armature(context, source_armature, *frames, bone_map=bone_map)
    motion = _carried(turned(clip, heading(context, avatar_armature).T), rest, options)
    if options.origin == "source":
        pelvis = clip.positions[0, clip.names.index(bone_map.bones["pelvis"])]
        motion = _beginning_at(context, avatar_armature, motion, pelvis)
    return apply_motion(context, avatar_armature, motion, options.apply)


def import_library_motion(
    context: bpy.types.Context,
    avatar_armature: bpy.types.Object,
    name: str,
    in_place: bool = False,
    options: ApplyOptions | None = None,
) -> bpy.types.Action | None:
    """Key a motion of the library; motions that loop go on for ever.

    Still poses are not keyed: the avatar is put into the pose, as by ``scene.rest_pose``, and None is returned.

    Raises:
        MotionError: in one sentence; nothing has changed.
    """
    check_animatable(avatar_armature)
    rest = rest_joints(avatar_armature)
    motion, applied = library_motion(name, rest, in_place, options or ApplyOptions())
    if len(motion) == 1:
        apply_pose(avatar_armature, motion.poses[0], avatar_translation(motion, rest, standing(avatar_armature))[0])
        return None
    return apply_motion(context, avatar_armature, motion, applied)


def library_motion(name: str, rest: np.ndarray, in_place: bool, options: ApplyOptions) -> tuple[Motion, ApplyOptions]:
    """A motion of the library for rest joints [24, 3], with options that let it loop where it does."""
    motion = make_motion(name, rest, JOINT_PARENTS, in_place)
    loops = next(entry.loops for entry in library() if entry.name == name)
    travel = np.zeros(3)
    if loops and not in_place:
        # What the motion travels is what differs from the one in place.
        still = make_motion(name, rest, JOINT_PARENTS, in_place=True)
        travel = (motion.translation - still.translation)[-1] * (len(motion) / (len(motion) - 1))
    return motion, replace(options, loop=loops and len(motion) > 1, travel=tuple(travel))


def _carried(clip: Clip, rest: np.ndarray, options: TransferOptions) -> Motion:
    motion = retarget(clip, rest, JOINT_PARENTS, options.bone_map, options.retarget)
    return _tidied(motion, clip, rest, options)


def _tidied(motion: Motion, clip: Clip | None, rest: np.ndarray, options: TransferOptions) -> Motion:
    """Hands outside the body, feet that stay, and the place where it begins."""
    if options.hands:
        motion = separate_hands(motion, clip, rest, JOINT_PARENTS, options.bone_map)
    if options.pin_feet and options.root == "scaled":
        contacts = None if clip is None else source_contacts(clip, options.bone_map)
        motion = pin_feet(motion, rest, JOINT_PARENTS, contacts)
    if options.origin == "avatar":
        motion = replace(motion, translation=motion.translation - motion.translation[0] * [1, 0, 1])
    return motion


def _beginning_at(context: bpy.types.Context, armature: bpy.types.Object, motion: Motion, place: np.ndarray) -> Motion:
    """The motion with its first pelvis over a place [3] of the world (y up)."""
    to_avatar = np.linalg.inv(world_matrix(context, armature))
    local = to_avatar[:3, :3] @ convert.to_blender(place) + to_avatar[:3, 3]
    rest, ground = rest_joints(armature), standing(armature)
    first = rest[0] + avatar_translation(motion, rest, ground)[0]
    ratio = (rest[0, 1] + ground[1]) / motion.leg_length
    return replace(motion, translation=motion.translation + (convert.from_blender(local) - first) * [1, 0, 1] / ratio)
