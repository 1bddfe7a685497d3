"""Pictures of the imagined views: a decoder that knows the body.

Where a person ends cannot be read from latents that are the mean of many plausible ones: they fade into the white. And
the autoencoder has forgotten much of what the photo shows. So a small network paints the views again, over maps of the
body that are finer than the latents and carry the photo's own colours, and tells colour and coverage apart.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .conditions import FINE_CHANNELS

_DECODED = 4
_FAINT = 0.2
"""Coverage below which a decoded colour is not freed from the white any further."""
_SURE = 4.0
"""Logit of the coverage in the middle of the body that training begins with."""


def without_white(rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Colours [N, 3, ...] of what covers white by ``alpha`` [N, 1, ...] such that ``rgb`` is seen."""
    return ((rgb - 1) / alpha.clamp(min=_FAINT) + 1).clamp(0, 1)


class _Layers(nn.Sequential):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        half = [nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        again = [nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        super().__init__(*half, *again)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, S, S] to the same shape."""
        return x + super().forward(x)


class Painter(nn.Module):
    """A small UNet. It begins with the photo's colours where the photo sees the body; elsewhere with the mean of the
    decoded ones and those of the most alike place that the photo sees.

    Args:
        width: channels at full resolution, a multiple of 8; twice as many below.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        wide = 2 * width
        self.enter = nn.Conv2d(_DECODED + sum(FINE_CHANNELS.values()), width, 3, padding=1)
        self.fine = _Layers(width)
        self.shrink = nn.ModuleList([nn.Conv2d(width, wide, 2, 2), nn.Conv2d(wide, wide, 2, 2)])
        self.middle = nn.ModuleList([_Layers(wide), nn.Sequential(_Layers(wide), _Layers(wide))])
        self.grow = nn.ModuleList([nn.Conv2d(wide, 4 * width, 1), nn.Conv2d(wide, 4 * wide, 1)])
        self.join = nn.ModuleList([_Layers(width), _Layers(wide)])
        self.leave = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, rgb: torch.Tensor, alpha: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Colours (about 0..1) and logit of the coverage [N, 4, F, F].

        Args:
            rgb, alpha: [N, 3, P, P] over white and [N, P, P] that the latents decode to.
            fine: [N, 9, F, F], see :data:`~.conditions.FINE_CHANNELS`; P is a multiple of F.
        """
        step = rgb.shape[-1] // fine.shape[-1]
        decoded = functional.avg_pool2d(torch.cat([rgb, alpha[:, None]], 1), step)
        first = self.fine(self.enter(torch.cat([decoded, fine], 1)))
        second = self.middle[0](self.shrink[0](first))
        third = self.middle[1](self.shrink[1](second))
        second = self.join[1](second + functional.pixel_shuffle(self.grow[1](third), 2))
        first = self.join[0](first + functional.pixel_shuffle(self.grow[0](second), 2))
        mask, filled, seen = fine[:, 4:5], 0.5 + 0.5 * fine[:, 5:8], fine[:, 8:9]
        colour = torch.lerp(without_white(decoded[:, :3], decoded[:, 3:]), filled, mask * (0.5 + 0.5 * seen))
        return self.leave(functional.silu(first)) + torch.cat([colour, _SURE * (2 * mask - 1)], 1)

    @torch.no_grad()
    def paint(self, rgb: torch.Tensor, alpha: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Colours and coverage [N, 4, F, F], both in 0..1; arguments as of :meth:`forward`."""
        painted = self(rgb, alpha, fine)
        return torch.cat([painted[:, :3].clamp(0, 1), painted[:, 3:].sigmoid()], 1)
