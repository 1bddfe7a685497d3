"""Operators on avatars that are in the scene: copy, delete, replace, pose, and what Solid view shows of them."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import scene
from ..scene import shape

_DIRECTORY = {"subtype": "DIR_PATH", "options": {"HIDDEN", "SKIP_SAVE"}}


class OnAvatar:
    """Base of operators on the avatar that the active object belongs to."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar."""
        if scene.find_avatar(context.object) is None:
            cls.poll_message_set("Select an avatar")
            return False
        return True


def to_object_mode(context: bpy.types.Context) -> None:
    """Leave Pose or Edit Mode."""
    if context.mode != "OBJECT" and context.object is not None:
        bpy.ops.object.mode_set(mode="OBJECT")


class HUMANSPLAT_OT_duplicate_avatar(OnAvatar, bpy.types.Operator):
    """Copy the whole avatar, in a collection of its own"""

    bl_idname = "humansplat.duplicate_avatar"
    bl_label = "Duplicate Avatar"

    linked: bpy.props.BoolProperty(name="Linked", description="Share meshes and splats with the original")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it; the copy is selected."""
        avatar = scene.find_avatar(context.object)
        to_object_mode(context)
        copy = scene.duplicate_avatar(context, avatar, self.linked)
        self.report({"INFO"}, f"{copy.armature.name} is a copy of {avatar.armature.name}")
        return {"FINISHED"}


class HUMANSPLAT_OT_delete_avatar(OnAvatar, bpy.types.Operator):
    """Take the whole avatar out of the file; its package on the disk stays"""

    bl_idname = "humansplat.delete_avatar"
    bl_label = "Delete Avatar"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete it."""
        avatar = scene.find_avatar(context.object)
        name = avatar.armature.name
        if any(obj.library is not None for obj in avatar.objects):
            self.report({"ERROR"}, f"{name} is linked from another file: unlink its collection instead")
            return {"CANCELLED"}
        to_object_mode(context)
        scene.delete_avatar(avatar)
        self.report({"INFO"}, f"{name} was deleted")
        return {"FINISHED"}


class HUMANSPLAT_OT_select_whole_avatar(OnAvatar, bpy.types.Operator):
    """Select every object of this avatar, its armature active"""

    bl_idname = "humansplat.select_whole_avatar"
    bl_label = "Select Avatar"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Select it."""
        to_object_mode(context)
        scene.select_avatar(context, scene.find_avatar(context.object))
        return {"FINISHED"}


class HUMANSPLAT_OT_shape_sliders(OnAvatar, bpy.types.Operator):
    """Add sliders that make the person taller or heavier, live; again to take them away"""

    bl_idname = "humansplat.shape_sliders"
    bl_label = "Body Sliders"

    enable: bpy.props.BoolProperty(name="Enable", default=True, options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add or remove them."""
        avatar = scene.find_avatar(context.object)
        to_object_mode(context)
        try:
            if self.enable:
                shape.add_shape_sliders(context, avatar)
            else:
                shape.remove_shape_sliders(context, avatar)
        except (ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


def draw_sliders(layout: bpy.types.UILayout, armature: bpy.types.Object) -> None:
    """The sliders of an avatar, or the button that adds them."""
    column = layout.column(align=True)
    has_sliders = shape.has_shape_sliders(armature)
    if has_sliders:
        for slider in shape.SLIDERS:
            column.prop(armature, f'["{slider.name}"]', slider=True)
    button = column.operator("humansplat.shape_sliders", icon="MOD_LATTICE", depress=has_sliders)
    button.enable = not has_sliders


class HUMANSPLAT_OT_select_avatar(bpy.types.Operator):
    """Select this avatar in the scene"""

    bl_idname = "humansplat.select_avatar"
    bl_label = "Select"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(**_DIRECTORY)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Select its objects and make its armature active."""
        armature = scene.find_armature(context.scene, Path(self.directory))
        avatar = scene.find_avatar(armature)
        if avatar is None or armature.name not in context.view_layer.objects:
            self.report({"WARNING"}, "This avatar is not in the scene: import it first")
            return {"CANCELLED"}
        to_object_mode(context)
        scene.select_avatar(context, avatar)
        return {"FINISHED"}


class HUMANSPLAT_OT_set_pose(bpy.types.Operator):
    """Put the active avatar into a pose; with auto keying on, it is keyed"""

    bl_idname = "humansplat.set_pose"
    bl_label = "Set Pose"
    bl_options = {"REGISTER", "UNDO"}

    pose: bpy.props.EnumProperty(
        items=(
            ("REST", "Rest Pose", "Arms out to the sides, as the splats are stored"),
            ("PHOTO", "Photo Pose", "As in the photo"),
        ),
        name="Pose",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar."""
        if scene.avatar_armature(context.object) is None:
            cls.poll_message_set("Select an avatar")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the pose of every bone."""
        armature = scene.avatar_armature(context.object)
        try:
            if self.pose == "REST":
                scene.rest_pose(armature)
            else:
                scene.photo_pose(armature)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if context.scene.tool_settings.use_keyframe_insert_auto:
            scene.key_pose(armature, context.scene.frame_current)
        return {"FINISHED"}


class HUMANSPLAT_OT_scene_setup(bpy.types.Operator):
    """Set the scene's colours and render settings, and Solid view's colours, so that avatars look like the photo"""

    bl_idname = "humansplat.scene_setup"
    bl_label = "Set Up Scene for Splats"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Change the scene, and this window's views."""
        changes = scene.scene_setup(context.scene) + show_solid_colours(context)
        self.report({"INFO"}, " ".join(changes) or "The scene is set up already")
        return {"FINISHED"}


def show_solid_colours(context: bpy.types.Context) -> list[str]:
    """Have Solid views of the window show colour attributes where they show materials; one sentence if any did."""
    changed = False
    for area in context.screen.areas if context.screen is not None else ():
        if area.type == "VIEW_3D":
            shading = area.spaces.active.shading
            if shading.color_type == "MATERIAL":
                shading.color_type = "VERTEX"
                changed = True
    return ["Solid view's colour: Material to Attribute, so that it shows the avatar's colours."] if changed else []


CLASSES = (
    HUMANSPLAT_OT_duplicate_avatar,
    HUMANSPLAT_OT_delete_avatar,
    HUMANSPLAT_OT_select_whole_avatar,
    HUMANSPLAT_OT_shape_sliders,
    HUMANSPLAT_OT_select_avatar,
    HUMANSPLAT_OT_set_pose,
    HUMANSPLAT_OT_scene_setup,
)
