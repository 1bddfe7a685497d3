"""The ``surface`` preset: splats on the clothed body, coloured from the photo. Needs no trained weights.

1. The fitted body is pushed to the matte's outline (:mod:`.clothed`); sheets close what still gapes (:mod:`.sheets`).
2. Front: one splat for each cell of a grid over the matte, on the first surface its ray meets, with the photo's colour.
3. The rest: splats spread evenly over everything that the front does not cover, coloured by :mod:`.colours`.
4. The front's colours are corrected by rendering and comparing with the photo, so that overlap does not blur it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
from scipy import ndimage, sparse

from ..avatar.quaternion import from_matrix
from ..avatar.skinning import triangle_frames
from ..avatar.threads import workers
from ..body.fit import BodyFit
from ..body.model import JOINT_INDEX, BodyModel, rotation_matrices
from ..prepare import PreparedPhoto, extend_colours, own_colours
from ..rendering import CameraTensors, Contributions, GaussianTensors, contributions
from ..rendering.mesh import rasterize_mesh, vertex_normals
from .clothed import CHAIN_OF_JOINT, LEG_CHAINS, carve, joint_of_vertex, meet_depths, outline_displacement, ways_in
from .colours import fill_unseen
from .distances import depth_inside, nearest_of
from .hands import find_hands, with_shown, without_absent
from .misleading import misleading
from .neighbours import tree_of
from .regions import (
    ARM_CLASS,
    FACE_CLASS,
    HAIR_CLASS,
    HAND_CLASS,
    MIN_HAIR,
    NAPE_CLASS,
    SEAT_CLASS,
    BodyRegions,
    body_regions,
    class_of_joint,
    class_of_region,
)
from .sampling import poisson_disk_samples
from .shading import PhotoLight
from .sheets import INSET, Layers, Sheet, build_layers, without_islands
from .types import Reconstruction, SideDepths, SurfaceMesh


@dataclass(frozen=True)
class SurfaceConfig:
    """Numbers of the preset.

    Attributes:
        front_count, rest_count: how many splats, about.
        overlap, rest_overlap: sigma of a splat over the distance to its neighbours, in front and elsewhere.
        thickness: sigma across the surface over sigma along it.
        opacity: of a splat inside the matte.
        corrections: iterations of colour correction.
        correction_size: pixels of the picture that they match; finer than 512 so that close-ups do not ring.
    """

    front_count: int = 60_000
    rest_count: int = 55_000
    overlap: float = 0.65
    rest_overlap: float = 0.76
    thickness: float = 0.2
    opacity: float = 0.97
    corrections: int = 24
    correction_size: int = 768


MAP_SIZE = 512
"""Pixels a side of all maps."""
_DENSITY = {"head": 2.0, "hand": 2.0, "wrist": 1.5, "foot": 1.5}
"""How much denser than elsewhere splats lie on fine parts."""
_PURE = 3.0
"""Pixels from the outline beyond which no background can have mixed into the photo's colours."""
_FIT_DAMPING = 0.15
"""Contribution in pixels below which a splat's colour is not fitted freely."""
_SHOWN = 0.5
"""Pixels of the corrected picture that a splat fills from which the photo counts as showing it."""
_TRACE = (0.02, 0.1)
"""Shares of a splat's light up to which the photo does not show it, and from which it does."""
_FIT_RANGE = 0.4
"""How far a fitted colour may leave the photo's at the same place."""
_SURE = 8.0
"""Pixels from the outline from which a colour is as sure as any."""
_TURNED = (0.1, 0.45)
"""Cosines between surface and ray from which a splat behind the front grid trusts the photo, not at all and wholly."""
ANY = 0.2
"""How far the photo must show a splat for its colour to be the photo's alone."""
_SEAM, _RIM_NEIGHBOURS = 0.015, 6
"""Metres over which the photo's colours fade into those filled in, and how many of its splats say what they are."""
_LIMB_RIM = 10
"""Pixels of the maps around a hand, or an arm, that may show its skin."""
_RARE = 0.005
"""Share of the surely seen splats below which a part of the body does not count as seen."""
_NEVER_RARE = (HAIR_CLASS, NAPE_CLASS, FACE_CLASS, SEAT_CLASS)
"""Parts to which that does not apply: others have not their colours."""
_REST_FIT_RANGE = 0.1
"""The same for splats behind the front grid, which mostly show their other colours from other sides."""
_FACE_ON = 0.6
"""Cosine between surface and ray below which the front grid is too stretched to be trusted alone."""
_STRETCH_RANGE = (0.7, 3.0)
"""Least and most that a splat follows the stretch of its face."""
_MAX_CLOTHES = 0.2
"""Metres that the clothed surface may lie from the body in the rest pose."""
_MAX_TORN = 0.1
"""Share of a sheet that may be torn."""
_MAX_SHEET_STRETCH = 1.7
"""How much longer an edge of a sheet may be in the rest pose than in the photo's."""
_MAX_SNAP = 0.12
"""Metres that a splat outside the matte is moved to reach it; beyond, that part of the body was not there."""


