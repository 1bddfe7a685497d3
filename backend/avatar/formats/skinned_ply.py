"""The 3DGS ``.ply`` (Kerbl et al. 2023) with the bones that move each splat as further float properties.

Readers of 3DGS files pass over properties that they do not know. All are floats, because some readers know no others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..ply import OPACITY_MARGIN, SMALLEST_SCALE
from .types import SplatCloud

_CHUNK = 1 << 15  # splats written at a time
_BONES = (*(f"joint_{i}" for i in range(4)), *(f"weight_{i}" for i in range(4)))


def write_skinned_ply(path: str | Path, cloud: SplatCloud, harmonics: int = 0, bones: bool = True) -> None:
    """Write splats in order.

    Args:
        path: the file.
        cloud: N splats, already in the file's axes.
        harmonics: degree that the file has properties for, 0 or 3; the higher ones are zero.
        bones: with ``joint_0..3`` and ``weight_0..3``.

    Raises:
        OSError: the file cannot be written.
    """
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3))]
    names += [f"f_rest_{i}" for i in range(45 if harmonics == 3 else 0)]
    tail = len(names)
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    names += _BONES if bones else ()
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    lines += [f"property float {name}" for name in names]
    g = cloud.gaussians
    with open(path, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        for start in range(0, len(cloud), _CHUNK):
            part = slice(start, start + _CHUNK)
            table = np.zeros((len(g.position[part]), len(names)), dtype="<f4")
            opacity = np.clip(g.opacity[part].astype(np.float64), OPACITY_MARGIN, 1 - OPACITY_MARGIN)
            table[:, 0:3] = g.position[part]
            table[:, 6:9] = g.sh_dc[part]
            table[:, tail] = np.log(opacity / (1 - opacity))
            table[:, tail + 1 : tail + 4] = np.log(np.maximum(g.scale[part], SMALLEST_SCALE))
            table[:, tail + 4 : tail + 8] = g.rotation[part]
            if bones:
                table[:, tail + 8 : tail + 12] = cloud.joints[part]
                table[:, tail + 12 : tail + 16] = cloud.weights[part]
            file.write(table)
