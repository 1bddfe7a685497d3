"""Two-bone inverse kinematics of legs and arms, and feet that roll on the ground. numpy only.

Space: metres, y up, x to the person's left, z out of the chest. All functions work on T frames at once. Angles are in
radians. Rotations are matrices [T, 3, 3] that turn columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_FLEXION = 0.035
"""Radians (2 degrees): a knee or an elbow never straightens beyond it, so that it cannot flip."""

MAX_FLEXION = 2.6
"""Radians (149 degrees): where the flesh of calf and thigh, or of the arm, stops the bend."""

HEEL_BEHIND_ANKLE = 0.40
"""Where the heel touches the ground behind the ankle, as a part of the length from the ankle to the ball of the foot;
measured on the four shipped bodies (0.38 to 0.41)."""

TOE_RELEASE = 0.06
"""Metres for each metre of leg: a foot lifted this high has let its bent toes straighten to 37 %."""


def rotation_about(axis: str | int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] by ``angle`` [...] radians about the axis x, y or z (or 0, 1, 2)."""
    angle = np.asarray(angle, dtype=np.float64)
    first = "xyz".index(axis) if isinstance(axis, str) else axis
    second, third = (first + 1) % 3, (first + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., first, first] = 1
    matrix[..., second, second] = matrix[..., third, third] = np.cos(angle)
    matrix[..., third, second] = np.sin(angle)
    matrix[..., second, third] = -matrix[..., third, second]
    return matrix


def turned(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] turned by matrices [..., 3, 3]; shapes broadcast."""
    return np.einsum("...ij,...j->...i", rotation, vector)


def frame_of(along: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Right-handed frames [..., 3, 3]: column 0 is ``along`` [..., 3], column 1 ``towards`` made square to it."""
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    towards = towards - (towards * along).sum(-1, keepdims=True) * along
    towards = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    return np.stack([along, towards, np.cross(along, towards)], axis=-1)


@dataclass(frozen=True, eq=False)
class TwoBones:
    """A limb of two bones in the rest pose, with a hinge between them.

    Attributes:
        upper: [3] metres, from its root to its middle joint (hip to knee, shoulder to elbow).
        lower: [3] metres, from the middle joint to its end (ankle, wrist).
        hinge: 0, 1 or 2, the axis of the middle joint.
        sign: +1 or -1, the sense in which the middle joint bends about that axis.
        bulge: [3] unit vector, where the middle joint points when the limb bends.
    """

    upper: np.ndarray
    lower: np.ndarray
    hinge: int
    sign: int
    bulge: np.ndarray

    def length(self) -> float:
        """Metres from the root to the end with the limb as straight as it is in the rest pose."""
        return float(np.linalg.norm(self.upper + self.lower))

    def solve(self, reach: np.ndarray, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations that put the end of the limb at ``reach`` with the middle joint towards ``pole``.

        Args:
            reach: [T, 3] metres, from the limb's root to where its end should be, in any space. Farther than the limb
                is long: it points there, straight.
            pole: [T, 3], same space; not parallel to ``reach``.

        Returns:
            rotation [T, 3, 3] of the upper bone from the rest pose to that space, and flexion [T] of the middle joint
            in radians, from the rest pose, between ``MIN_FLEXION`` and ``MAX_FLEXION``.
        """
        # |upper + R(angle) lower|^2 = constant + 2 (across + c cos(angle) + s sin(angle)), with R about the hinge.
        axis = self.hinge
        second, third = (axis + 1) % 3, (axis + 2) % 3
        u, v = self.upper, self.lower
        cosine = u[second] * v[second] + u[third] * v[third]
        sine = self.sign * (u[third] * v[second] - u[second] * v[third])
        distance = np.linalg.norm(reach, axis=-1)
        wanted = (distance**2 - u @ u - v @ v) / 2 - u[axis] * v[axis]
        amplitude, phase = np.hypot(cosine, sine), np.arctan2(sine, cosine)
        flexion = phase + np.arccos((wanted / amplitude).clip(-1, 1))
        flexion = flexion.clip(MIN_FLEXION, MAX_FLEXION)
        along = u + turned(rotation_about(axis, self.sign * flexion), v)
        local = frame_of(along, np.broadcast_to(self.bulge, along.shape))
        return frame_of(reach, pole) @ np.swapaxes(local, -1, -2), flexion


def leg_bones(rest_joints: np.ndarray, hip: int, knee: int, ankle: int) -> TwoBones:
    """The leg of a person in the rest pose, with joints ``rest_joints`` [24, 3]: the knee bends about x."""
    return TwoBones(
        rest_joints[knee] - rest_joints[hip], rest_joints[ankle] - rest_joints[knee], 0, 1, np.array([0.0, 0, 1])
    )


def arm_bones(rest_joints: np.ndarray, shoulder: int, elbow: int, wrist: int) -> TwoBones:
    """The arm of a person in the rest pose (arms out to the sides): the elbow bends about y, forwards."""
    upper = rest_joints[elbow] - rest_joints[shoulder]
    sign = -1 if upper[0] > 0 else 1
    return TwoBones(upper, rest_joints[wrist] - rest_joints[elbow], 1, sign, np.array([0.0, 0, -1]))


def place_foot(
    ankle: np.ndarray, ball: np.ndarray, ground: float, yaw: np.ndarray, pitch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the ankle is when a foot rolls on the ground: about its ball with the heel up, about its heel with toes up.

    Args:
        ankle, ball: [3] metres in the rest pose, where the foot stands flat.
        ground: y of the ground, metres.
        yaw: [T] radians, to the left.
        pitch: [T] radians, positive with the heel up.

    Returns:
        displacement [T, 3] of the ankle from where it is in the rest pose, metres, and the foot's rotation [T, 3, 3].
    """
    length = np.hypot(ball[0] - ankle[0], ball[2] - ankle[2])
    heel = np.array([ankle[0], ground, ankle[2] - HEEL_BEHIND_ANKLE * length])
    turn = rotation_about("y", yaw)
    rotation = turn @ rotation_about("x", pitch)
    pivot = np.where((pitch > 0)[:, None], ball, heel) - ankle
    return turned(turn, pivot) - turned(rotation, pivot), rotation


def smooth_above(needed: np.ndarray, radius: int, loops: bool) -> np.ndarray:
    """A smooth curve [T] that is nowhere below ``needed`` [T]: the maximum around each frame, averaged twice."""
    if len(needed) <= 1 or radius == 0 or not (needed > 0).any():
        return needed
    mode = "wrap" if loops else "edge"
    padded = np.pad(needed, 2 * radius, mode=mode)
    peaks = np.lib.stride_tricks.sliding_window_view(padded, 4 * radius + 1).max(axis=-1)
    for _ in range(2):
        peaks = np.lib.stride_tricks.sliding_window_view(np.pad(peaks, radius, mode=mode), 2 * radius + 1).mean(axis=-1)
    return peaks
