"""Body files of strangers: read by the loader, and some given to ``reconstruct --body``."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from hostile_packages import npy_header, zip_bomb, zip_of

from backend.body.licensed import load_licensed_body
from backend.body.model import JOINT_COUNT
from backend.errors import BackendError

from .cases import MADE, REFUSED, ROOT, Case, Said, left_behind, memory_peak, run_backend, said_by

VERTICES = 6890
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
_PHOTO = ROOT / "docs" / "demo" / "person.jpg"

RECONSTRUCTED = (
    *("pickle_sparse_outside", "pickle_object_array", "pickle_os_system", "pickle_deep", "npz_nan"),
    *("npz_bomb", "hole_of_8_gb", "missing", "pipe"),
)
"""Those that ``reconstruct`` is given as well."""


def cases(folder: Path) -> list[Case]:
    """Whole bodies that must load, and everything that must not."""
    smpl = _smpl()
    sparse = scipy.sparse.csc_matrix(smpl["J_regressor"])
    good = [
        ("npz", lambda own: _npz(own, smpl)),
        ("npz_compressed", lambda own: _written(own / "a.npz", lambda path: np.savez_compressed(path, **smpl))),
        ("npz_with_objects_beside", lambda own: _npz(own, smpl | {"more": np.array([{}], dtype=object)})),
        ("npz_big_endian", lambda own: _npz(own, smpl | {"v_template": smpl["v_template"].astype(">f8")})),
        ("pickle", lambda own: _pickle(own, smpl)),
        ("pickle_sparse", lambda own: _pickle(own, smpl | {"J_regressor": sparse, "bs_type": "lrotmin"}, protocol=2)),
        ("suffix_in_capitals", lambda own: _npz(own, smpl).rename(own / "BODY.NPZ")),
        ("name_of_many_letters", lambda own: _npz(own, smpl).rename(own / "Körper 体 'x' $(y).npz")),
    ]
    bad: list[tuple[str, Callable[[Path], Path]]] = [
        *((f"pickle_{name}", partial(_pickle, content=content)) for name, content in _pickles(smpl).items()),
        *((f"pickle_{name}", partial(_raw, name="a.pkl", data=data)) for name, data in _streams().items()),
        *((f"npz_{name}", partial(_npz, content=smpl | change)) for name, change in _arrays(smpl).items()),
        ("npz_without_weights", lambda own: _npz(own, {k: v for k, v in smpl.items() if k != "weights"})),
        ("npz_nothing", lambda own: _npz(own, {})),
        ("npz_cut", lambda own: _cut(_npz(own, smpl))),
        ("npz_bomb", lambda own: _raw(own, "a.npz", _bomb())),
        ("npz_claims_400_gb", lambda own: _raw(own, "a.npz", zip_of({"f.npy": npy_header("<f8", (1 << 35, 1))}))),
        ("pickle_cut", lambda own: _cut(_pickle(own, smpl))),
        ("pickle_called_npz", lambda own: _pickle(own, smpl).rename(own / "a.npz")),
        ("npz_called_pickle", lambda own: _npz(own, smpl).rename(own / "a.pkl")),
        ("empty_pickle", lambda own: _raw(own, "a.pkl", b"")),
        ("empty_npz", lambda own: _raw(own, "a.npz", b"")),
        ("text", lambda own: _raw(own, "a.txt", b"hello\n" * 100)),
        ("no_suffix", lambda own: _raw(own, "body", b"\0" * 4096)),
        ("picture", lambda own: _raw(own, "a.pkl", _PHOTO.read_bytes()[:100_000])),
        ("hole_of_8_gb", lambda own: _hole(own / "a.pkl", 8 << 30)),
        ("folder", lambda own: _folder(own / "a.npz")),
        ("missing", lambda own: own / "none.npz"),
        ("name_of_5000_letters", lambda own: own / ("a" * 5000 + ".npz")),
        ("name_with_nul", lambda own: own / "a\0b.npz"),
        ("link_to_itself", lambda own: _link(own / "a.npz", own / "a.npz")),
    ]
    if hasattr(os, "mkfifo"):
        bad += [
            ("pipe", lambda own: _written(own / "a.pkl", os.mkfifo)),
            ("device", lambda own: _link(own / "a.pkl", Path("/dev/zero"))),
        ]
    chosen = [(name, make) for name, make in bad if name in RECONSTRUCTED]
    return [
        *(Case(f"load_{name}", partial(_load, make, smpl), (MADE,)) for name, make in good),
        *(Case(f"load_{name}", partial(_load, make, smpl), (REFUSED,)) for name, make in bad),
        *(Case(f"reconstruct_{name}", partial(_reconstruct, folder, make), (REFUSED,)) for name, make in chosen),
        Case("reconstruct_without_a_name", partial(_reconstruct, folder, lambda own: ""), (REFUSED,)),
        Case("reconstruct_unknown_name", partial(_reconstruct, folder, lambda own: "nobody"), (REFUSED,)),
    ]


def _smpl() -> dict[str, np.ndarray]:
    """A body in SMPL's layout, of random numbers."""
    random = np.random.default_rng(0)
    weights = np.zeros((VERTICES, JOINT_COUNT))
    weights[np.arange(VERTICES), np.arange(VERTICES) % JOINT_COUNT] = 1
    regressor = np.zeros((JOINT_COUNT, VERTICES))
    for joint in range(JOINT_COUNT):
        regressor[joint, random.permutation(VERTICES)[:6]] = 1 / 6
    tree = np.stack([np.array(PARENTS), np.arange(JOINT_COUNT)])
    tree[0, 0] = 2**32 - 1
    return {
        "v_template": random.normal(size=(VERTICES, 3)) * 0.4,
        "f": random.integers(0, VERTICES, (20, 3)).astype(np.uint32),
        "weights": weights,
        "shapedirs": random.normal(size=(VERTICES, 3, 10)) * 0.01,
        "J_regressor": regressor,
        "kintree_table": tree,
    }


