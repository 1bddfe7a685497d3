"""Layers of the transformer: attention over all views, attention to the body tokens near by, feed-forward."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention.

    Args:
        width: of queries and answers.
        heads: divides ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Answers [B, N, C] to ``x`` [B, N, C] from ``context`` [B, M, C]; ``mask`` bool [B, N, M], True may look."""

        def split(value: torch.Tensor) -> torch.Tensor:
            return value.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        key, value = self.key_value(context).chunk(2, -1)
        answer = functional.scaled_dot_product_attention(
            split(self.query(x)), split(key), split(value), None if mask is None else mask[:, None]
        )
        return self.out(answer.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward; optionally a look at the body between them.

    Args:
        width, heads, mlp: sizes.
        body: whether it looks at the body.
        skip: whether it also takes the features of an earlier block (U-ViT; Bao et al. 2023).
    """

    def __init__(self, width: int, heads: int, mlp: int, *, body: bool = False, skip: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.join = nn.Linear(2 * width, width) if skip else None
        self.body_norm = nn.LayerNorm(width) if body else None
        self.body_attention = Attention(width, heads) if body else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, mlp * width), nn.GELU(), nn.Linear(mlp * width, width)
        )

    def forward(
        self,
        x: torch.Tensor,
        body: torch.Tensor | None = None,
        window: torch.Tensor | None = None,
        earlier: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features [B, N, C] after the block.

        Args:
            x: [B, N, C].
            body: [B, M, C] body tokens.
            window: bool [B, N, M], which of them each token may look at.
            earlier: [B, N, C] for blocks with ``skip``.
        """
        if self.join is not None and earlier is not None:
            x = self.join(torch.cat([x, earlier], -1))
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        if self.body_attention is not None and body is not None:
            x = x + self.body_attention(self.body_norm(x), body, window)
        return x + self.mlp(x)


def body_window(place: torch.Tensor, cells: int, window: int | None) -> torch.Tensor:
    """Which body tokens each image token may look at: projection-aware window attention.

    Args:
        place: [B, V, M, 2], where body tokens project, 0..1 across and down.
        cells: tokens a side of a view.
        window: in cells; 0 is the token's own cell, None is everywhere.

    Returns:
        bool [B, V * cells * cells, M].
    """
    batch, views, count, _ = place.shape
    if window is None:
        return torch.ones(batch, views * cells * cells, count, dtype=torch.bool, device=place.device)
    at = (place * cells).floor()
    grid = torch.arange(cells, device=place.device)
    near_x = (at[..., None, 0] - grid).abs() <= window  # [B, V, M, cells]
    near_y = (at[..., None, 1] - grid).abs() <= window
    both = near_y[..., :, None] & near_x[..., None, :]  # [B, V, M, rows, columns]
    return both.permute(0, 1, 3, 4, 2).reshape(batch, views * cells * cells, count)


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, S, S] to the same shape."""
        return x + self.layers(x)


class FineMaps(nn.Module):
    """Networks that end in maps of twice the size of their features, which see the pictures at that size."""

    def add_end(self, features: int, fine: int, channels: int) -> None:
        """Layers from ``features`` over ``fine`` channels to ``channels``, which give zeros before training."""
        self.enlarge = nn.Conv2d(features, 4 * fine, 1)
        self.see = nn.Conv2d(fine + 4, fine, 3, padding=1)
        self.fine = Residual(fine)
        self.leave = nn.Conv2d(fine, channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def end(self, x: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """[V, channels, 2 S, 2 S] of features ``x`` [V, F, S, S] and ``pictures`` [V, 4, 2 S, 2 S]."""
        x = functional.pixel_shuffle(self.enlarge(x), 2)
        return self.leave(functional.silu(self.fine(self.see(torch.cat([x, pictures], 1)))))
