"""Readers of motion files against files that the tests write, and against what is no motion at all."""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from motion_writers import lively_poses, make_source, write_bvh
from scipy.spatial.transform import Rotation
from synthetic import PARENTS, REST_JOINTS

from backend.avatar.amass import SMPL_PELVIS, STANDARD_JOINTS, read_amass
from backend.avatar.bvh import read_bvh
from backend.avatar.motion import MotionError, standing_height
from backend.avatar.motion_files import MotionOptions, read_motion
from backend.avatar.retarget import RetargetOptions

UP_TO_Z = Rotation.from_euler("x", 90, degrees=True)  # y up -> z up


def smpl_poses(frames: int = 40) -> np.ndarray:
    poses = lively_poses(frames, 4, 0.3)
    poses[:, 22:] = 0
    return poses


def same_turns(first: np.ndarray, second: np.ndarray) -> bool:
    wrong = Rotation.from_rotvec(first.reshape(-1, 3)).inv() * Rotation.from_rotvec(second.reshape(-1, 3))
    return bool(wrong.magnitude().max() < 1e-6)


def amass_arrays(poses: np.ndarray, way: np.ndarray, joints: int, up: str = "z") -> dict[str, np.ndarray]:
    """What AMASS stores for a person whose pelvis is at ``way``: fingers after the body, z up."""
    full = np.random.default_rng(0).normal(size=(len(poses), joints, 3))
    full[:, :22] = poses[:, :22]
    places = way.copy()
    if up == "z":
        full[:, 0] = (UP_TO_Z * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
        places = UP_TO_Z.apply(way)
    return {
        "poses": full.reshape(len(poses), -1),
        "trans": places - SMPL_PELVIS,
        "betas": np.zeros(16),
        "dmpls": np.zeros((len(poses), 8)),
        "mocap_framerate": np.array(120.0),
    }


@pytest.mark.parametrize("joints", [52, 55])
@pytest.mark.parametrize("up", ["y", "z"])
def test_amass_rotations_are_copied_and_z_becomes_y(joints: int, up: str, tmp_path: Path) -> None:
    poses = smpl_poses()
    way = np.linspace([0.3, 0.9, -1], [1, 0.95, 2], len(poses))
    # A pickled object array, as real files have for the gender: it is not touched.
    np.savez(tmp_path / "a.npz", gender=np.array("female", dtype=object), **amass_arrays(poses, way, joints, up))
    motion = read_amass(tmp_path / "a.npz")
    assert motion.fps == 120 and motion.name == "a" and len(motion) == len(poses)
    assert same_turns(motion.poses, poses)
    assert np.allclose(motion.translation[:, [0, 2]], way[:, [0, 2]], atol=1e-9)
    assert np.allclose(np.diff(motion.translation[:, 1]), np.diff(way[:, 1]), atol=1e-9)
    exact = read_amass(tmp_path / "a.npz", floor=0.0)
    assert np.allclose(exact.translation[:, 1], way[:, 1] - exact.leg_length, atol=1e-9)


def test_the_amass_floor_is_where_the_feet_are(tmp_path: Path) -> None:
    poses = np.zeros((50, 24, 3))
    poses[:25, [1, 2], 0], poses[:25, [4, 5], 0] = -0.9, 1.8  # half of it crouching, feet turned up again
    poses[:25, [7, 8], 0] = -0.9
    height = np.full(50, standing_height(STANDARD_JOINTS) + 0.37)
    thigh, shin = STANDARD_JOINTS[4] - STANDARD_JOINTS[1], STANDARD_JOINTS[7] - STANDARD_JOINTS[4]
    lowered = Rotation.from_rotvec([-0.9, 0, 0]).apply(thigh) + Rotation.from_rotvec([0.9, 0, 0]).apply(shin)
    drop = lowered[1] - thigh[1] - shin[1]
    height[:25] -= drop
    way = np.stack([np.zeros(50), height, np.zeros(50)], axis=1)
    np.savez(tmp_path / "a.npz", **amass_arrays(poses, way, 52))
    motion = read_motion(tmp_path / "a.npz", REST_JOINTS, PARENTS)
    assert np.allclose(motion.translation[25:], 0, atol=1e-6)
    assert np.allclose(motion.translation[:25, 1], -drop, atol=1e-6)


def test_split_keys_and_plain_smpl(tmp_path: Path) -> None:
    poses = smpl_poses()
    flat = poses.reshape(len(poses), 72)
    way = np.zeros((len(poses), 3))
    for name, arrays in {
        "smpl": {"poses": flat, "trans": way, "fps": 25},
        "joints": {"poses": poses, "trans": way, "fps": 25},
        "no way": {"poses": flat, "fps": 25},
        "body": {"poses": flat[:, :66], "trans": way, "mocap_frame_rate": 25},
        "amass x": {"root_orient": flat[:, :3], "pose_body": flat[:, 3:66], "trans": way, "mocap_frame_rate": 25},
        "smplx": {"global_orient": poses[:, :1], "body_pose": poses[:, 1:22], "transl": way, "fps": [25]},
        "smpl split": {"global_orient": flat[:, :3], "body_pose": flat[:, 3:], "transl": way, "fps": 25.0},
    }.items():
        np.savez_compressed(tmp_path / "m.npz", **arrays)
        motion = read_motion(tmp_path / "m.npz", REST_JOINTS, PARENTS)
        assert same_turns(motion.poses, poses) and motion.fps == 25, name
    # A camera's axes: y down.
    down = Rotation.from_euler("x", 180, degrees=True)
    camera = flat.copy()
    camera[:, :3] = (down * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    np.savez(tmp_path / "c.npz", poses=camera, trans=way)
    motion = read_motion(tmp_path / "c.npz", REST_JOINTS, options=MotionOptions(frames=(10, 20)))
    assert same_turns(motion.poses, poses[10:20]) and motion.fps == 30


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("order", ["XYZ", "ZXY", "YZX"])
def test_bvh_joints_are_where_they_were_written(order: str, up: str, tmp_path: Path) -> None:
    root = np.linspace([0, 0, 0], [1, 0.1, 2], 30)
    source = make_source("cmu", lively_poses(30, 6), 120, 1.0, root)
    kinds = [("t", 0.01), ("a", 0.0254), ("x", 0.0254 / 0.45), ("t", 1.0), ("t", 0.001), ("t", 0.37)]
    for rest, unit in kinds:
        write_bvh(tmp_path / "m.bvh", source, rest=rest, order=order, unit=unit, up=up, decimals=9)
        clip = read_bvh(tmp_path / "m.bvh", scale=unit if unit == 0.37 else None)
        place = [clip.names.index(name) for name in source.names]
        assert np.allclose(clip.positions[:, place], source.positions, atol=1e-5), (rest, unit)
        assert clip.fps == 120 and "Head_end" in clip.names
        turned = clip.rotations[:, place] @ np.swapaxes(clip.rest_rotations[place], 1, 2)
        # Relative to the first frame, whatever the rest pose: R(t) R(0)^-1.
        ours = turned @ np.swapaxes(turned[:1], 2, 3)
        theirs = source.turns @ np.swapaxes(source.turns[:1], 2, 3)
        assert np.allclose(ours, theirs, atol=1e-6)
    assert abs(read_bvh(tmp_path / "m.bvh").positions[0, place, 1].max() / source.positions[0, :, 1].max() - 1) < 0.5
    part = read_bvh(tmp_path / "m.bvh", frames=(10, 15), mapped_only=True, scale=0.37)
    assert len(part) == 5 and "LHipJoint" not in part.names
    assert np.allclose(part.positions[0, part.names.index("Head")], source.place("head")[10], atol=1e-5)


@pytest.mark.parametrize("positions", ["all", "zero"])
def test_bvh_positions_on_every_joint_line_ends_and_comments(positions: str, tmp_path: Path) -> None:
    source = make_source("rokoko", lively_poses(20, 7), 60)
    write_bvh(tmp_path / "m.bvh", source, rest="a", positions=positions, newline="\r\n")
    text = (tmp_path / "m.bvh").read_text().replace("MOTION", "\n# a comment\n\nMOTION\n")
    text = "// by hand\n" + text.replace("{", "  {   ").replace("Frame Time", "\n\nFrame   Time")
    (tmp_path / "m.bvh").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"# end\r\n\r\n")
    clip = read_bvh(tmp_path / "m.bvh")
    place = [clip.names.index(name) for name in source.names]
    assert np.allclose(clip.positions[:, place], source.positions, atol=1e-5)


def test_read_motion_reads_a_bvh_with_options(tmp_path: Path) -> None:
    source = make_source("lafan", lively_poses(60, 8), 30, 1.2, np.linspace([0, 0, 0], [2, 0, 0], 60))
    write_bvh(tmp_path / "walk.bvh", source, rest="x")
    motion = read_motion(tmp_path / "walk.bvh", REST_JOINTS, PARENTS)
    assert len(motion) == 60 and motion.name == "walk" and np.ptp(motion.translation[:, 0]) > 1.5
    options = MotionOptions(frames=(5, 25), fps=24, retarget=RetargetOptions(root="in_place"))
    part = read_motion(tmp_path / "walk.bvh", REST_JOINTS, PARENTS, options)
    assert len(part) == 20 and part.fps == 24 and (part.translation[:, [0, 2]] == 0).all()


def test_a_long_bvh_is_read_fast(tmp_path: Path) -> None:
    source = make_source("mixamo", lively_poses(200, 9), 120)
    write_bvh(tmp_path / "m.bvh", source, decimals=4)
    head, frames = (tmp_path / "m.bvh").read_text().split("Frame Time: 0.0083333\n")
    (tmp_path / "long.bvh").write_text(head.replace("Frames: 200", "Frames: 10000") + "Frame Time: 0.0083333\n"
                                       + frames * 50)  # fmt: skip
    start = time.perf_counter()
    motion = read_motion(tmp_path / "long.bvh", REST_JOINTS, PARENTS)
    assert len(motion) == 10000 and motion.fps == 120
    assert time.perf_counter() - start < 10
    assert np.allclose(motion.poses[200:400], motion.poses[:200], atol=1e-9)


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  End Site
  {
    OFFSET 0 1 0
  }
}
MOTION
Frames: 2
Frame Time: 0.04
0 0 0 0 0 0
0 0 0 0 0 0
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("HIERARCHY", "HIERARCH", "no BVH file"),
        ("MOTION", "MOVE", "ends before its motion"),
        ("Frames: 2", "Frames: 3", "holds 2: it is cut off"),
        ("Frames: 2", "Frames: 0", "no frames"),
        ("Frames: 2", "Frames: -7", "no frames"),
        ("Frames: 2", "Frames: 99999999999", "too many to read"),
        ("Frames: 2", "Frames: many", "no number"),
        ("Frame Time: 0.04", "Frame Time: 0", "frame time"),
        ("Frame Time: 0.04", "Frame Time: nan", "frame time"),
        ("Frame Time: 0.04", "", "how many frames"),
        ("0 0 0 0 0 0\n", "0 0 nan 0 0 0\n", "not finite"),
        ("0 0 0 0 0 0\n", "0 0 x 0 0 0\n", "no number"),
        ("0 0 0 0 0 0\n", "0 0 0 0 0 0\0\n", "no number"),
        ("OFFSET 0 0 0", "OFFSET 0 0", "not BVH, at line 4"),
        ("OFFSET 0 0 0", "OFFSET 0 a 0", "no number"),
        ("OFFSET 0 0 0", "OFFSET 0 inf 0", "not finite"),
        ("  OFFSET 0 0 0\n", "", "no OFFSET"),
        ("CHANNELS 6", "CHANNELS 5", "wrong CHANNELS"),
        ("CHANNELS 6", "CHANNELS 999", "wrong CHANNELS"),
        ("Zrotation", "Zrotating", "does not know"),
        ("    OFFSET 0 1 0\n  }", "    OFFSET 0 1 0\n", "cut off in its skeleton"),
        ("ROOT Hips\n{", "{", "braces"),
        ("MOTION", "}\nMOTION", "closing"),
        ("", "", "none of the known rigs"),
    ],
)
def test_bad_bvh_files_are_said(old: str, new: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.bvh").write_text(BVH.replace(old, new))
    with pytest.raises(MotionError, match=words) as error:
        read_motion(tmp_path / "bad.bvh", REST_JOINTS, PARENTS)
    assert str(error.value).count("\n") == 0


def test_absurd_bvh_files_are_refused_soon(tmp_path: Path) -> None:
    deep = "HIERARCHY\n" + "ROOT a\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n".replace("ROOT", "JOINT") * 90000
    binary = np.random.default_rng(0).bytes(200_000)
    for data in (deep.encode(), deep.encode() + b"MOTION\n", binary, b"", b"HIERARCHY", b"HIERARCHY\n" + binary,
                 b"HIERARCHY\nROOT " + b"x" * 6_000_000, BVH.encode()[:-9] + binary):  # fmt: skip
        (tmp_path / "bad.bvh").write_bytes(data)
        start = time.perf_counter()
        with pytest.raises(MotionError):
            read_motion(tmp_path / "bad.bvh", REST_JOINTS, PARENTS)
        assert time.perf_counter() - start < 3
    for end in range(0, len(BVH) - 12, 7):
        (tmp_path / "bad.bvh").write_text(BVH[:end])
        with pytest.raises(MotionError):
            read_bvh(tmp_path / "bad.bvh")


def npz_with(path: Path, key: str, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{key}.npy", data)


def npy_header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": dtype})
    return buffer.getvalue()


def test_bad_npz_files_are_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    good = {"poses": np.zeros((4, 72)), "trans": np.zeros((4, 3)), "fps": np.array(30)}
    for change, words in (
        ({"poses": np.zeros((4, 75))}, "75 pose numbers"),
        ({"poses": np.zeros((4, 24, 3, 3))}, "216 pose numbers"),
        ({"poses": np.zeros((0, 72))}, "no frames"),
        ({"poses": np.zeros(())}, "pose numbers"),
        ({"poses": np.full((4, 72), np.nan)}, "not finite"),
        ({"trans": np.full((4, 3), np.inf)}, "not finite"),
        ({"poses": np.full((4, 72), 1e9)}, "beyond all measure"),
        ({"trans": np.zeros((5, 3))}, "5, 3"),
        ({"trans": np.zeros(3)}, "trans"),
        ({"poses": np.array([{}] * 4, dtype=object)}, "pickled"),
        ({"poses": np.array(["a"] * 4)}, "not as numbers"),
        ({"poses": np.zeros((4, 72), complex)}, "not as numbers"),
        ({"fps": np.array(0)}, "frame rate"),
        ({"fps": np.array([1, 2])}, "frame rate"),
    ):
        np.savez(path, **(good | change))
        with pytest.raises(MotionError, match=words):
            read_motion(path, REST_JOINTS, PARENTS)
    np.savez(path, local_rot_mats=np.zeros((3, 77, 3, 3)), root_positions=np.zeros((3, 3)))
    with pytest.raises(MotionError, match=r"local_rot_mats.*Kimodo"):
        read_motion(path, REST_JOINTS, PARENTS)
    np.savez(path, root_orient=np.zeros((4, 3)), pose_body=np.zeros((5, 63)))
    with pytest.raises(MotionError, match="other numbers of frames"):
        read_motion(path, REST_JOINTS, PARENTS)
    np.savez(path)
    with pytest.raises(MotionError, match="holds nothing"):
        read_motion(path, REST_JOINTS, PARENTS)
    for header, words in (
        (npy_header((10**12, 72)), "too large"),
        (npy_header((500_000, 72)), "shorter than it says"),
        (b"\x93NUMPY\x09\x00junk", "no array"),
        (b"junk", "no array"),
        (pickle.dumps(np.zeros(3)), "no array"),
    ):
        npz_with(path, "poses", header)
        with pytest.raises(MotionError, match=words):
            read_motion(path, REST_JOINTS, PARENTS)
    np.savez(path, **good)
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], pickle.dumps(good), np.random.default_rng(1).bytes(5000),
                 whole[:200] + b"\xff" * 100 + whole[300:]):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(MotionError):
            read_motion(path, REST_JOINTS, PARENTS)


def test_other_files_and_options(tmp_path: Path) -> None:
    for name, words in (
        ("a.fbx", "import it with Blender"),
        ("a.pkl", "pickles"),
        ("a.txt", "are read from"),
        ("absent.bvh", "no file"),
    ):
        with pytest.raises(MotionError, match=words):
            read_motion(tmp_path / name, REST_JOINTS, PARENTS)
    source = make_source("mixamo", np.zeros((5, 24, 3)))
    write_bvh(tmp_path / "m.bvh", source)
    for options, words in (
        (MotionOptions(frames=(5, 9)), "0 to 5"),
        (MotionOptions(frames=(3, 3)), "0 to 5"),
        (MotionOptions(up="w"), "upward axis"),
        (MotionOptions(scale=0), "scale"),
        (MotionOptions(fps=-1), "frames a second"),
    ):
        with pytest.raises(MotionError, match=words):
            read_motion(tmp_path / "m.bvh", REST_JOINTS, PARENTS, options)