@dataclass(frozen=True)
class _Splats:
    """Splats before they are joined.

    Attributes:
        position, normal: [n, 3], camera space.
        along: [n, 3] direction of the stretch; only its part along the surface counts, and it may be zero.
        sigma, stretch: [n] metres across the stretch, and how many times as much along it.
        opacity: [n] in 0..1.
        face: int [n].
    """

    position: np.ndarray
    normal: np.ndarray
    along: np.ndarray
    sigma: np.ndarray
    stretch: np.ndarray
    opacity: np.ndarray
    face: np.ndarray


_Blend = Callable[[torch.Tensor], torch.Tensor]


class SurfaceReconstructor:
    """The preset for one body model; holds what depends on the model alone.

    Args:
        body: the model.
        config: numbers of the preset.
        device: where renders are computed.
    """

    def __init__(
        self, body: BodyModel, config: SurfaceConfig | None = None, device: torch.device | None = None
    ) -> None:
        self.body = body
        self.config = config or SurfaceConfig()
        self.device = device or torch.device("cpu")
        self.regions = body_regions(body)
        self.faces = body.faces.numpy()
        self.weights = body.weights.numpy()
        template = body.template.numpy()
        fine = np.ones(len(self.faces))
        part = joint_of_vertex(self.weights)[self.faces[:, 0]]
        for name, joint in JOINT_INDEX.items():
            fine[part == joint] = _DENSITY.get(name.removeprefix("left_").removeprefix("right_"), 1.0)
        self.samples = poisson_disk_samples(
            template, self.faces, vertex_normals(template, self.faces), fine, self.config.rest_count
        )

    def reconstruct(
        self,
        fit: BodyFit,
        photo: PreparedPhoto,
        step: Callable[[float, str], None] = lambda fraction, text: None,
        depths: SideDepths | None = None,
        light: PhotoLight | None = None,
        looked: Callable[[np.ndarray], None] = lambda places: None,
    ) -> Reconstruction:
        """Splats of the person in the photo's pose.

        Args:
            fit, photo: from the stages before.
            step: receives the stage's fraction and what is being done; may raise to stop.
            depths: of front and back, :data:`MAP_SIZE` pixels a side, where a network knows them.
            light: of the photo, where a network knows it.
            looked: receives the places [n, 3] of what does not go on elsewhere, such as a print, long before the
                splats have their colours; other views may be imagined meanwhile.
        """
        config = self.config
        step(0.0, "Shaping the clothes")
        # Under a matte that came with the file the person's colours need not be mixed with anything.
        colours = extend_colours if photo.matte_given else partial(own_colours, device=self.device)
        with workers(1, self.device.type) as beside:
            own = beside.submit(colours, photo.rgb, photo.alpha)
            mesh, layers, focal = clothe(self, fit, photo, depths)
            step(0.3, "Placing splats")
            front, pixels = _front(layers, photo, focal, config)
            back = _sheet_back(front, pixels, layers, mesh, focal)
            rest = _rest_of_body(self, mesh, layers, photo, focal)
            joined = _join(front, back, rest)
            axes, scale = _frames(joined)
            scale[:, 2] *= config.thickness
            step(0.4, "Colouring the unseen side")
            drawn = beside.submit(
                _draw, joined, axes, scale, len(pixels), photo.alpha, fit.focal, config.correction_size, self.device
            )
            image = own.result().astype(np.float32) / 255
            look = _look(self.regions, mesh, joined, len(pixels), layers, _pure_colours(photo, image), focal)
            looked(joined.position[look.local])
            rgb, seen = _colour(joined, look, image, light)
        opacity, blending = drawn.result()
        step(0.8, "Matching the photo")
        rgb, shown = _match_photo(joined, scale, opacity, rgb, len(pixels), image, blending, config.corrections)
        kept = opacity > 1 / 255
        return Reconstruction(
            position=joined.position[kept],
            rotation=axes[kept],
            scale=scale[kept],
            opacity=opacity[kept],
            rgb=rgb[kept],
            face=joined.face[kept],
            surface=mesh,
            seen=np.maximum(seen, (shown / _SHOWN).clip(0, 1))[kept],
            local=look.local[kept],
            light=light,
        )


