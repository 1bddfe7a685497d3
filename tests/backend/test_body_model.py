"""The body model: skinning against smplx, derivatives against differences, joint limits, shipped files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.body.differential import BETAS, POSE, SCALE, TRANSLATION, UNKNOWNS, Points, Skeleton
from backend.body.landmarks import HAND_LANDMARKS, POSE_LANDMARKS
from backend.body.model import JOINT_INDEX, JOINT_NAMES, BodyModel, load_body
from backend.body.priors import joint_limits, relaxed_pose, stiffness
from backend.errors import BackendError
from backend.options import BODIES


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("neutral")


def _random_state(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.normal(size=(24, 3)) * 0.6), torch.as_tensor(rng.normal(size=10))


@pytest.mark.parametrize("seed", [0, 1])
def test_skinning_agrees_with_smplx(body: BodyModel, seed: int) -> None:
    lbs = pytest.importorskip("smplx.lbs").lbs
    pose, betas = _random_state(seed)
    vertices, joints = body.pose(pose, betas)
    theirs, their_joints = lbs(
        betas[None], pose.reshape(1, 72), body.template[None], body.shape_directions,
        torch.zeros(207, 3 * len(body.template), dtype=torch.float64), body.joint_regressor,
        torch.tensor(body.parents), body.weights,
    )  # fmt: skip
    assert (vertices - theirs[0]).abs().max() < 1e-6
    assert (joints - their_joints[0]).abs().max() < 1e-6


def test_pose_correctives_agree_with_smplx(body: BodyModel) -> None:
    lbs = pytest.importorskip("smplx.lbs").lbs
    rng = np.random.default_rng(3)
    directions = torch.as_tensor(rng.normal(size=(len(body.template), 3, 207)) * 1e-3)
    corrected = BodyModel(**{**vars(body), "pose_directions": directions})
    pose, betas = _random_state(2)
    theirs, _ = lbs(
        betas[None], pose.reshape(1, 72), body.template[None], body.shape_directions,
        directions.reshape(-1, 207).T, body.joint_regressor, torch.tensor(body.parents), body.weights,
    )  # fmt: skip
    assert (corrected.pose(pose, betas)[0] - theirs[0]).abs().max() < 1e-6


def test_points_are_those_of_the_posed_mesh(body: BodyModel) -> None:
    pose, betas = _random_state(4)
    unknowns = np.zeros(UNKNOWNS)
    unknowns[POSE], unknowns[BETAS], unknowns[TRANSLATION] = pose.reshape(-1), betas, (0.1, -0.2, 3.0)
    skeleton = Skeleton(body)
    posed = skeleton.pose(unknowns)
    vertices, joints = (x.numpy() + unknowns[TRANSLATION] for x in body.pose(pose, betas))
    chosen = np.arange(0, len(vertices), 97)
    assert np.allclose(Points.vertices(skeleton, body, chosen)(posed), vertices[chosen], atol=1e-12)
    assert np.allclose(Points.joints(skeleton)(posed), joints, atol=1e-12)
    keypoints = Points.linear(skeleton, body, body.keypoint_regressor)(posed)
    assert np.allclose(keypoints, body.keypoint_regressor.numpy() @ vertices, atol=1e-12)


def test_derivatives_agree_with_differences(body: BodyModel) -> None:
    skeleton = Skeleton(body)
    unknowns = np.random.default_rng(5).normal(size=UNKNOWNS) * 0.4
    offsets = torch.full((5, 3), 0.01, dtype=torch.float64)
    for points in (
        Points.linear(skeleton, body, body.keypoint_regressor[:5], offsets),
        Points.vertices(skeleton, body, np.array([0, 5000, 13000])),
        Points.joints(skeleton),
    ):
        _, derivative = points.with_derivative(skeleton.pose(unknowns))
        for k in [0, 2, 12, 40, 71, BETAS.start, BETAS.stop - 1, TRANSLATION.start, SCALE]:
            step = np.zeros(UNKNOWNS)
            step[k] = 1e-6
            ahead, behind = (points(skeleton.pose(unknowns + sign * step)) for sign in (1, -1))
            assert np.allclose(derivative[:, :, k], (ahead - behind) / 2e-6, atol=1e-7)


def test_joint_limits_are_mirrored_and_hold_the_relaxed_pose() -> None:
    low, high = (limit.numpy() for limit in joint_limits())
    for name in JOINT_NAMES:
        if not name.startswith("left_"):
            continue
        left, right = JOINT_INDEX[name], JOINT_INDEX[name.replace("left_", "right_")]
        # A mirror across x keeps turns about x and reverses those about y and z.
        assert np.allclose(low[right], [low[left][0], -high[left][1], -high[left][2]])
        assert np.allclose(high[right], [high[left][0], -low[left][1], -low[left][2]])
    pose = relaxed_pose().numpy()
    assert (pose >= low).all() and (pose <= high).all()
    knee, elbow = JOINT_INDEX["left_knee"], JOINT_INDEX["left_elbow"]
    assert low[knee, 0] > -0.1 and high[knee, 0] > 2  # knees bend backward alone
    assert high[elbow, 1] < 0.1 and low[elbow, 1] < -2  # elbows bend forward alone
    assert (stiffness().numpy() >= 0).all()


@pytest.mark.parametrize("name", BODIES)
def test_shipped_bodies(name: str) -> None:
    body = load_body(name)
    assert np.allclose(body.weights.sum(1), 1, atol=1e-5)
    assert np.allclose(body.joint_regressor.sum(1), 1, atol=1e-4)
    wanted = {n for _, n, _ in POSE_LANDMARKS}
    wanted |= {side + n for _, n, _ in HAND_LANDMARKS for side in ("left_", "right_")}
    assert wanted <= set(body.keypoint_names)
    height = float(np.ptp(body.template[:, 1].numpy()))
    assert (1.0 if name == "child" else 1.55) < height < 1.9
    joints = (body.joint_regressor @ body.template).numpy()
    assert joints[JOINT_INDEX["left_hand"], 0] > 0.4 > -0.4 > joints[JOINT_INDEX["right_hand"], 0]
    assert joints[JOINT_INDEX["left_foot"], 2] > joints[JOINT_INDEX["left_ankle"], 2]  # toes point forward


def test_unknown_body_is_an_error() -> None:
    with pytest.raises(BackendError) as caught:
        load_body("no-such-body.npz")
    assert caught.value.kind == "body_missing"
