"""Points spread evenly over a body's surface, made once per body model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

_OVERSAMPLING = 4


@dataclass(frozen=True)
class SurfaceSamples:
    """Blue-noise points on a mesh.

    Attributes:
        face: int [n].
        barycentric: [n, 3].
        spacing: [n] metres between neighbours on the mesh that was sampled.
    """

    face: np.ndarray
    barycentric: np.ndarray
    spacing: np.ndarray


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Areas [F] of triangles."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def poisson_disk_samples(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, density: np.ndarray, count: int, seed: int = 0
) -> SurfaceSamples:
    """About ``count`` points, no two on the same side of the surface closer than the local spacing.

    Parallel dart throwing: candidates with random priorities; each round takes those without a prior neighbour.

    Args:
        vertices, faces: the mesh.
        normals: [V, 3] unit; points on opposite sides of something thin do not compete.
        density: [F] relative density of points on each face.
        count: how many points, about.
        seed: of the candidates.
    """
    generator = np.random.default_rng(seed)
    weighted = face_areas(vertices, faces) * density
    candidates = count * _OVERSAMPLING
    face = generator.choice(len(faces), candidates, p=weighted / weighted.sum())
    u, v = generator.random((2, candidates))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    barycentric = np.column_stack([1 - u - v, u, v])
    point = (vertices[faces[face]] * barycentric[..., None]).sum(1)
    normal = normals[faces[face, 0]]
    # A maximal Poisson-disk set covers about one point per two squared radii.
    radius = np.sqrt(0.5 * weighted.sum() / count / density[face])
    pairs = cKDTree(point).query_pairs(float(radius.max()), output_type="ndarray")
    first, second = pairs.T
    near = np.linalg.norm(point[first] - point[second], axis=1) < 0.5 * (radius[first] + radius[second])
    same_side = (normal[first] * normal[second]).sum(1) > 0.2
    first, second = first[near & same_side], second[near & same_side]
    alive = np.ones(candidates, bool)
    taken = np.zeros(candidates, bool)
    while alive.any():
        # The candidates' order is random already: the lower index has priority.
        beaten = np.zeros(candidates, bool)
        active = alive[first] & alive[second]
        first, second = first[active], second[active]
        beaten[np.maximum(first, second)] = True
        won = alive & ~beaten
        taken |= won
        alive &= ~won
        alive[second[won[first]]] = False
        alive[first[won[second]]] = False
    return SurfaceSamples(face[taken], barycentric[taken], radius[taken])
