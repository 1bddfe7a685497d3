"""Time the product from photo to avatar package, stage by stage and warm, and print what it was measured on.

    .venvs/backend/bin/python scripts/benchmark_pipeline.py [PHOTO] [--preset lite] [--device cuda] [--repeats 3]
    .venvs/backend/bin/python scripts/benchmark_pipeline.py --full-random --device cuda

The first photo loads the networks and warms the device up, and is not counted; nothing of it is kept for the others.
``--full-random`` times the synthesizer of ``full`` instead: SV3D at its true size with random weights, made on the
device, which takes as long as with trained ones. It needs the packages diffusers and transformers, and no file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.errors import BackendError
from backend.options import DEFAULT_PRESET, PRESETS, ReconstructOptions
from backend.research.evaluation.candidates import peak_bytes

if TYPE_CHECKING:
    from backend.views.synthesize.full import FullSynthesizer

PHOTO = Path(__file__).resolve().parents[1] / "docs" / "demo" / "person.jpg"
PAPER_SECONDS = 9.3
"""HumanSplat's (Pan et al., NeurIPS 2024) on one A100: about 9 for the diffusion and 0.3 for the reconstruction."""
CLIP_VIT_H: dict[str, object] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
"""Of ``image_encoder`` in Stable Video Diffusion's folder."""
SVD_VAE: dict[str, object] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 768,
}
"""Of ``vae`` there."""


def device_name(device: torch.device) -> str:
    """The graphics card's name, or the processor's and how many cores this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def settle(device: torch.device) -> None:
    """Wait for the card, which works on while Python goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Most memory that was held so far, in GiB."""
    peak = {"resident": peak_bytes() / 2**30}
    if device.type == "cuda":
        peak["on the card"] = torch.cuda.max_memory_allocated(device) / 2**30
    return peak


def time_pipeline(
    photo: Path, preset: str, device: torch.device, repeats: int
) -> tuple[list[dict[str, float]], tuple[str, ...]]:
    """Seconds of each stage, one dictionary a run, with ``whole`` for all of it; and the pipeline's warnings."""
    from backend.pipeline import Pipeline

    pipeline, options, rows = Pipeline(str(device)), ReconstructOptions(preset=preset), []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(1 + repeats):
            pipeline.forget()  # or the fit and the surface of the photo before would be taken
            settle(device)
            started = time.perf_counter()
            result = pipeline.reconstruct(photo, Path(folder) / "avatar", options)
            seconds = dict(result.seconds)
            settle(device)
            seconds["whole"] = time.perf_counter() - started
            name = f"run {run}" if run else "warm-up"
            print(f"{name}: " + ", ".join(f"{k} {v:.2f}" for k, v in seconds.items()), file=sys.stderr, flush=True)
            if run:
                rows.append(seconds)
            elif device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
    return rows, result.warnings


def random_full(device: torch.device, picture: int, steps: int | None, tiny: bool) -> FullSynthesizer:
    """The synthesizer of ``full`` with random weights that are made on ``device``.

    Args:
        device: where to compute.
        picture: pixels a side.
        steps: of the sampler; None takes the configuration's.
        tiny: the miniature that the tests use.
    """
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler

    from backend.views.synthesize.config import FullConfig
    from backend.views.synthesize.full import SVD_SCHEDULE, ClipEmbedder, FullSynthesizer, SV3DUNet
    from backend.views.synthesize.layout import SV3D_UNET
    from backend.views.synthesize.memory import mode_for
    from backend.views.synthesize.tiny import tiny_full

    mode = mode_for(device)
    if device.type == "cuda":
        mode = replace(mode, dtype=torch.float16)
    if tiny:
        config = FullConfig(picture=64, frames=5, steps=steps or 2)
        return tiny_full(config, str(device), mode)
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    default = FullConfig()
    config = replace(default, picture=picture, steps=steps or default.steps)
    # Each part is made half as large before the next one comes.
    with torch.device(device):
        unet = SV3DUNet(**SV3D_UNET).to(mode.dtype)
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP_VIT_H)).to(mode.dtype)
        vae = AutoencoderKLTemporalDecoder(**SVD_VAE)
    embed, scheduler = ClipEmbedder(encoder), EulerDiscreteScheduler(**SVD_SCHEDULE)
    return FullSynthesizer(unet, vae, embed, scheduler, config, mode, device)


