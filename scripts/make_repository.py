"""Make a repository that Blender's *Get Extensions > Repositories* reads: the extension's zip and ``index.json``.

Any web server that serves the folder's files will do: users add the address of ``index.json`` as a remote repository,
install from it, and get updates by *Check for Updates*. The work is done by Blender's own tool: that of the Blender
given by ``--blender``, or found in ``.venvs/`` (``scripts/setup``), or the program ``blender``. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = "lib/python3*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"


class RepositoryError(Exception):
    """Why there is no repository; the message says what to do."""


def extension_command(blender: str | None = None) -> tuple[str, ...]:
    """The beginning of the command line of Blender's tool for extensions.

    Args:
        blender: a Blender program to take; None: the first that is found.

    Raises:
        RepositoryError: there is none.
    """
    if blender is None:
        for tool in sorted((ROOT / ".venvs").glob(f"blender*/{TOOL}")):
            # The tool reads manifests with a module that Python 3.10 lacks; the script's own Python has it.
            return (sys.executable, str(tool))
        blender = shutil.which("blender")
    if blender is None or shutil.which(blender) is None:
        raise RepositoryError("No Blender was found: run scripts/setup, or name a Blender program with --blender.")
    return (blender, "--factory-startup", "--command", "extension")


def manifest_declares_platforms(source: Path) -> bool:
    """True if the zips differ by system, so that each gets its own."""
    lines = (source / "blender_manifest.toml").read_text("utf-8").splitlines()
    return any(line.split("=")[0].strip() == "platforms" for line in lines if "=" in line)


def make_repository(source: Path, output: Path, tool: Sequence[str]) -> dict[str, str]:
    """Build the extension and list it.

    What is in ``output`` stays as it was until everything is made; then the new zip, the index, and the deletion of
    older zips follow in this order, so that whoever reads the index meanwhile finds the file that it names.

    Args:
        source: folder with ``blender_manifest.toml``.
        output: folder to serve; made if needed.
        tool: of :func:`extension_command`.

    Returns:
        Name of each zip -> version.

    Raises:
        RepositoryError: Blender's tool refused; the message has what it said.
        OSError: the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".new-") as temporary:
        new = Path(temporary)
        split = ["--split-platforms"] if manifest_declares_platforms(source) else []
        _run([*tool, "build", "--source-dir", str(source), "--output-dir", str(new), *split])
        for built in new.glob("*.zip"):
            _run([*tool, "validate", str(built)])
        _run([*tool, "server-generate", "--repo-dir", str(new), "--html"])
        listed = json.loads((new / "index.json").read_text("utf-8"))["data"]
        zips = {entry["archive_url"].removeprefix("./"): entry["version"] for entry in listed}
        if not zips or set(zips) != {path.name for path in new.glob("*.zip")}:
            raise RepositoryError("Blender's tool did not list what it had built.")
        for name in [*zips, "index.json", "index.html"]:
            (new / name).replace(output / name)
        identity = {entry["id"] for entry in listed}
        for old in output.glob("*.zip"):
            if old.name not in zips and old.name.rpartition("-")[0] in identity:
                old.unlink()
    return zips


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise RepositoryError(f"{' '.join(command)}\n{done.stdout}{done.stderr}".rstrip())


def main() -> int:
    """``scripts/make_repository [-o FOLDER] [--blender PROGRAM]``."""
    parser = argparse.ArgumentParser(prog="scripts/make_repository", description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "repository", help="folder to serve")
    parser.add_argument("--blender", metavar="PROGRAM", help="a Blender to build with")
    arguments = parser.parse_args()
    try:
        zips = make_repository(ROOT, arguments.output, extension_command(arguments.blender))
    except (RepositoryError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for name, version in zips.items():
        size = (arguments.output / name).stat().st_size / 1e6
        print(f"{name}: version {version}, {size:.1f} MB")
    print(f"Serve {arguments.output}, and give users the address of its index.json.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
