"""Reads AMASS, SMPL, SMPL-H and SMPL-X motions (``.npz``) into a :class:`Motion`. numpy and the standard library only.

AMASS (Mahmood et al. 2019, github.com/nghorbani/amass) stores ``poses`` [T, 156] of SMPL-H, or [T, 165] of SMPL-X with
the parts also under ``root_orient``, ``pose_body``, ``pose_hand``; ``trans`` [T, 3] in metres; ``mocap_framerate`` or
``mocap_frame_rate``. Other tools write SMPL's 72 numbers, or ``global_orient``, ``body_pose`` and ``transl``. In all of
them the first 22 joints are SMPL's, so that rotations are copied; SMPL's joints 22 and 23, the hands, become zero where
the file has fingers in their place.

The model's vertices and joints are shifted by ``trans``, and turn about the pelvis's rest place J_0, which is not the
model's origin: the pelvis is at J_0 + trans (Loper et al. 2015, equation 4). The body that a file was made with is not
at hand, so J_0 is that of the mean body; its error shifts everything by a constant, and the height is set anew: the
floor is where the feet of a standard skeleton are lowest.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .archives import check_directory
from .bone_maps import JOINT_PARENTS
from .clips import frame_slice
from .motion import Motion, MotionError, standing_height
from .plain_files import open_plain
from .rotations import axis_angles, continuous, world_positions, world_rotations
from .skinning import rotation_matrices

SMPL_PELVIS = np.array([-0.002, -0.24, 0.03])
"""Metres, place of the pelvis in the mean SMPL body's coordinates."""
STANDARD_JOINTS = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.113, -0.083, 0.008],
        [-0.113, -0.083, 0.008],
        [0.0, 0.083, -0.008],
        [0.135, -0.461, 0.008],
        [-0.135, -0.461, 0.008],
        [0.0, 0.164, -0.011],
        [0.135, -0.896, -0.018],
        [-0.135, -0.896, -0.018],
        [0.0, 0.289, -0.022],
        [0.145, -0.945, 0.123],
        [-0.145, -0.945, 0.123],
        [0.0, 0.475, 0.018],
        [0.023, 0.398, 0.032],
        [-0.023, 0.398, 0.032],
        [0.0, 0.571, 0.051],
        [0.176, 0.377, 0.028],
        [-0.176, 0.377, 0.028],
        [0.434, 0.377, 0.028],
        [-0.434, 0.377, 0.028],
        [0.665, 0.377, 0.028],
        [-0.665, 0.377, 0.028],
        [0.766, 0.377, 0.028],
        [-0.766, 0.377, 0.028],
    ]
)
"""Metres [24, 3], the shipped neutral body's joints (CC0), pelvis at the origin."""
TURNS = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-y": np.diag([1.0, -1.0, -1.0]),
}
"""What turns a file's axes to y up, by the file's upward axis; ``-y`` is that of cameras (y down)."""
MAX_NUMBERS = 60_000_000

# What zipfile, zlib and numpy raise on files that are none of theirs, found by changing bytes at random.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, NotImplementedError,
           RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)  # fmt: skip
_POSES = ("poses", "pose", "full_pose", "fullpose")
_ROOTS = ("root_orient", "global_orient")
_BODIES = ("pose_body", "body_pose")
_PLACES = ("trans", "transl", "translation")
_RATES = ("mocap_framerate", "mocap_frame_rate", "framerate", "frame_rate", "fps")
_SMPL_JOINTS = 24
_BODY_JOINTS = 22


