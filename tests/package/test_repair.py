"""The job behind the button Repair, around processes that say what ``doctor --repair`` may say."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from extension_under_test import HAS_BPY, ROOT, make_interpreter

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from humansplat_blender.jobs import JobManager, State
from humansplat_blender.repair import RepairJob


def answer(**changes: Any) -> str:
    return json.dumps({"ok": True, "checks": [], "repaired": [], "left": []} | changes)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that prints what ``SAID`` holds and ends as ``STATUS`` says, once ``SECONDS`` are over."""
    code = (
        "import time\nprint('Fetching', file=sys.stderr, flush=True)\n"
        "time.sleep(float(os.environ.get('SECONDS', '0')))\n"
        "print(os.environ.get('SAID', ' '.join(sys.orig_argv[1:])))\n"
        "raise SystemExit(int(os.environ.get('STATUS', '0')))"
    )
    return make_interpreter(tmp_path_factory.mktemp("python"), code)


def run(python: Path, folder: Path, **environment: str) -> RepairJob:
    job = RepairJob(python, ROOT, folder / "logs" / "repair.log", {**os.environ, **environment})
    job.start()
    assert job.wait(20.0)
    return job


def test_it_says_what_was_repaired(python: Path, tmp_path: Path) -> None:
    job = run(python, tmp_path, SAID="a library prints\n" + answer(repaired=["torch", "network pose_landmark"]))
    assert (job.failure, job.message) == (None, "Repaired: torch, network pose_landmark.")
    assert job.last_line == "Fetching"
    assert "Fetching" in (tmp_path / "logs" / "repair.log").read_text()
    job = run(python, tmp_path, SAID=answer())
    assert (job.failure, job.message) == (None, "Nothing of the backend is damaged.")


def test_it_says_what_is_left(python: Path, tmp_path: Path) -> None:
    left = ["body/data/male.npz: missing. Install the extension again.", "numpy: missing."]
    job = run(python, tmp_path, SAID=answer(ok=False, repaired=["torch"], left=left), STATUS="1")
    assert job.failure is not None and job.failure.kind == "repair_failed"
    assert job.failure.message == f"Repaired: torch. Still wrong: {left[0]}"
    assert job.failure.details.splitlines() == left


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("", "0", "ended with exit code 0"),
        ("[" * 100_000, "0", "ended with exit code 0"),
        ("Traceback", "3", "ended with exit code 3"),
        ("{}", "0", "ended with exit code 0"),
        (json.dumps({"error": {"message": "There is no space left."}}), "2", "There is no space left."),
        (json.dumps({"error": 7, "checks": {}}), "2", "ended with exit code 2"),
    ],
    ids=range(6),
)
def test_what_makes_no_sense_is_a_failure(python: Path, tmp_path: Path, said: str, status: str, reason: str) -> None:
    job = run(python, tmp_path, SAID=said, STATUS=status)
    assert job.failure is not None and reason in job.failure.message and "Install Backend" in job.failure.fix


def test_it_asks_the_doctor(python: Path, tmp_path: Path) -> None:
    job = run(python, tmp_path)
    assert job.failure is not None and "-m backend doctor --repair --json" in job.failure.details


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    job = run(tmp_path / "gone", tmp_path)
    assert job.failure is not None and job.failure.kind == "repair_failed"


def test_it_can_be_cancelled_and_the_panel_shows_it(python: Path, tmp_path: Path) -> None:
    manager = JobManager(lambda result: "")
    for seconds, cancel, state in (("30", True, State.IDLE), ("0", False, State.DONE)):
        job = RepairJob(python, ROOT, tmp_path / "log", {**os.environ, "SECONDS": seconds, "SAID": answer()})
        called: list[str] = []
        job.first = lambda called=called: called.append("first")
        manager.start_install(job)
        began = time.monotonic()
        while manager.busy:
            assert time.monotonic() - began < 10.0
            if cancel and job.last_line == "Fetching":
                manager.cancel()
            manager.pump()
            time.sleep(0.02)
        assert manager.state is state and called == ["first"]
    assert manager.message == "Nothing of the backend is damaged."


if HAS_BPY:
    from types import SimpleNamespace

    def test_the_button(addon: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        import bpy

        assert bpy.ops.humansplat.repair_backend.poll()
        assert bpy.ops.humansplat.repair_backend() == {"FINISHED"}
        assert addon.manager.message == "Repaired: network pose_landmark."
        monkeypatch.setenv("HUMANSPLAT_FAKE_DOCTOR", answer(ok=False, left=["torch: missing. Install it."]))
        with pytest.raises(RuntimeError, match=r"Still wrong: torch: missing\. Install it\."):
            bpy.ops.humansplat.repair_backend()
        assert addon.manager.failure.kind == "repair_failed"