class _Called:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _pickles(smpl: dict[str, np.ndarray]) -> dict[str, Any]:
    def spoilt(**parts: Any) -> dict[str, Any]:
        matrix = scipy.sparse.csc_matrix(smpl["J_regressor"])
        for name, part in parts.items():
            setattr(matrix, name, part)
        return smpl | {"J_regressor": matrix}

    matrix = scipy.sparse.csc_matrix(smpl["J_regressor"])
    shared = [0.0] * 1000
    return {
        "sparse_outside": spoilt(indices=matrix.indices + 2**28),
        "sparse_negative": spoilt(indices=matrix.indices - 2**30),
        "sparse_ends_outside": spoilt(indptr=matrix.indptr * 1000),
        "sparse_huge": spoilt(_shape=(1 << 20, 1 << 20)),
        "object_array": smpl | {"v_template": _Called(np.ndarray, (4,), np.dtype("O"), b"A" * 32)},
        "array_over_less": smpl | {"v_template": _Called(np.ndarray, (1 << 30,), "f8", b"12345678")},
        "objects": smpl | {"v_template": np.array([{}, "a"], dtype=object)},
        "os_system": smpl | {"v_template": _Called(os.system, "touch pwned")},
        "eval": smpl | {"v_template": _Called(eval, "open('pwned', 'w')")},
        "a_list": [1, 2, 3],
        "keys_that_are_numbers": {1: 2, None: 3},
        "texts": smpl | {"v_template": np.array(["a" * 100] * 5)},
        "one_list_a_million_times": smpl | {"v_template": [shared] * 1_000_000},
        "without_joints": {key: value for key, value in smpl.items() if key != "J_regressor"},
    }


def _streams() -> dict[str, bytes]:
    return {
        "deep": b"\x80\x02" + b"]" * 5_000_000 + b"a" * 4_999_999 + b".",
        "deep_tuples": b"\x80\x02)" + b"\x85" * 5_000_000 + b".",
        "claims_4_gb": b"\x80\x04\x8e" + struct.pack("<Q", 4 << 30) + b"x.",
        "claims_2_to_the_63": b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"x.",
        "memo_of_4_billion": b"\x80\x02Nr\xff\xff\xff\xff.",
        "protocol_200": b"\x80\xc8N.",
        "text_of_digits": b"I" + b"9" * 2_000_000 + b"\n.",
        "builtins_eval": b'cbuiltins\neval\n(S\'open("pwned","w")\'\ntR.',
        "of_two_lines": b"cevil\n\x1b[31mname\n.",
    }


