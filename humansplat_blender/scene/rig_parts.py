"""What the parts of the rig share: Edit Mode for a moment, bone collections, and drivers without Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import bpy

from .armature import CONTROL, ROOT_BONE, joint_bones, joint_names

SIDES = ("left", "right")


def bone_of_joint(armature: bpy.types.Object) -> dict[str, bpy.types.PoseBone]:
    """The pose bones by SMPL's joint names, whatever the bones are called."""
    return dict(zip(joint_names(armature), joint_bones(armature)))


def marked_bones(armature: bpy.types.Object) -> dict[str, bpy.types.PoseBone]:
    """Controls, mechanism and twist bones by what they are marked as."""
    bones = armature.pose.bones
    return {bone[CONTROL]: bones[bone.name] for bone in armature.data.bones if CONTROL in bone}


def root_bone(armature: bpy.types.Object) -> bpy.types.PoseBone:
    """The bone that carries all others: `root`, or whatever the pelvis hangs from.

    Raises:
        ValueError: the pelvis hangs from nothing, as in files of older versions.
    """
    found = armature.pose.bones.get(ROOT_BONE)
    if found is None:
        parents = joint_bones(armature)[0].parent_recursive
        found = parents[-1] if parents else None
    if found is None:
        raise ValueError(f"The armature {armature.name} has no root bone: import the avatar again.")
    return found


def check_editable(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Nothing, where bones can be made and deleted.

    Raises:
        ValueError: the armature is linked, shares its bones or is not in the view layer; one sentence.
    """
    if armature.library is not None or not armature.data.is_editable or armature.override_library is not None:
        raise ValueError(f"The bones of {armature.name} are linked from another file: change them there.")
    if armature.data.users > 1:
        raise ValueError(
            f"{armature.name} shares its bones with a linked copy: make them its own first (Object > Relations > Make "
            "Single User > Object & Data)."
        )
    if armature.name not in context.view_layer.objects:
        raise ValueError(f"{armature.name} is not in this view layer: include its collection.")


@contextmanager
def edit_bones(context: bpy.types.Context, armature: bpy.types.Object) -> Iterator[bpy.types.ArmatureEditBones]:
    """The armature's edit bones; afterwards mode, selection and active object are as before.

    Raises:
        ValueError: as :func:`check_editable`.
    """
    layer = context.view_layer
    check_editable(context, armature)
    active, mode = layer.objects.active, armature.mode
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    selected = [obj for obj in layer.objects if obj.select_get()]
    hidden = armature.hide_get(), armature.hide_viewport
    armature.hide_viewport = False
    armature.hide_set(False)
    for obj in selected:  # Edit Mode takes every selected armature along
        obj.select_set(False)
    layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    mirror, armature.data.use_mirror_x = armature.data.use_mirror_x, False
    try:
        yield armature.data.edit_bones
    finally:
        armature.data.use_mirror_x = mirror
        bpy.ops.object.mode_set(mode="OBJECT")
        if mode == "POSE":
            bpy.ops.object.mode_set(mode="POSE")
        armature.hide_viewport = hidden[1]
        armature.hide_set(hidden[0])
        for obj in selected:
            obj.select_set(True)
        if mode != "POSE":
            layer.objects.active = active


def copy_bone(
    bones: bpy.types.ArmatureEditBones, source: bpy.types.EditBone, name: str, parent: bpy.types.EditBone
) -> bpy.types.EditBone:
    """A new edit bone in the place of another, which moves no vertices."""
    bone = bones.new(name)
    bone.head, bone.tail, bone.roll = source.head, source.tail, source.roll
    bone.parent = parent
    bone.use_deform = False
    return bone


def remove_bones(context: bpy.types.Context, armature: bpy.types.Object, names: Iterable[str]) -> None:
    """Delete bones by name."""
    with edit_bones(context, armature) as bones:
        for name in names:
            if name in bones:
                bones.remove(bones[name])


def assign(armature: bpy.types.Object, collection: str, bones: Iterable[bpy.types.Bone]) -> None:
    """Put bones into a bone collection of this name, made where missing, and into no other."""
    collections = armature.data.collections
    target = collections.get(collection) or collections.new(collection)
    for bone in bones:
        for other in list(bone.collections):
            other.unassign(bone)
        target.assign(bone)


def drive(
    owner: bpy.types.bpy_struct,
    path: str,
    variables: Iterable[tuple[str, dict[str, str]]],
    armature: bpy.types.Object,
    factor: float = 1.0,
    index: int = -1,
    offset: float = 0.0,
) -> None:
    """Drive a property with `factor` times the sum of variables, plus `offset`.

    There is no Python in it, so that it works where Blender does not run scripts of files.

    Args:
        owner: pose bone, constraint or shape key.
        path: the property's name.
        variables: of each its type (`SINGLE_PROP`, `TRANSFORMS`) and what to set on its target.
        armature: the object that variables read, which also owns the bones.
        factor, offset: see above.
        index: of array properties.
    """
    curve = owner.driver_add(path, index) if index >= 0 else owner.driver_add(path)
    curve.driver.type = "SUM"
    for kind, settings in variables:
        variable = curve.driver.variables.new()
        variable.type = kind
        target = variable.targets[0]
        target.id = armature
        for name, value in settings.items():
            setattr(target, name, value)
    # The curve maps the sum to the value.
    curve.keyframe_points.clear()
    for modifier in list(curve.modifiers):
        curve.modifiers.remove(modifier)
    generator = curve.modifiers.new("GENERATOR")
    generator.mode = "POLYNOMIAL"
    generator.poly_order = 1
    generator.coefficients = (offset, factor)


def property_of(bone: bpy.types.PoseBone, name: str) -> tuple[str, dict[str, str]]:
    """A variable for :func:`drive`: a custom property of a pose bone."""
    return "SINGLE_PROP", {"data_path": f'{bone.path_from_id()}["{name}"]'}


def twist_of(bone: bpy.types.PoseBone) -> tuple[str, dict[str, str]]:
    """A variable for :func:`drive`: how far a bone is turned about its own length, radians, constraints included.

    The rotation is split into a turn about the bone's rest direction and a swing, which adds nothing.
    """
    return "TRANSFORMS", {
        "bone_target": bone.name,
        "transform_type": "ROT_Y",
        "transform_space": "LOCAL_SPACE",
        "rotation_mode": "SWING_TWIST_Y",
    }


def add_switch(bone: bpy.types.PoseBone, name: str, description: str, value: float = 0.0) -> None:
    """A custom property 0..1 of a pose bone."""
    bone[name] = value
    bone.id_properties_ui(name).update(
        min=0.0, max=1.0, soft_min=0.0, soft_max=1.0, default=0.0, description=description
    )
    bone.property_overridable_library_set(f'["{name}"]', True)
