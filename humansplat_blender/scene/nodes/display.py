"""Node group that draws splats where Blender cannot: points in the viewport, discs and ellipsoids in renders.

Both are drawn as :mod:`.edit` edits them.
"""

from __future__ import annotations

import math
from typing import Any

import bpy

from . import core, edit
from .build import Socket, Tree, ensure_group
from .material import (
    BALLS,
    DISCS,
    DRAWN_SCALE,
    ICOSPHERE_RADIUS,
    LIT,
    MINIMUM_ALPHA,
    MINIMUM_SCALE,
    POINTS,
    POINTS_ENLARGED,
    TURN,
    splat_material,
)

NAME = "HumanSplat Display"
VERSION = 6

SPLAT_SIZE = "Splat Size"
VIEWPORT_AMOUNT = "Viewport Amount"
EXACT_VIEWPORT = "Exact in Viewport"
LIT_BY_LAMPS = "Lit by Lamps"
BODY = "Body"

# A splat at most so thick against its middle axis is drawn as a disc across its thin axis: a ray meets it once instead
# of twice, and on a smaller area. What a disc misses of the ellipsoid lies where its alpha is next to nothing.
_FLAT = 0.4
_DISC_CORNERS = 8

# EEVEE draws a point as four triangles whose outline is a square inscribed in the point's disc.
POINT_RADIUS = 2.0**0.5

SOCKETS = (
    Socket("Geometry", "NodeSocketGeometry", output=True),
    Socket("Geometry", "NodeSocketGeometry"),
    Socket(SPLAT_SIZE, "NodeSocketFloat", default=1.0, minimum=0.0, maximum=10.0, description="Scales every splat"),
    Socket(
        VIEWPORT_AMOUNT,
        "NodeSocketFloat",
        default=100.0,
        minimum=1.0,
        maximum=100.0,
        subtype="PERCENTAGE",
        description="Share of the splats drawn in the viewport; fewer splats are drawn larger",
    ),
    Socket(
        EXACT_VIEWPORT,
        "NodeSocketBool",
        default=False,
        description="Draw the viewport with the render's sorted ellipsoids: exact, but slow to redraw",
    ),
    Socket(
        LIT_BY_LAMPS,
        "NodeSocketFloat",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        subtype="FACTOR",
        description="0: as photographed, whatever the lamps; 1: lit by the scene's lamps alone",
    ),
    Socket(BODY, "NodeSocketObject", description="The mesh whose inside stops rays that no splat has stopped"),
    *edit.SOCKETS,
)


def display_group() -> bpy.types.NodeTree:
    """The shared display group. Reads `rotation`, `scale`, `radiance:base`, `edit:*`; outputs points or instances."""
    return ensure_group(NAME, VERSION, SOCKETS, _build)


def _build(tree: Tree) -> None:
    inputs = tree.group_input()
    is_viewport = tree.call("GeometryNodeIsViewport", {})

    # Viewport share: every splat keeps its own place in a low-discrepancy order, so that lowering the share only
    # removes splats. The rest grow so that the covered area stays.
    share = tree.math("MULTIPLY", inputs[VIEWPORT_AMOUNT], 0.01)
    index = tree.node("GeometryNodeInputIndex").outputs[0]
    place = tree.math("FRACT", tree.math("MULTIPLY", tree.math("FLOORED_MODULO", index, 65536.0), 0.6180339887))
    fewer = tree.call(
        "GeometryNodeDeleteGeometry",
        {"Geometry": inputs["Geometry"], "Selection": tree.math("GREATER_THAN", place, share)},
        domain="POINT",
    )
    is_reduced = tree.call(
        "FunctionNodeBooleanMath", {0: is_viewport, 1: tree.math("LESS_THAN", share, 1.0)}, operation="AND"
    )
    splats = tree.switch(is_reduced, inputs["Geometry"], fewer)
    growth = tree.switch(is_reduced, 1.0, tree.math("DIVIDE", 1.0, tree.math("SQRT", share)), "FLOAT")
    size = tree.math("MULTIPLY", inputs[SPLAT_SIZE], growth)
    # After the viewport's share: removed splats would change the others' places in its order.
    splats = edit.edit_splats(tree, splats, inputs)

    scale = tree.vector("SCALE", tree.attribute("scale", "FLOAT_VECTOR"), size)
    rotation = tree.attribute("rotation", "QUATERNION")
    support = _support(tree)

    splats = tree.store(splats, LIT, "FLOAT", inputs[LIT_BY_LAMPS])
    body = tree.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    tree.feed(body.inputs["Object"], inputs[BODY])
    inside = core.core(tree, body.outputs["Geometry"], splats, inputs[LIT_BY_LAMPS])
    solids = tree.join(_solids(tree, splats, rotation, scale, support), inside)
    cloud = _points(tree, splats, rotation, scale, support)
    instance = tree.call("GeometryNodeGeometryToInstance", {"Geometry": cloud})
    smaller = {"Instances": instance, "Scale": (1.0 / POINTS_ENLARGED,) * 3, "Local Space": True}
    points = tree.call("GeometryNodeScaleInstances", smaller)
    # The object is displayed as its bounds in Solid view. For those of a point cloud inside an object Blender takes a
    # box of two metres: so the points are an instance, many times as large as they are and scaled down again, and that
    # box with them. The object's own bounds are those of its mesh: corners around the splats, which draw nothing.
    box = tree.call("GeometryNodeBoundBox", {"Geometry": splats}, "Bounding Box")
    corners = tree.call(
        "GeometryNodeDeleteGeometry", {"Geometry": box, "Selection": True}, domain="EDGE", mode="EDGE_FACE"
    )
    viewport = tree.switch(inputs[EXACT_VIEWPORT], tree.join(points, corners), solids)
    tree.group_output(Geometry=tree.switch(is_viewport, solids, viewport))