def read_amass(
    path: str | Path,
    *,
    up: str = "auto",
    fps: float | None = None,
    frames: tuple[int, int] | None = None,
    floor: float | None = None,
) -> Motion:
    """Read a motion with SMPL's body joints. Only arrays of numbers are read, never pickled objects.

    Args:
        path: the file.
        up: the file's upward axis, ``y``, ``z`` (AMASS) or ``-y`` (a camera's); ``auto`` takes the one along which the
            head is above the pelvis on average.
        fps: frames a second; None takes the file's, or 30 where it says nothing.
        frames: (start, stop), to read a part.
        floor: metres, the floor's height along the upward axis; None finds it from the lowest feet.

    Raises:
        MotionError: the file cannot be read, has other content or too much of it, or an option is wrong.
    """
    path = Path(path)
    if up not in ("auto", *TURNS):
        raise MotionError(f"The upward axis must be y, z, -y or auto, not {up!r}.")
    try:
        file, size = open_plain(path)
        with file:
            check_directory(file, size)
            archive = zipfile.ZipFile(file)
            members = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".npy")}
            poses, places, rate = _read(archive, members, path.name)
    except MotionError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise MotionError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except _DAMAGE as error:
        raise MotionError(
            f"{path.name} is no .npz file or is damaged; save the motion again with numpy.savez."
        ) from error
    start, stop = frame_slice(frames, len(poses))
    poses, places = poses[start:stop], places[start:stop]
    if fps is None:
        fps = rate if rate is not None else 30.0
    local = rotation_matrices(poses)
    world = world_rotations(local, JOINT_PARENTS)
    if up == "auto":
        up = _up_axis(world)
    turn = TURNS[up]
    world = turn @ world
    pelvis = (places + SMPL_PELVIS) @ turn.T
    leg_length = standing_height(STANDARD_JOINTS)
    if floor is None:
        floor = lowest_sole(world, STANDARD_JOINTS, pelvis)
    poses[:, 0] = axis_angles(world[:, 0])
    return Motion(continuous(poses), pelvis - [0, leg_length + floor, 0], float(fps), leg_length, path.stem)


def lowest_sole(world: np.ndarray, rest_joints: np.ndarray, pelvis: np.ndarray) -> float:
    """Height in metres on which the feet stand: nearly the lowest of the soles over all frames.

    It is the twentieth part from below of the lower sole's heights, so that a few frames below the floor do not count.

    Args:
        world: world rotations [T, 24, 3, 3] of a body whose rest rotations are the identity.
        rest_joints: [24, 3] metres.
        pelvis: [T, 3] metres.
    """
    sole = rest_joints[0, 1] - standing_height(rest_joints)
    positions = world_positions(world, rest_joints, JOINT_PARENTS, pelvis)
    feet = [7, 8, 10, 11]
    lowest = (positions[:, feet, 1] - (rest_joints[feet, 1] - sole)).min(axis=1)
    return float(np.percentile(lowest, 5))


def _up_axis(world: np.ndarray) -> str:
    """The upward axis from where the head is above the pelvis; AMASS's z where the person lies all the time."""
    chain = (3, 6, 9, 12, 15)
    trunk = sum(
        world[:, JOINT_PARENTS[joint]] @ (STANDARD_JOINTS[joint] - STANDARD_JOINTS[JOINT_PARENTS[joint]])
        for joint in chain
    )
    mean = np.mean(trunk, axis=0) / np.linalg.norm(STANDARD_JOINTS[15])
    best = max(TURNS, key=lambda axis: float((TURNS[axis] @ mean)[1]))
    return best if (TURNS[best] @ mean)[1] > 0.3 else "z"


