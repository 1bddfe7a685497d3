"""How many splats the viewport draws, and the other display inputs of an avatar."""

from __future__ import annotations

from typing import Any

import bpy

from .nodes.build import input_property, set_input
from .nodes.display import EXACT_VIEWPORT, LIT_BY_LAMPS, SPLAT_SIZE, VIEWPORT_AMOUNT
from .nodes.edit import BRIGHTNESS, OPACITY_CUT, SATURATION
from .splats import DISPLAY_MODIFIER

DISPLAY_INPUTS = (LIT_BY_LAMPS, VIEWPORT_AMOUNT, SPLAT_SIZE, EXACT_VIEWPORT, BRIGHTNESS, SATURATION, OPACITY_CUT)
"""In the order in which a panel shows them. The crop box, an object, has its place beside the brushes."""

# Measured with Mesa's llvmpipe, Solid view, 1600 x 900: an empty scene costs 0.32 s of processor time a redraw, an
# avatar 1.00 s with all of its 95,000 splats, 0.63 s with a fifth, 0.57 s with a tenth and 0.49 s with a hundredth.
_SOFTWARE_AMOUNT = 20.0
_SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "software rasterizer", "swiftshader", "lavapipe", "basic render", "gdi")


def display_modifier(splats: bpy.types.Object) -> bpy.types.NodesModifier | None:
    """The modifier that draws these splats; None where Blender does it itself."""
    return splats.modifiers.get(DISPLAY_MODIFIER)


def display_property(modifier: bpy.types.NodesModifier, name: str) -> tuple[Any, str]:
    """Owner and path of one of `DISPLAY_INPUTS`, for ``UILayout.prop``. KeyError where the group lacks it."""
    return input_property(modifier, name)


def has_software_graphics() -> bool:
    """Whether this Blender's window is drawn by the processor. False without a window."""
    if bpy.app.background:
        return False
    import gpu

    renderer = gpu.platform.renderer_get().lower()
    return any(name in renderer for name in _SOFTWARE_RENDERERS)


def suit_viewport(splats: bpy.types.Object) -> str:
    """Have the viewport draw few splats where there is no graphics card; a sentence about it, or an empty string.

    Renders draw all splats whatever the viewport does.
    """
    modifier = display_modifier(splats)
    if modifier is None or not has_software_graphics():
        return ""
    set_input(modifier, VIEWPORT_AMOUNT, _SOFTWARE_AMOUNT)
    return (
        f"No graphics card: the viewport draws {_SOFTWARE_AMOUNT:.0f} % of the splats, larger; renders draw all. "
        "See Display."
    )
