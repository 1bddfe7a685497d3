"""Geometry of triangle meshes."""

from __future__ import annotations

import numpy as np


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals [V, 3]; zero at vertices of no triangle that has an area.

    Args:
        vertices: [V, 3].
        faces: int [F, 3].
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for axis in range(3):
        for k in range(3):
            out[:, axis] += np.bincount(faces[:, k], normal[:, axis], len(vertices))
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
