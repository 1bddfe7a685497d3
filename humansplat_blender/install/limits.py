"""Whether the longest path of the backend's packages fits into what the system allows. No bpy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..client import Failure

#: Longest path that can be made, in characters: Windows counts UTF-16 units, the others bytes.
LIMITS = {"windows": 259, "macos": 1023, "linux": 4095}


def lock_folder(extension_root: Path) -> Path:
    """Folder of the lists of what is installed."""
    return extension_root / "backend" / "locks"


def longest_path(extension_root: Path, system: str, build: str) -> str:
    """The longest path below an environment's folder that an installation makes.

    Args:
        extension_root: folder with the ``backend`` package.
        system: such as ``windows-x64``.
        build: of PyTorch, such as ``cu130``.
    """
    paths = json.loads((lock_folder(extension_root) / "longest.json").read_text("utf-8"))[system]
    torch = f"torch+{build}" if f"torch+{build}" in paths else "torch"
    return max((path for name, path in paths.items() if "+" not in name or name == torch), key=len)


def length(path: str, system: str) -> int:
    """Of a path, as the system counts it."""
    return len(path.encode("utf-16-le")) // 2 if system.startswith("windows") else len(path.encode(errors="replace"))


def long_paths_enabled() -> bool:
    """True where Windows has been told to allow long paths, and on every other system."""
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:
        return False


def refusal(folder: Path, longest: str, system: str, long_paths: bool) -> Failure | None:
    """Why an environment in ``folder`` would have paths that are too long; None if it would not.

    Args:
        folder: the environment's.
        longest: of :func:`longest_path`.
        system: such as ``windows-x64``.
        long_paths: of :func:`long_paths_enabled`.
    """
    windows = system.startswith("windows")
    total = length(f"{folder}/{longest}", system)
    limit = LIMITS[system.partition("-")[0]]
    if total <= limit or (windows and long_paths):
        return None
    message = f"The backend's files would have paths of {total} characters, and this system allows {limit}."
    fix = "Set the environment variable HUMANSPLAT_HOME to a folder with a short path, then start Blender again."
    if windows:
        fix = (
            "Switch on Windows' long paths (LongPathsEnabled), or set the environment variable HUMANSPLAT_HOME to a "
            r"folder with a short path, such as C:\humansplat; then start Blender again."
        )
    return Failure("path_too_long", message, fix, f"{folder}\n{longest}")
