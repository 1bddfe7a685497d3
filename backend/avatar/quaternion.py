"""Quaternions as numpy arrays [..., 4] in the order w, x, y, z (Hamilton's convention, active rotations)."""

from __future__ import annotations

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product [..., 4]: the rotation that applies ``b`` first and ``a`` second. Shapes broadcast."""
    aw, ax, ay, az = np.moveaxis(np.asarray(a), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: np.ndarray) -> np.ndarray:
    """The inverse rotation [..., 4] of unit quaternions [..., 4]."""
    return np.asarray(q) * np.array([1, -1, -1, -1], dtype=np.asarray(q).dtype)


def normalize(q: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4]; all-zero quaternions become the identity."""
    q = np.asarray(q)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    identity = np.array([1, 0, 0, 0], dtype=q.dtype)
    zero = length == 0
    return np.where(zero, identity, q / np.where(zero, 1, length))


def to_matrix(q: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4]."""
    q = np.asarray(q)
    w, x, y, z = np.moveaxis(q, -1, 0)
    matrix = np.empty((*q.shape[:-1], 3, 3), dtype=q.dtype)
    matrix[..., 0, 0] = 1 - 2 * (y * y + z * z)
    matrix[..., 0, 1] = 2 * (x * y - w * z)
    matrix[..., 0, 2] = 2 * (x * z + w * y)
    matrix[..., 1, 0] = 2 * (x * y + w * z)
    matrix[..., 1, 1] = 1 - 2 * (x * x + z * z)
    matrix[..., 1, 2] = 2 * (y * z - w * x)
    matrix[..., 2, 0] = 2 * (x * z - w * y)
    matrix[..., 2, 1] = 2 * (y * z + w * x)
    matrix[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return matrix


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] with w >= 0 of rotation matrices [..., 3, 3].

    Shepperd's method (1978): each row of the symmetric matrix 4 q q^T follows from the entries of the rotation without
    a subtraction of near-equal numbers for the largest component, so that row is taken.
    """
    matrix = np.asarray(matrix)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = np.moveaxis(matrix.reshape(*matrix.shape[:-2], 9), -1, 0)
    outer = np.empty((*matrix.shape[:-2], 4, 4), dtype=matrix.dtype)
    outer[..., 0, 0] = 1 + m00 + m11 + m22
    outer[..., 1, 1] = 1 + m00 - m11 - m22
    outer[..., 2, 2] = 1 - m00 + m11 - m22
    outer[..., 3, 3] = 1 - m00 - m11 + m22
    outer[..., 0, 1] = outer[..., 1, 0] = m21 - m12
    outer[..., 0, 2] = outer[..., 2, 0] = m02 - m20
    outer[..., 0, 3] = outer[..., 3, 0] = m10 - m01
    outer[..., 1, 2] = outer[..., 2, 1] = m10 + m01
    outer[..., 1, 3] = outer[..., 3, 1] = m02 + m20
    outer[..., 2, 3] = outer[..., 3, 2] = m21 + m12
    largest = np.einsum("...ii->...i", outer).argmax(axis=-1)
    q = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] turned by unit quaternions [..., 4]. Shapes broadcast."""
    q, v = np.asarray(q), np.asarray(v)
    twice_cross = 2 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * twice_cross + np.cross(q[..., 1:], twice_cross)
