"""Files and folders that change in one step: whatever ends the process, the old or the new one is there.

A folder is filled beside its place, written through to the disk, and renamed. Where another one is there already it
steps aside first; a process that is killed between the two renames leaves both, and the next who comes by puts the old
one back (:func:`recover`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .file_lock import FileLock, is_held

_CONTENT, _LOCK, _KEPT = "content", "lock", "kept.json"
_NEW, _OLD = ".new", ".old"
_PATIENCE = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds: virus scanners hold fresh files for about one
_STALE = 3600.0  # seconds; for leftovers on disks without locks, where cannot be told whether anybody works on them
_LOOKS, _BETWEEN_LOOKS = 40, 0.05  # and seconds: longer than a rename is tried
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # some network drives
_LONGEST = len("/gaussians.ply")  # what a folder's path must leave room for
_UNLOCKED = 10.0  # seconds, many times what passes before a new folder has its lock


def rename(source: Path, target: Path) -> None:
    """``os.rename``, tried again for a while where it is not permitted: a scanner may hold what is new.

    Raises:
        OSError: it cannot be renamed.
    """
    _patiently(os.rename, source, target)


def _patiently(move: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    for pause in _PATIENCE:
        try:
            move(source, target)
            return
        except PermissionError:
            time.sleep(pause)
    move(source, target)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes its place at the end, and is gone where anything fails.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name[:60]}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        _sync(temporary)
        _patiently(os.replace, temporary, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, keeps: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """An empty folder beside ``folder`` to fill; it takes its place at the end, and is gone where anything fails.

    Args:
        folder: an absolute path; its parent exists.
        keeps: by name, which entries of an older folder there are taken over.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    recover(folder)
    # A sibling lies on the same disk, so that the rename at the end is one step.
    staging = folder.with_name(f"{_prefix(folder)}{uuid.uuid4().hex[:8]}{_NEW}")
    staging.mkdir()
    lock = FileLock(staging / _LOCK, timeout=0)
    with contextlib.suppress(OSError):  # a disk without locks: leftovers are known by their age there
        lock.acquire()
    try:
        content = staging / _CONTENT
        content.mkdir()
        yield content
        sync_tree(content)
        _swap(content, folder, staging.with_suffix(_OLD), keeps)
    finally:
        lock.release()
        # Where the old folder could not be put back, it and what it has lent stay for recover.
        if not staging.with_suffix(_OLD).exists() or not content.exists():
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def parents_of(folder: Path) -> Iterator[None]:
    """Make the folders above ``folder``; where what is done inside fails, those that were made go away again.

    Raises:
        OSError: they cannot be made.
    """
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        _remove_empty(missing)
        raise


@contextmanager
def tried_out(folder: Path) -> Iterator[Path]:
    """Its parent, once it is known that ``folder`` and what is beside it while it is written can be made.

    Afterwards everything is as it was before.

    Raises:
        OSError: they cannot be made.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder.with_name(f"{_prefix(folder)}{uuid.uuid4().hex[:8]}{_NEW}")
        # As long a path as any that will be, here or there: a folder that is left in ours would make it a stranger's.
        more = max(len(os.fsencode(folder.name)) - len(os.fsencode(beside.name)), len(_CONTENT) + 1) + _LONGEST
        for probe in (beside, beside / ("x" * more), folder):
            if not os.path.lexists(probe):
                probe.mkdir()
                made.insert(0, probe)
        yield folder.parent
    finally:
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def recover(folder: Path) -> bool:
    """Put back what stood at ``folder`` when a process was killed that was replacing it; clear what it left behind.

    What others are writing right now is left alone. Never raises: who cannot write here cannot repair either.

    Returns:
        Whether somebody is between taking the old one away and putting the new one there: wait a moment.
    """
    between = False
    with contextlib.suppress(OSError):
        leftovers = [path for path in folder.parent.iterdir() if path.name.startswith(_prefix(folder))]
        for old in sorted(path for path in leftovers if path.suffix == _OLD):
            if _in_use(old.with_suffix(_NEW)):
                between = True
            else:
                _put_back(old, folder)
        for new in leftovers:
            if new.suffix == _NEW and new.is_dir() and not _in_use(new) and not new.with_suffix(_OLD).exists():
                shutil.rmtree(new, ignore_errors=True)
    return between


def wait_for(folder: Path) -> bool:
    """Where ``folder`` is missing, its replacement broken off or under way, see that it is there again.

    Returns:
        Whether it is, or nobody is about to put it there.
    """
    for _ in range(_LOOKS):
        if folder.exists() or not recover(folder):
            return True
        time.sleep(_BETWEEN_LOOKS)
    return folder.exists()


def sync_tree(folder: Path) -> None:
    """Have the system write a folder and all that is in it to the disk.

    Raises:
        OSError: a file could not be written.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place) / name)
        _sync_folder(Path(place))


