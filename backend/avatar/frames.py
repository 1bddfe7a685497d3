"""Reference triangles: a wide triangle around each vertex of a surface, which tells how the surface turns there.

A frame that is taken from a triangle of height h turns by about e / h where its corners are known to e. Blender poses
vertices in float32, so e is 3e-7 m for a person of two metres: the millimetre triangles of fingers and faces are good
to 1e-3, and those of a crease may turn over, while triangles of `ENOUGH_HEIGHT` are good to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from .rows import distinct_rows
from .threads import in_threads

ENOUGH_HEIGHT = 0.07
"""Metres; lower triangles are taken only where nothing else moves alike."""
WANTED_HEIGHT = 0.1
"""Metres; higher triangles are no better."""

_REACHES = (0.1, 0.16, 0.25)
_ENOUGH_SCORE = 0.5
# What a triangle's flaws count against its height, which is 1 at WANTED_HEIGHT. Weights differ by 0 to sqrt(2).
_LOWNESS, _DRIFT, _SPREAD, _OFF_CENTRE = 4.0, 1.0, 1.5, 0.4
_SMALLEST_HEIGHT = 1e-3
_KEPT_HEIGHT, _KEPT_REACH = 0.8, 1.4
"""What a known triangle may keep of its height at least, and how much farther its corners may be, elsewhere."""

_CELL = 0.012  # vertices of a cell that have the same main joint share one triangle: fingers and faces have thousands
_NEIGHBOURHOOD = 0.1  # vertices are worked on together with their neighbours, who share candidates
_DIAGONALS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
_DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3), _DIAGONALS]).astype(np.float32)
_A, _B, _C = np.array(
    [
        (a, b, c)
        for a in range(len(_DIRECTIONS))
        for b in range(a + 1, len(_DIRECTIONS))
        for c in range(b + 1, len(_DIRECTIONS))
    ]
).T


@dataclass(frozen=True, eq=False)
class KnownTriangles:
    """Reference triangles of a surface on which others begin: with the same first vertices, in other places.

    Attributes:
        vertices: [K, 3] rest, metres.
        triangles: int [K, 3].
    """

    vertices: np.ndarray
    triangles: np.ndarray


def reference_triangles(vertices: np.ndarray, weights: np.ndarray, known: KnownTriangles | None = None) -> np.ndarray:
    """Corners int32 [S, 3] of a wide triangle around each vertex that moves as the vertex does; deterministic.

    Of the triangles between the outermost vertices nearby it is that of the best score: high, the mean of its skinning
    weights close to the vertex' own, its corners' weights close to each other, its centre close to the vertex. So rigid
    parts such as hands keep to themselves, and about a joint the triangle goes round the limb, where it is not crushed.

    Args:
        vertices: [S, 3] rest, metres; not all on one line.
        weights: [S, J], rows sum to 1.
        known: triangles of a surface whose K vertices are the first of this one, with the same weights: those that are
            about as high and as near here as there are taken as they are.
    """
    places = np.ascontiguousarray(vertices, dtype=np.float32)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    wanted = np.ones(len(places), dtype=bool)
    if known is None:
        return _searched(places, weights, wanted)
    count = len(known.triangles)
    wanted[:count] = ~_as_good(places, known)
    out = np.zeros((len(places), 3), dtype=np.int32)
    out[:count] = known.triangles
    return np.where(wanted[:, None], _searched(places, weights, wanted), out)


def _as_good(places: np.ndarray, known: KnownTriangles) -> np.ndarray:
    """Which of the triangles [K] hold here too."""

    def measured(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners = points[known.triangles]
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        away = np.linalg.norm(corners - points[: len(corners), None], axis=2).max(1)
        return area / np.maximum(sides, 1e-12), away

    (height, away), (height_then, away_then) = measured(places), measured(known.vertices)
    high = height >= _KEPT_HEIGHT * np.minimum(ENOUGH_HEIGHT, height_then)
    return high & (away <= np.maximum(_REACHES[0], _KEPT_REACH * away_then))


def _searched(places: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The best triangle [S, 3] around each of the ``wanted`` [S] vertices; any around the others."""
    cells = np.column_stack([np.floor(places / _CELL).astype(np.int64), weights.argmax(axis=1)])
    first, cell = distinct_rows(cells)
    best = np.zeros((len(first), 3), dtype=np.int32)
    best_score = np.full(len(first), -np.inf, dtype=np.float32)
    pending = np.unique(cell[wanted])
    for reach in _REACHES:
        together = _neighbourhoods(pending, places[first])
        search = partial(_best_triangles, places=places, weights=weights, candidates=first, reach=reach)
        for rows, (triangles, score) in zip(together, in_threads(search, (first[rows] for rows in together))):
            better = score > best_score[rows]
            best[rows[better]], best_score[rows[better]] = triangles[better], score[better]
        pending = pending[best_score[pending] < _ENOUGH_SCORE]
    # A part of less than three corners that are not in line, and a surface smaller than a cell, take what there is.
    lost = pending[np.isneginf(best_score[pending])]
    if len(lost):
        anywhere = 2 * float(np.ptp(places, axis=0).max())
        everything = np.arange(len(places))
        best[lost] = _best_triangles(first[lost], places, np.zeros_like(weights), everything, anywhere)[0]
    return best[cell]


