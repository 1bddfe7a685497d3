"""Reading photos of every kind, and refusing what is none."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
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
    for everywhere in (0, 128):
        rgba[..., 3] = everywhere
        Image.fromarray(rgba).save(tmp_path / "even.png")
        even = load_photo(tmp_path / "even.png")
        assert even.alpha is None and np.array_equal(even.rgb, _picture())
    rgba[..., 3] = 255
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
    Image.fromarray(np.full((80, 2 * WORKING_SIDE, 3), 90, np.uint8)).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert photo.rgb.shape == (40, WORKING_SIDE, 3) and (photo.rgb == 90).all()


def test_strips_are_refused(tmp_path: Path) -> None:
    for size in ((20000, 40), (40, 20000)):
        Image.new("RGB", size).save(tmp_path / "a.png")
        with pytest.raises(BackendError, match="strip") as caught:
            load_photo(tmp_path / "a.png")
        assert caught.value.kind == "image_too_small"


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


# Primaries adapted to D50, columns red, green, blue, as ICC.1:2022 stores them (Display P3 and sRGB, rounded).
_P3_TO_PCS = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
_SRGB_TO_PCS = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])


def _matrix_profile(to_pcs: np.ndarray, gamma: float, name: bytes) -> bytes:
    """A display profile of three primaries and one exponent, after ICC.1:2001."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    description = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(1 + 78)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none" + bytes(1)}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    for letter, column in zip(b"rgb", to_pcs.T):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, column))
        tags[bytes([letter]) + b"TRC"] = curve
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for key, content in tags.items():
        content += bytes(-len(content) % 4)
        table += key + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4s4s4s4s4s", start + len(body), b"none", b"\x02\x10\0\0", b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _srgb_of(stored: np.ndarray, to_pcs: np.ndarray, gamma: float) -> np.ndarray:
    linear = np.linalg.solve(_SRGB_TO_PCS, to_pcs @ (stored / 255) ** gamma).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_colour_profiles_are_followed_whatever_they_call_themselves(tmp_path: Path) -> None:
    stored = np.array([211.0, 55.0, 52.0])
    pixels = np.tile(stored.astype(np.uint8), (64, 64, 1))
    alpha = np.full((64, 64, 1), 255, np.uint8)
    alpha[:32] = 0
    for name in (b"Display P3", b"sRGB IEC61966-2.1"):
        profile = _matrix_profile(_P3_TO_PCS, 2.2, name)
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
        shown = load_photo(tmp_path / "a.png").rgb[5, 5]
        assert np.abs(shown - _srgb_of(stored, _P3_TO_PCS, 2.2)).max() <= 2 and shown[0] > 225, name
        Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "b.png", icc_profile=profile)
        photo = load_photo(tmp_path / "b.png")
        assert photo.alpha is not None and (photo.rgb[40, 5] == shown).all()
    Image.fromarray(pixels).save(tmp_path / "c.png", icc_profile=b"no profile at all" * 20)
    assert (load_photo(tmp_path / "c.png").rgb[5, 5] == stored).all()


def test_adobe_rgb_by_the_cameras_note(tmp_path: Path) -> None:
    # Adobe RGB (1998): primaries of section 4.3.1.2 adapted to D50, exponent 2.19921875.
    adobe = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
    stored = np.array([120.0, 140.0, 90.0])
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA001: 0xFFFF, 0xA005: {1: "R03"}})
    Image.fromarray(np.tile(stored.astype(np.uint8), (64, 64, 1))).save(tmp_path / "a.jpg", quality=100, exif=exif)
    shown = load_photo(tmp_path / "a.jpg").rgb[5, 5]
    assert np.abs(shown - _srgb_of(stored, adobe, 563 / 256)).max() <= 2 and np.abs(shown - stored).max() > 8


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bits_are_found_by_the_range(tmp_path: Path, bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 64)
    values = np.tile(ramp, (48, 1)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    cv2.imwrite(str(tmp_path / "rgb.png"), np.dstack([values // 2, values, values // 4]))
    cv2.imwrite(str(tmp_path / "rgb.tif"), np.dstack([values // 2, values, values // 4]))
    wanted = ramp / (2**bits - 1) * 255
    assert np.abs(load_photo(tmp_path / "grey.png").rgb[3, :, 1] - wanted).max() <= 1
    for name in ("rgb.png", "rgb.tif"):
        rgb = load_photo(tmp_path / name).rgb[3]
        assert np.abs(rgb - wanted[:, None] * [0.25, 1, 0.5]).max() <= 1.5, name


def test_floats_and_signed_numbers(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    spoilt = ramp.copy()
    spoilt[0, 0] = np.nan
    for values in (ramp, spoilt, ramp * 255, (ramp * 255000 - 50000).astype(np.int32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        rgb = load_photo(tmp_path / "a.tif").rgb[5, :, 0]
        assert np.abs(rgb - ramp[5] * 255).max() <= 1.5


def test_what_runs_an_interpreter_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(subprocess, "check_call", forbidden)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\nshowpage\n"
    kinds = {
        "EPS": eps,
        "PDF": b"%PDF-1.7\n" + bytes(200),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "HEIC": struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(300),
        "video": struct.pack(">I", 24) + b"ftypisom" + bytes(300),
        "raw": b"II*\0\x10\0\0\0CR\x02\0" + bytes(300),
        "OpenEXR": b"v/1\x01" + bytes(300),
    }
    for word, content in kinds.items():
        (tmp_path / "photo.jpg").write_bytes(content)
        with pytest.raises(BackendError, match=word) as caught:
            load_photo(tmp_path / "photo.jpg")
        assert caught.value.kind == "image_unreadable" and caught.value.fix


def test_only_ordinary_files_of_a_bearable_size_are_opened(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(8 * 1024**3)
    with pytest.raises(BackendError, match=r"8\.0 GB") as caught:
        load_photo(tmp_path / "sparse.jpg")
    assert caught.value.kind == "image_too_large"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(BackendError, match="not an ordinary file"):
            load_photo(tmp_path / "pipe.jpg")
    with pytest.raises(BackendError) as caught:
        load_photo(tmp_path / "nul\0.jpg")
    assert caught.value.kind == "image_unreadable"
