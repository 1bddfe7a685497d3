"""Colours on the body mesh, so that Solid view shows the avatar at once.

Solid view knows one colour per material, and splats are drawn by a shader that it does not run. So the body's faces
get a small palette of materials that carry the splats' colours as viewport colours. The same materials are
transparent to EEVEE and Cycles: in Material Preview and Rendered view only the splats are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ...backend.avatar.package import Avatar
from . import attributes
from .nodes.build import Tree

PALETTE_SIZE = 12
COLOUR_ATTRIBUTE = "Color"


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


def plan_paint(avatar: Avatar) -> BodyPaint:
    """The colours of the surface mesh; numpy only, for any thread."""
    display = vertex_colours(avatar)
    palette, index = quantize(display[avatar.body.surface_faces].mean(axis=1), PALETTE_SIZE)
    return BodyPaint(np.column_stack([srgb_to_linear(display), np.ones(len(display))]), palette, index)


def paint_body(paint: BodyPaint, mesh: bpy.types.Mesh, name: str) -> list[bpy.types.Material]:
    """Give the surface mesh a palette of viewport colours and a colour attribute; returns the new materials."""
    attributes.write_points(mesh, {COLOUR_ATTRIBUTE: ("FLOAT_COLOR", paint.vertices)})
    mesh.color_attributes.active_color = mesh.color_attributes[COLOUR_ATTRIBUTE]
    materials = []
    for number, colour in enumerate(srgb_to_linear(paint.palette), start=1):
        material = _clear_material(f"{name} {number:02d}", colour)
        materials.append(material)
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", paint.index.astype(np.int32))
    mesh.update()
    return materials


def vertex_colours(avatar: Avatar) -> np.ndarray:
    """Display sRGB [S, 3] of the surface's vertices: the mean of the splats on the triangles around each.

    Vertices without splats take the mean of their neighbours, step by step.
    """
    ids = avatar.skin.vertex_ids
    faces = avatar.body.surface_faces
    count = len(avatar.body.surface_vertices)
    weight = np.repeat(np.asarray(avatar.gaussians.opacity, dtype=np.float64), 3)
    colours = np.repeat(np.clip(avatar.gaussians.rgb, 0.0, 1.0), 3, axis=0)
    total = np.bincount(ids.ravel(), weight, count)
    mean = _scatter(ids.ravel(), colours * weight[:, None], count) / np.maximum(total, 1e-12)[:, None]
    known = total > 0
    if not known.any():
        return np.full((count, 3), 0.5)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    while not known.all():
        use = known[edges[:, 0]] & ~known[edges[:, 1]]
        if not use.any():  # parts of the surface that no splat is bound to
            mean[~known] = mean[known].mean(axis=0)
            break
        source, target = edges[use].T
        hits = np.bincount(target, minlength=count)
        new = hits > 0
        mean[new] = _scatter(target, mean[source], count)[new] / hits[new, None]
        known = known | new
    return mean


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


def _clear_material(name: str, colour: np.ndarray) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.diffuse_color = (*colour, 1.0)
    material.roughness = 1.0
    if bpy.app.version < (5, 0, 0):  # later versions always use nodes
        material.use_nodes = True
    material.surface_render_method = "DITHERED"
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    output = tree.node("ShaderNodeOutputMaterial")
    tree.feed(output.inputs["Surface"], tree.call("ShaderNodeBsdfTransparent", {}))
    return material
