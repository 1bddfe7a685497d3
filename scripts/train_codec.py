#!/usr/bin/env python3
"""Train the small autoencoder that makes latents of pictures, on people of the factory.

    .venvs/backend/bin/python scripts/train_codec.py --out out/codec --minutes 60      # goes on where it stopped
    .venvs/backend/bin/python scripts/train_codec.py --out /tmp/codec --smoke

Writes weights.safetensors (averaged, fp16), state.pt, log.jsonl and sample.png into the folder.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.reconstruct.latent.codec import LatentCodec
from backend.training.loop import Average, Run
from backend.training.samples import make_sample, split_seeds


class Pictures:
    """A pool of views of people, over white and other grounds, that grows while training goes on.

    Args:
        size: pixels a side of the views.
        capacity: people kept; later ones take the places of earlier ones.
        device: where they are made and kept.
    """

    def __init__(self, size: int, capacity: int, device: str) -> None:
        self.size, self.capacity, self.device = size, capacity, device
        self.people: list[torch.Tensor] = []
        self.made = 0

    def add(self, seed: int, views: int = 8) -> None:
        """Make the person of ``seed``."""
        sample = make_sample(seed, views, self.size, augment=False, device=self.device)
        pictures = (sample.views.rgb * 255).round().to(torch.uint8).permute(0, 3, 1, 2)
        if len(self.people) < self.capacity:
            self.people.append(pictures)
        else:
            self.people[self.made % self.capacity] = pictures
        self.made += 1

    def batch(self, count: int, crop: int, rng: np.random.Generator) -> torch.Tensor:
        """[count, 3, crop, crop] in 0..1: random crops near the picture's middle, mirrored at times."""
        out = []
        for _ in range(count):
            pictures = self.people[rng.integers(len(self.people))]
            picture = pictures[rng.integers(len(pictures))]
            room = self.size - crop
            y = int(np.clip(rng.normal(room / 2, room / 3), 0, room))
            x = int(np.clip(rng.normal(room / 2, room / 6), 0, room))
            part = picture[:, y : y + crop, x : x + crop].float() / 255
            out.append(part.flip(2) if rng.random() < 0.5 else part)
        return torch.stack(out)


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Differences of neighbours, [B, 6, S - 1, S - 1]."""
    return torch.cat([x[:, :, 1:, :-1] - x[:, :, :-1, :-1], x[:, :, :-1, 1:] - x[:, :, :-1, :-1]], 1)


def loss_of(codec: LatentCodec, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, reconstruction)."""
    latents = codec.network.encoder(rgb * 2 - 1)
    back = codec.network.decoder(latents) * 0.5 + 0.5
    person = (rgb < 0.99).any(1, keepdim=True)
    # The white around people is easy and large.
    weight = 0.2 + 0.8 * functional.max_pool2d(person.float(), 5, 1, 2)
    error = (weight * (back - rgb).abs()).mean() + 0.5 * (gradient(back) - gradient(rgb)).abs().mean()
    # Keeps latents near the unit scale, so that they can be normalised and noised later.
    return error + 1e-3 * (latents.pow(2).mean() - 1).clamp(min=0), back


@torch.no_grad()
def normalise(codec: LatentCodec, rgb: torch.Tensor) -> None:
    """Set the codec's mean and deviation from pictures [B, 3, S, S]."""
    latents = codec.network.encoder(rgb * 2 - 1)
    codec.mean.copy_(latents.mean((0, 2, 3)))
    codec.deviation.copy_(latents.std((0, 2, 3)).clamp(min=1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=20000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--people", type=int, default=400, help="kept in the pool")
    parser.add_argument("--people-per-step", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network, under two minutes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    codec = (LatentCodec(8, 8) if arguments.smoke else LatentCodec()).to(device)
    if arguments.smoke:
        arguments.steps, arguments.crop, arguments.batch, arguments.people_per_step = 6, 64, 2, 0.2
    optimiser = torch.optim.AdamW(codec.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=0.01)
    run = Run(arguments.out, codec, optimiser, Average(codec))
    rng = np.random.default_rng(run.step)
    pool = Pictures(128 if arguments.smoke else 256, arguments.people, device)
    train, start, last = split_seeds("train"), time.monotonic(), time.monotonic()
    first_seed = train.start + run.step  # other people in every sitting
    for _ in range(2 if arguments.smoke else 8):
        pool.add(first_seed + pool.made)
    owed, errors = 0.0, []
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        owed += arguments.people_per_step
        if owed >= 1:
            pool.add(first_seed + pool.made)
            owed -= 1
        share = run.step / arguments.steps
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(1.0, (run.step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * share))
        rgb = pool.batch(arguments.batch, arguments.crop, rng).to(device)
        loss, back = loss_of(codec, rgb)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(codec)
        person = (rgb < 0.99).any(1, keepdim=True).expand_as(rgb)
        errors.append(float((back.detach() - rgb)[person].pow(2).mean()))
        if run.step % 25 == 0 or run.step == arguments.steps:
            psnr = -10 * float(np.log10(np.mean(errors)))
            errors = []
            print(run.log(loss=float(loss), psnr_of_people=psnr, people=pool.made), flush=True)
        if time.monotonic() - last > 120:
            last = time.monotonic()
            finish(run, codec, pool, rng)
    finish(run, codec, pool, rng)


def finish(run: Run, codec: LatentCodec, pool: Pictures, rng: np.random.Generator) -> None:
    """Normalise, save, and draw pictures beside what comes back."""
    from PIL import Image

    rgb = pool.batch(8, min(pool.size, 192), rng).to(next(codec.parameters()).device)
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
