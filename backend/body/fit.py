"""Fit pose, shape and place of a body to one photo's landmarks and outline, in about a second.

A SMPLify-style fit (Bogo et al. 2016) with priors that need no licensed data: robust least squares over pose, shape and
place, minimised by Levenberg and Marquardt's method with exact derivatives, robust terms by reweighting.
Camera space throughout: OpenCV axes (x right, y down, z forward), metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..photo import PreparedPhoto
from .differential import BETAS, POSE, SCALE, TRANSLATION, UNKNOWNS, Points, PosedSkeleton, Skeleton
from .landmarks import (
    HAND_LANDMARKS,
    JOINT_EVIDENCE,
    LANDMARK_INDICES,
    LANDMARK_NAMES,
    LANDMARK_OFFSETS,
    POSE_LANDMARKS,
)
from .look import Look, Term, View
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
        level: radians by which cameras of several pictures are rolled, usually.
        turn: radians by which further pictures are not taken from where it is said, usually.
        pitch: radians by which the photo's camera looks up or down, usually.
        alike: radians by which other cameras look farther up or down than the photo's, usually: one photographer goes
            around the person.
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
    level: float = 0.02
    turn: float = 0.15
    pitch: float = 1.0
    alike: float = 0.05
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


_SHARED_HINTS = 0.3
"""Of the weight of hints from the photo alone, where other pictures see depth."""
_STANDING = 0.5
"""Weight of the hints that make cut people stand; that of a landmark that is surely seen is 1."""


_HELD = (0.2, 10.0)
"""Weights with which a pose that another picture shows holds, in one of another moment and in limbs that moved between
pictures of the same pose; the relaxed pose's is 0.02."""
_MOVED = 0.03
"""Mean distance of a limb's visible landmarks, in sizes of the person, from which it has moved between two pictures:
5 cm of an adult, where landmarks err by half as much."""
_LIMBS = [
    [name for name in JOINT_NAMES if name.startswith(side) and name.endswith(parts)]
    for side in ("left_", "right_")
    for parts in (("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot"))
] + [["neck", "head"]]
"""Joints of what moves by itself."""


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

    _SILHOUETTE_VERTICES = 1000

    def __init__(self, body: BodyModel, config: FitConfig | None = None) -> None:
        self.config = config or FitConfig()
        self.skeleton = Skeleton(body)
        names = list(LANDMARK_NAMES)
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
        self.regressor = rows[:count].numpy()
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
        with _one_thread():
            return _Problem(self, photo, (), check).solve()

    def meet(
        self, fit: BodyFit, photo: PreparedPhoto, moved: np.ndarray, check: Callable[[], None] | None = None
    ) -> BodyFit:
        """Mend the fit to ``photo`` by how far its surface should move.

        Args:
            fit: of :meth:`fit`.
            photo: the same.
            moved: [V, 3] metres, camera space, of the body's vertices or of the clothes around them: landmarks lie
                within, and move as what is around them does.
            check: as in :meth:`fit`.
        """
        with _one_thread():
            return _Problem(self, photo, (), check).meet(fit, self.regressor @ moved)

    def place(
        self, fit: BodyFit, picture: PreparedPhoto, pelvis: np.ndarray, check: Callable[[], None] | None = None
    ) -> tuple[BodyFit, float]:
        """Turn and move the body of ``fit`` to where another picture of the same person shows it, in that camera's
        space, and the loss; its pose and shape stay.

        Args:
            fit: to another picture.
            picture: where it is wanted.
            pelvis: [3] axis-angle to begin with.
            check: as in :meth:`fit`.
        """
        with _one_thread():
            return _Problem(self, picture, (), check).place(fit, pelvis)

    def adjust(
        self, fit: BodyFit, photo: PreparedPhoto, views: Sequence[View], check: Callable[[], None] | None = None
    ) -> tuple[BodyFit, list[np.ndarray]]:
        """Bundle adjustment: mend the fit to ``photo`` by further pictures of the same pose, whose cameras are sought
        as well; also those [4, 4], from the photo camera's space.

        Args:
            fit: of :meth:`fit`.
            photo: the same.
            views: pictures from other sides, and about where their cameras stand.
            check: as in :meth:`fit`.
        """
        with _one_thread():
            return _Problem(self, photo, views, check).adjust(fit)

    def misses(self, fit: BodyFit, picture: PreparedPhoto) -> float:
        """Mean distance of the visible landmarks of ``picture`` from those of ``fit``, in sizes of the person."""
        found = _Problem(self, picture, (), None)._found(unknowns_of(fit))
        return found.landmark_error / found.person_size

    def follow(
        self, fit: BodyFit, picture: PreparedPhoto, little: bool, check: Callable[[], None] | None = None
    ) -> BodyFit:
        """Bend the body of ``fit`` as far as ``picture`` clearly asks for; its shape stays.

        Args:
            fit: in that picture's camera space.
            picture: of the same person.
            little: it shows the same pose, but for what a person moves between two pictures.
            check: as in :meth:`fit`.
        """
        with _one_thread():
            return _Problem(self, picture, (), check).follow(fit, little)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The fit's matrices are small: a second thread only costs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Problem:
    """The fit of one person: the data, the terms, the stages."""

    def __init__(
        self, fitter: BodyFitter, photo: PreparedPhoto, views: Sequence[View], check: Callable[[], None] | None
    ) -> None:
        self.f, self.check, self.config = fitter, check or (lambda: None), fitter.config
        hands = (photo.left_hand, photo.right_hand)
        self.photo = Look(photo.alpha, photo.inside, photo.landmarks, photo.visibility, hands, photo.focal, np.eye(4))
        self.looks, self.matrices, self.sought = [self.photo], [v.matrix for v in views], False
        for v in views:
            known = np.ones(v.alpha.shape, bool) if v.inside is None else v.inside
            look = Look(v.alpha, known, v.landmarks, v.visibility, v.hands, v.focal, v.matrix)
            look.said_turn = v.turn
            self.looks.append(look)
        for look in self.looks:
            look.doubt(self.config.off_matte)
            look.weights = look.weights * self.f.known
        self.rest, self.held = fitter.rest, 0.02
        self.visibility = photo.visibility
        self.hints = photo.world_landmarks[LANDMARK_INDICES]
        self.weights_3d = self.photo.trust * self.f.known[: len(self.hints)]
        self.hips = [LANDMARK_NAMES.index("left_hip"), LANDMARK_NAMES.index("right_hip")]
        self.torso = [*self.hips, LANDMARK_NAMES.index("left_shoulder"), LANDMARK_NAMES.index("right_shoulder")]
        self.face = _clear_face(photo)
        self._stand()

    def _stand(self) -> None:
        """Hints for legs that the frame cuts: straight down, unless the person lies. Left alone, they would go on as
        the trunk leans, or do the splits to fill the outline."""
        at = {name: k for k, name in enumerate(LANDMARK_NAMES)}
        shoulders = self.hints[[at["left_shoulder"], at["right_shoulder"]]].mean(0)
        trunk = shoulders - self.hints[self.hips].mean(0)
        if -trunk[1] < 0.5 * np.linalg.norm(trunk):
            return
        joints = self.f.skeleton.joints
        for side in ("left_", "right_"):
            for upper, lower in (("hip", "knee"), ("knee", "ankle")):
                above, below = at[side + upper], at[side + lower]
                if self.photo.cut[below]:
                    bone = joints[JOINT_INDEX[side + lower]] - joints[JOINT_INDEX[side + upper]]
                    self.hints[below] = self.hints[above] + [0.0, np.linalg.norm(bone), 0.0]
                    self.weights_3d[below] = _STANDING

    def _terms(self, stage: int, unknowns: np.ndarray, posed: PosedSkeleton) -> Iterator[Term]:
        c = self.config
        if self.sought:
            for number, look in enumerate(self.looks[1:]):
                own = slice(UNKNOWNS + 6 * number, UNKNOWNS + 6 * number + 6)
                look.stand_at(unknowns[own], own)
                yield look.level_term(float(unknowns[-1]), len(unknowns), c.level)
                yield look.pitch_term(float(unknowns[-1]), len(unknowns), c.alike)
                if look.said_turn is not None:
                    yield look.turn_term(len(unknowns), c.turn)
            yield Term(unknowns[None, -1:], np.eye(len(unknowns))[None, -1:], 1 / c.pitch**2)
        yield self._hint_term(stage, unknowns, posed)
        yield from self._prior_terms(unknowns)
        if stage == 0:
            return
        points, derivative = self.f.keypoints.with_derivative(posed)
        for look in self.looks:
            yield look.landmark_term(points, derivative, 400, c.landmark_spread[stage - 1])
        if stage == 2:
            points, derivative = self.f.vertices.with_derivative(posed)
            for look in self.looks:
                yield from look.outline_terms(points, derivative, c.silhouette, c.cover_spread, c.cover_shape)
            if self.face is not None:
                yield self._face_term(points, derivative)

    def _hint_term(self, stage: int, unknowns: np.ndarray, posed: PosedSkeleton) -> Term:
        """Distance of the hip-centred body from the scaled 3D hints."""
        points, derivative = self.f.lifted.with_derivative(posed)
        scaled = self.hints * np.exp(unknowns[SCALE])
        residual = points - points[self.hips].mean(0) - scaled
        derivative = derivative - derivative[self.hips].mean(0)
        derivative[:, :, SCALE] = -scaled
        if stage == 0:
            # Quadratic first: a robust term gets stuck when the start is far (jumps, handstands).
            return Term(residual, derivative, 60 * self.weights_3d)
        weight = (48.0, 24.0)[stage - 1] * self.config.hints * self.weights_3d
        return Term(residual, derivative, weight, 0.2)

    def _prior_terms(self, unknowns: np.ndarray) -> Iterator[Term]:
        pose, diagonal = unknowns[POSE], np.eye(UNKNOWNS)[:, None]
        yield Term((pose - self.rest)[:, None], diagonal[POSE], self.held * self.f.stiffness)
        beyond = np.maximum(pose - self.f.high, 0) + np.minimum(pose - self.f.low, 0)
        yield Term(beyond[3:, None], diagonal[POSE][3:] * (beyond[3:, None, None] != 0), 1.0)
        yield Term(unknowns[BETAS, None], diagonal[BETAS], self.config.shape)
        yield Term(unknowns[[[SCALE]]], diagonal[[SCALE]], 5.0)

    def _face_term(self, points: np.ndarray, derivative: np.ndarray) -> Term:
        """Forearms that would cover the seen face, by how much they lie in front of the head's middle, in metres."""
        centre, radius = self.face
        over = self.f.forearms & (np.linalg.norm(self.photo.project(points) - centre, axis=1) < radius)
        depth = np.maximum(self.head_depth - points[:, 2], 0) * over
        slope = -derivative[:, 2] * (depth > 0)[:, None]
        return Term(depth[:, None], slope[:, None], self.config.clear_face / max(int(self.f.forearms.sum()), 1))

    def _minimise(
        self, stage: int, unknowns: np.ndarray, free: np.ndarray, iterations: int
    ) -> tuple[np.ndarray, float]:
        """Levenberg-Marquardt over the unknowns where ``free``; returns them and the loss."""
        damping, still = 1e-2, 0
        terms = list(self._terms(stage, unknowns, self.f.skeleton.pose(unknowns)))
        cost = sum(term.cost() for term in terms)
        for _ in range(iterations):
            self.check()
            count = len(unknowns)
            matrix, gradient = np.zeros((count, count)), np.zeros(count)
            for term in terms:
                m, g = term.normal_equations()
                matrix[: len(g), : len(g)] += m
                gradient[: len(g)] += g
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
        unknowns[POSE] = self.rest
        points = self.f.lifted(self.f.skeleton.pose(unknowns))
        rotation = _rotation_onto(points[self.torso], self.hints[self.torso])
        unknowns[:3] = Rotation.from_matrix(rotation).as_rotvec()
        return unknowns

    def _start_translation(self, unknowns: np.ndarray) -> np.ndarray:
        """Linear least squares for the translation that projects the posed keypoints onto the landmarks."""
        points = self.f.keypoints(self.f.skeleton.pose(unknowns))
        target = self.photo.points - self.photo.side / 2
        root = np.sqrt(self.photo.weights)
        rows, sides = [], []
        for axis in range(2):
            row = np.zeros((len(target), 3))
            row[:, axis] = self.photo.focal
            row[:, 2] = -target[:, axis]
            rows.append(row * root[:, None])
            sides.append((target[:, axis] * points[:, 2] - self.photo.focal * points[:, axis]) * root)
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
        self._keep_head(unknowns)
        unknowns, _ = self._minimise(2, unknowns, free, third)
        return self._found(unknowns)

    def meet(self, fit: BodyFit, moved: np.ndarray) -> BodyFit:
        """From ``fit`` on, with hints that lie ``moved`` [27, 3] elsewhere."""
        # The hints themselves move, not the landmarks of the fit, which the outline has pulled away from them once.
        self.hints = self.hints + moved - moved[self.hips].mean(0)
        return self._found(self._go_on(unknowns_of(fit)))

    def adjust(self, fit: BodyFit) -> tuple[BodyFit, list[np.ndarray]]:
        """From ``fit`` and the looks' cameras on, both by all pictures."""
        cameras = [np.append(Rotation.from_matrix(m[:3, :3]).as_rotvec(), m[:3, 3]) for m in self.matrices]
        self.sought = True
        for look in self.looks[1:]:
            look.believe_as_far_as(self.photo, fit.translation[2])
        # What is known of depth by other means than landmarks is in the fit that there is.
        points = self.f.lifted(self.f.skeleton.pose(unknowns_of(fit)))
        self.hints = points - points[self.hips].mean(0)
        self.weights_3d = _SHARED_HINTS * self.weights_3d
        found = self._go_on(np.concatenate([unknowns_of(fit), *cameras, [0.0]]))
        matrices = []
        for camera in found[UNKNOWNS:-1].reshape(-1, 6):
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(camera[:3]).as_matrix(), camera[3:]
            matrices.append(matrix)
        return self._found(found), matrices

    def place(self, fit: BodyFit, pelvis: np.ndarray) -> tuple[BodyFit, float]:
        """From the pose and shape of ``fit`` on, turned by ``pelvis`` [3]."""
        unknowns = unknowns_of(fit)
        unknowns[:3] = pelvis
        unknowns[TRANSLATION] = self._start_translation(unknowns)
        free = np.zeros(UNKNOWNS, bool)
        free[:3] = free[TRANSLATION] = free[SCALE] = True
        self._keep_head(unknowns)
        for stage in (1, 2):
            unknowns, cost = self._minimise(stage, unknowns, free, self.config.iterations[stage])
        return self._found(unknowns), cost

    def follow(self, fit: BodyFit, little: bool) -> BodyFit:
        """From ``fit`` on: all of its pose, or only limbs that have moved."""
        unknowns = unknowns_of(fit)
        self.rest, self.held = unknowns[POSE].copy(), _HELD[little]
        free = np.ones(UNKNOWNS, bool)
        free[BETAS] = False
        if little:
            moved = self._moved(unknowns)
            if not moved:
                return self._found(unknowns)
            free[:] = False
            free[SCALE] = True
            for joint in moved:
                free[3 * joint : 3 * joint + 3] = True
        self._keep_head(unknowns)
        for stage in (1, 2):
            unknowns, _ = self._minimise(stage, unknowns, free, self.config.iterations[stage])
        return self._found(unknowns)

    def _moved(self, unknowns: np.ndarray) -> list[int]:
        """Joints of limbs that the picture shows elsewhere."""
        errors, seen = self._errors(unknowns)
        away = errors / self.photo.size
        out: list[int] = []
        for limb in _LIMBS:
            of_it = [k for k, index in enumerate(LANDMARK_INDICES) if any(index in JOINT_EVIDENCE[j] for j in limb)]
            chosen = np.array(of_it)[seen[of_it]]
            if len(chosen) and away[chosen].mean() > _MOVED:
                out += [JOINT_INDEX[name] for name in limb]
        return out

    def _go_on(self, unknowns: np.ndarray) -> np.ndarray:
        free = np.ones(len(unknowns), bool)
        unknowns, _ = self._minimise(1, unknowns, free, self.config.iterations[1])
        self._keep_head(unknowns)
        unknowns, _ = self._minimise(2, unknowns, free, self.config.iterations[2])
        return unknowns

    def _keep_head(self, unknowns: np.ndarray) -> None:
        """The head stays where it is while forearms make way for it."""
        self.head_depth = self.f.joints(self.f.skeleton.pose(unknowns))[JOINT_INDEX["head"], 2]

    def _errors(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances [27] in pixels of the body's landmarks from those of the picture, and which are visible in it."""
        pixels = self.photo.project(self.f.keypoints(self.f.skeleton.pose(unknowns)))
        count = len(POSE_LANDMARKS)
        errors = np.linalg.norm(pixels - self.photo.points, axis=1)[:count]
        return errors, self.photo.seen & self.f.known[:count]

    def _found(self, unknowns: np.ndarray) -> BodyFit:
        errors, seen = self._errors(unknowns)
        seen = seen if seen.any() else np.ones_like(seen)
        return BodyFit(
            pose=unknowns[POSE].reshape(-1, 3),
            betas=unknowns[BETAS].copy(),
            translation=unknowns[TRANSLATION].copy(),
            focal=self.photo.focal,
            landmark_error=float(errors[seen].mean()),
            person_size=self.photo.size,
            confidence=self._confidence(errors),
        )

    def _confidence(self, errors: np.ndarray) -> np.ndarray:
        """Visibility of a joint's landmarks times how well the body meets them (1 % of the size costs little)."""
        error_of = {index: e for (index, _, _), e in zip(POSE_LANDMARKS, errors)}
        confidence = np.empty(JOINT_COUNT)
        for joint, name in enumerate(JOINT_NAMES):
            evidence = JOINT_EVIDENCE[name]
            agreement = [math.exp(-0.5 * (error_of[i] / (0.03 * self.photo.size)) ** 2) for i in evidence]
            confidence[joint] = float(np.mean(self.visibility[list(evidence)] * agreement))
        return confidence.clip(0, 1)


def unknowns_of(fit: BodyFit) -> np.ndarray:
    """The vector [86] of :mod:`.differential` at which the body is as in ``fit``."""
    unknowns = np.zeros(UNKNOWNS)
    unknowns[POSE], unknowns[BETAS], unknowns[TRANSLATION] = fit.pose.reshape(-1), fit.betas, fit.translation
    return unknowns


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
