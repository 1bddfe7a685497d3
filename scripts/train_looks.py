#!/usr/bin/env python3
"""Train the reconstruction transformer's further looks, the rest as it is.

    .venvs/backend/bin/python scripts/train_looks.py --codec out/codec --people-folder out/fitted --kept out/looks \
        --begin backend/weights/lite/reconstruction.safetensors --out out/reconstruction_looks

First looks are kept in the folder --kept and made where they are missing (7 MB and a second each). Goes on where the
folder's last run stopped. Writes weights.safetensors (of the whole network, averaged, fp16), state.pt and log.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.networks import read_network
from backend.research.training.first_looks import KeptLook, look, read_look, write_look
from backend.research.training.latent_losses import depth_error
from backend.research.training.latent_pool import SamplePool
from backend.research.training.loop import Average, Run, averaged, falling_rate, set_rate
from backend.research.training.person.identity import body_model
from backend.research.training.samples import split_seeds
from backend.views.latent import CONFIGS, LatentTransformer
from backend.views.latent.codec import LatentCodec

HELD_OUT = 24
"""The first people of the folder are measured, not learnt from."""


def make_looks(
    network: LatentTransformer, codec: LatentCodec, pool: SamplePool, folder: Path, count: int
) -> list[Path]:
    """The files of the first looks at ``count`` people of the pool."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = {name: body_model(name) for name in ("neutral", "female", "male", "child")}
    seeds = [int(path.stem) for path in pool.files[:count]] or list(split_seeds("train")[:count])
    files = [folder / f"{seed}.look" for seed in seeds]
    missing = [(seed, path) for seed, path in zip(seeds, files) if not path.is_file()]
    for number, (seed, path) in enumerate(missing):
        sample = pool.read(seed) if pool.files else pool.make(seed)
        write_look(look(network, codec, bodies, sample, np.random.default_rng([seed, 9])), path)
        if number % 100 == 99:
            print(f"looked at {number + 1} of {len(missing)} people", flush=True)
    return files


def loss_of(network: LatentTransformer, kept: KeptLook, looks: int) -> torch.Tensor:
    """Mean error of the depth after so many looks, of which only the last one learns."""
    before, depth = kept.first.depth, network.settled(kept.given, kept.first.depth)
    for number in range(looks):
        with torch.set_grad_enabled(torch.is_grad_enabled() and number == looks - 1):
            _, moved = network.look_again(kept.given, kept.first, before, depth)
        if number < looks - 1:
            before, depth = depth, network.settled(kept.given, moved)
        else:
            depth = moved
    return depth_error(depth, kept.truth)


@torch.no_grad()
def measured(network: LatentTransformer, files: list[Path]) -> dict[str, float]:
    """Mean error in millimetres after no look, one, and so on."""
    sums = np.zeros(network.config.looks + 1)
    for path in files:
        kept = read_look(path)
        sums += [float(loss_of(network, kept, looks)) * kept.unit * 1000 for looks in range(len(sums))]
    return {f"held_out_{looks}": value / len(files) for looks, value in enumerate(sums.tolist())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=Path, help="folder of the trained autoencoder")
    parser.add_argument("--begin", type=Path, help="weights of the rest, such as those that ship")
    parser.add_argument("--people-folder", type=Path, help="of scripts/make_people.py --refit")
    parser.add_argument("--kept", type=Path, required=True, help="folder of the first looks")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=1100)
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=4000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network, under two minutes")
    arguments = parser.parse_args()
    if not arguments.smoke and None in (arguments.codec, arguments.begin, arguments.people_folder):
        parser.error("--codec, --begin and --people-folder are needed")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config, held = CONFIGS["smoke" if arguments.smoke else "lite"](), 1 if arguments.smoke else HELD_OUT
    codec, network = LatentCodec(8) if arguments.smoke else LatentCodec(), LatentTransformer(config)
    if arguments.smoke:
        arguments.steps, arguments.people = 4, 2
    else:
        read_network(codec, arguments.codec / "weights.safetensors")
        read_network(network, arguments.begin)
    network.requires_grad_(False)
    network.again.requires_grad_(True)
    optimiser = torch.optim.AdamW(network.again.parameters(), lr=arguments.rate, betas=(0.9, 0.95), weight_decay=0.05)
    run = Run(arguments.out, network, optimiser, Average(network))
    pool = SamplePool(config.picture, 0, 1, "noise" if arguments.smoke else "fit", "cpu", arguments.people_folder)
    files = make_looks(network, codec, pool, arguments.kept, arguments.people)
    rng, start, last = np.random.default_rng(run.step), time.monotonic(), time.monotonic()
    total = 0.0
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        set_rate(optimiser, arguments.rate * falling_rate(run.step, arguments.steps, 100))
        kept = read_look(files[held + int(rng.integers(len(files) - held))])
        loss = loss_of(network, kept, int(rng.integers(1, config.looks + 1)))
        optimiser.zero_grad(set_to_none=True)
        (5 * loss).backward()
        torch.nn.utils.clip_grad_norm_(network.again.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(network)
        total += float(loss.detach()) * kept.unit * 1000
        if run.step % 100 == 0:
            print(run.log(depth=total / 100, people=len(files) - held), flush=True)
            total = 0.0
        if time.monotonic() - last > 600:
            last = time.monotonic()
            finish(run, network, files[:held])
    finish(run, network, files[:held])


def finish(run: Run, network: LatentTransformer, held_out: list[Path]) -> None:
    """Save, and measure the averaged weights."""
    run.save()
    with averaged(run):
        print(run.log(**measured(network, held_out)), flush=True)


if __name__ == "__main__":
    main()
