"""Finding the backend's Python environment. Standard library only, no bpy; :mod:`.install` makes and removes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON_VARIABLE = "HUMANSPLAT_BACKEND_PYTHON"
#: Folders of environments: short, because Windows allows paths of 259 characters; several, because a new one is made
#: beside the one that is in use.
SLOTS = tuple(f"env{number}" for number in range(1, 10))
#: In the user's home folder, on Windows: every character counts.
HOME_NAME = ".humansplat"
#: What an environment's folder was called in earlier versions.
LEGACY_NAME = "environment"
#: Written into an environment last.
MARKER_NAME = "humansplat-environment.json"


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
    """The interpreter meant by a path that is one, or that is the folder of an environment; None if neither.

    Quotation marks around it, as Windows' *Copy as path* adds them, are left out.
    """
    text = _unquoted(path)
    if not text:
        return None
    chosen = _at_home(text)
    if _is_program(chosen):
        return chosen
    return python_in(chosen) if _is_file(python_in(chosen)) else None


def _unquoted(path: str) -> str:
    return path.strip().strip("\"'").strip()


def _is_program(path: Path) -> bool:
    # The Python of Microsoft's store is a link of a kind that can be run and not be looked at.
    return _is_file(path) or (os.name == "nt" and path.suffix.lower() == ".exe" and os.path.lexists(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than the system allows, or with a NUL
        return False


def _at_home(text: str) -> Path:
    """The path with ``~`` filled in, or as it stands where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_whole(folder: Path) -> bool:
    """True if an installation has been finished there, and the Python that it was made from is still there."""
    return _is_file(folder / MARKER_NAME) and _is_file(python_in(folder)) and _base_is_there(folder)


def _base_is_there(folder: Path) -> bool:
    # On Windows an environment's python.exe only starts the one that it was made from: Blender's.
    try:
        lines = (folder / "pyvenv.cfg").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return True
    homes = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "home"]
    return not homes or Path(homes[0]).is_dir()


def installed_folder(install_roots: Sequence[Path]) -> Path | None:
    """The newest environment that has been installed in one of these folders, or None."""
    newest: tuple[int, Path] | None = None
    for root in install_roots:
        for name in (*SLOTS, LEGACY_NAME):
            folder = root / name
            if is_whole(folder):
                with contextlib.suppress(OSError):  # deleted meanwhile
                    made = (folder / MARKER_NAME).stat().st_mtime_ns
                    newest = max(newest or (made, folder), (made, folder))
    return newest[1] if newest else None


def install_roots(system: str, home: Path, user_folder: Path, chosen: str = "") -> tuple[Path, ...]:
    """Folders that may hold an environment, the one for new ones first.

    Args:
        system: ``sys.platform``.
        home: the user's home folder.
        user_folder: where Blender lets the extension keep files.
        chosen: another folder for new ones, or an empty string.
    """
    own = _unquoted(chosen)
    usual = (home / HOME_NAME, user_folder) if system == "win32" else (user_folder,)
    return (_at_home(own).absolute(), *usual) if own else usual


def legacy_leftovers(root: Path) -> list[Path]:
    """What interrupted installations of earlier versions have left there."""
    return [path for suffix in ("partial", "trash") for path in root.glob(f"{LEGACY_NAME}-*.{suffix}")]


def find(preference: str, install_roots: Sequence[Path], extension_root: Path) -> Environment | None:
    """The environment to use: environment variable, preference, installed, beside the repository; None if none.

    Args:
        preference: path chosen in the preferences, or an empty string.
        install_roots: folders that may hold an installed environment.
        extension_root: folder with the ``backend`` package.
    """
    for path, source in ((os.environ.get(PYTHON_VARIABLE, ""), PYTHON_VARIABLE), (preference, "chosen")):
        if path.strip():
            python = resolve_python(path)
            return Environment(python, source) if python else None
    installed = installed_folder(install_roots)
    if installed is not None:
        return Environment(python_in(installed), "installed")
    beside = python_in(extension_root / ".venvs" / "backend")
    return Environment(beside, "development") if beside.is_file() else None


def backend_command(python: Path, *arguments: str) -> list[str]:
    """Command line of ``python -m backend ...``, to be run in the extension's folder."""
    return [str(python), "-u", "-m", "backend", *arguments]
