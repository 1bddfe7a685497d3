"""Finding and installing the backend's environment; commands are made up, processes are real."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from extension_under_test import ROOT

from humansplat_blender import environment
from humansplat_blender.client import describe_exit
from humansplat_blender.environment import InstallJob, Step


def make_environment(folder: Path) -> Path:
    python = environment.python_in(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def command(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def make_step(job_root: Path) -> Step:
    """Stands for ``python -m venv``: fills the partial folder, whose name only the job knows."""
    code = (
        "import pathlib, sys; root = pathlib.Path(sys.argv[1]); name = sys.argv[2];"
        "python = root / name; python.parent.mkdir(parents=True); python.touch(); print('made it')"
    )
    return Step("Making", 1.0, (command(code, str(job_root), str(Path("bin") / "python")),))


def run(job: InstallJob, seconds: float = 20.0) -> None:
    job.start()
    end = time.monotonic() + seconds
    while not job.done:
        assert time.monotonic() < end
        time.sleep(0.01)


def make_job(tmp_path: Path, *steps: Step) -> InstallJob:
    job = InstallJob(Path(sys.executable), tmp_path / "user", ROOT, tmp_path / "install.log", steps or None)
    if steps:
        job._steps = [make_step(job._partial), *steps]
    return job


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUMANSPLAT_BACKEND_PYTHON", raising=False)
    user, repository = tmp_path / "user", tmp_path / "repository"
    assert environment.find("", user, repository) is None
    beside = make_environment(repository / ".venvs" / "backend")
    assert environment.find("", user, repository) == environment.Environment(beside, "development")
    installed = make_environment(user / "environment")
    assert environment.find("", user, repository).python == beside  # no marker: an installation that broke off
    (user / "environment" / environment.MARKER_NAME).write_text("{}")
    assert environment.find("", user, repository).python == installed
    chosen = make_environment(tmp_path / "chosen")
    assert environment.find(str(tmp_path / "chosen"), user, repository).python == chosen
    assert environment.find(str(chosen), user, repository).python == chosen
    assert environment.find(str(tmp_path / "gone"), user, repository) is None  # a wrong choice is said, not replaced
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", str(beside))
    assert environment.find(str(chosen), user, repository).python == beside


def test_installation_appears_whole(tmp_path: Path) -> None:
    job = make_job(tmp_path, Step("Filling", 3.0, (command("print('filled')"),)))
    run(job)
    assert job.failure is None
    assert job.fraction == pytest.approx(1.0)
    assert environment.is_installed(tmp_path / "user")
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["environment"]
    assert {"made it", "filled"} <= set((tmp_path / "install.log").read_text().splitlines())
    assert "made" in json.loads((tmp_path / "user" / "environment" / environment.MARKER_NAME).read_text())
    environment.remove(tmp_path / "user")
    assert list((tmp_path / "user").iterdir()) == []


def test_alternatives_are_tried_in_order(tmp_path: Path) -> None:
    commands = [command(code) for code in ("raise SystemExit(4)", "print('second')", "print('third')")]
    job = make_job(tmp_path, Step("Fetching", 1.0, tuple(commands)))
    run(job)
    assert job.failure is None
    lines = (tmp_path / "install.log").read_text().splitlines()
    assert "second" in lines and "third" not in lines


def test_failure_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    run(make_job(tmp_path, Step("Filling", 1.0, (command("pass"),))))
    before = (tmp_path / "user" / "environment" / environment.MARKER_NAME).read_text()
    job = make_job(tmp_path, Step("Fetching", 1.0, (command("print('ProxyError: no way out'); raise SystemExit(1)"),)))
    run(job)
    assert job.failure.kind == "install_failed"
    assert "exit code 1" in job.failure.message and "internet" in job.failure.fix
    assert "ProxyError" in job.failure.details
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["environment"]
    assert (tmp_path / "user" / "environment" / environment.MARKER_NAME).read_text() == before


def test_the_panel_shows_what_pip_says_without_its_bars(tmp_path: Path) -> None:
    lines = ["   \u2501\u2501\u2578 12.5/526.6 MB 9.1 MB/s", "\u2501\u2501\u2501", "WARNING: an old pip"]
    code = f"import sys; sys.stdout.buffer.write({chr(10).join(lines)!r}.encode())"
    job = make_job(tmp_path, Step("Fetching", 1.0, (command(code),)))
    run(job)
    assert job.last_line == "12.5/526.6 MB 9.1 MB/s"
    assert lines[1] in (tmp_path / "install.log").read_text("utf-8")


def test_cancel_stops_children_too_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print('child', child.pid, flush=True); time.sleep(60)"
    )
    job = make_job(tmp_path, Step("Waiting", 1.0, (command(code),)))
    job.start()
    while not job.last_line.startswith("child"):
        time.sleep(0.01)
    child = int(job.last_line.split()[1])
    began = time.monotonic()
    job.cancel()
    while not job.done:
        assert time.monotonic() - began < 1.0
        time.sleep(0.01)
    assert job.failure.kind == "cancelled"
    assert list((tmp_path / "user").iterdir()) == []
    time.sleep(0.1)
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_full_disk_is_said_before_anything_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=10**12, used=10**12 - 10**9, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    job = make_job(tmp_path, Step("Filling", 1.0, (command("pass"),)))
    run(job)
    assert job.failure.kind == "disk_full"
    assert "0.9 GB" in job.failure.message
    assert not (tmp_path / "install.log").exists()


def test_python_without_packages_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SUPPORTED_PYTHONS", ((3, 4), (3, 5)))
    job = make_job(tmp_path, Step("Filling", 1.0, (command("pass"),)))
    run(job)
    assert job.failure.kind == "python_unsupported"
    assert "needs 3.4 to 3.5" in job.failure.message
    assert not (tmp_path / "install.log").exists()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("a file is in the way")
    job = make_job(tmp_path, Step("Filling", 1.0, (command("pass"),)))
    run(job)
    assert job.failure.kind == "install_failed"


def test_real_steps_pin_torch_and_prefer_pytorch_s_index(tmp_path: Path) -> None:
    steps = environment.install_steps(Path("/base/python"), tmp_path / "env", ROOT, cuda=False)
    assert steps[0].commands[0][:3] == ("/base/python", "-m", "venv")
    first, second = steps[1].commands
    assert first[-1] == second[-1] and first[-1].startswith("torch==")
    assert "https://download.pytorch.org/whl/cpu" in first and "--index-url" not in second
    assert sum(step.share for step in steps) == pytest.approx(1.0)
    assert steps[-1].commands[0][-3:] == ("-m", "backend", "setup")
    cuda = environment.install_steps(Path("/base/python"), tmp_path / "env", ROOT, cuda=True)
    assert any("whl/cu" in part for part in cuda[1].commands[0])


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_exit_codes_in_words() -> None:
    assert describe_exit(-9) == "was killed (SIGKILL), perhaps because memory ran out"
    assert describe_exit(-11) == "was killed (SIGSEGV)"
    assert describe_exit(3) == "ended with exit code 3"
    assert describe_exit(0xC0000005) == "crashed (access violation)"
