"""The backend process seen from Blender: whatever it says or does not say, its requests end, with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from extension_under_test import FAKE_BACKEND, ROOT, make_interpreter

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from humansplat_blender import client
from humansplat_blender.client import BackendProcess, Failure, Request
from humansplat_blender.jobs import BackendSpec, JobManager, ReconstructJob, State
from humansplat_blender.results import ResultFolder

#: Reads the request, so that its number is known, and can answer.
HEAD = """
import json, sys, time
request = json.loads(sys.stdin.readline())
def say(message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
def progress(**changes):
    say({"jsonrpc": "2.0", "method": "progress", "params": {"id": request["id"], "stage": "body", "stage_index": 0,
        "stage_count": 1, "stage_fraction": 0.5, "overall": 0.5, "step": "Fitting"} | changes})
"""


def backend(code: str, **named: Any) -> BackendProcess:
    return BackendProcess([sys.executable, "-c", HEAD + code], Path.cwd(), **named)


def wait(process: BackendProcess, request: Request, seconds: float = 10.0) -> float:
    """Poll like Blender's timer until the request is done; how long that took."""
    began = time.monotonic()
    while not request.done:
        assert time.monotonic() - began < seconds, "the request did not end"
        polled = time.monotonic()
        process.poll()
        assert time.monotonic() - polled < 0.3, "Blender was held up"
        time.sleep(0.02)
    return time.monotonic() - began


NESTED = 'sys.stdout.write("[" * 200_000 + "\\n"); sys.stdout.flush(); time.sleep(60)'
CONFUSED = {
    "nested": NESTED,
    "nested objects": "sys.stdout.write('{\"a\":' * 100_000 + '\\n'); sys.stdout.flush(); time.sleep(60)",
    "NaN progress": "progress(overall=float('nan')); time.sleep(60)",
    "infinite progress": "progress(stage_fraction=-float('inf')); time.sleep(60)",
    "no progress": "progress(overall=None); time.sleep(60)",
    "step that is no text": "progress(step=7); time.sleep(60)",
    "list of parameters": "say({'method': 'progress', 'params': [1]}); time.sleep(60)",
    "method that is none": "say({'method': 7}); time.sleep(60)",
    "answer that is a list": "say({'id': request['id'], 'result': [1]}); time.sleep(60)",
    "error that is a text": "say({'id': request['id'], 'error': 'bad'}); time.sleep(60)",
    "error whose data is a list": "say({'id': request['id'], 'error': {'data': [1]}}); time.sleep(60)",
    "flood of progress": "while True: progress()",
    "flood of lines": "while True: sys.stdout.write('x\\n' * 1000)",
    "flood of log": 'while True: sys.stdout.write(\'{"method": "log"}\\n\' * 100)',
    "endless line": "while True: sys.stdout.write('x' * 100_000)",
    "flood of long lines": "while True: sys.stdout.write('x' * 900_000 + '\\n')",
}


@pytest.mark.parametrize("name", CONFUSED)
def test_a_confused_backend_ends_within_two_seconds(name: str) -> None:
    process = backend(CONFUSED[name])
    request = process.request("reconstruct")
    began = time.monotonic()
    while process.pid is None:  # starting Python is not its fault
        time.sleep(0.01)
        assert time.monotonic() - began < 10
    took = wait(process, request)
    assert took < 2.0
    failure = request.failure
    assert failure is not None and failure.kind == "backend_confused"
    assert failure.message.startswith("The backend ") and failure.message.endswith(" and was stopped.")
    assert len(failure.message) < 200 and failure.fix
    assert not process.alive and process.wait_until_gone(5.0)


@pytest.mark.parametrize(
    "code",
    [
        "progress(overall=1e300, stage_fraction=-5); say({'id': request['id'], 'result': {'a': 1}})",
        "progress(overall=10 ** 400, step='x' * 9999); say({'id': request['id'], 'result': {'a': 1}})",
        "say({'id': [1], 'result': {}}); say({'id': None}); say({'id': request['id'], 'result': {'a': 1}})",
        "print('a library prints'); print('\\udcff'); say({'id': request['id'], 'result': {'a': 1}})",
        "say({'method': 'heartbeat', 'params': {'cpu': 'x'}}); say({'id': request['id'], 'result': {'a': 1}})",
        "say({'method': 'heartbeat', 'params': {'cpu': 10 ** 400}}); say({'id': request['id'], 'result': {'a': 1}})",
        "progress(step='\\udcff.png', stage='\\ud800'); say({'id': request['id'], 'result': {'a': 1}})",
        "print('[1, 2'); say([1]); say(7); say({'id': request['id'], 'result': {'a': 1}})",
    ],
    ids=range(8),
)  # fmt: skip
def test_what_can_be_borne_is_borne(code: str) -> None:
    seen: list[dict[str, Any]] = []
    process = backend(
        "sys.stdout.reconfigure(errors='surrogateescape')\n" + code,
        on_notification=lambda method, params: seen.append(params),
    )
    request = process.request("reconstruct")
    wait(process, request)
    assert request.failure is None and request.result == {"a": 1}
    assert all(0 <= params["overall"] <= 1 and 0 <= params["stage_fraction"] <= 1 for params in seen)
    assert all(len(params["step"].encode()) <= 200 for params in seen)  # without half characters
    process.close()


def test_a_flood_on_standard_error_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_LOG", 100_000)
    code = "sys.stderr.write('x' * 500_000 + '\\n' + 'y' * 99 + '\\n' * 9); say({'id': request['id'], 'result': {}})"
    process = backend(code, log_path=tmp_path / "log")
    request = process.request("reconstruct")
    wait(process, request)
    process.close()
    assert process.wait_until_gone(5.0)
    text = (tmp_path / "log").read_text()
    assert len(text) < 200_000 and text.endswith("it has become too long.\n")
    assert len(process.stderr_tail) < 100_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=time.sleep))
    return made