def _neighbourhoods(rows: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """``rows`` (ids into ``places``), those together that lie together."""
    if not len(rows):
        return []
    cells = np.floor(places[rows] / _NEIGHBOURHOOD)
    order = np.lexsort(cells.T)
    edges = np.flatnonzero((np.diff(cells[order], axis=0) != 0).any(axis=1)) + 1
    return np.split(rows[order], edges)


def _best_triangles(
    ids: np.ndarray, places: np.ndarray, weights: np.ndarray, candidates: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Best triangle [n, 3] within ``reach`` of each of the vertices ``ids`` [n], and its score [n]."""
    own = places[ids]
    lower, upper = own.min(0) - reach, own.max(0) + reach
    near = candidates[((places[candidates] >= lower) & (places[candidates] <= upper)).all(1)]
    if not len(near):
        return np.zeros((len(ids), 3), dtype=np.int32), np.full(len(ids), -np.inf, dtype=np.float32)
    centre = own.mean(0)
    drift = _squared_distances(weights[ids], weights[near])
    within = _squared_distances(own - centre, places[near] - centre) <= reach * reach
    # The outermost vertex in each direction that moves alike.
    worth = np.where(within, -reach * np.sqrt(drift), -np.inf)
    along = (places[near] - centre) @ _DIRECTIONS.T
    picks = np.stack([(along[:, k] + worth).argmax(1) for k in range(len(_DIRECTIONS))], axis=1)
    chosen = near[picks]

    # Everything about a triangle follows from the distances between its corners, and from those to the vertex.
    points = places[chosen] - own[:, None]
    sides, from_own = _squared_distances(points, points), (points * points).sum(-1)
    spreads, drifts = _squared_distances(weights[chosen], weights[chosen]), np.take_along_axis(drift, picks, 1)
    ab, bc, ca = sides[:, _A, _B], sides[:, _B, _C], sides[:, _C, _A]
    # Heron: 16 area^2 = 4 ab bc - (ab + bc - ca)^2, with squared sides; height = 2 area / longest side.
    area = np.maximum(4 * ab * bc - (ab + bc - ca) ** 2, 0) / 4
    height = np.sqrt(area / np.maximum(np.maximum(np.maximum(ab, bc), ca), 1e-12))
    # The mean m of a, b, c: |m - v|^2 = (|a-v|^2 + |b-v|^2 + |c-v|^2) / 3 - (|a-b|^2 + |b-c|^2 + |c-a|^2) / 9.
    spread = spreads[:, _A, _B] + spreads[:, _B, _C] + spreads[:, _C, _A]
    mean_drift = (drifts[:, _A] + drifts[:, _B] + drifts[:, _C]) / 3 - spread / 9
    off_centre = (from_own[:, _A] + from_own[:, _B] + from_own[:, _C]) / 3 - (ab + bc + ca) / 9
    score = np.minimum(height / WANTED_HEIGHT, 1) - _LOWNESS * np.maximum(1 - height / ENOUGH_HEIGHT, 0)
    score -= _DRIFT * np.sqrt(np.maximum(mean_drift, 0)) + _SPREAD * np.sqrt(spread / 3)
    score -= _OFF_CENTRE / reach * np.sqrt(np.maximum(off_centre, 0))
    inside = np.take_along_axis(within, picks, 1)
    usable = (height > _SMALLEST_HEIGHT) & inside[:, _A] & inside[:, _B] & inside[:, _C]
    score = np.where(usable, score, -np.inf)
    found = score.argmax(1)
    row = np.arange(len(ids))
    return np.stack([chosen[row, corner[found]] for corner in (_A, _B, _C)], axis=1), score[row, found]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between rows of a [..., n, d] and b [..., m, d]: [..., n, m]."""
    squares = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :]
    return np.maximum(squares - 2 * a @ np.swapaxes(b, -1, -2), 0)
