"""How the armature looks: bone collections, colours by side, and wire shapes that fit the body."""

from __future__ import annotations

import bpy
import numpy as np

from . import rig_parts
from .armature import joint_bones
from .rig_parts import SIDES

_SHAPE = "humansplat_shape"
"""On objects and their meshes: which shape they are, whatever they are called."""
COLLECTIONS = ("Root", "Torso", "Head", "Left Arm", "Right Arm", "Left Leg", "Right Leg", "Controls", "Twist")
MECHANISM = "Mechanism"
"""Collection of the bones that only constraints use; hidden."""
_THEMES = {"left": "THEME04", "right": "THEME01", "": "THEME09"}
_ROOT_THEME = "THEME03"
_LIMBS = {
    **dict.fromkeys(("hip", "knee", "ankle", "foot"), "Leg"),
    **dict.fromkeys(("collar", "shoulder", "elbow", "wrist", "hand"), "Arm"),
}
# Rings where the body has no vertices to measure, as shares of the distance from pelvis to neck.
_RADII = {
    **dict.fromkeys(("pelvis", "spine1", "spine2", "spine3"), 0.34),
    **{"head": 0.22, "neck": 0.14, "hip": 0.18, "knee": 0.13, "ankle": 0.11, "foot": 0.1},
    **{"collar": 0.14, "shoulder": 0.11, "elbow": 0.1, "wrist": 0.09, "hand": 0.09},
}
_CLEARANCE = 1.15
"""Ring over the body's own radius, so that it stands off the skin."""
_SAMPLES = 6000
"""Vertices of the body to measure; every so many-th, since reading weights is slow."""


def style_armature(armature: bpy.types.Object, body: bpy.types.Object | None = None) -> None:
    """Sort the bones into collections, colour them by side and give them shapes; may be called again.

    Args:
        armature: the avatar's armature.
        body: its body object, for the rings' sizes; without it they have usual proportions.
    """
    merge_shapes()
    joints = rig_parts.bone_of_joint(armature)
    radii = _radii(armature, body)
    for name in COLLECTIONS[:-2]:
        if name not in armature.data.collections:
            armature.data.collections.new(name)
    for (joint, pose_bone), radius in zip(joints.items(), radii):
        side, _, part = joint.rpartition("_")
        collection = f"{side.title()} {_LIMBS[part]}" if part in _LIMBS else "Torso"
        rig_parts.assign(armature, "Head" if part in ("neck", "head") else collection, [pose_bone.bone])
        pose_bone.bone.color.palette = _THEMES.get(side, _THEMES[""])
        length = max(pose_bone.bone.length, 1e-6)
        set_shape(pose_bone, "ring", (radius / length, 1.0, radius / length))
    root = rig_parts.root_bone(armature)
    rig_parts.assign(armature, "Root", [root.bone])
    root.bone.color.palette = _ROOT_THEME
    set_shape(root, "ground", (1.6, 1.6, 1.6))
    armature.data.display_type = "STICK"  # of bones without a shape
    armature.data.show_bone_custom_shapes = True
    armature.data.show_bone_colors = True


def colour_by_side(bone: bpy.types.Bone, control: str) -> None:
    """Colour a bone for the side that the name of its mark starts with."""
    side = control.partition("_")[0]
    bone.color.palette = _THEMES.get(side, _THEMES[""])


def set_shape(bone: bpy.types.PoseBone, kind: str, scale: tuple[float, float, float]) -> None:
    """Draw a bone as the wire shape `kind`, `scale` bone lengths large along the bone's axes."""
    bone.custom_shape = shape_object(kind)
    bone.use_custom_shape_bone_size = True
    bone.custom_shape_scale_xyz = scale
    bone.bone.show_wire = True
    if hasattr(bone, "custom_shape_wire_width"):
        bone.custom_shape_wire_width = 2.0


def shape_object(kind: str) -> bpy.types.Object:
    """The wire object that all avatars of this file share; it is in no scene, and goes with its last bone."""
    for obj in bpy.data.objects:
        if obj.get(_SHAPE) == kind and obj.library is None and obj.type == "MESH":
            return obj
    vertices, edges = _SHAPES[kind]()
    name = f"HumanSplat Shape {kind.title()}"
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), edges.tolist(), [])
    obj = bpy.data.objects.new(name, mesh)
    obj[_SHAPE] = mesh[_SHAPE] = kind
    return obj


def merge_shapes() -> None:
    """Make all bones use one object a shape, in no collection: pasting brings copies along, and puts them into one."""
    first: dict[str, bpy.types.Object] = {}
    spare: list[bpy.types.ID] = []
    shapes = [o for o in bpy.data.objects if _SHAPE in o and o.library is None and o.type == "MESH"]
    for obj in sorted(shapes, key=lambda shape: bool(shape.users_collection)):
        kept = first.setdefault(obj[_SHAPE], obj)
        if kept != obj:
            obj.user_remap(kept)
            spare.append(obj)
    for obj in (*first.values(), *spare):  # what was remapped is in the copy's collections
        for collection in obj.users_collection:
            collection.objects.unlink(obj)
    meshes = {obj.data for obj in spare}
    bpy.data.batch_remove(spare)
    bpy.data.batch_remove([mesh for mesh in meshes if mesh.users == 0])


