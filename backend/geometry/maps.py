"""Maps of what the photo's rays meet: their size, look-ups, and the way from their pixels into space."""

from __future__ import annotations

import cv2
import numpy as np

MAP_SIZE = 512
"""Pixels a side of all maps."""


def sample_map(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Nearest-pixel look-up of ``values`` [H, W, ...] at ``pixels`` [n, 2] of the same resolution."""
    height, width = values.shape[:2]
    x, y = np.floor(pixels).astype(int).clip(0, [width - 1, height - 1]).T
    return values[y, x]


def bilinear(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Bilinear look-up of float ``image`` [H, W, C] at ``pixels`` [n, 2] (pixel centres at +0.5)."""
    # OpenCV takes at most 32767 columns: fold the list into rows.
    rows = -(-len(pixels) // 4096)
    folded = np.zeros((rows * 4096, 2), np.float32)
    folded[: len(pixels)] = pixels - 0.5
    x, y = folded.reshape(rows, 4096, 2).transpose(2, 0, 1)
    out = cv2.remap(
        image, np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
    return out.reshape(rows * 4096, -1)[: len(pixels)]


def project(points: np.ndarray, focal: float, size: int = MAP_SIZE) -> np.ndarray:
    """Pixels [n, 2] of a map of ``size`` pixels a side that show ``points`` [n, 3] in camera space; ``focal`` in
    them."""
    return points[:, :2] / points[:, 2:] * focal + size / 2


def unproject(pixels: np.ndarray, depth: np.ndarray, focal: float, size: int = MAP_SIZE) -> np.ndarray:
    """Places [n, 3] in camera space, ``depth`` [n] metres along z, on the rays of ``pixels`` [n, 2] of a map of
    ``size`` pixels a side; ``focal`` in them."""
    return np.column_stack([(pixels - size / 2) * depth[:, None] / focal, depth])


def barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [n, 3] of ``points`` [n, 3] over their triangles ``corners`` [n, 3, 3]; of points beside
    one those that are negative are 0, and the others sum to 1."""
    origin = corners[:, :1]
    edge = corners[:, 1:] - origin
    gram = np.einsum("nax,nbx->nab", edge, edge)
    along = np.einsum("nax,nx->na", edge, points - origin[:, 0])
    area = gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] ** 2
    second = (gram[:, 1, 1] * along[:, 0] - gram[:, 0, 1] * along[:, 1]) / np.maximum(area, 1e-18)
    third = (gram[:, 0, 0] * along[:, 1] - gram[:, 0, 1] * along[:, 0]) / np.maximum(area, 1e-18)
    out = np.column_stack([1 - second - third, second, third]).clip(0, None)
    return out / out.sum(1, keepdims=True)


def on_rays(chosen: np.ndarray, depth: np.ndarray, focal: float) -> np.ndarray:
    """Places [n, 3] on the rays of the pixels where ``chosen`` [S, S], at ``depth`` [S, S]."""
    row, column = np.nonzero(chosen)
    return unproject(np.column_stack([column, row]) + 0.5, depth[chosen], focal, len(chosen))
