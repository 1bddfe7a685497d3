"""What a new user does with the panel, for ``scripts/try_panel``. Runs inside a Blender with a window.

The first part is done with pointer and keys. Where a step calls an operator or sets a preference from here instead, a
comment says so. The second part tries what a visit may run into, by operators.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
import try_panel_hands as tools
from try_panel_hands import WORK, Steps, view

MODULE = "bl_ext.user_default.humansplat"
PHOTO = Path(os.environ["TRY_PHOTO"])
# Without drawing, Blender cannot look what lies under the pointer in the 3D view, and dies when it closes a window.
DRAWN = "GALLIUM_NOOP" not in os.environ

report: dict[str, object] = {"blender": bpy.app.version_string}
watch = tools.StopWatch()
hands = tools.Hands()
enter = watch.enter

preferences = bpy.context.preferences
# Read when Blender is about to show its splash screen, which is after this file has run.
preferences.view.show_splash = False
# The file browser covers the window instead of opening another: there is no window manager to place that.
preferences.view.filebrowser_display_type = "SCREEN"
preferences.view.render_display_type = "SCREEN"


def shoot(name: str) -> Steps:
    """Take a screenshot."""
    enter("screenshot")
    yield from tools.shoot(name)


def steps() -> Steps:
    """The whole visit."""
    yield from blender_alone()
    yield from first_look()
    yield from set_up_backend()
    yield from choose_photo()
    yield from reconstruct()
    yield from undo_and_redo()
    yield from pose_an_arm()
    yield from display()
    yield from save()
    yield from what_may_happen()


def runtime() -> object:
    """The add-on's module of that name."""
    return sys.modules[f"{MODULE}.humansplat_blender.ui.runtime"]


def manager() -> object:
    """The add-on's job manager."""
    return runtime().manager()


def blender_alone() -> Steps:
    """What Blender's own drawing costs on this machine, with its default cube: no stall can be shorter."""
    x, y = tools.on_screen((0.0, 0.0, 0.0))
    hands.point(x, y)
    enter("Blender alone: idle")
    yield 2.0
    enter("Blender alone: orbit the cube")
    hands.do("mousedown 2")
    for step in range(8):
        hands.point(x + 12 * step, y)
        yield 0.15
    hands.do("mouseup 2")
    yield 0.5
    enter("Blender alone: add and undo a monkey")
    with bpy.context.temp_override(**view()):
        bpy.ops.mesh.primitive_monkey_add("EXEC_DEFAULT", True)
    yield 0.7
    yield from hands.press("ctrl+z")
    yield 0.7
    enter("Blender alone: material preview")
    shading = tools.area_of("VIEW_3D").spaces[0].shading
    shading.type = "MATERIAL"
    yield from watch_shaders()
    shading.type = "SOLID"
    yield 0.5


def watch_shaders() -> Steps:
    """Redraw while shaders are compiled; software OpenGL takes its time over them."""
    for _ in range(30):
        tools.area_of("VIEW_3D").tag_redraw()
        yield 0.5


def first_look() -> Steps:
    """Install the zip, open the sidebar with N, click the panel's tab."""
    enter("install the zip")
    with bpy.context.temp_override(**view()):
        # Dropping a file on the window needs another program to drag it from: the operator is called instead.
        bpy.ops.extensions.package_install_files(
            filepath=str(WORK / "humansplat.zip"), repo="user_default", enable_on_install=True
        )
    assert MODULE in preferences.addons
    runtime()._tick = watch.timed(runtime()._tick)
    yield 0.5
    enter("open the sidebar")
    area = tools.area_of("VIEW_3D")
    hands.point(*tools.on_screen((0.0, 0.0, 0.0)))
    yield 0.3
    yield from hands.press("n")
    yield 0.7
    assert area.spaces[0].show_region_ui
    sidebar = tools.region_of(area, "UI")
    for y in range(sidebar.y + sidebar.height - 30, sidebar.y, -40):
        yield from hands.click(sidebar.x + sidebar.width - 12, y)
        if sidebar.active_panel_category == "HumanSplat":
            break
    assert sidebar.active_panel_category == "HumanSplat", sidebar.active_panel_category
    yield 0.5
    yield from shoot("1_first_look")
    report["install_needs_online_access"] = not bpy.ops.humansplat.install_backend.poll()
    bpy.data.objects.remove(bpy.data.objects["Cube"])


