#!/usr/bin/env python3
"""Put trained weights of the `lite` preset where the product finds them, with their card.

    .venvs/backend/bin/python scripts/publish_weights.py --codec out/codec --reconstruction out/lite \
        --synthesizer out/synthesizer --painter out/painter --scores out/evaluation/scores.json

Every figure of the card is read from the runs' logs and from what `scripts/evaluate.py --json` printed. Weights and
sections of networks that are not named stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend import manifest  # noqa: E402  (after the path)
from backend.networks import in_eight_bits, unpacked  # noqa: E402
from backend.options import WEIGHTS_FOLDER  # noqa: E402
from backend.research.training.loop import save_weights  # noqa: E402
from backend.research.training.samples import split_seeds  # noqa: E402

MOST_BYTES = 64 * 2**20
_POINTS = 8
_MEASURES = {
    "codec": {"psnr_of_people": "PSNR of what comes back, inside the outline, dB"},
    "reconstruction": {
        "held_out_psnr": "PSNR of people held out, true views given, dB",
        "held_out_0": "error of the depth of people held out before the views are compared, mm",
        "held_out_1": "after one further look, mm",
        "held_out_2": "after two, mm",
    },
    "synthesizer": {"held_out_mean_psnr": "PSNR of a person held out, sides, decoded, dB"},
    "painter": {
        "held_out_psnr": "PSNR of people held out, sides, dB",
        "held_out_decoded_psnr": "the same of what the latents decode to, dB",
        "held_out_iou": "their outlines, IoU",
    },
    "depth": {
        "body_front": "error of the fitted body's front in depth, people held out, mm",
        "both_ways_front": "of what the network says of the front, mm",
        "body_back": "error of the fitted body's back, mm",
        "both_ways_back": "of what the network says of the back, mm",
    },
    "light": {
        "usual_behind": "error of the usual light on what faces away, people held out, logarithm",
        "behind": "of what the network says of it",
    },
}
_HEAD = """# Weights of the preset `lite`

Trained on people that `backend/research/training/` makes, and on nothing else: no scans, no photos, no third-party
weights.
Licence: GPL-3.0-or-later, as the code. Safetensors of half precision, where nothing else is said.
"""


def log_of(run: Path) -> list[dict[str, float]]:
    """The run's log, line by line."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """What a training wrote."""
    return load_file(str(run / "weights.safetensors"))


def curve(log: list[dict[str, float]], measure: str) -> list[tuple[int, float]]:
    """At most a few (step, value) of ``measure``, evenly spread, the last one among them."""
    points = [(int(entry["step"]), float(entry[measure])) for entry in log if measure in entry]
    if len(points) <= _POINTS:
        return points
    return [points[round(k * (len(points) - 1) / (_POINTS - 1))] for k in range(_POINTS)]


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds > 300 else f"{seconds:.0f} seconds"


def sizes(published: Path) -> str:
    """One sentence on how large a file of weights is."""
    kept = load_file(str(published))
    count, size = sum(value.numel() for value in unpacked(kept).values()), published.stat().st_size
    words = f"{count / 1e6:.1f} million" if count > 5e4 else f"{count:,}"
    held = f"{size / 1e6:.1f} MB" if size > 5e4 else f"{size / 1e3:.0f} kB"
    eight = ", matrices rounded to 8 bits" if any(value.dtype == torch.int8 for value in kept.values()) else ""
    return f"{words} parameters, {held}{eight}."


