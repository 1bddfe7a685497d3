"""Files and folders that change in one step, with the process killed before each of its steps."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_avatar

from backend.avatar import load_avatar, save_avatar, whole
from backend.avatar.file_lock import FileLock, is_held

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01 made up"

STEPS = ("rename", "replace", "mkdir", "fsync", "unlink", "rmdir")
FIRST, SECOND = ("Made up.",), ("Second.",)
_AVATARS = {FIRST: make_avatar(50, seed=1), SECOND: dataclasses.replace(make_avatar(50, seed=2), warnings=SECOND)}


class _Death(BaseException):
    """What ends a process: from here on nothing that it does reaches the disk."""


class _Mortal:
    """Lets so many calls that change names on the disk happen, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        for name in STEPS:
            monkeypatch.setattr(os, name, self._deadly(getattr(os, name)))
        monkeypatch.setattr(whole.shutil, "rmtree", self._deadly(shutil.rmtree))

    def _deadly(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self.left == 0:
                raise _Death
            self.left -= 1
            return function(*arguments, **named)

        return call


def _replace(folder: Path, steps: int) -> bool:
    """Whether a replacement came to its end within so many steps."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _Mortal(monkeypatch, steps)
        try:
            save_avatar(_AVATARS[SECOND], folder)
        except _Death:
            return False
    return True


def _grow_old(folder: Path) -> None:
    """What has no lock any more, or none yet, might be somebody's who has just begun."""
    for left in folder.iterdir():
        os.utime(left, (0, 0))


@pytest.mark.parametrize("reader", ["load", "save"])
def test_killed_at_any_step_the_old_or_the_new_avatar_is_there(tmp_path: Path, reader: str) -> None:
    seen, steps, missing, ended = set(), 0, 0, False
    while not ended:
        folder = tmp_path / str(steps) / "avatar"
        save_avatar(_AVATARS[FIRST], folder, PNG)
        (folder / "exported.glb").write_bytes(b"mine")
        ended = _replace(folder, steps)
        missing += not folder.exists()
        if reader == "save":
            _grow_old(folder.parent)
            save_avatar(_AVATARS[FIRST], folder, PNG)
            assert os.listdir(folder.parent) == ["avatar"]
        found = load_avatar(folder)
        seen.add(found.warnings)
        assert (folder / "exported.glb").read_bytes() == b"mine"
        assert (folder / "input.png").exists() == (found.warnings != SECOND)
        steps += 1
    assert steps > 12
    assert seen == ({FIRST, SECOND} if reader == "load" else {FIRST})
    assert missing == 2  # after the old one went aside, and after its other files came over


def test_killed_while_the_first_avatar_is_written_nothing_stays(tmp_path: Path) -> None:
    folder = tmp_path / "avatar"
    for steps in range(3, 9):
        assert not _replace(folder, steps)
        assert not folder.exists() and os.listdir(tmp_path)
    _grow_old(tmp_path)
    save_avatar(_AVATARS[FIRST], folder)
    assert os.listdir(tmp_path) == ["avatar"]


def test_a_process_that_is_really_killed(tmp_path: Path) -> None:
    """Its lock goes with it, so that the next one puts back what it had taken away."""
    folder = tmp_path / "avatar"
    save_avatar(_AVATARS[FIRST], folder)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom backend.avatar import whole\n"
        "real = whole.rename\n"
        "def rename(source, target):\n"
        "    if target == Path(sys.argv[1]):\n"
        "        print('between', flush=True)\n"
        "        sys.stdin.read()\n"
        "    real(source, target)\n"
        "whole.rename = rename\n"
        "with whole.whole_folder(Path(sys.argv[1])) as content:\n    (content / 'new').write_text('a')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == b"between"
        assert whole.recover(folder) and not folder.exists()  # it is at work
    finally:
        child.kill()
        child.wait()
    assert load_avatar(folder).warnings == FIRST
    save_avatar(_AVATARS[FIRST], folder)
    assert os.listdir(tmp_path) == ["avatar"]


def test_who_reads_while_it_is_replaced_waits_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "avatar"
    save_avatar(_AVATARS[FIRST], folder)
    real, found = whole.rename, []

    def slow(source: Path, target: Path) -> None:
        if target == folder:
            reader = threading.Thread(target=lambda: found.append(load_avatar(folder).warnings))
            reader.start()
            readers.append(reader)
            time.sleep(0.3)
        real(source, target)

    readers: list[threading.Thread] = []
    monkeypatch.setattr(whole, "rename", slow)
    save_avatar(_AVATARS[SECOND], folder)
    readers[0].join(10)
    assert found == [SECOND]


def test_who_finds_the_old_one_taken_away_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "avatar"
    save_avatar(_AVATARS[FIRST], folder)
    (folder / "exported.glb").write_bytes(b"mine")
    real, waits = whole.rename, []
    theirs = tmp_path / f"{whole._prefix(folder)}00000000.new"
    lock = FileLock(theirs / "lock")

    def end() -> None:
        os.rename(theirs.with_suffix(".old"), folder)
        lock.release()

    def rename(source: Path, target: Path) -> None:
        if source == folder and not waits:
            (theirs / "content").mkdir(parents=True)
            lock.acquire()
            os.rename(folder, theirs.with_suffix(".old"))
            waits.append(threading.Timer(0.3, end))
            waits[0].start()
        real(source, target)

    monkeypatch.setattr(whole, "rename", rename)
    save_avatar(_AVATARS[SECOND], folder)
    assert waits and load_avatar(folder).warnings == SECOND
    assert (folder / "exported.glb").read_bytes() == b"mine"
    save_avatar(_AVATARS[SECOND], folder)
    assert os.listdir(tmp_path) == ["avatar"]


def test_who_finds_another_one_where_nothing_was_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "avatar"
    real, others = whole.rename, []

    def rename(source: Path, target: Path) -> None:
        if target == folder and not others:
            others.append(True)
            save_avatar(_AVATARS[FIRST], folder)
        real(source, target)

    monkeypatch.setattr(whole, "rename", rename)
    save_avatar(_AVATARS[SECOND], folder)
    assert others and load_avatar(folder).warnings == SECOND
    assert os.listdir(tmp_path) == ["avatar"]


def test_who_stops_between_is_not_overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has taken over of the user's would be lost."""
    folder = tmp_path / "avatar"
    save_avatar(_AVATARS[FIRST], folder)
    (folder / "exported.glb").write_bytes(b"mine")
    monkeypatch.setattr(whole, "_LOOKS", 3)
    real, refused = whole.rename, []

    def rename(source: Path, target: Path) -> None:
        if target == folder and not refused:
            refused.append(True)
            with pytest.raises(TimeoutError, match="another program"):
                save_avatar(_AVATARS[FIRST], folder)
        real(source, target)

    monkeypatch.setattr(whole, "rename", rename)
    save_avatar(_AVATARS[SECOND], folder)
    assert refused and load_avatar(folder).warnings == SECOND
    assert os.listdir(tmp_path) == ["avatar"] and (folder / "exported.glb").read_bytes() == b"mine"


def test_who_has_just_begun_is_left_alone(tmp_path: Path) -> None:
    """Its lock is there a moment before it is held."""
    folder = tmp_path / "avatar"
    staging = tmp_path / f"{whole._prefix(folder)}00000000.new"
    staging.mkdir()
    (staging / "lock").write_bytes(b"")
    whole.recover(folder)
    assert staging.is_dir()
    _grow_old(tmp_path)
    whole.recover(folder)
    assert os.listdir(tmp_path) == []


def test_what_others_write_right_now_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "avatar"
    with whole.whole_folder(folder) as content:
        (content / "mine").write_text("a")
        with whole.whole_folder(folder) as second:
            (second / "theirs").write_text("b")
        assert (folder / "theirs").is_file() and (content / "mine").is_file()
    assert os.listdir(folder) == ["mine"] and os.listdir(tmp_path) == ["avatar"]


def test_a_kept_file_of_a_strangers_list_stays_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "avatar"
    prefix = whole._prefix(folder)
    old, new = (tmp_path / f"{prefix}00000000{ending}" for ending in (".old", ".new"))
    for place in (old, new / "content"):
        place.mkdir(parents=True)
    (tmp_path / "victim").write_text("mine")
    (new / "kept.json").write_text('["../../victim", "..", 5, "gone"]')
    (new / "lock").write_bytes(b"")
    whole.recover(folder)
    assert folder.is_dir() and (tmp_path / "victim").read_text() == "mine"


def test_a_scanner_that_holds_the_file_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if len(refused) < 2:
            refused.append(source)
            raise PermissionError(13, "The process cannot access the file because it is being used", str(source))
        real(source, target)

    monkeypatch.setattr(whole.os, "rename", rename)
    save_avatar(make_avatar(20), tmp_path / "avatar")
    assert len(refused) == 2 and os.listdir(tmp_path) == ["avatar"]
    load_avatar(tmp_path / "avatar")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_disk_that_cannot_write_through_or_fails_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    save_avatar(_AVATARS[FIRST], tmp_path / "avatar")

    def fail(_handle: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        if code == errno.EINVAL:  # a drive that knows no such thing is used all the same
            save_avatar(_AVATARS[SECOND], tmp_path / "avatar")
        else:
            with pytest.raises(OSError):
                save_avatar(_AVATARS[SECOND], tmp_path / "avatar")
    assert load_avatar(tmp_path / "avatar").warnings == (SECOND if code == errno.EINVAL else FIRST)
    assert os.listdir(tmp_path) == ["avatar"]


def test_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ValueError), whole.whole_file(target) as part:
        part.write_text("half")
        raise ValueError
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with whole.whole_file(target) as part:
        part.write_text("new")
    assert target.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_lock_is_let_go_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom backend.avatar.file_lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]))\nlock.acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == b"held"
        assert is_held(path) is True
        with pytest.raises(TimeoutError):
            FileLock(path, timeout=0.1).acquire()
    finally:
        child.kill()
        child.wait()
    started = time.monotonic()
    with FileLock(path, timeout=5):
        assert time.monotonic() - started < 2
    assert is_held(path) is False
