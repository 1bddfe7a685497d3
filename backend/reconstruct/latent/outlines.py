"""A fitted body moved to the outlines of pictures from the side, which say where the photo's depth is."""

from __future__ import annotations

import numpy as np

from ...rendering.mesh import rasterize_mesh
from ..clothed import carve, outline_displacement

_ITERATIONS = 3
_STIFFNESS = 3.0
_REACH = 0.2
"""Metres; what lies further outside an outline is left alone."""


def meet_outlines(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    matrices: np.ndarray,
    focal: float,
    coverage: np.ndarray,
) -> np.ndarray:
    """The vertices [N, 3] moved smoothly along the photo's rays, so that its own view stays what it was.

    Args:
        vertices: [N, 3] metres in the photo camera's space.
        faces: [F, 3].
        weights: [N, 24] skinning weights.
        matrices: [V, 4, 4] from that space to each camera's, the photo's first.
        focal: in picture widths.
        coverage: [V, S, S] 0..1, of pictures of the person.
    """
    size = coverage.shape[-1]
    known, pinned = np.ones((size, size), bool), np.zeros(len(vertices), bool)
    sides = np.nonzero(np.abs(matrices[:, 2, 2]) < np.cos(np.radians(45)))[0]
    ray = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    for _ in range(_ITERATIONS):
        for k in sides:
            turn, matte = matrices[k, :3, :3], coverage[k] > 0.5
            local = vertices @ turn.T + matrices[k, :3, 3]
            seen = rasterize_mesh(local, faces, focal * size, (size, size)).face
            change = outline_displacement(local, faces, weights, matte, known, seen, focal * size, pinned, _STIFFNESS)
            change = (change + carve(local + change, faces, matte, known, focal * size, _REACH)) @ turn
            vertices = vertices + (change * ray).sum(1, keepdims=True) * ray
    return vertices
