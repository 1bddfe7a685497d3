"""A copy of an avatar's splats as they are now, which follows nothing."""

from __future__ import annotations

from dataclasses import replace

import bpy

from . import attributes
from .attributes import PointValues
from .bake import readable
from .edits import Edits, crop_box, kept_splats, read_edits, set_crop_box
from .importer import rollback
from .roles import ROLE, ImportedAvatar
from .splats import DISPLAY_MODIFIER, create_splats

FROZEN = "frozen"
"""The role of such a copy; it belongs to no avatar."""

_BINDING = "bind:"  # how the names of the attributes begin that tie splats to a body
_TYPES = ("FLOAT", "INT", "FLOAT_VECTOR", "FLOAT_COLOR", "FLOAT4", "QUATERNION")


def freeze_avatar(context: bpy.types.Context, avatar: ImportedAvatar) -> bpy.types.Object:
    """An object with the splats of the present frame, where they are, drawn as the avatar's are.

    It has no modifier but the display's, no parent and no action, so it stays as it is when the avatar moves or is
    deleted. It lies in the avatar's collection and is selected alone.

    Raises:
        ValueError: the splats are hidden, so that Blender does not evaluate them; one sentence.
    """
    splats, name = avatar.splats, avatar.armature.name
    if not splats.visible_get(view_layer=context.view_layer):
        raise ValueError(f"{splats.name} is hidden in the viewport: show it to freeze it.")
    with readable(splats):
        evaluated = splats.evaluated_get(context.evaluated_depsgraph_get())
        values = _cropped(_point_values(evaluated.data), read_edits(context.evaluated_depsgraph_get(), splats))
        place = evaluated.matrix_world.copy()
    with rollback():
        made = create_splats(values, f"{name} Frozen")
        data = made.data
        bpy.data.objects.remove(made)
        # A copy has the display's inputs, ray visibility and whatever else decides how splats are drawn.
        frozen = splats.copy()
        frozen.name, frozen.data = f"{name} Frozen", data
        for modifier in [modifier for modifier in frozen.modifiers if modifier.name != DISPLAY_MODIFIER]:
            frozen.modifiers.remove(modifier)
        if crop_box(frozen) is not None:  # it follows the avatar, which the copy does not
            set_crop_box(frozen, None)
        frozen.animation_data_clear()
        frozen.parent = None
        for channel in ("lock_location", "lock_rotation", "lock_scale"):
            setattr(frozen, channel, (False, False, False))
        frozen.matrix_world = place
        frozen[ROLE] = FROZEN
        for key, value in avatar.armature.items():
            if key in ("humansplat_generator", "humansplat_licences", "humansplat_source"):
                frozen[key] = value
        avatar.collection.objects.link(frozen)
    for obj in context.view_layer.objects:
        obj.select_set(obj == frozen)
    context.view_layer.objects.active = frozen
    return frozen


def _cropped(values: PointValues, edits: Edits) -> PointValues:
    """The splats that the crop box leaves; what is erased is hidden, and can be restored on the copy."""
    crop = replace(edits, hidden=None, opacity_cut=0.0)
    kept = kept_splats(crop, values["position"][1], values["radiance:base"][1][:, 3])
    return {name: (kind, array[kept]) for name, (kind, array) in values.items()}


def _point_values(data: bpy.types.Mesh | bpy.types.PointCloud) -> PointValues:
    """Every point attribute that says something of the splats themselves, in Blender's axes."""
    return {
        attribute.name: (attribute.data_type, attributes.read_points(data, attribute.name))
        for attribute in data.attributes
        if attribute.domain == "POINT"
        and not attribute.is_internal
        and attribute.data_type in _TYPES
        and not attribute.name.startswith(_BINDING)
    }
