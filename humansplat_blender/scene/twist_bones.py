"""Twist bones: upper arm and forearm that turn along their length, not at the joint, so that skin is not wrung.

Linear blending pinches the skin where a bone is turned about its length against its neighbour. Twist bones share the
weights of upper arm and forearm along the bone. The first is turned back by the bone's own twist, so that it stays with
the joint above; the others turn from it towards the bone's own twist and that of the hand. Twist is what remains of a
rotation without its swing, so poses without twist look exactly as before.

This is an option: `backend.avatar.skinning`, exports and measurements are those of the plain avatar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from . import bone_look, rig_parts
from .armature import CONTROL, control_bone
from .rig_parts import SIDES

_WEIGHTS = "humansplat_plain_weight:"
"""Attributes of the mesh: what weights the segment's bone had, to give back."""
_SAME = 1e-5
"""Weights that add up to the old ones but for this have not been painted on."""


@dataclass(frozen=True)
class Segment:
    """A bone whose skin turns along its length.

    Attributes:
        joint: the bone's joint.
        end: the joint whose twist its far end takes over; None: the bone's own.
        marks: marks of its twist bones, from head to tail.
        knots: where along the bone each of them has its full weight, 0..1; without `end`, at 1 the bone has it itself.
    """

    joint: str
    end: str | None
    marks: tuple[str, ...]
    knots: tuple[float, ...]


def _segments() -> Iterator[Segment]:
    for side in SIDES:
        for part, joint, end, knots in (
            ("upper_arm", "shoulder", None, (0.0, 1 / 3, 2 / 3)),
            ("forearm", "elbow", "wrist", (0.0, 1 / 3, 2 / 3, 1.0)),
        ):
            marks = tuple(f"{side}_{part}_twist_{number + 1}" for number in range(len(knots)))
            yield Segment(f"{side}_{joint}", f"{side}_{end}" if end else None, marks, knots)


SEGMENTS = tuple(_segments())


def has_twist_bones(armature: bpy.types.Object) -> bool:
    """Whether :func:`add_twist_bones` has been at work."""
    return control_bone(armature, SEGMENTS[0].marks[0]) is not None


def add_twist_bones(context: bpy.types.Context, armature: bpy.types.Object, body: bpy.types.Object) -> None:
    """Add twist bones and share the body's weights among them; nothing where they are there.

    Args:
        context: whose view layer has the armature.
        armature: the avatar's armature.
        body: the object with its skin, in its rest shape in the armature's space.

    Raises:
        ValueError: bones are missing or cannot be edited; one sentence.
    """
    if has_twist_bones(armature):
        return
    joints = rig_parts.bone_of_joint(armature)
    names: dict[str, str] = {}
    with rig_parts.edit_bones(context, armature) as bones:
        for segment in SEGMENTS:
            whole = bones[joints[segment.joint].name]
            parent = whole
            for mark, knot in zip(segment.marks, segment.knots):
                bone = rig_parts.copy_bone(bones, whole, mark, parent)
                bone.head = whole.head + min(knot, 0.9) * whole.vector
                bone.tail = bone.head + 0.1 * whole.vector
                bone.roll = whole.roll
                bone.use_deform = True
                names[mark] = bone.name
                parent = bones[names[segment.marks[0]]]
    for mark, name in names.items():
        armature.data.bones[name][CONTROL] = mark
    marked = rig_parts.marked_bones(armature)
    joints = rig_parts.bone_of_joint(armature)
    for segment in SEGMENTS:
        own = rig_parts.twist_of(joints[segment.joint])
        both = [own, rig_parts.twist_of(joints[segment.end])] if segment.end else [own]
        for number, (mark, knot) in enumerate(zip(segment.marks, segment.knots)):
            bone = marked[mark]
            bone.rotation_mode = "YXZ"
            bone.lock_location = bone.lock_rotation = bone.lock_scale = (True, True, True)
            variables, factor = ([own], -1.0) if number == 0 else (both, knot)
            rig_parts.drive(bone, "rotation_euler", variables, armature, factor, index=1)
        _share_weights(armature, body, segment, joints[segment.joint].bone, [marked[mark] for mark in segment.marks])
    rig_parts.assign(armature, "Twist", [marked[mark].bone for mark in names])
    armature.data.collections["Twist"].is_visible = False
    for mark in names:
        bone_look.colour_by_side(marked[mark].bone, mark)
    armature.update_tag()
    context.view_layer.update()


