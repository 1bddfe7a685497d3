"""The backend's Python environment: find one, install one, remove one. Standard library only, no bpy."""

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
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .client import Failure, clean_environment, describe_exit, kill_tree, spawn_options

PYTHON_VARIABLE = "HUMANSPLAT_BACKEND_PYTHON"
FOLDER_NAME = "environment"
MARKER_NAME = "humansplat-environment.json"
PARTIAL_SUFFIX = ".partial"
TRASH_SUFFIX = ".trash"
#: Free space asked for before an installation, bytes: what it takes plus what pip unpacks on the way.
SPACE_CPU = 3 * 1024**3
SPACE_CUDA = 12 * 1024**3
#: Python versions that every pinned package exists for.
SUPPORTED_PYTHONS = ((3, 10), (3, 13))
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
# pip's progress bars. Blender's own font lacks these characters, and reading its other fonts stops it for 0.2 seconds.
_BAR = re.compile("[\u2500-\u259f]+")


@dataclass(frozen=True)
class Environment:
    """A Python that is meant to run the backend (whether it can is known once it has answered).

    Attributes:
        python: the interpreter.
        source: where it comes from, for people.
    """

    python: Path
    source: str


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def resolve_python(path: str) -> Path | None:
    """The interpreter meant by a path that is one, or that is the folder of an environment; None if neither."""
    if not path.strip():
        return None
    chosen = Path(path.strip()).expanduser()
    if chosen.is_file():
        return chosen
    return python_in(chosen) if python_in(chosen).is_file() else None


def installed_folder(install_root: Path) -> Path:
    """Where :class:`InstallJob` puts the environment."""
    return install_root / FOLDER_NAME


def is_installed(install_root: Path) -> bool:
    """True if an installation has been finished there."""
    folder = installed_folder(install_root)
    return (folder / MARKER_NAME).is_file() and python_in(folder).is_file()


def find(preference: str, install_root: Path, extension_root: Path) -> Environment | None:
    """The environment to use: environment variable, preference, installed, beside the repository; None if none.

    Args:
        preference: path chosen in the preferences, or an empty string.
        install_root: folder that holds the installed environment.
        extension_root: folder with the ``backend`` package.
    """
    for path, source in ((os.environ.get(PYTHON_VARIABLE, ""), PYTHON_VARIABLE), (preference, "chosen")):
        if path.strip():
            python = resolve_python(path)
            return Environment(python, source) if python else None
    if is_installed(install_root):
        return Environment(python_in(installed_folder(install_root)), "installed")
    beside = python_in(extension_root / ".venvs" / "backend")
    return Environment(beside, "development") if beside.is_file() else None


def backend_command(python: Path, *arguments: str) -> list[str]:
    """Command line of ``python -m backend ...``, to be run in the extension's folder."""
    return [str(python), "-u", "-m", "backend", *arguments]