def describe(name: str, runs: list[Path], published: Path) -> str:
    """One section of the card; each of ``runs`` began with the weights of the one before."""
    lines = [f"## `{published.name}`", "", sizes(published), ""]
    for run in runs:
        log = log_of(run)
        told = {key: value for entry in log for key, value in entry.items()}
        machine = told.get("machine", f"{os.cpu_count()} processor cores ({platform.machine()}), other work beside it")
        first = split_seeds("train").start
        kind = "packed" if "packed" in told else "prepared"
        if kind in told:
            seen = f"{told[kind]} {kind} photos of the train split's people, seeds from {first}"
            if "samples" in told:
                seen += f", and {told['samples']} samples of others, made meanwhile"
        else:
            seen = f"{told.get('people', 0)} people of the train split, seeds from {first}"
        lines += [
            f"{'Trained further: ' if run != runs[0] else ''}{int(log[-1]['step'])} steps in "
            f"{_time(log[-1]['seconds'])} on {machine}. {seen}.",
            "",
        ]
        rows = {words: curve(log, measure) for measure, words in _MEASURES[name].items()}
        rows = {words: points for words, points in rows.items() if points}
        if rows:
            steps = [step for step, _ in next(iter(rows.values()))]
            lines += ["| step | " + " | ".join(map(str, steps)) + " |", "| --- |" + " --- |" * len(steps)]
            for words, points in rows.items():
                values = dict(points)
                cells = (f"{values[step]:.2f}" if step in values else "–" for step in steps)
                lines.append(f"| {words} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def sections(card: Path) -> dict[str, str]:
    """The sections of a card by their titles; none where there is no card."""
    if not card.is_file():
        return {}
    parts = card.read_text("utf-8").split("\n## ")[1:]
    return {part.split("\n", 1)[0].strip("`"): f"## {part}" for part in parts}


def scores(path: Path) -> str:
    """The evaluation's means as a table."""
    found = json.loads(path.read_text())
    presets = found["presets"]
    names = [
        f"{view}.{measure}"
        for view in ("input", "sides", "back", "orbit", "head")
        for measure in ("psnr", "ssim", "flip")
    ]
    rows = ["| measure | " + " | ".join(presets) + " |", "| --- |" + " --- |" * len(presets)]
    for name in names:
        values = [presets[preset]["mean"].get(name) for preset in presets]
        rows.append(f"| {name} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values) + " |")
    people = found["settings"]["people"]
    return f"## Scores\n\n{people} people of the test split, `scripts/evaluate.py`.\n\n" + "\n".join(rows) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in _MEASURES:
        parser.add_argument(
            f"--{name}",
            type=Path,
            nargs="+",
            metavar="RUN",
            help="folders of its training, the last one's weights count",
        )
    parser.add_argument(
        "--mean",
        nargs="*",
        default=[],
        choices=list(_MEASURES),
        help="networks that get the mean of their last two runs' weights (Wortsman et al. 2022)",
    )
    parser.add_argument(
        "--eight-bits",
        nargs="*",
        default=[],
        choices=list(_MEASURES),
        help="networks whose weights are rounded to 8 bits",
    )
    parser.add_argument("--scores", type=Path, help="what scripts/evaluate.py --json printed")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS_FOLDER / "lite")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = sections(arguments.output / "README.md")
    card = [_HEAD]
    for name in _MEASURES:
        runs = getattr(arguments, name)
        target = arguments.output / f"{name}.safetensors"
        if runs is None:
            if name in arguments.eight_bits:
                save_weights(in_eight_bits(unpacked(load_file(str(target)))), target)
            if target.name in found:
                title, _, _, *others = found[target.name].split("\n")
                card.append("\n".join([title, "", sizes(target), *others]))
            continue
        values = weights_of(runs[-1])
        if name in arguments.mean:
            before = weights_of(runs[-2])
            values = {key: (0.5 * (v.float() + before[key].float())).to(v.dtype) for key, v in values.items()}
        save_weights(in_eight_bits(values) if name in arguments.eight_bits else values, target)
        card.append(describe(name, runs, target))
        if name in arguments.mean:
            card.append("The mean of the weights after the last two trainings ships.\n")
    if arguments.scores:
        card.append(scores(arguments.scores))
    elif "Scores" in found:
        card.append(found["Scores"])
    total = sum(path.stat().st_size for path in arguments.output.glob("*.safetensors"))
    if total > MOST_BYTES:
        print(f"The weights take {total / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} may ship.", file=sys.stderr)
        return 1
    text = "\n".join(part.rstrip("\n") + "\n" for part in card)
    (arguments.output / "README.md").write_text(text, "utf-8")
    if arguments.output.resolve() == (WEIGHTS_FOLDER / "lite").resolve():
        manifest.write()
    print(f"{arguments.output}: {total / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
