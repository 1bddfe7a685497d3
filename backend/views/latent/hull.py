"""What the outlines of the views say of depth: their visual hull, seen along the pixels of each view."""

from __future__ import annotations

import torch
from torch.nn import functional

from .views import BodyMaps, ViewCameras

HULL_CHANNELS = 4
NEAREST = 1
"""The channel that says how far the nearest entry is from the body."""
HELD = 2
"""The channel that says whether the body's depth lies in the hull."""
_SAMPLES = 64
_REACH = 0.64
"""How far before and behind the pelvis the hull is looked for, in half picture widths there."""
_NEAR = 0.35
"""Offsets are cut to this."""


def known_coverage(alphas: torch.Tensor) -> torch.Tensor:
    """Coverage [V, R, R] that may be held against other views.

    The rows above and below all that the photo, view 0, shows count as covered: it may end at the knees.
    """
    rows = torch.nonzero((alphas[0] > 0.5).any(1))[:, 0]
    known = alphas.clone()
    if len(rows):
        known[0, : rows[0]], known[0, rows[-1] + 1 :] = 1.0, 1.0
    return known


def outlines(alphas: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coverage [V, R, R] and what of it is known, :func:`known_coverage`, both [V, 1, size, size]."""
    own, known = (
        functional.interpolate(v[:, None], size=(size, size), mode="area") for v in (alphas, known_coverage(alphas))
    )
    return own, known


@torch.no_grad()
def hull_maps(alphas: torch.Tensor, cameras: ViewCameras, maps: BodyMaps) -> torch.Tensor:
    """Where each pixel's ray runs inside the outlines of the other views (Laurentini 1994).

    Args:
        alphas: [V, R, R] coverage of the person in the views.
        cameras: V of them; the world has the pelvis at its origin.
        maps: the body from the views, S pixels a side.

    Returns:
        [V, 4, S, S], zero where a view does not see the person: from the body's depth to where the ray first enters
        the hull, and to the entry nearest to the body (both cut to 0.35); whether the body's depth lies in the hull;
        the hull's thickness along the ray.
    """
    views, size, _ = maps.depth.shape
    own, coverage = outlines(alphas, size)
    origins, directions = cameras.rays(size)
    distance = cameras.world_to_camera[:, 2, 3]
    steps = torch.linspace(-_REACH, _REACH, _SAMPLES, device=alphas.device)
    out = alphas.new_zeros(views, HULL_CHANNELS, size, size)
    for view in range(views):
        shown = own[view, 0] > 0.05
        body = maps.depth[view][shown]
        if len(body) == 0:
            continue
        depth = (distance[view] + steps)[None].expand(len(body), -1)
        # The last sample is the body itself.
        depth = torch.cat([depth, body[:, None]], 1)
        points = origins[view] + depth[..., None] * directions[view][shown][:, None]
        others = [k for k in range(views) if k != view]
        place = cameras[others].project(points.reshape(-1, 3))
        inside = functional.grid_sample(coverage[others], place[:, None, :, :2] * 2 - 1, align_corners=False)
        inside = inside.amin(0).reshape(len(body), -1)
        along, here = inside[:, :-1] > 0.5, inside[:, -1]
        entry = along & ~functional.pad(along, (1, 0))[:, :-1]
        # The hull begins between two samples, where the coverage passes one half.
        before = functional.pad(inside[:, :-2], (1, 0), value=0.0)
        past = ((inside[:, :-1] - 0.5) / (inside[:, :-1] - before).clamp(min=1e-3)).clamp(0, 1)
        offset = depth[:, :-1] - past * entry * (steps[1] - steps[0]) - body[:, None]
        first = torch.where(along.any(1), offset.gather(1, along.int().argmax(1, keepdim=True))[:, 0], 0)
        gap = torch.where(entry, offset.abs(), torch.inf).argmin(1, keepdim=True)
        nearest = torch.where(entry.any(1), offset.gather(1, gap)[:, 0], 0)
        thickness = along.sum(1) * (2 * _REACH / (_SAMPLES - 1))
        values = torch.stack([first.clamp(-_NEAR, _NEAR), nearest.clamp(-_NEAR, _NEAR), here, thickness])
        out[view][:, shown] = values
    return out
