#!/usr/bin/env python3
"""Render the demo photo: a clothed person made from the shipped body. Runs where bpy 4.5 is installed:

    .venvs/blender/bin/python scripts/render_demo_person.py -o docs/demo/person.jpg

Nothing in it comes from a photo of a real person. The same command makes the same picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from demo_person import clothes, hair, materials, studio  # noqa: E402  (after the path)
from demo_person.figure import Figure, make_figure, move  # noqa: E402
from demo_person.shot import AIM, CAMERA, LENS, SENSOR, SIZE  # noqa: E402


def face_tints(figure: Figure) -> dict[str, np.ndarray]:
    """Per-vertex shares [V] of what tints the skin: lashes, lips, blush, stubble, scalp."""
    x, y, z = figure.rest.T
    in_front = clothes.smoothstep(0.10, 0.13, z)
    lips = np.hypot(x / 0.027, (y - 0.5525) / 0.0105)
    cheeks = np.exp(-(((abs(x) - 0.040) / 0.020) ** 2) - ((y - 0.588) / 0.018) ** 2)
    nose = np.exp(-((x / 0.014) ** 2) - ((y - 0.588) / 0.014) ** 2)
    jaw = np.exp(-(((y - 0.545) / 0.030) ** 2)) * clothes.smoothstep(0.03, 0.09, z) * (abs(x) < 0.08)
    upper_lid = y > figure.eyes[0][0][1] - 0.002
    to_eye = np.min([np.linalg.norm(figure.rest - centre, axis=1) - radius for centre, radius in figure.eyes], 0)
    return {
        "lashes": (1 - clothes.smoothstep(0.0008, 0.0024, to_eye)) * in_front * upper_lid,
        "lips": (1 - clothes.smoothstep(0.75, 1.05, lips)) * in_front,
        "blush": np.clip(cheeks + 0.7 * nose, 0, 1) * in_front,
        "stubble": jaw * clothes.smoothstep(1.0, 1.3, lips),
        "scalp": 0.9 * clothes.smoothstep(-0.002, 0.010, hair.scalp_field(figure.rest)) * (y > 0.5),
    }


def add_shoes(figure: Figure, material: bpy.types.Material) -> float:
    """Each foot's surface thickened and its toes fused; returns the height of the soles, metres."""
    shoes = []
    for side in (1.0, -1.0):
        x, y, _z = figure.rest.T
        field = np.where(x * side > 0, -0.905 - y, -1.0)
        piece = clothes.drape(figure, field, np.full(len(field), 0.009), 6, 0.006)
        shoe = studio.add_mesh("Shoe", piece.vertices, piece.faces, material)
        solid = shoe.modifiers.new("Thickness", "SOLIDIFY")
        solid.thickness, solid.offset = 0.012, -1.0
        remesh = shoe.modifiers.new("Fuse toes", "REMESH")
        remesh.mode, remesh.voxel_size, remesh.use_smooth_shade = "VOXEL", 0.005, True
        smooth = shoe.modifiers.new("Smooth", "SMOOTH")
        smooth.factor, smooth.iterations = 0.6, 14
        shoes.append(shoe)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    return min(corner[2] for shoe in shoes for corner in shoe.evaluated_get(depsgraph).bound_box)


def build(quick: bool) -> None:
    """Make the whole scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rng = np.random.default_rng(7)
    figure = make_figure()
    bare = figure.faces[~clothes.covered(figure)[figure.faces].all(1)]
    body = studio.add_mesh("Body", figure.posed, bare, materials.skin(), figure.rest, face_tints(figure))
    body.modifiers.new("Smooth", "SUBSURF").render_levels = 1
    eye = materials.eye()
    for centre, radius in figure.eyes:
        studio.add_eye(move(figure.head, centre[None])[0], radius, np.array(CAMERA), eye)
    trousers = clothes.trousers(figure)
    studio.add_garment("Trousers", trousers, materials.cotton("Twill", (0.115, 0.105, 0.075)), 0.0025)
    studio.add_garment("Shirt", clothes.shirt(figure, trousers), materials.striped_jersey(), 0.002)
    floor = add_shoes(figure, materials.shoe())
    brown = materials.hair()
    studio.add_strands("Hair", hair.grow_hair(figure, 6000 if quick else 36000, rng), brown)
    studio.add_strands("Brows", hair.grow_brows(figure, rng), brown)
    studio.add_backdrop(materials.plain("Paper", (0.42, 0.43, 0.44), 0.9), floor)
    studio.add_light("Key", (-2.6, -3.2, 3.2), (0, 0, 1.1), 1.8, 120.0, (1.0, 0.96, 0.90))
    studio.add_light("Fill", (3.2, -2.8, 2.0), (0, 0, 1.0), 2.6, 40.0, (0.90, 0.95, 1.0))
    studio.add_light("Rim", (-2.2, 1.9, 3.0), (0, 0, 1.2), 1.2, 40.0, (1.0, 1.0, 1.0))
    world = bpy.data.worlds.new("World")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.16, 0.16, 0.165, 1.0)
    studio.add_camera(np.array(CAMERA), np.array(AIM), LENS, SENSOR)


def render(output: Path, scale: float, samples: int, threads: int) -> None:
    """Render the scene with Cycles on the processor."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples, scene.cycles.seed = samples, 0
    scene.cycles.use_denoising = True
    scene.render.resolution_x, scene.render.resolution_y = (round(side * scale) for side in SIZE)
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.25
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    settings = scene.render.image_settings
    settings.file_format = "JPEG" if output.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    settings.quality = 90
    output.parent.mkdir(parents=True, exist_ok=True)
    scene.render.filepath = str(output.resolve())
    bpy.ops.render.render(write_still=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "demo" / "person.jpg")
    parser.add_argument("--scale", type=float, default=1.0, help=f"of {SIZE[0]}x{SIZE[1]} pixels")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--quick", action="store_true", help="fewer hairs")
    parser.add_argument("--crop", type=float, nargs=4, metavar=("LEFT", "RIGHT", "BOTTOM", "TOP"), help="shares, 0..1")
    arguments = parser.parse_args()
    build(arguments.quick)
    if arguments.crop:
        settings = bpy.context.scene.render
        settings.use_border = settings.use_crop_to_border = True
        settings.border_min_x, settings.border_max_x, settings.border_min_y, settings.border_max_y = arguments.crop
    render(arguments.output, arguments.scale, arguments.samples, arguments.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
