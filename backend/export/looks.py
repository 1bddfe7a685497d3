"""What an avatar's splats look like: from all sides at rest, and in the photo's view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..avatar.gaussians import Gaussians
from ..avatar.package import Avatar
from ..avatar.skinning import joint_transforms, pose_gaussians, skin_vertices
from ..rendering import CameraTensors, GaussianTensors, render
from ..rendering.types import DILATION

AZIMUTHS = (0, 45, 90, 135, 180, 225, 270, 315)
"""Degrees. Whatever way a piece of surface faces, from one of the sides it is seen edge-on."""
SIZE = 768
"""Pixels a side of the pictures from all sides."""
PHOTO_SAY = 4.0
"""How much more the photo's view counts than another: it is the one that is known."""
_DISTANCE = 20.0  # metres
_MARGIN = 0.02  # metres around the splats
_STRAY = 0.001  # of the splats may lie further out than the picture shows ...
_BEYOND = 0.4  # ... by more than so many metres
_PHOTO_PIXEL = 0.0019  # metres on a person who fills a prepared photo of 1024 pixels


@dataclass(frozen=True, eq=False)
class Look:
    """A picture of the splats.

    Attributes:
        rgb: float32 [H, W, 3] display sRGB, not premultiplied.
        alpha: float32 [H, W].
        world_to_camera: float64 [4, 4], OpenCV axes.
        intrinsics: float64 [4] fx, fy, cx, cy, pixels.
        blur: square pixels added to the splats' variance along both image axes.
        transforms: [J, 4, 4] skinning matrices and the translation after them, or None at rest.
        say: how much it counts.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    world_to_camera: np.ndarray
    intrinsics: np.ndarray
    blur: float
    transforms: np.ndarray | None
    say: float

    def local(self, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Vertices [V, 3] at rest in this look's camera space, moved by their weights [V, J] as engines do."""
        if self.transforms is not None:
            vertices = skin_vertices(vertices, weights, self.transforms)
        return vertices @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]

    def pixels(self, local: np.ndarray) -> np.ndarray:
        """x, y [n, 2] in pixels of places [n, 3] in camera space."""
        return local[:, :2] / local[:, 2:] * self.intrinsics[:2] + self.intrinsics[2:]


def looks(avatar: Avatar, step: Callable[[float], None] = lambda share: None) -> list[Look]:
    """All looks of an avatar.

    Args:
        avatar: at rest in its own space.
        step: told which share is done, 0..1; may raise to stop.
    """
    photo = _photo(avatar)
    step(1 / (len(AZIMUTHS) + 1))
    return [photo, *sides(avatar.gaussians, lambda share: step((1 + len(AZIMUTHS) * share) / (len(AZIMUTHS) + 1)))]


def sides(gaussians: Gaussians, step: Callable[[float], None] = lambda share: None) -> list[Look]:
    """Splats that stand upright, y up, seen level from the azimuths."""
    found = []
    places = gaussians.position[np.isfinite(gaussians.position).all(1)].astype(np.float64)
    # Single splats that lie far off would make the person small.
    low, high = np.quantile(places, [_STRAY, 1 - _STRAY], axis=0)
    places = places.clip(low - _BEYOND, high + _BEYOND)
    centre = (places.min(0) + places.max(0)) / 2
    radius = float(np.linalg.norm(places - centre, axis=1).max()) + _MARGIN
    focal = SIZE / 2 / radius * _DISTANCE
    blur = DILATION * (_PHOTO_PIXEL / (_DISTANCE / focal)) ** 2
    for azimuth in AZIMUTHS:
        step(len(found) / len(AZIMUTHS))
        turn = np.radians(azimuth)
        back = np.array([np.sin(turn), 0.0, np.cos(turn)])
        camera = np.eye(4)
        camera[:3, :3] = np.stack([[np.cos(turn), 0.0, -np.sin(turn)], [0.0, -1.0, 0.0], -back])
        camera[:3, 3] = -camera[:3, :3] @ (centre + _DISTANCE * back)
        intrinsics = np.array([focal, focal, SIZE / 2, SIZE / 2])
        found.append(_look(gaussians, camera, intrinsics, (SIZE, SIZE), blur, None, 1.0))
    step(1.0)
    return found


def _photo(avatar: Avatar) -> Look:
    transforms = joint_transforms(np.asarray(avatar.pose, np.float64), avatar.rest_joints, avatar.parents)
    transforms[:, :3, 3] += avatar.translation
    camera = avatar.camera
    return _look(
        pose_gaussians(avatar, avatar.pose),
        np.asarray(camera.world_to_camera, np.float64),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        (camera.height, camera.width),
        DILATION,
        transforms,
        PHOTO_SAY,
    )


def _look(
    gaussians: Gaussians,
    camera: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    blur: float,
    transforms: np.ndarray | None,
    say: float,
) -> Look:
    matrix, numbers = (torch.as_tensor(array, dtype=torch.float32) for array in (camera, intrinsics))
    with torch.no_grad():
        picture = render(GaussianTensors.from_gaussians(gaussians), CameraTensors(matrix, numbers, *size[::-1], blur))
    alpha = picture.alpha.numpy()
    rgb = picture.rgb.numpy() / np.maximum(alpha, 1e-6)[..., None]
    return Look(rgb, alpha, camera, intrinsics, blur, transforms, say)
