"""Edits of an avatar's splats that lose nothing: erased and painted splats, and the display's settings for exports.

What is erased and painted is kept in attributes of its own beside the splats' (:mod:`.nodes.edit`); taking an edit
back removes it, and the splats are as they were imported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import bpy
import numpy as np

from ...backend.avatar.gaussians import Gaussians, rgb_from_sh, sh_from_rgb
from . import attributes
from .nodes.build import get_input, set_input
from .nodes.display import SPLAT_SIZE, display_group
from .nodes.edit import BRIGHTNESS, COLOUR, CROP_BOX, HIDDEN, LUMINANCE, OPACITY_CUT, SATURATION
from .preview import srgb_to_linear
from .viewport import display_modifier

Selection = np.ndarray
"""Which splats: a mask [N] of bool, or their indices."""

_BOX_MARGIN = 1.05  # a new crop box is so much larger than the avatar, so that it crops nothing at first


# --- Erasing and painting -------------------------------------------------------------------------------------------


def erase(splats: bpy.types.Object, which: Selection) -> None:
    """Hide splats from views, renders and exports. ValueError where the object cannot be edited."""
    hidden = read_hidden(splats)
    hidden[which] = True
    write_hidden(splats, hidden)


def paint(splats: bpy.types.Object, which: Selection, rgb: np.ndarray, strength: float | np.ndarray = 1.0) -> None:
    """Lay a colour over splats and over what was painted on them before.

    Args:
        splats: the splat object.
        which: which splats, M of them.
        rgb: [3] display sRGB 0..1.
        strength: the share of the new colour 0..1, one number or [M]. ValueError where the object cannot be edited.
    """
    colour = read_colour(splats)
    colour[which] = over(colour[which], rgb, strength)
    write_colour(splats, colour)


def restore(
    splats: bpy.types.Object, which: Selection | None = None, hidden: bool = True, colours: bool = True
) -> None:
    """Bring erased splats and the splats' own colours back, of all splats where `which` is None."""
    chosen = slice(None) if which is None else which
    if hidden and HIDDEN in splats.data.attributes:
        values = read_hidden(splats)
        values[chosen] = False
        write_hidden(splats, values)
    if colours and COLOUR in splats.data.attributes:
        values = read_colour(splats)
        values[chosen] = 0.0
        write_colour(splats, values)


def clear_edits(splats: bpy.types.Object) -> None:
    """Forget everything that was erased and painted."""
    restore(splats)


def has_edits(splats: bpy.types.Object) -> bool:
    """Whether anything is erased or painted."""
    return any(name in splats.data.attributes for name in (HIDDEN, COLOUR))


def copy_edits(source: bpy.types.Object, target: bpy.types.Object) -> bool:
    """Erase and paint `target` as `source`; whether that was possible: both must have their splats at the same places.

    ValueError where `target` cannot be edited.
    """
    places = [attributes.read_points(obj.data, "position") for obj in (source, target)]
    if not np.array_equal(*places):
        return False
    if has_edits(source):
        write_hidden(target, read_hidden(source))
        write_colour(target, read_colour(source))
    return True


