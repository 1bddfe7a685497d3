"""Points spread evenly over a body's surface, made once per body model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

_OVERSAMPLING = 4
_ROUNDS = 4
"""How often darts are thrown: the first time many places are left that no candidate hit, the last time hardly any."""
_SAME_SIDE = 0.2
"""Cosine between normals from which two points lie on the same side of something thin."""
_NEIGHBOURS = 6
_PER_POINT = 1.73
"""Area of the surface to one point of such a set, in squared radii (measured)."""


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
    # A maximal Poisson-disk set covers about one point per one and a half squared radii.
    spacing = np.sqrt(weighted.sum() / (_PER_POINT * count) / density)
    chosen = [np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))]
    for _ in range(_ROUNDS):
        face = generator.choice(len(faces), count * _OVERSAMPLING, p=weighted / weighted.sum())
        u, v = generator.random((2, len(face)))
        over = u + v > 1
        u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
        barycentric = np.column_stack([1 - u - v, u, v])
        drawn = [face, barycentric, (vertices[faces[face]] * barycentric[..., None]).sum(1), normals[faces[face, 0]]]
        if len(chosen[0]):
            free = ~_near_any(drawn[2], drawn[3], spacing[face], chosen[2], chosen[3], spacing[chosen[0]])
            drawn = [values[free] for values in drawn]
        won = _darts(drawn[2], drawn[3], spacing[drawn[0]])
        chosen = [np.concatenate([old, new[won]]) for old, new in zip(chosen, drawn)]
    return SurfaceSamples(chosen[0], chosen[1], spacing[chosen[0]])


def _near_any(
    point: np.ndarray, normal: np.ndarray, radius: np.ndarray,
    chosen: np.ndarray, chosen_normal: np.ndarray, chosen_radius: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Bool [n]: points with a chosen one on the same side closer than the mean of both radii."""
    distance, index = cKDTree(chosen).query(point, k=min(_NEIGHBOURS, len(chosen)))
    distance, index = (values.reshape(len(point), -1) for values in (distance, index))
    near = distance < 0.5 * (radius[:, None] + chosen_radius[index])
    return (near & ((normal[:, None] * chosen_normal[index]).sum(2) > _SAME_SIDE)).any(1)


def _darts(point: np.ndarray, normal: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Bool [n]: as many of the candidates as keep apart. Their order is random: the lower index has priority."""
    pairs = cKDTree(point).query_pairs(float(radius.max(initial=0.0)), output_type="ndarray")
    first, second = pairs.T
    near = np.linalg.norm(point[first] - point[second], axis=1) < 0.5 * (radius[first] + radius[second])
    same_side = (normal[first] * normal[second]).sum(1) > _SAME_SIDE
    first, second = first[near & same_side], second[near & same_side]
    alive = np.ones(len(point), bool)
    taken = np.zeros(len(point), bool)
    while alive.any():
        beaten = np.zeros(len(point), bool)
        active = alive[first] & alive[second]
        first, second = first[active], second[active]
        beaten[np.maximum(first, second)] = True
        won = alive & ~beaten
        taken |= won
        alive &= ~won
        alive[second[won[first]]] = False
        alive[first[won[second]]] = False
    return taken
