"""Refinement of the limbs' pose by the clothed surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.avatar.meshes import vertex_normals
from backend.body.fit import BodyFit
from backend.body.model import JOINT_INDEX, JOINT_NAMES, BodyModel, load_body
from backend.body.priors import joint_limits, relaxed_pose
from backend.reconstruct.config import LimbPoseConfig
from backend.reconstruct.limb_pose import refine_limb_pose

PHOTO = [np.zeros(3)]
LIMBS = [JOINT_INDEX[side + name] for side in ("left_", "right_") for name in ("elbow", "wrist", "knee", "ankle")]


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("neutral")


def a_fit(**turned: tuple[float, float, float]) -> BodyFit:
    """A relaxed person 3 m before the camera, whose named joints are turned by degrees more."""
    pose = relaxed_pose().numpy().reshape(24, 3).copy()
    pose[0] = (np.pi, 0, 0)
    for name, degrees in turned.items():
        pose[JOINT_INDEX[name]] += np.radians(degrees)
    return BodyFit(pose, np.zeros(10), np.array([0.0, 0.2, 3.0]), 1000.0, 1.0, 500.0, np.ones(24))


def posed(body: BodyModel, fit: BodyFit) -> tuple[np.ndarray, np.ndarray]:
    vertices, joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))
    return vertices.numpy() + fit.translation, joints.numpy() + fit.translation


def clothed(body: BodyModel, fit: BodyFit, metres: float) -> np.ndarray:
    vertices = posed(body, fit)[0]
    return vertices + metres * vertex_normals(vertices, body.faces.numpy())


def turned_by(before: BodyFit, after: BodyFit) -> np.ndarray:
    """Degrees [24] about."""
    return np.degrees(np.linalg.norm(after.pose - before.pose, axis=1))


def test_limbs_come_back_to_the_clothes_that_they_left_in_depth(body: BodyModel) -> None:
    true = a_fit()
    wrong = a_fit(left_shoulder=(0, 9, 0), right_elbow=(0, 12, 0), left_hip=(-6, 0, 0), right_knee=(8, 0, 0))
    found = refine_limb_pose(body, wrong, clothed(body, true, 0.01), PHOTO)
    miss, left = (np.linalg.norm(posed(body, fit)[1] - posed(body, true)[1], axis=1)[LIMBS] for fit in (wrong, found))
    assert miss.max() > 0.025
    assert left.max() < 0.5 * miss.max()
    assert (left[miss > 0.01] < 0.6 * miss[miss > 0.01]).all()


def test_limbs_that_fill_their_clothes_stay(body: BodyModel) -> None:
    fit = a_fit()
    assert turned_by(fit, refine_limb_pose(body, fit, clothed(body, fit, 0.02), PHOTO)).max() < 2.0


def test_legs_do_not_follow_a_wide_skirt(body: BodyModel) -> None:
    fit = a_fit()
    surface = posed(body, fit)[0]
    thighs = body.weights.numpy()[:, [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]].sum(1) > 0.5
    surface[thighs, 0] += 0.2 * np.sign(surface[thighs, 0])
    assert turned_by(fit, refine_limb_pose(body, fit, surface, PHOTO)).max() < 5.0


def test_nothing_else_changes(body: BodyModel) -> None:
    fit = a_fit(left_elbow=(0, 10, 0))
    found = refine_limb_pose(body, fit, clothed(body, a_fit(), 0.01), PHOTO)
    refined = ("shoulder", "elbow", "hip", "knee")
    others = [j for j, name in enumerate(JOINT_NAMES) if not name.endswith(refined)]
    assert np.array_equal(found.pose[others], fit.pose[others])
    assert np.array_equal(found.translation, fit.translation) and np.array_equal(found.betas, fit.betas)


def test_no_joint_turns_beyond_its_limits(body: BodyModel) -> None:
    straight, low = a_fit(), joint_limits()[0].numpy().reshape(24, 3)
    knee = JOINT_INDEX["left_knee"]
    straight.pose[knee] = 0.0
    backwards = replace(straight, pose=straight.pose.copy())
    backwards.pose[knee, 0] = -0.5
    found = refine_limb_pose(body, straight, clothed(body, backwards, 0.01), PHOTO)
    assert found.pose[knee, 0] >= low[knee, 0] - 1e-9 > -0.5
    # One that was beyond them stays where it was, or comes back.
    kept = refine_limb_pose(body, backwards, clothed(body, backwards, 0.01), PHOTO)
    assert kept.pose[knee, 0] >= -0.5 - 1e-9


def test_a_second_camera_holds_joints_in_depth(body: BodyModel) -> None:
    true, wrong = a_fit(), a_fit(left_elbow=(0, 20, 0))
    surface, eager = clothed(body, true, 0.01), LimbPoseConfig(image_plane_weight=30.0)
    beside = [*PHOTO, np.array([3.0, 0.0, 3.0])]
    alone, held = (refine_limb_pose(body, wrong, surface, cameras, eager) for cameras in (PHOTO, beside))
    wrist = JOINT_INDEX["left_wrist"]
    moved = [np.linalg.norm((posed(body, fit)[1] - posed(body, wrong)[1])[wrist]) for fit in (alone, held)]
    assert moved[1] < 0.5 * moved[0]


def test_the_loss_that_is_written_down_has_its_minimum_there(body: BodyModel) -> None:
    true, wrong = a_fit(), a_fit(left_elbow=(0, 10, 0), right_hip=(5, 0, 0))
    surface, config = clothed(body, true, 0.01), LimbPoseConfig(vertex_stride=1, iterations=30)
    limbs = [JOINT_INDEX[s + n] for s in ("left_", "right_") for n in ("shoulder", "elbow", "hip", "knee")]
    on_limbs = body.weights.numpy()[:, [*limbs, *range(20, 22), *range(7, 9)]].sum(1) > 0.5
    normals, start = vertex_normals(surface, body.faces.numpy()), posed(body, wrong)[1]

    def loss(fit: BodyFit) -> float:
        vertices, joints = posed(body, fit)
        away = ((surface - vertices) * normals).sum(1)[on_limbs]
        squared = np.where(away < 0, 1.0, config.inside_weight) * away**2 / (1 + (away / config.robust_scale) ** 2)
        ray = start / np.linalg.norm(start, axis=1, keepdims=True)
        move = joints - start
        across = move - (move * ray).sum(1, keepdims=True) * ray
        turns = ((fit.pose - wrong.pose) ** 2).sum()
        return squared.mean() + config.image_plane_weight * (across**2).sum(1).mean() + config.regularisation**2 * turns

    found = refine_limb_pose(body, wrong, surface, PHOTO, config)
    best, rng = loss(found), np.random.default_rng(0)
    assert best < 0.5 * loss(wrong)
    for _ in range(20):
        step = np.zeros((24, 3))
        step[limbs] = rng.normal(scale=0.01, size=(len(limbs), 3))
        assert loss(replace(found, pose=found.pose + step)) > best
