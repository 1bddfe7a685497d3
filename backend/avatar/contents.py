"""What an avatar package holds, as plain dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .gaussians import Gaussians

JOINT_COUNT = 24
SHAPE_COMPONENTS = 10


class AvatarFormatError(ValueError):
    """An avatar that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Camera:
    """The photo's camera, OpenCV axes (x right, y down, z forward).

    Attributes:
        width, height: pixels of ``input.png``.
        fx, fy, cx, cy: pixels; the centre of the first pixel lies at (0.5, 0.5).
        world_to_camera: [4, 4] rigid, metres.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class Skin:
    """Where each of N splats sits on the surface mesh, and which joints move it.

    Attributes:
        vertex_ids: int32 [N, 3] corners of its triangle, into ``Body.surface_vertices``. The first one's reference
            triangle (``Body.reference_triangles``) is the splat's frame.
        barycentric: float32 [N, 3] of its point on the triangle, sum 1.
        offset: float32 [N, 3] metres from that point to the splat, in the frame.
        rotation: float32 [N, 4] wxyz, in the frame.
        joint_ids: uint8 [N, 4].
        joint_weights: float32 [N, 4], sum 1.
        seen: float32 [N] in 0..1, how far the photo shows the splat; the rest of it is imagined. None in packages that
            do not say.
    """

    vertex_ids: np.ndarray
    barycentric: np.ndarray
    offset: np.ndarray
    rotation: np.ndarray
    joint_ids: np.ndarray
    joint_weights: np.ndarray
    seen: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Body:
    """The fitted body and the surface around it that carries the splats; both at rest (T-pose), metres.

    Attributes:
        vertices, faces, weights: float32 [V, 3], int32 [F, 3], float32 [V, 24] of the naked body.
        surface_vertices, surface_faces, surface_weights: float32 [S, 3], int32 [G, 3], float32 [S, 24].
        reference_triangles: int32 [S, 3] surface vertices whose triangle tells how the surface turns at each vertex.
        uv, uv_faces: float32 [T, 2] and int32 [F, 3] of the naked body, or None.
        pose_correctives: float32 [V, 3, 207] of the naked body, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    surface_vertices: np.ndarray
    surface_faces: np.ndarray
    surface_weights: np.ndarray
    reference_triangles: np.ndarray
    uv: np.ndarray | None = None
    uv_faces: np.ndarray | None = None
    pose_correctives: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Avatar:
    """A posable splat avatar.

    Attributes:
        gaussians: N splats in canonical space (the rest pose).
        skin, body: what they ride on.
        joint_names: 24 SMPL names.
        parents: 24 indices, -1 first.
        rest_joints: float64 [24, 3] metres.
        betas: float64 [10] shape coefficients.
        pose: float64 [24, 3] axis-angle as fitted to the photo.
        translation: float64 [3] metres, added after skinning.
        joint_confidence: float64 [24] in 0..1, how well the photo shows each joint.
        camera: the photo's.
        body_model: ``{"name", "licence"}``.
        generator: ``{"name", "version", "preset", "weights"}``.
        source: ``{"name", "sha256", "crop"}`` of the photo; the crop is left, top and side, in the photo's pixels, of
            the square that ``input.png`` and the camera show.
        seconds: duration of each stage.
        warnings: sentences for the user.
        preserve_volume: share in 0..1 of dual quaternions with which the surface is posed; the rest is linear blend
            skinning, in packages that do not say all of it. See ``skinning.vertex_transforms``.
    """

    gaussians: Gaussians
    skin: Skin
    body: Body
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    rest_joints: np.ndarray
    betas: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    joint_confidence: np.ndarray
    camera: Camera
    body_model: dict[str, Any]
    generator: dict[str, Any]
    source: dict[str, Any]
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    preserve_volume: float = 0.0
