#!/usr/bin/env python3
"""Train the latent reconstruction transformer on people of the factory.

    .venvs/backend/bin/python scripts/train_reconstruction.py --config lite --codec out/codec --out out/lite
    .venvs/backend/bin/python scripts/train_reconstruction.py --config lite --smoke --out /tmp/lite

Goes on where the folder's last run stopped. Writes weights.safetensors (averaged, fp16), state.pt, log.jsonl and
sample.png (truth above, ours below). Several GPUs: `accelerate launch scripts/train_reconstruction.py ...`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.networks import read_frozen, read_network
from backend.research.training.latent_data import Frame, latent_input
from backend.research.training.latent_losses import LossWeights, geometry_loss, picture_losses
from backend.research.training.latent_pool import SamplePool
from backend.research.training.loop import Average, Run, falling_rate, set_rate, start_accelerator
from backend.research.training.person.identity import body_model
from backend.research.training.samples import Sample, split_seeds
from backend.research.training.synthesizer_data import as_photographed, imperfect_latents, lite_example
from backend.views.latent import CONFIGS, BodyMaps, LatentConfig, LatentInput, LatentTransformer
from backend.views.latent.codec import DiffusersCodec, LatentCodec
from backend.views.latent.views import SideViews
from backend.views.synthesize import CONFIGS as SYNTHESIZERS
from backend.views.synthesize import ViewUNet
from backend.views.synthesize.painter import Painter
from backend.views.synthesize.stage import PAINTER, WEIGHTS


def read_codec(arguments: argparse.Namespace, device: str) -> LatentCodec | DiffusersCodec:
    """The frozen autoencoder."""
    if arguments.config == "full":
        codec: LatentCodec | DiffusersCodec = DiffusersCodec(arguments.codec)
    elif arguments.smoke and arguments.codec is None:
        codec = LatentCodec(8)
    else:
        codec = read_network(LatentCodec(), arguments.codec / "weights.safetensors")
    return codec.to(device).requires_grad_(False).eval()


_UNSEEN = 4.0
"""How much more often views that did not go in are rendered than those that did."""
_SYNTHESIZED, _TRUE = 0.3, 0.3
"""Shares, unless told: of the people whose other views are synthesized, where there is a synthesizer, and of those
whose true body is given."""
_CLEAN = 0.4
"""Share of the photos that are taken as they are, without augmentation."""
_SPOILT = 0.35
"""Share of the people with true views whose views have a generator's faults."""


