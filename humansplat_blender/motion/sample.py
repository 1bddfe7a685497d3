"""Any armature of the scene as a clip: its bones as Blender evaluates them, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import bpy
import numpy as np

from ...backend.avatar.bone_maps import BoneMap, find_map
from ...backend.avatar.clips import Clip
from ...backend.avatar.motion import MotionError
from ..scene import convert
from .action import animated_values_kept

MAX_POSES = 16_000_000
"""Frames times bones read at once, as for BVH files."""


def armature_bone_map(armature: bpy.types.Object) -> BoneMap:
    """The shipped bone map that fits an armature.

    Raises:
        MotionError: none fits.
    """
    return find_map(bone.name for bone in armature.data.bones)


def scene_rate(scene: bpy.types.Scene) -> float:
    """Frames a second."""
    return scene.render.fps / scene.render.fps_base


def animated_range(scene: bpy.types.Scene, armature: bpy.types.Object) -> tuple[int, int]:
    """First and last frame of what moves an armature: its action, otherwise its NLA strips, otherwise the scene's."""
    animation = armature.animation_data
    ranges: list[tuple[float, float]] = []
    if animation is not None and animation.action is not None:
        ranges = [tuple(animation.action.frame_range)]
    elif animation is not None:
        ranges = [(s.frame_start, s.frame_end) for t in animation.nla_tracks if not t.mute for s in t.strips]
    if not ranges:
        return scene.frame_start, scene.frame_end
    return int(np.floor(min(start for start, _ in ranges))), int(np.ceil(max(stop for _, stop in ranges)))


def sample_armature(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    frame_start: float,
    frame_end: float,
    step: float = 1.0,
    bone_map: BoneMap | None = None,
) -> Clip:
    """The mapped bones of an armature in the world, with constraints, drivers and the object's own transform.

    The frames are evaluated in a scene of their own that holds nothing but the armature and what it depends on, so that
    avatars need not be skinned for it and the user's scene stays at its frame.

    Args:
        context: whose scene says the frame rate.
        armature: any armature object, hidden or not.
        frame_start, frame_end: both are read.
        step: frames between two samples.
        bone_map: which bones to read; found by the names where None.

    Returns:
        metres (the object's scale included), y up. The rest pose is that of the armature's data under the object's
        transform in the first frame. Bones without a size (scale 0) keep their rest axes.

    Raises:
        MotionError: bones are missing, the range is empty or too long.
    """
    if armature.type != "ARMATURE":
        raise MotionError(f"{armature.name} is no armature.")
    bone_map = bone_map or armature_bone_map(armature)
    names, parents = _skeleton(armature, bone_map)
    if not (step > 0 and frame_end >= frame_start):
        raise MotionError(f"The frames {frame_start:g} to {frame_end:g} in steps of {step:g} are none.")
    count = int((frame_end - frame_start) / step + 1e-6) + 1
    if count * len(names) > MAX_POSES:
        raise MotionError(f"{count} frames are too many to read at once; choose a part of them.")

    bones, objects = _evaluate(context.scene, armature, names, frame_start + step * np.arange(count))
    rest = objects[0] @ _matrices(armature.data.bones, "matrix_local", names)
    rest_axes = _axes(rest[:, :3, :3], np.eye(3))
    world = objects[:, None] @ bones
    return Clip(
        names=names,
        parents=parents,
        rest_positions=convert.from_blender(rest[:, :3, 3]),
        rest_rotations=convert.TO_BLENDER.T @ rest_axes,
        rotations=convert.TO_BLENDER.T @ _axes(world[..., :3, :3], rest_axes),
        positions=convert.from_blender(world[..., :3, 3]),
        fps=scene_rate(context.scene) / step,
        name=_motion_name(armature),
    )


def turned(clip: Clip, turn: np.ndarray) -> Clip:
    """The clip with its whole world, rest pose included, turned by a rotation [3, 3]."""
    return replace(
        clip,
        rest_positions=clip.rest_positions @ turn.T,
        rest_rotations=turn @ clip.rest_rotations,
        rotations=turn @ clip.rotations,
        positions=clip.positions @ turn.T,
    )


