"""Helpers of the scene tests: small renders and hand-made splats."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from humansplat.humansplat_blender.scene import attributes, splats
from humansplat.humansplat_blender.scene.nodes.display import display_group
from mathutils import Matrix

from backend.avatar import Gaussians


def add_plain_splats(gaussians: Gaussians) -> bpy.types.Object:
    """Splats in Blender's axes, drawn but not bound to anything."""
    data = splats._carrier("plain", len(gaussians))
    kind = "FLOAT4" if attributes.has_data_type("FLOAT4") else "FLOAT_COLOR"
    attributes.write_points(
        data,
        {
            "position": ("FLOAT_VECTOR", gaussians.position),
            "rotation": ("QUATERNION", gaussians.rotation),
            "scale": ("FLOAT_VECTOR", gaussians.scale),
            "radiance:base": (kind, np.column_stack([gaussians.sh_dc, gaussians.opacity])),
        },
    )
    obj = bpy.data.objects.new("plain", data)
    bpy.context.scene.collection.objects.link(obj)
    obj.modifiers.new(splats.DISPLAY_MODIFIER, "NODES").node_group = display_group()
    return obj


def show_viewport_form(group: bpy.types.NodeTree) -> None:
    """Make renders use what the viewport would get: a render has no other way to see it."""
    for node in [n for n in group.nodes if n.bl_idname == "GeometryNodeIsViewport"]:
        for link in list(node.outputs[0].links):
            target = link.to_socket
            group.links.remove(link)
            target.default_value = True


def add_orthographic_camera(width: float) -> None:
    """A camera at -y that looks along +y and sees `width` metres across; picture x is x, picture y is z."""
    data = bpy.data.cameras.new("camera")
    data.type = "ORTHO"
    data.ortho_scale = width
    camera = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(camera)
    camera.matrix_world = Matrix(((1, 0, 0, 0), (0, 0, -1, -5), (0, 1, 0, 0), (0, 0, 0, 1)))
    bpy.context.scene.camera = camera


def prepare_cycles(width: int, height: int, samples: int) -> None:
    """Small, plain Cycles renders with a transparent film."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    scene.render.film_transparent = True
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.seed = 0
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BOX"


def render_pixels(path: Path) -> np.ndarray:
    """Render the scene to `path` (EXR); linear premultiplied RGBA [H, W, 4], first row at the bottom."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.array(image.pixels[:], dtype=np.float32).reshape(height, width, 4)
    bpy.data.images.remove(image)
    return pixels
