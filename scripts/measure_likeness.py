#!/usr/bin/env python3
"""How well pictures of somebody else are told from pictures of the same person, on a folder of 3D characters.

    .venvs/backend/bin/python scripts/measure_likeness.py FOLDER

Each character is photographed from the front, the left, behind and the right, and each other side is held against its
own front and against everybody else's. Prints the least likeness of one's own, and shares of both that are below the
bound of ``backend.likeness``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.errors import BackendError  # noqa: E402  (after the path)
from backend.likeness import SAME_PERSON, likeness, part_colours  # noqa: E402
from backend.options import SIDES  # noqa: E402
from backend.pipeline import Pipeline  # noqa: E402
from backend.prepare import prepare  # noqa: E402
from backend.prepare.image import Photo  # noqa: E402
from backend.reconstruct.parts import body_regions  # noqa: E402
from backend.research.evaluation.sources import FolderSource  # noqa: E402
from backend.research.evaluation.truth import render_photo  # noqa: E402

_SIZE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    source = FolderSource(parser.parse_args().folder, limit=1000)
    pipeline = Pipeline("cpu")
    fitter, body = pipeline.fitter(), pipeline.body()
    parts = body_regions(body).parts
    shown: dict[tuple[int, str], dict[int, np.ndarray]] = {}
    for index in range(len(source)):
        scene = source.scene(index)
        for side, turn in {"front": 0.0, **SIDES}.items():
            if turn is None:
                continue
            rgb, _ = render_photo(scene, _SIZE, turn)
            try:
                picture = prepare(Photo(rgb, None, side, ""), pipeline.networks())
            except BackendError as error:
                print(f"{source.name(index)} {side}: {error.message}")
                continue
            shown[index, side] = part_colours(body, parts, picture, fitter.fit(picture))
    own, others = [], []
    for (index, side), colours in shown.items():
        if side == "front":
            continue
        for other in range(len(source)):
            (own if other == index else others).append(likeness(shown[other, "front"], colours))
    below = [np.mean(np.array(values) < SAME_PERSON) for values in (own, others)]
    print(f"{len(own)} pictures of the same person: likeness at least {min(own):.2f}, {below[0]:.0%} taken for others")
    print(f"{len(others)} pictures of others: {below[1]:.0%} noticed")


if __name__ == "__main__":
    main()
