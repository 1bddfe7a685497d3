"""Requests to the backend's server: no line may end it, hold it up or fill its memory; it still answers afterwards.

No case names a folder outside its own as something to write, move or replace: were the product wrong, it would be lost.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fake_backend import make_avatar

from backend.avatar import load_avatar, save_avatar
from hostile.cases import MADE, REFUSED, ROOT, Case, Said, left_behind

_PHOTO = ROOT / "docs" / "demo" / "person.jpg"
_COMMANDS = {"real": ["-u", "-m", "backend", "server"], "fake": [str(ROOT / "tests" / "fake_backend.py")]}
"""As the add-on starts it, and the same server around a made-up pipeline (its photos' names ask for trouble)."""
_servers: dict[str, _Server] = {}


def _start(kind: str, **named: Any) -> subprocess.Popen[bytes]:
    """A server in a new folder: what a request names without a folder, or not at all, is there."""
    return subprocess.Popen(
        [sys.executable, *_COMMANDS[kind]],
        cwd=tempfile.mkdtemp(),  # the guard's: see scripts/try_hostile
        env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ["PYTHONPATH"]))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **named,
    )


class _Server:
    """A server process and the plainest possible client."""

    def __init__(self, kind: str) -> None:
        self.process = _start(kind, stderr=subprocess.DEVNULL)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        atexit.register(self.process.kill)
        self.check()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Send a request; its id."""
        self._number += 1
        name = f"q{self._number}"
        message = {"jsonrpc": "2.0", "id": name, "method": method, "params": dict(params or {})} | more
        self.write(json.dumps(message).encode() + b"\n")
        return name

    def next(self, seconds: float) -> dict[str, Any]:
        """The next message; every line must be one."""
        line = self._lines.get(timeout=max(seconds, 0.01))
        if line is None:
            raise RuntimeError(f"the server ended with status {self.process.wait()}")
        message = json.loads(line)
        if message["jsonrpc"] != "2.0":
            raise RuntimeError(f"no JSON-RPC: {line[:200]!r}")
        return message

    def until(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60.0) -> dict[str, Any]:
        """The next message that is wanted; others are passed over."""
        end = time.monotonic() + seconds
        while True:
            message = self.next(end - time.monotonic())
            if wanted(message):
                return message

    def answer(self, name: Any, seconds: float = 60.0) -> dict[str, Any]:
        """The answer to the request with this id."""
        return self.until(lambda message: "method" not in message and message["id"] == name, seconds)

    def check(self) -> None:
        """The server still answers ``initialize``."""
        if "result" not in self.answer(self.ask("initialize", {"protocol": 1}), 90.0):
            raise RuntimeError("the server refuses to initialize")

    def peak(self) -> int:
        """Bytes that it has held at most; 0 where the system does not tell."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            text = Path(f"/proc/{self.process.pid}/status").read_text()
            return int(text.split("VmHWM:")[1].split()[0]) * 1024
        return 0


def _server(kind: str) -> _Server:
    """The one that all cases share; a new one where the last case has ended it."""
    if kind not in _servers or _servers[kind].process.poll() is not None:
        _servers[kind] = _Server(kind)
    return _servers[kind]


def _said(message: dict[str, Any], lost: str = "", peak: int = 0) -> Said:
    """An answer; one for which the server has no sentence of its own counts as a crash."""
    if "result" in message:
        return Said(MADE, json.dumps(message["result"])[:200], lost, peak)
    error = message["error"]
    data = error["data"]
    if data["kind"] == "internal" or not (isinstance(error["code"], int) and data["kind"] and data["fix"]):
        raise RuntimeError(f"answered {json.dumps(error)[:500]}")
    return Said(REFUSED, f"{error['message']} {data['fix']}", lost, peak)


