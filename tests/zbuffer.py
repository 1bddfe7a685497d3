"""A plain z-buffer for triangle meshes in NumPy alone, to hold the product's own against."""

from __future__ import annotations

import numpy as np

from backend.rendering.mesh import MeshHits


def numpy_hits(
    vertices: np.ndarray, faces: np.ndarray, focal: float, size: tuple[int, int], *, farthest: bool = False
) -> MeshHits:
    """As :func:`backend.rendering.mesh.rasterize_mesh`, in double precision."""
    height, width = size
    z = vertices[:, 2]
    pixels = vertices[:, :2] / z[:, None] * focal + np.array([width / 2, height / 2])
    corner = pixels[faces]
    low = np.maximum(np.ceil(corner.min(1) - 0.5), 0).astype(int)
    high = np.minimum(np.floor(corner.max(1) - 0.5), [width - 1, height - 1]).astype(int)
    extent = (high - low + 1).clip(0)
    area = _cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    usable = (extent.prod(1) > 0) & (np.abs(area) > 1e-9) & (z[faces].min(1) > 1e-3)
    chosen = np.nonzero(usable)[0]
    counts = extent[chosen].prod(1)
    face = np.repeat(chosen, counts)
    within = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = extent[face, 0]
    x, y = low[face, 0] + within % columns, low[face, 1] + within // columns
    point = np.stack([x + 0.5, y + 0.5], 1)
    c0, c1, c2 = corner[face, 0], corner[face, 1], corner[face, 2]
    w1 = _cross(point - c0, c2 - c0) / area[face]
    w2 = _cross(c1 - c0, point - c0) / area[face]
    w0 = 1 - w1 - w2
    hit = (w0 >= 0) & (w1 >= 0) & (w2 >= 0)
    face, x, y = face[hit], x[hit], y[hit]
    over_z = np.stack([w0[hit], w1[hit], w2[hit]], 1) / z[faces[face]]
    depth = 1 / over_z.sum(1)
    pixel = y * width + x
    order = np.argsort(depth if farthest else -depth, kind="stable")  # the last write wins
    best = np.full(height * width, -1)
    best[pixel[order]] = order
    found = best >= 0
    index = best[found]
    out_face = np.full(height * width, -1)
    out_depth = np.full(height * width, np.inf)
    out_weights = np.zeros((height * width, 3))
    out_face[found], out_depth[found] = face[index], depth[index]
    out_weights[found] = over_z[index] * depth[index, None]
    return MeshHits(out_face.reshape(size), out_weights.reshape(height, width, 3), out_depth.reshape(size))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
