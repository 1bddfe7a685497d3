"""The SMPL armature: rest pose, poses in SMPL's convention, and the photo's pose.

Its rest pose stands on the ground: Blender's rest space is avatar space moved by ``standing_translation`` and turned by
:mod:`.convert`. Poses and translations here are those of avatar space all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ...backend.avatar import quaternion, rotations
from ...backend.avatar.package import Avatar
from ...backend.avatar.skinning import rotation_matrices, standing_translation
from . import convert

_PHOTO_POSE = "humansplat_photo_pose"
_PHOTO_TRANSLATION = "humansplat_photo_translation"
_REST_TRANSLATION = "humansplat_rest_translation"
_REST_SHIFT = "humansplat_rest_shift"
_TORSO = "humansplat_torso"
_JOINT_NAMES = "humansplat_joint_names"
_JOINT = "humansplat_joint"
"""On bones: which joint they are, whatever they are called."""
CONTROL = "humansplat_control"
"""On bones that are no joints: which control, mechanism or twist bone they are, whatever they are called."""
ROOT_BONE = "root"
SWITCHES = ("IK Left Arm", "IK Right Arm", "IK Left Leg", "IK Right Leg", "Look At")
"""Properties 0..1 of the root bone that :mod:`.controls` adds: how far its controls replace the bones' own channels."""
TORSO_CONTROL = "torso_control"
"""The control that moves the pelvis on top of the pelvis' own channels."""

# Which child a bone points at where it has several.
_MAIN_CHILDREN = ("spine1", "neck")
# Length of bones without children, as a share of the distance from pelvis to neck.
_LEAF_LENGTHS = {"head": 0.36, "left_foot": 0.13, "right_foot": 0.13, "left_hand": 0.16, "right_hand": 0.16}
_MINIMUM_LENGTH = 0.01
_ROOT_LENGTH = 0.25
# Blender's axes at rest, arms out to the sides, palms down; what is not named here bends forward.
_FORWARD, _BACK, _DOWN = Vector((0.0, -1.0, 0.0)), Vector((0.0, 1.0, 0.0)), Vector((0.0, 0.0, -1.0))
_BENDS = {"hip": _BACK, "knee": _BACK, "ankle": _DOWN, "foot": _DOWN, "wrist": _DOWN, "hand": _DOWN}
# The pelvis leans back a little more than the spine. Blender stores a bone relative to its parent, and that form
# loses three digits where the two point in nearly opposite directions, as thighs and pelvis would.
_ROOT_TILT = rotation_matrices(np.radians([-14.0, 0.0, 0.0]))


def create_armature(
    context: bpy.types.Context, avatar: Avatar, name: str, collection: bpy.types.Collection
) -> bpy.types.Object:
    """An armature object in `collection`, in the photo's pose.

    Bones carry the avatar's joint names, their heads are the rest joints, and their rest pose is the canonical pose,
    standing on the ground. The bone `root`, on the ground, carries them all and moves no splats.
    `collection` must be in the context's view layer and Blender in Object Mode (bones are made in Edit Mode).
    """
    data = bpy.data.armatures.new(name)
    armature = bpy.data.objects.new(name, data)
    try:
        collection.objects.link(armature)
        _create_bones(context, armature, avatar)
    except BaseException:
        bpy.data.batch_remove([armature, data])
        raise
    data.display_type = "STICK"
    armature.show_in_front = True
    for bone in armature.pose.bones:
        bone.rotation_mode = "QUATERNION"
    armature[_JOINT_NAMES] = list(avatar.joint_names)
    armature[_PHOTO_POSE] = np.asarray(avatar.pose, dtype=float).ravel().tolist()
    armature[_PHOTO_TRANSLATION] = np.asarray(avatar.translation, dtype=float).tolist()
    standing = standing_translation(avatar).tolist()
    armature[_REST_TRANSLATION] = armature[_REST_SHIFT] = standing
    armature[_TORSO] = _torso(armature)
    photo_pose(armature)
    return armature


def joint_bones(armature: bpy.types.Object) -> list[bpy.types.PoseBone]:
    """The pose bones of the avatar's joints, in the joints' order; bones may have been renamed.

    Raises:
        ValueError: bones of the avatar are missing; one sentence that names them.
    """
    names = list(armature[_JOINT_NAMES])
    marked = {bone.get(_JOINT): bone.name for bone in reversed(armature.data.bones) if _JOINT in bone}
    bones = armature.pose.bones
    found = [bones.get(marked.get(joint, name)) or bones.get(name) for joint, name in enumerate(names)]
    missing = [name for name, bone in zip(names, found) if bone is None]
    if missing:
        raise ValueError(
            f"The armature {armature.name} lacks the bones {', '.join(missing)}: undo their deletion, or import the "
            "avatar again."
        )
    return found


