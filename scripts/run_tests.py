"""Every test of the project, each part in the environment it belongs to; ``scripts/test``.

Standard library only. The backend's tests share the processors among processes of one part (pytest-xdist); the parts
of each Blender, which can be loaded once in a process, run side by side. A failing part does not stop the rest, and
one that does not end is stopped and names the tests that ran. The last line printed is ``N passed, N failed,
N skipped`` over all parts; the exit status is 0 only if something passed and nothing failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import unfinished
from environments import ROOT, SetupError, TestEnvironments, ensure_tests

#: Processes at once. A model's threads on a processor that another process uses cost more than they give.
PROCESSES = max(1, min(os.cpu_count() or 1, 8))
#: Seconds after which a part is stopped; beside other work parts take several times as long as alone.
SECONDS = {"lint": 300, "backend": 50 * 60}
OTHER_SECONDS = 20 * 60


@dataclass(frozen=True)
class Part:
    """One process: a name, its command, and the file that receives its results (None: the exit status says it all).

    ``alone`` says that it runs by itself: it takes no time, or uses all processors.
    """

    name: str
    command: tuple[str, ...]
    results: Path | None
    alone: bool = False

    @property
    def seconds(self) -> float:
        """After which it is stopped."""
        return SECONDS.get(self.name, OTHER_SECONDS)


@dataclass(frozen=True)
class Outcome:
    """What came of a part, or of all of them together."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def list_parts(environments: TestEnvironments, results: Path, extra: Sequence[str] = ()) -> list[Part]:
    """Every part, in the order they run.

    Args:
        environments: where they run.
        results: folder for pytest's result files.
        extra: more arguments for pytest.
    """
    python = str(environments.backend.python)
    parts = [Part("lint", (python, "-m", "ruff", "check", "."), None, alone=True)]

    def add(name: str, interpreter: str, folder: str, *more: str, alone: bool = False) -> None:
        file = results / f"{name}.xml"
        plugins = ("-p", "no:cacheprovider", "-p", "unfinished")
        command = (interpreter, "-m", "pytest", folder, "-q", *plugins, f"--junitxml={file}", *more, *extra)
        parts.append(Part(name, command, file, alone))

    # Tests of a file stay together: they share what is slow to make.
    together = ("-n", str(PROCESSES), "--dist", "loadfile") if PROCESSES > 1 else ()
    add("backend", python, "tests/backend", *together, alone=True)
    for version, environment in environments.blender.items():
        # Blender cannot be loaded twice in one process, and the extension's tests want a profile of their own.
        for folder in ("scene", "motion", "package"):
            add(f"{folder}-{version}", str(environment.python), f"tests/{folder}")
    return parts


def read_results(file: Path, status: int) -> Outcome:
    """Counts from pytest's JUnit file; an error, a crash or an interruption counts as a failure.

    Args:
        file: the JUnit file; may be missing after a crash.
        status: exit status of pytest: 0 passed, 1 some failed, 5 there are no tests, anything else is a failure.
    """
    try:
        suites = ElementTree.parse(file).getroot().iter("testsuite")
        totals = [{k: int(s.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")} for s in suites]
    except (OSError, ElementTree.ParseError):
        return Outcome(failed=0 if status == 5 else 1)
    tests, failures, errors, skipped = (
        sum(total[key] for total in totals) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    # One test can both fail and break its fixture's end, so that errors may outnumber the tests left over.
    passed = max(tests - failed - skipped, 0)
    return Outcome(passed, max(failed, 0 if status in (0, 5) else 1), skipped)


_running: set[subprocess.Popen[bytes]] = set()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a part with every process that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_part(part: Part, notes: Path, output: Path | None = None) -> Outcome:
    """Run one part.

    Args:
        part: which.
        notes: an empty folder for the names of the tests that run.
        output: file that receives what it prints; by default that passes through.
    """
    notes.mkdir(parents=True, exist_ok=True)
    paths = [str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = str(max(1, (os.cpu_count() or 1) // PROCESSES))
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": threads,
        unfinished.FOLDER_VARIABLE: str(notes),
    }
    with (
        # Tests write several gigabytes: what one of them leaves behind goes when its part has ended.
        tempfile.TemporaryDirectory(dir=notes.parent, ignore_cleanup_errors=True) as scratch,
        open(output, "wb") if output is not None else open(os.dup(1), "wb") as stream,
    ):
        variables |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)
        process = subprocess.Popen(
            part.command, cwd=ROOT, env=variables, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        _running.add(process)
        try:
            status = process.wait(part.seconds)
        except subprocess.TimeoutExpired:
            _stop(process)
            stopped = ", ".join(unfinished.read(notes)) or "none of its tests ran"
            stream.write(f"\n{part.name} did not end within {part.seconds} s and was stopped in: {stopped}\n".encode())
            return Outcome(failed=1)
        finally:
            _running.discard(process)
    if part.results is None:
        return Outcome(passed=int(status == 0), failed=int(status != 0))
    return read_results(part.results, status)


def run_parts(parts: Sequence[Part], folder: Path, done: Callable[[Part, Outcome, float], None]) -> None:
    """Run the parts that run alone one after another, the others side by side.

    Args:
        parts: in the order in which they begin.
        folder: for notes and output.
        done: told of each part that has ended.
    """

    def run(part: Part, output: Path | None) -> None:
        started = time.perf_counter()
        outcome = run_part(part, folder / "running" / part.name, output)
        if output is not None:
            print(f"\n=== {part.name}\n{output.read_text('utf-8', errors='replace')}", end="", flush=True)
        done(part, outcome, time.perf_counter() - started)

    beside = [part for part in parts if not part.alone]
    with _all_stopped_on_error():
        for part in parts:
            if part.alone:
                print(f"\n=== {part.name}", flush=True)
                run(part, None)
    with ThreadPoolExecutor(PROCESSES) as pool, _all_stopped_on_error():
        waiting = [pool.submit(run, part, folder / f"{part.name}.txt") for part in beside]
        try:
            for finished in waiting:
                finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _all_stopped_on_error() -> Iterator[None]:
    """What is raised ends the parts as well: Ctrl-C does not reach them, which are in groups of their own."""
    try:
        yield
    except BaseException:
        for process in list(_running):
            _stop(process)
        raise


def main() -> int:
    """``scripts/test [--only PART ...] [pytest's arguments]``."""
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", metavar="PART", help="lint, backend, scene-4.5, package-4.5 ... (repeatable)"
    )
    arguments, extra = parser.parse_known_args()
    started = time.perf_counter()
    try:
        environments = ensure_tests()
    except SetupError as error:
        print(f"Error: {error}\n0 passed, 1 failed, 0 skipped", flush=True)
        return 1
    rows: list[tuple[str, Outcome, float]] = []
    with tempfile.TemporaryDirectory(prefix="humansplat-tests-") as folder:
        parts = list_parts(environments, Path(folder), extra)
        unknown = set(arguments.only or ()) - {part.name for part in parts}
        if unknown:
            parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in parts)}")
        chosen = [part for part in parts if not arguments.only or part.name in arguments.only]
        run_parts(chosen, Path(folder), lambda part, outcome, seconds: rows.append((part.name, outcome, seconds)))
    total = sum((outcome for _, outcome, _ in rows), Outcome())
    print("\n=== summary")
    for name, outcome, seconds in rows:
        print(f"{name:<14} {'FAILED' if outcome.failed else 'ok':<7} {seconds:6.1f} s   {outcome}")
    print(f"{'all':<14} {'FAILED' if total.failed else 'ok':<7} {time.perf_counter() - started:6.1f} s")
    print(total, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
