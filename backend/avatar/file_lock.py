"""A lock between processes that the system lets go when its holder ends, however it ends. No bpy."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


class FileLock:
    """Holds ``path``, a file made for nothing else, as long as the ``with`` block runs.

    The file stays: whoever removed it would let two others hold two files of one name.

    Args:
        path: in a folder that can be written to.
        timeout: seconds to wait for another holder.

    Raises:
        TimeoutError: another process still holds it.
        OSError: the file cannot be made, or its disk knows no locks.
    """

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path, self.timeout = path, timeout
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """See the class."""
        file = open(self.path, "ab+")
        end = time.monotonic() + self.timeout
        try:
            while not _try_lock(file):
                if time.monotonic() >= end:
                    raise TimeoutError(f"Another program holds {self.path}.")
                time.sleep(0.02)
        except BaseException:
            file.close()
            raise
        self._file = file

    def release(self) -> None:
        """Let others have it; harmless where it is not held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                _unlock(self._file)
            self._file.close()
            self._file = None

    def __enter__(self) -> FileLock:
        """Wait and hold it."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let it go."""
        self.release()


def is_held(path: Path) -> bool | None:
    """Whether a process that still runs holds the lock; None where its disk knows no locks."""
    try:
        with FileLock(path, timeout=0):
            return False
    except TimeoutError:
        return True
    except OSError:
        return None


def _try_lock(file: IO[bytes]) -> bool:
    """Whether the lock was free, and now is ours."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
    else:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
