"""Brushes: what they select against numpy's projection, strokes, and the operators with their undo steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, convert, edits
from humansplat.humansplat_blender.scene.brush import Stroke, Tip, View, brush_weights, splats_under_brush
from humansplat.humansplat_blender.ui import brushes

pytestmark = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")

SIZE = (800, 600)


def _view(perspective: bool = True) -> View:
    """From 3 m in front (y = -3), at a height of 1 m, along +y; a view of 60 degrees or 2 m."""
    view = np.array([[1, 0, 0, 0], [0, 0, 1, -1], [0, -1, 0, -3], [0, 0, 0, 1]], dtype=np.float64)
    near, far, aspect = 0.1, 100.0, SIZE[0] / SIZE[1]
    if perspective:
        zoom = 1 / np.tan(np.radians(30))
        depth = [(far + near) / (near - far), 2 * far * near / (near - far)]
        window = np.array([[zoom / aspect, 0, 0, 0], [0, zoom, 0, 0], [0, 0, *depth], [0, 0, -1, 0]])
    else:
        window = np.diag([1 / aspect, 1.0, -2 / (far - near), 1.0])
    return View(view, window, *SIZE)


@pytest.mark.parametrize("perspective", [True, False])
def test_brush_selects_what_a_pinhole_camera_sees_in_the_circle(perspective: bool) -> None:
    positions = np.random.default_rng(0).uniform((-1, -5, 0), (1, 2, 2), (3000, 3))
    depth = positions[:, 1] + 3
    zoom = SIZE[1] / 2 * (1 / np.tan(np.radians(30)) / depth if perspective else np.ones(len(depth)))
    pixels = np.column_stack([positions[:, 0] * zoom + 400, (positions[:, 2] - 1) * zoom + 300])
    centre, radius = (450.0, 320.0), 70.0
    expected = np.linalg.norm(pixels - centre, axis=1) < radius
    if perspective:
        expected &= depth > 0
    found = splats_under_brush(positions, _view(perspective), centre, radius)
    assert 10 < expected.sum() < 1000
    np.testing.assert_array_equal(found, expected)


def test_only_front_spares_what_lies_behind() -> None:
    front = np.random.default_rng(1).uniform((-0.5, 0, 0.5), (0.5, 0, 1.5), (5000, 3))
    positions = np.concatenate([front, front + np.array([0, 0.02, 0]), front + np.array([0, 0.3, 0])])
    centre = (400.0, 300.0)
    everything = splats_under_brush(positions, _view(), centre, 60.0)
    found = splats_under_brush(positions, _view(), centre, 60.0, behind=0.05)
    assert everything[10000:].any()
    np.testing.assert_array_equal(found[:10000], everything[:10000])
    assert not found[10000:].any()
    # What is hidden hides nothing.
    visible = np.arange(15000) >= 10000
    found = splats_under_brush(positions, _view(), centre, 60.0, 0.05, visible)
    np.testing.assert_array_equal(found, everything & visible)


def test_a_drag_covers_the_way_between_its_ends() -> None:
    pixels = np.array([[0, 0], [50, 9], [50, 11], [100, 0], [115, 0], [np.inf, np.inf]], dtype=np.float64)
    weights = brush_weights(pixels, (0, 0), (100, 0), 10.0)
    np.testing.assert_array_equal(weights > 0, [True, True, False, True, False, False])
    assert weights[0] == 1


def test_strokes_erase_paint_and_restore(package: Path) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    world = convert.to_blender(scene.read_splats(bpy.context, splats, world=True).position)
    chest = world[np.argmin(np.linalg.norm(world - world.mean(axis=0), axis=1))]
    pixel = tuple(_view().project(chest[None])[0][0])

    def stroke(tip: Tip) -> int:
        made = Stroke(bpy.context, splats, _view(), tip)
        made.move(splats, pixel, pixel)
        return made.move(splats, pixel, (pixel[0] + 30, pixel[1]))

    count = stroke(Tip(erases=True, radius=30, behind=0.05))
    hidden = edits.read_hidden(splats)
    assert 0 < count == hidden.sum()
    assert stroke(Tip(erases=True, radius=30, behind=None)) > 0  # those behind, now in reach
    assert edits.read_hidden(splats).sum() > count
    stroke(Tip(erases=True, restores=True, radius=1000))
    assert not edits.has_edits(splats)

    painted = stroke(Tip(erases=False, radius=30, rgb=(1, 0, 0), strength=0.5))
    share = edits.read_colour(splats)[:, 3]
    assert (share > 0).sum() == painted
    assert share.max() == pytest.approx(0.5)  # the second move over the same place adds nothing
    before = edits.read_colour(splats)
    cancelled = Stroke(bpy.context, splats, _view(), Tip(erases=False, radius=60))
    cancelled.move(splats, pixel, pixel)
    assert not np.array_equal(edits.read_colour(splats), before)
    cancelled.cancel(splats)
    np.testing.assert_array_equal(edits.read_colour(splats), before)
    stroke(Tip(erases=False, restores=True, radius=1000))
    assert not edits.has_edits(splats)


@pytest.fixture
def operators() -> Iterator[None]:
    """The operators, registered where the whole add-on is not."""
    if hasattr(bpy.types.Scene, "humansplat_brush"):
        yield
        return
    for cls in brushes.CLASSES:
        bpy.utils.register_class(cls)
    brushes.register()
    yield
    brushes.unregister()
    for cls in reversed(brushes.CLASSES):
        bpy.utils.unregister_class(cls)


def _splats() -> bpy.types.Object:
    return scene.find_avatar(bpy.context.view_layer.objects.active).splats


@pytest.mark.usefixtures("operators")
def test_operators_are_one_undo_step_each(package: Path) -> None:
    scene.import_avatar(bpy.context, package)
    stored = attributes.read_points(_splats().data, "radiance:base")
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.humansplat.remove_floaters("EXEC_DEFAULT", True, radius=0.03, neighbours=3) == {"FINISHED"}
    removed = edits.read_hidden(_splats()).sum()
    assert removed > 0
    edits.paint(_splats(), np.arange(20), (1, 0, 0))
    bpy.ops.ed.undo_push(message="Paint Splats")  # as a stroke of the brush does
    assert bpy.ops.humansplat.clear_edits("EXEC_DEFAULT", True) == {"FINISHED"}
    assert not edits.has_edits(_splats())
    bpy.ops.ed.undo()
    assert edits.read_hidden(_splats()).sum() == removed
    assert (edits.read_colour(_splats())[:, 3] > 0).sum() == 20
    bpy.ops.ed.undo()
    assert edits.read_hidden(_splats()).sum() == removed
    assert not edits.read_colour(_splats()).any()
    bpy.ops.ed.undo()
    assert not edits.has_edits(_splats())
    np.testing.assert_array_equal(attributes.read_points(_splats().data, "radiance:base"), stored)
    bpy.ops.ed.redo()
    assert edits.read_hidden(_splats()).sum() == removed


@pytest.mark.usefixtures("operators")
def test_crop_box_operator(package: Path) -> None:
    imported = scene.import_avatar(bpy.context, package)
    assert bpy.ops.humansplat.add_crop_box() == {"FINISHED"}
    box = edits.crop_box(imported.splats)
    assert box.parent == imported.armature
    assert len(scene.read_splats(bpy.context, imported.splats)) == 2000
    box.location.x += 10
    bpy.context.view_layer.update()
    assert len(scene.read_splats(bpy.context, imported.splats)) == 0


@pytest.mark.usefixtures("operators")
def test_operators_need_an_avatar() -> None:
    for name in ("clear_edits", "add_crop_box", "remove_floaters", "erase_splats", "paint_splats"):
        assert not getattr(bpy.ops.humansplat, name).poll()
    settings = bpy.context.scene.humansplat_brush
    settings.only_front = False
    assert brushes.brush_tip(settings, erases=True, restores=False).behind is None
