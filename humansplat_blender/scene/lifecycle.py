"""What artists do with a whole avatar: copy it, delete it, put another in its place, select it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import bpy

from .armature import ROOT_BONE, joint_bones, joint_names
from .bone_look import remove_unused_shapes
from .edits import copy_edits, crop_box, set_crop_box
from .importer import rollback, unique_name
from .nodes.bind import SURFACE
from .nodes.build import get_input, set_input
from .nodes.display import BODY
from .nodes.edit import CROP_BOX
from .roles import ImportedAvatar, find_avatar
from .shape import SLIDERS, add_shape_sliders, has_shape_sliders
from .splats import BIND_MODIFIER
from .sway import SETTINGS as SWAY_SETTINGS
from .sway import add_sway, sway_modifier
from .viewport import DISPLAY_INPUTS, display_modifier


def duplicate_avatar(context: bpy.types.Context, avatar: ImportedAvatar, linked: bool = False) -> ImportedAvatar:
    """A second, independent avatar at the same place, selected; its action is a copy.

    Args:
        context: whose scene receives the copy.
        avatar: the original.
        linked: share meshes with the original, as Blender's Duplicate Linked does; armatures are never shared, because
            their pose bones would be.
    """
    name = unique_name(avatar.armature.name.rstrip("0123456789").rstrip("-.") or avatar.armature.name)
    with rollback():
        collection = bpy.data.collections.new(name)
        parent = _parent_collection(context.scene, avatar.collection)
        parent.children.link(collection)
        for key, value in avatar.collection.items():
            collection[key] = value
        copies = {}
        for obj in (*avatar.objects, *([avatar.camera] if avatar.camera else [])):
            copy = obj.copy()
            if obj.data is not None and not (linked and obj.type != "ARMATURE"):
                copy.data = obj.data.copy()
            collection.objects.link(copy)
            copies[obj] = copy
        for obj, copy in copies.items():
            if obj.parent in copies:
                copy.parent = copies[obj.parent]
                copy.matrix_parent_inverse = obj.matrix_parent_inverse
            if copy.animation_data is not None and copy.animation_data.action is not None:
                _copy_action(copy)
        armature, body, splats = (copies[obj] for obj in avatar.objects)
        for modifier in body.modifiers:
            if modifier.type == "ARMATURE" and modifier.object == avatar.armature:
                modifier.object = armature
        set_input(splats.modifiers[BIND_MODIFIER], SURFACE, body)
        display = display_modifier(splats)
        if display is not None:
            with suppress(KeyError):  # an older group lacks the input
                set_input(display, BODY, body)
        box = _own_crop_box(avatar)
        if box is not None:
            own = box.copy()
            own.parent = armature
            collection.objects.link(own)
            set_crop_box(splats, own)
        for bone in armature.pose.bones:
            for constraint in bone.constraints:
                if getattr(constraint, "target", None) == avatar.armature:
                    constraint.target = armature
        keys = body.data.shape_keys
        # Linked copies share the original's mesh, and so its shape.
        own_keys = [keys] if keys is not None and keys != avatar.body.data.shape_keys else []
        _retarget_drivers(armature, avatar.armature, own_keys)
        _name(armature, body, splats, copies.get(avatar.camera), name)
    copied = find_avatar(armature)
    assert copied is not None
    select_avatar(context, copied)
    return copied


def delete_avatar(avatar: ImportedAvatar) -> None:
    """Remove the avatar's objects, their data and materials that nothing else uses, and the emptied collection."""
    objects = [*avatar.objects, *(obj for obj in (avatar.camera, _own_crop_box(avatar)) if obj is not None)]
    data = [obj.data for obj in objects if obj.data is not None]
    materials = [material for block in data for material in getattr(block, "materials", ()) if material is not None]
    actions = [obj.animation_data.action for obj in objects if obj.animation_data is not None]
    collection = avatar.collection
    bpy.data.batch_remove(objects)
    # Materials have no users only once the meshes are gone.
    for blocks in (data, materials, [action for action in actions if action is not None]):
        bpy.data.batch_remove([block for block in dict.fromkeys(blocks) if block.users == 0])
    remove_unused_shapes()
    if not collection.objects and not collection.children and collection.library is None:
        bpy.data.collections.remove(collection)


