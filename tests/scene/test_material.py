"""The splat shader against the closed form of a projected Gaussian, in Cycles."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender.scene import has_native_splats, scene_setup
from humansplat.humansplat_blender.scene.nodes.material import BALLS, DISCS, POINTS, splat_material
from support import add_orthographic_camera, add_plain_splats, prepare_cycles, render_pixels, show_viewport_form

from backend.avatar import from_rgb
from backend.avatar.quaternion import normalize, to_matrix

pytestmark = pytest.mark.skipif(has_native_splats(), reason="Blender draws splats itself")

FORMS = pytest.mark.parametrize("form", ["ellipsoids", "points"])
WIDTH = 2.0
PIXELS = 40


def _draw(gaussians: object, form: str, path: Path, samples: int = 128) -> np.ndarray:
    splats = add_plain_splats(gaussians)
    if form == "points":
        show_viewport_form(splats.modifiers[0].node_group)
    add_orthographic_camera(WIDTH)
    prepare_cycles(PIXELS, PIXELS, samples)
    scene_setup(bpy.context.scene)
    return render_pixels(path)


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@FORMS
@pytest.mark.parametrize("opacity", [0.95, 0.3])
def test_one_splat_is_the_projected_gaussian(form: str, opacity: float, tmp_path: Path) -> None:
    rotation = normalize(np.array([[0.9, 0.3, 0.2, 0.1]]))
    scale = np.array([[0.3, 0.1, 0.05]])
    rgb = np.array([[1.0, 0.5, 0.02]])
    pixels = _draw(from_rgb(np.zeros((1, 3)), rotation, scale, np.array([opacity]), rgb), form, tmp_path / "one.exr")

    turned = to_matrix(rotation[0]) * scale[0]
    covariance = (turned @ turned.T)[np.ix_([0, 2], [0, 2])]
    fine = 8 * PIXELS
    at = (np.arange(fine) + 0.5) / fine * WIDTH - WIDTH / 2
    offset = np.stack(np.meshgrid(at, at), axis=-1)
    power = np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset)
    alpha = opacity * np.exp(-0.5 * power)
    alpha[alpha < 1 / 255] = 0
    expected = alpha.reshape(PIXELS, 8, PIXELS, 8).mean(axis=(1, 3))
    assert np.abs(pixels[..., 3] - expected).max() < 0.006
    assert np.abs(pixels[..., 3] - expected).mean() < 5e-4

    solid = pixels[..., 3] > 0.1 * opacity
    colour = pixels[solid][:, :3] / pixels[solid][:, 3:]
    np.testing.assert_allclose(colour, np.broadcast_to(_linear(rgb), colour.shape), rtol=1e-3, atol=1e-5)


@FORMS
def test_colours_follow_the_srgb_curve(form: str, tmp_path: Path) -> None:
    """Colours outside 0..1 are clamped; the linear foot of the curve is used where it applies."""
    rgb = np.array([[0.0, 0.03, 0.05], [0.25, 0.6, 0.9], [1.3, -0.4, 1.0]])
    count = len(rgb)
    position = np.array([[-0.6, 0, 0], [0, 0, 0], [0.6, 0, 0]])
    gaussians = from_rgb(
        position, np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), 0.08), np.full(count, 0.9), rgb
    )
    pixels = _draw(gaussians, form, tmp_path / "colours.exr", samples=16)
    for centre, expected in zip(position, _linear(np.clip(rgb, 0, 1))):
        column = int((centre[0] + WIDTH / 2) / WIDTH * PIXELS)
        found = pixels[PIXELS // 2, column]
        np.testing.assert_allclose(found[:3] / found[3], expected, rtol=1e-3, atol=1e-5)


@FORMS
def test_a_near_splat_covers_a_far_one(form: str, tmp_path: Path) -> None:
    """Alpha compositing by depth, whatever the order of the data."""
    rgb = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    position = np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])  # the camera looks along +y: the red one is near
    opacity = np.array([0.9, 0.6])
    gaussians = from_rgb(position, np.tile([1.0, 0, 0, 0], (2, 1)), np.full((2, 3), 0.2), opacity, rgb)
    pixels = _draw(gaussians, form, tmp_path / "two.exr", samples=256)
    middle = pixels[PIXELS // 2 - 1 : PIXELS // 2 + 1, PIXELS // 2 - 1 : PIXELS // 2 + 1].mean(axis=(0, 1))
    np.testing.assert_allclose(middle, [0.6, 0.4 * 0.9, 0.0, 1 - 0.4 * 0.1], atol=0.02)


def test_many_layers_keep_their_light(tmp_path: Path) -> None:
    """A hundred faint white splats in a row: with too few transparent bounces most of the light would be lost."""
    count, sigma = 100, 0.15
    position = np.zeros((count, 3))
    position[:, 1] = np.linspace(-1.5, 1.5, count)
    identity = np.tile([1.0, 0, 0, 0], (count, 1))
    gaussians = from_rgb(position, identity, np.full((count, 3), sigma), np.full(count, 0.03), np.ones((count, 3)))
    pixels = _draw(gaussians, "ellipsoids", tmp_path / "layers.exr", samples=32)
    at = (np.arange(PIXELS) + 0.5) / PIXELS * WIDTH - WIDTH / 2
    squared = at[:, None] ** 2 + at[None] ** 2
    expected = 1 - (1 - 0.03 * np.exp(-0.5 * squared / sigma**2)) ** count
    middle = np.s_[PIXELS // 2 - 4 : PIXELS // 2 + 4, PIXELS // 2 - 4 : PIXELS // 2 + 4]
    np.testing.assert_allclose(pixels[middle].mean(axis=(0, 1)), np.full(4, expected[middle].mean()), atol=0.02)


@pytest.mark.parametrize("name", [BALLS, DISCS, POINTS])
def test_material_is_shared(name: str) -> None:
    material = splat_material(name)
    assert splat_material(name) == material
    assert material.surface_render_method == ("DITHERED" if name == POINTS else "BLENDED")
    assert material.cycles.emission_sampling == "NONE"
    # An older version is rebuilt in place, so that objects keep it.
    material["humansplat_version"] = 0
    material.node_tree.nodes.clear()
    assert splat_material(name) == material
    assert material.node_tree.nodes
