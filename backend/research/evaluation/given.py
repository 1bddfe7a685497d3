"""Further pictures of true people, as the product is given them: which sides, and how unlike the photo."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from ...body.model import JOINT_INDEX
from ...body.poses import axis_angle
from ...options import SIDES
from ..training.cameras import FIELD_OF_VIEW, orbit
from ..training.figure import Figure
from ..training.samples import Scene, make_scene
from .truth import photograph, render_photo

WITH_PICTURES = {
    "+back": ("back",), "+sides": ("back", "left", "right"), "+otherback": ("back",),
    "+othersides": ("back", "left", "right"),
}  # fmt: skip
"""Added to a preset's name: it is given true pictures of these sides, as files, from cameras that it does not know.
With "other" they are of another moment, see :func:`another_moment`."""
WITH_BUDGET = {"+25k": 25_000}
"""Added to a preset's name: its splats are merged into so many, as in an export."""
WITH_BENDING = {"+linear": 0.0, "+dual": 1.0}
"""Added to a preset's name: the share of dual quaternions by which it is reposed, in place of its package's."""
_ANOTHER = 40_000
"""Added to a person's seed, which decides the light: of another moment."""
_FOCAL, _SCALE = 30.0, 0.9
"""Degrees across pictures of another moment, where the photo's are 39.6, and how large the person is in them."""
_BENT = {
    "left_shoulder": (0, 0, 30), "right_shoulder": (0, 0, -30), "left_hip": (-20, 0, 0), "right_hip": (15, 0, 0),
}  # fmt: skip
"""Degrees about the axes of the rest pose: arms raised, a step."""


def another_moment(scene: Scene, bent: Figure | None) -> Scene:
    """The person before the same camera, in another light and, where it can be posed, as ``bent``."""
    figure = scene.figure if bent is None else bent
    other = make_scene(scene.seed + _ANOTHER, figure=figure)
    return replace(scene, figure=figure, light=other.light, baked=other.baked)


def bent_pose(pose: np.ndarray) -> np.ndarray:
    """``pose`` [24, 3] axis-angle with arms raised by 30 degrees and a step."""
    out = np.array(pose, np.float64)
    for name, degrees in _BENT.items():
        joint = JOINT_INDEX[name]
        turn = Rotation.from_rotvec(np.radians(degrees)) * Rotation.from_rotvec(out[joint])
        out[joint] = axis_angle(turn.as_matrix())
    return out


def picture_of(scene: Scene, size: int, side: str, other: bool) -> tuple[np.ndarray, np.ndarray]:
    """A further picture of ``size`` pixels a side as :func:`~.truth.render_photo` makes it.

    Args:
        scene: the photo's, or that of another moment.
        size: pixels a side.
        side: one of ``options.SIDES``.
        other: of another moment: by another lens, from farther away, so that the person is smaller in it.
    """
    azimuth = SIDES[side]
    assert azimuth is not None
    if not other:
        return render_photo(scene, size, azimuth)
    ratio = math.tan(math.radians(FIELD_OF_VIEW) / 2) / math.tan(math.radians(_FOCAL) / 2)
    distance = scene.distance * ratio / _SCALE
    camera = orbit([scene.azimuth + azimuth], scene.elevation, scene.target, distance, size, _FOCAL)
    return photograph(scene, camera, azimuth)

