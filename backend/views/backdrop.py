"""The person before a plain background, as large models are shown people, and the matte of pictures that they make."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import BackendError
from ..prepare.matting import solve_matte

_SHOWN = 0.1
"""Alpha from which a pixel counts for the person's box. The published code takes all above 0; our mattes are soft."""
_LIKE_BACKDROP = 0.06
"""Largest difference of a channel, in 0..1, from the background of a picture that a network has made: about three times
what the VAE leaves in plain areas. Not measured with published weights."""
_BAND = 6 / 768
"""Picture sides on both sides of a rough outline within which colours say what is person."""


def picture_over(rgb: np.ndarray, alpha: np.ndarray, grey: float, fill: float, size: int) -> np.ndarray:
    """The person in the middle of a grey picture: uint8 [size, size, 3].

    Args:
        rgb: uint8 [H, W, 3], the person's own colours.
        alpha: float [H, W] in 0..1.
        grey: of the background, in 0..1.
        fill: longer side of the person's box, in picture sides.
        size: pixels.

    Raises:
        BackendError: kind ``no_person`` where ``alpha`` is empty.
    """
    rows, columns = np.nonzero(alpha > _SHOWN)
    if not len(rows):
        raise BackendError(
            "no_person", "The photo's matte is empty, so there is nobody to show.", "Choose a photo of one person."
        )
    # One pixel of margin, as MV-Adapter's published code has it.
    top, left = max(rows.min() - 1, 0), max(columns.min() - 1, 0)
    bottom, right = min(rows.max() + 1, len(alpha)), min(columns.max() + 1, alpha.shape[1])
    share = alpha[..., None].astype(np.float32)
    over = rgb.astype(np.float32) * share + 255 * grey * (1 - share)
    box = Image.fromarray(over[top:bottom, left:right].clip(0, 255).astype(np.uint8))
    longest = max(box.size)
    width, height = (max(1, int(side * fill * size / longest)) for side in box.size)
    picture = Image.new("RGB", (size, size), (int(255 * grey),) * 3)
    picture.paste(box.resize((width, height), Image.Resampling.BICUBIC), ((size - width) // 2, (size - height) // 2))
    return np.asarray(picture)


def matte_over(rgb: np.ndarray, grey: float) -> np.ndarray:
    """Coverage of what stands before a grey background: float32 [S, S] in 0..1.

    The background is what has the grey's colour and is connected with the picture's border through such pixels; along
    its outline alpha is solved for. Clothes of the background's colour are lost where they reach the outline.

    Args:
        rgb: uint8 [S, S, 3].
        grey: of the background, in 0..1; 1 is white.
    """
    like = (np.abs(rgb.astype(np.float32) / 255 - grey) < _LIKE_BACKDROP).all(2)
    labels, _ = ndimage.label(like)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    person = ~np.isin(labels, border[border > 0])
    reach = 2 * max(1, round(_BAND * len(rgb))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    solid = person.astype(np.uint8)
    uncertain = cv2.dilate(solid, disc) != cv2.erode(solid, disc)
    return solve_matte(rgb, person.astype(np.float32), uncertain).astype(np.float32)
