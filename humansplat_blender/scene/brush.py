"""A round brush over splats: which of them it meets in a view, and one stroke of it. Needs no window."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from . import attributes, edits
from .bake import readable

_CELL = 4.0  # pixels: what lies in such a cell of the view, or in one beside it, can hide one another


@dataclass(frozen=True, eq=False)
class View:
    """How a view sees the world.

    Attributes:
        view_matrix: [4, 4] world to view, the camera looking along -z; ``RegionView3D.view_matrix``.
        window_matrix: [4, 4] view to clip space; ``RegionView3D.window_matrix``.
        width, height: pixels.
    """

    view_matrix: np.ndarray
    window_matrix: np.ndarray
    width: float
    height: float

    def project(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[N, 2] pixels from the lower left corner and [N] depth in metres; behind the camera both are infinite."""
        points = np.column_stack([positions, np.ones(len(positions))]) @ np.asarray(self.view_matrix, np.float64).T
        clip = points @ np.asarray(self.window_matrix, np.float64).T
        seen = clip[:, 3] > 1e-9
        share = clip[:, :2] / np.where(seen, clip[:, 3], 1.0)[:, None]
        pixels = (share + 1.0) / 2.0 * (self.width, self.height)
        return np.where(seen[:, None], pixels, np.inf), np.where(seen, -points[:, 2], np.inf)


def splats_under_brush(
    positions: np.ndarray,
    view: View,
    centre: tuple[float, float],
    radius: float,
    behind: float | None = None,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """[N] bool: the splats whose centres the brush covers.

    Args:
        positions: [N, 3] evaluated world positions, metres.
        view: what the artist sees.
        centre: of the brush, pixels from the view's lower left corner.
        radius: of the brush, pixels.
        behind: skip splats more than so many metres behind the nearest of those around them in the view; None: none.
        visible: [N] bool, splats that are drawn; others are neither chosen nor hide any. None: all.
    """
    pixels, depth = view.project(positions)
    chosen = brush_weights(pixels, centre, centre, radius) > 0
    chosen &= True if visible is None else visible
    if behind is not None:
        chosen &= front_splats(pixels, depth, behind, _cell_size(radius), visible)
    return chosen


def brush_weights(
    pixels: np.ndarray, start: tuple[float, float], end: tuple[float, float], radius: float
) -> np.ndarray:
    """[N] how strongly a brush that goes from `start` to `end` covers pixels [N, 2]: 1 in the inner half, 0 outside."""
    start, along = np.asarray(start, dtype=np.float64), np.subtract(end, start, dtype=np.float64)
    squared = float(along @ along)
    finite = np.where(np.isfinite(pixels), pixels, 1e12)
    offset = finite - start
    if squared > 0:
        offset = offset - np.clip(offset @ along / squared, 0, 1)[:, None] * along
    distance = np.sqrt((offset**2).sum(axis=1)) / max(radius, 1e-6)
    return np.where(distance <= 1.0, np.clip(2.0 * (1.0 - distance), 1e-3, 1.0), 0.0)


def front_splats(
    pixels: np.ndarray, depth: np.ndarray, behind: float, cell: float, visible: np.ndarray | None = None
) -> np.ndarray:
    """[N] bool: splats at most `behind` metres behind the nearest one in their cell of the view or in one beside it.

    Args:
        pixels: [N, 2].
        depth: [N] metres.
        behind: metres.
        cell: side of a cell, pixels.
        visible: [N] bool, the splats that can hide others. None: all.
    """
    front = np.zeros(len(pixels), dtype=bool)
    known = np.flatnonzero(np.isfinite(depth))
    if not len(known):
        return front
    grid = np.floor(pixels[known] / cell).clip(-1e8, 1e8).astype(np.int64)
    key = (grid[:, 0] << 32) + grid[:, 1]
    keys, inverse = np.unique(key, return_inverse=True)
    nearest = np.full(len(keys), np.inf)
    hiding = slice(None) if visible is None else visible[known]
    np.minimum.at(nearest, inverse[hiding], depth[known][hiding])
    around = nearest.copy()
    for x in (-1, 0, 1):
        for y in (-1, 0, 1):
            wanted = keys + (x << 32) + y
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            around = np.minimum(around, np.where(keys[at] == wanted, nearest[at], np.inf))
    front[known] = depth[known] <= around[inverse] + behind
    return front


def _cell_size(radius: float) -> float:
    return max(_CELL, radius / 5.0)


@dataclass(frozen=True)
class Tip:
    """What a brush does.

    Attributes:
        erases: it erases; otherwise it paints.
        restores: it takes back what such a brush did.
        radius: pixels.
        rgb: display sRGB 0..1.
        strength: share of the colour over the splat's own, 0..1.
        behind: metres, as in :func:`splats_under_brush`.
    """

    erases: bool
    restores: bool = False
    radius: float = 40.0
    rgb: tuple[float, float, float] = (0.5, 0.5, 0.5)
    strength: float = 1.0
    behind: float | None = 0.05


class Stroke:
    """One stroke, from the press of a button to its release; the view and the pose stand still meanwhile.

    Where a stroke meets a splat several times, it is painted once, as strongly as the strongest.
    """

    def __init__(self, context: bpy.types.Context, splats: bpy.types.Object, view: View, tip: Tip) -> None:
        self._tip = tip
        self._hidden, self._colour = edits.read_hidden(splats), edits.read_colour(splats)
        self._share = np.zeros(len(self._hidden))
        with readable(splats):
            depsgraph = context.evaluated_depsgraph_get()
            evaluated = splats.evaluated_get(depsgraph)
            position = attributes.read_points(evaluated.data, "position")
            opacity = attributes.read_points(evaluated.data, "radiance:base")[:, 3]
            matrix = np.array(evaluated.matrix_world, dtype=np.float64)
            made = edits.read_edits(depsgraph, splats)
        self._pixels, depth = view.project(position @ matrix[:3, :3].T + matrix[:3, 3])
        if tip.restores:
            # Nothing hides what is not there.
            self._within = self._hidden if tip.erases else self._colour[:, 3] > 0
        else:
            self._within = edits.kept_splats(made, position, opacity)
            if tip.behind is not None:
                front = front_splats(self._pixels, depth, tip.behind, _cell_size(tip.radius), self._within)
                self._within = self._within & front

    def move(self, splats: bpy.types.Object, start: tuple[float, float], end: tuple[float, float]) -> int:
        """Draw the brush from pixel `start` to pixel `end`; how many splats the stroke has met so far."""
        tip = self._tip
        weight = np.where(self._within, brush_weights(self._pixels, start, end, tip.radius), 0.0)
        self._share = np.maximum(self._share, weight)
        met = self._share > 0
        if tip.erases:
            edits.write_hidden(splats, self._hidden & ~met if tip.restores else self._hidden | met)
        elif met.any():
            colour = self._colour.copy()
            share = self._share[met] * tip.strength
            if tip.restores:
                colour[met, 3] *= (1.0 - share).astype(np.float32)
            else:
                colour[met] = edits.over(colour[met], np.array(tip.rgb), share)
            edits.write_colour(splats, colour)
        return int(met.sum())

    def cancel(self, splats: bpy.types.Object) -> None:
        """Take the stroke back."""
        edits.write_hidden(splats, self._hidden)
        edits.write_colour(splats, self._colour)
