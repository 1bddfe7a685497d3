"""From samples of the factory (or of scans) to what the reconstruction transformer takes and is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from ...body.model import BodyModel, load_body
from ...rendering.triangles import vertex_normals
from ...views.latent import LatentConfig, LatentInput, ViewCameras
from ...views.latent.codec import DiffusersCodec, LatentCodec
from ...views.latent.inputs import network_input
from ...views.latent.views import SideViews, spread_points, without_white
from .cameras import Camera
from .figure import TrueBody
from .samples import Sample

ORBIT = (0.0, 90.0, 180.0, 270.0)
"""Azimuths of the views that go in."""
_GROWN, _ASIDE, _BENT = 0.03, 0.015, 0.012
"""Spreads of a generated view's size, of its place and of what bends it, in shares and in half pictures."""
_TINT, _DETAIL = 0.04, 0.1
"""Spread of its tint, and the most of made-up folds and patterns, in shares of the colour."""
_FOLDS = (4, 10)
"""Pixels from fold to fold."""


@dataclass(frozen=True)
class Frame:
    """The network's world: the sample's, moved to the pelvis and divided by half a picture's width there.

    Attributes:
        origin: [3].
        unit: metres to one.
    """

    origin: torch.Tensor
    unit: float

    def points(self, world: torch.Tensor) -> torch.Tensor:
        """World points [N, 3] in the network's world."""
        return (world - self.origin) / self.unit

    def cameras(self, cameras: Camera) -> ViewCameras:
        """The sample's cameras in the network's world."""
        matrix = cameras.world_to_camera.clone()
        moved = torch.einsum("vij,j->vi", matrix[:, :3, :3], self.origin) + matrix[:, :3, 3]
        matrix[:, :3, 3] = moved / self.unit
        return ViewCameras(matrix, cameras.focal / cameras.size, cameras.centre / cameras.size)


def frame_of(body_pelvis: torch.Tensor, photo: Camera) -> Frame:
    """The frame of a body whose pelvis lies at ``body_pelvis`` [3] before the first of ``photo``'s cameras."""
    matrix = photo.world_to_camera[0]
    distance = float((matrix[2, :3] * body_pelvis).sum() + matrix[2, 3])
    return Frame(body_pelvis, distance * photo.size / (2 * float(photo.focal[0])))


