"""Colours of splats for the texels of a mesh that lies on them.

Every small patch of the mesh has a camera of its own: parallel rays along the patch's normal. So all of the surface is
seen from straight ahead, armpits and all. Along its ray each texel takes the mean of the splats that it meets, weighted
by their alphas there and fading with their depth. 3DGS (Kerbl et al. 2023) would take the nearest almost alone, but
which of two splats a fraction of a millimetre apart is nearer changes from patch to patch, and frays the colours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from ..avatar.gaussians import Gaussians
from ..avatar.quaternion import to_matrix
from ..rendering.triangles import rasterize
from ..rendering.types import DILATION
from .atlas import Atlas

PATCH = 0.012
"""Metres; triangles are divided into patches not longer than this."""
_PATCH_TEXELS = 128
_SPLATS = 48  # the nearest of a patch that its texels may see
_FADE = 0.002  # metres of depth by which a splat's say falls to 1 / e
_DEPTH = (0.010, 0.020)  # metres off the patch from which splats fade, and beyond which they belong to something else
_FACING = (-0.3, 0.2)  # cosine between a splat's and the patch's normal: below the first it is another side's
_WIDER = np.float32(1 / 16)  # of the exponent: splats four times as wide fill what no splat covers
_FILL = np.float32(1e-6)  # say of the wider ones against the others
_PAIRS = 1 << 18  # of texels and splats at once


@dataclass(frozen=True, eq=False)
class Texels:
    """The n texels that a mesh's charts cover.

    Attributes:
        size: pixels of the texture's side.
        pixel: int64 [n] row * size + column.
        face: int64 [n].
        share: float32 [n, 3] barycentric.
        nearest: int32 [size * size] the texel that each pixel of the texture takes its colour from.
    """

    size: int
    pixel: np.ndarray
    face: np.ndarray
    share: np.ndarray
    nearest: np.ndarray

    def on(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Values [V, C] of vertices at the texels, float32 [n, C]."""
        values = values.astype(np.float32)
        out = np.zeros((len(self.pixel), values.shape[1]), dtype=np.float32)
        for corner in range(3):
            out += self.share[:, corner, None] * values[faces[self.face, corner]]
        return out

    def picture(self, colours: np.ndarray) -> np.ndarray:
        """Colours [n, C] as a texture [size, size, C]; what lies between the charts continues their borders."""
        return colours[self.nearest].reshape(self.size, self.size, -1)


def find_texels(atlas: Atlas, size: int) -> Texels:
    """Which face lies where in the texture."""
    screen = np.concatenate([atlas.uv * size, np.ones((len(atlas.uv), 1))], axis=1)
    hits = rasterize(
        torch.as_tensor(screen, dtype=torch.float32)[None],
        torch.as_tensor(atlas.faces),
        (size, size),
        perspective=False,
    )
    pixel = hits.sample.numpy()
    empty = np.ones(size * size, dtype=bool)
    empty[pixel] = False
    number = np.zeros(size * size, dtype=np.int32)
    number[pixel] = np.arange(len(pixel))
    rows, columns = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    nearest = number.reshape(size, size)[rows, columns].ravel()
    return Texels(size, pixel, hits.face.numpy(), hits.barycentric.numpy(), nearest)


