"""Predictions whose relation to the truth is known come out where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.avatar import from_rgb
from backend.avatar.quaternion import to_matrix
from backend.body.fit import BodyFitter
from backend.body.model import load_body
from backend.prepare import CROP_SIZE, BlazePose, prepare
from backend.prepare.image import Photo
from backend.research.evaluation.alignment import CropCamera, Similarity, into_true_camera, rigid, scale_of_depths
from backend.research.evaluation.mannequins import make_mannequin


def _person(rng: np.random.Generator) -> np.ndarray:
    """Points [N, 3] spread like a standing person two and a half metres before the camera."""
    return rng.normal(size=(500, 3)) * [0.2, 0.5, 0.12] + [0.0, 0.0, 2.5]


def _pixels(points: np.ndarray, focal: float, centre: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * focal + centre


def test_the_same_camera_is_left_alone() -> None:
    crop = CropCamera(left=0, top=0, side=512, focal=700)
    similarity = into_true_camera(crop, 700, np.array([256.0, 256.0]), 2.5)
    assert similarity.rotation == pytest.approx(np.eye(3)) and similarity.translation == pytest.approx(np.zeros(3))


def test_a_crop_beside_the_middle_turns_the_camera() -> None:
    """A camera turned to the crop's middle, with the focal length that this distance means, took the prediction."""
    focal, centre = 900.0, np.array([640.0, 360.0])
    crop_middle = np.array([900.0, 420.0])
    offset = crop_middle - centre
    # The axes of the turned camera found another way: by Euler-free alignment of vectors.
    ray = np.append(offset, focal)
    axis = np.cross([0, 0, 1.0], ray)
    angle = np.arccos(focal / np.linalg.norm(ray))
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)
    true = turn.apply(_person(np.random.default_rng(0)))
    crop = CropCamera(crop_middle[0] - 300, crop_middle[1] - 300, 600, float(np.linalg.norm(ray)))
    similarity = into_true_camera(crop, focal, centre, 2.5)
    predicted = turn.inv().apply(true)
    assert similarity.points(predicted) == pytest.approx(true, abs=1e-9)
    # What the prediction sees at its middle, the true camera sees at the crop's middle.
    there = similarity.points(np.array([[0, 0, 2.0]]))
    assert _pixels(there, focal, centre)[0] == pytest.approx(crop_middle)
    # And around it, to the second order, pixels agree too.
    middle = np.array([crop.left, crop.top]) + crop.side / 2
    near = np.array([[0.05, 0.03, 2.5], [-0.04, 0.06, 2.5]])
    assert _pixels(similarity.points(near), focal, centre) == pytest.approx(_pixels(near, crop.focal, middle), abs=2.0)


def test_another_focal_length_means_another_depth() -> None:
    """The person keeps its shape and, at its own depth, its pixels."""
    crop = CropCamera(0, 0, 512, focal=500)
    centre = np.array([256.0, 256.0])
    similarity = into_true_camera(crop, 800, centre, 2.5)
    predicted = _person(np.random.default_rng(1))
    moved = similarity.points(predicted)
    assert moved - moved[0] == pytest.approx(predicted - predicted[0])
    flat = predicted * [1, 1, 0] + [0, 0, 2.5]
    assert _pixels(similarity.points(flat), 800, centre) == pytest.approx(_pixels(flat, 500, centre))


def test_scale_is_found_and_leaves_the_photo_as_it_is() -> None:
    rng = np.random.default_rng(2)
    truth = rng.uniform(2, 3, (20, 20))
    ours = truth / 1.3
    ours[:4] *= 5  # a fifth of the pixels is far off
    where = np.ones((20, 20), bool)
    factor = scale_of_depths(truth, ours, where)
    assert factor == pytest.approx(1.3)
    assert scale_of_depths(truth, ours, ~where) == 1
    points = _person(rng)
    centre = np.array([100.0, 120.0])
    similarity = into_true_camera(CropCamera(10, 0, 180, 300.0), 320, centre, 2.5)
    before = _pixels(similarity.points(points), 320, centre)
    assert _pixels(similarity.scaled(factor).points(points), 320, centre) == pytest.approx(before)


def test_splats_move_as_their_covariance_says() -> None:
    rng = np.random.default_rng(3)
    quaternion = rng.normal(size=(50, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    scale = rng.uniform(0.01, 0.1, (50, 3))
    splats = from_rgb(rng.normal(size=(50, 3)), quaternion, scale, np.full(50, 0.5), rng.uniform(size=(50, 3)))
    turn = Rotation.from_rotvec([0.3, -0.8, 0.4]).as_matrix()
    moved = Similarity(1.7, turn, np.array([0.1, 0.2, 0.3])).splats(splats)

    def covariance(s: np.ndarray, q: np.ndarray) -> np.ndarray:
        axes = to_matrix(q.astype(np.float64)) * s[:, None, :]
        return axes @ axes.transpose(0, 2, 1)

    expected = 1.7**2 * turn @ covariance(splats.scale, splats.rotation) @ turn.T
    assert covariance(moved.scale, moved.rotation) == pytest.approx(expected, abs=1e-6)
    assert moved.position == pytest.approx(1.7 * splats.position @ turn.T + [0.1, 0.2, 0.3], abs=1e-6)
    assert moved.rgb == pytest.approx(splats.rgb)


def test_similarities_chain() -> None:
    rng = np.random.default_rng(4)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.2, 0.1, -0.5]).as_matrix()
    matrix[:3, 3] = [1, 2, 3]
    first = Similarity(2.0, Rotation.from_rotvec([1, 0, 0]).as_matrix(), np.array([0.5, 0, 0]))
    points = rng.normal(size=(5, 3))
    assert first.then(rigid(matrix)).points(points) == pytest.approx(
        first.points(points) @ matrix[:3, :3].T + matrix[:3, 3]
    )


def test_the_products_own_fit_lands_on_the_person() -> None:
    """A person beside the middle of a wide photo, prepared and fitted as the product does it."""
    body = load_body("neutral")
    mannequin = make_mannequin(body, "standing", 0.0, 3, size=512)
    left, top = 420, 60
    wide = np.full((640, 1100, 3), 190, np.uint8)
    wide[top : top + 512, left : left + 512] = mannequin.rgb
    centre = np.array([left + 256.0, top + 256.0])
    photo = prepare(Photo(wide, None, "wide", ""), BlazePose(torch.device("cpu")))
    fit = BodyFitter(body).fit(photo)
    x, y, side = photo.crop
    crop = CropCamera(x, y, side, fit.focal * side / CROP_SIZE)
    with torch.no_grad():
        joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy() + fit.translation
    similarity = into_true_camera(crop, mannequin.focal, centre, joints[0, 2])
    ours = similarity.points(joints)
    ours = ours * mannequin.joints[0, 2] / ours[0, 2]
    # In the picture they meet within two hundredths of the person's height ...
    error = np.linalg.norm(ours[:, :2] / ours[:, 2:] - mannequin.joints[:, :2] / mannequin.joints[:, 2:], axis=1)
    assert error.mean() * mannequin.focal < 0.02 * 512
    # ... and in space the pelvises within 4 cm, without anything but the one scale fitted.
    assert np.linalg.norm(ours[0] - mannequin.joints[0]) < 0.04
