"""Soft light for a figure: a sky with a gradient, a key lamp with a soft shadow, a faint fill, and film.

Shadows are found once per vertex from depth maps seen by parallel rays, and interpolated; they are soft by nature and
cost nothing per view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ...rendering.triangles import depth_maps, interpolate
from .figure import Figure, Surface

_SKY_DIRECTIONS, _GROUND_DIRECTIONS, _KEY_DIRECTIONS = 22, 10, 8
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
    share = rng.beta(2.2, 1.9) * 0.8 + 0.08  # of the light that comes from the key
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
        exposure=1.14 * level,
    )


def sphere(count: int) -> torch.Tensor:
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
    vertices = figure.vertices
    placed = vertices - (vertices.amin(0) + vertices.amax(0)) / 2
    radius = placed.norm(dim=1).max()
    texel = 2 * radius / (size - 3)
    lift = _LIFT + 0.35 * texel
    columns, normals = placed.T.contiguous(), figure.normals.T.contiguous()
    step = len(directions) if vertices.device.type == "cuda" else 1
    out = []
    for part in directions.split(step):
        across, up = _frame(part)
        # Seen along the light: x across, y down, z away from the lamp, all positive.
        x, y, z = (across @ columns) / texel + size / 2, (up @ columns) / -texel + size / 2, 2 * radius - part @ columns
        flat = depth_maps(x, y, z, figure.faces, (size, size), figure.two_sided).reshape(len(part), -1)
        normal_x, normal_y, normal_z = across @ normals, -(up @ normals), -(part @ normals)
        # The tangent plane's depth per texel across; steep planes are held, they get no light anyway.
        steep = texel / normal_z.clamp(max=-0.2)
        slope_x, slope_y = -normal_x * steep, -normal_y * steep
        x, y, z = x + normal_x * (lift / texel) - 0.5, y + normal_y * (lift / texel) - 0.5, z + normal_z * lift - _BIAS
        column, row = x.floor().clamp_(0, size - 2), y.floor().clamp_(0, size - 2)
        x, y = x - column, y - row
        first = (row * size + column).long()
        near = z - slope_x * x - slope_y * y
        total = torch.zeros_like(z)
        for offset, share, plane in (
            (0, (1 - x) * (1 - y), near),
            (1, x * (1 - y), near + slope_x),
            (size, (1 - x) * y, near + slope_y),
            (size + 1, x * y, near + slope_x + slope_y),
        ):
            total += share * (flat.gather(1, first + offset) > plane)
        out.append(total)
    return torch.cat(out)


def bake_light(figure: Figure, light: Light) -> BakedLight:
    """Ambient light with occlusion, and the key's soft shadow, at the figure's vertices.

    Ambient light is the cosine-weighted mean over directions of what is seen there: the sky's gradient above the
    horizon, the ground below it, darker where the figure stands on it.
    """
    sky, ground = sphere(2 * _SKY_DIRECTIONS)[:_SKY_DIRECTIONS], sphere(2 * _GROUND_DIRECTIONS)[_GROUND_DIRECTIONS:]
    around = torch.cat([sky, ground]).to(figure.vertices.device)
    weight = (around @ figure.normals.T).clamp(min=0)
    weight[_SKY_DIRECTIONS:] *= _SKY_DIRECTIONS / _GROUND_DIRECTIONS
    weight = weight / weight.sum(0)
    height = 0.5 + 0.5 * around[:, 1:2]
    radiance = light.bottom * (1 - height) + light.top * height
    seen = weight * visibility(figure, around, _SKY_SIZE)
    ambient = seen[:_SKY_DIRECTIONS].T @ radiance[:_SKY_DIRECTIONS]
    # The figure keeps light from the ground at its feet.
    lit = 0.45 + 0.55 * ((figure.vertices[:, 1:2] - figure.vertices[:, 1].min()) / 0.5).clamp(0, 1)
    ambient = ambient + (seen[_SKY_DIRECTIONS:].T @ radiance[_SKY_DIRECTIONS:]) * lit
    # What is hidden from sky and ground is lit by its neighbours: cloth and skin are not black.
    hidden = 1 - seen.sum(0)
    ambient = ambient + 0.12 * hidden[:, None] * (light.top + light.bottom) / 2
    rays = _cone(light.key_direction, light.softness, _KEY_DIRECTIONS)
    return BakedLight(ambient, visibility(figure, rays, _KEY_SIZE).mean(0))


@dataclass(frozen=True)
class _Points:
    """What light needs to know of n surface points: surface, unit normal [n, 3], ambient light [n, 3], lamp [n, 1]."""

    surface: Surface
    normal: torch.Tensor
    ambient: torch.Tensor
    seen: torch.Tensor


def _points(
    figure: Figure,
    baked: BakedLight,
    face: torch.Tensor,
    barycentric: torch.Tensor,
    behind: torch.Tensor | None = None,
) -> _Points:
    corners = torch.stack([figure.faces[:, k].index_select(0, face) for k in range(3)])
    table = torch.cat([figure.normals, baked.ambient, baked.key_visibility[:, None]], 1)
    mixed = interpolate(table, corners, barycentric)
    normal, ambient = mixed[:, :3], mixed[:, 3:6]
    normal = normal / (normal * normal).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    if behind is not None:
        normal = torch.where(behind[:, None], -normal, normal)
        ambient = torch.where(behind[:, None], ambient * _INSIDE, ambient)
    values = figure.corners.index_select(0, face)
    mixed_values = values[:, 0] * barycentric[:, :1]
    for k in (1, 2):
        mixed_values.addcmul_(values[:, k], barycentric[:, k : k + 1])
    return _Points(figure.material(face, mixed_values), normal, ambient, mixed[:, 6:7])


def _behind(figure: Figure, face: torch.Tensor, view_direction: torch.Tensor) -> torch.Tensor:
    """bool [n]: only a face may say that its back is seen; an interpolated normal leans away along every outline."""
    a, b, c = (figure.vertices[figure.faces[face, k]] for k in range(3))
    return (torch.linalg.cross(b - a, c - a) * view_direction).sum(1) < 0


def _diffuse(light: Light, points: _Points) -> torch.Tensor:
    key = (points.normal @ light.key_direction).clamp(min=0)[:, None] * points.seen
    fill = (points.normal @ light.fill_direction).clamp(min=0)[:, None]
    return points.surface.albedo * (points.ambient + key * light.key + fill * light.fill)


def _film(light: Light, radiance: torch.Tensor) -> torch.Tensor:
    """Exposure, a soft shoulder into white, and the sRGB curve (IEC 61966-2-1).

    Powers go by way of the logarithm: the bytes of ``pow`` depend on how many threads share the work.
    """
    x = radiance * light.exposure
    knee = 0.8
    x = torch.where(x > knee, knee + (1 - knee) * torch.tanh((x - knee) / (1 - knee)), x).clamp(min=0)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * (x.clamp(min=0.0031308).log() / 2.4).exp() - 0.055)


def shade(
    figure: Figure,
    light: Light,
    baked: BakedLight,
    face: torch.Tensor,
    barycentric: torch.Tensor,
    view_direction: torch.Tensor,
    behind: torch.Tensor | None = None,
) -> torch.Tensor:
    """Display colours of surface points as a camera sees them.

    Args:
        figure, light, baked: see there.
        face: int64 [n].
        barycentric: [n, 3].
        view_direction: [n, 3] unit, from the points towards the camera.
        behind: bool [n], whether the face shows its back, if that is known.

    Returns:
        [n, 3] sRGB in 0..1.
    """
    behind = _behind(figure, face, view_direction) if behind is None else behind
    points = _points(figure, baked, face, barycentric, behind)
    gloss = points.surface.gloss[:, None]
    # Blinn's highlight, sharper the glossier; at grazing angles surfaces mirror the sky (Schlick).
    half = torch.nn.functional.normalize(light.key_direction + view_direction, dim=1)
    shine = ((points.normal * half).sum(1, keepdim=True).clamp(min=1e-3).log() * (10 + 60 * gloss)).exp()
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
