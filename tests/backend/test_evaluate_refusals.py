"""Measuring goes on where a person cannot be read or is refused, and says so at the end."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.errors import BackendError
from backend.research.evaluation import runner

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Damaged:
    """Four people: one is refused by the pipeline, one has a damaged file, one is of no known kind."""

    key: str = "damaged"

    def __len__(self) -> int:
        return 4

    def name(self, index: int) -> str:
        return f"person{index}"

    def truth(self, index: int, _size: int) -> Any:
        if index == 1:
            raise BackendError("scan_unreadable", "person1.glb is cut off.", "Save it again.")
        if index == 2:
            raise IndexError("list index\nout of range")
        return SimpleNamespace(name=f"person{index}")


@pytest.fixture(scope="module")
def evaluate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluate_under_test", ROOT / "scripts" / "evaluate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runner.Settings:
    def candidate(_settings: runner.Settings, preset: str, index: int, _truth: Any) -> int:
        if index == 3 and preset == "lite":
            raise BackendError("no_person", "No person was found.", "Try another photo.")
        return index

    def compare(index: int, *_: Any) -> SimpleNamespace:
        return SimpleNamespace(values={"orbit.psnr": 20.0 + index}, tiles={})

    monkeypatch.setattr(runner, "_candidate", candidate)
    monkeypatch.setattr(runner, "compare", compare)
    monkeypatch.setattr(runner, "_lpips", lambda: None)
    monkeypatch.setattr(runner, "strip", lambda _: SimpleNamespace(save=lambda *_, **__: None))
    return runner.Settings(
        source=Damaged(), size=32, photo_size=64, matte=False, device="cpu", folder=tmp_path, digest="1"
    )


def test_others_are_measured_and_the_refused_named(evaluate: ModuleType, settings: runner.Settings) -> None:
    rows = evaluate.measure(settings, ["lite", "surface"], 1)
    assert [row.name for row in rows["surface"]] == [f"person{i}" for i in range(4)]
    assert [bool(row.values) for row in rows["surface"]] == [True, False, False, True]
    assert [bool(row.values) for row in rows["lite"]] == [True, False, False, False]
    assert evaluate.list_refused(rows) == [
        "Not measured: 3 people.",
        "  person1 (lite, surface): person1.glb is cut off. Save it again.",
        "  person2 (lite, surface): IndexError: list index out of range",
        "  person3 (lite): No person was found. Try another photo.",
    ]
    assert evaluate.list_refused({"surface": rows["surface"][:1]}) == []


def test_a_file_that_was_mended_is_read_again(settings: runner.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {index: rows["surface"] for index, rows, _ in runner.run(settings, ["surface"], 1)}
    assert first[1].error is not None
    monkeypatch.setattr(Damaged, "truth", lambda self, index, _size: SimpleNamespace(name=self.name(index)))
    again = {index: (rows["surface"], seconds) for index, rows, seconds in runner.run(settings, ["surface"], 1)}
    assert again[1][0].values and again[2][0].values
    assert again[0][1] == again[3][1] == 0  # nothing else was measured again


@dataclass(frozen=True)
class Deadly(Damaged):
    """One person brings down the process that measures it; the others cannot be read."""

    def truth(self, index: int, _size: int) -> Any:
        if index == 2:
            os._exit(11)
        raise BackendError("scan_unreadable", f"person{index}.glb is cut off.", "Save it again.")


def test_a_process_that_is_brought_down_takes_no_other_person_along(tmp_path: Path) -> None:
    settings = runner.Settings(
        source=Deadly(), size=32, photo_size=64, matte=False, device="cpu", folder=tmp_path, digest="1"
    )
    found = {index: rows["surface"].error for index, rows, _ in runner.run(settings, ["surface"], 2)}
    assert sorted(found) == [0, 1, 2, 3]
    for index, reason in found.items():
        assert reason is not None and ("brought down" if index == 2 else "cut off") in reason
