#!/usr/bin/env python3
"""Fit the product's body to photos of the factory's people and write down how far the fits are off.

    python scripts/measure_estimates.py [--count 130] [--output backend/research/training/fit_errors.npz]

The errors are what ``backend.research.training.estimate`` gives to networks in training instead of running the fit each
time. Photos are augmented as in training; the seeds are of the training split. Those in which nobody is found, or
something else than the person is, or whose feet are cut off or hidden, are left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.errors import BackendError
from backend.research.training.augment import augment_photo
from backend.research.training.estimate import ERRORS_FILE, FitErrors, fit_errors, fitted_body
from backend.research.training.samples import cut_rows, make_scene, split_seeds
from backend.research.training.views import render_views

ELSEWHERE = 0.1
"""Focal lengths between a body and its person at which the fit is to something else in the picture."""


def shows_feet(clean: torch.Tensor, matte: torch.Tensor) -> bool:
    """Whether a spoilt ``matte`` [S, S] reaches as far down as the clean one."""
    lowest = [int(torch.nonzero((alpha > 0.5).any(1)).max()) if (alpha > 0.5).any() else 0 for alpha in (clean, matte)]
    return lowest[1] > lowest[0] - 0.04 * len(clean)


def measure(seed: int, size: int = 512) -> FitErrors | None:
    """Errors of the fit to one person's photo, None where it is left out."""
    scene = make_scene(seed)
    camera = scene.camera(size=size)
    view = render_views([scene.figure], [scene.light], [camera], size, baked=[scene.baked])
    generator = torch.Generator().manual_seed(seed)
    rgb, matte = augment_photo(view.rgb[0], view.alpha[0], cut_rows(scene, camera), generator)
    if not shows_feet(view.alpha[0], matte):
        return None
    try:
        estimate = fitted_body(rgb, None, camera)
    except BackendError:
        return None
    errors = fit_errors(scene.figure.body, estimate, camera)
    return errors if np.abs(errors.place[0, :2]).max() < ELSEWHERE else None


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=130)
    parser.add_argument("--output", type=Path, default=ERRORS_FILE)
    arguments = parser.parse_args()
    rows, started = [], time.perf_counter()
    with torch.no_grad():
        for seed in split_seeds("train")[: arguments.count]:
            row = measure(seed)
            rows += [] if row is None else [row]
    stacked = {k: np.concatenate([getattr(r, k) for r in rows]) for k in ("pose", "betas", "true_betas", "place")}
    degrees = np.degrees(np.linalg.norm(stacked["pose"], axis=-1))
    print(f"{len(rows)} of {arguments.count} photos, {time.perf_counter() - started:.0f} s")
    print(f"joint rotations off by {np.median(degrees):.1f} degrees (median), {np.percentile(degrees, 90):.1f} (90 %)")
    print(
        f"pelvis {np.median(degrees[:, 0]):.1f} degrees; sideways {1e3 * np.abs(stacked['place'][:, :2]).mean():.1f} "
        f"mm a metre of depth; size over depth {100 * np.abs(stacked['place'][:, 2]).mean():.1f} %"
    )
    np.savez_compressed(arguments.output, **{k: v.astype(np.float32) for k, v in stacked.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
