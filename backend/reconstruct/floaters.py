"""Scraps that would hang in the air in the rest pose: they went along with a limb before, behind or beside which they
lie in the photo, but to which they do not belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from ..geometry.distances import nearest_of
from ..geometry.maps import on_rays
from .config import SCRAP, SURFACE_STEP_M
from .sheets import LayeredDepthImage
from .types import SurfaceMesh


def without_floaters(layers: LayeredDepthImage, mesh: SurfaceMesh, focal: float) -> LayeredDepthImage:
    """``layers`` with scraps put to the surface of the nearest pixel that is none, beside them or not, and thin.

    What touches the body at rest is no scrap, however small: a foot below a long skirt.

    Args:
        layers: depths at the maps' resolution, and the faces of ``mesh`` to hang them on.
        mesh: the clothed surface.
        focal: pixels at the maps' resolution.
    """
    shown = layers.face >= 0
    triangles = mesh.faces[layers.face[shown]]
    rest = mesh.to_rest(on_rays(shown, layers.front, focal), triangles)
    # Faces may be larger than a cell.
    body = np.vstack([mesh.rest[: mesh.body_vertices], mesh.rest[mesh.faces[: mesh.body_faces]].mean(1)])
    held, part = np.split(_parts(np.vstack([body, rest])), [len(body)])
    sizes = np.bincount(part, minlength=held.max() + 1)
    small = sizes < SCRAP * len(rest)
    small[held] = False
    scrap = small[part]
    if not scrap.any() or scrap.all():
        return layers
    kept = shown.copy()
    kept[shown] = ~scrap
    nearest = nearest_of(kept)
    moved = shown & ~kept
    thick = (layers.back - layers.front).clip(0, SURFACE_STEP_M)
    front = np.where(moved, layers.front[nearest], layers.front)
    back = np.where(moved, front + thick, layers.back)
    return replace(layers, front=front, back=back, face=np.where(moved, layers.face[nearest], layers.face))


def is_floater(rest: np.ndarray, front_count: int) -> np.ndarray:
    """Which splats, bool [n], at ``rest`` [n, 3], hang in the air there and are not needed for the photo, which shows
    the first ``front_count``: body that was brought to the matte, far from where it belongs."""
    part = _parts(rest)
    sizes = np.bincount(part)
    shown = np.bincount(part[:front_count], minlength=len(sizes)) > 0
    return ((sizes < SCRAP * front_count) & ~shown)[part]


def _parts(places: np.ndarray) -> np.ndarray:
    """A number, int [n], per place [n, 3], the same for all of a surface: what is farther from all else than
    ``SURFACE_STEP_M`` along some axis is not joined, what is closer than half of that is."""
    cell = np.floor(places / (SURFACE_STEP_M / 2)).astype(np.int64)
    filled, own = np.unique(cell, axis=0, return_inverse=True)
    pairs = cKDTree(filled).query_pairs(1, p=np.inf, output_type="ndarray")
    graph = sparse.coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), (len(filled),) * 2)
    return sparse.csgraph.connected_components(graph, directed=False)[1][own.ravel()]
