"""The backend as a child process: JSON-RPC 2.0 objects, one a line, on standard input and output.

Requests: ``initialize``, ``reconstruct``, ``views``, ``repaint``, ``cut``, ``export``, those about large models
(:mod:`.models.requests`), ``cancel``, ``shutdown``. Notifications: ``progress``, ``log``, and, while a request is
worked on, ``heartbeat`` once a second from a thread of its own: ``id`` of the request and ``cpu``, the seconds that the
process has computed. Arrays travel as files, never through the pipe. A request is a line of at most :data:`MAX_LINE`
bytes. The process ends when its input closes, even in the middle of a job, so that a parent that crashed leaves no
orphan. Only the standard library is imported here: PyTorch loads in the worker thread, while the reader already
answers.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from . import __version__
from .devices import check_name
from .errors import BackendError, Cancelled
from .models.requests import METHODS as MODEL_METHODS
from .models.requests import ModelRequest, checked_request
from .options import (
    BODIES,
    DEFAULT_PRESET,
    LOWER,
    MOST_PICTURES,
    PRESETS,
    SEED_LIMIT,
    SIDES,
    SOURCES,
    ReconstructOptions,
    SidePicture,
    installed_presets,
    shown,
)
from .progress import CancelCheck, Progress, ProgressCallback
from .retouch import VIEWS

PROTOCOL_VERSION = 1

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
CANCELLED = -32800
INTERNAL = -32000
#: Error codes of our own, by the kind that the add-on chooses its fix buttons by.
ERROR_CODES = {
    "internal": INTERNAL,
    "busy": -32001,
    "protocol_version": -32002,
    "out_of_memory": -32003,
    "image_unreadable": -32010,
    "image_too_small": -32011,
    "image_too_large": -32012,
    "no_person": -32013,
    "person_index": -32014,
    "body_cut": -32015,
    "output_not_writable": -32020,
    "disk_full": -32021,
    "weights_missing": -32022,
    "device_missing": -32023,
    "body_missing": -32024,
    "body_unreadable": -32025,
    "package_unreadable": -32026,
    "export_failed": -32027,
    "device_failed": -32028,
    "weights_damaged": -32029,
    "nothing_changed": -32030,
    "view_unknown": -32031,
    "views_missing": -32032,
    "views_unreadable": -32033,
    "views_changed": -32034,
    "picture_size": -32035,
    "no_turnaround": -32036,
    "no_front": -32037,
    "model_missing": -32038,
    "licence_missing": -32039,
    "model_damaged": -32040,
    "cancelled": CANCELLED,
}
OTHER_BACKEND_ERROR = -32099

#: Seconds that a running job gets to stop by itself once the input has closed.
EXIT_GRACE = 0.5
#: Seconds between two heartbeats.
HEARTBEAT = 1.0
#: Bytes of a request at most; ours have hundreds.
MAX_LINE = 1_000_000
#: Requests that may wait for the worker. The add-on has one at a time.
MAX_WAITING = 8


class ReconstructResultLike(Protocol):
    """What a pipeline returns: see ``backend.pipeline.ReconstructResult``."""

    package: Path
    seconds: dict[str, float]
    warnings: tuple[str, ...]


class PipelineLike(Protocol):
    """What the server needs of ``backend.pipeline.Pipeline``."""

    def reconstruct(
        self,
        image: Path,
        output: Path,
        options: ReconstructOptions,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> ReconstructResultLike:
        """Turn one photo into one avatar package."""


@dataclass(frozen=True)
class ReconstructParams:
    """The parameters of one ``reconstruct`` request, checked.

    Attributes:
        image: the photo.
        output: folder of the avatar package to write.
        options: how.
    """

    image: Path
    output: Path
    options: ReconstructOptions


class ExportResultLike(Protocol):
    """What an export returns: see ``backend.export.job.ExportResult``."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class ExportParams:
    """The parameters of one ``export`` request, their kinds checked.

    Attributes:
        package, output: folders of the avatar package and of the export.
        options: fields of ``backend.export.job.ExportOptions``.
        clips: file of ``backend.export.clips.save_clips``, or None.
        pose: what ``backend.posing.choose_pose`` takes.
    """

    package: Path
    output: Path
    options: dict[str, Any]
    clips: Path | None
    pose: str


