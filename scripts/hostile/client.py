"""Backends that misbehave, met by the add-on's client: its requests end with a sentence, Blender is never held up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from hostile.cases import MADE, REFUSED, ROOT, Case, Said, left_behind, memory_peak
from humansplat_blender import client
from humansplat_blender.client import BackendProcess, Failure, Request
from humansplat_blender.jobs import BackendSpec, ExportJob, JobManager, ReconstructJob, State
from humansplat_blender.results import ResultFolder

LIMIT = 2.0
"""Seconds from a backend's first sign of life to the end of its request."""
_POLL = 0.5
"""Seconds that one poll may take on a busy computer; Blender's window stands still for it."""
_START = 60.0
_FAKE = [sys.executable, str(ROOT / "tests" / "fake_backend.py")]
_HEAD = """
import json, os, sys, time
sys.stderr.write("ready\\n")
sys.stderr.flush()
request = json.loads(sys.stdin.readline())
def say(message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
def progress(**changes):
    say({"jsonrpc": "2.0", "method": "progress", "params": {"id": request["id"], "stage": "body", "stage_index": 0,
        "stage_count": 1, "stage_fraction": 0.5, "overall": 0.5, "step": "Fitting"} | changes})
def answer():
    say({"jsonrpc": "2.0", "id": request["id"], "result": {"package": "a"}})
"""
"""Reads the first request, so that its number is known."""


def _poll_until(process: BackendProcess, over: Callable[[], bool], seconds: float) -> float:
    """Poll as Blender's timer does until it is over.

    Returns:
        The longest that one poll took.

    Raises:
        RuntimeError: it is not over within so many seconds.
    """
    end, longest = time.monotonic() + seconds, 0.0
    while not over():
        if time.monotonic() > end:
            raise RuntimeError(f"nothing came of it within {seconds:.1f} s")
        began = time.monotonic()
        process.poll()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    return longest


def _said(request: Request, longest: float = 0.0, peak: int = 0) -> Said:
    held_up = f"Blender was held up for {longest:.1f} s" if longest > _POLL else ""
    if request.failure is None:
        return Said(MADE, json.dumps(request.result)[:200], held_up, peak)
    return Said(REFUSED, _sentence(request.failure), held_up, peak)


def _sentence(failure: Failure) -> str:
    if not (failure.kind and failure.message and len(failure.details) <= 100_000):
        raise RuntimeError(f"no failure for people: {failure!r:.300}")
    return f"{failure.message} {failure.fix}"


def _child(code: str, within: float = LIMIT, **named: Any) -> Callable[[Path], Said]:
    """Ask a child that runs this code; its request must be over within so many seconds after its start."""

    def run(own: Path) -> Said:
        process = BackendProcess([sys.executable, "-c", _HEAD + code], own, own / "log", **named)
        request = process.request("reconstruct")
        with memory_peak() as peak:
            # A flood is over before "ready" is polled: the request's end counts as well.
            longest = _poll_until(process, lambda: request.done or "ready" in process.stderr_tail, _START)
            longest = max(longest, _poll_until(process, lambda: request.done, within))
        said = _said(request, longest, peak[0])
        if said.outcome == REFUSED and process.alive:
            raise RuntimeError("the client believes that the backend lives")
        process.close()
        if not process.wait_until_gone(5.0):
            raise RuntimeError("the process is still there")
        if (own / "log").stat().st_size > 2 * client.MAX_LOG:
            raise RuntimeError("the log has no end")
        return said

    return run