def bake(
    gaussians: Gaussians,
    outward: np.ndarray,
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    texels: Texels,
    step: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Colours float32 [n, 3] of the texels, display sRGB.

    Args:
        gaussians: N splats.
        outward: [N, 3] direction in which each splat's outside looks.
        vertices, normals: [V, 3] of the closed mesh, metres, in the splats' space.
        faces: int [F, 3].
        texels: n of them.
        step: told which share is done, 0..1; may raise to stop.
    """
    patches = _patches(vertices, normals, faces, texels)
    near = cKDTree(gaussians.position)
    count = min(_SPLATS, len(gaussians))
    axes = to_matrix(gaussians.rotation.astype(np.float64)) * gaussians.scale[:, None, :].astype(np.float64)
    rgb = gaussians.rgb.clip(0, 1).astype(np.float32)
    blur = DILATION * _area(vertices[faces]).sum() / len(texels.pixel)
    lengths = np.diff(patches.start)
    out = np.zeros((len(texels.pixel), 3), dtype=np.float32)

    def draw(rows: np.ndarray) -> int:
        _, splats = near.query(patches.centre[rows], k=[*range(1, count + 1)])
        within = np.arange(int(lengths[rows].max()))
        valid = within < lengths[rows, None]
        index = (patches.start[rows, None] + within)[valid]
        places = np.zeros((*valid.shape, 3), dtype=np.float32)
        places[valid] = patches.place[index] - np.repeat(patches.centre[rows], lengths[rows], 0).astype(np.float32)
        seen = _seen(gaussians, outward, axes, splats, patches.centre[rows], patches.normal[rows], blur)
        out[patches.texel[index]] = _blend(places, rgb[splats], *seen)[valid]
        return len(index)

    order = np.argsort(lengths, kind="stable")  # patches of about the same number of texels go together
    batch = np.cumsum(lengths[order] * count) // _PAIRS
    pieces = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for finished in pool.map(draw, pieces):
                done += finished
                step(done / len(out))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return out


@dataclass(frozen=True, eq=False)
class _Patches:
    """G patches of texels that share a camera. The n texels are in the order of their patches.

    Attributes:
        texel: int64 [n].
        place: float32 [n, 3] metres.
        start: int64 [G + 1] where each patch's texels begin.
        centre, normal: float64 [G, 3].
    """

    texel: np.ndarray
    place: np.ndarray
    start: np.ndarray
    centre: np.ndarray
    normal: np.ndarray


def _patches(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, texels: Texels) -> _Patches:
    corners = vertices[faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    count = np.bincount(texels.face, minlength=len(faces))
    divided = np.ceil(np.maximum(longest / PATCH, np.sqrt(count / _PATCH_TEXELS))).clip(1, 255).astype(np.int64)
    # The small triangles of a triangle whose sides are divided evenly.
    cell = (texels.share * divided[texels.face, None]).astype(np.int64)
    key = ((texels.face << 8 | cell[:, 0]) << 8 | cell[:, 1]) << 8 | cell[:, 2]
    order = np.argsort(key, kind="stable")
    _, start = np.unique(key[order], return_index=True)
    ends = np.append(start, len(order))
    place, normal = texels.on(vertices, faces)[order], texels.on(normals, faces)[order]
    centre = np.add.reduceat(place.astype(np.float64), start) / np.diff(ends)[:, None]
    mean = np.add.reduceat(normal.astype(np.float64), start)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    return _Patches(order, place, ends, centre, mean)


def _area(corners: np.ndarray) -> np.ndarray:
    return 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)


def _seen(
    gaussians: Gaussians,
    outward: np.ndarray,
    axes: np.ndarray,
    splats: np.ndarray,
    centre: np.ndarray,
    normal: np.ndarray,
    blur: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K splats of each of G patches in its camera.

    Args:
        gaussians, outward: N splats and where their outsides look.
        axes: [N, 3, 3], columns one standard deviation long, metres.
        splats: int [G, K].
        centre, normal: [G, 3] of the patches.
        blur: square metres added to the variances in the picture.

    Returns:
        the cameras' right and up float32 [G, 2, 3]; the logarithm of the splats' alphas as factors float32 [G, 6, K] of
        1, x, y, x^2, xy, y^2 in metres; and what else their say depends on, float32 [G, K].
    """
    offset = gaussians.position[splats] - centre[:, None]
    height = np.einsum("gki,gi->gk", offset, normal)
    right = np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    frame = np.stack([right, np.cross(normal, right)], axis=1)
    x, y = np.einsum("gai,gki->agk", frame, offset)
    spread = np.einsum("gai,gkij->agkj", frame, axes[splats])
    a, b, c = ((spread[i] * spread[j]).sum(2) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, c = a + blur, c + blur
    determinant = a * c - b * b
    xx, xy, yy = c / determinant, -b / determinant, a / determinant
    facing = np.einsum("gki,gi->gk", outward[splats], normal)
    say = _ramp(facing, *_FACING) * (1 - _ramp(np.abs(height), *_DEPTH)) * np.exp(height / _FADE)
    peak = np.log(np.maximum(gaussians.opacity[splats], 1e-6))
    exponent = [
        peak - 0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y), xx * x + xy * y, xy * x + yy * y,
        -0.5 * xx, -xy, -0.5 * yy,
    ]  # fmt: skip
    return frame.astype(np.float32), np.stack(exponent, 1).astype(np.float32), say.astype(np.float32)


def _ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    share = ((value - low) / (high - low)).clip(0, 1)
    return share * share * (3 - 2 * share)


def _blend(places: np.ndarray, rgb: np.ndarray, frame: np.ndarray, exponent: np.ndarray, say: np.ndarray) -> np.ndarray:
    """Colours [G, T, 3] at places [G, T, 3], metres from the patches' centres; rgb [G, K, 3], the rest from _seen."""
    x, y = np.moveaxis(places @ frame.transpose(0, 2, 1), 2, 0)
    logarithm = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2) @ exponent
    np.minimum(logarithm, 0, out=logarithm)
    weight = np.exp(logarithm)
    weight *= say[:, None]
    # Where no splat reaches, all of those around, drawn wider: smooth, and never empty.
    logarithm *= _WIDER
    wide = np.exp(logarithm, out=logarithm)
    wide *= _FILL * (say + _FILL)[:, None]
    weight += wide
    weight += np.float32(1e-30)
    weight /= weight.sum(2, keepdims=True)
    return weight @ rgb
