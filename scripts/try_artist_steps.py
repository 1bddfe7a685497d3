"""What an artist does with an avatar, for ``scripts/try_panel --artist``. Runs inside a Blender with a window.

Clicks and keys are real; what needs a menu or a dialog is called as its operator, and a comment says so where that is
not plain. Each step puts what it found under its name into the report.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).parent))
import try_panel_hands as tools
from try_panel_hands import WORK, Steps, shoot, view

MODULE = "bl_ext.user_default.humansplat"
PACKAGE = Path(os.environ["TRY_PACKAGE"])
MOTION = Path(os.environ["TRY_MOTION"])
PHOTO = Path(os.environ["TRY_PHOTO"])
PLACE = Vector((0.6, 0.4, 0.0))

report: dict[str, object] = {"blender": bpy.app.version_string}
hands = tools.Hands()
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.render_display_type = "SCREEN"
bpy.context.preferences.view.filebrowser_display_type = "SCREEN"


def steps() -> Steps:
    """The whole visit."""
    yield from arrive()
    yield from pick_up()
    yield from copies()
    yield from motion()
    yield from controls()
    yield from sliders()
    yield from lamps()
    yield from render_by_hand()
    yield from bake()
    yield from exporters()
    yield from tidy_up()
    yield from save()


def part(name: str) -> Any:
    """A module of the add-on."""
    return sys.modules[f"{MODULE}.humansplat_blender.{name}"]


def avatars() -> list[Any]:
    """Every avatar of the scene."""
    return list(part("scene").scene_avatars(bpy.context.scene))


def operate(operator: Any, **options: Any) -> set[str]:
    """Call an operator as its button in the 3D view does."""
    with bpy.context.temp_override(**view()):
        return operator("EXEC_DEFAULT", True, **options)


def places(avatar: Any) -> np.ndarray:
    """Where the splats are now [N, 3], in the world: x to the right, y away, z up."""
    x, up, towards = part("scene").read_splats(bpy.context, avatar.splats, world=True).position.T
    return np.column_stack([x, -towards, up])


def shade(kind: str, seconds: float) -> Steps:
    """Change the view's shading; software OpenGL takes its time over shaders."""
    tools.area_of("VIEW_3D").spaces[0].shading.type = kind
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tools.area_of("VIEW_3D").tag_redraw()
        yield 0.3


def middle() -> tuple[float, float]:
    """The first avatar's chest in the window."""
    bone = avatars()[0].armature.pose.bones["spine3"]
    return tools.on_screen(avatars()[0].armature.matrix_world @ bone.head)


def arrive() -> Steps:
    """A photo dropped on the sidebar, a package on the view: it comes to the cursor, its soles on the floor."""
    with bpy.context.temp_override(**view()):
        bpy.ops.extensions.package_install_files(
            filepath=str(WORK / "humansplat.zip"), repo="user_default", enable_on_install=True
        )
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    bpy.context.scene.cursor.location = PLACE
    area = tools.area_of("VIEW_3D")
    area.spaces[0].show_region_ui = True
    yield 0.5
    sidebar = tools.region_of(area, "UI")
    sidebar.active_panel_category = "HumanSplat"
    yield from hands.drop(PHOTO, sidebar.x + 0.4 * sidebar.width, sidebar.y + 0.5 * sidebar.height)
    yield from hands.press("Return")  # of Blender's menu: a reference image, or the photo
    yield 1.5
    yield from shoot("a0_photo_dropped")
    photo = bpy.context.scene.humansplat.photo
    report["dropped photo"] = None if photo is None else photo.name
    yield from hands.drop(PACKAGE / "avatar.json", *tools.on_screen(PLACE))
    yield lambda: bool(avatars()) and not part("ui.runtime").manager().busy
    yield 1.0
    (avatar,) = avatars()
    found = places(avatar)
    report["arrival"] = {
        "at the cursor": (avatar.armature.location - PLACE).length < 1e-5,
        "lowest splat, metres": round(float(np.quantile(found[:, 2], 0.001)), 3),
        "names": [avatar.collection.name, avatar.armature.name],
    }
    hands.point(*tools.on_screen(PLACE + Vector((0, 0, 1.0))))
    yield 0.3
    yield from hands.press("KP_1", "KP_Decimal")  # from the front, and close
    yield 1.0
    yield from shoot("a1_solid")
    yield from shade("MATERIAL", 12)
    yield from shoot("a2_material")
    yield from shade("SOLID", 1)


