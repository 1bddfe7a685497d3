"""Garments: pieces of the body's surface cut at hems, pushed off the body and smoothed like cloth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mathutils import Vector, noise
from mathutils.bvhtree import BVHTree

from .figure import Figure, move, vertex_normals


@dataclass(frozen=True)
class Garment:
    """A sheet: posed vertices [N, 3], faces [F, 3], and the place [N, 3] in the T-pose by which its pattern is laid."""

    vertices: np.ndarray
    faces: np.ndarray
    rest: np.ndarray


def cut(figure: Figure, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of the skin where ``field`` [V] is positive, with a clean edge where it is zero.

    Returns:
        (mix [N, V] as rows of (first, second, share) packed in [N, 3], faces [F, 3]): vertex n of the piece is
        ``(1 - share) * V[first] + share * V[second]``.
    """
    rows: dict[tuple[int, int], int] = {}
    table: list[tuple[int, int, float]] = []

    def vertex(a: int, b: int) -> int:
        key = (a, b) if a <= b else (b, a)
        if key not in rows:
            first, second = key
            share = 0.0 if first == second else float(field[first] / (field[first] - field[second]))
            rows[key] = len(table)
            table.append((first, second, share))
        return rows[key]

    faces: list[tuple[int, int, int]] = []
    inside = field > 0
    for corners in figure.faces[inside[figure.faces].any(1)]:
        polygon: list[int] = []
        for here, there in zip(corners, np.roll(corners, -1)):
            if inside[here]:
                polygon.append(vertex(here, here))
            if inside[here] != inside[there]:
                polygon.append(vertex(here, there))
        faces += [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]
    return np.array(table), np.array(faces)


