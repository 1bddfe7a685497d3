"""Gaussian splats as the 3DGS ``.ply`` file that every viewer reads.

Layout of the reference implementation (Kerbl et al. 2023): binary little endian, one element, 62 float properties;
scale as ln(sigma), opacity as logit, colour as constant-harmonic coefficients, rotation as wxyz.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from . import quaternion
from .gaussians import Gaussians
from .plain_files import brief, open_plain

PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *(f"f_dc_{i}" for i in range(3)),
    *(f"f_rest_{i}" for i in range(45)),
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
)
OPACITY_MARGIN = 1e-3
"""Opacities are clamped to [margin, 1 - margin], so that their logits stay finite."""
SMALLEST_SCALE = 1e-9
"""Metres; a flat splat's zero scale has no logarithm."""

MOST_SPLATS = 50_000_000
"""A header that says more is a damaged one."""

_HEADER_LIMIT = 64 * 1024
_ROWS = 1 << 16  # splats read at a time
_USED = (
    ("x", "y", "z"),
    ("rot_0", "rot_1", "rot_2", "rot_3"),
    ("scale_0", "scale_1", "scale_2"),
    ("opacity",),
    ("f_dc_0", "f_dc_1", "f_dc_2"),
)
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4"},
    **{"float": "<f4", "double": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2"},
    **{"int32": "<i4", "uint32": "<u4", "float32": "<f4", "float64": "<f8"},
}


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write splats; normals and higher harmonics are zero. Opacity and scale are clamped as the constants above say.

    Raises:
        OSError: the file cannot be written.
    """
    table = np.zeros((len(gaussians), len(PROPERTIES)), dtype="<f4")
    opacity = np.clip(gaussians.opacity.astype(np.float64), OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    table[:, 0:3] = gaussians.position
    table[:, 6:9] = gaussians.sh_dc
    table[:, 54] = np.log(opacity / (1 - opacity))
    table[:, 55:58] = np.log(np.maximum(gaussians.scale.astype(np.float64), SMALLEST_SCALE))
    table[:, 58:62] = gaussians.rotation
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    lines += [f"property float {name}" for name in PROPERTIES]
    with open(path, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        file.write(table.tobytes())


def read_ply(path: str | Path, limit: int = MOST_SPLATS) -> Gaussians:
    """Read splats; properties may come in any order, normals may be missing, higher harmonics are left out.

    Args:
        path: the file.
        limit: how many splats it may have.

    Raises:
        ValueError: the file is not a binary 3DGS PLY, or too large; the message says why.
        OSError: the file cannot be read, or is no plain file.
    """
    path = Path(path)
    file, size = open_plain(path)
    with file:
        count, dtype = _read_header(file, path.name)
        found = size - file.tell()
        if found != count * dtype.itemsize:
            raise ValueError(
                f"{path.name} is cut off or damaged: {found} bytes of splats, expected {count * dtype.itemsize}."
            )
        if count > limit:
            raise ValueError(f"{path.name} has {count:,} splats; at most {limit:,} can be read.")
        columns = _read_columns(file, count, dtype)
    if columns is None:
        raise ValueError(f"{path.name} is cut off.")
    position, rotation, scale, opacity, sh_dc = columns
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is refused below
        gaussians = Gaussians(
            position=position,
            rotation=quaternion.normalize(rotation),
            scale=np.exp(scale, out=scale),
            opacity=_sigmoid(opacity[:, 0]),
            sh_dc=sh_dc,
        )
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        if not np.isfinite(getattr(gaussians, name)).all():
            raise ValueError(f"{path.name} holds numbers that are not finite ({name}).")
    return gaussians


def _read_columns(file: BinaryIO, count: int, dtype: np.dtype) -> list[np.ndarray] | None:
    """What is needed of ``count`` rows, float32 [N, C] each, never all rows at once; None where there are fewer."""
    columns = [np.empty((count, len(names)), np.float32) for names in _USED]
    for start in range(0, count, _ROWS):
        rows = min(_ROWS, count - start)
        data = file.read(rows * dtype.itemsize)
        if len(data) != rows * dtype.itemsize:
            return None
        table = np.frombuffer(data, dtype)
        with np.errstate(over="ignore"):  # doubles
            for column, names in zip(columns, _USED):
                for index, name in enumerate(names):
                    column[start : start + rows, index] = table[name]
    return columns


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _read_header(file: BinaryIO, name: str) -> tuple[int, np.dtype]:
    """Number of splats and the layout of one; leaves ``file`` at the first splat."""
    if file.readline(16).strip() != b"ply":
        raise ValueError(f"{name} is not a PLY file.")
    count: int | None = None
    properties: list[tuple[str, str]] = []
    binary = False
    while True:
        line = file.readline(1024)
        words = line.decode("ascii", errors="replace").split()
        if not line or file.tell() > _HEADER_LIMIT:
            raise ValueError(f"{name} has no end to its PLY header.")
        if words == ["end_header"]:
            break
        match words:
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case ["format", encoding, _]:
                binary = encoding == "binary_little_endian"
            case ["element", "vertex", number] if count is None and number.isdecimal() and len(number) < 20:
                count = int(number)
            case ["property", kind, label] if kind in _TYPES and count is not None:
                properties.append((label, _TYPES[kind]))
            case _:
                raise ValueError(f"{name} is not a plain 3DGS PLY: the header says {brief(' '.join(words), 80)!r}.")
    if not binary:
        raise ValueError(f"{name} is not a binary little-endian PLY.")
    if count is None:
        raise ValueError(f"{name} has no vertices.")
    labels = [label for label, _ in properties]
    if len(set(labels)) != len(labels):
        raise ValueError(f"{name} names a property twice.")
    optional = ("nx", "ny", "nz")
    missing = [p for p in PROPERTIES if p not in labels and p not in optional and not p.startswith("f_rest_")]
    if missing:
        raise ValueError(f"{name} is a PLY without splats: it lacks {', '.join(missing)}.")
    return count, np.dtype(properties)
