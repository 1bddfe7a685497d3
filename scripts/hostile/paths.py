"""Names of photos and outputs, what already lies at an output, and options: by the modules, and by the command line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from PIL import Image

from backend import __main__ as command_line
from backend.avatar import load_avatar, save_avatar
from backend.avatar.package import PACKAGE_FILES
from backend.devices import choose
from backend.errors import BackendError
from backend.options import SEED_LIMIT, ReconstructOptions
from backend.output import check_output, write_package
from backend.pipeline import Pipeline
from backend.prepare import load_photo

from .cases import MADE, REFUSED, ROOT, WARNED, Case, Said, run_backend, said_by

_PERSON = ROOT / "docs" / "demo" / "person.jpg"
_AVATAR = ROOT / "tests" / "data" / "avatar_2"
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01 made up"
_BYTES_ARE_NAMES = os.name != "nt" and sys.platform != "darwin"
_NAME_LIMIT = 255
_PATH_LIMIT = 4096
Arrange = Callable[[Path], Path]
"""Makes what a case needs in its folder; gives the path to try."""


# What is in a case's folder, and what became of it.


def _state(folder: Path) -> dict[str, str]:
    """Everything in ``folder`` by its path in it: a digest, a link's target, or that it is a folder."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            if os.path.islink(path):
                what = f"link to {os.readlink(path)}"
            elif os.path.isdir(path):
                what = "folder"
            else:
                with open(path, "rb") as file:
                    what = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = what
    return found


def _changes(before: dict[str, str], after: dict[str, str], package: str = "") -> str:
    """What was lost, changed or left behind, but for the files of the ``package`` and the folders it needs."""
    ours = {os.path.join(package, name) for name in PACKAGE_FILES} if package else set()
    place = Path(package)
    above = {str(place), *map(str, place.parents)} if package else set()
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new or name in ours or (old is None and new == "folder" and name in above):
            continue
        what = "left behind" if old is None else "lost" if new is None else "changed"
        found.append(f"{name!r} was {what}")
    return "; ".join(found)[:300]


def _sentence(error: BackendError) -> str:
    """What the user reads.

    Raises:
        AssertionError: it is no text that a screen shows on one line, or lacks a part.
    """
    for text in (error.message, error.fix):
        if not text.endswith(".") or any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in text):
            raise AssertionError(f"no sentence on one line: {text!r}")
        text.encode("utf-8")
    return f"{error.message} {error.fix}"


# Where an avatar may be written.


@cache
def _avatar() -> object:
    return load_avatar(_AVATAR)


def _write(arrange: Arrange, own: Path) -> Said:
    """Ask whether there can be written, as before a computation, then write as after one."""
    output = arrange(own)
    before = _state(own)
    try:
        check_output(output)
    except BackendError as error:
        return Said(REFUSED, _sentence(error), _changes(before, _state(own)))
    lost = _changes(before, _state(own))
    if lost:
        return Said(MADE, "", f"while looking, {lost}")
    try:
        write_package(_avatar(), output, _PNG, lambda: _PNG)
    except BackendError as error:
        return Said(REFUSED, _sentence(error), "the computation, after the place had been found to be good")
    output = Path(os.path.realpath(output))
    lost = _changes(before, _state(own), os.path.relpath(output, os.path.realpath(own)))
    if load_avatar(output).warnings != _avatar().warnings or (output / "input.png").read_bytes() != _PNG:
        lost = "the new avatar"
    return Said(MADE, "", lost)


def _named(name: str | bytes, own: Path) -> Path:
    return own / os.fsdecode(name)


