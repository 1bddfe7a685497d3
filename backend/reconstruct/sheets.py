"""Sheets for what stands off the body: skirts between the legs, long hair, coat tails.

Where the matte shows person but the clothed body does not reach, a front and a back layer close the gap. In wide gaps
each has a grid mesh to hang on, whose skinning weights are diffused from the body around it, so that cloth follows
smoothly; the others, and what lies between trousers, hang on the body's nearest face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from ..estimate.depth import SideDepths
from ..geometry.distances import depth_inside, nearest_of
from ..geometry.kdtree import build_kdtree
from ..geometry.linear import mesh_laplacian
from ..geometry.maps import on_rays, unproject
from ..options import LOWER
from .config import LAYERS, SURFACE_STEP_M, DeformConfig, LayerConfig
from .hull import OtherOutlines, filled
from .parts import ARM_LIMBS, LIMB_OF_JOINT, joint_of_vertex
from .skirts import between_legs, down_legs, find_hem, hem_by_colours

INSET = 2 * DeformConfig.inset
"""Pixels of the maps by which all but the front's splats keep inside the outline: twice as far as the mesh."""


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
    outlines: OtherOutlines | None = None,
    lower: str = LOWER[0],
    rgb: np.ndarray | None = None,
    config: LayerConfig = LAYERS,
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
        outlines: of other pictures.
        lower: one of `LOWER`.
        rgb: uint8 [S, S, 3], where a skirt is said to be whose hem its colours tell.
        config: of gaps and patches.
    """
    in_matte = depth_inside(matte)
    closed = _close_gaps(matte, in_matte, front, back, front_face, leg, focal, depths, config)
    front_all, back_all, wide, broad = closed.front, closed.back, closed.wide, closed.broad
    beside = matte & leg[closed.face]
    middle = (front_all + back_all) / 2
    loose = beside & (front_face < 0)
    points = on_rays(loose, middle, focal)
    between, halfway = between_legs(points, joints, config.halfway)
    hanging = halfway & wide[loose]
    points, half_width = points[hanging], closed.half_width[loose][hanging]
    along = down_legs(on_rays(beside, middle, focal), joints)
    hem = None if lower == "trousers" else find_hem(points, (points[:, 2] / focal) ** 2, joints, config)
    if hem is None and lower == "skirt" and rgb is not None:
        hem = hem_by_colours(along, rgb[beside])
    worn, garment = np.zeros_like(wide), np.zeros_like(wide)
    if hem is None:
        # Trousers: what lies between them goes with the nearer leg. Legs that turn would part its front and back.
        trousers = np.zeros_like(wide)
        trousers[loose] = between
        half = np.minimum((back_all - front_all) / 2, _radius(trousers) * middle / focal / 2)
        front_all, back_all = np.where(trousers, middle - half, front_all), np.where(trousers, middle + half, back_all)
        wide = wide & ~trousers
    else:
        worn[beside] = (along > 0) & (along < hem)
        if depths is not None:
            most = half_width.max(initial=0.0)
            front_all, back_all = _skirted(front_all, back_all, worn & (front_face >= 0) & depths.known, most, depths)
        wide = wide | worn
        garment = beside & wide
        # The front's splats draw the outline; were the back's as wide, both would add up.
        broad = np.where(beside, (broad | worn) & (in_matte > INSET), broad)
        if outlines is not None:
            front_all, back_all = filled(front_all, back_all, garment, in_matte, outlines, config.cell)
    if outlines is not None:
        front_all, back_all = (outlines.within(side, broad | wide & matte) for side in (front_all, back_all))
    row, column = nearest_of(matte)
    both = np.stack([front_all, back_all])[:, row, column]
    sheet, cell_face = _grid(wide, both, vertices, weights, focal, garment, config)
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
    config: LayerConfig,
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
    half_width = _radius(gap) * middle / focal
    around = (matte | covered).astype(np.float32)
    total = np.maximum(cv2.GaussianBlur(around, (0, 0), config.cell), 1e-6)

    def smoothed(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values * around, (0, 0), config.cell) / total

    smooth = smoothed(middle)
    # Nothing spans two legs that are farther apart in depth than the gap is wide: a flap would hang between them. Other
    # limbs tear such a patch in the rest pose, which is found there.
    allowed = np.where(leg[front_face[nearest]], half_width, np.inf)
    together = 1 / (1 + (smoothed((middle - smooth) ** 2) / allowed**2) ** 2)
    smooth = together * smooth + (1 - together) * middle
    # As thick as the body beside the gap, and round where it ends at the outline.
    window = np.ones((2 * config.cell + 1,) * 2)
    thick = smoothed(cv2.dilate(half.astype(np.float32), window)[nearest])
    rim = np.minimum(in_matte * middle / focal, thick)
    half_gap = np.sqrt(rim * (2 * thick - rim))
    # What is narrow is thin: a corner of a hem, a finger that lies beside the body's.
    broad = gap & (2 * half_width >= config.cell * middle / focal)
    half_gap = np.where(broad, half_gap, np.minimum(half_gap, half_width / 2))
    wide = broad & (together > 0.5)
    middle = np.where(wide, smooth, middle)
    if depths is not None:
        # Rims of limbs go on with their limb; only what stands off is the network's own.
        foretold = wide & depths.known
        # A sheet is as much nearer or farther as its gap is wide: a strip of shadow by a shoe is no train of a dress.
        slack = np.where(foretold, half_width, 0)
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
        half_width=half_width,
    )


def _radius(mask: np.ndarray) -> np.ndarray:
    """The radius in pixels, [S, S], of the largest circle in each connected part of ``mask`` [S, S]; inf elsewhere."""
    labels, count = ndimage.label(mask)
    radii = ndimage.maximum(depth_inside(mask), labels, np.arange(count + 1))
    return np.where(mask, np.asarray(radii)[labels], np.inf)


def _skirted(
    front: np.ndarray, back: np.ndarray, worn: np.ndarray, most: float, depths: SideDepths
) -> tuple[np.ndarray, np.ndarray]:
    """``front`` and ``back`` [S, S] of legs where a skirt is ``worn``, bool [S, S], over them.

    They move to where ``depths`` say that it is, by at most ``most`` metres, and never into the legs: or else the sheet
    between them would be a ridge.
    """
    doubted = (1 - depths.belief) * (depths.back - depths.front - (back - front)) / 2
    return (
        front + worn * (depths.front + doubted - front).clip(-most, 0),
        back + worn * (depths.back - doubted - back).clip(0, most),
    )


def _grid(
    wide: np.ndarray,
    depths: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    focal: float,
    garment: np.ndarray,
    config: LayerConfig,
) -> tuple[GarmentPatch, np.ndarray]:
    """The meshes of front and back, ``depths`` [2, S, S], over ``wide`` [S, S], of which ``garment`` [S, S] is a
    skirt's; and, per pixel, which face of the front's lies there (-1 for none)."""
    size, cell = len(wide), config.cell
    empty = GarmentPatch(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, weights.shape[1])))
    cell_face = np.full(wide.shape, -1)
    if not wide.any():
        return empty, cell_face
    count = (size + cell - 1) // cell

    def cells(pixels: np.ndarray) -> np.ndarray:
        padded = np.zeros((count * cell, count * cell), bool)
        padded[:size, :size] = pixels
        return cast(np.ndarray, padded.reshape(count, cell, count, cell).any((1, 3)))

    def corners(cells: np.ndarray) -> np.ndarray:
        around = np.pad(cells, 1)
        return around[1:, 1:] | around[1:, :-1] | around[:-1, 1:] | around[:-1, :-1]

    used = cells(wide)
    node = corners(used)
    number = np.full(node.shape, -1)
    number[node] = np.arange(node.sum())
    r, c = np.nonzero(node)
    depth = depths[:, (r * cell).clip(0, size - 1), (c * cell).clip(0, size - 1)]
    nodes = np.column_stack([c, r]) * cell
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
    lower = (py % cell) + (px % cell) >= cell
    cell_face[py, px] = cell_number[py // cell, px // cell] * 2 + lower
    hung = _diffused_weights(posed, faces, vertices, weights)
    if garment.any():
        # A hand that hangs beside a skirt does not carry it.
        own = np.tile(corners(cells(garment))[node], 2)
        carries = np.isin(LIMB_OF_JOINT[joint_of_vertex(weights)], ARM_LIMBS, invert=True)
        hung[own] = _diffused_weights(posed, faces, vertices[carries], weights[carries])[own]
    return GarmentPatch(posed, faces, hung), cell_face


def _diffused_weights(posed: np.ndarray, faces: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights [n, 24]: the body's where the sheet touches it, and between those the smoothest."""
    distance, index = build_kdtree(vertices).query(posed, workers=-1)
    touches = 1 / (1 + (distance / SURFACE_STEP_M) ** 4)
    system = (mesh_laplacian(faces, len(posed)) + sparse.diags(touches)).tocsc()
    return splu(system).solve(touches[:, None] * weights[index])
