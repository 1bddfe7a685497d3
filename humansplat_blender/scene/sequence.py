"""A frame range of an avatar as files of splats, one a frame, for programs that play them without an armature."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ...backend.avatar.formats.axes import AXES, turn_splats
from ...backend.avatar.formats.spz import write_spz
from ...backend.avatar.gaussians import Gaussians
from ...backend.avatar.ply import write_ply
from ...backend.avatar.whole import whole_file
from ..motion.action import animated_values_kept
from .bake import read_splats, readable
from .roles import ImportedAvatar

INDEX_NAME = "sequence.json"
INDEX_FORMAT = "humansplat-sequence"
INDEX_VERSION = 1
WRITERS: dict[str, Callable[[Path, Gaussians], None]] = {"ply": write_ply, "spz": write_spz}
"""File format, which is also the suffix -> what writes it."""

_INDEX_INTERVAL = 2.0  # seconds between two writes of the index; what a crash loses of it is baked again
_AVATAR_AXES = "x to the person's left, y up, z out of the chest"
_WORLD_AXES = "x as Blender's x, y up (Blender's z), z as Blender's -y"
_ORIGIN = {"generator": "humansplat_generator", "licences": "humansplat_licences", "source": "humansplat_source"}


class BakeError(ValueError):
    """A sequence that cannot be baked; the message is one sentence for the user."""


@dataclass(frozen=True)
class BakeOptions:
    """How a sequence is baked.

    Attributes:
        format: a key of :data:`WRITERS`.
        axes: what the files' numbers mean, a key of ``formats.axes.AXES``.
        world: apply the avatar's transform in the scene; otherwise splats are in avatar space, metres.
        resume: leave files alone that already hold the frame's splats.
        name: how the files begin; the armature's name where empty.
    """

    format: str = "ply"
    axes: str = "y-up"
    world: bool = False
    resume: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Raise BakeError for a format that is not known."""
        if self.format not in WRITERS:
            raise BakeError(f"Sequences are written as {', '.join(WRITERS)}, not {self.format!r}.")
        if self.axes not in AXES:
            raise BakeError(f"Axes are {', '.join(AXES)}; there are none called {self.axes!r}.")


