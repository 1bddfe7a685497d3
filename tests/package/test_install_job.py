"""Installing and removing the backend's environment; commands are made up, processes are real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from extension_under_test import ROOT
from windows_files import OpenFiles

from humansplat_blender.environment import LEGACY_NAME, MARKER_NAME, SLOTS, installed_folder, is_whole, python_in
from humansplat_blender.install import InstallJob, clean_up, files, job, machine, remove
from humansplat_blender.install.job import LOCK_NAME, explain
from humansplat_blender.install.machine import Build, Card, Machine
from humansplat_blender.install.steps import Step, install_steps


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    monkeypatch.setattr(machine, "find_cards", list)
    monkeypatch.setattr(job, "LOCK_PATIENCE", 0.3)


def command(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def make_job(tmp_path: Path, *codes: str, old_roots: Sequence[Path] = ()) -> InstallJob:
    """A job whose first step makes a folder like an environment, and whose others run Python code."""

    def steps(folder: Path) -> list[Step]:
        code = (
            "import pathlib, sys; python = pathlib.Path(sys.argv[1]); python.parent.mkdir(parents=True);"
            "python.touch(); print('made it')"
        )
        making = Step("Making", 1.0, command(code, str(python_in(folder))))
        return [making, *(Step("Filling", 1.0, command(code, str(folder))) for code in codes)]

    return InstallJob(Path(sys.executable), tmp_path / "user", ROOT, tmp_path / "install.log", old_roots, steps)


def run(work: InstallJob, seconds: float = 20.0) -> InstallJob:
    work.start()
    assert work.wait(seconds)
    return work


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK_NAME)


def test_installation_appears_whole(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; folder = pathlib.Path(sys.argv[1]);"
        f"print('marked' if (folder / {MARKER_NAME!r}).exists() else 'not yet')"
    )
    work = run(make_job(tmp_path, code))
    assert work.failure is None and work.notes == []
    assert work.fraction == pytest.approx(1.0)
    assert names(tmp_path / "user") == ["env1"]
    assert installed_folder([tmp_path / "user"]) == tmp_path / "user" / "env1"
    assert {"made it", "not yet"} <= set((tmp_path / "install.log").read_text().splitlines())
    assert json.loads((tmp_path / "user" / "env1" / MARKER_NAME).read_text())["torch"] == "cpu"
    assert remove([tmp_path / "user", tmp_path / "never-there"]) is None
    assert names(tmp_path / "user") == []


def test_failure_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    run(make_job(tmp_path))
    before = (tmp_path / "user" / "env1" / MARKER_NAME).read_text()
    work = run(make_job(tmp_path, "print('ProxyError: no way out'); raise SystemExit(1)"))
    assert work.failure.kind == "install_failed"
    assert "exit code 1" in work.failure.message and "internet" in work.failure.fix
    assert "ProxyError" in work.failure.details
    assert names(tmp_path / "user") == ["env1"]
    assert (tmp_path / "user" / "env1" / MARKER_NAME).read_text() == before


def test_the_new_one_takes_the_old_one_s_place_and_leftovers_go(tmp_path: Path) -> None:
    user, earlier = tmp_path / "user", tmp_path / "earlier"
    run(make_job(tmp_path))
    for name in ("env2", "old1", "environment-0123abcd.partial", "environment-0123abcd.trash"):
        (user / name / "Lib").mkdir(parents=True)
    python_in(earlier / LEGACY_NAME).parent.mkdir(parents=True)
    python_in(earlier / LEGACY_NAME).touch()
    (earlier / LEGACY_NAME / MARKER_NAME).write_text("{}")
    work = run(make_job(tmp_path, old_roots=[earlier]))
    assert work.failure is None and work.notes == []
    assert names(user) == ["env3"] and is_whole(user / "env3")
    assert names(earlier) == []


def test_the_old_one_stays_until_the_last_step_has_worked(tmp_path: Path) -> None:
    """The last step is ``doctor``: an environment that does not answer is never taken for one."""
    steps = install_steps(Path("python"), tmp_path / "env", ROOT, "linux-x64", "cpu", (3, 11))
    assert steps[-1].command[-3:] == ("-m", "backend", "doctor")
    run(make_job(tmp_path))
    work = run(make_job(tmp_path, "pass", "raise SystemExit(2)"))
    assert "exit code 2" in work.failure.message
    assert installed_folder([tmp_path / "user"]) == tmp_path / "user" / "env1"


def test_the_panel_shows_what_pip_says_without_its_bars(tmp_path: Path) -> None:
    lines = ["   \u2501\u2501\u2578 12.5/526.6 MB 9.1 MB/s", "\u2501\u2501\u2501", "WARNING: an old pip"]
    work = run(make_job(tmp_path, f"import sys; sys.stdout.buffer.write({chr(10).join(lines)!r}.encode())"))
    assert work.last_line == "12.5/526.6 MB 9.1 MB/s"
    assert lines[1] in (tmp_path / "install.log").read_text("utf-8")


def test_lines_without_end_stay_short(tmp_path: Path) -> None:
    work = run(make_job(tmp_path, "print('x' * 5_000_000)"))
    assert work.failure is None and work.last_line == "x" * job.SHOWN_CHARACTERS
    assert sum(map(len, work._tail)) <= 40 * job.KEPT_CHARACTERS


def test_a_log_that_cannot_be_written_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def __init__(self, *_arguments: object, **_named: object) -> None:
            self.lines = 0

        def __enter__(self) -> FullDisk:
            return self

        def __exit__(self, *_error: object) -> None: ...

        def flush(self) -> None: ...

        def write(self, _text: str) -> None:
            self.lines += 1
            if self.lines > 4:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "open", FullDisk, raising=False)
    code = "import os, time\nwhile True: print(os.getpid(), flush=True); time.sleep(0.01)"
    work = run(make_job(tmp_path, code), 5.0)
    assert work.failure.kind == "install_failed" and "Free some disk space" in work.failure.fix
    assert work._process.poll() is not None and names(tmp_path / "user") == []


def test_cancelling_does_not_wait_for_what_a_command_has_left_behind(tmp_path: Path) -> None:
    child = "import time; print('here', flush=True); time.sleep(6)"
    work = make_job(tmp_path, f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])")
    work.start()
    while work.last_line != "here":
        time.sleep(0.01)
    work.cancel()
    assert work.wait(job.OUTPUT_GRACE + 2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_folder_whose_name_is_no_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    assert run(make_job(folder, "pass")).failure is None
    assert is_whole(folder / "user" / "env1") and "\\udce9" in (folder / "install.log").read_text("utf-8")


def test_cancel_stops_children_too_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print('child', child.pid, flush=True); time.sleep(60)"
    )
    work = make_job(tmp_path, code)
    work.start()
    while not work.last_line.startswith("child"):
        time.sleep(0.01)
    child = int(work.last_line.split()[1])
    work.cancel()
    assert work.wait(1.0)
    assert work.failure.kind == "cancelled"
    assert names(tmp_path / "user") == []
    if sys.platform == "linux":
        time.sleep(0.1)
        status = Path(f"/proc/{child}/status")
        assert not status.exists() or "zombie" in status.read_text()


# --- said before anything is downloaded ------------------------------------------------------------------------


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=10**12, used=10**12 - 10**9, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    work = run(make_job(tmp_path))
    assert work.failure.kind == "disk_full"
    assert "0.9 GB" in work.failure.message
    assert not (tmp_path / "install.log").exists()


def test_computer_without_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "this_machine", lambda: Machine("darwin", "x86_64", 64, (3, 11), (13, 1)))
    work = run(make_job(tmp_path))
    assert work.failure.kind == "system_unsupported" and "Intel" in work.failure.message
    assert not (tmp_path / "user").exists() and not (tmp_path / "install.log").exists()


def test_path_limit_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "this_machine", lambda: Machine("win32", "amd64", 64, (3, 11)))
    monkeypatch.setattr(job.limits, "long_paths_enabled", lambda: False)
    folder = tmp_path / ("deep" * 40)
    work = run(make_job(folder))
    assert work.failure.kind == "path_too_long" and not (folder / "install.log").exists()
    assert names(folder / "user") == []


@pytest.mark.parametrize("content", [None, b"\xff\0", b"{}", b"[[]]"])
def test_add_on_without_its_lists(content: bytes | None, tmp_path: Path) -> None:
    locks = tmp_path / "extension" / "backend" / "locks"
    locks.mkdir(parents=True)
    if content is not None:
        (locks / "longest.json").write_bytes(content)
    work = run(InstallJob(Path(sys.executable), tmp_path / "user", tmp_path / "extension", tmp_path / "log"))
    assert "add-on's own lists" in work.failure.message and work.failure.details
    assert names(tmp_path / "user") == [] and not (tmp_path / "log").exists()


def test_mirror_that_cannot_be_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANSPLAT_PIP_CONFIG", str(tmp_path / "gone.conf"))
    work = run(make_job(tmp_path))
    assert "HUMANSPLAT_PIP_CONFIG names cannot be read" in work.failure.message and names(tmp_path / "user") == []


def test_card_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_cards", lambda: [Card("Tesla K80", (3, 7), (470, 82))])
    work = run(make_job(tmp_path))
    assert work.failure is None
    assert work.notes == ["Tesla K80 is too old for PyTorch: the processor is used."]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("a file is in the way")
    assert run(make_job(tmp_path)).failure.kind == "install_failed"


# --- other programs ----------------------------------------------------------------------------------------------


def test_second_blender_waits_and_destroys_nothing(tmp_path: Path) -> None:
    first = make_job(tmp_path, "import time; print('working', flush=True); time.sleep(60)")
    first.start()
    while first.last_line != "working":
        time.sleep(0.01)
    second = run(make_job(tmp_path))
    assert second.failure.kind == "install_elsewhere"
    assert remove([tmp_path / "user"]).kind == "install_elsewhere"
    clean_up([tmp_path / "user"])
    assert python_in(tmp_path / "user" / "env1").exists()
    first.cancel()
    assert first.wait(5.0)
    assert run(make_job(tmp_path)).failure is None


def test_a_blender_that_is_about_to_end_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOCK_PATIENCE", 10.0)
    (tmp_path / "user").mkdir()
    lock = files.ProcessLock(tmp_path / "user" / LOCK_NAME)
    assert lock.acquire()
    work = make_job(tmp_path)
    work.start()
    assert not work.wait(0.3)
    lock.release()
    assert work.wait(5.0) and work.failure is None


def test_what_a_newer_one_has_replaced_goes_once_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    run(make_job(tmp_path))
    os.utime(user / "env1" / MARKER_NAME, (1e9, 1e9))
    program = OpenFiles(monkeypatch, user / "env1" / MARKER_NAME)  # so that not even its marker can be deleted
    assert run(make_job(tmp_path)).notes
    assert names(user) == ["env1", "env2"] and installed_folder([user]) == user / "env2"
    program.paths.clear()
    clean_up([user])
    assert names(user) == ["env2"]


def test_all_places_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [python_in(tmp_path / "user" / name) for name in SLOTS]
    for python in held:
        python.parent.mkdir(parents=True)
        python.touch()
        (python.parents[1] / MARKER_NAME).write_text("{}")
    program = OpenFiles(monkeypatch, *held, *(python.parents[1] / MARKER_NAME for python in held))
    work = run(make_job(tmp_path))
    assert "all environments" in work.failure.message and "Close other Blender" in work.failure.fix
    assert program.refusals and all(is_whole(tmp_path / "user" / name) for name in SLOTS)


@pytest.mark.parametrize("kind", ["file", "link to itself"])
def test_what_is_no_folder_gives_way(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "user" / "env1"
    place.parent.mkdir()
    place.touch() if kind == "file" else place.symlink_to(place)
    assert run(make_job(tmp_path)).failure is None
    assert names(tmp_path / "user") == ["env2"]
    assert remove([tmp_path / "user"]) is None


def test_waiting_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOCK_PATIENCE", 30.0)
    (tmp_path / "user").mkdir()
    lock = files.ProcessLock(tmp_path / "user" / LOCK_NAME)
    assert lock.acquire()
    work = make_job(tmp_path)
    work.start()
    work.cancel()
    assert work.wait(1.0) and work.failure.kind == "cancelled"
    lock.release()


def test_leftover_of_a_killed_blender_does_not_stop_the_next(tmp_path: Path) -> None:
    half = python_in(tmp_path / "user" / "env1")
    half.parent.mkdir(parents=True)
    half.touch()
    (tmp_path / "user" / LOCK_NAME).touch()
    assert run(make_job(tmp_path)).failure is None
    # In another folder: what the killed one has started may still be writing to the first.
    assert names(tmp_path / "user") == ["env2"]


def test_reinstallation_while_a_file_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    run(make_job(tmp_path))
    program = OpenFiles(monkeypatch, python_in(user / "env1"))
    work = run(make_job(tmp_path))
    assert work.failure is None
    assert "deleted when Blender next starts" in work.notes[0]
    assert python_in(user / "env1").exists()  # whoever runs it goes on
    assert installed_folder([user]) == user / "env2"
    clean_up([user])
    assert python_in(user / "env1").exists()
    program.paths.clear()
    clean_up([user])
    assert names(user) == ["env2"]


def test_removal_while_a_file_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    run(make_job(tmp_path))
    program = OpenFiles(monkeypatch, python_in(user / "env1"))
    failure = remove([user])
    assert failure.kind == "remove_failed" and "not removed" in failure.message
    assert is_whole(user / "env1")
    program.paths.clear()
    assert remove([user]) is None
    assert names(user) == []


def test_file_that_is_opened_during_removal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    run(make_job(tmp_path))
    program = OpenFiles(monkeypatch, python_in(user / "old1"))  # opened under the name that it has by then
    failure = remove([user])
    assert "was removed, but some" in failure.message and str(user / "old1") in failure.details
    assert installed_folder([user]) is None
    program.paths.clear()
    clean_up([user])
    assert names(user) == []


def test_scanner_that_holds_the_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "user" / "env1" / f"{MARKER_NAME}.{os.getpid()}.part"
    scanner = OpenFiles(monkeypatch, part, until=2)
    assert run(make_job(tmp_path)).failure is None
    assert scanner.refusals == 2 and is_whole(tmp_path / "user" / "env1")


# --- what is run, and what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["windows-x64", "linux-x64", "linux-arm64", "macos-arm64"])
@pytest.mark.parametrize("build", ["cpu", "cu126", "cu130"])
@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_only_wheels_whose_hashes_are_stated(system: str, build: str, minor: int, tmp_path: Path) -> None:
    if build not in offered(system):
        return
    steps = install_steps(Path("/base/python"), tmp_path / "env", ROOT, system, build, (3, minor))
    assert sum(step.share for step in steps) == pytest.approx(1.0)
    assert steps[0].command == ("/base/python", "-m", "venv", "--clear", str(tmp_path / "env"))
    installs = [step.command for step in steps if "install" in step.command]
    assert len(installs) == 2
    for words in installs:
        assert words[words.index("--only-binary") + 1] == ":all:" and "--extra-index-url" not in words
    packages, torch = installs
    assert "--require-hashes" in packages and "--index-url" not in packages
    assert Path(packages[-1]).is_file()
    if "--require-hashes" in torch:
        assert Path(torch[-1]).is_file() and "--index-url" not in torch
    else:  # an exact build, from the one index that has it
        assert torch[-1] == f"torch==2.13.0+{build}"
        assert torch[torch.index("--index-url") + 1] == f"https://download.pytorch.org/whl/{build}"
        assert ("--no-deps" in torch) == ((system, build) != ("linux-x64", "cu126"))
    assert steps[-2].command[-3:] == ("-m", "backend", "setup")


def offered(system: str) -> set[str]:
    """The builds that :func:`choose_build` can give there."""
    cards = [Card("x", compute, (driver,)) for compute in ((5, 0), (12, 0)) for driver in (100, 570, 590)]
    return {machine.choose_build(system, [card]).name for card in cards} | {machine.choose_build(system, []).name}


def test_every_system_gets_the_builds_that_exist_for_it() -> None:
    assert offered("windows-x64") == offered("linux-x64") == {"cpu", "cu126", "cu130"}
    assert offered("linux-arm64") == {"cpu", "cu130"} and offered("macos-arm64") == {"cpu"}
    assert Build("cu130").cuda and not Build("cpu").cuda


def test_own_index_is_asked_for_pytorch_too(tmp_path: Path) -> None:
    steps = install_steps(Path("p"), tmp_path, ROOT, "windows-x64", "cu130", (3, 11), own_index=True)
    assert not [word for step in steps for word in step.command if "pytorch.org" in word]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OSError: [WinError 206] The filename or extension is too long: 'C:\\\\Users'", "HUMANSPLAT_HOME"),
        ("ERROR: Could not install packages due to an OSError: [Errno 36] File name too long", "HUMANSPLAT_HOME"),
        (
            "HINT: This error might have occurred since this system does not have Windows Long Path support",
            "HUMANSPLAT",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the file"),
        ("Retrying after connection broken\nERROR: No matching distribution found for torch", "internet"),
        ("socket.gaierror: [Errno 11001] getaddrinfo failed", "internet"),
        ("PermissionError: [WinError 32] The process cannot access the file", "Close other Blender"),
        ("OSError: [Errno 28] No space left on device", "Free some disk space"),
        ("The virtual environment was not created because ensurepip is not available", "python3-venv"),
        ("Segmentation fault", "Open the log"),
    ],
)
def test_causes_are_named(text: str, words: str) -> None:
    failure = explain("Downloading packages", 1, text)
    assert words in failure.fix and failure.details == text


def test_real_commands_survive_hostile_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-m backend`` is found with PYTHONSAFEPATH set, by the very environment that the job uses."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    environment = job.pip_environment()
    module = [sys.executable, "-m", "backend.progress"]  # one that needs no package, and does nothing
    assert subprocess.run(module, cwd=ROOT, env=environment, capture_output=True).returncode == 0
    if sys.version_info >= (3, 11):  # older ones know no safe path
        assert subprocess.run(module, cwd=ROOT, capture_output=True).returncode != 0


def make_wheel(folder: Path, code: str) -> Path:
    """The smallest package that pip installs."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    about = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", code)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: torch\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"tiny.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def test_pip_installs_the_locked_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installer's own command line and environment, with a lock and an index that are made up."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    (tmp_path / "mirror.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {(tmp_path / 'wheels').as_posix()}\n"
    )
    monkeypatch.setenv("HUMANSPLAT_PIP_CONFIG", str(tmp_path / "mirror.conf"))
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    wheel = make_wheel(tmp_path / "wheels", "value = 1")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "lock.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    packages = install_steps(Path("python"), tmp_path, ROOT, "linux-x64", "cpu", (3, 11))[1].command
    words = [sys.executable, *packages[1:-1], str(tmp_path / "lock.txt")]

    def install(target: str) -> subprocess.CompletedProcess[str]:
        command = [*words, "--target", str(tmp_path / target)]
        return subprocess.run(command, capture_output=True, text=True, env=job.pip_environment([]))

    done = install("right")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "right" / "tiny.py").read_text() == "value = 1"
    assert not (tmp_path / "elsewhere").exists()
    make_wheel(tmp_path / "wheels", "value = 2")
    done = install("wrong")
    assert done.returncode != 0 and not (tmp_path / "wrong" / "tiny.py").exists()
    assert "is not the file" in explain("Downloading packages", done.returncode, done.stderr).fix
