"""Photos for the depth network spoilt at every draw: other outlines, things beside, light, blur, noise, poor mattes."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

_OUTLINES = 0.65
"""Share of the photos whose person is drawn wider here and narrower there."""
_THICKER = 1.4
"""Pixels by which the outline moves outwards, standard deviation. A person is some 230 tall."""
_MOST = 3
"""Pixels outwards, at most; one less inwards."""
_WARPED = 1.2
"""Pixels by which the picture is pulled, standard deviation."""
_CELLS = 4
"""Places a side where both are drawn by chance; they change smoothly between."""
_TAKEN_IN = 0.35
"""Share of the photos whose matte takes in something beside the person."""
_BESIDE = 16
"""Pixels from the outline up to which it may."""
_PATCHES = 10
"""Places a side where it is drawn by chance whether it does, of which about one in six does."""


def spoilt(photo: torch.Tensor, known: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network sees of spoilt photos, and where their truth is known.

    Args:
        photo: uint8 [B, 4, S, S] colours and matte.
        known: bool [B, 1, M, M].
        rng: decides how much all of them are blurred; the rest is PyTorch's chance.

    Returns:
        float32 [B, 4, S, S] colours times the matte, and the matte; bool [B, 1, M, M].
    """
    rgb, person = other_outlines(*(photo.float() / 255).split([3, 1], 1))
    rgb, both = with_things_beside(rgb, person)
    rgb, alpha = _other_colours(rgb, rng), _other_matte(both)
    # Where somebody is no longer drawn, the truth cannot be asked for, whatever is there instead.
    drawn = functional.avg_pool2d(alpha - (both - person), alpha.shape[-1] // known.shape[-1]) > 0.5
    return torch.cat([rgb * alpha, alpha], 1), known & drawn


def other_outlines(rgb: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """People in thicker or thinner clothes here and there, and of slightly other proportions.

    The factory's clothes lie so close that a network takes wide trousers for legs nearer to the camera. The depth of
    what is seen stays as it is.

    Args:
        rgb, alpha: [B, 3, S, S] and [B, 1, S, S] in 0..1.
    """
    count, size = len(alpha), alpha.shape[-1]

    def field(channels: int, deviation: float) -> torch.Tensor:
        values = deviation * torch.randn(count, channels, _CELLS, _CELLS, device=alpha.device)
        chosen = torch.rand(count, 1, 1, 1, device=alpha.device) < _OUTLINES
        return functional.interpolate(values * chosen, size=(size, size), mode="bicubic", align_corners=True)

    mean = functional.avg_pool2d(torch.cat([rgb * alpha, alpha], 1), 4 * _MOST - 3, 1, 2 * _MOST - 2)
    rgb = torch.where(alpha > 0.1, rgb, mean[:, :3] / mean[:, 3:].clamp(min=1e-3))
    inwards = [-functional.max_pool2d(-alpha, 2 * k + 1, 1, k) for k in range(_MOST - 1, 0, -1)]
    outwards = [functional.max_pool2d(alpha, 2 * k + 1, 1, k) for k in range(1, _MOST + 1)]
    levels = torch.cat([*inwards, alpha, *outwards], 1)
    level = (field(1, _THICKER) + len(inwards)).clamp(0, levels.shape[1] - 1)
    low = level.floor().long().clamp(max=levels.shape[1] - 2)
    alpha = levels.gather(1, low).lerp(levels.gather(1, low + 1), level - low)
    still = torch.eye(2, 3, device=alpha.device).expand(count, 2, 3)
    grid = functional.affine_grid(still, [count, 1, size, size], align_corners=False)
    pulled = grid + field(2, _WARPED * 2 / size).permute(0, 2, 3, 1)
    drawn = functional.grid_sample(torch.cat([rgb, alpha], 1), pulled, align_corners=False)
    return tuple(drawn.split([3, 1], 1))


def with_things_beside(rgb: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mattes that take in furniture, shadows and what is seen between limbs, as mattes of real photos do.

    Without them the network takes whatever the matte holds for the person's, and gives backs humps.

    Args:
        rgb, alpha: [B, 3, S, S] and [B, 1, S, S] in 0..1.
    """
    count, size = len(alpha), alpha.shape[-1]

    def fine(values: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(values, size=(size, size), mode="bilinear")

    def smooth(channels: int, cells: int) -> torch.Tensor:
        return fine(torch.randn(count, channels, cells, cells, device=alpha.device))

    # How far from the outline things reach differs; gaps between limbs are the nearest to both. In quarters of the
    # size, as wide neighbourhoods take long.
    cells = _BESIDE // 4
    small = functional.avg_pool2d(torch.cat([rgb * alpha, alpha], 1), 4)
    wide = functional.max_pool2d(small[:, 3:], 2 * cells + 1, 1, cells)
    near = functional.max_pool2d(small[:, 3:], cells + 1, 1, cells // 2)
    closed = -functional.max_pool2d(-wide, 2 * cells + 1, 1, cells)
    kind = torch.rand(count, 1, 1, 1, device=alpha.device)
    reach = torch.where(kind < 0.4, closed, torch.where(kind < 0.7, near, wide))
    patches = ((smooth(1, _PATCHES) - 0.6) * 5).clamp(0, 1)
    things = patches * fine(reach) * (1 - alpha) * _chance(alpha, _TAKEN_IN)
    colour = (torch.rand(count, 3, 1, 1, device=alpha.device) + 0.15 * smooth(1, 4 * _CELLS)).clamp(0, 1)
    # Mattes take in most readily what is coloured as the person is near by.
    mean = functional.avg_pool2d(small, 4 * cells + 1, 1, 2 * cells)
    colour = torch.where(_chance(alpha, 0.5), fine(mean[:, :3] / mean[:, 3:].clamp(min=1e-3)), colour)
    # Where there is nothing their colour is, too: blur would mix in what the crop has there.
    total = alpha + things
    rgb = torch.where(total > 0, (rgb * alpha + colour * things) / total.clamp(min=1e-6), colour)
    return rgb, total


def _other_colours(rgb: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Other light, blurred, noisy, grey."""
    count = len(rgb)

    def normal(channels: int, deviation: float) -> torch.Tensor:
        return deviation * torch.randn(count, channels, 1, 1, device=rgb.device)

    gain = (normal(1, 0.15) + normal(3, 0.08)).exp()
    rgb = (rgb.clamp(1e-3, 1) ** normal(1, 0.25).exp() * gain).clamp(0, 1)
    grey = rgb.mean(1, keepdim=True)
    vivid = torch.rand(count, 1, 1, 1, device=rgb.device) * 0.7 + 0.5
    rgb = grey + torch.where(_chance(rgb, 0.08), 0.0, vivid) * (rgb - grey)
    if rng.random() < 0.5:
        small = functional.interpolate(rgb, scale_factor=float(rng.uniform(0.35, 1)), mode="bilinear", antialias=True)
        rgb = functional.interpolate(small, size=rgb.shape[2:], mode="bilinear")
    noise = torch.empty(count, 1, 1, 1, device=rgb.device).exponential_() * 0.02
    return (rgb + noise * torch.randn_like(rgb)).clamp(0, 1)


def _other_matte(alpha: torch.Tensor) -> torch.Tensor:
    """A little too wide, too narrow, or soft."""
    kind = torch.rand(len(alpha), 1, 1, 1, device=alpha.device)
    wide, narrow = functional.max_pool2d(alpha, 3, 1, 1), -functional.max_pool2d(-alpha, 3, 1, 1)
    alpha = torch.where(kind < 0.2, wide, torch.where(kind < 0.4, narrow, alpha))
    return torch.where(_chance(alpha, 0.3), functional.avg_pool2d(alpha, 3, 1, 1), alpha)


def _chance(like: torch.Tensor, share: float) -> torch.Tensor:
    return torch.rand(len(like), 1, 1, 1, device=like.device) < share
