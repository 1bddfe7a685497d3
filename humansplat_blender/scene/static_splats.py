"""Splats of other programs as an object that nothing poses, drawn as avatars are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np

from ...backend.avatar.formats.axes import find_axes, turn_back
from ...backend.avatar.formats.read import read_splats, usual_axes
from ...backend.avatar.gaussians import Gaussians
from . import attributes, convert
from .attributes import PointValues
from .frozen import FROZEN
from .importer import rollback
from .nodes.material import AXIS
from .roles import ROLE
from .splats import create_splats, draw_splats

AUTO = "auto"


def import_splats(
    context: bpy.types.Context,
    path: str | Path,
    axes: str = AUTO,
    location: Sequence[float] = (0.0, 0.0, 0.0),
) -> bpy.types.Object:
    """Bring a file of splats into the context's collection, selected and active.

    Args:
        context: whose collection receives it; Blender must be in Object Mode.
        path: ``.ply`` (3DGS, compressed), ``.spz`` or ``.splat``.
        axes: what the numbers mean, a key of ``formats.axes.AXES``; ``"auto"`` as is usual for such files.
        location: of the object, metres.

    Raises:
        ValueError: the file cannot be used; one sentence.
        OSError: it cannot be read.
    """
    path = Path(path)
    convention = usual_axes(path) if axes == AUTO else find_axes(axes)
    gaussians = turn_back(read_splats(path), convention)
    with rollback():
        splats = create_splats(static_values(gaussians), path.name.split(".")[0] or "Splats")
        draw_splats(splats)
        splats[ROLE] = FROZEN
        splats["humansplat_source"] = path.name
        splats.location = location
        context.collection.objects.link(splats)
    context.view_layer.update()
    for obj in context.view_layer.objects:
        obj.select_set(obj == splats)
    context.view_layer.objects.active = splats
    return splats


def static_values(gaussians: Gaussians) -> PointValues:
    """Point attributes of splats of avatar space, in Blender's axes."""
    radiance_type = "FLOAT4" if attributes.has_data_type("FLOAT4") else "FLOAT_COLOR"
    # Lamps need a normal; nothing says which side is out, so it is the side of the thinnest axis that shows.
    axis = np.zeros((len(gaussians), 3), dtype=np.float32)
    axis[np.arange(len(gaussians)), gaussians.scale.argmin(axis=1)] = 1
    return {
        "position": ("FLOAT_VECTOR", convert.to_blender(gaussians.position)),
        "rotation": ("QUATERNION", convert.orientations_to_blender(gaussians.rotation)),
        "scale": ("FLOAT_VECTOR", gaussians.scale),
        "radiance:base": (radiance_type, np.column_stack([gaussians.sh_dc, gaussians.opacity])),
        AXIS: ("FLOAT_VECTOR", axis),
    }
