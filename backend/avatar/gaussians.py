"""Gaussian splats as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi)): rgb = 0.5 + SH_C0 * sh_dc."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N splats, float32 unless the caller needs more.

    Attributes:
        position: [N, 3] metres.
        rotation: [N, 4] unit quaternions wxyz; the columns of its matrix are the splat's axes.
        scale: [N, 3] standard deviation along each axis in metres (linear).
        opacity: [N] peak opacity, 0..1 (linear).
        sh_dc: [N, 3] coefficients of the constant spherical harmonic (display sRGB, see ``SH_C0``).
    """

    position: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    opacity: np.ndarray
    sh_dc: np.ndarray

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not belong together."""
        count = len(self.position)
        for name, shape in (
            ("position", (count, 3)),
            ("rotation", (count, 4)),
            ("scale", (count, 3)),
            ("opacity", (count,)),
            ("sh_dc", (count, 3)),
        ):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"Gaussians.{name} has the shape {found}, expected {shape}.")

    def __len__(self) -> int:
        return len(self.position)

    @property
    def rgb(self) -> np.ndarray:
        """[N, 3] display sRGB, nominally 0..1 (not clamped)."""
        return rgb_from_sh(self.sh_dc)


def sh_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Constant-harmonic coefficients of display sRGB colours, elementwise."""
    return (np.asarray(rgb) - 0.5) / SH_C0


def rgb_from_sh(sh_dc: np.ndarray) -> np.ndarray:
    """Display sRGB colours of constant-harmonic coefficients, elementwise."""
    return 0.5 + SH_C0 * np.asarray(sh_dc)


def from_rgb(
    position: np.ndarray, rotation: np.ndarray, scale: np.ndarray, opacity: np.ndarray, rgb: np.ndarray
) -> Gaussians:
    """Gaussians from colours instead of coefficients; everything is turned to float32.

    Shapes and units as in ``Gaussians``, ``rgb`` [N, 3] display sRGB.
    """
    return Gaussians(
        *(np.asarray(array, dtype=np.float32) for array in (position, rotation, scale, opacity, sh_from_rgb(rgb)))
    )
