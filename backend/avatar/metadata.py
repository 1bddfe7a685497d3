"""``avatar.json``: what a package says of itself, written, and read with nothing taken on trust."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checks import MAX_TEXT
from .contents import Avatar, AvatarFormatError, Camera
from .plain_files import brief, read_plain

FORMAT = "humansplat-avatar"
VERSION = 2
OLDEST_VERSION = 1
METADATA_FILE = "avatar.json"

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_MAX_ENTRIES = 1_000  # of a list or table
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def metadata_of(avatar: Avatar) -> dict[str, Any]:
    """What ``avatar.json`` says of an avatar."""
    camera = avatar.camera
    return {
        "format": FORMAT,
        "version": VERSION,
        "generator": avatar.generator,
        "body_model": avatar.body_model,
        "joint_names": list(avatar.joint_names),
        "parents": [int(parent) for parent in avatar.parents],
        "rest_joints": _numbers(avatar.rest_joints),
        "betas": _numbers(avatar.betas),
        "pose": _numbers(avatar.pose),
        "translation": _numbers(avatar.translation),
        "joint_confidence": _numbers(avatar.joint_confidence),
        "preserve_volume": float(avatar.preserve_volume),
        "camera": {
            "width": int(camera.width),
            "height": int(camera.height),
            "fx": float(camera.fx),
            "fy": float(camera.fy),
            "cx": float(camera.cx),
            "cy": float(camera.cy),
            "world_to_camera": _numbers(camera.world_to_camera),
        },
        "source": avatar.source,
        "seconds": {stage: float(value) for stage, value in avatar.seconds.items()},
        "warnings": list(avatar.warnings),
    }


def metadata_bytes(avatar: Avatar) -> bytes:
    """The content of ``avatar.json``; what a file's name has that is no text becomes ``?``."""
    text = json.dumps(metadata_of(avatar), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", errors="replace")


def read_metadata(folder: Path) -> dict[str, Any]:
    """The table in a package's ``avatar.json``, of a version that can be read.

    Raises:
        AvatarFormatError: it is missing, damaged, nested without end, or of another format or a newer version.
    """
    try:
        metadata = _parse(read_plain(folder / METADATA_FILE, _MAX_BYTES))
    except FileNotFoundError as error:
        raise AvatarFormatError(f"{folder} is not an avatar package: it has no {METADATA_FILE}.") from error
    except OSError as error:
        raise AvatarFormatError(f"{METADATA_FILE} cannot be read: {brief(error.strerror or error)}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise AvatarFormatError(f"{METADATA_FILE} is damaged: {brief(error)}.") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise AvatarFormatError(f"{folder} is not an avatar package: {METADATA_FILE} does not name the format.")
    version = metadata.get("version")
    if type(version) is not int or not OLDEST_VERSION <= version <= VERSION:
        newer = type(version) is int and version > VERSION
        hint = " Install a newer HumanSplat." if newer else ""
        raise AvatarFormatError(
            f"The avatar has the format version {brief(repr(version), 40)}; this HumanSplat reads "
            f"{OLDEST_VERSION} to {VERSION}.{hint}"
        )
    return metadata


def names_format(folder: Path) -> bool:
    """Whether the folder's metadata names our format, of whatever version and in whatever state the rest may be."""
    try:
        metadata = _parse(read_plain(folder / METADATA_FILE, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, MemoryError):
        return False
    return isinstance(metadata, dict) and metadata.get("format") == FORMAT


def fields_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an :class:`Avatar` that ``avatar.json`` holds, by name; their values are not checked.

    Raises:
        AvatarFormatError: an entry is missing or of another kind than promised.
    """
    camera = _table("camera", _entry(metadata, "camera"))
    generator = _described("generator", _entry(metadata, "generator"), ("name", "version", "preset"))
    for index, weights in enumerate(_list("generator.weights", generator.get("weights", []))):
        _described(f"generator.weights[{index}]", weights, ("name", "sha256", "licence"))
    source = _described("source", _entry(metadata, "source"), ("name", "sha256"))
    body_model = _described("body_model", _entry(metadata, "body_model"), ("name", "licence"))
    if re.search(r"[/\\]", body_model.get("name", "")):  # readers look for a file of that name
        raise _wrong("body_model.name", "a name without a path")
    if "crop" in source:
        _array("source.crop", source["crop"])
    seconds = _table("seconds", _entry(metadata, "seconds"))
    return {
        "joint_names": tuple(
            _text("joint_names", name) for name in _list("joint_names", _entry(metadata, "joint_names"))
        ),
        "parents": tuple(_integer("parents", parent) for parent in _list("parents", _entry(metadata, "parents"))),
        **{
            name: _array(name, _entry(metadata, name))
            for name in ("rest_joints", "betas", "pose", "translation", "joint_confidence")
        },
        "camera": Camera(
            width=_integer("camera.width", _entry(camera, "width")),
            height=_integer("camera.height", _entry(camera, "height")),
            **{name: _number(f"camera.{name}", _entry(camera, name)) for name in ("fx", "fy", "cx", "cy")},
            world_to_camera=_array("camera.world_to_camera", _entry(camera, "world_to_camera")),
        ),
        "body_model": body_model,
        "generator": generator,
        "source": source,
        "seconds": {_text("seconds", stage): _number("seconds", value) for stage, value in seconds.items()},
        "warnings": tuple(_text("warnings", one) for one in _list("warnings", _entry(metadata, "warnings"))),
        "preserve_volume": _number("preserve_volume", metadata.get("preserve_volume", 0.0)),
    }


def _parse(data: bytes) -> Any:
    """JSON that is not nested deeper than the parser's own stack bears.

    Raises:
        ValueError: it is, or is no JSON in UTF-8.
    """
    bare = np.frombuffer(_STRING.sub(b"", data), np.uint8)
    opened = np.isin(bare, list(b"[{")).astype(np.int32) - np.isin(bare, list(b"]}")).astype(np.int32)
    if opened.size and np.cumsum(opened).max() > _MAX_DEPTH:
        raise ValueError("it is nested too deep")
    return json.loads(data.decode("utf-8-sig"))


def _numbers(array: np.ndarray) -> list[Any]:
    return np.asarray(array, dtype=np.float64).tolist()


def _wrong(name: str, kind: str) -> AvatarFormatError:
    return AvatarFormatError(f"The avatar package has an entry of the wrong kind: {name} must be {kind}.")


def _entry(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise AvatarFormatError(f"The avatar package lacks the entry {name!r}.")
    return table[name]


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _MAX_ENTRIES:
        raise _wrong(name, "a table")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
        raise _wrong(name, "a list")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise _wrong(name, f"a text of at most {MAX_TEXT:,} characters")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _wrong(name, "a text without characters that mean nothing")
    return value


def _described(name: str, value: Any, texts: Sequence[str]) -> dict[str, Any]:
    """A table in which those entries of ``texts`` that are there are texts."""
    table = _table(name, value)
    for key in texts:
        if key in table:
            _text(f"{name}.{key}", table[key])
    return table


def _integer(name: str, value: Any) -> int:
    if type(value) is not int or abs(value) > 1 << 31:
        raise _wrong(name, "a whole number")
    return value


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise _wrong(name, "a number")
    try:
        return float(value)
    except OverflowError:
        raise _wrong(name, "a number") from None


def _array(name: str, value: Any) -> np.ndarray:
    """Numbers in lists of equal length, at most two deep, as float64."""
    rows = _list(name, value)
    if rows and isinstance(rows[0], list):
        if any(not isinstance(row, list) or len(row) != len(rows[0]) or len(row) > _MAX_ENTRIES for row in rows):
            raise _wrong(name, "rows of numbers")
        return np.array([[_number(name, number) for number in row] for row in rows], dtype=np.float64)
    return np.array([_number(name, number) for number in rows], dtype=np.float64)
