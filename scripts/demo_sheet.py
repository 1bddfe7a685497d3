"""The demo's contact sheet: the photo, the avatar from four sides, and the poses that Blender rendered.

    python scripts/demo_sheet.py PHOTO AVATAR_PACKAGE FOLDER_OF_POSES sheet.png

Runs in the backend's environment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.posing import read_avatar  # noqa: E402  (after the path)
from backend.turntable import render_picture  # noqa: E402

SIDES = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
TILE = (320, 480)
BAR = 30
BACKGROUND = (216, 217, 219)


def side_picture(package: Path, azimuths: list[float]) -> list[Image.Image]:
    """The avatar in the photo's pose from each side, the middle of a square picture in a tile's shape."""
    avatar = read_avatar(package)
    colour = tuple(channel / 255 for channel in BACKGROUND)
    size = TILE[1]
    pictures = []
    for azimuth in azimuths:
        square = Image.fromarray(render_picture(avatar, azimuth, "photo", size, colour)).convert("RGB")
        left = (size - TILE[0]) // 2
        pictures.append(square.crop((left, 0, left + TILE[0], size)))
    return pictures


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture scaled into a frame, the rest filled."""
    return ImageOps.pad(picture.convert("RGB"), size, Image.Resampling.LANCZOS, BACKGROUND)


def make_sheet(photo: Path, package: Path, poses: Path) -> Image.Image:
    """Photo and four sides above, the poses below, each with its name."""
    with Image.open(photo) as picture:
        top = [("photo", fitted(ImageOps.exif_transpose(picture), TILE))]
    top += zip(SIDES, side_picture(package, list(SIDES.values())))
    files = sorted(poses.glob("*.png"))
    width = len(top) * TILE[0]
    below = [(f"Blender: {file.stem.split('_')[-1]}", file) for file in files]
    sheet = Image.new("RGB", (width, 2 * (TILE[1] + BAR)), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)

    def place(picture: Image.Image, caption: str, x: int, y: int) -> None:
        sheet.paste(picture, (x, y))
        draw.text((x + picture.width / 2, y + TILE[1] + BAR / 2), caption, (40, 40, 44), font, anchor="mm")

    for number, (caption, picture) in enumerate(top):
        place(picture, caption, number * TILE[0], 0)
    for number, (caption, file) in enumerate(below):
        left, right = (round(width * k / len(below)) for k in (number, number + 1))
        with Image.open(file) as picture:
            place(fitted(picture, (right - left, TILE[1])), caption, left, TILE[1] + BAR)
    return sheet


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("photo", "package", "poses", "sheet"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    make_sheet(arguments.photo, arguments.package, arguments.poses).save(arguments.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
