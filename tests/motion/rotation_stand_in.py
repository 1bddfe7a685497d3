"""What the tests need of ``scipy.spatial.transform.Rotation``, by Blender's own mathutils."""

from __future__ import annotations

import numpy as np
from mathutils import Euler, Matrix, Quaternion, Vector


class Rotation:
    """One rotation, or N of them."""

    def __init__(self, matrices: np.ndarray) -> None:
        self._matrices = np.asarray(matrices, dtype=np.float64)

    @classmethod
    def from_matrix(cls, matrices: np.ndarray) -> Rotation:
        return cls(matrices)

    @classmethod
    def from_rotvec(cls, vectors: np.ndarray) -> Rotation:
        vectors = np.asarray(vectors, dtype=np.float64)
        flat = [np.array(Quaternion(v, v.length).to_matrix()) for v in map(Vector, vectors.reshape(-1, 3))]
        return cls(np.reshape(flat, (*vectors.shape[:-1], 3, 3)))

    @classmethod
    def from_euler(cls, axis: str, angle: float, degrees: bool = False) -> Rotation:
        angle = np.radians(angle) if degrees else angle
        return cls(np.array(Matrix.Rotation(angle, 3, axis.upper())))

    def as_matrix(self) -> np.ndarray:
        return self._matrices

    def as_rotvec(self) -> np.ndarray:
        turns = [Matrix(m.tolist()).to_quaternion() for m in self._matrices.reshape(-1, 3, 3)]
        flat = [np.array(axis) * angle for axis, angle in (turn.to_axis_angle() for turn in turns)]
        return np.reshape(flat, self._matrices.shape[:-1])

    def as_euler(self, order: str, degrees: bool = False) -> np.ndarray:
        """Angles in the order of the axes; intrinsic, as scipy's capital letters mean."""
        previous = Euler((0, 0, 0), order[::-1])
        angles = []
        for matrix in self._matrices.reshape(-1, 3, 3):
            previous = Matrix(matrix.tolist()).to_euler(order[::-1], previous)
            angles.append([previous["XYZ".index(axis)] for axis in order])
        flat = np.array(angles)
        return np.reshape(np.degrees(flat) if degrees else flat, self._matrices.shape[:-1])

    def magnitude(self) -> np.ndarray:
        return np.linalg.norm(self.as_rotvec(), axis=-1)

    def inv(self) -> Rotation:
        return Rotation(np.swapaxes(self._matrices, -1, -2))

    def __mul__(self, other: Rotation) -> Rotation:
        return Rotation(self._matrices @ other._matrices)
