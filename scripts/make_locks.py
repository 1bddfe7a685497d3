"""Make ``backend/locks/``: what *Install backend* installs on each system and Python, with the SHA-256 of every wheel.

Needs a connection to the Python Package Index; standard library only (``uv``, which resolves for systems other than
this one, is put into a temporary environment). Written are, for each system and Python:

* ``<system>-py3XX.txt``: everything except PyTorch and what its CUDA builds bring along;
* ``<system>-py3XX-<build>.txt``: PyTorch, where the wheel's hash is known: the Python Package Index holds the build for
  the processor for Windows and macOS, and that for CUDA 13.0 for Linux. ``--torch-index`` adds the others from
  PyTorch's own index, where that can be reached;
* ``longest.json``: the longest path that each package unpacks, for the check against the limits of file systems.
"""

from __future__ import annotations

import argparse
import html.parser
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "backend" / "requirements.txt"
LOCKS = ROOT / "backend" / "locks"
INDEX = "https://pypi.org/simple"
UV = "uv==0.13.9"
PYTHONS = (10, 11, 12, 13)
#: Characters that Python adds to a .pyc file's name while it writes it: a dot and an address.
PYC_TEMPORARY = 16
#: What only PyTorch's CUDA builds need, by the names that the Python Package Index gives it.
CUDA_PACKAGES = re.compile(r"nvidia-|cuda-|triton$")


@dataclass(frozen=True)
class System:
    """One operating system and processor.

    Attributes:
        name: as in the locks' file names.
        triple: as ``uv`` calls it.
        platforms: tags of the wheels that it can use.
        pypi_build: which build of PyTorch the Python Package Index holds for it.
        index_builds: which builds PyTorch's own index holds besides.
    """

    name: str
    triple: str
    platforms: frozenset[str]
    pypi_build: str
    index_builds: tuple[str, ...]


def _manylinux(machine: str) -> frozenset[str]:
    # torch is built for glibc 2.28; a wheel for a newer one could not be used where torch can.
    legacy = {"manylinux1", "manylinux2010", "manylinux2014"}
    return frozenset(f"{tag}_{machine}" for tag in legacy | {f"manylinux_2_{minor}" for minor in range(5, 29)})


def _macos(newest: int) -> frozenset[str]:
    tags = {f"macosx_{major}_0_{kind}" for major in range(11, newest + 1) for kind in ("arm64", "universal2")}
    return frozenset(tags | {f"macosx_10_{minor}_universal2" for minor in range(4, 17)})


SYSTEMS = (
    System("windows-x64", "x86_64-pc-windows-msvc", frozenset({"win_amd64"}), "cpu", ("cu126", "cu130")),
    System("linux-x64", "x86_64-manylinux_2_28", _manylinux("x86_64"), "cu130", ("cpu",)),
    System("linux-arm64", "aarch64-manylinux_2_28", _manylinux("aarch64"), "cu130", ("cpu",)),
    System("macos-arm64", "aarch64-apple-darwin", _macos(14), "cpu", ()),
)


# --- wheels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """One file of an index: its name, where it is, its SHA-256, and its size in bytes (0 = unknown)."""

    filename: str
    url: str
    sha256: str
    size: int = 0


def fits(filename: str, minor: int, platforms: Iterable[str]) -> bool:
    """True if Python 3.``minor`` can install the wheel on a system with these tags."""
    pythons, abis, systems = (set(part.split(".")) for part in filename.removesuffix(".whl").split("-")[-3:])
    if systems != {"any"} and systems.isdisjoint(platforms):
        return False
    if "none" in abis:
        generic = {"py3", *(f"py3{older}" for older in range(minor + 1))}
        return not pythons.isdisjoint(generic | {f"cp3{minor}"})
    if "abi3" in abis:
        return not pythons.isdisjoint(f"cp3{older}" for older in range(2, minor + 1))
    return f"cp3{minor}" in pythons and f"cp3{minor}" in abis


@cache
def pypi_files(name: str) -> tuple[Wheel, ...]:
    """Every wheel of a package on the Python Package Index."""
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(f"{INDEX}/{name}/", headers=headers), timeout=60) as answer:
        files = json.load(answer)["files"]
    return tuple(
        Wheel(file["filename"], file["url"], file["hashes"]["sha256"], file["size"])
        for file in files
        if file["filename"].endswith(".whl")
    )


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]


