"""From an avatar package to one collection in the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bpy

from ...backend.avatar.package import Avatar, load_avatar
from .armature import create_armature
from .attributes import PointValues
from .body import create_body
from .preview import BodyPaint, paint_body, plan_paint
from .setup import add_photo_camera
from .splats import bind_splats, create_splats, plan_splats

_ROLE = "humansplat_role"
_PACKAGE = "humansplat_package"
_LOCK = ("lock_location", "lock_rotation", "lock_scale")


@dataclass(frozen=True)
class ImportedAvatar:
    """What an import made: the avatar's collection and its objects; `camera` only where it was asked for."""

    collection: bpy.types.Collection
    splats: bpy.types.Object
    body: bpy.types.Object
    armature: bpy.types.Object
    camera: bpy.types.Object | None = None


@dataclass(frozen=True)
class PreparedAvatar:
    """A package read and checked, with the part of the import's work that needs no Blender data."""

    avatar: Avatar
    paint: BodyPaint
    splats: PointValues


def prepare_avatar(folder: str | Path) -> PreparedAvatar:
    """Read a package for :func:`import_avatar`; touches no Blender data, so it may run on any thread.

    Raises:
        AvatarFormatError, OSError: as :func:`import_avatar`.
    """
    avatar = load_avatar(Path(folder))
    return PreparedAvatar(avatar, plan_paint(avatar), plan_splats(avatar))


def import_avatar(
    context: bpy.types.Context,
    folder: str | Path,
    name: str | None = None,
    camera: bool = False,
    prepared: PreparedAvatar | None = None,
) -> ImportedAvatar:
    """Bring an avatar package into the context's scene, in the photo's pose, armature selected and active.

    Blender must be in Object Mode. Names are made unique by Blender where the avatar is imported again. No scene
    setting is changed; see :func:`.setup.scene_setup`. What :func:`prepare_avatar` made of the same folder saves half
    of the time.

    Raises:
        AvatarFormatError (a ValueError): the package is damaged or not one; the message is one sentence.
        OSError: a file cannot be read.
    In either case, and on any other failure, nothing is left behind in the file.
    """
    folder = Path(folder)
    prepared = prepared or prepare_avatar(folder)
    name = name or _display_name(prepared.avatar, folder)
    with _rollback():
        return _build(context, prepared, folder, name, camera)


def avatar_armature(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """The armature of the avatar that `obj` belongs to (armature, body or splats), or None."""
    while obj is not None:
        if obj.get(_ROLE) == "armature":
            return obj
        obj = obj.parent
    return None


def find_armature(scene: bpy.types.Scene, folder: str | Path) -> bpy.types.Object | None:
    """The armature in `scene` of the avatar that was imported from this package, the latest import first."""
    wanted = Path(folder).resolve()
    for obj in reversed(scene.objects):
        if obj.get(_ROLE) == "armature" and Path(obj[_PACKAGE]).resolve() == wanted:
            return obj
    return None


def find_avatar(obj: bpy.types.Object | None) -> ImportedAvatar | None:
    """The avatar that `obj` belongs to, found by its objects' roles; None where parts of it are gone."""
    armature = avatar_armature(obj)
    if armature is None:
        return None
    parts = {child.get(_ROLE): child for child in armature.children}
    if "splats" not in parts or "body" not in parts or not armature.users_collection:
        return None
    return ImportedAvatar(armature.users_collection[0], parts["splats"], parts["body"], armature, parts.get("camera"))


def _build(
    context: bpy.types.Context, prepared: PreparedAvatar, folder: Path, name: str, camera: bool
) -> ImportedAvatar:
    avatar = prepared.avatar
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    armature = create_armature(context, avatar, name, collection)
    body = create_body(avatar, armature, f"{name} Body")
    paint_body(prepared.paint, body.data, f"{name} Solid View")
    collection.objects.link(body)
    splats = create_splats(prepared.splats, f"{name} Splats")
    splats.parent = armature
    collection.objects.link(splats)
    bind_splats(splats, body)

    for role, obj in (("armature", armature), ("body", body), ("splats", splats)):
        obj[_ROLE] = role
    for obj in (body, splats):
        # The armature moves the avatar; the splats follow the body, not their own object.
        for lock in _LOCK:
            setattr(obj, lock, (True, True, True))
    armature[_PACKAGE] = str(folder.resolve())
    for owner in (collection, armature):
        _note_origin(owner, avatar)
    body.hide_render = True
    body.hide_set(True, view_layer=context.view_layer)

    photo_camera = None
    if camera and avatar.camera is not None:
        photo_camera = add_photo_camera(avatar.camera, f"{name} Camera", collection)
        photo_camera[_ROLE] = "camera"

    for obj in context.view_layer.objects:
        obj.select_set(False)
    armature.select_set(True)
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


def _display_name(avatar: Avatar, folder: Path) -> str:
    # Object names hold 63 bytes, and ours get a suffix.
    stem = Path(str(avatar.source.get("name", ""))).stem or folder.name or "Avatar"
    return stem.encode()[:40].decode(errors="ignore")


@contextmanager
def _rollback() -> Iterator[None]:
    """Remove every data-block that was made inside, if it fails."""
    before = {block.as_pointer() for blocks in _tables() for block in blocks}
    try:
        yield
    except BaseException:
        bpy.data.batch_remove([block for blocks in _tables() for block in blocks if block.as_pointer() not in before])
        raise


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
