"""Pictures of figures: colour, alpha, depth, normal and body-part label from many cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from ...rendering.triangles import interpolate, rasterize
from .cameras import Camera
from .figure import Figure
from .lighting import BakedLight, Light, bake_light, shade


@dataclass(frozen=True)
class Views:
    """B pictures of S pixels a side, one device.

    Attributes:
        rgb: float32 [B, S, S, 3] display sRGB in 0..1, over the background (white unless another was given).
        alpha: float32 [B, S, S] coverage.
        depth: float32 [B, S, S] metres along the camera's axis, infinite where nothing is seen.
        normal: float32 [B, S, S, 3] unit, world space, towards the camera; zero where nothing is seen.
        label: uint8 [B, S, S], numbers of ``figure.PART_NAMES``.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    normal: torch.Tensor
    label: torch.Tensor

    def __len__(self) -> int:
        return len(self.alpha)

    def __getitem__(self, index: slice) -> Views:
        return Views(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Views:
        """The same pictures on another device."""
        return Views(*(getattr(self, f.name).to(device) for f in fields(self)))

    def halved(self) -> Views:
        """Pictures of half the size: colour and alpha are means, the rest is of the sample nearest to the middle."""
        batch, size = self.alpha.shape[:2]
        folded = (batch, size // 2, 2, size // 2, 2)
        return Views(
            self.rgb.reshape(*folded, 3).mean((2, 4)),
            self.alpha.reshape(folded).mean((2, 4)),
            *(getattr(self, name)[:, 1::2, 1::2].contiguous() for name in ("depth", "normal", "label")),
        )


def render_views(
    figures: Sequence[Figure],
    lights: Sequence[Light],
    cameras: Sequence[Camera],
    size: int,
    supersample: int = 2,
    background: torch.Tensor | Sequence[float] | None = None,
    baked: Sequence[BakedLight] | None = None,
) -> Views:
    """Render each figure from each of its cameras.

    Args:
        figures: N of them.
        lights: one a figure.
        cameras: a batch a figure; they are scaled to ``size``.
        size: pixels a side.
        supersample: colour and alpha are the mean of this many samples squared; depth, normal and label are those of
            the sample nearest to the pixel's middle.
        background: [3] or [B, S, S, 3] sRGB; None is white.
        baked: light already baked, one a figure; None bakes it here.

    Returns:
        All views, the first figure's first.
    """
    parts = []
    for index, (figure, light, camera) in enumerate(zip(figures, lights, cameras)):
        light_on = bake_light(figure, light) if baked is None else baked[index]
        parts.append(_render(figure, light, light_on, camera.to(figure.vertices.device), size, supersample))
    views = parts[0] if len(parts) == 1 else Views(*(torch.cat(v) for v in zip(*(_values(p) for p in parts))))
    behind = torch.ones(3) if background is None else torch.as_tensor(background, dtype=torch.float32)
    rgb = views.rgb + (1 - views.alpha[..., None]) * behind.to(views.rgb.device)
    return Views(rgb, views.alpha, views.depth, views.normal, views.label)


def _values(views: Views) -> list[torch.Tensor]:
    return [getattr(views, f.name) for f in fields(views)]


_CPU_VIEWS = 1
"""Views that a processor renders at a time: what is worked on stays in its cache."""


def _render(figure: Figure, light: Light, baked: BakedLight, camera: Camera, size: int, supersample: int) -> Views:
    """Views of one figure; colour premultiplied on black."""
    step = len(camera) if figure.vertices.device.type == "cuda" else _CPU_VIEWS
    parts = [
        _render_batch(figure, light, baked, camera[k : k + step], size, supersample)
        for k in range(0, len(camera), step)
    ]
    return parts[0] if len(parts) == 1 else Views(*(torch.cat(v) for v in zip(*(_values(p) for p in parts))))


def _render_batch(
    figure: Figure, light: Light, baked: BakedLight, camera: Camera, size: int, supersample: int
) -> Views:
    fine = size * supersample
    camera = camera.resized(fine)
    batch = len(camera)
    hits = rasterize(camera.project(figure.vertices), figure.faces, (fine, fine), figure.two_sided)
    view = torch.div(hits.sample, fine * fine, rounding_mode="floor")
    within = (hits.sample - view * (fine * fine)).to(torch.int32)
    row = torch.div(within, fine, rounding_mode="floor")
    column = within - row * fine
    towards = _towards(camera, view, row, column)
    colour = shade(figure, light, baked, hits.face, hits.barycentric, towards, hits.behind)

    # One plane for each place of a sample in its pixel: pixels are sums of planes.
    pixel_row = torch.div(row, supersample, rounding_mode="floor")
    pixel_column = torch.div(column, supersample, rounding_mode="floor")
    plane = (row - pixel_row * supersample) * supersample + (column - pixel_column * supersample)
    place = (view * size + pixel_row) * size + pixel_column
    count = batch * size * size
    planes = colour.new_zeros(supersample**2, count, 4)
    planes.view(-1, 4)[plane * count + place] = torch.cat([colour, colour.new_ones(len(colour), 1)], 1)
    rgba = planes.sum(0) / supersample**2

    middle = (supersample // 2) * (supersample + 1)
    chosen = torch.nonzero(plane == middle)[:, 0]
    place, face = place[chosen], hits.face[chosen]
    corners = figure.faces[face].T.contiguous()
    normal = interpolate(figure.normals, corners, hits.barycentric[chosen])
    normal = torch.nn.functional.normalize(torch.where(hits.behind[chosen, None], -normal, normal), dim=1)
    depth = colour.new_full((count,), torch.inf)
    depth[place] = hits.depth[chosen]
    normals = colour.new_zeros(count, 3)
    normals[place] = normal
    label = torch.zeros(count, dtype=torch.uint8, device=colour.device)
    label[place] = figure.part[face].to(torch.uint8)
    shape = (batch, size, size)
    return Views(
        rgba[:, :3].reshape(*shape, 3),
        rgba[:, 3].reshape(shape),
        depth.reshape(shape),
        normals.reshape(*shape, 3),
        label.reshape(shape),
    )


def _towards(camera: Camera, view: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Unit directions [n, 3] from what samples see towards the camera."""
    pixel = torch.stack([column + 0.5, row + 0.5], 1)
    ray = (pixel - camera.centre.index_select(0, view)) / camera.focal.index_select(0, view)[:, None]
    axes = [camera.world_to_camera[:, k, :3].index_select(0, view) for k in range(3)]
    turned = axes[2].addcmul_(axes[0], ray[:, :1]).addcmul_(axes[1], ray[:, 1:])
    return -turned / (ray.square().sum(1, keepdim=True) + 1).sqrt()
