"""Blender's command line: ``blender -b --command humansplat {reconstruct,pose,animate,render,bake,export}``.

Every command gives an exit status: 0 done, 1 an unexpected error, 2 an expected one, 130 interrupted. Errors are one
sentence on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..backend.avatar.formats.axes import AXES
from ..backend.avatar.formats.merge import BUDGETS
from ..backend.avatar.motion_library import library
from ..backend.avatar.motion_poses import POSES
from ..backend.export.job import TEXTURES, TRIANGLES
from ..backend.export.targets import TARGETS
from . import motion, scene
from .jobs import JobManager, ReconstructJob
from .models import BUILT_IN, MODELS
from .pictures import OTHER, SIDES, Picture
from .results import ResultFolder
from .scene import framing
from .scene.convert import to_blender
from .scene.sequence import WRITERS, BakeJob, BakeOptions, frame_range

COMMAND = "humansplat"
EXIT_UNEXPECTED = 1
EXIT_EXPECTED = 2
EXIT_INTERRUPTED = 130
ENGINES = {"cycles": ("CYCLES",), "eevee": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")}
"""What the user says -> what Blender versions call it."""
_LOOKS = 9  # frames of a motion that the camera is placed by

_handle: Any = None


class CommandError(ValueError):
    """An expected error; the message is one sentence."""


def register() -> None:
    """Have Blender know the command, where it has such commands (4.2 and later)."""
    global _handle
    if _handle is None and hasattr(bpy.utils, "register_cli_command"):
        _handle = bpy.utils.register_cli_command(COMMAND, main)


def unregister() -> None:
    """Undo :func:`register`."""
    global _handle
    if _handle is not None:
        bpy.utils.unregister_cli_command(_handle)
        _handle = None


def main(argv: list[str]) -> int:
    """Run a command and return its exit status."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed what is wrong, or the help
        return stop.code if isinstance(stop.code, int) else EXIT_EXPECTED
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return EXIT_INTERRUPTED
    except (ValueError, OSError, RuntimeError) as error:
        # ValueError is the base of every error that our own code words; Blender's operators raise RuntimeError.
        if arguments.verbose:
            traceback.print_exc()
        _complain(_sentence(error))
        return EXIT_EXPECTED
    except Exception as error:
        if arguments.verbose:
            traceback.print_exc()
        _complain(f"Unexpected {type(error).__name__}: {_sentence(error)} (--verbose says where)")
        return EXIT_UNEXPECTED


