"""Any decoded picture as 8-bit sRGB, as a colour-managed viewer shows it."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms

_EXIF, _INTEROP = 0x8769, 0xA005
_COLOUR_SPACE, _INTEROP_INDEX = 0xA001, 1
_SAME = 1.5
"""Of 255; a profile that moves no colour further says sRGB."""
_BITS = (8, 10, 12, 14, 16)
# Adobe RGB (1998), section 4.3.1: primaries and white (D65, as sRGB's), exponent 563 / 256.
_ADOBE = np.array([[1.398357, -0.398357, 0.0], [0.0, 1.0, 0.0], [0.0, -0.042929, 1.042929]])
_ADOBE_GAMMA = 563 / 256
_PROFILED = ("RGB", "CMYK", "L", "LAB")
_LARGEST_PROFILE = 16 * 1024 * 1024


@cache
def _probe() -> np.ndarray:
    """uint8 [4, 64, 3], colours that tell profiles apart: every fourth level of each channel, and greys."""
    steps = np.linspace(0, 255, 64).round().astype(np.uint8)
    rows = np.zeros((4, 64, 3), np.uint8)
    for channel in range(3):
        rows[channel, :, channel] = steps
    rows[3] = steps[:, None]
    return rows


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB by its embedded profile, or by its camera's note that it is Adobe RGB.

    Args:
        image: of any mode. What has no usable profile is taken for sRGB.

    Returns:
        Mode RGB where a profile was followed, else ``image``; an alpha channel stays.
    """
    data = image.info.get("icc_profile")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    base = image.convert("RGB" if image.mode == "RGBA" else "L") if alpha is not None else image
    if base.mode == "P" and data and "transparency" not in image.info:
        base = base.convert("RGB")
    shown: Image.Image | None = None
    if data and len(data) <= _LARGEST_PROFILE and base.mode in _PROFILED:
        shown = _by_profile(base, data)
    elif base.mode == "RGB" and _is_adobe_rgb(image):
        shown = _from_adobe(base)
    if shown is None:
        return image
    if alpha is not None:
        shown.putalpha(alpha)
    return shown


def _by_profile(image: Image.Image, data: bytes) -> Image.Image | None:
    """None where the profile cannot be followed or says sRGB. Its description is no help: many are copied."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode == "RGB":
            probe = Image.fromarray(_probe())
            moved = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - _probe()
            if np.abs(moved).max() <= _SAME:
                return None
        return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether the camera says so in the way of DCF: an uncalibrated colour space with the interoperability "R03"."""
    try:
        exif = image.getexif()
        return (
            exif.get_ifd(_EXIF).get(_COLOUR_SPACE) == 0xFFFF
            and str(exif.get_ifd(_INTEROP).get(_INTEROP_INDEX, "")).strip("\x00 ") == "R03"
        )
    except Exception:  # a damaged note may fail in any way at all, and the picture is what was asked for
        return False


def _from_adobe(image: Image.Image) -> Image.Image:
    linear = (np.arange(256) / 255) ** _ADOBE_GAMMA
    values = linear.astype(np.float32)[np.asarray(image)] @ _ADOBE.T.astype(np.float32)
    np.clip(values, 0, 1, out=values)
    # IEC 61966-2-1.
    coded = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    return Image.fromarray((coded * 255).round().astype(np.uint8))


def by_range(values: np.ndarray) -> np.ndarray:
    """Greys or colours of any number type as uint8, scaled by the range that they use.

    Files do not say how many of their bits count. Whole numbers use the smallest usual number of bits that holds the
    largest; floats 0..1 where nothing lies far beyond, else as whole numbers do. What is negative or larger than 16
    bits is stretched from its lowest to its highest value.

    Args:
        values: [...], integer or float.
    """
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        start, top = low, max(high - low, 1e-6)
    elif np.issubdtype(values.dtype, np.floating) and high <= 1.5:
        start, top = 0.0, 1.0
    else:
        start, top = 0.0, float(next(2**bits for bits in _BITS if high < 2**bits) - 1)
    scaled = (values.astype(np.float32) - start) * (255 / top)
    return scaled.round().clip(0, 255).astype(np.uint8)
