"""Baked sequences: against the numpy reference, resumed, cancelled, and where they cannot be written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from humansplat.backend.avatar.motion import Motion
from humansplat.humansplat_blender import motion, scene
from humansplat.humansplat_blender.scene import sequence
from humansplat.humansplat_blender.scene.frozen import FROZEN, freeze_avatar
from humansplat.humansplat_blender.scene.roles import ROLE
from humansplat.humansplat_blender.scene.sequence import BakeError, BakeJob, BakeOptions, frame_range
from motion_writers import lively_poses
from rigs import walk_root

from backend.avatar import load_avatar, pose_gaussians, standing_translation
from backend.avatar.formats.spz import read_spz
from backend.avatar.motion_tools import avatar_translation
from backend.avatar.ply import read_ply
from tests.synthetic import REST_JOINTS

FRAMES = 6


@pytest.fixture
def stroll() -> Motion:
    return Motion(lively_poses(FRAMES, 2), walk_root(FRAMES) * 0.5, 24.0, 0.8, "Stroll")


@pytest.fixture
def avatar(package: Path, stroll: Motion) -> scene.ImportedAvatar:
    """Animated, at a place of its own."""
    imported = scene.import_avatar(bpy.context, package, name="Jo")
    motion.apply_motion(bpy.context, imported.armature, stroll)
    return imported


def bake(avatar: scene.ImportedAvatar, folder: Path, frames: range = range(1, FRAMES + 1), **options: Any) -> BakeJob:
    job = BakeJob(bpy.context, avatar, frames, folder, BakeOptions(**options))
    shares = list(job.run(bpy.context))
    assert job.done and shares == [(n + 1) / len(frames) for n in range(len(frames))]
    return job


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "sequence.json").read_text("utf-8"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_hold_the_keyed_poses(
    avatar: scene.ImportedAvatar, package: Path, stroll: Motion, tmp_path: Path
) -> None:
    avatar.armature.location = (1.0, 2.0, 3.0)  # does not matter in avatar space
    job = bake(avatar, tmp_path / "new" / "seq")
    assert (job.written, job.skipped) == (FRAMES, 0)
    original = load_avatar(package)
    places = avatar_translation(stroll, REST_JOINTS, standing_translation(original))
    for frame in range(FRAMES):
        expected = pose_gaussians(original, stroll.poses[frame], places[frame])
        found = read_ply(tmp_path / "new" / "seq" / f"Jo_{frame + 1:04d}.ply")
        for name in ("position", "scale", "opacity", "sh_dc"):
            wanted = getattr(expected, name)
            if name == "opacity":
                wanted = wanted.clip(1e-3, 1 - 1e-3)
            np.testing.assert_allclose(getattr(found, name), wanted, atol=1e-5, err_msg=f"{name} in {frame}")
        same = np.abs(np.sum(found.rotation * expected.rotation, axis=1))
        np.testing.assert_allclose(same, 1, atol=1e-5)
    told = index(tmp_path / "new" / "seq")
    assert told["complete"] and told["fps"] == 24 and told["units"] == "metres" and told["space"] == "avatar"
    assert "y up" in told["axes"] and told["avatar"] == "Jo" and told["licences"]
    assert [entry["frame"] for entry in told["frames"]] == list(range(1, FRAMES + 1))
    assert names(tmp_path / "new" / "seq") == [*(e["file"] for e in told["frames"]), "sequence.json"]


def test_the_place_in_the_scene_is_an_option(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    avatar.armature.location = (1.0, 2.0, 3.0)
    avatar.armature.scale = (2.0, 2.0, 2.0)
    bake(avatar, tmp_path / "own", range(2, 3))
    bake(avatar, tmp_path / "world", range(2, 3), world=True)
    own, world = (read_ply(tmp_path / name / "Jo_0002.ply") for name in ("own", "world"))
    np.testing.assert_allclose(world.position, 2 * own.position + (1, 3, -2), atol=2e-5)
    np.testing.assert_allclose(world.scale, 2 * own.scale, rtol=1e-4)
    assert index(tmp_path / "world")["space"] == "world"


def test_frame_and_unkeyed_pose_stay(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    bpy.context.scene.frame_set(3)
    elbow = avatar.armature.pose.bones["left_elbow"]
    elbow.rotation_quaternion = (0.6, 0.8, 0.0, 0.0)
    display = [modifier.show_viewport for modifier in avatar.splats.modifiers]
    job = BakeJob(bpy.context, avatar, range(1, 4), tmp_path)
    while job.step(bpy.context):
        assert bpy.context.scene.frame_current == 3
        assert abs(elbow.rotation_quaternion.x - 0.8) < 1e-6
        assert job.seconds_left > 0
    assert abs(elbow.rotation_quaternion.x - 0.8) < 1e-6
    assert [modifier.show_viewport for modifier in avatar.splats.modifiers] == display


def test_resume_bakes_what_is_missing_damaged_or_changed(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    bake(avatar, tmp_path)
    (tmp_path / "Jo_0002.ply").unlink()
    with open(tmp_path / "Jo_0004.ply", "r+b") as file:
        file.truncate(1000)
    job = bake(avatar, tmp_path, resume=True)
    assert (job.written, job.skipped) == (2, FRAMES - 2)
    bone = avatar.armature.pose.bones["left_knee"]
    bone.rotation_quaternion = (0.6, 0.8, 0.0, 0.0)
    bone.keyframe_insert("rotation_quaternion", frame=5)
    job = bake(avatar, tmp_path, resume=True)
    assert (job.written, job.skipped) == (1, FRAMES - 1)
    # A longer range goes on where the shorter one ended, and a shorter one forgets nothing.
    job = bake(avatar, tmp_path, range(1, FRAMES + 3), resume=True)
    assert (job.written, job.skipped) == (2, FRAMES)
    job = bake(avatar, tmp_path, range(1, 2), resume=True)
    assert job.skipped == 1 and len(index(tmp_path)["frames"]) == FRAMES + 2
    assert bake(avatar, tmp_path).written == FRAMES  # without resuming, everything
    assert bake(avatar, tmp_path, world=True, resume=True).skipped == 0


def test_cancelled_in_the_middle_leaves_whole_files(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    job = BakeJob(bpy.context, avatar, range(1, FRAMES + 1), tmp_path)
    for _ in range(3):
        assert job.step(bpy.context)
    job.cancel()
    assert job.done and not job.step(bpy.context)
    assert names(tmp_path) == [*(f"Jo_{n:04d}.ply" for n in (1, 2, 3)), "sequence.json"]
    for path in tmp_path.glob("*.ply"):
        read_ply(path)
    assert not index(tmp_path)["complete"] and len(index(tmp_path)["frames"]) == 3
    running = BakeJob(bpy.context, avatar, range(1, FRAMES + 1), tmp_path, BakeOptions(resume=True)).run(bpy.context)
    next(running)
    running.close()  # what a generator that is given up does
    assert len(names(tmp_path)) == 4


def test_cancelled_at_once_leaves_nothing(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    BakeJob(bpy.context, avatar, [1], tmp_path / "a" / "b").cancel()
    assert names(tmp_path) == []


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Files after the first ones are cut off, as on a disk that is full."""
    count = iter(range(1000))
    write = sequence.WRITERS["ply"]

    def failing(path: Path, gaussians: Any) -> None:
        write(path, gaussians)
        if next(count) >= after:
            os.truncate(path, 500)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(sequence.WRITERS, "ply", failing)


