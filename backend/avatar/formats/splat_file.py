"""antimatter15's ``.splat``: 32 bytes a splat, the most visible first, so that a page can show what has arrived."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians, rgb_from_sh, sh_from_rgb
from ..plain_files import read_plain
from ..ply import MOST_SPLATS

_LAYOUT = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("colour", "u1", 4), ("rotation", "u1", 4)])


def write_splat(path: str | Path, gaussians: Gaussians) -> None:
    """Write splats, the largest and most opaque first; the order of the avatar is lost.

    Raises:
        OSError: the file cannot be written.
    """
    g = gaussians
    table = np.zeros(len(g), _LAYOUT)
    table["position"], table["scale"] = g.position, g.scale
    colour = np.concatenate([rgb_from_sh(g.sh_dc), g.opacity[:, None]], axis=1)
    table["colour"] = np.clip(np.round(colour * 255), 0, 255)
    table["rotation"] = np.clip(np.round(quaternion.normalize(g.rotation) * 128 + 128), 0, 255)
    order = np.argsort(-g.scale.astype(np.float64).prod(1) * g.opacity, kind="stable")
    with open(path, "wb") as file:
        file.write(table[order])


def read_splat(path: str | Path) -> Gaussians:
    """Read splats.

    Raises:
        ValueError: the file's length is no whole number of splats.
        OSError: it cannot be read.
    """
    data = read_plain(Path(path), MOST_SPLATS * _LAYOUT.itemsize)
    if len(data) % _LAYOUT.itemsize:
        raise ValueError(f"{Path(path).name} is cut off or no .splat file.")
    table = np.frombuffer(data, _LAYOUT)
    colour = table["colour"].astype(np.float32) / 255
    return Gaussians(
        position=table["position"].astype(np.float32),
        rotation=quaternion.normalize((table["rotation"].astype(np.float32) - 128) / 128),
        scale=table["scale"].astype(np.float32),
        opacity=colour[:, 3],
        sh_dc=sh_from_rgb(colour[:, :3]).astype(np.float32),
    )
