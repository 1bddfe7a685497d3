"""What the user can choose for a reconstruction; torch-free, as the server and the command line start with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PRESETS = ("surface", "lite")
DEFAULT_PRESET = "lite"
"""Where its weights are missing, ``surface`` takes its place, with a sentence that says so."""
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Our own trained weights: one folder a preset, safetensors with a card beside them."""
BODIES = ("neutral", "female", "male", "child")


@dataclass(frozen=True)
class ReconstructOptions:
    """What the user chooses.

    Attributes:
        preset: one of `PRESETS`.
        seed: for presets that imagine; the surface preset is the same for every seed.
        person: 1 is the largest person in the photo; None takes that one.
        device: "auto", "cpu", "cuda" or "mps".
        body: one of `BODIES`, or the path of a licensed SMPL or SMPL-X file.
        shading: in 0..1, how far the photo's light shades what the photo does not show; without any of it they are as
            bright as what they go on from, as those of the surface preset always are.
    """

    preset: str = DEFAULT_PRESET
    seed: int = 0
    person: int | None = None
    device: str = "auto"
    body: str = "neutral"
    shading: float = 1.0


def installed_presets() -> tuple[str, ...]:
    """The presets that need no weights or whose weights are here."""
    return tuple(p for p in PRESETS if p == "surface" or (WEIGHTS_FOLDER / p / "reconstruction.safetensors").is_file())
