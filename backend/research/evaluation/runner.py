"""Everyone of a source against every preset, in several processes; results are kept so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ...errors import BackendError
from ...options import SidePicture
from ...pipeline import Pipeline
from .candidates import Candidate, perfect, reconstruct
from .compare import Measurement, compare
from .given import WITH_BENDING, WITH_BUDGET, WITH_PICTURES, another_moment, picture_of
from .metrics import Lpips
from .sources import Source
from .truth import Truth, render_photo

BACKEND = Path(__file__).resolve().parents[2]
_COSMETIC = ("research/evaluation/report.py", "server.py", "doctor.py", "__main__.py")
"""Code that changes no number."""


@dataclass(frozen=True)
class Settings:
    """How people are measured.

    Attributes:
        source: of true people.
        size: pixels a side of whole-body views.
        photo_size: pixels a side of the photo that the product gets.
        matte: give the product the true matte as the photo's alpha.
        device: for the product and the truth.
        folder: where results are kept.
        digest: of the code, see :func:`code_digest`; taken once, so that a file that changes during a run does not
            split its results.
    """

    source: Source
    size: int
    photo_size: int
    matte: bool
    device: str
    folder: Path
    digest: str

    def cache(self, preset: str) -> Path:
        """The folder of a preset's results: another one for other settings, other code or other weights."""
        key = (self.source.key, self.size, self.photo_size, self.matte, self.device, self.digest)
        return self.folder / hashlib.sha256(repr(key).encode()).hexdigest()[:12] / preset


@dataclass(frozen=True)
class Row:
    """One person and preset.

    Attributes:
        name: of the person.
        values: by name, see ``compare.Measurement``; empty where there was no reconstruction.
        error: why there was none, else None.
        picture: file with the tiles, None where there was no reconstruction.
    """

    name: str
    values: dict[str, float]
    error: str | None
    picture: Path | None


def code_digest() -> str:
    """Changes when the backend's code or the files beside it (bodies, weights) change.

    Of ``training`` only what is loaded counts: the factory's people, not the training loops.
    """
    loaded = {
        Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    }
    total = hashlib.sha256()
    for path in sorted(BACKEND.rglob("*")):
        name = path.relative_to(BACKEND).as_posix()
        if not path.is_file() or "__pycache__" in name or name in _COSMETIC or path.suffix == ".md":
            continue
        if name.startswith("research/training/") and path not in loaded:
            continue
        total.update(name.encode() + path.read_bytes())
    return total.hexdigest()


def run(settings: Settings, presets: Sequence[str], jobs: int) -> Iterator[tuple[int, dict[str, Row], float]]:
    """Measure everyone; yields (number of the person, row by preset, seconds) as people are done, in any order.

    Args:
        settings: how.
        presets: of the product, or controls.
        jobs: processes.
    """
    for preset in presets:
        settings.cache(preset).mkdir(parents=True, exist_ok=True)
    todo = []
    for index in range(len(settings.source)):
        rows = {preset: _read(settings, preset, index) for preset in presets}
        if all(row is not None for row in rows.values()):
            yield index, {preset: row for preset, row in rows.items() if row is not None}, 0.0
        else:
            todo.append(index)
    if not todo:
        return
    if jobs == 1:
        for index in todo:
            yield index, *_person(settings, presets, index)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # FLIP and PyTorch read this when they are loaded: threads of two processes on one core wait for each other.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    lost = []
    for index, done in _in_processes(settings, presets, todo, jobs, threads):
        if done is None:
            lost.append(index)
        else:
            yield index, *done
    # Somebody has brought a process down, and the others in work with it: each gets one of its own.
    for index in lost:
        for _, done in _in_processes(settings, presets, [index], 1, threads):
            if done is None:
                row = Row(
                    settings.source.name(index), {}, "The process that measured this person was brought down.", None
                )
                done = dict.fromkeys(presets, row), 0.0
            yield index, *done


