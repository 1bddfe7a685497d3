#!/usr/bin/env python3
"""Make photos of the factory's people with the true depth of both their sides, for scripts/train_depth.py.

    .venvs/backend/bin/python scripts/make_depths.py --out out/depths --count 6000
    .venvs/backend/bin/python scripts/make_depths.py --out out/depths_held --count 100 --split validation --photos 1

    .venvs/backend/bin/python scripts/make_depths.py --out out/depths --pack out/depths.packed --megabytes 50

The product prepares each photo and fits the body to it. Goes on where it stopped; about 1 MB a person. ``--pack`` puts
photos that were made into one small file, each person's first before any second, as many as --megabytes hold and but
those that come --after so many: what one training has seen need not be in the file for the next.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.pipeline import Pipeline
from backend.training.depth_data import PHOTOS, DepthExample, make_examples, read_examples, write_examples
from backend.training.depth_pack import pack_examples
from backend.training.loop import work_off
from backend.training.samples import split_seeds

_pipeline: Pipeline | None = None


def make(seed: int, path: Path, photos: int) -> None:
    """One person into its file."""
    global _pipeline
    if _pipeline is None:
        _pipeline = Pipeline("cpu")
    write_examples(make_examples(seed, _pipeline, photos), path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--skip", type=int, default=0, help="seeds of the split left out at its beginning")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="of a person")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pack", type=Path, help="write this file of what was made instead of making more")
    parser.add_argument("--megabytes", type=float, default=50.0)
    parser.add_argument("--after", type=int, default=0, help="photos left out of the file at its beginning")
    arguments = parser.parse_args()
    if arguments.pack:
        return _pack(arguments.out, arguments.pack, int(1e6 * arguments.megabytes), arguments.after)
    arguments.out.mkdir(parents=True, exist_ok=True)
    first = split_seeds(arguments.split).start + arguments.skip
    wanted = {seed: arguments.out / f"{seed}.depths" for seed in range(first, first + arguments.count)}
    calls = {seed: (make, (seed, path, arguments.photos)) for seed, path in wanted.items() if not path.exists()}
    return 1 if work_off(calls, arguments.jobs) else 0


def _pack(folder: Path, file: Path, most: int, after: int) -> int:
    files = sorted(folder.glob("*.depths"))

    def drawn() -> Iterator[DepthExample]:
        for number in range(PHOTOS):
            for path in files:
                yield from read_examples(path)[number : number + 1]

    print(f"{pack_examples(islice(drawn(), after, None), file, most)} photos in {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
