"""Where splats lie: a grid over what the photo shows, the backs of its sheets, and an even spread over the rest of the
clothed surface."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..avatar.meshes import vertex_normals
from ..body.model import BodyModel
from ..geometry.distances import depth_inside, nearest_of
from ..geometry.maps import MAP_SIZE, bilinear, project, sample_map, unproject
from ..photo import PreparedPhoto
from .config import DeformConfig, SurfaceConfig, VisibilityConfig
from .parts import CARRIED, CARRIES
from .sampling import SurfaceSamples, face_areas, poisson_disk_samples
from .sheets import INSET, LayeredDepthImage
from .types import SurfaceMesh
from .visibility import View, observe


@dataclass(frozen=True)
class Splats:
    """Splats without colours.

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


def take(splats: Splats, keep: np.ndarray) -> Splats:
    """Those of ``splats`` where ``keep``, bool [n], is true."""
    return Splats(*(getattr(splats, name)[keep] for name in Splats.__dataclass_fields__))


def join(*parts: Splats) -> Splats:
    """All of ``parts`` in their order."""
    return Splats(*(np.concatenate([getattr(p, n) for p in parts]) for n in Splats.__dataclass_fields__))


def splat_frames(splats: Splats) -> tuple[np.ndarray, np.ndarray]:
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


def front_splats(
    layers: LayeredDepthImage, photo: PreparedPhoto, focal: float, config: SurfaceConfig
) -> tuple[Splats, np.ndarray]:
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
    opacity = bilinear(alpha[..., None], pixels / factor).ravel()
    keep = opacity > 0.5
    pixels, opacity = pixels[keep], opacity[keep]
    # Cells at the matte's rim may fall outside the thresholded map: take the layers of the nearest pixel inside it.
    inside = layers.face >= 0
    to_inside = nearest_of(inside)
    column, row = np.floor(pixels).astype(int).clip(0, MAP_SIZE - 1).T
    row, column = to_inside[0][row, column], to_inside[1][row, column]
    depth, face = layers.front[row, column], layers.face[row, column]
    position = unproject(pixels, depth, focal)
    normal = _layer_normals(layers, focal, config)[row, column]
    ray = position / np.linalg.norm(position, axis=1, keepdims=True)
    facing = np.maximum(-(normal * ray).sum(1), 1 / config.slope)
    sigma = config.overlap * spacing * depth / focal
    splats = Splats(position, normal, ray, sigma, 1 / facing, config.opacity * opacity, face)
    return splats, pixels


