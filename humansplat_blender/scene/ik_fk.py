"""Switching a limb between its own channels (FK) and its controls (IK) without a jump."""

from __future__ import annotations

from math import atan2, degrees, radians

import bpy
from mathutils import Matrix, Quaternion, Vector

from . import rig_parts
from .armature import set_rotation
from .limbs import LIMBS, POLE_DISTANCE, Limb, set_shown

_SMALLEST_BEND = radians(0.4)
_STRAIGHT = radians(0.2)
"""Limbs that overstretch by less are bent by the smallest bend instead; with more they stay as they are."""


def snap_ik_to_fk(context: bpy.types.Context, armature: bpy.types.Object, limb: str) -> None:
    """Put a limb's controls where its own channels have it; the switch stays.

    Args:
        context: whose scene the armature is in.
        armature: an armature with controls.
        limb: a key of :data:`.controls.LIMBS`.

    Raises:
        ValueError: there are no controls, or no such limb.
    """
    found = _limb(armature, limb)
    _put_controls(context, armature, found, _shown(context, armature, found, 0.0))


def snap_fk_to_ik(context: bpy.types.Context, armature: bpy.types.Object, limb: str) -> None:
    """Give a limb's own channels the pose of its controls; the switch stays. Otherwise as :func:`snap_ik_to_fk`."""
    found = _limb(armature, limb)
    _put_joints(context, armature, found, _shown(context, armature, found, 1.0))


def switch_limb(context: bpy.types.Context, armature: bpy.types.Object, limb: str, to_ik: bool) -> None:
    """Hand a limb over to its controls or to its own channels; what is shown stays, also from half way."""
    found = _limb(armature, limb)
    root = rig_parts.root_bone(armature)
    shown = _shown(context, armature, found, root[found.switch])
    _put_joints(context, armature, found, shown)
    _put_controls(context, armature, found, shown)
    _set_switch(context, armature, found, float(to_ik))


def overstretch(context: bpy.types.Context, armature: bpy.types.Object, limb: str) -> float:
    """How far elbow or knee bends the wrong way by its own channels, degrees; 0 where it does not.

    Inverse kinematics that start there bend it further so.
    """
    upper, lower = _shown(context, armature, _limb(armature, limb), 0.0)[:2]
    return max(0.0, -degrees(_bend(upper, lower, _joints(armature, LIMBS[limb]))[1]))


def key_limb(armature: bpy.types.Object, limb: str, frame: float) -> None:
    """Keyframes of all that switching a limb changes: the switch, the limb's joints, controls and mechanism."""
    found = _limb(armature, limb)
    marked = rig_parts.marked_bones(armature)
    marks = [found.control, found.pole, found.upper, found.lower, *([found.roll, found.toes] if found.is_leg else [])]
    for bone in [*_joints(armature, found), *(marked[mark] for mark in marks)]:
        path = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(bone.rotation_mode)
        bone.keyframe_insert(path or "rotation_euler", frame=frame, group=bone.name)
    for mark in (found.control, found.pole):
        marked[mark].keyframe_insert("location", frame=frame, group=marked[mark].name)
    root = rig_parts.root_bone(armature)
    root.keyframe_insert(f'["{found.switch}"]', frame=frame, group=root.name)
    # Half way between two switches there is nothing to see that anyone wants.
    for curve in _curves(armature):
        if curve.data_path == f'{root.path_from_id()}["{found.switch}"]':
            for point in curve.keyframe_points:
                point.interpolation = "CONSTANT"


def _curves(armature: bpy.types.Object) -> list[bpy.types.FCurve]:
    """F-curves of the armature's action, which 4.4 and later keep in slots."""
    data = armature.animation_data
    if not hasattr(data, "action_slot"):
        return list(data.action.fcurves)
    bags = (strip.channelbag(data.action_slot) for layer in data.action.layers for strip in layer.strips)
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _limb(armature: bpy.types.Object, name: str) -> Limb:
    if name not in LIMBS:
        raise ValueError(f"There is no limb {name}: choose one of {', '.join(LIMBS)}.")
    if LIMBS[name].switch not in rig_parts.root_bone(armature):
        raise ValueError(f"{armature.name} has no controls: add them first.")
    return LIMBS[name]


