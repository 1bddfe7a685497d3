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

_HEADER_LIMIT = 64 * 1024
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


def read_ply(path: str | Path) -> Gaussians:
    """Read splats; properties may come in any order, normals may be missing, higher harmonics are left out.

    Raises:
        ValueError: the file is not a binary 3DGS PLY; the message says why.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        count, dtype = _read_header(file, path.name)
        body = file.read()
    if len(body) != count * dtype.itemsize:
        raise ValueError(
            f"{path.name} is cut off or damaged: {len(body)} bytes of splats, expected {count * dtype.itemsize}."
        )
    table = np.frombuffer(body, dtype=dtype, count=count)

    def columns(*names: str) -> np.ndarray:
        return np.stack([table[name] for name in names], axis=-1).astype(np.float32)

    gaussians = Gaussians(
        position=columns("x", "y", "z"),
        rotation=quaternion.normalize(columns("rot_0", "rot_1", "rot_2", "rot_3")),
        scale=np.exp(columns("scale_0", "scale_1", "scale_2")),
        opacity=_sigmoid(table["opacity"].astype(np.float32)),
        sh_dc=columns("f_dc_0", "f_dc_1", "f_dc_2"),
    )
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        if not np.isfinite(getattr(gaussians, name)).all():
            raise ValueError(f"{path.name} holds numbers that are not finite ({name}).")
    return gaussians


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
            case ["element", "vertex", number] if count is None and number.isdecimal():
                count = int(number)
            case ["property", kind, label] if kind in _TYPES and count is not None:
                properties.append((label, _TYPES[kind]))
            case _:
                raise ValueError(f"{name} is not a plain 3DGS PLY: the header says {' '.join(words)!r}.")
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
