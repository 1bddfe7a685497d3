"""The avatar package: one folder that holds a posable splat avatar. Checked on the way out and on the way in.

A package may be a stranger's: sizes are known and compared before memory is asked for, and whatever is wrong with it is
an :class:`AvatarFormatError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .archives import ArchiveError, ArrayArchive
from .checks import (
    BODY_LAYOUT,
    LIMITS,
    MAX_PIXELS,
    SKIN_LAYOUT,
    SPLATS,
    Layout,
    arrays_of,
    check_body,
    check_layout,
    check_surface_triangles,
    proper_faces,
    validate_avatar,
)
from .contents import JOINT_COUNT, SHAPE_COMPONENTS, Avatar, AvatarFormatError, Body, Camera, Skin
from .frames import reference_triangles
from .gaussians import Gaussians
from .metadata import (
    METADATA_FILE,
    fields_of,
    metadata_bytes,
    names_format,
    read_metadata,
)
from .plain_files import brief, open_plain
from .ply import read_ply, write_ply
from .skinning import bind_to_surface
from .threads import in_threads
from .whole import parents_of, recover, wait_for, whole_folder

__all__ = [
    "JOINT_COUNT",
    "PACKAGE_FILES",
    "SHAPE_COMPONENTS",
    "Avatar",
    "AvatarFormatError",
    "Body",
    "Camera",
    "Skin",
    "load_avatar",
    "save_avatar",
    "validate_avatar",
]

GAUSSIANS_FILE = "gaussians.ply"
SKIN_FILE = "skin.npz"
BODY_FILE = "body.npz"
INPUT_FILE = "input.png"
PREVIEW_FILE = "preview.png"
PACKAGE_FILES = (METADATA_FILE, GAUSSIANS_FILE, SKIN_FILE, BODY_FILE, INPUT_FILE, PREVIEW_FILE)

_PICTURE_BYTES = 256 << 20
_PNG_START = b"\x89PNG\r\n\x1a\n"
# In version 1 a splat's frame was its own triangle; the rest of its place follows from the splat at rest.
_LAYOUTS_1 = (
    SKIN_LAYOUT | {"offset": Layout(np.float32, (SPLATS,))},
    {name: layout for name, layout in BODY_LAYOUT.items() if name != "reference_triangles"},
)


def save_avatar(
    avatar: Avatar,
    folder: str | Path,
    input_image: bytes | None = None,
    preview: bytes | Callable[[], bytes] | None = None,
) -> None:
    """Write the package in one go: ``folder`` afterwards holds either the whole new package or what it held before.

    That is so too where the process is killed or the power fails; what is then left beside ``folder`` is put right by
    the next :func:`save_avatar` or :func:`load_avatar` there. An older package in ``folder`` is replaced; files beside
    it that are not the package's stay.

    Args:
        avatar: what to write.
        folder: the package's folder; parents are made.
        input_image, preview: PNG files, left out where None; of the preview also what gives it, asked last.

    Raises:
        AvatarFormatError: the avatar is not consistent; nothing is written.
        FileExistsError: ``folder`` is a file, or holds something other than an avatar package.
        OSError: it cannot be written.
    """
    validate_avatar(avatar)
    metadata = metadata_bytes(avatar)
    fields_of(json.loads(metadata))
    folder = Path(folder).resolve()
    recover(folder)
    refuse_foreign(folder)
    with parents_of(folder), whole_folder(folder, keeps=lambda name: name not in PACKAGE_FILES) as content:
        _write_files(avatar, content, metadata, input_image, preview)


_READINGS = 4
"""How often a package that is being replaced is read anew."""


def refuse_foreign(folder: Path) -> None:
    """Refuse a place for a package where something else is.

    Raises:
        FileExistsError: it is a file, or a folder that is not empty and holds no avatar.
        OSError: it cannot be looked at.
    """
    # Whoever replaces an avatar there takes it away for a moment: what is found is looked at twice before it counts.
    for last in (False, True):
        try:
            foreign = any(folder.iterdir()) and not names_format(folder)
        except FileNotFoundError:
            if not os.path.lexists(folder):
                return
            foreign = True  # a link to nothing
        except NotADirectoryError as error:
            if not os.path.lexists(folder):  # what is above it is a file
                return
            raise FileExistsError(f"{folder} is a file, not a folder.") from error
        if not foreign:
            return
        if not last:
            wait_for(folder.resolve())
    raise FileExistsError(f"The folder {folder} is not empty and holds no avatar.")


def load_avatar(folder: str | Path) -> Avatar:
    """Read and check a package of this version of the format or of an older one.

    Nothing is believed: what the files say of themselves is compared before they are unpacked. Faces that name a corner
    twice or repeat another face are left out.

    Raises:
        AvatarFormatError: something is missing, damaged, inconsistent, larger than an avatar can be, or made by a newer
            version; says what in one sentence.
    """
    folder = Path(folder)
    for _ in range(_READINGS - 1):
        before = _identity(folder)
        try:
            avatar = _load_checked(folder)
        except AvatarFormatError:
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return avatar
        # Replaced meanwhile: its files may have been of two avatars.
    return _load_checked(folder)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one at the same path; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _load_checked(folder: Path) -> Avatar:
    try:
        return _load(folder)
    except AvatarFormatError:
        raise
    except MemoryError as error:
        raise AvatarFormatError("The avatar needs more memory than there is.") from error
    except FileNotFoundError as error:
        raise AvatarFormatError(f"The avatar package lacks {Path(error.filename or folder).name}.") from error
    except OSError as error:
        name = Path(error.filename or folder).name
        raise AvatarFormatError(f"{name} cannot be read: {brief(error.strerror or error)}.") from error
    except (ArchiveError, ValueError) as error:
        raise AvatarFormatError(f"{brief(error)}.") from error
    except Exception as error:  # whatever a damaged file makes numpy or the parsers say
        raise AvatarFormatError(f"The avatar package is damaged ({type(error).__name__}: {brief(error)}).") from error


def _load(folder: Path) -> Avatar:
    wait_for(folder.resolve())
    metadata = read_metadata(folder)
    fields = fields_of(metadata)
    for name in (INPUT_FILE, PREVIEW_FILE):
        _check_picture(folder / name)
    skin_layout, body_layout = (SKIN_LAYOUT, BODY_LAYOUT) if metadata["version"] > 1 else _LAYOUTS_1
    gaussians = read_ply(folder / GAUSSIANS_FILE, LIMITS[SPLATS])
    with (
        ArrayArchive(folder / SKIN_FILE, skin_layout) as skin_file,
        ArrayArchive(folder / BODY_FILE, body_layout) as body_file,
    ):
        sizes = {SPLATS: len(gaussians)}
        check_layout("body", body_file.headers, body_layout, sizes)
        check_layout("skin", skin_file.headers, skin_layout, sizes)
        skin, body = _read(skin_file, skin_layout), _read(body_file, body_layout)
    if "reference_triangles" not in body_layout:
        body, skin = _bound(gaussians, body, skin)
    avatar = Avatar(gaussians=gaussians, skin=Skin(**skin), body=Body(**body), **fields)
    validate_avatar(avatar)
    return replace(avatar, body=_without_improper_faces(avatar.body))


def _read(archive: ArrayArchive, layout: Mapping[str, Layout]) -> dict[str, np.ndarray]:
    """The arrays of a part, as its layout wants them where that loses nothing."""
    found = {}
    for name, header in archive.headers.items():
        array, wanted = archive.read(name), layout[name].dtype
        whole = np.issubdtype(wanted, np.integer)
        if whole and header.dtype != wanted and array.size:
            limits = np.iinfo(wanted)
            if array.min() < limits.min or array.max() > limits.max:
                raise AvatarFormatError(f"{archive.path.stem}.{name} holds indices outside 0..{limits.max}.")
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            found[name] = array.astype(wanted, copy=False)
    return found


def _bound(
    gaussians: Gaussians, body: dict[str, np.ndarray], skin: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Body and skin of version 1 as those of version 2: the splats bound anew to the triangles they were bound to."""
    surface = Body(**body, reference_triangles=np.zeros((0, 3), np.int32))
    check_body(surface)
    check_surface_triangles("skin.vertex_ids", skin["vertex_ids"], surface)
    references = reference_triangles(body["surface_vertices"], body["surface_weights"])
    names = ("vertex_ids", "barycentric", "offset", "rotation")
    bound = bind_to_surface(gaussians, body["surface_vertices"], skin["vertex_ids"], references)
    return body | {"reference_triangles": references}, skin | dict(zip(names, bound))


