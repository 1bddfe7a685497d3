"""Stage 4, reconstruct: splats of the person in the photo's pose."""

from .config import SurfaceConfig
from .surface import Shaped, SurfaceReconstructor
from .types import Reconstruction, SurfaceMesh

__all__ = ["Reconstruction", "Shaped", "SurfaceConfig", "SurfaceMesh", "SurfaceReconstructor"]
