"""From a photo to an avatar package: keeps networks warm, lists the stages, reports progress, can be cancelled."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from . import steps
from .avatar import KnownTriangles
from .avatar.threads import workers
from .bind import template_triangles
from .body.fit import BodyFitter
from .body.model import BodyModel, load_body
from .devices import choose
from .errors import BackendError
from .estimate.depth import DepthEstimator
from .estimate.light import LightEstimator
from .models.catalogue import MODELS
from .models.store import Store, resolve
from .options import PRESETS, SOURCES, WEIGHTS_FOLDER, ReconstructOptions, shown
from .output import check_output
from .prepare import BlazePose, load_photo
from .progress import CancelCheck, ProgressCallback, Reporter
from .reconstruct import SurfaceReconstructor
from .stages import Stage, run_stages
from .steps import Chosen, load_picture
from .views.latent.config import CONFIGS
from .views.latent.stage import LatentReconstructor
from .views.source import ViewSource
from .views.sources import load_source
from .views.synthesize import CONFIGS as SYNTHESIZERS
from .views.synthesize import Synthesizer

_Network = TypeVar("_Network", DepthEstimator, LightEstimator, Synthesizer)
_SHARES = {
    "prepare": 1.3, "body": 0.2, "depth": 0.7, "pictures": 4.0, "sides": 20.0, "light": 0.1, "surface": 2.0,
    "reconstruct": 3.0, "bind": 0.1, "save": 0.4
}  # fmt: skip
"""Of the time that groups of stages take, as on a processor; large models ("sides") as on a graphics card."""
_OF_PHOTO = ("prepared", "fit_alone", "fit_mended", "depths_alone", "subject")
"""Results that depend on the photo and the networks alone: they are kept of the last photo."""
_OF_VIEWS = ("views", "fit", "depths", "pictures", "light", "shaped", "local", "bound")
"""Results that also depend on further pictures or on what a large model has drawn, but on no shading, and on the seed
only with a large model: they are kept for another guess at what nothing shows."""


@dataclass(frozen=True)
class ReconstructResult:
    """Where the package lies, seconds per stage, and sentences for the user."""

    package: Path
    seconds: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Kept:
    """Results of the last photo.

    Attributes:
        of_photo: what those of :data:`_OF_PHOTO` depend on.
        of_views: what those of :data:`_OF_VIEWS` also depend on.
        found: all of them by name.
    """

    of_photo: tuple[object, ...]
    of_views: tuple[object, ...]
    found: dict[str, Any]

    def results(self, of_views: tuple[object, ...]) -> dict[str, Any]:
        """Those that hold for other views, or for the same ones, of the same photo."""
        names = (*_OF_PHOTO, *_OF_VIEWS) if of_views == self.of_views else _OF_PHOTO
        return {name: self.found[name] for name in names if name in self.found}


class Pipeline:
    """Keeps networks, bodies and the last fit warm between photos.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        models: folder of large models; None takes :func:`~backend.models.store.default_folder`.

    Raises:
        BackendError: kinds ``device_missing``, ``device_failed``.
    """

    def __init__(self, device: str = "auto", models: Path | None = None) -> None:
        chosen = choose(device)
        self.device, self._device_notes = chosen.device, (chosen.note,) * bool(chosen.note)
        self._networks: BlazePose | None = None
        self._bodies: dict[str, tuple[BodyModel, BodyFitter, SurfaceReconstructor]] = {}
        self._triangles: dict[str, KnownTriangles] = {}
        self._latent: dict[tuple[str, str], LatentReconstructor] = {}
        self._synthesizers: dict[tuple[str, str], Synthesizer] = {}
        self._depth: dict[tuple[str, str], DepthEstimator] = {}
        self._light: dict[tuple[str, str], LightEstimator] = {}
        self.store = Store(models)
        self._source: tuple[tuple[object, ...], ViewSource] | None = None
        self._kept: _Kept | None = None
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
        self._kept = None

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

    def source(self, name: str) -> ViewSource:
        """A large model that makes the other sides, loaded on first use; the one before is freed.

        Args:
            name: one of :data:`~backend.models.catalogue.MODELS`.

        Raises:
            BackendError: see :func:`~backend.views.sources.load_source`.
        """
        key = (name, *resolve(name, self.store).values())
        if self._source is None or self._source[0] != key:
            self.free_source()
            self._source = key, load_source(name, self.device, self.store)
        return self._source[1]

    def free_source(self) -> None:
        """Let go of the large model, if one is loaded: it takes most of the memory."""
        if self._source is not None:
            self._source = None
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _chosen(self, options: ReconstructOptions) -> Chosen:
        """What the preset works with; where something cannot be had, what takes its place and a sentence why."""
        if options.preset == "surface":
            return Chosen()
        try:
            networks = self.latent(options.preset, options.body)
        except BackendError as error:
            return Chosen(warnings=(f"{error.message} The preset surface was used instead.",))
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
        synthesizer = loaded(self.synthesizer, "The other sides are coloured as those of the preset surface instead.")
        return Chosen(networks, synthesizer, depth, light, described=tuple(described), warnings=tuple(warnings))

    def reconstruct(
        self,
        image: Path,
        output: Path,
        options: ReconstructOptions | None = None,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> ReconstructResult:
        """Write the avatar package of the person in ``image`` to the folder ``output``.

        Nothing is written before everything is computed; an existing avatar package at ``output`` is replaced. What
        works in another thread asks ``cancelled`` there. The last photo's fit is kept: another seed, shading or preset
        takes but the stages after. A large model that makes the other sides draws again for another seed only.

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
        large = options.source != SOURCES[0]
        if large:
            resolve(options.source, self.store)  # before seconds are spent on anything
        else:
            self.free_source()
        chosen = self._chosen(options)
        stages = _stages(chosen, options)
        seconds = dict.fromkeys((stage.group for stage in stages if not stage.beside), 0.0)
        report = Reporter({name: _SHARES[name] for name in seconds}, progress, cancelled)

        @contextmanager
        def watch(group: str, text: str) -> Iterator[None]:
            report.step(group, 0.0, text)
            started = time.perf_counter()
            try:
                yield
            except BaseException:
                report.stop()
                raise
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # or the next stage would be charged for what the card still does
            seconds[group] = round(seconds[group] + time.perf_counter() - started, 3)

        with watch("prepare", "Reading the photo"):
            photo_file = load_photo(image)
            picture_files = [load_picture(picture) for picture in options.pictures]
            report.step("prepare", 0.2, "Loading the networks")
            self.load(options.body)
            if large:
                # Before the person is looked for, so that too little memory is said early.
                report.step("prepare", 0.3, f"Loading {MODELS[options.source].title}")
                source = self.source(options.source)
                chosen = replace(chosen, source=source, described=(*chosen.described, *source.described))
            report.step("prepare", 0.4, "Finding the person")
        body, fitter, surface = self._bodies[options.body]
        if options.body not in self._triangles:
            self._triangles[options.body] = template_triangles(body)
        given = {
            "photo_file": photo_file, "picture_files": picture_files, "options": options, "chosen": chosen,
            "detectors": self.networks(), "body": body, "fitter": fitter, "surface": surface,
            "triangles": self._triangles[options.body], "device": self.device, "notes": self._device_notes,
            "output": output, "seconds": seconds, "report": report,
        }  # fmt: skip
        pictures = [(one.side, file.sha256) for one, file in zip(options.pictures, picture_files)]
        networks = (chosen.depth is None, chosen.light is None)
        of_photo = (photo_file.sha256, options.person, options.body, options.lower, *networks)
        drawn_by = () if chosen.source is None else (options.seed, *(one["sha256"] for one in chosen.source.described))
        of_views = (*pictures, options.source, *drawn_by)
        if self._kept is not None and self._kept.of_photo == of_photo:
            given |= self._kept.results(of_views)
        try:
            found = run_stages(stages, given, self._beside, watch)
        except BackendError as error:
            if error.kind == "memory_short":
                self.free_source()  # it is in its slowest mode for good; once there is memory, it need not be
            raise
        kept = {name: found[name] for name in (*_OF_PHOTO, *_OF_VIEWS) if name in found}
        self._kept = _Kept(of_photo, of_views, kept)
        return ReconstructResult(output, seconds, found["avatar"].warnings)


