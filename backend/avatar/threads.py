"""Work in threads: numpy and zlib let others run while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Piece = TypeVar("_Piece")
_Answer = TypeVar("_Answer")


class AtOnce(Executor):
    """Does what is submitted before it goes on: for devices that no two threads may use at once."""

    def submit(self, function: Callable[..., _Answer], /, *args: Any, **named: Any) -> Future[_Answer]:
        """See :class:`concurrent.futures.Executor`."""
        future: Future[_Answer] = Future()
        try:
            future.set_result(function(*args, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


def workers(count: int, device: str) -> Executor:
    """So many threads for what computes on a ``device``, PyTorch's name of its kind; ``mps`` bears but one."""
    return AtOnce() if device == "mps" else ThreadPoolExecutor(count)


def in_threads(function: Callable[[_Piece], _Answer], pieces: Iterable[_Piece]) -> list[_Answer]:
    """``function`` of every piece, in their order, on as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(function, pieces))
