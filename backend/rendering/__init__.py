"""Rendering: splats with gsplat on CUDA and our own rasteriser elsewhere, triangle meshes with a plain z-buffer."""

from .pictures import render_gaussians
from .renderer import Backend, render
from .types import CameraTensors, GaussianTensors, RenderOutput

__all__ = ["Backend", "CameraTensors", "GaussianTensors", "RenderOutput", "render", "render_gaussians"]
