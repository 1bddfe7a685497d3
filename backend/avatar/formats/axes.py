"""Axes and handedness by client: what a file's raw numbers mean to the program that reads it.

Files of splats do not say which way is up, so each client has its own convention (measured with an axis marker for
three.js, PlayCanvas and Babylon; read from the sources of the others).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .. import quaternion
from ..gaussians import Gaussians
from .types import ExportError


@dataclass(frozen=True, eq=False)
class Axes:
    """A convention for raw coordinates; metres.

    Attributes:
        name: what options call it.
        label: for people.
        matrix: float64 [3, 3] orthogonal, avatar space (y up, x to the person's left, z forward) -> the file's.
        says: the convention in words, for the sidecar.
    """

    name: str
    label: str
    matrix: np.ndarray
    says: str


def _table(*axes: Axes) -> Mapping[str, Axes]:
    return MappingProxyType({entry.name: entry for entry in axes})


AXES: Mapping[str, Axes] = _table(
    Axes(
        "y-up", "Y up: three.js, Spark, glTF", np.eye(3), "x to the person's left, y up, z forward; right-handed"
    ),
    Axes(
        "y-down",
        "Y down: SuperSplat, PlayCanvas, Godot (gdgs), Unreal (NanoGS)",
        np.diag([-1.0, -1.0, 1.0]),
        "x to the person's right, y down, z forward; right-handed (as trained from COLMAP cameras)",
    ),
    Axes(
        "z-up",
        "Z up: Blender",
        np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
        "x to the person's left, y backward, z up; right-handed",
    ),
    Axes(
        "unity",
        "Unity (UnityGaussianSplatting)",
        np.diag([-1.0, 1.0, 1.0]),
        "x to the person's right, y up, z forward; left-handed",
    ),
)  # fmt: skip
"""Conventions by name. Unity's is the only left-handed one: its raw numbers are the mirror image."""


def find_axes(name: str) -> Axes:
    """The convention called ``name``.

    Raises:
        ExportError: there is none.
    """
    if name not in AXES:
        raise ExportError(f"There are no axes called {name!r}; choose one of {', '.join(AXES)}.")
    return AXES[name]


def turn_splats(gaussians: Gaussians, axes: Axes) -> Gaussians:
    """Splats in the file's coordinates: centres and covariances are those of avatar space, seen in its axes.

    A reflection takes a rotation R to M R diag(-1, 1, 1), which has the determinant 1 again; the covariance, which is
    all that is drawn, does not depend on the sign of an axis.
    """
    matrix = axes.matrix
    if np.array_equal(matrix, np.eye(3)):
        return gaussians
    kind = gaussians.rotation.dtype
    if np.linalg.det(matrix) > 0:
        turn = quaternion.from_matrix(matrix)
        rotation = quaternion.multiply(turn, gaussians.rotation)
    else:
        # M R D with M = R_m D: R_m (D R D), and conjugation by D = diag(-1, 1, 1) keeps w and x of a quaternion.
        mirror = np.diag([-1.0, 1.0, 1.0])
        turn = quaternion.from_matrix(matrix @ mirror)
        rotation = quaternion.multiply(turn, gaussians.rotation * np.array([1, 1, -1, -1]))
    return replace(
        gaussians,
        position=(gaussians.position @ matrix.T).astype(gaussians.position.dtype),
        rotation=rotation.astype(kind),
    )


def turn_back(gaussians: Gaussians, axes: Axes) -> Gaussians:
    """The inverse of :func:`turn_splats`: from the file's coordinates to avatar space."""
    return turn_splats(gaussians, replace(axes, matrix=axes.matrix.T))


def turn_points(points: np.ndarray, axes: Axes) -> np.ndarray:
    """Points or directions [..., 3] in the file's coordinates."""
    return points @ axes.matrix.T


def turn_transforms(transforms: np.ndarray, axes: Axes) -> np.ndarray:
    """Affine transforms [..., 4, 4] of avatar space as transforms of the file's coordinates: M T M^-1."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes.matrix
    return matrix @ transforms @ matrix.T
