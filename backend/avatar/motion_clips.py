"""The library's motions as channels over time for the rig in ``motion_rig.py``, in degrees and leg lengths.

A motion goes through key poses at times in seconds, or is a cycle of curves over one stride or bar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .motion_poses import HAND_ON_THIGH, both
from .motion_rig import SIDES, HandTarget, curve, default_channels

FPS = 30.0
"""Frames a second of all clips."""

Channels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Clip:
    """A motion of the library.

    Attributes:
        name, label, description, loops: as in ``LibraryEntry``.
        frames: its length.
        make: gives channels [frames] for that number of frames.
        travel: leg lengths forward in one loop.
        hands: targets of hands that come to lie on the body.
    """

    name: str
    label: str
    description: str
    loops: bool
    frames: int
    make: Callable[[int], Channels]
    travel: float = 0.0
    hands: Mapping[str, HandTarget] = field(default_factory=dict)


def _keyed(
    frames: int, keys: Sequence[tuple[float, Mapping[str, float]]], *, start: Mapping[str, float] | None = None
) -> Channels:
    """Curves through whole or partial key poses at times in seconds.

    A channel passes through the keys that name it. It starts from ``start`` or, where that lacks it, from standing
    relaxed.
    """
    defaults = {**default_channels(), **(start or {})}
    times = np.arange(frames) / FPS
    names = {name for _, channels in keys for name in channels}
    curves = {}
    for name in sorted(names):
        points = [(time, channels[name]) for time, channels in keys if name in channels]
        if points[0][0] > 0:
            points.insert(0, (0.0, defaults[name]))
        curves[name] = curve(times, points)
    for name, value in (start or {}).items():
        curves.setdefault(name, np.full(frames, float(value)))
    return curves


def _add(channels: Channels, name: str, values: np.ndarray) -> None:
    channels[name] = channels.get(name, default_channels()[name]) + values


def _breathe(channels: Channels, breaths: int, depth: float = 1.0) -> None:
    """Adds ``breaths`` breaths over the clip: the chest rises, the shoulders follow a little later."""
    frames = len(next(iter(channels.values())))
    phase = 2 * np.pi * breaths * np.arange(frames) / frames
    # Breathing in is quicker than breathing out.
    chest, shoulders = (np.sin(phase - lag + 0.35 * np.sin(phase - lag)) for lag in (0.0, 0.35))
    _add(channels, "spine_bend", -1.3 * depth * chest)
    for side, _ in SIDES:
        _add(channels, f"{side}_collar_down", -1.4 * depth * shoulders)
        _add(channels, f"{side}_arm_down", 1.0 * depth * shoulders)
        _add(channels, f"{side}_arm_swing", -1.0 * depth * shoulders)
        _add(channels, f"{side}_elbow", 1.0 * depth * shoulders)


def _idle(frames: int) -> Channels:
    """Two breaths and one shift of the weight to the left leg and back."""
    phase = 2 * np.pi * np.arange(frames) / frames
    # The weight rests on a leg for a while, then moves over: a sine pressed towards its extremes.
    rest = np.tanh(1.8 * np.sin(phase)) / np.tanh(1.8)
    late = np.tanh(1.6 * np.sin(phase - 0.35)) / np.tanh(1.6)
    channels = {
        "pelvis_x": 0.042 * rest,
        "pelvis_z": 0.004 * np.sin(2 * phase),
        "pelvis_y": np.full(frames, -0.001),
        "pelvis_roll": 3.2 * rest,
        "pelvis_yaw": -2.0 * rest,
        "spine_side": -4.4 * late,
        "spine_twist": 2.6 * late,
        "spine_bend": 2 + 0.5 * np.sin(2 * phase),
        "look_left": 5 * np.tanh(2 * np.sin(phase + 1.2)) + 1.5 * np.sin(2 * phase),
        "look_down": 3 + 1.5 * np.sin(2 * phase + 0.7),
        "look_tilt": 1.6 * late,
    }
    for side, sign in SIDES:
        channels[f"{side}_arm_swing"] = 1.2 * np.sin(2 * phase - 0.6 + sign * 0.4) + sign * 0.8 * late
        channels[f"{side}_arm_down"] = 69 - sign * 1.6 * late
        channels[f"{side}_elbow"] = 20 + 2 * np.sin(phase + sign) + 1.2 * np.sin(2 * phase + sign)
        channels[f"{side}_hand_bend"] = 5 + 2 * np.sin(2 * phase - 1 + sign)
    for name, value in {"left_foot_yaw": 7, "right_foot_yaw": 11, "right_foot_forward": 0.02}.items():
        channels[name] = np.full(frames, float(value))
    _breathe(channels, 2)
    return channels


def _wave(frames: int) -> Channels:
    """Up with the right hand, four swings of the forearm, down again."""
    up = {
        "right_collar_down": -9,
        "right_arm_down": 6,
        "right_arm_forward": 28,
        "right_arm_twist": -80,
        "right_forearm": 14,
        "pelvis_x": 0.032,
        "pelvis_roll": 2.5,
        "spine_side": -4,
        "spine_twist": 3,
        "look_tilt": 4,
        "look_left": -6,
    }
    down = {name: default_channels()[name] for name in up}
    keys: list[tuple[float, Mapping[str, float]]] = [
        (0.0, {**down, "right_elbow": 20, "right_hand_bend": 4, "right_hand_side": 0}),
        # Anticipation: the weight moves over before the arm goes.
        (0.18, {"pelvis_x": 0.004, "right_arm_down": 70, "right_elbow": 26}),
        (0.45, {"right_arm_down": 40, "right_elbow": 92, "right_arm_twist": -10, "right_hand_bend": 22}),
        (0.8, {**up, "right_elbow": 84, "right_hand_bend": 6}),
    ]
    for swing in range(4):
        out, back = 1.02 + 0.44 * swing, 1.24 + 0.44 * swing
        keys.append((out, {"right_elbow": 58, "right_arm_twist": -84}))
        keys.append((out + 0.09, {"right_hand_side": 12}))
        keys.append((back, {"right_elbow": 96, "right_arm_twist": -76}))
        keys.append((back + 0.09, {"right_hand_side": -12}))
    keys += [
        (2.75, {**{n: v for n, v in up.items() if n != "right_arm_twist"}, "right_hand_side": 0}),
        (2.8, {"right_arm_twist": -74, "right_elbow": 98}),
        # The forearm folds before the arm drops, so that the hand does not sweep out in front.
        (3.0, {"right_arm_down": 32, "right_elbow": 112, "right_arm_twist": -48, "right_hand_bend": 16}),
        (3.3, {"right_arm_down": 60, "right_elbow": 62, "right_arm_twist": 2, "right_hand_bend": 18}),
        (3.62, {**down, "right_arm_down": 70, "right_elbow": 17, "right_hand_bend": 2}),
        (4.0, {**down, "right_elbow": 20, "right_hand_bend": 4, "right_hand_side": 0}),
    ]
    channels = _keyed(frames, sorted(keys, key=lambda key: key[0]))
    _breathe(channels, 1, 0.7)
    return channels


def _stride(frames: int, left: Mapping[str, Sequence[tuple[float, float]]]) -> Channels:
    """Channels of both sides from curves of the left over one stride, which begins as the left heel strikes."""
    channels = {}
    for side, shift in (("left", 0.0), ("right", 0.5)):
        phase = np.arange(frames) / frames + shift
        for name, keys in left.items():
            channels[f"{side}_{name}"] = curve(phase, keys, 1.0)
    return channels


def _advance(
    frames: int, travel: float, land: float, lift_off: float, swing: Sequence[tuple[float, float]], channels: Channels
) -> None:
    """Adds the feet's way forward: still from the heel's strike to ``lift_off`` (phase), then on by ``travel``."""
    for side, shift in (("left", 0.0), ("right", 0.5)):
        phase = np.arange(frames) / frames + shift
        cycle = np.floor(phase)
        way = curve(((phase - cycle) - lift_off) / (1 - lift_off), swing)
        channels[f"{side}_foot_forward"] = land + travel * (cycle + way - shift)
    channels["pelvis_z"] = channels.get("pelvis_z", 0) + travel * np.arange(frames) / frames


WALK_TRAVEL = 1.42
"""Leg lengths of one walking stride (two steps): 1.4 m for a person of 1.7 m, at 1.3 m/s."""

RUN_TRAVEL = 1.95
"""Leg lengths of one running stride: 1.9 m for a person of 1.7 m, at 2.6 m/s."""


def _walk(frames: int) -> Channels:
    phase = 2 * np.pi * np.arange(frames) / frames
    channels = _stride(
        frames,
        {
            "foot_pitch": [
                (0.0, -20), (0.09, 0), (0.32, 0), (0.5, 25), (0.62, 64), (0.69, 66), (0.82, 14), (0.93, -19)
            ],
            "foot_lift": [(0.0, 0), (0.62, 0), (0.72, 0.045), (0.84, 0.022), (0.92, 0.03)],
            "foot_out": [(0.0, -0.075), (0.6, -0.075), (0.78, -0.06)],
            "toe_bend": [(0.0, 14), (0.1, 0), (0.6, 0), (0.85, 12)],
            "foot_yaw": [(0.0, 5)],
            "arm_swing": [(0.02, -24), (0.52, 20)],
            "elbow": [(0.06, 14), (0.56, 40)],
            "arm_twist": [(0.04, 8), (0.54, 16)],
            "arm_down": [(0.04, 70), (0.3, 71), (0.54, 69), (0.8, 70.5)],
            "hand_bend": [(0.12, 0), (0.62, 10)],
            "forearm": [(0.04, 10), (0.54, 18)],
        },
    )  # fmt: skip
    channels |= {
        "pelvis_y": -0.022 - 0.02 * np.cos(2 * (phase - 0.25)),
        "pelvis_x": 0.024 * np.sin(phase - 0.1),
        "pelvis_z": 0.006 * np.sin(2 * phase + 0.6),
        "pelvis_yaw": -6.5 * np.cos(phase - 0.1),
        # The hip of the swinging leg hangs a little.
        "pelvis_roll": 3.6 * np.sin(phase - 0.15) + 0.6 * np.sin(3 * phase),
        "pelvis_pitch": 2.5 + 1.2 * np.cos(2 * phase + 0.5),
        "spine_twist": 14 * np.cos(phase - 0.3),
        "spine_side": -4.4 * np.sin(phase - 0.3),
        "spine_bend": 0.5 - 1.6 * np.cos(2 * phase + 0.3),
        "look_down": 3 - 1.2 * np.cos(2 * phase - 0.5),
        "look_left": 1.2 * np.cos(phase - 0.5),
        "look_tilt": -0.8 * np.sin(phase - 0.4),
    }
    _advance(frames, WALK_TRAVEL, 0.352, 0.62, [(0, 0), (0.18, 0.09), (0.5, 0.48), (0.85, 0.965), (1, 1)], channels)
    return channels


def _run(frames: int) -> Channels:
    phase = 2 * np.pi * np.arange(frames) / frames
    channels = _stride(
        frames,
        {
            "foot_pitch": [(0.0, -5), (0.06, 0), (0.17, 0), (0.27, 30), (0.36, 66), (0.5, 94), (0.66, 66), (0.88, 2)],
            "foot_lift": [(0.0, 0), (0.36, 0), (0.5, 0.17), (0.6, 0.23), (0.75, 0.17), (0.9, 0.095), (0.96, 0.04)],
            "foot_out": [(0.0, -0.095)],
            "foot_yaw": [(0.0, 4)],
            "toe_bend": [(0.0, 8), (0.1, 0), (0.36, 0), (0.8, 8)],
            "arm_swing": [(0.04, -50), (0.54, 32)],
            "arm_forward": [(0.0, 2)],
            "elbow": [(0.06, 84), (0.3, 78), (0.56, 104), (0.8, 92)],
            "arm_twist": [(0.04, -6), (0.54, 14)],
            "arm_down": [(0.04, 66), (0.54, 68)],
            "forearm": [(0.0, 8)],
            "hand_bend": [(0.1, 6), (0.6, 12)],
            "collar_forward": [(0.04, -6), (0.54, 7)],
        },
    )
    channels |= {
        "pelvis_y": -0.046 - 0.038 * np.cos(2 * phase - 2 * np.pi * 2 * 0.15),
        "pelvis_x": 0.012 * np.sin(phase + 0.2),
        "pelvis_yaw": -9 * np.cos(phase - 0.1),
        "pelvis_roll": 4 * np.sin(phase + 0.1),
        "pelvis_pitch": 9 + 1.5 * np.cos(2 * phase),
        "spine_twist": 17 * np.cos(phase - 0.25),
        "spine_side": -5 * np.sin(phase),
        "spine_bend": 4 - 2 * np.cos(2 * phase - 1),
        "look_down": 4 + 1.2 * np.cos(2 * phase - 1.5),
        "look_left": 2 * np.cos(phase - 0.4),
        "look_tilt": np.zeros(frames),
    }
    swing = [(0, 0), (0.12, 0.03), (0.5, 0.46), (0.8, 0.85), (1, 1)]
    _advance(frames, RUN_TRAVEL, 0.2, 0.36, swing, channels)
    return channels


def _turn(frames: int) -> Channels:
    """Half a turn to the left in four steps: the head leads, then the chest, then the feet, one at a time."""
    ease = [(0.0, 0), (0.25, 4), (0.7, 52), (1.2, 105), (1.65, 158), (2.0, 176), (2.2, 180)]
    keys = {
        "facing": ease,
        "look_left": [(0.0, 0), (0.35, 42), (1.2, 38), (1.9, 6), (2.2, 0)],
        "spine_twist": [(0.15, 0), (0.5, 16), (1.3, 13), (2.0, -2), (2.3, 0)],
        "look_down": [(0.0, 2), (0.5, 9), (1.5, 8), (2.2, 2)],
        "pelvis_x": [(0.0, 0), (0.28, -0.055), (0.75, 0.055), (1.2, -0.055), (1.65, 0.05), (2.1, 0)],
        "pelvis_y": [(0.0, 0), (0.4, -0.03), (1.7, -0.03), (2.2, -0.001)],
        "pelvis_roll": [(0.0, 0), (0.3, -3), (0.75, 3), (1.2, -3), (1.65, 3), (2.1, 0)],
        "left_foot_turn": [(0.3, 0), (0.72, 88), (1.22, 88), (1.6, 180)],
        "left_foot_lift": [(0.3, 0), (0.5, 0.055), (0.72, 0), (1.22, 0), (1.41, 0.055), (1.6, 0)],
        "left_foot_pitch": [
            (0.2, 0), (0.32, 18), (0.5, 8), (0.66, -6), (0.76, 0),
            (1.12, 0), (1.24, 20), (1.41, 8), (1.55, -6), (1.66, 0),
        ],
        "right_foot_turn": [(0.78, 0), (1.16, 100), (1.66, 100), (2.02, 180)],
        "right_foot_lift": [(0.78, 0), (0.96, 0.055), (1.16, 0), (1.66, 0), (1.83, 0.05), (2.02, 0)],
        "right_foot_pitch": [
            (0.62, 0), (0.8, 26), (0.96, 8), (1.1, -4), (1.2, 0),
            (1.52, 0), (1.68, 22), (1.83, 8), (1.97, -4), (2.08, 0),
        ],
        "left_arm_swing": [(0.1, 0), (0.55, -14), (1.3, -10), (2.05, 8), (2.5, 0)],
        "right_arm_swing": [(0.1, 0), (0.6, 14), (1.3, 12), (2.1, -8), (2.55, 0)],
        "left_arm_down": [(0.1, 69), (0.8, 65), (1.7, 65), (2.4, 69)],
        "right_arm_down": [(0.1, 69), (0.8, 65), (1.7, 66), (2.4, 69)],
        "left_arm_twist": [(0.1, 18), (0.6, 8), (1.8, 8), (2.5, 18)],
        "right_arm_twist": [(0.1, 18), (0.6, 2), (1.8, 6), (2.5, 18)],
        "left_elbow": [(0.1, 20), (0.8, 32), (2.1, 26), (2.6, 20)],
        "right_elbow": [(0.1, 20), (0.8, 36), (2.1, 24), (2.6, 20)],
    }  # fmt: skip
    times = np.arange(frames) / FPS
    channels = {name: curve(times, points) for name, points in keys.items()}
    _breathe(channels, 1, 0.6)
    return channels


def _sit(frames: int) -> Channels:
    """A look over the shoulder for the stool, hips back, down, then the hands come to rest on the thighs."""
    feet = both(foot_out=0.02, foot_yaw=9, knee_out=3)
    keys: list[tuple[float, Mapping[str, float]]] = [
        (0.0, {"pelvis_y": 0, "pelvis_z": 0, "pelvis_pitch": 0, "spine_bend": 0, "look_down": 2, "look_left": 0}),
        (0.3, {"look_left": 26, "look_down": 16, "spine_twist": 8, "spine_bend": 3}),
        (0.55, {"pelvis_y": -0.02, "pelvis_z": -0.06, "pelvis_pitch": 14}),
        (0.75, {"look_left": 8, "look_down": 22, "spine_twist": 2}),
        (1.1, {"pelvis_y": -0.19, "pelvis_z": -0.25, "pelvis_pitch": 30, "spine_bend": 16}),
        (1.0, both(arm_swing=40, elbow=40, arm_down=66, arm_twist=12)),
        (1.45, both(arm_swing=54, elbow=46, arm_down=66, reach=0)),
        (1.6, {"pelvis_y": -0.388, "pelvis_z": -0.352, "pelvis_pitch": 18, "spine_bend": 16, "look_down": 12}),
        (1.75, {"pelvis_y": -0.392}),
        (1.85, {"look_left": 0, "spine_twist": 0}),
        (2.15, both(reach=1)),
        (2.3, {"pelvis_y": -0.386, "pelvis_z": -0.35, "pelvis_pitch": -5, "spine_bend": 9, "look_down": 0}),
        (2.8, {"pelvis_pitch": -7, "spine_bend": 13, "look_down": 4}),
    ]
    channels = _keyed(frames, keys, start=feet)
    _breathe(channels, 2, 0.8)
    return channels


def _stretch(frames: int) -> Channels:
    """Arms up over the head on the toes' edge of balance, a bend to each side, and down with a breath out."""
    overhead = both(collar_down=-22, arm_down=-62, arm_forward=14, arm_twist=-62, elbow=30, forearm=-8, hand_bend=-14)
    rest = {name: default_channels()[name] for name in overhead}
    centre = {"spine_bend": 0, "spine_side": 0, "pelvis_x": 0, "pelvis_roll": 0, "look_down": 2, "look_tilt": 0}
    feet = both(foot_out=0.01, foot_yaw=9)
    keys: list[tuple[float, Mapping[str, float]]] = [
        (0.0, {**rest, **centre, **both(foot_pitch=0), "pelvis_z": 0, "pelvis_pitch": 0, "pelvis_y": 0}),
        (0.35, {"spine_bend": 7, **both(arm_down=70, elbow=26), "look_down": 10, "pelvis_y": -0.012}),
        (0.85, both(arm_down=16, elbow=44, arm_twist=-30, collar_down=-6)),
        (1.35, {**overhead, "spine_bend": -8, "look_down": -14, "pelvis_pitch": 2, "pelvis_y": 0.0}),
        (1.45, {**both(foot_pitch=0), "pelvis_z": 0.012}),
        (1.9, {**both(foot_pitch=24, elbow=12, arm_down=-68), "pelvis_z": 0.04, "pelvis_y": 0.06, "spine_bend": -11}),
        (2.35, {**both(foot_pitch=0, elbow=24, arm_down=-63), "pelvis_z": 0.01, "pelvis_y": 0.0, "spine_bend": -4}),
        (2.45, {"spine_side": 0, "pelvis_x": 0, "pelvis_roll": 0, "look_tilt": 0, "look_down": -6}),
        (3.05, {"spine_side": 22, "pelvis_x": 0.05, "pelvis_roll": 3, "look_tilt": 12}),
        (3.3, {"spine_side": 23}),
        (4.05, {"spine_side": -22, "pelvis_x": -0.05, "pelvis_roll": -3, "look_tilt": -12}),
        (4.3, {"spine_side": -23}),
        (4.85, {**centre, **both(elbow=30, arm_down=-52, arm_twist=-55, collar_down=-16), "spine_bend": -3}),
        (5.3, both(arm_down=22, elbow=30, arm_twist=-14, hand_bend=-14, collar_down=0)),
        (5.8, {**rest, **both(arm_down=69, elbow=15), "spine_bend": 6, "look_down": 8, "pelvis_y": -0.012}),
        (6.4, {**rest, **centre, "pelvis_z": 0, "pelvis_pitch": 0, "pelvis_y": 0}),
    ]  # fmt: skip
    return _keyed(frames, keys, start=feet)


