"""Work in threads: numpy and zlib let others run while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Piece = TypeVar("_Piece")
_Answer = TypeVar("_Answer")


def in_threads(function: Callable[[_Piece], _Answer], pieces: Iterable[_Piece]) -> list[_Answer]:
    """``function`` of every piece, in their order, on as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(function, pieces))
