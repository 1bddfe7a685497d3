"""Panels, operators, preferences: thin layers over ``jobs`` and ``scene``."""

from __future__ import annotations

import bpy

from . import operators, panels, preferences, properties, runtime

_CLASSES = (*properties.CLASSES, *preferences.CLASSES, *operators.CLASSES, *panels.CLASSES)


def register() -> None:
    """Register every class, the scene's properties and the handlers."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    properties.register()
    runtime.register()


def unregister() -> None:
    """Undo :func:`register`; a running job is stopped."""
    runtime.unregister()
    properties.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
