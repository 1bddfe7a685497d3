"""The body as a fit to the photo finds it, instead of the true one: what networks meet when they are used.

``fit`` runs the product's prepare and body stages on the photo. ``noise`` needs neither: it applies errors that such
fits were measured to have. They lie in ``fit_errors.npz``, written by ``scripts/measure_estimates.py``: one row a
photo of the factory, which keeps how the errors of joints, shape and place go together, and how seldom they are large.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ...body.model import BodyModel, load_body, rotation_matrices
from .cameras import Camera
from .figure import TrueBody

if TYPE_CHECKING:
    from ...body.fit import BodyFit
    from ...photo import PreparedPhoto

ERRORS_FILE = Path(__file__).parent / "fit_errors.npz"
_MIRRORED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
"""The joint on the other side."""
_CHILD = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, -1, 15, 16, 17, -1, 18, 19, 20, 21, 22, 23, -1, -1]
"""The joint that a joint's bone leads to, -1 at the ends."""
_BONES = [joint for joint, child in enumerate(_CHILD) if child >= 0]
_TWINS = [_BONES.index(_MIRRORED[joint]) for joint in _BONES]
"""The bone on the other side."""
_ALIKE = 16
"""Fits to people in like poses that lend their errors by turns."""
_ASTRAY = 0.1
"""Share of its error across the picture that a bone keeps: fits see where limbs are, but not how far away."""
_STREAM = 0x4D


@dataclass(frozen=True)
class FitErrors:
    """Errors of n fits, each seen from its photo's camera.

    Attributes:
        pose: float64 [n, 24, 3] axis-angle of the rotation that takes a joint's true rotation to the estimated one,
            applied after it (in the parent's axes; the pelvis' in camera axes).
        betas: [n, 10] estimated shape.
        true_betas: [n, 10] the shape that it should have been, as near as the neutral body comes to it.
        place: [n, 3] the displacement of the joints' middle in the picture, x and y in focal lengths, and the
            logarithm of how much too large the body appears (its size over its depth, over the true quotient).
        bones: [n, 19, 3] true directions of the bones in camera axes, or None where poses are not known.
    """

    pose: np.ndarray
    betas: np.ndarray
    true_betas: np.ndarray
    place: np.ndarray
    bones: np.ndarray | None = None


@lru_cache(maxsize=4)
def _body(name: str) -> BodyModel:
    return load_body(name)


