"""Batches for the depth network: photos of :mod:`.depth_data`, spoilt, with bodies that err more or less, mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ..body.model import BodyModel, rotation_matrices
from ..reconstruct.depth import MAP_SIZE, MOST, UNIT, body_maps, mirrored_maps, rest_places, see
from .depth_data import DepthExample, read_examples
from .estimate import rotation_vectors

_MIXED = 0.5
"""Share of the bodies that err otherwise than the fit."""
_ERROR = (0.2, 1.3)
"""How many times as much."""


@dataclass(frozen=True)
class DepthBatch:
    """What the network sees, and what it should say.

    Attributes:
        photo: [B, 4, 256, 256], as in ``DepthNetwork.forward``.
        body: [B, 16, 64, 64], likewise.
        truth: [B, 2, 64, 64] how far front and back lie behind the body's, tenths of a metre.
        known: bool [B, 1, 64, 64], where that is known.
    """

    photo: torch.Tensor
    body: torch.Tensor
    truth: torch.Tensor
    known: torch.Tensor


class DepthPool:
    """The photos of a folder.

    Args:
        folder: of scripts/make_depths.py; files that are added later are found by :meth:`refresh`.
        body: the neutral body.

    Raises:
        FileNotFoundError: it holds none.
    """

    def __init__(self, folder: Path, body: BodyModel) -> None:
        self.folder, self.body = folder, body
        self.rest = rest_places(body)
        self.refresh()
        if not self.files:
            raise FileNotFoundError(f"{folder} holds no photos: make some with scripts/make_depths.py")

    def refresh(self) -> None:
        """Look which files there are."""
        self.files = sorted(self.folder.glob("*.depths"))

    def batch(self, count: int, rng: np.random.Generator) -> DepthBatch:
        """Photos of as many people, spoilt."""
        found = []
        while len(found) < count:
            examples = read_examples(self.files[rng.integers(len(self.files))])
            if examples:
                found.append(self._spoilt(examples[rng.integers(len(examples))], rng))
        return _join(found)

    def clean(self) -> list[DepthBatch]:
        """All photos as they are, one a batch."""
        examples = [example for path in self.files for example in read_examples(path)]
        return [
            self._seen(e, e.rgb.float() / 255, e.alpha.float() / 255, (e.pose, e.betas, e.translation))
            for e in examples
        ]

    def _spoilt(self, example: DepthExample, rng: np.random.Generator) -> DepthBatch:
        body = (example.pose, example.betas, example.translation)
        if rng.random() < _MIXED:
            body = _erring(example, float(rng.uniform(*_ERROR)))
        alpha = _spoil_matte(example.alpha.float() / 255, rng)
        batch = self._seen(example, spoil_colours(example.rgb.float() / 255, rng), alpha, body)
        return mirrored(batch) if rng.random() < 0.5 else batch

    def _seen(
        self, example: DepthExample, rgb: torch.Tensor, alpha: torch.Tensor, body: tuple[torch.Tensor, ...]
    ) -> DepthBatch:
        pose, betas, translation = (v.double() for v in body)
        vertices, joints = self.body.pose(pose, betas)
        vertices, pelvis = (vertices + translation).float(), (joints[0] + translation).float()
        maps = body_maps(vertices, self.rest, self.body.faces, example.focal, pelvis)
        # The truth was measured from the fitted pelvis; this body's may be elsewhere.
        at = float(example.translation[2] + self.body.shaped(example.betas.double())[1][0, 2])
        matte = functional.avg_pool2d(alpha[None, None], alpha.shape[-1] // MAP_SIZE)[0, 0]
        depth = torch.stack([_smaller(example.front.float()), -_smaller(-example.back.float())]) + at
        ours = maps[[1, 9]] * UNIT + pelvis[2]
        inside = functional.avg_pool2d(example.inside.float()[None], len(example.inside) // MAP_SIZE)[0] == 1
        known = depth.isfinite().all(0) & (matte > 0.5) & inside
        truth = torch.zeros_like(ours)
        covered = known & (maps[0] > 0)
        if bool(covered.any()):
            # Neither the photo nor the evaluation tells how far away all of the person is.
            scale = (ours[0] / depth[0])[covered].median()
            truth = torch.where(known, scale * depth - ours, 0.0).clamp(-MOST, MOST) / UNIT
        return DepthBatch(see(rgb, alpha)[None], maps[None], truth[None], known[None, None])


_STEP = 0.05
"""Metres behind the nearest of a pixel's samples from where they belong to something else."""


def _smaller(depth: torch.Tensor) -> torch.Tensor:
    """``depth`` [T, T] at the maps' size: the mean of what lies in front in each pixel, infinite where nothing does."""
    part = len(depth) // MAP_SIZE
    samples = depth.reshape(MAP_SIZE, part, MAP_SIZE, part).transpose(1, 2).flatten(2)
    # Beside the back's last samples minus infinity stands for nothing.
    nearest = torch.where(samples.isfinite(), samples, torch.inf).amin(-1, keepdim=True)
    used = samples.isfinite() & (samples <= nearest + _STEP)
    return torch.where(used.any(-1), (samples.nan_to_num(0, 0, 0) * used).sum(-1) / used.sum(-1), torch.inf)


def _join(batches: list[DepthBatch]) -> DepthBatch:
    return DepthBatch(*(torch.cat(values) for values in zip(*(vars(b).values() for b in batches))))


def mirrored(batch: DepthBatch) -> DepthBatch:
    """The same people in the mirror."""
    return DepthBatch(batch.photo.flip(-1), mirrored_maps(batch.body), batch.truth.flip(-1), batch.known.flip(-1))


def _erring(example: DepthExample, share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose, shape and translation of a body with ``share`` times the error of the fit."""
    true, found = (rotation_matrices(pose.double()) for pose in (example.true_pose, example.pose))
    error = rotation_vectors(found @ true.transpose(1, 2))
    pose = rotation_vectors(rotation_matrices(share * error) @ true)
    others = ((example.true_betas, example.betas), (example.true_translation, example.translation))
    betas, translation = (true.lerp(found, share) for true, found in others)
    return pose, betas, translation


def spoil_colours(rgb: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``rgb`` [S, S, 3] in other light, blurred, noisy, grey."""
    gain = torch.as_tensor(np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.08, 3)), dtype=torch.float32)
    rgb = (rgb.clamp(1e-3, 1) ** float(np.exp(rng.normal(0, 0.25))) * gain).clamp(0, 1)
    grey = rgb.mean(-1, keepdim=True)
    rgb = grey.lerp(rgb, 0.0 if rng.random() < 0.08 else float(rng.uniform(0.5, 1.2)))
    if rng.random() < 0.5:
        small = functional.interpolate(
            rgb.permute(2, 0, 1)[None], scale_factor=float(rng.uniform(0.35, 1)), mode="bilinear", antialias=True
        )
        rgb = functional.interpolate(small, size=rgb.shape[:2], mode="bilinear")[0].permute(1, 2, 0)
    noise = torch.randn(rgb.shape) * float(rng.exponential(0.02))
    return (rgb + noise).clamp(0, 1)


def _spoil_matte(alpha: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``alpha`` [S, S] a little too wide, too narrow, or soft."""
    layer = alpha[None, None]
    chance = rng.random()
    if chance < 0.2:
        layer = functional.max_pool2d(layer, 3, 1, 1)
    elif chance < 0.4:
        layer = -functional.max_pool2d(-layer, 3, 1, 1)
    if rng.random() < 0.3:
        layer = functional.avg_pool2d(layer, 3, 1, 1)
    return layer[0, 0]
