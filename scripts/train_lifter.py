#!/usr/bin/env python3
"""Train the lifter, which says where landmarks are in space, on people of the factory.

    .venvs/backend/bin/python scripts/make_people.py --out out/people --count 2000
    .venvs/backend/bin/python scripts/train_lifter.py --people-folder out/people --out out/lifter

Asks the landmark network about every person once (0.4 s each and core, kept in the folder), then trains for some
time: on people whose limbs change places, since many more poses are needed than were rendered. Writes
lifter.safetensors in fp16 and log.json: errors on people whom training does not see, before and after.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.body.landmarks import POSE_LANDMARKS
from backend.prepare.blazepose import BlazePose
from backend.prepare.lift import LiftNetwork, Observation, observe, turned
from backend.research.training.latent_pool import read_person, unpack
from backend.research.training.lift_data import LiftExamples, join, lift_examples
from backend.research.training.lift_mix import MixedPeople
from backend.research.training.loop import falling_rate, set_rate

HELD_OUT = 10
"""One in so many people is held out."""
_WEIGHTS = torch.tensor([0.5 if name.endswith(("pinky", "index", "thumb")) else 1.0 for _, name, _ in POSE_LANDMARKS])
_BODY = [k for k, (_, name, _) in enumerate(POSE_LANDMARKS) if k >= 5 and _WEIGHTS[k] == 1]
"""Landmarks whose error is told: no face, no fingers."""


@cache
def networks() -> BlazePose:
    torch.set_num_threads(1)
    return BlazePose(torch.device("cpu"))


def ask(person: Path, path: Path) -> None:
    """The examples of one person into their file."""
    examples = lift_examples(unpack(read_person(person)), networks())
    part = path.with_suffix(".part.npz")
    np.savez(part, **{f.name: getattr(examples, f.name) for f in fields(examples)})
    part.replace(path)


def gather(people: Path, folder: Path, jobs: int) -> list[LiftExamples]:
    """The examples of everyone, person by person."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {person: folder / f"{person.stem}.npz" for person in sorted(people.glob("*.person"))}
    todo = {person: path for person, path in files.items() if not path.is_file()}
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(ask, person, path) for person, path in todo.items()]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            if done % 100 == 0:
                print(f"{done} of {len(todo)} people, {time.monotonic() - started:.0f} s", flush=True)
    out = []
    for path in files.values():
        with np.load(path, allow_pickle=False) as data:
            out.append(LiftExamples(**data))
    return out


def tensors(examples: LiftExamples) -> tuple[Observation, torch.Tensor]:
    """(what the network sees, the truth [B, 27, 3] in the same frames)."""
    seen = observe(*(torch.as_tensor(v) for v in (examples.landmarks, examples.visibility, examples.world)))
    return seen, turned(torch.as_tensor(examples.truth), seen.turn)


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean distance of body landmarks in mm, after the best scale."""
    scale = (found * truth).sum((1, 2), keepdim=True) / found.square().sum((1, 2), keepdim=True)
    return 1e3 * float((scale * found - truth)[:, _BODY].norm(dim=-1).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people-folder", type=Path, required=True, help="of scripts/make_people.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--noise", type=float, default=0.05, help="added to the inputs, in their deviations")
    parser.add_argument("--mixed", type=float, default=0.3, help="share of limbs that are somebody else's")
    parser.add_argument("--turn", type=float, default=0.07, help="radians, deviation of turns of the whole person")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if len(list(arguments.people_folder.glob("*.person"))) < 2:
        print(f"{arguments.people_folder} holds too few people: make some with scripts/make_people.py", file=sys.stderr)
        return 1
    people = gather(arguments.people_folder, arguments.out / "examples", arguments.jobs)
    others = join(people[::HELD_OUT])
    held_out = tensors(others)
    front = torch.as_tensor(~others.spoilt & (others.azimuth == 0))
    taught = [p for k, p in enumerate(people) if k % HELD_OUT]
    seen, truth = tensors(join(taught))
    person = torch.repeat_interleave(torch.arange(len(taught)), torch.tensor([len(p.truth) for p in taught]))
    mixed = MixedPeople.of(join(taught), person, _BODY)
    torch.manual_seed(arguments.seed)
    network = LiftNetwork(arguments.width)
    network.mean.copy_(seen.vector.mean(0))
    network.deviation.copy_(seen.vector.std(0) + 5e-3)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=0.05)
    started = time.monotonic()
    network.train()
    for step in range(arguments.steps):
        rows = torch.randint(len(truth), (arguments.batch,))
        set_rate(optimiser, arguments.rate * falling_rate(step, arguments.steps, 200))
        looked, true = mixed.draw(rows, arguments.mixed, arguments.turn)
        loss = (_WEIGHTS[:, None] * (network(looked, arguments.noise) - true).abs()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        found, trained = network(held_out[0]), network(seen)
    figures = {
        "people": len(people),
        "examples": len(truth),
        "steps": arguments.steps,
        "seconds": round(time.monotonic() - started),
        "error_of_hints_mm": error(held_out[0].hints, held_out[1]),
        "error_mm": error(found, held_out[1]),
        "error_of_hints_front_mm": error(held_out[0].hints[front], held_out[1][front]),
        "error_front_mm": error(found[front], held_out[1][front]),
        "error_in_training_mm": error(trained, truth),
    }
    if not all(math.isfinite(value) for value in figures.values()):
        print("The training failed: an error is not a number.", file=sys.stderr)
        return 1
    values = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(values, str(arguments.out / "lifter.safetensors"))
    (arguments.out / "log.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
