"""Files in SMPL's and SMPL-X's formats, made here with random numbers, and files that must be refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from backend.body import pickles
from backend.body.fit import BodyFitter
from backend.body.licensed import load_licensed_body
from backend.body.model import JOINT_INDEX
from backend.errors import BackendError

pytest.importorskip("smplx")

_SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
_SMPLX_PARENTS = [*_SMPL_PARENTS[:22], 15, 15, 15, *(p for w in (20, 21) for f in range(5) for p in (w, -1, -1))]


def _arrays(vertices: int, joints: int, shapes: int = 10) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = np.zeros((vertices, joints))
    weights[np.arange(vertices), np.arange(vertices) % joints] = 0.75
    weights[np.arange(vertices), (np.arange(vertices) * 7 + 1) % joints] += 0.25
    regressor = np.zeros((joints, vertices))
    for joint in range(joints):
        regressor[joint, rng.permutation(vertices)[:6]] = 1 / 6
    parents = np.array(_SMPL_PARENTS if joints == 24 else _SMPLX_PARENTS)
    parents = np.where(parents < 0, np.arange(joints) - 1, parents)
    tree = np.stack([parents, np.arange(joints)])
    tree[0, 0] = 2**32 - 1
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "f": rng.integers(0, vertices, (20, 3)).astype(np.uint32),
        "weights": weights,
        "shapedirs": rng.normal(size=(vertices, 3, shapes)) * 0.01,
        "posedirs": (rng.random((vertices, 3, 9 * (joints - 1)), np.float32) - 0.5) * np.float32(1e-3),
        "J_regressor": regressor,
        "kintree_table": tree,
    }


def test_smpl_npz_poses_as_smplx_does(tmp_path: Path) -> None:
    from smplx.lbs import lbs

    arrays = _arrays(6890, 24, 300)
    np.savez(tmp_path / "smpl.npz", **arrays, extra=np.array([{"not": "needed"}], dtype=object))
    body = load_licensed_body(tmp_path / "smpl.npz")
    rng = np.random.default_rng(1)
    pose, betas = torch.as_tensor(rng.normal(size=(24, 3)) * 0.5), torch.as_tensor(rng.normal(size=10))
    theirs, _ = lbs(
        betas[None], pose.reshape(1, 72), torch.as_tensor(arrays["v_template"])[None],
        torch.as_tensor(arrays["shapedirs"][..., :10]), torch.as_tensor(arrays["posedirs"].reshape(-1, 207).T).double(),
        torch.as_tensor(arrays["J_regressor"]), torch.tensor(_SMPL_PARENTS), torch.as_tensor(arrays["weights"]),
    )  # fmt: skip
    assert (body.pose(pose, betas)[0] - theirs[0]).abs().max() < 1e-6
    assert body.name == "smpl" and "Licensed" in body.licence
    row = body.keypoint_regressor[body.keypoint_names.index("nose")]
    assert int(row.argmax()) == 332 and float(row.sum()) == 1  # the number that SMPL's users know
    assert "left_index" not in body.keypoint_names  # SMPL has no finger joints ...
    fitter = BodyFitter(body)  # ... and the fit does without
    assert fitter.known.sum() == 27 - 6


def test_smplx_is_reduced_to_24_joints(tmp_path: Path) -> None:
    arrays = _arrays(10475, 55, 20)
    np.savez(tmp_path / "smplx.npz", **arrays)
    body = load_licensed_body(tmp_path / "smplx.npz")
    assert body.weights.shape == (10475, 24) and body.joint_regressor.shape == (24, 10475)
    assert torch.allclose(body.weights.sum(1), torch.ones(10475, dtype=torch.float64))
    old = arrays["weights"]
    assert np.allclose(body.weights[:, JOINT_INDEX["head"]], old[:, [15, 22, 23, 24]].sum(1))
    assert np.allclose(body.weights[:, JOINT_INDEX["right_hand"]], old[:, 40:55].sum(1))
    assert body.parents == tuple(_SMPL_PARENTS)
    assert body.pose_directions is not None and body.pose_directions.shape == (10475, 3, 207)
    assert np.allclose(body.pose_directions[..., :189], arrays["posedirs"][..., :189])
    knuckle = body.keypoint_regressor[body.keypoint_names.index("left_index")]
    assert np.allclose(knuckle, arrays["J_regressor"][25])
    assert np.allclose(body.joint_regressor[22], arrays["J_regressor"][[25, 28, 31, 34]].mean(0))
    assert BodyFitter(body).known.all()


def test_pickle_with_sparse_matrix(tmp_path: Path) -> None:
    arrays = _arrays(6890, 24)
    content = arrays | {"J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]), "bs_type": "lrotmin"}
    for protocol in (2, 5):
        path = tmp_path / f"smpl{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        body = load_licensed_body(path)
        assert np.allclose(body.joint_regressor, arrays["J_regressor"])
        assert np.allclose(body.template, arrays["v_template"])


def test_pickle_with_chumpy_arrays(tmp_path: Path) -> None:
    # Written by a program that has a package named chumpy; read by this one, which has none.
    (tmp_path / "chumpy").mkdir()
    (tmp_path / "chumpy/__init__.py").write_text("")
    (tmp_path / "chumpy/ch.py").write_text("class Ch(object):\n    pass\n")
    arrays = _arrays(6890, 24)
    np.savez(tmp_path / "arrays.npz", **arrays)
    program = (
        "import pickle, numpy as np; from chumpy.ch import Ch\n"
        "a = dict(np.load('arrays.npz')); c = Ch(); c.x = a['shapedirs']; a['shapedirs'] = c\n"
        "pickle.dump(a, open('smpl.pkl', 'wb'), 2)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": "."})
    body = load_licensed_body(tmp_path / "smpl.pkl")
    assert np.allclose(body.shape_directions, arrays["shapedirs"])


class _Malicious:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self._target),)


def test_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "pwned"
    path = tmp_path / "smpl.pkl"
    for protocol in (0, 2, 5):
        path.write_bytes(pickle.dumps({"v_template": _Malicious(target)}, protocol))
        with pytest.raises(BackendError) as caught:
            load_licensed_body(path)
        assert caught.value.kind == "body_unreadable" and "mkdir" in caught.value.message
    path.write_bytes(b"cbuiltins\neval\n(S'1+1'\ntR.")
    with pytest.raises(BackendError):
        load_licensed_body(path)
    assert not target.exists()


class _Called:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple:
        return self._call


def _sparse(kind: str, **parts: np.ndarray) -> Any:
    matrix = getattr(scipy.sparse, f"{kind}_matrix")(np.eye(4))
    for name, part in parts.items():
        if name == "coords":
            matrix.coords = part
        else:
            setattr(matrix, name, part)
    return matrix


_FOUR = np.arange(4, dtype=np.int32)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (_sparse("csc", indices=_FOUR + 1_000_000), "indices outside"),
        (_sparse("csr", indices=_FOUR - 1), "indices outside"),
        (_sparse("csc", indptr=np.arange(5, dtype=np.int32) * 1_000_000), "damaged"),
        (_sparse("csc", indptr=np.array([0, 4, 1, 2, 4], np.int32)), "damaged"),
        (_sparse("csr", data=np.ones(2)), "damaged"),
        (_sparse("coo", coords=(_FOUR, _FOUR + 1000)), "indices outside"),
        (_sparse("csc", _shape=(1_000_000, 1_000_000)), "without a size"),
        (np.array([{}, "a"], dtype=object), "objects"),
        (np.array(["a" * 100]), "objects"),
        (np.zeros(2, [("a", "f4"), ("b", "O")]), "objects"),
        (_Called(np.ndarray, (1_000_000,), "f8", b"12345678"), "no program"),
        (_Called(np.ndarray, (1,), "O", b"12345678"), ""),
        (_Called(np.dtype, "O"), "objects"),
        (_Called(np.empty(0).__reduce_ex__(5)[0], b"12345678", np.dtype("f8"), (10**9,), "C"), "cut off"),
        (_Called(eval, "1"), "eval"),
        ([[[1.0]]], "objects"),
        ([[0.0] * 1000] * 1_000_000, "more numbers"),
        ([[0.0, 1.0], [0.0]], "several lengths"),
        ("text", "objects"),
    ],
)
def test_what_no_body_has_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"J_regressor": value}, 2))
    with pytest.raises(BackendError) as caught:
        load_licensed_body(tmp_path / "a.pkl")
    message = str(caught.value)
    assert caught.value.kind == "body_unreadable" and reason in message
    assert "\n" not in message and "allow_pickle" not in message and "unsafe" not in message


def test_sparse_matrices_are_what_scipy_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    dense = rng.normal(size=(24, 500)) * (rng.random((24, 500)) < 0.02)
    for kind in ("csc", "csr", "coo"):
        for protocol in (0, 2, 5):
            content = {
                "a": getattr(scipy.sparse, f"{kind}_matrix")(dense),
                "b": getattr(scipy.sparse, f"{kind}_array")(dense),
            }
            (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
            found = pickles.read_arrays(tmp_path / "a.pkl", ["a", "b"])
            np.testing.assert_array_equal(found["a"], dense)
            np.testing.assert_array_equal(found["b"], dense)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_arrays_are_what_numpy_says(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "big": np.arange(6, dtype=">f4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(12, dtype=np.uint16).reshape(3, 4)[:, ::2],
        "nothing": np.zeros((0, 3)),
        "number": np.float64(2.5),
        "rows": [[1, 2], [3, 4]],
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol))
    found = pickles.read_arrays(tmp_path / "a.pkl", [key for key in arrays if key != "number"])
    for key in found:
        np.testing.assert_array_equal(found[key], arrays[key])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"(" * 3_000_000, ""),
        (b"\x80\x04" + b"]" * 50 + b"]q\x00" + b"(" + b"h\x00" * 100 + b"e.", ""),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a", ""),  # a string of a tebibyte
        (b"\x80\x04r" + (2**31).to_bytes(4, "little") + b".", ""),
        (b"I" + b"9" * 5000 + b"\n.", ""),
    ],
)
def test_files_that_ask_for_too_much(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(BackendError) as caught:
        load_licensed_body(tmp_path / "a.pkl")
    assert caught.value.kind == "body_unreadable" and reason in str(caught.value)


def test_a_reader_that_is_brought_down_takes_nobody_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({}))
    reader = tmp_path / "reader.py"
    monkeypatch.setattr(pickles, "__file__", str(reader))
    for program, reason in (
        ("import os; os.abort()", "brought the reader down"),
        ("import time; time.sleep(60)", "more than"),
    ):
        reader.write_text(program)
        monkeypatch.setattr(pickles, "SECONDS", 5 if "abort" in program else 0.2)
        with pytest.raises(BackendError) as caught:
            load_licensed_body(tmp_path / "a.pkl")
        assert caught.value.kind == "body_unreadable" and reason in caught.value.message


def test_what_is_no_file_or_too_large(tmp_path: Path) -> None:
    with open(tmp_path / "hole.pkl", "wb") as file:
        file.truncate(8 << 30)
    (tmp_path / "folder.npz").mkdir()
    names = ["hole.pkl", "folder.npz"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pkl")
        names.append("pipe.pkl")
    for name in names:
        with pytest.raises(BackendError) as caught:
            load_licensed_body(tmp_path / name)
        assert caught.value.kind == "body_unreadable"
    for name in ("gone.npz", "gone.pkl"):
        with pytest.raises(BackendError) as caught:
            load_licensed_body(tmp_path / name)
        assert caught.value.kind == "body_missing"


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"f": np.array([[0, 1, 7000]], np.uint32)}, "its f"),
        ({"f": np.zeros((0, 3), np.uint32)}, "its f"),
        ({"kintree_table": np.zeros((2, 24), int)}, "hang together"),
        ({"v_template": np.full((6890, 3), 1e9)}, "no body has"),
        ({"J_regressor": np.float64(1)}, "joints"),
        ({"shapedirs": np.zeros((6890, 3))}, "shapedirs"),
        ({"weights": np.array([None] * 9)}, "objects"),
        ({"v_template": np.zeros((100, 3))}, "vertices"),
        ({"weights": None}, "weights"),
        ({"weights": np.zeros((6890, 23))}, "shape"),
        ({"shapedirs": np.zeros((6890, 3, 4))}, "shapedirs"),
        ({"v_template": np.full((6890, 3), np.nan)}, "finite"),
        ({"J_regressor": np.zeros((30, 6890))}, "joints"),
        ({"v_template": np.zeros((6890, 3))}, "size of a person"),
        ({"weights": np.zeros((6890, 24))}, "share each vertex"),
        ({"weights": np.eye(24)[np.arange(6890) % 24] * 3 - 1 / 12}, "share each vertex"),
    ],
)
def test_wrong_files_say_why(tmp_path: Path, change: dict[str, np.ndarray | None], reason: str) -> None:
    arrays = {k: v for k, v in (_arrays(6890, 24) | {"posedirs": None} | change).items() if v is not None}
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(BackendError) as caught:
        load_licensed_body(tmp_path / "wrong.npz")
    assert caught.value.kind == "body_unreadable" and reason in caught.value.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"\x80\x04K\x01.", b"\x80\x04garbage"])
@pytest.mark.parametrize("name", ["a.npz", "a.pkl"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackendError) as caught:
        load_licensed_body(tmp_path / name)
    assert caught.value.kind == "body_unreadable"


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays(6890, 24)
    del arrays["posedirs"]
    np.savez(tmp_path / "smpl.npz", **arrays)
    monkeypatch.setitem(sys.modules, "smplx.vertex_ids", None)
    with pytest.raises(BackendError) as caught:
        load_licensed_body(tmp_path / "smpl.npz")
    assert "pip install smplx" in caught.value.fix
