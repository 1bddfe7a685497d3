#!/usr/bin/env python3
"""Train the novel-view synthesizer: our small one (lite), or SV3D on people (full).

    .venvs/backend/bin/python scripts/train_synthesizer.py --config lite --codec out/codec --out out/synthesizer
    .venvs/backend/bin/python scripts/train_synthesizer.py --config full --weights sv3d/ --out out/sv3d --size 512
    .venvs/backend/bin/python scripts/train_synthesizer.py --config lite --smoke --out /tmp/synthesizer

Goes on where the folder's last run stopped. Writes weights.safetensors (averaged, fp16), state.pt, log.jsonl and
sample.png (photo and true views above, imagined ones below); full also writes unet/ in the layout of diffusers.
Several GPUs: `accelerate launch scripts/train_synthesizer.py ...`.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.errors import BackendError
from backend.networks import read_network
from backend.research.training.latent_data import ORBIT
from backend.research.training.latent_pool import SamplePool
from backend.research.training.loop import Average, Run, averaged, falling_rate, set_rate, start_accelerator
from backend.research.training.person.identity import body_model
from backend.research.training.samples import Sample, Source, split_seeds
from backend.research.training.synthesizer_data import OrbitPool, join_examples, lite_example, lite_loss, orbit_example
from backend.views.latent.codec import LatentCodec
from backend.views.synthesize import CONFIGS, FullConfig, SynthesizerConfig, ViewUNet
from backend.views.synthesize.schedule import draw_sigmas, karras_sigmas, sample_euler, scalings, velocity

ESTIMATED = 0.7
"""Share of the people whose body is what a fit finds rather than the true one."""


class Lite:
    """Training of the small network.

    Args:
        config: sizes.
        codec: frozen.
        device: of all.
        arguments: see :func:`parse`.
    """

    def __init__(self, config: SynthesizerConfig, codec: nn.Module, device: str, arguments: argparse.Namespace) -> None:
        self.config, self.codec, self.device, self.arguments = config, codec, device, arguments
        self.network = ViewUNet(config).to(device, memory_format=torch.channels_last)
        self.network.checkpointing = arguments.gradient_checkpointing
        self.latents: dict[int, torch.Tensor] = {}
        """Of people from a folder, by seed: they come again, and the codec does not change. A thousand take 64 MB."""
        licensed = () if arguments.scan_bodies is None else (str(arguments.scan_bodies),)
        self.bodies = {name: body_model(name, device) for name in ("neutral", "female", "male", "child", *licensed)}

    def trained(self) -> list[nn.Parameter]:
        """The parameters that change."""
        return list(self.network.parameters())

    def loss(
        self, network: nn.Module, samples: list[Sample], rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Of a batch of people."""
        people = []
        for sample in samples:
            body = None if rng.random() < ESTIMATED else sample.body
            known = self.latents.get(sample.seed)
            example = lite_example(sample, self.config, self.codec, self.bodies, rng, body, known)
            if self.arguments.people_folder is not None:
                self.latents[sample.seed] = example.latents
            people.append(example)
        return lite_loss(network, join_examples(people), self.arguments.drop, generator)[0]

    @torch.no_grad()
    def sheet(self, network: ViewUNet, sample: Sample) -> tuple[torch.Tensor, dict[str, float]]:
        """(picture [3, H, W], measures) of one person whom training never sees, for one seed.

        The measures: ``psnr`` in dB of the decoded sides against the decoded true ones, ``mean_psnr`` of what the
        network expects from noise alone (the blurred mean that it would paint in one step).
        """
        example = lite_example(sample, self.config, self.codec, self.bodies)
        c = self.config
        shape, generator = example.latents.shape, torch.Generator().manual_seed(0)
        noise = torch.randn(shape, generator=generator).to(self.device)

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            levels = torch.full((1,), sigma, device=self.device)
            return network.denoise(x, levels, example.given, example.azimuths)

        made = sample_euler(denoise, noise, karras_sigmas(c.steps, c.sigma_min, c.sigma_max))
        mean = denoise(noise * c.sigma_max, c.sigma_max)
        true, ours, dull = (self.codec.decode(v[0]).clamp(0, 1) for v in (example.latents, made, mean))
        size = (c.picture, c.picture)
        matte = sample.photo_alpha[..., None]
        white = (sample.photo_rgb * matte + (1 - matte)).permute(2, 0, 1)[None]
        photo = functional.interpolate(white, size=size, mode="area")
        picture = stack_rows([[*photo, *true], [torch.ones_like(photo[0]), *ours]])

        def psnr(found: torch.Tensor) -> float:
            return -10 * math.log10(max(float((found[1:] - true[1:]).square().mean()), 1e-9))

        return picture, {"psnr": psnr(ours), "mean_psnr": psnr(dull)}

    def export(self, run: Run) -> None:
        """Weights are used as ``Run`` writes them."""


