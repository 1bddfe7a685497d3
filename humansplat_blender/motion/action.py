"""Actions and their curves on every Blender version: legacy (4.2, 4.3), layered with slots (4.4 and later)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

# In curves that are made in bulk Blender takes enumerations as numbers.
_KEY = bpy.types.Keyframe.bl_rna.properties
_LINEAR = _KEY["interpolation"].enum_items["LINEAR"].value
_HANDLE = _KEY["handle_left_type"].enum_items["AUTO_CLAMPED"].value
_NAME_BYTES = 60


def layered() -> bool:
    """Whether actions have slots."""
    return "slots" in bpy.types.Action.bl_rna.properties


def new_action(name: str, obj: bpy.types.Object) -> bpy.types.Action:
    """An empty action for an object, with a slot where there are slots."""
    action = bpy.data.actions.new(name.encode()[:_NAME_BYTES].decode(errors="ignore") or "Motion")
    if layered():
        slot = action.slots.new(id_type="OBJECT", name=obj.name)
        action.layers.new("Layer").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
    else:
        action.id_root = "OBJECT"
    return action


def channels(action: bpy.types.Action) -> Any:
    """What holds `fcurves` and `groups` of an action of :func:`new_action`: its channel bag, or the action itself."""
    if layered():
        return action.layers[0].strips[0].channelbag(action.slots[0])
    return action


def add_curves(action: bpy.types.Action, path: str, group: str, frames: np.ndarray, values: np.ndarray) -> list:
    """Curves of one property with C components, with linear keys.

    Args:
        action: of :func:`new_action`.
        path: the property's data path.
        group: under which name the curves are listed.
        frames: [T], rising.
        values: [T, C].
    """
    bag = channels(action)
    listed = bag.groups.get(group) or bag.groups.new(group)
    points = np.empty((len(frames), 2), dtype=np.float32)
    points[:, 0] = frames
    curves = []
    for component, column in enumerate(np.asarray(values).T):
        curve = bag.fcurves.new(path, index=component)
        curve.group = listed
        keys = curve.keyframe_points
        keys.add(len(frames))
        points[:, 1] = column
        keys.foreach_set("co", points.ravel())
        keys.foreach_set("interpolation", np.full(len(frames), _LINEAR, dtype=np.int32))
        for side in ("handle_left_type", "handle_right_type"):
            keys.foreach_set(side, np.full(len(frames), _HANDLE, dtype=np.int32))
        curve.update()
        curves.append(curve)
    return curves


@dataclass(frozen=True)
class Assigned:
    """What an object had assigned."""

    action: bpy.types.Action | None
    slot: Any = None


def assigned(obj: bpy.types.Object) -> Assigned:
    """The object's action and slot."""
    animation = obj.animation_data
    if animation is None or animation.action is None:
        return Assigned(None)
    return Assigned(animation.action, animation.action_slot if layered() else None)


def assign(obj: bpy.types.Object, what: Assigned) -> None:
    """Give an object an action with its slot, or none."""
    animation = obj.animation_data or obj.animation_data_create()
    animation.action = what.action
    if what.action is not None and layered():
        animation.action_slot = what.slot


def own(action: bpy.types.Action) -> Assigned:
    """An action of :func:`new_action` for :func:`assign`."""
    return Assigned(action, action.slots[0] if layered() else None)


def push_down(obj: bpy.types.Object, former: Assigned) -> bpy.types.NlaTrack:
    """A track with the former action as its only strip, below what the object has assigned."""
    track = obj.animation_data.nla_tracks.new()
    try:
        track.name = former.action.name
        strip = track.strips.new(former.action.name, int(former.action.frame_range[0]), former.action)
        if layered() and former.slot is not None:
            strip.action_slot = former.slot
    except BaseException:
        obj.animation_data.nla_tracks.remove(track)
        raise
    return track


@contextmanager
def removed_on_failure(actions: list[bpy.types.Action]) -> Iterator[None]:
    """Delete the listed actions where what is done inside fails."""
    try:
        yield
    except BaseException:
        for action in actions:
            bpy.data.actions.remove(action)
        raise


@contextmanager
def animated_values_kept(owners: Iterable[bpy.types.ID]) -> Iterator[None]:
    """Properties that actions, NLA strips and drivers of `owners` move have their present values afterwards."""
    values = [(owner, path, _value(owner, path)) for owner in owners for path in sorted(_animated_paths(owner))]
    try:
        yield
    finally:
        for owner, path, value in values:
            if value is not None:
                _set_value(owner, path, value)


def _animated_paths(owner: bpy.types.ID) -> set[str]:
    animation = getattr(owner, "animation_data", None)
    if animation is None:
        return set()
    moving = [(animation.action, animation.action_slot if layered() else None)]
    for track in animation.nla_tracks:
        moving += [(strip.action, strip.action_slot if layered() else None) for strip in track.strips]
    paths = {driver.data_path for driver in animation.drivers}
    for action, slot in moving:
        if action is not None:
            paths.update(curve.data_path for curve in action_curves(action, slot))
    return paths


def action_curves(action: bpy.types.Action, slot: Any = None) -> list[bpy.types.FCurve]:
    """Curves of any action, of one slot where there are slots."""
    if not layered():
        return list(action.fcurves)
    bags = (strip.channelbag(slot) for layer in action.layers for strip in layer.strips if slot is not None)
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _value(owner: bpy.types.ID, path: str) -> Any:
    try:
        value = owner.path_resolve(path)
    except ValueError:
        return None  # the curve of something that is gone
    return value if isinstance(value, (bool, int, float, str)) else tuple(value)


def _set_value(owner: bpy.types.ID, path: str, value: Any) -> None:
    if path.endswith('"]'):
        holder, _, name = path.rpartition('["')
        (owner.path_resolve(holder) if holder else owner)[bpy.utils.unescape_identifier(name[:-2])] = value
    else:
        holder, _, name = path.rpartition(".")
        setattr(owner.path_resolve(holder) if holder else owner, name, value)
