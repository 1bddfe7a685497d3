"""The actions of an avatar as motions, frame by frame as Blender evaluates them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from ...backend.avatar.formats.types import ExportError
from ...backend.avatar.motion import Motion, standing_height
from ..motion.action import Assigned, action_curves, animated_values_kept, assign, assigned, layered
from ..motion.avatar import rest_joints
from ..motion.sample import evaluation_double, evaluation_scene, scene_rate
from ..scene.armature import joint_bones, read_pose, standing

MAXIMUM_FRAMES = 20_000


def avatar_actions(armature: bpy.types.Object, every: bool = True) -> list[Assigned]:
    """Actions that move an avatar's bones: the one it has, those of its NLA strips and, with ``every``, of the file.

    An action comes once, in the slot that moves the avatar where there are slots.
    """
    found: dict[str, Assigned] = {}
    for known in _own_actions(armature):
        if known.action is not None:
            found.setdefault(known.action.name_full, known)
    if every:
        for action in bpy.data.actions:
            slots = [slot for slot in action.slots if slot.target_id_type == "OBJECT"] if layered() else [None]
            for slot in slots:
                if action.name_full not in found and _moves(armature, action, slot):
                    found[action.name_full] = Assigned(action, slot)
    return list(found.values())


def action_motions(context: bpy.types.Context, armature: bpy.types.Object, actions: Sequence[Assigned]) -> list[Motion]:
    """Each action as a motion in avatar space, at the scene's frame rate, with constraints and inverse kinematics.

    The armature object's own transform is left out. What the user sees stays as it is.

    Raises:
        ExportError: bones are missing, or an action is too long.
    """
    rate = scene_rate(context.scene)
    try:
        joint_bones(armature)
    except ValueError as error:
        raise ExportError(str(error).rstrip(".")) from error
    height = standing_height(rest_joints(armature))
    motions = []
    with evaluation_double(armature) as double, evaluation_scene(context.scene, double) as stage:
        layer = stage.view_layers[0]
        for track in double.animation_data.nla_tracks if double.animation_data else ():
            track.mute = True
        with animated_values_kept([shown.original for shown in layer.depsgraph.ids if shown.original != double]):
            for what in actions:
                assign(double, what)
                first, last = (round(frame) for frame in what.action.frame_range)
                if last - first >= MAXIMUM_FRAMES:
                    raise ExportError(
                        f"The action {what.action.name} has {last - first + 1} frames; split it into parts of at most "
                        f"{MAXIMUM_FRAMES}"
                    )
                poses, places = [], []
                for frame in range(first, last + 1):
                    stage.frame_set(frame)
                    pose, place = read_pose(double, layer.depsgraph)
                    poses.append(pose)
                    places.append(place - standing(armature))
                motions.append(Motion(np.stack(poses), np.stack(places), rate, height, what.action.name))
    return motions


def _own_actions(armature: bpy.types.Object) -> Iterator[Assigned]:
    yield assigned(armature)
    if armature.animation_data is not None:
        for track in armature.animation_data.nla_tracks:
            for strip in track.strips:
                if strip.action is not None:
                    yield Assigned(strip.action, strip.action_slot if layered() else None)


def _moves(armature: bpy.types.Object, action: bpy.types.Action, slot: object) -> bool:
    """Whether an action turns two bones of the avatar or more; one may be of any rig."""
    bones = {f'pose.bones["{bpy.utils.escape_identifier(bone.name)}"]' for bone in joint_bones(armature)}
    moved = {curve.data_path.rpartition(".")[0] for curve in action_curves(action, slot)}
    return len(bones & moved) > 1
