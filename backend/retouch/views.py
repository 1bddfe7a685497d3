"""Pictures of an avatar's four sides, and the file beside them that says which cameras they were taken with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..assemble import png_bytes
from ..avatar import Avatar, pose_gaussians
from ..avatar.plain_files import brief, read_plain
from ..avatar.whole import whole_file
from ..errors import BackendError, Cancelled
from ..options import shown
from ..posing import read_avatar
from ..progress import CancelCheck
from ..turntable import draw_picture, orbit_camera
from . import VIEWS

FORMAT, VERSION = "humansplat-views", 1
VIEWS_FILE = "views.json"
VIEWS_FOLDER = "views"
"""Of the pictures within an avatar package."""
VIEW_SIZE = 1024
"""Pixels a side; the photo's crop has as many, and splats are as fine as its pixels."""

_MAX_BYTES = 1 << 20
_MAX_SIDE = 8192
_MAX_FOCAL = 1e7
_MAX_PLACE = 1e3
_RIGID = 1e-3
_SAVE_AGAIN = "Save the views again."


@dataclass(frozen=True, eq=False)
class View:
    """A picture of an avatar in the photo's pose.

    Attributes:
        name: one of :data:`VIEWS`.
        file: name of the picture's file.
        matrix: float64 [4, 4] rigid, from the photo camera's space (OpenCV axes, metres) to this camera's.
        focal: pixels; the principal point is the picture's centre.
        size: pixels a side.
        turn: degrees about the vertical, see :data:`VIEWS`.
        sha256: of the picture's file as it was written.
    """

    name: str
    file: str
    matrix: np.ndarray
    focal: float
    size: int
    turn: float
    sha256: str = ""

    def world_to_camera(self, avatar: Avatar) -> np.ndarray:
        """From the avatar's world to this camera, [4, 4]."""
        return self.matrix @ avatar.camera.world_to_camera


def views_of(avatar: Avatar, size: int = VIEW_SIZE) -> list[View]:
    """The four views, from cameras at the height of the person's middle that all show the person equally large."""
    points = pose_gaussians(avatar, avatar.pose, avatar.translation).position
    to_world = np.linalg.inv(avatar.camera.world_to_camera)
    found = []
    for name, turn in VIEWS.items():
        world_to_camera, focal = orbit_camera(points, turn, size)
        found.append(View(name, f"{name}.png", world_to_camera @ to_world, focal, size, turn))
    return found


def geometry_digest(avatar: Avatar) -> str:
    """SHA-256 of where the splats are, at rest and in the photo's pose; colours may differ."""
    digest = hashlib.sha256(np.ascontiguousarray(avatar.gaussians.position, "<f4").tobytes())
    for array in (avatar.pose, avatar.translation, avatar.camera.world_to_camera):
        digest.update(np.ascontiguousarray(array, "<f8").tobytes())
    return digest.hexdigest()


