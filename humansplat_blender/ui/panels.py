"""The HumanSplat panel in the 3D view's sidebar."""

from __future__ import annotations

import bpy

from .. import motion, scene
from ..jobs import JobManager
from . import baking, brushes, leaving, repainting, rig, runtime, sides, swaying
from .avatar import draw_sliders
from .layout import INSTALL_NOTE, OFFLINE_NOTE, draw_failure, draw_job, wrapped

_SHOWN_RESULTS = 8


class _SidebarPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "HumanSplat"


class _ArmaturePanel(_SidebarPanel):
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar."""
        return scene.avatar_armature(context.object) is not None


class HUMANSPLAT_PT_main(_SidebarPanel, bpy.types.Panel):
    """Photo, options, progress, errors."""

    bl_label = "HumanSplat"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        manager = runtime.manager()
        width = context.region.width
        settings = context.scene.humansplat
        if runtime.current_environment() is None and not manager.busy:
            self._draw_install(layout, width)
        self._draw_photo(layout, settings)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.enabled = not manager.busy
        for name in ("preset", "body", "lower", "shading", "seed", "person"):
            row = column.row()
            row.active = name not in ("shading", "seed") or settings.preset != "surface"
            row.prop(settings, name)

        if manager.busy:
            draw_job(layout, manager, width)
        else:
            row = layout.row()
            row.scale_y = 1.6
            row.enabled = settings.photo is not None
            row.operator("humansplat.reconstruct", icon="OUTLINER_OB_ARMATURE")
            again = layout.row()
            again.enabled = settings.photo is not None
            again.operator("humansplat.another_back", icon="FILE_REFRESH")
        if manager.failure is not None:
            draw_failure(layout, manager.failure, width)
        elif not manager.busy and (manager.message or manager.warnings):
            self._draw_notes(layout, settings, manager, width)

    @staticmethod
    def _draw_notes(
        layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, manager: JobManager, width: float
    ) -> None:
        """The last message; its notes fold away."""
        row = layout.row()
        count = len(manager.warnings)
        if count:
            icon = "DOWNARROW_HLT" if settings.show_notes else "RIGHTARROW"
            row.prop(settings, "show_notes", text="", icon=icon, emboss=False)
        notes = f" ({count} note{'s' if count > 1 else ''})" if count and not settings.show_notes else ""
        wrapped(row, (manager.message or "Imported") + notes, width - 60, icon="CHECKMARK")
        row.operator("humansplat.dismiss", text="", icon="X", emboss=False)
        if settings.show_notes:
            for warning in manager.warnings:
                wrapped(layout, warning, width, icon="INFO")

    @staticmethod
    def _draw_photo(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
        if settings.photo is None:
            row = layout.row(align=True)
            row.scale_y = 1.6
            row.operator("humansplat.choose_photo", icon="IMAGE_DATA")
            if any(image.type == "IMAGE" for image in bpy.data.images):
                row.prop_search(settings, "photo", bpy.data, "images", text="")
            return
        column = layout.column(align=True)
        column.template_icon(icon_value=runtime.photo_icon(settings.photo) or layout.icon(settings.photo), scale=9.0)
        row = column.row(align=True)
        row.prop(settings, "photo", text="")
        row.operator("humansplat.choose_photo", text="", icon="FILEBROWSER")

    @staticmethod
    def _draw_install(layout: bpy.types.UILayout, width: float) -> None:
        box = layout.box()
        wrapped(box, INSTALL_NOTE, width - 20, icon="INFO")
        if bpy.app.online_access:
            row = box.row()
            row.scale_y = 1.4
            row.operator("humansplat.install_backend", icon="IMPORT")
        else:
            wrapped(box, OFFLINE_NOTE, width - 20, icon="INTERNET_OFFLINE")
            box.operator("humansplat.allow_online", icon="PREFERENCES")
        box.operator("humansplat.open_preferences", text="Use an Existing One", icon="FILE_FOLDER")


class HUMANSPLAT_PT_other_sides(_SidebarPanel, bpy.types.Panel):
    """Where the sides that the photo does not show come from: pictures of them, or a large model."""

    bl_label = "Other Sides"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """How many are chosen, also while the panel is closed."""
        number = sides.used_count(context.scene.humansplat)
        if number:
            self.layout.label(text=str(number))

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the choice, and what belongs to it."""
        sides.draw_sides(self.layout, context.scene.humansplat, context.region.width)


class HUMANSPLAT_PT_results(_SidebarPanel, bpy.types.Panel):
    """Avatars made so far."""

    bl_label = "Avatars"
    bl_parent_id = "HUMANSPLAT_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list; with an avatar selected, each row can take its place."""
        layout = self.layout
        selected = scene.avatar_armature(context.object)
        results = runtime.results().results
        if not results:
            layout.label(text="None yet")
        for result in results[:_SHOWN_RESULTS]:
            directory = str(result.folder)
            row = layout.row(align=True)
            row.label(text=result.name, icon_value=runtime.preview_icon(result))
            for operator, icon in (
                ("humansplat.import_avatar", "IMPORT"),
                ("humansplat.select_avatar", "RESTRICT_SELECT_OFF"),
                ("humansplat.open_folder", "FILE_FOLDER"),
                ("humansplat.forget_result", "X"),
            ):
                row.operator(operator, text="", icon=icon).directory = directory
            if selected is not None:
                replace = row.operator("humansplat.import_avatar", text="", icon="FILE_REFRESH")
                replace.directory, replace.replace = directory, selected.name
        if len(results) > _SHOWN_RESULTS:
            layout.label(text=f"and {len(results) - _SHOWN_RESULTS} older ones in the folder")
        layout.operator("humansplat.import_avatar", text="Import from Folder", icon="FILEBROWSER").directory = ""


