"""Render one avatar in Cycles and in EEVEE, as renders and as the viewport draw it, and say how far they differ.

Run with the Python of a bpy: ``python scripts/compare_engines.py [PACKAGE] [--size 256] [--output FOLDER]``. Without a
graphics card EEVEE needs Mesa's software OpenGL and takes minutes. Differences are of display colours, 0..255.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "scene")]


def main() -> None:
    """Render, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, nargs="?", help="avatar package; a made-up one if left out")
    parser.add_argument("--size", type=int, default=256, help="height of the pictures in pixels")
    parser.add_argument("--output", type=Path, help="folder to keep the pictures in")
    arguments = parser.parse_args()

    import bpy
    from conftest import load_extension

    load_extension()
    from humansplat.humansplat_blender import scene
    from humansplat.humansplat_blender.scene.splats import DISPLAY_MODIFIER
    from support import prepare_cycles, show_viewport_form

    from backend.avatar import save_avatar
    from tests.synthetic import make_avatar

    with tempfile.TemporaryDirectory() as temporary:
        package = arguments.package
        if package is None:
            package = Path(temporary) / "tubes"
            save_avatar(make_avatar(20_000), package)
        output = arguments.output or Path(temporary)
        output.mkdir(parents=True, exist_ok=True)

        bpy.ops.wm.read_factory_settings(use_empty=True)
        avatar = scene.import_avatar(bpy.context, package, camera=True)
        settings = bpy.context.scene
        scene.scene_setup(settings)
        scene.match_render_size(settings, avatar.camera)
        width, height = settings.render.resolution_x, settings.render.resolution_y
        prepare_cycles(round(width * arguments.size / height), arguments.size, 64)
        settings.cycles.pixel_filter_type = "BLACKMAN_HARRIS"
        settings.render.film_transparent = False
        settings.world = bpy.data.worlds.new("world")
        settings.world.color = (0.25, 0.27, 0.3)
        eevee = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0, 0) else "BLENDER_EEVEE"
        pictures: dict[str, np.ndarray] = {}

        def take(name: str, engine: str, samples: int) -> None:
            settings.render.engine = engine
            settings.cycles.samples = settings.eevee.taa_render_samples = samples
            settings.render.image_settings.file_format = "PNG"
            settings.render.filepath = str(output / f"{name}.png")
            start = time.perf_counter()
            bpy.ops.render.render(write_still=True)
            seconds = time.perf_counter() - start
            image = bpy.data.images.load(settings.render.filepath)
            image.colorspace_settings.name = "Non-Color"
            pictures[name] = 255 * np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)[..., :3]
            bpy.data.images.remove(image)
            reference = next(iter(pictures.values()))
            difference = np.abs(pictures[name] - reference)
            print(
                f"{bpy.app.version_string} {name:<18} {seconds:6.1f} s   mean colour "
                f"{pictures[name].mean(axis=(0, 1)).round(2)}   mean difference {difference.mean():.2f}"
            )

        take("cycles_render", "CYCLES", 64)
        take("eevee_render", eevee, 8)
        display = avatar.splats.modifiers.get(DISPLAY_MODIFIER)
        if display is not None:
            show_viewport_form(display.node_group)
            take("cycles_viewport", "CYCLES", 64)
            take("eevee_viewport", eevee, 64)


if __name__ == "__main__":
    main()