def _stages(chosen: Chosen, options: ReconstructOptions) -> list[Stage]:
    """Of a photo's way to its package, in their order. Sides are imagined while it is found out how far the photo's
    colours go on."""
    mended = ("depth", steps.mend_by_depth) if chosen.depth is not None else ("body", steps.without_depth)
    joined = ("pictures", steps.fit_all_pictures) if options.pictures else ("body", steps.without_pictures)
    drawn = []
    if options.source != SOURCES[0]:
        joined = ("sides", steps.fit_views)
        drawn = [
            Stage(("subject",), steps.clothe_subject, "sides", "Clothing the body"),
            Stage(("views",), steps.make_views, "sides", "Drawing the other sides"),
        ]
    light = ("light", steps.estimate_light) if chosen.light is not None else ("body", steps.without_light)
    imagined = steps.imagine_sides if chosen.synthesizer is not None else steps.without_views
    return [
        Stage(("prepared",), steps.prepare_photo, "prepare", "Finding the person"),
        Stage(("photo",), steps.name_photo, "prepare", "Finding the person"),
        Stage(("packed",), steps.pack_photo, beside=True),
        Stage(("fit_alone",), steps.fit_body, "body", "Fitting the body"),
        Stage(("fit_mended", "depths_alone"), mended[1], mended[0], "Estimating depth"),
        *drawn,
        Stage(("fit", "depths", "pictures"), joined[1], joined[0], "Fitting the body to all pictures"),
        Stage(("light",), light[1], light[0], "Estimating light"),
        Stage(("shaped",), steps.shape_clothes, "surface", "Clothing the body"),
        Stage(("local",), steps.find_local, "surface", "Clothing the body"),
        Stage(("viewed",), imagined, beside=True),
        Stage(("bound",), steps.bind_splats, beside=True),
        Stage(("posed",), steps.pose_colours, "reconstruct", "Colouring the unseen side"),
        Stage(("coloured",), steps.colour_splats, "reconstruct", "Matching the photo"),
        Stage(("avatar",), steps.make_avatar, "bind", "Binding to the body"),
        Stage(("preview",), steps.draw_preview, beside=True),
        Stage(("written",), steps.write_avatar, "save", "Writing the package", late=("preview",)),
    ]