def _in_processes(
    settings: Settings, presets: Sequence[str], people: Sequence[int], jobs: int, threads: int
) -> Iterator[tuple[int, tuple[dict[str, Row], float] | None]]:
    """What :func:`_person` says of each, as they are done; None of those whose process ended before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool:
        futures = {pool.submit(_person, settings, presets, index): index for index in people}
        try:
            for future in as_completed(futures):
                try:
                    done = future.result()
                except BrokenProcessPool:
                    done = None
                yield futures[future], done
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


@cache
def _pipeline(device: str) -> Pipeline:
    pipeline = Pipeline(device)
    pipeline.load()
    return pipeline


@cache
def _lpips() -> Lpips:
    return Lpips()


def _person(settings: Settings, presets: Sequence[str], index: int) -> tuple[dict[str, Row], float]:
    """All presets of one person; the truth is made once."""
    started = time.perf_counter()
    truth: Truth | Row | None = None
    rows: dict[str, Row] = {}
    for preset in presets:
        row = _read(settings, preset, index)
        if row is None:
            truth = truth or _truth(settings, index)
            row = truth if isinstance(truth, Row) else _measure(settings, preset, index, truth)
        rows[preset] = row
    return rows, time.perf_counter() - started


def _truth(settings: Settings, index: int) -> Truth | Row:
    """What a person is held to; where it cannot be read, the row that says so, which is not kept: files get mended."""
    try:
        return settings.source.truth(index, settings.size)
    except BackendError as error:
        reason = str(error)
    except Exception as error:  # whatever a damaged file makes its reader say
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    return Row(settings.source.name(index), {}, reason, None)


def _measure(settings: Settings, preset: str, index: int, truth: Truth) -> Row:
    name = truth.name
    try:
        candidate = _candidate(settings, preset, index, truth)
        measurement = compare(candidate, truth, settings.photo_size, _lpips())
    except BackendError as error:
        row = Row(name, {}, str(error), None)
    except Exception as error:  # one person's crash is a failure of the preset, not of the whole run
        traceback.print_exc()
        return Row(name, {}, f"{type(error).__name__}: {error}", None)
    else:
        picture = settings.cache(preset) / f"{name}.png"
        strip(measurement).save(picture, compress_level=4)
        row = Row(name, measurement.values, None, picture)
    _write(settings, preset, row)
    return row


def _candidate(settings: Settings, preset: str, index: int, truth: Truth) -> Candidate:
    if preset == "perfect":
        return perfect(truth.scene, settings.photo_size, truth)
    if preset == "shuffled":
        return perfect(settings.source.scene(settings.source.other(index)), settings.photo_size)
    rgb, alpha = render_photo(truth.scene, settings.photo_size)
    with tempfile.TemporaryDirectory(prefix="humansplat-photo-") as folder:
        photo = Path(folder) / f"{truth.name}.png"
        Image.fromarray(np.dstack([rgb, alpha]) if settings.matte else rgb).save(photo, compress_level=1)
        base, plus, given = preset.partition("+")
        other = given.startswith("other")
        scene = another_moment(truth.scene, settings.source.bent(index)) if other else truth.scene
        pictures = []
        for side in WITH_PICTURES.get(plus + given, ()):
            path = Path(folder) / f"{side}.png"
            rgb, alpha = picture_of(scene, settings.photo_size, side, other)
            Image.fromarray(np.dstack([rgb, alpha]) if settings.matte else rgb).save(path, compress_level=1)
            pictures.append(SidePicture(path, side))
        return reconstruct(
            _pipeline(settings.device), photo, base, tuple(pictures), WITH_BUDGET.get(plus + given, 0),
            WITH_BENDING.get(plus + given),
        )


def strip(measurement: Measurement) -> Image.Image:
    """All tiles side by side at the height of the first."""
    height = next(iter(measurement.tiles.values())).shape[0]
    tiles = []
    for tile in measurement.tiles.values():
        image = Image.fromarray(tile)
        if image.height != height:
            image = image.resize((image.width * height // image.height, height), Image.Resampling.BICUBIC)
        tiles.append(np.asarray(image))
    return Image.fromarray(np.hstack(tiles))


def _file(settings: Settings, preset: str, name: str) -> Path:
    return settings.cache(preset) / f"{name}.json"


def _read(settings: Settings, preset: str, index: int) -> Row | None:
    name = settings.source.name(index)
    try:
        content = json.loads(_file(settings, preset, name).read_text("utf-8"))
        picture = settings.cache(preset) / f"{name}.png"
        return Row(name, content["values"], content["error"], picture if picture.is_file() else None)
    except (OSError, ValueError, KeyError):
        return None


def _write(settings: Settings, preset: str, row: Row) -> None:
    path = _file(settings, preset, row.name)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"values": row.values, "error": row.error}, indent=1) + "\n", "utf-8")
    part.replace(path)
