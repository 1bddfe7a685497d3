"""A motion as an action: against SMPL's own kinematics, in every rotation mode, and back again after failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.backend.avatar.motion import Motion, MotionError
from humansplat.backend.avatar.motion_tools import avatar_translation, resample
from humansplat.humansplat_blender import motion, scene
from humansplat.humansplat_blender.motion import action as actions
from humansplat.humansplat_blender.motion import apply as apply_module
from humansplat.humansplat_blender.scene import convert
from motion_writers import lively_poses
from rigs import import_avatar, snapshot, walk_root

from backend.avatar import joint_transforms, load_avatar, pose_gaussians, standing_translation
from tests.synthetic import PARENTS, REST_JOINTS

LEG = 0.8
MODES = ("QUATERNION", "AXIS_ANGLE", "XYZ", "ZXY")


def make_motion(frames: int = 48, fps: float = 24.0, whole_turns: float = 0.0) -> Motion:
    poses = lively_poses(frames, 2, whole_turns)
    return Motion(poses, walk_root(frames) * 0.5, fps, LEG, "Stroll")


def bone_errors(
    armature: bpy.types.Object, avatar: object, wanted: Motion, frame: int, lengths: float = 1.0
) -> tuple[float, float]:
    """Largest deviation of the bones from SMPL's kinematics in a frame: of rotations (matrix entries), of metres."""
    ground = standing_translation(avatar)
    translation = avatar_translation(wanted, REST_JOINTS, ground)[frame]
    expected = joint_transforms(wanted.poses[frame], REST_JOINTS, PARENTS)
    expected[:, :3, 3] += translation - np.einsum("jab,b->ja", expected[:, :3, :3], ground)
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    turned, moved = 0.0, 0.0
    for name, matrix in zip(avatar_bone_names(armature), convert.transform_to_blender(expected)):
        bone = evaluated.pose.bones[name]
        rest = np.array(bone.bone.matrix_local)
        wrong = np.array(bone.matrix)[:3, :3] @ rest[:3, :3].T - matrix[:3, :3]
        head = matrix[:3, :3] @ rest[:3, 3] / lengths + matrix[:3, 3]
        turned = max(turned, float(np.abs(wrong).max()))
        moved = max(moved, float(np.abs(np.array(bone.head) / lengths - head).max()))
    return turned, moved


def avatar_bone_names(armature: bpy.types.Object) -> list[str]:
    return [bone.name for bone in scene.joint_bones(armature)]


@pytest.mark.parametrize("mode", MODES)
def test_bones_are_the_motions_in_every_rotation_mode(package: Path, mode: str) -> None:
    armature = import_avatar(package)
    avatar = load_avatar(package)
    for place, bone in enumerate(scene.joint_bones(armature)):
        bone.rotation_mode = mode
        bone.name = f"Bone {place}"  # whatever they are called
    armature.location, armature.rotation_euler = (1, 2, 0.5), (0.2, 0, 1.1)
    bpy.context.scene.render.fps = 24
    wanted = make_motion(whole_turns=1.5)
    action = motion.apply_motion(bpy.context, armature, wanted, motion.ApplyOptions(start_frame=10))
    assert armature.animation_data.action is action and action.name == "Stroll"
    assert tuple(action.curve_frame_range) == (10, 57)
    for frame in (0, 5, 20, 33, 47):
        bpy.context.scene.frame_set(10 + frame)
        turned, moved = bone_errors(armature, avatar, wanted, frame)
        assert turned < 2e-5 and moved < 2e-5, frame


