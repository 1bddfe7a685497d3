"""Where an avatar package is written: refused early, replaced whole."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .avatar import Avatar, save_avatar
from .avatar.package import refuse_foreign
from .avatar.plain_files import brief
from .avatar.whole import recover, tried_out, wait_for
from .errors import BackendError
from .options import shown

_MIN_FREE_BYTES = 64 * 1024 * 1024


def check_output(output: Path) -> None:
    """Refuse early what cannot be written to; what a killed run has left there is put right. Leaves no folder.

    Raises:
        BackendError: kinds ``output_not_writable``, ``disk_full``.
    """
    try:
        str(output).encode("utf-8")
        folder = output.resolve()
        if recover(folder) and not wait_for(folder):
            raise TimeoutError(errno.ETIMEDOUT, "another program is writing there and does not end")
        refuse_foreign(folder)
        if os.path.ismount(folder):
            raise OSError(errno.EBUSY, "it is a whole disk, which cannot be replaced as one; name a folder on it")
        with tried_out(folder) as parent:
            free = shutil.disk_usage(parent).free
    except (OSError, ValueError, RuntimeError) as error:  # links in a circle are a RuntimeError of older Pythons
        raise _output_error(output, error) from error
    if free < _MIN_FREE_BYTES:
        raise BackendError(
            "disk_full", f"The disk that holds {shown(folder.parent)} is full.", "Free 64 MB or choose another folder."
        )


def _output_error(output: Path, error: Exception) -> BackendError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return BackendError(
            "disk_full", f"The disk that holds {shown(output)} is full.", "Free some space and try again."
        )
    if isinstance(error, FileExistsError) and error.errno is None:  # a whole sentence of refuse_foreign
        return BackendError("output_not_writable", shown(error), "Choose an empty folder or a new name.")
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, UnicodeError):
        reason = "its name is no text that other programs could read"
    return BackendError(
        "output_not_writable",
        f"The folder {shown(output)} cannot be written to ({brief(reason)}).",
        "Choose another output folder.",
    )


def write_package(
    avatar: Avatar, output: Path, input_png: bytes | None, preview_png: bytes | Callable[[], bytes] | None
) -> None:
    """Write the package in one step; pictures that are None are left out.

    Raises:
        BackendError: kinds ``output_not_writable``, ``disk_full``; nothing is left behind.
    """
    try:
        save_avatar(avatar, output, input_image=input_png, preview=preview_png)
    except OSError as error:
        raise _output_error(output, error) from error
