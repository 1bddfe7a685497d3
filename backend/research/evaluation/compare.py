"""One candidate against one person's truth: every number of the table, and the pictures to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ...avatar import Gaussians
from ...avatar.quaternion import to_matrix
from ...rendering import CameraTensors, GaussianTensors, contributions, render
from ..training.cameras import Camera, join
from . import metrics
from .alignment import Similarity, into_true_camera, rigid, scale_of_depths
from .candidates import Candidate, Repose
from .pose_error import align_similarity
from .truth import SIDES, SURFACE_VIEWS, BodyPoints, Pictures, Reposed, Truth, render_photo, surface_points

_SAMPLES = 3
"""A pixel of ours is the mean of this many samples squared, so that what is measured is the splats and not the blur of
a third of a pixel that every 3DGS renderer adds."""


INPUT_SIZE = 512
"""Pixels a side at which the photo's own view is also compared, inside the matte."""
_WHOLE = 0.9
"""Coverage from which a pixel counts as inside."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """Numbers by name (``orbit.psnr``, ``repose.flip_masked``, ``body.mpjpe`` ...), those missing that cannot be had.

    ``tiles`` are to look at: truth, ours and the error one above the other, uint8 [3 S, S, 3], by view.
    """

    values: dict[str, float]
    tiles: dict[str, np.ndarray]


def compare(candidate: Candidate, truth: Truth, photo_size: int, lpips: metrics.Lpips) -> Measurement:
    """Measure ``candidate``, aligned as :mod:`alignment` says.

    Args:
        candidate: in the space of its own camera.
        truth: of the same person, or of another for a control.
        photo_size: pixels a side of the photo that ``candidate.camera`` speaks of.
        lpips: may say that it cannot measure.
    """
    to_world, scale = align(candidate, truth, photo_size)
    splats = to_world.splats(candidate.splats)
    cameras = truth.orbit.cameras
    ours = render_pictures(splats, cameras)
    theirs = truth.orbit.pictures
    values = {"alignment.scale": scale}
    views = _judge(theirs, ours, lpips)
    rows = [view.values for view in views]
    values |= _named("input", rows[SIDES["input"]])
    values["input.psnr_inside"] = _inside(splats, truth)
    values |= _named("sides", _mean([rows[SIDES["left"]], rows[SIDES["right"]]]))
    values |= _named("back", rows[SIDES["back"]])
    values |= _named("orbit", _mean(rows))
    tiles = {side: views[k].tile for side, k in SIDES.items()}
    for part, seen in truth.crops.items():
        if seen is not None:
            views = _judge(seen.pictures, render_pictures(splats, seen.cameras), lpips)
            values |= _named(part, _mean([view.values for view in views]))
            tiles |= {f"{part} {k + 1}": view.tile for k, view in enumerate(views)}
    values |= _named("shape", _shape(truth, ours, splats))
    if candidate.body is not None and truth.body is not None:
        body = BodyPoints(to_world.points(candidate.body.joints), to_world.points(candidate.body.vertices))
        values |= _named("body", _body(truth.body, body))
    if candidate.repose is not None and truth.reposed is not None:
        seen = truth.reposed.seen
        posed = in_true_pose(candidate.repose, truth.reposed, scale)
        views = _judge(seen.pictures, render_pictures(posed, seen.cameras), lpips)
        values |= _named("repose", _mean([view.values for view in views]))
        tiles |= {f"posed {90 * k}": view.tile for k, view in enumerate(views)}
    values |= _named("seconds", candidate.seconds)
    if candidate.seconds:
        values["seconds.total"] = sum(candidate.seconds.values())
    if candidate.peak_bytes:
        values["memory.peak"] = candidate.peak_bytes / 2**30
    return Measurement({name: value for name, value in values.items() if np.isfinite(value)}, tiles)


def in_true_pose(repose: Repose, reposed: Reposed, scale: float) -> Gaussians:
    """The avatar's splats in the true target pose, on the true pelvis, in the size that the photo gave it; its turn is
    the true pose's."""
    posed, pelvis = repose(reposed.pose)
    return Similarity(scale, np.eye(3), reposed.pelvis - scale * pelvis).splats(posed)


