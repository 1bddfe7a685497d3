"""Which objects belong to an avatar, found by what they are bound to, whatever became of names and parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy

from .nodes.bind import SURFACE
from .nodes.build import get_input
from .splats import BIND_MODIFIER

ROLE = "humansplat_role"
PACKAGE = "humansplat_package"


@dataclass(frozen=True)
class ImportedAvatar:
    """An avatar's collection and its objects; `camera` only where there is one."""

    collection: bpy.types.Collection
    splats: bpy.types.Object
    body: bpy.types.Object
    armature: bpy.types.Object
    camera: bpy.types.Object | None = None

    @property
    def objects(self) -> tuple[bpy.types.Object, ...]:
        """Armature, body and splats: what is moved, copied and deleted together."""
        return (self.armature, self.body, self.splats)


def avatar_armature(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """The armature of the avatar that `obj` belongs to (armature, body or splats), or None."""
    role = None if obj is None else obj.get(ROLE)
    if role == "armature":
        return obj
    if role == "splats":
        obj = _bound_body(obj)
        role = "body" if obj is not None else None
    if role == "body":
        return _bound_armature(obj)
    return None


def find_avatar(obj: bpy.types.Object | None) -> ImportedAvatar | None:
    """The avatar that `obj` belongs to; None where parts of it are gone."""
    armature = avatar_armature(obj)
    if armature is None or not armature.users_collection:
        return None
    body = next((other for other in _candidates(armature, "body") if _bound_armature(other) == armature), None)
    if body is None:
        return None
    splats = next((other for other in _candidates(armature, "splats") if _bound_body(other) == body), None)
    if splats is None:
        return None
    collection = armature.users_collection[0]
    camera = next((other for other in collection.objects if other.get(ROLE) == "camera"), None)
    return ImportedAvatar(collection, splats, body, armature, camera)


def scene_avatars(scene: bpy.types.Scene) -> Iterator[ImportedAvatar]:
    """Every avatar of a scene."""
    for obj in scene.objects:
        if obj.get(ROLE) == "armature":
            avatar = find_avatar(obj)
            if avatar is not None:
                yield avatar


def find_armature(scene: bpy.types.Scene, folder: str | Path) -> bpy.types.Object | None:
    """The armature in `scene` of the avatar that was imported from this package, the latest import first."""
    wanted = Path(folder).resolve()
    for obj in reversed(scene.objects):
        if obj.get(ROLE) == "armature" and Path(obj.get(PACKAGE, "")).resolve() == wanted:
            return obj
    return None


def _candidates(armature: bpy.types.Object, role: str) -> Iterator[bpy.types.Object]:
    """Objects of a role that may belong to an armature, the likely ones first."""
    near = [obj for obj in armature.children if obj.get(ROLE) == role]
    yield from near
    yield from (obj for obj in bpy.data.objects if obj.get(ROLE) == role and obj not in near)


def _bound_body(splats: bpy.types.Object) -> bpy.types.Object | None:
    modifier = splats.modifiers.get(BIND_MODIFIER)
    if modifier is None or modifier.node_group is None:
        return None
    try:
        return get_input(modifier, SURFACE)
    except (KeyError, ValueError):
        return None


def _bound_armature(body: bpy.types.Object) -> bpy.types.Object | None:
    modifier = next((m for m in body.modifiers if m.type == "ARMATURE"), None)
    return None if modifier is None else modifier.object
