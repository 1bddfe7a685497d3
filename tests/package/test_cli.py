"""Blender's own command line, by the function behind it, in the installed extension with the made-up backend."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from extension_under_test import MODULE, ROOT


@pytest.fixture
def cli(addon: SimpleNamespace) -> ModuleType:
    """The module of the installed extension."""
    import importlib

    return importlib.import_module(f"{MODULE}.humansplat_blender.cli")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar package of the made-up figure."""
    sys.path.insert(0, str(ROOT / "tests"))
    from fake_backend import make_avatar

    from backend.avatar import save_avatar

    folder = tmp_path_factory.mktemp("avatars") / "figure"
    save_avatar(make_avatar(300), folder)
    return folder


@pytest.fixture
def fails(cli: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail in an expected way; the one sentence that it says."""

    def run(*argv: object) -> str:
        capsys.readouterr()
        assert cli.main([str(word) for word in argv]) == 2
        text = capsys.readouterr().err
        lines = [line for line in text.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1 and "Traceback" not in text, text
        return lines[0].removeprefix("Error: ")

    return run


def avatar_armature() -> bpy.types.Object:
    (armature,) = [obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]
    return armature


def test_blender_learns_the_command_and_forgets_it(cli: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[object, tuple[str, Any]] = {}
    cli.unregister()

    def register(name: str, run: Any) -> object:
        handle = object()
        known[handle] = (name, run)
        return handle

    monkeypatch.setattr(bpy.utils, "register_cli_command", register)
    monkeypatch.setattr(bpy.utils, "unregister_cli_command", known.pop)
    cli.register()
    cli.register()
    assert list(known.values()) == [("humansplat", cli.main)]
    cli.unregister()
    cli.unregister()
    assert not known
    monkeypatch.undo()
    cli.register()  # Blender's own takes it
    cli.unregister()


def test_pictures_of_other_sides(
    cli: ModuleType,
    addon: SimpleNamespace,
    fails: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs: list[Any] = []

    def reconstruct(_manager: Any, job: Any, *_: Any) -> str:
        jobs.append(job)
        return "enough seen."

    back, left, first, second = (addon.photo(stem) for stem in ("b", "l", "a", "c"))
    with monkeypatch.context() as patch:
        patch.setattr(cli, "_one_photo", reconstruct)
        fails("reconstruct", addon.photo("one"), "--back", back, "--left", left, "--more", first, second)
        fails("reconstruct", addon.photo("one"))
        fails("reconstruct", addon.photo("one"), "--sides", "sv3d")
    assert [job.sides for job in jobs] == ["built-in", "built-in", "sv3d"]
    sides = [(Path(back), "back"), (Path(left), "left"), (Path(first), "other"), (Path(second), "other")]
    assert [(picture.path, picture.side) for picture in jobs[0].pictures] == sides and jobs[1].pictures == ()
    assert "give one photo with them" in fails("reconstruct", addon.photo("one"), addon.photo("two"), "--back", back)
    Path(back).unlink()
    said = fails("reconstruct", addon.photo("one"), "--back", back)
    assert "The picture of the back, b.png, is not there any more." in said
    assert not addon.results.exists()


def test_reconstruct_goes_on_after_a_failure(
    cli: ModuleType, addon: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    objects = set(bpy.data.objects)
    photos = [addon.photo("one"), addon.photo("no_person"), str(tmp_path / "gone.png"), addon.photo("two")]
    assert cli.main(["reconstruct", *photos]) == 2
    out, err = capsys.readouterr()
    made = [line for line in out.splitlines() if ".png: " in line]
    assert [line.split(" (")[0] for line in made] == [
        f"{photos[0]}: {addon.results / 'one'}",
        f"{photos[3]}: {addon.results / 'two'}",
    ]
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert errors[0].startswith(f"Error: {photos[1]}: There is no person in the photo.")
    assert errors[1] == f"Error: {photos[2]}: there is no such file."
    assert "Traceback" not in err
    assert set(bpy.data.objects) == objects  # packages alone, nothing is imported
    assert cli.main(["reconstruct", photos[0], "-o", str(tmp_path / "elsewhere"), "--preset", "surface"]) == 0
    made = json.loads((tmp_path / "elsewhere" / "one" / "avatar.json").read_text())
    assert made["format"] == "humansplat-avatar"


def test_without_a_backend(fails: Callable[..., str], addon: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", "/nonexistent/python")
    addon.runtime.forget_environment()
    assert "The backend is not installed" in fails("reconstruct", addon.photo("photo"))


def test_pose_writes_a_file(cli: ModuleType, package: Path, tmp_path: Path) -> None:
    files = {}
    for pose in ("rest", "photo", "a_pose"):
        files[pose] = tmp_path / "made" / f"{pose}.blend"
        assert cli.main(["pose", str(package), "--pose", pose, "-o", str(files[pose])]) == 0
    angles = {}
    for pose, file in files.items():
        bpy.ops.wm.open_mainfile(filepath=str(file))
        angles[pose] = avatar_armature().pose.bones["left_shoulder"].rotation_quaternion.angle
        assert bpy.context.scene.camera is not None
        assert bpy.context.scene.view_settings.view_transform == "Standard"
    assert angles["rest"] < 1e-6
    assert abs(angles["photo"] - 0.9) < 1e-5
    assert 0.3 < angles["a_pose"] < 1.4


def test_animate_writes_and_bakes(cli: ModuleType, package: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "walk.blend", tmp_path / "frames"
    argv = ["animate", str(package), "--motion", "walk", "--in-place", "-o", str(file), "--bake", str(folder)]
    assert cli.main(argv) == 0
    bpy.ops.wm.open_mainfile(filepath=str(file))
    scene = bpy.context.scene
    assert avatar_armature().animation_data.action is not None
    assert scene.frame_start == 1 and 10 < scene.frame_end < 60
    assert len(list(folder.glob("figure_*.ply"))) == scene.frame_end
    assert json.loads((folder / "sequence.json").read_text())["complete"]
    # The file is baked as the package was.
    first = (folder / "figure_0002.ply").read_bytes()
    (folder / "figure_0002.ply").unlink()
    argv = ["bake", str(file), "-o", str(folder), "--frames", "1", "3", "--resume"]
    assert cli.main(argv) == 0
    assert (folder / "figure_0002.ply").read_bytes() == first


def test_a_motion_file(cli: ModuleType, package: Path, tmp_path: Path) -> None:
    motion, file = tmp_path / "bow.npz", tmp_path / "bow.blend"
    poses = np.zeros((5, 24, 3))
    poses[:, 3, 0] = np.linspace(0, 0.8, 5)
    np.savez(motion, poses=poses, trans=np.zeros((5, 3)), mocap_framerate=24.0)
    assert cli.main(["animate", str(package), "--motion", str(motion), "-o", str(file)]) == 0
    assert bpy.context.scene.frame_end == 5
    bpy.context.scene.frame_set(5)
    assert abs(avatar_armature().pose.bones["spine1"].rotation_quaternion.angle - 0.8) < 1e-3


@pytest.mark.parametrize("from_file", [False, True])
def test_render_shows_the_avatar(cli: ModuleType, package: Path, tmp_path: Path, from_file: bool) -> None:
    source, picture = package, tmp_path / "new" / "picture.png"
    if from_file:
        source = tmp_path / "file.blend"
        assert cli.main(["pose", str(package), "-o", str(source)]) == 0
    small = ["--engine", "cycles", "--samples", "2", "--size", "48"]
    assert cli.main(["render", str(source), "--frame", "3", "-o", str(picture), *small]) == 0
    assert [path.name for path in picture.parent.iterdir()] == ["picture.png"]
    image = bpy.data.images.load(str(picture))
    width, height = image.size
    assert max(width, height) == 48
    if not from_file:
        alpha = np.array(image.pixels[:]).reshape(height, width, 4)[..., 3]
        rows, columns = np.nonzero(alpha > 0.1)
        assert alpha[[0, -1]].max() < 0.1 and alpha[:, [0, -1]].max() < 0.1  # all of it is in the picture
        assert np.ptp(rows) > 24 and abs(columns.mean() - 23.5) < 6
    assert bpy.context.scene.frame_current == 3


def test_errors_are_one_sentence(fails: Callable[..., str], package: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.blend"
    assert "is not an avatar package" in fails("pose", tmp_path / "nothing", "-o", out)
    assert "There is no pose 'walk'" in fails("pose", package, "--pose", "walk", "-o", out)
    assert "must end in .blend or .png" in fails("pose", package, "-o", tmp_path / "out.jpg")
    assert "neither a file nor a motion" in fails("animate", package, "--motion", "fly", "-o", out)
    (tmp_path / "text.bvh").write_text("no motion")
    assert "text.bvh" in fails("animate", package, "--motion", tmp_path / "text.bvh", "-o", out)
    assert "There is no file" in fails("render", tmp_path / "gone.blend", "-o", tmp_path / "a.png")
    (tmp_path / "text.blend").write_text("no file of Blender")
    assert "text.blend" in fails("bake", tmp_path / "text.blend", "-o", tmp_path / "frames")
    assert "no frames" in fails("bake", package, "-o", tmp_path / "frames", "--frames", "5", "4")
    (tmp_path / "in the way").write_text("")
    assert "cannot be written" in fails("bake", package, "-o", tmp_path / "in the way" / "frames")
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "empty.blend"))
    assert "There is no avatar" in fails("bake", tmp_path / "empty.blend", "-o", tmp_path / "frames")
    assert "neither a camera nor an avatar" in fails("render", tmp_path / "empty.blend", "-o", tmp_path / "a.png")
    assert not out.exists() and not (tmp_path / "frames").exists()


def test_which_avatar(cli: ModuleType, fails: Callable[..., str], package: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.blend"
    assert cli.main(["pose", str(package), "-o", str(file)]) == 0
    bpy.ops.humansplat.import_avatar(directory=str(package))
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    told = fails("bake", file, "-o", tmp_path / "frames")
    assert "--avatar" in told and "figure, figure-2" in told
    argv = ["bake", str(file), "--avatar", "figure-2", "--frames", "1", "1", "-o", str(tmp_path / "frames")]
    assert cli.main(argv) == 0
    assert sorted(os.listdir(tmp_path / "frames")) == ["figure-2_0001.ply", "sequence.json"]


@pytest.mark.parametrize("argv", [[], ["dance"], ["pose", "a"], ["reconstruct", "a", "--shading", "2"]])
def test_wrong_arguments(cli: ModuleType, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    assert "usage: blender -b --command humansplat" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0


def test_export_writes_the_target_s_folder(
    cli: ModuleType, package: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert cli.main(["animate", str(package), "--motion", "walk", "-o", str(tmp_path / "walk.blend")]) == 0
    assert cli.main(["export", str(tmp_path / "walk.blend"), "--to", "blender", "-o", str(tmp_path / "out")]) == 0
    (folder,) = (tmp_path / "out").iterdir()
    index = json.loads((folder / "export.json").read_text("utf-8"))
    assert folder.name == "figure blender" and [clip["name"] for clip in index["clips"]] == ["Walk"]
    assert {"figure.glb", "figure_splats.glb", "figure.ply", "skin.json"} <= {path.name for path in folder.iterdir()}
    (folder / "export.json").unlink()
    again = fails("export", tmp_path / "walk.blend", "--to", "blender", "-o", tmp_path / "out")
    assert "not empty" in again
    assert "no avatar" in fails("export", _empty(tmp_path), "--to", "web", "-o", tmp_path / "out")


def _empty(folder: Path) -> Path:
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "empty.blend"))
    return folder / "empty.blend"
