"""Pictures of the person's other sides: choosing, swapping and removing them, and what the panel shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..models import BUILT_IN, MODELS, PICTURES
from ..pictures import MOST, OTHER, SIDES, Picture
from ..results import Result
from ..scene.roles import PACKAGE
from . import models, runtime
from .layout import wrapped

_HIDDEN = {"options": {"HIDDEN", "SKIP_SAVE"}}
_SIDE_ITEMS = (
    ("back", "Back", "The person seen from behind"),
    ("left", "Left", "The person's own left side: the camera stood at the person's left"),
    ("right", "Right", "The person's own right side: the camera stood at the person's right"),
    (OTHER, "Further", "The person from anywhere else"),
)
_SIDE_SCALE, _FURTHER_SCALE = 3.0, 2.0
"""Size of the thumbnails, in heights of a button."""


class PictureChooser:
    """Base of operators that ask for a picture: the file browser shows pictures alone, as thumbnails."""

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", **_HIDDEN)
    filter_image: bpy.props.BoolProperty(default=True, **_HIDDEN)
    filter_folder: bpy.props.BoolProperty(default=True, **_HIDDEN)
    # The file browser takes this property by its name; the numbers are Blender's own.
    display_type: bpy.props.EnumProperty(
        items=(
            ("DEFAULT", "Default", "", 0),
            ("LIST_VERTICAL", "Short List", "", 1),
            ("LIST_HORIZONTAL", "Long List", "", 2),
            ("THUMBNAIL", "Thumbnails", "", 3),
        ),
        default="THUMBNAIL",
        **_HIDDEN,
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Open the file browser, with thumbnails; a file that was dropped is taken as it is."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


def count(settings: bpy.types.PropertyGroup) -> int:
    """How many pictures are chosen besides the photo."""
    sides = sum(getattr(settings, side) is not None for side in SIDES)
    return sides + sum(item.image is not None for item in settings.further)


def used_count(settings: bpy.types.PropertyGroup) -> int:
    """How many of them the next avatar is made from: all, or none where the sides come from elsewhere."""
    return count(settings) if settings.sides == PICTURES else 0


def source_of(chosen: str) -> str:
    """What the protocol is told where ``chosen`` is the choice of sides: pictures are told by themselves.

    Raises:
        RuntimeError: it is a large model that is known not to be usable; the text is a sentence.
    """
    if chosen not in MODELS:
        return BUILT_IN
    models.require_usable(chosen)
    return chosen


def chosen_pictures(settings: bpy.types.PropertyGroup) -> tuple[Picture, ...]:
    """The scene's pictures, where the sides come from them.

    What is packed or was painted in Blender is written to temporary files.

    Raises:
        RuntimeError: one has neither a file nor pixels; the text is a sentence.
    """
    if settings.sides != PICTURES:
        return ()
    chosen = [(getattr(settings, side), side, side) for side in SIDES]
    chosen += [(item.image, OTHER, f"{OTHER}{number}") for number, item in enumerate(settings.further)]
    pictures = []
    for image, side, folder in chosen:
        if image is None:
            continue
        try:
            path = runtime.photo_file(image, folder) if not runtime.names_file(image) else runtime.image_path(image)
        except (RuntimeError, OSError) as error:
            called = Picture(Path(image.name), side).called
            raise RuntimeError(f"{called} cannot be read: {error}. Choose it again or remove it.") from error
        pictures.append(Picture(path, side))
    return tuple(pictures)


def given_pictures(operator: bpy.types.Operator) -> tuple[Picture, ...] | None:
    """The files that an operator's properties ``back``, ``left``, ``right``, ``further`` name; None: not one is set."""
    names = [(getattr(operator, side), side) for side in SIDES] + [(item.name, OTHER) for item in operator.further]
    pictures = tuple(Picture(Path(bpy.path.abspath(name)).absolute(), side) for name, side in names if name)
    return pictures or None


def result_of(armature: bpy.types.Object | None, photo: Path) -> Result | None:
    """The entry in the list of an avatar of this photo; None: it is not in the list, or of another photo."""
    folder = Path(str(armature.get(PACKAGE, ""))) if armature is not None else Path()
    for result in runtime.results().results:
        if result.name == folder.name and result.folder.resolve() == folder.resolve():
            return result if result.photo.absolute() == photo.absolute() else None
    return None


class HUMANSPLAT_OT_choose_side(PictureChooser, bpy.types.Operator):
    """Choose a picture of one side of the person"""

    bl_idname = "humansplat.choose_side"
    bl_label = "Choose Picture"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    side: bpy.props.EnumProperty(items=_SIDE_ITEMS[:3], name="Side", **_HIDDEN)

    @classmethod
    def description(cls, _context: bpy.types.Context, options: bpy.types.OperatorProperties) -> str:
        """Tooltip."""
        return next(f"Choose a picture. {says}" for side, _label, says in _SIDE_ITEMS if side == options.side)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load the picture and make it that of the side."""
        settings = context.scene.humansplat
        if getattr(settings, self.side) is None and count(settings) >= MOST:
            return _refuse_more(self)
        images = _load(self, [Path(self.filepath)])
        if images is None:
            return {"CANCELLED"}
        setattr(settings, self.side, images[0])
        return {"FINISHED"}


class HUMANSPLAT_OT_add_pictures(PictureChooser, bpy.types.Operator):
    """Choose further pictures of the person, from anywhere; several can be chosen at once"""

    bl_idname = "humansplat.add_pictures"
    bl_label = "Add Further Pictures"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", **_HIDDEN)
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, **_HIDDEN)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load the pictures and add them to the list: all of them, or none."""
        settings = context.scene.humansplat
        names = [Path(self.directory) / item.name for item in self.files if item.name]
        paths = names or [Path(self.filepath)]
        if count(settings) + len(paths) > MOST:
            return _refuse_more(self)
        images = _load(self, paths)
        if images is None:
            return {"CANCELLED"}
        for image in images:
            settings.further.add().image = image
        return {"FINISHED"}


