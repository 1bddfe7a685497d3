"""Operators of motions: files, armatures, the library, assets; what they say of what cannot be used."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.backend.avatar.motion_library import library
from humansplat.humansplat_blender import motion, scene
from humansplat.humansplat_blender.motion import action as actions
from humansplat.humansplat_blender.motion import avatar as target
from humansplat.humansplat_blender.motion import operators
from motion_writers import lively_poses, make_source, write_bvh
from rigs import LIMBS, RIGIFY, add_armature, avatar_bones, heads, import_avatar, lively_source, snapshot, walk_root

from tests.synthetic import JOINT_NAMES

pytestmark = pytest.mark.usefixtures("registered")
FREE = {"pin_feet": False, "hands": False}


def error_of(operator: object, **arguments: object) -> str:
    """The one sentence that an operator reports."""
    with pytest.raises(RuntimeError) as caught:
        operator(**arguments)
    text = str(caught.value).strip()
    assert text.startswith("Error: ") and "\n" not in text
    return text.removeprefix("Error: ")


def curves_of(action: bpy.types.Action) -> dict[tuple[str, int], list[float]]:
    return {
        (curve.data_path, curve.array_index): [value for key in curve.keyframe_points for value in key.co]
        for curve in actions.channels(action).fcurves
    }


def write_amass(path: Path, poses: np.ndarray, way: np.ndarray, fps: float) -> None:
    """As AMASS stores SMPL-H: z up, fingers after the body."""
    full = np.zeros((len(poses), 52, 3))
    full[:, :22] = poses[:, :22]
    up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    root = [np.array(m) for m in map(_matrix, poses[:, 0])]
    full[:, 0] = [_vector(up @ m) for m in root]
    np.savez(path, poses=full.reshape(len(poses), -1), trans=way @ up.T, mocap_framerate=np.array(fps))


def _matrix(vector: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector[None]).as_matrix()[0]


def _vector(matrix: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix[None]).as_rotvec()[0]


@pytest.mark.parametrize("rest", ["t", "a"])
def test_bvh_file(rest: str, package: Path, tmp_path: Path) -> None:
    source = make_source("mixamo", lively_poses(50, 3, 0.6), 24, 1.1, walk_root(50))
    write_bvh(tmp_path / "A take.bvh", source, rest=rest)
    avatar = import_avatar(package)
    arguments = {"filepath": str(tmp_path / "A take.bvh"), "start_frame": 11}
    assert bpy.ops.humansplat.import_motion(**arguments, **FREE) == {"FINISHED"}
    action = avatar.animation_data.action
    assert action.name == "A take" and tuple(action.curve_frame_range) == (11, 60)
    bones = avatar_bones(avatar)
    for frame in (0, 13, 49):
        bpy.context.scene.frame_set(11 + frame)
        ours = heads(avatar, bones)
        for start, stop in LIMBS:
            first = ours[stop] - ours[start]
            second = source.place(stop)[frame] - source.place(start)[frame]
            second = np.array([second[0], -second[2], second[1]])
            cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
            assert np.degrees(np.arccos(min(cosine, 1))) < 1
    # The same as by the functions.
    options = motion.TransferOptions(**FREE, apply=motion.ApplyOptions(start_frame=11))
    again = motion.import_motion_file(bpy.context, avatar, arguments["filepath"], options)
    assert curves_of(again) == curves_of(action)
    # With feet and hands seen to, another frame rate.
    assert bpy.ops.humansplat.import_motion(filepath=arguments["filepath"], fps=12) == {"FINISHED"}
    assert tuple(avatar.animation_data.action.curve_frame_range) == (1, 99)


def test_amass_file(package: Path, tmp_path: Path) -> None:
    poses = lively_poses(121, 3, 0.3)
    poses[:, 22:] = 0
    write_amass(tmp_path / "walk_poses.npz", poses, walk_root(121), 120.0)
    avatar = import_avatar(package)
    assert bpy.ops.humansplat.import_motion(filepath=str(tmp_path / "walk_poses.npz"), **FREE) == {"FINISHED"}
    assert tuple(avatar.animation_data.action.curve_frame_range) == (1, 25)
    bpy.context.scene.frame_set(13)
    pose = scene.read_pose(avatar, bpy.context.evaluated_depsgraph_get())[0]
    np.testing.assert_allclose(pose[1:22], poses[60, 1:22], atol=1e-4)
    assert bpy.ops.humansplat.import_motion(filepath=str(tmp_path / "walk_poses.npz"), root="in_place") == {"FINISHED"}


def test_what_is_no_motion_changes_nothing(package: Path, tmp_path: Path) -> None:
    import_avatar(package)
    assert bpy.ops.humansplat.library_motion(motion="wave") == {"FINISHED"}
    bpy.context.scene.frame_set(9)
    source = make_source("mixamo", lively_poses(5), 24)
    write_bvh(tmp_path / "good.bvh", source)
    text = (tmp_path / "good.bvh").read_text()
    (tmp_path / "cut.bvh").write_text(text[: len(text) // 2])
    (tmp_path / "renamed.bvh").write_text(text.replace("mixamorig:", "bone_x").replace("Up", "Q").replace("Arm", "Z"))
    (tmp_path / "text.bvh").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "nan.npz", poses=np.full((4, 72), np.nan), trans=np.zeros((4, 3)))
    (tmp_path / "map.json").write_text("{}")
    before = snapshot()
    operator = bpy.ops.humansplat.import_motion
    said = [
        error_of(operator, filepath=str(tmp_path / name))
        for name in ("cut.bvh", "renamed.bvh", "text.bvh", "empty.npz", "nan.npz", "nowhere.bvh", "walk.fbx", "")
    ]
    said.append(error_of(operator, filepath=str(tmp_path / "good.bvh"), bone_map=str(tmp_path / "map.json")))
    for sentence in said:
        assert sentence.endswith(".") and len(sentence) < 400, sentence
    assert "bone map" in said[1] and "Blender" in said[6]
    said = error_of(bpy.ops.humansplat.retarget_armature)
    assert said == "Choose the armature that has the motion as the source."
    assert snapshot() == before


def test_without_an_avatar_nothing_can_be_done(package: Path) -> None:
    assert not bpy.ops.humansplat.import_motion.poll()
    import_avatar(package)
    bpy.context.view_layer.objects.active = None
    assert bpy.ops.humansplat.import_motion.poll()  # the only one
    import_avatar(package)
    bpy.context.view_layer.objects.active = None
    assert not bpy.ops.humansplat.library_motion.poll()


def test_retarget_follow_and_stop(package: Path) -> None:
    avatar = import_avatar(package)
    armature = add_armature(lively_source(30), arms=45.0)
    bpy.context.view_layer.objects.active = avatar
    bpy.context.scene.humansplat_motion.source = armature
    assert bpy.ops.humansplat.retarget_armature() == {"FINISHED"}
    assert tuple(avatar.animation_data.action.curve_frame_range) == (1, 30)
    # Keys stand at the source's frames.
    whole = curves_of(avatar.animation_data.action)
    assert bpy.ops.humansplat.retarget_armature(
        source="Source", whole=False, frame_start=5, frame_end=20, origin="source", **FREE
    ) == {"FINISHED"}
    assert tuple(avatar.animation_data.action.curve_frame_range) == (5, 20)
    assert whole.keys() == curves_of(avatar.animation_data.action).keys()
    assert bpy.ops.humansplat.follow_armature(source="Source") == {"FINISHED"}
    assert motion.live_source(avatar) == armature
    assert bpy.ops.humansplat.stop_following() == {"FINISHED"}
    assert motion.live_source(avatar) is None
    bpy.ops.humansplat.follow_armature(source="Source")
    bpy.ops.humansplat.library_motion(motion="idle")
    assert motion.live_source(avatar) is None


def test_one_undo_step(package: Path) -> None:
    name = import_avatar(package).name
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.humansplat.library_motion("EXEC_DEFAULT", True, motion="walk")
    assert bpy.data.actions
    bpy.ops.ed.undo()
    assert not bpy.data.actions and bpy.data.objects[name].animation_data is None


def test_every_entry_of_the_library(package: Path) -> None:
    avatar = import_avatar(package)
    for entry in library():
        assert bpy.ops.humansplat.library_motion(motion=entry.name, keys="source") == {"FINISHED"}
        if entry.loops:
            assert avatar.animation_data.action.use_cyclic


def test_bone_maps_are_written_edited_and_used(package: Path, tmp_path: Path) -> None:
    avatar = import_avatar(package)
    strange = RIGIFY | {"left_knee": "unterschenkel links", "head": "kopf", "neck": "hals"}
    armature = add_armature(lively_source(10), names=strange)
    bpy.context.view_layer.objects.active = avatar
    bpy.context.scene.humansplat_motion.source = armature
    assert "left_knee" in error_of(bpy.ops.humansplat.retarget_armature)
    path = tmp_path / "rig.json"
    assert bpy.ops.humansplat.save_bone_map(filepath=str(path)) == {"FINISHED"}
    assert bpy.context.scene.humansplat_motion.bone_map == str(path)
    text = path.read_text()
    assert '"left_hip": "thigh.L"' in text and '"left_knee": null' in text and "unterschenkel links" in text
    assert "lacks" in error_of(bpy.ops.humansplat.retarget_armature, bone_map=str(path))
    text = text.replace('"left_knee": null', '"left_knee": "unterschenkel links"').replace(
        '"neck": null', '"neck": "hals"'
    )
    path.write_text(text)
    assert bpy.ops.humansplat.retarget_armature(bone_map=str(path)) == {"FINISHED"}


def test_assets(package: Path) -> None:
    avatar = import_avatar(package)
    made = motion.make_motion_assets(bpy.context, avatar)
    assert avatar.animation_data is None
    assert len(made) == len(library()) == len(bpy.data.actions)
    for action, entry in zip(made, library()):
        assert action.asset_data.description == entry.description
        assert action.name == f"{avatar.name} {entry.label}"
        assert "HumanSplat" in {tag.name for tag in action.asset_data.tags}
        pixels = np.array(action.preview.image_pixels_float).reshape(*action.preview.image_size, 4)
        assert 0.03 < (pixels[..., 3] > 0.5).mean() < 0.6
        assert (pixels[[0, -1], :, 3] == 0).all() and (pixels[:, [0, -1], 3] == 0).all(), entry.name
    # Again: the former ones go.
    assert bpy.ops.humansplat.make_motion_assets() == {"FINISHED"}
    assert len(bpy.data.actions) == len(library()) and not any(".0" in action.name for action in bpy.data.actions)
    # An asset plays on the avatar that it is of.
    walk = next(action for action in bpy.data.actions if action.name.endswith("Walk"))
    actions.assign(avatar, actions.own(walk))
    bpy.context.scene.frame_set(5)
    assert np.abs(scene.read_pose(avatar, bpy.context.evaluated_depsgraph_get())[0][1:]).max() > 0.1
    bpy.ops.humansplat.make_motion_assets()
    assert avatar.animation_data.action == walk and walk.asset_data is None


def test_files_are_dropped_on_the_view(package: Path) -> None:
    for cls in (operators.HUMANSPLAT_FH_bvh, operators.HUMANSPLAT_FH_npz):
        assert cls.bl_import_operator == "humansplat.import_motion"
        assert not cls.poll_drop(bpy.context)
    import_avatar(package)

    class View:
        type = "VIEW_3D"

    class Context:
        area = View
        object = None
        scene = bpy.context.scene

    assert operators.HUMANSPLAT_FH_bvh.poll_drop(Context)
    import_avatar(package)
    assert not operators.HUMANSPLAT_FH_bvh.poll_drop(Context)
    assert target.find_target(bpy.context) is not None
    assert len(JOINT_NAMES) == 24
