"""The button that lets skirts and coats sway, its settings, and their bake."""

from __future__ import annotations

import bpy

from .. import scene
from ..scene import sway
from ..scene.nodes.build import input_property
from .avatar import OnAvatar


class HUMANSPLAT_OT_sway(OnAvatar, bpy.types.Operator):
    """Let skirts, dresses and coats swing while the animation plays; again to have them follow the bones alone"""

    bl_idname = "humansplat.sway"
    bl_label = "Sway"

    enable: bpy.props.BoolProperty(name="Enable", default=True, options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add or remove the modifier."""
        avatar = scene.find_avatar(context.object)
        try:
            if not self.enable:
                sway.remove_sway(avatar)
                return {"FINISHED"}
            room = sway.add_sway(avatar)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"The loosest cloth has {100 * room:.0f} cm to swing in: play from the first frame")
        return {"FINISHED"}


class HUMANSPLAT_OT_bake_sway(OnAvatar, bpy.types.Operator):
    """Keep the swinging of the scene's frames with the file, so that every frame can be jumped to and rendered alone"""

    bl_idname = "humansplat.bake_sway"
    bl_label = "Bake Sway"
    bl_options = {"REGISTER"}

    free: bpy.props.BoolProperty(name="Delete", description="Delete the bake", options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Have Blender bake the simulation, or delete what it has baked."""
        avatar = scene.find_avatar(context.object)
        modifier = sway.sway_modifier(avatar)
        if modifier is None:
            self.report({"ERROR"}, "Nothing sways on this avatar: switch Sway on first")
            return {"CANCELLED"}
        body, bake = avatar.body, modifier.bakes[0]
        name = "geometry_node_bake_delete_single" if self.free else "geometry_node_bake_single"
        operator = getattr(bpy.ops.object, name)
        with context.temp_override(object=body, active_object=body):
            # Before 4.3 Blender keeps bakes in a folder beside the file alone.
            if not operator.poll():
                self.report({"ERROR"}, "Save the file first: the bake is kept in a folder beside it")
                return {"CANCELLED"}
            return operator(session_uid=body.session_uid, modifier_name=modifier.name, bake_id=bake.bake_id)


def draw_sway(layout: bpy.types.UILayout, avatar: scene.ImportedAvatar) -> None:
    """The switch, and what there is to set while it is on."""
    modifier = sway.sway_modifier(avatar)
    column = layout.column(align=True)
    column.operator("humansplat.sway", icon="FORCE_WIND", depress=modifier is not None).enable = modifier is None
    if modifier is None or modifier.node_group is None:
        return
    for name in sway.SETTINGS:
        try:
            owner, path = input_property(modifier, name)
        except KeyError:  # a file of another version
            continue
        column.prop(owner, path, text=name)
    row = column.row(align=True)
    row.operator("humansplat.bake_sway", text="Bake", icon="FILE_CACHE")
    row.operator("humansplat.bake_sway", text="Delete Bake", icon="TRASH").free = True


CLASSES = (HUMANSPLAT_OT_sway, HUMANSPLAT_OT_bake_sway)
