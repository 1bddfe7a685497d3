"""The panel *Export* and File > Export in the installed extension, with the fake backend behind it."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from extension_under_test import MODULE

from tests import oracles

EXPORT = f"{MODULE}.humansplat_blender.export"


@pytest.fixture
def avatar(addon: SimpleNamespace) -> Any:
    from bl_ext.user_default.humansplat.humansplat_blender import scene

    bpy.ops.humansplat.reconstruct(filepath=addon.photo("Zoë"))
    return scene.find_avatar(bpy.context.object)


def export(tmp_path: Path, target: str, **settings: Any) -> Path:
    """The folder that an export of the active avatar has written."""
    chosen = bpy.context.scene.humansplat_export
    chosen.target = target
    for name, value in settings.items():
        setattr(chosen, name, value)
    assert bpy.ops.humansplat.export_avatar(directory=str(tmp_path)) == {"FINISHED"}
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return folder


def document(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])


def splat_count(folder: Path) -> int:
    (file,) = folder.glob("*.ply")
    return int(next(line for line in file.read_bytes()[:600].split(b"\n") if line.startswith(b"element")).split()[-1])


def animate(armature: bpy.types.Object, name: str) -> None:
    from bl_ext.user_default.humansplat.humansplat_blender import motion

    motion.import_library_motion(bpy.context, armature, name)


def test_one_click_gives_a_folder_with_mesh_splats_and_clips(
    addon: SimpleNamespace, avatar: Any, tmp_path: Path
) -> None:
    animate(avatar.armature, "walk")
    animate(avatar.armature, "wave")
    scene = bpy.context.scene
    scene.frame_set(7)
    before = (len(bpy.data.objects), len(bpy.data.actions), avatar.armature.animation_data.action)
    folder = export(tmp_path / "out", "three")
    assert (len(bpy.data.objects), len(bpy.data.actions), avatar.armature.animation_data.action) == before
    assert scene.frame_current == 7
    name = avatar.armature.name
    assert {f"{name}.glb", f"{name}_splats.glb", f"{name}.ply", f"{name}.spz", "skin.json"} <= {
        path.name for path in folder.iterdir()
    }
    for file in (f"{name}.glb", f"{name}_splats.glb"):
        clips = document(folder / file)["animations"]
        assert sorted(clip["name"] for clip in clips) == ["Walk", "Wave"]
    assert "was exported" in addon.manager.message and addon.manager.failure is None
    scene.humansplat_export.motions = "OWN"
    own = export(tmp_path / "own", "three")
    # The second motion pushed the first one into the NLA, where it is the avatar's own still.
    assert {clip["name"] for clip in document(own / f"{name}.glb")["animations"]} <= {"Walk", "Wave"}
    scene.humansplat_export.motions = "NONE"
    assert not document(export(tmp_path / "none", "three") / f"{name}.glb").get("animations")


def test_what_is_erased_and_painted_leaves_erased_and_painted(avatar: Any, tmp_path: Path) -> None:
    from bl_ext.user_default.humansplat.backend.avatar import read_ply
    from bl_ext.user_default.humansplat.humansplat_blender.scene import edits

    count = len(avatar.splats.data.vertices if hasattr(avatar.splats.data, "vertices") else avatar.splats.data.points)
    which = np.zeros(count, bool)
    which[: count // 4] = True
    edits.erase(avatar.splats, which)
    edits.paint(avatar.splats, ~which, np.array([1.0, 0.0, 0.0]))
    folder = export(tmp_path / "out", "blender", motions="NONE")
    splats = read_ply(next(folder.glob("*.ply")))
    assert len(splats) == count - count // 4
    assert np.allclose(splats.rgb, [1, 0, 0], atol=1e-5)


def test_body_sliders_leave_with_it(avatar: Any, tmp_path: Path) -> None:
    from bl_ext.user_default.humansplat.humansplat_blender.export import scene_avatar
    from bl_ext.user_default.humansplat.humansplat_blender.scene import shape

    plain = scene_avatar(bpy.context, avatar)
    avatar.armature[shape.TALLER] = 0.1
    taller = scene_avatar(bpy.context, avatar)
    assert np.allclose(taller.rest_joints, plain.rest_joints * 1.1)
    assert np.allclose(np.ptp(taller.gaussians.position, axis=0), 1.1 * np.ptp(plain.gaussians.position, axis=0))
    mesh = avatar.body.data
    avatar.body.shape_key_add(name="Basis")
    key = avatar.body.shape_key_add(name="Wider")
    places = np.empty(len(mesh.vertices) * 3, np.float32)
    key.data.foreach_get("co", places)
    key.data.foreach_set("co", (places.reshape(-1, 3) * [1.5, 1, 1]).astype(np.float32).ravel())
    key.value = 1.0
    avatar.armature[shape.TALLER] = 0.0
    wider = scene_avatar(bpy.context, avatar)
    assert np.isclose(np.ptp(wider.gaussians.position[:, 0]), 1.5 * np.ptp(plain.gaussians.position[:, 0]), rtol=0.02)
    assert np.isclose(np.ptp(wider.gaussians.position[:, 1]), np.ptp(plain.gaussians.position[:, 1]), rtol=0.02)


def test_a_motion_leaves_as_blender_shows_it(avatar: Any) -> None:
    from bl_ext.user_default.humansplat.humansplat_blender import scene
    from bl_ext.user_default.humansplat.humansplat_blender.export import action_motions, avatar_actions
    from bl_ext.user_default.humansplat.humansplat_blender.scene.armature import standing

    animate(avatar.armature, "walk")
    avatar.armature.location = (3, 1, 0)
    avatar.armature.rotation_euler = (0, 0, 1)
    (motion,) = action_motions(bpy.context, avatar.armature, avatar_actions(avatar.armature))
    first = int(avatar.armature.animation_data.action.frame_range[0])
    for frame in (0, 5, 11):
        bpy.context.scene.frame_set(first + frame)
        pose, place = scene.read_pose(avatar.armature, bpy.context.evaluated_depsgraph_get())
        assert np.allclose(motion.poses[frame], pose, atol=1e-5)
        assert np.allclose(motion.translation[frame], place - standing(avatar.armature), atol=1e-5)


def test_actions_of_other_rigs_stay_behind(avatar: Any) -> None:
    from bl_ext.user_default.humansplat.humansplat_blender.export import avatar_actions

    data = bpy.data.armatures.new("Dog")
    dog = bpy.data.objects.new("Dog", data)
    bpy.context.scene.collection.objects.link(dog)
    dog.location = (0, 0, 0)
    dog.keyframe_insert("location", frame=1)
    animate(avatar.armature, "walk")
    assert [what.action.name for what in avatar_actions(avatar.armature)] == ["Walk"]


def test_the_pose_of_this_frame(avatar: Any, tmp_path: Path) -> None:
    from bl_ext.user_default.humansplat.backend.avatar import read_ply
    from bl_ext.user_default.humansplat.humansplat_blender import scene

    scene.photo_pose(avatar.armature)
    bpy.context.view_layer.update()
    shown = scene.read_splats(bpy.context, avatar.splats)
    folder = export(tmp_path / "out", "splats", pose="CURRENT", motions="NONE")
    assert np.allclose(read_ply(next(p for p in folder.glob("*.ply") if "compressed" not in p.name)).position,
                       shown.position, atol=1e-4)  # fmt: skip


def test_a_lost_package_is_one_sentence(avatar: Any, tmp_path: Path) -> None:
    shutil.rmtree(avatar.armature["humansplat_package"])
    with pytest.raises(RuntimeError, match="bring the folder"):
        bpy.ops.humansplat.export_avatar(directory=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_others_is_one_sentence(addon: SimpleNamespace, avatar: Any, tmp_path: Path) -> None:
    folder = export(tmp_path / "out", "blender")
    (folder / "export.json").unlink()
    with pytest.raises(RuntimeError, match="not empty"):
        bpy.ops.humansplat.export_avatar(directory=str(tmp_path / "out"))
    assert addon.manager.failure.kind == "export_failed"


def test_without_a_backend_blender_writes_what_needs_numpy_alone(
    addon: SimpleNamespace, avatar: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animate(avatar.armature, "walk")
    monkeypatch.setattr(addon.runtime, "backend_spec", lambda: None)
    folder = export(tmp_path / "out", "splats")
    assert {path.suffix for path in folder.iterdir()} >= {".ply", ".glb", ".spz", ".splat", ".json"}
    assert [clip["name"] for clip in document(next(folder.glob("*.glb")))["animations"]] == ["Walk"]
    assert "was exported" in addon.manager.message
    bpy.context.scene.humansplat_export.target = "unity"
    assert bpy.ops.humansplat.export_avatar(directory=str(tmp_path / "no")) == {"CANCELLED"}
    assert addon.manager.failure.kind == "backend_missing" and not (tmp_path / "no").exists()


@pytest.fixture
def exporters() -> Iterator[None]:
    """Blender's own add-ons for glTF and FBX."""
    if bpy.app.version < (4, 5, 0):
        pytest.skip("Blender 4.2 as a Python module dies at its end after glTF was used")
    for name in ("io_scene_gltf2", "io_scene_fbx"):
        bpy.ops.preferences.addon_enable(module=name)
    yield
    for name in ("io_scene_gltf2", "io_scene_fbx"):
        if name in bpy.context.preferences.addons:
            bpy.ops.preferences.addon_disable(module=name)


