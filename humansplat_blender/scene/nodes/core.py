"""The opaque core of an avatar in renders: rays that the splats in front have all but stopped end there.

Without it they go on through the splats of the back, each of which costs as much as one in front and shows nothing.
"""

from __future__ import annotations

from typing import Any

from .build import Tree
from .material import CORE, LIT, splat_material

DEPTH = "core:depth"
"""Attribute of the body's mesh: metres, see :mod:`humansplat_blender.scene.core`."""

# In standard deviations of the nearest splat along its longest axis: how deep the core lies at most, and how far from
# the mesh that splat may be. Where splats are erased, or a gap in them is bridged by the mesh, there is no core.
_DEEPEST, _COVERED = 2.0, 2.5


def core(tree: Tree, body: Any, splats: Any, lit: Any) -> Any:
    """The core's mesh, a little inside ``body``, in the colours of the ``splats`` that are drawn.

    Args:
        tree: of geometry nodes.
        body: geometry of the body object, in the splats' space.
        splats: points or vertices with `scale` and `radiance:base`.
        lit: how far lamps light it.
    """
    place = tree.node("GeometryNodeInputPosition").outputs[0]
    nearest = tree.call("GeometryNodeSampleNearest", {"Geometry": splats, "Sample Position": place}, domain="POINT")
    size = tree.largest(*tree.separate(tree.sample(splats, tree.attribute("scale", "FLOAT_VECTOR"), nearest)))
    gap = tree.vector("LENGTH", tree.vector("SUBTRACT", tree.sample(splats, place, nearest), place))
    depth = tree.math("MINIMUM", tree.attribute(DEPTH, "FLOAT"), tree.math("MULTIPLY", size, _DEEPEST))
    is_bare = tree.math("GREATER_THAN", gap, tree.math("MULTIPLY", size, _COVERED))
    depth = tree.math("MULTIPLY", depth, tree.math("SUBTRACT", 1.0, is_bare))
    radiance = tree.sample(splats, tree.attribute("radiance:base", "FLOAT_COLOR"), nearest, "FLOAT_COLOR")
    # Captured together: the nearest splats are sought once.
    mesh, (depth, radiance) = tree.capture(body, (("FLOAT", depth), ("RGBA", radiance)))
    mesh = tree.store(mesh, "radiance:base", "FLOAT_COLOR", radiance)
    mesh = tree.store(mesh, LIT, "FLOAT", lit)
    inwards = tree.vector("SCALE", tree.node("GeometryNodeInputNormal").outputs[0], tree.math("MULTIPLY", depth, -1.0))
    mesh = tree.call("GeometryNodeSetPosition", {"Geometry": mesh, "Offset": inwards})
    has_none = tree.math("LESS_THAN", depth, 1e-9)
    mesh = tree.call("GeometryNodeDeleteGeometry", {"Geometry": mesh, "Selection": has_none}, domain="POINT")
    return tree.call("GeometryNodeSetMaterial", {"Geometry": mesh, "Material": splat_material(CORE)})
