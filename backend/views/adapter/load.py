"""MV-Adapter from files on this computer."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler
from safetensors import SafetensorError, safe_open
from torch import nn

from ...errors import BackendError
from ..synthesize.memory import MemoryMode, mode_for
from .config import IG2MV, TITLE, VARIANTS, AdapterConfig, Variant
from .layout import check_adapter, check_base, empty_networks, read_config, weight_files
from .model import AdapterNetworks, MultiviewDiffusion
from .schedule import shifted_scheduler
from .source import AdapterSource
from .text import encode_prompts, require_transformers

PARTS = ("base", "vae", "adapter")
BASE_FOLDERS = ("unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
"""What is used of the base model's folder; its own VAE is not."""
_LICENCES = {"base": "CreativeML Open RAIL++-M", "vae": "MIT", "adapter": "Apache-2.0"}
_CHUNK = 1 << 24
"""Bytes that are hashed at a time."""


def load_adapter(
    parts: Mapping[str, Path],
    device: torch.device | str,
    mode: MemoryMode | None = None,
    *,
    config: AdapterConfig | None = None,
    described: Sequence[dict[str, str]] | None = None,
) -> AdapterSource:
    """MV-Adapter on SDXL. Only safetensors and JSON files are opened, and nothing is fetched.

    Args:
        parts: "base": folder of ``stabilityai/stable-diffusion-xl-base-1.0`` in the layout of ``diffusers``; "vae":
            folder of ``madebyollin/sdxl-vae-fp16-fix``; "adapter": ``mvadapter_ig2mv_sdxl.safetensors`` (guided by the
            mesh) or ``mvadapter_i2mv_sdxl.safetensors`` (guided by cameras alone), under its published name.
        device: where to compute.
        mode: None chooses by the memory that is free.
        config: None takes the published settings.
        described: what an avatar package says of the weights; None hashes the files for it, 10 GB.

    Raises:
        BackendError: kinds ``weights_missing``, ``weights_unsafe``, ``weights_damaged``, ``weights_mismatch``,
            ``package_missing``, ``memory_short``.
    """
    device, config = torch.device(device), config or AdapterConfig()
    base, vae_folder, adapter = _found(parts)
    require_transformers()
    files = {name: weight_files(base / name) for name in ("unet", "text_encoder", "text_encoder_2")}
    files["vae"] = weight_files(vae_folder)
    unet_config = read_config(base / "unet")
    try:
        unet, encoder = empty_networks(unet_config)
    except (TypeError, ValueError, KeyError) as error:
        raise BackendError(
            "weights_mismatch", f"{base} is no SDXL model: its unet/config.json describes none.", "Give SDXL base 1.0."
        ) from error
    check_adapter(adapter, unet, encoder)
    variant = variant_of(adapter)
    check_base(files["unet"][0], unet, base / "unet")
    if mode is None:
        mode = mode_for(device, TITLE)
        if mode.dtype is torch.bfloat16:
            # The published scripts sample in float16, which is more exact; SDXL's UNet does not overflow in it.
            mode = replace(mode, dtype=torch.float16)
    try:
        scheduler = EulerDiscreteScheduler.from_pretrained(str(base / "scheduler"), local_files_only=True)
        variants = {name: found[1] for name, found in files.items()}
        prompts = encode_prompts(base, config.negative_prompt, config.prompt, variants, device)
        vae = AutoencoderKL.from_pretrained(
            str(vae_folder),
            variant=files["vae"][1],
            use_safetensors=True,
            local_files_only=True,
            # The economical way needs the package accelerate.
            low_cpu_mem_usage=False,
        )
    except torch.OutOfMemoryError as error:
        raise BackendError(
            "memory_short",
            f"The graphics card's memory is too small for {TITLE}'s text encoders.",
            "Close other programs that use the card, or choose another source of the other sides.",
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendError(
            "weights_damaged", f"SDXL cannot be loaded from {base} and {vae_folder}: {reason}", "Download them again."
        ) from error
    # The text encoders are no longer needed; what they took is for the UNet.
    gc.collect()
    read_weights(unet, [*files["unet"][0], adapter], mode.dtype)
    read_weights(encoder, [adapter], mode.dtype)
    networks = AdapterNetworks(unet, encoder, vae, shifted_scheduler(scheduler, config.shift), prompts)
    if described is None:
        described = [
            *(
                _described("vae" if name == "vae" else "base", path, vae_folder if name == "vae" else base)
                for name, (paths, _) in files.items()
                for path in paths
            ),
            _described("adapter", adapter, adapter.parent),
        ]
    return AdapterSource(MultiviewDiffusion(networks, config, variant, mode, device), described)


def variant_of(adapter: Path) -> Variant:
    """The variant that the file's name tells: the files' contents are alike.

    Raises:
        BackendError: kind ``weights_mismatch``.
    """
    # ig2mv contains no i2mv, so the order does not matter.
    for variant in VARIANTS:
        if variant.name in adapter.name:
            return variant
    names = " or ".join(f"mvadapter_{variant.name}_sdxl.safetensors" for variant in VARIANTS)
    raise BackendError(
        "weights_mismatch",
        f"The name {adapter.name} does not say which MV-Adapter this is.",
        f"Give {names} under its published name; {IG2MV.name} is the better one here.",
    )


def read_weights(network: nn.Module, files: Iterable[Path], dtype: torch.dtype) -> None:
    """Give ``network``, which is empty, those tensors of ``files`` that it has, as ``dtype``.

    Raises:
        BackendError: kind ``weights_damaged``, also where a number is not finite.
    """
    wanted = network.state_dict().keys()
    values: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in wanted & set(file.keys()):
                    values[name] = file.get_tensor(name).to(dtype)
                    if not values[name].sum(dtype=torch.float32).isfinite():
                        raise BackendError(
                            "weights_damaged", f"{path.name} is damaged: {name} has no numbers.", "Download it again."
                        )
        except (OSError, SafetensorError) as error:
            raise BackendError("weights_damaged", f"{path.name} cannot be read.", "Download it again.") from error
    network.load_state_dict(values, assign=True)


def _found(parts: Mapping[str, Path]) -> tuple[Path, Path, Path]:
    """Folders of base and VAE and the adapter's file, which exist."""
    how = "See docs/models.md, MV-Adapter, for the files that are needed and how to get them."
    for part in PARTS:
        if part not in parts or not Path(parts[part]).exists():
            where = f": there is no {parts[part]}" if part in parts else ""
            raise BackendError("weights_missing", f"MV-Adapter's part {part} is missing{where}.", how)
    base, vae, adapter = (Path(parts[part]) for part in PARTS)
    for name in BASE_FOLDERS:
        if not (base / name).is_dir():
            raise BackendError("weights_missing", f"{base} has no folder {name}.", how)
    return base, vae, adapter


def _described(part: str, path: Path, folder: Path) -> dict[str, str]:
    """What an avatar package says of one file of weights."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    name = f"mv-adapter/{part}/{path.relative_to(folder).as_posix()}"
    return {"name": name, "sha256": digest.hexdigest(), "licence": _LICENCES[part]}
