"""Copies live, deletion leaves nothing, a replacement keeps pose and action."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene

from backend.avatar import load_avatar, pose_gaussians, save_avatar
from tests.synthetic import JOINT_NAMES, make_avatar, make_pose

TABLES = ("collections", "objects", "meshes", "armatures", "pointclouds", "materials", "actions", "cameras")


def _census() -> dict[str, int]:
    return {name: len(getattr(bpy.data, name)) for name in TABLES}


def _avatars() -> list[scene.ImportedAvatar]:
    return list(scene.scene_avatars(bpy.context.scene))


def _follows(avatar: scene.ImportedAvatar, package: Path, seed: int) -> None:
    """The avatar is where numpy has it in a pose of its own."""
    known = load_avatar(package)
    pose = make_pose(seed, 0.5)
    scene.apply_pose(avatar.armature, pose, (0.0, 1.0, 0.1))
    found = scene.read_splats(bpy.context, avatar.splats)
    np.testing.assert_allclose(found.position, pose_gaussians(known, pose, np.array([0, 1.0, 0.1])).position, atol=1e-5)


@pytest.mark.parametrize("linked", [False, True])
def test_blenders_own_duplicate_of_a_selected_avatar_lives(package: Path, linked: bool) -> None:
    first = scene.import_avatar(bpy.context, package)
    bpy.ops.object.duplicate(linked=linked)
    avatars = _avatars()
    assert len(avatars) == 2
    (copy,) = [avatar for avatar in avatars if avatar.armature != first.armature]
    assert not set(copy.objects) & set(first.objects)
    _follows(first, package, 1)
    if not linked:  # pose bones are the armature object's own, so a linked copy has them too
        before = scene.read_splats(bpy.context, first.splats).position
        _follows(copy, package, 2)
        np.testing.assert_array_equal(scene.read_splats(bpy.context, first.splats).position, before)
    copy.armature.location.x = 2.0
    bpy.context.view_layer.update()
    assert scene.read_splats(bpy.context, copy.splats, world=True).position[:, 0].mean() > 1.5


def test_duplicate_avatar_is_independent(package: Path) -> None:
    first = scene.import_avatar(bpy.context, package, camera=True)
    scene.key_pose(first.armature, 1)
    groups = len(bpy.data.node_groups)
    copy = scene.duplicate_avatar(bpy.context, first)
    assert len(bpy.data.node_groups) == groups
    assert copy.collection != first.collection
    assert copy.armature.name == copy.collection.name == f"{package.name}-2"
    assert copy.camera is not None and copy.camera != first.camera
    assert copy.armature.animation_data.action != first.armature.animation_data.action
    assert set(bpy.context.selected_objects) == set(copy.objects)
    for avatar in (first, copy):
        avatar.armature.animation_data_clear()
    _follows(copy, package, 3)
    before = scene.read_splats(bpy.context, copy.splats).position
    _follows(first, package, 4)
    np.testing.assert_array_equal(scene.read_splats(bpy.context, copy.splats).position, before)


def test_deletion_leaves_nothing_behind(package: Path) -> None:
    bpy.ops.mesh.primitive_cube_add()
    kept = scene.import_avatar(bpy.context, package)
    before = _census()
    gone = scene.import_avatar(bpy.context, package, camera=True)
    scene.key_pose(gone.armature, 1)
    scene.delete_avatar(gone)
    assert _census() == before
    _follows(kept, package, 5)
    scene.delete_avatar(kept)
    assert [obj.name for obj in bpy.data.objects] == ["Cube"]


def test_the_avatar_is_found_whatever_became_of_parents_and_names(package: Path) -> None:
    avatar = scene.import_avatar(bpy.context, package)
    for number, obj in enumerate(avatar.objects):
        obj.name = f"renamed {number}"
    bpy.ops.object.parent_clear(type="CLEAR_KEEP_TRANSFORM")
    for obj in avatar.objects:
        assert scene.find_avatar(obj) is not None
        assert scene.find_avatar(obj).objects == avatar.objects


def test_a_replacement_keeps_pose_action_place_and_what_points_at_it(package: Path, tmp_path: Path) -> None:
    save_avatar(make_avatar(900, seed=3), tmp_path / "other back")
    old = scene.import_avatar(bpy.context, package)
    pose = make_pose(7, 0.5)
    scene.apply_pose(old.armature, pose, (0.0, 1.0, 0.0))
    scene.key_pose(old.armature, 1)
    action = old.armature.animation_data.action
    old.armature.location = (1, 2, 0)
    old.armature.data.bones["left_knee"].name = "shin.L"
    prop = bpy.data.objects.new("prop", None)
    bpy.context.scene.collection.objects.link(prop)
    prop.constraints.new("COPY_LOCATION").target = old.armature
    name, count = old.armature.name, len(bpy.data.objects)
    new = scene.import_avatar(bpy.context, tmp_path / "other back")
    new = scene.replace_avatar(bpy.context, old, new)
    assert len(_avatars()) == 1
    assert len(bpy.data.objects) == count
    assert new.armature.name == new.collection.name == name
    assert new.armature.animation_data.action == action
    assert prop.constraints[0].target == new.armature
    assert "shin.L" in new.armature.pose.bones
    bpy.context.scene.frame_set(2)
    bpy.context.scene.frame_set(1)
    np.testing.assert_allclose(scene.read_pose(new.armature)[0], pose, atol=1e-5)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(new.armature.matrix_world.translation, (1, 2, 0))
    assert len(scene.read_splats(bpy.context, new.splats)) == 900


def test_keys_are_on_every_joint(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    armature.pose.bones["left_elbow"].rotation_mode = "XYZ"
    scene.key_pose(armature, 10)
    scene.apply_pose(armature, np.zeros((24, 3)), (0, 1, 0))
    pose = make_pose(8, 0.4)
    scene.apply_pose(armature, pose, (0, 1, 0))
    scene.key_pose(armature, 20)
    scene.apply_pose(armature, np.zeros((24, 3)), (0, 1, 0))
    bpy.context.scene.frame_set(20)
    np.testing.assert_allclose(scene.read_pose(armature)[0], pose, atol=1e-5)
    assert len(JOINT_NAMES) == 24


def _library(package: Path, folder: Path) -> tuple[Path, str]:
    """A file with one avatar, and its collection's name."""
    collection = scene.import_avatar(bpy.context, package).collection.name
    path = folder / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return path, collection


