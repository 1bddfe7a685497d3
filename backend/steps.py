"""The stages of a photo's way to its avatar package, as functions of what they need; :mod:`.pipeline` lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from .assemble import assemble_avatar, png_bytes, render_preview
from .avatar import Avatar, KnownTriangles, sh_from_rgb
from .bind import Bound, bind
from .body.fit import BodyFit, BodyFitter
from .body.model import BodyModel
from .body.several import FittedPicture, fit_pictures, seen_from
from .errors import BackendError, Cancelled
from .estimate.depth import DepthEstimator, SideDepths
from .estimate.depth import posed as posed_body
from .estimate.light import LightEstimator
from .estimate.shading import PhotoLight
from .geometry.maps import MAP_SIZE
from .likeness import SAME_PERSON, likeness, part_colours
from .options import SIDES, ReconstructOptions, SidePicture
from .output import write_package
from .photo import CROP_SIZE, PreparedPhoto
from .prepare import BlazePose, load_photo, prepare
from .prepare.doubt import disagreement, hangs_before_legs, refuse_misfit
from .prepare.image import Photo
from .progress import Reporter
from .reconstruct import Reconstruction, Shaped, SurfaceReconstructor
from .reconstruct.mend import mend_fit
from .reconstruct.shape import fit_clothed_mesh
from .reconstruct.surface import Posed
from .reconstruct.views import ViewedPerson
from .rendering.mesh import rasterize_mesh
from .views.latent.stage import LatentReconstructor
from .views.source import SideView, Subject, ViewSource
from .views.synthesize import Synthesizer

_LEGS = np.array([[1, 4, 7], [2, 5, 8]])
"""SMPL joints: hips, knees and ankles."""
_OUTLINE_SIZE = 256
"""Pixels a side at which the fitted body is held against the outline."""
_COVERED = 0.8
"""Share of the fitted body that a further picture must show."""
_FAR = 0.05
"""Mean distance of the body's landmarks from a further picture's, in sizes of the person, from which it is no picture
of the photo's person that can be used."""
_FROM_THE_SIDE = np.sin(np.radians(45.0))
"""Sine of a picture's turn from which its outline shows how deep the person is: no network need guess it, which
guessed around a body that stood otherwise, too."""
_OTHER_SIDE = 60.0
"""Degrees by which a picture's camera may stand elsewhere than is said."""
_DRAWN = (0.1, 0.8)
"""Of the work for the other sides, between which fractions a large model draws: before, the body is clothed; after,
cameras are sought."""


