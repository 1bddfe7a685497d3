"""Several motions in one ``.npz`` file: how the add-on hands the scene's actions to the backend."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..avatar.formats.atomic import whole_file
from ..avatar.formats.types import ExportError
from ..avatar.motion import Motion, MotionError

_FORMAT = "humansplat-clips"


def save_clips(path: str | Path, motions: Sequence[Motion]) -> None:
    """Write motions.

    Raises:
        ExportError: the file cannot be written.
    """
    about = [{"name": motion.name, "fps": motion.fps, "leg_length": motion.leg_length} for motion in motions]
    arrays = {f"poses_{index}": motion.poses for index, motion in enumerate(motions)}
    arrays |= {f"translation_{index}": motion.translation for index, motion in enumerate(motions)}
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, about=np.array(json.dumps({"format": _FORMAT, "clips": about})), **arrays)


def load_clips(path: str | Path) -> tuple[Motion, ...]:
    """Read what :func:`save_clips` wrote.

    Raises:
        ExportError: the file is no such file, or damaged.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as data:
            about = json.loads(str(data["about"]))
            if about["format"] != _FORMAT:
                raise ValueError("it is another kind of file")
            return tuple(
                Motion(
                    poses=np.asarray(data[f"poses_{index}"], np.float64),
                    translation=np.asarray(data[f"translation_{index}"], np.float64),
                    fps=float(entry["fps"]),
                    leg_length=float(entry["leg_length"]),
                    name=str(entry["name"]),
                )
                for index, entry in enumerate(about["clips"])
            )
    except (OSError, ValueError, KeyError, TypeError, MotionError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path.name} holds no clips that can be read ({error}); export again.") from error
