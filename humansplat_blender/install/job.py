"""Installing and removing the backend's environment. Standard library only, no bpy.

An environment grows in the folder that it keeps (a scanner that holds one of its files would prevent a renaming) and
counts once its marker is written, which is the last step; until then an older one beside it is used. Of several whole
ones the newest counts.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ..background import BackgroundJob
from ..client import Failure, describe_exit, kill_tree, spawn_options
from ..environment import LEGACY_NAME, MARKER_NAME, SLOTS, installed_folder, is_whole, legacy_leftovers
from . import files, limits, machine, settings
from .settings import has_own_index, pip_environment
from .steps import Step, install_steps

LOCK_NAME = "install.lock"
#: Seconds to wait for another Blender that installs or removes: it may be about to end, or be deleting leftovers.
LOCK_PATIENCE = 15.0
#: Free space asked for before an installation, bytes: what it takes plus what pip unpacks on the way.
SPACE_CPU = 3 * 1024**3
SPACE_CUDA = 12 * 1024**3
#: Bytes of a line of output that are read as one, characters of it that are kept, and that are shown.
MAX_LINE, KEPT_CHARACTERS, SHOWN_CHARACTERS = 65_536, 4000, 200
#: Seconds that a command's last lines get to arrive once it has ended.
OUTPUT_GRACE = 1.0
# pip's progress bars. Blender's own font lacks these characters, and reading its other fonts stops it for 0.2 seconds.
_BAR = re.compile("[\u2500-\u259f]+")

_ELSEWHERE = Failure(
    "install_elsewhere",
    "Another Blender is installing or removing the backend.",
    "Wait until it has finished, then try again.",
)
_DAMAGED = Failure(
    "install_failed",
    "The add-on's own lists of what to install are missing or damaged.",
    "Install the add-on again, then the backend.",
)


class InstallJob(BackgroundJob):
    """Makes the environment on a thread of its own; read its attributes from anywhere.

    Args:
        base_python: interpreter to make the environment from, of the same version as the running one.
        install_root: folder that will hold it.
        extension_root: folder with the ``backend`` package.
        log_path: file that receives everything the commands print.
        old_roots: other folders whose environments are given up once the new one works.
        steps: makes the steps for a folder; for tests. By default :func:`.steps.install_steps`.
    """

    def __init__(
        self,
        base_python: Path,
        install_root: Path,
        extension_root: Path,
        log_path: Path,
        old_roots: Sequence[Path] = (),
        steps: Callable[[Path], Sequence[Step]] | None = None,
    ) -> None:
        super().__init__("humansplat-install", "Looking at this computer", "The backend is installed.")
        self._base_python = base_python
        self._root = install_root
        self._extension_root = extension_root
        self._log_path = log_path
        self._old_roots = tuple(old_roots)
        self._steps = steps
        self._tail: collections.deque[str] = collections.deque(maxlen=40)

    # --- thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        lock = files.ProcessLock(self._root / LOCK_NAME)
        try:
            self.failure = self._unsuitable()
            if self.failure is None:
                self._root.mkdir(parents=True, exist_ok=True)
                self._log_path.parent.mkdir(parents=True, exist_ok=True)
                free = lock.acquire(LOCK_PATIENCE, lambda: self._cancelled)
                self.failure = self._install() if free else _ELSEWHERE
        except OSError as error:
            self.failure = _explain_error(error, self._root)
        except Exception as error:  # the panel waits for `done`
            text = f"The backend could not be installed: {type(error).__name__}: {error}."
            self.failure = Failure("install_failed", text, "Copy the details into a bug report.")
        finally:
            if self._cancelled:
                self.failure = Failure("cancelled", "The installation was cancelled.")
            lock.release()
            self.done = True

    def _unsuitable(self) -> Failure | None:
        """What can be said before anything is downloaded, or even written."""
        self._machine = machine.this_machine()
        return machine.refusal(self._machine)

    def _install(self) -> Failure | None:
        unfinished = _clean(self._root)
        # Whoever was making that one may have been killed, and its pip may still write to it.
        folder = _free_slot(self._root, unfinished)
        if folder is None:
            text = "The backend could not be installed: all environments in its folder are in use."
            return Failure("install_failed", text, _CLOSE_OTHERS, str(self._root))
        try:
            failure = self._make(folder)
            whole = failure is None and not self._cancelled
            if whole:
                marker = {"python": sys.version.split()[0], "made": time.strftime("%Y-%m-%dT%H:%M:%S")}
                self.label = "Finishing"
                files.write_text(folder / MARKER_NAME, json.dumps(marker | {"torch": self._build.name}))
        finally:
            if not is_whole(folder):
                _discard(folder)
        if whole:
            self._give_up_old(folder)
        return failure

    def _make(self, folder: Path) -> Failure | None:
        system = machine.system_name(self._machine)
        self._build = machine.choose_build(system, machine.find_cards())
        if self._build.note:
            self.notes.append(self._build.note)
        environment = pip_environment()
        try:
            longest = limits.longest_path(self._extension_root, system, self._build.name)
            steps = self._steps(folder) if self._steps else self._real_steps(folder, system, has_own_index(environment))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
            return replace(_DAMAGED, details=f"{self._extension_root}\n{error!r}")
        failure = limits.refusal(folder, longest, system, limits.long_paths_enabled()) or settings.refusal()
        if failure is not None:
            return failure
        needed, free = SPACE_CUDA if self._build.cuda else SPACE_CPU, shutil.disk_usage(self._root).free
        if free < needed:
            return Failure(
                "disk_full",
                f"The backend needs {needed / 1024**3:.0f} GB of free disk space; there are {free / 1024**3:.1f} GB.",
                f"Free some space on the disk of {self._root}, then install again.",
            )
        total = sum(step.share for step in steps)
        # A path may hold bytes that are no UTF-8.
        with open(self._log_path, "w", encoding="utf-8", errors="backslashreplace") as log:
            for step in steps:
                self.label = step.label
                log.write(f"$ {' '.join(step.command)}\n")
                code = self._call(step.command, environment, log)
                if self._cancelled:
                    return None
                if code != 0:
                    return explain(step.label, code, "\n".join(self._tail))
                self.fraction += step.share / total
        return None

    def _real_steps(self, folder: Path, system: str, own_index: bool) -> Sequence[Step]:
        build, python = self._build.name, self._machine.python
        return install_steps(self._base_python, folder, self._extension_root, system, build, python, own_index)

    def _give_up_old(self, new: Path) -> None:
        """Delete the environments that the new one takes the place of; what is in use stays until it is not."""
        in_use = False
        for root in (self._root, *self._old_roots):
            for old in environments_in(root):
                if old != new and not _give_up(old):
                    in_use = True
        if in_use:
            self.notes.append(
                "Another program still uses the backend that was there before: it is deleted when Blender next starts."
            )

    def _call(self, command: Sequence[str], environment: dict[str, str], log: TextIO) -> int:
        process = subprocess.Popen(
            command,
            cwd=self._extension_root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **spawn_options(),
        )
        self._started(process)
        errors: list[OSError] = []
        reader = threading.Thread(target=self._read, args=(process, log, errors), name="humansplat-pip", daemon=True)
        reader.start()
        code = process.wait()
        reader.join(OUTPUT_GRACE)  # a process that the command has left behind may hold its output for ever
        if errors:
            raise errors[0]
        return code

    def _read(self, process: subprocess.Popen[bytes], log: TextIO, errors: list[OSError]) -> None:
        """Pass on what a command prints; where it cannot be noted, the command is ended."""
        assert process.stdout is not None
        try:
            with process.stdout as output, contextlib.suppress(ValueError):  # the log was closed meanwhile
                for raw in iter(lambda: output.readline(MAX_LINE), b""):
                    line = raw.decode(errors="replace").rstrip()
                    if line:
                        log.write(line + "\n")
                        log.flush()
                        self._tail.append(line[:KEPT_CHARACTERS])
                        shown = _BAR.sub("", line).strip()
                        if shown and not line.startswith(("WARNING", "ERROR")):  # the log has it all
                            self.last_line = shown[:SHOWN_CHARACTERS]
        except OSError as error:
            errors.append(error)
            kill_tree(process)


# --- what went wrong ------------------------------------------------------------------------------------------

_CLOSE_OTHERS = "Close other Blender windows and wait for virus scanners, then install again."
_SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ensurepip",), "Install your system's package for Python environments (on Debian and Ubuntu: python3-venv)."),
    (("No space left", "Errno 28", "WinError 112", "not enough space"), "Free some disk space, then install again."),
    (
        ("WinError 206", "too long", "Errno 36", "Errno 63", "Windows Long Path support"),
        "Paths became too long for this system: set the environment variable HUMANSPLAT_HOME to a folder with a short "
        "path (on Windows also: allow long paths), then start Blender again and install.",
    ),
    (
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "Hash mismatch", "do not match the hash", "differ from the locked"),
        "What was downloaded is not the file that the backend was made with, so it was not installed. Try again on "
        "another network; if it happens again, report it.",
    ),
    (
        ("No matching distribution", "Could not find a version"),
        "The index that was asked has no such package, or could not be reached: check the connection to the internet "
        "(or the proxy settings), then install again.",
    ),
    (
        ("Connection", "Temporary failure", "timed out", "ProxyError", "SSLError", "getaddrinfo", "unreachable"),
        "Check the connection to the internet (or the proxy settings), then install again.",
    ),
    (("WinError 32", "WinError 5]", "being used by another process"), _CLOSE_OTHERS),
    (
        ("Permission denied", "Errno 13"),
        "A file could not be written: check the folder's permissions and close other Blender windows, then try again.",
    ),
)


def explain(label: str, code: int, text: str) -> Failure:
    """Why a step did not work.

    Args:
        label: the step's.
        code: exit status of its command.
        text: the last lines that it printed.
    """
    fixes = (fix for signs, fix in _SIGNS if any(sign in text for sign in signs))
    fix = next(fixes, "Open the log to see why, then install again.")
    return Failure("install_failed", f"{label} did not work: the command {describe_exit(code)}.", fix, text)


def _explain_error(error: OSError, root: Path) -> Failure:
    fixes = (fix for signs, fix in _SIGNS if any(sign in str(error) for sign in signs))
    fix = next(fixes, "Check that the disk is not full and that the folder can be written.")
    if files.is_busy(error) and getattr(error, "winerror", None) is not None:
        fix = _CLOSE_OTHERS
    message = f"The backend could not be installed: {error.strerror or error}."
    return Failure("install_failed", message, fix, f"{root}\n{error}")


# --- the folders ----------------------------------------------------------------------------------------------


def environments_in(root: Path) -> list[Path]:
    """Every folder there that is an environment or began to become one."""
    return [folder for name in (*SLOTS, LEGACY_NAME) if os.path.lexists(folder := root / name)]


def _free_slot(root: Path, unwanted: Collection[Path]) -> Path | None:
    """A place for a new environment, one that is not unwanted if there is such a one; None if all are taken."""
    free = [folder for name in SLOTS if not os.path.lexists(folder := root / name)]
    return min(free, key=lambda folder: folder in unwanted, default=None)


def _discard(folder: Path) -> None:
    """Have a folder out of the way as far as it can be; the next who comes by goes on."""
    with contextlib.suppress(OSError):
        folder = files.set_aside(folder)
    files.delete(folder)


def _give_up(folder: Path) -> bool:
    """Delete an environment, or, where that must wait, see that nobody takes it for one; False if it must."""
    with contextlib.suppress(OSError):
        files.delete(files.set_aside(folder))
        return True
    with contextlib.suppress(OSError):
        files.retry((folder / MARKER_NAME).unlink)
    return False


def _clean(root: Path) -> list[Path]:
    """Delete what interrupted jobs have left, and what a newer environment has taken the place of.

    The lock must be held.

    Returns:
        The folders of environments that were never finished.
    """
    used, unfinished = installed_folder([root]), []
    for folder in environments_in(root):
        if not is_whole(folder):
            unfinished.append(folder)
            _discard(folder)
        elif folder != used:
            _give_up(folder)
    for folder in [*files.set_aside_before(root), *legacy_leftovers(root)]:
        files.delete(folder)
    return unfinished


def clean_up(roots: Sequence[Path]) -> None:
    """Delete what could not be deleted earlier, unless another Blender is at work. May take seconds; never raises."""
    for root in roots:
        lock = files.ProcessLock(root / LOCK_NAME)
        with contextlib.suppress(OSError):
            if (root / LOCK_NAME).is_file() and lock.acquire():
                _clean(root)
        lock.release()


def remove(roots: Sequence[Path]) -> Failure | None:
    """Delete the installed environments and whatever interrupted jobs have left. May take seconds.

    An environment of which a file is open is left whole where the system can tell (Windows).

    Args:
        roots: the folders that may hold one.

    Returns:
        Why something is left, or None.
    """
    for root in roots:
        if root.is_dir():
            failure = _remove_from(root)
            if failure is not None:
                return failure
    return None


def _remove_from(root: Path) -> Failure | None:
    lock = files.ProcessLock(root / LOCK_NAME)
    try:
        if not lock.acquire(LOCK_PATIENCE):
            return _ELSEWHERE
        for folder in environments_in(root):
            files.set_aside(folder)
        _clean(root)
        left = files.set_aside_before(root)
    except OSError as error:
        return Failure(
            "remove_failed",
            f"The backend was not removed: {error.strerror or error}.",
            "What is in use is as it was. Close other Blender windows that use it, then remove it again.",
            str(error),
        )
    finally:
        lock.release()
    if left:
        return Failure(
            "remove_failed",
            "The backend was removed, but some of its files are in use and could not be deleted yet.",
            "They are deleted when Blender next starts; you can also delete the folder by hand.",
            ", ".join(map(str, left)),
        )
    return None