def has_nvidia_gpu() -> bool:
    """True if the driver's own tool lists a card."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, timeout=10.0, **_hidden())
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"GPU" in done.stdout


def _hidden() -> dict[str, int]:
    return {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}


def _discard(folder: Path) -> None:
    """Delete a folder; it is out of the way at once, even where deleting takes time or fails half way."""
    if not folder.exists():
        return
    trash = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}{TRASH_SUFFIX}")
    with contextlib.suppress(OSError):
        folder.rename(trash)
        folder = trash
    shutil.rmtree(folder, ignore_errors=True)


def remove(install_root: Path) -> None:
    """Delete the installed environment and whatever interrupted jobs left behind. May take seconds."""
    _discard(installed_folder(install_root))
    for left in [*install_root.glob(f"*{PARTIAL_SUFFIX}"), *install_root.glob(f"*{TRASH_SUFFIX}")]:
        shutil.rmtree(left, ignore_errors=True)


@dataclass(frozen=True)
class Step:
    """One step of an installation.

    Attributes:
        label: for people.
        share: of the whole time.
        commands: alternatives, tried in order until one succeeds.
    """

    label: str
    share: float
    commands: tuple[tuple[str, ...], ...]


def install_steps(base_python: Path, folder: Path, extension_root: Path, cuda: bool) -> tuple[Step, ...]:
    """The commands that make an environment in ``folder``."""
    python = str(python_in(folder))
    pip = (python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--retries", "2")
    requirements = extension_root / "backend" / "requirements.txt"
    torch = next(line for line in requirements.read_text("utf-8").splitlines() if line.startswith("torch=="))
    # PyTorch's own index names the build; where it cannot be reached, what pip is configured with will do.
    torch_commands: tuple[tuple[str, ...], ...] = ((*pip, torch),)
    if sys.platform != "darwin":
        torch_commands = ((*pip, "--index-url", CUDA_INDEX if cuda else CPU_INDEX, torch), *torch_commands)
    return (
        Step("Making a Python environment", 0.05, ((str(base_python), "-m", "venv", "--clear", str(folder)),)),
        Step("Downloading PyTorch", 0.60, torch_commands),
        Step("Downloading packages", 0.25, ((*pip, "-r", str(requirements)),)),
        Step("Unpacking the pose networks", 0.10, (tuple(backend_command(Path(python), "setup")),)),
    )


class InstallJob:
    """Makes the environment on a thread of its own; read its attributes from anywhere.

    The environment grows in a folder with another name and gets its own, with the marker inside, once it is whole, so
    that an interrupted installation never looks like a finished one and an older environment stays until then.

    Args:
        base_python: interpreter to make the environment from, of the same version as the running one.
        install_root: folder that will hold it.
        extension_root: folder with the ``backend`` package.
        log_path: file that receives everything the commands print.
        steps: for tests; by default :func:`install_steps`.
    """

    def __init__(
        self,
        base_python: Path,
        install_root: Path,
        extension_root: Path,
        log_path: Path,
        steps: Sequence[Step] | None = None,
    ) -> None:
        self.fraction = 0.0
        self.label = "Looking at this computer"
        self.last_line = ""
        self.failure: Failure | None = None
        self.done = False
        self._base_python = base_python
        self._root = install_root
        self._extension_root = extension_root
        self._log_path = log_path
        self._steps = steps
        self._partial = install_root / f"{FOLDER_NAME}-{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}"
        self._tail: collections.deque[str] = collections.deque(maxlen=40)
        self._cancelled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="humansplat-install", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop; ``done`` follows as soon as what was there is deleted."""
        self._cancelled = True
        self.label = "Cancelling"
        if self._process is not None:
            kill_tree(self._process)

    # --- thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.failure = self._install()
        except OSError as error:
            self.failure = Failure(
                "install_failed",
                f"The backend could not be installed: {error.strerror or error}.",
                "Check that the disk is not full and that the folder can be written.",
                f"{self._root}\n{error}",
            )
        finally:
            if self._cancelled:
                self.failure = Failure("cancelled", "The installation was cancelled.")
            _discard(self._partial)
            self.done = True

    def _install(self) -> Failure | None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        version = sys.version_info[:2]
        if not SUPPORTED_PYTHONS[0] <= version <= SUPPORTED_PYTHONS[1]:
            oldest, newest = (".".join(map(str, supported)) for supported in SUPPORTED_PYTHONS)
            return Failure(
                "python_unsupported",
                f"This Blender runs Python {version[0]}.{version[1]}; the backend needs {oldest} to {newest}.",
                "Make an environment with such a Python (see the README) and choose it in the preferences.",
            )
        for left in [*self._root.glob(f"*{PARTIAL_SUFFIX}"), *self._root.glob(f"*{TRASH_SUFFIX}")]:
            shutil.rmtree(left, ignore_errors=True)
        cuda = has_nvidia_gpu()
        needed, free = SPACE_CUDA if cuda else SPACE_CPU, shutil.disk_usage(self._root).free
        if free < needed:
            return Failure(
                "disk_full",
                f"The backend needs {needed / 1024**3:.0f} GB of free disk space; there are {free / 1024**3:.1f} GB.",
                f"Free some space on the disk of {self._root}, then install again.",
            )
        steps = self._steps or install_steps(self._base_python, self._partial, self._extension_root, cuda)
        total = sum(step.share for step in steps)
        with open(self._log_path, "w", encoding="utf-8") as log:
            for step in steps:
                self.label = step.label
                for command in step.commands:
                    log.write(f"$ {' '.join(command)}\n")
                    code = self._call(command, log)
                    if code == 0 or self._cancelled:
                        break
                if self._cancelled:
                    return None
                if code != 0:
                    return self._explain(step, code)
                self.fraction += step.share / total
        self.label = "Finishing"
        marker = {"python": sys.version.split()[0], "cuda": cuda, "made": time.strftime("%Y-%m-%dT%H:%M:%S")}
        (self._partial / MARKER_NAME).write_text(json.dumps(marker), "utf-8")
        final = installed_folder(self._root)
        _discard(final)
        self._partial.rename(final)
        return None

    def _call(self, command: Sequence[str], log: TextIO) -> int:
        environment = clean_environment({"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"})
        process = subprocess.Popen(
            command,
            cwd=self._extension_root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **spawn_options(),
        )
        self._process = process
        if self._cancelled:
            kill_tree(process)
        assert process.stdout is not None
        for raw in iter(process.stdout.readline, b""):
            line = raw.decode(errors="replace").rstrip()
            if line:
                log.write(line + "\n")
                log.flush()
                self._tail.append(line)
                shown = _BAR.sub("", line).strip()
                if shown and not line.startswith(("WARNING", "ERROR")):  # an alternative follows; the log has it all
                    self.last_line = shown
        return process.wait()

    def _explain(self, step: Step, code: int) -> Failure:
        text = "\n".join(self._tail)
        if "ensurepip" in text:
            fix = "Install your system's package for Python environments (on Debian and Ubuntu: python3-venv)."
        elif "No space left" in text or "Errno 28" in text:
            fix = "Free some disk space, then install again."
        elif any(sign in text for sign in ("Connection", "Temporary failure", "timed out", "ProxyError", "SSLError")):
            fix = "Check the connection to the internet (or the proxy settings), then install again."
        else:
            fix = "Open the log to see why, then install again."
        return Failure("install_failed", f"{step.label} did not work: the command {describe_exit(code)}.", fix, text)
