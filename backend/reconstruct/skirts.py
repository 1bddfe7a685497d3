"""Skirts, dresses and coat tails: what hangs between the legs is one garment with what is on them, carried by both.

Were each half to go with its own leg, the middle would be torn in a stride. So every place of it takes the weights of
the nearer leg most, and those of the same place of the other leg the more, the nearer that one is too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..body.model import JOINT_INDEX
from .config import LAYERS, LayerConfig

_LEG = ("hip", "knee", "ankle", "foot")
_LEFT, _RIGHT = (np.array([JOINT_INDEX[f"{side}_{name}"] for name in _LEG]) for side in ("left", "right"))


@dataclass(frozen=True)
class Skirt:
    """What both legs carry.

    Attributes:
        joints: [24, 3] metres, of the body that wears it, posed, camera space.
        hem: how far down the legs it ends: 0 at the hips, 1 at the knees, 2 at the ankles.
        waist: over how much of a thigh, from the hips down, both legs begin to carry it.
    """

    joints: np.ndarray
    hem: float
    waist: float = LAYERS.waist

    def inside(self, points: np.ndarray) -> np.ndarray:
        """How far it is before and behind what is at ``points`` [n, 3] on or beside a leg, in 0..1."""
        along = _beside_legs(points, self.joints)[1]
        return self._carried(along) * (along < self.hem)

    def carry(self, points: np.ndarray, hung: np.ndarray, legs: np.ndarray) -> np.ndarray:
        """Skinning weights [n, 24] of places [n, 3] of it.

        Args:
            points: camera space.
            hung: [n, 24] weights that they would have, and have at the hips.
            legs: [n, 24] weights of the legs and the trunk around them.
        """
        share, along = _beside_legs(points, self.joints)
        both, carried = legs[:, _LEFT] + legs[:, _RIGHT], legs.copy()
        carried[:, _LEFT], carried[:, _RIGHT] = share[:, None] * both, (1 - share)[:, None] * both
        return hung + self._carried(along)[:, None] * (carried - hung)

    def _carried(self, along: np.ndarray) -> np.ndarray:
        """How much of what is ``along`` [n] the legs both carry, in 0..1."""
        return (along / self.waist).clip(0, 1)


def find_skirt(points: np.ndarray, area: np.ndarray, joints: np.ndarray, config: LayerConfig = LAYERS) -> Skirt | None:
    """What hangs between the legs, if it is a garment.

    Args:
        points: [n, 3] metres, camera space, halfway between the legs, where the photo shows something that is not the
            body's.
        area: [n] square metres of each.
        joints: [24, 3] posed.
        config: how much it must be.
    """
    along = _beside_legs(points, joints)[1]
    length = np.mean([np.linalg.norm(np.diff(joints[leg[:3]], axis=0), axis=1).sum() for leg in (_LEFT, _RIGHT)])
    # Between shins it may be a shadow on the floor.
    if area[along < 1].sum() < config.skirt_area * length**2:
        return None
    return Skirt(joints, min(float(np.quantile(along, config.hem)), 2.0), config.waist)


def between_legs(
    points: np.ndarray, joints: np.ndarray, halfway: float = LAYERS.halfway
) -> tuple[np.ndarray, np.ndarray]:
    """Whether ``points`` [n, 3] lie between both legs, and whether their share of the left leg is also within
    ``halfway`` of a half: bool [n] each."""
    (left, _, to_left), (right, _, to_right) = (_nearest(points, joints[leg]) for leg in (_LEFT, _RIGHT))
    # In profile what lies before the legs is as near to both.
    between = (to_left * to_right).sum(1) < 0
    return between, between & (np.abs(_share(left, right) - 0.5) < halfway)


def _beside_legs(points: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of ``points`` [n, 3] is the left leg's [n], in 0..1, and how far down the legs they are [n]."""
    (left, along_left, _), (right, along_right, _) = (_nearest(points, joints[leg]) for leg in (_LEFT, _RIGHT))
    share = _share(left, right)
    return share, share * along_left + (1 - share) * along_right


def _share(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The left leg's, of squared distances to both."""
    return right / np.maximum(left + right, 1e-12)


def _nearest(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ``points`` [n, 3] and a line through ``line`` [k, 3]: squared distances [n], the nearest place on the line
    [n], in bones, and the way there [n, 3]."""
    best, where, way = np.full(len(points), np.inf), np.zeros(len(points)), np.zeros_like(points, float)
    for number, (start, end) in enumerate(pairwise(line)):
        bone = end - start
        part = ((points - start) @ bone / max(bone @ bone, 1e-12)).clip(0, 1)
        there = start + part[:, None] * bone - points
        away = (there**2).sum(1)
        nearer = away < best
        best[nearer], where[nearer], way[nearer] = away[nearer], number + part[nearer], there[nearer]
    return best, where, way
