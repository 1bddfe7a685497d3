"""Sheets for what stands off the body: skirts between the legs, long hair, coat tails.

Where the matte shows person but the clothed body does not reach, a front and a back layer close the gap. In wide gaps
each has a grid mesh to hang on, whose skinning weights are diffused from the body around it, so that cloth follows
smoothly; the others, and what lies between trousers, hang on the body's nearest face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from scipy import ndimage, sparse

from ..estimate.depth import SideDepths
from ..geometry.distances import depth_inside, nearest_of
from ..geometry.kdtree import build_kdtree
from ..geometry.maps import unproject
from .parts import ARM_LIMBS, LIMB_OF_JOINT, joint_of_vertex
from .skirts import Skirt, between_legs, find_skirt

_CELL = 6
"""Pixels between grid nodes."""
_MIN_RADIUS = 4.0
"""Pixels, of the largest circle in a gap; narrower ones need no mesh: their splats hang on the nearest body
face."""
_SMOOTHING = 10.0
"""Pixels, the width over which the depths of the limbs on both sides of a gap blend."""
_MAX_SPREAD = 0.2
_MAX_LEG_SPREAD = 0.08
"""Metres, standard deviation of the depths around a gap above which its two sides are not joined; between legs what
lies there is rather background that the matte took in."""
_STANDS_OFF = 1.0
"""How much nearer or farther than the body beside it a sheet may be, over its gap's half width: a strip of shadow
beside a shoe is no train of a dress."""
INSET = 2.5
"""Pixels of the maps by which all but the front's splats keep inside the outline."""
_ROUNDNESS = 0.06
"""Metres, the radius with which a sheet's section closes at the outline."""


@dataclass(frozen=True)
class LayeredDepthImage:
    """Depth of the person's front and back at every pixel of the matte.

    Attributes:
        front, back: float [S, S] metres along z; meaningful inside the matte.
        face: int [S, S], the mesh face to hang the front on (body or sheet), -1 outside the matte.
        gap: bool [S, S], inside the matte but not covered by the clothed body, and wide enough to have two sides; and
            skirts, also where they lie on legs.
    """

    front: np.ndarray
    back: np.ndarray
    face: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True)
class GarmentPatch:
    """Grid meshes: ``posed`` [n, 3] in camera space, ``faces`` [m, 3] (0-based), ``weights`` [n, 24].

    The second half of nodes and of faces is the back layer's, in the order of the front's.
    """

    posed: np.ndarray
    faces: np.ndarray
    weights: np.ndarray


