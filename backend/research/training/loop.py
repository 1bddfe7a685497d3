"""What all training loops share: checkpoints that a stopped run goes on from, averaged weights, a log."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


class Average:
    """Exponential moving average of a network's weights, with the warm-up min(decay, (1 + n) / (10 + n)).

    Args:
        network: whose.
        decay: share of the old average that a step keeps.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay, self.steps = decay, 0
        self.values = {k: v.detach().clone().float() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        present = network.state_dict()
        real = [name for name, value in present.items() if value.is_floating_point()]
        # All at once: one by one a graphics card would wait for the processor.
        torch._foreach_lerp_([self.values[name] for name in real], [present[name].float() for name in real], 1 - keep)
        for name in present.keys() - set(real):
            self.values[name] = present[name].clone()


@dataclass
class Run:
    """A training run's folder: ``state.pt`` to go on from, ``weights.safetensors`` averaged in fp16, ``log.jsonl``.

    Attributes:
        folder: made if it is not there.
        network, optimiser, average: what is saved.
        step: steps done.
        seconds: spent in all sittings.
    """

    folder: Path
    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Go on from the folder's state if it has one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        state_file = self.folder / "state.pt"
        if state_file.is_file():
            state = torch.load(state_file, map_location="cpu", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.values = {k: v.to(self.average.values[k].device) for k, v in state["average"].items()}
            self.average.steps = self.step = int(state["step"])
            self.seconds = float(state["seconds"])

    def elapsed(self) -> float:
        """Seconds in all sittings."""
        return self.seconds + time.monotonic() - self._started

    def save(self) -> None:
        """Write state and weights; a run that is killed meanwhile keeps the files of before."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.values,
            "step": self.step,
            "seconds": self.elapsed(),
        }
        save_at_once(state, self.folder / "state.pt")
        save_weights(self.average.values, self.folder / "weights.safetensors")

    def log(self, **values: Any) -> str:
        """Add a line to the log; returns it for printing."""
        entry = {"step": self.step, "seconds": round(self.elapsed(), 1), **values}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in entry.items())


def save_at_once(value: dict[str, Any], path: Path) -> None:
    """Save what ``torch.load(weights_only=True)`` reads; a stopped write leaves the file as it was."""
    temporary = path.with_suffix(".tmp")
    torch.save(value, temporary)
    os.replace(temporary, path)


def save_weights(values: dict[str, torch.Tensor], path: Path) -> None:
    """Floating-point tensors as fp16, others as they are; replaces the file at once."""
    packed = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in values.items()}
    temporary = path.with_suffix(".tmp")
    save_file(packed, str(temporary))
    os.replace(temporary, path)


def falling_rate(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate at ``step``: up over ``warm_up`` steps, then down as a cosine to 0 at ``steps``."""
    return min(1.0, (step + 1) / warm_up) * fallen(step / steps)


def fallen(done: float) -> float:
    """What a cosine from 1 to 0 has come down to when the share ``done`` of a training is over."""
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters of ``optimiser`` the learning rate ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate


@contextmanager
def averaged(run: Run) -> Iterator[None]:
    """The run's network has its averaged weights inside, and afterwards those that it is being trained with."""
    present = {name: value.detach().clone() for name, value in run.network.state_dict().items()}
    run.network.load_state_dict(run.average.values)
    try:
        yield
    finally:
        run.network.load_state_dict(present)


def start_accelerator() -> tuple[Any | None, str, int]:
    """(``accelerate``'s Accelerator, None where that is not installed; the device; this process' number)."""
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError:
        return None, "cuda" if torch.cuda.is_available() else "cpu", 0
    # Not every step uses every layer: views are compared only where they show one person.
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    return accelerator, str(accelerator.device), accelerator.process_index


def work_off(calls: Mapping[int, tuple[Callable[..., None], tuple[Any, ...]]], jobs: int) -> int:
    """Carry out ``calls`` (a function and its arguments for each seed) in ``jobs`` processes of one thread each.

    Tells of progress; an error is printed and leaves the others alone.

    Returns:
        How many failed.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    started, done, failed = time.monotonic(), 0, 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(function, *arguments): seed for seed, (function, arguments) in calls.items()}
        for future in as_completed(futures):
            done += 1
            if future.exception() is not None:
                failed += 1
                print(f"seed {futures[future]}: {future.exception()}", file=sys.stderr)
            if done % 50 == 0 or done == len(calls):
                print(f"{done} of {len(calls)}, {(time.monotonic() - started) / done:.2f} s each", flush=True)
    return failed
