"""Materials that shade a splat as the exact 3D Gaussian along each ray, the same in EEVEE and Cycles.

Both forms evaluate alpha = opacity * exp(-m^2 / 2), m the closest approach of the viewing ray to the centre in
the space where the Gaussian is a unit ball ("whitened" space). That is the maximum of the Gaussian along the ray;
it needs no camera, so one scene serves every view and every engine. The colour is the display (sRGB) colour
0.5 + SH_C0 * dc, clamped, converted to linear light.
"""

from __future__ import annotations

from typing import Any

import bpy

from .build import NAME_KEY, VERSION_KEY, Tree

ELLIPSOIDS = "HumanSplat Splats"
POINTS = "HumanSplat Splats (points)"
VERSION = 1

SH_C0 = 0.28209479177387814
MINIMUM_ALPHA = 1.0 / 255.0
# An icosphere of 20 faces with corners at radius 1.26 encloses the unit sphere (its inradius is 0.7947).
ICOSPHERE_RADIUS = 1.26
# Thinner splats are drawn this thick (metres): an ellipsoid without volume has no inverse transform.
MINIMUM_SCALE = 5e-5
# Attributes that the display group stores for the point form: rotation as a colour (x, y, z, w), and scale.
TURN = "splat:turn"
DRAWN_SCALE = "splat:scale"


def splat_material(points: bool) -> bpy.types.Material:
    """The shared splat material: for instanced ellipsoids, or for points that are drawn as balls."""
    name = POINTS if points else ELLIPSOIDS
    material = next((m for m in bpy.data.materials if m.library is None and m.get(NAME_KEY) == name), None)
    if material is not None and material.get(VERSION_KEY, -1) >= VERSION:
        return material
    if material is None:
        material = bpy.data.materials.new(name)
        material[NAME_KEY] = name
    if bpy.app.version < (5, 0, 0):  # later versions always use nodes
        material.use_nodes = True
    # Dithering needs no order, which points inside one object do not have; EEVEE sorts instances one by one.
    material.surface_render_method = "DITHERED" if points else "BLENDED"
    material.use_backface_culling = not points
    material.use_transparent_shadow = True
    if hasattr(material, "cycles"):
        # Cycles would otherwise make a lamp of each triangle of each splat.
        material.cycles.emission_sampling = "NONE"
    # Solid view shows the surface preview instead of the splats.
    material.diffuse_color = (0.8, 0.8, 0.8, 0.0)
    material.node_tree.nodes.clear()
    _build(Tree(material.node_tree), points)
    material[VERSION_KEY] = VERSION
    return material


def _build(tree: Tree, points: bool) -> None:
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
        scale = tree.vector("MAXIMUM", scale["Vector"], (MINIMUM_SCALE,) * 3)
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
    if not points:
        # A ray crosses an ellipsoid twice and must be attenuated once.
        alpha = tree.math("MULTIPLY", alpha, tree.math("SUBTRACT", 1.0, geometry.outputs["Backfacing"]))
    emission = tree.call("ShaderNodeEmission", {"Color": _linear_colour(tree, radiance.outputs["Color"])})
    transparent = tree.call("ShaderNodeBsdfTransparent", {})
    surface = tree.call("ShaderNodeMixShader", {0: alpha, 1: transparent, 2: emission})
    output = tree.node("ShaderNodeOutputMaterial")
    tree.feed(output.inputs["Surface"], surface)


def _to_object(tree: Tree, vector_type: str, value: Any) -> Any:
    return tree.call(
        "ShaderNodeVectorTransform",
        {0: value},
        vector_type=vector_type,
        convert_from="WORLD",
        convert_to="OBJECT",
    )


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
