"""A pool of the factory's samples, packed, that grows while training goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .latent_data import ORBIT
from .samples import Sample, make_sample
from .views import Views


def pack(sample: Sample) -> Sample:
    """The sample in a third of the memory: 8-bit colours, coverage and normals, 16-bit depth, no half size."""
    views = sample.views
    small = Views(
        rgb=(views.rgb * 255).round().to(torch.uint8),
        alpha=(views.alpha * 255).round().to(torch.uint8),
        depth=views.depth.half(),
        normal=(views.normal * 127).round().to(torch.int8),
        label=views.label,
    )
    return replace(sample, views=small, half=small[:0])


def unpack(sample: Sample) -> Sample:
    """The sample of :func:`pack` with floating-point pictures again."""
    views = sample.views
    whole = Views(
        rgb=views.rgb.float() / 255,
        alpha=views.alpha.float() / 255,
        depth=views.depth.float(),
        normal=views.normal.float() / 127,
        label=views.label,
    )
    return replace(sample, views=whole)


class SamplePool:
    """People with the orbit's views and some others.

    Args:
        size: pixels a side.
        others: views besides the orbit's four, at random azimuths: what renders are compared with.
        capacity: people kept; later ones take the places of earlier ones.
        estimate: "noise", "fit" or None: see ``make_sample``.
        device: where they are made and kept.
    """

    def __init__(self, size: int, others: int, capacity: int, estimate: str | None, device: str) -> None:
        self.size, self.others, self.capacity = size, others, capacity
        self.estimate, self.device = estimate, device
        self.samples: list[Sample] = []
        self.made = 0

    def make(self, seed: int, augment: bool = True) -> Sample:
        """The sample of ``seed``, unpacked."""
        azimuths = np.random.default_rng([seed, 0x5E]).uniform(0, 360, self.others)
        return make_sample(
            seed, [*ORBIT, *azimuths.tolist()], self.size, augment=augment, estimate=self.estimate, device=self.device
        )

    def add(self, seed: int) -> None:
        """Make the person of ``seed`` and keep it."""
        sample = pack(self.make(seed))
        if len(self.samples) < self.capacity:
            self.samples.append(sample)
        else:
            self.samples[self.made % self.capacity] = sample
        self.made += 1

    def draw(self, rng: np.random.Generator) -> Sample:
        """Any of the people, unpacked."""
        return unpack(self.samples[rng.integers(len(self.samples))])