class Full:
    """Fine-tuning of SV3D, by the paper's recipe.

    Args:
        synthesizer: SV3D's parts, see ``backend.views.synthesize.full``.
        config: sizes.
        device: of all.
        arguments: see :func:`parse`.
    """

    def __init__(self, synthesizer: Any, config: FullConfig, device: str, arguments: argparse.Namespace) -> None:
        self.parts, self.config, self.device, self.arguments = synthesizer, config, device, arguments
        self.network = synthesizer.unet.float().to(device).train()
        for part in (synthesizer.vae, synthesizer.embed):
            part.requires_grad_(False)
        if arguments.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()
        if arguments.train == "temporal":
            # HumanSplat's code trains the temporal attention and the camera embedding alone.
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_("temporal_transformer_blocks" in name or "add_embedding" in name)

    def trained(self) -> list[nn.Parameter]:
        """The parameters that change."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def _example(self, sample: Sample) -> Any:
        scaling = self.parts.vae.config.scaling_factor
        return orbit_example(sample, self.config.picture, self.parts.encode, self.parts.embed, scaling)

    def loss(
        self, network: nn.Module, samples: list[Sample], rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Of a batch of people; their orbits need not agree."""
        losses = []
        for sample in samples:
            e = self._example(sample)
            sigma = draw_sigmas(1, 0.7, 1.6, generator).to(self.device)
            noise = torch.randn(e.latents.shape, generator=generator).to(self.device)
            keep = (torch.rand(2, generator=generator) >= self.arguments.drop).float().to(self.device)
            s = scalings(sigma)
            photo = (keep[0] * e.photo_latent).expand(len(e.latents), -1, -1, -1)
            given = torch.cat([s.into * (e.latents + sigma * noise), photo], 1)[None]
            cameras = torch.stack([torch.full_like(e.polar, self.config.noise), e.polar, e.azimuth], 1)[None]
            answer = network(given, s.noise, keep[1] * e.embedding[None], cameras)
            losses.append((answer - velocity(e.latents, noise, sigma)[None]).square().mean())
        return torch.stack(losses).mean()

    @torch.no_grad()
    def sheet(self, network: nn.Module, sample: Sample) -> tuple[torch.Tensor, dict[str, float]]:
        """(picture [3, H, W], measures) of one person whom training never sees, for one seed."""
        matte = sample.photo_alpha[..., None]
        photo = (sample.photo_rgb * matte + (1 - matte)).permute(2, 0, 1)[None]
        before, self.parts.unet = self.parts.unet, network.eval()
        latents, _ = self.parts.orbit(photo, 0)
        self.parts.unet = before
        network.train()
        e = self._example(sample)
        chosen = [round(k * len(latents) / 4) - 1 for k in (1, 2, 3, 4)]
        ours, true = self.parts.decode(latents[chosen]), self.parts.decode(e.latents[chosen])
        small = functional.interpolate(photo, size=tuple(true.shape[-2:]), mode="area")
        picture = stack_rows([[*small, *true], [torch.ones_like(small[0]), *ours]])
        error = float((ours[:3] - true[:3]).square().mean())
        return picture, {"psnr": -10 * math.log10(max(error, 1e-9))}

    def export(self, run: Run) -> None:
        """Also write the averaged weights as a ``unet`` folder, which takes the place of SV3D's."""
        folder = run.folder / "unet"
        self.network.save_config(folder)
        shutil.copyfile(run.folder / "weights.safetensors", folder / "diffusion_pytorch_model.safetensors")