def set_up_backend() -> Steps:
    """Install Backend, cancelled; then an environment that is there already."""
    enter("install backend")
    # The switch is in a window of its own.
    preferences.system.use_online_access = True
    tools.area_of("VIEW_3D").tag_redraw()
    yield 0.5
    place: dict[str, float] = {}
    yield from tools.look_for(hands, "humansplat.install_backend", place)
    yield from hands.click(**place)
    yield 0.7
    yield from shoot("2_install_dialog")
    enter("install backend")
    yield from hands.press("Return")  # the dialog's button
    yield lambda: manager().overall > 0 or not manager().busy
    yield 1.0
    report["install_said"] = [manager().stage, manager().step]
    yield from shoot("3_installing")
    if manager().busy:
        enter("cancel the installation")
        yield from click_cancel("install_cancel_seconds", below=place["y"] + 150)
    else:  # a system's Blender may run a Python that PyTorch does not know yet
        report["install_refused"] = [manager().failure.kind, manager().failure.message, manager().failure.fix]
        bpy.ops.humansplat.dismiss()
    yield 0.3
    enter("Blender alone: go offline")
    root = Path(bpy.utils.extension_path_user(MODULE))
    report["install_left_behind"] = [path.name for path in root.iterdir() if path.name != "logs"]
    preferences.system.use_online_access = False
    yield 0.3

    enter("choose an environment")
    if DRAWN:
        yield from tools.click_button(hands, "humansplat.open_preferences")
        yield 1.5
        yield from shoot("4_preferences")
        # Its window lies over the panel, with nothing to move it by: path and test are set from here.
        windows = bpy.context.window_manager.windows
        if len(windows) > 1:
            with bpy.context.temp_override(window=windows[-1]):
                bpy.ops.wm.window_close()
    enter("test backend")
    preferences.addons[MODULE].preferences.backend_path = os.environ["TRY_BACKEND"]
    bpy.ops.humansplat.test_backend()
    yield lambda: not manager().busy
    assert manager().failure is None, manager().failure
    report["backend"] = manager().message
    bpy.ops.humansplat.dismiss()
    yield 0.5


def click_cancel(name: str, below: float, ready: Callable[[], bool] = lambda: True) -> Steps:
    """Find Cancel and click it; ``report[name]`` is how long the job takes to end from then on.

    The button moves when the text above it takes another line: where the pointer missed it, look again. A glance down
    the panel takes seconds, as a job may: it is found first, and clicked once the job is ``ready`` for it.
    """
    while manager().busy and manager().state.value != "cancelling":
        place: dict[str, float] = {}
        yield from tools.look_for(hands, "humansplat.cancel", place, below=below)
        yield lambda: ready() or not manager().busy
        assert manager().busy, "the job was over before Cancel was found"
        began = time.monotonic()
        yield from hands.click(**place)
    yield lambda: not manager().busy
    report[name] = round(time.monotonic() - began, 2)


def choose_photo() -> Steps:
    """Choose Photo, then the picture in the file browser."""
    enter("choose a photo")
    yield from tools.click_button(hands, "humansplat.choose_photo")
    yield 1.5
    browser = tools.area_of("FILE_BROWSER")
    listing = tools.region_of(browser)
    yield from shoot("5_file_browser")
    enter("choose a photo")
    # The home folder holds this picture alone, in the first row or column.
    for down in range(12, 120, 9):
        yield from hands.click(listing.x + 70, listing.y + listing.height - down)
        if browser.spaces[0].params.filename == PHOTO.name:
            break
    assert browser.spaces[0].params.filename == PHOTO.name, browser.spaces[0].params.filename
    yield from hands.press("Return")
    yield lambda: bpy.context.scene.humansplat.photo is not None
    yield 1.5
    yield from shoot("6_photo_chosen")


def reconstruct() -> Steps:
    """Reconstruct, cancel, and reconstruct again, with the bars moving."""
    enter("reconstruct, then cancel")
    button: dict[str, float] = {}
    yield from tools.look_for(hands, "humansplat.reconstruct", button)
    yield from hands.click(**button)
    assert manager().busy, manager().failure
    yield from click_cancel("cancel_seconds", below=button["y"] + 10, ready=lambda: manager().stage not in {"", "load"})
    assert manager().failure is None, manager().failure
    assert not list(runtime().results().folder.glob("*"))
    yield 0.5

    enter("reconstruct")
    seen: set[float] = set()
    yield from hands.click(**button)
    assert manager().busy, manager().failure
    photographed = False
    while manager().busy:
        seen.add(round(manager().overall, 3))
        if manager().state.value == "importing":
            enter("import")
        if not photographed and manager().overall > 0.4 and manager().stage:
            photographed = True
            yield from shoot("7_bars")
            enter("reconstruct")
        yield 0.02
    assert manager().failure is None, manager().failure
    report["progress_values_seen"] = len(seen)
    report["message"] = manager().message
    report["objects_made"] = len(avatar_objects())
    report["elbow_at_import"] = elbow()
    yield 1.0
    enter("look at the avatar")
    hands.point(*tools.on_screen((0.0, 0.0, 1.0)))
    yield 0.3
    yield from hands.press("KP_1", "KP_Decimal")  # from the front, and close
    yield 1.0
    enter("orbit the avatar")
    x, y = tools.on_screen((0.0, 0.0, 1.0))
    hands.do("mousedown 2")
    for step in range(8):
        hands.point(x + 6 * step, y)
        yield 0.15
    hands.do("mouseup 2")
    yield 0.7
    yield from shoot("8_imported")