def _without_improper_faces(body: Body) -> Body:
    """Blender and engines take no triangle that names a corner twice, and none twice.

    Raises:
        AvatarFormatError: no face is left.
    """
    for faces, together in (("faces", ("faces", "uv_faces")), ("surface_faces", ("surface_faces",))):
        proper = proper_faces(getattr(body, faces))
        if not proper.any():
            raise AvatarFormatError(f"body.{faces} has no triangle with three different corners.")
        if not proper.all():
            kept = {name: getattr(body, name)[proper] for name in together if getattr(body, name) is not None}
            body = replace(body, **kept)
    return body


def _check_picture(path: Path) -> None:
    """Refuse what is no PNG file of a size that pictures have; there may be none.

    Raises:
        AvatarFormatError: as above.
        OSError: it cannot be read.
    """
    try:
        file, size = open_plain(path)
    except FileNotFoundError:
        return
    with file:
        start = file.read(24)
    sides = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    if size > _PICTURE_BYTES or max(sides) > MAX_PIXELS or sides[0] * sides[1] > _PICTURE_BYTES // 4:
        raise AvatarFormatError(f"{path.name} is larger than a package's pictures are; delete it.")
    if not start.startswith(_PNG_START) or min(sides) < 1:
        raise AvatarFormatError(f"{path.name} is not a PNG picture; delete it.")


def _write_files(
    avatar: Avatar,
    folder: Path,
    metadata: bytes,
    input_image: bytes | None,
    preview: bytes | Callable[[], bytes] | None,
) -> None:
    # Of the skin numbers hardly repeat: compressed, the package is a twelfth smaller and takes longer to write than all
    # else.
    write_skin = partial(np.savez, folder / SKIN_FILE, **_written(avatar.skin, SKIN_LAYOUT))
    write_body = partial(np.savez_compressed, folder / BODY_FILE, **_written(avatar.body, BODY_LAYOUT))
    write_splats = partial(write_ply, folder / GAUSSIANS_FILE, avatar.gaussians)
    in_threads(lambda write: write(), (write_skin, write_body, write_splats))
    for name, image in ((INPUT_FILE, input_image), (PREVIEW_FILE, preview)):
        if image is not None:
            (folder / name).write_bytes(image() if callable(image) else image)
    (folder / METADATA_FILE).write_bytes(metadata)


def _written(part: Skin | Body, layout: Mapping[str, Layout]) -> dict[str, Any]:
    return {name: array.astype(layout[name].dtype, copy=False) for name, array in arrays_of(part, layout).items()}
