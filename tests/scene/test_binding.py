"""Splats follow the armature as numpy says they should, wherever the avatar stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, convert
from humansplat.humansplat_blender.scene.nodes.build import get_input, set_input
from humansplat.humansplat_blender.scene.nodes.display import EXACT_VIEWPORT, SPLAT_SIZE, VIEWPORT_AMOUNT
from humansplat.humansplat_blender.scene.splats import DISPLAY_MODIFIER
from mathutils import Euler, Matrix

from backend.avatar import (
    Avatar,
    Gaussians,
    load_avatar,
    pose_gaussians,
    save_avatar,
)
from backend.avatar.quaternion import multiply, to_matrix
from backend.avatar.skinning import PRESERVE_VOLUME, STRETCH_LIMITS
from tests.synthetic import make_avatar, make_pose

needs_display = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")


def _axes(gaussians: Gaussians) -> np.ndarray:
    return to_matrix(gaussians.rotation.astype(np.float64))


def _compare(found: Gaussians, expected: Gaussians, avatar: Avatar) -> None:
    np.testing.assert_allclose(found.position, expected.position, atol=1e-5)
    np.testing.assert_allclose(_axes(found), _axes(expected), atol=1e-5)
    np.testing.assert_array_equal(found.sh_dc, avatar.gaussians.sh_dc)
    np.testing.assert_allclose(found.opacity, avatar.gaussians.opacity, atol=1e-7)


def test_rest_pose_returns_the_canonical_splats(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    scene.apply_pose(imported.armature, np.zeros((24, 3)))
    _compare(scene.read_splats(bpy.context, imported.splats), avatar.gaussians, avatar)


def test_photo_pose_is_set_on_import(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    expected = pose_gaussians(avatar, avatar.pose, avatar.translation)
    _compare(scene.read_splats(bpy.context, imported.splats), expected, avatar)


@pytest.mark.parametrize("share", [0.0, PRESERVE_VOLUME, 1.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_pose(tmp_path: Path, seed: int, share: float) -> None:
    save_avatar(replace(make_avatar(), preserve_volume=share), tmp_path / "tubes")
    avatar = load_avatar(tmp_path / "tubes")
    imported = scene.import_avatar(bpy.context, tmp_path / "tubes")
    pose, translation = make_pose(seed, 0.6), np.array([0.1, 1.2, -0.3])
    scene.apply_pose(imported.armature, pose, translation)
    found, expected = scene.read_splats(bpy.context, imported.splats), pose_gaussians(avatar, pose, translation)
    _compare(found, expected, avatar)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=4e-5)


def test_two_hundred_random_poses(tmp_path: Path) -> None:
    """As numpy has them, finite, and no splat grown beyond the clamp."""
    save_avatar(replace(make_avatar(300), preserve_volume=PRESERVE_VOLUME), tmp_path / "few")
    avatar = load_avatar(tmp_path / "few")
    imported = scene.import_avatar(bpy.context, tmp_path / "few")
    translation = np.array([0.2, 1.0, 0.1])
    with scene.readable(imported.splats):
        for seed in range(200):
            pose = make_pose(seed, 0.5)
            scene.apply_pose(imported.armature, pose, translation)
            found = scene.read_splats(bpy.context, imported.splats)
            np.testing.assert_allclose(found.position, pose_gaussians(avatar, pose, translation).position, atol=1e-5)
            assert np.isfinite(found.rotation).all() and np.isfinite(found.scale).all()
            assert (found.scale <= STRETCH_LIMITS[1] * 1.0001 * avatar.gaussians.scale).all()


def test_millimetre_triangles_turn_as_exactly(tmp_path: Path) -> None:
    """Frames of the splats' own triangles would be wrong by 1e-4 here: vertices are posed in float32."""
    save_avatar(make_avatar(20_000, detail=8), tmp_path / "fine")
    avatar = load_avatar(tmp_path / "fine")
    rest = avatar.body.surface_vertices.astype(np.float64)
    corners = rest[avatar.skin.vertex_ids]
    edges = corners - np.roll(corners, 1, axis=1)
    heights = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / np.linalg.norm(edges, axis=2).max(axis=1)
    assert (heights < 0.003).sum() > 1000
    imported = scene.import_avatar(bpy.context, tmp_path / "fine")
    for pose in (avatar.pose, make_pose(3, 0.6)):
        translation = np.array([0.4, 1.0, -0.2])
        scene.apply_pose(imported.armature, pose, translation)
        found, expected = scene.read_splats(bpy.context, imported.splats), pose_gaussians(avatar, pose, translation)
        _compare(found, expected, avatar)


