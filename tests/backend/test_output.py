"""Refusals before anything is computed: they name the reason and leave no folder. Errors go between processes."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import make_avatar

from backend.avatar import AvatarFormatError, load_avatar, save_avatar, whole
from backend.avatar.file_lock import FileLock
from backend.errors import BackendError, Cancelled
from backend.options import ReconstructOptions, shown
from backend.output import check_output, write_package
from backend.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01 made up"


def _refusal(output: Path) -> str:
    with pytest.raises(BackendError) as caught:
        check_output(output)
    assert caught.value.kind == "output_not_writable" and caught.value.fix
    assert "\n" not in caught.value.message
    caught.value.message.encode("utf-8")
    return caught.value.message


@pytest.mark.parametrize("name", ["a", "a/b/c", "ä 山田 it's & (x)", ".hidden", "x" * 200])
def test_a_good_place_is_as_it_was(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name)
    assert os.listdir(tmp_path) == []
    write_package(make_avatar(20), tmp_path / name, PNG, PNG)
    check_output(tmp_path / name)
    load_avatar(tmp_path / name)
    assert os.listdir((tmp_path / name).parent) == [Path(name).name]


def test_a_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    real = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "disk" or real(path))
    assert "whole disk" in _refusal(tmp_path / "disk")
    check_output(tmp_path / "disk" / "avatar")


def test_links(tmp_path: Path) -> None:
    try:
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        (tmp_path / "far").symlink_to(tmp_path / "real")
    except OSError:
        pytest.skip("no links here")
    _refusal(tmp_path / "circle")
    _refusal(tmp_path / "circle" / "avatar")
    check_output(tmp_path / "far")
    write_package(make_avatar(20), tmp_path / "far", PNG, PNG)
    os.rename(tmp_path / "real", tmp_path / f"{whole._prefix(tmp_path / 'real')}00000000.old")
    load_avatar(tmp_path / "far")  # looks for it where it was
    with pytest.raises(AvatarFormatError):
        load_avatar(tmp_path / "circle")
    assert (tmp_path / "far").is_symlink() and (tmp_path / "real" / "avatar.json").is_file()


@pytest.mark.parametrize("content", ['{"format": "another program\'s"}', "[" * 100_000, "", "[]"])
def test_a_foreign_folder_with_an_avatar_json_of_its_own(tmp_path: Path, content: str) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "avatar.json").write_text(content)
    assert "holds no avatar" in _refusal(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "avatar.json").read_text() == content


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are always text there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    assert "no text" in _refusal(tmp_path / os.fsdecode(b"caf\xe9"))
    assert os.listdir(tmp_path) == []


def test_names_that_the_disk_refuses(tmp_path: Path) -> None:
    _refusal(tmp_path / ("x" * 300))
    _refusal(tmp_path / "a" / ("x" * 300))
    _refusal(tmp_path / "a\0b")
    (tmp_path / "file").write_text("x")
    _refusal(tmp_path / "file")
    _refusal(tmp_path / "file" / "below")
    assert os.listdir(tmp_path) == ["file"]


def test_a_path_too_long_for_the_files_in_it(tmp_path: Path) -> None:
    """Renamed to a longer path, they could be written, but not read."""
    longest = os.pathconf(tmp_path, "PC_PATH_MAX") if hasattr(os, "pathconf") else 0
    if longest < 300:
        pytest.skip("no such limit is known here")
    place = tmp_path
    while len(str(place)) < longest - 9:
        room = longest - 9 - len(str(place))
        place /= "d" * (room if room <= 200 else 100)
    assert "too long" in _refusal(place)
    assert os.listdir(tmp_path) == []


def test_names_in_refusals_stay_on_one_line(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("no such names there")
    theirs = tmp_path / "a\nb\x1b[31m"
    theirs.mkdir()
    (theirs / "file").write_text("x")
    assert "\x1b" not in _refusal(theirs)
    assert len(_refusal(theirs / "file" / ("x" * 5000))) < 700
    assert shown("a\tb\udce9 👩‍👧") == "a\ufffdb\ufffd 👩‍👧"
    assert shown("a" * 50 + "b" * 50, 10) == "aaaaa…bbbbb"


def test_leftovers_do_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".x.write-test").mkdir()
    check_output(tmp_path / "x")
    save_avatar(make_avatar(20), tmp_path / "x")
    # Killed between the two renames: the next run's first look puts it back.
    os.rename(tmp_path / "x", tmp_path / f"{whole._prefix(tmp_path / 'x')}00000000.old")
    check_output(tmp_path / "x")
    load_avatar(tmp_path / "x")


def test_who_stops_while_writing_there_is_waited_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "x"
    theirs = tmp_path / f"{whole._prefix(folder)}00000000.new"
    save_avatar(make_avatar(20), folder)
    (theirs / "content").mkdir(parents=True)
    monkeypatch.setattr(whole, "_LOOKS", 3)
    with FileLock(theirs / "lock"):
        check_output(folder)
        os.rename(folder, theirs.with_suffix(".old"))
        assert "another program" in _refusal(folder)
    check_output(folder)
    load_avatar(folder)


def test_a_place_that_nobody_may_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir

    def refuse(path: Path, *rest: int, **named: int) -> None:
        if Path(path).name.startswith(".out."):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", refuse)
    _refusal(tmp_path / "a" / "out")
    assert os.listdir(tmp_path) == []


def test_a_bad_photo_leaves_no_folder(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no picture")
    with pytest.raises(BackendError):
        pipeline.reconstruct(tmp_path / "photo.jpg", tmp_path / "a" / "b" / "c", ReconstructOptions(preset="surface"))
    assert os.listdir(tmp_path) == ["photo.jpg"]


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 10**400])
def test_a_seed_that_no_generator_takes(pipeline: Pipeline, tmp_path: Path, seed: int) -> None:
    with pytest.raises(BackendError, match="seed") as caught:
        pipeline.reconstruct(tmp_path / "none.jpg", tmp_path / "a", ReconstructOptions(seed=seed))
    assert caught.value.kind == "arguments" and os.listdir(tmp_path) == []


class _Odd(BackendError):
    def __init__(self, place: str, *, size: int) -> None:
        super().__init__("odd", f"{place} is odd.", "Even it out.")
        self.size = size


@pytest.mark.parametrize("error", [BackendError("kind", "Message.", "Fix."), Cancelled(), _Odd("Here", size=3)])
def test_errors_go_between_processes(error: BackendError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error) and again.__dict__ == error.__dict__ and str(again) == str(error)
        assert (again.kind, again.message, again.fix) == (error.kind, error.message, error.fix)


def test_errors_leave_a_pool_of_processes(tmp_path: Path) -> None:
    """What happens to a pool whose worker raises an error that cannot be unpickled is that it breaks, or hangs."""
    (tmp_path / "work.py").write_text(
        "from backend.errors import BackendError\n"
        "def fail(_):\n    raise BackendError('no_person', 'Nobody.', 'Look.')\n"
    )
    program = (
        "import work\nfrom concurrent.futures import ProcessPoolExecutor\nfrom backend.errors import BackendError\n"
        "if __name__ == '__main__':\n    with ProcessPoolExecutor(1) as pool:\n        try:\n"
        "            list(pool.map(work.fail, [1]))\n        except BackendError as error:\n"
        "            print(error.kind, error.message, error.fix)\n"
    )
    (tmp_path / "main.py").write_text(program)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.strip() == "no_person Nobody. Look."
