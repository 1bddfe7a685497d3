"""Panels, operators, preferences: thin layers over ``jobs`` and ``scene``."""

from __future__ import annotations

import bpy

from .. import motion
from . import (
    avatar,
    baking,
    brushes,
    cutting,
    exporting,
    importing,
    leaving,
    models,
    operators,
    panels,
    preferences,
    properties,
    repainting,
    repairing,
    rig,
    runtime,
    selection,
    sides,
    swaying,
)

_CLASSES = (
    *properties.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *sides.CLASSES,
    *models.CLASSES,
    *cutting.CLASSES,
    *repairing.CLASSES,
    *repainting.CLASSES,
    *avatar.CLASSES,
    *swaying.CLASSES,
    *importing.CLASSES,
    *rig.CLASSES,
    *baking.CLASSES,
    *leaving.CLASSES,
    *brushes.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    """Register every class, the scene's properties and the handlers."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    properties.register()
    runtime.register()
    selection.register()
    motion.register()
    brushes.register()
    importing.register()
    exporting.register()
    leaving.register()


def unregister() -> None:
    """Undo :func:`register`; a running job is stopped."""
    brushes.unregister()
    leaving.unregister()
    exporting.unregister()
    importing.unregister()
    motion.unregister()
    selection.unregister()
    runtime.unregister()
    properties.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
