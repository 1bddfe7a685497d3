#!/usr/bin/env python3
"""How many figures of turnaround sheets are cut, and how many of their sides are right.

    .venvs/backend/bin/python scripts/measure_turnaround.py FOLDER [--avatars PACKAGE ...] [--sheets 2] [-o OUT]

Sheets are put together from rendered people whose sides are known: the 3D characters of FOLDER, and avatar packages, as
they are drawn from all sides. Each person gets ``--sheets`` sheets of 3 to 5 figures a kind, in any order, always with
a front. Kinds: white; gradient; clutter (shapes of many colours and noise behind the figures); touching (figures that
overlap, on a gradient); extras (small heads, colour swatches and text beside the figures, on white). With ``-o`` sheets
of which something is wrong are kept.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import rotation_matrices  # noqa: E402  (after the path)
from backend.errors import BackendError  # noqa: E402
from backend.posing import read_avatar  # noqa: E402
from backend.prepare import BlazePose  # noqa: E402
from backend.prepare.image import Photo  # noqa: E402
from backend.prepare.turnaround import TURNS, cut_photo  # noqa: E402
from backend.research.evaluation.sources import FolderSource  # noqa: E402
from backend.research.evaluation.truth import render_photo  # noqa: E402
from backend.research.training.samples import facing  # noqa: E402
from backend.turntable import render_picture  # noqa: E402

KINDS = ("white", "gradient", "clutter", "touching", "extras")
AZIMUTHS = (0, 45, 90, 180, 270, 315)
"""Degrees around the person, towards the person's left, of the figures that sheets are made of."""
_SIZE = 640
"""Pixels a side of a rendered figure."""
_GAP, _OVERLAP, _PAD = 0.05, -0.02, 0.08
"""Figure's heights between figures, between those that touch, and around all."""


def side_of(azimuth: int) -> str:
    """What the figure is called."""
    return next((side for side, turn in TURNS.items() if turn % 360 == azimuth), "other")


def characters(folder: Path) -> dict[str, dict[int, np.ndarray]]:
    """By name and azimuth: uint8 RGBA pictures of a folder's characters."""
    source, found = FolderSource(folder, limit=1000), {}
    for index in range(len(source)):
        scene = source.scene(index)
        ahead = facing(scene.figure) - scene.azimuth
        found[source.name(index)] = {
            azimuth: np.dstack(render_photo(scene, _SIZE, azimuth + ahead)) for azimuth in AZIMUTHS
        }
    return found


def avatars(packages: list[Path]) -> dict[str, dict[int, np.ndarray]]:
    """The same of avatar packages."""
    found = {}
    for package in packages:
        avatar = read_avatar(package)
        forward = rotation_matrices(avatar.pose[:1])[0, :, 2]
        ahead = float(np.degrees(np.arctan2(forward[0], forward[2])))
        found[package.name] = {
            azimuth: render_picture(avatar, azimuth + ahead, "photo", _SIZE, None) for azimuth in AZIMUTHS
        }
    return found