ExportCall = Callable[[ExportParams, Callable[[float, str], None], CancelCheck], ExportResultLike]
ModelsCall = Callable[[ModelRequest, Callable[[float, str], None], CancelCheck], dict[str, Any]]


def _export(asked: ExportParams, report: Callable[[float, str], None], cancelled: CancelCheck) -> ExportResultLike:
    from .export.job import ExportOptions
    from .export.run import backend_errors, run_export

    with backend_errors():
        options = ExportOptions(**asked.options)
    return run_export(
        asked.package, asked.output, options, clips=asked.clips, pose=asked.pose, report=report, cancelled=cancelled
    )


def _run_models(asked: ModelRequest, report: Callable[[float, str], None], cancelled: CancelCheck) -> dict[str, Any]:
    from .models.requests import run_request
    from .models.store import Store

    return run_request(asked, Store(), report, cancelled)


@dataclass(frozen=True)
class ViewsParams:
    """The parameters of one ``views`` request: folders of the avatar package and of the pictures."""

    package: Path
    output: Path


@dataclass(frozen=True)
class RepaintParams:
    """The parameters of one ``repaint`` request.

    Attributes:
        package, output: folders of the avatar package, and of the one to write.
        pictures: file, and name of its view; an empty name: as the file's name says.
    """

    package: Path
    output: Path
    pictures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class CutParams:
    """The parameters of one ``cut`` request: a turnaround sheet, and the folder for pictures of its figures."""

    sheet: Path
    output: Path


@dataclass(frozen=True)
class CutResult:
    """What was cut.

    Attributes:
        figures: file, side ("front", "back", "left", "right", "other") and confidence in 0..1 of each.
        notes: sentences for the user.
    """

    figures: tuple[tuple[Path, str, float], ...]
    notes: tuple[str, ...]


class RepaintResultLike(Protocol):
    """What repainting returns: see ``backend.retouch.repaint.RepaintResult``."""

    package: Path
    views: dict[str, float]
    splats: int
    notes: tuple[str, ...]
    seconds: float


ViewsCall = Callable[[ViewsParams, Callable[[float, str], None], CancelCheck], tuple[str, ...]]
RepaintCall = Callable[[RepaintParams, Callable[[float, str], None], CancelCheck], RepaintResultLike]


def _save_views(asked: ViewsParams, report: Callable[[float, str], None], cancelled: CancelCheck) -> tuple[str, ...]:
    from .retouch.views import save_views

    return save_views(asked.package, asked.output, report, cancelled)[1]


def _repaint(asked: RepaintParams, report: Callable[[float, str], None], cancelled: CancelCheck) -> RepaintResultLike:
    from .retouch.repaint import RetouchedPicture, repaint

    pictures = [RetouchedPicture(path, view) for path, view in asked.pictures]
    return repaint(asked.package, pictures, asked.output, report, cancelled)


CutCall = Callable[[CutParams, Callable[[float, str], None], CancelCheck], CutResult]


def _cut(asked: CutParams, report: Callable[[float, str], None], cancelled: CancelCheck) -> CutResult:
    from .prepare import BlazePose
    from .prepare.turnaround import cut, describe, write_figures

    def check() -> None:
        if cancelled():
            raise Cancelled()

    report(0.0, "Loading the networks")
    networks = BlazePose("cpu")
    report(0.3, "Finding the figures")
    figures = cut(asked.sheet, networks, check)
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            "output_not_writable", f"The folder {shown(asked.output)} cannot be made.", "Choose another folder."
        ) from error
    paths = write_figures(figures, asked.output, asked.sheet.stem)
    rows = tuple((path, figure.side, figure.confidence) for path, figure in zip(paths, figures))
    return CutResult(rows, (describe(figures),))


@dataclass(frozen=True)
class Backend:
    """What the server serves; tests put a pipeline of their own here.

    Attributes:
        describe: answers ``initialize`` (without the protocol and backend version); may import heavy packages.
        make_pipeline: device name -> pipeline; called once per device, the pipeline then stays warm.
        export: writes an avatar package for a target.
        views: writes pictures of an avatar's sides, and gives the names of the files.
        repaint: writes an avatar package that looks as retouched pictures do.
        cut: writes pictures of a turnaround sheet's figures.
        models: does what a request about large models asks for.
    """

    describe: Callable[[], dict[str, Any]]
    make_pipeline: Callable[[str], PipelineLike]
    export: ExportCall = _export
    views: ViewsCall = _save_views
    repaint: RepaintCall = _repaint
    cut: CutCall = _cut
    models: ModelsCall = _run_models


