"""Pictures of the same person besides the photo: which sides they show, whether they can be used. No bpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import Failure

#: Sides of which one picture each may be given, as the protocol names them, and as a sentence does. Left is the
#: person's own left: the camera stood there.
SIDES = {"back": "the back", "left": "the left side", "right": "the right side"}
OTHER = "other"
"""Side of a picture that shows the person from anywhere else; several may be given."""
MOST = 8
"""Pictures besides the photo; the protocol's limit."""


@dataclass(frozen=True)
class Picture:
    """A further picture of the person in the photo.

    Attributes:
        path: its file.
        side: a key of `SIDES`, or `OTHER`.
    """

    path: Path
    side: str = OTHER

    def to_json(self) -> dict[str, str]:
        """As the protocol and the list of avatars have it."""
        return {"path": str(self.path), "side": self.side}

    @property
    def called(self) -> str:
        """What a sentence begins with."""
        if self.side in SIDES:
            return f"The picture of {SIDES[self.side]}, {self.path.name},"
        return f"One of the further pictures, {self.path.name},"


def pictures_from_json(value: Any) -> tuple[Picture, ...]:
    """The pictures that a file lists; none where any of it is not as this add-on writes it."""
    if not isinstance(value, list) or len(value) > MOST:
        return ()
    pictures = []
    for entry in value:
        path, side = (entry.get("path"), entry.get("side")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(path, str) and isinstance(side, str) and "\0" not in path and Path(path).is_absolute()):
            return ()
        pictures.append(Picture(Path(path), side))
    return () if _wrong_set(pictures) else tuple(pictures)


def find_fault(pictures: Iterable[Picture]) -> Failure | None:
    """Why these pictures cannot be used together, or one of them not at all; None if they can."""
    pictures = tuple(pictures)
    wrong = _wrong_set(pictures)
    if wrong:
        return Failure("pictures_wrong", wrong, "Remove what is too much.")
    for picture in pictures:
        reason = _reason(picture.path)
        if reason:
            return Failure("picture_unreadable", f"{picture.called} {reason}.", "Choose it again or remove it.")
    return None


def _wrong_set(pictures: Iterable[Picture]) -> str:
    """What is wrong with the number or the sides, as a sentence; empty if nothing is."""
    sides = [picture.side for picture in pictures]
    if len(sides) > MOST:
        return f"{len(sides)} pictures are given besides the photo, and {MOST} are the most."
    for side in sides:
        if side != OTHER and side not in SIDES:
            return f"There is no side {side[:40]!r} of a person."
        if side != OTHER and sides.count(side) > 1:
            return f"{sides.count(side)} pictures are given of {SIDES[side]}, and one is the most."
    return ""


def _reason(path: Path) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        if not path.exists():
            return "is not there any more"
        if not path.is_file():
            return "is not a file"
        with path.open("rb") as file:
            return "" if file.read(1) else "is an empty file"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
