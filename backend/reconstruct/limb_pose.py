"""Refinement of the fitted limbs' pose by the clothed surface, so that joints lie inside the limbs that they bend.

The clothed surface follows depth maps and mattes closely, the fitted body only as far as landmarks and priors allow.
Where they differ, an elbow lies beside its arm, and posing the arm rotates it about a point outside. The rotations of
shoulders, elbows, hips and knees are therefore refined until the body lies inside the clothed surface. Across the image
plane joints stay close to where the landmarks are, so that limbs move mainly in depth. Root, spine, head, hands, feet,
betas and translation stay as fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..avatar.meshes import vertex_normals
from ..body.differential import POSE, Points, Skeleton
from ..body.fit import BodyFit, unknowns_of
from ..body.model import JOINT_COUNT, JOINT_INDEX, BodyModel
from ..body.priors import joint_limits
from .config import LimbPoseConfig

_REFINED = [JOINT_INDEX[side + joint] for side in ("left_", "right_") for joint in ("shoulder", "elbow", "hip", "knee")]
_LIMBS = [*_REFINED, *(JOINT_INDEX[side + joint] for side in ("left_", "right_") for joint in ("wrist", "ankle"))]


def refine_limb_pose(
    body: BodyModel,
    fit: BodyFit,
    surface: np.ndarray,
    cameras: Sequence[np.ndarray],
    config: LimbPoseConfig | None = None,
) -> BodyFit:
    """The fit with limbs inside the clothed surface, by damped Gauss-Newton iterations within the joint limits.

    The loss is the mean over the limbs' vertices of the squared point-to-plane distance to the clothed surface, with
    weight 1 outside of it and ``inside_weight`` inside, robust after Geman and McClure; plus ``image_plane_weight``
    times the mean squared motion of the joints perpendicular to the cameras' rays (metres), and ``regularisation``
    squared times the sum of the squared changes of the pose (radians).

    Args:
        body: the body model.
        fit: in the photo camera's space.
        surface: [V, 3] the clothed surface in the same space, metres, in the body's vertex order.
        cameras: [3] each, the centres of the cameras whose landmarks the fit was made to meet.
        config: weights.
    """
    config = config or LimbPoseConfig()
    skeleton = Skeleton(body)
    chosen = np.flatnonzero(body.weights.numpy()[:, _LIMBS].sum(1) > 0.5)[:: config.vertex_stride]
    skin, joints = Points.vertices(skeleton, body, chosen), Points.joints(skeleton)
    free = (3 * np.array(_REFINED)[:, None] + np.arange(3)).reshape(-1)
    outward, target = vertex_normals(surface, body.faces.numpy())[chosen], surface[chosen]
    unknowns = unknowns_of(fit)
    first, began = unknowns[free].copy(), joints(skeleton.pose(unknowns))
    perpendicular = sum(_perpendicular(began - camera) for camera in cameras)
    # Joints that the fit left beyond their limits may stay there.
    low, high = (limit.numpy().reshape(-1)[free] for limit in joint_limits())
    low, high = np.minimum(low, first), np.maximum(high, first)
    damping = config.regularisation**2 * np.eye(len(free))
    for _ in range(config.iterations):
        posed = skeleton.pose(unknowns)
        place, slope = skin.with_derivative(posed)
        away = ((target - place) * outward).sum(1)
        weight = np.where(away < 0, 1.0, config.inside_weight) / (1 + (away / config.robust_scale) ** 2) ** 2
        weight /= len(away)
        rows = np.einsum("nik,ni->nk", slope[:, :, free], outward)
        there, slope = joints.with_derivative(posed)
        moving = (config.image_plane_weight / JOINT_COUNT) * (perpendicular @ slope[:, :, free])
        matrix = (weight[:, None] * rows).T @ rows + np.einsum("jak,jal->kl", slope[:, :, free], moving) + damping
        right = rows.T @ (weight * away) - damping @ (unknowns[free] - first)
        right -= np.einsum("jak,ja->k", moving, there - began)
        unknowns[free] = np.clip(unknowns[free] + np.linalg.solve(matrix, right), low, high)
    return replace(fit, pose=unknowns[POSE].reshape(-1, 3))


def _perpendicular(rays: np.ndarray) -> np.ndarray:
    """Projections [n, 3, 3] onto the planes perpendicular to ``rays`` [n, 3]."""
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return np.eye(3) - unit[:, :, None] * unit[:, None]
