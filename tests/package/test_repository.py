"""The repository that ``scripts/make_repository`` makes: Blender installs from it and updates from it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from extension_under_test import ROOT, extension_tool

sys.path.insert(0, str(ROOT / "scripts"))

import make_repository

TOOL = (sys.executable, str(extension_tool()))


@pytest.fixture(scope="module")
def source(extension_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's files, small enough to be built many times: its large data are left out."""
    folder = tmp_path_factory.mktemp("source")
    with zipfile.ZipFile(extension_zip) as archive:
        archive.extractall(folder, [info for info in archive.infolist() if info.file_size < 1e6])
    return folder


def set_version(source: Path, version: str) -> None:
    """Write another version into the manifest."""
    path = source / "blender_manifest.toml"
    lines = path.read_text("utf-8").splitlines()
    lines = [f'version = "{version}"' if line.startswith("version =") else line for line in lines]
    path.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "repository"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{served.server_port}/index.json"
        served.shutdown()


def test_index_names_the_zip_and_its_hash(source: Path, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "humansplat-0.0.9.zip").write_bytes(b"an older one")
    (tmp_path / "another-1.0.0.zip").write_bytes(b"somebody else's")
    set_version(source, "0.1.0")
    assert make_repository.make_repository(source, tmp_path, TOOL) == {"humansplat-0.1.0.zip": "0.1.0"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.json", "index.html", "humansplat-0.1.0.zip", "another-1.0.0.zip",
    }  # fmt: skip
    (entry,) = json.loads((tmp_path / "index.json").read_text("utf-8"))["data"]
    data = (tmp_path / "humansplat-0.1.0.zip").read_bytes()
    assert entry["archive_hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert entry["archive_size"] == len(data)
    assert "platforms" not in entry  # one zip for every system


def test_what_cannot_be_built_leaves_the_old_repository(source: Path, tmp_path: Path) -> None:
    set_version(source, "0.1.0")
    make_repository.make_repository(source, tmp_path, TOOL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    set_version(source, "no version")
    with pytest.raises(make_repository.RepositoryError, match="version"):
        make_repository.make_repository(source, tmp_path, TOOL)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_zips_by_system_where_the_manifest_says_so(source: Path, tmp_path: Path) -> None:
    set_version(source, "0.1.0")
    path = source / "blender_manifest.toml"
    text = path.read_text("utf-8")
    assert not make_repository.manifest_declares_platforms(source)
    path.write_text(f'platforms = ["windows-x64", "linux-x64"]\n{text}', "utf-8")
    try:
        zips = make_repository.make_repository(source, tmp_path, TOOL)
    finally:
        path.write_text(text, "utf-8")
    assert sorted(zips) == ["humansplat-0.1.0-linux_x64.zip", "humansplat-0.1.0-windows_x64.zip"]


def test_install_and_update_from_a_server(source: Path, server: tuple[Path, str], tmp_path: Path) -> None:
    """Settings and the environment stay, and the backend has ended before its files are replaced."""
    folder, address = server
    set_version(source, "0.1.0")
    make_repository.make_repository(source, folder, TOOL)
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "profile")}
    environment.pop("HUMANSPLAT_BACKEND_PYTHON", None)
    command = [sys.executable, str(Path(__file__).with_name("repository_session.py")), address]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as session:
        said: list[str] = []

        def report() -> dict[str, object]:
            for line in iter(session.stdout.readline, ""):
                said.append(line)
                if line.startswith("REPORT "):
                    return json.loads(line.removeprefix("REPORT "))
            pytest.fail("".join(said))

        first = report()
        set_version(source, "0.2.0")
        make_repository.make_repository(source, folder, TOOL)
        session.stdin.write("go on\n")
        session.stdin.flush()
        second, third = report(), report()
    assert first["version"] == "0.1.0" and second["version"] == "0.2.0"
    assert first["environment"] == "" and first["results"] == ""
    assert second["results"] == "/my/results"
    assert second["environment"].startswith(str(second["user_folder"]))
    assert second["backend_gone"] is True
    assert third == {"files_left": False, "enabled": False}