def avatar_objects() -> list[bpy.types.Object]:
    """Objects that imports have made."""
    return [obj for obj in bpy.data.objects if obj.get("humansplat_role")]


def undo_and_redo() -> Steps:
    """One Ctrl-Z takes the import back, Shift-Ctrl-Z brings it again."""
    enter("undo the import")
    yield from hands.press("ctrl+z")
    yield 1.0
    report["objects_after_one_undo"] = len(avatar_objects())
    enter("redo the import")
    yield from hands.press("ctrl+shift+z")
    yield 1.0
    report["objects_after_redo"] = len(avatar_objects())


def find_armature() -> bpy.types.Object:
    """The avatar's armature; undo makes it a new object."""
    return next(obj for obj in bpy.data.objects if obj.get("humansplat_role") == "armature")


def elbow() -> tuple[float, ...]:
    """Where the left elbow is."""
    return tuple(round(x, 4) for x in find_armature().pose.bones["left_elbow"].head)


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Largest difference of two places' coordinates."""
    return max(abs(x - y) for x, y in zip(a, b))


def pose_an_arm() -> Steps:
    """Pose mode by Ctrl-Tab, click the upper arm's bone, R, move, click; then Ctrl-Z."""
    enter("pose mode")
    hands.point(*tools.on_screen((0.0, 0.0, 1.0)))
    yield from hands.press("ctrl+Tab")
    yield 0.7
    assert bpy.context.mode == "POSE", bpy.context.mode
    armature = find_armature()
    bone = armature.pose.bones["left_shoulder"]
    enter("select a bone")
    yield from hands.click(*tools.on_screen(armature.matrix_world @ ((bone.head + bone.tail) / 2)))
    if not DRAWN:
        armature.data.bones.active = bone.bone
    assert bpy.context.active_pose_bone.name == "left_shoulder", bpy.context.active_pose_bone
    before = elbow()
    enter("turn the arm")
    x, y = tools.on_screen(armature.matrix_world @ bone.tail)
    hands.point(x, y)
    yield 0.3
    yield from hands.press("r")
    for step in range(12):
        hands.point(x + 4 * step, y + 14 * step)
        yield 0.1
    yield from shoot("9_turning")
    enter("turn the arm")
    hands.do("click 1")
    yield lambda: not bpy.context.window_manager.windows[0].modal_operators
    yield 0.7
    posed = elbow()
    yield from shoot("10_posed")
    enter("undo the pose")
    yield from hands.press("ctrl+z")
    yield 0.7
    report["arm_moved"] = distance(posed, before) > 0.05
    report["arm_back_after_undo"] = distance(elbow(), before) < 1e-3
    enter("redo the pose")
    yield from hands.press("ctrl+shift+z")
    yield 0.7
    report["arm_posed_after_redo"] = distance(elbow(), posed) < 1e-3
    enter("leave pose mode")
    yield from hands.press("ctrl+Tab")
    yield 0.7
    assert bpy.context.mode == "OBJECT", bpy.context.mode


def display() -> Steps:
    """The panel's display settings; the material preview."""
    modifier = next(obj for obj in avatar_objects() if obj["humansplat_role"] == "splats").modifiers.get("Splats")
    bpy.ops.humansplat.dismiss()
    if modifier is not None:
        build = sys.modules[f"{MODULE}.humansplat_blender.scene.nodes.build"]
        nodes = sys.modules[f"{MODULE}.humansplat_blender.scene.nodes.display"]
        report["viewport_amount"] = build.get_input(modifier, nodes.VIEWPORT_AMOUNT)
        enter("viewport amount")
        sidebar = tools.region_of(tools.area_of("VIEW_3D"), "UI")
        hands.point(sidebar.x + 0.7 * sidebar.width, sidebar.y + sidebar.height / 2)
        hands.do(*["click 5"] * 20)  # the wheel, to the end of the panel
        yield 1.5
        slider: dict[str, float] = {}
        name = build.input_identifier(modifier.node_group, nodes.VIEWPORT_AMOUNT)
        yield from tools.look_for(hands, name, slider, across=0.7, below=sidebar.y + 0.5 * sidebar.height)
        yield from hands.press("BackSpace")  # back to the default: all
        yield 0.7
        report["viewport_amount_by_default"] = build.get_input(modifier, nodes.VIEWPORT_AMOUNT)
        yield from shoot("11_display")
        enter("viewport amount")
        build.set_input(modifier, nodes.VIEWPORT_AMOUNT, report["viewport_amount"])
        yield 0.7
    enter("material preview")
    shading = tools.area_of("VIEW_3D").spaces[0].shading
    shading.type = "MATERIAL"
    yield from watch_shaders()
    yield from shoot("12_material_preview")
    if modifier is not None:
        enter("material preview of all splats")
        build.set_input(modifier, nodes.VIEWPORT_AMOUNT, 100.0)
        yield from watch_shaders()
        yield from shoot("12_material_preview_all")
        build.set_input(modifier, nodes.VIEWPORT_AMOUNT, report["viewport_amount"])
    shading.type = "SOLID"
    yield 0.5


