"""What is evaluated: the product's presets, and two controls that show that the tool can tell good from bad.

* ``perfect``: splats sampled from the truth. What it lacks to a perfect score is what splats and this tool cost.
* ``shuffled``: the perfect splats of another person. Whatever scores like it has not looked at the photo.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...avatar import Avatar, Gaussians, from_rgb, joint_transforms, load_avatar, pose_gaussians, skin_vertices
from ...avatar.formats.cloud import clean, pose_cloud, splat_cloud, standing_transforms
from ...avatar.formats.merge import merge_splats
from ...avatar.quaternion import from_matrix
from ...avatar.skinning import standing_translation
from ...errors import BackendError
from ...export.looks import looks
from ...export.recolour import recolour
from ...options import SidePicture
from ...pipeline import Pipeline, ReconstructOptions
from ..training.figure import PART_INDEX, Figure
from ..training.lighting import lit_colours, shade
from ..training.samples import Scene
from .alignment import CropCamera, rigid
from .truth import BodyPoints, Truth

CONTROLS = ("perfect", "shuffled")
SPLAT_SPACING = 0.004
"""Metres between the controls' splats; of head and hands half as much."""
_CANDIDATES = 6
"""Random points for each cell of which one is kept."""
_SIZE = 0.4
"""A splat's standard deviation in shares of the distance to its eighth neighbour: the least that leaves no holes."""
_FLATNESS = 0.15
_DIRECTIONS = 6
"""Sides from which a splat's colour is averaged."""
_INSET = 0.002
"""Metres by which splats lie under the surface, because a splat reaches beyond its own middle."""

Repose = Callable[[np.ndarray], tuple[Gaussians, np.ndarray]]
"""Splats (y up) in a pose [24, 3], the pelvis' row in world axes, and where its pelvis [3] is then."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One reconstruction, in the space of the camera that it assumes (OpenCV axes, metres).

    Attributes:
        splats: as in the photo.
        camera: the square of the photo that it shows.
        body: the fitted body, None for controls.
        repose: None where it cannot be posed.
        seconds: by stage.
        peak_bytes: of the process while it was made; 0 where it was not measured.
    """

    splats: Gaussians
    camera: CropCamera
    body: BodyPoints | None = None
    repose: Repose | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0


def reconstruct(
    pipeline: Pipeline,
    photo: Path,
    preset: str,
    pictures: tuple[SidePicture, ...] = (),
    budget: int = 0,
    bending: float | None = None,
) -> Candidate:
    """The product's avatar of a photo, by way of the package that a user would get.

    Args:
        pipeline: warm.
        photo: a file.
        preset: of the product.
        pictures: further ones.
        budget: splats at most, merged and posed as in an export; 0: all, as Blender shows them.
        bending: share of dual quaternions with which it is reposed; None: as its package says.

    Raises:
        BackendError: as the product raises it; kind ``preset_replaced`` where it took another preset than asked for.
    """
    with tempfile.TemporaryDirectory(prefix="humansplat-evaluate-") as folder:
        _reset_peak()
        options = ReconstructOptions(preset=preset, pictures=pictures)
        pipeline.forget()  # every preset is timed whole
        result = pipeline.reconstruct(photo, Path(folder) / "avatar", options)
        peak = peak_bytes()
        avatar = load_avatar(result.package)
    if avatar.generator["preset"] != preset:
        raise BackendError(
            "preset_replaced",
            f"The preset {preset} was not used, but {avatar.generator['preset']}.",
            "Install its weights; the avatar's warnings say more.",
        )
    candidate = candidate_of(avatar, result.seconds, peak)
    if bending is not None:
        bent = replace(avatar, preserve_volume=bending)
        candidate = replace(candidate, repose=lambda pose: _repose(bent, pose))
    return as_exported(avatar, candidate, budget) if budget else candidate


def candidate_of(avatar: Avatar, seconds: dict[str, float] | None = None, peak: int = 0) -> Candidate:
    """An avatar as it is held against the truth.

    Args:
        avatar: of the product.
        seconds: by stage.
        peak: bytes of memory while it was made; 0 where that was not measured.
    """
    to_camera = rigid(avatar.camera.world_to_camera)
    left, top, side = avatar.source["crop"]
    transforms = joint_transforms(avatar.pose, avatar.rest_joints, avatar.parents)
    joints = np.einsum("jab,jb->ja", transforms[:, :3, :3], avatar.rest_joints) + transforms[:, :3, 3]
    vertices = skin_vertices(avatar.body.vertices, avatar.body.weights, transforms)
    return Candidate(
        splats=to_camera.splats(pose_gaussians(avatar, avatar.pose)),
        camera=CropCamera(left, top, side, avatar.camera.fx * side / avatar.camera.width),
        body=BodyPoints(*(to_camera.points(points + avatar.translation) for points in (joints, vertices))),
        repose=lambda pose: _repose(avatar, pose),
        seconds=seconds or {},
        peak_bytes=peak,
    )


def as_exported(avatar: Avatar, candidate: Candidate, budget: int) -> Candidate:
    """The same avatar with at most ``budget`` splats, moved by linear blend skinning as engines do."""
    merged = merge_splats(clean(splat_cloud(avatar))[0], budget)
    cloud = recolour(merged, looks(avatar), standing_translation(avatar))

    def posed(pose: np.ndarray, translation: np.ndarray) -> Gaussians:
        return pose_cloud(cloud, standing_transforms(avatar, pose, translation))

    splats = rigid(avatar.camera.world_to_camera).splats(posed(avatar.pose, avatar.translation))
    return replace(candidate, splats=splats, repose=lambda pose: (posed(pose, np.zeros(3)), avatar.rest_joints[0]))