def remove_unused_shapes() -> None:
    """Remove the shapes that no bone uses any more."""
    unused = [obj for obj in bpy.data.objects if _SHAPE in obj and obj.library is None and obj.users == 0]
    meshes = [obj.data for obj in unused if obj.data is not None]
    bpy.data.batch_remove(unused)
    bpy.data.batch_remove([mesh for mesh in meshes if mesh.users == 0])


def _radii(armature: bpy.types.Object, body: bpy.types.Object | None) -> list[float]:
    """Radius of each joint's ring, metres at rest, alike on both sides."""
    bones = [bone.bone for bone in joint_bones(armature)]
    names = rig_parts.joint_names(armature)
    neck = bones[names.index("neck")] if "neck" in names else bones[-1]
    torso = (neck.head_local - bones[0].head_local).length
    found = {name: torso * _RADII.get(name.rpartition("_")[2], 0.12) for name in names}
    if body is not None:
        found.update(_measured(bones, names, body))
    for name in names:
        part = name.rpartition("_")[2]
        sides = [f"{side}_{part}" for side in SIDES]
        if name in sides:
            found[name] = max(found[side] for side in sides if side in found)
    return [found[name] for name in names]


def _measured(bones: list[bpy.types.Bone], names: tuple[str, ...], body: bpy.types.Object) -> dict[str, float]:
    """How far the skin of each joint is from its bone's middle, square to the bone; joints with little skin lack."""
    groups = {group.index: group.name for group in body.vertex_groups}
    joints = {bone.name: name for bone, name in zip(bones, names)}
    by_joint: dict[str, list[tuple[float, ...]]] = {}
    vertices = body.data.vertices
    for index in range(0, len(vertices), max(1, len(vertices) // _SAMPLES)):
        vertex = vertices[index]
        main = max(vertex.groups, key=lambda entry: entry.weight, default=None)
        joint = joints.get(groups.get(main.group)) if main is not None and main.weight > 0.5 else None
        if joint is not None:
            by_joint.setdefault(joint, []).append(tuple(vertex.co))
    found = {}
    for bone, name in zip(bones, names):
        if len(by_joint.get(name, ())) < 12:
            continue
        start, along = np.array(bone.head_local), np.array(bone.tail_local - bone.head_local)
        offset = np.array(by_joint[name]) - start
        share = offset @ along / (along @ along)
        distance = np.linalg.norm(offset - share[:, None] * along, axis=1)
        found[name] = float(np.quantile(distance, 0.8)) * _CLEARANCE
    return found


def _circle(count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A unit circle [n, 2] and its edges [n, 2]."""
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([np.cos(angle), np.sin(angle)], -1), np.stack(
        [np.arange(count), (np.arange(count) + 1) % count], -1
    )


def _ring() -> tuple[np.ndarray, np.ndarray]:
    """Around the bone's middle."""
    circle, edges = _circle()
    return np.stack([circle[:, 0], np.full(len(circle), 0.5), circle[:, 1]], -1), edges


def _hoop() -> tuple[np.ndarray, np.ndarray]:
    """Around the bone's head."""
    circle, edges = _circle()
    return np.stack([circle[:, 0], np.zeros(len(circle)), circle[:, 1]], -1), edges


def _ground() -> tuple[np.ndarray, np.ndarray]:
    """In the plane of the bone's x and y axes, with an arrow along y."""
    circle, edges = _circle()
    flat = np.concatenate([circle, [[-0.2, 1.05], [0.2, 1.05], [0.0, 1.35]]])
    arrow = len(circle) + np.array([[0, 1], [1, 2], [2, 0]])
    return np.pad(flat, ((0, 0), (0, 1))), np.concatenate([edges, arrow])


def _box() -> tuple[np.ndarray, np.ndarray]:
    """From head to tail, one bone length wide and thick."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    pairs = [[a, b] for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
    return corners, np.array(pairs)


def _diamond() -> tuple[np.ndarray, np.ndarray]:
    """Around the bone's head, a bone length from tip to tip."""
    corners = 0.5 * np.concatenate([np.eye(3), -np.eye(3)])
    pairs = [[a, b] for a in range(6) for b in range(a) if a - b != 3]
    return corners, np.array(pairs)


def _lever() -> tuple[np.ndarray, np.ndarray]:
    """An arc square to the bone's x axis, from behind it to before it, for a control that is turned about x."""
    angle = np.radians(np.linspace(-60, 60, 13))
    arc = np.stack([np.zeros(13), np.cos(angle), np.sin(angle)], -1)
    corners = np.concatenate([arc, 0.8 * arc])
    row = np.stack([np.arange(12), np.arange(1, 13)], -1)
    return corners, np.concatenate([row, row + 13, [[0, 13], [12, 25]]])


def _square() -> tuple[np.ndarray, np.ndarray]:
    """Level around the head of a bone that points up."""
    corners = np.array([[-1.0, 0, -1.0], [1.0, 0, -1.0], [1.0, 0, 1.0], [-1.0, 0, 1.0]])
    return corners, np.array([[0, 1], [1, 2], [2, 3], [3, 0]])


_SHAPES = {
    "ring": _ring,
    "hoop": _hoop,
    "ground": _ground,
    "box": _box,
    "diamond": _diamond,
    "lever": _lever,
    "square": _square,
}