def test_keyed_pose_follows_frames(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    elbow = imported.armature.pose.bones["left_elbow"]
    pose = np.zeros((24, 3))
    for frame, angle in ((1, 0.0), (11, 1.2)):
        pose[avatar.joint_names.index("left_elbow")] = (0.0, -angle, 0.0)
        scene.apply_pose(imported.armature, pose)
        elbow.keyframe_insert("rotation_quaternion", frame=frame)
    with scene.readable(imported.splats):
        for frame in (1, 11):
            bpy.context.scene.frame_set(frame)
            pose[avatar.joint_names.index("left_elbow")] = (0.0, -1.2 if frame == 11 else 0.0, 0.0)
            found = scene.read_splats(bpy.context, imported.splats)
            _compare(found, pose_gaussians(avatar, pose, np.zeros(3)), avatar)
    assert imported.splats.modifiers[DISPLAY_MODIFIER].show_viewport


def test_moving_the_armature_moves_everything(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    imported.armature.matrix_world = Matrix.LocRotScale((1, -2, 0.5), Euler((0.3, 0.2, 1.1)), (2, 2, 2))
    bpy.context.view_layer.update()
    found = scene.read_splats(bpy.context, imported.splats, world=True)
    placed = pose_gaussians(avatar, avatar.pose, avatar.translation)
    matrix = np.array(imported.armature.matrix_world, dtype=np.float64)
    position = convert.to_blender(placed.position) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(convert.to_blender(found.position), position, atol=2e-5)
    np.testing.assert_allclose(found.scale, 2 * placed.scale, rtol=2e-5)
    turned = (matrix[:3, :3] / 2) @ to_matrix(convert.orientations_to_blender(placed.rotation.astype(np.float64)))
    np.testing.assert_allclose(
        to_matrix(convert.orientations_to_blender(found.rotation.astype(np.float64))), turned, atol=1e-5
    )


@needs_display
def test_drawn_ellipsoids_have_the_splats_shape(tmp_path: Path) -> None:
    """World matrices of the instances: rotation, size at alpha = 1/255, and the avatar's own scale."""
    save_avatar(make_avatar(60), tmp_path / "few")
    avatar = load_avatar(tmp_path / "few")
    imported = scene.import_avatar(bpy.context, tmp_path / "few")
    display = imported.splats.modifiers[DISPLAY_MODIFIER]
    set_input(display, EXACT_VIEWPORT, True)
    set_input(display, SPLAT_SIZE, 1.5)
    imported.armature.scale = (2, 2, 2)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    found = np.array(
        [
            np.array(instance.matrix_world)
            for instance in depsgraph.object_instances
            if instance.is_instance and instance.parent.original == imported.splats
        ]
    )
    placed = pose_gaussians(avatar, avatar.pose, avatar.translation)
    support = np.sqrt(2 * np.log(255 * placed.opacity.astype(np.float64)))
    size = 2 * 1.5 * 1.26 * support[:, None] * placed.scale
    quaternions = multiply(np.array([0.5**0.5, 0.5**0.5, 0, 0]), placed.rotation.astype(np.float64))
    assert found.shape == (60, 4, 4)
    np.testing.assert_allclose(found[:, :3, 3], 2 * convert.to_blender(placed.position), atol=2e-5)
    np.testing.assert_allclose(found[:, :3, :3], to_matrix(quaternions) * size[:, None, :], atol=2e-5)


@needs_display
def test_viewport_amount_thins_the_points_and_keeps_their_area(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    display = imported.splats.modifiers[DISPLAY_MODIFIER]

    def points() -> tuple[int, float]:
        depsgraph = bpy.context.evaluated_depsgraph_get()
        clouds = [
            item.object.data
            for item in depsgraph.object_instances
            if item.object.type == "POINTCLOUD" and (item.parent or item.object).original == imported.splats
        ]
        assert len(clouds) == 1
        drawn = attributes.read_points(clouds[0], "splat:scale").astype(np.float64)
        return len(drawn), float((drawn**2).sum())

    full, area = points()
    set_input(display, VIEWPORT_AMOUNT, 25.0)
    reduced, reduced_area = points()
    assert full == 2000
    assert abs(reduced - 500) <= 10
    assert reduced_area == pytest.approx(area, rel=0.1)
    assert get_input(display, VIEWPORT_AMOUNT) == 25.0
