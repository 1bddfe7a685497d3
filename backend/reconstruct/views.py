"""What other views of a person say of the colours of splats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from ..avatar.threads import in_threads
from ..geometry.maps import MAP_SIZE, bilinear
from ..prepare import extend_colours, own_colours
from ..rendering.mesh import rasterize_mesh
from .completion import Said
from .config import ViewsConfig
from .shape import ClothedSurface, PicturedMesh
from .types import SurfaceMesh
from .visibility import View, observe, ramp


@dataclass(frozen=True, eq=False)
class ViewedPerson:
    """V views of a person, the photo's first. Space: the photo camera's, metres.

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


def said_by(
    viewed: ViewedPerson,
    position: np.ndarray,
    normal: np.ndarray,
    part: np.ndarray,
    mesh: SurfaceMesh,
    device: torch.device | None = None,
    config: ViewsConfig | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] that the views together say of splats, and how far that counts [n] in 0..1.

    Args:
        viewed: the views.
        position, normal, part: [n, 3], [n, 3], int [n] of the splats.
        mesh: the surface that hides some of them.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
        config: weights.
    """
    config = config or ViewsConfig()
    size = viewed.coverage.shape[1]

    def one(number: int) -> tuple[np.ndarray, np.ndarray]:
        matrix = viewed.matrices[number]
        local = mesh.posed @ matrix[:3, :3].T + matrix[:3, 3]
        hits = rasterize_mesh(local, mesh.faces, viewed.focal * size, (size, size), device=device)
        view = View.of(matrix, viewed.focal * size, hits.depth, viewed.coverage[number] > 0.5, None, config.blur)
        seen = observe(position, normal, part, view)
        found = bilinear(np.dstack([viewed.rgb[number], viewed.coverage[number]]).astype(np.float32), seen.pixels)
        weight = np.where(seen.inner > 0, seen.facing.clip(0, 1) ** 2, 0) * ramp(found[:, 3], config.coverage)
        return weight, weight[:, None] * found[:, :3]

    total, mixed = (cast(np.ndarray, sum(parts)) for parts in zip(*in_threads(one, range(len(viewed.matrices)))))
    return mixed / np.maximum(total, 1e-6)[:, None], (total / config.enough).clip(0, 1)


def said_by_pictures(
    clothed: ClothedSurface, position: np.ndarray, normal: np.ndarray, triangles: np.ndarray, part: np.ndarray
) -> Said | None:
    """What further pictures say of n splats: each the colour of the picture that shows it best.

    Args:
        clothed: the surface, and the pictures of it.
        position, normal, part: [n, 3], [n, 3], int [n] of the splats, in the photo's pose.
        triangles: int [n, 3], vertices that each moves with.
    """
    if not clothed.pictures:
        return None

    def one(pictured: PicturedMesh) -> Said:
        points, turn = clothed.mesh.carried(position, triangles, pictured.posed)
        seen = observe(points, np.einsum("nab,nb->na", turn, normal), part, pictured.view)
        picture = pictured.picture
        colours = extend_colours if picture.matte_given else own_colours
        image = colours(picture.rgb, picture.alpha).astype(np.float32) / 255
        return Said(bilinear(image, seen.pixels * image.shape[0] / MAP_SIZE), seen.confidence)

    said = [one(pictured) for pictured in clothed.pictures]
    weight = np.stack([s.belief for s in said]) ** ViewsConfig.sharpness
    rgb = (weight[..., None] * np.stack([s.rgb for s in said])).sum(0) / np.maximum(weight.sum(0), 1e-9)[:, None]
    return Said(rgb, np.stack([s.belief for s in said]).max(0))


def either(first: Said, second: Said) -> Said:
    """What the first says as far as it is believed, and the second beyond that."""
    rest = (1 - first.belief) * second.belief
    belief = first.belief + rest
    rgb = (first.belief[:, None] * first.rgb + rest[:, None] * second.rgb) / np.maximum(belief, 1e-9)[:, None]
    return Said(np.where(belief[:, None] > 0, rgb, first.rgb), belief)
