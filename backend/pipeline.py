"""From a photo to an avatar package: wires the stages, reports progress, can be cancelled between steps."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from . import __version__
from .avatar import Avatar, Body, Camera, KnownTriangles, pose_gaussians, save_avatar, sh_from_rgb
from .avatar.package import refuse_foreign
from .avatar.plain_files import brief
from .avatar.skinning import PRESERVE_VOLUME
from .avatar.threads import workers
from .avatar.whole import recover, tried_out, wait_for
from .bind import Bound, bind, template_triangles
from .body.fit import BodyFit, BodyFitter
from .body.model import JOINT_NAMES, BodyModel, load_body
from .body.upright import rotation_between, up_direction
from .devices import choose
from .errors import BackendError
from .estimate.depth import DepthEstimator, SideDepths
from .estimate.light import LightEstimator
from .estimate.shading import PhotoLight
from .geometry.maps import MAP_SIZE
from .options import PRESETS, WEIGHTS_FOLDER, ReconstructOptions, shown
from .photo import PreparedPhoto
from .prepare import BlazePose, load_photo, prepare
from .prepare.doubt import disagreement, hangs_before_legs, refuse_misfit
from .progress import CancelCheck, ProgressCallback, Reporter
from .reconstruct import Reconstruction, Shaped, SurfaceReconstructor
from .reconstruct.mend import mend_fit
from .rendering import render_splats
from .rendering.mesh import rasterize_mesh
from .views.latent.config import CONFIGS
from .views.latent.stage import AllViews, LatentReconstructor, Orbit, ReadViews, Step, drawn_views
from .views.synthesize import CONFIGS as SYNTHESIZERS
from .views.synthesize import Synthesizer

_Network = TypeVar("_Network", DepthEstimator, LightEstimator, Synthesizer)
_LEGS = np.array([[1, 4, 7], [2, 5, 8]])
"""SMPL joints: hips, knees and ankles."""
_OUTLINE_SIZE = 256
"""Pixels a side at which the fitted body is held against the outline."""
PREVIEW_SIZE = 512
_MIN_FREE_BYTES = 64 * 1024 * 1024
_STAGES = {"prepare": 1.0, "body": 0.2, "surface": 2.0, "reconstruct": 2.5, "bind": 0.3, "save": 0.4}
_LATENT_STAGES = {
    "prepare": 1.3, "body": 0.2, "depth": 0.7, "light": 0.1, "surface": 2.0, "reconstruct": 3.0, "bind": 0.1,
    "save": 0.4
}  # fmt: skip
"""As on a processor."""
_GIVEN_STAGES = {
    "prepare": 1.0, "body": 1.5, "surface": 4.0, "synthesize": 1.0, "refit": 4.0, "reconstruct": 2.0, "bind": 0.5,
    "save": 2.0
}  # fmt: skip
"""Where other views are given."""
_CAMERA_TO_WORLD = np.diag([1.0, -1.0, -1.0])
"""OpenCV axes (y down, z away) to the avatar's (y up, z towards the camera): half a turn about x."""


@dataclass(frozen=True)
class ReconstructResult:
    """Where the package lies, seconds per stage, and sentences for the user."""

    package: Path
    seconds: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Chosen:
    """The networks of a preset; all are None for ``surface``. Other sides come from ``views`` where no synthesizer
    imagines them. What an avatar says of the weights; warnings."""

    networks: LatentReconstructor | None = None
    synthesizer: Synthesizer | None = None
    views: AllViews | None = None
    depth: DepthEstimator | None = None
    light: LightEstimator | None = None
    described: Sequence[dict[str, str]] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Clothed:
    """The last photo as far as no seed matters, kept for another guess at what it does not show.

    Attributes:
        key: the file's digest, the person and the body that were asked for, whether depths and light were estimated.
        photo, fit, depths, light: of the stages so far.
        shaped: splats without colours.
        local: [n, 3] places of what does not go on elsewhere.
    """

    key: tuple[str, int | None, str, bool, bool]
    photo: PreparedPhoto
    fit: BodyFit
    depths: SideDepths | None
    light: PhotoLight | None
    shaped: Shaped
    local: np.ndarray


