"""The latent reconstruction transformer."""

from .config import CONFIGS, LatentConfig
from .model import FirstLook, LatentInput, LatentTransformer, PixelSplats, SplatMaps
from .views import BodyMaps, ViewCameras, draw_body, pluecker

__all__ = [
    "CONFIGS",
    "BodyMaps",
    "FirstLook",
    "LatentConfig",
    "LatentInput",
    "LatentTransformer",
    "PixelSplats",
    "SplatMaps",
    "ViewCameras",
    "draw_body",
    "pluecker",
]