def save_views(
    package: Path,
    output: Path | None = None,
    report: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> tuple[Path, tuple[str, ...]]:
    """Write pictures of an avatar's four sides.

    Args:
        package: folder of the avatar package.
        output: folder to write to; None: ``views`` in the package.
        report, cancelled: progress, and whether to stop.

    Returns:
        The folder, and the names of the files.

    Raises:
        BackendError: kinds ``package_unreadable``, ``views_changed``, ``output_not_writable``, ``cancelled``.
    """
    folder = package / VIEWS_FOLDER if output is None else output

    def tell(share: float, text: str) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled()
        if report is not None:
            report(share, text)

    tell(0.0, "Reading the avatar")
    return folder, write_views(read_avatar(package), folder, tell)


def write_views(
    avatar: Avatar, folder: Path, tell: Callable[[float, str], None] | None = None, size: int = VIEW_SIZE
) -> tuple[str, ...]:
    """Write the four pictures (RGBA PNG, straight alpha) and :data:`VIEWS_FILE`; earlier ones are replaced.

    Args:
        avatar: whose pictures.
        folder: is made where it is missing; other files in it stay.
        tell: hears the share that is done and what is being done; may raise to stop.
        size: pixels a side.

    Returns:
        Names of the files.

    Raises:
        BackendError: kinds ``views_changed`` where a picture there was retouched, ``output_not_writable``.
    """
    _refuse_retouched(folder)
    posed = pose_gaussians(avatar, avatar.pose, avatar.translation)
    written: list[tuple[View, bytes]] = []
    views = views_of(avatar, size)
    for number, view in enumerate(views):

        def advance(share: float, number: int = number, name: str = view.name) -> None:
            if tell is not None:
                tell((number + share) / len(views), f"Drawing {name}")

        advance(0.0)
        image = draw_picture(posed, view.world_to_camera(avatar), view.focal, view.size, None, advance)
        data = png_bytes(image)
        written.append((replace(view, sha256=hashlib.sha256(data).hexdigest()), data))
    described = {
        "format": FORMAT,
        "version": VERSION,
        "geometry": geometry_digest(avatar),
        "views": [_to_json(view) for view, _ in written],
    }
    files = {view.file: data for view, data in written}
    files[VIEWS_FILE] = (json.dumps(described, indent=1) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with whole_file(folder / name) as temporary:
                temporary.write_bytes(data)
    except OSError as error:
        raise BackendError(
            "output_not_writable",
            f"The folder {shown(folder)} cannot be written to ({brief(error.strerror or error)}).",
            "Choose another folder for the views.",
        ) from error
    return tuple(files)


def _refuse_retouched(folder: Path) -> None:
    """Raise where a file that would be replaced is not what was written there."""
    known: set[str] = set()
    try:
        found = read_views(folder)
        known = {view.sha256 for view in found.views.values()} if found is not None else set()
    except BackendError:
        pass  # a damaged file says nothing of the pictures beside it
    for name in VIEWS:
        path = folder / f"{name}.png"
        try:
            same = not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() in known
        except OSError:
            same = False
        if not same:
            raise BackendError(
                "views_changed",
                f"{path.name} in {shown(folder)} is not as it was saved there.",
                "Repaint from it first if it was retouched; then move it away, or choose another folder.",
            )


@dataclass(frozen=True, eq=False)
class SavedViews:
    """What :data:`VIEWS_FILE` says: the digest of :func:`geometry_digest`, and the views by name."""

    geometry: str
    views: dict[str, View]


def read_views(folder: Path) -> SavedViews | None:
    """The views that were saved in a folder; None where there are none.

    Raises:
        BackendError: kind ``views_unreadable``: the file is damaged, or of a newer version.
    """
    try:
        content = json.loads(read_plain(folder / VIEWS_FILE, _MAX_BYTES).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = brief(getattr(error, "strerror", None) or error)
        raise BackendError("views_unreadable", f"{VIEWS_FILE} cannot be read: {reason}.", _SAVE_AGAIN) from error
    try:
        if not isinstance(content, dict) or content["format"] != FORMAT:
            raise ValueError("it is of another format")
        if content["version"] != VERSION:
            raise ValueError(f"it has the version {brief(content['version'], 20)}, not {VERSION}")
        views = [_from_json(entry) for entry in content["views"]]
        return SavedViews(str(content["geometry"]), {view.name: view for view in views})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"the entry {error} is missing" if isinstance(error, KeyError) else brief(error)
        raise BackendError("views_unreadable", f"{VIEWS_FILE} is damaged: {what}.", _SAVE_AGAIN) from error


def _to_json(view: View) -> dict[str, Any]:
    return {
        "view": view.name,
        "file": view.file,
        "matrix": view.matrix.tolist(),
        "focal": view.focal,
        "size": view.size,
        "turn": view.turn,
        "sha256": view.sha256,
    }


def _from_json(entry: Mapping[str, Any]) -> View:
    """A view whose camera is one; KeyError, TypeError or ValueError where it is not."""
    matrix = np.array(entry["matrix"], dtype=np.float64)
    focal, size, turn = float(entry["focal"]), entry["size"], float(entry["turn"])
    if entry["view"] not in VIEWS:
        raise ValueError(f"there is no view {brief(entry['view'], 40)}")
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.abs(matrix).max() > _MAX_PLACE:
        raise ValueError("a matrix is not of 4 x 4 numbers")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID) or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise ValueError("a matrix is not a rigid transform")
    if type(size) is not int or not 1 <= size <= _MAX_SIDE or not 0 < focal <= _MAX_FOCAL or not np.isfinite(turn):
        raise ValueError("a size, focal length or turn is none that a camera has")
    return View(entry["view"], str(entry["file"]), matrix, focal, size, turn, str(entry["sha256"]))
