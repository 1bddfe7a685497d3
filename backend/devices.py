"""Which device computes: tried before it is trusted. Torch-free until a device is chosen.

That PyTorch sees a graphics card does not mean that it can compute on it: builds lack kernels for old cards, drivers
are too old for the build, cards are broken. A tiny run of what networks and renderers use, compared with what NumPy
says, tells in milliseconds; where it fails, the processor does the work and a sentence says so.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import BackendError

if TYPE_CHECKING:
    import numpy as np
    import torch

_NAME = re.compile(r"auto|(cpu|cuda|mps)(:[0-9]{1,3})?")
_passed: set[str] = set()
_TOLERANCE, _HALF_TOLERANCE = 1e-2, 5e-2
"""Of the largest value; cards round convolutions to ten bits (TF32). Wrong numbers are wrong by far more."""


@dataclass(frozen=True)
class Choice:
    """Where to compute.

    Attributes:
        device: that passed its trial.
        note: sentences for the user where another one would have been expected; else empty.
    """

    device: torch.device
    note: str = ""


def check_name(name: str) -> None:
    """Refuse what names no device.

    Raises:
        BackendError: kind ``device_missing``.
    """
    if not _NAME.fullmatch(name):
        raise BackendError(
            "device_missing",
            f"There is no device {name[:40]!r}.",
            "Choose auto, cpu, cuda, cuda:1 (the second) or mps.",
        )


def choose(name: str = "auto") -> Choice:
    """The device to compute on. ``auto`` is the first NVIDIA card where it passes its trial, else the processor.

    Raises:
        BackendError: kinds ``device_missing`` when the asked-for device is not there, ``device_failed`` when it does
            not compute as it should.
    """
    check_name(name)
    import torch

    if name == "auto":
        device = torch.device("cuda")
        if not _count(device):
            return Choice(torch.device("cpu"))
        reason = trial(device)
        if not reason:
            return Choice(device)
        note = (
            f"{label(device)} was not used, because PyTorch does not compute on it as it should ({reason}); the "
            f"processor did the work. {_remedy(reason)}, or choose the processor as device, and it is not tried again."
        )
        return Choice(torch.device("cpu"), note)
    device = torch.device(name)
    if (device.index or 0) >= _count(device):
        raise BackendError("device_missing", f"The device {name} is not available here.", "Choose auto or cpu.")
    reason = "" if device.type == "cpu" else trial(device)
    if reason:
        raise BackendError(
            "device_failed",
            f"{label(device)} ({name}) does not compute as it should ({reason}).",
            f"Choose auto or cpu as device. {_remedy(reason)}.",
        )
    return Choice(device)


def _remedy(reason: str) -> str:
    if "out of memory" in reason:
        return "Close other programs that use the card"
    return "Update the card's driver and install the backend again"


def choose_device(name: str = "auto") -> torch.device:
    """:func:`choose` for who tells nobody why."""
    return choose(name).device


def label(device: torch.device) -> str:
    """What people call a device."""
    import torch

    if device.type == "cuda":
        try:
            return f"The graphics card {torch.cuda.get_device_name(device)}"
        except Exception:  # a driver that fails to say its name fails in ways of its own
            return "The graphics card"
    return "Apple's graphics processor" if device.type == "mps" else "The processor"


def _count(device: torch.device) -> int:
    """How many devices of this kind PyTorch says there are."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of cards that are too old; the trial says it in a sentence
        if device.type == "cuda":
            return torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device.type == "mps":
            return int(torch.backends.mps.is_available())
    return 1


def trial(device: torch.device) -> str:
    """Why ``device`` cannot be relied on; empty where a tiny run gives the right numbers, once in this process."""
    import torch

    if str(device) in _passed:
        return ""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for what, found, expected, tolerance in _tiny_run(device):
                if found.shape != expected.shape or not abs(found - expected).max() <= tolerance * abs(expected).max():
                    return f"{what} gives wrong numbers"
    except Exception as error:  # whatever a driver or a build without kernels raises
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0][:160].rstrip('.')}" if lines else type(error).__name__
    _passed.add(str(device))
    return ""


def _tiny_run(device: torch.device) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
    """What networks and renderers use: (name, numbers of the device, of NumPy, tolerance)."""
    import numpy as np
    import torch
    from torch.nn import functional

    random = np.random.default_rng(0)
    picture = random.standard_normal((1, 8, 12, 12)).astype(np.float32)
    kernel = random.standard_normal((4, 8, 3, 3)).astype(np.float32)
    rows = random.standard_normal((96, 64)).astype(np.float32)
    columns = random.standard_normal((64, 80)).astype(np.float32)
    keys = random.integers(0, 500, 2000).astype(np.int32)
    place = random.integers(0, 96, 300)
    grid = random.uniform(-0.8, 0.8, (1, 5, 7, 2)).astype(np.float32)

    def there(array: np.ndarray, kind: torch.dtype | None = None) -> torch.Tensor:
        return torch.as_tensor(array).to(device, kind)

    def here(values: torch.Tensor) -> np.ndarray:
        return values.cpu().float().numpy() if values.is_floating_point() else values.cpu().numpy()

    windows = np.lib.stride_tricks.sliding_window_view(picture[0], (3, 3), axis=(1, 2))
    convolved = np.einsum("cyxij,ocij->oyx", windows, kernel)[None]
    scattered = np.zeros_like(rows)
    np.add.at(scattered, place, rows[place[::-1].copy()])
    # Bilinear by hand: pixel centres lie at halves.
    x, y = (((grid[0, ..., k] + 1) * 12 - 1) / 2 for k in (0, 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = x - left, y - top
    sampled = sum(
        wy * wx * picture[0][:, top + j, left + i]
        for j, wy in ((0, 1 - down), (1, down))
        for i, wx in ((0, 1 - across), (1, across))
    )[None]
    weight, image, index = there(kernel), there(picture), there(place)
    runs = [
        ("a convolution", functional.conv2d(image, weight), convolved, _TOLERANCE),
        ("a matrix product", there(rows) @ there(columns), rows @ columns, _TOLERANCE),
        ("adding at places", there(rows * 0).index_add_(0, index, there(rows)[index.flip(0)]), scattered, _TOLERANCE),
        ("sorting", torch.sort(there(keys), stable=True).indices, np.argsort(keys, kind="stable"), 0.0),
        ("sampling a picture", functional.grid_sample(image, there(grid), align_corners=False), sampled, _TOLERANCE),
        ("a running sum", there(keys).long().cumsum(0), keys.astype(np.int64).cumsum(), 0.0),
    ]
    if device.type != "cpu":
        half = functional.conv2d(image.half(), weight.half())
        runs.append(("a convolution of half precision", half, convolved, _HALF_TOLERANCE))
    return [(what, here(found), expected, tolerance) for what, found, expected, tolerance in runs]