def pick_up() -> Steps:
    """Click the person, Ctrl-Tab, G, undo."""
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = None
    yield 0.3
    yield from hands.click(*middle())
    yield 0.7
    avatar = avatars()[0]
    report["click"] = {
        "active": bpy.context.view_layer.objects.active.name,
        "selected": sorted(obj.name for obj in bpy.context.selected_objects),
    }
    yield from hands.press("ctrl+Tab")
    yield 0.7
    report["click"]["Ctrl-Tab"] = bpy.context.mode
    yield from shoot("a3_pose_mode")
    yield from hands.press("ctrl+Tab")
    yield 0.7
    before = places(avatar).mean(0)
    yield from hands.transform("g", *middle(), right=125)
    report["G"] = {"splats moved, metres": round(float(np.linalg.norm(places(avatars()[0]).mean(0) - before)), 2)}
    yield from hands.press("ctrl+z")
    yield 1.0
    back = float(np.linalg.norm(places(avatars()[0]).mean(0) - before))
    report["G"]["after Ctrl-Z"] = round(back, 4)


def alive(avatar: Any) -> bool:
    """Whether the avatar's splats, and no other's, follow its bones."""
    others = [other for other in avatars() if other.armature != avatar.armature]
    before = places(avatar), [places(other) for other in others]
    bone = avatar.armature.pose.bones["left_shoulder"]
    turn = bone.rotation_quaternion.copy()
    bone.rotation_quaternion = (0.9, 0.0, 0.0, 0.436)
    bpy.context.view_layer.update()
    moved = np.abs(places(avatar) - before[0]).max() > 0.1
    still = all(np.abs(places(other) - was).max() < 1e-6 for other, was in zip(others, before[1]))
    bone.rotation_quaternion = turn
    bpy.context.view_layer.update()
    return bool(moved and still and part("scene").display_modifier(avatar.splats) is not None)


