"""Pictures of splats from numpy arrays, for callers that want no gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..avatar import Gaussians
from .renderer import Backend, render
from .types import CameraTensors, GaussianTensors


def render_gaussians(
    position: np.ndarray,
    rotation: np.ndarray,
    scale: np.ndarray,
    opacity: np.ndarray,
    rgb: np.ndarray,
    focal: float,
    size: tuple[int, int],
    world_to_camera: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    backend: Backend = "auto",
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """A picture float32 [H, W, 4]: rgb premultiplied with alpha, and alpha.

    Args:
        position, rotation, scale, opacity, rgb: N splats as in ``GaussianTensors``; colours below 0 become 0.
        focal: pixels; the principal point is the picture's centre.
        size: (height, width).
        world_to_camera: [4, 4]; None where the splats are in camera space already (OpenCV axes).
        device: where to compute.
        backend, tell: as in ``render``.
    """
    height, width = size

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, dtype=np.float32)).to(device)

    arrays = (position, rotation, scale, opacity, np.clip(rgb, 0, None))
    camera = CameraTensors(
        world_to_camera=tensor(np.eye(4) if world_to_camera is None else world_to_camera),
        intrinsics=tensor(np.array([focal, focal, width / 2, height / 2])),
        width=width,
        height=height,
    )
    with torch.no_grad():
        output = render(GaussianTensors(*map(tensor, arrays)), camera, backend=backend, tell=tell)
    return torch.cat([output.rgb, output.alpha[:, :, None]], dim=2).cpu().numpy()


def render_splats(
    gaussians: Gaussians,
    focal: float,
    size: tuple[int, int],
    world_to_camera: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """:func:`render_gaussians` of splats that stand together in one object."""
    return render_gaussians(
        gaussians.position,
        gaussians.rotation,
        gaussians.scale,
        gaussians.opacity,
        gaussians.rgb,
        focal,
        size,
        world_to_camera,
        device,
        tell=tell,
    )
