"""Arrays of an ``.npz`` file that may be a stranger's: kinds and sizes are known before anything is unpacked."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy

from .plain_files import brief, open_plain

_ENTRIES = 64
_DIRECTORY_BYTES = 64 * 1024
_HEADER_BYTES = 4096  # of one array: kind and shape
_CHUNK = 1 << 20
_KINDS = "fiu"
_ERRORS = (
    *(OSError, ValueError, TypeError, EOFError, OverflowError, RuntimeError, NotImplementedError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, MemoryError, IndexError, KeyError, AttributeError),
)
"""What zip files, their compression and numpy's headers raise where they are damaged."""


class ArchiveError(ValueError):
    """An ``.npz`` file that cannot be read; the message is one sentence that begins with the file's name.

    Attributes:
        why: what is wrong with it, the part after "it cannot be read:".
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is damaged: {why}.")
        self.why = why


@dataclass(frozen=True)
class Header:
    """What an array will be.

    Attributes:
        dtype: of floating-point numbers or integers.
        shape: as usual.
        fortran: whether it lies column by column.
        offset: bytes in the entry before its numbers.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayArchive:
    """The named arrays of an ``.npz`` file; others in it are never unpacked. A context manager.

    Attributes:
        headers: by name, for those of the wanted names that are there.

    Raises:
        FileNotFoundError: there is no such file.
        ArchiveError: it is no such file, damaged, encrypted, holds objects, or says of itself what is not so.
    """

    def __init__(self, path: Path, wanted: Iterable[str]) -> None:
        self.path = path
        try:
            file, size = open_plain(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._damaged(error.strerror or error) from error
        try:
            check_directory(file, size)
            self._zip = zipfile.ZipFile(file)
            entries = {entry.filename: entry for entry in self._zip.infolist()}
            if len(entries) != len(self._zip.infolist()):
                raise ValueError("it has two entries of one name")
            self._entries = {name: entries[f"{name}.npy"] for name in wanted if f"{name}.npy" in entries}
            self.headers = {name: self._header(name) for name in self._entries}
        except _ERRORS as error:
            file.close()
            raise self._damaged(error) from error
        self._file = file

    def __enter__(self) -> ArrayArchive:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def read(self, name: str) -> np.ndarray:
        """The array of a name that has a header, in this machine's byte order, row by row.

        Raises:
            ArchiveError: it is damaged, or there is no memory for it.
        """
        header = self.headers[name]
        try:
            flat = np.empty(math.prod(header.shape), header.dtype)
            with self._zip.open(self._entries[name]) as stream:
                _read_into(stream, memoryview(bytearray(header.offset)))
                if flat.size:
                    _read_into(stream, memoryview(flat).cast("B"))
                stream.read(1)  # the end, where its checksum is compared
        except _ERRORS as error:
            raise self._damaged(f"{name}: {error or type(error).__name__}") from error
        array = flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)
        return np.ascontiguousarray(array, header.dtype.newbyteorder("="))

    def _header(self, name: str) -> Header:
        entry = self._entries[name]
        if entry.flag_bits & 0x1:
            raise ValueError(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that cannot be read")
        with self._zip.open(entry) as stream:
            head = io.BytesIO(stream.read(min(entry.file_size, _HEADER_BYTES + 128)))
        version = npy.read_magic(head)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(head, max_header_size=_HEADER_BYTES)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(head, max_header_size=_HEADER_BYTES)
        else:
            raise ValueError(f"{name} is an array of the unknown version {version}")
        if dtype.hasobject:
            raise ValueError(f"{name} holds objects where numbers belong")
        if dtype.kind not in _KINDS:
            raise ValueError(f"{name} holds no numbers")
        if any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"{name} has an impossible shape")
        header = Header(dtype, shape, fortran, head.tell())
        if header.offset + header.nbytes != entry.file_size:
            raise ValueError(f"{name} is not as long as it says")
        return header

    def _damaged(self, why: object) -> ArchiveError:
        return ArchiveError(self.path.name, brief(why))


def check_directory(file: io.BufferedIOBase, size: int) -> None:
    """Refuse a zip file whose list of entries is long, before it is read.

    Args:
        file: open for reading; afterwards at its beginning.
        size: its bytes.

    Raises:
        ValueError: it is, or this is no zip file.
    """
    reach = min(size, 20 + 22 + (1 << 16))  # the end records and the longest comment
    file.seek(size - reach)
    tail = file.read(reach)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise ValueError("it is no zip file, or cut off")
    if tail[max(at - 20, 0) : at].startswith(b"PK\x06\x07"):
        raise ValueError("it is larger than such files are")
    count, length = int.from_bytes(tail[at + 10 : at + 12], "little"), int.from_bytes(tail[at + 12 : at + 16], "little")
    if count > _ENTRIES or length > _DIRECTORY_BYTES:
        raise ValueError(f"it has {count} entries, where at most {_ENTRIES} belong")
    file.seek(0)


def _read_into(stream: io.BufferedIOBase, target: memoryview) -> None:
    """Fill ``target``, unpacking little at a time.

    Raises:
        EOFError: there is less.
    """
    place = 0
    while place < len(target):
        piece = stream.read(min(_CHUNK, len(target) - place))
        if not piece:
            raise EOFError("it is cut off")
        target[place : place + len(piece)] = piece
        place += len(piece)
