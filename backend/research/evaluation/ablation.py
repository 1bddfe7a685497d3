"""People reconstructed again and again from one photo, body, depths, light and imagined views, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...assemble import assemble_avatar
from ...avatar import Avatar, Gaussians, pose_gaussians
from ...bind import bind
from ...body.fit import BodyFit
from ...errors import BackendError
from ...estimate.depth import SideDepths
from ...estimate.shading import PhotoLight
from ...geometry.maps import MAP_SIZE
from ...options import ReconstructOptions
from ...photo import PreparedPhoto
from ...pipeline import Pipeline
from ...prepare import load_photo, prepare
from ...prepare.image import Photo
from ...progress import Reporter
from ...reconstruct import SurfaceReconstructor
from ...reconstruct.mend import mend_fit
from ...reconstruct.views import ViewedPerson
from ...rendering import GaussianTensors, render, render_splats
from ...steps import Chosen, imagine_sides
from ...turntable import orbit_camera
from ..training.cameras import Camera
from . import metrics
from .candidates import candidate_of
from .compare import align, camera_tensors, in_true_pose
from .sources import Source
from .truth import SIDES, Pictures, Truth, render_photo

PRESET = "lite"
FIGURES = ("orbit", "sides", "back", "head", "posed")
CHANGED = 6.0
"""Levels of 255 of a change from which an artist may see it."""
_PHOTO = 1024
"""Pixels a side of the photos of people of a source."""
_VIEWS = range(0, 24, 3)
_PICTURE = 320


@dataclass(frozen=True)
class Inputs:
    """Whom to reconstruct: a prepared photo, and the truth where it is known."""

    name: str
    photo: PreparedPhoto
    truth: Truth | None


@dataclass(frozen=True)
class Ready:
    """What the stages before the reconstruction said."""

    photo: PreparedPhoto
    fit: BodyFit
    depths: SideDepths | None
    light: PhotoLight | None
    viewed: ViewedPerson


class Reconstruct:
    """The product's stages: those before the reconstruction once a person, the reconstruction as often as asked."""

    def __init__(self) -> None:
        self.pipeline = Pipeline("cpu")
        self.pipeline.load()
        self.surface = SurfaceReconstructor(self.pipeline.body())

    def of_source(self, source: Source, first: int = 0) -> Iterator[Inputs]:
        """People of a source; those that the product refuses are left out."""
        for index in range(first, len(source)):
            truth = source.truth(index, 256)
            rgb, _ = render_photo(truth.scene, _PHOTO)
            photo = self._prepared(partial(Photo, rgb, None, truth.name, ""))
            if photo is not None:
                yield Inputs(truth.name, photo, truth)

    def of_photos(self, folder: Path) -> Iterator[Inputs]:
        """The photos of a folder that the product does not refuse."""
        for path in sorted(folder.iterdir()):
            photo = self._prepared(partial(load_photo, path)) if path.suffix in (".png", ".jpg") else None
            if photo is not None:
                yield Inputs(path.stem, photo, None)

    def _prepared(self, read: Callable[[], Photo]) -> PreparedPhoto | None:
        try:
            return prepare(read(), self.pipeline.networks())
        except BackendError:
            return None

    def prepared(self, person: Inputs, seed: int = 0) -> Ready:
        """All that comes before the reconstruction."""
        pipeline, photo = self.pipeline, person.photo
        fit = pipeline.fitter().fit(photo)
        fit, depths = mend_fit(pipeline.depth(PRESET), pipeline.fitter(), fit, photo, MAP_SIZE)
        light = pipeline.light(PRESET).estimate(fit, photo)
        local = self.surface.local(self.surface.shape(fit, photo, depths))
        chosen = Chosen(pipeline.latent(PRESET), pipeline.synthesizer(PRESET))
        options = ReconstructOptions(preset=PRESET, seed=seed)
        viewed = imagine_sides(fit, photo, local, chosen, options, Reporter({"reconstruct": 1.0}))
        return Ready(photo, fit, depths, light, viewed)

    def avatar(self, ready: Ready) -> Avatar:
        """The reconstruction and what binds it, as an avatar."""
        options = ReconstructOptions(preset=PRESET)
        light = None if ready.light is None else replace(ready.light, share=options.shading)
        shaped = self.surface.shape(ready.fit, ready.photo, ready.depths)
        made = self.surface.colour(self.surface.pose(shaped, light), ready.viewed)
        return assemble_avatar(self.pipeline.body(), ready.photo, made, options, bind(made))


def same(one: Avatar, other: Avatar) -> bool:
    """Whether two avatars have the same splats, moved by the same bones."""
    parts = (one.gaussians, other.gaussians), (one.skin, other.skin)
    return all(np.array_equal(vars(a)[name], vars(b)[name]) for a, b in parts for name in vars(a))


def scores(avatar: Avatar, person: Inputs) -> dict[str, float]:
    """:data:`FIGURES` of an avatar, dB, as :mod:`.compare` has them but of fewer views and samples."""
    truth = person.truth
    candidate = candidate_of(avatar)
    to_world, scale = align(candidate, truth, _PHOTO)
    splats = to_world.splats(candidate.splats)
    chosen = list(_VIEWS)
    found = dict(zip(chosen, _psnr(splats, truth.orbit.cameras, truth.orbit.pictures, chosen)))
    out = {
        "orbit": float(np.mean(list(found.values()))),
        "sides": (found[SIDES["left"]] + found[SIDES["right"]]) / 2,
        "back": found[SIDES["back"]],
    }
    if (head := truth.crops["head"]) is not None:
        out["head"] = float(np.mean(_psnr(splats, head.cameras, head.pictures, range(len(head.pictures)))))
    if (reposed := truth.reposed) is not None:
        seen, posed = reposed.seen, in_true_pose(candidate.repose, reposed, scale)
        out["posed"] = float(np.mean(_psnr(posed, seen.cameras, seen.pictures, range(len(seen.pictures)))))
    return out


@torch.no_grad()
def _psnr(splats: Gaussians, cameras: Camera, theirs: Pictures, chosen: Iterable[int]) -> list[float]:
    tensors = GaussianTensors.from_gaussians(splats, cameras.focal.device)
    out = []
    for k in chosen:
        seen = render(tensors, camera_tensors(cameras, k))
        ours = (seen.rgb + 1 - seen.alpha[..., None]).clamp(0, 1).numpy()
        out.append(metrics.psnr(theirs.rgb[k], ours))
    return out


def pictures(avatar: Avatar) -> np.ndarray:
    """Six pictures [6, S, S, 3] over white: from the left, behind and the right in the photo's pose, the rest pose from
    the front and behind, and arms and legs spread."""
    out = []
    stride = np.zeros_like(avatar.pose)
    stride[1], stride[2], stride[16], stride[17] = (-0.6, 0, 0), (0.5, 0, 0), (0, 0, -0.9), (0, 0, 0.9)
    for pose, azimuths in ((avatar.pose, (90, 180, 270)), (np.zeros_like(avatar.pose), (0, 180)), (stride, (30,))):
        posed = pose_gaussians(avatar, pose, avatar.translation)
        for azimuth in azimuths:
            matrix, focal = orbit_camera(posed.position, azimuth, _PICTURE)
            rgba = render_splats(posed, focal, (_PICTURE, _PICTURE), matrix)
            out.append((rgba[..., :3] + 1 - rgba[..., 3:]).clip(0, 1))
    return np.stack(out)