def stack_rows(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    """Pictures [3, S, S] in rows as one [3, H, W]."""
    return torch.cat([torch.cat(row, 2) for row in rows], 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=("lite", "full"), default="lite")
    parser.add_argument("--codec", type=Path, help="lite: folder of the trained autoencoder")
    parser.add_argument("--weights", help="full: SV3D's folder in diffusers' layout, or its hub id")
    parser.add_argument("--train", choices=("temporal", "all"), default="temporal", help="full: which layers change")
    parser.add_argument("--frames", type=int, default=21, help="full: views of the orbit")
    parser.add_argument("--size", type=int, help="full: pixels a side, 512 (default) or 576")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="lite: weights that a new run begins with, such as those that ship")
    parser.add_argument("--minutes", type=float, default=60.0, help="of this sitting")
    parser.add_argument("--steps", type=int, default=30000, help="in all; the learning rate falls to zero there")
    parser.add_argument("--batch", type=int, default=1, help="people a step")
    parser.add_argument("--rate", type=float, help="learning rate; lite 3e-4, full 1e-5")
    parser.add_argument("--noise-mean", type=float, help="lite: of the noise's logarithm; 3 trains the mean alone")
    parser.add_argument("--noise-deviation", type=float, help="lite: likewise")
    parser.add_argument("--drop", type=float, help="share of people without photo; lite 0.1, full 0.05 (twice)")
    parser.add_argument("--people", type=int, default=300, help="kept in the pool")
    parser.add_argument("--people-per-step", type=float, default=0.2, help="made while training goes on")
    parser.add_argument("--people-folder", type=Path, help="lite: people made before by scripts/make_people.py")
    parser.add_argument("--scans", type=Path, help="a folder of scans or characters instead of the factory's people")
    parser.add_argument("--scan-bodies", type=Path, help="licensed body file that the scans' parameters are of")
    parser.add_argument("--estimate", choices=("noise", "fit"), default="noise", help="how bodies are estimated")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where it is safe, on a card")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network, under two minutes")
    arguments = parser.parse_args()
    full = arguments.config == "full"
    arguments.rate = arguments.rate or (1e-5 if full else 3e-4)
    arguments.drop = (0.05 if full else 0.1) if arguments.drop is None else arguments.drop
    if full and arguments.people_folder is not None:
        parser.error("--people-folder holds four views a person, too few for --config full")
    if not full and arguments.scans is not None and arguments.scan_bodies is None:
        parser.error("--config lite needs the bodies in the scans: --scan-bodies")
    if arguments.smoke:
        arguments.steps, arguments.people_per_step = 4, 0.25
    elif full and arguments.weights is None:
        parser.error("--config full needs --weights")
    elif not full and arguments.codec is None:
        parser.error("--config lite needs --codec")
    return arguments


def make_trainer(arguments: argparse.Namespace, device: str) -> Lite | Full:
    """The networks, as ``arguments`` ask.

    Raises:
        BackendError: weights that are missing or damaged.
    """
    if arguments.config == "lite":
        codec = LatentCodec(8) if arguments.smoke and arguments.codec is None else LatentCodec()
        if arguments.codec is not None:
            read_network(codec, arguments.codec / "weights.safetensors")
        config = CONFIGS["smoke" if arguments.smoke else "lite"]()
        if arguments.noise_mean is not None:
            config = replace(config, noise_mean=arguments.noise_mean)
        if arguments.noise_deviation is not None:
            config = replace(config, noise_deviation=arguments.noise_deviation)
        return Lite(config, codec.to(device).requires_grad_(False).eval(), device, arguments)
    from backend.views.synthesize.full import load_full
    from backend.views.synthesize.memory import choose_mode
    from backend.views.synthesize.tiny import tiny_full

    if arguments.smoke:
        config = FullConfig(picture=64, frames=5, steps=2)
        return Full(tiny_full(config, device), config, device, arguments)
    config = FullConfig(picture=arguments.size or 512, frames=arguments.frames)
    return Full(load_full(arguments.weights, config, device, mode=choose_mode(None)), config, device, arguments)


