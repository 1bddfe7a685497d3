"""Three poses for the demo, as SMPL axis-angle [24, 3] in radians. numpy alone."""

from __future__ import annotations

import numpy as np

JOINTS = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot "
    "neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hand right_hand"
).split()

#: Degrees about x (the person's left), y (up) and z (out of the chest), from the T-pose, joint by joint.
POSES_DEGREES: dict[str, dict[str, tuple[float, float, float]]] = {
    "wave": {
        "left_hip": (0, 4, -2), "right_hip": (-3, -8, 1), "right_knee": (6, 0, 0),
        "spine2": (0, 0, -3), "spine3": (0, 0, -3), "neck": (0, 0, 3), "head": (0, -8, 5),
        "left_collar": (0, 0, -5), "left_shoulder": (6, 0, -64), "left_elbow": (0, -22, 0),
        "right_collar": (0, 0, -8), "right_shoulder": (-8, 16, -8), "right_elbow": (0, 8, -82),
        "right_wrist": (0, 0, -10), "left_hand": (0, 0, -15),
    },
    "walk": {
        "pelvis": (3, -4, 0), "left_hip": (-27, 0, 0), "left_knee": (14, 0, 0), "left_ankle": (-3, 0, 0),
        "right_hip": (20, 0, 0), "right_knee": (26, 0, 0), "right_ankle": (12, 0, 0), "right_foot": (-20, 0, 0),
        "spine1": (2, 4, 0), "spine3": (0, 6, 0), "neck": (-2, -3, 0),
        "left_collar": (0, 0, -5), "left_shoulder": (10, 28, -66), "left_elbow": (0, -16, 0),
        "right_collar": (0, 0, 5), "right_shoulder": (4, 34, 64), "right_elbow": (0, 34, 0),
        "left_hand": (0, 0, -15), "right_hand": (0, 0, 15),
    },
    "squat": {
        "pelvis": (16, 0, 0), "left_hip": (-78, 10, 26), "right_hip": (-78, -10, -26),
        "left_knee": (84, 0, 0), "right_knee": (84, 0, 0), "left_ankle": (-20, 0, 0), "right_ankle": (-20, 0, 0),
        "spine1": (10, 0, 0), "spine2": (4, 0, 0), "neck": (-12, 0, 0), "head": (-8, 0, 0),
        "left_shoulder": (0, -74, -12), "right_shoulder": (0, 74, 12), "left_elbow": (0, -12, 0),
        "right_elbow": (0, 12, 0),
    },
}  # fmt: skip


def pose(name: str) -> np.ndarray:
    """One of the poses, [24, 3] radians."""
    angles = np.zeros((len(JOINTS), 3))
    for joint, degrees in POSES_DEGREES[name].items():
        angles[JOINTS.index(joint)] = axis_angle(*degrees)
    return angles


def axis_angle(x: float, y: float, z: float) -> np.ndarray:
    """Axis-angle [3] in radians of turns by ``z``, then ``y``, then ``x`` degrees about fixed axes."""
    half = np.radians([x, y, z]) / 2
    (cx, cy, cz), (sx, sy, sz) = np.cos(half), np.sin(half)
    # Quaternion product qx * qy * qz.
    w = cx * cy * cz - sx * sy * sz
    vector = np.array([sx * cy * cz + cx * sy * sz, cx * sy * cz - sx * cy * sz, cx * cy * sz + sx * sy * cz])
    sine = float(np.linalg.norm(vector))
    return vector * (2 * np.arctan2(sine, w) / sine if sine > 1e-12 else 2.0)