def replace_avatar(context: bpy.types.Context, old: ImportedAvatar, new: ImportedAvatar) -> ImportedAvatar:
    """Put `new` in the place of `old`: its name, collection, transform, parent, pose, action and display settings.

    What was erased and painted is taken over if all splats lie where the old ones do. `old` is deleted. What other
    objects and constraints had of the old armature, they have of the new one.
    """
    source, target = old.armature, new.armature
    target.parent, target.parent_type, target.parent_bone = source.parent, source.parent_type, source.parent_bone
    target.matrix_parent_inverse = source.matrix_parent_inverse
    target.rotation_mode = source.rotation_mode
    for channel in ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale"):
        setattr(target, channel, getattr(source, channel))
    _copy_pose(source, target)
    _copy_shape(context, old, new)
    if source.animation_data is not None:
        _copy_animation(source, target)
    _copy_display(old, new)
    _copy_sway(old, new)
    copy_edits(old.splats, new.splats)
    name = source.name
    collection_name = old.collection.name
    for parent in _parents(context.scene, new.collection):
        parent.children.unlink(new.collection)
    for parent in _parents(context.scene, old.collection) or [context.scene.collection]:
        if new.collection.name not in parent.children:
            parent.children.link(new.collection)
    for obj in (set(old.collection.objects) - set(old.objects)) - {old.camera}:
        new.collection.objects.link(obj)
        old.collection.objects.unlink(obj)
    source.user_remap(target)
    for before, after in zip((old.body, old.splats), (new.body, new.splats)):
        before.user_remap(after)
    # The old collection has become a user of the new objects as well.
    for obj in new.objects:
        if obj.name in old.collection.objects:
            old.collection.objects.unlink(obj)
    collection = new.collection
    delete_avatar(ImportedAvatar(old.collection, old.splats, old.body, source, old.camera))
    _name(target, new.body, new.splats, new.camera, name)
    collection.name = collection_name
    select_avatar(context, new)
    return new


def select_avatar(context: bpy.types.Context, avatar: ImportedAvatar) -> None:
    """Select the avatar's objects alone, its armature active."""
    context.view_layer.update()  # new objects are in its list only then
    for obj in context.view_layer.objects:
        obj.select_set(obj in avatar.objects)
    context.view_layer.objects.active = avatar.armature


def _parents(scene: bpy.types.Scene, collection: bpy.types.Collection) -> list[bpy.types.Collection]:
    everything = [scene.collection, *scene.collection.children_recursive]
    return [parent for parent in everything if collection.name in parent.children]


def _parent_collection(scene: bpy.types.Scene, collection: bpy.types.Collection) -> bpy.types.Collection:
    return next(iter(_parents(scene, collection)), scene.collection)


def _name(
    armature: bpy.types.Object,
    body: bpy.types.Object,
    splats: bpy.types.Object,
    camera: bpy.types.Object | None,
    name: str,
) -> None:
    """The names that an import gives."""
    if armature.users_collection:
        armature.users_collection[0].name = name
    for obj, suffix in ((armature, ""), (body, " Body"), (splats, " Splats"), (camera, " Camera")):
        if obj is not None:
            obj.name = name + suffix
            if obj.data.users == 1 or obj.type == "ARMATURE":
                obj.data.name = name + suffix


def _copy_action(obj: bpy.types.Object) -> None:
    data = obj.animation_data
    slot = getattr(data, "action_slot", None)
    identifier = slot.identifier if slot is not None else None
    data.action = data.action.copy()
    if identifier is not None:
        data.action_slot = data.action.slots.get(identifier) or data.action.slots[0]


