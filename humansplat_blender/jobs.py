"""What the add-on is doing: one job at a time, as a plain object that a timer pumps and the panels read. No bpy."""

from __future__ import annotations

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .client import PROTOCOL_VERSION, BackendProcess, Failure, Request, clean_environment, readable
from .environment import backend_command
from .install import InstallJob
from .models import BUILT_IN, ModelList, models_from_json
from .pictures import Picture, find_fault
from .repair import RepairJob
from .results import Result, ResultFolder

#: Environment variable that tells the backend where large models lie.
MODELS_VARIABLE = "HUMANSPLAT_MODELS"
#: Seconds that a starting backend gets; a cold disk and a virus scanner can take a minute over PyTorch.
START_TIMEOUT = 180.0
#: Seconds that Blender waits for the backend to let go of its files before they are removed or replaced.
GONE_TIMEOUT = 4.0
#: Notes of one answer that are shown, and characters of each; a panel is no place for more.
MOST_NOTES, NOTE_CHARACTERS = 20, 500


class State(Enum):
    """What the manager is doing."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    IMPORTING = "importing"
    INSTALLING = "installing"
    REMOVING = "removing"
    FAILED = "failed"
    DONE = "done"


BUSY = frozenset({State.STARTING, State.RUNNING, State.CANCELLING, State.IMPORTING, State.INSTALLING, State.REMOVING})


@dataclass(frozen=True)
class BackendSpec:
    """How to start the backend.

    Attributes:
        python: interpreter of its environment.
        extension_root: folder with the ``backend`` package, the child's working directory.
        log_path: file for its standard error.
        models: folder of large models; None leaves the choice to the backend.
    """

    python: Path
    extension_root: Path
    log_path: Path
    models: Path | None = None


@dataclass(frozen=True)
class ReconstructJob:
    """One photo to turn into an avatar; the parameters of the protocol's ``reconstruct``."""

    photo: Path
    preset: str = "lite"
    seed: int = 0
    person: int | None = None
    device: str = "auto"
    body: str = "neutral"
    shading: float = 1.0
    pictures: tuple[Picture, ...] = ()
    sides: str = BUILT_IN
    lower: str = "auto"

    def request(self, output: Path) -> tuple[str, dict[str, Any]]:
        """Method and parameters of the protocol; the avatar is written to ``output``."""
        params: dict[str, Any] = {
            "image": str(self.photo),
            "output": str(output),
            "preset": self.preset,
            "seed": self.seed,
            "person": self.person,
            "device": self.device,
            "body": self.body,
            "shading": self.shading,
        }
        if self.lower != "auto":
            params["lower"] = self.lower
        if self.pictures:
            params["pictures"] = [picture.to_json() for picture in self.pictures]
        if self.sides != BUILT_IN:
            params["sides"] = self.sides
        return "reconstruct", params


@dataclass(frozen=True)
class RepaintJob:
    """An avatar to repaint from retouched views; the parameters of the protocol's ``repaint``.

    Attributes:
        package: its avatar package, which stays as it is.
        retouched: files of the views.
        photo, pictures, sides: what the avatar was made from, for the list of avatars.
    """

    package: Path
    retouched: tuple[Path, ...]
    photo: Path
    pictures: tuple[Picture, ...] = ()
    sides: str = BUILT_IN

    def request(self, output: Path) -> tuple[str, dict[str, Any]]:
        """Method and parameters of the protocol; the avatar is written to ``output``."""
        pictures = [{"path": str(path)} for path in self.retouched]
        return "repaint", {"package": str(self.package), "output": str(output), "pictures": pictures}


@dataclass(frozen=True)
class ModelsJob:
    """Something to do with large models.

    Attributes:
        method: of the protocol, such as ``"models_list"``.
        parameters: of the method.
        step: what is done, for people.
        message: shown when it is done; may be empty.
    """

    method: str
    parameters: dict[str, Any]
    step: str
    message: str = ""


@dataclass(frozen=True)
class ExportJob:
    """Files to write of one avatar: for a target, or pictures of its sides.

    Attributes:
        name: the avatar's.
        parameters: of the protocol's ``method``.
        work: folder with what the backend reads, deleted afterwards; None where there is none.
        finish: called with the backend's result on the main thread; gives more notes. May raise ValueError or OSError
            with a sentence.
        method: ``export`` or ``views``.
        what: which of the avatar's things are written, for sentences: they follow its name.
    """

    name: str
    parameters: dict[str, Any]
    work: Path | None
    finish: Callable[[dict[str, Any]], list[str]]
    method: str = "export"
    what: str = "was exported"


