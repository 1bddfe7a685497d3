"""Figures of the code, on a made-up package whose figures are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import measure_code  # noqa: E402  (after the path)

CONFIG = '''"""Numbers."""
from dataclasses import dataclass, field
from enum import IntEnum

STEP = 0.03
_RANGE = (0.1, 2)
FIRST, LAST = 1.5, 9.5
FINGERS = ((0, 1), (0, 5))
ROWS, COLUMNS, ALL = 0, 1, (2, 3)
NAMES = {"a": "b"}
WIDE: float = -2 * 0.5
DERIVED = 2 * STEP
lower = 3.0


class Part(IntEnum):
    ONE = 1


@dataclass(frozen=True)
class MadeConfig:
    rounds: int = 4
    on: bool = True
    table: dict[str, float] = field(default_factory=lambda: {"A": 1.0})
    name: str = "x"
    twice: float = 2 * STEP


@dataclass
class View:
    blur: int = 0
'''
USER = '''from .numbers import STEP

def thicker(value, most=0.7):
    """Half of it."""
    return max(0.5 * value, 1e-9, most) + 4.0 + 0.25 + 1.0
'''


@pytest.fixture()
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    for name, text in (("__init__", ""), ("numbers", CONFIG), ("inner/__init__", ""), ("inner/user", USER)):
        (folder / f"{name}.py").write_text(text.replace("from .numbers", "from ..numbers"), "utf-8")
    return folder


def test_constants_are_counted_by_the_rules_that_the_script_states(package: Path) -> None:
    found = measure_code.measure(package / "numbers.py")
    expected = {"STEP", "_RANGE", "FIRST", "LAST", "WIDE", "MadeConfig.rounds", "MadeConfig.table"}
    assert set(found.constants) == expected and len(found.constants) == len(expected)
    assert found.lines == len(CONFIG.splitlines()) and not found.unnamed


def test_numbers_without_a_name_are_those_that_might_be_tuned(package: Path) -> None:
    assert measure_code.measure(package / "inner" / "user.py").unnamed == ((3, 0.7), (5, 4.0), (5, 0.25))


def test_cycles_are_modules_that_import_each_other(package: Path) -> None:
    assert measure_code.imports(package)["made.inner.user"] == {"made.numbers"}
    assert measure_code.cycles(package) == []
    path = package / "numbers.py"
    path.write_text("def later():\n    from .inner import user\n" + CONFIG, "utf-8")
    assert measure_code.cycles(package) == []
    path.write_text("from .inner import user\n" + CONFIG, "utf-8")
    assert measure_code.cycles(package) == [["made.inner.user", "made.numbers"]]


def test_folders_and_their_sums_are_printed(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure_code", "--package", str(package), "--names", "inner"])
    assert measure_code.main() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["made/inner", str(len(USER.splitlines())), "0", "3"] in lines and ["line", "3:", "0.7"] in lines
    assert ["all", str(len((USER + CONFIG).splitlines())), "7", "3"] in lines and ["0", "import", "cycles"] in lines
