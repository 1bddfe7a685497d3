"""What the photo shows of each splat: its colour there, how sure that is, and whether it may go on elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..body.model import JOINT_INDEX
from ..prepare import PreparedPhoto, extend_colours
from .clothed import joint_of_vertex
from .distances import depth_inside
from .maps import MAP_SIZE, barycentric, bilinear, project, sample_map
from .misleading import misleading
from .regions import (
    ARM_CLASS,
    FACE_CLASS,
    HAIR_CLASS,
    HAND_CLASS,
    MIN_HAIR,
    NAPE_CLASS,
    SEAT_CLASS,
    BodyRegions,
    class_of_joint,
    class_of_region,
    class_within,
)
from .sheets import Layers
from .splats import Splats, in_sight
from .types import SurfaceMesh

_PURE = 3.0
"""Pixels from the outline beyond which no background can have mixed into the photo's colours."""
_SURE = 8.0
"""Pixels from the outline from which a colour is as sure as any."""
_LIMB_RIM = 10
"""Pixels of the maps around a hand, or an arm, that may show its skin."""
_RARE = 0.005
"""Share of the surely seen splats below which a part of the body does not count as seen."""
_NEVER_RARE = (HAIR_CLASS, NAPE_CLASS, FACE_CLASS, SEAT_CLASS)
"""Parts to which that does not apply: others have not their colours."""


@dataclass(frozen=True)
class Shown:
    """What the photo shows of n splats, the first ``front_count`` of them the front's.

    Attributes:
        front_count: see above.
        rest: [n, 3] in the rest pose.
        kind: [n] part of the body whose colours a splat may take.
        facing: [n] cosine between surface and ray.
        pixels: [n, 2] at the maps' resolution.
        rgb: [n, 3] the photo's colours there, free of background.
        depth_in: [n] pixels from the outline, 0 where something else is in front.
        sure: [n] how sure the colours are.
        source: bool [n], whose colours go on elsewhere.
        local: bool [n], whose colours would, did they not belong to a print or the like.
    """

    front_count: int
    rest: np.ndarray
    kind: np.ndarray
    facing: np.ndarray
    pixels: np.ndarray
    rgb: np.ndarray
    depth_in: np.ndarray
    sure: np.ndarray
    source: np.ndarray
    local: np.ndarray


def what_is_shown(
    regions: BodyRegions,
    mesh: SurfaceMesh,
    splats: Splats,
    rest: np.ndarray,
    front_count: int,
    layers: Layers,
    pure: np.ndarray,
    focal: float,
) -> Shown:
    """What the photo shows of splats.

    Args:
        regions: of the body.
        mesh: what the splats hang on.
        splats: n of them, the first ``front_count`` the front's.
        rest: [n, 3] metres, where they are in the rest pose.
        front_count: see above.
        layers: depths at the maps' resolution.
        pure: the photo's colours in 0..1 at any resolution, free of background.
        focal: at the maps' resolution.
    """
    corner = mesh.faces[splats.face]
    kind_of_vertex = class_of_joint()[joint_of_vertex(mesh.weights)]
    class_of_region(kind_of_vertex[: mesh.body_vertices], regions)
    kind = _kinds(rest, mesh, corner, kind_of_vertex, regions)
    facing = -(splats.normal * splats.position).sum(1) / np.linalg.norm(splats.position, axis=1)
    pixels = project(splats.position, focal)
    photo_rgb = bilinear(pure, pixels * pure.shape[0] / MAP_SIZE).astype(float)
    # How far from the outline, in pixels of the maps; 0 where something else is in front.
    depth_in = sample_map(depth_inside(layers.face >= 0), pixels)
    depth_in = np.where(in_sight(splats.position, splats.face, pixels, mesh, layers), depth_in, 0.0)
    for hand in layers.hands:
        # Clothes that lie behind a finger are not its colour.
        inner = sample_map(depth_inside(hand.shown), pixels)
        mine = (splats.face < mesh.body_faces) & hand.faces[splats.face.clip(0, mesh.body_faces - 1)]
        depth_in[mine] = np.minimum(depth_in[mine], np.where(inner[mine] > 0, inner[mine] + _PURE - 1, 0))

    shown = np.where(layers.face >= 0, kind_of_vertex[mesh.faces[layers.face.clip(0), 0]], np.nan)

    def beside(limb: float) -> np.ndarray:
        near = cv2.dilate((shown == limb).astype(np.uint8), np.ones((2 * _LIMB_RIM + 1,) * 2, np.uint8))
        return sample_map(near, pixels) > 0

    front = np.arange(len(kind)) < front_count
    source = front & (depth_in > _PURE) & (facing > 0.3)
    # Hair is often seen as a rim only.
    source |= front & (kind == HAIR_CLASS) & (depth_in > 1.5)
    local = source & misleading(rest, kind, photo_rgb, source, beside(ARM_CLASS))
    source &= ~local
    _drop_rare(kind, source)
    if _long_hair(mesh, rest, kind, photo_rgb, source):
        kind[(kind == NAPE_CLASS) & ~front] = HAIR_CLASS
        throat = rest[:, 2] < np.median(mesh.rest[: mesh.body_vertices][regions.nape, 2])
        kind[_on_neck(mesh, corner) & throat & ~front] = HAIR_CLASS
    if (kind[source] == HAIR_CLASS).sum() < MIN_HAIR:
        # No hair in sight (the frame cuts the head, or a hand hides it): any part of the head must do.
        kind[(kind == NAPE_CLASS) | (kind == FACE_CLASS)] = HAIR_CLASS
    elif min((kind[source] == HAND_CLASS).sum(), MIN_HAIR) > (kind[source] == FACE_CLASS).sum():
        # Seen from behind: a face has the colour of hands, not of hair.
        kind[(kind == FACE_CLASS) & ~front] = HAND_CLASS
    sure = np.minimum(depth_in / _SURE, 1) * facing.clip(0, 1)
    # Hands are seldom fitted to the pixel: what lies beside one may show its skin.
    sure[beside(HAND_CLASS) & (kind != HAND_CLASS)] = 0
    return Shown(front_count, rest, kind, facing, pixels, photo_rgb, depth_in, sure, source, local)


