"""Compare an engine's pictures with others': ``python scripts/try_engine_compare.py FOLDER SHEET.png``.

FOLDER has the engine's ``mesh`` and Blender's ``blender``, and perhaps the engine's ``splats`` and our renderer's
``ours``, each with the same pictures of the avatar alone on transparency. Printed are the overlap of the silhouettes,
the mean difference of colours (0..255) where both are solid, and how near the whole pictures are (PSNR in dB). Ends
with status 1 where a silhouette overlaps too little.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NEEDED = 0.97
"""Intersection over union; pixels along the outline differ by how engines smooth it."""
REFERENCES = {"mesh": "blender", "splats": "ours"}
BACKGROUND = 200


def read(path: Path, multiplied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H, W, 3] 0..255 multiplied by coverage, and coverage [H, W] 0..1.

    Args:
        path: a picture.
        multiplied: its colours are multiplied already: engines and our renderer keep them so.
    """
    picture = np.asarray(Image.open(path).convert("RGBA"), dtype=np.float64)
    coverage = picture[..., 3] / 255
    return picture[..., :3] * (1 if multiplied else coverage[..., None]), coverage


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two silhouettes; 0 where both are empty."""
    one, other = one > 0.5, other > 0.5
    return float((one & other).sum() / max((one | other).sum(), 1))


def outlines(engine: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] of two silhouettes: grey where both are, red the engine's alone, blue the other's alone."""
    picture = np.full((*engine.shape, 3), float(BACKGROUND))
    engine, reference = engine > 0.5, reference > 0.5
    picture[engine & reference] = 120
    picture[engine & ~reference] = (220, 30, 30)
    picture[reference & ~engine] = (30, 30, 220)
    return picture


def main() -> int:
    """Print a table, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheet", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, list[np.ndarray]] = {}
    worst = 1.0
    print(f"{'look':<8}{'beside':<10}{'picture':<12}{'overlap':>8}{'colours':>9}{'PSNR':>8}")
    for look, reference in REFERENCES.items():
        for path in sorted((arguments.folder / look).glob("shot_*.png")):
            colours, alpha = read(path, multiplied=True)
            expected, covered = read(arguments.folder / reference / path.name, multiplied=reference != "blender")
            both = (alpha > 0.99) & (covered > 0.99)
            shared = overlap(alpha, covered)
            worst = min(worst, shared)
            apart = np.abs(colours - expected)[both].mean() if both.any() else 255.0
            nearness = 10 * np.log10(255**2 / max(((colours - expected) ** 2).mean(), 1e-9))
            print(f"{look:<8}{reference:<10}{path.name:<12}{shared:8.4f}{apart:9.1f}{nearness:8.1f}")
            row = [picture + (1 - a[..., None]) * BACKGROUND for picture, a in ((expected, covered), (colours, alpha))]
            rows.setdefault(path.name, []).extend([*row, outlines(alpha, covered)])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows.values()]).clip(0, 255).astype(np.uint8)
    Image.fromarray(sheet).save(arguments.sheet)
    print(f"{arguments.sheet}: what is expected, the engine's picture, both outlines (red: the engine's alone)")
    return 0 if worst >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
