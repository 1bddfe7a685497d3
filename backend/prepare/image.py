"""Read any photo that Pillow opens as upright 8-bit RGB with an optional matte."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ..errors import BackendError

MIN_SIDE = 32
"""Pixels; nobody can be found in less."""
MAX_PIXELS = 150_000_000
"""A 100 megapixel camera's picture passes; beyond that memory runs out on a laptop."""
WORKING_SIDE = 3072
"""Pixels; larger pictures are reduced to this long side: the person's crop is 1024 px anyway."""


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    Attributes:
        rgb: uint8 [H, W, 3], display sRGB; transparent parts are composited on mid grey.
        alpha: float32 [H, W] in 0..1 when the file carries a real matte, else None.
        name: file name.
        sha256: of the file's bytes.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    name: str
    sha256: str


def _to_8bit(image: Image.Image) -> Image.Image:
    """16-bit and float greys to 8 bits (Pillow would clip them instead of scaling)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        # Files do not say how many of the bits they use: 16-bit range if anything lies above 8 bits.
        top = 255.0 if values.max() <= 255 else 65535.0
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    return image


def load_photo(path: Path) -> Photo:
    """Read ``path``, apply its EXIF rotation, keep its alpha as a matte.

    Raises:
        BackendError: kinds ``image_unreadable``, ``image_too_small``, ``image_too_large``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(
            "image_unreadable", f"The file {path.name} cannot be read ({error.strerror}).", "Choose another file."
        ) from error
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # our own limit below says what to do
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BackendError(
                    "image_too_large",
                    f"The picture has {width} x {height} pixels, more than can be handled.",
                    "Save it with at most 12000 pixels on its longer side and try again.",
                )
            if min(width, height) < MIN_SIDE:
                raise BackendError(
                    "image_too_small",
                    f"The picture has only {width} x {height} pixels.",
                    "Choose a photo in which the person is at least 200 pixels tall.",
                )
            image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # JPEG decodes at a fraction of its size
            image.load()
            image = ImageOps.exif_transpose(image)
    except BackendError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise BackendError(
            "image_unreadable",
            f"{path.name} is not a picture that can be read, or it is damaged ({error}).",
            "Open it in an image program, save it as PNG or JPEG and try again.",
        ) from error
    if max(image.size) > WORKING_SIDE:
        factor = WORKING_SIDE / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = _to_8bit(image)
        image = (image.convert("RGBA") if image.mode == "P" else image).resize(size, Image.Resampling.LANCZOS)
    image = _to_8bit(image)
    alpha = None
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3].astype(np.float32) / 255
        if alpha.min() > 0.98 or alpha.max() < 0.02:
            alpha = None  # an alpha channel that says nothing
            rgb = rgba[..., :3]
        else:
            rgb = (rgba[..., :3] * alpha[..., None] + 128 * (1 - alpha[..., None])).astype(np.uint8)
    else:
        rgb = np.asarray(image.convert("RGB"))
    return Photo(np.ascontiguousarray(rgb), alpha, path.name, hashlib.sha256(data).hexdigest())
