"""What the panel remembers of motions, on the scene as `humansplat_motion`."""

from __future__ import annotations

import bpy

from ...backend.avatar.motion_library import library
from ..scene.roles import ROLE

ROOTS = (
    ("scaled", "Scaled", "The avatar moves as far as its legs are long"),
    ("in_place", "In Place", "Up and down alone, as on a treadmill"),
    ("off", "Off", "The pelvis stays where it stands at rest"),
)
ORIGINS = (
    ("avatar", "Avatar", "The motion begins where the avatar stands"),
    ("source", "Source", "The motion begins where the file says, or where the source armature stands"),
)
KEYS = (
    ("scene", "Scene", "One key a frame of the scene"),
    ("source", "Source", "One key a frame of the motion; these may lie between two frames of the scene"),
)
FORMER = (
    ("keep", "Keep", "It stays in the file"),
    ("nla", "NLA Track", "It stays in the file and on a track of its own, below the motion"),
)
UPS = (
    ("auto", "Automatic", "Found from how the person stands"),
    ("y", "Y", ""),
    ("z", "Z", ""),
)
LIBRARY = tuple((entry.name, entry.label, entry.description) for entry in library())
IN_PLACE = {"name": "In Place", "description": "Walk and run stay where they are, as on a treadmill"}
BONE_MAP = {
    "name": "Bone Map",
    "description": "JSON file that says which bone is which joint; empty finds it from the bones' names",
    "subtype": "FILE_PATH",
}


def is_source(_settings: object, obj: bpy.types.Object) -> bool:
    """Whether an object can serve as the source of a motion."""
    return obj.type == "ARMATURE" and obj.get(ROLE) is None


class HUMANSPLAT_PG_motion(bpy.types.PropertyGroup):
    """Choices of the motion panel."""

    source: bpy.props.PointerProperty(
        type=bpy.types.Object, name="Source", description="Armature that has the motion", poll=is_source
    )
    bone_map: bpy.props.StringProperty(**BONE_MAP)
    library: bpy.props.EnumProperty(items=LIBRARY, name="Motion")
    in_place: bpy.props.BoolProperty(**IN_PLACE)


CLASSES = (HUMANSPLAT_PG_motion,)


def register() -> None:
    """Give scenes the settings."""
    bpy.types.Scene.humansplat_motion = bpy.props.PointerProperty(type=HUMANSPLAT_PG_motion)


def unregister() -> None:
    """Undo :func:`register`."""
    del bpy.types.Scene.humansplat_motion
