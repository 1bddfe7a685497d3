"""What lives while the add-on is switched on: the job manager, the timer that pumps it, the list of results.

None of it is Blender data, so undo and opening another file leave it alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

from .. import environment, install, locations, scene
from ..client import Failure
from ..jobs import BackendSpec, ExportJob, JobManager, ReconstructJob, RepaintJob
from ..png import display_bytes, write_png
from ..results import Result, ResultFolder
from . import preferences

PUMP_INTERVAL = 0.1
_ENVIRONMENT_CACHE_SECONDS = 2.0
#: A tool in the user's hand (a grab, a brush stroke) holds the import back for at most so long.
_MODAL_PATIENCE = 10.0

_manager: JobManager | None = None
_results: ResultFolder | None = None
_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_environment: tuple[float, environment.Environment | None] = (0.0, None)
_drawn_revision = -1
_file_count = 0
_job_file_count = 0
_import_asked_at = 0.0
_preparation: _Preparation | None = None
#: Name of the armature whose avatar the next import takes the place of; empty: none.
_replaced = ""


class _Preparation:
    """Reads an avatar package on a thread, so that the import itself is short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prepared: scene.PreparedAvatar | None = None
        self._thread = threading.Thread(target=self._run, name="humansplat-prepare", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        # The import reads again what could not be read here, and reports it.
        with contextlib.suppress(OSError, ValueError):
            self.prepared = scene.prepare_avatar(self.folder)


def manager() -> JobManager:
    """The job manager."""
    assert _manager is not None, "the add-on is not registered"
    return _manager


def results() -> ResultFolder:
    """The finished avatars in the folder that the preferences name."""
    global _results
    folder = preferences.results_folder()
    if _results is None or _results.folder != folder:
        _results = ResultFolder(folder)
    return _results


def idle(cls: type[bpy.types.Operator]) -> bool:
    """Whether no job runs; if one does, the operator ``cls`` says so where it is greyed out."""
    if manager().busy:
        cls.poll_message_set("HumanSplat is busy: wait or press Cancel")
        return False
    return True


def ready(cls: type[bpy.types.Operator]) -> bool:
    """:func:`idle`, and there is a backend."""
    if not idle(cls):
        return False
    if current_environment() is None:
        cls.poll_message_set("Install the backend first")
        return False
    return True


def current_environment() -> environment.Environment | None:
    """The environment to use; looked up at most every two seconds, because panels ask on every redraw."""
    global _environment
    looked_at, found = _environment
    if not looked_at or time.monotonic() - looked_at > _ENVIRONMENT_CACHE_SECONDS:
        found = environment.find(preferences.get().backend_path, locations.install_roots(), locations.extension_root())
        _environment = (time.monotonic(), found)
    return found


def forget_environment() -> None:
    """Look for the environment again at the next question."""
    global _environment
    _environment = (0.0, None)


def backend_spec() -> BackendSpec | None:
    """How to start the backend; None while there is none."""
    found = current_environment()
    if found is None:
        return None
    return BackendSpec(found.python, locations.extension_root(), locations.backend_log(), preferences.models_folder())


def preview_icon(result: Result) -> int:
    """Icon of an avatar's picture, loaded by Blender in the background; 0 if it has none."""
    if _previews is None or not result.preview.is_file():
        return 0
    key = f"{result.folder}|{result.made}"
    if key not in _previews:
        _previews.load(key, str(result.preview), "IMAGE")
    return _previews[key].icon_id


def photo_icon(image: bpy.types.Image) -> int:
    """Icon of the photo's file with its transparency; 0 where it has no file of its own.

    The icon that Blender makes of an image shows the colours under what is transparent.
    """
    path = image_path(image)
    if _previews is None or image.source != "FILE" or image.packed_file is not None or not path.is_file():
        return 0
    key = f"photo {path}|{path.stat().st_mtime_ns}"
    if key not in _previews:
        _previews.load(key, str(path), "IMAGE")
    return _previews[key].icon_id


def start_reconstruct(job: ReconstructJob) -> None:
    """Begin a reconstruction; what goes wrong is found in the manager."""
    _start(lambda spec: manager().start_reconstruct(job, spec, results()))


def start_repaint(job: RepaintJob) -> None:
    """Begin to repaint an avatar; what goes wrong is found in the manager."""
    _start(lambda spec: manager().start_repaint(job, spec, results()))


def start_export(job: ExportJob) -> None:
    """Begin to write files of an avatar; what goes wrong is found in the manager."""
    _start(lambda spec: manager().start_export(job, spec))


def _start(begin: Callable[[BackendSpec], None]) -> None:
    global _job_file_count
    spec = backend_spec()
    if spec is None:
        manager().fail(
            Failure("backend_missing", "The backend is not installed.", "Install it, or choose an environment.")
        )
        return
    _job_file_count = _file_count
    begin(spec)
    ensure_pumped()


def start_import(folder: Path) -> None:
    """Import an avatar package from the timer, once it has been read on a thread."""
    global _job_file_count
    _job_file_count = _file_count
    known = next((result for result in results().results if result.folder == folder), None)
    manager().start_import(known or Result(folder, Path(), 0.0, 0.0))
    ensure_pumped()


def replace_next(armature: bpy.types.Object | None) -> None:
    """Have the next import take the place of this armature's avatar; None: of nobody."""
    global _replaced
    _replaced = "" if armature is None else armature.name


def ensure_pumped() -> None:
    """Have Blender call the manager until it is idle."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)
    _redraw()


def wait() -> None:
    """Pump until the job is done: what the timer does, for Blender without a window."""
    while manager().busy:
        manager().pump()
        time.sleep(0.02)
    forget_environment()


def _tick() -> float | None:
    if _manager is None:
        return None
    _manager.pump()
    if not _manager.busy:
        forget_environment()
    _redraw()
    return PUMP_INTERVAL if _manager.busy else None


def _redraw() -> None:
    """Redraw the sidebars and the preferences, not the scene, where something changed."""
    global _drawn_revision
    if _manager is None or _manager.revision == _drawn_revision:
        return
    _drawn_revision = _manager.revision
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                for region in area.regions:
                    if region.type == ("UI" if area.type == "VIEW_3D" else "WINDOW"):
                        region.tag_redraw()


def _import(result: Result) -> str:
    """Import a finished avatar as one undo step, or say why that has to wait."""
    global _import_asked_at, _preparation, _replaced
    if _file_count != _job_file_count:
        manager().add_notes(["Another file was opened meanwhile: import the avatar from the list."])
        return ""
    if bpy.app.background:
        replaced, _replaced = _replaced, ""
        bpy.ops.humansplat.import_avatar(directory=str(result.folder), replace=replaced)
        return ""
    if _preparation is None or _preparation.folder != result.folder:
        _preparation = _Preparation(result.folder)
    if not _preparation.done:
        return "Reading the avatar"
    window = bpy.context.window_manager.windows[0]
    area = max(
        (area for area in window.screen.areas if area.type == "VIEW_3D"),
        key=lambda area: area.width * area.height,
        default=window.screen.areas[0],
    )
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        reason = _reason_to_wait(window)
        if reason:
            return reason
        _import_asked_at = 0.0
        # Only an operator that is called with its undo argument set makes an undo step of its own.
        replaced, _replaced = _replaced, ""
        bpy.ops.humansplat.import_avatar("EXEC_DEFAULT", True, directory=str(result.folder), replace=replaced)
    return ""


def take_prepared(folder: Path) -> scene.PreparedAvatar | None:
    """What was read of a package ahead of its import, once."""
    global _preparation
    ready = _preparation
    if ready is None or ready.folder != folder or not ready.done:
        return None
    _preparation = None
    return ready.prepared


def _reason_to_wait(window: bpy.types.Window) -> str:
    global _import_asked_at
    if bpy.app.is_job_running("RENDER"):
        return "Ready: waits for the render to finish"
    if bpy.context.mode not in {"OBJECT", "POSE"}:
        return "Ready: leave the edit mode to bring the avatar in"
    _import_asked_at = _import_asked_at or time.monotonic()
    if len(window.modal_operators) and time.monotonic() - _import_asked_at < _MODAL_PATIENCE:
        return "Ready: waits for your tool to finish"
    return ""


@bpy.app.handlers.persistent
def _file_opened(*_arguments: object) -> None:
    global _file_count
    _file_count += 1


def note_setup(changes: list[str]) -> None:
    """Say in the panel, in short, what of the scene was changed; nothing where nothing was."""
    if changes:
        settings = "; ".join(change.split(",")[0].rstrip(".") for change in changes)
        manager().add_notes([f"Scene set up for splats: {settings}."])


@bpy.app.handlers.persistent
def _data_arrived(arrival: object, *_arguments: object) -> None:
    """After pasting or appending: shared data-blocks are one again, and a scene that received an avatar suits it."""
    arrived = {item.id for item in getattr(arrival, "import_items", ()) if item.id is not None}
    has_avatar = any(avatar.armature in arrived for avatar in scene.scene_avatars(bpy.context.scene))
    scene.merge_shared()
    if has_avatar and preferences.get().setup_scene and _manager is not None:
        note_setup(scene.scene_setup(bpy.context.scene))


def _arrival_handlers() -> list[Callable[..., None]] | None:
    """Blender's handlers of appended and pasted data; None before Blender 4.3, which has none."""
    return getattr(bpy.app.handlers, "blend_import_post", None)


def register() -> None:
    """Start with a fresh manager."""
    global _manager, _previews, _results
    _manager = JobManager(_import)
    _previews = bpy.utils.previews.new()
    _results = None
    forget_environment()
    # What was in use when a backend was removed or replaced can be deleted now.
    cleaning = threading.Thread(target=install.clean_up, args=(locations.install_roots(),), daemon=True)
    cleaning.start()
    bpy.app.handlers.load_post.append(_file_opened)
    if _arrival_handlers() is not None:
        _arrival_handlers().append(_data_arrived)


def unregister() -> None:
    """End the backend and the timer."""
    global _manager, _previews, _results
    bpy.app.handlers.load_post.remove(_file_opened)
    if _arrival_handlers() is not None:
        _arrival_handlers().remove(_data_arrived)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _manager is not None:
        _manager.close()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
    _manager = _previews = _results = None


def image_path(image: bpy.types.Image) -> Path:
    """The file that a picture names, whether it is there or not: an absolute path, or an empty one."""
    path = Path(bpy.path.abspath(image.filepath_raw, library=image.library))
    return path.absolute() if image.filepath_raw else path


def names_file(image: bpy.types.Image) -> bool:
    """Whether a picture is what its file shows: not packed, changed or made in Blender."""
    return image.source == "FILE" and image.packed_file is None and not image.is_dirty and bool(image.filepath_raw)


def photo_file(image: bpy.types.Image, folder: str = "") -> Path:
    """The picture's file; a picture that has none, or that was changed, is written to a temporary one.

    Args:
        image: the picture.
        folder: name of the folder below Blender's temporary one for that file: pictures of the same name that are used
            together lie in folders of their own.

    Raises:
        RuntimeError: it has neither file nor pixels.
        OSError: the temporary file cannot be written.
    """
    path = image_path(image)
    if names_file(image) and path.is_file():
        return path
    copy = Path(bpy.app.tempdir) / folder / f"{bpy.path.clean_name(path.stem or image.name)}.png"
    copy.parent.mkdir(exist_ok=True)
    if image.packed_file is not None and not image.is_dirty:
        copy = copy.with_suffix(path.suffix or ".png")
        copy.write_bytes(image.packed_file.data)
    else:
        width, height = image.size
        if not (width and height and image.has_data):
            raise RuntimeError(f'"{image.name}" has no pixels')
        # Not save_render, which applies the scene's view transform and writes the format of its output; nor save, which
        # makes the copy the picture's file.
        pixels = np.empty((height, width, 4), np.float32)
        image.pixels.foreach_get(pixels.ravel())
        write_png(copy, display_bytes(pixels, image.is_float))
    return copy
