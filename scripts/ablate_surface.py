#!/usr/bin/env python3
"""What each rule of the reconstruction is worth: everyone reconstructed with it and without, all else equal.

    .venvs/backend/bin/python scripts/ablate_surface.py                           # 12 people of the test split
    .venvs/backend/bin/python scripts/ablate_surface.py --source FOLDER           # 3D characters
    .venvs/backend/bin/python scripts/ablate_surface.py --photos FOLDER           # photos: how far pictures change
    .venvs/backend/bin/python scripts/ablate_surface.py --print --write-doc       # the table of what was measured

Photo, fitted body, depths, light and imagined views are computed once a person; then the reconstruction runs with one
rule replaced by doing nothing, under its own name in RULES. Figures are differences, with the rule less without it:
positive where the rule helps. dB of 8 views of the orbit, of the sides, the back, the head's crops and of another pose;
of photos the root mean square change, in 8-bit levels, of six pictures where either shows the person, and a sheet
under --output of every change above CHANGED. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.geometry.maps import MAP_SIZE  # noqa: E402
from backend.prepare import matte  # noqa: E402
from backend.reconstruct import completion, deform, shape, sheets, splats, surface  # noqa: E402
from backend.reconstruct.config import LAYERS, DeformConfig  # noqa: E402
from backend.research.evaluation import report  # noqa: E402  (after the path)
from backend.research.evaluation.ablation import CHANGED, FIGURES, Inputs, Reconstruct, pictures, same, scores  # noqa: E402
from backend.research.evaluation.sources import FactorySource, FolderSource  # noqa: E402

DOCUMENT = ROOT / "docs" / "ablation.md"
Patch = tuple[object, str, Any]


def _first(value: Any, *_: object, **__: object) -> Any:
    return value


def _none_of(position: int) -> Callable[..., np.ndarray]:
    """Stands for what says which of n places; the argument at ``position`` has n rows."""
    return lambda *given, **_: np.zeros(len(given[position]), bool)


def _no_sheets_behind(front: splats.Splats, *_: object) -> splats.Splats:
    return splats.take(front, np.zeros(len(front.face), bool))


def _no_patches(*given: Any) -> tuple[sheets.LayeredDepthImage, sheets.GarmentPatch]:
    return sheets.build_layers(*given, config=replace(LAYERS, cell=MAP_SIZE))


def _body_labels(rgb: object, matte: np.ndarray, body: np.ndarray, *_: object) -> np.ndarray:
    return np.where(matte, body, -1)


def _all_go_on(places: Any, *_: object) -> np.ndarray:
    return np.ones(len(places.part))


def _no_views(viewed: object, position: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(position), np.zeros(len(position))


def _completed(**values: Any) -> list[Patch]:
    """The completion with other numbers."""

    def posed(places: Any, photo: Any, share: Any, config: Any) -> completion.Problem:
        return completion.pose_problem(places, photo, share, replace(config, **values))

    def solved(problem: Any, views: Any, config: Any) -> np.ndarray:
        return completion.solve_problem(problem, views, replace(config, **values))

    return [(surface, "pose_problem", posed), (surface, "solve_problem", solved)]


def _deformed(**values: Any) -> list[Patch]:
    """The deformation with other numbers."""

    def instead(*given: Any, **named: Any) -> np.ndarray:
        return deform.deform(*given, config=DeformConfig(**values), **named)

    return [(shape, "deform", instead)]


RULES: dict[str, tuple[str, list[Patch]]] = {
    "outline": ("body pulled to the matte's outline", _deformed(outline=0.0)),
    "depths on the mesh": ("body pulled to the network's depths", _deformed(depth=0.0)),
    "thicker where wider": ("depth follows what the outline widens", _deformed(follows=0.0)),
    "face pinned": ("outlines do not move the face", _deformed(pinned=0.0)),
    "limb pose": ("limb pose refined by the clothed surface", [(shape, "refine_limb_pose", lambda body, fit, *_: fit)]),
    "labels": ("parts by the photo's colours, not the body alone", [(shape, "label_photo", _body_labels)]),
    "as labelled": ("pixels hung on the limb that they show", [(shape, "as_labelled", _first)]),
    "skirts": ("a skirt before and behind both legs", [(sheets, "find_hem", lambda *_: None)]),
    "torn sheets": ("torn sheets hung on the body", [(shape, "_hang_on_body", _first)]),
    "floating regions": ("regions of the photo that would hang in the air", [(shape, "without_floaters", _first)]),
    "floaters": ("unseen splats that would hang in the air", [(surface, "is_floater", _none_of(0))]),
    "back of sheets": ("far layer of skirts and gaps", [(surface, "back_of_sheets", _no_sheets_behind)]),
    "trousers": (
        "no mesh between trousers",
        [(sheets, "between_legs", lambda points, *_: (np.zeros(len(points), bool),) * 2)],
    ),
    "sheet meshes": ("all grids in gaps", [(shape, "build_layers", _no_patches)]),
    "snap": ("hidden body brought to the matte", [(splats, "DeformConfig", DeformConfig(stands_off=0.0))]),
    "growth": ("splats grow with their face", [(splats, "face_areas", lambda vertices, faces: np.ones(len(faces)))]),
    "own colours": (
        "background unmixed at the rim",
        [(matte, "own_colours", lambda rgb, alpha, device: matte.extend_colours(rgb, alpha))],
    ),
    "long hair": ("hair beside the neck hangs behind it", [(surface, "cover_with_hair", _first)]),
    "transferable": ("what goes on around the body", [(surface, "transferable", _all_go_on)]),
    "partners": ("the most alike shown places as data", _completed(partner=1e-6)),
    "border": ("neighbours of other parts hardly alike", _completed(border=1e3)),
    "colour edges": ("weak edges between two cloths", _completed(edge=1e3)),
    "mirror": ("left takes from right", _completed(mirror=1e3)),
    "along": ("stripes and hems run around", _completed(along=1.0)),
    "through": ("a back continues the front", _completed(through=1.0)),
    "detail": ("pattern of the nearest partner", _completed(pattern=0.0)),
    "imagined views": ("colours of imagined views as data", [(surface, "said_by", _no_views)]),
    "imagined light": ("imagined views in the photo's light", [(completion, "in_light_of", _first)]),
    "matching": (
        "colours corrected to the photo",
        [(surface, "match_pictures", lambda joined, axes, scale, opacity, rgb, *_: (rgb, np.zeros(len(rgb))))],
    ),
}
"""By name: what it does, and what is put in the place of which attribute to leave it out."""


@contextlib.contextmanager
def without(rule: str) -> Iterator[None]:
    """The reconstruction without one of :data:`RULES`."""
    with contextlib.ExitStack() as stack:
        for where, name, instead in RULES[rule][1]:
            module = sys.modules[where] if isinstance(where, str) else where
            stack.enter_context(mock.patch.object(module, name, instead))
        yield


def measure(inputs: Iterator[Inputs], run: Reconstruct, rules: list[str], folder: Path) -> None:
    """Everyone of ``inputs`` with all rules and without each; what was measured before is kept."""
    for person in inputs:
        path = folder / f"{person.name}.json"
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        base = None
        for rule in rules:
            if rule in found:
                continue
            if base is None:
                ready = run.prepared(person)
                base = run.avatar(ready)
                shown_base = pictures(base) if person.truth is None else None
                figures = None if person.truth is None else scores(base, person)
            try:
                with without(rule):
                    other = run.avatar(ready)
            except (ValueError, IndexError) as error:
                found[rule] = {"error": str(error)}
                continue
            if same(base, other):
                found[rule] = {"change": 0.0} if figures is None else dict.fromkeys(figures, 0.0)
            elif figures is not None:
                found[rule] = {name: figures[name] - value for name, value in scores(other, person).items()}
            else:
                instead = pictures(other)
                covered = (shown_base < 1).any(-1) | (instead < 1).any(-1)
                change = float(np.sqrt(((shown_base - instead)[covered] ** 2).mean())) * 255
                found[rule] = {"change": change}
                if change > CHANGED:
                    sheet = np.concatenate([np.hstack(shown_base), np.hstack(instead)])
                    name = f"{person.name} {rule}.jpg".replace(" ", "_")
                    Image.fromarray((sheet * 255).round().astype(np.uint8)).save(folder / name, quality=85)
            print(person.name, rule, " ".join(f"{k} {v:+.2f}" for k, v in found[rule].items()), flush=True)
            path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def table(folders: dict[str, Path]) -> str:
    """Markdown of all that was measured."""
    found = {
        kind: [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
        for kind, folder in folders.items()
    }
    columns = [
        (kind, name) for kind in ("people", "characters") for name in FIGURES if kind == "people" or name != "posed"
    ]
    head = ["rule", "what it does", *(f"{kind}: {name}" for kind, name in columns), "photos: mean", "photos: most"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " --- |" * (len(head) - 2)]
    for rule, (what, _) in RULES.items():
        cells = [rule, what]
        for kind, name in columns:
            values = [one[rule][name] for one in found[kind] if name in one.get(rule, {})]
            cells.append(_mean_and_error(values))
        changes = [one[rule]["change"] for one in found["photos"] if "change" in one.get(rule, {})]
        cells += [f"{np.mean(changes):.1f}", f"{np.max(changes):.1f}"] if changes else ["–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    counts = ", ".join(f"{len(people)} {kind}" for kind, people in found.items())
    return f"{counts}.\n\n" + "\n".join(lines)


def _mean_and_error(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{np.mean(values):+.2f} ± {np.std(values) / max(len(values) - 1, 1) ** 0.5:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12, help="how many of the test split")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--source", type=Path, help="a folder of 3D characters instead")
    parser.add_argument("--photos", type=Path, help="a folder of photos instead")
    parser.add_argument("--only", nargs="+", choices=list(RULES), metavar="RULE", help="of the rules")
    parser.add_argument("--print", action="store_true", help="only print what was measured")
    parser.add_argument("--write-doc", action="store_true", help="put the table into docs/ablation.md")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "ablation")
    arguments = parser.parse_args()
    folders = {kind: arguments.output / kind for kind in ("people", "characters", "photos")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    if not arguments.print:
        run = Reconstruct()
        if arguments.photos:
            kind, inputs = "photos", run.of_photos(arguments.photos)
        elif arguments.source:
            kind, inputs = "characters", run.of_source(FolderSource(arguments.source.resolve(), 10**6))
        else:
            last = arguments.first + arguments.people
            kind, inputs = "people", run.of_source(FactorySource(last), arguments.first)
        measure(inputs, run, arguments.only or list(RULES), folders[kind])
    text = table(folders)
    print(text)
    if arguments.write_doc:
        report.write_section(DOCUMENT, "ablation", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
