"""Pictures of the imagined views: a decoder that knows the body.

Where a person ends cannot be read from latents that are the mean of many plausible ones: they fade into the white. And
the autoencoder has forgotten much of what the photo shows. So a small network paints the views again, over maps of the
body that are finer than the latents and carry the photo's own colours, and tells colour and coverage apart.

It does not invent colours: it chooses among those that the photo offers for a place, by what the latents decode to. So
the back of a shirt has the shirt's colour, also of people unlike all that training saw.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .conditions import FINE_CHANNELS
from .fill import PALETTE

_DECODED = 4
_SURE = 4.0
"""Logit that training begins with: of the coverage in the middle of the body, and of the photo's own colours where it
sees the body."""
_SHADE = 0.7
"""At most so much lighter or darker, as a logarithm, is a place than the colours that it is mixed from."""
_LIKING = {"filled": 1.5, "median": 1.5, "mean": 1.0, "hair": 1.0, "skin": 0.3}
"""How much the liking for each colour varies between seeds."""
_LIT = 0.5
"""Exponent of the light that is painted: half of how much darker the photo's lamps leave a back."""
_SHARPNESS = 3.0
"""By which the logits of colours are multiplied when pictures are painted: mixtures look like veils."""


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
    """A small UNet that says how to mix the colours of :data:`~.fill.PALETTE`.

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
        self.leave = nn.Conv2d(width, len(PALETTE) + 2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        rgb: torch.Tensor,
        alpha: torch.Tensor,
        fine: torch.Tensor,
        sharpness: float = 1.0,
        taste: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(colours in 0..1 and logit of the coverage [N, 4, F, F], by how much they are lit otherwise [N, 1, F, F]).

        The photo's lamps light a back otherwise than the front that lends it its colours. Training must be told, or
        dark backs would be taken for hair.

        Args:
            rgb, alpha: [N, 3, P, P] over white and [N, P, P] that the latents decode to.
            fine: [N, 21, F, F], see :data:`~.conditions.FINE_CHANNELS`; P is a multiple of F.
            sharpness: factor of the logits of colours.
            taste: [5] is added to them before, where the photo does not see the person.
        """
        step = rgb.shape[-1] // fine.shape[-1]
        decoded = functional.avg_pool2d(torch.cat([rgb, alpha[:, None]], 1), step)
        first = self.fine(self.enter(torch.cat([decoded, fine], 1)))
        second = self.middle[0](self.shrink[0](first))
        third = self.middle[1](self.shrink[1](second))
        second = self.join[1](second + functional.pixel_shuffle(self.grow[1](third), 2))
        first = self.join[0](first + functional.pixel_shuffle(self.grow[0](second), 2))
        out = self.leave(functional.silu(first))
        mask, seen = fine[:, 4:5], fine[:, -1:]
        offered = 0.5 + 0.5 * fine[:, 5:-1].unflatten(1, (len(PALETTE), 3))
        start = torch.zeros_like(out[:, : len(PALETTE)])
        start[:, :1] = _SURE * seen
        if taste is not None:
            start = start + taste[:, None, None] * (1 - seen)
        share = (sharpness * (out[:, : len(PALETTE)] + start)).softmax(1)
        mixed = (share[:, :, None] * offered).sum(1)
        shade = torch.exp(_SHADE * out[:, -2:-1].tanh())
        return torch.cat([mixed, out[:, -1:] + _SURE * (2 * mask - 1)], 1), shade

    @torch.no_grad()
    def paint(
        self, rgb: torch.Tensor, alpha: torch.Tensor, fine: torch.Tensor, taste: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Colours, rather chosen than mixed, and coverage [N, 4, F, F] in 0..1; arguments as of :meth:`forward`."""
        painted, shade = self(rgb, alpha, fine, _SHARPNESS, taste)
        return torch.cat([(painted[:, :3] * shade**_LIT).clamp(0, 1), painted[:, 3:].sigmoid()], 1)


def draw_taste(seed: int) -> torch.Tensor:
    """What to like more, [5] logits of :data:`~.fill.PALETTE`: none for seed 0, by chance for others.

    Whether a back goes on as the front does, badges and all, or plain, and how far hair falls, nobody can know.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(PALETTE), generator=generator) * torch.tensor([_LIKING[name] for name in PALETTE])
    return drawn if seed else torch.zeros_like(drawn)
