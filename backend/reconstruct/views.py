"""What other views of a person say of the colours of splats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from ..avatar.threads import in_threads
from ..geometry.maps import bilinear
from ..rendering.mesh import rasterize_mesh
from .config import ViewsConfig
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
