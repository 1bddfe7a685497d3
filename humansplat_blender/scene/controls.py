"""Controls for animators: IK of hands and feet, foot roll, look-at and torso, added and removed at will.

The joints' own channels stay what they were (forward kinematics, FK). A limb's mechanism, two hidden bones solved by
Blender's inverse kinematics (IK), is copied to upper and lower bone as far as the limb's switch says: `IK Left Arm` and
so on, 0..1 on the root bone, 0 at first. Everything is stock constraints and drivers without Python, so that a saved
file needs no add-on.

Blender's solver starts from the mechanism's own channels, which :mod:`.ik_fk` sets; where they reach the control
already it changes nothing. It then bends elbow and knee about x alone, almost: the other axes are stiff. Locking them
would drop what they are turned by.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, radians
from typing import Any

import bpy
from mathutils import Matrix, Vector

from . import bone_look, rig_parts
from .armature import CONTROL, SWITCHES, TORSO_CONTROL, control_bone
from .ik_fk import snap_ik_to_fk
from .limbs import LIMBS, POLE_DISTANCE, Limb, set_shown
from .rig_parts import SIDES

PREFIX = "HumanSplat "
"""Of the constraints that belong to the controls."""
LOOK_AT = "look_at"
LOOK_AT_SWITCH = SWITCHES[-1]
_STIFF = 0.99
"""The most that Blender takes."""
_POLE_ANGLE = -pi / 2
"""Elbow and knee stick out towards the upper bone's -z, since bones bend towards +z."""
_ROLL_BREAK = radians(45.0)
"""The foot rolls on the ball up to here, then on the tip of the toes."""
_HEEL = 0.35
"""The heel's end behind the ankle, as a share of the distance from ankle to ball."""


def has_controls(armature: bpy.types.Object) -> bool:
    """Whether :func:`add_controls` has been at work."""
    bone = control_bone(armature, TORSO_CONTROL)
    return bone is not None and LOOK_AT_SWITCH in rig_parts.root_bone(armature)  # a linked copy has the bones alone


