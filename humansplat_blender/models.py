"""Large models that can make the other sides of a person, as the backend describes them. No bpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import readable

BUILT_IN = "built-in"
PICTURES = "pictures"
MODELS = {"mv-adapter": "MV-Adapter", "sv3d": "SV3D"}
"""Names of the protocol, and titles until the backend has described them."""
_TEXT = 1000
"""Characters of a text of the backend's at most."""
_GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Licence:
    """The terms of some of a model's files.

    Attributes:
        key: name and version, which is what is accepted.
        name: for people.
        address: of the text; https.
        forbids: a sentence.
    """

    key: str
    name: str
    address: str
    forbids: str


@dataclass(frozen=True)
class ModelState:
    """A model as it is now; sizes are bytes.

    Attributes:
        name: of the protocol.
        title, about: for people.
        size: of the download, about.
        least_memory: of the graphics card.
        gated: the hub wants an account that has accepted the terms.
        licences: of its files.
        accepted: whether they are.
        installed: whether it is, damaged or not.
        in_place: it is used in a folder of the user's.
        on_disk: of what is there, also of a download that was broken off.
        faults: what is wrong with its files, phrases.
    """

    name: str
    title: str
    about: str
    size: int
    least_memory: int
    gated: bool
    licences: tuple[Licence, ...]
    accepted: bool
    installed: bool
    in_place: bool
    on_disk: int
    faults: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether its files can be used, whatever the card."""
        return self.accepted and self.installed and not self.faults

    @property
    def sentence(self) -> str:
        """Whether it can be used, and what to do where it cannot."""
        if not self.installed and self.on_disk:
            return (
                f"{self.title} is not installed: {size_text(self.on_disk)} of about {size_text(self.size)} are there, "
                "and the download goes on from there."
            )
        if not self.installed:
            return f"{self.title} is not installed: about {size_text(self.size)} to download."
        if self.faults:
            return f"{self.title} is damaged: {self.faults[0]}. Download it again, or use a local folder."
        if not self.accepted:
            return f"{self.title} is installed, but its licence is not accepted."
        return f"{self.title} is installed ({size_text(self.on_disk)})."


@dataclass(frozen=True)
class ModelList:
    """What the backend says of all models.

    Attributes:
        folder: where they lie.
        free: bytes on its disk.
        states: by name.
    """

    folder: str
    free: int
    states: Mapping[str, ModelState]


def models_from_json(value: Any) -> ModelList:
    """The models of an answer of the backend; those that this add-on does not know are left out.

    Raises:
        ValueError: it is not as the protocol has it.
    """
    try:
        states = {state["name"]: _state(state) for state in value["models"] if state["name"] in MODELS}
        return ModelList(_text(value["folder"]), _count(value["free"]), states)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("an answer about models lacks something") from error


def card_note(state: ModelState, info: Mapping[str, Any]) -> str:
    """Why the graphics card does not suit a model, as a sentence; empty where it does or nothing is known.

    Args:
        state: of the model.
        info: the backend's answer to ``initialize``.
    """
    if not info:
        return ""
    if info.get("device") != "cuda":
        return f"{state.title} needs an NVIDIA graphics card of {_gigabytes(state.least_memory)}, and none was found."
    memory = info.get("device_memory")
    if not isinstance(memory, (int, float)) or not 0 < memory < state.least_memory:
        return ""
    return (
        f"The graphics card is too small for {state.title}: it has {_gigabytes(memory)} of memory, and "
        f"{_gigabytes(state.least_memory)} are needed."
    )


def size_text(size: float) -> str:
    """Bytes for people, such as ``"5.1 GB"``."""
    return f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE else f"{size / 1_000_000:.0f} MB"


def _gigabytes(size: float) -> str:
    return f"{size / _GIGABYTE:.0f} GB"


def _state(value: dict[str, Any]) -> ModelState:
    return ModelState(
        name=value["name"],
        title=_text(value["title"]),
        about=_text(value["about"]),
        size=_count(value["size"]),
        least_memory=_count(value["least_memory"]),
        gated=value["gated"] is True,
        licences=tuple(_licence(licence) for licence in value["licences"]),
        accepted=bool(_text(value["accepted"])),
        installed=bool(_text(value["installed"])),
        in_place=_text(value["origin"]) == "in place",
        on_disk=_count(value["on_disk"]),
        faults=tuple(_text(fault) for fault in value["faults"]),
    )


def _licence(value: dict[str, Any]) -> Licence:
    address = _text(value["address"])
    if not address.startswith("https://"):  # it is opened by the system
        raise TypeError("an address is none")
    return Licence(_text(value["key"]), _text(value["name"]), address, _text(value["forbids"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is none")
    return readable(value, _TEXT)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("a number of bytes is none")
    return value


def folder_fault(folder: Path) -> str:
    """Why a folder cannot be given to the backend, as a sentence; empty where it can."""
    try:
        return "" if folder.is_dir() else f"There is no folder {folder}."
    except (OSError, ValueError) as error:
        return f"The folder cannot be looked at: {getattr(error, 'strerror', None) or error}."
