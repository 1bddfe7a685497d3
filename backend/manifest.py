"""Whether the data that the backend needs are what they were when they were made: sizes and hashes.

``manifest.json`` lists every binary file that ships, by its path in ``backend/``, and the networks that set-up unpacks.
Standard library only: it must work where no package does.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BackendError

BACKEND = Path(__file__).parent
MANIFEST = BACKEND / "manifest.json"
SUFFIXES = frozenset({".npz", ".safetensors"})
#: Folders of ``backend/`` that do not ship.
_UNSHIPPED = frozenset({"training", "evaluation", "research"})
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds.

    Attributes:
        files: path in ``backend/`` with slashes -> (size in bytes, SHA-256).
        networks: name of an unpacked network -> :func:`content_digest` of its file.
    """

    files: dict[str, tuple[int, str]]
    networks: dict[str, str]


@functools.cache
def shipped() -> Manifest:
    """The manifest beside this module.

    Raises:
        BackendError: kind ``weights_damaged``, if it cannot be read.
    """
    try:
        found = json.loads(MANIFEST.read_text("utf-8"))
        files = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in found["files"].items()}
        return Manifest(files, {name: str(digest) for name, digest in found["networks"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackendError(
            "weights_damaged", f"The file {MANIFEST.name} is missing or damaged.", "Install the extension again."
        ) from error


def shipped_files(backend: Path = BACKEND) -> list[Path]:
    """The binary files that ship, sorted."""
    found = (path for path in backend.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return sorted(path for path in found if path.relative_to(backend).parts[0] not in _UNSHIPPED)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of what a safetensors file holds: the same however its writer lays it out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no whole safetensors file.
    """
    data = memoryview(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise ValueError("the file is cut short")
    header = json.loads(bytes(data[8:start]))
    digest = hashlib.sha256(json.dumps(header.pop("__metadata__", {}), sort_keys=True).encode())
    try:
        for name, entry in sorted(header.items()):
            begin, end = (start + int(offset) for offset in entry["data_offsets"])
            if not start <= begin <= end <= len(data):
                raise ValueError("the file is cut short")
            digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
            digest.update(data[begin:end])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the file's header is damaged") from error
    return digest.hexdigest()


def damage(path: Path, size: int, digest: str, thorough: bool = True) -> str:
    """What is wrong with a file, such as ``"missing"``; empty where nothing is.

    Args:
        path: the file.
        size: that it must have, bytes.
        digest: its SHA-256.
        thorough: look at every byte, not at the size alone.
    """
    try:
        found = path.stat().st_size
        if not path.is_file():
            return "not a file"
        if found != size:
            return f"damaged ({found} of {size} bytes)"
        return "damaged (other content)" if thorough and file_digest(path) != digest else ""
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror or error})"


def network_damage(name: str, path: Path) -> str:
    """What is wrong with the file of an unpacked network; empty where nothing is."""
    try:
        return "" if content_digest(path) == shipped().networks.get(name) else "damaged (other content)"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror or error})"
    except (ValueError, RecursionError) as error:
        return f"damaged ({error})" if str(error).startswith("the file") else "damaged (no network)"


def check_digest(path: Path, digest: str) -> None:
    """Refuse a file of ours that is not what shipped; files that the manifest does not know are anybody's.

    Raises:
        BackendError: kind ``weights_damaged``.
    """
    try:
        name = path.resolve().relative_to(BACKEND.resolve()).as_posix()
    except ValueError:
        return
    entry = shipped().files.get(name)
    if entry is not None and entry[1] != digest:
        raise BackendError(
            "weights_damaged",
            f"The weights {path.name} are damaged: they are not those that the extension brought.",
            "Install the extension again.",
        )


def make(networks: dict[str, Path], backend: Path = BACKEND) -> dict[str, Any]:
    """The manifest of what is there now, as ``manifest.json`` holds it.

    Args:
        networks: name -> file of each unpacked network.
        backend: folder.
    """
    return {
        "files": {
            path.relative_to(backend).as_posix(): {"size": path.stat().st_size, "sha256": file_digest(path)}
            for path in shipped_files(backend)
        },
        "networks": {name: content_digest(path) for name, path in sorted(networks.items())},
    }


def write(networks: dict[str, Path] | None = None) -> None:
    """Write ``manifest.json`` anew; without ``networks`` it keeps what it says of them."""
    found = make(networks or {})
    if networks is None:
        found["networks"] = shipped().networks
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    MANIFEST.write_bytes(text.encode())
    shipped.cache_clear()
