"""Scraps that would hang in the air in the rest pose: they went along with a limb before, behind or beside which they
lie in the photo, but to which they do not belong."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .sheets import LayeredDepthImage, on_rays, put_to_nearest
from .types import SurfaceMesh

_CELL = 0.015
"""Metres; along each axis, what is more than twice as far from all else in the rest pose is not joined to it, and less
than once is. Splats and the pixels of a person who fills the photo are half as far apart."""
_FARTHEST = 1.5
"""Metres from the middle of all beyond which it does not matter how far: a sheet may be unfolded to anywhere."""
_MOST = 0.02
"""Share of what the photo shows up to which a part is a scrap: more is a limb, or a skirt."""


def without_floaters(layers: LayeredDepthImage, mesh: SurfaceMesh, focal: float) -> LayeredDepthImage:
    """``layers`` with scraps put to the nearest surface that the photo shows, be it beside them or not.

    What touches the body at rest is no scrap, however small: a foot below a long skirt.

    Args:
        layers: depths at the maps' resolution, and the faces of ``mesh`` to hang them on.
        mesh: the clothed surface.
        focal: pixels at the maps' resolution.
    """
    shown = layers.face >= 0
    triangles = mesh.faces[layers.face[shown]]
    rest = mesh.to_rest(on_rays(shown, layers.front, focal), triangles)
    # Faces may be larger than a cell.
    body = np.vstack([mesh.rest[: mesh.body_vertices], mesh.rest[mesh.faces[: mesh.body_faces]].mean(1)])
    held, part = np.split(_parts(np.vstack([body, rest])), [len(body)])
    sizes = np.bincount(part, minlength=held.max() + 1)
    small = sizes < _MOST * len(rest)
    small[held] = False
    scrap = small[part]
    if not scrap.any() or scrap.all():
        return layers
    kept = shown.copy()
    kept[shown] = ~scrap
    return put_to_nearest(layers, kept)


def is_floater(rest: np.ndarray, front_count: int) -> np.ndarray:
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
