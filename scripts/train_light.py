#!/usr/bin/env python3
"""Train the network that says what light falls on a person from all sides, on photos of scripts/make_depths.py.

    .venvs/backend/bin/python scripts/train_light.py --photos out/depths --held-out out/depths_held --out out/light

Reads each photo once, which takes minutes; the training itself takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.body.model import load_body
from backend.estimate.light import LightNetwork
from backend.research.training.depth_batches import DepthPool
from backend.research.training.light_data import AHEAD, DIRECTIONS, LitPhotos, functions, lit_photos, usual_lights
from backend.research.training.loop import Average, Run, averaged, falling_rate, set_rate

_BATCH, _RATE = 64, 2e-3
_AWAY = 0.3
"""Cosine with the camera's axis from which a direction faces away."""
BEHIND = (DIRECTIONS[:, 2] > _AWAY).float() / float((DIRECTIONS[:, 2] > _AWAY).sum())
_LIGHTS = range(10**9, 10**9 + 4000)
"""Seeds of lights alone."""


@torch.no_grad()
def measured(network: LightNetwork, held_out: LitPhotos, flat: torch.Tensor) -> dict[str, float]:
    """Errors of the logarithm of light on what faces away, root mean squares: of the usual light [15] and of ours."""
    basis, network = functions().float(), network.eval()
    errors = {"usual_behind": flat @ basis.T, "behind": network(held_out.features) @ basis.T}
    return {name: float((((level - held_out.levels) ** 2) @ BEHIND).mean().sqrt()) for name, level in errors.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--people", type=int, help="of --photos at most")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    body = load_body("neutral")
    try:
        pool, others = DepthPool(arguments.photos, body), DepthPool(arguments.held_out, body)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    pool.files = pool.files[: arguments.people]
    network = LightNetwork()
    usual, precision = usual_lights(_LIGHTS)
    shown = lit_photos(pool, usual, precision, varied=True)
    held_out = lit_photos(others, usual, precision, varied=False)
    for name, value in (
        ("usual", usual), ("precision", precision), ("middle", shown.features.mean(0)),
        ("spread", shown.features.std(0) + 1e-3),
    ):  # fmt: skip
        getattr(network, name).copy_(value)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.1)
    run = Run(arguments.out, network, optimiser, Average(network))
    basis, weight = functions().float(), BEHIND + 0.5 * AHEAD.float()
    while run.step < arguments.steps:
        set_rate(optimiser, _RATE * falling_rate(run.step, arguments.steps, 100))
        drawn = torch.randint(len(shown.features), (_BATCH,))
        error = network.train()(shown.features[drawn]) @ basis.T - shown.levels[drawn]
        loss = ((error**2) @ weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        run.step += 1
        run.average.update(network)
        if run.step % 1000 == 0 or run.step == arguments.steps:
            with averaged(run):
                figures = measured(network, held_out, usual)
            print(run.log(loss=float(loss.detach()), people=len(pool.files), **figures), flush=True)
    run.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
