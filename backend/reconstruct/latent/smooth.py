"""Colours of splats without their fine detail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...avatar.rows import distinct_rows
from ..neighbours import tree_of

_BLUR = 0.03
"""Metres: detail finer than that is what imagined views lack."""

Smoother = Callable[[np.ndarray], np.ndarray]
"""From values [n, 3] of splats to the same without detail finer than :data:`_BLUR`."""


def smoother_of(points: np.ndarray, normals: np.ndarray) -> Smoother:
    """What smooths values of splats at ``points`` [n, 3]; the two sides of thin parts do not mix.

    Means over cells of space, mixed by their distance.

    Args:
        points: metres.
        normals: [n, 3].
    """
    _, cell = distinct_rows(np.concatenate([np.floor(points / _BLUR), normals > 0], 1).astype(int))
    count = np.bincount(cell).astype(float)
    features = np.concatenate([points, _BLUR * normals], 1)

    def means(of: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(cell, column) / count for column in of.T], 1)

    neighbours = min(8, len(count))
    distance, index = tree_of(means(features)).query(features, k=neighbours, workers=-1)
    distance, index = (v.reshape(len(points), neighbours) for v in (distance, index))
    weight = np.exp(-0.5 * (distance / _BLUR) ** 2) * count[index] + 1e-9
    weight /= weight.sum(1, keepdims=True)
    return lambda values: np.einsum("nk,nkc->nc", weight, means(values)[index])
