"""What the user can choose for a reconstruction; torch-free, as the server and the command line start with it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from .errors import BackendError

PRESETS = ("surface", "lite")
DEFAULT_PRESET = "lite"
"""Where its weights are missing, ``surface`` takes its place, with a sentence that says so."""
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Our own trained weights: one folder a preset, safetensors with a card beside them."""
BODIES = ("neutral", "female", "male", "child")
SEED_LIMIT = 2**63
"""PyTorch's generators take seeds of 64 bits with a sign."""


SIDES = {"back": 180.0, "left": 90.0, "right": -90.0, "other": None}
"""Of further pictures: degrees that the camera stands around the person from the photo's, towards the person's left."""
MOST_PICTURES = 8
LOWER = ("auto", "trousers", "skirt")
"""What the legs wear: told from the photo, each leg its own, or one piece around both."""
SOURCES = ("built-in", "mv-adapter", "sv3d")
"""Of sides that no picture shows: what ships, and large models of others (`backend.models.catalogue.MODELS`)."""


@dataclass(frozen=True)
class SidePicture:
    """A further picture of the photo's person: its file, and one of `SIDES`."""

    path: Path
    side: str = "other"

    @property
    def title(self) -> str:
        """As sentences name it."""
        name = {"back": "of the back, ", "left": "of the left side, ", "right": "of the right side, "}.get(
            self.side, ""
        )
        return f"picture {name}{shown(self.path.name, 60)}{',' * bool(name)}"


@dataclass(frozen=True)
class ReconstructOptions:
    """What the user chooses.

    Attributes:
        preset: one of `PRESETS`.
        seed: for what is imagined, from 0 to below `SEED_LIMIT`; the surface preset is the same for every seed, unless
            a large model makes the sides.
        person: 1 is the largest person in the photo; None takes that one.
        device: "auto", "cpu", "cuda" or "mps".
        body: one of `BODIES`, or the path of a licensed SMPL or SMPL-X file.
        shading: in 0..1, how far the photo's light shades what the photo does not show; without any of it they are as
            bright as what they go on from, as those of the surface preset always are.
        lower: one of `LOWER`: whether what the legs wear is one piece around both, told from the photo or said.
        pictures: further ones of the same person, at most one of the back and of each side.
        source: one of `SOURCES`; with pictures, the first.
    """

    preset: str = DEFAULT_PRESET
    seed: int = 0
    person: int | None = None
    device: str = "auto"
    body: str = "neutral"
    shading: float = 1.0
    lower: str = "auto"
    pictures: tuple[SidePicture, ...] = ()
    source: str = "built-in"

    def check(self) -> None:
        """Refuse what no computation could use, before one begins.

        Raises:
            BackendError: kind ``arguments``.
        """
        if not 0 <= self.seed < SEED_LIMIT:
            raise BackendError(
                "arguments", "The seed must be 0 or more, and less than 2 to the power of 63.", "Choose a smaller seed."
            )
        if self.source not in SOURCES:
            raise BackendError(
                "arguments",
                f"There is no source of sides {shown(self.source, 40)}.",
                f"Choose one of: {', '.join(SOURCES)}.",
            )
        if self.lower not in LOWER:
            raise BackendError(
                "arguments",
                f"There is no lower garment {shown(self.lower, 40)}.",
                f"Choose one of: {', '.join(LOWER)}.",
            )
        if self.pictures and self.source != SOURCES[0]:
            raise BackendError(
                "arguments",
                f"Further pictures and sides made by {self.source} cannot be used together.",
                f"Leave out the pictures, or choose the sides {SOURCES[0]}.",
            )
        if len(self.pictures) > MOST_PICTURES:
            raise BackendError(
                "arguments", f"There are {len(self.pictures)} further pictures; {MOST_PICTURES} are the most.",
                "Choose the back and the sides first.",
            )  # fmt: skip
        for side in SIDES:
            if side != "other" and sum(picture.side == side for picture in self.pictures) > 1:
                raise BackendError(
                    "arguments", f"There are two pictures of the {side}.", "Give one of them as another."
                )
        for picture in self.pictures:
            if picture.side not in SIDES:
                raise BackendError(
                    "arguments", f"There is no side {shown(picture.side, 40)}.", f"Choose one of: {', '.join(SIDES)}."
                )


def installed_presets() -> tuple[str, ...]:
    """The presets that need no weights or whose weights are here."""
    return tuple(p for p in PRESETS if p == "surface" or (WEIGHTS_FOLDER / p / "reconstruction.safetensors").is_file())


def shown(text: object, limit: int = 400) -> str:
    """What the user gave, as a sentence can name it: on one line, without what screens obey or no file can hold.

    Args:
        text: a path, a name, a number.
        limit: characters; a longer text lacks its middle.
    """
    line = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in str(text))
    return line if len(line) <= limit else f"{line[: limit // 2]}…{line[-(limit // 2) :]}"
