"""The user's own SMPL, SMPL-H or SMPL-X file as a :class:`~backend.body.model.BodyModel`.

These files are licensed by their makers and never ship. The 55 joints of SMPL-X (and 52 of SMPL-H) are reduced to
SMPL's 24: jaw and eyes go with the head, fingers with the hand. Landmarks on the skin need vertex numbers, which the
optional ``smplx`` package knows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ..avatar.archives import ArchiveError, ArrayArchive
from ..avatar.bone_maps import JOINT_PARENTS
from ..avatar.plain_files import brief, open_plain
from ..errors import BackendError
from ..options import shown
from . import pickles
from .model import JOINT_COUNT, JOINT_INDEX, BodyModel, body_from_arrays

_LICENCE = "Licensed to its user by the makers of the body model; may not be passed on."
_FIX = "Choose the SMPL, SMPL-H or SMPL-X file (.npz or .pkl) as its makers hand it out."
_KEYS = ("v_template", "f", "weights", "shapedirs", "posedirs", "J_regressor", "kintree_table")
_LARGEST_FILE = 1 << 30
"""Bytes; SMPL-X's largest file has half of it."""
_LARGEST_NUMBER = 1e3  # metres, and what else a body has
_SIZES = (0.1, 50.0)  # metres at its widest; SMPL's has 1.9
_WEIGHTS_OFF = 0.05  # how far a vertex's weights may be from 1 together, and below 0 each
_SKIN_POINTS = {
    "nose": "nose", "left_eye": "leye", "right_eye": "reye", "left_ear": "lear", "right_ear": "rear",
    "left_big_toe": "LBigToe", "right_big_toe": "RBigToe", "left_small_toe": "LSmallToe",
    "right_small_toe": "RSmallToe", "left_heel": "LHeel", "right_heel": "RHeel",
}  # fmt: skip
_JOINT_POINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_FIRST_FINGERS = {52: (22, 37), 55: (25, 40)}
"""Number of joints -> first finger joint of the left and of the right hand; 15 each, three a finger."""
_VERTICES = {6890: "smplh", 10475: "smplx"}
"""Number of vertices -> the ``smplx`` package's name for their numbering."""


def _unreadable(path: Path, why: str) -> BackendError:
    return BackendError("body_unreadable", f"The body file {shown(path.name, 100)} cannot be used: {why}.", _FIX)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file that a body needs.

    Raises:
        BackendError: kind ``body_missing`` or ``body_unreadable``.
    """
    try:
        file, size = open_plain(path)
        file.close()
        if size > _LARGEST_FILE:
            raise ValueError(f"it is larger than {_LARGEST_FILE >> 20:,} MB")
        if path.suffix.lower() == ".npz":
            return _read_archive(path)
        return _read_pickle(path)
    except FileNotFoundError as error:
        raise BackendError("body_missing", f"There is no body file {shown(path)}.", _FIX) from error
    except ArchiveError as error:
        raise _unreadable(path, error.why) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, brief(getattr(error, "strerror", None) or error)) from error


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file.

    Raises:
        ArchiveError: it is damaged or holds something else.
        ValueError: they are larger than a body's.
    """
    with ArrayArchive(path, _KEYS) as file:
        if sum(header.nbytes for header in file.headers.values()) > _LARGEST_FILE:
            raise ValueError("its arrays are larger than a body's")
        return {key: file.read(key) for key in file.headers}


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.pkl`` file, which another process reads: what it may do to that one, it cannot do to this.

    Raises:
        ValueError: it is damaged, holds something else than arrays, or brings the other process down.
        OSError: the other process cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="humansplat-body-") as folder:
        output = Path(folder) / "arrays.npz"
        command = [sys.executable, "-I", "-B", pickles.__file__, str(path.absolute()), str(output), *_KEYS]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=2 * pickles.SECONDS,
                # Threads that are not needed would each ask for memory that is held against the limit.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"reading it took more than {2 * pickles.SECONDS} seconds") from None
        if done.returncode == pickles.REFUSED:
            raise ValueError(done.stdout.decode("utf-8", "replace"))
        if done.returncode != 0:
            raise ValueError(f"reading it brought the reader down (status {done.returncode})")
        return _read_archive(output)


def _reduce_joints(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """SMPL-H's or SMPL-X's joints merged to SMPL's 24; other arrays follow."""
    count = len(arrays["J_regressor"])
    weights, regressor = arrays["weights"], arrays["J_regressor"]
    correctives = arrays.get("posedirs")
    if count != JOINT_COUNT:
        first = _FIRST_FINGERS[count]
        merged = np.zeros((len(weights), JOINT_COUNT))
        merged[:, :22] = weights[:, :22]
        merged[:, JOINT_INDEX["head"]] += weights[:, 22 : first[0]].sum(1)
        rows = [*regressor[:22]]
        for side, start in zip(("left_", "right_"), first):
            merged[:, JOINT_INDEX[side + "hand"]] = weights[:, start : start + 15].sum(1)
            # SMPL's hand joint lies at the knuckles: the four fingers' first joints.
            rows.append(regressor[start : start + 12 : 3].mean(0))
        weights, regressor = merged, np.stack(rows)
        if correctives is not None:
            padded = np.zeros((*correctives.shape[:2], 9 * (JOINT_COUNT - 1)))
            padded[..., : 9 * 21] = correctives[..., : 9 * 21]
            correctives = padded
    parents = np.array(arrays["kintree_table"], dtype=np.int64)[:, :JOINT_COUNT].copy()
    parents[0, 22:] = JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]
    out = arrays | {"weights": weights, "J_regressor": regressor, "kintree_table": parents}
    if correctives is not None:
        out["posedirs"] = correctives
    return out


