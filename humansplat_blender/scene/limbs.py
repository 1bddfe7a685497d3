"""The limbs that inverse kinematics can move, and bones put where they are wanted."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
from mathutils import Matrix

from .armature import set_rotation
from .rig_parts import SIDES

POLE_DISTANCE = 0.6
"""Of the limb's length, from the line between its ends to the pole."""


@dataclass(frozen=True)
class Limb:
    """A limb that inverse kinematics can move.

    Attributes:
        name: `Left Arm` and so on.
        joints: upper, lower and end joint, and the toes' where it is a leg.
        control: mark of the bone that hand or foot follows.
        pole: mark of the bone that elbow or knee points to.
        upper, lower: marks of the mechanism's bones.
        side: `left` or `right`.
    """

    name: str
    joints: tuple[str, ...]
    control: str
    pole: str
    upper: str
    lower: str
    side: str

    @property
    def switch(self) -> str:
        """The root bone's property that says how far the limb follows its controls."""
        return f"IK {self.name}"

    @property
    def is_leg(self) -> bool:
        """Whether it ends in a foot."""
        return len(self.joints) == 4

    @property
    def roll(self) -> str:
        """Mark of the foot's roll control."""
        return f"{self.side}_foot_roll"

    @property
    def toes(self) -> str:
        """Mark of the toes' control."""
        return f"{self.side}_toes_ik"

    @property
    def ankle(self) -> str:
        """Mark of the mechanism's bone that the ankle follows, after the foot's roll."""
        return f"{self.side}_ankle_mechanism"

    @property
    def target(self) -> str:
        """Mark of the bone that the end joint follows."""
        return self.ankle if self.is_leg else self.control


def _limb(side: str, leg: bool) -> Limb:
    parts = ("hip", "knee", "ankle", "foot") if leg else ("shoulder", "elbow", "wrist")
    upper, lower, end = ("thigh", "shin", "foot") if leg else ("upper_arm", "forearm", "hand")
    return Limb(
        name=f"{side.title()} {'Leg' if leg else 'Arm'}",
        joints=tuple(f"{side}_{part}" for part in parts),
        control=f"{side}_{end}_ik",
        pole=f"{side}_{parts[1]}_pole",
        upper=f"{side}_{upper}_mechanism",
        lower=f"{side}_{lower}_mechanism",
        side=side,
    )


LIMBS: dict[str, Limb] = {limb.name: limb for limb in (_limb(side, leg) for leg in (False, True) for side in SIDES)}


def set_shown(bone: bpy.types.PoseBone, wanted: Matrix, parent: Matrix | None, place: bool = False) -> None:
    """Set a bone's channels so that without constraints it stands as `wanted` in the armature.

    Args:
        bone: the bone.
        wanted: [4, 4] in the armature's space.
        parent: the same of its parent; None without one.
        place: set the location too, not only the rotation.
    """
    rest = bone.bone.matrix_local
    against = Matrix() if parent is None else parent @ bone.parent.bone.matrix_local.inverted()
    basis = (against @ rest).inverted() @ wanted
    set_rotation(bone, basis.to_quaternion())
    if place:
        bone.location = basis.translation