def _arrays(smpl: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    holed = smpl["v_template"].copy()
    holed[5, 1] = np.nan
    circle = smpl["kintree_table"].copy()
    circle[0, 1:] = 5
    return {
        "nan": {"v_template": holed},
        "infinite": {"J_regressor": smpl["J_regressor"] + np.inf},
        "places_1e30": {"v_template": smpl["v_template"] * 1e30},
        "faces_high": {"f": smpl["f"] + 2**31},
        "faces_negative": {"f": smpl["f"].astype(np.int64) - 10_000},
        "faces_none": {"f": smpl["f"][:0]},
        "6889_vertices": {"v_template": smpl["v_template"][1:]},
        "23_joints": {"J_regressor": smpl["J_regressor"][1:]},
        "flat": {"v_template": smpl["v_template"].ravel()},
        "one_number": {"v_template": np.float64(1)},
        "three_shapes": {"shapedirs": smpl["shapedirs"][..., :3]},
        "joints_in_a_circle": {"kintree_table": circle},
        "joints_1e18": {"kintree_table": smpl["kintree_table"] * 10**9},
        "texts": {"weights": np.array(["x"] * 10)},
        "complex": {"v_template": smpl["v_template"].astype(complex)},
        "objects": {"v_template": np.array([{}], dtype=object)},
        "weights_zero": {"weights": smpl["weights"] * 0},
        "weights_negative": {"weights": -smpl["weights"]},
        "places_all_zero": {"v_template": smpl["v_template"] * 0},
    }


def _bomb() -> bytes:
    size = 3 << 30
    return zip_bomb({}, "v_template.npy", npy_header("<f8", (size // 24, 3)), size)


def _written(path: Path, write: Callable[[Path], Any]) -> Path:
    write(path)
    return path


def _npz(own: Path, content: dict[str, np.ndarray]) -> Path:
    return _written(own / "a.npz", lambda path: np.savez(path, **content))


def _pickle(own: Path, content: Any, protocol: int = 4) -> Path:
    return _raw(own, "a.pkl", pickle.dumps(content, protocol))


def _raw(own: Path, name: str, data: bytes) -> Path:
    return _written(own / name, lambda path: path.write_bytes(data))


def _cut(path: Path) -> Path:
    os.truncate(path, path.stat().st_size // 2)
    return path


def _hole(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    with zipfile.ZipFile(path / "a.npy", "w"):
        return path


def _link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def _children_peak() -> int:
    """Bytes that any process which this one has waited for held at most; 0 where the system does not tell."""
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return 0


def _load(make: Callable[[Path], Path], smpl: dict[str, np.ndarray], own: Path) -> Said:
    path = make(own)
    before, children, refusal, lost = sorted(own.rglob("*")), _children_peak(), "", ""
    with memory_peak() as peak:
        try:
            body = load_licensed_body(path)
            if not np.allclose(body.template.numpy(), smpl["v_template"]) or body.parents != PARENTS:
                lost = "the body is another"
        except BackendError as error:
            refusal = str(error)
    if sorted(own.rglob("*")) != before or Path("pwned").exists():
        lost = "files were written"
    of_child = _children_peak()
    return Said(REFUSED if refusal else MADE, refusal, lost, max(peak[0], of_child if of_child > children else 0))


def _reconstruct(folder: Path, make: Callable[[Path], Path | str], own: Path) -> Said:
    """A body that is refused: quick, as nothing is computed before."""
    usual = folder / "normal.txt"
    if not usual.is_file():
        arguments = ["reconstruct", _PHOTO, "--preset", "surface", "--body", folder / "none.npz", "-o", folder / "out"]
        usual.write_text(str(run_backend(arguments).peak))
    path = make(own)
    ran = run_backend(["reconstruct", _PHOTO, "--preset", "surface", "--body", path, "-o", own / "made" / "avatar"])
    lost = left_behind(own, [Path(path).name]) or ("files were written" if (ROOT / "pwned").exists() else "")
    return said_by(ran, normal_peak=int(usual.read_text()), lost=lost)
