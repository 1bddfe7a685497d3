"""A turnaround sheet cut into the photo and the pictures of other sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..jobs import ExportJob
from ..pictures import MOST, SIDES
from . import operators, preferences, runtime, sides

FOLDER = "turnarounds"
"""Inside the folder for results: where the figures of sheets are kept, a folder each."""
_FRONT = "front"


class HUMANSPLAT_OT_cut_turnaround(sides.PictureChooser, bpy.types.Operator):
    """Choose a picture that shows the same person side by side from several sides: its figures become the photo, if
    there is none yet, and the pictures of other sides"""

    bl_idname = "humansplat.cut_turnaround"
    bl_label = "Cut Turnaround Sheet"
    bl_options = {"REGISTER", "INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs a backend and no other job."""
        return runtime.ready(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; without a window, also wait for it."""
        sheet = Path(bpy.path.abspath(self.filepath)).absolute()
        if not sheet.is_file():
            self.report({"ERROR"}, f"There is no file {sheet.name}")
            return {"CANCELLED"}
        folder = preferences.results_folder() / FOLDER / (bpy.path.clean_name(sheet.stem) or "sheet")
        scene = context.scene.name
        job = ExportJob(
            sheet.name,
            {"sheet": str(sheet), "output": str(folder)},
            None,
            lambda result: fill(bpy.data.scenes.get(scene), result),
            "cut",
            "was cut",
        )
        runtime.start_export(job)
        return operators.pump(self)


def fill(scene: bpy.types.Scene | None, result: dict[str, Any]) -> list[str]:
    """Make the figures of a backend's answer the scene's pictures; gives notes.

    Raises:
        ValueError: the scene is gone, or one of the files cannot be opened; the text is a sentence.
    """
    if scene is None:
        raise ValueError("the scene that asked for them is gone.")
    settings, left_out, notes = scene.humansplat, 0, []
    for figure in result.get("figures", []):
        path, side = str(figure["path"]), str(figure["side"])
        if side == _FRONT and settings.photo is not None:
            notes.append("The photo that was chosen stays; the sheet's front was not used.")
            continue
        free = side in SIDES and getattr(settings, side) is not None  # it takes that picture's place
        if side != _FRONT and not free and sides.count(settings) >= MOST:
            left_out += 1
            continue
        try:
            image = bpy.data.images.load(path, check_existing=True)
        except RuntimeError as error:
            raise ValueError(f"{Path(path).name} cannot be opened as a picture.") from error
        image.reload()  # an earlier cut of the same sheet may have been loaded
        if side == _FRONT:
            settings.photo = image
        elif side in SIDES:
            setattr(settings, side, image)
        elif all(item.image != image for item in settings.further):
            settings.further.add().image = image
    if settings.photo is None:
        notes.append("No figure of the sheet shows the front: choose a photo.")
    if left_out:
        notes.append(f"{left_out} more figures were left out: {MOST} pictures are the most.")
    return notes


CLASSES = (HUMANSPLAT_OT_cut_turnaround,)
