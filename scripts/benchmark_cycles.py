#!/usr/bin/env python3
"""Processor seconds that a sample of Cycles takes, for each form of the splats. Runs where bpy is installed:

    .venvs/blender/bin/python scripts/benchmark_cycles.py PACKAGE [--size 960x540] [--samples 4]

Rows: every splat an icosphere and all 256 transparent bounces certain, as version 0.1.0 drew them; flat splats as
discs; the scene as `Set Up Scene for Splats` leaves it; and over the opaque core, as avatars are drawn. Each picture is
compared with the first, at equal samples and seed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "scene")]


def processor_seconds() -> float:
    """Of this process so far, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Render, time, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--size", default="960x540", help="width x height in pixels; the person fills the height")
    parser.add_argument("--samples", type=int, default=4)
    arguments = parser.parse_args()

    import bpy
    from conftest import load_extension

    load_extension()
    from humansplat.humansplat_blender import scene
    from humansplat.humansplat_blender.scene.nodes import display
    from humansplat.humansplat_blender.scene.nodes.build import set_input
    from support import prepare_cycles, render_pixels

    width, height = (int(part) for part in arguments.size.split("x"))
    flat = display._FLAT

    def picture(form: float, certain: int | None, core: bool) -> tuple[np.ndarray, float]:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        display._FLAT = form  # read where the node group is built
        avatar = scene.import_avatar(bpy.context, arguments.package, camera=True)
        if not core:
            set_input(scene.display_modifier(avatar.splats), display.BODY, None)
        settings = bpy.context.scene
        scene.match_render_size(settings, avatar.camera)
        scene.scene_setup(settings)
        if certain is not None:
            settings.cycles.min_transparent_bounces = certain
        settings.world = bpy.data.worlds.new("world")
        prepare_cycles(width, height, 1)
        settings.render.pixel_aspect_x = settings.render.pixel_aspect_y = 1
        settings.render.film_transparent = False
        avatar.camera.data.sensor_fit = "VERTICAL"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.exr"
            render_pixels(path)  # kernels, and the scene's first synchronisation
            began = processor_seconds()
            render_pixels(path)
            single = processor_seconds() - began
            settings.cycles.samples = 1 + arguments.samples
            began = processor_seconds()
            pixels = render_pixels(path)
            return pixels, (processor_seconds() - began - single) / arguments.samples

    def display_colour(pixels: np.ndarray) -> np.ndarray:
        colour = np.clip(pixels[..., :3], 0, 1)
        return np.where(colour < 0.0031308, 12.92 * colour, 1.055 * colour ** (1 / 2.4) - 0.055)

    print(f"Blender {bpy.app.version_string}, {width} x {height}")
    rows = (
        ("icospheres, 256 certain", -1.0, 256, False),
        ("discs, 256 certain", flat, 256, False),
        ("discs, as set up", flat, None, False),
        ("discs over a core, as set up", flat, None, True),
    )
    first: tuple[np.ndarray, float] | None = None
    for label, *settings in rows:
        pixels, seconds = picture(*settings)
        first = first or (pixels, seconds)
        error = np.mean((display_colour(pixels) - display_colour(first[0])) ** 2)
        same = "" if error == 0 else f"   {-10 * np.log10(error):.1f} dB to the first"
        print(f"  {label:<29} {seconds:6.2f} s a sample   {first[1] / seconds:4.1f} times as quick{same}", flush=True)


if __name__ == "__main__":
    main()