class Pipeline:
    """Keeps networks, bodies and the last fit warm between photos.

    Args:
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        BackendError: kinds ``device_missing``, ``device_failed``.
    """

    def __init__(self, device: str = "auto") -> None:
        chosen = choose(device)
        self.device, self._device_notes = chosen.device, (chosen.note,) * bool(chosen.note)
        self._networks: BlazePose | None = None
        self._bodies: dict[str, tuple[BodyModel, BodyFitter, SurfaceReconstructor]] = {}
        self._triangles: dict[str, KnownTriangles] = {}
        self._latent: dict[tuple[str, str], LatentReconstructor] = {}
        self._synthesizers: dict[tuple[str, str], Synthesizer] = {}
        self._depth: dict[tuple[str, str], DepthEstimator] = {}
        self._light: dict[tuple[str, str], LightEstimator] = {}
        self._clothed: _Clothed | None = None
        self._beside = workers(2, self.device.type)

    def load(self, body: str = "neutral") -> None:
        """Load the networks and one body; cheap when they are loaded already.

        Raises:
            BackendError: kinds ``weights_missing``, ``body_missing``, ``body_unreadable``.
        """
        self.networks()
        if body not in self._bodies:
            model = load_body(body)
            self._bodies[body] = (model, BodyFitter(model), SurfaceReconstructor(model, device=self.device))

    def networks(self) -> BlazePose:
        """The detection networks, loaded on first use."""
        if self._networks is None:
            self._networks = BlazePose(self.device)
        return self._networks

    def forget(self) -> None:
        """Let go of the last photo: the next one is reconstructed from the beginning, even if it is the same."""
        self._clothed = None

    def fitter(self, body: str = "neutral") -> BodyFitter:
        """The fitter of one body, loaded on first use."""
        self.load(body)
        return self._bodies[body][1]

    def body(self, name: str = "neutral") -> BodyModel:
        """One body, loaded on first use."""
        self.load(name)
        return self._bodies[name][0]

    def latent(self, preset: str, body: str = "neutral") -> LatentReconstructor:
        """The trained networks of a preset for one body, loaded on first use.

        Raises:
            BackendError: kinds ``weights_missing``, ``weights_damaged``.
        """
        if (preset, body) not in self._latent:
            self.load(body)
            self._latent[preset, body] = LatentReconstructor(
                CONFIGS[preset](), WEIGHTS_FOLDER / preset, self._bodies[body][0], self.device
            )
        return self._latent[preset, body]

    def synthesizer(self, preset: str, body: str = "neutral") -> Synthesizer:
        """The network that imagines the other sides, loaded on first use.

        Raises:
            BackendError: kinds ``weights_missing``, ``weights_damaged``.
        """
        if (preset, body) not in self._synthesizers:
            self.load(body)
            self._synthesizers[preset, body] = Synthesizer(
                SYNTHESIZERS[preset](), WEIGHTS_FOLDER / preset, self._bodies[body][0], self.device
            )
        return self._synthesizers[preset, body]

    def depth(self, preset: str, body: str = "neutral") -> DepthEstimator:
        """The network that says how deep front and back lie, loaded on first use.

        Raises:
            BackendError: kinds ``weights_missing``, ``weights_damaged``.
        """
        if (preset, body) not in self._depth:
            self.load(body)
            self._depth[preset, body] = DepthEstimator(WEIGHTS_FOLDER / preset, self._bodies[body][0], self.device)
        return self._depth[preset, body]

    def light(self, preset: str, body: str = "neutral") -> LightEstimator:
        """The network that says what light is in the photo, loaded on first use.

        Raises:
            BackendError: kinds ``weights_missing``, ``weights_damaged``.
        """
        if (preset, body) not in self._light:
            self.load(body)
            self._light[preset, body] = LightEstimator(WEIGHTS_FOLDER / preset, self._bodies[body][0])
        return self._light[preset, body]

    def _chosen(self, options: ReconstructOptions, views: AllViews | None) -> _Chosen:
        """What the preset works with; where something cannot be had, what takes its place and a sentence why."""
        if options.preset == "surface":
            return _Chosen()
        try:
            networks = self.latent(options.preset, options.body)
        except BackendError as error:
            return _Chosen(warnings=(f"{error.message} The preset surface was used instead.",))
        if views is not None:
            return _Chosen(networks, views=views, described=networks.described)
        described, warnings = list(networks.described), []

        def loaded(load: Callable[[str, str], _Network], instead: str) -> _Network | None:
            try:
                found = load(options.preset, options.body)
            except BackendError as error:
                warnings.append(f"{error.message} {instead}")
                return None
            described.extend(found.described)
            return found

        depth = loaded(self.depth, "Depths are those of the fitted body instead.")
        light = loaded(self.light, "All sides are as bright as the photo's instead.")
        synthesizer = loaded(self.synthesizer, "The other sides are drawn from the preset surface instead.")
        drawn = drawn_views if synthesizer is None else None
        return _Chosen(networks, synthesizer, drawn, depth, light, described, tuple(warnings))

    def reconstruct(
        self,
        image: Path,
        output: Path,
        options: ReconstructOptions | None = None,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
        views: AllViews | None = None,
    ) -> ReconstructResult:
        """Write the avatar package of the person in ``image`` to the folder ``output``.

        Nothing is written before everything is computed; an existing avatar package at ``output`` is replaced. Presets
        with networks take the person's other sides from ``views`` where it is given, else from the synthesizer, which
        works in another thread and asks ``cancelled`` there. The last photo's fit is kept: another seed, shading or
        preset takes but the stages after.

        Raises:
            BackendError: see its ``kind``; :class:`~backend.errors.Cancelled` when ``cancelled`` said so.
        """
        options = options or ReconstructOptions()
        if options.preset not in PRESETS:
            raise BackendError(
                "preset_unknown",
                f"There is no preset {shown(options.preset, 40)}.",
                f"Choose one of: {', '.join(PRESETS)}.",
            )
        if not 0 <= options.shading <= 1:
            raise BackendError("shading_unknown", f"There is no shading {options.shading}.", "Choose 0 to 1.")
        options.check()
        check_output(output)
        chosen = self._chosen(options, views)
        networks = chosen.networks
        stages = _STAGES if networks is None else _LATENT_STAGES if views is None else _GIVEN_STAGES
        if networks is not None and chosen.synthesizer is None:
            stages = stages | {"synthesize": 1.0}
        report = Reporter(stages, progress, cancelled)
        seconds: dict[str, float] = {}

        @contextmanager
        def timed(stage: str, step: str) -> Iterator[None]:
            report.step(stage, 0.0, step)
            started = time.perf_counter()
            try:
                yield
            except BaseException:
                report.stop()
                raise
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # or the next stage would be charged for what the card still does
            seconds[stage] = round(time.perf_counter() - started, 3)

        with timed("prepare", "Reading the photo"):
            photo_file = load_photo(image)
            key = (photo_file.sha256, options.person, options.body, chosen.depth is not None, chosen.light is not None)
            last = self._clothed if self._clothed is not None and self._clothed.key == key else None
            report.step("prepare", 0.2, "Loading the networks")
            self.load(options.body)
            report.step("prepare", 0.4, "Finding the person")
            if last is None:
                photo = prepare(photo_file, self.networks(), options.person, report.check)
            else:
                photo = last.photo
            photo = replace(photo, name=photo_file.name)
            # Packed while the other stages work.
            packed = self._beside.submit(_png, np.dstack([photo.rgb, (photo.alpha * 255).round()]))
        body, fitter, preset = self._bodies[options.body]
        with timed("body", "Fitting the body"):
            fit = fitter.fit(photo, report.check) if last is None else last.fit
            refuse_misfit(photo.agreement, fit.landmark_error / fit.person_size)
        depths, light = (None, None) if last is None else (last.depths, last.light)
        if chosen.depth is not None:
            with timed("depth", "Estimating depth"):
                if last is None:
                    fit, depths = mend_fit(chosen.depth, fitter, fit, photo, MAP_SIZE, report.check)
        if chosen.light is not None:
            with timed("light", "Estimating light"):
                if last is None:
                    light = chosen.light.estimate(fit, photo)
        with timed("surface", "Clothing the body"):
            if last is None:
                shaped = preset.shape(fit, photo, depths, partial(report.step, "surface"))
                last = self._clothed = _Clothed(key, photo, fit, depths, light, shaped, preset.local(shaped))
            shaped, shade = last.shaped, None if light is None else replace(light, share=options.shading)
            bound = self._beside.submit(lambda: self._bound(options.body, shaped.coloured()))
        step = partial(report.step, "reconstruct")
        if networks is None:
            with timed("reconstruct", "Colouring"):
                reconstruction = preset.colour(shaped, shade, step=step)
        elif chosen.synthesizer is not None:
            with timed("reconstruct", "Imagining the other sides"):
                # They are imagined while it is found out how far the photo's colours go on.
                stop = lambda fraction, text: report.check()  # noqa: E731
                imagined = self._beside.submit(
                    _imagined, chosen.synthesizer, networks, fit, photo, options.seed, last.local, stop
                )
                reconstruction = preset.colour(shaped, shade, lambda: networks.viewed(*imagined.result()), step)
        else:
            with timed("synthesize", "Looking at the other sides"):
                orbit = networks.orbit(fit, photo)
                drawn = preset.colour(shaped, shade)
                side_views = chosen.views(orbit, drawn, partial(report.step, "synthesize"))
            if not side_views.imagined:
                with timed("refit", "Fitting the body to all views"):
                    seen = networks.look(orbit, side_views, fit, self.networks())
                    fit = fitter.refine(fit, photo, seen, report.check)
                    orbit, shaped = networks.refitted(orbit, fit), preset.shape(fit, photo)
                    drawn = preset.colour(shaped)
            with timed("reconstruct", "Reconstructing"):
                read = networks.read(orbit, side_views)
                if read.imagined:
                    reconstruction = preset.colour(shaped, shade, lambda: networks.viewed(orbit, read), step)
                else:
                    reconstruction = networks.reconstruct(orbit, drawn, read)
        with timed("bind", "Binding to the body"):
            used = options if networks is not None else replace(options, preset="surface")
            if reconstruction.surface is last.shaped.mesh:
                gaussians, skin, references = bound.result()
                coloured = replace(gaussians, sh_dc=sh_from_rgb(reconstruction.rgb).astype(np.float32))
                found = coloured, replace(skin, seen=reconstruction.seen.astype(skin.seen.dtype)), references
            else:
                found = self._bound(options.body, reconstruction)
            avatar = assemble_avatar(body, fit, photo, reconstruction, used, found)
            generator = avatar.generator | {"weights": list(chosen.described)}
            warnings = (*self._device_notes, *photo.warnings, *_misfit(body, fit, photo), *chosen.warnings)
            avatar = replace(avatar, generator=generator, warnings=warnings)
        with timed("save", "Writing the package"):
            avatar = replace(avatar, seconds=dict(seconds))
            # Rendered while the larger files are written.
            preview = self._beside.submit(lambda: _png(self._preview(avatar, photo)))
            write_package(avatar, output, packed.result(), preview.result)
        return ReconstructResult(output, seconds, avatar.warnings)

    def _bound(self, body: str, reconstruction: Reconstruction) -> Bound:
        if body not in self._triangles:
            self._triangles[body] = template_triangles(self._bodies[body][0])
        return bind(reconstruction, self._triangles[body])

    def _preview(self, avatar: Avatar, photo: PreparedPhoto) -> np.ndarray:
        """The photo beside the avatar, uint8 [S, 2 S, 3]."""
        size = PREVIEW_SIZE
        posed = pose_gaussians(avatar, avatar.pose, avatar.translation)
        camera = avatar.camera
        rgba = render_splats(
            posed,
            focal=camera.fx * size / camera.width,
            size=(size, size),
            device=self.device,
            world_to_camera=camera.world_to_camera,
        )
        ours = rgba[..., :3] + (1 - rgba[..., 3:])
        theirs = np.asarray(Image.fromarray(photo.rgb).resize((size, size), Image.Resampling.LANCZOS)) / 255
        return (np.hstack([theirs, ours]).clip(0, 1) * 255).round().astype(np.uint8)


