"""How the ``full`` model fits into the memory of a graphics card.

Which economy is used when follows from sizes: at half precision the UNet's weights take 3.1 GB, CLIP's 1.3 GB and the
VAE's 0.2 GB; the rest is for features. The thresholds have not been measured on cards of these sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ...errors import BackendError

Offload = Literal["none", "parts", "layers"]
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class MemoryMode:
    """How to hold and run the model.

    Attributes:
        name: e.g. "16 GB".
        dtype: of UNet and CLIP; the VAE encodes in float32, as it overflows in half precision.
        offload: "none" keeps everything on the card; "parts" only the network at work; "layers" only the layer at
            work, which is slow.
        split_guidance: run with and without the photo one after the other instead of together.
        slicing: compute attention in slices and feed-forward layers frame by frame.
        tiling: let the VAE work on tiles where it can.
        decode_chunk: frames that the VAE decodes at a time.
        sentence: for the panel.
    """

    name: str
    dtype: torch.dtype
    offload: Offload
    split_guidance: bool
    slicing: bool
    tiling: bool
    decode_chunk: int
    sentence: str


_LEAST = 5 * GIGABYTE
_MODES: tuple[tuple[int, str, Offload, bool, bool, bool, int, str], ...] = (
    (21, "24 GB", "none", False, False, False, 8, "Everything stays on the graphics card."),
    (14, "16 GB", "none", True, False, False, 4, "Everything stays on the graphics card; guidance takes two passes."),
    (10, "12 GB", "parts", True, False, True, 2, "Only the network at work is on the graphics card."),
    (0, "8 GB", "layers", True, True, True, 1, "Layers visit the graphics card one by one: this is slow."),
)


def choose_mode(free: int | None, bf16: bool = False) -> MemoryMode:
    """The fastest mode that should fit.

    A card's own display and driver take some of its memory, so a mode named after a card asks for 2 GB less.

    Args:
        free: bytes free on the card; None is no card.
        bf16: whether the card computes in bfloat16, which does not overflow; else float16.

    Raises:
        BackendError: kind ``memory_short`` below 5 GB.
    """
    if free is None:
        return MemoryMode(
            "processor",
            torch.float32,
            "none",
            True,
            False,
            False,
            1,
            "There is no graphics card: this takes very long.",
        )
    if free < _LEAST:
        raise BackendError(
            "memory_short",
            f"The graphics card has {free / GIGABYTE:.1f} GB free; the full synthesizer needs {_LEAST // GIGABYTE}.",
            "Close other programs that use the card, or choose the preset lite.",
        )
    dtype = torch.bfloat16 if bf16 else torch.float16
    for least, name, offload, split, slicing, tiling, chunk, sentence in _MODES:
        if free >= least * GIGABYTE:
            return MemoryMode(name, dtype, offload, split, slicing, tiling, chunk, sentence)
    raise AssertionError("the last mode takes any amount")


def mode_for(device: torch.device) -> MemoryMode:
    """The mode for what is free on ``device`` now.

    Raises:
        BackendError: kind ``memory_short``.
    """
    if device.type != "cuda":
        return choose_mode(None)
    return choose_mode(torch.cuda.mem_get_info(device)[0], torch.cuda.is_bf16_supported())


def bring_layers(network: nn.Module, device: torch.device) -> None:
    """Keep the weights of ``network`` in main memory and bring each layer's to ``device`` only while it works.

    ``diffusers`` can do this too, but only with the package ``accelerate``.
    """
    network.to("cpu")
    for layer in network.modules():
        own = dict(layer.named_parameters(recurse=False))
        if not own:
            continue
        kept = {name: parameter.data for name, parameter in own.items()}

        def bring(layer: nn.Module, given: object, kept: dict[str, torch.Tensor] = kept) -> None:
            for name, values in kept.items():
                getattr(layer, name).data = values.to(device, non_blocking=True)

        def leave(layer: nn.Module, given: object, answer: object, kept: dict[str, torch.Tensor] = kept) -> None:
            for name, values in kept.items():
                getattr(layer, name).data = values

        layer.register_forward_pre_hook(bring)
        layer.register_forward_hook(leave)


def apply(mode: MemoryMode, unet: nn.Module, vae: nn.Module, device: torch.device) -> None:
    """Set up UNet and VAE for ``mode``; with offload "parts" the caller moves the networks.

    Args:
        mode: see there.
        unet: a ``diffusers`` model, gets the mode's precision.
        vae: a ``diffusers`` autoencoder, stays in float32.
        device: of the computation.
    """
    if next(unet.parameters()).dtype != mode.dtype:
        unet.to(mode.dtype)
    if mode.slicing:
        for module in unet.modules():
            if hasattr(module, "set_attention_slice") and module is not unet:
                module.set_attention_slice(1)
        unet.enable_forward_chunking(1)
    if mode.tiling and hasattr(vae, "use_tiling"):
        vae.enable_tiling()
    if mode.offload == "none":
        unet.to(device)
        vae.to(device)
    elif mode.offload == "layers":
        bring_layers(unet, device)
