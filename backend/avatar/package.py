"""The avatar package: one folder that holds a posable splat avatar. Checked on the way out and on the way in."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .gaussians import Gaussians
from .ply import read_ply, write_ply
from .skinning import triangle_areas
from .threads import in_threads

FORMAT = "humansplat-avatar"
VERSION = 2
JOINT_COUNT = 24
SHAPE_COMPONENTS = 10
METADATA_FILE = "avatar.json"
GAUSSIANS_FILE = "gaussians.ply"
SKIN_FILE = "skin.npz"
BODY_FILE = "body.npz"
INPUT_FILE = "input.png"
PREVIEW_FILE = "preview.png"
PACKAGE_FILES = (METADATA_FILE, GAUSSIANS_FILE, SKIN_FILE, BODY_FILE, INPUT_FILE, PREVIEW_FILE)

_SUM_TOLERANCE = 1e-3


class AvatarFormatError(ValueError):
    """An avatar that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Camera:
    """The photo's camera, OpenCV axes (x right, y down, z forward).

    Attributes:
        width, height: pixels of ``input.png``.
        fx, fy, cx, cy: pixels; the centre of the first pixel lies at (0.5, 0.5).
        world_to_camera: [4, 4] rigid, metres.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class Skin:
    """Where each of N splats sits on the surface mesh, and which joints move it.

    Attributes:
        vertex_ids: int32 [N, 3] corners of its triangle, into ``Body.surface_vertices``. The first one's reference
            triangle (``Body.reference_triangles``) is the splat's frame.
        barycentric: float32 [N, 3] of its point on the triangle, sum 1.
        offset: float32 [N, 3] metres from that point to the splat, in the frame.
        rotation: float32 [N, 4] wxyz, in the frame.
        joint_ids: uint8 [N, 4].
        joint_weights: float32 [N, 4], sum 1.
        seen: float32 [N] in 0..1, how far the photo shows the splat; the rest of it is imagined. None in packages that
            do not say.
    """

    vertex_ids: np.ndarray
    barycentric: np.ndarray
    offset: np.ndarray
    rotation: np.ndarray
    joint_ids: np.ndarray
    joint_weights: np.ndarray
    seen: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Body:
    """The fitted body and the surface around it that carries the splats; both at rest (T-pose), metres.

    Attributes:
        vertices, faces, weights: float32 [V, 3], int32 [F, 3], float32 [V, 24] of the naked body.
        surface_vertices, surface_faces, surface_weights: float32 [S, 3], int32 [G, 3], float32 [S, 24].
        reference_triangles: int32 [S, 3] surface vertices whose triangle tells how the surface turns at each vertex.
        uv, uv_faces: float32 [T, 2] and int32 [F, 3] of the naked body, or None.
        pose_correctives: float32 [V, 3, 207] of the naked body, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    surface_vertices: np.ndarray
    surface_faces: np.ndarray
    surface_weights: np.ndarray
    reference_triangles: np.ndarray
    uv: np.ndarray | None = None
    uv_faces: np.ndarray | None = None
    pose_correctives: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Avatar:
    """A posable splat avatar.

    Attributes:
        gaussians: N splats in canonical space (the rest pose).
        skin, body: what they ride on.
        joint_names: 24 SMPL names.
        parents: 24 indices, -1 first.
        rest_joints: float64 [24, 3] metres.
        betas: float64 [10] shape coefficients.
        pose: float64 [24, 3] axis-angle as fitted to the photo.
        translation: float64 [3] metres, added after skinning.
        joint_confidence: float64 [24] in 0..1, how well the photo shows each joint.
        camera: the photo's.
        body_model: ``{"name", "licence"}``.
        generator: ``{"name", "version", "preset", "weights"}``.
        source: ``{"name", "sha256", "crop"}`` of the photo; the crop is left, top and side, in the photo's pixels, of
            the square that ``input.png`` and the camera show.
        seconds: duration of each stage.
        warnings: sentences for the user.
        preserve_volume: share in 0..1 of dual quaternions with which the surface is posed; the rest is linear blend
            skinning, in packages that do not say all of it. See ``skinning.vertex_transforms``.
    """

    gaussians: Gaussians
    skin: Skin
    body: Body
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    rest_joints: np.ndarray
    betas: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    joint_confidence: np.ndarray
    camera: Camera
    body_model: dict[str, Any]
    generator: dict[str, Any]
    source: dict[str, Any]
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    preserve_volume: float = 0.0