def body_surface(
    body: BodyModel, state: TrueBody, scale: float, camera: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posed vertices [V, 3] and pelvis [3] of a body, scaled about ``camera`` [3]."""
    vertices, joints = body.pose(state.pose.to(body.template.dtype), state.betas.to(body.template.dtype))
    shift = state.translation.to(vertices)
    vertices, joints = (camera + scale * (v + shift - camera) for v in (vertices, joints))
    return vertices, joints[0]


def distort(pictures: torch.Tensor, rng: np.random.Generator, strength: float) -> torch.Tensor:
    """Pictures [V, 3, S, S] bent by a smooth random displacement: what synthesized views get wrong (after LGM)."""
    views, _, size, _ = pictures.shape
    knots = torch.as_tensor(rng.normal(size=(views, 2, 8, 8)) * strength, dtype=pictures.dtype, device=pictures.device)
    shift = functional.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = functional.affine_grid(torch.eye(2, 3).repeat(views, 1, 1).to(pictures), list(pictures.shape), False)
    return functional.grid_sample(pictures, identity + shift, padding_mode="border", align_corners=False)


@lru_cache(maxsize=8)
def _tokens(count: int, device: str) -> torch.Tensor:
    """The body vertices that become tokens; the shipped bodies share their triangles."""
    return spread_points(load_body("neutral").template, count).to(device)


def simulate_generator_errors(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Views with the faults that generators make: each a little larger or smaller and beside its place, limbs bent,
    tinted, and with folds and patterns that nobody wears.

    Args:
        pictures: [V, 4, S, S] colours over white and coverage.
        rng: chooses.
    """
    views, _, size, _ = pictures.shape

    def chance(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=pictures.dtype, device=pictures.device)

    grow, right, down = (chance(rng.normal(size=views) * spread) for spread in (_GROWN, _ASIDE, _ASIDE))
    matrix = pictures.new_zeros(views, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / (1 + grow)
    matrix[:, 0, 2], matrix[:, 1, 2] = right, down
    grid = functional.affine_grid(matrix, list(pictures.shape), False)
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    bent = distort(moved, rng, _BENT)
    rgb, alpha = bent[:, :3], bent[:, 3:]
    tint = chance(1 + _TINT * rng.normal(size=(views, 3, 1, 1)))
    # Folds darken and brighten; patterns, of other colours, are fainter.
    strength = chance(_DETAIL * rng.uniform(size=(views, 1, 1, 1)))
    detail = sum(_noise(views, 1, size, cell, rng) for cell in _FOLDS) + _noise(views, 3, size, _FOLDS[-1], rng) / 4
    shaded = rgb * tint * (1 + strength * detail.to(bent))
    return torch.cat([torch.where(alpha < 0.005, rgb, alpha * shaded.clamp(0, 1) + (1 - alpha) * rgb), alpha], 1)


def _noise(views: int, channels: int, size: int, cell: int, rng: np.random.Generator) -> torch.Tensor:
    """Smooth noise [V, channels, S, S] of unit spread at its knots, which are ``cell`` pixels apart."""
    knots = torch.as_tensor(rng.normal(size=(views, channels, size // cell + 2, size // cell + 2)))
    return functional.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)


def latent_input(
    sample: Sample,
    config: LatentConfig,
    codec: LatentCodec | DiffusersCodec,
    bodies: dict[str, BodyModel],
    rng: np.random.Generator | None = None,
    error: float = 1.0,
    others: SideViews | None = None,
) -> tuple[LatentInput, Frame]:
    """The network's input for a sample whose first ``config.views`` views are those that go in.

    Args:
        sample: of pictures of ``config.reference`` pixels or more.
        config: sizes.
        codec: makes the latents.
        bodies: by name, float32 on the sample's device.
        rng: where given, the other views are bent and their colours shifted, as synthesized ones are.
        error: how much of the estimate's error the body has: 0 is the true one, 1 the sample's estimate, where it has
            one; what lies between is like a fit to several views.
        others: the other views; None takes the true ones.
    """
    count = config.views
    cameras = sample.cameras[:count]
    if sample.estimate is None:
        error = 0.0
    elif sample.body is None:
        error = 1.0
    states = [(1 - error, sample.body, 1.0), (error, sample.estimate, sample.estimate_scale)]
    bent, pelvises = [], []
    for share, state, scale in states:
        if share == 0:
            continue
        if state is None:
            raise ValueError("the sample has no body")
        body = bodies[state.name]
        points, joint = body_surface(body, state, scale, cameras.positions()[0])
        bent.append(share * points)
        pelvises.append(share * joint)
    vertices, pelvis = sum(bent), sum(pelvises)
    normals = vertex_normals(vertices, body.faces)
    frame = frame_of(pelvis, cameras)
    seen = frame.cameras(cameras)
    device = vertices.device

    alpha = sample.photo_alpha[None, None]
    photo = sample.photo_rgb.permute(2, 0, 1)[None] * alpha + (1 - alpha)
    if others is None:
        size = (config.picture, config.picture)
        true = torch.cat([sample.views.rgb[1:count], sample.views.alpha[1:count, ..., None]], -1).permute(0, 3, 1, 2)
        seen_there = functional.interpolate(true, size=size, mode="area")
        if rng is not None:
            seen_there = simulate_generator_errors(seen_there, rng)
        rgb, covered = seen_there[:, :3], seen_there[:, 3:]
        with torch.no_grad():
            others = SideViews(codec.encode(rgb), torch.cat([without_white(rgb, covered), covered], 1))
    points = frame.points(vertices)
    tokens = _tokens(config.body_tokens, str(device))
    return network_input(config, codec, seen, points, normals, body.faces, tokens, photo, alpha, others), frame
