"""People to train with: made while training goes on, or before it by ``scripts/make_people.py``, in a folder."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from .cameras import Camera
from .estimate import noisy_body, scale_of
from .figure import TrueBody
from .latent_data import ORBIT
from .lighting import Light
from .loop import save_at_once
from .samples import Sample, make_sample
from .views import Views

_CLASSES = {"camera": Camera, "views": Views, "body": TrueBody, "light": Light}
_FORMAT = 1


def pack(sample: Sample) -> Sample:
    """The sample in a third of the memory: 8-bit colours, coverage and normals, 16-bit depth, no half size."""
    views = sample.views
    small = Views(
        rgb=to_bytes(views.rgb),
        alpha=to_bytes(views.alpha),
        depth=views.depth.half(),
        normal=(views.normal * 127).round().to(torch.int8),
        label=views.label,
    )
    return replace(
        sample,
        views=small,
        half=small[:0],
        photo_rgb=to_bytes(sample.photo_rgb),
        photo_alpha=to_bytes(sample.photo_alpha),
    )


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
    return replace(
        sample,
        views=whole,
        photo_rgb=sample.photo_rgb.float() / 255,
        photo_alpha=sample.photo_alpha.float() / 255,
    )


def to_bytes(values: torch.Tensor) -> torch.Tensor:
    """Values of 0..1 as uint8."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def write_person(sample: Sample, path: Path) -> None:
    """Keep a packed sample; a stopped write leaves no file under its name."""
    parts = {f.name: _taken_apart(getattr(sample, f.name)) for f in fields(sample) if f.name != "half"}
    save_at_once({"format": _FORMAT, "sample": parts}, path)


def read_person(path: Path) -> Sample:
    """What :func:`write_person` kept, packed.

    Raises:
        ValueError: a file of another version.
    """
    kept = torch.load(path, map_location="cpu", weights_only=True)
    if kept.get("format") != _FORMAT:
        raise ValueError(f"{path} is of another version: make the folder again with scripts/make_people.py")
    parts = {name: _put_together(value) for name, value in kept["sample"].items()}
    return Sample(half=parts["views"][:0], **parts)


def _taken_apart(value: object) -> object:
    """Dataclasses as dictionaries, so that reading needs no unpickling of classes."""
    for name, kind in _CLASSES.items():
        if isinstance(value, kind):
            return {"class": name} | {f.name: _taken_apart(getattr(value, f.name)) for f in fields(kind)}
    return value


def _put_together(value: object) -> object:
    if isinstance(value, dict):
        kind = _CLASSES[value["class"]]
        return kind(**{name: _put_together(v) for name, v in value.items() if name != "class"})
    return value


class SamplePool:
    """People with the orbit's views and some others.

    Args:
        size: pixels a side.
        others: views besides the orbit's four, at random azimuths: what renders are compared with.
        capacity: people kept; later ones take the places of earlier ones.
        estimate: "noise", "fit" or None: see ``make_sample``.
        device: where they are made and kept.
        folder: of people made before; then nobody is made, and ``add`` does nothing.

    Raises:
        FileNotFoundError: the folder holds nobody.
    """

    def __init__(
        self, size: int, others: int, capacity: int, estimate: str | None, device: str, folder: Path | None = None
    ) -> None:
        self.size, self.others, self.capacity = size, others, capacity
        self.estimate, self.device = estimate, device
        self.samples: list[Sample] = []
        self.files: list[Path] = []
        self.made = 0
        if folder is not None:
            self.files = sorted(folder.glob("*.person"))
            self.made = len(self.files)
            if not self.files:
                raise FileNotFoundError(f"{folder} holds no people: make some with scripts/make_people.py")

    def make(self, seed: int, augment: bool = True) -> Sample:
        """The sample of ``seed``, unpacked."""
        azimuths = np.random.default_rng([seed, 0x5E]).uniform(0, 360, self.others)
        return make_sample(
            seed, [*ORBIT, *azimuths.tolist()], self.size, augment=augment, estimate=self.estimate, device=self.device
        )

    def add(self, seed: int) -> None:
        """Make the person of ``seed`` and keep it."""
        if self.files:
            return
        sample = pack(self.make(seed))
        if len(self.samples) < self.capacity:
            self.samples.append(sample)
        else:
            self.samples[self.made % self.capacity] = sample
        self.made += 1

    def read(self, seed: int) -> Sample:
        """The person of ``seed`` in the folder, unpacked."""
        return unpack(read_person(self.files[0].parent / f"{seed}.person"))

    def draw(self, rng: np.random.Generator) -> Sample:
        """Any of the people, unpacked."""
        if self.files:
            sample = unpack(read_person(self.files[rng.integers(len(self.files))]))
            return _to(_estimated_anew(sample) if self.estimate == "noise" else sample, self.device)
        return unpack(self.samples[rng.integers(len(self.samples))])


def _estimated_anew(sample: Sample) -> Sample:
    """The sample with an estimate of the present error model, which may be younger than the folder."""
    if sample.body is None:
        return sample
    return with_estimate(sample, noisy_body(sample.body, sample.cameras[:1], sample.seed))


def with_estimate(sample: Sample, estimate: TrueBody) -> Sample:
    """The sample of a person with a body with another estimate of it."""
    return replace(sample, estimate=estimate, estimate_scale=scale_of(estimate, sample.body, sample.cameras))


def _to(sample: Sample, device: str) -> Sample:
    """The sample on another device, except what is on the CPU in every sample."""
    if device == "cpu":
        return sample
    names = ("views", "half", "cameras", "photo_rgb", "photo_alpha")
    moved = {name: getattr(sample, name).to(device) for name in names}
    return replace(sample, **moved)
