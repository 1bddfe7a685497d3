"""A small animator's rig: named channels over time become the rotations of 24 joints. numpy only.

A channel is an array [T] of degrees, or of leg lengths (the height of the pelvis above the soles) for places. The feet
are placed on the ground and the legs follow them and the pelvis; arms turn at the shoulder, or reach for a place on the
body. Channels of the two sides start with ``left_`` or ``right_`` and mean the mirrored thing on the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import quaternion
from .bone_maps import JOINT_INDEX as JOINT
from .leg_ik import (
    TOE_RELEASE,
    arm_bones,
    frame_of,
    leg_bones,
    place_foot,
    rotation_about,
    smooth_above,
    turned,
)
from .motion import standing_height
from .rotations import axis_angles, continuous, slerp
from .skinning import rotation_matrices

SIDES = (("left", 1.0), ("right", -1.0))

STRAIGHT = 0.9975
"""How much of its full length a standing leg uses at most: the knee keeps about 8 degrees, as in relaxed people."""

SINK_FRAMES = 2
"""Frames over which the pelvis's sinking is spread, so that a leg that reaches its full length does not jerk."""

SPINE_SHARES = {"spine1": 0.3, "spine2": 0.35, "spine3": 0.35}
"""How the bend of the back is shared among its joints."""

NECK_SHARE = 0.45
"""The part of the head's turn against the chest that the neck joint takes."""

FOREARM_SHARE = 0.6
"""The part of the hand's twist about the forearm that the forearm takes, so that the wrist's skin does not wring."""

MAX_TWIST = 1.9
"""Radians (109 degrees), how far a hand turns about the forearm from the rest pose."""

MIRROR = np.diag([-1.0, 1, 1])

CENTRE_DEFAULTS: dict[str, float] = {
    "facing": 0,  # degrees to the left, turns everything but the feet
    "pelvis_x": 0,  # leg lengths to the left, of the way the person faces
    "pelvis_y": 0,  # leg lengths up
    "pelvis_z": 0,  # leg lengths forward
    "pelvis_pitch": 0,  # degrees forward
    "pelvis_yaw": 0,  # degrees to the left
    "pelvis_roll": 0,  # degrees, left side up
    "spine_bend": 0,  # degrees forward
    "spine_twist": 0,  # degrees to the left
    "spine_side": 0,  # degrees, leaning to the right
    "look_down": 2,  # degrees, of the head against the ground, not against the chest
    "look_left": 0,  # degrees, of the head against the way the person faces
    "look_tilt": 0,  # degrees, leaning to the right
}
SIDE_DEFAULTS: dict[str, float] = {
    "foot_out": -0.025,  # leg lengths, away from the other foot, from the rest pose
    "foot_forward": 0,  # leg lengths
    "foot_lift": 0,  # leg lengths
    "foot_turn": 0,  # degrees to the left (on both sides) about the place where the person started
    "foot_yaw": 4,  # degrees, toes out
    "foot_pitch": 0,  # degrees, heel up
    "toe_bend": 0,  # degrees up, besides what the ground asks for
    "knee_out": 0,  # degrees, of the knee against the foot
    "collar_down": 5,  # degrees
    "collar_forward": 0,  # degrees
    "arm_down": 69,  # degrees below straight out to the side
    "arm_forward": 0,  # degrees forward about the vertical
    "arm_swing": 0,  # degrees forward about the axis from left to right
    "arm_twist": 18,  # degrees inward about the upper arm
    "elbow": 20,  # degrees of flexion
    "forearm": 12,  # degrees inward about the forearm
    "hand_bend": 4,  # degrees towards the palm
    "hand_side": 0,  # degrees towards the thumb
    "reach": 0,  # 0..1, how much the arm follows its target rather than the channels above
}


@dataclass(frozen=True)
class HandTarget:
    """Where a hand is held on the body. Vectors are (outward, up, forward), mirrored on the right side.

    Attributes:
        joint: the joint that carries the target; ``own_`` and ``other_`` stand for the side.
        offset: from that joint to the wrist in the rest pose's axes, leg lengths.
        elbow: where the elbow points from the line between shoulder and wrist, in the chest's axes.
        fingers: where the fingers point, in the carrying joint's axes; None leaves the wrist as the channels say.
        palm: where the palm faces, in the same axes.
    """

    joint: str
    offset: tuple[float, float, float]
    elbow: tuple[float, float, float]
    fingers: tuple[float, float, float] | None = None
    palm: tuple[float, float, float] = (0, -1, 0)