_STAY = "\ntime.sleep(120)"
_CONFUSED = {
    "nested lists": "sys.stdout.write('[' * 200_000 + '\\n'); sys.stdout.flush()" + _STAY,
    "nested objects": "sys.stdout.write('{\"a\":' * 100_000 + '\\n'); sys.stdout.flush()" + _STAY,
    "progress is NaN": "progress(overall=float('nan'))" + _STAY,
    "progress is endless": "progress(stage_fraction=-float('inf'))" + _STAY,
    "progress is nothing": "progress(overall=None)" + _STAY,
    "progress is a text": "progress(overall='half')" + _STAY,
    "progress is true": "progress(overall=True)" + _STAY,
    "step is a number": "progress(step=7)" + _STAY,
    "parameters are a list": "say({'method': 'progress', 'params': [1]})" + _STAY,
    "method is a number": "say({'method': 7})" + _STAY,
    "answer is a list": "say({'id': request['id'], 'result': [1]})" + _STAY,
    "answer is a text": "say({'id': request['id'], 'result': 'done'})" + _STAY,
    "error is a text": "say({'id': request['id'], 'error': 'bad'})" + _STAY,
    "error's data are a list": "say({'id': request['id'], 'error': {'data': [1]}})" + _STAY,
    "flood of progress": "while True: progress()",
    "flood of noise": "while True: sys.stdout.write('x\\n' * 1000)",
    "flood of logs": 'while True: sys.stdout.write(\'{"method": "log"}\\n\' * 100)',
    "flood of answers": "while True: answer(); request['id'] += 1",
    "flood of long lines": "while True: sys.stdout.write('x' * 900_000 + '\\n')",
    "endless line": "while True: sys.stdout.write('x' * 100_000)",
    "endless zeros": "while True: sys.stdout.buffer.write(bytes(100_000))",
    "endless line in bits": "while True: sys.stdout.write('x' * 99); sys.stdout.flush()",
}
"""Are ended by the client."""
_DIES = {
    "dies at once": "os._exit(0)",
    "dies with a status": "sys.stderr.write('out of luck\\n'); sys.exit(3)",
    "dies with a traceback": "raise ValueError('x' * 100_000)",
    "dies by a signal": f"os.kill(os.getpid(), {int(signal.SIGTERM)})",
    "is killed": f"os.kill(os.getpid(), {int(getattr(signal, 'SIGKILL', signal.SIGTERM))})",
    "aborts": "os.abort()",
    "dies after progress": "progress(); os._exit(1)",
    "dies in the middle of a line": 'sys.stdout.write(\'{"id": 1, "res\'); sys.stdout.flush(); os._exit(1)',
    "dies after noise": "sys.stderr.buffer.write(os.urandom(100_000)); sys.stderr.flush(); os._exit(1)",
    "closes its input and dies": "os.close(0); time.sleep(0.3); os._exit(1)",
    "closes its output and dies": "sys.stdout.close(); os.close(1); os._exit(1)",
}
_BORNE = {
    "progress beyond its ends": "progress(overall=1e300, stage_fraction=-5); answer()",
    "progress of 400 digits": "progress(overall=10 ** 400, step='x' * 9999); answer()",
    "answers to nobody": "say({'id': [1], 'result': {}}); say({'id': None}); say({'id': 99, 'result': {}}); answer()",
    "answers twice": "answer(); answer()",
    "prints": "print('a library prints'); print('[1, 2'); say([1]); say(7); say(None); answer()",
    "prints bytes": "sys.stdout.buffer.write(os.urandom(50_000).replace(b'{', b' ') + b'\\n'); answer()",
    "heart of text": "say({'method': 'heartbeat', 'params': {'cpu': 'x'}}); answer()",
    "heart of true": "say({'method': 'heartbeat', 'params': {'cpu': True}}); answer()",
    "unknown notification": "say({'method': 'dance', 'params': {}}); answer()",
    "long log on standard error": "sys.stderr.write('x' * 30_000_000 + '\\n'); sys.stderr.flush(); answer()",
    "answers and dies": "answer(); os._exit(9)",
    "extra fields": "say({'jsonrpc': '3.0', 'id': request['id'], 'result': {}, 'error': None, 'x': '\\u0000'})",
}
_ERRORS = {
    "error without a message": "say({'id': request['id'], 'error': {}})" + _STAY,
    "error of numbers": "say({'id': request['id'], 'error': {'message': [1], 'data': {'kind': 7, 'fix': None}}})"
    + _STAY,
    "error without data": "say({'id': request['id'], 'error': {'code': -1, 'message': 'Bad.', 'data': None}})" + _STAY,
}


