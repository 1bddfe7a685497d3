"""Every test of the project, each part in the environment it belongs to; ``scripts/test``.

Standard library only. Parts run one after another, a failing one does not stop the rest. The last line printed is
``N passed, N failed, N skipped`` over all parts; the exit status is 0 only if something passed and nothing failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environments import ROOT, SetupError, TestEnvironments, ensure_tests

#: A part that hangs is stopped; the whole is meant to take under 25 minutes on two cores, twice that beside other work.
PART_SECONDS = 50 * 60


@dataclass(frozen=True)
class Part:
    """One process: a name, its command, and the file that receives its results (None: the exit status says it all)."""

    name: str
    command: tuple[str, ...]
    results: Path | None


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
    parts = [Part("lint", (python, "-m", "ruff", "check", "."), None)]

    def add(name: str, interpreter: str, folder: str) -> None:
        file = results / f"{name}.xml"
        command = (interpreter, "-m", "pytest", folder, "-q", "-p", "no:cacheprovider", f"--junitxml={file}", *extra)
        parts.append(Part(name, command, file))

    add("backend", python, "tests/backend")
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


def run_part(part: Part) -> Outcome:
    """Run one part, its output passing through."""
    try:
        status = subprocess.run(part.command, cwd=ROOT, timeout=PART_SECONDS).returncode
    except subprocess.TimeoutExpired:
        print(f"{part.name} did not end within {PART_SECONDS} s and was stopped", flush=True)
        return Outcome(failed=1)
    if part.results is None:
        return Outcome(passed=int(status == 0), failed=int(status != 0))
    return read_results(part.results, status)


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
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    rows: list[tuple[str, Outcome, float]] = []
    with tempfile.TemporaryDirectory(prefix="humansplat-tests-") as folder:
        parts = list_parts(environments, Path(folder), extra)
        unknown = set(arguments.only or ()) - {part.name for part in parts}
        if unknown:
            parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in parts)}")
        for part in parts:
            if arguments.only and part.name not in arguments.only:
                continue
            print(f"\n=== {part.name}", flush=True)
            part_started = time.perf_counter()
            outcome = run_part(part)
            rows.append((part.name, outcome, time.perf_counter() - part_started))
    total = sum((outcome for _, outcome, _ in rows), Outcome())
    print("\n=== summary")
    for name, outcome, seconds in rows:
        print(f"{name:<14} {'FAILED' if outcome.failed else 'ok':<7} {seconds:6.1f} s   {outcome}")
    print(f"{'all':<14} {'FAILED' if total.failed else 'ok':<7} {time.perf_counter() - started:6.1f} s")
    print(total, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