def build_parser() -> argparse.ArgumentParser:
    """The argument parser."""
    from .ui import properties

    parser = argparse.ArgumentParser(
        prog="blender -b --command humansplat",
        description="Posable Gaussian-splat avatars from photos, and on.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    make = commands.add_parser("reconstruct", help="turn photos into avatar packages, one after the other")
    make.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    make.add_argument("-o", "--output", type=Path, help="folder for the packages (default: that of the preferences)")
    make.add_argument("--preset", choices=[item[0] for item in properties.PRESETS], default=properties.PRESETS[0][0])
    make.add_argument("--body", choices=[item[0] for item in properties.BODIES], default="neutral")
    make.add_argument("--lower", choices=[item[0] for item in properties.LOWER], default=properties.LOWER[0][0])
    make.add_argument("--seed", type=_natural, default=0)
    make.add_argument("--person", type=_positive, help="which person, 1 = the largest (default)")
    make.add_argument("--shading", type=_share, default=1.0, help="0 to 1 (default)")
    make.add_argument("--device", help="auto, cpu, cuda or mps (default: that of the preferences)")
    for side, shows in SIDES.items():
        make.add_argument(f"--{side}", type=Path, metavar="PICTURE", help=f"a picture that shows {shows} of the person")
    make.add_argument("--more", type=Path, nargs="+", default=[], metavar="PICTURE", help="pictures from anywhere else")
    make.add_argument(
        "--sides", choices=(BUILT_IN, *MODELS), default=BUILT_IN, help="what makes the sides that no picture shows"
    )
    make.set_defaults(run=_reconstruct)

    pose = commands.add_parser("pose", help="an avatar in a pose, as a .blend file or a picture")
    pose.add_argument("package", type=Path)
    pose.add_argument("--pose", default="photo", help="photo (default), rest, or a pose of the library")
    pose.add_argument("-o", "--output", type=Path, required=True, help=".blend or .png")
    _add_render_options(pose)
    pose.set_defaults(run=_pose)

    animate = commands.add_parser("animate", help="an avatar with a motion, as a .blend file")
    animate.add_argument("package", type=Path)
    animate.add_argument("--motion", required=True, help=".bvh or .npz file, or a motion of the library")
    animate.add_argument("--in-place", action="store_true", help="stay in place, as on a treadmill")
    animate.add_argument("-o", "--output", type=Path, required=True, help=".blend")
    animate.add_argument("--bake", type=Path, metavar="FOLDER", help="also write the splats of every frame there")
    animate.set_defaults(run=_animate, format="ply", axes="y-up", world=False, resume=False)

    picture = commands.add_parser("render", help="a picture of a .blend file or an avatar package")
    picture.add_argument("source", type=Path, metavar="FILE.blend|PACKAGE")
    picture.add_argument("--frame", type=int, help="(default: the file's present frame)")
    picture.add_argument("-o", "--output", type=Path, required=True, help=".png")
    _add_render_options(picture)
    picture.set_defaults(run=_render)

    bake = commands.add_parser("bake", help="the splats of every frame, as one file a frame")
    bake.add_argument("source", type=Path, metavar="FILE.blend|PACKAGE")
    bake.add_argument("--avatar", help="name of its armature, where the file has several")
    bake.add_argument("--frames", type=int, nargs=2, metavar=("FIRST", "LAST"), help="(default: the scene's range)")
    bake.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    bake.add_argument("--format", choices=WRITERS, default="ply")
    bake.add_argument("--axes", choices=AXES, default="y-up", help="what the numbers mean (default y-up)")
    bake.add_argument("--world", action="store_true", help="apply the avatar's place in the scene")
    bake.add_argument("--resume", action="store_true", help="leave files alone that hold their frame already")
    bake.set_defaults(run=_bake)

    leave = commands.add_parser("export", help="an avatar for a game engine, the web or another program")
    leave.add_argument("source", type=Path, metavar="FILE.blend|PACKAGE")
    leave.add_argument("--to", choices=TARGETS, required=True, metavar="TARGET", help=", ".join(TARGETS))
    leave.add_argument("--avatar", help="name of its armature, where the file has several")
    leave.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="the export's folder lies in it"
    )
    leave.add_argument("--budget", type=int, choices=(0, *BUDGETS), default=0, help="splats at most (default: all)")
    leave.add_argument("--triangles", type=int, choices=TRIANGLES, default=TRIANGLES[0])
    leave.add_argument("--texture", type=int, choices=TEXTURES, default=2048)
    leave.add_argument("--in-place", action="store_true", help="clips stay where they are")
    leave.set_defaults(run=_export)

    for command in commands.choices.values():
        command.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _add_render_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=ENGINES, help="(default: cycles; for a .blend file its own)")
    parser.add_argument("--samples", type=_positive, help="a pixel (default: 64; for a .blend file its own)")
    parser.add_argument("--size", type=_positive, help="pixels of the longer side (default: 1024; its own)")
    parser.add_argument(
        "--view", type=float, help="degrees about the avatar, 0 the front, 90 its left (default: 0; the file's camera)"
    )


def _reconstruct(arguments: argparse.Namespace) -> int:
    from .ui import preferences, runtime  # registered with the add-on

    sides = [(getattr(arguments, side), side) for side in SIDES] + [(path, OTHER) for path in arguments.more]
    pictures = tuple(Picture(path.absolute(), side) for path, side in sides if path is not None)
    if pictures and len(arguments.photos) > 1:
        raise CommandError("Pictures of other sides belong to one photo: give one photo with them.")
    spec = runtime.backend_spec()
    if spec is None:
        raise CommandError("The backend is not installed: install it in the add-on's preferences, or choose one there.")
    results = ResultFolder((arguments.output or preferences.results_folder()).absolute())
    made: list[Path] = []
    manager = JobManager(lambda result: made.append(result.folder) or "")
    failed = 0
    try:
        for photo in arguments.photos:
            job = ReconstructJob(
                photo.absolute(),
                arguments.preset,
                arguments.seed,
                arguments.person,
                arguments.device or preferences.get().device,
                arguments.body,
                arguments.shading,
                pictures,
                arguments.sides,
                arguments.lower,
            )
            error = _one_photo(manager, job, spec, results)
            if error:
                failed += 1
                _complain(f"{photo}: {error}")
            else:
                _say(f"{photo}: {made[-1]} ({manager.seconds:.0f} s)")
    finally:
        manager.close()
    return EXIT_EXPECTED if failed else 0


def _one_photo(manager: JobManager, job: ReconstructJob, spec: Any, results: ResultFolder) -> str:
    """Reconstruct, and wait for it; why it failed, or an empty string."""
    if not job.photo.is_file():
        return "there is no such file."
    manager.start_reconstruct(job, spec, results)
    while manager.busy:
        manager.pump()
        time.sleep(0.02)
    failure = manager.failure
    return "" if failure is None else f"{failure.message} {failure.fix}".strip()


