"""The ``lite`` denoiser: a small UNet whose views look at each other."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .conditions import CONDITION_CHANNELS, Conditions, channel_slice
from .config import SynthesizerConfig
from .schedule import scalings

_GROUPS = 8
_NOISE_WAVES = 8
_AZIMUTH_WAVES = 4


def _zero(layer: nn.Module) -> nn.Module:
    """``layer`` with zero weights: its branch begins as nothing, so depth does no harm at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _waves(values: torch.Tensor, count: int, base: float) -> torch.Tensor:
    """Sines and cosines [..., 2 * count] of ``values`` [...] radians times base^0 .. base^(count - 1)."""
    angles = values[..., None] * base ** torch.arange(count, device=values.device, dtype=values.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)


class _Residual(nn.Module):
    """Two convolutions; the embedding scales and shifts between them."""

    def __init__(self, enter: int, leave: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(_GROUPS, enter), nn.Conv2d(enter, leave, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * leave)
        self.norm2, self.conv2 = nn.GroupNorm(_GROUPS, leave), _zero(nn.Conv2d(leave, leave, 3, padding=1))
        self.shortcut = nn.Conv2d(enter, leave, 1) if enter != leave else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Features [N, leave, H, W] of ``x`` [N, enter, H, W] and ``embedding`` [N, E]."""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.embed(embedding)[..., None, None].chunk(2, 1)
        hidden = self.conv2(functional.silu(self.norm2(hidden) * (1 + scale) + shift))
        return self.shortcut(x) + hidden


class _AcrossViews(nn.Module):
    """A transformer block over the tokens of all views of a person together."""

    def __init__(self, width: int, head: int, cells: int) -> None:
        super().__init__()
        self.heads = max(1, width // head)
        self.place = nn.Parameter(torch.randn(cells * cells, width) * 0.02)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = _zero(nn.Linear(width, width))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), _zero(nn.Linear(4 * width, width)))

    def forward(self, x: torch.Tensor, azimuth: torch.Tensor, views: int) -> torch.Tensor:
        """Features of the shape of ``x`` [B * V, C, H, W]; ``azimuth`` [B * V, C] tells the views apart."""
        count, width, height, across = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        placed = self.norm1(tokens) + self.place + azimuth[:, None]
        joined = placed.reshape(count // views, views * height * across, width)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.query_key_value(joined).chunk(3, -1)
        )
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(seen).reshape(tokens.shape)
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


class _Layer(nn.Module):
    """A residual block, at some levels with attention across the views behind it."""

    def __init__(self, enter: int, leave: int, config: SynthesizerConfig, level: int) -> None:
        super().__init__()
        self.residual = _Residual(enter, leave, config.embedding)
        attends = level in config.attention
        self.azimuth = nn.Linear(config.embedding, leave) if attends else None
        self.attention = _AcrossViews(leave, config.head, config.grid >> level) if attends else None

    def forward(self, x: torch.Tensor, embedding: torch.Tensor, azimuth: torch.Tensor, views: int) -> torch.Tensor:
        """Features of ``x`` [B * V, enter, H, W]; both embeddings [B * V, E]."""
        x = self.residual(x, embedding)
        if self.attention is not None:
            x = self.attention(x, self.azimuth(azimuth), views)
        return x


class ViewUNet(nn.Module):
    """Predicts the velocity of all views' noisy latents together; see :mod:`.schedule` for what that is.

    The more noise, the more the answer begins as a linear guess from the conditions (at first the photo carried by the
    body) to which the layers add, so that training begins with a person instead of nothing.

    Args:
        config: sizes.

    Attributes:
        checkpointing: forget features of the layers in training and compute them again for the gradients.
    """

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.config, self.checkpointing = config, False
        c, widths = config, config.widths
        self.noise = nn.Sequential(
            nn.Linear(2 * _NOISE_WAVES, c.embedding), nn.SiLU(), nn.Linear(c.embedding, c.embedding)
        )
        self.azimuth = nn.Sequential(
            nn.Linear(2 * _AZIMUTH_WAVES, c.embedding), nn.SiLU(), nn.Linear(c.embedding, c.embedding)
        )
        self.enter = nn.Conv2d(c.channels + CONDITION_CHANNELS, widths[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        kept, width = [widths[0]], widths[0]
        for level, wide in enumerate(widths):
            for _ in range(c.blocks):
                self.down.append(_Layer(width, wide, c, level))
                width = wide
                kept.append(width)
            if level < len(widths) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                kept.append(width)
        last = len(widths) - 1
        self.middle = nn.ModuleList([_Layer(width, width, c, last), _Layer(width, width, c, last)])
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            for _ in range(c.blocks + 1):
                self.up.append(_Layer(width + kept.pop(), widths[level], c, level))
                width = widths[level]
            if level:
                self.grow.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.leave = _zero(nn.Conv2d(width, c.channels, 3, padding=1))
        self.guess = _zero(nn.Conv2d(CONDITION_CHANNELS, c.channels, 1))
        with torch.no_grad():
            self.guess.weight[:, channel_slice("carried_latent")] = torch.eye(c.channels)[..., None, None]

    def forward(
        self, latents: torch.Tensor, level: torch.Tensor, given: Conditions, azimuths: torch.Tensor
    ) -> torch.Tensor:
        """Velocity [B, V, 4, L, L].

        Args:
            latents: [B, V, 4, L, L], noisy, scaled to variance 1.
            level: [B], ln(sigma) / 4.
            given: from :func:`~.conditions.conditions`.
            azimuths: [B, V] degrees from the photo's view.
        """
        batch, views = latents.shape[:2]
        x = self.enter(torch.cat([latents, given.coarse], 2).flatten(0, 1))
        around = self.azimuth(_waves(torch.deg2rad(azimuths.flatten()), _AZIMUTH_WAVES, 2.0))
        # ln(sigma) / 4 spans about -1..1.1; the waves resolve from all of it down to a hundredth.
        noisy = self.noise(_waves(level * (math.pi / 2), _NOISE_WAVES, 1.8)).repeat_interleave(views, 0)
        embedding = functional.silu(noisy + around)

        def run(layer: _Layer, x: torch.Tensor) -> torch.Tensor:
            if self.checkpointing and self.training:
                return checkpoint(layer, x, embedding, around, views, use_reentrant=False)
            return layer(x, embedding, around, views)

        kept, layers = [x], iter(self.down)
        levels, blocks = len(self.config.widths), self.config.blocks
        for level_number in range(levels):
            for _ in range(blocks):
                x = run(next(layers), x)
                kept.append(x)
            if level_number < levels - 1:
                x = self.shrink[level_number](x)
                kept.append(x)
        for layer in self.middle:
            x = run(layer, x)
        layers = iter(self.up)
        for level_number in range(levels):
            for _ in range(blocks + 1):
                x = run(next(layers), torch.cat([x, kept.pop()], 1))
            if level_number < levels - 1:
                x = self.grow[level_number](functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        answer = self.leave(functional.silu(self.norm(x))).unflatten(0, (batch, views))
        # velocity = (noise - sigma * clean) / sqrt(sigma^2 + 1): what a guess of the clean latents takes part in it.
        sigma = torch.exp(4 * level)
        share = (sigma / (sigma.square() + 1).sqrt())[:, None, None, None, None]
        return answer - share * self.guess(given.coarse.flatten(0, 1)).unflatten(0, (batch, views))

    def denoise(
        self, noisy: torch.Tensor, sigma: torch.Tensor, given: Conditions, azimuths: torch.Tensor
    ) -> torch.Tensor:
        """Expected clean latents [B, V, 4, L, L] of ``noisy`` ones at noise levels ``sigma`` [B]."""
        s = scalings(sigma)
        skip, out, into = (v[:, None, None, None, None] for v in (s.skip, s.out, s.into))
        return skip * noisy + out * self(into * noisy, s.noise, given, azimuths)
