"""Renaming and deleting where virus scanners and other programs hold files, and a lock between processes.

Standard library only, no bpy: ``scripts/setup`` runs it without any package.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_T = TypeVar("_T")
#: Seconds for which what is in use is tried again: scanners hold fresh files for a second or two.
PATIENCE = 5.0
#: Windows: access denied, sharing violation, lock violation, folder not empty, mapped file, delete pending.
_BUSY_WINDOWS = frozenset({5, 32, 33, 145, 1224, 303})
_BUSY_POSIX = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOTEMPTY, errno.ETXTBSY})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
#: Folders on their way out are called this and a number: no longer than what they were called before.
_ASIDE = "old"


def is_busy(error: OSError) -> bool:
    """True if another program may be what stood in the way, so that trying again can help."""
    code = getattr(error, "winerror", None)
    return code in _BUSY_WINDOWS if code is not None else error.errno in _BUSY_POSIX


def retry(action: Callable[[], _T], patience: float | None = None) -> _T:
    """Do it, and do it again for some seconds while something is in use.

    Args:
        action: called until it raises nothing.
        patience: seconds; by default :data:`PATIENCE`.

    Raises:
        OSError: what the last attempt raised.
    """
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    pause = 0.05
    while True:
        try:
            return action()
        except OSError as error:
            if not is_busy(error) or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2.0 * pause, 0.8)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        retry(lambda: os.replace(temporary, path))
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def set_aside(folder: Path, patience: float | None = None) -> Path:
    """Rename a folder, whole, to a name that says it is to be deleted.

    Windows renames no folder in which a file is open: then nothing has happened to it.

    Returns:
        The folder under its new name.

    Raises:
        OSError: something in it is in use, or the folder around it cannot be written to.
    """

    def rename() -> Path:
        number = 1
        while os.path.lexists(aside := folder.with_name(f"{_ASIDE}{number}")):
            number += 1
        os.rename(folder, aside)
        return aside

    return retry(rename, patience)


def set_aside_before(root: Path) -> list[Path]:
    """Folders of ``root`` that were set aside and are still there."""
    return [path for path in root.glob(f"{_ASIDE}[0-9]*") if path.name.removeprefix(_ASIDE).isdigit()]


def delete(folder: Path, patience: float | None = None) -> bool:
    """Delete a folder, or what is in its place, that nobody needs; False if some of it is in use and still there."""

    def attempt() -> None:
        if folder.is_dir() and not folder.is_symlink():
            _delete_tree(folder)
        else:
            folder.unlink(missing_ok=True)

    with contextlib.suppress(OSError):
        retry(attempt, patience)
    return not os.path.lexists(folder)


def _delete_tree(folder: Path) -> None:
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=_make_writable)
    else:
        shutil.rmtree(folder, onerror=lambda function, path, found: _make_writable(function, path, found[1]))


def _make_writable(function: Callable[..., Any], path: str, error: BaseException) -> None:
    """For ``rmtree``: files that are marked read-only, which Windows does not delete."""
    # What a link leads to is somebody else's: the Python that an environment was made from.
    if function not in (os.unlink, os.rmdir, os.remove) or os.path.islink(path):
        raise error
    os.chmod(path, stat.S_IWRITE | stat.S_IREAD | stat.S_IEXEC)
    function(path)


class ProcessLock:
    """A lock between processes on a file that is made for it; the system lets go when its holder ends, however.

    The file stays: whoever deleted it would let two others hold two files of one name. Where the disk knows no locks
    (some network drives), everybody gets it.

    Args:
        path: the file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def acquire(self, patience: float = 0.0, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Take it; False if another process, or another object, has it.

        Args:
            patience: seconds to wait for it.
            give_up: asked while waiting; true ends that.

        Raises:
            OSError: the file cannot be made.
        """
        end = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= end or give_up():
                return False
            time.sleep(0.05)
        return True

    def _try(self) -> bool:
        file = open(self._path, "ab+")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                return False
        self._file = file
        return True

    def release(self) -> None:
        """Let others have it; harmless where it is not held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                if fcntl is None:
                    self._file.seek(0)
                    msvcrt.locking(self._file.fileno(), msvcrt.LK_UNLCK, 1)
            self._file.close()
            self._file = None
