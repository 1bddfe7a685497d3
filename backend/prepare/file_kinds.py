"""What a file that is no readable picture is, told by its first bytes, for a sentence that says what to do."""

from __future__ import annotations

READABLE = (
    "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "MPO", "BMP", "DIB", "GIF", "JPEG2000", "PPM", "TGA", "DDS", "QOI",
    "PCX", "PSD", "SGI", "ICO", "ICNS",
)  # fmt: skip
"""Pillow's names of the formats that are opened. Those that run an interpreter (EPS, PDF, WMF) are not among them."""
HEAD_BYTES = 64

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AS_JPEG = "Save it as JPEG or PNG in the program that made it, and choose that file."
_STARTS = (
    (b"%!PS", "an EPS or PostScript drawing", _AS_JPEG),
    (b"\xc5\xd0\xd3\xc6", "an EPS drawing", _AS_JPEG),
    (b"%PDF", "a PDF document", "Save the page with the photo as JPEG or PNG, and choose that file."),
    (b"<svg", "an SVG drawing", _AS_JPEG),
    (b"<?xml", "an XML document", "Choose a photo."),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile", _AS_JPEG),
    (b"v/1\x01", "an OpenEXR picture", "Save it as PNG with the colours as they should look, and choose that file."),
    (b"#?RADIANCE", "a Radiance HDR picture", "Save it as PNG with the colours as they should look."),
    (b"#?RGBE", "a Radiance HDR picture", "Save it as PNG with the colours as they should look."),
    (b"FUJIFILMCCD-RAW", "a camera's raw file", "Develop it as JPEG or PNG, and choose that file."),
    (b"II*\x00\x10\x00\x00\x00CR", "a camera's raw file", "Develop it as JPEG or PNG, and choose that file."),
    (b"BLENDER", "a Blender file", "Choose a photo."),
    (b"PK\x03\x04", "a zip archive", "Unpack it and choose the photo in it."),
    (b"\x1f\x8b", "a compressed archive", "Unpack it and choose the photo in it."),
)


def describe_kind(head: bytes) -> tuple[str, str] | None:
    """What a file with these first bytes is, and what to do; None where they tell nothing.

    Args:
        head: the first :data:`HEAD_BYTES` bytes.
    """
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _HEIF_BRANDS:
            return (
                "a HEIC picture, which needs the package pillow-heif",
                "Save it as JPEG, or run `pip install pillow-heif` in the backend's environment (iPhones: Settings > "
                "Camera > Formats > Most Compatible).",
            )
        if brand == b"avif":
            return "an AVIF picture that cannot be read here", _AS_JPEG
        if brand == b"crx ":
            return "a camera's raw file", "Develop it as JPEG or PNG, and choose that file."
        return "a video", "Save one frame of it as JPEG or PNG, and choose that file."
    start = head.lstrip()
    for magic, what, fix in _STARTS:
        if start.startswith(magic):
            return what, fix
    return None