def _inside(splats: Gaussians, truth: Truth) -> float:
    """PSNR in dB of the photo's view at :data:`INPUT_SIZE` pixels, where the person covers them all but wholly."""
    theirs, matte = render_photo(truth.scene, INPUT_SIZE)
    ours = render_pictures(splats, truth.orbit.cameras[:1].resized(INPUT_SIZE))
    return metrics.psnr(theirs / 255.0, ours.rgb[0].astype(np.float64), matte > _WHOLE * 255)


def align(candidate: Candidate, truth: Truth, photo_size: int) -> tuple[Similarity, float]:
    """From the candidate's camera space to the truth's world, and the one scale in it."""
    camera = truth.orbit.cameras[:1]
    photo = camera.resized(photo_size)
    depth = float(np.median(candidate.splats.position[:, 2]))
    turned = into_true_camera(candidate.camera, float(photo.focal[0]), photo.centre[0].double().cpu().numpy(), depth)
    to_world = rigid(np.linalg.inv(camera.world_to_camera[0].double().cpu().numpy()))
    ours = median_depth(turned.then(to_world).splats(candidate.splats), camera, _SAMPLES)[0]
    theirs = truth.depth[0]
    scale = scale_of_depths(theirs, ours, np.isfinite(theirs) & np.isfinite(ours))
    return turned.scaled(scale).then(to_world), scale


def render_pictures(splats: Gaussians, cameras: Camera) -> Pictures:
    """The splats from each camera, over white; their normals are their shortest axes."""
    device = cameras.focal.device
    tensors = GaussianTensors.from_gaussians(splats, device)
    shortest = np.eye(3)[splats.scale.argmin(1)]
    axis = np.einsum("nij,nj->ni", to_matrix(splats.rotation.astype(np.float64)), shortest)
    axis = torch.as_tensor(axis, dtype=torch.float32, device=device)
    positions, fine = cameras.positions(), cameras.resized(cameras.size * _SAMPLES)
    out = [_render(tensors, axis, positions[k], camera_tensors(fine, k), cameras.size) for k in range(len(cameras))]
    return Pictures(*(np.stack(layer) for layer in zip(*out)))


def camera_tensors(cameras: Camera, index: int) -> CameraTensors:
    """One of ``cameras`` as the renderer takes it."""
    intrinsics = torch.stack([cameras.focal[index], cameras.focal[index], *cameras.centre[index]])
    return CameraTensors(cameras.world_to_camera[index], intrinsics, cameras.size, cameras.size)