def mixed(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [N, ...] of a cut piece's vertices from values [V, ...] of the body's."""
    first, second, share = table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2]
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[first] + share * values[second]


def neighbours(faces: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that averages values [N, k] over each vertex' neighbours; hems average along the hem alone."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges.sort(1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    hem = unique[uses == 1]
    on_hem = np.zeros(count, bool)
    on_hem[hem] = True
    inner = unique[~(on_hem[unique].any(1))]
    # An inner vertex sees all of its neighbours, a hem's vertex only those on the hem.
    towards = np.concatenate([inner, inner[:, ::-1], hem, hem[:, ::-1]])
    mixed_edges = unique[on_hem[unique].sum(1) == 1]
    turned = np.where(on_hem[mixed_edges[:, :1]], mixed_edges[:, ::-1], mixed_edges)  # (inner, hem)
    towards = np.concatenate([towards, turned])
    degree = np.maximum(np.bincount(towards[:, 0], minlength=count), 1)[:, None]

    def average(values: np.ndarray) -> np.ndarray:
        total = np.zeros_like(values)
        np.add.at(total, towards[:, 0], values[towards[:, 1]])
        return np.where(np.bincount(towards[:, 0], minlength=count)[:, None] > 0, total / degree, values)

    return average


def drape(
    figure: Figure, field: np.ndarray, offset: np.ndarray, rounds: int, clearance: float, under: Garment | None = None
) -> Garment:
    """A garment where ``field`` [V] is positive, ``offset`` [V] metres off the body.

    Smoothing alternates with pushing out, so that the sheet bridges hollows and never enters the body.

    Args:
        figure: who wears it.
        field: [V], positive inside, zero at the hems.
        offset: [V] metres.
        rounds: of smoothing; more is stiffer.
        clearance: metres that stay between the sheet and what is below it.
        under: a garment that this one is worn over.
    """
    table, faces = cut(figure, field)
    normals = vertex_normals(figure.posed, figure.faces)
    # Legs of trousers hang straight: heel and ankle bone do not spread them.
    shin = smoothstep(-0.75, -0.88, figure.rest[:, 1]) * (abs(figure.rest[:, 0]) < 0.3)
    normals[:, 1] *= 1 - shin
    vertices = mixed(table, figure.posed + offset[:, None] * normals)
    average = neighbours(faces, len(vertices))
    trees = [BVHTree.FromPolygons(figure.posed.tolist(), figure.faces.tolist())]
    if under is not None:
        trees.append(BVHTree.FromPolygons(under.vertices.tolist(), under.faces.tolist()))
    for _ in range(rounds):
        vertices = 0.4 * vertices + 0.6 * average(vertices)
        for tree in trees:
            vertices = push_out(vertices, tree, clearance)
    return Garment(vertices, faces, mixed(table, figure.rest))


def push_out(vertices: np.ndarray, tree: BVHTree, clearance: float) -> np.ndarray:
    """Vertices [N, 3], those below ``clearance`` metres over the surface lifted to it."""
    moved = vertices.copy()
    for index, vertex in enumerate(vertices):
        place, normal, _face, _distance = tree.find_nearest(Vector(vertex), 0.08)
        if place is None:
            continue
        height = (Vector(vertex) - place).dot(normal)
        if height < clearance:
            moved[index] += np.array(normal) * (clearance - height)
    return moved


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def subdivide(garment: Garment) -> Garment:
    """Each triangle split into four."""
    edges = np.sort(np.concatenate([garment.faces[:, [0, 1]], garment.faces[:, [1, 2]], garment.faces[:, [2, 0]]]), 1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = which.reshape(3, -1) + len(garment.vertices)
    a, b, c = garment.faces.T
    faces = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    middle = [values[unique].mean(1) for values in (garment.vertices, garment.rest)]
    return Garment(np.concatenate([garment.vertices, middle[0]]), faces, np.concatenate([garment.rest, middle[1]]))


def fold(garment: Garment, stretch: np.ndarray, depth: np.ndarray, seed: float) -> Garment:
    """Folds pressed into a garment along its normals.

    Args:
        garment: what to fold.
        stretch: [3] how often the folds repeat per metre along each axis of the T-pose.
        depth: [N] metres.
        seed: shifts the pattern.
    """
    normals = vertex_normals(garment.vertices, garment.faces)
    noise.seed_set(1)  # or `noise_vector` starts from the time of day
    height = np.empty(len(depth))
    for index, place in enumerate(garment.rest * stretch + seed):
        warped = Vector(place) + 0.6 * noise.noise_vector(Vector(place) * 0.5)
        # Cloth folds in ridges with wide valleys between them.
        height[index] = 1 - 2 * abs(noise.noise(warped)) - 0.5
    return Garment(garment.vertices + (depth * height)[:, None] * normals, garment.faces, garment.rest)


def lay_pattern(garment: Garment, figure: Figure, joint_of: np.ndarray) -> Garment:
    """Lay the pattern anew on the draped sheet, so that smoothing has not pulled its lines about.

    Args:
        garment: draped.
        figure: who wears it.
        joint_of: [N] the joint in whose frame the pattern runs straight.
    """
    rest = garment.rest.copy()
    for joint in np.unique(joint_of):
        chosen = joint_of == joint
        rest[chosen] = move(np.linalg.inv(figure.transforms[joint]), garment.vertices[chosen])
    return Garment(garment.vertices, garment.faces, rest)


def shirt(figure: Figure, under: Garment) -> Garment:
    """A T-shirt with a crew neck, worn over the trousers."""
    x, y, z = figure.rest.T
    from_neck = np.sqrt((x / 0.98) ** 2 + (y - 0.505) ** 2 + (z - 0.03) ** 2)
    field = np.minimum.reduce(
        [
            from_neck - 0.092,
            0.505 - y - 0.8 * np.maximum(z - 0.04, 0),
            0.355 - abs(x) + 0.12 * (y - 0.389),
            np.where(abs(x) < 0.3, y + 0.125, 1.0),
        ]
    )
    on_sleeve = smoothstep(0.20, 0.36, abs(x))
    # It touches the shoulders and the chest, and hangs free below.
    on_trunk = 0.008 + 0.030 * (1 - smoothstep(0.0, 0.32, y)) * (from_neck > 0.15)
    offset = np.where(abs(x) < 0.24, on_trunk, 0.009) + 0.016 * on_sleeve
    sheet = drape(figure, field, offset, 12, 0.006, under)
    x, y, z = sheet.rest.T
    depth = 0.006 + 0.014 * (1 - smoothstep(-0.10, 0.18, y)) + 0.010 * smoothstep(0.14, 0.22, abs(x))
    depth *= smoothstep(0.10, 0.17, np.sqrt(x**2 + (y - 0.505) ** 2 + (z - 0.03) ** 2))
    joint_of = np.where(abs(x) < 0.205, 9, np.where(x > 0, 16, 17))
    sheet = subdivide(lay_pattern(sheet, figure, joint_of))
    sheet = fold(sheet, np.array([9.0, 4.5, 9.0]), _subdivided(depth, sheet), 3.0)
    average = neighbours(sheet.faces, len(sheet.vertices))
    for _ in range(3):
        sheet = clear(clear(sheet, figure.posed, figure.faces, 0.004), under.vertices, under.faces, 0.003)
        sheet = Garment(0.5 * sheet.vertices + 0.5 * average(sheet.vertices), sheet.faces, sheet.rest)
    return sheet


def trousers(figure: Figure) -> Garment:
    """Straight trousers from the waist to the ankles."""
    x, y, _z = figure.rest.T
    field = np.minimum.reduce([np.where(abs(x) < 0.3, -0.02 - y, -1.0), y + 0.925])
    offset = 0.008 + 0.014 * (1 - smoothstep(-0.80, -0.35, y)) + 0.010 * (1 - smoothstep(-0.5, -0.1, y))
    offset -= 0.012 * smoothstep(-0.16, -0.02, y)
    sheet = drape(figure, field, offset, 16, 0.004)
    y = sheet.rest[:, 1]
    # The legs are cut at the ankles, where the body is still round, and let down over the shoes.
    vertices = sheet.vertices.copy()
    vertices[:, 1] -= 0.042 * (1 - smoothstep(-0.93, -0.72, y))
    sheet = subdivide(Garment(vertices, sheet.faces, sheet.rest))
    y = sheet.rest[:, 1]
    at_knee = np.exp(-(((y + 0.50) / 0.10) ** 2))
    at_hem = 1 - smoothstep(-0.93, -0.70, y)
    at_crotch = np.exp(-(((y + 0.13) / 0.08) ** 2))
    depth = 0.006 + 0.012 * at_knee + 0.016 * at_hem + 0.008 * at_crotch
    sheet = fold(sheet, np.array([5.0, 11.0, 5.0]), depth, 11.0)
    return clear(sheet, figure.posed, figure.faces, 0.003)


def clear(garment: Garment, vertices: np.ndarray, faces: np.ndarray, clearance: float) -> Garment:
    """The garment, lifted ``clearance`` metres off a surface where it came too near."""
    tree = BVHTree.FromPolygons(vertices.tolist(), faces.tolist())
    return Garment(push_out(garment.vertices, tree, clearance), garment.faces, garment.rest)


def covered(figure: Figure) -> np.ndarray:
    """[V] True where the skin lies so far under clothes or shoes that it is left out."""
    x, y, z = figure.rest.T
    from_neck = np.sqrt(x**2 + (y - 0.505) ** 2 + (z - 0.03) ** 2)
    under_shirt = (from_neck > 0.115) & (y < 0.47) & (abs(x) < 0.31)
    return under_shirt & (y > -0.90) | (y < -0.03) & (y > -0.90) & (abs(x) < 0.3)


def _subdivided(values: np.ndarray, sheet: Garment) -> np.ndarray:
    """Values of the vertices before :func:`subdivide`, at those after it."""
    known = len(values)
    total, uses = np.zeros(len(sheet.vertices)), np.zeros(len(sheet.vertices))
    corners = sheet.faces[(sheet.faces < known).any(1)]
    for old, new in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        chosen = (corners[:, old] < known) & (corners[:, new] >= known)
        np.add.at(total, corners[chosen, new], values[corners[chosen, old]])
        np.add.at(uses, corners[chosen, new], 1)
    return np.where(np.arange(len(total)) < known, np.pad(values, (0, len(total) - known)), total / np.maximum(uses, 1))