def save_avatar(
    avatar: Avatar,
    folder: str | Path,
    input_image: bytes | None = None,
    preview: bytes | Callable[[], bytes] | None = None,
) -> None:
    """Write the package in one go: ``folder`` afterwards holds either the whole new package or what it held before.

    An older package in ``folder`` is replaced; files beside it that are not the package's stay.

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
    folder = Path(folder).resolve()
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A sibling lies on the same disk, so that the rename at the end is one step.
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        # mkdtemp makes private folders; a package is as public as its surroundings.
        content = staging / folder.name
        content.mkdir()
        _write_files(avatar, content, input_image, preview)
        _swap(content, folder, aside=staging.with_suffix(".old"))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_avatar(folder: str | Path) -> Avatar:
    """Read and check a package.

    Raises:
        AvatarFormatError: something is missing, damaged, inconsistent or made by a newer version; says what.
    """
    folder = Path(folder)
    metadata = _read_metadata(folder)
    skin, body = _read_arrays(folder / SKIN_FILE), _read_arrays(folder / BODY_FILE)
    try:
        gaussians = read_ply(folder / GAUSSIANS_FILE)
    except ValueError as error:
        raise AvatarFormatError(str(error)) from error
    except OSError as error:
        raise AvatarFormatError(f"{GAUSSIANS_FILE} cannot be read: {error.strerror or error}.") from error
    try:
        avatar = _assemble(metadata, gaussians, skin, body)
    except KeyError as error:
        raise AvatarFormatError(f"The avatar package lacks the entry {error.args[0]!r}.") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AvatarFormatError(f"The avatar package has an entry of the wrong kind: {error}.") from error
    validate_avatar(avatar)
    return avatar


def validate_avatar(avatar: Avatar) -> None:
    """Check shapes, ranges of indices, sums of weights and that all numbers are finite.

    Raises:
        AvatarFormatError: with one sentence about the first thing found wrong.
    """
    splats = len(avatar.gaussians)
    if splats == 0:
        raise AvatarFormatError("The avatar has no splats.")
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        _check_array(f"gaussians.{name}", getattr(avatar.gaussians, name))
    _check_skeleton(avatar)
    _check_camera(avatar.camera)
    _check_body(avatar.body)
    skin = avatar.skin
    _check_array("skin.barycentric", skin.barycentric, (splats, 3))
    _check_array("skin.offset", skin.offset, (splats, 3))
    _check_array("skin.rotation", skin.rotation, (splats, 4))
    _check_indices("skin.vertex_ids", skin.vertex_ids, (splats, 3), len(avatar.body.surface_vertices))
    _check_indices("skin.joint_ids", skin.joint_ids, (splats, 4), JOINT_COUNT)
    _check_weights("skin.joint_weights", skin.joint_weights, (splats, 4))
    if skin.seen is not None:
        _check_array("skin.seen", skin.seen, (splats,))
        if skin.seen.min() < 0 or skin.seen.max() > 1:
            raise AvatarFormatError("skin.seen must lie between 0 and 1.")
    if not np.allclose(skin.barycentric.sum(axis=1), 1, atol=_SUM_TOLERANCE):
        raise AvatarFormatError("skin.barycentric has rows that do not sum to 1.")
    rest = avatar.body.surface_vertices
    for name, triangles in (
        ("skin.vertex_ids", skin.vertex_ids),
        ("body.reference_triangles", avatar.body.reference_triangles),
    ):
        if not (triangle_areas(rest, triangles) > 0).all():
            raise AvatarFormatError(f"{name} names triangles without an area.")


def _write_files(
    avatar: Avatar, folder: Path, input_image: bytes | None, preview: bytes | Callable[[], bytes] | None
) -> None:
    skin, body = avatar.skin, avatar.body
    seen = {} if skin.seen is None else {"seen": skin.seen.astype(np.float32)}
    # Its numbers hardly repeat: compressed, the package is a twelfth smaller and takes longer to write than all else.
    write_skin = partial(
        np.savez,
        folder / SKIN_FILE,
        vertex_ids=skin.vertex_ids.astype(np.int32),
        barycentric=skin.barycentric.astype(np.float32),
        offset=skin.offset.astype(np.float32),
        rotation=skin.rotation.astype(np.float32),
        joint_ids=skin.joint_ids.astype(np.uint8),
        joint_weights=skin.joint_weights.astype(np.float32),
        **seen,
    )
    optional = {"uv": body.uv, "pose_correctives": body.pose_correctives}
    arrays = {name: array.astype(np.float32) for name, array in optional.items() if array is not None}
    if body.uv_faces is not None:
        arrays["uv_faces"] = body.uv_faces.astype(np.int32)
    write_body = partial(
        np.savez_compressed,
        folder / BODY_FILE,
        vertices=body.vertices.astype(np.float32),
        faces=body.faces.astype(np.int32),
        weights=body.weights.astype(np.float32),
        surface_vertices=body.surface_vertices.astype(np.float32),
        surface_faces=body.surface_faces.astype(np.int32),
        surface_weights=body.surface_weights.astype(np.float32),
        reference_triangles=body.reference_triangles.astype(np.int32),
        **arrays,
    )
    write_splats = partial(write_ply, folder / GAUSSIANS_FILE, avatar.gaussians)
    in_threads(lambda write: write(), (write_skin, write_body, write_splats))
    for name, image in ((INPUT_FILE, input_image), (PREVIEW_FILE, preview)):
        if image is not None:
            (folder / name).write_bytes(image() if callable(image) else image)
    text = json.dumps(_metadata(avatar), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def _metadata(avatar: Avatar) -> dict[str, Any]:
    camera = avatar.camera
    return {
        "format": FORMAT,
        "version": VERSION,
        "generator": avatar.generator,
        "body_model": avatar.body_model,
        "joint_names": list(avatar.joint_names),
        "parents": [int(parent) for parent in avatar.parents],
        "rest_joints": _numbers(avatar.rest_joints),
        "betas": _numbers(avatar.betas),
        "pose": _numbers(avatar.pose),
        "translation": _numbers(avatar.translation),
        "joint_confidence": _numbers(avatar.joint_confidence),
        "preserve_volume": float(avatar.preserve_volume),
        "camera": {
            "width": int(camera.width),
            "height": int(camera.height),
            "fx": float(camera.fx),
            "fy": float(camera.fy),
            "cx": float(camera.cx),
            "cy": float(camera.cy),
            "world_to_camera": _numbers(camera.world_to_camera),
        },
        "source": avatar.source,
        "seconds": {stage: float(value) for stage, value in avatar.seconds.items()},
        "warnings": list(avatar.warnings),
    }


def _numbers(array: np.ndarray) -> list[Any]:
    return np.asarray(array, dtype=np.float64).tolist()


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()) and not _is_package(folder):
            raise FileExistsError(f"The folder {folder} is not empty and holds no avatar.")
    elif folder.exists():
        raise FileExistsError(f"{folder} is a file, not a folder.")


def _is_package(folder: Path) -> bool:
    """Whether the metadata names our format, of whatever version and in whatever state the rest may be."""
    try:
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and metadata.get("format") == FORMAT


def _swap(new: Path, folder: Path, aside: Path) -> None:
    """Put ``new`` in the place of ``folder``, which goes ``aside`` and then away; on failure it comes back."""
    if not folder.exists():
        os.rename(new, folder)
        return
    kept = [entry.name for entry in folder.iterdir() if entry.name not in PACKAGE_FILES]
    os.rename(folder, aside)
    try:
        for name in kept:
            os.rename(aside / name, new / name)
        os.rename(new, folder)
    except BaseException:
        for name in kept:
            if (new / name).exists():
                os.rename(new / name, aside / name)
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _read_metadata(folder: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AvatarFormatError(f"{folder} is not an avatar package: it has no {METADATA_FILE}.") from error
    except OSError as error:
        raise AvatarFormatError(f"{METADATA_FILE} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise AvatarFormatError(f"{METADATA_FILE} is damaged: {error}.") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise AvatarFormatError(f"{folder} is not an avatar package: {METADATA_FILE} does not name the format.")
    version = metadata.get("version")
    if version != VERSION:
        raise AvatarFormatError(f"The avatar has the format version {version!r}; this HumanSplat reads {VERSION}.")
    return metadata


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise AvatarFormatError(f"The avatar package lacks {path.name}.") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise AvatarFormatError(f"{path.name} is damaged: {error}.") from error


def _entries(kind: type, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a dataclass by name; only those whose default is None may be missing (KeyError)."""
    fields = kind.__dataclass_fields__.items()
    return {name: arrays[name] for name, field in fields if name in arrays or field.default is not None}


