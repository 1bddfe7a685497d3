"""Numbers of the ``surface`` preset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SurfaceConfig:
    """How many splats, how large, and how their colours are matched to the photo.

    Attributes:
        front_count, rest_count: how many splats, about.
        overlap, rest_overlap: sigma of a splat over the distance to its neighbours, in front and elsewhere.
        thickness: sigma across the surface over sigma along it.
        opacity: of a splat inside the matte.
        corrections: iterations of colour correction.
        correction_size: pixels of the picture that they match; finer than 512 so that close-ups do not ring.
    """

    front_count: int = 60_000
    rest_count: int = 55_000
    overlap: float = 0.65
    rest_overlap: float = 0.76
    thickness: float = 0.2
    opacity: float = 0.97
    corrections: int = 24
    correction_size: int = 768
