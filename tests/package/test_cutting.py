"""The button that cuts turnaround sheets, in the installed extension with the made-up backend."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest


def test_a_sheet_fills_the_photo_and_the_other_sides(addon: SimpleNamespace) -> None:
    settings = bpy.context.scene.humansplat
    assert bpy.ops.humansplat.cut_turnaround(filepath=addon.photo("anna")) == {"FINISHED"}
    assert settings.photo.name == "anna_front.png" and settings.back.name == "anna_back.png"
    assert settings.left.name == "anna_left.png" and settings.right is None
    assert [item.image.name for item in settings.further] == ["anna_other.png"]
    folder = addon.results / "turnarounds" / "anna"
    assert Path(settings.photo.filepath).parent == folder and str(folder) in addon.manager.message
    assert "Figures were cut." in addon.manager.warnings
    # Once more: nothing twice.
    assert bpy.ops.humansplat.cut_turnaround(filepath=addon.photo("anna")) == {"FINISHED"}
    assert len(settings.further) == 1
    assert bpy.ops.humansplat.reconstruct() == {"FINISHED"}


def test_a_chosen_photo_stays(addon: SimpleNamespace) -> None:
    settings = bpy.context.scene.humansplat
    settings.photo = mine = bpy.data.images.load(addon.photo("mine"))
    bpy.ops.humansplat.cut_turnaround(filepath=addon.photo("anna"))
    assert settings.photo == mine and settings.back.name == "anna_back.png"
    assert "The photo that was chosen stays; the sheet's front was not used." in addon.manager.warnings


def test_a_sheet_without_a_front_asks_for_a_photo(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.cut_turnaround(filepath=addon.photo("no_front"))
    assert bpy.context.scene.humansplat.photo is None
    assert "No figure of the sheet shows the front: choose a photo." in addon.manager.warnings


def test_no_more_than_eight_pictures(addon: SimpleNamespace) -> None:
    settings = bpy.context.scene.humansplat
    for number in range(7):
        settings.further.add().image = bpy.data.images.load(addon.photo(f"p{number}"))
    bpy.ops.humansplat.cut_turnaround(filepath=addon.photo("anna"))
    assert settings.back is not None and settings.left is None and len(settings.further) == 7
    assert "2 more figures were left out: 8 pictures are the most." in addon.manager.warnings


def test_a_sheet_that_is_gone_is_said(addon: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match=r"There is no file gone\.png"):
        bpy.ops.humansplat.cut_turnaround(filepath="/nowhere/gone.png")
    assert not addon.results.exists()
