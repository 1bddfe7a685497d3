"""Splats of any program: 3DGS PLY, compressed PLY, SPZ and ``.splat``, told apart by what is in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..gaussians import Gaussians
from ..plain_files import open_plain
from ..ply import MOST_SPLATS, PROPERTIES, read_ply
from .axes import Axes, find_axes
from .compressed_ply import is_compressed_ply, read_compressed_ply
from .splat_file import read_splat
from .spz import read_spz

_LARGEST = MOST_SPLATS * 4 * len(PROPERTIES)

SUFFIXES = (".ply", ".spz", ".splat")


def read_splats(path: str | Path) -> Gaussians:
    """Splats in the file's own axes; harmonics above degree 0 are left out.

    Raises:
        ValueError: the file holds no splats, is damaged or of a kind that is not known; says what.
        OSError: it cannot be read.
    """
    path = Path(path)
    file, size = open_plain(path)
    with file:
        head = file.read(4)
    if size > _LARGEST:
        raise ValueError(f"{path.name} is larger than any file of splats that can be read.")
    if head[:3] == b"ply":
        gaussians = read_compressed_ply(path) if is_compressed_ply(path) else read_ply(path)
    elif head[:2] == b"\x1f\x8b" or head == b"NGSP":
        gaussians = read_spz(path)
    elif path.suffix.lower() == ".splat":
        gaussians = read_splat(path)
    else:
        raise ValueError(f"{path.name} is no file of splats that can be read; there are {', '.join(SUFFIXES)}.")
    if len(gaussians) == 0:
        raise ValueError(f"{path.name} has no splats.")
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        if not np.isfinite(getattr(gaussians, name)).all():
            raise ValueError(f"{path.name} holds numbers that are not finite ({name}).")
    return gaussians


def usual_axes(path: str | Path) -> Axes:
    """What a file's numbers usually mean: y up in SPZ files, y down in the others (as trained)."""
    file, _ = open_plain(Path(path))
    with file:
        head = file.read(4)
    return find_axes("y-up" if head[:2] == b"\x1f\x8b" or head == b"NGSP" else "y-down")