def default_channels() -> dict[str, float]:
    """Every channel of a person who stands relaxed, arms at the sides."""
    both = {f"{side}_{name}": value for side, _ in SIDES for name, value in SIDE_DEFAULTS.items()}
    return {**CENTRE_DEFAULTS, **both}


def curve(at: np.ndarray, keys: Sequence[tuple[float, float]], period: float | None = None) -> np.ndarray:
    """Smooth values [T] through keys (time, value), level at the extremes, never beyond them.

    Cubic Hermite pieces with Fritsch and Butland's slopes (1984): the weighted harmonic mean of the neighbours' where
    both rise or both fall, else zero.

    Args:
        at: [T] times, in the unit of the keys.
        keys: in order of time.
        period: the curve repeats after it; None holds the first and last values.
    """
    times, values = (np.array(column, dtype=np.float64) for column in zip(*keys))
    if period is not None:
        at = (at - times[0]) % period + times[0]
        times = np.concatenate([times[-1:] - period, times, times[:2] + period])
        values = np.concatenate([values[-1:], values, values[:2] if len(values) > 1 else values.repeat(2)])
        if len(keys) == 1:
            return np.full(len(at), values[0])
    if len(times) == 1:
        return np.full(len(at), values[0])
    at = at.clip(times[0], times[-1])
    step = np.diff(times)
    slope = np.diff(values) / step
    tangent = np.zeros(len(times))
    before, after = slope[:-1], slope[1:]
    same = before * after > 0
    first, second = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    safe = np.where(same, first * after + second * before, 1)
    tangent[1:-1] = np.where(same, (first + second) * before * after / safe, 0)
    piece = np.searchsorted(times, at, side="right").clip(1, len(step)) - 1
    t = (at - times[piece]) / step[piece]
    left, right = values[piece], values[piece + 1]
    pull, push = tangent[piece] * step[piece], tangent[piece + 1] * step[piece]
    return left + t * pull + t * t * (3 * (right - left) - 2 * pull - push) + t**3 * (2 * (left - right) + pull + push)


