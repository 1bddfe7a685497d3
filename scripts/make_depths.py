#!/usr/bin/env python3
"""Make photos of the factory's people with the true depth of both their sides, for scripts/train_depth.py.

    .venvs/backend/bin/python scripts/make_depths.py --out out/depths --count 6000
    .venvs/backend/bin/python scripts/make_depths.py --out out/depths_held --count 100 --split validation --photos 1

    .venvs/backend/bin/python scripts/make_depths.py --out out/depths --pack out/depths.packed --megabytes 50

    .venvs/backend/bin/python scripts/make_depths.py --out out/imagined --imagine out/depths.packed --skip 300000

The product prepares each photo and fits the body to it. Goes on where it stopped; about 1 MB a person. ``--pack`` puts
photos that were made into one small file, each person's first before any second, as many as --megabytes hold and but
those that come --after so many: what one training has seen need not be in the file for the next. ``--imagine`` asks no
network: bodies err as the fits of that file's photos do, and photos are packed at once, those of 50 people in a file.
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
from backend.research.training.depth_data import (
    NEARLY,
    PHOTOS,
    DepthExample,
    imagined_examples,
    make_examples,
    read_examples,
    write_examples,
)
from backend.research.training.depth_farm import lent_errors
from backend.research.training.depth_pack import PackedDepths, pack_examples
from backend.research.training.estimate import FitErrors
from backend.research.training.loop import work_off
from backend.research.training.samples import split_seeds

_GROUP = 50
"""People in one file of imagined photos."""
_pipeline: Pipeline | None = None
_errors: FitErrors | None = None


def make(seed: int, path: Path, photos: int, loose: bool) -> None:
    """One person into its file."""
    global _pipeline
    if _pipeline is None:
        _pipeline = Pipeline("cpu")
    write_examples(make_examples(seed, _pipeline, photos, loose), path)


def imagine(seeds: range, path: Path, photos: int, loose: bool, lender: Path) -> None:
    """Photos of people, taken much as their own ones, into one packed file."""
    global _errors
    if _errors is None:
        _errors = lent_errors(PackedDepths(lender), seeds.start)

    def examples() -> Iterator[DepthExample]:
        for seed in seeds:
            try:
                yield from imagined_examples(seed, photos, _errors, (NEARLY,), loose)
            except (ValueError, RuntimeError, IndexError) as error:
                # One person more or less.
                print(f"person {seed}: {error}", flush=True)

    part = path.with_suffix(".part")
    pack_examples(examples(), part, sys.maxsize)
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--skip", type=int, default=0, help="seeds of the split left out at its beginning")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="of a person")
    parser.add_argument("--loose", action="store_true", help="people in looser clothes; in a folder of their own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pack", type=Path, help="write this file of what was made instead of making more")
    parser.add_argument("--megabytes", type=float, default=50.0)
    parser.add_argument("--after", type=int, default=0, help="photos left out of the file at its beginning")
    parser.add_argument("--imagine", type=Path, help="imagine photos with the errors of this packed file's fits")
    arguments = parser.parse_args()
    if arguments.pack:
        return _pack(arguments.out, arguments.pack, int(1e6 * arguments.megabytes), arguments.after)
    if arguments.imagine and not arguments.imagine.exists():
        parser.error(f"{arguments.imagine} is not there: make it with --pack first")
    arguments.out.mkdir(parents=True, exist_ok=True)
    first = split_seeds(arguments.split).start + arguments.skip
    step = _GROUP if arguments.imagine else 1
    calls = {}
    for seed in range(first, first + arguments.count, step):
        if arguments.imagine:
            path, call = arguments.out / f"{seed}.packed", imagine
            seeds = range(seed, min(seed + step, first + arguments.count))
            rest = (seeds, path, arguments.photos, arguments.loose, arguments.imagine)
        else:
            path, call = arguments.out / f"{seed}.depths", make
            rest = (seed, path, arguments.photos, arguments.loose)
        if not path.exists():
            calls[seed] = (call, rest)
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
