"""What exports need of Blender: the avatar with its edits, its actions as motions, FBX. The rest is in ``backend``."""

from .clips import action_motions, avatar_actions
from .fbx import write_fbx
from .source import scene_avatar

__all__ = ["action_motions", "avatar_actions", "scene_avatar", "write_fbx"]
