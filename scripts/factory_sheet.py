#!/usr/bin/env python3
"""Draw random people of the factory, front and back, into one picture for looking at.

.venvs/backend/bin/python scripts/factory_sheet.py                  # docs/images/factory.jpg: 60 people
.venvs/backend/bin/python scripts/factory_sheet.py -o out/a.png --first 500 --count 12 --azimuths 0 90 180 270
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.research.training.cameras import frame, orbit
from backend.research.training.lighting import sample_light
from backend.research.training.person import build_person
from backend.research.training.views import render_views

FIRST_SEED = 90_000
"""Beyond the seeds of every split: the sheet shows people whom nothing is trained or measured on."""


def draw_person(seed: int, azimuths: list[float], height: int, head: bool) -> np.ndarray:
    """uint8 [height, n * 0.56 height, 3]: one person from the given sides (the square pictures' middles)."""
    torch.set_num_threads(1)
    figure = build_person(seed).figure()
    if head:
        target, distance = figure.body.joints[15].float() + torch.tensor([0.0, 0.05, 0.04]), 0.75
    else:
        target, distance = frame(figure.vertices, azimuths[0], 0.0)
    camera = orbit(azimuths, 0.0, target, distance, height)
    pictures = render_views([figure], [sample_light(seed)], [camera], height, supersample=2).rgb
    pixels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    width = height if head else int(0.56 * height)
    # The sides of the square are mostly empty; arms that reach out of the narrower tile need the whole of it.
    used = (pixels < 250).any((0, 1, 3))
    columns = np.nonzero(used)[0]
    spread = 2 * max(height / 2 - columns.min(), columns.max() + 1 - height / 2, 1)
    tiles = []
    for picture in pixels:
        if spread > width:
            small = int(height * width / spread)
            resized = np.asarray(Image.fromarray(picture).resize((small, small), Image.Resampling.LANCZOS))
            tile = np.full((height, width, 3), 255, np.uint8)
            left, keep = (small - width) // 2, slice(max((small - width) // 2, 0), max((small - width) // 2, 0) + width)
            tile[height - small :, max(-left, 0) : max(-left, 0) + min(small, width)] = resized[:, keep]
        else:
            tile = picture[:, (height - width) // 2 : (height - width) // 2 + width]
        tiles.append(tile)
    return np.concatenate(tiles, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("-o", "--output", type=Path, default=root / "docs/images/factory.jpg")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="first seed")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--columns", type=int, default=10, help="people in a row")
    parser.add_argument("--height", type=int, default=256, help="pixels of a picture")
    parser.add_argument("--azimuths", type=float, nargs="+", default=[0.0, 180.0], help="degrees; 180 is the back")
    parser.add_argument("--head", action="store_true", help="heads close up")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.count)
    with ProcessPoolExecutor(arguments.workers) as pool:
        jobs = [pool.submit(draw_person, s, arguments.azimuths, arguments.height, arguments.head) for s in seeds]
        tiles = [job.result() for job in jobs]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % arguments.columns)
    rows = [np.concatenate(tiles[i : i + arguments.columns], 1) for i in range(0, len(tiles), arguments.columns)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(arguments.output, quality=88)
    print(f"{arguments.output}: {len(seeds)} people")


if __name__ == "__main__":
    main()
