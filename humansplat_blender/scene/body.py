"""The body object: the clothed mesh that Solid view and Blender's exporters show, and the points that splats ride on.

Both are vertices of one mesh, skinned by one Armature modifier, or by two where the avatar is posed by a share of dual
quaternions: first those of the surface that carries the splats,
without faces, so that nothing shows the body under the clothes; then the clothed mesh with its faces.
"""

from __future__ import annotations

import bmesh
import bpy
import numpy as np

from ...backend.avatar.clothed_mesh import ClothedMesh
from ...backend.avatar.package import Avatar
from ...backend.avatar.skinning import standing_translation
from . import attributes, convert
from .nodes import bind
from .nodes.core import DEPTH
from .nodes.sway import ROOM

# A weight this small moves a vertex by less than 1e-5 m.
_SMALLEST_WEIGHT = 1e-6
KEEP_VOLUME = "Keep Volume"
"""The vertex group that says how far bends keep their volume, 0 to 1 (it may be painted), and the modifier for it."""


def create_body(
    avatar: Avatar,
    clothed: ClothedMesh,
    room: np.ndarray,
    core: np.ndarray,
    armature: bpy.types.Object,
    name: str,
) -> bpy.types.Object:
    """The body object with a vertex group for each joint and what deforms it; in no collection.

    Args:
        avatar: with V vertices of the surface that carries splats.
        clothed: C more vertices, with faces.
        room: [V + C] metres, see :func:`.sway.room_of`.
        core: [C] metres, see :func:`.core.core_depth`.
        armature: what moves it.
        name: of object and mesh.

    The first Armature modifier blends linearly. The second one deforms what the first was given, by dual quaternions,
    and replaces the first one's result by the share in the group ``KEEP_VOLUME``: see `skinning.vertex_transforms`.
    """
    body = avatar.body
    count = len(body.surface_vertices)
    vertices = np.concatenate([body.surface_vertices, clothed.vertices]) + standing_translation(avatar)
    weights = np.concatenate([body.surface_weights, clothed.weights])
    if avatar.preserve_volume > 0:
        # Both blends leave what follows one joint alone where that joint is: it need not be posed twice.
        blended = weights.max(axis=1) < 1 - _SMALLEST_WEIGHT
        weights = np.column_stack([weights, avatar.preserve_volume * blended])
    mesh = create_mesh(name, convert.to_blender(vertices), clothed.faces + count, weights)
    try:
        references = np.concatenate([body.reference_triangles, np.zeros((len(clothed.vertices), 3), dtype=np.int32)])
        attributes.write_points(
            mesh,
            {name: ("INT", references[:, corner]) for corner, name in enumerate(bind.REFERENCE)}
            | {ROOM: ("FLOAT", room), DEPTH: ("FLOAT", np.concatenate([np.zeros(count), core]))},
        )
        obj = bpy.data.objects.new(name, mesh)
    except BaseException:
        bpy.data.batch_remove([mesh])
        raise
    for joint in avatar.joint_names:
        obj.vertex_groups.new(name=joint)
    obj.modifiers.new("Armature", "ARMATURE").object = armature
    if avatar.preserve_volume > 0:
        obj.vertex_groups.new(name=KEEP_VOLUME)
        modifier = obj.modifiers.new(KEEP_VOLUME, "ARMATURE")
        modifier.object, modifier.vertex_group = armature, KEEP_VOLUME
        modifier.use_multi_modifier = modifier.use_deform_preserve_volume = True
    obj.parent = armature
    # Renders show the splats; of this mesh they see the shadow alone, which splats would cast at many times the cost.
    for ray in ("camera", "diffuse", "glossy", "transmission", "volume_scatter"):
        setattr(obj, f"visible_{ray}", False)
    return obj


def create_mesh(name: str, vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> bpy.types.Mesh:
    """A smooth triangle mesh of vertices [V, 3] (metres, Blender's axes), faces [F, 3] and deform weights [V, J]."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(vertices, dtype=np.float32).ravel())
    fill_vertex_groups(mesh, weights)  # before there are faces, which would be copied back and forth with it
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, dtype=np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    return mesh


def fill_vertex_groups(mesh: bpy.types.Mesh, weights: np.ndarray) -> None:
    """Write weights [V, J] as the mesh's deform weights; group j is column j.

    Much faster than `VertexGroup.add`, which takes one weight a call.
    """
    rows, columns = np.nonzero(weights > _SMALLEST_WEIGHT)
    values = weights[rows, columns].tolist()
    work = bmesh.new()
    try:
        work.from_mesh(mesh)
        layer = work.verts.layers.deform.verify()
        work.verts.ensure_lookup_table()
        entries = [vertex[layer] for vertex in work.verts]
        for row, column, value in zip(rows.tolist(), columns.tolist(), values):
            entries[row][column] = value
        work.to_mesh(mesh)
    finally:
        work.free()