def test_splats_follow_the_motion(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    avatar = load_avatar(package)
    wanted = make_motion()
    motion.apply_motion(bpy.context, imported.armature, wanted)
    translation = avatar_translation(wanted, REST_JOINTS, standing_translation(avatar))
    for frame in (0, 17, 40):
        bpy.context.scene.frame_set(1 + frame)
        posed = scene.read_splats(bpy.context, imported.splats)
        expected = pose_gaussians(avatar, wanted.poses[frame], translation[frame])
        assert len(posed) == len(expected)
        wrong = np.linalg.norm(posed.position - expected.position, axis=1)
        assert np.percentile(wrong, 99) < 1e-3 and wrong.max() < 5e-3


@pytest.mark.parametrize("mode", MODES)
def test_turning_round_does_not_flip(package: Path, mode: str) -> None:
    armature = import_avatar(package)
    pelvis = scene.joint_bones(armature)[0]
    pelvis.rotation_mode = mode
    poses = np.zeros((100, 24, 3))
    poses[:, 0, 1] = np.linspace(-4, 10, 100)  # over two turns
    poses[:, 0] = np.where(np.abs(poses[:, 0]) > np.pi, poses[:, 0] - 2 * np.pi * np.sign(poses[:, 0]), poses[:, 0])
    action = motion.apply_motion(bpy.context, armature, Motion(poses, np.zeros((100, 3)), 24, LEG))
    bpy.context.scene.render.fps = 24
    angles = []
    for frame in np.arange(1, 100, 0.5):  # between keys too
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        angles.append(scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())[0][0, 1])
    steps = np.diff(np.unwrap(angles))
    assert np.abs(steps - 14 / 99 / 2).max() < 0.01
    for curve in actions.channels(action).fcurves:
        keys = [key.co[1] for key in curve.keyframe_points]
        # Near the place where two of Euler's axes meet angles run ahead, but none of them jumps.
        assert np.abs(np.diff(keys)).max() < 0.6, curve.data_path


def test_the_scenes_frame_rate_or_the_motions(package: Path) -> None:
    armature = import_avatar(package)
    avatar = load_avatar(package)
    scene_ = bpy.context.scene
    scene_.render.fps, scene_.render.fps_base = 30, 1.001
    scene_.frame_start, scene_.frame_end = 1, 20
    wanted = make_motion(121, 60.0)
    rate = 30 / 1.001
    action = motion.apply_motion(bpy.context, armature, wanted)
    curves = actions.channels(action).fcurves
    # Two seconds are 59.94 frames.
    assert {len(curve.keyframe_points) for curve in curves} == {60}
    assert (scene_.frame_start, scene_.frame_end) == (1, 60)
    scene_.frame_set(31)
    at_scene = resample(wanted, rate)
    assert max(bone_errors(armature, avatar, at_scene, 30)) < 2e-5
    options = motion.ApplyOptions(start_frame=5, keys="source", extend_range=False)
    action = motion.apply_motion(bpy.context, armature, wanted, options)
    keys = actions.channels(action).fcurves[0].keyframe_points
    assert len(keys) == 121
    assert keys[2].co[0] == pytest.approx(5 + 2 * rate / 60)
    assert scene_.frame_end == 60
    scene_.frame_set(int(5 + 60 * rate / 60), subframe=(60 * rate / 60) % 1)
    assert max(bone_errors(armature, avatar, wanted, 60)) < 1e-4


def test_applied_scale_and_a_second_avatar(package: Path) -> None:
    first, second = import_avatar(package), import_avatar(package, location=(2, 0, 0))
    avatar = load_avatar(package)
    bpy.context.view_layer.objects.active = first
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj == first)
    first.scale = (2, 2, 2)
    first.location = (0, 0, 0)
    bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    wanted = make_motion()
    before = [tuple(np.array(bone.matrix_basis).ravel()) for bone in second.pose.bones]
    motion.apply_motion(bpy.context, first, wanted)
    assert [tuple(np.array(bone.matrix_basis).ravel()) for bone in second.pose.bones] == before
    assert second.animation_data is None
    bpy.context.scene.frame_set(20)
    assert max(bone_errors(first, avatar, wanted, 19, lengths=2.0)) < 5e-5
    motion.apply_motion(bpy.context, second, wanted, motion.ApplyOptions(start_frame=11))
    bpy.context.scene.frame_set(30)
    assert max(bone_errors(second, avatar, wanted, 19)) < 2e-5


def test_the_former_action_is_kept(package: Path) -> None:
    armature = import_avatar(package)
    first = motion.apply_motion(bpy.context, armature, make_motion())
    # What only the former action moves must not stay behind.
    root = armature.pose.bones["root"]
    root.location = (5, 0, 0)
    scene.joint_bones(armature)[4].location = (0, 0.3, 0)
    second = motion.apply_motion(bpy.context, armature, make_motion())
    assert first.use_fake_user and first.users == 1 and second.name == "Stroll.001"
    assert not armature.animation_data.nla_tracks
    bpy.context.scene.frame_set(9)
    assert max(bone_errors(armature, load_avatar(package), make_motion(), 8)) < 2e-5
    third = motion.apply_motion(bpy.context, armature, make_motion(), motion.ApplyOptions(former="nla"))
    (track,) = armature.animation_data.nla_tracks
    assert track.strips[0].action == second and armature.animation_data.action == third
    bpy.context.scene.frame_set(9)
    assert max(bone_errors(armature, load_avatar(package), make_motion(), 8)) < 2e-5


