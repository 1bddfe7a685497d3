"""A pytest plugin that notes which test runs, so that a part that is stopped can say what did not end.

``scripts/run_tests.py`` loads it by name (``-p unfinished``) and reads the notes of all processes of a part.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_VARIABLE = "HUMANSPLAT_RUNNING_TESTS"


def _note() -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) / f"{os.getpid()}.txt" if folder else None


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins. Where pytest-xdist gathers results this is called as well, one name after another."""
    if (note := _note()) is not None:
        note.write_text(nodeid, "utf-8")


def pytest_runtest_logfinish(nodeid: str) -> None:
    """It has ended."""
    if (note := _note()) is not None:
        note.unlink(missing_ok=True)


def read(folder: Path) -> list[str]:
    """Names of the tests that run, or ran when their process was stopped."""
    return sorted({file.read_text("utf-8") for file in folder.glob("*.txt")})
