"""Splats lit by lamps, and the shadow that the body casts for them, in Cycles."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes
from humansplat.humansplat_blender.scene.nodes.build import set_input
from humansplat.humansplat_blender.scene.nodes.display import LIT_BY_LAMPS
from humansplat.humansplat_blender.scene.nodes.material import AXIS
from mathutils import Euler
from support import add_orthographic_camera, add_plain_splats, prepare_cycles, render_pixels, show_viewport_form

from backend.avatar import from_rgb, save_avatar
from tests.synthetic import make_avatar

pytestmark = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")

PIXELS = 48
SUN = 3.0  # W/m2


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar without gaps, through which the side in the shadow would be seen."""
    folder = tmp_path_factory.mktemp("avatars") / "dense"
    save_avatar(make_avatar(20_000), folder)
    return folder


@pytest.fixture
def lit(dense: Path) -> scene.ImportedAvatar:
    """An avatar that lamps alone light, in an empty black world, seen from the front."""
    imported = scene.import_avatar(bpy.context, dense)
    scene.rest_pose(imported.armature)
    set_input(scene.display_modifier(imported.splats), LIT_BY_LAMPS, 1.0)
    _prepare()
    bpy.context.scene.camera.location.z = 0.9
    return imported


def _prepare() -> None:
    """A front view of 2 m in a black world."""
    add_orthographic_camera(2.0)
    prepare_cycles(PIXELS, PIXELS, 32)
    scene.scene_setup(bpy.context.scene)
    bpy.context.scene.world = None


def _sun(rotation: tuple[float, float, float]) -> bpy.types.Object:
    """A sun that shines along its own -z."""
    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle = SUN, 0.0
    sun = bpy.data.objects.new("sun", lamp)
    sun.rotation_euler = Euler(rotation)
    bpy.context.scene.collection.objects.link(sun)
    return sun


def _brightness(pixels: np.ndarray) -> float:
    """Mean colour of what is solid, without the background's share."""
    solid = pixels[..., 3] > 0.5
    assert solid.sum() > 50
    return float(pixels[solid][:, :3].sum() / pixels[solid][:, 3].sum() / 3)


@pytest.mark.parametrize("form", ["solids", "points"])
@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_a_splat_reflects_as_lambert_says(form: str, tilt: float, tmp_path: Path) -> None:
    """A ball and two discs, white, turned away from the sun by `tilt` radians: sun / pi * cos(tilt)."""
    rotation = np.tile([np.cos(tilt / 2), 0, 0, np.sin(tilt / 2)], (3, 1))
    scale = np.array([[0.15, 0.15, 0.15], [0.15, 0.01, 0.15], [0.15, 0.05, 0.15]])
    places = np.array([[-0.6, 0, 0], [0, 0, 0], [0.6, 0, 0]])
    splats = add_plain_splats(from_rgb(places, rotation, scale, np.full(3, 0.99), np.ones((3, 3))))
    attributes.write_points(splats.data, {AXIS: ("FLOAT_VECTOR", np.tile([0.0, -1.0, 0.0], (3, 1)))})
    splats.visible_shadow = splats.visible_diffuse = False  # as an avatar's
    set_input(splats.modifiers[0], LIT_BY_LAMPS, 1.0)
    if form == "points":
        show_viewport_form(splats.modifiers[0].node_group)
    _prepare()
    _sun((np.pi / 2, 0, 0))
    pixels = render_pixels(tmp_path / "lambert.exr")
    middle = pixels[PIXELS // 2, [int((x + 1) / 2 * PIXELS) for x in places[:, 0]]]
    np.testing.assert_allclose(middle[:, 0] / middle[:, 3], SUN / np.pi * np.cos(tilt), rtol=0.05)


def test_without_lamps_splats_are_black_and_the_sun_lights_its_side(lit: scene.ImportedAvatar, tmp_path: Path) -> None:
    assert _brightness(render_pixels(tmp_path / "dark.exr")) < 1e-4
    sun = _sun((np.pi / 2, 0, 0))  # along +y: onto the front
    front = _brightness(render_pixels(tmp_path / "front.exr"))
    sun.rotation_euler.x = -np.pi / 2
    back = _brightness(render_pixels(tmp_path / "back.exr"))
    assert front > 0.03
    assert front > 3 * back
    # From the person's left, which is to the right in the picture.
    sun.rotation_euler = Euler((0, np.pi / 2, 0))
    pixels = render_pixels(tmp_path / "side.exr")
    torso = np.s_[24:30, PIXELS // 2 - 4 : PIXELS // 2 + 4]
    left, right = np.split(pixels[torso][..., :3].mean(axis=(0, 2)), 2)
    assert right.mean() > 1.5 * left.mean()


def test_splats_do_not_shade_themselves(lit: scene.ImportedAvatar, tmp_path: Path) -> None:
    """The lit side is as bright with the body's shadow as without, though splats lie on either side of the body."""
    _sun((np.pi / 2, 0, 0))
    shadowed = _brightness(render_pixels(tmp_path / "shadow.exr"))
    lit.body.visible_shadow = False
    assert shadowed == pytest.approx(_brightness(render_pixels(tmp_path / "none.exr")), rel=0.1)


def test_the_body_casts_a_shadow_on_a_wall(lit: scene.ImportedAvatar, tmp_path: Path) -> None:
    bpy.ops.mesh.primitive_plane_add(size=4, location=(0, 2, 0.9), rotation=(np.pi / 2, 0, 0))
    _sun((np.pi / 2, 0, np.radians(30)))
    lit.splats.hide_render = True
    shadowed = render_pixels(tmp_path / "shadow.exr")[..., :3].mean(axis=2)
    lit.body.visible_shadow = False
    bright = render_pixels(tmp_path / "none.exr")[..., :3].mean(axis=2)
    assert bright.min() > 0.1
    in_shadow = shadowed < 0.3 * bright
    assert 0.01 < in_shadow.mean() < 0.3
    np.testing.assert_allclose(shadowed[~in_shadow].max(), bright.max(), rtol=0.05)
