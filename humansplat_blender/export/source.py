"""An avatar of the scene as data again: its package with what was erased, painted and reshaped in Blender."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

from ...backend.avatar import Avatar, load_avatar
from ...backend.avatar.formats.types import ExportError
from ...backend.avatar.package import AvatarFormatError
from ...backend.avatar.skinning import splats_on_surface, standing_translation
from ..scene import convert, edits
from ..scene.armature import unit
from ..scene.roles import PACKAGE, ImportedAvatar
from ..scene.shape import TALLER


def scene_avatar(context: bpy.types.Context, avatar: ImportedAvatar) -> Avatar:
    """The avatar as it is drawn at rest: without erased and cropped splats, painted, graded, with its body sliders.

    Args:
        context: whose depsgraph says where the crop box is.
        avatar: of the scene.

    Raises:
        ExportError: its package is gone, or is another one than it was made of; one sentence.
    """
    folder = Path(bpy.path.abspath(str(avatar.armature.get(PACKAGE, ""))))
    try:
        package = load_avatar(folder)
    except (OSError, AvatarFormatError) as error:
        raise ExportError(
            f"The package of {avatar.armature.name} cannot be read ({error}); bring the folder {folder} back, or "
            "import the avatar from where it is now and export that one"
        ) from error
    made = edits.read_edits(context.evaluated_depsgraph_get(), avatar.splats)
    count = len(package.gaussians)
    known = [array for array in (made.hidden, made.colour) if array is not None]
    if any(len(array) != count for array in known):
        raise ExportError(
            f"The package of {avatar.armature.name} was made anew since it was imported; import it again and repeat "
            "the edits"
        )
    shaped = _resized(_reshaped(package, avatar.body), avatar.armature)
    # The crop box is looked up where the splats stand at rest; the armature's own pose does not count.
    place = convert.to_blender(shaped.gaussians.position + standing_translation(shaped)) * unit(avatar.armature)
    kept = edits.kept_splats(made, place, shaped.gaussians.opacity)
    if not kept.any():
        raise ExportError(f"Every splat of {avatar.armature.name} is erased or cropped; restore some to export it")
    skin = shaped.skin
    columns = {
        name: None if getattr(skin, name) is None else getattr(skin, name)[kept] for name in skin.__dataclass_fields__
    }
    return replace(shaped, gaussians=edits.apply_edits(made, shaped.gaussians, kept), skin=replace(skin, **columns))


def _reshaped(package: Avatar, body: bpy.types.Object) -> Avatar:
    """With the surface where the body's shape keys take it at rest."""
    keys = body.data.shape_keys
    if keys is None:
        return package
    surface = package.body.surface_vertices
    count = len(surface)
    base = _places(keys.reference_key, count)
    moved = np.zeros_like(base)
    for block in keys.key_blocks:
        if block != keys.reference_key and not block.mute and block.value:
            moved += block.value * (_places(block, count) - base)
    if not moved.any():
        return package
    vertices = (surface + convert.from_blender(moved)).astype(np.float32)
    gaussians = splats_on_surface(package, vertices.astype(np.float64))
    return replace(package, gaussians=gaussians, body=replace(package.body, surface_vertices=vertices))


def _places(block: bpy.types.ShapeKey, count: int) -> np.ndarray:
    values = np.empty(len(block.data) * 3, dtype=np.float32)
    block.data.foreach_get("co", values)
    return values.reshape(-1, 3)[:count].astype(np.float64)


def _resized(avatar: Avatar, armature: bpy.types.Object) -> Avatar:
    """With the size that the slider for height gives."""
    factor = 1.0 + float(armature.get(TALLER, 0.0))
    if factor == 1.0:
        return avatar
    body, skin, size = avatar.body, avatar.skin, np.float32(factor)
    return replace(
        avatar,
        gaussians=replace(
            avatar.gaussians, position=avatar.gaussians.position * size, scale=avatar.gaussians.scale * size
        ),
        skin=replace(skin, offset=skin.offset * size),
        body=replace(body, vertices=body.vertices * size, surface_vertices=body.surface_vertices * size),
        rest_joints=avatar.rest_joints * factor,
        translation=avatar.translation * factor,
    )
