"""Whether the files of a model are what they should be: their sizes, their hashes, and the headers of safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ..manifest import damage
from .catalogue import Model
from .store import Installed

MAX_HEADER = 100_000_000
"""Bytes of a safetensors file's header at most; the format's own limit."""


def verify(
    model: Model, found: Installed, thorough: bool, step: Callable[[str], None] = lambda name: None
) -> list[str]:
    """What is wrong with an installed model, a phrase for each file; empty where nothing is.

    Args:
        model: which.
        found: what is recorded of it.
        thorough: compare the SHA-256 of every file; else its size.
        step: told the name of each file before it is looked at; what it raises stops the work.
    """
    faults = []
    for part, file in model.wanted():
        stored = found.parts.get(part.name)
        name = f"{part.name}/{file.name}"
        if stored is None or file.name not in stored.files:
            faults.append(f"{name} was not installed")
    for part_name, stored in found.parts.items():
        for file_name, kept in stored.files.items():
            name = f"{part_name}/{file_name}"
            step(name)
            wrong = damage(stored.folder / file_name, kept.size, kept.sha256, thorough)
            if wrong:
                faults.append(f"{name} is {wrong}")
    return faults


def safetensors_fault(path: Path) -> str:
    """Why a file is no whole safetensors file; empty where its header and size are right.

    The header's JSON says where each tensor's bytes lie; no tensor is read.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
            return "is no whole safetensors file"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            end = 8 + length + max(ends, default=0)
        except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
            return "is no safetensors file"
    return "" if end == size else f"is cut short ({size} of {end} bytes)" if end > size else "holds more than tensors"
