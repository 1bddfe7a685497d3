"""Which landmark of the pose and hand networks is which point of the body, and how much the fit trusts it."""

from __future__ import annotations

POSE_LANDMARKS: tuple[tuple[int, str, float], ...] = (
    (0, "nose", 0.6), (2, "left_eye", 0.5), (5, "right_eye", 0.5), (7, "left_ear", 0.5), (8, "right_ear", 0.5),
    (11, "left_shoulder", 1.0), (12, "right_shoulder", 1.0), (13, "left_elbow", 1.0), (14, "right_elbow", 1.0),
    (15, "left_wrist", 1.0), (16, "right_wrist", 1.0), (17, "left_pinky", 0.3), (18, "right_pinky", 0.3),
    (19, "left_index", 0.3), (20, "right_index", 0.3), (21, "left_thumb", 0.2), (22, "right_thumb", 0.2),
    (23, "left_hip", 1.0), (24, "right_hip", 1.0), (25, "left_knee", 1.0), (26, "right_knee", 1.0),
    (27, "left_ankle", 1.0), (28, "right_ankle", 1.0), (29, "left_heel", 0.4), (30, "right_heel", 0.4),
    (31, "left_big_toe", 0.4), (32, "right_big_toe", 0.4),
)  # fmt: skip
"""(BlazePose index, keypoint of the body file, weight)."""
LANDMARK_INDICES = [index for index, _, _ in POSE_LANDMARKS]
LANDMARK_NAMES = [name for _, name, _ in POSE_LANDMARKS]

LANDMARK_OFFSETS: dict[str, tuple[float, float, float]] = {
    "hip": (-0.007, 0.026, 0.0), "ear": (-0.018, 0.009, 0.0), "knee": (-0.008, 0.003, 0.0), "ankle": (0.0, 0.006, 0.0),
}  # fmt: skip
"""Where the network puts a landmark, seen from the body's keypoint of that name: metres (outward, up, forward) in the
rest pose. Medians over 45 rendered mannequins, which agree within 5 mm. Left out, the trunk seems 3 cm too short, and
the fit bends it forward."""

HAND_LANDMARKS: tuple[tuple[int, str, float], ...] = (
    (5, "index", 0.25), (9, "middle", 0.25), (13, "ring", 0.25), (17, "pinky", 0.25), (3, "thumb_tip", 0.1),
    (7, "index_tip", 0.12), (11, "middle_tip", 0.12), (15, "ring_tip", 0.12), (19, "pinky_tip", 0.12),
)  # fmt: skip
"""(hand network index, keypoint of the body file without its side, weight); "tip" is the last finger joint."""

JOINT_EVIDENCE: dict[str, tuple[int, ...]] = {
    "pelvis": (23, 24), "left_hip": (23,), "right_hip": (24,), "spine1": (11, 12, 23, 24), "left_knee": (25,),
    "right_knee": (26,), "spine2": (11, 12, 23, 24), "left_ankle": (27,), "right_ankle": (28,),
    "spine3": (11, 12, 23, 24), "left_foot": (31,), "right_foot": (32,), "neck": (0, 11, 12),
    "left_collar": (11,), "right_collar": (12,), "head": (0, 2, 5), "left_shoulder": (11,), "right_shoulder": (12,),
    "left_elbow": (13,), "right_elbow": (14,), "left_wrist": (15,), "right_wrist": (16,),
    "left_hand": (17, 19), "right_hand": (18, 20),
}  # fmt: skip
"""BlazePose landmarks that say where a joint is."""
