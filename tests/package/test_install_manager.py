"""What the job manager makes of installations and removals, and that nothing of ours runs on once it is closed."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from humansplat_blender import jobs
from humansplat_blender.client import BackendProcess, Failure
from humansplat_blender.jobs import JobManager, State


def never_imports(_result: object) -> str:
    pytest.fail("nothing is to be imported")


def pump(manager: JobManager) -> None:
    end = time.monotonic() + 10.0
    while manager.busy:
        assert time.monotonic() < end
        manager.pump()
        time.sleep(0.01)


@pytest.fixture
def manager(tmp_path: Path) -> JobManager:
    """A manager with a backend that needs half a second to end after its input has closed."""
    manager = JobManager(never_imports)
    code = "import sys, time; print('ready', file=sys.stderr, flush=True); sys.stdin.read(); time.sleep(0.5)"
    process = BackendProcess([sys.executable, "-c", code], tmp_path)
    process.request("initialize")
    while "ready" not in process.stderr_tail:
        time.sleep(0.01)
    manager._process = process
    return manager


def test_removal_waits_for_the_backend_to_end(manager: JobManager) -> None:
    process = manager._process
    seen = []

    def work() -> None:
        seen.append((process.wait_until_gone(0.0), threading.current_thread() is threading.main_thread()))

    began = time.monotonic()
    manager.start_removal(work)
    assert time.monotonic() - began < 0.2  # Blender goes on meanwhile
    pump(manager)
    assert seen == [(True, False)]
    assert manager.state is State.DONE and manager.message == "The backend was removed."


def test_removal_that_did_not_work_is_told(manager: JobManager) -> None:
    failure = Failure("remove_failed", "The backend was not removed: it is in use.")
    manager.start_removal(lambda: failure)
    pump(manager)
    assert manager.state is State.FAILED and manager.failure == failure and manager.message == ""


def test_closing_waits_until_the_backend_has_ended(manager: JobManager) -> None:
    process = manager._process
    began = time.monotonic()
    manager.close()
    assert 0.3 < time.monotonic() - began < jobs.GONE_TIMEOUT
    assert process.wait_until_gone(0.0)


def test_closing_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GONE_TIMEOUT", 0.2)
    manager = JobManager(never_imports)
    process = BackendProcess([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    process.request("initialize")
    while process.pid is None:
        time.sleep(0.01)
    manager._process = process
    began = time.monotonic()
    manager.close()
    assert time.monotonic() - began < 1.0
    assert process.wait_until_gone(5.0)  # it is killed after its grace
