"""Computers, settings, disks and other programs that stand in the way of an installation.

Machines and files are simulated, steps are commands of the running Python, and all that could be written, moved or
deleted is made in the case's own folder. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from hostile.cases import MADE, REFUSED, ROOT, WARNED, Case, Said, left_behind, memory_peak, surrounded
from humansplat_blender import environment
from humansplat_blender.client import Failure, readable
from humansplat_blender.environment import MARKER_NAME, SLOTS, installed_folder, is_whole, python_in
from humansplat_blender.install import InstallJob, clean_up, files, job, limits, machine, remove, settings, steps
from humansplat_blender.install.job import LOCK_NAME
from humansplat_blender.install.machine import Card, Machine
from humansplat_blender.install.steps import Step

sys.path.append(str(ROOT / "tests" / "package"))
from windows_files import OpenFiles

LINUX = Machine("linux", "x86_64", 64, (3, 11), glibc=(2, 36))
WINDOWS = Machine("win32", "amd64", 64, (3, 11))
MAC = Machine("darwin", "arm64", 64, (3, 11), macos=(14, 5))
_BUILDS = ("cpu", "cu126", "cu130")
_UNFORESEEN = "Copy the details into a bug report."
_CANCEL_TIME = 2.0
"""Seconds from the wish to cancel to its end, on a busy computer."""


def _guard() -> dict[str, str]:
    return {"PYTHONPATH": os.environ["PYTHONPATH"]}


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """A computer that will do, with the guard in the processes of the installation, which drops PYTHON variables."""
    original, guard = settings.pip_environment, _guard()
    space = SimpleNamespace(total=10**13, used=0, free=10**13)
    with (
        mock.patch.object(job, "pip_environment", lambda: original([]) | guard),
        mock.patch.object(machine, "this_machine", lambda: LINUX),
        mock.patch.object(machine, "find_cards", list),
        mock.patch.object(limits, "long_paths_enabled", lambda: False),
        mock.patch.object(shutil, "disk_usage", lambda _path: space),
        mock.patch.object(files, "PATIENCE", 0.3),
        mock.patch.object(job, "LOCK_PATIENCE", 0.3),
    ):
        yield


def _command(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


_MAKE = (
    "import pathlib, sys; python = pathlib.Path(sys.argv[1]); python.parent.mkdir(parents=True); python.touch();"
    "print('made it')"
)


def _job(
    own: Path, *codes: str, root: Path | None = None, old_roots: Sequence[Path] = (), extension: Path = ROOT
) -> InstallJob:
    """Its first step makes what looks like an environment, the others run Python code with its folder as argument."""

    def listed(folder: Path) -> list[Step]:
        made = [Step("Making", 1.0, _command(_MAKE, str(python_in(folder))))]
        return made + [Step(f"Step {k}", 1.0, _command(code, str(folder))) for k, code in enumerate(codes, 1)]

    return InstallJob(Path(sys.executable), root or own / "user", extension, own / "log", old_roots, listed)


def _run(work: InstallJob, seconds: float = 30.0) -> InstallJob:
    work.start()
    if not work.wait(seconds):
        work.cancel()
        raise RuntimeError(f"it goes on with {work.label}")
    return work


def _said(work: InstallJob, lost: str = "") -> Said:
    return _told(work.failure, lost, " ".join(work.notes))


def _told(failure: Failure | None, lost: str = "", notes: str = "") -> Said:
    if failure is None:
        return Said(WARNED if notes else MADE, notes, lost)
    if not (failure.kind and failure.message) or failure.fix == _UNFORESEEN:
        raise RuntimeError(f"nobody foresaw it: {failure.message}")
    return Said(REFUSED, readable(f"{failure.message} {failure.fix}", 5000), lost)


def _names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != LOCK_NAME) if root.is_dir() else []


def _fill(folder: Path, marker: bool = True) -> Path:
    """What looks like an environment, made earlier; its interpreter."""
    python = python_in(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    if marker:
        (folder / MARKER_NAME).write_text("{}")
        os.utime(folder / MARKER_NAME, (1e9, 1e9))
    return python


def _only(root: Path, *allowed: str) -> str:
    """What is wrong with the folder of environments after a job: just these names, all of them whole."""
    names = _names(root)
    if names != sorted(allowed):
        return f"{names} instead of {sorted(allowed)}"
    return ", ".join(f"{name} is not whole" for name in allowed if not is_whole(root / name))


def _victim(own: Path) -> Path:
    """Somebody's file in a folder of their own."""
    path = own / "somebody" / "thesis.txt"
    path.parent.mkdir()
    path.write_text("mine")
    path.chmod(0o644)
    return path


def _unharmed(path: Path) -> str:
    whole = path.is_file() and path.read_text() == "mine" and (os.name == "nt" or path.stat().st_mode & 0o777 == 0o644)
    return "" if whole else "somebody's thesis"


# --- what is known beforehand ------------------------------------------------------------------------------------


def _limit(system: str, root: str, over: int | None = None, long_paths: bool = False) -> Callable[[Path], Said]:
    """Computed: would the longest path below this root be allowed? ``over`` pads it to the limit plus so many."""

    def run(_own: Path) -> Said:
        told: list[Failure] = []
        for build in _BUILDS:
            longest = limits.longest_path(ROOT, system, build)
            folder = f"{root}/{SLOTS[0]}"
            if over is not None:
                allowed = limits.LIMITS[system.partition("-")[0]]
                folder = root + "/" + "a" * (allowed + over - limits.length(f"{root}/{longest}", system) - 1)
            failure = limits.refusal(Path(folder), longest, system, long_paths)
            whole = f"{folder}/{longest}"
            count = len(whole.encode("utf-16-le")) // 2 if "windows" in system else len(os.fsencode(whole))
            right = count > limits.LIMITS[system.partition("-")[0]] and not long_paths
            if right != (failure is not None) or (failure and f"{count} characters" not in failure.message):
                raise RuntimeError(f"{build}: {count} characters, and: {failure}")
            told += [failure] if failure else []
        return _told(told[0] if told else None)

    return run


