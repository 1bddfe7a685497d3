"""Where a retouched picture differs from what the avatar shows, by more than an image editor's file format makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import BackendError
from ..options import shown
from ..prepare.image import Photo

_LOSSY = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP", "HEIF", "AVIF"})
"""Pillow's names of the file formats that change colours."""
_LEAST_SCALE = 0.5
"""Of a picture's side to its view's: what is smaller lacks most of the detail."""


@dataclass(frozen=True)
class CompareConfig:
    """What counts as a retouch. Levels are of 255.

    The bounds on noise were set on views of two avatars that were saved as JPEG of quality 50 to 95 and as WebP of
    quality 80, and scaled by 0.5 to 2 and back: none of those is a retouch.

    Attributes:
        shown: coverage from which on a pixel shows the person.
        rounding: levels by which colours of a file that keeps them may differ.
        blur: pixels of the picture, standard deviation of the Gaussian that takes away the noise of compression.
        coherent: levels by which blurred colours may differ in a file that does not keep them,
        coherent_noise: and so many more for each level of noise.
        ragged: levels by which single pixels beside a place that was certainly retouched may differ,
        ragged_noise: and so many more for each level of noise.
        most_noise: levels; more is no file format's.
        rim: pixels within the person's outline where compression mixes in what is beside it.
        reach: pixels around what was certainly retouched.
    """

    shown: float = 0.5
    rounding: float = 2.0
    blur: float = 3.0
    coherent: float = 6.0
    coherent_noise: float = 4.0
    ragged: float = 2.0
    ragged_noise: float = 2.0
    most_noise: float = 4.0
    rim: int = 3
    reach: int = 9


COMPARE = CompareConfig()


@dataclass(frozen=True, eq=False)
class Retouch:
    """What was painted on a view of S pixels a side.

    Attributes:
        mask: bool [S, S], where.
        rgb: float32 [S, S, 3] in 0..1, straight colours that are wanted there.
        share: of the pixels that show the person.
    """

    mask: np.ndarray
    rgb: np.ndarray
    share: float


def is_lossy(path: Path) -> bool:
    """Whether the file's format changes colours; the file can be read."""
    with Image.open(path) as image:
        return image.format in _LOSSY


def check_shape(photo: Photo, size: int) -> None:
    """Refuse a picture that is no view of ``size`` pixels a side, resized as a whole.

    Raises:
        BackendError: kind ``picture_size``.
    """
    height, width = photo.rgb.shape[:2]
    if abs(height - width) > 0.002 * max(height, width):
        raise BackendError(
            "picture_size",
            f"{shown(photo.name)} has {width} x {height} pixels, and the view it was made from {size} x {size}.",
            "Do not crop or extend the picture; scaling it as a whole is all right.",
        )
    if max(height, width) < _LEAST_SCALE * size:
        raise BackendError(
            "picture_size",
            f"{shown(photo.name)} has {width} x {height} pixels, too few for a view of {size} x {size}.",
            f"Give it with at least {round(_LEAST_SCALE * size)} pixels a side.",
        )


def find_retouch(
    rgb: np.ndarray, alpha: np.ndarray, photo: Photo, lossy: bool, config: CompareConfig = COMPARE
) -> Retouch:
    """Where and to what colours a view was retouched. The picture's own alpha says no more than what can be compared.

    Args:
        rgb: float32 [S, S, 3] in 0..1, straight colours that the avatar shows.
        alpha: float32 [S, S], how far the avatar covers each pixel.
        photo: the picture, which :func:`check_shape` has let pass.
        lossy: whether its file's format changes colours.
        config: bounds.
    """
    size = len(alpha)
    resized = photo.rgb.shape[:2] != (size, size)
    picture, own = _at_size(photo.rgb, size).astype(np.float32), photo.alpha
    if own is not None:
        own = _at_size(own, size).clip(0, 1)
        cover, behind = own, np.float32(128.0)  # what load_photo puts behind what is transparent
    else:
        cover, behind = alpha, _behind(picture, alpha)
    straight = (rgb * 255).clip(0, 255).round()
    expected = straight * cover[..., None] + behind * (1 - cover[..., None])
    expected = np.floor(expected) if own is not None else expected.round()
    if len(photo.rgb) < size:  # what is lost with the size is no retouch
        expected = _at_size(_at_size(expected, len(photo.rgb)), size)
    difference = picture - expected
    comparable = (alpha > config.shown) & (cover > config.shown)
    # A smaller picture's noise is as much coarser here.
    blur = config.blur * max(1.0, size / len(photo.rgb))
    mask = _retouched(difference, comparable, lossy or resized, blur, config)
    wanted = straight + difference / np.maximum(cover, config.shown)[..., None]
    share = mask.sum() / max(int((alpha > config.shown).sum()), 1)
    return Retouch(mask, (wanted / 255).clip(0, 1).astype(np.float32), float(share))


def _at_size(image: np.ndarray, size: int) -> np.ndarray:
    if image.shape[:2] == (size, size):
        return image
    shrinks = max(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _behind(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What an editor has put behind the person [S, S, 3]: at each pixel the nearest colour beside the person."""
    beside = alpha < 1 / 255
    if not beside.any():
        return np.full_like(picture, 128.0)
    rows, columns = ndimage.distance_transform_edt(~beside, return_distances=False, return_indices=True)
    return picture[rows, columns]


def _retouched(
    difference: np.ndarray, comparable: np.ndarray, noisy: bool, blur: float, config: CompareConfig
) -> np.ndarray:
    """Bool [S, S]; ``difference`` [S, S, 3] in levels, ``blur`` in pixels."""
    if not comparable.any():
        return comparable
    largest = np.abs(difference).max(2)
    blurred = _blurred(difference, comparable, blur)
    # What a format adds alternates from pixel to pixel; a retouch, of the whole picture even, seldom does.
    noise = float(np.median(np.abs(difference - blurred).max(2)[comparable]))
    if not noisy and noise < 0.5:
        return comparable & (largest > config.rounding)
    noise = min(noise, config.most_noise)
    inner = cv2.erode(comparable.astype(np.uint8), np.ones((2 * config.rim + 1,) * 2, np.uint8)) > 0
    certain = inner & (np.abs(blurred).max(2) > config.coherent + config.coherent_noise * noise)
    around = np.ones((2 * config.reach + 1,) * 2, np.uint8)
    near = cv2.dilate(certain.astype(np.uint8), around) > 0
    return comparable & near & (largest > config.ragged + config.ragged_noise * noise)


def _blurred(values: np.ndarray, where: np.ndarray, radius: float) -> np.ndarray:
    """``values`` [S, S, C] blurred within ``where``."""
    weight = where.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), radius)
    blurred = cv2.GaussianBlur(values.astype(np.float32) * weight[..., None], (0, 0), radius)
    return blurred / np.maximum(total, 1e-3)[..., None]
