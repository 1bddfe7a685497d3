"""Pictures besides the photo: what is sent to the backend, what is refused before anything starts. Needs no bpy."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from humansplat_blender import jobs  # noqa: E402  (after the path)
from humansplat_blender.client import Failure  # noqa: E402
from humansplat_blender.jobs import BackendSpec, JobManager, ReconstructJob, State  # noqa: E402
from humansplat_blender.pictures import Picture, find_fault  # noqa: E402
from humansplat_blender.results import ResultFolder  # noqa: E402

#: A backend that notes what it was asked in a file beside the avatar, which is an empty folder.
_BACKEND = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    result = {"protocol": 1}
    if asked.get("method") == "reconstruct":
        os.makedirs(asked["params"]["output"])
        with open(ASKED, "w", encoding="utf-8") as file:
            json.dump(asked["params"], file)
        result = {"package": asked["params"]["output"]}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def _picture(folder: Path, name: str, side: str) -> Picture:
    path = folder / name
    path.write_bytes(b"a picture")
    return Picture(path, side)


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: tuple[Picture, ...]) -> tuple[JobManager, dict]:
    """One reconstruction; the manager afterwards, and the parameters that arrived (none: nothing was started)."""
    asked = tmp_path / "asked.json"
    asked.unlink(missing_ok=True)
    code = _BACKEND.replace("ASKED", repr(str(asked)))
    monkeypatch.setattr(jobs, "backend_command", lambda python, *rest: [sys.executable, "-c", code])
    manager = JobManager(lambda result: "")
    spec = BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt")
    job = ReconstructJob(tmp_path / "photo.jpg", pictures=pictures)
    manager.start_reconstruct(job, spec, ResultFolder(tmp_path / "results"))
    end = time.monotonic() + 20.0
    while manager.busy:
        assert time.monotonic() < end
        manager.pump()
        time.sleep(0.01)
    manager.close()
    return manager, json.loads(asked.read_text("utf-8")) if asked.exists() else {}


def test_the_request_names_files_and_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = ("back", "left", "right", "other", "other")
    pictures = tuple(_picture(tmp_path, f"{number}é.jpg", side) for number, side in enumerate(sides))
    manager, asked = _run(tmp_path, monkeypatch, pictures)
    assert asked["pictures"] == [
        {"path": str(tmp_path / f"{number}é.jpg"), "side": side} for number, side in enumerate(sides)
    ]
    assert all(Path(picture["path"]).is_absolute() for picture in asked["pictures"])
    assert ResultFolder(tmp_path / "results").folder.is_dir() and manager.failure is None


def test_without_pictures_the_request_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = _run(tmp_path, monkeypatch, ())
    names = {"image", "output", "preset", "seed", "person", "device", "body", "shading"}
    assert set(asked) == names


def test_the_lower_garment_is_asked_for_where_it_is_said(tmp_path: Path) -> None:
    for lower, asked in (("auto", False), ("skirt", True)):
        _, params = ReconstructJob(tmp_path / "photo.png", lower=lower).request(tmp_path / "avatar")
        assert ("lower" in params) == asked and params.get("lower", "auto") == lower


@pytest.mark.parametrize(
    ("side", "sentence"),
    [
        ("back", "The picture of the back, gone.jpg, is not there any more."),
        ("left", "The picture of the left side, gone.jpg, is not there any more."),
        ("right", "The picture of the right side, gone.jpg, is not there any more."),
        ("other", "One of the further pictures, gone.jpg, is not there any more."),
    ],
)
def test_a_missing_picture_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, sentence: str
) -> None:
    pictures = (_picture(tmp_path, "there.jpg", "other"), Picture(tmp_path / "gone.jpg", side))
    manager, asked = _run(tmp_path, monkeypatch, pictures)
    assert manager.state is State.IDLE and not asked and not manager.backend_running
    assert manager.failure == Failure("picture_unreadable", sentence, "Choose it again or remove it.")
    assert not (tmp_path / "results").exists() and not (tmp_path / "log.txt").exists()


def test_what_is_no_readable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, empty = tmp_path / "folder.jpg", tmp_path / "empty.jpg"
    folder.mkdir()
    empty.touch()
    for path, said in (
        (folder, "is not a file."),
        (empty, "is an empty file."),
        (Path("x\0y"), "is not there any more."),
    ):
        fault = find_fault([Picture(path, "back")])
        assert fault is not None and fault.message == f"The picture of the back, {path.name}, {said}"

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    locked = _picture(tmp_path, "locked.jpg", "left")
    monkeypatch.setattr(Path, "open", refuse)
    fault = find_fault([locked])
    assert fault is not None
    assert fault.message == "The picture of the left side, locked.jpg, cannot be read: Permission denied."


def test_too_many_pictures_and_sides_twice(tmp_path: Path) -> None:
    nine = [_picture(tmp_path, f"{number}.jpg", "other") for number in range(9)]
    assert find_fault(nine[:8]) is None
    assert find_fault(nine).message == "9 pictures are given besides the photo, and 8 are the most."
    twice = [Picture(nine[0].path, "left")] * 2
    assert find_fault(twice).message == "2 pictures are given of the left side, and one is the most."
    assert find_fault([Picture(nine[0].path, "top")]).message == "There is no side 'top' of a person."
