"""Photos of the factory's people as the product meets them, with the true depth of both their sides: what the depth
network learns from.

Everything lies in the space of the camera that the product assumes for its crop of the photo (OpenCV axes, metres,
principal point at the middle), the truth at the size at which the fitted pelvis is as far away as the true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from ...body.fit import BodyFit
from ...body.model import BodyModel, rotation_matrices
from ...errors import BackendError
from ...estimate.depth import PHOTO_SIZE, both_sides
from ...photo import PreparedPhoto
from ...pipeline import Pipeline
from ...prepare import prepare
from ...prepare.image import Photo
from ..evaluation.alignment import CropCamera, Similarity, into_true_camera, rigid
from .cameras import Camera, frame_figure
from .estimate import FitErrors, fit_errors, neutral_betas, noisy_body, placed_body, rotation_vectors, seen_by
from .figure import TrueBody
from .loop import save_at_once
from .person import build_person
from .samples import Scene, cut_rows, facing, make_scene
from .views import render_views

PHOTOS = 3
"""Of a person: the seed's own, one more or less from the front, one from anywhere."""
_PIXELS = 512
TRUTH_SIZE = 128
"""Pixels a side of maps of the truth."""
_AHEAD = 75.0
"""Degrees from the front of the second photo, at most."""
NEARLY = 30.0
"""The same of photos that are taken much as a seed's own."""
SPREADS = (NEARLY, _AHEAD, 180.0)
_CUT = 0.12
"""Share of the photos but the seed's own that the frame cuts at knees, waist or chest."""
_ROOM = (-0.02, 0.1)
"""Logarithm of how much farther away a camera stands than where the person fills the picture."""
_SHIFT = 0.006
"""Focal lengths by which the person is off the middle, standard deviation."""
_STREAM = 0xDE
_FORMAT = 1


_HERE = Camera(torch.eye(4)[None], torch.ones(1), torch.zeros(1, 2), 1)
"""In whose space examples are."""


