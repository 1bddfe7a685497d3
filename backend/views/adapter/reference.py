"""The picture of the person that MV-Adapter is shown, and the matte of pictures that it makes without a mesh."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from ...errors import BackendError
from ...prepare.matting import solve_matte
from .config import AdapterConfig

_SHOWN = 0.1
"""Alpha from which a pixel counts for the person's box. The published code takes all above 0; our mattes are soft."""
_LIKE_GREY = 0.06
"""Largest difference of a channel, in 0..1, from the grey background of a picture that the network has made: about
three times what the VAE leaves in plain areas. Not measured with published weights."""
_BAND = 6 / 768
"""Picture sides on both sides of a rough outline within which colours say what is person."""


def reference_picture(rgb: np.ndarray, alpha: np.ndarray, config: AdapterConfig) -> np.ndarray:
    """The person over grey, the longer side of their box ``config.fill`` of the picture's: uint8 [S, S, 3].

    Args:
        rgb: uint8 [H, W, 3], the person's own colours.
        alpha: float [H, W] in 0..1.
        config: see there.

    Raises:
        BackendError: kind ``no_person`` where ``alpha`` is empty.
    """
    rows, columns = np.nonzero(alpha > _SHOWN)
    if not len(rows):
        raise BackendError(
            "no_person", "The photo's matte is empty, so there is nobody to show.", "Choose a photo of one person."
        )
    # One pixel of margin, as published.
    top, left = max(rows.min() - 1, 0), max(columns.min() - 1, 0)
    bottom, right = min(rows.max() + 1, len(alpha)), min(columns.max() + 1, alpha.shape[1])
    share = alpha[..., None].astype(np.float32)
    over = rgb.astype(np.float32) * share + 255 * config.grey * (1 - share)
    box = Image.fromarray(over[top:bottom, left:right].clip(0, 255).astype(np.uint8))
    longest = max(box.size)
    width, height = (max(1, int(side * config.fill * config.picture / longest)) for side in box.size)
    picture = Image.new("RGB", (config.picture, config.picture), (int(255 * config.grey),) * 3)
    picture.paste(
        box.resize((width, height), Image.Resampling.BICUBIC),
        ((config.picture - width) // 2, (config.picture - height) // 2),
    )
    return np.asarray(picture)


def matte_over_grey(rgb: np.ndarray, config: AdapterConfig) -> np.ndarray:
    """Coverage of what stands before a grey background: float32 [S, S] in 0..1.

    The background is what has the grey's colour and is connected with the picture's border through such pixels; along
    its outline alpha is solved for.

    Args:
        rgb: uint8 [S, S, 3].
        config: see there.
    """
    like = (np.abs(rgb.astype(np.float32) / 255 - config.grey) < _LIKE_GREY).all(2)
    labels, _ = ndimage.label(like)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    person = ~np.isin(labels, border[border > 0])
    reach = 2 * max(1, round(_BAND * len(rgb))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    solid = person.astype(np.uint8)
    uncertain = cv2.dilate(solid, disc) != cv2.erode(solid, disc)
    return solve_matte(rgb, person.astype(np.float32), uncertain).astype(np.float32)