def _filled(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return folder


def _existing(own: Path, name: str = "avatar") -> Path:
    """An avatar with the user's own files beside the package's."""
    place = own / name
    save_avatar(_avatar(), place, _PNG)
    (place / "exported.glb").write_bytes(b"mine")
    (place / "notes").mkdir()
    (place / "notes" / "gaussians.ply").write_bytes(b"mine too")
    return place


def _long_path(short_of: int, own: Path) -> Path:
    """A path so many bytes shorter than the longest that Linux takes."""
    place = str(own)
    while len(place) < _PATH_LIMIT - short_of - 1:
        room = _PATH_LIMIT - short_of - len(place) - 2
        place += os.sep + "d" * (room if room <= 200 else 100)
    return Path(place)


def _linked(link: Path, target: Path) -> Path:
    link.symlink_to(target)
    return link


def _damaged(own: Path) -> Path:
    place = _existing(own)
    (place / "gaussians.ply").write_bytes(b"ply")
    (place / "skin.npz").unlink()
    return place


def _newer(own: Path) -> Path:
    place = _existing(own)
    text = json.loads((place / "avatar.json").read_text("utf-8"))
    (place / "avatar.json").write_text(json.dumps(text | {"version": 99}), "utf-8")
    return place


def _with_a_link(own: Path) -> Path:
    place = _existing(own)
    _linked(place / "elsewhere", _filled(own / "theirs", a__txt="theirs"))
    return place


def _linked_metadata(own: Path) -> Path:
    theirs, place = _existing(own, "theirs"), own / "avatar"
    place.mkdir()
    _linked(place / "avatar.json", theirs / "avatar.json")
    return place


def _left_by_a_kill(own: Path) -> Path:
    """As a process left it that was killed between taking the old avatar away and putting the new one there."""
    from backend.avatar import whole

    place = _existing(own)
    place.rename(own / f"{whole._prefix(place)}00000000.old")
    return place


def _recovered(own: Path) -> Said:
    place = _left_by_a_kill(own)
    check_output(place)
    kept = (place / "exported.glb").is_file() and (place / "notes" / "gaussians.ply").is_file()
    load_avatar(place)
    rest = [entry.name for entry in own.iterdir() if entry != place]
    return Said(MADE, "", ", ".join(rest) if kept else "the user's files")


def _outputs() -> Iterator[tuple[str, Arrange, tuple[str, ...], str]]:
    either = (MADE, REFUSED)
    windows = either if os.name == "nt" else (MADE,)
    names: dict[str, str | bytes] = {
        "quotes": 'it\'s "quoted" `x`',
        "a shell's": "$(touch pwned); touch pwned & touch pwned | x",
        "variables": "${HOME} $HOME %TEMP% ~ !x!",
        "patterns": "*?[a-z]<>|",
        "two lines": "one\ntwo\r\nthree",
        "a tab": "a\tb",
        "terminal codes": "\x1b[31mred\x07\x7f",
        "emoji": "🙂👩‍👩‍👧 山田 ä",
        "right to left": "\u202eabc שלום",
        "accents apart": "e\u0301\u200b",
        "only a space": " ",
        "spaces around": "  a  b  ",
        "dots": "...",
        "a dot at the end": "avatar.",
        "hidden": ".avatar",
        "a dash": "-rf",
        "an option": "--output=x",
        "a backslash": "a\\b\\..\\c",
        "a colon": "a:b",
        "a reserved name": "CON",
        "a reserved name with a suffix": "aux.txt",
        "255 bytes": "x" * _NAME_LIMIT,
        "255 bytes of emoji": "🙂" * 63 + "xxx",
        "a package's file": "gaussians.ply",
        "a percent sign": "100% %s {0}",
    }
    for title, name in names.items():
        yield f"named {title}", partial(_named, name), windows, ""
    yield "named 256 bytes", partial(_named, "x" * 256), (REFUSED,), "too long" if os.name != "nt" else ""
    yield "named 5000 bytes", partial(_named, "x" * 5000), (REFUSED,), ""
    yield "named with a NUL", partial(_named, "a\0b"), (REFUSED,), ""
    yield "below a name of 300 bytes", lambda own: own / "a" / ("x" * 300) / "b", (REFUSED,), ""
    if _BYTES_ARE_NAMES:
        yield "named in Latin-1", partial(_named, b"caf\xe9"), (REFUSED,), "no text"
        yield "below a name in Latin-1", lambda own: _named(b"caf\xe9", own) / "a", (REFUSED,), "no text"
        yield "two lines in Latin-1", partial(_named, b"caf\xe9\nb"), (REFUSED,), "no text"
        for short_of in (0, 8, 40, 80, 140, 400):
            yield f"{short_of} bytes short of the longest path", partial(_long_path, short_of), either, ""
    yield "80 folders deep", lambda own: own.joinpath(*["d"] * 80), windows, ""
    yield "up and down again", lambda own: own / "a" / ".." / "b" / "." / "c", (MADE,), ""
    yield "an empty folder", lambda own: _filled(own / "empty"), (MADE,), ""
    yield "an existing avatar", _existing, (MADE,), ""
    yield "a damaged avatar", _damaged, (MADE,), ""
    yield "an avatar of a newer version", _newer, (MADE,), ""
    yield "within an avatar", lambda own: _existing(own) / "notes" / "inner", (MADE,), ""
    yield "a foreign folder", lambda own: _filled(own / "theirs", a__txt="theirs"), (REFUSED,), "holds no avatar"
    yield "a foreign folder of folders", lambda own: _filled(own / "theirs" / "a").parent, (REFUSED,), "holds no avatar"
    yield "a foreign hidden file", lambda own: _filled(own / "theirs", __DS_Store="x"), (REFUSED,), "holds no avatar"
    yield "a foreign folder of two lines", lambda own: _filled(own / "a\nb\x1b[31m", a__txt="x"), (REFUSED,), ""
    yield (
        "a foreign avatar.json",
        lambda own: _filled(own / "theirs", avatar__json='{"format": "theirs"}'),
        (REFUSED,),
        "holds no avatar",
    )
    yield "a file", lambda own: _filled(own / "a", file="mine") / "file", (REFUSED,), "is a file"
    yield "below a file", lambda own: _filled(own / "a", file="mine") / "file" / "b" / "c", (REFUSED,), ""
    yield "within a foreign folder", lambda own: _filled(own / "theirs", a__txt="x") / "mine", (MADE,), ""
    if os.name != "nt":  # where links need a privilege
        yield "a link to nothing", lambda own: _linked(own / "link", own / "target"), (MADE,), ""
        yield "a link in a circle", lambda own: _linked(own / "link", own / "link"), (REFUSED,), ""
        yield "below a link in a circle", lambda own: _linked(own / "link", own / "link") / "a", (REFUSED,), ""
        yield "a link to an avatar", lambda own: _linked(own / "link", _existing(own)), (MADE,), ""
        yield (
            "a link to a foreign folder",
            lambda own: _linked(own / "link", _filled(own / "theirs", a__txt="theirs")),
            (REFUSED,),
            "holds no avatar",
        )
        yield "below a link", lambda own: _linked(own / "link", _filled(own / "real")) / "avatar", (MADE,), ""
        yield "an avatar that holds a link", _with_a_link, (MADE,), ""
        yield "a folder whose avatar.json is a link", _linked_metadata, (MADE,), ""


# Photos.


def _photo(arrange: Arrange, own: Path) -> Said:
    path = arrange(own)
    before = _state(own)
    try:
        photo = load_photo(path)
    except BackendError as error:
        if error.kind not in ("image_unreadable", "image_too_large"):
            raise
        return Said(REFUSED, _sentence(error), _changes(before, _state(own)))
    right = photo.rgb.shape == (160, 120, 3) and photo.name == path.name
    return Said(MADE, "", _changes(before, _state(own)) or ("" if right else f"the photo: {photo.rgb.shape}"))


def _picture(name: str | bytes, own: Path) -> Path:
    path = _named(name, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.new("RGB", (120, 160), (90, 120, 60)).save(file, "PNG")
    return path


def _text(name: str | bytes, own: Path) -> Path:
    path = _named(name, own)
    path.write_bytes(b"no picture")
    return path


def _photos() -> Iterator[tuple[str, Arrange, tuple[str, ...]]]:
    good: dict[str, str | bytes] = {
        "quotes and a shell's": "$(touch pwned) 'x' \"y\" `z`; &.png",
        "two lines": "a\nb.png",
        "emoji": "🙂 山田.png",
        "a dash": "-o.png",
        "255 bytes": "x" * 251 + ".png",
        "a percent sign": "%d %s {0}.png",
        "an address": "file:/a.png",
    }
    for title, name in good.items():
        yield f"photo named {title}", partial(_picture, name), (MADE, REFUSED) if os.name == "nt" else (MADE,)
    yield "no photo named with two lines", partial(_named, "a\nb.png"), (REFUSED,)
    yield "no photo named 5000 bytes", partial(_named, "x" * 5000), (REFUSED,)
    yield "no photo named with a NUL", partial(_named, "a\0b.png"), (REFUSED,)
    yield "no photo below a file", lambda own: _text("a.png", own) / "b.png", (REFUSED,)
    yield "text as photo named with two lines", partial(_text, "a\nb\x1b[31m.png"), (REFUSED,)
    if _BYTES_ARE_NAMES:
        yield "photo named in Latin-1", partial(_picture, b"caf\xe9.png"), (MADE,)
        yield "text as photo named in Latin-1", partial(_text, b"caf\xe9.png"), (REFUSED,)
        yield "no photo named in Latin-1", partial(_named, b"caf\xe9.png"), (REFUSED,)
    if os.name != "nt":
        yield "a link as photo", lambda own: _linked(own / "l.png", _picture("a.png", own)), (MADE,)
        yield "a link in a circle as photo", lambda own: _linked(own / "l.png", own / "l.png"), (REFUSED,)


# Options.


@cache
def _pipeline() -> Pipeline:
    return Pipeline("cpu")


def _asked(options: ReconstructOptions, photo: Path, own: Path) -> Said:
    """A reconstruction that must be refused; it leaves no folder."""
    before = _state(own)
    try:
        _pipeline().reconstruct(photo, own / "a" / "b" / "avatar", options)
    except BackendError as error:
        return Said(REFUSED, _sentence(error), _changes(before, _state(own)))
    return Said(MADE)


def _body(arrange: Arrange, own: Path) -> Said:
    return _asked(ReconstructOptions(preset="surface", body=str(arrange(own))), _PERSON, own)


def _device(name: str, _own: Path) -> Said:
    try:
        choice = choose(name)
    except BackendError as error:
        return Said(REFUSED, _sentence(error))
    return Said(WARNED if choice.note else MADE, choice.note)


def _parsed(more: Sequence[str], own: Path) -> Said:
    """The command line in this process, with a photo that is not there: wrong options must be said first."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["reconstruct", str(own / "none.jpg"), "-o", str(own / "a" / "avatar"), *more, "--json"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = command_line.main(arguments)
        except SystemExit as error:
            status = error.code
    if status != 2:
        raise RuntimeError(f"exit status {status}: {err.getvalue()}")
    error = json.loads(out.getvalue())["error"]
    text = f"{error['message']} {error['fix']}"
    return Said(MADE if "none.jpg" in text else REFUSED, text, _changes({}, _state(own)))


def _values() -> Iterator[tuple[list[str], tuple[str, ...], str]]:
    yield ["--seed", "-1"], (REFUSED,), "seed"
    yield ["--seed", "1.5"], (REFUSED,), "seed"
    yield ["--seed", "9" * 5000], (REFUSED,), "seed"
    yield ["--seed", str(SEED_LIMIT)], (REFUSED,), "seed"
    yield ["--seed", str(SEED_LIMIT - 1)], (MADE,), ""
    yield ["--seed", ""], (REFUSED,), "seed"
    yield ["--seed", "one\ntwo"], (REFUSED,), "seed"
    yield ["--person", "0"], (REFUSED,), "person"
    yield ["--person", "two"], (REFUSED,), "person"
    yield ["--shading", "nan"], (REFUSED,), "shading"
    yield ["--shading", "-inf"], (REFUSED,), "shading"
    yield ["--shading", "1.0000001"], (REFUSED,), "shading"
    yield ["--shading", "50%"], (REFUSED,), "shading"
    yield ["--shading", "1e-400"], (MADE,), ""
    yield ["--preset", "gold"], (REFUSED,), "preset"
    yield ["--preset", "SURFACE"], (REFUSED,), "preset"
    yield ["--preset", "$(x)\n'"], (REFUSED,), "preset"
    yield ["--frobnicate"], (REFUSED,), "frobnicate"
    yield ["another.jpg"], (REFUSED,), "another.jpg"
    yield ["-o", ""], (REFUSED,), "output"
    yield ["-o", "  "], (REFUSED,), "output"
    yield ["-o", "-rf"], (REFUSED,), "output"


def _options() -> Iterator[tuple[str, Callable[[Path], Said], tuple[str, ...], str]]:
    for more, wanted, says in _values():
        yield f"option {' '.join(more)[:40]!r}", partial(_parsed, more), wanted, says
    wrong = {
        "seed -1": (ReconstructOptions(seed=-1), "seed"),
        "seed 2^63": (ReconstructOptions(seed=SEED_LIMIT), "seed"),
        "seed 10^5000": (ReconstructOptions(seed=10**5000), "seed"),
        "shading nan": (ReconstructOptions(shading=math.nan), "shading"),
        "shading 2": (ReconstructOptions(shading=2.0), "shading"),
        "preset of two lines": (ReconstructOptions(preset="a\nb"), "preset"),
        "preset of 10000 letters": (ReconstructOptions(preset="a" * 10000), "preset"),
        "person 0": (ReconstructOptions(preset="surface", person=0), "person"),
        "person -1": (ReconstructOptions(preset="surface", person=-1), "person"),
        "person 10^30": (ReconstructOptions(preset="surface", person=10**30), "person"),
    }
    for title, (options, says) in wrong.items():
        yield f"options: {title}", partial(_asked, options, _PERSON), (REFUSED,), says
    bodies: dict[str, Arrange] = {
        "that is not there": lambda own: own / "none.npz",
        "of two lines": lambda own: own / "a\nb.npz",
        "with a NUL": lambda own: own / "a\0b.npz",
        "of 5000 letters": lambda own: own / ("a" * 5000),
        "that is a folder": lambda own: _filled(own / "body.npz"),
        "that is a photo": lambda own: _picture("body.png", own),
        "that is empty": lambda own: _filled(own / "b", body__npz="") / "body.npz",
        "of another case": lambda own: Path("NEUTRAL"),
        "without a name": lambda own: Path(""),
    }
    if _BYTES_ARE_NAMES:
        bodies["in Latin-1"] = partial(_named, b"caf\xe9.npz")
    for title, arrange in bodies.items():
        yield f"body {title}", partial(_body, arrange), (REFUSED,), "body"
    for name in ("", "gpu", "CPU", "cuda:9999", "cuda:99", "cpu:1", "cpu\n", "mps:7", "x" * 9000, "cuda:٣"):
        yield f"device {name[:20]!r}", partial(_device, name), (REFUSED,), "device"
    yield "device 'cpu:0'", partial(_device, "cpu:0"), (MADE,), ""
    yield "device 'auto'", partial(_device, "auto"), (MADE, WARNED), ""


# The command line, from its start.


def _command(
    arrange: Callable[[Path], tuple[list[str | Path], Path | None]],
    own: Path,
    environment: dict[str, str] | None = None,
) -> Said:
    """Run ``reconstruct`` in the case's folder.

    Args:
        arrange: gives the arguments, and where the avatar is to be; None for nowhere.
        own: the case's folder.
        environment: set besides the present one.
    """
    arguments, place = arrange(own)
    before = _state(own)
    ran = run_backend(["reconstruct", *arguments], cwd=own, environment=environment)
    if ran.status == 2:
        message = ran.err.strip().split("Error: ")[-1]
        if message.count("\n") > 1 and "usage:" not in ran.err:
            raise AssertionError(f"a message of more than two lines: {message!r}")
        return said_by(ran, lost=_changes(before, _state(own)))
    if place is None:
        return said_by(ran)
    where = os.path.relpath(os.path.realpath(place), os.path.realpath(own))
    lost = _changes(before, _state(own), where)
    avatar = load_avatar(place)
    if avatar.source["sha256"] == _avatar().source["sha256"]:
        lost = "the new avatar"
    return said_by(ran, lost=lost)


def _person(name: str | bytes, own: Path) -> Path:
    path = _named(name, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_PERSON, path)
    return path


def _replacing(own: Path) -> tuple[list[str | Path], Path]:
    """The photo is among the files of the avatar that is replaced; link, dash and a shell's signs are in the names."""
    place = _existing(own, "it's $(touch pwned) 🙂")
    _person(f"{place.name}/-photo; touch pwned.jpg", own)
    _linked(own / "link", place) if os.name != "nt" else None
    return ["--preset", "surface", "--output", "link", "--", f"{place.name}/-photo; touch pwned.jpg"], place


def _latin(own: Path) -> tuple[list[str | Path], Path]:
    photo = _person(b"caf\xe9 \n.jpg" if _BYTES_ARE_NAMES else "café.jpg", own)
    place = own / "a" / "b" / "--preset=gold"
    return ["--preset", "surface", "--output=a/b/--preset=gold", "--json", photo], place


def _extreme(own: Path) -> tuple[list[str | Path], Path]:
    options = ["--seed", str(SEED_LIMIT - 1), "--person", "1", "--shading", "0", "--body", "child", "--device", "cpu"]
    return [_person("a.jpg", own), "-o", own / ("🙂" * 63 + "xxx"), *options], own / ("🙂" * 63 + "xxx")


def _own_input(own: Path) -> tuple[list[str | Path], Path]:
    """The photo is the avatar's own copy of an earlier photo, which is replaced with it."""
    place = _existing(own)
    with Image.open(_PERSON) as image:
        image.save(place / "input.png")
    return ["--preset", "surface", place / "input.png", "-o", place], place


def _refused(*arguments: str | Path | Arrange) -> Callable[[Path], tuple[list[str | Path], None]]:
    return lambda own: ([word(own) if callable(word) else word for word in arguments], None)


def _commands() -> Iterator[tuple[str, Callable[[Path], Said], tuple[str, ...], str]]:
    done = (MADE, WARNED)
    if os.name != "nt":
        yield "command: over an avatar with the photo in it", partial(_command, _replacing), done, ""
    yield "command: relative, dashes, Latin-1", partial(_command, _latin), done, ""
    yield (
        "command: extreme options, a screen of ASCII",
        partial(_command, _extreme, environment={"PYTHONIOENCODING": "ascii"}),
        done,
        "",
    )
    yield "command: the avatar's own input", partial(_command, _own_input), done, ""
    here: Arrange = partial(_person, "a.jpg")
    refused: dict[str, tuple[Callable[[Path], tuple[list[str | Path], None]], str]] = {
        "no photo of two lines": (_refused("a\nb\x1b[31m.jpg", "-o", "out"), "no file"),
        "a photo of 5000 letters": (_refused("a" * 5000, "-o", "out"), ""),
        "a folder as photo": (_refused(".", "-o", "out"), "no file"),
        "no picture, deep output": (_refused(partial(_text, "a.jpg"), "-o", "d/e/f"), "picture"),
        "output is the input": (_refused(here, "-o", "a.jpg"), "is a file"),
        "output below the input": (_refused(here, "-o", "a.jpg/b/c"), "cannot be written"),
        "output is the photo's folder": (_refused(here, "-o", "."), "holds no avatar"),
        "person 99": (_refused("--preset", "surface", "--person", "99", here, "-o", "d/e"), "99"),
        "output of two lines is foreign": (
            lambda own: ([_person("a.jpg", own), "-o", _filled(own / "b\nc", a__txt="x")], None),
            "holds no avatar",
        ),
    }
    if _BYTES_ARE_NAMES:
        refused["output in Latin-1"] = (lambda own: ([_person("a.jpg", own), "-o", os.fsdecode(b"caf\xe9")], None), "")
    for title, (arrange, says) in refused.items():
        yield f"command: {title}", partial(_command, arrange), (REFUSED,), says


def cases(folder: Path) -> list[Case]:
    """The cases of this area; each has its own folder."""
    found = [Case(f"output {name}", partial(_write, make), wanted, says) for name, make, wanted, says in _outputs()]
    found.append(Case("output that a kill has taken away", _recovered, (MADE,)))
    found += [Case(name, partial(_photo, arrange), wanted) for name, arrange, wanted in _photos()]
    found += [Case(*case) for case in _options()]
    return [*found, *(Case(*case) for case in _commands())]
