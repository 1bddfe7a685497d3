"""What is exported, read by programs of others. Each test skips itself, saying so, where its program is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.avatar import Avatar, Gaussians, quaternion, read_ply
from backend.avatar.formats.cloud import clean, splat_cloud
from backend.avatar.formats.compressed_ply import write_compressed_ply
from backend.avatar.formats.gltf_mesh import mesh_glb, mesh_vrm
from backend.avatar.formats.gltf_splats import splats_glb
from backend.avatar.formats.skeletons import SKELETONS, fit_rig, skinning_transforms
from backend.avatar.formats.skinned_ply import write_skinned_ply
from backend.avatar.formats.splat_file import write_splat
from backend.avatar.formats.spz import write_spz, zstd_library
from backend.avatar.formats.types import ExportError, Provenance, SplatCloud
from backend.avatar.motion_library import make_motion
from backend.export.sog import PROGRAM_VARIABLE, write_sog
from backend.export.usd import load_usd, write_usd
from tests import fake_backend
from tests.oracles import node, node_modules, run_node, splat_transform
from tests.synthetic import covariances, make_avatar

WHO = Provenance("Zoë 人物", "HumanSplat", "CC0-1.0", "person.jpg")


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(4000)


@pytest.fixture(scope="module")
def cloud(avatar: Avatar) -> SplatCloud:
    return clean(splat_cloud(avatar))[0]


def same(a: Gaussians, b: Gaussians, place: float, covariance: float, colour: float, keeps_order: bool) -> None:
    """Assert that two sets of splats are alike, within the given differences."""
    assert len(a) == len(b)
    order = np.arange(len(a))
    if not keeps_order:
        ours, theirs = (np.concatenate([g.position * 100, g.rgb], 1) for g in (a, b))
        order = ((ours[:, None] - theirs[None]) ** 2).sum(-1).argmin(1)
        assert len(np.unique(order)) == len(a)
    assert np.abs(a.position - b.position[order]).max() <= place
    first, second = covariances(a), covariances(b)[order]
    assert (np.linalg.norm(first - second, axis=(1, 2)) / np.linalg.norm(first, axis=(1, 2))).max() < covariance
    assert np.abs(a.rgb - b.rgb[order]).max() <= colour
    assert np.abs(a.opacity - b.opacity[order]).max() <= 1.01 / 255


@pytest.mark.parametrize(
    ("file", "place", "covariance", "colour", "keeps_order"),
    [
        ("a.ply", 0, 1e-4, 1e-5, True),
        ("a.spz", 1.3e-4, 0.09, 0.004, True),
        ("b.spz", 1.3e-4, 0.3, 0.004, True),
        ("a.splat", 0, 0.06, 0.004, False),
        ("a.compressed.ply", 2e-3, 0.06, 0.004, False),
    ],
)
def test_splat_transform_reads_every_format(
    tmp_path: Path, cloud: SplatCloud, file: str, place: float, covariance: float, colour: float, keeps_order: bool
) -> None:
    path, g = tmp_path / file, cloud.gaussians
    {
        "a.ply": lambda: write_skinned_ply(path, cloud),
        "a.spz": lambda: write_spz(path, g),
        "b.spz": lambda: write_spz(path, g, 2),
        "a.splat": lambda: write_splat(path, g),
        "a.compressed.ply": lambda: write_compressed_ply(path, g),
    }[file]()
    about = json.loads(splat_transform(path, "--info", "json", "null"))
    assert about["gaussian"] and about["numGaussians"] == len(cloud)
    if file == "a.ply":
        extra = {column["name"] for column in about["extraColumns"]}
        assert {"joint_0", "joint_3", "weight_0", "weight_3"} <= extra
    splat_transform("-w", path, tmp_path / "back.ply")
    same(g, read_ply(tmp_path / "back.ply"), place, covariance, colour, keeps_order)


def test_sog_by_splat_transform(tmp_path: Path, cloud: SplatCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    program = node_modules() / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
    if not program.is_file():
        pytest.skip("splat-transform is not installed")
    caller = tmp_path / "splat-transform"
    caller.write_text(f'#!/bin/sh\nexec "{node()}" "{program}" "$@"\n')
    caller.chmod(0o755)
    monkeypatch.setenv(PROGRAM_VARIABLE, str(caller))
    assert write_sog(tmp_path / "a.sog", cloud.gaussians) == ""
    splat_transform("-w", tmp_path / "a.sog", tmp_path / "back.ply")
    same(cloud.gaussians, read_ply(tmp_path / "back.ply"), 1e-3, 0.2, 0.02, keeps_order=False)
    caller.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 3\n")
    with pytest.raises(ExportError, match="no such option"):
        write_sog(tmp_path / "b.sog", cloud.gaussians)
    monkeypatch.setenv(PROGRAM_VARIABLE, str(tmp_path / "nowhere"))
    assert "needs the program" in write_sog(tmp_path / "c.sog", cloud.gaussians)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_the_official_spz_library_reads_ours(tmp_path: Path, cloud: SplatCloud, version: int) -> None:
    if version == 4 and zstd_library() is None:
        pytest.skip("no zstd library")
    write_spz(tmp_path / "a.spz", cloud.gaussians, version)
    count = run_node("spz.mjs", tmp_path / "a.spz", tmp_path / "out.bin")["count"]
    assert count == len(cloud)
    values = np.fromfile(tmp_path / "out.bin", np.float32)
    place, scale, turn, alpha, colour = np.split(values, np.cumsum([3, 3, 4, 1])[:4] * count)
    read = Gaussians(
        place.reshape(-1, 3),
        quaternion.normalize(turn.reshape(-1, 4)[:, [3, 0, 1, 2]]),
        np.exp(scale.reshape(-1, 3)),
        1 / (1 + np.exp(-alpha)),
        colour.reshape(-1, 3),
    )
    same(cloud.gaussians, read, 1.3e-4, 0.3 if version == 2 else 0.09, 0.004, keeps_order=True)


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_khronos_s_validator_finds_no_errors(tmp_path: Path, avatar: Avatar, cloud: SplatCloud, skeleton: str) -> None:
    rig = fit_rig(avatar, skeleton)
    clips = [rig.clip(make_motion("walk", avatar.rest_joints, avatar.parents))]
    mesh = rig.mesh(fake_backend.textured_mesh(avatar, 0, 0))
    (tmp_path / "mesh.glb").write_bytes(mesh_glb(mesh, rig.skeleton, clips, WHO))
    assert run_node("validate.mjs", tmp_path / "mesh.glb") == {"errors": {}, "warnings": {}}
    (tmp_path / "splats.glb").write_bytes(splats_glb(rig.cloud(cloud), rig.skeleton, clips, WHO))
    # The validator does not know the extension: its four attributes have a colon in their names.
    wanted = {"errors": {"MESH_PRIMITIVE_INVALID_ATTRIBUTE": 4}, "warnings": {}}
    assert run_node("validate.mjs", tmp_path / "splats.glb") == wanted


def test_three_skins_the_mesh_as_we_do(tmp_path: Path, avatar: Avatar) -> None:
    rig = fit_rig(avatar, "unreal")
    clip = rig.clip(make_motion("walk", avatar.rest_joints, avatar.parents))
    mesh = rig.mesh(fake_backend.textured_mesh(avatar, 0, 0))
    (tmp_path / "a.glb").write_bytes(mesh_glb(mesh, rig.skeleton, [clip], WHO))
    frames = (0, 3, 9, len(clip) - 1)
    said = run_node("skin.mjs", tmp_path / "a.glb", clip.name, tmp_path / "o.bin", *(f / clip.fps for f in frames))
    assert said["names"] == list(rig.skeleton.names) and said["vertices"] == len(mesh.vertices)
    theirs = np.fromfile(tmp_path / "o.bin", np.float32).reshape(len(frames), -1, 3)
    for index, frame in enumerate(frames):
        transforms = skinning_transforms(rig.skeleton, clip, frame)[:, :3]
        blended = np.einsum("nk,nkij->nij", mesh.weights.astype(np.float64), transforms[mesh.joints])
        ours = np.einsum("nij,nj->ni", blended[:, :, :3], mesh.vertices) + blended[:, :, 3]
        assert np.abs(ours - theirs[index]).max() < 1e-4


def test_three_vrm_finds_a_whole_humanoid(tmp_path: Path, avatar: Avatar) -> None:
    rig = fit_rig(avatar, "vrm")
    mesh = rig.mesh(fake_backend.textured_mesh(avatar, 0, 0))
    (tmp_path / "a.vrm").write_bytes(mesh_vrm(mesh, rig.skeleton, rig.preset, WHO))
    said = run_node("vrm.mjs", tmp_path / "a.vrm")
    assert {"hips", "chest", "leftUpperArm", "rightToes", "leftMiddleProximal"} <= set(said["bones"])
    place = {name: bone["place"] for name, bone in said["bones"].items()}
    assert place["leftHand"][0] > 0.4 and place["head"][1] > place["hips"][1] > place["leftFoot"][1] > -0.05
    assert abs(place["leftHand"][1] - place["leftUpperArm"][1]) < 0.2  # a T-pose
    assert said["meta"]["name"] == "Zoë 人物" and said["meta"]["metaVersion"] == "1"
    assert run_node("validate.mjs", tmp_path / "a.vrm")["errors"] == {}
    unreal = fit_rig(avatar, "unreal")
    with pytest.raises(ExportError, match="T-pose"):
        mesh_vrm(mesh, unreal.skeleton, unreal.preset, WHO)


def test_openusd_validates_splats_with_time_samples(tmp_path: Path, avatar: Avatar, cloud: SplatCloud) -> None:
    if load_usd() is None:
        pytest.skip("usd-core is not installed")
    rig = fit_rig(avatar, "smpl")
    clip = rig.clip(make_motion("walk", avatar.rest_joints, avatar.parents))
    assert write_usd(tmp_path / "a.usdc", rig.cloud(cloud), rig.skeleton, [clip], WHO) == ""
    # USD keeps plug-ins for the process's life: read it in another.
    code = (
        "import sys, json, numpy as np\n"
        "from pxr import Usd, UsdVol, UsdValidation\n"
        "stage = Usd.Stage.Open(sys.argv[1])\n"
        "found = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())\n"
        "splats = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())\n"
        "frame = lambda t: np.array(splats.GetPositionsAttr().Get(t)).tolist()[:5]\n"
        "quaternion = splats.GetOrientationsAttr().Get(7)[3]\n"
        "print(json.dumps({'errors': [e.GetMessage() for e in found.Validate(stage)], 'frame': frame(7),\n"
        "  'end': stage.GetEndTimeCode(), 'fps': stage.GetFramesPerSecond(),\n"
        "  'turn': [quaternion.GetReal(), *quaternion.GetImaginary()]}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.usdc")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["errors"] == [] and said["end"] == len(clip) - 1 and said["fps"] == clip.fps
    from backend.avatar.formats.cloud import pose_cloud

    posed = pose_cloud(rig.cloud(cloud), skinning_transforms(rig.skeleton, clip, 7))
    assert np.allclose(said["frame"], posed.position[:5], atol=1e-6)
    assert np.allclose(said["turn"], posed.rotation[3], atol=1e-5)
