"""The one place that decides how far a picture shows a point of the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..geometry.distances import depth_inside
from ..geometry.maps import project, sample_map
from .config import SURFACE_STEP_M, VisibilityConfig
from .parts import LIMB, Part


@dataclass(frozen=True, eq=False)
class View:
    """What a picture of S x S pixels shows.

    Attributes:
        matrix: [4, 4] from the points' space to the camera's (OpenCV axes, metres).
        focal: in pixels.
        depth: [S, S] metres along the camera's axis of the nearest surface; inf where nothing is.
        part: int [S, S], :class:`~.parts.Part` that the picture shows there; None where nobody says.
        inner: [S, S] pixels from the outline of what the picture shows, 0 outside.
        blur: pixels by which the picture may be off; see :func:`observe`.
    """

    matrix: np.ndarray
    focal: float
    depth: np.ndarray
    part: np.ndarray | None
    inner: np.ndarray
    blur: int = 0

    @classmethod
    def of(
        cls, matrix: np.ndarray, focal: float, depth: np.ndarray, shown: np.ndarray,
        part: np.ndarray | None = None, blur: int = 0,
    ) -> View:  # fmt: skip
        """A view whose outline is that of ``shown``, bool [S, S]."""
        return cls(matrix, focal, depth, part, depth_inside(shown), blur)


@dataclass(frozen=True, eq=False)
class Observation:
    """How a view sees n points.

    Attributes:
        pixels: [n, 2].
        facing: [n] cosine between normal and ray; negative where the point's back is seen.
        inner: [n] pixels from the outline of what is seen, 0 where something else is.
        confidence: [n] in 0..1.
    """

    pixels: np.ndarray
    facing: np.ndarray
    inner: np.ndarray
    confidence: np.ndarray


def observe(
    points: np.ndarray, normals: np.ndarray, parts: np.ndarray, view: View, config: VisibilityConfig | None = None
) -> Observation:
    """How far a view shows points of the surface.

    The product of: nothing nearer than the point at its pixel, but for a tolerance; the picture's part belongs to the
    point's own limb; the pixel lies inside the outline by as much as background mixes in; the surface faces the camera.

    Args:
        points, normals: [n, 3] metres and unit.
        parts: int [n], what they belong to.
        view: the picture.
        config: tolerances.
    """
    config = config or VisibilityConfig()
    local = points @ view.matrix[:3, :3].T + view.matrix[:3, 3]
    ray = local / np.linalg.norm(local, axis=1, keepdims=True)
    facing = -((normals @ view.matrix[:3, :3].T) * ray).sum(1)
    pixels = project(local, view.focal, len(view.depth))
    limit = sample_map(view.depth, pixels) + config.behind
    if view.blur:
        # Pictures that may be off by some pixels mix in whatever stands before a point close by.
        around = ndimage.minimum_filter(view.depth, 2 * view.blur + 1)
        limit = np.minimum(limit, sample_map(around, pixels) + 2 * SURFACE_STEP_M)
    seen = (local[:, 2] < limit) & ((pixels >= 0) & (pixels < len(view.depth))).all(1)
    if view.part is not None:
        seen &= compatible(sample_map(view.part, pixels), parts)
    inner = np.where(seen, sample_map(view.inner, pixels), 0.0)
    confidence = ramp(inner, config.outline) * ramp(facing, config.facing)
    return Observation(pixels, facing, inner, confidence)


def compatible(shown: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether pixels that show the parts ``shown`` [n] may be of points of the parts ``own`` [n]: of one limb, and
    hands and faces of nothing else."""
    same = LIMB[shown] == LIMB[own]
    for part in (Part.FACE, Part.HAIR, Part.LEFT_HAND, Part.RIGHT_HAND):
        same &= (shown == part) == (own == part)
    return same | (shown == Part.NECK) & (own == Part.HAIR) | (shown == Part.HAIR) & (own == Part.NECK)


def ramp(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """0 below the first of ``limits``, 1 above the second, linear between."""
    return ((values - limits[0]) / (limits[1] - limits[0])).clip(0, 1)