def _misfit(body: BodyModel, fit: BodyFit, photo: PreparedPhoto) -> tuple[str, ...]:
    """What is to be said of a body that lies far from the photo's outline, and of what hangs before it."""
    with torch.no_grad():
        vertices, joints = (x.numpy() for x in body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas)))
    size = _OUTLINE_SIZE
    focal = fit.focal * size / photo.rgb.shape[0]
    hits = rasterize_mesh(vertices + fit.translation, body.faces.numpy(), focal, (size, size))
    matte = cv2.resize(photo.alpha, (size, size), interpolation=cv2.INTER_AREA)
    legs = joints[_LEGS] + fit.translation
    pixels = legs[..., :2] / legs[..., 2:] * focal + size / 2
    said = (
        disagreement(matte, hits.face >= 0, photo.inside_at(size)),
        hangs_before_legs(matte, hits.face >= 0, pixels),
    )
    return tuple(filter(None, said))


@torch.no_grad()
def _imagined(
    synthesizer: Synthesizer,
    networks: LatentReconstructor,
    fit: BodyFit,
    photo: PreparedPhoto,
    seed: int,
    local: np.ndarray,
    step: Step,
) -> tuple[Orbit, ReadViews]:
    """The other sides as the synthesizer imagines them, and what the transformer says of them.

    Args:
        synthesizer, networks: see there.
        fit, photo: of the stages before.
        seed: see :class:`~backend.options.ReconstructOptions`.
        local: [n, 3] places of what does not go on elsewhere.
        step: told of progress; may raise to stop.
    """
    orbit = networks.orbit(fit, photo)
    rgb, alpha = orbit.small_photo()
    views = synthesizer.synthesize(
        orbit.codec.encode(rgb), rgb, alpha, orbit.cameras, orbit.vertices, orbit.codec.decode_rgba,
        seed=seed, step=step, local=orbit.marked(local),
    )  # fmt: skip
    return orbit, networks.read(orbit, views)


