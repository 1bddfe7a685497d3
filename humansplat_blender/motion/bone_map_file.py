"""Bone maps as files to edit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import bpy

from ...backend.avatar.bone_maps import JOINT_NAMES, MAPS, REQUIRED, find_map, missing_joints
from ...backend.avatar.motion import MotionError


def write_bone_map(armature: bpy.types.Object, path: str | Path) -> list[str]:
    """Write which bones of an armature are which joints, as far as their names say, to edit and to load again.

    The file also lists all bones of the armature. Returns the required joints that have no bone yet.

    Raises:
        MotionError: the file cannot be written.
    """
    names = [bone.name for bone in armature.data.bones]
    title, bones = guess_bones(names)
    data = {"name": title, "bones": {joint: bones.get(joint) for joint in JOINT_NAMES}, "bones of the armature": names}
    try:
        Path(path).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise MotionError(f"{Path(path).name} cannot be written: {error.strerror or error}.") from error
    return missing_joints(bones)


def guess_bones(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Name of the shipped map that fits best, and the bones that it finds, which may be too few for a motion."""
    names = list(names)
    try:
        found = find_map(names)
        return found.name, dict(found.bones)
    except MotionError:
        pass
    best: tuple[str, dict[str, str]] = ("My rig", {})
    for joints in MAPS.values():
        # With made-up bones for what is required a map is found; these are taken out of it again.
        made_up = [joints[joint][0] for joint in (*REQUIRED, "neck", "head") if joint in joints]
        bones = {joint: bone for joint, bone in find_map([*made_up, *names]).bones.items() if bone in names}
        if len(bones) > len(best[1]):
            best = ("My rig", bones)
    return best
