"""Views of an avatar and repainting it, in the installed extension: with the made-up backend and once the real."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from extension_under_test import MODULE, ROOT

BACKEND_PYTHON = ROOT / ".venvs" / "backend" / "bin" / "python"


@pytest.fixture
def avatar(addon: SimpleNamespace) -> bpy.types.Object:
    """An avatar in the scene, selected; its armature, posed and moved."""
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("anna"))
    armature = bpy.context.object
    armature.location.x = 2.0
    armature.pose.bones["left_elbow"].rotation_quaternion = (0.8, 0.6, 0, 0)
    return armature


@pytest.fixture
def scene(addon: SimpleNamespace) -> ModuleType:
    """The module of the installed extension."""
    return sys.modules[f"{MODULE}.humansplat_blender.scene"]


def colours(scene: ModuleType) -> np.ndarray:
    """Display colours [N, 3] of the active avatar's splats."""
    return scene.read_splats(bpy.context, scene.find_avatar(bpy.context.object).splats).rgb


def test_views_are_saved_and_the_folder_is_told(addon: SimpleNamespace, avatar: Any, tmp_path: Path) -> None:
    views = Path(avatar["humansplat_package"]) / "views"
    assert bpy.ops.humansplat.save_views() == {"FINISHED"}
    assert {path.name for path in views.iterdir()} == {"front.png", "back.png"}
    assert str(views) in addon.manager.message and "four sides" in addon.manager.message
    assert bpy.ops.humansplat.save_views(directory=str(tmp_path / "mine")) == {"FINISHED"}
    assert (tmp_path / "mine" / "back.png").is_file()


def test_the_repainted_avatar_takes_the_place_of_the_selected_one(
    addon: SimpleNamespace, avatar: Any, scene: ModuleType
) -> None:
    edits = sys.modules[f"{MODULE}.humansplat_blender.scene.edits"]
    name, package = avatar.name, Path(avatar["humansplat_package"])
    edits.erase(scene.find_avatar(avatar).splats, np.arange(5))
    pictures = [Path(addon.photo("back")), Path(addon.photo("left"))]
    files = [{"name": path.name} for path in pictures]
    assert bpy.ops.humansplat.repaint(directory=str(pictures[0].parent), files=files) == {"FINISHED"}
    (armature,) = [obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]
    assert armature.name == name and armature.location.x == 2.0
    assert abs(armature.pose.bones["left_elbow"].rotation_quaternion.x - 0.6) < 1e-6
    np.testing.assert_allclose(colours(scene).mean(0), (0.9, 0.1, 0.1), atol=0.01)
    assert edits.read_hidden(scene.find_avatar(armature).splats).nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    made = addon.runtime.results().results
    assert [result.photo.name for result in made] == ["anna.png", "anna.png"] and (package / "avatar.json").is_file()
    assert Path(armature["humansplat_package"]) == made[0].folder != package
    assert "A note on the picture." in addon.manager.warnings


def test_what_cannot_be_taken_over_is_said_and_the_avatar_stays(
    addon: SimpleNamespace, avatar: Any, scene: ModuleType
) -> None:
    before = colours(scene)
    with pytest.raises(RuntimeError, match="nothing that the avatar does not show already"):
        bpy.ops.humansplat.repaint(filepath=addon.photo("back same"))
    with pytest.raises(RuntimeError, match="Choose a picture"):
        bpy.ops.humansplat.repaint(directory=str(addon.results))
    np.testing.assert_array_equal(colours(scene), before)
    assert bpy.context.object == avatar and len(addon.runtime.results().results) == 1
    # The next import is beside it, not in its place.
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("anna"))
    assert len([obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]) == 2


def test_without_the_package_there_is_nothing_to_repaint(addon: SimpleNamespace, avatar: Any) -> None:
    assert bpy.ops.humansplat.repaint.poll()
    avatar["humansplat_package"] = "/nowhere"
    assert not bpy.ops.humansplat.save_views.poll() and not bpy.ops.humansplat.repaint.poll()


@pytest.mark.skipif(not BACKEND_PYTHON.is_file(), reason="the backend's environment is not there")
def test_the_real_backend(
    addon: SimpleNamespace, avatar: Any, scene: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    addon.manager.stop_backend()
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", str(BACKEND_PYTHON))
    addon.runtime.forget_environment()
    assert bpy.ops.humansplat.save_views() == {"FINISHED"}
    back = Path(avatar["humansplat_package"]) / "views" / "back.png"
    image = bpy.data.images.load(str(back))
    pixels = np.empty((*image.size, 4), np.float32)
    image.pixels.foreach_get(pixels.ravel())
    pixels[pixels[..., 3] > 0.9] = (1.0, 0.0, 0.0, 1.0)
    image.pixels.foreach_set(pixels.ravel())
    image.save()
    before = colours(scene)
    assert bpy.ops.humansplat.repaint(filepath=str(back)) == {"FINISHED"}
    after = colours(scene)
    red = (after[:, 0] > 0.8) & (after[:, 1] < 0.2) & (before[:, 1] > 0.2)
    assert red.mean() > 0.1 and (np.abs(after - before).max(1) < 1e-3).mean() > 0.3
    assert "may be of another avatar" in addon.manager.warnings[0]
