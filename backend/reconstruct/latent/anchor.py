"""Imagined views laid on the clothed body: dense, even splats that hang together and pose well.

Where views are pictures of the person, splats along their pixels are the most exact. Imagined views are blurred and
never quite agree: such splats are ragged between the views, on hands and under chins. Then the avatar is the
``surface`` preset's, moved and coloured by what the transformer says of each view:

1. The clothed surface follows the transformer's depth, as smoothly as cloth does, along the photo's rays only, so that
   the photo's own view stays what it was.
2. A splat that the photo does not show takes its colour from the views that see it, by how squarely they see it, and
   the pattern of its cloth from what the ``surface`` preset would put there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ...body.model import JOINT_INDEX
from ...rendering.mesh import rasterize_mesh, vertex_normals
from ..clothed import joint_of_vertex, smooth_over_mesh
from ..types import Reconstruction, SurfaceMesh

_DEPTH_TRUST, _COLOUR_TRUST = 0.3, 0.8
"""How far imagined views count against what the surface alone would guess: the mean of two guesses beats either."""
_ITERATIONS = 3
_STIFFNESS = 3.0
_REACH = 0.25
"""Metres beyond which the transformer speaks of something else than the surface."""
_TURNED = 0.25
"""Cosine between surface and ray below which a view says nothing of a vertex' depth."""
_BEHIND = 0.02
"""Metres behind the first surface at which a point still counts as seen."""
_PHOTO_FACING = (0.1, 0.45)
"""Cosines from which the photo's colour counts a little, and wholly."""
_SURE_COVERAGE = (0.8, 1.0)
_ENOUGH = 0.3
"""Sum of the views' weights from which their colour counts wholly."""
_BLUR = 0.03
"""Metres: detail finer than that is what imagined views lack."""
_PATTERN = 1.5
"""How many times the median detail of a part of the body counts as its pattern. Stripes are everywhere on a shirt; a
badge or lapels are not, and do not belong on its back."""
_NEIGHBOURS = 6


@dataclass(frozen=True, eq=False)
class ViewedPerson:
    """What the transformer says of V views, the photo's first. Space: the photo camera's, metres.

    Attributes:
        matrices: [V, 4, 4] from that space to each camera's.
        focal: in picture widths.
        depth: [V, S, S] along each camera's axis.
        rgb: [V, S, S, 3] the person's colours, 0..1.
        coverage: [V, S, S] 0..1.
        photo: [S, S] 0..1 how far the photo itself shows the person there.
    """

    matrices: np.ndarray
    focal: float
    depth: np.ndarray
    rgb: np.ndarray
    coverage: np.ndarray
    photo: np.ndarray

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.depth.shape[1]


@dataclass(frozen=True, eq=False)
class _Look:
    """Points [n, 3] of a surface as one view sees them.

    Attributes:
        pixels: [n, 2].
        ray: [n, 3] unit, from the camera, in the photo camera's axes.
        z: [n] along the camera's axis.
        facing: [n] cosine between the surface and the ray.
        seen: bool [n], nothing is in front.
    """

    pixels: np.ndarray
    ray: np.ndarray
    z: np.ndarray
    facing: np.ndarray
    seen: np.ndarray


def anchor(base: Reconstruction, viewed: ViewedPerson) -> Reconstruction:
    """The ``surface`` preset's avatar, moved and coloured by what the transformer says."""
    mesh = base.surface
    shift = _DEPTH_TRUST * surface_shift(mesh, viewed)
    carried = (shift[mesh.faces[base.face]] * _barycentric(base.position, mesh, base.face)[..., None]).sum(1)
    # Moved along the photo's rays and as much larger as farther away, splats look the same to it.
    distance = np.linalg.norm(base.position, axis=1, keepdims=True)
    farther = 1 + (carried * base.position).sum(1, keepdims=True) / distance**2
    moved = replace(base, position=base.position * farther, scale=base.scale * farther)
    return replace(moved, rgb=_colours(moved, replace(mesh, posed=mesh.posed + shift), viewed))


