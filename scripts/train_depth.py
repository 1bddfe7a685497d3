#!/usr/bin/env python3
"""Train the network that says how deep the person's front and back lie, on photos of scripts/make_depths.py.

    .venvs/backend/bin/python scripts/train_depth.py --photos out/depths --held-out out/depths_held --out out/depth

Goes on from the last checkpoint in --out; photos that are added meanwhile are taken in.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.body.model import load_body
from backend.networks import read_network
from backend.reconstruct.depth import UNIT, DepthConfig, DepthNetwork
from backend.training.depth_batches import DepthBatch, DepthPool, DepthStream, mirrored
from backend.training.loop import Average, Run, averaged, falling_rate, set_rate

SMOKE = DepthConfig(widths=(8, 8, 8), blocks=(1, 1, 1), heads=2)
_EDGE = 0.5
"""Tenths of a metre between neighbouring pixels from which a surface has an edge there."""


def loss_of(network: DepthNetwork, batch: DepthBatch) -> torch.Tensor:
    """Mean error of the offsets and of their slopes within surfaces, and how badly the spreads foretell the errors."""
    offset, spread = network(batch.photo, batch.body)
    error = (offset.float() - batch.truth).abs() * batch.known
    count = batch.known.sum().clamp(min=1) * 2
    spread = spread.float()
    foretold = ((error.detach() / spread + spread.log()) * batch.known).sum() / count
    slope = 0.0
    for axis in (-1, -2):
        true, ours = batch.truth.diff(dim=axis), offset.float().diff(dim=axis)
        first, second = batch.known.narrow(axis, 0, true.shape[axis]), batch.known.narrow(axis, 1, true.shape[axis])
        inner = first & second & (true.abs() < _EDGE)
        slope = slope + ((ours - true).abs() * inner).sum() / inner.sum().clamp(min=1)
    return error.sum() / count + slope + 0.1 * foretold


@torch.no_grad()
def measured(network: DepthNetwork, held_out: Sequence[DepthBatch]) -> dict[str, float]:
    """Mean errors in mm: of the body as it is, and of what the network says; alone and with the mirrored photo."""
    sums = {name: [] for name in ("body_front", "body_back", "front", "back", "both_ways_front", "both_ways_back")}
    for batch in held_out:
        offset = network(batch.photo, batch.body)[0]
        twin = mirrored(batch)
        mean = (offset + network(twin.photo, twin.body)[0].flip(-1)) / 2
        for name, found in (("body_", torch.zeros_like(offset)), ("", offset), ("both_ways_", mean)):
            error = (found - batch.truth).abs() * UNIT * 1000
            for k, side in enumerate(("front", "back")):
                sums[name + side].append(float(error[:, k][batch.known[:, 0]].mean()))
    return {name: float(np.nanmean(values)) for name, values in sums.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="weights that a new run begins with, such as those that ship")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=6000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two steps of a tiny network")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    body = load_body("neutral")
    try:
        pool, held_out = DepthPool(arguments.photos, body), DepthPool(arguments.held_out, body).clean()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.smoke:
        arguments.steps, arguments.batch = 2, 2
    network = DepthNetwork(SMOKE if arguments.smoke else None).to(memory_format=torch.channels_last)
    if arguments.begin:
        read_network(network, arguments.begin)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.02)
    run = Run(arguments.out, network, optimiser, Average(network))
    stream = DepthStream(pool, arguments.batch, run.step)
    batches = iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))
    start = last = time.monotonic()
    total = 0.0
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        set_rate(optimiser, arguments.rate * falling_rate(run.step, arguments.steps, 200))
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(network)
        total += float(loss.detach())
        if run.step % 50 == 0:
            print(run.log(loss=total / 50, people=len(pool.files)), flush=True)
            total = 0.0
            pool.refresh()
        if time.monotonic() - last > 420:
            last = time.monotonic()
            finish(run, network, held_out)
    finish(run, network, held_out)
    return 0


def finish(run: Run, network: DepthNetwork, held_out: Sequence[DepthBatch]) -> None:
    """Save, and measure the averaged weights."""
    run.save()
    with averaged(run):
        print(run.log(**measured(network, held_out)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