@pytest.mark.usefixtures("exporters")
def test_unreal_gets_an_fbx_with_its_bones_and_clips(avatar: Any, tmp_path: Path) -> None:
    animate(avatar.armature, "walk")
    animate(avatar.armature, "wave")
    kinds = ("objects", "actions", "images", "scenes", "meshes", "armatures")
    names = {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}
    folder = export(tmp_path / "out", "unreal", budget="10000")
    after = {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}
    assert after == names  # nothing of the way is left
    (fbx,) = folder.glob("*.fbx")
    known = set(bpy.data.objects)
    bpy.ops.import_scene.fbx(filepath=str(fbx))
    read = [obj for obj in bpy.data.objects if obj not in known]
    armature = next(obj for obj in read if obj.type == "ARMATURE")
    assert {"root", "pelvis", "upperarm_l", "ball_r"} <= set(armature.data.bones.keys())
    assert armature.data.bones["pelvis"].parent.name == "root"
    head = armature.matrix_world @ armature.data.bones["head"].head_local
    assert 1.2 < head.z < 1.9 and abs(head.x) < 0.1  # metres, upright in Blender
    assert sorted(a.name.partition("|")[2] for a in bpy.data.actions if "|" in a.name) == ["Walk", "Wave"]
    (mesh,) = [obj for obj in read if obj.type == "MESH"]
    assert mesh.find_armature() == armature and mesh.name == "Zoë Mesh"