def _line(data: bytes, answer_to: Any = None) -> Callable[[Path], Said]:
    """Send a line as it is and expect an answer to this id."""

    def run(_own: Path) -> Said:
        server = _server("fake")
        before = server.peak()
        server.write(data + b"\n")
        message = server.answer(answer_to, 20.0)
        peak = max(0, server.peak() - before)
        server.check()
        return _said(message, "" if peak < 200e6 else f"{peak / 1e6:.0f} MB for one line", peak)

    return run


def _request(method: Any, params: Any, **changes: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": params} | changes).encode()


def _malformed() -> list[Case]:
    good = _request("cancel", {"id": 1})
    lines: dict[str, tuple[bytes, Any]] = {
        "nonsense": (b"{nonsense", None),
        "half a request": (good[: len(good) // 2], None),
        "two requests on a line": (good + good, None),
        "no UTF-8": (b"\xff\xfe\x00", None),
        "NUL bytes": (b"\0" * 4096, None),
        "single quotes": (good.replace(b'"', b"'"), None),
        "trailing comma": (good[:-1] + b",}", None),
        "a list": (b"[]", None),
        "a batch": (b"[" + good + b"," + good + b"]", None),
        "null": (b"null", None),
        "a number": (b"7", None),
        "a text": (b'"reconstruct"', None),
        "an empty object": (b"{}", None),
        "nested lists": (b"[" * 200_000, None),
        "nested objects": (b'{"a":' * 100_000, None),
        "nested and closed": (b"[" * 100_000 + b"]" * 100_000, None),
        "parameters nested 300 deep": (good.replace(b'{"id": 1}', b"[" * 300 + b"]" * 300), 5),
        "a number of 5,000 digits": (b'{"id": ' + b"9" * 5000 + b"}", None),
        "a line of 3.5 MB": (b"x" * 3_500_000, None),
        "a line of exactly the limit": (b"[" * 1_000_000, None),
        "a line of 300 MB": (b" " * 300_000_000, None),
        "a valid line of 2 MB": (_request("cancel", {"id": "x" * 2_000_000}), None),
        "another version of JSON-RPC": (_request("cancel", {}, jsonrpc="1.0"), 5),
        "no version": (b'{"id": 5, "method": "cancel"}', 5),
        "id is a list": (_request("cancel", {}, id=[1]), None),
        "id is a truth value": (_request("cancel", {}, id=True), None),
        "id is a fraction": (_request("cancel", {}, id=1.5), None),
        "id is null": (_request("cancel", {}, id=None), None),
        "id is NaN": (_request("cancel", {}, id=float("nan")), None),
        "method is a number": (_request(7, {}), 5),
        "method is missing": (b'{"jsonrpc": "2.0", "id": 5}', 5),
        "method is unknown": (_request("dance", {}), 5),
        "method is private": (_request("__init__", {}), 5),
        "method of 500,000 characters": (_request("x" * 500_000, {}), 5),
        "method is half a character": (_request("\ud800", {}), 5),
        "parameters are a list": (_request("reconstruct", ["a.png", "b"]), 5),
        "parameters are null": (_request("reconstruct", None), 5),
        "parameters are a text": (_request("initialize", "protocol"), 5),
        "protocol of tomorrow": (_request("initialize", {"protocol": 2}), 5),
        "protocol is missing": (_request("initialize", {}), 5),
        "protocol is an endless text": (_request("initialize", {"protocol": "1" * 300_000}), 5),
        "protocol is NaN": (_request("initialize", {"protocol": float("nan")}), None),
    }
    cases = [Case(f"line: {name}", _line(*line), (REFUSED,), seconds=60.0) for name, line in lines.items()]
    cases.append(Case("line: with a byte order mark", _line(b"\xef\xbb\xbf" + good, 5), (MADE, REFUSED)))
    cases.append(Case("line: as UTF-16", _line(good.decode().encode("utf-16-le")[:-1], None), (REFUSED,)))
    cases.append(Case("line: carriage returns", _line(good + b"\r", 5), (MADE,)))
    return cases


def _parameters() -> list[Case]:
    """Parameters of the wrong kind or out of range: refused before anything is loaded."""
    wrong: dict[str, tuple[Any, ...]] = {
        "image": (7, None, [], {}, "", True, "a\0b.png", "a\ud800.png"),
        "output": (7, None, ["b"], "", "b\0", "b\ud800"),
        "preset": (7, None, "gold", "", "../lite", "LITE", "lite\0"),
        "seed": (1.5, -1, 2**63, 10**400, True, "1", None, [1]),
        "person": (0, -1, 1.0, "1", True, [1]),
        "device": (7, None, "", "cpu:abc", "tpu", "cuda:-1", "cpu; touch x", "x" * 100_000),
        "body": (7, None, "", "adult", "..", "/dev/null", "/\0", "b\ud800"),
        "shading": (-0.1, 1.5, float("nan"), float("inf"), "1", True, None),
        "colour": ("red",),
        "__class__": (1,),
        "x" * 100_000: (1,),
    }

    def run(name: str, values: tuple[Any, ...]) -> Callable[[Path], Said]:
        def each(own: Path) -> Said:
            server, texts = _server("fake"), []
            for value in values:
                params = {"image": str(own / "a.png"), "output": str(own / "avatar"), name: value}
                line = _request("reconstruct", params)
                server.write(line + b"\n")
                said = _said(server.answer(None if b"NaN" in line or b"Infinity" in line else 5, 20.0))
                if said.outcome != REFUSED:
                    return said
                if len(said.text) > 400:
                    return Said(REFUSED, said.text, f"{len(said.text)} characters for {str(value)[:40]!r}")
                texts.append(said.text)
            server.check()
            return Said(REFUSED, texts[-1], left_behind(own))

        return each

    cases = [Case(f"reconstruct: {name[:20]} wrong", run(name, values), (REFUSED,)) for name, values in wrong.items()]
    for name in ("image", "output"):
        params = {"image": "a.png", "output": "b"}
        del params[name]
        line = _line(_request("reconstruct", params), 5)
        cases.append(Case(f"reconstruct: no {name}", line, (REFUSED,), name))
    huge = _request("reconstruct", {"image": "a.png", "output": "b", "shading": 7}).replace(b"7", b"1e999")
    cases.append(Case("reconstruct: shading 1e999", _line(huge, 5), (REFUSED,), "shading"))
    return cases


def _reconstruct(prepare: Callable[[Path], dict[str, Any]]) -> Callable[[Path], Said]:
    """Ask the real server; what is in the folder afterwards must be what was there before."""

    def run(own: Path) -> Said:
        params = prepare(own)
        server, there = _server("real"), sorted(entry.name for entry in own.iterdir())
        asked = {"image": str(_PHOTO), "output": str(own / "avatar"), "preset": "surface", "device": "cpu"} | params
        before = server.peak()
        message = server.answer(server.ask("reconstruct", asked), 60.0)
        peak = max(0, server.peak() - before)
        server.check()
        lost = left_behind(own, there)
        gone = [name for name in there if not os.path.lexists(own / name)]
        return _said(message, lost or ", ".join(gone), peak)

    return run


def _picture_files() -> list[Case]:
    def pipe(own: Path) -> dict[str, Any]:
        os.mkfifo(own / "pipe.jpg")
        return {"image": str(own / "pipe.jpg")}

    def sparse(own: Path) -> dict[str, Any]:
        with open(own / "large.jpg", "wb") as file:
            file.truncate(8 * 1024**3)
        return {"image": str(own / "large.jpg")}

    def circle(own: Path) -> dict[str, Any]:
        (own / "circle.jpg").symlink_to(own / "circle.jpg")
        return {"image": str(own / "circle.jpg")}

    def text(own: Path) -> dict[str, Any]:
        (own / "text.jpg").write_text("this is no picture")
        return {"image": str(own / "text.jpg")}

    def empty(own: Path) -> dict[str, Any]:
        (own / "empty.jpg").touch()
        return {"image": str(own / "empty.jpg")}

    made: dict[str, Callable[[Path], dict[str, Any]]] = {
        "a pipe": pipe, "8 GB without content": sparse, "a link to itself": circle, "a text": text, "empty": empty,
        "missing": lambda own: {"image": str(own / "gone.jpg")},
        "a folder": lambda own: {"image": str(own)},
        "/dev/zero": lambda own: {"image": "/dev/zero"},
        "/dev/stdin": lambda own: {"image": "/dev/stdin"},
        "/dev/tty": lambda own: {"image": "/dev/tty"},
        "/proc/self/mem": lambda own: {"image": "/proc/self/mem"},
        "a name of 300 letters": lambda own: {"image": str(own / ("x" * 300))},
        "a path of 10,000 characters": lambda own: {"image": "/x" * 5000},
        "a web address": lambda own: {"image": "https://example.org/person.jpg"},
    }  # fmt: skip
    return [Case(f"image: {name}", _reconstruct(prepare), (REFUSED,)) for name, prepare in made.items()]


def _output_folders() -> list[Case]:
    def foreign(own: Path) -> dict[str, Any]:
        (own / "avatar").mkdir()
        (own / "avatar" / "thesis.txt").write_text("mine")
        return {}

    def other_format(own: Path) -> dict[str, Any]:
        (own / "avatar").mkdir()
        (own / "avatar" / "avatar.json").write_text('{"format": "another program\'s"}')
        return {}

    def a_file(own: Path) -> dict[str, Any]:
        (own / "avatar").write_text("mine")
        return {}

    def below_a_file(own: Path) -> dict[str, Any]:
        (own / "file").write_text("mine")
        return {"output": str(own / "file" / "avatar")}

    def circle(own: Path) -> dict[str, Any]:
        (own / "circle").symlink_to(own / "circle")
        return {"output": str(own / "circle" / "avatar")}

    def pipe(own: Path) -> dict[str, Any]:
        os.mkfifo(own / "avatar")
        return {}

    def way_back(own: Path) -> dict[str, Any]:
        foreign(own)
        return {"output": str(own / "avatar" / "new" / "..")}

    def the_photo(own: Path) -> dict[str, Any]:
        (own / "photo.jpg").write_bytes(_PHOTO.read_bytes())
        return {"image": str(own / "photo.jpg"), "output": str(own / "photo.jpg")}

    made: dict[str, Callable[[Path], dict[str, Any]]] = {
        "somebody's folder": foreign, "somebody's avatar.json": other_format, "a file": a_file,
        "below a file": below_a_file, "below a link to itself": circle, "a pipe": pipe, "the photo itself": the_photo,
        "a way back to somebody's folder": way_back,
        "a name of 300 letters": lambda own: {"output": str(own / ("x" * 300))},
    }  # fmt: skip
    return [Case(f"output: {name}", _reconstruct(prepare), (REFUSED,)) for name, prepare in made.items()]


def _other_options() -> list[Case]:
    def body(data: bytes) -> Callable[[Path], dict[str, Any]]:
        def prepare(own: Path) -> dict[str, Any]:
            (own / "body.pkl").write_bytes(data.replace(b"OWN", os.fsencode(own)))
            return {"body": str(own / "body.pkl")}

        return prepare

    made: dict[str, Callable[[Path], dict[str, Any]]] = {
        "a card that is not there": lambda own: {"device": "cuda:99"},
        "a second card of Apple's": lambda own: {"device": "mps:9"},
        "an empty body file": body(b""),
        "a body file of zeros": body(b"\0" * 1000),
        "a body file that runs a command": body(b"cos\nsystem\n(S'touch OWN/was-here'\ntR."),
    }
    return [Case(f"reconstruct: {name}", _reconstruct(prepare), (REFUSED,)) for name, prepare in made.items()]


def _export(package: Path, changes: Callable[[Path], dict[str, Any]]) -> Callable[[Path], Said]:
    def run(own: Path) -> Said:
        params = {"package": str(package), "output": str(own / "out"), "target": "splats"} | changes(own)
        params = {name: value for name, value in params.items() if value != "LEFT OUT"}
        there = sorted(entry.name for entry in own.iterdir())
        server = _server("fake")
        line = _request("export", params)
        server.write(line + b"\n")
        said = _said(server.answer(None if b"NaN" in line else 5, 60.0))
        server.check()
        load_avatar(package)
        around = left_behind(own, [*there, "out"] if said.outcome == MADE else there)
        return Said(said.outcome, said.text, around or left_behind(package.parent, [package.name]))

    return run


def _exports(folder: Path) -> list[Case]:
    package = folder / "packages" / "figure"
    if not package.exists():
        save_avatar(make_avatar(300), package)

    def foreign(own: Path) -> dict[str, Any]:
        (own / "out").mkdir()
        (own / "out" / "thesis.txt").write_text("mine")
        return {}

    def a_file(own: Path) -> dict[str, Any]:
        (own / "out").write_text("mine")
        return {}

    def below_a_file(own: Path) -> dict[str, Any]:
        (own / "file").write_text("mine")
        return {"output": str(own / "file" / "out")}

    def not_clips(own: Path) -> dict[str, Any]:
        (own / "clips.npz").write_bytes(b"PK\x03\x04 no archive")
        return {"clips": str(own / "clips.npz")}

    def pipe(own: Path) -> dict[str, Any]:
        os.mkfifo(own / "pose.npz")
        return {"pose": str(own / "pose.npz")}

    made: dict[str, Callable[[Path], dict[str, Any]]] = {
        "package is a number": lambda own: {"package": 7},
        "package is missing": lambda own: {"package": "LEFT OUT"},
        "package is not there": lambda own: {"package": str(own / "gone")},
        "package is a device": lambda own: {"package": "/dev/zero"},
        "package is no text": lambda own: {"package": "\ud800"},
        "output is empty": lambda own: {"output": ""},
        "output is the package": lambda own: {"output": str(package)},
        "output is below a file": below_a_file,
        "output is a file": a_file,
        "output is somebody's folder": foreign,
        "target is unknown": lambda own: {"target": "gold"},
        "target is a list": lambda own: {"target": ["web"]},
        "target is missing": lambda own: {"target": "LEFT OUT"},
        "triangles are negative": lambda own: {"triangles": -1},
        "triangles are too many": lambda own: {"triangles": 10**12},
        "triangles are true": lambda own: {"triangles": True},
        "triangles are NaN": lambda own: {"triangles": float("nan")},
        "texture is odd": lambda own: {"texture": 3},
        "texture is vast": lambda own: {"texture": 10**9},
        "budget is negative": lambda own: {"budget": -5},
        "budget is a text": lambda own: {"budget": "all"},
        "lit is a number": lambda own: {"lit": 1},
        "skeleton is unknown": lambda own: {"skeleton": "dog"},
        "clips are a device": lambda own: {"clips": "/dev/zero"},
        "clips are damaged": not_clips,
        "pose is not there": lambda own: {"pose": str(own / "gone.npz")},
        "pose is a pipe": pipe,
        "pose is a device": lambda own: {"pose": "/dev/zero"},
        "unknown parameter": lambda own: {"formats": ["ply"]},
    }
    cases = [Case(f"export: {name}", _export(package, change), (REFUSED,)) for name, change in made.items()]
    for name in ("../../escaped", "OWN/escaped", "CON", "a\nb", "x" * 5000, "..", "$(touch x)", "😀 山田"):
        cases.append(Case(f"export: named {name[:20]!r}", _named(package, name), (MADE, REFUSED)))
    return cases


def _named(package: Path, name: str) -> Callable[[Path], Said]:
    """Export under a name into a folder so deep that no name leads out of the case's own; all must be in there."""

    def run(own: Path) -> Said:
        output = own / "some" / "where" / "out"
        output.parent.mkdir(parents=True)
        whole = name.replace("OWN", str(own))
        said = _export(package, lambda _own: {"name": whole, "output": str(output)})(own)
        astray = [path for path in own.rglob("*") if output not in (path, *path.parents) and path not in output.parents]
        return Said(said.outcome, said.text, said.lost or ", ".join(map(str, astray)))

    return run


def _two_at_once(own: Path) -> Said:
    server = _server("fake")
    first = server.ask("reconstruct", {"image": "slow.png", "output": str(own / "a")})
    second = _said(server.answer(server.ask("reconstruct", {"image": "photo.png", "output": str(own / "b")})))
    server.ask("cancel", {"id": first})
    if _said(server.answer(first)).outcome != REFUSED:
        raise RuntimeError("the first job was not cancelled")
    third = server.answer(server.ask("reconstruct", {"image": "photo.png", "output": str(own / "b")}))
    if "result" not in third:
        raise RuntimeError("the server is busy for ever")
    load_avatar(own / "b")
    server.check()
    return Said(second.outcome, second.text, left_behind(own, ["b"]))


def _two_with_one_id(own: Path) -> Said:
    """The second is refused under the id of both, and the first is done."""
    server = _server("fake")
    for name in ("a", "b"):
        server.ask("reconstruct", {"image": "photo.png", "output": str(own / name)}, id="same")
    refused, done = _said(server.answer("same")), server.answer("same")
    if "result" not in done:
        raise RuntimeError("the first job was lost")
    server.check()
    return Said(refused.outcome, refused.text, left_behind(own, ["a"]))


def _cancelled(kind: str, photo: str, wait: str) -> Callable[[Path], Said]:
    """Cancel a job once a stage of this name has begun."""

    def run(own: Path) -> Said:
        server = _server(kind)
        name = server.ask(
            "reconstruct", {"image": photo, "output": str(own / "x" / "avatar"), "preset": "surface", "device": "cpu"}
        )
        server.until(lambda message: message.get("params", {}).get("stage") == wait)
        if not server.answer(server.ask("cancel", {"id": name}))["result"]["cancelled"]:
            raise RuntimeError("there was nothing to cancel")
        said = _said(server.answer(name, 20.0))
        server.check()
        return Said(said.outcome, said.text, left_behind(own))

    return run


def _cancel(params: dict[str, Any]) -> Callable[[Path], Said]:
    """Cancelling what does not run says so and disturbs nothing, not even a job that does."""

    def run(own: Path) -> Said:
        server = _server("fake")
        name = server.ask("reconstruct", {"image": "photo.png", "output": str(own / "avatar")})
        if server.answer(server.ask("cancel", params))["result"] != {"cancelled": False}:
            raise RuntimeError("another job was cancelled")
        if "result" not in server.answer(name):
            raise RuntimeError("the job was lost")
        server.check()
        return Said(MADE, "", left_behind(own, ["avatar"]))

    return run


def _flood(methods: tuple[str, ...], count: int) -> Callable[[Path], Said]:
    """Every request gets an answer, and the job among them is done."""

    def run(own: Path) -> Said:
        server = _server("fake")
        job = server.ask("reconstruct", {"image": "photo.png", "output": str(own / "avatar")})

        def send() -> None:
            for number in range(count):
                server.ask(methods[number % len(methods)], {"protocol": 1}, id=number)

        sender = threading.Thread(target=send)
        sender.start()
        kinds: dict[Any, str] = {}
        while len(kinds) <= count:
            message = server.next(60.0)
            if "method" not in message:
                kinds[message["id"]] = "" if "result" in message else message["error"]["data"]["kind"]
        sender.join()
        if kinds.pop(job) or not set(kinds.values()) <= {"", "busy", "method_not_found"}:
            raise RuntimeError(f"answers of the kinds {set(kinds.values())}")
        server.check()
        return Said(MADE, "", left_behind(own, ["avatar"]))

    return run


def _ended(how: Callable[[_Server], None], photo: str, kind: str = "fake") -> Callable[[Path], Said]:
    """In the middle of a job the server ends within two seconds, with status 0, and leaves nothing."""

    def run(own: Path) -> Said:
        server = _Server(kind)
        server.ask("reconstruct", {"image": photo, "output": str(own / "x" / "avatar"), "preset": "surface"})
        server.until(lambda message: message.get("params", {}).get("stage") == "body")
        how(server)
        started = time.monotonic()
        try:
            status = server.process.wait(20.0)
        except subprocess.TimeoutExpired:
            server.process.kill()
            raise RuntimeError("the server goes on") from None
        took = time.monotonic() - started
        if status or took > 2.0:
            raise RuntimeError(f"it ended with status {status} after {took:.1f} s")
        return Said(MADE, "", left_behind(own))

    return run


def _shutdown(server: _Server) -> None:
    if server.answer(server.ask("shutdown"))["result"] != {}:
        raise RuntimeError("shutdown was not answered")


def _close(server: _Server) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()


def _unheard(own: Path) -> Said:
    """Whoever reads the answers leaves; the requests' end ends the server, and no output is half-written."""
    process = _start("fake")
    assert process.stdin is not None and process.stdout is not None
    process.stdout.close()
    params = {"image": "photo.png", "output": str(own / "avatar")}
    process.stdin.write(_request("initialize", {"protocol": 1}) + b"\n" + _request("reconstruct", params) + b"\n")
    process.stdin.flush()
    for _ in range(200):
        if (own / "avatar").exists():
            break
        time.sleep(0.05)
    load_avatar(own / "avatar")
    process.stdin.close()
    status = process.wait(10.0)
    if status:
        raise RuntimeError(f"it ended with status {status}")
    return Said(MADE, "", left_behind(own, ["avatar"]))


def _prints(own: Path) -> Said:
    """A library that prints during a job does not disturb the protocol: :meth:`_Server.next` reads JSON alone."""
    server = _server("fake")
    message = server.answer(server.ask("reconstruct", {"image": "chatty.png", "output": str(own / "avatar")}))
    server.check()
    return _said(message, left_behind(own, ["avatar"]))


def cases(folder: Path) -> list[Case]:
    """Lines, parameters, files, jobs and ends."""
    busy = [
        Case("two jobs at once", _two_at_once, (REFUSED,), "already works"),
        Case("two jobs with one id", _two_with_one_id, (REFUSED,), "already works"),
        Case("cancelled while computing", _cancelled("fake", "slow.png", "prepare"), (REFUSED,), "cancelled"),
        Case("cancelled for real", _cancelled("real", str(_PHOTO), "body"), (REFUSED,), "cancelled"),
        Case("cancel of an unknown job", _cancel({"id": 99}), (MADE,)),
        Case("cancel of nothing named", _cancel({}), (MADE,)),
        Case("cancel of a list", _cancel({"id": [1]}), (MADE,)),
        Case("cancel of an object", _cancel({"id": {"a": 1}}), (MADE,)),
        Case("a flood of requests", _flood(("initialize", "cancel"), 3000), (MADE,)),
        Case("a flood of starts", _flood(("initialize",), 2000), (MADE,)),
        Case("a flood of unknown methods", _flood(("dance",), 3000), (MADE,)),
        Case("shutdown in the middle", _ended(_shutdown, "slow.png"), (MADE,)),
        Case("shutdown while it hangs", _ended(_shutdown, "hang.png"), (MADE,)),
        Case("shutdown for real", _ended(_shutdown, str(_PHOTO), "real"), (MADE,)),
        Case("requests end in the middle", _ended(_close, "slow.png"), (MADE,)),
        Case("nobody reads the answers", _unheard, (MADE,)),
        Case("a library prints", _prints, (MADE,)),
    ]
    files = [*_picture_files(), *_output_folders(), *_other_options()]
    return [*_malformed(), *_parameters(), *_exports(folder), *busy, *files]
