"""An avatar that follows another armature live, by constraints, so that nothing need be keyed.

A bone's axes in the world are to be A(t) = S(t) K, with S(t) those of the source's bone and K constant: what the two
rest poses differ by, see ``backend.avatar.retarget``. Two of Blender's constraints make that: Limit Rotation, whose
limits are K's angles, sets the bone's rotation in the world to K; Copy Rotation, mixed before the original, puts
S(t) in front. Where the pelvis is follows from the source's by a Transformation constraint.

Where a source has bones between two that are mapped (CMU and SOMA: a second neck bone), the joint turns as the lower of
them does; keyed motions, which may look at both ends, are more exact there.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from ...backend.avatar.bone_maps import JOINT_INDEX, JOINT_NAMES, JOINT_PARENTS, BoneMap
from ...backend.avatar.clips import Clip
from ...backend.avatar.motion import Motion, MotionError
from ...backend.avatar.motion_tools import avatar_translation
from ...backend.avatar.retarget import ROOTS, RetargetOptions, retarget
from ...backend.avatar.rotations import world_rotations
from ...backend.avatar.skinning import rotation_matrices
from ..scene import armature as rig
from ..scene import convert
from ..scene.armature import standing
from .avatar import check_animatable, heading, rest_joints, target_bones, world_matrix
from .sample import animated_range, armature_bone_map, sample_armature, turned

PREFIX = "HumanSplat Live"
_SAMPLES = 48
"""Frames of the source from which the constants are taken: K is their mean, as spines of other joints bend a little
differently."""
_AXES = "xyz"


def live_constraints(
    context: bpy.types.Context,
    avatar_armature: bpy.types.Object,
    source_armature: bpy.types.Object,
    bone_map: BoneMap | None = None,
    root: str = "scaled",
) -> list[bpy.types.Constraint]:
    """Let the avatar follow another armature as it moves, in the world.

    Keyframes of the avatar stay and show again after :func:`clear_constraints`. Feet are not pinned and hands are not
    kept out of the body, since both need the whole motion. Do it again after moving the avatar's object.

    Args:
        context: whose scene is read.
        avatar_armature: of the avatar, where it stands now.
        source_armature: any armature with the bones of a person.
        bone_map: its bones; found by the names where None.
        root: ``scaled``, ``in_place`` (up and down alone) or ``off`` (the pelvis stays where the avatar has it).

    Raises:
        MotionError: in one sentence; nothing has changed.
    """
    check_animatable(avatar_armature)
    bones = target_bones(avatar_armature)
    if source_armature == avatar_armature:
        raise MotionError("The source is the avatar's own armature: choose another one.")
    if root not in ROOTS:
        raise MotionError(f"The root motion must be one of {', '.join(ROOTS)}, not {root!r}.")
    bone_map = bone_map or armature_bone_map(source_armature)
    start, stop = animated_range(context.scene, source_armature)
    clip = sample_armature(context, source_armature, start, stop, max(1.0, (stop - start) / _SAMPLES), bone_map)
    turn = heading(context, avatar_armature)
    rest = rest_joints(avatar_armature)
    motion = retarget(turned(clip, turn.T), rest, JOINT_PARENTS, bone_map, RetargetOptions())
    local = rotation_matrices(motion.poses)
    world = turn @ world_rotations(local, JOINT_PARENTS)
    slope, offset = _path(context, avatar_armature, clip, bone_map, motion, rest)

    clear_constraints(avatar_armature)
    made = []
    try:
        if root != "off":
            made.append(_follow_place(bones[0], source_armature, bone_map.bones["pelvis"], slope, offset, root))
        for joint, bone in enumerate(bones):
            axes = convert.TO_BLENDER.T @ rig.rest_axes(bone)
            source = bone_map.bones.get(JOINT_NAMES[joint])
            if source is None or JOINT_NAMES[joint] in ("left_hand", "right_hand"):
                constant = axes.T @ _mean(local[:, joint]) @ axes
                made.append(_fix_rotation(bone, constant, "LOCAL"))
                continue
            theirs = clip.rotations[:, clip.names.index(source)]
            made.append(_fix_rotation(bone, _mean(np.swapaxes(theirs, 1, 2) @ world[:, joint] @ axes), "WORLD"))
            copy = bone.constraints.new("COPY_ROTATION")
            copy.name = f"{PREFIX} Rotation"
            copy.target, copy.subtarget = source_armature, source
            copy.mix_mode = "BEFORE"
            made.append(copy)
    except BaseException:
        clear_constraints(avatar_armature)
        raise
    return made


def clear_constraints(avatar_armature: bpy.types.Object) -> int:
    """End live following; how many constraints were removed."""
    count = 0
    for bone in avatar_armature.pose.bones:
        for constraint in [c for c in bone.constraints if c.name.startswith(PREFIX)]:
            bone.constraints.remove(constraint)
            count += 1
    return count


def live_source(avatar_armature: bpy.types.Object) -> bpy.types.Object | None:
    """The armature that the avatar follows."""
    targets = (
        constraint.target
        for bone in avatar_armature.pose.bones
        for constraint in bone.constraints
        if constraint.name.startswith(PREFIX) and constraint.type == "COPY_ROTATION"
    )
    return next(targets, None)


def _fix_rotation(bone: bpy.types.PoseBone, rotation: np.ndarray, space: str) -> bpy.types.Constraint:
    """A constraint that sets the bone's rotation to a constant [3, 3]."""
    constraint = bone.constraints.new("LIMIT_ROTATION")
    constraint.name = f"{PREFIX} Rest"
    constraint.owner_space = space
    constraint.euler_order = "XYZ"
    for axis, angle in zip(_AXES, Matrix(rotation.tolist()).to_euler("XYZ")):
        setattr(constraint, f"use_limit_{axis}", True)
        setattr(constraint, f"min_{axis}", angle)
        setattr(constraint, f"max_{axis}", angle)
    return constraint


