"""Runs under the bpy module, one process for each Blender version: ``python -m pytest tests/scene``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_extension(name: str = "humansplat") -> ModuleType:
    """The repository root as a package, as Blender loads the extension, so that relative imports reach the backend."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


# `backend` and `tests` are imported by their own names by the tests themselves.
sys.path.insert(0, str(ROOT))
pytest.importorskip("bpy")
load_extension()


@pytest.fixture(autouse=True)
def factory_settings() -> None:
    """Every test starts from Blender's defaults and an empty scene."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture(scope="session", autouse=True)
def prepared_once() -> Iterator[None]:
    """A package that several tests import is read, and its clothed mesh made, once."""
    from humansplat.humansplat_blender.scene import importer

    prepare = importer.prepare_avatar
    known: dict[tuple[str, int], object] = {}

    def remembered(folder: str | Path) -> object:
        files = [Path(folder) / name for name in ("avatar.json", "gaussians.ply", "skin.npz", "body.npz")]
        if not all(file.is_file() for file in files):
            return prepare(folder)
        key = (str(Path(folder).resolve()), max(file.stat().st_mtime_ns for file in files))
        if key not in known:
            known[key] = prepare(folder)
        return known[key]

    importer.prepare_avatar = remembered
    yield
    importer.prepare_avatar = prepare


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up avatar package on disk."""
    from backend.avatar.package import save_avatar
    from tests.synthetic import make_avatar

    folder = tmp_path_factory.mktemp("avatars") / "tubes"
    save_avatar(make_avatar(), folder)
    return folder
