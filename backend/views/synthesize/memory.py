"""How large diffusion models fit into the memory of a graphics card.

Which economy is used when follows from sizes: at half precision the weights of SV3D's UNet take 3.1 GB, CLIP's 1.3 GB
and the VAE's 0.2 GB; those of SDXL's UNet with MV-Adapter 6.8 GB, of its encoder of conditions and VAE 0.3 GB. The rest
is for features. The thresholds have not been measured on cards of these sizes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
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


def choose_mode(free: int | None, bf16: bool = False, title: str = "the full synthesizer") -> MemoryMode:
    """The fastest mode that should fit.

    A card's own display and driver take some of its memory, so a mode named after a card asks for 2 GB less.

    Args:
        free: bytes free on the card; None is no card.
        bf16: whether the card computes in bfloat16, which does not overflow; else float16.
        title: of the model, as the error's sentence names it.

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
            f"The graphics card has {free / GIGABYTE:.1f} GB free; {title} needs {_LEAST // GIGABYTE}.",
            "Close other programs that use the card, or choose another source of the other sides.",
        )
    dtype = torch.bfloat16 if bf16 else torch.float16
    for least, name, *economies in _MODES:
        if free >= least * GIGABYTE:
            return MemoryMode(name, dtype, *economies)
    raise AssertionError("the last mode takes any amount")


def hold(
    mode: MemoryMode,
    networks: Sequence[nn.Module],
    device: torch.device,
    place: Callable[[MemoryMode], None],
    title: str,
) -> MemoryMode:
    """Hold networks as ``mode`` says, or as the next smaller one for which there is memory; the one that was taken.

    Once layers visit the card one by one, there is no way back.

    Args:
        mode: the first to try.
        networks: taken off the card before each try.
        device: where they compute.
        place: puts them where a mode says.
        title: of the model, as the error's sentence names it.

    Raises:
        BackendError: kind ``memory_short``.
    """
    while True:
        for network in networks:
            network.to("cpu")
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            place(mode)
        except torch.OutOfMemoryError:
            mode = smaller_mode(mode, title)
        else:
            return mode


def smaller_mode(mode: MemoryMode, title: str) -> MemoryMode:
    """The next mode that needs less memory, of the same precision.

    Args:
        mode: in which memory ran out.
        title: of the model, as the error's sentence names it.

    Raises:
        BackendError: kind ``memory_short`` where there is none.
    """
    names = [name for _, name, *_ in _MODES]
    if mode.name not in names[:-1]:
        raise BackendError(
            "memory_short",
            f"The graphics card's memory is too small for {title}, even layer by layer.",
            "Close other programs that use the card, or choose another source of the other sides.",
        )
    _, name, *economies = _MODES[names.index(mode.name) + 1]
    return MemoryMode(name, mode.dtype, *economies)


def mode_for(device: torch.device, title: str = "the full synthesizer") -> MemoryMode:
    """The mode for what is free on ``device`` now; ``title`` as in :func:`choose_mode`.

    Raises:
        BackendError: kind ``memory_short``.
    """
    if device.type != "cuda":
        return choose_mode(None)
    return choose_mode(torch.cuda.mem_get_info(device)[0], torch.cuda.is_bf16_supported(), title)


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


def told(step: Callable[[float, str], None], mode: MemoryMode) -> Callable[[float, str], None]:
    """``step`` whose texts also name the mode in which a model works."""
    return lambda fraction, text: step(fraction, f"{text} (memory: {mode.name})")


@contextlib.contextmanager
def at_work(network: nn.Module, mode: MemoryMode, device: torch.device, *, layered: bool = False) -> Iterator[None]:
    """Hold ``network`` on ``device`` while it is used, where ``mode`` keeps it elsewhere otherwise.

    Args:
        network: one of a model's.
        mode: of the model.
        device: of the computation.
        layered: it is the network whose layers come one by one with offload "layers".
    """
    comes = mode.offload == "parts" or (mode.offload == "layers" and not layered)
    if comes:
        network.to(device)
    try:
        yield
    finally:
        if comes:
            network.to("cpu")


def apply(
    mode: MemoryMode, unet: nn.Module, vae: nn.Module, device: torch.device, *, slice_attention: bool = True
) -> None:
    """Set up UNet and VAE for ``mode``; with offload "parts" the caller moves the networks.

    Args:
        mode: see there.
        unet: a ``diffusers`` model, gets the mode's precision.
        vae: a ``diffusers`` autoencoder, keeps its precision.
        device: of the computation.
        slice_attention: whether ``mode.slicing`` also gives the attention layers the processors that ``diffusers`` has
            for it; a UNet with processors of its own keeps them.
    """
    if next(unet.parameters()).dtype != mode.dtype:
        unet.to(mode.dtype)
    if mode.slicing:
        for module in unet.modules():
            if slice_attention and hasattr(module, "set_attention_slice") and module is not unet:
                module.set_attention_slice(1)
            if hasattr(module, "set_chunk_feed_forward"):
                module.set_chunk_feed_forward(1, dim=0)
    if mode.tiling and hasattr(vae, "use_tiling"):
        vae.enable_tiling()
    if mode.offload == "none":
        unet.to(device)
        vae.to(device)
    elif mode.offload == "layers":
        bring_layers(unet, device)
