"""The photo's light on the person, as a function of where a surface faces, and colours moved from one light to another.

Cloth that turns away from the lamp is darker: the back of somebody lit from the front, say. Display colours are close
to a power of the light, so that light divides out of them and can be put back as another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DISPLAY = 1 / 2.2
"""Power of linear light that display colours are, about (sRGB, IEC 61966-2-1)."""
_MOST = 0.8
"""Logarithm of how much brighter or darker than what faces the camera anything is made. Film that is steeper than the
factory's looks like light from ahead: backs of studio portraits would be black."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Of linear red, green and blue (Rec. ITU-R BT.709)."""
_DARKEST = 0.03
"""Of display colours, below which ratios say nothing."""
_ODD = 0.15
"""Logarithm of a ratio of display colours that is more likely another colour than other light."""
_ROUNDS = 8
_HELD = 0.002
"""Share of all places by which each coefficient is held at zero."""
DEGREES = (3, 8, 15)
"""How many functions of :func:`harmonics` have degree at most 1, 2 and 3."""


def harmonics(normals: np.ndarray) -> np.ndarray:
    """Real spherical harmonics of degrees 1 to 3, not normalised: [n, 15] of unit ``normals`` [n, 3].

    Irradiance is almost all in degrees up to 2 (Ramamoorthi and Hanrahan 2001); its logarithm reaches a little further.
    """
    x, y, z = normals.T
    return np.stack(
        [
            x, y, z,
            x * y, y * z, x * z, (3 * z * z - 1) / 2, (x * x - y * y) / 2,
            y * (3 * x * x - y * y) / 2, 2 * x * y * z, y * (5 * z * z - 1) / 2, z * (5 * z * z - 3) / 2,
            x * (5 * z * z - 1) / 2, z * (x * x - y * y), x * (x * x - 3 * y * y) / 2,
        ],
        1,
    )  # fmt: skip


@dataclass(frozen=True)
class PhotoLight:
    """The light in a photo; only ratios between directions mean something.

    Attributes:
        coefficients: [15] of the logarithm of linear irradiance in :func:`harmonics` of normals in camera space.
        share: in 0..1, how far it shades; without any of it all sides are alike.
    """

    coefficients: np.ndarray
    share: float = 1.0

    def display(self, normals: np.ndarray) -> np.ndarray:
        """Factors [n, 1] of display colours of surfaces with ``normals`` [n, 3], camera space (OpenCV axes)."""
        level = harmonics(normals) @ self.coefficients
        ahead = float(harmonics(np.array([[0.0, 0.0, -1.0]]))[0] @ self.coefficients)
        return np.exp(self.share * _DISPLAY * (level - ahead).clip(-_MOST, _MOST))[:, None]


def in_light_of(rgb: np.ndarray, model: np.ndarray, normals: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``rgb`` [n, 3] as bright towards each side as ``model`` [n, 3], each place keeping its own colour.

    The logarithm of their ratio is fitted, robustly, as a function of the normal: what is left is cloth, not light.

    Args:
        rgb, model: display colours of the same places.
        normals: [n, 3] unit.
        weight: [n] how much each place counts.
    """
    functions = np.column_stack([np.ones(len(normals)), harmonics(normals)[:, : DEGREES[1]]])
    ratio = np.log((model @ LUMINANCE).clip(_DARKEST)) - np.log((rgb @ LUMINANCE).clip(_DARKEST))
    held = np.eye(functions.shape[1]) * _HELD * max(weight.sum(), 1e-6)
    found = np.zeros(functions.shape[1])
    for _ in range(_ROUNDS):
        trust = weight / (1 + ((ratio - functions @ found) / _ODD) ** 2)
        weighted = functions * trust[:, None]
        found = np.linalg.solve(weighted.T @ functions + held, weighted.T @ ratio)
    return rgb * np.exp((functions @ found).clip(-_MOST * _DISPLAY, _MOST * _DISPLAY))[:, None]