def clothe(
    preset: SurfaceReconstructor, fit: BodyFit, photo: PreparedPhoto, depths: SideDepths | None = None
) -> tuple[SurfaceMesh, Layers, float]:
    """The clothed surface mesh, its depth layers over the matte, and the focal length at the maps' resolution."""
    factor = MAP_SIZE / photo.rgb.shape[0]
    focal = fit.focal * factor
    size = (MAP_SIZE, MAP_SIZE)
    matte = cv2.resize(photo.alpha, size, interpolation=cv2.INTER_AREA) > 0.5
    known = cv2.resize(photo.inside.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    body, faces, weights, device = preset.body, preset.faces, preset.weights, preset.device
    with torch.no_grad():
        rest, joints = (x.numpy() for x in body.shaped(torch.as_tensor(fit.betas)))
        transforms = body.joint_transforms(
            rotation_matrices(torch.as_tensor(fit.pose)), torch.as_tensor(joints)
        ).numpy()
    transforms = transforms.copy()
    transforms[:, :, 3] += fit.translation
    pinned = preset.regions.face
    posed = _skin(rest, weights, transforms)
    for stiffness in (3.0, 3.0, 1.0):
        hits = rasterize_mesh(posed, faces, focal, size, device=device)
        posed = posed + outline_displacement(posed, faces, weights, matte, known, hits.face, focal, pinned, stiffness)
    way_in = ways_in(matte)
    for _ in range(3):
        posed = posed + carve(posed, faces, way_in, known, focal, _MAX_CLOTHES)
    if depths is not None:
        posed = posed + meet_depths(posed, faces, focal, depths, device)
    clothed = _unskin(posed, weights, transforms) - rest
    # Where the blend of a sharply bent joint is near singular, the way back to the rest pose leads anywhere.
    clothed *= np.minimum(1, _MAX_CLOTHES / np.maximum(np.linalg.norm(clothed, axis=1, keepdims=True), 1e-9))
    clothed += rest
    posed = _skin(clothed, weights, transforms)
    first = rasterize_mesh(posed, faces, focal, size, device=device)
    last = rasterize_mesh(posed, faces, focal, size, farthest=True, device=device)
    hands = find_hands(photo, matte, posed, faces, weights, first, focal, device)
    first = without_absent(first, hands, posed, faces, focal, device)
    leg = np.isin(CHAIN_OF_JOINT, LEG_CHAINS)[joint_of_vertex(weights)[faces[:, 0]]]
    turned = _skin(joints, np.eye(len(joints)), transforms)
    layers, sheet = build_layers(matte, first.depth, last.depth, first.face, posed, weights, leg, turned, focal, depths)
    sheet_rest = _unskin(sheet.posed, sheet.weights, transforms)
    layers = _hang_on_body(layers, _torn(sheet_rest, sheet), first.face, len(faces))
    layers = without_islands(with_shown(layers, hands, first))
    mesh = SurfaceMesh(
        rest=np.vstack([clothed, sheet_rest]),
        posed=np.vstack([posed, _skin(sheet_rest, sheet.weights, transforms)]),
        faces=np.vstack([faces, sheet.faces + len(rest)]),
        weights=np.vstack([weights, sheet.weights]),
        body_vertices=len(rest),
        body_faces=len(faces),
    )
    return mesh, layers, focal


def _torn(rest: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Where the rest pose stretches a sheet's front or back too far, as between an arm and the hip beside it: bool [m]
    of the m faces that each of them has."""

    def edges(vertices: np.ndarray) -> np.ndarray:
        corner = vertices[sheet.faces]
        return np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2)

    return (edges(rest) > _MAX_SHEET_STRETCH * edges(sheet.posed)).any(1).reshape(2, -1).any(0)


def _hang_on_body(layers: Layers, torn: np.ndarray, body_face: np.ndarray, body_faces: int) -> Layers:
    """``layers`` with every sheet of which more than a scrap is ``torn`` [m] hung on the body instead.

    ``body_face`` [H, W] is the body's face at each pixel, -1 for none; sheet faces are numbered from ``body_faces``.
    """
    if not torn.any():
        return layers
    sheet = layers.face >= body_faces
    bad = sheet & torn[np.where(sheet, layers.face - body_faces, 0)]
    labels, count = ndimage.label(sheet)
    share = ndimage.mean(bad, labels, np.arange(1, count + 1))
    moved = bad | np.isin(labels, 1 + np.nonzero(share > _MAX_TORN)[0])
    nearest = nearest_of(body_face >= 0)
    face = np.where(moved, body_face[nearest], layers.face)
    # A back of their own have only those that no body fills.
    return replace(layers, face=face, gap=layers.gap & ~(moved & (body_face >= 0)))


def _skin(vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    blended = np.einsum("vj,jab->vab", weights, transforms, optimize=True)
    return np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]


def _unskin(posed: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Rest positions whose linear blend skinning gives ``posed``; where the blend is near singular, a damped answer."""
    blended = np.einsum("vj,jab->vab", weights, transforms, optimize=True)
    linear, shift = blended[:, :, :3], posed - blended[:, :, 3]
    u, s, vt = np.linalg.svd(linear) if len(linear) else (linear, np.zeros((0, 3)), linear)
    damped = s / (s**2 + 1e-3)
    damped = np.where(s > 0.3, 1 / np.maximum(s, 1e-9), damped)
    return np.einsum("vba,vb,vcb,vc->va", vt, damped, u, shift, optimize=True)


def sample_map(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Nearest-pixel look-up of ``values`` [H, W, ...] at ``pixels`` [n, 2] of the same resolution."""
    height, width = values.shape[:2]
    x, y = np.floor(pixels).astype(int).clip(0, [width - 1, height - 1]).T
    return values[y, x]


def _bilinear(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Bilinear look-up of float ``image`` [H, W, C] at ``pixels`` [n, 2] (pixel centres at +0.5)."""
    # OpenCV takes at most 32767 columns: fold the list into rows.
    rows = -(-len(pixels) // 4096)
    folded = np.zeros((rows * 4096, 2), np.float32)
    folded[: len(pixels)] = pixels - 0.5
    x, y = folded.reshape(rows, 4096, 2).transpose(2, 0, 1)
    out = cv2.remap(
        image, np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
    return out.reshape(rows * 4096, -1)[: len(pixels)]


def _front(layers: Layers, photo: PreparedPhoto, focal: float, config: SurfaceConfig) -> tuple[_Splats, np.ndarray]:
    """Splats on a hexagonal grid over the matte, and their pixels [n, 2] at the maps' resolution."""
    alpha = photo.alpha
    factor = MAP_SIZE / alpha.shape[0]
    area = float(alpha.sum()) * factor**2
    spacing = np.sqrt(area / config.front_count)
    rows = np.arange(0.5 * spacing, MAP_SIZE, spacing * np.sqrt(3) / 2)
    spacing_x = spacing * 2 / np.sqrt(3)
    grid = []
    for k, y in enumerate(rows):
        x = np.arange((0.25 + 0.5 * (k % 2)) * spacing_x, MAP_SIZE, spacing_x)
        grid.append(np.column_stack([x, np.full(len(x), y)]))
    pixels = np.vstack(grid)
    opacity = _bilinear(alpha[..., None], pixels / factor).ravel()
    keep = opacity > 0.5
    pixels, opacity = pixels[keep], opacity[keep]
    # Cells at the matte's rim may fall outside the thresholded map: take the layers of the nearest pixel inside it.
    inside = layers.face >= 0
    to_inside = nearest_of(inside)
    column, row = np.floor(pixels).astype(int).clip(0, MAP_SIZE - 1).T
    row, column = to_inside[0][row, column], to_inside[1][row, column]
    depth, face = layers.front[row, column], layers.face[row, column]
    position = _unproject(pixels, depth, focal)
    normal = _layer_normals(layers, focal)[row, column]
    ray = position / np.linalg.norm(position, axis=1, keepdims=True)
    facing = np.maximum(-(normal * ray).sum(1), 0.3)
    sigma = config.overlap * spacing * depth / focal
    splats = _Splats(position, normal, ray, sigma, 1 / facing, config.opacity * opacity, face)
    return splats, pixels


def _layer_normals(layers: Layers, focal: float) -> np.ndarray:
    """Normals [H, W, 3] of the front layer from its smoothed depth, facing the camera, safe at depth jumps."""
    depth = layers.front.astype(np.float32)
    inside = (layers.face >= 0).astype(np.float32)
    blurred = cv2.GaussianBlur(depth * inside, (0, 0), 1.5) / np.maximum(cv2.GaussianBlur(inside, (0, 0), 1.5), 1e-3)
    pixel = np.maximum(blurred, 1e-3) / focal
    slope_x = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8) / pixel
    slope_y = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8) / pixel
    # A jump between two limbs is no slope.
    steep = np.hypot(slope_x, slope_y)
    limit = np.where(steep > 3.0, 3.0 / np.maximum(steep, 1e-6), 1.0)
    limit = np.where(steep > 8.0, 0.0, limit)
    normal = np.stack([slope_x * limit, slope_y * limit, -np.ones_like(depth)], -1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _unproject(pixels: np.ndarray, depth: np.ndarray, focal: float) -> np.ndarray:
    return np.column_stack([(pixels - MAP_SIZE / 2) * depth[:, None] / focal, depth])


def _rest_of_body(
    preset: SurfaceReconstructor, mesh: SurfaceMesh, layers: Layers, photo: PreparedPhoto, focal: float
) -> _Splats:
    """Splats on the body's surface wherever the front grid does not already show it."""
    config, faces = preset.config, preset.faces
    face, bary = preset.samples.face, preset.samples.barycentric
    position = (mesh.posed[faces[face]] * bary[..., None]).sum(1)
    normals = vertex_normals(mesh.posed[: mesh.body_vertices], faces)
    normal = (normals[faces[face]] * bary[..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    pixels = position[:, :2] / position[:, 2:] * focal + MAP_SIZE / 2
    in_frame = ((pixels >= 0) & (pixels < MAP_SIZE)).all(1)
    size = (MAP_SIZE, MAP_SIZE)
    known = cv2.resize(photo.inside.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    in_picture = in_frame & sample_map(known, pixels)
    # The front's splats draw the outline; what lies behind them stays a little inside it, or layers would add up.
    inside = depth_inside(layers.face >= 0) > INSET
    in_matte = in_picture & sample_map(inside, pixels)
    facing = -(normal * position).sum(1) / np.linalg.norm(position, axis=1)
    on_top = position[:, 2] < sample_map(layers.front, pixels) + 0.012
    shown = in_matte & on_top & (facing > _FACE_ON)

    # Body that the photo shows to be absent: bring it to the matte if that is near, else leave it out.
    outside = in_picture & ~in_matte
    nearest = np.column_stack([sample_map(index, pixels) for index in nearest_of(inside)[::-1]]) + 0.5
    gap = np.linalg.norm(nearest - pixels, axis=1) * position[:, 2] / focal
    moved = _unproject(nearest, position[:, 2], focal)
    position = np.where((outside & (gap < _MAX_SNAP))[:, None], moved, position)
    keep = ~shown & ~(outside & (gap >= _MAX_SNAP))
    for hand in layers.hands:
        keep &= ~(hand.faces[face] & sample_map(hand.absent, pixels))
    far = outside & keep & (gap > 0.015)
    face = face.copy()
    face[far] = _nearest_face(mesh, position[far], face[far])
    # Pose and clothes stretch the body that was sampled: splats stretch with their face.
    along, wide, narrow = _face_stretch(preset.body.template.numpy(), mesh.posed, faces)
    own = preset.samples.face
    wide, narrow = wide.clip(*_STRETCH_RANGE)[own], narrow.clip(*_STRETCH_RANGE)[own]
    sigma = config.rest_overlap * preset.samples.spacing * narrow
    opacity = np.full(len(face), config.opacity)
    splats = _Splats(position, normal, along[own], sigma, wide / narrow, opacity, face)
    return _take(splats, keep)


def _face_stretch(rest: np.ndarray, posed: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How each face was stretched: direction of the most [F, 3], unit, in ``posed``; factors [F] along and across it.

    The singular values of the linear map between the planes of a triangle before and after.
    """

    def edges(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frame, _ = triangle_frames(vertices, faces)
        corner = vertices[faces]
        both = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], -1)
        return frame, np.einsum("fai,fab->fib", frame[:, :, :2], both)

    _, before = edges(rest)
    frame, after = edges(posed[: len(rest)])
    left, factors, _ = np.linalg.svd(after @ np.linalg.inv(before))
    return np.einsum("fai,fi->fa", frame[:, :, :2], left[:, :, 0]), factors[:, 0], factors[:, 1]


def _nearest_face(mesh: SurfaceMesh, position: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The body face nearest to each point [n, 3] among those of the same limb as ``face`` [n]."""
    out = face.copy()
    faces = mesh.faces[: mesh.body_faces]
    limb = CHAIN_OF_JOINT[joint_of_vertex(mesh.weights[: mesh.body_vertices])][faces[:, 0]]
    centre = mesh.posed[faces].mean(1)
    for number in np.unique(limb[face]):
        own = np.nonzero(limb == number)[0]
        mine = limb[face] == number
        out[mine] = own[tree_of(centre[own]).query(position[mine], workers=-1)[1]]
    return out


def _take(splats: _Splats, keep: np.ndarray) -> _Splats:
    return _Splats(*(getattr(splats, name)[keep] for name in _Splats.__dataclass_fields__))


def _join(*parts: _Splats) -> _Splats:
    return _Splats(*(np.concatenate([getattr(p, n) for p in parts]) for n in _Splats.__dataclass_fields__))


def _frames(splats: _Splats) -> tuple[np.ndarray, np.ndarray]:
    """Axes [n, 3, 3] (direction of the stretch, across it, normal) and linear scales [n, 3] of splats."""
    slope = splats.along - (splats.along * splats.normal).sum(1, keepdims=True) * splats.normal
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    helper = np.where(np.abs(splats.normal[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    helper = np.cross(splats.normal, helper)
    slope = np.where(
        length > 1e-3, slope / np.maximum(length, 1e-9), helper / np.linalg.norm(helper, axis=1, keepdims=True)
    )
    axes = np.stack([slope, np.cross(splats.normal, slope), splats.normal], -1)
    return axes, np.stack([splats.sigma * splats.stretch, splats.sigma, splats.sigma], 1)


@dataclass(frozen=True)
class _Blending:
    """How n splats make up the m pixels of a picture that show the person.

    Attributes:
        rows: bool [size^2], which pixels those are.
        size: pixels a side of the picture.
        focal: in its pixels.
        to_pixels: from values [n, C] of splats to those [m, C] of the pixels.
        to_splats: the transpose.
    """

    rows: torch.Tensor
    size: int
    focal: float
    to_pixels: _Blend
    to_splats: _Blend


def _draw(
    splats: _Splats,
    axes: np.ndarray,
    scale: np.ndarray,
    front_count: int,
    alpha: np.ndarray,
    focal: float,
    size: int,
    device: torch.device,
) -> tuple[np.ndarray, _Blending]:
    """Opacities [n] with which the render keeps to the matte, and how the splats blend in it.

    Front splats whose light falls outside the matte fade, or the outline would grow by their width.

    Args:
        splats: the first ``front_count`` are the front's.
        axes, scale: of :func:`_frames`.
        front_count: see above.
        alpha: the matte.
        focal: in the matte's pixels.
        size: pixels a side of the picture.
        device: where to compute.
    """
    factor = size / alpha.shape[0]
    matte = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    matte = torch.as_tensor(matte, device=device).reshape(size**2, 1)
    quaternion = from_matrix(axes)

    def contribute(opacity: np.ndarray) -> Contributions:
        arrays = (splats.position, quaternion, scale, opacity, np.zeros((len(opacity), 1)))
        tensors = (torch.as_tensor(np.ascontiguousarray(a, np.float32), device=device) for a in arrays)
        intrinsics = torch.tensor([focal * factor, focal * factor, size / 2, size / 2], device=device)
        camera = CameraTensors(torch.eye(4, device=device), intrinsics, size, size)
        return contributions(GaussianTensors(*tensors), camera)

    opacity = splats.opacity.clip(0, 1)
    front = np.arange(len(opacity)) < front_count
    for _ in range(2):
        seen = _exact(contribute(opacity))
        both = seen.gather(torch.cat([torch.ones_like(matte), matte], 1).to(seen.weight)).float().cpu().numpy()
        inside = both[:, 1] / np.maximum(both[:, 0], 1e-6)
        visible = (both[:, 0] > 0.05) & front
        opacity = np.where(visible, opacity * ((inside - 0.3) / 0.4).clip(0, 1), opacity)
    rows = matte[:, 0] > 0.5
    return opacity, _Blending(rows, size, focal * factor, *_blends(contribute(opacity), rows))


def _match_photo(
    splats: _Splats,
    scale: np.ndarray,
    opacity: np.ndarray,
    rgb: np.ndarray,
    front_count: int,
    image: np.ndarray,
    blending: _Blending,
    corrections: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] corrected so that the render meets the photo; and how much of each splat it shows [n], in pixels.

    Overlapping splats blur; SIRT iterations on the colours undo that, mostly on those of the front's splats, the first
    ``front_count``.
    """
    rows, to_pixels, to_splats = blending.rows, blending.to_pixels, blending.to_splats
    device = rows.device
    target = cv2.resize(image, (blending.size,) * 2, interpolation=cv2.INTER_AREA)
    target = torch.as_tensor(target, device=device).reshape(-1, 3)
    total = to_splats(torch.ones(int(rows.sum()), 1, device=device))
    wanted = target[rows] * to_pixels(torch.ones(len(rgb), 1, device=device))
    start = colours = torch.as_tensor(rgb, dtype=torch.float32, device=device)
    wide = scale[:, 0] * scale[:, 1] * (blending.focal / splats.position[:, 2]) ** 2
    facing = np.abs((splats.normal * splats.position).sum(1)) / np.linalg.norm(splats.position, axis=1)
    whole = torch.as_tensor(2 * np.pi * opacity * wide * facing, dtype=torch.float32, device=device)[:, None]
    # A trace of everything shines through what lies before it; of large splats, in close-ups, that is many pixels.
    shown = total * ((total / whole.clamp(min=1e-6) - _TRACE[0]) / (_TRACE[1] - _TRACE[0])).clamp(0, 1)
    front = torch.arange(len(rgb), device=device)[:, None] < front_count
    slack = torch.where(front, _FIT_RANGE, _REST_FIT_RANGE) * (shown > 0.05)
    low, high = (start - slack).clamp(0, 1), (start + slack).clamp(0, 1)
    for _ in range(corrections):
        # Barely seen splats hardly move: from the side they are seen whole.
        change = to_splats(wanted - to_pixels(colours)) / (total + _FIT_DAMPING)
        colours = (colours + change).clamp(low, high)
    return colours.cpu().numpy(), shown[:, 0].cpu().numpy()


def _blends(seen: Contributions, rows: torch.Tensor) -> tuple[_Blend, _Blend]:
    """From values [n, C] of splats to those [m, C] of the pixels where ``rows`` [H W] is true, and the transpose."""
    keep = rows[seen.pixel]
    pixel = (rows.cumsum(0) - 1)[seen.pixel[keep]]
    chosen = Contributions(seen.splat[keep], pixel, seen.weight[keep], seen.splat_count, int(rows.sum()))
    if rows.device.type != "cpu":
        exact = _exact(chosen)
        return lambda x: exact.render(x.double()).float(), lambda x: exact.gather(x.double()).float()
    index = (chosen.pixel.int().numpy(), chosen.splat.int().numpy())
    matrix = sparse.csr_matrix((chosen.weight.numpy(), index), (chosen.pixel_count, chosen.splat_count))
    transpose = matrix.T.tocsr()
    return lambda x: torch.as_tensor(matrix @ x.numpy()), lambda x: torch.as_tensor(transpose @ x.numpy())


def _exact(seen: Contributions) -> Contributions:
    """On a card, which adds in any order, in double precision: float32 can tell no difference then."""
    return seen if seen.weight.device.type != "cuda" else replace(seen, weight=seen.weight.double())


def _sheet_back(front: _Splats, pixels: np.ndarray, layers: Layers, mesh: SurfaceMesh, focal: float) -> _Splats:
    """The far layer of skirts and of the gaps that no body fills."""
    in_gap = sample_map(layers.gap, pixels)
    part = _take(front, in_gap)
    depth = sample_map(layers.back, pixels[in_gap])
    position = _unproject(pixels[in_gap], depth, focal)
    behind = (len(mesh.faces) - mesh.body_faces) // 2
    face = np.where(part.face >= mesh.body_faces, part.face + behind, part.face)
    return _Splats(position, part.normal * [1, 1, -1], part.along, part.sigma, part.stretch, part.opacity, face)


def _pure_colours(photo: PreparedPhoto, image: np.ndarray) -> np.ndarray:
    """``image`` without what an enlarged small photo mixes in around the outline: wider than the matte's rim."""
    blur = int(photo.rgb.shape[0] / max(photo.crop[2], 1))
    if blur < 2:
        return image
    inner = cv2.erode((photo.alpha > 0.95).astype(np.uint8), np.ones((2 * blur + 1,) * 2, np.uint8))
    near = cv2.distanceTransform(1 - inner, cv2.DIST_L2, 3) < 3 * blur
    pure = extend_colours(photo.rgb, inner.astype(np.float32)).astype(np.float32) / 255
    return np.where(near[..., None], pure, image)


@dataclass(frozen=True)
class _Look:
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


def _look(
    regions: BodyRegions,
    mesh: SurfaceMesh,
    splats: _Splats,
    front_count: int,
    layers: Layers,
    pure: np.ndarray,
    focal: float,
) -> _Look:
    """What the photo shows of splats.

    Args:
        regions: of the body.
        mesh: what the splats hang on.
        splats: the first ``front_count`` are the front's.
        front_count: see above.
        layers: depths at the maps' resolution.
        pure: the photo's colours in 0..1 at any resolution, free of background.
        focal: at the maps' resolution.
    """
    corner = mesh.faces[splats.face]
    rest = _transfer(splats.position, mesh, corner)
    kind_of_vertex = class_of_joint()[joint_of_vertex(mesh.weights)]
    class_of_region(kind_of_vertex[: mesh.body_vertices], regions)
    kind = kind_of_vertex[corner[:, 0]]
    facing = -(splats.normal * splats.position).sum(1) / np.linalg.norm(splats.position, axis=1)
    pixels = splats.position[:, :2] / splats.position[:, 2:] * focal + MAP_SIZE / 2
    photo_rgb = _bilinear(pure, pixels * pure.shape[0] / MAP_SIZE).astype(float)
    # How far from the outline, in pixels of the maps; 0 where something else is in front.
    depth_in = sample_map(depth_inside(layers.face >= 0), pixels)
    seen = splats.position[:, 2] < sample_map(layers.front, pixels) + 0.012
    depth_in = np.where(seen, depth_in, 0.0)
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
    if _long_hair(mesh, corner, rest, kind, photo_rgb, source):
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
    return _Look(front_count, rest, kind, facing, pixels, photo_rgb, depth_in, sure, source, local)


def _colour(splats: _Splats, look: _Look, image: np.ndarray, light: PhotoLight | None) -> tuple[np.ndarray, np.ndarray]:
    """What :class:`Reconstruction` says of colours: ``rgb`` [n, 3] and ``seen`` [n].

    They are the photo's where it sees the splat, filled in from the surest of those elsewhere.

    Args:
        splats, look: see :func:`_look`.
        image: the photo's colours in 0..1 at any resolution.
        light: of the photo, where it is known.
    """
    kind, rest, photo_rgb, source, sure = look.kind, look.rest, look.rgb, look.source, look.sure
    front = np.arange(len(kind)) < look.front_count
    # Cloth goes on behind, the light on it does not.
    lit = np.ones((len(kind), 1)) if light is None else light.display(splats.normal)
    rgb, cloth = photo_rgb.copy(), photo_rgb[source] / lit[source]
    filled = fill_unseen(rest[source], kind[source], cloth, sure[source], rest[~front], kind[~front])
    rgb[~front] = (filled * lit[~front]).clip(0, 1)
    # Where the body turns away from the camera the fill takes over from the photo little by little.
    level = ((look.facing - _TURNED[0]) / (_TURNED[1] - _TURNED[0])).clip(0, 1)[:, None]
    trust = np.where(front[:, None], 1.0, level * (look.depth_in > 0)[:, None])
    rgb = trust * photo_rgb + (1 - trust) * rgb
    rim = front & (look.depth_in > 1) & ~look.local
    colour, share = _beyond_rim(splats, kind, photo_rgb, rim, ~front & (trust[:, 0] < 1))
    share *= 1 - trust
    rgb += share * (colour - rgb)
    trust = trust + ANY * share
    # In the photo's own view the rim must match with all that the photo mixes into it; from the side it must not.
    exact = _bilinear(image, look.pixels[front] * image.shape[0] / MAP_SIZE)
    rgb[front] = level[front] * exact + (1 - level[front]) * rgb[front]
    return rgb, trust[:, 0]


def _beyond_rim(
    splats: _Splats, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the photo goes on where it ends, or a seam would run down the sides: colours [n, 3] of the ``source`` [n]
    nearest to each ``wanted`` splat [n] of the same part of the body, and how far they count there [n, 1]."""
    colour, share = np.zeros_like(rgb), np.zeros((len(rgb), 1))
    for number in np.unique(kind[wanted]):
        from_, to = (np.flatnonzero(chosen & (kind == number)) for chosen in (source, wanted))
        if len(from_) < _RIM_NEIGHBOURS:
            continue
        distance, index = tree_of(splats.position[from_]).query(splats.position[to], _RIM_NEIGHBOURS, workers=-1)
        weight = 1 / (distance + 1e-3) ** 2
        colour[to] = (rgb[from_][index] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
        # The other side of something thin is near, but not beside.
        alike = (splats.normal[to] * splats.normal[from_][index[:, 0]]).sum(1).clip(0, 1)
        share[to, 0] = alike * np.exp(-((distance[:, 0] / _SEAM) ** 2))
    return colour, share


def _drop_rare(kind: np.ndarray, source: np.ndarray) -> None:
    """Takes out of ``source`` [n] the classes that hardly show: a scrap of table where a leg should begin, say."""
    kinds, counts = np.unique(kind[source], return_counts=True)
    rare = kinds[(counts < _RARE * source.sum()) & ~np.isin(kinds, _NEVER_RARE)]
    source &= ~np.isin(kind, rare)


def _on_neck(mesh: SurfaceMesh, corner: np.ndarray) -> np.ndarray:
    return joint_of_vertex(mesh.weights)[corner[:, 0]] == JOINT_INDEX["neck"]


def _long_hair(
    mesh: SurfaceMesh, corner: np.ndarray, rest: np.ndarray, kind: np.ndarray, rgb: np.ndarray, source: np.ndarray
) -> bool:
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


def _transfer(points: np.ndarray, mesh: SurfaceMesh, triangles: np.ndarray) -> np.ndarray:
    """Posed points [n, 3] carried to the rest pose in the frames of their ``triangles`` [n, 3]."""
    posed_frame, _ = triangle_frames(mesh.posed, triangles)
    rest_frame, _ = triangle_frames(mesh.rest, triangles)
    local = np.einsum("nba,nb->na", posed_frame, points - mesh.posed[triangles[:, 0]])
    return mesh.rest[triangles[:, 0]] + np.einsum("nab,nb->na", rest_frame, local)
