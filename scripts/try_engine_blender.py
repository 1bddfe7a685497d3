"""Draw a GLB at moments of a clip, with Blender as a Python module, for ``scripts/try_engine`` to compare with.

    python scripts/try_engine_blender.py FILE.glb FOLDER [--clip NAME] [--shots 0,0.5,1] [--camera ...] [--size 540x720]

Times are shares of the clip. The camera is "FOV,X,Y,Z,TARGET_X,TARGET_Y,TARGET_Z": vertical degrees, and metres in
glTF's coordinates. Pictures are FOLDER/shot_0.png and so on, on transparency.
"""

from __future__ import annotations

import argparse
import json
from math import radians
from pathlib import Path

import bpy
from mathutils import Vector

SAMPLES = 8


def first_clip(glb: Path) -> str:
    """Name of the first clip in a file; Blender sorts them."""
    data = glb.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    return json.loads(data[20 : 20 + length])["animations"][0]["name"]


def find_action(name: str) -> bpy.types.Action:
    """The action of a clip; Blender adds to the names of some."""
    actions = sorted(bpy.data.actions, key=lambda action: action.name)
    found = [action for action in actions if action.name == name] or [
        action for action in actions if action.name.startswith(name)
    ]
    if not found:
        raise SystemExit(f"Blender found no clip {name}; it has {', '.join(action.name for action in actions)}.")
    return found[0]


def place_camera(numbers: list[float]) -> None:
    """A camera from vertical degrees, place and target in glTF's coordinates."""
    data = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    data.sensor_fit = "VERTICAL"
    data.angle = radians(numbers[0])
    data.clip_start, data.clip_end = 0.05, 100
    place, target = (Vector((x, -z, y)) for x, y, z in (numbers[1:4], numbers[4:7]))
    camera.location = place
    camera.rotation_mode = "QUATERNION"
    camera.rotation_quaternion = (target - place).to_track_quat("-Z", "Y")


def main() -> None:
    """Import, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("glb", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clip", default="")
    parser.add_argument("--shots", type=lambda text: [float(part) for part in text.split(",")], default=[0, 0.5, 1])
    parser.add_argument("--camera", type=lambda text: [float(part) for part in text.split(",")], required=True)
    parser.add_argument("--size", default="540x720")
    arguments = parser.parse_args()

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
    scene = bpy.context.scene
    scene.render.fps = 30
    bpy.ops.import_scene.gltf(filepath=str(arguments.glb))
    (rig,) = [thing for thing in scene.objects if thing.type == "ARMATURE"]
    action = find_action(arguments.clip or first_clip(arguments.glb))
    animation = rig.animation_data_create()
    for track in animation.nla_tracks:
        track.mute = True
    for bone in rig.pose.bones:  # what another clip has left in bones that this one does not move
        bone.matrix_basis.identity()
    animation.action = action
    if hasattr(animation, "action_slot") and animation.action_slot is None:
        animation.action_slot = animation.action_suitable_slots[0]
    place_camera(arguments.camera)

    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = SAMPLES
    scene.cycles.use_denoising = False
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = (int(part) for part in arguments.size.split("x"))
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    first, last = action.frame_range
    for index, share in enumerate(arguments.shots):
        frame = first + share * (last - first)
        scene.frame_set(int(frame), subframe=frame - int(frame))
        scene.render.filepath = str(arguments.folder / f"shot_{index}.png")
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
