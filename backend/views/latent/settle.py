"""Splats go where the other views can bear them: inside their outlines, behind what they see.

A view knows the direction of each of its splats well and the distance badly. Where a splat would hang beside the person
in another view, or where that view looks through it at something behind, it moves along its own ray, which its own view
does not notice, to the nearest place that contradicts nobody (visibility as in Merrell et al. 2007, outlines as in
Laurentini 1994).
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .hull import outlines
from .views import ViewCameras

_REACH = 0.5
"""How far before and behind its place one is looked for, in half picture widths at the pelvis."""
_STEPS = 167
_SLACK = 0.004
"""How far along its ray the hull may be from a place that is not moved."""
_LOOKED_THROUGH = 0.06
"""How far before everything that another view sees around there a splat must be to be called looked through."""
_AROUND = 4
"""Pixels around: limbs' edges in the depth maps are not sure."""
_BEFORE = 0.03
"""How far before what another view sees a place may lie."""
_WINDOW = 5
"""Pixels a side in which neighbours are counted."""
_COMPANY = 6.4
"""Neighbours no farther apart in depth than so many pixels are wide keep each other company."""
_ALONE, _AMONG = 0.4, 0.5
"""Share of the neighbours that keep company below which a pixel flies between limbs, and above which it does not."""
_NOTHING, _UNKNOWN = 1e3, -1e3
"""Depth where a view shows that nobody is, and where it does not know."""


@torch.no_grad()
def settled(depth: torch.Tensor, alphas: torch.Tensor, cameras: ViewCameras) -> torch.Tensor:
    """The depth maps with those pixels moved that other views contradict.

    Args:
        depth: [V, S, S] along the cameras' axes.
        alphas: [V, R, R] coverage of the person in the views, the photo's first.
        cameras: V of them; the world has the pelvis at its origin.

    Returns:
        [V, S, S].
    """
    views, size, _ = depth.shape
    own, coverage = outlines(alphas, size)
    shown = own > 0.5
    seen = torch.where(shown, depth[:, None], torch.where(coverage > 0.5, _UNKNOWN, _NOTHING))
    nearest = -functional.max_pool2d(-seen, 2 * _AROUND + 1, 1, _AROUND)
    origins, directions = cameras.rays(size)
    steps = torch.linspace(-_REACH, _REACH, _STEPS, device=depth.device)
    slack = steps.new_tensor([-_SLACK, 0.0, _SLACK])[:, None]
    out = depth.clone()
    for view in range(views):
        chosen = shown[view, 0]
        place, ray, origin = depth[view][chosen], directions[view][chosen], origins[view]
        others = [k for k in range(views) if k != view]
        if len(place) == 0 or not others:
            continue
        there = cameras[others], coverage[others]
        covered, behind = _seen_by(*there, nearest[others], origin + (place + slack)[..., None] * ray)
        wrong = torch.nonzero((covered.amax(0) < 0.5) | (behind[1] < -_LOOKED_THROUGH))[:, 0]
        if len(wrong) == 0:
            continue
        tried = origin + (place[wrong] + steps[:, None])[..., None] * ray[wrong]
        covered, behind = _seen_by(*there, seen[others], tried)
        distance = torch.where((covered > 0.5) & (behind > -_BEFORE), steps.abs()[:, None], torch.inf)
        least, best = distance.min(0)
        place[wrong] += torch.where(least.isfinite(), steps[best], 0)
        out[view][chosen] = place
    return out


@torch.no_grad()
def joined(depth: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """The depth maps without pixels that fly between limbs: they join the neighbours nearest in depth that do not.

    Args:
        depth: [V, S, S] along the cameras' axes.
        alphas: [V, R, R] coverage of the person in the views, the photo's first.

    Returns:
        [V, S, S].
    """
    views, size, _ = depth.shape
    shown = outlines(alphas, size)[0] > 0.5

    def around(maps: torch.Tensor) -> torch.Tensor:
        return functional.unfold(maps, _WINDOW, padding=_WINDOW // 2).view(views, _WINDOW**2, size, size)

    there, depths = around(shown.to(depth)) > 0, around(depth[:, None])
    distance = (depths - depth[:, None]).abs()
    company = ((distance < _COMPANY * 2 / size) & there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
    sure = there & (around(company) > _AMONG)
    least, nearest = torch.where(sure, distance, torch.inf).min(1, keepdim=True)
    flies = shown & (company < _ALONE) & least.isfinite()
    return torch.where(flies, depths.gather(1, nearest), depth[:, None])[:, 0]


def _seen_by(
    cameras: ViewCameras, coverage: torch.Tensor, surfaces: torch.Tensor, points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The views' least coverage, and their least distance behind ``surfaces``, [O, N] of points [O, N, 3].

    Coverage and surfaces are [V, 1, S, S].
    """
    place = cameras.project(points.flatten(0, 1))
    at = place[:, None, :, :2] * 2 - 1
    covered = functional.grid_sample(coverage, at, align_corners=False, padding_mode="border")
    surface = functional.grid_sample(surfaces, at, mode="nearest", align_corners=False, padding_mode="border")
    behind = place[..., 2] - surface[:, 0, 0]
    return covered[:, 0, 0].amin(0).view(points.shape[:2]), behind.amin(0).view(points.shape[:2])
