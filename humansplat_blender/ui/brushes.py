"""Brushes that erase and paint splats, the crop box, floaters: operators and their part of a panel.

The work is done in ``scene.brush`` and ``scene.edits``; everything here can be taken back, after saving as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy

from ..scene import attributes, bake, brush, edits, roles, viewport
from ..scene.nodes.edit import CROP_BOX

_END = {"ESC", "RIGHTMOUSE", "RET", "NUMPAD_ENTER"}
_LARGER = {"RIGHT_BRACKET": 1.15, "LEFT_BRACKET": 1 / 1.15, "WHEELUPMOUSE": 1.15, "WHEELDOWNMOUSE": 1 / 1.15}
_HELP = "Drag: {tool}   Shift: restore   [ ] or Ctrl Wheel: radius   E: erase   P: paint   Esc: end"
_RING_CORNERS = 48
_ERASE_RING, _RESTORE_RING = (1.0, 0.35, 0.3, 0.9), (0.4, 1.0, 0.5, 0.9)


class HumanSplatBrush(bpy.types.PropertyGroup):
    """How the brushes work, kept in the scene."""

    radius: bpy.props.FloatProperty(
        name="Radius", description="Of the brush in the view", subtype="PIXEL", min=1.0, soft_max=300.0, default=40.0
    )
    colour: bpy.props.FloatVectorProperty(
        name="Colour",
        description="What the brush paints, as the display shows it",
        subtype="COLOR_GAMMA",
        min=0.0,
        max=1.0,
        default=(0.5, 0.5, 0.5),
    )
    strength: bpy.props.FloatProperty(
        name="Strength",
        description="Share of the painted colour over the splat's own",
        subtype="FACTOR",
        min=0.0,
        max=1.0,
        default=1.0,
    )
    only_front: bpy.props.BoolProperty(
        name="Only Front", description="Spare the splats that lie behind others in the view", default=True
    )
    thickness: bpy.props.FloatProperty(
        name="Depth",
        description="How far behind the frontmost splats the brush still reaches",
        subtype="DISTANCE",
        min=0.0,
        soft_max=0.5,
        default=0.03,
    )


def brush_tip(settings: HumanSplatBrush, erases: bool, restores: bool) -> brush.Tip:
    """The brush with these settings. Not a method: Blender 4.2 dies at its end where property groups have methods."""
    return brush.Tip(
        erases,
        restores,
        settings.radius,
        tuple(settings.colour),
        settings.strength,
        settings.thickness if settings.only_front else None,
    )


class _EditOperator:
    """Base of operators on the splats of the avatar that the active object belongs to."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs an avatar whose splats our node group draws."""
        avatar = roles.find_avatar(context.object)
        if avatar is None:
            cls.poll_message_set("Select an avatar")
        elif viewport.display_modifier(avatar.splats) is None:
            cls.poll_message_set("The display modifier of the splats is gone, or Blender draws them itself")
        elif avatar.splats.data.library is not None:
            cls.poll_message_set("The avatar is linked from another file: make it local first")
        elif avatar.splats.mode != "OBJECT":
            cls.poll_message_set("Leave the mode of the splats first")
        else:
            return True
        return False


@dataclass
class _Running:
    """The brush at work: what it does, and what the draw handler shows.

    No operator in it, because operators end while handlers may still run.
    """

    erases: bool
    region: int
    centre: tuple[float, float]
    radius: float
    colour: tuple[float, float, float, float]

    def draw(self) -> None:
        """Draw the brush's outline into the region that the mouse is in."""
        region = bpy.context.region
        if region is None or region.as_pointer() != self.region:
            return
        import gpu
        from gpu_extras.batch import batch_for_shader

        turns = [2 * math.pi * corner / _RING_CORNERS for corner in range(_RING_CORNERS + 1)]
        x, y = self.centre
        ring = [(x + self.radius * math.cos(turn), y + self.radius * math.sin(turn), 0.0) for turn in turns]
        shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
        gpu.state.blend_set("ALPHA")
        shader.bind()
        shader.uniform_float("viewportSize", (region.width, region.height))
        for width, colour in ((3.5, (0.0, 0.0, 0.0, 0.5)), (1.5, self.colour)):
            shader.uniform_float("lineWidth", width)
            shader.uniform_float("color", colour)
            batch_for_shader(shader, "LINE_STRIP", {"pos": ring}).draw(shader)
        gpu.state.blend_set("NONE")


_running: _Running | None = None


def region_view(region: bpy.types.Region, region_3d: bpy.types.RegionView3D) -> brush.View:
    """How a region of the 3D view sees the world."""
    return brush.View(region_3d.view_matrix, region_3d.window_matrix, region.width, region.height)