_LIMITS: dict[str, tuple[Callable[[Path], Said], tuple[str, ...]]] = {
    "Windows, a usual name": (_limit("windows-x64", "C:/Users/Wilhelmine Mustermann/.humansplat"), (MADE,)),
    "Windows, Blender's own folder": (
        _limit(
            "windows-x64",
            "C:/Users/Wilhelmine.Mustermann/AppData/Roaming/Blender Foundation/Blender/4.5/extensions/.user/"
            "user_default/humansplat/environment-of-the-backend",
        ),
        (REFUSED,),
    ),
    "Windows, exactly the limit": (_limit("windows-x64", "C:/h", 0), (MADE,)),
    "Windows, one over": (_limit("windows-x64", "C:/h", 1), (REFUSED,)),
    "Windows, one over in Cyrillic": (_limit("windows-x64", "C:/Пользователи", 1), (REFUSED,)),
    "Windows, emoji count twice": (_limit("windows-x64", "C:/" + "😀" * 20, 1), (REFUSED,)),
    "Windows, emoji at the limit": (_limit("windows-x64", "C:/" + "😀" * 20, 0), (MADE,)),
    "Windows, long paths allowed": (_limit("windows-x64", "C:/h", 500, long_paths=True), (MADE,)),
    "macOS, one over": (_limit("macos-arm64", "/Users/a", 1), (REFUSED,)),
    "macOS, Cyrillic counts twice": (_limit("macos-arm64", "/Users/" + "я" * 200, 0), (MADE,)),
    "Linux, one over": (_limit("linux-x64", "/home/a", 1), (REFUSED,)),
    "Linux on ARM, at the limit": (_limit("linux-arm64", "/home/a", 0), (MADE,)),
}
"""Nothing is made there: the paths are counted."""


def _too_long(own: Path) -> Said:
    with mock.patch.object(machine, "this_machine", lambda: WINDOWS):
        work = _run(_job(own, root=own / ("deep" * 50)))
    return _said(work, ", ".join(_names(own / ("deep" * 50))) or ("a log" if (own / "log").exists() else ""))


def _computer(found: Machine) -> Callable[[Path], Said]:
    """Before anything is written."""

    def run(own: Path) -> Said:
        with mock.patch.object(machine, "this_machine", lambda: found):
            work = _run(_job(own))
        return _said(work, left_behind(own) if work.failure else "")

    return run


_COMPUTERS: dict[str, tuple[Machine, tuple[str, ...], str]] = {
    "Mac with Intel": (replace(MAC, processor="x86_64"), (REFUSED,), "Intel"),
    "old macOS": (replace(MAC, macos=(13, 6)), (REFUSED,), "13.6"),
    "macOS that does not tell": (replace(MAC, macos=()), (MADE,), ""),
    "Windows on ARM": (replace(WINDOWS, processor="arm64"), (REFUSED,), "ARM"),
    "32 bits": (replace(WINDOWS, bits=32), (REFUSED,), "32-bit"),
    "RISC-V": (replace(LINUX, processor="riscv64"), (REFUSED,), "riscv64"),
    "POWER": (replace(LINUX, processor="ppc64le"), (REFUSED,), "ppc64le"),
    "no processor": (replace(LINUX, processor=""), (REFUSED,), "not made"),
    "FreeBSD": (replace(LINUX, system="freebsd14", processor="amd64"), (REFUSED,), "freebsd14"),
    "musl": (replace(LINUX, glibc=()), (REFUSED,), "another C library"),
    "old glibc": (replace(LINUX, glibc=(2, 17)), (REFUSED,), "2.17"),
    "glibc just new enough": (replace(LINUX, glibc=(2, 28)), (MADE,), ""),
    "Python 3.9": (replace(LINUX, python=(3, 9)), (REFUSED,), "3.9"),
    "Python 3.14": (replace(LINUX, python=(3, 14)), (REFUSED,), "3.14"),
    "Linux on ARM": (replace(LINUX, processor="aarch64"), (MADE,), ""),
}


def _cards(system: Machine, build: str, *cards: Card) -> Callable[[Path], Said]:
    def run(own: Path) -> Said:
        with (
            mock.patch.object(machine, "this_machine", lambda: system),
            mock.patch.object(machine, "find_cards", lambda: list(cards)),
            mock.patch.object(limits, "long_paths_enabled", lambda: True),
        ):
            work = _run(_job(own))
        marker = json.loads((own / "user" / "env1" / MARKER_NAME).read_text())
        return _said(work, "" if marker["torch"] == build else f"{marker['torch']} instead of {build}")

    return run


_CARDS: dict[str, tuple[Callable[[Path], Said], tuple[str, ...], str]] = {
    "Kepler": (_cards(LINUX, "cpu", Card("Tesla K80", (3, 7), (470, 82))), (WARNED,), "too old"),
    "an old driver": (_cards(LINUX, "cpu", Card("RTX 3060", (8, 6), (535, 1))), (WARNED,), "Update the driver"),
    "a driver that tells nothing": (_cards(WINDOWS, "cpu", Card("GT 710", (), (441, 22))), (WARNED,), "560.76"),
    "no version of a driver": (_cards(LINUX, "cpu", Card("A100", (8, 0), ())), (WARNED,), "driver"),
    "a card of tomorrow": (_cards(LINUX, "cu130", Card("B900", (19, 0), (900, 1))), (MADE,), ""),
    "two of two kinds": (
        _cards(WINDOWS, "cu126", Card("RTX", (8, 6), (581, 15)), Card("GTX", (6, 1), (581, 15))),
        (MADE,),
        "",
    ),
    "on a Mac": (_cards(MAC, "cpu", Card("eGPU", (8, 6), (580, 0))), (MADE,), ""),
}