def _endless_error(own: Path) -> Said:
    """An error of megabytes is cut off before it reaches the panel."""
    code = "say({'id': request['id'], 'error': {'message': 'x' * 300_000, 'data': {'fix': 'y' * 300_000}}})" + _STAY
    said = _child(code)(own)
    return Said(said.outcome, said.text[:500], "" if len(said.text) < 5000 else f"{len(said.text)} characters")


def _hung(own: Path) -> Said:
    """A process that says nothing counts as hung after ``SILENCE`` seconds; here after one."""
    with mock.patch.object(client, "SILENCE", 1.0):
        return _child("time.sleep(120)", within=1.0 + LIMIT)(own)


def _heart_without_work(own: Path) -> Said:
    """A deadlock: the heart beats, and nothing is computed."""
    code = "while True:\n    say({'method': 'heartbeat', 'params': {'cpu': 1.0}})\n    time.sleep(0.1)"
    with mock.patch.object(client, "STANDSTILL", 1.5):
        return _child(code, within=1.5 + LIMIT)(own)


def _closed_output(own: Path) -> Said:
    """It lives on without a way to answer."""
    with mock.patch.object(client, "SILENCE", 1.0):
        return _child("sys.stdout.close(); os.close(1)" + _STAY, within=1.0 + LIMIT)(own)


