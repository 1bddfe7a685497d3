"""One training or test sample: a person, from a seed or from a scan, photographed once and seen from other sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ...body.model import rotation_matrices
from .augment import augment_photo
from .cameras import Camera, frame_figure, join, orbit
from .estimate import estimate_body, scale_of
from .figure import Figure, TrueBody
from .lighting import BakedLight, Light, bake_light, sample_light
from .views import Views, render_views

Source = Callable[[int], Figure]
"""A figure by number: the factory's people by seed, or a folder of scans by index."""

Split = Literal["train", "validation", "test"]
_SPLITS: dict[str, range] = {
    "test": range(0, 1_000),
    "validation": range(1_000, 2_000),
    "train": range(10_000, 2**40),
}
_JOINTS = {"knees": (4, 5), "waist": (0, 3), "chest": (6, 9)}
_INPUT, _OTHERS, _AUGMENT = 0x1A, 0x2B, 0x3C
"""Each use of a seed has its own stream of random numbers, so that one does not shift the others."""


def split_seeds(split: Split) -> range:
    """The seeds of a split: disjoint ranges; train has no end that matters.

    Raises:
        ValueError: no such split.
    """
    if split not in _SPLITS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(_SPLITS)}")
    return _SPLITS[split]


@dataclass(frozen=True)
class Scene:
    """A lit figure and how it is photographed.

    Attributes:
        seed: of everything that follows from chance.
        figure, light, baked: see there.
        azimuth, elevation: degrees of the photo's camera, see ``cameras.orbit``.
        target: [3], what the photo's camera looks at.
        distance: metres from there, such that the person fills the picture as in a prepared photo.
    """

    seed: int
    figure: Figure
    light: Light
    baked: BakedLight
    azimuth: float
    elevation: float
    target: torch.Tensor
    distance: float

    def camera(self, azimuth: float = 0.0, elevation: float | None = None, size: int = 512) -> Camera:
        """The camera ``azimuth`` degrees around from the photo's, at the photo's elevation unless told."""
        height = self.elevation if elevation is None else elevation
        return orbit([self.azimuth + azimuth], height, self.target, self.distance, size)


@dataclass(frozen=True)
class Sample:
    """A person from V views of S pixels, one device; view 0 is the photo. Tensors, numbers and plain classes only.

    Attributes:
        seed: what it was made from.
        views: V clean pictures of S pixels over white.
        half: the same of S / 2 pixels: colour and alpha averaged, the rest from the sample nearest to the middle.
        cameras: of ``views``.
        azimuths, elevations: float64 [V] degrees; azimuths count from the photo's camera.
        body: the true body in the world of ``cameras``, None for a scan without one.
        photo_rgb: float32 [S, S, 3], what the network gets for view 0: sRGB with its background, augmented if asked.
        photo_alpha: float32 [S, S], its matte, imperfect if augmented.
        estimate: the neutral body as a fit to the photo finds it, None unless asked for. A photo does not tell size
            from distance, so its world has its own scale.
        estimate_scale: by which it must be scaled about the photo's camera to lie where the true body does.
        light: of all views.
    """

    seed: int
    views: Views
    half: Views
    cameras: Camera
    azimuths: torch.Tensor
    elevations: torch.Tensor
    body: TrueBody | None
    photo_rgb: torch.Tensor
    photo_alpha: torch.Tensor
    estimate: TrueBody | None
    estimate_scale: float
    light: Light


def factory_source(device: torch.device | str = "cpu") -> Source:
    """The factory's people, each in the pose of its own seed."""
    from .person import build_person

    return lambda seed: build_person(seed, device=device).figure()


def facing(figure: Figure) -> float:
    """Degrees of azimuth that the figure's pelvis faces; 0 (+z) for a figure without a body."""
    if figure.body is None:
        return 0.0
    forward = rotation_matrices(figure.body.pose[:1].double().cpu())[0, :, 2]
    return math.degrees(math.atan2(float(forward[0]), float(forward[2])))


def photo_angles(seed: int) -> tuple[float, float]:
    """Where a seed's photo is taken from, degrees: azimuth counted from where the figure faces, and elevation."""
    rng = np.random.default_rng([seed, _INPUT])
    turned = float(rng.normal() * 12.0)
    aside = float(rng.choice([-1.0, 1.0]) * rng.uniform(25.0, 60.0))
    elevation = float(np.clip(rng.normal(2.0, 4.0), -6.0, 14.0))
    return aside if rng.random() < 0.2 else float(np.clip(turned, -25.0, 25.0)), elevation