def joint_names(armature: bpy.types.Object) -> tuple[str, ...]:
    """SMPL's names of the joints, in their order, whatever the bones are called."""
    return tuple(armature[_JOINT_NAMES])


def apply_pose(
    armature: bpy.types.Object, pose: np.ndarray, translation: Sequence[float] | np.ndarray = (0, 0, 0)
) -> None:
    """Pose the bones.

    Args:
        pose: [J, 3] axis-angle in avatar space, SMPL's convention: row 0 is the pelvis' orientation, other rows are
            relative to the parent, about the axes of the rest pose.
        translation: [3] metres, avatar space, added to the whole body.

    Controls that would replace this pose are switched off.

    A rotation R about rest axes is B^-1 R B in the axes of a bone with rest orientation B; for an axis-angle vector
    that is the vector expressed in those axes.
    """
    bones = joint_bones(armature)
    turns = convert.to_blender(np.asarray(pose, dtype=np.float64).reshape(len(bones), 3))
    moved = np.asarray(translation, dtype=np.float64) - rest_shift(armature)
    for joint, (bone, turn) in enumerate(zip(bones, turns)):
        axes = rest_axes(bone)
        set_rotation(bone, rotations.quaternions(axes.T @ turn))
        bone.scale = (1.0, 1.0, 1.0)
        bone.location = (0.0, 0.0, 0.0)
        if joint == 0:
            bone.location = axes.T @ convert.to_blender(moved) * unit(armature)
    release_controls(armature)
    armature.update_tag()


def release_controls(armature: bpy.types.Object) -> None:
    """Leave the joints to their own channels: root and torso control go home, IK and look-at are switched off."""
    root = armature.pose.bones.get(ROOT_BONE)
    if root is None:
        return
    root.matrix_basis = Matrix()
    switches = [name for name in SWITCHES if name in root]
    for name in switches:
        root[name] = 0.0
    torso = control_bone(armature, TORSO_CONTROL) if switches else None
    if torso is not None:
        torso.matrix_basis = Matrix()


def control_bone(armature: bpy.types.Object, control: str) -> bpy.types.PoseBone | None:
    """The bone that is marked as this control, mechanism or twist bone; None where there is none."""
    for bone in armature.data.bones:
        if bone.get(CONTROL) == control:
            return armature.pose.bones.get(bone.name)
    return None


def rest_shift(armature: bpy.types.Object) -> np.ndarray:
    """How far [3] the bones' rest place is from avatar space, metres; nothing in files of older versions."""
    return np.asarray(armature.get(_REST_SHIFT, (0.0, 0.0, 0.0)), dtype=np.float64)


def unit(armature: bpy.types.Object) -> float:
    """Lengths of the armature's rest pose over those of the avatar: 1, unless its scale has been applied."""
    return _torso(armature) / armature[_TORSO] if armature.get(_TORSO) else 1.0


def _torso(armature: bpy.types.Object) -> float:
    """Distance between the rest heads of the first joint and of its farthest descendant up the spine."""
    bones = [pose_bone.bone for pose_bone in joint_bones(armature)]
    return max((bone.head_local - bones[0].head_local).length for bone in bones)


def set_rotation(bone: bpy.types.PoseBone, rotation: np.ndarray | Quaternion) -> None:
    """Turn a bone, in the rotation mode that it has: keyframes of other channels would do nothing."""
    turn = Quaternion(rotation)
    if bone.rotation_mode == "QUATERNION":
        # The same of the two signs as before, so that keyframes go the short way.
        bone.rotation_quaternion = turn if turn.dot(bone.rotation_quaternion) >= 0 else -turn
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = turn.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = turn.to_euler(bone.rotation_mode, bone.rotation_euler)