class HUMANSPLAT_PT_pose(_SidebarPanel, bpy.types.Panel):
    """Poses of the active avatar."""

    bl_label = "Pose"
    bl_parent_id = "HUMANSPLAT_PT_main"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the buttons."""
        row = self.layout.row(align=True)
        row.operator("humansplat.set_pose", text="Rest Pose", icon="ARMATURE_DATA").pose = "REST"
        row.operator("humansplat.set_pose", text="Photo Pose", icon="POSE_HLT").pose = "PHOTO"


class HUMANSPLAT_PT_motion(_ArmaturePanel, bpy.types.Panel):
    """Motions for the active avatar."""

    bl_label = "Motion"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the library, files, and the scene's other armatures."""
        motion.draw_motion(self.layout, context)


class HUMANSPLAT_PT_rig(_ArmaturePanel, bpy.types.Panel):
    """Controls, limits, twist bones and bone names of the active avatar."""

    bl_label = "Rig"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the buttons."""
        rig.draw_rig(self.layout, context, scene.avatar_armature(context.object))


class HUMANSPLAT_PT_edit(_SidebarPanel, bpy.types.Panel):
    """Brushes and a box that erase and paint splats; nothing is lost."""

    bl_label = "Edit Splats"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar that Blender does not draw itself."""
        avatar = scene.find_avatar(context.object)
        return avatar is not None and scene.display_modifier(avatar.splats) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the tools."""
        brushes.draw_edits(self.layout, context)


class HUMANSPLAT_PT_bake(_SidebarPanel, bpy.types.Panel):
    """Splats of each frame as files, and copies that no longer move."""

    bl_label = "Bake"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar, or a bake that runs."""
        return scene.avatar_armature(context.object) is not None or baking.running_job() is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the buttons and the progress."""
        baking.draw_baking(self.layout, context)


class HUMANSPLAT_PT_export(_ArmaturePanel, bpy.types.Panel):
    """The active avatar for engines, the web and other programs."""

    bl_label = "Export"
    bl_parent_id = "HUMANSPLAT_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings and the button."""
        leaving.draw_export(self.layout, context)


class HUMANSPLAT_PT_display(_SidebarPanel, bpy.types.Panel):
    """How avatars are drawn."""

    bl_label = "Display"
    bl_parent_id = "HUMANSPLAT_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the display modifier's inputs, where Blender does not draw the active avatar's splats itself."""
        avatar = scene.find_avatar(context.object)
        modifier = scene.display_modifier(avatar.splats) if avatar is not None else None
        column = self.layout.column()
        if avatar is not None:
            column.prop(avatar.body, "hide_viewport", text="Show in Solid View", invert_checkbox=True)
        if modifier is not None:
            for name in scene.DISPLAY_INPUTS:
                try:
                    owner, path = scene.display_property(modifier, name)
                except KeyError:  # a file of an older version
                    continue
                column.prop(owner, path, text=name)
        self.layout.operator("humansplat.scene_setup", icon="SCENE_DATA")


class HUMANSPLAT_PT_avatar(_SidebarPanel, bpy.types.Panel):
    """What can be done with the active avatar as a whole."""

    bl_label = "Avatar"
    bl_parent_id = "HUMANSPLAT_PT_main"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar."""
        return scene.find_avatar(context.object) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the buttons."""
        layout = self.layout
        avatar = scene.find_avatar(context.object)
        layout.label(text=avatar.armature.name, icon="OUTLINER_OB_ARMATURE")
        row = layout.row(align=True)
        row.operator("humansplat.duplicate_avatar", text="Duplicate", icon="DUPLICATE")
        row.operator("humansplat.delete_avatar", text="Delete", icon="TRASH")
        layout.operator("humansplat.select_whole_avatar", icon="RESTRICT_SELECT_OFF")
        repainting.draw_repainting(layout, context)
        draw_sliders(layout, avatar.armature)
        swaying.draw_sway(layout, avatar)


CLASSES = (
    HUMANSPLAT_PT_main,
    HUMANSPLAT_PT_other_sides,
    HUMANSPLAT_PT_results,
    HUMANSPLAT_PT_avatar,
    HUMANSPLAT_PT_pose,
    HUMANSPLAT_PT_motion,
    HUMANSPLAT_PT_rig,
    HUMANSPLAT_PT_display,
    HUMANSPLAT_PT_edit,
    HUMANSPLAT_PT_bake,
    HUMANSPLAT_PT_export,
)