def check_output(output: Path) -> None:
    """Refuse early what cannot be written to; what a killed run has left there is put right. Leaves no folder.

    Raises:
        BackendError: kinds ``output_not_writable``, ``disk_full``.
    """
    try:
        str(output).encode("utf-8")
        folder = output.resolve()
        if recover(folder) and not wait_for(folder):
            raise TimeoutError(errno.ETIMEDOUT, "another program is writing there and does not end")
        refuse_foreign(folder)
        if os.path.ismount(folder):
            raise OSError(errno.EBUSY, "it is a whole disk, which cannot be replaced as one; name a folder on it")
        with tried_out(folder) as parent:
            free = shutil.disk_usage(parent).free
    except (OSError, ValueError, RuntimeError) as error:  # links in a circle are a RuntimeError of older Pythons
        raise _output_error(output, error) from error
    if free < _MIN_FREE_BYTES:
        raise BackendError(
            "disk_full", f"The disk that holds {shown(folder.parent)} is full.", "Free 64 MB or choose another folder."
        )


def _output_error(output: Path, error: Exception) -> BackendError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return BackendError(
            "disk_full", f"The disk that holds {shown(output)} is full.", "Free some space and try again."
        )
    if isinstance(error, FileExistsError) and error.errno is None:  # a whole sentence of refuse_foreign
        return BackendError("output_not_writable", shown(error), "Choose an empty folder or a new name.")
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, UnicodeError):
        reason = "its name is no text that other programs could read"
    return BackendError(
        "output_not_writable",
        f"The folder {shown(output)} cannot be written to ({brief(reason)}).",
        "Choose another output folder.",
    )


