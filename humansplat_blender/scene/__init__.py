"""Avatars in Blender: splats, body, armature and how they are drawn. Works without the user interface."""

from .armature import apply_pose, joint_bones, joint_names, key_pose, photo_pose, read_pose, rest_pose
from .bake import read_splats, readable
from .importer import PreparedAvatar, import_avatar, prepare_avatar
from .lifecycle import delete_avatar, duplicate_avatar, replace_avatar, select_avatar
from .roles import ImportedAvatar, avatar_armature, find_armature, find_avatar, scene_avatars
from .setup import add_photo_camera, match_render_size, scene_setup
from .sharing import merge_shared
from .splats import has_native_splats
from .static_splats import import_splats
from .viewport import DISPLAY_INPUTS, display_modifier, display_property, suit_viewport

__all__ = [
    "DISPLAY_INPUTS",
    "ImportedAvatar",
    "PreparedAvatar",
    "add_photo_camera",
    "apply_pose",
    "avatar_armature",
    "delete_avatar",
    "display_modifier",
    "display_property",
    "duplicate_avatar",
    "find_armature",
    "find_avatar",
    "has_native_splats",
    "import_avatar",
    "import_splats",
    "joint_bones",
    "joint_names",
    "key_pose",
    "match_render_size",
    "merge_shared",
    "photo_pose",
    "prepare_avatar",
    "read_pose",
    "read_splats",
    "readable",
    "replace_avatar",
    "rest_pose",
    "scene_avatars",
    "scene_setup",
    "select_avatar",
    "suit_viewport",
]