def test_controls_let_go(package: Path) -> None:
    from humansplat.humansplat_blender.scene import controls

    armature = import_avatar(package)
    controls.add_controls(bpy.context, armature)
    root = armature.pose.bones["root"]
    for name in root.keys():
        if isinstance(root[name], float):
            root[name] = 1.0
    motion.apply_motion(bpy.context, armature, make_motion())
    bpy.context.scene.frame_set(9)
    assert max(bone_errors(armature, load_avatar(package), make_motion(), 8)) < 5e-5


def test_loops_go_on_and_travel(package: Path) -> None:
    armature = import_avatar(package)
    bpy.context.scene.render.fps = 24
    action = motion.import_library_motion(bpy.context, armature, "walk")
    assert action.use_cyclic
    first, last = action.curve_frame_range
    period = int(last - first)
    places, poses = [], []
    for frame in (3, 3 + period, 3 + 2 * period):
        bpy.context.scene.frame_set(frame)
        pose, place = scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())
        places.append(place)
        poses.append(pose)
    np.testing.assert_allclose(poses[1:], [poses[0]] * 2, atol=1e-4)
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-4)
    assert 0.8 < steps[0, 2] < 2.5 and np.abs(steps[:, :2]).max() < 1e-4
    motion.import_library_motion(bpy.context, armature, "walk", in_place=True)
    bpy.context.scene.frame_set(3 + period)
    assert abs(scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())[1][2] - places[0][2]) < 0.2


def test_still_poses_are_not_keyed(package: Path) -> None:
    armature = import_avatar(package)
    before = scene.read_pose(armature)[0]
    assert motion.import_library_motion(bpy.context, armature, "a_pose") is None
    assert not bpy.data.actions and np.abs(scene.read_pose(armature)[0] - before).max() > 0.1


def test_failures_change_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    armature = import_avatar(package)
    motion.apply_motion(bpy.context, armature, make_motion())
    bpy.context.scene.frame_set(12)
    before = snapshot()
    make_curves = actions.add_curves

    def fail_late(action: bpy.types.Action, path: str, *rest: object) -> list:
        if "right_hand" in path:
            raise RuntimeError("no memory")
        return make_curves(action, path, *rest)

    monkeypatch.setattr(actions, "add_curves", fail_late)
    with pytest.raises(RuntimeError):
        motion.apply_motion(bpy.context, armature, make_motion())
    assert snapshot() == before
    monkeypatch.setattr(actions, "add_curves", make_curves)

    def fail_once(obj: bpy.types.Object, what: object, assign: object = actions.assign) -> None:
        monkeypatch.setattr(actions, "assign", assign)
        assign(obj, what)
        raise RuntimeError("not assigned")

    monkeypatch.setattr(actions, "assign", fail_once)
    with pytest.raises(RuntimeError):
        motion.apply_motion(bpy.context, armature, make_motion(), motion.ApplyOptions(former="nla"))
    assert snapshot() == before
    with pytest.raises(MotionError, match="frames"):
        apply_module.motion_action(bpy.context, armature, replace(make_motion(), fps=0))
    with pytest.raises(MotionError, match="no file"):
        motion.import_motion_file(bpy.context, armature, "nowhere.bvh")
    with pytest.raises(MotionError, match="somersault"):
        motion.import_library_motion(bpy.context, armature, "somersault")
    assert snapshot() == before
    empty = bpy.data.objects.new("Empty", bpy.data.armatures.new("Empty"))
    bpy.context.scene.collection.objects.link(empty)
    with pytest.raises(MotionError, match="not the armature of an avatar"):
        motion.apply_motion(bpy.context, empty, make_motion())


def test_an_avatar_without_a_bone_is_said(package: Path) -> None:
    armature = import_avatar(package)
    bpy.ops.object.mode_set(mode="EDIT")
    armature.data.edit_bones.remove(armature.data.edit_bones["left_hand"])
    bpy.ops.object.mode_set(mode="OBJECT")
    before = snapshot()
    with pytest.raises(MotionError, match="left_hand"):
        motion.apply_motion(bpy.context, armature, make_motion())
    assert snapshot() == before
