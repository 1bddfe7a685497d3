"""Landmarks in pictures of a person from known sides."""

from __future__ import annotations

import numpy as np

from ..body.look import View
from .blazepose import BlazePose, Detection
from .detect import look_again

_HIPS, _SHOULDERS = [1, 2], [16, 17]
"""SMPL joints."""
_AROUND = 1.03
"""How much larger the circle about the person is than what is furthest from the hips."""


def look_from_sides(
    networks: BlazePose,
    rgb: np.ndarray,
    alpha: np.ndarray,
    joints: np.ndarray,
    matrices: np.ndarray,
    focal: float,
) -> list[View]:
    """What V pictures of the photo's person say to :meth:`~backend.body.fit.BodyFitter.refine`.

    Args:
        networks: see there.
        rgb: uint8 [V, S, S, 3] over some plain background.
        alpha: [V, S, S] mattes in 0..1; pictures where nobody is seen are left out.
        joints: [24, 3] of the body fitted to the photo, in the photo camera's space.
        matrices: [V, 4, 4] from that space to each camera's, OpenCV axes, metres.
        focal: of all, in picture widths.
    """
    size, views = rgb.shape[1], []
    for picture, matte, matrix in zip(rgb, alpha, matrices):
        local = joints @ matrix[:3, :3].T + matrix[:3, 3]
        pixels = local[:, :2] / local[:, 2:] * focal * size + size / 2
        hip = pixels[_HIPS].mean(0)
        trunk = pixels[_SHOULDERS].mean(0) - hip
        rows, columns = np.nonzero(matte > 0.5)
        if not len(rows):
            continue
        radius = _AROUND * np.hypot(columns + 0.5 - hip[0], rows + 0.5 - hip[1]).max()
        circle = hip + radius * trunk / max(float(np.linalg.norm(trunk)), 1e-6)
        first = networks.landmarks(picture, Detection(1.0, hip, circle), passes=1)
        found, _ = look_again(networks, picture, matte, first)
        views.append(View(matte, found.image, found.visibility, focal * size, matrix))
    return views
