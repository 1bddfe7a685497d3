"""What makes an avatar usable: which arrays it has, their shapes, and numbers that a person can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .bone_maps import JOINT_NAMES, JOINT_PARENTS
from .contents import JOINT_COUNT, SHAPE_COMPONENTS, Avatar, AvatarFormatError, Body, Camera, Skin
from .gaussians import Gaussians
from .plain_files import brief
from .rows import distinct_rows
from .skinning import triangle_areas

SPLATS, BODY_VERTICES, BODY_FACES = "splats", "body vertices", "body faces"
SURFACE_VERTICES, SURFACE_FACES, UV_POINTS = "surface vertices", "surface faces", "UV points"
LIMITS = {
    **{SPLATS: 5_000_000, BODY_VERTICES: 120_000, BODY_FACES: 240_000},
    **{SURFACE_VERTICES: 1_000_000, SURFACE_FACES: 2_000_000, UV_POINTS: 200_000},
}
"""How much of each an avatar may have: fifty times what reconstructions give, and what a computer of 8 GB can open."""
MAX_PLACE = 1_000.0
"""Metres from the origin; half of what float32 and the formats for export keep to a tenth of a millimetre."""
MAX_PERSON = 4.0
"""Metres from one end of the body at rest to the other, along each axis. Blender fills that box with voxels."""
MAX_SCALE = 100.0
"""Metres; of a splat's standard deviation."""
MAX_NUMBER = 1_000.0
"""For what has no unit of its own or a small one: colours, shape coefficients, radians."""
MAX_PIXELS = 65_536
"""Of a picture's side."""
MAX_TEXT = 4_096
"""Characters of a name, a licence or a sentence."""

_SUM_TOLERANCE = 1e-3
_UNIT_TOLERANCE = 1e-2  # of a quaternion's length
_MAX_FOCAL = 1e7  # pixels
_SMALLEST_BONE = 1e-4  # metres
_PIECE = 1 << 18  # triangles measured at a time


@dataclass(frozen=True)
class Layout:
    """One array of a package.

    Attributes:
        dtype: as it is written and given to callers.
        shape: numbers, and names of `LIMITS` for what differs from avatar to avatar.
        optional: whether it may be missing.
    """

    dtype: type[np.generic]
    shape: tuple[int | str, ...]
    optional: bool = False


SKIN_LAYOUT = {
    "vertex_ids": Layout(np.int32, (SPLATS, 3)),
    "barycentric": Layout(np.float32, (SPLATS, 3)),
    "offset": Layout(np.float32, (SPLATS, 3)),
    "rotation": Layout(np.float32, (SPLATS, 4)),
    "joint_ids": Layout(np.uint8, (SPLATS, 4)),
    "joint_weights": Layout(np.float32, (SPLATS, 4)),
    "seen": Layout(np.float32, (SPLATS,), optional=True),
}
BODY_LAYOUT = {
    "vertices": Layout(np.float32, (BODY_VERTICES, 3)),
    "faces": Layout(np.int32, (BODY_FACES, 3)),
    "weights": Layout(np.float32, (BODY_VERTICES, JOINT_COUNT)),
    "surface_vertices": Layout(np.float32, (SURFACE_VERTICES, 3)),
    "surface_faces": Layout(np.int32, (SURFACE_FACES, 3)),
    "surface_weights": Layout(np.float32, (SURFACE_VERTICES, JOINT_COUNT)),
    "reference_triangles": Layout(np.int32, (SURFACE_VERTICES, 3)),
    "uv": Layout(np.float32, (UV_POINTS, 2), optional=True),
    "uv_faces": Layout(np.int32, (BODY_FACES, 3), optional=True),
    "pose_correctives": Layout(np.float32, (BODY_VERTICES, 3, 9 * (JOINT_COUNT - 1)), optional=True),
}