def until_silent(process: BackendProcess, request: Request, clock: SimpleNamespace, step: float, most: float) -> float:
    """Poll every ``step`` seconds of the clock; after how many the request has ended, or ``most``."""
    began = clock.now
    while not request.done and clock.now - began < most:
        clock.now += step
        process.poll()
    return clock.now - began


def beat(process: BackendProcess, cpu: float) -> None:
    process._incoming.put(("message", {"method": "heartbeat", "params": {"id": 1, "cpu": cpu}}))


def test_a_silent_backend_is_ended(clock: SimpleNamespace) -> None:
    process = backend("time.sleep(600)")
    request = process.request("reconstruct")
    assert until_silent(process, request, clock, 0.1, 100.0) == pytest.approx(client.SILENCE, abs=1.0)
    assert request.failure is not None and request.failure.kind == "backend_hung"
    assert request.failure.message == "The backend has been silent for 30 seconds and was stopped."
    assert process.wait_until_gone(5.0)


def test_one_that_starts_may_be_silent(clock: SimpleNamespace) -> None:
    process = backend("time.sleep(600)")
    request = process.request("initialize")
    assert until_silent(process, request, clock, 0.1, 100.0) >= 100.0 and not request.done
    process.kill()


def test_a_beating_heart_is_no_silence(clock: SimpleNamespace) -> None:
    process = backend("time.sleep(600)")
    request = process.request("reconstruct")
    for second in range(200):
        beat(process, float(second))
        until_silent(process, request, clock, 0.25, 1.0)
    assert not request.done
    process.kill()


def test_a_sleeping_computer_is_no_silence(clock: SimpleNamespace) -> None:
    """Nor is a Blender that was busy: a gap between two polls counts a second."""
    process = backend("time.sleep(600)")
    request = process.request("reconstruct")
    process.poll()
    for _ in range(20):
        clock.now += 8 * 3600
        process.poll()
    assert not request.done
    process.kill()


def test_a_heart_that_beats_over_nothing_is_ended(clock: SimpleNamespace) -> None:
    """A deadlock: the process lives, and neither computes nor gets on."""
    process = backend("time.sleep(600)")
    request = process.request("reconstruct")
    began = clock.now
    while not request.done and clock.now - began < 1000:
        beat(process, 5.0 + (clock.now - began) * 1e-4)  # the heart itself costs a little
        until_silent(process, request, clock, 0.25, 1.0)
    assert clock.now - began == pytest.approx(client.STANDSTILL, abs=5.0)
    assert request.failure is not None and "done nothing for 2 minutes" in request.failure.message
    assert process.wait_until_gone(5.0)


