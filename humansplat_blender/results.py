"""The list of avatars that this computer has made: a folder of avatar packages and an index beside them. No bpy.

The index may be anybody's, damaged, or written by another Blender at the same time: what it says is checked, and it is
changed under a lock.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .install.files import ProcessLock, retry, write_text
from .models import BUILT_IN, MODELS
from .pictures import Picture, pictures_from_json

INDEX_NAME = "results.json"
# As backend.avatar.metadata, which needs numpy.
METADATA_FILE = "avatar.json"
_FORMAT = "humansplat-avatar"
_LOCK_NAME = ".results.lock"
_LOCK_SECONDS = 5.0
_PATIENCE = 2.0
"""Seconds for which Blender waits until a virus scanner lets go of a fresh avatar."""
_DAMAGED_NAME = "results.damaged.json"
_WORK_PREFIX = ".job-"
_WORK_MAX_AGE = 24 * 3600.0
_MOST_BYTES = 16 << 20
_MOST = 10_000


@dataclass(frozen=True)
class Result:
    """One finished avatar.

    Attributes:
        folder: its avatar package.
        photo: the picture it was made from.
        seconds: how long it took.
        made: when, seconds since 1970.
        pictures: the pictures of other sides that were used besides the photo.
        sides: what made the sides that no picture shows: `BUILT_IN`, or one of `MODELS`.
    """

    folder: Path
    photo: Path
    seconds: float
    made: float
    pictures: tuple[Picture, ...] = ()
    sides: str = BUILT_IN

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

        An avatar that one of them had finished is listed instead.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{_WORK_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _WORK_MAX_AGE:
                    for package in left.iterdir():
                        if _is_package(package):
                            self.adopt(package, Path("recovered"), 0.0)
                    shutil.rmtree(left, ignore_errors=True)
        work = self.folder / f"{_WORK_PREFIX}{uuid.uuid4().hex[:12]}"
        work.mkdir()
        return work

    def adopt(
        self, package: Path, photo: Path, seconds: float, pictures: tuple[Picture, ...] = (), sides: str = BUILT_IN
    ) -> Result:
        """Move a finished package from its work folder to the results and list it.

        Where it cannot be moved, as something holds one of its files, it is copied.

        Raises:
            OSError: neither is possible; the package is where it was.
        """
        stem = re.sub(r"[^\w-]+", "_", photo.stem).strip("_")[:60] or "avatar"
        with self._held() as results:
            target, number = self.folder / stem, 1
            while os.path.lexists(target):
                number += 1
                target = self.folder / f"{stem}-{number}"
            made = Result(target, photo, round(seconds, 2), time.time(), pictures, sides)
            # Listed first: a Blender that is killed in between leaves an entry without an avatar, which nobody sees,
            # and the avatar in its work folder, where it is found.
            self._write([made, *results])
            try:
                _move(package, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._write(results)
                raise
        return made

    def forget(self, folder: Path) -> None:
        """Take an avatar off the list; its files stay."""
        with self._held() as results:
            self._write([result for result in results if result.folder != folder])

    def delete(self, folder: Path) -> bool:
        """Delete a listed avatar's files and take it off the list; whether that was possible.

        What is not listed, does not lie in this folder, or is in use is left alone.

        Raises:
            OSError: the index cannot be written.
        """
        self.refresh()
        if all(result.folder != folder for result in self.results) or not self._is_ours(folder):
            return False
        # Renamed first: where a file of it is open, Windows refuses that, and nothing has happened yet.
        left = self.folder / f"{_WORK_PREFIX}{uuid.uuid4().hex[:12]}"
        try:
            retry(lambda: os.rename(folder, left), _PATIENCE)
        except OSError:
            return False
        self.forget(folder)
        shutil.rmtree(left, ignore_errors=True)
        return True

    def _is_ours(self, folder: Path) -> bool:
        """Whether it is a real folder directly in this one, not a link to elsewhere."""
        try:
            return folder.is_dir() and folder.resolve().parent == self.folder.resolve()
        except (OSError, ValueError, RuntimeError):
            return False

    @contextlib.contextmanager
    def _held(self) -> Iterator[list[Result]]:
        """What the index lists, to be written anew while no other Blender does; a damaged one is set aside.

        Raises:
            OSError: the folder cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = ProcessLock(self.folder / _LOCK_NAME)
        # Nobody holds it longer. One that hangs must not keep an avatar from the list, nor what is no lock file.
        with contextlib.suppress(OSError):
            lock.acquire(_LOCK_SECONDS)
        try:
            results = self._read()
            if self._entries() is None:
                self._set_aside()
            yield results
        finally:
            lock.release()

    def _read(self) -> list[Result]:
        entries = self._entries()
        if entries is None:
            return self._found() if os.path.lexists(self.folder / INDEX_NAME) else []
        results = {result.folder: result for entry in entries[:_MOST] if (result := self._result(entry)) is not None}
        return list(results.values())

    def _entries(self) -> list[Any] | None:
        """What the index lists; None where there is none or it is damaged."""
        entries = _read_json(self.folder / INDEX_NAME)
        return entries if isinstance(entries, list) else None

    def _result(self, entry: Any) -> Result | None:
        """An entry of the index, if it is one and its avatar is there."""
        if not isinstance(entry, dict) or not isinstance(name := entry.get("folder"), str):
            return None
        photo = entry.get("photo")
        try:
            # A name alone: no path, drive or parent, in any system's spelling.
            if not name or re.search(r"[/\\:\0]", name) or name in (".", ".."):
                return None
            folder = self.folder / name
            if not self._is_ours(folder) or not (folder / METADATA_FILE).is_file():
                return None
        except (OSError, ValueError):
            return None
        usable = isinstance(photo, str) and "\0" not in photo
        seconds, made = _number(entry.get("seconds")), _number(entry.get("made"))
        pictures = pictures_from_json(entry.get("pictures"))
        sides = entry.get("sides")
        known = isinstance(sides, str) and sides in MODELS
        return Result(folder, Path(photo if usable else ""), seconds, made, pictures, sides if known else BUILT_IN)

    def _found(self) -> list[Result]:
        """The avatars that lie in the folder, the newest first: what there is to list without an index."""
        found = []
        with contextlib.suppress(OSError):
            for folder in self.folder.iterdir():
                if not folder.name.startswith(".") and self._is_ours(folder) and _is_package(folder):
                    found.append(Result(folder, Path(), 0.0, (folder / METADATA_FILE).stat().st_mtime))
        return sorted(found, key=lambda result: -result.made)

    def _set_aside(self) -> None:
        """Keep the damaged index under another name; an older one that was kept goes."""
        with contextlib.suppress(OSError):
            os.replace(self.folder / INDEX_NAME, self.folder / _DAMAGED_NAME)

    def _write(self, results: list[Result]) -> None:
        write_text(self.folder / INDEX_NAME, json.dumps([_to_json(result) for result in results], indent=1))
        self.results = results


