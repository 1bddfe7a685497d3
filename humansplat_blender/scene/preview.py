"""Colours of the clothed mesh, so that Solid view and exported meshes show the person as clothed.

Solid view knows one colour per material, and splats are drawn by a shader that it does not run. So the faces get a
palette of materials with viewport colours, and the vertices a colour attribute, which Solid view shows smoothly where
its colour is set to Attribute. EEVEE and Cycles see the materials only where they look for shadows, so that splats are
what is seen; Blender's exporters find the colours all the same, in the Principled BSDF whose alpha that decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ...backend.avatar.clothed_mesh import ClothedMesh
from . import attributes
from .nodes.build import NAME_KEY, VERSION_KEY, Tree

PALETTE_SIZE = 24
COLOUR_ATTRIBUTE = "Color"
MATERIAL_PREFIX = "HumanSplat Solid"
_VERSION = 1


@dataclass(frozen=True)
class BodyPaint:
    """What Solid view shows of F faces with V vertices.

    Attributes:
        vertices: [V, 4] linear light and alpha, the mesh's colour attribute.
        palette: [K, 3] display sRGB, one material each.
        index: [F] each face's material.
    """

    vertices: np.ndarray
    palette: np.ndarray
    index: np.ndarray


def plan_paint(clothed: ClothedMesh) -> BodyPaint:
    """The colours of the clothed mesh; numpy only, for any thread."""
    palette, index = quantize(clothed.colours[clothed.faces].mean(axis=1), PALETTE_SIZE)
    linear = srgb_to_linear(clothed.colours)
    return BodyPaint(np.column_stack([linear, np.ones(len(linear))]), palette, index)


def paint_body(paint: BodyPaint, mesh: bpy.types.Mesh, name: str) -> list[bpy.types.Material]:
    """Give the body mesh a palette of viewport colours and a colour attribute; returns its materials."""
    bare = np.ones((len(mesh.vertices) - len(paint.vertices), 4))
    colours = np.concatenate([bare, paint.vertices])
    attributes.write_points(mesh, {COLOUR_ATTRIBUTE: ("FLOAT_COLOR", colours)})
    mesh.color_attributes.active_color = mesh.color_attributes[COLOUR_ATTRIBUTE]
    mesh.color_attributes.render_color_index = mesh.color_attributes.active_color_index
    materials = []
    for number, colour in enumerate(paint.palette, start=1):
        material = _viewport_material(f"{name} {number:02d}", colour)
        materials.append(material)
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", paint.index.astype(np.int32))
    mesh.update()
    return materials


def quantize(colours: np.ndarray, size: int, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """At most `size` representative colours [K, 3] of colours [N, 3] and the index [N] of each one's own.

    Lloyd's algorithm (k-means), started by farthest points, so that small distinct areas keep their colour;
    deterministic.
    """
    start = colours[np.argmin(((colours - colours.mean(axis=0)) ** 2).sum(axis=1))]
    palette = [start]
    distance = ((colours - start) ** 2).sum(axis=1)
    while len(palette) < size and distance.max() > 1e-6:
        palette.append(colours[distance.argmax()])
        distance = np.minimum(distance, ((colours - palette[-1]) ** 2).sum(axis=1))
    centres = np.array(palette)
    for _ in range(steps):
        index = ((colours[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        filled = np.bincount(index, minlength=len(centres))
        means = _scatter(index, colours, len(centres)) / np.maximum(filled, 1)[:, None]
        centres = np.where(filled[:, None] > 0, means, centres)
    return centres, index


def srgb_to_linear(colours: np.ndarray) -> np.ndarray:
    """Linear light of display sRGB 0..1, elementwise (IEC 61966-2-1)."""
    colours = np.asarray(colours, dtype=np.float64)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _scatter(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.stack([np.bincount(index, values[:, c], count) for c in range(values.shape[1])], axis=1)


def _viewport_material(name: str, colour: np.ndarray) -> bpy.types.Material:
    """The material of a display colour [3]; avatars share those of equal colours."""
    red, green, blue = np.round(np.clip(colour, 0, 1) * 255).astype(int)
    key = f"{MATERIAL_PREFIX} {red:02x}{green:02x}{blue:02x}"
    known = next((m for m in bpy.data.materials if m.library is None and m.get(NAME_KEY) == key), None)
    if known is not None and known.get(VERSION_KEY) == _VERSION:
        return known
    material = bpy.data.materials.new(name)
    material[NAME_KEY], material[VERSION_KEY] = key, _VERSION
    material.diffuse_color = (*srgb_to_linear(np.array([red, green, blue]) / 255), 1.0)
    material.roughness = 1.0
    if bpy.app.version < (5, 0, 0):  # later versions always use nodes
        material.use_nodes = True
    material.surface_render_method = "DITHERED"
    material.use_transparent_shadow = True
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    colour_attribute = tree.node("ShaderNodeVertexColor", layer_name=COLOUR_ATTRIBUTE).outputs["Color"]
    is_shadow = tree.node("ShaderNodeLightPath").outputs["Is Shadow Ray"]
    backfacing = tree.node("ShaderNodeNewGeometry").outputs["Backfacing"]
    # The side that faces the lamp casts no shadow: splats lie on either side of it and would be in its shadow. Cycles
    # looks from the splat to the lamp, EEVEE from the lamp.
    for target, casts in (("CYCLES", tree.math("SUBTRACT", 1.0, backfacing)), ("EEVEE", backfacing)):
        output = tree.node("ShaderNodeOutputMaterial", target=target)
        surface = tree.node("ShaderNodeBsdfPrincipled")
        # Exporters that know no attributes take the palette's colour from the socket itself.
        surface.inputs["Base Color"].default_value = material.diffuse_color
        tree.feed(surface.inputs["Base Color"], colour_attribute)
        tree.feed(surface.inputs["Roughness"], 1.0)
        tree.feed(surface.inputs["Alpha"], tree.math("MULTIPLY", is_shadow, casts))
        tree.feed(output.inputs["Surface"], surface.outputs["BSDF"])
    return material
