"""Processes that are ended, stopped or disturbed while they save, two that save at once, and full disks; POSIX only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from backend.avatar import Avatar, AvatarFormatError, load_avatar, save_avatar

from .cases import MADE, REFUSED, ROOT, Case, Ran, Said, said_by

_PERSON = ROOT / "docs" / "demo" / "person.jpg"
_AVATAR = ROOT / "tests" / "data" / "avatar_2"
_ROUNDS = 10
_LONGEST_WAIT = 0.15
"""Seconds after which a process is ended at most; a save takes about a tenth of that."""

_START = f"""
import dataclasses, errno, json, os, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from backend.avatar import load_avatar, save_avatar
avatar = load_avatar({str(_AVATAR)!r})
target = Path(sys.argv[1])
"""

_SAVER = (
    _START
    + """
new = dataclasses.replace(avatar, warnings=(sys.argv[2],))
end, saved = time.monotonic() + float(sys.argv[3]), 0
print("ready", flush=True)
while time.monotonic() < end:
    save_avatar(new, target)
    saved += 1
print(saved, flush=True)
"""
)
"""Saves over and over: where, the avatar's only warning, for how many seconds."""

_FULL = (
    _START
    + """
import builtins, io, resource
from backend.errors import BackendError
from backend.output import write_package

kind, room = sys.argv[2], 0
real_open, hard = io.open, resource.getrlimit(resource.RLIMIT_FSIZE)[1]


class Written:
    # A file on a disk that has room for so many bytes.
    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, data):
        global room
        if room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room -= len(data)
        return self._file.write(data)


def opened(path, mode="r", *rest, **named):
    file = real_open(path, mode, *rest, **named)
    return Written(file) if set(mode) & set("wax+") else file


def failing(real, times):
    left = [times]

    def call(*arguments, **named):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return real(*arguments, **named)

    return call


png = b"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\x01\\0\\0\\0\\x01 made up"
new, wrong, refused = dataclasses.replace(avatar, warnings=("New.",)), [], ""
for number in range(40):
    room = number * 12_000
    kept = {name: getattr(os, name) for name in ("fsync", "mkdir", "rename")}
    if kind == "write":
        builtins.open = io.open = opened
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    else:
        setattr(os, kind, failing(kept[kind], number))
    try:
        write_package(new, target, png, lambda: png)
        ended = True
    except BackendError as error:
        ended, refused = False, f"{error.message} {error.fix}"
        if error.kind != ("output_not_writable" if kind == "limit" else "disk_full"):
            wrong.append(f"{number}: {error.kind}")
    finally:
        builtins.open = io.open = real_open
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        for name, function in kept.items():
            setattr(os, name, function)
    if ended:
        break
    if load_avatar(target).warnings != ("Old.",) or (target / "mine.glb").read_bytes() != b"mine":
        wrong.append(f"{number}: the old avatar")
    if os.listdir(target.parent) != [target.name]:
        wrong.append(f"{number}: {os.listdir(target.parent)}")
print(json.dumps({"tried": number, "ended": ended, "wrong": wrong[:3], "refused": refused}))
"""
)
"""Saves on disks that are full after more and more."""


@cache
def _avatar() -> Avatar:
    return load_avatar(_AVATAR)


def _existing(own: Path, files: bool = True) -> Path:
    """An avatar in a folder of its own, with a file of the user's."""
    target = own / "out" / "avatar"
    save_avatar(dataclasses.replace(_avatar(), warnings=("Old.",)), target)
    if files:
        (target / "mine.glb").write_bytes(b"mine")
    return target


