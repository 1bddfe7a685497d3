"""The one place that knows where things lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy

from . import environment

#: Name of the extension's root package: the preferences are registered under it.
ADDON_ID = __package__.rpartition(".")[0]
#: Environment variable with the folder for the backend's environment.
HOME_VARIABLE = "HUMANSPLAT_HOME"


def extension_root() -> Path:
    """Folder of the extension; the ``backend`` package lies in it. May be read-only."""
    return Path(__file__).resolve().parents[1]


def user_folder() -> Path:
    """Folder for files of ours that stay when the extension is updated."""
    try:
        return Path(bpy.utils.extension_path_user(ADDON_ID, create=True))
    except ValueError:  # run from a folder that is no extension repository
        return Path(bpy.utils.user_resource("DATAFILES", path="humansplat", create=True))


def install_roots() -> tuple[Path, ...]:
    """Folders that may hold the backend's environment; a new one is made in the first.

    On Windows, whose paths are short, that is a folder of its own in the user's: below Blender's, some of the packages'
    files could not be unpacked. ``HUMANSPLAT_HOME`` names another one.
    """
    return environment.install_roots(sys.platform, Path.home(), user_folder(), os.environ.get(HOME_VARIABLE, ""))


def log_folder() -> Path:
    """Folder of the log files."""
    return user_folder() / "logs"


def backend_log() -> Path:
    """What the backend process wrote to standard error."""
    return log_folder() / "backend.log"


def install_log() -> Path:
    """What the last installation printed."""
    return log_folder() / "install.log"


def default_results() -> Path:
    """Folder of finished avatars unless the preferences name another: the user's, so that no removal deletes it."""
    return Path.home() / "HumanSplat"


def blender_python() -> Path:
    """The Python that Blender runs, as a program of its own."""
    return Path(sys.executable)
