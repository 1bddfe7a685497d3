"""The formats of splats: what each keeps and loses, said before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: what options call it.
        suffix: of its files.
        label: for people.
        bones: whether the skinning (joints and weights) is in the file.
        order: whether splats keep the avatar's order, so that a sidecar can tell their bones.
        clips: whether motions are in the file.
        position_quantum: metres; None where it depends on the splats.
        loses: what is lost, to be said after "does not keep"; empty where nothing is.
    """

    name: str
    suffix: str
    label: str
    bones: bool
    order: bool
    clips: bool
    position_quantum: float | None
    loses: str = ""


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Format("ply", ".ply", "3DGS PLY with bones", True, True, False, 0.0, "clips and the bones' names"),
            Format(
                "glb", ".glb", "glTF splats with skin and clips", True, True, True, 0.0,
                "",
            ),
            Format(
                "spz", ".spz", "SPZ 3", False, True, False, 2.0**-12,
                "bones and clips (skin.json has the bones); sizes within 3 %",
            ),
            Format(
                "spz2", ".v2.spz", "SPZ 2, for UnityGaussianSplatting", False, True, False, 2.0**-12,
                "bones and clips (skin.json has the bones); sizes within 3 %, rotations within half a degree",
            ),
            Format(
                "spz4", ".v4.spz", "SPZ 4", False, True, False, 2.0**-12,
                "bones and clips (skin.json has the bones); sizes within 3 %",
            ),
            Format(
                "compressed", ".compressed.ply", "PlayCanvas compressed PLY", False, False, False, None,
                "bones, clips and the order of the splats, so that it cannot be skinned",
            ),
            Format(
                "splat", ".splat", "antimatter15 .splat", False, False, False, 0.0,
                "bones, clips and the order of the splats, so that it cannot be skinned",
            ),
            Format(
                "sog", ".sog", "PlayCanvas SOG", False, False, False, None,
                "bones, clips and the order of the splats, so that it cannot be skinned",
            ),
            Format(
                "usd", ".usdc", "OpenUSD ParticleField3DGaussianSplat", False, True, False, 0.0,
                "bones; the first clip is in it as the splats of every frame (time samples)",
            ),
        )
    }
)  # fmt: skip
"""Formats of splats by name."""
