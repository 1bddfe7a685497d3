#!/usr/bin/env python3
"""The documents' sheet of poses in Blender, and the README's film of a walk.

    .venvs/backend/bin/python scripts/motion_sheet.py [--people 3] [--work out/motions]

Three people that the project makes itself (the demo's, and two of the factory's test people) are reconstructed, posed
by the library, and rendered by ``scripts/render_poses.py`` in `.venvs/blender` with EEVEE and Cycles, as photographed
and lit by lamps. Writes ``docs/images/motions.jpg`` and ``docs/images/walk.gif``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.research.evaluation.sources import FactorySource  # noqa: E402  (after the path)
from backend.research.evaluation.truth import render_photo  # noqa: E402
from scripts.render_poses import COLUMNS, POSES, picture_name, walk_name  # noqa: E402

PHOTO_SIZE = 768
FACTORY_PEOPLE = (3, 9)
TILE = (150, 270)
BAR = 22
WALK_MILLISECONDS = 40


def packages(work: Path, count: int) -> list[Path]:
    """Avatar packages of the people, made where they are missing."""
    photos = [ROOT / "docs" / "demo" / "person.jpg"]
    source = FactorySource(len(FACTORY_PEOPLE) + 10)
    for index in FACTORY_PEOPLE:
        photo = work / f"person_{index}.png"
        if not photo.is_file():
            picture, _ = render_photo(source.scene(index), PHOTO_SIZE)
            Image.fromarray(picture).save(photo)
        photos.append(photo)
    made = []
    for photo in photos[:count]:
        package = work / photo.stem
        if not (package / "avatar.json").is_file():
            command = [sys.executable, "-m", "backend", "reconstruct", str(photo), "-o", str(package)]
            subprocess.run(command, cwd=ROOT, check=True)
        made.append(package)
    return made


def sheet(work: Path, people: list[Path]) -> Image.Image:
    """A row for each person, a group of columns for each pose."""
    font = ImageFont.load_default(11)
    width = TILE[0] * len(COLUMNS) * 2
    rows = len(people) * ((len(POSES) + 1) // 2)
    picture = Image.new("RGB", (width, BAR + rows * (TILE[1] + BAR)), "white")
    draw = ImageDraw.Draw(picture)
    for column in range(2 * len(COLUMNS)):
        engine, lit = COLUMNS[column % len(COLUMNS)]
        label = f"{engine}, {'lit' if lit else 'as photographed'}"
        draw.text((column * TILE[0] + 4, 4), label, fill="black", font=font)
    for number, person in enumerate(people):
        for index, pose in enumerate(POSES):
            top = BAR + (number * ((len(POSES) + 1) // 2) + index // 2) * (TILE[1] + BAR)
            left = (index % 2) * len(COLUMNS) * TILE[0]
            draw.text((left + 4, top + TILE[1] + 4), pose.replace("_", " "), fill="black", font=font)
            for column, (engine, lit) in enumerate(COLUMNS):
                tile = Image.open(work / picture_name(person.name, pose, engine, lit)).convert("RGB")
                picture.paste(tile.resize(TILE, Image.Resampling.LANCZOS), (left + column * TILE[0], top))
    return picture


def main() -> None:
    """Reconstruct, render, lay out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "motions")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    people = packages(work, arguments.people)
    blender = ROOT / ".venvs" / "blender" / "bin" / "python"
    command = [str(blender), str(ROOT / "scripts" / "render_poses.py"), *map(str, people), "--output", str(work)]
    subprocess.run(command, check=True)
    images = ROOT / "docs" / "images"
    sheet(work, people).save(images / "motions.jpg", quality=85)
    frames = [Image.open(path).convert("RGB") for path in sorted(work.glob(walk_name("*")))]
    frames = [frame.quantize(128, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(
        images / "walk.gif", save_all=True, append_images=frames[1:], duration=WALK_MILLISECONDS, loop=0, optimize=True
    )
    print(f"{images / 'motions.jpg'}, {images / 'walk.gif'} ({len(frames)} frames)")


if __name__ == "__main__":
    main()
