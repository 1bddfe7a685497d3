"""Answers of the backend are not trusted: only the folder that was asked for is ever moved."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from humansplat_blender import jobs
from humansplat_blender.jobs import BackendSpec, ExportJob, Importer, JobManager, ReconstructJob, State
from humansplat_blender.results import ResultFolder

_BACKEND = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        result = {"protocol": 1, "presets": ["lite"], "torch": "2", "device_name": "CPU"} | START
    elif asked.get("method") in ("reconstruct", "export"):
        os.makedirs(asked["params"]["output"])
        result = RESULT
        if result.get("package") == "OUTPUT":
            result["package"] = asked["params"]["output"]
    else:
        result = {}
    if "id" in asked:
        answer = result if "error" in result else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | answer), flush=True)
"""


def _manager(
    result: object, monkeypatch: pytest.MonkeyPatch, start: object = None, importer: Importer | None = None
) -> JobManager:
    """A manager whose backend answers with ``result``, and with ``start`` when it begins."""
    code = _BACKEND.replace("RESULT", repr(result)).replace("START", repr(start or {}))
    monkeypatch.setattr(jobs, "backend_command", lambda python, *rest: [sys.executable, "-c", code])
    return JobManager(importer or (lambda result: pytest.fail("nothing is to be imported")))


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
    job = ExportJob("Anna", {"output": str(tmp_path / "out")}, work, lambda result: pytest.fail("nothing is finished"))
    manager.start_export(job, BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt"))
    _pump(manager)
    manager.close()
    assert manager.failure is not None and manager.failure.kind == "backend_confused"
    assert not work.exists()


def test_files_are_added_to_no_folder_but_the_export_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "documents"
    for folder in (other, tmp_path / "work"):
        folder.mkdir()
    manager = _manager({"folder": str(other)}, monkeypatch)
    finished: list[object] = []
    job = ExportJob("Anna", {"output": str(tmp_path / "out")}, tmp_path / "work", lambda made: finished.append(made))
    manager.start_export(job, BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt"))
    _pump(manager)
    manager.close()
    assert manager.failure is not None and manager.failure.kind == "backend_confused" and finished == []


@pytest.mark.parametrize("missing", [7, "everything", [1, 2], [{}], [{"name": "a", "what_to_do": 3}]])
def test_parts_that_are_missing_in_no_known_way(
    missing: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = _manager({}, monkeypatch, {"missing": missing})
    manager.start_check(BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt"))
    _pump(manager)
    manager.close()
    assert manager.failure is not None and manager.failure.kind == "backend_confused" and manager.failure.fix


def test_notes_are_shown_as_far_as_a_panel_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many, long, and with a file's name that is no UTF-8: Blender's labels refuse half characters."""
    notes = ["\udcff.png", "x" * 10_000, *map(str, range(1000))]
    answer = {"package": "OUTPUT", "warnings": notes}
    manager = _manager(answer, monkeypatch, {"notes": notes}, lambda result: "")
    spec = BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt")
    manager.start_check(spec)
    _pump(manager)
    shown = [manager.warnings]
    manager.start_reconstruct(ReconstructJob(tmp_path / "photo.jpg"), spec, ResultFolder(tmp_path / "results"))
    _pump(manager)
    manager.close()
    for warnings in (*shown, manager.warnings):
        assert warnings[0] == "?.png" and warnings[1] == "x" * jobs.NOTE_CHARACTERS
        assert warnings[2:-1] == tuple(map(str, range(jobs.MOST_NOTES - 2)))
        assert warnings[-1] == f"There are {1002 - jobs.MOST_NOTES} more."


def test_only_who_asks_for_it_is_told_that_a_job_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = _manager({"error": {"message": "No.", "data": {"kind": "cancelled"}}}, monkeypatch)
    spec = BackendSpec(Path(sys.executable), tmp_path, tmp_path / "log.txt")
    manager.start_reconstruct(ReconstructJob(tmp_path / "photo.jpg"), spec, ResultFolder(tmp_path / "results"))
    _pump(manager)
    manager.close()
    assert manager.failure is not None and manager.failure.message == "No."
