#!/usr/bin/env python3
"""Render avatars in poses of the library, and a walk, in Blender. Runs where bpy is installed:

    .venvs/blender/bin/python scripts/render_poses.py PACKAGE... --output FOLDER

Pictures that are there already are not rendered again. EEVEE needs OpenGL; Mesa's software OpenGL will do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "scene")]

POSES = ("relaxed", "lunge", "victory", "sitting")
COLUMNS = (("EEVEE", False), ("Cycles", False), ("Cycles", True))
"""Engine, and whether lamps light the avatar: the columns of a pose."""
SIZE = (210, 378)
SAMPLES = {"EEVEE": 8, "Cycles": 24}
WALK_SIZE = (210, 280)
WALK_SAMPLES = 8


def picture_name(person: str, pose: str, engine: str, lit: bool) -> str:
    """File name of a picture."""
    return f"{person}_{pose}_{engine}_{'lit' if lit else 'photo'}.png"


def walk_name(frame: str) -> str:
    """File name of a frame of the walk; a pattern for ``*``."""
    return f"walk_{frame}.png"


def main() -> None:
    """Render everything that is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    import bpy
    from conftest import load_extension
    from mathutils import Euler

    load_extension()
    from humansplat.humansplat_blender import motion, scene
    from humansplat.humansplat_blender.scene.nodes.build import set_input
    from humansplat.humansplat_blender.scene.nodes.display import LIT_BY_LAMPS

    def stage(package: Path) -> scene.ImportedAvatar:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        avatar = scene.import_avatar(bpy.context, package)
        settings = bpy.context.scene
        scene.scene_setup(settings)
        settings.render.resolution_percentage = 100
        settings.world = bpy.data.worlds.new("world")
        settings.world.use_nodes = True
        background = next(n for n in settings.world.node_tree.nodes if n.type == "BACKGROUND")
        background.inputs["Color"].default_value = (0.45, 0.47, 0.5, 1.0)
        bpy.ops.mesh.primitive_plane_add(size=30)
        floor = bpy.data.materials.new("floor")
        floor.use_nodes = True
        surface = next(n for n in floor.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
        surface.inputs["Base Color"].default_value = (0.35, 0.36, 0.38, 1.0)
        surface.inputs["Roughness"].default_value = 0.9
        bpy.context.object.data.materials.append(floor)
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = 3.5, 0.1
        lamp = bpy.data.objects.new("sun", sun)
        lamp.rotation_euler = Euler((0.75, 0.15, -0.9))
        settings.collection.objects.link(lamp)
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        camera.data.lens = 112
        camera.location, camera.rotation_euler = (2.3, -5.4, 1.75), Euler((1.43, 0.0, 0.405))
        settings.collection.objects.link(camera)
        settings.camera = camera
        return avatar

    def render(path: Path, engine: str, size: tuple[int, int], samples: int) -> None:
        settings = bpy.context.scene
        eevee = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
        settings.render.engine = "CYCLES" if engine == "Cycles" else eevee
        settings.render.resolution_x, settings.render.resolution_y = size
        settings.cycles.samples, settings.cycles.use_denoising = samples, False
        settings.eevee.taa_render_samples = samples
        settings.render.filepath = str(path)
        settings.render.image_settings.file_format = "PNG"
        bpy.ops.render.render(write_still=True)

    for package in arguments.packages:
        wanted = {
            (pose, engine, lit): arguments.output / picture_name(package.name, pose, engine, lit)
            for pose in POSES
            for engine, lit in COLUMNS
        }
        if all(path.is_file() for path in wanted.values()):
            continue
        avatar = stage(package)
        for (pose, engine, lit), path in wanted.items():
            if not path.is_file():
                motion.import_library_motion(bpy.context, avatar.armature, pose)
                set_input(scene.display_modifier(avatar.splats), LIT_BY_LAMPS, 1.0 if lit else 0.0)
                render(path, engine, SIZE, SAMPLES[engine])

    avatar = stage(arguments.packages[0])
    settings = bpy.context.scene
    action = motion.import_library_motion(bpy.context, avatar.armature, "walk", in_place=True)
    first, last = (round(frame) for frame in action.frame_range)
    for frame in range(first, last):  # the last frame is the first of the next cycle
        path = arguments.output / walk_name(f"{frame:03d}")
        if not path.is_file():
            settings.frame_set(frame)
            render(path, "Cycles", WALK_SIZE, WALK_SAMPLES)


if __name__ == "__main__":
    main()
