"""Controls, limits, twist bones and the look of the armature, on whatever Blender runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import bone_limits, bone_look, controls, convert, ik_fk, rig_parts, twist_bones
from humansplat.humansplat_blender.ui import rig
from mathutils import Quaternion, Vector

from backend.avatar import joint_transforms, load_avatar, skin_vertices, standing_translation
from tests.synthetic import JOINT_NAMES, PARENTS, REST_JOINTS, make_pose

LIMB_JOINTS = [joint for limb in controls.LIMBS.values() for joint in limb.joints]


def _matrices(armature: bpy.types.Object) -> dict[str, np.ndarray]:
    """Evaluated place of every joint's bone in the armature."""
    bpy.context.view_layer.update()
    evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    bones = rig_parts.bone_of_joint(armature)
    return {joint: np.array(evaluated.pose.bones[bone.name].matrix) for joint, bone in bones.items()}


def _switch(armature: bpy.types.Object, value: float) -> None:
    for limb in controls.LIMBS.values():
        rig_parts.root_bone(armature)[limb.switch] = value
    armature.update_tag()
    bpy.context.view_layer.update()


def _move(armature: bpy.types.Object, control: str, by: tuple[float, float, float]) -> None:
    """Move a control by metres in the armature's space."""
    bone = rig_parts.marked_bones(armature)[control]
    bone.location += bone.bone.matrix_local.to_3x3().inverted() @ Vector(by)


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """Degrees between two orientations."""
    turn = first[:3, :3].astype(float).T @ second[:3, :3]
    sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    return float(np.degrees(np.arctan2(sine, (np.trace(turn) - 1) / 2)))


