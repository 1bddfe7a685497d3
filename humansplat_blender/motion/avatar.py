"""What motions need to know of an avatar's armature: its joints at rest, its place, whether it can be animated."""

from __future__ import annotations

import bpy
import numpy as np

from ...backend.avatar.bone_maps import JOINT_PARENTS
from ...backend.avatar.motion import MotionError
from .. import scene
from ..scene import armature as rig
from ..scene import convert


def find_target(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active object's avatar, or the scene's only one: its armature."""
    armature = scene.avatar_armature(context.object)
    if armature is None:
        armatures = [avatar.armature for avatar in scene.scene_avatars(context.scene)]
        armature = armatures[0] if len(armatures) == 1 else None
    return armature


def target_bones(armature: bpy.types.Object) -> list[bpy.types.PoseBone]:
    """The pose bones of SMPL's 24 joints.

    Raises:
        MotionError: this is no avatar's armature, or bones of it are missing.
    """
    try:
        bones = rig.joint_bones(armature)
    except KeyError:
        raise MotionError(f"{armature.name} is not the armature of an avatar.") from None
    except ValueError as error:
        raise MotionError(str(error)) from error
    if len(bones) != len(JOINT_PARENTS):
        raise MotionError(f"{armature.name} has {len(bones)} joints; motions need SMPL's {len(JOINT_PARENTS)}.")
    return bones


def rest_joints(armature: bpy.types.Object) -> np.ndarray:
    """The joints [24, 3] of the rest pose in avatar space, metres, whatever the armature's scale."""
    heads = np.array([bone.bone.head_local for bone in target_bones(armature)], dtype=np.float64)
    return convert.from_blender(heads) / rig.unit(armature) - rig.rest_shift(armature)


def world_matrix(context: bpy.types.Context, obj: bpy.types.Object) -> np.ndarray:
    """An object's transform [4, 4] in Blender's world, as evaluated now."""
    return np.array(obj.evaluated_get(context.evaluated_depsgraph_get()).matrix_world, dtype=np.float64)


def heading(context: bpy.types.Context, armature: bpy.types.Object) -> np.ndarray:
    """How far the avatar's object is turned about the vertical: a rotation [3, 3] of avatar space."""
    matrix = world_matrix(context, armature)
    angle = np.arctan2(matrix[1, 0], matrix[0, 0])
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def check_animatable(armature: bpy.types.Object) -> None:
    """Raise MotionError where an action could not be assigned."""
    if not armature.is_editable:
        raise MotionError(f"{armature.name} belongs to another file: make a library override of it first.")
    if armature.animation_data is not None and armature.animation_data.use_tweak_mode:
        raise MotionError(f"A strip of {armature.name} is being tweaked: leave tweak mode in the NLA editor first.")