def _copy_animation(source: bpy.types.Object, target: bpy.types.Object) -> None:
    """The action and the NLA tracks of `source`, for `target`; the action itself is shared, not copied."""
    before = source.animation_data
    data = target.animation_data or target.animation_data_create()
    data.action = before.action
    if before.action is not None and getattr(before, "action_slot", None) is not None:
        data.action_slot = before.action_slot
    for track in before.nla_tracks:
        made = data.nla_tracks.new()
        made.name, made.mute = track.name, track.mute
        for strip in track.strips:
            if strip.action is not None:
                copy = made.strips.new(strip.name, int(strip.frame_start), strip.action)
                copy.frame_end, copy.repeat, copy.scale = strip.frame_end, strip.repeat, strip.scale
                copy.extrapolation, copy.blend_type = strip.extrapolation, strip.blend_type


def _copy_pose(source: bpy.types.Object, target: bpy.types.Object) -> None:
    """Channels of every joint's bone and of bones that both have; bones get the names they had."""
    if joint_names(source) != joint_names(target):
        return
    pairs = list(zip(joint_bones(source), joint_bones(target)))
    for before, after in pairs:
        if before.name != after.name:
            after.bone.name = before.name
    known = {after.name for _, after in pairs}
    pairs += [
        (bone, target.pose.bones[bone.name])
        for bone in source.pose.bones
        if bone.name in target.pose.bones and bone.name not in known
    ]
    for before, after in pairs:
        after.rotation_mode = before.rotation_mode
        for channel in ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale"):
            setattr(after, channel, getattr(before, channel))
    target.update_tag()


def _copy_display(old: ImportedAvatar, new: ImportedAvatar) -> None:
    before, after = display_modifier(old.splats), display_modifier(new.splats)
    if before is not None and after is not None:
        for name in (*DISPLAY_INPUTS, CROP_BOX):
            try:
                set_input(after, name, get_input(before, name))
            except KeyError:  # an older group lacks the input
                continue
    for channel in ("hide_render", "hide_viewport", "visible_shadow"):
        setattr(new.splats, channel, getattr(old.splats, channel))


def _copy_sway(old: ImportedAvatar, new: ImportedAvatar) -> None:
    """Whether and how cloth swings, where the new clothes can."""
    before = sway_modifier(old)
    if before is None:
        return
    with suppress(ValueError):  # close clothes in place of loose ones
        add_sway(new)
        for name in SWAY_SETTINGS:
            set_input(sway_modifier(new), name, get_input(before, name))


def _own_crop_box(avatar: ImportedAvatar) -> bpy.types.Object | None:
    """The box that crops the avatar, if it moves with it."""
    box = crop_box(avatar.splats)
    return box if box is not None and box.parent == avatar.armature else None


def _copy_shape(context: bpy.types.Context, old: ImportedAvatar, new: ImportedAvatar) -> None:
    """Shape sliders and their values, where the new body can have them."""
    if not has_shape_sliders(old.armature):
        return
    try:
        add_shape_sliders(context, new)
    except ValueError:
        new.armature.pose.bones[ROOT_BONE].scale = (1.0, 1.0, 1.0)
        return
    for slider in SLIDERS:
        new.armature[slider.name] = old.armature[slider.name]
    new.armature.update_tag()


def _retarget_drivers(
    armature: bpy.types.Object, original: bpy.types.Object, shape_keys: Iterable[bpy.types.Key] = ()
) -> None:
    """Drivers of a copy read from the copy, not from the original."""
    for owner in (armature, armature.data, *shape_keys):
        for curve in owner.animation_data.drivers if owner.animation_data else ():
            for variable in curve.driver.variables:
                for target in variable.targets:
                    if target.id == original:
                        target.id = armature
                    elif target.id == original.data:
                        target.id = armature.data