def _child(program: str, own: Path, *arguments: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Python with the program, in the case's folder; the environment, and so the guard, is this process's."""
    script = own / "child.py"
    script.write_text(program, "utf-8")
    return subprocess.Popen(
        [sys.executable, "-B", str(script), *map(str, arguments)],
        cwd=own,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _saver(own: Path, target: Path, says: str = "New.", seconds: float = 30.0) -> subprocess.Popen[str]:
    """One that has begun to save."""
    process = _child(_SAVER, own, target, says, str(seconds))
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError(process.communicate()[1])
    return process


@contextlib.contextmanager
def _ended(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens in the block, they have ended after it."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _afterwards(target: Path, files: bool = True) -> str:
    """What is wrong after a process has ended and another has saved; empty if nothing is."""
    for left in target.parent.iterdir():
        os.utime(left, (0, 0))  # as later: what has no lock might be somebody's who has just begun
    save_avatar(dataclasses.replace(_avatar(), warnings=("Old.",)), target)
    rest = sorted(set(os.listdir(target.parent)) - {target.name})
    if rest:
        return f"left behind: {', '.join(rest)}"
    return _user_file(target) if files else ""


def _user_file(target: Path) -> str:
    path = target / "mine.glb"
    return "" if path.is_file() and path.read_bytes() == b"mine" else "the user's file"


def _killed(number: signal.Signals, again: bool, seed: int, own: Path) -> Said:
    """End a process at random moments of its saves, over an avatar; ``again`` and again before anybody else saves."""
    target, moments = _existing(own), random.Random(seed)
    for attempt in range(_ROUNDS):
        process = _saver(own, target)
        with _ended(process):
            time.sleep(moments.uniform(0.0, _LONGEST_WAIT))
            process.send_signal(number)
            process.communicate(timeout=20)
        said = load_avatar(target).warnings
        lost = "" if said in (("Old.",), ("New.",)) else f"the avatar says {said}"
        lost = lost or _user_file(target) or ("" if again else _afterwards(target))
        if lost:
            return Said(MADE, "", f"{lost} (after end {attempt + 1})")
    return Said(MADE, "", _afterwards(target))


def _killed_at_the_first(seed: int, own: Path) -> Said:
    """No avatar was there: afterwards there is a whole one or none."""
    moments = random.Random(seed)
    for attempt in range(_ROUNDS):
        target = own / str(attempt) / "avatar"
        process = _saver(own, target)
        with _ended(process):
            time.sleep(moments.uniform(0.0, 0.02))
            process.kill()
            process.communicate(timeout=20)
        if target.exists() or any(path.suffix == ".old" for path in target.parent.glob(".*")):
            load_avatar(target)
        else:
            with contextlib.suppress(AvatarFormatError):
                load_avatar(target)
                return Said(MADE, "", "nothing, yet an avatar opens")
        target.parent.mkdir(exist_ok=True)
        lost = _afterwards(target, files=False)
        if lost:
            return Said(MADE, "", f"{lost} (after end {attempt + 1})")
    return Said(MADE)


def _at_once(count: int, existing: bool, own: Path) -> Said:
    """So many save to the same place over and over."""
    target = _existing(own) if existing else own / "out" / "avatar"
    target.parent.mkdir(exist_ok=True)
    names = [f"{number}." for number in range(count)]
    processes = [_saver(own, target, name, 2.0) for name in names]
    failed, saved = [], 0
    with _ended(*processes):
        for process in processes:
            out, err = process.communicate(timeout=60)
            if process.returncode:
                failed.append(err.strip().splitlines()[-1])
            else:
                saved += int(out)
    lost = f"a save failed: {failed[0]}" if failed else ""
    said = load_avatar(target).warnings
    if said not in [(name,) for name in names]:
        lost = lost or f"the avatar says {said}"
    lost = lost or (_user_file(target) if existing else "") or ("" if saved > count else f"only {saved} saves")
    return Said(MADE, "", lost or _afterwards(target, existing))


def _read_meanwhile(own: Path) -> Said:
    """Who reads while it is replaced gets the old or the new one."""
    target = _existing(own)
    process, read, lost = _saver(own, target, seconds=2.0), 0, ""
    with _ended(process):
        while process.poll() is None:
            try:
                lost = lost or ("" if load_avatar(target).warnings in (("Old.",), ("New.",)) else "the avatar")
            except AvatarFormatError as error:
                lost = lost or f"a read failed: {error}"
            read += 1
    return Said(MADE, "", lost or ("" if read > 5 else f"only {read} reads") or _afterwards(target))


def _halted(seed: int, own: Path) -> Said:
    """A process is halted at some moment, another saves meanwhile, and it goes on."""
    moments = random.Random(seed)
    for attempt in range(_ROUNDS):
        folder = own / str(attempt)
        folder.mkdir()
        target = _existing(folder)
        process = _saver(own, target, seconds=0.3)
        with _ended(process):
            time.sleep(moments.uniform(0.0, _LONGEST_WAIT))
            process.send_signal(signal.SIGSTOP)
            failed = ""
            try:
                save_avatar(dataclasses.replace(_avatar(), warnings=("Old.",)), target)
            except TimeoutError:
                pass  # it says that somebody is writing there
            except OSError as error:
                failed = f"the other's save: {error}"
            process.send_signal(signal.SIGCONT)
            err = process.communicate(timeout=30)[1]
        if process.returncode:
            failed = failed or f"its own save: {err.strip().splitlines()[-1]}"
        load_avatar(target)
        lost = failed or _user_file(target) or _afterwards(target)
        if lost:
            return Said(MADE, "", f"{lost} (after halt {attempt + 1})")
    return Said(MADE)


def _full(kind: str, own: Path) -> Said:
    """The disk is full at ever later moments; the old avatar stays, until there is room."""
    target = _existing(own)
    process = _child(_FULL, own, target, kind)
    with _ended(process):
        out, err = process.communicate(timeout=100)
    if process.returncode:
        raise RuntimeError(err.strip().splitlines()[-1])
    told = json.loads(out)
    lost = "; ".join(told["wrong"])
    if not told["ended"] or told["tried"] < 2:
        lost = lost or f"{told['tried']} full disks were tried, the last one was{' not' * told['ended']} full"
    if load_avatar(target).warnings != ("New.",):
        lost = lost or "the new avatar"
    return Said(REFUSED, told["refused"], lost or _afterwards(target))


_SLOW = (
    _START
    + """
from backend.avatar import whole

new, real = dataclasses.replace(avatar, warnings=("New.",)), whole.rename


def rename(source, place):
    if place == target or source == target:
        print("ready", flush=True)
        sys.stdin.readline()
    real(source, place)


whole.rename = rename
save_avatar(new, target)
"""
)
"""Saves once, and waits to be told so before each rename of the avatar's folder."""


def _overtaken(existing: bool, at: int, own: Path) -> Said:
    """Another saves just before one renames the avatar's folder for the ``at``-th time."""
    target = _existing(own) if existing else own / "out" / "avatar"
    target.parent.mkdir(exist_ok=True)
    process = _child(_SLOW, own, target, stdin=subprocess.PIPE)
    lost = ""
    with _ended(process):
        assert process.stdin is not None and process.stdout is not None
        for number in range(at):
            if number:
                process.stdin.write("\n")
                process.stdin.flush()
            process.stdout.readline()
        try:
            save_avatar(dataclasses.replace(_avatar(), warnings=("Old.",)), target)
        except TimeoutError:
            pass  # it says that somebody is writing there
        except OSError as error:
            lost = f"the other's save: {error}"
        err = process.communicate("\n" * 9, timeout=30)[1]
    if process.returncode:
        lost = lost or f"its own save: {err.strip().splitlines()[-1]}"
    lost = lost or ("" if load_avatar(target).warnings == ("New.",) else "the later avatar")
    return Said(MADE, "", lost or (_user_file(target) if existing else "") or _afterwards(target, existing))


# The command line itself.


def _command(arguments: Sequence[str | Path], **streams: object) -> subprocess.Popen[bytes]:
    """``python -m backend``, found from the working directory; so every path is a whole one."""
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "backend", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
    )


