"""Node group that makes splats follow the triangles of a deforming mesh, live and without any handler."""

from __future__ import annotations

import bpy

from .build import Socket, Tree, ensure_group

NAME = "HumanSplat Bind"
VERSION = 1

# Attribute names on the splat object; `splats.py` fills them.
VERTICES = ("bind:vertex_0", "bind:vertex_1", "bind:vertex_2")
BARYCENTRIC = "bind:barycentric"
OFFSET = "bind:offset"
ROTATION = "bind:rotation"
REST_AREA = "bind:rest_area"

STRETCH_LIMITS = (0.5, 2.0)

SOCKETS = (
    Socket("Geometry", "NodeSocketGeometry", output=True),
    Socket("Geometry", "NodeSocketGeometry"),
    Socket("Surface", "NodeSocketObject", description="The deforming mesh that the splats are bound to"),
)


def bind_group() -> bpy.types.NodeTree:
    """The shared bind group: inputs `Geometry`, `Surface`; sets position, `rotation` and `scale` of every splat.

    With v0, v1, v2 the evaluated triangle, e1 = v1 - v0, n = e1 x (v2 - v0) normalised:
    position = sum(barycentric * v) + offset * n; rotation = [e1^, n x e1^, n] * bind:rotation;
    scale *= sqrt(area / bind:rest_area) clamped to `STRETCH_LIMITS`.
    """
    return ensure_group(NAME, VERSION, SOCKETS, _build)


def _build(tree: Tree) -> None:
    inputs = tree.group_input()
    surface = tree.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    tree.feed(surface.inputs["Object"], inputs["Surface"])
    position = tree.node("GeometryNodeInputPosition").outputs[0]
    corners = [
        tree.call(
            "GeometryNodeSampleIndex",
            {"Geometry": surface.outputs["Geometry"], "Value": position, "Index": tree.attribute(name, "INT")},
            data_type="FLOAT_VECTOR",
            domain="POINT",
        )
        for name in VERTICES
    ]
    edge_1 = tree.vector("SUBTRACT", corners[1], corners[0])
    edge_2 = tree.vector("SUBTRACT", corners[2], corners[0])
    cross = tree.vector("CROSS_PRODUCT", edge_1, edge_2)
    double_area = tree.vector("LENGTH", cross)
    normal = tree.vector("NORMALIZE", cross)

    weights = tree.separate(tree.attribute(BARYCENTRIC, "FLOAT_VECTOR"))
    # The weights sum to one, so v0 + b1 e1 + b2 e2 is the same point with one product less.
    point = tree.vector("MULTIPLY_ADD", edge_1, weights[1], corners[0])
    point = tree.vector("MULTIPLY_ADD", edge_2, weights[2], point)
    point = tree.vector("MULTIPLY_ADD", normal, tree.attribute(OFFSET, "FLOAT"), point)

    ratio = tree.math("DIVIDE", tree.math("MULTIPLY", double_area, 0.5), tree.attribute(REST_AREA, "FLOAT"))
    stretch = tree.math("MINIMUM", tree.math("MAXIMUM", tree.math("SQRT", ratio), STRETCH_LIMITS[0]), STRETCH_LIMITS[1])
    scale = tree.vector("SCALE", tree.attribute("scale", "FLOAT_VECTOR"), stretch)

    frame = tree.call(
        "FunctionNodeAxesToRotation",
        {"Primary Axis": normal, "Secondary Axis": edge_1},
        primary_axis="Z",
        secondary_axis="X",
    )
    rotation = tree.call(
        "FunctionNodeRotateRotation",
        {"Rotation": tree.attribute(ROTATION, "QUATERNION"), "Rotate By": frame},
        rotation_space="GLOBAL",
    )
    # Captured together, the triangles are sampled once; each node below on its own would sample them again.
    geometry, (point, rotation, scale) = tree.capture(
        inputs["Geometry"], (("VECTOR", point), ("ROTATION", rotation), ("VECTOR", scale))
    )
    geometry = tree.store(geometry, "rotation", "QUATERNION", rotation)
    geometry = tree.store(geometry, "scale", "FLOAT_VECTOR", scale)
    geometry = tree.call("GeometryNodeSetPosition", {"Geometry": geometry, "Position": point})
    tree.group_output(Geometry=geometry)
