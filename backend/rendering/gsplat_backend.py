"""The renderer on CUDA: the ``gsplat`` package, where it is installed. Imported only when used."""

from __future__ import annotations

import functools

import torch

from .projection import NEAR
from .types import CameraTensors, GaussianTensors, RenderOutput


@functools.cache
def is_available() -> bool:
    """Whether ``gsplat`` can be imported."""
    try:
        import gsplat  # noqa: F401
    except (ImportError, OSError):  # OSError: its compiled part lacks a shared library.
        return False
    return True


def render(gaussians: GaussianTensors, camera: CameraTensors) -> RenderOutput:
    """Render on black; float32. Alpha's ceiling is gsplat's own, 0.999 instead of 0.99.

    Differentiable except with respect to the intrinsics, for which gsplat has no gradient.
    """
    import gsplat

    fx, fy, cx, cy = camera.intrinsics
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    image, alpha, _ = gsplat.rasterization(
        means=gaussians.position,
        quats=gaussians.rotation,
        scales=gaussians.scale,
        opacities=gaussians.opacity,
        colors=gaussians.color,
        viewmats=camera.world_to_camera[None],
        Ks=torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one]).reshape(1, 3, 3),
        width=camera.width,
        height=camera.height,
        near_plane=NEAR,
        eps2d=camera.dilation,
        render_mode="RGB+ED",
    )
    return RenderOutput(image[0, :, :, :-1], alpha[0, :, :, 0], image[0, :, :, -1])
