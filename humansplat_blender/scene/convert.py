"""The one place where avatar space (y up) and Blender space (z up) meet.

Avatar space has x to the person's left, y up, z out of the chest. Blender's avatar looks along -y, as its own
characters do: (x, y, z) -> (x, -z, y), a rotation of +90 degrees about x. All data is converted on import, so that
objects keep identity transforms.
"""

from __future__ import annotations

import numpy as np

from ...backend.avatar import quaternion

# Columns are the avatar's axes in Blender; as a quaternion (w, x, y, z) below.
TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
TO_BLENDER_QUATERNION = np.array([0.5**0.5, 0.5**0.5, 0.0, 0.0])


def to_blender(vectors: np.ndarray) -> np.ndarray:
    """Points, directions or axis-angle vectors [..., 3] from avatar space to Blender's; keeps the dtype.

    The change of axes is a proper rotation, so axis-angle vectors change as directions do.
    """
    vectors = np.asarray(vectors)
    return np.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], axis=-1)


def from_blender(vectors: np.ndarray) -> np.ndarray:
    """Inverse of :func:`to_blender`."""
    vectors = np.asarray(vectors)
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1)


def orientations_to_blender(quaternions: np.ndarray) -> np.ndarray:
    """Orientations of things that live in avatar space, wxyz [..., 4], in Blender."""
    quaternions = np.asarray(quaternions)
    return quaternion.multiply(TO_BLENDER_QUATERNION.astype(quaternions.dtype), quaternions)


def orientations_from_blender(quaternions: np.ndarray) -> np.ndarray:
    """Inverse of :func:`orientations_to_blender`."""
    quaternions = np.asarray(quaternions)
    inverse = quaternion.conjugate(TO_BLENDER_QUATERNION).astype(quaternions.dtype)
    return quaternion.multiply(inverse, quaternions)


def transform_to_blender(matrix: np.ndarray) -> np.ndarray:
    """A motion of avatar space, such as a skinning matrix [..., 4, 4], as the same motion of Blender's space."""
    change = np.eye(4)
    change[:3, :3] = TO_BLENDER
    return change @ np.asarray(matrix, dtype=np.float64) @ change.T


def camera_to_blender(world_to_camera: np.ndarray) -> np.ndarray:
    """World matrix [4, 4] of a Blender camera for an OpenCV extrinsic matrix [4, 4] (x right, y down, z forward)."""
    camera_to_world = np.linalg.inv(np.asarray(world_to_camera, dtype=np.float64))
    change = np.eye(4)
    change[:3, :3] = TO_BLENDER
    # Blender's cameras look along -z with y up.
    return change @ camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0])
