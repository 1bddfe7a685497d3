"""Retargeting against sources whose every joint is known, for skeletons and rest poses of several programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from motion_writers import BONES, Source, forward, lively_poses, make_source, write_bvh
from scipy.spatial.transform import Rotation
from synthetic import JOINT_NAMES, PARENTS, REST_JOINTS

from backend.avatar.bone_maps import JOINT_NAMES as MAP_JOINT_NAMES
from backend.avatar.bone_maps import (
    JOINT_PARENTS,
    MAPS,
    BoneMap,
    find_map,
    load_bone_map,
    save_bone_map,
)
from backend.avatar.bvh import read_bvh
from backend.avatar.clips import Clip
from backend.avatar.motion import MotionError, standing_height
from backend.avatar.retarget import RetargetOptions, retarget
from backend.avatar.rotations import continuous, smallest_turns
from backend.body import model

FRAMES = 240
LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
DIRECTIONS = [*LIMBS, ("neck", "head"), ("pelvis", "neck")]

# layout, how it is written
LAYOUTS = {
    "mixamo": ("mixamo", {"rest": "t", "order": "ZXY", "unit": 0.01}),
    "mixamo, A-pose, z up": ("mixamo", {"rest": "a", "order": "XYZ", "unit": 0.01, "up": "z"}),
    "cmu": ("cmu", {"rest": "t", "order": "ZYX", "unit": 0.0254 / 0.45}),
    "rokoko": ("rokoko", {"rest": "a", "order": "YXZ", "unit": 0.01, "positions": "all"}),
    "soma": ("soma", {"rest": "t", "order": "ZYX", "unit": 0.01}),
    "lafan": ("lafan", {"rest": "x", "order": "ZYX", "unit": 0.01}),
    "two spine bones, no toes": ("two", {"rest": "t", "unit": 1.0, "positions": "zero"}),
}


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Degrees between vectors [T, 3]."""
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.degrees(np.arctan2(cross, (first * second).sum(axis=-1)))


def turn_errors(source: Source, world: np.ndarray, joint: str) -> np.ndarray:
    """Degrees [T] between the source's turn since arms out and the target's."""
    wrong = np.swapaxes(source.turn(joint), 1, 2) @ world[:, JOINT_NAMES.index(joint)]
    return np.degrees(Rotation.from_matrix(wrong).magnitude())


def walk_root(frames: int) -> np.ndarray:
    time = np.linspace(0, 1, frames)
    return np.stack([np.sin(3 * time), 0.03 * np.sin(20 * time), 4 * time], axis=1)


def clip_of(source: Source) -> Clip:
    """The source as an armature of a scene would give it, without a file; bones have axes of their own."""
    axes = Rotation.random(len(source.names), random_state=5).as_matrix()
    return Clip(
        tuple(source.names), tuple(source.parents), source.rest, axes, source.turns @ axes, source.positions, source.fps
    )


@pytest.mark.parametrize("title", LAYOUTS)
def test_limbs_neck_and_trunk_point_as_the_source(title: str, tmp_path: Path) -> None:
    layout, how = LAYOUTS[title]
    # Another build than the target's: longer shins, short upper arms.
    source = make_source(
        layout,
        lively_poses(FRAMES, 1, 1.0),
        30,
        1.15,
        walk_root(FRAMES),
        lambda joint: {"ankle": 1.2, "elbow": 0.85}.get(joint.split("_")[-1], 1.0),
    )
    write_bvh(tmp_path / "motion.bvh", source, **how)
    motion = retarget(read_bvh(tmp_path / "motion.bvh"), REST_JOINTS, PARENTS)
    world, places = forward(motion)
    for start, stop in DIRECTIONS:
        ours = places[:, JOINT_NAMES.index(stop)] - places[:, JOINT_NAMES.index(start)]
        assert angles(ours, source.place(stop) - source.place(start)).max() < 0.5, (start, stop)
    # Twists: exact where the rest pose says them; LAFAN's comes from a frame in which nobody stands quite straight.
    limit = 15 if how["rest"] == "x" else 5
    for joint in ("pelvis", "spine3", "head", *(start for start, _ in LIMBS)):
        assert turn_errors(source, world, joint).max() < limit, joint


def test_the_same_skeleton_gives_the_same_poses() -> None:
    poses = lively_poses(FRAMES, 2)
    source = make_source("mixamo", poses, 25, 1.0, walk_root(FRAMES))
    motion = retarget(clip_of(source), REST_JOINTS, PARENTS, options=RetargetOptions(ground="file"))
    assert motion.fps == 25
    wrong = Rotation.from_rotvec(motion.poses.reshape(-1, 3)).inv() * Rotation.from_rotvec(poses.reshape(-1, 3))
    assert wrong.magnitude().max() < 1e-6
    # The writer's people stand with their toes 3 cm above the floor, this one's soles are a little thinner.
    height = source.rest[0, 1] - standing_height(REST_JOINTS)
    assert np.allclose(motion.translation, walk_root(FRAMES) + np.array([0, height, 0]), atol=1e-9)


