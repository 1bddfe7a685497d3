"""The splat object: attributes on a point cloud (or on loose vertices before Blender 5.1), bound to a surface."""

from __future__ import annotations

import bpy
import numpy as np

from ...backend.avatar.package import Avatar
from ...backend.avatar.skinning import triangle_areas
from . import attributes, convert
from .attributes import PointValues
from .nodes import bind
from .nodes.build import set_input
from .nodes.display import display_group

BIND_MODIFIER = "Bind to Body"
DISPLAY_MODIFIER = "Splats"


def has_native_splats() -> bool:
    """Whether this Blender draws Gaussian splats itself (5.3 and later)."""
    kind = bpy.types.PointCloud.bl_rna.properties.get("type")
    return kind is not None and "GAUSSIAN_SPLAT" in kind.enum_items


def plan_splats(avatar: Avatar) -> PointValues:
    """Point attributes of the avatar's splats at rest, in Blender's axes; numpy only, for any thread.

    `position` (metres), `rotation` (quaternion wxyz), `scale` (linear standard deviations, metres), `radiance:base`
    (raw DC r, g, b and opacity 0..1), the binding `bind:*` that :mod:`.nodes.bind` describes, and, where the package
    says it, `seen` (0..1: how far the photo shows the splat; the rest is imagined).
    """
    gaussians, skin = avatar.gaussians, avatar.skin
    rest_area = triangle_areas(avatar.body.surface_vertices, skin.vertex_ids)
    radiance_type = "FLOAT4" if attributes.has_data_type("FLOAT4") else "FLOAT_COLOR"
    seen = {} if skin.seen is None else {"seen": ("FLOAT", skin.seen)}
    return {
        "position": ("FLOAT_VECTOR", convert.to_blender(gaussians.position)),
        "rotation": ("QUATERNION", convert.orientations_to_blender(gaussians.rotation)),
        "scale": ("FLOAT_VECTOR", gaussians.scale),
        "radiance:base": (radiance_type, np.column_stack([gaussians.sh_dc, gaussians.opacity])),
        # The binding is relative to frames of the mesh, so it is the same in every space.
        **{key: ("INT", skin.vertex_ids[:, corner].copy()) for corner, key in enumerate(bind.VERTICES)},
        bind.BARYCENTRIC: ("FLOAT_VECTOR", skin.barycentric),
        bind.OFFSET: ("FLOAT_VECTOR", skin.offset),
        bind.ROTATION: ("QUATERNION", skin.rotation),
        bind.REST_AREA: ("FLOAT", rest_area.astype(np.float32)),
        **seen,
    }


def create_splats(values: PointValues, name: str) -> bpy.types.Object:
    """A splat object with the attributes of :func:`plan_splats`, not linked to any collection and not yet bound."""
    data = _carrier(name, len(values["position"][1]))
    try:
        attributes.write_points(data, values)
        return bpy.data.objects.new(name, data)
    except BaseException:
        bpy.data.batch_remove([data])
        raise


def bind_splats(splats: bpy.types.Object, surface: bpy.types.Object) -> None:
    """Make the splats follow the evaluated `surface` and, where Blender cannot do it itself, draw them."""
    modifier = splats.modifiers.new(BIND_MODIFIER, "NODES")
    modifier.node_group = bind.bind_group()
    set_input(modifier, "Surface", surface)
    if not has_native_splats():
        modifier = splats.modifiers.new(DISPLAY_MODIFIER, "NODES")
        modifier.node_group = display_group()
        set_input(modifier, "Surface", surface)
    # Cycles would trace shadow and bounce rays through every splat, and splats only emit.
    splats.visible_shadow = False
    splats.visible_diffuse = False


def _carrier(name: str, count: int) -> bpy.types.Mesh | bpy.types.PointCloud:
    cloud = bpy.data.pointclouds.new(name)
    if hasattr(cloud, "resize"):
        cloud.resize(count)
        if has_native_splats():
            cloud.type = "GAUSSIAN_SPLAT"
        return cloud
    # Scripts cannot set the size of a point cloud before Blender 5.1; loose vertices carry the same attributes.
    bpy.data.pointclouds.remove(cloud)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(count)
    return mesh
