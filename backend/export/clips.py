"""Several motions in one ``.npz`` file: how the add-on hands the scene's actions to the backend.

``about`` is JSON as bytes: names, frame rates, leg lengths and numbers of frames; ``poses`` and ``translation`` hold
all frames one after another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..avatar.archives import ArchiveError, ArrayArchive
from ..avatar.contents import JOINT_COUNT
from ..avatar.formats.atomic import whole_file
from ..avatar.formats.types import ExportError
from ..avatar.motion import Motion
from ..avatar.plain_files import brief

_FORMAT = "humansplat-clips"
_KEYS = ("about", "poses", "translation")
_MOST_ABOUT = 4 << 20  # bytes
_MOST_FRAMES = 800_000  # of all clips together: half a gibibyte; two hours at 100 a second
_FARTHEST = 1e4  # radians and metres


def save_clips(path: str | Path, motions: Sequence[Motion]) -> None:
    """Write motions.

    Raises:
        ExportError: the file cannot be written.
    """
    about = [
        {"name": motion.name, "fps": motion.fps, "leg_length": motion.leg_length, "frames": len(motion)}
        for motion in motions
    ]
    text = json.dumps({"format": _FORMAT, "clips": about}).encode()
    poses = np.concatenate([np.zeros((0, JOINT_COUNT, 3)), *(motion.poses for motion in motions)])
    translation = np.concatenate([np.zeros((0, 3)), *(motion.translation for motion in motions)])
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, about=np.frombuffer(text, np.uint8), poses=poses, translation=translation)


def load_clips(path: str | Path) -> tuple[Motion, ...]:
    """Read what :func:`save_clips` wrote.

    Raises:
        ExportError: the file is no such file, or damaged.
    """
    path = Path(path)
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = error.why if isinstance(error, ArchiveError) else getattr(error, "strerror", None) or error
        if isinstance(error, (KeyError, TypeError, OverflowError, RecursionError)):
            why = "its description is damaged"
        raise ExportError(
            f"{brief(path.name, 80)} holds no clips that can be read ({brief(why)}); export again."
        ) from error


def _read(path: Path) -> tuple[Motion, ...]:
    with ArrayArchive(path, _KEYS) as data:
        missing = [key for key in _KEYS if key not in data.headers]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        poses_header = data.headers["poses"]
        if data.headers["about"].nbytes > _MOST_ABOUT or poses_header.shape[:1] > (_MOST_FRAMES,):
            raise ValueError("it is longer than clips are")
        frames = poses_header.shape[0] if poses_header.shape else 0
        if poses_header.shape != (frames, JOINT_COUNT, 3) or data.headers["translation"].shape != (frames, 3):
            raise ValueError("its arrays have other shapes than clips have")
        about = json.loads(data.read("about").tobytes().decode("utf-8"))
        poses, translation = (data.read(key).astype(np.float64) for key in ("poses", "translation"))
    if about["format"] != _FORMAT:
        raise ValueError("it is another kind of file")
    counts = [int(entry["frames"]) for entry in about["clips"]]
    if min(counts, default=0) < 0 or sum(counts) != frames:
        raise ValueError("it has other frames than it says")
    if not max(np.abs(poses).max(initial=0), np.abs(translation).max(initial=0)) <= _FARTHEST:  # nor what is no number
        raise ValueError("it holds angles or places beyond all measure")
    motions, start = [], 0
    for entry, count in zip(about["clips"], counts):
        part = slice(start, start + count)
        start += count
        rate, leg = float(entry["fps"]), float(entry["leg_length"])
        motions.append(Motion(poses[part], translation[part], rate, leg, str(entry["name"])[:200]))
    return tuple(motions)
