"""The Godot project: what is in it, and, where Godot is at hand, that it opens and runs."""

from __future__ import annotations

import configparser
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.avatar.formats.gltf_mesh import mesh_glb
from backend.avatar.formats.types import BoneClip, Provenance, Skeleton, SplatCloud, TexturedMesh
from backend.avatar.gaussians import from_rgb
from backend.export.godot import PROFILE_BONES, TEMPLATES, animation_name, write_godot_project

GODOT = os.environ.get("HUMANSPLAT_GODOT") or shutil.which("godot") or ""
NAMES = ("Anna", 'Anna\'s “second” "coat" \\ 李さん', "two words\nand lines")
CLIPS = ("Walk", 'Dance: 1/2 [loop], 100% "so" v1.2 @home', "Öl 李")
ABSOLUTE = re.compile(r"(?<![\w:/.])/(?:home|tmp|usr|work|mnt|Users)/|[A-Z]:\\\\")
PROVENANCE = Provenance("Anna", "test", "CC0-1.0", "photo.png")


def _skeleton(names: tuple[str, ...] = ("Root", "Hips", "Spine", "LeftUpperLeg")) -> Skeleton:
    return Skeleton(names, (-1, 0, 1, 1), np.array([[0, 0, 0], [0, 0.9, 0], [0, 1.1, 0], [0.1, 0.8, 0]]), 1)


def _clips(fps: float = 30.0) -> list[BoneClip]:
    turns = np.zeros((8, 4, 4))
    turns[..., 0] = 1
    angle = np.linspace(0, 0.5, 8)
    turns[:, 2, 0], turns[:, 2, 3] = np.cos(angle / 2), np.sin(angle / 2)
    hips = np.tile([0.0, 0.9, 0.0], (8, 1))
    return [BoneClip(name, fps, turns, hips) for name in CLIPS]


def _mesh() -> TexturedMesh:
    """A tetrahedron at the hips."""
    vertices = np.array([[0, 1.2, 0], [0.3, 0.7, 0.2], [-0.3, 0.7, 0.2], [0, 0.7, -0.3]], dtype=np.float32)
    normals = vertices - vertices.mean(0)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 100, 50)).save(picture, "PNG")
    return TexturedMesh(
        vertices=vertices,
        normals=normals.astype(np.float32),
        faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=np.int32),
        uv=np.full((4, 2), 0.5, dtype=np.float32),
        joints=np.array([[2, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=np.uint8),
        weights=np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (4, 1)),
        texture=picture.getvalue(),
        texture_size=4,
    )


def _splats() -> SplatCloud:
    count = 50
    random = np.random.default_rng(1)
    gaussians = from_rgb(
        random.normal([0, 1, 0], 0.1, (count, 3)),
        np.tile([1.0, 0, 0, 0], (count, 1)),
        np.full((count, 3), 0.02),
        np.full(count, 0.9),
        random.random((count, 3)),
    )
    joints = np.tile(np.array([2, 1, 0, 0], dtype=np.uint8), (count, 1))
    weights = np.tile(np.array([0.7, 0.3, 0, 0], dtype=np.float32), (count, 1))
    return SplatCloud(gaussians, joints, weights)


def _write(
    folder: Path, name: str = "Anna", splats: bool = True, skeleton: Skeleton | None = None, fps: float = 30.0
) -> Path:
    skeleton, clips = skeleton or _skeleton(), _clips(fps)
    mesh = mesh_glb(_mesh(), skeleton, clips, PROVENANCE)
    folder.mkdir()
    write_godot_project(folder, name, mesh, _splats() if splats else None, skeleton, clips, PROVENANCE)
    return folder


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text("utf-8") for name in _files(folder) if not name.endswith(".glb")}