def remove_twist_bones(context: bpy.types.Context, armature: bpy.types.Object, body: bpy.types.Object) -> None:
    """Remove twist bones; their weights go back to the bones that had them, the very same where nobody painted on."""
    if not has_twist_bones(armature):
        return
    rig_parts.check_editable(context, armature)
    marked = rig_parts.marked_bones(armature)
    joints = rig_parts.bone_of_joint(armature)
    names = []
    for segment in SEGMENTS:
        bones = [marked[mark] for mark in segment.marks if mark in marked]
        if not bones:
            continue
        _gather_weights(body, segment, joints[segment.joint].name, [bone.name for bone in bones])
        for bone in bones:
            bone.driver_remove("rotation_euler", 1)
            names.append(bone.name)
    rig_parts.remove_bones(context, armature, names)
    collection = armature.data.collections.get("Twist")
    if collection is not None and not len(collection.bones):
        armature.data.collections.remove(collection)
    context.view_layer.update()


def _share_weights(
    armature: bpy.types.Object,
    body: bpy.types.Object,
    segment: Segment,
    whole: bpy.types.Bone,
    bones: list[bpy.types.PoseBone],
) -> None:
    """Split the weights of a bone among its twist bones by how far along it vertices are; sums stay."""
    vertices, weights = next(iter(_weights(body, [whole.name]).values()))
    mesh = body.data
    plain = np.zeros(len(mesh.vertices), dtype=np.float32)
    plain[vertices] = weights
    name = _WEIGHTS + segment.joint
    attribute = mesh.attributes.get(name) or mesh.attributes.new(name, "FLOAT", "POINT")
    attribute.data.foreach_set("value", plain)

    places = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", places)
    to_armature = np.array(armature.matrix_world.inverted() @ body.matrix_world)
    points = places.reshape(-1, 3)[vertices] @ to_armature[:3, :3].T + to_armature[:3, 3]
    start, along = np.array(whole.head_local), np.array(whole.tail_local - whole.head_local)
    share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    knots = np.array(segment.knots if segment.end else (*segment.knots, 1.0))
    # Each knot's part falls from 1 to 0 towards its neighbours; the parts add up to 1.
    parts = np.maximum(0.0, 1.0 - np.abs(share[:, None] - knots) * (len(knots) - 1))
    groups = [body.vertex_groups.get(bone.name) or body.vertex_groups.new(name=bone.name) for bone in bones]
    whole_group = body.vertex_groups[whole.name]
    if segment.end is None:
        groups.append(whole_group)
    else:
        whole_group.remove(vertices.tolist())
    for group, part in zip(groups, (weights[:, None] * parts).T):
        _set_weights(group, vertices, part)


def _gather_weights(body: bpy.types.Object, segment: Segment, whole: str, parts: list[str]) -> None:
    """Undo :func:`_share_weights`."""
    mesh = body.data
    total = np.zeros(len(mesh.vertices))
    for vertices, weights in _weights(body, [whole, *parts]).values():
        total[vertices] += weights
    attribute = mesh.attributes.get(_WEIGHTS + segment.joint)
    if attribute is not None:
        plain = np.empty(len(mesh.vertices), dtype=np.float32)
        attribute.data.foreach_get("value", plain)
        total = np.where(np.abs(total - plain) < _SAME, plain, total)
        mesh.attributes.remove(attribute)
    group = body.vertex_groups.get(whole) or body.vertex_groups.new(name=whole)
    _set_weights(group, np.flatnonzero(total > 0), total[total > 0])
    for name in parts:
        if name in body.vertex_groups:
            body.vertex_groups.remove(body.vertex_groups[name])


def _set_weights(group: bpy.types.VertexGroup, vertices: np.ndarray, weights: np.ndarray) -> None:
    """Set weights of vertices; those of 0 leave the group."""
    group.remove(vertices[weights <= 0].tolist())
    for vertex, weight in zip(vertices.tolist(), weights.tolist()):
        if weight > 0:
            group.add((vertex,), weight, "REPLACE")


def _weights(body: bpy.types.Object, names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Vertex ids [n] and weights [n] of vertex groups by name; groups that are missing have none."""
    wanted = {group.index: group.name for group in body.vertex_groups if group.name in names}
    found: dict[str, tuple[list[int], list[float]]] = {name: ([], []) for name in names}
    for vertex in body.data.vertices:
        for entry in vertex.groups:
            name = wanted.get(entry.group)
            if name is not None:
                found[name][0].append(vertex.index)
                found[name][1].append(entry.weight)
    return {name: (np.array(ids, dtype=np.int64), np.array(values)) for name, (ids, values) in found.items()}
