"""The user's own SMPL, SMPL-H or SMPL-X file as a :class:`~backend.body.model.BodyModel`.

These files are licensed by their makers and never ship. The 55 joints of SMPL-X (and 52 of SMPL-H) are reduced to
SMPL's 24: jaw and eyes go with the head, fingers with the hand. Landmarks on the skin need vertex numbers, which the
optional ``smplx`` package knows.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from ..errors import BackendError
from .model import JOINT_COUNT, JOINT_INDEX, BodyModel, body_from_arrays

_LICENCE = "Licensed to its user by the makers of the body model; may not be passed on."
_FIX = "Choose the SMPL, SMPL-H or SMPL-X file (.npz or .pkl) as its makers hand it out."
_KEYS = ("v_template", "f", "weights", "shapedirs", "posedirs", "J_regressor", "kintree_table")
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
    return BackendError("body_unreadable", f"The body file {path.name} cannot be used: {why}.", _FIX)


class _Chumpy:
    """Stands in for the objects of the ``chumpy`` package, of which only the array is wanted."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self) -> np.ndarray:
        """Value of a plain array (``x``) or of a selection from another one (``a``, ``idxs``, ``preferred_shape``)."""
        state = getattr(self, "state", {})
        if isinstance(state.get("x"), np.ndarray):
            return state["x"]
        source = _as_array(state["a"])
        chosen = source.ravel()[np.asarray(state["idxs"], int)]
        return chosen.reshape(state["preferred_shape"]) if "preferred_shape" in state else chosen


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, _Chumpy):
        return value.array()
    if scipy.sparse.issparse(value):
        return value.toarray()
    array = np.asarray(value)
    if array.dtype == object:
        raise ValueError("it holds objects where numbers belong")
    return array


def _allowed_classes() -> dict[tuple[str, str], Any]:
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    from_buffer = np.empty(0).__reduce_ex__(5)[0]
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed[module, "_reconstruct"] = reconstruct
        allowed[module, "scalar"] = scalar
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        allowed[module, "_frombuffer"] = from_buffer
    for kind in ("csc", "csr", "coo"):
        matrix = getattr(scipy.sparse, f"{kind}_matrix")
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}", "scipy.sparse"):
            allowed[module, f"{kind}_matrix"] = matrix
    for module in ("builtins", "__builtin__"):
        for plain in (object, dict, list, tuple, set, int, float, bool, complex):
            allowed[module, plain.__name__] = plain
    return allowed


def _reconstructor(cls: type, base: type, state: Any) -> Any:
    """``copyreg._reconstructor`` for our stand-in alone."""
    if cls is not _Chumpy or base is not object:
        raise pickle.UnpicklingError("an object that is neither a number nor an array")
    return _Chumpy()


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` as Python 3 uses it for bytes in old pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("an encoding that no array uses")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, sparse matrices, plain containers, and chumpy's arrays; runs nothing else."""

    _ALLOWED = _allowed_classes()

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if name == "_reconstructor" and module in ("copyreg", "copy_reg"):
            return _reconstructor
        if (module, name) == ("_codecs", "encode"):
            return _encode
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which no array needs") from None


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file that a body needs.

    Raises:
        BackendError: kind ``body_missing`` or ``body_unreadable``.
    """
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in _KEYS if key in file.files}
        with path.open("rb") as stream:
            content = _ArraysOnly(stream, encoding="latin1").load()
        if not isinstance(content, Mapping):
            raise ValueError("it holds no table of arrays")
        return {key: _as_array(content[key]) for key in _KEYS if key in content}
    except FileNotFoundError as error:
        raise BackendError("body_missing", f"There is no body file {path}.", _FIX) from error
    except Exception as error:  # a damaged pickle or archive may fail in any way at all
        raise _unreadable(path, str(error).rstrip(".") or type(error).__name__) from error


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
            f"The body file {path.name} needs the package smplx, which is not installed.",
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
    vertices, joints = arrays["v_template"].shape[0], arrays["J_regressor"].shape[0]
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
    if arrays["shapedirs"].shape[:2] != (vertices, 3) or arrays["shapedirs"].shape[2] < 10:
        raise _unreadable(path, f"its shapedirs has the shape {arrays['shapedirs'].shape}")
    if "posedirs" in arrays and arrays["posedirs"].shape != (vertices, 3, 9 * (joints - 1)):
        raise _unreadable(path, f"its posedirs has the shape {arrays['posedirs'].shape}")
    if not all(np.isfinite(arrays[key].astype(float)).all() for key in arrays):
        raise _unreadable(path, "it holds numbers that are not finite")
    keypoints = _keypoints(path, arrays["J_regressor"], vertices)
    return body_from_arrays(_reduce_joints(arrays) | keypoints, path.stem, _LICENCE)