def _describe_installation() -> dict[str, Any]:
    from .doctor import describe

    return describe()


def _make_pipeline(device: str) -> PipelineLike:
    from .pipeline import Pipeline

    return Pipeline(device=device)


REAL_BACKEND = Backend(_describe_installation, _make_pipeline)


class _RequestError(Exception):
    """A request that JSON-RPC itself refuses."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind


@dataclass
class _Job:
    request_id: int | str
    work: Callable[[_Job], Any]
    stop: threading.Event = field(default_factory=threading.Event)


class Server:
    """Reads requests on the calling thread and runs jobs on one worker thread.

    Args:
        reader: binary stream of requests; its end ends the server.
        writer: binary stream of answers and notifications.
        backend: the pipeline to serve.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, backend: Backend = REAL_BACKEND) -> None:
        self._reader = reader
        self._writer = writer
        self._backend = backend
        self._write_lock = threading.Lock()
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._current: _Job | None = None  # accepted and not answered yet
        self._working: _Job | None = None  # what the worker does, initialization as well
        self._state_lock = threading.Lock()
        self._pipeline: PipelineLike | None = None
        self._pipeline_device = ""
        self._worker = threading.Thread(target=self._work, name="humansplat-worker", daemon=True)
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="humansplat-heart", daemon=True)

    def serve(self) -> bool:
        """Answer requests until ``shutdown`` or the end of the input.

        Returns:
            True if the worker has stopped; False if a job would not stop within :data:`EXIT_GRACE` seconds, in which
            case the process must be ended without waiting for it.
        """
        self._worker.start()
        self._heart.start()
        for line in self._lines():
            if line.strip() and not self._handle_line(line):
                break
        self._ended.set()
        with self._state_lock:
            if self._current is not None:
                self._current.stop.set()
        self._jobs.put(None)
        self._worker.join(EXIT_GRACE)
        return not self._worker.is_alive()

    # --- reader thread -----------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[bytes]:
        """The requests' lines; one that is too long is answered here and never held as a whole."""
        while line := self._reader.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while (rest := self._reader.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                text = f"The line is longer than {MAX_LINE} bytes."
                self._send_error(None, PARSE_ERROR, text, "parse_error", _UPDATE)
                continue
            yield line

    def _handle_line(self, line: bytes) -> bool:
        """Answer one line; False once the server should end."""
        request_id: int | str | None = None
        try:
            message = _parsed(line)
            if isinstance(message, dict) and _is_id(message.get("id")):
                request_id = message["id"]
            method, params = _checked_request(message)
            if method == "shutdown":
                self._answer(request_id, {})
                return False
            if method == "cancel":
                self._answer(request_id, {"cancelled": self._cancel(params)})
            elif request_id is None:
                pass  # a notification that asks for work nobody waits for
            elif method == "initialize":
                self._accept_initialize(request_id, params)
            elif method == "reconstruct":
                checked = _checked_params(params)
                self._accept_job(request_id, lambda job: self._run_pipeline(job, checked))
            elif method == "export":
                asked = _checked_export(params)
                self._accept_job(request_id, lambda job: self._run_export(job, asked))
            elif method == "views":
                of = _checked_views(params)
                self._accept_job(request_id, lambda job: self._run_views(job, of))
            elif method == "repaint":
                retouched = _checked_repaint(params)
                self._accept_job(request_id, lambda job: self._run_repaint(job, retouched))
            elif method == "cut":
                sheet = _checked_cut(params)
                self._accept_job(request_id, lambda job: self._run_cut(job, sheet))
            elif method in MODEL_METHODS:
                about_models = _checked_model_request(method, params)
                self._accept_job(request_id, lambda job: self._run_models(job, about_models))
            else:
                raise _RequestError(METHOD_NOT_FOUND, "method_not_found", f"There is no method {method[:40]!r}.")
        except _RequestError as error:
            self._send_error(request_id, error.code, str(error), error.kind, _UPDATE)
        except BackendError as error:
            self._send_backend_error(request_id, error)
        except Exception as error:  # no request may end the server
            self._send_unexpected(request_id, error)
        return True

    def _cancel(self, params: dict[str, Any]) -> bool:
        with self._state_lock:
            job = self._current
            if job is None or job.request_id != params.get("id"):
                return False
            job.stop.set()
            return True

    def _accept_initialize(self, request_id: int | str, params: dict[str, Any]) -> None:
        if params.get("protocol") != PROTOCOL_VERSION:
            raise BackendError(
                "protocol_version",
                f"This backend speaks protocol {PROTOCOL_VERSION}, the add-on {repr(params.get('protocol'))[:40]}.",
                "Install the backend again from the add-on's preferences.",
            )
        if self._jobs.qsize() >= MAX_WAITING:
            raise BackendError("busy", "Too many requests wait for an answer.", "Wait until they are answered.")
        self._jobs.put(_Job(request_id, self._initialize))

    def _accept_job(self, request_id: int | str, work: Callable[[_Job], Any]) -> None:
        with self._state_lock:
            if self._current is not None:
                raise BackendError(
                    "busy",
                    "The backend already works on something else.",
                    "Wait until it is done, or cancel it first.",
                )
            self._current = _Job(request_id, work)
            self._jobs.put(self._current)

    # --- worker thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        for job in iter(self._jobs.get, None):
            self._working = job
            try:
                outcome: Any = job.work(job)
                error: BaseException | None = None
            except BaseException as raised:
                error = raised
            self._working = None
            with self._state_lock:  # free before the answer, so that the client may ask for the next job at once
                if self._current is job:
                    self._current = None
            if error is None:
                self._answer(job.request_id, outcome)
            elif isinstance(error, BackendError):
                self._send_backend_error(job.request_id, error)
            else:
                self._send_unexpected(job.request_id, error)
            del error

    def _beat(self) -> None:
        """Say once a second that the process lives and how much it computes, while it works on something."""
        while not self._ended.wait(HEARTBEAT):
            job = self._working
            if job is not None:
                self._notify("heartbeat", {"id": job.request_id, "cpu": round(time.process_time(), 3)})

    def _initialize(self, _job: _Job) -> dict[str, Any]:
        about = {"protocol": PROTOCOL_VERSION, "backend_version": __version__, "python": platform.python_version()}
        return about | {"presets": list(installed_presets())} | self._backend.describe()

    def _run_pipeline(self, job: _Job, params: ReconstructParams) -> dict[str, Any]:
        def report(progress: Progress) -> None:
            self._notify("progress", {"id": job.request_id} | asdict(progress))

        if self._pipeline is None or self._pipeline_device != params.options.device:
            report(Progress(0.0, "load", 0, 1, 0.0, "Loading the networks"))
            self._pipeline = None  # frees the old device's memory first
            self._pipeline = self._backend.make_pipeline(params.options.device)
            self._pipeline_device = params.options.device
        if job.stop.is_set():
            raise Cancelled()
        result = self._pipeline.reconstruct(
            params.image, params.output, params.options, progress=report, cancelled=job.stop.is_set
        )
        for warning in result.warnings:
            self._notify("log", {"level": "warning", "message": warning})
        return {
            "package": str(result.package),
            "seconds": {name: round(float(value), 3) for name, value in result.seconds.items()},
            "warnings": list(result.warnings),
        }

    def _run_export(self, job: _Job, asked: ExportParams) -> dict[str, Any]:
        report = self._told(job, "export")
        report(0.0, "Reading the avatar")
        result = self._backend.export(asked, report, job.stop.is_set)
        return {
            "folder": str(result.folder),
            "files": list(result.files),
            "notes": list(result.notes),
            "seconds": round(result.seconds, 3),
        }

    def _run_models(self, job: _Job, asked: ModelRequest) -> dict[str, Any]:
        if asked.method == "models_remove":
            self._pipeline = None  # which may have files open that Windows would not delete
        return self._backend.models(asked, self._told(job, asked.method.removeprefix("models_")), job.stop.is_set)

    def _run_views(self, job: _Job, asked: ViewsParams) -> dict[str, Any]:
        files = self._backend.views(asked, self._told(job, "views"), job.stop.is_set)
        return {"folder": str(asked.output), "files": list(files), "notes": []}

    def _run_repaint(self, job: _Job, asked: RepaintParams) -> dict[str, Any]:
        result = self._backend.repaint(asked, self._told(job, "repaint"), job.stop.is_set)
        return {
            "package": str(result.package),
            "seconds": {"repaint": round(result.seconds, 3)},
            "views": {name: round(share, 4) for name, share in result.views.items()},
            "splats": result.splats,
            "warnings": list(result.notes),
        }

    def _run_cut(self, job: _Job, asked: CutParams) -> dict[str, Any]:
        result = self._backend.cut(asked, self._told(job, "cut"), job.stop.is_set)
        figures = [
            {"path": str(path), "side": side, "confidence": round(confidence, 3)}
            for path, side, confidence in result.figures
        ]
        return {"folder": str(asked.output), "figures": figures, "notes": list(result.notes)}

    def _told(self, job: _Job, stage: str) -> Callable[[float, str], None]:
        """Progress of a job that is one stage, as notifications."""
        return lambda share, step: self._notify(
            "progress", {"id": job.request_id} | asdict(Progress(share, stage, 0, 1, share, step))
        )

    # --- answers -----------------------------------------------------------------------------------------------

    def _answer(self, request_id: int | str | None, result: Any) -> None:
        if request_id is not None:
            self._send({"jsonrpc": "2.0", "id": request_id, "result": result})

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send_backend_error(self, request_id: int | str | None, error: BackendError) -> None:
        code = ERROR_CODES.get(error.kind, OTHER_BACKEND_ERROR)
        details = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
        self._send_error(request_id, code, error.message, error.kind, error.fix, details)

    def _send_unexpected(self, request_id: int | str | None, error: BaseException) -> None:
        details = "".join(traceback.format_exception(error))
        failure = explain_unexpected(error)
        self._send_error(request_id, ERROR_CODES[failure.kind], failure.message, failure.kind, failure.fix, details)

    def _send_error(
        self, request_id: int | str | None, code: int, message: str, kind: str, fix: str, details: str = ""
    ) -> None:
        data = {"kind": kind, "fix": fix, "details": details}
        error = {"code": code, "message": message, "data": data}
        self._send({"jsonrpc": "2.0", "id": request_id, "error": error})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._write_lock:
            try:
                self._writer.write(data)
                self._writer.flush()
            except (OSError, ValueError):
                pass  # the parent is gone; the reader sees the end of its input as well


def explain_unexpected(error: BaseException) -> BackendError:
    """A sentence and a way out for an exception that nobody foresaw (``internal`` or ``out_of_memory``)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return BackendError(
            "out_of_memory",
            "The computer or its graphics card ran out of memory.",
            "Close other programs or choose the CPU as device, then try again.",
        )
    text = str(error).strip().splitlines()
    if type(error).__name__ == "AcceleratorError" or (text and _DEVICE_ERROR.match(text[0])):
        return BackendError(
            "device_failed",
            f"The graphics card stopped computing ({text[0] if text else type(error).__name__}).",
            "Try again; if it happens again, choose the processor as device or update the card's driver.",
        )
    return BackendError(
        "internal",
        f"The backend stopped on an unexpected {type(error).__name__}" + (f": {text[0]}" if text else "."),
        "Try another photo; if it happens again, copy the details into a bug report.",
    )


_UPDATE = "Update the add-on and its backend."
_DEVICE_ERROR = re.compile(
    r"(CUDA|cuDNN|CUBLAS|MPS|HIP)\b.*\b(error|failed)|(cuDNN|CUDNN|CUBLAS)_STATUS", re.IGNORECASE
)


def _parsed(line: bytes) -> Any:
    """What a line holds, or :class:`_RequestError`: nested without end, numbers that are none, no UTF-8."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(line, parse_constant=refuse)
    except ValueError as error:
        raise _RequestError(PARSE_ERROR, "parse_error", f"The line is not JSON: {error}.") from error
    except RecursionError as error:
        raise _RequestError(PARSE_ERROR, "parse_error", "The line is nested too deeply.") from error


def _check_texts(params: dict[str, Any]) -> None:
    """Refuse texts that can be no path, by :class:`_RequestError`."""
    for name, value in params.items():
        if isinstance(value, str):
            try:
                good = "\0" not in value and os.fsencode(value) is not None
            except UnicodeEncodeError:
                good = False
            if not good:
                text = f"{name[:40]!r} holds characters that no path and no name can have."
                raise _RequestError(INVALID_PARAMS, "invalid_params", text)


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _checked_request(message: Any) -> tuple[str, dict[str, Any]]:
    """Method and parameters of a request object, or :class:`_RequestError`."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise _RequestError(INVALID_REQUEST, "invalid_request", "A request is a JSON-RPC 2.0 object.")
    method = message.get("method")
    if not isinstance(method, str):
        raise _RequestError(INVALID_REQUEST, "invalid_request", "A request names its method in a string.")
    if "id" in message and not _is_id(message["id"]):
        raise _RequestError(INVALID_REQUEST, "invalid_request", "The id of a request is a number or a string.")
    params = message.get("params", {})
    if not isinstance(params, dict):
        raise _RequestError(INVALID_PARAMS, "invalid_params", "Parameters are given by name in an object.")
    return method, params


def _checked_pictures(given: Any) -> tuple[SidePicture, ...]:
    """The further pictures of ``reconstruct``, or :class:`_RequestError`."""
    if not isinstance(given, list) or len(given) > MOST_PICTURES:
        text = f"'pictures' must be a list of at most {MOST_PICTURES} pictures."
        raise _RequestError(INVALID_PARAMS, "invalid_params", text)
    for one in given:
        if isinstance(one, dict):
            _check_texts(one)
        right = isinstance(one, dict) and set(one) == {"path", "side"} and all(isinstance(v, str) for v in one.values())
        if not right or not one["path"] or one["side"] not in SIDES:
            text = f"Each of 'pictures' must have a 'path' and a 'side', one of {', '.join(SIDES)}."
            raise _RequestError(INVALID_PARAMS, "invalid_params", text)
    return tuple(SidePicture(Path(one["path"]), one["side"]) for one in given)


def _checked_params(params: dict[str, Any]) -> ReconstructParams:
    """The parameters of ``reconstruct``, or :class:`_RequestError` naming the first bad one."""

    def take(name: str, kinds: tuple[type, ...], default: Any, what: str) -> Any:
        value = params.get(name, default)
        if value is None and default is None and name == "person":
            return None
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _RequestError(INVALID_PARAMS, "invalid_params", f"{name!r} must be {what}.")
        return value

    known = {"image", "output", "sides", *ReconstructOptions.__dataclass_fields__} - {"source"}
    _check_names(params, tuple(known))
    chosen = ReconstructOptions(
        preset=take("preset", (str,), DEFAULT_PRESET, "the name of a preset"),
        seed=take("seed", (int,), 0, "a whole number"),
        person=take("person", (int,), None, "a whole number from 1 on, or null"),
        device=take("device", (str,), "auto", "the name of a device"),
        body=take("body", (str,), "neutral", "the name of a body type"),
        shading=take("shading", (int, float), 1.0, "a number from 0 to 1"),
        lower=take("lower", (str,), LOWER[0], "the name of a lower garment"),
        pictures=_checked_pictures(params.get("pictures", [])),
        source=take("sides", (str,), SOURCES[0], "the name of a source of sides"),
    )
    checked = ReconstructParams(
        image=Path(take("image", (str,), "", "the path of the photo")),
        output=Path(take("output", (str,), "", "the path of the folder to write")),
        options=chosen,
    )
    for good, text in (
        (bool(params.get("image")), "'image' must be the path of the photo."),
        (bool(params.get("output")), "'output' must be the path of the folder to write."),
        (chosen.preset in PRESETS, f"'preset' must be one of {', '.join(PRESETS)}."),
        (chosen.source in SOURCES, f"There is no source of sides {chosen.source[:40]!r}: {', '.join(SOURCES)} are."),
        (
            chosen.body in BODIES or Path(chosen.body).is_file(),
            f"'body' must be one of {', '.join(BODIES)}, or the path of a body file.",
        ),
        (chosen.lower in LOWER, f"'lower' must be one of {', '.join(LOWER)}."),
        (0 <= chosen.seed < SEED_LIMIT, "'seed' must be 0 or more, and less than 2 to the power of 63."),
        (0 <= chosen.shading <= 1, "'shading' must lie between 0 and 1."),
        (chosen.person is None or chosen.person >= 1, "'person' must be 1 or more, or null."),
    ):
        if not good:
            raise _RequestError(INVALID_PARAMS, "invalid_params", text)
    check_name(chosen.device)
    return checked


def _checked_model_request(method: str, params: dict[str, Any]) -> ModelRequest:
    """A request about models, or :class:`_RequestError` naming the first bad parameter."""
    _check_texts(params)
    try:
        return checked_request(method, params)
    except ValueError as error:
        raise _RequestError(INVALID_PARAMS, "invalid_params", str(error)) from error


_EXPORT_OPTIONS: dict[str, type] = {
    "target": str, "name": str, "skeleton": str, "triangles": int, "texture": int, "budget": int, "lit": bool,
    "in_place": bool, "offline": bool,
}  # fmt: skip


def _checked_export(params: dict[str, Any]) -> ExportParams:
    """The parameters of ``export``, or :class:`_RequestError` naming the first bad one."""
    _check_names(params, ("package", "output", "clips", "pose", *_EXPORT_OPTIONS))
    for name in ("package", "output", "target"):
        if not (isinstance(params.get(name), str) and params[name]):
            raise _RequestError(INVALID_PARAMS, "invalid_params", f"{name!r} must be a text.")
    for name, kind in {**_EXPORT_OPTIONS, "clips": str, "pose": str}.items():
        if name in params and type(params[name]) is not kind:
            raise _RequestError(INVALID_PARAMS, "invalid_params", f"{name!r} must be of the kind {kind.__name__}.")
    if "clips" in params and not Path(params["clips"]).is_file():
        raise _RequestError(INVALID_PARAMS, "invalid_params", "'clips' must be the path of a file.")
    return ExportParams(
        Path(params["package"]),
        Path(params["output"]),
        {name: params[name] for name in _EXPORT_OPTIONS if name in params},
        Path(params["clips"]) if "clips" in params else None,
        params.get("pose", "rest"),
    )


def _checked_views(params: dict[str, Any]) -> ViewsParams:
    """The parameters of ``views``, or :class:`_RequestError` naming the first bad one."""
    return ViewsParams(*_two_paths(params, ("package", "output")))


def _checked_cut(params: dict[str, Any]) -> CutParams:
    """The parameters of ``cut``, or :class:`_RequestError` naming the first bad one."""
    return CutParams(*_two_paths(params, ("sheet", "output")))


def _checked_repaint(params: dict[str, Any]) -> RepaintParams:
    """The parameters of ``repaint``, or :class:`_RequestError` naming the first bad one."""
    folders, given = _two_paths(params, ("package", "output"), ("pictures",)), params.get("pictures")
    if not isinstance(given, list) or not 1 <= len(given) <= len(VIEWS):
        text = f"'pictures' must be a list of 1 to {len(VIEWS)} pictures."
        raise _RequestError(INVALID_PARAMS, "invalid_params", text)
    for one in given:
        if isinstance(one, dict):
            _check_texts(one)
        right = isinstance(one, dict) and set(one) <= {"path", "view"} and all(isinstance(v, str) for v in one.values())
        if not right or not one.get("path") or one.get("view", "") not in ("", *VIEWS):
            text = f"Each of 'pictures' must have a 'path', and may have a 'view', one of {', '.join(VIEWS)}."
            raise _RequestError(INVALID_PARAMS, "invalid_params", text)
    return RepaintParams(*folders, tuple((Path(one["path"]), one.get("view", "")) for one in given))


def _check_names(params: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse parameters of other names and texts that can be no path, by :class:`_RequestError`."""
    _check_texts(params)
    unknown = sorted(set(params) - set(names))
    if unknown:
        raise _RequestError(INVALID_PARAMS, "invalid_params", f"There is no parameter {unknown[0][:40]!r}.")


def _two_paths(params: dict[str, Any], names: tuple[str, str], others: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """The paths of two names, or :class:`_RequestError`, also where there are parameters of yet other names."""
    _check_names(params, (*names, *others))
    for name in names:
        if not (isinstance(params.get(name), str) and params[name]):
            raise _RequestError(INVALID_PARAMS, "invalid_params", f"{name!r} must be a text.")
    return Path(params[names[0]]), Path(params[names[1]])


def take_over_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for the protocol alone.

    Both are duplicated; afterwards descriptor 0 reads nothing and descriptor 1 is standard error, so that neither
    Python's ``print`` nor native code can disturb the protocol.

    Returns:
        (reader, writer) of the protocol.
    """
    sys.stdout.flush()
    reader = os.fdopen(os.dup(0), "rb")
    writer = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return reader, writer


def serve_stdio(backend: Backend = REAL_BACKEND) -> None:
    """Serve on this process' standard input and output, then end the process."""
    reader, writer = take_over_stdio()
    Server(reader, writer, backend).serve()
    # A job in native code cannot be stopped politely, and there is nothing left to do for a parent that is gone.
    sys.stderr.flush()
    os._exit(0)