def _halted(own: Path) -> Said:
    """The real server, halted as a whole while it works."""
    with mock.patch.object(client, "SILENCE", 2.0):
        process = BackendProcess(_FAKE, ROOT, own / "log")
        start = process.request("initialize", {"protocol": 1})
        _poll_until(process, lambda: start.done, _START)
        request = process.request("reconstruct", {"image": "slow.png", "output": str(own / "avatar")})
        _poll_until(process, lambda: process._computed > 0 or request.done, 10.0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        longest = _poll_until(process, lambda: request.done, 2.0 + LIMIT)
        return _gone(process, request, longest, own)


def _gone(process: BackendProcess, request: Request, longest: float, own: Path) -> Said:
    said = _said(request, longest)
    process.close()
    if not process.wait_until_gone(5.0):
        raise RuntimeError("the process is still there")
    return Said(said.outcome, said.text, said.lost or left_behind(own, ["log"]))


def _cancelled(photo: str) -> Callable[[Path], Said]:
    """Cancel the real server's job; one that will not stop is killed."""

    def run(own: Path) -> Said:
        seen: list[dict[str, Any]] = []
        process = BackendProcess(_FAKE, ROOT, own / "log", on_notification=lambda _method, params: seen.append(params))
        request = process.request("reconstruct", {"image": photo, "output": str(own / "avatar")})
        over = lambda: request.done or any(params.get("stage") == "body" for params in seen)  # noqa: E731
        _poll_until(process, over, _START)
        process.cancel(request)
        process.cancel(request)
        longest = _poll_until(process, lambda: request.done, LIMIT)
        return _gone(process, request, longest, own)

    return run


def _ignores_cancel(own: Path) -> Said:
    process = BackendProcess([sys.executable, "-c", _HEAD + "while True: progress(); time.sleep(0.1)"], own)
    request = process.request("reconstruct")
    _poll_until(process, lambda: "ready" in process.stderr_tail, _START)
    process.cancel(request)
    return _gone(process, request, _poll_until(process, lambda: request.done, LIMIT), own)


def _reads_nothing(own: Path) -> Said:
    """Requests pile up in front of a process that does not read them; asking must not block."""
    code = "import sys, time; sys.stderr.write('ready\\n'); sys.stderr.flush(); time.sleep(120)"
    process = BackendProcess([sys.executable, "-c", code], own)
    began = time.monotonic()
    requests = [process.request("reconstruct", {"image": "x" * 10_000}) for _ in range(300)]
    took = time.monotonic() - began
    _poll_until(process, lambda: "ready" in process.stderr_tail, _START)
    process.cancel(requests[0])
    longest = _poll_until(process, lambda: all(request.done for request in requests), LIMIT)
    return _gone(process, requests[-1], max(took, longest), own)


def _command(command: Callable[[Path], list[str]]) -> Callable[[Path], Said]:
    """A Python that cannot be started, or is none."""

    def run(own: Path) -> Said:
        process = BackendProcess(command(own), own, own / "log")
        request = process.request("initialize", {"protocol": 1})
        longest = _poll_until(process, lambda: request.done, 10.0)
        again = process.request("initialize", {"protocol": 1})
        if not again.done:
            raise RuntimeError("a second request waits for a process that never ran")
        process.close()
        return _said(request, longest)

    return run


def _no_python(own: Path) -> list[str]:
    (own / "python").write_bytes(b"\x7fELF no program")
    (own / "python").chmod(0o755)
    return [str(own / "python")]


def _not_runnable(own: Path) -> list[str]:
    (own / "python").write_text("x")
    return [str(own / "python")]


def _log_in_the_way(own: Path) -> Said:
    """Without a log the work goes on."""
    (own / "log").mkdir()
    process = BackendProcess([sys.executable, "-c", _HEAD + "answer()"], own, own / "log")
    request = process.request("reconstruct")
    longest = _poll_until(process, lambda: request.done, _START)
    return _gone(process, request, longest, own)


def _killed_while_it_starts(own: Path) -> Said:
    process = BackendProcess(_FAKE, ROOT)
    request = process.request("initialize", {"protocol": 1})
    process.kill()
    return _gone(process, request, _poll_until(process, lambda: request.done, 5.0), own)


def _variables(variables: Mapping[str, str]) -> Callable[[Path], Said]:
    """Blender's surroundings do not lead the backend's Python astray."""

    def run(own: Path) -> Said:
        with mock.patch.dict(os.environ, variables):
            process = BackendProcess([sys.executable, "-u", "-m", "backend", "server"], ROOT, own / "log")
        request = process.request("dance")
        longest = _poll_until(process, lambda: request.done, _START)
        return _gone(process, request, longest, own)

    return run


def _panel(answers: str, export: bool = False) -> Callable[[Path], Said]:
    """The whole way of a job: a backend that starts as it should and answers the job with ``answers``."""

    def run(own: Path) -> Said:
        package = own / "extension" / "backend"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(
            "import json, sys\nfor line in sys.stdin:\n    request = json.loads(line)\n"
            "    start = json.dumps({'id': request['id'], 'result': {'missing': []}})\n"
            f"    answer = start if request['method'] == 'initialize' else {answers.replace('OWN', own.as_posix())!r}\n"
            "    print(answer.replace('ID', str(request['id'])), flush=True)\n"
        )
        manager = JobManager(lambda result: "")
        spec = BackendSpec(Path(sys.executable), own / "extension", own / "logs" / "backend.log")
        if export:
            (own / "work").mkdir()
            job = ExportJob("figure", {"package": "a", "output": "b"}, own / "work", lambda result: [])
            manager.start_export(job, spec)
        else:
            manager.start_reconstruct(ReconstructJob(own / "photo.png"), spec, ResultFolder(own / "results"))
        end = time.monotonic() + _START
        while manager.busy:
            manager.pump()
            if time.monotonic() > end:
                raise RuntimeError(f"the panel says {manager.state} for ever")
            time.sleep(0.02)
        said, state = manager.failure, manager.state
        manager.close()
        if state is not State.FAILED or said is None:
            return Said(MADE, manager.message)
        left = [path.name for path in own.glob("results/.job-*")]
        return Said(REFUSED, _sentence(said), ", ".join(left) or left_behind(own, ["extension", "logs", "results"]))

    return run


_PROGRESS = '{"method": "progress", "params": {"id": ID, "overall": OVERALL, "stage_fraction": 0, "stage": "a"}}'
_PANEL = {
    "progress is NaN": _PROGRESS.replace("OVERALL", "NaN"),
    "progress lacks a step": _PROGRESS.replace("OVERALL", "0.5"),
    "nested lists": "[" * 100_000,
    "no package": '{"id": ID, "result": {}}',
    "package is a number": '{"id": ID, "result": {"package": 7}}',
    "package is not there": '{"id": ID, "result": {"package": "OWN/nowhere/avatar"}}',
    "package is elsewhere": '{"id": ID, "result": {"package": "OWN/extension"}}',
    "warnings are a number": '{"id": ID, "result": {"package": "OWN/nowhere", "warnings": 7}}',
}


def cases(folder: Path) -> list[Case]:
    """Confused, dying, hung and absent backends."""
    made = [
        *(Case(f"confused: {name}", _child(code), (REFUSED,), "was stopped") for name, code in _CONFUSED.items()),
        *(Case(f"dies: {name}", _child(code), (REFUSED,), "The backend") for name, code in _DIES.items()),
        *(Case(f"error: {name}", _child(code), (REFUSED,)) for name, code in _ERRORS.items()),
        *(Case(f"borne: {name}", _child(code, within=10.0), (MADE,)) for name, code in _BORNE.items()),
        Case("error: endless", _endless_error, (REFUSED,)),
        Case("hangs: silent", _hung, (REFUSED,), "silent"),
        Case("hangs: closes its output", _closed_output, (REFUSED,), "The backend"),
        Case("hangs: a heart without work", _heart_without_work, (REFUSED,), "nothing"),
        Case("cancelled: stops", _cancelled("slow.png"), (REFUSED,), "cancelled"),
        Case("cancelled: hangs", _cancelled("hang.png"), (REFUSED,), "cancelled"),
        Case("cancelled: ignores it", _ignores_cancel, (REFUSED,), "cancelled"),
        Case("cancelled: while nothing is read", _reads_nothing, (REFUSED,), "stopped"),
        Case("starts: no such program", _command(lambda own: [str(own / "gone")]), (REFUSED,), "Install"),
        Case("starts: a folder", _command(lambda own: [str(own)]), (REFUSED,), "Install"),
        Case("starts: no program", _command(_no_python), (REFUSED,)),
        Case("starts: a file that cannot be run", _command(_not_runnable), (REFUSED,), "Install"),
        Case("starts: a program that ends", _command(lambda own: [sys.executable, "-c", "pass"]), (REFUSED,)),
        Case("starts: no backend there", _command(lambda own: [sys.executable, "-m", "backend", "server"]), (REFUSED,)),
        Case("starts: the log cannot be written", _log_in_the_way, (MADE,)),
        Case("starts: killed meanwhile", _killed_while_it_starts, (REFUSED,)),
        *(Case(f"panel: {name}", _panel(text), (REFUSED,)) for name, text in _PANEL.items()),
        Case("panel: an export's folder is a number", _panel('{"id": ID, "result": {"folder": 7}}', True), (REFUSED,)),
        Case("panel: an export without a folder", _panel('{"id": ID, "result": {}}', True), (REFUSED,)),
    ]
    for name, value in {
        "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere",
        "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-16", "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2",
        "PYTHONSTARTUP": "/etc/passwd", "VIRTUAL_ENV": "/nowhere", "CONDA_PREFIX": "/nowhere",
    }.items():  # fmt: skip
        made.append(Case(f"surroundings: {name}", _variables({name: value}), (REFUSED,), "no method"))
    if hasattr(signal, "SIGSTOP"):
        made.append(Case("hangs: the whole process is halted", _halted, (REFUSED,), "silent"))
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    return made
