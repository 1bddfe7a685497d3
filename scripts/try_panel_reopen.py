"""Second half of ``scripts/try_panel``: the saved file in a Blender that has never seen the add-on."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import bpy

WORK = Path("/tmp/try")
report: dict[str, object] = {}
stage = 0
bpy.context.preferences.view.show_splash = False


def look() -> float | None:
    """Check the splats, show them, leave."""
    global stage
    try:
        stage += 1
        if stage == 1:
            addons = bpy.context.preferences.addons.keys()
            report["reopened_without_addon"] = not any("humansplat" in name for name in addons)
            armature = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE")
            splats = next(obj for obj in bpy.data.objects if obj.get("humansplat_role") == "splats")
            report["reopened_splats"] = len(splats.data.attributes["scale"].data)
            before = splats.evaluated_get(bpy.context.evaluated_depsgraph_get()).bound_box[6][:]
            armature.pose.bones["left_shoulder"].rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
            bpy.context.view_layer.update()
            after = splats.evaluated_get(bpy.context.evaluated_depsgraph_get()).bound_box[6][:]
            report["reopened_follows_bones"] = before != after
            area = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "VIEW_3D")
            area.spaces[0].shading.type = "MATERIAL"
            return 0.5
        if stage < 60:  # software OpenGL takes its time over shaders
            for area in bpy.context.window_manager.windows[0].screen.areas:
                area.tag_redraw()
            return 0.5
        if stage == 60:
            (WORK / "screenshot").write_text("14_reopened")
            return 0.5
        if (WORK / "screenshot").exists():
            return 0.5
        report["reopened"] = True
    except Exception:
        traceback.print_exc()
    (WORK / "report_2.json").write_text(json.dumps(report))
    sys.stdout.flush()
    os._exit(0 if report.get("reopened") else 3)


bpy.app.timers.register(look, first_interval=3.0, persistent=True)
