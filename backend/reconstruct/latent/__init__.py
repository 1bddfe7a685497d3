"""The latent reconstruction transformer."""

from .config import CONFIGS, LatentConfig
from .model import LatentInput, LatentTransformer, PixelSplats, SplatMaps
from .views import BodyMaps, ViewCameras, draw_body, pluecker

__all__ = [
    "CONFIGS",
    "BodyMaps",
    "LatentConfig",
    "LatentInput",
    "LatentTransformer",
    "PixelSplats",
    "SplatMaps",
    "ViewCameras",
    "draw_body",
    "pluecker",
]
