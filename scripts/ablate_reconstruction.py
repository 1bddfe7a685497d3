#!/usr/bin/env python3
"""Train the reconstruction transformer without its parts, one after the other, and print what each is worth.

    .venvs/backend/bin/python scripts/ablate_reconstruction.py --codec out/codec --people-folder out/people \
        --out out/ablation --steps 400
    .venvs/backend/bin/python scripts/ablate_reconstruction.py --smoke --out /tmp/ablation

The rows are the paper's: latents or pixels; the true, an estimated or no body; attention to body tokens that project
into the same cell, into windows of one and two, or to all; with and without the semantic terms. All rows see the same
people in the same order for the same number of steps. The table gives PSNR and SSIM of views that did not go in, of
people of the validation split with estimated bodies (true ones in that row alone). Goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from train_reconstruction import Trainer, learn, read_codec  # noqa: E402  (after the path)

from backend.research.evaluation.metrics import psnr, ssim  # noqa: E402
from backend.research.training.latent_losses import LossWeights  # noqa: E402
from backend.research.training.latent_pool import SamplePool  # noqa: E402
from backend.research.training.loop import Average, Run, falling_rate  # noqa: E402
from backend.research.training.samples import Sample, split_seeds  # noqa: E402
from backend.views.latent import CONFIGS, LatentTransformer  # noqa: E402


class PixelCodec(nn.Module):
    """Pictures at the latents' size in place of latents: what the paper calls pixel space.

    Args:
        codec: whose decoder still makes the views' own pixels, so that rows differ in what the tokens are made of only.
    """

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        """[B, 4, S / 8, S / 8]: mean colours in -1..1 and how far from white."""
        small = functional.avg_pool2d(rgb, 8) * 2 - 1
        return torch.cat([small, 1 - small.amin(1, keepdim=True)], 1)

    def decode_rgba(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enlarged colours [B, 3, S, S] and coverage [B, S, S]."""
        big = functional.interpolate(latents, scale_factor=8.0, mode="bilinear", align_corners=False)
        return (big[:, :3] * 0.5 + 0.5).clamp(0, 1), big[:, 3].clamp(0, 1)

    def features(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        """Those of the codec, for the perceptual loss."""
        return self.codec.features(rgb)


@dataclass(frozen=True)
class Ablation:
    """One row.

    Attributes:
        name: for people.
        config: fields of the configuration that differ.
        weights: fields of the losses' weights that differ.
        error: of the body, 0 for the true one, 1 for the estimated; None leaves it out.
        pixels: see :class:`PixelCodec`.
    """

    name: str
    config: dict[str, object]
    weights: dict[str, float]
    error: float | None = 1.0
    pixels: bool = False


ROWS = (
    Ablation("as it is: latents, estimated body, window 2, semantic terms", {}, {}),
    Ablation("pixels in place of latents", {}, {}, pixels=True),
    Ablation("the true body", {}, {}, error=0.0),
    Ablation("no body", {"body_tokens": 0}, {}, error=None),
    Ablation("projection only (window 0)", {"window": 0}, {}),
    Ablation("window 1", {"window": 1}, {}),
    Ablation("attention to all of the body", {"window": None}, {}),
    Ablation("without the semantic terms", {}, {"parts": 0.0}),
)


@torch.no_grad()
def measure(trainer: Trainer, people: list[Sample], error: float | None) -> tuple[float, float]:
    """Mean PSNR in dB and SSIM of the views that did not go in."""
    scores = []
    for sample in people:
        drawn, truth = trainer.drawn(sample, trainer.render_size, error)
        for ours, theirs in zip(drawn[trainer.config.views :], truth[trainer.config.views :]):
            a, b = (v.permute(1, 2, 0).cpu().numpy() for v in (theirs, ours))
            scores.append((psnr(a, b), ssim(a, b)))
    return tuple(np.mean(scores, 0).tolist())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=("lite", "full"), default="lite")
    parser.add_argument("--codec", type=Path, help="folder of the trained autoencoder")
    parser.add_argument("--people-folder", type=Path, help="of scripts/make_people.py; else people are made meanwhile")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000, help="of every row")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="numbers of the rows, from 0"
    )
    parser.add_argument("--people", type=int, default=12, help="of the validation split")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--estimate", choices=("noise", "fit"), default="noise", help="how bodies are estimated")
    parser.add_argument("--renders", type=int, default=2)
    parser.add_argument("--render-size", type=int, help="pixels a side of the renders; default: the pictures' own")
    parser.add_argument("--render-from", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny networks")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = CONFIGS["smoke" if arguments.smoke else arguments.config]()
    base = replace(base, reference=base.picture)
    size = 48 if arguments.smoke else arguments.render_size or base.picture
    if arguments.smoke:
        arguments.steps, arguments.people, arguments.renders = 2, 1, 1
    codec = read_codec(arguments, device)
    pool = SamplePool(base.picture, 4, 300, arguments.estimate, device, arguments.people_folder)
    first = split_seeds("validation").start
    people = [pool.make(first + k, augment=False) for k in range(arguments.people)]
    found = {}
    for number in arguments.rows:
        row = ROWS[number]
        result = arguments.out / f"{number}.json"
        if not result.is_file():
            torch.manual_seed(0)
            config = replace(base, **row.config)
            network = LatentTransformer(config).to(device)
            weights = replace(LossWeights(), **row.weights)
            optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, betas=(0.9, 0.95), weight_decay=0.05)
            run = Run(arguments.out / str(number), network, optimiser, Average(network))
            used = PixelCodec(codec) if row.pixels else codec
            trainer = Trainer(config, weights, network, network, used, device, size)
            if arguments.people_folder is None and not pool.samples:
                pool.add(split_seeds("train").start)
            rng = np.random.default_rng(0)
            share = None if row.error is None else 1 - row.error
            while run.step < arguments.steps:
                renders = arguments.renders if run.step >= arguments.render_from * arguments.steps else 0
                rate = arguments.rate * falling_rate(run.step, arguments.steps, 100)
                learn(run, trainer, pool, rng, rate, renders, share)
            run.save()
            values = measure(trainer, people, row.error)
            result.write_text(json.dumps({"psnr": values[0], "ssim": values[1], "steps": run.step}))
        found[number] = json.loads(result.read_text())
        print(f"{row.name}: {found[number]['psnr']:.2f} dB, {found[number]['ssim']:.4f}", file=sys.stderr, flush=True)
    print(f"{arguments.steps} steps a row, {len(people)} people held out, 4 views each.\n")
    print("| | PSNR | SSIM |\n| --- | --- | --- |")
    for number, values in found.items():
        print(f"| {ROWS[number].name} | {values['psnr']:.2f} | {values['ssim']:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