def _prefix(folder: Path) -> str:
    """What the names of siblings begin with that belong to ``folder``; short, as names are limited."""
    digest = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:8]
    return f".{os.fsencode(folder.name)[:60].decode('utf-8', 'ignore')}.{digest}."


def _swap(new: Path, folder: Path, aside: Path, keeps: Callable[[str], bool]) -> None:
    """Put ``new`` in the place of ``folder``, which goes ``aside`` and then away; on failure it comes back.

    Others may do so at the same time: one after the other, and what is kept goes from hand to hand.
    """
    for _ in range(_LOOKS):
        if not wait_for(folder):
            raise TimeoutError(errno.ETIMEDOUT, "another program is writing there and does not end", str(folder))
        there = folder.exists()
        try:
            if there:
                _replace(new, folder, aside, keeps)
            else:
                rename(new, folder)
            break
        except OSError as error:
            # Somebody has just taken the old one away, or has put theirs where nothing was.
            overtaken = isinstance(error, FileNotFoundError) if there else folder.exists()
            if not overtaken or aside.exists() or not new.exists():
                raise
    else:
        raise TimeoutError(errno.ETIMEDOUT, "other programs are writing there all the time", str(folder))
    _sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _replace(new: Path, folder: Path, aside: Path, keeps: Callable[[str], bool]) -> None:
    kept = [name for name in _names(folder) if keeps(name)]
    note = new.with_name(_KEPT)
    note.write_text(json.dumps(kept), "utf-8")
    _sync(note)
    rename(folder, aside)
    try:
        for name in kept:
            rename(aside / name, new / name)
        rename(new, folder)
    except BaseException:
        _put_back(aside, folder)
        raise


def _put_back(old: Path, folder: Path) -> None:
    """Undo what :func:`_swap` has begun, or finish it where only the old folder's removal was left to do."""
    new = old.with_suffix(_NEW) / _CONTENT
    if folder.exists():
        # The new one is in place and has taken over what it keeps, unless somebody else made a folder there since.
        if not new.exists():
            shutil.rmtree(old, ignore_errors=True)
        return
    for name in _kept(new.with_name(_KEPT)):
        if (new / name).exists() and not (old / name).exists():
            rename(new / name, old / name)
    rename(old, folder)
    _sync_folder(folder.parent)


def _kept(note: Path) -> list[str]:
    """Names of the entries that the new folder takes over from the old one."""
    try:
        names = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name != ".."]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _in_use(staging: Path) -> bool:
    """Whether a process still works with it."""
    lock = staging / _LOCK
    # Before there is content the lock may be there and nobody's yet; whoever tried it then would be in the way.
    begun = lock.exists() and ((staging / _CONTENT).exists() or staging.with_suffix(_OLD).exists())
    held = is_held(lock) if begun else None
    if held is not None:
        return held
    with contextlib.suppress(OSError):
        return time.time() - staging.stat().st_mtime < (_STALE if begun else _UNLOCKED)
    return False


def _sync(path: Path) -> None:
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can be asked to."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
