"""What the lifter learns from: the landmark network's answer to pictures of people whose landmarks are known."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch

from ...body.landmarks import LANDMARK_NAMES
from ...body.model import BodyModel, load_body
from ...prepare.blazepose import BlazePose, Detection
from .augment import on_background
from .estimate import stature
from .samples import Sample

_MIRRORED = [0, *(k + 1 if k % 2 else k - 1 for k in range(1, len(LANDMARK_NAMES)))]
"""After the nose, landmarks come in pairs of left and right."""
_HIPS = [LANDMARK_NAMES.index("left_hip"), LANDMARK_NAMES.index("right_hip")]


@dataclass(frozen=True)
class LiftExamples:
    """B pictures of people.

    Attributes:
        landmarks, visibility, world: [B, 33, 2], [B, 33] and [B, 33, 3], what the landmark network says.
        truth: [B, 27, 3] the body's keypoints, metres about the hips in camera axes, for a person of average stature.
        azimuth: [B] degrees from the photo's camera.
        spoilt: bool [B], pictures augmented as photos are in training.
    """

    landmarks: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    truth: np.ndarray
    azimuth: np.ndarray
    spoilt: np.ndarray


def join(examples: list[LiftExamples]) -> LiftExamples:
    """One of several."""
    return LiftExamples(*(np.concatenate([getattr(e, f.name) for e in examples]) for f in fields(LiftExamples)))


@lru_cache(maxsize=4)
def _body(name: str) -> tuple[BodyModel, torch.Tensor]:
    """(body, regressor [27, V] of the landmarks)."""
    body = load_body(name)
    rows = [body.keypoint_regressor[body.keypoint_names.index(landmark)] for landmark in LANDMARK_NAMES]
    return body, torch.stack(rows)


@lru_cache(maxsize=1)
def _average_stature() -> float:
    return stature("neutral", torch.zeros(10, dtype=torch.float64))


@torch.no_grad()
def lift_examples(sample: Sample, networks: BlazePose) -> LiftExamples:
    """Pictures of one person: all views before some background, the photo also spoilt, most of them mirrored or not.

    Args:
        sample: with a body; pictures of 256 pixels are as fine as the landmark network sees them.
        networks: the product's.
    """
    state = sample.body
    if state is None:
        raise ValueError("the sample has no body")
    body, regressor = _body(state.name)
    keypoints = regressor @ body.pose(state.pose, state.betas)[0] + state.translation
    points = torch.cat([keypoints, state.joints])
    rng = np.random.default_rng([sample.seed, 0x11F7])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    larger = _average_stature() / stature(state.name, state.betas)
    rows = []
    views = [(0, True, flip) for flip in (False, True)] + [(0, False, flip) for flip in (False, True)]
    views += [(k, False, bool(rng.random() < 0.5)) for k in range(1, len(sample.cameras))]
    for view, spoilt, flip in views:
        picture = sample.photo_rgb
        if not spoilt:
            picture = on_background(sample.views.rgb[view], sample.views.alpha[view], generator)
        matrix = sample.cameras.world_to_camera[view].double()
        seen = (points @ matrix[:3, :3].T + matrix[:3, 3]).numpy()
        pixels = sample.cameras.project(points.float())[view, :, :2].numpy().astype(np.float64)
        rgb = (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        covered = sample.views.alpha[view].numpy() > 0.5
        if flip:
            rgb, covered = np.ascontiguousarray(rgb[:, ::-1]), covered[:, ::-1]
            pixels = pixels * [-1, 1] + [rgb.shape[1], 0]
            seen = seen * [-1, 1, 1]
        truth = seen[: len(LANDMARK_NAMES)]
        truth = (truth - truth[_HIPS].mean(0)) * larger
        found = networks.landmarks(rgb, _detection(pixels[len(LANDMARK_NAMES) :], covered, rng), passes=1)
        rows.append(
            LiftExamples(
                landmarks=found.image[None].astype(np.float32),
                visibility=found.visibility[None].astype(np.float32),
                world=found.world[None].astype(np.float32),
                truth=(truth[_MIRRORED] if flip else truth)[None].astype(np.float32),
                azimuth=np.array([sample.azimuths[view]], np.float32),
                spoilt=np.array([spoilt]),
            )
        )
    return join(rows)


def _detection(joints: np.ndarray, covered: np.ndarray, rng: np.random.Generator) -> Detection:
    """About what the detector says of a person with ``joints`` [24, 2] pixels who covers ``covered`` [S, S]."""
    hip = joints[[1, 2]].mean(0)
    trunk = joints[[16, 17]].mean(0) - hip
    rows, columns = np.nonzero(covered)
    radius = np.hypot(columns - hip[0], rows - hip[1]).max() * rng.uniform(0.97, 1.1)
    angle = np.arctan2(trunk[1], trunk[0]) + 0.1 * rng.normal()
    centre = hip + 0.03 * radius * rng.normal(size=2)
    return Detection(1.0, centre, centre + radius * np.array([np.cos(angle), np.sin(angle)]))
