"""What a new user does with the panel, for ``scripts/try_panel``. Runs inside a Blender with a window.

Every step is a generator that yields seconds to wait or a condition to wait for. A 10 ms timer beats all the while;
the longest gap between two beats is how long Blender stood still.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

WORK = Path("/tmp/try")
MODULE = "bl_ext.user_default.humansplat"
BEAT = 0.01
Wait = float | Callable[[], bool]

report: dict[str, object] = {"blender": bpy.app.version_string}
phase = "start"
last_beat = (time.perf_counter(), time.thread_time())
#: Phase -> longest gap between beats: wall clock; processor time of the main thread; wall clock inside our own code.
gaps: dict[str, list[float]] = {}

# Read when Blender is about to show its splash screen, which is after this file has run.
bpy.context.preferences.view.show_splash = False


def note(kind: int, seconds: float) -> None:
    """Keep the longest."""
    longest = gaps.setdefault(phase, [0.0, 0.0, 0.0])
    longest[kind] = max(longest[kind], seconds)


def beat() -> float:
    """Measure the gap since the last beat."""
    global last_beat
    now = (time.perf_counter(), time.thread_time())
    note(0, now[0] - last_beat[0])
    note(1, now[1] - last_beat[1])
    last_beat = now
    return BEAT


def enter(name: str) -> None:
    """Count stalls under another name from now on."""
    global phase, last_beat
    phase = name
    last_beat = (time.perf_counter(), time.thread_time())


def timed(function: Callable) -> Callable:
    """The same function, its calls measured as ours."""

    def wrapper(*arguments: object) -> object:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            note(2, time.perf_counter() - began)

    return wrapper


def shoot(name: str) -> Callable[[], bool]:
    """Ask for a screenshot; true once it is taken."""
    enter("screenshot")
    (WORK / "screenshot").write_text(name)
    return lambda: not (WORK / "screenshot").exists()


def view() -> dict[str, object]:
    """Context of the 3D view in the first window."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return {"window": window, "area": area, "region": region}