def copies() -> Steps:
    """Shift-D, Alt-D, Ctrl-C and Ctrl-V, the outliner's duplicate, Duplicate; Delete and Delete Avatar."""
    found: dict[str, Any] = {}
    report["copies"] = found
    groups, materials = len(bpy.data.node_groups), len(bpy.data.materials)

    def newest() -> Any:
        return next(avatar for avatar in avatars() if avatar.armature.name not in known)

    for name, keys in (("Shift-D", "shift+d"), ("Alt-D", "alt+d")):
        known = {avatar.armature.name for avatar in avatars()}
        part("scene").select_avatar(bpy.context, avatars()[0])
        yield 0.3
        yield from hands.transform(keys, *middle(), right=150)
        found[name] = {"avatars": len(avatars()) - len(known), "alive": alive(newest())}
        if name == "Shift-D":
            part("scene").select_avatar(bpy.context, newest())
            yield from shade("MATERIAL", 8)
            yield from shoot("a4_shift_d")
            yield from shade("SOLID", 1)
        yield from hands.press("ctrl+z")
        yield 1.5
        found[name]["after undo"] = len(avatars())

    known = {avatar.armature.name for avatar in avatars()}
    part("scene").select_avatar(bpy.context, avatars()[0])
    hands.point(*middle())
    yield 0.3
    yield from hands.press("ctrl+c")
    yield 2.0
    yield from hands.press("ctrl+v")
    yield 3.0
    found["Ctrl-V"] = {
        "avatars": len(avatars()) - len(known),
        "alive": alive(newest()),
        "node groups": len(bpy.data.node_groups) - groups,
        "materials but Solid View's": sum("Solid View" not in m.name for m in bpy.data.materials)
        - sum("Solid View" not in m.name for m in list(bpy.data.materials)[:materials]),
    }
    # Delete by the key, with its question where there is one.
    part("scene").select_avatar(bpy.context, newest())
    hands.point(*middle())
    yield 0.3
    yield from hands.press("Delete")
    yield 1.0
    roles = sorted(obj["humansplat_role"] for obj in bpy.context.scene.objects if "humansplat_role" in obj)
    found["Delete"] = {"avatars": len(avatars()), "parts left": roles}

    known = {avatar.armature.name for avatar in avatars()}
    outliner = tools.area_of("OUTLINER")
    collection = avatars()[0].collection
    layer = next(c for c in bpy.context.view_layer.layer_collection.children if c.collection == collection)
    rows = tools.region_of(outliner)
    for row in range(6):  # until the click is on the avatar's
        yield from hands.click(rows.x + 0.25 * rows.width, rows.y + rows.height - 10 - 20 * row)
        if bpy.context.view_layer.active_layer_collection == layer:
            break
    with bpy.context.temp_override(
        window=bpy.context.window_manager.windows[0], area=outliner, region=rows, id=collection,
        selected_ids=[collection],
    ):  # fmt: skip
        outcome = bpy.ops.outliner.collection_duplicate("EXEC_DEFAULT", True)
    found["Duplicate Collection"] = {"operator": sorted(outcome)}
    yield 1.5
    copied = [avatar for avatar in avatars() if avatar.armature.name not in known]
    found["Duplicate Collection"] |= {"avatars": len(copied), "alive": all(map(alive, copied))}
    for avatar in copied:
        part("scene").select_avatar(bpy.context, avatar)
        operate(bpy.ops.humansplat.delete_avatar)
    yield 0.5

    known = {avatar.armature.name for avatar in avatars()}
    part("scene").select_avatar(bpy.context, avatars()[0])
    operate(bpy.ops.humansplat.duplicate_avatar)
    yield 1.0
    found["Duplicate Avatar"] = {"avatars": len(avatars()) - len(known), "alive": alive(newest())}
    part("scene").select_avatar(bpy.context, newest())
    operate(bpy.ops.humansplat.delete_avatar)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    found["after Delete Avatar and purge"] = {"objects": len(bpy.data.objects), "armatures": len(bpy.data.armatures),
                                              "node groups": len(bpy.data.node_groups) - groups}  # fmt: skip
    part("scene").select_avatar(bpy.context, avatars()[0])
    yield 0.5


def played(seconds: float) -> Steps:
    """Play by the space bar; the frames that were drawn and how many a second, under ``report['played']``."""
    drawn = [0]

    def count(*_: object) -> None:
        drawn[0] += 1

    bpy.app.handlers.frame_change_post.append(count)
    hands.point(*middle())
    yield 0.3
    yield from hands.press("space")
    began, before = time.monotonic(), drawn[0]
    yield seconds
    report["played"] = round((drawn[0] - before) / (time.monotonic() - began), 1)
    yield from hands.press("space")
    bpy.app.handlers.frame_change_post.remove(count)
    yield 0.5


