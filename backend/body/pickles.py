"""The arrays of a stranger's ``.pkl`` file, read in a process of its own that has little to lose.

``python pickles.py FILE OUTPUT KEY...`` writes those of the named arrays that the file has to ``OUTPUT``, an ``.npz``
file, or one sentence to stdout and ends with `REFUSED`. numpy is all it imports. Nothing of the file's is called and no
object of numpy's or scipy's is made from it: stand-ins take what the file says, and arrays are made of that by checked
steps.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

REFUSED = 3
"""Exit status where the file is not what it should be; the reason is on stdout."""
MEMORY = 6 << 30
"""Bytes of address space, where the system can hold a process to it; SMPL-X's file of half a gibibyte takes two."""
SECONDS = 60
"""Of computing; the largest file takes five."""
LARGEST_OUTPUT = 2 << 30

_MOST_NUMBERS = 100_000_000  # of one array: SMPL-X has 15 million
_KIND = re.compile(r"[<>|=]?([fiu][1248]|b1|\?)")


class PickleError(ValueError):
    """A file that holds something else than arrays; the message says what."""


class _Kind:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not _KIND.fullmatch(text):
            raise PickleError("it holds objects where numbers belong")
        self.code, self.order = text.lstrip("<>|="), "<"

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
        self.order = ">" if order in (">", b">") else "<"

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for ``numpy.ndarray``; where the file would call it, it only learns that an array follows."""

    value: np.ndarray | None = None

    def __init__(self, *arguments: Any) -> None:
        if arguments:
            raise PickleError("it makes an array in a way that no program saves one")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleError("it holds an array that is damaged")
        shape, kind, by_columns, data = state[-4:]
        self.value = _array_of(data, kind, shape, bool(by_columns))


class _Sparse:
    """Stands in for scipy's sparse matrices."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def dense(self) -> np.ndarray:
        """The matrix with its zeros.

        Raises:
            PickleError: its indices lie outside of it.
        """
        shape = self.state.get("_shape", self.state.get("shape"))
        if not _is_shape(shape) or len(shape) != 2 or math.prod(shape) > _MOST_NUMBERS // 8:
            raise PickleError("it holds a sparse matrix without a size")
        data = self._part("data")
        rows, columns = self._places(shape)
        if not len(data) == len(rows) == len(columns):
            raise PickleError("it holds a sparse matrix that is damaged")
        for places, size in ((rows, shape[0]), (columns, shape[1])):
            if places.dtype.kind not in "iu" or (len(places) and not 0 <= places.min() <= places.max() < size):
                raise PickleError("it holds a sparse matrix with indices outside of it")
        dense = np.zeros(shape, np.float64)
        np.add.at(dense, (rows, columns), data)
        return dense

    def _places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _part(self, name: str) -> np.ndarray:
        part = _plain(self.state.get(name))
        if not isinstance(part, np.ndarray) or part.ndim != 1:
            raise PickleError(f"it holds a sparse matrix without its {name}")
        return part

    def _compressed(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Index along the compressed axis, of ``count`` rows or columns, and along the other."""
        ends, indices = self._part("indptr"), self._part("indices")
        if (
            ends.dtype.kind not in "iu"
            or len(ends) != count + 1
            or ends[0] != 0
            or ends[-1] != len(indices)
            or (ends[1:] < ends[:-1]).any()
        ):
            raise PickleError("it holds a sparse matrix that is damaged")
        return np.repeat(np.arange(count), np.diff(ends.astype(np.int64))), indices


class _Columns(_Sparse):
    def _places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        columns, rows = self._compressed(shape[1])
        return rows, columns


class _Rows(_Sparse):
    def _places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return self._compressed(shape[0])


class _Coordinates(_Sparse):
    def _places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        if "coords" in self.state:
            rows, columns = (_plain(part) for part in self.state["coords"])
            return rows, columns
        return self._part("row"), self._part("col")


class _Chumpy:
    """Stands in for the objects of the ``chumpy`` package, of which only the array is wanted."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self, depth: int = 0) -> np.ndarray:
        """Value of a plain array (``x``) or of a selection from another one (``a``, ``idxs``, ``preferred_shape``)."""
        state = getattr(self, "state", {})
        if depth > 8:
            raise PickleError("it holds an array that is made of itself")
        if isinstance(state.get("x"), _Array):
            return as_array(state["x"])
        source, chosen = as_array(state["a"], depth + 1).ravel(), np.asarray(_plain(state["idxs"]))
        if chosen.dtype.kind not in "iu" or (chosen.size and not 0 <= chosen.min() <= chosen.max() < len(source)):
            raise PickleError("it holds a selection of what is not there")
        shape = state.get("preferred_shape", chosen.shape)
        if not _is_shape(shape) or math.prod(shape) != chosen.size:
            raise PickleError("it holds a selection of another shape than it says")
        return source[chosen.ravel()].reshape(shape)


def as_array(value: Any, depth: int = 0) -> np.ndarray:
    """The numbers of whatever stands for an array in the file.

    Raises:
        PickleError: it stands for something else.
    """
    if isinstance(value, _Chumpy):
        return value.array(depth)
    if isinstance(value, _Sparse):
        return value.dense()
    value = _plain(value)
    if isinstance(value, (list, tuple)):
        value = _array_of_rows(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise PickleError("it holds objects where numbers belong")
    return value


def _array_of_rows(rows: list[Any] | tuple[Any, ...]) -> np.ndarray:
    """Numbers, or rows of numbers; deeper lists could be a few of one kind named again and again."""
    width = len(rows[0]) if rows and isinstance(rows[0], (list, tuple)) else 0
    if len(rows) * max(width, 1) > _MOST_NUMBERS // 100:
        raise PickleError("it holds more numbers in lists than a body has")
    if width and any(not isinstance(row, (list, tuple)) or len(row) != width for row in rows):
        raise PickleError("it holds lists of several lengths where numbers belong")
    flat = [number for row in rows for number in row] if width else list(rows)
    if any(type(number) not in (int, float, bool) for number in flat):
        raise PickleError("it holds objects where numbers belong")
    array = np.array(flat)
    return array.reshape(len(rows), width) if width else array


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise PickleError("it holds an array without numbers")
        return value.value
    return value


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) < 8 and all(type(size) is int and size >= 0 for size in value)


def _array_of(data: Any, kind: Any, shape: Any, by_columns: bool = False) -> np.ndarray:
    """An array of the bytes ``data``, which are as many as its shape says."""
    if isinstance(data, str):  # as Python 2 wrote them
        data = data.encode("latin1")
    if isinstance(data, pickle.PickleBuffer):
        data = data.raw()
    if not isinstance(data, (bytes, bytearray, memoryview)) or not isinstance(kind, _Kind):
        raise PickleError("it holds objects where numbers belong")
    if not _is_shape(shape):
        raise PickleError("it holds an array without a shape")
    dtype, count = kind.numpy(), math.prod(shape)
    if count > _MOST_NUMBERS or len(data) != count * dtype.itemsize:
        raise PickleError("it holds an array that is cut off, or larger than a body's")
    flat = np.frombuffer(bytes(data), dtype, count)
    return flat.reshape(shape, order="F" if by_columns else "C")


def _reconstruct(cls: Any, *_: Any) -> _Array:
    """``numpy.core.multiarray._reconstruct``; what the array holds comes after it."""
    if cls is not _Array:
        raise PickleError("it makes an array in a way that no program saves one")
    return _Array()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> _Array:
    """``numpy.core.numeric._frombuffer``."""
    array = _Array()
    array.value = _array_of(data, kind, shape, order == "F")
    return array


def _scalar(kind: Any, data: Any = b"") -> np.generic:
    """``numpy.core.multiarray.scalar``."""
    return _array_of(data, kind, ())[()]


def _reconstructor(cls: type, base: type, state: Any) -> Any:
    """``copyreg._reconstructor``, for stand-ins alone."""
    if cls not in (_Chumpy, _Columns, _Rows, _Coordinates) or base is not object:
        raise PickleError("it holds an object that is neither a number nor an array")
    return cls()


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` as Python 3 uses it for bytes in old pickles."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("it has an encoding that no array uses")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """``bytes`` as Python 3 calls it in old pickles: for none at all."""
    return b""


def _allowed() -> dict[tuple[str, str], Any]:
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode,
        ("copyreg", "_reconstructor"): _reconstructor,
        ("copy_reg", "_reconstructor"): _reconstructor,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed[module, "_reconstruct"] = _reconstruct
        allowed[module, "scalar"] = _scalar
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        allowed[module, "_frombuffer"] = _from_buffer
    for name, matrix in (("csc", _Columns), ("csr", _Rows), ("coo", _Coordinates)):
        for module in (f"scipy.sparse.{name}", f"scipy.sparse._{name}", "scipy.sparse"):
            for ending in ("matrix", "array"):
                allowed[module, f"{name}_{ending}"] = matrix
    for module in ("builtins", "__builtin__"):
        for plain in (object, dict, list, tuple, set, int, float, bool):
            allowed[module, plain.__name__] = plain
        allowed[module, "bytes"] = _no_bytes
    return allowed


class _ArraysOnly(pickle.Unpickler):
    """Unpickles stand-ins for arrays, sparse matrices and chumpy's arrays, and plain containers; runs nothing else."""

    _ALLOWED = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise PickleError(f"it wants to run {module}.{name}, which no array needs") from None


def read_arrays(path: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Those of the arrays with the names ``keys`` that a ``.pkl`` file has.

    Raises:
        Exception: of any kind, where the file is damaged; :class:`PickleError` where it is not what it should be.
    """
    with path.open("rb") as stream:
        content = _ArraysOnly(stream, encoding="latin1").load()
    if not isinstance(content, Mapping):
        raise PickleError("it holds no table of arrays")
    return {key: as_array(content[key]) for key in keys if key in content}


def _hold_back() -> None:
    """Let the system end this process before it takes more than a body needs."""
    try:
        import resource
    except ImportError:  # Windows; the caller's time limit holds there
        return
    for name, limit in (
        ("RLIMIT_AS", MEMORY),
        ("RLIMIT_CPU", SECONDS),
        ("RLIMIT_FSIZE", LARGEST_OUTPUT),
        ("RLIMIT_CORE", 0),
    ):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def main(arguments: list[str]) -> int:
    """See the module."""
    _hold_back()
    source, target, *keys = arguments
    try:
        arrays = read_arrays(Path(source), keys)
        np.savez(target, **arrays)
    except PickleError as error:
        reason = str(error)
    except MemoryError:
        reason = "it needs more memory than a body does"
    except RecursionError:
        reason = "it is nested too deep"
    except Exception as error:  # a damaged pickle may fail in any way at all
        reason = f"it is damaged ({' '.join(str(error).split())[:120] or type(error).__name__})"
    else:
        return 0
    sys.stdout.buffer.write(reason.encode("utf-8", "replace"))
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
