"""Triangle meshes seen by one camera, in NumPy arrays: which face is seen where, and how deep it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .triangles import rasterize


@dataclass(frozen=True)
class MeshHits:
    """What each pixel's ray meets first.

    Attributes:
        face: int [H, W], -1 where nothing is hit.
        barycentric: float [H, W, 3], perspective-correct.
        depth: float [H, W] along z, inf where nothing is hit.
    """

    face: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray


def rasterize_mesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    focal: float,
    size: tuple[int, int],
    *,
    farthest: bool = False,
    device: torch.device | None = None,
) -> MeshHits:
    """Rasterise in camera space (OpenCV axes, principal point at the image's centre), in single precision.

    Args:
        vertices: [V, 3] metres, in front of the camera.
        faces: int [F, 3].
        focal: pixels.
        size: (height, width).
        farthest: return the last hit instead of the first (the far side as seen from the camera).
        device: which draws where it is a CUDA card; else the processor does.
    """
    height, width = size
    z = vertices[:, 2:]
    pixels = vertices[:, :2] / z * focal + np.array([width / 2, height / 2])
    # Over the picture the inverse of depth is linear: the smallest is the last hit.
    screen = torch.as_tensor(np.hstack([pixels, 1 / z if farthest else z]), dtype=torch.float32)[None]
    corners = torch.as_tensor(np.ascontiguousarray(faces, np.int64))
    if device is not None and device.type == "cuda":
        screen, corners = screen.to(device), corners.to(device)
    hits = rasterize(screen, corners, size, perspective=not farthest)
    sample, face, depth, weights = (v.cpu().numpy() for v in (hits.sample, hits.face, hits.depth, hits.barycentric))
    weights = weights.astype(np.float64)
    if farthest:
        depth = 1 / depth
        weights = weights / z[faces[face], 0]
        weights /= weights.sum(1, keepdims=True)
    out_face = np.full(height * width, -1)
    out_depth = np.full(height * width, np.inf)
    out_weights = np.zeros((height * width, 3))
    out_face[sample], out_depth[sample], out_weights[sample] = face, depth, weights
    return MeshHits(out_face.reshape(size), out_weights.reshape(height, width, 3), out_depth.reshape(size))
