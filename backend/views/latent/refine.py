"""Further looks at depth: every pixel is compared with what the other views see at and around its place.

The first guess of each view's depth comes from the body and the outlines. Once all views have one, each tells of the
others: whether they see the same place, something before it or through it, in which colours, and where along the ray
they would agree better. As in multi-view stereo, hypotheses along the ray are compared (Yao et al. 2018, MVSNet); with
views a quarter turn apart colours seldom tell, so surfaces and outlines are compared as well. The same network looks
again at what came out (as in Teed and Deng 2020, RAFT).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ...networks.layers import FineMaps, Residual
from .hull import outlines
from .views import ViewCameras

OFFSETS = (-0.12, -0.06, -0.03, -0.012, 0.0, 0.012, 0.03, 0.06, 0.12)
"""Hypotheses along the ray about the first guess, in half picture widths at the pelvis."""
_CUT = 0.2
"""Distances along rays are cut to this."""
_LEVELS = (40, 64, 96, 128)
"""Channels at ``maps`` pixels and at a half, a quarter and an eighth of them."""
_FINE = 16
"""Channels at ``output`` pixels."""


def comparison_channels(views: int) -> int:
    """How many maps :func:`compared` gives for so many views."""
    others = views - 1
    return len(OFFSETS) * (1 + 2 * others) + 2 * others


@torch.no_grad()
def compared(
    depth: torch.Tensor, colours: torch.Tensor, alphas: torch.Tensor, cameras: ViewCameras, size: int
) -> torch.Tensor:
    """What the other views say of each pixel's place.

    Args:
        depth: [V, D, D] along the cameras' axes.
        colours: [V, 3, R, R] over white.
        alphas: [V, R, R] coverage of the person, the photo's first.
        cameras: V of them; the world has the pelvis at its origin.
        size: pixels a side of the result.

    Returns:
        [V, C, size, size], C as :func:`comparison_channels` says, zero beside the person. Other views come in the
        order of the orbit, beginning with the next one. For each hypothesis: the least coverage, how far it lies
        behind each other view's surface, and how its colour differs from that view's (0 to 1). Then for each other
        view: how far before the pixel its nearest point lies that falls into it, and whether there is one.
    """
    views = len(depth)
    own, known = outlines(alphas, size)
    shown = own[:, 0] > 0.5
    low = functional.interpolate(depth[:, None], size=(size, size), mode="nearest-exact")
    seen = torch.cat([functional.interpolate(colours, size=(size, size), mode="area"), known], 1)
    origins, directions = cameras.rays(size)
    offsets = depth.new_tensor(OFFSETS)
    out = depth.new_zeros(views, comparison_channels(views), size, size)
    points = _points(depth, alphas, cameras)
    for view in range(views):
        chosen = shown[view]
        place = low[view, 0][chosen]
        others = [(view + k) % views for k in range(1, views)]
        if len(place) == 0 or not others:
            continue
        tried = origins[view] + (place + offsets[:, None])[..., None] * directions[view][chosen]
        there = cameras[others].project(tried.flatten(0, 1))
        at = there[:, None, :, :2] * 2 - 1
        pictures = functional.grid_sample(seen[others], at, align_corners=False, padding_mode="border")[:, :, 0]
        surface = functional.grid_sample(low[others], at, mode="nearest", align_corners=False, padding_mode="border")
        pictures = pictures.unflatten(2, (len(offsets), -1))
        behind = (there[..., 2] - surface[:, 0, 0]).unflatten(1, (len(offsets), -1))
        mine = seen[view, :3][:, chosen]
        difference = (pictures[:, :3] - mine[None, :, None]).abs().mean(1)
        maps = [pictures[:, 3].amin(0), behind.clamp(-_CUT, _CUT).flatten(0, 1) / _CUT, difference.flatten(0, 1)]
        for other in others:
            nearest, there_is = _fallen(points[other], cameras[[view]], size)
            before = (nearest[chosen] - place).clamp(-_CUT, _CUT) / _CUT
            maps.append(torch.stack([torch.where(there_is[chosen], before, 0), there_is[chosen].to(before)]))
        out[view][:, chosen] = torch.cat(maps)
    return out


def _points(depth: torch.Tensor, alphas: torch.Tensor, cameras: ViewCameras) -> list[torch.Tensor]:
    """The places [N, 3] of the pixels of each view that show the person."""
    own, _ = outlines(alphas, depth.shape[-1])
    origins, directions = cameras.rays(depth.shape[-1])
    places = origins[:, None, None] + depth[..., None] * directions
    return [place[covered] for place, covered in zip(places, own[:, 0] > 0.5)]


def _fallen(points: torch.Tensor, camera: ViewCameras, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The least depth of ``points`` [N, 3] that fall into each pixel, and whether any does, [size, size]."""
    place = camera.project(points)[0]
    column, row = (place[:, :2] * size).floor().long().clamp(0, size - 1).T
    depth = points.new_full((size * size,), torch.inf)
    depth = depth.scatter_reduce(0, row * size + column, place[:, 2], "amin").view(size, size)
    there_is = depth.isfinite()
    return torch.where(there_is, depth, 0), there_is


class CrossViewRefinement(FineMaps):
    """A U-Net over each view's maps and what the other views say of them.

    Args:
        maps: channels that come with the comparison.
        views: that are compared.
        channels: that come out.
    """

    def __init__(self, maps: int, views: int, channels: int) -> None:
        super().__init__()
        first, *_ = _LEVELS
        self.enter = nn.Conv2d(maps + comparison_channels(views), first, 1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.after = nn.ModuleList()
        self.before = nn.ModuleList([Residual(first)])
        for wide, narrow in zip(_LEVELS[1:], _LEVELS):
            self.down.append(nn.Conv2d(narrow, wide, 2, 2))
            self.before.append(Residual(wide))
            self.up.append(nn.Conv2d(wide, 4 * narrow, 1))
            self.after.append(Residual(narrow))
        self.before.append(Residual(_LEVELS[-1]))
        self.add_end(first, _FINE, channels)

    def forward(self, maps: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Changes [V, channels, 2 S, 2 S], zero before training.

        Args:
            maps: [V, M, S, S]; S is a multiple of 8.
            pictures: [V, 4, 2 S, 2 S] colours and coverage, -1 to 1.
        """
        x = self.before[0](self.enter(maps))
        earlier = []
        for level, down in enumerate(self.down):
            earlier.append(x)
            x = self.before[level + 1](down(x))
        x = self.before[-1](x)
        for up, after in zip(reversed(self.up), reversed(self.after)):
            x = after(earlier.pop() + functional.pixel_shuffle(up(x), 2))
        return self.end(x, pictures)