def write_package(avatar: Avatar, output: Path, input_png: bytes, preview_png: bytes | Callable[[], bytes]) -> None:
    """Write the package in one step.

    Raises:
        BackendError: kinds ``output_not_writable``, ``disk_full``; nothing is left behind.
    """
    try:
        save_avatar(avatar, output, input_image=input_png, preview=preview_png)
    except OSError as error:
        raise _output_error(output, error) from error


def assemble_avatar(
    body: BodyModel,
    fit: BodyFit,
    photo: PreparedPhoto,
    reconstruction: Reconstruction,
    options: ReconstructOptions,
    bound: Bound,
) -> Avatar:
    """Describe the ``bound`` splats of a ``reconstruction`` in world space (y up against gravity, see
    :mod:`.body.upright`; standing on y = 0, pelvis at x = z = 0)."""
    gaussians, skin, references = bound
    mesh = reconstruction.surface
    with torch.no_grad():
        rest, joints = (x.numpy() for x in body.shaped(torch.as_tensor(fit.betas)))
    to_world = _camera_to_world(body, fit)
    pelvis = to_world @ (joints[0] + fit.translation)
    lowest = (mesh.posed[: mesh.body_vertices] @ to_world.T)[:, 1].min()
    shift = -np.array([pelvis[0], lowest, pelvis[2]])
    pose = fit.pose.copy()
    pose[0] = Rotation.from_matrix(to_world @ Rotation.from_rotvec(fit.pose[0]).as_matrix()).as_rotvec()
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = to_world.T
    world_to_camera[:3, 3] = -to_world.T @ shift
    side = photo.rgb.shape[0]
    has_uv = body.uv is not None and body.uv_faces is not None
    return Avatar(
        gaussians=gaussians,
        skin=skin,
        body=Body(
            vertices=rest.astype(np.float32),
            faces=body.faces.numpy().astype(np.int32),
            weights=body.weights.numpy().astype(np.float32),
            surface_vertices=mesh.rest.astype(np.float32),
            surface_faces=mesh.faces.astype(np.int32),
            surface_weights=mesh.weights.astype(np.float32),
            reference_triangles=references,
            uv=body.uv.numpy().astype(np.float32) if has_uv else None,
            uv_faces=body.uv_faces.numpy().astype(np.int32) if has_uv else None,
        ),
        joint_names=tuple(JOINT_NAMES),
        parents=body.parents,
        rest_joints=joints,
        betas=fit.betas,
        pose=pose,
        translation=pelvis + shift - joints[0],
        joint_confidence=fit.confidence,
        camera=Camera(
            width=side, height=side, fx=fit.focal, fy=fit.focal, cx=side / 2, cy=side / 2,
            world_to_camera=world_to_camera,
        ),
        body_model={"name": body.name, "licence": body.licence},
        generator={"name": "humansplat", "version": __version__, "preset": options.preset, "weights": []},
        source={"name": photo.name, "sha256": photo.sha256, "crop": list(photo.crop)},
        seconds={},
        warnings=photo.warnings,
        preserve_volume=PRESERVE_VOLUME,
    )  # fmt: skip


def _camera_to_world(body: BodyModel, fit: BodyFit) -> np.ndarray:
    """From camera to world axes [3, 3]: half a turn about x, and as much as the camera looks up or down."""
    with torch.no_grad():
        vertices, joints = (x.numpy() for x in body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas)))
    up = up_direction(vertices, body.faces.numpy(), joints, fit.confidence)
    return rotation_between(_CAMERA_TO_WORLD @ up, np.array([0.0, 1.0, 0.0])) @ _CAMERA_TO_WORLD


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stream, "PNG", compress_level=4)
    return stream.getvalue()