def test_full_disk(avatar: scene.ImportedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, 2)
    job = BakeJob(bpy.context, avatar, range(1, FRAMES + 1), tmp_path)
    with pytest.raises(BakeError, match=r"^Frame 3 cannot be written to .*: No space left on device\.$"):
        list(job.run(bpy.context))
    assert job.done and names(tmp_path) == ["Jo_0001.ply", "Jo_0002.ply", "sequence.json"]
    fill_disk(monkeypatch, 0)
    with pytest.raises(BakeError, match="No space left"):
        list(BakeJob(bpy.context, avatar, [1], tmp_path / "full").run(bpy.context))
    assert not (tmp_path / "full").exists()


def test_folder_that_cannot_be_written(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BakeError, match="cannot be written"):
        BakeJob(bpy.context, avatar, [1], tmp_path / "file" / "folder")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(BakeError, match=r"cannot be written: Permission denied\."):
            BakeJob(bpy.context, avatar, [1], tmp_path / "closed")
        with pytest.raises(BakeError, match="Permission denied"):
            BakeJob(bpy.context, avatar, [1], tmp_path / "closed" / "deeper")
        assert names(tmp_path / "closed") == []


def test_no_frames_and_hidden_avatars_are_refused(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    with pytest.raises(BakeError, match="no frames"):
        BakeJob(bpy.context, avatar, frame_range(5, 4), tmp_path / "a")
    with pytest.raises(BakeError, match="ply"):
        BakeOptions(format="obj")
    avatar.splats.hide_viewport = True
    with pytest.raises(BakeError, match="hidden"):
        BakeJob(bpy.context, avatar, [1], tmp_path / "a")
    assert names(tmp_path) == []


def test_avatar_deleted_while_baking(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    job = BakeJob(bpy.context, avatar, range(1, FRAMES + 1), tmp_path)
    job.step(bpy.context)
    scene.delete_avatar(avatar)
    with pytest.raises(BakeError, match=r"^Jo was deleted"):
        job.step(bpy.context)
    assert job.done and names(tmp_path) == ["Jo_0001.ply", "sequence.json"]


def test_a_frozen_copy_stays(avatar: scene.ImportedAvatar) -> None:
    bpy.context.scene.frame_set(4)
    avatar.armature.location = (0.5, 0.0, 0.0)
    before = scene.read_splats(bpy.context, avatar.splats, world=True)
    frozen = freeze_avatar(bpy.context, avatar)
    assert [m.name for m in frozen.modifiers] == [m.name for m in avatar.splats.modifiers if m.name == "Splats"]
    assert frozen.parent is None and frozen.animation_data is None and frozen[ROLE] == FROZEN
    assert bpy.context.object == frozen
    assert not any(name.startswith("bind:") for name in frozen.data.attributes.keys())
    assert scene.find_avatar(avatar.armature).splats == avatar.splats
    assert scene.find_avatar(frozen) is None
    bpy.context.scene.frame_set(1)
    scene.delete_avatar(avatar)
    after = scene.read_splats(bpy.context, frozen, world=True)
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)


@pytest.fixture
def operators() -> Iterator[None]:
    from humansplat.humansplat_blender.ui import baking

    for cls in baking.CLASSES:
        bpy.utils.register_class(cls)
    yield
    for cls in reversed(baking.CLASSES):
        bpy.utils.unregister_class(cls)


def test_operators(operators: None, avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 2, 4
    assert bpy.ops.humansplat.bake_sequence(directory=str(tmp_path)) == {"FINISHED"}
    assert names(tmp_path) == [*(f"Jo_{n:04d}.ply" for n in (2, 3, 4)), "sequence.json"]
    with pytest.raises(RuntimeError, match="There are no frames"):
        bpy.ops.humansplat.bake_sequence(directory=str(tmp_path), scene_range=False, frame_start=5, frame_end=4)
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.humansplat.freeze_avatar() == {"FINISHED"}
    assert bpy.context.object.name == "Jo Frozen"
    assert not bpy.ops.humansplat.bake_sequence.poll()  # the copy is no avatar
    assert not bpy.ops.humansplat.cancel_bake.poll()


def test_spz_files_in_axes_of_choice(avatar: scene.ImportedAvatar, tmp_path: Path) -> None:
    for name in ("y-up", "unity"):
        bake(avatar, tmp_path / name, range(1, 3), format="spz", axes=name)
    up, unity = (read_spz(tmp_path / name / "Jo_0002.spz") for name in ("y-up", "unity"))
    assert np.allclose(up.position * [-1, 1, 1], unity.position, atol=1e-6)
    assert index(tmp_path / "unity")["axes"].endswith("left-handed")
    with pytest.raises(BakeError, match="none called"):
        BakeOptions(axes="sideways")
