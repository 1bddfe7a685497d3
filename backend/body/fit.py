"""Fit pose, shape and place of a body to one photo's landmarks and outline, in about a second.

A SMPLify-style fit (Bogo et al. 2016) with priors that need no licensed data. Landmarks are linear in the vertices, so
their linear blend skinning collapses to precomputed moments and one evaluation with gradient costs a few milliseconds.
Camera space throughout: OpenCV axes (x right, y down, z forward), metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..prepare import PreparedPhoto
from .landmarks import FACE, HAND_LANDMARKS, JOINT_EVIDENCE, POSE_LANDMARKS
from .model import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, SHAPE_COMPONENTS, BodyModel, rotation_matrices
from .priors import joint_limits, relaxed_pose, stiffness


@dataclass(frozen=True)
class FitConfig:
    """Weights of the fit's terms, found on photos and on rendered bodies of known pose.

    Attributes:
        depth_trust: weight of the 3D hints' depth against their other two axes.
        upright: weight of the pull towards an upright trunk and upright legs (a robust term: it gives up on acrobats).
            Without it the hints make standing people lean forward by 15 to 22 degrees.
        face_hint: weight of the face's 3D hints, whose depth is poor.
        silhouette: weight of the outline terms.
        shape: weight of the pull towards the mean shape.
        iterations: of the three stages.
    """

    depth_trust: float = 0.15
    upright: float = 0.5
    face_hint: float = 0.1
    silhouette: float = 2.0
    shape: float = 0.003
    iterations: tuple[int, int, int] = (60, 80, 60)


@dataclass(frozen=True)
class BodyFit:
    """A fitted body, in camera space.

    Attributes:
        pose: [24, 3] axis-angle, the pelvis' row in camera axes.
        betas: [10].
        translation: [3] metres, added after posing.
        focal: pixels of the crop (S x S, principal point at the centre).
        landmark_error: mean distance of the visible landmarks in pixels of the crop.
        person_size: pixels, the longer side of the landmarks' box.
        confidence: [24] in 0..1 per joint.
    """

    pose: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    focal: float
    landmark_error: float
    person_size: float
    confidence: np.ndarray


def _moments(body: BodyModel, regressor: torch.Tensor) -> torch.Tensor:
    """Skinning moments [K, 24, 4, 11] of points ``regressor`` [K, V]: homogeneous, for the template and each shape."""
    shapes = torch.cat([body.template[..., None], body.shape_directions], -1)
    weighted = torch.einsum("kv,vj->kjv", regressor, body.weights)
    points = torch.einsum("kjv,vcb->kjcb", weighted, shapes)
    ones = torch.zeros(*points.shape[:2], 1, points.shape[3], dtype=points.dtype)
    ones[:, :, 0, 0] = weighted.sum(-1)
    return torch.cat([points, ones], 2)


def _rotation_onto(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] that best turns centred points onto others (Kabsch)."""
    rotation, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    return rotation.as_matrix()


