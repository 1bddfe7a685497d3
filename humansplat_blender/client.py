"""The backend process, seen from Blender: start, ask, cancel, notice when it dies.

Everything that can block (starting the process, pipes, the log file) happens on threads of its own; the owner calls
:meth:`BackendProcess.poll` now and then from Blender's main thread and finds its requests answered. Standard library
only, no bpy.

What the process says is not trusted: a line that is too long, nested without end or full of numbers that are none, more
lines than anybody can read, and silence end it, with a sentence.
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
from types import NoneType
from typing import IO, Any

PROTOCOL_VERSION = 1
#: Seconds that a cancelled job gets to answer before its process is killed.
CANCEL_GRACE = 0.6
#: Seconds that a process gets to end after its input has closed.
SHUTDOWN_GRACE = 1.5
STDERR_LINES = 200
#: Characters of its last lines that are kept for details, and of one line that a message shows.
KEPT_CHARACTERS, SHOWN_CHARACTERS = 50_000, 300
#: Bytes of a line at most, of all lines in a second, and lines in a second, from which on it is a flood. Ours send
#: hundreds of bytes, some lines a second.
MAX_LINE = 1_000_000
FLOOD_BYTES = 50_000_000
FLOOD_LINES = 10_000
#: Lines that may wait to be polled, and how many one poll takes.
MAX_WAITING = 100_000
LINES_A_POLL = 5_000
#: Bytes of the log file at most.
MAX_LOG = 20_000_000
#: Seconds of silence after which a process that works on something counts as hung: its heart beats once a second.
SILENCE = 30.0
#: Seconds without progress in which it has computed nothing, after which it counts as hung though its heart beats.
STANDSTILL = 120.0
#: Seconds that one poll adds to a silence at most: a computer that slept, or a Blender that was busy, heard nothing.
POLL_GAP = 1.0
#: Seconds that Windows gets to end a process and its children.
KILL_TIMEOUT = 2.0
#: Seconds of computing from which on a heartbeat counts as progress.
_COMPUTED = 0.25

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
    # PYTHONSAFEPATH would hide the backend from `-m`, PYTHONWARNINGS stop it, PYTHONHOME break it: not one is kept.
    astray = ("PYTHON", "CONDA_", "_CONDA_")
    named = {"VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    environment = {
        key: value for key, value in os.environ.items() if not key.upper().startswith(astray) and key not in named
    }
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
            _kill_windows_tree(process)
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _kill_windows_tree(process: subprocess.Popen[Any]) -> None:
    """By the system's own tool: Windows knows no groups of processes, and only who asks before the parent is gone can
    find the children."""
    tool = os.path.join(os.environ.get("SystemRoot", r"C:\Windows"), "System32", "taskkill.exe")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [tool, "/T", "/F", "/PID", str(process.pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=KILL_TIMEOUT,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    if process.poll() is None:
        process.kill()


def readable(value: object, most: int) -> str:
    """As a text that Blender can show: of so many characters at most, and none of them half a one.

    File names that are no UTF-8 become halves in Python, which Blender's labels and clipboard refuse.
    """
    return str(value)[:most].encode("utf-8", "replace").decode()


class _Confused(Exception):
    """What the process says makes no sense; the text ends a sentence that begins with "The backend"."""


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The message in a line; None where a library has printed something there.

    Raises:
        _Confused: nested without end, or with numbers that are none.
    """

    def refuse(name: str) -> None:
        raise _Confused(f"sent a number that is none ({name})")

    try:
        message = json.loads(line, parse_constant=refuse)
    except RecursionError:
        raise _Confused("sent an answer that is nested too deeply") from None
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _checked_progress(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a ``progress`` notification, shares in 0..1 and texts of a length that can be shown.

    Raises:
        _Confused: they are something else.
    """
    checked = dict(params)
    for name in ("overall", "stage_fraction"):
        value = params.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise _Confused(f"sent progress whose {name!r} is no number")
        checked[name] = float(min(max(value, 0), 1))
    for name in ("stage", "step"):
        if not isinstance(params.get(name), str):
            raise _Confused(f"sent progress whose {name!r} is no text")
        checked[name] = readable(params[name], 200)
    return checked


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
        self._confused: Failure | None = None  # set by the reading thread
        self._polled_at: float | None = None
        self._silence = 0.0
        self._standstill = 0.0
        self._computed = 0.0
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._pending: dict[int, Request] = {}
        self._next_id = 1
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_wanted = False
        self._started = False
        self._ended: Failure | None = None
        self._thread = threading.Thread(target=self._run, name="humansplat-backend", daemon=True)

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
        return "\n".join(self._stderr)[-KEPT_CHARACTERS:]

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
        if self._confused is not None:
            self._end(self._confused)
        heard = False
        for _ in range(LINES_A_POLL):
            try:
                kind, value = self._incoming.get_nowait()
            except queue.Empty:
                break
            heard = True
            if kind != "message":
                self._end(value)
            elif self._ended is None:
                try:
                    self._take(value)
                except _Confused as error:
                    self.kill()
                    self._end(self._confusion(error))
        now = time.monotonic()
        self._listen(now, heard)
        for request in list(self._pending.values()):
            if request.cancel_sent_at is not None and now - request.cancel_sent_at > CANCEL_GRACE:
                self.kill()
                self._end(Failure("backend_stopped", "The backend was stopped."))
                break

    def _listen(self, now: float, heard: bool) -> None:
        """End a process that is silent, or that does nothing, while it should work."""
        step = 0.0 if self._polled_at is None else min(now - self._polled_at, POLL_GAP)
        self._polled_at = now
        # A starting one may be held up by a cold disk or a virus scanner for longer than a heart can stand still.
        works = [request for request in self._pending.values() if request.method != "initialize"]
        if heard or not works:
            self._silence = 0.0
        if not works:
            self._standstill = 0.0
            return
        self._silence += step
        self._standstill += step
        if self._silence > SILENCE:
            self._give_up(f"The backend has been silent for {SILENCE:.0f} seconds and was stopped.")
        elif self._standstill > STANDSTILL:
            self._give_up(f"The backend has done nothing for {STANDSTILL / 60:.0f} minutes and was stopped.")

    def _give_up(self, text: str) -> None:
        self.kill()
        fix = "Try again; if it happens again, choose the processor as device in the preferences, or open the log."
        self._end(Failure("backend_hung", text, fix, self.stderr_tail))

    def _confusion(self, error: _Confused) -> Failure:
        fix = "Try again; if it happens again, install the backend again."
        return Failure("backend_confused", f"The backend {error} and was stopped.", fix, self.stderr_tail)

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

    def wait_until_gone(self, seconds: float) -> bool:
        """After :meth:`close` or :meth:`kill`: wait until the process has let go of its files; False if it has not."""
        if self._started:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- main thread -------------------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._thread.start()
        self._outgoing.put(json.dumps(message).encode() + b"\n")

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self._take_notification(message["method"], message.get("params", {}))
            return
        number, error, result = (message.get(name) for name in ("id", "error", "result"))
        data = error.get("data") or {} if isinstance(error, dict) else {}
        if not (
            isinstance(error, (dict, NoneType)) and isinstance(result, (dict, NoneType)) and isinstance(data, dict)
        ):
            raise _Confused("sent an answer that makes no sense")
        request = self._pending.pop(number, None) if isinstance(number, int) else None
        if request is None:
            return
        if error is None:
            request._finish(result, None)
            return
        most = {"kind": 200, "fix": 2000, "details": 100_000}
        kind, fix, details = (readable(data.get(name, ""), length) for name, length in most.items())
        text = readable(error.get("message") or "The backend answered with an error.", 2000)
        request._finish(None, Failure(kind or "internal", text, fix, details))

    def _take_notification(self, method: Any, params: Any) -> None:
        if not (isinstance(method, str) and isinstance(params, dict)):
            raise _Confused("sent a notification that makes no sense")
        if method == "heartbeat":
            computed = params.get("cpu")
            if isinstance(computed, (int, float)):
                computed = float(min(max(computed, 0), 1e12))  # a whole number may be larger than any other
                if abs(computed - self._computed) > _COMPUTED:
                    self._computed, self._standstill = computed, 0.0
            return
        if method == "progress":
            params = _checked_progress(params)
            self._standstill = 0.0
        if self._on_notification is not None:
            self._on_notification(method, params)

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
        try:
            self._read(process)
        except _Confused as error:
            self._confused = self._confusion(error)
            kill_tree(process)
        except Exception as error:  # nobody would read on, and the job would wait for ever
            self._confused = self._confusion(_Confused(f"could not be read ({type(error).__name__}: {error})"))
            kill_tree(process)
        code = process.wait()
        self._outgoing.put(None)
        errors.join(0.5)
        lines = [line for line in self._stderr if line.strip()]
        text = f"The backend {describe_exit(code)}"
        failure = Failure(
            "backend_died",
            f"{text}: {lines[-1][:SHOWN_CHARACTERS]}" if code > 0 and lines else f"{text}.",
            "Try again; if it happens again, open the log or install the backend anew.",
            self.stderr_tail,
        )
        # It was killed for what it sent: that is why it died.
        self._incoming.put(("end", self._confused or failure))

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what the process writes, until it ends."""
        assert process.stdout is not None
        second, lines, size = time.monotonic(), 0, 0
        while line := process.stdout.readline(MAX_LINE):
            if time.monotonic() - second > 1.0:
                second, lines, size = time.monotonic(), 0, 0
            lines, size = lines + 1, size + len(line)
            if lines > FLOOD_LINES or size > FLOOD_BYTES or self._incoming.qsize() > MAX_WAITING:
                raise _Confused("sends more than can be read")
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                raise _Confused(f"sent a line of more than {MAX_LINE} bytes")
            message = _parsed(line)
            if message is not None:
                self._incoming.put(("message", message))
            else:
                self._stderr.append(line[:4000].decode(errors="replace").rstrip())

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
        written = 0
        while raw := process.stderr.readline(65_536):
            line = raw.decode(errors="replace").rstrip()
            self._stderr.append(line[:4000])
            if log is None or written > MAX_LOG:
                continue
            written += len(line) + 1
            with contextlib.suppress(OSError):
                log.write(line + "\n")
                if written > MAX_LOG:
                    log.write("The log ends here: it has become too long.\n")
                log.flush()
        if log is not None:
            log.close()
