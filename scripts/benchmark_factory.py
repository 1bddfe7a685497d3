#!/usr/bin/env python3
"""How many views a second the factory of people makes, and what the time goes into.

    python scripts/benchmark_factory.py [--people 6] [--views 16] [--size 256] [--workers 2] [--device cpu|cuda]
        [--build cpu|cuda]

On a processor, as many processes as ``--workers`` (default: the cores given to this process) make people of their own,
one thread each, as a training run's data loaders do. On CUDA a process renders all views of a person in one batch;
``--workers`` of them (default: one) share the card, and with ``--build cpu`` they build their people on the processor.
Seconds are a person's: its geometry and materials, the baked light, which face each sample sees, and the shading with
everything else. Views a second count all of it, after one person to warm up; on a processor that others use too, the
figure by processor time tells what the same cores do when they are free.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STAGES = ("build", "light", "raster", "shade")
_WAIT = 300
"""Seconds that a process waits for the others to warm up."""


def _join_start(start: Any) -> None:
    """Give this process the barrier at which all of them begin to count."""
    make_people.start = start


def make_people(seeds: list[int], views: int, size: int, device: str, build: str, threads: int) -> dict[str, float]:
    """Render people, the first one to warm up; the others' seconds by stage, and ``begin`` and ``end`` by the clock."""
    try:
        return _make_people(seeds, views, size, device, build, threads)
    except Exception:
        # The others would wait in vain, and their complaint may be the one that is reported.
        traceback.print_exc()
        make_people.start.abort()
        raise


def _make_people(seeds: list[int], views: int, size: int, device: str, build: str, threads: int) -> dict[str, float]:
    import torch

    from backend.rendering.triangles import rasterize
    from backend.research.training.cameras import frame_figure, orbit
    from backend.research.training.lighting import bake_light, sample_light
    from backend.research.training.person import build_person
    from backend.research.training.views import render_views

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.time()

    torch.set_num_threads(threads)
    spent = dict.fromkeys((*STAGES, "begin", "end", "busy", "faces"), 0.0)
    with torch.no_grad():
        for seed in [seeds[0], *seeds]:
            if spent["begin"] == 0.0 and spent["end"] > 0.0:
                # Processes start at different times; all of them shall be at work while the clock runs.
                make_people.start.wait(_WAIT)
                spent = {**dict.fromkeys(spent, 0.0), "begin": now()}
            start, idle = now(), time.process_time()
            figure = build_person(seed, build).figure().to(device)
            built = now()
            light = sample_light(seed, device)
            baked = bake_light(figure, light)
            target, distance = frame_figure(figure, 0.0, 5.0)
            camera = orbit([360 * k / views for k in range(views)], 5.0, target, distance, size).to(device)
            lit = now()
            render_views([figure], [light], [camera], size, baked=[baked])
            end = spent["end"] = now()
            spent["build"] += built - start
            spent["light"] += lit - built
            spent["shade"] += end - lit
            spent["busy"] += time.process_time() - idle
            spent["faces"] += len(figure.faces)
        # How much of the rendering finds out what is seen: the last person's share.
        fine = camera.resized(2 * size)
        start = now()
        for part in [camera[k : k + 1] for k in range(views)] if device == "cpu" else [camera]:
            screen = part.resized(2 * size).project(figure.vertices)
            rasterize(screen, figure.faces, (fine.size, fine.size), figure.two_sided)
        spent["raster"] = spent["shade"] * min(1.0, (now() - start) / (end - lit))
    spent["shade"] -= spent["raster"]
    return spent


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6, help="of each process, after one to warm up")
    parser.add_argument("--views", type=int, default=16, help="of each person")
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--workers", type=int, help="processes; default: one a core, on CUDA one")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: both, where there is a card")
    parser.add_argument("--build", choices=("cpu", "cuda"), help="where CUDA's people are built; default: cuda")
    arguments = parser.parse_args()
    for device in [arguments.device] if arguments.device else ["cpu", "cuda"]:
        if device == "cuda" and not _has_cuda():
            if arguments.device:
                print("There is no CUDA device.", file=sys.stderr)
                return 1
            continue
        workers = arguments.workers or (1 if device == "cuda" else _cores())
        build = (arguments.build or "cuda") if device == "cuda" else "cpu"
        _measure(device, build, workers, arguments.people, arguments.views, arguments.size)
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _measure(device: str, build: str, workers: int, people: int, views: int, size: int) -> None:
    # One thread a process on a processor; beside a card, the cores are shared out.
    threads = 1 if device == "cpu" else max(1, _cores() // workers)
    jobs = [([w * people + k for k in range(people)], views, size, device, build, threads) for w in range(workers)]
    context = multiprocessing.get_context("spawn")
    # Each process keeps its job until all have begun, so that none gets two.
    with context.Pool(workers, _join_start, (context.Barrier(workers),)) as pool:
        results = pool.starmap(make_people, jobs, chunksize=1)
    count = people * workers
    seconds = max(r["end"] for r in results) - min(r["begin"] for r in results)
    mean = {stage: sum(r[stage] for r in results) / count for stage in (*STAGES, "busy", "faces")}
    per_person = "  ".join(f"{stage} {mean[stage]:.3f}" for stage in STAGES)
    where = f"{device} (built on {build})" if build != device else device
    print(f"{where}, {workers} process{'es' if workers > 1 else ''}: {count} people x {views} views of {size} x {size}")
    print(f"  {count * views / seconds:.1f} views/s", end="")
    if device == "cpu":
        print(
            f", {workers * views / mean['busy']:.1f} by the processor's own time (other programs' share left out)",
            end="",
        )
    print(f"; seconds a person: {per_person}; {mean['faces']:.0f} faces")


if __name__ == "__main__":
    sys.exit(main())
