"""The renderer for machines without gsplat: vectorised PyTorch, fast on a CPU, with its own backward pass.

Splats are taken nearest first in batches of a bounded number of (splat, pixel) pairs. A batch finds each splat's extent
in each picture row in closed form, lists the pairs, sorts them by pixel (stably, so depth order stays), and composites
every pixel's run of pairs with one cumulative sum of log(1 - alpha). Between batches, splats whose whole box has become
opaque are dropped: of a person's splats that is the far half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .contributions import Contributions
from .projection import MAX_ALPHA, MIN_ALPHA, Ellipses, project
from .types import CameraTensors, GaussianTensors, RenderOutput, exact_device

PAIRS_PER_BATCH = 1_000_000
"""About 150 bytes of working memory each. Fewer would end more pixels early, but cost more rounds of thread starts."""
OPAQUE = 5e-5
"""A pixel that lets less than this through is finished; what lies behind would change it by less than that."""

_PAD = 1e-3
"""Pixels added to extents against rounding; the pairs let in by it are dropped by their alpha."""


def render(
    gaussians: GaussianTensors, camera: CameraTensors, tell: Callable[[float], None] | None = None
) -> RenderOutput:
    """Render on black; ``tell`` hears which share is done. Differentiable with respect to all floating-point inputs."""
    device = gaussians.position.device
    gaussians, camera = gaussians.to(exact_device(device)), camera.to(exact_device(device))
    ellipses = project(gaussians, camera)
    index = ellipses.index
    features = torch.cat([gaussians.color[index], ellipses.depth[:, None]], dim=1)
    image, alpha = _Composite.apply(
        ellipses.center,
        ellipses.slope,
        1 / ellipses.var_x,
        1 / ellipses.var_y,
        gaussians.opacity[index],
        features,
        _visible(ellipses, gaussians.opacity[index].detach(), camera),
        (camera.height, camera.width),
        tell,
    )
    depth = torch.where(alpha > 0, image[..., -1] / alpha.clamp(min=1e-10), 0)
    return RenderOutput(image[..., :-1].to(device), alpha.to(device), depth.to(device))


@dataclass(frozen=True, eq=False)
class _Visible:
    """K ellipses that touch the picture, nearest first: int64 index [K] into the ellipses, boxes in whole pixels
    (left, top, right, bottom; inclusive) int64 [K, 4], and the largest exponent q [K] that still counts."""

    index: torch.Tensor
    box: torch.Tensor
    reach: torch.Tensor


@torch.no_grad()
def _visible(ellipses: Ellipses, opacity: torch.Tensor, camera: CameraTensors) -> _Visible:
    reach = torch.log(opacity / MIN_ALPHA)
    radius_y = torch.sqrt(2 * reach.clamp(min=0) * ellipses.var_y)
    # The marginal variance along x is var_x + slope^2 var_y.
    radius_x = torch.sqrt(2 * reach.clamp(min=0) * (ellipses.var_x + ellipses.slope**2 * ellipses.var_y))
    radius = torch.stack([radius_x, radius_y], dim=1) + _PAD
    limit = torch.tensor([camera.width, camera.height], dtype=radius.dtype, device=radius.device)
    # Clamped before they become integers: what lies far outside would overflow.
    low = torch.ceil(ellipses.center - radius - 0.5).clamp(min=0).minimum(limit)
    high = torch.floor(ellipses.center + radius - 0.5).clamp(min=-1).minimum(limit - 1)
    kept = torch.nonzero((reach >= 0) & (high >= low).all(dim=1))[:, 0]
    kept = kept[torch.argsort(ellipses.depth[kept], stable=True)]
    return _Visible(kept, torch.cat([low[kept], high[kept]], dim=1).long(), reach[kept])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """P (splat, pixel) pairs ordered by pixel, then by depth, and what the backward pass needs of them.

    Attributes:
        splat: int64 [P] into the ellipses.
        alpha, weight: [P]; weight = alpha times what comes through from in front.
        across, down: [P] dx - slope dy, and dy.
        pixels, counts: int64 [S] the pixels touched (row-major) and how many pairs each has.
        order: int64 [P], where the pair stood when they were grouped by splat.
        splats, splat_counts: int64 [B] the splats and how many pairs each has, in that order.
    """

    splat: torch.Tensor
    alpha: torch.Tensor
    weight: torch.Tensor
    across: torch.Tensor
    down: torch.Tensor
    pixels: torch.Tensor
    counts: torch.Tensor
    order: torch.Tensor
    splats: torch.Tensor
    splat_counts: torch.Tensor


class _Composite(torch.autograd.Function):
    """Front-to-back compositing of M ellipses with F features each: image [H, W, F] and alpha [H, W]."""

    @staticmethod
    def forward(
        ctx: Any,
        center: torch.Tensor,
        slope: torch.Tensor,
        inverse_x: torch.Tensor,
        inverse_y: torch.Tensor,
        opacity: torch.Tensor,
        features: torch.Tensor,
        visible: _Visible,
        size: tuple[int, int],
        tell: Callable[[float], None] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Composite batch after batch; keeps the pairs only where a gradient will be wanted."""
        height, width = size
        ellipses = (center, slope, inverse_x, inverse_y, opacity, features)
        keep = any(ctx.needs_input_grad)
        image, log_transmittance, batches = _composite_all(ellipses, visible, size, keep, tell)
        ctx.save_for_backward(slope, inverse_x, inverse_y, opacity, features)
        ctx.batches = batches
        alpha = -torch.expm1(log_transmittance).to(features.dtype)
        return image.reshape(height, width, -1), alpha.reshape(height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: torch.Tensor, grad_alpha: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Batches from the farthest to the nearest, with a running sum of what lies behind each pixel's pair."""
        slope, inverse_x, inverse_y, opacity, features = ctx.saved_tensors
        # Alpha is the sum of the weights: one more feature that is 1 for every splat.
        grad = torch.cat([grad_image.flatten(0, 1), grad_alpha.reshape(-1, 1)], dim=1)
        extended = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        behind = torch.zeros(len(grad), dtype=torch.float64, device=grad.device)
        grad_features = torch.zeros_like(features)
        moments = features.new_zeros(len(features), 6)
        for pairs in reversed(ctx.batches):
            _backward_batch(pairs, grad, extended, behind, grad_features, moments)
        total, across, down, across2, down2, mixed = moments.unbind(1)
        # q = (inverse_x across^2 + inverse_y down^2) / 2; moments are sums of dL/dalpha * alpha = -dL/dq.
        grad_x = inverse_x * across
        grad_center = torch.stack([grad_x, inverse_y * down - slope * grad_x], dim=1)
        return (
            grad_center,
            inverse_x * mixed,
            -0.5 * across2,
            -0.5 * down2,
            total / opacity.clamp(min=MIN_ALPHA),
            grad_features,
            None,
            None,
            None,
        )


def _composite_all(
    ellipses: tuple[torch.Tensor, ...],
    visible: _Visible,
    size: tuple[int, int],
    keep: bool,
    tell: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, list[_Pairs]]:
    """Image [H W, F], log of what comes through [H W], and, if asked to keep them, the pairs of each batch; ``tell``
    hears which share of the splats is done and may raise to stop."""
    height, width = size
    features = ellipses[-1]
    image = features.new_zeros(height * width, features.shape[1])
    log_transmittance = torch.zeros(height * width, dtype=torch.float64, device=features.device)
    batches: list[_Pairs] = []
    index, box, reach = visible.index, visible.box, visible.reach
    while len(index):
        if tell is not None:
            tell(1 - len(index) / len(visible.index))
        area = (box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)
        taken = max(1, int(torch.searchsorted(area.cumsum(0), PAIRS_PER_BATCH)))
        batch = _Visible(index[:taken], box[:taken], reach[:taken])
        pairs = _composite_batch(ellipses, batch, width, image, log_transmittance, keep)
        if pairs is not None:
            batches.append(pairs)
        index, box, reach = index[taken:], box[taken:], reach[taken:]
        if len(index):
            open_pixels = log_transmittance.reshape(height, width) > math.log(OPAQUE)
            seen = torch.nonzero(_any_inside(open_pixels, box))[:, 0]
            index, box, reach = index[seen], box[seen], reach[seen]
    return image, log_transmittance, batches


@torch.no_grad()
def contributions(gaussians: GaussianTensors, camera: CameraTensors) -> Contributions:
    """How much each splat contributes to each pixel: alpha times what comes through from in front of it."""
    device = gaussians.position.device
    gaussians, camera = gaussians.to(exact_device(device)), camera.to(exact_device(device))
    ellipses = project(gaussians, camera)
    opacity = gaussians.opacity[ellipses.index]
    shape = (ellipses.center, ellipses.slope, 1 / ellipses.var_x, 1 / ellipses.var_y)
    parts = (*shape, opacity, torch.ones_like(opacity)[:, None])
    size = (camera.height, camera.width)
    _, _, batches = _composite_all(parts, _visible(ellipses, opacity, camera), size, keep=True)
    none = [torch.zeros(0, dtype=torch.long, device=opacity.device)]
    return Contributions(
        splat=ellipses.index[torch.cat([pairs.splat for pairs in batches] or none)].to(device),
        pixel=torch.cat([torch.repeat_interleave(pairs.pixels, pairs.counts) for pairs in batches] or none).to(device),
        weight=torch.cat([pairs.weight for pairs in batches] or [opacity.new_zeros(0)]).to(device),
        splat_count=len(gaussians.position),
        pixel_count=camera.height * camera.width,
    )


def _composite_batch(
    ellipses: tuple[torch.Tensor, ...],
    batch: _Visible,
    width: int,
    image: torch.Tensor,
    log_transmittance: torch.Tensor,
    keep: bool,
) -> _Pairs | None:
    """Add one batch to ``image`` and ``log_transmittance`` (flat, in place)."""
    center, slope, inverse_x, inverse_y, opacity, features = ellipses
    left, top, right, bottom = batch.box.unbind(1)
    # One span for each picture row that a splat touches.
    rows = bottom - top + 1
    owner = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), rows)
    splat = _take(batch.index, owner)
    row = _within_runs(rows) + _take(top, owner)
    down = row + 0.5 - _take(center[:, 1], splat)
    middle = _take(center[:, 0], splat) + _take(slope, splat) * down
    fall = 0.5 * _take(inverse_y, splat) * down * down
    sharpness = 0.5 * _take(inverse_x, splat)
    room = (_take(batch.reach, owner) - fall).clamp(min=0)
    half = torch.sqrt(room / sharpness) + _PAD
    first = torch.ceil(middle - half - 0.5).maximum(_take(left, owner))
    last = torch.floor(middle + half - 0.5).minimum(_take(right, owner))
    counts = (last - first + 1).clamp(min=0).long()
    # Pairs, grouped by splat: the exponent is a parabola along the span.
    span = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    step = _within_runs(counts)
    first = first.long()
    across = step + _take(first + 0.5 - middle, span)
    peak = torch.log(_take(opacity, splat)) - fall
    alpha = torch.exp(_take(peak, span) - _take(sharpness, span) * across * across).clamp(max=MAX_ALPHA)
    # Pairs that rounding let in weigh nothing, but stay, so that the groups keep their sizes.
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0)
    # Sorting int32 takes a third of the time that int64 takes.
    pixel, order = torch.sort((step + _take(row * width + first, span)).int(), stable=True)
    if not len(pixel):
        return None
    alpha = _take(alpha, order)
    span = _take(span, order)
    pixels, runs = torch.unique_consecutive(pixel, return_counts=True)
    blocked = torch.log1p(-alpha).double()
    through = blocked.cumsum(0)
    pixels = pixels.long()
    starts = runs.cumsum(0) - runs
    before = log_transmittance[pixels] - (through[starts] - blocked[starts])
    of_pair = _take(splat, span)
    weight = alpha * torch.exp(through - blocked + torch.repeat_interleave(before, runs)).to(alpha.dtype)
    image[pixels] += functional.embedding_bag(of_pair, features, starts, mode="sum", per_sample_weights=weight)
    log_transmittance[pixels] = before + through[starts + runs - 1]
    if not keep:
        return None
    return _Pairs(
        splat=of_pair,
        alpha=alpha,
        weight=weight,
        across=_take(across, order),
        down=_take(down, span),
        pixels=pixels,
        counts=runs,
        order=order,
        splats=batch.index,
        splat_counts=torch.zeros_like(rows).index_add_(0, owner, counts),
    )


