"""From a photo to a posed avatar in Blender, as one command; ``scripts/demo [PHOTO]``.

Standard library only: it makes the environments and runs one program after another in them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from environments import ROOT, SetupError, ensure_demo, relative, say

PHOTO = ROOT / "docs" / "demo" / "person.jpg"
OUTPUT = ROOT / "out" / "demo"


class StageFailed(Exception):
    """A program of the demo failed and has said why; carries its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Stages:
    """Announces stages and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, about: str) -> Iterator[None]:
        """Time what happens inside."""
        say(f"\n=== {name}: {about}")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def call(python: Path, *arguments: str | Path) -> None:
    """Run Python in one of the environments, in the repository.

    Raises:
        StageFailed: it did not end well.
    """
    status = subprocess.run([str(python), *(str(a) for a in arguments)], cwd=ROOT).returncode
    if status:
        raise StageFailed(status)


def demo(photo: Path, output: Path, options: Sequence[str]) -> dict[str, float]:
    """Run every stage; returns seconds by stage.

    Args:
        photo: picture of a person.
        output: folder for everything that the demo makes.
        options: more arguments for ``python -m backend reconstruct``.

    Raises:
        SetupError: the environments cannot be made.
        StageFailed: a program failed.
    """
    stages = Stages()
    with stages.stage("environments", "PyTorch and Blender, in .venvs/"):
        backend, blender = ensure_demo()
    package, poses = output / "avatar", output / "poses"
    with stages.stage("reconstruct", f"{photo.name} to an avatar package"):
        call(backend.python, "-m", "backend", "reconstruct", photo, "-o", package, *options)
    with stages.stage("blender", "import with the add-on, three poses, avatar.blend"):
        shutil.rmtree(poses, ignore_errors=True)
        call(blender.python, ROOT / "scripts" / "demo_blender.py", package, output / "avatar.blend", poses)
    with stages.stage("sheet", "the avatar from four sides, beside the photo and the poses"):
        call(backend.python, ROOT / "scripts" / "demo_sheet.py", photo, package, poses, output / "sheet.png")
    return stages.seconds


def main() -> int:
    """``scripts/demo [PHOTO] [-o DIR] [options of reconstruct]``."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="From a photo to a posed avatar in Blender.",
        epilog="Further options go to `python -m backend reconstruct`, such as --body female or --person 2.",
    )
    parser.add_argument("photo", nargs="?", type=Path, default=PHOTO, help=f"default: {relative(PHOTO)}")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help=f"default: {relative(OUTPUT)}")
    arguments, options = parser.parse_known_args()
    photo, output = arguments.photo.resolve(), arguments.output.resolve()
    if not photo.is_file():
        print(f"Error: there is no file {arguments.photo}. Give the path of a photo of a person.", file=sys.stderr)
        return 2
    started = time.perf_counter()
    try:
        seconds = demo(photo, output, options)
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except StageFailed as failed:
        return failed.status
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    say("\n=== seconds")
    for name, value in seconds.items():
        say(f"{name:<14} {value:7.1f} s")
    say(f"{'all':<14} {time.perf_counter() - started:7.1f} s\n")
    for name, about in (
        ("avatar", "the avatar package: splats, body, skin"),
        ("avatar.blend", "frame 1: the photo's pose; frames 25, 50, 75: three poses"),
        ("sheet.png", "photo, four sides, three poses"),
    ):
        say(f"{relative(output / name)}  {about}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
