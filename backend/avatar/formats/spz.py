"""Niantic's ``.spz``: versions 2 and 3 (gzip), and 4 (zstd) where Python has a zstd library. Keeps the order.

Layout after github.com/nianticlabs/spz (MIT): a header, then positions, alphas, colours, scales and rotations, each as
one block; harmonics of degree 0 alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians
from ..plain_files import brief, read_plain
from .types import ExportError

MAGIC = 0x5053474E  # "NGSP"
FRACTION_BITS = 12
QUANTUM = 0.5 / (1 << FRACTION_BITS)
"""Metres; positions are right to this."""
_LIMIT = (1 << 23) - 1
_COLOUR_SCALE = 0.15
_GZIP_LEVEL = 6
_MAXIMUM = 50_000_000  # splats; a header that says more is a damaged one
_EASY = 1_000_000  # splats that any file may say it has; of more, each takes a byte and longer
_SIZES = (9, 1, 3, 3, 4)  # bytes a splat in each block, of version 3 and later


def write_spz(path: str | Path, gaussians: Gaussians, version: int = 3) -> None:
    """Write splats.

    Args:
        path: the file.
        gaussians: N splats, already in the file's axes (the format means y up).
        version: 3; 2 for UnityGaussianSplatting and GaussianSplats3D; 4 needs a zstd library.

    Raises:
        ExportError: another version, no zstd library, or splats more than 2 km away.
        OSError: the file cannot be written.
    """
    blocks = _blocks(gaussians, version)
    if version == 4:
        Path(path).write_bytes(_version_4(blocks, len(gaussians)))
        return
    if version not in (2, 3):
        raise ExportError(f"SPZ is written as version 2, 3 or 4, not {version}.")
    head = struct.pack("<IIIBBBB", MAGIC, version, len(gaussians), 0, FRACTION_BITS, 0, 0)
    # No time and no name in it: the same splats give the same bytes.
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        for block in (head, *blocks):
            file.write(packer.compress(block))
        file.write(packer.flush())


def read_spz(path: str | Path) -> Gaussians:
    """Read splats of versions 1 to 4 as they are in the file; harmonics above degree 0 are left out.

    Raises:
        ValueError: the file is no SPZ file, damaged, or needs a zstd library; says what.
        OSError: it cannot be read.
    """
    path = Path(path)
    data = read_plain(path, _MAXIMUM * sum(_SIZES))
    packed, unpacker = data[:2] == b"\x1f\x8b", zlib.decompressobj(31)
    head = data[:32] if not packed else _unpacked(path.name, unpacker, data, 16)
    if len(head) < (16 if packed else 32) or struct.unpack_from("<I", head)[0] != MAGIC:
        raise ValueError(f"{path.name} is not an SPZ file.")
    _, version, count, _degree, bits, _flags, streams = struct.unpack_from("<IIIBBBB", head)
    if packed == (version == 4) or not 1 <= version <= 4 or bits > 23:
        raise ValueError(f"{path.name} is an SPZ file of a version that cannot be read ({version}).")
    if count > min(_MAXIMUM, _EASY + len(data)):
        raise ValueError(f"{path.name} says it has {count:,} splats, more than fit into it.")
    sizes = (_SIZES[0] if version > 1 else 6, *_SIZES[1:4], _SIZES[4] if version > 2 else 3)
    if packed:
        body = _unpacked(path.name, unpacker, unpacker.unconsumed_tail, count * sum(sizes))
    else:
        body = _streams_4(path.name, data, streams, [count * size for size in sizes])
    if len(body) < count * sum(sizes):
        raise ValueError(f"{path.name} is cut off: {len(body)} bytes of splats, expected {count * sum(sizes)}.")
    blocks, place = [], 0
    for size in sizes:
        blocks.append(np.frombuffer(body, np.uint8, count * size, place).reshape(count, size))
        place += count * size
    positions, alphas, colours, scales, rotations = blocks
    if version == 1:
        place_ = np.frombuffer(positions.tobytes(), "<f2").reshape(-1, 3).astype(np.float32)
    else:
        parts = positions.reshape(count, 3, 3).astype(np.int32)
        fixed = parts[..., 0] | parts[..., 1] << 8 | parts[..., 2] << 16
        place_ = ((fixed << 8) >> 8).astype(np.float32) / (1 << bits)
    turn = _smallest_three(rotations) if version > 2 else _first_three(rotations)
    return Gaussians(
        position=place_.astype(np.float32),
        rotation=quaternion.normalize(turn).astype(np.float32),
        scale=np.exp(scales.astype(np.float32) / 16 - 10),
        opacity=alphas[:, 0].astype(np.float32) / 255,
        sh_dc=((colours.astype(np.float32) / 255 - 0.5) / _COLOUR_SCALE).astype(np.float32),
    )


def zstd_library() -> tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes]] | None:
    """What compresses, and decompresses to a known size, zstd frames; None without a library.

    The library is Python 3.14's own, or the package ``zstandard``.
    """
    try:
        from compression import zstd
    except ImportError:
        try:
            import zstandard
        except ImportError:
            return None

        def unpack(data: bytes, size: int) -> bytes:
            if zstandard.frame_content_size(data) not in (-1, size):
                raise ValueError("it unpacks to another size than it says")
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)

        return zstandard.ZstdCompressor(level=12).compress, unpack
    return zstd.compress, lambda data, size: zstd.ZstdDecompressor().decompress(data, size)


def _unpacked(name: str, unpacker: zlib._Decompress, data: bytes, size: int) -> bytes:
    """So many bytes of a gzip stream, or fewer where it ends; what is not used stays in the unpacker.

    Raises:
        ValueError: it is damaged.
    """
    parts, missing = [], size
    try:
        while missing and data:
            part = unpacker.decompress(data, missing)
            parts.append(part)
            missing -= len(part)
            data = unpacker.unconsumed_tail
            if not part and unpacker.eof:
                break
    except zlib.error as error:
        raise ValueError(f"{name} is damaged: {error}.") from error
    return b"".join(parts)


def _blocks(g: Gaussians, version: int) -> list[bytes]:
    fixed = np.round(g.position.astype(np.float64) * (1 << FRACTION_BITS))
    if len(g) and np.abs(fixed).max() > _LIMIT:
        raise ExportError("SPZ holds splats within 2 km of the origin alone; remove floaters or choose PLY.")
    fixed = fixed.astype(np.int32)
    positions = np.stack([fixed & 0xFF, fixed >> 8 & 0xFF, fixed >> 16 & 0xFF], axis=-1).astype(np.uint8)
    turn = quaternion.normalize(g.rotation.astype(np.float64))[:, [1, 2, 3, 0]]
    return [
        positions.tobytes(),
        _byte(g.opacity * 255.0),
        _byte(g.sh_dc.astype(np.float64) * (_COLOUR_SCALE * 255) + 127.5),
        _byte((np.log(np.maximum(g.scale.astype(np.float64), 1e-9)) + 10) * 16),
        _pack_first_three(turn) if version == 2 else _pack_smallest_three(turn),
    ]


def _byte(values: np.ndarray) -> bytes:
    return np.clip(np.round(values), 0, 255).astype(np.uint8).tobytes()


def _pack_first_three(xyzw: np.ndarray) -> bytes:
    signed = np.where(xyzw[:, 3:] < 0, -xyzw[:, :3], xyzw[:, :3])
    return _byte(signed * 127.5 + 127.5)


def _first_three(packed: np.ndarray) -> np.ndarray:
    xyz = packed.astype(np.float32) / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1)))
    return np.concatenate([w[:, None], xyz], axis=1)


def _pack_smallest_three(xyzw: np.ndarray) -> bytes:
    rows = np.arange(len(xyzw))
    largest = np.abs(xyzw).argmax(1)
    flip = xyzw[rows, largest] < 0
    packed = largest.astype(np.uint32)
    for component in range(4):
        value = xyzw[:, component]
        negative = ((value < 0) ^ flip).astype(np.uint32)
        # The library rounds half up in single precision.
        magnitude = (511 * (np.abs(value) * np.sqrt(2)) + 0.5).clip(0, 511).astype(np.uint32)
        packed = np.where(largest == component, packed, packed << 10 | negative << 9 | magnitude)
    return packed.astype("<u4").tobytes()


def _smallest_three(packed: np.ndarray) -> np.ndarray:
    bits = np.frombuffer(packed.tobytes(), "<u4").copy()
    largest = (bits >> 30).astype(int)
    out = np.zeros((len(bits), 4), np.float32)
    for component in (3, 2, 1, 0):
        here = largest != component
        magnitude = (bits & 511).astype(np.float32) / 511 * np.float32(np.sqrt(0.5))
        value = np.where(bits >> 9 & 1, -magnitude, magnitude)
        out[here, component] = value[here]
        bits = np.where(here, bits >> 10, bits)
    rows = np.arange(len(bits))
    out[rows, largest] = np.sqrt(np.maximum(0, 1 - (out**2).sum(1)))
    return out[:, [3, 0, 1, 2]]


def _version_4(blocks: list[bytes], count: int) -> bytes:
    library = zstd_library()
    if library is None:
        raise ExportError("SPZ version 4 needs a zstd library; choose version 3, or install the package zstandard.")
    packed = [library[0](block) for block in blocks]
    head = struct.pack("<IIIBBBBI12x", MAGIC, 4, count, 0, FRACTION_BITS, 0, len(blocks), 32)
    table = b"".join(struct.pack("<QQ", len(small), len(block)) for small, block in zip(packed, blocks))
    return b"".join([head, table, *packed])


def _streams_4(name: str, data: bytes, streams: int, expected: list[int]) -> bytes:
    """The first streams, each of which unpacks to as many bytes as ``expected``."""
    library = zstd_library()
    if library is None:
        raise ValueError(f"{name} is an SPZ file of version 4, which needs the package zstandard; save version 3.")
    place = struct.unpack_from("<I", data, 16)[0]
    if place + 16 * streams > len(data):
        raise ValueError(f"{name} is cut off.")
    sizes = [struct.unpack_from("<QQ", data, place + 16 * i) for i in range(streams)]
    place += 16 * streams
    parts = []
    for (packed, raw), wanted in zip(sizes, expected):
        if place + packed > len(data) or raw != wanted:
            raise ValueError(f"{name} is cut off.")
        try:
            parts.append(library[1](data[place : place + packed], raw))
        except Exception as error:  # each library has errors of its own
            raise ValueError(f"{name} is damaged: {brief(error)}.") from error
        place += packed
    return b"".join(parts)
