"""BlazePose in PyTorch: people, 33 landmarks with 3D hints, a soft mask, and 21 landmarks a hand.

The networks and the geometry of their inputs follow MediaPipe's model cards and graph files: an SSD detector on
224 px with 2254 anchors, a landmark network on a rotated 256 px region, a hand network on a rotated 224 px region.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from .graph import GraphNetwork
from .lift import Lifter
from .weights import network_path

DETECTOR_SIZE = 224
LANDMARK_SIZE = 256
HAND_SIZE = 224
LANDMARK_COUNT = 33
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 11, 12, 23, 24

_REACH = 1.25
"""Half the side of the landmark network's square over the radius of the circle that holds the body."""
MIRRORED = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(k + 1 if k % 2 else k - 1 for k in range(11, 33))]
"""The landmark on the other side."""


@dataclass(frozen=True)
class Detection:
    """One person as the detector sees it, in pixels of the picture.

    Attributes:
        score: 0..1.
        hip: centre between the hips, [2].
        circle: point on the circle around the hips that holds the whole body, [2]; above the head when upright.
    """

    score: float
    hip: np.ndarray
    circle: np.ndarray

    @property
    def radius(self) -> float:
        return float(np.hypot(*(self.circle - self.hip)))


@dataclass(frozen=True)
class PoseLandmarks:
    """Landmarks of one person.

    Attributes:
        image: [33, 2] pixels of the picture.
        visibility: [33] in 0..1: seen and not hidden.
        world: [33, 3] metres about the hips' centre, OpenCV axes (x right, y down, z away from the camera).
        score: 0..1, how surely this is a person.
        mask: float32 [H, W] soft mask at the picture's size.
        region: (centre x, centre y, size, rotation) of the square that the network saw.
    """

    image: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    score: float
    mask: np.ndarray
    region: tuple[float, float, float, float]

    def detection(self) -> Detection:
        """What leads the landmark network to the same region again."""
        x, y, size, rotation = self.region
        hip = np.array([x, y])
        up = np.array([np.sin(rotation), -np.cos(rotation)])
        return Detection(self.score, hip, hip + up * size / (2 * _REACH))


@dataclass(frozen=True)
class HandLandmarks:
    """Landmarks of one hand: ``image`` [21, 2] pixels, ``score`` 0..1 that a hand is there."""

    image: np.ndarray
    score: float


