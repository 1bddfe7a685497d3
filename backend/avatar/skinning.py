"""Skinning (SMPL's linear blend, dual quaternions, shares of both) and splats that ride on a skinned surface.

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
PRESERVE_VOLUME = 0.5
"""Share of dual quaternions with which new avatars are posed. By ``scripts/measure_bending.py`` the sections of elbows
and knees bent by 120 degrees keep 76 % of their area and more (linear: 52 %), and knees in loose trousers swell by 12 %
at most (dual quaternions alone: 23 %). On the reposed people of the evaluation, whose truth is posed linearly, it
scores as linear blending does (`scripts/evaluate.py --preset lite lite+linear`)."""


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


def vertex_transforms(weights: np.ndarray, transforms: np.ndarray, preserve_volume: float = 0.0) -> np.ndarray:
    """What takes each vertex from rest to posed: affine transforms [V, 3, 4].

    The joints' transforms are blended linearly (Loper et al. 2015), or as dual quaternions (Kavan et al. 2008), which
    gives a rigid transform for each vertex, so that skin neither collapses nor is wrung; in between, the two results
    are. Dual quaternions are added up in the joints' order, each with the sign that brings it nearer to the sum so far:
    that is what Blender's Armature modifier does with "Preserve Volume".

    Args:
        weights: [V, J], rows sum to 1.
        transforms: [J, 4, 4] rigid, from ``joint_transforms``.
        preserve_volume: share of the dual quaternions, 0..1.
    """
    weights = np.asarray(weights)
    rows = np.asarray(transforms)[:, :3].astype(np.result_type(np.asarray(transforms), weights), copy=False)
    blended = np.zeros((len(weights), 3, 4), dtype=rows.dtype)
    if preserve_volume < 1:
        blended += (1 - preserve_volume) * (weights @ rows.reshape(len(rows), 12)).reshape(-1, 3, 4)
    if preserve_volume > 0:
        blended += preserve_volume * _rigid_transforms(weights, rows)
    return blended


def _rigid_transforms(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rigid transforms [V, 3, 4]: ``rows`` [J, 3, 4] blended as dual quaternions by ``weights`` [V, J]."""
    turns = quaternion.from_matrix(rows[:, :, :3])
    shifts = np.concatenate([np.zeros_like(rows[:, 0, 3:]), rows[:, :, 3]], axis=1)
    # The dual part of a rotation q followed by a shift t is (0, t) q / 2.
    parts = np.concatenate([turns, 0.5 * quaternion.multiply(shifts, turns)], axis=1)
    total = np.zeros((len(weights), 8), dtype=rows.dtype)
    for joint in range(weights.shape[1]):
        moved = np.flatnonzero(weights[:, joint])
        so_far = total[moved]
        share = np.where(so_far[:, :4] @ turns[joint] < 0, -weights[moved, joint], weights[moved, joint])
        total[moved] = so_far + share[:, None] * parts[joint]
    length = np.linalg.norm(total[:, :4], axis=1, keepdims=True)
    total /= np.where(length > 0, length, 1)
    out = np.empty((len(weights), 3, 4), dtype=rows.dtype)
    out[:, :, :3] = quaternion.to_matrix(total[:, :4])
    out[:, :, 3] = 2 * quaternion.multiply(total[:, 4:], quaternion.conjugate(total[:, :4]))[:, 1:]
    return out


def skin_vertices(
    vertices: np.ndarray,
    weights: np.ndarray,
    transforms: np.ndarray,
    translation: np.ndarray | float = 0,
    preserve_volume: float = 0.0,
) -> np.ndarray:
    """Posed vertices [V, 3] = ``vertex_transforms`` [v, 1] + translation.

    Args:
        vertices: [V, 3] rest, metres.
        weights: [V, J], rows sum to 1.
        transforms: [J, 4, 4] from ``joint_transforms``.
        translation: [3] metres.
        preserve_volume: share of dual quaternions in the blend, 0..1; see ``vertex_transforms``.
    """
    vertices = np.asarray(vertices)
    precise = np.asarray(transforms).astype(np.result_type(vertices, weights), copy=False)
    blended = vertex_transforms(weights, precise, preserve_volume)
    posed = np.einsum("vij,vj->vi", blended[:, :, :3], vertices) + blended[:, :, 3] + translation
    return posed.astype(vertices.dtype, copy=False)


