"""Splat colours fitted to pictures: rendering is linear in them, with :class:`Contributions` as coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from scipy import sparse

from .contributions import Contributions


@dataclass(frozen=True)
class Blend:
    """How n splats make up m pixels.

    Attributes:
        to_pixels: from values [n, C] of splats to those [m, C] of the pixels.
        to_splats: the transpose.
    """

    to_pixels: Callable[[torch.Tensor], torch.Tensor]
    to_splats: Callable[[torch.Tensor], torch.Tensor]


def blend_of(seen: Contributions, rows: torch.Tensor) -> Blend:
    """The blending of the m pixels where ``rows`` bool [H W] is true."""
    keep = rows[seen.pixel]
    pixel = (rows.cumsum(0) - 1)[seen.pixel[keep]]
    chosen = Contributions(seen.splat[keep], pixel, seen.weight[keep], seen.splat_count, int(rows.sum()))
    if rows.device.type != "cpu":
        exact = exact_sums(chosen)
        return Blend(lambda x: exact.render(x.double()).float(), lambda x: exact.gather(x.double()).float())
    index = (chosen.pixel.int().numpy(), chosen.splat.int().numpy())
    matrix = sparse.csr_matrix((chosen.weight.numpy(), index), (chosen.pixel_count, chosen.splat_count))
    transpose = matrix.T.tocsr()
    return Blend(
        lambda x: torch.as_tensor(matrix @ x.numpy()),
        lambda x: torch.as_tensor(transpose @ x.numpy()),
    )


def exact_sums(seen: Contributions) -> Contributions:
    """On a card, which adds in any order, in double precision: float32 can tell no difference then."""
    return seen if seen.weight.device.type != "cuda" else replace(seen, weight=seen.weight.double())


@dataclass(frozen=True)
class ColourTerm:
    """The least-squares term of a picture of m pixels in the colours of n splats.

    Attributes:
        blend: of the splats in its pixels, times the root of ``say``: least squares weigh by the square of that.
        wanted: [m, 3], premultiplied with what the splats cover of each pixel, times the same root.
        total: [n, 1] pixels that each splat fills, times ``say``.
        say: how much the picture counts.
    """

    blend: Blend
    wanted: torch.Tensor
    total: torch.Tensor
    say: float

    @classmethod
    def of(cls, blend: Blend, colours: torch.Tensor, say: float, count: int) -> ColourTerm:
        """The term of a picture whose pixels have ``colours`` [m, 3], of ``count`` splats."""
        root, device = say**0.5, colours.device
        covered = blend.to_pixels(torch.ones(count, 1, device=device))
        total = blend.to_splats(torch.ones(len(colours), 1, device=device))
        scaled = Blend(lambda x: root * blend.to_pixels(x), lambda x: root * blend.to_splats(x))
        return cls(scaled, root * colours * covered, say * total, say)


def fit_to_pictures(
    terms: Sequence[ColourTerm],
    start: torch.Tensor,
    limits: tuple[torch.Tensor, torch.Tensor],
    damping: float,
    steps: int,
) -> torch.Tensor:
    """Colours [n, 3] that minimise the sum of the terms, see :func:`fit_colours`; ``damping`` in pixels, over all."""
    blend = together([(term.blend, len(term.wanted)) for term in terms])
    total = torch.stack([term.total for term in terms]).sum(0)
    return fit_colours(blend, torch.cat([term.wanted for term in terms]), start, limits, total + damping, steps)


def together(blends: Sequence[tuple[Blend, int]]) -> Blend:
    """Several views' blends with their numbers of pixels as one, pixels one view after the other."""
    counts = [count for _, count in blends]

    def to_splats(pixels: torch.Tensor) -> torch.Tensor:
        parts = [blend.to_splats(part) for (blend, _), part in zip(blends, pixels.split(counts))]
        return torch.stack(parts).sum(0)

    return Blend(lambda values: torch.cat([blend.to_pixels(values) for blend, _ in blends]), to_splats)


def fit_colours(
    blend: Blend,
    wanted: torch.Tensor,
    start: torch.Tensor,
    limits: tuple[torch.Tensor, torch.Tensor],
    damping: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """Colours [n, 3] whose render comes close to ``wanted`` in the least squares sense.

    Projected gradient descent: steps as of SIRT, momentum as of FISTA (Beck and Teboulle, 2009).

    Args:
        blend: of n splats in m pixels.
        wanted: [m, 3] premultiplied with what all splats cover of each pixel.
        start: [n, 3].
        limits: lowest and highest colours [n, 3]; where they are equal the colour stays.
        damping: [n, 1] pixels by which each splat's gradient is divided, at least what it covers.
        steps: iterations.
    """
    colours = ahead = start
    momentum = 1.0
    for _ in range(steps):
        change = blend.to_splats(wanted - blend.to_pixels(ahead)) / damping
        before, colours = colours, (ahead + change).clamp(*limits)
        slower, momentum = momentum - 1, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = colours + slower / momentum * (colours - before)
    return colours
