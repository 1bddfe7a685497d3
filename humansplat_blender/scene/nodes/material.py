"""Materials that shade a splat as the exact 3D Gaussian along each ray, the same in EEVEE and Cycles.

Both forms evaluate alpha = opacity * exp(-m^2 / 2), m the closest approach of the viewing ray to the centre in
the space where the Gaussian is a unit ball ("whitened" space). That is the maximum of the Gaussian along the ray;
it needs no camera, so one scene serves every view and every engine. The colour is the display (sRGB) colour
0.5 + SH_C0 * dc, clamped, converted to linear light. It is emitted, or, where the attribute `splat:lit` says so,
diffusely reflects the scene's lamps, with the splat's thin axis as the normal.
"""

from __future__ import annotations

from typing import Any

import bpy

from .build import NAME_KEY, VERSION_KEY, Tree

BALLS = "HumanSplat Splats"
DISCS = "HumanSplat Splats (discs)"
POINTS = "HumanSplat Splats (points)"
CORE = "HumanSplat Core"
VERSION = 3

SH_C0 = 0.28209479177387814
MINIMUM_ALPHA = 1.0 / 255.0
# An icosphere of 20 faces with corners at radius 1.26 encloses the unit sphere (its inradius is 0.7947).
ICOSPHERE_RADIUS = 1.26
# Thinner splats are drawn this thick (metres): an ellipsoid without volume has no inverse transform.
MINIMUM_SCALE = 5e-5
# Points are this many times as large as the splats, inside an instance that is scaled down; see the display group.
POINTS_ENLARGED = 1000.0
# Attributes that the display group stores for the point form: rotation as a colour (x, y, z, w), and scale.
TURN = "splat:turn"
DRAWN_SCALE = "splat:scale"
# The display group stores how far a splat is lit by lamps, 0..1; `splats.py` its normal, along one of its own axes.
LIT = "splat:lit"
AXIS = "splat:axis"


def splat_material(name: str) -> bpy.types.Material:
    """The shared splat material: `BALLS` and `DISCS` for instanced icospheres and discs, `POINTS` for points; `CORE`
    is opaque.

    A ray crosses an icosphere twice, which must attenuate it once, and a disc once.
    """
    material = next((m for m in bpy.data.materials if m.library is None and m.get(NAME_KEY) == name), None)
    if material is not None and material.get(VERSION_KEY, -1) >= VERSION:
        return material
    if material is None:
        material = bpy.data.materials.new(name)
        material[NAME_KEY] = name
    if bpy.app.version < (5, 0, 0):  # later versions always use nodes
        material.use_nodes = True
    # Dithering needs no order, which points inside one object do not have; EEVEE sorts instances one by one.
    material.surface_render_method = "DITHERED" if name in (POINTS, CORE) else "BLENDED"
    material.use_backface_culling = name == BALLS
    material.use_transparent_shadow = True
    if hasattr(material, "cycles"):
        # Cycles would otherwise make a lamp of each triangle of each splat.
        material.cycles.emission_sampling = "NONE"
    # Solid view shows the surface preview instead of the splats.
    material.diffuse_color = (0.8, 0.8, 0.8, 0.0)
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    surface = _opaque(tree) if name == CORE else _gaussian(tree, name)
    tree.feed(tree.node("ShaderNodeOutputMaterial").inputs["Surface"], surface)
    material[VERSION_KEY] = VERSION
    return material


def _opaque(tree: Tree) -> Any:
    radiance = tree.node("ShaderNodeAttribute", attribute_type="GEOMETRY", attribute_name="radiance:base")
    return _light(tree, "GEOMETRY", radiance.outputs["Color"], None)


def _light(tree: Tree, source: str, dc: Any, normal: Any) -> Any:
    """Shader that emits the colour of DC coefficients, or reflects lamps where `LIT` of the `source` says so."""
    colour = _linear_colour(tree, dc)
    emission = tree.call("ShaderNodeEmission", {"Color": colour})
    lit = tree.node("ShaderNodeAttribute", attribute_type=source, attribute_name=LIT).outputs["Fac"]
    diffuse = tree.call("ShaderNodeBsdfDiffuse", {"Color": colour, "Normal": normal})
    return tree.call("ShaderNodeMixShader", {0: lit, 1: emission, 2: diffuse})


