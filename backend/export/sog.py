"""PlayCanvas's SOG by way of their program ``splat-transform`` (Node 22), where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..avatar.formats.types import ExportError
from ..avatar.gaussians import Gaussians
from ..avatar.ply import write_ply

PROGRAM = "splat-transform"
PROGRAM_VARIABLE = "HUMANSPLAT_SPLAT_TRANSFORM"
"""Environment variable with the program's path, where it is not found by its name."""
_SECONDS = 600


def find_program() -> str | None:
    """The program's path, or None."""
    named = os.environ.get(PROGRAM_VARIABLE)
    return shutil.which(named) if named else shutil.which(PROGRAM)


def write_sog(path: Path, gaussians: Gaussians) -> str:
    """Write splats; why that could not be, or an empty string.

    Args:
        path: the file.
        gaussians: N splats, already in the file's axes.

    Raises:
        ExportError: the program is there and failed.
    """
    program = find_program()
    if program is None:
        return f"it needs the program {PROGRAM} (npm install -g @playcanvas/splat-transform, Node 22)."
    with tempfile.TemporaryDirectory(prefix="humansplat-sog-") as folder:
        source, made = Path(folder) / "splats.ply", Path(folder) / "splats.sog"
        write_ply(source, gaussians)
        try:
            ended = subprocess.run(
                [program, "-q", "-w", "-g", "cpu", str(source), str(made)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{PROGRAM} could not be run ({error}); leave SOG out.") from error
        if ended.returncode or not made.is_file():
            last = (ended.stderr.strip() or ended.stdout.strip() or "no message").splitlines()[-1]
            raise ExportError(f"{PROGRAM} failed ({last}); leave SOG out.")
        shutil.copyfile(made, path)
    return ""
