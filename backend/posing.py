"""Avatar packages, poses and frames of motions by the names that people give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .avatar import Avatar, AvatarFormatError, load_avatar, standing_translation
from .avatar.archives import ArrayArchive
from .avatar.motion import Motion, MotionError
from .avatar.motion_files import read_motion
from .avatar.motion_library import library, make_motion, make_round
from .avatar.motion_tools import avatar_translation
from .avatar.plain_files import brief
from .errors import BackendError

_POSE_BYTES = 24 * 3 * 8
_FARTHEST = 1e4  # radians and metres


def read_avatar(folder: Path) -> Avatar:
    """Load an avatar package.

    Raises:
        BackendError: kind ``package_unreadable``.
    """
    try:
        return load_avatar(folder)
    except (OSError, AvatarFormatError) as error:
        raise BackendError("package_unreadable", str(error), "Give a folder that `reconstruct` wrote.") from error


def choose_pose(avatar: Avatar, pose: str) -> tuple[np.ndarray, np.ndarray]:
    """Pose and translation by name.

    Args:
        avatar: whose pose.
        pose: ``"photo"``, ``"rest"``, or the path of an ``.npz`` with ``pose`` [24, 3] axis-angle radians and,
            optionally, ``translation`` [3] metres.

    Returns:
        (pose [24, 3], translation [3]).

    Raises:
        BackendError: kind ``pose_unreadable``.
    """
    if pose == "photo":
        return np.asarray(avatar.pose), np.asarray(avatar.translation)
    if pose == "rest":
        return np.zeros((24, 3)), np.zeros(3)
    try:
        with ArrayArchive(Path(pose), ("pose", "translation")) as data:
            if any(header.nbytes > _POSE_BYTES for header in data.headers.values()):
                raise ValueError("it holds more than one pose")
            if "pose" not in data.headers:
                raise ValueError("it has no array 'pose'")
            chosen = data.read("pose").astype(float).reshape(24, 3)
            translation = np.zeros(3)
            if "translation" in data.headers:
                translation = data.read("translation").astype(float).reshape(3)
        if not (np.isfinite(chosen).all() and np.isfinite(translation).all()):
            raise ValueError("it holds numbers that are not finite")
        if max(np.abs(chosen).max(), np.abs(translation).max()) > _FARTHEST:
            raise ValueError("it holds angles or places beyond all measure; it needs radians and metres")
    except (OSError, ValueError) as error:
        raise BackendError(
            "pose_unreadable",
            f"The pose {pose} cannot be read: {brief(getattr(error, 'strerror', None) or error)}.",
            "Give photo, rest, or an .npz file with an array 'pose' of shape [24, 3].",
        ) from error
    return chosen, translation


def choose_frame(avatar: Avatar, motion: str, frame: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pose and translation of one frame of a motion.

    Args:
        avatar: whose pose.
        motion: a ``.bvh`` or ``.npz`` file, or the name of a motion or pose of the library.
        frame: of the motion, counted from 0.

    Returns:
        (pose [24, 3], translation [3]).

    Raises:
        BackendError: kinds ``motion_unreadable``, ``frame_out_of_range``.
    """
    found = choose_motion(avatar, motion)
    try:
        places = avatar_translation(found, avatar.rest_joints, standing_translation(avatar))
    except MotionError as error:
        raise BackendError("motion_unreadable", str(error), "Choose another motion.") from error
    if not 0 <= frame < len(found):
        raise BackendError(
            "frame_out_of_range",
            f"The motion {found.name} has no frame {frame}.",
            f"Give a frame from 0 to {len(found) - 1}.",
        )
    return found.poses[frame], places[frame]


def choose_motion(avatar: Avatar, motion: str, whole_round: bool = False) -> Motion:
    """A motion by name.

    Args:
        avatar: for whom.
        motion: a ``.bvh`` or ``.npz`` file, or the name of a motion or pose of the library.
        whole_round: motions of the library that loop end with their first frame again.

    Raises:
        BackendError: kind ``motion_unreadable``.
    """
    try:
        if motion in {entry.name for entry in library()}:
            make = make_round if whole_round else make_motion
            return make(motion, avatar.rest_joints, avatar.parents)
        if not Path(motion).suffix:
            raise MotionError(f"The library has no motion {motion}, and a file's name would end in .bvh or .npz.")
        return read_motion(motion, avatar.rest_joints, avatar.parents)
    except (OSError, MotionError) as error:
        names = ", ".join(entry.name for entry in library())
        raise BackendError(
            "motion_unreadable", str(error), f"Give a .bvh or .npz file, or a motion of the library: {names}."
        ) from error