def region_under_mouse(area: bpy.types.Area, x: int, y: int) -> tuple[bpy.types.Region, bpy.types.RegionView3D] | None:
    """The region of a 3D view area that shows the scene at window pixel (x, y); None over sidebars and outside."""
    inside = [
        region
        for region in area.regions
        if region.x <= x < region.x + region.width and region.y <= y < region.y + region.height
    ]
    if any(region.type != "WINDOW" and region.width > 1 and region.height > 1 for region in inside):
        return None
    space = area.spaces.active
    shown = [region for region in area.regions if region.type == "WINDOW" and region.width > 1]
    for number, region in enumerate(shown):
        if region in inside:
            quad = space.region_quadviews
            return region, quad[number] if len(quad) == len(shown) else space.region_3d
    return None


class _BrushOperator(_EditOperator):
    """A brush that works until it is ended; every stroke is an undo step of its own."""

    bl_options = {"REGISTER"}
    erases: bool  # at the start

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs a 3D view as well."""
        if context.area is None or context.area.type != "VIEW_3D":
            cls.poll_message_set("Works in a 3D view")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Begin, or have the brush that is at work do this from now on."""
        global _running
        if _running is not None:
            _running.erases = self.erases
            return {"FINISHED"}
        # Undo makes new objects, so that only the name lasts.
        self._splats_name = roles.find_avatar(context.object).splats.name
        self._stroke: brush.Stroke | None = None
        self._area = context.area
        self._last = (0.0, 0.0)
        self._ring = _running = _Running(self.erases, 0, (0.0, 0.0), 1.0, _ERASE_RING)
        self._handler = bpy.types.SpaceView3D.draw_handler_add(self._ring.draw, (), "WINDOW", "POST_PIXEL")
        context.window_manager.modal_handler_add(self)
        self._show(context, event)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Follow the mouse."""
        splats = bpy.data.objects.get(self._splats_name)
        if splats is None or context.area is None:
            return self._finish(context)
        try:
            return self._handle(context, event, splats)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return self._finish(context)
        except Exception:
            self._finish(context)
            raise

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes, or opens another file."""
        self._finish(context)

    def _handle(self, context: bpy.types.Context, event: bpy.types.Event, splats: bpy.types.Object) -> set[str]:
        settings = context.scene.humansplat_brush
        pressed = event.value == "PRESS"
        if pressed and event.type in _END:
            if self._stroke is None:
                return self._finish(context)
            self._stroke.cancel(splats)
            self._stroke = None
            return {"RUNNING_MODAL"}
        over_view = region_under_mouse(self._area, event.mouse_x, event.mouse_y)
        if event.type == "LEFTMOUSE" and event.value == "RELEASE" and self._stroke is not None:
            self._stroke = None
            bpy.ops.ed.undo_push(message="Erase Splats" if self._ring.erases else "Paint Splats")
        elif event.type == "LEFTMOUSE" and pressed and over_view is not None and not event.alt:
            region, region_3d = over_view
            tip = brush_tip(settings, self._ring.erases, event.shift)
            self._stroke = brush.Stroke(context, splats, region_view(region, region_3d), tip)
            self._region_corner = (region.x, region.y)
            self._last = self._place(event)
            self._stroke.move(splats, self._last, self._last)
        elif event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"} and self._stroke is not None:
            place = self._place(event)
            self._stroke.move(splats, self._last, place)
            self._last = place
        elif pressed and self._stroke is None and self._is_key(event, over_view is not None):
            if event.type in _LARGER:
                settings.radius = settings.radius * _LARGER[event.type]
            else:
                self._ring.erases = event.type == "E"
        elif self._stroke is None:
            self._show(context, event)
            return {"PASS_THROUGH"}
        self._show(context, event)
        return {"RUNNING_MODAL"}

    @staticmethod
    def _is_key(event: bpy.types.Event, over_view: bool) -> bool:
        """Whether the event is one of the brush's own keys."""
        if event.type.startswith("WHEEL"):
            return over_view and event.ctrl and event.type in _LARGER
        plain = not (event.ctrl or event.alt or event.oskey)
        return over_view and plain and (event.type in _LARGER or event.type in {"E", "P"})

    def _place(self, event: bpy.types.Event) -> tuple[float, float]:
        return event.mouse_x - self._region_corner[0], event.mouse_y - self._region_corner[1]

    def _show(self, context: bpy.types.Context, event: bpy.types.Event) -> None:
        """Ring and help."""
        found = region_under_mouse(self._area, event.mouse_x, event.mouse_y)
        settings = context.scene.humansplat_brush
        self._ring.region = 0 if found is None else found[0].as_pointer()
        if found is not None:
            self._ring.centre = (event.mouse_x - found[0].x, event.mouse_y - found[0].y)
        self._ring.radius = settings.radius
        paint = (*settings.colour, 1.0)
        self._ring.colour = _RESTORE_RING if event.shift else _ERASE_RING if self._ring.erases else paint
        context.workspace.status_text_set(_HELP.format(tool="erase" if self._ring.erases else "paint"))
        self._area.tag_redraw()

    def _finish(self, context: bpy.types.Context) -> set[str]:
        global _running
        _running = None
        if self._handler is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handler, "WINDOW")
            self._handler = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        if context.area is not None:
            context.area.tag_redraw()
        return {"FINISHED"}


