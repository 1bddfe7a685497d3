"""The commands that make the backend's environment. Standard library only, no bpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..environment import backend_command, python_in
from .limits import lock_folder

#: PyTorch's own index; a folder for each build.
TORCH_INDEX = "https://download.pytorch.org/whl"


@dataclass(frozen=True)
class Step:
    """One step of an installation.

    Attributes:
        label: for people.
        share: of the whole time.
        command: what is run.
    """

    label: str
    share: float
    command: tuple[str, ...]


def pinned_torch(extension_root: Path) -> str:
    """The requirement ``torch==...``."""
    requirements = extension_root / "backend" / "requirements.txt"
    return next(line for line in requirements.read_text("utf-8").splitlines() if line.startswith("torch=="))


def install_steps(
    base_python: Path,
    folder: Path,
    extension_root: Path,
    system: str,
    build: str,
    python: tuple[int, int],
    own_index: bool = False,
) -> tuple[Step, ...]:
    """The commands that make an environment in ``folder``, in order; each must succeed.

    Only wheels are installed, whose hashes the locks state. PyTorch's own index is asked for the builds whose hashes
    could not be locked; then pip checks those that the index states, and no other index takes its place.

    Args:
        base_python: interpreter to make it from.
        folder: of the environment.
        extension_root: folder with the ``backend`` package.
        system: such as ``windows-x64``.
        build: of PyTorch: ``cpu``, ``cu126`` or ``cu130``.
        python: version of ``base_python``, such as (3, 11).
        own_index: pip's environment names the index of everything, so PyTorch's is not asked.
    """
    interpreter = str(python_in(folder))
    pip = (interpreter, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--retries", "2")
    wheels = (*pip, "--only-binary", ":all:")
    locked = (*wheels, "--require-hashes", "--no-deps")
    locks = lock_folder(extension_root)
    stem = f"{system}-py{python[0]}{python[1]}"
    lock = locks / f"{stem}-{build}.txt"
    index = () if own_index else ("--index-url", f"{TORCH_INDEX}/{build}")
    if lock.is_file():
        from_torch = f"+{build} " in lock.read_text("utf-8")
        torch = (*locked, *(index if from_torch else ()), "-r", str(lock))
    else:
        # CUDA 12.6 on Linux comes in several packages; which ones, its wheel alone says.
        several = system.startswith("linux") and build != "cpu"
        alone = () if several else ("--no-deps",)
        torch = (*wheels, *alone, *index, f"{pinned_torch(extension_root)}+{build}")
    return (
        Step("Making a Python environment", 0.05, (str(base_python), "-m", "venv", "--clear", str(folder))),
        Step("Downloading packages", 0.25, (*locked, "-r", str(locks / f"{stem}.txt"))),
        Step("Downloading PyTorch", 0.55, torch),
        Step("Unpacking the pose networks", 0.10, tuple(backend_command(Path(interpreter), "setup"))),
        Step("Trying it", 0.05, tuple(backend_command(Path(interpreter), "doctor"))),
    )
