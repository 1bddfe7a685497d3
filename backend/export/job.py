"""An avatar written out for a target, in one folder that is there whole or not at all."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..avatar import Avatar, Gaussians, Motion, pose_gaussians
from ..avatar.formats.atomic import whole_folder
from ..avatar.formats.axes import AXES, Axes, find_axes, turn_splats
from ..avatar.formats.cloud import clean, splat_cloud
from ..avatar.formats.compressed_ply import write_compressed_ply
from ..avatar.formats.gltf_mesh import mesh_glb, mesh_vrm
from ..avatar.formats.gltf_splats import splats_glb
from ..avatar.formats.merge import merge_splats
from ..avatar.formats.sidecar import file_hash, write_sidecar
from ..avatar.formats.skeletons import Rig, find_skeleton, fit_rig
from ..avatar.formats.skinned_ply import write_skinned_ply
from ..avatar.formats.splat_file import write_splat
from ..avatar.formats.spz import write_spz, zstd_library
from ..avatar.formats.table import FORMATS
from ..avatar.formats.types import BoneClip, ExportError, Provenance, SplatCloud, TexturedMesh
from ..avatar.motion_tools import in_place
from ..avatar.skinning import standing_translation
from ..errors import Cancelled
from .targets import TARGETS, Target

if TYPE_CHECKING:  # with it comes PyTorch, which Blender's own Python has not
    from .looks import Look

INDEX_NAME = "export.json"
README_NAME = "README.txt"
TRIANGLES = (60_000, 20_000, 8_000)
TEXTURES = (1024, 2048, 4096)
PAGE_BUDGET = 50_000
"""Splats of the web page where no budget is given: telephones draw so many."""
_MESH_SHARE = 0.8  # of the time, where there is a mesh
_PLAIN = "Colours of merged splats were not fitted, which makes them somewhat softer: that takes the installed backend."
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class ExportOptions:
    """How an avatar leaves.

    Attributes:
        target: a key of ``targets.TARGETS``.
        name: of files and objects; the folder's where empty.
        skeleton: a key of ``skeletons.SKELETONS``; the target's where empty.
        formats: of splats, keys of ``table.FORMATS``; the target's where None.
        triangles: of the mesh.
        texture: pixels a side.
        budget: splats at most; all where 0 (a web page has ``PAGE_BUDGET`` then).
        lit: whether the engine's lamps shade the mesh.
        in_place: whether clips lose the way that they go from their first frame to their last.
        offline: whether downloads are forbidden.
    """

    target: str
    name: str = ""
    skeleton: str = ""
    formats: tuple[str, ...] | None = None
    triangles: int = 60_000
    texture: int = 2048
    budget: int = 0
    lit: bool = False
    in_place: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        """Raise ExportError for what is not known."""
        if self.target not in TARGETS:
            raise ExportError(f"There is no target {self.target!r}; choose one of {', '.join(TARGETS)}.")
        if self.skeleton:
            find_skeleton(self.skeleton)
        unknown = [name for name in self.formats or () if name not in FORMATS]
        if unknown:
            raise ExportError(f"There is no format {unknown[0]!r}; choose from {', '.join(FORMATS)}.")
        if not 500 <= self.triangles <= 500_000:
            raise ExportError("The mesh can have 500 to 500,000 triangles; 60,000, 20,000 and 8,000 are usual.")
        if self.texture not in TEXTURES:
            raise ExportError(f"The texture cannot have so many pixels a side; choose {', '.join(map(str, TEXTURES))}.")
        if self.budget and self.budget < 100:
            raise ExportError("A person cannot be shown with fewer than 100 splats; choose a larger budget.")


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        folder: the export.
        files: relative paths, with slashes.
        notes: sentences about what was left out or lost.
        seconds: it took.
    """

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


Report = Callable[[float, str], None]


