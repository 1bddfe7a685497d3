"""The package on disk: bytes, round trips, refusals, and what a failure leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import make_avatar

from backend.avatar import (
    Avatar,
    AvatarFormatError,
    Gaussians,
    load_avatar,
    package,
    pose_gaussians,
    read_ply,
    save_avatar,
    whole,
    write_ply,
)
from backend.avatar.metadata import VERSION

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01 made up"
STANDARD_ORDER = (
    ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    + [f"f_rest_{i}" for i in range(45)]
    + ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
)


def parse_ply(data: bytes) -> np.ndarray:
    """A second reader: the header by regular expression, the body as one structured array."""
    header, body = data.split(b"end_header\n", 1)
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert re.findall(rb"element (\w+) \d+", header) == [b"vertex"]
    properties = re.findall(rb"property (\w+) (\w+)", header)
    assert {kind for kind, _ in properties} == {b"float"}
    table = np.frombuffer(body, dtype=[(name.decode(), "<f4") for _, name in properties])
    assert len(table) == int(re.search(rb"element vertex (\d+)", header).group(1))
    return table


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(200, seed=1)


def test_ply_bytes(avatar: Avatar, tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", avatar.gaussians)
    table = parse_ply((tmp_path / "a.ply").read_bytes())
    assert list(table.dtype.names) == STANDARD_ORDER
    g = avatar.gaussians
    np.testing.assert_array_equal(np.stack([table[n] for n in "xyz"], 1), g.position)
    np.testing.assert_array_equal(np.stack([table[f"rot_{i}"] for i in range(4)], 1), g.rotation)
    np.testing.assert_allclose(np.stack([np.exp(table[f"scale_{i}"]) for i in range(3)], 1), g.scale, rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-table["opacity"].astype(float))), g.opacity, atol=1e-6)
    rgb = np.stack([0.5 + table[f"f_dc_{i}"] / (2 * np.sqrt(np.pi)) for i in range(3)], 1)
    np.testing.assert_allclose(rgb, g.rgb, atol=1e-6)
    for name in ["nx", "ny", "nz"] + [f"f_rest_{i}" for i in range(45)]:
        assert not table[name].any()


def test_ply_keeps_extremes_finite(tmp_path: Path) -> None:
    extremes = Gaussians(
        position=np.zeros((2, 3), np.float32),
        rotation=np.eye(2, 4, dtype=np.float32),
        scale=np.array([[0, 1, 1], [1e-3, 1, 1]], np.float32),
        opacity=np.array([0, 1], np.float32),
        sh_dc=np.zeros((2, 3), np.float32),
    )
    write_ply(tmp_path / "a.ply", extremes)
    found = read_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(found.opacity, [1e-3, 1 - 1e-3], atol=1e-6)
    np.testing.assert_allclose(found.scale[:, 0], [1e-9, 1e-3], rtol=1e-5)


def test_ply_round_trip(avatar: Avatar, tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", avatar.gaussians)
    found = read_ply(tmp_path / "a.ply")
    for name, tolerance in (("position", 0), ("rotation", 1e-6), ("scale", 1e-6), ("opacity", 1e-6), ("sh_dc", 0)):
        np.testing.assert_allclose(getattr(found, name), getattr(avatar.gaussians, name), atol=tolerance, rtol=0)


def test_ply_of_another_program(tmp_path: Path) -> None:
    """No normals, no higher harmonics, another order, an unnormalised rotation, extra properties, CRLF header."""
    names = ["opacity", "scale_0", "scale_1", "scale_2", "x", "y", "z", "joint_0"]
    names += [f"f_dc_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    header = ["ply", "format binary_little_endian 1.0", "comment made elsewhere", "element vertex 1"]
    header += [f"property {'uchar' if n == 'joint_0' else 'float32'} {n}" for n in names]
    row = np.zeros(1, dtype=[(n, "u1" if n == "joint_0" else "<f4") for n in names])
    for name, value in (("x", 1), ("y", 2), ("z", 3), ("scale_0", np.log(0.5)), ("rot_2", 2), ("f_dc_1", 0.25)):
        row[name] = value
    (tmp_path / "b.ply").write_bytes("\r\n".join([*header, "end_header\r\n"]).encode() + row.tobytes())
    found = read_ply(tmp_path / "b.ply")
    np.testing.assert_allclose(found.position, [[1, 2, 3]])
    np.testing.assert_allclose(found.rotation, [[0, 0, 1, 0]])
    np.testing.assert_allclose(found.scale, [[0.5, 1, 1]])
    np.testing.assert_allclose(found.opacity, [0.5])
    np.testing.assert_allclose(found.sh_dc, [[0, 0.25, 0]])


def _cut(data: bytes) -> bytes:
    return data[:-3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"GIF89a" + data, "not a PLY"),
        (lambda data: b"", "not a PLY"),
        (_cut, "cut off"),
        (lambda data: data + b"\0", "cut off or damaged"),
        (lambda data: data.replace(b"binary_little_endian", b"ascii"), "not a binary little-endian"),
        (lambda data: data.replace(b"property float opacity\n", b""), "lacks opacity"),
        (lambda data: data.replace(b"property float x\n", b"property float y\n"), "twice"),
        (lambda data: data.replace(b"property float x\n", b"property list uchar int x\n"), "property list uchar int x"),
        (lambda data: data.replace(b"end_header\n", b"element face 1\nend_header\n"), "element face"),
        (lambda data: data.split(b"end_header")[0], "no end"),
        (lambda data: data[:-4] + np.float32(np.nan).tobytes(), "not finite"),
        (lambda data: data.replace(b"element vertex 200", b"element vertex 99999999999"), "cut off"),
    ],
)
def test_damaged_ply_is_refused(avatar: Avatar, tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    write_ply(tmp_path / "a.ply", avatar.gaussians)
    (tmp_path / "a.ply").write_bytes(change((tmp_path / "a.ply").read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_ply(tmp_path / "a.ply")


def test_package_round_trip(avatar: Avatar, tmp_path: Path) -> None:
    uv = np.random.default_rng(0).random((7, 2)).astype(np.float32)
    body = dataclasses.replace(
        avatar.body,
        uv=uv,
        uv_faces=np.zeros_like(avatar.body.faces),
        pose_correctives=np.ones((len(avatar.body.vertices), 3, 207), np.float32),
    )
    rich = dataclasses.replace(avatar, body=body)
    save_avatar(rich, tmp_path / "new" / "avatar", PNG, lambda: PNG + b"2")
    found = load_avatar(tmp_path / "new" / "avatar")
    for part in ("skin", "body"):
        for field in dataclasses.fields(getattr(rich, part)):
            before, after = (getattr(getattr(a, part), field.name) for a in (rich, found))
            np.testing.assert_array_equal(after, before)
            assert after.dtype == before.dtype
    for name in ("rest_joints", "betas", "pose", "translation", "joint_confidence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(rich, name))
    for name in ("joint_names", "parents", "body_model", "generator", "source", "seconds", "warnings"):
        assert getattr(found, name) == getattr(rich, name)
    np.testing.assert_array_equal(found.camera.world_to_camera, rich.camera.world_to_camera)
    assert (found.camera.width, found.camera.fy) == (rich.camera.width, rich.camera.fy)
    assert (tmp_path / "new/avatar/input.png").read_bytes() == PNG
    assert (tmp_path / "new/avatar/preview.png").read_bytes() == PNG + b"2"
    assert sorted(os.listdir(tmp_path / "new")) == ["avatar"]
    assert sorted(os.listdir(tmp_path / "new/avatar")) == sorted(package.PACKAGE_FILES)
    document = json.loads((tmp_path / "new/avatar/avatar.json").read_text())
    assert document["format"] == "humansplat-avatar" and document["version"] == 2
    assert set(document) == {
        *("format", "version", "generator", "body_model", "joint_names", "parents", "rest_joints", "betas", "pose"),
        *("translation", "joint_confidence", "preserve_volume", "camera", "source", "seconds", "warnings"),
    }


def test_package_that_does_not_say_what_is_imagined(avatar: Avatar, tmp_path: Path) -> None:
    silent = dataclasses.replace(avatar, skin=dataclasses.replace(avatar.skin, seen=None))
    save_avatar(silent, tmp_path / "avatar")
    assert load_avatar(tmp_path / "avatar").skin.seen is None


def test_older_package_is_replaced_and_strangers_stay(avatar: Avatar, tmp_path: Path) -> None:
    folder = tmp_path / "avatar"
    folder.mkdir()
    save_avatar(avatar, folder, PNG, PNG)
    (folder / "exported.glb").write_bytes(b"mine")
    save_avatar(dataclasses.replace(avatar, warnings=("Second.",)), folder)
    assert load_avatar(folder).warnings == ("Second.",)
    assert (folder / "exported.glb").read_bytes() == b"mine"
    assert not (folder / "input.png").exists()
    assert os.listdir(tmp_path) == ["avatar"]


@pytest.mark.parametrize("name", ["notes.txt", "avatar.json"])
def test_foreign_folder_is_refused(avatar: Avatar, tmp_path: Path, name: str) -> None:
    (tmp_path / "avatar").mkdir()
    (tmp_path / "avatar" / name).write_text('{"format": "something else"}')
    with pytest.raises(FileExistsError, match="holds no avatar"):
        save_avatar(avatar, tmp_path / "avatar")
    assert os.listdir(tmp_path) == ["avatar"] and os.listdir(tmp_path / "avatar") == [name]
    with pytest.raises(FileExistsError, match="is a file"):
        save_avatar(avatar, tmp_path / "avatar" / name)


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("place", ["ply", "body", "json", "rename"])
def test_failure_leaves_everything_as_it_was(
    avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, place: str
) -> None:
    folder = tmp_path / "avatar"
    if existing:
        save_avatar(avatar, folder, PNG)
        (folder / "exported.glb").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in folder.glob("*")}

    def full_disk(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    real_rename, real_savez = os.rename, np.savez_compressed

    def savez(path: Path, **arrays: np.ndarray) -> None:
        if path.name == "body.npz":
            path.write_bytes(b"half")
            full_disk()
        real_savez(path, **arrays)

    def rename(source: Path, target: Path) -> None:
        # The new package's way in fails; the way back of the old one does not.
        if Path(target) == folder and not str(source).endswith(".old"):
            full_disk()
        real_rename(source, target)

    if place == "ply":
        monkeypatch.setattr(package, "write_ply", full_disk)
    elif place == "body":
        monkeypatch.setattr(np, "savez_compressed", savez)
    elif place == "json":
        monkeypatch.setattr(Path, "write_bytes", full_disk)
    else:
        monkeypatch.setattr(whole.os, "rename", rename)
    with pytest.raises(OSError, match="No space left"):
        save_avatar(dataclasses.replace(avatar, warnings=("Second.",)), folder, PNG)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in folder.glob("*")} == before
    assert os.listdir(tmp_path) == (["avatar"] if existing else [])


def test_folder_that_cannot_be_written(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        save_avatar(avatar, tmp_path / "file" / "avatar")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError):
        save_avatar(avatar, locked / "avatar")
    assert os.listdir(locked) == []


def test_inconsistent_avatar_is_not_written(avatar: Avatar, tmp_path: Path) -> None:
    pose = avatar.pose.copy()
    pose[3, 1] = np.nan
    with pytest.raises(AvatarFormatError, match="pose holds numbers that are not finite"):
        save_avatar(dataclasses.replace(avatar, pose=pose), tmp_path / "avatar")
    assert os.listdir(tmp_path) == []


def _arrays(folder: Path, name: str, **changes: Any) -> None:
    with np.load(folder / name) as file:
        arrays = dict(file)
    for key, value in changes.items():
        changed = value(arrays[key]) if callable(value) else value
        if changed is None:
            del arrays[key]
        else:
            arrays[key] = changed
    np.savez(folder / name, **arrays)


def _json(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / "avatar.json").read_text())
    document.update(changes)
    (folder / "avatar.json").write_text(json.dumps({k: v for k, v in document.items() if v != "remove"}))


def _set(index: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "avatar.json").unlink(), "is not an avatar package"),
        (lambda f: (f / "avatar.json").write_text("{"), "avatar.json is damaged"),
        (lambda f: (f / "avatar.json").write_bytes(b"\xff\xfe\x00"), "avatar.json is damaged"),
        (lambda f: (f / "avatar.json").write_text("[]"), "does not name the format"),
        (lambda f: _json(f, version=3), r"format version 3; this HumanSplat reads 1 to 2\. Install a newer"),
        (lambda f: _json(f, version=0), "format version 0"),
        (lambda f: _json(f, betas="remove"), "lacks the entry 'betas'"),
        (lambda f: _json(f, pose=[[0, 0, 0]]), r"pose has the shape \(1, 3\), expected \(24, 3\)"),
        (lambda f: _json(f, pose=[["a", 0, 0]]), "wrong kind"),
        (lambda f: _json(f, camera=None), "wrong kind"),
        (lambda f: _json(f, camera={"width": 1}), "lacks the entry"),
        (lambda f: _json(f, joint_names=["a"] * 24), "24 names of SMPL"),
        (lambda f: _json(f, parents=[-1] * 24), "parent"),
        (lambda f: _json(f, translation=[0, 0, float("nan")]), "translation holds numbers that are not finite"),
        (lambda f: _json(f, joint_confidence=[2.0] * 24), "between 0 and 1"),
        (lambda f: (f / "skin.npz").unlink(), "lacks skin.npz"),
        (lambda f: (f / "body.npz").write_bytes(b"not a zip"), "body.npz is damaged"),
        (lambda f: (f / "body.npz").write_bytes((f / "body.npz").read_bytes()[:5000]), "body.npz is damaged"),
        (lambda f: (f / "gaussians.ply").unlink(), "lacks gaussians.ply"),
        (lambda f: (f / "gaussians.ply").write_bytes(b"ply\n"), "gaussians.ply"),
        (lambda f: _arrays(f, "skin.npz", offset=lambda _: None), "lacks the entry 'offset'"),
        (lambda f: _arrays(f, "skin.npz", offset=lambda a: a[:-1]), r"skin.offset has the shape \(199, 3\)"),
        (lambda f: _arrays(f, "skin.npz", offset=np.array([{}], object)), "skin.npz is damaged"),
        (lambda f: _arrays(f, "skin.npz", vertex_ids=_set((0, 0), 99999)), "vertex_ids holds indices outside"),
        (lambda f: _arrays(f, "skin.npz", vertex_ids=_set((5, 1), -1)), "vertex_ids holds indices outside"),
        (lambda f: _arrays(f, "skin.npz", vertex_ids=_set(7, 3)), "skin.vertex_ids names triangles without an area"),
        (lambda f: _arrays(f, "body.npz", reference_triangles=_set(7, 3)), "reference_triangles names triangles"),
        (lambda f: _arrays(f, "body.npz", reference_triangles=_set((7, 1), -1)), "holds indices outside"),
        (lambda f: _arrays(f, "skin.npz", joint_ids=_set((0, 0), 24)), r"joint_ids holds indices outside 0\.\.23"),
        (lambda f: _arrays(f, "skin.npz", joint_weights=_set((0, 0), 3)), "do not sum to 1"),
        (lambda f: _arrays(f, "skin.npz", barycentric=_set((0, 0), 3)), "do not sum to 1"),
        (lambda f: _arrays(f, "skin.npz", seen=_set(0, 1.5)), "seen must lie between 0 and 1"),
        (lambda f: _arrays(f, "skin.npz", rotation=_set((0, 0), np.inf)), "rotation holds numbers that are not finite"),
        (lambda f: _arrays(f, "body.npz", faces=lambda a: a.astype(float)), "body.faces must be an array of integers"),
        (lambda f: _arrays(f, "body.npz", surface_faces=_set((0, 0), 10**6)), "surface_faces holds indices"),
        (lambda f: _arrays(f, "body.npz", weights=lambda a: a[:, :23]), "body.weights has the shape"),
        (lambda f: _arrays(f, "body.npz", surface_weights=_set((0, 0), -1)), "negative"),
        (lambda f: _arrays(f, "body.npz", uv=np.zeros((4, 2), np.float32)), "together"),
        (lambda f: _arrays(f, "body.npz", vertices=np.float32(0)), "body.vertices has the shape"),
    ],
)
def test_damaged_package_is_refused_in_one_sentence(
    avatar: Avatar, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    save_avatar(avatar, tmp_path / "avatar")
    damage(tmp_path / "avatar")
    with pytest.raises(AvatarFormatError, match=message) as caught:
        load_avatar(tmp_path / "avatar")
    assert "\n" not in str(caught.value)


def test_no_pickle_is_ever_opened(avatar: Avatar, tmp_path: Path) -> None:
    save_avatar(avatar, tmp_path / "avatar")
    marker = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    _arrays(tmp_path / "avatar", "skin.npz", offset=np.array([Trap()] * 200, object))
    with pytest.raises(AvatarFormatError):
        load_avatar(tmp_path / "avatar")
    assert not marker.exists()


DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("version", [1, 2])
def test_stored_packages_of_every_version_stay_readable(version: int) -> None:
    """Written once, by the program of their time, of ``make_avatar(200, seed=11)``; the figures are version 1's own."""
    folder = DATA / f"avatar_{version}"
    assert json.loads((folder / "avatar.json").read_text("utf-8"))["version"] == version
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    avatar = load_avatar(folder)
    assert len(avatar.gaussians) == 200 and avatar.generator["version"] == "0.1.0"
    np.testing.assert_allclose(avatar.gaussians.position[0], [0.06183095, 0.0899699, 0.09572712], atol=1e-6)
    at_rest = pose_gaussians(avatar, np.zeros((24, 3)), np.zeros(3))
    np.testing.assert_allclose(at_rest.position, avatar.gaussians.position, atol=1e-6)
    posed = pose_gaussians(avatar, avatar.pose).position
    expected = [[0.12658878, 1.0102422, 0.06278315], [0.09499341, 0.23513901, 0.10502978]]
    expected.append([0.10511738, 1.2331905, -0.09266348])
    # Version 1 turned splats with their own small triangles, this one with wide ones.
    np.testing.assert_allclose(posed[:3], expected, atol=1e-3)
    assert (avatar.skin.seen is None) == (version == 1)


def test_there_is_a_stored_package_of_this_version() -> None:
    """A new version of the format needs a package here, written by its first program and never again."""
    assert [path.name for path in sorted(DATA.glob("avatar_*"))] == [f"avatar_{n + 1}" for n in range(VERSION)]


def test_names_that_are_no_text_are_written_all_the_same(avatar: Avatar, tmp_path: Path) -> None:
    """File names of old disks are bytes; Python hands the odd ones over as half letters."""
    odd = dataclasses.replace(avatar, source=avatar.source | {"name": os.fsdecode(b"caf\xe9.jpg")})
    save_avatar(odd, tmp_path / "avatar")
    assert load_avatar(tmp_path / "avatar").source["name"] == "caf?.jpg"
