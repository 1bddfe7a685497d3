"""Exports for targets, from the command line and the server: files, what is said of them, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.__main__ import main
from backend.avatar import Avatar, pose_gaussians, read_ply, save_avatar
from backend.avatar.formats.axes import find_axes, turn_splats
from backend.avatar.formats.gltf import read_glb
from backend.avatar.formats.spz import read_spz, write_spz
from backend.avatar.formats.types import ExportError
from backend.avatar.motion_library import make_motion
from backend.errors import BackendError, Cancelled
from backend.export.clips import load_clips, save_clips
from backend.export.job import ExportOptions, expected_losses, export_avatar, safe_name
from backend.export.run import run_export
from backend.export.targets import TARGETS
from backend.export.usd import load_usd, sequence_to_usd
from tests.synthetic import make_avatar

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(4000)


@pytest.fixture(scope="module")
def package(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avatar") / "Zoë 人物"
    save_avatar(avatar, folder)
    return folder


def test_splats_in_every_format_with_a_sidecar(avatar: Avatar, tmp_path: Path) -> None:
    walk = make_motion("walk", avatar.rest_joints, avatar.parents)
    said: list[tuple[float, str]] = []
    result = export_avatar(
        avatar, tmp_path / "Zoë 人物", ExportOptions("splats"), [walk, walk], report=lambda *a: said.append(a)
    )
    name = "Zoë 人物"
    assert {f"{name}{s}" for s in (".ply", ".glb", ".spz", ".v2.spz", ".compressed.ply", ".splat")} <= set(result.files)
    assert {"export.json", "README.txt", "skin.json", "skin.bin"} <= set(result.files)
    index = json.loads((result.folder / "export.json").read_text("utf-8"))
    assert [clip["name"] for clip in index["clips"]] == ["Walk", "Walk 2"]
    assert index["files"][f"{name}.splat"]["loses"] and index["source"] == "photo.jpg"
    document, _ = read_glb((result.folder / f"{name}.glb").read_bytes())
    assert len(document["animations"]) == 2
    about = json.loads((result.folder / "skin.json").read_text("utf-8"))
    assert about["splats"]["file"] == f"{name}.ply" and about["splats"]["count"] == len(avatar.gaussians)
    shares = [share for share, _ in said]
    assert shares == sorted(shares) and shares[-1] == 1.0
    # What was left out is said, and files that were not written are not listed.
    for suffix in (".sog", ".usdc"):
        assert (f"{name}{suffix}" in result.files) == (f"{name}{suffix}" in index["files"])


def test_a_pose_is_in_files_without_bones_alone(avatar: Avatar, tmp_path: Path) -> None:
    pose = (np.asarray(avatar.pose), np.asarray(avatar.translation))
    options = ExportOptions("splats", formats=("spz", "ply", "glb"))
    folder = export_avatar(avatar, tmp_path / "a", options, pose=pose).folder
    wanted = pose_gaussians(avatar, *pose)
    assert np.abs(read_spz(folder / "a.spz").position - wanted.position).max() < 2e-4
    assert np.allclose(read_ply(folder / "a.ply").position, wanted.position, atol=1e-6)
    assert not (folder / "skin.json").exists()  # bones of a rest pose would not fit


def test_unity_s_splats_are_mirrored_and_have_all_properties(avatar: Avatar, tmp_path: Path) -> None:
    options = ExportOptions("unity", budget=1000)
    no_mesh = replace(TARGETS["unity"], mesh=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.export.job.TARGETS", {**TARGETS, "unity": no_mesh})
        folder = export_avatar(avatar, tmp_path / "u", options).folder
    ply = read_ply(folder / "u.ply")
    assert len(ply) == 1000 and b"f_rest_44" in (folder / "u.ply").read_bytes()[:4000]
    about = json.loads((folder / "skin.json").read_text("utf-8"))
    assert about["axes"]["handedness"] == "left" and about["bones"][0]["name"] == "Hips"
    left_hand = next(bone for bone in about["bones"] if bone["name"] == "LeftHand")
    assert left_hand["head"][0] < 0  # Unity's x is to the person's right
    assert np.allclose(turn_splats(ply, find_axes("unity")).position.mean(0)[0], -ply.position.mean(0)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target": "xbox"}, "xbox"),
        ({"target": "web", "skeleton": "dog"}, "dog"),
        ({"target": "web", "formats": ("ply", "doc")}, "doc"),
        ({"target": "web", "triangles": 10}, "500 to"),
        ({"target": "web", "texture": 1000}, "1024"),
        ({"target": "web", "budget": 5}, "larger"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(options: dict, match: str) -> None:
    with pytest.raises(ExportError, match=match):
        ExportOptions(**options)


def test_cancelled_in_the_middle_leaves_nothing(avatar: Avatar, tmp_path: Path) -> None:
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        export_avatar(avatar, tmp_path / "a", ExportOptions("splats"), cancelled=cancelled)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_and_other_folders_are_not(avatar: Avatar, tmp_path: Path) -> None:
    options = ExportOptions("splats", formats=("spz", "splat"))
    export_avatar(avatar, tmp_path / "a", options)
    export_avatar(avatar, tmp_path / "a", replace(options, formats=("spz",)))
    assert not (tmp_path / "a" / "a.splat").exists() and (tmp_path / "a" / "a.spz").is_file()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.doc").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_avatar(avatar, tmp_path / "b", options)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["thesis.doc"]


def test_two_exports_at_once_leave_one_whole(package: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "export", str(package), "--to", "splats", "--formats", "spz,ply"]
    both = [
        subprocess.Popen([*command, "-o", str(tmp_path / "a")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(process.wait(), process.stderr.read()) for process in both]
    assert 0 in [status for status, _ in ends]
    assert all("Traceback" not in text for _, text in ends), ends
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    index = json.loads((tmp_path / "a" / "export.json").read_text("utf-8"))
    for name in index["files"]:
        assert (tmp_path / "a" / name).is_file()


def test_an_avatar_of_bad_splats_is_one_sentence(avatar: Avatar, tmp_path: Path) -> None:
    nothing = replace(avatar, gaussians=replace(avatar.gaussians, scale=np.zeros_like(avatar.gaussians.scale)))
    with pytest.raises(ExportError, match="no splats"):
        export_avatar(nothing, tmp_path / "a", ExportOptions("splats"))
    scale = avatar.gaussians.scale.copy()
    scale[:7] = 0
    some = replace(avatar, gaussians=replace(avatar.gaussians, scale=scale))
    result = export_avatar(some, tmp_path / "a", ExportOptions("splats", formats=("spz",)))
    assert any(note.startswith("7 splats") for note in result.notes)
    assert len(read_spz(tmp_path / "a" / "a.spz")) == len(avatar.gaussians) - 7


def test_command_line(package: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    arguments = ["export", str(package), "--to", "splats", "--formats", "spz,compressed", "--motion", "walk"]
    assert main([*arguments, "-o", str(folder), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["files"] == ["README.txt", "export.json", "out.compressed.ply", "out.spz", *_sidecar()]
    assert "does not keep" in err
    for wrong, match in (
        (["--motion", "fly"], "fly"),
        (["--budget", "3"], "larger budget"),
        (["--texture", "77"], "1024"),
        (["--pose", "nowhere.npz"], "nowhere"),
    ):
        assert main(["export", str(package), "--to", "splats", "-o", str(tmp_path / "no"), *wrong]) == 2
        err = capfd.readouterr().err
        assert match in err and "Traceback" not in err
    assert main(["export", str(tmp_path), "--to", "splats", "-o", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


def _sidecar() -> list[str]:
    return ["skin.bin", "skin.json"]


def test_clips_travel_as_a_file(avatar: Avatar, package: Path, tmp_path: Path) -> None:
    motions = [make_motion(name, avatar.rest_joints, avatar.parents) for name in ("walk", "wave")]
    save_clips(tmp_path / "clips.npz", motions)
    read = load_clips(tmp_path / "clips.npz")
    assert [m.name for m in read] == [m.name for m in motions]
    assert np.array_equal(read[1].poses, motions[1].poses) and read[0].fps == motions[0].fps
    options = ExportOptions("splats", formats=("glb",))
    result = run_export(package, tmp_path / "a", options, clips=tmp_path / "clips.npz")
    document, _ = read_glb((result.folder / "a.glb").read_bytes())
    assert [a["name"] for a in document["animations"]] == [m.name for m in motions]
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(BackendError, match="no clips"):
        run_export(package, tmp_path / "b", options, clips=tmp_path / "bad.npz")


_CLIP = {"name": "a", "fps": 30, "leg_length": 0.9, "frames": 2}


@pytest.mark.parametrize(
    ("about", "arrays"),
    [
        ("[" * 100_000, {}),
        ([1], {}),
        ({"format": "x", "clips": [_CLIP]}, {}),
        *(
            ({"format": "humansplat-clips", "clips": [_CLIP | change]}, {})
            for change in ({"fps": float("nan")}, {"fps": "fast"}, {"leg_length": 0}, {"frames": 3}, {"frames": -2})
        ),
        ({"format": "humansplat-clips", "clips": [_CLIP, {"frames": 0}]}, {}),
        ({"format": "humansplat-clips", "clips": [_CLIP]}, {"poses": np.full((2, 24, 3), np.nan)}),
        ({"format": "humansplat-clips", "clips": [_CLIP]}, {"poses": np.full((2, 24, 3), 1e300)}),
        ({"format": "humansplat-clips", "clips": [_CLIP]}, {"poses": np.array([{}], dtype=object)}),
        ({"format": "humansplat-clips", "clips": [_CLIP]}, {"translation": np.zeros((3, 3))}),
        ({"format": "humansplat-clips", "clips": [_CLIP]}, {"poses": np.zeros(())}),
    ],
)
def test_clips_of_strangers_are_refused(tmp_path: Path, about: object, arrays: dict[str, np.ndarray]) -> None:
    text = about if isinstance(about, str) else json.dumps(about)
    content = {"poses": np.zeros((2, 24, 3)), "translation": np.zeros((2, 3))} | arrays
    np.savez(tmp_path / "a.npz", about=np.frombuffer(text.encode(), np.uint8), **content)
    with pytest.raises(ExportError) as caught:
        load_clips(tmp_path / "a.npz")
    message = str(caught.value)
    assert message.startswith("a.npz holds no clips") and message.endswith("export again.")
    assert len(message) < 300 and "\n" not in message and "pickle" not in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("[" * 100_000, "no baked sequence"),
        ({"fps": 0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"frames": [{"frame": 10**400, "file": "a.ply"}]}, "numbers"),
        ({"frames": [{"frame": 1, "file": "a.ply"}] * 2}, "twice"),
        ({"frames": []}, "without frames"),
        ({"frames": [{"frame": 1, "file": "../outside.ply"}]}, "cannot be read"),
    ],
)
def test_a_sequence_that_lies_is_refused(tmp_path: Path, package: Path, change: object, reason: str) -> None:
    folder = tmp_path / "baked"
    folder.mkdir()
    for path in (tmp_path / "outside.ply", folder / "a.ply"):
        path.write_bytes((package / "gaussians.ply").read_bytes())
    about = {"frames": [{"frame": 1, "file": "a.ply"}], "fps": 24, "avatar": "a", "axes": "x as Blender's x"}
    text = change if isinstance(change, str) else json.dumps(about | change)
    (folder / "sequence.json").write_text(text, "utf-8")
    with pytest.raises(ExportError, match=reason):
        sequence_to_usd(folder, tmp_path / "a.usda", lambda *_: None, lambda: False)
    assert not (tmp_path / "a.usda").exists()
    with pytest.raises(ExportError, match="no name of a USD file"):
        sequence_to_usd(folder, tmp_path / "a.txt", lambda *_: None, lambda: False)


def test_names_are_safe_on_every_system() -> None:
    assert safe_name("Zoë 人物") == "Zoë 人物"
    assert safe_name('a<b>:"/\\|?*c') == "a_b_c"
    assert safe_name("con") == "con_" and safe_name("COM1.old") == "COM1.old_"
    assert safe_name("..  ") == "avatar" and len(safe_name("é" * 300).encode()) <= 80


def test_what_is_lost_is_said_for_every_target() -> None:
    for name in TARGETS:
        assert all(text.endswith(".") for text in expected_losses(ExportOptions(name)))
    assert any("order" in text for text in expected_losses(ExportOptions("playcanvas")))


def test_rounds_close_and_can_stay_in_place(package: Path, tmp_path: Path) -> None:
    ends = {}
    for staying in (False, True):
        options = ExportOptions("splats", formats=("glb",), in_place=staying)
        folder = run_export(package, tmp_path / f"a{staying}", options, motions=["walk"]).folder
        document, binary = read_glb(next(folder.glob("*.glb")).read_bytes())
        animation = document["animations"][0]
        for channel in animation["channels"]:
            entry = document["accessors"][animation["samplers"][channel["sampler"]]["output"]]
            view = document["bufferViews"][entry["bufferView"]]
            width = 3 if entry["type"] == "VEC3" else 4
            values = np.frombuffer(binary, "<f4", entry["count"] * width, view["byteOffset"]).reshape(-1, width)
            if channel["target"]["path"] == "rotation":
                assert abs(abs((values[0] * values[-1]).sum()) - 1) < 1e-5  # the last frame is the first again
            else:
                ends[staying] = values[-1] - values[0]
    assert ends[False][2] > 0.5 and abs(ends[False][1]) < 1e-5
    assert np.abs(ends[True]).max() < 1e-5


def test_a_baked_sequence_becomes_usd(avatar: Avatar, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = []
    for frame in (3, 5, 7):
        shift = np.float32([0.1 * frame, 0, 0])
        write_spz(folder / f"a_{frame}.spz", replace(avatar.gaussians, position=avatar.gaussians.position + shift))
        frames.append({"frame": frame, "file": f"a_{frame}.spz"})
    about = {"fps": 24.0, "avatar": "Zoë", "axes": "x to the person's left, y up, z out of the chest", "frames": frames}
    (folder / "sequence.json").write_text(json.dumps(about), "utf-8")
    command = ["sequence", str(folder), "-o", str(tmp_path / "a.usdc")]
    if load_usd() is None:
        assert main(command) == 2 and "usd-core" in capfd.readouterr().err
        return
    assert main(command) == 0
    from pxr import Usd, UsdVol

    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    splats = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    assert stage.GetFramesPerSecond() == 12.0 and stage.GetStartTimeCode() == 3 and stage.GetEndTimeCode() == 5
    places = [np.array(splats.GetPositionsAttr().Get(time))[:, 0].mean() for time in (3, 4, 5)]
    assert np.allclose(np.diff(places), 0.2, atol=1e-3)
    for spoil, match in (
        ({"frames": []}, "without frames"),
        ({"axes": "z-up: x"}, "y up"),
        ({"frames": [frames[0], frames[1], {"frame": 9, "file": "a_7.spz"}]}, "lacks frames"),
        ({"frames": [*frames, {"frame": 9, "file": "../a_3.spz.gone"}]}, "Frame 9"),
        ({"fps": "fast"}, "no baked sequence"),
    ):
        (folder / "sequence.json").write_text(json.dumps({**about, **spoil}), "utf-8")
        assert main(["sequence", str(folder), "-o", str(tmp_path / "b.usdc")]) == 2
        assert match in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.usdc", "frames"]


def test_what_the_add_on_imports_needs_numpy_alone() -> None:
    code = (
        "import sys; import backend.export.job, backend.export.clips, backend.export.targets\n"
        "print(sorted({'torch', 'scipy', 'PIL', 'xatlas', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
