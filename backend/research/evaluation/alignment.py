"""From the frame that a prediction lives in to the frame of the truth: camera space, one scale, nothing else fitted.

A prediction lives in the space of the camera that the product assumes for its square crop of the photo: principal point
at the crop's middle, a focal length of its own choice. The truth lives in the space of the camera that took the photo.
Three steps lead from one to the other, of which only the last looks at the truth's shape:

1. *Turn.* The product looks along the ray through the middle of its crop; that ray is turned to where it points in the
   true camera. It follows from the crop's place in the photo and the true intrinsics.
2. *Depth for focal length.* A camera with an r times longer focal length sees the same person r times farther away:
   the person is moved, whole and unstretched, along that ray until the size in the picture is what the product meant.
3. *Scale.* One photo cannot tell a small person nearby from a large one far away. The whole is scaled about the
   camera's centre, which leaves the photo's view as it is, by the median over the photo's pixels of true depth over
   ours.

No rotation, no shift and no pose is ever fitted: a prediction that leans or stands turned keeps that error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...avatar import Gaussians
from ...avatar.quaternion import from_matrix, multiply, normalize


@dataclass(frozen=True)
class Similarity:
    """x -> scale rotation x + translation.

    Attributes:
        scale: above zero.
        rotation: [3, 3].
        translation: [3] metres.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 3] moved."""
        return self.scale * np.asarray(points) @ self.rotation.T + self.translation

    def splats(self, splats: Gaussians) -> Gaussians:
        """Splats moved, turned and scaled."""
        turn = from_matrix(self.rotation[None].astype(np.float64))
        return Gaussians(
            position=self.points(splats.position).astype(np.float32),
            rotation=normalize(multiply(turn, splats.rotation)).astype(np.float32),
            scale=(splats.scale * self.scale).astype(np.float32),
            opacity=splats.opacity,
            sh_dc=splats.sh_dc,
        )

    def then(self, after: Similarity) -> Similarity:
        """This one first, ``after`` next."""
        return Similarity(
            after.scale * self.scale, after.rotation @ self.rotation, after.points(self.translation[None])[0]
        )

    def scaled(self, factor: float) -> Similarity:
        """Followed by a scaling about the origin."""
        return Similarity(self.scale * factor, self.rotation, self.translation * factor)


@dataclass(frozen=True)
class CropCamera:
    """The camera that a prediction assumes: the square of the photo that it shows, and its focal length.

    Attributes:
        left, top, side: of the square, in pixels of the photo.
        focal: in pixels of the photo; the principal point is the square's middle.
    """

    left: float
    top: float
    side: float
    focal: float


def rigid(matrix: np.ndarray) -> Similarity:
    """A rigid transform [4, 4] as a similarity."""
    matrix = np.asarray(matrix, np.float64)
    return Similarity(1.0, matrix[:3, :3], matrix[:3, 3])


def into_true_camera(crop: CropCamera, focal: float, centre: np.ndarray, depth: float) -> Similarity:
    """Steps 1 and 2: from the space of ``crop`` to that of the true camera.

    Args:
        crop: the prediction's camera.
        focal: of the true camera, pixels of the photo.
        centre: [2] its principal point.
        depth: metres from the prediction's camera to its person; only matters where the focal lengths differ.
    """
    middle = np.array([crop.left + crop.side / 2, crop.top + crop.side / 2]) - centre
    ray = np.append(middle / focal, 1.0)
    length = float(np.linalg.norm(ray))
    rotation = _turn_from_z(ray / length)
    # A pixel at the crop's middle lies `focal * length` from the true camera's centre.
    ratio = focal * length / crop.focal
    return Similarity(1.0, rotation, rotation @ np.array([0.0, 0.0, (ratio - 1) * depth]))


def scale_of_depths(truth: np.ndarray, ours: np.ndarray, where: np.ndarray) -> float:
    """Step 3: the median of true over predicted depth [H, W] over the pixels ``where``; 1 where there are none."""
    return float(np.median(truth[where] / ours[where])) if where.any() else 1.0


def _turn_from_z(direction: np.ndarray) -> np.ndarray:
    """The shortest rotation [3, 3] that takes the z axis to a unit ``direction`` with z > 0."""
    x, y, z = direction
    # Rodrigues' formula with the axis z cross direction = (-y, x, 0).
    skew = np.array([[0, 0, x], [0, 0, y], [-x, -y, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + z)
