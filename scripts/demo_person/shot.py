"""The camera of the demo photo, so that tests can say where in it a point of the person must be. numpy alone."""

from __future__ import annotations

import numpy as np

SIZE = (768, 1152)
"""Pixels, width and height."""
CAMERA = (0.25, 1.28, 4.6)
AIM = (0.0, 0.90, 0.0)
"""Metres, y up, the person looks towards +z."""
LENS = 80.0
SENSOR = 36.0
"""Millimetres; the sensor's side belongs to the picture's longer side."""


def project(points: np.ndarray) -> np.ndarray:
    """Pixels [N, 2] (x right, y down) of points [N, 3] in front of the camera."""
    away = np.array(AIM) - np.array(CAMERA)
    away /= np.linalg.norm(away)
    right = np.cross(away, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    seen = (np.asarray(points) - CAMERA) @ np.stack([right, np.cross(away, right), away]).T
    return seen[:, :2] / seen[:, 2:] * (LENS / SENSOR * max(SIZE)) + np.array(SIZE) / 2