def steps() -> Iterator[Wait]:
    """The whole visit."""
    context = bpy.context
    with context.temp_override(**view()):
        bpy.ops.extensions.package_install_files(
            filepath=str(WORK / "humansplat.zip"), repo="user_default", enable_on_install=True
        )
    assert MODULE in context.preferences.addons
    runtime = sys.modules[f"{MODULE}.humansplat_blender.ui.runtime"]
    manager = runtime.manager()
    runtime._tick = timed(runtime._tick)
    area = view()["area"]
    area.spaces[0].show_region_ui = True
    yield 0.5
    sidebar = next(region for region in area.regions if region.type == "UI")
    sidebar.active_panel_category = "HumanSplat"
    area.tag_redraw()
    yield 1.0
    yield shoot("1_first_look")
    report["install_needs_online_access"] = not bpy.ops.humansplat.install_backend.poll()

    bpy.data.objects.remove(bpy.data.objects["Cube"])
    enter("idle")  # what this machine does without us
    yield 3.0

    enter("install")
    context.preferences.system.use_online_access = True
    with context.temp_override(**view()):
        bpy.ops.humansplat.install_backend("EXEC_DEFAULT")
    yield lambda: manager.overall > 0 or not manager.busy
    yield 1.5
    report["install_said"] = [manager.stage, manager.step]
    yield shoot("2_installing")
    if manager.busy:
        enter("cancel install")
        began = time.monotonic()
        bpy.ops.humansplat.cancel()
        yield lambda: not manager.busy
        report["install_cancel_seconds"] = round(time.monotonic() - began, 2)
    else:  # a system's Blender may run a Python that PyTorch does not know yet
        report["install_refused"] = [manager.failure.kind, manager.failure.message, manager.failure.fix]
        bpy.ops.humansplat.dismiss()
    root = Path(bpy.utils.extension_path_user(MODULE))
    report["install_left_behind"] = [path.name for path in root.iterdir() if path.name != "logs"]
    context.preferences.system.use_online_access = False

    enter("test backend")
    context.preferences.addons[MODULE].preferences.backend_path = os.environ["TRY_BACKEND"]
    bpy.ops.humansplat.test_backend()
    yield lambda: not manager.busy
    assert manager.failure is None, manager.failure
    report["backend"] = manager.message
    bpy.ops.humansplat.open_preferences()
    yield 2.0
    yield shoot("3_preferences")
    windows = context.window_manager.windows
    if len(windows) > 1:
        with context.temp_override(window=windows[-1]):
            bpy.ops.wm.window_close()
    bpy.ops.humansplat.dismiss()

    enter("choose photo")
    with context.temp_override(**view()):
        bpy.ops.humansplat.choose_photo("EXEC_DEFAULT", True, filepath=os.environ["TRY_PHOTO"])
    yield 2.0
    yield shoot("4_photo_chosen")

    enter("reconstruct, then cancel")
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    yield lambda: manager.overall > 0.25 or not manager.busy
    assert manager.busy, manager.failure
    began = time.monotonic()
    bpy.ops.humansplat.cancel()
    yield lambda: not manager.busy
    report["cancel_seconds"] = round(time.monotonic() - began, 2)
    assert manager.failure is None, manager.failure
    assert not list(runtime.results().folder.glob("*"))

    enter("reconstruct")
    before = len(bpy.data.objects)
    seen: set[float] = set()
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    photographed = False
    while manager.busy:
        seen.add(round(manager.overall, 3))
        if manager.state.value == "importing":
            enter("import")
        if not photographed and manager.overall > 0.4 and manager.stage:
            photographed = True
            yield shoot("5_bars")
            enter("reconstruct")
        yield 0.02
    assert manager.failure is None, manager.failure
    report["progress_values_seen"] = len(seen)
    report["message"] = manager.message
    made = len(bpy.data.objects) - before
    report["objects_made"] = made
    yield 1.0
    enter("after import")
    yield 1.0
    with context.temp_override(**view()):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_orbit(angle=0.5, type="ORBITLEFT")
        bpy.ops.view3d.view_selected()
    yield 2.0
    yield shoot("6_imported")

    enter("undo import")
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 1.0
    report["objects_after_one_undo"] = len(bpy.data.objects) - before
    with context.temp_override(**view()):
        bpy.ops.ed.redo()
    yield 1.0
    report["objects_after_redo"] = len(bpy.data.objects) - before

    enter("pose")
    armature = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE")
    name = armature.name
    splats = next(obj for obj in bpy.data.objects if obj.get("humansplat_role") == "splats").name

    def arm() -> tuple[float, ...]:
        return tuple(round(x, 4) for x in bpy.data.objects[name].pose.bones["left_elbow"].head)

    at_rest = arm()
    with context.temp_override(**view()):
        context.view_layer.objects.active = armature
        bpy.ops.object.mode_set(mode="POSE")
        for bone in armature.pose.bones:
            selectable = bone if hasattr(bone, "select") else bone.bone  # moved in Blender 5.0
            selectable.select = bone.name == "left_shoulder"
        bpy.ops.ed.undo_push(message="Select")
        bpy.ops.transform.rotate("EXEC_DEFAULT", True, value=1.0, orient_axis="Y", orient_type="GLOBAL")
    yield 1.0
    posed = arm()
    yield shoot("7_posed")
    enter("undo pose")
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 1.0
    report["arm_moved"] = max(abs(a - b) for a, b in zip(posed, at_rest)) > 0.05
    report["arm_back_after_undo"] = max(abs(a - b) for a, b in zip(arm(), at_rest)) < 1e-3
    with context.temp_override(**view()):
        bpy.ops.ed.redo()
        bpy.ops.object.mode_set(mode="OBJECT")

    enter("rest and photo pose")
    with context.temp_override(**view()):
        bpy.context.view_layer.objects.active = bpy.data.objects[name]
        bpy.ops.humansplat.set_pose("EXEC_DEFAULT", True, pose="REST")
        rest = arm()
        yield 0.5
        bpy.ops.humansplat.set_pose("EXEC_DEFAULT", True, pose="PHOTO")
    yield 0.5
    report["rest_pose_differs"] = rest != arm()
    report["photo_pose_is_back"] = max(abs(a - b) for a, b in zip(arm(), at_rest)) < 1e-3

    enter("error")
    with context.temp_override(**view()):
        bpy.ops.humansplat.reconstruct("EXEC_DEFAULT", filepath=str(WORK / "no_person.png"))
    yield lambda: not manager.busy
    report["error"] = [manager.failure.kind, manager.failure.message, manager.failure.fix]
    yield 0.5
    yield shoot("8_error")
    bpy.ops.humansplat.dismiss()

    enter("job ends in edit mode")
    with context.temp_override(**view()):
        bpy.ops.mesh.primitive_cube_add("EXEC_DEFAULT", True, location=(3.0, 0.0, 0.0))
        bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="EDIT")
    before = len(bpy.data.objects)
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    yield lambda: not manager.busy or manager.step.startswith("Ready")
    yield 0.5
    report["waits_in_edit_mode"] = [manager.state.value, manager.step, len(bpy.data.objects) - before]
    with context.temp_override(**view()):
        bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="OBJECT")
    yield lambda: not manager.busy
    report["imports_after_edit_mode"] = len(bpy.data.objects) - before
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    report["objects_after_undoing_that"] = len(bpy.data.objects) - before
    bpy.context.view_layer.objects.active = bpy.data.objects[name]
    yield 0.5

    enter("import from the list")
    bpy.ops.humansplat.import_avatar("INVOKE_DEFAULT", directory=str(runtime.results().results[-1].folder))
    yield lambda: not manager.busy
    yield 0.2
    report["imported_from_list"] = [manager.state.value, len(bpy.data.objects) - before]
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    report["objects_after_undoing_the_list"] = len(bpy.data.objects) - before
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.context.view_layer.objects.active = bpy.data.objects[name]

    enter("material preview")
    area = view()["area"]
    area.spaces[0].shading.type = "MATERIAL"
    for _ in range(60):  # software OpenGL takes its time over shaders
        area.tag_redraw()
        yield 0.5
    yield shoot("9_material_preview")
    area.spaces[0].shading.type = "SOLID"
    yield 0.5

    enter("save")
    bpy.ops.wm.save_as_mainfile(filepath=str(WORK / "saved.blend"))
    evaluated = bpy.data.objects[splats].evaluated_get(context.evaluated_depsgraph_get())
    report["saved_splats"] = len(bpy.data.objects[splats].data.attributes["scale"].data)
    report["saved_evaluated_type"] = evaluated.type

    enter("other file opened during a job")
    listed = len(runtime.results().results)
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    yield lambda: manager.stage != ""
    bpy.ops.wm.read_homefile(use_empty=True)
    yield lambda: not manager.busy
    report["other_file"] = [manager.state.value, len(bpy.data.objects), len(runtime.results().results) - listed]


def drive() -> None:
    """Run the steps from a timer."""
    plan = steps()
    pending: Wait = 0.0
    due = 0.0

    def tick() -> float | None:
        nonlocal pending, due
        try:
            if callable(pending):
                if not pending():
                    return 0.02
            elif time.monotonic() < due:
                return 0.02
            pending = next(plan)
            due = time.monotonic() + (0.0 if callable(pending) else pending)
            return 0.02
        except StopIteration:
            report["done"] = True
        except BaseException:
            traceback.print_exc()
            report["failed"] = traceback.format_exc()
        report["longest_stall_seconds"] = {
            name: dict(zip(("wall", "main thread", "our code"), (round(value, 3) for value in values)))
            for name, values in gaps.items()
        }
        (WORK / "report_1.json").write_text(json.dumps(report))
        sys.stdout.flush()
        if "failed" in report:
            os._exit(3)
        bpy.ops.wm.quit_blender()
        return None

    # Persistent: undo and opening files must not end the visit.
    bpy.app.timers.register(tick, first_interval=2.0, persistent=True)
    bpy.app.timers.register(beat, persistent=True)


drive()
