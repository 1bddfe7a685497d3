"""An export as it is asked for from outside: paths and names in, files out, errors for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..avatar.formats.types import ExportError
from ..errors import BackendError
from ..posing import choose_motion, choose_pose, read_avatar
from .clips import load_clips
from .job import ExportOptions, ExportResult, Report, export_avatar


def run_export(
    package: Path,
    output: Path,
    options: ExportOptions,
    motions: Sequence[str] = (),
    clips: Path | None = None,
    pose: str = "rest",
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ExportResult:
    """Export an avatar package.

    Args:
        package: its folder.
        output: folder to write.
        options: how.
        motions: files (``.bvh``, ``.npz``) or names of the library.
        clips: a file of ``clips.save_clips`` with more of them.
        pose: what ``posing.choose_pose`` takes.
        report, cancelled: see ``job.export_avatar``.

    Raises:
        BackendError: kinds ``package_unreadable``, ``motion_unreadable``, ``pose_unreadable``, ``export_failed``,
            ``cancelled``.
    """
    avatar = read_avatar(package)
    asked = [choose_motion(avatar, name, whole_round=True) for name in motions]
    with backend_errors():
        asked += load_clips(clips) if clips is not None else ()
        posed = None if pose == "rest" else choose_pose(avatar, pose)
        return export_avatar(avatar, output, options, asked, posed, report, cancelled)


@contextmanager
def backend_errors() -> Iterator[None]:
    """Raise what goes wrong inside as an error of the backend.

    Raises:
        BackendError: kind ``export_failed``, instead of an ExportError.
    """
    try:
        yield
    except ExportError as error:
        raise _as_backend_error(error) from error


def _as_backend_error(error: ExportError) -> BackendError:
    """The same in two sentences: what is wrong, and after its last semicolon what to do."""
    message, semicolon, fix = str(error).rpartition("; ")
    if not semicolon:
        return BackendError("export_failed", str(error), "")
    return BackendError("export_failed", f"{message}.", fix[:1].upper() + fix[1:])
