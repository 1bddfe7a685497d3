#!/usr/bin/env python3
"""Train the small autoencoder that makes latents of pictures, on people of the factory.

    .venvs/backend/bin/python scripts/train_codec.py --out out/codec --minutes 60      # goes on where it stopped
    .venvs/backend/bin/python scripts/train_codec.py --out /tmp/codec --smoke

Writes weights.safetensors (averaged, fp16), state.pt, log.jsonl and sample.png into the folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.networks import read_network
from backend.research.training.latent_pool import SamplePool
from backend.research.training.loop import Average, Run, falling_rate, set_rate
from backend.research.training.samples import split_seeds
from backend.views.latent.codec import LatentCodec

_CROPS = 4
"""Of each person that is drawn."""


def batch(pool: SamplePool, count: int, crop: int, rng: np.random.Generator) -> torch.Tensor:
    """[count, 4, crop, crop] colours over white and coverage in 0..1: crops about the pictures' middles."""
    out: list[torch.Tensor] = []
    while len(out) < count:
        views = pool.draw(rng).views
        size = views.alpha.shape[1]
        room = size - crop
        for view in rng.choice(len(views), min(_CROPS, count - len(out)), replace=False):
            y = int(np.clip(rng.normal(room / 2, room / 3), 0, room))
            x = int(np.clip(rng.normal(room / 2, room / 6), 0, room))
            rgba = torch.cat([views.rgb[view].permute(2, 0, 1), views.alpha[view][None]])
            part = rgba[:, y : y + crop, x : x + crop]
            out.append(part.flip(2) if rng.random() < 0.5 else part)
    return torch.stack(out)


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Differences of neighbours, [B, 6, S - 1, S - 1]."""
    return torch.cat([x[:, :, 1:, :-1] - x[:, :, :-1, :-1], x[:, :, :-1, 1:] - x[:, :, :-1, :-1]], 1)


def loss_of(codec: LatentCodec, rgba: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, reconstruction [B, 4, S, S])."""
    latents = codec.raw(rgba[:, :3])
    back = codec.from_raw(latents)
    # The white around people is easy and large.
    weight = 0.1 + 0.9 * functional.max_pool2d((rgba[:, 3:] > 0).float(), 5, 1, 2)
    error = (weight * (back - rgba)).abs().mean() + (weight * (back - rgba)).pow(2).mean() * 2
    error = error + 0.3 * (gradient(back[:, :3]) - gradient(rgba[:, :3])).abs().mean()
    # Keeps latents near the unit scale, so that they can be normalised and noised later.
    return error + 1e-3 * (latents.pow(2).mean() - 1).clamp(min=0), back


@torch.no_grad()
def normalise(codec: LatentCodec, rgb: torch.Tensor) -> None:
    """Set the codec's mean and deviation from pictures [B, 3, S, S]."""
    latents = codec.raw(rgb)
    codec.mean.copy_(latents.mean((0, 2, 3)))
    codec.deviation.copy_(latents.std((0, 2, 3)).clamp(min=1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="weights that a new run begins with, such as those that ship")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=20000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--people-folder", type=Path, help="of scripts/make_people.py; else people are made meanwhile")
    parser.add_argument("--people", type=int, default=400, help="kept in the pool")
    parser.add_argument("--people-per-step", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network, under two minutes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    codec = (LatentCodec(8) if arguments.smoke else LatentCodec()).to(device, memory_format=torch.channels_last)
    if arguments.smoke:
        arguments.steps, arguments.crop, arguments.batch, arguments.people_per_step = 6, 64, 2, 0.2
    if arguments.begin:
        read_network(codec, arguments.begin)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=0.01)
    run = Run(arguments.out, codec, optimiser, Average(codec))
    rng = np.random.default_rng(run.step)
    size = 128 if arguments.smoke else 256
    pool = SamplePool(size, 0 if arguments.smoke else 4, arguments.people, None, device, arguments.people_folder)
    start, last = time.monotonic(), time.monotonic()
    first_seed = split_seeds("train").start + run.step  # other people in every sitting
    for _ in range(2 if arguments.smoke else 8):
        pool.add(first_seed + pool.made)
    owed, errors = 0.0, []
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        owed += arguments.people_per_step
        if owed >= 1:
            pool.add(first_seed + pool.made)
            owed -= 1
        set_rate(optimiser, arguments.rate * falling_rate(run.step, arguments.steps, 50))
        rgba = batch(pool, arguments.batch, arguments.crop, rng).to(device, memory_format=torch.channels_last)
        loss, back = loss_of(codec, rgba)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(codec)
        person = (rgba[:, 3:] > 0.5).expand(-1, 3, -1, -1)
        errors.append(float((back.detach().clamp(0, 1) - rgba)[:, :3][person].pow(2).mean()))
        if run.step % 25 == 0 or run.step == arguments.steps:
            psnr = -10 * float(np.log10(np.mean(errors)))
            errors = []
            print(run.log(loss=float(loss), psnr_of_people=psnr, people=pool.made), flush=True)
        if time.monotonic() - last > 120:
            last = time.monotonic()
            finish(run, codec, pool, rng)
    finish(run, codec, pool, rng)


def finish(run: Run, codec: LatentCodec, pool: SamplePool, rng: np.random.Generator) -> None:
    """Normalise, save, and draw pictures beside what comes back."""
    from PIL import Image

    rgb = batch(pool, 8, min(pool.size, 192), rng)[:, :3].to(next(codec.parameters()).device)
    normalise(codec, rgb)
    for name in ("mean", "deviation"):
        run.average.values[name] = getattr(codec, name).detach().clone().float()
    run.save()
    with torch.no_grad():
        back = codec.decode(codec.encode(rgb)).clamp(0, 1)
    sheet = torch.cat([torch.cat(list(rgb), 2), torch.cat(list(back), 2)], 1)
    Image.fromarray((sheet.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)).save(run.folder / "sample.png")


if __name__ == "__main__":
    main()
