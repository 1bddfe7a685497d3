"""The surroundings in which pip runs: a user's settings cannot change what is installed, only how it is reached.

Kept on purpose: proxies and certificates, cache and timeouts, from variables and from pip's own configuration files.
Dropped: everything that adds or changes packages, indexes and places (``PIP_USER``, ``PIP_TARGET``, ``PIP_INDEX_URL``,
``PIP_CONSTRAINT``, ...). A company with a mirror names a configuration of pip's in ``HUMANSPLAT_PIP_CONFIG``; where
that cannot be read, nothing is downloaded from elsewhere. Standard library only, no bpy.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..client import Failure, clean_environment

CONFIG_VARIABLE = "HUMANSPLAT_PIP_CONFIG"
#: Options that say how to reach an index.
CONNECTION = frozenset({"proxy", "cert", "client-cert", "timeout", "default-timeout", "retries"})
#: Options that say where on this computer pip keeps what it has downloaded.
CACHE = frozenset({"cache-dir", "no-cache-dir"})
#: Options that a configuration made for HumanSplat may add: where packages come from. Their hashes are still checked.
MIRROR = frozenset({"index-url", "extra-index-url", "find-links", "no-index", "trusted-host"})


def pip_environment(config_files: Iterable[Path] | None = None) -> dict[str, str]:
    """The environment in which an installation's commands run.

    Args:
        config_files: pip's own, weakest first; by default those of this system.
    """
    environment = clean_environment({"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"})
    kept = {_variable(option) for option in CONNECTION | CACHE}
    asked = {name: value for name, value in environment.items() if name.upper() in kept}
    for name in [name for name in environment if name.upper().startswith("PIP_")]:
        del environment[name]
    for file in default_config_files() if config_files is None else config_files:
        environment |= read_config(file, CONNECTION)
    environment |= asked
    own = _own_config()
    if own is not None:
        environment |= read_config(own, CONNECTION | CACHE | MIRROR)
        if refusal() is not None:
            environment["PIP_NO_INDEX"] = "1"
    # This exact value tells pip to read none of its configuration files.
    environment["PIP_CONFIG_FILE"] = os.devnull
    return environment


def refusal() -> Failure | None:
    """Why the configuration that :data:`CONFIG_VARIABLE` names cannot be used; None if it can, or none is named."""
    own = _own_config()
    if own is None:
        return None
    try:
        _parsed(own)
        return None
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, configparser.Error):
        reason = "it is no configuration of pip's"
    text = f"The file that the environment variable {CONFIG_VARIABLE} names cannot be read: {reason}."
    return Failure("install_failed", text, "Correct the variable or remove it, then start Blender again.", str(own))


def has_own_index(environment: Mapping[str, str]) -> bool:
    """True if :data:`CONFIG_VARIABLE` names the index that all packages come from, PyTorch as well."""
    return "PIP_INDEX_URL" in environment or "PIP_NO_INDEX" in environment


def read_config(path: Path, options: Iterable[str]) -> dict[str, str]:
    """Some options of a configuration file of pip's, as the variables that mean the same; none if it cannot be read."""
    try:
        parser = _parsed(path)
    except (OSError, ValueError, configparser.Error):
        return {}
    found: dict[str, str] = {}
    for section in ("global", "download", "install"):
        if not parser.has_section(section):
            continue
        for name, value in parser.items(section):
            option = name.replace("_", "-")
            if option in options and value and value.strip() and "\0" not in value:  # which no variable may hold
                found[_variable(option)] = " ".join(value.split())
    return found


def _own_config() -> Path | None:
    text = os.environ.get(CONFIG_VARIABLE, "").strip()
    return Path(text) if text else None


def _parsed(path: Path) -> configparser.RawConfigParser:
    """Raises OSError, ValueError or configparser.Error."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise OSError("it is no file")
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(path.read_text("utf-8-sig"))
    return parser


def default_config_files() -> list[Path]:
    """Where pip keeps its configuration on this system, weakest first."""
    home = Path(os.path.expanduser("~"))  # stays as it is for who has no home, where Path.home raises
    if sys.platform == "win32":
        folders = [os.environ.get("PROGRAMDATA"), os.environ.get("APPDATA")]
        return [*(Path(folder) / "pip" / "pip.ini" for folder in folders if folder), home / "pip" / "pip.ini"]
    shared = [Path(folder) / "pip" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    personal = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
    folders = [*shared, Path("/etc"), home / ".pip", personal]
    if sys.platform == "darwin":
        library = Path("Library") / "Application Support" / "pip"
        folders = [Path("/") / library, *folders, home / library]
    return [folder / "pip.conf" for folder in folders]


def _variable(option: str) -> str:
    return f"PIP_{option.upper().replace('-', '_')}"