def read_pose(
    armature: bpy.types.Object, depsgraph: bpy.types.Depsgraph | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The current pose as (pose [J, 3], translation [3]) of :func:`apply_pose`.

    With a depsgraph the evaluated pose is read, including constraints and inverse kinematics; otherwise what the
    bones' own channels say. The armature object's own transform is left out, and so are bone scales.
    """
    originals = joint_bones(armature)
    source = armature if depsgraph is None else armature.evaluated_get(depsgraph)
    pose = np.empty((len(originals), 3))
    turned: dict[str, np.ndarray] = {}
    translation = np.zeros(3)
    for joint, original in enumerate(originals):
        bone = source.pose.bones[original.name]
        axes = rest_axes(bone)
        if depsgraph is None:
            local = np.array(bone.matrix_basis.to_quaternion().to_matrix(), dtype=np.float64)
            turn = axes @ local @ axes.T
            place = axes @ np.array(bone.location)
        else:
            # Rotation of the joint against the armature; relative to the parent's it is the SMPL rotation.
            turned[bone.name] = np.array(bone.matrix.to_quaternion().to_matrix(), dtype=np.float64) @ axes.T
            parent = turned.get(bone.parent.name) if bone.parent else None
            turn = turned[bone.name] if parent is None else parent.T @ turned[bone.name]
            place = np.array(bone.matrix.translation - bone.bone.matrix_local.translation)
        if joint == 0:
            translation = place / unit(armature)
        pose[joint] = rotations.axis_angles(turn)
    return convert.from_blender(pose), convert.from_blender(translation) + rest_shift(armature)


def standing(armature: bpy.types.Object) -> np.ndarray:
    """The translation [3] that stands the rest pose on the ground, avatar space, metres."""
    return np.asarray(armature[_REST_TRANSLATION], dtype=np.float64)


def photo_pose(armature: bpy.types.Object) -> None:
    """Put the avatar into the photo's pose."""
    apply_pose(armature, np.array(armature[_PHOTO_POSE]), armature[_PHOTO_TRANSLATION])


def rest_pose(armature: bpy.types.Object) -> None:
    """Put the avatar into the rest pose, arms out to the sides, standing on the ground."""
    apply_pose(armature, np.zeros(len(armature[_PHOTO_POSE])), standing(armature))


def key_pose(armature: bpy.types.Object, frame: float) -> None:
    """Keyframes of the present pose on every joint's bone, and of the pelvis' place."""
    for joint, bone in enumerate(joint_bones(armature)):
        channel = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
        bone.keyframe_insert(channel.get(bone.rotation_mode, "rotation_euler"), frame=frame, group=bone.name)
        if joint == 0:
            bone.keyframe_insert("location", frame=frame, group=bone.name)


def _create_bones(context: bpy.types.Context, armature: bpy.types.Object, avatar: Avatar) -> None:
    heads = convert.to_blender(np.asarray(avatar.rest_joints, dtype=np.float64) + standing_translation(avatar))
    tails = _tails(heads, avatar.joint_names, avatar.parents)
    previous = context.view_layer.objects.active
    context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bones = armature.data.edit_bones
        root = bones.new(ROOT_BONE)
        root.head, root.tail = (0.0, 0.0, 0.0), (0.0, -_ROOT_LENGTH, 0.0)
        root.use_deform = False
        for name, parent, head, tail in zip(avatar.joint_names, avatar.parents, heads, tails):
            bone = bones.new(name)
            bone.head, bone.tail = head, tail
            bone.parent = bones[avatar.joint_names[parent]] if parent >= 0 else root
            bone.align_roll(_roll(name, bone.vector.normalized()))
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
        context.view_layer.objects.active = previous
    for joint, name in enumerate(avatar.joint_names):
        armature.data.bones[name][_JOINT] = joint


def _roll(name: str, along: Vector) -> Vector:
    """Where a bone's z axis points, as far as its direction `along` allows: bones bend towards it when turned about +x.

    So +x bends knee, elbow, wrist and fingers, points the foot, and bows the spine, left and right alike.
    """
    wanted = _BENDS.get(name.rpartition("_")[2], _FORWARD)
    if abs(along.dot(wanted)) < 0.8:
        return wanted
    return Vector((0.0, 0.0, 1.0)) if wanted == _FORWARD else _FORWARD


def _tails(heads: np.ndarray, names: Sequence[str], parents: Sequence[int]) -> np.ndarray:
    """Bone tails [J, 3]: at the child, at the main child of several, or straight on from the parent's direction."""
    children: list[list[int]] = [[] for _ in names]
    for joint, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(joint)
    torso = np.linalg.norm(heads[names.index("neck")] - heads[0]) if "neck" in names else 0.5
    tails = heads.copy()
    for joint, name in enumerate(names):
        main = next((c for c in children[joint] if names[c] in _MAIN_CHILDREN), None)
        if main is not None:
            tails[joint] = heads[main]
        elif children[joint]:
            tails[joint] = heads[children[joint]].mean(axis=0)
        else:
            along = heads[joint] - heads[parents[joint]]
            along = np.array([0.0, 0.0, 1.0]) if name == "head" else along / max(np.linalg.norm(along), 1e-9)
            tails[joint] = heads[joint] + along * torso * _LEAF_LENGTHS.get(name, 0.15)
        if parents[joint] < 0:
            tails[joint] = heads[joint] + _ROOT_TILT @ (tails[joint] - heads[joint])
        # Blender deletes bones without length.
        if np.linalg.norm(tails[joint] - heads[joint]) < _MINIMUM_LENGTH:
            tails[joint] = heads[joint] + (0.0, 0.0, _MINIMUM_LENGTH)
    return tails


def rest_axes(bone: bpy.types.PoseBone) -> np.ndarray:
    """Rest orientation [3, 3] of a bone in the armature, exactly orthonormal."""
    return quaternion.to_matrix(
        quaternion.normalize(quaternion.from_matrix(np.array(bone.bone.matrix_local, dtype=np.float64)[:3, :3]))
    )
