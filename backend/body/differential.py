"""Posed points of a body and their exact derivatives by pose, shape and place, in numpy.

Points are linear in the rest vertices (landmarks, joints, vertices themselves), so linear blend skinning of a point is
a sum over joints of rigidly moved moments, and turning a joint moves the moments of everything below it: derivatives
cost little more than the points.

Unknowns are one vector of 86 numbers: 72 axis-angle components of the pose, 10 betas, 3 of the translation, and one on
which no point depends: the logarithm of the 3D hints' scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .model import JOINT_COUNT, SHAPE_COMPONENTS, BodyModel

POSE = slice(0, 3 * JOINT_COUNT)
BETAS = slice(POSE.stop, POSE.stop + SHAPE_COMPONENTS)
TRANSLATION = slice(BETAS.stop, BETAS.stop + 3)
SCALE = TRANSLATION.stop
UNKNOWNS = SCALE + 1


def _skew(vectors: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] with ``skew(a) @ b == cross(a, b)``."""
    out = np.zeros((*vectors.shape, 3))
    x, y, z = np.moveaxis(vectors, -1, 0)
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -z, y, -x
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = z, -y, x
    return out


def _blend(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``weights`` [K, 24] times ``values`` [24, ...].

    By PyTorch, whose number of threads the fit sets to one: numpy's threads cost more than they bring here.
    """
    flat = torch.from_numpy(weights) @ torch.from_numpy(values.reshape(len(values), -1))
    return flat.numpy().reshape(len(weights), *values.shape[1:])


def _turns(axis_angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [..., 3, 3] of ``axis_angle`` [..., 3], and the left Jacobians of SO(3) [..., 3, 3]: steps of the
    axis-angle vectors as turns in the axes around."""
    angle = np.sqrt((axis_angle**2).sum(-1) + 1e-16)[..., None, None]
    cross = _skew(axis_angle) / angle
    square = cross @ cross
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * square
    left = np.eye(3) + (1 - np.cos(angle)) / angle * cross + (1 - np.sin(angle) / angle) * square
    return turn, left


def turn_with_derivative(axis_angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation [3, 3] of ``axis_angle`` [3], and its derivative [3, 3, 3] by it, that index last."""
    turn, left = _turns(axis_angle)
    # Component c turns about the axis left[:, c].
    return turn, np.moveaxis(_skew(left.T) @ turn, 0, 2)


@dataclass(frozen=True)
class PosedSkeleton:
    """A skeleton at one value of the unknowns.

    Attributes:
        turned: [24, 3, 3] global rotations.
        placed: [24, 3] posed joints, before the translation.
        offset: [24, 3]; joint j moves a rest point x to ``turned[j] @ x + offset[j]``.
        offset_by_shape: [24, 3, 10] derivative of ``offset``.
        turning: [24, 3, 9]; ``lever @ turning[i]`` is the derivative [3 (axis) x 3 (pose component)] of a point by
            the pose of joint i, where the lever is the point's part below joint i, seen from that joint.
        betas, translation: [10], [3].
    """

    turned: np.ndarray
    placed: np.ndarray
    offset: np.ndarray
    offset_by_shape: np.ndarray
    turning: np.ndarray
    betas: np.ndarray
    translation: np.ndarray


class Skeleton:
    """Joints of a body model: poses them.

    Args:
        body: the model.
    """

    def __init__(self, body: BodyModel) -> None:
        self.parents = body.parents
        self.joints = (body.joint_regressor @ body.template).numpy()
        self.joints_by_shape = torch.einsum("jv,vcb->jcb", body.joint_regressor, body.shape_directions).numpy()
        self.below = np.eye(JOINT_COUNT)
        """[j, i] is 1 where joint j hangs below joint i or is it."""
        for joint, parent in enumerate(body.parents):
            if parent >= 0:
                self.below[joint] += self.below[parent]

    def pose(self, unknowns: np.ndarray) -> PosedSkeleton:
        """The skeleton at ``unknowns`` [86]."""
        axis_angle, betas = unknowns[POSE].reshape(-1, 3), unknowns[BETAS]
        local, left = _turns(axis_angle)
        joints = self.joints + self.joints_by_shape @ betas
        turned, placed = np.empty_like(local), np.empty_like(joints)
        placed_by_shape = np.empty_like(self.joints_by_shape)
        turn = np.empty_like(local)
        for j, parent in enumerate(self.parents):
            if parent < 0:
                turned[j], placed[j] = local[j], joints[j]
                placed_by_shape[j], turn[j] = self.joints_by_shape[j], left[j]
                continue
            frame = turned[parent]
            turned[j] = frame @ local[j]
            placed[j] = placed[parent] + frame @ (joints[j] - joints[parent])
            placed_by_shape[j] = placed_by_shape[parent] + frame @ (
                self.joints_by_shape[j] - self.joints_by_shape[parent]
            )
            turn[j] = frame @ left[j]
        # Component c of joint i turns about axis turn[i, :, c]: a lever q moves by cross(axis, q).
        turning = np.moveaxis(_skew(np.moveaxis(turn, 2, 1)), 3, 1)  # [i, q axis, component, result axis]
        return PosedSkeleton(
            turned=turned,
            placed=placed,
            offset=placed - (turned @ joints[..., None])[..., 0],
            offset_by_shape=placed_by_shape - turned @ self.joints_by_shape,
            turning=turning.transpose(0, 1, 3, 2).reshape(JOINT_COUNT, 3, 9),
            betas=betas,
            translation=unknowns[TRANSLATION],
        )


class Points:
    """Points whose rest place is linear in the vertices.

    Args:
        skeleton: of the same body.
        weights: [K, 24] skinning weights.
        moments: [K, 24, 3, 11] weighted rest places for the template and each shape component.
        rest: [K, 3, 11] rest places of vertices, whose moments are their weights times their place; instead of
            ``moments``.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        weights: np.ndarray,
        *,
        moments: np.ndarray | None = None,
        rest: np.ndarray | None = None,
    ) -> None:
        assert (moments is None) != (rest is None)
        self._skeleton, self._weights, self._moments, self._rest = skeleton, weights, moments, rest
        self._weights_below = (weights @ skeleton.below).T[..., None]

    @staticmethod
    def _basis(body: BodyModel) -> torch.Tensor:
        return torch.cat([body.template[..., None], body.shape_directions], -1)

    @classmethod
    def linear(
        cls, skeleton: Skeleton, body: BodyModel, regressor: torch.Tensor, offsets: torch.Tensor | None = None
    ) -> Points:
        """Points ``regressor`` [K, V] times the posed vertices, moved by ``offsets`` [K, 3] in the rest pose."""
        weighted = torch.einsum("kv,vj->kjv", regressor, body.weights)
        moments = torch.einsum("kjv,vcb->kjcb", weighted, cls._basis(body))
        if offsets is not None:
            moments[..., 0] += weighted.sum(-1)[..., None] * offsets[:, None]
        return cls(skeleton, weighted.sum(-1).numpy(), moments=moments.numpy())

    @classmethod
    def vertices(cls, skeleton: Skeleton, body: BodyModel, chosen: np.ndarray) -> Points:
        """The vertices ``chosen`` [K]."""
        return cls(skeleton, body.weights[chosen].numpy(), rest=cls._basis(body)[chosen].numpy())

    @classmethod
    def joints(cls, skeleton: Skeleton) -> Points:
        """The 24 joints."""
        rest = np.concatenate([skeleton.joints[..., None], skeleton.joints_by_shape], -1)
        return cls(skeleton, np.eye(JOINT_COUNT), rest=rest)

    def __call__(self, posed: PosedSkeleton) -> np.ndarray:
        """Places [K, 3]."""
        return self._parts(posed).sum(1) + posed.translation

    def _parts(self, posed: PosedSkeleton) -> np.ndarray:
        """What each joint contributes to each point [K, 24, 3]."""
        shape = np.append(1.0, posed.betas)
        turned_t = posed.turned.transpose(0, 2, 1)
        if self._rest is not None:
            moved = (self._rest @ shape) @ turned_t + posed.offset[:, None]  # [24, K, 3]
            return moved.transpose(1, 0, 2) * self._weights[..., None]
        moments = (self._moments @ shape).transpose(1, 0, 2)
        return (moments @ turned_t).transpose(1, 0, 2) + self._weights[..., None] * posed.offset

    def with_derivative(self, posed: PosedSkeleton) -> tuple[np.ndarray, np.ndarray]:
        """Places [K, 3] and their derivative [K, 3, 86]."""
        parts = self._parts(posed)
        count = len(parts)
        below = self._skeleton.below
        lever = parts.transpose(0, 2, 1) @ below  # [K, 3, 24]
        lever = lever.transpose(2, 0, 1) - self._weights_below * posed.placed[:, None]
        derivative = np.zeros((count, 3, UNKNOWNS))
        by_pose = (lever @ posed.turning).reshape(JOINT_COUNT, count, 3, 3)  # [i, k, result axis, component]
        derivative[:, :, POSE] = by_pose.transpose(1, 2, 0, 3).reshape(count, 3, -1)
        by_shape = _blend(self._weights, posed.offset_by_shape)
        if self._rest is not None:
            by_shape += _blend(self._weights, posed.turned) @ self._rest[..., 1:]
        else:
            by_shape += (posed.turned @ self._moments[..., 1:]).sum(1)
        derivative[:, :, BETAS] = by_shape
        derivative[:, :, TRANSLATION] = np.eye(3)
        return parts.sum(1) + posed.translation, derivative