def _settings(path: Path) -> configparser.ConfigParser:
    """Godot's files are near enough to INI: what comes before the first section gets one."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";",), strict=True)
    parser.optionxform = str
    parser.read_string("[top]\n" + path.read_text("utf-8"))
    return parser


def test_everything_that_the_project_names_is_there(tmp_path: Path) -> None:
    project = _write(tmp_path / "project")
    files = _files(project)
    named = {match for text in _texts(project).values() for match in re.findall(r'res://([^"\s]+\.\w+)', text)}
    assert {"main.tscn", "main.gd", "shots.gd", "avatar/avatar.glb", "avatar/avatar.tscn", "avatar/splats.gd"} <= named
    assert named <= files
    # What is loaded by a relative name, and what tells Godot how to import.
    assert {"avatar/splats.gdshader", "avatar/avatar.glb.import", "avatar/avatar_splat.glb.import"} <= files
    assert "project.godot" in files and "avatar/README.txt" in files


def test_every_template_is_used(tmp_path: Path) -> None:
    written = _files(_write(tmp_path / "with"))
    templates = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*") if path.is_file()}
    assert templates - {"avatar/avatar_with_splats.tscn"} == written - {"avatar/avatar.glb", "avatar/avatar_splat.glb"}


def test_without_splats_nothing_speaks_of_their_files(tmp_path: Path) -> None:
    project = _write(tmp_path / "project", splats=False)
    assert not [name for name in _files(project) if "splat" in name]
    assert "splats.gd" not in _texts(project)["avatar/avatar.tscn"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_written_as_godot_reads_them(tmp_path: Path, name: str) -> None:
    settings = _settings(_write(tmp_path / "project", name) / "project.godot")
    assert settings["top"]["config_version"] == "5"
    value = settings["application"]["config/name"]
    assert value[0] == value[-1] == '"'
    assert re.sub(r"\\(.)", r"\1", value[1:-1]) == name.replace("\n", " ")
    assert settings["application"]["run/main_scene"] == '"res://main.tscn"'


def test_no_file_holds_an_absolute_path_or_a_placeholder(tmp_path: Path) -> None:
    project = _write(tmp_path / "project")
    for name, text in _texts(project).items():
        assert not ABSOLUTE.search(text), name
        assert str(tmp_path) not in text, name
        assert not re.search(r"@(name|clips|subresources)@", text), name


def test_clips_loop_and_keep_their_order(tmp_path: Path) -> None:
    project = _write(tmp_path / "project")
    subresources = _settings(project / "avatar" / "avatar.glb.import")["params"]["_subresources"]
    assert subresources.count('"settings/loop_mode":1') == len(CLIPS)
    assert '"PATH:AnimationPlayer":{"optimizer/enabled":false}' in subresources
    (line,) = [line for line in _texts(project)["main.tscn"].splitlines() if line.startswith("clips")]
    assert line == 'clips = PackedStringArray("Walk", "Dance_ 1_2 _loop]_ 100_ _so_ v1_2 _home", "Öl 李")'
    assert [animation_name(name) in line for name in CLIPS] == [True] * len(CLIPS)


def test_bones_with_godots_names_become_its_humanoid(tmp_path: Path) -> None:
    text = _texts(_write(tmp_path / "project"))["avatar/avatar.glb.import"]
    assert len(PROFILE_BONES) == len(set(PROFILE_BONES)) == 56  # SkeletonProfileHumanoid.bone_size
    assert '"bone_map/Hips":&"Hips"' in text and '"bone_map/LeftUpperLeg":&"LeftUpperLeg"' in text
    assert '"bone_map/RightFoot":&""' in text
    other = _skeleton(("root", "pelvis", "spine_01", "thigh_l"))
    assert "bone_map" not in _texts(_write(tmp_path / "other", skeleton=other))["avatar/avatar.glb.import"]


@pytest.mark.parametrize(("fps", "expected"), [(24.0, "30"), (60.0, "60"), (500.0, "120")])
def test_clips_are_sampled_as_densely_as_they_were_made(tmp_path: Path, fps: float, expected: str) -> None:
    project = _write(tmp_path / "project", fps=fps)
    assert _settings(project / "avatar" / "avatar.glb.import")["params"]["animation/fps"] == expected


def test_an_avatar_without_clips_can_be_written(tmp_path: Path) -> None:
    project = _still(tmp_path / "project")
    assert "clips = PackedStringArray()" in _texts(project)["main.tscn"]


def _still(folder: Path) -> Path:
    folder.mkdir()
    mesh = mesh_glb(_mesh(), _skeleton(), (), PROVENANCE)
    write_godot_project(folder, "Anna", mesh, _splats(), _skeleton(), (), PROVENANCE)
    return folder


def _godot(*options: str) -> str:
    """Run Godot without a window; what it says."""
    command = [GODOT, "--headless", *options]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", timeout=300
    )
    errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert done.returncode == 0 and not errors, done.stdout
    return done.stdout


needs_godot = pytest.mark.skipif(not GODOT, reason="Godot is not on the PATH, nor in HUMANSPLAT_GODOT")


@needs_godot
@pytest.mark.parametrize("splats", [True, False])
def test_godot_opens_and_runs_it(tmp_path: Path, splats: bool) -> None:
    project = _write(tmp_path / "a project 李", NAMES[1], splats)
    _godot("--path", str(project), "--import")
    for clip in CLIPS:
        # A clip that Godot calls otherwise ends the run with an error.
        _godot("--path", str(project), "--", f"--clip={animation_name(clip)}", *(["--splats"] if splats else []))


@needs_godot
def test_godot_runs_it_without_clips(tmp_path: Path) -> None:
    project = _still(tmp_path / "project")
    _godot("--path", str(project), "--import")
    _godot("--path", str(project), "--", "--splats")
