"""Limbs turned to where their clothes are, so that joints lie inside the limbs that they bend.

The surface follows depths and outlines; the fitted body follows them only as far as landmarks and priors let it. Where
the two part, a joint lies beside its limb, and bending it swings the limb about something outside. A body is inside its
clothes: shoulders, elbows, hips and knees turn until it is, the least that they must. Across the pictures joints stay
nearly where landmarks have put them, so that limbs move in depth above all. Trunk, shape and place stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..body.differential import Points, Skeleton
from ..body.fit import BodyFit, unknowns_of
from ..body.model import JOINT_COUNT, JOINT_INDEX, BodyModel
from ..body.priors import joint_limits
from ..rendering.mesh import vertex_normals
from .config import SettleConfig

_TURNED = [JOINT_INDEX[side + joint] for side in ("left_", "right_") for joint in ("shoulder", "elbow", "hip", "knee")]
_MOVED = [*_TURNED, *(JOINT_INDEX[side + joint] for side in ("left_", "right_") for joint in ("wrist", "ankle"))]


def settled(
    body: BodyModel,
    fit: BodyFit,
    surface: np.ndarray,
    cameras: Sequence[np.ndarray],
    config: SettleConfig | None = None,
) -> BodyFit:
    """The fit with its limbs inside the clothes, by damped Gauss-Newton steps.

    The loss is the mean over the limbs' skin of how far it is from the surface, along the surface's normals and
    squared, where skin inside counts ``slack`` of skin outside, and all the less the farther away (Geman and McClure's
    robust weights); plus ``seen`` times the mean square of what joints move across the cameras' rays, in metres, and
    ``held`` squared times the sum of the turns' squares, in radians.

    Args:
        body: the model.
        fit: in the photo camera's space.
        surface: [V, 3] the clothed surface in that space, metres; vertex by vertex the body's.
        cameras: [3] each, where the cameras stand whose pictures' landmarks the fit has met.
        config: weights.
    """
    config = config or SettleConfig()
    skeleton = Skeleton(body)
    chosen = np.flatnonzero(body.weights.numpy()[:, _MOVED].sum(1) > 0.5)[:: config.every]
    skin, joints = Points.vertices(skeleton, body, chosen), Points.joints(skeleton)
    free = (3 * np.array(_TURNED)[:, None] + np.arange(3)).reshape(-1)
    outward, target = vertex_normals(surface, body.faces.numpy())[chosen], surface[chosen]
    unknowns = unknowns_of(fit)
    first, began = unknowns[free].copy(), joints(skeleton.pose(unknowns))
    across = sum(_across(began - camera) for camera in cameras)
    # No joint turns beyond its limits, or farther beyond them than it was.
    low, high = (limit.numpy().reshape(-1)[free] for limit in joint_limits())
    low, high = np.minimum(low, first), np.maximum(high, first)
    for _ in range(config.rounds):
        posed = skeleton.pose(unknowns)
        place, slope = skin.with_derivative(posed)
        away = ((target - place) * outward).sum(1)
        weight = np.where(away < 0, 1.0, config.slack) / (1 + (away / config.spread) ** 2) ** 2 / len(away)
        rows = np.einsum("nik,ni->nk", slope[:, :, free], outward)
        there, slope = joints.with_derivative(posed)
        moving = (config.seen / JOINT_COUNT) * (across @ slope[:, :, free])
        held = config.held**2 * np.eye(len(free))
        matrix = (weight[:, None] * rows).T @ rows + np.einsum("jak,jal->kl", slope[:, :, free], moving) + held
        right = rows.T @ (weight * away) - held @ (unknowns[free] - first)
        right -= np.einsum("jak,ja->k", moving, there - began)
        unknowns[free] = np.clip(unknowns[free] + np.linalg.solve(matrix, right), low, high)
    return replace(fit, pose=unknowns[: 3 * JOINT_COUNT].reshape(-1, 3))


def _across(rays: np.ndarray) -> np.ndarray:
    """Projections [n, 3, 3] onto the planes that ``rays`` [n, 3] stand on."""
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return np.eye(3) - unit[:, :, None] * unit[:, None]
