"""A motion becomes an action of the avatar's armature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np
from mathutils import Quaternion

from ...backend.avatar import quaternion
from ...backend.avatar.motion import Motion, MotionError
from ...backend.avatar.motion_tools import avatar_translation, resample
from ...backend.avatar.rotations import quaternions
from ..scene import armature as rig
from ..scene import convert
from ..scene.armature import standing
from . import action as actions
from .avatar import check_animatable, rest_joints, target_bones
from .live import clear_constraints
from .sample import scene_rate

KEYS = ("scene", "source")
FORMER = ("keep", "nla")


@dataclass(frozen=True)
class ApplyOptions:
    """How a motion is keyed.

    Attributes:
        start_frame: of the first key.
        keys: ``scene`` one key a frame of the scene, ``source`` one key a frame of the motion, at the places in time
            where those frames are, which may lie between two frames of the scene.
        former: what becomes of the action that the armature had: ``keep`` keeps it in the file, ``nla`` also lays it
            on a track below.
        extend_range: lengthen the scene's frame range where the motion does not fit into it.
        loop: the motion is one round: it goes on for ever, and travels on. The round takes a whole number of the
            scene's frames with the keys ``scene``.
        travel: [3] metres that one round goes, in the motion's size; for ``loop``.
    """

    start_frame: float = 1.0
    keys: str = "scene"
    former: str = "keep"
    extend_range: bool = True
    loop: bool = False
    travel: Sequence[float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Raise MotionError for an option that is not known."""
        if self.keys not in KEYS:
            raise MotionError(f"Keys must be one of {', '.join(KEYS)}, not {self.keys!r}.")
        if self.former not in FORMER:
            raise MotionError(f"The former action must be one of {', '.join(FORMER)}, not {self.former!r}.")


def apply_motion(
    context: bpy.types.Context, avatar_armature: bpy.types.Object, motion: Motion, options: ApplyOptions | None = None
) -> bpy.types.Action:
    """Key a motion into a new action and assign it.

    Bones are keyed in the rotation modes that they have. What the action does not key is put to rest, as
    ``scene.apply_pose`` does (bone `root`, controls, places and scales of bones), and live following ends.

    Args:
        context: whose scene has the frame rate.
        avatar_armature: of an avatar.
        motion: of a body of any size.
        options: None for the defaults.

    Raises:
        MotionError: in one sentence; the scene is as before, also after any other error.
    """
    options = options or ApplyOptions()
    check_animatable(avatar_armature)
    action = motion_action(context, avatar_armature, motion, options)
    with actions.removed_on_failure([action]):
        _assign(avatar_armature, action, options)
    _rest_unkeyed(avatar_armature)
    clear_constraints(avatar_armature)
    if options.extend_range:
        scene = context.scene
        first, last = action.curve_frame_range
        scene.frame_start = min(scene.frame_start, max(0, int(np.floor(first))))
        scene.frame_end = max(scene.frame_end, int(np.ceil(last)))
    avatar_armature.update_tag()
    return action


def motion_action(
    context: bpy.types.Context, avatar_armature: bpy.types.Object, motion: Motion, options: ApplyOptions | None = None
) -> bpy.types.Action:
    """The action of :func:`apply_motion`, assigned to nothing; nothing else changes."""
    options = options or ApplyOptions()
    bones = target_bones(avatar_armature)
    motion, frames = _timed(motion, scene_rate(context.scene), options)
    turns = bone_rotations(bones, motion)
    places = pelvis_locations(avatar_armature, bones[0], motion)
    action = actions.new_action(motion.name, avatar_armature)
    with actions.removed_on_failure([action]):
        curves = actions.add_curves(action, bones[0].path_from_id("location"), bones[0].name, frames, places)
        for joint, bone in enumerate(bones):
            channel, values = _channel(bone, turns[:, joint])
            curves += actions.add_curves(action, bone.path_from_id(channel), bone.name, frames, values)
        if options.loop:
            _repeat(action, curves, frames)
    return action


def bone_rotations(bones: Sequence[bpy.types.PoseBone], motion: Motion) -> np.ndarray:
    """Rotations [T, J, 4] wxyz in the axes of the bones, each with the sign that is nearest to the frame before.

    A rotation R about rest axes is B^-1 R B in the axes of a bone with rest orientation B. That of a quaternion turns
    its vector part, whatever the angle: whole turns need no unwrapping.
    """
    turns = quaternions(motion.poses)
    vectors = convert.to_blender(turns[..., 1:])
    axes = np.stack([rig.rest_axes(bone) for bone in bones])
    turns[..., 1:] = np.einsum("tji,jik->tjk", vectors, axes)
    signs = np.where(np.sum(turns[1:] * turns[:-1], axis=-1) < 0, -1.0, 1.0)
    turns[1:] *= np.cumprod(signs, axis=0)[..., None]
    return quaternion.normalize(turns)


