"""Trained networks from files: the one way in which weights are read, and what is said of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from .errors import BackendError


def read_network(network: nn.Module, path: Path) -> nn.Module:
    """Load fp16 safetensors into ``network``.

    Raises:
        BackendError: kind ``weights_missing`` or ``weights_damaged``.
    """
    if not path.is_file():
        raise BackendError(
            "weights_missing",
            f"The weights {path.name} are not installed.",
            "Choose the preset surface, or train them.",
        )
    try:
        values = load_file(str(path))
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in values.items()})
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            "weights_damaged",
            f"The weights {path.name} cannot be read: they are damaged or of another version.",
            "Install HumanSplat again, or choose the preset surface.",
        ) from error
    except Exception as error:  # safetensors raises a class of its own that is no ValueError
        if type(error).__module__.startswith("safetensors"):
            raise BackendError(
                "weights_damaged",
                f"The weights {path.name} cannot be read: the file is damaged.",
                "Install HumanSplat again, or choose the preset surface.",
            ) from error
        raise
    return network


def read_frozen(network: nn.Module, path: Path, device: torch.device | str) -> nn.Module:
    """:func:`read_network` for what is used, not trained: on ``device``, laid out as convolutions like it."""
    network = read_network(network, path).to(device, memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()


def describe(folder: Path, *names: str) -> list[dict[str, str]]:
    """What an avatar package says of the weights ``names`` in ``folder``."""
    return [
        {
            "name": f"{folder.name}/{name}",
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "licence": "GPL-3.0-or-later",
        }
        for name in names
    ]
