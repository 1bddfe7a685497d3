"""Motions of the avatar's 24 joints as plain arrays. numpy and the standard library only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .contents import JOINT_COUNT

SOLE_SHARE = 0.029
"""Height of SMPL's foot joints (the balls of the feet) above the soles, as a part of the pelvis's height above them;
measured on the four shipped bodies (0.028 to 0.031)."""
_FEET = (10, 11)


class MotionError(ValueError):
    """A motion that cannot be used; the message is one sentence for the user, with what to do next."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A motion in SMPL's convention, for a body of any size.

    Space: y up, x to the person's left, z out of the chest, as the avatar's canonical space.

    Attributes:
        poses: float64 [T, 24, 3] axis-angle, radians; row 0 turns the whole body, other rows are relative to the
            parent, about the axes of the rest pose (arms out to the sides).
        translation: float64 [T, 3] metres, how far the pelvis is from its place in the rest pose standing on the
            ground, on a body whose pelvis is ``leg_length`` above its soles there. For an avatar it is scaled by the
            ratio of these heights, see :func:`avatar_translation`.
        fps: frames a second.
        leg_length: metres.
        name: what to call it.
    """

    poses: np.ndarray
    translation: np.ndarray
    fps: float
    leg_length: float
    name: str = "Motion"

    def __post_init__(self) -> None:
        """Raise MotionError where shapes or numbers cannot be used."""
        frames = len(self.poses)
        if frames == 0:
            raise MotionError("The motion has no frames.")
        if np.shape(self.poses) != (frames, JOINT_COUNT, 3):
            raise MotionError(f"The motion's poses have the shape {np.shape(self.poses)}, expected T x 24 x 3.")
        if np.shape(self.translation) != (frames, 3):
            raise MotionError(f"The motion's translation has the shape {np.shape(self.translation)}, expected T x 3.")
        if not (np.isfinite(self.poses).all() and np.isfinite(self.translation).all()):
            raise MotionError("The motion holds numbers that are not finite.")
        if not (np.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise MotionError(f"The motion has {self.fps} frames a second; it must be between 0 and 1000.")
        if not (np.isfinite(self.leg_length) and self.leg_length > 0):
            raise MotionError("The motion's leg length must be a positive number.")

    def __len__(self) -> int:
        return len(self.poses)


def standing_height(rest_joints: np.ndarray) -> float:
    """Metres from the soles to the pelvis of a body that stands in its rest pose; ``rest_joints`` [24, 3] metres."""
    rest_joints = np.asarray(rest_joints, dtype=np.float64)
    return float(rest_joints[0, 1] - rest_joints[list(_FEET), 1].min()) * (1 + SOLE_SHARE)