def _anchors() -> np.ndarray:
    """Centres [2254, 2] in 0..1 of the detector's anchors (strides 8, 16, 32, 32, 32, two per cell and layer)."""
    centres = []
    for stride, per_cell in ((8, 2), (16, 2), (32, 6)):
        cells = DETECTOR_SIZE // stride
        y, x = np.mgrid[0:cells, 0:cells]
        grid = np.stack([(x + 0.5) / cells, (y + 0.5) / cells], -1).reshape(-1, 2)
        centres.append(np.repeat(grid, per_cell, 0))
    return np.concatenate(centres)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def _region_matrix(region: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Matrix [2, 3] from pixels of a ``size`` crop to pixels of the picture, pixel centres at +0.5."""
    cx, cy, extent, rotation = region
    k, c, s = extent / size, np.cos(rotation), np.sin(rotation)
    half = size / 2
    return np.array([[k * c, -k * s, cx - k * (c - s) * half], [k * s, k * c, cy - k * (s + c) * half]])


def _crop(image: np.ndarray, region: tuple[float, float, float, float], size: int) -> torch.Tensor:
    """The region of ``image`` as float tensor [1, size, size, 3] in 0..1, area-filtered when it shrinks."""
    matrix = _region_matrix(region, size)
    factor = size / region[2]
    if factor < 0.7:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix = matrix * factor
    # OpenCV puts pixel centres at integers.
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = (np.linalg.inv(shift) @ np.vstack([matrix, [0, 0, 1]]) @ shift)[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return torch.from_numpy(warped).float()[None] / 255


def _uncrop(mask: np.ndarray, region: tuple[float, float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """A crop's soft mask [S, S] warped back to the picture's ``shape``."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.vstack([_region_matrix(region, mask.shape[0]), [0, 0, 1]])
    matrix = (np.linalg.inv(shift) @ matrix @ shift)[:2]
    return cv2.warpAffine(mask, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def _region_about(centre: np.ndarray, point: np.ndarray, scale: float) -> tuple[float, float, float, float]:
    """Square around ``centre`` reaching ``scale`` times to ``point``, turned so that ``point`` is up."""
    dx, dy = point - centre
    rotation = np.pi / 2 - np.arctan2(-dy, dx)
    rotation -= 2 * np.pi * np.floor((rotation + np.pi) / (2 * np.pi))
    return float(centre[0]), float(centre[1]), float(2 * np.hypot(dx, dy) * scale), float(rotation)


class BlazePose:
    """The three networks, loaded once."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._detector = GraphNetwork(network_path("pose_detection")).to(device)
        self._landmarker = GraphNetwork(network_path("pose_landmark")).to(device)
        self._hands = GraphNetwork(network_path("hand_landmark")).to(device)
        self._anchors = _anchors()

    @property
    def exact(self) -> torch.device:
        """Where sums in float64 are fastest: on the networks' device, if that can at all."""
        return self._device if self._device.type == "cuda" else torch.device("cpu")

    @cached_property
    def lifter(self) -> Lifter:
        """What mends ``PoseLandmarks.world``, loaded on first use."""
        return Lifter()

    def _run(self, network: GraphNetwork, x: torch.Tensor) -> list[np.ndarray]:
        return [out.cpu().numpy() for out in network(x.to(self._device))]

    def detect(self, image: np.ndarray, threshold: float = 0.5) -> list[Detection]:
        """People in ``image`` uint8 [H, W, 3], best first, by weighted non-maximum suppression."""
        height, width = image.shape[:2]
        side = max(height, width)
        region = (width / 2, height / 2, float(side), 0.0)
        boxes, scores = self._run(self._detector, _crop(image, region, DETECTOR_SIZE) * 2 - 1)
        raw, score = boxes[0].astype(np.float64) / DETECTOR_SIZE, _sigmoid(scores[0, :, 0])
        keep = np.nonzero(score > threshold)[0]
        keep = keep[np.argsort(-score[keep])]
        raw, score, anchors = raw[keep], score[keep], self._anchors[keep]
        centre, size = raw[:, :2] + anchors, raw[:, 2:4]
        low, high = centre - size / 2, centre + size / 2
        points = raw[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]
        found, left = [], np.arange(len(keep))
        origin = np.array([(width - side) / 2, (height - side) / 2])
        while len(left):
            best = left[0]
            overlap = (np.minimum(high[best], high[left]) - np.maximum(low[best], low[left])).clip(0).prod(1)
            iou = overlap / (size[best].prod() + size[left].prod(1) - overlap)
            same = iou > 0.3
            same[0] = True
            weight = score[left[same]][:, None, None]
            hip, circle = (points[left[same]] * weight).sum(0) / weight.sum() * side + origin
            found.append(Detection(float(score[best]), hip, circle))
            left = left[~same]
        return found

    def landmarks(self, image: np.ndarray, detection: Detection, passes: int = 2) -> PoseLandmarks:
        """Landmarks of the detected person.

        Each further pass looks at the region that the last one found; the pass that sees the landmarks best counts.
        """
        region = _region_about(detection.hip, detection.circle, _REACH)
        best: tuple[float, list[np.ndarray], np.ndarray, np.ndarray, tuple[float, float, float, float]] | None = None
        for _ in range(passes):
            outputs = self._run(self._landmarker, _crop(image, region, LANDMARK_SIZE))
            points = outputs[0][0].reshape(39, 5).astype(np.float64)
            points[:, :2] = _refine_by_heatmap(points[:, :2], outputs[3][0])
            matrix = _region_matrix(region, LANDMARK_SIZE)
            pixels = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            visibility = (_sigmoid(points[:, 3]) * _sigmoid(points[:, 4]))[:LANDMARK_COUNT]
            if best is None or visibility.mean() > best[0]:
                best = (float(visibility.mean()), outputs, pixels, visibility, region)
            # Landmarks 33 and 34 are the hip centre and the circle point: the region of the next look.
            region = _region_about(pixels[33], pixels[34], _REACH)
        assert best is not None
        _, outputs, pixels, visibility, used = best
        c, s = np.cos(used[3]), np.sin(used[3])
        world = outputs[4][0].reshape(39, 3).astype(np.float64)[:LANDMARK_COUNT]
        world[:, :2] = world[:, :2] @ np.array([[c, -s], [s, c]]).T
        mask = _uncrop(_sigmoid(outputs[2][0, :, :, 0]).astype(np.float32), used, image.shape[:2])
        return PoseLandmarks(pixels[:LANDMARK_COUNT], visibility, world, float(outputs[1][0, 0]), mask, used)

    def hand(self, image: np.ndarray, wrist: np.ndarray, index: np.ndarray, pinky: np.ndarray) -> HandLandmarks:
        """Hand landmarks from the pose's wrist, index and pinky knuckles, each [2] in pixels.

        The region follows MediaPipe's holistic graph: centred beyond the knuckles, 2.7 hand lengths wide, wrist down.
        """
        knuckles = (2 * index + pinky) / 3
        centre = wrist + 1.15 * (knuckles - wrist)
        length = max(float(np.hypot(*(knuckles - wrist))), 1.0)
        direction = (knuckles - wrist) / length
        region = _region_about(centre, centre + direction, 1.0)
        region = (region[0], region[1], 2.7 * length * 1.3, region[3])
        outputs = self._run(self._hands, _crop(image, region, HAND_SIZE))
        points = outputs[0][0].reshape(21, 3)[:, :2].astype(np.float64)
        matrix = _region_matrix(region, HAND_SIZE)
        return HandLandmarks(points @ matrix[:, :2].T + matrix[:, 2], float(outputs[1][0, 0]))


def _refine_by_heatmap(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Move each point [39, 2] (256 px) to the centroid of its heatmap [64, 64, 39] within 7x7 cells, if it is sure."""
    refined = points.copy()
    probability = _sigmoid(heatmap)
    cells = heatmap.shape[0]
    for i, (x, y) in enumerate(points / LANDMARK_SIZE * cells):
        column, row = int(x), int(y)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        top, left = max(0, row - 3), max(0, column - 3)
        window = probability[top : row + 4, left : column + 4, i]
        if window.max() >= 0.5:
            ys, xs = np.mgrid[top : top + window.shape[0], left : left + window.shape[1]]
            total = window.sum()
            refined[i] = np.array([(window * xs).sum(), (window * ys).sum()]) / total * (LANDMARK_SIZE / cells)
    return refined