def _assemble(
    metadata: dict[str, Any], gaussians: Gaussians, skin: dict[str, np.ndarray], body: dict[str, np.ndarray]
) -> Avatar:
    camera = metadata["camera"]
    return Avatar(
        gaussians=gaussians,
        skin=Skin(**_entries(Skin, skin)),
        body=Body(**_entries(Body, body)),
        joint_names=tuple(str(name) for name in metadata["joint_names"]),
        parents=tuple(int(parent) for parent in metadata["parents"]),
        rest_joints=np.array(metadata["rest_joints"], dtype=np.float64),
        betas=np.array(metadata["betas"], dtype=np.float64),
        pose=np.array(metadata["pose"], dtype=np.float64),
        translation=np.array(metadata["translation"], dtype=np.float64),
        joint_confidence=np.array(metadata["joint_confidence"], dtype=np.float64),
        camera=Camera(
            width=int(camera["width"]),
            height=int(camera["height"]),
            **{name: float(camera[name]) for name in ("fx", "fy", "cx", "cy")},
            world_to_camera=np.array(camera["world_to_camera"], dtype=np.float64),
        ),
        body_model=dict(metadata["body_model"]),
        generator=dict(metadata["generator"]),
        source=dict(metadata["source"]),
        seconds={str(stage): float(value) for stage, value in metadata["seconds"].items()},
        warnings=tuple(str(warning) for warning in metadata["warnings"]),
        preserve_volume=float(metadata.get("preserve_volume", 0.0)),
    )