def _driver_tool(code: str, cards: int = 0) -> Callable[[Path], Said]:
    """A driver's tool that prints this; the installation goes on with the processor."""

    def run(own: Path) -> Said:
        tool = own / "bin" / "nvidia-smi"
        tool.parent.mkdir()
        tool.write_text(f"#!{sys.executable}\nimport os, sys, time\n{code}\n", "utf-8")
        tool.chmod(0o755)
        with mock.patch.dict(os.environ, {"PATH": str(tool.parent)}):
            found = _FIND_CARDS()
        if len(found) != cards:
            raise RuntimeError(f"found {found}")
        with mock.patch.object(machine, "find_cards", lambda: found):
            return _said(_run(_job(own)), _only(own / "user", "env1"))

    return run


_FIND_CARDS = machine.find_cards
_TOOLS: dict[str, tuple[str, int]] = {
    "a version that does not match": (
        "print('Failed to initialize NVML: Driver/library version mismatch'); exit(18)",
        0,
    ),
    "bytes": ("sys.stdout.buffer.write(os.urandom(100_000))", 0),
    "UTF-16": ("sys.stdout.buffer.write('8.6, 560.94, RTX'.encode('utf-16'))", 0),
    "numbers that are none": ("sys.stdout.buffer.write('8.6, ²³.¼, RTX\\n'.encode())", 0),
    "5,000 digits": ("print('8.6, ' + '9' * 5000 + '.1, RTX')", 0),
    "nothing": ("", 0),
    "a million lines": ("print('no devices\\n' * 1_000_000)", 0),
    "dies": ("os.abort()", 0),
}

# --- settings of the user ------------------------------------------------------------------------------------------


def _variables(**variables: str) -> Callable[[Path], Said]:
    """None of these reaches the steps."""

    def run(own: Path) -> Said:
        given = {name: value.replace("OWN", str(own)) for name, value in variables.items()}
        code = f"import json, os, pathlib; pathlib.Path({str(own / 'seen')!r}).write_text(json.dumps(dict(os.environ)))"
        with mock.patch.dict(os.environ, given):
            work = _run(_job(own, code))
        if work.failure is None:
            seen = json.loads((own / "seen").read_text())
            passed = [name for name, value in given.items() if seen.get(name) == value]
            if passed:
                return _said(work, f"{', '.join(passed)} reached pip")
        return _said(work, _only(own / "user", "env1") or left_behind(own, ["user", "log", "seen"]))

    return run


_VARIABLES: dict[str, dict[str, str]] = {
    "pip installs elsewhere": {"PIP_TARGET": "OWN/x", "PIP_USER": "1", "PIP_PREFIX": "OWN/y", "PIP_ROOT": "OWN/z"},
    "another index": {"PIP_INDEX_URL": "http://index.invalid/", "PIP_EXTRA_INDEX_URL": "http://i.invalid/"},
    "other packages": {"PIP_CONSTRAINT": "OWN/c.txt", "PIP_REQUIREMENT": "OWN/r.txt", "PIP_PRE": "1"},
    "pip needs an environment": {"PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_DEPS": "1", "PIP_NO_BINARY": ":all:"},
    "small letters": {"pip_index_url": "http://index.invalid/", "Pip_User": "1"},
    "pip's own file": {"PIP_CONFIG_FILE": "OWN/pip.conf"},
    "another Python": {"PYTHONHOME": "OWN/none", "PYTHONPATH": "OWN/none", "PYTHONSTARTUP": "OWN/none"},
    "a strict Python": {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONNOUSERSITE": "1"},
    "a Python of other letters": {"PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0", "PYTHONLEGACYWINDOWSSTDIO": "1"},
    "a Python that stays": {"PYTHONINSPECT": "1", "PYTHONBREAKPOINT": "none.none", "PYTHONFAULTHANDLER": "1"},
    "conda": {"CONDA_PREFIX": "OWN/none", "CONDA_DEFAULT_ENV": "base", "_CONDA_EXE": "OWN/none", "_CONDA_ROOT": "x"},
    "another environment": {"VIRTUAL_ENV": "OWN/none", "__PYVENV_LAUNCHER__": "OWN/none"},
}


def _pip_file(content: bytes) -> Callable[[Path], Said]:
    """A user's configuration of pip like this: what cannot be used is left out, the rest does no harm."""

    def run(own: Path) -> Said:
        (own / "pip.conf").write_bytes(content)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        with mock.patch.dict(os.environ, variables, clear=True):
            found = settings.pip_environment([own / "pip.conf"])
        wrong = [name for name in found if name.startswith("PIP_") and name not in ("PIP_CONFIG_FILE", "PIP_PROXY")]
        with mock.patch.object(job, "pip_environment", lambda: found | _guard()):
            return _said(_run(_job(own, "pass")), ", ".join(wrong))

    return run


_PIP_FILES: dict[str, bytes] = {
    "no section": b"proxy = http://p:1\n",
    "bytes": bytes(range(256)) * 40,
    "zeros": b"\0" * 4096,
    "UTF-16": "[global]\nindex-url = http://x.invalid/\n".encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf[global]\nproxy = http://p:1\nuser = true\n",
    "a zero in a value": b"[global]\nproxy = http://p\0:1\n",
    "percent signs": b"[global]\nproxy = http://%(user)s:%%@p:1\n",
    "twice the same": b"[global]\nproxy = http://p:1\nproxy = http://q:1\n[global]\nuser = true\n",
    "lines that go on": b"[global]\nproxy =\n    http://p:1\n    http://q:1\nno-index\n",
}


def _mirror(make: Callable[[Path], None]) -> Callable[[Path], Said]:
    """The file that HUMANSPLAT_PIP_CONFIG names: an index that was asked for is never silently replaced."""

    def run(own: Path) -> Said:
        make(own / "mirror.conf")
        with mock.patch.dict(os.environ, {settings.CONFIG_VARIABLE: str(own / "mirror.conf")}):
            work = _run(_job(own, "pass"), 10.0)
        return _said(work, _only(own / "user", *([] if work.failure else ["env1"])))

    return run


def _no_home(own: Path) -> Said:
    """A user without a home folder, as in a container."""
    with (
        mock.patch.object(os.path, "expanduser", lambda path: path),
        mock.patch.object(job, "pip_environment", lambda: settings.pip_environment() | _guard()),
    ):
        return _said(_run(_job(own, "pass")), _only(own / "user", "env1"))


# --- other programs, disks, damages ------------------------------------------------------------------------------

_HOLD = (
    "import sys, time; from pathlib import Path; from humansplat_blender.install.files import ProcessLock;"
    "lock = ProcessLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); time.sleep(60)"
)


def _held(how: Callable[[subprocess.Popen[bytes]], None], act: Callable[[Path], Said]) -> Callable[[Path], Said]:
    """Another process takes the lock, then ``how`` happens to it, then ``act``."""

    def run(own: Path) -> Said:
        (own / "user").mkdir()
        _fill(own / "user" / "env1")
        variables = dict(os.environ) | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ["PYTHONPATH"]))}
        command = [*_command(_HOLD), str(own / "user" / LOCK_NAME)]
        with subprocess.Popen(command, cwd=own, env=variables, stdout=subprocess.PIPE) as holder:
            try:
                assert holder.stdout is not None
                if holder.stdout.readline().strip() != b"True":
                    raise RuntimeError("the lock was not to be had")
                how(holder)
                return act(own)
            finally:
                holder.kill()

    return run


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)