def _to_json(result: Result) -> dict[str, Any]:
    """The entry of an avatar in the index; ``pictures`` only where some were used, ``sides`` only of a large model."""
    entry: dict[str, Any] = {
        "folder": result.folder.name,
        "photo": str(result.photo),
        "seconds": result.seconds,
        "made": result.made,
    }
    pictures = [picture.to_json() for picture in result.pictures]
    entry |= {"pictures": pictures} if pictures else {}
    return entry | ({"sides": result.sides} if result.sides != BUILT_IN else {})


def _is_package(folder: Path) -> bool:
    metadata = _read_json(folder / METADATA_FILE)
    return isinstance(metadata, dict) and metadata.get("format") == _FORMAT


def _read_json(path: Path) -> Any:
    """What a file says; None where there is none, it is damaged, or larger than ours are."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        return json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def _number(value: Any) -> float:
    """A number of the index; 0 where it has none."""
    with contextlib.suppress(OverflowError):
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    return 0.0


def _move(package: Path, target: Path) -> None:
    """Rename a folder, or copy it where it cannot be renamed.

    Raises:
        OSError: neither is possible; nothing is left at ``target``.
    """
    try:
        retry(lambda: os.rename(package, target), _PATIENCE)
    except OSError:
        try:
            shutil.copytree(package, target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