def _pose(arguments: argparse.Namespace) -> int:
    output = _output(arguments.output, ".blend", ".png")
    avatar = _import(arguments.package)
    armature = avatar.armature
    if arguments.pose == "rest":
        scene.rest_pose(armature)
    elif arguments.pose == "photo":
        scene.photo_pose(armature)
    elif arguments.pose in _library_names(still=True):
        motion.import_library_motion(bpy.context, armature, arguments.pose)
    else:
        known = ", ".join(("photo", "rest", *_library_names(still=True)))
        raise CommandError(f"There is no pose {arguments.pose!r}; the poses are {known}.")
    if output.suffix.lower() == ".blend":
        _frame(arguments, avatar, fresh=True)
        _save(output)
    else:
        _write_picture(arguments, output, fresh=True)
    _say(f"{output}")
    return 0


def _animate(arguments: argparse.Namespace) -> int:
    output = _output(arguments.output, ".blend")
    folder = arguments.bake and arguments.bake.absolute()
    in_library = arguments.motion in _library_names(still=False)
    file = Path(arguments.motion).absolute()
    if not in_library and not file.is_file():
        names = ", ".join(_library_names(still=False))
        raise CommandError(f"{arguments.motion} is neither a file nor a motion of the library, which has {names}.")
    avatar = _import(arguments.package)
    if in_library:
        action = motion.import_library_motion(bpy.context, avatar.armature, arguments.motion, arguments.in_place)
    else:
        root = "in_place" if arguments.in_place else "scaled"
        options = motion.TransferOptions(root=root)
        action = motion.import_motion_file(bpy.context, avatar.armature, file, options)
    first, last = (round(frame) for frame in action.curve_frame_range)
    of_scene = bpy.context.scene
    # The last key of a round is the first of the next.
    of_scene.frame_start, of_scene.frame_end = first, max(first, last - bool(action.use_cyclic))
    looks = np.linspace(first, of_scene.frame_end, _LOOKS).round().astype(int)
    framing.frame_points(of_scene, np.concatenate([_points(avatar, frame) for frame in looks]))
    of_scene.frame_set(first)
    _save(output)
    _say(f"{output}: frames {of_scene.frame_start} to {of_scene.frame_end}")
    if folder is not None:
        _bake_avatar(arguments, avatar, folder, frame_range(of_scene.frame_start, of_scene.frame_end))
    return 0


def _render(arguments: argparse.Namespace) -> int:
    output = _output(arguments.output, ".png")
    fresh = _open(arguments.source)
    if arguments.frame is not None:
        bpy.context.scene.frame_set(arguments.frame)
    _write_picture(arguments, output, fresh)
    _say(f"{output}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from .ui import runtime  # registered with the add-on

    _open(arguments.source)
    avatar = _chosen_avatar(arguments)
    settings = bpy.context.scene.humansplat_export
    settings.target, settings.in_place = arguments.to, arguments.in_place
    for name in ("budget", "triangles", "texture"):
        setattr(settings, name, str(getattr(arguments, name)))
    bpy.context.view_layer.objects.active = avatar.armature
    bpy.ops.humansplat.export_avatar(directory=str(arguments.output.absolute()))
    _say(runtime.manager().message)
    for note in runtime.manager().warnings:
        _say(note)
    return 0


def _bake(arguments: argparse.Namespace) -> int:
    folder = arguments.output.absolute()
    _open(arguments.source)
    of_scene = bpy.context.scene
    avatar = _chosen_avatar(arguments)
    span = arguments.frames or (of_scene.frame_start, of_scene.frame_end)
    _bake_avatar(arguments, avatar, folder, frame_range(*span))
    return 0


def _chosen_avatar(arguments: argparse.Namespace) -> scene.ImportedAvatar:
    """The file's only avatar, or the one that --avatar names."""
    avatars = {avatar.armature.name: avatar for avatar in scene.scene_avatars(bpy.context.scene)}
    name = arguments.avatar or (next(iter(avatars)) if len(avatars) == 1 else "")
    if name not in avatars:
        if not avatars:
            raise CommandError(f"There is no avatar in {arguments.source}.")
        listed = ", ".join(avatars)
        raise CommandError(f"Say with --avatar which of the avatars of {arguments.source} is meant: {listed}.")
    return avatars[name]


def _bake_avatar(arguments: argparse.Namespace, avatar: scene.ImportedAvatar, folder: Path, frames: range) -> None:
    options = BakeOptions(arguments.format, arguments.axes, arguments.world, arguments.resume)
    job = BakeJob(bpy.context, avatar, frames, folder, options)
    for _ in job.run(bpy.context):
        pass
    _say(f"{folder}: {job.written} frames written, {job.skipped} were there")


def _import(package: Path) -> scene.ImportedAvatar:
    """The avatar of a package, alone in an empty file."""
    package = package.absolute()
    prepared = scene.prepare_avatar(package)  # refuses what is no package before the file is given up
    bpy.ops.wm.read_homefile(use_empty=True)
    avatar = scene.import_avatar(bpy.context, package, prepared=prepared)
    scene.scene_setup(bpy.context.scene)
    return avatar


def _open(source: Path) -> bool:
    """Open a .blend file, or a package in an empty file; whether it is the latter."""
    if source.suffix.lower() != ".blend":
        _import(source)
        return True
    if not source.is_file():
        raise CommandError(f"There is no file {source}.")
    bpy.ops.wm.open_mainfile(filepath=str(source.absolute()))
    return False


def _save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False, compress=True)


