#!/usr/bin/env python3
"""Measure the depth network on people held out: its errors, and what it makes of thicker clothes.

    .venvs/backend/bin/python scripts/measure_depth.py out/held.packed [--weights out/depth/weights.safetensors]

The file is one of ``scripts/make_depths.py --pack``: each person's own photo first, then those from elsewhere. One with
photos of the training tells how far the network knows them by heart.

Nothing about how deep legs are follows from how wide trousers are: a good network leaves legs where they are when they
are drawn wider, front and back together.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_depth import measured

from backend.body.model import JOINT_INDEX, load_body
from backend.errors import BackendError
from backend.estimate.depth import UNIT, WEIGHTS, DepthNetwork, rest_places
from backend.networks import read_network
from backend.options import WEIGHTS_FOLDER
from backend.research.training.depth_batches import DepthBatch, DepthViewer, joined
from backend.research.training.depth_pack import PackedDepths

_PIXELS = (-1, 1, 2)
"""Of the photo, of which a person is some 230 tall."""
_HEIGHT = 6
"""Map of the body's front that says how high a place is in the rest pose."""


def wider_legs(batch: DepthBatch, legs: torch.Tensor, pixels: int) -> DepthBatch:
    """The photos with legs [B, 1, M, M] drawn so many pixels wider, without colours, which hardly count."""
    alpha = batch.photo[:, 3:]
    sign = 1 if pixels > 0 else -1
    other = sign * functional.max_pool2d(sign * alpha, 2 * abs(pixels) + 1, 1, abs(pixels))
    near = functional.max_pool2d(functional.interpolate(legs.float(), scale_factor=4.0), 9, 1, 4) > 0
    alpha = torch.where(near, other, alpha)
    return replace(batch, photo=torch.cat([0.45 * alpha.expand(-1, 3, -1, -1), alpha], 1))


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS_FOLDER / "lite" / WEIGHTS)
    parser.add_argument("--photos", type=int, nargs=2, metavar=("FROM", "TO"), help="those of the file, in its order")
    arguments = parser.parse_args()
    body = load_body("neutral")
    network = DepthNetwork().eval()
    try:
        packed = PackedDepths(arguments.held_out)
        read_network(network, arguments.weights)
    except (BackendError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    viewer = DepthViewer(body)
    first, last = arguments.photos or (0, len(packed))
    if not 0 <= first < last <= len(packed):
        print(f"{arguments.held_out} holds photos 0 to {len(packed)}: choose among them.", file=sys.stderr)
        return 1
    batches = [viewer.unspoilt(packed[k]) for k in range(first, last)]
    for name, value in measured(network, batches).items():
        print(f"{name:<18}{value:8.1f} mm")
    hips = rest_places(body)[body.weights.argmax(1) == JOINT_INDEX["pelvis"], 1].min()
    print(f"\n{'legs drawn wider by':<22}{'they move by, mm':>18}")
    moves: dict[int, list[torch.Tensor]] = {pixels: [] for pixels in _PIXELS}
    for start in range(0, len(batches), 32):
        batch = joined(batches[start : start + 32])
        legs = batch.known & (batch.body[:, :1] > 0) & (batch.body[:, _HEIGHT : _HEIGHT + 1] < hips)
        before, *after = (
            network(drawn.photo, drawn.body)[0].mean(1, keepdim=True)[legs]
            for drawn in (wider_legs(batch, legs, pixels) for pixels in (0, *_PIXELS))
        )
        for pixels, moved in zip(_PIXELS, after):
            moves[pixels].append((moved - before) * UNIT * 1000)
    for pixels in _PIXELS:
        print(f"{pixels:>12} pixels   {float(torch.cat(moves[pixels]).mean()):18.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
