"""A model out of a folder that somebody has downloaded by hand: copied, or used where it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackendError, Cancelled
from .catalogue import PICKLE_SUFFIXES, Model, Part, RemoteFile, size_text
from .checks import safetensors_fault
from .store import Store, StoredFile, StoredPart

Report = Callable[[float, str], None]
"""Fraction of the work in 0..1, and what is done, for people."""
_CHUNK = 1 << 20
_TOLERANCE = 0.1
"""Of a large file's size, relative to the catalogue's, which is rounded: other precisions have half or twice of it."""
_LARGE = 10_000_000
"""Bytes from which on a file's size says whether it is the right one."""


@dataclass(frozen=True)
class _Found:
    """A file to take: of which part, and where it lies."""

    part: Part
    file: RemoteFile
    path: Path


def import_folder(
    model: Model,
    folder: Path,
    store: Store,
    copy: bool = False,
    report: Report = lambda fraction, what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Install a model from a folder, without the internet.

    The files of each part are looked for in FOLDER/PART, in a folder called as the repository is (below its owner's or
    not), in a cache of the hub, and in FOLDER itself. Only files of the catalogue are taken.

    Args:
        model: which.
        folder: see above.
        store: where it is recorded.
        copy: copy the files into the store; else they are used where they are.
        report: progress.
        cancelled: polled after every megabyte.

    Raises:
        BackendError: kinds ``model_incomplete``, ``model_unsafe`` (pickles), ``model_damaged``, ``disk_full``,
            ``model_busy``, ``models_not_writable``, ``models_unreadable``, ``cancelled``. What was installed before
            still is.
    """
    from ..avatar.whole import whole_folder

    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise BackendError("model_incomplete", f"There is no folder {folder}.", "Choose the folder with the files.")
    places = {part.name: _find(model, part, folder) for part in model.parts}
    if not copy:
        _refuse_pickles(places)
    every = [
        _Found(part, file, places[part.name] / file.name)
        for part, file in model.wanted(optional=True)
        if not file.optional or (places[part.name] / file.name).is_file()
    ]
    _check(model, every)
    total = sum(found.path.stat().st_size for found in every)
    with store.held(model), store.explained():
        if not copy:
            record = _take(every, total, None, report, cancelled)
            store.record(model, "in place", {name: StoredPart(places[name], "", record[name]) for name in places})
            return
        if total > store.free_space():
            raise BackendError(
                "disk_full",
                f"{model.title} takes {size_text(total)}, and {size_text(store.free_space())} are free on the disk of "
                f"{store.folder}.",
                "Free space, choose another folder for models, or use the files where they are.",
            )
        with whole_folder(store.folder / model.name) as content:
            record = _take(every, total, content, report, cancelled)
        home = store.folder / model.name
        store.record(model, "copy", {name: StoredPart(home / name, "", record[name]) for name in places})


def _take(
    every: list[_Found], total: int, target: Path | None, report: Report, cancelled: Callable[[], bool]
) -> dict[str, dict[str, StoredFile]]:
    """Hash the files, and copy them to TARGET/PART where there is a target; by part, what was taken.

    Raises:
        OSError: a file cannot be read or written.
        Cancelled: it was asked for.
    """
    taken: dict[str, dict[str, StoredFile]] = {found.part.name: {} for found in every}
    done = 0
    for found in every:
        digest, size = hashlib.sha256(), 0
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(open(found.path, "rb"))
            copied = None
            if target is not None:
                place = target / found.part.name / found.file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                copied = stack.enter_context(open(place, "wb"))
            while chunk := source.read(_CHUNK):
                if cancelled():
                    raise Cancelled("import")
                digest.update(chunk)
                if copied is not None:
                    copied.write(chunk)
                size += len(chunk)
                report(min((done + size) / max(total, 1), 1.0), f"{found.file.name}: {size_text(done + size)}")
        done += size
        taken[found.part.name][found.file.name] = StoredFile(size, digest.hexdigest())
    return taken


def _find(model: Model, part: Part, folder: Path) -> Path:
    """The folder with the part's files.

    Raises:
        BackendError: kinds ``model_incomplete``, ``model_unsafe``.
    """
    needed = [file.name for file in part.files if not file.optional]
    places = list(_places(part, folder))
    for place in places:
        if all((place / name).is_file() for name in needed):
            return place
    # What is missing is said of the place that lacks least.
    best = min(places, key=lambda place: sum(not (place / name).is_file() for name in needed))
    missing = [name for name in needed if not (best / name).is_file()]
    for name in missing:
        pickles = [path.name for path in _pickles((best / name).parent)] if name.endswith(".safetensors") else []
        if pickles:
            raise BackendError(
                "model_unsafe",
                f"{best} has {pickles[0]} in place of {Path(name).name}: a pickle, which can run programs on your "
                "computer when it is opened.",
                f"Download the safetensors files of {part.page}.",
            )
    raise BackendError(
        "model_incomplete",
        f"{missing[0]} of {part.repository} is not in {best}"
        + (f", and {len(missing) - 1} more files are missing." if missing[1:] else "."),
        f"Download the files of {part.page} that docs/models.md lists into {folder / part.name}.",
    )


def _places(part: Part, folder: Path) -> Iterator[Path]:
    """Folders that may hold the files of a part."""
    owner, _, name = part.repository.partition("/")
    yield folder / part.name
    yield folder / name
    yield folder / owner / name
    with contextlib.suppress(OSError):
        yield from sorted((folder / f"models--{owner}--{name}" / "snapshots").glob("*"))
    yield folder


def _pickles(folder: Path, deep: bool = False) -> list[Path]:
    names = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in names if path.suffix.lower() in PICKLE_SUFFIXES)


def _refuse_pickles(places: dict[str, Path]) -> None:
    """Refuse to use folders in place that hold pickles, which other programs might open.

    Raises:
        BackendError: kind ``model_unsafe``.
    """
    for place in places.values():
        pickles = _pickles(place, deep=True)
        if pickles:
            raise BackendError(
                "model_unsafe",
                f"The folder holds {pickles[0].relative_to(place)}: a pickle, which can run programs on your computer "
                "when it is opened.",
                "Have the files copied, which takes the safetensors alone, or delete it from the folder.",
            )


def _check(model: Model, every: list[_Found]) -> None:
    """Refuse files that are not what the catalogue says.

    Raises:
        BackendError: kind ``model_damaged``.
    """
    for found in every:
        try:
            size = found.path.stat().st_size
            with open(found.path, "rb"):
                fault = safetensors_fault(found.path) if found.path.suffix == ".safetensors" else ""
        except OSError as error:
            fault = f"cannot be read ({error.strerror or os.strerror(error.errno or 0)})"
        else:
            if not fault and found.file.size >= _LARGE and abs(size / found.file.size - 1) > _TOLERANCE:
                fault = f"has {size_text(size)} in place of about {size_text(found.file.size)}"
        if fault:
            raise BackendError(
                "model_damaged",
                f"The file {found.path} of {model.title} {fault}.",
                f"Download it again from {found.part.page}.",
            )