def time_full(synthesizer: FullSynthesizer, photo: torch.Tensor, repeats: int) -> list[dict[str, float]]:
    """Seconds of each part of the synthesizer, one dictionary a run, with ``whole`` for all of it.

    Args:
        synthesizer: see there.
        photo: [1, 3, S, S] in 0..1 over white.
        repeats: how many runs count; one of a single step comes before them.
    """
    device, rows = synthesizer.device, []
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        settle(device)
        started = time.perf_counter()
        yield
        settle(device)
        seconds[name] = time.perf_counter() - started

    plain_encode, plain_embed = synthesizer.encode, synthesizer.embed.forward

    def encode(rgb: torch.Tensor) -> torch.Tensor:
        with timed("encode"):
            return plain_encode(rgb)

    def embed(rgb: torch.Tensor) -> torch.Tensor:
        with timed("embed"):
            return plain_embed(rgb)

    synthesizer.encode, synthesizer.embed.forward = encode, embed  # orbit() calls both
    for run in range(1 + repeats):
        seconds = {}
        with torch.no_grad():
            with timed("orbit"):
                latents, _ = synthesizer.orbit(photo, steps=None if run else 1)
            with timed("decode"):
                synthesizer.decode(latents)
        denoise = seconds["orbit"] - seconds["encode"] - seconds["embed"]
        row = {"encode": seconds["encode"], "embed": seconds["embed"], "denoise": denoise, "decode": seconds["decode"]}
        row["whole"] = seconds["orbit"] + seconds["decode"]
        print(f"{'warm-up' if run == 0 else f'run {run}'}: {row['whole']:.2f} s", file=sys.stderr)
        if run:
            rows.append(row)
        elif device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
    return rows


def read_square(photo: Path, size: int) -> torch.Tensor:
    """A photo as [1, 3, size, size] in 0..1, with white beside it."""
    with Image.open(photo) as image:
        square = ImageOps.pad(ImageOps.exif_transpose(image).convert("RGB"), (size, size), color="white")
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 255


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each number."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main() -> int:
    """Measure and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, default=PHOTO, help="default: the demo's photo")
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--repeats", type=int, default=3, help="runs that count, after the warm-up (default 3)")
    parser.add_argument("--full-random", action="store_true", help="time the synthesizer of full, with random weights")
    parser.add_argument("--picture", type=int, default=576, help="its pixels a side (default 576, SV3D's)")
    parser.add_argument("--steps", type=int, help="of its sampler (default: the configuration's)")
    parser.add_argument("--tiny", action="store_true", help="its miniature, to try the way there without a card")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be 1 or more")
    from backend.devices import choose_device

    warnings: tuple[str, ...] = ()
    try:
        device = choose_device(options.device)
        if options.full_random:
            if device.type != "cuda" and not options.tiny:
                parser.error("--full-random needs a graphics card; --tiny does without")
            synthesizer = random_full(device, options.picture, options.steps, options.tiny)
            c, mode = synthesizer.config, synthesizer.mode
            rows = time_full(synthesizer, read_square(options.photo, c.picture), options.repeats)
            what = (
                f"full, random weights{', in miniature' if options.tiny else ''}: {c.frames} frames of {c.picture} "
                f"pixels, {c.steps} steps, {str(mode.dtype).removeprefix('torch.')}, memory mode {mode.name}"
            )
        else:
            rows, warnings = time_pipeline(options.photo, options.preset, device, options.repeats)
            what = f"{options.preset}: {options.photo.name} to package"
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("diffusers", "transformers"):
            raise
        print(f"The package {error.name} is missing: pip install {error.name}", file=sys.stderr)
        return 1
    except BackendError as error:
        print(error, file=sys.stderr)
        return 1
    middle, peak = medians(rows), peak_memory(device)
    stages = [name for name in middle if name != "whole"]
    middle = {name: middle[name] for name in stages} | {"sum": sum(middle[s] for s in stages), "whole": middle["whole"]}
    if options.json:
        report = {
            "what": what,
            "device": device_name(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "repeats": options.repeats,
            "median_seconds": {name: round(value, 3) for name, value in middle.items()},
            "runs": [{name: round(value, 3) for name, value in row.items()} for row in rows],
            "peak_gib": {name: round(value, 2) for name, value in peak.items()},
            "warnings": warnings,
        }
        print(json.dumps(report, indent=1))
        return 0
    print(f"{what}\n{device_name(device)}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"median seconds of {options.repeats} {'run' if options.repeats == 1 else 'runs'}:")
    for name, value in middle.items():
        print(f"  {name:<12} {value:8.3f}")
    if options.full_random and not options.tiny:
        print(f"  {'HumanSplat':<12} {PAPER_SECONDS:8.3f}  (the paper's whole method, on one A100)")
    print("peak memory: " + ", ".join(f"{value:.2f} GiB {name}" for name, value in peak.items()))
    for warning in warnings:
        print(f"Note: {warning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