def _kinds(
    places: np.ndarray, mesh: SurfaceMesh, corner: np.ndarray, kind_of_vertex: np.ndarray, regions: BodyRegions
) -> np.ndarray:
    """Class [n] of ``places`` [n, 3] in the rest pose on triangles ``corner`` [n, 3] of ``mesh``.

    Borders between classes cut through triangles, or they would have the teeth of the mesh.
    """
    kinds = kind_of_vertex[corner]
    out = kinds[:, 0].copy()
    border = np.flatnonzero((kinds[:, 1:] != kinds[:, :1]).any(1))
    kinds, corner = kinds[border], corner[border]
    share = barycentric(places[border], mesh.rest[corner])
    most = (share[:, :, None] * (kinds[:, :, None] == kinds[:, None])).sum(1).argmax(1)
    chosen = np.take_along_axis(kinds, most[:, None], 1)[:, 0]
    head = np.isin(kinds, (FACE_CLASS, HAIR_CLASS, NAPE_CLASS)).all(1)
    chosen[head] = class_within(np.einsum("nc,ncr->nr", share[head], regions.inside[corner[head]]))
    out[border] = chosen
    return out


def pure_colours(photo: PreparedPhoto, image: np.ndarray) -> np.ndarray:
    """``image`` without what an enlarged small photo mixes in around the outline: wider than the matte's rim."""
    blur = int(photo.rgb.shape[0] / max(photo.crop[2], 1))
    if blur < 2:
        return image
    inner = cv2.erode((photo.alpha > 0.95).astype(np.uint8), np.ones((2 * blur + 1,) * 2, np.uint8))
    near = cv2.distanceTransform(1 - inner, cv2.DIST_L2, 3) < 3 * blur
    pure = extend_colours(photo.rgb, inner.astype(np.float32)).astype(np.float32) / 255
    return np.where(near[..., None], pure, image)


def _drop_rare(kind: np.ndarray, source: np.ndarray) -> None:
    """Takes out of ``source`` [n] the classes that hardly show: a scrap of table where a leg should begin, say."""
    kinds, counts = np.unique(kind[source], return_counts=True)
    rare = kinds[(counts < _RARE * source.sum()) & ~np.isin(kinds, _NEVER_RARE)]
    source &= ~np.isin(kind, rare)


def _on_neck(mesh: SurfaceMesh, corner: np.ndarray) -> np.ndarray:
    return joint_of_vertex(mesh.weights)[corner[:, 0]] == JOINT_INDEX["neck"]


def _long_hair(mesh: SurfaceMesh, rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray) -> bool:
    """Whether hair shows beside the neck: then it covers the neck from behind too."""
    face, hair = source & (kind == FACE_CLASS), source & (kind == HAIR_CLASS)
    if min(face.sum(), hair.sum()) < MIN_HAIR:
        return False
    skin, strand = np.median(rgb[face], 0), np.median(rgb[hair], 0)
    neck = mesh.rest[: mesh.body_vertices][joint_of_vertex(mesh.weights[: mesh.body_vertices]) == JOINT_INDEX["neck"]]
    low, high = np.median(neck[:, 1]), neck[:, 1].max()
    inner = np.abs(neck[:, 0]).max()
    beside = source & (rest[:, 1] > low) & (rest[:, 1] < high) & (np.abs(rest[:, 0]) > 0.7 * inner)
    beside &= np.abs(rest[:, 0]) < 2 * inner
    like_hair = np.linalg.norm(rgb - strand, axis=1) < 0.5 * np.linalg.norm(rgb - skin, axis=1)
    return bool((beside & like_hair).sum() > max(MIN_HAIR, 0.3 * beside.sum()))
