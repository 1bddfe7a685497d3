"""All that is true of one person: the photo that the product gets, and the pictures and surface it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...body.model import load_body
from ..training.cameras import Camera, frame_figure, join, orbit
from ..training.figure import PART_INDEX, Figure
from ..training.samples import Scene, facing
from ..training.views import Views, render_views
from . import metrics

ORBIT = 24
"""Views of the orbit; the first is the photo's, the others follow around the vertical axis."""
SIDES = {"input": 0, "left": 6, "back": 12, "right": 18}
"""Numbers of the named views in the orbit."""
SURFACE_VIEWS = list(range(0, ORBIT, 2))
"""Those whose depth maps stand for the surface."""
CROP_SIZE = 128
"""Pixels a side of head and hand crops, each rendered with a camera of its own."""
POINT_CELL = 0.005
"""Metres; surfaces are compared by one point in each such cell."""
_CROP_MARGIN = {"head": 0.25, "hands": 0.35}
_SHOWS = {"head": ("head", "hair"), "hands": ("hands",)}
_MIN_SEEN = 0.08
"""Share of a crop that must show the part itself: hidden hands are not judged."""
_STEP = 0.03
"""Metres between neighbouring pixels from which on a depth map has an edge there."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """B pictures of S pixels a side.

    Attributes:
        rgb: float32 [B, S, S, 3] display sRGB over white.
        alpha: float32 [B, S, S] coverage.
        normal: float32 [B, S, S, 3] world space, towards the camera; zero where nothing is known.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    normal: np.ndarray

    def __len__(self) -> int:
        return len(self.alpha)

    def __getitem__(self, index: slice | Sequence[int]) -> Pictures:
        return Pictures(self.rgb[index], self.alpha[index], self.normal[index])


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures and the cameras that took them."""

    cameras: Camera
    pictures: Pictures


@dataclass(frozen=True, eq=False)
class BodyPoints:
    """An SMPL-format body: joints [24, 3] and vertices [V, 3], metres."""

    joints: np.ndarray
    vertices: np.ndarray


@dataclass(frozen=True, eq=False)
class Reposed:
    """The same person in another pose and the same light.

    Attributes:
        figure: posed anew.
        pose: [24, 3] axis-angle, the pelvis' row in world axes.
        pelvis: [3] its place in the world.
        seen: four views, every quarter turn from the front of the new pose.
    """

    figure: Figure
    pose: np.ndarray
    pelvis: np.ndarray
    seen: Seen


@dataclass(frozen=True, eq=False)
class Truth:
    """One person of a source.

    Attributes:
        name: in tables and file names.
        scene: the figure in its light, and the photo's camera.
        orbit: :data:`ORBIT` views on the photo camera's circle, each turn about the vertical axis through its target.
        depth: float32 [ORBIT, S, S] metres along each camera's axis, infinite where nothing is seen.
        crops: "head" and "hands": views of :data:`CROP_SIZE` pixels from the four :data:`SIDES`, None where a source
            has no labels of that part or none is seen.
        points: [N, 3] of the surface that the orbit's :data:`SURFACE_VIEWS` see, world space.
        body: None for a character without an SMPL body.
        reposed: None for a character that cannot be posed.
    """

    name: str
    scene: Scene
    orbit: Seen
    depth: np.ndarray
    crops: dict[str, Seen | None]
    points: np.ndarray
    body: BodyPoints | None
    reposed: Reposed | None


def make_truth(name: str, scene: Scene, size: int, reposed: Figure | None = None) -> Truth:
    """Render what a person is held to.

    Args:
        name: of the person.
        scene: from ``training.samples.make_scene``.
        size: pixels a side of whole-body views.
        reposed: the same person in another pose.
    """
    cameras = join([scene.camera(360 / ORBIT * k, size=size) for k in range(ORBIT)])
    views = _render(scene, cameras)
    crops = {part: _crops(scene, part, join([cameras[k : k + 1] for k in SIDES.values()])) for part in _CROP_MARGIN}
    pictures, depth = _pictures(views), views.depth.cpu().numpy()
    some = join([cameras[k : k + 1] for k in SURFACE_VIEWS])
    return Truth(
        name=name,
        scene=scene,
        orbit=Seen(cameras, pictures),
        depth=depth,
        crops=crops,
        points=surface_points(depth[SURFACE_VIEWS], some),
        body=_true_vertices(scene.figure),
        reposed=None if reposed is None else _reposed(scene, reposed, size),
    )


def render_photo(scene: Scene, size: int, azimuth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The photo as the product gets it: uint8 rgb [S, S, 3] before a plain gradient, and its matte uint8 [S, S].

    Another picture ``azimuth`` degrees around, counted to the person's left, has another gradient.
    """
    return photograph(scene, scene.camera(azimuth, size=size), azimuth)