def _check_skeleton(avatar: Avatar) -> None:
    if len(avatar.joint_names) != JOINT_COUNT or len(set(avatar.joint_names)) != JOINT_COUNT:
        raise AvatarFormatError(f"joint_names must be {JOINT_COUNT} different names.")
    parents = avatar.parents
    if len(parents) != JOINT_COUNT or parents[0] != -1:
        raise AvatarFormatError(f"parents must be {JOINT_COUNT} indices that begin with -1.")
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise AvatarFormatError("parents must name each joint's parent before the joint itself.")
    _check_array("rest_joints", avatar.rest_joints, (JOINT_COUNT, 3))
    _check_array("betas", avatar.betas, (SHAPE_COMPONENTS,))
    _check_array("pose", avatar.pose, (JOINT_COUNT, 3))
    _check_array("translation", avatar.translation, (3,))
    _check_array("joint_confidence", avatar.joint_confidence, (JOINT_COUNT,))
    if avatar.joint_confidence.min() < 0 or avatar.joint_confidence.max() > 1:
        raise AvatarFormatError("joint_confidence must lie between 0 and 1.")
    if not 0 <= avatar.preserve_volume <= 1:
        raise AvatarFormatError("preserve_volume must lie between 0 and 1.")


def _check_camera(camera: Camera) -> None:
    numbers = np.array([camera.fx, camera.fy, camera.cx, camera.cy], dtype=np.float64)
    if not np.isfinite(numbers).all() or min(camera.fx, camera.fy, camera.width, camera.height) <= 0:
        raise AvatarFormatError("The camera's size and focal length must be positive numbers.")
    _check_array("camera.world_to_camera", camera.world_to_camera, (4, 4))
    rotation = np.asarray(camera.world_to_camera, dtype=np.float64)[:3, :3]
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=_SUM_TOLERANCE) and np.linalg.det(rotation) > 0
    if not rigid or not np.allclose(camera.world_to_camera[3], [0, 0, 0, 1], atol=1e-6):
        raise AvatarFormatError("camera.world_to_camera is not a rigid transform.")


def _check_body(body: Body) -> None:
    for prefix in ("", "surface_"):
        vertices = getattr(body, f"{prefix}vertices")
        count = len(vertices) if np.ndim(vertices) else 0
        _check_array(f"body.{prefix}vertices", vertices, (count, 3))
        _check_weights(f"body.{prefix}weights", getattr(body, f"{prefix}weights"), (count, JOINT_COUNT))
        faces = getattr(body, f"{prefix}faces")
        _check_indices(f"body.{prefix}faces", faces, (len(faces) if np.ndim(faces) else 0, 3), count)
    count = len(body.surface_vertices)
    _check_indices("body.reference_triangles", body.reference_triangles, (count, 3), count)
    if (body.uv is None) != (body.uv_faces is None):
        raise AvatarFormatError("body.uv and body.uv_faces come together or not at all.")
    if body.uv is not None and body.uv_faces is not None:
        _check_array("body.uv", body.uv, (len(body.uv) if np.ndim(body.uv) else 0, 2))
        _check_indices("body.uv_faces", body.uv_faces, (len(body.faces), 3), len(body.uv))
    if body.pose_correctives is not None:
        shape = (len(body.vertices), 3, 9 * (JOINT_COUNT - 1))
        _check_array("body.pose_correctives", body.pose_correctives, shape)


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...] | None = None) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise AvatarFormatError(f"{name} must be an array of floating-point numbers.")
    if shape is not None and array.shape != shape:
        raise AvatarFormatError(f"{name} has the shape {array.shape}, expected {shape}.")
    if not np.isfinite(array).all():
        raise AvatarFormatError(f"{name} holds numbers that are not finite.")


def _check_indices(name: str, array: np.ndarray, shape: tuple[int, ...], limit: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise AvatarFormatError(f"{name} must be an array of integers.")
    if array.shape != shape:
        raise AvatarFormatError(f"{name} has the shape {array.shape}, expected {shape}.")
    if array.size and not (array.min() >= 0 and array.max() < limit):
        raise AvatarFormatError(f"{name} holds indices outside 0..{limit - 1}.")


def _check_weights(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    _check_array(name, array, shape)
    if array.size and array.min() < -_SUM_TOLERANCE:
        raise AvatarFormatError(f"{name} holds negative weights.")
    if not np.allclose(array.sum(axis=-1), 1, atol=_SUM_TOLERANCE):
        raise AvatarFormatError(f"{name} has rows that do not sum to 1.")
