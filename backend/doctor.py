"""Looks at the installation and says what is there, what is missing and what to do about it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
BODY_DATA = Path(__file__).parent / "body" / "data"
BODY_FILES = tuple(f"{body}.npz" for body in ("neutral", "female", "male", "child"))
INSTALL_HINT = "Press Install backend in the add-on's preferences, or run `pip install -r backend/requirements.txt`."
SETUP_HINT = "Run `python -m backend setup` once with a connection to the internet."
DATA_HINT = "Get the extension or the repository again: this file belongs to it."


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        found: what is there, or an empty string.
        what_to_do: empty if all is well.
        required: the backend does not work without it.
    """

    name: str
    found: str
    what_to_do: str = ""
    required: bool = True

    @property
    def ok(self) -> bool:
        """Nothing needs to be done."""
        return not self.what_to_do


def required_packages(text: str, python: tuple[int, int]) -> dict[str, str]:
    """Package -> pinned version of a requirements file whose only markers compare ``python_version``."""
    pins = {}
    for line in text.splitlines():
        requirement, _, marker = line.partition("#")[0].partition(";")
        if "==" not in requirement:
            continue
        match = re.fullmatch(r'\s*python_version\s*(>=|<)\s*"3\.(\d+)"\s*', marker)
        if match and (python >= (3, int(match[2]))) != (match[1] == ">="):
            continue
        name, version = requirement.split("==")
        pins[name.strip()] = version.strip()
    return pins


def check_python() -> Check:
    """Is this interpreter one that every pinned package exists for?"""
    good = (3, 10) <= sys.version_info[:2] <= (3, 13)
    hint = "" if good else "Make the backend's environment with Python 3.10, 3.11, 3.12 or 3.13."
    return Check("python", platform.python_version(), hint)


def check_packages() -> list[Check]:
    """Compare what is installed with the pins; another version than the pinned one is said, not refused."""
    checks = []
    for name, wanted in required_packages(REQUIREMENTS.read_text("utf-8"), sys.version_info[:2]).items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name, "", INSTALL_HINT))
            continue
        same = version.partition("+")[0] == wanted
        checks.append(Check(name, version if same else f"{version} (tested with {wanted})"))
    return checks


def check_device() -> Check:
    """The device that ``auto`` chooses."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", "", f"PyTorch does not load ({error}). {INSTALL_HINT}")
    if torch.cuda.is_available():
        return Check("device", f"cuda: {torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
    return Check("device", f"cpu: {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")


def check_data() -> list[Check]:
    """The files that ship with the backend: there, and not a stand-in of a few bytes."""
    checks = []
    for name in BODY_FILES:
        path = BODY_DATA / name
        if not path.is_file() or path.stat().st_size < 100_000:
            checks.append(Check(f"body {name}", "", DATA_HINT))
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            checks.append(Check(f"body {name}", f"{path.stat().st_size / 1e6:.1f} MB, sha256 {digest[:12]}"))
    return checks


def check_weights() -> list[Check]:
    """The networks that set-up unpacks."""
    from .prepare import weights

    missing = weights.missing_weights()
    return [
        Check(f"network {name}", "" if name in missing else "unpacked", SETUP_HINT if name in missing else "")
        for name in weights.NETWORKS
    ]


def check_optional() -> list[Check]:
    """Packages that make it faster or admit licensed files."""
    checks = []
    for name, use in (("gsplat", "faster rendering on CUDA"), ("smplx", "your own licensed SMPL files")):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = f"not installed (optional: {use})"
        checks.append(Check(name, found, required=False))
    return checks


def run_checks() -> list[Check]:
    """Every check; later ones are left out where they cannot work without the packages."""
    checks = [check_python(), *check_packages()]
    if all(check.ok for check in checks):
        checks += [check_device(), *check_weights()]
    return [*checks, *check_data(), *check_optional()]


def describe() -> dict[str, Any]:
    """The part of the ``initialize`` answer that tells of the installation."""
    checks = run_checks()
    found = {check.name: check.found for check in checks}
    device, _, device_name = found.get("device", "").partition(": ")
    return {
        "torch": found.get("torch", ""),
        "device": device,
        "device_name": device_name,
        "missing": [{"name": c.name, "what_to_do": c.what_to_do} for c in checks if c.required and not c.ok],
    }


def report(checks: list[Check]) -> str:
    """The checks as a table for people."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else "MISSING"
        lines.append(f"{mark}  {check.name.ljust(width)}  {check.found or check.what_to_do}")
    bad = [check for check in checks if check.required and not check.ok]
    lines.append("")
    lines.append("Everything that is needed is here." if not bad else f"{len(bad)} missing. What to do:")
    lines += [f"  {hint}" for hint in dict.fromkeys(check.what_to_do for check in bad)]
    return "\n".join(lines)


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The checks as one JSON object."""
    return {
        "ok": all(check.ok or not check.required for check in checks),
        "checks": [asdict(check) | {"ok": check.ok} for check in checks],
    }