class BodyFitter:
    """Fits one body model; holds what depends on the model alone.

    Args:
        body: the model.
        config: weights.
    """

    _SILHOUETTE_VERTICES = 1500
    _OUTLINE_POINTS = 400

    def __init__(self, body: BodyModel, config: FitConfig | None = None) -> None:
        self._body = body
        self._config = config or FitConfig()
        self._joints = body.joint_regressor @ body.template
        self._joint_shapes = torch.einsum("jv,vcb->jcb", body.joint_regressor, body.shape_directions)
        names = [name for _, name, _ in POSE_LANDMARKS]
        names += [side + name for side in ("left_", "right_") for _, name, _ in HAND_LANDMARKS]
        rows = [body.keypoint_names.index(name) for name in names]
        self._point_moments = _moments(body, body.keypoint_regressor[rows])
        subset = np.sort(np.random.default_rng(0).permutation(len(body.template))[: self._SILHOUETTE_VERTICES])
        selector = torch.zeros(len(subset), len(body.template), dtype=torch.float64)
        selector[torch.arange(len(subset)), torch.as_tensor(subset)] = 1
        self._subset = torch.as_tensor(subset)
        self._low, self._high = joint_limits()
        self._rest = relaxed_pose()
        self._stiffness = stiffness()[:, None]

    def fit(self, photo: PreparedPhoto, check: Callable[[], None] | None = None) -> BodyFit:
        """Fit to ``photo``; ``check`` is called at every evaluation and may raise to stop the fit."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the tensors are tiny: a second thread only costs
        try:
            return _Problem(self, photo, check or (lambda: None)).solve()
        finally:
            torch.set_num_threads(threads)


class _Problem:
    """The fit of one photo: its data, its unknowns, its stages."""

    def __init__(self, fitter: BodyFitter, photo: PreparedPhoto, check: Callable[[], None]) -> None:
        self.f, self.check, self.config = fitter, check, fitter._config
        self.side = photo.rgb.shape[0]
        self.focal = photo.focal
        self._read_landmarks(photo)
        self._read_outline(photo)
        self.pose = self.f._rest.clone().requires_grad_(True)
        self.betas = torch.zeros(SHAPE_COMPONENTS, dtype=torch.float64, requires_grad=True)
        self.translation = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
        self.log_scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def _read_landmarks(self, photo: PreparedPhoto) -> None:
        index = [i for i, _, _ in POSE_LANDMARKS]
        weights = np.array([w for _, _, w in POSE_LANDMARKS]) * np.maximum(photo.visibility[index], 0.05)
        # What the frame cuts was guessed by the network: its place on the picture means little.
        in_frame = ((photo.landmarks[index] > -8) & (photo.landmarks[index] < self.side + 8)).all(1)
        points = photo.landmarks[index]
        for side, hand in (("left_", photo.left_hand), ("right_", photo.right_hand)):
            seen = hand is not None
            points = np.vstack([points, hand[[i for i, _, _ in HAND_LANDMARKS]] if seen else np.zeros((9, 2))])
            weights = np.append(weights, [w if seen else 0.0 for _, _, w in HAND_LANDMARKS])
            if seen:
                # The hand network knows the knuckles better than the pose network.
                for k, (_, name, _) in enumerate(POSE_LANDMARKS):
                    if name in (side + "index", side + "pinky", side + "thumb"):
                        weights[k] = 0.0
        self.points = torch.as_tensor(points)
        self.weights_2d = torch.as_tensor(weights)
        self.weights_2d[: len(index)] *= torch.as_tensor(np.where(in_frame, 1.0, 0.3))
        self.hints = torch.as_tensor(photo.world_landmarks[index])
        face = np.array([name in FACE for _, name, _ in POSE_LANDMARKS])
        self.weights_3d = self.weights_2d[: len(index)].clone()
        self.weights_3d[torch.as_tensor(np.isin([n for _, n, _ in POSE_LANDMARKS], _HAND_NAMES))] = torch.as_tensor(
            np.array([w for _, n, w in POSE_LANDMARKS if n in _HAND_NAMES])
        ) * torch.as_tensor(photo.visibility[[i for i, n, _ in POSE_LANDMARKS if n in _HAND_NAMES]])
        self.hint_trust = torch.as_tensor(np.where(face, self.config.face_hint, 1.0))
        self.seen = torch.as_tensor((photo.visibility[index] > 0.5) & in_frame)
        self.visibility = photo.visibility
        self.hips = [k for k, (_, name, _) in enumerate(POSE_LANDMARKS) if name.endswith("_hip")]
        self.torso = [k for k, (_, n, _) in enumerate(POSE_LANDMARKS) if n.endswith(("_hip", "_shoulder"))]
        body_points = self.points[: len(index)]
        self.size = float((body_points.max(0).values - body_points.min(0).values).max())

    def _read_outline(self, photo: PreparedPhoto) -> None:
        factor = 4  # a quarter of the crop's resolution is 4 mm a pixel: finer than clothes are thin
        mask = photo.alpha[::factor, ::factor] > 0.5
        inside = photo.inside[::factor, ::factor]
        distance = ndimage.distance_transform_edt(~mask) * factor
        distance[~inside] = 0  # nothing is known beyond the picture's edge
        self.distance = torch.as_tensor(distance)[None, None]
        edge = mask & ~ndimage.binary_erosion(mask) & ndimage.binary_erosion(inside, iterations=2, border_value=0)
        ys, xs = np.nonzero(edge)
        chosen = np.random.default_rng(0).permutation(len(xs))[: self.f._OUTLINE_POINTS]
        self.outline = torch.as_tensor(np.stack([xs[chosen], ys[chosen]], 1) * factor + 0.5 * factor).double()

    def _project(self, points: torch.Tensor) -> torch.Tensor:
        return points[:, :2] / points[:, 2:].clamp_min(0.1) * self.focal + self.side / 2

    def _transforms(self) -> tuple[torch.Tensor, torch.Tensor]:
        joints = self.f._joints + self.f._joint_shapes @ self.betas
        return self.f._body.joint_transforms(rotation_matrices(self.pose), joints), joints

    def _keypoints(self, transforms: torch.Tensor) -> torch.Tensor:
        shape = torch.cat([torch.ones(1, dtype=torch.float64), self.betas])
        return torch.einsum("jab,kjb->ka", transforms, self.f._point_moments @ shape)

    def _loss(self, stage: int) -> torch.Tensor:
        c = self.config
        transforms, joints = self._transforms()
        points = self._keypoints(transforms)
        count = len(POSE_LANDMARKS)
        relative = points[:count] - points[self.hips].mean(0)
        error = relative - self.hints * self.log_scale.exp()
        axes = torch.tensor([1.0, 1.0, 1.0 if stage == 0 else c.depth_trust], dtype=torch.float64)
        squared = (error.pow(2) * axes).sum(-1)
        if stage == 0:
            # Quadratic first: a robust term gets stuck when the start is far (jumps, handstands).
            loss = 60 * (self.weights_3d * squared).sum()
        else:
            spread = 0.2**2
            robust = squared / (squared + spread)
            loss = (12.0, 6.0)[stage - 1] * 4 * spread * (self.weights_3d * self.hint_trust * robust).sum()
        loss = loss + 5 * self.log_scale.pow(2).sum()
        loss = loss + 0.02 * (self.f._stiffness * (self.pose - self.f._rest).pow(2)).sum()
        beyond = (self.pose - self.f._high).clamp_min(0) + (self.f._low - self.pose).clamp_min(0)
        loss = loss + beyond[1:].pow(2).sum() + c.shape * self.betas.pow(2).sum()
        if stage == 0:
            return loss
        pixels = self._project(points + self.translation)
        squared = ((pixels - self.points) / self.size).pow(2).sum(-1)
        spread = (0.4, 0.06)[stage - 1] ** 2
        loss = loss + 400 * (self.weights_2d * squared / (squared + spread)).sum() * spread
        loss = loss + c.upright * self._tilt(transforms, joints)
        if stage == 2 and len(self.outline):
            loss = loss + c.silhouette * self._outline_loss(transforms)
        return loss

    def _tilt(self, transforms: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
        """Robust squared depth tilt of trunk and legs, 0..1."""
        placed = (transforms[:, :, :3] @ joints[..., None])[..., 0] + transforms[:, :, 3]
        trunk = placed[JOINT_INDEX["neck"]] - placed[0]
        legs = placed[0] - 0.5 * (placed[JOINT_INDEX["left_ankle"]] + placed[JOINT_INDEX["right_ankle"]])
        tilt = (trunk[2] / trunk.norm()).pow(2) + (legs[2] / legs.norm()).pow(2)
        return tilt / (tilt + 0.15)

    def _outline_loss(self, transforms: torch.Tensor) -> torch.Tensor:
        """Body outside the matte, and outline that no body reaches."""
        body, chosen = self.f._body, self.f._subset
        vertices = body.template[chosen] + body.shape_directions[chosen] @ self.betas
        pixels = self._project(body.skin(vertices, transforms, body.weights[chosen]) + self.translation)
        grid = (pixels / self.side * 2 - 1)[None, None]
        outside = torch.nn.functional.grid_sample(self.distance, grid, align_corners=False, padding_mode="border")
        loss = 200 * (outside[0, 0, 0] / self.size).pow(2).mean()
        with torch.no_grad():
            nearest = torch.cdist(self.outline, pixels).argmin(1)
        gap = ((pixels[nearest] - self.outline) / self.size).pow(2).sum(-1)
        spread = 0.03**2
        return loss + 150 * (gap / (gap + spread)).mean() * spread

    def _run(self, stage: int, unknowns: list[torch.Tensor], iterations: int) -> None:
        optimizer = torch.optim.LBFGS(
            unknowns, lr=1.0, max_iter=iterations, history_size=20, line_search_fn="strong_wolfe",
            tolerance_grad=1e-7, tolerance_change=1e-9,
        )  # fmt: skip

        def closure() -> torch.Tensor:
            self.check()
            optimizer.zero_grad()
            loss = self._loss(stage)
            loss.backward()
            return loss

        optimizer.step(closure)

    def _start_root(self) -> None:
        with torch.no_grad():
            points = self._keypoints(self._transforms()[0])
            rotation = _rotation_onto(points[self.torso].numpy(), self.hints[self.torso].numpy())
            self.pose[0] = torch.as_tensor(Rotation.from_matrix(rotation).as_rotvec())

    def _start_translation(self) -> None:
        """Linear least squares for the translation that projects the posed keypoints onto the landmarks."""
        with torch.no_grad():
            points = self._keypoints(self._transforms()[0])
            target = self.points - self.side / 2
            root = self.weights_2d.sqrt()
            rows, sides = [], []
            for axis in range(2):
                row = torch.zeros(len(target), 3, dtype=torch.float64)
                row[:, axis] = self.focal
                row[:, 2] = -target[:, axis]
                rows.append(row * root[:, None])
                sides.append((target[:, axis] * points[:, 2] - self.focal * points[:, axis]) * root)
            solution = torch.linalg.lstsq(torch.cat(rows), torch.cat(sides)[:, None]).solution[:, 0]
            if solution[2] < 0.5:
                solution[2] = 3.0
            self.translation.copy_(solution)

    def solve(self) -> BodyFit:
        self._start_root()
        first, second, third = self.config.iterations
        self._run(0, [self.pose, self.log_scale], first)
        self._start_translation()
        unknowns = [self.translation, self.pose, self.betas, self.log_scale]
        self._run(1, unknowns, second)
        self._run(2, unknowns, third)
        with torch.no_grad():
            pixels = self._project(self._keypoints(self._transforms()[0]) + self.translation)
            count = len(POSE_LANDMARKS)
            errors = (pixels - self.points)[:count].norm(dim=-1)
            seen = self.seen if bool(self.seen.any()) else torch.ones(count, dtype=torch.bool)
            return BodyFit(
                pose=self.pose.detach().numpy().copy(),
                betas=self.betas.detach().numpy().copy(),
                translation=self.translation.detach().numpy().copy(),
                focal=self.focal,
                landmark_error=float(errors[seen].mean()),
                person_size=self.size,
                confidence=self._confidence(errors.numpy()),
            )

    def _confidence(self, errors: np.ndarray) -> np.ndarray:
        """Visibility of a joint's landmarks times how well the body meets them (1 % of the size costs little)."""
        error_of = {index: e for (index, _, _), e in zip(POSE_LANDMARKS, errors)}
        confidence = np.empty(JOINT_COUNT)
        for joint, name in enumerate(JOINT_NAMES):
            evidence = JOINT_EVIDENCE[name]
            agreement = [math.exp(-0.5 * (error_of[i] / (0.03 * self.size)) ** 2) for i in evidence]
            confidence[joint] = float(np.mean(self.visibility[list(evidence)] * agreement))
        return confidence.clip(0, 1)


_HAND_NAMES = [side + name for side in ("left_", "right_") for name in ("index", "pinky", "thumb")]
