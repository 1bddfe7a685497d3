#!/usr/bin/env python3
"""Make people of the factory to train with, once, in a folder that all trainings read.

    .venvs/backend/bin/python scripts/make_people.py --out out/people --count 1000

Each is photographed at 256 pixels: augmented and clean photo, the orbit's four views and some at random azimuths, with
coverage, depth, labels, the true body and an estimated one. Goes on where it stopped; about 5 MB a person.

    .venvs/backend/bin/python scripts/make_people.py --refit out/people --out out/fitted

takes the people of another folder and fits the product's body to their clean photos: the errors that networks meet.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.research.training.estimate import fitted_body
from backend.research.training.latent_pool import SamplePool, pack, read_person, unpack, with_estimate, write_person
from backend.research.training.loop import work_off
from backend.research.training.samples import split_seeds


def make(seed: int, path: Path, size: int, others: int, estimate: str) -> None:
    """One person into its file."""
    write_person(pack(SamplePool(size, others, 1, estimate, "cpu").make(seed)), path)


def refit(old: Path, path: Path) -> None:
    """One person with another estimate of the body."""
    sample = read_person(old)
    clean = unpack(sample).views
    estimate = fitted_body(clean.rgb[0], clean.alpha[0], sample.cameras[:1])
    write_person(with_estimate(sample, estimate), path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--skip", type=int, default=0, help="seeds of the split left out at its beginning")
    parser.add_argument("--refit", type=Path, metavar="FOLDER", help="take its people, and fit the body anew")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--others", type=int, default=4, help="views besides the orbit's four")
    parser.add_argument("--estimate", choices=("noise", "fit"), default="noise")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.refit:
        wanted = {int(old.stem): arguments.out / old.name for old in sorted(arguments.refit.glob("*.person"))}
    else:
        first = split_seeds(arguments.split).start + arguments.skip
        wanted = {seed: arguments.out / f"{seed}.person" for seed in range(first, first + arguments.count)}
    todo = {seed: path for seed, path in wanted.items() if not path.exists()}
    calls = {
        seed: (refit, (arguments.refit / path.name, path))
        if arguments.refit
        else (make, (seed, path, arguments.size, arguments.others, arguments.estimate))
        for seed, path in todo.items()
    }
    return 1 if work_off(calls, arguments.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
