"""Drawing that the panel and the preferences share."""

from __future__ import annotations

import blf
import bpy

from ..client import Failure
from ..jobs import JobManager, State

INSTALL_NOTE = (
    "The backend (PyTorch and the pose networks) is not installed yet. It is downloaded once: about 0.5 GB (3 GB "
    "with an NVIDIA card), 1.5 GB on the disk (6 GB). It works offline from then on."
)
OFFLINE_NOTE = (
    "Downloading the backend needs online access: allow it in Preferences, System, Network, Allow Online Access."
)
#: Fix buttons by kind of failure: operators that help against it.
_FIXES = {
    "backend_missing": ("humansplat.install_backend", "humansplat.open_preferences"),
    "backend_died": ("humansplat.open_preferences",),
    "protocol_version": ("humansplat.install_backend",),
    "weights_missing": ("humansplat.repair_backend", "humansplat.install_backend"),
    "weights_damaged": ("humansplat.repair_backend", "humansplat.open_preferences"),
    "repair_failed": ("humansplat.install_backend",),
    "device_missing": ("humansplat.open_preferences",),
    "device_failed": ("humansplat.open_preferences",),
    "backend_hung": ("humansplat.open_preferences",),
    "backend_confused": ("humansplat.repair_backend", "humansplat.open_preferences"),
    "install_failed": ("humansplat.install_backend",),
    "install_elsewhere": ("humansplat.install_backend",),
    "remove_failed": ("humansplat.remove_backend",),
    "python_unsupported": ("humansplat.open_preferences",),
    "out_of_memory": ("humansplat.stop_backend", "humansplat.open_preferences"),
    "output_not_writable": ("humansplat.open_preferences",),
    "disk_full": ("humansplat.open_preferences",),
    "models_not_writable": ("humansplat.open_preferences",),
    "model_in_use": ("humansplat.stop_backend",),
    "model_missing": ("humansplat.look_for_models",),
    "licence_missing": ("humansplat.look_for_models",),
    "model_damaged": ("humansplat.look_for_models",),
    "offline": ("humansplat.allow_online",),
}


def wrapped(layout: bpy.types.UILayout, text: str, width: float, icon: str = "NONE", alert: bool = False) -> None:
    """Text over several lines.

    Args:
        layout: where to draw.
        text: what to say.
        width: of the region, pixels.
        icon: of the first line.
        alert: draw it red.
    """
    scale = bpy.context.preferences.system.ui_scale
    room = width - (80 if icon != "NONE" else 50) * scale
    column = layout.column(align=True)
    column.scale_y = 0.8
    column.alert = alert
    for index, line in enumerate(_break_lines(text, room)):
        column.label(text=line, icon=icon if index == 0 else "BLANK1" if icon != "NONE" else "NONE")


def _break_lines(text: str, room: float) -> list[str]:
    """Break at spaces so that every line fits into ``room`` pixels of the interface's font."""
    preferences = bpy.context.preferences
    blf.size(0, preferences.ui_styles[0].widget.points * preferences.system.ui_scale)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and blf.dimensions(0, longer)[0] > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def draw_job(layout: bpy.types.UILayout, manager: JobManager, width: float, stages: bool = True) -> None:
    """Progress of the running job and its Cancel button; nothing while idle."""
    if not manager.busy:
        return
    column = layout.column(align=True)
    cancelling = manager.state is State.CANCELLING
    if manager.state is State.RUNNING and manager.moves_files:
        column.progress(factor=manager.overall, text=f"{manager.overall:.0%}")
        wrapped(column, manager.step, width)  # which says how much and how long
    elif manager.state is State.RUNNING and manager.stage not in {"", "load"}:
        column.progress(factor=manager.overall, text=f"{manager.overall:.0%}   {_time_left(manager)}")
        if stages:
            column.progress(factor=manager.stage_fraction, text=manager.stage.capitalize())
        column.label(text=manager.step)
    elif manager.state is State.INSTALLING:
        column.progress(factor=manager.overall, text=f"{manager.overall:.0%}   {_minutes(manager.seconds)}")
        column.label(text=manager.stage)
        wrapped(column, manager.step[:160], width)
    else:
        column.label(text=f"{manager.step or manager.state.value.capitalize()} ...", icon="SORTTIME")
    row = layout.row()
    row.enabled = not cancelling and manager.state is not State.REMOVING
    row.scale_y = 1.3
    text = "Import Later" if manager.state is State.IMPORTING else "Cancel"
    row.operator("humansplat.cancel", text=text, icon="X")


def _time_left(manager: JobManager) -> str:
    """Seconds passed and, once there is something to go by, those to come."""
    passed = f"{manager.seconds:.0f} s"
    if manager.overall < 0.1 or manager.seconds < 2:
        return passed
    return f"{passed}, about {max(manager.seconds / manager.overall - manager.seconds, 1):.0f} s left"


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"


def draw_failure(layout: bpy.types.UILayout, failure: Failure, width: float) -> None:
    """What went wrong, what to do, and buttons that do it."""
    box = layout.box()
    inside = width - 20 * bpy.context.preferences.system.ui_scale
    wrapped(box, failure.message, inside, icon="ERROR", alert=True)
    if failure.fix:
        wrapped(box, failure.fix, inside, icon="LIGHT")
    column = box.column(align=True)
    for operator in _FIXES.get(failure.kind, ()):
        column.operator(operator)
    row = column.row(align=True)
    row.operator("humansplat.copy_details", icon="COPYDOWN")
    row.operator("humansplat.open_log", icon="TEXT")
    row.operator("humansplat.dismiss", text="", icon="X")