def photograph(scene: Scene, camera: Camera, azimuth: float) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`render_photo`, by any ``camera``; ``azimuth`` chooses the gradient."""
    size = camera.size
    rng = np.random.default_rng([scene.seed, 0x9A, *[round(azimuth) % 360] * (azimuth != 0)])
    top, bottom = rng.uniform(0.35, 0.95, (2, 3))
    ramp = np.linspace(0, 1, size)[:, None, None]
    wall = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (size, size, 3)).astype(np.float32)
    views = _render(scene, camera)
    alpha = views.alpha[0].cpu().numpy()
    # The pictures stand over white: the wall shows as much as the person lets through.
    rgb = views.rgb[0].cpu().numpy() + (1 - alpha[..., None]) * (wall - 1)
    return (rgb.clip(0, 1) * 255).round().astype(np.uint8), (alpha * 255).round().astype(np.uint8)


def surface_points(depth: np.ndarray, cameras: Camera) -> np.ndarray:
    """World points [N, 3] of the surface that depth maps [B, S, S] show, evenly thinned.

    The maps are projected back; pixels at the edges between near and far are left out, where a depth may be a mix.
    """
    known = np.isfinite(depth)
    for axis in (1, 2):
        for step in (1, -1):
            neighbour = np.roll(np.where(known, depth, np.inf), step, axis)
            with np.errstate(invalid="ignore"):
                known = known & (np.abs(neighbour - depth) < _STEP)
    view, row, column = np.nonzero(known)
    z = depth[view, row, column].astype(np.float64)
    pixel = np.stack([column + 0.5, row + 0.5], 1)
    centre, focal = cameras.centre.cpu().numpy()[view], cameras.focal.cpu().numpy()[view]
    seen = np.concatenate([(pixel - centre) / focal[:, None] * z[:, None], z[:, None]], 1)
    matrix = cameras.world_to_camera.cpu().numpy().astype(np.float64)[view]
    world = np.einsum("nji,nj->ni", matrix[:, :3, :3], seen - matrix[:, :3, 3])
    return metrics.thin(world, POINT_CELL)


def _render(scene: Scene, cameras: Camera) -> Views:
    return render_views([scene.figure], [scene.light], [cameras], cameras.size, 2, baked=[scene.baked])


def _pictures(views: Views) -> Pictures:
    return Pictures(*(x.cpu().numpy() for x in (views.rgb.clamp(0, 1), views.alpha, views.normal)))


def _crops(scene: Scene, part: str, cameras: Camera) -> Seen | None:
    """The head or each hand from each of ``cameras``, where enough of it is seen."""
    figure = scene.figure
    label = PART_INDEX[part]
    vertices = figure.vertices[torch.unique(figure.faces[figure.part == label])]
    zoomed = []
    for points in _apart(vertices, figure, part):
        pixels = cameras.project(points)[..., :2]
        low, high = pixels.amin(1), pixels.amax(1)
        side = (high - low).amax(1) * (1 + 2 * _CROP_MARGIN[part])
        corner = (low + high) / 2 - side[:, None] / 2
        zoom = CROP_SIZE / side
        zoomed.append(
            replace(
                cameras,
                focal=cameras.focal * zoom,
                centre=(cameras.centre - corner) * zoom[:, None],
                size=CROP_SIZE,
            )
        )
    if not zoomed:
        return None
    cameras = join(zoomed)
    views = _render(scene, cameras)
    # From behind a head is hair.
    shown = sum((views.label == PART_INDEX[name]).float() for name in _SHOWS[part])
    seen = torch.nonzero(shown.mean((1, 2)) > _MIN_SEEN)[:, 0]
    if not len(seen):
        return None
    cameras = join([cameras[k : k + 1] for k in seen.tolist()])
    return Seen(cameras, _pictures(views)[seen.numpy()])


def _apart(vertices: torch.Tensor, figure: Figure, part: str) -> list[torch.Tensor]:
    """The vertices of the head, or of the left and the right hand."""
    if len(vertices) == 0:
        return []
    if part == "head":
        return [vertices]
    if figure.body is None:
        return []
    hands = figure.body.joints[[22, 23]].to(vertices)
    nearest = torch.cdist(vertices, hands).argmin(1)
    return [vertices[nearest == k] for k in range(2) if (nearest == k).any()]


def _true_vertices(figure: Figure) -> BodyPoints | None:
    body = figure.body
    if body is None:
        return None
    with torch.no_grad():
        vertices, joints = load_body(body.name).pose(body.pose.cpu().double(), body.betas.cpu().double())
    shift = body.translation.cpu().double()
    return BodyPoints((joints + shift).numpy(), (vertices + shift).numpy())


def _reposed(scene: Scene, figure: Figure, size: int) -> Reposed:
    assert figure.body is not None
    ahead = facing(figure)
    target, distance = frame_figure(figure, ahead, 0.0)
    cameras = orbit([ahead + 90.0 * k for k in range(4)], 0.0, target, distance, size)
    views = render_views([figure], [scene.light], [cameras], size, 2)
    return Reposed(
        figure=figure,
        pose=figure.body.pose.cpu().numpy().astype(np.float64),
        pelvis=figure.body.joints[0].cpu().numpy().astype(np.float64),
        seen=Seen(cameras, _pictures(views)),
    )
