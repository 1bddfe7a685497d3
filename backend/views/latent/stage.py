"""What the latent transformer of the ``lite`` and ``full`` presets reads in photo, fitted body and views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ...body.fit import BodyFit
from ...body.model import BodyModel
from ...networks import describe, read_network
from ...photo import PreparedPhoto
from ...reconstruct.views import ViewedPerson
from ...rendering.triangles import vertex_normals
from .codec import LatentCodec
from .config import LatentConfig
from .inputs import network_input, shown
from .model import LatentInput, LatentTransformer, SplatMaps
from .views import SideViews, ViewCameras, spread_points

AZIMUTHS = (0.0, 90.0, 180.0, 270.0)
"""Degrees around the person's pelvis, counted from the photo to the person's left side."""
_CUT = 0.05
"""Share of the picture by which the body must go on beyond the matte for the photo to count as cut there."""
_RIM = 0.01
"""Share of the picture at the cut that is not the photo's any more."""
Step = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Orbit:
    """What is known of a person whose other views are wanted. The networks' world has the pelvis at its origin.

    Attributes:
        photo: of the stages before.
        cameras: V of them, the photo's first.
        vertices: [N, 3] of the fitted body in the networks' world.
        origin: [3] the pelvis in the photo camera's space, metres.
        unit: metres to one of the networks' world.
        rgb: [1, 3, S, S] the photo in 0..1 over white.
        alpha: [1, 1, S, S] its matte.
        codec: of the latents.
        size: pixels a side of the pictures that the latents are of.
    """

    photo: PreparedPhoto
    cameras: ViewCameras
    vertices: torch.Tensor
    origin: np.ndarray
    unit: float
    rgb: torch.Tensor
    alpha: torch.Tensor
    codec: LatentCodec
    size: int

    def small_photo(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``rgb`` and ``alpha`` with ``size`` pixels a side."""
        size = (self.size, self.size)
        return tuple(functional.interpolate(v, size=size, mode="area") for v in (self.rgb, self.alpha))

    def marked(self, places: np.ndarray) -> torch.Tensor:
        """The pixels that show ``places`` [n, 3] of the photo camera's space, bool [1, 1, S, S] beside
        :meth:`small_photo`."""
        pixels = float(self.cameras.focal[0]) * places[:, :2] / places[:, 2:] * self.size + self.size / 2
        column, row = pixels.astype(int).clip(0, self.size - 1).T
        out = torch.zeros(1, 1, self.size, self.size)
        out[0, 0, row, column] = 1
        return functional.max_pool2d(out, 3, 1, 1).to(self.rgb.device) > 0

    def matrices(self) -> np.ndarray:
        """The cameras [V, 4, 4], metres, from the photo camera's space."""
        matrices = self.cameras.world_to_camera.cpu().numpy().astype(np.float64)
        matrices[:, :3, 3] = matrices[:, :3, 3] * self.unit - matrices[:, :3, :3] @ self.origin
        return matrices


@dataclass(frozen=True, eq=False)
class ReadViews:
    """What the transformer was given, and what it said of it."""

    given: LatentInput
    maps: SplatMaps


def orbit_views(pelvis: np.ndarray, focal: float, azimuths: tuple[float, ...] = AZIMUTHS) -> ViewCameras:
    """Cameras around a person in a world with the pelvis at its origin, where the photo's picture is two units wide.

    Args:
        pelvis: [3] in the photo's camera, metres, OpenCV axes.
        focal: the photo's focal length in picture widths.
        azimuths: degrees; 0 is the photo's own camera.

    Returns:
        World axes are the photo's camera axes. The other cameras are the photo's, turned about the vertical that the
        middle of the photo shows at the pelvis' depth: a person whose pelvis is not there stays in the picture.
    """
    unit = float(pelvis[2]) / (2 * focal)
    axis = pelvis * [0, 1, 1]
    matrices = []
    for azimuth in np.radians(azimuths):
        # The camera goes to the person's left; seen from it, the world turns the other way about y (down).
        turn = np.array([[np.cos(azimuth), 0, -np.sin(azimuth)], [0, 1, 0], [np.sin(azimuth), 0, np.cos(azimuth)]])
        matrix = np.eye(4)
        matrix[:3, :3] = turn.T
        matrix[:3, 3] = (turn.T @ (pelvis - axis) + axis) / unit
        matrices.append(matrix)
    count = len(azimuths)
    return ViewCameras(
        torch.as_tensor(np.stack(matrices), dtype=torch.float32),
        torch.full((count,), float(focal)),
        torch.full((count, 2), 0.5),
    )


@torch.no_grad()
def completed(orbit: Orbit, own: SideViews) -> tuple[torch.Tensor, torch.Tensor]:
    """The photo [1, 3, S, S] over white and its matte [1, 1, S, S]; what it lacks below and above is from a view of it.

    A photo lacks what lies beyond the last row of the matte where the fitted body goes on.

    Args:
        orbit: see there.
        own: the photo's own view of the whole person.
    """
    size = orbit.rgb.shape[-1]
    rows = torch.nonzero((orbit.alpha[0, 0] > 0.5).any(1))[:, 0]
    body = orbit.cameras.project(orbit.vertices)[0, :, 1] * size
    missing = torch.zeros(size, dtype=torch.bool, device=orbit.rgb.device)
    if len(rows):
        rim = round(_RIM * size)
        if float(body.max()) > int(rows[-1]) + _CUT * size:
            missing[max(int(rows[-1]) - rim, 0) :] = True
        if float(body.min()) < int(rows[0]) - _CUT * size:
            missing[: int(rows[0]) + rim] = True
    if not missing.any():
        return orbit.rgb, orbit.alpha
    rgb, alpha = shown(own, orbit.codec, orbit.size)
    whole = torch.cat([rgb, alpha[:, None]], 1)
    whole = functional.interpolate(whole, size=(size, size), mode="bilinear", align_corners=False).clamp(0, 1)
    lacks = missing[:, None]
    return torch.where(lacks, whole[:, :3], orbit.rgb), torch.where(lacks, whole[:, 3:], orbit.alpha)


class LatentReconstructor:
    """Warm networks for one body.

    Args:
        config: sizes.
        weights: folder with ``reconstruction.safetensors`` and ``codec.safetensors``.
        body: the body that fits are of.
        device: where to compute.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_damaged``.
    """

    def __init__(self, config: LatentConfig, weights: Path, body: BodyModel, device: torch.device) -> None:
        self.config, self.body, self.device = config, body, device
        self.codec = read_network(LatentCodec(), weights / "codec.safetensors").to(device).eval()
        self.network = read_network(LatentTransformer(config), weights / "reconstruction.safetensors").to(device).eval()
        self.tokens = spread_points(body.template, config.body_tokens).to(device)
        self.described = describe(weights, "codec.safetensors", "reconstruction.safetensors")
        """What an avatar package says of the weights."""

    @torch.no_grad()
    def orbit(self, fit: BodyFit, photo: PreparedPhoto) -> Orbit:
        """The cameras of the other views, and all that helps to imagine them."""
        size, device = self.config.picture, self.device
        side = photo.rgb.shape[0]
        vertices, joints = self._posed(fit)
        pelvis = joints[0]
        unit = float(pelvis[2]) / (2 * fit.focal / side)
        cameras = orbit_views(pelvis, fit.focal / side)
        alpha = torch.as_tensor(photo.alpha, dtype=torch.float32, device=device)[None, None]
        rgb = torch.as_tensor(photo.rgb, dtype=torch.float32, device=device).permute(2, 0, 1)[None] / 255
        return Orbit(
            photo=photo,
            cameras=ViewCameras(*(v.to(device) for v in vars(cameras).values())),
            vertices=torch.as_tensor((vertices - pelvis) / unit, dtype=torch.float32).to(device),
            origin=pelvis,
            unit=unit,
            rgb=rgb * alpha + (1 - alpha),
            alpha=alpha,
            codec=self.codec,
            size=size,
        )

    def _posed(self, fit: BodyFit) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [N, 3] and joints [24, 3] in the photo camera's space."""
        vertices, joints = self.body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))
        return vertices.numpy() + fit.translation, joints.numpy() + fit.translation

    @torch.no_grad()
    def read(self, orbit: Orbit, views: SideViews) -> ReadViews:
        """What the transformer says of the photo and the other views.

        Args:
            orbit: from :meth:`orbit`.
            views: all of them; the first counts only where the photo ends before the person does.
        """
        faces = self.body.faces.to(self.device)
        normals = vertex_normals(orbit.vertices, faces)
        rgb, alpha = completed(orbit, views[:1])
        given = network_input(
            self.config, self.codec, orbit.cameras, orbit.vertices, normals, faces, self.tokens, rgb, alpha, views[1:]
        )
        return ReadViews(given, self.network(given, compare=not views.imagined))

    @torch.no_grad()
    def viewed(self, orbit: Orbit, read: ReadViews) -> ViewedPerson:
        """What the network says of the views, in the photo camera's space."""
        given, maps = read.given, read.maps
        coverage = functional.interpolate(given.alphas[:, None], size=maps.depth.shape[-2:], mode="area")[:, 0]
        return ViewedPerson(
            matrices=orbit.matrices(),
            focal=float(orbit.cameras.focal[0]),
            rgb=_array(self.network.colours(given, maps).permute(0, 2, 3, 1)),
            coverage=_array(coverage),
        )


def _array(values: torch.Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float64)