def _repose(avatar: Avatar, pose: np.ndarray) -> tuple[Gaussians, np.ndarray]:
    return pose_gaussians(avatar, pose, np.zeros(3)), avatar.rest_joints[0]


def perfect(scene: Scene, photo_size: int, truth: Truth | None = None, spacing: float = SPLAT_SPACING) -> Candidate:
    """Splats sampled from the lit figure itself, seen through its own photo's camera.

    Args:
        scene: whose figure.
        photo_size: pixels a side of the photo.
        truth: its truth, for reposing; the splats then ride on the true figure's own triangles.
        spacing: metres between splats.
    """
    surface = _sample(scene, spacing)
    camera = scene.camera(size=photo_size)
    to_camera = rigid(camera.world_to_camera[0].numpy())
    crop = CropCamera(0, 0, photo_size, float(camera.focal[0]))
    reposed = None if truth is None else truth.reposed
    repose: Repose | None = None
    # A figure in another pose has the same triangles in the same order, unless its clothes were made anew.
    if reposed is not None and len(reposed.figure.faces) == len(scene.figure.faces):

        def repose(pose: np.ndarray) -> tuple[Gaussians, np.ndarray]:
            return surface.on(reposed.figure), reposed.pelvis

    return Candidate(to_camera.splats(surface.on(scene.figure)), crop, repose=repose)


@dataclass(frozen=True, eq=False)
class _Surface:
    """Points on a figure's triangles: face int64 [N], barycentric and display colour [N, 3], metres between them."""

    face: torch.Tensor
    barycentric: torch.Tensor
    rgb: np.ndarray
    spacing: float

    def on(self, figure: Figure) -> Gaussians:
        """Flat splats on ``figure``, as large as the distance to their neighbours asks for."""
        corners = figure.faces[self.face]
        place, normal = (
            torch.einsum("nkc,nk->nc", values[corners], self.barycentric).double().cpu().numpy()
            for values in (figure.vertices, figure.normals)
        )
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        distance, neighbour = cKDTree(place).query(place, k=9)
        # Thin things (a cap's brim, a strap) must not be turned inside out.
        opposite = np.einsum("nkc,nc->nk", normal[neighbour], normal) < -0.3
        room = np.where(opposite, distance, np.inf).min(1)
        place = place - np.minimum(_INSET, 0.25 * room)[:, None] * normal
        size = _SIZE * distance[:, 8].clip(0.2 * self.spacing, 3 * self.spacing)
        scale = np.stack([size, size, _FLATNESS * size], 1)
        return from_rgb(place, from_matrix(_frames(normal)), scale, np.full(len(place), 0.99), self.rgb)


def _frames(normal: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] whose third column is the unit ``normal`` [N, 3]."""
    z = normal
    other = np.where(np.abs(z[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    x = np.cross(other, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], 2)


def _sample(scene: Scene, wanted: float) -> _Surface:
    """Evenly spaced points on the figure, denser on head and hands, and their colour in its light."""
    figure = scene.figure
    a, b, c = (figure.vertices[figure.faces[:, k]].double() for k in range(3))
    area = torch.linalg.cross(b - a, c - a).norm(dim=1)
    fine = (figure.part == PART_INDEX["head"]) | (figure.part == PART_INDEX["hands"])
    share = (0.5 * area * torch.where(fine, 4.0, 1.0)).cumsum(0)
    count = int(_CANDIDATES * float(share[-1]) / wanted**2)
    generator = torch.Generator(share.device).manual_seed(scene.seed)
    at = (torch.arange(count, device=share.device) + 0.5) / count * share[-1]
    face = torch.searchsorted(share, at).clamp(max=len(area) - 1)
    first, second = torch.rand(2, count, generator=generator, device=share.device)
    root = first.sqrt()
    barycentric = torch.stack([1 - root, root * (1 - second), root * second], 1)
    # One candidate in each cell of a grid makes them even.
    place = torch.einsum("nkc,nk->nc", figure.vertices[figure.faces[face]], barycentric)
    spacing = torch.where(fine[face], 0.5 * wanted, wanted)
    cell = torch.cat([(place / spacing[:, None]).floor().long(), fine[face][:, None].long()], 1).cpu().numpy()
    _, chosen = np.unique(cell, axis=0, return_index=True)
    kept = torch.as_tensor(chosen, device=face.device)
    face, barycentric = face[kept], barycentric[kept]
    return _Surface(face, barycentric, _colours(scene, face, barycentric).cpu().numpy(), wanted)


def _colours(scene: Scene, face: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """Display colours [n, 3]: the mean over the orbit, weighted by how squarely each direction sees the point.

    Splats have one colour for all directions; this is the best one for what shines.
    """
    figure = scene.figure
    normal = torch.einsum("nkc,nk->nc", figure.normals[figure.faces[face]], barycentric)
    total = torch.zeros_like(normal)
    weight = torch.full_like(normal[:, :1], 1e-6)
    for k in range(_DIRECTIONS):
        camera = scene.camera(360 / _DIRECTIONS * k)
        towards = -camera.world_to_camera[0, 2, :3].to(normal)
        share = (normal @ towards).clamp(min=1e-6)[:, None]
        seen = torch.nonzero(share[:, 0] > 0.02)[:, 0]
        total[seen] += share[seen] * shade(
            figure, scene.light, scene.baked, face[seen], barycentric[seen], towards.expand(len(seen), 3)
        )
        weight[seen] += share[seen]
    matt = lit_colours(figure, scene.light, scene.baked, face, barycentric)
    return torch.where(weight > 1e-3, total / weight, matt)


def _reset_peak() -> None:
    """Forget the process' peak so far, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_bytes() -> int:
    """Most memory that the process has held since the peak was reset, or ever where it cannot be."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
