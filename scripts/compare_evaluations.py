#!/usr/bin/env python3
"""Hold two evaluations of the same people against each other: what a change is worth, person by person.

    .venvs/backend/bin/python scripts/compare_evaluations.py out/evaluation/OLD/lite out/evaluation/NEW/lite

Both folders hold one JSON file a person, as scripts/evaluate.py leaves them. The table gives the mean of the second
less the first over the people of both, its standard error, and how many people gained.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.research.evaluation.report import VIEWS  # noqa: E402  (after the path)

MEASURES = {"psnr": ("PSNR", 1), "ssim": ("SSIM", 1), "flip": ("FLIP", -1), "iou": ("outline IoU", 1)}
"""By name in the files: title, and whether more is better."""
OTHERS = {
    "shape.chamfer": ("Chamfer distance, mm", -1), "shape.normal": ("normal error, degrees", -1),
    "body.mpjpe": ("MPJPE, mm", -1), "seconds.total": ("seconds", -1), "memory.peak": ("memory, GiB", -1),
}  # fmt: skip


def read(folder: Path) -> dict[str, dict[str, float]]:
    """Values by person; those of whom there is no avatar are left out."""
    found = {path.stem: json.loads(path.read_text("utf-8"))["values"] for path in sorted(folder.glob("*.json"))}
    return {name: values for name, values in found.items() if values}


def difference(old: dict[str, dict[str, float]], new: dict[str, dict[str, float]], name: str) -> np.ndarray:
    """New less old [n] of the people who have both."""
    both = [person for person in old if person in new and name in old[person] and name in new[person]]
    return np.array([new[person][name] - old[person][name] for person in both])


def cell(values: np.ndarray, better: int, digits: int) -> str:
    """Mean, standard error, and how many gained."""
    if not len(values):
        return "–"
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{values.mean():+.{digits}f} ± {error:.{digits}f} ({int((better * values > 0).sum())} of {len(values)})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    old, new = read(arguments.old), read(arguments.new)
    people = sorted(set(old) & set(new))
    if not people:
        print("Nobody is in both folders.", file=sys.stderr)
        return 1
    print(f"{len(people)} people in both; mean of the second less the first ± standard error (how many gained).\n")
    print("| view | " + " | ".join(title for title, _ in MEASURES.values()) + " |")
    print("| --- |" + " --- |" * len(MEASURES))
    for view, title in VIEWS.items():
        cells = [
            cell(difference(old, new, f"{view}.{m}"), sign, 2 if m == "psnr" else 4)
            for m, (_, sign) in MEASURES.items()
        ]
        print(f"| {title} | {' | '.join(cells)} |")
    print("\n| | second less first |\n| --- | --- |")
    for name, (title, sign) in OTHERS.items():
        print(f"| {title} | {cell(difference(old, new, name), sign, 2)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
