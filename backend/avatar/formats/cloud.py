"""Splats with bones, out of an avatar: cleaned, standing on the ground, posed by linear blend skinning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians
from ..package import Avatar
from ..skinning import joint_transforms, standing_translation
from .types import ExportError, SplatCloud

INFLUENCES = 4
_CHUNK = 1 << 16  # splats worked on at a time, so that temporary arrays stay small


def splat_cloud(avatar: Avatar) -> SplatCloud:
    """The avatar's splats at rest, standing on the ground; joints are SMPL's."""
    gaussians = replace(
        avatar.gaussians,
        position=avatar.gaussians.position + standing_translation(avatar).astype(np.float32),
    )
    joints, weights = sorted_weights(avatar.skin.joint_ids, avatar.skin.joint_weights)
    return SplatCloud(gaussians, joints, weights)


def standing_transforms(avatar: Avatar, pose: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """[J, 4, 4] that move :func:`splat_cloud` from where it stands into a pose of the avatar's own space.

    Args:
        avatar: whose joints.
        pose: [J, 3] axis-angle.
        translation: [3] metres.
    """
    down = np.eye(4)
    down[:3, 3] = -standing_translation(avatar)
    transforms = joint_transforms(np.asarray(pose), avatar.rest_joints, avatar.parents) @ down
    transforms[:, :3, 3] += translation
    return transforms


def sorted_weights(joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influences with the largest first and rows that sum to 1; joints without weight are 0.

    Args:
        joints: int [N, K].
        weights: float [N, K], K of 4 or more; of more the four largest are kept.

    Returns:
        uint8 [N, 4], float32 [N, 4].
    """
    weights = np.maximum(weights, 0)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    joints = np.take_along_axis(joints, order, 1).astype(np.uint8)
    weights = np.take_along_axis(weights, order, 1).astype(np.float64)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    joints[weights == 0] = 0
    return joints, weights.astype(np.float32)


def clean(cloud: SplatCloud) -> tuple[SplatCloud, int]:
    """Without splats that show nothing or break readers; how many were dropped.

    Dropped are splats with numbers that are not finite, with no rotation, and with fewer than two axes of a size above
    zero, which cover no area.

    Raises:
        ExportError: nothing is left.
    """
    g = cloud.gaussians
    if len(g) == 0:
        raise ExportError("There are no splats to export: the avatar is empty or everything was erased.")
    good = np.isfinite(cloud.weights).all(1) & np.isfinite(g.opacity)
    for array in (g.position, g.rotation, g.scale, g.sh_dc):
        good &= np.isfinite(array).all(1)
    with np.errstate(invalid="ignore"):
        good &= (g.scale > 0).sum(1) >= 2
        good &= (np.abs(g.rotation).max(1) > 0) & (g.opacity > 0)
    dropped = int(len(good) - good.sum())
    if dropped == len(good):
        raise ExportError("There are no splats to export: every splat is empty or damaged.")
    return (cloud if dropped == 0 else chosen(cloud, good)), dropped


def chosen(cloud: SplatCloud, which: np.ndarray) -> SplatCloud:
    """The splats that ``which`` (bool [N] or indices) says."""
    g = cloud.gaussians
    parts = (getattr(g, name)[which] for name in ("position", "rotation", "scale", "opacity", "sh_dc"))
    return SplatCloud(Gaussians(*parts), cloud.joints[which], cloud.weights[which])


def pose_cloud(cloud: SplatCloud, transforms: np.ndarray) -> Gaussians:
    """Splats moved by linear blend skinning, which is what engines and viewers do.

    Each splat's affine transform A x + t is the weighted sum of its bones'; its covariance becomes A C A^T, whose axes
    and scales the singular value decomposition of A R diag(scale) gives.

    Args:
        cloud: N splats at rest.
        transforms: [J, 4, 4] of the bones, rest -> posed.
    """
    g = cloud.gaussians
    rows = np.asarray(transforms, dtype=np.float64)[:, :3]
    position, rotation, scale = (np.empty_like(array) for array in (g.position, g.rotation, g.scale))
    for start in range(0, len(cloud), _CHUNK):
        part = slice(start, start + _CHUNK)
        blended = np.einsum("nk,nkij->nij", cloud.weights[part].astype(np.float64), rows[cloud.joints[part]])
        position[part] = np.einsum("nij,nj->ni", blended[:, :, :3], g.position[part]) + blended[:, :, 3]
        turned = blended[:, :, :3] @ quaternion.to_matrix(quaternion.normalize(g.rotation[part].astype(np.float64)))
        axes, sizes, _ = np.linalg.svd(turned * g.scale[part][:, None].astype(np.float64))
        axes[:, :, 2] *= np.sign(np.linalg.det(axes))[:, None]
        rotation[part], scale[part] = quaternion.from_matrix(axes), sizes
    return replace(g, position=position, rotation=rotation, scale=scale)
