"""Linear blend skinning after SMPL (Loper et al. 2015) and splats that ride on the triangles of a skinned surface.

Spaces: metres, y up. Nothing here knows of files. All functions keep float64 where they are given float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import quaternion
from .gaussians import Gaussians

if TYPE_CHECKING:
    from .package import Avatar

STRETCH_LIMITS = (0.5, 2.0)
"""How far a triangle's change of area may shrink or grow the splats on it."""


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians (Rodrigues' formula)."""
    axis_angle = np.asarray(axis_angle)
    angle = np.linalg.norm(axis_angle, axis=-1)
    # sin(a)/a and (1-cos(a))/a^2 by way of sinc, which is exact at zero; numpy's sinc has a pi in it.
    sine = np.sinc(angle / np.pi)[..., None, None]
    cosine = 0.5 * np.sinc(angle / (2 * np.pi))[..., None, None] ** 2
    skew = np.zeros((*axis_angle.shape, 3), dtype=axis_angle.dtype)
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = np.moveaxis(axis_angle, -1, 0)
    skew -= np.swapaxes(skew, -1, -2).copy()
    return np.eye(3, dtype=axis_angle.dtype) + sine * skew + cosine * (skew @ skew)


def joint_transforms(pose: np.ndarray, rest_joints: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Skinning matrices [J, 4, 4], rest -> posed, without the avatar's translation.

    Args:
        pose: [J, 3] axis-angle; row 0 turns everything about the root joint, other rows are relative to the parent.
        rest_joints: [J, 3] metres.
        parents: J indices, -1 for the root, which comes first; parents come before their children.
    """
    rotation = rotation_matrices(pose)
    rest_joints = np.asarray(rest_joints)
    transforms = np.zeros((len(rest_joints), 4, 4), dtype=np.result_type(rotation, rest_joints))
    transforms[:, 3, 3] = 1
    for joint, parent in enumerate(parents):
        if parent < 0:
            turn, place = rotation[joint], rest_joints[joint]
        else:
            turn = transforms[parent, :3, :3] @ rotation[joint]
            place = transforms[parent, :3, :3] @ rest_joints[joint] + transforms[parent, :3, 3]
        transforms[joint, :3, :3] = turn
        # The posed joint is `place`; the skinning matrix takes the rest joint there.
        transforms[joint, :3, 3] = place - turn @ rest_joints[joint]
    return transforms


def skin_vertices(
    vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray, translation: np.ndarray | float = 0
) -> np.ndarray:
    """Posed vertices [V, 3] = sum_j w_j T_j [v, 1] + translation.

    Args:
        vertices: [V, 3] rest, metres.
        weights: [V, J], rows sum to 1.
        transforms: [J, 4, 4] from ``joint_transforms``.
        translation: [3] metres.
    """
    vertices = np.asarray(vertices)
    rows = np.asarray(transforms)[:, :3].reshape(len(transforms), 12)
    blended = (np.asarray(weights) @ rows.astype(np.result_type(vertices, weights), copy=False)).reshape(-1, 3, 4)
    posed = np.einsum("vij,vj->vi", blended[:, :, :3], vertices) + blended[:, :, 3] + translation
    return posed.astype(vertices.dtype, copy=False)


def triangle_frames(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames R [N, 3, 3] (columns: first edge, n x first edge, normal n) and areas [N] of triangles.

    With e1 = v1 - v0 and e2 = v2 - v0: n = normalize(e1 x e2), x = normalize(e1), y = n x x. A triangle without an area
    has no frame: it gets the identity and the area 0.

    Args:
        vertices: [V, 3] metres.
        triangles: int [N, 3].
    """
    vertices = np.asarray(vertices)
    corner = vertices[triangles[:, 0]]
    first = vertices[triangles[:, 1]] - corner
    normal = _cross(first, vertices[triangles[:, 2]] - corner)
    twice_area = np.sqrt(np.einsum("ni,ni->n", normal, normal))
    length = np.sqrt(np.einsum("ni,ni->n", first, first))
    flat = twice_area <= np.finfo(vertices.dtype).eps * length * length
    frames = np.empty((len(triangles), 3, 3), dtype=vertices.dtype)
    frames[:, :, 0] = first / np.where(flat, 1, length)[:, None]
    frames[:, :, 2] = normal / np.where(flat, 1, twice_area)[:, None]
    frames[:, :, 1] = _cross(frames[:, :, 2], frames[:, :, 0])
    frames[flat] = np.eye(3)
    return frames, np.where(flat, 0, 0.5 * twice_area)


def bind_to_surface(
    gaussians_rest: Gaussians, surface_vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of rest splats in the frames of the triangles they ride on: the inverse of ``pose_gaussians``.

    Args:
        gaussians_rest: N splats in canonical space.
        surface_vertices: [S, 3] rest, metres.
        triangles: int [N, 3], the triangle of each splat.

    Returns:
        barycentric [N, 3] (sum 1, any sign), offset [N] metres along the normal, rotation [N, 4] wxyz; float32.

    Raises:
        ValueError: a triangle has no area.
    """
    vertices = np.asarray(surface_vertices, dtype=np.float64)
    triangles = np.asarray(triangles)
    frames, area = triangle_frames(vertices, triangles)
    if not (area > 0).all():
        raise ValueError(f"{int((area <= 0).sum())} splats are bound to triangles without an area.")
    corner = vertices[triangles[:, 0]]
    local = np.einsum("nij,ni->nj", frames, gaussians_rest.position - corner)
    second = np.einsum("nij,ni->nj", frames, vertices[triangles[:, 2]] - corner)
    first_length = np.linalg.norm(vertices[triangles[:, 1]] - corner, axis=1)
    # In the frame the edges are (first_length, 0) and (second_x, second_y): a triangular 2x2 system.
    v = local[:, 1] / second[:, 1]
    u = (local[:, 0] - v * second[:, 0]) / first_length
    rotation = quaternion.multiply(
        quaternion.conjugate(quaternion.from_matrix(frames)),
        quaternion.normalize(gaussians_rest.rotation.astype(np.float64)),
    )
    barycentric = np.stack([1 - u - v, u, v], axis=1)
    return barycentric.astype(np.float32), local[:, 2].astype(np.float32), rotation.astype(np.float32)


def pose_gaussians(avatar: Avatar, pose: np.ndarray, translation: np.ndarray | None = None) -> Gaussians:
    """The avatar's splats in world space, float32.

    position = sum_i bary_i v_i + offset n; rotation = R * rotation_local; the scale grows with the square root of the
    triangle's change of area, within ``STRETCH_LIMITS``. ``v``, ``n`` and ``R`` are of the skinned surface.

    Args:
        avatar: N splats bound to its surface.
        pose: [24, 3] axis-angle, radians.
        translation: [3] metres; the avatar's own where None.
    """
    if translation is None:
        translation = avatar.translation
    transforms = joint_transforms(np.asarray(pose, dtype=np.float64), avatar.rest_joints, avatar.parents)
    rest = avatar.body.surface_vertices
    vertices = skin_vertices(rest, avatar.body.surface_weights, transforms)
    triangles = avatar.skin.vertex_ids
    frames, area = triangle_frames(vertices, triangles)
    _, rest_area = triangle_frames(rest, triangles)
    barycentric = avatar.skin.barycentric
    position = avatar.skin.offset[:, None] * frames[:, :, 2] + np.asarray(translation, dtype=np.float32)
    for corner in range(3):
        position += barycentric[:, corner, None] * vertices[triangles[:, corner]]
    rotation = quaternion.multiply(quaternion.from_matrix(frames), avatar.skin.rotation)
    factor = np.clip(np.sqrt(area / rest_area), *STRETCH_LIMITS)[:, None]
    return Gaussians(
        position=position.astype(np.float32, copy=False),
        rotation=quaternion.normalize(rotation).astype(np.float32, copy=False),
        scale=(avatar.gaussians.scale * factor).astype(np.float32, copy=False),
        opacity=avatar.gaussians.opacity,
        sh_dc=avatar.gaussians.sh_dc,
    )


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product; several times faster than ``np.cross`` on long arrays."""
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out
