"""Where large models lie, which are installed, whose licences were accepted: a folder with one index, ``models.json``.

A model is installed once the index says so, which is written last. Files of the hub and copies lie in
``FOLDER/MODEL/PART/``; a folder that is used in place is named by its absolute path. What is half-written has a name of
its own, which ends in ``.partial``, and never counts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError
from .catalogue import MODELS, Model, find_model, is_safe, size_text

FOLDER_VARIABLE = "HUMANSPLAT_MODELS"
"""Environment variable with the folder of models."""
INDEX = "models.json"
_FORMAT = 1
_LOCK_SECONDS = 10.0
_REMOVED = ".removed-"
_MARKER = "humansplat-environment.json"
"""In environments that the add-on has made (``humansplat_blender/environment.py``)."""


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when it was installed.

    Attributes:
        size: bytes.
        sha256: of its content, hexadecimal.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class StoredPart:
    """A part as it was installed.

    Attributes:
        folder: absolute.
        revision: commit on the hub; empty where it came from a folder.
        files: by name, with slashes.
    """

    folder: Path
    revision: str
    files: Mapping[str, StoredFile]


@dataclass(frozen=True)
class Installed:
    """A model that is installed.

    Attributes:
        when: local time, ISO 8601.
        origin: "hub", "copy" of a folder, or "in place".
        parts: by name.
    """

    when: str
    origin: str
    parts: Mapping[str, StoredPart]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for part in self.parts.values() for file in part.files.values())


@dataclass(frozen=True)
class Acceptance:
    """That somebody has accepted a model's licences.

    Attributes:
        licences: `Licence.key` of each.
        when: local time, ISO 8601.
    """

    licences: tuple[str, ...]
    when: str


def default_folder() -> Path:
    """``HUMANSPLAT_MODELS``, or ``models`` beside the environment that the add-on has made, or in the user's home.

    Beside, because an environment is replaced when the backend is installed again.
    """
    chosen = os.environ.get(FOLDER_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    environment = Path(sys.prefix)
    if (environment / _MARKER).is_file():
        return environment.parent / "models"
    return Path.home() / ".humansplat" / "models"


class Store:
    """A folder of models.

    Args:
        folder: None takes :func:`default_folder`; made when something is written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder.absolute()

    def acceptance(self, model: Model) -> Acceptance | None:
        """The recorded acceptance, where it is of the licences that the catalogue has now.

        Raises:
            BackendError: kind ``models_unreadable``.
        """
        entry = self._read()["accepted"].get(model.name)
        if entry is None or set(entry["licences"]) != {licence.key for licence in model.licences}:
            return None
        return Acceptance(tuple(entry["licences"]), entry["when"])

    def require_acceptance(self, model: Model) -> None:
        """Refuse a model whose licences are not accepted.

        Raises:
            BackendError: kinds ``licence_missing``, ``models_unreadable``.
        """
        if self.acceptance(model) is None:
            several = len(model.licences) > 1
            raise BackendError(
                "licence_missing",
                f"The licence{'s' * several} of {model.title} {'are' if several else 'is'} not accepted yet.",
                "Press Accept in the panel Other Sides, or read and accept what "
                f"`python -m backend models accept {model.name}` names.",
            )

    def accept(self, model: Model) -> None:
        """Record that the model's licences are accepted.

        Raises:
            BackendError: kinds ``models_unreadable``, ``models_not_writable``, ``disk_full``, ``model_busy``.
        """
        accepted = Acceptance(tuple(licence.key for licence in model.licences), _now())
        with self._changed() as index:
            index["accepted"][model.name] = asdict(accepted)

    def installed(self, model: Model) -> Installed | None:
        """What is recorded of an installed model; None where it is not installed.

        Raises:
            BackendError: kind ``models_unreadable``.
        """
        entry = self._read()["installed"].get(model.name)
        if entry is None:
            return None
        parts = {
            name: StoredPart(
                self.folder / part["folder"],
                part["revision"],
                {file: StoredFile(**stored) for file, stored in part["files"].items()},
            )
            for name, part in entry["parts"].items()
        }
        return Installed(entry["when"], entry["origin"], parts)

    def record(self, model: Model, origin: str, parts: Mapping[str, StoredPart]) -> None:
        """Record that a model is installed: what makes it so.

        Args:
            model: which.
            origin: see :class:`Installed`.
            parts: by name; all files are in their places.

        Raises:
            BackendError: kinds ``models_unreadable``, ``models_not_writable``, ``disk_full``, ``model_busy``.
        """
        entries = {}
        for name, part in parts.items():
            inside = part.folder.is_relative_to(self.folder)  # then the whole folder may move
            folder = part.folder.relative_to(self.folder).as_posix() if inside else str(part.folder)
            files = {file: asdict(stored) for file, stored in part.files.items()}
            entries[name] = {"folder": folder, "revision": part.revision, "files": files}
        with self._changed() as index:
            index["installed"][model.name] = {"when": _now(), "origin": origin, "parts": entries}

    def remove(self, model: Model) -> int:
        """Delete a model's files, also those of a download that was broken off; a folder that is used in place stays.

        Returns:
            Bytes that were freed.

        Raises:
            BackendError: kinds ``model_in_use``, ``models_unreadable``, ``models_not_writable``, ``model_busy``.
        """
        with self.held(model):
            folder, aside = self.folder / model.name, self.folder / f"{_REMOVED}{uuid.uuid4().hex[:8]}"
            freed = disk_use(folder)
            if folder.exists():
                try:
                    folder.rename(aside)
                except OSError as error:
                    raise BackendError(
                        "model_in_use",
                        f"The files of {model.title} cannot be removed ({error.strerror or error}).",
                        "Close other programs that use them (in Blender press Free Memory), then try again.",
                    ) from error
            with self._changed() as index:
                index["installed"].pop(model.name, None)
            # What cannot be deleted now, because it is open, goes with the next removal.
            for leftover in self.folder.glob(f"{_REMOVED}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            return freed

    def partial_size(self, model: Model) -> int:
        """Bytes of a download that was broken off; 0 where the model is installed."""
        return 0 if self.installed(model) is not None else disk_use(self.folder / model.name)

    def free_space(self) -> int:
        """Bytes that are free on the folder's disk; 0 where that cannot be asked."""
        place = next((place for place in (self.folder, *self.folder.parents) if place.is_dir()), self.folder)
        try:
            return shutil.disk_usage(place).free
        except OSError:
            return 0

    @contextmanager
    def held(self, model: Model) -> Iterator[None]:
        """Keep other processes from changing a model's files; the folder is made where it is missing.

        Raises:
            BackendError: kinds ``model_busy``, ``models_not_writable``, ``disk_full``.
        """
        with self._locked(f"{model.name}.lock", 0.0, model.title):
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say in one sentence why something cannot be written to the folder.

        Raises:
            BackendError: kinds ``disk_full``, ``models_not_writable``, instead of an OSError.
        """
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                raise BackendError(
                    "disk_full",
                    f"The disk of {self.folder} is full.",
                    "Free space, or choose another folder for models; a download goes on where it stopped.",
                ) from error
            raise BackendError(
                "models_not_writable",
                f"The folder for models, {self.folder}, cannot be written ({error.strerror or error}).",
                f"Choose another folder in the preferences, by {FOLDER_VARIABLE} or by --models.",
            ) from error

    @contextmanager
    def _locked(self, name: str, seconds: float, what: str) -> Iterator[None]:
        from ..avatar.file_lock import FileLock  # imports numpy, by way of its package

        with self.explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / name, seconds)
            try:
                lock.acquire()
            except TimeoutError as error:
                raise BackendError(
                    "model_busy",
                    f"Another program is downloading, importing or removing {what} right now.",
                    "Wait until it is done, then try again.",
                ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """The index, written whole after the block."""
        from ..avatar.whole import whole_file

        with self._locked("models.lock", _LOCK_SECONDS, "models"):
            index = self._read()
            yield index
            with self.explained(), whole_file(self.folder / INDEX) as temporary:
                temporary.write_text(json.dumps(index, indent=1), "utf-8")

    def _read(self) -> dict[str, Any]:
        path = self.folder / INDEX
        try:
            return _checked(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return {"format": _FORMAT, "accepted": {}, "installed": {}}
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise BackendError(
                "models_unreadable",
                f"The list of installed models, {path}, is damaged or cannot be read.",
                "Delete this file, then download the models again: files that are whole are not fetched twice.",
            ) from error


def _checked(index: Any) -> dict[str, Any]:
    """The index, where it is as this module writes it; models that the catalogue does not know are left out.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not.
    """
    if index["format"] != _FORMAT:
        raise ValueError("a format of another version")
    for name, entry in index["accepted"].items():
        _texts(name, entry["when"], *entry["licences"])
    for name, entry in index["installed"].items():
        _texts(name, entry["when"], entry["origin"])
        for part in entry["parts"].values():
            _texts(part["folder"], part["revision"], *(stored["sha256"] for stored in part["files"].values()))
            if not all(is_safe(file) and int(stored["size"]) >= 0 for file, stored in part["files"].items()):
                raise ValueError("a name that no file of a model has")
    known = {word: {name: e for name, e in index[word].items() if name in MODELS} for word in ("accepted", "installed")}
    return {"format": _FORMAT, **known}


def _texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a text is something else")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def disk_use(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


def resolve(name: str, store: Store) -> dict[str, Path]:
    """What loaders are given of an installed model: by part, its folder or its one file (`Part.entry`).

    Looks at the sizes of all files, not at their content; `backend.models.checks.verify` does.

    Raises:
        BackendError: kinds ``model_unknown``, ``model_missing``, ``licence_missing``, ``model_damaged``,
            ``models_unreadable``.
    """
    from .checks import verify

    model = find_model(name)
    found = store.installed(model)
    if found is None:
        raise BackendError(
            "model_missing",
            f"{model.title} is not installed in {store.folder}.",
            f"Download it in the panel Other Sides, or by `python -m backend models download {name}` "
            f"(about {size_text(model.size())}).",
        )
    store.require_acceptance(model)
    faults = verify(model, found, thorough=False)
    if faults:
        raise BackendError(
            "model_damaged",
            f"{model.title} is damaged: {faults[0]}" + (f", and {len(faults) - 1} more." if faults[1:] else "."),
            "Download it again, which fetches only what is damaged, or import its folder again.",
        )
    return {part.name: found.parts[part.name].folder / part.entry for part in model.parts}