@dataclass
class _Work:
    """One export under way: what its files are made of, made when first asked for."""

    avatar: Avatar
    options: ExportOptions
    motions: Sequence[Motion]
    pose: tuple[np.ndarray, np.ndarray] | None
    report: Report
    cancelled: Callable[[], bool]
    name: str
    notes: list[str] = field(default_factory=list)
    drawn: list[Look] | None = None

    @cached_property
    def target(self) -> Target:
        return TARGETS[self.options.target]

    @cached_property
    def axes(self) -> Axes:
        return find_axes(self.target.axes)

    @cached_property
    def rig(self) -> Rig:
        return fit_rig(self.avatar, self.options.skeleton or self.target.skeleton)

    @cached_property
    def clips(self) -> list[BoneClip]:
        names: set[str] = set()
        clips = []
        for motion in self.motions:
            name, number = motion.name, 1
            while name in names:
                number += 1
                name = f"{motion.name} {number}"
            names.add(name)
            kept = in_place(motion) if self.options.in_place else motion
            clips.append(replace(self.rig.clip(kept), name=name))
        return clips

    @cached_property
    def provenance(self) -> Provenance:
        avatar = self.avatar
        parts = [avatar.body_model, *avatar.generator.get("weights", ())]
        licences = dict.fromkeys(str(part.get("licence", "unknown")) for part in parts if isinstance(part, dict))
        return Provenance(
            self.name,
            f"HumanSplat {__version__}",
            f"Body model and weights: {', '.join(licences)}",
            str(avatar.source.get("name", "")),
        )

    @cached_property
    def whole(self) -> SplatCloud:
        """All splats at rest, on SMPL's joints."""
        cloud, dropped = clean(splat_cloud(self.avatar))
        if dropped:
            self.notes.append(f"{dropped} splats without size or with damaged numbers were left out.")
        return cloud

    def cloud(self, budget: int) -> SplatCloud:
        """Splats at rest on the rig, no more than ``budget`` (0: all)."""
        return self.rig.cloud(self._merged(self.whole, budget, posed=False))

    @cached_property
    def splats(self) -> SplatCloud:
        return self.cloud(self.options.budget)

    @cached_property
    def shown(self) -> Gaussians:
        """What formats without bones hold: the rest pose, or the pose asked for."""
        if self.pose is None:
            return self.splats.gaussians
        posed = pose_gaussians(self.avatar, *self.pose)
        cloud = replace(splat_cloud(self.avatar), gaussians=posed)
        cloud, _ = clean(cloud)
        return self._merged(cloud, self.options.budget, posed=True).gaussians

    def _merged(self, cloud: SplatCloud, budget: int, posed: bool) -> SplatCloud:
        """No more than ``budget`` splats (0: all) that look like the cloud's, which are all of the avatar's, posed or
        standing at rest."""
        if not budget or len(cloud) <= budget:
            return cloud
        self.step(0.05, f"Merging {len(cloud)} splats into {budget}")
        merged = merge_splats(cloud, budget)
        try:
            from .looks import sides
            from .recolour import recolour
        except ImportError:
            self.notes.append(_PLAIN)
            return merged

        def step(share: float) -> None:
            self.step(0.05, f"Drawing {len(cloud)} splats, for the colours of {budget}")

        if posed:
            return recolour(merged, sides(cloud.gaussians, step))
        return recolour(merged, self._looks(self.avatar, step), standing_translation(self.avatar))

    def _looks(self, avatar: Avatar, step: Callable[[float], None]) -> list[Look]:
        """The avatar's looks, drawn once for mesh and splats."""
        from .looks import looks

        self.drawn = self.drawn or looks(avatar, step)
        return self.drawn

    @cached_property
    def mesh(self) -> TexturedMesh:
        from .mesh import textured_mesh

        self.step(0.0, "Making the mesh")
        mesh = textured_mesh(
            self.avatar,
            self.options.triangles,
            self.options.texture,
            progress=lambda share: self.report(_MESH_SHARE * share, "Making the mesh"),
            cancelled=self.cancelled,
            look=self._looks,
        )
        return self.rig.mesh(mesh)

    def step(self, share: float, what: str) -> None:
        if self.cancelled():
            raise Cancelled()
        self.report(share, what)


