"""Imagined views laid on the clothed body: dense, even splats that hang together and pose well.

Where views are pictures of the person, splats along their pixels are the most exact. Imagined views are blurred and
never quite agree: such splats are ragged between the views, on hands and under chins. Then the avatar is the
``surface`` preset's, coloured by what the transformer says of each view: a splat takes, as far as the photo does not
show it, its colour from the views that see it, by how squarely they see it, and the pattern of its cloth from what the
``surface`` preset would put there.

The transformer's depth of imagined views is left out: following it in part brought next to nothing from the sides and
cost the photo's own view, whose splats then hide each other in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from ...avatar.threads import in_threads
from ...body.model import JOINT_INDEX
from ...rendering.mesh import rasterize_mesh
from ..clothed import joint_of_splat
from ..maps import sample_map
from ..photo_colours import ANY
from ..shading import in_light_of
from ..types import Reconstruction, SurfaceMesh
from .smooth import Smoother, smoother_of

_TRUST = 0.5
"""How far imagined colours count against what the surface alone would guess: the mean of two guesses beats either."""
_TRUST_HEAD = 0.4
"""Likewise of head and neck: in figures it makes no difference there, and hair keeps the photo's colour and length."""
_HEAD = (JOINT_INDEX["head"], JOINT_INDEX["neck"])
_BEHIND = 0.02
"""Metres behind the first surface at which a point still counts as seen."""
_BESIDE, _APART = 9, 0.06
"""Pixels across of the surroundings in which nothing may be so many metres nearer than a point: imagined views are
blurred, and an arm before the trunk is not quite where the body has it."""
_SURE_COVERAGE = (0.8, 1.0)
_ENOUGH = 0.3
"""Sum of the views' weights from which their colour counts wholly."""
_PATTERN = 1.5
"""How many times the median detail of a part of the body counts as its pattern. Stripes are everywhere on a shirt; a
badge or lapels are not, and do not belong on its back."""


@dataclass(frozen=True, eq=False)
class ViewedPerson:
    """What the transformer says of V views, the photo's first. Space: the photo camera's, metres.

    Attributes:
        matrices: [V, 4, 4] from that space to each camera's.
        focal: in picture widths.
        rgb: [V, S, S, 3] the person's colours, 0..1.
        coverage: [V, S, S] 0..1.
    """

    matrices: np.ndarray
    focal: float
    rgb: np.ndarray
    coverage: np.ndarray


def anchor(
    base: Reconstruction,
    viewed: ViewedPerson,
    smoother: Callable[[], Smoother] | None = None,
    device: torch.device | None = None,
) -> Reconstruction:
    """The ``surface`` preset's avatar in the colours that the views say.

    Args:
        base: the avatar.
        viewed: the views.
        smoother: gives that of its splats; asked only once the views are compared, so that it may be made meanwhile.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    mesh, normals, size = base.surface, base.rotation[:, :, 2], viewed.coverage.shape[1]

    def said_by(number: int) -> tuple[np.ndarray, np.ndarray]:
        matrix = viewed.matrices[number]
        pixels, facing, shown = _look(base.position, normals, mesh, matrix, viewed.focal * size, size, device)
        there = np.concatenate([viewed.rgb[number], viewed.coverage[number][..., None]], 2)
        found = _between(there, pixels)
        weight = np.where(shown, facing.clip(0, 1) ** 2, 0.0) * _ramp(found[:, 3], _SURE_COVERAGE)
        return weight, weight[:, None] * found[:, :3]

    total, mixed = (sum(parts) for parts in zip(*in_threads(said_by, range(len(viewed.matrices)))))
    smooth = smoother_of(base.position, normals) if smoother is None else smoother()
    said = mixed / np.maximum(total, 1e-6)[:, None] + _pattern(base, smooth)
    # Where the photo shows anything its colours stay, or its own view would suffer.
    unseen = (1 - base.seen / ANY).clip(0, 1) * (total / _ENOUGH).clip(0, 1)
    if base.light is not None:
        # Imagined views know what is where, the photo's light is better known from the photo.
        said = in_light_of(said, base.rgb, normals, unseen)
    share = (unseen * np.where(np.isin(joint_of_splat(base), _HEAD), _TRUST_HEAD, _TRUST))[:, None]
    return replace(base, rgb=((1 - share) * base.rgb + share * said).clip(0, 1))


def _look(
    points: np.ndarray,
    normals: np.ndarray,
    mesh: SurfaceMesh,
    matrix: np.ndarray,
    focal: float,
    size: int,
    device: torch.device | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a view sees ``points`` [n, 3]: pixels [n, 2], cosine of surface and ray [n], bool [n] nothing in front or
    just beside what is in front."""
    local = points @ matrix[:3, :3].T + matrix[:3, 3]
    seen = mesh.posed @ matrix[:3, :3].T + matrix[:3, 3]
    hits = rasterize_mesh(seen, mesh.faces, focal, (size, size), device=device)
    pixels = local[:, :2] / local[:, 2:] * focal + size / 2
    ray = local / np.linalg.norm(local, axis=1, keepdims=True)
    around = ndimage.minimum_filter(hits.depth, _BESIDE)
    limit = np.minimum(sample_map(hits.depth, pixels) + _BEHIND, sample_map(around, pixels) + _APART)
    shown = local[:, 2] < limit
    return pixels, -((normals @ matrix[:3, :3].T) * ray).sum(1), shown


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


def _pattern(splats: Reconstruction, smooth: Smoother) -> np.ndarray:
    """The detail [n, 3] of the guessed colours, as far as it is the pattern of a part of the body; none on heads."""
    detail = splats.rgb - smooth(splats.rgb)
    strength = np.linalg.norm(detail, axis=1)
    joint = joint_of_splat(splats)
    limit = np.zeros(len(strength))
    for number in np.unique(joint):
        mine = joint == number
        guessed = mine & (splats.seen < 0.5)
        if number != JOINT_INDEX["head"] and guessed.any():
            limit[mine] = _PATTERN * np.median(strength[guessed])
    return detail * np.minimum(1, limit / np.maximum(strength, 1e-9))[:, None]
