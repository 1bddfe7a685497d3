"""Objects, backdrop, light and camera."""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Vector

from .clothes import Garment
from .hair import Strands


def to_blender(points: np.ndarray) -> np.ndarray:
    """(x, y, z) with y up to Blender's (x, -z, y)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def add_object(name: str, data: bpy.types.ID) -> bpy.types.Object:
    """Link new data to the scene."""
    obj = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(obj)
    return obj


def add_mesh(
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    material: bpy.types.Material,
    rest: np.ndarray | None = None,
    values: dict[str, np.ndarray] | None = None,
) -> bpy.types.Object:
    """A smooth mesh object from posed vertices [V, 3] (y up); per-vertex ``values`` become attributes."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(to_blender(vertices).tolist(), [], faces.tolist())
    mesh.shade_smooth()
    if rest is not None:
        attribute = mesh.attributes.new("rest", "FLOAT_VECTOR", "POINT")
        attribute.data.foreach_set("vector", rest.astype(np.float32).ravel())
    for key, value in (values or {}).items():
        mesh.attributes.new(key, "FLOAT", "POINT").data.foreach_set("value", value.astype(np.float32))
    mesh.materials.append(material)
    return add_object(name, mesh)


def add_garment(name: str, garment: Garment, material: bpy.types.Material, thickness: float) -> bpy.types.Object:
    """A garment with thickness."""
    obj = add_mesh(name, garment.vertices, garment.faces, material, garment.rest)
    solid = obj.modifiers.new("Thickness", "SOLIDIFY")
    solid.thickness, solid.offset = thickness, 1.0
    obj.modifiers.new("Smooth", "SUBSURF").render_levels = 1
    return obj


def add_strands(name: str, strands: Strands, material: bpy.types.Material) -> bpy.types.Object:
    """Hair curves."""
    count, steps, _ = strands.points.shape
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([steps] * count)
    curves.position_data.foreach_set("vector", to_blender(strands.points).astype(np.float32).ravel())
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", np.tile(strands.radius, count).astype(np.float32))
    curves.attributes.new("shade", "FLOAT", "CURVE").data.foreach_set("value", strands.shade.astype(np.float32))
    curves.materials.append(material)
    return add_object(name, curves)


def add_eye(centre: np.ndarray, radius: float, look_at: np.ndarray, material: bpy.types.Material) -> None:
    """A ball of radius 1 in its own space whose +z axis looks at a point (all y up)."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32)
    ball = bpy.context.object
    ball.data.shade_smooth()
    ball.data.materials.append(material)
    ball.location = to_blender(centre)
    ball.scale = (radius,) * 3
    ball.rotation_euler = Vector(to_blender(look_at - centre)).to_track_quat("Z", "Y").to_euler()


def add_backdrop(material: bpy.types.Material, floor: float) -> None:
    """Floor at height ``floor`` and wall in one, joined by a wide curve, as photographers use it."""
    profile = [(-6.0, 0.0)]
    radius, wall = 1.2, 2.6
    for angle in np.linspace(0, math.pi / 2, 24):
        profile.append((wall - radius + radius * math.sin(angle), radius - radius * math.cos(angle)))
    profile.append((wall, 6.0))
    vertices = [(x, y, z) for y, z in profile for x in (-7.0, 7.0)]
    faces = [(2 * k, 2 * k + 1, 2 * k + 3, 2 * k + 2) for k in range(len(profile) - 1)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    mesh.materials.append(material)
    add_object("Backdrop", mesh).location.z = floor


def add_light(name: str, place: tuple, target: tuple, size: float, watts: float, colour: tuple) -> None:
    """A soft box."""
    data = bpy.data.lights.new(name, "AREA")
    data.size, data.energy, data.color = size, watts, colour
    light = add_object(name, data)
    light.location = place
    light.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()


def add_camera(place: np.ndarray, target: np.ndarray, lens: float, sensor: float) -> None:
    """The scene's camera at a point [3] that looks at another (y up); lens and sensor's longer side in millimetres."""
    data = bpy.data.cameras.new("Camera")
    data.lens, data.sensor_width = lens, sensor
    camera = add_object("Camera", data)
    camera.location = to_blender(place)
    camera.rotation_euler = Vector(to_blender(target - place)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.camera = camera
