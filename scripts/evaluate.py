#!/usr/bin/env python3
"""Measure a preset on people whose truth is known; the `surface` baseline is always printed beside it.

    .venvs/backend/bin/python scripts/evaluate.py                       # surface on 64 test people of the factory
    .venvs/backend/bin/python scripts/evaluate.py --preset perfect shuffled --quick
    .venvs/backend/bin/python scripts/evaluate.py --preset lite --source FOLDER --json

What the numbers mean, how predictions are aligned and which people are measured is written in docs/evaluation.md.
Results are kept person by person under --output: a stopped run goes on where it was, and ends at once when nothing has
changed. Who cannot be read or is refused is named at the end, and the exit status is 1. Pictures (truth, ours, FLIP's
error; one strip a person, one sheet a preset) lie there too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.devices import choose_device  # noqa: E402  (after the path)
from backend.errors import BackendError  # noqa: E402
from backend.pipeline import PRESETS  # noqa: E402
from backend.research.evaluation import report  # noqa: E402
from backend.research.evaluation.candidates import CONTROLS  # noqa: E402
from backend.research.evaluation.given import WITH_BENDING, WITH_BUDGET, WITH_PICTURES  # noqa: E402
from backend.research.evaluation.metrics import Lpips, require_flip  # noqa: E402
from backend.research.evaluation.runner import Row, Settings, code_digest, run  # noqa: E402
from backend.research.evaluation.sources import FactorySource, FolderSource  # noqa: E402
from backend.research.training.samples import split_seeds  # noqa: E402

BASELINE = "surface"
PEOPLE, QUICK_PEOPLE = 64, 8
DOCUMENT = ROOT / "docs" / "evaluation.md"
DOCUMENT_PICTURE = ROOT / "docs" / "images" / "evaluation.jpg"
_SHEET_PEOPLE = 16
REFUSED = 1
"""Exit status where somebody could not be measured; the others were."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    added = (*WITH_PICTURES, *WITH_BUDGET, *WITH_BENDING)
    names = [*PRESETS, *(preset + plus for preset in PRESETS for plus in added), *CONTROLS]
    parser.add_argument("--preset", nargs="+", default=[BASELINE], choices=names, metavar="NAME",
                        help=f"one or more of {', '.join(names)}; with {' or '.join(WITH_PICTURES)} further "
                             "pictures are given, from cameras that the product does not know; "
                             f"{' or '.join(WITH_BUDGET)}: splats merged as in an export; "
                             f"{' or '.join(WITH_BENDING)}: reposed by linear or dual quaternion skinning")  # fmt: skip
    parser.add_argument("--source", default="factory", help="factory, or a folder of 3D characters")
    parser.add_argument("--scan-body", type=Path, metavar="FILE",
                        help="your SMPL or SMPL-X file that a folder's parameters belong to")  # fmt: skip
    parser.add_argument("--people", type=int, help=f"how many (default {PEOPLE}, at most the test split's)")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK_PEOPLE} people")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of whole-body views")
    parser.add_argument("--photo-size", type=int, default=1024, help="pixels a side of the photo")
    parser.add_argument("--matte", choices=("own", "true"), default="own", help="who cuts the person out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, help="people measured at a time")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "evaluation")
    parser.add_argument("--json", action="store_true", help="print everything as JSON, also person by person")
    parser.add_argument("--write-doc", action="store_true", help="put the tables into docs/evaluation.md")
    arguments = parser.parse_args()
    test_people = len(split_seeds("test"))
    if arguments.people is not None and not 1 <= arguments.people <= test_people:
        parser.error(f"--people must be from 1 to {test_people}")
    return arguments


def make_settings(arguments: argparse.Namespace) -> Settings:
    device = str(choose_device(arguments.device))
    count = arguments.people or (QUICK_PEOPLE if arguments.quick else PEOPLE)
    if arguments.source == "factory":
        source = FactorySource(count, device)
    else:
        folder = Path(arguments.source)
        if not folder.is_dir():
            raise BackendError("source_missing", f"There is no folder {folder}.", "Give factory or a folder.")
        source = FolderSource(folder.resolve(), count, arguments.scan_body, device)
    return Settings(
        source=source,
        size=arguments.size,
        photo_size=arguments.photo_size,
        matte=arguments.matte == "true",
        device=device,
        folder=arguments.output,
        digest=code_digest(),
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(settings: Settings, presets: list[str], jobs: int) -> dict[str, list[Row]]:
    """Rows of each preset in the order of the people, with a line on stderr for everyone who is done."""
    found: dict[int, dict[str, Row]] = {}
    started = time.perf_counter()
    for index, rows, seconds in run(settings, presets, jobs):
        found[index] = rows
        if seconds:
            scores = "   ".join(
                f"{preset} {row.values['orbit.psnr']:.2f} dB" if row.values else f"{preset}: {row.error}"
                for preset, row in rows.items()
            )
            elapsed = time.perf_counter() - started
            say(f"{len(found):3} of {len(settings.source)}  {elapsed:5.0f} s  {settings.source.name(index)}  {scores}")
    return {preset: [found[index][preset] for index in sorted(found)] for preset in presets}


def list_refused(rows: dict[str, list[Row]]) -> list[str]:
    """One line for each person who could not be read or of whom there is no avatar, with the presets and the reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for preset, people in rows.items():
        for row in people:
            if row.error is not None:
                reasons.setdefault((row.name, " ".join(row.error.split())), []).append(preset)
    lines = [f"  {name} ({', '.join(presets)}): {reason}" for (name, reason), presets in reasons.items()]
    return [f"Not measured: {len({name for name, _ in reasons})} people.", *lines] if lines else []


def describe(settings: Settings, jobs: int, presets: list[str]) -> str:
    """One paragraph on what was measured."""
    source = settings.source
    people = (
        f"{len(source)} people of the factory's test split"
        if isinstance(source, FactorySource)
        else f"{len(source)} characters of a folder"
    )
    matte = "with the true matte" if settings.matte else "without a matte"
    where = f"{os.cpu_count()} processor cores" if settings.device == "cpu" else settings.device
    command = f"scripts/evaluate.py --preset {' '.join(presets)} --people {len(source)}"
    command += "" if isinstance(source, FactorySource) else " --source FOLDER"
    return (
        f"{people}, views of {settings.size} x {settings.size}, "
        f"photos of {settings.photo_size} x {settings.photo_size} {matte}; {jobs} at a time on {where}. "
        f"Made by `{command} --write-doc`."
    )


def write_document(
    settings: Settings, jobs: int, presets: list[str], rows: dict[str, list[Row]], summaries: list[report.Summary]
) -> None:
    """The tables into the page: controls into a section of their own, without the baseline, and anything else."""
    controls = [preset for preset in presets if preset in CONTROLS]
    shown = controls or presets
    text = report.markdown([summary for summary in summaries if summary.preset in shown], Lpips().reason)
    text = describe(settings, jobs, shown) + "\n\n" + text
    networks = [preset for preset in shown if preset != BASELINE and not controls]
    characters = not isinstance(settings.source, FactorySource)
    section = "controls" if controls else "networks" if networks else "results"
    section = "views" if any("+" in preset for preset in networks) else section
    report.write_section(DOCUMENT, "characters" if characters else section, text)
    # Pictures of somebody else's characters are not ours to publish.
    for preset in [] if controls or characters else networks or [BASELINE]:
        picture = report.sheet(rows[preset], 4)
        if picture is not None:
            picture.thumbnail((2000, 4000))
            name = "evaluation" if preset == BASELINE else f"evaluation_{preset.replace('+', '_')}"
            picture.save(DOCUMENT_PICTURE.with_name(f"{name}.jpg"), quality=80)
    say(f"written: {DOCUMENT.relative_to(ROOT)}")


def main() -> int:
    arguments = parse()
    try:
        require_flip()
        settings = make_settings(arguments)
        len(settings.source)  # says what is wrong with a folder before anything else happens
    except BackendError as error:
        say(f"Error: {error}")
        return 2
    presets = list(dict.fromkeys([*arguments.preset, BASELINE]))
    jobs = arguments.jobs or (min(2, os.cpu_count() or 1) if settings.device == "cpu" else 1)
    started = time.perf_counter()
    try:
        rows = measure(settings, presets, jobs)
    except KeyboardInterrupt:
        say("Stopped. Run the same again to go on.")
        return 130
    seconds = time.perf_counter() - started
    summaries = [report.summarise(preset, rows[preset]) for preset in presets]
    text = describe(settings, jobs, presets) + "\n\n" + report.markdown(summaries, Lpips().reason)
    for preset in presets:
        picture = report.sheet(rows[preset], _SHEET_PEOPLE)
        if picture is not None:
            path = arguments.output / f"{preset}.jpg"
            picture.save(path, quality=88)
            say(f"pictures: {path} and {settings.cache(preset)}")
    if arguments.json:
        print(json.dumps({
            "settings": {"source": arguments.source, "people": len(settings.source), "size": settings.size,
                         "photo_size": settings.photo_size, "matte": arguments.matte, "device": settings.device,
                         "machine": platform.machine(), "jobs": jobs},
            "presets": {s.preset: {"people": s.people, "failures": s.failures, "mean": s.mean, "spread": s.spread}
                        for s in summaries},
            "rows": {preset: {row.name: row.values for row in rows[preset]} for preset in presets},
        }, indent=1))  # fmt: skip
    else:
        print(text)
    say(f"{seconds:.0f} s")
    if arguments.write_doc:
        write_document(settings, jobs, presets, rows, summaries)
    refused = list_refused(rows)
    for line in refused:
        say(line)
    return REFUSED if refused else 0


if __name__ == "__main__":
    sys.exit(main())