@lru_cache(maxsize=4)
def _joint_shapes(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints [24, 3] of the mean shape, and how they move with the shape [24, 3, 10]."""
    body = _body(name)
    regressor = body.joint_regressor
    return regressor @ body.template, torch.einsum("jv,vab->jab", regressor, body.shape_directions)


def _joints(name: str, betas: torch.Tensor) -> torch.Tensor:
    """Joints [24, 3] in the rest pose, without the vertices that :meth:`BodyModel.shaped` goes by."""
    mean, directions = _joint_shapes(name)
    return mean + directions @ betas


@lru_cache(maxsize=4)
def _to_neutral(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(matrix [10, 10], offset [10]): the neutral body's shape nearest (least squares) to that of another body."""
    body, neutral = _body(name), _body("neutral")
    if name == "neutral" or body.template.shape != neutral.template.shape:
        return torch.eye(10, dtype=torch.float64), torch.zeros(10, dtype=torch.float64)
    # Standing in the same place: about their middles.
    columns = torch.cat([body.shape_directions, (body.template - neutral.template)[..., None]], -1)
    columns = (columns - columns.mean(0)).reshape(-1, 11)
    directions = (neutral.shape_directions - neutral.shape_directions.mean(0)).reshape(-1, 10)
    solution = torch.linalg.lstsq(directions, columns).solution
    return solution[:, :10], solution[:, 10]


def neutral_betas(body: TrueBody) -> torch.Tensor:
    """The shape [10] of the neutral body that comes nearest to ``body``'s, which may be another."""
    matrix, offset = _to_neutral(body.name)
    return matrix @ body.betas.detach().double().cpu() + offset


def stature(name: str, betas: torch.Tensor) -> float:
    """Metres of bone between pelvis, head and feet: the size that a photo cannot tell from distance."""
    joints = _joints(name, betas)
    chain = [(0, 12), (12, 15), (0, 4), (4, 7), (0, 5), (5, 8)]
    return float(sum((joints[a] - joints[b]).norm() for a, b in chain))


@lru_cache(maxsize=1)
def _errors() -> FitErrors:
    with np.load(ERRORS_FILE, allow_pickle=False) as data:
        return FitErrors(*(data[key].astype(np.float64) for key in ("pose", "betas", "true_betas", "place")))


def rotation_vectors(rotations: torch.Tensor) -> torch.Tensor:
    """Axis-angle [..., 3] of rotation matrices [..., 3, 3], through the unit quaternion of the largest component."""
    m = rotations
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = torch.stack([trace, *(2 * m[..., k, k] - trace for k in range(3))], -1) + 1
    # Four ways to write the same quaternion (w, x, y, z), each times one of its components.
    w = torch.stack([
        squares[..., 0], m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1],
    ], -1)  # fmt: skip
    x = torch.stack([w[..., 1], squares[..., 1], m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]], -1)
    y = torch.stack([w[..., 2], x[..., 2], squares[..., 2], m[..., 1, 2] + m[..., 2, 1]], -1)
    z = torch.stack([w[..., 3], x[..., 3], y[..., 3], squares[..., 3]], -1)
    ways = torch.stack([w, x, y, z], -2)
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(ways.gather(-2, best)[..., 0, :], dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * torch.where(sine > 1e-12, angle / sine.clamp(min=1e-12), torch.full_like(sine, 2.0))


def _axes(camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotation [3, 3] and shift [3] of the first camera, float64 on the CPU."""
    matrix = camera.world_to_camera[0].double().cpu()
    return matrix[:3, :3], matrix[:3, 3]


def placed_body(name: str, betas: torch.Tensor, pose: torch.Tensor, pelvis: torch.Tensor) -> TrueBody:
    """The body whose pelvis joint lies at ``pelvis`` [3] in the world."""
    body = _body(name)
    joints = _joints(name, betas)
    turned = body.joint_transforms(rotation_matrices(pose), joints)
    moved = (turned[:, :, :3] @ joints[..., None])[..., 0] + turned[:, :, 3]
    translation = pelvis - moved[0]
    return TrueBody(name, betas, pose, translation, moved + translation)


def seen_by(body: TrueBody, camera: Camera) -> TrueBody:
    """``body`` in the space of the first camera instead of the world."""
    rotation, shift = _axes(camera)
    pose = body.pose.clone()
    pose[0] = rotation_vectors(rotation @ rotation_matrices(pose[0]))
    joints = body.joints @ rotation.T + shift
    # In the rest pose the pelvis lies where it was.
    translation = joints[0] - (body.joints[0] - body.translation)
    return TrueBody(body.name, body.betas, pose, translation, joints)


def _cpu(body: TrueBody) -> TrueBody:
    values = (v.detach().double().cpu() for v in (body.betas, body.pose, body.translation, body.joints))
    return TrueBody(body.name, *values)


def body_of_fit(fit: BodyFit, photo: PreparedPhoto, camera: Camera, body_name: str) -> TrueBody:
    """A fit to a photo, in the world of the camera that took the photo.

    The fit looks through the middle of the prepared crop with a focal length of its own. Depth and shift are chosen
    such that the pelvis projects to the same pixel and the body to the same size.
    """
    rotation, shift = _axes(camera)
    size = camera.size
    left, top, side = photo.crop
    scale = side / photo.rgb.shape[0]  # pixels of the photo per pixel of the crop
    focal = float(camera.focal[0])
    betas, pose = torch.as_tensor(fit.betas).double(), torch.as_tensor(fit.pose).double()
    pelvis = torch.as_tensor(fit.translation).double() + _joints(body_name, betas)[0]
    depth = pelvis[2] * focal / (fit.focal * scale)
    middle = torch.tensor([left + side / 2 - size / 2, top + side / 2 - size / 2], dtype=torch.float64)
    seen = pelvis[:2] / pelvis[2] * (fit.focal * scale) + middle
    there = torch.cat([seen / focal * depth, depth[None]])
    pose = pose.clone()
    pose[0] = rotation_vectors(rotation.T @ rotation_matrices(pose[0]))
    return placed_body(body_name, betas, pose, rotation.T @ (there - shift))


def fit_errors(truth: TrueBody, estimate: TrueBody, camera: Camera) -> FitErrors:
    """The errors of one estimate (n = 1), as :func:`noisy_body` applies them."""
    truth, estimate = _cpu(truth), _cpu(estimate)
    rotation, shift = _axes(camera)
    true_rotations, found = rotation_matrices(truth.pose), rotation_matrices(estimate.pose)
    true_rotations[0], found[0] = rotation @ true_rotations[0], rotation @ found[0]
    pose = rotation_vectors(found @ true_rotations.transpose(1, 2))
    there, here = (b.joints @ rotation.T + shift for b in (estimate, truth))
    lateral = (there[:, :2] / there[:, 2:]).mean(0) - (here[:, :2] / here[:, 2:]).mean(0)
    sizes = [stature(b.name, b.betas) / float(p[0, 2]) for b, p in ((estimate, there), (truth, here))]
    place = torch.cat([lateral, torch.tensor([np.log(sizes[0] / sizes[1])], dtype=torch.float64)])
    values = (pose, estimate.betas, neutral_betas(truth), place, _bones(here))
    return FitErrors(*(v.numpy()[None] for v in values))


def _bones(joints: torch.Tensor) -> torch.Tensor:
    """Directions [19, 3] of the bones between joints [24, 3]."""
    bones = joints[[_CHILD[joint] for joint in _BONES]] - joints[_BONES]
    return torch.nn.functional.normalize(bones, dim=1)


def _chosen(errors: FitErrors, bones: np.ndarray, rng: np.random.Generator) -> tuple[int, bool]:
    """A row by chance and whether to mirror it; among those whose poses are most like ``bones`` [19, 3], if known.

    What a fit gets wrong depends on the pose: knees that are bent towards the camera come out straight, say.
    """
    if errors.bones is None:
        return int(rng.integers(len(errors.pose))), bool(rng.random() < 0.5)
    both = np.stack([errors.bones, errors.bones[:, _TWINS] * [-1.0, 1.0, 1.0]])
    distance = ((both - bones) ** 2).sum((2, 3)).ravel()
    alike = np.argsort(distance)[:_ALIKE]
    mirrored, row = divmod(int(rng.choice(alike)), len(errors.pose))
    return row, bool(mirrored)


def noisy_body(truth: TrueBody, camera: Camera, seed: int, errors: FitErrors | None = None) -> TrueBody:
    """The neutral body with the true pose and the error of a measured fit, mirrored at times.

    Args:
        truth: in the world of ``camera``.
        camera: the photo's (its first one is used).
        seed: decides the error.
        errors: to choose from, among those in like poses where these are known; None takes those that were measured.
    """
    errors = _errors() if errors is None else errors
    truth = _cpu(truth)
    rng = np.random.default_rng([seed, _STREAM])
    rotation, shift = _axes(camera)
    here = truth.joints @ rotation.T + shift
    row, mirror = _chosen(errors, _bones(here).numpy(), rng)
    strength = float(rng.uniform(0.6, 1.3))
    pose, place = errors.pose[row] * strength, errors.place[row] * strength
    if mirror:
        # A mirror keeps turns about the axis across it and reverses the others.
        pose, place = pose[_MIRRORED] * [1.0, -1.0, -1.0], place * [-1.0, 1.0, 1.0]
        # The pelvis' error is in camera axes; they have the same mirror.
    pose = pose + rng.normal(size=pose.shape) * 0.02
    # What a fit makes of the true shape, as a line through all that was measured, and the rest of this row.
    spread = errors.true_betas - errors.true_betas.mean(0)
    gain = (spread * (errors.betas - errors.betas.mean(0))).sum(0) / np.maximum((spread**2).sum(0), 1e-9)
    rest = errors.betas[row] - gain * errors.true_betas[row]
    betas = torch.as_tensor(gain) * neutral_betas(truth) + torch.as_tensor(rest)
    turned = rotation_matrices(torch.as_tensor(pose)) @ _in_camera(truth.pose, rotation)
    turned = _keep_in_picture(turned, betas, truth, rotation)
    turned[0] = rotation.T @ turned[0]
    found = placed_body("neutral", betas, rotation_vectors(turned), torch.zeros(3, dtype=torch.float64))
    depth = here[0, 2] * stature("neutral", betas) / stature(truth.name, truth.betas) / np.exp(place[2])
    # Where the pelvis must be for the joints' middle to appear where it is wanted.
    wanted = (here[:, :2] / here[:, 2:]).mean(0) + torch.as_tensor(place[:2])
    aside = found.joints @ rotation.T
    inverse = 1 / (aside[:, 2:] + depth)
    pelvis = torch.cat([(wanted - (aside[:, :2] * inverse).mean(0)) / inverse.mean(), depth[None]])
    moved = rotation.T @ (pelvis - shift)
    return TrueBody("neutral", betas, found.pose, found.translation + moved, found.joints + moved)


def _keep_in_picture(
    turned: torch.Tensor, betas: torch.Tensor, truth: TrueBody, rotation: torch.Tensor
) -> torch.Tensor:
    """Rotations [24, 3, 3] of the neutral body, the pelvis' in camera axes, that lead bones where the photo shows them.

    Each bone is swung until its direction across the picture is nearly the true one; its direction in depth stays.
    """
    body = _body("neutral")
    rest = _joints("neutral", betas)
    true_joints = truth.joints @ rotation.T
    globals_: list[torch.Tensor] = []
    out = turned.clone()
    for joint, parent in enumerate(body.parents):
        above = torch.eye(3, dtype=turned.dtype) if parent < 0 else globals_[parent]
        whole = above @ turned[joint]
        child = _CHILD[joint]
        if child >= 0:
            bone = torch.nn.functional.normalize(whole @ (rest[child] - rest[joint]), dim=0)
            wanted = torch.nn.functional.normalize(true_joints[child] - true_joints[joint], dim=0)
            wanted = torch.cat([wanted[:2] + _ASTRAY * (bone[:2] - wanted[:2]), bone[2:]])
            wanted = torch.nn.functional.normalize(wanted, dim=0)
            axis = torch.linalg.cross(bone, wanted)
            angle = torch.atan2(axis.norm(), bone @ wanted)
            whole = rotation_matrices(torch.nn.functional.normalize(axis, dim=0) * angle) @ whole
        globals_.append(whole)
        out[joint] = above.T @ whole
    return out


def _in_camera(pose: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotations [24, 3, 3] of ``pose`` [24, 3], the pelvis' in camera axes."""
    out = rotation_matrices(pose)
    out[0] = rotation @ out[0]
    return out


def scale_of(estimate: TrueBody, truth: TrueBody, camera: Camera) -> float:
    """How much the estimate must be scaled about the photo's camera for its pelvis to lie as deep as the true one."""
    rotation, shift = _axes(camera)
    depths = [float((rotation @ b.joints[0].double().cpu() + shift)[2]) for b in (truth, estimate)]
    return depths[0] / depths[1]


_pipeline: Any = None
"""The product's networks and fitters, loaded when the first fit is asked for."""


def fitted_body(rgb: torch.Tensor, alpha: torch.Tensor | None, camera: Camera, body_name: str = "neutral") -> TrueBody:
    """Run the product's prepare and body stages on a photo.

    Args:
        rgb: [S, S, 3] sRGB in 0..1.
        alpha: [S, S] matte that comes with it, None to let the product cut its own.
        camera: that took it.
        body_name: the body to fit.

    Raises:
        BackendError: nobody was found, or the product's weights are missing.
    """
    global _pipeline
    from ...pipeline import Pipeline
    from ...prepare import prepare
    from ...prepare.image import Photo

    if _pipeline is None:
        _pipeline = Pipeline("cpu")
    pixels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    matte = None if alpha is None else alpha.float().cpu().numpy()
    photo = prepare(Photo(pixels, matte, "factory", ""), _pipeline.networks())
    with torch.enable_grad():
        fit = _pipeline.fitter(body_name).fit(photo)
    return body_of_fit(fit, photo, camera, body_name)


def estimate_body(
    truth: TrueBody, camera: Camera, rgb: torch.Tensor, seed: int, how: Literal["fit", "noise"]
) -> TrueBody:
    """The body that the product would find in the photo ``rgb`` [S, S, 3] taken by ``camera``; see the module.

    A photo in which the product finds nobody gets the error model's answer.
    """
    if how == "noise":
        return noisy_body(truth, camera, seed)
    from ...errors import BackendError

    try:
        return fitted_body(rgb, None, camera)
    except BackendError as error:
        if error.kind not in ("no_person", "image_too_small"):
            raise
        return noisy_body(truth, camera, seed)
