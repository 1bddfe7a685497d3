"""Bones against SMPL's own kinematics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import convert
from mathutils import Quaternion

from backend.avatar import joint_transforms, load_avatar, pose_gaussians, save_avatar, standing_translation
from tests.synthetic import JOINT_NAMES, PARENTS, REST_JOINTS, make_avatar, make_pose


def test_rest_bones_are_the_joints(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    assert {bone.name for bone in armature.data.bones} == {*JOINT_NAMES, "root"}
    assert not armature.data.bones["root"].use_deform
    standing = REST_JOINTS + standing_translation(load_avatar(package))
    for name, parent, head in zip(JOINT_NAMES, PARENTS, convert.to_blender(standing)):
        bone = armature.data.bones[name]
        np.testing.assert_allclose(bone.head_local, head, atol=1e-6)
        assert (bone.parent.name if bone.parent else None) == (JOINT_NAMES[parent] if parent >= 0 else "root")
        assert bone.length > 0.02
    # The left arm points to the avatar's left, which is +x; the figure looks along -y and stands up along z.
    directions = {bone.name: (bone.tail_local - bone.head_local).normalized() for bone in armature.data.bones}
    assert directions["left_elbow"].x > 0.9
    assert directions["head"].z > 0.9
    assert directions["left_ankle"].y < -0.5


def test_posed_bones_are_the_joint_transforms(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    pose, translation = make_pose(3, 0.7), np.array([0.2, 0.9, -0.1])
    scene.apply_pose(armature, pose, translation)
    bpy.context.view_layer.update()
    expected = joint_transforms(pose, REST_JOINTS, PARENTS)
    # The bones rest where the rest pose stands on the ground.
    standing = standing_translation(load_avatar(package))
    expected[:, :3, 3] += translation - np.einsum("jab,b->ja", expected[:, :3, :3], standing)
    change = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for name, matrix in zip(JOINT_NAMES, change @ expected @ change.T):
        bone = armature.pose.bones[name]
        np.testing.assert_allclose(bone.matrix @ bone.bone.matrix_local.inverted(), matrix, atol=1e-5)


def test_pose_is_read_back(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    pose, translation = make_pose(4, 0.8), np.array([0.2, 0.9, -0.1])
    scene.apply_pose(armature, pose, translation)
    for depsgraph in (None, bpy.context.evaluated_depsgraph_get()):
        found, moved = scene.read_pose(armature, depsgraph)
        np.testing.assert_allclose(found, pose, atol=1e-5)
        np.testing.assert_allclose(moved, translation, atol=1e-6)


def test_euler_bones_are_read_back(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    scene.apply_pose(armature, np.zeros((24, 3)))
    knee = armature.pose.bones["left_knee"]
    knee.rotation_mode = "XYZ"
    # About the armature's x axis (the person's left) through the bone's own axes.
    axis = np.array(knee.bone.matrix_local)[:3, :3].T @ [1.0, 0.0, 0.0]
    half = np.concatenate([[np.cos(0.4)], np.sin(0.4) * axis])
    knee.rotation_euler = Quaternion(half).to_euler("XYZ")
    expected = np.zeros((24, 3))
    expected[JOINT_NAMES.index("left_knee")] = (0.8, 0, 0)
    np.testing.assert_allclose(scene.read_pose(armature)[0], expected, atol=1e-5)


def test_constraints_show_in_the_evaluated_pose(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    scene.apply_pose(armature, np.zeros((24, 3)))
    source, target = armature.pose.bones["left_elbow"], armature.pose.bones["left_wrist"]
    constraint = target.constraints.new("COPY_ROTATION")
    constraint.target, constraint.subtarget = armature, "left_elbow"
    constraint.owner_space = constraint.target_space = "LOCAL"
    source.rotation_quaternion = (np.cos(0.3), np.sin(0.3), 0, 0)
    basis, _ = scene.read_pose(armature)
    evaluated, _ = scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())
    wrist = JOINT_NAMES.index("left_wrist")
    assert np.linalg.norm(basis[wrist]) < 1e-6
    assert abs(np.linalg.norm(evaluated[wrist]) - 0.6) < 1e-5


def test_named_poses(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    scene.rest_pose(imported.armature)
    pose, translation = scene.read_pose(imported.armature)
    np.testing.assert_allclose(pose, 0, atol=1e-6)
    lowest = avatar.body.surface_vertices[:, 1].min()
    np.testing.assert_allclose(translation, [0, -lowest, 0], atol=1e-6)
    scene.photo_pose(imported.armature)
    pose, translation = scene.read_pose(imported.armature)
    np.testing.assert_allclose(pose, avatar.pose, atol=1e-5)
    np.testing.assert_allclose(translation, avatar.translation, atol=1e-6)


def test_renamed_bones_are_still_the_joints(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    pose, translation = make_pose(5, 0.5), np.array([0.1, 1.0, 0.2])
    armature.data.bones["left_elbow"].name = "forearm.L"
    scene.apply_pose(armature, pose, translation)
    np.testing.assert_allclose(scene.read_pose(armature)[0], pose, atol=1e-5)
    assert armature.pose.bones["forearm.L"].rotation_quaternion.angle > 0.1


def test_a_deleted_bone_is_named(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    bpy.ops.object.mode_set(mode="EDIT")
    armature.data.edit_bones.remove(armature.data.edit_bones["left_hand"])
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(ValueError, match="left_hand"):
        scene.rest_pose(armature)


@pytest.mark.parametrize("mode", ["XYZ", "AXIS_ANGLE"])
def test_poses_keep_the_bones_rotation_mode(package: Path, mode: str) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    for bone in armature.pose.bones:
        bone.rotation_mode = mode
    pose = make_pose(6, 0.6)
    scene.apply_pose(armature, pose, (0.0, 1.0, 0.0))
    assert {bone.rotation_mode for bone in armature.pose.bones} == {mode}
    np.testing.assert_allclose(scene.read_pose(armature)[0], pose, atol=1e-5)


def test_applied_scale_keeps_the_feet_on_the_ground(tmp_path: Path) -> None:
    avatar = make_avatar()
    weights = avatar.body.surface_weights
    rigid = weights.max(1, keepdims=True) > 0.9  # as heads are
    weights = np.where(rigid, weights == weights.max(1, keepdims=True), weights).astype(np.float32)
    avatar = replace(avatar, body=replace(avatar.body, surface_weights=weights))
    save_avatar(avatar, tmp_path / "rigid")
    imported = scene.import_avatar(bpy.context, tmp_path / "rigid")
    scene.rest_pose(imported.armature)
    imported.armature.scale = (2, 2, 2)
    bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    assert imported.armature.scale[0] == 1
    for pose, named in ((np.zeros((24, 3)), scene.rest_pose), (avatar.pose, scene.photo_pose)):
        named(imported.armature)
        translation = standing_translation(avatar) if named is scene.rest_pose else avatar.translation
        expected = 2 * pose_gaussians(avatar, pose, translation).position
        found = scene.read_splats(bpy.context, imported.splats, world=True).position
        np.testing.assert_allclose(found, expected, atol=5e-5)
        scale = pose_gaussians(avatar, pose, translation).scale
        np.testing.assert_allclose(scene.read_splats(bpy.context, imported.splats, True).scale, 2 * scale, rtol=1e-4)
