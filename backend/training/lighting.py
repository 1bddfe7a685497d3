"""Soft light for a figure: a sky with a gradient, a key lamp with a soft shadow, a faint fill, and film.

Shadows are found once per vertex from depth maps seen by parallel rays, and interpolated; they are soft by nature and
cost nothing per view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .figure import Figure, Surface
from .rasterizer import depth_maps

_SKY_DIRECTIONS = 40
_KEY_DIRECTIONS = 10
_SKY_SIZE, _KEY_SIZE = 112, 224
"""Pixels a side of the depth maps."""
_BIAS = 0.004
"""Metres in front of a surface at which an occluder still belongs to the surface itself."""
_LIFT = 0.004
"""Metres along its normal by which a vertex is lifted before it is tested."""
_INSIDE = 0.55
"""Share of the ambient light that reaches the inner side of cloth."""


@dataclass(frozen=True)
class Light:
    """Colours are linear light: a white surface facing a source of strength 1 would be exactly white.

    Attributes:
        top, bottom: [3] ambient colour from above and from below (the ground's reflection).
        key_direction: [3] unit, towards the lamp.
        key: [3] colour.
        softness: radians, half-angle of the lamp as seen from the figure.
        fill_direction, fill: [3] a second lamp without shadow; black means none.
        exposure: factor before the film clips.
    """

    top: torch.Tensor
    bottom: torch.Tensor
    key_direction: torch.Tensor
    key: torch.Tensor
    softness: float
    fill_direction: torch.Tensor
    fill: torch.Tensor
    exposure: float


@dataclass(frozen=True)
class BakedLight:
    """Light that does not depend on the view, per vertex.

    Attributes:
        ambient: [V, 3] what arrives from sky and ground, in the units of :class:`Light`.
        key_visibility: [V] share of the lamp that is seen, 0..1.
    """

    ambient: torch.Tensor
    key_visibility: torch.Tensor


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A near-white colour of luminance 1, between candle light and a blue sky, with a little green or magenta."""
    warm = rng.normal() * spread
    tint = np.exp(np.array([0.9 * warm, 0.12 * rng.normal() * spread, -1.1 * warm]))
    return tint / (tint @ [0.2126, 0.7152, 0.0722])


def _direction(azimuth: float, elevation: float) -> torch.Tensor:
    return torch.tensor(
        [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
    )


def sample_light(seed: int, device: torch.device | str = "cpu", facing: float = 0.0) -> Light:
    """A light as people are photographed in: mostly overcast or studio, sometimes hard sun, rarely from behind.

    Args:
        seed: decides everything.
        device: of the tensors.
        facing: degrees of azimuth of where the camera stands; lamps are placed about it.
    """
    rng = np.random.default_rng([seed, 0x11687])
    share = rng.beta(2.0, 2.2) * 0.75 + 0.08  # of the light that comes from the key
    behind = rng.random() < 0.12
    azimuth = math.radians(facing) + (math.pi if behind else 0.0) + rng.normal() * math.radians(48)
    elevation = math.radians(rng.uniform(18, 68))
    level = math.exp(rng.normal() * 0.17) * (1.12 if behind else 1.0)
    top = _tint(rng, 0.10) * (1 - share) * rng.uniform(0.95, 1.25)
    bottom = _tint(rng, 0.12) * (1 - share) * rng.uniform(0.3, 0.75) + 0.12 * share
    key = _tint(rng, 0.16) * share * rng.uniform(1.15, 1.5)
    fill = _tint(rng, 0.16) * (rng.uniform(0.05, 0.3) * share if rng.random() < 0.5 else 0.0)
    fill_azimuth = azimuth + rng.choice([-1.0, 1.0]) * math.radians(rng.uniform(70, 150))

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    return Light(
        top=tensor(top),
        bottom=tensor(bottom),
        key_direction=_direction(azimuth, elevation).to(device),
        key=tensor(key),
        softness=float(rng.uniform(0.04, 0.22)),
        fill_direction=_direction(fill_azimuth, math.radians(rng.uniform(0, 30))).to(device),
        fill=tensor(fill),
        exposure=1.18 * level,
    )


def _sphere(count: int) -> torch.Tensor:
    """[count, 3] directions spread evenly (a Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * angle.cos(), y, radius * angle.sin()], 1).float()


def _cone(direction: torch.Tensor, half_angle: float, count: int) -> torch.Tensor:
    """[count, 3] directions spread evenly over a cone about ``direction`` [3]."""
    index = torch.arange(count, dtype=torch.float32, device=direction.device) + 0.5
    radius = math.tan(half_angle) * (index / count).sqrt()
    angle = index * math.pi * (3 - math.sqrt(5))
    across, up = _frame(direction[None])
    out = direction + radius[:, None] * (angle.cos()[:, None] * across + angle.sin()[:, None] * up)
    return torch.nn.functional.normalize(out, dim=1)


def _frame(directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two unit axes [K, 3] that complete each of ``directions`` [K, 3]."""
    other = torch.zeros_like(directions)
    other[:, 1] = (directions[:, 1].abs() < 0.9).to(directions.dtype)
    other[:, 0] = 1 - other[:, 1]
    across = torch.nn.functional.normalize(torch.linalg.cross(other, directions), dim=1)
    return across, torch.linalg.cross(directions, across)


def visibility(figure: Figure, directions: torch.Tensor, size: int) -> torch.Tensor:
    """Whether each vertex sees out along each direction, 0..1: [K, V].

    Args:
        figure: what is in the way.
        directions: [K, 3] unit, towards the light.
        size: pixels a side of the depth maps.
    """
    vertices, normals = figure.vertices, figure.normals
    middle = (vertices.amin(0) + vertices.amax(0)) / 2
    placed = vertices - middle
    radius = placed.norm(dim=1).max()
    texel = 2 * radius / (size - 3)
    across, up = _frame(directions)
    # Seen along the light: x across, y down, z away from the lamp; seen from outside, turns keep their sense.
    axes = torch.stack([across, -up, -directions], 1)
    seen = placed @ axes.transpose(1, 2)
    screen = torch.cat([seen[..., :2] / texel + size / 2, seen[..., 2:] + 2 * radius], 2)
    maps = depth_maps(screen, figure.faces, (size, size), figure.two_sided)

    normal = normals @ axes.transpose(1, 2)
    # The tangent plane's depth per metre across; steep planes are held, they get no light anyway.
    slope = -(normal[..., :2] / normal[..., 2:].clamp(max=-0.2))
    lift = _LIFT + 0.35 * texel
    x, y, z = (screen + torch.cat([normal[..., :2] * lift / texel, normal[..., 2:] * lift], 2)).unbind(-1)
    column, row = (x - 0.5).floor(), (y - 0.5).floor()
    fraction_x, fraction_y = x - 0.5 - column, y - 0.5 - row
    flat = maps.reshape(len(directions), -1)
    total = torch.zeros_like(z)
    for down in (0, 1):
        for side in (0, 1):
            share = (fraction_x if side else 1 - fraction_x) * (fraction_y if down else 1 - fraction_y)
            at_x, at_y = (column + side).clamp(0, size - 1), (row + down).clamp(0, size - 1)
            expected = z + texel * (slope[..., 0] * (at_x + 0.5 - x) + slope[..., 1] * (at_y + 0.5 - y))
            found = flat.gather(1, (at_y * size + at_x).long())
            total += share * (found > expected - _BIAS)
    return total


def bake_light(figure: Figure, light: Light) -> BakedLight:
    """Ambient light with occlusion, and the key's soft shadow, at the figure's vertices.

    Ambient light is the cosine-weighted mean over directions of what is seen there: the sky's gradient above the
    horizon, the ground below it, darker where the figure stands on it.
    """
    sky = _sphere(_SKY_DIRECTIONS).to(figure.vertices.device)
    cosine = (sky @ figure.normals.T).clamp(min=0)
    open_ = visibility(figure, sky, _SKY_SIZE)
    height = 0.5 + 0.5 * sky[:, 1:2]
    radiance = light.bottom * (1 - height) + light.top * height
    weight = cosine / cosine.sum(0)
    above = sky[:, 1] > 0
    ambient = (weight[above] * open_[above]).T @ radiance[above]
    # The figure keeps light from the ground at its feet.
    lit = 0.45 + 0.55 * ((figure.vertices[:, 1:2] - figure.vertices[:, 1].min()) / 0.5).clamp(0, 1)
    ambient = ambient + ((weight[~above] * open_[~above]).T @ radiance[~above]) * lit
    # What is hidden from sky and ground is lit by its neighbours: cloth and skin are not black.
    hidden = 1 - (weight * open_).sum(0)
    ambient = ambient + 0.16 * hidden[:, None] * (light.top + light.bottom) / 2
    rays = _cone(light.key_direction, light.softness, _KEY_DIRECTIONS)
    return BakedLight(ambient, visibility(figure, rays, _KEY_SIZE).mean(0))


def _gather(values: torch.Tensor, corners: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """``values`` [V, C] at the corners int64 [n, 3], interpolated: [n, C]."""
    return torch.einsum("nkc,nk->nc", values[corners], barycentric)


@dataclass(frozen=True)
class _Points:
    surface: Surface
    normal: torch.Tensor
    ambient: torch.Tensor
    seen: torch.Tensor


def _points(
    figure: Figure,
    baked: BakedLight,
    face: torch.Tensor,
    barycentric: torch.Tensor,
    towards: torch.Tensor | None = None,
) -> _Points:
    corners = figure.faces[face]
    table = torch.cat([figure.normals, baked.ambient, baked.key_visibility[:, None]], 1)
    mixed = _gather(table, corners, barycentric)
    normal = torch.nn.functional.normalize(mixed[:, :3], dim=1)
    ambient = mixed[:, 3:6]
    if towards is not None:
        # Only a face may say that its back is seen: an interpolated normal leans away along every outline.
        a, b, c = (figure.vertices[corners[:, k]] for k in range(3))
        behind = (torch.linalg.cross(b - a, c - a) * towards).sum(1, keepdim=True) < 0
        normal = torch.where(behind, -normal, normal)
        ambient = torch.where(behind, ambient * _INSIDE, ambient)
    surface = figure.material(face, torch.einsum("nkc,nk->nc", figure.corners[face], barycentric))
    return _Points(surface, normal, ambient, mixed[:, 6:7])


def _diffuse(light: Light, points: _Points) -> torch.Tensor:
    key = (points.normal @ light.key_direction).clamp(min=0)[:, None] * points.seen
    fill = (points.normal @ light.fill_direction).clamp(min=0)[:, None]
    return points.surface.albedo * (points.ambient + key * light.key + fill * light.fill)


def _film(light: Light, radiance: torch.Tensor) -> torch.Tensor:
    """Exposure, a soft shoulder into white, and the sRGB curve (IEC 61966-2-1)."""
    x = radiance * light.exposure
    knee = 0.8
    x = torch.where(x > knee, knee + (1 - knee) * torch.tanh((x - knee) / (1 - knee)), x).clamp(min=0)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def shade(
    figure: Figure,
    light: Light,
    baked: BakedLight,
    face: torch.Tensor,
    barycentric: torch.Tensor,
    view_direction: torch.Tensor,
) -> torch.Tensor:
    """Display colours of surface points as a camera sees them.

    Args:
        figure, light, baked: see there.
        face: int64 [n].
        barycentric: [n, 3].
        view_direction: [n, 3] unit, from the points towards the camera.

    Returns:
        [n, 3] sRGB in 0..1.
    """
    points = _points(figure, baked, face, barycentric, view_direction)
    gloss = points.surface.gloss[:, None]
    # Blinn's highlight, sharper the glossier; at grazing angles surfaces mirror the sky (Schlick).
    half = torch.nn.functional.normalize(light.key_direction + view_direction, dim=1)
    shine = (points.normal * half).sum(1, keepdim=True).clamp(min=0) ** (10 + 60 * gloss)
    facing = (points.normal * view_direction).sum(1, keepdim=True).clamp(0, 1)
    lit = (points.normal @ light.key_direction > 0)[:, None] * points.seen
    graze = (1 - facing) ** 4
    glow = gloss * ((0.35 + 1.6 * gloss) * shine * lit * light.key + (0.06 + 0.5 * graze) * points.ambient)
    return _film(light, _diffuse(light, points) + glow)


def lit_colours(
    figure: Figure, light: Light, baked: BakedLight, face: torch.Tensor, barycentric: torch.Tensor
) -> torch.Tensor:
    """Display colours [n, 3] of surface points without what depends on the view; arguments as :func:`shade`."""
    return _film(light, _diffuse(light, _points(figure, baked, face, barycentric)))
