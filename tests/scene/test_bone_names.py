"""Bones renamed after other rigs: everything that refers to them follows, and SMPL's names come back."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import bone_limits, bone_names, controls, ik_fk, rig_parts, twist_bones
from mathutils import Quaternion

from backend.avatar.bone_maps import find_map
from tests.synthetic import JOINT_NAMES, make_pose


def _joints(armature: bpy.types.Object) -> np.ndarray:
    bpy.context.view_layer.update()
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.array([evaluated.pose.bones[bone.name].matrix for bone in scene.joint_bones(armature)])


def _curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    if hasattr(action, "layers"):
        return [c for layer in action.layers for s in layer.strips for bag in s.channelbags for c in bag.fcurves]
    return list(action.fcurves)


@pytest.mark.parametrize("preset", list(bone_names.PRESETS))
def test_there_and_back(package: Path, preset: str) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature = imported.armature
    # A little of everything that names bones: keys, drivers, constraints, vertex groups, twist bones.
    controls.add_controls(bpy.context, armature)
    bone_limits.set_limits(armature, 1)
    twist_bones.add_twist_bones(bpy.context, armature, imported.body)
    names = [bone.name for bone in armature.data.bones]
    groups = [group.name for group in imported.body.vertex_groups]
    for frame, seed in ((1, 5), (11, 6)):
        scene.apply_pose(armature, make_pose(seed, 0.4), (0, 1, 0))
        for bone in scene.joint_bones(armature):
            bone.keyframe_insert("rotation_quaternion", frame=frame)
    root = rig_parts.root_bone(armature)
    root["IK Left Arm"] = 1.0
    rig_parts.marked_bones(armature)["left_hand_ik"].location.x += 0.05

    def shown() -> list[np.ndarray]:
        found = []
        for frame in (1, 6, 11):
            bpy.context.scene.frame_set(frame)
            found.append(_joints(armature))
        return found

    def splats() -> np.ndarray:
        return scene.read_splats(bpy.context, imported.splats).position

    before, places = shown(), splats()
    assert np.abs(before[0] - before[2]).max() > 0.1
    bone_names.rename_bones(armature, preset)
    np.testing.assert_allclose(shown(), before, atol=1e-6)
    np.testing.assert_allclose(splats(), places, atol=1e-6)
    bones = {bone.name for bone in armature.data.bones}
    assert {group.name for group in imported.body.vertex_groups} <= bones
    for curve in _curves(armature.animation_data.action):
        assert curve.data_path.split('"')[1] in bones
    for curve in armature.animation_data.drivers:
        armature.path_resolve(curve.data_path)
        for variable in curve.driver.variables:
            target = variable.targets[0]
            if variable.type == "SINGLE_PROP":
                armature.path_resolve(target.data_path)
            else:
                assert target.bone_target in bones
    # Our own retargeting takes it for the rig that it is named after.
    joints = [bone.name for bone in scene.joint_bones(armature)]
    assert dict(find_map(joints).bones) == dict(zip(JOINT_NAMES, joints))
    ik_fk.switch_limb(bpy.context, armature, "Left Leg", True)
    ik_fk.switch_limb(bpy.context, armature, "Left Leg", False)
    bone_names.rename_bones(armature, bone_names.SMPL)
    np.testing.assert_allclose(shown(), before, atol=1e-5)
    assert [bone.name for bone in armature.data.bones] == names
    assert [group.name for group in imported.body.vertex_groups] == groups


def test_named_after_mixamo(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    assert bone_names.rename_bones(armature, "Mixamo") == 24
    assert armature.pose.bones["mixamorig:LeftForeArm"].parent.name == "mixamorig:LeftArm"
    assert armature.pose.bones["mixamorig:Spine2"].bone["humansplat_joint"] == JOINT_NAMES.index("spine3")
    assert bone_names.current_preset(armature) == "Mixamo"
    assert "root" in armature.pose.bones


@pytest.mark.parametrize("preset", bone_names.MIRRORED)
def test_mirrored_names_flip(package: Path, preset: str) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    controls.add_controls(bpy.context, armature)
    bone_names.rename_bones(armature, preset)
    bones = {**rig_parts.bone_of_joint(armature), **rig_parts.marked_bones(armature)}
    for mark, bone in bones.items():
        side, _, part = mark.partition("_")
        if side in rig_parts.SIDES:
            other = bones[f"{'right' if side == 'left' else 'left'}_{part}"]
            assert bpy.utils.flip_name(bone.name) == other.name


def test_paste_flipped(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    scene.rest_pose(armature)
    bone_names.rename_bones(armature, "Rigify")
    bone = armature.pose.bones["forearm.L"]
    bone.rotation_quaternion = Quaternion((1, 0.3, 0.2), 0.7)
    bpy.ops.object.mode_set(mode="POSE")
    for other in armature.pose.bones:
        owner = other if hasattr(other, "select") else other.bone  # since 5.0, and before
        owner.select = other == bone
    assert bpy.ops.pose.copy() == {"FINISHED"}
    assert bpy.ops.pose.paste(flipped=True) == {"FINISHED"}
    pose = scene.read_pose(armature)[0]
    left, right = (pose[JOINT_NAMES.index(f"{side}_elbow")] for side in ("left", "right"))
    assert np.linalg.norm(right) > 0.5
    np.testing.assert_allclose(right, left * [1, -1, -1], atol=1e-3)


def test_names_of_the_artists_own_bones_are_not_taken(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    with rig_parts.edit_bones(bpy.context, armature) as bones:
        bone = bones.new("forearm.L")
        bone.tail = (0, 0, 0.1)
    before = [bone.name for bone in armature.data.bones]
    with pytest.raises(ValueError, match=r"forearm\.L"):
        bone_names.rename_bones(armature, "Rigify")
    assert [bone.name for bone in armature.data.bones] == before
    with pytest.raises(ValueError, match="Biped"):
        bone_names.rename_bones(armature, "Biped")
