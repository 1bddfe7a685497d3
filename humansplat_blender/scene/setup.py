"""Scene settings that splats need, and the photo's camera."""

from __future__ import annotations

import bpy
from mathutils import Matrix

from ...backend.avatar.package import Camera
from . import convert

# A ray crosses many soft splats; each counts as a transparent bounce, and light beyond the limit is lost. Blender's
# default of 8 loses a quarter of the brightness, 128 none that can be seen.
TRANSPARENT_BOUNCES = 256
# So many are followed for certain; from there on Cycles gives up rays by chance, those that have little left to lose.
# With 0, its default, single pixels show the background through the avatar, bright as specks; with 16 they still do on
# dark cloth at few samples, and with 64 the picture is that of 256 (scripts/benchmark_cycles.py).
CERTAIN_BOUNCES = 64
# EEVEE blurs what it sorts, as it does splats, only by rendering several moments: nothing without motion blur.
BLUR_STEPS = 8
_FORMERLY_CERTAIN = 256  # what version 0.1.0 set


def scene_setup(scene: bpy.types.Scene) -> list[str]:
    """Set what splats need to look like the photo; returns one sentence for each setting that was changed.

    Colours: the view transform "Standard", because splats hold finished display colours that AgX and Filmic would
    wash out. Cycles: enough transparent bounces. These settings belong to the scene, not to the avatar.
    """
    changes = []
    view = scene.view_settings
    if view.view_transform != "Standard":
        changes.append(f"View transform: {view.view_transform} to Standard, so that colours match the photo.")
        view.view_transform = "Standard"
    if view.look != "None":
        changes.append(f"Look: {view.look} to None.")
        view.look = "None"
    cycles = getattr(scene, "cycles", None)
    if cycles is not None and cycles.transparent_max_bounces < TRANSPARENT_BOUNCES:
        changes.append(
            f"Cycles transparent bounces: {cycles.transparent_max_bounces} to {TRANSPARENT_BOUNCES}, "
            "so that rays pass through all splats."
        )
        cycles.transparent_max_bounces = TRANSPARENT_BOUNCES
    certain = None if cycles is None else cycles.min_transparent_bounces
    if certain is not None and (certain < CERTAIN_BOUNCES or certain == _FORMERLY_CERTAIN):
        changes.append(
            f"Cycles minimum transparent bounces: {certain} to {CERTAIN_BOUNCES}, "
            "so that no specks of the background shine through."
        )
        cycles.min_transparent_bounces = CERTAIN_BOUNCES
    eevee = getattr(scene, "eevee", None)
    if eevee is not None and eevee.motion_blur_steps < BLUR_STEPS:
        changes.append(
            f"EEVEE motion blur steps: {eevee.motion_blur_steps} to {BLUR_STEPS}, so that moving splats are blurred."
        )
        eevee.motion_blur_steps = BLUR_STEPS
    return changes


def add_photo_camera(camera: Camera, name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """A camera in `collection` that sees the avatar's photo pose as the photo did.

    Its picture has the photo's framing at the photo's aspect ratio; :func:`match_render_size` sets that.
    """
    data = bpy.data.cameras.new(name)
    data.sensor_fit = "HORIZONTAL"
    data.lens = camera.fx / camera.width * data.sensor_width
    # Shifts are in units of the image's width; a principal point right of the middle moves the view left.
    data.shift_x = (camera.width / 2 - camera.cx) / camera.width
    data.shift_y = (camera.cy - camera.height / 2) / camera.width * (camera.fx / camera.fy)
    data.clip_start = 0.01
    obj = bpy.data.objects.new(name, data)
    obj.matrix_world = Matrix(convert.camera_to_blender(camera.world_to_camera).tolist())
    obj["humansplat_size"] = [camera.width, camera.height]
    obj["humansplat_pixel_aspect"] = camera.fx / camera.fy
    collection.objects.link(obj)
    return obj


def match_render_size(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Render at the photo's size through this photo camera."""
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = camera["humansplat_size"]
    scene.render.resolution_percentage = 100
    aspect = camera["humansplat_pixel_aspect"]
    scene.render.pixel_aspect_x = max(1.0, 1 / aspect)
    scene.render.pixel_aspect_y = max(1.0, aspect)
