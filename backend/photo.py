"""The prepared photo: one person's square crop with matte, landmarks and camera, which all stages read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CROP_SIZE = 1024
"""Pixels a side of the crop."""


@dataclass(frozen=True)
class Agreement:
    """How far several looks at one person say the same.

    Attributes:
        spread: mean distance of the looks' visible landmarks from the agreed ones, in sizes of the person, whatever a
            look took for left and right.
        score: the least that a look gave for this being a person, 0..1.
        facing_unclear: some looks saw the person from the front and others from behind, or edge on.
    """

    spread: float
    score: float
    facing_unclear: bool


AGREED = Agreement(0.0, 1.0, False)
"""Nothing to doubt."""


@dataclass(frozen=True)
class PreparedPhoto:
    """One person, cropped to a square of S = 1024 pixels.

    Attributes:
        rgb: uint8 [S, S, 3]; black outside the picture.
        alpha: float32 [S, S], the matte in 0..1.
        inside: bool [S, S], where the crop lies inside the picture and nothing hides the person's legs.
        landmarks: float [33, 2], BlazePose landmarks in pixels of the crop (may lie outside).
        visibility: float [33] in 0..1.
        world_landmarks: float [33, 3], metres about the hips' centre, OpenCV axes; see :mod:`.lift`.
        left_hand, right_hand: float [21, 2] pixels of the crop, None where the hand was not seen.
        focal: pixels of the crop; the principal point is the crop's centre.
        matte_given: the matte came with the file; at most a rim was taken off it.
        person_count: how many people the photo shows.
        warnings: sentences for the user.
        name, sha256: of the file.
        crop: left, top and side of the crop in pixels of the photo as read; a photo's pixel p lies at
            (p - corner) S / side of the crop.
        agreement: of several looks at the person.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    inside: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    world_landmarks: np.ndarray
    left_hand: np.ndarray | None
    right_hand: np.ndarray | None
    focal: float
    matte_given: bool
    person_count: int
    warnings: tuple[str, ...]
    name: str
    sha256: str
    crop: tuple[float, float, float] = (0.0, 0.0, float(CROP_SIZE))
    agreement: Agreement = AGREED

    def inside_at(self, size: int) -> np.ndarray:
        """``inside`` at ``size`` pixels a side: bool [size, size], where a pixel lies wholly in it."""
        return cv2.resize(self.inside.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.99