def _installed(own: Path) -> Said:
    work = _run(_job(own, "pass"))
    return _said(work, _only(own / "user", "env1" if work.failure else "env2"))


def _removed(own: Path) -> Said:
    failure = remove([own / "user", own / "never there"])
    return _told(failure, _only(own / "user", *(["env1"] if failure else [])))


def _cleaned(own: Path) -> Said:
    _fill(own / "user" / "env2", marker=False)
    clean_up([own / "user"])
    return Said(MADE, "", "" if (own / "user" / "env2").exists() else "what another one was making")


def _lock_is(make: Callable[[Path], None], wanted: Sequence[str] = ("env1",)) -> Callable[[Path], Said]:
    def run(own: Path) -> Said:
        (own / "user").mkdir()
        make(own / "user" / LOCK_NAME)
        return _said(_run(_job(own)), _only(own / "user", *wanted))

    return run


def _open_files(act: Callable[[Path, OpenFiles], Said], *held: str, until: int | None = None) -> Callable[[Path], Said]:
    """With an environment that is there, while these files of the root are open as on Windows."""

    def run(own: Path) -> Said:
        _fill(own / "user" / "env1")
        with pytest.MonkeyPatch.context() as patch:
            names = [name.replace("PYTHON", python_in(Path()).as_posix()) for name in held]
            return act(own, OpenFiles(patch, *(own / "user" / name for name in names), until=until))

    return run


def _reinstalled_open(own: Path, program: OpenFiles) -> Said:
    root = own / "user"
    work = _run(_job(own))
    lost = "" if python_in(root / "env1").exists() or not work.notes else "a file that is in use"
    if installed_folder([root]) != root / "env2":
        lost = "the new one is not used"
    program.paths.clear()
    clean_up([root])
    return _said(work, lost or _only(root, "env2"))


def _scanned(own: Path, program: OpenFiles) -> Said:
    """A scanner holds the new marker: the old environment stays, and the next attempt works."""
    root = own / "user"
    work = _run(_job(own))
    lost = "" if work.failure is None or installed_folder([root]) == root / "env1" else "the old one"
    program.paths.clear()
    again = _run(_job(own)) if work.failure else work
    if again.failure is not None or len(_names(root)) != 1 or installed_folder([root]) is None:
        lost = lost or f"{_names(root)} after the next attempt"
    return _said(work, lost)


def _removed_open(own: Path, program: OpenFiles) -> Said:
    root = own / "user"
    failure = remove([root])
    lost = "" if failure is None or is_whole(root / "env1") or installed_folder([root]) is None else "half of it"
    program.paths.clear()
    return _told(failure, lost or (str(_names(root)) if remove([root]) or _names(root) else ""))


def _full_of_used(own: Path) -> Said:
    """The newest stays what it is, and whoever runs one of the others goes on."""
    held = [_fill(own / "user" / name) for name in SLOTS]
    os.utime(own / "user" / SLOTS[3] / MARKER_NAME, (2e9, 2e9))
    with pytest.MonkeyPatch.context() as patch:
        OpenFiles(patch, *held)
        work = _run(_job(own))
    lost = [str(python) for python in held if not python.is_file()]
    used = installed_folder([own / "user"])
    return _said(work, ", ".join(lost) or ("" if used == own / "user" / SLOTS[3] else f"{used} is used"))


def _disk(free: int, build: str = "cpu") -> Callable[[Path], Said]:
    def run(own: Path) -> Said:
        card = [Card("RTX", (8, 6), (590, 1))] if build != "cpu" else []
        with (
            mock.patch.object(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free)),
            mock.patch.object(machine, "find_cards", lambda: card),
        ):
            work = _run(_job(own))
        return _said(work, ", ".join(_names(own / "user")) or ("a log" if (own / "log").exists() else ""))

    return run


def _fails_in(target: Any, name: str, error: Exception, *codes: str) -> Callable[[Path], Said]:
    """A function of the system fails; the older environment stays."""

    def run(own: Path) -> Said:
        _fill(own / "user" / "env1")

        def fail(*_arguments: Any, **_named: Any) -> Any:
            raise error

        with mock.patch.object(target, name, fail):
            work = _run(_job(own, *codes))
        return _said(work, _only(own / "user", "env1"))

    return run


