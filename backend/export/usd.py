"""OpenUSD ``ParticleField3DGaussianSplat`` (26.03 on), a clip as time samples, where ``usd-core`` is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..avatar.formats.atomic import whole_file
from ..avatar.formats.cloud import pose_cloud
from ..avatar.formats.read import read_splats
from ..avatar.formats.skeletons import skinning_transforms
from ..avatar.formats.types import BoneClip, ExportError, Provenance, Skeleton, SplatCloud
from ..avatar.gaussians import Gaussians
from ..avatar.plain_files import brief, read_plain
from ..errors import Cancelled

SCHEMA = "ParticleField3DGaussianSplat"
_MOST_BYTES = 64 << 20  # of a sequence's description; a frame takes some hundred
_SUFFIXES = (".usdc", ".usda", ".usd")
_LAST_FRAME = 1_048_574  # Blender's


def load_usd() -> Any:
    """The module ``pxr`` where it is installed and knows splats; None otherwise."""
    try:
        import pxr
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdVol, Vt  # noqa: F401  (submodules that are used by name)
    except ImportError:
        return None
    return pxr if hasattr(UsdVol, SCHEMA) else None


def write_usd(
    path: Path, cloud: SplatCloud, skeleton: Skeleton, clips: Sequence[BoneClip], provenance: Provenance
) -> str:
    """Write splats at rest, or posed in every frame of the first clip; why that could not be, or an empty string.

    Raises:
        ExportError: USD refused the file.
    """
    if load_usd() is None:
        return "it needs the Python package usd-core 26.3 or later."
    if not clips:
        write_usd_frames(path, [cloud.gaussians], 0, 24.0, provenance)
        return ""
    clip = clips[0]

    def frames() -> Iterator[Gaussians]:
        for frame in range(len(clip)):
            yield pose_cloud(cloud, skinning_transforms(skeleton, clip, frame))

    write_usd_frames(path, frames(), 0, clip.fps, provenance)
    return ""


def write_usd_frames(
    path: Path, frames: Sequence[Gaussians] | Iterator[Gaussians], first: int, fps: float, provenance: Provenance
) -> None:
    """Write splats frame by frame; colours and opacities are those of the first.

    Args:
        path: ``.usd``, ``.usda`` or ``.usdc``.
        frames: N splats each, y up, metres.
        first: number of the first frame.
        fps: frames a second.
        provenance: said in the layer.

    Raises:
        ExportError: ``usd-core`` is missing or refused the file.
    """
    pxr = load_usd()
    if pxr is None:
        raise ExportError("USD needs the Python package usd-core 26.3 or later; install it or choose PLY.")
    gf, usd, geom, vt = pxr.Gf, pxr.Usd, pxr.UsdGeom, pxr.Vt
    stage = usd.Stage.CreateInMemory()
    geom.SetStageUpAxis(stage, geom.Tokens.y)
    geom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    splats = getattr(pxr.UsdVol, SCHEMA).Define(stage, "/Avatar")
    stage.SetDefaultPrim(splats.GetPrim())
    stage.GetRootLayer().documentation = f"{provenance.name}, {provenance.generator}. {provenance.licence}"
    splats.GetPrim().SetDisplayName(provenance.name)
    splats.GetPrim().SetCustomDataByKey("source", provenance.source)
    last = first
    for number, g in enumerate(frames, first):
        code = usd.TimeCode(number)
        if number == first:
            splats.CreateOpacitiesAttr().Set(vt.FloatArray.FromNumpy(np.ascontiguousarray(g.opacity, np.float32)))
            splats.CreateRadianceSphericalHarmonicsDegreeAttr().Set(0)
            colours = vt.Vec3fArray.FromNumpy(np.ascontiguousarray(g.sh_dc, np.float32))
            splats.CreateRadianceSphericalHarmonicsCoefficientsAttr().Set(colours)
        splats.CreatePositionsAttr().Set(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(g.position, np.float32)), code)
        # Gf keeps quaternions as x, y, z, w in memory.
        turns = np.ascontiguousarray(g.rotation[:, [1, 2, 3, 0]], np.float32)
        splats.CreateOrientationsAttr().Set(vt.QuatfArray.FromNumpy(turns), code)
        splats.CreateScalesAttr().Set(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(g.scale, np.float32)), code)
        reach = 3 * g.scale.max()
        low, high = g.position.min(0) - reach, g.position.max(0) + reach
        extent = vt.Vec3fArray([gf.Vec3f(*map(float, low)), gf.Vec3f(*map(float, high))])
        splats.CreateExtentAttr().Set(extent, code)
        last = number
    stage.SetStartTimeCode(first)
    stage.SetEndTimeCode(last)
    if not stage.GetRootLayer().Export(str(path)):
        raise ExportError(f"USD could not write {path.name}; choose another format.")


def sequence_to_usd(
    folder: Path, path: Path, report: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> int:
    """A baked sequence (``sequence.json`` and its files) as one USD file with time samples; the number of frames.

    Args:
        folder: of the sequence.
        path: ``.usd``, ``.usda`` or ``.usdc``; there whole or not at all.
        report: told the share 0..1 done and what is done.
        cancelled: polled before every frame.

    Raises:
        ExportError: the folder holds no sequence that can be used, ``usd-core`` is missing, the file cannot be written.
        Cancelled: ``cancelled`` said so.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ExportError(f"{brief(path.name, 80)} is no name of a USD file; let it end in .usdc, .usda or .usd")
    try:
        about = json.loads(read_plain(folder / "sequence.json", _MOST_BYTES).decode("utf-8"))
        entries = sorted(about["frames"], key=lambda entry: entry["frame"])
        files = [(int(entry["frame"]), folder / Path(entry["file"]).name) for entry in entries]
        fps, name = float(about["fps"]), str(about["avatar"])
        upright = str(about["axes"]).startswith(("x to the person's left, y up", "x as Blender's x"))
        if not 0 < fps <= 1000:  # nor what is no number
            raise ValueError("its frame rate is no number between 0 and 1000")
        if any(abs(number) > _LAST_FRAME for number, _ in files):
            raise ValueError("its frames have numbers that Blender does not have")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = brief(getattr(error, "strerror", None) or error)
        raise ExportError(f"{folder} holds no baked sequence ({why}); bake one with PLY or SPZ files first") from error
    if not files:
        raise ExportError(f"{folder} holds a sequence without frames; bake it again")
    if not upright:
        raise ExportError("The sequence was baked for other axes; bake it with y up")
    steps = {later - sooner for (sooner, _), (later, _) in pairwise(files)}
    if 0 in steps:
        raise ExportError("The sequence lists a frame twice; bake it again")
    if len(steps) > 1:
        raise ExportError("The sequence lacks frames between the first and the last; bake it again with Resume")
    step = steps.pop() if steps else 1
    provenance = Provenance(
        name, str(about.get("generator", "")), str(about.get("licences", "")), str(about.get("source", ""))
    )

    def frames() -> Iterator[Gaussians]:
        count = None
        for index, (number, file) in enumerate(files):
            if cancelled():
                raise Cancelled()
            report(index / len(files), f"Frame {number}")
            try:
                gaussians = read_splats(file)
            except (OSError, ValueError) as error:
                raise ExportError(f"Frame {number} cannot be read ({error}); bake it again with Resume") from error
            if count is not None and len(gaussians) != count:
                raise ExportError(f"Frame {number} has other splats than the first; bake it without a moving crop box")
            count = len(gaussians)
            yield gaussians

    with whole_file(path) as temporary:
        # USD chooses the encoding by the suffix.
        named = temporary.with_name(f"{temporary.name}{path.suffix}")
        try:
            write_usd_frames(named, frames(), files[0][0], fps / step, provenance)
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)
    return len(files)
