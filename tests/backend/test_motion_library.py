"""The library's motions and poses on three bodies: loops close, feet hold the ground, joints stay human."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from backend.avatar import joint_transforms, rotation_matrices
from backend.avatar.leg_ik import HEEL_BEHIND_ANKLE, TwoBones, arm_bones, leg_bones, rotation_about
from backend.avatar.motion import Motion, MotionError, standing_height
from backend.avatar.motion_library import library, make_motion
from backend.avatar.motion_rig import JOINT, curve, solve
from backend.avatar.rotations import axis_angles

BODIES = ("neutral", "child", "male")
CLIPS = ("idle", "wave", "walk", "run", "turn", "sit", "stretch", "dance_step")
POSES = tuple(entry.name for entry in library() if entry.name not in CLIPS)
DATA = Path(__file__).resolve().parents[2] / "backend" / "body" / "data"
FINGERTIP = 1.85
"""Length of the hand from the wrist to the fingertips, in lengths from the wrist to the hand joint."""


class Person(NamedTuple):
    """Rest joints [24, 3], parents, the y of the soles, and the feet's vertices with their weights."""

    joints: np.ndarray
    parents: tuple[int, ...]
    ground: float
    feet: np.ndarray
    feet_weights: np.ndarray


@cache
def person(name: str) -> Person:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        vertices, weights = arrays["v_template"].astype(float), arrays["weights"].astype(float)
        joints = arrays["J_regressor"].astype(float) @ vertices
        parents = (-1, *(int(parent) for parent in arrays["kintree_table"][0][1:]))
    feet = np.flatnonzero(np.isin(weights.argmax(1), [7, 8, 10, 11]))[::3]
    return Person(joints, parents, float(vertices[:, 1].min()), vertices[feet], weights[feet])


@cache
def motion(name: str, body: str, in_place: bool = False) -> Motion:
    return make_motion(name, person(body).joints, person(body).parents, in_place)


@cache
def transforms(name: str, body: str) -> np.ndarray:
    """[T, 24, 4, 4], with the translation."""
    who, moved = person(body), motion(name, body)
    matrices = np.stack([joint_transforms(pose, who.joints, who.parents) for pose in moved.poses])
    matrices[:, :, :3, 3] += moved.translation[:, None]
    return matrices


def point(name: str, body: str, joint: str, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """[T, 3] of a point that a joint carries."""
    matrices = transforms(name, body)[:, JOINT[joint]]
    return matrices[:, :3, :3] @ (person(body).joints[JOINT[joint]] + offset) + matrices[:, :3, 3]


def steps(poses: np.ndarray, loops: bool) -> np.ndarray:
    """Rotation vectors [T or T - 1, 24, 3] from each frame to the next, in degrees, about axes of the earlier frame."""
    rotation = rotation_matrices(poses)
    following = np.roll(rotation, -1, axis=0) if loops else rotation[1:]
    turn = np.swapaxes(rotation[: len(following)], -1, -2) @ following
    return np.degrees(axis_angles(turn))


def _other(name: str) -> str:
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def contacts(points: np.ndarray, height: float, tolerance: float) -> list[np.ndarray]:
    """Runs of frames in which a point is within ``tolerance`` of its height on the ground."""
    frames = np.flatnonzero(points[:, 1] < height + tolerance)
    return [run for run in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(run) > 1]


def distance_to_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    share = (((points - start) * along).sum(-1) / (along**2).sum(-1)).clip(0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=-1)


def test_the_library_lists_motions_and_poses() -> None:
    entries = library()
    assert [entry.name for entry in entries[: len(CLIPS)]] == list(CLIPS)
    assert len({entry.name for entry in entries}) == len(entries) and len(POSES) >= 12
    assert {entry.name for entry in entries if entry.loops} == {*CLIPS} - {"turn", "sit"}
    assert all(entry.label and entry.description.endswith(".") for entry in entries)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS + POSES)