def _backward_batch(
    pairs: _Pairs,
    grad: torch.Tensor,
    features: torch.Tensor,
    behind: torch.Tensor,
    grad_features: torch.Tensor,
    moments: torch.Tensor,
) -> None:
    """Add one batch's gradients in place; ``behind`` [H*W] grows by the batch's share of the loss at each pixel."""
    run = torch.repeat_interleave(torch.arange(len(pairs.pixels), device=grad.device), pairs.counts)
    pixel_grad = _take(_take(grad, pairs.pixels), run)
    gain = (pixel_grad * _take(features, pairs.splat)).sum(1)
    share = (pairs.weight * gain).double()
    upto = share.cumsum(0)
    ends = pairs.counts.cumsum(0) - 1
    starts = ends - pairs.counts + 1
    tail = behind[pairs.pixels] + upto[ends]
    later = (_take(tail, run) - upto).to(gain.dtype)
    # d loss / d alpha, times alpha; zero where alpha sat at its ceiling and no longer moves with the exponent.
    force = pairs.weight * gain - later * pairs.alpha / (1 - pairs.alpha)
    force = torch.where(pairs.alpha < MAX_ALPHA, force, 0)
    behind[pairs.pixels] = tail - (upto[starts] - share[starts])
    across, down = pairs.across, pairs.down
    terms = torch.stack(
        [force, force * across, force * down, force * across**2, force * down**2, force * across * down], dim=1
    )
    terms = torch.cat([terms, pairs.weight[:, None] * pixel_grad[:, :-1]], dim=1)
    place = torch.empty_like(pairs.order)
    place[pairs.order] = torch.arange(len(place), device=place.device)
    begin = pairs.splat_counts.cumsum(0) - pairs.splat_counts
    sums = functional.embedding_bag(place, terms, begin, mode="sum")
    moments[pairs.splats] = sums[:, :6]
    grad_features[pairs.splats] = sums[:, 6:]


def _take(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``rows[index]``; on a CPU ``index_select`` takes a quarter of the time."""
    return rows.index_select(0, index)


def _within_runs(counts: torch.Tensor) -> torch.Tensor:
    """0, 1, .., counts[0]-1, 0, 1, .., counts[1]-1, ..."""
    total = int(counts.sum())
    starts = counts.cumsum(0) - counts
    return torch.arange(total, device=counts.device) - torch.repeat_interleave(starts, counts, output_size=total)


def _any_inside(mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Whether bool ``mask`` [H, W] is set anywhere in each inclusive ``box`` [K, 4], by a summed-area table."""
    table = functional.pad(mask.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    left, top, right, bottom = box.unbind(1)
    right, bottom = right + 1, bottom + 1
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left] > 0
