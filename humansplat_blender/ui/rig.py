"""Operators of the rig: controls, switching limbs, bone names, twist bones, limits. The work is done in ``scene``."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from ..scene import bone_limits, bone_names, controls, ik_fk, roles, twist_bones
from ..scene.rig_parts import root_bone

_LIMBS = [("ALL", "All Limbs", "Both arms and both legs"), *((name, name, "") for name in controls.LIMBS)]
_PRESETS = [
    (
        name,
        name,
        "Paste Flipped works" if name in bone_names.MIRRORED else "Paste Flipped does not know these names' sides",
    )
    for name in bone_names.PRESETS
]
# Degrees of elbow or knee the wrong way from where on people are told.
_OVERSTRETCH = 1.0


class _RigOperator:
    """What works on the armature of the avatar that is active."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar."""
        if roles.avatar_armature(context.object) is None:
            cls.poll_message_set("Select an avatar first")
            return False
        return True

    def attempt(self, context: bpy.types.Context, work: Callable[[bpy.types.Object], str]) -> set[str]:
        """Do `work` to the armature and report the sentence that it returns, or why it cannot be done."""
        try:
            told = work(roles.avatar_armature(context.object))
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if told:
            self.report({"INFO"}, told)
        return {"FINISHED"}


class HUMANSPLAT_OT_add_controls(_RigOperator, bpy.types.Operator):
    """Add IK for hands and feet, foot roll, look-at and torso controls. The pose stays; IK is off at first"""

    bl_idname = "humansplat.add_controls"
    bl_label = "Add Controls"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add them."""
        return self.attempt(context, lambda armature: controls.add_controls(context, armature) or "")


class HUMANSPLAT_OT_remove_controls(_RigOperator, bpy.types.Operator):
    """Remove the controls. The present pose stays, in the joints' own bones; bake animation of controls first"""

    bl_idname = "humansplat.remove_controls"
    bl_label = "Remove Controls"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove them."""
        return self.attempt(context, lambda armature: controls.remove_controls(context, armature) or "")


class HUMANSPLAT_OT_snap_limb(_RigOperator, bpy.types.Operator):
    """Hand a limb over to its IK controls or to its own bones, without a jump. Keyframes are set with Auto Keying on"""

    bl_idname = "humansplat.snap_limb"
    bl_label = "Switch Limb"

    limb: bpy.props.EnumProperty(items=_LIMBS, name="Limb")
    to: bpy.props.EnumProperty(
        items=[("IK", "IK", "Hand or foot stays where its control is"), ("FK", "FK", "Bones turn with their parents")],
        name="To",
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch one limb or all."""
        return self.attempt(context, lambda armature: self._switch(context, armature))

    def _switch(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        bent = []
        for limb in controls.LIMBS if self.limb == "ALL" else [self.limb]:
            ik_fk.switch_limb(context, armature, limb, self.to == "IK")
            if self.to == "IK" and ik_fk.overstretch(context, armature, limb) > _OVERSTRETCH:
                bent.append(limb)
            if context.scene.tool_settings.use_keyframe_insert_auto:
                ik_fk.key_limb(armature, limb, context.scene.frame_current)
        if bent:
            return f"{', '.join(bent)}: bent the wrong way, and IK will bend it further so; straighten it, switch again"
        return ""


class HUMANSPLAT_OT_rename_bones(_RigOperator, bpy.types.Operator):
    """Name the bones as another rig does; vertex groups, constraints and the actions in use follow. SMPL undoes it"""

    bl_idname = "humansplat.rename_bones"
    bl_label = "Bone Names"

    preset: bpy.props.EnumProperty(items=_PRESETS, name="Names")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Rename."""

        def work(armature: bpy.types.Object) -> str:
            return f"Renamed {bone_names.rename_bones(armature, self.preset)} bones"

        return self.attempt(context, work)


class HUMANSPLAT_OT_twist_bones(_RigOperator, bpy.types.Operator):
    """Let upper arms and forearms turn along their length, so that turned hands do not wring the skin"""

    bl_idname = "humansplat.twist_bones"
    bl_label = "Twist Bones"

    enable: bpy.props.BoolProperty(name="Enable", default=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add or remove them."""

        def work(armature: bpy.types.Object) -> str:
            avatar = roles.find_avatar(armature)
            if avatar is None:
                raise ValueError(f"The body of {armature.name} is gone: import the avatar again.")
            change = twist_bones.add_twist_bones if self.enable else twist_bones.remove_twist_bones
            change(context, armature, avatar.body)
            return ""

        return self.attempt(context, work)


class HUMANSPLAT_OT_bone_limits(_RigOperator, bpy.types.Operator):
    """Keep joints within what people can do"""

    bl_idname = "humansplat.bone_limits"
    bl_label = "Rotation Limits"

    enable: bpy.props.BoolProperty(name="Enable", default=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch them."""
        return self.attempt(context, lambda armature: bone_limits.set_limits(armature, float(self.enable)) or "")


def draw_rig(layout: bpy.types.UILayout, context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """The rig's part of a panel."""
    try:
        root = root_bone(armature)
    except ValueError as error:
        layout.label(text=str(error), icon="ERROR")
        return
    if controls.has_controls(armature):
        column = layout.column(align=True)
        for limb in controls.LIMBS.values():
            row = column.split(factor=0.62, align=True)
            row.prop(root, f'["{limb.switch}"]', text=limb.name, slider=True)
            row = row.row(align=True)
            for to in ("IK", "FK"):
                button = row.operator(HUMANSPLAT_OT_snap_limb.bl_idname, text=to)
                button.limb, button.to = limb.name, to
        column.prop(root, f'["{controls.LOOK_AT_SWITCH}"]', slider=True)
        layout.operator(HUMANSPLAT_OT_remove_controls.bl_idname, icon="X")
    else:
        layout.operator(HUMANSPLAT_OT_add_controls.bl_idname, icon="CON_KINEMATIC")
    row = layout.row(align=True)
    has_twist = twist_bones.has_twist_bones(armature)
    button = row.operator(HUMANSPLAT_OT_twist_bones.bl_idname, depress=has_twist)
    button.enable = not has_twist
    limited = bool(root.get(bone_limits.LIMITS_SWITCH, 0.0))
    button = row.operator(HUMANSPLAT_OT_bone_limits.bl_idname, depress=limited)
    button.enable = not limited
    layout.operator_menu_enum(
        HUMANSPLAT_OT_rename_bones.bl_idname, "preset", text=f"Bone Names: {bone_names.current_preset(armature)}"
    )


CLASSES = (
    HUMANSPLAT_OT_add_controls,
    HUMANSPLAT_OT_remove_controls,
    HUMANSPLAT_OT_snap_limb,
    HUMANSPLAT_OT_rename_bones,
    HUMANSPLAT_OT_twist_bones,
    HUMANSPLAT_OT_bone_limits,
)