def motion() -> Steps:
    """A dropped BVH file; frame by frame, and played by the space bar."""
    yield from hands.drop(MOTION, *tools.on_screen(PLACE + Vector((-0.6, 0, 0.3))))
    yield from shoot("a5_motion_dropped")
    yield from hands.press("Return")  # the dialog's button
    avatar = avatars()[0]
    yield lambda: avatar.armature.animation_data is not None and avatar.armature.animation_data.action is not None
    yield 0.5
    action = avatar.armature.animation_data.action
    start, end = (int(x) for x in action.frame_range)
    seconds, before = [], None
    for frame in range(start, min(end, start + 60) + 1):
        began = time.perf_counter()
        bpy.context.scene.frame_set(frame)
        seconds.append(time.perf_counter() - began)
        if before is None:
            before = places(avatar)
        elif frame == (start + end) // 3:
            moved = float(np.abs(places(avatar) - before).max())
    report["motion"] = {
        "frames": end - start + 1, "splats": len(before), "moved, metres": round(moved, 2),
        "median milliseconds a frame": round(1000 * float(np.median(seconds)), 1),
    }  # fmt: skip
    yield 0.5
    yield from played(8.0)
    report["motion"]["frames a second drawn, solid"] = report.pop("played")
    yield from shade("MATERIAL", 8)
    yield from played(8.0)
    report["motion"]["frames a second drawn, material preview"] = report.pop("played")
    yield from shoot("a5_motion")
    yield from shade("SOLID", 0.5)


def controls() -> Steps:
    """Inverse kinematics: controls added, an arm switched without a jump, its control moved by G."""
    avatar = avatars()[0]
    bpy.context.scene.frame_set(1)
    operate(bpy.ops.humansplat.add_controls)
    yield 0.5
    before = places(avatar)
    limb = next(iter(part("scene.limbs").LIMBS.values()))
    with bpy.context.temp_override(**view()):
        part("scene.ik_fk").switch_limb(bpy.context, avatar.armature, limb.name, True)
    bpy.context.view_layer.update()
    jump = float(np.abs(places(avatar) - before).max())
    control = part("scene.armature").control_bone(avatar.armature, limb.control)
    wrist = avatar.armature.pose.bones[limb.joints[2]]
    operate(bpy.ops.object.mode_set, mode="POSE")
    operate(bpy.ops.pose.select_all, action="DESELECT")
    avatar.armature.data.bones.active = control.bone
    (control if hasattr(control, "select") else control.bone).select = True
    at = wrist.head.copy()
    yield from hands.transform("g", *tools.on_screen(avatar.armature.matrix_world @ control.head), up=90)
    report["inverse kinematics"] = {
        "jump at the switch, metres": round(jump, 4),
        "wrist followed, metres": round(float((wrist.head - at).length), 2),
        "wrist from control, metres": round(float((wrist.head - control.head).length), 3),
    }
    yield from shoot("a6_controls")
    operate(bpy.ops.object.mode_set, mode="OBJECT")
    yield 0.5


def sliders() -> Steps:
    """Taller and heavier."""
    avatar = avatars()[0]
    operate(bpy.ops.humansplat.shape_sliders)
    yield 0.5
    size = np.ptp(places(avatar), axis=0)
    taller, heavier = (slider.name for slider in part("scene.shape").SLIDERS[:2])
    avatar.armature[taller], avatar.armature[heavier] = 0.1, 1.0
    avatar.armature.update_tag()
    bpy.context.view_layer.update()
    grown = np.ptp(places(avatar), axis=0) / size
    report["sliders"] = {"height times": round(float(grown[2]), 3), "depth times": round(float(grown[1]), 3)}
    yield 0.5
    yield from shoot("a7_sliders")
    avatar.armature[taller] = avatar.armature[heavier] = 0.0
    avatar.armature.update_tag()
    yield 0.3