def test_a_stopped_heart_is_noticed_in_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real server: it works, its heart beats, then the whole process is halted."""
    if not hasattr(os, "kill") or sys.platform == "win32":
        pytest.skip("processes are halted by a signal")
    import signal

    monkeypatch.setattr(client, "SILENCE", 1.5)
    process = BackendProcess([sys.executable, str(FAKE_BACKEND)], ROOT)
    initialize = process.request("initialize", {"protocol": 1})
    wait(process, initialize)
    request = process.request("reconstruct", {"image": "slow.png", "output": "nowhere/avatar"})
    began = time.monotonic()
    while time.monotonic() - began < 3.0:  # twice the silence: the heart keeps it alive
        process.poll()
        assert not request.done, request.failure
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    assert wait(process, request) < client.SILENCE + 2.0
    assert request.failure is not None and request.failure.kind == "backend_hung"
    assert process.wait_until_gone(5.0)


def test_windows_kills_the_children_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the system's tool is asked, with the parent still there; what it leaves is killed by hand."""
    asked: list[list[str]] = []
    killed: list[str] = []

    class Process:
        pid = 4711
        ended = False

        def poll(self) -> int | None:
            return 1 if self.ended else None

        def kill(self) -> None:
            killed.append("kill")

    process = Process()

    def run(command: list[str], **named: Any) -> None:
        assert named["timeout"] <= 2.0 and named["stdin"] == subprocess.DEVNULL
        assert not process.ended
        asked.append(command)
        process.ended = len(asked) == 1

    monkeypatch.setattr(client.sys, "platform", "win32")
    monkeypatch.setattr(client.subprocess, "run", run)
    monkeypatch.setenv("SystemRoot", "C:/Windows")
    for _ in range(2):
        process.ended = False
        client.kill_tree(process)
    assert [command[1:] for command in asked] == [["/T", "/F", "/PID", "4711"]] * 2
    assert all(command[0].startswith("C:/Windows") and command[0].endswith("taskkill.exe") for command in asked)
    assert killed == ["kill"]

    def fails(command: list[str], **named: Any) -> None:
        raise FileNotFoundError(command[0])

    process.ended = False
    monkeypatch.setattr(client.subprocess, "run", fails)
    client.kill_tree(process)
    assert killed == ["kill", "kill"]
    process.ended = True
    client.kill_tree(process)  # nothing to do
    assert killed == ["kill", "kill"]


def test_the_children_of_a_killed_backend_end(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("see the simulation above")
    code = (
        "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "say({'id': request['id'], 'result': {'child': child.pid}}); time.sleep(60)"
    )
    process = backend(code)
    request = process.request("reconstruct")
    wait(process, request)
    process.kill()
    assert process.wait_until_gone(5.0)
    child = request.result["child"]
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the child lives")


def test_failures_are_texts() -> None:
    process = backend("say({'id': request['id'], 'error': {'message': [1], 'data': {'kind': 7, 'fix': None}}})")
    request = process.request("reconstruct")
    wait(process, request)
    assert request.failure == Failure("7", "[1]", "None", "")
    process.close()
    assert json.dumps(request.failure.message) and threading.active_count() < 50


@pytest.fixture(scope="module")
def confused_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that is a backend which starts as it should and answers photos with what ``SAYS`` holds."""
    code = (
        "import json\nfor line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    start = request['method'] == 'initialize'\n"
        "    answer = json.dumps({'id': request['id'], 'result': {'missing': []}}) if start else os.environ['SAYS']\n"
        "    print(answer.replace('ID', str(request['id'])), flush=True)\n"
    )
    return make_interpreter(tmp_path_factory.mktemp("confused"), code)


@pytest.mark.parametrize(
    "says",
    [
        '{"method": "progress", "params": {"id": ID, "overall": NaN, "stage_fraction": 0, "stage": "a", "step": "b"}}',
        '{"method": "progress", "params": {"id": ID}}',
        "[" * 100_000,
        '{"id": ID, "result": {}}',
        '{"id": ID, "result": {"package": 7}}',
    ],
    ids=range(5),
)
def test_the_panel_says_it_and_nothing_is_left(
    confused_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setenv("SAYS", says)
    manager = JobManager(lambda result: "")
    spec = BackendSpec(confused_python, ROOT, tmp_path / "logs" / "backend.log")
    manager.start_reconstruct(ReconstructJob(tmp_path / "photo.png"), spec, ResultFolder(tmp_path / "results"))
    began = time.monotonic()
    while manager.busy:
        manager.pump()
        assert time.monotonic() - began < 10.0, manager.state
        time.sleep(0.02)
    assert manager.state is State.FAILED and manager.failure is not None
    assert manager.failure.kind == "backend_confused" and manager.failure.fix
    assert not list((tmp_path / "results").glob(".job-*"))
    manager.close()


def test_a_failure_always_says_something_that_can_be_shown() -> None:
    """File names that are no UTF-8 reach the client as half characters, which Blender's labels refuse."""
    for error, message in (({"message": ""}, "The backend answered with an error."), ({"message": "\udcff"}, "?")):
        data = {"fix": "\ud800", "details": "\ud800"}
        process = backend(f"say({{'id': request['id'], 'error': {error | {'data': data}!r}}})")
        request = process.request("reconstruct")
        wait(process, request)
        assert request.failure == Failure("internal", message, "?", "?")
        process.close()
