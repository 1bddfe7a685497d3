"""MV-Adapter on SDXL: six pictures of the photo's person from around, steered by the clothed mesh or by cameras alone.

The entry point is :func:`~backend.views.adapter.load.load_adapter`. It is not imported here because it needs
``diffusers``.
"""

from .config import I2MV, IG2MV, VARIANTS, AdapterConfig, Variant, ViewAngle

__all__ = ["I2MV", "IG2MV", "VARIANTS", "AdapterConfig", "Variant", "ViewAngle"]
