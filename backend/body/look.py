"""What one picture says of the body: landmarks, outline, and the terms of the fit that hold the body against them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from .differential import BETAS, turn_with_derivative
from .landmarks import HAND_LANDMARKS, LANDMARK_INDICES, LANDMARK_NAMES, POSE_LANDMARKS

_BEYOND = 0.03
"""Picture sides outside the picture over which landmarks lose their credit; from there on they have none."""
_OUTLINE_PIXELS = 256
"""Pixels a side of the outline; 4 mm a pixel are finer than clothes are thin."""
_COVER_POINTS = 400
_DEPTHS = 0.8
"""Metres before and behind the pelvis in which limbs are looked for."""
_OFF_RAY = 0.03
"""Distance, in shares of the person's size, from where the photo says that a landmark may be: beyond it is another."""


@dataclass(frozen=True)
class View:
    """A further picture of the photo's person, from a camera whose place is known. Square, S pixels a side.

    Attributes:
        alpha: [S, S] the matte in 0..1.
        landmarks: [33, 2] BlazePose landmarks in pixels.
        visibility: [33] in 0..1.
        focal: pixels; the principal point is the picture's centre.
        matrix: [4, 4] from the photo camera's space to this camera's, OpenCV axes, metres.
        inside: bool [S, S] where the picture is known; None is everywhere.
        hands: of the left and the right hand [21, 2] pixels, None where one was not seen.
        turn: radians that the camera is said to stand around the person from the photo's, to the person's left.
    """

    alpha: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    focal: float
    matrix: np.ndarray
    inside: np.ndarray | None = None
    hands: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    turn: float | None = None


