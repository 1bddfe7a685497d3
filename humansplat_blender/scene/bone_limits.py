"""How far joints of people turn, as stock Limit Rotation constraints that one property switches on."""

from __future__ import annotations

from math import radians

import bpy

from . import rig_parts

LIMITS_SWITCH = "Rotation Limits"
"""Property 0..1 of the root bone, and the constraints' name."""
# Degrees about the bone's x (bend), y (along the bone) and z, of the left side, from the pose with arms out to the
# sides. The pelvis has none. After the ranges of motion in anatomy textbooks, rounded outwards.
_Range = tuple[float, float]
_RANGES: dict[str, tuple[_Range, _Range, _Range]] = {
    "spine1": ((-20, 35), (-20, 20), (-20, 20)),
    "spine2": ((-15, 30), (-20, 20), (-20, 20)),
    "spine3": ((-15, 25), (-20, 20), (-20, 20)),
    "neck": ((-35, 40), (-45, 45), (-30, 30)),
    "head": ((-35, 35), (-50, 50), (-30, 30)),
    "hip": ((-130, 35), (-50, 50), (-60, 35)),
    "knee": ((-5, 155), (-20, 20), (-8, 8)),
    "ankle": ((-30, 55), (-30, 30), (-25, 25)),
    "foot": ((-60, 45), (-10, 10), (-10, 10)),
    "collar": ((-25, 30), (-15, 15), (-15, 45)),
    "shoulder": ((-60, 135), (-100, 100), (-88, 88)),
    "elbow": ((-5, 155), (-100, 100), (-10, 10)),
    "wrist": ((-80, 85), (-90, 90), (-35, 35)),
    "hand": ((-30, 95), (-10, 10), (-20, 20)),
}


def add_limits(armature: bpy.types.Object) -> None:
    """Add the constraints, switched off; nothing where they are there."""
    root = rig_parts.root_bone(armature)
    if LIMITS_SWITCH in root:
        return
    rig_parts.add_switch(root, LIMITS_SWITCH, "Keep joints within what people can do")
    for joint, bone in rig_parts.bone_of_joint(armature).items():
        side, _, part = joint.rpartition("_")
        if part not in _RANGES:
            continue
        limit = bone.constraints.new("LIMIT_ROTATION")
        limit.name = LIMITS_SWITCH
        bone.constraints.move(len(bone.constraints) - 1, 0)  # before controls: they limit the bones' own channels
        limit.owner_space = "LOCAL"
        # Of the three angles the middle one turns least.
        limit.euler_order = "YZX"
        for axis, (least, most) in zip("xyz", _RANGES[part]):
            if side == "right" and axis != "x":  # bones mirror each other, so bends alike and the rest opposite
                least, most = -most, -least
            setattr(limit, f"use_limit_{axis}", True)
            setattr(limit, f"min_{axis}", radians(least))
            setattr(limit, f"max_{axis}", radians(most))
        rig_parts.drive(limit, "influence", [rig_parts.property_of(root, LIMITS_SWITCH)], armature)


def set_limits(armature: bpy.types.Object, value: float) -> None:
    """Switch the limits: 0 off, 1 on; adds them where they are missing."""
    add_limits(armature)
    rig_parts.root_bone(armature)[LIMITS_SWITCH] = float(value)
    armature.update_tag()


def remove_limits(armature: bpy.types.Object) -> None:
    """Remove what :func:`add_limits` added."""
    root = rig_parts.root_bone(armature)
    if LIMITS_SWITCH not in root:
        return
    for bone in armature.pose.bones:
        for limit in [found for found in bone.constraints if found.name == LIMITS_SWITCH]:
            limit.driver_remove("influence")
            bone.constraints.remove(limit)
    del root[LIMITS_SWITCH]
    armature.update_tag()
