"""One package, one collection: what is made, what is named, and what is left behind on failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from humansplat.backend.avatar import AvatarFormatError
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, convert, importer
from mathutils import Vector

from backend.avatar import load_avatar, standing_translation
from tests.hostile_packages import hostile_packages
from tests.synthetic import JOINT_NAMES


def _census() -> dict[str, set[str]]:
    names = ("collections", "objects", "meshes", "armatures", "pointclouds", "materials", "node_groups", "cameras")
    return {name: {block.name for block in getattr(bpy.data, name)} for name in names}


def test_collection_holds_splats_body_and_armature(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    assert imported.collection.name == imported.armature.name == package.name
    assert set(imported.collection.objects) == {imported.splats, imported.body, imported.armature}
    assert imported.collection.name in bpy.context.scene.collection.children
    assert imported.splats.parent == imported.body.parent == imported.armature
    assert bpy.context.view_layer.objects.active == imported.armature
    assert set(bpy.context.selected_objects) == set(imported.objects)
    for obj in (imported.splats, imported.body, imported.armature):
        assert np.array_equal(obj.matrix_world, np.eye(4))
        assert scene.find_avatar(obj) == imported


def test_splat_attributes(package: Path) -> None:
    avatar = load_avatar(package)
    splats = scene.import_avatar(bpy.context, package).splats
    assert splats.type == ("POINTCLOUD" if scene.has_native_splats() else "MESH")
    types = {name: splats.data.attributes[name].data_type for name in ("rotation", "scale", "radiance:base")}
    wide = "FLOAT4" if attributes.has_data_type("FLOAT4") else "FLOAT_COLOR"
    assert types == {"rotation": "QUATERNION", "scale": "FLOAT_VECTOR", "radiance:base": wide}
    x, y, z = (avatar.gaussians.position + standing_translation(avatar)).T
    np.testing.assert_allclose(attributes.read_points(splats.data, "position"), np.column_stack([x, -z, y]), atol=1e-6)
    np.testing.assert_array_equal(attributes.read_points(splats.data, "scale"), avatar.gaussians.scale)
    radiance = attributes.read_points(splats.data, "radiance:base")
    np.testing.assert_allclose(radiance[:, :3], avatar.gaussians.sh_dc)
    np.testing.assert_allclose(radiance[:, 3], avatar.gaussians.opacity)
    np.testing.assert_array_equal(attributes.read_points(splats.data, "bind:vertex_2"), avatar.skin.vertex_ids[:, 2])
    np.testing.assert_array_equal(attributes.read_points(splats.data, "seen"), avatar.skin.seen)


def test_body_is_the_clothed_mesh_beside_bare_points(package: Path) -> None:
    avatar = load_avatar(package)
    body = scene.import_avatar(bpy.context, package).body
    assert not body.hide_get() and not body.hide_select
    assert body.visible_shadow and not body.visible_camera
    assert [group.name for group in body.vertex_groups] == list(JOINT_NAMES)
    assert body.modifiers[0].object == body.parent
    count = len(avatar.body.surface_vertices)
    weights = np.zeros((len(body.data.vertices), 24))
    for vertex in body.data.vertices:
        for element in vertex.groups:
            weights[vertex.index, element.group] = element.weight
    np.testing.assert_allclose(weights[:count], avatar.body.surface_weights, atol=2e-6)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    faces = np.array([polygon.vertices[:] for polygon in body.data.polygons])
    assert faces.min() >= count and faces.max() < len(weights)


def test_solid_view_colours_come_from_the_splats(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package)
    body = imported.body.data
    assert 4 < len(body.materials) <= 24
    # The viewport colour of each face that has splats within a centimetre is near the colour of the nearest.
    places = convert.to_blender(avatar.gaussians.position + standing_translation(avatar))
    errors = []
    for polygon in list(body.polygons)[::40]:
        distance = np.linalg.norm(places - np.array(polygon.center), axis=1)
        if distance.min() < 0.01:
            near = np.argsort(distance)[:8]
            colour = np.array(body.materials[polygon.material_index].diffuse_color[:3])
            display = np.where(colour < 0.0031, 12.92 * colour, 1.055 * np.maximum(colour, 1e-9) ** (1 / 2.4) - 0.055)
            errors.append(np.abs(display - avatar.gaussians.rgb[near].mean(0)).mean())
    assert len(errors) > 30
    assert np.mean(errors) < 0.12


def test_arrival_stands_at_the_given_place(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package, location=(1.0, -2.0, 0.5))
    scene.rest_pose(imported.armature)
    found = scene.read_splats(bpy.context, imported.splats, world=True)
    place = convert.to_blender(found.position)
    surface = load_avatar(package).body.surface_vertices
    assert abs(place[:, 2].min() - 0.5) < 0.05
    np.testing.assert_allclose(place[:, :2].mean(0), [1.0, -2.0], atol=0.1)
    assert np.ptp(place[:, 2]) > 0.8 * np.ptp(surface[:, 1])


def test_import_twice_gives_two_avatars(package: Path) -> None:
    first = scene.import_avatar(bpy.context, package)
    shared = {group.name for group in bpy.data.node_groups}
    second = scene.import_avatar(bpy.context, package)
    assert {group.name for group in bpy.data.node_groups} == shared
    names = [o.name for one in (first, second) for o in (one.splats, one.body, one.armature)]
    assert len(set(names)) == 6
    scene.rest_pose(second.armature)
    before = scene.read_splats(bpy.context, first.splats).position
    after = scene.read_splats(bpy.context, second.splats).position
    assert np.abs(before - after).max() > 0.1
    assert scene.find_armature(bpy.context.scene, package) in (first.armature, second.armature)
    assert scene.find_armature(bpy.context.scene, package.parent) is None


def test_origin_is_noted(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    for owner in (imported.collection, imported.armature):
        assert owner["humansplat_generator"] == "humansplat 0.1.0 surface"
        assert owner["humansplat_licences"] == "tubes: CC0-1.0"
        assert owner["humansplat_source"] == "photo.jpg"


def test_broken_package_leaves_nothing(package: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(package, tmp_path / "broken")
    metadata = json.loads((broken / "avatar.json").read_text("utf-8"))
    metadata["version"] = 99
    (broken / "avatar.json").write_text(json.dumps(metadata), "utf-8")
    before = _census()
    with pytest.raises(AvatarFormatError) as error:
        scene.import_avatar(bpy.context, broken)
    assert str(error.value).count(".") >= 1 and "\n" not in str(error.value)
    assert _census() == before


@pytest.mark.parametrize(
    "step", ["create_armature", "create_body", "paint_body", "create_splats", "bind_splats", "_note_origin"]
)
def test_failure_half_way_leaves_nothing(package: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        if step == "create_armature":  # in the middle of it
            bpy.ops.object.armature_add(enter_editmode=True)
        raise RuntimeError("no")

    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.empty_add()
    bpy.context.view_layer.objects.active = cube
    selected = set(bpy.context.selected_objects)
    monkeypatch.setattr(importer, step, fail)
    before = _census()
    with pytest.raises(RuntimeError, match="no"):
        scene.import_avatar(bpy.context, package)
    assert _census() == before
    assert bpy.context.mode == "OBJECT" and bpy.context.object == cube
    assert set(bpy.context.selected_objects) == selected


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT"])
def test_failure_gives_the_mode_back(mode: str) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.mode_set(mode=mode)
    with pytest.raises(ValueError), importer.selection_kept(bpy.context):
        bpy.ops.object.mode_set(mode="OBJECT")
        bpy.ops.object.select_all(action="DESELECT")
        bpy.ops.object.camera_add()
        raise ValueError
    assert bpy.context.object == cube and cube.mode == mode


def test_meshes_are_valid(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    faces = len(imported.body.data.polygons)
    for obj in (imported.body, imported.splats):
        if isinstance(obj.data, bpy.types.Mesh):
            assert obj.data.validate(verbose=True) is False  # nothing was to be corrected
    assert len(imported.body.data.polygons) == faces > 1000


def test_strangers_packages_open_or_leave_nothing(package: Path, tmp_path: Path) -> None:
    cases = hostile_packages(package, tmp_path / "cases")
    wanted = [case for case in cases if case.expected == "opens" or case.name.startswith(("faces", "json_p", "skin_1"))]
    assert len(wanted) > 20
    before = _census()
    for case in wanted:
        if case.expected == "refused":
            with pytest.raises(AvatarFormatError):
                scene.import_avatar(bpy.context, case.path)
            assert _census() == before, case.name
    for name in ("ply_no_turns", "faces_half_without_area", "faces_repeated"):
        imported = scene.import_avatar(bpy.context, tmp_path / "cases" / name)
        assert imported.body.data.validate() is False, name
        bpy.context.view_layer.update()
        corners = np.array([imported.splats.evaluated_get(bpy.context.evaluated_depsgraph_get()).bound_box])
        assert np.isfinite(corners).all() and np.abs(corners).max() < 10, name


def test_photo_camera_projects_as_the_photo_did(package: Path) -> None:
    avatar = load_avatar(package)
    imported = scene.import_avatar(bpy.context, package, camera=True)
    scene.match_render_size(bpy.context.scene, imported.camera)
    bpy.context.view_layer.update()
    camera = avatar.camera
    points = np.array([[0.3, 1.2, 0.1], [-0.4, 0.5, -0.2], [0.0, 0.9, 0.0]])
    seen = np.column_stack([points, np.ones(3)]) @ np.asarray(camera.world_to_camera).T
    pixels = np.column_stack(
        [camera.fx * seen[:, 0] / seen[:, 2] + camera.cx, camera.fy * seen[:, 1] / seen[:, 2] + camera.cy]
    )
    for (x, y, z), expected in zip(points, pixels):
        u, v, _ = world_to_camera_view(bpy.context.scene, imported.camera, Vector((x, -z, y)))
        np.testing.assert_allclose([u * camera.width, (1 - v) * camera.height], expected, atol=0.01)


def test_scene_setup_says_what_it_changes() -> None:
    settings = bpy.context.scene
    changes = scene.scene_setup(settings)
    assert settings.view_settings.view_transform == "Standard"
    assert settings.cycles.transparent_max_bounces >= 128
    assert any("Standard" in change for change in changes)
    assert scene.scene_setup(settings) == []