def _motion_name(armature: bpy.types.Object) -> str:
    action = armature.animation_data.action if armature.animation_data else None
    return action.name if action is not None else armature.name


def _skeleton(armature: bpy.types.Object, bone_map: BoneMap) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and parents of the mapped bones, parents first; a parent is the nearest mapped ancestor."""
    bones = armature.data.bones
    lost = [bone for bone in bone_map.bones.values() if bone not in bones]
    if lost:
        raise MotionError(f"{armature.name} has no bone {lost[0]!r}, which the bone map {bone_map.name} names.")
    names = tuple(sorted(bone_map.bones.values(), key=lambda name: len(bones[name].parent_recursive)))
    parents = []
    for name in names:
        mapped = (bone.name for bone in bones[name].parent_recursive if bone.name in names)
        parent = next(mapped, None)
        parents.append(-1 if parent is None else names.index(parent))
    return names, tuple(parents)


def _evaluate(
    scene: bpy.types.Scene, armature: bpy.types.Object, names: tuple[str, ...], frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of the bones in the armature [T, J, 4, 4] and of the object in the world [T, 4, 4]."""
    bones = np.empty((len(frames), len(names), 4, 4))
    objects = np.empty((len(frames), 4, 4))
    with evaluation_double(armature) as double, evaluation_scene(scene, double) as stage:
        layer = stage.view_layers[0]
        with animated_values_kept([shown.original for shown in layer.depsgraph.ids if shown.original != double]):
            for place, frame in enumerate(frames.tolist()):
                whole = int(np.floor(frame))
                stage.frame_set(whole, subframe=frame - whole)
                evaluated = double.evaluated_get(layer.depsgraph)
                objects[place] = evaluated.matrix_world
                bones[place] = _matrices(evaluated.pose.bones, "matrix", names)
    return bones, objects


@contextmanager
def evaluation_double(armature: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """A visible copy of an armature, in its pose and not in its rest position; gone afterwards.

    Blender writes animated values into what it evaluates, and evaluates nothing that is hidden.
    """
    double, data = armature.copy(), armature.data.copy()
    try:
        double.data = data
        double.hide_viewport = False
        data.pose_position = "POSE"
        yield double
    finally:
        bpy.data.batch_remove([double, data])


@contextmanager
def evaluation_scene(scene: bpy.types.Scene, armature: bpy.types.Object) -> Iterator[bpy.types.Scene]:
    """A scene with the armature alone, at the same frame rate; gone afterwards."""
    stage = bpy.data.scenes.new("HumanSplat Sampling")
    try:
        for name in ("fps", "fps_base", "frame_map_old", "frame_map_new"):
            setattr(stage.render, name, getattr(scene.render, name))
        stage.collection.objects.link(armature)
        stage.view_layers[0].update()
        yield stage
    finally:
        bpy.data.scenes.remove(stage)


def _matrices(bones: bpy.types.bpy_prop_collection, attribute: str, names: tuple[str, ...]) -> np.ndarray:
    """A matrix property [J, 4, 4] of the named bones, read in one go."""
    values = np.empty(len(bones) * 16, dtype=np.float32)
    bones.foreach_get(attribute, values)
    index = {name: place for place, name in enumerate(bones.keys())}
    # Blender stores matrices column by column.
    return values.reshape(-1, 4, 4)[[index[name] for name in names]].transpose(0, 2, 1).astype(np.float64)


def _axes(matrices: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """Rotations [..., 3, 3] of matrices with scale and shear: y (along the bone) keeps its direction, x its side.

    Mirrored ones come out with z turned round, in the rest pose as in each frame, which leaves turns between the two as
    they are. Matrices without a size give ``instead``.
    """
    x, y = matrices[..., 0], matrices[..., 1]
    length = np.linalg.norm(y, axis=-1, keepdims=True)
    along = y / np.where(length > 1e-9, length, 1)
    side = x - along * np.sum(along * x, axis=-1, keepdims=True)
    width = np.linalg.norm(side, axis=-1, keepdims=True)
    side = side / np.where(width > 1e-9, width, 1)
    axes = np.stack([side, along, np.cross(side, along)], axis=-1)
    return np.where(((length > 1e-9) & (width > 1e-9))[..., None], axes, instead)
