"""Reading photos of every kind, and refusing what is none."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import BackendError
from backend.prepare.image import MAX_PIXELS, WORKING_SIDE, load_photo


def _picture(width: int = 96, height: int = 64) -> np.ndarray:
    """A red top left corner on a ramp: tells every rotation and mirror image apart."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 0 + 40, 60 + x, 60 + 2 * y], -1).clip(0, 255).astype(np.uint8)
    rgb[:16, :16] = (250, 10, 10)
    return rgb


def test_png_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(_picture()).save(path)
    photo = load_photo(path)
    assert np.array_equal(photo.rgb, _picture()) and photo.alpha is None and photo.name == "a.png"
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    upright = _picture()
    # The TIFF specification: where row 0 and column 0 of the stored picture are in the upright one.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_photo(tmp_path / "a.png").rgb, upright)


def test_upper_case_jpeg_grey(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    Image.fromarray(grey).save(tmp_path / "A.JPG", format="JPEG", quality=98)
    rgb = load_photo(tmp_path / "A.JPG").rgb
    assert rgb.shape == (60, 80, 3) and np.abs(rgb.astype(int) - grey[..., None]).max() <= 3


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 65535, 64), (48, 1)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    rgb = load_photo(tmp_path / "a.png").rgb
    assert np.abs(rgb[..., 0].astype(float) - values / 257).max() <= 1 and (rgb[..., 0] == rgb[..., 2]).all()


def test_palette_with_transparency_is_a_matte(tmp_path: Path) -> None:
    indexed = np.zeros((48, 48), np.uint8)
    indexed[12:36, 12:36] = 1
    image = Image.fromarray(indexed, mode="P")
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    photo = load_photo(tmp_path / "a.png")
    assert photo.alpha is not None and np.array_equal(photo.alpha > 0.5, indexed == 1)
    assert (photo.rgb[24, 24] == (200, 100, 50)).all() and (photo.rgb[0, 0] == 128).all()


def test_alpha_is_a_matte_unless_it_says_nothing(tmp_path: Path) -> None:
    rgba = np.dstack([_picture(), np.full((64, 96), 255, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "solid.png")
    solid = load_photo(tmp_path / "solid.png")
    assert solid.alpha is None and np.array_equal(solid.rgb, _picture())
    rgba[:, :48, 3] = 51
    Image.fromarray(rgba).save(tmp_path / "half.png")
    half = load_photo(tmp_path / "half.png")
    assert half.alpha is not None and np.allclose(half.alpha[:, :48], 0.2) and np.allclose(half.alpha[:, 48:], 1)
    assert np.abs(half.rgb[40, 20] - (0.2 * _picture()[40, 20] + 0.8 * 128)).max() <= 1


def test_other_modes(tmp_path: Path) -> None:
    Image.fromarray(_picture()).convert("CMYK").save(tmp_path / "a.jpg")
    Image.fromarray(_picture()).convert("1").save(tmp_path / "b.png")
    Image.fromarray(_picture()).convert("LA").save(tmp_path / "c.png")
    for name in ("a.jpg", "b.png", "c.png"):
        photo = load_photo(tmp_path / name)
        assert photo.rgb.shape == (64, 96, 3) and photo.rgb.dtype == np.uint8 and photo.alpha is None


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 2 * WORKING_SIDE, 3), 90, np.uint8)).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert photo.rgb.shape == (30, WORKING_SIDE, 3) and (photo.rgb == 90).all()


def _png_header(width: int, height: int) -> bytes:
    """The start of a PNG of that size, with hardly any pixels behind it."""
    out = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"0"))):
        out += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return out


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"", "image_unreadable"),
        (b"this is text, not a picture", "image_unreadable"),
        (_png_header(20000, 20000), "image_too_large"),
        (_png_header(300, 300), "image_unreadable"),
    ],
    ids=["empty", "text", "20000x20000", "no pixels"],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BackendError) as caught:
        load_photo(tmp_path / "a.png")
    assert caught.value.kind == kind and caught.value.message.endswith(".") and caught.value.fix


def test_truncated_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        path = tmp_path / name
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(BackendError) as caught:
            load_photo(path)
        assert caught.value.kind == "image_unreadable"


def test_tiny_missing_and_folder(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    for path, kind in (
        (tmp_path / "one.png", "image_too_small"),
        (tmp_path / "nothing.png", "image_unreadable"),
        (tmp_path, "image_unreadable"),
    ):
        with pytest.raises(BackendError) as caught:
            load_photo(path)
        assert caught.value.kind == kind
    assert 20000 * 20000 > MAX_PIXELS > 100e6  # a 100 megapixel camera passes