def _asked_to_stop(number: signal.Signals, at: bytes, wait: float, own: Path) -> Said:
    """A reconstruction over an avatar gets a signal once it has said so much, and some time has passed."""
    target = _existing(own)
    process = _command(["reconstruct", "--preset", "surface", _PERSON, "-o", target])
    with _ended(process):
        assert process.stderr is not None
        for line in process.stderr:
            if at in line:
                break
        time.sleep(wait)
        process.send_signal(number)
        started = time.monotonic()
        err = process.communicate(timeout=60)[1].decode(errors="replace")
        took = time.monotonic() - started
    old = load_avatar(target).warnings == ("Old.",)
    lost = _user_file(target) or ("" if took < 15 else f"{took:.0f} s until it stopped")
    if process.returncode == 130:
        rest = sorted(set(os.listdir(target.parent)) - {target.name})
        lost = lost or ("" if old else "the old avatar") or ", ".join(rest)
        return Said(REFUSED, err.split("Error: ")[-1], lost or _afterwards(target))
    if process.returncode not in (0, -number):
        raise RuntimeError(f"exit status {process.returncode}: {err}")
    return Said(MADE, "", lost or _afterwards(target))


def _streams(stdout: str, stderr: str, words: Sequence[str], own: Path) -> Said:
    """Something to refuse, while an output is ``read``, ``left`` by its reader or ``closed``."""
    (own / "photo.jpg").write_bytes(b"no picture")
    reading, writing = os.pipe()
    os.close(reading)
    closed = [number for number, how in ((1, stdout), (2, stderr)) if how == "closed"]

    def close() -> None:
        for number in closed:
            os.close(number)

    kinds = {"read": subprocess.PIPE, "left": writing, "closed": subprocess.DEVNULL}
    arguments = ["reconstruct", "--preset", "surface", own / words[0], "-o", own / "a" / "avatar", *words[1:]]
    process = _command(arguments, stdout=kinds[stdout], stderr=kinds[stderr], preexec_fn=close)
    out, err = (text.decode() if text else "" for text in process.communicate(timeout=100))
    os.close(writing)
    left = sorted(set(os.listdir(own)) - {"photo.jpg"})
    if "left" in (stdout, stderr):  # nobody can be told
        if process.returncode != 1 or "Traceback" in err or "Exception ignored" in err:
            raise RuntimeError(f"exit status {process.returncode}: {err}")
        return Said(REFUSED, err or "nobody reads", ", ".join(left))
    if "--json" in words and stdout == "read":
        error = json.loads(out)["error"]
        err = f"{error['message']} {error['fix']}"
    elif stdout == "read" and out:
        raise RuntimeError(f"on standard output: {out}")
    return said_by(Ran(process.returncode, "", err or "nobody reads", 0), lost=", ".join(left))


