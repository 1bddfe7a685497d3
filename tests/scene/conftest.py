"""Runs under the bpy module, one process for each Blender version: ``python -m pytest tests/scene``."""

from __future__ import annotations

import importlib.util
import sys
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


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up avatar package on disk."""
    from backend.avatar.package import save_avatar
    from tests.synthetic import make_avatar

    folder = tmp_path_factory.mktemp("avatars") / "tubes"
    save_avatar(make_avatar(), folder)
    return folder