def lamps() -> Steps:
    """Lit by a lamp that is moved; a floor that shows the shadow."""
    avatar = avatars()[0]
    lamp = bpy.data.objects.new("Key", bpy.data.lights.new("Key", "SUN"))
    lamp.data.energy = 3.0
    bpy.context.scene.collection.objects.link(lamp)
    floor = bpy.data.meshes.new("Floor")
    floor.from_pydata([(-3, -3, 0), (3, -3, 0), (3, 3, 0), (-3, 3, 0)], [], [(0, 1, 2, 3)])
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Floor", floor))
    modifier = part("scene").display_modifier(avatar.splats)
    part("scene.nodes.build").set_input(modifier, part("scene.nodes.display").LIT_BY_LAMPS, 1.0)
    bright = []
    for number, turn in enumerate(((0.9, 0.0, 0.9), (0.9, 0.0, -0.9))):
        lamp.rotation_euler = turn
        yield from shade("RENDERED", 14)
        yield from shoot(f"a8_lamp_{number + 1}")
        bright.append(rendered(avatar))
    change = float(np.abs(bright[0] - bright[1]).mean())
    report["lamps"] = {"mean change of the picture, of 1": round(change, 3)}
    part("scene.nodes.build").set_input(modifier, part("scene.nodes.display").LIT_BY_LAMPS, 0.0)
    yield from shade("SOLID", 1)


def rendered(avatar: Any, **changes: Any) -> np.ndarray:
    """A small EEVEE picture from before the avatar, [H, W, 4] display values."""
    scene = bpy.context.scene
    if scene.camera is None:
        camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
        scene.collection.objects.link(camera)
        scene.camera = camera
    scene.camera.location = avatar.armature.location + Vector((0, -4.2, 1.0))
    scene.camera.rotation_euler = (np.pi / 2, 0, 0)
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 240, 320, 100
    scene.eevee.taa_render_samples = 8
    scene.render.filepath = str(WORK / "render.png")
    for name, value in changes.items():
        setattr(scene.render, name, value)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)
    bpy.data.images.remove(image)
    return pixels


def render_by_hand() -> Steps:
    """F12, with motion blur and without."""
    avatar = avatars()[0]
    scene = bpy.context.scene
    middle_frame = int(sum(avatar.armature.animation_data.action.frame_range) / 2)
    scene.frame_set(middle_frame)
    sharp = rendered(avatar, use_motion_blur=False)
    blurred = rendered(avatar, use_motion_blur=True)
    scene.render.use_motion_blur = False
    report["motion blur"] = {"mean change of the picture, of 1": round(float(np.abs(sharp - blurred).mean()), 4)}
    scene.frame_set(1)
    hands.point(*middle())
    yield 0.3
    began = time.monotonic()
    yield from hands.press("96")  # the code of F12, which by its name comes with Alt from a screen without a keyboard
    yield lambda: bpy.app.is_job_running("RENDER") or time.monotonic() > began + 10
    yield lambda: not bpy.app.is_job_running("RENDER")
    yield 1.0
    report["F12"] = {"engine": scene.render.engine, "seconds": round(time.monotonic() - began, 1)}
    yield from shoot("a9_f12")
    yield from hands.press("Escape")
    yield 1.0


def bake() -> Steps:
    """Frames to splat files, in the background of the window; then once more, cancelled."""
    avatar = avatars()[0]
    part("scene").select_avatar(bpy.context, avatar)
    options = {"scene_range": False, "frame_start": 1, "frame_end": 6}
    found: dict[str, object] = {}
    for name, stop in (("baked", False), ("cancelled", True)):
        folder = WORK / name
        with bpy.context.temp_override(**view()):
            bpy.ops.humansplat.bake_sequence("INVOKE_DEFAULT", directory=str(folder), **options)
        yield 0.5
        if stop:
            yield lambda folder=folder: any(folder.rglob("*.ply"))
            bpy.ops.humansplat.cancel_bake()
        yield lambda: not bpy.ops.humansplat.cancel_bake.poll()
        found[name] = len(list(folder.rglob("*.ply")))
    report["bake"] = found | {"frames": 6}


