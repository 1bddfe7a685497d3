"""What the files of MV-Adapter must hold: names and shapes, compared before gigabytes are read.

What is expected follows from the configuration of the base model's UNet; :data:`SDXL_UNET` is the one for which the
adapters were published.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import T2IAdapter, UNet2DConditionModel

from ...errors import BackendError
from ..synthesize.layout import differences, read_shapes
from .attention import install_attention

SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""Geometry of the UNet of ``stabilityai/stable-diffusion-xl-base-1.0`` (its ``unet/config.json``)."""
CONDITION_CHANNELS = 6
_WEIGHT_NAMES = ("diffusion_pytorch_model.", "diffusion_pytorch_model-", "model.", "model-")
"""How names of weight files of ``diffusers`` and ``transformers`` begin, whole and in parts."""
_GET = "See docs/models.md, MV-Adapter, for the files that are needed and how to get them."
_AGAIN = "Download it again."


def build_networks(unet_config: dict[str, Any]) -> tuple[UNet2DConditionModel, T2IAdapter]:
    """The UNet with MV-Adapter's attention and the encoder of conditions, with random weights.

    The encoder is T2I-Adapter's for SDXL (Mou et al. 2023), whose features have the channels and sizes of the UNet's
    levels.

    Args:
        unet_config: as in ``unet/config.json``.
    """
    unet = UNet2DConditionModel.from_config(unet_config)
    install_attention(unet)
    widths = list(unet.config.block_out_channels)
    encoder = T2IAdapter(
        in_channels=CONDITION_CHANNELS,
        channels=[*widths, widths[-1]],
        num_res_blocks=2,
        downscale_factor=16,
        adapter_type="full_adapter_xl",
    )
    return unet, encoder


def empty_networks(unet_config: dict[str, Any]) -> tuple[UNet2DConditionModel, T2IAdapter]:
    """:func:`build_networks` on the meta device: names and shapes, without memory for weights."""
    with torch.device("meta"):
        return build_networks(unet_config)


def base_shapes(unet: UNet2DConditionModel) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of the base model's UNet."""
    return {name: tuple(value.shape) for name, value in unet.state_dict().items() if ".processor." not in name}


def adapter_shapes(unet: UNet2DConditionModel, encoder: T2IAdapter) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of an adapter file: processors by the UNet's names, the encoder's by its own."""
    values = {name: value for name, value in unet.state_dict().items() if ".processor." in name}
    return {name: tuple(value.shape) for name, value in (values | encoder.state_dict()).items()}


def weight_files(folder: Path) -> tuple[list[Path], str | None]:
    """The safetensors of one part of a ``diffusers`` folder, and the variant that ``from_pretrained`` finds them by.

    Where there are files of half precision (``*.fp16.safetensors``) it is those, for they are read in half the time.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_unsafe`` (only pickles).
    """
    # Published folders also hold the same weights in the layouts of other programs, under other names.
    files = sorted(file for file in folder.glob("*.safetensors") if file.name.startswith(_WEIGHT_NAMES))
    halves = [file for file in files if ".fp16" in file.name]
    if files:
        return (halves, "fp16") if halves else (files, None)
    if any(folder.glob("*.bin")) or any(folder.glob("*.ckpt")):
        raise BackendError(
            "weights_unsafe",
            f"{folder} holds weights only as pickles, which can run programs on your computer.",
            "Give weights as safetensors.",
        )
    raise BackendError("weights_missing", f"There are no weights in {folder}.", _GET)


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of one part of a ``diffusers`` folder.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_damaged``.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BackendError("weights_missing", f"{folder} has no config.json.", _GET)
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BackendError("weights_damaged", f"{path} is no readable JSON file.", _AGAIN) from error
    if not isinstance(found, dict):
        raise BackendError("weights_damaged", f"{path} holds no settings.", _AGAIN)
    return found


def check_base(files: Sequence[Path], unet: UNet2DConditionModel, folder: Path) -> None:
    """Compare the base model's UNet in ``files`` with its configuration.

    Raises:
        BackendError: kinds ``weights_damaged``, ``weights_mismatch``.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        found |= read_shapes(path)
    wrong = differences(base_shapes(unet), found)
    if wrong:
        raise BackendError(
            "weights_mismatch",
            f"{folder} does not fit its config.json: {'; '.join(wrong)}.",
            "Download the folder again.",
        )


def check_adapter(path: Path, unet: UNet2DConditionModel, encoder: T2IAdapter) -> None:
    """Compare an adapter file with what the base model needs, by its header alone.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_unsafe``, ``weights_damaged``, ``weights_mismatch``.
    """
    if not path.is_file():
        raise BackendError("weights_missing", f"There is no file {path}.", _GET)
    if path.suffix != ".safetensors":
        raise BackendError(
            "weights_unsafe",
            f"{path.name} is no safetensors file; other formats can run programs on your computer.",
            "Give the adapter as safetensors, as it is published.",
        )
    found = read_shapes(path)
    wrong = differences(adapter_shapes(unet, encoder), found)
    if not wrong:
        return
    hint = "Give mvadapter_ig2mv_sdxl.safetensors or mvadapter_i2mv_sdxl.safetensors, on SDXL base 1.0."
    if found and not any("_ref." in name for name in found):
        hint = "This adapter is guided by text and knows no reference picture. " + hint
    raise BackendError("weights_mismatch", f"{path.name} does not fit the base model: {'; '.join(wrong)}.", hint)