def test_motions_are_finite_human_and_the_same_each_time(name: str, body: str) -> None:
    moved, who = motion(name, body), person(body)
    again = make_motion(name, who.joints, who.parents)
    assert np.array_equal(moved.poses, again.poses) and np.array_equal(moved.translation, again.translation)
    assert (len(moved) == 1) == (name in POSES)
    assert moved.leg_length == pytest.approx(who.joints[0, 1] - who.ground, rel=0.004)
    # Knees turn about x alone, backwards; elbows bend forwards, whatever the forearm's twist.
    knees = np.degrees(moved.poses[:, [4, 5]])
    assert abs(knees[..., 1:]).max() < 1e-6 and knees[..., 0].min() >= -1e-9 and knees[..., 0].max() < 150
    for side, sign in (("left", 1.0), ("right", -1.0)):
        forearm = rotation_matrices(moved.poses[:, JOINT[f"{side}_elbow"]])[..., 0] * sign
        bend = np.degrees(np.arctan2(forearm[:, 2], forearm[:, 0] * sign))
        assert abs(forearm[:, 1]).max() < 1e-9 and bend.min() > -1e-6 and bend.max() < 150
    # Degrees: the largest turn of a joint against its parent in people, generously.
    limits = {"spine1": 30, "spine2": 30, "spine3": 30, "neck": 50, "head": 50, "left_wrist": 85, "right_wrist": 85}
    limits |= {"left_ankle": 60, "right_ankle": 60, "left_foot": 75, "right_foot": 75, "left_hip": 130}
    limits |= {"right_hip": 130, "left_collar": 35, "right_collar": 35, "left_shoulder": 150, "right_shoulder": 150}
    for joint, limit in limits.items():
        assert np.degrees(np.linalg.norm(moved.poses[:, JOINT[joint]], axis=-1)).max() < limit, joint


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", [entry.name for entry in library() if entry.loops])
def test_loops_close(name: str, body: str) -> None:
    moved = motion(name, body, in_place=True)
    turns = steps(moved.poses, loops=True)
    speed = np.linalg.norm(turns, axis=-1)
    # The step from the last frame to the first is no larger, and changes no more, than the others of either side do.
    both = [i if "left" not in n and "right" not in n else JOINT[_other(n)] for n, i in JOINT.items()]
    most = speed[:-1].max(axis=0)
    assert (speed[-1] <= np.maximum(most, most[both]) * 1.1 + 0.05).all()
    change = np.linalg.norm(turns - np.roll(turns, 1, axis=0), axis=-1)
    most = change[1:-1].max(axis=0)
    assert (change[[0, -1]] <= np.maximum(most, most[both]) * 1.25 + 0.05).all()
    moves = np.roll(moved.translation, -1, axis=0) - moved.translation
    assert np.linalg.norm(moves[-1]) <= np.linalg.norm(moves[:-1], axis=-1).max() * 1.1 + 1e-4


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS)
def test_nothing_jumps(name: str, body: str) -> None:
    moved = motion(name, body)
    loops = next(entry.loops for entry in library() if entry.name == name)
    largest = np.linalg.norm(steps(moved.poses, loops), axis=-1).max()
    assert largest < (35 if name == "run" else 18)
    change = np.linalg.norm(np.diff(moved.poses, axis=0), axis=-1)
    assert np.degrees(change).max() < 40, "axis-angle vectors must not flip by a whole turn"


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS)
def test_planted_feet_hold_the_ground(name: str, body: str) -> None:
    who = person(body)
    ground = who.joints[0, 1] - standing_height(who.joints)
    planted = np.zeros(len(motion(name, body)), bool)
    for side in ("left", "right"):
        ankle, ball = who.joints[JOINT[f"{side}_ankle"]], who.joints[JOINT[f"{side}_foot"]]
        length = np.hypot(*(ball - ankle)[[0, 2]])
        heel = np.array([0, ground - ankle[1], -HEEL_BEHIND_ANKLE * length])
        for points, height in (
            (point(name, body, f"{side}_foot"), ball[1]),
            (point(name, body, f"{side}_ankle", heel), ground),
        ):
            assert points[:, 1].min() > height - 0.002
            for run in contacts(points, height, 0.004):
                planted[run] = True
                assert np.ptp(points[run][:, [0, 2]], axis=0).max() < 0.02, f"{side}, frames {run[0]} to {run[-1]}"
    # Both feet are off the ground in a run alone.
    assert planted.all() if name != "run" else 0.5 < planted.mean() < 0.95


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS + POSES)
def test_feet_do_not_go_through_the_floor(name: str, body: str) -> None:
    who = person(body)
    lowest = np.inf
    for matrices in transforms(name, body)[:: 1 if name in ("walk", "run") else 3]:
        turned = np.einsum("vj,jab->vab", who.feet_weights, matrices[:, :3])
        height = (turned[:, 1, :3] * who.feet).sum(-1) + turned[:, 1, 3]
        lowest = min(lowest, height.min() - who.ground)
        # One foot at least is near the ground, but for the flight of a run.
        assert height.min() - who.ground < (0.1 if name == "run" else 0.012)
    assert lowest > -0.01


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS + POSES)
def test_knees_point_where_the_toes_do(name: str, body: str) -> None:
    matrices = transforms(name, body)
    for hip, ankle in ((1, 7), (2, 8)):
        hinge, across = matrices[:, hip, :3, 0], matrices[:, ankle, :3, 0]
        between = np.degrees(np.arccos((hinge * across).sum(-1).clip(-1, 1)))
        assert between.max() < 35


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", CLIPS + POSES)
def test_hands_stay_out_of_the_body(name: str, body: str) -> None:
    who, leg = person(body), motion(name, body).leg_length
    for side in ("left", "right"):
        palm = who.joints[JOINT[f"{side}_hand"]] - who.joints[JOINT[f"{side}_wrist"]]
        for share in (0.0, 1.0, FINGERTIP):
            hand = point(name, body, f"{side}_wrist", share * palm)
            # Capsules inside the body's surface: the trunk is 0.15 leg lengths wide and deep, a thigh 0.08.
            trunk = distance_to_segment(hand, point(name, body, "pelvis"), point(name, body, "neck"))
            assert trunk.min() > 0.125 * leg
            for thigh in ("left", "right"):
                away = distance_to_segment(hand, point(name, body, f"{thigh}_hip"), point(name, body, f"{thigh}_knee"))
                assert away.min() > 0.075 * leg