def _follow_place(
    bone: bpy.types.PoseBone,
    source: bpy.types.Object,
    source_bone: str,
    slope: float,
    offset: np.ndarray,
    root: str,
) -> bpy.types.Constraint:
    """A constraint that puts the pelvis at slope * (the source's pelvis) + offset [3], in the world."""
    constraint = bone.constraints.new("TRANSFORM")
    constraint.name = f"{PREFIX} Place"
    constraint.target, constraint.subtarget = source, source_bone
    constraint.use_motion_extrapolate = True
    constraint.map_from = constraint.map_to = "LOCATION"
    constraint.mix_mode = "REPLACE"
    for place, axis in enumerate(_AXES):
        reach = 0.0 if root == "in_place" and axis != "z" else slope
        setattr(constraint, f"map_to_{axis}_from", axis.upper())
        setattr(constraint, f"from_min_{axis}", -1.0)
        setattr(constraint, f"from_max_{axis}", 1.0)
        setattr(constraint, f"to_min_{axis}", offset[place] - reach)
        setattr(constraint, f"to_max_{axis}", offset[place] + reach)
    return constraint


def _path(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    clip: Clip,
    bone_map: BoneMap,
    motion: Motion,
    rest: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Slope and offset [3] (Blender's world) that take the source's pelvis to the avatar's.

    The avatar starts where it stands; its height is, on the mean, that of the retargeted motion.
    """
    matrix = world_matrix(context, armature)
    theirs = convert.to_blender(clip.positions[:, clip.names.index(bone_map.bones["pelvis"])])
    translation = avatar_translation(motion, rest, standing(armature))
    ours = convert.to_blender(rest[0] + translation) * rig.unit(armature) @ matrix[:3, :3].T + matrix[:3, 3]
    first = convert.to_blender(rest[0] + standing(armature)) * rig.unit(armature)
    first = matrix[:3, :3] @ first + matrix[:3, 3]
    size = np.linalg.norm(matrix[:3, 2]) * rig.unit(armature)
    slope = (
        size
        * _leg(rest[None], JOINT_INDEX)
        / _leg(clip.positions, {joint: clip.names.index(bone) for joint, bone in bone_map.bones.items()})
    )
    offset = first - slope * theirs[0]
    offset[2] = float(np.mean(ours[:, 2] - slope * theirs[:, 2]))
    return float(slope), offset


def _leg(positions: np.ndarray, index: dict[str, int]) -> float:
    """Metres from hip over knee to ankle, the median over frames and the mean of both sides."""
    lengths = []
    for side in ("left", "right"):
        chain = positions[:, [index[f"{side}_{part}"] for part in ("hip", "knee", "ankle")]]
        lengths.append(np.median(np.linalg.norm(np.diff(chain, axis=1), axis=2).sum(axis=1)))
    return float(np.mean(lengths))


def _mean(rotations: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] that is nearest to the mean of rotation matrices [T, 3, 3] (Moakher 2002)."""
    u, _, v = np.linalg.svd(rotations.mean(axis=0))
    return u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
