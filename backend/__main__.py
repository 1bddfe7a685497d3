"""The command line: ``python -m backend COMMAND``; commands are those of :func:`build_parser`."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .devices import check_name
from .errors import BackendError, Cancelled
from .export.targets import TARGETS
from .models.commands import Console, add_models_command, run_command
from .options import (
    BODIES,
    DEFAULT_PRESET,
    LOWER,
    MOST_PICTURES,
    PRESETS,
    SEED_LIMIT,
    SOURCES,
    ReconstructOptions,
    SidePicture,
    shown,
)
from .progress import Progress
from .retouch import VIEWS
from .server import explain_unexpected, serve_stdio

if TYPE_CHECKING:
    from .prepare import BlazePose

EXIT_INTERNAL = 1
EXIT_EXPECTED = 2
EXIT_CANCELLED = 130


class WrongArguments(SystemExit):
    """What was asked for makes no sense; the usage has been printed."""

    def __init__(self, message: str) -> None:
        super().__init__(EXIT_EXPECTED)
        self.message = message


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the usage and a sentence, and end."""
        self.print_usage(sys.stderr)
        _say(f"{self.prog}: error: {message}")
        raise WrongArguments(message)


def build_parser() -> argparse.ArgumentParser:
    """The argument parser; imports nothing heavy."""
    parser = _Parser(
        prog="python -m backend", description="One photo of a person in, one posable Gaussian-splat avatar out."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    make = commands.add_parser("reconstruct", help="turn a photo into an avatar package")
    make.add_argument("photo", type=Path, nargs="?", help="any picture file that shows a person")
    make.add_argument("-o", "--output", type=_path, required=True, help="folder of the avatar package to write")
    make.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    make.add_argument("--seed", type=_natural, default=0)
    make.add_argument("--person", type=_positive, help="which person, 1 = the largest (default)")
    make.add_argument(
        "--body", default="neutral", help=f"{', '.join(BODIES)}, or the file of a licensed SMPL or SMPL-X body"
    )
    make.add_argument(
        "--shading", type=_share, default=1.0,
        help="how far the photo's light shades what the photo does not show, 0 to 1 (default)",
    )  # fmt: skip
    make.add_argument(
        "--lower", choices=LOWER, default=LOWER[0],
        help="what the legs wear: told from the photo (default), each leg its own (trousers), or one piece around both "
             "(skirt, dress, coat)",
    )  # fmt: skip
    for side in ("back", "left", "right"):
        where = "from behind" if side == "back" else f"from the person's own {side}"
        make.add_argument(f"--{side}", type=Path, metavar="FILE", help=f"a picture of the same person {where}")
    make.add_argument(
        "--more", type=Path, nargs="+", default=[], metavar="FILE", help="further pictures of the person from any side"
    )
    make.add_argument(
        "--sides", choices=SOURCES, default=SOURCES[0],
        help="what makes the sides that no picture shows (default built-in; others: see models)",
    )  # fmt: skip
    make.add_argument(
        "--turnaround", type=Path, metavar="SHEET",
        help="a picture that shows the person side by side from several sides; without a photo its front is the photo",
    )  # fmt: skip
    make.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    make.set_defaults(run=_reconstruct)

    picture = commands.add_parser("render", help="render an avatar package to a PNG file")
    picture.add_argument("package", type=Path, help="folder of the avatar package")
    picture.add_argument("-o", "--output", type=_path, required=True, help="PNG file to write")
    picture.add_argument(
        "--view", type=_view, default=0.0, metavar="VIEW", help="front (default), left, back, right or degrees"
    )
    posture = picture.add_mutually_exclusive_group()
    posture.add_argument("--pose", default="photo", help="photo (default), rest, or an .npz file with 'pose' [24, 3]")
    posture.add_argument("--motion", help="a .bvh or .npz (AMASS, SMPL) file, or a motion of the library, such as walk")
    picture.add_argument("--frame", type=_natural, help="of the motion, counted from 0 (default)")
    picture.add_argument("--size", type=_positive, default=512, help="pixels a side (default 512)")
    picture.add_argument(
        "--background", type=_colour, default=None, help="#rrggbb; without it the picture is transparent"
    )
    picture.set_defaults(run=_render)

    save = commands.add_parser("views", help="write pictures of an avatar's four sides, to be retouched")
    save.add_argument("package", type=Path, help="folder of the avatar package")
    save.add_argument("-o", "--output", type=_path, help="folder to write to (default: views in the package)")
    save.set_defaults(run=_views)

    paint = commands.add_parser("repaint", help="take over what was painted on pictures of an avatar's sides")
    paint.add_argument("package", type=Path, help="folder of the avatar package")
    paint.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="retouched files of `views`")
    paint.add_argument("-o", "--output", type=_path, help="folder of the package to write (default: the same)")
    paint.add_argument(
        "--view", action="append", default=[], choices=VIEWS,
        help="what a picture shows whose file name does not say so (repeatable: one for each picture)",
    )  # fmt: skip
    paint.set_defaults(run=_repaint)

    leave = commands.add_parser(
        "export",
        help="write an avatar package for a game engine, the web or another program",
        description="Write an avatar for a target: "
        + "; ".join(f"{target.name} ({target.label})" for target in TARGETS.values()),
    )
    leave.add_argument("package", type=Path, help="folder of the avatar package")
    leave.add_argument("--to", choices=TARGETS, required=True, metavar="TARGET", help=", ".join(TARGETS))
    leave.add_argument("-o", "--output", type=_path, required=True, help="folder; an earlier export there is replaced")
    leave.add_argument("--name", default="", help="of the files (default: the folder's)")
    leave.add_argument(
        "--motion", action="append", default=[], metavar="MOTION",
        help="becomes a clip: a .bvh or .npz (AMASS, SMPL) file, or a motion of the library, such as walk (repeatable)",
    )  # fmt: skip
    leave.add_argument("--clips", type=Path, help="file of clips that the add-on wrote")
    leave.add_argument("--pose", default="rest", help="of splats without bones: rest (default), photo, or an .npz file")
    leave.add_argument("--budget", type=_natural, default=0, help="splats at most, merged from all (default: all)")
    leave.add_argument("--triangles", type=_positive, default=60_000, help="of the mesh (default 60000)")
    leave.add_argument("--texture", type=_positive, default=2048, help="pixels a side: 1024, 2048 (default) or 4096")
    leave.add_argument(
        "--skeleton", default="", help="names and rest pose of the bones, if not the target's: "
        + ", ".join(dict.fromkeys(target.skeleton for target in TARGETS.values())),
    )  # fmt: skip
    leave.add_argument(
        "--formats",
        type=lambda text: tuple(text.split(",")),
        help=f"of splats, if not the target's, with commas: {', '.join(TARGETS['splats'].splats)}, spz4",
    )
    leave.add_argument("--in-place", action="store_true", help="clips stay where they are, as on a treadmill")
    leave.add_argument("--lit", action="store_true", help="the engine's lamps shade the mesh")
    leave.add_argument("--offline", action="store_true", help="download nothing")
    leave.set_defaults(run=_export)

    play = commands.add_parser("sequence", help="write a baked sequence as one OpenUSD file with time samples")
    play.add_argument("folder", type=Path, help="with the PLY or SPZ files and sequence.json")
    play.add_argument("-o", "--output", type=_path, required=True, help=".usdc, .usda or .usd file to write")
    play.set_defaults(run=_sequence)

    look = commands.add_parser("doctor", help="what is installed, what is missing or damaged, what to do")
    look.add_argument(
        "--repair", action="store_true", help="mend it: install damaged packages, unpack damaged networks again"
    )
    look.set_defaults(run=_doctor)
    commands.add_parser("setup", help="fetch and unpack the pose networks").set_defaults(run=_setup)
    add_models_command(commands, _models)
    commands.add_parser("server", help="speak the add-on's protocol on standard input and output").set_defaults(
        run=_serve
    )
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        command.add_argument("--verbose", action="store_true", help="show the traceback of an unexpected error")
    return parser