@pytest.mark.usefixtures("exporters")
def test_fbx_is_read_by_the_fbx_sdk(avatar: Any, tmp_path: Path) -> None:
    program = oracles.node_modules() / "fbx2gltf" / "bin" / "Linux" / "FBX2glTF"
    if not program.is_file() or sys.platform != "linux":
        pytest.skip("FBX2glTF is not installed")
    animate(avatar.armature, "walk")
    folder = export(tmp_path / "out", "unity", budget="10000")
    (fbx,) = folder.glob("*.fbx")
    program.chmod(0o755)
    command = [str(program), "--binary", "--input", str(fbx), "--output", str(tmp_path / "back")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    back = document(tmp_path / "back.glb")
    ours = document(folder / f"{avatar.armature.name}.glb")
    bones = {ours["nodes"][node]["name"] for node in ours["skins"][0]["joints"]}
    assert bones == {back["nodes"][node]["name"] for node in back["skins"][0]["joints"]}
    assert [clip["name"] for clip in back["animations"]] == ["Walk"]
    assert oracles.run_node("validate.mjs", tmp_path / "back.glb")["errors"] == {}


@pytest.mark.usefixtures("exporters")
def test_three_moves_the_mesh_as_blender_does(avatar: Any, tmp_path: Path) -> None:
    oracles.node_modules()
    animate(avatar.armature, "walk")
    folder = export(tmp_path / "out", "three", budget="10000")
    glb = folder / f"{avatar.armature.name}.glb"
    scene = bpy.data.scenes.new("Read")
    rate = bpy.context.scene.render.fps
    bpy.context.window.scene = scene
    bpy.ops.import_scene.gltf(filepath=str(glb), merge_vertices=False)
    scene.render.fps = rate
    mesh = next(obj for obj in scene.objects if obj.type == "MESH" and obj.find_armature() is not None)
    frames = range(20)
    said = oracles.run_node("skin.mjs", glb, "Walk", tmp_path / "o.bin", *(frame / rate for frame in frames))
    theirs = np.fromfile(tmp_path / "o.bin", np.float32).reshape(len(frames), said["vertices"], 3)
    depsgraph = scene.view_layers[0].depsgraph
    for frame in frames:
        scene.frame_set(frame)
        depsgraph.update()
        evaluated = mesh.evaluated_get(depsgraph)
        places = np.empty(len(evaluated.data.vertices) * 3, np.float32)
        evaluated.data.vertices.foreach_get("co", places)
        world = np.array(evaluated.matrix_world)
        places = places.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]
        ours = places[:, [0, 2, 1]] * [1, 1, -1]  # Blender's z up as glTF's y up
        assert len(ours) == said["vertices"]
        assert np.abs(ours - theirs[frame]).max() < 1e-4
    assert np.abs(theirs[10] - theirs[0]).max() > 0.1  # it does move
