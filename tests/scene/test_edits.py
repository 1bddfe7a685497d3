"""Edits that lose nothing: brightness, saturation, opacity cut, crop box, erased and painted splats."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, convert, edits
from humansplat.humansplat_blender.scene.nodes.build import get_input, set_input
from humansplat.humansplat_blender.scene.nodes.display import SPLAT_SIZE, VIEWPORT_AMOUNT
from humansplat.humansplat_blender.scene.nodes.edit import (
    BRIGHTNESS,
    COLOUR,
    CROP_BOX,
    HIDDEN,
    LUMINANCE,
    OPACITY_CUT,
    SATURATION,
)
from humansplat.humansplat_blender.scene.nodes.material import POINTS_ENLARGED
from mathutils import Euler, Matrix
from support import add_orthographic_camera, add_plain_splats, prepare_cycles, render_pixels, show_viewport_form

from backend.avatar import Gaussians, from_rgb, load_avatar
from backend.avatar.gaussians import rgb_from_sh

pytestmark = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")

FORMS = pytest.mark.parametrize("form", ["solids", "points"])
WIDTH, PIXELS = 2.0, 40
PLACES = np.array([[-0.6, 0, 0], [0, 0, 0], [0.6, 0, 0]])
COLOURS = np.array([[0.9, 0.3, 0.1], [0.2, 0.6, 0.4], [0.5, 0.5, 0.8]])


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _display(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def _three(opacity: tuple[float, ...] = (0.9, 0.9, 0.9)) -> bpy.types.Object:
    """A ball, a disc and a ball in a row, one colour each."""
    scale = np.array([[0.08, 0.08, 0.08], [0.08, 0.01, 0.08], [0.08, 0.08, 0.08]])
    return add_plain_splats(from_rgb(PLACES, np.tile([1.0, 0, 0, 0], (3, 1)), scale, np.array(opacity), COLOURS))


def _drawn(splats: bpy.types.Object, name: str) -> np.ndarray:
    """An attribute of the points that the viewport gets, in metres where it is a length."""
    clouds = [
        item.object.data
        for item in bpy.context.evaluated_depsgraph_get().object_instances
        if item.object.type == "POINTCLOUD" and (item.parent or item.object).original == splats
    ]
    assert len(clouds) == 1
    enlarged = POINTS_ENLARGED if name in ("position", "splat:scale") else 1.0
    return attributes.read_points(clouds[0], name) / np.float32(enlarged)


def _render(splats: bpy.types.Object, form: str, path: Path) -> np.ndarray:
    """[3, 4] premultiplied linear colour at the centres of the three splats."""
    if form == "points":
        show_viewport_form(splats.modifiers[0].node_group)
    add_orthographic_camera(WIDTH)
    prepare_cycles(PIXELS, PIXELS, 16)
    pixels = render_pixels(path)
    columns = ((PLACES[:, 0] + WIDTH / 2) / WIDTH * PIXELS).astype(int)
    return pixels[PIXELS // 2, columns]


def test_defaults_leave_the_radiance_alone(package: Path) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    stored = attributes.read_points(splats.data, "radiance:base")
    np.testing.assert_array_equal(_drawn(splats, "radiance:base"), stored)
    modifier = scene.display_modifier(splats)
    defaults = {BRIGHTNESS: 1.0, SATURATION: 1.0, OPACITY_CUT: 0.0, CROP_BOX: None}
    assert {name: get_input(modifier, name) for name in defaults} == defaults
    # And they come back bit by bit after every edit.
    edits.erase(splats, np.arange(50))
    edits.paint(splats, np.arange(30, 90), (1.0, 0.0, 0.0), 0.5)
    set_input(modifier, BRIGHTNESS, 1.7)
    set_input(modifier, SATURATION, 0.3)
    assert not np.array_equal(_drawn(splats, "radiance:base")[:, :3], stored[50:, :3])
    edits.clear_edits(splats)
    set_input(modifier, BRIGHTNESS, 1.0)
    set_input(modifier, SATURATION, 1.0)
    np.testing.assert_array_equal(_drawn(splats, "radiance:base"), stored)
    np.testing.assert_array_equal(attributes.read_points(splats.data, "radiance:base"), stored)
    assert not edits.has_edits(splats)
    assert {HIDDEN, COLOUR}.isdisjoint(splats.data.attributes.keys())


@pytest.mark.parametrize("brightness, saturation", [(1.0, 0.0), (0.5, 1.0), (3.0, 1.0), (1.4, 1.8)])
def test_brightness_and_saturation_are_the_closed_form(package: Path, brightness: float, saturation: float) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    modifier = scene.display_modifier(splats)
    set_input(modifier, BRIGHTNESS, brightness)
    set_input(modifier, SATURATION, saturation)
    stored = attributes.read_points(splats.data, "radiance:base").astype(np.float64)
    light = _linear(np.clip(rgb_from_sh(stored[:, :3]), 0, 1))
    grey = (light * LUMINANCE).sum(axis=1, keepdims=True)
    light = np.clip(brightness * (grey + saturation * (light - grey)), 0, 1)
    found = _drawn(splats, "radiance:base")
    np.testing.assert_allclose(rgb_from_sh(found[:, :3]), _display(light), atol=2e-5)
    np.testing.assert_array_equal(found[:, 3], stored[:, 3].astype(np.float32))
    if saturation == 0:
        assert np.ptp(found[:, :3], axis=1).max() < 1e-6


def test_painted_colours_are_mixed_in_display_space(package: Path) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    stored = attributes.read_points(splats.data, "radiance:base")
    rgb, share = np.array([0.1, 0.8, 0.3]), np.linspace(0, 1, 500)
    edits.paint(splats, np.arange(500), rgb, share)
    found = _drawn(splats, "radiance:base")
    own = rgb_from_sh(stored[:500, :3].astype(np.float64))
    expected = own + share[:, None] * (rgb - own)
    np.testing.assert_allclose(rgb_from_sh(found[:500, :3]), expected, atol=1e-5)
    np.testing.assert_array_equal(found[500:], stored[500:])
    # A second coat covers the first as a glaze.
    edits.paint(splats, np.arange(500), (0.0, 0.0, 0.0), 0.5)
    np.testing.assert_allclose(rgb_from_sh(_drawn(splats, "radiance:base")[:500, :3]), expected / 2, atol=1e-5)


@FORMS
def test_hidden_and_painted_splats_are_rendered_so(form: str, tmp_path: Path) -> None:
    splats = _three()
    edits.erase(splats, np.array([0]))
    edits.paint(splats, np.array([False, True, False]), (1.0, 0.0, 1.0))
    found = _render(splats, form, tmp_path / "edited.exr")
    assert found[0].max() == 0
    np.testing.assert_allclose(found[1, :3] / found[1, 3], [1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(found[2, :3] / found[2, 3], _linear(COLOURS[2]), rtol=1e-3)
    edits.clear_edits(splats)
    found = render_pixels(tmp_path / "restored.exr")[PIXELS // 2, [8, 20, 32]]
    np.testing.assert_allclose(found[:, :3] / found[:, 3:], _linear(COLOURS), rtol=1e-3)


@FORMS
def test_brightness_and_opacity_cut_are_rendered(form: str, tmp_path: Path) -> None:
    splats = _three((0.9, 0.3, 0.9))
    set_input(splats.modifiers[0], BRIGHTNESS, 0.5)
    set_input(splats.modifiers[0], OPACITY_CUT, 0.4)
    found = _render(splats, form, tmp_path / "cut.exr")
    assert found[1].max() == 0
    np.testing.assert_allclose(found[[0, 2], :3] / found[[0, 2], 3:], 0.5 * _linear(COLOURS[[0, 2]]), rtol=1e-3)


def test_crop_box_is_in_posed_space_and_moves_freely(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    splats = imported.splats
    imported.armature.matrix_world = Matrix.LocRotScale((1, -2, 0.5), Euler((0.3, 0.2, 1.1)), (2, 2, 2))
    bpy.context.view_layer.update()
    world = convert.to_blender(scene.read_splats(bpy.context, splats, world=True).position)
    box = bpy.data.objects.new("box", None)
    bpy.context.scene.collection.objects.link(box)
    for rotation, size in ((0.4, (0.5, 3.0, 1.0)), (1.2, (2.0, 0.4, 0.7))):
        box.matrix_world = Matrix.LocRotScale(world.mean(axis=0).tolist(), Euler((0.2, 0.1, rotation)), size)
        edits.set_crop_box(splats, box)
        bpy.context.view_layer.update()
        place = world @ np.linalg.inv(np.array(box.matrix_world))[:3, :3].T
        place += np.linalg.inv(np.array(box.matrix_world))[:3, 3]
        distance = np.abs(place).max(axis=1)
        inside = distance <= 1
        assert 50 < inside.sum() < 1950
        assert np.abs(distance - 1).min() > 1e-6
        drawn = _drawn(splats, "position")
        matrix = np.array(splats.matrix_world)
        np.testing.assert_allclose(drawn @ matrix[:3, :3].T + matrix[:3, 3], world[inside], atol=2e-5)
        cropped = scene.read_splats(bpy.context, splats, world=True)
        np.testing.assert_allclose(convert.to_blender(cropped.position), world[inside], atol=2e-5)
    # Deleting the box ends the crop.
    bpy.data.objects.remove(box)
    bpy.context.view_layer.update()
    assert len(_drawn(splats, "position")) == 2000


def test_a_new_crop_box_holds_everything_and_moves_with_the_avatar(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    splats = imported.splats
    imported.armature.matrix_world = Matrix.LocRotScale((3, 1, 0), Euler((0, 0, 0.5)), (1, 1, 1))
    bpy.context.view_layer.update()
    positions = convert.to_blender(scene.read_splats(bpy.context, splats).position)
    box = edits.add_crop_box(splats, positions)
    assert edits.crop_box(splats) == box
    assert len(_drawn(splats, "position")) == 2000
    box.scale.z *= 0.4
    bpy.context.view_layer.update()
    some = len(_drawn(splats, "position"))
    assert 0 < some < 2000
    imported.armature.location.x += 5
    bpy.context.view_layer.update()
    assert len(_drawn(splats, "position")) == some


def test_read_splats_gives_what_is_drawn(package: Path) -> None:
    """The numpy way of exports against the node group's, and the originals on request."""
    splats = scene.import_avatar(bpy.context, package).splats
    before = scene.read_splats(bpy.context, splats)
    np.testing.assert_array_equal(before.sh_dc, load_avatar(package).gaussians.sh_dc)
    modifier = scene.display_modifier(splats)
    random = np.random.default_rng(0)
    edits.erase(splats, random.random(2000) < 0.3)
    edits.paint(splats, random.random(2000) < 0.4, (0.9, 0.1, 0.3), 0.7)
    for name, value in ((BRIGHTNESS, 1.3), (SATURATION, 0.6), (OPACITY_CUT, 0.5), (SPLAT_SIZE, 1.5)):
        set_input(modifier, name, value)
    found = scene.read_splats(bpy.context, splats)
    radiance = _drawn(splats, "radiance:base")
    assert 100 < len(found) < 1400
    np.testing.assert_allclose(convert.to_blender(found.position), _drawn(splats, "position"), atol=1e-6)
    np.testing.assert_allclose(found.sh_dc, radiance[:, :3], atol=2e-5)
    np.testing.assert_array_equal(found.opacity, radiance[:, 3])
    np.testing.assert_allclose(found.scale, _drawn(splats, "splat:scale"), rtol=1e-5)
    original = scene.read_splats(bpy.context, splats, edited=False)
    for name in Gaussians.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(original, name), getattr(before, name))