def _dance_step(frames: int) -> Channels:
    """Side step and touch, to the left and back, bouncing on the beat (120 beats a minute, four beats)."""
    phase = 2 * np.pi * np.arange(frames) / frames
    at = np.arange(frames) / frames
    # Left steps out on beat 1, right closes on 2, right steps out on 3, left closes on 4.
    keys = {
        "left_foot_out": [(0.02, -0.02), (0.2, 0.2), (0.77, 0.2), (0.95, -0.02)],
        "right_foot_out": [(0.27, -0.02), (0.45, -0.22), (0.52, -0.22), (0.7, -0.02)],
        "left_foot_lift": [(0.02, 0), (0.11, 0.05), (0.2, 0), (0.77, 0), (0.86, 0.05), (0.95, 0)],
        "right_foot_lift": [(0.27, 0), (0.36, 0.05), (0.45, 0), (0.52, 0), (0.61, 0.05), (0.7, 0)],
        "left_foot_pitch": [(0.0, 14), (0.03, 20), (0.11, 12), (0.21, 0), (0.7, 0), (0.77, 24), (0.86, 12), (0.95, 14)],
        "right_foot_pitch": [(0.2, 0), (0.27, 24), (0.36, 12), (0.45, 14), (0.53, 20), (0.61, 12), (0.71, 0)],
    }
    channels = {name: curve(at, points, 1.0) for name, points in keys.items()}
    side = np.sin(phase - 0.9)
    pulse = np.cos(4 * phase)
    channels |= {
        "pelvis_x": 0.1 + curve(at, [(0.0, -0.1), (0.25, 0.085), (0.5, 0.1), (0.75, -0.085)], 1.0),
        "pelvis_y": -0.046 + 0.022 * pulse,
        "pelvis_yaw": 9 * side,
        "pelvis_roll": 5 * np.sin(phase - 0.3) + 2 * np.sin(2 * phase),
        "pelvis_pitch": 3 + 1.5 * pulse,
        "spine_twist": -16 * np.sin(phase - 1.1),
        "spine_side": -7 * np.sin(phase - 0.6),
        "spine_bend": 3 - 3 * np.cos(4 * phase - 0.5),
        "look_left": 14 * np.sin(phase - 1.2),
        "look_down": 4 + 4 * np.cos(4 * phase - 0.9),
        "look_tilt": 5 * np.sin(phase - 0.9),
    }
    for side_name, sign in SIDES:
        swing = sign * np.sin(phase - 1.0)
        channels |= {
            f"{side_name}_arm_down": 58 + 7 * np.cos(4 * phase - 0.7) - 6 * swing,
            f"{side_name}_arm_swing": 8 + 24 * swing,
            f"{side_name}_arm_twist": 26 + 8 * swing,
            f"{side_name}_elbow": 82 + 16 * swing + 8 * np.cos(4 * phase - 1.1),
            f"{side_name}_forearm": np.full(frames, 14.0),
            f"{side_name}_hand_bend": 8 + 10 * np.cos(4 * phase - 1.6),
            f"{side_name}_collar_down": 3 - 4 * np.cos(4 * phase - 0.5),
            f"{side_name}_foot_yaw": np.full(frames, 10.0),
        }
    return channels


CLIPS: tuple[Clip, ...] = (
    Clip("idle", "Idle", "Standing, breathing, shifting the weight.", True, 240, _idle),
    Clip("wave", "Wave", "A friendly wave with the right hand.", True, 120, _wave),
    Clip("walk", "Walk", "A relaxed walk, two steps a loop.", True, 32, _walk, WALK_TRAVEL),
    Clip("run", "Run", "An easy run, two steps a loop.", True, 22, _run, RUN_TRAVEL),
    Clip("turn", "Turn around", "Half a turn to the left with four steps.", False, 84, _turn),
    Clip(
        "sit",
        "Sit down",
        "Down on a stool of the height of the knees, and stay.",
        False,
        120,
        _sit,
        hands={"left": HAND_ON_THIGH, "right": HAND_ON_THIGH},
    ),
    Clip("stretch", "Stretch", "Arms overhead, up on the toes, a bend to each side.", True, 192, _stretch),
    Clip("dance_step", "Dance step", "Step and touch from side to side, on the beat.", True, 60, _dance_step),
)
