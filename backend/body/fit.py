"""Fit pose, shape and place of a body to one photo's landmarks and outline, in about a second.

A SMPLify-style fit (Bogo et al. 2016) with priors that need no licensed data: robust least squares over pose, shape and
place, minimised by Levenberg and Marquardt's method with exact derivatives, robust terms by reweighting.
Camera space throughout: OpenCV axes (x right, y down, z forward), metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..prepare import PreparedPhoto
from .differential import BETAS, POSE, SCALE, TRANSLATION, UNKNOWNS, Points, PosedSkeleton, Skeleton
from .landmarks import HAND_LANDMARKS, JOINT_EVIDENCE, LANDMARK_OFFSETS, POSE_LANDMARKS
from .model import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, BodyModel
from .priors import joint_limits, relaxed_pose, stiffness


@dataclass(frozen=True)
class FitConfig:
    """Weights of the fit's terms, found on photos and on rendered bodies of known pose.

    Attributes:
        hints: weight of the landmarks' places in space against those in the picture.
        landmark_spread: distance, in shares of the person's size, from which landmarks count as outliers; of the
            coarse and the fine stage.
        off_matte: the same for a landmark's distance from the matte, beyond which it is not believed.
        clear_face: weight of the push that keeps arms from covering a face that the photo shows.
        silhouette: weight of the outline terms.
        cover_spread: reach of the pull of uncovered parts of the matte, in shares of the person's size.
        cover_shape: how much of that pull the body's shape feels; the rest moves limbs only, since clothes are no
            reason to fatten the body.
        shape: weight of the pull towards the mean shape.
        iterations: at most, of the three stages.
    """

    hints: float = 1.0
    landmark_spread: tuple[float, float] = (0.4, 0.04)
    off_matte: float = 0.03
    clear_face: float = 100.0
    silhouette: float = 45.0
    cover_spread: float = 0.06
    cover_shape: float = 0.3
    shape: float = 0.06
    iterations: tuple[int, int, int] = (25, 25, 20)


@dataclass(frozen=True)
class BodyFit:
    """A fitted body, in camera space.

    Attributes:
        pose: [24, 3] axis-angle, the pelvis' row in camera axes.
        betas: [10].
        translation: [3] metres, added after posing.
        focal: pixels of the crop (S x S, principal point at the centre).
        landmark_error: mean distance in pixels of the crop of the landmarks that are visible and in the picture.
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


_STANDING = 0.5
"""Weight of the hints that make cut people stand; that of a landmark that is surely seen is 1."""
_BEYOND = 0.03
"""Crop sides outside the crop over which landmarks lose their credit; from there on they have none."""


def _rotation_onto(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] that best turns centred points onto others (Kabsch)."""
    rotation, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    return rotation.as_matrix()


@dataclass(frozen=True)
class _Term:
    """Part of the loss: sum of ``weight * rho(|residual|^2)`` over rows.

    ``rho(x)`` is x, or Geman and McClure's ``s x / (x + s)`` with ``s = spread ** 2``, which gives up on outliers.

    Attributes:
        residual: [n, d].
        derivative: [n, d, 86].
        weight: [n] or one number.
        spread: robust scale in the residual's unit, or None.
    """

    residual: np.ndarray
    derivative: np.ndarray
    weight: np.ndarray | float
    spread: float | None = None

    def cost(self) -> float:
        square = (self.residual**2).sum(1)
        if self.spread is not None:
            square = self.spread**2 * square / (square + self.spread**2)
        return float((self.weight * square).sum())

    def normal_equations(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix [86, 86] and gradient [86] of the reweighted least squares problem."""
        weight = np.broadcast_to(np.asarray(self.weight, float), len(self.residual))
        if self.spread is not None:
            weight = weight * (self.spread**2 / ((self.residual**2).sum(1) + self.spread**2)) ** 2
        rows = torch.from_numpy(self.derivative.reshape(-1, UNKNOWNS))
        weighted = torch.from_numpy((self.derivative * weight[:, None, None]).reshape(-1, UNKNOWNS)).T
        return (weighted @ rows).numpy(), (weighted @ torch.from_numpy(self.residual.reshape(-1))).numpy()


