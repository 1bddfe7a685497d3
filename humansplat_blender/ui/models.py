"""Large models of others for the other sides: their state, licences, download and removal, as the panel shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..jobs import ModelsJob
from ..models import MODELS, ModelState, card_note, folder_fault, size_text
from . import runtime
from .layout import wrapped

_HIDDEN = {"options": {"HIDDEN", "SKIP_SAVE"}}
_ITEMS = tuple((name, title, "") for name, title in MODELS.items())
_OFFLINE = "Downloads need online access: allow it in Preferences, System, Network, Allow Online Access"
_DIALOG_WIDTH = 460


def known_state(name: str) -> ModelState | None:
    """What the backend has said of a model; None where it has not been asked yet."""
    models = runtime.manager().models
    return models.states.get(name) if models is not None else None


def require_usable(name: str) -> None:
    """Refuse a model of which it is known that it cannot be used; what is not known, the backend finds out.

    Raises:
        RuntimeError: the text is a sentence.
    """
    state = known_state(name)
    if state is not None and not state.usable:
        raise RuntimeError(f"{state.sentence} See the panel Other Sides, or choose other sides there.")


def look_for_models() -> None:
    """Ask the backend about the models, unless it is busy or not installed."""
    spec = runtime.backend_spec()
    if spec is not None and not runtime.manager().busy:
        runtime.manager().start_models(ModelsJob("models_list", {}, "Looking for models"), spec)
        runtime.ensure_pumped()


class _ModelOperator:
    """Base of the operators of one model."""

    model: bpy.props.EnumProperty(items=_ITEMS, name="Model", **_HIDDEN)

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs a backend and no other job."""
        return runtime.ready(cls)

    def _state(self) -> ModelState | None:
        """What is known of the model; asked for without a window, where nobody has done so yet."""
        if known_state(self.model) is None and bpy.app.background:
            look_for_models()
            runtime.wait()
        state = known_state(self.model)
        if state is None:
            self.report({"ERROR"}, f"It is not known yet what {MODELS[self.model]} is: press Look for Models")
        return state

    def _start(self, method: str, parameters: dict[str, Any], step: str, message: str) -> set[str]:
        from .operators import pump

        spec = runtime.backend_spec()
        assert spec is not None
        job = ModelsJob(method, {"name": self.model} | parameters, step, message)
        runtime.manager().start_models(job, spec)
        return pump(self)


class HUMANSPLAT_OT_look_for_models(_ModelOperator, bpy.types.Operator):
    """See which large models are installed"""

    bl_idname = "humansplat.look_for_models"
    bl_label = "Look for Models"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask the backend; without a window, also wait for it."""
        from .operators import pump

        look_for_models()
        return pump(self)


class _LicenceDialog(_ModelOperator):
    """Base of the operators that accept licences: a dialog names them first."""

    _confirm = ""

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Show the licences first."""
        if self._state() is None:
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(self, width=_DIALOG_WIDTH, confirm_text=self._confirm)

    def draw(self, _context: bpy.types.Context) -> None:
        """The dialog: licences, then what the operator adds."""
        state = known_state(self.model)
        if state is None:
            return
        width = _DIALOG_WIDTH * bpy.context.preferences.system.ui_scale
        wrapped(self.layout, f"{state.about} You accept:", width)
        draw_licences(self.layout, state, width)
        if state.gated:
            text = "The hub wants an account for some of the files; the environment variable HF_TOKEN holds its token."
            wrapped(self.layout, text, width, icon="INFO")
        self._draw_more(state, width)

    def _draw_more(self, state: ModelState, width: float) -> None:
        pass


class HUMANSPLAT_OT_download_model(_LicenceDialog, bpy.types.Operator):
    """Accept the licences and download the model, or go on with its download; Blender stays usable meanwhile"""

    bl_idname = "humansplat.download_model"
    bl_label = "Accept and Download..."

    _confirm = "Accept and Download"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs online access, a backend and no other job."""
        if not super().poll(context):
            return False
        if not bpy.app.online_access:
            cls.poll_message_set(_OFFLINE)
            return False
        return True

    def _draw_more(self, state: ModelState, width: float) -> None:
        models = runtime.manager().models
        assert models is not None
        needed = max(state.size - (0 if state.installed else state.on_disk), 0)
        text = f"About {size_text(needed)} are downloaded to {models.folder}, where {size_text(models.free)} are free."
        wrapped(self.layout, text, width, icon="DISK_DRIVE", alert=needed > models.free)
        note = card_note(state, runtime.manager().backend_info)
        if note:
            wrapped(self.layout, note, width, icon="ERROR", alert=True)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the download; without a window, also wait for it."""
        state = self._state()
        if state is None:
            return {"CANCELLED"}
        parameters = {
            "licences": [licence.key for licence in state.licences],
            "online": bool(bpy.app.online_access),
        }
        message = f"{state.title} is installed."
        return self._start("models_download", parameters, f"Downloading {state.title}", message)


