"""The viewport's share of the splats: set by itself where there is no graphics card, never seen by a render."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import viewport
from humansplat.humansplat_blender.scene.nodes.build import get_input, set_input
from humansplat.humansplat_blender.scene.nodes.display import VIEWPORT_AMOUNT
from support import prepare_cycles, render_pixels

pytestmark = pytest.mark.skipif(scene.has_native_splats(), reason="Blender draws splats itself")


def test_a_render_draws_all_splats(package: Path, tmp_path: Path) -> None:
    imported = scene.import_avatar(bpy.context, package, camera=True)
    scene.match_render_size(bpy.context.scene, imported.camera)
    prepare_cycles(64, 64, 4)
    all_of_them = render_pixels(tmp_path / "all.exr")
    set_input(scene.display_modifier(imported.splats), VIEWPORT_AMOUNT, 10.0)
    np.testing.assert_array_equal(render_pixels(tmp_path / "few.exr"), all_of_them)
    assert all_of_them[..., 3].mean() > 0.02


def test_fewer_splats_without_a_graphics_card(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splats = scene.import_avatar(bpy.context, package).splats
    modifier = scene.display_modifier(splats)
    assert scene.suit_viewport(splats) == ""  # no window, so nobody has to wait for it
    assert get_input(modifier, VIEWPORT_AMOUNT) == 100.0
    monkeypatch.setattr(viewport, "has_software_graphics", lambda: True)
    assert "20 %" in scene.suit_viewport(splats)
    assert get_input(modifier, VIEWPORT_AMOUNT) == 20.0


def test_every_display_input_can_be_shown_and_set(package: Path) -> None:
    modifier = scene.display_modifier(scene.import_avatar(bpy.context, package).splats)
    for name, value in zip(scene.DISPLAY_INPUTS, (0.5, 50.0, 2.0, True, 1.5, 0.25, 0.75), strict=True):
        owner, path = scene.display_property(modifier, name)
        assert owner.path_resolve(path) != value
        set_input(modifier, name, value)
        assert owner.path_resolve(path) == value