def test_restore_gives_single_splats_back(package: Path) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    edits.erase(splats, np.arange(10))
    edits.paint(splats, np.arange(10), (1, 0, 0))
    edits.restore(splats, np.arange(5), colours=False)
    np.testing.assert_array_equal(np.flatnonzero(edits.read_hidden(splats)), np.arange(5, 10))
    edits.restore(splats, np.arange(8), hidden=False)
    np.testing.assert_array_equal(np.flatnonzero(edits.read_colour(splats)[:, 3]), [8, 9])
    edits.restore(splats, np.arange(10))
    assert not edits.has_edits(splats)


def test_erasing_does_not_shuffle_the_viewports_share(package: Path) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    set_input(scene.display_modifier(splats), VIEWPORT_AMOUNT, 25.0)
    before = {tuple(place) for place in _drawn(splats, "position")}
    edits.erase(splats, np.arange(200))
    after = {tuple(place) for place in _drawn(splats, "position")}
    assert after < before
    assert len(after) == pytest.approx(450, abs=10)


def test_a_copy_has_edits_of_its_own(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    edits.erase(imported.splats, np.arange(10))
    copy = scene.duplicate_avatar(bpy.context, imported)
    edits.clear_edits(imported.splats)
    assert edits.read_hidden(copy.splats).sum() == 10


def test_a_crop_box_is_copied_replaced_and_deleted_with_its_avatar(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    box = edits.add_crop_box(imported.splats, attributes.read_points(imported.splats.data, "position"))
    box.scale.z *= 0.4
    copy = scene.duplicate_avatar(bpy.context, imported)
    own = edits.crop_box(copy.splats)
    assert own not in (None, box)
    copy.armature.location.x += 5
    bpy.context.view_layer.update()
    some = len(scene.read_splats(bpy.context, imported.splats))
    assert len(scene.read_splats(bpy.context, copy.splats)) == some < 2000
    replaced = scene.replace_avatar(bpy.context, copy, scene.import_avatar(bpy.context, package))
    assert edits.crop_box(replaced.splats) == own
    assert own.parent == replaced.armature
    bpy.context.view_layer.update()
    assert len(scene.read_splats(bpy.context, replaced.splats)) == some
    scene.delete_avatar(imported)
    assert [obj for obj in bpy.data.objects if obj.type == "EMPTY"] == [own]


def test_floaters_are_those_with_few_neighbours() -> None:
    random = np.random.default_rng(2)
    positions = np.concatenate([random.normal(0, 0.1, (1500, 3)), random.uniform(-1, 1, (60, 3))]).astype(np.float32)
    for radius, minimum in ((0.05, 4), (0.2, 1), (0.03, 2)):
        distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
        expected = (distance <= radius).sum(axis=1) - 1 < minimum
        assert 0 < expected.sum() < len(positions)
        np.testing.assert_array_equal(edits.find_floaters(positions, radius, minimum), expected)
