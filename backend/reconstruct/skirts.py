"""Skirts, dresses and coat tails: what hangs between the legs, and how far down."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from ..body.model import JOINT_INDEX
from .config import LAYERS, LayerConfig

_LEG = ("hip", "knee", "ankle", "foot")
_LEFT, _RIGHT = (np.array([JOINT_INDEX[f"{side}_{name}"] for name in _LEG]) for side in ("left", "right"))


def find_hem(points: np.ndarray, area: np.ndarray, joints: np.ndarray, config: LayerConfig = LAYERS) -> float | None:
    """How far down the legs a garment that hangs between them ends, see :func:`down_legs`; None where none does.

    Args:
        points: [n, 3] metres, camera space, halfway between the legs, where the photo shows something that is not the
            body's.
        area: [n] square metres of each.
        joints: [24, 3] posed.
        config: how much it must be.
    """
    along = down_legs(points, joints)
    length = np.mean([np.linalg.norm(np.diff(joints[leg[:3]], axis=0), axis=1).sum() for leg in (_LEFT, _RIGHT)])
    # Between shins it may be a shadow on the floor.
    if area[along < 1].sum() < config.skirt_area * length**2:
        return None
    # No garment covers feet.
    return min(float(np.quantile(along, config.hem)), 2.0)


def hem_by_colours(along: np.ndarray, rgb: np.ndarray) -> float:
    """How far down the legs their colours change most, see :func:`down_legs`: the hem of a skirt that lies on them.

    The cut that leaves the least variance above and below it; 2, the ankles, where it takes less than a quarter away,
    as of a dress down to the floor.

    Args:
        along: [n] how far down the legs each pixel is.
        rgb: uint8 [n, 3].
    """
    order = np.argsort(along)
    order = order[(along[order] > 0) & (along[order] < 2)]
    if len(order) < 2:
        return 2.0
    colour = cv2.cvtColor(rgb[order][None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0].astype(float)
    colour -= colour.mean(0)
    above, below = np.arange(1, len(order)), np.arange(len(order) - 1, 0, -1)
    # The sums above and below each cut are each other's negative: the variance between them is theirs.
    between = (colour.cumsum(0)[:-1] ** 2).sum(1) * (1 / above + 1 / below)
    cut = int(between.argmax())
    return 2.0 if between[cut] < (colour**2).sum() / 4 else float(along[order[cut]])


def between_legs(
    points: np.ndarray, joints: np.ndarray, halfway: float = LAYERS.halfway
) -> tuple[np.ndarray, np.ndarray]:
    """Whether ``points`` [n, 3] lie between both legs, and whether their share of the left leg is also within
    ``halfway`` of a half: bool [n] each."""
    (left, _, to_left), (right, _, to_right) = (_nearest(points, joints[leg]) for leg in (_LEFT, _RIGHT))
    # In profile what lies before the legs is as near to both.
    between = (to_left * to_right).sum(1) < 0
    return between, between & (np.abs(_share(left, right) - 0.5) < halfway)


def down_legs(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """How far down the legs ``points`` [n, 3] are, [n]: 0 at the hips, 1 at the knees, 2 at the ankles."""
    (left, along_left, _), (right, along_right, _) = (_nearest(points, joints[leg]) for leg in (_LEFT, _RIGHT))
    share = _share(left, right)
    return share * along_left + (1 - share) * along_right


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
