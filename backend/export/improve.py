"""A texture improved until pictures of the mesh are those of the splats.

A mesh is not where the splats are, to the millimetre, and bends otherwise than they. What that shifts in a picture is
taken back where it matters most: in the photo's own view, and from all sides at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from ..avatar.meshes import vertex_normals
from ..rendering.triangles import rasterize
from .atlas import Atlas
from .bake import Texels
from .looks import Look

_ROUNDS = 4
_SAMPLES = 2  # rays across a pixel
_HIDDEN = 0.004  # metres behind the nearest surface from which a texel is not seen
_LEAST_FACING = 0.1  # cosine
_FACING = 4  # power of the cosine by which a look's say falls
_KEPT = 0.02  # say of the colours as they are, against a look straight ahead
_COVERED = 0.9  # of a pixel by splats: thinner ones show what is behind


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a look tells of the m texels that it shows.

    Attributes:
        look: which.
        texel: int64 [m].
        where: float32 [2, m] row and column in the picture.
        say: float32 [m].
        pixel: int64 [s] of each ray, with ``_SAMPLES`` times as many rays as pixels each way.
        hit: int64 [s] the texel that each ray meets.
    """

    look: Look
    texel: np.ndarray
    where: np.ndarray
    say: np.ndarray
    pixel: np.ndarray
    hit: np.ndarray


def improved(
    colours: np.ndarray,
    looks: list[Look],
    vertices: np.ndarray,
    weights: np.ndarray,
    faces: np.ndarray,
    atlas: Atlas,
    texels: Texels,
    step: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Colours float32 [n, 3] of the texels with which the mesh's pictures are nearer to the splats'.

    Args:
        colours: float32 [n, 3] display sRGB.
        looks: pictures to agree with.
        vertices, weights: [V, 3] metres at rest and [V, J] of the closed mesh.
        faces: int [F, 3].
        atlas: of that mesh.
        texels: n of them.
        step: told which share is done, 0..1; may raise to stop.
    """
    total = len(looks) + _ROUNDS
    seen = []
    for look in looks:
        seen.append(_seen(look, look.local(vertices, weights), faces, atlas, texels))
        step(len(seen) / total)
    for round_ in range(_ROUNDS):
        change, say = np.zeros_like(colours), np.full(len(colours), _KEPT, dtype=np.float32)
        for one in seen:
            missing = _missing(one, colours)
            for channel in range(3):
                part = map_coordinates(missing[..., channel], one.where, order=1, mode="nearest")
                change[one.texel, channel] += one.say * part
            say[one.texel] += one.say
        colours = (colours + change / say[:, None]).clip(0, 1)
        step((len(looks) + round_ + 1) / total)
    return colours


def _seen(look: Look, local: np.ndarray, faces: np.ndarray, atlas: Atlas, texels: Texels) -> _Seen:
    height, width = look.alpha.shape
    fine = (height * _SAMPLES, width * _SAMPLES)
    screen = np.concatenate([look.pixels(local) * _SAMPLES, local[:, 2:]], axis=1)
    hits = rasterize(torch.as_tensor(screen, dtype=torch.float32)[None], torch.as_tensor(faces), fine)
    ray, face, share = hits.sample.numpy(), hits.face.numpy(), hits.barycentric.numpy()
    corners = (atlas.uv * texels.size).astype(np.float32)[atlas.faces[face]]
    column, row = np.einsum("sk,ski->is", share, corners).astype(np.int64).clip(0, texels.size - 1)
    hit = texels.nearest[row * texels.size + column]
    depth = np.full(fine[0] * fine[1], np.inf, dtype=np.float32)
    depth[ray] = hits.depth.numpy()
    place = texels.on(local, faces)
    normal = texels.on(vertex_normals(local, faces), faces)
    facing = -np.einsum("ni,ni->n", normal, place) / np.linalg.norm(place, axis=1)
    where = look.pixels(place)[:, ::-1]
    down, across = (where * _SAMPLES).astype(np.int64).clip(0, [fine[0] - 1, fine[1] - 1]).T
    shown = (facing > _LEAST_FACING) & (place[:, 2] < depth[down * fine[1] + across] + _HIDDEN)
    texel = np.flatnonzero(shown)
    down, across = np.divmod(ray, fine[1])
    pixel = down // _SAMPLES * width + across // _SAMPLES
    say = (look.say * facing[texel].clip(0, 1) ** _FACING).astype(np.float32)
    return _Seen(look, texel, where[texel].T.astype(np.float32) - np.float32(0.5), say, pixel, hit)


def _missing(seen: _Seen, colours: np.ndarray) -> np.ndarray:
    """The splats' picture less the mesh's, float32 [H, W, 3], 0 where either does not cover the pixel."""
    shape = seen.look.alpha.shape
    rays = np.bincount(seen.pixel, minlength=shape[0] * shape[1]).reshape(shape)
    both = (rays == _SAMPLES**2) & (seen.look.alpha > _COVERED)
    ours = [np.bincount(seen.pixel, colours[seen.hit, k], rays.size).reshape(shape) / _SAMPLES**2 for k in range(3)]
    return np.where(both[..., None], seen.look.rgb - np.stack(ours, axis=2), 0).astype(np.float32)
