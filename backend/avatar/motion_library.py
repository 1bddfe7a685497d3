"""Motions and poses that the project makes itself, for the skeleton of any person. numpy and the standard library only.

Motions are curves over time (``motion_clips.py``), poses are numbers (``motion_poses.py``), for one rig
(``motion_rig.py``). Their lengths are parts of the person's leg length, so that steps fit children and adults. The same
arguments always give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .motion import Motion, MotionError, standing_height
from .motion_clips import CLIPS, FPS
from .motion_poses import POSES, Pose
from .motion_rig import solve


@dataclass(frozen=True)
class LibraryEntry:
    """What the library offers.

    Attributes:
        name: for :func:`make_motion`.
        label, description: for the user.
        loops: the frame after the last is the first again (after the distance travelled, for walk and run). Still poses
            do not loop: they have one frame.
    """

    name: str
    label: str
    description: str
    loops: bool


def library() -> tuple[LibraryEntry, ...]:
    """All motions, then all still poses."""
    clips = tuple(LibraryEntry(clip.name, clip.label, clip.description, clip.loops) for clip in CLIPS)
    return clips + tuple(LibraryEntry(pose.name, pose.label, pose.description, False) for pose in POSES)


def make_motion(name: str, rest_joints: np.ndarray, parents: Sequence[int], in_place: bool = False) -> Motion:
    """A motion of the library for one person.

    Args:
        name: of a :class:`LibraryEntry`.
        rest_joints: [24, 3] metres, the person's T-pose.
        parents: 24 parent indices, -1 for the pelvis.
        in_place: walk and run stay where they are, as on a treadmill. Other motions do not change.

    Raises:
        MotionError: there is no such motion, or the joints cannot be used.
    """
    rest_joints = np.asarray(rest_joints, dtype=np.float64)
    if rest_joints.shape != (24, 3) or len(parents) != 24 or not np.isfinite(rest_joints).all():
        raise MotionError("The library needs the 24 rest joints of a person and their parents.")
    leg_length = standing_height(rest_joints)
    if not leg_length > 0:
        raise MotionError("The person's feet must be below the pelvis in the rest pose.")
    for pose in POSES:
        if pose.name == name:
            return _make_pose(pose, rest_joints, parents, leg_length)
    for clip in CLIPS:
        if clip.name == name:
            channels = clip.make(clip.frames)
            poses, translation = solve(channels, rest_joints, parents, clip.hands, loops=clip.loops)
            if in_place:
                translation[:, 2] -= np.arange(clip.frames) / clip.frames * clip.travel * leg_length
            return Motion(poses, translation, FPS, leg_length, clip.label)
    names = ", ".join(entry.name for entry in library())
    raise MotionError(f'The library has no motion "{name}". It has: {names}.')


def make_round(name: str, rest_joints: np.ndarray, parents: Sequence[int]) -> Motion:
    """A motion of the library, which ends as it began where it loops: its first frame comes again as the last.

    Walk and run have moved on by then as far as one round carries them.
    """
    motion = make_motion(name, rest_joints, parents)
    if not next(entry.loops for entry in library() if entry.name == name) or len(motion) < 2:
        return motion
    still = make_motion(name, rest_joints, parents, in_place=True)
    travel = (motion.translation - still.translation)[-1] * (len(motion) / (len(motion) - 1))
    return replace(
        motion,
        poses=np.concatenate([motion.poses, motion.poses[:1]]),
        translation=np.concatenate([motion.translation, motion.translation[:1] + travel]),
    )


def _make_pose(pose: Pose, rest_joints: np.ndarray, parents: Sequence[int], leg_length: float) -> Motion:
    poses, translation = solve(pose.channels, rest_joints, parents, pose.hands)
    if pose.rest_legs:
        arms = [i for i in range(24) if i in (13, 14) or i >= 16]
        poses[:, [i for i in range(24) if i not in arms]] = 0
        translation[:] = 0
    return Motion(poses, translation, FPS, leg_length, pose.label)
