"""Options of ``render``, ``export`` and ``sequence``: nonsense, places that cannot be written, damaged motions."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hostile_packages import npy, npy_header, zip_bomb, zip_of
from PIL import Image
from synthetic import JOINT_NAMES, PARENTS, REST_JOINTS, make_avatar

from backend.avatar import save_avatar
from backend.avatar.motion import Motion
from backend.export.clips import save_clips

from .cases import MADE, REFUSED, WARNED, Case, Said, left_behind, run_backend, said_by

Make = Callable[[Path], Path]
_SPLATS = ("--to", "splats", "--formats", "ply", "--offline")
_EXPORTED = (WARNED,)  # every export says what its formats do not keep
_SIZE = 48
_AXES = "x to the person's left, y up"


def cases(folder: Path) -> list[Case]:
    """By the command line, all of them."""
    _make(folder)
    return [*_render_cases(folder), *_pose_cases(folder), *_motion_cases(folder), *_output_cases(folder),
            *_export_cases(folder), *_sequence_cases(folder)]  # fmt: skip


def _make(folder: Path) -> None:
    if not (folder / "avatar" / "avatar.json").is_file():
        save_avatar(make_avatar(300, seed=3), folder / "avatar")


def _render_cases(folder: Path) -> list[Case]:
    values = {
        "view": {
            MADE: ("left", "1e15", "-90", " 45 "),
            REFUSED: ("nan", "inf", "1e400", "", "sideways", "9" * 5000, "front\n\x1b[31m", "0x10"),
        },
        "size": {
            MADE: ("1",),
            REFUSED: ("0", "-5", "nan", "1e3", "", "8193", "9" * 5000, "4.5"),
        },
        "background": {
            MADE: ("#ff8000", "00FF00"),
            REFUSED: ("", "red", "#12345", "#gggggg", "#ff000080", "# ff00 0", "\uff03ff0000"),
        },
        "frame": {REFUSED: ("-1", "1000000000", "nan", "0")},
        "device": {REFUSED: ("cpu",)},  # an option of `reconstruct` alone
    }
    made = []
    for option, groups in values.items():
        for outcome, some in groups.items():
            for value in some:
                arguments = [f"--{option}={value}"]
                name = f"render_{option}_{_shown(value)}"
                made.append(Case(name, partial(_render, folder, arguments), (outcome,)))
    return made


def _shown(value: str) -> str:
    return (value[:12].encode("ascii", "backslashreplace").decode().strip() or "nothing").replace("\n", "|")


def _pose_cases(folder: Path) -> list[Case]:
    pose = np.zeros((24, 3))
    holed = pose.copy()
    holed[3, 1] = np.nan
    good: dict[str, dict[str, Any]] = {
        "zeros": {"pose": pose},
        "of_a_row": {"pose": pose.ravel(), "translation": np.zeros((1, 3))},
        "many_turns": {"pose": pose + 1e3},
    }
    bad: dict[str, dict[str, Any]] = {
        "nan": {"pose": holed},
        "1e300": {"pose": pose + 1e300},
        "far_away": {"pose": pose, "translation": np.full(3, 1e30)},
        "complex": {"pose": pose.astype(complex)},
        "texts": {"pose": np.array(["0"] * 72)},
        "objects": {"pose": np.array([{}] * 72, dtype=object)},
        "of_23_joints": {"pose": pose[1:]},
        "of_many": {"pose": np.zeros((1000, 24, 3))},
        "without_pose": {"translation": np.zeros(3)},
    }
    raw = _archives("pose")
    makes: list[tuple[str, Make, str]] = [
        *((name, partial(_npz, content=content), MADE) for name, content in good.items()),
        *((name, partial(_npz, content=content), REFUSED) for name, content in bad.items()),
        *((name, partial(_raw, name="a.npz", data=data), REFUSED) for name, data in raw.items()),
        *((name, make, REFUSED) for name, make in _no_files("a.npz").items()),
    ]
    words = [("rest", MADE), ("", REFUSED), ("standing", REFUSED), ("../../etc/passwd", REFUSED)]
    given = partial(_render_file, folder, "--pose")
    return [
        *(Case(f"pose_{name}", partial(given, make), (end,)) for name, make, end in makes),
        *(
            Case(f"pose_word_{_shown(word)}", partial(_render, folder, [f"--pose={word}"]), (end,))
            for word, end in words
        ),
        Case("pose_and_motion", partial(_render, folder, ["--pose=rest", "--motion=walk"]), (REFUSED,)),
    ]


def _motion_cases(folder: Path) -> list[Case]:
    poses, places = np.zeros((4, 72)), np.zeros((4, 3))
    npz: dict[str, tuple[dict[str, Any], str]] = {
        "amass": ({"poses": np.zeros((4, 156)), "trans": places, "mocap_framerate": 120.0}, MADE),
        "nan": ({"poses": poses + np.nan, "trans": places}, REFUSED),
        "1e300": ({"poses": poses + 1e300, "trans": places}, REFUSED),
        "no_frames": ({"poses": poses[:0], "trans": places[:0]}, REFUSED),
        "71_numbers": ({"poses": poses[:, 1:], "trans": places}, REFUSED),
        "other_lengths": ({"poses": poses, "trans": places[1:]}, REFUSED),
        "rate_zero": ({"poses": poses, "trans": places, "fps": 0}, REFUSED),
        "rate_nan": ({"poses": poses, "trans": places, "fps": np.nan}, REFUSED),
        "objects": ({"poses": np.array([{}], dtype=object)}, REFUSED),
        "texts": ({"poses": np.array(["x" * 72])}, REFUSED),
    }
    whole = _bvh()
    zeros = b" ".join([b"0"] * 20)
    bvh: dict[str, tuple[bytes, str]] = {
        "whole": (whole, MADE),
        "windows_lines": (whole.replace(b"\n", b"\r\n"), MADE),
        "cut": (whole[: len(whole) // 2], REFUSED),
        "cut_in_the_frames": (whole[:-20], REFUSED),
        "empty": (b"", REFUSED),
        "nan": (whole.replace(b" 12.75", b" nan"), REFUSED),
        "1e300": (whole.replace(b" 12.75", b" 1e300"), REFUSED),
        "words": (whole.replace(b" 12.75", b" half"), REFUSED),
        "billions_of_frames": (whole.replace(b"Frames: 2", b"Frames: 2000000000"), REFUSED),
        "900_digits_of_frames": (whole.replace(b"Frames: 2", b"Frames: " + b"9" * 900), REFUSED),
        "frames_negative": (whole.replace(b"Frames: 2", b"Frames: -2"), REFUSED),
        "frames_none": (whole.replace(b"Frames: 2", b"Frames: 0"), REFUSED),
        "frame_time_zero": (whole.replace(b"Time: 0.05", b"Time: 0"), REFUSED),
        "frame_time_nan": (whole.replace(b"Time: 0.05", b"Time: nan"), REFUSED),
        "offset_1e300": (whole.replace(b"OFFSET 0.0", b"OFFSET 1e300", 1), REFUSED),
        "all_in_one_place": (b"\n".join(_flat(line) for line in whole.split(b"\n")), REFUSED),
        "nested": (b"HIERARCHY\n" + b"JOINT a\n{\nOFFSET 0 0 0\n" * 50_000 + b"MOTION\n", REFUSED),
        "names_that_none_knows": (re.sub(rb"(JOINT|ROOT) \w+", b"JOINT a", whole), REFUSED),
        "20_mb_of_blanks": (b" " * 20_000_000, REFUSED),
        "long_line": (whole.replace(zeros, b"0 " * 3_000_000, 1), MADE),
        "binary": (bytes(range(256)) * 400, REFUSED),
    }
    raw = _archives("poses")
    makes: list[tuple[str, Make, str]] = [
        *((f"npz_{name}", partial(_npz, content=content), end) for name, (content, end) in npz.items()),
        *((f"npz_{name}", partial(_raw, name="a.npz", data=data), REFUSED) for name, data in raw.items()),
        *((f"bvh_{name}", partial(_raw, name="a.bvh", data=data), end) for name, (data, end) in bvh.items()),
        *((f"bvh_{name}", make, REFUSED) for name, make in _no_files("a.bvh").items()),
        ("fbx", partial(_raw, name="a.fbx", data=b"Kaydara FBX Binary  \0"), REFUSED),
        ("pickle", partial(_raw, name="a.pkl", data=pickle.dumps({"poses": poses})), REFUSED),
    ]
    words = [("walk", MADE), ("moonwalk", REFUSED), ("", REFUSED), ("../walk", REFUSED), ("a" * 5000, REFUSED)]
    return [
        *(Case(f"motion_{name}", partial(_render_file, folder, "--motion", make), (end,)) for name, make, end in makes),
        *(
            Case(f"motion_word_{_shown(word)}", partial(_render, folder, [f"--motion={word}"]), (end,))
            for word, end in words
        ),
        Case("motion_frame_too_late", partial(_render, folder, ["--motion=walk", "--frame=100000"]), (REFUSED,)),
    ]


def _flat(line: bytes) -> bytes:
    word = line.strip()
    return b"OFFSET 0 0 0" if word.startswith(b"OFFSET") else line


def _output_cases(folder: Path) -> list[Case]:
    def picture(name: str) -> Callable[[Path], Path]:
        return lambda own: own / name

    places: list[tuple[str, Make, tuple[str, ...]]] = [
        ("in_new_folders", picture("a/b/c.png"), (MADE,)),
        ("without_suffix", picture("a"), (MADE,)),
        ("of_two_lines", picture("two\nlines 🧍.png"), (MADE,)),
        ("not_utf8", picture("\udcff.png"), (MADE, REFUSED)),
        ("of_300_letters", picture("a" * 300 + ".png"), (REFUSED,)),
        ("folder", lambda own: _folder(own / "a.png"), (REFUSED,)),
        ("below_a_file", lambda own: _raw(own, "a.png", b"mine") / "b.png", (REFUSED,)),
        ("over_a_file", lambda own: _raw(own, "a.png", b"old"), (MADE,)),
        ("link_outside", lambda own: _linked(own / "a.png", _raw(own, "mine.txt", b"mine")), (MADE,)),
        ("link_to_itself", lambda own: _linked(own / "b" / "a.png", own / "b" / "a.png"), (MADE, REFUSED)),
        ("in_a_folder_that_is_a_circle", lambda own: _linked(own / "a", own / "a") / "b.png", (REFUSED,)),
        ("nothing", lambda own: "", (REFUSED,)),
        ("blanks", lambda own: "  ", (REFUSED,)),
    ]
    if hasattr(os, "mkfifo"):
        places.append(("pipe", lambda own: _pipe(own / "a.png"), (REFUSED,)))
    kept = partial(_render_over, folder)
    return [
        *(Case(f"output_{name}", partial(_render_to, folder, make), ends) for name, make, ends in places),
        Case("refused_keeps_the_old_picture", partial(kept, "old.png"), (REFUSED,)),
        Case("refused_leaves_no_folder", partial(kept, "new/folders/a.png"), (REFUSED,)),
    ]


def _export_cases(folder: Path) -> list[Case]:
    refused = [
        ("to", ["--to="]),
        ("to_unknown", ["--to=unity3000"]),
        ("formats_empty", ["--formats="]),
        ("formats_comma", ["--formats=ply,"]),
        ("formats_unknown", ["--formats=ply,exe"]),
        ("formats_path", ["--formats=../../x"]),
        ("budget_negative", ["--budget=-1"]),
        ("budget_nan", ["--budget=nan"]),
        ("budget_99", ["--budget=99"]),
        ("budget_30_digits", ["--budget=" + "9" * 30]),
        ("triangles_10", ["--triangles=10"]),
        ("triangles_billion", ["--triangles=1000000000"]),
        ("texture_1000", ["--texture=1000"]),
        ("texture_negative", ["--texture=-2048"]),
        ("skeleton_unknown", ["--skeleton=spider"]),
        ("pose_missing", ["--pose=none.npz"]),
        ("motion_unknown", ["--motion=moonwalk"]),
        ("clips_missing", ["--clips=none.npz"]),
        ("clips_nothing", ["--clips="]),
    ]
    made = [
        ("formats_twice", ["--formats=ply,ply"]),
        ("budget_100", ["--budget=100"]),
        ("name_path", ["--name=../../x"]),
        ("name_reserved", ["--name=CON"]),
        ("name_5000_letters", ["--name=" + "ä" * 5000]),
        ("name_dots", ["--name=.."]),
        ("name_two_lines", ["--name=two\nlines \u202egpj"]),
        ("motion_twice", ["--motion=wave", "--motion=wave"]),
    ]
    about = {"format": "humansplat-clips", "clips": [{"name": "a", "fps": 30, "leg_length": 0.9, "frames": 4}]}
    arrays = {"poses": npy(np.zeros((4, 24, 3))), "translation": npy(np.zeros((4, 3)))}

    def clips(document: Any = about, **changes: bytes) -> Make:
        text = document if isinstance(document, str) else json.dumps(document)
        entries = {"about": npy(np.frombuffer(text.encode(), np.uint8)), **arrays, **changes}
        return partial(_raw, name="a.npz", data=zip_of({f"{key}.npy": value for key, value in entries.items()}))

    def entry(**values: Any) -> Make:
        return clips({**about, "clips": [{**about["clips"][0], **values}]})

    bad_clips: dict[str, Make] = {
        "nested": clips("[" * 100_000),
        "list": clips([1]),
        "of_another_format": clips({**about, "format": "x"}),
        "million": clips({**about, "clips": about["clips"] * 1000}),
        "rate_nan": entry(fps=float("nan")),
        "rate_text": entry(fps="fast"),
        "leg_zero": entry(leg_length=0),
        "frames_negative": entry(frames=-4),
        "frames_too_many": entry(frames=5),
        "frames_400_digits": entry(frames=10**400),
        "nan": clips(poses=npy(np.full((4, 24, 3), np.nan))),
        "1e300": clips(poses=npy(np.full((4, 24, 3), 1e300))),
        "objects": clips(poses=npy(np.array([{}], dtype=object))),
        "cut": clips(poses=arrays["poses"][:-9]),
        "claims_400_gb": clips(poses=npy_header("<f8", (1 << 29, 24, 3))),
        "bomb": partial(_raw, name="a.npz", data=_clips_bomb(about)),
        "text": partial(_raw, name="a.npz", data=b"hello"),
        **{name: make for name, make in _no_files("a.npz").items() if name in ("pipe", "hole_of_8_gb", "long_name")},
    }
    places: list[tuple[str, Make, str]] = [
        ("folder_of_the_user", lambda own: _raw(own, "mine/a.txt", b"mine").parent, REFUSED),
        ("file", lambda own: _raw(own, "a.txt", b"mine"), REFUSED),
        ("root", lambda own: Path("/"), REFUSED),
        ("below_a_file", lambda own: _raw(own, "a.txt", b"mine") / "out", REFUSED),
        ("link_to_itself", lambda own: _linked(own / "out", own / "out"), REFUSED),
        ("in_new_folders", lambda own: own / "a" / "b" / "out", WARNED),
        ("of_two_lines", lambda own: own / "two\nlines 🧍", WARNED),
    ]
    export = partial(_export, folder)
    return [
        *(Case(f"export_{name}", partial(export, arguments), (REFUSED,)) for name, arguments in refused),
        *(Case(f"export_{name}", partial(export, arguments), _EXPORTED) for name, arguments in made),
        Case("clips_whole", partial(export, [], clips=_clips), _EXPORTED),
        *(Case(f"clips_{name}", partial(export, [], clips=make), (REFUSED,)) for name, make in bad_clips.items()),
        *(Case(f"export_to_{name}", partial(export, [], place=make), (end,)) for name, make, end in places),
    ]


def _sequence_cases(folder: Path) -> list[Case]:
    about = {
        "frames": [{"frame": 1, "file": "a.ply"}],
        "fps": 24,
        "avatar": "a",
        "axes": "x to the person's left, y up",
    }
    frames = {
        "cut": b'{"frames": [',
        "nested": b"[" * 100_000,
        "list": b"[]",
        "not_utf8": b"\xff\xfe",
        "without_frames": {**about, "frames": []},
        "frames_text": {**about, "frames": "all"},
        "frame_nan": {**about, "frames": [{"frame": float("nan"), "file": "a.ply"}]},
        "frame_400_digits": {**about, "frames": [{"frame": 10**400, "file": "a.ply"}]},
        "rate_nan": {**about, "fps": float("nan")},
        "rate_zero": {**about, "fps": 0},
        "file_outside": {**about, "frames": [{"frame": 1, "file": "../secret.ply"}]},
        "file_number": {**about, "frames": [{"frame": 1, "file": 5}]},
        "file_nothing": {**about, "frames": [{"frame": 1, "file": ""}]},
        "file_missing": {**about, "frames": [{"frame": 1, "file": "gone.ply"}]},
        "file_nul": {**about, "frames": [{"frame": 1, "file": "a\0.ply"}]},
        "frame_twice": {**about, "frames": about["frames"] * 2},
    }
    run = partial(_sequence, folder)
    return [
        Case("sequence_of_nothing", partial(run, None, "a.usdc"), (REFUSED,)),
        *(Case(f"sequence_{name}", partial(run, content, "a.usdc"), (REFUSED,)) for name, content in frames.items()),
        Case("sequence_to_a_text", partial(run, about, "a.txt"), (REFUSED,)),
        Case("sequence_whole", partial(run, about, "a.usda"), (MADE,)),
        *(
            [Case("sequence_of_a_pipe", partial(run, os.mkfifo, "a.usdc"), (REFUSED,), seconds=60)]
            if hasattr(os, "mkfifo")
            else []
        ),
        Case("sequence_to_nothing", partial(run, about, ""), (REFUSED,)),
    ]


# --- files -------------------------------------------------------------------------------------------------------


def _raw(own: Path, name: str, data: bytes) -> Path:
    path = own / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _npz(own: Path, content: dict[str, Any]) -> Path:
    np.savez(own / "a.npz", **content)
    return own / "a.npz"


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _linked(path: Path, target: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _hole(path: Path) -> Path:
    path.touch()
    os.truncate(path, 8 << 30)
    return path


def _no_files(name: str) -> dict[str, Make]:
    """What is no plain file under a name."""
    makes: dict[str, Make] = {
        "folder": lambda own: _folder(own / name),
        "missing": lambda own: own / name,
        "hole_of_8_gb": lambda own: _hole(own / name),
        "link_to_itself": lambda own: _linked(own / name, own / name),
        "long_name": lambda own: own / ("a" * 5000 + name),
    }
    if hasattr(os, "mkfifo"):
        makes |= {
            "pipe": lambda own: _pipe(own / name),
            "device": lambda own: _linked(own / name, Path("/dev/zero")),
        }
    return makes


def _archives(key: str) -> dict[str, bytes]:
    """Damaged ``.npz`` files."""
    whole, size = zip_of({f"{key}.npy": npy(np.zeros((24, 3)))}), 3 << 30
    return {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "pickled": pickle.dumps({key: np.zeros((24, 3))}),
        "nested_header": zip_of({f"{key}.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535}),
        "claims_400_gb": zip_of({f"{key}.npy": npy_header("<f8", (1 << 35, 3))}),
        "bomb": zip_bomb({}, f"{key}.npy", npy_header("<f8", (size // 576, 72)), size),
    }


def _clips(own: Path) -> Path:
    save_clips(own / "a.npz", [Motion(np.zeros((4, 24, 3)), np.zeros((4, 3)), 30.0, 0.9, "🧍\n")])
    return own / "a.npz"


def _clips_bomb(about: dict[str, Any]) -> bytes:
    size = 3 << 30
    entries = {"about.npy": npy(np.frombuffer(json.dumps(about).encode(), np.uint8))}
    entries["translation.npy"] = npy(np.zeros((4, 3)))
    return zip_bomb(entries, "poses.npy", npy_header("<f8", (size // 576, 24, 3)), size)


_BONES = {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
          "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
          "elbow": "ForeArm", "wrist": "Hand", "hand": "HandMiddle1"}  # fmt: skip


def _bvh() -> bytes:
    """Two frames of a skeleton with Mixamo's names."""
    lines = ["HIERARCHY"]

    def add(joint: int, depth: int) -> None:
        side, _, part = JOINT_NAMES[joint].rpartition("_")
        x, y, z = REST_JOINTS[joint] - (REST_JOINTS[PARENTS[joint]] if joint else 0)
        channels = "6 Xposition Yposition Zposition" if joint == 0 else "3"
        children = [child for child, parent in enumerate(PARENTS) if parent == joint]
        lines.extend([f"{'JOINT' if joint else 'ROOT'} {side.title()}{_BONES[part]}", "{", f"OFFSET {x} {y} {z}"])
        lines.append(f"CHANNELS {channels} Zrotation Xrotation Yrotation")
        for child in children:
            add(child, depth + 1)
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 0.1 0", "}"])
        lines.append("}")

    add(0, 0)
    zeros = " ".join("0" for _ in range(5 + 3 * 23))
    lines += ["MOTION", "Frames: 2", "Frame Time: 0.05", f"{zeros} 12.75", f"{zeros} 12.75", ""]
    return "\n".join(lines).encode()


