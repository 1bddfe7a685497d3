"""Points spread evenly over a body's surface, made once per body model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree


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
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, spacing: np.ndarray, darts: int, seed: int = 0
) -> SurfaceSamples:
    """Points of which no two on the same side of the surface are closer than the local spacing.

    Parallel dart throwing: candidates with random priorities; each round takes those without a prior neighbour.

    Args:
        vertices, faces: the mesh.
        normals: [V, 3] unit; points on opposite sides of something thin do not compete.
        spacing: [F] metres between the points of each face.
        darts: rounds, and candidates per squared spacing in each: the last one finds hardly a place that is free.
        seed: of the candidates.
    """
    generator = np.random.default_rng(seed)
    share = face_areas(vertices, faces) / spacing**2
    count = round(darts * share.sum())
    chosen_face, chosen = np.zeros(0, int), np.zeros((0, 3))
    for _ in range(darts):
        u, v = generator.random((2, count))
        over = u + v > 1
        u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
        # Those that were chosen before come first, and win.
        face = np.append(chosen_face, generator.choice(len(faces), count, p=share / share.sum()))
        barycentric = np.vstack([chosen, np.column_stack([1 - u - v, u, v])])
        place, normal = (vertices[faces[face]] * barycentric[..., None]).sum(1), normals[faces[face, 0]]
        kept = _may_win(place, normal, spacing[face], len(chosen))
        face, barycentric = face[kept], barycentric[kept]
        won = _darts(place[kept], normal[kept], spacing[face])
        chosen_face, chosen = face[won], barycentric[won]
    return SurfaceSamples(chosen_face, chosen, spacing[chosen_face])


def _may_win(point: np.ndarray, normal: np.ndarray, radius: np.ndarray, count: int) -> np.ndarray:
    """Bool [n]: all but those that the nearest of the first ``count`` points, which win anyhow, keeps from winning."""
    out = np.ones(len(point), bool)
    if count:
        distance, near = cKDTree(point[:count]).query(point[count:])
        close = distance < 0.5 * (radius[count:] + radius[near])
        out[count:] = ~(close & ((normal[count:] * normal[near]).sum(1) > 0))
    return out


def _darts(point: np.ndarray, normal: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Bool [n]: as many of the candidates as keep apart. Their order is random: the lower index has priority."""
    pairs = cKDTree(point).query_pairs(float(radius.max(initial=0.0)), output_type="ndarray")
    first, second = pairs.T
    near = np.linalg.norm(point[first] - point[second], axis=1) < 0.5 * (radius[first] + radius[second])
    same_side = (normal[first] * normal[second]).sum(1) > 0
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
