"""MV-Adapter in miniature with random weights: what tests and smoke runs use in place of gigabytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, ModelMixin, UNet2DConditionModel
from safetensors.torch import save_file

from ..synthesize.memory import MemoryMode, choose_mode
from .config import IG2MV, AdapterConfig, Variant
from .layout import SDXL_UNET, build_networks
from .model import AdapterNetworks, MultiviewDiffusion
from .schedule import shifted_scheduler
from .source import AdapterSource
from .text import PromptEmbeddings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TEXT_WIDTH = 32
"""Channels of each text encoder."""
TINY_UNET: dict[str, Any] = SDXL_UNET | {
    "sample_size": 8,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "cross_attention_dim": 2 * _TEXT_WIDTH,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 2, 4),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + _TEXT_WIDTH,
}
TINY_CONFIG = AdapterConfig(picture=64, steps=2)
SDXL_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "interpolation_type": "linear",
    "use_karras_sigmas": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
"""Of ``scheduler/scheduler_config.json`` of SDXL base 1.0."""


def tiny_vae() -> AutoencoderKL:
    """SDXL's autoencoder, factor 8, with 32 channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32,) * 4,
        sample_size=64,
        scaling_factor=0.13025,
        force_upcast=False,
    )


def tiny_adapter(
    variant: Variant = IG2MV, config: AdapterConfig = TINY_CONFIG, mode: MemoryMode | None = None
) -> AdapterSource:
    """An :class:`AdapterSource` with random weights on the processor.

    Args:
        variant: which of the published adapters it stands for.
        config: of 64 pixels or more.
        mode: None is the processor's.
    """
    unet, encoder = build_networks(TINY_UNET)
    prompts = PromptEmbeddings(torch.randn(2, 77, 2 * _TEXT_WIDTH), torch.randn(2, _TEXT_WIDTH))
    scheduler = shifted_scheduler(EulerDiscreteScheduler(**SDXL_SCHEDULE), config.shift)
    networks = AdapterNetworks(unet, encoder, tiny_vae(), scheduler, prompts)
    mode = choose_mode(None) if mode is None else mode
    return AdapterSource(MultiviewDiffusion(networks, config, variant, mode, torch.device("cpu")), [])


def write_tiny(folder: Path, variant: Variant = IG2MV, *, half: bool = False) -> dict[str, Path]:
    """Write a miniature with random weights in the published layout; needs ``transformers``.

    Args:
        folder: gets base/, vae/ and the adapter's file.
        variant: names the adapter's file.
        half: write files of half precision, ``*.fp16.safetensors``, instead of whole ones.

    Returns:
        What :func:`~backend.views.adapter.load.load_adapter` takes as ``parts``.
    """
    base = folder / "base"
    unet, encoder = build_networks(TINY_UNET)
    values = unet.state_dict()
    adapter = folder / f"mvadapter_{variant.name}_sdxl.safetensors"
    stock = UNet2DConditionModel.from_config(TINY_UNET)
    stock.load_state_dict({name: value for name, value in values.items() if ".processor." not in name})
    own = {name: value for name, value in values.items() if ".processor." in name}
    for network, place in ((stock, base / "unet"), (tiny_vae(), folder / "vae")):
        _save(network, place, half)
    save_file(own | encoder.state_dict(), str(adapter))
    EulerDiscreteScheduler(**SDXL_SCHEDULE).save_pretrained(base / "scheduler")
    _write_text(base, half)
    return {"base": base, "vae": folder / "vae", "adapter": adapter}


def _save(network: ModelMixin | PreTrainedModel, folder: Path, half: bool) -> None:
    """Write a network as ``diffusers`` and ``transformers`` do."""
    network.to(torch.float16 if half else torch.float32).save_pretrained(folder, variant="fp16" if half else None)


def _write_text(base: Path, half: bool) -> None:
    """Two text encoders and their tokenizers, which know single letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    letters = "abcdefghijklmnopqrstuvwxyz,"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    for suffix, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        config = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=_TEXT_WIDTH,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
        )
        _save(kind(config), base / f"text_encoder{suffix}", half)
        tokenizer = base / f"tokenizer{suffix}"
        tokenizer.mkdir()
        (tokenizer / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
        (tokenizer / "merges.txt").write_text("#version: 0.2\n")
        (tokenizer / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
        )
