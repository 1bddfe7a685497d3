"""The fit on mannequins of known pose: with perfect observations, with spoilt ones, and through the networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.body.fit import BodyFitter
from backend.body.landmarks import POSE_LANDMARKS
from backend.body.look import Look, View
from backend.body.model import JOINT_INDEX, BodyModel, load_body
from backend.body.priors import joint_limits
from backend.errors import Cancelled
from backend.photo import PreparedPhoto
from backend.prepare import BlazePose, prepare
from backend.prepare.image import Photo
from backend.prepare.weights import missing_weights
from backend.rendering.mesh import rasterize_mesh
from backend.research.evaluation.mannequins import Mannequin, make_mannequin
from backend.research.evaluation.pose_error import align_similarity, pose_error
from backend.views.latent.stage import orbit_views

SIZE = 512


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("neutral")


@pytest.fixture(scope="module")
def fitter(body: BodyModel) -> BodyFitter:
    return BodyFitter(body)


def observed(mannequin: Mannequin, body: BodyModel) -> PreparedPhoto:
    """What a perfect prepare stage would see."""
    places = dict(zip(body.keypoint_names, mannequin.keypoints))
    world = np.zeros((33, 3))
    for index, name, _ in POSE_LANDMARKS:
        world[index] = places[name]
    pixels = mannequin.pixels(np.where(world[:, 2:] > 0, world, mannequin.joints[0]))
    side = mannequin.rgb.shape[0]
    return PreparedPhoto(
        rgb=mannequin.rgb,
        alpha=mannequin.mask.astype(np.float32),
        inside=np.ones((side, side), bool),
        landmarks=pixels,
        visibility=np.ones(33),
        world_landmarks=world - (places["left_hip"] + places["right_hip"]) / 2,
        left_hand=None,
        right_hand=None,
        focal=mannequin.focal,
        matte_given=True,
        person_count=1,
        warnings=(),
        name="mannequin",
        sha256="",
    )


CASES = [("relaxed", 10.0), ("arms_out", -30.0), ("walking", 90.0), ("sitting", -15.0)]


@pytest.fixture(scope="module", params=CASES, ids=[name for name, _ in CASES])
def mannequin(request: pytest.FixtureRequest, body: BodyModel) -> Mannequin:
    name, yaw = request.param
    return make_mannequin(body, name, yaw, seed=7, size=SIZE)


def test_perfect_observations_give_the_pose_back(mannequin: Mannequin, body: BodyModel, fitter: BodyFitter) -> None:
    photo = observed(mannequin, body)
    fit = fitter.fit(photo)
    error = pose_error(mannequin, body, fit, photo)
    assert error.joints < 60 and error.aligned < 45 and error.landmarks < 1.0
    assert abs(error.lean) < 10 and np.linalg.norm(fit.betas) < 4
    assert fit.pose.shape == (24, 3) and fit.betas.shape == (10,)
    assert (fit.confidence > 0.7).all() and (fit.confidence <= 1).all()
    low, high = (limit.numpy() for limit in joint_limits())
    assert (fit.pose[1:] > low[1:] - 0.25).all() and (fit.pose[1:] < high[1:] + 0.25).all()
    # The place: the pelvis projects onto the true pelvis.
    joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy() + fit.translation
    pixels = joints[0, :2] / joints[0, 2] * fit.focal + SIZE / 2
    assert np.linalg.norm(pixels - mannequin.pixels(mannequin.joints)[0]) < 0.02 * fit.person_size


def test_the_fit_is_deterministic(body: BodyModel, fitter: BodyFitter) -> None:
    photo = observed(make_mannequin(body, "waving", 15.0, seed=2, size=256), body)
    first, second = fitter.fit(photo), BodyFitter(body).fit(photo)
    for name in ("pose", "betas", "translation", "confidence"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_legs_that_the_frame_cuts_stand(body: BodyModel, fitter: BodyFitter) -> None:
    mannequin = make_mannequin(body, "standing", 0.0, seed=3, size=SIZE)
    photo = observed(mannequin, body)
    # The upper half, twice as large; of the legs the networks know nothing.
    enlarged = np.kron(mannequin.mask, np.ones((2, 2), bool))[: SIZE + 40, SIZE // 2 : SIZE // 2 + SIZE][:SIZE]
    landmarks = photo.landmarks * 2 - np.array([SIZE / 2, 0])
    legs = np.arange(33) >= 25  # from the knees down
    assert (landmarks[legs, 1] > SIZE).all()
    world = photo.world_landmarks.copy()
    world[legs] = np.random.default_rng(0).normal(size=(int(legs.sum()), 3)) * 0.5
    half = replace(
        photo,
        alpha=enlarged.astype(np.float32),
        landmarks=np.where(legs[:, None], landmarks + np.array([150, 60]), landmarks),
        world_landmarks=world,
        visibility=np.where(legs, 0.3, 1.0),
        focal=2 * photo.focal,
    )
    fit = fitter.fit(half)
    joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy()
    for side in ("left_", "right_"):
        hip, ankle = joints[JOINT_INDEX[side + "hip"]], joints[JOINT_INDEX[side + "ankle"]]
        down = (ankle - hip) / np.linalg.norm(ankle - hip)
        assert down[1] > np.cos(np.radians(15))


def test_the_outline_overrules_a_landmark_beside_it(body: BodyModel, fitter: BodyFitter) -> None:
    mannequin = make_mannequin(body, "lunge", 90.0, seed=4, size=SIZE)
    photo = observed(mannequin, body)
    points = photo.landmarks.copy()
    side = "left_" if mannequin.joints[JOINT_INDEX["left_ankle"], 0] > 0 else "right_"
    leg = [i for i, name, _ in POSE_LANDMARKS if name in (side + "ankle", side + "heel", side + "big_toe")]
    points[leg] += [0.1 * SIZE, -0.02 * SIZE]
    fit = fitter.fit(replace(photo, landmarks=points))
    joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy() + fit.translation
    ankle = joints[JOINT_INDEX[side + "ankle"]]
    pixels = ankle[:2] / ankle[2] * fit.focal + SIZE / 2
    truth = mannequin.pixels(mannequin.joints)[JOINT_INDEX[side + "ankle"]]
    assert np.linalg.norm(pixels - truth) < 0.05 * SIZE  # the landmarks are 10 % off
    assert fit.confidence[JOINT_INDEX[side + "ankle"]] < 0.5


def test_wide_clothes_do_not_fatten_the_body(body: BodyModel, fitter: BodyFitter) -> None:
    from scipy import ndimage

    mannequin = make_mannequin(body, "a_pose", 0.0, seed=5, size=SIZE, betas_spread=0.0)
    photo = observed(mannequin, body)
    wide = ndimage.binary_dilation(mannequin.mask, iterations=10)  # 8 cm all around
    fit = fitter.fit(replace(photo, alpha=wide.astype(np.float32)))
    assert np.linalg.norm(fit.betas) < 1.5
    assert pose_error(mannequin, body, fit, photo).joints < 60


def test_a_body_without_some_keypoints_is_fitted(body: BodyModel) -> None:
    kept = [k for k, name in enumerate(body.keypoint_names) if not name.endswith(("index", "pinky", "thumb", "ear"))]
    fewer = replace(
        body,
        keypoint_names=tuple(body.keypoint_names[k] for k in kept),
        keypoint_regressor=body.keypoint_regressor[kept],
    )
    mannequin = make_mannequin(body, "contrapposto", 10.0, seed=6, size=256)
    photo = observed(mannequin, body)
    assert pose_error(mannequin, fewer, BodyFitter(fewer).fit(photo), photo).joints < 80


def sides(mannequin: Mannequin, body: BodyModel, photo: PreparedPhoto) -> list[View]:
    """What perfect networks would see from the left, from behind and from the right."""
    cameras = orbit_views(mannequin.joints[0], mannequin.focal / SIZE)
    unit = mannequin.joints[0, 2] / (2 * mannequin.focal / SIZE)
    vertices, joints = body.pose(torch.as_tensor(mannequin.pose), torch.as_tensor(mannequin.betas))
    vertices = vertices.numpy() + mannequin.joints[0] - joints[0].numpy()
    places = dict(zip(body.keypoint_names, mannequin.keypoints))
    points = np.tile(mannequin.joints[:1], (33, 1))
    for index, name, _ in POSE_LANDMARKS:
        points[index] = places[name]
    views = []
    for matrix in cameras.world_to_camera.numpy().astype(float)[1:]:
        matrix[:3, 3] = matrix[:3, 3] * unit - matrix[:3, :3] @ mannequin.joints[0]
        local = points @ matrix[:3, :3].T + matrix[:3, 3]
        pixels = local[:, :2] / local[:, 2:] * mannequin.focal + SIZE / 2
        seen = rasterize_mesh(
            vertices @ matrix[:3, :3].T + matrix[:3, 3], body.faces.numpy(), mannequin.focal, (SIZE, SIZE)
        )
        views.append(View((seen.face >= 0).astype(np.float32), pixels, np.ones(33), mannequin.focal, matrix))
    return views


def test_pictures_from_the_sides_say_where_limbs_are_in_depth_and_where_their_cameras_stood(
    body: BodyModel, fitter: BodyFitter
) -> None:
    mannequin = make_mannequin(body, "waving", 15.0, seed=3, size=SIZE)
    photo = observed(mannequin, body)
    views = sides(mannequin, body, photo)
    about = []
    for number, view in enumerate(views):
        wrong = view.matrix.copy()
        wrong[:3] = Rotation.from_rotvec([0.02, 0.12 * (-1) ** number, 0.0]).as_matrix() @ wrong[:3]
        about.append(replace(view, matrix=wrong))
    first = fitter.fit(photo)
    refined, cameras = fitter.adjust(first, photo, about)
    errors = [pose_error(mannequin, body, fit, photo).joints for fit in (first, refined)]
    assert errors[1] < errors[0] + 5
    for camera, view in zip(cameras, views):
        apart = Rotation.from_matrix(camera[:3, :3].T @ view.matrix[:3, :3]).magnitude()
        assert np.degrees(apart) < 3
    # A photo that says nothing of depth.
    flat = replace(photo, world_landmarks=photo.world_landmarks * [1, 1, 0])
    first = fitter.fit(flat)
    refined, _ = fitter.adjust(first, flat, about)
    errors = [pose_error(mannequin, body, fit, photo).joints for fit in (first, refined)]
    assert errors[0] > 85 and errors[1] < 70


def test_a_landmark_is_believed_where_the_photo_can_have_it(body: BodyModel) -> None:
    """An arm that hides behind the trunk is often taken for the other: the photo knows that it cannot be there."""
    mannequin = make_mannequin(body, "waving", 15.0, seed=3, size=SIZE)
    photo = observed(mannequin, body)
    view = sides(mannequin, body, photo)[2]
    swapped = view.landmarks.copy()
    swapped[[14, 16]] = swapped[[13, 15]]  # right elbow and wrist where the left ones are
    known = np.ones((SIZE, SIZE), bool)

    def weights(visibility: np.ndarray) -> np.ndarray:
        own = Look(photo.alpha, known, photo.landmarks, visibility, (None, None), photo.focal, np.eye(4))
        other = Look(view.alpha, known, swapped, np.ones(33), (None, None), view.focal, view.matrix)
        before = other.weights.copy()
        other.believe_as_far_as(own, mannequin.joints[0, 2])
        return other.weights[:27] / before[:27]

    wrong = [k for k, (_, name, _) in enumerate(POSE_LANDMARKS) if name in ("right_elbow", "right_wrist")]
    found = weights(np.ones(33))
    assert (np.delete(found, wrong) > 0.9).all() and (found[wrong] < 0.2).all()
    hidden = np.ones(33)
    hidden[[14, 16]] = 0.0
    assert (weights(hidden)[wrong] > 0.9).all()  # what the photo hides it cannot deny


def test_an_empty_matte_and_low_visibility_do_no_harm(body: BodyModel, fitter: BodyFitter) -> None:
    mannequin = make_mannequin(body, "standing", 0.0, seed=8, size=256)
    photo = observed(mannequin, body)
    fit = fitter.fit(replace(photo, alpha=np.zeros_like(photo.alpha), visibility=np.full(33, 0.1)))
    assert all(np.isfinite(getattr(fit, name)).all() for name in ("pose", "betas", "translation", "confidence"))
    assert fit.confidence.max() <= 0.1 + 1e-9


def test_a_check_stops_the_fit(body: BodyModel, fitter: BodyFitter) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        fitter.fit(observed(make_mannequin(body, "standing", 0.0, seed=9, size=128), body), stop)
    assert calls == 3


def test_align_similarity_undoes_a_similarity() -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    points = rng.normal(size=(24, 3))
    moved = 1.7 * Rotation.from_rotvec([0.3, -1.2, 2.0]).apply(points) + [1, 2, 3]
    assert np.allclose(align_similarity(points, moved), moved)
    mirrored = points * [-1, 1, 1]  # a mirror image is no similarity
    assert np.linalg.norm(align_similarity(mirrored, points) - points) > 1


@pytest.fixture(scope="module")
def networks() -> Iterator[BlazePose]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are small: on a busy machine a second thread mostly waits
    yield BlazePose(torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.mark.skipif(bool(missing_weights()), reason="the pose networks have not been unpacked")
@pytest.mark.parametrize("name, yaw, bound", [("relaxed", 10.0, 75), ("walking", 90.0, 110), ("arms_out", 20.0, 110)])
def test_from_picture_to_pose(
    body: BodyModel, fitter: BodyFitter, networks: BlazePose, name: str, yaw: float, bound: float
) -> None:
    mannequin = make_mannequin(body, name, yaw, seed=1, size=SIZE)
    photo = prepare(Photo(mannequin.rgb, None, name, ""), networks)
    error = pose_error(mannequin, body, fitter.fit(photo), photo)
    assert error.joints < bound and error.landmarks < 1.5
