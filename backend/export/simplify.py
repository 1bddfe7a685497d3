"""Fewer triangles by quadric edge collapse (Garland and Heckbert 1997), the surface closed before and after."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..avatar.formats.types import ExportError
from ..avatar.skinning import nearest_on_triangles
from .manifold import folded, is_closed, make_manifold, unfold

INSTALL_HINT = "Install the backend again from the add-on's preferences, or `pip install {}`."
_TOLERANCE = 0.02  # of the number of triangles
_AGGRESSIVENESS = (3, 5, 7)  # of fast-simplification, 0 to 10: a low one takes the smallest errors first


def simplified(vertices: np.ndarray, faces: np.ndarray, triangles: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface with about ``triangles`` triangles, none of them flat or turned over.

    Args:
        vertices: [V, 3] metres.
        faces: int [F, 3], without rims, counter-clockwise from outside.
        triangles: wanted; a surface that has no more of them keeps its own.

    Returns:
        vertices float64 [W, 3], faces int64 [G, 3].

    Raises:
        ExportError: fast-simplification is not installed, or the surface cannot be closed.
    """
    try:
        import fast_simplification
    except ImportError as error:
        raise ExportError(
            "The mesh needs the package fast-simplification: " + INSTALL_HINT.format("fast-simplification")
        ) from error
    fine, fine_faces = unfold(*make_manifold(vertices, faces), rounds=1)
    best, fewest = None, np.inf
    for aggressiveness in _AGGRESSIVENESS if len(fine_faces) > triangles else (None,):
        vertices, faces = fine, fine_faces
        if aggressiveness is not None:
            vertices, faces = fast_simplification.simplify(
                fine, fine_faces.astype(np.int32), target_count=triangles, agg=aggressiveness
            )
        vertices, faces = unfold(*make_manifold(vertices, faces))
        if not is_closed(faces):
            continue
        wrong = int(folded(vertices, faces).sum()) + max(0.0, len(faces) - (1 + _TOLERANCE) * triangles)
        if wrong < fewest:
            best, fewest = (vertices, faces), wrong
        if aggressiveness is None or wrong == 0:
            break
    if best is None:
        raise ExportError("The avatar's surface cannot be closed: ask for another number of triangles.")
    return best


def carried_over(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [P, C] of a surface at the places on it that are nearest to ``points``.

    Args:
        points: [P, 3] near the surface.
        vertices, faces: [V, 3] and int [F, 3].
        values: [V, C].
    """
    _, nearest = cKDTree(vertices).query(points)
    corner = np.argsort(faces.reshape(-1), kind="stable")
    start = np.searchsorted(faces.reshape(-1)[corner], np.arange(len(vertices) + 1))
    around = np.diff(start)[nearest]
    best, out = np.full(len(points), np.inf), values[nearest].astype(np.float64)
    # The nearest place lies on one of the triangles around the nearest vertex, but for slivers.
    for slot in range(int(around.max())):
        rows = np.flatnonzero(around > slot)
        face = faces[corner[start[nearest[rows]] + slot] // 3]
        barycentric = nearest_on_triangles(points[rows], vertices[face])
        place = np.einsum("nc,nci->ni", barycentric, vertices[face])
        gap = np.linalg.norm(place - points[rows], axis=1)
        better = gap < best[rows]
        best[rows[better]] = gap[better]
        out[rows[better]] = np.einsum("nc,ncv->nv", barycentric[better], values[face[better]])
    return out