def pelvis_locations(armature: bpy.types.Object, pelvis: bpy.types.PoseBone, motion: Motion) -> np.ndarray:
    """The pelvis bone's location channel [T, 3], in its axes and the armature's units."""
    moved = avatar_translation(motion, rest_joints(armature), standing(armature)) - rig.rest_shift(armature)
    return convert.to_blender(moved) @ rig.rest_axes(pelvis) * rig.unit(armature)


def _timed(motion: Motion, rate: float, options: ApplyOptions) -> tuple[Motion, np.ndarray]:
    """The motion with the frames that get keys, and where these lie in the scene [T]."""
    if options.loop and len(motion) > 1:
        # The round ends where it began.
        motion = replace(
            motion,
            poses=np.concatenate([motion.poses, motion.poses[:1]]),
            translation=np.concatenate([motion.translation, motion.translation[:1] + np.asarray(options.travel)]),
        )
    if options.keys == "scene":
        if options.loop and len(motion) > 1:
            last = len(motion) - 1
            whole = max(2, round(last * rate / motion.fps))
            motion = replace(motion, fps=last * rate / whole)
        motion = resample(motion, rate)
    return motion, options.start_frame + np.arange(len(motion)) * (rate / motion.fps)


def _channel(bone: bpy.types.PoseBone, turns: np.ndarray) -> tuple[str, np.ndarray]:
    """Property and values [T, C] of rotations [T, 4] in the rotation mode of a bone."""
    if bone.rotation_mode == "QUATERNION":
        return "rotation_quaternion", turns
    if bone.rotation_mode == "AXIS_ANGLE":
        return "rotation_axis_angle", _axis_angles(turns)
    values = np.empty((len(turns), 3))
    before = None
    for frame, turn in enumerate(turns):
        turn = Quaternion(turn)
        before = turn.to_euler(bone.rotation_mode, *(() if before is None else (before,)))
        values[frame] = before
    return "rotation_euler", values


def _axis_angles(turns: np.ndarray) -> np.ndarray:
    """Angle and axis [T, 4] of quaternions [T, 4] whose signs are continuous; axes do not turn round between frames."""
    sine = np.linalg.norm(turns[:, 1:], axis=1)
    angles = 2 * np.arctan2(sine, turns[:, 0])
    axes = np.tile([0.0, 1.0, 0.0], (len(turns), 1))
    turned = sine > 1e-6
    axes[turned] = turns[turned, 1:] / sine[turned, None]
    # Where nothing turns the axis is that of the frame before.
    latest = np.maximum.accumulate(np.where(turned, np.arange(len(turns)), -1))
    first = int(np.argmax(turned)) if turned.any() else 0
    axes = axes[np.where(latest < 0, first, latest)]
    signs = np.cumprod(np.where(np.sum(axes[1:] * axes[:-1], axis=1) < 0, -1.0, 1.0))
    axes[1:] *= signs[:, None]
    angles[1:] *= signs
    return np.column_stack([np.unwrap(angles), axes])


def _repeat(action: bpy.types.Action, curves: list, frames: np.ndarray) -> None:
    for curve in curves:
        cycle = curve.modifiers.new("CYCLES")
        mode = "REPEAT_OFFSET" if curve.data_path.endswith(".location") else "REPEAT"
        cycle.mode_before = cycle.mode_after = mode
    action.use_frame_range = True
    action.frame_start, action.frame_end = float(frames[0]), float(frames[-1])
    action.use_cyclic = True


def _assign(armature: bpy.types.Object, action: bpy.types.Action, options: ApplyOptions) -> None:
    """Assign the action; where that fails the former one is assigned again."""
    had_animation = armature.animation_data is not None
    former = actions.assigned(armature)
    track = None
    try:
        if former.action is not None and options.former == "nla":
            track = actions.push_down(armature, former)
        actions.assign(armature, actions.own(action))
    except BaseException:
        if track is not None:
            armature.animation_data.nla_tracks.remove(track)
        if had_animation:
            actions.assign(armature, former)
        else:
            armature.animation_data_clear()
        raise
    if former.action is not None:
        former.action.use_fake_user = True


def _rest_unkeyed(armature: bpy.types.Object) -> None:
    """What a former action or the user did to channels that the motion does not key would add to it."""
    for joint, bone in enumerate(target_bones(armature)):
        bone.scale = (1.0, 1.0, 1.0)
        if joint:
            bone.location = (0.0, 0.0, 0.0)
    rig.release_controls(armature)