class Trainer:
    """One network, one codec, one pool.

    Args:
        config: sizes.
        weights: of the losses.
        network: being trained; ``bare`` is the same without what spreads it over several GPUs.
        codec: frozen.
        device: of all.
        render_size: pixels a side of renders that losses compare.
        synthesizer, painter: frozen; with them a share ``synthesized`` of people come with their views.
    """

    def __init__(
        self,
        config: LatentConfig,
        weights: LossWeights,
        network: torch.nn.Module,
        bare: LatentTransformer,
        codec: LatentCodec | DiffusersCodec,
        device: str,
        render_size: int,
        synthesizer: ViewUNet | None = None,
        painter: Painter | None = None,
        synthesized: float = _SYNTHESIZED,
    ) -> None:
        self.config, self.weights, self.network, self.bare, self.codec = config, weights, network, bare, codec
        self.render_size, self.synthesizer, self.painter = render_size, synthesizer, painter
        self.synthesized = synthesized
        self.bodies = {name: body_model(name, device) for name in ("neutral", "female", "male", "child")}

    def _input(
        self, sample: Sample, error: float | None, rng: np.random.Generator | None = None
    ) -> tuple[LatentInput, Frame, bool]:
        """What the network takes of ``sample``, and whether its views show one person; see :meth:`losses`."""
        others = None
        if self.synthesizer is not None and rng is not None and rng.random() < self.synthesized:
            config = self.synthesizer.config
            given = sample.body if error == 0 else None
            example = lite_example(sample, config, self.codec, self.bodies, None, given)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            latents = imperfect_latents(self.synthesizer, example, config.sigma_max, generator)[0]
            painted = self.painter.paint(*self.codec.decode_rgba(latents), example.given.fine[0])
            others = SideViews(latents, painted, imagined=True)[1:]
        bend = rng if others is None and rng is not None and rng.random() < _SPOILT else None
        exact = 1.0 if error is None else error
        taken, frame = latent_input(sample, self.config, self.codec, self.bodies, bend, exact, others)
        # Views that do not show one person cannot be compared with each other.
        return (without_body(taken) if error is None else taken), frame, others is None and bend is None

    def losses(
        self, sample: Sample, rng: np.random.Generator, renders: int, error: float | None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted sum and its terms for one person.

        Args:
            sample: see there.
            rng: chooses distortions and views.
            renders: how many views are rendered; 0 leaves geometry alone.
            error: of the body, 0 for the true one, 1 for the estimated, between them for what fits to several views are
                like; None leaves the body out.
        """
        # Other views come in the photo's colours, and so does what is compared with.
        sample = as_photographed(sample, rng, _CLEAN)
        taken, frame, one = self._input(sample, error, rng)
        maps = self.network(taken, one)
        seen = sample.views[: self.config.views]
        terms = {"depth": geometry_loss(maps.depth, seen, frame), "first": geometry_loss(maps.first, seen, frame)}
        if renders:
            splats = self.bare.splats(taken, maps)
            # Views that went in are the easy ones.
            odds = np.where(np.arange(len(sample.cameras)) < self.config.views, 1.0, _UNSEEN)
            chosen = sorted(rng.choice(len(odds), renders, replace=False, p=odds / odds.sum()).tolist())
            cameras = frame.cameras(sample.cameras[chosen])
            more, _ = picture_losses(splats, cameras, sample.views[chosen], self.codec, self.weights, self.render_size)
            terms |= more
        total = sum(getattr(self.weights, name) * value for name, value in terms.items())
        return total, {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def drawn(self, sample: Sample, size: int, error: float | None = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """All views as they come out, and the true ones, [V, 3, size, size]; ``error`` as in :meth:`losses`."""
        taken, frame, _ = self._input(sample, error)
        splats = self.bare.splats(taken, self.network(taken))
        weights = replace(self.weights, perceptual=0.0, parts=0.0)
        _, drawn = picture_losses(splats, frame.cameras(sample.cameras), sample.views, self.codec, weights, size)
        truth = functional.interpolate(sample.views.rgb.permute(0, 3, 1, 2), size=(size, size), mode="area")
        return drawn.clamp(0, 1), truth

    def sheet(self, people: list[Sample], size: int) -> tuple[np.ndarray, float]:
        """(truth above ours of everyone, uint8; mean PSNR over all views in dB), true views given."""
        rows, errors = [], []
        for sample in people:
            drawn, truth = self.drawn(sample, size)
            rows += [torch.cat(list(truth), 2), torch.cat(list(drawn), 2)]
            errors.append((drawn - truth).pow(2).mean((1, 2, 3)))
        pixels = (torch.cat(rows, 1).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
        return pixels, float((-10 * torch.cat(errors).clamp(min=1e-9).log10()).mean())


def without_body(given: LatentInput) -> LatentInput:
    """A person of whom only the place is known: the body is a plane through the pelvis, for the ablation."""
    maps = given.maps
    plane = given.cameras.world_to_camera[:, 2, 3][:, None, None].expand_as(maps.depth)
    nothing = torch.zeros_like(maps.mask)
    return replace(given, maps=BodyMaps(plane, torch.zeros_like(maps.normal), nothing, maps.face))


def learn(
    run: Run,
    trainer: Trainer,
    pool: SamplePool,
    rng: np.random.Generator,
    rate: float,
    renders: int,
    true_share: float | None = _TRUE,
    batch: int = 1,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> dict[str, float]:
    """One step.

    Args:
        run: of the network; its optimiser may be wrapped.
        trainer: of the same network.
        pool: of people.
        rng: draws.
        rate: of learning, now.
        renders: views that are rendered; 0 leaves geometry alone.
        true_share: how often the true body is given; of the others half are estimated, half between the two. None
            leaves bodies out.
        batch: people.
        backward: of the loss.

    Returns:
        The losses' terms.
    """
    set_rate(run.optimiser, rate)
    run.optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for _ in range(batch):
        error: float | None = None
        if true_share is not None:
            error = 0.0 if rng.random() < true_share else min(1.0, 2 * rng.random())
        loss, terms = trainer.losses(pool.draw(rng), rng, renders, error)
        backward(loss / batch)
        sums = {k: sums.get(k, 0.0) + v / batch for k, v in terms.items()}
    torch.nn.utils.clip_grad_norm_(trainer.bare.parameters(), 1.0)
    run.optimiser.step()
    run.step += 1
    run.average.update(trainer.bare)
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=[c for c in CONFIGS if c != "smoke"], default="lite")
    parser.add_argument("--codec", type=Path, help="folder of the trained autoencoder (full: of an SD VAE)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="weights that a new run begins with, such as those that ship")
    parser.add_argument(
        "--synthesizer",
        type=Path,
        metavar="FOLDER",
        help="lite: of synthesizer and painter, whose views it learns from",
    )
    parser.add_argument(
        "--synthesized", type=float, default=_SYNTHESIZED, help="share of the people whose sides are its views"
    )
    parser.add_argument("--true-share", type=float, default=_TRUE, help="share of the people whose true body is given")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=30000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=1, help="people a step")
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--people-folder", type=Path, help="of scripts/make_people.py; else people are made meanwhile")
    parser.add_argument("--people", type=int, default=300, help="kept in the pool")
    parser.add_argument("--people-per-step", type=float, default=0.2)
    parser.add_argument("--renders", type=int, default=2, help="views rendered a step")
    parser.add_argument("--render-from", type=float, default=0.1, help="share of the steps with geometry alone")
    parser.add_argument("--render-size", type=int, default=128)
    parser.add_argument("--estimate", choices=("noise", "fit", "none"), default="noise")
    parser.add_argument("--reference", type=int, help="pixels of the photo's own splat map")
    parser.add_argument("--window", type=int, help="in tokens; -1 looks everywhere")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network, under two minutes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    accelerator, device, rank = start_accelerator()

    config = CONFIGS["smoke" if arguments.smoke else arguments.config]()
    if arguments.smoke:
        arguments.steps, arguments.people_per_step = 4, 0.25
        arguments.render_size, arguments.renders, arguments.render_from = 48, 1, 0.5
    if arguments.reference:
        config = replace(config, reference=arguments.reference)
    if arguments.window is not None:
        config = replace(config, window=None if arguments.window < 0 else arguments.window)
    torch.manual_seed(0)
    bare = LatentTransformer(config).to(device)
    if arguments.begin:
        read_network(bare, arguments.begin)
    network: torch.nn.Module = bare
    codec = read_codec(arguments, device)
    weights = LossWeights()
    if not isinstance(codec, LatentCodec):
        weights = replace(weights, perceptual=0.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, betas=(0.9, 0.95), weight_decay=0.05)
    run = Run(arguments.out, network, optimiser, Average(network))
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters; {asdict(config)}; {asdict(weights)}")
    if accelerator:
        network, run.optimiser = accelerator.prepare(network, optimiser)
    synthesizer, painter = None, None
    if arguments.synthesizer:
        synthesizer = read_frozen(ViewUNet(SYNTHESIZERS["lite"]()), arguments.synthesizer / WEIGHTS, device)
        painter = read_frozen(Painter(), arguments.synthesizer / PAINTER, device)
    trainer = Trainer(
        config,
        weights,
        network,
        bare,
        codec,
        device,
        arguments.render_size,
        synthesizer,
        painter,
        arguments.synthesized,
    )
    rng = np.random.default_rng([run.step, rank])
    estimate = None if arguments.estimate == "none" else arguments.estimate
    others = 1 if arguments.smoke else 4
    pool = SamplePool(config.reference, others, arguments.people, estimate, device, arguments.people_folder)
    first_seed = split_seeds("train").start + 1_000_000 * rank + run.step
    for _ in range(1 if arguments.smoke else 8):
        pool.add(first_seed + pool.made)
    validation = split_seeds("validation")
    held_out = [pool.make(seed, augment=False) for seed in validation[: 1 if arguments.smoke else 4]]
    backward = accelerator.backward if accelerator else torch.Tensor.backward
    owed, start, last = 0.0, time.monotonic(), time.monotonic()
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        owed += arguments.people_per_step
        while owed >= 1:
            pool.add(first_seed + pool.made)
            owed -= 1
        rate = arguments.rate * falling_rate(run.step, arguments.steps, 100)
        renders = arguments.renders if run.step >= arguments.render_from * arguments.steps else 0
        terms = learn(run, trainer, pool, rng, rate, renders, arguments.true_share, arguments.batch, backward)
        if rank == 0 and (run.step % 20 == 0 or run.step == arguments.steps):
            print(run.log(**terms, people=pool.made), flush=True)
        if rank == 0 and time.monotonic() - last > 600:
            last = time.monotonic()
            finish(run, trainer, held_out)
    if rank == 0:
        finish(run, trainer, held_out)


def finish(run: Run, trainer: Trainer, held_out: list[Sample]) -> None:
    """Save, and draw the people that are held out."""
    from PIL import Image

    run.save()
    pixels, psnr = trainer.sheet(held_out, trainer.render_size)
    Image.fromarray(pixels).save(run.folder / "sample.png")
    print(run.log(held_out_psnr=psnr), flush=True)


if __name__ == "__main__":
    main()
