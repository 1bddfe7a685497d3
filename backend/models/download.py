"""Downloads a model from the hub: goes on where it stopped, checks every byte, leaves nothing half-written."""

from __future__ import annotations

import collections
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackendError, Cancelled
from . import hub
from .catalogue import Model, Part, RemoteFile, is_safe, size_text
from .checks import safetensors_fault
from .store import Store, StoredFile, StoredPart

Report = Callable[[float, str], None]
"""Fraction of the work in 0..1, and what is done, for people."""
PARTIAL = ".partial"
"""Suffix of files that are not whole. Before it stands the etag's beginning: another version is not gone on with."""
TRIES = 4
"""Connections without a single byte, one after the other, after which a download is given up."""
PAUSE = 1.0
"""Seconds before the second of them; each further one waits as long again."""
SPARE = 200_000_000
"""Bytes that a download leaves free on the disk."""
_TAG = 16
"""Characters of an etag in the name of a partial file."""
_CHUNK = 1 << 20
_REPORT_SECONDS = 0.25
_RATE_SECONDS = 10.0
"""Over which the speed is averaged."""


@dataclass(frozen=True)
class _Wanted:
    """A file to have: what the catalogue and the hub say of it, and where it is to lie."""

    part: Part
    file: RemoteFile
    state: hub.RemoteState
    path: Path

    @property
    def partial(self) -> Path:
        """Where it lies while it is not whole."""
        tag = "".join(letter for letter in self.state.etag if letter.isalnum())[:_TAG]
        return self.path.with_name(f"{self.path.name}.{tag}{PARTIAL}")