def html_files(url: str) -> tuple[Wheel, ...]:
    """Every wheel of one package's page of an index that states hashes in its links."""
    parser = _Links()
    with urllib.request.urlopen(url, timeout=60) as answer:
        parser.feed(answer.read().decode())
    wheels = []
    for link in parser.links:
        path, _, fragment = urllib.parse.urljoin(url, link).partition("#")
        filename = urllib.parse.unquote(path.rpartition("/")[2])
        if filename.endswith(".whl") and fragment.startswith("sha256="):
            wheels.append(Wheel(filename, path, fragment.removeprefix("sha256=")))
    return tuple(wheels)


def wheels_for(files: Iterable[Wheel], version: str, minor: int, system: System) -> list[Wheel]:
    """The wheels of that version which fit, sorted by name."""
    right = (wheel for wheel in files if canonical(wheel.filename.split("-")[1]) == canonical(version))
    return sorted((w for w in right if fits(w.filename, minor, system.platforms)), key=lambda wheel: wheel.filename)


def canonical(version: str) -> str:
    """A version with zeros at its end left out of its release, as comparisons do."""
    release, plus, local = version.partition("+")
    return re.sub(r"(\.0)+$", "", release) + plus + local


# --- what they unpack -----------------------------------------------------------------------------------------


class _Remote(io.RawIOBase):
    """A file on a server, read by parts: a wheel's list of names lies at its end."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel, self._at = wheel, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._wheel.size)[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._wheel.size - self._at)
        if count <= 0:
            return 0
        headers = {"Range": f"bytes={self._at}-{self._at + count - 1}"}
        with urllib.request.urlopen(urllib.request.Request(self._wheel.url, headers=headers), timeout=60) as answer:
            if answer.status != 206:
                raise OSError(f"{self._wheel.url}: the server does not send parts of files")
            data = answer.read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@cache
def names_in(wheel: Wheel) -> tuple[str, ...]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(io.BufferedReader(_Remote(wheel), 1 << 16)) as archive:
        return tuple(info.filename for info in archive.infolist() if not info.is_dir())


def unpacked(name: str, minor: int, system: System) -> Iterator[str]:
    """Where a wheel's file comes to lie in an environment, and its compiled form while that is being written."""
    windows = system.name.startswith("windows")
    site = "Lib/site-packages" if windows else f"lib/python3.{minor}/site-packages"
    first, _, rest = name.partition("/")
    if first.endswith(".data"):
        kind, _, rest = rest.partition("/")
        homes = {"purelib": site, "platlib": site, "scripts": "Scripts" if windows else "bin", "data": ""}
        home = homes.get(kind, f"include/site/python3.{minor}/{first.split('-')[0]}")
        path = f"{home}/{rest}".lstrip("/")
    else:
        path = f"{site}/{name}"
    yield path
    if path.endswith(".py"):
        folder, _, file = path.rpartition("/")
        yield f"{folder}/__pycache__/{file.removesuffix('.py')}.cpython-3{minor}.pyc{'.' + '0' * (PYC_TEMPORARY - 1)}"


def longest_path(names: Iterable[str], minor: int, system: System) -> str:
    """The longest path that a wheel with these names makes below an environment's folder."""
    return max((path for name in names for path in unpacked(name, minor, system)), key=len)


def with_build(path: str, version: str, build: str) -> str:
    """The same path in the wheel of a build whose version names it, such as ``2.13.0+cu130``."""
    return path.replace(f"torch-{version}.dist-info", f"torch-{version}+{build}.dist-info")


# --- resolving ------------------------------------------------------------------------------------------------


