"""``skin.json`` and ``skin.bin`` beside a file of splats: what is needed to skin them. Described in docs/formats.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import whole_file
from .axes import Axes, turn_points, turn_transforms
from .types import Provenance, Skeleton, SplatCloud

FORMAT = "humansplat-skin"
VERSION = 1
JSON_NAME, BINARY_NAME = "skin.json", "skin.bin"


def write_sidecar(
    folder: str | Path,
    splats_file: Path,
    cloud: SplatCloud,
    skeleton: Skeleton,
    axes: Axes,
    provenance: Provenance,
) -> None:
    """Write both files into ``folder``; ``skin.json`` last.

    Args:
        folder: where.
        splats_file: the file beside them, which holds the cloud's splats in order; its hash is told.
        cloud: joints and weights of its N splats.
        skeleton: the bones that the joints are.
        axes: the coordinates of ``splats_file``, in which bones are told too.
        provenance: said in ``skin.json``.

    Raises:
        ExportError: a file cannot be written.
    """
    folder = Path(folder)
    joints = np.ascontiguousarray(cloud.joints, dtype=np.uint8).tobytes()
    weights = np.ascontiguousarray(cloud.weights, dtype="<f4").tobytes()
    inverse = np.broadcast_to(np.eye(4), (len(skeleton), 4, 4)).copy()
    inverse[:, :3, 3] = -skeleton.heads
    inverse = turn_transforms(inverse, axes)
    heads = turn_points(skeleton.heads, axes)
    description: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "generator": provenance.generator,
        "name": provenance.name,
        "licence": provenance.licence,
        "source": provenance.source,
        "splats": {"file": splats_file.name, "sha256": file_hash(splats_file), "count": len(cloud)},
        "axes": {
            "name": axes.name,
            "says": axes.says,
            "from_y_up": axes.matrix.tolist(),
            "handedness": "right" if np.linalg.det(axes.matrix) > 0 else "left",
        },
        "unit": "metre",
        "bones": [
            {
                "name": name,
                "parent": parent,
                "head": _numbers(heads[bone]),
                "inverse_bind": _numbers(inverse[bone].T.reshape(-1)),
            }
            for bone, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents))
        ],
        "binary": {
            "file": BINARY_NAME,
            "sha256": hashlib.sha256(joints + weights).hexdigest(),
            "arrays": {
                "joints": {"type": "uint8", "shape": [len(cloud), 4], "offset": 0},
                "weights": {"type": "float32", "shape": [len(cloud), 4], "offset": len(joints)},
            },
        },
    }
    with whole_file(folder / BINARY_NAME) as temporary:
        temporary.write_bytes(joints + weights)
    with whole_file(folder / JSON_NAME) as temporary:
        temporary.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", "utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _numbers(values: np.ndarray) -> list[float]:
    return [float(np.float32(value)) + 0.0 for value in values]
