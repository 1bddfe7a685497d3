"""Pictures: every format, odd and damaged files, colours, alpha, sizes, and what is no whole person."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from backend.errors import BackendError
from backend.options import ReconstructOptions
from backend.pipeline import Pipeline
from backend.prepare import BlazePose, load_photo, prepare

from .cases import MADE, REFUSED, ROOT, WARNED, Case, Said, left_behind, memory_peak

_PERSON = ROOT / "docs" / "demo" / "person.jpg"
_KINDS = {"image_unreadable", "image_too_small", "image_too_large", "no_person", "person_index"}
Write = Callable[[Path], None]


@cache
def _networks() -> BlazePose:
    return BlazePose("cpu")


@cache
def _pipeline() -> Pipeline:
    return Pipeline("cpu")


def _person(height: int = 640) -> Image.Image:
    """The demo person, on whose colours every variant is made."""
    image = Image.open(_PERSON).convert("RGB")
    image.thumbnail((height, height))
    return image


def _try(write: Write, name: str, whole: bool, colours: bool, folder: Path) -> Said:
    """Write a picture and give it to the first stage, or to the whole pipeline.

    Args:
        write: writes the file.
        name: of the file.
        whole: go on to an avatar.
        colours: it shows the demo person as he is: his colours must come out.
        folder: empty.
    """
    path = folder / name
    write(path)
    try:
        with memory_peak() as peak:
            photo = load_photo(path)
            if whole:
                made = _pipeline().reconstruct(path, folder / "avatar", ReconstructOptions(preset="surface"))
                warnings = made.warnings
            else:
                warnings = prepare(photo, _networks()).warnings
    except BackendError as error:
        lost = left_behind(folder, (name,))
        if error.kind not in _KINDS:
            raise
        return Said(REFUSED, f"{error.message} {error.fix}", lost, peak[0])
    if colours:
        small = (48, 72)
        wanted = np.asarray(_person().resize(small, Image.Resampling.BOX)).astype(float)
        found = np.asarray(Image.fromarray(photo.rgb).resize(small, Image.Resampling.BOX)).astype(float)
        away = float(np.abs(wanted - found).mean())
        if away > 12:
            return Said(MADE, "", f"the colours: they are {away:.0f} of 255 off", peak[0])
    return Said(WARNED if warnings else MADE, " ".join(warnings), "", peak[0])


def _save(image: Image.Image, path: Path, **options: object) -> None:
    image.save(path, **options)


def _bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, kind: int, bits: int, data: bytes, extra: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _plain_png(width: int, height: int, kind: int, bits: int, path: Path) -> None:
    """A whole PNG of one value, packed row by row so that no more than the file is ever in memory."""
    row = b"\0" + b"\x80" * (width * {0: 1, 2: 3, 6: 4}[kind] * bits // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    path.write_bytes(_png(width, height, kind, bits, data))


def _sixteen(image: Image.Image, factor: int, path: Path) -> None:
    cv2.imwrite(str(path), np.asarray(image)[..., ::-1].astype(np.uint16) * factor)


def _grey_sixteen(factor: int, path: Path) -> None:
    Image.fromarray(np.asarray(_person().convert("L")).astype(np.uint16) * factor).save(path)


def _floats(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values).save(path)


def _alpha(image: Image.Image, alpha: np.ndarray, path: Path) -> None:
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.fromarray(alpha))
    rgba.save(path)


def _on(width: int, height: int, image: Image.Image, at: tuple[int, int], path: Path, colour: int = 150) -> None:
    canvas = Image.new("RGB", (width, height), (colour,) * 3)
    canvas.paste(image, at)
    canvas.save(path)


def _exif(orientation: int, path: Path) -> None:
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = _person()
    exif = Image.Exif()
    exif[0x0112] = orientation
    (image.transpose(turned[orientation]) if orientation in turned else image).save(path, exif=exif, quality=92)


def _ellipse(size: tuple[int, int]) -> np.ndarray:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(12)))


def _rounded(size: tuple[int, int]) -> np.ndarray:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), 40, fill=255)
    return np.asarray(mask)


def _matte() -> np.ndarray:
    """uint8 [H, W], the demo person cut out along what the product finds."""
    photo = load_photo(_PERSON)
    prepared = prepare(photo, _networks())
    left, top, side = prepared.crop
    scale = side / len(prepared.alpha)
    # OpenCV's pixel centres are at integers.
    back = np.array([[scale, 0, left + 0.5 * scale - 0.5], [0, scale, top + 0.5 * scale - 0.5]])
    whole = cv2.warpAffine(prepared.alpha, back, photo.rgb.shape[1::-1], flags=cv2.INTER_AREA)
    return (cv2.resize(whole, _person().size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)


def _cut_out(rim: int, colour: tuple[int, int, int], path: Path) -> None:
    """A cut-out as other programs leave them, with a rim of one colour around it."""
    image, matte = np.array(_person()), _matte()
    if rim:
        wide = cv2.dilate(matte, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1,) * 2))
        share = (matte / 255)[..., None]
        image = (image * share + np.array(colour) * (1 - share)).astype(np.uint8)
        matte = wide
    _alpha(Image.fromarray(image), matte, path)


def _drawn(paint: Callable[[ImageDraw.ImageDraw, int, int], None], path: Path, colour: int = 140) -> None:
    canvas = Image.new("RGB", (600, 800), (colour, colour, colour + 8))
    paint(ImageDraw.Draw(canvas), 600, 800)
    canvas.filter(ImageFilter.GaussianBlur(1)).save(path)


def _covered(box: tuple[float, float, float, float], colour: tuple[int, int, int], path: Path) -> None:
    image = _person(1152)
    width, height = image.size
    ImageDraw.Draw(image).rectangle((box[0] * width, box[1] * height, box[2] * width, box[3] * height), fill=colour)
    image.save(path)


def _cropped(box: tuple[float, float, float, float], path: Path) -> None:
    image = _person(1152)
    width, height = image.size
    image.crop((int(box[0] * width), int(box[1] * height), int(box[2] * width), int(box[3] * height))).save(path)


def _fifo(path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 * 1024**3)


def _readable(person: Image.Image) -> Iterator[tuple[str, Write]]:
    """Files that show the demo person in his colours."""
    for suffix in ("jpg", "png", "webp", "avif", "bmp", "tif", "ppm", "tga", "jp2", "gif", "qoi", "dds", "pcx", "sgi"):
        yield f"format.{suffix}", partial(_save, person)
    yield "upper case.JPG", partial(_save, person)
    yield "no suffix", lambda path: path.write_bytes(_encoded(person, "PNG"))
    yield "png named.jpg", lambda path: path.write_bytes(_encoded(person, "PNG"))
    yield "progressive.jpg", partial(_save, person, progressive=True)
    yield "lzw.tif", partial(_save, person, compression="tiff_lzw")
    yield "cmyk.jpg", partial(_save, person.convert("CMYK"))
    yield "cmyk.tif", partial(_save, person.convert("CMYK"))
    yield "ycbcr.tif", partial(_save, person.convert("YCbCr"))
    yield "palette.png", partial(_save, person.quantize(128))
    yield "rgb16.png", partial(_sixteen, person, 257)
    yield "rgb16.tif", partial(_sixteen, person, 257)
    yield "rgb12in16.png", partial(_sixteen, person, 16)
    for orientation in range(1, 9):
        yield f"exif{orientation}.jpg", partial(_exif, orientation)
    yield "exif99.jpg", partial(_exif, 99)
    yield "exif garbage.jpg", partial(_save, person, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(200)))
    yield "bad profile.jpg", partial(_save, person, icc_profile=bytes(range(256)) * 2)
    for kind in ("gif", "webp", "png", "avif"):
        frames = [ImageOps.mirror(person), person.rotate(5)]
        yield f"animated.{kind}", partial(_save, person, save_all=True, append_images=frames, duration=100)
    yield "pages.tif", partial(_save, person, save_all=True, append_images=[ImageOps.mirror(person)])
    yield "two.mpo", partial(_save, person, save_all=True, append_images=[ImageOps.mirror(person)])
    yield "opaque alpha.png", partial(_save, person.convert("RGBA"))
    yield "alpha 128.png", partial(_alpha, person, np.full(person.size[::-1], 128, np.uint8))
    yield "alpha 0.png", partial(_alpha, person, np.zeros(person.size[::-1], np.uint8))
    yield "trailing bytes.jpg", partial(_bytes, _encoded(person, "JPEG", quality=92) + os.urandom(4000))


def _grey(person: Image.Image) -> Iterator[tuple[str, Write]]:
    grey = np.asarray(person.convert("L")).astype(np.float32)
    spoilt = grey / 255
    spoilt[0, 0] = np.nan
    yield "grey.jpg", partial(_save, person.convert("L"))
    yield "grey alpha.png", partial(_save, person.convert("LA"))
    yield "grey16.png", partial(_grey_sixteen, 257)
    yield "grey12in16.png", partial(_grey_sixteen, 16)
    yield "grey10in16.png", partial(_grey_sixteen, 4)
    yield "float 0-1.tif", partial(_floats, grey / 255)
    yield "float 0-255.tif", partial(_floats, grey)
    yield "float nan.tif", partial(_floats, spoilt)
    yield "int32.tif", partial(_floats, (grey * 1000 - 50000).astype(np.int32))
    yield "autocontrast.png", partial(_save, ImageOps.autocontrast(person.convert("L")))


def _unreadable(person: Image.Image) -> Iterator[tuple[str, Write, str]]:
    jpeg, png = _encoded(person, "JPEG", quality=92), _encoded(person, "PNG")
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    yield "text.jpg", partial(_bytes, b"hello, not a picture\n"), "not a picture"
    yield "empty.jpg", partial(_bytes, b""), "not a picture"
    yield "half.jpg", partial(_bytes, jpeg[: len(jpeg) // 2]), "damaged"
    yield "head.jpg", partial(_bytes, jpeg[:300]), ""
    yield "half.png", partial(_bytes, png[: len(png) // 2]), "damaged"
    yield "bad sum.png", partial(_bytes, bytes(broken)), "damaged"
    yield "no pixels.png", partial(_bytes, _png(300, 300, 2, 8, zlib.compress(b"0"))), "damaged"
    yield "claims 140 MP.png", partial(_bytes, _png(12000, 11600, 2, 8, zlib.compress(bytes(100)))), "damaged"
    yield "claims 2^31.png", partial(_bytes, _png(2**31 - 1, 2**31 - 1, 2, 8, zlib.compress(b"0"))), "pixels"
    yield "20000 x 20000.png", partial(_plain_png, 20000, 20000, 2, 8), "20000"
    yield "1 x 1.png", partial(_save, Image.new("RGB", (1, 1))), "1 x 1"
    yield "1 x 4000.png", partial(_save, Image.new("RGB", (1, 4000))), "1 x 4000"
    yield "20000 x 40.png", partial(_save, Image.new("RGB", (20000, 40))), "strip"
    yield "40 x 20000.png", partial(_save, Image.new("RGB", (40, 20000))), "strip"
    yield "drawing.svg", partial(_bytes, b"<svg xmlns='http://www.w3.org/2000/svg' width='600'/>"), "SVG"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\nshowpage\n"
    yield "eps.jpg", partial(_bytes, eps), "EPS"
    yield "binary eps.jpg", partial(_bytes, b"\xc5\xd0\xd3\xc6" + bytes(28) + eps), "EPS"
    yield "page.pdf", partial(_save, person), "PDF"
    yield "wmf.jpg", partial(_bytes, b"\xd7\xcd\xc6\x9a" + bytes(300)), "metafile"
    yield "iphone.heic", partial(_bytes, struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(3000)), ""
    yield "video.jpg", partial(_bytes, struct.pack(">I", 24) + b"ftypisom" + bytes(3000)), "video"
    yield "raw.cr2", partial(_bytes, b"II*\0\x10\0\0\0CR\x02\0" + bytes(4000)), "raw"
    yield "picture.exr", partial(_bytes, b"v/1\x01\x02\0\0\0" + bytes(1000)), "OpenEXR"
    yield "picture.hdr", partial(_bytes, b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 8 +X 8\n"), "HDR"
    yield "archive.jpg", partial(_bytes, b"PK\x03\x04" + bytes(200)), "zip"
    yield "file.blend", partial(_bytes, b"BLENDER-v500" + bytes(200)), "Blender"
    yield "sparse 8 GB.jpg", _sparse, "GB"
    yield "pipe.jpg", _fifo, ""
    yield "folder.jpg", Path.mkdir, "folder"
    yield "nobody there.jpg", lambda path: None, "cannot be read"
    bomb = zlib.compress(bytes(300 * 1024**2), 9)
    text = _chunk(b"zTXt", b"Comment\0\0" + bomb)
    profile = _chunk(b"iCCP", b"icc\0\0" + bomb)
    for name, extra in (("text bomb.png", text), ("profile bomb.png", profile)):
        yield name, partial(_bytes, _png(300, 300, 2, 8, zlib.compress(bytes(300 * 901)), extra)), ""


def _nobody() -> Iterator[tuple[str, Write]]:
    noise = np.random.default_rng(0).integers(0, 256, (800, 600, 3), dtype=np.uint8)
    yield "black.png", partial(_save, Image.new("RGB", (300, 900)))
    yield "transparent.png", partial(_save, Image.new("RGBA", (600, 800), (10, 20, 30, 0)))
    yield "noise.png", partial(_save, Image.fromarray(noise))
    yield "149 megapixels grey16.png", partial(_plain_png, 12200, 12200, 0, 16)
    yield "149 megapixels rgb.png", partial(_plain_png, 12200, 12200, 2, 8)
    yield "149 megapixels rgba.png", partial(_plain_png, 12200, 12200, 6, 8)
    yield "ball.png", partial(_drawn, lambda d, w, h: d.ellipse((150, 250, 450, 550), fill=(200, 60, 40)))
    yield "house.png", partial(
        _drawn, lambda d, w, h: (d.rectangle((150, 400, 450, 700), fill=(90, 60, 40)), d.polygon(
            [(120, 400), (300, 220), (480, 400)], fill=(150, 40, 30)))
    )  # fmt: skip
    yield (
        "stripes.png",
        partial(_drawn, lambda d, w, h: [d.rectangle((0, y, w, y + 20), fill=(20, 20, 20)) for y in range(0, h, 40)]),
    )
    yield "hand.png", partial(_cropped, (0.18, 0.45, 0.38, 0.65))
    yield "legs.png", partial(_cropped, (0.15, 0.5, 0.85, 1.0))
    yield "shoes.png", partial(_cropped, (0.25, 0.86, 0.75, 1.0))
    yield "shirt.png", partial(_cropped, (0.3, 0.25, 0.7, 0.45))
    yield "very blurred.png", partial(_save, _person(1152).filter(ImageFilter.GaussianBlur(25)))


def _doubtful() -> Iterator[tuple[str, Write, str]]:
    person = _person(1152)
    width, height = person.size
    yield "small 60.png", partial(_on, 600, 800, _person(60), (280, 370)), "pixels tall"
    yield "small 140.png", partial(_on, 600, 800, _person(140), (250, 330)), "pixels tall"
    yield "blurred 8.png", partial(_save, person.filter(ImageFilter.GaussianBlur(8))), "blurred"
    yield "to the waist.png", partial(_cropped, (0.0, 0.0, 1.0, 0.5)), "waist"
    yield "to the knees.png", partial(_cropped, (0.0, 0.0, 1.0, 0.72)), "knees"
    yield "no head.png", partial(_cropped, (0.0, 0.16, 1.0, 1.0)), "head"
    yield "left half.png", partial(_cropped, (0.0, 0.0, 0.5, 1.0)), "edge"
    yield "wall.png", partial(_covered, (0.0, 0.72, 1.0, 1.0), (150, 140, 128)), "hides"
    yield "table.png", partial(_covered, (0.0, 0.5, 1.0, 1.0), (90, 80, 70)), "hides"
    face = person.copy()
    box = (int(0.4 * width), int(0.06 * height), int(0.6 * width), int(0.19 * height))
    face.paste(face.crop(box).filter(ImageFilter.GaussianBlur(18)), box[:2])
    yield "blurred face.png", partial(_save, face), ""
    beside = person.copy()
    other = ImageOps.mirror(person).point(lambda v: int(0.55 * v))
    beside.paste(other, (int(0.26 * width), 0), Image.fromarray(cv2.resize(_matte()[:, ::-1], person.size)))
    beside.paste(person, (0, 0), Image.fromarray(cv2.resize(_matte(), person.size)))
    yield "two touching.png", partial(_save, beside), "person"
    four = Image.new("RGB", (4 * width // 3, height // 3), (150,) * 3)
    small = person.resize((width // 3, height // 3))
    for k in range(4):
        four.paste(small if k % 2 else ImageOps.mirror(small), (k * (width // 3), 0))
    yield "four people.png", partial(_save, four), "people"


def cases(folder: Path) -> list[Case]:
    """The cases of this area; nothing is shared between them."""
    person, found = _person(), []

    def add(
        name: str, write: Write, wanted: tuple[str, ...], says: str = "", whole: bool = False, colours: bool = False
    ) -> None:
        found.append(Case(name, partial(_try, write, name, whole, colours), wanted, says, 200.0))

    for name, write in _readable(person):
        add(name, write, (MADE,), whole=name in ("format.webp", "cmyk.jpg", "rgb12in16.png", "exif6.jpg"), colours=True)
    for name, write in _grey(person):
        add(name, write, (MADE,), whole=name == "float 0-1.tif")
    for name, write, says in _unreadable(person):
        add(name, write, (REFUSED,), says)
    for name, write in _nobody():
        add(name, write, (REFUSED,))
    for name, write, says in _doubtful():
        add(name, write, (WARNED,), says, whole=name in ("wall.png", "left half.png"))
    frames = {"vignette.png": _ellipse(person.size), "rounded.png": _rounded(person.size)}
    for name, alpha in frames.items():
        add(name, partial(_alpha, person, alpha), (MADE, WARNED), whole=True)
    add("one opaque pixel.png", partial(_alpha, person, _one_pixel(person.size)), (MADE, WARNED, REFUSED))
    for name, rim, colour in (("cut out", 0, (0, 0, 0)), ("white rim", 4, (252,) * 3), ("green rim", 4, (40, 220, 60))):
        add(f"{name}.png", partial(_cut_out, rim, colour), (MADE,), whole=True)
    for name, turned in (("upside down", 180), ("lying", 90), ("slanted", 45)):
        add(f"{name}.png", partial(_save, _person(1152).rotate(turned, expand=True, fillcolor=(150,) * 3)), (MADE,))
    add("mirrored.png", partial(_save, ImageOps.mirror(person)), (MADE,))
    return found


def _one_pixel(size: tuple[int, int]) -> np.ndarray:
    alpha = np.zeros(size[::-1], np.uint8)
    alpha[5, 5] = 255
    return alpha
