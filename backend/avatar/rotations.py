"""Rotations of whole motions as arrays: logarithms, smallest turns, interpolation, forward kinematics. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import quaternion


def axis_angles(matrices: np.ndarray) -> np.ndarray:
    """Axis-angle vectors [..., 3], radians, at most pi long, of rotation matrices [..., 3, 3]."""
    matrices = np.asarray(matrices, dtype=np.float64)
    flat = matrices.reshape(-1, 3, 3)
    out = np.empty((len(flat), 3))
    # In blocks, as the conversion to quaternions takes several times the memory of its input.
    for start in range(0, len(flat), 1 << 17):
        out[start : start + (1 << 17)] = quaternion_logs(quaternion.from_matrix(flat[start : start + (1 << 17)]))
    return out.reshape(*matrices.shape[:-2], 3)


def quaternion_logs(q: np.ndarray) -> np.ndarray:
    """Axis-angle vectors [..., 3], radians, at most pi long, of unit quaternions [..., 4]."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    small = sine < 1e-12
    return q[..., 1:] * np.where(small, 2.0, 2 * np.arctan2(sine, q[..., :1]) / np.where(small, 1, sine))


def quaternions(vectors: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] of axis-angle vectors [..., 3], radians, of any length."""
    vectors = np.asarray(vectors, dtype=np.float64)
    half = 0.5 * np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vectors], axis=-1)


def continuous(vectors: np.ndarray) -> np.ndarray:
    """The same rotations with axis-angle vectors [T, J, 3] that do not jump from frame to frame.

    A turn by a about an axis is also one by a + 2 pi k: each frame takes the k that is nearest to the frame before.
    There is no such choice only where the axis changes while the angle is a whole turn.
    """
    vectors = np.array(vectors, dtype=np.float64)
    jump = np.linalg.norm(np.diff(vectors, axis=0), axis=2).max(axis=0, initial=0.0)
    loose = np.flatnonzero(jump > np.pi)
    if not loose.size:
        return vectors
    part = vectors[:, loose]
    length = np.linalg.norm(part, axis=2)
    axis = part / np.where(length > 1e-9, length, 1)[..., None]
    turn = 2 * np.pi
    previous = part[0]
    for frame in range(1, len(part)):
        along = np.einsum("ji,ji->j", previous, axis[frame])
        previous = part[frame] + (turn * np.round((along - length[frame]) / turn))[:, None] * axis[frame]
        part[frame] = previous
    vectors[:, loose] = part
    return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] of length 1; zero vectors stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def smallest_turns(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The smallest rotations [..., 3, 3] that take the directions ``before`` [..., 3] to ``after`` [..., 3].

    Opposite directions turn about an axis that is square to them; where one of the two is zero nothing turns.
    """
    a, b = np.broadcast_arrays(unit(np.asarray(before, np.float64)), unit(np.asarray(after, np.float64)))
    axis = np.cross(a, b)
    cosine = np.einsum("...i,...i->...", a, b)
    opposite = cosine < -1 + 1e-9
    matrix = np.zeros((*a.shape[:-1], 3, 3))
    matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0] = np.moveaxis(axis, -1, 0)
    matrix -= np.swapaxes(matrix, -1, -2).copy()
    matrix = np.eye(3) + matrix + (matrix @ matrix) / np.where(opposite, 1, 1 + cosine)[..., None, None]
    if opposite.any():
        axes = np.eye(3)[np.abs(a[opposite]).argmin(axis=-1)]
        axes = unit(np.cross(a[opposite], axes))
        matrix[opposite] = 2 * axes[..., :, None] * axes[..., None, :] - np.eye(3)
    return matrix


def slerp(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Quaternions [..., 4] on the shorter way from ``first`` to ``second`` [..., 4]; ``share`` [...] in 0..1."""
    share = np.asarray(share, dtype=np.float64)[..., None]
    cosine = np.einsum("...i,...i->...", first, second)[..., None]
    second = np.where(cosine < 0, -second, second)
    angle = np.arccos(np.abs(cosine).clip(0, 1))
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1, sine)
    a = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    b = np.where(near, share, np.sin(share * angle) / safe)
    return quaternion.normalize(a * first + b * second)


def between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Rotation matrices [..., 3, 3] at ``share`` (0..1) of the way from ``first`` to ``second`` [..., 3, 3]."""
    return quaternion.to_matrix(slerp(quaternion.from_matrix(first), quaternion.from_matrix(second), share))


def axes_frame(main: np.ndarray, side: np.ndarray) -> np.ndarray | None:
    """A rotation [3, 3] whose second column is ``main`` [3] and whose first is ``side`` [3] made square to it.

    None where the two do not span a plane.
    """
    length = np.linalg.norm(main)
    if length < 1e-9:
        return None
    up = main / length
    x = side - up * (side @ up)
    size = np.linalg.norm(x)
    if size < 1e-9 or size < 0.05 * np.linalg.norm(side):
        return None
    x = x / size
    return np.stack([x, up, np.cross(x, up)], axis=1)


def world_rotations(local: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """World rotations [T, J, 3, 3] of rotations relative to the parents; parents come first."""
    world = np.empty_like(local)
    for joint, parent in enumerate(parents):
        world[:, joint] = local[:, joint] if parent < 0 else world[:, parent] @ local[:, joint]
    return world


def local_rotations(world: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """The inverse of :func:`world_rotations`."""
    local = np.empty_like(world)
    for joint, parent in enumerate(parents):
        if parent < 0:
            local[:, joint] = world[:, joint]
        else:
            local[:, joint] = np.swapaxes(world[:, parent], 1, 2) @ world[:, joint]
    return local


def world_positions(world: np.ndarray, rest_joints: np.ndarray, parents: Sequence[int], root: np.ndarray) -> np.ndarray:
    """Joint positions [T, J, 3] of world rotations [T, J, 3, 3], for rest joints [J, 3] and the root's place [T, 3].

    The rest rotations are the identity, as SMPL's are.
    """
    positions = np.empty((*world.shape[:2], 3))
    for joint, parent in enumerate(parents):
        if parent < 0:
            positions[:, joint] = root
        else:
            positions[:, joint] = positions[:, parent] + world[:, parent] @ (rest_joints[joint] - rest_joints[parent])
    return positions
