"""A saved file opens, poses and renders where the add-on was never installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
from humansplat.humansplat_blender import scene
from support import prepare_cycles, render_pixels

from tests.synthetic import make_pose

OPEN_AND_RENDER = """
import sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
bpy.context.scene.frame_set(2)
bpy.context.scene.render.filepath = sys.argv[2]
bpy.ops.render.render(write_still=True)
assert not [name for name in sys.modules if "humansplat" in name], "the add-on was loaded"
assert not bpy.data.texts and not bpy.app.handlers.frame_change_pre and not bpy.app.handlers.frame_change_post
assert not [o for o in bpy.data.objects if o.animation_data and o.animation_data.drivers]
"""


def test_saved_file_renders_without_the_addon(package: Path, tmp_path: Path) -> None:
    imported = scene.import_avatar(bpy.context, package, camera=True)
    scene.scene_setup(bpy.context.scene)
    scene.match_render_size(bpy.context.scene, imported.camera)
    scene.rest_pose(imported.armature)
    for frame, pose in ((1, np.zeros((24, 3))), (2, make_pose(5, 0.3))):
        scene.apply_pose(imported.armature, pose, (0, 0.9, 0))
        for bone in imported.armature.pose.bones:
            bone.keyframe_insert("rotation_quaternion", frame=frame)
    prepare_cycles(64, 64, 4)
    bpy.context.scene.frame_set(2)
    expected = render_pixels(tmp_path / "expected.exr")
    bpy.context.scene.frame_set(1)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))

    command = [sys.executable, "-c", OPEN_AND_RENDER, str(tmp_path / "saved.blend"), str(tmp_path / "found.exr")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    image = bpy.data.images.load(str(tmp_path / "found.exr"))
    found = np.array(image.pixels[:], dtype=np.float32).reshape(64, 64, 4)
    assert expected[..., 3].mean() > 0.02
    np.testing.assert_allclose(found, expected, atol=1e-4)