class _FullLog:
    """A log on a disk that fills up after some lines."""

    def __init__(self, path: Path, *rest: Any, **named: Any) -> None:
        self._file = open(path, *rest, **named)
        self._left = 5

    def __enter__(self) -> _FullLog:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, text: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(28, "No space left on device")
        self._file.write(text)

    def flush(self) -> None:
        self._file.flush()


def _log_fills_up(own: Path) -> Said:
    """The command whose lines cannot be noted does not run on, writing into a folder that is given up."""
    code = (
        "import os, pathlib, sys, time\nfor k in range(30):\n    print('line', k, flush=True)\n"
        f"pathlib.Path({str(own / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(2)\n"
        "late = pathlib.Path(sys.argv[1]) / 'late'; late.parent.mkdir(exist_ok=True); late.touch()"
    )
    with mock.patch.object(job, "open", _FullLog, create=True):
        work = _run(_job(own, code))
    time.sleep(3.0)
    return _said(work, _only(own / "user"))


def _log_is_in_the_way(own: Path) -> Said:
    (own / "log").mkdir()
    work = _run(_job(own))
    return _said(work, _only(own / "user"))


def _output(code: str, peak_allowed: float = 200e6) -> Callable[[Path], Said]:
    """A step that prints in an odd way; the panel's line stays a line, and memory stays small."""

    def run(own: Path) -> Said:
        with memory_peak() as peak:
            work = _run(_job(own, "import os, sys, time\n" + code), 60.0)
        if len(work.last_line) > 1000:
            return _said(work, f"{len(work.last_line)} characters on a line of the panel")
        work.last_line.encode()
        lost = f"{peak[0] / 1e6:.0f} MB for the output of a step" if peak[0] > peak_allowed else ""
        return _said(work, lost or _only(own / "user", *([] if work.failure else ["env1"])))

    return run


_OUTPUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "one line of 300 MB": ("for _ in range(300): sys.stdout.write('x' * 1_000_000)", (MADE,)),
    "bytes": ("sys.stdout.buffer.write(os.urandom(1_000_000))", (MADE,)),
    "colours and bars": ("sys.stdout.buffer.write('\\x1b[31m━━━╸ 12/500 MB\\x1b[0m\\r'.encode() * 500)", (MADE,)),
    "300,000 lines": ("sys.stdout.write('Collecting x\\n' * 300_000)", (MADE,)),
    "nothing": ("pass", (MADE,)),
    "closes its output": ("sys.stdout.close(); os.close(1); time.sleep(0.3)", (MADE,)),
    "reads its input": ("input('Proceed (Y/n)? ')", (REFUSED,)),
    "dies by a signal": ("os.abort()", (REFUSED,)),
    "ends with 255": ("sys.exit(255)", (REFUSED,)),
    "no connection": ("print('ProxyError: no way out'); sys.exit(1)", (REFUSED,)),
    "another file than the locked one": ("print('THESE PACKAGES DO NOT MATCH THE HASHES'); sys.exit(1)", (REFUSED,)),
    "a full disk": ("print('OSError: [Errno 28] No space left on device'); sys.exit(1)", (REFUSED,)),
    "a traceback": ("raise ValueError('x' * 100_000)", (REFUSED,)),
}


# --- cancelled, killed -------------------------------------------------------------------------------------------

_WAIT = "import time; print('here', flush=True); time.sleep(60)"


def _cancelled_in(step: int, last_code: str = _WAIT) -> Callable[[Path], Said]:
    """Cancel during this step, with an older environment that must stay."""

    def run(own: Path) -> Said:
        _fill(own / "user" / "env1")
        work = _job(own, *["pass"] * (step - 1), last_code)
        work.start()
        end = time.monotonic() + 20.0
        while not (work.label == f"Step {step}" and work.last_line == "here"):
            if time.monotonic() > end or work.done:
                raise RuntimeError(f"it hangs in {work.label}")
            time.sleep(0.01)
        work.cancel()
        return _after_cancel(own, work)

    return run


def _after_cancel(own: Path, work: InstallJob) -> Said:
    began = time.monotonic()
    work.cancel()
    if not work.wait(15.0):
        raise RuntimeError("it goes on")
    took = time.monotonic() - began
    return _said(work, f"it took {took:.1f} s" if took > _CANCEL_TIME else _only(own / "user", "env1"))


def _cancelled_before(own: Path) -> Said:
    _fill(own / "user" / "env1")
    work = _job(own, "pass")
    work.cancel()
    work.start()
    return _after_cancel(own, work)


def _cancelled_waiting(own: Path) -> Said:
    with mock.patch.object(job, "LOCK_PATIENCE", 30.0):
        work = _job(own, "pass")
        work.start()
        time.sleep(0.2)
        return _after_cancel(own, work)


def _cancelled_late(own: Path) -> Said:
    """Once it has ended, nothing of it is taken back."""
    work = _run(_job(own, "pass"))
    work.cancel()
    return _said(work, _only(own / "user", "env1"))


_LEAVES_A_CHILD = (
    "import os, subprocess, sys\n"
    "code = 'import time; print(\"here\", flush=True); time.sleep(8)'\n"
    "subprocess.Popen([sys.executable, '-c', code])"
)
"""A command that ends while a process that it has started holds its output."""


def _child_is_left(own: Path) -> Said:
    return _said(_run(_job(own, _LEAVES_A_CHILD), 20.0), _only(own / "user", "env1"))


def _step_is_killed(own: Path) -> Said:
    _fill(own / "user" / "env1")
    work = _job(own, _WAIT)
    work.start()
    while work.last_line != "here" and not work.done:
        time.sleep(0.01)
    assert work._process is not None
    work._process.kill()
    work.wait(10.0)
    return _said(work, _only(own / "user", "env1"))