def _keypoints(path: Path, regressor: np.ndarray, vertex_count: int) -> dict[str, np.ndarray]:
    """Names [K] and rows [K, V] of the landmarks that this model has a point for."""
    try:
        from smplx.vertex_ids import vertex_ids
    except ImportError as error:
        raise BackendError(
            "body_unreadable",
            f"The body file {shown(path.name, 100)} needs the package smplx, which is not installed.",
            "Run `pip install smplx` in the backend's environment, or choose one of the shipped bodies.",
        ) from error
    numbers = vertex_ids[_VERTICES[vertex_count]]
    rows: dict[str, np.ndarray] = {}
    for name, vertex in _SKIN_POINTS.items():
        rows[name] = np.zeros(vertex_count)
        rows[name][numbers[vertex]] = 1
    for side in ("left_", "right_"):
        for joint in _JOINT_POINTS:
            rows[side + joint] = regressor[JOINT_INDEX[side + joint]]
    if len(regressor) in _FIRST_FINGERS:
        for side, start in zip(("left_", "right_"), _FIRST_FINGERS[len(regressor)]):
            for k, finger in enumerate(_FINGERS):
                # The thumb's landmark is its second joint; "tip" is every finger's last joint.
                rows[side + finger] = regressor[start + 3 * k + (finger == "thumb")]
                rows[f"{side}{finger}_tip"] = regressor[start + 3 * k + 2]
    return {"keypoint_names": np.array(list(rows)), "keypoint_regressor": np.stack(list(rows.values()))}


def load_licensed_body(path: Path) -> BodyModel:
    """Load an SMPL, SMPL-H or SMPL-X file, ``.npz`` or ``.pkl``; nothing in it is executed.

    Raises:
        BackendError: kind ``body_missing``, or ``body_unreadable`` for anything that is not such a file.
    """
    arrays = _read(path)
    missing = [key for key in _KEYS if key not in arrays and key != "posedirs"]
    if missing:
        raise _unreadable(path, f"it has no {missing[0]}")
    vertices, joints = (arrays[key].shape[0] if arrays[key].ndim else 0 for key in ("v_template", "J_regressor"))
    if vertices not in _VERTICES:
        raise _unreadable(path, f"it has {vertices} vertices, where SMPL has 6890 and SMPL-X 10475")
    if joints != JOINT_COUNT and joints not in _FIRST_FINGERS:
        raise _unreadable(path, f"it has {joints} joints, where SMPL has 24, SMPL-H 52 and SMPL-X 55")
    expected = {
        "v_template": (vertices, 3),
        "weights": (vertices, joints),
        "J_regressor": (joints, vertices),
        "kintree_table": (2, joints),
    }
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise _unreadable(path, f"its {key} has the shape {arrays[key].shape} instead of {shape}")
    directions = arrays["shapedirs"].shape
    if len(directions) != 3 or directions[:2] != (vertices, 3) or directions[2] < 10:
        raise _unreadable(path, f"its shapedirs has the shape {arrays['shapedirs'].shape}")
    if "posedirs" in arrays and arrays["posedirs"].shape != (vertices, 3, 9 * (joints - 1)):
        raise _unreadable(path, f"its posedirs has the shape {arrays['posedirs'].shape}")
    for key in arrays:
        if not np.isfinite(arrays[key].astype(float)).all():
            raise _unreadable(path, "it holds numbers that are not finite")
        if key not in ("f", "kintree_table") and np.abs(arrays[key]).max(initial=0) > _LARGEST_NUMBER:
            raise _unreadable(path, f"its {key} holds numbers that no body has")
    faces = arrays["f"]
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or not 0 <= faces.min() <= faces.max() < vertices:
        raise _unreadable(path, "its f names vertices that it does not have")
    if not _SIZES[0] <= np.ptp(arrays["v_template"], axis=0).max() <= _SIZES[1]:
        raise _unreadable(path, "it has not the size of a person")
    weights = arrays["weights"]
    if weights.min() < -_WEIGHTS_OFF or np.abs(weights.sum(1) - 1).max() > _WEIGHTS_OFF:
        raise _unreadable(path, "its weights do not share each vertex among the joints")
    keypoints = _keypoints(path, arrays["J_regressor"], vertices)
    reduced = _reduce_joints(arrays)
    if tuple(int(parent) for parent in reduced["kintree_table"][0, 1:]) != JOINT_PARENTS[1:]:
        raise _unreadable(path, "its joints do not hang together as SMPL's do")
    return body_from_arrays(reduced | keypoints, path.stem.replace("\\", "_"), _LICENCE)
