"""A part of the corpus of hostile inputs, and the guard that keeps it in its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import try_hostile  # noqa: E402

_TRESPASS = """
import os, pathlib, shutil, sys
outside, own = map(pathlib.Path, sys.argv[1:])
def stopped(act):
    try:
        act()
    except PermissionError:
        return True
    return False
acts = [
    lambda: (outside / "new.txt").write_text("x"),
    lambda: (outside / "kept.txt").unlink(),
    lambda: os.rename(outside, own / "taken"),
    lambda: shutil.rmtree(outside),
    lambda: (own / "link" / "kept.txt").write_text("x"),
    lambda: os.open(outside / "raw.txt", os.O_CREAT | os.O_WRONLY),
    lambda: (outside / "folder").mkdir(),
]
os.symlink(outside, own / "link")
assert all([stopped(act) for act in acts])
(own / "deep" / "er").mkdir(parents=True)
(own / "deep" / "er" / "file.txt").write_text("mine")
shutil.rmtree(own / "deep")
(own / "link").unlink()
print("held")
"""


def test_the_guard_lets_nothing_outside_be_touched(tmp_path: Path) -> None:
    outside, own = tmp_path / "outside", tmp_path / "own"
    outside.mkdir()
    own.mkdir()
    (outside / "kept.txt").write_text("kept")
    environment = try_hostile.guarded(own)
    command = [sys.executable, "-c", _TRESPASS, str(outside), str(own)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "held\n", done.stderr
    assert [entry.name for entry in outside.iterdir()] == ["kept.txt"] and (outside / "kept.txt").read_text() == "kept"
    assert len((own / "trespass.txt").read_text().splitlines()) == 7
    # A worker without the guard does not begin.
    started = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "try_hostile.py"), "--work", "lists", "--folder", str(own)],
        env={name: value for name, value in os.environ.items() if name != "HUMANSPLAT_HOSTILE_ROOT"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert started.returncode == 1 and "guard" in started.stderr


@pytest.mark.parametrize("area, every", [("lists", 5), ("packages", 12), ("bodies", 9)])
def test_a_part_of_the_corpus_is_treated_well(area: str, every: int) -> None:
    results = try_hostile.try_area(area, every)
    assert len(results) >= 8
    assert [f"{result.name}: {result.wrong}" for result in results if result.wrong] == []
