"""What this computer is, whether the backend's packages exist for it, and which build of PyTorch suits its cards.

Pure functions beside the two that look (:func:`this_machine`, :func:`find_cards`). Standard library only, no bpy.
"""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..client import Failure

#: Python versions that there are locks for.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
#: What PyTorch's wheels are built for.
OLDEST_GLIBC = (2, 28)
OLDEST_MACOS = (14, 0)
#: Compute capabilities that PyTorch's builds hold code for, and the oldest driver that runs each (Linux, Windows).
CUDA_13 = "cu130"
CUDA_12 = "cu126"
CUDA_13_COMPUTE = (7, 5)
CUDA_12_COMPUTE = ((5, 0), (9, 0))
CUDA_13_DRIVER = {"linux": (580,), "windows": (580,)}
CUDA_12_DRIVER = {"linux": (560, 28), "windows": (560, 76)}

_OWN_PYTHON = "Make an environment with such a Python (see the README) and choose it in the preferences."


@dataclass(frozen=True)
class Machine:
    """What decides which packages can be installed.

    Attributes:
        system: ``sys.platform``.
        processor: ``platform.machine()`` in small letters.
        bits: of the running Python.
        python: its version, (3, 11).
        macos: version of macOS; empty elsewhere.
        glibc: version of the GNU C library; empty where there is none.
    """

    system: str
    processor: str
    bits: int
    python: tuple[int, int]
    macos: tuple[int, ...] = ()
    glibc: tuple[int, ...] = ()


def this_machine() -> Machine:
    """Look at this computer and the running Python."""
    library, version = platform.libc_ver() if sys.platform == "linux" else ("", "")
    return Machine(
        system=sys.platform,
        processor=platform.machine().lower(),
        bits=8 * struct.calcsize("P"),
        python=sys.version_info[:2],
        macos=_numbers(platform.mac_ver()[0]) if sys.platform == "darwin" else (),
        glibc=_numbers(version) if library == "glibc" else (),
    )


def _numbers(text: str) -> tuple[int, ...]:
    """``"560.94"`` as (560, 94); ends where something is no number."""
    numbers = []
    for part in text.strip().split("."):
        if not part.isdecimal() or len(part) > 9:  # ² is a digit and no number
            break
        numbers.append(int(part))
    return tuple(numbers)


def system_name(machine: Machine) -> str:
    """The name under which the locks know this system, such as ``windows-x64``; empty if they do not."""
    x64, arm = machine.processor in ("x86_64", "amd64"), machine.processor in ("arm64", "aarch64")
    if machine.bits != 64:
        return ""
    if machine.system == "win32" and x64:
        return "windows-x64"
    if machine.system == "darwin" and arm:
        return "macos-arm64"
    if machine.system.startswith("linux") and (x64 or arm):
        return "linux-x64" if x64 else "linux-arm64"
    return ""


def refusal(machine: Machine) -> Failure | None:
    """Why the backend cannot be installed on such a computer; None if it can."""
    if machine.bits != 64:
        return _refused(
            "This Blender is a 32-bit program; PyTorch exists for 64-bit ones alone.",
            "Install the 64-bit Blender on a 64-bit system.",
        )
    if machine.system == "darwin" and machine.processor == "x86_64":
        return _refused(
            "The backend does not run on Macs with an Intel processor: PyTorch is no longer made for them.",
            "If this Mac has Apple silicon, install Blender's build for Apple silicon; else use another computer. "
            "Avatars that were made elsewhere can be imported and posed here.",
        )
    if machine.system == "win32" and machine.processor == "arm64":
        return _refused(
            "The backend cannot be installed by Blender for Windows on ARM: PyTorch and OpenCV are not made for it.",
            "Install Blender's build for Windows x64, which this system can run, and install the backend there.",
        )
    if not system_name(machine):
        return _refused(
            f"The backend's packages are not made for this computer ({machine.system}, {machine.processor}).",
            "Use Windows x64, Linux on x64 or ARM64, or a Mac with Apple silicon.",
        )
    if machine.system == "darwin" and machine.macos and machine.macos < OLDEST_MACOS:
        found = ".".join(map(str, machine.macos))
        return _refused(
            f"This Mac runs macOS {found}; PyTorch needs macOS {OLDEST_MACOS[0]} or later.",
            "Update macOS, then install again.",
        )
    if machine.system.startswith("linux") and machine.glibc < OLDEST_GLIBC:
        needed = ".".join(map(str, OLDEST_GLIBC))
        found = f"has version {'.'.join(map(str, machine.glibc))}" if machine.glibc else "has another C library"
        return _refused(
            f"PyTorch needs the GNU C library {needed} or later; this system {found}.",
            "Use a newer release of the system (Debian 10, Ubuntu 18.10, RHEL 8 and later have it).",
        )
    if not OLDEST_PYTHON <= machine.python <= NEWEST_PYTHON:
        found, oldest, newest = (".".join(map(str, v)) for v in (machine.python, OLDEST_PYTHON, NEWEST_PYTHON))
        text = f"This Blender runs Python {found}; the backend needs {oldest} to {newest}."
        return Failure("python_unsupported", text, _OWN_PYTHON)
    return None


