"""Finding people, cutting them out and cropping, on rendered mannequins whose joints are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from backend.body.model import JOINT_INDEX, load_body
from backend.errors import BackendError
from backend.photo import PreparedPhoto
from backend.prepare import CROP_SIZE, FIELD_OF_VIEW, BlazePose, extend_colours, prepare
from backend.prepare.detect import find_people, look_again
from backend.prepare.image import Photo
from backend.prepare.weights import missing_weights
from backend.research.evaluation.mannequins import Mannequin, make_mannequin

pytestmark = pytest.mark.skipif(bool(missing_weights()), reason="the pose networks have not been unpacked")

BODY_LANDMARKS = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow", 15: "left_wrist",
    16: "right_wrist", 23: "left_hip", 24: "right_hip", 25: "left_knee", 26: "right_knee", 27: "left_ankle",
    28: "right_ankle",
}  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> Iterator[BlazePose]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are small: on a busy machine a second thread mostly waits
    yield BlazePose(torch.device("cpu"))
    torch.set_num_threads(threads)


@cache
def _mannequin(pose: str = "relaxed", yaw: float = 10.0, seed: int = 1, roll: float = 0.0) -> Mannequin:
    return make_mannequin(load_body("neutral"), pose, yaw, seed, size=512, roll=roll)


def _photo(rgb: np.ndarray, alpha: np.ndarray | None = None) -> Photo:
    return Photo(np.ascontiguousarray(rgb), alpha, "mannequin.png", "0")


def _crop_of_picture(points: np.ndarray, prepared: PreparedPhoto, mask: np.ndarray) -> np.ndarray:
    """Picture points [N, 2] in the crop, from where the true mask lies in both, without prepare's own numbers."""
    rows, columns = np.nonzero(mask)
    crop_rows, crop_columns = np.nonzero(prepared.alpha > 0.5)
    scale = np.ptp(crop_rows) / np.ptp(rows)
    shift = np.array([crop_columns.min() - columns.min() * scale, crop_rows.min() - rows.min() * scale])
    return points * scale + shift


def _landmark_error(prepared: PreparedPhoto, mannequin: Mannequin, points: np.ndarray, mask: np.ndarray) -> float:
    """Mean distance of the body's landmarks from the truth, in shares of the person's height."""
    names = load_body("neutral").keypoint_names
    truth = _crop_of_picture(points, prepared, mask)[[names.index(n) for n in BODY_LANDMARKS.values()]]
    height = np.ptp(np.nonzero(prepared.alpha > 0.5)[0])
    return float(np.linalg.norm(prepared.landmarks[list(BODY_LANDMARKS)] - truth, axis=1).mean() / height)


def test_crop_camera_and_landmarks(networks: BlazePose) -> None:
    mannequin = _mannequin()
    prepared = prepare(_photo(mannequin.rgb), networks)
    assert prepared.rgb.shape == (CROP_SIZE, CROP_SIZE, 3) and prepared.alpha.shape == (CROP_SIZE, CROP_SIZE)
    assert prepared.inside.mean() > 0.5 and not prepared.warnings and prepared.person_count == 1
    points = mannequin.pixels(mannequin.keypoints)
    assert _landmark_error(prepared, mannequin, points, mannequin.mask) < 0.025
    # Left is left: a person who faces the camera has the left shoulder on the picture's right.
    assert prepared.landmarks[11, 0] > prepared.landmarks[12, 0]
    # The whole person with its margin fills the crop, so the camera is the published method's.
    assert prepared.focal == pytest.approx(0.5 * CROP_SIZE / np.tan(np.radians(FIELD_OF_VIEW) / 2), rel=0.02)
    rows, columns = np.nonzero(prepared.alpha > 0.5)
    assert 0.85 < max(np.ptp(rows), np.ptp(columns)) / CROP_SIZE < 0.92
    # 3D hints: metres about the hips, y down, the head above.
    assert np.abs(prepared.world_landmarks[[23, 24]].mean(0)).max() < 0.02
    assert -0.8 < prepared.world_landmarks[0, 1] < -0.4 < 0.5 < prepared.world_landmarks[28, 1] < 1.1