def solve(
    channels: Mapping[str, np.ndarray | float],
    rest_joints: np.ndarray,
    parents: Sequence[int],
    hands: Mapping[str, HandTarget] | None = None,
    *,
    loops: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Poses and translations of channels over T frames.

    The pelvis sinks as far as it must for both legs to reach their feet.

    Args:
        channels: arrays [T] or numbers; channels that are absent keep their defaults.
        rest_joints: [24, 3] metres, T-pose.
        parents: 24 parent indices.
        hands: targets for the sides whose ``reach`` is not 0.
        loops: the last frame is followed by the first.

    Returns:
        poses [T, 24, 3] axis-angle in radians, translation [T, 3] metres.

    Raises:
        KeyError: a channel that does not exist.
    """
    defaults = default_channels()
    unknown = sorted(set(channels) - set(defaults))
    if unknown:
        raise KeyError(f"no such channels: {', '.join(unknown)}")
    frames = max(np.size(value) for value in channels.values()) if channels else 1
    value = {
        name: np.broadcast_to(np.asarray(channels.get(name, default), dtype=np.float64), (frames,))
        for name, default in defaults.items()
    }
    body = _Body(rest_joints, parents, frames)
    body.place_pelvis_and_legs(value, loops)
    body.bend_spine(value)
    for side, sign in SIDES:
        body.hang_arm(side, sign, value)
    # Both arms hang before one reaches, since a hand may lie on the other arm.
    for side, sign in SIDES:
        if hands and side in hands and value[f"{side}_reach"].any():
            body.reach(side, sign, hands[side], value)
    return continuous(axis_angles(body.local)), body.translation


class _Body:
    """Local rotations [T, 24, 3, 3] and the translation [T, 3] of one person, filled in from the pelvis outward."""

    def __init__(self, rest_joints: np.ndarray, parents: Sequence[int], frames: int) -> None:
        self.rest = np.asarray(rest_joints, dtype=np.float64)
        self.parents = [int(parent) for parent in parents]
        self.local = np.broadcast_to(np.eye(3), (frames, len(self.rest), 3, 3)).copy()
        self.translation = np.zeros((frames, 3))
        self.leg_length = standing_height(self.rest)
        self.ground = float(self.rest[0, 1]) - self.leg_length

    def world(self, joint: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation [T, 3, 3] and place [T, 3] of a joint."""
        parent = self.parents[joint]
        if parent < 0:
            return self.local[:, joint], self.rest[joint] + self.translation
        rotation, place = self.world(parent)
        return rotation @ self.local[:, joint], place + turned(rotation, self.rest[joint] - self.rest[parent])

    def place_pelvis_and_legs(self, value: Mapping[str, np.ndarray], loops: bool) -> None:
        facing = rotation_about("y", np.radians(value["facing"]))
        yaw, pitch, roll = (np.radians(value[f"pelvis_{name}"]) for name in ("yaw", "pitch", "roll"))
        pelvis = facing @ rotation_about("y", yaw) @ rotation_about("x", pitch) @ rotation_about("z", roll)
        self.local[:, 0] = pelvis
        shift = np.stack([value["pelvis_x"], value["pelvis_y"], value["pelvis_z"]], axis=-1) * self.leg_length
        self.translation = turned(facing, shift)
        ankles, feet, yaws, needed = {}, {}, {}, np.zeros(len(pelvis))
        for side, sign in SIDES:
            hip, ankle, ball = (JOINT[f"{side}_{name}"] for name in ("hip", "ankle", "foot"))
            turn = np.radians(value[f"{side}_foot_turn"])
            out, forward, lift = (value[f"{side}_foot_{name}"] for name in ("out", "forward", "lift"))
            yaws[side] = turn + sign * np.radians(value[f"{side}_foot_yaw"])
            moved, feet[side] = place_foot(
                self.rest[ankle], self.rest[ball], self.ground, yaws[side], np.radians(value[f"{side}_foot_pitch"])
            )
            place = np.stack([sign * out, lift, forward], axis=-1) * self.leg_length
            around = self.rest[0] * [1, 0, 1]
            flat = around + turned(rotation_about("y", turn), self.rest[ankle] - around + place)
            ankles[side] = flat + moved
            bones = leg_bones(self.rest, hip, JOINT[f"{side}_knee"], ankle)
            reach = ankles[side] - self.world(hip)[1]
            flat_distance = np.hypot(reach[:, 0], reach[:, 2])
            deepest = np.sqrt(np.maximum((STRAIGHT * bones.length()) ** 2 - flat_distance**2, 0))
            needed = np.maximum(needed, -reach[:, 1] - deepest)
        self.translation[:, 1] -= smooth_above(needed, SINK_FRAMES, loops)
        for side, sign in SIDES:
            hip, knee, ankle, ball = (JOINT[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
            bones = leg_bones(self.rest, hip, knee, ankle)
            aim = yaws[side] + sign * np.radians(value[f"{side}_knee_out"])
            pole = np.stack([np.sin(aim), np.zeros_like(aim), np.cos(aim)], axis=-1)
            thigh, flexion = bones.solve(ankles[side] - self.world(hip)[1], pole)
            shin = thigh @ rotation_about(0, flexion)
            self.local[:, hip] = np.swapaxes(pelvis, -1, -2) @ thigh
            self.local[:, knee] = rotation_about(0, flexion)
            self.local[:, ankle] = np.swapaxes(shin, -1, -2) @ feet[side]
            # On the ground the toes stay flat while the heel rises; in the air they straighten.
            grounded = np.exp(-value[f"{side}_foot_lift"].clip(0) / TOE_RELEASE)
            toes = value[f"{side}_foot_pitch"].clip(0) * grounded + value[f"{side}_toe_bend"]
            self.local[:, ball] = rotation_about(0, -np.radians(toes))

    def bend_spine(self, value: Mapping[str, np.ndarray]) -> None:
        for name, share in SPINE_SHARES.items():
            bend, twist, side = (np.radians(value[f"spine_{part}"]) * share for part in ("bend", "twist", "side"))
            rotation = rotation_about("y", twist) @ rotation_about("x", bend) @ rotation_about("z", side)
            self.local[:, JOINT[name]] = rotation
        look = (
            rotation_about("y", np.radians(value["facing"] + value["look_left"]))
            @ rotation_about("x", np.radians(value["look_down"]))
            @ rotation_about("z", np.radians(value["look_tilt"]))
        )
        chest = self.world(JOINT["spine3"])[0]
        turn = axis_angles(np.swapaxes(chest, -1, -2) @ look)
        self.local[:, JOINT["neck"]] = rotation_matrices(turn * NECK_SHARE)
        self.local[:, JOINT["head"]] = rotation_matrices(turn * (1 - NECK_SHARE))

    def hang_arm(self, side: str, sign: float, value: Mapping[str, np.ndarray]) -> None:
        def angle(name: str) -> np.ndarray:
            return np.radians(value[f"{side}_{name}"])

        def own(rotation: np.ndarray) -> np.ndarray:
            return rotation if sign > 0 else MIRROR @ rotation @ MIRROR

        collar = rotation_about("y", -angle("collar_forward")) @ rotation_about("z", -angle("collar_down"))
        shoulder = (
            rotation_about("x", -angle("arm_swing"))
            @ rotation_about("y", -angle("arm_forward"))
            @ rotation_about("z", -angle("arm_down"))
            @ rotation_about("x", angle("arm_twist"))
        )
        forearm = angle("forearm")
        elbow = rotation_about("y", -angle("elbow")) @ rotation_about("x", FOREARM_SHARE * forearm)
        wrist = (
            rotation_about("x", (1 - FOREARM_SHARE) * forearm)
            @ rotation_about("z", -angle("hand_bend"))
            @ rotation_about("y", -angle("hand_side"))
        )
        for name, rotation in (("collar", collar), ("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
            self.local[:, JOINT[f"{side}_{name}"]] = own(rotation)

    def reach(self, side: str, sign: float, target: HandTarget, value: Mapping[str, np.ndarray]) -> None:
        weight = value[f"{side}_reach"]
        shoulder, elbow, wrist = (JOINT[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        other = "right" if side == "left" else "left"
        carrier = JOINT[target.joint.replace("own", side).replace("other", other)]
        flip = np.array([sign, 1, 1])
        carried, place = self.world(carrier)
        goal = place + turned(carried, flip * target.offset * self.leg_length)
        chest = self.world(JOINT["spine3"])[0]
        parent, root = self.world(self.parents[shoulder])[0], self.world(shoulder)[1]
        bones = arm_bones(self.rest, shoulder, elbow, wrist)
        upper, flexion = bones.solve(goal - root, turned(chest, flip * target.elbow))
        hanging_twist = FOREARM_SHARE * np.radians(value[f"{side}_forearm"])
        twist, hand = hanging_twist, self.local[:, wrist]
        if target.fingers is not None:
            fingers, palm = (turned(carried, flip * v) for v in (target.fingers, target.palm))
            # In the rest pose the fingers point outward and the palm faces the ground.
            rest = frame_of(np.array([sign, 0, 0]), np.array([0.0, -1, 0]))
            held = frame_of(fingers, palm) @ rest.T
            hand = np.swapaxes(upper @ rotation_about(bones.hinge, bones.sign * flexion), -1, -2) @ held
            whole = 2 * np.arctan2(hand[:, 2, 1] - hand[:, 1, 2], 1 + np.trace(hand, axis1=1, axis2=2))
            twist = FOREARM_SHARE * np.arctan2(np.sin(whole), np.cos(whole)).clip(-MAX_TWIST, MAX_TWIST)
            hand = rotation_about("x", -twist) @ hand
        # The elbow's flexion and the forearm's twist are mixed apart: on the way the elbow stays a hinge.
        flexion = (1 - weight) * np.radians(value[f"{side}_elbow"]) + weight * flexion
        twist = (1 - weight) * hanging_twist + weight * twist
        self.local[:, elbow] = rotation_about(bones.hinge, bones.sign * flexion) @ rotation_about("x", twist)
        for joint, goal_rotation in ((shoulder, np.swapaxes(parent, -1, -2) @ upper), (wrist, hand)):
            start, end = (quaternion.from_matrix(rotation) for rotation in (self.local[:, joint], goal_rotation))
            self.local[:, joint] = quaternion.to_matrix(slerp(start, end, weight))