def _assert_same_limbs(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for joint in LIMB_JOINTS:
        assert np.linalg.norm((found[joint] - wanted[joint])[:3, 3]) < 0.002, joint
        assert _angle(found[joint], wanted[joint]) < 0.5, joint


def _vertices(body: bpy.types.Object, count: int) -> np.ndarray:
    """The first evaluated vertices [count, 3] of the body, in its own space."""
    bpy.context.view_layer.update()
    mesh = body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    places = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", places)
    return places.reshape(-1, 3)[:count].astype(np.float64)


@pytest.fixture
def avatar(package: Path) -> scene.ImportedAvatar:
    """An avatar with controls, in the rest pose, every limb on FK."""
    imported = scene.import_avatar(bpy.context, package)
    controls.add_controls(bpy.context, imported.armature)
    scene.rest_pose(imported.armature)
    for name in controls.LIMBS:
        ik_fk.snap_ik_to_fk(bpy.context, imported.armature, name)
    return imported


@pytest.fixture
def registered() -> Iterator[None]:
    """The rig's operators, where the add-on has not registered them."""
    classes = [cls for cls in rig.CLASSES if not hasattr(bpy.types, cls.__name__)]
    for cls in classes:
        bpy.utils.register_class(cls)
    yield
    for cls in classes:
        bpy.utils.unregister_class(cls)


# The look -------------------------------------------------------------------------------------------------------------


def test_bones_bend_about_positive_x(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    # What moves where when the bone's x axis turns it, in the armature's axes: the person looks along -y.
    for part, towards in (("knee", (0, 1, 0)), ("elbow", (0, -1, 0)), ("wrist", (0, 0, -1)), ("ankle", (0, 0, -1))):
        for side in rig_parts.SIDES:
            axes = np.array(armature.data.bones[f"{side}_{part}"].matrix_local)[:3, :3]
            moved = np.cross(axes[:, 0], axes[:, 1])
            assert moved @ towards > 0.8, (side, part)


def test_bones_are_sorted_coloured_and_shaped(package: Path) -> None:
    first = scene.import_avatar(bpy.context, package)
    bone_look.style_armature(first.armature, first.body)
    data = first.armature.data
    assert {"Root", "Torso", "Head", "Left Arm", "Right Arm", "Left Leg", "Right Leg"} <= set(data.collections.keys())
    assert {bone.name for bone in data.collections["Left Leg"].bones} == {
        "left_hip",
        "left_knee",
        "left_ankle",
        "left_foot",
    }
    assert all(len(bone.collections) == 1 for bone in data.bones)
    assert data.bones["left_knee"].color.palette != data.bones["right_knee"].color.palette
    for bone in first.armature.pose.bones:
        assert bone.custom_shape is not None
        assert not bone.custom_shape.users_collection and not bone.custom_shape.use_fake_user
    ring = first.armature.pose.bones["left_knee"]
    radius = ring.custom_shape_scale_xyz[0] * ring.bone.length
    assert 0.06 < radius < 0.12  # the shin's tube has 0.05, over 0.08 at the knee
    shapes = set(bone.custom_shape for bone in first.armature.pose.bones)
    second = scene.import_avatar(bpy.context, package)
    bone_look.style_armature(second.armature, second.body)
    assert {bone.custom_shape for bone in second.armature.pose.bones} == shapes


def test_copies_of_shapes_are_merged(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    bone_look.style_armature(armature)
    ring = bone_look.shape_object("ring")
    copy = ring.copy()  # as pasting brings one
    copy.data = ring.data.copy()
    bone = armature.pose.bones["left_knee"]
    bone.custom_shape = copy
    bone_look.merge_shapes()
    kinds = [obj["humansplat_shape"] for obj in bpy.data.objects if "humansplat_shape" in obj]
    assert len(kinds) == len(set(kinds))
    assert bone.custom_shape["humansplat_shape"] == "ring"
    assert not [mesh for mesh in bpy.data.meshes if mesh.name.startswith("HumanSplat Shape") and not mesh.users]


# Limits ---------------------------------------------------------------------------------------------------------------


def test_limits_are_off_until_switched_on(package: Path) -> None:
    armature = scene.import_avatar(bpy.context, package).armature
    scene.rest_pose(armature)
    for side in rig_parts.SIDES:
        armature.pose.bones[f"{side}_knee"].rotation_quaternion = Quaternion((1, 0, 0), -1.0)
    before = _matrices(armature)
    bone_limits.add_limits(armature)
    armature.update_tag()
    assert all(np.abs(_matrices(armature)[joint] - before[joint]).max() < 1e-6 for joint in before)
    bone_limits.set_limits(armature, 1)
    bpy.context.view_layer.update()
    pose = scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())[0]
    for side in rig_parts.SIDES:
        assert abs(np.degrees(np.linalg.norm(pose[JOINT_NAMES.index(f"{side}_knee")])) - 5) < 0.1
    bone_limits.remove_limits(armature)
    assert all(np.abs(_matrices(armature)[joint] - before[joint]).max() < 1e-6 for joint in before)
    assert not any(bone.constraints for bone in armature.pose.bones)
    assert armature.animation_data is None or not armature.animation_data.drivers


# Controls -------------------------------------------------------------------------------------------------------------


def test_adding_and_removing_controls_changes_nothing(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature = imported.armature
    names = {bone.name for bone in armature.data.bones}
    before, splats = _matrices(armature), scene.read_splats(bpy.context, imported.splats)

    def assert_unchanged() -> None:
        found = _matrices(armature)
        assert max(np.abs(found[joint] - before[joint]).max() for joint in before) < 1e-6
        moved = scene.read_splats(bpy.context, imported.splats)
        np.testing.assert_allclose(moved.position, splats.position, atol=1e-6)

    controls.add_controls(bpy.context, armature)
    assert_unchanged()
    assert len(scene.joint_bones(armature)) == 24
    added = [bone for bone in armature.data.bones if bone.name not in names]
    assert not any(bone.use_deform for bone in added)
    assert {bone.name for bone in armature.data.collections["Controls"].bones} >= {"left_hand_ik", "left_knee_pole"}
    for curve in armature.animation_data.drivers:
        assert curve.driver.type == "SUM"
        assert {variable.type for variable in curve.driver.variables} == {"SINGLE_PROP"}
    _switch(armature, 1.0)
    found = _matrices(armature)
    _assert_same_limbs(found, before)
    _switch(armature, 0.0)
    controls.remove_controls(bpy.context, armature)
    assert_unchanged()
    assert {bone.name for bone in armature.data.bones} == names
    assert not any(bone.constraints for bone in armature.pose.bones)
    assert not armature.animation_data.drivers
    assert not set(controls.SWITCHES) & set(armature.pose.bones["root"].keys())


def test_removing_controls_keeps_the_pose_they_make(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    _switch(armature, 1.0)
    rig_parts.root_bone(armature)[controls.LOOK_AT_SWITCH] = 1.0
    _move(armature, "left_hand_ik", (-0.2, -0.2, 0.1))
    _move(armature, "right_foot_ik", (0, -0.1, 0.2))
    _move(armature, "look_at", (0.3, 0, 0.1))
    _move(armature, "torso_control", (0.02, 0.0, -0.1))
    before = _matrices(armature)
    controls.remove_controls(bpy.context, armature)
    found = _matrices(armature)
    assert max(np.abs(found[joint] - before[joint]).max() for joint in before) < 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_ik_reaches(avatar: scene.ImportedAvatar, side: str) -> None:
    armature = avatar.armature
    _switch(armature, 1.0)
    sign = 1 if side == "left" else -1
    for control, by in (
        (f"{side}_hand_ik", (-0.2 * sign, -0.2, 0.1)),
        (f"{side}_foot_ik", (0.1 * sign, -0.2, 0.2)),
    ):
        _move(armature, control, by)
    found = _matrices(armature)
    marked = rig_parts.marked_bones(armature)
    for joint, mark in ((f"{side}_wrist", f"{side}_hand_ik"), (f"{side}_ankle", f"{side}_ankle_mechanism")):
        target = np.array(marked[mark].matrix)
        assert np.linalg.norm((found[joint] - target)[:3, 3]) < 0.001
        assert _angle(found[joint], target) < 0.1


def test_a_raised_foot_bends_the_knee_forward(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    _switch(armature, 1.0)
    before = _matrices(armature)
    for side in rig_parts.SIDES:
        _move(armature, f"{side}_foot_ik", (0, 0, 0.3))
    found = _matrices(armature)
    for side in rig_parts.SIDES:
        moved = (found[f"{side}_knee"] - before[f"{side}_knee"])[:3, 3]
        assert abs(moved[0]) < 0.02
        assert moved[1] < -0.15  # forward is -y
        assert np.linalg.norm((found[f"{side}_ankle"] - before[f"{side}_ankle"])[:3, 3] - [0, 0, 0.3]) < 0.001


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_switching_does_not_jump(avatar: scene.ImportedAvatar, seed: int | None) -> None:
    armature = avatar.armature
    scene.apply_pose(armature, np.zeros((24, 3)) if seed is None else make_pose(seed, 0.5), (0.1, 1.0, 0.2))
    fk = _matrices(armature)
    for name in controls.LIMBS:
        ik_fk.snap_ik_to_fk(bpy.context, armature, name)
    for blend in (0.0, 0.3, 1.0):
        _switch(armature, blend)
        _assert_same_limbs(_matrices(armature), fk)
    for side in rig_parts.SIDES:
        _move(armature, f"{side}_hand_ik", (0.03, -0.04, -0.05))
        _move(armature, f"{side}_foot_ik", (0.02, -0.05, 0.06))
    ik = _matrices(armature)
    for name in controls.LIMBS:
        ik_fk.snap_fk_to_ik(bpy.context, armature, name)
    for blend in (1.0, 0.6, 0.0):
        _switch(armature, blend)
        _assert_same_limbs(_matrices(armature), ik)


@pytest.mark.parametrize("to_ik", [True, False])
def test_switching_from_half_way_does_not_jump(avatar: scene.ImportedAvatar, to_ik: bool) -> None:
    armature = avatar.armature
    _move(armature, "left_hand_ik", (-0.2, -0.2, 0.1))
    _move(armature, "right_foot_ik", (0, -0.2, 0.2))
    _switch(armature, 0.5)
    shown = _matrices(armature)
    for name in controls.LIMBS:
        ik_fk.switch_limb(bpy.context, armature, name, to_ik)
    assert rig_parts.root_bone(armature)["IK Left Arm"] == float(to_ik)
    _assert_same_limbs(_matrices(armature), shown)


def test_the_foot_rolls(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    _switch(armature, 1.0)
    before = _matrices(armature)
    roll = rig_parts.marked_bones(armature)["left_foot_roll"]
    roll.rotation_euler.x = np.radians(30)
    found = _matrices(armature)
    assert found["left_ankle"][2, 3] > before["left_ankle"][2, 3] + 0.02
    assert np.linalg.norm((found["left_foot"] - before["left_foot"])[:3, 3]) < 0.001  # the ball stays
    assert _angle(found["left_foot"], before["left_foot"]) < 0.5  # and the toes
    assert abs(_angle(found["left_ankle"], before["left_ankle"]) - 30) < 0.5
    roll.rotation_euler.x = np.radians(-30)
    found = _matrices(armature)
    assert found["left_foot"][2, 3] > before["left_foot"][2, 3] + 0.02  # the toes rise, over the heel
    assert abs(_angle(found["left_ankle"], before["left_ankle"]) - 30) < 0.5


def test_the_head_looks_and_the_torso_moves(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    before = _matrices(armature)
    rig_parts.root_bone(armature)[controls.LOOK_AT_SWITCH] = 1.0
    armature.update_tag()
    found = _matrices(armature)
    assert _angle(found["head"], before["head"]) < 0.1
    _move(armature, "look_at", (0.3, 0, 0.2))
    found = _matrices(armature)
    target = np.array(rig_parts.marked_bones(armature)["look_at"].head) - found["head"][:3, 3]
    assert found["head"][:3, 2] @ target / np.linalg.norm(target) > 0.9999
    _switch(armature, 1.0)
    _move(armature, "torso_control", (0, 0, -0.1))
    found = _matrices(armature)
    assert abs(found["pelvis"][2, 3] - before["pelvis"][2, 3] + 0.1) < 1e-5
    assert np.linalg.norm((found["left_ankle"] - before["left_ankle"])[:3, 3]) < 0.001


def test_poses_switch_controls_off(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    _switch(armature, 1.0)
    _move(armature, "torso_control", (0, 0, -0.1))
    pose = make_pose(3, 0.5)
    scene.apply_pose(armature, pose, (0.1, 1.0, 0.2))
    found, moved = scene.read_pose(armature, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(found, pose, atol=1e-5)
    np.testing.assert_allclose(moved, (0.1, 1.0, 0.2), atol=1e-5)


def test_duplicates_have_controls_of_their_own(avatar: scene.ImportedAvatar) -> None:
    armature = avatar.armature
    twist_bones.add_twist_bones(bpy.context, armature, avatar.body)
    for obj in avatar.objects:
        obj.hide_set(False)
        obj.select_set(True)
    bpy.ops.object.duplicate()
    copy = next(obj for obj in bpy.context.selected_objects if obj.type == "ARMATURE")
    assert copy != armature
    targets = [
        target.id
        for curve in copy.animation_data.drivers
        for variable in curve.driver.variables
        for target in variable.targets
    ]
    targets += [c.target for bone in copy.pose.bones for c in bone.constraints]
    assert set(targets) == {copy}
    before, original = _matrices(copy), _matrices(armature)
    _switch(copy, 1.0)
    _move(copy, "left_hand_ik", (-0.2, -0.2, 0.1))
    moved = (_matrices(copy)["left_wrist"] - before["left_wrist"])[:3, 3]
    assert np.linalg.norm(moved - [-0.2, -0.2, 0.1]) < 0.001
    assert np.abs(_matrices(armature)["left_wrist"] - original["left_wrist"]).max() == 0
    assert rig_parts.root_bone(armature)["IK Left Arm"] == 0.0


def test_linked_copies_say_what_to_do(avatar: scene.ImportedAvatar) -> None:
    copy = avatar.armature.copy()  # shares the bones
    bpy.context.scene.collection.objects.link(copy)
    assert controls.has_controls(copy)
    with pytest.raises(ValueError, match="Single User"):
        controls.remove_controls(bpy.context, copy)
    assert controls.has_controls(copy)


def test_saved_files_keep_working(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    name = avatar.armature.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "rig.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "rig.blend"), use_scripts=False)
    armature = bpy.data.objects[name]
    before = _matrices(armature)
    _switch(armature, 1.0)
    _move(armature, "left_foot_ik", (0, -0.1, 0.2))
    moved = (_matrices(armature)["left_ankle"] - before["left_ankle"])[:3, 3]
    assert np.linalg.norm(moved - [0, -0.1, 0.2]) < 0.001


def test_operators(package: Path, registered: None) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature = imported.armature
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.humansplat.add_controls() == {"FINISHED"}
    assert bpy.context.mode == "POSE"
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    assert bpy.ops.humansplat.snap_limb(limb="Left Arm", to="IK") == {"FINISHED"}
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = False
    assert armature.pose.bones["root"]["IK Left Arm"] == 1.0
    assert armature.animation_data.action is not None
    assert bpy.ops.humansplat.snap_limb(limb="ALL", to="FK") == {"FINISHED"}
    assert bpy.ops.humansplat.bone_limits(enable=True) == {"FINISHED"}
    assert bpy.ops.humansplat.twist_bones(enable=True) == {"FINISHED"}
    assert bpy.ops.humansplat.rename_bones(preset="Rigify") == {"FINISHED"}
    assert bpy.ops.humansplat.twist_bones(enable=False) == {"FINISHED"}
    assert bpy.ops.humansplat.remove_controls() == {"FINISHED"}
    assert bpy.ops.humansplat.rename_bones(preset="SMPL") == {"FINISHED"}
    assert {bone.name for bone in armature.data.bones} == {*JOINT_NAMES, "root"}


# Twist bones ----------------------------------------------------------------------------------------------------------


def _without_twist(armature: bpy.types.Object, seed: int) -> np.ndarray:
    """A random pose [24, 3] whose shoulders, elbows and wrists do not turn about their bones' length."""
    pose = make_pose(seed, 0.6)
    bones = rig_parts.bone_of_joint(armature)
    for part in ("shoulder", "elbow", "wrist"):
        for joint in (f"left_{part}", f"right_{part}"):
            along = convert.from_blender(scene.armature.rest_axes(bones[joint])[:, 1])
            index = JOINT_NAMES.index(joint)
            pose[index] -= along * (pose[index] @ along)
    return pose


def _weights(body: bpy.types.Object) -> list[dict[str, float]]:
    groups = body.vertex_groups
    return [{groups[entry.group].name: entry.weight for entry in vertex.groups} for vertex in body.data.vertices]


def test_twist_bones_change_no_pose_without_twist(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature, body = imported.armature, imported.body
    package_avatar = load_avatar(package)
    before = _weights(body)
    twist_bones.add_twist_bones(bpy.context, armature, body)
    assert len(scene.joint_bones(armature)) == 24
    surface = package_avatar.body.surface_vertices.astype(np.float64)
    for seed in range(3):
        pose, translation = _without_twist(armature, seed), np.array([0.1, 1.0, -0.2])
        scene.apply_pose(armature, pose, translation)
        transforms = joint_transforms(pose, REST_JOINTS, PARENTS)
        expected = skin_vertices(surface, package_avatar.body.surface_weights, transforms, translation)
        np.testing.assert_allclose(_vertices(body, len(surface)), convert.to_blender(expected), atol=1e-5)
    twist_bones.remove_twist_bones(bpy.context, armature, body)
    assert _weights(body) == before
    assert {bone.name for bone in armature.data.bones} == {*JOINT_NAMES, "root"}
    assert not [name for name in body.data.attributes.keys() if name.startswith("humansplat_plain")]


def test_painted_twist_weights_are_kept(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature, body = imported.armature, imported.body
    twist_bones.add_twist_bones(bpy.context, armature, body)
    group = body.vertex_groups["left_forearm_twist_2"]
    painted = next(v.index for v in body.data.vertices if any(e.group == group.index for e in v.groups))
    group.add([painted], 0.123, "ADD")
    total = sum(weight for name, weight in _weights(body)[painted].items() if "left_forearm" in name)
    twist_bones.remove_twist_bones(bpy.context, armature, body)
    assert abs(_weights(body)[painted]["left_elbow"] - min(total, 1.0)) < 1e-6


def _narrowest(points: np.ndarray, rest: np.ndarray, start: np.ndarray, along: np.ndarray) -> float:
    """The thinnest of a forearm's rings, as a share of its area at rest; rings are found at rest."""
    share = (rest - start) @ along / (along @ along)
    ratios = []
    for ring in np.unique(share.round(3)):
        rows = np.flatnonzero(np.abs(share - ring) < 0.01)
        spread = [np.linalg.norm(p[rows] - p[rows].mean(axis=0), axis=1).mean() ** 2 for p in (points, rest)]
        ratios.append(spread[0] / spread[1])
    return min(ratios)


@pytest.mark.parametrize("rolled", ["left_wrist", "left_elbow"])
def test_a_rolled_forearm_keeps_its_volume(package: Path, rolled: str) -> None:
    imported = scene.import_avatar(bpy.context, package)
    armature, body = imported.armature, imported.body
    package_avatar = load_avatar(package)
    scene.rest_pose(armature)
    rest = _vertices(body, len(package_avatar.body.surface_vertices))
    start, end = (np.array(armature.data.bones[name].head_local) for name in ("left_elbow", "left_wrist"))
    # The vertices of the forearm's own tube: 7 rings of 12.
    tube = JOINT_NAMES.index("left_wrist") - 1
    rows = slice(tube * 84, (tube + 1) * 84)
    standing = convert.to_blender(standing_translation(package_avatar))
    np.testing.assert_allclose(rest[rows].mean(axis=0), (start + end) / 2, atol=0.02)
    assert standing[2] > 0

    def narrowest() -> float:
        armature.pose.bones[rolled].rotation_quaternion = Quaternion((0, 1, 0), np.radians(120))
        found = _narrowest(_vertices(body, len(rest))[rows], rest[rows], start, end - start)
        armature.pose.bones[rolled].rotation_quaternion = (1, 0, 0, 0)
        return found

    plain = narrowest()
    twist_bones.add_twist_bones(bpy.context, armature, body)
    twisted = narrowest()
    print(
        f"{rolled} rolled by 120 degrees: narrowest section of the forearm {plain:.2f}, with twist bones {twisted:.2f}"
    )
    assert plain < 0.5
    assert twisted > 0.8
