"""Single poses that the project makes itself: channels of the rig in ``motion_rig.py``, in degrees and leg lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .motion_rig import HandTarget

HAND_ON_HIP = HandTarget("pelvis", (0.248, 0.115, 0.02), (1, 0.05, -0.75), (-0.55, -0.25, 0.8), (-0.85, -0.1, -0.5))
"""The wrist beside the waist, fingers forward, the elbow out and back."""
HAND_ON_THIGH = HandTarget("own_hip", (0.03, -0.24, 0.11), (0.75, -0.6, -0.5), (-0.2, -1, 0.02), (0, -0.08, -1))
"""The wrist in front of the middle of the thigh, fingers towards the knee."""


@dataclass(frozen=True)
class Pose:
    """A still pose.

    Attributes:
        name, label, description: for the library.
        channels: what differs from standing relaxed.
        hands: targets of hands that lie on the body.
        rest_legs: the legs and the spine keep the rest pose exactly (calibration poses).
    """

    name: str
    label: str
    description: str
    channels: Mapping[str, float] = field(default_factory=dict)
    hands: Mapping[str, HandTarget] = field(default_factory=lambda: MappingProxyType({}))
    rest_legs: bool = False


def both(**channels: float) -> dict[str, float]:
    """Channels of both sides alike."""
    return {f"{side}_{name}": value for side in ("left", "right") for name, value in channels.items()}


STRAIGHT_ARMS = both(
    collar_down=0, arm_down=0, arm_twist=0, elbow=0, forearm=0, hand_bend=0, arm_swing=0, arm_forward=0
)

POSES: tuple[Pose, ...] = (
    Pose("t_pose", "T-pose", "Arms straight out to the sides: the rest pose.", STRAIGHT_ARMS, rest_legs=True),
    Pose(
        "a_pose",
        "A-pose",
        "Arms straight, 45 degrees below the shoulders.",
        {**STRAIGHT_ARMS, **both(collar_down=5, arm_down=40)},
        rest_legs=True,
    ),
    Pose(
        "relaxed",
        "Relaxed stand",
        "Weight on one leg, hips and shoulders tilted against each other.",
        {
            "pelvis_x": 0.085,
            "pelvis_roll": 7,
            "pelvis_yaw": -6,
            "spine_side": -11,
            "spine_twist": 7,
            "spine_bend": 2,
            "look_left": -14,
            "look_tilt": 4,
            "look_down": 3,
            "left_foot_out": -0.045,
            "left_foot_yaw": 6,
            "right_foot_out": 0.015,
            "right_foot_forward": 0.1,
            "right_foot_yaw": 20,
            "right_knee_out": -8,
            "left_arm_down": 67,
            "left_elbow": 24,
            "left_arm_twist": 18,
            "right_arm_down": 71,
            "right_elbow": 14,
            "right_arm_swing": 4,
        },
    ),
    Pose(
        "hands_on_hips",
        "Hands on hips",
        "Feet apart, chest open, both hands on the hips.",
        {
            **both(reach=1, foot_out=0.035, foot_yaw=12, collar_forward=-5, collar_down=2),
            "spine_bend": -5,
            "pelvis_pitch": 3,
            "pelvis_roll": 2,
            "pelvis_x": 0.02,
            "spine_side": -3,
            "look_left": 12,
            "look_down": -3,
        },
        {"left": HAND_ON_HIP, "right": HAND_ON_HIP},
    ),
    Pose(
        "arms_crossed",
        "Arms crossed",
        "Standing at ease with folded arms.",
        {
            **both(reach=1, collar_forward=9, collar_down=3, foot_yaw=10),
            "pelvis_x": -0.05,
            "pelvis_roll": -4,
            "spine_side": 6,
            "spine_bend": 0,
            "look_tilt": -4,
            "look_left": 8,
            "left_foot_out": 0.03,
            "left_foot_forward": 0.06,
            "left_foot_yaw": 18,
            "right_foot_out": -0.02,
        },
        {
            "left": HandTarget("spine3", (-0.085, -0.07, 0.3), (0.75, -1, 0.05), (-0.75, 0.25, -0.6), (0.6, 0.1, -0.8)),
            "right": HandTarget(
                "spine3", (-0.08, -0.09, 0.248), (0.75, -1, 0.05), (-0.95, -0.05, -0.2), (0.1, -0.6, -0.8)
            ),
        },
    ),
    Pose(
        "pointing",
        "Pointing",
        "One arm points ahead and to the side, the gaze follows.",
        {
            "pelvis_yaw": -8,
            "pelvis_x": -0.04,
            "pelvis_z": 0.03,
            "spine_twist": -10,
            "spine_bend": 3,
            "look_left": -32,
            "look_down": -2,
            "right_foot_forward": 0.16,
            "right_foot_yaw": 18,
            "left_foot_yaw": 14,
            "left_foot_forward": -0.06,
            "right_collar_down": -3,
            "right_collar_forward": 10,
            "right_arm_down": -3,
            "right_arm_forward": 42,
            "right_arm_twist": -8,
            "right_elbow": 7,
            "right_forearm": 5,
            "right_hand_bend": -4,
            "left_arm_down": 61,
            "left_arm_swing": -10,
            "left_elbow": 26,
            "left_arm_twist": 16,
        },
    ),
    Pose(
        "thinking",
        "Thinking",
        "One hand at the chin, the other arm across the body.",
        {
            **both(reach=1, collar_forward=8),
            "pelvis_x": 0.05,
            "pelvis_roll": 4,
            "spine_side": -5,
            "spine_bend": 6,
            "look_down": 13,
            "look_tilt": -6,
            "look_left": 10,
            "right_foot_out": 0.02,
            "right_foot_forward": 0.07,
            "right_foot_yaw": 18,
            "left_foot_yaw": 8,
        },
        {
            "right": HandTarget(
                "head", (0.065, -0.205, 0.165), (0.35, -1, 0.3), (-0.12, 1, -0.22), (-0.75, -0.1, -0.6)
            ),
            "left": HandTarget(
                "spine3", (-0.075, -0.145, 0.256), (0.9, -0.8, -0.1), (-0.95, 0.15, 0.1), (0, 0.5, -0.8)
            ),
        },
    ),
    Pose(
        "victory",
        "Victory",
        "Both arms thrown up, chest out, face to the sky.",
        {
            **both(
                collar_down=-18,
                arm_down=-30,
                arm_forward=12,
                arm_twist=-55,
                elbow=24,
                forearm=-12,
                hand_bend=-8,
                foot_out=0.06,
                foot_yaw=12,
            ),
            "spine_bend": -13,
            "pelvis_pitch": 5,
            "pelvis_z": 0.02,
            "look_down": -22,
            "left_arm_down": -35,
            "right_elbow": 32,
            "spine_side": -3,
            "pelvis_x": 0.02,
            "pelvis_roll": 2,
        },
    ),
    Pose(
        "lunge",
        "Lunge",
        "A deep step forward, weight low, arms balancing.",
        {
            "pelvis_y": -0.21,
            "pelvis_z": 0.02,
            "pelvis_yaw": -9,
            "pelvis_pitch": 8,
            "spine_twist": 14,
            "spine_bend": 8,
            "look_down": 6,
            "left_foot_forward": 0.43,
            "left_foot_yaw": 4,
            "right_foot_forward": -0.45,
            "right_foot_pitch": 48,
            "right_foot_yaw": 6,
            "right_arm_down": 66,
            "right_arm_swing": 52,
            "right_elbow": 78,
            "right_arm_twist": 30,
            "left_arm_down": 62,
            "left_arm_swing": -42,
            "left_elbow": 48,
        },
    ),
    Pose(
        "kneel",
        "Kneel",
        "On one knee, a hand on the other.",
        {
            "pelvis_y": -0.43,
            "pelvis_z": -0.03,
            "pelvis_pitch": 4,
            "spine_bend": 8,
            "look_down": 4,
            "look_left": 6,
            "left_foot_forward": 0.36,
            "left_foot_out": 0.03,
            "left_foot_yaw": 8,
            "right_foot_forward": -0.46,
            "right_foot_pitch": 62,
            "right_foot_yaw": 4,
            "left_reach": 1,
            "right_arm_down": 68,
            "right_arm_swing": -4,
            "right_elbow": 26,
        },
        {"left": HandTarget("left_hip", (0.02, -0.29, 0.11), (0.8, -0.3, -0.6), (-0.3, -1, -0.12), (0, 0.0, -1))},
    ),
    Pose(
        "sitting",
        "Sitting",
        "On a stool of the height of the knees, hands on the thighs.",
        {
            "pelvis_y": -0.385,
            "pelvis_z": -0.35,
            "pelvis_pitch": -6,
            "spine_bend": 12,
            "look_down": 4,
            "look_left": -8,
            **both(foot_out=0.03, foot_yaw=10, reach=1, knee_out=4),
            "left_foot_forward": 0.05,
            "right_foot_forward": -0.03,
        },
        {"left": HAND_ON_THIGH, "right": HAND_ON_THIGH},
    ),
    Pose(
        "striding",
        "Leaning stride",
        "A long, forward-leaning step in mid-walk.",
        {
            "pelvis_y": -0.06,
            "pelvis_yaw": -10,
            "pelvis_pitch": 8,
            "pelvis_z": 0.03,
            "spine_bend": 6,
            "spine_twist": 20,
            "look_down": 1,
            "left_foot_forward": 0.4,
            "left_foot_out": -0.07,
            "left_foot_pitch": -16,
            "right_foot_forward": -0.42,
            "right_foot_out": -0.07,
            "right_foot_pitch": 44,
            "right_arm_swing": 34,
            "right_elbow": 42,
            "right_arm_twist": 30,
            "left_arm_swing": -34,
            "left_elbow": 22,
        },
    ),
    Pose(
        "shrug",
        "Shrug",
        "Shoulders up, palms open, head to the side.",
        {
            **both(
                collar_down=-16,
                arm_down=66,
                arm_twist=-28,
                elbow=82,
                forearm=-75,
                hand_bend=-24,
                arm_swing=2,
                foot_yaw=10,
            ),
            "spine_bend": 3,
            "look_tilt": 10,
            "look_down": -2,
            "look_left": 6,
            "pelvis_x": 0.03,
            "pelvis_roll": 3,
            "spine_side": -3,
        },
    ),
)