@dataclass(frozen=True)
class Term:
    """Part of the loss: sum of ``weight * rho(|residual|^2)`` over rows.

    ``rho(x)`` is x, or Geman and McClure's ``s x / (x + s)`` with ``s = spread ** 2``, which gives up on outliers.

    Attributes:
        residual: [n, d].
        derivative: [n, d, U] by the unknowns: 86 of the body, and 6 for each camera that is sought.
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
        """Matrix [U, U] and gradient [U] of the reweighted least squares problem."""
        weight = np.broadcast_to(np.asarray(self.weight, float), len(self.residual))
        if self.spread is not None:
            weight = weight * (self.spread**2 / ((self.residual**2).sum(1) + self.spread**2)) ** 2
        count = self.derivative.shape[-1]
        rows = torch.from_numpy(self.derivative.reshape(-1, count))
        weighted = torch.from_numpy((self.derivative * weight[:, None, None]).reshape(-1, count)).T
        return (weighted @ rows).numpy(), (weighted @ torch.from_numpy(self.residual.reshape(-1))).numpy()


def _to_known(inside: np.ndarray) -> np.ndarray:
    """Pixels [S, S] from each pixel to the nearest where the picture is known."""
    return cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3) if inside.any() else np.zeros(inside.shape)


class Look:
    """One picture, read.

    Args:
        alpha: [S, S] matte.
        inside: bool [S, S] where the picture is known.
        landmarks: [33, 2] pixels.
        visibility: [33].
        hands: of the left and the right hand [21, 2] pixels, None where one was not seen.
        focal: pixels.
        matrix: [4, 4] from the photo camera's space.

    Attributes:
        size: pixels, the longer side of the landmarks' box: the unit of residuals.
        points: [45, 2] pixels of all landmarks, those of hands last.
        trust: [27] of the body's landmarks.
        weights: [45] of all in the picture.
        cut: bool [27] landmarks that the frame cuts.
        seen: bool [27] landmarks that are visible.
        visibility: [27].
    """

    def __init__(
        self,
        alpha: np.ndarray,
        inside: np.ndarray,
        landmarks: np.ndarray,
        visibility: np.ndarray,
        hands: tuple[np.ndarray | None, np.ndarray | None],
        focal: float,
        matrix: np.ndarray,
    ) -> None:
        self.side, self.focal = len(alpha), focal
        self._turn, self._shift = matrix[:3, :3], matrix[:3, 3]
        self._by_camera: np.ndarray | None = None
        self._own = slice(0, 0)
        self.said_turn: float | None = None
        self._read_landmarks(landmarks, visibility, hands, inside)
        self._read_outline(alpha, inside)

    def _read_landmarks(
        self,
        landmarks: np.ndarray,
        visibility: np.ndarray,
        hands: tuple[np.ndarray | None, np.ndarray | None],
        inside: np.ndarray,
    ) -> None:
        points = landmarks[LANDMARK_INDICES]
        trust = np.array([w for _, _, w in POSE_LANDMARKS]) * np.maximum(visibility[LANDMARK_INDICES], 0.05)
        # What the frame cuts was guessed by the network, the worse the farther out: there the relaxed pose is better.
        # So was what something hides, which lies beyond what is known as well.
        column, row = np.clip(points, 0, self.side - 1).astype(int).T
        beyond = np.maximum(np.maximum(-points, points - self.side).max(1), _to_known(inside)[row, column])
        in_frame = beyond < 0.008 * self.side
        self.cut = beyond > _BEYOND * self.side
        fading = np.exp(-0.5 * (np.maximum(beyond, 0) / (_BEYOND * self.side)) ** 2)
        self.trust = np.where(self.cut, 0.0, trust * fading)
        self.visibility = visibility[LANDMARK_INDICES]
        self.seen = (visibility[LANDMARK_INDICES] > 0.5) & in_frame
        self.size = float(np.ptp(points, axis=0).max())
        weights = self.trust.copy()
        for side, hand in zip(("left_", "right_"), hands):
            seen = hand is not None
            chosen = [index for index, _, _ in HAND_LANDMARKS]
            points = np.vstack([points, hand[chosen] if seen else np.zeros((len(chosen), 2))])
            weights = np.append(weights, [w if seen else 0.0 for _, _, w in HAND_LANDMARKS])
            if seen:
                # The hand network knows the knuckles better than the pose network.
                weights[[LANDMARK_NAMES.index(side + finger) for finger in ("index", "pinky", "thumb")]] = 0.0
        self.points, self.weights = points, weights

    def _read_outline(self, alpha: np.ndarray, inside: np.ndarray) -> None:
        self._factor = factor = max(1, self.side // _OUTLINE_PIXELS)
        mask = alpha[::factor, ::factor] > 0.5
        inside = inside[::factor, ::factor]
        distance = ndimage.distance_transform_edt(~mask) * factor
        distance[~inside] = 0  # nothing is known beyond the picture's edge
        self._distance = distance / self.size
        edge = mask & ~ndimage.binary_erosion(mask) & ndimage.binary_erosion(inside, iterations=2, border_value=0)
        # Points on the outline, and a coarse grid of points within it.
        grid = np.zeros_like(mask)
        step = max(2, round(0.02 * self.size / factor))
        grid[step // 2 :: step, step // 2 :: step] = True
        rng = np.random.default_rng(0)
        chosen = [np.argwhere(where) for where in (edge, mask & grid)]
        chosen = [rows[rng.permutation(len(rows))[:_COVER_POINTS]] for rows in chosen]
        self._cover = (np.vstack(chosen)[:, ::-1] + 0.5) * factor

    def doubt(self, off_matte: float) -> None:
        """Trust landmarks beside the matte less (a kicking foot, say): the outline knows better."""
        off = self._sample_distance(self.points)[0]
        on_matte = 1 / (1 + (off / off_matte) ** 2) ** 2
        self.weights = self.weights * on_matte
        self.trust = self.trust * on_matte[: len(self.trust)]

    def believe_as_far_as(self, photo: Look, distance: float) -> None:
        """Doubt landmarks that do not lie where ``photo`` shows them at any depth: its ray is a line in this picture.

        Args:
            photo: the look at the photo.
            distance: metres from its camera to the person.
        """
        count = len(self.trust)
        directions = np.concatenate([(photo.points[:count] - photo.side / 2) / photo.focal, np.ones((count, 1))], 1)
        depths = distance + np.linspace(-_DEPTHS, _DEPTHS, 65)
        along = self.project((depths[:, None, None] * directions).reshape(-1, 3)).reshape(len(depths), count, 2)
        away = np.linalg.norm(along - self.points[:count], axis=2).min(0) / self.size
        agreed = 1 / (1 + (away / _OFF_RAY) ** 2) ** 2
        # What the photo hides it cannot deny.
        self.weights[:count] *= 1 - photo.visibility * (1 - agreed)

    def stand_at(self, camera: np.ndarray, own: slice) -> None:
        """Move the camera to ``camera`` [6], axis-angle and translation from the photo camera's space, which are the
        unknowns ``own``."""
        self._turn, self._by_camera = turn_with_derivative(camera[:3])
        self._shift, self._own = camera[3:], own

    def turn_term(self, count: int, usual: float) -> Term:
        """How far the camera stands from where it is said to stand, in units of ``usual`` radians, among ``count``
        unknowns."""
        # The photo's axis as this camera sees it, turned back by what is said: its sideways part is the sine.
        cos, sin = np.cos(self.said_turn), np.sin(self.said_turn)
        back = np.array([cos, 0.0, -sin])
        derivative = np.zeros((1, 1, count))
        derivative[0, 0, self._own][:3] = back @ self._by_camera[:, 2]
        return Term((back @ self._turn[:, 2])[None, None], derivative, 1 / usual**2)

    def level_term(self, pitch: float, count: int, roll: float) -> Term:
        """How far the camera is rolled about its axis, in units of ``roll`` radians.

        Args:
            pitch: radians by which the photo's camera looks down; the last of the unknowns.
            count: of unknowns.
            roll: see above.
        """
        return self._down_term(0, 0.0, 0.0, pitch, count, roll)

    def pitch_term(self, pitch: float, count: int, usual: float) -> Term:
        """How much farther down than the photo's the camera looks, in units of ``usual`` radians; as
        :meth:`level_term`."""
        return self._down_term(2, np.sin(pitch), np.cos(pitch), pitch, count, usual)

    def _down_term(self, axis: int, wanted: float, by_pitch: float, pitch: float, count: int, usual: float) -> Term:
        """How far the downward direction's part along the camera's ``axis`` is from ``wanted``, which changes
        ``by_pitch``; in units of ``usual``, see :meth:`level_term`."""
        down, turned = np.array([0.0, np.cos(pitch), np.sin(pitch)]), np.array([0.0, -np.sin(pitch), np.cos(pitch)])
        derivative = np.zeros((1, 1, count))
        derivative[0, 0, self._own][:3] = down @ self._by_camera[axis]
        derivative[0, 0, -1] = self._turn[axis] @ turned - by_pitch
        return Term(np.array([[self._turn[axis] @ down - wanted]]), derivative, 1 / usual**2)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels [N, 2] of points [N, 3] of the photo camera's space."""
        return self._pixels(points @ self._turn.T + self._shift)

    def _pixels(self, local: np.ndarray) -> np.ndarray:
        return local[:, :2] / np.maximum(local[:, 2:], 0.1) * self.focal + self.side / 2

    def _with_derivative(self, points: np.ndarray, derivative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [N, 2] and their derivative [N, 2, 86]."""
        local, by_body = points @ self._turn.T + self._shift, self._turn @ derivative
        derivative = by_body
        if self._by_camera is not None:
            derivative = np.zeros((len(points), 3, max(self._own.stop, derivative.shape[2])))
            derivative[:, :, : by_body.shape[2]] = by_body
            by_turn = np.einsum("abc,nb->nac", self._by_camera, points)
            derivative[:, :, self._own] = np.concatenate([by_turn, np.broadcast_to(np.eye(3), by_turn.shape)], 2)
        z = np.maximum(local[:, 2], 0.1)[:, None, None]
        slope = self.focal / z * (derivative[:, :2] - (local[:, :2] / z[..., 0])[..., None] * derivative[:, 2:])
        return self._pixels(local), slope

    def landmark_term(self, points: np.ndarray, derivative: np.ndarray, weight: float, spread: float) -> Term:
        """Distance in ``size`` of the body's landmarks [45, 3] from those seen."""
        pixels, slope = self._with_derivative(points, derivative)
        return Term((pixels - self.points) / self.size, slope / self.size, weight * self.weights, spread)

    def outline_terms(
        self, points: np.ndarray, derivative: np.ndarray, weight: float, cover_spread: float, cover_shape: float
    ) -> Iterator[Term]:
        """Vertices [N, 3] outside the matte, and parts of the matte that no body reaches; see ``FitConfig``."""
        pixels, derivative = self._with_derivative(points, derivative)
        outside, slope = self._sample_distance(pixels)
        yield Term(outside[:, None], slope[:, None] @ derivative, 200 * weight / len(points))
        if not len(self._cover):
            return
        _, nearest = cKDTree(pixels).query(self._cover)
        by_cover = derivative[nearest] / self.size
        by_cover[:, :, BETAS] *= cover_shape  # clothes are no reason to fatten the body
        gap = (pixels[nearest] - self._cover) / self.size
        yield Term(gap, by_cover, 150 * weight / len(gap), cover_spread)

    def _sample_distance(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the matte [N], in sizes, at ``pixels`` [N, 2], and its slope [N, 2] a pixel (bilinear)."""
        height, width = self._distance.shape
        x, y = (pixels / self._factor - 0.5).T
        x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)
        column, row = x.astype(int), y.astype(int)
        fx, fy = x - column, y - row
        d00, d01 = self._distance[row, column], self._distance[row, column + 1]
        d10, d11 = self._distance[row + 1, column], self._distance[row + 1, column + 1]
        value = (d00 * (1 - fx) + d01 * fx) * (1 - fy) + (d10 * (1 - fx) + d11 * fx) * fy
        slope = np.stack([(d01 - d00) * (1 - fy) + (d11 - d10) * fy, (d10 - d00) * (1 - fx) + (d11 - d01) * fx], 1)
        return value, slope / self._factor