_KILLED = """
import sys
from pathlib import Path
from hostile.installing import _job, _surroundings
with _surroundings():
    work = _job(Path(sys.argv[1]), *sys.argv[2:])
    work.start()
    work.wait(60.0)
"""


def _blender_is_killed(step: int) -> Callable[[Path], Said]:
    """The process that installs is killed in this step; whoever installs next finds no trace of it."""

    def run(own: Path) -> Said:
        _fill(own / "user" / "env1")
        # What was started runs on for a moment, as nobody is left to end it, and writes where it was told to.
        late = (
            "import pathlib, sys, time; time.sleep(2); late = pathlib.Path(sys.argv[1]) / 'late';"
            "late.parent.mkdir(exist_ok=True); late.touch()"
        )
        marked = f"import pathlib; pathlib.Path({str(own / 'here')!r}).touch()\n{late}"
        path = os.pathsep.join(map(str, (ROOT, ROOT / "scripts", ROOT / "tests", os.environ["PYTHONPATH"])))
        command = [*_command(_KILLED), str(own), *["pass"] * (step - 1), marked]
        with subprocess.Popen(command, cwd=own, env=dict(os.environ) | {"PYTHONPATH": path}) as process:
            end = time.monotonic() + 30.0
            while not (own / "here").exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the installation did not come so far")
                time.sleep(0.01)
            process.kill()
        root = own / "user"
        lost = "" if installed_folder([root]) == root / "env1" else "the old one"
        work = _run(_job(own, "pass"))
        time.sleep(2.5)
        used = installed_folder([root])
        if used is None or (used / "late").exists():
            lost = "another one's files are in the new one"
        clean_up([root])
        return _said(work, lost or _only(root, used.name if used else ""))

    return run


# --- environments that are none ------------------------------------------------------------------------------------


def _damaged(damage: Callable[[Path], None], whole: bool = False) -> Callable[[Path], Said]:
    """An environment damaged like this is none; the next installation works and leaves just one."""

    def run(own: Path) -> Said:
        root, victim = own / "user", _victim(own)
        _fill(root / "env1")
        damage(root / "env1")
        found = environment.find("", [root], own)
        if (found is not None) != whole:
            raise RuntimeError(f"it was taken for {found}")
        work = _run(_job(own, "pass"))
        names = _names(root)
        lost = "" if len(names) == 1 and is_whole(root / names[0]) else f"{names} are left"
        return _said(work, lost or _unharmed(victim))

    return run


def _gone_home(folder: Path) -> None:
    (folder / "pyvenv.cfg").write_text(f"home = {folder.parent / 'Blender that was removed'}\n")


def _link_to_somebody(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parents[1] / "somebody", target_is_directory=True)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return damage


def _marker_is(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / MARKER_NAME).unlink()
        make(folder / MARKER_NAME)

    return damage


def _python_is(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        python_in(folder).unlink()
        make(python_in(folder))

    return damage


def _links_inside(folder: Path) -> None:
    somebody = folder.parents[1] / "somebody"
    (folder / "lib64").symlink_to(somebody, target_is_directory=True)
    (folder / "thesis.txt").symlink_to(somebody / "thesis.txt")
    os.link(somebody / "thesis.txt", folder / "hard.txt")
    (folder / MARKER_NAME).unlink()


_DAMAGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "no marker": (lambda folder: (folder / MARKER_NAME).unlink(), False),
    "the marker is a folder": (_marker_is(Path.mkdir), False),
    "the marker is a link to nothing": (_marker_is(lambda path: path.symlink_to(path.with_name("gone"))), False),
    "an empty marker": (_marker_is(Path.touch), True),
    "a marker of bytes": (_marker_is(lambda path: path.write_bytes(os.urandom(999))), True),
    "a marker of tomorrow": (lambda folder: os.utime(folder / MARKER_NAME, (9e9, 9e9)), True),
    "no Python": (lambda folder: python_in(folder).unlink(), False),
    "Python is a folder": (_python_is(Path.mkdir), False),
    "Python is a link to nothing": (_python_is(lambda path: path.symlink_to(path.with_name("gone"))), False),
    "Python is a link to itself": (_python_is(lambda path: path.symlink_to(path)), False),
    "its Blender is gone": (_gone_home, False),
    "settings of bytes": (lambda folder: (folder / "pyvenv.cfg").write_bytes(b"home = \0\xff\nhome\n" * 99), False),
    "settings are a folder": (lambda folder: (folder / "pyvenv.cfg").mkdir(), True),
    "it is a file": (_instead(Path.touch), False),
    "it is empty": (_instead(Path.mkdir), False),
    "it is a link to somebody's folder": (_link_to_somebody, False),
    "it is a link to itself": (_instead(lambda path: path.symlink_to(path)), False),
    "links to somebody's folder in it": (_links_inside, False),
    "read-only": (lambda folder: [path.chmod(0o500) for path in (folder / MARKER_NAME, folder)], True),
    "very deep": (lambda folder: (folder / "/".join(["d" * 40] * 60)).mkdir(parents=True), True),
}


def _link_that_stays(own: Path) -> Said:
    """A link that cannot be deleted at once: what it leads to keeps its permissions."""
    victim, root = _victim(own), own / "user"
    _fill(root / "env1", marker=False)
    link, refused = root / "old1" / "python3", [3]
    (root / "env1" / "python3").symlink_to(victim)
    original = os.unlink

    def unlink(path: Any, **named: Any) -> None:
        if Path(path) == link and refused[0]:
            refused[0] -= 1
            raise PermissionError(13, "Permission denied", str(path))
        original(path, **named)

    with mock.patch.object(os, "unlink", unlink), mock.patch.object(shutil, "_use_fd_functions", False):
        work = _run(_job(own, "pass"))
    return _said(work, _unharmed(victim) or ("it was not refused" if refused[0] else ""))


