"""SV3D's parts in miniature with random weights: what tests and smoke runs use in place of gigabytes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch import nn
from torch.nn import functional

from .config import FullConfig
from .full import SVD_SCHEDULE, FullSynthesizer, SV3DUNet
from .memory import MemoryMode, choose_mode

TINY_UNET: dict[str, object] = {
    "block_out_channels": (32, 32, 64, 64),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 40,
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "num_attention_heads": (1, 1, 2, 2),
}


class TinyEmbedder(nn.Module):
    """A linear map of a 4 x 4 thumbnail to 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(48, 16)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Embedding [B, 1, 16] of ``rgb`` [B, 3, S, S] in 0..1."""
        small = functional.adaptive_avg_pool2d(rgb.to(self.project.weight.dtype), 4)
        return self.project(small.flatten(1))[:, None]


def tiny_vae() -> AutoencoderKLTemporalDecoder:
    """SVD's autoencoder, factor 8, with 32 channels."""
    return AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32, 32, 32, 32), sample_size=64
    )


def tiny_full(config: FullConfig, device: str = "cpu", mode: MemoryMode | None = None) -> FullSynthesizer:
    """A :class:`FullSynthesizer` with random weights.

    Args:
        config: of 64 pixels or more.
        device: where to compute.
        mode: None is the processor's.
    """
    return FullSynthesizer(
        SV3DUNet(**TINY_UNET),
        tiny_vae(),
        TinyEmbedder(),
        EulerDiscreteScheduler(**SVD_SCHEDULE),
        config,
        choose_mode(None) if mode is None else mode,
        device,
    )


def write_tiny(folder: Path) -> None:
    """Write a miniature with random weights in the layout that :func:`~.full.load_full` reads; needs ``transformers``.

    Its UNet has not the shapes of :func:`~.layout.expected_shapes`.

    Args:
        folder: gets unet/, vae/, image_encoder/, scheduler/ and feature_extractor/.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = SV3DUNet(**TINY_UNET)
    encoder = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        projection_dim=unet.config.cross_attention_dim,
    )
    unet.save_pretrained(folder / "unet")
    tiny_vae().save_pretrained(folder / "vae")
    CLIPVisionModelWithProjection(encoder).save_pretrained(folder / "image_encoder")
    EulerDiscreteScheduler(**SVD_SCHEDULE).save_pretrained(folder / "scheduler")
    settings = folder / "feature_extractor" / "preprocessor_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}), "utf-8")
