"""The list of avatars that this computer has made: a folder of avatar packages and an index beside them. No bpy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INDEX_NAME = "results.json"
_WORK_PREFIX = ".job-"
_WORK_MAX_AGE = 24 * 3600.0


@dataclass(frozen=True)
class Result:
    """One finished avatar.

    Attributes:
        folder: its avatar package.
        photo: the picture it was made from.
        seconds: how long it took.
        made: when, seconds since 1970.
    """

    folder: Path
    photo: Path
    seconds: float
    made: float

    @property
    def name(self) -> str:
        """What to call it."""
        return self.folder.name

    @property
    def preview(self) -> Path:
        """Its picture."""
        return self.folder / "preview.png"


class ResultFolder:
    """Finished avatars under one folder, newest first. Other Blenders may share it: every change re-reads the index.

    Args:
        folder: made when the first job needs it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: list[Result] = self._read()

    def refresh(self) -> None:
        """Read the index again."""
        self.results = self._read()

    def make_work_folder(self) -> Path:
        """A new folder for one job, on the same disk as the results; leftovers of crashed jobs are removed.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{_WORK_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _WORK_MAX_AGE:
                    shutil.rmtree(left, ignore_errors=True)
        work = self.folder / f"{_WORK_PREFIX}{uuid.uuid4().hex[:12]}"
        work.mkdir()
        return work

    def adopt(self, package: Path, photo: Path, seconds: float) -> Result:
        """Move a finished package from its work folder to the results and list it."""
        stem = re.sub(r"[^\w-]+", "_", photo.stem).strip("_")[:60] or "avatar"
        target, number = self.folder / stem, 1
        while target.exists():
            number += 1
            target = self.folder / f"{stem}-{number}"
        package.rename(target)
        result = Result(target, photo, round(seconds, 2), time.time())
        self._write([result, *self._read()])
        return result

    def forget(self, folder: Path) -> None:
        """Take an avatar off the list; its files stay."""
        self._write([result for result in self._read() if result.folder != folder])

    def _read(self) -> list[Result]:
        try:
            entries = json.loads((self.folder / INDEX_NAME).read_text("utf-8"))
            results = [
                Result(self.folder / e["folder"], Path(e["photo"]), float(e["seconds"]), float(e["made"]))
                for e in entries
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [result for result in results if (result.folder / "avatar.json").is_file()]

    def _write(self, results: list[Result]) -> None:
        entries: list[dict[str, Any]] = [
            asdict(result) | {"folder": result.folder.name, "photo": str(result.photo)} for result in results
        ]
        temporary = self.folder / f"{INDEX_NAME}.{uuid.uuid4().hex[:8]}"
        temporary.write_text(json.dumps(entries, indent=1), "utf-8")
        os.replace(temporary, self.folder / INDEX_NAME)
        self.results = results