def test_appended_twice_it_lives_and_shared_data_stay_one(package: Path, tmp_path: Path) -> None:
    path, name = _library(package, tmp_path)
    for _ in range(2):
        bpy.ops.wm.append(directory=f"{path}/Collection/", filename=name)
        scene.merge_shared()  # what the add-on does on arrival
    avatars = _avatars()
    assert len(avatars) == 2
    _follows(avatars[0], package, 1)
    before = scene.read_splats(bpy.context, avatars[0].splats).position
    _follows(avatars[1], package, 2)
    np.testing.assert_array_equal(scene.read_splats(bpy.context, avatars[0].splats).position, before)
    for avatar in avatars:
        assert not avatar.body.hide_get() and not avatar.body.visible_camera
    for blocks in (bpy.data.node_groups, bpy.data.materials):
        keys = [block["humansplat_name"] for block in blocks if "humansplat_name" in block]
        assert len(keys) == len(set(keys))


def test_bone_shapes_that_pasting_brings_are_merged(package: Path) -> None:
    scene.import_avatar(bpy.context, package)
    shapes = [obj for obj in bpy.data.objects if obj.name.startswith("HumanSplat Shape")]
    assert shapes and not any(shape.users_collection for shape in shapes)
    pasted = [shape.copy() for shape in shapes]
    for copy in pasted:
        bpy.context.scene.collection.objects.link(copy)
    scene.merge_shared()
    assert [obj for obj in bpy.data.objects if obj.name.startswith("HumanSplat Shape")] == shapes
    assert not any(shape.users_collection for shape in shapes)


def test_linked_and_overridden_it_is_posed(package: Path, tmp_path: Path) -> None:
    path, name = _library(package, tmp_path)
    bpy.ops.wm.link(directory=f"{path}/Collection/", filename=name)
    instance = next(obj for obj in bpy.context.scene.objects if obj.instance_collection is not None)
    made = instance.instance_collection.override_hierarchy_create(
        bpy.context.scene, bpy.context.view_layer, do_fully_editable=True
    )
    bpy.data.objects.remove(instance)
    assert made is not None
    (avatar,) = [a for a in _avatars() if a.armature.library is None]
    assert avatar.armature.override_library is not None
    _follows(avatar, package, 3)
