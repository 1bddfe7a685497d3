"""Keeps the corpus from touching anything but its own folder.

Python imports this at its start where ``PYTHONPATH`` names this folder, so that it also holds in the processes that a
case starts. What would write, move or delete outside the folder of ``HUMANSPLAT_HOSTILE_ROOT`` raises
``PermissionError`` and is noted in ``trespass.txt`` there: the case has failed, and nothing has happened.
"""

from __future__ import annotations

import os
import sys
from typing import Any

NOTES = "trespass.txt"
_FREE = ("/dev/null", "/dev/stdout", "/dev/stderr", "/proc/self/fd", "nul")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events and which of their arguments are paths (https://docs.python.org/3/library/audit_events.html).
_PATHS = {
    "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
    "shutil.move": (0, 1), "shutil.copyfile": (1,), "shutil.copytree": (1,),
}  # fmt: skip


def _folder_of(descriptor: int) -> str:
    """The path of an open folder; the root's where the system does not tell, which is outside."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return os.sep


def install(root: str) -> None:
    """Begin to watch this process."""
    root = os.path.realpath(root)
    notes, busy = os.path.join(root, NOTES), [False]

    def outside(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return False
        try:
            text = os.fsdecode(path)
        except (TypeError, ValueError):
            return False
        # The last part may be a link that is itself renamed or removed: its folder says where it is.
        whole = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(text))), os.path.basename(text))
        return not (whole == root or whole.startswith(root + os.sep) or whole.startswith(_FREE))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if busy[0]:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
            touched = (path,) if writes else ()
        elif event in _PATHS:
            touched = tuple(arguments[k] for k in _PATHS[event] if k < len(arguments))
            if event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # within an open folder, as rmtree works
                touched = (os.path.join(_folder_of(arguments[1]), os.fsdecode(arguments[0])),)
        else:
            return
        busy[0] = True
        try:
            bad = [path for path in touched if outside(path)]
            if bad:
                with open(notes, "a", encoding="utf-8", errors="replace") as file:
                    file.write(f"{event} {bad[0]!r}\n")
        finally:
            busy[0] = False
        if bad:
            raise PermissionError(13, "The corpus may touch nothing but its own folder", os.fsdecode(bad[0]))

    sys.addaudithook(watch)


if os.environ.get("HUMANSPLAT_HOSTILE_ROOT"):
    install(os.environ["HUMANSPLAT_HOSTILE_ROOT"])
