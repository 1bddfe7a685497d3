"""Skirts, dresses and coat tails: what hangs between the legs is one garment with what is on them, carried by both.

Were each half to go with its own leg, the middle would be torn in a stride. So every place of it takes the weights of
the nearer leg most, and those of the same place of the other leg the more, the nearer that one is too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..body.model import JOINT_INDEX

_LEG = ("hip", "knee", "ankle", "foot")
_LEFT, _RIGHT = (np.array([JOINT_INDEX[f"{side}_{name}"] for name in _LEG]) for side in ("left", "right"))
_MIDDLE = 0.25
"""How far a place's share of the left leg may be from a half for it to be between both."""
_LEAST, _HIGHEST = 0.006, 0.8
"""Square metres between the legs, below which nothing hangs there, and where it begins at the latest, along a leg. Of
60 people of the factory those in skirts to the knees or longer have .0078 or more, from .5 or higher up, but for one
who strides; others have at most .003. On photos loose trousers have up to .006, and shadows begin at the shins."""
_RANGE = (0.05, 0.98)
"""Quantiles of where along the legs that is: where the garment's gap begins, and its hem."""
_ABOVE, _BELOW = 0.4, 0.08
"""Of a bone's length: over which both legs begin to carry it, and over which it ends at the hem."""
_LOWEST = 1.85
"""Along a leg: no garment covers feet."""


@dataclass(frozen=True)
class Skirt:
    """What both legs carry.

    Attributes:
        joints: [24, 3] metres, of the body that wears it, posed.
        top, hem: along the legs, 0 at the hips, 1 at the knees, 2 at the ankles: where it begins to span them and ends.
    """

    joints: np.ndarray
    top: float
    hem: float

    def below_top(self, points: np.ndarray) -> np.ndarray:
        """How far both legs carry what is at ``points`` [n, 3], in 0..1, if it belongs to it."""
        along = _beside_legs(points, self.joints)[1]
        return ((along - max(self.top - _ABOVE, 0)) / _ABOVE).clip(0, 1)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """How far it is before and behind what is at ``points`` [n, 3] on or beside a leg, in 0..1."""
        along = _beside_legs(points, self.joints)[1]
        return self.below_top(points) * ((self.hem - along) / _BELOW).clip(0, 1)

    def carry(self, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Skinning weights [n, 24] of places [n, 3] of it, from those of what they lie on or between."""
        share, part = _beside_legs(points, self.joints)[0][:, None], self.below_top(points)[:, None]
        both, out = weights[:, _LEFT] + weights[:, _RIGHT], weights.copy()
        out[:, _LEFT] += part * (share * both - weights[:, _LEFT])
        out[:, _RIGHT] += part * ((1 - share) * both - weights[:, _RIGHT])
        return out


def find_skirt(points: np.ndarray, area: np.ndarray, joints: np.ndarray) -> Skirt | None:
    """What hangs between the legs, if it is a garment.

    Args:
        points: [n, 3] metres, places beside legs where the photo shows something that is not the body's.
        area: [n] square metres of each.
        joints: [24, 3] posed.
    """
    along = _beside_legs(points, joints)[1]
    between = between_legs(points, joints)
    if area[between].sum() < _LEAST:
        return None
    top, hem = np.quantile(along[between], _RANGE)
    return Skirt(joints, float(top), min(float(hem), _LOWEST)) if top < _HIGHEST else None


def between_legs(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Whether ``points`` [n, 3] are about as near to one leg as to the other: bool [n]."""
    return np.abs(_beside_legs(points, joints)[0] - 0.5) < _MIDDLE


def _beside_legs(points: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of ``points`` [n, 3] is the left leg's [n], in 0..1, and how far down the legs they are [n]."""
    (left, along_left), (right, along_right) = (_nearest(points, joints[leg]) for leg in (_LEFT, _RIGHT))
    share = right / np.maximum(left + right, 1e-12)
    return share, share * along_left + (1 - share) * along_right


def _nearest(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances [n] of ``points`` [n, 3] to a line through ``line`` [k, 3], and where on it [n], in bones."""
    best, where = np.full(len(points), np.inf), np.zeros(len(points))
    for number, (start, end) in enumerate(pairwise(line)):
        bone = end - start
        part = ((points - start) @ bone / max(bone @ bone, 1e-12)).clip(0, 1)
        away = ((points - start - part[:, None] * bone) ** 2).sum(1)
        nearer = away < best
        best[nearer], where[nearer] = away[nearer], number + part[nearer]
    return best, where