def test_matte_matches_the_mannequin(networks: BlazePose) -> None:
    mannequin = _mannequin("arms_out", -15.0, 2)
    prepared = prepare(_photo(mannequin.rgb), networks)
    rows, columns = np.nonzero(mannequin.mask)
    crop_rows, crop_columns = np.nonzero(prepared.alpha > 0.5)
    box = prepared.alpha[crop_rows.min() : crop_rows.max() + 1, crop_columns.min() : crop_columns.max() + 1] > 0.5
    true = mannequin.mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    true = cv2.resize(true.astype(np.float32), box.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    assert (box & true).sum() / (box | true).sum() > 0.93
    assert not prepared.matte_given
    # The crop says where it lies: drawn back onto the photo it covers the person.
    left, top, side = prepared.crop
    matrix = np.array([[CROP_SIZE / side, 0, -left * CROP_SIZE / side], [0, CROP_SIZE / side, -top * CROP_SIZE / side]])
    there = cv2.warpAffine(mannequin.mask.astype(np.float32), matrix, (CROP_SIZE, CROP_SIZE)) > 0.5
    assert (there & (prepared.alpha > 0.5)).sum() / (there | (prepared.alpha > 0.5)).sum() > 0.93


def test_given_matte_is_kept(networks: BlazePose) -> None:
    mannequin = _mannequin()
    alpha = cv2.GaussianBlur(mannequin.mask.astype(np.float32), (0, 0), 1.0)
    prepared = prepare(_photo(mannequin.rgb, alpha), networks)
    assert prepared.matte_given
    true_area = alpha.sum() * (np.ptp(np.nonzero(prepared.alpha > 0.5)[0]) / np.ptp(np.nonzero(alpha > 0.5)[0])) ** 2
    assert prepared.alpha.sum() == pytest.approx(true_area, rel=0.02)


def _row_of_three() -> tuple[np.ndarray, np.ndarray]:
    """Three people, the middle one largest, the left one smallest; and the colours [3, 3] of their chests."""
    picture = np.full((512, 900, 3), 150, np.uint8)
    chests = []
    people = (("relaxed", 1, 330, 60), ("standing", 2, 480, 310), ("a_pose", 8, 400, 620))
    for name, seed, height, left in people:
        mannequin = _mannequin(name, 0.0, seed)
        rows, columns = np.nonzero(mannequin.mask)
        scale = height / np.ptp(rows)
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        person = cv2.resize(mannequin.rgb[box], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mannequin.mask[box].astype(np.float32), person.shape[1::-1]) > 0.5
        picture[500 - len(person) : 500, left : left + person.shape[1]][mask] = person[mask]
        x, y = mannequin.pixels(mannequin.joints)[JOINT_INDEX["spine3"]].astype(int)
        chests.append(mannequin.rgb[y - 4 : y + 5, x - 4 : x + 5].mean((0, 1)))
    return picture, np.array(chests)


def test_choosing_one_of_three(networks: BlazePose) -> None:
    picture, chests = _row_of_three()
    default = prepare(_photo(picture), networks)
    assert default.person_count == 3
    assert any("3 people" in warning for warning in default.warnings)
    for person, expected in ((1, 1), (2, 2), (3, 0)):
        prepared = prepare(_photo(picture), networks, person)
        assert not any("people" in warning for warning in prepared.warnings)
        x, y = prepared.landmarks[[11, 12, 11, 12, 23, 24]].mean(0).astype(int)
        colour = prepared.rgb[y - 8 : y + 9, x - 8 : x + 9].mean((0, 1))
        assert np.linalg.norm(chests - colour, axis=1).argmin() == expected
        if person == 1:
            assert np.allclose(default.landmarks, prepared.landmarks)
    for wrong in (0, 4, -1):
        with pytest.raises(BackendError) as caught:
            prepare(_photo(picture), networks, wrong)
        assert caught.value.kind == "person_index" and "3" in caught.value.fix


def test_a_small_person_is_found(networks: BlazePose) -> None:
    mannequin = _mannequin("relaxed", 10.0, 1)
    rows = np.nonzero(mannequin.mask)[0]
    scale = 80 / np.ptp(rows)  # a tenth of the frame's 800 rows
    small = cv2.resize(mannequin.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mannequin.mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5
    ys, xs = np.nonzero(mask)
    picture = np.full((800, 1000, 3), 150, np.uint8)
    picture[450 : 450 + len(small), 600 : 600 + len(small)][mask] = small[mask]
    whole = np.zeros((800, 1000), bool)
    whole[450 + ys, 600 + xs] = True
    prepared = prepare(_photo(picture), networks)
    points = mannequin.pixels(mannequin.keypoints) * scale + [600, 450]
    assert _landmark_error(prepared, mannequin, points, whole) < 0.05


@pytest.mark.parametrize("roll", [90.0, -90.0, 180.0])
def test_lying_and_upside_down_people(networks: BlazePose, roll: float) -> None:
    mannequin = _mannequin("arms_out", 0.0, 2, roll)
    prepared = prepare(_photo(mannequin.rgb), networks)
    names = load_body("neutral").keypoint_names
    true = mannequin.pixels(mannequin.keypoints)[[names.index(n) for n in ("left_shoulder", "left_ankle")]]
    found = prepared.landmarks[[11, 27]]
    cosine = np.dot(true[1] - true[0], found[1] - found[0])
    cosine /= np.linalg.norm(true[1] - true[0]) * np.linalg.norm(found[1] - found[0])
    assert cosine > 0.99


def test_cut_legs_are_said(networks: BlazePose) -> None:
    mannequin = _mannequin()
    knees = mannequin.pixels(mannequin.joints)[[4, 5], 1].min()
    cut = prepare(_photo(mannequin.rgb[: int(knees) - 15]), networks)
    assert any("cuts the person" in warning for warning in cut.warnings)
    # The camera follows the body, so a half body in the crop is seen by a longer lens.
    assert cut.focal > 1.2 * prepare(_photo(mannequin.rgb), networks).focal


def test_nobody(networks: BlazePose) -> None:
    noise = np.random.default_rng(0).integers(90, 160, (120, 160, 3)).astype(np.uint8)
    with pytest.raises(BackendError) as caught:
        prepare(_photo(noise), networks)
    assert caught.value.kind == "no_person"


def test_extended_colours_come_from_the_person() -> None:
    rgb = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    rgb[:, :20], rgb[:, 20:40] = (200, 0, 0), (0, 0, 200)
    alpha = np.zeros((64, 64), np.float32)
    alpha[:, 10:38] = 1
    extended = extend_colours(rgb, alpha)
    assert (extended[:, :10] == (200, 0, 0)).all() and (extended[:, 40:] == (0, 0, 200)).all()
    assert np.array_equal(extended[:, 12:36], rgb[:, 12:36])


def test_several_looks_overrule_one_that_errs(networks: BlazePose) -> None:
    mannequin = _mannequin()
    first = find_people(networks, mannequin.rgb)[0]
    names = load_body("neutral").keypoint_names
    truth = mannequin.pixels(mannequin.keypoints)[[names.index(n) for n in BODY_LANDMARKS.values()]]
    height, body = np.ptp(np.nonzero(mannequin.mask)[0]), list(BODY_LANDMARKS)
    astray = first.image.copy()
    astray[15] += [0.2 * height, -0.15 * height]  # the left wrist, say on a shelf behind
    again, agreement = look_again(
        networks, mannequin.rgb, mannequin.mask.astype(np.float32), replace(first, image=astray)
    )
    assert agreement.spread < 0.03 and agreement.score > 0.8 and not agreement.facing_unclear
    error = np.linalg.norm(again.image[body] - truth, axis=1) / height
    assert error.mean() < 0.025 and error[4] < 0.05
    # What the mirror shows is turned back: depth stays, left is left.
    lifted = networks.lifter.lift(first.image, first.visibility, first.world)
    assert np.linalg.norm(again.world[body] - lifted[body], axis=1).mean() < 0.08
    assert again.world[11, 0] > 0.05 and again.world[12, 0] < -0.05
    assert again.mask is first.mask and again.region == first.region


def test_landmarks_lead_back_to_their_region(networks: BlazePose) -> None:
    found = find_people(networks, _mannequin(roll=25.0).rgb)[0]
    again = networks.landmarks(_mannequin(roll=25.0).rgb, found.detection(), passes=1)
    assert np.allclose(again.region, found.region, atol=1e-6)
    assert np.allclose(again.image, found.image, atol=1e-3)


def test_preparing_can_be_stopped_between_its_steps(networks: BlazePose) -> None:
    calls: list[int] = []
    prepared = prepare(_photo(_mannequin().rgb), networks, None, lambda: calls.append(1))
    assert len(calls) >= 5 and prepared.person_count == 1

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(_photo(_mannequin().rgb), networks, None, stop)
