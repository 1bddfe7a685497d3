"""Frame rates, an avatar's translation, planted feet and hands outside the body, against closed forms."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from motion_writers import forward, lively_poses, make_source
from scipy.spatial.transform import Rotation, Slerp
from synthetic import JOINT_NAMES, PARENTS, REST_JOINTS, make_avatar

from backend.avatar.clips import Clip
from backend.avatar.motion import Motion, MotionError, standing_height
from backend.avatar.motion_tools import (
    avatar_translation,
    foot_contacts,
    pin_feet,
    resample,
    separate_hands,
    source_contacts,
)
from backend.avatar.retarget import retarget
from backend.avatar.skinning import joint_transforms, standing_translation

LEG = standing_height(REST_JOINTS)
BALLS = [JOINT_NAMES.index("left_foot"), JOINT_NAMES.index("right_foot")]
HEIGHTS = REST_JOINTS[BALLS, 1] - (REST_JOINTS[0, 1] - LEG)


def motion_of(poses: np.ndarray, translation: np.ndarray | None = None, fps: float = 30.0) -> Motion:
    return Motion(poses, np.zeros((len(poses), 3)) if translation is None else translation, fps, LEG)


def marching(frames: int, fps: float, drift: float) -> tuple[Motion, np.ndarray]:
    """Knees lifted in turn, once a second, while the whole body drifts; also where each foot ought to stand [T, 2]."""
    at = np.arange(frames) / fps
    poses = np.zeros((frames, 24, 3))
    stands = np.zeros((frames, 2), dtype=bool)
    for foot, phase in ((0, 0.0), (1, 0.5)):
        lift = np.maximum(np.sin(2 * np.pi * (at + phase)), 0) ** 2
        poses[:, 1 + foot, 0], poses[:, 4 + foot, 0], poses[:, 7 + foot, 0] = -0.9 * lift, 1.6 * lift, -0.7 * lift
        stands[:, foot] = lift < 0.01
    return motion_of(poses, np.outer(at, [0, 0, drift]), fps), stands


def spread(places: np.ndarray, planted: np.ndarray) -> float:
    """The largest distance, metres, of a planted foot from the middle of its places, over all contacts."""
    worst = 0.0
    for foot in range(2):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], planted[:, foot].astype(int), [0]])))
        for start, stop in zip(edges[::2], edges[1::2]):
            part = places[start:stop, foot]
            worst = max(worst, float(np.linalg.norm(part - part.mean(axis=0), axis=1).max()))
    return worst


def test_resample_is_slerp_and_keeps_the_duration() -> None:
    poses = lively_poses(31, 3, 1.2)
    way = np.random.default_rng(0).normal(size=(31, 3))
    motion = motion_of(poses, way, 30)
    finer = resample(motion, 75)
    assert len(finer) == 76 and finer.fps == 75
    at = np.arange(76) * 30 / 75
    for joint in (0, 5, 16):
        expected = Slerp(np.arange(31), Rotation.from_rotvec(poses[:, joint]))(at)
        assert (expected.inv() * Rotation.from_rotvec(finer.poses[:, joint])).magnitude().max() < 1e-6
    assert np.allclose(finer.translation[:, 1], np.interp(at, np.arange(31), way[:, 1]))
    coarser = resample(motion, 10)
    assert len(coarser) == 11 and np.allclose(coarser.translation, way[::3])
    assert resample(motion, 30) is motion
    single = resample(motion_of(poses[:1]), 60)
    assert len(single) == 1
    for fps in (0, -1, np.nan, 2000):
        with pytest.raises(MotionError):
            resample(motion, fps)


def test_the_avatars_pelvis_is_where_the_motion_says() -> None:
    avatar = make_avatar(50)
    way = np.array([[0, 0, 0], [0.2, -0.3, 1.0]])
    motion = Motion(np.zeros((2, 24, 3)), way, 30, 0.5)
    standing = standing_translation(avatar)
    translation = avatar_translation(motion, avatar.rest_joints, standing)
    assert np.allclose(translation[0], standing)
    height = -float(avatar.body.surface_vertices[:, 1].min()) + avatar.rest_joints[0, 1]
    pelvis = joint_transforms(np.zeros((24, 3)), avatar.rest_joints, avatar.parents)[0, :3, 3] + avatar.rest_joints[0]
    assert np.allclose(pelvis + translation[1], way[1] * height / 0.5 + [0, height, 0])
    with pytest.raises(MotionError):
        avatar_translation(motion, avatar.rest_joints, np.array([0, -5.0, 0]))


def test_contacts_are_found_where_feet_stand() -> None:
    motion, stands = marching(240, 30, 0.0)
    _, places = forward(motion)
    found = foot_contacts(places[:, BALLS], HEIGHTS, 30, LEG)
    assert found[stands].mean() > 0.97 and not found[places[:, BALLS, 1] - HEIGHTS > 0.05].any()
    # The same on a body of half the size, and with a jump in which nothing stands.
    assert np.array_equal(foot_contacts(places[:, BALLS] / 2, HEIGHTS / 2, 30, LEG / 2), found)
    places[100:140, :, 1] += 0.3
    assert not foot_contacts(places[:, BALLS], HEIGHTS, 30, LEG)[102:138].any()


@pytest.mark.parametrize("drift", [0.0, 0.1, 0.25])
def test_planted_feet_keep_their_place(drift: float) -> None:
    motion, stands = marching(240, 30, drift)
    _, before = forward(motion)
    pinned = pin_feet(motion, REST_JOINTS, PARENTS)
    world, places = forward(pinned)
    found = foot_contacts(before[:, BALLS], HEIGHTS, 30, LEG)
    assert spread(places[:, BALLS], found & stands) < 0.02
    assert np.abs(places[:, BALLS, 1] - HEIGHTS)[found].max() < 0.02
    # Knees keep bending forwards: the shin turns about the thigh's x axis, never the other way.
    for side in ("left", "right"):
        hip, knee, ankle = (JOINT_NAMES.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        bend = np.cross(places[:, knee] - places[:, hip], places[:, ankle] - places[:, knee])
        rest = np.cross(REST_JOINTS[knee] - REST_JOINTS[hip], REST_JOINTS[ankle] - REST_JOINTS[knee])
        assert np.einsum("ti,ti->t", bend, world[:, hip, :, 0]).min() > min(rest[0], 0) - 0.01
    # No joint moves by leaps.
    assert np.linalg.norm(np.diff(places, axis=0), axis=2).max() < (
        np.linalg.norm(np.diff(before, axis=0), axis=2).max() + 0.04
    )


def test_contacts_of_the_source_pin_feet_that_slide_fast() -> None:
    motion, stands = marching(240, 30, 0.0)
    source = make_source("mixamo", motion.poses, 30, 1.2)
    clip = Clip(
        tuple(source.names),
        tuple(source.parents),
        source.rest,
        np.tile(np.eye(3), (len(source.names), 1, 1)),
        source.turns,
        source.positions,
        30,
    )
    contacts = source_contacts(clip)
    assert contacts[stands].mean() > 0.97 and (contacts == stands).mean() > 0.88
    carried = retarget(clip, REST_JOINTS)
    slide = np.outer(np.arange(240) / 30, [0.0, 0, 0.3])
    sliding = dataclasses.replace(carried, translation=carried.translation + slide)
    _, places = forward(pin_feet(sliding, REST_JOINTS, PARENTS, contacts))
    assert spread(places[:, BALLS], contacts) < 0.02
    with pytest.raises(MotionError):
        pin_feet(carried, REST_JOINTS, PARENTS, contacts[:5])


def test_a_motion_without_contacts_is_left_alone() -> None:
    motion = motion_of(lively_poses(60, 5), np.tile([0, 1.0, 0], (60, 1)))
    pinned = pin_feet(motion, REST_JOINTS, PARENTS)
    assert np.allclose(pinned.translation, motion.translation)
    wrong = Rotation.from_rotvec(pinned.poses.reshape(-1, 3)).inv() * Rotation.from_rotvec(motion.poses.reshape(-1, 3))
    assert wrong.magnitude().max() < 1e-6


def arms_down(frames: int) -> np.ndarray:
    """From arms out to arms pressed into the hips."""
    poses = np.zeros((frames, 24, 3))
    angle = np.concatenate([np.linspace(0, 1.62, frames // 2), np.full(frames - frames // 2, 1.62)])
    poses[:, 16, 2], poses[:, 17, 2] = -angle, angle
    return poses


def trunk_gap(places: np.ndarray, joint: str) -> np.ndarray:
    """Metres [T] sideways between a joint and the middle of the body."""
    return np.abs(places[:, JOINT_NAMES.index(joint), 0] - places[:, 0, 0])


def test_hands_come_out_of_the_body() -> None:
    motion = motion_of(arms_down(60))
    poses = motion.poses.copy()
    poses[:, 18, 1], poses[:, 19, 1] = -0.2, 0.2
    poses[:, 18, 2], poses[:, 19, 2] = -0.35, 0.35  # forearms turned inwards, through the hips
    motion = dataclasses.replace(motion, poses=poses)
    world, before = forward(motion)
    apart = separate_hands(motion, None, REST_JOINTS, PARENTS)
    after_world, after = forward(apart)
    assert trunk_gap(after, "left_wrist")[-1] > trunk_gap(before, "left_wrist")[-1] + 0.02
    # Arms out are left alone, hands keep their rotation, arms their lengths and shoulders.
    assert np.allclose(after[:10], before[:10], atol=1e-6)
    assert np.allclose(after_world[:, 20:22], world[:, 20:22], atol=1e-6)
    assert np.allclose(after[:, 16:18], before[:, 16:18], atol=1e-9)
    assert np.linalg.norm(np.diff(after, axis=0), axis=2).max() < 0.08
    # A second time nearly nothing is left to do.
    again = separate_hands(apart, None, REST_JOINTS, PARENTS)
    assert np.linalg.norm(forward(again)[1] - after, axis=2).max() < 0.03


def test_hands_stay_in_where_the_sources_are() -> None:
    poses = arms_down(40)
    poses[:, 18, 2], poses[:, 19, 2] = -0.35, 0.35
    source = make_source("mixamo", poses, 30)
    clip = Clip(
        tuple(source.names),
        tuple(source.parents),
        source.rest,
        np.tile(np.eye(3), (len(source.names), 1, 1)),
        source.turns,
        source.positions,
        30,
    )
    motion = retarget(clip, REST_JOINTS)
    with_source = separate_hands(motion, clip, REST_JOINTS, PARENTS)
    assert np.linalg.norm(forward(with_source)[1] - forward(motion)[1], axis=2).max() < 1e-3
    with pytest.raises(MotionError, match="same frames"):
        separate_hands(motion_of(poses[:5]), clip, REST_JOINTS, PARENTS)


def test_a_thousand_frames_take_less_than_two_seconds() -> None:
    motion, _ = marching(1000, 30, 0.1)
    start = time.perf_counter()
    pin_feet(motion, REST_JOINTS, PARENTS)
    middle = time.perf_counter()
    poses = motion.poses.copy()
    poses[:, 16:18] = arms_down(1000)[:, 16:18]
    separate_hands(dataclasses.replace(motion, poses=poses), None, REST_JOINTS, PARENTS)
    end = time.perf_counter()
    assert middle - start < 2 and end - middle < 2
