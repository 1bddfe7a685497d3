"""Scraps that would hang in the air in the rest pose: they went along with a limb before, behind or beside which they
lie in the photo, but to which they do not belong."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .maps import unproject
from .sheets import Layers, put_to_nearest
from .shown import to_rest
from .types import SurfaceMesh

_CELL = 0.015
"""Metres; what is more than twice as far from all else in the rest pose is not joined to it, and less than once is."""
_FARTHEST = 1.5
"""Metres from the middle of all beyond which it does not matter how far: a sheet may be unfolded to anywhere."""
_MOST = 0.02
"""Share of the matte up to which such a part is a scrap: more is a limb."""


def without_scraps(layers: Layers, mesh: SurfaceMesh, focal: float) -> Layers:
    """``layers`` with scraps put to the nearest surface that the photo shows.

    Args:
        layers: depths at the maps' resolution, and the faces of ``mesh`` to hang them on.
        mesh: the clothed surface.
        focal: pixels at the maps' resolution.
    """
    row, column = np.nonzero(layers.face >= 0)
    face = layers.face[row, column]
    place = unproject(np.column_stack([column, row]) + 0.5, layers.front[row, column], focal, len(layers.face))
    rest = to_rest(place, mesh, mesh.faces[face])
    body = mesh.rest[mesh.faces[: mesh.body_faces]].mean(1)
    part = _parts(np.vstack([body, rest]))[len(body) :]
    sizes = np.bincount(part)
    scrap = (sizes < _MOST * len(rest))[part]
    if not scrap.any() or scrap.all():
        return layers
    kept = layers.face >= 0
    kept[row[scrap], column[scrap]] = False
    return put_to_nearest(layers, kept)


def adrift(rest: np.ndarray, front_count: int) -> np.ndarray:
    """Which splats, bool [n], at ``rest`` [n, 3], hang in the air there and are not needed for the photo, which shows
    the first ``front_count``: body that was brought to the matte, far from where it belongs."""
    part = _parts(rest)
    sizes = np.bincount(part)
    shown = np.bincount(part[:front_count], minlength=len(sizes)) > 0
    return ((sizes < _MOST * front_count) & ~shown)[part]


def _parts(places: np.ndarray) -> np.ndarray:
    """A number, int [n], per place [n, 3], the same for places that hang together over at most two cells."""
    middle = np.median(places, 0)
    places = places.clip(middle - _FARTHEST, middle + _FARTHEST)
    cell = np.floor((places - places.min(0)) / _CELL).astype(int)
    filled = np.zeros(cell.max(0) + 1, bool)
    filled[tuple(cell.T)] = True
    return ndimage.label(filled, np.ones((3, 3, 3)))[0][tuple(cell.T)] - 1