def over(below: np.ndarray, rgb: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """A colour laid over painted colours, as glazes: [M, 4] of `below` [M, 4] (rgb and share), `rgb` [3], `share`."""
    new = np.broadcast_to(np.asarray(share, dtype=np.float32), below.shape[:1])[:, None]
    kept = below[:, 3:] * (1 - new)
    total = kept + new
    mixed = (below[:, :3] * kept + np.asarray(rgb, dtype=np.float32) * new) / np.maximum(total, 1e-12)
    return np.concatenate([np.where(total > 0, mixed, below[:, :3]), total], axis=1).astype(np.float32)


def read_hidden(splats: bpy.types.Object) -> np.ndarray:
    """[N] bool: which splats are erased."""
    return _read(splats.data, HIDDEN, np.zeros(_count(splats.data), dtype=np.float32)) > 0.5


def read_colour(splats: bpy.types.Object) -> np.ndarray:
    """[N, 4]: the painted display sRGB colour of each splat, and its share over the splat's own."""
    return _read(splats.data, COLOUR, np.zeros((_count(splats.data), 4), dtype=np.float32))


def write_hidden(splats: bpy.types.Object, hidden: np.ndarray) -> None:
    """Set which splats are erased, [N] bool. ValueError where the object cannot be edited."""
    _write(splats, HIDDEN, "FLOAT", hidden if hidden.any() else None)


def write_colour(splats: bpy.types.Object, colour: np.ndarray) -> None:
    """Set the painted colours, [N, 4] as :func:`read_colour`. ValueError where the object cannot be edited."""
    _write(splats, COLOUR, "FLOAT_COLOR", colour if colour[:, 3].any() else None)


def _count(data: bpy.types.Mesh | bpy.types.PointCloud) -> int:
    return len(data.attributes["position"].data)


def _read(data: bpy.types.Mesh | bpy.types.PointCloud, name: str, default: np.ndarray) -> np.ndarray:
    return attributes.read_points(data, name) if name in data.attributes else default


def _write(splats: bpy.types.Object, name: str, data_type: str, values: np.ndarray | None) -> None:
    """Write an attribute; None removes it."""
    data = splats.data
    if data.library is not None:
        raise ValueError(f"{splats.name} is linked from another file: make it local first.")
    if splats.mode != "OBJECT":
        raise ValueError(f"Leave {splats.mode.title().replace('_', ' ')} Mode of {splats.name} first.")
    if values is not None:
        modifier = display_modifier(splats)
        if modifier is not None and modifier.node_group is not None and modifier.node_group.library is None:
            display_group()  # a file from before there were edits has a group that does not know them
        attributes.write_points(data, {name: (data_type, values)})
    elif name in data.attributes:
        data.attributes.remove(data.attributes[name])
    data.update_tag()


# --- What the display makes of the edits ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Edits:
    """What the display group does to splats before it draws them; the defaults do nothing.

    Attributes:
        hidden: [N] bool.
        colour: [N, 4] display sRGB and share 0..1.
        brightness: times the light.
        saturation: 0 is grey, 1 as it is.
        opacity_cut: splats of a lower opacity vanish.
        size: times the splats' scale.
        crop: [4, 4] from the splats' own space to the crop box' cube -1..1; None where there is no box.
    """

    hidden: np.ndarray | None = None
    colour: np.ndarray | None = None
    brightness: float = 1.0
    saturation: float = 1.0
    opacity_cut: float = 0.0
    size: float = 1.0
    crop: np.ndarray | None = None


def read_edits(depsgraph: bpy.types.Depsgraph, splats: bpy.types.Object) -> Edits:
    """The edits of a splat object at the depsgraph's frame."""
    data = splats.data
    edits = Edits(
        hidden=read_hidden(splats) if HIDDEN in data.attributes else None,
        colour=read_colour(splats) if COLOUR in data.attributes else None,
    )
    modifier = display_modifier(splats)
    if modifier is None or modifier.node_group is None:
        return edits
    try:
        box = get_input(modifier, CROP_BOX)
        numbers = [float(get_input(modifier, name)) for name in (BRIGHTNESS, SATURATION, OPACITY_CUT, SPLAT_SIZE)]
    except (KeyError, ValueError):  # the group is older
        return edits
    crop = None
    if box is not None:
        own, other = (np.array(obj.evaluated_get(depsgraph).matrix_world, dtype=np.float64) for obj in (splats, box))
        if abs(np.linalg.det(other[:3, :3])) > 0:
            crop = np.linalg.inv(other) @ own
    brightness, saturation, opacity_cut, size = numbers
    return replace(edits, brightness=brightness, saturation=saturation, opacity_cut=opacity_cut, size=size, crop=crop)


def kept_splats(edits: Edits, position: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """[N] bool: which splats the edits leave. `position` [N, 3] in the splat object's own space, `opacity` [N]."""
    kept = opacity >= np.float32(edits.opacity_cut)
    if edits.hidden is not None:
        kept &= ~edits.hidden
    if edits.crop is not None:
        place = position @ edits.crop[:3, :3].T + edits.crop[:3, 3]
        kept &= np.abs(place).max(axis=1) <= 1.0
    return kept


def edited_dc(edits: Edits, dc: np.ndarray) -> np.ndarray:
    """[N, 3] coefficients of the colours after painting, saturation and brightness; `dc` itself at the defaults."""
    if edits.colour is not None:
        dc = dc + edits.colour[:, 3:] * (sh_from_rgb(edits.colour[:, :3]).astype(np.float32) - dc)
    if edits.brightness == 1.0 and edits.saturation == 1.0:
        return dc
    light = srgb_to_linear(np.clip(rgb_from_sh(dc), 0, 1))
    grey = light @ np.array(LUMINANCE)
    light = grey[:, None] + edits.saturation * (light - grey[:, None])
    return sh_from_rgb(_linear_to_srgb(np.clip(edits.brightness * light, 0, 1))).astype(np.float32)


def apply_edits(edits: Edits, gaussians: Gaussians, kept: np.ndarray) -> Gaussians:
    """The splats `kept` [N] bool with the edits' colours and size."""
    whole = replace(
        gaussians,
        sh_dc=edited_dc(edits, gaussians.sh_dc),
        scale=gaussians.scale if edits.size == 1.0 else gaussians.scale * np.float32(edits.size),
    )
    if kept.all():
        return whole
    return Gaussians(
        position=whole.position[kept],
        rotation=whole.rotation[kept],
        scale=whole.scale[kept],
        opacity=whole.opacity[kept],
        sh_dc=whole.sh_dc[kept],
    )


def _linear_to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


# --- Crop box -------------------------------------------------------------------------------------------------------


def crop_box(splats: bpy.types.Object) -> bpy.types.Object | None:
    """The object that crops these splats, or None."""
    modifier = display_modifier(splats)
    try:
        return get_input(modifier, CROP_BOX) if modifier is not None and modifier.node_group is not None else None
    except (KeyError, ValueError):
        return None


def set_crop_box(splats: bpy.types.Object, box: bpy.types.Object | None) -> None:
    """Crop the splats by an object's cube, or no more. ValueError where Blender draws the splats itself."""
    modifier = display_modifier(splats)
    if modifier is None:
        raise ValueError("This Blender draws the splats itself, which knows no crop box.")
    display_group()
    set_input(modifier, CROP_BOX, box)


def add_crop_box(splats: bpy.types.Object, positions: np.ndarray) -> bpy.types.Object:
    """An empty around the splats that crops them, in their collections; it moves with the avatar.

    Args:
        splats: the splat object.
        positions: [N, 3] the posed splats in the object's own space, metres.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    box = bpy.data.objects.new(f"{splats.name} Crop", None)
    box.empty_display_type, box.empty_display_size = "CUBE", 1.0
    for collection in splats.users_collection:
        collection.objects.link(box)
    box.parent = splats.parent
    box.location = ((low + high) / 2).tolist()
    box.scale = np.maximum((high - low) / 2 * _BOX_MARGIN, 0.01).tolist()
    set_crop_box(splats, box)
    return box


# --- Floaters -------------------------------------------------------------------------------------------------------


def remove_floaters(splats: bpy.types.Object, radius: float, minimum: int) -> int:
    """Erase splats with fewer than `minimum` others, erased ones not counted, within `radius` metres at rest."""
    hidden = read_hidden(splats)
    shown = np.flatnonzero(~hidden)
    if not len(shown):
        return 0
    found = shown[find_floaters(attributes.read_points(splats.data, "position")[shown], radius, minimum)]
    if len(found):
        erase(splats, found)
    return len(found)


def find_floaters(positions: np.ndarray, radius: float, minimum: int) -> np.ndarray:
    """[N] bool: which points have fewer than `minimum` others within `radius`.

    Args:
        positions: [N, 3] metres.
        radius: metres.
        minimum: number of neighbours.
    """
    # All points of a cell of this size are within the radius of each other: full cells hold no floaters.
    _, cell, members = _cells(positions, radius / np.sqrt(3))
    alone = np.flatnonzero(members[cell] <= minimum)
    keys, cell, members = _cells(positions, radius)
    order = np.argsort(cell, kind="stable")
    first = np.concatenate([[0], np.cumsum(members)])
    # Keys are three whole numbers in one, so a neighbouring cell's key is a sum away.
    grid = np.floor((positions[alone].astype(np.float64) - positions.min(axis=0)) / radius).astype(np.int64) + 1
    count = np.zeros(len(alone), dtype=np.int64)
    steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    for step in steps:
        wanted = _key(grid + step)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        size = np.where(keys[at] == wanted, members[at], 0)
        owner = np.repeat(np.arange(len(alone)), size)
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        other = order[np.repeat(first[at], size) + within]
        near = ((positions[alone[owner]] - positions[other]) ** 2).sum(axis=1) <= radius**2
        count += np.bincount(owner[near], minlength=len(alone))
    floats = np.zeros(len(positions), dtype=bool)
    floats[alone] = count - 1 < minimum  # each point has found itself
    return floats


def _cells(positions: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted keys of the occupied cells, each point's index into them [N], and how many points each holds."""
    grid = np.floor((positions.astype(np.float64) - positions.min(axis=0)) / size).astype(np.int64) + 1
    return np.unique(_key(grid), return_inverse=True, return_counts=True)


def _key(grid: np.ndarray) -> np.ndarray:
    return (grid[:, 0] << 42) | (grid[:, 1] << 21) | grid[:, 2]
