"""Trained networks from files: the one way in which weights are read, and what is said of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ..errors import BackendError
from ..manifest import check_digest

_SCALE = ":scale"
"""Ends the name of what whole numbers are multiplied with; no parameter's name holds a colon."""


def in_eight_bits(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as whole numbers of -127..127 times a scale for each row of the first axis: half the size of fp16.

    Vectors (biases, norms), which are few numbers, stay as they are.
    """
    packed = {}
    for name, value in values.items():
        if not value.is_floating_point() or value.dim() < 2:
            packed[name] = value
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp(min=1e-7).half()
        packed[name] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).reshape(value.shape)
        packed[name + _SCALE] = scale
    return packed


def unpacked(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as float32, of fp16 and of what :func:`in_eight_bits` gave."""
    found = {}
    for name, value in values.items():
        scale = values.get(name + _SCALE)
        if scale is not None:
            found[name] = value.float() * scale.float().reshape(-1, *(1,) * (value.dim() - 1))
        elif not name.endswith(_SCALE):
            found[name] = value.float() if value.is_floating_point() else value
    return found


def read_network(network: nn.Module, path: Path) -> nn.Module:
    """Load safetensors into ``network``: fp16, or as :func:`in_eight_bits` packs them.

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
        values = unpacked(load_file(str(path)))
        network.load_state_dict(values)
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
    check_finite(values, path)
    return network


def check_finite(values: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse weights that are no numbers: what they compute is none either, and the photo would be blamed.

    Raises:
        BackendError: kind ``weights_damaged``.
    """
    # One sum for each tensor reads it once; whatever is not finite makes it so.
    if not all(value.sum(dtype=torch.float32).isfinite() for value in values.values() if value.is_floating_point()):
        raise BackendError(
            "weights_damaged",
            f"The weights {path.name} are damaged: not all of them are numbers.",
            "Run `python -m backend doctor --repair`, or press Repair in the add-on's preferences.",
        )


def read_frozen(network: nn.Module, path: Path, device: torch.device | str) -> nn.Module:
    """:func:`read_network` for what is used, not trained: on ``device``, laid out as convolutions like it."""
    network = read_network(network, path).to(device, memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()


def describe(folder: Path, *names: str) -> list[dict[str, str]]:
    """What an avatar package says of the weights ``names`` in ``folder``.

    Raises:
        BackendError: kind ``weights_damaged``, where they are not the ones that shipped there.
    """
    found = []
    for name in names:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        check_digest(folder / name, digest)
        found.append({"name": f"{folder.name}/{name}", "sha256": digest, "licence": "GPL-3.0-or-later"})
    return found