#: Imports a finished avatar. Returns an empty string once done, or the reason why it has to wait.
Importer = Callable[[Result], str]


def _confused(what: str) -> Failure:
    fix = "Try again; if it happens again, install the backend again."
    return Failure("backend_confused", f"The backend answered without saying {what}.", fix)


class JobManager:
    """Runs one job at a time; every method is for Blender's main thread and returns at once.

    Args:
        importer: called from :meth:`pump` when an avatar is ready.

    Attributes:
        state: what goes on.
        overall, stage, stage_fraction, step: progress of the running job, fractions 0..1.
        message: one sentence about the last job that ended well.
        failure: why the last job did not.
        warnings: what there is to know about the last avatar.
        backend_info: its last answer to ``initialize``.
        models: its last answer about large models; None: it has not been asked.
        revision: grows with every visible change.
    """

    def __init__(self, importer: Importer) -> None:
        self.state = State.IDLE
        self.overall = 0.0
        self.stage = ""
        self.stage_fraction = 0.0
        self.step = ""
        self.message = ""
        self.failure: Failure | None = None
        self.warnings: tuple[str, ...] = ()
        self.backend_info: dict[str, Any] = {}
        self.models: ModelList | None = None
        self.revision = 0
        self._importer = importer
        self._spec: BackendSpec | None = None
        self._process: BackendProcess | None = None
        self._initialize: Request | None = None
        self._running: Request | None = None
        self._job: ReconstructJob | RepaintJob | None = None
        self._export: ExportJob | None = None
        self._models: ModelsJob | None = None
        self._unsaid: Failure | None = None
        self._results: ResultFolder | None = None
        self._work: Path | None = None
        self._ready: Result | None = None
        self._started_at = 0.0
        self._install: InstallJob | RepairJob | None = None
        self._removal: threading.Thread | None = None
        self._removal_failure: Failure | None = None

    @property
    def busy(self) -> bool:
        """True while a job is under way."""
        return self.state in BUSY

    @property
    def backend_running(self) -> bool:
        """True while a backend process holds its memory."""
        return self._process is not None and self._process.alive

    @property
    def moves_files(self) -> bool:
        """True while the files of a large model are downloaded, checked or copied."""
        return self._models is not None and self._models.method in ("models_download", "models_import")

    @property
    def seconds(self) -> float:
        """Since the job began."""
        return time.monotonic() - self._started_at

    # --- what can be asked for ---------------------------------------------------------------------------------

    def start_reconstruct(self, job: ReconstructJob, spec: BackendSpec, results: ResultFolder) -> None:
        """Turn a photo into an avatar and import it; refused at once where a picture besides it cannot be used."""
        self._begin(State.STARTING, "Starting the backend")
        fault = find_fault(job.pictures)
        if fault is not None:
            self._fail(fault)
            return
        self._start_making(job, spec, results)

    def start_repaint(self, job: RepaintJob, spec: BackendSpec, results: ResultFolder) -> None:
        """Make another avatar of one that is there, with the colours of retouched views, and import it."""
        self._begin(State.STARTING, "Starting the backend")
        self._start_making(job, spec, results)

    def _start_making(self, job: ReconstructJob | RepaintJob, spec: BackendSpec, results: ResultFolder) -> None:
        self._job, self._results = job, results
        try:
            self._work = results.make_work_folder()
        except OSError as error:
            self._fail(
                Failure(
                    "output_not_writable",
                    f"The folder for results cannot be written: {error.strerror or error}.",
                    "Choose another folder for results in the preferences.",
                    str(results.folder),
                )
            )
            return
        self._connect(spec)

    def start_export(self, job: ExportJob, spec: BackendSpec) -> None:
        """Write files of an avatar."""
        self._begin(State.STARTING, "Starting the backend")
        self._export, self._work = job, job.work
        self._connect(spec)

    def start_models(self, job: ModelsJob, spec: BackendSpec) -> None:
        """Do something with large models."""
        self._begin(State.STARTING, "Starting the backend")
        self._models = job
        self._connect(spec)

    def start_import(self, result: Result) -> None:
        """Import an avatar that was made earlier."""
        self._begin(State.IMPORTING, "Reading the avatar")
        self._ready = result

    def start_check(self, spec: BackendSpec) -> None:
        """Start the backend and see what it says of itself."""
        self.stop_backend()
        self._begin(State.STARTING, "Starting the backend")
        self._connect(spec)

    def start_install(self, job: InstallJob | RepairJob) -> None:
        """Run an installation or a repair; a running backend is stopped first."""
        process = self._process
        self.stop_backend()
        if isinstance(job, RepairJob) and process is not None:
            job.first = lambda: process.wait_until_gone(GONE_TIMEOUT)  # Windows replaces no file that is open
        self._begin(State.INSTALLING, job.label)
        self._install = job
        job.start()

    def start_removal(self, work: Callable[[], Failure | None]) -> None:
        """Run ``work``, which deletes the environment and says why it could not, on a thread."""
        process = self._process
        self.stop_backend()
        self._begin(State.REMOVING, "Removing the backend")

        def run() -> None:
            if process is not None:
                process.wait_until_gone(GONE_TIMEOUT)  # Windows deletes no file that is open
            self._removal_failure = work()

        self._removal_failure = None
        self._removal = threading.Thread(target=run, name="humansplat-removal", daemon=True)
        self._removal.start()

    def cancel(self) -> None:
        """Stop what is under way, within a second."""
        if self.state is State.INSTALLING and self._install is not None:
            self._install.cancel()
            self._set(State.CANCELLING, "Cancelling")
        elif self.state is State.STARTING:
            self.stop_backend()
            self._drop_work()
            self._end(State.IDLE)
        elif self.state is State.RUNNING and self._process is not None and self._running is not None:
            self._process.cancel(self._running)
            self._set(State.CANCELLING, "Cancelling")
        elif self.state is State.IMPORTING:
            self._ready = None
            self.message = "The avatar is in the list below."
            self._end(State.DONE)

    def dismiss(self) -> None:
        """Put away the last error or message."""
        if not self.busy:
            self.failure = None
            self.message = ""
            self.warnings = ()
            self._end(State.IDLE)

    def say(self, message: str) -> None:
        """Show a sentence about what was just done."""
        self.message = message
        self.revision += 1

    def add_notes(self, notes: Iterable[str]) -> None:
        """Show sentences below the last message."""
        self.warnings = (*self.warnings, *notes)
        self.revision += 1

    def fail(self, failure: Failure) -> None:
        """Show an error that came up before a job could begin."""
        if not self.busy:
            self._fail(failure)

    def stop_backend(self) -> None:
        """End the backend process and free its memory."""
        if self._process is not None:
            self._process.close() if self.state not in (State.RUNNING, State.STARTING) else self._process.kill()
            self._process = None
            self.revision += 1

    def close(self) -> None:
        """Stop everything, for good; the extension's folder may be replaced or deleted afterwards.

        Waits a few seconds at most until the backend, whose working folder that is, has ended.
        """
        process = self._process
        self.stop_backend()
        if self._install is not None and not self._install.done:
            self._install.cancel()
            self._install.wait(GONE_TIMEOUT)
        if process is not None:
            process.wait_until_gone(GONE_TIMEOUT)
        self._drop_work()
        self._end(State.IDLE)

    # --- pumping -----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Take in what has happened. Call it about ten times a second while :attr:`busy`."""
        try:
            self._pump()
        except Exception as error:  # a timer that raises is dropped by Blender, and the panel would wait for ever
            self.stop_backend()
            self._drop_work()
            self._fail(
                Failure(
                    "internal",
                    f"The add-on stopped on an unexpected {type(error).__name__}: {error}",
                    "Copy the details into a bug report.",
                    traceback.format_exc(),
                )
            )

    def _pump(self) -> None:
        if self._process is not None:
            self._process.poll()
        if self.state is State.STARTING:
            self._pump_starting()
        elif self.state in (State.RUNNING, State.CANCELLING) and self._running is not None:
            self._pump_running()
        elif self.state is State.IMPORTING:
            self._pump_importing()
        elif self._install is not None:
            self._pump_install()
        elif self._removal is not None and not self._removal.is_alive():
            self._removal = None
            if self._removal_failure is not None:
                self._fail(self._removal_failure)
                return
            self.message = "The backend was removed."
            self._end(State.DONE)

    def _pump_starting(self) -> None:
        assert self._initialize is not None
        if not self._initialize.done:
            if self.seconds > START_TIMEOUT:
                self.stop_backend()
                self._drop_work()
                text = f"The backend did not answer within {START_TIMEOUT:.0f} seconds."
                self._fail(Failure("backend_died", text, "Open the log, or install the backend again."))
            return
        failure = self._initialize.failure
        if failure is None:
            self.backend_info = self._initialize.result
            # Exports, repainting and large models need no network of ours.
            needs_all = self._export is None and self._models is None and not isinstance(self._job, RepaintJob)
            failure = _missing_parts(self.backend_info) if needs_all else None
        if failure is not None:
            if failure.kind == "weights_missing":
                self.stop_backend()  # so that it looks again once they are there
            self._drop_work()
            self._fail(failure)
        elif self._export is not None:
            assert self._process is not None
            self._running = self._process.request(self._export.method, self._export.parameters)
            self._set(State.RUNNING, "Reading the avatar")
        elif self._models is not None:
            assert self._process is not None
            self._running = self._process.request(self._models.method, self._models.parameters)
            self._set(State.RUNNING, self._models.step)
        elif self._job is None:
            info = self.backend_info
            torch, device = (readable(info.get(name), 80) for name in ("torch", "device_name"))
            self.message = f"The backend works: PyTorch {torch} on {device}."
            self.warnings = tuple(_notes(info.get("notes")))
            self._end(State.DONE)
        else:
            assert self._process is not None and self._work is not None
            self._running = self._process.request(*self._job.request(self._work / "avatar"))
            step = "Reading the avatar" if isinstance(self._job, RepaintJob) else "Loading the networks"
            self._set(State.RUNNING, step)

    def _pump_running(self) -> None:
        request = self._running
        assert request is not None
        if not request.done:
            return
        self._running = None
        if self._models is not None:
            self._pump_models(self._models, request)
            return
        if self.state is State.CANCELLING:
            self._drop_work()  # also where the job was done before the wish to cancel reached it
            self._end(State.IDLE)
            return
        if request.failure is not None:
            self._drop_work()
            self._fail(request.failure)
            return
        if self._export is not None:
            self._finish_export(self._export, request.result)
            return
        assert self._results is not None and self._job is not None
        assert self._work is not None
        package = self._work / "avatar"
        # Only what was asked for is ever moved: whatever else the answer names is somebody else's.
        if request.result.get("package") != str(package) or not package.is_dir():
            self._drop_work()
            self._fail(_confused("where the avatar is"))
            return
        self.warnings = tuple(_notes(request.result.get("warnings")))
        try:
            self._ready = self._results.adopt(
                package, self._job.photo, self.seconds, self._job.pictures, self._job.sides
            )
        except OSError as error:
            self._work = None  # the avatar stays in it: what took minutes is not thrown away
            text = f"The avatar is made, but cannot be moved to the others: {error.strerror or error}."
            self._fail(Failure("results_not_writable", text, f"It is whole: import it from {package}."))
            return
        self._drop_work()
        self.overall = self.stage_fraction = 1.0
        self._set(State.IMPORTING, "Bringing the avatar into the scene")

    def _pump_models(self, job: ModelsJob, request: Request) -> None:
        """Take in an answer about models; where the work did not end well, first ask what it has left."""
        cancelled, failure = self.state is State.CANCELLING, request.failure
        if failure is None:
            try:
                self.models = models_from_json(request.result)
            except ValueError:
                failure = _confused("which models there are")
        elif self._process is None or not self._process.alive:
            self.models = None
        elif job.method != "models_list":
            self._models = ModelsJob("models_list", {}, "Looking for models")
            self._unsaid = failure
            self._running = self._process.request(self._models.method, self._models.parameters)
            self._set(self.state, self._models.step)
            return
        failure = self._unsaid or failure
        if cancelled:
            self._end(State.IDLE)
        elif failure is not None:
            self._fail(failure)
        else:
            self.message = job.message
            self._end(State.DONE if job.message else State.IDLE)

    def _finish_export(self, job: ExportJob, result: dict[str, Any]) -> None:
        folder, asked = result.get("folder"), Path(job.parameters["output"])
        # Files are added to it: it must be the one that was asked for.
        right = isinstance(folder, str) and (Path(folder) == asked or not asked.is_absolute())
        if not right or not Path(folder).is_dir():
            self._drop_work()
            self._fail(_confused("where the export is"))
            return
        notes = _notes(result.get("notes"))
        try:
            notes += job.finish(result)
        except (ValueError, OSError) as error:
            self._drop_work()
            text = f"{job.name} {job.what}, but not all of it: {error}"
            self._fail(Failure("export_failed", text, f"The other files are in {folder}."))
            return
        self._drop_work()
        self.warnings = tuple(notes)
        self.message = readable(f"{job.name} {job.what} to {folder} in {self.seconds:.0f} s.", 2000)
        self._end(State.DONE)

    def _pump_importing(self) -> None:
        assert self._ready is not None
        result = self._ready
        try:
            reason = self._importer(result)
        except Exception as error:
            self._ready = None
            reason = str(error).strip().removeprefix("Error: ")
            text = f"The avatar was made, but could not be imported: {reason}"
            fix = "It is in the list below: press Import there to try again."
            self._fail(Failure("import_failed", text, fix, traceback.format_exc()))
            return
        if reason:
            self._set(State.IMPORTING, reason)
            return
        self._ready = None
        how = f"ready after {result.seconds:.0f} s" if self._job is not None else "imported"
        self.message = f"{result.name} is {how}."
        self._end(State.DONE)

    def _pump_install(self) -> None:
        job = self._install
        assert job is not None
        if not job.done:
            shown = (job.fraction, job.label, job.last_line)
            if shown != (self.overall, self.stage, self.step):
                self.overall, self.stage, self.step = shown
                self.revision += 1
            return
        self._install = None
        if job.failure is None:
            self.message = job.message
            self.warnings = tuple(job.notes)
            self._end(State.DONE)
        elif job.failure.kind == "cancelled":
            self._end(State.IDLE)
        else:
            self._fail(job.failure)

    # --- helpers -----------------------------------------------------------------------------------------------

    def _connect(self, spec: BackendSpec) -> None:
        if self._process is not None:
            self._process.poll()  # it may have died while nobody looked
        if self._process is None or not self._process.alive or spec != self._spec:
            self.stop_backend()
            spec.log_path.parent.mkdir(parents=True, exist_ok=True)
            # The extension's folder may be read-only and is not ours to write to: no __pycache__ there.
            own = {"PYTHONDONTWRITEBYTECODE": "1"}
            environment = clean_environment(own | ({MODELS_VARIABLE: str(spec.models)} if spec.models else {}))
            self._process = BackendProcess(
                backend_command(spec.python, "server"),
                spec.extension_root,
                spec.log_path,
                environment,
                self._on_notification,
            )
            self._spec = spec
            self._initialize = self._process.request("initialize", {"protocol": PROTOCOL_VERSION})

    def _on_notification(self, method: str, params: dict[str, Any]) -> None:
        if method != "progress" or self._running is None or params.get("id") != self._running.id:
            return
        self.overall = float(params["overall"])
        self.stage = str(params["stage"])
        self.stage_fraction = float(params["stage_fraction"])
        if self.state is State.RUNNING:
            self.step = str(params["step"])
        self.revision += 1

    def _begin(self, state: State, step: str) -> None:
        if self.busy:
            raise RuntimeError("another job is running")
        self.overall = self.stage_fraction = 0.0
        self.stage = ""
        self.failure = None
        self.message = ""
        self.warnings = ()
        self._job = self._export = self._models = self._unsaid = None
        self._started_at = time.monotonic()
        self._set(state, step)

    def _set(self, state: State, step: str) -> None:
        if (state, step) != (self.state, self.step):
            self.state, self.step = state, step
            self.revision += 1

    def _fail(self, failure: Failure) -> None:
        message, fix = (readable(text, 2000) for text in (failure.message, failure.fix))
        self.failure = Failure(failure.kind, message, fix, readable(failure.details, 100_000))
        self._end(State.FAILED)

    def _end(self, state: State) -> None:
        self.state, self.step, self.stage = state, "", ""
        self.revision += 1

    def _drop_work(self) -> None:
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work = None


def _notes(value: object) -> list[str]:
    """Sentences of an answer, as many as can be shown; none where it is no list."""
    if not isinstance(value, list):
        return []
    notes = [readable(note, NOTE_CHARACTERS) for note in value[:MOST_NOTES]]
    return [*notes, f"There are {len(value) - MOST_NOTES} more."] if len(value) > MOST_NOTES else notes


def _missing_parts(info: dict[str, Any]) -> Failure | None:
    """What the backend says it lacks, or that it does not say so as it should; None if it lacks nothing."""
    missing = info.get("missing") or []
    if not missing:
        return None
    if not (isinstance(missing, list) and all(isinstance(part, dict) for part in missing)):
        return _confused("which of its parts are there")
    names, fixes = ([part.get(word) for part in missing] for word in ("name", "what_to_do"))
    if not all(isinstance(text, str) for text in (*names, *fixes)):
        return _confused("which of its parts are there")
    named = readable(", ".join(names), 300)
    return Failure("weights_missing", f"The backend lacks: {named}.", readable(" ".join(dict.fromkeys(fixes)), 2000))
