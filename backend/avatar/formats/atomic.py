"""Exports' files and folders: there whole or not at all, and what goes wrong with them in one sentence."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import whole
from .types import ExportError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; moved there at the end, deleted where anything fails.

    Raises:
        ExportError: the file cannot be written.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole.whole_file(path) as temporary:
            yield temporary


@contextmanager
def whole_folder(folder: str | Path, marker: str) -> Iterator[Path]:
    """An empty folder beside ``folder`` to fill; it takes ``folder``'s place at the end.

    An earlier export there, which has the file ``marker``, is replaced; files in it that the new export does not have
    are lost with it, so anything else that is not empty is refused.

    Raises:
        ExportError: the folder is somebody else's, or cannot be written.
    """
    folder = Path(folder).absolute()
    with explained(folder):
        whole.recover(folder)
        _refuse_foreign(folder, marker)
        with whole.parents_of(folder), whole.whole_folder(folder) as content:
            yield content
            _refuse_foreign(folder, marker)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one sentence why ``path`` cannot be written.

    Raises:
        ExportError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise ExportError(f"The disk of {path.parent} is full; free space or choose another folder.") from error
        reason = error.strerror or str(error)
        raise ExportError(f"{path} cannot be written ({reason}); choose another folder.") from error


def _refuse_foreign(folder: Path, marker: str) -> None:
    if folder.is_dir():
        with contextlib.suppress(StopIteration):
            next(folder.iterdir())
            if not (folder / marker).is_file():
                raise ExportError(
                    f"The folder {folder} is not empty and holds no earlier export; choose another folder."
                )
    elif folder.exists():
        raise ExportError(f"{folder} is a file; choose a folder.")