def _layer_normals(layers: LayeredDepthImage, focal: float, config: SurfaceConfig) -> np.ndarray:
    """Normals [H, W, 3] of the front layer from its smoothed depth, facing the camera, safe at depth jumps."""
    depth = layers.front.astype(np.float32)
    inside = (layers.face >= 0).astype(np.float32)
    total = cv2.GaussianBlur(inside, (0, 0), config.blur)
    blurred = cv2.GaussianBlur(depth * inside, (0, 0), config.blur) / np.maximum(total, 1e-6)
    pixel = np.maximum(blurred, 1e-6) / focal
    slope_x = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8) / pixel
    slope_y = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8) / pixel
    # A jump between two limbs is no slope: steeper than twice what is followed, normals turn back to the camera.
    limit = 1 / (1 + (slope_x**2 + slope_y**2) / (2 * config.slope) ** 2)
    normal = np.stack([slope_x * limit, slope_y * limit, -np.ones_like(depth)], -1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def back_of_sheets(
    front: Splats, pixels: np.ndarray, layers: LayeredDepthImage, mesh: SurfaceMesh, focal: float
) -> Splats:
    """The far layer of skirts and of the gaps that no body fills."""
    in_gap = sample_map(layers.gap, pixels)
    part = take(front, in_gap)
    depth = sample_map(layers.back, pixels[in_gap])
    position = unproject(pixels[in_gap], depth, focal)
    behind = (len(mesh.faces) - mesh.body_faces) // 2
    face = np.where(part.face >= mesh.body_faces, part.face + behind, part.face)
    return Splats(position, part.normal * [1, 1, -1], part.along, part.sigma, part.stretch, part.opacity, face)


def flanks_of_sheets(mesh: SurfaceMesh, layers: LayeredDepthImage, focal: float, config: SurfaceConfig) -> Splats:
    """Splats on faces of sheets that are so steep to the photo's rays that those of its pixels leave gaps."""
    faces = mesh.faces[mesh.body_faces :]
    corner = mesh.posed[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    ray = corner.mean(1) / np.linalg.norm(corner.mean(1), axis=1, keepdims=True)
    steep = np.flatnonzero(np.abs((normal * ray).sum(1)) < 1 / config.slope)
    normals = vertex_normals(mesh.posed, faces)
    spacing = np.full(len(steep), config.spacing)
    samples = poisson_disk_samples(mesh.posed, faces[steep], normals, spacing, config.darts if len(steep) else 0)
    face = steep[samples.face]
    position = (mesh.posed[faces[face]] * samples.barycentric[..., None]).sum(1)
    normal = (normals[faces[face]] * samples.barycentric[..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    sigma, ones = config.rest_overlap * samples.spacing, np.ones(len(face))
    splats = Splats(position, normal, 0 * normal, sigma, ones, config.opacity * ones, face + mesh.body_faces)
    # Torn sheets have no pixels any more, and no flanks.
    inside = depth_inside(layers.face >= 0) > INSET
    beside = depth_inside(layers.face < mesh.body_faces) <= INSET
    return take(splats, sample_map(inside & beside, project(position, focal)))


def rest_of_body(
    body: BodyModel,
    samples: SurfaceSamples,
    mesh: SurfaceMesh,
    layers: LayeredDepthImage,
    view: View,
    parts: np.ndarray,
    photo: PreparedPhoto,
    focal: float,
    config: SurfaceConfig,
) -> Splats:
    """Splats on the body's surface wherever the front grid does not already show it.

    Args:
        body: the model.
        samples: of its template, where splats may lie.
        mesh, layers: the clothed surface, and its depths at the maps' resolution.
        view: what the photo shows.
        parts: int [V], of the body's vertices.
        photo: whose matte it is.
        focal: at the maps' resolution.
        config: numbers of the preset.
    """
    faces, face, bary = body.faces.numpy(), samples.face, samples.barycentric
    position = (mesh.posed[faces[face]] * bary[..., None]).sum(1)
    normals = vertex_normals(mesh.posed[: mesh.body_vertices], faces)
    normal = (normals[faces[face]] * bary[..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    pixels = project(position, focal)
    in_frame = ((pixels >= 0) & (pixels < MAP_SIZE)).all(1)
    in_picture = in_frame & sample_map(photo.inside_at(MAP_SIZE), pixels)
    # The front's splats draw the outline; what lies behind them stays a little inside it, or layers would add up.
    inside = depth_inside(layers.face >= 0) > INSET
    in_matte = in_picture & sample_map(inside, pixels)
    seen = observe(position, normal, parts[faces[face, 0]], view)
    shown = in_matte & (seen.inner > 0) & (seen.facing > VisibilityConfig.facing[1])

    # Body that the photo shows to be absent: bring it to the matte if that is near, else leave it out.
    outside = in_picture & ~in_matte
    nearest = np.column_stack([sample_map(index, pixels) for index in nearest_of(inside)[::-1]]) + 0.5
    gap = np.linalg.norm(nearest - pixels, axis=1) * position[:, 2] / focal
    moved = unproject(nearest, position[:, 2], focal)
    position = np.where((outside & (gap < DeformConfig.stands_off))[:, None], moved, position)
    keep = ~shown & ~(outside & (gap >= DeformConfig.stands_off))
    # What would hide another limb that the photo shows there is not there: the body's stiff fingers, mostly.
    assert view.part is not None
    mine, theirs = CARRIED[parts[faces[face, 0]]], CARRIED[sample_map(view.part, pixels)]
    before = position[:, 2] < sample_map(layers.front, pixels)
    keep &= ~(in_matte & before & (theirs >= 0) & ~CARRIES[mine, theirs])
    # Pose and clothes stretch the body that was sampled: splats grow with their face.
    wider = np.sqrt(face_areas(mesh.posed, faces) / face_areas(body.template.numpy(), faces))[face]
    sigma, ones = config.rest_overlap * samples.spacing * wider, np.ones(len(face))
    splats = Splats(position, normal, 0 * normal, sigma, ones, config.opacity * ones, face)
    return take(splats, keep)