# --- commands ----------------------------------------------------------------------------------------------------


def _normal_peak(folder: Path) -> int:
    path = folder / "normal.txt"
    if not path.is_file():
        ran = run_backend(["render", folder / "avatar", "-o", folder / "normal.png", "--size", str(_SIZE)])
        path.write_text(str(ran.peak))
    return int(path.read_text())


def _names(own: Path) -> set[str]:
    return {str(path.relative_to(own)) for path in own.rglob("*")}


def _render_to(folder: Path, make: Callable[[Path], Path | str], own: Path, arguments: Sequence[Any] = ()) -> Said:
    """Render to the path that ``make`` gives; what lay there before must stay where the picture is refused."""
    output = make(own)
    before, kinds = _names(own), _kinds(own)
    size = [] if any(str(argument).startswith("--size") for argument in arguments) else [f"--size={_SIZE}"]
    ran = run_backend(["render", folder / "avatar", "-o", output, *size, *arguments])
    lost = ""
    if ran.status == 0:
        lost = _missing_picture(Path(output))
        mine = own / "mine.txt"
        if mine.exists() and mine.read_bytes() != b"mine":
            lost = "a file beside it"
    elif _names(own) != before or _kinds(own) != kinds:
        lost = f"left {sorted(_names(own) ^ before)}"
    return said_by(ran, normal_peak=_normal_peak(folder), lost=lost)


