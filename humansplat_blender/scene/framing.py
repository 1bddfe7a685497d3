"""A camera that sees an avatar from head to feet."""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Matrix, Vector

FIELD_OF_VIEW = math.radians(30.0)
"""Across the picture's longer side."""
_MARGIN = 1.06


def frame_points(scene: bpy.types.Scene, points: np.ndarray, azimuth: float = 0.0) -> bpy.types.Object:
    """A camera of the scene, at the height of the points' middle, that sees them all whatever the azimuth.

    Args:
        scene: gets the camera, and renders through it.
        points: [N, 3] in Blender's world.
        azimuth: degrees about the vertical; 0 looks along +y, at an avatar's front, 90 at its left side.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    radius = float(np.linalg.norm(points[:, :2] - centre[:2], axis=1).max())
    render = scene.render
    width, height = (
        render.resolution_x * render.pixel_aspect_x,
        render.resolution_y * render.pixel_aspect_y,
    )
    half = math.tan(FIELD_OF_VIEW / 2)
    # How wide and how high the picture is at a distance of one.
    across, up = half * min(1.0, width / height), half * min(1.0, height / width)
    distance = radius + _MARGIN * max(float(high[2] - low[2]) / 2 / up, radius / across)
    data = bpy.data.cameras.new("HumanSplat Camera")
    data.sensor_fit, data.angle = "AUTO", FIELD_OF_VIEW
    data.clip_start, data.clip_end = min(0.1, distance / 100), max(100.0, 4 * distance)
    camera = bpy.data.objects.new("HumanSplat Camera", data)
    turn = Matrix.Rotation(math.radians(azimuth), 4, "Z")
    place = Vector(centre.tolist()) + turn @ Vector((0.0, -distance, 0.0))
    camera.matrix_world = Matrix.Translation(place) @ turn @ Matrix.Rotation(math.pi / 2, 4, "X")
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera
