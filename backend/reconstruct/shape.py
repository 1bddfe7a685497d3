"""The clothed surface: the fitted body pushed to the matte's outline and to known depths, and sheets for the gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
import torch
from scipy import ndimage

from ..avatar.skinning import PRESERVE_VOLUME, unskin_vertices, vertex_transforms
from ..body.fit import BodyFit
from ..body.model import BodyModel, rotation_matrices
from ..body.several import FittedPicture
from ..estimate.depth import SideDepths
from ..geometry.distances import nearest_of
from ..geometry.maps import MAP_SIZE
from ..options import LOWER
from ..photo import PreparedPhoto
from ..rendering.mesh import MeshHits, rasterize_mesh
from .config import LAYERS, SCRAP, SURFACE_STEP_M, DeformConfig
from .deform import OutlineView, deform
from .floaters import without_floaters
from .hull import OtherOutlines
from .labels import hand_bones, label_photo
from .limb_pose import refine_limb_pose
from .parts import CARRIED, CARRIES, LEG_LIMBS, LIMB, WITHOUT_FACE, HeadRegions, Part
from .sheets import GarmentPatch, LayeredDepthImage, build_layers
from .types import SurfaceMesh
from .visibility import View


@dataclass(frozen=True, eq=False)
class ClothedSurface:
    """What :func:`fit_clothed_mesh` says.

    Attributes:
        mesh: the clothed surface, to which splats are bound.
        fit: the body inside it.
        layers: its depths over the matte, at :data:`MAP_SIZE` pixels a side.
        labels: int [S, S], :class:`~.parts.Part` that the photo shows.
        focal: pixels of those maps.
        pictures: what further pictures show of it.
    """

    mesh: SurfaceMesh
    fit: BodyFit
    layers: LayeredDepthImage
    labels: np.ndarray
    focal: float
    pictures: tuple[PicturedMesh, ...] = ()


@dataclass(frozen=True, eq=False)
class PicturedMesh:
    """The clothed surface as a further picture shows it.

    Attributes:
        picture: the picture.
        posed: [S, 3] the mesh's vertices in the picture camera's space.
        view: what the picture shows at :data:`MAP_SIZE` pixels a side; its space is that of ``posed``.
        belief: in 0..1, how far its colours are believed.
        outline: whether its outline is the mesh's.
    """

    picture: PreparedPhoto
    posed: np.ndarray
    view: View
    belief: float = 1.0
    outline: bool = True


def fit_clothed_mesh(
    body: BodyModel,
    regions: HeadRegions,
    fit: BodyFit,
    photo: PreparedPhoto,
    depths: SideDepths | None,
    device: torch.device,
    pictures: Sequence[FittedPicture] = (),
    lower: str = LOWER[0],
) -> ClothedSurface:
    """The clothed surface of a fitted body.

    Args:
        body: the model.
        regions: of it; outlines do not move its face.
        fit, photo: from the stages before.
        depths: of front and back, :data:`MAP_SIZE` pixels a side, where a network knows them.
        device: where to compute.
        pictures: further ones of the person.
        lower: one of `LOWER`.
    """
    focal = fit.focal * MAP_SIZE / photo.rgb.shape[0]
    size = (MAP_SIZE, MAP_SIZE)
    matte = _matte(photo)
    known = photo.inside_at(MAP_SIZE)
    faces, weights = body.faces.numpy(), body.weights.numpy()
    with torch.no_grad():
        rest, joints = (x.numpy() for x in body.shaped(torch.as_tensor(fit.betas)))
    transforms = _joint_transforms(body, fit, joints)
    posed = _moved(rest, vertex_transforms(weights, transforms, PRESERVE_VOLUME))
    others = [(other, _joint_transforms(body, other.fit, joints)) for other in pictures]
    views = [OutlineView(np.eye(4), focal, matte, known, depths)]
    views += [_outline_of(other, weights, rest, transforms, theirs) for other, theirs in others if other.outline]
    posed = deform(posed, faces, weights, regions.face, views, device=device)
    cameras = [np.zeros(3), *(_camera_of(transforms, theirs) for other, theirs in others if other.outline)]
    refined = refine_limb_pose(body, fit, posed, cameras)
    change = refined.pose - fit.pose
    fit, transforms = refined, _joint_transforms(body, refined, joints)
    # Pictures of the same moment show the same pose.
    pictures = [replace(one, fit=replace(one.fit, pose=one.fit.pose + one.outline * change)) for one in pictures]
    others = [(other, _joint_transforms(body, other.fit, joints)) for other in pictures]
    blended = vertex_transforms(weights, transforms, PRESERVE_VOLUME)
    clothed = unskin_vertices(posed, blended) - rest
    # Where the blend of a sharply bent joint is near singular, the way back to the rest pose leads anywhere.
    clothed *= np.minimum(
        1, DeformConfig.depth_reach / np.maximum(np.linalg.norm(clothed, axis=1, keepdims=True), 1e-9)
    )
    clothed += rest
    posed = _moved(clothed, blended)
    first = rasterize_mesh(posed, faces, focal, size, device=device)
    last = rasterize_mesh(posed, faces, focal, size, farthest=True, device=device)
    part_of_face = regions.parts[faces[:, 0]]
    rgb = cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA)
    labels = _labels(photo, matte, first, part_of_face, posed, focal)
    first = as_labelled(first, labels, part_of_face, posed, faces, focal, device)
    leg = np.isin(LIMB[part_of_face], LEG_LIMBS)
    there = _moved(joints, transforms)
    outlines = OtherOutlines(views[1:], posed, focal)
    layers, sheet = build_layers(
        matte, first.depth, last.depth, first.face, posed, weights, leg, there, focal, depths, outlines, lower, rgb
    )
    sheet_blended = vertex_transforms(sheet.weights, transforms, PRESERVE_VOLUME)
    sheet_rest = unskin_vertices(sheet.posed, sheet_blended)
    layers = _hang_on_body(layers, _torn(sheet_rest, sheet), first, leg)
    mesh = SurfaceMesh(
        rest=np.vstack([clothed, sheet_rest]),
        posed=np.vstack([posed, _moved(sheet_rest, sheet_blended)]),
        faces=np.vstack([faces, sheet.faces + len(rest)]),
        weights=np.vstack([weights, sheet.weights]),
        body_vertices=len(rest),
        body_faces=len(faces),
    )
    pictured = tuple(_pictured(other, theirs, mesh, part_of_face, device) for other, theirs in others)
    return ClothedSurface(mesh, fit, without_floaters(layers, mesh, focal), labels, focal, pictured)


def _joint_transforms(body: BodyModel, fit: BodyFit, joints: np.ndarray) -> np.ndarray:
    """From the rest pose, whose ``joints`` [24, 3] are known, to the camera's space, [24, 3, 4]."""
    with torch.no_grad():
        out = (
            body.joint_transforms(rotation_matrices(torch.as_tensor(fit.pose)), torch.as_tensor(joints)).numpy().copy()
        )
    out[:, :, 3] += fit.translation
    return out


def _camera_of(transforms: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Where the camera [3] of a further picture stands in the photo camera's space, by the pelvis in both: the first of
    the joints' transforms [24, 3, 4] to the photo camera's space and to the picture camera's."""
    turn = transforms[0, :, :3] @ others[0, :, :3].T
    return transforms[0, :, 3] - turn @ others[0, :, 3]


def _matte(picture: PreparedPhoto) -> np.ndarray:
    """Where a picture shows the person, bool [S, S] at :data:`MAP_SIZE`."""
    return cv2.resize(picture.alpha, (MAP_SIZE, MAP_SIZE), interpolation=cv2.INTER_AREA) > 0.5


def _labels(
    picture: PreparedPhoto, matte: np.ndarray, body: MeshHits, part_of_face: np.ndarray, posed: np.ndarray, focal: float
) -> np.ndarray:
    """The parts int [S, S] that a picture shows, whose rays meet the ``body``, of ``posed`` vertices, there."""
    side = picture.rgb.shape[0]
    return label_photo(
        cv2.resize(picture.rgb, (MAP_SIZE, MAP_SIZE), interpolation=cv2.INTER_AREA),
        matte,
        np.where(body.face >= 0, part_of_face[body.face], Part.NONE),
        focal / float(np.median(posed[:, 2])),
        (hand_bones(picture.left_hand, side), hand_bones(picture.right_hand, side)),
    )


def _outline_of(
    other: FittedPicture, weights: np.ndarray, rest: np.ndarray, transforms: np.ndarray, others: np.ndarray
) -> OutlineView:
    """What a further picture says to the deformation of the body in the photo's pose.

    Args:
        other: the picture.
        weights, rest: [V, 24], [V, 3] of the body.
        transforms, others: [24, 3, 4] of the joints, to the photo camera's space and to the picture camera's.
    """
    here, there = (vertex_transforms(weights, joints, PRESERVE_VOLUME) for joints in (transforms, others))
    # Blends may be singular: turns are those of rigid blends.
    turn = vertex_transforms(weights, others, 1.0)[:, :, :3] @ np.swapaxes(
        vertex_transforms(weights, transforms, 1.0)[:, :, :3], 1, 2
    )
    shift = _moved(rest, there) - np.einsum("vab,vb->va", turn, _moved(rest, here))
    picture = other.picture
    scale = MAP_SIZE / picture.rgb.shape[0]
    matte = _matte(picture)
    motion = np.concatenate([turn, shift[:, :, None]], 2)
    return OutlineView(motion, other.fit.focal * scale, matte, picture.inside_at(MAP_SIZE))


def _pictured(
    other: FittedPicture, transforms: np.ndarray, mesh: SurfaceMesh, part_of_face: np.ndarray, device: torch.device
) -> PicturedMesh:
    """The clothed surface in the picture, whose joints move by ``transforms`` [24, 3, 4]."""
    picture, size = other.picture, (MAP_SIZE, MAP_SIZE)
    focal = other.fit.focal * MAP_SIZE / picture.rgb.shape[0]
    posed = _moved(mesh.rest, vertex_transforms(mesh.weights, transforms, PRESERVE_VOLUME))
    hits = rasterize_mesh(posed, mesh.faces, focal, size, device=device)
    body = rasterize_mesh(posed, mesh.faces[: mesh.body_faces], focal, size, device=device)
    matte = _matte(picture)
    labels = _labels(picture, matte, body, part_of_face, posed, focal)
    view = View.of(np.eye(4), focal, hits.depth, matte, WITHOUT_FACE[labels])
    return PicturedMesh(picture, posed, view, other.belief, other.outline)


def as_labelled(
    first: MeshHits,
    labels: np.ndarray,
    part_of_face: np.ndarray,
    posed: np.ndarray,
    faces: np.ndarray,
    focal: float,
    device: torch.device | None = None,
) -> MeshHits:
    """``first`` with every pixel on the limb that the photo shows there: a hand that is not where the body's stiff one
    lies, hair before a raised arm, an arm that is wider or narrower than the fitted one.

    Rays that miss that limb meet it where the nearest ray that does meets it.

    Args:
        first: what rays meet of the body.
        labels: int [S, S], see :func:`~.labels.label_photo`.
        part_of_face: int [F].
        posed, faces: of the body, camera space.
        focal: pixels.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
    """
    mine, wanted = CARRIED[part_of_face[first.face]], CARRIED[labels]
    wrong = (first.face >= 0) & (labels >= 0) & ~CARRIES[mine, wanted]
    face, barycentric, depth = first.face.copy(), first.barycentric.copy(), first.depth.copy()
    for limb in np.unique(wanted[wrong]):
        there = wrong & (wanted == limb)
        its = np.flatnonzero(CARRIED[part_of_face] == limb)
        hits = rasterize_mesh(posed, faces[its], focal, labels.shape, device=device)
        if not (hits.face >= 0).any():
            continue
        nearest = nearest_of(hits.face >= 0)
        face[there] = its[hits.face[nearest][there]]
        barycentric[there], depth[there] = hits.barycentric[nearest][there], hits.depth[nearest][there]
    return MeshHits(face, barycentric, depth)


def _torn(rest: np.ndarray, sheet: GarmentPatch) -> np.ndarray:
    """Where the rest pose stretches a sheet's front or back too far, as between an arm and the hip beside it: bool [m]
    of the m faces that each of them has."""

    def edges(vertices: np.ndarray) -> np.ndarray:
        corner = vertices[sheet.faces]
        return np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2)

    far = edges(rest) > LAYERS.stretch * edges(sheet.posed)
    return cast(np.ndarray, far.any(1).reshape(2, -1).any(0))


def _hang_on_body(layers: LayeredDepthImage, torn: np.ndarray, first: MeshHits, leg: np.ndarray) -> LayeredDepthImage:
    """``layers`` with what is ``torn``, bool [m], of their sheets hung on the body instead: on legs where it is, as
    skirts are thick and stand off, elsewhere near the body and thin.

    ``first`` is what rays meet of the body, of whose faces those of ``leg``, bool [F], are legs'; sheet faces are
    numbered from F.
    """
    sheet = layers.face >= len(leg)
    bad = sheet & np.append(torn, False)[np.where(sheet, layers.face - len(leg), -1)]
    labels, count = ndimage.label(sheet)
    share = ndimage.mean(bad, labels, np.arange(count + 1))
    whole = sheet & (share > SCRAP)[labels]
    moved = bad | whole
    on_body = first.face >= 0
    nearest = nearest_of(on_body)
    face, there = np.where(moved, first.face[nearest], layers.face), first.depth[nearest]
    near = whole & ~leg[face.clip(0, len(leg) - 1)]
    front = np.where(near, layers.front.clip(there - SURFACE_STEP_M, there + SURFACE_STEP_M), layers.front)
    thick = (layers.back - layers.front).clip(0, SURFACE_STEP_M)
    # A back of their own have only those that no body fills.
    return replace(
        layers,
        front=front,
        back=np.where(near, front + thick, layers.back),
        face=face,
        gap=layers.gap & ~(moved & on_body),
    )


def _moved(points: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Points [N, 3] each moved by its own of ``transforms`` [N, 3, 4]."""
    return np.einsum("vab,vb->va", transforms[:, :, :3], points) + transforms[:, :, 3]
