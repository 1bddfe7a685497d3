"""A GLB of ours as FBX, by Blender's own importer and exporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from ...backend.avatar.formats.atomic import whole_file
from ...backend.avatar.formats.types import ExportError
from ..motion.action import assigned, push_down

_BLOCKS = (
    "objects", "collections", "meshes", "armatures", "materials", "images", "textures", "actions", "node_groups",
    "cameras", "lights", "worlds",
)  # fmt: skip


def write_fbx(context: bpy.types.Context, glb: str | Path, path: str | Path) -> None:
    """Write the mesh, skeleton, texture and clips of a GLB as FBX; the open file stays as it is.

    Metres, y up, without leaf bones, all clips as takes: what Unity and Unreal expect.

    Raises:
        ExportError: an add-on of Blender's that this needs is off, or the file cannot be written.
    """
    try:
        _write(context, glb, path)
    except RuntimeError as error:  # of Blender's operators
        reason = str(error).strip().splitlines()[-1].removeprefix("Error: ")
        raise ExportError(f"Blender could not write the FBX ({reason}); use the GLB") from error


def _write(context: bpy.types.Context, glb: str | Path, path: str | Path) -> None:
    if not hasattr(bpy.types, "IMPORT_SCENE_OT_gltf") or not hasattr(bpy.types, "EXPORT_SCENE_OT_fbx"):
        raise ExportError("FBX needs Blender's own add-ons for glTF and FBX; switch them on in the preferences")
    with _passing_scene(context), whole_file(path) as temporary:
        bpy.ops.import_scene.gltf(filepath=str(glb), bone_heuristic="BLENDER", guess_original_bind_pose=False)
        for obj in bpy.context.scene.objects:
            # The importer adds a shape for bones, which is nobody's mesh.
            obj.select_set(obj.type == "ARMATURE" or (obj.type == "MESH" and obj.find_armature() is not None))
            if obj.type == "ARMATURE":
                _show_clips(obj)
        bpy.ops.export_scene.fbx(
            filepath=str(temporary),
            check_existing=False,
            use_selection=True,
            object_types={"ARMATURE", "MESH"},
            apply_scale_options="FBX_SCALE_ALL",
            add_leaf_bones=False,
            bake_anim=True,
            # Not all actions: those of the open file's own avatars would come along.
            bake_anim_use_nla_strips=True,
            bake_anim_use_all_actions=False,
            bake_anim_force_startend_keying=True,
            path_mode="COPY",
            embed_textures=True,
            mesh_smooth_type="FACE",
        )


def _show_clips(armature: bpy.types.Object) -> None:
    """Have each clip as a strip of its own that is exported; the object's name is the one that Unreal leaves out."""
    armature.name = "Armature"
    animation = armature.animation_data
    if animation is None:
        return
    if animation.action is not None and not animation.nla_tracks:
        push_down(armature, assigned(armature))
    animation.action = None
    for track in animation.nla_tracks:
        track.mute = False
        for strip in track.strips:
            strip.name = track.name  # the action's own name may be taken by one of the open file


@contextmanager
def _passing_scene(context: bpy.types.Context) -> Iterator[None]:
    """An empty scene in the window; it and everything that was made in it are gone afterwards."""
    before = {name: set(getattr(bpy.data, name)) for name in _BLOCKS}
    # A timer's context has no window of its own.
    window = context.window or next(iter(context.window_manager.windows), None)
    scene = bpy.data.scenes.new("HumanSplat Export")
    former = window.scene if window is not None else None
    try:
        if window is None:
            with context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
                yield
        else:
            window.scene = scene
            yield
    finally:
        if former is not None:
            window.scene = former
        bpy.data.scenes.remove(scene)
        new = [block for name in _BLOCKS for block in getattr(bpy.data, name) if block not in before[name]]
        bpy.data.batch_remove(new)
