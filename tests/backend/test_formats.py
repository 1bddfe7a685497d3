"""File formats of splats and skeletons: round trips, closed forms, readers of others, bad input, half-written files."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.avatar import Avatar, Gaussians, joint_transforms, quaternion, read_ply, rotation_matrices
from backend.avatar.formats.atomic import whole_file, whole_folder
from backend.avatar.formats.axes import AXES, find_axes, turn_splats, turn_transforms
from backend.avatar.formats.cloud import clean, pose_cloud, splat_cloud
from backend.avatar.formats.compressed_ply import is_compressed_ply, read_compressed_ply, write_compressed_ply
from backend.avatar.formats.gltf import read_glb
from backend.avatar.formats.gltf_splats import splats_glb
from backend.avatar.formats.merge import merge_splats
from backend.avatar.formats.sidecar import write_sidecar
from backend.avatar.formats.skeletons import SKELETONS, fit_rig, skinning_transforms
from backend.avatar.formats.skinned_ply import write_skinned_ply
from backend.avatar.formats.splat_file import read_splat, write_splat
from backend.avatar.formats.spz import QUANTUM, read_spz, write_spz, zstd_library
from backend.avatar.formats.types import ExportError, Provenance, SplatCloud
from backend.avatar.motion import Motion
from backend.avatar.motion_library import make_motion
from backend.avatar.skinning import standing_translation
from tests.synthetic import covariances, make_avatar

WHO = Provenance("Zoë 人物", "HumanSplat", "CC0-1.0", "person.jpg")


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(3000)


@pytest.fixture(scope="module")
def cloud(avatar: Avatar) -> SplatCloud:
    return clean(splat_cloud(avatar))[0]


def unlike(a: Gaussians, b: Gaussians) -> tuple[float, float, float, float]:
    """Largest differences of places (metres), covariances (relative), colours and opacities, in order."""
    first, second = covariances(a), covariances(b)
    relative = np.linalg.norm(first - second, axis=(1, 2)) / np.linalg.norm(first, axis=(1, 2))
    return (
        float(np.abs(a.position - b.position).max()),
        float(relative.max()),
        float(np.abs(a.rgb - b.rgb).max()),
        float(np.abs(a.opacity - b.opacity).max()),
    )


def in_order(a: Gaussians, b: Gaussians) -> Gaussians:
    """``b`` in the order of ``a``, matched by place and colour."""
    near = np.concatenate([a.position * 100, a.rgb], 1)[:, None] - np.concatenate([b.position * 100, b.rgb], 1)[None]
    order = (near**2).sum(-1).argmin(1)
    assert len(np.unique(order)) == len(a)
    return Gaussians(*(getattr(b, n)[order] for n in ("position", "rotation", "scale", "opacity", "sh_dc")))


# --- splats ---------------------------------------------------------------------------------------------------


def test_ply_holds_everything_for_a_reader_of_others(tmp_path: Path, cloud: SplatCloud) -> None:
    plyfile = pytest.importorskip("plyfile")
    for harmonics in (0, 3):
        write_skinned_ply(tmp_path / "a.ply", cloud, harmonics)
        vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
        g = cloud.gaussians
        assert np.array_equal(np.stack([vertex[c] for c in "xyz"], 1), g.position)
        assert np.array_equal(np.stack([vertex[f"joint_{i}"] for i in range(4)], 1), cloud.joints)
        assert np.array_equal(np.stack([vertex[f"weight_{i}"] for i in range(4)], 1), cloud.weights)
        assert np.allclose(np.exp(vertex["scale_1"]), g.scale[:, 1], rtol=1e-5)
        opacity = g.opacity.clip(1e-3, 1 - 1e-3)
        assert np.allclose(1 / (1 + np.exp(-vertex["opacity"])), opacity, atol=1e-5)
        assert ("f_rest_44" in [p.name for p in vertex.properties]) == (harmonics == 3)
        assert all(p.val_dtype == "f4" for p in vertex.properties)
        assert np.allclose(read_ply(tmp_path / "a.ply").position, g.position)


@pytest.mark.parametrize(("version", "bound"), [(2, 0.3), (3, 0.08), (4, 0.08)])
def test_spz_round_trip_is_within_its_quantum(tmp_path: Path, cloud: SplatCloud, version: int, bound: float) -> None:
    if version == 4 and zstd_library() is None:
        pytest.skip("no zstd library")
    write_spz(tmp_path / "a.spz", cloud.gaussians, version)
    place, covariance, colour, opacity = unlike(cloud.gaussians, read_spz(tmp_path / "a.spz"))
    assert place <= QUANTUM * 1.001
    assert covariance < bound
    assert opacity <= 0.5 / 255 + 1e-6
    # The byte covers -0.5/0.15..0.5/0.15 of a coefficient; rgb is 0.28 of it.
    assert colour <= 0.5 / 255 / 0.15 * 0.2821 + 1e-6


def test_spz_has_the_published_layout(tmp_path: Path) -> None:
    # Two splats by hand, after the README of nianticlabs/spz.
    half = np.sqrt(0.5)
    g = Gaussians(
        np.array([[1.0, -2.0, 0.5], [0, 0, 0]], np.float32),
        np.array([[1, 0, 0, 0], [-half, 0, half, 0]], np.float32),
        np.exp(np.array([[-4.0, -5.0, -6.0], [-4, -4, -4]], np.float32)),
        np.array([1.0, 0.5], np.float32),
        np.array([[0, 1.0, -1.0], [0, 0, 0]], np.float32),
    )
    import gzip

    write_spz(tmp_path / "a.spz", g, 3)
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert struct.unpack_from("<IIIBBBB", data) == (0x5053474E, 3, 2, 0, 12, 0, 0)
    assert data[16:25] == bytes([0, 16, 0, 0, 0xE0, 0xFF, 0, 8, 0])  # 4096, -8192, 2048 in 24 bits
    assert data[34:36] == bytes([255, 128])
    assert data[36:39] == bytes([128, 166, 89])  # dc * 38.25 + 127.5, rounded
    assert data[42:45] == bytes([96, 80, 64])  # (ln + 10) * 16
    first, second = struct.unpack_from("<II", data, 48)
    assert first == 3 << 30  # w is the largest, x y z are zero
    # Of w = -y the first is the largest in x y z w order; w, the smaller index losing, is negative against it.
    largest, parts = second >> 30, [second >> shift & 1023 for shift in (20, 10, 0)]
    assert largest in (1, 3) and sorted(p & 511 for p in parts) == [0, 0, 511] and sum(p >> 9 for p in parts) == 1


@pytest.mark.parametrize(
    "spoil", [lambda d: d[:20], lambda d: b"", lambda d: b"NGSP" * 20, lambda d: d[:-9] + b"123456789"]
)
def test_damaged_spz_is_told(tmp_path: Path, cloud: SplatCloud, spoil) -> None:  # noqa: ANN001
    path = tmp_path / "a.spz"
    write_spz(path, cloud.gaussians)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.spz"):
        read_spz(path)


def test_formats_that_lose_the_order_keep_the_splats(tmp_path: Path, cloud: SplatCloud) -> None:
    g = cloud.gaussians
    write_splat(tmp_path / "a.splat", g)
    assert (tmp_path / "a.splat").stat().st_size == 32 * len(g)
    place, covariance, colour, opacity = unlike(g, in_order(g, read_splat(tmp_path / "a.splat")))
    assert place == 0 and covariance < 0.04 and colour <= 0.6 / 255 and opacity <= 0.6 / 255
    write_compressed_ply(tmp_path / "c.ply", g)
    assert is_compressed_ply(tmp_path / "c.ply")
    place, covariance, colour, opacity = unlike(g, in_order(g, read_compressed_ply(tmp_path / "c.ply")))
    size = np.ptp(g.position, axis=0).max()
    assert place < size / 1023 and covariance < 0.05 and colour <= 1 / 255 and opacity <= 1 / 255
    with pytest.raises(ValueError, match="cut off"):
        (tmp_path / "d.ply").write_bytes((tmp_path / "c.ply").read_bytes()[:-5])
        read_compressed_ply(tmp_path / "d.ply")


def test_axes_turn_covariances_and_keep_bones_in_step(avatar: Avatar, cloud: SplatCloud) -> None:
    rig = fit_rig(avatar, "smpl")
    clip = rig.clip(make_motion("wave", avatar.rest_joints, avatar.parents))
    transforms = skinning_transforms(rig.skeleton, clip, 7)
    posed = pose_cloud(cloud, transforms)
    for axes in AXES.values():
        turned = turn_splats(cloud.gaussians, axes)
        matrix = axes.matrix
        assert np.allclose(covariances(turned), matrix @ covariances(cloud.gaussians) @ matrix.T, atol=1e-9)
        # Posing in the file's axes is posing in ours, seen in them.
        there = pose_cloud(replace(cloud, gaussians=turned), turn_transforms(transforms, axes))
        here = turn_splats(posed, axes)
        assert np.allclose(there.position, here.position, atol=1e-5)
        assert np.allclose(covariances(there), covariances(here), atol=1e-7)


def test_posing_a_cloud_is_linear_blend_skinning(avatar: Avatar, cloud: SplatCloud) -> None:
    pose = np.random.default_rng(0).normal(0, 0.4, (24, 3))
    shift = np.eye(4)
    shift[:3, 3] = -standing_translation(avatar)
    transforms = joint_transforms(pose, avatar.rest_joints, avatar.parents) @ shift
    posed = pose_cloud(cloud, transforms)
    for splat in range(0, len(cloud), 177):
        blend = sum(w * transforms[j] for j, w in zip(cloud.joints[splat], cloud.weights[splat].astype(float)))
        place = blend @ np.append(cloud.gaussians.position[splat], 1)
        assert np.allclose(posed.position[splat], place[:3], atol=1e-5)
        wanted = blend[:3, :3] @ covariances(cloud.gaussians)[splat] @ blend[:3, :3].T
        assert np.allclose(covariances(posed)[splat], wanted, atol=1e-8)


def test_bad_splats_are_dropped_and_counted(cloud: SplatCloud) -> None:
    g = cloud.gaussians
    position, scale, rotation = g.position.copy(), g.scale.copy(), g.rotation.copy()
    position[3, 1], scale[5], scale[6, 0], rotation[7] = np.nan, 0, 0, 0
    left, dropped = clean(replace(cloud, gaussians=replace(g, position=position, scale=scale, rotation=rotation)))
    assert dropped == 3 and len(left) == len(cloud) - 3  # a flat splat stays
    with pytest.raises(ExportError, match="no splats"):
        clean(replace(cloud, gaussians=replace(g, position=np.full_like(g.position, np.inf))))
    empty = SplatCloud(
        Gaussians(*(np.zeros((0, *np.shape(getattr(g, n))[1:])) for n in g.__dataclass_fields__)),
        np.zeros((0, 4), np.uint8),
        np.zeros((0, 4), np.float32),
    )
    with pytest.raises(ExportError, match="no splats"):
        clean(empty)


# --- budgets --------------------------------------------------------------------------------------------------


def test_merging_two_splats_keeps_their_moments() -> None:
    rng = np.random.default_rng(1)
    count = 101
    # A hundred splats far from each other and one close to the first.
    position = rng.permutation(np.arange(count))[:, None] * np.array([[5.0, 0, 0]])
    position[1] = position[0] + [0.01, 0, 0]
    turn = quaternion.normalize(rng.normal(size=(count, 4)))
    turn[1] = turn[0]
    scale = np.full((count, 3), 0.02) * [1, 1.5, 0.1]
    g = Gaussians(position, turn, scale, np.full(count, 0.3), np.full((count, 3), 0.2))
    weights = np.zeros((count, 4), np.float32)
    weights[:, 0] = 1
    merged = merge_splats(SplatCloud(g, np.zeros((count, 4), np.uint8), weights), 100)
    assert len(merged) == 100
    near = np.linalg.norm(merged.gaussians.position - position[0], axis=1).argmin()
    assert np.allclose(merged.gaussians.position[near], (position[0] + position[1]) / 2)
    apart = (position[0] - position[1])[:, None]
    wanted = covariances(g)[0] + apart @ apart.T / 4
    assert np.allclose(covariances(merged.gaussians)[near], wanted)
    sizes = np.sort(merged.gaussians.scale[near])
    assert np.isclose(merged.gaussians.opacity[near] * sizes[1] * sizes[2], 2 * 0.3 * 0.02 * 0.03)


def test_budgets_keep_mass_and_leave_the_rest_alone(cloud: SplatCloud) -> None:
    def mass(c: SplatCloud) -> float:
        sizes = np.sort(c.gaussians.scale.astype(np.float64), axis=1)
        return float((c.gaussians.opacity * sizes[:, 1] * sizes[:, 2]).sum())

    merged = merge_splats(cloud, 2500)
    assert len(merged) == 2500
    assert mass(merged) <= mass(cloud) * 1.0001  # opacities stop at 1
    assert mass(merged) > 0.9 * mass(cloud)
    assert np.allclose(merged.weights.sum(1), 1, atol=1e-5)
    kept = {place.tobytes() for place in cloud.gaussians.position}
    assert sum(place.tobytes() in kept for place in merged.gaussians.position) > 1500
    again = merge_splats(cloud, 2500)
    assert np.array_equal(again.gaussians.position, merged.gaussians.position)
    assert merge_splats(cloud, 10_000) is cloud
    with pytest.raises(ExportError, match="99 splats"):
        merge_splats(cloud, 99)


# --- skeletons ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_moves_splats_as_smpl_does(avatar: Avatar, cloud: SplatCloud, name: str) -> None:
    motion = make_motion("walk", avatar.rest_joints, avatar.parents)
    rig = fit_rig(avatar, name)
    skeleton, clip = rig.skeleton, rig.clip(motion)
    assert len(set(skeleton.names)) == len(skeleton) and skeleton.parents[0] == -1
    frame = 9
    posed = pose_cloud(rig.cloud(cloud), skinning_transforms(skeleton, clip, frame))
    # The same by SMPL's own formula, from the T-pose.
    standing = standing_translation(avatar)
    transforms = joint_transforms(motion.poses[frame], avatar.rest_joints, avatar.parents)
    back = np.eye(4)
    back[:3, 3] = -standing
    transforms = transforms @ back
    height = avatar.rest_joints[0, 1] + standing[1]
    transforms[:, :3, 3] += standing + motion.translation[frame] * (height / motion.leg_length)
    wanted = pose_cloud(cloud, transforms)
    rigid = cloud.weights[:, 0] > 0.999  # an A-pose blends twice what bends
    assert np.allclose(posed.position[rigid], wanted.position[rigid], atol=1e-4)
    if rig.preset.rest == "T":
        assert np.allclose(posed.position, wanted.position, atol=1e-4)


def test_the_a_pose_hangs_the_arms_by_45_degrees(avatar: Avatar) -> None:
    skeleton = fit_rig(avatar, "unreal").skeleton
    place = dict(zip(skeleton.names, skeleton.heads))
    for side, sign in (("l", 1), ("r", -1)):
        arm = place[f"lowerarm_{side}"] - place[f"upperarm_{side}"]
        assert sign * arm[0] > 0
        assert np.isclose(np.degrees(np.arctan2(-arm[1], np.hypot(arm[0], arm[2]))), 45, atol=1.5)
    assert skeleton.names[0] == "root" and np.allclose(skeleton.heads[0], 0)


# --- glTF -----------------------------------------------------------------------------------------------------


def accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    """An accessor's numbers, read after the specification."""
    entry = document["accessors"][index]
    kind = {5126: "<f4", 5121: "u1", 5123: "<u2", 5125: "<u4"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
    view = document["bufferViews"][entry["bufferView"]]
    values = np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"]).reshape(-1, width)
    return values / 255 if entry.get("normalized") else values


def test_splats_glb_says_all_of_it(avatar: Avatar, cloud: SplatCloud) -> None:
    rig = fit_rig(avatar, "godot")
    motion = make_motion("walk", avatar.rest_joints, avatar.parents)
    clip = rig.clip(motion)
    data = splats_glb(rig.cloud(cloud), rig.skeleton, [clip], WHO)
    assert struct.unpack_from("<I", data, 8)[0] == len(data)
    document, binary = read_glb(data)
    assert document["asset"]["copyright"] == "CC0-1.0" and document["scenes"][0]["name"] == "Zoë 人物"
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    g = cloud.gaussians
    assert np.array_equal(accessor(document, binary, attributes["POSITION"]), g.position)
    rotation = accessor(document, binary, attributes["KHR_gaussian_splatting:ROTATION"])
    assert np.allclose(rotation[:, 3], g.rotation[:, 0], atol=1e-5)
    weights = accessor(document, binary, attributes["WEIGHTS_0"])
    assert np.allclose(weights.sum(1), 1, atol=1e-9) and np.abs(weights - cloud.weights).max() < 1.5 / 255
    joints = accessor(document, binary, attributes["JOINTS_0"])
    skin = document["skins"][0]
    names = [document["nodes"][node]["name"] for node in skin["joints"]]
    assert [names[joint] for joint in joints[:50, 0]] == [
        SKELETONS["godot"].bones[joint] for joint in cloud.joints[:50, 0]
    ]
    # A reader that knows nothing of us skins by nodes, inverse bind matrices and samplers.
    frame = 11
    nodes, local = document["nodes"], {}
    for channel in document["animations"][0]["channels"]:
        sampler = document["animations"][0]["samplers"][channel["sampler"]]
        times = accessor(document, binary, sampler["input"])[:, 0]
        assert np.allclose(times, np.arange(len(motion)) / motion.fps)
        local[channel["target"]["node"], channel["target"]["path"]] = accessor(document, binary, sampler["output"])[
            frame
        ]
    inverse = accessor(document, binary, skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    world: dict[int, np.ndarray] = {}

    def visit(node: int, above: np.ndarray) -> None:
        own = np.eye(4)
        x, y, z, w = local.get((node, "rotation"), (0, 0, 0, 1))
        own[:3, :3] = quaternion.to_matrix(np.array([w, x, y, z], float))
        own[:3, 3] = local.get((node, "translation"), nodes[node].get("translation", (0, 0, 0)))
        world[node] = above @ own
        for child in nodes[node].get("children", ()):
            visit(child, world[node])

    for node in document["scenes"][0]["nodes"]:
        visit(node, np.eye(4))
    transforms = np.stack([world[node] @ inverse[bone] for bone, node in enumerate(skin["joints"])])
    wanted = skinning_transforms(rig.skeleton, clip, frame)
    assert np.allclose(transforms, wanted, atol=1e-5)


def test_damaged_glb_is_refused() -> None:
    for data in (b"", b"glTF", b"x" * 40):
        with pytest.raises(ValueError, match="GLB"):
            read_glb(data)


# --- sidecar --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes_name", AXES)
def test_the_sidecar_is_all_that_is_needed_to_skin(
    tmp_path: Path, avatar: Avatar, cloud: SplatCloud, axes_name: str
) -> None:
    axes, rig = find_axes(axes_name), fit_rig(avatar, "unity")
    on_rig = rig.cloud(cloud)
    splats = tmp_path / "a.ply"
    write_skinned_ply(splats, replace(on_rig, gaussians=turn_splats(on_rig.gaussians, axes)))
    write_sidecar(tmp_path, splats, on_rig, rig.skeleton, axes, WHO)
    about = json.loads((tmp_path / "skin.json").read_text("utf-8"))
    binary = (tmp_path / "skin.bin").read_bytes()
    assert about["splats"]["sha256"] == hashlib.sha256(splats.read_bytes()).hexdigest()
    assert about["binary"]["sha256"] == hashlib.sha256(binary).hexdigest()
    count = about["splats"]["count"]
    arrays = about["binary"]["arrays"]
    joints = np.frombuffer(binary, np.uint8, count * 4, arrays["joints"]["offset"]).reshape(-1, 4)
    weights = np.frombuffer(binary, "<f4", count * 4, arrays["weights"]["offset"]).reshape(-1, 4)
    # Pose the left elbow in the file's coordinates with nothing but the two files.
    bones = about["bones"]
    elbow = next(i for i, bone in enumerate(bones) if bone["name"] == "LeftLowerArm")
    turn = np.eye(4)
    turn[:3, :3] = axes.matrix @ rotation_matrices(np.array([0.3, 0.9, -0.2])) @ axes.matrix.T
    head = np.array(bones[elbow]["head"])
    world = []
    for bone in bones:
        own = np.eye(4)
        own[:3, 3] = np.array(bone["head"]) - (bones[bone["parent"]]["head"] if bone["parent"] >= 0 else 0)
        if bone["name"] == "LeftLowerArm":
            own[:3, :3] = turn[:3, :3]
        world.append(own if bone["parent"] < 0 else world[bone["parent"]] @ own)
    inverse = np.array([bone["inverse_bind"] for bone in bones]).reshape(-1, 4, 4).swapaxes(1, 2)
    skin = np.stack(world) @ inverse
    raw = read_ply(splats)
    blended = np.einsum("nk,nkij->nij", weights, skin[joints])
    posed = np.einsum("nij,nj->ni", blended[:, :3, :3], raw.position) + blended[:, :3, 3]
    # What hangs on the elbow turns about it as a whole; the rest stays.
    below = [i for i, bone in enumerate(bones) if bone["name"] in ("LeftLowerArm", "LeftHand", "LeftMiddleProximal")]
    share = np.where(np.isin(joints, below), weights, 0).sum(1)[:, None]
    turned = (raw.position - head) @ turn[:3, :3].T + head
    assert (share > 0.5).any()
    assert np.allclose(posed, share * turned + (1 - share) * raw.position, atol=1e-4)
    assert about["axes"]["handedness"] == ("left" if axes_name == "unity" else "right")


# --- files ----------------------------------------------------------------------------------------------------


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_file(tmp_path / "a.ply") as path:
        path.write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out", "export.json") as folder:
        (folder / "x").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"), whole_folder(tmp_path / "out", "export.json"):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match="is a file"), whole_folder(tmp_path / "file", "export.json"):
        pass
    (tmp_path / "out" / "export.json").write_text("{}")
    with whole_folder(tmp_path / "out", "export.json") as folder:
        (folder / "export.json").write_text("new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["export.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "out"]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    with pytest.raises(ExportError, match=r"full; free space"), whole_file(tmp_path / "a.ply"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ExportError, match="cannot be written"), whole_folder(tmp_path / "out", "x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert list(tmp_path.iterdir()) == []


def test_clips_of_one_frame_and_long_names_are_fine(avatar: Avatar, cloud: SplatCloud) -> None:
    rig = fit_rig(avatar, "smpl")
    still = Motion(np.zeros((1, 24, 3)), np.zeros((1, 3)), 30.0, 0.9, "x" * 300)
    document, _ = read_glb(splats_glb(rig.cloud(cloud), rig.skeleton, [rig.clip(still)], WHO))
    assert document["animations"][0]["name"] == "x" * 300


def test_the_reader_of_the_documentation_skins_an_export(tmp_path: Path, avatar: Avatar, cloud: SplatCloud) -> None:
    import re
    import subprocess
    import sys

    text = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    rig = fit_rig(avatar, "smpl")
    write_skinned_ply(tmp_path / "a.ply", cloud)
    write_sidecar(tmp_path, tmp_path / "a.ply", cloud, rig.skeleton, find_axes("y-up"), WHO)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pose = np.zeros((1, 24, 3))
    pose[0, 18, 2] = -np.pi / 2
    clip = rig.pose_clip(pose, np.zeros((1, 3)), 30.0, "bend")
    wanted = pose_cloud(cloud, skinning_transforms(rig.skeleton, clip, 0))
    assert np.allclose(np.load(tmp_path / "posed.npy"), wanted.position, atol=1e-5)


def test_spz_of_version_1_is_read(tmp_path: Path) -> None:
    import gzip

    # Half-precision places, otherwise as version 2 (nianticlabs/spz, load-spz.cc).
    body = np.array([[0.5, -1.25, 2.0]], "<f2").tobytes() + bytes([255, 128, 166, 89, 96, 80, 64, 128, 128, 128])
    (tmp_path / "a.spz").write_bytes(gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 1, 1, 0, 0, 0, 0) + body))
    g = read_spz(tmp_path / "a.spz")
    assert g.position.tolist() == [[0.5, -1.25, 2.0]]
    assert np.allclose(np.log(g.scale), [[-4, -5, -6]]) and g.opacity[0] == 1
    assert np.allclose(g.rotation, [[1, 0, 0, 0]], atol=0.02)
