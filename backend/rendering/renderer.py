"""One door to all renderers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from . import gsplat_backend, rasterizer, reference
from .types import CameraTensors, GaussianTensors, RenderOutput

Backend = Literal["auto", "torch", "gsplat", "reference"]


def render(
    gaussians: GaussianTensors,
    camera: CameraTensors,
    background: torch.Tensor | Sequence[float] | None = None,
    backend: Backend = "auto",
    tell: Callable[[float], None] | None = None,
) -> RenderOutput:
    """Render splats; differentiable with respect to every tensor given (gsplat: all but the intrinsics).

    3DGS's equations: covariance J W Sigma W^T J^T + d I in pixels (d: the camera's dilation), alpha = min(0.99,
    opacity exp(-q)), alphas below 1/255 skipped, composited front to back in the order of depth.

    Args:
        gaussians: N splats; N may be 0.
        camera: on the same device.
        background: [C] colour, or [H, W, C] picture, to composite on; None leaves the picture premultiplied.
        backend: "torch" (ours, any device), "gsplat" (CUDA), "reference" (slow, for tests), or "auto": gsplat where
            the splats are on CUDA and it is installed, else torch.
        tell: hears now and then which share is done ("torch" alone, which takes minutes for thousands of pixels a
            side); may raise to stop.

    Raises:
        ValueError: unknown backend, or gsplat for splats that are not on CUDA.
        ImportError: gsplat is asked for and not installed.
    """
    on_cuda = gaussians.position.device.type == "cuda"
    if backend == "auto":
        backend = "gsplat" if on_cuda and len(gaussians) and gsplat_backend.is_available() else "torch"
    if backend == "torch":
        output = rasterizer.render(gaussians, camera, tell)
    elif backend == "reference":
        output = reference.render(gaussians, camera)
    elif backend == "gsplat":
        if not on_cuda:
            raise ValueError("The gsplat renderer needs the splats on a CUDA device.")
        output = gsplat_backend.render(gaussians, camera)
    else:
        raise ValueError(f"There is no renderer {backend!r}; choose auto, torch, gsplat or reference.")
    if background is None:
        return output
    behind = torch.as_tensor(background, dtype=output.rgb.dtype, device=output.rgb.device)
    return dataclasses.replace(output, rgb=output.rgb + (1 - output.alpha)[:, :, None] * behind)