def make_pool(arguments: argparse.Namespace, trainer: Lite | Full, device: str) -> SamplePool:
    """Where people come from."""
    source: Source | None = None
    if arguments.scans is not None:
        from backend.research.training.scans import ScanFolder

        source = ScanFolder(arguments.scans, arguments.scan_bodies, device)
    size, count = trainer.config.picture, arguments.people
    if arguments.config == "full":
        azimuths = [360 * k / trainer.config.frames for k in range(trainer.config.frames)]
        return OrbitPool(azimuths, size, count, None, source, device)
    if source is not None:
        return OrbitPool(ORBIT, size, count, arguments.estimate, source, device)
    return SamplePool(size, 0, count, arguments.estimate, device, arguments.people_folder)


def finish(run: Run, trainer: Lite | Full, held_out: Sample) -> None:
    """Save, and draw the person that is held out with the averaged weights."""
    from PIL import Image

    run.save()
    trainer.export(run)
    trainer.network.eval()
    with averaged(run):
        picture, measures = trainer.sheet(trainer.network, held_out)
    trainer.network.train()
    pixels = (picture.clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(run.folder / "sample.png")
    print(run.log(**{f"held_out_{name}": value for name, value in measures.items()}), flush=True)


def main() -> int:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    accelerator, device, rank = start_accelerator()
    torch.manual_seed(0)
    try:
        trainer = make_trainer(arguments, device)
        pool = make_pool(arguments, trainer, device)
    except (BackendError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    bare = trainer.network
    if arguments.begin:
        read_network(bare, arguments.begin)
    decay = 0.01 if arguments.config == "full" else 0.02
    optimiser = torch.optim.AdamW(trainer.trained(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=decay)
    run = Run(arguments.out, bare, optimiser, Average(bare))
    count = sum(p.numel() for p in bare.parameters())
    print(f"{count / 1e6:.1f} M parameters; {trainer.config}")
    network: nn.Module = bare.train()
    if accelerator:
        network, optimiser = accelerator.prepare(network, optimiser)
    rng = np.random.default_rng([run.step, rank])
    generator = torch.Generator().manual_seed(run.step * 1009 + rank)
    first_seed = 0 if arguments.scans else split_seeds("train").start + 1_000_000 * rank + run.step
    if arguments.people_folder is None:
        for _ in range(1 if arguments.smoke else 8):
            pool.add(first_seed + pool.made)
    held_out = pool.make(0 if arguments.scans else split_seeds("validation").start, augment=False)
    owed, errors, start, last = 0.0, [], time.monotonic(), time.monotonic()
    while run.step < arguments.steps and time.monotonic() - start < 60 * arguments.minutes:
        owed += 0.0 if arguments.people_folder else arguments.people_per_step
        while owed >= 1:
            pool.add(first_seed + pool.made)
            owed -= 1
        set_rate(optimiser, arguments.rate * falling_rate(run.step, arguments.steps, 50))
        optimiser.zero_grad(set_to_none=True)
        people = [pool.draw(rng) for _ in range(arguments.batch)]
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=arguments.bf16 and device != "cpu"):
            loss = trainer.loss(network, people, rng, generator)
        if accelerator:
            accelerator.backward(loss)
        else:
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.trained(), 1.0)
        optimiser.step()
        run.step += 1
        run.average.update(bare)
        errors.append(float(loss.detach()))
        if rank == 0 and (run.step % 50 == 0 or run.step == arguments.steps):
            print(run.log(loss=float(np.mean(errors)), people=pool.made), flush=True)
            errors = []
        if rank == 0 and time.monotonic() - last > 300:
            last = time.monotonic()
            finish(run, trainer, held_out)
    if rank == 0:
        finish(run, trainer, held_out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