def _support(tree: Tree) -> Any:
    """Radius, in standard deviations, at which alpha falls to 1/255: sqrt(2 ln(255 opacity))."""
    radiance = tree.attribute("radiance:base", "FLOAT_COLOR")
    opacity = tree.call("FunctionNodeSeparateColor", {"Color": radiance}, "Alpha")
    logarithm = tree.math("LOGARITHM", tree.math("MULTIPLY", opacity, 1.0 / MINIMUM_ALPHA), 2.718281828459045)
    return tree.math("SQRT", tree.math("MAXIMUM", tree.math("MULTIPLY", logarithm, 2.0), 0.0))


def _solids(tree: Tree, splats: Any, rotation: Any, scale: Any, support: Any) -> Any:
    """An instance for each splat: a disc across the thin axis, or an icosphere where no axis is thin."""
    ball = tree.call("GeometryNodeMeshIcoSphere", {"Radius": 1.0, "Subdivisions": 1}, "Mesh")
    ball = tree.call("GeometryNodeSetMaterial", {"Geometry": ball, "Material": splat_material(BALLS)})
    # Instances are scaled for the icosphere, whose corners are farther out than those of a disc need be.
    radius = 1.0 / math.cos(math.pi / _DISC_CORNERS) / ICOSPHERE_RADIUS
    disc = tree.call("GeometryNodeMeshCircle", {"Vertices": _DISC_CORNERS, "Radius": radius}, "Mesh", fill_type="NGON")
    disc = tree.call("GeometryNodeSetMaterial", {"Geometry": disc, "Material": splat_material(DISCS)})

    size = tree.vector("MAXIMUM", scale, (MINIMUM_SCALE,) * 3)
    size = tree.vector("SCALE", size, tree.math("MULTIPLY", support, ICOSPHERE_RADIUS))
    x, y, z = tree.separate(scale)
    smallest = tree.math("MINIMUM", tree.math("MINIMUM", x, y), z)
    largest = tree.largest(x, y, z)
    middle = tree.math("SUBTRACT", tree.math("ADD", tree.math("ADD", x, y), z), tree.math("ADD", smallest, largest))
    is_flat = tree.math("LESS_THAN", smallest, tree.math("MULTIPLY", middle, _FLAT))
    thin_x = tree.math("MULTIPLY", is_flat, tree.math("SUBTRACT", 1.0, tree.math("GREATER_THAN", x, smallest)))
    thin_y = tree.math("SUBTRACT", 1.0, tree.math("GREATER_THAN", y, smallest))
    thin_y = tree.math("MULTIPLY", tree.math("SUBTRACT", is_flat, thin_x), thin_y)
    thin_z = tree.math("SUBTRACT", tree.math("SUBTRACT", is_flat, thin_x), thin_y)
    quarter = math.pi / 2
    instances = []
    for chosen, shape, turn in (
        (thin_x, disc, (0.0, quarter, 0.0)),
        (thin_y, disc, (quarter, 0.0, 0.0)),
        (thin_z, disc, None),
        (tree.math("SUBTRACT", 1.0, is_flat), ball, None),
    ):
        if turn is not None:
            shape = tree.call("GeometryNodeTransform", {"Geometry": shape, "Rotation": turn})
        points = {"Points": splats, "Selection": tree.math("GREATER_THAN", chosen, 0.5)}
        placed = {"Instance": shape, "Rotation": rotation, "Scale": size}
        instances.append(tree.call("GeometryNodeInstanceOnPoints", points | placed))
    return tree.join(*instances)


def _points(tree: Tree, splats: Any, rotation: Any, scale: Any, support: Any) -> Any:
    """Points whose material sees a ball that encloses the ellipsoid, `POINTS_ENLARGED` times as large."""
    # EEVEE's materials cannot read quaternions, but colours.
    w, x, y, z = tree.outputs("FunctionNodeRotationToQuaternion", {"Rotation": rotation})
    turn = tree.call("FunctionNodeCombineColor", {"Red": x, "Green": y, "Blue": z, "Alpha": w})
    geometry = tree.store(splats, TURN, "FLOAT_COLOR", turn)
    scale = tree.vector("SCALE", scale, POINTS_ENLARGED)
    geometry = tree.store(geometry, DRAWN_SCALE, "FLOAT_VECTOR", scale)
    place = tree.vector("SCALE", tree.node("GeometryNodeInputPosition").outputs[0], POINTS_ENLARGED)
    geometry = tree.call("GeometryNodeSetPosition", {"Geometry": geometry, "Position": place})
    x, y, z = tree.separate(scale)
    largest = tree.largest(x, y, z)
    radius = tree.math("MULTIPLY", largest, tree.math("MULTIPLY", support, POINT_RADIUS))
    # A carrier is a mesh of loose vertices or a point cloud; each node passes the other kind on or drops it.
    from_mesh = tree.call("GeometryNodeMeshToPoints", {"Mesh": geometry, "Radius": radius})
    from_cloud = tree.call("GeometryNodeSetPointRadius", {"Points": geometry, "Radius": radius})
    cloud = tree.node("GeometryNodeSeparateComponents")
    tree.feed(cloud.inputs[0], from_cloud)
    joined = tree.join(from_mesh, cloud.outputs["Point Cloud"])
    return tree.call("GeometryNodeSetMaterial", {"Geometry": joined, "Material": splat_material(POINTS)})
