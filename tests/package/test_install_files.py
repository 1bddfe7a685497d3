"""Files that are in use, and the lock between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from extension_under_test import ROOT
from windows_files import OpenFiles, busy

from humansplat_blender.install import files


def fill(folder: Path) -> Path:
    """A folder with three files; gives the deepest."""
    deep = folder / "Lib" / "site-packages" / "torch.pyd"
    deep.parent.mkdir(parents=True)
    for path in (folder / "pyvenv.cfg", deep, deep.with_name("numpy.pyd")):
        path.write_text(path.name)
    return deep


def test_what_a_scanner_holds_is_renamed_a_little_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = fill(tmp_path / "env1")
    scanner = OpenFiles(monkeypatch, held, until=3)
    began = time.monotonic()
    aside = files.set_aside(tmp_path / "env1")
    assert scanner.refusals == 3 and 0.1 < time.monotonic() - began < 2.0
    assert len(aside.name) <= len("env1")  # its files' paths grow no longer, so that they can be deleted
    assert aside.is_dir() and not (tmp_path / "env1").exists()
    assert files.set_aside_before(tmp_path) == [aside]


def test_a_folder_in_use_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = fill(tmp_path / "env1")
    OpenFiles(monkeypatch, held)
    with pytest.raises(PermissionError):
        files.set_aside(tmp_path / "env1", patience=0.2)
    assert held.read_text() == "torch.pyd" and held.with_name("numpy.pyd").exists()
    assert files.set_aside_before(tmp_path) == []


def test_deleting_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = fill(tmp_path / "old1")
    program = OpenFiles(monkeypatch, held)
    assert not files.delete(tmp_path / "old1", patience=0.2)
    assert held.exists()
    program.paths.clear()
    assert files.delete(tmp_path / "old1")
    assert list(tmp_path.iterdir()) == []
    assert files.delete(tmp_path / "old1")  # gone already


def test_what_does_not_help_is_not_tried_again() -> None:
    calls = []

    def full() -> None:
        calls.append(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.retry(full)
    assert len(calls) == 1


@pytest.mark.parametrize("code", [5, 32, 33, 145])
def test_errors_of_windows_that_pass(code: int) -> None:
    assert files.is_busy(busy("x", code))


def test_errors_of_windows_that_do_not_pass() -> None:
    assert not files.is_busy(busy("x", 206)) and not files.is_busy(busy("x", 112))


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_read_only_files_are_deleted(tmp_path: Path) -> None:
    fill(tmp_path / "old1").chmod(0o444)
    assert files.delete(tmp_path / "old1")


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_what_a_link_leads_to_keeps_its_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment's ``python`` is a link to the one that it was made from, which is not ours."""
    (tmp_path / "python3").touch(0o644)
    (tmp_path / "old1").mkdir()
    (tmp_path / "old1" / "python").symlink_to(tmp_path / "python3")
    OpenFiles(monkeypatch, tmp_path / "old1" / "python")
    mode = (tmp_path / "python3").stat().st_mode
    assert not files.delete(tmp_path / "old1", patience=0.1)
    assert (tmp_path / "python3").stat().st_mode == mode


def test_a_file_is_deleted_too(tmp_path: Path) -> None:
    (tmp_path / "old1").touch()
    assert files.delete(tmp_path / "old1") and not (tmp_path / "old1").exists()


def test_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "marker.json"
    files.write_text(path, "one")
    part = tmp_path / f"marker.json.{os.getpid()}.part"
    OpenFiles(monkeypatch, part)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with pytest.raises(PermissionError):
        files.write_text(path, "two")
    assert path.read_text() == "one"


def test_lock_between_objects(tmp_path: Path) -> None:
    first, second = files.ProcessLock(tmp_path / "lock"), files.ProcessLock(tmp_path / "lock")
    assert first.acquire() and not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    second.release()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from humansplat_blender.install.files import ProcessLock;"
        "lock = ProcessLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b"True"
        lock = files.ProcessLock(tmp_path / "lock")
        assert not lock.acquire()
        holder.kill()
        holder.wait()
        assert lock.acquire()
        lock.release()