@torch.no_grad()
def median_depth(splats: Gaussians, cameras: Camera, samples: int = 1) -> np.ndarray:
    """Metres [B, S, S] along each camera's axis at which half of the light that splats stop is stopped.

    Infinite where they let more than half through. The mean depth would be drawn backwards by the little that a
    solid front lets through to the far side.

    Args:
        splats: in world space.
        cameras: B of them.
        samples: odd; the picture is rendered so many times finer, and each pixel takes its middle. Where a surface
            slopes, the blur of a splat renderer lets the nearer neighbours win: finer pixels keep that small.
    """
    tensors = GaussianTensors.from_gaussians(splats, cameras.focal.device)
    fine, middle = cameras.resized(cameras.size * samples), slice(samples // 2, None, samples)
    maps = [_median_depth(tensors, camera_tensors(fine, k))[middle, middle] for k in range(len(cameras))]
    return torch.stack(maps).cpu().numpy()


def _median_depth(splats: GaussianTensors, camera: CameraTensors) -> torch.Tensor:
    found = contributions(splats, camera)
    # A pixel's contributions come front to back; a stable sort keeps them so.
    pixel, order = torch.sort(found.pixel, stable=True)
    weight = found.weight[order].double()
    total = torch.zeros(found.pixel_count, dtype=torch.float64, device=pixel.device).index_add_(0, pixel, weight)
    running = weight.cumsum(0)
    before = total.cumsum(0) - total
    inner = running - before[pixel]
    half = 0.5 * total[pixel]
    middle = (inner >= half) & (inner - weight < half) & (total[pixel] > 0.5)
    z = splats.position @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
    depth = z.new_full((found.pixel_count,), torch.inf)
    depth[pixel[middle]] = z[found.splat[order[middle]]]
    return depth.reshape(camera.height, camera.width)


@torch.no_grad()
def _render(
    splats: GaussianTensors, axis: torch.Tensor, position: torch.Tensor, camera: CameraTensors, size: int
) -> tuple[np.ndarray, ...]:
    """rgb, alpha and normal of one view."""
    facing = torch.sign(((position - splats.position) * axis).sum(1, keepdim=True))
    features = torch.cat([splats.color, axis * facing], 1)
    seen = render(GaussianTensors(splats.position, splats.rotation, splats.scale, splats.opacity, features), camera)
    layers = torch.cat([seen.rgb, seen.alpha[..., None]], 2)
    # Four times as fast as one mean over both.
    layers = layers.reshape(size, _SAMPLES, size, _SAMPLES, -1).sum(1).sum(2) / _SAMPLES**2
    alpha = layers[..., 6]
    rgb = (layers[..., :3] + (1 - alpha)[..., None]).clamp(0, 1)
    normal = torch.nn.functional.normalize(layers[..., 3:6], dim=2)
    return tuple(layer.cpu().numpy() for layer in (rgb, alpha, normal))


@dataclass(frozen=True, eq=False)
class _View:
    """The measures of one view, and a tile uint8 [3 S, S, 3]: truth, ours and FLIP's map one above the other."""

    values: dict[str, float]
    tile: np.ndarray


def _judge(theirs: Pictures, ours: Pictures, lpips: metrics.Lpips) -> list[_View]:
    """View by view. Masked measures look at the pixels that truth or candidate cover (alpha above one half)."""
    views = []
    for a, b, solid_a, solid_b in zip(theirs.rgb, ours.rgb, theirs.alpha, ours.alpha):
        where = (solid_a > 0.5) | (solid_b > 0.5)
        flip = metrics.flip_map(a, b)
        values = {
            "psnr": metrics.psnr(a, b),
            "ssim": metrics.ssim(a, b),
            "flip": metrics.mean_where(flip),
            "psnr_masked": metrics.psnr(a, b, where),
            "ssim_masked": metrics.ssim(a, b, where),
            "flip_masked": metrics.mean_where(flip, where),
            "iou": metrics.outline_iou(solid_a, solid_b),
        }
        distance = lpips(a, b)
        if distance is not None:
            values["lpips"] = distance
        tile = np.concatenate([_bytes(a), _bytes(b), _heat(flip)])
        views.append(_View(values, tile))
    return views


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _heat(error: np.ndarray) -> np.ndarray:
    """A map in 0..1 in the colours that FLIP's authors show it in, from black over red to yellow."""
    return cv2.cvtColor(cv2.applyColorMap(_bytes(error), cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)


def _shape(truth: Truth, ours: Pictures, splats: Gaussians) -> dict[str, float]:
    """Distances in mm between what the orbit sees of both surfaces; degrees between their normals on the four sides."""
    cameras = join([truth.orbit.cameras[k : k + 1] for k in SURFACE_VIEWS])
    predicted = surface_points(median_depth(splats, cameras), cameras)
    values = {}
    if len(truth.points) and len(predicted):
        missed, spurious = metrics.chamfer(truth.points, predicted)
        values = {"chamfer": 500 * (missed + spurious), "missed": 1e3 * missed, "spurious": 1e3 * spurious}
    theirs = truth.orbit.pictures
    angles = []
    for k in SIDES.values():
        both = (theirs.alpha[k] > 0.5) & (ours.alpha[k] > 0.5)
        angles.append(metrics.normal_error(theirs.normal[k], ours.normal[k], both))
    return values | {"normal": float(np.nanmean(angles))}


def _body(truth: BodyPoints, ours: BodyPoints) -> dict[str, float]:
    """Errors in mm with the pelvises laid on each other; PA after the best similarity transform."""
    root, our_root = truth.joints[0], ours.joints[0]
    values = {
        "mpjpe": 1e3 * metrics.mean_distance(truth.joints - root, ours.joints - our_root),
        "pa_mpjpe": 1e3 * metrics.mean_distance(truth.joints, align_similarity(ours.joints, truth.joints)),
    }
    if len(truth.vertices) == len(ours.vertices):
        values["pve"] = 1e3 * metrics.mean_distance(truth.vertices - root, ours.vertices - our_root)
    return values


def _named(group: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{group}.{name}": float(value) for name, value in values.items()}


def _mean(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Name by name; views in which nobody is seen count where they can."""
    rows = list(rows)
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