def export_avatar(
    avatar: Avatar,
    folder: str | Path,
    options: ExportOptions,
    motions: Sequence[Motion] = (),
    pose: tuple[np.ndarray, np.ndarray] | None = None,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ExportResult:
    """Write an avatar for a target into one folder.

    Args:
        avatar: what leaves.
        folder: to make; an earlier export there is replaced.
        options: how.
        motions: become clips of the mesh and of skinned splats.
        pose: (pose [24, 3] axis-angle, translation [3] metres) of splat files that have no bones; they have the rest
            pose where None. With it splats that have bones, and the sidecar, stay at rest.
        report: told the share 0..1 done and what is done.
        cancelled: polled; once true nothing is left behind.

    Raises:
        ExportError: it cannot be done; one sentence.
        Cancelled: ``cancelled`` said so.
    """
    started = time.perf_counter()
    folder = Path(folder).absolute()
    work = _Work(
        avatar,
        options,
        motions,
        pose,
        report or (lambda _share, _what: None),
        cancelled or (lambda: False),
        safe_name(options.name or folder.name),
    )
    with whole_folder(folder, INDEX_NAME) as staging:
        kept = _write(work, staging)
        work.step(0.98, "Finishing")
        _write_index(work, staging, kept)
        files = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        work.step(1.0, "Done")
    return ExportResult(folder, tuple(files), tuple(work.notes), time.perf_counter() - started)


def expected_losses(options: ExportOptions) -> list[str]:
    """What the formats of an export lose, a sentence each, to be said before it is written."""
    chosen = TARGETS[options.target].splats if options.formats is None else options.formats
    said = [f"{FORMATS[name].label} does not keep {FORMATS[name].loses}." for name in chosen if FORMATS[name].loses]
    if TARGETS[options.target].extra == "web" and not options.budget:
        said.append(f"The web page has {PAGE_BUDGET:,} splats, merged from all, so that telephones can draw it.")
    return said


def safe_name(name: str) -> str:
    """A file name on every system; letters of all languages and spaces stay."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", name).strip(" .")
    name = name.encode("utf-8")[:80].decode("utf-8", "ignore").strip(" .") or "avatar"
    return f"{name}_" if name.split(".")[0].lower() in _RESERVED else name


def _write(work: _Work, folder: Path) -> dict[str, dict[str, Any]]:
    """Write all files but the index; what is to be said of each, by its path."""
    target, name, kept = work.target, work.name, {}
    glb = b""
    if "glb" in target.mesh:
        glb = mesh_glb(work.mesh, work.rig.skeleton, work.clips, work.provenance, work.options.lit)
    if glb and target.extra != "godot":
        (folder / f"{name}.glb").write_bytes(glb)
        kept[f"{name}.glb"] = {"format": "mesh", "keeps": "mesh, texture, skeleton, clips"}
    if "vrm" in target.mesh:
        vrm = mesh_vrm(work.mesh, work.rig.skeleton, work.rig.preset, work.provenance)
        (folder / f"{name}.vrm").write_bytes(vrm)
        kept[f"{name}.vrm"] = {"format": "vrm", "keeps": "mesh, texture, skeleton", "loses": "Clips."}
    formats = target.splats if work.options.formats is None else work.options.formats
    if target.extra == "web":
        _write_web(work, folder)
    elif target.extra == "godot":
        _write_godot(work, folder, glb)
    else:
        _write_splats(work, folder, formats, kept)
    return kept


def _write_splats(work: _Work, folder: Path, formats: Sequence[str], kept: dict[str, dict[str, Any]]) -> None:
    """Write splats in every format, and one sidecar for the first that keeps the order."""
    told = None
    for index, format_name in enumerate(formats):
        format_ = FORMATS[format_name]
        work.step(_MESH_SHARE + 0.15 * index / len(formats), f"Writing {format_.label}")
        stem = f"{work.name}_splats" if format_name == "glb" and work.target.mesh else work.name
        path = folder / f"{stem}{format_.suffix}"
        reason = _write_format(work, path, format_name)
        if reason:
            work.notes.append(f"{format_.label} was left out: {reason}")
            continue
        axes = "y-up" if format_name in ("glb", "usd") else work.axes.name
        kept[path.name] = {"format": format_name, "axes": AXES[axes].says, "loses": format_.loses}
        if format_.order and told is None and format_name not in ("glb", "usd") and work.pose is None:
            told = path
    if told is not None:
        write_sidecar(folder, told, work.splats, work.rig.skeleton, work.axes, work.provenance)


def _write_format(work: _Work, path: Path, name: str) -> str:
    """Write one file of splats; why it could not be, or an empty string."""
    if name == "glb":
        path.write_bytes(splats_glb(work.splats, work.rig.skeleton, work.clips, work.provenance))
        return ""
    if name == "sog":
        from .sog import write_sog

        return write_sog(path, turn_splats(work.shown, work.axes))
    if name == "usd":
        from .usd import write_usd

        return write_usd(path, work.splats, work.rig.skeleton, work.clips[:1], work.provenance)
    if name == "ply":
        bones = work.pose is None
        cloud = replace(work.splats, gaussians=work.shown) if bones else _boneless(work.shown)
        cloud = replace(cloud, gaussians=turn_splats(cloud.gaussians, work.axes))
        write_skinned_ply(path, cloud, work.target.harmonics, bones)
        return ""
    gaussians = turn_splats(work.shown, work.axes)
    if name == "spz4" and zstd_library() is None:
        return "it needs the Python package zstandard."
    if name in ("spz", "spz2", "spz4"):
        write_spz(path, gaussians, {"spz": 3, "spz2": 2, "spz4": 4}[name])
    elif name == "compressed":
        write_compressed_ply(path, gaussians)
    else:
        write_splat(path, gaussians)
    return ""


def _boneless(gaussians: Gaussians) -> SplatCloud:
    count = len(gaussians)
    weights = np.zeros((count, 4), np.float32)
    weights[:, 0] = 1
    return SplatCloud(gaussians, np.zeros((count, 4), np.uint8), weights)


def _write_web(work: _Work, folder: Path) -> None:
    from .web import write_single_page, write_web_folder

    cloud = work.cloud(work.options.budget or PAGE_BUDGET)
    work.step(0.4, "Writing the web page")
    glb = splats_glb(cloud, work.rig.skeleton, work.clips, work.provenance)
    licence, offline = work.provenance.licence, work.options.offline
    write_web_folder(folder / "web", glb, work.name, licence, offline)
    work.step(0.7, "Writing the page in one file")
    write_single_page(folder / f"{work.name}.html", glb, work.name, licence, offline)


def _write_godot(work: _Work, folder: Path, mesh: bytes) -> None:
    from .godot import write_godot_project

    work.step(_MESH_SHARE, "Writing the Godot project")
    write_godot_project(folder, work.name, mesh, work.splats, work.rig.skeleton, work.clips, work.provenance)


def _write_index(work: _Work, folder: Path, kept: dict[str, dict[str, Any]]) -> None:
    """``export.json``, which says what everything is and marks the folder as ours, and the steps for people."""
    provenance, options = work.provenance, work.options
    text = [work.name, "", f"Exported for {work.target.label} by {provenance.generator}.", ""]
    text += [f"{number}. {step}" for number, step in enumerate(work.target.clicks, 1)]
    text += ["", *work.notes, *([""] if work.notes else []), provenance.licence]
    if provenance.source:
        text.append(f"Made from {provenance.source}.")
    (folder / README_NAME).write_text("\n".join(text).replace("NAME", work.name) + "\n", "utf-8")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != INDEX_NAME:
            kept.setdefault(path.name, {})["sha256"] = file_hash(path)
    index = {
        "format": "humansplat-export",
        "version": 1,
        "name": work.name,
        "target": options.target,
        "skeleton": work.rig.preset.name,
        "rest_pose": work.rig.preset.rest,
        "clips": [{"name": clip.name, "fps": clip.fps, "frames": len(clip)} for clip in work.clips],
        "generator": provenance.generator,
        "licence": provenance.licence,
        "source": provenance.source,
        "notes": work.notes,
        "files": kept,
    }
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", "utf-8")
