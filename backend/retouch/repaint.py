"""Retouched pictures of an avatar taken over: colours of the splats that are seen where a picture was changed."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..assemble import png_bytes, render_as_photographed
from ..avatar import Avatar, Gaussians, pose_gaussians, sh_from_rgb
from ..avatar.package import INPUT_FILE, PREVIEW_FILE
from ..avatar.plain_files import read_plain
from ..errors import BackendError, Cancelled
from ..options import shown
from ..output import check_output, write_package
from ..posing import read_avatar
from ..prepare.image import load_photo
from ..progress import CancelCheck
from ..rendering import CameraTensors, Contributions, GaussianTensors, contributions
from ..rendering.colour_fit import blend_of, fit_colours, together
from ..rendering.projection import project
from . import VIEWS
from .compare import Retouch, check_shape, find_retouch, is_lossy
from .views import VIEWS_FOLDER, SavedViews, View, geometry_digest, read_views

_PICTURE_BYTES = 256 << 20
_MOST_KEPT = 100
"""Pictures that ``avatar.json`` names, the newest."""

Report = Callable[[float, str], None]
"""Hears the share that is done, in 0..1, and what is being done."""


@dataclass(frozen=True)
class RepaintConfig:
    """Which splats change, and how their colours are sought.

    Attributes:
        inside: share of what a view shows of a splat that must lie where the picture was retouched. From a half on thin
            strokes would find no splat; with less, colours beside the retouch swing.
        trace: share of a splat's light up to which it only shines through what lies before it.
        layer: metres that a splat may lie behind what its pixels show: cloth and what is seen through it; arms, hands
            and trunks are thicker, and their other side stays.
        steps: iterations; more change nothing on a disc and on a line of 3 pixels.
        damping: pixels, so that splats of which hardly anything is seen do not swing.
        most: share of the person from which on the picture is said to be another one.
    """

    inside: float = 0.25
    trace: float = 0.05
    layer: float = 0.03
    steps: int = 40
    damping: float = 0.02
    most: float = 0.6


REPAINT = RepaintConfig()


@dataclass(frozen=True)
class RetouchedPicture:
    """A retouched view: its file, and which of :data:`VIEWS` it shows; empty: as the file's name says."""

    path: Path
    view: str = ""


@dataclass(frozen=True)
class RepaintResult:
    """What was written.

    Attributes:
        package: folder of the avatar package.
        views: names of the pictures' views, and which share of the person each changes.
        splats: how many have another colour.
        notes: sentences for the user.
        seconds: it took.
    """

    package: Path
    views: dict[str, float]
    splats: int
    notes: tuple[str, ...]
    seconds: float