def _kinds(own: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything in a folder."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes()[:100] if path.is_file() and _small(path) else b"")
        for path in own.rglob("*")
    }


def _small(path: Path) -> bool:
    return path.stat().st_size < 1 << 24


def _missing_picture(path: Path) -> str:
    with Image.open(path) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    return "" if alpha.any() else "the picture is empty"


def _render(folder: Path, arguments: Sequence[str], own: Path) -> Said:
    return _render_to(folder, lambda own: own / "a.png", own, arguments)


def _render_file(folder: Path, option: str, make: Make, own: Path) -> Said:
    inputs = own / "in"
    inputs.mkdir()
    return _render_to(folder, lambda own: own / "a.png", own, [option, make(inputs)])


def _render_over(folder: Path, name: str, own: Path) -> Said:
    """A refusal after the output was chosen."""
    (own / "old.png").write_bytes(b"old")
    return _render_to(folder, lambda own: own / name, own, ["--size=9000"])


def _export(
    folder: Path, arguments: Sequence[str], own: Path, clips: Make | None = None, place: Make | None = None
) -> Said:
    inputs = own / "in"
    inputs.mkdir()
    extra = [] if clips is None else ["--clips", clips(inputs)]
    output = own / "out" if place is None else place(own)
    before, kinds = _names(own), _kinds(own)
    ran = run_backend(["export", folder / "avatar", *_SPLATS, "-o", output, *arguments, *extra], cwd=own)
    lost = ""
    if ran.status == 0:
        listed = json.loads((output / "export.json").read_text("utf-8"))["files"]
        lost = ", ".join(name for name in listed if not (output / name).is_file()) or ("" if listed else "all files")
        top = output.relative_to(own).parts[0]
        lost = lost or left_behind(own, ["in", top])
    elif _names(own) != before or _kinds(own) != kinds:
        lost = f"left {sorted(_names(own) ^ before)}"
    return said_by(ran, normal_peak=_normal_peak(folder), lost=lost)


def _sequence(folder: Path, content: Any, output: str, own: Path) -> Said:
    """A folder of one frame with a hostile list of frames."""
    baked = own / "baked"
    baked.mkdir()
    for path in (baked / "a.ply", own / "secret.ply"):
        shutil.copyfile(folder / "avatar" / "gaussians.ply", path)
    if callable(content):
        content(baked / "sequence.json")
    elif content is not None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (baked / "sequence.json").write_bytes(data)
    before = _names(own)
    ran = run_backend(["sequence", baked, "-o", own / output if output else ""])
    expected = before | {output} if ran.status == 0 else before
    lost = "" if _names(own) == expected else f"left {sorted(_names(own) ^ before)}"
    return said_by(ran, normal_peak=_normal_peak(folder), lost=lost)
