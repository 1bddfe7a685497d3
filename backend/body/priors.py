"""What a pose fit knows without looking: joint limits and a relaxed standing pose.

All in SMPL's convention: axis-angle components in the rest pose's axes (x to the person's left, y up, z forward).
"""

from __future__ import annotations

import torch

from .model import JOINT_COUNT, JOINT_INDEX

_Range = tuple[float, float]

_LEFT_LIMITS: dict[str, tuple[_Range, _Range, _Range]] = {
    "hip": ((-2.2, 0.7), (-0.8, 0.8), (-0.5, 1.0)),
    "knee": ((-0.02, 2.6), (-0.12, 0.12), (-0.08, 0.08)),
    "ankle": ((-0.7, 0.7), (-0.3, 0.3), (-0.35, 0.35)),
    "foot": ((-0.3, 0.3), (-0.05, 0.05), (-0.05, 0.05)),
    "collar": ((-0.2, 0.2), (-0.35, 0.35), (-0.15, 0.5)),
    "shoulder": ((-1.2, 1.2), (-2.0, 0.7), (-1.7, 1.3)),
    "elbow": ((-1.3, 1.3), (-2.5, 0.02), (-0.25, 0.25)),
    "wrist": ((-0.5, 0.5), (-0.5, 0.5), (-1.0, 1.0)),
    "hand": ((-0.05, 0.05), (-0.05, 0.05), (-1.2, 0.2)),
}
_CENTRE_LIMITS: dict[str, tuple[float, float, float]] = {
    "spine1": (0.6, 0.35, 0.3),
    "spine2": (0.35, 0.35, 0.25),
    "spine3": (0.35, 0.35, 0.25),
    "neck": (0.5, 0.5, 0.35),
    "head": (0.5, 0.6, 0.3),
}
_STIFFNESS = {
    "spine1": 8.0, "spine2": 8.0, "spine3": 8.0, "neck": 8.0, "head": 4.0, "pelvis": 0.0,
    "collar": 4.0, "foot": 5.0, "hand": 1.0, "wrist": 1.0, "ankle": 0.7, "knee": 3.0, "elbow": 0.05,
    "shoulder": 0.1, "hip": 0.2,
}  # fmt: skip


def joint_limits() -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest axis-angle components, each [24, 3] radians; the pelvis is free."""
    low = torch.full((JOINT_COUNT, 3), -99.0, dtype=torch.float64)
    high = -low
    for name, ranges in _LEFT_LIMITS.items():
        mirrored = (ranges[0], *((-b, -a) for a, b in ranges[1:]))
        for side, limits in (("left_", ranges), ("right_", mirrored)):
            joint = JOINT_INDEX[side + name]
            low[joint], high[joint] = (torch.tensor(v, dtype=torch.float64) for v in zip(*limits))
    for name, extent in _CENTRE_LIMITS.items():
        high[JOINT_INDEX[name]] = torch.tensor(extent, dtype=torch.float64)
        low[JOINT_INDEX[name]] = -high[JOINT_INDEX[name]]
    return low, high


def relaxed_pose() -> torch.Tensor:
    """Axis-angle [24, 3] of a person who stands with the arms down."""
    pose = torch.zeros(JOINT_COUNT, 3, dtype=torch.float64)
    pose[JOINT_INDEX["left_shoulder"], 2] = -1.0
    pose[JOINT_INDEX["right_shoulder"], 2] = 1.0
    return pose


def stiffness() -> torch.Tensor:
    """How strongly each joint's components [24, 3] are drawn to the relaxed pose (larger is stiffer)."""
    out = torch.empty(JOINT_COUNT, 3, dtype=torch.float64)
    for name, joint in JOINT_INDEX.items():
        out[joint] = _STIFFNESS[name.removeprefix("left_").removeprefix("right_")]
    return out
