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

WHEEL = "mediapipe==0.10.21"
NETWORKS = {
    "pose_detection": "mediapipe/modules/pose_detection/pose_detection.tflite",
    "pose_landmark": "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "hand_landmark": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
SETUP_HINT = "Run `python -m backend setup` in the backend's environment, or press Install backend in the add-on."


def weights_folder() -> Path:
    """Folder of the unpacked networks: ``HUMANSPLAT_WEIGHTS`` or ``share/humansplat`` of the Python environment."""
    override = os.environ.get("HUMANSPLAT_WEIGHTS")
    return Path(override) if override else Path(sys.prefix) / "share" / "humansplat"


def missing_weights() -> list[str]:
    """Names of the networks that set-up has not unpacked yet."""
    return [name for name in NETWORKS if not (weights_folder() / f"{name}.safetensors").is_file()]


def network_path(name: str) -> Path:
    """File of one network.

    Raises:
        BackendError: kind ``weights_missing`` when set-up has not been run.
    """
    path = weights_folder() / f"{name}.safetensors"
    if not path.is_file():
        raise BackendError("weights_missing", f"The network {name} has not been unpacked yet.", SETUP_HINT)
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
            target.replace(folder / target.name)


def ensure_weights(folder: Path | None = None) -> Path:
    """Fetch and unpack the networks unless they are there; returns their folder.

    Raises:
        BackendError: kind ``weights_missing`` when the wheel cannot be fetched.
    """
    folder = folder or weights_folder()
    if all((folder / f"{name}.safetensors").is_file() for name in NETWORKS):
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        # The wheel is only unzipped, so any platform's file will do: name one that exists for sure.
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64",
            "--dest", temporary, WHEEL,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(temporary).glob("mediapipe-*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise BackendError(
                "weights_missing",
                f"The package {WHEEL}, which carries the pose networks, could not be downloaded ({reason}).",
                "Check the internet connection and run the set-up again.",
            )
        unpack_wheel(wheels[0], folder)
    return folder