def download(
    model: Model,
    store: Store,
    online: bool = True,
    optional: bool = False,
    report: Report = lambda fraction, what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Download a model, or what is missing or damaged of it, and record it as installed.

    Args:
        model: which.
        store: where to.
        online: False where the caller may not use the internet.
        optional: also the catalogue's optional files.
        report: progress.
        cancelled: polled at every chunk that arrives.

    Raises:
        BackendError: kinds ``licence_missing``, ``offline``, ``package_missing``, ``network_failed``, ``model_gated``,
            ``model_moved``, ``disk_full``, ``download_interrupted``, ``download_damaged``, ``model_busy``,
            ``models_not_writable``, ``models_unreadable``, ``cancelled``. Whole files and the beginning of the one
            that was broken off stay for the next time; the model counts as installed only once all are whole.
    """
    store.require_acceptance(model)
    if not online:
        raise BackendError(
            "offline",
            f"{model.title} is not downloaded, because Blender's online access is off.",
            "Allow it in Preferences, System, Network, Allow Online Access, or use a local folder.",
        )
    with store.held(model), store.explained():
        files = []
        for part, file in model.wanted(optional):
            report(0.0, f"Asking the hub for {file.name}")
            files.append(_look_up(model, part, file, store, cancelled))
        progress = _Progress(sum(wanted.state.size for wanted in files), report, cancelled)
        digests = {wanted: _digest_of_whole(wanted, progress) for wanted in files}
        missing = [wanted for wanted in files if not digests[wanted]]
        _require_space(model, missing, store)
        for wanted in missing:
            digests[wanted] = _fetch(wanted, progress)
        store.record(model, "hub", _stored_parts(model, store, digests))


def _look_up(model: Model, part: Part, file: RemoteFile, store: Store, cancelled: Callable[[], bool]) -> _Wanted:
    """Ask the hub for a file, twice where the connection breaks.

    Raises:
        BackendError: see :func:`download`.
    """
    if not is_safe(file.name):
        raise BackendError(
            "model_unsafe", f"{file.name} is no file that may be downloaded.", "Install the extension again."
        )
    path = store.folder / model.name / part.name / file.name
    for last in (False, True):
        if cancelled():
            raise Cancelled("download")
        try:
            return _Wanted(part, file, hub.look_up(part, file.name), path)
        except hub.ConnectionLost as error:
            if last:
                raise hub.unreachable(error) from error
            time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def _digest_of_whole(wanted: _Wanted, progress: _Progress) -> str:
    """SHA-256 of the file where it is there and right; else empty."""
    try:
        if wanted.path.stat().st_size != wanted.state.size:
            return ""
    except FileNotFoundError:
        return ""
    content = _Content(wanted, wanted.path, progress)
    if content.is_right():
        return content.sha256
    progress.add(-content.size, "")
    return ""


def _require_space(model: Model, missing: list[_Wanted], store: Store) -> None:
    """Refuse a download for which the disk is too small.

    Raises:
        BackendError: kind ``disk_full``.
    """
    needed = sum(wanted.state.size - _size(wanted.partial) for wanted in missing)
    free = store.free_space()
    if missing and needed + SPARE > free:
        raise BackendError(
            "disk_full",
            f"{model.title} needs {size_text(needed)} more, and {size_text(free)} are free on the disk of "
            f"{store.folder}.",
            "Free space, or choose another folder for models.",
        )


def _fetch(wanted: _Wanted, progress: _Progress) -> str:
    """Download a file, on from what is there of it, and put it in its place.

    Returns:
        Its SHA-256.

    Raises:
        BackendError: see :func:`download`.
        OSError: it cannot be written.
    """
    from ..avatar.whole import rename  # imports numpy, by way of its package

    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    for stale in wanted.path.parent.iterdir():
        # Of another version of the file.
        if stale.name.startswith(f"{wanted.path.name}.") and stale.suffix == PARTIAL and stale != wanted.partial:
            stale.unlink()
    content = _Content(wanted, wanted.partial, progress)
    lost = 0
    while content.size != wanted.state.size:
        before = content.size
        try:
            _go_on(wanted, content, progress)
        except hub.RangeRefused:
            content.restart()
            lost += 1
        except hub.ConnectionLost as error:
            lost = 0 if content.size > before else lost + 1
            if lost >= TRIES:
                raise BackendError(
                    "download_interrupted",
                    f"The download broke off after {size_text(progress.done)} of {size_text(progress.total)} "
                    f"({error}).",
                    "Start it again: it goes on where it stopped.",
                ) from error
            progress.wait(PAUSE * lost)
    if not content.is_right():
        wanted.partial.unlink()
        raise BackendError(
            "download_damaged",
            f"{wanted.file.name} of {wanted.part.repository} arrived with other bytes than the hub announces, and was "
            "thrown away.",
            "Start the download again; if it happens again, a proxy or mirror changes files: use another network.",
        )
    wanted.path.unlink(missing_ok=True)
    rename(wanted.partial, wanted.path)
    return content.sha256


def _go_on(wanted: _Wanted, content: _Content, progress: _Progress) -> None:
    """Append what the hub sends from the content's end on.

    Raises:
        hub.ConnectionLost, hub.RangeRefused, BackendError, OSError: see there; what has arrived is on the disk.
    """
    with hub.reading(wanted.part, wanted.file.name, wanted.state, content.size) as (begin, chunks):
        if begin != content.size:
            content.restart()
        with open(wanted.partial, "ab" if content.size else "wb") as file:
            try:
                for chunk in chunks:
                    file.write(chunk)
                    content.update(chunk)
                    progress.add(len(chunk), wanted.file.name, received=True)
                    if content.size > wanted.state.size:
                        break
            finally:
                file.flush()
                os.fsync(file.fileno())
    if content.size > wanted.state.size:
        content.restart()
        raise hub.ConnectionLost("the hub sent more than it announced")
    if content.size < wanted.state.size:
        raise hub.ConnectionLost("the connection ended early")


class _Content:
    """The bytes of a file that are on the disk, from its beginning, and their hashes."""

    def __init__(self, wanted: _Wanted, path: Path, progress: _Progress) -> None:
        self._wanted, self._path, self._progress = wanted, path, progress
        self._begin()
        if _size(path) > wanted.state.size:
            path.unlink()
        elif path.is_file():
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    self.update(chunk)
                    progress.add(len(chunk), f"Checking {wanted.file.name}")

    def _begin(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git = hub.git_hash(self._wanted.state.size)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def update(self, chunk: bytes) -> None:
        """Take in what was appended."""
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._wanted.state.is_small:
            self._git.update(chunk)

    def restart(self) -> None:
        """Throw away what is there."""
        os.truncate(self._path, 0)
        self._progress.add(-self.size, "")
        self._begin()

    def is_right(self) -> bool:
        """Whether it is the whole file, with the announced hash, and safetensors where it is called so."""
        whole = self.size == self._wanted.state.size
        right = whole and self._wanted.state.matches(self.sha256, self._git.hexdigest())
        return right and not (self._wanted.path.suffix == ".safetensors" and safetensors_fault(self._path))


class _Progress:
    """Bytes that are there, of all files, and how fast they arrive."""

    def __init__(self, total: int, report: Report, cancelled: Callable[[], bool]) -> None:
        self.total, self.done = total, 0
        self._report, self._cancelled = report, cancelled
        self._received = 0
        self._samples = collections.deque([(time.monotonic(), 0)])
        self._told = 0.0

    def add(self, count: int, what: str, received: bool = False) -> None:
        """Count bytes, and report what is done where some time has passed.

        Args:
            count: negative where bytes are thrown away.
            what: is done; empty reports nothing.
            received: whether they came from the hub.

        Raises:
            Cancelled: it was asked for.
        """
        self.done += count
        self._received += count if received else 0
        if self._cancelled():
            raise Cancelled("download")
        now = time.monotonic()
        if what and now - self._told >= _REPORT_SECONDS:
            self._told = now
            self._samples.append((now, self._received))
            while now - self._samples[0][0] > _RATE_SECONDS:
                self._samples.popleft()
            self._report(min(self.done / max(self.total, 1), 1.0), f"{what}: {self._text(now)}")

    def wait(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            Cancelled: it was asked for.
        """
        end = time.monotonic() + seconds
        self._report(min(self.done / max(self.total, 1), 1.0), "The connection broke: trying again")
        while time.monotonic() < end:
            if self._cancelled():
                raise Cancelled("download")
            time.sleep(min(0.1, seconds))

    def _text(self, now: float) -> str:
        text = f"{size_text(self.done)} of {size_text(self.total)}"
        since, before = self._samples[0]
        rate = (self._received - before) / max(now - since, 1e-3)
        if rate < 1:
            return text
        return f"{text}, {size_text(rate)}/s, {_time_text((self.total - self.done) / rate)} left"


def _time_text(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60} min"


def _stored_parts(model: Model, store: Store, digests: dict[_Wanted, str]) -> dict[str, StoredPart]:
    """What is recorded of files that are all in their places."""
    parts = {}
    for part in model.parts:
        own = {wanted: digest for wanted, digest in digests.items() if wanted.part == part}
        files = {wanted.file.name: StoredFile(wanted.state.size, digest) for wanted, digest in own.items()}
        revision = next((wanted.state.revision for wanted in own), "")
        parts[part.name] = StoredPart(store.folder / model.name / part.name, revision, files)
    return parts


def _size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
