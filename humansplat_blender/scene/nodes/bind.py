"""Node group that makes splats follow a deforming mesh, live and without any handler."""

from __future__ import annotations

from typing import Any

import bpy

from ....backend.avatar.skinning import STRETCH_LIMITS
from .build import Socket, Tree, ensure_group

NAME = "HumanSplat Bind"
VERSION = 2

# Attribute names on the splat object; `splats.py` fills them.
VERTICES = ("bind:vertex_0", "bind:vertex_1", "bind:vertex_2")
BARYCENTRIC = "bind:barycentric"
OFFSET = "bind:offset"
ROTATION = "bind:rotation"
REST_AREA = "bind:rest_area"
# And on the mesh; `body.py` fills them.
REFERENCE = ("bind:reference_0", "bind:reference_1", "bind:reference_2")

SOCKETS = (
    Socket("Geometry", "NodeSocketGeometry", output=True),
    Socket("Geometry", "NodeSocketGeometry"),
    Socket("Surface", "NodeSocketObject", description="The deforming mesh that the splats are bound to"),
)


def bind_group() -> bpy.types.NodeTree:
    """The shared bind group: inputs `Geometry`, `Surface`; sets position, `rotation` and `scale` of every splat.

    With v0, v1, v2 the evaluated triangle, and R = [e1^, n x e1^, n] the frame of the reference triangle of v0, where
    e1 is its first edge and n its normal:
    position = sum(barycentric * v) + R * bind:offset; rotation = R * bind:rotation;
    scale *= sqrt(area / bind:rest_area) clamped to `STRETCH_LIMITS`.
    """
    return ensure_group(NAME, VERSION, SOCKETS, _build)


def _build(tree: Tree) -> None:
    inputs = tree.group_input()
    surface = tree.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    tree.feed(surface.inputs["Object"], inputs["Surface"])
    mesh = surface.outputs["Geometry"]
    place = tree.node("GeometryNodeInputPosition").outputs[0]
    indices = [tree.attribute(name, "INT") for name in VERTICES]
    corners = [_sample(tree, mesh, place, index, "FLOAT_VECTOR") for index in indices]
    edge_1 = tree.vector("SUBTRACT", corners[1], corners[0])
    edge_2 = tree.vector("SUBTRACT", corners[2], corners[0])
    double_area = tree.vector("LENGTH", tree.vector("CROSS_PRODUCT", edge_1, edge_2))
    frame = _sample(tree, mesh, _frame(tree, place), indices[0], "QUATERNION")

    weights = tree.separate(tree.attribute(BARYCENTRIC, "FLOAT_VECTOR"))
    # The weights sum to one, so v0 + b1 e1 + b2 e2 is the same point with one product less.
    point = tree.vector("MULTIPLY_ADD", edge_1, weights[1], corners[0])
    point = tree.vector("MULTIPLY_ADD", edge_2, weights[2], point)
    offset = tree.call(
        "FunctionNodeRotateVector", {"Vector": tree.attribute(OFFSET, "FLOAT_VECTOR"), "Rotation": frame}
    )
    point = tree.vector("ADD", point, offset)

    ratio = tree.math("DIVIDE", tree.math("MULTIPLY", double_area, 0.5), tree.attribute(REST_AREA, "FLOAT"))
    stretch = tree.math("MINIMUM", tree.math("MAXIMUM", tree.math("SQRT", ratio), STRETCH_LIMITS[0]), STRETCH_LIMITS[1])
    scale = tree.vector("SCALE", tree.attribute("scale", "FLOAT_VECTOR"), stretch)
    rotation = tree.call(
        "FunctionNodeRotateRotation",
        {"Rotation": tree.attribute(ROTATION, "QUATERNION"), "Rotate By": frame},
        rotation_space="GLOBAL",
    )
    # Captured together, the mesh is sampled once; each node below on its own would sample it again.
    geometry, (point, rotation, scale) = tree.capture(
        inputs["Geometry"], (("VECTOR", point), ("ROTATION", rotation), ("VECTOR", scale))
    )
    geometry = tree.store(geometry, "rotation", "QUATERNION", rotation)
    geometry = tree.store(geometry, "scale", "FLOAT_VECTOR", scale)
    geometry = tree.call("GeometryNodeSetPosition", {"Geometry": geometry, "Position": point})
    tree.group_output(Geometry=geometry)


def _frame(tree: Tree, place: Any) -> Any:
    """Field on the mesh: the frame of each vertex' reference triangle."""
    corners = [
        tree.call(
            "GeometryNodeFieldAtIndex",
            {"Value": place, "Index": tree.attribute(name, "INT")},
            data_type="FLOAT_VECTOR",
            domain="POINT",
        )
        for name in REFERENCE
    ]
    edge = tree.vector("SUBTRACT", corners[1], corners[0])
    normal = tree.vector("CROSS_PRODUCT", edge, tree.vector("SUBTRACT", corners[2], corners[0]))
    return tree.call(
        "FunctionNodeAxesToRotation",
        {"Primary Axis": normal, "Secondary Axis": edge},
        primary_axis="Z",
        secondary_axis="X",
    )


def _sample(tree: Tree, mesh: Any, value: Any, index: Any, data_type: str) -> Any:
    return tree.call(
        "GeometryNodeSampleIndex",
        {"Geometry": mesh, "Value": value, "Index": index},
        data_type=data_type,
        domain="POINT",
    )
