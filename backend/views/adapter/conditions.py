"""What the condition encoder is given: position and normal maps of the mesh, or the rays of the cameras.

MV-Adapter's world has z up and the person facing -y; its unit is the mesh's longest extent, its origin the middle of
the mesh's box. Its views are orthographic (``mvadapter/utils/mesh_utils/camera.py`` in huanngzh/MV-Adapter).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...avatar.meshes import vertex_normals
from ...rendering.mesh import rasterize_mesh
from ..source import far_camera
from .config import AdapterConfig, ViewAngle

FROM_CAMERA = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Rotation from the photo camera's axes (x right, y down, z forward) to MV-Adapter's: the photo shows the front."""


@dataclass(frozen=True, eq=False)
class MeshConditions:
    """A mesh as V cameras see it, in pictures of S pixels a side whose principal point is their centre.

    Attributes:
        maps: float32 [V, 6, S, S] in 0..1, positions and then unit normals in MV-Adapter's world, 0.5 where there is
            no mesh.
        covered: bool [V, S, S].
        matrices: [V, 4, 4] from the photo camera's space to each camera's.
        focal: pixels, the same for all.
    """

    maps: np.ndarray
    covered: np.ndarray
    matrices: np.ndarray
    focal: float


def view_camera(angle: ViewAngle, centre: np.ndarray, width: float, size: int) -> tuple[np.ndarray, float]:
    """:func:`~backend.views.source.far_camera` for a camera that also stands above or below the horizontal.

    Args:
        angle: see there.
        centre, width, size: as there.

    Returns:
        The matrix [4, 4] from the photo camera's space to this one's, and the focal length in pixels.
    """
    level, focal = far_camera(angle.turn, centre, width, size)
    raised = np.radians(angle.elevation)
    cos, sin = np.cos(raised), np.sin(raised)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ level[:3, :3]
    # The centre stays where it is in the level camera's picture: straight ahead, at the same distance.
    matrix[:3, 3] = level[:3, :3] @ centre + level[:3, 3] - matrix[:3, :3] @ centre
    return matrix, focal


def mesh_conditions(
    vertices: np.ndarray, faces: np.ndarray, angles: Sequence[ViewAngle], config: AdapterConfig
) -> MeshConditions:
    """Maps of a mesh from around.

    Args:
        vertices: [N, 3] metres, the photo camera's space.
        faces: int [F, 3], wound so that normals point outwards.
        angles: of the V cameras.
        config: see there.
    """
    low, high = vertices.min(0), vertices.max(0)
    centre, extent = (low + high) / 2, float((high - low).max())
    size = config.picture
    place = (vertices - centre) @ FROM_CAMERA.T / extent
    normal = vertex_normals(vertices, faces) @ FROM_CAMERA.T
    maps = np.full((len(angles), 6, size, size), 0.5, np.float32)
    covered, matrices = [], []
    for view, angle in enumerate(angles):
        matrix, focal = view_camera(angle, centre, config.margin * extent, size)
        hits = rasterize_mesh(vertices @ matrix[:3, :3].T + matrix[:3, 3], faces, focal, (size, size))
        hit = hits.face >= 0
        corners, weights = faces[hits.face[hit]], hits.barycentric[hit][:, :, None]
        towards = (normal[corners] * weights).sum(1)
        towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)
        maps[view, :3, hit] = np.clip((place[corners] * weights).sum(1) + 0.5, 0, 1)
        maps[view, 3:, hit] = towards / 2 + 0.5
        covered.append(hit)
        matrices.append(matrix)
    return MeshConditions(maps, np.stack(covered), np.stack(matrices), focal)


def ray_conditions(angles: Sequence[ViewAngle], config: AdapterConfig) -> np.ndarray:
    """Rays of orthographic cameras, which are the same in all pixels: float32 [V, 6, S, S] in 0..1.

    The first three channels are the viewing direction, the others the direction from the origin to the camera, both as
    unit vectors of MV-Adapter's world, as (value + 1) / 2.
    """
    rays = []
    for angle in angles:
        forward = FROM_CAMERA @ view_camera(angle, np.zeros(3), 1.0, config.picture)[0][2, :3]
        rays.append(np.concatenate([forward, -forward]) / 2 + 0.5)
    shape = (len(rays), 6, config.picture, config.picture)
    return np.broadcast_to(np.array(rays, np.float32)[:, :, None, None], shape).copy()
