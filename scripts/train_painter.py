#!/usr/bin/env python3
"""Train what paints the imagined views, behind a synthesizer that does not change.

    .venvs/backend/bin/python scripts/train_painter.py --codec out/codec --synthesizer out/synthesizer \
        --people-folder out/fitted --estimate fit --out out/painter

Goes on where the folder's last run stopped. Writes weights.safetensors (averaged, fp16), state.pt, log.jsonl and
sample.png (photo and true views, painted views, decoded latents).
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

from backend.networks import read_frozen, read_network
from backend.research.training.latent_pool import SamplePool
from backend.research.training.loop import Average, Run, averaged, falling_rate, set_rate
from backend.research.training.person.identity import body_model
from backend.research.training.samples import Sample, split_seeds
from backend.research.training.synthesizer_data import Example, imperfect_latents, lite_example, picture_loss
from backend.views.latent.codec import LatentCodec
from backend.views.latent.inputs import shown
from backend.views.latent.views import SideViews
from backend.views.synthesize import CONFIGS, ViewUNet
from backend.views.synthesize.painter import Painter

HELD_OUT = 3
"""People of the validation split that the sheet shows."""


class Trainer:
    """Painter, and what it is fed by.

    Args:
        painter: being trained.
        synthesizer, codec: frozen.
        device: of all.
    """

    def __init__(self, painter: Painter, synthesizer: ViewUNet, codec: LatentCodec, device: str) -> None:
        self.painter, self.synthesizer, self.codec, self.config = painter, synthesizer, codec, synthesizer.config
        self.bodies = {name: body_model(name, device) for name in ("neutral", "female", "male", "child")}
        self.latents: dict[int, torch.Tensor] = {}
        """True ones of people from a folder, by seed: they come again."""

    def example(self, sample: Sample, rng: np.random.Generator | None, seed: int) -> tuple[Example, torch.Tensor]:
        """(the person, latents [V, 4, L, L] as one step from pure noise gives them)."""
        known = self.latents.get(sample.seed)
        example = lite_example(sample, self.config, self.codec, self.bodies, rng, None, known)
        if rng is not None:
            self.latents[sample.seed] = example.latents
        generator = torch.Generator().manual_seed(seed)
        return example, imperfect_latents(self.synthesizer, example, self.config.sigma_max, generator)[0]

    def loss(self, sample: Sample, rng: np.random.Generator) -> torch.Tensor:
        """Of one person."""
        example, latents = self.example(sample, rng, int(rng.integers(2**31)))
        painted, shade = self.painter(*self.codec.decode_rgba(latents), example.given.fine[0])
        lit = torch.cat([painted[:, :3] * shade, painted[:, 3:]], 1)
        return picture_loss(lit[None], example.pictures)

    @torch.no_grad()
    def sheet(self, people: list[Sample]) -> tuple[torch.Tensor, dict[str, float]]:
        """(picture [3, H, W]; PSNR in dB over white of painted and of decoded sides, and the painted outlines' IoU)."""
        rows, sums = [], np.zeros(3)
        size = self.config.picture
        for sample in people:
            example, latents = self.example(sample, None, 0)
            decoded, alpha = self.codec.decode_rgba(latents)
            painted = SideViews(latents, self.painter.paint(decoded, alpha, example.given.fine[0]))
            ours, covered = shown(painted, self.codec, size)
            true = functional.interpolate(example.pictures[0], size=(size, size), mode="bilinear").clamp(0, 1)
            white = sample.photo_rgb * sample.photo_alpha[..., None] + 1 - sample.photo_alpha[..., None]
            photo = functional.interpolate(white.permute(2, 0, 1)[None], size=(size, size), mode="area")
            blank = torch.ones_like(photo[0])
            rows += [torch.cat([*photo, *true[:, :3]], 2), torch.cat([blank, *ours], 2)]
            rows.append(torch.cat([blank, *decoded], 2))
            errors = [float((found - true[:, :3])[1:].square().mean()) for found in (ours, decoded)]
            a, b = covered[1:] > 0.5, true[1:, 3] > 0.5
            sums += [*(-10 * math.log10(max(e, 1e-9)) for e in errors), float((a & b).sum() / (a | b).sum())]
        return torch.cat(rows, 1), dict(zip(("psnr", "decoded_psnr", "iou"), (sums / len(people)).tolist()))


def finish(run: Run, trainer: Trainer, people: list[Sample]) -> None:
    """Save, and draw the people that are held out with the averaged weights."""
    from PIL import Image

    run.save()
    with averaged(run):
        picture, measures = trainer.sheet(people)
    pixels = (picture.clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(run.folder / "sample.png")
    print(run.log(**{f"held_out_{name}": value for name, value in measures.items()}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=Path, help="folder of the trained autoencoder")
    parser.add_argument("--synthesizer", type=Path, help="folder of the trained synthesizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="weights that a new run begins with, such as those that ship")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=5000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=1, help="people a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--people-folder", type=Path, help="of scripts/make_people.py; else people are made meanwhile")
    parser.add_argument("--people", type=int, default=300, help="kept in the pool")
    parser.add_argument("--estimate", choices=("noise", "fit"), default="noise", help="how bodies are estimated")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny networks, under two minutes")
    arguments = parser.parse_args()
    if not arguments.smoke and (arguments.codec is None or arguments.synthesizer is None):
        parser.error("--codec and --synthesizer are needed")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.smoke:
        arguments.steps = 4
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = CONFIGS["smoke" if arguments.smoke else "lite"]()
    codec: torch.nn.Module = LatentCodec(8 if arguments.smoke else 48)
    synthesizer: torch.nn.Module = ViewUNet(config)
    if not arguments.smoke:
        codec = read_frozen(codec, arguments.codec / "weights.safetensors", device)
        synthesizer = read_frozen(synthesizer, arguments.synthesizer / "weights.safetensors", device)
    painter = Painter(8) if arguments.smoke else Painter()
    painter = painter.to(device, memory_format=torch.channels_last)
    if arguments.begin:
        read_network(painter, arguments.begin)
    optimiser = torch.optim.AdamW(painter.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=0.01)
    run = Run(arguments.out, painter, optimiser, Average(painter, 0.99))
    trainer = Trainer(painter, synthesizer, codec, device)
    pool = SamplePool(config.picture, 0, arguments.people, arguments.estimate, device, arguments.people_folder)
    rng = np.random.default_rng(run.step)
    first_seed, validation = split_seeds("train").start + run.step, split_seeds("validation").start
    for _ in range(1 if arguments.smoke else 8):
        pool.add(first_seed + pool.made)
    people = [pool.make(validation + k, augment=False) for k in range(1 if arguments.smoke else HELD_OUT)]
    start, last, errors = time.monotonic(), time.monotonic(), []
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        if not arguments.smoke and run.step % 5 == 0:
            pool.add(first_seed + pool.made)
        set_rate(optimiser, arguments.rate * falling_rate(run.step, arguments.steps, 30))
        optimiser.zero_grad(set_to_none=True)
        for _ in range(arguments.batch):
            loss = trainer.loss(pool.draw(rng), rng) / arguments.batch
            loss.backward()
            errors.append(float(loss.detach()) * arguments.batch)
        torch.nn.utils.clip_grad_norm_(painter.parameters(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(painter)
        if run.step % 50 == 0 or run.step == arguments.steps:
            print(run.log(loss=float(np.mean(errors)), people=pool.made), flush=True)
            errors = []
        if time.monotonic() - last > 240:
            last = time.monotonic()
            finish(run, trainer, people)
    finish(run, trainer, people)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
