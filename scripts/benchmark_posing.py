"""Milliseconds that Blender takes to pose an avatar: every joint keyed, one `frame_set` a frame.

Run with the Python of each bpy: ``python scripts/benchmark_posing.py [--splats 100000]``. The rows show what the
armature and body cost, what binding adds, and what drawing adds in the viewport's form.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "scene")]


def main() -> None:
    """Build the scene, time it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splats", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--avatars", type=int, default=1, help="so many at last, each with its own keys")
    parser.add_argument(
        "--preserve-volume", type=float, help="share of dual quaternions, 0 to 1; as new avatars have it"
    )
    arguments = parser.parse_args()

    import bpy
    from conftest import load_extension

    load_extension()
    import numpy as np
    from humansplat.humansplat_blender import scene
    from humansplat.humansplat_blender.scene import attributes, sway
    from humansplat.humansplat_blender.scene import splats as splats_module
    from humansplat.humansplat_blender.scene.nodes.build import set_input
    from humansplat.humansplat_blender.scene.nodes.display import EXACT_VIEWPORT
    from humansplat.humansplat_blender.scene.nodes.sway import ROOM

    from backend.avatar.package import save_avatar
    from backend.avatar.skinning import PRESERVE_VOLUME
    from tests.synthetic import make_avatar, make_pose

    bpy.ops.wm.read_factory_settings(use_empty=True)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "avatar"
        share = PRESERVE_VOLUME if arguments.preserve_volume is None else arguments.preserve_volume
        save_avatar(replace(make_avatar(arguments.splats), preserve_volume=share), package)
        start = time.perf_counter()
        avatar = scene.import_avatar(bpy.context, package)
        bpy.context.view_layer.update()
        imported = time.perf_counter() - start
    for number, frame in enumerate((1, arguments.frames + 1)):
        scene.apply_pose(avatar.armature, make_pose(number), (0.0, 1.0, 0.0))
        for bone in avatar.armature.pose.bones:
            bone.keyframe_insert("rotation_quaternion", frame=frame)

    modifiers = avatar.splats.modifiers
    display = modifiers.get(splats_module.DISPLAY_MODIFIER)

    def measure(label: str) -> None:
        bpy.context.scene.frame_set(1)
        samples = []
        for frame in range(2, arguments.frames + 2):
            start = time.perf_counter()
            bpy.context.scene.frame_set(frame)
            samples.append((time.perf_counter() - start) * 1e3)
        middle, best, worst = statistics.median(samples), min(samples), max(samples)
        print(f"  {label:<34} {middle:7.1f} ms   best {best:6.1f}   worst {worst:6.1f}")

    print(f"Blender {bpy.app.version_string}, {arguments.splats} splats, imported in {imported * 1e3:.0f} ms")
    for modifier in modifiers:
        modifier.show_viewport = False
    measure("armature and body")
    modifiers[splats_module.BIND_MODIFIER].show_viewport = True
    measure("+ splats bound")
    # Of a person in a skirt fewer vertices sway, but the same number is simulated.
    room = np.full(len(avatar.body.data.vertices), 0.05, np.float32)
    attributes.write_points(avatar.body.data, {ROOM: ("FLOAT", room)})
    sway.add_sway(avatar)
    measure("+ cloth swaying")
    sway.remove_sway(avatar)
    if display is not None:
        display.show_viewport = True
        measure("+ drawn as points (the default)")
        for _ in range(arguments.avatars - 1):
            scene.duplicate_avatar(bpy.context, avatar)
        if arguments.avatars > 1:
            measure(f"{arguments.avatars} such avatars")
        set_input(display, EXACT_VIEWPORT, True)
        measure("+ drawn as ellipsoids instead")


if __name__ == "__main__":
    main()
