"""Keeps splats out of Blender's exporters that would write the shape of each of them, or hardly ever end.

USD and Alembic evaluate the scene as a render does, and so do PLY and STL since Blender 5: an avatar is then a hundred
thousand instances. While the file browser of such an exporter is open, and while it writes, splats are hidden from
renders; the body object, the clothed mesh with its armature, is what they write. HumanSplat's own export writes splats.
"""

from __future__ import annotations

import bpy

from .. import scene

_EXPORTERS = {"WM_OT_usd_export", "WM_OT_alembic_export", "WM_OT_ply_export", "WM_OT_stl_export"}
_INTERVAL = 0.5
_handle: object | None = None
_hidden: list[bpy.types.Object] = []


def hide_splats() -> None:
    """Hide every avatar's splats from renders, until :func:`show_splats`."""
    for blender_scene in bpy.data.scenes:
        for avatar in scene.scene_avatars(blender_scene):
            if not avatar.splats.hide_render and avatar.splats.library is None:
                avatar.splats.hide_render = True
                _hidden.append(avatar.splats)


def show_splats() -> None:
    """Show what :func:`hide_splats` has hidden."""
    while _hidden:
        splats = _hidden.pop()
        try:
            splats.hide_render = False
        except ReferenceError:  # deleted meanwhile
            continue


def _is_exporting() -> bool:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            operator = area.spaces.active.active_operator if area.type == "FILE_BROWSER" else None
            if operator is not None and operator.bl_idname in _EXPORTERS:
                return True
    return False


def _browser_drawn() -> None:
    # Drawing may not change data: a timer does, and sees when the browser has gone and the exporter has written.
    if not bpy.app.timers.is_registered(_watch) and _is_exporting():
        bpy.app.timers.register(_watch, first_interval=0.0)


def _watch() -> float | None:
    if _is_exporting():
        hide_splats()
        return _INTERVAL
    show_splats()
    return None


def register() -> None:
    """Look at every file browser."""
    global _handle
    _handle = bpy.types.SpaceFileBrowser.draw_handler_add(_browser_drawn, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """Stop looking."""
    global _handle
    if _handle is not None:
        bpy.types.SpaceFileBrowser.draw_handler_remove(_handle, "WINDOW")
        _handle = None
    if bpy.app.timers.is_registered(_watch):
        bpy.app.timers.unregister(_watch)
    show_splats()