def _somebodys_beside(act: Callable[[Path], Said]) -> Callable[[Path], Said]:
    """Folders of somebody else in the very folder, with names like ours: they stay."""

    def run(own: Path) -> Said:
        _fill(own / "user" / "env1")
        others = [
            own / "user" / name for name in ("env10", "env1 copy", "old", "old1 photos", "environment-2024", "ENV")
        ]
        for other in others:
            other.mkdir()
            (other / "thesis.txt").write_text("mine")
        said = act(own)
        gone = [other.name for other in others if not (other / "thesis.txt").is_file()]
        ours = [name for name in _names(own / "user") if name not in [other.name for other in others]]
        return Said(said.outcome, said.text, ", ".join(gone) or ("" if len(ours) < 2 else str(ours)))

    return run


def _folder_named(name: str) -> Callable[[Path], Said]:
    """The whole way in a folder with this name: made, found, made anew, removed."""

    def run(own: Path) -> Said:
        root = own / name
        first = _run(_job(own, "pass", root=root))
        if first.failure is not None:
            return _said(first)
        second = _run(_job(own, "pass", root=root))
        found = environment.find("", [root], own)
        if found is None or found.python != python_in(root / "env2"):
            raise RuntimeError(f"found {found}")
        failure = remove([root])
        return _told(failure, _only(root), " ".join(second.notes))

    return run


_FOLDERS: dict[str, str] = {
    "spaces": "  My Documents (old)  ",
    "quotes": """it's a "folder" `here`""",
    "Cyrillic": "Пользователь/Рабочий стол",
    "emoji": "😀👩\u200d💻/山田",
    "both directions": "مستند/\u202etxt",
    "composed letters": "e\u0301\u00e9",
    "shell words": "$(touch x); & | > y %PATH% !x!",
    "glob characters": "[a-z]*?{1,2}",
    "a dash": "-rf/--target",
    "a hash": "#1 = x;[global]",
    "a line break": "a\nb\tc",
    "no UTF-8": os.fsdecode(b"caf\xe9"),
    "255 letters": "x" * 255,
}


def _root_is(make: Callable[[Path], object]) -> Callable[[Path], Said]:
    def run(own: Path) -> Said:
        make(own / "user")
        victim = _victim(own)
        return _said(_run(_job(own, "pass")), _unharmed(victim))

    return run


def _chosen(text: str) -> Callable[[Path], Said]:
    """The folder in HUMANSPLAT_HOME, or the Python in the preferences: nonsense is none, and no exception."""

    def run(own: Path) -> Said:
        whole = text.replace("OWN", str(own))
        roots = environment.install_roots("linux", own, own / "user", whole)
        if not all(root.is_absolute() for root in roots):
            raise RuntimeError(f"a folder that depends on where Blender was started: {roots}")
        found = environment.find(whole, [own / "user"], own)
        return Said(REFUSED, "None is installed.") if found is None else Said(MADE, str(found.python))

    return run


_CHOSEN: dict[str, str] = {
    "nothing": '  ""  ',
    "a folder that is not there": '"OWN/gone"',
    "a zero": "OWN/a\0b",
    "half a character": "OWN/\ud800",
    "5,000 characters": "OWN/" + "x" * 5000,
    "a home of nobody": "~nobody-of-that-name/x",
}


def _damaged_addon(make: Callable[[Path], object]) -> Callable[[Path], Said]:
    """The add-on's own lists are damaged: the steps that would be run cannot be known."""

    def run(own: Path) -> Said:
        locks = own / "extension" / "backend" / "locks"
        locks.mkdir(parents=True)
        (locks / "longest.json").write_bytes((limits.lock_folder(ROOT) / "longest.json").read_bytes())
        (locks.parent / "requirements.txt").write_text("torch==2.13.0\n")
        make(locks)
        work = InstallJob(Path(sys.executable), own / "user", own / "extension", own / "log")
        # Whatever the steps are, they are not run.
        with mock.patch.object(job, "install_steps", lambda *named: steps.install_steps(*named)[:0]):
            _run(work)
        return _said(work, _only(own / "user"))

    return run