class BodyFitter:
    """Fits one body model; holds what depends on the model alone.

    Args:
        body: the model.
        config: weights.
    """

    _SILHOUETTE_VERTICES = 1000

    def __init__(self, body: BodyModel, config: FitConfig | None = None) -> None:
        self.config = config or FitConfig()
        self.skeleton = Skeleton(body)
        names = [name for _, name, _ in POSE_LANDMARKS]
        names += [side + name for side in ("left_", "right_") for _, name, _ in HAND_LANDMARKS]
        self.known = np.array([name in body.keypoint_names for name in names])
        """Which landmarks this body has a keypoint for; the others are left out."""
        rows = torch.zeros(len(names), len(body.template), dtype=torch.float64)
        for row, name in zip(rows, names):
            if name in body.keypoint_names:
                row.copy_(body.keypoint_regressor[body.keypoint_names.index(name)])
        offsets = torch.zeros(len(names), 3, dtype=torch.float64)
        for offset, name in zip(offsets, names):
            side, _, part = name.partition("_")
            outward = torch.tensor([-1.0 if side == "right" else 1.0, 1.0, 1.0], dtype=torch.float64)
            offset.copy_(torch.tensor(LANDMARK_OFFSETS.get(part, (0.0, 0.0, 0.0)), dtype=torch.float64) * outward)
        self.keypoints = Points.linear(self.skeleton, body, rows, offsets)
        count = len(POSE_LANDMARKS)
        self.lifted = Points.linear(self.skeleton, body, rows[:count], torch.zeros_like(offsets[:count]))
        self.joints = Points.joints(self.skeleton)
        chosen = np.sort(np.random.default_rng(0).permutation(len(body.template))[: self._SILHOUETTE_VERTICES])
        self.vertices = Points.vertices(self.skeleton, body, chosen)
        forearm = [JOINT_INDEX[side + part] for side in ("left_", "right_") for part in ("elbow", "wrist", "hand")]
        self.forearms = np.isin(body.weights.numpy()[chosen].argmax(1), forearm)
        self.low, self.high = (limit.numpy().reshape(-1) for limit in joint_limits())
        self.rest = relaxed_pose().numpy().reshape(-1)
        self.stiffness = stiffness().numpy().reshape(-1)

    def fit(self, photo: PreparedPhoto, check: Callable[[], None] | None = None) -> BodyFit:
        """Fit to ``photo``; ``check`` is called at every iteration and may raise to stop the fit."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the matrices are small: a second thread only costs
        try:
            return _Problem(self, photo, check or (lambda: None)).solve()
        finally:
            torch.set_num_threads(threads)


class _Problem:
    """The fit of one photo: its data, its terms, its stages."""

    _OUTLINE_SCALE = 4  # a quarter of the crop's resolution is 4 mm a pixel: finer than clothes are thin

    def __init__(self, fitter: BodyFitter, photo: PreparedPhoto, check: Callable[[], None]) -> None:
        self.f, self.check, self.config = fitter, check, fitter.config
        self.side = photo.rgb.shape[0]
        self.focal = photo.focal
        self._read_landmarks(photo)
        self._read_outline(photo)
        self.face = _clear_face(photo)
        # A landmark beside the matte is wrong (a kicking foot, say): the outline knows better.
        off = self._sample_distance(self.points)[0]
        trust = 1 / (1 + (off / self.config.off_matte) ** 2) ** 2
        self.weights_2d = self.weights_2d * trust
        self.weights_3d = self.weights_3d * trust[: len(self.weights_3d)]
        self._stand()

    def _read_landmarks(self, photo: PreparedPhoto) -> None:
        index = [i for i, _, _ in POSE_LANDMARKS]
        names = [name for _, name, _ in POSE_LANDMARKS]
        count = len(index)
        self.visibility = photo.visibility
        points = photo.landmarks[index]
        trust = np.array([w for _, _, w in POSE_LANDMARKS]) * np.maximum(photo.visibility[index], 0.05)
        # What the frame cuts was guessed by the network, the worse the farther out: there the relaxed pose is better.
        beyond = np.maximum(-points, points - self.side).max(1)
        in_frame = beyond < 8
        self.cut = beyond > _BEYOND * self.side
        trust = np.where(self.cut, 0.0, trust * np.exp(-0.5 * (np.maximum(beyond, 0) / (_BEYOND * self.side)) ** 2))
        weights = trust.copy()
        self.size = float(np.ptp(points, axis=0).max())
        for side, hand in (("left_", photo.left_hand), ("right_", photo.right_hand)):
            seen = hand is not None
            points = np.vstack([points, hand[[i for i, _, _ in HAND_LANDMARKS]] if seen else np.zeros((9, 2))])
            weights = np.append(weights, [w if seen else 0.0 for _, _, w in HAND_LANDMARKS])
            if seen:
                # The hand network knows the knuckles better than the pose network.
                weights[[names.index(side + finger) for finger in ("index", "pinky", "thumb")]] = 0.0
        self.points, self.weights_2d = points, weights * self.f.known
        self.hints = photo.world_landmarks[index]
        self.hips = [names.index("left_hip"), names.index("right_hip")]
        self.weights_3d = trust * self.f.known[:count]
        self.seen = (photo.visibility[index] > 0.5) & in_frame & self.f.known[:count]
        self.torso = [*self.hips, names.index("left_shoulder"), names.index("right_shoulder")]

    def _stand(self) -> None:
        """Hints for legs that the frame cuts: straight down, unless the person lies. Left alone, they would go on as
        the trunk leans, or do the splits to fill the outline."""
        at = {name: k for k, (_, name, _) in enumerate(POSE_LANDMARKS)}
        shoulders = self.hints[[at["left_shoulder"], at["right_shoulder"]]].mean(0)
        trunk = shoulders - self.hints[self.hips].mean(0)
        if -trunk[1] < 0.5 * np.linalg.norm(trunk):
            return
        joints = self.f.skeleton.joints
        for side in ("left_", "right_"):
            for upper, lower in (("hip", "knee"), ("knee", "ankle")):
                above, below = at[side + upper], at[side + lower]
                if self.cut[below]:
                    bone = joints[JOINT_INDEX[side + lower]] - joints[JOINT_INDEX[side + upper]]
                    self.hints[below] = self.hints[above] + [0.0, np.linalg.norm(bone), 0.0]
                    self.weights_3d[below] = _STANDING

    def _read_outline(self, photo: PreparedPhoto) -> None:
        factor = self._OUTLINE_SCALE
        mask = photo.alpha[::factor, ::factor] > 0.5
        inside = photo.inside[::factor, ::factor]
        distance = ndimage.distance_transform_edt(~mask) * factor
        distance[~inside] = 0  # nothing is known beyond the picture's edge
        self.distance = distance / self.size
        edge = mask & ~ndimage.binary_erosion(mask) & ndimage.binary_erosion(inside, iterations=2, border_value=0)
        # Points on the outline, and a coarse grid of points within it.
        grid = np.zeros_like(mask)
        step = max(2, round(0.02 * self.size / factor))
        grid[step // 2 :: step, step // 2 :: step] = True
        rng = np.random.default_rng(0)
        chosen = [np.argwhere(where) for where in (edge, mask & grid)]
        chosen = [rows[rng.permutation(len(rows))[:400]] for rows in chosen]
        self.cover = (np.vstack(chosen)[:, ::-1] + 0.5) * factor

    def _project(self, points: np.ndarray) -> np.ndarray:
        return points[:, :2] / np.maximum(points[:, 2:], 0.1) * self.focal + self.side / 2

    def _project_derivative(self, points: np.ndarray, derivative: np.ndarray) -> np.ndarray:
        z = np.maximum(points[:, 2], 0.1)[:, None, None]
        return self.focal / z * (derivative[:, :2] - (points[:, :2] / z[..., 0])[..., None] * derivative[:, 2:])

    def _terms(self, stage: int, unknowns: np.ndarray, posed: PosedSkeleton) -> Iterator[_Term]:
        c = self.config
        yield self._hint_term(stage, unknowns, posed)
        yield from self._prior_terms(unknowns)
        if stage == 0:
            return
        points, derivative = self.f.keypoints.with_derivative(posed)
        pixels = (self._project(points) - self.points) / self.size
        derivative = self._project_derivative(points, derivative) / self.size
        yield _Term(pixels, derivative, 400 * self.weights_2d, c.landmark_spread[stage - 1])
        if stage == 2:
            yield from self._outline_terms(posed)
            if self.face is not None:
                yield self._face_term(posed)

    def _hint_term(self, stage: int, unknowns: np.ndarray, posed: PosedSkeleton) -> _Term:
        """Distance of the hip-centred body from the scaled 3D hints."""
        points, derivative = self.f.lifted.with_derivative(posed)
        scaled = self.hints * np.exp(unknowns[SCALE])
        residual = points - points[self.hips].mean(0) - scaled
        derivative = derivative - derivative[self.hips].mean(0)
        derivative[:, :, SCALE] = -scaled
        if stage == 0:
            # Quadratic first: a robust term gets stuck when the start is far (jumps, handstands).
            return _Term(residual, derivative, 60 * self.weights_3d)
        weight = (48.0, 24.0)[stage - 1] * self.config.hints * self.weights_3d
        return _Term(residual, derivative, weight, 0.2)

    def _prior_terms(self, unknowns: np.ndarray) -> Iterator[_Term]:
        pose, diagonal = unknowns[POSE], np.eye(UNKNOWNS)[:, None]
        yield _Term((pose - self.f.rest)[:, None], diagonal[POSE], 0.02 * self.f.stiffness)
        beyond = np.maximum(pose - self.f.high, 0) + np.minimum(pose - self.f.low, 0)
        yield _Term(beyond[3:, None], diagonal[POSE][3:] * (beyond[3:, None, None] != 0), 1.0)
        yield _Term(unknowns[BETAS, None], diagonal[BETAS], self.config.shape)
        yield _Term(unknowns[[[SCALE]]], diagonal[[SCALE]], 5.0)

    def _outline_terms(self, posed: PosedSkeleton) -> Iterator[_Term]:
        """Body outside the matte, and parts of the matte that no body reaches."""
        c = self.config
        points, derivative = self.f.vertices.with_derivative(posed)
        pixels = self._project(points)
        derivative = self._project_derivative(points, derivative)
        outside, slope = self._sample_distance(pixels)
        yield _Term(outside[:, None], slope[:, None] @ derivative, 200 * c.silhouette / len(points))
        if not len(self.cover):
            return
        _, nearest = cKDTree(pixels).query(self.cover)
        by_cover = derivative[nearest] / self.size
        by_cover[:, :, BETAS] *= c.cover_shape  # clothes are no reason to fatten the body
        gap = (pixels[nearest] - self.cover) / self.size
        yield _Term(gap, by_cover, 150 * c.silhouette / len(gap), c.cover_spread)

    def _face_term(self, posed: PosedSkeleton) -> _Term:
        """Forearms that would cover the seen face, by how much they lie in front of the head's middle, in metres."""
        centre, radius = self.face
        points, derivative = self.f.vertices.with_derivative(posed)
        over = self.f.forearms & (np.linalg.norm(self._project(points) - centre, axis=1) < radius)
        depth = np.maximum(self.head_depth - points[:, 2], 0) * over
        slope = -derivative[:, 2] * (depth > 0)[:, None]
        return _Term(depth[:, None], slope[:, None], self.config.clear_face / max(int(self.f.forearms.sum()), 1))

    def _sample_distance(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the matte [N], in sizes, at ``pixels`` [N, 2], and its slope [N, 2] a pixel (bilinear)."""
        height, width = self.distance.shape
        x, y = (pixels / self._OUTLINE_SCALE - 0.5).T
        x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)
        column, row = x.astype(int), y.astype(int)
        fx, fy = x - column, y - row
        d00, d01 = self.distance[row, column], self.distance[row, column + 1]
        d10, d11 = self.distance[row + 1, column], self.distance[row + 1, column + 1]
        value = (d00 * (1 - fx) + d01 * fx) * (1 - fy) + (d10 * (1 - fx) + d11 * fx) * fy
        slope = np.stack([(d01 - d00) * (1 - fy) + (d11 - d10) * fy, (d10 - d00) * (1 - fx) + (d11 - d01) * fx], 1)
        return value, slope / self._OUTLINE_SCALE

    def _minimise(
        self, stage: int, unknowns: np.ndarray, free: np.ndarray, iterations: int
    ) -> tuple[np.ndarray, float]:
        """Levenberg-Marquardt over the unknowns where ``free``; returns them and the loss."""
        damping, still = 1e-2, 0
        terms = list(self._terms(stage, unknowns, self.f.skeleton.pose(unknowns)))
        cost = sum(term.cost() for term in terms)
        for _ in range(iterations):
            self.check()
            matrix, gradient = np.zeros((UNKNOWNS, UNKNOWNS)), np.zeros(UNKNOWNS)
            for term in terms:
                m, g = term.normal_equations()
                matrix += m
                gradient += g
            matrix, gradient = matrix[np.ix_(free, free)], gradient[free]
            diagonal = np.diag(matrix)
            accepted = False
            for _ in range(6):
                damped = torch.from_numpy(matrix + np.diag(damping * (diagonal + 1e-3)))
                step = torch.linalg.solve(damped, torch.from_numpy(gradient)).numpy()
                trial = unknowns.copy()
                trial[free] -= step
                trial_terms = list(self._terms(stage, trial, self.f.skeleton.pose(trial)))
                trial_cost = sum(term.cost() for term in trial_terms)
                if trial_cost < cost:
                    accepted = True
                    break
                damping *= 5
            if not accepted:
                break
            gain = (cost - trial_cost) / cost
            unknowns, terms, cost = trial, trial_terms, trial_cost
            damping = max(damping / 4, 1e-6)
            still = still + 1 if gain < 1e-3 else 0
            if still >= 2:
                break
        return unknowns, cost

    def _start(self) -> np.ndarray:
        """Relaxed pose, turned by the trunk's 3D hints."""
        unknowns = np.zeros(UNKNOWNS)
        unknowns[POSE] = self.f.rest
        points = self.f.lifted(self.f.skeleton.pose(unknowns))
        rotation = _rotation_onto(points[self.torso], self.hints[self.torso])
        unknowns[:3] = Rotation.from_matrix(rotation).as_rotvec()
        return unknowns

    def _start_translation(self, unknowns: np.ndarray) -> np.ndarray:
        """Linear least squares for the translation that projects the posed keypoints onto the landmarks."""
        points = self.f.keypoints(self.f.skeleton.pose(unknowns))
        target = self.points - self.side / 2
        root = np.sqrt(self.weights_2d)
        rows, sides = [], []
        for axis in range(2):
            row = np.zeros((len(target), 3))
            row[:, axis] = self.focal
            row[:, 2] = -target[:, axis]
            rows.append(row * root[:, None])
            sides.append((target[:, axis] * points[:, 2] - self.focal * points[:, axis]) * root)
        solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(sides), rcond=None)[0]
        return solution if solution[2] > 0.5 else np.array([0, 0, 3.0])

    def solve(self) -> BodyFit:
        first, second, third = self.config.iterations
        unknowns = self._start()
        free = np.zeros(UNKNOWNS, bool)
        free[POSE] = free[SCALE] = True
        unknowns, _ = self._minimise(0, unknowns, free, first)
        unknowns[TRANSLATION] = self._start_translation(unknowns)
        free[:] = True
        unknowns, _ = self._minimise(1, unknowns, free, second)
        # The head stays where it is while forearms make way for it.
        self.head_depth = self.f.joints(self.f.skeleton.pose(unknowns))[JOINT_INDEX["head"], 2]
        unknowns, _ = self._minimise(2, unknowns, free, third)
        pixels = self._project(self.f.keypoints(self.f.skeleton.pose(unknowns)))
        errors = np.linalg.norm(pixels - self.points, axis=1)[: len(POSE_LANDMARKS)]
        seen = self.seen if self.seen.any() else np.ones_like(self.seen)
        return BodyFit(
            pose=unknowns[POSE].reshape(-1, 3),
            betas=unknowns[BETAS].copy(),
            translation=unknowns[TRANSLATION].copy(),
            focal=self.focal,
            landmark_error=float(errors[seen].mean()),
            person_size=self.size,
            confidence=self._confidence(errors),
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


def _clear_face(photo: PreparedPhoto) -> tuple[np.ndarray, float] | None:
    """Centre [2] and radius, in pixels, of a face that is surely seen and that no hand touches; else None."""
    face = [0, 2, 5, 9, 10]  # nose, eyes, corners of the mouth
    if photo.visibility[face].min() < 0.9:
        return None
    centre = photo.landmarks[face].mean(0)
    radius = 1.6 * float(np.linalg.norm(photo.landmarks[face] - centre, axis=1).max())
    hands = photo.landmarks[15:23]
    if np.linalg.norm(hands - centre, axis=1).min() < 0.7 * radius:
        return None
    return centre, radius
