"""Rows of whole numbers, told apart fast."""

from __future__ import annotations

import numpy as np


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of row [K], kinds in lexicographic order, and each row's kind [n].

    As ``numpy.unique`` along an axis says, which sorts rows as bytes and takes ten times as long.

    Args:
        rows: whole numbers [n, C], whose ranges' product fits into 63 bits.
    """
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low, high = rows.min(0).astype(np.int64), rows.max(0).astype(np.int64)
    key = np.zeros(len(rows), np.int64)
    for column, least, span in zip(rows.T, low, high - low + 1):
        key = key * span + (column - least)
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)