def test_the_way_is_scaled_by_the_legs_and_the_feet_stand_on_the_floor() -> None:
    still = np.zeros((60, 24, 3))
    way = np.linspace([0, 0, 0], [1, 0, 3], 60)
    source = make_source("mixamo", still, 30, 1.3, way + np.array([0, 0.4, 0]))  # as if on a stage
    motion = retarget(clip_of(source), REST_JOINTS)
    assert np.allclose(motion.translation, way / 1.3, atol=1e-6)
    in_place = retarget(clip_of(source), REST_JOINTS, options=RetargetOptions(root="in_place"))
    assert np.allclose(in_place.translation, 0, atol=1e-6)
    lying_pelvis = still.copy()
    lying_pelvis[:, [1, 2], 0], lying_pelvis[:, [4, 5], 0] = -1.2, 2.0
    crouch = make_source("mixamo", lying_pelvis, 30, 1.3, way)
    off = retarget(clip_of(crouch), REST_JOINTS, options=RetargetOptions(root="off"))
    assert (off.translation == 0).all()
    _, places = forward(retarget(clip_of(crouch), REST_JOINTS))
    sole = standing_height(REST_JOINTS) + REST_JOINTS[10, 1]
    assert places[:, 10:12, 1].min() > sole - 1e-3 or places[:, 7:9, 1].min() > 0


def test_facing_other_ways_and_turning_round_does_not_flip() -> None:
    poses = np.zeros((200, 24, 3))
    poses[:, 0] = np.outer(np.linspace(-1, 13, 200), [0, 1, 0])
    poses[:, 17, 2] = np.linspace(0.5, 3.6, 200)  # an arm that passes half a turn
    source = make_source("mixamo", poses, 30)
    motion = retarget(clip_of(source), REST_JOINTS)
    steps = np.linalg.norm(np.diff(motion.poses, axis=0), axis=2)
    assert steps.max() < 0.08
    assert np.allclose(motion.poses[:, 0, 1] - motion.poses[0, 0, 1], np.linspace(0, 14, 200), atol=1e-6)
    # A scene's armature may rest facing backwards.
    back = Rotation.from_rotvec([0, 2.6, 0]).as_matrix()
    clip = clip_of(source)
    turned = Clip(
        clip.names,
        clip.parents,
        clip.rest_positions @ back.T,
        back @ clip.rest_rotations,
        back @ clip.rotations,
        clip.positions @ back.T,
        30,
    )
    world, _ = forward(retarget(turned, REST_JOINTS))
    assert np.allclose(world[:, 0], back @ source.turn("pelvis"), atol=1e-6)


def test_twist_of_a_straight_limb_is_the_sources() -> None:
    poses = np.zeros((50, 24, 3))
    poses[:, 16, 0] = np.linspace(0, 1, 50)  # the left upper arm about itself
    poses[:, 1, 1] = np.linspace(0, 0.6, 50)
    source = make_source("rokoko", poses, 30, 0.9)
    motion = retarget(clip_of(source), REST_JOINTS)
    world, _ = forward(motion)
    for joint in ("left_shoulder", "left_elbow", "left_hip", "left_ankle"):
        assert turn_errors(source, world, joint).max() < 0.01, joint


def test_continuous_keeps_the_rotations() -> None:
    vectors = Rotation.from_rotvec(np.outer(np.linspace(-9, 20, 300), [0.6, 0, 0.8])).as_rotvec()[:, None]
    smooth = continuous(vectors)
    assert np.linalg.norm(np.diff(smooth, axis=0), axis=2).max() < 0.11
    wrong = Rotation.from_rotvec(smooth[:, 0]).inv() * Rotation.from_rotvec(vectors[:, 0])
    assert wrong.magnitude().max() < 1e-9


def test_smallest_turns_also_for_opposite_directions() -> None:
    random = np.random.default_rng(0)
    before, after = random.normal(size=(2, 200, 3))
    after[:20] = -before[:20]
    turn = smallest_turns(before, after)
    assert np.allclose(turn @ np.swapaxes(turn, 1, 2), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(turn), 1)
    assert angles(np.einsum("nij,nj->ni", turn, before), after).max() < 1e-4
    assert np.allclose(Rotation.from_matrix(turn).magnitude(), np.radians(angles(before, after)), atol=1e-6)