def save() -> Steps:
    """Ctrl-S, a name, Enter."""
    enter("save")
    yield from hands.press("ctrl+s")
    yield 1.5
    browser = tools.area_of("FILE_BROWSER")
    # Typing into the name field would need its place: the file keeps the suggested name, in the home folder.
    folder = Path(os.fsdecode(browser.spaces[0].params.directory))
    hands.point(browser.x + browser.width / 2, browser.y + browser.height / 2)
    yield 0.3
    yield from hands.press("Return")
    yield lambda: bool(bpy.data.filepath)
    saved = Path(bpy.data.filepath)
    assert saved.parent == folder, (saved, folder)
    (WORK / "saved.blend").write_bytes(saved.read_bytes())
    splats = next(obj for obj in avatar_objects() if obj["humansplat_role"] == "splats")
    report["saved_splats"] = len(splats.data.attributes["scale"].data)
    yield 0.5


def what_may_happen() -> Steps:
    """Poses, errors, jobs that end at a bad moment: by operators."""
    context = bpy.context
    name = find_armature().name

    enter("rest and photo pose")
    with context.temp_override(**view()):
        bpy.context.view_layer.objects.active = bpy.data.objects[name]
        bpy.ops.humansplat.set_pose("EXEC_DEFAULT", True, pose="REST")
        rest = elbow()
        yield 0.5
        bpy.ops.humansplat.set_pose("EXEC_DEFAULT", True, pose="PHOTO")
    yield 0.5
    report["rest_pose_differs"] = rest != elbow()
    report["photo_pose_is_back"] = distance(elbow(), tuple(report["elbow_at_import"])) < 1e-3

    enter("error")
    with context.temp_override(**view()):
        bpy.ops.humansplat.reconstruct("EXEC_DEFAULT", filepath=str(WORK / "no_person.png"))
    yield lambda: not manager().busy
    report["error"] = [manager().failure.kind, manager().failure.message, manager().failure.fix]
    yield 0.5
    yield from shoot("13_error")
    bpy.ops.humansplat.dismiss()

    enter("job ends in edit mode")
    with context.temp_override(**view()):
        bpy.ops.mesh.primitive_cube_add("EXEC_DEFAULT", True, location=(3.0, 0.0, 0.0))
        bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="EDIT")
    before = len(bpy.data.objects)
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    yield lambda: not manager().busy or manager().step.startswith("Ready")
    yield 0.5
    report["waits_in_edit_mode"] = [manager().state.value, manager().step, len(bpy.data.objects) - before]
    with context.temp_override(**view()):
        bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="OBJECT")
    yield lambda: not manager().busy
    report["imports_after_edit_mode"] = len(bpy.data.objects) - before
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    report["objects_after_undoing_that"] = len(bpy.data.objects) - before
    bpy.context.view_layer.objects.active = bpy.data.objects[name]
    yield 0.5

    enter("import from the list")
    bpy.ops.humansplat.import_avatar("INVOKE_DEFAULT", directory=str(runtime().results().results[-1].folder))
    yield lambda: not manager().busy
    yield 0.2
    report["imported_from_list"] = [manager().state.value, len(bpy.data.objects) - before]
    with context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    report["objects_after_undoing_the_list"] = len(bpy.data.objects) - before
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.context.view_layer.objects.active = bpy.data.objects[name]

    enter("other file opened during a job")
    listed = len(runtime().results().results)
    bpy.ops.humansplat.reconstruct("INVOKE_DEFAULT")
    yield lambda: manager().stage != ""
    bpy.ops.wm.read_homefile(use_empty=True)
    yield lambda: not manager().busy
    report["other_file"] = [manager().state.value, len(bpy.data.objects), len(runtime().results().results) - listed]


def end(failed: str | None) -> None:
    """Write the report and leave."""
    report["done" if failed is None else "failed"] = failed or True
    report["longest_stalls"] = watch.gaps
    report["load"] = os.getloadavg()[0]
    (WORK / "report_1.json").write_text(json.dumps(report))
    sys.stdout.flush()
    os._exit(0 if failed is None else 3)


tools.drive(steps(), end)
