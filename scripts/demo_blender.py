"""The demo's part inside Blender: install the add-on, import the avatar, three poses, save, render.

    python scripts/demo_blender.py AVATAR_PACKAGE avatar.blend FOLDER_FOR_PICTURES

Runs where bpy is installed. The extension is built and installed as an artist would, into a throw-away profile.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from demo_poses import POSES_DEGREES, pose  # noqa: E402

from backend.avatar import Avatar, load_avatar  # noqa: E402  (after the path)
from backend.avatar.skinning import joint_transforms, surface_in_pose  # noqa: E402

MODULE = "bl_ext.user_default.humansplat"
SIZE = (400, 480)
SAMPLES = 8
FRAME_STEP = 25


@contextmanager
def muted() -> Iterator[None]:
    """Keep Blender's own lines, which it writes past Python, off the screen; they are shown if something fails."""
    sys.stdout.flush()
    screen = os.dup(1)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        try:
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(screen, 1)
            os.close(screen)


def build_extension(folder: Path) -> Path:
    """The extension's zip, made by Blender's own tool."""
    origin = importlib.util.find_spec("bpy").origin
    tool = next(Path(origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    command = [sys.executable, str(tool), "build", "--source-dir", str(ROOT), "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The extension could not be built:\n{done.stdout}{done.stderr}")
    return next(folder.glob("*.zip"))


def install(extension: Path) -> ModuleType:
    """Install and enable the extension; returns its ``scene`` package."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.extensions.package_install_files(filepath=str(extension), repo="user_default", enable_on_install=True)
    return importlib.import_module(f"{MODULE}.humansplat_blender.scene")


def standing(avatar: Avatar, angles: np.ndarray) -> np.ndarray:
    """Translation [3] that puts a posed avatar's lowest point on the floor and its pelvis over the origin."""
    transforms = joint_transforms(angles, avatar.rest_joints, avatar.parents)
    posed = surface_in_pose(avatar, angles)
    pelvis = transforms[0, :3, :3] @ avatar.rest_joints[0] + transforms[0, :3, 3]
    return -np.array([pelvis[0], posed[:, 1].min(), pelvis[2]])


def set_stage(height: float) -> None:
    """A camera that sees the person whatever the pose, a plain background, quick render settings."""
    import bpy
    from mathutils import Vector

    scene = bpy.context.scene
    data = bpy.data.cameras.new("Demo Camera")
    data.lens, data.sensor_fit, data.sensor_height = 70.0, "VERTICAL", 24.0
    camera = bpy.data.objects.new("Demo Camera", data)
    scene.collection.objects.link(camera)
    aim = Vector((0.0, 0.0, 0.55 * height))
    # 24 mm of sensor at 70 mm: the height with room for a raised arm.
    distance = 1.28 * height * data.lens / data.sensor_height
    camera.location = aim + distance * Vector((0.42, -0.90, 0.12)).normalized()
    camera.rotation_euler = (aim - camera.location).to_track_quat("-Z", "Y").to_euler()
    scene.camera = camera
    world = bpy.data.worlds.new("Demo World")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.68, 0.69, 0.71, 1.0)
    scene.world = world
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", SAMPLES, 0
    # A denoiser would take fine detail for noise.
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.render.image_settings.file_format = "PNG"


def build(package: Path, blend: Path) -> dict[str, int]:
    """Install the add-on, import, key the poses, save; returns the frame of each pose."""
    import bpy

    with tempfile.TemporaryDirectory() as folder:
        scene_api = install(build_extension(Path(folder)))
    try:
        bpy.ops.humansplat.import_avatar(directory=str(package))
    except RuntimeError as error:  # how Blender hands on what an operator reports
        raise SystemExit(str(error)) from error
    armature = bpy.context.object
    avatar = load_avatar(package)
    set_stage(float(np.ptp(avatar.body.vertices[:, 1])))
    bpy.ops.humansplat.set_pose(pose="PHOTO")
    scene_api.key_pose(armature, 1)
    frames = {name: FRAME_STEP * number for number, name in enumerate(POSES_DEGREES, 1)}
    for name, frame in frames.items():
        angles = pose(name)
        scene_api.apply_pose(armature, angles, standing(avatar, angles))
        scene_api.key_pose(armature, frame)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, max(frames.values())
    scene.frame_set(1)
    blend.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    return frames


def render(frame: int, picture: Path) -> None:
    """Render one frame, as F12 does."""
    import bpy

    scene = bpy.context.scene
    scene.frame_set(frame)
    scene.render.filepath = str(picture)
    bpy.ops.render.render(write_still=True)


def run(package: Path, blend: Path, pictures: Path) -> None:
    """Everything, with a line for each step."""
    started = time.perf_counter()
    with muted():
        frames = build(package, blend)
    print(f"Installed the add-on, imported, posed and saved {time.perf_counter() - started:6.1f} s", flush=True)
    pictures.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        started = time.perf_counter()
        with muted():
            render(frame, pictures / f"{frame:03}_{name}.png")
        print(f"Rendered {name:<37} {time.perf_counter() - started:6.1f} s", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("blend", type=Path)
    parser.add_argument("pictures", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="humansplat-demo-") as profile:
        # Read once, when bpy is first imported: the demo leaves the user's own Blender settings alone.
        os.environ["BLENDER_USER_RESOURCES"] = profile
        run(*(path.resolve() for path in (arguments.package, arguments.blend, arguments.pictures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