def push_pull(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill ``values`` [H, W] or [H, W, C] smoothly where ``mask`` [H, W] is false (pyramid interpolation)."""
    flat = values if values.ndim == 3 else values[..., None]
    weight = mask.astype(np.float32)
    pyramid: list[tuple[np.ndarray, np.ndarray]] = [(np.where(mask[..., None], flat, 0).astype(np.float32), weight)]
    while min(pyramid[-1][1].shape) > 2 and pyramid[-1][1].min() <= 0:
        colour, weight = pyramid[-1]
        size = ((colour.shape[1] + 1) // 2, (colour.shape[0] + 1) // 2)
        down_weight = cv2.pyrDown(weight, dstsize=size)
        down = cv2.pyrDown(colour * weight[..., None], dstsize=size).reshape(size[1], size[0], -1)
        filled = down_weight > 1e-3
        down = np.where(filled[..., None], down / np.maximum(down_weight, 1e-9)[..., None], 0)
        pyramid.append((down, filled.astype(np.float32)))
    colour, weight = pyramid[-1]
    known = weight > 0
    if known.any() and not known.all():
        colour = np.where(known[..., None], colour, colour[known].mean(0))
    for finer, fine_weight in reversed(pyramid[:-1]):
        height, width = fine_weight.shape
        up = cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
        colour = np.where(fine_weight[..., None] > 0, finer, up)
    return colour if values.ndim == 3 else colour[..., 0]


def build_layers(
    matte: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    front_face: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    leg: np.ndarray,
    joints: np.ndarray,
    focal: float,
    depths: SideDepths | None = None,
) -> tuple[LayeredDepthImage, GarmentPatch]:
    """Front and back depths over the whole matte, also of skirts before and behind legs, and the meshes of sheets.
    Between trousers there are no meshes, and the layers are at most half as thick as the gap is wide.

    Args:
        matte: bool [S, S].
        front, back: [S, S] first and last depth of the clothed body, inf where it is not hit.
        front_face: int [S, S], first face hit or -1.
        vertices, weights: posed clothed body [V, 3] and [V, 24], source of the diffused weights.
        leg: bool [F], which faces of the body are legs; ``LayeredDepthImage.face`` numbers the sheets' front from F.
        joints: [24, 3] metres, posed, camera space.
        focal: pixels at this resolution.
        depths: of front and back where a network knows them.
    """
    in_matte = depth_inside(matte)
    closed = _close_gaps(matte, in_matte, front, back, front_face, leg, focal, depths)
    front_all, back_all, wide, broad = closed.front, closed.back, closed.wide, closed.broad
    beside = matte & leg[closed.face]
    middle = (front_all + back_all) / 2
    loose = beside & (front_face < 0)
    points = on_rays(loose, middle, focal)
    between, halfway = between_legs(points, joints)
    hanging = halfway & wide[loose]
    points, half_width = points[hanging], closed.half_width[loose][hanging]
    skirt = find_skirt(points, (points[:, 2] / focal) ** 2, joints)
    if skirt is None:
        # Trousers: what lies between them goes with the nearer leg. Legs that turn would part its front and back.
        trousers = np.zeros_like(wide)
        trousers[loose] = between
        half = np.minimum((back_all - front_all) / 2, _radius(trousers) * middle / focal / 2)
        front_all, back_all = np.where(trousers, middle - half, front_all), np.where(trousers, middle + half, back_all)
        wide = wide & ~trousers
    else:
        worn = np.zeros(matte.shape)
        worn[beside] = skirt.inside(on_rays(beside, middle, focal))
        if depths is not None:
            most = _STANDS_OFF * half_width.max()
            front_all, back_all = _skirted(front_all, back_all, worn * (front_face >= 0) * depths.known, most, depths)
        wide = wide | (worn > 0)
        # The front's splats draw the outline; were the back's as wide, both would add up.
        broad = np.where(beside, (broad | (worn > 0)) & (in_matte > INSET), broad)
    row, column = nearest_of(matte)
    both = np.stack([front_all, back_all])[:, row, column]
    sheet, cell_face = _grid(wide, both, vertices, weights, focal, skirt, beside & wide)
    face = closed.face
    if len(sheet.faces):
        face = np.where(wide & (cell_face >= 0), cell_face + len(leg), face)
    return LayeredDepthImage(front_all, back_all, np.where(matte, face, -1), broad), sheet


@dataclass(frozen=True)
class _ClosedGaps:
    """A matte whose gaps are closed.

    Attributes:
        front, back: [S, S] metres, over the whole matte.
        face: int [S, S], the nearest face of the body.
        wide: bool [S, S], gaps that a mesh shall span.
        broad: bool [S, S], gaps wide enough to have two sides.
        half_width: [S, S] metres, the radius of the largest circle in the gap, inf outside gaps.
    """

    front: np.ndarray
    back: np.ndarray
    face: np.ndarray
    wide: np.ndarray
    broad: np.ndarray
    half_width: np.ndarray


def _close_gaps(
    matte: np.ndarray,
    in_matte: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    front_face: np.ndarray,
    leg: np.ndarray,
    focal: float,
    depths: SideDepths | None,
) -> _ClosedGaps:
    """What lies between limbs and beside them, as far as the body around and the outline tell it; see
    :func:`build_layers`. ``in_matte`` [S, S] is how many pixels each is from the outline."""
    covered = front_face >= 0
    gap = matte & ~covered
    finite_front, finite_back = (np.where(covered, d, 0) for d in (front, back))
    middle = (finite_front + finite_back) / 2
    half = (finite_back - finite_front) / 2
    # Each gap continues the nearest body, smoothed: two legs meet halfway, a shoe's rim stays with the shoe.
    nearest = nearest_of(covered)
    middle = middle[nearest].astype(np.float32)
    around = (matte | covered).astype(np.float32)
    smooth = cv2.GaussianBlur(middle * around, (0, 0), _SMOOTHING)
    total = np.maximum(cv2.GaussianBlur(around, (0, 0), _SMOOTHING), 1e-6)
    smooth /= total
    # Nothing spans two limbs of which one is far behind the other, and no narrow gap two legs that are farther apart in
    # depth than it is wide: a flap would hang between them.
    spread = cv2.GaussianBlur((middle - smooth) ** 2 * around, (0, 0), _SMOOTHING) / total
    radius = _radius(gap)
    metres_per_pixel = middle / focal
    narrow = np.minimum(_MAX_LEG_SPREAD, radius * metres_per_pixel)
    allowed = np.where(leg[front_face[nearest]], narrow, _MAX_SPREAD)
    together = 1 / (1 + (spread / allowed**2) ** 2)
    smooth = together * smooth + (1 - together) * middle
    thick = push_pull(cv2.dilate(half.astype(np.float32), np.ones((21, 21), np.uint8)), covered)
    rim = in_matte * metres_per_pixel
    rounded = np.sqrt(rim.clip(0, _ROUNDNESS) * (2 * _ROUNDNESS - rim.clip(0, _ROUNDNESS)))
    half_gap = np.minimum(thick, rounded)
    # What is narrow is thin: a corner of a hem, a finger that lies beside the body's.
    broad = gap & (radius >= _MIN_RADIUS)
    half_gap = np.where(broad, half_gap, np.minimum(half_gap, radius * metres_per_pixel / 2))
    wide = broad & (together > 0.5)
    middle = np.where(wide, smooth, middle)
    if depths is not None:
        # Rims of limbs go on with their limb; only what stands off is the network's own.
        foretold = wide & depths.known
        slack = _STANDS_OFF * np.where(foretold, radius, 0) * metres_per_pixel
        doubted = (1 - depths.belief) * ((depths.back - depths.front) / 2 - half_gap)
        near, far = (
            said.clip(own - slack, own + slack)
            for said, own in (
                (depths.front + doubted, middle - half_gap),
                (depths.back - doubted, middle + half_gap),
            )
        )
        middle = np.where(foretold, (near + far) / 2, middle)
        half_gap = np.where(foretold, (far - near) / 2, half_gap)
    return _ClosedGaps(
        front=np.where(covered, finite_front, middle - half_gap),
        back=np.where(covered, finite_back, middle + half_gap),
        face=front_face[nearest],
        wide=wide,
        broad=broad,
        half_width=radius * metres_per_pixel,
    )


def _radius(mask: np.ndarray) -> np.ndarray:
    """The radius in pixels, [S, S], of the largest circle in each connected part of ``mask`` [S, S]; inf elsewhere."""
    labels, count = ndimage.label(mask)
    radii = ndimage.maximum(depth_inside(mask), labels, np.arange(count + 1))
    return np.where(mask, np.asarray(radii)[labels], np.inf)


def _skirted(
    front: np.ndarray, back: np.ndarray, worn: np.ndarray, most: float, depths: SideDepths
) -> tuple[np.ndarray, np.ndarray]:
    """``front`` and ``back`` [S, S] of legs where a skirt is ``worn`` [S, S], in 0..1, over them.

    They move to where ``depths`` say that it is, by at most ``most`` metres, and never into the legs: or else the sheet
    between them would be a ridge.
    """
    doubted = (1 - depths.belief) * (depths.back - depths.front - (back - front)) / 2
    return (
        front + worn * (depths.front + doubted - front).clip(-most, 0),
        back + worn * (depths.back - doubted - back).clip(0, most),
    )


_STEP = 0.03
"""Metres of depth between neighbouring pixels from which they belong to different surfaces."""
_ISLAND = 60
"""Pixels below which a surface is none."""


def without_islands(layers: LayeredDepthImage) -> LayeredDepthImage:
    """``layers`` with islands of the front that float before or behind all around them put to the nearest surface."""
    inside = layers.face >= 0
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    pairs = []
    for axis in (0, 1):
        one, other = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(-1),)
        joined = inside[one] & inside[other] & (np.abs(np.diff(layers.front, axis=axis)) < _STEP)
        pairs.append(np.stack([number[one][joined], number[other][joined]]))
    first, second = np.concatenate(pairs, 1)
    graph = sparse.coo_matrix((np.ones(len(first), bool), (first, second)), (inside.sum(),) * 2)
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    large = np.bincount(label) >= _ISLAND
    kept = np.zeros(inside.shape, bool)
    kept[inside] = large[label]
    if not kept.any():
        return layers
    return put_to_nearest(layers, kept)


def put_to_nearest(layers: LayeredDepthImage, kept: np.ndarray) -> LayeredDepthImage:
    """``layers`` with all of the matte that is not ``kept``, bool [S, S], put to the surface of the nearest pixel that
    is, and thin. ``gap`` stays."""
    nearest = nearest_of(kept)
    moved = (layers.face >= 0) & ~kept
    front = np.where(moved, layers.front[nearest], layers.front)
    thick = (layers.back - layers.front).clip(0, _STEP)
    return replace(
        layers,
        front=front,
        back=np.where(moved, front + thick, layers.back),
        face=np.where(moved, layers.face[nearest], layers.face),
    )


def _grid(
    wide: np.ndarray,
    depths: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    focal: float,
    skirt: Skirt | None,
    garment: np.ndarray,
) -> tuple[GarmentPatch, np.ndarray]:
    """The meshes of front and back, ``depths`` [2, S, S], over ``wide`` [S, S], of which ``garment`` [S, S] is the
    ``skirt``'s; and, per pixel, which face of the front's lies there (-1 for none)."""
    size = len(wide)
    empty = GarmentPatch(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, weights.shape[1])))
    cell_face = np.full(wide.shape, -1)
    if not wide.any():
        return empty, cell_face
    count = (size + _CELL - 1) // _CELL

    def cells(pixels: np.ndarray) -> np.ndarray:
        padded = np.zeros((count * _CELL, count * _CELL), bool)
        padded[:size, :size] = pixels
        return cast(np.ndarray, padded.reshape(count, _CELL, count, _CELL).any((1, 3)))

    def corners(cells: np.ndarray) -> np.ndarray:
        around = np.pad(cells, 1)
        return around[1:, 1:] | around[1:, :-1] | around[:-1, 1:] | around[:-1, :-1]

    used = cells(wide)
    node = corners(used)
    number = np.full(node.shape, -1)
    number[node] = np.arange(node.sum())
    r, c = np.nonzero(node)
    depth = depths[:, (r * _CELL).clip(0, size - 1), (c * _CELL).clip(0, size - 1)]
    nodes = np.column_stack([c, r]) * _CELL
    posed = np.concatenate([unproject(nodes, side, focal, size) for side in depth])
    ur, uc = np.nonzero(used)
    a, b = number[ur, uc], number[ur, uc + 1]
    d, e = number[ur + 1, uc], number[ur + 1, uc + 1]
    # Wound so that the normal points to the camera (-z).
    faces = np.stack([np.stack([a, d, b], 1), np.stack([b, d, e], 1)], 1).reshape(-1, 3)
    faces = np.concatenate([faces, faces[:, ::-1] + len(r)])
    cell_number = np.full(used.shape, -1)
    cell_number[used] = np.arange(used.sum())
    py, px = np.nonzero(wide)
    lower = (py % _CELL) + (px % _CELL) >= _CELL
    cell_face[py, px] = cell_number[py // _CELL, px // _CELL] * 2 + lower
    hung = _diffused_weights(posed, faces, vertices, weights)
    if skirt is not None:
        own = np.tile(corners(cells(garment))[node], 2)
        # A hand that hangs beside it does not carry it.
        carries = np.isin(LIMB_OF_JOINT[joint_of_vertex(weights)], ARM_LIMBS, invert=True)
        legs = _diffused_weights(posed, faces, vertices[carries], weights[carries])
        hung[own] = skirt.carry(posed[own], hung[own], legs[own])
    return GarmentPatch(posed, faces, hung), cell_face


def on_rays(chosen: np.ndarray, depth: np.ndarray, focal: float) -> np.ndarray:
    """Places [n, 3] on the rays of the pixels where ``chosen`` [S, S], at ``depth`` [S, S]."""
    row, column = np.nonzero(chosen)
    return unproject(np.column_stack([column, row]) + 0.5, depth[chosen], focal, len(chosen))


def _diffused_weights(posed: np.ndarray, faces: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights [n, 24]: from the body around each node, then smoothed along the sheet."""
    distance, index = build_kdtree(vertices).query(posed, k=24, workers=-1)
    blend = 1 / (distance**2 + 0.04**2)
    out = (weights[index] * (blend / blend.sum(1, keepdims=True))[..., None]).sum(1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (len(posed), len(posed)))
    degree = np.asarray(adjacency.sum(1))
    for _ in range(10):
        out = 0.5 * out + 0.5 * (adjacency @ out) / np.maximum(degree, 1)
    return out / out.sum(1, keepdims=True)
