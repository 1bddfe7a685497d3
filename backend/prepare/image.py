"""Read any photo that Pillow opens as upright 8-bit sRGB with an optional alpha channel."""

from __future__ import annotations

import contextlib
import hashlib
import math
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ..errors import BackendError
from ..options import shown
from .display import by_range, to_srgb
from .file_kinds import HEAD_BYTES, READABLE, describe_kind

MIN_SIDE = 32
"""Pixels; nobody can be found in less."""
MAX_PIXELS = 150_000_000
"""A 100 megapixel camera's picture passes; beyond that memory runs out on a laptop."""
MAX_BYTES = 1024**3
"""The largest file that is opened."""
WORKING_SIDE = 3072
"""Pixels; larger pictures are reduced to this long side: the person's crop is 1024 px anyway."""
_CHUNK = 1024 * 1024
_SAVE_AGAIN = "Open it in an image program, save it as PNG or JPEG and try again."


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    Attributes:
        rgb: uint8 [H, W, 3], display sRGB; transparent parts are composited on mid grey.
        alpha: float32 [H, W] in 0..1 when the file carries one that says something, else None. It may be a cut-out of
            the person or the frame of a picture.
        name: file name.
        sha256: of the file's bytes.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    name: str
    sha256: str


def load_photo(path: Path, longest: int = WORKING_SIDE) -> Photo:
    """Read ``path``, apply its colour profile and its EXIF rotation, keep its alpha.

    Args:
        path: of the file.
        longest: pixels; a larger picture is reduced to this long side.

    Raises:
        BackendError: kinds ``image_unreadable``, ``image_too_small``, ``image_too_large``.
    """
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with _opened(path) as stream:
        kind = None
        try:
            kind = describe_kind(stream.read(HEAD_BYTES))
            stream.seek(0)
            image, sha256 = _decode(stream, longest)
        except BackendError:
            raise
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
            if kind is not None:
                what, fix = kind
                raise BackendError("image_unreadable", f"{shown(path.name)} is {what}.", fix) from error
            why = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
            raise BackendError(
                "image_unreadable",
                f"{shown(path.name)} is not a picture that can be read, or it is damaged{why}.",
                _SAVE_AGAIN,
            ) from error
    rgb, alpha = image[..., :3], None
    if image.shape[2] == 4:
        alpha = image[..., 3].astype(np.float32) / 255
        if np.ptp(alpha) < 0.02:
            alpha = None  # an alpha channel that says nothing
        else:
            rgb = (rgb * alpha[..., None] + 128 * (1 - alpha[..., None])).astype(np.uint8)
    return Photo(np.ascontiguousarray(rgb), alpha, path.name, sha256)


def _opened(path: Path) -> BinaryIO:
    """The file, if it is one: a pipe or a device would never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not an ordinary file"
            raise BackendError("image_unreadable", f"{shown(path.name)} is {what}.", "Choose a picture file.")
        if status.st_size > MAX_BYTES:
            raise BackendError(
                "image_too_large",
                f"The file {shown(path.name)} has {status.st_size / 1024**3:.1f} GB, more than can be handled.",
                "Save the picture as JPEG and try again.",
            )
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise BackendError(
            "image_unreadable", f"The file {shown(path.name)} cannot be read ({shown(reason)}).", "Choose another file."
        ) from error


def _decode(stream: BinaryIO, longest: int) -> tuple[np.ndarray, str]:
    """uint8 [H, W, 3 or 4], upright, sRGB, at most ``longest`` a side; and the file's SHA-256."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # our own limit says what to do
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.init()
        image = Image.open(stream, formats=[name for name in READABLE if name in Image.OPEN])
        _check_size(*image.size)
        sixteen = any(";16" in str(tile[3]) for tile in image.tile)
        image.draft("RGB", (longest, longest))  # JPEG decodes at a fraction of its size
        image.load()
        image = ImageOps.exif_transpose(image)
        if sixteen and image.mode in ("RGB", "RGBA"):
            image = _with_all_bits(stream, image)
        image = to_srgb(_reduced(image, longest))
        if "A" in image.getbands() or "transparency" in image.info:
            values = np.asarray(image.convert("RGBA"))
        else:
            values = np.asarray(image.convert("RGB"))
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return values, digest.hexdigest()


def _check_size(width: int, height: int) -> None:
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
    if min(width, height) * min(1.0, WORKING_SIDE / max(width, height)) < MIN_SIDE:
        raise BackendError(
            "image_too_small",
            f"The picture of {width} x {height} pixels is a strip in which nobody can be found.",
            "Cut it to the part that shows the person and try again.",
        )


def _with_all_bits(stream: BinaryIO, image: Image.Image) -> Image.Image:
    """Pillow keeps the upper 8 of 16 bits of each colour, which leaves little of 12 bits: read those anew."""
    highest = max(high for _, high in image.convert("RGB").getextrema())
    if highest >= 64:
        return image
    stream.seek(0)
    # The size was checked before; the rotation is the file's own, as Pillow was asked to take it away.
    values = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != (image.height, image.width):
        return image
    found = Image.fromarray(by_range(np.ascontiguousarray(values[..., ::-1])))
    if image.mode == "RGBA":
        found.putalpha(image.getchannel("A"))
    found.info = image.info
    return found


def _reduced(image: Image.Image, longest: int) -> Image.Image:
    """At most ``longest`` a side, with 8 bits a channel, in a mode that has a meaning when it is resized."""
    factor = min(1.0, longest / max(image.size))
    size = tuple(max(1, math.floor(side * factor + 0.5)) for side in image.size)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if factor < 1:
            values = values if values.dtype == np.uint16 else values.astype(np.float32)
            values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        return Image.fromarray(by_range(values))
    if image.mode in ("1", "P", "PA", "HSV", "La", "RGBa"):
        see_through = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
        profile = image.info.get("icc_profile")
        image = image.convert("RGBA" if see_through else "L" if image.mode == "1" else "RGB")
        image.info.pop("transparency", None)
        if profile:
            image.info["icc_profile"] = profile
    return image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
