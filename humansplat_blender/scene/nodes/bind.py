"""Node group that makes splats follow a deforming mesh, live and without any handler."""

from __future__ import annotations

from typing import Any

import bpy

from ....backend.avatar.skinning import STRETCH_LIMITS
from .build import Socket, Tree, ensure_group

NAME = "HumanSplat Bind"
VERSION = 3

# Attribute names on the splat object; `splats.py` fills them.
VERTICES = ("bind:vertex_0", "bind:vertex_1", "bind:vertex_2")
BARYCENTRIC = "bind:barycentric"
OFFSET = "bind:offset"
ROTATION = "bind:rotation"
REST_AREA = "bind:rest_area"
# And on the mesh; `body.py` fills them.
REFERENCE = ("bind:reference_0", "bind:reference_1", "bind:reference_2")

SURFACE = "Surface"
# Inputs that tell how much larger the mesh is than when the splats were bound: Blender's Apply Scale changes the mesh's
# vertices, but not attributes such as the splats' scales. 0 metres stand for files that do not say.
UNIT_VERTICES = ("Unit Vertex 0", "Unit Vertex 1")
UNIT_LENGTH = "Unit Length"

SOCKETS = (
    Socket("Geometry", "NodeSocketGeometry", output=True),
    Socket("Geometry", "NodeSocketGeometry"),
    Socket(SURFACE, "NodeSocketObject", description="The deforming mesh that the splats are bound to"),
    Socket(UNIT_VERTICES[0], "NodeSocketInt", default=0, description="A vertex of a rigid part of the mesh"),
    Socket(UNIT_VERTICES[1], "NodeSocketInt", default=0, description="Another vertex of the same part"),
    Socket(
        UNIT_LENGTH,
        "NodeSocketFloat",
        default=0.0,
        description="How far these were apart when the splats were bound; tells whether the mesh has been scaled since",
    ),
)


def bind_group() -> bpy.types.NodeTree:
    """The shared bind group: inputs `Geometry`, `Surface`; sets position, `rotation` and `scale` of every splat.

    With v0, v1, v2 the evaluated triangle, and R = [e1^, n x e1^, n] the frame of the reference triangle of v0, where
    e1 is its first edge and n its normal:
    position = sum(barycentric * v) + u R * bind:offset; rotation = R * bind:rotation;
    scale *= u clamp(sqrt(area / bind:rest_area) / u, `STRETCH_LIMITS`), with u the growth of the unit length.
    """
    return ensure_group(NAME, VERSION, SOCKETS, _build)


def _build(tree: Tree) -> None:
    inputs = tree.group_input()
    surface = tree.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    tree.feed(surface.inputs["Object"], inputs[SURFACE])
    mesh = surface.outputs["Geometry"]
    place = tree.node("GeometryNodeInputPosition").outputs[0]
    indices = [tree.attribute(name, "INT") for name in VERTICES]
    corners = [tree.sample(mesh, place, index) for index in indices]
    edge_1 = tree.vector("SUBTRACT", corners[1], corners[0])
    edge_2 = tree.vector("SUBTRACT", corners[2], corners[0])
    double_area = tree.vector("LENGTH", tree.vector("CROSS_PRODUCT", edge_1, edge_2))
    frame = tree.sample(mesh, _frame(tree, place), indices[0], "QUATERNION")

    weights = tree.separate(tree.attribute(BARYCENTRIC, "FLOAT_VECTOR"))
    # The weights sum to one, so v0 + b1 e1 + b2 e2 is the same point with one product less.
    point = tree.vector("MULTIPLY_ADD", edge_1, weights[1], corners[0])
    point = tree.vector("MULTIPLY_ADD", edge_2, weights[2], point)
    unit = _unit(tree, mesh, place, inputs)
    offset = tree.vector("SCALE", tree.attribute(OFFSET, "FLOAT_VECTOR"), unit)
    offset = tree.call("FunctionNodeRotateVector", {"Vector": offset, "Rotation": frame})
    point = tree.vector("ADD", point, offset)

    ratio = tree.math("DIVIDE", tree.math("MULTIPLY", double_area, 0.5), tree.attribute(REST_AREA, "FLOAT"))
    stretch = tree.math("DIVIDE", tree.math("SQRT", ratio), unit)
    stretch = tree.math("MINIMUM", tree.math("MAXIMUM", stretch, STRETCH_LIMITS[0]), STRETCH_LIMITS[1])
    scale = tree.vector("SCALE", tree.attribute("scale", "FLOAT_VECTOR"), tree.math("MULTIPLY", stretch, unit))
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


def _unit(tree: Tree, mesh: Any, place: Any, inputs: Any) -> Any:
    """How many times larger the mesh is than when the splats were bound; one number for all splats."""
    first, second = (tree.sample(mesh, place, inputs[name]) for name in UNIT_VERTICES)
    length = tree.vector("LENGTH", tree.vector("SUBTRACT", second, first))
    known = tree.math("GREATER_THAN", inputs[UNIT_LENGTH], 0.0)
    return tree.switch(known, 1.0, tree.math("DIVIDE", length, inputs[UNIT_LENGTH]), "FLOAT")


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
