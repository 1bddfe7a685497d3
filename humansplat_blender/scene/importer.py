"""From an avatar package to one collection in the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from ...backend.avatar.clothed_mesh import ClothedMesh, clothed_mesh
from ...backend.avatar.package import Avatar, load_avatar
from .armature import create_armature
from .attributes import PointValues
from .body import create_body
from .bone_look import style_armature
from .core import core_depth
from .preview import BodyPaint, paint_body, plan_paint
from .roles import PACKAGE, ROLE, ImportedAvatar
from .setup import add_photo_camera
from .shape import BODY_MODEL
from .splats import bind_splats, create_splats, plan_splats, unit_edge
from .sway import room_of

_LOCK = ("lock_location", "lock_rotation", "lock_scale")


@dataclass(frozen=True)
class PreparedAvatar:
    """A package read and checked, with the part of the import's work that needs no Blender data."""

    avatar: Avatar
    clothed: ClothedMesh
    paint: BodyPaint
    splats: PointValues
    unit: tuple[int, int, float]
    room: np.ndarray
    core: np.ndarray


def prepare_avatar(folder: str | Path) -> PreparedAvatar:
    """Read a package for :func:`import_avatar`; touches no Blender data, so it may run on any thread.

    Raises:
        AvatarFormatError, OSError: as :func:`import_avatar`.
    """
    avatar = load_avatar(Path(folder))
    clothed = clothed_mesh(avatar)
    return PreparedAvatar(
        avatar,
        clothed,
        plan_paint(clothed),
        plan_splats(avatar),
        unit_edge(avatar),
        room_of(avatar, clothed),
        core_depth(clothed),
    )


def import_avatar(
    context: bpy.types.Context,
    folder: str | Path,
    name: str | None = None,
    camera: bool = False,
    prepared: PreparedAvatar | None = None,
    location: Sequence[float] = (0.0, 0.0, 0.0),
) -> ImportedAvatar:
    """Bring an avatar package into the context's scene, in the photo's pose, selected, its armature active.

    Blender must be in Object Mode. Collection, armature, body and splats share one name, with a number where it is
    taken. No scene setting is changed; see :func:`.setup.scene_setup`. What :func:`prepare_avatar` made of the same
    folder saves half of the time.

    Args:
        context: whose scene and view layer receive it.
        folder: the avatar package.
        name: of collection and armature; the package folder's where None.
        camera: add the photo's camera as well.
        prepared: see above.
        location: where the ground under the person is to be, metres.

    Raises:
        AvatarFormatError (a ValueError): the package is damaged or not one; the message is one sentence.
        OSError: a file cannot be read.
    In either case, and on any other failure, nothing is left behind in the file, and the selection is what it was.
    """
    folder = Path(folder)
    prepared = prepared or prepare_avatar(folder)
    name = unique_name(name or _display_name(folder))
    with selection_kept(context), rollback():
        return _build(context, prepared, folder, name, camera, Vector(location))


def _build(
    context: bpy.types.Context, prepared: PreparedAvatar, folder: Path, name: str, camera: bool, place: Vector
) -> ImportedAvatar:
    avatar = prepared.avatar
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armature = create_armature(context, avatar, name, collection)
    armature.location = place
    body = create_body(avatar, prepared.clothed, prepared.room, prepared.core, armature, f"{name} Body")
    style_armature(armature, body)
    paint_body(prepared.paint, body.data, f"{name} Solid View")
    collection.objects.link(body)
    splats = create_splats(prepared.splats, f"{name} Splats")
    splats.parent = armature
    collection.objects.link(splats)
    bind_splats(splats, body, prepared.unit)
    for obj in (body, splats):
        # Blender trusts its meshes: a face that is not right would bring it down later. Point clouds have no faces.
        if isinstance(obj.data, bpy.types.Mesh):
            obj.data.validate()

    for role, obj in (("armature", armature), ("body", body), ("splats", splats)):
        obj[ROLE] = role
    for obj in (body, splats):
        # The armature moves the avatar; the splats follow the body, not their own object.
        for lock in _LOCK:
            setattr(obj, lock, (True, True, True))
    armature[PACKAGE] = str(folder.resolve())
    armature[BODY_MODEL] = str(avatar.body_model.get("name", ""))
    for owner in (collection, armature):
        _note_origin(owner, avatar)

    photo_camera = None
    if camera and avatar.camera is not None:
        photo_camera = add_photo_camera(avatar.camera, f"{name} Camera", collection)
        photo_camera.location += place
        photo_camera[ROLE] = "camera"

    # The view layer has to know the new objects before its own list holds them.
    context.view_layer.update()
    for obj in context.view_layer.objects:
        obj.select_set(obj in (armature, body, splats))
    context.view_layer.objects.active = armature
    return ImportedAvatar(collection, splats, body, armature, photo_camera)


def _note_origin(owner: bpy.types.ID, avatar: Avatar) -> None:
    """Who made this and under which licences, so that the file itself says so."""
    generator = avatar.generator
    owner["humansplat_generator"] = " ".join(
        str(generator[key]) for key in ("name", "version", "preset") if key in generator
    )
    parts = [avatar.body_model, *generator.get("weights", ())]
    owner["humansplat_licences"] = "; ".join(
        f"{part.get('name', 'unknown')}: {part.get('licence', 'unknown')}" for part in parts
    )
    owner["humansplat_source"] = str(avatar.source.get("name", ""))


def _display_name(folder: Path) -> str:
    # Object names hold 63 bytes, and ours get a suffix.
    name = folder.resolve().name or "Avatar"
    return name.encode()[:40].decode(errors="ignore")


def unique_name(name: str) -> str:
    """The name, with a number where a collection or object of an avatar already has it."""
    taken = {block.name for blocks in (bpy.data.collections, bpy.data.objects, bpy.data.armatures) for block in blocks}
    number, found = 1, name
    while not taken.isdisjoint((found, f"{found} Body", f"{found} Splats")):
        number += 1
        found = f"{name}-{number}"
    return found


@contextmanager
def rollback() -> Iterator[None]:
    """Remove every data-block that was made inside, if it fails."""
    before = {block.as_pointer() for blocks in _tables() for block in blocks}
    try:
        yield
    except BaseException:
        _leave_mode()  # what is made in Edit Mode cannot be removed there
        bpy.data.batch_remove([block for blocks in _tables() for block in blocks if block.as_pointer() not in before])
        raise


@contextmanager
def selection_kept(context: bpy.types.Context) -> Iterator[None]:
    """Put the mode, the active object and the selection back as they were, if what is done inside fails."""
    layer = context.view_layer
    active, mode = layer.objects.active, getattr(context.object, "mode", "OBJECT")
    selected = [obj for obj in layer.objects if obj.select_get()]
    try:
        yield
    except BaseException:
        _leave_mode()
        for obj in layer.objects:
            obj.select_set(obj in selected)
        layer.objects.active = active
        if active is not None and mode != "OBJECT":
            with suppress(RuntimeError):  # an object that the failure has hidden has no modes
                bpy.ops.object.mode_set(mode=mode)
        raise


def _leave_mode() -> None:
    if bpy.context.mode != "OBJECT" and bpy.context.object is not None:
        with suppress(RuntimeError):
            bpy.ops.object.mode_set(mode="OBJECT")


def _tables() -> list[Callable]:
    data = bpy.data
    return [
        data.collections,
        data.objects,
        data.armatures,
        data.meshes,
        data.pointclouds,
        data.cameras,
        data.materials,
        data.node_groups,
    ]
