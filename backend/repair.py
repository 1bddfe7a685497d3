"""Mends what ``doctor`` found, as far as it can be mended from here: packages and unpacked networks."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import doctor
from .doctor import Check
from .manifest import BACKEND

LOCKS = BACKEND / "locks"
TORCH_INDEX = "https://download.pytorch.org/whl"
_TINY_RUN = "tiny run: "
_NETWORK = "network "


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        repaired: what was wrong and is right now.
        left: sentences about what still is not, each with what to do.
        checks: of the last look.
    """

    repaired: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def repair(
    look: Callable[[], list[Check]] = doctor.run_checks,
    run: Callable[[Sequence[str]], str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Look, install what packages need it, unpack what networks need it, and look again.

    Args:
        look: gives the checks.
        run: runs a command and gives an empty string, or why it failed; by default in the backend's folder.
        say: told what is being done.
    """
    run = run or _run
    say("Looking at the installation ...")
    checks = before = look()
    failed: list[str] = []
    if wrong := wrong_packages(checks):
        say(f"Installing {', '.join(wrong)} ...")
        with tempfile.TemporaryDirectory() as folder:
            reasons = [run(command) for command in pip_commands(wrong, Path(folder))]
        failed += [
            f"pip could not install {', '.join(wrong)}: {reason} Check the connection to the internet and try again, "
            "or press Install backend in the add-on's preferences."
            for reason in reasons
            if reason
        ]
        checks = look()
    if any(not check.ok for check in checks if check.name.startswith(_NETWORK)):
        say("Fetching and unpacking the pose networks ...")
        if reason := run([sys.executable, "-m", "backend", "setup"]):
            failed.append(f"The pose networks could not be unpacked: {reason}")
        checks = look()
    now_right = {check.name for check in checks if check.ok}
    wrong_before = [check.name for check in before if check.required and not check.ok]
    still = [check for check in checks if check.required and not check.ok]
    # A tiny run that only worked because something else was mended is no repair of its own.
    still_named = {check.name for check in still}
    repaired = [name for name in wrong_before if name in now_right or name not in still_named]
    left = [f"{check.name}: {check.found or 'missing'}. {check.what_to_do}" for check in still]
    return Outcome(repaired, [*failed, *left], checks)


def wrong_packages(checks: Iterable[Check]) -> list[str]:
    """Names of the packages that ``checks`` found missing, of another version, or broken."""
    pins = doctor.required_packages(doctor.REQUIREMENTS.read_text("utf-8"), sys.version_info[:2])
    known = {_plain(name): name for name in pins}
    found = []
    for check in checks:
        name = _plain(check.name.removeprefix(_TINY_RUN))
        if name in known and check.required and not check.ok:
            found.append(known[name])
    return list(dict.fromkeys(found))


def pip_commands(packages: Sequence[str], folder: Path) -> list[list[str]]:
    """What installs ``packages`` again, with the pinned versions and, where there is a lock, its hashes.

    Args:
        packages: of :func:`wrong_packages`.
        folder: for files that the commands read.
    """
    pip = [
        sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--retries", "2",
        "--no-deps", "--force-reinstall", "--only-binary=:all:",
    ]  # fmt: skip
    pins = doctor.required_packages(doctor.REQUIREMENTS.read_text("utf-8"), sys.version_info[:2])
    blocks = locked(LOCKS, torch_build())
    asked = [name for name in packages if name in pins or _plain(name) in blocks]
    locked_names = [name for name in asked if _plain(name) in blocks]
    loose = [name for name in asked if name not in locked_names]
    commands = []
    if locked_names:
        file = folder / "locked.txt"
        file.write_text("\n".join(blocks[_plain(name)] for name in locked_names) + "\n", "utf-8")
        commands.append([*pip, "--require-hashes", "-r", str(file)])
    if "torch" in loose:
        loose.remove("torch")
        index = [] if sys.platform == "darwin" else ["--index-url", f"{TORCH_INDEX}/{torch_build()}"]
        commands.append([*pip, *index, f"torch=={pins['torch']}"])
    if loose:
        commands.append([*pip, *(f"{name}=={pins[name]}" for name in loose)])
    return commands


def torch_build() -> str:
    """Which build of PyTorch is installed, such as ``cu130``; where that cannot be told, the one for the processor."""
    try:
        version = importlib.metadata.version("torch") or ""
    except importlib.metadata.PackageNotFoundError:
        return "cpu"
    build = version.partition("+")[2]
    # The Python Package Index' build bears no name; for Linux it is the one for CUDA 13.0.
    return build or ("cu130" if sys.platform.startswith("linux") else "cpu")


def locked(folder: Path, build: str) -> dict[str, str]:
    """Package -> its lines of this system's lock files, with hashes; nothing where there are none."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
    processor = {"amd64": "x64", "x86_64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), "arm64")
    python = f"py3{sys.version_info.minor}"
    blocks: dict[str, str] = {}
    for name in (f"{system}-{processor}-{python}.txt", f"{system}-{processor}-{python}-{build}.txt"):
        if (folder / name).is_file():
            text = (folder / name).read_text("utf-8")
            for match in re.finditer(r"^([A-Za-z0-9][\w.-]*)==(?:.*\\\n)*.*$", text, re.MULTILINE):
                blocks[_plain(match[1])] = match[0]
    return blocks


def _plain(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, cwd=BACKEND.parent, capture_output=True, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    lines = [line for line in (done.stderr.strip() or done.stdout.strip()).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "Error"))]
    return " ".join((errors or lines or [f"exit status {done.returncode}."])[-2:])[:400]
