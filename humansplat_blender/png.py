"""PNG files from arrays, with numpy and the standard library: Blender's own ways of saving colour-manage pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def display_bytes(pixels: np.ndarray, is_float: bool) -> np.ndarray:
    """uint8 [H, W, 4] sRGB with straight alpha, first row on top, of the pixels of a Blender image.

    Args:
        pixels: float32 [H, W, 4], first row at the bottom: as they are in pictures of bytes; linear and multiplied with
            alpha in pictures of floats.
        is_float: which of the two.
    """
    values = pixels[::-1].astype(np.float32)
    if is_float:
        alpha = values[..., 3:]
        linear = np.divide(values[..., :3], alpha, out=values[..., :3].copy(), where=alpha > 0).clip(0, 1)
        # IEC 61966-2-1.
        values[..., :3] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def write_png(path: Path, rgba: np.ndarray) -> None:
    """Write uint8 [H, W, 4] as PNG.

    Raises:
        OSError: it cannot be written.
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = rgba.shape[:2]
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # a filter byte before each row: none
    rows[:, 1:] = rgba.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
