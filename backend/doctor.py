"""Looks at the installation and says what is there, what is missing or damaged, and what to do about it.

Packages by their versions, files by their hashes (:mod:`.manifest`), and all of it by a tiny run, in a process of its
own: what is damaged may end the process that loads it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import manifest
from .errors import BackendError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
INSTALL_HINT = (
    "Press Repair or Install backend in the add-on's preferences, or run `python -m backend doctor --repair` or "
    "`pip install -r backend/requirements.txt`."
)
SETUP_HINT = (
    "Run `python -m backend setup` once with a connection to the internet, or press Repair in the add-on's preferences."
)
DATA_HINT = "Install the extension (or get the repository) again: this file belongs to it, and nothing else brings it."
#: Folder of ``backend/`` without which there is still the preset ``surface``.
_OPTIONAL_DATA = "weights/"
_TINY_RUN_SECONDS = 300
_OF_LARGE_MODELS = ("transformers",)
"""Packages without which everything works but the large models."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        found: what is there, or an empty string.
        what_to_do: empty if all is well.
        required: something is wrong with the installation without it.
        blocks: no photo can be reconstructed without it.
    """

    name: str
    found: str
    what_to_do: str = ""
    required: bool = True
    blocks: bool = True

    @property
    def ok(self) -> bool:
        """Nothing needs to be done."""
        return not self.what_to_do


def required_packages(text: str, python: tuple[int, int]) -> dict[str, str]:
    """Package -> pinned version of a requirements file whose only markers compare ``python_version`` with an order and
    ``platform_machine`` with a name."""
    pins = {}
    for line in text.splitlines():
        requirement, _, marker = line.partition("#")[0].partition(";")
        if "==" not in requirement:
            continue
        match = re.fullmatch(r'\s*python_version\s*(>=|<)\s*"3\.(\d+)"\s*', marker)
        if match and (python >= (3, int(match[2]))) != (match[1] == ">="):
            continue
        match = re.fullmatch(r'\s*platform_machine\s*(==|!=)\s*"(\w+)"\s*', marker)
        if match and (platform.machine() == match[2]) != (match[1] == "=="):
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
    """Compare what is installed with the pins; another version than the pinned one is said, but may work."""
    checks = []
    for name, wanted in required_packages(REQUIREMENTS.read_text("utf-8"), sys.version_info[:2]).items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if not version:  # it is missing, or its description is damaged
            checks.append(Check(name, "", INSTALL_HINT, blocks=name not in _OF_LARGE_MODELS))
        elif version.partition("+")[0] != wanted:
            checks.append(Check(name, f"{version} instead of {wanted}", INSTALL_HINT, blocks=False))
        else:
            checks.append(Check(name, version))
    return checks


def check_device() -> Check:
    """The device that ``auto`` chooses."""
    try:
        import torch

        from . import devices

        chosen = devices.choose("auto")
    except Exception as error:  # a damaged package raises anything
        return Check("device", "", f"PyTorch does not load ({_one_line(error)}). {INSTALL_HINT}")
    if chosen.device.type == "cuda":
        return Check("device", f"cuda: {torch.cuda.get_device_name(chosen.device)}, CUDA {torch.version.cuda}")
    found = f"cpu: {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    return Check("device", found, chosen.note, required=False)


def device_memory() -> int:
    """Bytes of memory of the NVIDIA card that ``auto`` chooses; 0 where it chooses none, or PyTorch does not load."""
    try:
        import torch

        from . import devices

        device = devices.choose("auto").device
        return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else 0
    except Exception:  # a damaged package, or a driver, raises anything
        return 0


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def check_data(thorough: bool = True) -> list[Check]:
    """The files that ship with the backend: what the manifest says, byte by byte where that is ``thorough``."""
    try:
        files = manifest.shipped().files
    except BackendError as error:
        return [Check(manifest.MANIFEST.name, "", f"{error.message} {error.fix}", blocks=False)]
    checks = []
    for name, (size, digest) in files.items():
        wrong = manifest.damage(manifest.BACKEND / name, size, digest, thorough)
        found = f"{size:,} bytes, sha256 {digest[:12]}" if not wrong else wrong.removeprefix("missing")
        checks.append(Check(name, found, DATA_HINT if wrong else "", blocks=not name.startswith(_OPTIONAL_DATA)))
    return checks


def check_weights(thorough: bool = True) -> list[Check]:
    """The networks that set-up unpacks."""
    from .prepare import weights

    wrong = weights.missing_weights() if thorough else weights.absent_weights()
    return [
        Check(
            f"network {name}",
            wrong[name].removeprefix("missing") if name in wrong else "unpacked",
            SETUP_HINT if name in wrong else "",
        )
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


def tiny_run() -> list[Check]:
    """Load the program and its networks and compute with them, in this process, which that may end."""
    try:
        import torch

        from . import devices

        reason = devices.trial(torch.device("cpu"))
    except Exception as error:
        return [Check("tiny run: torch", f"PyTorch does not load ({_one_line(error)})", INSTALL_HINT)]
    if reason:
        return [Check("tiny run: torch", f"PyTorch computes wrongly: {reason}", INSTALL_HINT)]
    try:
        from . import pipeline  # noqa: F401  (all that a reconstruction imports)
        from .networks import read_network
        from .options import WEIGHTS_FOLDER
        from .prepare.blazepose import BlazePose
        from .views.latent.codec import LatentCodec
    except Exception as error:
        return _broken_packages(error)
    checks = [check_device(), *check_weights()]
    try:
        if all(check.ok for check in checks[1:]):
            import numpy as np

            found = BlazePose("cpu").detect(np.full((64, 64, 3), 127, np.uint8))
            checks.append(Check("tiny run: pose networks", f"{len(found)} people on grey"))
    except Exception as error:
        checks.append(Check("tiny run: pose networks", _one_line(error), SETUP_HINT))
    try:
        # The others' bytes are compared with those that shipped; building them takes ten seconds.
        codec = read_network(LatentCodec(), WEIGHTS_FOLDER / "lite" / "codec.safetensors").eval()
        with torch.no_grad():
            values = codec.decode(codec.encode(torch.full((1, 3, 64, 64), 0.5)))
        hint = "" if values.isfinite().all() else DATA_HINT
        checks.append(Check("tiny run: lite", "finite" if not hint else "not finite", hint, blocks=False))
    except Exception as error:
        checks.append(Check("tiny run: lite", _one_line(error), DATA_HINT, blocks=False))
    return checks


def _broken_packages(error: BaseException) -> list[Check]:
    """Which of the pinned packages do not load, where the program did not for ``error``."""
    checks = []
    for name in required_packages(REQUIREMENTS.read_text("utf-8"), sys.version_info[:2]):
        try:
            for module in _modules(name):
                importlib.import_module(module)
        except Exception as reason:
            checks.append(Check(f"tiny run: {name}", f"does not load ({_one_line(reason)})", INSTALL_HINT))
    return checks or [Check("tiny run: program", f"does not load ({_one_line(error)})", DATA_HINT)]


def _modules(package: str) -> list[str]:
    """What an installed package is imported as."""
    found = set()
    for file in importlib.metadata.files(package) or ():
        if len(file.parts) == 1 and file.suffix in (".py", ".pyd", ".so"):
            found.add(file.name.partition(".")[0])  # compiled modules are called NAME.cpython-311-....so
        elif len(file.parts) == 2 and file.name == "__init__.py":
            found.add(file.parts[0])
    return sorted(found)


def run_tiny_run() -> list[Check]:
    """:func:`tiny_run` in a process of its own."""
    command = [sys.executable, "-m", "backend.doctor"]
    try:
        done = subprocess.run(
            command, cwd=manifest.BACKEND.parent, capture_output=True, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, timeout=_TINY_RUN_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Check("tiny run: torch", f"did not end within {_TINY_RUN_SECONDS} s", INSTALL_HINT)]
    try:
        return [Check(**entry) for entry in json.loads(done.stdout.strip().splitlines()[-1])]
    except (ValueError, IndexError, TypeError):
        lines = done.stderr.strip().splitlines()
        reason = lines[-1][:200] if lines and done.returncode > 0 else f"exit status {done.returncode}"
        return [Check("tiny run: torch", f"the process that loads PyTorch ended ({reason})", INSTALL_HINT)]


def run_checks() -> list[Check]:
    """Every check, thoroughly; those that need the packages are left out where these are missing."""
    checks = [check_python(), *check_packages()]
    if all(check.ok or not check.blocks for check in checks):
        checks += run_tiny_run()
    return [*checks, *check_data(), *check_optional()]


def describe() -> dict[str, Any]:
    """The part of the ``initialize`` answer that tells of the installation, without looking at every byte."""
    checks = [check_python(), *check_packages()]
    if all(check.ok or not check.blocks for check in checks):
        device = check_device()
        checks += [device, *(check_weights(thorough=False) if device.ok or not device.required else [])]
    checks += check_data(thorough=False)
    found = {check.name: check.found for check in checks}
    device_kind, _, device_name = found.get("device", "").partition(": ")
    missing = [check for check in checks if check.required and check.blocks and not check.ok]
    return {
        "torch": found.get("torch", ""),
        "device": device_kind,
        "device_name": device_name,
        "device_memory": device_memory() if device_kind == "cuda" else 0,
        "missing": [{"name": check.name, "what_to_do": check.what_to_do} for check in missing],
        "notes": [check.what_to_do for check in checks if not check.ok and not check.required],
    }


def report(checks: list[Check]) -> str:
    """The checks as a table for people."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else "MISSING" if not check.found else "WRONG  " if check.required else "note   "
        lines.append(f"{mark}  {check.name.ljust(width)}  {check.found or check.what_to_do}")
    bad = [check for check in checks if check.required and not check.ok]
    lines.append("")
    lines.append("Everything that is needed is here." if not bad else f"{len(bad)} missing or damaged. What to do:")
    hints = dict.fromkeys(check.what_to_do for check in checks if not check.ok)
    lines += [f"  {hint}" for hint in hints]
    return "\n".join(lines)


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The checks as one JSON object."""
    return {
        "ok": all(check.ok or not check.required for check in checks),
        "checks": [asdict(check) | {"ok": check.ok} for check in checks],
    }


if __name__ == "__main__":
    print(json.dumps([asdict(check) for check in tiny_run()]))