def cases(_folder: Path) -> list[Case]:
    """Limits, computers, settings, other programs, disks, ends, damages, names."""
    refused_rename = PermissionError(13, "Permission denied")
    full = OSError(28, "No space left on device")
    made = [
        *(Case(f"paths: {name}", run, wanted) for name, (run, wanted) in _LIMITS.items()),
        Case("paths: too long for Windows", _too_long, (REFUSED,), "HUMANSPLAT_HOME"),
        *(Case(f"computer: {name}", _computer(it), wanted, word) for name, (it, wanted, word) in _COMPUTERS.items()),
        *(Case(f"card: {name}", run, wanted, word) for name, (run, wanted, word) in _CARDS.items()),
        *(Case(f"variables: {name}", _variables(**those), (MADE,)) for name, those in _VARIABLES.items()),
        *(Case(f"pip's file: {name}", _pip_file(content), (MADE,)) for name, content in _PIP_FILES.items()),
        Case(
            "mirror: named", _mirror(lambda path: path.write_text("[global]\nindex-url = http://m.invalid/")), (MADE,)
        ),
        Case("variables: no home folder", _no_home, (MADE,)),
        Case("mirror: not there", _mirror(lambda path: None), (REFUSED,), settings.CONFIG_VARIABLE),
        Case("mirror: a folder", _mirror(Path.mkdir), (REFUSED,), settings.CONFIG_VARIABLE),
        Case("mirror: no settings", _mirror(lambda path: path.write_bytes(b"\xff" * 99)), (REFUSED,), "CONFIG"),
        Case("lock: another one installs", _held(lambda _holder: None, _installed), (REFUSED,), "Another Blender"),
        Case("lock: removal meanwhile", _held(lambda _holder: None, _removed), (REFUSED,), "Another Blender"),
        Case("lock: cleaning meanwhile", _held(lambda _holder: None, _cleaned), (MADE,)),
        Case("lock: of a killed process", _held(_kill, _installed), (MADE,)),
        Case("lock: removal after a kill", _held(_kill, _removed), (MADE,)),
        Case("lock: it is a folder", _lock_is(Path.mkdir, ()), (REFUSED,)),
        Case("lock: bytes in it", _lock_is(lambda path: path.write_bytes(os.urandom(9999))), (MADE,)),
        Case("lock: a link to nothing", _lock_is(lambda path: path.symlink_to(path.parents[1] / "gone")), (MADE,)),
        Case("open: reinstalled", _open_files(_reinstalled_open, "env1/PYTHON"), (WARNED,), "next starts"),
        Case("open: the old marker", _open_files(_reinstalled_open, f"env1/{MARKER_NAME}"), (WARNED,), "next starts"),
        Case("open: a scanner for a moment", _open_files(_reinstalled_open, "env1/PYTHON", until=2), (MADE,)),
        Case("open: a scanner on the new marker", _open_files(_scanned, *_PARTS), (REFUSED,)),
        Case("open: a scanner there for a moment", _open_files(_scanned, *_PARTS, until=2), (MADE,)),
        Case("open: removed", _open_files(_removed_open, "env1/PYTHON"), (REFUSED,), "not removed"),
        Case("open: removed for a moment", _open_files(_removed_open, "env1/PYTHON", until=2), (MADE,)),
        Case("open: during removal", _open_files(_removed_open, "old1/PYTHON"), (REFUSED,), "was removed, but some"),
        Case("open: every place", _full_of_used, (REFUSED,), "Close other Blender"),
        Case("disk: full", _disk(10**9), (REFUSED,), "disk space"),
        Case("disk: full for CUDA", _disk(5 * 1024**3, "cu130"), (REFUSED,), "12 GB"),
        Case("disk: empty", _disk(0), (REFUSED,), "0.0 GB"),
        Case("disk: does not tell", _fails_in(shutil, "disk_usage", OSError(5, "Input/output error")), (REFUSED,)),
        Case("disk: full at the marker", _fails_in(files.os, "fsync", full), (REFUSED,), "disk"),
        Case("disk: no renames", _fails_in(files.os, "replace", refused_rename), (REFUSED,)),
        Case("disk: no processes", _fails_in(job.subprocess, "Popen", OSError(11, "Try again")), (REFUSED,)),
        Case("disk: full in the log", _log_fills_up, (REFUSED,), "disk"),
        Case("disk: the log is a folder", _log_is_in_the_way, (REFUSED,)),
        *(Case(f"step: {name}", _output(code), wanted) for name, (code, wanted) in _OUTPUTS.items()),
        Case("step: leaves a process", _child_is_left, (MADE,)),
        Case("step: is killed", _step_is_killed, (REFUSED,), "killed"),
        *(Case(f"cancelled: in step {k}", _cancelled_in(k), (REFUSED,), "cancelled") for k in range(1, 6)),
        Case("cancelled: before it starts", _cancelled_before, (REFUSED,), "cancelled"),
        Case("cancelled: waiting", _held(lambda _holder: None, _cancelled_waiting), (REFUSED,), "cancelled"),
        Case("cancelled: too late", _cancelled_late, (MADE,)),
        Case("cancelled: with a process left", _cancelled_in(1, _LEAVES_A_CHILD), (REFUSED,), "cancelled"),
        *(Case(f"Blender is killed: in step {k}", _blender_is_killed(k), (MADE,)) for k in (1, 4)),
        *(Case(f"damaged: {name}", _damaged(damage, whole), (MADE,)) for name, (damage, whole) in _DAMAGES.items()),
        Case("somebody's: installed beside", _somebodys_beside(_installed), (MADE,)),
        Case("somebody's: removed beside", _somebodys_beside(lambda own: _told(remove([own / "user"]))), (MADE,)),
        *(Case(f"folder: {name}", _folder_named(folder), (MADE,)) for name, folder in _FOLDERS.items()),
        Case("folder: is a file", _root_is(lambda path: path.write_text("x")), (REFUSED,)),
        Case("folder: a link to nothing", _root_is(lambda path: path.symlink_to(path.with_name("gone"))), (REFUSED,)),
        Case("folder: a link to itself", _root_is(lambda path: path.symlink_to(path)), (REFUSED,)),
        *(Case(f"chosen: {name}", _chosen(text), (REFUSED,)) for name, text in _CHOSEN.items()),
        Case("add-on: no lists", _damaged_addon(lambda locks: shutil.rmtree(locks)), (REFUSED,), "add-on"),
        Case("add-on: a list of bytes", _damaged_addon(_spoil(b"\xff\0" * 99)), (REFUSED,), "add-on"),
        Case("add-on: an empty list", _damaged_addon(_spoil(b"{}")), (REFUSED,), "add-on"),
        Case("add-on: a list of lists", _damaged_addon(_spoil(b"[[]]")), (REFUSED,), "add-on"),
    ]
    if os.name == "posix":
        made += [Case(f"driver's tool: {name}", _driver_tool(*it), (MADE,)) for name, it in _TOOLS.items()]
        made += [
            Case("lock: of a halted process", _held(_stop, _installed), (REFUSED,), "Another Blender"),
            Case("mirror: a pipe", _mirror(os.mkfifo), (REFUSED,), settings.CONFIG_VARIABLE),
            Case("damaged: a link that stays", _link_that_stays, (MADE,)),
        ]
    return [replace(case, run=surrounded(_surroundings, case.run)) for case in made]


_PARTS = [f"env2/{MARKER_NAME}.{{}}.part".format(os.getpid())]


def _spoil(content: bytes) -> Callable[[Path], object]:
    return lambda locks: (locks / "longest.json").write_bytes(content)