def test_walk_and_run_advance_or_stay() -> None:
    who = person("neutral")
    for name, speed in (("walk", (1.0, 1.4)), ("run", (2.3, 3.2))):
        moved, stays = motion(name, "neutral"), motion(name, "neutral", in_place=True)
        assert np.array_equal(moved.poses, stays.poses)
        assert np.array_equal(moved.translation[:, :2], stays.translation[:, :2])
        apart = moved.translation[:, 2] - stays.translation[:, 2]
        assert np.allclose(np.diff(apart), apart[1]) and speed[0] < apart[1] * moved.fps < speed[1]
        assert abs(stays.translation[:, 2]).max() < 0.03
        assert np.allclose(steps(moved.poses, True)[:, [4, 5]].sum(axis=0), 0, atol=1e-6)
        # The right side does what the left did half a loop before.
        half = len(moved) // 2
        if len(moved) % 2 == 0:
            assert np.allclose(moved.poses[:half, 5, 0], moved.poses[half:, 4, 0], atol=0.02)
    assert make_motion("idle", who.joints, who.parents, True).translation[0] == pytest.approx(
        motion("idle", "neutral").translation[0]
    )


def test_turn_faces_back_and_sit_stays_down() -> None:
    turned, seated = transforms("turn", "neutral"), motion("sit", "neutral")
    assert np.allclose(turned[-1, 0, :3, 2], [0, 0, -1], atol=0.02)
    assert np.allclose(turned[-1, [7, 8], 2, 2], -1, atol=0.02)
    assert (seated.translation[-60:, 1] < -0.33).all() and np.ptp(seated.translation[-40:], axis=0).max() < 0.02


def test_calibration_poses() -> None:
    assert np.allclose(motion("t_pose", "male").poses, 0) and np.allclose(motion("t_pose", "male").translation, 0)
    a_pose = motion("a_pose", "male")
    assert np.allclose(a_pose.translation, 0) and np.allclose(a_pose.poses[:, :13], 0)
    arm = point("a_pose", "male", "left_wrist") - point("a_pose", "male", "left_shoulder")
    assert np.degrees(np.arctan2(-arm[0, 1], arm[0, 0])) == pytest.approx(45, abs=0.1)


def test_arguments_that_cannot_be_used() -> None:
    who = person("neutral")
    with pytest.raises(MotionError, match="idle"):
        make_motion("moonwalk", who.joints, who.parents)
    with pytest.raises(MotionError, match="24"):
        make_motion("idle", who.joints[:22], who.parents[:22])
    with pytest.raises(MotionError, match="below"):
        make_motion("idle", who.joints * [1, -1, 1], who.parents)
    with pytest.raises(KeyError, match="pelvis_w"):
        solve({"pelvis_w": 1.0}, who.joints, who.parents)


def test_two_bones_reach_their_target() -> None:
    who, random = person("child"), np.random.default_rng(0)
    for bones in (leg_bones(who.joints, 1, 4, 7), arm_bones(who.joints, 17, 19, 21)):
        direction = random.normal(size=(200, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        reach = direction * bones.length() * random.uniform(0.5, 0.99, (200, 1))
        pole = random.normal(size=(200, 3))
        rotation, flexion = bones.solve(reach, pole)
        joint = rotation @ bones.upper
        end = joint + np.einsum(
            "tij,tjk,k->ti", rotation, rotation_about(bones.hinge, bones.sign * flexion), bones.lower
        )
        assert np.allclose(end, reach, atol=1e-9) and (flexion > 0).all()
        # The middle joint lies on the pole's side of the line to the target.
        side = pole - (pole * direction).sum(-1, keepdims=True) * direction
        assert ((rotation @ bones.bulge) * side).sum(-1).min() > 0
    far, _ = TwoBones(np.array([0, -1.0, 0]), np.array([0, -1.0, 0]), 0, 1, np.array([0, 0, 1.0])).solve(
        np.array([[0, 0, 5.0]]), np.array([[0, 1.0, 0]])
    )
    assert np.isfinite(far).all()


def test_curves_pass_their_keys_and_do_not_overshoot() -> None:
    keys = [(0.0, 1.0), (0.3, 4.0), (0.4, 4.0), (0.8, -2.0)]
    at = np.linspace(-1, 2, 901)
    closed, held = curve(at, keys, 1.0), curve(at, keys)
    assert np.allclose(curve(np.array([0, 0.3, 0.8]), keys, 1.0), [1, 4, -2])
    assert closed.max() <= 4 + 1e-9 and closed.min() >= -2 - 1e-9 and np.allclose(closed[:300], closed[300:600])
    assert abs(np.diff(closed)).max() < 0.15 and held[0] == 1 and held[-1] == -2