def unskin_vertices(posed: np.ndarray, blended: np.ndarray) -> np.ndarray:
    """Rest positions [V, 3] that ``blended`` [V, 3, 4] takes to ``posed`` [V, 3].

    Where a linear blend is near singular, as in sharp bends, a damped answer.
    """
    if not len(posed):
        return np.zeros((0, 3), dtype=posed.dtype)
    linear, shift = blended[:, :, :3], posed - blended[:, :, 3]
    u, s, vt = np.linalg.svd(linear)
    damped = s / (s**2 + 1e-3)
    damped = np.where(s > 0.3, 1 / np.maximum(s, 1e-9), damped)
    return np.einsum("vba,vb,vcb,vc->va", vt, damped, u, shift, optimize=True)


def surface_in_pose(avatar: Avatar, pose: np.ndarray, translation: np.ndarray | float = 0) -> np.ndarray:
    """The avatar's surface [S, 3] as its package says it is posed, float64 metres.

    Args:
        avatar: whose surface.
        pose: [24, 3] axis-angle, radians.
        translation: [3] metres.
    """
    body = avatar.body
    transforms = joint_transforms(np.asarray(pose, dtype=np.float64), avatar.rest_joints, avatar.parents)
    rest = body.surface_vertices.astype(np.float64)
    return skin_vertices(rest, body.surface_weights, transforms, translation, avatar.preserve_volume)


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
    gaussians_rest: Gaussians, surface_vertices: np.ndarray, triangles: np.ndarray, references: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What ties splats to a surface: the inverse of ``pose_gaussians``.

    A splat holds on to the point of its triangle that is nearest to it, and to the frame of the reference triangle of
    the corner that is nearest to that point. The frame carries it from the point, and turns it.

    Args:
        gaussians_rest: N splats in the space of the vertices.
        surface_vertices: [S, 3] metres.
        triangles: int [N, 3], the triangle of each splat.
        references: int [S, 3] from ``frames.reference_triangles``.

    Returns:
        vertex ids int32 [N, 3], the triangle's corners, the nearest first; barycentric [N, 3] of the point, 0..1;
        offset [N, 3] metres from the point, in the frame; rotation [N, 4] wxyz, in the frame; float32.

    Raises:
        ValueError: a reference triangle has no area.
    """
    vertices = np.asarray(surface_vertices, dtype=np.float64)
    triangles = np.asarray(triangles)
    position = gaussians_rest.position.astype(np.float64)
    barycentric = nearest_on_triangles(position, vertices[triangles])
    order = np.argsort(-barycentric, axis=1, kind="stable")[:, :1]
    order = (order + np.arange(3)) % 3  # the corners keep their sense of rotation
    triangles = np.take_along_axis(triangles, order, 1)
    barycentric = np.take_along_axis(barycentric, order, 1)
    own = references[triangles[:, 0]]
    frames, area = triangle_frames(vertices, own)
    if not (area > 0).all():
        raise ValueError(f"{int((area <= 0).sum())} splats ride on reference triangles without an area.")
    point = np.einsum("nc,nci->ni", barycentric, vertices[triangles])
    offset = np.einsum("nij,ni->nj", frames, position - point)
    rotation = quaternion.multiply(
        quaternion.conjugate(quaternion.from_matrix(frames)),
        quaternion.normalize(gaussians_rest.rotation.astype(np.float64)),
    )
    return (
        triangles.astype(np.int32),
        barycentric.astype(np.float32),
        offset.astype(np.float32),
        rotation.astype(np.float32),
    )


def nearest_on_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [N, 3], 0..1, of the point of each triangle that is nearest to a point.

    Args:
        points: [N, 3].
        corners: [N, 3, 3], a corner a row; a triangle may be flat.
    """
    nearest = np.zeros((len(points), 3), dtype=points.dtype)
    distance = np.full(len(points), np.inf, dtype=points.dtype)
    for start in range(3):
        end = (start + 1) % 3
        edge, reach = corners[:, end] - corners[:, start], points - corners[:, start]
        length = np.einsum("ni,ni->n", edge, edge)
        share = (np.einsum("ni,ni->n", reach, edge) / np.where(length > 0, length, 1)).clip(0, 1)
        gap = np.linalg.norm(reach - share[:, None] * edge, axis=1)
        better = gap < distance
        distance[better] = gap[better]
        nearest[better] = 0
        nearest[better, start], nearest[better, end] = (1 - share)[better], share[better]
    # Where the point stands above the triangle, the nearest point is the foot of the perpendicular.
    first, second, reach = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    normal = _cross(first, second)
    squared = np.einsum("ni,ni->n", normal, normal)
    size = np.einsum("ni,ni->n", first, first) * np.einsum("ni,ni->n", second, second)
    proper = squared > np.finfo(points.dtype).eps * size
    squared = np.where(proper, squared, 1)
    u = np.einsum("ni,ni->n", _cross(reach, second), normal) / squared
    v = np.einsum("ni,ni->n", _cross(first, reach), normal) / squared
    above = proper & (u >= 0) & (v >= 0) & (u + v <= 1)
    nearest[above] = np.stack([1 - u - v, u, v], axis=1)[above]
    return nearest


