"""Large models in the installed extension: choosing, accepting, downloading, importing and removing them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import bpy
import pytest
from extension_under_test import MODULE

from tests.model_hub import write_by_hand


@pytest.fixture
def models(addon: SimpleNamespace, tmp_path: Path) -> Iterator[Path]:
    """The folder for models, chosen in the preferences; Blender may use the internet."""
    preferences = bpy.context.preferences
    preferences.addons[MODULE].preferences.models_path = str(tmp_path / "models")
    preferences.system.use_online_access = True
    yield tmp_path / "models"
    preferences.system.use_online_access = False
    preferences.addons[MODULE].preferences.models_path = ""


@pytest.fixture
def asked(addon: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every request that was sent."""
    process = sys.modules[f"{MODULE}.humansplat_blender.client"].BackendProcess
    send, sent = process.request, []

    def request(self: Any, method: str, params: dict[str, Any] | None = None) -> Any:
        sent.append((method, dict(params or {})))
        return send(self, method, params)

    monkeypatch.setattr(process, "request", request)
    return sent


def state(addon: SimpleNamespace) -> Any:
    return addon.manager.models.states["mv-adapter"]


def choose(sides: str) -> Any:
    settings = bpy.context.scene.humansplat
    settings.sides = sides
    return settings


def test_download_use_and_remove(addon: SimpleNamespace, models: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    assert bpy.ops.humansplat.look_for_models() == {"FINISHED"}
    assert state(addon).sentence == "Tiny is not installed: about 1 MB to download."
    choose("mv-adapter")
    with pytest.raises(RuntimeError, match=r"Tiny is not installed.*See the panel Other Sides"):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    assert bpy.ops.humansplat.download_model(model="mv-adapter") == {"FINISHED"}
    assert addon.manager.message == "Tiny is installed." and state(addon).usable
    licences = ["Closed Licence, 2 May 2026", "Open Licence, 1.0"]
    assert asked[-1] == ("models_download", {"name": "mv-adapter", "licences": licences, "online": True})
    assert (models / "mv-adapter" / "adapter" / "adapter.safetensors").is_file()
    assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo")) == {"FINISHED"}
    assert asked[-1][1]["sides"] == "mv-adapter" and "pictures" not in asked[-1][1]
    assert bpy.ops.humansplat.remove_model(model="mv-adapter") == {"FINISHED"}
    assert not state(addon).installed and state(addon).accepted and not (models / "mv-adapter").exists()


def test_a_local_folder_and_its_licence(addon: SimpleNamespace, models: Path, tmp_path: Path) -> None:
    write_by_hand(tmp_path / "hand")
    with pytest.raises(RuntimeError, match="There is no folder"):
        bpy.ops.humansplat.use_model_folder(model="mv-adapter", directory=str(tmp_path / "nowhere"))
    assert bpy.ops.humansplat.use_model_folder(model="mv-adapter", directory=str(tmp_path / "hand")) == {"FINISHED"}
    assert state(addon).in_place and "its licence is not accepted" in state(addon).sentence
    assert bpy.ops.humansplat.accept_model(model="mv-adapter") == {"FINISHED"}
    assert state(addon).usable and not (models / "mv-adapter").exists()
    (tmp_path / "hand" / "base" / "vocab.txt").unlink()
    bpy.ops.humansplat.look_for_models()
    assert "Tiny is damaged: base/vocab.txt is missing." in state(addon).sentence
    with pytest.raises(RuntimeError, match=r"vocab\.txt of somebody/base is not in"):
        bpy.ops.humansplat.use_model_folder(model="mv-adapter", directory=str(tmp_path / "hand"), copy=True)
    assert addon.manager.failure.kind == "model_incomplete"


def test_nothing_is_downloaded_while_blender_is_offline(addon: SimpleNamespace, models: Path) -> None:
    bpy.context.preferences.system.use_online_access = False
    assert not bpy.ops.humansplat.download_model.poll()
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.humansplat.download_model(model="mv-adapter")
    assert not models.exists()
    assert bpy.ops.humansplat.look_for_models.poll() and bpy.ops.humansplat.use_model_folder.poll()


def test_a_download_that_fails_is_said(addon: SimpleNamespace, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANSPLAT_FAKE_HUB", "broken")
    with pytest.raises(RuntimeError, match=r"broke off after 0 bytes of .* \(the cable is cut\)\. Start it again"):
        bpy.ops.humansplat.download_model(model="sv3d")
    assert addon.manager.failure.kind == "download_interrupted"
    assert addon.manager.models.states["sv3d"].accepted and not addon.manager.models.states["sv3d"].installed


def test_progress_tells_bytes_and_a_cancelled_download_is_gone_on_with(
    addon: SimpleNamespace, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUMANSPLAT_FAKE_HUB", "slow")
    bpy.ops.humansplat.look_for_models()
    jobs = sys.modules[f"{MODULE}.humansplat_blender.jobs"]
    keys = [licence.key for licence in state(addon).licences]
    parameters = {"name": "mv-adapter", "licences": keys, "online": True}
    job = jobs.ModelsJob("models_download", parameters, "Downloading", "Done.")
    addon.manager.start_models(job, addon.runtime.backend_spec())
    steps: list[str] = []
    end = time.monotonic() + 20
    while addon.manager.busy and time.monotonic() < end:
        addon.manager.pump()
        if addon.manager.step not in steps:
            steps.append(addon.manager.step)
        running = addon.manager.state is jobs.State.RUNNING
        if running and any("left" in step for step in steps) and addon.manager.overall > 0.1:
            assert addon.manager.moves_files
            addon.manager.cancel()
        time.sleep(0.02)
    assert addon.manager.state is jobs.State.IDLE and addon.manager.failure is None
    assert any("unet/model.safetensors: " in step and " of 896 kB, " in step for step in steps)
    monkeypatch.setenv("HUMANSPLAT_FAKE_HUB", "")
    addon.manager.stop_backend()
    assert 0 < state(addon).on_disk < 890_000 and "are there" in state(addon).sentence
    assert bpy.ops.humansplat.download_model(model="mv-adapter") == {"FINISHED"}
    assert state(addon).usable


def test_pictures_are_used_only_where_they_are_chosen(
    addon: SimpleNamespace, models: Path, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    settings = bpy.context.scene.humansplat
    assert settings.sides == "built-in"
    settings.photo = bpy.data.images.load(addon.photo("photo"))
    bpy.ops.humansplat.choose_side(side="back", filepath=addon.photo("b"))
    assert settings.sides == "pictures"  # who chooses a picture wants it used
    sides = sys.modules[f"{MODULE}.humansplat_blender.ui.sides"]
    for choice in ("built-in", "sv3d"):
        settings.sides = choice
        assert sides.used_count(settings) == 0 and sides.chosen_pictures(settings) == ()
    settings.sides = "built-in"
    assert bpy.ops.humansplat.reconstruct() == {"FINISHED"}
    assert not {"pictures", "sides"} & set(asked[-1][1])
    assert bpy.ops.humansplat.reconstruct(sides="sv3d") == {"FINISHED"}  # not looked at yet: the backend would say so
    assert asked[-1][1]["sides"] == "sv3d" and "pictures" not in asked[-1][1]
    assert addon.runtime.results().results[0].sides == "sv3d"
    assert bpy.ops.humansplat.another_back() == {"FINISHED"}
    assert asked[-1][1]["sides"] == "sv3d"  # as the selected avatar was
    settings.preset = "surface"
    assert not bpy.ops.humansplat.another_back.poll()
    settings.sides = "mv-adapter"
    assert bpy.ops.humansplat.another_back.poll()  # the large model guesses
    settings.preset = "lite"
    bpy.context.view_layer.objects.active = None
    assert bpy.ops.humansplat.another_back() == {"FINISHED"}
    assert asked[-1][1]["sides"] == "mv-adapter"  # nothing is selected: as the scene says


def test_files_of_earlier_versions_use_their_pictures(addon: SimpleNamespace, tmp_path: Path) -> None:
    settings = bpy.context.scene.humansplat
    settings.back = bpy.data.images.load(addon.photo("b"))
    settings.property_unset("sides")  # as a file has it whose version did not know it
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
    assert bpy.context.scene.humansplat.sides == "pictures"


@pytest.mark.parametrize("name", ["mv-adapter", "sv3d", "pictures", "built-in"])
def test_the_panel_is_drawn_for_every_choice(addon: SimpleNamespace, models: Path, name: str) -> None:
    """Into a layout that notes what is asked of it: Blender draws none without a window."""
    bpy.ops.humansplat.look_for_models()
    module: ModuleType = sys.modules[f"{MODULE}.humansplat_blender.ui.sides"]
    drawn = _Layout([])
    module.draw_sides(drawn, choose(name), 300.0)
    operators = [what for kind, what in drawn.seen if kind == "operator"]
    if name in ("mv-adapter", "sv3d"):
        wanted = ["humansplat.download_model", "humansplat.use_model_folder", "humansplat.look_for_models"]
        assert set(wanted) <= set(operators) and operators.count("wm.url_open") == 2
        assert "humansplat.choose_side" not in operators
    else:
        assert ("humansplat.choose_side" in operators) == (name == "pictures")


class _Layout:
    """Stands in for ``bpy.types.UILayout``; ``seen`` lists (method, first argument) of all that were called."""

    def __init__(self, seen: list[tuple[str, Any]]) -> None:
        self.seen = seen

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **_named: Any) -> _Layout:
            self.seen.append((name, arguments[0] if arguments else None))
            return _Layout(self.seen)

        return call
