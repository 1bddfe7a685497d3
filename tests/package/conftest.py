"""The extension, built and installed into a throw-away Blender profile. Runs under any Python that has bpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from extension_under_test import FAKE_BACKEND, HAS_BPY, MODULE, ROOT, extension_tool, make_interpreter

#: Tests that run under any Python, on every system.
NEEDS_NO_BPY = (
    "test_client.py",
    "test_environment.py",
    "test_install_",
    "test_models_answers.py",
    "test_pictures.py",
    "test_repair.py",
)
if not HAS_BPY:
    here = Path(__file__).parent
    collect_ignore = [path.name for path in here.glob("test_*.py") if not path.name.startswith(NEEDS_NO_BPY)]
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built extension."""
    folder = tmp_path_factory.mktemp("build")
    command = [sys.executable, str(extension_tool()), "build", "--source-dir", str(ROOT), "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.zip")
    return built


@pytest.fixture(scope="session")
def fake_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that is the fake backend, whatever its arguments."""
    code = f"import runpy; runpy.run_path({str(FAKE_BACKEND)!r}, run_name='__main__')"
    return make_interpreter(tmp_path_factory.mktemp("fake"), code)


@pytest.fixture(scope="session")
def installed(extension_zip: Path) -> ModuleType:
    """The installed and enabled extension's root module."""
    import bpy

    if not bpy.utils.user_resource("CONFIG").startswith(os.environ.get("BLENDER_USER_RESOURCES", "/nowhere")):
        pytest.skip("bpy was imported before the throw-away profile was chosen: run tests/package on its own")
    outcome = bpy.ops.extensions.package_install_files(
        filepath=str(extension_zip), repo="user_default", enable_on_install=True
    )
    assert outcome == {"FINISHED"}
    assert MODULE in bpy.context.preferences.addons
    return sys.modules[MODULE]


@pytest.fixture
def addon(
    installed: ModuleType, fake_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """The extension with a fresh manager, an empty scene, the fake backend and a results folder of its own.

    Attributes: ``runtime``, ``manager``, ``results`` (folder), ``photo`` (makes a photo with a given stem).
    """
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    if MODULE not in bpy.context.preferences.addons:
        bpy.ops.preferences.addon_enable(module=MODULE)
    runtime = sys.modules[f"{MODULE}.humansplat_blender.ui.runtime"]
    monkeypatch.setenv("HUMANSPLAT_BACKEND_PYTHON", str(fake_python))
    runtime.unregister()
    runtime.register()
    bpy.context.preferences.addons[MODULE].preferences.results_path = str(tmp_path / "results")

    def photo(stem: str) -> str:
        path = tmp_path / f"{stem}.png"
        path.write_bytes(b"the fake backend looks at the name alone")
        return str(path)

    yield SimpleNamespace(runtime=runtime, manager=runtime.manager(), results=tmp_path / "results", photo=photo)
    runtime.manager().close()
