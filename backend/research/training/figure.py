"""The one thing that is lit and rendered: a posed, coloured character made of triangles, from wherever it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

PART_NAMES = ("background", "head", "hair", "torso", "arms", "hands", "legs", "feet")
"""Body-part labels by number. Clothes take the label of the part that they cover; hats count as hair, bags as torso."""
PART_INDEX = {name: i for i, name in enumerate(PART_NAMES)}


@dataclass(frozen=True)
class Surface:
    """What a surface looks like at n points.

    Attributes:
        albedo: [n, 3] linear reflectance in 0..1.
        gloss: [n] strength of a soft highlight in 0..1 (0 cloth, 0.1 skin, 0.3 hair, 0.5 leather).
    """

    albedo: torch.Tensor
    gloss: torch.Tensor


Material = Callable[[torch.Tensor, torch.Tensor], Surface]
"""Called with face numbers int64 [n] and their interpolated ``corners`` [n, C]; answers for those points, where they
are. One that keeps tensors of its own may have a method ``to(device)``, see :meth:`Figure.to`."""


@dataclass(frozen=True)
class TrueBody:
    """The SMPL-format body inside a figure, in the figure's space.

    Attributes:
        name: of the body file (neutral, female, male, child).
        betas: float64 [10].
        pose: float64 [24, 3] axis-angle; the pelvis' row in world axes.
        translation: float64 [3] metres.
        joints: float64 [24, 3] posed joints, world space.
    """

    name: str
    betas: torch.Tensor
    pose: torch.Tensor
    translation: torch.Tensor
    joints: torch.Tensor


@dataclass(frozen=True)
class Figure:
    """A posed character as triangles. World space: metres, y up, z out of the chest at rest; float32, one device.

    Attributes:
        vertices: [V, 3].
        normals: [V, 3] unit, outward.
        faces: int64 [F, 3], counter-clockwise seen from outside.
        corners: [F, 3, C], what the material is evaluated from, at each face's corners; interpolated linearly.
        part: int64 [F], numbers of :data:`PART_NAMES`.
        two_sided: bool [F]; the other faces may be culled when they show their back.
        material: see :data:`Material`.
        body: the body inside, None for a character that has no SMPL body.
    """

    vertices: torch.Tensor
    normals: torch.Tensor
    faces: torch.Tensor
    corners: torch.Tensor
    part: torch.Tensor
    two_sided: torch.Tensor
    material: Material
    body: TrueBody | None = None

    def to(self, device: torch.device | str) -> Figure:
        """The same figure on another device; the body inside stays where it is."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) for name, value in moved.items() if isinstance(value, torch.Tensor)}
        move = getattr(self.material, "to", None)
        return replace(self, **moved, material=self.material if move is None else move(device))
