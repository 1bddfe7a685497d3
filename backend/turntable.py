"""Pictures of an avatar package from any side and in any pose, for ``python -m backend render``."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from .avatar import Avatar, AvatarFormatError, load_avatar, pose_gaussians, standing_translation
from .avatar.motion import MotionError
from .avatar.motion_files import read_motion
from .avatar.motion_library import library, make_motion
from .avatar.motion_tools import avatar_translation
from .errors import BackendError
from .rendering import render_splats

FIELD_OF_VIEW = 30.0
"""Degrees across the picture."""
_MARGIN = 1.06
_MAX_SIZE = 8192


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
        with np.load(pose, allow_pickle=False) as data:
            chosen = np.asarray(data["pose"], float).reshape(24, 3)
            translation = np.asarray(data["translation"], float).reshape(3) if "translation" in data else np.zeros(3)
        if not (np.isfinite(chosen).all() and np.isfinite(translation).all()):
            raise ValueError("it holds numbers that are not finite")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BackendError(
            "pose_unreadable",
            f"The pose {pose} cannot be read: {error}.",
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
    try:
        if motion in {entry.name for entry in library()}:
            found = make_motion(motion, avatar.rest_joints, avatar.parents)
        elif not Path(motion).suffix:
            raise MotionError(f"The library has no motion {motion}, and a file's name would end in .bvh or .npz.")
        else:
            found = read_motion(motion, avatar.rest_joints, avatar.parents)
        places = avatar_translation(found, avatar.rest_joints, standing_translation(avatar))
    except (OSError, MotionError) as error:
        names = ", ".join(entry.name for entry in library())
        raise BackendError(
            "motion_unreadable", str(error), f"Give a .bvh or .npz file, or a motion of the library: {names}."
        ) from error
    if not 0 <= frame < len(found):
        raise BackendError(
            "frame_out_of_range",
            f"The motion {found.name} has no frame {frame}.",
            f"Give a frame from 0 to {len(found) - 1}.",
        )
    return found.poses[frame], places[frame]


def orbit_camera(points: np.ndarray, azimuth: float, size: int) -> tuple[np.ndarray, float]:
    """A camera at the height of the points' middle that sees them all, whatever the azimuth.

    Args:
        points: [N, 3] metres, y up.
        azimuth: degrees about the vertical axis; 0 looks at the front (the camera stands at +z), 90 at the person's
            left side (+x).
        size: pixels a side.

    Returns:
        (world_to_camera [4, 4], OpenCV axes; focal length in pixels).
    """
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    radius = np.linalg.norm(points[:, [0, 2]] - centre[[0, 2]], axis=1).max()
    half = np.tan(np.radians(FIELD_OF_VIEW / 2))
    distance = radius + _MARGIN * max((high[1] - low[1]) / 2, radius) / half
    angle = np.radians(azimuth)
    backward = np.array([np.sin(angle), 0.0, np.cos(angle)])  # from the centre to the camera
    right = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = np.stack([right, (0.0, -1.0, 0.0), -backward])
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ (centre + distance * backward)
    return world_to_camera, size / 2 / half


def render_picture(
    avatar: Avatar,
    azimuth: float,
    pose: str | tuple[np.ndarray, np.ndarray],
    size: int,
    background: tuple[float, float, float] | None,
) -> np.ndarray:
    """One picture.

    Args:
        avatar: whose picture.
        azimuth: see :func:`orbit_camera`.
        pose: what :func:`choose_pose` takes, or what it and :func:`choose_frame` return.
        size: pixels a side.
        background: sRGB in 0..1; None leaves it transparent.

    Returns:
        uint8 [size, size, 4], alpha not premultiplied.

    Raises:
        BackendError: kinds ``pose_unreadable``, ``size_too_large``.
    """
    if size > _MAX_SIZE:
        raise BackendError("size_too_large", f"{size} pixels are too many.", f"Give a size up to {_MAX_SIZE}.")
    posed = pose_gaussians(avatar, *(choose_pose(avatar, pose) if isinstance(pose, str) else pose))
    world_to_camera, focal = orbit_camera(posed.position, azimuth, size)
    rgba = render_splats(
        posed,
        focal=focal,
        size=(size, size),
        world_to_camera=world_to_camera,
    )
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if background is None:
        rgb = rgb / np.maximum(alpha, 1e-6)
    else:
        rgb, alpha = rgb + (1 - alpha) * np.array(background), np.ones_like(alpha)
    return (np.concatenate([rgb, alpha], -1).clip(0, 1) * 255).round().astype(np.uint8)


def write_png(image: np.ndarray, path: Path) -> None:
    """Write a picture; nothing half-written is left behind.

    Raises:
        BackendError: kind ``output_not_writable``.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(temporary, "PNG")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BackendError(
            "output_not_writable", f"{path} cannot be written: {error.strerror or error}.", "Choose another file."
        ) from error
