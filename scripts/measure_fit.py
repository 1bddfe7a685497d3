#!/usr/bin/env python3
"""Render mannequins of known pose, run the prepare and body stages on them, and print how far the fit is off.

    python scripts/measure_fit.py [--count 45] [--views frontal side] [--body neutral] [--list]

Columns: MPJPE is the mean distance of the 24 joints after the pelvises are laid on each other, PA the same after the
best similarity transform (both mm); root is the angle between the pelvises' orientations, lean how much too far forward
the trunk tilts (both degrees); 2D is the distance of the body's landmarks from where they are in the picture, in % of
the person's size. Exits with 1 when a bound of ``BOUNDS`` is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.body.fit import BodyFitter
from backend.body.model import load_body
from backend.errors import BackendError
from backend.prepare import BlazePose, prepare
from backend.prepare.image import Photo
from backend.research.evaluation.mannequins import POSES, Mannequin, make_mannequin
from backend.research.evaluation.pose_error import PoseError, pose_error

BOUNDS = {"frontal": 75.0, "side": 110.0, "back": float("inf"), "oblique": float("inf")}
"""Mean MPJPE in mm that each view must stay under."""
SECONDS_BOUND = 3.0


def view_yaw(view: str, rng: np.random.Generator) -> float:
    """A yaw in degrees of the named view."""
    sign = rng.choice([-1.0, 1.0])
    return float(
        {
            "frontal": rng.uniform(-20, 20),
            "oblique": sign * rng.uniform(35, 55),
            "side": sign * rng.uniform(80, 100),
            "back": 180 + rng.uniform(-20, 20),
        }[view]
    )


def mannequins(view: str, count: int) -> list[Mannequin]:
    """``count`` mannequins, every pose in turn, on the neutral, female and male bodies."""
    rng = np.random.default_rng(sorted(BOUNDS).index(view))
    names = list(POSES)
    out = []
    for k in range(count):
        body = load_body(("neutral", "female", "male")[k % 3])
        out.append(make_mannequin(body, names[k % len(names)], view_yaw(view, rng), seed=1000 + k))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=45, help="mannequins a view")
    parser.add_argument("--views", nargs="+", choices=sorted(BOUNDS), default=["frontal", "side"])
    parser.add_argument("--body", default="neutral", help="body that is fitted")
    parser.add_argument("--list", action="store_true", help="print a line for every mannequin")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small: a second thread mostly waits
    networks, body = BlazePose(torch.device("cpu")), load_body(arguments.body)
    fitter = BodyFitter(body)
    failed = False
    for view in arguments.views:
        errors: list[PoseError] = []
        seconds: list[float] = []
        missed = 0
        for mannequin in mannequins(view, arguments.count):
            try:
                photo = prepare(Photo(mannequin.rgb, None, mannequin.name, ""), networks)
            except BackendError:
                missed += 1
                continue
            started = time.perf_counter()
            fit = fitter.fit(photo)
            seconds.append(time.perf_counter() - started)
            errors.append(pose_error(mannequin, body, fit, photo))
            if arguments.list:
                print(f"  {mannequin.name:14} {mannequin.yaw:6.0f}  {errors[-1]}  {seconds[-1]:.2f} s")
        mean = PoseError.mean(errors)
        bad = mean.joints > BOUNDS[view] or max(seconds) > SECONDS_BOUND
        failed |= bad
        print(
            f"{view:8} {len(errors)} found, {missed} not: {mean}  fit {np.mean(seconds):.2f} s, longest "
            f"{max(seconds):.2f} s  {'MISSED' if bad else 'ok'}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
