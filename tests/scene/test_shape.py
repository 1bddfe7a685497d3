"""Shape sliders change nothing at 0, leave the bones where they are, and take splats and clothed mesh along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import shape

from backend.avatar import Avatar, load_avatar, save_avatar
from backend.avatar.skinning import PRESERVE_VOLUME
from tests.synthetic import make_pose, make_shipped_avatar


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package on a shipped body."""
    folder = tmp_path_factory.mktemp("avatars") / "person"
    save_avatar(replace(make_shipped_avatar(), preserve_volume=PRESERVE_VOLUME), folder)
    return folder


def _vertices(body: bpy.types.Object) -> np.ndarray:
    mesh = body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    places = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", places)
    return places.reshape(-1, 3).astype(np.float64)


def _set(avatar: scene.ImportedAvatar, name: str, value: float) -> None:
    avatar.armature[name] = value
    avatar.armature.update_tag()
    bpy.context.view_layer.update()


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("ni,ni->", a, np.cross(b, c)) / 6)


def _imported(person: Path) -> tuple[scene.ImportedAvatar, Avatar]:
    return scene.import_avatar(bpy.context, person), load_avatar(person)


def test_sliders_change_nothing_at_zero_and_leave_no_trace(person: Path) -> None:
    avatar, _ = _imported(person)
    scene.apply_pose(avatar.armature, make_pose(1, 0.4), (0.1, 1.0, 0.2))
    vertices, splats = _vertices(avatar.body), scene.read_splats(bpy.context, avatar.splats)

    def unchanged() -> None:
        found = scene.read_splats(bpy.context, avatar.splats)
        np.testing.assert_allclose(_vertices(avatar.body), vertices, atol=1e-6)
        np.testing.assert_allclose(found.position, splats.position, atol=1e-6)
        np.testing.assert_allclose(found.rotation, splats.rotation, atol=1e-6)
        np.testing.assert_allclose(found.scale, splats.scale, atol=1e-6)

    shape.add_shape_sliders(bpy.context, avatar)
    assert shape.has_shape_sliders(avatar.armature)
    unchanged()
    _set(avatar, shape.HEAVIER, 1.0)
    _set(avatar, shape.TALLER, 0.2)
    assert np.abs(_vertices(avatar.body) - vertices).max() > 0.02
    shape.remove_shape_sliders(bpy.context, avatar)
    assert avatar.body.data.shape_keys is None and not shape.has_shape_sliders(avatar.armature)
    unchanged()


def test_heavier_adds_volume_and_moves_no_bone(person: Path) -> None:
    avatar, package = _imported(person)
    shape.add_shape_sliders(bpy.context, avatar)
    scene.rest_pose(avatar.armature)
    bpy.context.view_layer.update()
    count, faces = len(package.body.vertices), package.body.faces
    bones = {bone.name: bone.matrix.copy() for bone in avatar.armature.pose.bones}
    before = _vertices(avatar.body)
    sizes = scene.read_splats(bpy.context, avatar.splats).scale
    _set(avatar, shape.HEAVIER, 1.0)
    after = _vertices(avatar.body)
    grown = _volume(after[:count], faces) / _volume(before[:count], faces)
    print(f"Heavier at 1: {grown:.3f} times the volume, height {np.ptp(after[:, 2]) / np.ptp(before[:, 2]):.4f} times")
    assert 1.15 < grown < 1.3
    assert abs(np.ptp(after[:, 2]) / np.ptp(before[:, 2]) - 1) < 0.01
    for bone in avatar.armature.pose.bones:
        assert bone.matrix == bones[bone.name]
    # The clothed mesh lies on this naked body: it goes along.
    moved = after - before
    assert 0.01 < np.linalg.norm(moved, axis=1).max() < 0.1
    some = np.arange(count, len(after), 97)
    nearest = [np.linalg.norm(before[:count] - place, axis=1).argmin() for place in before[some]]
    assert np.median(np.linalg.norm(moved[some] - moved[nearest], axis=1)) < 5e-4
    wider = scene.read_splats(bpy.context, avatar.splats).scale / sizes
    assert 1.01 < np.median(wider) < 1.2


def test_taller_is_the_same_person_in_another_size(person: Path) -> None:
    avatar, _ = _imported(person)
    shape.add_shape_sliders(bpy.context, avatar)
    scene.apply_pose(avatar.armature, make_pose(2, 0.4), (0.1, 1.0, 0.2))
    vertices, splats = _vertices(avatar.body), scene.read_splats(bpy.context, avatar.splats)
    _set(avatar, shape.TALLER, 0.1)
    found = scene.read_splats(bpy.context, avatar.splats)
    np.testing.assert_allclose(_vertices(avatar.body), 1.1 * vertices, atol=5e-6)
    np.testing.assert_allclose(found.position, 1.1 * splats.position, atol=1e-5)
    np.testing.assert_allclose(found.scale, 1.1 * splats.scale, rtol=1e-4)


def test_sliders_can_be_keyed_and_copies_have_their_own(person: Path) -> None:
    avatar, _ = _imported(person)
    shape.add_shape_sliders(bpy.context, avatar)
    for frame, value in ((1, 0.0), (11, 1.0)):
        avatar.armature[shape.HEAVIER] = value
        avatar.armature.keyframe_insert(f'["{shape.HEAVIER}"]', frame=frame)
    bpy.context.scene.frame_set(1)
    thin = _vertices(avatar.body)
    bpy.context.scene.frame_set(11)
    heavy = _vertices(avatar.body)
    assert np.abs(heavy - thin).max() > 0.01
    copy = scene.duplicate_avatar(bpy.context, avatar)
    avatar.armature.animation_data_clear()
    _set(avatar, shape.HEAVIER, 0.0)
    copy.armature.animation_data.action = None
    _set(copy, shape.HEAVIER, 1.0)
    np.testing.assert_allclose(_vertices(copy.body), heavy, atol=1e-6)


def test_a_replacement_takes_the_sliders_over(person: Path) -> None:
    old, new = _imported(person)[0], _imported(person)[0]
    shape.add_shape_sliders(bpy.context, old)
    _set(old, shape.HEAVIER, 1.0)
    _set(old, shape.TALLER, 0.1)
    expected = _vertices(old.body)
    replaced = scene.replace_avatar(bpy.context, old, new)
    np.testing.assert_allclose(_vertices(replaced.body), expected, atol=1e-5)


def test_other_bodies_are_refused_in_a_sentence(package: Path) -> None:
    avatar = scene.import_avatar(bpy.context, package)
    with pytest.raises(ValueError, match="ships with HumanSplat"):
        shape.add_shape_sliders(bpy.context, avatar)
    assert avatar.body.data.shape_keys is None and not shape.has_shape_sliders(avatar.armature)


def test_files_of_older_versions_know_their_body_by_its_licence(person: Path) -> None:
    avatar, _ = _imported(person)
    del avatar.armature[shape.BODY_MODEL]
    shape.add_shape_sliders(bpy.context, avatar)
    assert len(avatar.body.data.shape_keys.key_blocks) == len(shape.SLIDERS)
