"""Windows' way with open files, for tests elsewhere: what is open is neither renamed nor deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def busy(path: object, winerror: int) -> PermissionError:
    """What Windows' Python raises."""
    error = PermissionError(13, "The process cannot access the file because it is being used by another process")
    error.filename = str(path)
    error.winerror = winerror
    return error


class OpenFiles:
    """Holds files open, as a running program or a virus scanner does.

    Attributes:
        paths: what is open.
        refusals: how often something was refused.
        until: after so many refusals the files are let go; None: never.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *paths: Path, until: int | None = None) -> None:
        self.paths = set(paths)
        self.until = until
        self.refusals = 0
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._guard(getattr(os, name), whole_tree=True))
        for name in ("unlink", "remove", "rmdir"):
            monkeypatch.setattr(os, name, self._guard(getattr(os, name), whole_tree=False))
        # rmtree by descriptors, which Windows does not have, would pass names without their folders.
        monkeypatch.setattr(shutil, "_use_fd_functions", False)

    def _guard(self, original: Callable[..., Any], whole_tree: bool) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            path = Path(os.fspath(arguments[0]))
            for held in self.paths:
                if held == path or (whole_tree and path in held.parents):
                    self.refusals += 1
                    if self.until is not None and self.refusals >= self.until:
                        self.paths.clear()
                    raise busy(path, 5 if whole_tree else 32)
            return original(*arguments, **options)

        return guarded