def _refused(message: str, fix: str) -> Failure:
    return Failure("system_unsupported", message, fix)


# --- graphics cards -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """An NVIDIA card: its name, compute capability (8, 6) or nothing where the driver is too old to tell, and the
    driver's version (560, 94)."""

    name: str
    compute: tuple[int, ...]
    driver: tuple[int, ...]


@dataclass(frozen=True)
class Build:
    """A build of PyTorch.

    Attributes:
        name: ``cpu``, ``cu126`` or ``cu130``, as PyTorch's index and the locks call it.
        note: a sentence about a card that is there and cannot be used; empty if there is none.
    """

    name: str
    note: str = ""

    @property
    def cuda(self) -> bool:
        """For NVIDIA cards."""
        return self.name != "cpu"


def find_cards() -> list[Card]:
    """The NVIDIA cards that the driver's own tool lists; takes up to ten seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    # Drivers of before 2022 do not know the word compute_cap, and fail.
    for fields in ("compute_cap,driver_version,name", "uuid,driver_version,name"):
        query = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, timeout=10.0, **hidden)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if done.returncode == 0:
            return parse_cards(done.stdout.decode(errors="replace"))
    return []


def parse_cards(text: str) -> list[Card]:
    """What ``nvidia-smi --query-gpu=compute_cap,driver_version,name --format=csv,noheader`` printed."""
    cards = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and _numbers(fields[1]):
            cards.append(Card(fields[2], _numbers(fields[0]), _numbers(fields[1])))
    return cards


def choose_build(system: str, cards: Sequence[Card]) -> Build:
    """The build of PyTorch for these cards.

    Args:
        system: as :func:`system_name` gives it.
        cards: the NVIDIA cards, in the driver's order.

    CUDA 13.0 where every card that can be used is new enough for it, CUDA 12.6 where one is older; the processor, with
    a sentence, where cards or driver are too old for both.
    """
    kind = system.partition("-")[0]
    if not cards or kind not in CUDA_13_DRIVER:
        return Build("cpu")
    driver = cards[0].driver
    if not cards[0].compute:
        return Build("cpu", _update(cards[0], CUDA_12_DRIVER[kind]))
    usable = [card for card in cards if card.compute >= CUDA_12_COMPUTE[0]]
    if not usable:
        return Build("cpu", f"{cards[0].name} is too old for PyTorch: the processor is used.")
    old = [card for card in usable if card.compute < CUDA_13_COMPUTE]
    new = [card for card in usable if card.compute >= CUDA_13_COMPUTE]
    for_12 = [card for card in usable if card.compute <= CUDA_12_COMPUTE[1]]
    # PyTorch's index is not known to hold CUDA 12.6 for Linux on ARM.
    runs_12 = bool(for_12) and driver >= CUDA_12_DRIVER[kind] and system != "linux-arm64"
    runs_13 = bool(new) and driver >= CUDA_13_DRIVER[kind]
    if runs_13 and not (old and runs_12 and len(for_12) == len(usable)):
        return Build(CUDA_13)
    if runs_12:
        return Build(CUDA_12)
    if not new and system == "linux-arm64":
        return Build("cpu", f"{usable[0].name} is too old for PyTorch on this system: the processor is used.")
    # The newer build needs the newer driver; where the card is old enough, the older build would do.
    older_will_do = bool(for_12) and system != "linux-arm64"
    return Build("cpu", _update(usable[0], (CUDA_12_DRIVER if older_will_do else CUDA_13_DRIVER)[kind]))


def _update(card: Card, needed: tuple[int, ...]) -> str:
    found, wanted = (".".join(map(str, version)) for version in (card.driver, needed))
    return (
        f"The driver of {card.name} is version {found}, and PyTorch needs {wanted} or later: the processor is used. "
        "Update the driver and install the backend again to use the card."
    )
