"""A mesh through the middle of splats moved outwards until its outlines are those of the splats.

Splats reach beyond their centres, most of all along the outlines that the photo shows: a mesh through the centres looks
some millimetres too slim from there.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import cg

from ..avatar.meshes import vertex_normals
from ..rendering.triangles import rasterize
from .looks import Look
from .manifold import half_edges

_EDGE_ON = 0.4  # cosine between a normal and the line of sight below which a vertex can lie on an outline
_NEAR_OUTLINE = 1.5  # pixels
_REACH = 0.010  # metres that the outline may be off
_STIFFNESS = 2.0  # of a displacement against its neighbours', in units of one view's say
_ROUNDS = 2
_BLUR_ROUNDS = 6
_SMOOTHING_ROUNDS = 6


def smoothed(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices [V, 3] without the thorns that single splats raise; the size stays (Taubin 1995)."""
    edges = half_edges(faces)
    degree = np.bincount(edges[:, 0], minlength=len(vertices))
    vertices = np.array(vertices, dtype=np.float64)
    for _ in range(_SMOOTHING_ROUNDS):
        for share in (0.5, -0.53):
            mean = np.stack([np.bincount(edges[:, 0], vertices[edges[:, 1], k], len(vertices)) for k in range(3)], 1)
            vertices += share * (mean / degree[:, None] - vertices)
    return vertices


def fitted(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray, looks: list[Look]) -> np.ndarray:
    """Vertices [V, 3] moved along their normals so that the mesh has the splats' outlines.

    Args:
        vertices: [V, 3] metres, at rest.
        faces: int [F, 3], a closed surface.
        weights: [V, J] skinning weights.
        looks: of the splats.
    """
    outlines = [_distance(look.alpha > 0.5) for look in looks]
    for _ in range(_ROUNDS):
        total, say = np.zeros(len(vertices)), np.zeros(len(vertices))
        for look, outline in zip(looks, outlines):
            rows, shift = _shifts(look.local(vertices, weights), faces, look, outline)
            total[rows] += look.say * shift
            say[rows] += look.say
        shift = _spread(total, say, faces)[:, None] * vertex_normals(vertices, faces)
        vertices = vertices + _averaged(shift, faces, _BLUR_ROUNDS)
    return vertices


def _averaged(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Values [V, 3] halfway to the mean of the vertices around, so many times.

    In creases normals point at each other: on average they lead nowhere, and the sides do not cross.
    """
    edges = half_edges(faces)
    degree = np.bincount(edges[:, 0], minlength=len(values))[:, None]
    for _ in range(rounds):
        mean = np.stack([np.bincount(edges[:, 0], values[edges[:, 1], k], len(values)) for k in range(3)], 1) / degree
        values = (values + mean) / 2
    return values


def _distance(inside: np.ndarray) -> np.ndarray:
    """Pixels [H, W] from the outline of a mask, positive inside."""
    return np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))


def _shifts(local: np.ndarray, faces: np.ndarray, look: Look, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [n] on the mesh's outline in one look, and metres [n] along their normals to the splats' outline."""
    normals = vertex_normals(local, faces)
    pixels = look.pixels(local)
    screen = torch.as_tensor(np.concatenate([pixels, local[:, 2:]], axis=1), dtype=torch.float32)[None]
    hits = rasterize(screen, torch.as_tensor(faces), outline.shape)
    mask = np.zeros(outline.size, dtype=bool)
    mask[hits.sample.numpy()] = True
    ours = _distance(mask.reshape(outline.shape))
    along = (normals * local).sum(1) / np.linalg.norm(local, axis=1)
    rows = np.flatnonzero(np.abs(along) < _EDGE_ON)
    where = pixels[rows, ::-1].T - 0.5
    here = map_coordinates(ours, where, order=1, mode="nearest")
    on_outline = here < _NEAR_OUTLINE
    rows, here = rows[on_outline], here[on_outline]
    gap = map_coordinates(outline, where[:, on_outline], order=1, mode="nearest") - here
    shift = gap * local[rows, 2] / look.intrinsics[0] / np.sqrt(1 - along[rows] ** 2)
    near = np.abs(shift) < _REACH
    return rows[near], shift[near]


def _spread(total: np.ndarray, say: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Displacements [V] that are near what the looks said and change little from vertex to vertex."""
    edges = half_edges(faces)
    count = len(total)
    links = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)).tocsr()
    degree = np.asarray(links.sum(1)).ravel()
    system = diags(say + 1e-4 + _STIFFNESS * degree) - _STIFFNESS * links
    return cg(system, total, rtol=1e-4, maxiter=300)[0]
