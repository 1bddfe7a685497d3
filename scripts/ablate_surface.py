#!/usr/bin/env python3
"""What each rule of the reconstruction is worth: everyone reconstructed with it and without, all else equal.

    .venvs/backend/bin/python scripts/ablate_surface.py                           # 12 people of the test split
    .venvs/backend/bin/python scripts/ablate_surface.py --source FOLDER           # 3D characters
    .venvs/backend/bin/python scripts/ablate_surface.py --photos FOLDER           # photos: how far pictures change
    .venvs/backend/bin/python scripts/ablate_surface.py --print --write-doc       # the table of what was measured so far

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

from backend.evaluation import report  # noqa: E402  (after the path)
from backend.evaluation.ablation import CHANGED, FIGURES, Inputs, Reconstruct, pictures, scores  # noqa: E402
from backend.evaluation.sources import FactorySource, FolderSource  # noqa: E402
from backend.reconstruct import colours, photo_colours, shape, sheets, shown, splats, surface  # noqa: E402
from backend.reconstruct.latent import anchor, stage  # noqa: E402
from backend.reconstruct.sheets import Layers  # noqa: E402

DOCUMENT = ROOT / "docs" / "ablation.md"
Patch = tuple[object, str, Any]


def _nothing(*_: object, **__: object) -> float:
    return 0.0


def _first(value: Any, *_: object, **__: object) -> Any:
    return value


def _none_of(position: int) -> Callable[..., np.ndarray]:
    """Stands for what says which of n places; the argument at ``position`` has n rows."""
    return lambda *given, **_: np.zeros(len(given[position]), bool)


def _no_sheets_behind(front: splats.Splats, *_: object) -> splats.Splats:
    return splats.take(front, np.zeros(len(front.face), bool))


def _no_hair(photo: object, matte: np.ndarray, *_: object) -> np.ndarray:
    return np.zeros_like(matte)


def _layers(layers: Layers, *_: object) -> Layers:
    return layers


def _first_kind(places: object, mesh: object, corner: np.ndarray, kind: np.ndarray, regions: object) -> np.ndarray:
    return kind[corner[:, 0]]


def _no_seam(wanted: Any, kind: Any, rgb: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(rgb), np.zeros((len(rgb), 1))


_FAR = (1e3, 2e3)
RULES: dict[str, tuple[str, list[Patch]]] = {
    "outline": ("body pushed to the matte's outline", [(shape, "outline_displacement", _nothing)]),
    "limbs": ("limbs' outlines by colour before the person", [(shape, "find_limbs", lambda *_: [])]),
    "carve": ("what lies outside the matte pulled in", [(shape, "carve", _nothing)]),
    "depths on the mesh": ("mesh brought to the network's depths", [(shape, "meet_depths", _nothing)]),
    "hair before arms": ("hair that falls before an arm", [(shape, "hair_before_arms", _no_hair)]),
    "hands": ("hands cut out of what is behind", [(shape, "find_hands", lambda *_: [])]),
    "skirts": ("a skirt carried by both legs", [(sheets, "find_skirt", lambda *_: None)]),
    "torn sheets": ("torn sheets hung on the body", [(shape, "_hang_on_body", _layers)]),
    "islands": ("islands of depth put to the nearest surface", [(shape, "without_islands", _layers)]),
    "scraps": ("scraps that would hang in the air", [(shape, "without_scraps", _layers)]),
    "adrift": ("unseen splats that would hang in the air", [(surface, "adrift", _none_of(0))]),
    "back of sheets": ("far layer of skirts and gaps", [(surface, "back_of_sheets", _no_sheets_behind)]),
    "own colours": ("background unmixed at the rim", [(surface, "own_colours", lambda rgb, alpha, device: surface.
                                                      extend_colours(rgb, alpha))]),  # fmt: skip
    "pure colours": ("wider rim of enlarged photos", [(surface, "pure_colours", lambda photo, image: image)]),
    "matching": ("colours corrected to the photo", [(surface, "match_photo", lambda joined, scale, opacity, rgb, *_: (
        rgb, np.zeros(len(rgb))))]),  # fmt: skip
    "non-transferable": ("all of the six below", [(shown, "misleading", _none_of(1))]),
    "skin among hair": ("forehead where hair should be", [("backend.reconstruct.misleading", "skin_among_hair",
                                                           _none_of(0))]),  # fmt: skip
    "skin on clothes": ("an arm before a shirt", [("backend.reconstruct.misleading", "skin_on_clothes", _none_of(0))]),
    "front alone": ("prints and ties", [("backend.reconstruct.misleading", "on_front_alone", _none_of(0))]),
    "one leg": ("a bag before a thigh", [("backend.reconstruct.misleading", "on_one_leg", _none_of(0))]),
    "bare arms": ("bare arms no source for a trunk", [(colours, "bare_arms", _none_of(0))]),
    "bare neckline": ("necklines no source for a back", [(colours, "bare_neckline", _none_of(0))]),
    "rare": ("classes that hardly show", [(shown, "_drop_rare", _nothing)]),
    "long hair": ("neck covered from behind", [(shown, "_long_hair", lambda *_: False)]),
    "beside limbs": ("skin in 10 pixels around hands and arms", [(shown, "_LIMB_RIM", 0)]),
    "cut classes": ("borders of classes cut through triangles", [(shown, "_kinds", _first_kind)]),
    "cheek": ("skin, not features, on the side of a face", [(colours, "_SKIN_BEYOND", _FAR)]),
    "tuft": ("mean colour for hair far from any seen", [(colours, "_HAIR_BEYOND", _FAR)]),
    "lowest": ("legs beyond the frame", [(colours, "_BELOW", _FAR), (colours, "_legs_reach", lambda *_: _FAR)]),
    "mirror": ("left takes from right", [(colours, "_MIRROR_PENALTY", (1e3, 1e3))]),
    "along": ("stripes and hems run around", [(colours, "_ALONG", 1.0)]),
    "doubt": ("sure colours before others", [(colours, "_DOUBT_PENALTY", 0.0)]),
    "depth counts less": ("a back continues the front", [(colours, "_DEPTH_WEIGHT", 1.0)]),
    "rim": ("photo's colours fade over its rim", [(photo_colours, "_beyond_rim", _no_seam)]),
    "snap": ("hidden body brought to the matte", [(splats, "_MAX_SNAP", 0.0)]),
    "stretch": ("splats stretch with their face", [(splats, "_STRETCH_RANGE", (1.0, 1.0))]),
    "nearest face": ("moved splats on the nearest face", [(splats, "_nearest_face", lambda mesh, position, face:
                                                           face)]),  # fmt: skip
    "gap spread": ("nothing spans limbs far apart", [(sheets, "_MAX_SPREAD", 1e3), (sheets, "_MAX_LEG_SPREAD", 1e3)]),
    "trousers": ("no mesh between trousers", [(sheets, "between_legs", lambda points, joints: (
        np.zeros(len(points), bool),) * 2)]),  # fmt: skip
    "sheet meshes": ("all grids in gaps", [(sheets, "_MIN_RADIUS", 1e3)]),
    "imagined": ("colours of imagined views", [(stage, "anchor", _first)]),
    "imagined light": ("imagined views in the photo's light", [(anchor, "in_light_of", _first)]),
    "pattern": ("cloth's pattern on imagined colours", [(anchor, "_pattern", _nothing)]),
    "even cloth": ("prevailing colour at a height", [(stage, "even_cloth", lambda splats, smooth: splats.rgb)]),
    "soft seam": ("steps along the rim levelled", [(stage, "soften_seam", lambda splats, seam: splats.rgb)]),
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
            if shown_base is None:
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
    columns = [(kind, name) for kind in ("people", "characters") for name in FIGURES if kind == "people" or name != "posed"]
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