def repaint(
    package: Path,
    pictures: Sequence[RetouchedPicture],
    output: Path | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> RepaintResult:
    """Write an avatar package whose avatar looks as retouched pictures of its views do.

    Only colours change: what the splats are, where they hang and the pose stay as they are.

    Args:
        package: folder of the avatar package whose views were saved.
        pictures: at most one of each view.
        output: folder to write; None replaces ``package``.
        report, cancelled: progress, and whether to stop.

    Raises:
        BackendError: kinds ``arguments``, ``package_unreadable``, ``views_missing``, ``views_unreadable``,
            ``view_unknown``, ``image_unreadable``, ``picture_size``, ``nothing_changed``, ``output_not_writable``,
            ``disk_full``, ``cancelled``.
    """
    started = time.perf_counter()
    output = package if output is None else output

    def tell(share: float, text: str) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled()
        if report is not None:
            report(share, text)

    if not pictures:
        raise BackendError("arguments", "No picture is given.", "Give at least one retouched view.")
    check_output(output)
    tell(0.0, "Reading the avatar")
    avatar = read_avatar(package)
    chosen = _match(avatar, package, pictures)
    posed = pose_gaussians(avatar, avatar.pose, avatar.translation)
    seen, sums = [], {}
    for number, (picture, view) in enumerate(chosen):
        tell(0.1 + 0.4 * number / len(chosen), f"Comparing {view.name}")
        looked = _look(posed, view.world_to_camera(avatar), view)
        retouch, sums[view.name] = _compare(picture.path, view, looked)
        if retouch.mask.any():
            seen.append((view, looked, retouch))
    if not seen:
        names = " and ".join(shown(picture.path.name, 60) for picture, _ in chosen)
        verb = "shows" if len(chosen) == 1 else "show"
        raise BackendError(
            "nothing_changed",
            f"{names} {verb} nothing that the avatar does not show already.",
            "Retouch the colours of the person and try again.",
        )
    tell(0.5, "Painting the splats")
    repainted = repaint_splats(posed, [(looked, retouch) for _, looked, retouch in seen])
    changed = np.flatnonzero((repainted != posed.rgb).any(1))
    if not len(changed):
        raise BackendError(
            "nothing_changed",
            "What was retouched is too thin to be seen on the avatar.",
            "Paint larger places and try again.",
        )
    sh_dc = avatar.gaussians.sh_dc.copy()
    sh_dc[changed] = sh_from_rgb(repainted[changed]).astype(sh_dc.dtype)
    tell(0.8, "Writing the avatar")
    views = {view.name: retouch.share for view, _, retouch in seen}
    made = replace(
        avatar,
        gaussians=replace(avatar.gaussians, sh_dc=sh_dc),
        source=avatar.source | {"repainted": _repainted(avatar, [(v.name, sums[v.name]) for v, _, _ in seen])},
    )
    write_package(made, output, *_pictures_of(package, made))
    notes = _notes(views, [view.name for _, view in chosen if view.name not in views])
    return RepaintResult(output, views, len(changed), notes, time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class Look:
    """What a view of S pixels a side shows of n splats.

    Attributes:
        seen: contributions of the splats to its pixels.
        rgb: float32 [S, S, 3], straight colours.
        alpha: float32 [S, S].
        free: bool [n], splats of which enough is seen, in the layer that is seen.
        total: float32 [n], pixels that each splat fills.
    """

    seen: Contributions
    rgb: np.ndarray
    alpha: np.ndarray
    free: np.ndarray
    total: np.ndarray


def _look(posed: Gaussians, world_to_camera: np.ndarray, view: View, config: RepaintConfig = REPAINT) -> Look:
    size = view.size
    half = size / 2
    camera = CameraTensors(
        torch.as_tensor(world_to_camera, dtype=torch.float32),
        torch.tensor([view.focal, view.focal, half, half]),
        size,
        size,
    )
    # On the processor, as the views are drawn: another renderer's rounding would count as retouches.
    splats = GaussianTensors.from_gaussians(posed)
    seen = contributions(splats, camera)
    ellipses = project(splats, camera)
    depth, whole = torch.zeros(len(splats)), torch.zeros(len(splats))
    depth[ellipses.index] = ellipses.depth
    whole[ellipses.index] = 2 * np.pi * torch.sqrt(ellipses.var_x * ellipses.var_y)
    whole *= splats.opacity
    blended = seen.render(torch.cat([splats.color, depth[:, None], torch.ones_like(depth)[:, None]], 1))
    alpha = blended[:, 4:]
    straight = blended[:, :4] / alpha.clamp(min=1e-6)
    gathered = seen.gather(torch.cat([straight[:, 3:], torch.ones_like(alpha)], 1))
    total = gathered[:, 1]
    behind = depth - gathered[:, 0] / total.clamp(min=1e-9)
    free = (total > config.trace * whole) & (behind < config.layer)
    return Look(
        seen,
        straight[:, :3].reshape(size, size, 3).numpy(),
        alpha.reshape(size, size).numpy(),
        free.numpy(),
        total.numpy(),
    )


def repaint_splats(
    posed: Gaussians, pictures: Sequence[tuple[Look, Retouch]], config: RepaintConfig = REPAINT
) -> np.ndarray:
    """Colours [n, 3] of the splats, those that no retouch reaches exactly as they were.

    Least squares over all pixels that the free splats reach: retouched ones shall have the wanted colours, those beside
    them the colours that they have.

    Args:
        posed: n splats.
        pictures: what each view shows, and how it was retouched.
        config: bounds.
    """
    start = torch.as_tensor(posed.rgb.clip(0), dtype=torch.float32)
    free = torch.zeros(len(start), dtype=torch.bool)
    blends, wanted, total = [], [], torch.zeros(len(start), 1)
    for looked, retouch in pictures:
        seen = looked.seen
        mask = torch.as_tensor(retouch.mask.reshape(-1))
        inside = seen.gather(mask[:, None].float())[:, 0]
        ours = torch.as_tensor(looked.free) & (inside > config.inside * torch.as_tensor(looked.total))
        rows = torch.zeros(seen.pixel_count, dtype=torch.bool)
        rows[seen.pixel[ours[seen.splat]]] = True
        free |= ours
        colours = np.where(retouch.mask[..., None], retouch.rgb, looked.rgb).reshape(-1, 3)
        alpha = torch.as_tensor(looked.alpha).reshape(-1, 1)
        wanted.append((torch.as_tensor(colours, dtype=torch.float32) * alpha)[rows])
        blends.append((blend_of(seen, rows), int(rows.sum())))
        total += torch.as_tensor(looked.total)[:, None]
    slack = free[:, None].float()
    limits = (torch.where(free[:, None], (start - slack).clamp(0, 1), start), torch.maximum(start, slack))
    found = fit_colours(together(blends), torch.cat(wanted), start, limits, total + config.damping, config.steps)
    return np.where(free.numpy()[:, None], found.numpy(), posed.rgb).astype(posed.rgb.dtype)


def _match(
    avatar: Avatar, package: Path, pictures: Sequence[RetouchedPicture]
) -> list[tuple[RetouchedPicture, View]]:
    """Each picture with its view, of the views saved beside it, else in the package.

    Raises:
        BackendError: kinds ``view_unknown``, ``views_missing``, ``views_unreadable``, ``arguments``.
    """
    geometry = geometry_digest(avatar)
    chosen: list[tuple[RetouchedPicture, View]] = []
    for picture in pictures:
        name = picture.view or _named(picture.path)
        if any(view.name == name for _, view in chosen):
            raise BackendError("arguments", f"There are two pictures of the view {name}.", "Give one of each view.")
        chosen.append((picture, _saved(picture.path, package, geometry, name)))
    return chosen


def _named(path: Path) -> str:
    """The view that a file's name names: ``back.png``, ``back (2).jpg``, ``anna_back_final.png``."""
    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word in VIEWS]
    if len(set(words)) != 1:
        raise BackendError(
            "view_unknown",
            f"The name of {shown(path.name, 120)} does not say which view it is.",
            f"Have one of {', '.join(VIEWS)} in the file's name, or name the view.",
        )
    return words[0]


def _saved(picture: Path, package: Path, geometry: str, name: str) -> View:
    found: list[SavedViews] = []
    for folder in dict.fromkeys((picture.parent, package / VIEWS_FOLDER)):
        saved = read_views(folder)
        if saved is not None:
            found.append(saved)
    ours = [saved for saved in found if saved.geometry == geometry]
    if not ours:
        of_another = "are of another avatar" if found else "were not saved"
        raise BackendError(
            "views_missing",
            f"The views of this avatar {of_another}.",
            "Save its views and retouch those; keep views.json beside them, or have them in the package.",
        )
    if name not in ours[0].views:
        raise BackendError("view_unknown", f"There is no view {shown(name, 40)}.", f"Choose one of {', '.join(VIEWS)}.")
    return ours[0].views[name]


def _compare(path: Path, view: View, looked: Look) -> tuple[Retouch, str]:
    """What was painted on a view, and the SHA-256 of the picture's file."""
    photo = load_photo(path)
    check_shape(photo, view.size)
    if photo.sha256 == view.sha256:  # as it was saved, whatever became of the avatar since
        return Retouch(np.zeros(looked.alpha.shape, bool), looked.rgb, 0.0), photo.sha256
    return find_retouch(looked.rgb, looked.alpha, photo, is_lossy(path)), photo.sha256


def _repainted(avatar: Avatar, added: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    before = avatar.source.get("repainted", [])
    kept = before if isinstance(before, list) else []
    return [*kept, *({"view": view, "sha256": digest} for view, digest in added)][-_MOST_KEPT:]


def _pictures_of(package: Path, avatar: Avatar) -> tuple[bytes | None, bytes | None]:
    """The package's photo as it is, and its preview with the avatar drawn anew; None where there is none."""
    found = []
    for name in (INPUT_FILE, PREVIEW_FILE):
        try:
            found.append(read_plain(package / name, _PICTURE_BYTES))
        except FileNotFoundError:
            found.append(None)
        except (OSError, ValueError) as error:
            raise BackendError(
                "package_unreadable", f"{name} of the avatar cannot be read.", "Delete that file and try again."
            ) from error
    photo, preview = found
    if preview is None:
        return photo, None
    ours = render_as_photographed(avatar, torch.device("cpu"))
    try:
        with Image.open(io.BytesIO(preview)) as image:
            both = np.array(image.convert("RGB")) if image.size == (2 * len(ours), len(ours)) else None
    except (OSError, ValueError, SyntaxError):
        both = None
    if both is None:  # damaged, or made by something else
        return photo, preview
    both[:, len(ours) :] = ours
    return photo, png_bytes(both)


def _notes(views: dict[str, float], same: Sequence[str], config: RepaintConfig = REPAINT) -> tuple[str, ...]:
    said = [
        f"The picture of the view {name} shows other colours on {share:.0%} of the person: it may be of another avatar "
        "or of another view."
        for name, share in views.items()
        if share > config.most
    ]
    said += [f"The picture of the view {name} was not retouched." for name in same]
    return tuple(said)
