"""Backends that misbehave, met by the add-on's client: its requests end with a sentence, Blender is never held up.

Whatever an answer names is made in the case's folder: were the product wrong, nothing else would be lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from hostile.cases import (
    LONGEST_SENTENCE,
    MADE,
    REFUSED,
    ROOT,
    WARNED,
    Case,
    Said,
    left_behind,
    memory_peak,
    surrounded,
)
from humansplat_blender import client, jobs
from humansplat_blender.client import BackendProcess, Failure, Request
from humansplat_blender.jobs import BackendSpec, ExportJob, JobManager, ReconstructJob, State
from humansplat_blender.results import INDEX_NAME, ResultFolder

LIMIT = 2.0
"""Seconds from a backend's first sign of life to the end of its request."""
_POLL = 0.5
"""Seconds that one poll may take on a busy computer; Blender's window stands still for it."""
_START = 60.0
_FAKE = [sys.executable, str(ROOT / "tests" / "fake_backend.py")]
_VICTIM = Path("somebody") / "thesis.txt"
"""A file in the case's folder that no backend may have moved or deleted."""
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


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """The guard also holds in the processes of the add-on, whose environment has no PYTHON variables."""
    original = client.clean_environment
    kept = {"PYTHONPATH": os.environ["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def clean(extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return original({**(extra or {}), **kept})

    with (
        mock.patch.object(client, "clean_environment", clean),
        mock.patch.object(jobs, "clean_environment", clean),
    ):
        yield


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
    for text in (failure.message, failure.fix, failure.details):
        text.encode()  # Blender shows nothing that has half a character in it
    return f"{failure.message} {failure.fix}"


def _child(code: str, within: float = LIMIT, lives: bool = False) -> Callable[[Path], Said]:
    """Ask a child that runs this code; its request must be over within so many seconds after its start.

    ``lives``: a refusal ends the request alone, not the process.
    """

    def run(own: Path) -> Said:
        shown: list[dict[str, Any]] = []
        process = BackendProcess(
            [sys.executable, "-c", _HEAD + code], own, own / "log", None, lambda _method, params: shown.append(params)
        )
        request = process.request("reconstruct")
        with memory_peak() as peak:
            # A flood is over before "ready" is polled: the request's end counts as well.
            longest = _poll_until(process, lambda: request.done or "ready" in process.stderr_tail, _START)
            longest = max(longest, _poll_until(process, lambda: request.done, within))
        said = _said(request, longest, peak[0])
        if said.outcome == REFUSED and process.alive != lives:
            raise RuntimeError(f"the client believes that the backend {'lives' if process.alive else 'has ended'}")
        for params in shown:
            "".join(value for value in params.values() if isinstance(value, str)).encode()
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
    "flood of answers": "while True: request['id'] += 1; answer()",
    "flood of numbers that are none": "while True: say({'method': 'heartbeat', 'params': {'cpu': float('nan')}})",
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
    "heart of 400 digits": "[say({'method': 'heartbeat', 'params': {'cpu': n}}) for n in (1.0, 10 ** 400)]; answer()",
    "heart without end": 'print(\'{"method": "heartbeat", "params": {"cpu": 1e999}}\'); answer()',
    "progress of half a character": "progress(step='\\ud800', stage='\\udcff'); answer()",
    "progress of somebody else": "progress(id=99); progress(id=[1]); answer()",
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
    "error with an empty message": "say({'id': request['id'], 'error': {'message': '', 'data': {}}})" + _STAY,
    "error of half a character": "say({'id': request['id'], 'error': {'message': 'No file \\udcff.', "
    "'data': {'fix': '\\ud800', 'details': '\\ud800'}}})" + _STAY,
    "error of kind cancelled": "say({'id': request['id'], 'error': {'message': 'No.', 'data': {'kind': 'cancelled'}}})"
    + _STAY,
    "error without data": "say({'id': request['id'], 'error': {'code': -1, 'message': 'Bad.', 'data': None}})" + _STAY,
}


_LONG_ERRORS = {
    "endless": "say({'id': request['id'], 'error': {'message': 'x' * 300_000, 'data': {'fix': 'y' * 300_000}}})"
    + _STAY,
    "nested 900 deep": "nested = json.loads('[' * 900 + ']' * 900)\n"
    "say({'id': request['id'], 'error': {'message': nested, 'data': {'fix': nested, 'details': nested}}})" + _STAY,
}


def _long_error(code: str) -> Callable[[Path], Said]:
    """Is cut off before it reaches the panel."""

    def run(own: Path) -> Said:
        said = _child(code, lives=True)(own)
        return Said(said.outcome, said.text[:500], "" if len(said.text) < 5000 else f"{len(said.text)} characters")

    return run


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
    """The real server: while its heart beats it may work on; then it is halted as a whole."""
    with mock.patch.object(client, "SILENCE", 1.5):
        process = BackendProcess(_FAKE, own, own / "log")
        start = process.request("initialize", {"protocol": 1})
        _poll_until(process, lambda: start.done, _START)
        request = process.request("reconstruct", {"image": "slow.png", "output": str(own / "avatar")})
        end = time.monotonic() + 2 * client.SILENCE
        _poll_until(process, lambda: request.done or time.monotonic() > end, 10.0)
        if request.done:
            raise RuntimeError(f"it was ended though it works: {request.failure}")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        longest = _poll_until(process, lambda: request.done, client.SILENCE + LIMIT)
        return _gone(process, request, longest, own)


def _gone(process: BackendProcess, request: Request, longest: float, own: Path, *allowed: str) -> Said:
    said = _said(request, longest)
    process.close()
    if not process.wait_until_gone(5.0):
        raise RuntimeError("the process is still there")
    return Said(said.outcome, said.text, said.lost or left_behind(own, ["log", *allowed]))


def _cancelled(photo: str) -> Callable[[Path], Said]:
    """Cancel the real server's job; one that will not stop is killed."""

    def run(own: Path) -> Said:
        seen: list[dict[str, Any]] = []
        process = BackendProcess(_FAKE, own, own / "log", None, lambda _method, params: seen.append(params))
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
    process = BackendProcess(_FAKE, own)
    request = process.request("initialize", {"protocol": 1})
    process.kill()
    return _gone(process, request, _poll_until(process, lambda: request.done, 5.0), own)


def _variables(variables: Mapping[str, str]) -> Callable[[Path], Said]:
    """Blender's surroundings do not lead the backend's Python astray."""

    def run(own: Path) -> Said:
        (own / "startup.py").write_text("import os; os._exit(7)")
        own_variables = {name: value.replace("OWN", str(own)) for name, value in variables.items()}
        guard = {"PYTHONPATH": os.environ["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        with mock.patch.dict(os.environ, own_variables):
            environment = client.clean_environment(guard)
        # The working folder is where `-m` finds the backend; it is asked for nothing that it could write.
        command = [sys.executable, "-u", "-m", "backend", "server"]
        process = BackendProcess(command, ROOT, own / "log", environment)
        kept = [name for name, value in own_variables.items() if environment.get(name) == value]
        if kept:
            raise RuntimeError(f"{kept[0]} was passed on")
        request = process.request("dance")
        longest = _poll_until(process, lambda: request.done, _START)
        return _gone(process, request, longest, own, "startup.py")

    return run


_PANEL_BACKEND = """
import json, os, sys, time
from pathlib import Path
own = Path(__file__).parents[2]
def say(message):
    print(json.dumps({"id": request["id"]} | message), flush=True)
def result(**answer):
    say({"result": answer})
def make(name):
    (Path(output) / name).parent.mkdir(parents=True)
    (Path(output) / name).write_text("{}")
for line in sys.stdin:
    request = json.loads(line)
    output = request.get("params", {}).get("output")
    if request["method"] == "initialize":
        START
    elif request["method"] in ("reconstruct", "export"):
        ANSWER
"""
_GOOD_START = "result(missing=[], torch='2', device_name='CPU')"


def _panel(
    answer: str, start: str = _GOOD_START, job: str = "reconstruct", cancel_in: State | None = None
) -> Callable[[Path], Said]:
    """The whole way of a job: a backend that answers ``initialize`` and the job with these lines of Python."""

    def run(own: Path) -> Said:
        package, victim = own / "extension" / "backend", own / _VICTIM
        for folder in (package, victim.parent, *([own / "work"] if job == "export" else [])):
            folder.mkdir(parents=True)
        victim.write_text("mine")
        (package / "__init__.py").touch()
        code = _PANEL_BACKEND.replace("START", start).replace("ANSWER", answer)
        (package / "__main__.py").write_text(code, "utf-8")
        manager = JobManager(lambda result: "")
        spec, results = BackendSpec(Path(sys.executable), own / "extension", own / "logs" / "log"), own / "results"
        if job == "export":
            parameters = {"package": str(own / "a"), "output": str(own / "out")}
            manager.start_export(ExportJob("figure", parameters, own / "work", lambda result: []), spec)
        elif job == "check":
            manager.start_check(spec)
        else:
            manager.start_reconstruct(ReconstructJob(own / "photo.png"), spec, ResultFolder(results))
        end, longest = time.monotonic() + _START, 0.0
        while manager.busy:
            began = time.monotonic()
            manager.pump()
            if manager.state is cancel_in:
                manager.cancel()
            longest = max(longest, time.monotonic() - began)
            if began > end:
                raise RuntimeError(f"the panel says {manager.state} for ever")
            time.sleep(0.02)
        said, state, texts = manager.failure, manager.state, (manager.message, *manager.warnings)
        manager.close()
        lost = f"Blender was held up for {longest:.1f} s" if longest > _POLL else ""
        if not victim.is_file() or victim.read_text() != "mine":
            lost = "somebody's thesis"
        out = ["out"] if state is State.DONE else []
        lost = lost or left_behind(own, ["extension", "logs", "results", "somebody", *out])
        lost = lost or ", ".join(path.name for path in own.glob("results/.job-*"))
        if any(len(text) > 2500 for text in texts) or len(texts) > 100:
            raise RuntimeError("the panel shows pages of text")
        "".join(texts).encode()
        if cancel_in is not None and state is State.IDLE:
            return Said(REFUSED, "It was cancelled.", lost)
        if said is None:
            return Said(WARNED if manager.warnings else MADE, " ".join(texts)[:LONGEST_SENTENCE], lost)
        if said.kind == "internal":
            raise RuntimeError(f"nobody foresaw it: {said.message}")
        made = [path.name for path in own.glob("results/*") if path.name != INDEX_NAME]
        return Said(REFUSED, _sentence(said), lost or ", ".join(name for name in made if name[0] != "."))

    return run


def _cancelled_panel(state: State, answers: bool = False) -> Callable[[Path], Said]:
    """Cancel as soon as the panel shows this; an avatar that comes all the same is not kept."""
    code = "make('avatar.json'); result(package=output)" if answers else "make('avatar.json'); time.sleep(120)"
    return _panel(code, "time.sleep(120)" if state is State.STARTING else _GOOD_START, cancel_in=state)


def _silent_start(own: Path) -> Said:
    """It starts and never says that it has."""
    with mock.patch.object(jobs, "START_TIMEOUT", 1.0):
        return _panel("pass", "time.sleep(120)")(own)


_PROGRESS = '{"method": "progress", "params": {"id": ID, "overall": OVERALL, "stage_fraction": 0, "stage": "a"}}'
_PANEL: dict[str, tuple[str, tuple[str, ...]]] = {
    "progress is NaN": (f"print({_PROGRESS.replace('OVERALL', 'NaN')!r}, flush=True)", (REFUSED,)),
    "progress lacks a step": (
        f"print({_PROGRESS.replace('OVERALL', '0.5')!r}.replace('ID', str(request['id'])), flush=True)",
        (REFUSED,),
    ),
    "nested lists": ("print('[' * 100_000, flush=True)", (REFUSED,)),
    "no package": ("result()", (REFUSED,)),
    "package is a number": ("result(package=7)", (REFUSED,)),
    "package is not there": ("result(package=str(own / 'nowhere' / 'avatar'))", (REFUSED,)),
    "package was asked for and is not there": ("result(package=output)", (REFUSED,)),
    "package was asked for and is a file": ("Path(output).write_text('x'); result(package=output)", (REFUSED,)),
    "package is somebody's": ("result(package=str(own / 'somebody'))", (REFUSED,)),
    "package is somebody's by a detour": ("result(package=output + '/../../../somebody')", (REFUSED,)),
    "package is a link to somebody's": (
        "os.symlink(own / 'somebody', output); result(package=output)", (REFUSED, MADE, WARNED)
    ),
    "package is the job's folder": ("make('avatar.json'); result(package=str(Path(output).parent))", (REFUSED,)),
    "package is right": ("make('avatar.json'); result(package=output)", (MADE,)),
    "package is right and written twice": ("make('a'); result(package=output); result(package=output)", (MADE,)),
    "warnings are a number": ("make('a'); result(package=output, warnings=7)", (MADE,)),
    "warnings are lists": ("make('a'); result(package=output, warnings=[[1], None, {}])", (WARNED,)),
    "warnings are many": ("make('a'); result(package=output, warnings=['Bad.'] * 50_000)", (WARNED,)),
    "a warning is long": ("make('a'); result(package=output, warnings=['x' * 500_000])", (WARNED,)),
    "a warning of half a character": ("make('a'); result(package=output, warnings=['\\ud800'])", (WARNED,)),
    "dies": ("os._exit(1)", (REFUSED,)),
    "dies with an avatar": ("make('avatar.json'); os._exit(1)", (REFUSED,)),
    "an error": ("say({'error': {'message': 'No.', 'data': {'kind': 'no_person', 'fix': 'Go.'}}})", (REFUSED,)),
    "cancelled though nobody asked": ("say({'error': {'message': 'N.', 'data': {'kind': 'cancelled'}}})", (REFUSED,)),
}  # fmt: skip
_EXPORTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "folder is a number": ("result(folder=7)", (REFUSED,)),
    "without a folder": ("result()", (REFUSED,)),
    "folder is not there": ("result(folder=str(own / 'nowhere'))", (REFUSED,)),
    "folder is a file": ("result(folder=str(own / 'somebody' / 'thesis.txt'))", (REFUSED,)),
    "folder is right": ("os.mkdir(output); result(folder=output, notes=['\\ud800'])", (WARNED,)),
    "folder is somebody's": ("result(folder=str(own / 'somebody'), files=7, notes=7)", (REFUSED,)),
    "dies": ("os._exit(1)", (REFUSED,)),
}
_STARTS: dict[str, str] = {
    "dies": "os._exit(1)",
    "an error": "say({'error': {'message': 'No.', 'data': {'kind': 'x', 'fix': 'Go.'}}})",
    "missing is a number": "result(missing=7)",
    "missing is a text": "result(missing='everything')",
    "missing are numbers": "result(missing=[1, 2])",
    "missing are without names": "result(missing=[{}])",
    "missing is long": "result(missing=[{'name': 'x' * 9000, 'what_to_do': 'y' * 300}] * 40_000)",
    "another program": "print('Welcome!', flush=True); os._exit(0)",
}


def cases(_folder: Path) -> list[Case]:
    """Confused, dying, hung and absent backends."""
    made = [
        *(Case(f"confused: {name}", _child(code), (REFUSED,), "was stopped") for name, code in _CONFUSED.items()),
        *(Case(f"dies: {name}", _child(code), (REFUSED,), "The backend") for name, code in _DIES.items()),
        *(Case(f"error: {name}", _child(code, lives=True), (REFUSED,)) for name, code in _ERRORS.items()),
        *(Case(f"borne: {name}", _child(code, within=10.0), (MADE,)) for name, code in _BORNE.items()),
        *(Case(f"error: {name}", _long_error(code), (REFUSED,)) for name, code in _LONG_ERRORS.items()),
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
        *(Case(f"panel: {name}", _panel(code), wanted) for name, (code, wanted) in _PANEL.items()),
        *(Case(f"export: {name}", _panel(code, job="export"), wanted) for name, (code, wanted) in _EXPORTS.items()),
        *(Case(f"panel starts: {name}", _panel("pass", code), (REFUSED,)) for name, code in _STARTS.items()),
        Case("panel starts: silent", _silent_start, (REFUSED,), "did not answer"),
        Case("check: numbers", _panel("pass", "result(torch=7, device_name=[1])", "check"), (MADE,)),
        Case("check: notes are a number", _panel("pass", "result(torch='2', notes=7)", "check"), (MADE,)),
        Case("check: long", _panel("pass", "result(torch='x' * 9000, notes=['y' * 9000] * 90)", "check"), (WARNED,)),
        Case("cancelled in the panel: while it starts", _cancelled_panel(State.STARTING), (REFUSED,)),
        Case("cancelled in the panel: while it works", _cancelled_panel(State.RUNNING), (REFUSED,)),
        Case("cancelled in the panel: with an answer", _cancelled_panel(State.RUNNING, True), (REFUSED,)),
    ]
    for name, value in {
        "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONHOME": "OWN/none", "PYTHONPATH": "OWN/none",
        "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-16", "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2",
        "PYTHONSTARTUP": "OWN/startup.py", "VIRTUAL_ENV": "OWN/none", "CONDA_PREFIX": "OWN/none",
    }.items():  # fmt: skip
        made.append(Case(f"surroundings: {name}", _variables({name: value}), (REFUSED,), "no method"))
    if hasattr(signal, "SIGSTOP"):
        made.append(Case("hangs: the whole process is halted", _halted, (REFUSED,), "silent"))
    return [replace(case, run=surrounded(_surroundings, case.run)) for case in made]
