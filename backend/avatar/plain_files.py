"""Files that may be a stranger's: opened only where they are plain, so that no pipe blocks and no device floods."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path) -> tuple[BinaryIO, int]:
    """The file, open for reading, and its size in bytes.

    Raises:
        OSError: there is none, it is a folder, pipe or device, or it cannot be read.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return open(path, "rb"), status.st_size


def read_plain(path: Path, limit: int) -> bytes:
    """All of a file of at most ``limit`` bytes.

    Raises:
        ValueError: it is larger.
        OSError: as :func:`open_plain`.
    """
    file, size = open_plain(path)
    with file:
        if size > limit:
            raise ValueError(f"it is larger than {limit:,} bytes")
        return file.read(size)


def brief(text: object, limit: int = 200) -> str:
    """The text of an error on one line, cut off where it is longer than a sentence; without a full stop.

    What no screen can show (parts of file names that are no text) is replaced.
    """
    line = " ".join(str(text).split()).encode("utf-8", "replace").decode()
    return (line if len(line) <= limit else line[: limit - 1] + "…").rstrip(".")
