"""The part of the display group that edits splats while they are drawn; nothing stored is changed.

`humansplat_blender.scene.edits` computes the same with numpy, for exports; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

from .build import Socket, Tree
from .material import SH_C0

BRIGHTNESS = "Brightness"
SATURATION = "Saturation"
OPACITY_CUT = "Opacity Cut"
CROP_BOX = "Crop Box"

# Attributes on the splat object; without them, nothing is erased or painted.
HIDDEN = "edit:hidden"  # FLOAT: above 0.5 the splat is erased
COLOUR = "edit:colour"  # FLOAT_COLOR: display sRGB, and the share 0..1 of it over the splat's own colour

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Of linear Rec. 709 red, green and blue."""

SOCKETS = (
    Socket(
        BRIGHTNESS,
        "NodeSocketFloat",
        default=1.0,
        minimum=0.0,
        maximum=16.0,
        description="Times the splats' light; what becomes brighter than white stays white",
    ),
    Socket(
        SATURATION,
        "NodeSocketFloat",
        default=1.0,
        minimum=0.0,
        maximum=4.0,
        description="0: grey; 1: as it is; more: stronger colours. The luminance stays",
    ),
    Socket(
        OPACITY_CUT,
        "NodeSocketFloat",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        subtype="FACTOR",
        description="Splats of a lower opacity are not drawn",
    ),
    Socket(
        CROP_BOX,
        "NodeSocketObject",
        description="Only splats inside this object's cube are drawn: -1 to 1 along its own axes, as an empty of the "
        "display type Cube and size 1 shows it",
    ),
)


def edit_splats(tree: Tree, splats: Any, inputs: Any) -> Any:
    """The splats as edited. With the inputs at their defaults and without attributes, it is the same geometry."""
    splats = _remove(tree, splats, inputs)
    dc, opacity = _radiance(tree)
    paint = tree.attribute(COLOUR, "FLOAT_COLOR")
    share = tree.call("FunctionNodeSeparateColor", {"Color": paint}, "Alpha")
    painted = _mix(tree, dc, tree.vector("MULTIPLY_ADD", paint, (1 / SH_C0,) * 3, (-0.5 / SH_C0,) * 3), share)
    splats = tree.switch(_exists(tree, splats, COLOUR), splats, _store(tree, splats, painted, opacity))

    changed = _either(tree, _differs(tree, inputs[BRIGHTNESS], 1.0), _differs(tree, inputs[SATURATION], 1.0))
    dc, opacity = _radiance(tree)
    return tree.switch(changed, splats, _store(tree, splats, _graded(tree, dc, inputs), opacity))


def _remove(tree: Tree, splats: Any, inputs: Any) -> Any:
    """Without the erased splats, those below the opacity cut, and those outside the crop box."""
    _, opacity = _radiance(tree)
    cut = tree.math("GREATER_THAN", inputs[OPACITY_CUT], 0.0)
    box = tree.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    tree.feed(box.inputs["Object"], inputs[CROP_BOX])
    # Without an object the scale is zero.
    cropped = tree.math("GREATER_THAN", tree.vector("LENGTH", box.outputs["Scale"]), 0.0)
    inverse = tree.call("FunctionNodeInvertMatrix", {"Matrix": box.outputs["Transform"]})
    place = tree.node("GeometryNodeInputPosition").outputs[0]
    place = tree.call("FunctionNodeTransformPoint", {"Vector": place, "Transform": inverse})
    x, y, z = tree.separate(tree.vector("ABSOLUTE", place))
    is_outside = tree.math("GREATER_THAN", tree.largest(x, y, z), 1.0)
    is_outside = tree.switch(cropped, False, is_outside, "BOOLEAN")
    is_faint = tree.math("LESS_THAN", opacity, inputs[OPACITY_CUT])
    is_hidden = tree.math("GREATER_THAN", tree.attribute(HIDDEN, "FLOAT"), 0.5)
    gone = _either(tree, is_hidden, is_faint, is_outside)
    fewer = tree.call("GeometryNodeDeleteGeometry", {"Geometry": splats, "Selection": gone}, domain="POINT")
    return tree.switch(_either(tree, _exists(tree, splats, HIDDEN), cut, cropped), splats, fewer)


def _graded(tree: Tree, dc: Any, inputs: Any) -> Any:
    """Coefficients after saturation and brightness, both in linear light."""
    colour = tree.vector("MULTIPLY_ADD", dc, (SH_C0,) * 3, (0.5,) * 3)
    light = tree.combine(*(_to_linear(tree, channel) for channel in tree.separate(_clamp(tree, colour))))
    grey = tree.vector("DOT_PRODUCT", light, LUMINANCE)
    light = _mix(tree, tree.combine(grey, grey, grey), light, inputs[SATURATION])
    light = _clamp(tree, tree.vector("SCALE", light, inputs[BRIGHTNESS]))
    colour = tree.combine(*(_to_display(tree, channel) for channel in tree.separate(light)))
    return tree.vector("MULTIPLY_ADD", colour, (1 / SH_C0,) * 3, (-0.5 / SH_C0,) * 3)


def _to_linear(tree: Tree, value: Any) -> Any:
    curve = tree.math("POWER", tree.math("MULTIPLY_ADD", value, 1 / 1.055, 0.055 / 1.055), 2.4)
    is_above = tree.math("GREATER_THAN", value, 0.04045)
    return tree.switch(is_above, tree.math("MULTIPLY", value, 1 / 12.92), curve, "FLOAT")


def _to_display(tree: Tree, value: Any) -> Any:
    curve = tree.math("MULTIPLY_ADD", tree.math("POWER", value, 1 / 2.4), 1.055, -0.055)
    is_above = tree.math("GREATER_THAN", value, 0.0031308)
    return tree.switch(is_above, tree.math("MULTIPLY", value, 12.92), curve, "FLOAT")


def _radiance(tree: Tree) -> tuple[Any, Any]:
    """Coefficients (as a colour) and opacity."""
    radiance = tree.attribute("radiance:base", "FLOAT_COLOR")
    return radiance, tree.call("FunctionNodeSeparateColor", {"Color": radiance}, "Alpha")


def _store(tree: Tree, splats: Any, dc: Any, opacity: Any) -> Any:
    red, green, blue = tree.separate(dc)
    radiance = tree.call("FunctionNodeCombineColor", {"Red": red, "Green": green, "Blue": blue, "Alpha": opacity})
    return tree.store(splats, "radiance:base", "FLOAT_COLOR", radiance)


def _exists(tree: Tree, splats: Any, name: str) -> Any:
    """Whether the splats have an attribute: one truth value, so that it can switch geometries."""
    exists = tree.call("GeometryNodeInputNamedAttribute", {"Name": name}, "Exists")
    return tree.sample(splats, exists, None, "BOOLEAN")


def _either(tree: Tree, first: Any, *others: Any) -> Any:
    for other in others:
        first = tree.call("FunctionNodeBooleanMath", {0: first, 1: other}, operation="OR")
    return first


def _differs(tree: Tree, value: Any, default: float) -> Any:
    return tree.math("GREATER_THAN", tree.math("ABSOLUTE", tree.math("SUBTRACT", value, default)), 0.0)


def _mix(tree: Tree, first: Any, second: Any, share: Any) -> Any:
    """first + share (second - first): exactly `first` at a share of 0."""
    return tree.vector("ADD", first, tree.vector("SCALE", tree.vector("SUBTRACT", second, first), share))


def _clamp(tree: Tree, value: Any) -> Any:
    return tree.vector("MINIMUM", tree.vector("MAXIMUM", value, (0.0,) * 3), (1.0,) * 3)
