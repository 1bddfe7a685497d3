"""Evaluated splats as numpy arrays: what the bind group makes of the current pose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np

from ...backend.avatar import quaternion
from ...backend.avatar.gaussians import Gaussians
from . import attributes, convert, edits
from .splats import DISPLAY_MODIFIER


@contextmanager
def readable(splats: bpy.types.Object) -> Iterator[None]:
    """While this holds, the display group is off, so that evaluation ends with plain splats.

    Wrap a whole sequence in it: switching the display costs an evaluation each way.
    """
    modifier = splats.modifiers.get(DISPLAY_MODIFIER)
    shown = modifier is not None and modifier.show_viewport
    if shown:
        modifier.show_viewport = False
    try:
        yield
    finally:
        if shown:
            modifier.show_viewport = True


def read_splats(
    context: bpy.types.Context, splats: bpy.types.Object, world: bool = False, edited: bool = True
) -> Gaussians:
    """The posed splats in avatar space (y up, metres), float32.

    `world` applies the object's world transform, of which the scale is taken as uniform. `edited` gives what is drawn:
    painted colours, brightness, saturation and splat size, without the splats that are erased, cut or cropped; False
    gives every splat as it was imported. Inside :func:`readable` a call reads the current frame; outside it switches
    the display off and on by itself.
    """
    with readable(splats):
        depsgraph = context.evaluated_depsgraph_get()
        evaluated = splats.evaluated_get(depsgraph)
        position, rotation, scale, radiance = (
            attributes.read_points(evaluated.data, name) for name in ("position", "rotation", "scale", "radiance:base")
        )
        matrix = np.array(evaluated.matrix_world, dtype=np.float64)
        made = edits.read_edits(depsgraph, splats) if edited else None
    kept = None if made is None else edits.kept_splats(made, position, radiance[:, 3])
    if world:
        factor = np.cbrt(np.linalg.det(matrix[:3, :3]))
        position = (position @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
        turn = quaternion.from_matrix(matrix[:3, :3] / factor).astype(np.float32)
        rotation = quaternion.multiply(turn, rotation)
        scale = scale * np.float32(abs(factor))
    gaussians = Gaussians(
        position=convert.from_blender(position),
        rotation=quaternion.normalize(convert.orientations_from_blender(rotation)),
        scale=scale,
        opacity=radiance[:, 3].copy(),
        sh_dc=radiance[:, :3].copy(),
    )
    return gaussians if made is None else edits.apply_edits(made, gaussians, kept)
