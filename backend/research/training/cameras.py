"""Pinhole cameras around a figure, as the networks see it: OpenCV axes, square pictures, pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .figure import Figure

FIELD_OF_VIEW = 39.6
"""Degrees across the picture, as the prepare stage assumes of a crop that holds the whole body."""
MARGIN = 0.06
"""Of the person's longer side, left free on each side of the picture, as the prepare stage leaves it."""


@dataclass(frozen=True)
class Camera:
    """B cameras.

    Attributes:
        world_to_camera: float32 [B, 4, 4]; camera axes x right, y down, z forward; metres.
        focal: float32 [B] pixels.
        centre: float32 [B, 2] principal points, pixels; a picture's left upper corner is (0, 0).
        size: pixels a side.
    """

    world_to_camera: torch.Tensor
    focal: torch.Tensor
    centre: torch.Tensor
    size: int

    def __len__(self) -> int:
        return len(self.focal)

    def __getitem__(self, index: slice) -> Camera:
        return Camera(self.world_to_camera[index], self.focal[index], self.centre[index], self.size)

    def to(self, device: torch.device | str) -> Camera:
        """The same cameras on another device."""
        return replace(
            self,
            world_to_camera=self.world_to_camera.to(device),
            focal=self.focal.to(device),
            centre=self.centre.to(device),
        )

    def resized(self, size: int) -> Camera:
        """The same cameras with pictures of ``size`` pixels a side."""
        scale = size / self.size
        return replace(self, focal=self.focal * scale, centre=self.centre * scale, size=size)

    def positions(self) -> torch.Tensor:
        """Where the cameras stand in the world: [B, 3]."""
        rotation, shift = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        return -(rotation.transpose(1, 2) @ shift[..., None])[..., 0]

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Pixels and depth [B, N, 3] of world ``points`` [N, 3]."""
        seen = points @ self.world_to_camera[:, :3, :3].transpose(1, 2) + self.world_to_camera[:, None, :3, 3]
        pixels = seen[..., :2] * (self.focal[:, None, None] / seen[..., 2:]) + self.centre[:, None]
        return torch.cat([pixels, seen[..., 2:]], -1)


def join(cameras: Sequence[Camera]) -> Camera:
    """One batch from several of the same picture size."""
    return Camera(
        torch.cat([c.world_to_camera for c in cameras]),
        torch.cat([c.focal for c in cameras]),
        torch.cat([c.centre for c in cameras]),
        cameras[0].size,
    )


def orbit(
    azimuths: torch.Tensor | Sequence[float],
    elevation: torch.Tensor | float,
    target: torch.Tensor | Sequence[float],
    distance: float,
    size: int,
    field_of_view: float = FIELD_OF_VIEW,
) -> Camera:
    """Cameras on a sphere that look at its centre, upright.

    Args:
        azimuths: [B] degrees about the vertical axis; 0 stands at +z of the target (before a person who faces +z),
            90 at +x, the person's left.
        elevation: degrees above the horizon, one or [B].
        target: [3] metres.
        distance: metres from the target.
        size: pixels a side.
        field_of_view: degrees across the picture.
    """
    azimuth = torch.as_tensor(azimuths, dtype=torch.float64).deg2rad()
    height = torch.as_tensor(elevation, dtype=torch.float64).deg2rad().expand_as(azimuth)
    centre = torch.as_tensor(target, dtype=torch.float64).cpu()
    zero = torch.zeros_like(azimuth)
    backward = torch.stack([azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos()], 1)
    right = torch.stack([azimuth.cos(), zero, -azimuth.sin()], 1)
    down = torch.linalg.cross(right, backward)
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(azimuth), 1, 1)
    matrix[:, :3, :3] = torch.stack([right, down, -backward], 1)
    matrix[:, :3, 3] = -(matrix[:, :3, :3] @ (centre + distance * backward)[..., None])[..., 0]
    focal = size / 2 / math.tan(math.radians(field_of_view) / 2)
    batch = len(azimuth)
    return Camera(
        matrix.float(), torch.full((batch,), focal), torch.full((batch, 2), size / 2, dtype=torch.float32), size
    )


def frame(
    points: torch.Tensor,
    azimuth: float,
    elevation: float,
    field_of_view: float = FIELD_OF_VIEW,
    pivot: torch.Tensor | None = None,
) -> tuple[torch.Tensor, float]:
    """Where :func:`orbit`'s target and distance must be for ``points`` to fill the picture as a prepared photo does.

    The prepare stage crops a square around the person's outline with :data:`MARGIN` of its longer side left free on
    each side, the outline's middle at the crop's centre.

    Args:
        points: [N, 3] metres.
        azimuth, elevation: degrees, see :func:`orbit`.
        field_of_view: degrees across the picture.
        pivot: [3], the point as deep in the picture as which the target shall lie, so that an orbit about the target
            turns the figure about this point; None is the points' mean.

    Returns:
        (target float32 [3], distance in metres), on the CPU.
    """
    points = points.double().cpu()
    target = (points.amin(0) + points.amax(0)) / 2
    distance = 3.0
    half = math.tan(math.radians(field_of_view) / 2)
    for _ in range(12):
        camera = orbit([azimuth], elevation, target, distance, 2, field_of_view)
        axes = camera.world_to_camera[0, :3, :3].double()
        seen = (points - target) @ axes.T
        seen[:, 2] += distance
        plane = seen[:, :2] / seen[:, 2:]
        low, high = plane.amin(0), plane.amax(0)
        target = target + ((low + high) / 2 * distance) @ axes[:2]
        wanted = 2 * half / (1 + 2 * MARGIN)
        distance = distance * float((high - low).max()) / wanted
    forward = axes[2]
    slide = float(((points.mean(0) if pivot is None else pivot.double().cpu()) - target) @ forward)
    return (target + slide * forward).float(), distance + slide


def frame_figure(
    figure: Figure, azimuth: float, elevation: float, field_of_view: float = FIELD_OF_VIEW
) -> tuple[torch.Tensor, float]:
    """:func:`frame` of a figure, to be seen from around its pelvis, or its middle where it has no body."""
    pivot = None if figure.body is None else figure.body.joints[0]
    return frame(figure.vertices, azimuth, elevation, field_of_view, pivot)
