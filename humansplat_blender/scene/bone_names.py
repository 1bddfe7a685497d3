"""Bone names of other rigs, so that their tools, retargeters and engines recognise the armature; and back again.

Blender renames along what refers to bones: vertex groups of skinned meshes, constraints, drivers, and the channels of
actions that are in use (assigned, or in the NLA) by the armature's objects. The names of actions that are not in use at
that moment stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import bpy

from ...backend.avatar.bone_maps import MAPS
from . import rig_parts
from .armature import joint_names

_PRESET = "humansplat_bone_names"
SMPL = "SMPL"


@dataclass(frozen=True)
class Preset:
    """A rig's way to name bones.

    Attributes:
        table: its key in :data:`backend.avatar.bone_maps.MAPS`; None for SMPL's own names.
        prefix: before every joint's name.
        sided: name of a bone that the rig does not know, such as a control, from `{Side}`, `{s}` (l, r), `{S}` and
            `{part}`; such that Blender recognises the sides.
    """

    table: str | None
    prefix: str
    sided: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        SMPL: Preset(None, "", "{side}_{part}"),
        "Mixamo": Preset("Mixamo", "mixamorig:", "{Side}_{part}"),
        "Unreal": Preset("Unreal", "", "{part}_{s}"),
        "VRM": Preset("VRM", "", "{part}_{S}"),
        "Unity": Preset("Unity humanoid", "", "{Side}_{part}"),
        "Rigify": Preset("Rigify", "", "{part}.{S}"),
    }
)
MIRRORED = (SMPL, "Unreal", "Unity", "Rigify")
"""Presets whose names tell Blender the sides, for Paste Flipped and Symmetrize; the others' own names do not."""


def current_preset(armature: bpy.types.Object) -> str:
    """The preset that was applied last."""
    return armature.get(_PRESET, SMPL)


def preset_names(armature: bpy.types.Object, preset: str) -> dict[str, str]:
    """New names of an armature's joints, controls, mechanism and twist bones by their present ones.

    `root` keeps its name in every preset.

    Raises:
        ValueError: there is no such preset, or bones of the avatar are missing; one sentence.
    """
    if preset not in PRESETS:
        raise ValueError(f"There are no bone names called {preset}: choose one of {', '.join(PRESETS)}.")
    chosen = PRESETS[preset]
    table = MAPS[chosen.table] if chosen.table else {joint: (joint,) for joint in joint_names(armature)}
    names = {}
    for joint, bone in rig_parts.bone_of_joint(armature).items():
        names[bone.name] = chosen.prefix + table[joint][0] if joint in table else joint
    for mark, bone in rig_parts.marked_bones(armature).items():
        names[bone.name] = _sided(mark, chosen.sided)
    return names


def rename_bones(armature: bpy.types.Object, preset: str) -> int:
    """Give the bones the names of a preset, whatever they are called now; `SMPL` undoes every other.

    Returns:
        How many bones have another name than before.

    Raises:
        ValueError: as :func:`preset_names`; or a bone of the artist's has a name that is needed. Nothing is changed.
    """
    if armature.library is not None or armature.data.library is not None:
        raise ValueError(f"The bones of {armature.name} are linked from another file: rename them there.")
    names = preset_names(armature, preset)
    others = {bone.name for bone in armature.data.bones} - set(names)
    taken = sorted(others & set(names.values()))
    if taken:
        raise ValueError(f"Bones of yours are called {', '.join(taken)}: rename them first.")
    changed = {old: new for old, new in names.items() if old != new}
    if armature.mode == "EDIT":
        raise ValueError("Leave Edit Mode first.")
    bones = armature.data.bones
    # By way of names that nothing has: one bone's new name may be another's old one.
    for number, old in enumerate(changed):
        bones[old].name = f"humansplat renaming {number}"
    for number, new in enumerate(changed.values()):
        bones[f"humansplat renaming {number}"].name = new
    armature[_PRESET] = preset
    return len(changed)


def _sided(mark: str, form: str) -> str:
    side, _, part = mark.partition("_")
    if side not in rig_parts.SIDES:
        return mark
    return form.format(side=side, Side=side.title(), s=side[0], S=side[0].upper(), part=part)