class HUMANSPLAT_OT_remove_picture(bpy.types.Operator):
    """Do without this picture; its file stays"""

    bl_idname = "humansplat.remove_picture"
    bl_label = "Remove Picture"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    side: bpy.props.EnumProperty(items=_SIDE_ITEMS, name="Side", **_HIDDEN)
    index: bpy.props.IntProperty(min=0, description="Of a further picture", **_HIDDEN)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it from the scene's pictures."""
        settings = context.scene.humansplat
        if self.side != OTHER:
            setattr(settings, self.side, None)
        elif self.index < len(settings.further):
            settings.further.remove(self.index)
        else:
            return {"CANCELLED"}
        return {"FINISHED"}


class HUMANSPLAT_OT_swap_sides(bpy.types.Operator):
    """Swap the pictures of the left and the right side. Left is the person's own left"""

    bl_idname = "humansplat.swap_sides"
    bl_label = "Swap Left and Right"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Swap them."""
        settings = context.scene.humansplat
        settings.left, settings.right = settings.right, settings.left
        return {"FINISHED"}


def _refuse_more(operator: bpy.types.Operator) -> set[str]:
    operator.report({"ERROR"}, f"{MOST} pictures besides the photo are the most. Remove one first")
    return {"CANCELLED"}


def _load(operator: bpy.types.Operator, paths: list[Path]) -> list[bpy.types.Image] | None:
    """The pictures of these files; None, and an error is reported, where one of them cannot be opened."""
    before = set(bpy.data.images)
    images = []
    for path in paths:
        try:
            images.append(bpy.data.images.load(str(path), check_existing=True))
        except RuntimeError as error:
            for image in set(images) - before:
                bpy.data.images.remove(image)
            operator.report({"ERROR"}, f"{path.name} cannot be opened as a picture: {error}")
            return None
        warn_of_unshown(operator, images[-1])
    return images


def warn_of_unshown(operator: bpy.types.Operator, image: bpy.types.Image) -> None:
    """Say it where Blender cannot show a file: the backend may read it (HEIC), or it is no picture."""
    if not image.size[0]:
        text = f"Blender cannot show {image.name}. If it is no picture that the backend reads, Reconstruct will say so"
        operator.report({"WARNING"}, text)


def draw_sides(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, width: float) -> None:
    """The choice of where the sides come from, and what belongs to it: pictures, or a large model's state."""
    layout.prop(settings, "sides", text="")
    if settings.sides in MODELS:
        models.draw_model(layout, settings.sides, width)
        return
    if settings.sides == BUILT_IN:
        wrapped(layout, describe_count(0), width, icon="INFO")
        return
    for side, label, _says in _SIDE_ITEMS[:3]:
        _draw_side(layout, settings, side, label)
        if side == "left":
            row = layout.row()
            row.enabled = settings.left is not None or settings.right is not None
            row.operator("humansplat.swap_sides", icon="ARROW_LEFTRIGHT")
    for index, item in enumerate(settings.further):
        if item.image is not None:
            _draw_picture(layout, item.image, _FURTHER_SCALE, "", OTHER, index)
    row = layout.row()
    row.enabled = count(settings) < MOST
    row.operator("humansplat.add_pictures", icon="ADD")
    layout.operator("humansplat.cut_turnaround", text="Cut Turnaround Sheet…", icon="IMAGE_REFERENCE")
    wrapped(layout, describe_count(count(settings)), width, icon="INFO")


def describe_count(number: int) -> str:
    """How many pictures will be used, as a sentence."""
    if number == 0:
        return "The photo alone will be used."
    return f"The photo and {number} more picture{'s' if number > 1 else ''} will be used."


def _draw_side(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, side: str, label: str) -> None:
    image = getattr(settings, side)
    if image is not None:
        _draw_picture(layout, image, _SIDE_SCALE, label, side)
        return
    row = layout.row(align=True)
    row.operator("humansplat.choose_side", text=label, icon="IMAGE_DATA").side = side
    if any(other.type == "IMAGE" for other in bpy.data.images):
        row.prop_search(settings, side, bpy.data, "images", text="")


def _draw_picture(
    layout: bpy.types.UILayout, image: bpy.types.Image, scale: float, label: str, side: str, index: int = 0
) -> None:
    """A thumbnail; beside it what the picture is, and its buttons."""
    row = layout.row()
    row.template_icon(icon_value=runtime.photo_icon(image) or layout.icon(image), scale=scale)
    column = row.column(align=True)
    if label:
        column.label(text=label)
    line = column.row(align=True)
    missing = runtime.names_file(image) and not runtime.image_path(image).is_file()
    name = line.row()
    name.alert = missing
    name.label(text=image.name, icon="ERROR" if missing else "NONE")
    if side != OTHER:
        line.operator("humansplat.choose_side", text="", icon="FILEBROWSER").side = side
    remove: Any = line.operator("humansplat.remove_picture", text="", icon="X")
    remove.side, remove.index = side, index


CLASSES = (
    HUMANSPLAT_OT_choose_side,
    HUMANSPLAT_OT_add_pictures,
    HUMANSPLAT_OT_remove_picture,
    HUMANSPLAT_OT_swap_sides,
)
