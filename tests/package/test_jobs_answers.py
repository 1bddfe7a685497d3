"""Answers of the backend are not trusted: only the folder that was asked for is ever moved."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from humansplat_blender import jobs
from humansplat_blender.jobs import BackendSpec, ExportJob, JobManager, ReconstructJob, State
from humansplat_blender.results import ResultFolder

_BACKEND = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        result = {"protocol": 1, "backend_version": "1", "presets": ["lite"], "torch": "2", "device_name": "CPU"}
    elif asked.get("method") in ("reconstruct", "export"):
        result = RESULT
    else:
        result = {}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def _manager(result: object, monkeypatch: pytest.MonkeyPatch) -> JobManager:
    """A manager whose backend answers with ``result``."""
    code = _BACKEND.replace("RESULT", repr(result))
    monkeypatch.setattr(jobs, "backend_command", lambda python, *rest: [sys.executable, "-c", code])
    return JobManager(lambda result: pytest.fail("nothing is to be imported"))


def _pump(manager: JobManager) -> None:
    end = time.monotonic() + 20.0
    while manager.busy:
        assert time.monotonic() < end
        manager.pump()
        time.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        lambda victim: {"package": str(victim), "warnings": []},
        lambda victim: {"package": f"{victim}/../{victim.name}"},
        lambda victim: {"package": 7},
        lambda victim: {},
    ],
)
def test_a_folder_that_was_not_asked_for_is_not_moved(
    answer: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "documents"
    victim.mkdir()
    (victim / "avatar.json").write_text("{}")
    manager = _manager(answer(victim), monkeypatch)
    results = ResultFolder(tmp_path / "results")
    spec = BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt")
    manager.start_reconstruct(ReconstructJob(tmp_path / "photo.jpg"), spec, results)
    _pump(manager)
    manager.close()
    assert manager.state in (State.FAILED, State.IDLE) and manager.failure is not None
    assert manager.failure.kind == "backend_confused" and manager.failure.fix
    assert (victim / "avatar.json").read_text() == "{}"
    assert [entry.name for entry in results.folder.iterdir() if not entry.name.startswith(".results")] == []


@pytest.mark.parametrize("answer", [{"folder": 7}, {}, {"folder": "/nowhere/at all", "notes": 3}])
def test_an_export_is_only_said_to_be_where_a_folder_is(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = _manager(answer, monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    job = ExportJob("Anna", {}, work, lambda result: pytest.fail("nothing is finished"))
    manager.start_export(job, BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt"))
    _pump(manager)
    manager.close()
    assert manager.failure is not None and manager.failure.kind == "backend_confused"
    assert not work.exists()
