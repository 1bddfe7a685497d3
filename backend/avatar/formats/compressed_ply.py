"""PlayCanvas's compressed ``.ply``: 16 bytes a splat, in chunks of 256 with bounds of their own.

Layout after github.com/playcanvas/splat-transform (MIT), degree 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians, rgb_from_sh, sh_from_rgb
from ..plain_files import read_plain
from ..ply import MOST_SPLATS
from .order import morton_order

CHUNK = 256
_BOUNDS = (
    *(f"{side}_{axis}" for side in ("min", "max") for axis in "xyz"),
    *(f"{side}_scale_{axis}" for side in ("min", "max") for axis in "xyz"),
    *(f"{side}_{channel}" for side in ("min", "max") for channel in "rgb"),
)
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_SCALE_LIMIT = 20.0


def write_compressed_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write splats in Morton order; the order of the avatar is lost.

    Raises:
        OSError: the file cannot be written.
    """
    g, count = gaussians, len(gaussians)
    order = morton_order(g.position)
    logs = np.log(np.maximum(g.scale[order].astype(np.float64), 1e-9)).clip(-_SCALE_LIMIT, _SCALE_LIMIT)
    position, bounds = _in_chunks(g.position[order].astype(np.float64))
    scale, scale_bounds = _in_chunks(logs)
    colour, colour_bounds = _in_chunks(rgb_from_sh(g.sh_dc[order]).astype(np.float64))
    alpha = _level(g.opacity[order].astype(np.float64), 8)
    packed = np.zeros((count, 4), "<u4")
    packed[:, 0] = _11_10_11(position)
    packed[:, 1] = _pack_rotation(quaternion.normalize(g.rotation[order].astype(np.float64)))
    packed[:, 2] = _11_10_11(scale)
    red, green, blue = _level(colour, 8).T
    packed[:, 3] = red << 24 | green << 16 | blue << 8 | alpha
    chunks = np.concatenate([bounds, scale_bounds, colour_bounds], axis=1).astype("<f4")
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks)}"]
    lines += [f"property float {name}" for name in _BOUNDS]
    lines += [f"element vertex {count}", *(f"property uint {name}" for name in _PACKED), "end_header"]
    with open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        file.write(chunks)
        file.write(packed)


def is_compressed_ply(path: str | Path) -> bool:
    """Whether a file is a PLY whose splats are packed in this way."""
    with open(path, "rb") as file:
        return b"property uint packed_position" in file.read(4096)


def read_compressed_ply(path: str | Path) -> Gaussians:
    """Read splats; harmonics above degree 0 are left out.

    Raises:
        ValueError: the file is not such a PLY, or damaged.
        OSError: it cannot be read.
    """
    path = Path(path)
    data = read_plain(path, MOST_SPLATS * 64)  # 16 bytes and, from other programs, harmonics
    end = data.find(b"end_header")
    counts: dict[str, int] = {}
    properties: dict[str, list[str]] = {}
    element = ""
    for line in data[: max(end, 0)].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdecimal() and len(words[2]) < 20:
            element = words[1]
            counts[element], properties[element] = int(words[2]), []
        elif words[:1] == ["property"] and element:
            properties[element].append(words[-1])
    wanted = properties.get("chunk") in ([*_BOUNDS], [*_BOUNDS[:12]]) and properties.get("vertex") == [*_PACKED]
    if end < 0 or not wanted:
        raise ValueError(f"{path.name} is not a compressed PLY of splats.")
    count, width = counts["vertex"], len(properties["chunk"])
    place = data.index(b"\n", end) + 1
    if counts["chunk"] * CHUNK < count or len(data) < place + counts["chunk"] * width * 4 + count * 16:
        raise ValueError(f"{path.name} is cut off or damaged.")
    chunks = np.frombuffer(data, "<f4", counts["chunk"] * width, place).reshape(-1, width)
    packed = np.frombuffer(data, "<u4", count * 4, place + counts["chunk"] * width * 4).reshape(-1, 4)
    chunks = np.repeat(chunks, CHUNK, axis=0)[:count]

    def between(levels: np.ndarray, first: int) -> np.ndarray:
        low, high = chunks[:, first : first + 3], chunks[:, first + 3 : first + 6]
        return low + levels * (high - low)

    colour = np.stack([packed[:, 3] >> shift & 0xFF for shift in (24, 16, 8, 0)], axis=1) / np.float32(255)
    rgb = between(colour[:, :3], 12) if width > 12 else colour[:, :3]
    return Gaussians(
        position=between(_from_11_10_11(packed[:, 0]), 0).astype(np.float32),
        rotation=_unpack_rotation(packed[:, 1]),
        scale=np.exp(between(_from_11_10_11(packed[:, 2]), 6)).astype(np.float32),
        opacity=colour[:, 3].astype(np.float32),
        sh_dc=sh_from_rgb(rgb).astype(np.float32),
    )


def _in_chunks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, 3] as shares 0..1 of their chunk's range, and the ranges [C, 6] (smallest, largest)."""
    starts = np.arange(0, len(values), CHUNK)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    # What is written is single precision: shares are of that.
    low, high = low.astype(np.float32).astype(np.float64), high.astype(np.float32).astype(np.float64)
    chunk = np.arange(len(values)) // CHUNK
    span = (high - low)[chunk]
    share = (values - low[chunk]) / np.where(span > 1e-9, span, 1)
    return share, np.concatenate([low, high], axis=1)


def _level(share: np.ndarray, bits: int) -> np.ndarray:
    top = (1 << bits) - 1
    return np.floor(share * top + 0.5).clip(0, top).astype(np.uint32)


def _11_10_11(share: np.ndarray) -> np.ndarray:
    return _level(share[:, 0], 11) << 21 | _level(share[:, 1], 10) << 11 | _level(share[:, 2], 11)


def _from_11_10_11(packed: np.ndarray) -> np.ndarray:
    parts = ((packed >> 21, 2047), (packed >> 11 & 1023, 1023), (packed & 2047, 2047))
    return np.stack([levels / np.float32(top) for levels, top in parts], axis=1)


def _pack_rotation(wxyz: np.ndarray) -> np.ndarray:
    rows = np.arange(len(wxyz))
    largest = np.abs(wxyz).argmax(1)
    wxyz = np.where(wxyz[rows, largest][:, None] < 0, -wxyz, wxyz)
    packed = largest.astype(np.uint32)
    for component in range(4):
        level = _level(wxyz[:, component] * np.sqrt(0.5) + 0.5, 10)
        packed = np.where(largest == component, packed, packed << 10 | level)
    return packed


def _unpack_rotation(packed: np.ndarray) -> np.ndarray:
    largest = (packed >> 30).astype(int)
    out = np.zeros((len(packed), 4), np.float32)
    bits = packed.copy()
    for component in (3, 2, 1, 0):
        here = largest != component
        value = ((bits & 1023) / np.float32(1023) - 0.5) * np.float32(np.sqrt(2))
        out[here, component] = value[here]
        bits = np.where(here, bits >> 10, bits)
    out[np.arange(len(packed)), largest] = np.sqrt(np.maximum(0, 1 - (out**2).sum(1)))
    return quaternion.normalize(out)