class BakeJob:
    """Bakes one frame with each :meth:`step`, so that it can run from a timer.

    Files are ``NAME_0001.ply`` and so on, each written beside its place and moved there when it is whole.
    ``sequence.json`` says which frames there are, how fast they play, in which axes and units, and who made them.
    Between two steps the scene is at the frame, and the avatar in the pose, that it was in. The avatar is looked up at
    every step, so that undo and renaming do no harm.

    Args:
        context: with the avatar's scene.
        avatar: what to bake.
        frames: whole numbers of frames; sorted, each once.
        folder: made where it is missing.
        options: None for the defaults.

    Attributes:
        frames: to bake.
        written, skipped: how many files were written, and left alone.

    Raises:
        BakeError: nothing can be baked; nothing has been left behind.
    """

    def __init__(
        self,
        context: bpy.types.Context,
        avatar: ImportedAvatar,
        frames: Iterable[int],
        folder: str | Path,
        options: BakeOptions | None = None,
    ) -> None:
        self.frames = tuple(sorted({int(frame) for frame in frames}))
        self.options = options or BakeOptions()
        self.folder = Path(folder).absolute()
        self.written = self.skipped = 0
        if not self.frames:
            raise BakeError("There are no frames to bake: the last frame is before the first.")
        self._name = avatar.armature.name
        self._stem = bpy.path.clean_name(self.options.name or self._name)
        # Undo gives objects other places in memory and keeps these numbers.
        self._ids = tuple(obj.session_uid for obj in avatar.objects)
        self._scene = context.scene.session_uid
        self._seconds = 0.0
        self._closed = False
        self._header = self._describe(context.scene, avatar.armature)
        self._entries: dict[int, dict[str, Any]] = {}
        self._find(context)  # refuses what is hidden before anything is written
        self._made = _missing_folders(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{self._stem}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            self._leave_nothing()
            raise BakeError(f"The folder {self.folder} cannot be written: {error.strerror or error}.") from error
        self._known = self._read_index() if self.options.resume else {}
        self._indexed_at = -math.inf

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: all frames are baked, or the job was cancelled or has failed."""
        return self._closed

    @property
    def count(self) -> int:
        """Frames done so far."""
        return self.written + self.skipped

    @property
    def progress(self) -> float:
        """0..1."""
        return self.count / len(self.frames)

    @property
    def seconds_left(self) -> float | None:
        """Seconds of work to come, at the pace so far; None before the first frame."""
        return self._seconds / self.count * (len(self.frames) - self.count) if self.count else None

    def path(self, frame: int) -> Path:
        """The file of a frame."""
        number = f"{'-' if frame < 0 else ''}{abs(frame):04d}"
        return self.folder / f"{self._stem}_{number}.{self.options.format}"

    def step(self, context: bpy.types.Context) -> bool:
        """Bake the next frame; whether there are more.

        Raises:
            BakeError: the avatar is gone or hidden, another scene is shown, or the disk is full. The job has ended:
                finished files stay, for ``resume``, and none is half-written.
        """
        if self._closed:
            return False
        began = time.monotonic()
        frame = self.frames[self.count]
        try:
            splats = self._find(context)
            # The display comes on again last: the way back to the present frame does without it.
            with readable(splats), _visited(context, frame):
                gaussians = read_splats(context, splats, self.options.world)
            self._keep(frame, gaussians)
            if self.count == len(self.frames):
                self._close()
            elif time.monotonic() - self._indexed_at > _INDEX_INTERVAL:
                self._write_index()
                self._indexed_at = time.monotonic()
        except OSError as error:
            self.cancel()
            raise BakeError(f"Frame {frame} cannot be written to {self.folder}: {error.strerror or error}.") from error
        except BaseException:
            self.cancel()
            raise
        self._seconds += time.monotonic() - began
        return not self._closed

    def run(self, context: bpy.types.Context) -> Iterator[float]:
        """Bake everything; gives the progress after every frame. Closing the generator cancels."""
        try:
            more = True
            while more:
                more = self.step(context)
                yield self.progress
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End the job: finished files stay, and ``sequence.json`` lists them; where there are none nothing is left."""
        if self._closed:
            return
        if self.count == 0:
            self._closed = True
            self._leave_nothing()
        else:
            with contextlib.suppress(OSError):  # the disk is full; an older index stays
                self._close()
            self._closed = True

    def _close(self) -> None:
        self._write_index()
        self._closed = True

    def _find(self, context: bpy.types.Context) -> bpy.types.Object:
        """The splats, which may have moved in memory since the last step."""
        if context.scene.session_uid != self._scene:
            raise BakeError(f"Another scene than that of {self._name} is shown, so it cannot be baked.")
        objects = {obj.session_uid: obj for obj in context.scene.objects}
        found = [objects.get(uid) for uid in self._ids]
        if None in found:
            raise BakeError(f"{self._name} was deleted, so that no more of it can be baked.")
        splats = found[-1]
        if not splats.visible_get(view_layer=context.view_layer):
            # Blender evaluates nothing that is hidden.
            raise BakeError(f"{splats.name} is hidden in the viewport: show it to bake it.")
        return splats

    def _keep(self, frame: int, gaussians: Gaussians) -> None:
        """Write a frame's splats, unless they are there already."""
        path = self.path(frame)
        entry = {"frame": frame, "file": path.name, "splats": len(gaussians), "digest": _digest(gaussians)}
        old = self._known.get(frame, {})
        if {**old, "bytes": 0} == {**entry, "bytes": 0} and _size(path) == old["bytes"]:
            self.skipped += 1
        else:
            with whole_file(path) as temporary:
                WRITERS[self.options.format](temporary, turn_splats(gaussians, AXES[self.options.axes]))
            self.written += 1
        self._entries[frame] = entry | {"bytes": _size(path)}

    def _describe(self, scene: bpy.types.Scene, armature: bpy.types.Object) -> dict[str, Any]:
        world = self.options.world
        length = scene.unit_settings.scale_length
        return {
            "format": INDEX_FORMAT,
            "version": INDEX_VERSION,
            "avatar": armature.name,
            "fps": scene.render.fps / scene.render.fps_base,
            "space": "world" if world else "avatar",
            "axes": _axes(self.options.axes, world),
            "units": f"Blender units of {length:g} metres" if world and length != 1 else "metres",
            **{name: str(armature.get(key, "")) for name, key in _ORIGIN.items()},
        }

    def _read_index(self) -> dict[int, dict[str, Any]]:
        """Entries of an earlier run by frame, where their files are whole; none where it was baked in another way."""
        try:
            data = json.loads((self.folder / INDEX_NAME).read_text("utf-8"))
            if any(data[key] != self._header[key] for key in ("format", "version", "space", "axes", "units")):
                return {}
            entries = {int(entry["frame"]): entry for entry in data["frames"]}
            return {
                frame: entry
                for frame, entry in entries.items()
                if entry["file"] == self.path(frame).name and _size(self.path(frame)) == entry["bytes"]
            }
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write_index(self) -> None:
        # What an earlier run made stays listed, also where this one has not come to it.
        entries = self._known | self._entries
        data = {
            **self._header,
            "complete": self.count == len(self.frames),
            "frames": [entries[frame] for frame in sorted(entries)],
        }
        with whole_file(self.folder / INDEX_NAME) as temporary:
            temporary.write_text(json.dumps(data, indent=1), "utf-8")

    def _leave_nothing(self) -> None:
        """Remove the folders that this job made; without a finished frame they are empty."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _axes(name: str, world: bool) -> str:
    if name == "y-up":
        return _WORLD_AXES if world else _AVATAR_AXES
    return f"{name}: {AXES[name].says}"


def frame_range(first: int, last: int, step: int = 1) -> range:
    """Frames from first to last, both included; empty where the last comes before the first."""
    return range(first, last + 1, max(step, 1))


@contextmanager
def _visited(context: bpy.types.Context, frame: int) -> Iterator[None]:
    """The scene is at a frame inside, and afterwards where it was, with every animated property as it was."""
    scene = context.scene
    present, subframe = scene.frame_current, scene.frame_subframe
    owners = [shown.original for shown in context.evaluated_depsgraph_get().ids]
    with animated_values_kept(owners):
        try:
            scene.frame_set(frame)
            yield
        finally:
            scene.frame_set(present, subframe=subframe)


def _missing_folders(folder: Path) -> list[Path]:
    """Those of a folder and its parents that do not exist, the innermost first."""
    missing = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        missing.append(each)
    return missing


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _digest(gaussians: Gaussians) -> str:
    """Of what is written, so that a resumed bake knows whether a file still holds the frame's splats."""
    state = hashlib.blake2b(digest_size=16)
    for name in ("position", "rotation", "scale", "opacity", "sh_dc"):
        state.update(np.ascontiguousarray(getattr(gaussians, name), dtype=np.float32))
    return state.hexdigest()
