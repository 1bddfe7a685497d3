"""Photos of :mod:`.depth_data` in one small file, to be carried to where the network is trained: about 6 kB a photo."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from ...body.model import BodyModel
from ...estimate.depth import MAP_SIZE, PHOTO_SIZE
from .depth_batches import DepthBatch, PhotoPool, joined, smaller
from .depth_data import DepthExample

_BODY = ("pose", "betas", "translation", "true_pose", "true_betas", "true_translation")
_QUALITY = 60
"""Of WebP, for colours and matte."""
_STEP = 0.002
"""Metres between depths that are told apart; the network errs by ten times as much."""
_BESIDE = -32768


def pack_examples(examples: Iterable[DepthExample], path: Path, most: int) -> int:
    """Write photos, their maps as small as the network's, up to ``most`` bytes; returns how many."""
    pictures, depths, inside, rest = [], [], [], []
    size = 0
    for example in examples:
        pictures.append(_packed_picture(example))
        depths.append(_packed_depths(example))
        part = len(example.inside) // MAP_SIZE
        whole = example.inside.numpy().reshape(MAP_SIZE, part, MAP_SIZE, part).all((1, 3))
        inside.append(np.packbits(whole))
        rest.append(np.concatenate([[example.focal], *(getattr(example, name).numpy().ravel() for name in _BODY)]))
        size += len(pictures[-1]) + len(depths[-1]) + inside[-1].nbytes + 4 * len(rest[-1]) + 16
        if size > most:
            break
    save_file(
        {
            **_joined("pictures", pictures),
            **_joined("depths", depths),
            "inside": np.stack(inside),
            "rest": np.stack(rest).astype(np.float32),
        },
        str(path),
    )
    return len(rest)


class PackedDepths:
    """What :func:`pack_examples` wrote, as a sequence of :class:`DepthExample` with maps of 64 pixels a side.

    Args:
        paths: files, or folders of files named ``*.packed``, one after the other.

    Raises:
        FileNotFoundError: there is none.
    """

    def __init__(self, *paths: Path) -> None:
        files = [file for path in paths for file in (sorted(path.glob("*.packed")) if path.is_dir() else [path])]
        if not files:
            raise FileNotFoundError(f"{paths[0]} holds no packed photos: make some with scripts/make_depths.py")
        self._files = [load_file(str(file)) for file in files]
        self._ends = np.cumsum([len(kept["rest"]) for kept in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> DepthExample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, "right"))
        kept = self._files[number]
        index -= int(self._ends[number]) - len(kept["rest"])
        picture = np.asarray(Image.open(io.BytesIO(_part(kept, "pictures", index))).convert("RGBA"))
        front, back = _unpacked_depths(_part(kept, "depths", index))
        inside = np.unpackbits(kept["inside"][index]).reshape(MAP_SIZE, MAP_SIZE).astype(bool)
        focal, *values = np.split(kept["rest"][index], [1, 73, 83, 86, 158, 168])
        body = {name: torch.as_tensor(value.copy()) for name, value in zip(_BODY, values)}
        body |= {name: body[name].reshape(24, 3) for name in ("pose", "true_pose")}
        return DepthExample(
            rgb=torch.as_tensor(picture[..., :3].copy()),
            alpha=torch.as_tensor(picture[..., 3].copy()),
            inside=torch.as_tensor(inside),
            front=torch.as_tensor(front),
            back=torch.as_tensor(back),
            focal=float(focal[0]),
            **body,
        )


class PackedPool(PhotoPool):
    """All photos of packed files, each as likely as any.

    Args:
        paths: see :class:`PackedDepths`.
        body: the neutral body.
    """

    def __init__(self, paths: Sequence[Path], body: BodyModel) -> None:
        super().__init__(body)
        self.packed = PackedDepths(*paths)

    def batch(self, count: int, rng: np.random.Generator) -> DepthBatch:
        """So many of them, spoilt."""
        return joined([self.spoilt(self.packed[int(k)], rng) for k in rng.integers(len(self.packed), size=count)])

    def clean(self) -> list[DepthBatch]:
        """All photos as they are, one a batch."""
        return [self.unspoilt(self.packed[k]) for k in range(len(self.packed))]

    def counts(self) -> dict[str, int]:
        """How many photos."""
        return {"prepared": len(self.packed)}


def _part(kept: Mapping[str, np.ndarray], name: str, index: int) -> bytes:
    ends = kept[f"{name}_ends"]
    return kept[name][ends[index - 1] if index else 0 : ends[index]].tobytes()


def _joined(name: str, parts: list[bytes]) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(b"".join(parts), np.uint8),
        f"{name}_ends": np.cumsum([len(part) for part in parts]),
    }


def _packed_picture(example: DepthExample) -> bytes:
    """The photo and its matte; what the matte leaves out, no network sees."""
    alpha = example.alpha.numpy()
    assert alpha.shape == (PHOTO_SIZE, PHOTO_SIZE)
    rgba = np.dstack([np.where(alpha[..., None] > 0, example.rgb.numpy(), 0), alpha])
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "webp", quality=_QUALITY, alpha_quality=_QUALITY, method=6)
    return file.getvalue()


def _packed_depths(example: DepthExample) -> bytes:
    """Both layers as differences of neighbours in steps, high bytes first: zeros, mostly."""
    layers = np.stack([smaller(example.front.float()).numpy(), -smaller(-example.back.float()).numpy()])
    steps = np.where(np.isfinite(layers), np.round(layers / _STEP), _BESIDE).astype(np.int16)
    bits = np.diff(steps, axis=2, prepend=np.int16(0)).view(np.uint16)
    return zlib.compress((bits >> 8).astype(np.uint8).tobytes() + (bits & 255).astype(np.uint8).tobytes(), 9)


def _unpacked_depths(packed: bytes) -> np.ndarray:
    high, low = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(2, 2, MAP_SIZE, MAP_SIZE).astype(np.uint16)
    steps = np.cumsum((high << 8 | low).view(np.int16), axis=2, dtype=np.int16)
    return np.where(steps == _BESIDE, np.inf, steps * np.float32(_STEP)).astype(np.float32)
