"""Which way is up in a photo: the camera's pitch and roll, from how the fitted body stands.

A camera that looks down shows a standing body that leans. Whoever stands still has the centre of mass over what carries
it; so the direction from the middle of the standing feet to the centre of mass is up. Bodies that do not stand on their
feet say nothing, and then the photo's own vertical is up.
"""

from __future__ import annotations

import numpy as np

from .model import JOINT_INDEX

_SEEN = 0.3
"""Confidence of both ankles without which nothing is known of how the body stands."""
_STANDS = 0.12
"""Of a leg's length: how much higher than the lower foot the other may be and still stand on the same floor."""
_BENT = 55.0
"""Degrees between thigh and up from which a leg does not carry as a standing one does."""
_ERROR = 3.0
"""Degrees: a deviation from the photo's vertical counts half where it is as large. An estimate of how far off the
balance of a fitted body is, not a measured figure."""
MOST = 25.0
"""Degrees by which the photo's vertical may be off; farther off, a body falls, lies or jumps."""


def up_direction(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, confidence: np.ndarray | None = None
) -> np.ndarray:
    """Unit vector [3] that points up, in the space of the body.

    Small angles are the measurement's own error more often than the camera's: they count little.

    Args:
        vertices, faces: [V, 3] metres, camera space (OpenCV axes: y points down the photo), and int [F, 3].
        joints: [24, 3].
        confidence: [24] in 0..1, how sure each joint was seen; feet that were not say nothing.
    """
    level = np.array([0.0, -1.0, 0.0])
    legs = {side: joints[[JOINT_INDEX[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot")]]
            for side in ("left", "right")}  # fmt: skip
    if confidence is not None and min(confidence[JOINT_INDEX[f"{side}_ankle"]] for side in legs) < _SEEN:
        return level
    up, middle = level, centre_of_mass(vertices, faces)
    for _ in range(3):
        heights = {side: float(leg[2] @ up) for side, leg in legs.items()}
        length = float(np.mean([np.linalg.norm(np.diff(leg[:3], axis=0), axis=1).sum() for leg in legs.values()]))
        low = min(heights.values())
        standing = [legs[side] for side, height in heights.items() if height < low + _STANDS * length]
        thighs = [(leg[0] - leg[1]) / np.linalg.norm(leg[0] - leg[1]) for leg in standing]
        if max(np.degrees(np.arccos(np.clip(thigh @ up, -1, 1))) for thigh in thighs) > _BENT:
            return level
        # A foot carries between heel and ball: halfway from the ankle to the ball.
        support = np.mean([(leg[2] + leg[3]) / 2 for leg in standing], axis=0)
        up = middle - support
        up /= np.linalg.norm(up)
    angle = float(np.degrees(np.arccos(np.clip(up @ level, -1, 1))))
    if angle > MOST:
        return level
    share = angle**2 / (angle**2 + _ERROR**2)
    out = (1 - share) * level + share * up
    return out / np.linalg.norm(out)


def centre_of_mass(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The centroid [3] of the volume inside a closed mesh, of even density."""
    corners = vertices[faces] - vertices.mean(0)
    volume = np.einsum("fx,fx->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    return vertices.mean(0) + (volume[:, None] * corners.sum(1) / 4).sum(0) / volume.sum()


def rotation_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest rotation [3, 3] that brings the unit vector ``first`` to ``second``, not its opposite."""
    axis, cosine = np.cross(first, second), float(first @ second)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
