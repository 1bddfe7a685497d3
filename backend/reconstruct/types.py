"""What the reconstruction stage hands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..avatar.skinning import triangle_frames
from ..body.fit import BodyFit


@dataclass(frozen=True)
class SurfaceMesh:
    """The clothed surface that splats are bound to: the body's faces pushed out to the garments, and extra sheets.

    Attributes:
        rest: [S, 3] metres, canonical pose.
        posed: [S, 3] metres, the photo's pose in camera space.
        faces: int [G, 3]; the first ``body_faces`` of them are the body's.
        weights: [S, 24] skinning weights.
        body_vertices, body_faces: how many of each belong to the body's topology.
    """

    rest: np.ndarray
    posed: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    body_vertices: int
    body_faces: int

    def to_rest(self, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Posed points [n, 3] carried to the rest pose in the frames of their ``triangles``, int [n, 3]."""
        return self.carried(points, triangles, self.rest)[0]

    def carried(self, points: np.ndarray, triangles: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posed points [n, 3] carried along as the vertices move to ``vertices`` [S, 3], in the frames of their
        ``triangles``, int [n, 3]; and the turn [n, 3, 3] of each."""
        before, _ = triangle_frames(self.posed, triangles)
        after, _ = triangle_frames(vertices, triangles)
        turn = after @ np.swapaxes(before, 1, 2)
        moved = np.einsum("nab,nb->na", turn, points - self.posed[triangles[:, 0]])
        return vertices[triangles[:, 0]] + moved, turn


@dataclass(frozen=True)
class Reconstruction:
    """Splats in the photo's pose, in camera space (OpenCV axes, metres), and where they sit on the surface.

    Attributes:
        position: [N, 3].
        rotation: [N, 3, 3], columns are the splat's axes.
        scale: [N, 3] metres, linear.
        opacity: [N] in 0..1.
        rgb: [N, 3] display sRGB in 0..1.
        face: int [N] index into ``surface.faces``.
        surface: the mesh.
        seen: [N] in 0..1, how far the photo shows the splat.
        fit: the body inside the surface.
    """

    position: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    opacity: np.ndarray
    rgb: np.ndarray
    face: np.ndarray
    surface: SurfaceMesh
    seen: np.ndarray
    fit: BodyFit
