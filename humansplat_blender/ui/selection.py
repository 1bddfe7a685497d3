"""A click on any part of an avatar selects all of it, its armature active: then G moves it, Ctrl-Tab poses it, Shift-D
copies it and Delete deletes it. Needs the add-on; files work without, one object at a time."""

from __future__ import annotations

import bpy

from .. import scene
from . import preferences

_OWNER = object()


def select_whole(context: bpy.types.Context) -> bool:
    """Select all of the avatar that the active object belongs to; whether anything changed."""
    active = context.view_layer.objects.active
    if active is None or context.mode != "OBJECT" or not active.select_get():
        return False
    avatar = scene.find_avatar(active)
    if avatar is None:
        return False
    members = [obj for obj in avatar.objects if obj.name in context.view_layer.objects]
    if avatar.armature not in members or (
        active == avatar.armature and all(obj.select_get() for obj in members if obj.visible_get())
    ):
        return False
    for obj in members:
        obj.select_set(True)
    context.view_layer.objects.active = avatar.armature
    return True


def _active_changed() -> None:
    if preferences.get().select_whole_avatar:
        select_whole(bpy.context)


@bpy.app.handlers.persistent
def _subscribe(*_arguments: object) -> None:
    bpy.msgbus.clear_by_owner(_OWNER)
    bpy.msgbus.subscribe_rna(
        key=(bpy.types.LayerObjects, "active"), owner=_OWNER, args=(), notify=_active_changed, options={"PERSISTENT"}
    )


def register() -> None:
    """Listen to clicks, in every file."""
    _subscribe()
    bpy.app.handlers.load_post.append(_subscribe)


def unregister() -> None:
    """Stop listening."""
    bpy.app.handlers.load_post.remove(_subscribe)
    bpy.msgbus.clear_by_owner(_OWNER)