@dataclass(frozen=True)
class Chosen:
    """The networks of a preset; all are None for ``surface``. The large model that makes the other sides, if one does.
    What an avatar says of the weights; warnings."""

    networks: LatentReconstructor | None = None
    synthesizer: Synthesizer | None = None
    depth: DepthEstimator | None = None
    light: LightEstimator | None = None
    source: ViewSource | None = None
    described: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Pictures:
    """Further pictures of the person that are used, and sentences about those that are not."""

    used: tuple[FittedPicture, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A further picture that may be used; its camera is sought.

    Attributes:
        title: as sentences name it, after "The".
        file: its pixels and their name.
        turn: degrees that its camera is said to stand around the person from the photo's, towards the person's left;
            None where nobody says.
        remedy: what to do where it seems to show somebody else.
        belief, outline: as of :class:`~backend.body.several.FittedPicture`.
    """

    title: str
    file: Photo
    turn: float | None
    remedy: str = "remove it and try again"
    belief: float = 1.0
    outline: bool = True


def prepare_photo(
    photo_file: Photo, detectors: BlazePose, options: ReconstructOptions, report: Reporter
) -> PreparedPhoto:
    """The person in the photo."""
    return prepare(photo_file, detectors, options.person, report.check)


def name_photo(prepared: PreparedPhoto, photo_file: Photo) -> PreparedPhoto:
    """A photo that was prepared before may come by another name now."""
    return replace(prepared, name=photo_file.name)


def pack_photo(photo: PreparedPhoto) -> bytes:
    """The crop and its matte as a PNG file."""
    return png_bytes(np.dstack([photo.rgb, (photo.alpha * 255).round()]))


def fit_body(photo: PreparedPhoto, fitter: BodyFitter, report: Reporter) -> BodyFit:
    """The body by the photo's landmarks and outline.

    Raises:
        BackendError: kind ``no_person``, where no body fits.
    """
    fit = fitter.fit(photo, report.check)
    refuse_misfit(photo.agreement, fit.landmark_error / fit.person_size)
    return fit


def mend_by_depth(
    fit_alone: BodyFit, photo: PreparedPhoto, chosen: Chosen, fitter: BodyFitter, report: Reporter
) -> tuple[BodyFit, SideDepths]:
    """The body moved to where the depth network says that the person is; depths of front and back."""
    assert chosen.depth is not None
    return mend_fit(chosen.depth, fitter, fit_alone, photo, MAP_SIZE, report.check)


def load_picture(picture: SidePicture) -> Photo:
    """A further picture's file.

    Raises:
        BackendError: as :func:`~backend.prepare.load_photo`, with a sentence that names the picture.
    """
    try:
        return load_photo(picture.path)
    except BackendError as error:
        raise BackendError(error.kind, f"The {picture.title} cannot be read. {error.message}", error.fix) from error


def fit_all_pictures(
    fit_mended: BodyFit, depths_alone: SideDepths | None, photo: PreparedPhoto, picture_files: list[Photo],
    detectors: BlazePose, fitter: BodyFitter, body: BodyModel, surface: SurfaceReconstructor,
    options: ReconstructOptions, report: Reporter,
) -> tuple[BodyFit, SideDepths | None, Pictures]:  # fmt: skip
    """The body by the photo and all further pictures; its depths, in its camera space; the pictures that are used."""
    candidates = [
        Candidate(picture.title, file, SIDES[picture.side]) for picture, file in zip(options.pictures, picture_files)
    ]
    return _fit_candidates(
        candidates, fit_mended, depths_alone, photo, detectors, fitter, body, surface, partial(report.step, "pictures"),
        report.check,
    )  # fmt: skip


def _fit_candidates(
    candidates: Sequence[Candidate], fit_mended: BodyFit, depths_alone: SideDepths | None, photo: PreparedPhoto,
    detectors: BlazePose, fitter: BodyFitter, body: BodyModel, surface: SurfaceReconstructor,
    step: Callable[[float, str], None], check: Callable[[], None],
) -> tuple[BodyFit, SideDepths | None, Pictures]:  # fmt: skip
    """See :func:`fit_all_pictures`; ``step`` is told the fraction done and what is being done."""
    warnings, given, prepared = [], [], []
    for number, candidate in enumerate(candidates):
        step(number / (len(candidates) + 1), f"Reading {candidate.file.name}")
        try:
            prepared.append(prepare(candidate.file, detectors, None, check))
            given.append(candidate)
        except BackendError as error:
            if isinstance(error, Cancelled):
                raise
            warnings.append(f"The {candidate.title} was left out: {error.message}")
    step(0.8, "Fitting the body to all pictures")
    fit, used, refused = fit_mended, [], []
    while given:
        turns = [candidate.turn for candidate in given]
        fit, found = fit_pictures(fitter, fit_mended, photo, prepared, turns, check)
        bad = [number for number, one in enumerate(found) if not shows_body(body, one)]
        if not bad:
            used = [
                replace(one, belief=candidate.belief, outline=one.outline and candidate.outline)
                for candidate, one in zip(given, found)
            ]
            break
        refused += [given[number] for number in bad]
        given, prepared = ([x for number, x in enumerate(all_) if number not in bad] for all_ in (given, prepared))
        fit = fit_mended
    warnings += [f"The {one.title} was left out: it does not show the photo's person whole." for one in refused]
    own = part_colours(body, surface.regions.parts, photo, fit)
    for candidate, one in zip(given, used):
        said = candidate.turn
        if said is not None and abs((one.turn - said + 180) % 360 - 180) > _OTHER_SIDE:
            warnings.append(f"The {candidate.title} shows the person from another side; it was used as that.")
        if likeness(own, part_colours(body, surface.regions.parts, one.picture, one.fit)) < SAME_PERSON:
            text = f"The {candidate.title} may show somebody else or other clothes; if so, {candidate.remedy}."
            warnings.append(text)
    depths = depths_alone
    if any(abs(np.sin(np.radians(one.turn))) > _FROM_THE_SIDE for one in used if one.outline):
        depths = None
    elif depths is not None:
        depths = depths.scaled(float(fit.translation[2] / fit_mended.translation[2]))
    return fit, depths, Pictures(tuple(used), tuple(warnings))


def clothe_subject(
    fit_mended: BodyFit, depths_alone: SideDepths | None, photo: PreparedPhoto, body: BodyModel,
    surface: SurfaceReconstructor, options: ReconstructOptions,
) -> Subject:  # fmt: skip
    """What a large model is told of the person: the clothed surface by the photo alone."""
    clothed = fit_clothed_mesh(
        body, surface.regions, fit_mended, photo, depths_alone, surface.device, lower=options.lower
    )
    with torch.no_grad():
        _, joints = posed_body(body, fit_mended)
    return Subject(photo, fit_mended, clothed.mesh.posed, clothed.mesh.faces, joints[0].numpy())


def make_views(subject: Subject, chosen: Chosen, options: ReconstructOptions, report: Reporter) -> tuple[SideView, ...]:
    """The other sides as a large model draws them."""
    assert chosen.source is not None

    def step(fraction: float, text: str) -> None:
        report.step("sides", _DRAWN[0] + (_DRAWN[1] - _DRAWN[0]) * fraction, text)

    return tuple(chosen.source.views(subject, options.seed, step))


def fit_views(
    fit_mended: BodyFit, depths_alone: SideDepths | None, photo: PreparedPhoto, views: tuple[SideView, ...],
    chosen: Chosen, detectors: BlazePose, fitter: BodyFitter, body: BodyModel, surface: SurfaceReconstructor,
    report: Reporter,
) -> tuple[BodyFit, SideDepths | None, Pictures]:  # fmt: skip
    """:func:`fit_all_pictures` of views that a large model has drawn: where a view's camera is known, it is taken as it
    is."""
    assert chosen.source is not None
    candidates = [_candidate(view, chosen.source.title) for view in views if view.matrix is None]
    fit, depths, found = fit_mended, depths_alone, Pictures()
    if candidates:
        fit, depths, found = _fit_candidates(
            candidates, fit_mended, depths_alone, photo, detectors, fitter, body, surface,
            lambda fraction, text: report.step("sides", _DRAWN[1] + (1 - _DRAWN[1]) * fraction, text), report.check,
        )  # fmt: skip
    known = [
        FittedPicture(picture, seen_from(fitter, fit, view.matrix, picture), view.turn, view.belief, view.outline)
        for view in views
        if view.matrix is not None
        for picture in (_as_prepared(view),)
    ]
    return fit, depths, Pictures((*known, *found.used), found.warnings)


def _candidate(view: SideView, source: str) -> Candidate:
    """A view of a ``source``, as :func:`_fit_candidates` takes it."""
    turn = 180 - (180 - view.turn) % 360  # above -180, up to 180
    side = {180.0: "back", 90.0: "left side", -90.0: "right side"}.get(round(turn, 3), f"person at {turn:.0f} degrees")
    file = Photo(view.rgb, view.alpha, f"the view of the {side}", "")
    return Candidate(f"view of the {side} by {source}", file, turn, "try another seed", view.belief, view.outline)


def _as_prepared(view: SideView) -> PreparedPhoto:
    """A view whose camera is known as a prepared picture without landmarks."""
    size = (CROP_SIZE, CROP_SIZE)
    return PreparedPhoto(
        rgb=cv2.resize(view.rgb, size, interpolation=cv2.INTER_CUBIC),
        alpha=cv2.resize(view.alpha, size, interpolation=cv2.INTER_LINEAR),
        inside=np.ones(size, bool),
        landmarks=np.zeros((33, 2)),
        visibility=np.zeros(33),
        world_landmarks=np.zeros((33, 3)),
        left_hand=None,
        right_hand=None,
        focal=view.focal * CROP_SIZE / len(view.rgb),
        matte_given=True,
        person_count=1,
        warnings=(),
        name="",
        sha256="",
    )


def without_pictures(
    fit_mended: BodyFit, depths_alone: SideDepths | None
) -> tuple[BodyFit, SideDepths | None, Pictures]:
    """The body by the photo alone."""
    return fit_mended, depths_alone, Pictures()


def shows_body(body: BodyModel, found: FittedPicture) -> bool:
    """Whether the fitted body lies where a further picture shows somebody."""
    picture = found.picture
    matte = cv2.resize(picture.alpha, (_OUTLINE_SIZE,) * 2, interpolation=cv2.INTER_AREA) > 0.5
    drawn = _drawn(body, found.fit, picture.rgb.shape[0])[0] & picture.inside_at(_OUTLINE_SIZE)
    error = found.fit.landmark_error / found.fit.person_size
    return float((matte & drawn).sum() / max(drawn.sum(), 1)) > _COVERED and error < _FAR


def without_depth(fit_alone: BodyFit) -> tuple[BodyFit, None]:
    """The body as it is."""
    return fit_alone, None


def estimate_light(fit: BodyFit, photo: PreparedPhoto, chosen: Chosen) -> PhotoLight:
    """The light in the photo."""
    assert chosen.light is not None
    return chosen.light.estimate(fit, photo)


def without_light() -> None:
    """No light is known."""


def shape_clothes(
    fit: BodyFit, photo: PreparedPhoto, depths: SideDepths | None, pictures: Pictures, surface: SurfaceReconstructor,
    options: ReconstructOptions, report: Reporter,
) -> Shaped:  # fmt: skip
    """The clothed surface, and splats without colours on it."""
    return surface.shape(fit, photo, depths, partial(report.step, "surface"), pictures.used, options.lower)


def bind_splats(shaped: Shaped, triangles: KnownTriangles) -> Bound:
    """The splats in the rest pose, bound to the body; they have no colours yet."""
    return bind(shaped.coloured(), triangles)


def find_local(shaped: Shaped, surface: SurfaceReconstructor) -> np.ndarray:
    """Places of what does not go on elsewhere."""
    return surface.local(shaped)


@torch.no_grad()
def imagine_sides(
    fit: BodyFit, photo: PreparedPhoto, local: np.ndarray, chosen: Chosen, options: ReconstructOptions, report: Reporter
) -> ViewedPerson:
    """The other sides as the synthesizer imagines them and the transformer reads them.

    Args:
        fit, photo: of the stages before.
        local: [n, 3] places of what does not go on elsewhere.
        chosen: the networks.
        options: whose seed it is.
        report: asked whether to stop.
    """
    networks, synthesizer = chosen.networks, chosen.synthesizer
    assert networks is not None and synthesizer is not None
    orbit = networks.orbit(fit, photo)
    rgb, alpha = orbit.small_photo()
    views = synthesizer.synthesize(
        orbit.codec.encode(rgb), rgb, alpha, orbit.cameras, orbit.vertices, orbit.codec.decode_rgba,
        seed=options.seed, step=lambda fraction, text: report.check(), local=orbit.marked(local),
    )  # fmt: skip
    return networks.viewed(orbit, networks.read(orbit, views))


def without_views() -> None:
    """Nobody imagines other sides."""


def pose_colours(
    shaped: Shaped, light: PhotoLight | None, options: ReconstructOptions, surface: SurfaceReconstructor
) -> Posed:
    """What is asked of the colours, as far as it needs no imagined sides."""
    return surface.pose(shaped, None if light is None else replace(light, share=options.shading))


def colour_splats(posed: Posed, viewed: ViewedPerson | None, surface: SurfaceReconstructor) -> Reconstruction:
    """The splats with their colours."""
    return surface.colour(posed, viewed)


def make_avatar(
    coloured: Reconstruction, bound: Bound, body: BodyModel, fit: BodyFit, photo: PreparedPhoto, pictures: Pictures,
    chosen: Chosen, options: ReconstructOptions, notes: tuple[str, ...],
) -> Avatar:  # fmt: skip
    """The avatar, with all that is to be said of it."""
    used = options if chosen.networks is not None else replace(options, preset="surface")
    gaussians, skin, references = bound
    gaussians = replace(gaussians, sh_dc=sh_from_rgb(coloured.rgb).astype(np.float32))
    skin = replace(skin, seen=coloured.seen.astype(skin.seen.dtype))
    avatar = assemble_avatar(body, photo, coloured, used, (gaussians, skin, references))
    warnings = (*notes, *photo.warnings, *_misfit(body, fit, photo), *pictures.warnings, *chosen.warnings)
    generator = avatar.generator | {"weights": list(chosen.described)}
    if chosen.source is not None:
        generator["sides"] = options.source
    return replace(avatar, generator=generator, warnings=warnings)


def draw_preview(avatar: Avatar, photo: PreparedPhoto, device: torch.device) -> bytes:
    """The photo beside the avatar as a PNG file."""
    return png_bytes(render_preview(avatar, photo, device))


def write_avatar(
    avatar: Avatar, output: Path, packed: bytes, preview: Callable[[], bytes], seconds: dict[str, float]
) -> Avatar:
    """Write the package; the avatar as written. ``preview`` is asked late: larger files are written meanwhile."""
    avatar = replace(avatar, seconds={name: value for name, value in seconds.items() if value})
    write_package(avatar, output, packed, preview)
    return avatar


def _misfit(body: BodyModel, fit: BodyFit, photo: PreparedPhoto) -> tuple[str, ...]:
    """What is to be said of a body that lies far from the photo's outline, and of what hangs before it."""
    drawn, legs = _drawn(body, fit, photo.rgb.shape[0])
    matte = cv2.resize(photo.alpha, drawn.shape, interpolation=cv2.INTER_AREA)
    said = (disagreement(matte, drawn, photo.inside_at(len(drawn))), hangs_before_legs(matte, drawn, legs))
    return tuple(filter(None, said))


def _drawn(body: BodyModel, fit: BodyFit, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the fitted body is in a picture of ``side`` pixels, bool [S, S] at :data:`_OUTLINE_SIZE`, and the pixels
    [2, 3, 2] there of its legs' joints."""
    with torch.no_grad():
        vertices, joints = (x.numpy() for x in posed_body(body, fit))
    size = _OUTLINE_SIZE
    focal = fit.focal * size / side
    hits = rasterize_mesh(vertices, body.faces.numpy(), focal, (size, size))
    legs = joints[_LEGS]
    return hits.face >= 0, legs[..., :2] / legs[..., 2:] * focal + size / 2