def make_uv(folder: Path) -> Path:
    """Put ``uv`` into a new environment and give its program."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([str(programs / "python"), "-m", "pip", "install", "--quiet", UV], check=True)
    return programs / "uv"


def resolve(uv: Path, system: System, minor: int) -> dict[str, str]:
    """Package -> version of everything that the requirements need there, sorted by name."""
    options = ["--no-config", "--index-url", INDEX, "--only-binary", ":all:", "--no-annotate", "--no-header", "--quiet"]
    target = ["--python-platform", system.triple, "--python-version", f"3.{minor}"]
    environment = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(
        [str(uv), "pip", "compile", *options, *target, str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise SystemExit(f"{system.name}, Python 3.{minor}:\n{done.stderr}")
    pins = [line.split(";")[0].strip().split("==") for line in done.stdout.splitlines() if "==" in line]
    return {name.lower(): version for name, version in sorted(pins)}


def lock_text(title: str, entries: dict[str, list[Wheel]]) -> str:
    """A requirements file for pip's ``--require-hashes``.

    Args:
        title: what it is for.
        entries: ``name==version`` -> the wheels that may be installed for it.
    """
    lines = [f"# {title} Made by scripts/make_locks from backend/requirements.txt; do not edit."]
    for requirement, wheels in entries.items():
        hashes = sorted({wheel.sha256 for wheel in wheels})
        lines.append(" \\\n".join([requirement, *(f"    --hash=sha256:{digest}" for digest in hashes)]))
    return "\n".join(lines) + "\n"


def make(uv: Path, torch_index: str | None) -> None:
    """Write every file of ``backend/locks``; it is left as it was where anything goes wrong."""
    texts: dict[str, str] = {}
    longest: dict[str, dict[str, str]] = {}
    for system in SYSTEMS:
        paths: dict[str, str] = {}
        for minor in PYTHONS:
            pins = resolve(uv, system, minor)
            found = {name: wheels_for(pypi_files(name), version, minor, system) for name, version in pins.items()}
            lacking = [name for name, wheels in found.items() if not wheels]
            if lacking:
                raise SystemExit(f"{system.name}, Python 3.{minor}: no wheel of {', '.join(lacking)}")
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(names_in, [wheel for wheels in found.values() for wheel in wheels]))
            cuda = {name for name in pins if name == "torch" or CUDA_PACKAGES.match(name)}
            title = f"{system.name}, Python 3.{minor}"
            stem = f"{system.name}-py3{minor}"
            entries = {name: {f"{name}=={pins[name]}": found[name]} for name in pins}
            plain = {key: wheels for name in pins if name not in cuda for key, wheels in entries[name].items()}
            torch = {key: wheels for name in pins if name in cuda for key, wheels in entries[name].items()}
            texts[f"{stem}.txt"] = lock_text(f"{title}: everything but PyTorch.", plain)
            texts[f"{stem}-{system.pypi_build}.txt"] = lock_text(f"{title}: PyTorch, {system.pypi_build}.", torch)
            for name, wheels in found.items():
                for wheel in wheels:
                    path = longest_path(names_in(wheel), minor, system)
                    paths[name] = max(paths.get(name, ""), path, key=len)
            for build in system.index_builds:
                # The same sources: its names differ in the version alone.
                path = with_build(paths["torch"], pins["torch"], build)
                paths[f"torch+{build}"] = max(paths.get(f"torch+{build}", ""), path, key=len)
                version = f"{pins['torch']}+{build}"
                if torch_index:
                    files = html_files(f"{torch_index.rstrip('/')}/{build}/torch/")
                    wheels = wheels_for(files, version, minor, system)
                    if not wheels:
                        raise SystemExit(f"{title}: PyTorch's index has no wheel of {version}")
                    text = lock_text(f"{title}: PyTorch, {build}.", {f"torch=={version}": wheels})
                    texts[f"{stem}-{build}.txt"] = text
            print(f"{title}: {len(pins)} packages", flush=True)
        longest[system.name] = dict(sorted(paths.items(), key=lambda item: (-len(item[1]), item[0])))
    texts["longest.json"] = json.dumps(longest, indent=1) + "\n"
    LOCKS.mkdir(exist_ok=True)
    for old in LOCKS.iterdir():
        if old.name not in texts and (torch_index or not old.name.endswith(_index_suffixes())):
            old.unlink()
    for name, text in texts.items():
        (LOCKS / name).write_text(text, "utf-8", newline="\n")


def _index_suffixes() -> tuple[str, ...]:
    return tuple(f"-{build}.txt" for system in SYSTEMS for build in system.index_builds)


def main() -> None:
    """``scripts/make_locks [--torch-index URL]``."""
    parser = argparse.ArgumentParser(prog="scripts/make_locks", description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "--torch-index",
        metavar="URL",
        help="also lock the builds of PyTorch's own index, such as https://download.pytorch.org/whl",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(make_uv(Path(folder) / "uv"), arguments.torch_index)


if __name__ == "__main__":
    main()