@dataclass(frozen=True)
class DepthExample:
    """One photo; S = 256 pixels a side of pictures, T = 128 of maps.

    Attributes:
        rgb: uint8 [S, S, 3] crop.
        alpha: uint8 [S, S] matte, 255 is person.
        inside: bool [T, T], where the crop lies inside the photo.
        front, back: float16 [T, T] first and last true depth less the fitted pelvis' depth, infinite beside the person.
        focal: in crop widths.
        pose, betas, translation: float32 [24, 3], [10], [3] of the fitted body.
        true_pose, true_betas, true_translation: of the neutral body that comes nearest to the true one.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    inside: torch.Tensor
    front: torch.Tensor
    back: torch.Tensor
    focal: float
    pose: torch.Tensor
    betas: torch.Tensor
    translation: torch.Tensor
    true_pose: torch.Tensor
    true_betas: torch.Tensor
    true_translation: torch.Tensor


def make_examples(seed: int, pipeline: Pipeline, photos: int = PHOTOS, loose: bool = False) -> list[DepthExample]:
    """The photos of one person, who may wear looser clothes, in which the product finds somebody."""
    scene = make_scene(seed, figure=build_person(seed, loose=loose).figure())
    rng = np.random.default_rng([seed, _STREAM])
    ahead = facing(scene.figure)
    examples = []
    for number in range(photos):
        shot = _from_elsewhere(scene, ahead, _AHEAD if number == 1 else 180.0, rng) if number else scene
        example = _example(shot, rng, pipeline, cut=bool(number) and rng.random() < _CUT)
        if example is not None:
            examples.append(example)
    return examples


def _from_elsewhere(scene: Scene, ahead: float, spread: float, rng: np.random.Generator) -> Scene:
    azimuth = ahead + float(rng.uniform(-spread, spread))
    elevation = float(np.clip(rng.normal(3.0, 7.0), -15.0, 30.0))
    target, distance = frame_figure(scene.figure, azimuth, elevation)
    return replace(scene, azimuth=azimuth, elevation=elevation, target=target, distance=distance)


def _example(scene: Scene, rng: np.random.Generator, pipeline: Pipeline, cut: bool) -> DepthExample | None:
    camera = scene.camera(size=_PIXELS)
    wall = torch.as_tensor(rng.uniform(0.2, 0.95, 3), dtype=torch.float32)
    views = render_views([scene.figure], [scene.light], [camera], _PIXELS, 1, wall, [scene.baked])
    rgb = (views.rgb[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    alpha = views.alpha[0].numpy()
    if cut:
        row = int(np.clip(rng.choice(cut_rows(scene, camera)), _PIXELS // 4, _PIXELS))
        rgb, alpha = rgb[:row], alpha[:row]
    try:
        photo = prepare(Photo(rgb, alpha, "factory", ""), pipeline.networks())
        fit = pipeline.fitter().fit(photo)
    except BackendError:
        return None
    return example_of(photo, fit, scene, pipeline)


def imagined_examples(
    seed: int, photos: int, errors: FitErrors, spreads: Sequence[float] = SPREADS, loose: bool = False
) -> list[DepthExample]:
    """Photos of one person as if they had been prepared, and bodies with errors as fits have: no network is asked.

    For training that sees every person but a few times: further photos of a person cost a tenth of prepared ones.

    Args:
        seed: of the person.
        photos: how many: the seed's own, the others by turns from within each of ``spreads``.
        errors: to choose from.
        spreads: degrees from the front, at most; by themselves more or less from the front, from anywhere, and from
            nearly before the person.
        loose: whether they wear looser clothes.
    """
    scene = make_scene(seed, figure=build_person(seed, loose=loose).figure())
    rng = np.random.default_rng([seed, _STREAM, 1])
    ahead = facing(scene.figure)
    examples = []
    for number in range(photos):
        shot = _from_elsewhere(scene, ahead, spreads[number % len(spreads)], rng) if number else scene
        # Prepared photos leave more or less room, and the person is not quite in the middle.
        nearer = float(np.exp(rng.uniform(*_ROOM)))
        shift = torch.as_tensor(rng.normal(0, _SHIFT, 3), dtype=torch.float32) * shot.distance
        shot = replace(shot, distance=shot.distance * nearer, target=shot.target + shift)
        examples.append(_imagined(shot, rng, errors, cut=bool(number) and rng.random() < _CUT))
    return examples


def _imagined(scene: Scene, rng: np.random.Generator, errors: FitErrors, cut: bool) -> DepthExample:
    camera = scene.camera(size=PHOTO_SIZE)
    views = render_views([scene.figure], [scene.light], [camera], PHOTO_SIZE, 2, [0.0] * 3, [scene.baked])
    alpha = (views.alpha[0] * 255).round().byte()
    inside = torch.ones(TRUTH_SIZE, TRUTH_SIZE, dtype=torch.bool)
    if cut:
        row = int(np.clip(rng.choice(cut_rows(scene, camera)), PHOTO_SIZE // 4, PHOTO_SIZE))
        alpha[row:] = 0
        inside[row * TRUTH_SIZE // PHOTO_SIZE :] = False
    # Colours without the black that the matte's edge mixes in.
    rgb = views.rgb[0] / views.alpha[0][..., None].clamp(min=1e-3)
    body = scene.figure.body
    assert body is not None
    found = seen_by(noisy_body(body, camera, int(rng.integers(2**62)), errors), camera)
    true = seen_by(placed_body("neutral", neutral_betas(body), body.pose, body.joints[0]), camera)
    matrix = camera.world_to_camera[0].double()
    vertices = scene.figure.vertices.double() @ matrix[:3, :3].T + matrix[:3, 3]
    # No photo tells a small person from one far away: the truth's pelvis is brought to the fit's distance.
    pelvis = float(found.joints[0, 2])
    scale = pelvis / float(true.joints[0, 2])
    focal = float(camera.focal[0]) / PHOTO_SIZE
    front, back, _ = both_sides((scale * vertices).float(), scene.figure.faces, focal, TRUTH_SIZE)
    return DepthExample(
        rgb=(rgb.clamp(0, 1) * 255).round().byte(),
        alpha=alpha,
        inside=inside,
        front=(front - pelvis).half(),
        back=(back - pelvis).half(),
        focal=focal,
        pose=found.pose.float(),
        betas=found.betas.float(),
        translation=found.translation.float(),
        true_pose=true.pose.float(),
        true_betas=true.betas.float(),
        true_translation=(true.translation + (scale - 1) * true.joints[0]).float(),
    )


def otherwise_fitted(example: DepthExample, errors: FitErrors, rng: np.random.Generator) -> DepthExample:
    """``example`` with a body that errs as the fit to another person in a like pose does."""
    true = _neutral(example.true_betas, example.true_pose, example.true_translation)
    found = noisy_body(true, _HERE, int(rng.integers(2**62)), errors)
    before, after = float(true.joints[0, 2]), float(found.joints[0, 2])
    scale = after / before
    return replace(
        example,
        front=(scale * (example.front.float() + before) - after).to(example.front.dtype),
        back=(scale * (example.back.float() + before) - after).to(example.back.dtype),
        pose=found.pose.float(),
        betas=found.betas.float(),
        translation=found.translation.float(),
        true_translation=(true.translation + (scale - 1) * true.joints[0]).float(),
    )


def errors_of(examples: Iterable[DepthExample]) -> FitErrors:
    """The errors of the fits of photos, for :func:`imagined_examples`."""
    rows = []
    for example in examples:
        fitted = (example.betas, example.pose, example.translation)
        true = (example.true_betas, example.true_pose, example.true_translation)
        rows.append(fit_errors(_neutral(*true), _neutral(*fitted), _HERE))
    return FitErrors(*(np.concatenate([getattr(row, f.name) for row in rows]) for f in fields(FitErrors)))


def _neutral(betas: torch.Tensor, pose: torch.Tensor, translation: torch.Tensor) -> TrueBody:
    found = placed_body("neutral", betas.double(), pose.double(), torch.zeros(3, dtype=torch.float64))
    shift = translation.double() - found.translation
    return replace(found, translation=translation.double(), joints=found.joints + shift)


def example_of(photo: PreparedPhoto, fit: BodyFit, scene: Scene, pipeline: Pipeline) -> DepthExample:
    """The example of a prepared photo, the body fitted to it, and the scene that it shows at 512 pixels."""
    side = photo.rgb.shape[0]
    camera = scene.camera(size=_PIXELS)
    left, top, width = photo.crop
    crop = CropCamera(left, top, width, photo.focal * width / side)
    pelvis = float(fit.translation[2] + rest_pelvis(pipeline.body(), torch.as_tensor(fit.betas))[2])
    turned = into_true_camera(crop, float(camera.focal[0]), camera.centre[0].double().numpy(), pelvis)
    to_camera = rigid(camera.world_to_camera[0].double().numpy())
    body = scene.figure.body
    assert body is not None
    # No photo tells a small person from one far away: the truth's pelvis is brought to the fit's distance.
    true_pelvis = to_camera.points(body.joints.numpy()[:1])[0, 2]
    to_true = turned.scaled(float(true_pelvis / turned.points(np.array([[0.0, 0.0, pelvis]]))[0, 2]))
    vertices = _inverse(to_true, to_camera.points(scene.figure.vertices.double().numpy()))
    front, back, _ = both_sides(
        torch.as_tensor(vertices, dtype=torch.float32), scene.figure.faces, photo.focal / side, TRUTH_SIZE
    )
    pose, betas, translation = _true_body(body, to_camera, to_true, pipeline)
    size = (PHOTO_SIZE, PHOTO_SIZE)
    inside = photo.inside_at(TRUTH_SIZE)
    return DepthExample(
        rgb=torch.as_tensor(cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA)),
        alpha=torch.as_tensor((cv2.resize(photo.alpha, size, interpolation=cv2.INTER_AREA) * 255).round()).byte(),
        inside=torch.as_tensor(inside),
        front=(front - pelvis).half(),
        back=(back - pelvis).half(),
        focal=photo.focal / side,
        pose=torch.as_tensor(fit.pose).float(),
        betas=torch.as_tensor(fit.betas).float(),
        translation=torch.as_tensor(fit.translation).float(),
        true_pose=pose.float(),
        true_betas=betas.float(),
        true_translation=translation.float(),
    )


def rest_pelvis(model: BodyModel, betas: torch.Tensor) -> torch.Tensor:
    """The pelvis [3] of a body in the rest pose."""
    regressor = model.joint_regressor[0]
    used = regressor != 0
    return regressor[used] @ (model.template[used] + model.shape_directions[used] @ betas)


def _inverse(similarity: Similarity, points: np.ndarray) -> np.ndarray:
    return (points - similarity.translation) @ similarity.rotation / similarity.scale


def _true_body(
    body: TrueBody, to_camera: Similarity, to_true: Similarity, pipeline: Pipeline
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose, shape and translation of the neutral body that is nearest to the true one, in the crop camera's space.

    Its size stays that of the shape: it lies as far along the ray as makes it look as large as the true one.
    """
    betas = neutral_betas(body)
    pose = body.pose.double().clone()
    turn = torch.as_tensor(to_true.rotation.T @ to_camera.rotation)
    pose[0] = rotation_vectors(turn @ rotation_matrices(pose[:1])[0])
    pelvis = _inverse(to_true, to_camera.points(body.joints.numpy()[:1]))[0] * to_true.scale
    return pose, betas, torch.as_tensor(pelvis) - rest_pelvis(pipeline.body(), betas)


def write_examples(examples: list[DepthExample], path: Path) -> None:
    """Keep the photos of one person; a stopped write leaves no file under its name."""
    kept = [{f.name: getattr(example, f.name) for f in fields(example)} for example in examples]
    save_at_once({"format": _FORMAT, "examples": kept}, path)


def read_examples(path: Path) -> list[DepthExample]:
    """What :func:`write_examples` kept.

    Raises:
        ValueError: a file of another version.
    """
    kept = torch.load(path, map_location="cpu", weights_only=True)
    if kept.get("format") != _FORMAT:
        raise ValueError(f"{path} is of another version: make the folder again with scripts/make_depths.py")
    return [DepthExample(**example) for example in kept["examples"]]