def background(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Float [H, W, 3] in 0..1."""
    height, width = shape
    if kind in ("white", "extras"):
        return np.ones((height, width, 3))
    if kind == "clutter":
        image = np.full((height, width, 3), rng.uniform(0.3, 0.8))
        for _ in range(60):
            x, y = rng.integers(0, width), rng.integers(0, height)
            w, h = rng.integers(20, height // 3, 2)
            cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), rng.uniform(0.1, 0.95, 3).tolist(), -1)
        return cv2.GaussianBlur(image, (0, 0), 3) + rng.normal(size=image.shape) * 0.03
    top, bottom = rng.uniform(0.35, 0.95, (2, 3))
    ramp = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height, width, 3)).copy()


def make_sheet(
    pictures: list[np.ndarray], kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The sheet uint8 [H, W, 3], and first and last column of each figure."""
    figures = []
    for picture in pictures:
        rows, columns = (np.flatnonzero((picture[..., 3] > 10).any(axis)) for axis in (1, 0))
        figures.append(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    tall = max(len(figure) for figure in figures)
    gap, pad = round((_OVERLAP if kind == "touching" else _GAP) * tall), round(_PAD * tall)
    extra = tall // 3 if kind == "extras" else 0
    width = sum(figure.shape[1] for figure in figures) + gap * (len(figures) - 1) + 2 * pad + extra
    sheet = background(kind, (tall + 2 * pad, width), rng)
    places, left = [], pad
    for figure in figures:
        top = pad + tall - len(figure)
        _paste(sheet, figure, left, top)
        places.append((left, left + figure.shape[1]))
        left += figure.shape[1] + gap
    if extra:
        for row, figure in enumerate(figures[:3]):
            head = cv2.resize(figure[: len(figure) // 7], None, fx=1.5, fy=1.5)[:, : extra - 10]
            _paste(sheet, head, left, pad + row * (len(head) + 10))
        for row in range(4):
            corner = (left, pad + tall - 25 * row)
            cv2.rectangle(sheet, corner, (left + 40, corner[1] - 20), rng.uniform(0, 1, 3).tolist(), -1)
        for (low, _), name in zip(places, ("front", "side", "back", "left", "more")):
            cv2.putText(sheet, name, (low, pad + tall + 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2)
    return (sheet.clip(0, 1) * 255).round().astype(np.uint8), places


def _paste(sheet: np.ndarray, picture: np.ndarray, left: int, top: int) -> None:
    alpha = picture[..., 3:] / 255
    window = sheet[top : top + len(picture), left : left + picture.shape[1]]
    window[:] = window * (1 - alpha) + picture[..., :3] / 255 * alpha


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--avatars", type=Path, nargs="+", default=[])
    parser.add_argument("--sheets", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    networks = BlazePose("cpu")
    people = characters(arguments.folder) | avatars(arguments.avatars)
    counts: Counter[tuple[str, str]] = Counter()
    for kind in KINDS:
        for number, (name, pictures) in enumerate(people.items()):
            for sheet_number in range(arguments.sheets):
                rng = np.random.default_rng([KINDS.index(kind), number, sheet_number])
                others = rng.permutation(AZIMUTHS[1:])[: rng.integers(2, 5)]
                order = rng.permutation([0, *others]).tolist()
                sheet, places = make_sheet([pictures[azimuth] for azimuth in order], kind, rng)
                started = time.perf_counter()
                try:
                    figures = cut_photo(Photo(sheet, None, name, ""), networks)
                except BackendError:
                    figures = []
                counts[kind, "seconds"] += time.perf_counter() - started
                wrong = []
                for azimuth, (low, high) in zip(order, places):
                    middle = (low + high) / 2
                    # The figure's own crop, not one that holds its neighbour as well.
                    widest = 2 * (high - low)
                    own = [f for f in figures if f.box[0] < middle < f.box[2] and f.box[2] - f.box[0] < widest]
                    counts[kind, "figures"] += 1
                    counts[kind, "cut"] += len(own) == 1
                    right = len(own) == 1 and own[0].side == side_of(azimuth)
                    counts[kind, "right"] += right
                    if not right:
                        said = f"{own[0].side} ({own[0].turn:.0f}, {own[0].confidence:.2f})" if own else "nothing"
                        wrong.append(f"{azimuth} is {said}")
                counts[kind, "more"] += max(0, len(figures) - len(order))
                if wrong:
                    print(f"{kind} {name} {order}: {'; '.join(wrong)}", flush=True)
                if wrong and arguments.output is not None:
                    arguments.output.mkdir(parents=True, exist_ok=True)
                    path = arguments.output / f"{kind}_{name}_{sheet_number}.png"
                    cv2.imwrite(str(path), np.ascontiguousarray(sheet[..., ::-1]))
    print(f"{'kind':<10} figures   cut  sides right  too many  seconds a sheet")
    for kind in KINDS:
        total, sheets = counts[kind, "figures"], arguments.sheets * len(people)
        print(
            f"{kind:<10} {total:7} {counts[kind, 'cut']:5} {counts[kind, 'right']:12} {counts[kind, 'more']:9} "
            f"{counts[kind, 'seconds'] / max(sheets, 1):16.1f}"
        )


if __name__ == "__main__":
    main()
