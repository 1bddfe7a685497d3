"""Avatar packages of strangers: read in this process, and the gravest of them by the command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hostile_packages import OPENS, hostile_packages
from synthetic import make_avatar

from backend.avatar import AvatarFormatError, load_avatar, save_avatar, validate_avatar

from .cases import MADE, REFUSED, WARNED, Case, Said, left_behind, memory_peak, run_backend, said_by

RENDERED = (
    *("json_deep", "json_width_infinite", "ply_sparse_file", "ply_places_1e30", "ply_scale_e80", "ply_opacity_1e30"),
    *("ply_no_turns", "npz_bomb", "npz_header_bomb", "pipe_gaussians", "device_gaussians", "body_correctives_2_gb"),
)
EXPORTED = (
    *(
        "json_source_evil",
        "json_body_model_is_a_path",
        "ply_count_900_digits",
        "npz_bomb_that_lies",
        "npz_20000_entries",
    ),
    *("skin_vertex_ids_that_wrap", "faces_repeated", "faces_3_million", "pipe_avatar", "empty"),
)
"""Cases of ``hostile_packages`` that are tried by the command line as well."""

_EXPORTED = {MADE: (WARNED,), REFUSED: (REFUSED,)}
"""A whole export says what its formats do not keep."""


def cases(folder: Path) -> list[Case]:
    """Every package by the reader, some by ``render`` and ``export``, and places that are no packages at all."""
    made = _make(folder)
    expected = {name: MADE if kind == OPENS else REFUSED for name, _, kind in made}
    paths = {name: Path(path) for name, path, _ in made}
    read = [Case(f"read_{name}", partial(_read, path), (expected[name],)) for name, path in paths.items()]
    render = [
        Case(f"render_{name}", partial(_render, folder, paths[name]), (expected[name],)) for name in _here(RENDERED)
    ]
    export = [
        Case(f"export_{name}", partial(_export, folder, paths[name]), _EXPORTED[expected[name]])
        for name in _here(EXPORTED)
    ]
    places = [
        Case("render_what_is_not_there", lambda own: _render(folder, folder / "none", own), (REFUSED,)),
        Case("render_a_file", lambda own: _render(folder, folder / "valid" / "avatar.json", own), (REFUSED,)),
        Case("render_nothing", lambda own: _render(folder, "", own), (REFUSED,)),
        Case("render_a_name_of_5000_letters", lambda own: _render(folder, "a" * 5000, own), (REFUSED,)),
        Case("render_a_name_of_two_lines", lambda own: _render(folder, "a\nb\x1b[31m", own), (REFUSED,)),
        Case("export_into_the_package", lambda own: _onto_itself(folder, own), (REFUSED,)),
        Case("export_a_link_to_itself", lambda own: _export(folder, _circle(own), own), (REFUSED,)),
        Case("render_valid", lambda own: _render(folder, folder / "valid", own), (MADE,)),
        Case("export_valid", lambda own: _export(folder, folder / "valid", own), _EXPORTED[MADE]),
    ]
    return [*read, *render, *export, *places]


def _here(names: Sequence[str]) -> list[str]:
    """Without those that this system cannot have."""
    return [name for name in names if hasattr(os, "mkfifo") or not name.startswith(("pipe_", "device_"))]


def _make(folder: Path) -> Sequence[tuple[str, str, str]]:
    """Name, path and expected end of every package; made once."""
    index = folder / "packages.json"
    if not index.is_file():
        save_avatar(make_avatar(150, seed=3), folder / "valid")
        found = hostile_packages(folder / "valid", folder / "packages")
        index.write_text(json.dumps([(case.name, str(case.path), case.expected) for case in found]), "utf-8")
    return [tuple(entry) for entry in json.loads(index.read_text("utf-8"))]


def _contents(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*")) if folder.is_dir() else []


def _read(package: Path, _own: Path) -> Said:
    before, refusal = _contents(package.parent), ""
    with memory_peak() as peak:
        try:
            avatar = load_avatar(package)
            validate_avatar(avatar)
        except AvatarFormatError as error:
            refusal = str(error)
    added = set(_contents(package.parent)) ^ set(before)
    said = Said(REFUSED if refusal else MADE, refusal, ", ".join(sorted(added)), peak[0])
    if refusal and ("\n" in refusal or not refusal.endswith(".")):
        raise AssertionError(f"not one sentence: {refusal!r}")
    return said


def _normal_peak(folder: Path, command: str) -> int:
    """Bytes that a command takes with the valid package; measured once."""
    path = folder / f"normal_{command}.txt"
    if not path.is_file():
        output = folder / f"normal_{command}"
        arguments = ["-o", output / "a.png", "--size", "64"] if command == "render" else [*_EXPORT, "-o", output]
        path.write_text(str(run_backend([command, folder / "valid", *arguments]).peak))
    return int(path.read_text())


_EXPORT = ["--to", "splats", "--formats", "ply", "--offline"]


def _render(folder: Path, package: Path | str, own: Path) -> Said:
    ran = run_backend(["render", package, "-o", own / "a.png", "--size", "64"])
    lost = left_behind(own, ["a.png"] if ran.status == 0 else [])
    if ran.status == 0 and not (own / "a.png").read_bytes().startswith(b"\x89PNG"):
        lost = "the picture"
    return said_by(ran, normal_peak=_normal_peak(folder, "render"), lost=lost)


def _export(folder: Path, package: Path, own: Path) -> Said:
    ran = run_backend(["export", package, *_EXPORT, "-o", own / "out"])
    made = ["out"] if ran.status == 0 else []
    lost = left_behind(own, [*made, package.name] if package.parent == own else made)
    if ran.status == 0 and not (own / "out" / "export.json").is_file():
        lost = "the list of the files"
    return said_by(ran, normal_peak=_normal_peak(folder, "export"), lost=lost)


def _onto_itself(folder: Path, own: Path) -> Said:
    """Would replace the avatar by its own export."""
    package = own / "avatar"
    shutil.copytree(folder / "valid", package, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in package.iterdir()}
    ran = run_backend(["export", package, *_EXPORT, "-o", package])
    after = {path.name: path.read_bytes() for path in package.iterdir()}
    return said_by(ran, lost="the package" if after != before else left_behind(own, ["avatar"]))


def _circle(own: Path) -> Path:
    os.symlink(own / "circle", own / "circle")
    return own / "circle"
