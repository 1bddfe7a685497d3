"""The add-on's preferences."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import environment, locations
from . import layout as ui_layout

DEVICES = (
    ("auto", "Automatic", "NVIDIA graphics if there are any, else the processor"),
    ("cpu", "Processor", "Works everywhere"),
    ("cuda", "NVIDIA graphics", "Needs a CUDA build of PyTorch in the backend's environment"),
    ("mps", "Apple graphics", "Macs with Apple silicon"),
)


def _environment_changed(_preferences: object, _context: object) -> None:
    from . import runtime

    runtime.forget_environment()


def _models_folder_changed(_preferences: object, _context: object) -> None:
    from . import runtime

    runtime.manager().models = None  # of another folder


class HumanSplatPreferences(bpy.types.AddonPreferences):
    """Where the backend is, where results go."""

    bl_idname = locations.ADDON_ID

    backend_path: bpy.props.StringProperty(
        name="Environment",
        description="Folder of a Python environment with the backend's packages, or its interpreter. "
        "Empty: the one that Install backend makes",
        subtype="FILE_PATH",
        update=_environment_changed,
    )
    device: bpy.props.EnumProperty(items=DEVICES, name="Device", description="Where the networks run")
    results_path: bpy.props.StringProperty(
        name="Results",
        description="Folder for finished avatars. Empty: the folder HumanSplat in your home folder, which stays when "
        "the extension is removed",
        subtype="DIR_PATH",
    )
    models_path: bpy.props.StringProperty(
        name="Models",
        description="Folder for large models of others. Empty: the one that the environment variable HUMANSPLAT_MODELS "
        "names, or a folder beside the backend's environment",
        subtype="DIR_PATH",
        update=_models_folder_changed,
    )
    setup_scene: bpy.props.BoolProperty(
        name="Set Up the Scene on Import",
        description="Choose the Standard view transform and enough transparent bounces, without which splats look "
        "washed out or dark. The panel says what was changed, and undo takes it back",
        default=True,
    )

    select_whole_avatar: bpy.props.BoolProperty(
        name="Clicks Select the Whole Avatar",
        description="A click on any part of an avatar selects all of its objects and makes the armature active, so "
        "that moving, posing, copying and deleting work on the whole. Off: each object by itself",
        default=True,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        from . import runtime

        manager = runtime.manager()
        layout = self.layout
        layout.use_property_split = True
        width = context.region.width - 60

        box = layout.box()
        box.label(text="Backend", icon="SCRIPTPLUGINS")
        found = runtime.current_environment()
        if found is not None:
            box.label(text=f"{found.source.capitalize()}: {found.python}", icon="CHECKMARK")
        elif self.backend_path:
            box.label(text="There is no Python environment at the path below", icon="ERROR")
        else:
            ui_layout.wrapped(box, ui_layout.INSTALL_NOTE, width, icon="INFO")
        box.prop(self, "backend_path")
        ui_layout.draw_job(box, manager, width, stages=False)
        if not manager.busy:
            row = box.row(align=True)
            row.operator("humansplat.install_backend", icon="IMPORT")
            row.operator("humansplat.test_backend", icon="PLAY")
            row.operator("humansplat.repair_backend", icon="TOOL_SETTINGS")
            row.operator("humansplat.remove_backend", icon="TRASH")
            row = box.row(align=True)
            row.operator("humansplat.open_log", icon="TEXT")
            row.operator("humansplat.stop_backend", icon="CANCEL")
        if manager.failure is not None:
            ui_layout.draw_failure(box, manager.failure, width)
        elif manager.message:
            box.label(text=manager.message, icon="CHECKMARK")
        if found is None and not bpy.app.online_access:
            ui_layout.wrapped(box, ui_layout.OFFLINE_NOTE, width, icon="INTERNET_OFFLINE")

        layout.prop(self, "device")
        layout.prop(self, "results_path")
        layout.prop(self, "models_path")
        layout.prop(self, "setup_scene")
        layout.prop(self, "select_whole_avatar")


def get() -> HumanSplatPreferences:
    """The preferences of the registered add-on."""
    return bpy.context.preferences.addons[locations.ADDON_ID].preferences


def results_folder() -> Path:
    """Folder for finished avatars."""
    chosen = get().results_path
    return Path(bpy.path.abspath(chosen)) if chosen else locations.default_results()


def models_folder() -> Path | None:
    """Folder for large models; None leaves the choice to the backend."""
    chosen = get().models_path
    return Path(bpy.path.abspath(chosen)) if chosen else None


def backend_is_installed() -> bool:
    """True if Install backend has been run with success."""
    return environment.installed_folder(locations.install_roots()) is not None


CLASSES = (HumanSplatPreferences,)
