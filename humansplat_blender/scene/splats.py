"""The splat object: attributes on loose vertices (on a point cloud where Blender draws splats itself), bound to a body.

Loose vertices, also where scripts can make point clouds: Blender's exporters and painting tools expect a mesh.
"""

from __future__ import annotations

import bpy
import numpy as np

from ...backend.avatar.package import Avatar
from ...backend.avatar.skinning import outward_axes, standing_translation, triangle_areas
from . import attributes, convert
from .attributes import PointValues
from .nodes import bind
from .nodes.build import set_input
from .nodes.display import BODY, display_group
from .nodes.material import AXIS

BIND_MODIFIER = "Bind to Body"
DISPLAY_MODIFIER = "Splats"

_RIGID = 0.99999  # skinning weight above which a vertex follows one joint alone, to a hundredth of a millimetre a metre


def has_native_splats() -> bool:
    """Whether this Blender draws Gaussian splats itself (5.3 and later)."""
    kind = bpy.types.PointCloud.bl_rna.properties.get("type")
    return kind is not None and "GAUSSIAN_SPLAT" in kind.enum_items


def plan_splats(avatar: Avatar) -> PointValues:
    """Point attributes of the avatar's splats at rest, in Blender's axes; numpy only, for any thread.

    `position` (metres), `rotation` (quaternion wxyz), `scale` (linear standard deviations, metres), `radiance:base`
    (raw DC r, g, b and opacity 0..1), the binding `bind:*` that :mod:`.nodes.bind` describes, `splat:axis` (the normal
    for lamps, along one of the splat's own axes), and, where the package
    says it, `seen` (0..1: how far the photo shows the splat; the rest is imagined).
    """
    gaussians, skin = avatar.gaussians, avatar.skin
    rest_area = triangle_areas(avatar.body.surface_vertices, skin.vertex_ids)
    radiance_type = "FLOAT4" if attributes.has_data_type("FLOAT4") else "FLOAT_COLOR"
    seen = {} if skin.seen is None else {"seen": ("FLOAT", skin.seen)}
    return {
        "position": ("FLOAT_VECTOR", convert.to_blender(gaussians.position + standing_translation(avatar))),
        "rotation": ("QUATERNION", convert.orientations_to_blender(gaussians.rotation)),
        "scale": ("FLOAT_VECTOR", gaussians.scale),
        "radiance:base": (radiance_type, np.column_stack([gaussians.sh_dc, gaussians.opacity])),
        # The binding is relative to frames of the mesh, so it is the same in every space.
        **{key: ("INT", skin.vertex_ids[:, corner].copy()) for corner, key in enumerate(bind.VERTICES)},
        bind.BARYCENTRIC: ("FLOAT_VECTOR", skin.barycentric),
        bind.OFFSET: ("FLOAT_VECTOR", skin.offset),
        bind.ROTATION: ("QUATERNION", skin.rotation),
        bind.REST_AREA: ("FLOAT", rest_area.astype(np.float32)),
        AXIS: ("FLOAT_VECTOR", outward_axes(avatar)),
        **seen,
    }


def unit_edge(avatar: Avatar) -> tuple[int, int, float]:
    """Two vertices of the surface that no pose moves against each other, far apart, and their distance in metres."""
    vertices, weights = avatar.body.surface_vertices.astype(np.float64), avatar.body.surface_weights
    best = (0, 0, 0.0)
    for joint in range(weights.shape[1]):
        rigid = np.flatnonzero(weights[:, joint] > _RIGID)
        if len(rigid) > 1:
            span = np.ptp(vertices[rigid], axis=0)
            axis = int(span.argmax())
            along = vertices[rigid, axis]
            low, high = int(rigid[along.argmin()]), int(rigid[along.argmax()])
            length = float(np.linalg.norm(vertices[high] - vertices[low]))
            best = max(best, (low, high, length), key=lambda edge: edge[2])
    return best


def create_splats(values: PointValues, name: str) -> bpy.types.Object:
    """A splat object with the attributes of :func:`plan_splats`, not linked to any collection and not yet bound."""
    data = _carrier(name, len(values["position"][1]))
    try:
        attributes.write_points(data, values)
        return bpy.data.objects.new(name, data)
    except BaseException:
        bpy.data.batch_remove([data])
        raise


def bind_splats(splats: bpy.types.Object, surface: bpy.types.Object, unit: tuple[int, int, float]) -> None:
    """Make the splats follow the evaluated `surface` and, where Blender cannot do it itself, draw them.

    Args:
        splats: from :func:`create_splats`.
        surface: the body object.
        unit: from :func:`unit_edge`.
    """
    modifier = splats.modifiers.new(BIND_MODIFIER, "NODES")
    modifier.node_group = bind.bind_group()
    set_input(modifier, bind.SURFACE, surface)
    for name, value in zip((*bind.UNIT_VERTICES, bind.UNIT_LENGTH), unit):
        set_input(modifier, name, value)
    draw_splats(splats, surface)


def draw_splats(splats: bpy.types.Object, body: bpy.types.Object | None = None) -> None:
    """Have splats drawn, by our display group where Blender does not do it itself; with ``body``, over its core."""
    if not has_native_splats():
        modifier = splats.modifiers.new(DISPLAY_MODIFIER, "NODES")
        modifier.node_group = display_group()
        if body is not None:
            set_input(modifier, BODY, body)
    # Solid view then draws a box in place of the splats, which it cannot shade; the body object shows the person there.
    # Material Preview and Rendered view draw the splats all the same.
    splats.display_type = "BOUNDS"
    # Cycles would trace shadow and bounce rays through every splat, and splats only emit.
    splats.visible_shadow = False
    splats.visible_diffuse = False


def _carrier(name: str, count: int) -> bpy.types.Mesh | bpy.types.PointCloud:
    if has_native_splats():
        cloud = bpy.data.pointclouds.new(name)
        cloud.resize(count)
        cloud.type = "GAUSSIAN_SPLAT"
        return cloud
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(count)
    return mesh