def _read(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Poses [T, 24, 3], translations [T, 3] and the frame rate, float64."""
    key = next((key for key in _POSES if key in members), None)
    if key is not None:
        poses = _joints(_array(archive, members[key], name), name)
    else:
        root, body = (next((key for key in keys if key in members), None) for keys in (_ROOTS, _BODIES))
        if root is None or body is None:
            found = ", ".join(_shown(member) for member in sorted(members)[:8]) or "nothing"
            more = " Kimodo's own files are not SMPL's: export BVH or AMASS." if "local_rot_mats" in members else ""
            raise MotionError(
                f"{name} has no SMPL motion: it needs poses, or root_orient and pose_body; it holds {found}.{more}"
            )
        first, rest = _array(archive, members[root], name), _array(archive, members[body], name)
        if not (first.ndim and rest.ndim and len(first) == len(rest)):
            raise MotionError(f"{name} has other numbers of frames in {root} and {body}; save the motion again.")
        if len(first) == 0:
            raise MotionError(f"{name} has no frames.")
        poses = _joints(np.concatenate([first.reshape(len(first), -1), rest.reshape(len(rest), -1)], axis=1), name)
    key = next((key for key in _PLACES if key in members), None)
    places = np.zeros((len(poses), 3)) if key is None else _array(archive, members[key], name)
    if places.size == 3 and places.ndim <= 2 and len(poses) == 1:
        places = places.reshape(1, 3)
    if places.shape != (len(poses), 3):
        raise MotionError(
            f"{name} has {key} of the shape {places.shape} for {len(poses)} frames, expected {len(poses)} x 3."
        )
    if not (np.isfinite(poses).all() and np.isfinite(places).all()):
        raise MotionError(f"{name} holds numbers that are not finite; export it again or cut those frames off.")
    if np.abs(poses).max() > 1e4 or np.abs(places).max() > 1e6:
        raise MotionError(f"{name} holds angles or places beyond all measure; it needs radians and metres.")
    return poses, places, _rate(archive, members, name)


def _shown(name: str) -> str:
    """A name from a file as it may stand in a sentence."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:40])


def _rate(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> float | None:
    key = next((key for key in _RATES if key in members), None)
    if key is None:
        return None
    rate = _array(archive, members[key], name)
    if rate.size != 1 or not (np.isfinite(rate).all() and 0 < float(rate.reshape(-1)[0]) <= 1000):
        raise MotionError(f"{name} has a frame rate that is no number between 0 and 1000; give fps.")
    return float(rate.reshape(-1)[0])


def _joints(array: np.ndarray, name: str) -> np.ndarray:
    """Poses [T, 24, 3] of T rows of axis-angle numbers: 22 joints, 24 of SMPL, or more of SMPL-H and SMPL-X."""
    if array.ndim in (0, 1) or len(array) == 0:
        if array.ndim and len(array) == 0:
            raise MotionError(f"{name} has no frames.")
        array = array.reshape(1, -1)
    rows = array.reshape(len(array), -1)
    width = rows.shape[1]
    if width not in (66, 72, 156, 165):
        raise MotionError(
            f"{name} has {width} pose numbers a frame; expected 72 (SMPL), 156 (SMPL-H), 165 (SMPL-X) or 66, "
            "in axis-angle."
        )
    poses = np.zeros((len(rows), _SMPL_JOINTS, 3))
    used = _SMPL_JOINTS if width == 3 * _SMPL_JOINTS else _BODY_JOINTS
    poses[:, :used] = rows[:, : 3 * used].reshape(len(rows), used, 3)
    return poses


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    """One array as float64. Its header is checked first: numpy makes room for what it says before it reads on."""
    key = Path(member.filename).stem
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            header: Any = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
        if dtype.hasobject:
            raise MotionError(f"{name} holds {key} as pickled objects, which are not read; save it as plain numbers.")
        if dtype.kind not in "fiu":
            raise MotionError(f"{name} holds {key} as {dtype}, not as numbers; save the motion again.")
        count = 1
        for size in shape:
            count *= int(size)
        if count > MAX_NUMBERS:
            raise MotionError(f"{name} has {key} of the shape {shape}, too large to read; cut the motion into parts.")
        if count * dtype.itemsize > member.file_size:
            raise MotionError(f"{name} is damaged: {key} is shorter than it says; save the motion again.")
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)
    except ValueError as error:
        if isinstance(error, MotionError):
            raise
        raise MotionError(f"{name} is damaged: {key} is no array; save the motion again.") from error