def test_names_of_the_joints_are_the_body_models() -> None:
    assert list(MAP_JOINT_NAMES) == model.JOINT_NAMES and JOINT_PARENTS == PARENTS


@pytest.mark.parametrize(("layout", "title"), [("mixamo", "Mixamo"), ("cmu", "CMU"), ("soma", "SOMA")])
def test_layouts_are_told_apart(layout: str, title: str) -> None:
    assert find_map(BONES[layout].values()).name == title
    assert dict(find_map(BONES[layout].values()).bones) == BONES[layout]


def test_every_shipped_map_finds_its_own_names() -> None:
    for title, joints in MAPS.items():
        names = [candidates[0] for candidates in joints.values()]
        found = find_map(names)
        assert dict(found.bones) == {joint: candidates[0] for joint, candidates in joints.items()}, title


def test_prefixes_case_and_separators_do_not_matter() -> None:
    plain = [name.split(":")[1] for name in BONES["mixamo"].values()]
    for prefix in ("", "mixamorig:", "mixamorig1:", "mixamorig_", "mixamorig9_", "Character1|mixamorig:"):
        assert set(find_map([prefix + name for name in plain]).bones) == set(JOINT_NAMES), prefix
    assert set(find_map([name.upper() for name in plain]).bones) == set(JOINT_NAMES)
    rigify = [c[0] for c in MAPS["Rigify"].values()]
    generated = [*(f"ORG-{name}" for name in rigify), *(f"DEF-{name}" for name in rigify), "upper_arm_fk.L", "root"]
    assert all(bone.startswith("DEF-") for bone in find_map(generated).bones.values())
    unreal = [c[0] for c in MAPS["Unreal"].values()] + ["root", "ik_foot_l", "upperarm_twist_01_l"]
    assert find_map(unreal).name == "Unreal"
    smpl = ["m_avg_root", *(f"m_avg_{n}" for n in ("Pelvis", "L_Hip", "R_Hip", "Spine1", "Spine2", "Spine3", "Neck"))]
    smpl += [f"m_avg_{s}_{p}" for s in "LR" for p in ("Knee", "Ankle", "Foot", "Collar", "Shoulder", "Elbow", "Wrist")]
    assert len(find_map(smpl).bones) == 21


def test_a_skeleton_that_fits_no_map_is_told_so() -> None:
    with pytest.raises(MotionError, match="none of the known rigs"):
        find_map(["Bone", "Bone.001"])
    with pytest.raises(MotionError, match="none of the known rigs"):
        find_map([])
    with pytest.raises(MotionError, match=r"looks like Mixamo.*right_wrist"):
        find_map([name for name in BONES["mixamo"].values() if "RightHand" not in name])


def test_bone_maps_are_files_to_edit(tmp_path: Path) -> None:
    found = find_map(BONES["two"].values())
    save_bone_map(found, tmp_path / "map.json")
    again = load_bone_map(tmp_path / "map.json")
    assert again.name == found.name and dict(again.bones) == dict(found.bones)
    for text, words in (
        ("[", "no JSON"),
        ("[" * 100000, "no JSON"),
        ("[]", "no bone map"),
        ('{"bones": {"tail": "Tail"}}', "'tail'"),
        ('{"bones": {"pelvis": 3}}', "one bone"),
        ('{"bones": {"pelvis": "Hips", "neck": "Hips"}}', "two joints"),
        ('{"bones": {"pelvis": "Hips"}}', "left_hip"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(MotionError, match=words):
            load_bone_map(tmp_path / "bad.json")
    with pytest.raises(MotionError, match="cannot be read"):
        load_bone_map(tmp_path / "absent.json")


def test_what_cannot_be_carried_over_is_said() -> None:
    source = make_source("mixamo", np.zeros((3, 24, 3)))
    clip = clip_of(source)
    with pytest.raises(MotionError, match="24 x 3"):
        retarget(clip, REST_JOINTS[:22])
    with pytest.raises(MotionError, match="not connected"):
        retarget(clip, REST_JOINTS, [-1] * 24)
    other = BoneMap("Mine", dict(find_map(clip.names).bones) | {"head": "Crown"})
    with pytest.raises(MotionError, match="Crown"):
        retarget(clip, REST_JOINTS, PARENTS, other)
    with pytest.raises(MotionError, match="reference frame 9"):
        retarget(clip, REST_JOINTS, options=RetargetOptions(reference_frame=9))
    with pytest.raises(MotionError, match="root motion"):
        RetargetOptions(root="some")
    flat = Clip(clip.names, clip.parents, clip.rest_positions * 0, clip.rest_rotations, clip.rotations,
                clip.positions * 0, 30)  # fmt: skip
    with pytest.raises(MotionError):
        retarget(flat, REST_JOINTS)