def _joints(armature: bpy.types.Object, limb: Limb) -> list[bpy.types.PoseBone]:
    joints = rig_parts.bone_of_joint(armature)
    return [joints[joint] for joint in limb.joints]


def _set_switch(context: bpy.types.Context, armature: bpy.types.Object, limb: Limb, value: float) -> None:
    rig_parts.root_bone(armature)[limb.switch] = value
    armature.update_tag()
    context.view_layer.update()


def _shown(context: bpy.types.Context, armature: bpy.types.Object, limb: Limb, switch: float) -> list[Matrix]:
    """Where the limb's joints are in the armature with the switch at this value, which is put back."""
    before = rig_parts.root_bone(armature)[limb.switch]
    _set_switch(context, armature, limb, switch)
    shown = [bone.matrix.copy() for bone in _joints(armature, limb)]
    if before != switch:
        _set_switch(context, armature, limb, before)
    return shown


def _put_joints(context: bpy.types.Context, armature: bpy.types.Object, limb: Limb, shown: list[Matrix]) -> None:
    bones = _joints(armature, limb)
    parents = [bones[0].parent.matrix, *shown]
    for bone, wanted, parent in zip(bones, shown, parents):
        set_shown(bone, wanted, parent)
    armature.update_tag()
    context.view_layer.update()


def _bend(upper: Matrix, lower: Matrix, joints: list[bpy.types.PoseBone]) -> tuple[Quaternion, float]:
    """The lower bone's turn against the upper one, from rest, and how far it is bent about its x axis, radians."""
    rest = joints[0].bone.matrix_local.inverted() @ joints[1].bone.matrix_local
    turn = (rest.inverted() @ (upper.inverted() @ lower)).to_quaternion()
    # Between the bones, not from rest, where limbs are a little bent.
    along = upper.to_3x3().transposed() @ lower.to_3x3().col[1]
    return turn, atan2(along.z, along.y)


def _put_controls(context: bpy.types.Context, armature: bpy.types.Object, limb: Limb, shown: list[Matrix]) -> None:
    """Place the controls, and the mechanism as well: the solver starts from it, and so has nothing left to do."""
    bones = rig_parts.marked_bones(armature)
    joints = _joints(armature, limb)
    upper, lower, end = shown[:3]
    turn, angle = _bend(upper, lower, joints)
    # The solver cannot bend what is straight. Bent by so little, hand and foot stay in place to a tenth of a
    # millimetre.
    more = max(0.0, _SMALLEST_BEND - abs(angle)) if angle > -_STRAIGHT else 0.0
    if angle < 0 < more:
        more = _SMALLEST_BEND - angle
    set_shown(bones[limb.upper], upper @ Matrix.Rotation(-more / 2, 4, "X"), bones[limb.upper].parent.matrix)
    set_rotation(bones[limb.lower], turn @ Quaternion((1.0, 0.0, 0.0), more))

    root = rig_parts.root_bone(armature).matrix
    control = bones[limb.control]
    place = end
    if limb.is_leg:
        bones[limb.roll].rotation_euler = (0.0, 0.0, 0.0)
        place = end @ joints[2].bone.matrix_local.inverted() @ control.bone.matrix_local
        tip = bones[limb.toes].parent
        set_shown(bones[limb.toes], shown[3], place @ control.bone.matrix_local.inverted() @ tip.bone.matrix_local)
        bones[limb.toes].location = (0.0, 0.0, 0.0)
    set_shown(control, place, root, place=True)

    pole = bones[limb.pole]
    set_shown(pole, Matrix.Translation(_pole(upper, lower, end)) @ root.to_3x3().to_4x4(), root, place=True)
    pole.rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    armature.update_tag()
    context.view_layer.update()


def _pole(upper: Matrix, lower: Matrix, end: Matrix) -> Vector:
    """A place in the plane that the solver turns the upper bone's -z axis into, beside the elbow or knee."""
    start = upper.translation
    along = (end.translation - start).normalized()
    side = -upper.to_3x3().col[2]
    side = (side - along * side.dot(along)).normalized()
    reach = (lower.translation - start).dot(along)
    length = (lower.translation - start).length + (end.translation - lower.translation).length
    return start + along * reach + side * POLE_DISTANCE * length
