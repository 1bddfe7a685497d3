"""What a case of the corpus is, how it is judged, and how commands are run for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MADE, WARNED, REFUSED = "made", "warned", "refused"
LONGEST_SENTENCE = 700
_PATH = os.pathsep.join((str(ROOT), str(Path(__file__).parent / "guard")))
"""Where the processes that a case starts find the backend and the guard that keeps them in the case's folder."""
_NEVER_SAID = ("Traceback", "allow_pickle", "AssertionError", 'File "')


@dataclass(frozen=True)
class Said:
    """What came of an input.

    Attributes:
        outcome: :data:`MADE`, :data:`WARNED` (made, with a warning) or :data:`REFUSED`.
        text: what was said to the user.
        lost: what was lost, left behind or half-written; empty if nothing was.
        peak: bytes of memory that it took more than a normal input, 0 where that was not measured.
    """

    outcome: str
    text: str = ""
    lost: str = ""
    peak: int = 0


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: within its area.
        run: tries it in an empty folder of its own; what it raises counts against it.
        wanted: the outcomes that are right.
        says: a word that the text must hold, in any case; empty for any text.
        seconds: after which it counts as hung.
    """

    name: str
    run: Callable[[Path], Said]
    wanted: tuple[str, ...]
    says: str = ""
    seconds: float = 120.0


MEMORY_LIMIT = 2 * 1024**3
"""Bytes over the normal that an input may take."""


def judge(case: Case, said: Said) -> str:
    """What is wrong with the answer; empty if nothing is."""
    if said.outcome not in case.wanted:
        return f"{said.outcome} instead of {' or '.join(case.wanted)}: {said.text}"
    if said.lost:
        return f"lost: {said.lost}"
    if said.peak > MEMORY_LIMIT:
        return f"took {said.peak / 1024**3:.1f} GiB more than normal"
    if said.outcome != MADE:
        if not said.text.strip():
            return "nothing was said"
        if any(word in said.text for word in _NEVER_SAID):
            return f"not a sentence: {said.text}"
        if len(said.text) > LONGEST_SENTENCE:
            return f"{len(said.text)} characters were said"
    if case.says.lower() not in said.text.lower():
        return f"does not mention {case.says!r}: {said.text}"
    return ""


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes:
        status: exit status; negative for a signal.
        out, err: what it printed.
        peak: bytes of memory at most, 0 where the system does not tell.
    """

    status: int
    out: str
    err: str
    peak: int

    @property
    def text(self) -> str:
        """What a user reads last: the error, else the output."""
        return (self.err.strip() or self.out.strip())[-LONGEST_SENTENCE:]


def run_backend(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    seconds: float = 110.0,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    started: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> Ran:
    """Run ``python -m backend ARGUMENTS`` in the interpreter that runs this.

    Args:
        arguments: of the command line.
        seconds: after which it is killed; the status then is -9.
        environment: set besides the present one; an empty value removes a name.
        cwd: its working directory; the backend is found wherever that is.
        started: called with the process once it runs.
    """
    variables = dict(os.environ) | {"PYTHONPATH": _PATH, "PYTHONDONTWRITEBYTECODE": "1"} | dict(environment or {})
    variables = {name: value for name, value in variables.items() if value != ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", *map(os.fspath, arguments)],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    peak = [0]

    def watch() -> None:
        while process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = Path(f"/proc/{process.pid}/status").read_text()
                peak[0] = max(peak[0], int(text.split("VmHWM:")[1].split()[0]) * 1024)
            time.sleep(0.03)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    if started is not None:
        started(process)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    watcher.join(1.0)
    return Ran(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"), peak[0])


def said_by(ran: Ran, *, normal_peak: int = 0, lost: str = "") -> Said:
    """A command's end as an answer: 0 is made (warned where it printed a note), 2 is refused.

    Raises:
        RuntimeError: any other status, which no input may cause.
    """
    if ran.status not in (0, 2):
        raise RuntimeError(f"exit status {ran.status}: {ran.text}")
    peak = max(0, ran.peak - normal_peak) if normal_peak else 0
    if ran.status == 2:
        return Said(REFUSED, ran.text, lost, peak)
    notes = [line for line in ran.err.splitlines() + ran.out.splitlines() if line.startswith(("Note:", "Warning:"))]
    return Said(WARNED if notes else MADE, "\n".join(notes), lost, peak)


def surrounded(
    surroundings: Callable[[], contextlib.AbstractContextManager[object]], run: Callable[[Path], Said]
) -> Callable[[Path], Said]:
    """``run`` as a case tries it, in the surroundings that its area pretends."""

    def each(own: Path) -> Said:
        with surroundings():
            return run(own)

    return each


def left_behind(folder: Path, allowed: Sequence[str] = ()) -> str:
    """Names in ``folder`` that are not among ``allowed``: what a refusal should not have left."""
    return ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.name not in allowed))


def memory_now() -> int:
    """Bytes that this process holds; 0 where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@contextlib.contextmanager
def memory_peak() -> Iterator[list[int]]:
    """A list whose only entry is, after the block, how many bytes more this process held at most."""
    before, found, stop = memory_now(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            found[0] = max(found[0], memory_now() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join(1.0)
