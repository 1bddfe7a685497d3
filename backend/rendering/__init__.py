"""Rendering: splats with gsplat on CUDA and our own rasteriser elsewhere, triangle meshes with a plain z-buffer."""

from .contributions import Contributions
from .pictures import render_gaussians, render_splats
from .rasterizer import contributions
from .renderer import Backend, render
from .types import CameraTensors, GaussianTensors, RenderOutput, exact_device

__all__ = [
    "Backend",
    "CameraTensors",
    "Contributions",
    "GaussianTensors",
    "RenderOutput",
    "contributions",
    "exact_device",
    "render",
    "render_gaussians",
    "render_splats",
]
