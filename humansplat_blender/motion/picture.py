"""Small pictures of poses for the asset browser, drawn here: they need neither a window nor a render."""

from __future__ import annotations

import numpy as np

from ...backend.avatar.bone_maps import JOINT_PARENTS
from ...backend.avatar.rotations import world_positions, world_rotations
from ...backend.avatar.skinning import rotation_matrices

SIZE = 128
"""Pixels, of Blender's asset previews."""
_THICKNESS = {0: 0.10, 3: 0.11, 6: 0.12, 9: 0.11, 12: 0.055, 15: 0.095, 1: 0.08, 2: 0.08, 4: 0.07, 5: 0.07}
"""Radius in metres of what lies between a joint and its parent; 4 cm where not named."""
_MARGIN = 0.14
"""Metres around the joints: the thickest part and some air."""
_VIEW = np.radians(-28.0)
_LEFT, _RIGHT, _MIDDLE = (0.95, 0.62, 0.30), (0.33, 0.62, 0.95), (0.82, 0.82, 0.84)
_LEFT_JOINTS = (1, 4, 7, 10, 13, 16, 18, 20, 22)
_RIGHT_JOINTS = (2, 5, 8, 11, 14, 17, 19, 21, 23)


def pose_picture(poses: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """A figure in a pose, seen from the front and a little from its left; RGBA [SIZE, SIZE, 4], 0..1, bottom row first.

    Args:
        poses: [24, 3] axis-angle.
        rest: [24, 3] metres.
    """
    world = world_rotations(rotation_matrices(np.asarray(poses, dtype=np.float64))[None], JOINT_PARENTS)
    places = world_positions(world, np.asarray(rest, dtype=np.float64), JOINT_PARENTS, rest[:1])[0]
    top = places[15] + world[0, 15] @ [0, 0.55 * _THICKNESS[15] + 0.08, 0.02]
    turn = np.array([[np.cos(_VIEW), 0, np.sin(_VIEW)], [0, 1, 0], [-np.sin(_VIEW), 0, np.cos(_VIEW)]])
    places, top = places @ turn.T, turn @ top
    drawn = np.concatenate([places, top[None]])
    middle = 0.5 * (drawn.max(axis=0) + drawn.min(axis=0))
    reach = 0.5 * max(np.ptp(drawn[:, 0]), np.ptp(drawn[:, 1])) + _MARGIN
    grid = ((np.arange(SIZE) + 0.5) / SIZE * 2 - 1) * reach
    x, y = np.meshgrid(grid + middle[0], grid + middle[1])
    soft = 2 * reach / SIZE
    limbs = [(places[parent], places[joint], joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0]
    limbs.append((places[15], top, 15))
    picture = np.zeros((SIZE, SIZE, 4))
    # What is nearer to the eye is drawn over what lies behind.
    for start, stop, joint in sorted(limbs, key=lambda limb: limb[0][2] + limb[1][2]):
        radius = _THICKNESS.get(joint, 0.04)
        colour = _LEFT if joint in _LEFT_JOINTS else _RIGHT if joint in _RIGHT_JOINTS else _MIDDLE
        distance = _distance(x, y, start[:2], stop[:2])
        cover = ((radius - distance) / soft + 0.5).clip(0, 1)[..., None]
        shade = np.sqrt(1 - (distance / radius).clip(0, 0.95) ** 2)[..., None]
        painted = np.concatenate([np.array(colour) * (0.35 + 0.65 * shade), np.ones_like(shade)], axis=-1)
        picture = picture * (1 - cover) + painted * cover
    return picture.astype(np.float32)


def _distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Distances of points to a line between two points."""
    along = stop - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-12)
    share = share.clip(0, 1)
    return np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
