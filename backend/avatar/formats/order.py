"""Orders of points in space that keep near points near."""

from __future__ import annotations

import numpy as np


def morton_codes(points: np.ndarray, bits: int = 10, shift: float = 0.0) -> np.ndarray:
    """Morton codes (Z-order), uint64 [N], of points [N, 3] on a cubic grid of 2^bits cells a side.

    Args:
        points: any units.
        bits: 21 at most.
        shift: of the grid, in parts of its side: orders of two grids differ at the borders of cells.
    """
    if not len(points):
        return np.zeros(0, np.uint64)
    low = points.min(0).astype(np.float64)
    side = max(float((points.max(0) - low).max()) * (1 + abs(shift)), 1e-12)
    cell = ((points - low) / side + shift / (1 + abs(shift))) * ((1 << bits) - 1)
    cell = cell.clip(0, (1 << bits) - 1).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        code |= _spread(cell[:, axis]) << np.uint64(axis)
    return code


def morton_order(points: np.ndarray) -> np.ndarray:
    """Indices [N] that sort points [N, 3] along a Z-order curve."""
    return np.argsort(morton_codes(points), kind="stable")


def _spread(x: np.ndarray) -> np.ndarray:
    """21 bits with two zeros between each and the next."""
    for move, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        x = (x | x << np.uint64(move)) & np.uint64(mask)
    return x
