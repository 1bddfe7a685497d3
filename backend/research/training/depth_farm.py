"""Samples for the depth network without end: processes make people while a device trains on those made so far.

A graphics card trains faster than photos can be prepared and fitted, or people be made. So photos that were made
before (:mod:`.depth_pack`), prepared or imagined ones, are moved anew over and over, and new people are imagined
between them. What moves (roll, errors of the body) is made beside; colours, mattes and the mirror are spoilt on the
device at every draw.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...body.model import load_body
from .depth_batches import DepthBatch, DepthViewer, drawn, joined, mirrored
from .depth_data import NEARLY, SPREADS, DepthExample, errors_of, imagined_examples, otherwise_fitted
from .depth_pack import PackedDepths
from .depth_spoil import spoilt
from .estimate import FitErrors
from .samples import split_seeds

_PHOTOS = 3
"""Of a new person: two as most photos are, and one more or less from the front."""
_SPREADS = (SPREADS[1], NEARLY)
_PACKED = 40
"""Packed photos that each new person's come with."""
_ERRORS = 2000
"""Fits whose errors one process knows."""
_OTHERWISE = 0.3
"""Share of the packed photos whose body errs as that of somebody else in a like pose."""
_FIRST = 200_000
"""Number of the first person in the split: those of scripts/make_depths.py come before."""
_CHUNK = 4096
"""Samples in one piece of memory: fewer than 2^31 numbers."""
_DRAWS = 2
"""Groups of a batch, each from one piece, and blurred by as much."""

Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""uint8 [n, 4, 256, 256] colours and matte, float16 [n, 16, 64, 64] body, float16 [n, 2, 64, 64] truth, bool known."""


class Maker:
    """Makes the samples of people.

    Args:
        packed: photos made before.
        errors: that bodies of new people have.
    """

    def __init__(self, packed: PackedDepths, errors: FitErrors) -> None:
        self.packed, self.errors = packed, errors
        self.viewer = DepthViewer(load_body("neutral"))

    @torch.no_grad()
    def samples(self, seed: int) -> Sample:
        """Those of a person, and of packed photos."""
        rng = np.random.default_rng([seed, 0xFA])
        made = [self._sample(example, rng) for example in imagined_examples(seed, _PHOTOS, self.errors, _SPREADS)]
        for k in rng.integers(len(self.packed), size=_PACKED):
            example = self.packed[int(k)]
            if rng.random() < _OTHERWISE:
                example = otherwise_fitted(example, self.errors, rng)
            made.append(self._sample(example, rng))
        return tuple(np.concatenate(values) for values in zip(*made))

    def _sample(self, example: DepthExample, rng: np.random.Generator) -> Sample:
        example, body = self.viewer.moved(example, rng)
        batch = self.viewer.unspoilt(example, body)
        return drawn(example).numpy(), batch.body.half().numpy(), batch.truth.half().numpy(), batch.known.numpy()


def lent_errors(packed: PackedDepths, seed: int) -> FitErrors:
    """The errors of the fits of some photos that the product prepared, which ``seed`` chooses."""
    chosen = np.random.default_rng(seed).permutation(len(packed))[:_ERRORS]
    return errors_of(packed[int(k)] for k in chosen)


def _make(number: int, makers: int, skip: int, packed: Sequence[Path], made: Any) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    maker = Maker(PackedDepths(*packed), lent_errors(PackedDepths(packed[0]), number))
    first = split_seeds("train").start + _FIRST
    for person in count(skip + number, makers):
        try:
            made.put(maker.samples(first + person))
        except (ValueError, RuntimeError, IndexError) as error:
            # One person more or less: the training goes on.
            print(f"person {person}: {error}", flush=True)


@dataclass(frozen=True)
class _Chunk:
    photo: torch.Tensor
    body: torch.Tensor
    truth: torch.Tensor
    known: torch.Tensor


class DepthFarm:
    """Processes that make samples, and the memory of those made.

    Args:
        packed: files of :func:`.depth_pack.pack_examples` and folders of such; the first lends its fits' errors.
        makers: processes.
        capacity: samples kept; later ones take the place of the oldest.
        device: where they lie, 0.4 MB each.
        skip: people that earlier trainings have seen.
    """

    def __init__(
        self, packed: Sequence[Path], makers: int, capacity: int, device: torch.device | str, skip: int = 0
    ) -> None:
        self.device = torch.device(device)
        self.chunks: list[_Chunk] = []
        self.most = max(1, math.ceil(capacity / _CHUNK))
        self.made = 0
        """Samples so far."""
        self._rng = np.random.default_rng(0)
        os.environ["OMP_NUM_THREADS"] = "1"
        context = multiprocessing.get_context("spawn")
        pipe = context.Queue(4 * makers)
        self._makers = [
            context.Process(target=_make, args=(k, makers, skip, packed, pipe), daemon=True) for k in range(makers)
        ]
        for process in self._makers:
            process.start()
        self._ready: queue.Queue[Sample] = queue.Queue(64)
        # Unpacking what comes through the pipe must not keep the device waiting.
        threading.Thread(target=lambda: [self._ready.put(pipe.get()) for _ in count()], daemon=True).start()

    def close(self) -> None:
        """End the processes."""
        for process in self._makers:
            process.kill()

    def take(self, wait: bool = False) -> None:
        """Bring what was made onto the device.

        Raises:
            RuntimeError: asked to wait while no process is left.
        """
        while wait or not self._ready.empty():
            try:
                sample = self._ready.get(timeout=1.0)
            except queue.Empty:
                if not any(process.is_alive() for process in self._makers):
                    raise RuntimeError("the processes that make people ended") from None
                continue
            wait = False
            self._keep(sample)

    def _keep(self, sample: Sample) -> None:
        values = [torch.from_numpy(value) for value in sample]
        if self.device.type == "cuda":
            # From pageable memory the copy would wait for all that the card has to do.
            values = [value.pin_memory().to(self.device, non_blocking=True) for value in values]
        done, total = 0, len(values[0])
        while done < total:
            place = self.made % (self.most * _CHUNK)
            number, row = divmod(place, _CHUNK)
            if number == len(self.chunks):
                self.chunks.append(_Chunk(*(v.new_empty(_CHUNK, *v.shape[1:]) for v in values)))
            some = min(_CHUNK - row, total - done)
            for kept, value in zip(vars(self.chunks[number]).values(), values):
                kept[row : row + some] = value[done : done + some]
            done += some
            self.made += some

    def batch(self, size: int) -> DepthBatch:
        """Samples drawn by chance and spoilt; ``size`` is an even number."""
        whole = min(self.made, self.most * _CHUNK)
        parts = []
        for at in self._rng.integers(whole, size=_DRAWS) // _CHUNK:
            filled = min(_CHUNK, whole - int(at) * _CHUNK)
            rows = torch.randint(filled, (size // _DRAWS,), device=self.device)
            chunk = self.chunks[int(at)]
            photo, body, truth, known = (value[rows] for value in vars(chunk).values())
            seen, known = spoilt(photo, known, self._rng)
            batch = DepthBatch(seen, body.float(), truth.float(), known)
            parts.append(mirrored(batch) if self._rng.random() < 0.5 else batch)
        return joined(parts)
