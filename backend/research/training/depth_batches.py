"""Batches for the depth network: photos of :mod:`.depth_data`, spoilt, rolled, mirrored, with more or less error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from ...body.model import BodyModel, rotation_matrices
from ...estimate.depth import MAP_SIZE, MOST, UNIT, body_maps, mirrored_maps, pack_rgba, rest_places
from .depth_data import DepthExample, read_examples, rest_pelvis
from .depth_spoil import spoilt
from .estimate import rotation_vectors

_MIXED = 0.5
"""Share of the bodies that err otherwise than the fit."""
_ERROR = (0.2, 1.3)
"""How many times as much."""
_OWN = 0.3
"""Share of the draws that take a person's first photo, which shows them as most photos do; the others take any."""
_ROLLED = 0.5
"""Share of the photos that are turned about the camera's axis."""
_ROLL = 12.0
"""Degrees, standard deviation."""


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


class DepthViewer:
    """Makes what the network sees of photos.

    Args:
        body: the neutral body.
    """

    def __init__(self, body: BodyModel) -> None:
        # A micrometre is enough, and half the bytes are twice as fast.
        self.body = replace(body, **{k: v.float() for k, v in vars(body).items() if _is_real(v)})
        self.rest = rest_places(body)

    def moved(self, example: DepthExample, rng: np.random.Generator) -> tuple[DepthExample, tuple[torch.Tensor, ...]]:
        """``example`` and its body, now and then with more or less error, or turned about the camera's axis."""
        body = (example.pose, example.betas, example.translation)
        if rng.random() < _MIXED:
            body = _erring(example, float(rng.uniform(*_ERROR)))
        if rng.random() < _ROLLED:
            angle = float(np.radians(rng.normal(0, _ROLL)))
            example, body = rolled(example, angle), rolled_body(body, self.body, angle)
        return example, body

    def unspoilt(self, example: DepthExample, body: tuple[torch.Tensor, ...] | None = None) -> DepthBatch:
        """A batch of one photo as it is, with the fitted body or another."""
        body = body or (example.pose, example.betas, example.translation)
        return self.seen(example, example.rgb.float() / 255, example.alpha.float() / 255, body)

    def spoilt(self, example: DepthExample, rng: np.random.Generator) -> DepthBatch:
        """A batch of one photo as trainings draw it: moved, spoilt, mirrored as often as not."""
        example, body = self.moved(example, rng)
        batch = self.unspoilt(example, body)
        photo, known = spoilt(drawn(example), batch.known, rng)
        batch = replace(batch, photo=photo, known=known)
        return mirrored(batch) if rng.random() < 0.5 else batch

    def seen(
        self, example: DepthExample, rgb: torch.Tensor, alpha: torch.Tensor, body: tuple[torch.Tensor, ...]
    ) -> DepthBatch:
        """A batch of one photo.

        Args:
            example: whose truth it is.
            rgb, alpha: [S, S, 3] and [S, S] in 0..1, the photo as it is to be seen.
            body: pose [24, 3], shape [10] and translation [3] of the body that is taken for the person's.
        """
        pose, betas, translation = (v.float() for v in body)
        vertices, joints = self.body.pose(pose, betas)
        vertices, pelvis = vertices + translation, joints[0] + translation
        maps = body_maps(vertices, self.rest, self.body.faces, example.focal, pelvis)
        # The truth was measured from the fitted pelvis; this body's may be elsewhere.
        at = float((example.translation + rest_pelvis(self.body, example.betas))[2])
        matte = functional.avg_pool2d(alpha[None, None], alpha.shape[-1] // MAP_SIZE)[0, 0]
        depth = torch.stack([smaller(example.front.float()), -smaller(-example.back.float())]) + at
        ours = maps[[1, 9]] * UNIT + pelvis[2]
        inside = functional.avg_pool2d(example.inside.float()[None], len(example.inside) // MAP_SIZE)[0] == 1
        known = depth.isfinite().all(0) & (matte > 0.5) & inside
        truth = torch.zeros_like(ours)
        covered = known & (maps[0] > 0)
        if bool(covered.any()):
            # Neither the photo nor the evaluation tells how far away all of the person is.
            scale = (ours[0] / depth[0])[covered].median()
            truth = torch.where(known, scale * depth - ours, 0.0).clamp(-MOST, MOST) / UNIT
        return DepthBatch(pack_rgba(rgb, alpha)[None], maps[None], truth[None], known[None, None])


class PhotoPool(DepthViewer, ABC):
    """Where photos are drawn from."""

    @abstractmethod
    def batch(self, count: int, rng: np.random.Generator) -> DepthBatch:
        """So many photos, spoilt."""

    @abstractmethod
    def clean(self) -> list[DepthBatch]:
        """All photos as they are, one a batch."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """How much there is, for a log."""

    def refresh(self) -> None:
        """Look whether there are more."""


class DepthPool(PhotoPool):
    """The photos of a folder; those that were drawn stay in memory, about 0.4 MB each.

    Args:
        folder: of scripts/make_depths.py; files that are added later are found by :meth:`refresh`.
        body: the neutral body.

    Raises:
        FileNotFoundError: it holds none.
    """

    def __init__(self, folder: Path, body: BodyModel) -> None:
        super().__init__(body)
        self.folder = folder
        self._read: dict[Path, list[DepthExample]] = {}
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
            path = self.files[rng.integers(len(self.files))]
            if path not in self._read:
                self._read[path] = read_examples(path)
            examples = self._read[path]
            if examples:
                number = 0 if rng.random() < _OWN else rng.integers(len(examples))
                found.append(self.spoilt(examples[number], rng))
        return joined(found)

    def clean(self) -> list[DepthBatch]:
        """All photos as they are, one a batch."""
        examples = [example for path in self.files for example in read_examples(path)]
        return [self.unspoilt(example) for example in examples]

    def counts(self) -> dict[str, int]:
        """How many people."""
        return {"people": len(self.files)}


def _is_real(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


class DepthStream(torch.utils.data.IterableDataset):
    """Batches without end, for a process beside the training.

    Args:
        pool: where they are drawn.
        count: photos in each.
        seed: of the draw.
    """

    def __init__(self, pool: PhotoPool, count: int, seed: int) -> None:
        self.pool, self.count, self.seed = pool, count, seed

    def __iter__(self) -> Iterator[DepthBatch]:
        rng = np.random.default_rng(self.seed)
        torch.manual_seed(self.seed)
        while True:
            self.pool.refresh()
            for _ in range(50):
                yield self.pool.batch(self.count, rng)


_STEP = 0.05
"""Metres behind the nearest of a pixel's samples from where they belong to something else."""


def smaller(depth: torch.Tensor) -> torch.Tensor:
    """``depth`` [T, T] at the maps' size: the mean of what lies in front in each pixel, infinite where nothing does."""
    part = len(depth) // MAP_SIZE
    samples = depth.reshape(MAP_SIZE, part, MAP_SIZE, part).transpose(1, 2).flatten(2)
    # Beside the back's last samples minus infinity stands for nothing.
    nearest = torch.where(samples.isfinite(), samples, torch.inf).amin(-1, keepdim=True)
    used = samples.isfinite() & (samples <= nearest + _STEP)
    return torch.where(used.any(-1), (samples.nan_to_num(0, 0, 0) * used).sum(-1) / used.sum(-1), torch.inf)


def drawn(example: DepthExample) -> torch.Tensor:
    """Colours and matte, uint8 [1, 4, S, S]."""
    return torch.cat([example.rgb, example.alpha[..., None]], -1).permute(2, 0, 1)[None]


def joined(batches: Sequence[DepthBatch]) -> DepthBatch:
    """One batch of several."""
    return DepthBatch(*(torch.cat(values) for values in zip(*(vars(b).values() for b in batches))))


def mirrored(batch: DepthBatch) -> DepthBatch:
    """The same people in the mirror."""
    return DepthBatch(batch.photo.flip(-1), mirrored_maps(batch.body), batch.truth.flip(-1), batch.known.flip(-1))


def rolled(example: DepthExample, angle: float) -> DepthExample:
    """``example`` with its maps turned by ``angle`` radians about the camera's axis, from x towards y."""

    def turned(layer: torch.Tensor, how: int, beside: float) -> torch.Tensor:
        centre = (layer.shape[0] - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), -float(np.degrees(angle)), 1.0)
        size = (layer.shape[1], layer.shape[0])
        return torch.as_tensor(cv2.warpAffine(layer.numpy(), matrix, size, flags=how, borderValue=beside))

    near, mixed = cv2.INTER_NEAREST, cv2.INTER_LINEAR
    return replace(
        example,
        rgb=turned(example.rgb, mixed, 0),
        alpha=turned(example.alpha, mixed, 0),
        inside=turned(example.inside.byte(), near, 0).bool(),
        front=turned(example.front.float(), near, np.inf),
        back=turned(example.back.float(), near, np.inf),
    )


def rolled_body(
    body: tuple[torch.Tensor, ...], model: BodyModel, angle: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose, shape and translation of ``body`` turned as :func:`rolled` turns its photo."""
    pose, betas, translation = (value.to(model.template) for value in body)
    turn = rotation_matrices(torch.tensor([[0.0, 0.0, angle]]).to(pose))[0]
    pelvis = rest_pelvis(model, betas)
    pose = pose.clone()
    pose[0] = rotation_vectors(turn @ rotation_matrices(pose[:1])[0])
    return pose, betas, turn @ (pelvis + translation) - pelvis


def _erring(example: DepthExample, share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose, shape and translation of a body with ``share`` times the error of the fit."""
    true, found = (rotation_matrices(pose.double()) for pose in (example.true_pose, example.pose))
    error = rotation_vectors(found @ true.transpose(1, 2))
    pose = rotation_vectors(rotation_matrices(share * error) @ true)
    others = ((example.true_betas, example.betas), (example.true_translation, example.translation))
    betas, translation = (true.lerp(found, share) for true, found in others)
    return pose, betas, translation
