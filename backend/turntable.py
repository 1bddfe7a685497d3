"""Pictures of an avatar package from any side and in any pose, for ``python -m backend render``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from .avatar import Avatar, Gaussians, pose_gaussians
from .avatar.whole import whole_file
from .errors import BackendError
from .posing import choose_pose
from .rendering import render_splats

FIELD_OF_VIEW = 30.0
"""Degrees across the picture."""
_MARGIN = 1.06
_MAX_SIZE = 8192


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
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """One picture.

    Args:
        avatar: whose picture.
        azimuth: see :func:`orbit_camera`.
        pose: what ``posing.choose_pose`` takes, or what it and ``posing.choose_frame`` return.
        size: pixels a side.
        background: sRGB in 0..1; None leaves it transparent.
        tell: hears now and then which share is done; may raise to stop.

    Returns:
        uint8 [size, size, 4], alpha not premultiplied.

    Raises:
        BackendError: kinds ``pose_unreadable``, ``size_too_large``.
    """
    if size > _MAX_SIZE:
        raise BackendError("size_too_large", f"{size} pixels are too many.", f"Give a size up to {_MAX_SIZE}.")
    posed = pose_gaussians(avatar, *(choose_pose(avatar, pose) if isinstance(pose, str) else pose))
    return draw_picture(posed, *orbit_camera(posed.position, azimuth, size), size, background, tell)


def draw_picture(
    posed: Gaussians,
    world_to_camera: np.ndarray,
    focal: float,
    size: int,
    background: tuple[float, float, float] | None,
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """:func:`render_picture` of splats that are posed already, with a camera of :func:`orbit_camera`."""
    rgba = render_splats(
        posed,
        focal=focal,
        size=(size, size),
        world_to_camera=world_to_camera,
        tell=tell,
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a plain file")  # a device would be replaced
        with whole_file(path) as temporary:
            Image.fromarray(image).save(temporary, "PNG")
    except (OSError, ValueError) as error:
        raise BackendError(
            "output_not_writable",
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.",
            "Choose another file.",
        ) from error