class HUMANSPLAT_OT_accept_model(_LicenceDialog, bpy.types.Operator):
    """Accept the licences of a model whose files are there already"""

    bl_idname = "humansplat.accept_model"
    bl_label = "Accept Licence..."

    _confirm = "Accept"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Have it recorded."""
        state = self._state()
        if state is None:
            return {"CANCELLED"}
        keys = [licence.key for licence in state.licences]
        message = f"The licence of {state.title} is accepted."
        return self._start("models_accept", {"licences": keys}, "Accepting", message)


class HUMANSPLAT_OT_use_model_folder(_ModelOperator, bpy.types.Operator):
    """Use a model that you have downloaded by hand; every file is checked"""

    bl_idname = "humansplat.use_model_folder"
    bl_label = "Use Local Folder..."

    directory: bpy.props.StringProperty(subtype="DIR_PATH", **_HIDDEN)
    filter_folder: bpy.props.BoolProperty(default=True, **_HIDDEN)
    copy: bpy.props.BoolProperty(
        name="Copy the Files",
        description="Copy them into the folder for models. Off: they are used where they are, and must stay there",
        default=False,
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Have the folder checked and recorded; without a window, also wait for it."""
        folder = Path(bpy.path.abspath(self.directory)).absolute()
        fault = folder_fault(folder) if self.directory else "Choose a folder."
        if fault:
            self.report({"ERROR"}, fault)
            return {"CANCELLED"}
        title = MODELS[self.model]
        parameters = {"folder": str(folder), "copy": self.copy}
        return self._start("models_import", parameters, f"Checking {title}", f"{title} is installed.")


class HUMANSPLAT_OT_remove_model(_ModelOperator, bpy.types.Operator):
    """Delete the model's files, also those of a download that was broken off. A folder of yours that is used where it
    is stays"""

    bl_idname = "humansplat.remove_model"
    bl_label = "Remove"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Have them deleted; without a window, also wait for it."""
        return self._start("models_remove", {}, "Removing", f"{MODELS[self.model]} is removed.")


def draw_licences(layout: bpy.types.UILayout, state: ModelState, width: float) -> None:
    """Each licence: what it forbids, and a button that opens its text."""
    for licence in state.licences:
        row = layout.row()
        row.operator("wm.url_open", text=f"Show Licence: {licence.key}", icon="URL").url = licence.address
        wrapped(layout, licence.forbids, width)


def draw_model(layout: bpy.types.UILayout, name: str, width: float) -> None:
    """A model's state and what can be done about it."""
    state = known_state(name)
    if state is None:
        layout.operator("humansplat.look_for_models", icon="FILE_REFRESH")
        return
    row = layout.row()
    icon = "CHECKMARK" if state.usable else "ERROR" if state.faults else "INFO"
    wrapped(row, state.sentence, width - 40, icon=icon, alert=bool(state.faults))
    row.operator("humansplat.look_for_models", text="", icon="FILE_REFRESH", emboss=False)
    note = card_note(state, runtime.manager().backend_info)
    if note:
        wrapped(layout, note, width, icon="ERROR", alert=True)
    if not state.usable:
        draw_licences(layout, state, width)
    column = layout.column(align=True)
    if not state.installed or state.faults:
        text = "Accept and Download..." if not state.accepted else "Download..."
        column.operator("humansplat.download_model", text=text, icon="IMPORT").model = name
        if not bpy.app.online_access:
            wrapped(column, f"{_OFFLINE}.", width, icon="INTERNET_OFFLINE")
            column.operator("humansplat.allow_online", icon="PREFERENCES")
    elif not state.accepted:
        column.operator("humansplat.accept_model", icon="CHECKMARK").model = name
    if not state.usable:
        column.operator("humansplat.use_model_folder", icon="FILE_FOLDER").model = name
    if state.on_disk or state.installed:
        text = "Stop Using the Folder" if state.in_place else "Remove"
        column.operator("humansplat.remove_model", text=text, icon="TRASH").model = name


CLASSES = (
    HUMANSPLAT_OT_look_for_models,
    HUMANSPLAT_OT_download_model,
    HUMANSPLAT_OT_accept_model,
    HUMANSPLAT_OT_use_model_folder,
    HUMANSPLAT_OT_remove_model,
)