def pose_gaussians(avatar: Avatar, pose: np.ndarray, translation: np.ndarray | None = None) -> Gaussians:
    """The avatar's splats in world space, float32.

    position = sum_i bary_i v_i + R offset; rotation = R * rotation_local; the scale grows with the square root of the
    triangle's change of area, within ``STRETCH_LIMITS``. ``v`` are the triangle's corners on the skinned surface, and
    R is the frame there of the first corner's reference triangle.

    Args:
        avatar: N splats bound to its surface.
        pose: [24, 3] axis-angle, radians.
        translation: [3] metres; the avatar's own where None.
    """
    if translation is None:
        translation = avatar.translation
    return splats_on_surface(avatar, surface_in_pose(avatar, pose), translation)


def splats_on_surface(avatar: Avatar, vertices: np.ndarray, translation: np.ndarray | float = 0) -> Gaussians:
    """The avatar's splats where its surface is ``vertices`` [S, 3], metres, and then ``translation`` [3] away."""
    body, skin = avatar.body, avatar.skin
    frames, _ = triangle_frames(vertices, body.reference_triangles)
    turn = quaternion.from_matrix(frames).astype(np.float32)[skin.vertex_ids[:, 0]]
    position = np.einsum("nij,nj->ni", frames.astype(np.float32)[skin.vertex_ids[:, 0]], skin.offset)
    place = (vertices + translation).astype(np.float32)
    for corner in range(3):
        position += skin.barycentric[:, corner, None] * place[skin.vertex_ids[:, corner]]
    factor = stretch(body.surface_vertices, vertices, skin.vertex_ids)
    return Gaussians(
        position=position.astype(np.float32, copy=False),
        rotation=quaternion.normalize(quaternion.multiply(turn, skin.rotation)).astype(np.float32, copy=False),
        scale=(avatar.gaussians.scale * factor[:, None]).astype(np.float32, copy=False),
        opacity=avatar.gaussians.opacity,
        sh_dc=avatar.gaussians.sh_dc,
    )


def standing_translation(avatar: Avatar) -> np.ndarray:
    """Translation [3] metres that puts the rest pose's soles on the ground, its pelvis above the origin."""
    pelvis = np.asarray(avatar.rest_joints, dtype=np.float64)[0]
    return np.array([-pelvis[0], -float(avatar.body.surface_vertices[:, 1].min()), -pelvis[2]])


def outward_axes(avatar: Avatar) -> np.ndarray:
    """Each splat's thinnest axis [N, 3] in its own axes, of length 1, signed so that it leaves the surface at rest."""
    gaussians = avatar.gaussians
    thin = gaussians.scale.argmin(axis=1)
    axes = np.zeros((len(thin), 3), dtype=np.float32)
    axes[np.arange(len(thin)), thin] = 1
    corners = avatar.body.surface_vertices.astype(np.float64)[avatar.skin.vertex_ids]
    outward = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    along = quaternion.to_matrix(gaussians.rotation.astype(np.float64))[np.arange(len(thin)), :, thin]
    axes[(along * outward).sum(axis=1) < 0] *= -1
    return axes


def stretch(rest: np.ndarray, posed: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Factor [N] by which splats on ``triangles`` [N, 3] grow from vertices [S, 3] at rest to posed ones."""
    return np.sqrt(triangle_areas(posed, triangles) / triangle_areas(rest, triangles)).clip(*STRETCH_LIMITS)


def triangle_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Areas [N] of triangles [N, 3], in float64."""
    corners = np.asarray(vertices)[triangles].astype(np.float64)
    normal = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return 0.5 * np.sqrt(np.einsum("ni,ni->n", normal, normal))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product; several times faster than ``np.cross`` on long arrays."""
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out
