"""Colours of splats: the photo's where it shows them, and what :mod:`.colours` fills in elsewhere, without a seam."""

from __future__ import annotations

import numpy as np

from .colours import fill_unseen
from .maps import MAP_SIZE, bilinear
from .neighbours import tree_of
from .shading import PhotoLight
from .shown import Shown
from .splats import Splats

_TURNED = (0.1, 0.45)
"""Cosines between surface and ray from which a splat behind the front grid trusts the photo, not at all and wholly."""
ANY = 0.2
"""How far the photo must show a splat for its colour to be the photo's alone."""
_SEAM, _RIM_NEIGHBOURS = 0.015, 6
"""Metres over which the photo's colours fade into those filled in, and how many of its splats say what they are."""


def splat_colours(
    splats: Splats, shown: Shown, image: np.ndarray, light: PhotoLight | None
) -> tuple[np.ndarray, np.ndarray]:
    """What :class:`~.types.Reconstruction` says of colours: ``rgb`` [n, 3] and ``seen`` [n].

    They are the photo's where it sees the splat, filled in from the surest of those elsewhere.

    Args:
        splats, shown: see :func:`~.shown.what_is_shown`.
        image: the photo's colours in 0..1 at any resolution.
        light: of the photo, where it is known.
    """
    kind, rest, photo_rgb, source, sure = shown.kind, shown.rest, shown.rgb, shown.source, shown.sure
    front = np.arange(len(kind)) < shown.front_count
    # Cloth goes on behind, the light on it does not.
    lit = np.ones((len(kind), 1)) if light is None else light.display(splats.normal)
    rgb, cloth = photo_rgb.copy(), photo_rgb[source] / lit[source]
    filled = fill_unseen(rest[source], kind[source], cloth, sure[source], rest[~front], kind[~front])
    rgb[~front] = (filled * lit[~front]).clip(0, 1)
    # Where the body turns away from the camera the fill takes over from the photo little by little.
    level = ((shown.facing - _TURNED[0]) / (_TURNED[1] - _TURNED[0])).clip(0, 1)[:, None]
    trust = np.where(front[:, None], 1.0, level * (shown.depth_in > 0)[:, None])
    rgb = trust * photo_rgb + (1 - trust) * rgb
    rim = front & (shown.depth_in > 1) & ~shown.local
    colour, share = _beyond_rim(splats, kind, photo_rgb, rim, ~front & (trust[:, 0] < 1))
    share *= 1 - trust
    rgb += share * (colour - rgb)
    trust = trust + ANY * share
    # In the photo's own view the rim must match with all that the photo mixes into it; from the side it must not.
    exact = bilinear(image, shown.pixels[front] * image.shape[0] / MAP_SIZE)
    rgb[front] = level[front] * exact + (1 - level[front]) * rgb[front]
    return rgb, trust[:, 0]


def _beyond_rim(
    splats: Splats, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the photo goes on where it ends, or a seam would run down the sides: colours [n, 3] of the ``source`` [n]
    nearest to each ``wanted`` splat [n] of the same part of the body, and how far they count there [n, 1]."""
    colour, share = np.zeros_like(rgb), np.zeros((len(rgb), 1))
    for number in np.unique(kind[wanted]):
        from_, to = (np.flatnonzero(chosen & (kind == number)) for chosen in (source, wanted))
        if len(from_) < _RIM_NEIGHBOURS:
            continue
        distance, index = tree_of(splats.position[from_]).query(splats.position[to], _RIM_NEIGHBOURS, workers=-1)
        weight = 1 / (distance + 1e-3) ** 2
        colour[to] = (rgb[from_][index] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
        # The other side of something thin is near, but not beside.
        alike = (splats.normal[to] * splats.normal[from_][index[:, 0]]).sum(1).clip(0, 1)
        share[to, 0] = alike * np.exp(-((distance[:, 0] / _SEAM) ** 2))
    return colour, share