def exporters() -> Steps:
    """Blender's own exporters on the file: megabytes and seconds, or what they said."""
    avatar = avatars()[0]
    part("scene").select_avatar(bpy.context, avatar)
    found: dict[str, object] = {}
    calls = {
        "glTF, Apply Modifiers": lambda path: bpy.ops.export_scene.gltf(filepath=f"{path}.glb", export_apply=True),
        "FBX": lambda path: bpy.ops.export_scene.fbx(filepath=f"{path}.fbx"),
        "OBJ": lambda path: bpy.ops.wm.obj_export(filepath=f"{path}.obj"),
    }
    for number, (name, call) in enumerate(calls.items()):
        began = time.monotonic()
        path = WORK / f"export_{number}"
        with bpy.context.temp_override(**view()):
            try:
                call(path)
                size = sum(file.stat().st_size for file in WORK.glob(f"{path.name}.*"))
                found[name] = {"megabytes": round(size / 1e6, 1), "seconds": round(time.monotonic() - began, 1)}
            except (RuntimeError, AttributeError) as error:
                found[name] = str(error).strip().splitlines()[-1]
        yield 0.3
    for name, operator in (("PLY", bpy.ops.wm.ply_export), ("STL", bpy.ops.wm.stl_export)):
        # By its file browser, which the add-on watches: from 5.0 on these would write the shape of every splat.
        path = WORK / f"export.{name.lower()}"
        with bpy.context.temp_override(**view()):
            operator("INVOKE_DEFAULT", filepath=str(path))
        yield 2.0
        browser = tools.area_of("FILE_BROWSER")
        if name == "PLY":
            yield from shoot("a10_ply_browser")
        hands.point(browser.x + browser.width / 2, browser.y + browser.height / 2)
        yield 0.3
        yield from hands.press("Return")
        yield 3.0
        found[name] = {"megabytes": round(path.stat().st_size / 1e6, 1)}
    found["splats shown again"] = not avatar.splats.hide_render
    report["exporters"] = found


def tidy_up() -> Steps:
    """Apply Scale, a renamed bone, Rest Pose, a new package in the old one's place."""
    avatar = avatars()[0]
    part("scene").select_avatar(bpy.context, avatar)
    # Blender scales bones and not where their channels and keys say that they are moved to: of any armature.
    action, avatar.armature.animation_data.action = avatar.armature.animation_data.action, None
    operate(bpy.ops.humansplat.remove_controls)
    operate(bpy.ops.humansplat.set_pose, pose="PHOTO")
    avatar.armature.scale = (1.5, 1.5, 1.5)
    bpy.context.view_layer.update()
    before = places(avatar)
    with bpy.context.temp_override(**view()):
        bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    bpy.context.view_layer.update()
    found: dict[str, object] = {"Apply Scale moved, metres": round(float(np.abs(places(avatar) - before).max()), 5)}
    bone = avatar.armature.pose.bones["left_elbow"]
    bone.name = "forearm.L"
    found["Rest Pose after a rename"] = sorted(operate(bpy.ops.humansplat.set_pose, pose="REST"))
    avatar.armature.animation_data.action = action
    name = action.name
    yield 0.5
    with bpy.context.temp_override(**view()):
        # The list's icon: the same person again, in place of the one that is there.
        part("scene").replace_avatar(bpy.context, avatar, part("scene").import_avatar(bpy.context, PACKAGE))
    (avatar,) = avatars()
    found["Replace keeps the action"] = avatar.armature.animation_data.action.name == name
    found["Replace keeps the bone's name"] = "forearm.L" in avatar.armature.pose.bones
    report["rig"] = found
    yield 0.5


def save() -> Steps:
    """The file that the second session opens without the add-on."""
    report["saved_splats"] = len(places(avatars()[0]))
    with bpy.context.temp_override(**view()):
        bpy.ops.wm.save_as_mainfile(filepath=str(WORK / "saved.blend"))
    yield 0.5


def end(failed: str | None) -> None:
    """Write the report and leave."""
    report["done" if failed is None else "failed"] = failed or True
    (WORK / "report_1.json").write_text(json.dumps(report, default=str))
    sys.stdout.flush()
    os._exit(0 if failed is None else 3)


tools.drive(steps(), end)
