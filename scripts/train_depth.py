#!/usr/bin/env python3
"""Train the network that says how deep the person's front and back lie, on photos of scripts/make_depths.py.

    .venvs/backend/bin/python scripts/train_depth.py --photos out/depths --held-out out/depths_held --out out/depth

Goes on from the last checkpoint in --out; photos that are added to the folder meanwhile are taken in. --photos may be
files of ``scripts/make_depths.py --pack`` too. With such files as --packed instead it trains on the device there is,
while --makers processes make new people. The learning rate falls over the minutes of the sitting.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.body.model import load_body
from backend.estimate.depth import UNIT, DepthConfig, DepthNetwork
from backend.networks import read_network
from backend.networks.layers import Block, Residual
from backend.research.training.depth_batches import DepthBatch, DepthPool, DepthStream, PhotoPool, joined, mirrored
from backend.research.training.depth_farm import DepthFarm
from backend.research.training.depth_pack import PackedDepths, PackedPool
from backend.research.training.loop import Average, Run, averaged, fallen, set_rate

SMOKE = DepthConfig(photo=8, widths=(8, 8, 8), blocks=(1, 1, 1), attention=1, heads=2)
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
    for start in range(0, len(held_out), 32):
        batch = joined(held_out[start : start + 32])
        offset = network(batch.photo, batch.body)[0]
        twin = mirrored(batch)
        mean = (offset + network(twin.photo, twin.body)[0].flip(-1)) / 2
        count = batch.known.sum((1, 2, 3))
        for name, found in (("body_", torch.zeros_like(offset)), ("", offset), ("both_ways_", mean)):
            error = ((found - batch.truth).abs() * batch.known).sum((2, 3)) / count[:, None] * UNIT * 1000
            for k, side in enumerate(("front", "back")):
                sums[name + side] += error[:, k].tolist()
    return {name: float(np.nanmean(values)) for name, values in sums.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photos", type=Path, nargs="+", help="a folder, or packed files and folders of such")
    source.add_argument("--packed", type=Path, nargs="+", help="files or folders of such; the first lends fits' errors")
    parser.add_argument("--held-out", type=Path, required=True, help="a folder, or a packed file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="weights that a new run begins with, such as those that ship")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, help="in all; the learning rate falls to zero there (default: at the end)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warm-up", type=int, default=400, help="steps over which the learning rate rises")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--makers", type=int, default=os.cpu_count() or 1, help="processes that make people")
    parser.add_argument("--capacity", type=int, default=8192, help="samples in the device's memory, 0.4 MB each")
    parser.add_argument("--first", type=int, default=0, help="samples made before the training begins")
    parser.add_argument("--skip", type=int, default=0, help="people that earlier trainings on --packed have seen")
    parser.add_argument("--compile", action="store_true", help="on a graphics card: compile the network's blocks")
    parser.add_argument("--measure", type=float, default=7.0, help="minutes between checkpoints")
    parser.add_argument("--smoke", action="store_true", help="two steps of a tiny network")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = "cuda" if arguments.packed and torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        # The cores belong to those who make people.
        torch.set_num_threads(1)
    if arguments.smoke:
        arguments.steps, arguments.batch = 2, 8
    network = DepthNetwork(SMOKE if arguments.smoke else None).to(device, memory_format=torch.channels_last)
    if arguments.begin:
        read_network(network, arguments.begin)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.02, fused=device == "cuda"
    )
    run = Run(arguments.out, network, optimiser, Average(network))
    try:
        with _source(arguments, run, device) as draw:
            held_out = [_on(batch, device) for batch in _pool([arguments.held_out]).clean()]
            _train(arguments, run, draw, held_out, device)
    except (FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@contextmanager
def _source(arguments: argparse.Namespace, run: Run, device: str) -> Iterator[Callable[[], DepthBatch]]:
    """What gives the next batch."""
    if arguments.photos:
        pool = _pool(arguments.photos)
        stream = DepthStream(pool, arguments.batch, run.step)
        yield iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4)).__next__
        pool.refresh()
        print(run.log(**pool.counts()), flush=True)
        return
    farm = DepthFarm(arguments.packed, arguments.makers, arguments.capacity, device, arguments.skip)

    def draw() -> DepthBatch:
        farm.take()
        while farm.made < max(arguments.first, arguments.batch):
            farm.take(wait=True)
        return farm.batch(arguments.batch)

    try:
        yield draw
        machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} processor"
        machine += f" with {os.cpu_count()} cores"
        print(run.log(machine=machine, packed=len(PackedDepths(*arguments.packed)), samples=farm.made), flush=True)
    finally:
        farm.close()


def _pool(paths: Sequence[Path]) -> PhotoPool:
    """The photos of a folder, or of packed files and folders of such."""
    body = load_body("neutral")
    if any(path.is_file() or list(path.glob("*.packed")) for path in paths):
        return PackedPool(paths, body)
    if len(paths) > 1:
        raise FileNotFoundError("Several folders must hold packed photos: make them with scripts/make_depths.py --pack")
    return DepthPool(paths[0], body)


def _on(batch: DepthBatch, device: str) -> DepthBatch:
    return DepthBatch(*(value.to(device) for value in vars(batch).values()))


def _train(
    arguments: argparse.Namespace,
    run: Run,
    draw: Callable[[], DepthBatch],
    held_out: Sequence[DepthBatch],
    device: str,
) -> None:
    network, optimiser = run.network, run.optimiser
    step_with = _HalfTwin(network, arguments.compile) if device == "cuda" else None
    draw()  # waits until there is something to draw, which is no time of training
    start = last = time.monotonic()
    total = torch.zeros((), device=device)
    first = run.step
    done = first / arguments.steps if arguments.steps else 0.0
    while done < 1:
        warm = min(1.0, (run.step - first + 1) / max(arguments.warm_up, 1))
        set_rate(optimiser, arguments.rate * warm * fallen(done))
        batch = draw()
        optimiser.zero_grad(set_to_none=True)
        if step_with is not None:
            loss = step_with.backward(batch)
        else:
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(network, batch)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(network)
        total += loss.detach()
        passed = time.monotonic() - start
        done = passed / (60 * arguments.minutes)
        if arguments.steps:
            done = 1.0 if done >= 1 else run.step / arguments.steps
        if run.step % 50 == 0:
            print(run.log(loss=float(total) / 50), flush=True)
            total.zero_()
        if time.monotonic() - last > 60 * arguments.measure:
            finish(run, network, held_out)
            last = time.monotonic()
    finish(run, network, held_out)


class _HalfTwin:
    """A copy of the network in bfloat16, whose gradients are the network's: no casts back and forth in every layer."""

    def __init__(self, network: DepthNetwork, compiled: bool) -> None:
        self.twin = copy.deepcopy(network).to(torch.bfloat16)
        if compiled:
            for module in self.twin.modules():
                if isinstance(module, (Residual, Block)):
                    module.compile(dynamic=False)
        self.pairs = list(zip(network.parameters(), self.twin.parameters()))

    def backward(self, batch: DepthBatch) -> torch.Tensor:
        """The loss of a batch; its gradients are the network's afterwards."""
        with torch.no_grad():
            torch._foreach_copy_([half for _, half in self.pairs], [whole.detach() for whole, _ in self.pairs])
        loss = loss_of(self.twin, replace(batch, photo=batch.photo.bfloat16(), body=batch.body.bfloat16()))
        loss.backward()
        for whole, half in self.pairs:
            whole.grad, half.grad = half.grad.float(), None
        return loss


def finish(run: Run, network: DepthNetwork, held_out: Sequence[DepthBatch]) -> None:
    """Save, and measure the averaged weights."""
    run.save()
    with averaged(run):
        print(run.log(**measured(network, held_out)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
