"""Runs under the bpy module, one process for each Blender version: ``python -m pytest tests/motion``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).resolve().parents[1]


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_scene = _load("scene_conftest", TESTS / "scene" / "conftest.py")
factory_settings, package, prepared_once = _scene.factory_settings, _scene.package, _scene.prepared_once

# `motion_writers` imports its neighbours by their own names, and scipy, which Blender's Python need not have.
sys.path.insert(0, str(TESTS))
if importlib.util.find_spec("scipy") is None:
    stand_in = _load("scipy.spatial.transform", Path(__file__).parent / "rotation_stand_in.py")
    for name in ("scipy", "scipy.spatial"):
        sys.modules[name] = ModuleType(name)
    sys.modules["scipy.spatial"].transform = stand_in


@pytest.fixture
def registered() -> Iterator[None]:
    """The motion operators, without the rest of the add-on."""
    from humansplat.humansplat_blender import motion

    motion.register()
    yield
    motion.unregister()
