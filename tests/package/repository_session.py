"""Run by test_repository.py in a Blender of its own: installs from a repository, and updates once told to.

Arguments: address of the repository's index. It prints one line of JSON for each version that it has installed, and
waits for a line on its input before it looks for an update.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bpy

REPOSITORY = "tried"
MODULE = f"bl_ext.{REPOSITORY}.humansplat"


def report(**found: Any) -> None:
    """One line for the test."""
    print("REPORT " + json.dumps(found), flush=True)


def state() -> dict[str, Any]:
    """What the test asks about the installed extension."""
    folder = Path(sys.modules[MODULE].__file__).parent
    manifest = (folder / "blender_manifest.toml").read_text("utf-8")
    locations = sys.modules[f"{MODULE}.humansplat_blender.locations"]
    environment = sys.modules[f"{MODULE}.humansplat_blender.environment"]
    found = environment.find("", locations.install_roots(), folder)
    return {
        "version": next(line.split('"')[1] for line in manifest.splitlines() if line.startswith("version")),
        "results": bpy.context.preferences.addons[MODULE].preferences.results_path,
        "environment": str(found.python) if found else "",
        "user_folder": str(locations.install_roots()[0]),
        "operator": bpy.ops.humansplat.reconstruct.poll() is not None,
        "extension": str(folder),
    }


def main() -> None:
    """Install, wait, update."""
    preferences = bpy.context.preferences
    preferences.system.use_online_access = True
    repository = preferences.extensions.repos.new(name="Tried", module=REPOSITORY, remote_url=sys.argv[1])
    repository.enabled = True
    index = list(preferences.extensions.repos).index(repository)
    directory = repository.directory
    assert bpy.ops.extensions.repo_sync(repo_directory=directory, repo_index=index) == {"FINISHED"}
    installed = bpy.ops.extensions.package_install(repo_index=index, pkg_id="humansplat", enable_on_install=True)
    assert installed == {"FINISHED"}
    first = state()
    # What a user has by then: settings, an environment, a backend that runs.
    bpy.context.preferences.addons[MODULE].preferences.results_path = "/my/results"
    environment = sys.modules[f"{MODULE}.humansplat_blender.environment"]
    folder = Path(first["user_folder"]) / environment.SLOTS[0]
    environment.python_in(folder).parent.mkdir(parents=True)
    environment.python_in(folder).touch()
    (folder / environment.MARKER_NAME).write_text("{}")
    jobs = sys.modules[f"{MODULE}.humansplat_blender.jobs"]
    runtime = sys.modules[f"{MODULE}.humansplat_blender.ui.runtime"]
    backend = jobs.BackendProcess(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], Path(first["extension"]), None
    )
    backend.request("initialize")
    while backend.pid is None:
        pass
    runtime.manager()._process = backend
    report(**first)
    sys.stdin.readline()
    assert bpy.ops.extensions.repo_sync(repo_directory=directory, repo_index=index) == {"FINISHED"}
    assert bpy.ops.extensions.package_upgrade_all() == {"FINISHED"}
    report(**state(), backend_gone=backend.wait_until_gone(0.0))
    bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="humansplat")
    report(files_left=Path(first["extension"]).exists(), enabled=MODULE in bpy.context.preferences.addons)


main()