def _frame(arguments: argparse.Namespace, avatar: scene.ImportedAvatar, fresh: bool) -> None:
    """A camera that sees the avatar, where a view is asked for or the scene has no camera."""
    view = getattr(arguments, "view", None)
    if fresh or view is not None or bpy.context.scene.camera is None:
        framing.frame_points(bpy.context.scene, _points(avatar), view or 0.0)


def _points(avatar: scene.ImportedAvatar, frame: int | None = None) -> np.ndarray:
    """Where the splats are [N, 3] in Blender's world, in a frame or in the present one."""
    if frame is not None:
        bpy.context.scene.frame_set(int(frame))
    return to_blender(scene.read_splats(bpy.context, avatar.splats, world=True).position)


def _write_picture(arguments: argparse.Namespace, path: Path, fresh: bool) -> None:
    """Render the present frame; a file that is opened keeps its own settings where none are given."""
    of_scene = bpy.context.scene
    render = of_scene.render
    if arguments.size or fresh:
        longer = arguments.size or 1024
        if fresh:
            render.resolution_x = render.resolution_y = longer
        else:
            share = longer / max(render.resolution_x, render.resolution_y)
            render.resolution_x = max(1, round(render.resolution_x * share))
            render.resolution_y = max(1, round(render.resolution_y * share))
        render.resolution_percentage = 100
    if arguments.engine or fresh:
        _choose_engine(of_scene, arguments.engine or "cycles")
    samples = arguments.samples or (64 if fresh else None)
    if samples and render.engine == "CYCLES":
        of_scene.cycles.samples = samples
    elif samples:
        of_scene.eevee.taa_render_samples = samples
    if fresh:
        render.film_transparent = True
    avatar = next(scene.scene_avatars(of_scene), None)
    if avatar is not None:
        _frame(arguments, avatar, fresh)
    elif of_scene.camera is None:
        raise CommandError("The file has neither a camera nor an avatar to look at.")
    if hasattr(render.image_settings, "media_type"):  # 5.0 and later
        render.image_settings.media_type = "IMAGE"
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part.png")
    render.filepath = str(temporary)
    try:
        bpy.ops.render.render(write_still=True)
        if not temporary.is_file():
            raise CommandError(f"Blender has rendered no picture to {path.parent}: is the folder writable?")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _choose_engine(of_scene: bpy.types.Scene, wanted: str) -> None:
    for engine in ENGINES[wanted]:
        try:
            of_scene.render.engine = engine
            return
        except TypeError:
            continue
    raise CommandError(f"This Blender has no {wanted.capitalize()}: enable its add-on.")


def _library_names(still: bool) -> list[str]:
    """Names of the library's still poses, or of its motions."""
    poses = {pose.name for pose in POSES}
    return [entry.name for entry in library() if (entry.name in poses) == still]


def _output(path: Path, *suffixes: str) -> Path:
    """The absolute path, of which the suffix is one of those."""
    if path.suffix.lower() not in suffixes:
        raise CommandError(f"The output must end in {' or '.join(suffixes)}, not in {path.name!r}.")
    return path.absolute()


def _checked(kind: Callable[[str], Any], holds: Callable[[Any], bool], rule: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not holds(value):
            raise argparse.ArgumentTypeError(rule)
        return value

    parse.__name__ = kind.__name__
    return parse


_natural = _checked(int, lambda value: value >= 0, "must be 0 or more")
_positive = _checked(int, lambda value: value >= 1, "must be 1 or more")
_share = _checked(float, lambda value: 0 <= value <= 1, "must lie between 0 and 1")


def _sentence(error: Exception) -> str:
    """One line of an error, without what Blender writes before it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    lines = [line.strip().removeprefix("Error: ") for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _say(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(f"Error: {text}", file=sys.stderr, flush=True)
