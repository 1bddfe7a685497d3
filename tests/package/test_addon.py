"""The installed extension in a headless Blender, with a backend that is made up but a real process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from extension_under_test import MODULE, make_interpreter
from PIL import Image

PANELS = ("HUMANSPLAT_PT_main", "HUMANSPLAT_PT_results", "HUMANSPLAT_PT_pose")


def start(addon: SimpleNamespace, stem: str) -> None:
    """Begin a job without waiting for it, as in a Blender with a window."""
    from bl_ext.user_default.humansplat.humansplat_blender.jobs import ReconstructJob

    addon.runtime.start_reconstruct(ReconstructJob(Path(addon.photo(stem))))


def pump_until(addon: SimpleNamespace, wanted: str, seconds: float = 20.0) -> float:
    """Pump like the timer until a state is reached; how long that took."""
    began = time.monotonic()
    while addon.manager.state.value != wanted:
        assert time.monotonic() - began < seconds, (addon.manager.state, addon.manager.failure)
        addon.manager.pump()
        time.sleep(0.01)
    return time.monotonic() - began


def test_register_unregister_register(addon: SimpleNamespace) -> None:
    assert all(hasattr(bpy.types, name) for name in PANELS)
    bpy.ops.preferences.addon_disable(module=MODULE)
    assert not any(hasattr(bpy.types, name) for name in PANELS)
    assert not hasattr(bpy.types.Scene, "humansplat")
    assert not [name for name in dir(bpy.ops.humansplat) if not name.startswith("__")]
    handlers = [handler for handler in bpy.app.handlers.load_post if "humansplat" in handler.__module__]
    assert handlers == []
    bpy.ops.preferences.addon_enable(module=MODULE)
    assert all(hasattr(bpy.types, name) for name in PANELS)
    assert bpy.context.scene.humansplat.preset == "lite"
    assert [h for h in bpy.app.handlers.load_post if "humansplat" in h.__module__]


def test_reconstruct_makes_imports_and_lists_an_avatar(addon: SimpleNamespace) -> None:
    before = set(bpy.data.collections)
    assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("my photo"), seed=7) == {"FINISHED"}
    (collection,) = [c for c in set(bpy.data.collections) - before if c.children or c.objects]
    kinds = {child.type for child in collection.all_objects}
    assert "ARMATURE" in kinds and kinds & {"MESH", "POINTCLOUD"}
    (result,) = addon.runtime.results().results
    assert result.folder == addon.results / "my_photo"
    assert json.loads((result.folder / "avatar.json").read_text())["format"] == "humansplat-avatar"
    assert result.preview.is_file()
    assert addon.manager.warnings[0] == "This avatar is made up."
    assert "my_photo is ready" in addon.manager.message
    assert not list(addon.results.glob(".job-*"))


def test_import_sets_up_the_scene_and_says_so(addon: SimpleNamespace) -> None:
    scene = bpy.context.scene
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    assert scene.view_settings.view_transform == "Standard"
    assert any("view transform" in note.lower() for note in addon.manager.warnings)
    scene.view_settings.view_transform = "Filmic"
    bpy.context.preferences.addons[MODULE].preferences.setup_scene = False
    folder = addon.runtime.results().results[0].folder
    bpy.ops.humansplat.import_avatar(directory=str(folder))
    assert scene.view_settings.view_transform == "Filmic"


def test_another_back_takes_the_next_seed(addon: SimpleNamespace) -> None:
    settings = bpy.context.scene.humansplat
    settings.photo = bpy.data.images.load(addon.photo("photo"))
    settings.seed = 4
    assert bpy.ops.humansplat.another_back() == {"FINISHED"}
    assert settings.seed == 5
    made = [addon.runtime.results().results[0].folder]
    for seed in (5, 4):
        bpy.ops.humansplat.reconstruct(seed=seed)
        made.append(addon.runtime.results().results[0].folder)
    ours, same, other = ((folder / "gaussians.ply").read_bytes() for folder in made)
    assert ours == same != other
    settings.preset = "surface"
    assert not bpy.ops.humansplat.another_back.poll()
    settings.preset = "lite"


def test_the_shading_reaches_the_backend(addon: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    start = addon.runtime.start_reconstruct
    monkeypatch.setattr(addon.runtime, "start_reconstruct", lambda job: jobs.append(job) or start(job))
    settings = bpy.context.scene.humansplat
    settings.shading, settings.lower = 0.25, "skirt"
    for given in ({}, {"shading": 0.75, "lower": "trousers"}):
        assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"), **given) == {"FINISHED"}
    settings.property_unset("shading")
    settings.property_unset("lower")
    assert [job.shading for job in jobs] == [0.25, 0.75]
    assert [job.lower for job in jobs] == ["skirt", "trousers"]
    # The made-up avatars differ by what arrived there.
    first, second = (result.folder / "gaussians.ply" for result in addon.runtime.results().results)
    assert first.read_bytes() != second.read_bytes()


def test_list_selects_and_poses(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    armature = bpy.context.object
    assert armature.type == "ARMATURE"
    shoulder = armature.pose.bones["left_shoulder"]
    photo = shoulder.rotation_quaternion.copy()
    assert abs(photo.angle - 0.9) < 1e-5  # what the made-up avatar holds
    bpy.ops.humansplat.set_pose(pose="REST")
    assert shoulder.rotation_quaternion.angle < 1e-6
    bpy.ops.humansplat.set_pose(pose="PHOTO")
    assert shoulder.rotation_quaternion.rotation_difference(photo).angle < 1e-6
    armature.select_set(False)
    bpy.context.view_layer.objects.active = None
    assert not bpy.ops.humansplat.set_pose.poll()
    folder = addon.runtime.results().results[0].folder
    assert bpy.ops.humansplat.select_avatar(directory=str(folder)) == {"FINISHED"}
    assert bpy.context.object == armature and armature.select_get()


def test_backend_stays_warm_and_names_do_not_clash(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    pid = addon.manager._process.pid
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    assert addon.manager._process.pid == pid
    assert [r.name for r in addon.runtime.results().results] == ["photo-2", "photo"]


def test_progress_reaches_the_panel_s_numbers(addon: SimpleNamespace) -> None:
    start(addon, "photo")
    seen = []
    while addon.manager.busy:
        addon.manager.pump()
        if addon.manager.state.value == "running" and addon.manager.stage:
            seen.append((addon.manager.overall, addon.manager.stage, addon.manager.stage_fraction))
        time.sleep(0.005)
    assert len(set(seen)) > 8
    assert [s[0] for s in seen] == sorted(s[0] for s in seen)
    assert {"prepare", "body", "reconstruct", "bind", "save"} <= {s[1] for s in seen}


@pytest.mark.parametrize("stem", ["slow", "hang"])
def test_cancel_is_back_within_a_second_and_leaves_nothing(addon: SimpleNamespace, stem: str) -> None:
    objects = len(bpy.data.objects)
    start(addon, stem)
    pump_until(addon, "running")
    while addon.manager.stage != "body" or (stem == "hang" and addon.manager.stage_fraction < 0.7):
        addon.manager.pump()
        time.sleep(0.01)
    began = time.monotonic()
    bpy.ops.humansplat.cancel()
    pump_until(addon, "idle")
    assert time.monotonic() - began < 1.0
    assert addon.manager.failure is None
    assert len(bpy.data.objects) == objects
    assert list(addon.results.iterdir()) == []
    # and the next job works, with a new process where the old one would not listen
    assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo")) == {"FINISHED"}


def test_cancel_while_the_backend_starts(addon: SimpleNamespace) -> None:
    start(addon, "photo")
    assert addon.manager.state.value == "starting"
    addon.manager.cancel()
    assert addon.manager.state.value == "idle"
    assert list(addon.results.iterdir()) == []


def test_expected_error_reaches_the_user(addon: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match=r"There is no person in the photo\. Choose a photo that shows a person\."):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("no_person"))
    assert addon.manager.failure.kind == "no_person"
    assert not addon.runtime.results().results
    assert not list(addon.results.glob("*"))
    bpy.ops.humansplat.dismiss()
    assert addon.manager.failure is None and addon.manager.state.value == "idle"


def test_unexpected_error_keeps_its_traceback(addon: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("unexpected"))
    assert "Traceback" in addon.manager.failure.details


def test_killed_backend_is_noticed_explained_and_replaced(addon: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("crash"))
    assert addon.manager.failure.kind == "backend_died"
    assert "SIGKILL" in addon.manager.failure.message
    assert not list(addon.results.glob("*"))
    assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo")) == {"FINISHED"}


def test_backend_that_died_while_idle_is_replaced_silently(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    pid = addon.manager._process.pid
    os.kill(pid, 9)
    time.sleep(0.3)
    assert bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo")) == {"FINISHED"}
    assert addon.manager._process.pid != pid


def test_second_job_is_refused_while_one_runs(addon: SimpleNamespace) -> None:
    start(addon, "slow")
    pump_until(addon, "running")
    assert not bpy.ops.humansplat.reconstruct.poll()
    assert not bpy.ops.humansplat.install_backend.poll()
    with pytest.raises(RuntimeError, match="another job"):
        start(addon, "photo")
    addon.manager.cancel()
    pump_until(addon, "idle")


def test_without_a_backend_it_says_what_to_do(addon: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", "/nonexistent/python")
    addon.runtime.forget_environment()
    assert not bpy.ops.humansplat.reconstruct.poll()
    start(addon, "photo")
    assert addon.manager.failure.kind == "backend_missing"


def test_interpreter_that_cannot_start(addon: SimpleNamespace, tmp_path: Path) -> None:
    broken = tmp_path / "broken-python"
    broken.write_text("not a program")
    addon.runtime.forget_environment()
    os.environ["HUMANSPLAT_BACKEND_PYTHON"] = str(broken)
    with pytest.raises(RuntimeError, match="could not be started"):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))


def test_interpreter_without_the_packages(addon: SimpleNamespace, tmp_path: Path) -> None:
    liar = make_interpreter(tmp_path / "liar", "print('No module named torch', file=sys.stderr); sys.exit(3)")
    os.environ["HUMANSPLAT_BACKEND_PYTHON"] = str(liar)
    addon.runtime.forget_environment()
    with pytest.raises(RuntimeError, match="exit code 3: No module named torch"):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))


def test_check_tells_what_the_backend_says_of_itself(addon: SimpleNamespace) -> None:
    assert bpy.ops.humansplat.test_backend() == {"FINISHED"}
    assert addon.manager.backend_info["device_name"] == "made-up device"
    assert "made-up device" in addon.manager.message


def test_nothing_is_downloaded_without_online_access() -> None:
    assert not bpy.app.online_access  # the default of a new profile
    assert not bpy.ops.humansplat.install_backend.poll()


def test_packed_and_painted_photos_are_sent_as_files(addon: SimpleNamespace) -> None:
    image = bpy.data.images.new("painted", 8, 8)
    image.pixels[:] = [0.5] * (8 * 8 * 4)
    path = addon.runtime.photo_file(image)
    assert path.read_bytes().startswith(b"\x89PNG")
    image.pack()
    assert addon.runtime.photo_file(image).read_bytes().startswith(b"\x89PNG")
    bpy.context.scene.humansplat.photo = image
    assert bpy.ops.humansplat.reconstruct() == {"FINISHED"}
    assert addon.runtime.results().results[0].name.startswith("painted")


def test_painted_photos_keep_their_colours_whatever_the_scene_shows(addon: SimpleNamespace) -> None:
    scene = bpy.context.scene
    scene.view_settings.view_transform = "AgX"
    scene.render.image_settings.file_format = "OPEN_EXR"
    bytes_painted = np.zeros((6, 8, 4), np.float32)
    bytes_painted[...] = (0.9, 0.2, 0.5, 1.0)
    bytes_painted[:2] = (0.1, 0.8, 0.3, 0.4)  # the lowest rows, half seen through
    linear = bytes_painted.copy()
    rgb = linear[..., :3]
    linear[..., :3] = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) * linear[..., 3:]
    for name, is_float, pixels in (("bytes", False, bytes_painted), ("floats", True, linear)):
        image = bpy.data.images.new(name, 8, 6, alpha=True, float_buffer=is_float)
        image.pixels.foreach_set(pixels.ravel())
        image.update()
        with Image.open(addon.runtime.photo_file(image)) as saved:
            assert saved.format == "PNG" and saved.mode == "RGBA"
            found = np.asarray(saved).astype(float)
        assert np.abs(found[::-1] - 255 * bytes_painted).max() <= 1, name
        assert image.is_dirty and not image.filepath_raw, "the picture stays what it was"


def test_list_forgets_and_deletes_only_what_it_lists(addon: SimpleNamespace, tmp_path: Path) -> None:
    for _ in range(2):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    kept, deleted = (result.folder for result in addon.runtime.results().results)
    bpy.ops.humansplat.forget_result(directory=str(kept))
    assert kept.is_dir()
    bpy.ops.humansplat.forget_result(directory=str(deleted), delete=True)
    assert not deleted.exists()
    assert addon.runtime.results().results == []
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    bpy.ops.humansplat.forget_result(directory=str(stranger), delete=True)
    assert stranger.is_dir()


def test_import_of_something_else_is_refused_with_a_sentence(addon: SimpleNamespace, tmp_path: Path) -> None:
    objects = set(bpy.data.objects)
    with pytest.raises(RuntimeError, match="cannot be imported"):
        bpy.ops.humansplat.import_avatar(directory=str(tmp_path))
    assert set(bpy.data.objects) == objects


def test_log_lies_in_the_user_s_folder(addon: SimpleNamespace, installed: ModuleType) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("chatty"))
    log = Path(bpy.utils.extension_path_user(MODULE)) / "logs" / "backend.log"
    assert "a library prints" in log.read_text()
    assert not list(Path(installed.__file__).parent.rglob("*.log"))


def test_opening_another_file_keeps_the_job_but_not_the_import(addon: SimpleNamespace) -> None:
    start(addon, "photo")
    pump_until(addon, "running")
    bpy.ops.wm.read_homefile(use_empty=True)
    objects = len(bpy.data.objects)
    pump_until(addon, "done")
    assert len(bpy.data.objects) == objects
    assert len(addon.runtime.results().results) == 1
    assert "Another file was opened" in addon.manager.warnings[-1]


def test_another_back_takes_the_selected_avatars_place(addon: SimpleNamespace) -> None:
    settings = bpy.context.scene.humansplat
    settings.photo = bpy.data.images.load(addon.photo("photo"))
    bpy.ops.humansplat.reconstruct()
    first = bpy.context.object
    first.location.x = 3.0
    first.pose.bones["left_elbow"].rotation_quaternion = (0.8, 0.6, 0, 0)
    name = first.name
    assert bpy.ops.humansplat.another_back() == {"FINISHED"}
    armatures = [obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]
    assert [obj.name for obj in armatures] == [name]
    assert armatures[0].location.x == 3.0
    assert abs(armatures[0].pose.bones["left_elbow"].rotation_quaternion.x - 0.6) < 1e-6
    assert bpy.ops.humansplat.another_back(replace=False) == {"FINISHED"}
    assert len([obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]) == 2


def test_arrivals_stand_at_the_cursor_under_the_name_of_the_list(addon: SimpleNamespace) -> None:
    bpy.context.scene.cursor.location = (1.0, 2.0, 0.5)
    for _ in range(2):
        bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
        armature = bpy.context.object
        assert tuple(armature.location) == (1.0, 2.0, 0.5)
        assert armature.name == armature.users_collection[0].name == addon.runtime.results().results[0].name


def test_a_failed_import_leaves_mode_and_selection(addon: SimpleNamespace, tmp_path: Path) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    armature = bpy.context.object
    bpy.ops.object.mode_set(mode="POSE")
    with pytest.raises(RuntimeError, match="is not an avatar package"):
        bpy.ops.humansplat.import_avatar(directory=str(tmp_path / "nothing"))
    assert bpy.context.mode == "POSE" and bpy.context.object == armature


def test_a_click_selects_the_whole_avatar(addon: SimpleNamespace) -> None:
    from bl_ext.user_default.humansplat.humansplat_blender.ui import selection

    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    armature = bpy.context.object
    members = {armature, *armature.children}
    for clicked in armature.children:
        bpy.ops.object.select_all(action="DESELECT")
        clicked.select_set(True)
        bpy.context.view_layer.objects.active = clicked
        assert selection.select_whole(bpy.context)  # what the message bus calls
        assert set(bpy.context.selected_objects) == members
        assert bpy.context.object == armature
        assert not selection.select_whole(bpy.context)


def test_copies_and_deletion_by_operators(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    before = len(bpy.context.scene.objects)
    assert bpy.ops.humansplat.duplicate_avatar() == {"FINISHED"}
    assert len(bpy.context.scene.objects) == 2 * before
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.humansplat.delete_avatar() == {"FINISHED"}
    assert len(bpy.context.scene.objects) == before
    assert bpy.context.mode == "OBJECT"


def test_named_poses_are_keyed_where_auto_keying_is_on(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("photo"))
    armature = bpy.context.object
    bpy.ops.humansplat.set_pose(pose="REST")
    assert armature.animation_data is None
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.humansplat.set_pose(pose="PHOTO")
    assert armature.animation_data.action is not None
    armature.data.bones["left_elbow"].name = "forearm.L"
    assert bpy.ops.humansplat.set_pose(pose="REST") == {"FINISHED"}


def test_the_message_is_of_the_last_import(addon: SimpleNamespace) -> None:
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("first"))
    bpy.ops.humansplat.reconstruct(filepath=addon.photo("second"))
    older = addon.results / "first"
    bpy.ops.humansplat.import_avatar(directory=str(older))
    assert "first" in addon.manager.message and "second" not in addon.manager.message
    assert "This avatar is made up." not in addon.manager.warnings
