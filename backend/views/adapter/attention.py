"""MV-Adapter's decoupled attention: beside each self-attention of SDXL's UNet, one across views and one to the photo.

Names of the weights are those of the published files: ``<block>.attn1.processor.to_{q,k,v,out}_{mv,ref}``. The
architecture is from Huang et al., "MV-Adapter: Multi-view Consistent Image Generation Made Easy" (ICCV 2025), and from
the repository huanngzh/MV-Adapter, ``mvadapter/models/attention_processor.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn
from torch.nn import functional

_ROUND_VIEWS = 4
"""Views around the person (front, left, back, right), which attend to each other along rows where there are columns."""
_COLUMN_VIEWS = (0, 2, 4, 5)
"""Front, back, top, bottom: their pictures show the same vertical plane through the person in the same columns."""


@dataclass(frozen=True)
class ViewExchange:
    """What the self-attention layers are given of the views and the reference in one call of the UNet.

    Attributes:
        views: how many pictures of the batch show one person; they follow each other.
        columns: see :class:`~backend.views.adapter.config.Variant`.
        reference: input of each layer as it was for the reference picture, by the layer's name, [B, L, C] for B
            people. Zeros stand for no reference. None: neither views nor a reference are attended to.
        record: gets the layers' inputs, by name. None: nothing is recorded.
    """

    views: int = 1
    columns: bool = False
    reference: dict[str, torch.Tensor] | None = None
    record: dict[str, torch.Tensor] | None = None


class MultiviewAttention(nn.Module):
    """Processor of a self-attention layer: SDXL's own attention plus that across views plus that to the reference.

    Args:
        channels: of the layer.
        name: of the layer, under which the reference's input is recorded and found.
    """

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self.name = name
        for kind in ("mv", "ref"):
            for role in ("q", "k", "v"):
                self.add_module(f"to_{role}_{kind}", nn.Linear(channels, channels, bias=False))
            # A list, for the published names to_out_mv.0.weight and to_out_mv.0.bias.
            self.add_module(f"to_out_{kind}", nn.ModuleList([nn.Linear(channels, channels)]))

    # Not ``forward``: diffusers reads the names of the arguments that it may pass from ``__call__``.
    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        exchange: ViewExchange | None = None,
    ) -> torch.Tensor:
        """Answer [B V, L, C] to ``hidden_states`` [B V, L, C] of square pictures, row by row.

        ``encoder_hidden_states``, ``attention_mask`` and ``temb`` are None in self-attention of SDXL.
        """
        heads = attn.heads
        query, key, value = (_split(layer(hidden_states), heads) for layer in (attn.to_q, attn.to_k, attn.to_v))
        own = attn.to_out[0](_merge(functional.scaled_dot_product_attention(query, key, value)))
        if exchange is None:
            return own
        if exchange.record is not None:
            exchange.record[self.name] = hidden_states
        if exchange.reference is None:
            return own
        across = self._across_views(hidden_states, heads, exchange)
        return own + across + self._to_reference(hidden_states, heads, exchange.reference[self.name])

    def _across_views(self, hidden_states: torch.Tensor, heads: int, exchange: ViewExchange) -> torch.Tensor:
        side = math.isqrt(hidden_states.shape[1])
        query, key, value = (
            layer(hidden_states).view(-1, exchange.views, side, side, heads, hidden_states.shape[2] // heads)
            for layer in (self.to_q_mv, self.to_k_mv, self.to_v_mv)
        )
        attend = attend_rows_and_columns if exchange.columns else attend_rows
        return self.to_out_mv[0](attend(query, key, value).reshape(hidden_states.shape))

    def _to_reference(self, hidden_states: torch.Tensor, heads: int, reference: torch.Tensor) -> torch.Tensor:
        # All views of a person attend to the same reference: their queries stand in one row.
        rows = self.to_q_ref(hidden_states).reshape(len(reference), -1, hidden_states.shape[2])
        query, key, value = (
            _split(values, heads) for values in (rows, self.to_k_ref(reference), self.to_v_ref(reference))
        )
        found = _merge(functional.scaled_dot_product_attention(query, key, value))
        return self.to_out_ref[0](found.reshape(hidden_states.shape))


class TextAttention(AttnProcessor2_0):
    """Processor of a cross-attention layer to the prompt: the stock one, which ignores the other views."""

    def __call__(
        self, *given: torch.Tensor, exchange: ViewExchange | None = None, **named: torch.Tensor
    ) -> torch.Tensor:
        """See ``AttnProcessor2_0``."""
        return super().__call__(*given, **named)


def _split(values: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, L, C] to [B, heads, L, C / heads]."""
    return values.unflatten(2, (heads, -1)).transpose(1, 2)


def _merge(values: torch.Tensor) -> torch.Tensor:
    """[B, heads, L, D] to [B, L, heads D]."""
    return values.transpose(1, 2).flatten(2)


def attend_rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention of each pixel to the pixels of the same row in all views; all tensors are [B, V, H, W, heads, D]."""
    batch, views, height, width, heads, size = query.shape
    rows = [
        values.permute(0, 2, 4, 1, 3, 5).reshape(batch * height, heads, views * width, size)
        for values in (query, key, value)
    ]
    found = functional.scaled_dot_product_attention(*rows)
    return found.view(batch, height, heads, views, width, size).permute(0, 3, 1, 4, 2, 5)


def attend_rows_and_columns(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention along rows of the views around and along columns of front, back, top and bottom.

    Front and back, which take part in both, get the mean. All tensors are [B, 6, H, W, heads, D]; see
    :class:`~backend.views.adapter.config.Variant` for the order of views.
    """
    rows = attend_rows(*(values[:, :_ROUND_VIEWS] for values in (query, key, value)))
    columns = attend_rows(*(_columns(values).transpose(2, 3) for values in (query, key, value))).transpose(2, 3)
    front, back, top, bottom = columns.unbind(1)
    # The front's picture is the mirror image of the back's columns.
    views = [(rows[:, 0] + front.flip(2)) / 2, rows[:, 1], (rows[:, 2] + back) / 2, rows[:, 3], top, bottom]
    return torch.stack(views, 1)


def _columns(values: torch.Tensor) -> torch.Tensor:
    """Front (mirrored), back, top and bottom [B, 4, H, W, heads, D]."""
    front, *others = (values[:, view] for view in _COLUMN_VIEWS)
    return torch.stack([front.flip(2), *others], 1)


def install_attention(unet: UNet2DConditionModel) -> None:
    """Give all attention layers of ``unet`` MV-Adapter's processors; their weights are as PyTorch initialises them."""
    processors: dict[str, nn.Module | AttnProcessor2_0] = {}
    for name in unet.attn_processors:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        own = name.endswith("attn1.processor")
        processors[name] = MultiviewAttention(layer.to_q.in_features, name) if own else TextAttention()
    unet.set_attn_processor(processors)