def add_controls(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Add all controls, in the place of the present pose, which does not change; nothing where they are there.

    Raises:
        ValueError: bones are missing or cannot be edited; one sentence.
    """
    if has_controls(armature):
        return
    bone_look.merge_shapes()
    with rig_parts.edit_bones(context, armature) as bones:
        marks = _create_bones(armature, bones)
    for mark, name in marks.items():
        armature.data.bones[name][CONTROL] = mark
    controls = rig_parts.marked_bones(armature)
    joints = rig_parts.bone_of_joint(armature)
    root = rig_parts.root_bone(armature)
    for name in SWITCHES:
        what = "The head looks at the look-at control" if name == LOOK_AT_SWITCH else "0: own channels, 1: controls"
        rig_parts.add_switch(root, name, what)
    for mark in marks:
        controls[mark].rotation_mode = "QUATERNION"
    for limb in LIMBS.values():
        _constrain_limb(armature, limb, joints, controls, root)
    _constrain_torso(armature, joints["pelvis"], controls[TORSO_CONTROL])
    look = _constrain(joints["head"], "DAMPED_TRACK", armature, controls[LOOK_AT], "Look At")
    look.track_axis = "TRACK_Z"
    rig_parts.drive(look, "influence", [rig_parts.property_of(root, LOOK_AT_SWITCH)], armature)
    _style(armature, {mark: controls[mark] for mark in marks})
    context.view_layer.update()
    for name in LIMBS:
        snap_ik_to_fk(context, armature, name)


def remove_controls(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Remove what :func:`add_controls` added; the present pose moves into the joints' own channels.

    Animation of the controls stays in its action, to no effect: bake it to the joints first (Bake Action, visual
    keying) where it is to be kept.

    Raises:
        ValueError: the bones cannot be edited; one sentence.
    """
    if not has_controls(armature):
        return
    rig_parts.check_editable(context, armature)
    root = rig_parts.root_bone(armature)
    joints = rig_parts.bone_of_joint(armature)
    marked = {mark for mark in _marks() if control_bone(armature, mark) is not None}
    in_use = any(root.get(name, 0.0) for name in SWITCHES)
    moved = control_bone(armature, TORSO_CONTROL).matrix_basis != Matrix()
    context.view_layer.update()
    shown = {name: bone.matrix.copy() for name, bone in joints.items()}
    for bone in joints.values():
        _release(bone)
    for mark in marked:
        bone = control_bone(armature, mark)
        _release(bone)
        bone.custom_shape = None
    for name in SWITCHES:
        if name in root:
            del root[name]
    if in_use or moved:
        for name, bone in joints.items():
            set_shown(bone, shown[name], shown_parent(bone, shown, joints), place=name == "pelvis")
    rig_parts.remove_bones(context, armature, [control_bone(armature, mark).name for mark in marked])
    for name in ("Controls", bone_look.MECHANISM):
        collection = armature.data.collections.get(name)
        if collection is not None and not len(collection.bones):
            armature.data.collections.remove(collection)
    context.view_layer.update()


def shown_parent(
    bone: bpy.types.PoseBone, shown: dict[str, Matrix], joints: dict[str, bpy.types.PoseBone]
) -> Matrix | None:
    """Where a bone's parent is in the armature: as `shown` says of joints, otherwise as it stands."""
    if bone.parent is None:
        return None
    joint = next((name for name, other in joints.items() if other == bone.parent), None)
    return shown[joint] if joint in shown else bone.parent.matrix


def _release(bone: bpy.types.PoseBone) -> None:
    """Remove the controls' constraints of a bone, and their drivers, which would stay otherwise."""
    for constraint in [found for found in bone.constraints if found.name.startswith(PREFIX)]:
        constraint.driver_remove("influence")
        bone.constraints.remove(constraint)


def _marks() -> Iterator[str]:
    """Marks of all bones that :func:`add_controls` makes."""
    for limb in LIMBS.values():
        yield from (limb.control, limb.pole, limb.upper, limb.lower)
        if limb.is_leg:
            yield from (limb.roll, limb.toes, limb.ankle)
            yield from _pivots(limb).values()
    yield from (TORSO_CONTROL, LOOK_AT)


def _pivots(limb: Limb) -> dict[str, str]:
    """Marks of the bones about which a foot rolls."""
    return {part: f"{limb.side}_{part}_mechanism" for part in ("heel", "tip", "ball")}


def _create_bones(armature: bpy.types.Object, bones: bpy.types.ArmatureEditBones) -> dict[str, str]:
    """All bones of the controls; returns their names by mark."""
    joints = {joint: bones[bone.name] for joint, bone in rig_parts.bone_of_joint(armature).items()}
    root = bones[rig_parts.root_bone(armature).name]
    made: dict[str, str] = {}

    def copy(mark: str, source: bpy.types.EditBone, parent: bpy.types.EditBone) -> bpy.types.EditBone:
        bone = rig_parts.copy_bone(bones, source, mark, parent)
        made[mark] = bone.name
        return bone

    def put(mark: str, head: Vector, tail: Vector, z: Vector, parent: bpy.types.EditBone) -> bpy.types.EditBone:
        bone = bones.new(mark)
        bone.head, bone.tail, bone.parent, bone.use_deform = head, tail, parent, False
        bone.align_roll(z)
        made[mark] = bone.name
        return bone

    # As in the rest pose: Blender's axes, the person looks along -y.
    forward, up = Vector((0.0, -1.0, 0.0)), Vector((0.0, 0.0, 1.0))
    for limb in LIMBS.values():
        upper, lower, end = (joints[joint] for joint in limb.joints[:3])
        free = copy(limb.upper, upper, upper.parent)
        copy(limb.lower, lower, free)
        length = upper.length + lower.length
        elbow = lower.head + POLE_DISTANCE * length * (forward if limb.is_leg else -forward)
        put(limb.pole, elbow, elbow + 0.12 * length * forward, up, root)
        if not limb.is_leg:
            copy(limb.control, end, root)
            continue
        toes = joints[limb.joints[3]]
        sole = Vector((toes.head.x - end.head.x, toes.head.y - end.head.y, 0.0))
        size = max(sole.length, 0.3 * end.length)
        # The feet stand on the ground in the rest pose, at the height of the root bone.
        ground = root.head.z
        control = put(limb.control, end.head, end.head + size * forward, up, root)
        heel = Vector((end.head.x, end.head.y, ground)) - _HEEL * size * forward
        tip = Vector((toes.tail.x, toes.tail.y, ground))
        parent = control
        for part, place in (("heel", heel), ("tip", tip), ("ball", toes.head)):
            parent = put(_pivots(limb)[part], place, place + 0.3 * size * up, forward, parent)
        copy(limb.ankle, end, parent)
        copy(limb.toes, toes, bones[made[_pivots(limb)["tip"]]])
        behind = heel - 0.3 * size * forward
        put(limb.roll, behind, behind + 0.7 * size * up, forward, control)
    copy(TORSO_CONTROL, joints["pelvis"], root)
    head = joints["head"]
    eyes = head.head + 4.0 * head.length * forward
    put(LOOK_AT, eyes, eyes + 0.5 * head.length * forward, up, root)
    return made


def _constrain_limb(
    armature: bpy.types.Object,
    limb: Limb,
    joints: dict[str, bpy.types.PoseBone],
    controls: dict[str, bpy.types.PoseBone],
    root: bpy.types.PoseBone,
) -> None:
    """Mechanism to controls, and joints to mechanism."""
    switch = rig_parts.property_of(root, limb.switch)
    lower = controls[limb.lower]
    lower.ik_stiffness_y = lower.ik_stiffness_z = _STIFF
    solver = _constrain(lower, "IK", armature, controls[limb.target], "IK")
    solver.pole_target, solver.pole_subtarget, solver.pole_angle = armature, controls[limb.pole].name, _POLE_ANGLE
    solver.chain_count, solver.use_stretch, solver.iterations = 2, False, 500
    # Solved in full as soon as anything of it shows, and at no cost before: influence stops at 1.
    rig_parts.drive(solver, "influence", [switch], armature, factor=1e6)

    followed = [limb.upper, limb.lower, limb.target, *([limb.toes] if limb.is_leg else [])]
    for joint, mark in zip(limb.joints, followed):
        # Rotations alone: a limb that is half one and half the other keeps its length.
        copied = _constrain(joints[joint], "COPY_ROTATION", armature, controls[mark], "IK")
        rig_parts.drive(copied, "influence", [switch], armature)
    if limb.is_leg:
        pivots = {part: controls[mark] for part, mark in _pivots(limb).items()}
        _roll(armature, pivots["heel"], controls[limb.roll], (-pi / 2, 0.0), (-pi / 2, 0.0))
        _roll(armature, pivots["ball"], controls[limb.roll], (0.0, _ROLL_BREAK), (0.0, _ROLL_BREAK))
        _roll(armature, pivots["tip"], controls[limb.roll], (_ROLL_BREAK, pi / 2), (0.0, pi / 2 - _ROLL_BREAK))
        roll = controls[limb.roll]
        roll.rotation_mode = "XYZ"
        roll.lock_location = roll.lock_scale = (True, True, True)
        roll.lock_rotation = (False, True, True)
    controls[limb.pole].lock_rotation = controls[limb.pole].lock_scale = (True, True, True)


def _roll(
    armature: bpy.types.Object,
    pivot: bpy.types.PoseBone,
    control: bpy.types.PoseBone,
    given: tuple[float, float],
    wanted: tuple[float, float],
) -> None:
    """Turn a pivot about x with the part `given` of the roll control's angle, radians."""
    mapped = _constrain(pivot, "TRANSFORM", armature, control, "Roll")
    mapped.owner_space = mapped.target_space = "LOCAL"
    mapped.map_from = mapped.map_to = "ROTATION"
    mapped.from_min_x_rot, mapped.from_max_x_rot = given
    mapped.to_min_x_rot, mapped.to_max_x_rot = wanted


def _constrain_torso(armature: bpy.types.Object, pelvis: bpy.types.PoseBone, control: bpy.types.PoseBone) -> None:
    """The pelvis moves as its control does, and then as its own channels say."""
    copied = _constrain(pelvis, "COPY_TRANSFORMS", armature, control, "Torso")
    copied.owner_space = copied.target_space = "LOCAL"
    copied.mix_mode = "BEFORE_FULL"


def _constrain(
    bone: bpy.types.PoseBone, kind: str, armature: bpy.types.Object, target: bpy.types.PoseBone, name: str
) -> Any:
    constraint = bone.constraints.new(kind)
    constraint.name = PREFIX + name
    constraint.target, constraint.subtarget = armature, target.name
    return constraint


def _style(armature: bpy.types.Object, controls: dict[str, bpy.types.PoseBone]) -> None:
    """Shapes, colours and collections of the controls; the mechanism is hidden."""
    hidden = {mark: bone for mark, bone in controls.items() if mark.endswith("_mechanism")}
    rig_parts.assign(armature, "Controls", [bone.bone for mark, bone in controls.items() if mark not in hidden])
    rig_parts.assign(armature, bone_look.MECHANISM, [bone.bone for bone in hidden.values()])
    armature.data.collections[bone_look.MECHANISM].is_visible = False
    for mark, bone in controls.items():
        if mark in hidden:
            continue
        bone_look.colour_by_side(bone.bone, mark)
        part = mark.partition("_")[2] if mark.partition("_")[0] in SIDES else mark
        kind, scale = _SHAPES[part]
        bone_look.set_shape(bone, kind, scale)


_SHAPES = {
    "hand_ik": ("box", (0.9, 1.6, 0.5)),
    "foot_ik": ("ground", (0.9, 1.4, 1.0)),
    "toes_ik": ("box", (1.0, 1.0, 0.6)),
    "foot_roll": ("lever", (1.0, 1.0, 1.0)),
    "elbow_pole": ("diamond", (1.0, 1.0, 1.0)),
    "knee_pole": ("diamond", (1.0, 1.0, 1.0)),
    TORSO_CONTROL: ("square", (2.8, 1.0, 2.4)),
    LOOK_AT: ("hoop", (1.0, 1.0, 1.0)),
}
