"""The library of motions and poses as action assets of an avatar, for the asset browser."""

from __future__ import annotations

import bpy
import numpy as np

from ...backend.avatar.motion_library import LibraryEntry, library
from .action import removed_on_failure
from .apply import ApplyOptions, motion_action
from .avatar import check_animatable, rest_joints
from .picture import SIZE, pose_picture
from .transfer import library_motion

_ASSET_OF = "humansplat_asset"
"""On actions: which avatar and which library entry they are of, so that they are not made twice."""


def make_motion_assets(context: bpy.types.Context, avatar_armature: bpy.types.Object) -> list[bpy.types.Action]:
    """One action marked as an asset for each motion and pose of the library, made for this avatar.

    Those that were made for the same avatar before are replaced. The avatar itself stays as it is.

    Raises:
        MotionError: in one sentence; nothing has changed.
    """
    check_animatable(avatar_armature)
    rest = rest_joints(avatar_armature)
    made: list[bpy.types.Action] = []
    with removed_on_failure(made):
        for entry in library():
            motion, options = library_motion(entry.name, rest, False, ApplyOptions(keys="source"))
            action = motion_action(context, avatar_armature, motion, options)
            made.append(action)
            _mark(action, entry, pose_picture(motion.poses[_shown(entry, len(motion))], rest), len(motion) > 1)
    for action in [action for action in bpy.data.actions if action.get(_ASSET_OF) == avatar_armature.name]:
        # Those in use stay with their users, but are no assets any more.
        action.asset_clear()
        del action[_ASSET_OF]
        if action.users <= int(action.use_fake_user):
            bpy.data.actions.remove(action)
    for action, entry in zip(made, library()):
        action.name = f"{avatar_armature.name} {entry.label}"
        action[_ASSET_OF] = avatar_armature.name
    return made


def _shown(entry: LibraryEntry, count: int) -> int:
    """The frame that tells a motion best: a quarter into it, where steps are widest; the end where it comes to rest."""
    return count // 4 if entry.loops else count - 1


def _mark(action: bpy.types.Action, entry: LibraryEntry, picture: np.ndarray, moves: bool) -> None:
    action.use_fake_user = True
    action.asset_mark()
    data = action.asset_data
    data.description = entry.description
    data.author = "HumanSplat"
    for tag in ("HumanSplat", "motion" if moves else "pose", *(["loop"] if entry.loops else [])):
        data.tags.new(tag, skip_if_exists=True)
    preview = action.preview_ensure()
    preview.image_size = (SIZE, SIZE)
    preview.image_pixels_float.foreach_set(picture.ravel())
