"""Legs that the picture shows only in part: something stands before them, or they end."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LEGS = {"left": (23, 25, 27), "right": (24, 26, 28)}
"""Hip, knee and ankle."""
_SHOULDERS, _HIPS = [11, 12], [23, 24]
_UNSEEN = 0.5
"""Visibility below which an ankle is a guess."""
_SHORT = 0.3
"""Length of a shin in the picture, in trunks, below which it is folded away or not there."""
_BEYOND = 0.1
"""Trunks from a leg's visible end to where its ankle must be, from which on a part is missing."""
_WIDTH = 0.3
"""Trunks to each side of a leg's line that belong to the leg."""
_LOOK = 0.1
"""Trunks before and behind a leg's end whose colours are compared."""
_SAME_COLOUR = 0.06
"""Distance of colours in 0..1 below which the wall beside a leg goes on beyond the leg's end."""


@dataclass(frozen=True)
class UnseenLegs:
    """What is known of legs whose ankles are not seen although the picture goes on.

    Attributes:
        hidden: names of legs that something hides.
        ended: names of legs beyond whose visible end the background goes on.
        unknown: bool [S, S], where the hidden legs' rest would be.
    """

    hidden: tuple[str, ...]
    ended: tuple[str, ...]
    unknown: np.ndarray


def find_unseen_legs(
    rgb: np.ndarray, alpha: np.ndarray, inside: np.ndarray, landmarks: np.ndarray, visibility: np.ndarray
) -> UnseenLegs:
    """Tell legs that are hidden, which go on straight, from legs that end.

    Args:
        rgb: uint8 [S, S, 3] crop.
        alpha: [S, S] matte.
        inside: bool [S, S] where the crop lies inside the picture.
        landmarks: [33, 2] pixels of the crop; may lie outside of it.
        visibility: [33].
    """
    size = len(alpha)
    trunk = float(np.linalg.norm(landmarks[_SHOULDERS].mean(0) - landmarks[_HIPS].mean(0)))
    person = alpha > 0.5
    unknown = np.zeros((size, size), bool)
    hidden, ended = [], []
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    for name, (hip, knee, ankle) in _LEGS.items():
        if visibility[ankle] >= _UNSEEN or trunk < 1:
            continue
        along = landmarks[ankle] - landmarks[hip]
        length = max(float(np.linalg.norm(along)), 1e-6)
        along = along / length
        at = landmarks[hip] + along * np.arange(0, length, 2.0)[:, None]
        row, column = np.floor(at[:, 1]).astype(int), np.floor(at[:, 0]).astype(int)
        in_crop = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        on = np.zeros(len(at), bool)
        on[in_crop] = person[row[in_crop], column[in_crop]]
        if not on.any():
            continue
        end = at[np.nonzero(on)[0][-1]]
        left = float((landmarks[ankle] - end) @ along)
        if left < _BEYOND * trunk:
            # The network has put the ankle on the person: behind the other leg, folded away, or nowhere else.
            if np.linalg.norm(landmarks[ankle] - landmarks[knee]) < _SHORT * trunk:
                ended.append(name)
            continue
        ahead = (columns - end[0]) * along[0] + (rows - end[1]) * along[1]
        aside = np.abs((columns - end[0]) * along[1] - (rows - end[1]) * along[0])
        if not inside[(np.abs(ahead - _LOOK * trunk) < 1.5) & (aside < _WIDTH * trunk)].any():
            continue  # the picture ends there: that it cuts the leg is another matter
        if _goes_on(rgb, person, inside, ahead, aside, trunk):
            ended.append(name)
            continue
        hidden.append(name)
        unknown |= (ahead > 0) & (aside < max(_WIDTH * trunk, 0.25 * length))
    return UnseenLegs(tuple(hidden), tuple(ended), unknown)


def _goes_on(
    rgb: np.ndarray, person: np.ndarray, inside: np.ndarray, ahead: np.ndarray, aside: np.ndarray, trunk: float
) -> bool:
    """Whether what is seen beside a leg is also seen beyond its end."""
    free = inside & (cv2.dilate(person.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0)
    near = aside < 2 * _WIDTH * trunk
    beyond = free & near & (ahead > 0) & (ahead < 2 * _LOOK * trunk)
    beside = free & near & (ahead < 0) & (ahead > -2 * _LOOK * trunk)
    if beyond.sum() < 20 or beside.sum() < 20:
        return False
    colours = rgb.astype(np.float32) / 255
    return float(np.linalg.norm(np.median(colours[beyond], 0) - np.median(colours[beside], 0))) < _SAME_COLOUR