def _path(text: str) -> Path:
    """A path to write to; nothing would be the folder that one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:  # thousands of digits, too
        value = -1
    if not least <= value < SEED_LIMIT:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number from {least} on, or far too large")
    return value


def _natural(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def _view(text: str) -> float:
    """Degrees about the vertical axis at which the camera stands; 90 looks at the person's left side."""
    if text in VIEWS:
        return VIEWS[text]
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not math.isfinite(degrees):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither {', '.join(VIEWS)} nor a number of degrees")
    return degrees


def _colour(text: str) -> tuple[float, float, float]:
    digits = text.removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a colour like #rrggbb") from None
    return red / 255, green / 255, blue / 255


def _say(text: str, end: str = "\n") -> None:
    print(text, file=sys.stderr, end=end, flush=True)


class _ProgressLine:
    """Progress on standard error: one line that is redrawn on a terminal, one line a stage elsewhere.

    Redrawn by returning to the line's start and writing over it, which every console can: not all know ANSI's codes.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._shown = 0

    def __call__(self, progress: Progress) -> None:
        if self._terminal:
            self._draw(f"{progress.overall:4.0%}  {progress.stage}: {progress.step}")
        elif progress.stage != self._stage:
            _say(f"{progress.overall:4.0%}  {progress.stage}")
        self._stage = progress.stage

    def _draw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        _say(f"\r{text.ljust(self._shown)}", end="")
        self._shown = len(text)

    def close(self) -> None:
        if self._shown:
            self._draw("")
            _say("\r", end="")


def _pictures(arguments: argparse.Namespace) -> tuple[SidePicture, ...]:
    """The further pictures that were given."""
    named = [(getattr(arguments, side), side) for side in ("back", "left", "right")]
    every = [*((path, side) for path, side in named if path is not None), *((path, "other") for path in arguments.more)]
    return tuple(SidePicture(path, side) for path, side in every)


def _check_file(path: Path) -> None:
    """Refuse what is no file before seconds are spent on loading PyTorch."""
    try:
        found = path.is_file()
    except OSError as error:
        raise BackendError(
            "image_unreadable",
            f"{shown(path)} cannot be looked at ({error.strerror or error}).",
            "Give the path of a picture file that you may read.",
        ) from error
    if not found:
        raise BackendError("image_unreadable", f"There is no file {shown(path)}.", "Give the path of a picture file.")


def _reconstruct(arguments: argparse.Namespace) -> dict[str, Any]:
    given = [path for path in (arguments.photo, arguments.turnaround) if path is not None]
    if not given:
        raise BackendError("arguments", "There is no photo.", "Give a photo, or a sheet with --turnaround.")
    for path in given:
        _check_file(path)
    check_name(arguments.device)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while loading, nothing needs to be tidied up
    _say("Loading PyTorch and the networks ...")
    from .pipeline import Pipeline

    stopped = _stop_on_signals()
    pipeline = Pipeline(device=arguments.device)
    with tempfile.TemporaryDirectory() as folder, closing(_ProgressLine()) as line:
        photo, pictures = arguments.photo, _pictures(arguments)
        if arguments.turnaround is not None:
            photo, pictures = _cut_sheet(arguments.turnaround, photo, pictures, pipeline.networks(), Path(folder))
        options = ReconstructOptions(
            preset=arguments.preset,
            seed=arguments.seed,
            person=arguments.person,
            device=arguments.device,
            body=arguments.body,
            shading=arguments.shading,
            lower=arguments.lower,
            pictures=pictures,
            source=arguments.sides,
        )
        result = pipeline.reconstruct(photo, arguments.output, options, progress=line, cancelled=stopped)
    for name, seconds in result.seconds.items():
        _say(f"{name:<12} {seconds:6.2f} s")
    for warning in result.warnings:
        _say(f"Note: {warning}")
    if stopped():
        _say("Note: The avatar was already being written when you asked to stop; it is whole.")
    _say(f"Avatar package: {result.package}")
    return {"package": str(result.package), "seconds": dict(result.seconds), "warnings": list(result.warnings)}


def _cut_sheet(
    sheet: Path, photo: Path | None, pictures: tuple[SidePicture, ...], networks: BlazePose, folder: Path
) -> tuple[Path, tuple[SidePicture, ...]]:
    """The photo, and the further pictures with those of a turnaround sheet, whose figures are written to ``folder``.

    What was given by name counts more than the sheet's figures.
    """
    from .prepare.turnaround import FRONT, cut, describe, front_of, write_figures

    figures = cut(sheet, networks)
    _say(f"Note: {describe(figures)}")
    front = front_of(figures) if photo is None else None
    taken = {picture.side for picture in pictures if picture.side != "other"}
    added = []
    for figure, path in zip(figures, write_figures(figures, folder, sheet.stem)):
        if figure is front:
            photo = path
        elif figure.side not in {FRONT, *taken}:
            added.append(SidePicture(path, figure.side))
    assert photo is not None
    return photo, (*pictures, *added)[:MOST_PICTURES]


def _render(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.frame is not None and arguments.motion is None:
        raise BackendError("arguments", "There is no motion to take the frame of.", "Give --motion with --frame.")
    from .posing import choose_frame, read_avatar
    from .turntable import render_picture, write_png

    avatar = read_avatar(arguments.package)
    pose = arguments.pose
    if arguments.motion is not None:
        pose = choose_frame(avatar, arguments.motion, arguments.frame or 0)
    stopped = _stop_on_signals()
    with closing(_ProgressLine()) as line:

        def tell(share: float) -> None:
            if stopped():
                raise Cancelled()
            line(Progress(share, "render", 0, 1, share, f"{arguments.size} pixels a side"))

        image = render_picture(avatar, arguments.view, pose, arguments.size, arguments.background, tell)
    write_png(image, arguments.output)
    _say(f"Picture: {arguments.output}")
    return {"picture": str(arguments.output), "size": arguments.size}


def _views(arguments: argparse.Namespace) -> dict[str, Any]:
    from .retouch.views import save_views

    stopped = _stop_on_signals()
    with closing(_ProgressLine()) as line:
        folder, files = save_views(arguments.package, arguments.output, _told(line, "views"), stopped)
    _say(f"Views: {folder}")
    return {"folder": str(folder), "files": list(files)}


def _repaint(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.view and len(arguments.view) != len(arguments.pictures):
        raise BackendError(
            "arguments",
            f"--view is given {len(arguments.view)} times for {len(arguments.pictures)} pictures.",
            "Give it once for each picture, in their order, or not at all.",
        )
    from .retouch.repaint import RetouchedPicture, repaint

    views = arguments.view or [""] * len(arguments.pictures)
    pictures = [RetouchedPicture(path, view) for path, view in zip(arguments.pictures, views)]
    stopped = _stop_on_signals()
    with closing(_ProgressLine()) as line:
        result = repaint(arguments.package, pictures, arguments.output, _told(line, "repaint"), stopped)
    for view, share in result.views.items():
        _say(f"{view:<6} {share:6.1%} of the person")
    for note in result.notes:
        _say(f"Note: {note}")
    _say(f"Avatar package: {result.package} ({result.splats} splats repainted, {result.seconds:.1f} s)")
    return {
        "package": str(result.package), "views": result.views, "splats": result.splats, "notes": list(result.notes)
    }  # fmt: skip


def _told(line: _ProgressLine, stage: str) -> Callable[[float, str], None]:
    """Progress of a job that is one stage."""
    return lambda share, step: line(Progress(share, stage, 0, 1, share, step))


def _export(arguments: argparse.Namespace) -> dict[str, Any]:
    from .export.job import ExportOptions, expected_losses
    from .export.run import backend_errors, run_export

    with backend_errors():
        options = ExportOptions(
            target=arguments.to,
            name=arguments.name,
            skeleton=arguments.skeleton,
            formats=arguments.formats,
            triangles=arguments.triangles,
            texture=arguments.texture,
            budget=arguments.budget,
            lit=arguments.lit,
            in_place=arguments.in_place,
            offline=arguments.offline,
        )
    for loss in expected_losses(options):
        _say(f"Note: {loss}")
    stopped = _stop_on_signals()
    with closing(_ProgressLine()) as line:
        result = run_export(
            arguments.package,
            arguments.output,
            options,
            motions=arguments.motion,
            clips=arguments.clips,
            pose=arguments.pose,
            report=lambda share, what: line(Progress(share, what, 0, 1, share, what)),
            cancelled=stopped,
        )
    for note in result.notes:
        _say(f"Note: {note}")
    _say(f"Export: {result.folder} ({len(result.files)} files, {result.seconds:.1f} s)")
    return {"folder": str(result.folder), "files": list(result.files), "notes": list(result.notes)}


def _sequence(arguments: argparse.Namespace) -> dict[str, Any]:
    from .export.run import backend_errors
    from .export.usd import sequence_to_usd

    stopped = _stop_on_signals()
    with backend_errors(), closing(_ProgressLine()) as line:
        count = sequence_to_usd(
            arguments.folder,
            arguments.output,
            lambda share, what: line(Progress(share, "frames", 0, 1, share, what)),
            stopped,
        )
    _say(f"USD: {arguments.output} ({count} frames)")
    return {"usd": str(arguments.output), "frames": count}


def _stop_on_signals() -> Callable[[], bool]:
    """Whether the user has asked to stop; asked twice, the program ends at once."""
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    return lambda: bool(asked)


def _doctor(arguments: argparse.Namespace) -> dict[str, Any]:
    from . import doctor

    if not arguments.repair:
        checks = doctor.run_checks()
        if not arguments.json:
            print(doctor.report(checks))
        return doctor.as_json(checks)
    from .repair import repair

    outcome = repair(say=_say)
    if not arguments.json:
        print(doctor.report(outcome.checks))
        print("\n".join(["", *(f"Repaired: {name}" for name in outcome.repaired), *outcome.left]).rstrip())
    return doctor.as_json(outcome.checks) | {"repaired": outcome.repaired, "left": outcome.left}


def _setup(_arguments: argparse.Namespace) -> dict[str, Any]:
    from .prepare.weights import ensure_weights

    _say("Fetching and unpacking the pose networks ...")
    folder = ensure_weights()
    _say(f"Networks: {folder}")
    return {"weights": str(folder)}


def _models(arguments: argparse.Namespace) -> dict[str, Any]:
    lines: list[str] = []
    stopped = _stop_on_signals()
    with closing(_ProgressLine()) as line:

        def report(share: float, what: str) -> None:
            line(Progress(share, arguments.models_command, 0, 1, share, what))

        outcome = run_command(arguments, Console(lines.append, report, stopped))
    if not arguments.json:
        print("\n".join(lines))
    return outcome


def _serve(_arguments: argparse.Namespace) -> dict[str, Any]:
    serve_stdio()
    return {}


def _fail(error: BackendError, as_json: bool) -> None:
    _say(f"Error: {error.message}\n{error.fix}".rstrip())
    if as_json:
        _print_error(error)


def _print_error(error: BackendError) -> None:
    print(json.dumps({"error": {"kind": error.kind, "message": error.message, "fix": error.fix}}))


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0 done; 1 an unexpected error, or ``doctor`` found something missing; 2 an expected error, said in
        one sentence with what to do; 130 cancelled.
    """
    if sys.platform == "darwin":
        # What Apple's graphics cannot compute, the processor does; PyTorch asks for this when it is loaded.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    _open_streams()
    try:
        status = _main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EINVAL):  # what Windows calls it
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output left; say nothing more
        return EXIT_INTERNAL


def _open_streams() -> None:
    """Let what whoever started this has closed lead nowhere; a file would be given its number, and what is printed."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="backslashreplace"))


def _main(argv: list[str]) -> int:
    try:
        arguments = build_parser().parse_args(argv)
    except WrongArguments as error:
        if "--json" in argv:
            _print_error(BackendError("arguments", error.message, "See --help."))
        raise
    try:
        outcome = arguments.run(arguments)
    except (Cancelled, KeyboardInterrupt) as error:
        _fail(error if isinstance(error, Cancelled) else Cancelled(), arguments.json)
        return EXIT_CANCELLED
    except BackendError as error:
        _fail(error, arguments.json)
        return EXIT_EXPECTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if arguments.verbose:
            traceback.print_exc()
        else:
            _say("Run the command again with --verbose to see where.")
        _fail(explain_unexpected(error), arguments.json)
        return EXIT_INTERNAL
    if arguments.json:
        print(json.dumps(outcome))
    return 0 if outcome.get("ok", True) else EXIT_INTERNAL


if __name__ == "__main__":
    sys.exit(main())
