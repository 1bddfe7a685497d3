"""GLB files (glTF 2.0, Khronos 2021): buffers, accessors, skeletons and clips. What is drawn comes from its callers."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from .types import BoneClip, Provenance, Skeleton

MAGIC, VERSION = 0x46546C67, 2
_JSON, _BIN = 0x4E4F534A, 0x004E4942
_COMPONENTS = {"float32": 5126, "uint8": 5121, "int8": 5120, "uint16": 5123, "int16": 5122, "uint32": 5125}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
_STILL = 1e-6  # quaternion components; a bone that turns less does not turn


class GlbBuilder:
    """Collects what goes into one GLB file.

    Attributes:
        document: the JSON part, to be filled by the caller; buffers, views and accessors are added here.
    """

    def __init__(self, provenance: Provenance) -> None:
        self.document: dict[str, Any] = {
            "asset": {
                "version": "2.0",
                "generator": provenance.generator,
                "copyright": provenance.licence,
                "extras": {"source": provenance.source},
            },
            "scene": 0,
            "scenes": [{"name": provenance.name, "nodes": []}],
            "nodes": [],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
        }
        self._chunks: list[bytes] = []
        self._length = 0

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append to a list of the document, such as ``"nodes"``; its index."""
        entries = self.document.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """A buffer view of ``data``, which starts at a multiple of four bytes."""
        self._pad()
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        self._chunks.append(data)
        self._length += len(data)
        return self.add("bufferViews", entry)

    def accessor(
        self, array: np.ndarray, target: int | None = None, normalized: bool = False, bounds: bool = False
    ) -> int:
        """An accessor of an array [N] or [N, K] of float32, uint8, int8, uint16, int16 or uint32.

        Args:
            array: K is 1, 2, 3, 4 or 16 (a matrix, column by column). Elements of vertex attributes must fill a
                multiple of four bytes.
            target: ``ARRAY_BUFFER`` for attributes, ``ELEMENT_ARRAY_BUFFER`` for indices.
            normalized: integers stand for 0..1 or -1..1.
            bounds: say the smallest and largest values, which positions and times must.
        """
        array = np.ascontiguousarray(array)
        width = 1 if array.ndim == 1 else array.shape[1]
        entry: dict[str, Any] = {
            "bufferView": self.view(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), target),
            "componentType": _COMPONENTS[array.dtype.name],
            "count": len(array),
            "type": _TYPES[width],
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            rows = array.reshape(len(array), width)
            entry["min"], entry["max"] = rows.min(0).tolist(), rows.max(0).tolist()
        return self.add("accessors", entry)

    def use_extension(self, name: str) -> None:
        """Name an extension that the file uses and that readers may ignore."""
        used = self.document.setdefault("extensionsUsed", [])
        if name not in used:
            used.append(name)

    def to_bytes(self) -> bytes:
        """The GLB file."""
        self._pad()
        self.document["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self.document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        head = struct.pack("<III", MAGIC, VERSION, total) + struct.pack("<II", len(text), _JSON)
        return b"".join([head, text, struct.pack("<II", self._length, _BIN), *self._chunks])

    def _pad(self) -> None:
        missing = -self._length % 4
        if missing:
            self._chunks.append(b"\0" * missing)
            self._length += missing


def add_skeleton(builder: GlbBuilder, skeleton: Skeleton) -> tuple[int, int]:
    """Bones as nodes under the scene, and a skin; (index of the skin, node of bone 0).

    Nodes of the bones follow each other in the skeleton's order, and joints of the skin are the bones in it.
    """
    first = len(builder.document["nodes"])
    for bone, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents)):
        place = skeleton.heads[bone] - (skeleton.heads[parent] if parent >= 0 else 0)
        node: dict[str, Any] = {"name": name, "translation": _numbers(place)}
        children = [first + child for child, of in enumerate(skeleton.parents) if of == bone]
        if children:
            node["children"] = children
        builder.add("nodes", node)
    builder.document["scenes"][0]["nodes"].append(first)
    inverse = np.broadcast_to(np.eye(4, dtype=np.float32), (len(skeleton), 4, 4)).copy()
    inverse[:, :3, 3] = -skeleton.heads
    matrices = builder.accessor(inverse.swapaxes(1, 2).reshape(-1, 16))  # column by column
    skin = builder.add(
        "skins",
        {
            "name": "Skeleton",
            "inverseBindMatrices": matrices,
            "joints": list(range(first, first + len(skeleton))),
            "skeleton": first,
        },
    )
    return skin, first


def add_clips(builder: GlbBuilder, skeleton: Skeleton, clips: Sequence[BoneClip], first_node: int) -> None:
    """Clips as animations: turns of the bones, and the place of the hips; linear between frames.

    Every clip turns each bone that any of them turns: engines leave a bone that a clip does not speak of where the clip
    before has left it.
    """
    moving = {skeleton.hips}  # viewers take a clip that turns nothing for empty
    for clip in clips:
        moving.update(np.flatnonzero((np.abs(clip.rotations - [1, 0, 0, 0]) > _STILL).any((0, 2))).tolist())
    for clip in clips:
        times = builder.accessor((np.arange(len(clip)) / clip.fps).astype(np.float32), bounds=True)
        samplers: list[dict[str, Any]] = []
        channels: list[dict[str, Any]] = []

        def channel(bone: int, path: str, values: np.ndarray, times: int = times, samplers: list = samplers,
                    channels: list = channels) -> None:  # fmt: skip
            output = builder.accessor(values.astype(np.float32))
            samplers.append({"input": times, "interpolation": "LINEAR", "output": output})
            channels.append({"sampler": len(samplers) - 1, "target": {"node": first_node + bone, "path": path}})

        channel(skeleton.hips, "translation", clip.hips)
        for bone in sorted(moving):
            channel(bone, "rotation", clip.rotations[:, bone][:, [1, 2, 3, 0]])
        builder.add("animations", {"name": clip.name, "channels": channels, "samplers": samplers})


def weight_bytes(weights: np.ndarray) -> np.ndarray:
    """Weights [N, 4], the largest first, as uint8 whose rows sum to 255 exactly."""
    out = np.round(weights * 255).astype(np.int64)
    out[:, 0] += 255 - out.sum(1)
    return out.astype(np.uint8)


def used_joints(joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Joints uint8 [N, 4]; 0 where the weight is, as validators want it."""
    return np.where(weights > 0, joints, 0).astype(np.uint8)


def read_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON part and the binary part of a GLB file.

    Raises:
        ValueError: it is none.
    """
    if len(data) < 20 or struct.unpack_from("<II", data) != (MAGIC, VERSION):
        raise ValueError("This is not a GLB file of glTF 2.0.")
    length, kind = struct.unpack_from("<II", data, 12)
    if kind != _JSON or 20 + length > len(data):
        raise ValueError("The GLB file is damaged.")
    binary = b""
    if 28 + length <= len(data):
        size, kind = struct.unpack_from("<II", data, 20 + length)
        binary = data[28 + length : 28 + length + size] if kind == _BIN else b""
    return json.loads(data[20 : 20 + length].decode("utf-8")), binary


def _numbers(values: np.ndarray) -> list[float]:
    return [float(np.float32(value)) for value in values]