def make_scene(
    seed: int, source: Source | None = None, figure: Figure | None = None, device: torch.device | str = "cpu"
) -> Scene:
    """The figure of a seed, lit, and its photo's camera: mostly from the front, at times three-quarter.

    Args:
        seed: decides light and camera, and the figure unless ``figure`` is given.
        source: where figures come from; None is the factory.
        figure: photograph this one instead.
        device: for the factory's figures.
    """
    if figure is None:
        figure = (source or factory_source(device))(seed)
    turned, elevation = photo_angles(seed)
    azimuth = facing(figure) + turned
    target, distance = frame_figure(figure, azimuth, elevation)
    light = sample_light(seed, figure.vertices.device, azimuth)
    return Scene(seed, figure, light, bake_light(figure, light), azimuth, elevation, target, distance)


def _placed(scene: Scene, views: int | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths from the photo's and elevations, degrees, of all views."""
    if not isinstance(views, int):
        azimuths = np.asarray(views, dtype=float)
        if len(azimuths) == 0 or azimuths[0] != 0:
            raise ValueError("the first azimuth must be 0, the photo's own")
        return azimuths, np.full(len(azimuths), scene.elevation)
    if views < 1:
        raise ValueError("a sample has one view at least")
    rng = np.random.default_rng([scene.seed, _OTHERS])
    # One view in each of as many sectors, so that few views still see all sides.
    sectors = (np.arange(1, views) - 0.5 + rng.uniform(-0.5, 0.5, views - 1)) * 360 / max(views - 1, 1)
    elevations = np.clip(rng.normal(5.0, 10.0, views - 1), -15.0, 40.0)
    order = rng.permutation(views - 1)
    return np.concatenate([[0.0], sectors[order]]), np.concatenate([[scene.elevation], elevations])


def cut_rows(scene: Scene, camera: Camera) -> list[float]:
    """Rows of the first camera's picture at which photos end: knees, waist and chest; by height without a body."""
    if scene.figure.body is not None:
        joints = camera.project(scene.figure.body.joints.to(camera.focal).float())[0, :, 1]
        return [float(joints[list(_JOINTS[name])].mean()) for name in _JOINTS]
    points = scene.figure.vertices.cpu()
    top, bottom = points[:, 1].max(), points[:, 1].min()
    levels = torch.stack([bottom + share * (top - bottom) for share in (0.28, 0.58, 0.72)])
    middle = torch.stack([points[:, 0].mean(), points[:, 2].mean()]).expand(3, 2)
    return camera.project(torch.stack([middle[:, 0], levels, middle[:, 1]], 1))[0, :, 1].tolist()


def make_sample(
    seed: int,
    views: int | Sequence[float] = 5,
    size: int = 512,
    *,
    augment: bool = True,
    estimate: Literal["fit", "noise"] | None = None,
    source: Source | None = None,
    scene: Scene | None = None,
    supersample: int = 2,
    device: torch.device | str = "cpu",
) -> Sample:
    """Make the sample of a seed. The same arguments give the same bytes on the same machine.

    Args:
        seed: of the person, pose, light, cameras and augmentation.
        views: how many, placed by chance around the person, the photo included; or the azimuths of all of them in
            degrees from the photo's camera, the first 0, at the photo's elevation.
        size: pixels a side, even.
        augment: spoil the photo as real photos are spoilt; else it is clean, over white.
        estimate: add a body as a fit would find it: ``"fit"`` runs the product's own, ``"noise"`` is its error model.
        source: where figures come from; None is the factory.
        scene: made before by :func:`make_scene` with the same seed.
        supersample: see ``render_views``.
        device: for the factory's figures.

    Raises:
        ValueError: no view, or a first azimuth that is not the photo's.
        BackendError: ``estimate="fit"`` and nobody was found in the photo.
    """
    scene = make_scene(seed, source, device=device) if scene is None else scene
    azimuths, elevations = _placed(scene, views)
    cameras = join([scene.camera(a, e, size) for a, e in zip(azimuths.tolist(), elevations.tolist())])
    pictures = render_views([scene.figure], [scene.light], [cameras], size, supersample, baked=[scene.baked])
    rgb, alpha = pictures.rgb[0], pictures.alpha[0]
    if augment:
        rng = np.random.default_rng([seed, _AUGMENT])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rgb, alpha = augment_photo(rgb, alpha, cut_rows(scene, cameras), generator)
    body = scene.figure.body
    found = None
    if estimate is not None and body is not None:
        found = estimate_body(body, cameras[:1], rgb, seed, estimate)
    return Sample(
        seed=seed,
        views=pictures,
        half=pictures.halved(),
        cameras=cameras.to(rgb.device),
        azimuths=torch.as_tensor(azimuths),
        elevations=torch.as_tensor(elevations),
        body=body,
        photo_rgb=rgb,
        photo_alpha=alpha,
        estimate=found,
        estimate_scale=1.0 if found is None else scale_of(found, body, cameras),
        light=scene.light,
    )
