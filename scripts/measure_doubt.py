#!/usr/bin/env python3
"""Print what the doubts of the first stages hang on, for every picture of some folders.

    .venvs/backend/bin/python scripts/measure_doubt.py FOLDER [FOLDER ...]

Columns:
    spread      mean distance of several looks' landmarks from the agreed ones, in sizes of the person
    score       the least that a look gave for this being a person
    facing      c where the looks agree on front or back, else u
    misfit      mean distance of the fitted body's landmarks from those seen, in sizes of the person
    outcome     made, doubted (with that sentence), warned (with others), or refused
The last lines count outcomes a folder. Give folders of people and of what is none to see where the bounds lie.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backend.body.fit import BodyFitter
from backend.body.model import load_body
from backend.errors import BackendError
from backend.prepare import BlazePose, load_photo, prepare
from backend.prepare.doubt import refuse_misfit

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".avif"}


def measure(path: Path, networks: BlazePose, fitter: BodyFitter) -> tuple[str, str]:
    """The columns of one picture as text, and its outcome."""
    try:
        photo = prepare(load_photo(path), networks)
    except BackendError as error:
        return f"{'':>24}  refused: {error.message}", "refused"
    fit = fitter.fit(photo)
    looks, misfit = photo.agreement, fit.landmark_error / fit.person_size
    columns = f"{looks.spread:7.4f} {looks.score:5.2f} {'u' if looks.facing_unclear else 'c'} {misfit:7.4f}"
    try:
        refuse_misfit(looks, misfit)
    except BackendError as error:
        return f"{columns}  refused: {error.message}", "refused"
    doubted = any("doubtful" in said for said in photo.warnings)
    outcome = "doubted" if doubted else "warned" if photo.warnings else "made"
    return f"{columns}  {outcome}: {' '.join(photo.warnings)}"[:160], outcome


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    arguments = parser.parse_args()
    networks, fitter = BlazePose("cpu"), BodyFitter(load_body("neutral"))
    totals = {}
    for folder in arguments.folders:
        counts: Counter[str] = Counter()
        for path in sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in PICTURES):
            line, outcome = measure(path, networks, fitter)
            counts[outcome] += 1
            print(f"{path.name[:32]:<32} {line}", flush=True)
        totals[folder] = counts
    for folder, counts in totals.items():
        print(f"{folder}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items()))}")


if __name__ == "__main__":
    main()
