"""Short hair, brows and lashes as strands that grow on the head and are kept outside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from .clothes import smoothstep
from .figure import Figure, move, vertex_normals

#: Angle about the vertical axis through the head (degrees, 0 in front) -> height of the hairline in the T-pose, metres.
HAIRLINE = ((0, 0.702), (25, 0.698), (42, 0.682), (58, 0.672), (70, 0.640), (80, 0.612), (90, 0.640), (112, 0.640),
            (128, 0.590), (150, 0.560), (180, 0.552))  # fmt: skip
HEAD_CENTRE = np.array([0.0, 0.655, 0.065])
CROWN = np.array([0.015, 0.76, 0.005])
EAR = np.array([0.080, 0.612, 0.045])
EAR_RADII = np.array([0.022, 0.036, 0.030])


@dataclass(frozen=True)
class Strands:
    """Curves: points [N, K, 3] posed, radius at each point [K] metres, shade [N] 0..1 for the colour."""

    points: np.ndarray
    radius: np.ndarray
    shade: np.ndarray


def scalp_field(rest: np.ndarray) -> np.ndarray:
    """[V] metres above the hairline; negative where no hair grows."""
    from_centre = rest - HEAD_CENTRE
    angle = np.degrees(np.arctan2(abs(from_centre[:, 0]), from_centre[:, 2]))
    angles, heights = np.array(HAIRLINE).T
    above = rest[:, 1] - np.interp(angle, angles, heights)
    ear = np.linalg.norm((abs(rest * [1, 0, 0]) + rest * [0, 1, 1] - EAR) / EAR_RADII, axis=1) - 1
    return np.minimum(above, 0.02 * ear)


def grow_hair(figure: Figure, count: int, rng: np.random.Generator) -> Strands:
    """The hair of the head: away from the crown, down at the sides and back, swept to one side in front."""
    rest, normals, shade = _roots(figure, scalp_field(figure.rest), count, rng)
    top = smoothstep(0.665, 0.725, rest[:, 1]) * smoothstep(-0.075, -0.02, rest[:, 2])
    length = (0.010 + 0.048 * top + 0.010 * smoothstep(0.62, 0.70, rest[:, 1])) * rng.uniform(0.75, 1.1, count)
    away = rest - CROWN
    flow = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    swept = np.array([0.9, 0.15, 0.35]) * smoothstep(0.0, 0.11, rest[:, 2])[:, None] * top[:, None]
    down = np.array([0.0, -0.7, -0.1]) * (1 - top)[:, None]
    direction = flow + swept + down + rng.normal(0, 0.06, (count, 3))
    # Locks: strands near one another bend alike.
    seeds = rest[rng.integers(count, size=260)]
    lock = np.argmin(((rest[:, None] - seeds[None]) ** 2).sum(-1), axis=1)
    direction += rng.normal(0, 0.22, (len(seeds), 3))[lock]
    lift = (0.06 + 0.34 * top) * rng.uniform(0.5, 1.3, count)
    points = _trace(figure, rest, normals, direction, lift, length, 8, droop=0.9)
    shade = 0.6 * rng.random(len(seeds))[lock] + 0.4 * shade
    return Strands(points, np.linspace(1.0, 0.35, 8) * 1.5e-4, shade)


def grow_brows(figure: Figure, rng: np.random.Generator, count: int = 520) -> Strands:
    """Both eyebrows."""
    x = np.abs(figure.rest[:, 0])
    # An arc from the root of the nose outwards, thinner towards the temples.
    along = (x - 0.012) / 0.036
    arc = 0.6450 + 0.0050 * np.sin(np.clip(along, 0, 1) * 2.5)
    thickness = np.where((along > 0) & (along < 1), 0.0038 - 0.0022 * along, 0.0)
    field = np.where(figure.rest[:, 2] > 0.10, thickness - abs(figure.rest[:, 1] - arc), -1.0)
    rest, normals, shade = _roots(figure, field, count, rng)
    side = np.sign(rest[:, :1])
    inner = smoothstep(0.026, 0.012, np.abs(rest[:, 0]))[:, None]
    direction = side * [1.0, 0.0, -0.25] + inner * [0.0, 0.9, 0.0] + [0.0, 0.12, 0.0] + rng.normal(0, 0.2, (count, 3))
    points = _trace(figure, rest, normals, direction, np.full(count, 0.12), rng.uniform(0.006, 0.010, count), 5, 0.0)
    return Strands(points, np.linspace(1.0, 0.3, 5) * 1.0e-4, shade)


def _roots(
    figure: Figure, field: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random places where ``field`` [V] is positive: T-pose points [count, 3], normals [count, 3], shade [count]."""
    normals = vertex_normals(figure.rest, figure.faces)
    faces = figure.faces[(field[figure.faces] > -0.008).any(1) & (figure.rest[figure.faces][:, :, 1] > 0.5).all(1)]
    a, b, c = (figure.rest[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    points, directions = [], []
    found = 0
    while found < count:
        chosen = rng.choice(len(faces), size=4 * count, p=area / area.sum())
        bary = rng.dirichlet((1, 1, 1), size=len(chosen))
        place = np.einsum("nk,nki->ni", bary, figure.rest[faces[chosen]])
        keep = np.einsum("nk,nk->n", bary, field[faces[chosen]]) > 0
        points.append(place[keep])
        directions.append(np.einsum("nk,nki->ni", bary, normals[faces[chosen]])[keep])
        found += int(keep.sum())
    normal = np.concatenate(directions)[:count]
    return (
        np.concatenate(points)[:count],
        normal / np.linalg.norm(normal, axis=1, keepdims=True),
        rng.random(count),
    )


def _trace(
    figure: Figure,
    roots: np.ndarray,
    normals: np.ndarray,
    direction: np.ndarray,
    lift: np.ndarray,
    length: np.ndarray,
    steps: int,
    droop: float,
) -> np.ndarray:
    """Strands [N, steps, 3], posed: they leave along ``direction`` within the surface, lifted off it, then droop."""
    tree = BVHTree.FromPolygons(figure.rest.tolist(), figure.faces.tolist())
    tangent = direction - (direction * normals).sum(1, keepdims=True) * normals
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    heading = tangent + lift[:, None] * normals
    points = [roots]
    for step in range(1, steps):
        heading = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        place = points[-1] + heading * (length / (steps - 1))[:, None]
        for index, point in enumerate(place):
            nearest, normal, _face, _distance = tree.find_nearest(Vector(point))
            height = (Vector(point) - nearest).dot(normal)
            least = 0.0006 * step
            if height < least:
                place[index] += np.array(normal) * (least - height)
        points.append(place)
        # The lift is used up on the way, the strand turns back to the head and down.
        heading = heading - droop * lift[:, None] * normals * (2.0 / steps) + [0.0, -0.35 * droop / steps, 0.0]
    return move(figure.head, np.stack(points, 1).reshape(-1, 3)).reshape(len(roots), steps, 3)
