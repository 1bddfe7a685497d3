"""Where the other sides of a person come from: what every model that makes pictures of them is given, and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..body.fit import BodyFit
from ..photo import PreparedPhoto

Step = Callable[[float, str], None]
"""Fraction of the work in 0..1, and what is done, for people; what it raises stops the work."""
_FAR_AWAY = 40.0
"""Distance of a camera, in widths of what it shows, from which it is as good as an orthographic one: what lies 0.2
widths nearer than the axis is 0.5 % larger."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The person whose other sides are wanted. Space: the photo camera's (OpenCV axes), metres.

    Attributes:
        photo: the prepared photo; its principal point is the crop's centre.
        fit: the body, fitted to it.
        vertices: [N, 3] of the clothed surface.
        faces: int [F, 3] of it.
        pelvis: [3].
    """

    photo: PreparedPhoto
    fit: BodyFit
    vertices: np.ndarray
    faces: np.ndarray
    pelvis: np.ndarray


@dataclass(frozen=True, eq=False)
class SideView:
    """A picture of the person from another side, S pixels a side, whose principal point is its centre.

    Attributes:
        rgb: uint8 [S, S, 3].
        alpha: float32 [S, S] in 0..1, where the person is.
        turn: degrees that the camera stands around the person from the photo's, towards the person's left.
        matrix: [4, 4] from the photo camera's space to this camera's, where it is known; the body is as in the photo.
            None: the camera and the pose are sought, as those of a picture that an artist gives.
        focal: pixels; means nothing where ``matrix`` is None.
        belief: in 0..1, how far its colours are believed.
        outline: whether ``alpha`` says something of the person's shape. It does not where it is the coverage of the
            subject's own mesh.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    turn: float
    matrix: np.ndarray | None = None
    focal: float = 0.0
    belief: float = 1.0
    outline: bool = True


class ViewSource(Protocol):
    """Something that makes pictures of a person's other sides."""

    title: str
    """As sentences name it."""
    described: Sequence[dict[str, str]]
    """What an avatar package says of the weights."""

    def views(self, subject: Subject, seed: int, step: Step) -> Sequence[SideView]:
        """Pictures of the other sides, none of the photo's own.

        Raises:
            BackendError: see its ``kind``.
        """
        ...


def far_camera(turn: float, centre: np.ndarray, width: float, size: int) -> tuple[np.ndarray, float]:
    """A camera that stands so far away that it shows what an orthographic one does.

    Args:
        turn: degrees around the vertical axis (y) of the photo camera's space, towards the person's left.
        centre: [3] of what its picture shows, in that space.
        width: metres across the picture at the centre.
        size: pixels across.

    Returns:
        The matrix [4, 4] from the photo camera's space to this one's, and the focal length in pixels.
    """
    angle = np.radians(turn)
    # The camera goes to the person's left; seen from it, the world turns the other way about y (down).
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = [0, 0, _FAR_AWAY * width] - rotation @ centre
    return matrix, _FAR_AWAY * size
