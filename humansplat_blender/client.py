"""The backend process, seen from Blender: start, ask, cancel, notice when it dies.

Everything that can block (starting the process, pipes, the log file) happens on threads of its own; the owner calls
:meth:`BackendProcess.poll` now and then from Blender's main thread and finds its requests answered. Standard library
only, no bpy.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PROTOCOL_VERSION = 1
#: Seconds that a cancelled job gets to answer before its process is killed.
CANCEL_GRACE = 0.6
#: Seconds that a process gets to end after its input has closed.
SHUTDOWN_GRACE = 1.5
STDERR_LINES = 200

_WINDOWS_FAULTS = {
    0xC0000005: "access violation",
    0xC0000135: "a DLL is missing",
    0xC000013A: "interrupted",
    0xC0000017: "out of memory",
    0xC00000FD: "stack overflow",
}


@dataclass(frozen=True)
class Failure:
    """Why something did not work, in words for people.

    Attributes:
        kind: stable name; the panel chooses its fix buttons by it.
        message: one sentence that says what is wrong.
        fix: one sentence that says what to do; may be empty.
        details: traceback or process output, for a bug report.
    """

    kind: str
    message: str
    fix: str = ""
    details: str = ""


class Request:
    """One request under way; ``result`` or ``failure`` is set once ``done``."""

    def __init__(self, request_id: int, method: str) -> None:
        self.id = request_id
        self.method = method
        self.done = False
        self.result: dict[str, Any] = {}
        self.failure: Failure | None = None
        self.cancel_sent_at: float | None = None

    def _finish(self, result: dict[str, Any] | None, failure: Failure | None) -> None:
        self.result = result or {}
        self.failure = failure
        self.done = True


def describe_exit(code: int) -> str:
    """What an exit status says, e.g. ``"was killed (SIGKILL), perhaps because memory ran out"``."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        reason = ", perhaps because memory ran out" if name == "SIGKILL" else ""
        return f"was killed ({name}){reason}"
    if code & 0xFFFFFFFF in _WINDOWS_FAULTS:
        return f"crashed ({_WINDOWS_FAULTS[code & 0xFFFFFFFF]})"
    return f"ended with exit code {code}"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Blender's environment without what would lead another Python astray, plus ``extra``."""
    drop = {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment["PYTHONUTF8"] = "1"
    environment.update(extra or {})
    return environment


def spawn_options() -> dict[str, Any]:
    """``subprocess.Popen`` arguments for a child without a window and out of reach of the terminal's Ctrl-C."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def kill_tree(process: subprocess.Popen[Any]) -> None:
    """Kill a process started with :func:`spawn_options`, with its children where the system allows it."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class BackendProcess:
    """One child process that speaks the protocol. It starts with the first request and is never restarted: a new
    object is.

    Args:
        command: program and arguments.
        cwd: working directory of the child.
        log_path: file that receives the child's standard error (overwritten); ``None`` keeps only the last lines.
        environment: the child's whole environment; by default :func:`clean_environment`.
        on_notification: called by :meth:`poll` with (method, params).
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        log_path: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_notification: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self._command = list(command)
        self._cwd = cwd
        self._log_path = log_path
        self._environment = dict(environment) if environment is not None else clean_environment()
        self._on_notification = on_notification
        self._incoming: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._pending: dict[int, Request] = {}
        self._next_id = 1
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_wanted = False
        self._started = False
        self._ended: Failure | None = None

    @property
    def alive(self) -> bool:
        """False once the process could not start or has ended (as far as :meth:`poll` has seen)."""
        return self._ended is None

    @property
    def pid(self) -> int | None:
        """Process id, once it runs."""
        return self._process.pid if self._process else None

    @property
    def stderr_tail(self) -> str:
        """The last lines that the process wrote to standard error."""
        return "\n".join(self._stderr)

    def request(self, method: str, params: dict[str, Any] | None = None) -> Request:
        """Ask; the answer arrives in the returned object during a later :meth:`poll`."""
        request = Request(self._next_id, method)
        self._next_id += 1
        if self._ended is not None:
            request._finish(None, self._ended)
            return request
        self._pending[request.id] = request
        self._send({"jsonrpc": "2.0", "id": request.id, "method": method, "params": params or {}})
        return request

    def cancel(self, request: Request) -> None:
        """Ask the process to stop a request; if it has not within :data:`CANCEL_GRACE` seconds, it is killed."""
        if not request.done and request.cancel_sent_at is None:
            request.cancel_sent_at = time.monotonic()
            self.request("cancel", {"id": request.id})

    def poll(self) -> None:
        """Take in what has arrived: answers, notifications, the end of the process. Never blocks."""
        while True:
            try:
                kind, value = self._incoming.get_nowait()
            except queue.Empty:
                break
            if kind == "message":
                self._take(value)
            else:
                self._end(value)
        now = time.monotonic()
        for request in list(self._pending.values()):
            if request.cancel_sent_at is not None and now - request.cancel_sent_at > CANCEL_GRACE:
                self.kill()
                self._end(Failure("backend_stopped", "The backend was stopped."))
                break

    def kill(self) -> None:
        """End the process at once; its requests fail with the next :meth:`poll`."""
        self._kill_wanted = True  # set before the process is looked at: _run looks in the other order
        if self._process is not None:
            kill_tree(self._process)
        self._outgoing.put(None)

    def close(self) -> None:
        """Let the process end by itself and make sure that it does, without waiting for it."""
        if self._started and self._ended is None:
            self._send({"jsonrpc": "2.0", "method": "shutdown"})
        self._outgoing.put(None)
        self._end(Failure("backend_stopped", "The backend was stopped."))

    # --- main thread -------------------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="humansplat-backend", daemon=True).start()
        self._outgoing.put(json.dumps(message).encode() + b"\n")

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            if self._on_notification is not None:
                self._on_notification(message["method"], message.get("params", {}))
            return
        request = self._pending.pop(message.get("id"), None)
        if request is None:
            return
        error = message.get("error")
        if error is None:
            request._finish(message.get("result"), None)
            return
        data = error.get("data") or {}
        request._finish(
            None,
            Failure(
                data.get("kind", "internal"),
                error.get("message", "The backend answered with an error."),
                data.get("fix", ""),
                data.get("details", ""),
            ),
        )

    def _end(self, failure: Failure) -> None:
        if self._ended is None:
            self._ended = failure
        for request in self._pending.values():
            cancelled = Failure("cancelled", "The job was cancelled.")
            request._finish(None, cancelled if request.cancel_sent_at is not None else self._ended)
        self._pending.clear()

    # --- threads of the process --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Start the process, feed and read it until it ends."""
        try:
            process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **spawn_options(),
            )
        except OSError as error:
            failure = Failure(
                "backend_missing",
                f"The backend's Python could not be started: {error.strerror or error}.",
                "Install the backend, or choose a working environment in the preferences.",
                f"{self._command[0]}\n{error}",
            )
            self._incoming.put(("end", failure))
            return
        self._process = process
        if self._kill_wanted:
            kill_tree(process)
        try:
            log = open(self._log_path, "w", encoding="utf-8") if self._log_path else None
        except OSError:
            log = None
        writer = threading.Thread(target=self._write, args=(process,), name="humansplat-backend-in", daemon=True)
        errors = threading.Thread(target=self._read_stderr, args=(process, log), name="humansplat-log", daemon=True)
        writer.start()
        errors.start()
        assert process.stdout is not None
        for line in iter(process.stdout.readline, b""):
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                self._incoming.put(("message", message))
            else:
                self._stderr.append(line.decode(errors="replace").rstrip())
        code = process.wait()
        self._outgoing.put(None)
        errors.join(0.5)
        lines = [line for line in self._stderr if line.strip()]
        text = f"The backend {describe_exit(code)}"
        failure = Failure(
            "backend_died",
            f"{text}: {lines[-1]}" if code > 0 and lines else f"{text}.",
            "Try again; if it happens again, open the log or install the backend anew.",
            self.stderr_tail,
        )
        self._incoming.put(("end", failure))

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            for data in iter(self._outgoing.get, None):
                process.stdin.write(data)
                process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SHUTDOWN_GRACE)
            return
        kill_tree(process)

    def _read_stderr(self, process: subprocess.Popen[bytes], log: IO[str] | None) -> None:
        assert process.stderr is not None
        for raw in iter(process.stderr.readline, b""):
            line = raw.decode(errors="replace").rstrip()
            self._stderr.append(line)
            if log is not None:
                with contextlib.suppress(OSError):
                    log.write(line + "\n")
                    log.flush()
        if log is not None:
            log.close()
