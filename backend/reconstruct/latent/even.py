"""Cloth that the photo does not show, evened out: patches that neither a guess nor an imagined view meant are left out.

Both continue what is in front, blurred: the shine of one fold, a strap, a shaded side become pale or dark patches on a
back. What a garment is like at a height is better said by most of what the photo shows of it there. So the coarse
colour of trunk and legs goes towards that; what is finer, the pattern, stays. Where no one colour prevails, as on
cloth of many colours, nothing changes; a jacket of two halves takes that of the larger one behind.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...body.model import JOINT_INDEX
from ..clothed import CHAIN_OF_JOINT, LEG_CHAINS, joint_of_splat
from ..photo_colours import ANY
from ..types import Reconstruction
from .smooth import Smoother, smoother_of

_SHARE = 0.8
"""How far coarse colours go."""
_SHOWN = 0.5
"""From where a splat counts as shown by the photo."""
_ROW = 0.02
"""Metres of height in the rest pose that are asked together, with the row above and the row below."""
_BLUR = 1.5
"""Rows over which the answers run into each other."""
_ALIKE = 0.15
"""Difference of colours within one cloth."""
_ROUNDS = 4
_PREVAILS = (0.3, 0.45)
"""Shares of a row that are of one colour below which nothing changes, and from which everything does."""
_FEWEST, _FEWEST_IN_ROW = 500, 30
"""Splats without which nothing is concluded."""
_TRUNK_CHAIN = 0


def _parts(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which splats [n] belong to the trunk, and to the legs without the feet."""

    def of(*names: str) -> np.ndarray:
        return np.isin(joint, [number for name, number in JOINT_INDEX.items() if name.endswith(names)])

    chain = CHAIN_OF_JOINT[joint]
    return (chain == _TRUNK_CHAIN) & ~of("_shoulder"), np.isin(chain, LEG_CHAINS) & ~of("_ankle", "_foot")


def even_cloth(splats: Reconstruction, smooth: Smoother | None = None) -> np.ndarray:
    """Colours [n, 3] of ``splats`` with the coarse ones of unseen cloth as most of the seen cloth at their height.

    Args:
        splats: of one person.
        smooth: of these splats, where it is known.
    """
    hidden = (1 - splats.seen / ANY).clip(0, 1)
    normals = splats.rotation[:, :, 2]
    # Cloth is alike all around, the light on it is not.
    lit = np.ones((len(normals), 1)) if splats.light is None else splats.light.display(normals)
    cloth = splats.rgb / lit
    coarse = (smooth or smoother_of(splats.position, normals))(cloth)
    height = splats.surface.rest[splats.surface.faces[splats.face], 1].mean(1)
    for part in _parts(joint_of_splat(splats)):
        shown = np.nonzero(part & ~splats.local & (splats.seen > _SHOWN))[0]
        target = np.nonzero(part & (hidden > 0))[0]
        if min(len(shown), len(target)) < _FEWEST:
            continue
        low = height[shown].min()
        profile, prevails = _rows(((height[shown] - low) / _ROW).astype(int), coarse[shown])
        at = ((height[target] - low) / _ROW - 0.5).clip(0, len(profile) - 1)
        numbers = np.arange(len(profile))
        wanted = np.stack([np.interp(at, numbers, column) for column in profile.T], 1)
        known = (np.interp(at, numbers, prevails) - _PREVAILS[0]) / (_PREVAILS[1] - _PREVAILS[0])
        share = _SHARE * hidden[target] * known.clip(0, 1)
        cloth[target] += share[:, None] * (wanted - coarse[target])
    return (cloth * lit).clip(0, 1)


def _rows(row: np.ndarray, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colour [R, 3] that prevails in each row, and its share of it [R]; of rows with too few, that of others.

    Args:
        row: int [n] from 0.
        colour: [n, 3].
    """
    order, count = np.argsort(row, kind="stable"), int(row.max()) + 1
    ends = np.searchsorted(row[order], np.arange(count + 1))
    said, known = np.zeros((count, 4)), np.zeros(count)
    for number in range(count):
        own = colour[order[ends[max(number - 1, 0)] : ends[min(number + 2, count)]]]
        if len(own) < _FEWEST_IN_ROW:
            continue
        # Mean shift from the median: a few strange colours do not count.
        centre, alike = np.median(own, 0), np.zeros(len(own), bool)
        for _ in range(_ROUNDS):
            alike = np.linalg.norm(own - centre, axis=1) < _ALIKE
            if alike.sum() < _FEWEST_IN_ROW:
                break
            centre = own[alike].mean(0)
        said[number], known[number] = [*centre, alike.mean()], 1
    weight = ndimage.gaussian_filter1d(known, _BLUR)
    said = ndimage.gaussian_filter1d(said * known[:, None], _BLUR, axis=0) / np.maximum(weight, 1e-6)[:, None]
    return said[:, :3], said[:, 3]
