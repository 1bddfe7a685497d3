"""The extension's zip, judged by Blender's own tool."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from extension_under_test import ROOT, extension_tool

if sys.version_info >= (3, 11):
    import tomllib

PROMISED = (
    "blender_manifest.toml",
    "__init__.py",
    "LICENSE",
    "humansplat_blender/client.py",
    "humansplat_blender/ui/panels.py",
    "humansplat_blender/scene/__init__.py",
    "backend/__main__.py",
    "backend/requirements.txt",
    "backend/locks/longest.json",
    "backend/locks/windows-x64-py311.txt",
    "backend/avatar/package.py",
    "backend/body/data/neutral.npz",
)
#: What makes and judges the networks: a developer's, and nothing that runs in Blender imports it.
UNSHIPPED = ("backend/research/evaluation/", "backend/research/training/", "backend/research/")


def test_manifest_and_zip_are_valid(extension_zip: Path) -> None:
    for target in (ROOT, extension_zip):
        command = [sys.executable, str(extension_tool()), "validate", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_manifest_obeys_the_rules_that_people_check() -> None:
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))
    assert "blender" not in manifest["name"].lower()
    assert manifest["blender_version_min"] == "4.2.0"
    assert set(manifest["permissions"]) == {"files", "network"}
    assert "wheels" not in manifest and "platforms" not in manifest  # one zip for every system and Python


def test_zip_holds_what_runs_and_nothing_else(extension_zip: Path) -> None:
    with zipfile.ZipFile(extension_zip) as archive:
        names = archive.namelist()
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    assert set(PROMISED) <= set(names)
    packages = {"humansplat_blender", "backend"}
    allowed = packages | {"blender_manifest.toml", "__init__.py", "LICENSE", "NOTICE", "README.md"}
    assert {name.split("/")[0] for name in names} <= allowed
    assert not [name for name in names if name.startswith(UNSHIPPED)]
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".zip", ".blend"))]
    # A file of a few bytes in place of data is how other extensions shipped broken.
    assert all(
        size > 100_000 for name, size in sizes.items() if name.startswith("backend/body/data/") and ".npz" in name
    )
    assert not {name for name in sizes if not name.endswith("/") and sizes[name] != (ROOT / name).stat().st_size}
    weights = {name for name in sizes if name.startswith("backend/weights/lite/")}
    assert len([name for name in weights if name.endswith(".safetensors") and sizes[name] > 100_000]) == 5
    assert sum(sizes.values()) < 90e6


def test_sources_in_the_zip_are_the_repository_s(extension_zip: Path) -> None:
    with zipfile.ZipFile(extension_zip) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    for package in ("humansplat_blender", "backend"):
        here = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        here = {name for name in here if not name.startswith(UNSHIPPED)}
        assert here == {name for name in packed if name.startswith(f"{package}/")}


def test_the_backend_runs_without_what_is_left_out(extension_zip: Path, tmp_path: Path) -> None:
    """No module of the zip names one that is left out."""
    with zipfile.ZipFile(extension_zip) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                imports = re.findall(r"^\s*(?:from|import)\s+(\S+)", archive.read(name).decode(), re.MULTILINE)
                parts = {part for module in imports for part in module.split(".")}
                assert not parts & {"training", "evaluation", "research"}, name


def test_paths_of_the_zip_fit_below_blender_s_folder_on_windows(extension_zip: Path) -> None:
    folder = rf"C:\Users\{'a' * 20}\AppData\Roaming\Blender Foundation\Blender\4.5\extensions\user_default\humansplat"
    compiled = len(r"__pycache__\.cpython-313") + 16  # the folder, the version, and the ending while it is written
    with zipfile.ZipFile(extension_zip) as archive:
        for name in archive.namelist():
            assert len(f"{folder}\\{name}") + (compiled if name.endswith(".py") else 0) < 259, name