def _gaussian(tree: Tree, form: str) -> Any:
    points = form == POINTS
    source = "GEOMETRY" if points else "INSTANCER"
    radiance = tree.node("ShaderNodeAttribute", attribute_type=source, attribute_name="radiance:base")
    geometry = tree.node("ShaderNodeNewGeometry")
    point = _to_object(tree, "POINT", geometry.outputs["Position"])
    ray = _to_object(tree, "VECTOR", geometry.outputs["Incoming"])
    opacity = radiance.outputs["Alpha"]
    if points:
        centre, turn, scale = (
            tree.node("ShaderNodeAttribute", attribute_type=source, attribute_name=name).outputs
            for name in ("position", TURN, DRAWN_SCALE)
        )
        scale = tree.vector("MAXIMUM", scale["Vector"], (MINIMUM_SCALE * POINTS_ENLARGED,) * 3)
        point = tree.vector("SUBTRACT", point, centre["Vector"])
        point, ray = (
            tree.vector("DIVIDE", _turn_back(tree, turn["Color"], turn["Alpha"], v), scale) for v in (point, ray)
        )
        falloff: Any = -0.5
    else:
        # Instances are scaled to the radius where alpha falls to 1/255, times the icosphere's own factor.
        support = tree.math("LOGARITHM", tree.math("MULTIPLY", opacity, 1.0 / MINIMUM_ALPHA), 2.718281828459045)
        falloff = tree.math("MULTIPLY", support, -(ICOSPHERE_RADIUS**2))
    cross = tree.vector("CROSS_PRODUCT", point, ray)
    squared = tree.math("DIVIDE", _dot(tree, cross, cross), _dot(tree, ray, ray))
    alpha = tree.math("MULTIPLY", tree.math("EXPONENT", tree.math("MULTIPLY", squared, falloff)), opacity)
    alpha = tree.math("MULTIPLY", alpha, tree.math("GREATER_THAN", alpha, MINIMUM_ALPHA))
    if form == BALLS:
        alpha = tree.math("MULTIPLY", alpha, tree.math("SUBTRACT", 1.0, geometry.outputs["Backfacing"]))
    normal = tree.node("ShaderNodeAttribute", attribute_type=source, attribute_name=AXIS).outputs["Vector"]
    if points:
        normal = _turn(tree, turn["Color"], turn["Alpha"], normal)
    normal = tree.vector("NORMALIZE", _transform(tree, "VECTOR", normal, "OBJECT", "WORLD"))
    light = _light(tree, source, radiance.outputs["Color"], normal)
    transparent = tree.call("ShaderNodeBsdfTransparent", {})
    return tree.call("ShaderNodeMixShader", {0: alpha, 1: transparent, 2: light})


def _to_object(tree: Tree, vector_type: str, value: Any) -> Any:
    return _transform(tree, vector_type, value, "WORLD", "OBJECT")


def _transform(tree: Tree, vector_type: str, value: Any, source: str, target: str) -> Any:
    return tree.call(
        "ShaderNodeVectorTransform",
        {0: value},
        vector_type=vector_type,
        convert_from=source,
        convert_to=target,
    )


def _turn(tree: Tree, axis: Any, w: Any, value: Any) -> Any:
    """`value` turned by the unit quaternion (axis, w): v + 2 w (a x v) + 2 a x (a x v)."""
    double_cross = tree.vector("SCALE", tree.vector("CROSS_PRODUCT", axis, value), 2.0)
    turned = tree.vector("ADD", value, tree.vector("CROSS_PRODUCT", axis, double_cross))
    return tree.vector("ADD", turned, tree.vector("SCALE", double_cross, w))


def _turn_back(tree: Tree, axis: Any, w: Any, value: Any) -> Any:
    """`value` turned by the inverse of the unit quaternion (axis, w): v - 2 w (a x v) + 2 a x (a x v)."""
    double_cross = tree.vector("SCALE", tree.vector("CROSS_PRODUCT", axis, value), 2.0)
    turned = tree.vector("ADD", value, tree.vector("CROSS_PRODUCT", axis, double_cross))
    return tree.vector("SUBTRACT", turned, tree.vector("SCALE", double_cross, w))


def _dot(tree: Tree, a: Any, b: Any) -> Any:
    return tree.vector("DOT_PRODUCT", a, b)


def _linear_colour(tree: Tree, dc: Any) -> Any:
    """Linear colour of raw DC coefficients, by the piecewise sRGB transfer function (IEC 61966-2-1)."""
    colour = tree.vector("MULTIPLY_ADD", dc, (SH_C0,) * 3, (0.5,) * 3)
    colour = tree.vector("MINIMUM", tree.vector("MAXIMUM", colour, (0.0,) * 3), (1.0,) * 3)
    power = tree.vector("MULTIPLY_ADD", colour, (1 / 1.055,) * 3, (0.055 / 1.055,) * 3)
    power = tree.call("ShaderNodeGamma", {"Color": power, "Gamma": 2.4})
    straight = tree.vector("SCALE", colour, 1 / 12.92)
    # A factor that is clamped to 0 below the threshold and to 1 above it: a step for each channel.
    above = tree.vector("MULTIPLY_ADD", colour, (1e6,) * 3, (-0.04045e6,) * 3)
    return tree.call(
        "ShaderNodeMix",
        {0: above, "A": straight, "B": power},
        "Result",
        data_type="VECTOR",
        factor_mode="NON_UNIFORM",
        clamp_factor=True,
    )