class _Described(Protocol):
    """An array, or what its file says of it."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_layout(
    part: str, found: Mapping[str, _Described], layout: Mapping[str, Layout], sizes: dict[str, int]
) -> None:
    """Check which arrays there are, their kinds and shapes, against each other and against `LIMITS`.

    Args:
        part: what they belong to, for messages.
        found: arrays by name, or what their headers say.
        layout: what belongs there.
        sizes: what is known already, by the names of `LIMITS`; what is found is added.

    Raises:
        AvatarFormatError: with one sentence about the first thing found wrong.
    """
    for name, wanted in layout.items():
        if name not in found:
            if not wanted.optional:
                raise AvatarFormatError(f"The avatar package lacks the entry {name!r}.")
            continue
        array = found[name]
        whole = np.issubdtype(wanted.dtype, np.integer)
        if array.dtype.kind not in ("iu" if whole else "f"):
            kind = "integers" if whole else "floating-point numbers"
            raise AvatarFormatError(f"{part}.{name} must be an array of {kind}.")
        if array.shape and len(array.shape) == len(wanted.shape) and isinstance(wanted.shape[0], str):
            sizes.setdefault(wanted.shape[0], array.shape[0])
        expected = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in wanted.shape)
        if array.shape != expected:
            shown = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
            raise AvatarFormatError(f"{part}.{name} has the shape {brief(array.shape, 40)}, expected ({shown}).")
    for name, size in sizes.items():
        if size > LIMITS[name]:
            raise AvatarFormatError(f"The avatar has {size:,} {name}; at most {LIMITS[name]:,} can be read.")
        if size == 0:
            raise AvatarFormatError(f"The avatar has no {name}.")


def validate_avatar(avatar: Avatar) -> None:
    """Check shapes, ranges of indices, sums of weights, and that all numbers are finite and such as a person can have.

    Raises:
        AvatarFormatError: with one sentence about the first thing found wrong.
    """
    if len(avatar.gaussians) == 0:
        raise AvatarFormatError("The avatar has no splats.")
    sizes = {SPLATS: len(avatar.gaussians)}
    check_layout("body", arrays_of(avatar.body, BODY_LAYOUT), BODY_LAYOUT, sizes)
    check_layout("skin", arrays_of(avatar.skin, SKIN_LAYOUT), SKIN_LAYOUT, sizes)
    _check_gaussians(avatar.gaussians)
    _check_skeleton(avatar)
    _check_camera(avatar.camera)
    check_body(avatar.body)
    check_surface_triangles("body.reference_triangles", avatar.body.reference_triangles, avatar.body)
    _check_skin(avatar.skin, avatar.body)


def arrays_of(part: Skin | Body, layout: Mapping[str, Layout]) -> dict[str, np.ndarray]:
    """The arrays that ``part`` has, by name.

    Raises:
        AvatarFormatError: something else stands where an array belongs.
    """
    found = {name: getattr(part, name) for name in layout if getattr(part, name) is not None}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise AvatarFormatError(f"{type(part).__name__.lower()}.{name} must be an array.")
    return found


def check_body(body: Body) -> None:
    """Check the values of vertices, faces and weights of the body and the surface; their shapes are right.

    Raises:
        AvatarFormatError: as :func:`validate_avatar`.
    """
    for prefix in ("", "surface_"):
        vertices = getattr(body, f"{prefix}vertices")
        _check_numbers(f"body.{prefix}vertices", vertices, MAX_PLACE)
        _check_weights(f"body.{prefix}weights", getattr(body, f"{prefix}weights"))
        _check_indices(f"body.{prefix}faces", getattr(body, f"{prefix}faces"), len(vertices))
    if np.ptp(body.vertices, axis=0).max() > MAX_PERSON:
        raise AvatarFormatError(f"body.vertices measure more than {MAX_PERSON:g} metres, which no person does.")
    if (body.uv is None) != (body.uv_faces is None):
        raise AvatarFormatError("body.uv and body.uv_faces come together or not at all.")
    if body.uv is not None and body.uv_faces is not None:
        _check_numbers("body.uv", body.uv, MAX_NUMBER)
        _check_indices("body.uv_faces", body.uv_faces, len(body.uv))
    if body.pose_correctives is not None:
        _check_numbers("body.pose_correctives", body.pose_correctives, MAX_PLACE)


def check_surface_triangles(name: str, triangles: np.ndarray, body: Body) -> None:
    """Check that ``triangles`` [N, 3] name vertices of the surface, and have areas.

    Raises:
        AvatarFormatError: as :func:`validate_avatar`.
    """
    _check_indices(name, triangles, len(body.surface_vertices))
    for start in range(0, len(triangles), _PIECE):
        if not (triangle_areas(body.surface_vertices, triangles[start : start + _PIECE]) > 0).all():
            raise AvatarFormatError(f"{name} names triangles without an area.")


def proper_faces(faces: np.ndarray) -> np.ndarray:
    """Which of the triangles [F, 3] have three different corners and repeat no earlier one: bool [F]."""
    corners = np.sort(faces, axis=1)
    proper = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2])
    first, _ = distinct_rows(corners)
    new = np.zeros(len(faces), dtype=bool)
    new[first] = True
    return proper & new


def _check_gaussians(splats: Gaussians) -> None:
    for name, limit in (
        ("position", MAX_PLACE),
        ("rotation", MAX_NUMBER),
        ("scale", MAX_SCALE),
        ("opacity", MAX_NUMBER),
        ("sh_dc", MAX_NUMBER),
    ):
        _check_numbers(f"gaussians.{name}", getattr(splats, name), limit)
    _check_turns("gaussians.rotation", splats.rotation)
    if splats.scale.min() < 0:
        raise AvatarFormatError("gaussians.scale must not be negative.")
    _check_share("gaussians.opacity", splats.opacity)


def _check_skin(skin: Skin, body: Body) -> None:
    _check_numbers("skin.barycentric", skin.barycentric, MAX_NUMBER)
    _check_numbers("skin.offset", skin.offset, MAX_PLACE)
    _check_numbers("skin.rotation", skin.rotation, MAX_NUMBER)
    _check_turns("skin.rotation", skin.rotation)
    _check_indices("skin.joint_ids", skin.joint_ids, JOINT_COUNT)
    _check_weights("skin.joint_weights", skin.joint_weights)
    if skin.seen is not None:
        _check_numbers("skin.seen", skin.seen, MAX_NUMBER)
        _check_share("skin.seen", skin.seen)
    if not np.allclose(skin.barycentric.sum(axis=1), 1, atol=_SUM_TOLERANCE):
        raise AvatarFormatError("skin.barycentric has rows that do not sum to 1.")
    check_surface_triangles("skin.vertex_ids", skin.vertex_ids, body)


def _check_skeleton(avatar: Avatar) -> None:
    if tuple(avatar.joint_names) != JOINT_NAMES:
        raise AvatarFormatError(f"joint_names must be the {JOINT_COUNT} names of SMPL's joints, in SMPL's order.")
    if tuple(avatar.parents) != JOINT_PARENTS:
        raise AvatarFormatError(f"parents must be those of SMPL's {JOINT_COUNT} joints.")
    for name, shape, limit in (
        ("rest_joints", (JOINT_COUNT, 3), MAX_PLACE),
        ("betas", (SHAPE_COMPONENTS,), MAX_NUMBER),
        ("pose", (JOINT_COUNT, 3), MAX_NUMBER),
        ("translation", (3,), MAX_PLACE),
        ("joint_confidence", (JOINT_COUNT,), MAX_NUMBER),
    ):
        _check_numbers(name, getattr(avatar, name), limit, shape)
    _check_share("joint_confidence", avatar.joint_confidence)
    if not 0 <= avatar.preserve_volume <= 1:
        raise AvatarFormatError("preserve_volume must lie between 0 and 1.")
    joints = avatar.rest_joints
    if np.ptp(joints, axis=0).max() > MAX_PERSON:
        raise AvatarFormatError(f"rest_joints lie more than {MAX_PERSON:g} metres apart, which no person's do.")
    bones = np.linalg.norm(joints[1:] - joints[list(JOINT_PARENTS[1:])], axis=1)
    if bones.min() < _SMALLEST_BONE:
        raise AvatarFormatError("rest_joints has joints at one place with their parents.")


def _check_camera(camera: Camera) -> None:
    numbers = np.array([camera.fx, camera.fy, camera.cx, camera.cy], dtype=np.float64)
    if not np.isfinite(numbers).all() or min(camera.fx, camera.fy, camera.width, camera.height) <= 0:
        raise AvatarFormatError("The camera's size and focal length must be positive numbers.")
    if max(camera.width, camera.height) > MAX_PIXELS or np.abs(numbers).max() > _MAX_FOCAL:
        raise AvatarFormatError("The camera's size or focal length is larger than a camera's.")
    _check_numbers("camera.world_to_camera", camera.world_to_camera, MAX_PLACE, (4, 4))
    rotation = np.asarray(camera.world_to_camera, dtype=np.float64)[:3, :3]
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=_SUM_TOLERANCE) and np.linalg.det(rotation) > 0
    if not rigid or not np.allclose(camera.world_to_camera[3], [0, 0, 0, 1], atol=1e-6):
        raise AvatarFormatError("camera.world_to_camera is not a rigid transform.")


def _check_numbers(name: str, array: np.ndarray, limit: float, shape: tuple[int, ...] | None = None) -> None:
    """Floating-point numbers, finite, none beyond ``limit``."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise AvatarFormatError(f"{name} must be an array of floating-point numbers.")
    if shape is not None and array.shape != shape:
        raise AvatarFormatError(f"{name} has the shape {array.shape}, expected {shape}.")
    if not array.size:
        return
    low, high = float(array.min()), float(array.max())  # either is NaN where any number is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AvatarFormatError(f"{name} holds numbers that are not finite.")
    if max(-low, high) > limit:
        raise AvatarFormatError(f"{name} holds numbers beyond {limit:g}, which no avatar has.")


def _check_share(name: str, array: np.ndarray) -> None:
    if array.size and (array.min() < 0 or array.max() > 1):
        raise AvatarFormatError(f"{name} must lie between 0 and 1.")


def _check_turns(name: str, quaternions: np.ndarray) -> None:
    length = np.sqrt(np.einsum("ni,ni->n", quaternions, quaternions))
    if len(length) and max(abs(length.min() - 1), abs(length.max() - 1)) > _UNIT_TOLERANCE:
        raise AvatarFormatError(f"{name} holds quaternions that are not of length 1.")


def _check_indices(name: str, array: np.ndarray, limit: int) -> None:
    if array.size and not (array.min() >= 0 and array.max() < limit):
        raise AvatarFormatError(f"{name} holds indices outside 0..{limit - 1}.")


def _check_weights(name: str, array: np.ndarray) -> None:
    _check_numbers(name, array, MAX_NUMBER)
    if array.size and array.min() < -_SUM_TOLERANCE:
        raise AvatarFormatError(f"{name} holds negative weights.")
    if not np.allclose(array.sum(axis=-1), 1, atol=_SUM_TOLERANCE):
        raise AvatarFormatError(f"{name} has rows that do not sum to 1.")