def surface_shift(mesh: SurfaceMesh, viewed: ViewedPerson) -> np.ndarray:
    """Displacements [S, 3] in metres of the vertices towards the depth of the photo's view and of the one behind.

    Views from the side say how wide the person is, which the photo's outline says better.
    """
    count, faces = mesh.body_vertices, mesh.faces[: mesh.body_faces]
    posed = mesh.posed[:count].copy()
    facing_photo = np.abs(viewed.matrices[:, 2, 2])
    chosen = np.nonzero(facing_photo > np.cos(np.radians(45)))[0]
    for _ in range(_ITERATIONS):
        target, trust = np.zeros((count, 3)), np.zeros(count)
        normals = vertex_normals(posed, faces)
        for k in chosen:
            look = _look(posed, normals, posed, faces, viewed, k)
            solid = cv2.erode((viewed.coverage[k] > 0.7).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            gap = _nearest(viewed.depth[k], look.pixels) - look.z
            good = look.seen & (look.facing > _TURNED) & _nearest(solid, look.pixels) & (np.abs(gap) < _REACH)
            weight = np.where(good, look.facing, 0.0)
            along = look.ray / (look.ray @ viewed.matrices[k, 2, :3])[:, None]
            target += along * (weight * gap)[:, None]
            trust += weight
        target /= np.maximum(trust, 1e-6)[:, None]
        posed = posed + smooth_over_mesh(faces, target, trust, _STIFFNESS, rest=0.01)
    shift = np.zeros_like(mesh.posed)
    shift[:count] = posed - mesh.posed[:count]
    if len(shift) > count:
        # Sheets hang between parts of the body.
        nearest = cKDTree(mesh.posed[:count]).query(mesh.posed[count:], k=_NEIGHBOURS)[1]
        shift[count:] = shift[nearest].mean(1)
    return shift


def _look(
    points: np.ndarray, normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray, viewed: ViewedPerson, index: int
) -> _Look:
    """How view ``index`` sees ``points`` of the surface of ``vertices`` and ``faces``."""
    matrix, size = viewed.matrices[index], viewed.size
    local = points @ matrix[:3, :3].T + matrix[:3, 3]
    focal = viewed.focal * size
    hits = rasterize_mesh(vertices @ matrix[:3, :3].T + matrix[:3, 3], faces, focal, (size, size))
    pixels = local[:, :2] / local[:, 2:] * focal + size / 2
    ray = (local / np.linalg.norm(local, axis=1, keepdims=True)) @ matrix[:3, :3]
    seen = local[:, 2] < _nearest(hits.depth, pixels) + _BEHIND
    return _Look(pixels, ray, local[:, 2], -(normals * ray).sum(1), seen)


def _nearest(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """``values`` [S, S, ...] at the pixels that hold ``pixels`` [n, 2]."""
    x, y = np.floor(pixels).astype(int).clip(0, len(values) - 1).T
    return values[y, x]


def _between(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """``values`` [S, S, C] at ``pixels`` [n, 2], bilinear."""
    size = len(values)
    place = (pixels - 0.5).clip(0, size - 1.001)
    x, y = place.astype(int).T
    fx, fy = (place - np.floor(place)).T[..., None]
    upper = values[y, x] * (1 - fx) + values[y, x + 1] * fx
    return upper * (1 - fy) + (values[y + 1, x] * (1 - fx) + values[y + 1, x + 1] * fx) * fy


def _ramp(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return ((values - limits[0]) / (limits[1] - limits[0])).clip(0, 1)


def _barycentric(points: np.ndarray, mesh: SurfaceMesh, face: np.ndarray) -> np.ndarray:
    """Weights [n, 3] of the corners of ``face`` [n] for what lies over them, none negative (Ericson 2005, 3.4)."""
    a, b, c = (mesh.posed[mesh.faces[face, k]] for k in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, wu, wv = ((p * q).sum(1) for p, q in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    area = np.maximum(uu * vv - uv**2, 1e-18)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    weights = np.stack([1 - second - third, second, third], 1).clip(0, 1)
    return weights / weights.sum(1, keepdims=True)


def _colours(splats: Reconstruction, mesh: SurfaceMesh, viewed: ViewedPerson) -> np.ndarray:
    """Colours [n, 3]: the photo's where it shows the splat; else what the other views say, and the guess there was."""
    normals = splats.rotation[:, :, 2]
    total, mixed = np.zeros(len(normals)), np.zeros((len(normals), 3))
    from_photo = np.zeros(len(normals))
    for k in range(len(viewed.matrices)):
        look = _look(splats.position, normals, mesh.posed, mesh.faces, viewed, k)
        there = np.concatenate([viewed.rgb[k], viewed.coverage[k][..., None], viewed.photo[..., None]], 2)
        found = _between(there, look.pixels)
        weight = np.where(look.seen, look.facing.clip(0, 1) ** 2, 0.0) * _ramp(found[:, 3], _SURE_COVERAGE)
        if k == 0:
            from_photo = np.where(look.seen, _ramp(look.facing, _PHOTO_FACING), 0.0) * (found[:, 4] > 0.5)
            weight = weight * (1 - from_photo)
        total += weight
        mixed += weight[:, None] * found[:, :3]
    said = mixed / np.maximum(total, 1e-6)[:, None]
    said = said + _pattern(splats, mesh, from_photo)
    share = ((1 - from_photo) * _COLOUR_TRUST * (total / _ENOUGH).clip(0, 1))[:, None]
    return ((1 - share) * splats.rgb + share * said).clip(0, 1)


def _pattern(splats: Reconstruction, mesh: SurfaceMesh, from_photo: np.ndarray) -> np.ndarray:
    """The detail [n, 3] of the guessed colours, as far as it is the pattern of a part of the body; none on heads."""
    detail = splats.rgb - _smoothed(splats.position, splats.rotation[:, :, 2], splats.rgb)
    strength = np.linalg.norm(detail, axis=1)
    joint = joint_of_vertex(mesh.weights)[mesh.faces[splats.face, 0]]
    limit = np.zeros(len(strength))
    for number in np.unique(joint):
        mine = joint == number
        guessed = mine & (from_photo < 0.5)
        if number != JOINT_INDEX["head"] and guessed.any():
            limit[mine] = _PATTERN * np.median(strength[guessed])
    return detail * np.minimum(1, limit / np.maximum(strength, 1e-9))[:, None]


def _smoothed(points: np.ndarray, normals: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` [n, 3] without detail finer than :data:`_BLUR`; the two sides of thin parts do not mix.

    Means over cells of space, mixed by their distance.
    """
    cell = np.concatenate([np.floor(points / _BLUR), normals > 0], 1).astype(int)
    cell = np.unique(cell, axis=0, return_inverse=True)[1].ravel()
    count = np.bincount(cell).astype(float)
    features = np.concatenate([points, _BLUR * normals], 1)

    def means(of: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(cell, column) / count for column in of.T], 1)

    neighbours = min(8, len(count))
    distance, index = cKDTree(means(features)).query(features, k=neighbours)
    distance, index = (v.reshape(len(points), neighbours) for v in (distance, index))
    weight = np.exp(-0.5 * (distance / _BLUR) ** 2) * count[index] + 1e-9
    return (means(values)[index] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