class HUMANSPLAT_OT_erase_splats(_BrushOperator, bpy.types.Operator):
    """Erase splats with a brush. Shift brings them back; nothing is lost"""

    bl_idname = "humansplat.erase_splats"
    bl_label = "Erase Splats"

    erases = True


class HUMANSPLAT_OT_paint_splats(_BrushOperator, bpy.types.Operator):
    """Paint splats with a brush. Shift brings their own colours back; nothing is lost"""

    bl_idname = "humansplat.paint_splats"
    bl_label = "Paint Splats"

    erases = False


class HUMANSPLAT_OT_clear_edits(_EditOperator, bpy.types.Operator):
    """Bring all erased splats and the splats' own colours back"""

    bl_idname = "humansplat.clear_edits"
    bl_label = "Clear Edits"

    hidden: bpy.props.BoolProperty(name="Erased Splats", default=True)
    colours: bpy.props.BoolProperty(name="Painted Colours", default=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Clear them."""
        edits.restore(roles.find_avatar(context.object).splats, hidden=self.hidden, colours=self.colours)
        return {"FINISHED"}


class HUMANSPLAT_OT_add_crop_box(_EditOperator, bpy.types.Operator):
    """Add a box around the avatar: what is outside is not drawn. Move, turn and scale it; deleting it ends the crop"""

    bl_idname = "humansplat.add_crop_box"
    bl_label = "Add Crop Box"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it."""
        splats = roles.find_avatar(context.object).splats
        with bake.readable(splats):
            evaluated = splats.evaluated_get(context.evaluated_depsgraph_get())
            positions = attributes.read_points(evaluated.data, "position")
        box = edits.add_crop_box(splats, positions)
        self.report({"INFO"}, f"{box.name} crops the avatar: scale or move it")
        return {"FINISHED"}


class HUMANSPLAT_OT_remove_floaters(_EditOperator, bpy.types.Operator):
    """Erase lonely splats, which are mostly errors of the reconstruction. Clear Edits brings them back"""

    bl_idname = "humansplat.remove_floaters"
    bl_label = "Remove Floaters"

    radius: bpy.props.FloatProperty(
        name="Radius",
        description="How far neighbours may be, in the rest pose",
        subtype="DISTANCE",
        min=0.001,
        soft_max=0.2,
        default=0.02,
    )
    neighbours: bpy.props.IntProperty(
        name="Neighbours", description="Splats with fewer neighbours than this are erased", min=1, default=5
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Erase them."""
        splats = roles.find_avatar(context.object).splats
        count = edits.remove_floaters(splats, self.radius, self.neighbours)
        self.report({"INFO"}, f"{count} splat{'' if count == 1 else 's'} erased")
        return {"FINISHED"} if count else {"CANCELLED"}


def draw_edits(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The edits' part of a panel; nothing without an avatar whose splats our node group draws."""
    avatar = roles.find_avatar(context.object)
    modifier = viewport.display_modifier(avatar.splats) if avatar is not None else None
    if modifier is None or modifier.node_group is None:
        return
    settings = context.scene.humansplat_brush
    row = layout.row(align=True)
    try:
        owner, path = viewport.display_property(modifier, CROP_BOX)
        row.prop_search(owner, path, bpy.data, "objects", text="Crop", icon="CUBE")
    except KeyError:  # the file's group is older: the next edit renews it
        pass
    if edits.crop_box(avatar.splats) is None:
        row.operator(HUMANSPLAT_OT_add_crop_box.bl_idname, text="", icon="ADD")
    row = layout.row(align=True)
    row.operator(HUMANSPLAT_OT_erase_splats.bl_idname, text="Erase", icon="BRUSH_DATA")
    row.operator(HUMANSPLAT_OT_paint_splats.bl_idname, text="Paint", icon="BRUSH_DATA")
    column = layout.column(align=True)
    column.prop(settings, "radius")
    row = column.row(align=True)
    row.prop(settings, "colour", text="")
    row.prop(settings, "strength")
    row = column.row(align=True)
    row.prop(settings, "only_front")
    depth = row.row()
    depth.active = settings.only_front
    depth.prop(settings, "thickness")
    row = layout.row(align=True)
    row.operator(HUMANSPLAT_OT_remove_floaters.bl_idname, text="Floaters", icon="PARTICLES")
    clear = row.row(align=True)
    clear.enabled = edits.has_edits(avatar.splats)
    clear.operator(HUMANSPLAT_OT_clear_edits.bl_idname, icon="LOOP_BACK")


CLASSES = (
    HumanSplatBrush,
    HUMANSPLAT_OT_erase_splats,
    HUMANSPLAT_OT_paint_splats,
    HUMANSPLAT_OT_clear_edits,
    HUMANSPLAT_OT_add_crop_box,
    HUMANSPLAT_OT_remove_floaters,
)


def register() -> None:
    """Attach the brush's settings to scenes; after the classes are registered."""
    bpy.types.Scene.humansplat_brush = bpy.props.PointerProperty(type=HumanSplatBrush)


def unregister() -> None:
    """Detach them."""
    del bpy.types.Scene.humansplat_brush