def cases(folder: Path) -> list[Case]:
    """The cases of this area; none where there are no such signals."""
    if os.name == "nt":
        return []
    tries: list[tuple[str, Callable[[Path], Said], tuple[str, ...], str]] = []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        tries.append((f"{number.name} while saving", partial(_killed, number, False, int(number)), (MADE,), ""))
    tries += [
        ("SIGKILL again and again", partial(_killed, signal.SIGKILL, True, 100), (MADE,), ""),
        ("SIGINT again and again", partial(_killed, signal.SIGINT, True, 101), (MADE,), ""),
        ("SIGKILL while saving the first", partial(_killed_at_the_first, 102), (MADE,), ""),
        ("SIGSTOP while saving, another saves", partial(_halted, 103), (MADE,), ""),
        ("two save at once over an avatar", partial(_at_once, 2, True), (MADE,), ""),
        ("two save at once for the first time", partial(_at_once, 2, False), (MADE,), ""),
        ("four save at once over an avatar", partial(_at_once, 4, True), (MADE,), ""),
        ("overtaken before the old one is taken away", partial(_overtaken, True, 1), (MADE,), ""),
        ("overtaken before the new one is there", partial(_overtaken, True, 2), (MADE,), ""),
        ("overtaken at the first", partial(_overtaken, False, 1), (MADE,), ""),
        ("one reads while another saves", _read_meanwhile, (MADE,), ""),
    ]
    for kind in ("write", "fsync", "mkdir", "rename"):
        tries.append((f"a full disk: {kind}", partial(_full, kind), (REFUSED,), "full"))
    tries += [
        ("a limit of a file's size", partial(_full, "limit"), (REFUSED,), "cannot be written"),
        (
            "command: SIGINT while loading",
            partial(_asked_to_stop, signal.SIGINT, b"Loading", 1.0),
            (REFUSED,),
            "cancelled",
        ),
        (
            "command: SIGTERM while computing",
            partial(_asked_to_stop, signal.SIGTERM, b"body", 0.5),
            (REFUSED,),
            "cancelled",
        ),
        ("command: SIGKILL while saving", partial(_asked_to_stop, signal.SIGKILL, b"save", 0.4), (MADE,), ""),
    ]
    streams = [
        ("stdout's reader leaves", "left", "read", ["none.jpg", "--json"], "none.jpg"),
        ("stderr's reader leaves", "read", "left", ["none.jpg", "--json"], ""),
        ("stdout is closed", "closed", "read", ["none.jpg", "--json"], "none.jpg"),
        ("stderr is closed", "read", "closed", ["none.jpg"], ""),
        ("both are closed", "closed", "closed", ["none.jpg", "--json"], ""),
        ("stderr is closed, the networks are loaded", "read", "closed", ["photo.jpg", "--json"], "photo.jpg"),
    ]
    for name, out, err, words, says in streams:
        tries.append((f"command: {name}", partial(_streams, out, err, words), (REFUSED,), says))
    return [Case(*entry) for entry in tries]
