"""Poses written down by directions, which people can read and write; numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..avatar.quaternion import from_matrix
from ..avatar.skinning import rotation_matrices
from .model import JOINT_COUNT, JOINT_INDEX

Direction = tuple[float, float, float]
Limb = tuple[Direction, Direction]

_ARM_DOWN: Limb = ((0.25, -1.0, 0.0), (0.15, -1.0, 0.15))
_LEG_DOWN: Limb = ((0.08, -1.0, 0.0), (0.04, -1.0, -0.03))


@dataclass(frozen=True)
class NamedPose:
    """A pose written down by directions, which people can read and write.

    A limb is two directions (upper, lower part) in the trunk's axes as if it were the LEFT one: x outward, y up, z
    forward; the right limb is mirrored. Angles are radians: (forward bend, turn to the left, lean to the right).

    Attributes:
        left_arm, right_arm: upper arm and forearm, relative to the chest.
        left_leg, right_leg: thigh and shin, relative to the pelvis.
        trunk: spread over the three spine joints.
        head: spread over neck and head.
        pelvis: orientation of the whole body.
        flat_feet: turn the ankles so that the soles are level.
    """

    left_arm: Limb = _ARM_DOWN
    right_arm: Limb = _ARM_DOWN
    left_leg: Limb = _LEG_DOWN
    right_leg: Limb = _LEG_DOWN
    trunk: Direction = (0.0, 0.0, 0.0)
    head: Direction = (0.0, 0.0, 0.0)
    pelvis: Direction = (0.0, 0.0, 0.0)
    flat_feet: bool = True


_HAND_ON_HIP: Limb = ((0.8, -0.7, -0.25), (-0.75, -0.6, 0.3))
POSES: dict[str, NamedPose] = {
    "standing": NamedPose(),
    "relaxed": NamedPose(
        left_arm=((0.2, -1, 0.05), (0.05, -0.9, 0.45)), right_arm=((0.2, -1, 0), (0.05, -1, 0.2)),
        left_leg=((0.15, -1, 0.1), (0.1, -1, -0.1)), head=(0.05, 0.2, 0.05), trunk=(0.05, 0.05, 0),
    ),
    "arms_out": NamedPose(
        left_arm=((1, -0.1, 0), (1, -0.05, 0.1)), right_arm=((1, -0.5, 0), (0.9, -0.5, 0.1)),
        left_leg=((0.25, -1, 0), (0.2, -1, 0)), right_leg=((0.2, -1, 0), (0.15, -1, 0)),
    ),
    "a_pose": NamedPose(left_arm=((0.75, -1, 0), (0.7, -1, 0.15)), right_arm=((0.75, -1, 0), (0.7, -1, 0.15))),
    "walking": NamedPose(
        left_arm=((0.15, -1, -0.35), (0.1, -1, 0.1)), right_arm=((0.15, -1, 0.3), (0.05, -0.8, 0.6)),
        left_leg=((0.03, -1, 0.4), (0.03, -1, 0.2)), right_leg=((0.03, -1, -0.2), (0.03, -0.9, -0.55)),
        trunk=(0.03, -0.12, 0), pelvis=(0.03, 0.05, 0), flat_feet=False,
    ),
    "hands_on_hips": NamedPose(left_arm=_HAND_ON_HIP, right_arm=_HAND_ON_HIP, left_leg=((0.2, -1, 0), (0.15, -1, 0))),
    "waving": NamedPose(
        right_arm=((1, 0.25, 0.1), (0.35, 1, 0.15)), head=(0, -0.15, 0.1), left_leg=((0.12, -1, 0.05), (0.1, -1, -0.1))
    ),
    "arms_up": NamedPose(
        left_arm=((0.45, 1, 0.1), (0.2, 1, 0.1)), right_arm=((0.5, 1, 0), (0.3, 1, 0.15)), head=(-0.15, 0, 0)
    ),
    "reaching": NamedPose(
        left_arm=((0.2, -0.1, 1), (0.1, 0.1, 1)), right_arm=((0.3, -1, -0.1), (0.1, -0.8, 0.5)),
        left_leg=((0.1, -1, 0.25), (0.08, -1, 0)), right_leg=((0.1, -1, -0.15), (0.05, -1, -0.3)),
        trunk=(0.12, -0.1, 0),
    ),
    "arms_crossed": NamedPose(
        left_arm=((0.35, -0.9, 0.35), (-0.9, 0.15, 0.55)), right_arm=((0.35, -0.9, 0.25), (-0.9, 0.0, 0.7))
    ),
    "contrapposto": NamedPose(
        pelvis=(0, 0.1, 0.1), trunk=(0, -0.1, -0.2), head=(0.05, -0.2, 0.05),
        left_arm=((0.3, -1, -0.05), (0.1, -0.7, 0.75)), right_arm=_HAND_ON_HIP,
        left_leg=((0.25, -1, 0.3), (0.05, -1, -0.25)), right_leg=((0.0, -1, 0), (0.05, -1, -0.03)),
    ),
    "running": NamedPose(
        left_arm=((0.25, -0.8, -0.6), (-0.1, -0.5, 0.85)), right_arm=((0.25, -0.9, 0.45), (-0.25, 0.5, 0.85)),
        left_leg=((0.02, -0.6, 0.8), (0.02, -1, -0.4)), right_leg=((0.02, -1, -0.35), (0.02, -0.35, -0.95)),
        pelvis=(0.12, 0, 0), trunk=(0.1, -0.2, 0), flat_feet=False,
    ),
    "squat": NamedPose(
        left_leg=((0.35, -0.35, 0.9), (0.1, -0.9, -0.35)), right_leg=((0.35, -0.35, 0.9), (0.1, -0.9, -0.35)),
        pelvis=(0.35, 0, 0), trunk=(0.3, 0, 0), head=(-0.3, 0, 0),
        left_arm=((0.25, -0.3, 0.9), (0.0, 0.1, 1)), right_arm=((0.25, -0.3, 0.9), (0, 0.1, 1)),
    ),
    "sitting": NamedPose(
        left_leg=((0.15, -0.1, 1), (0.05, -1, 0.05)), right_leg=((0.15, -0.1, 1), (0.05, -1, -0.1)),
        left_arm=((0.2, -0.95, 0.35), (-0.1, -0.25, 1)), right_arm=((0.2, -0.95, 0.35), (-0.1, -0.25, 1)),
        trunk=(0.1, 0, 0),
    ),
    "lunge": NamedPose(
        left_leg=((0.05, -0.45, 0.9), (0.05, -1, -0.1)), right_leg=((0.05, -0.9, -0.5), (0.05, -0.7, -0.75)),
        left_arm=((0.6, -0.5, 0.6), (0.2, 0.3, 0.9)), right_arm=((0.6, -0.6, -0.5), (0.4, -0.7, 0.3)),
        trunk=(0.05, 0.1, 0),
    ),
}  # fmt: skip
"""Natural poses by name."""


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _swing(rest: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smallest rotation [3, 3] that takes one unit vector to another."""
    axis = np.cross(rest, target)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3)
    return rotation_matrices(axis / sine * math.atan2(sine, rest @ target))


