"""A texture atlas of a mesh, by xatlas: charts cut along the body's parts and packed into one square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..avatar.formats.types import ExportError
from .simplify import INSTALL_HINT

PADDING = 4
"""Pixels between two charts."""
_FILLED = 0.72  # share of the square that charts usually fill
_FULL = 0.999  # of the square's side


@dataclass(frozen=True, eq=False)
class Atlas:
    """A mesh cut open along its seams.

    Attributes:
        source: int64 [W] the vertex of the closed mesh that each vertex is a copy of.
        faces: int64 [F, 3] into the copies, in the order of the closed mesh's faces.
        uv: float64 [W, 2] in 0..1, the origin at the picture's top left.
    """

    source: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, parts: np.ndarray, size: int) -> Atlas:
    """Charts of a closed mesh in one square picture; deterministic.

    Args:
        vertices: [V, 3] metres.
        faces: int [F, 3].
        parts: int [F] part of the body of each triangle: no chart reaches over two.
        size: pixels of the picture's side.

    Raises:
        ExportError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError as error:
        raise ExportError("The texture needs the package xatlas: " + INSTALL_HINT.format("xatlas")) from error
    atlas = xatlas.Atlas()
    pieces = []
    # Growing charts takes much more than twice the time for twice the triangles: part by part is ten times faster.
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        used, corners = np.unique(faces[rows], return_inverse=True)
        atlas.add_mesh(vertices[used].astype(np.float32), corners.reshape(-1, 3).astype(np.uint32))
        pieces.append((rows, used))
    corners = vertices[faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    pack = xatlas.PackOptions()
    pack.padding, pack.bilinear = PADDING, True
    pack.texels_per_unit = float(np.sqrt(_FILLED * size**2 / area))
    atlas.generate(xatlas.ChartOptions(), pack)
    pixels = np.array([atlas.width, atlas.height], dtype=np.float64)
    source, uv, cut = [], [], np.zeros((len(faces), 3), dtype=np.int64)
    for piece, (rows, used) in enumerate(pieces):
        copies, triangles, place = atlas[piece]
        cut[rows] = triangles.astype(np.int64) + sum(map(len, source))
        source.append(used[copies])
        uv.append(place.astype(np.float64) * pixels)
    scale = _FULL / pixels.max()
    return Atlas(np.concatenate(source), cut, (np.concatenate(uv) * scale).clip(0, 1))
