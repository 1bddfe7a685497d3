"""Motions on avatars in Blender: files, other armatures, the library. Works without the user interface."""

from __future__ import annotations

import bpy

from ...backend.avatar.motion import Motion, MotionError
from . import operators, settings
from .apply import ApplyOptions, apply_motion, motion_action
from .assets import make_motion_assets
from .bone_map_file import guess_bones, write_bone_map
from .live import clear_constraints, live_constraints, live_source
from .operators import draw_motion, menu_import
from .sample import animated_range, armature_bone_map, sample_armature
from .transfer import TransferOptions, import_library_motion, import_motion_file, retarget_from_armature

__all__ = [
    "CLASSES",
    "ApplyOptions",
    "Motion",
    "MotionError",
    "TransferOptions",
    "animated_range",
    "apply_motion",
    "armature_bone_map",
    "clear_constraints",
    "draw_motion",
    "guess_bones",
    "import_library_motion",
    "import_motion_file",
    "live_constraints",
    "live_source",
    "make_motion_assets",
    "menu_import",
    "motion_action",
    "register",
    "retarget_from_armature",
    "sample_armature",
    "unregister",
    "write_bone_map",
]

CLASSES = (*settings.CLASSES, *operators.CLASSES)


def register() -> None:
    """Register every class, the scene's settings and the entry in File > Import."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    settings.register()
    bpy.types.TOPBAR_MT_file_import.append(menu_import)


def unregister() -> None:
    """Undo :func:`register`."""
    bpy.types.TOPBAR_MT_file_import.remove(menu_import)
    settings.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