def _limb(
    rest_upper: np.ndarray, rest_lower: np.ndarray, hinge: np.ndarray, limb: Limb, side: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of the upper joint and of the hinge below it.

    The hinge bends about ``hinge`` (rest axes): the upper part is twisted so that this axis is normal to the limb's
    plane. A limb that is nearly straight keeps the twist of the smallest swing.
    """
    mirror = np.array([side, 1.0, 1.0])
    upper, lower = (_unit(np.array(part) * mirror) for part in limb)
    normal = np.cross(upper, lower)
    turn = _swing(rest_upper, upper)
    if np.linalg.norm(normal) > 0.25:
        # Twist about the limb's own axis until the hinge lies along the plane's normal.
        have, want = turn @ hinge, _unit(normal)
        have = _unit(have - (have @ upper) * upper)
        angle = math.atan2(np.cross(have, want) @ upper, have @ want)
        turn = rotation_matrices(upper * angle) @ turn
    bend = _swing(rest_lower, turn.T @ lower)
    return turn, bend


def _angles(bend: Direction, share: float = 1.0) -> np.ndarray:
    """[3, 3]: lean first, then the forward bend, then the turn, about fixed axes."""
    forward, turn, lean = (share * a for a in bend)
    about_x, about_y, about_z = rotation_matrices(np.diag([forward, turn, -lean]))
    return about_y @ about_x @ about_z


def axis_angle(matrices: np.ndarray) -> np.ndarray:
    """Axis-angle vectors [..., 3] in radians, at most pi long, of rotation matrices [..., 3, 3]."""
    q = from_matrix(matrices)
    length = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    return q[..., 1:] * np.where(length > 1e-12, 2 * np.arctan2(length, q[..., :1]) / np.maximum(length, 1e-12), 2.0)


def pose_from_directions(named: NamedPose) -> np.ndarray:
    """Axis-angle pose [24, 3] in SMPL's convention; the pelvis' row in avatar axes (y up, z forward)."""
    rotations = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    rotations[0] = _angles(named.pelvis)
    for joint in ("spine1", "spine2", "spine3"):
        rotations[JOINT_INDEX[joint]] = _angles(named.trunk, 1 / 3)
    for joint in ("neck", "head"):
        rotations[JOINT_INDEX[joint]] = _angles(named.head, 0.5)
    x, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    for side, prefix, arm, leg in (
        (1.0, "left_", named.left_arm, named.left_leg),
        (-1.0, "right_", named.right_arm, named.right_leg),
    ):
        outward = side * x
        hinge = np.array([0.0, -side, 0.0])
        shoulder, elbow = (JOINT_INDEX[prefix + n] for n in ("shoulder", "elbow"))
        rotations[shoulder], rotations[elbow] = _limb(outward, outward, hinge, arm, side)
        hip, knee, ankle = (JOINT_INDEX[prefix + n] for n in ("hip", "knee", "ankle"))
        thigh, shin = _unit(down + 0.06 * outward), _unit(down + np.array([0, 0, -0.06]))
        rotations[hip], rotations[knee] = _limb(thigh, shin, x, leg, side)
        if named.flat_feet:
            frame = rotations[0] @ rotations[hip] @ rotations[knee]
            forward = frame @ np.array([0.0, 0.0, 1.0])
            yaw = rotation_matrices(np.array([0.0, math.atan2(forward[0], forward[2]), 0.0]))
            rotations[ankle] = frame.T @ yaw
    return axis_angle(rotations)
