"""Where what the photo shows meets what is imagined: no step in brightness or tint along the rim of limbs and trunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..clothed import CHAIN_OF_JOINT, joint_of_splat
from ..neighbours import tree_of
from ..types import Reconstruction

_SEEN = 0.5
"""From where a splat counts as shown by the photo."""
_RIM = 0.015
"""Metres from the nearest of the other kind up to which one is at the seam."""
_AROUND = 60
"""Splats of a kind whose mean is compared: a patch of some two centimetres, so that stripes cancel."""
_REACH = 0.08
"""Metres from the seam at which nothing changes any more."""
_PLACES = 2000
"""Places of the seam that are asked, at least."""
_LENT = 12
"""Places of the seam that each splat asks."""
_ANOTHER = (0.12, 0.25)
"""Steps from which, and beyond which, there is another thing and no other light: skin beside cloth."""
_SIDE = 0.04
"""Metres that opposite normals count for: the two sides of thin parts do not mix."""
_APART = 10.0


@dataclass(frozen=True)
class Seam:
    """Which splats lie at the seam, and whom they ask.

    Attributes:
        near: [n] splats that the photo does not show, within reach.
        away: [n] metres from it.
        theirs, ours: [m, 60] splats on both sides of each of m places of the seam.
        asked: [n, k] which places each of ``near`` asks.
        weight: [n, k] how much each says.
    """

    near: np.ndarray
    away: np.ndarray
    theirs: np.ndarray
    ours: np.ndarray
    asked: np.ndarray
    weight: np.ndarray


def seam_of(splats: Reconstruction) -> Seam | None:
    """Where what the photo shows of ``splats`` ends, whatever their colours; None where it does not."""
    limb = CHAIN_OF_JOINT[joint_of_splat(splats)]
    place = np.column_stack([splats.position, _SIDE * splats.rotation[:, :, 2], _APART * limb])
    seen = splats.seen >= _SEEN
    if min(seen.sum(), (~seen).sum()) < _AROUND:
        return None
    shown, hidden = np.nonzero(seen)[0], np.nonzero(~seen)[0]
    shown_tree = tree_of(place[shown])
    away = shown_tree.query(place[hidden], distance_upper_bound=_REACH, workers=-1)[0]
    near, away = hidden[away < _REACH], away[away < _REACH]
    seam = near[away < _RIM]
    if not len(seam) or len(near) < _AROUND:
        return None
    # Some of them are enough for what changes over centimetres.
    seam = seam[:: max(1, len(seam) // _PLACES)]
    theirs, ours = (
        kind[tree.query(place[seam], k=_AROUND, workers=-1)[1]]
        for kind, tree in ((shown, shown_tree), (near, tree_of(place[near])))
    )
    distance, asked = tree_of(place[seam]).query(place[near], k=min(_LENT, len(seam)), workers=-1)
    distance, asked = (values.reshape(len(near), -1) for values in (distance, asked))
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / _RIM) ** 2)
    return Seam(near, away, theirs, ours, asked, weight)


def soften_seam(splats: Reconstruction, seam: Seam | None) -> np.ndarray:
    """Colours [n, 3] of ``splats``, those of unseen ones near seen ones brought to theirs, less the farther away.

    Args:
        splats: of one person.
        seam: of :func:`seam_of` them; None changes nothing.
    """
    out = splats.rgb.copy()
    if seam is None:
        return out
    step = splats.rgb[seam.theirs].mean(1) - splats.rgb[seam.ours].mean(1)
    size = np.linalg.norm(step, axis=1, keepdims=True)
    step = step * ((_ANOTHER[1] - size) / (_ANOTHER[1] - _ANOTHER[0])).clip(0, 1)
    lent = (step[seam.asked] * seam.weight[..., None]).sum(1) / seam.weight.sum(1, keepdims=True)
    share = 0.5 + 0.5 * np.cos(np.pi * seam.away / _REACH)
    out[seam.near] = (out[seam.near] + share[:, None] * lent).clip(0, 1)
    return out
