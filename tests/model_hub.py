"""A hub of models on this machine, with a second server for large files, and a tiny model to have from it.

It speaks what the Hugging Face hub does of ``/OWNER/NAME/resolve/REVISION/FILE``: small files are answered with git's
SHA-1 as ETag; large ones are redirected to the second server, with their SHA-256 in ``X-Linked-Etag``.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from backend.models.catalogue import Licence, Model, Part, RemoteFile

REVISION = "c0ffee" + "0" * 34
OPEN = Licence("Open Licence", "1.0", "https://example.org/open", "It forbids nothing.")
CLOSED = Licence("Closed Licence", "2 May 2026", "https://example.org/closed", "It forbids commercial use.")
WEIGHTS = "unet/model.safetensors"


def safetensors(values: bytes) -> bytes:
    """A safetensors file of one tensor of bytes."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}).encode()
    return len(header).to_bytes(8, "little") + header + values


def tiny_model(name: str = "sv3d") -> Model:
    """Two parts of two repositories: a folder with a configuration, vocabulary and weights, and one file."""
    base = Part(
        "base",
        "somebody/base",
        (RemoteFile("unet/config.json", 20), RemoteFile("vocab.txt", 30), RemoteFile(WEIGHTS, 900_000)),
        CLOSED,
    )
    files = (RemoteFile("adapter.safetensors", 1_000), RemoteFile("more.safetensors", 1_000, optional=True))
    adapter = Part("adapter", "other/adapter", files, OPEN, gated=True, entry="adapter.safetensors")
    return Model(name, "Tiny", "It is tiny.", (base, adapter), least_memory=8_000_000_000)


def contents(seed: bytes = b"a") -> dict[str, bytes]:
    """Every file of the tiny model, by repository and name."""
    noise = b"".join(hashlib.sha256(seed + bytes([k % 256, k // 256])).digest() for k in range(28_000))
    return {
        "somebody/base/unet/config.json": b'{"layers": 3}',
        "somebody/base/vocab.txt": b"one\ntwo\n",
        f"somebody/base/{WEIGHTS}": safetensors(noise),
        "other/adapter/adapter.safetensors": safetensors(b"adapter" + seed),
        "other/adapter/more.safetensors": safetensors(b"more" + seed),
    }


def write_by_hand(folder: Path, parts: dict[str, str] | None = None) -> None:
    """What somebody has who has downloaded all repositories: FOLDER/PART/FILE, or other names for the parts."""
    names = parts or {"somebody/base": "base", "other/adapter": "adapter"}
    for path, content in contents().items():
        repository = "/".join(path.split("/")[:2])
        target = folder / names[repository] / path[len(repository) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@dataclass(frozen=True)
class Asked:
    """A request: ``sent`` counts the bytes of content that were answered."""

    method: str
    name: str
    start: int | None
    token: str | None
    large: bool


@dataclass
class Hub:
    """What the two servers know and have been asked.

    Attributes:
        endpoint: address of the first.
        files: by repository and name.
        status: answers in place of a file, by its path: status and ``X-Error-Code``.
        cuts: of a large file, after how many bytes each further connection is cut; -1: at once.
        spoil: paths whose bytes are not those that were announced.
        no_ranges: the second server ignores ``Range``.
        pause: seconds between chunks of large files.
        asked: all requests.
        sent: bytes of content, by path.
    """

    endpoint: str = ""
    files: dict[str, bytes] = field(default_factory=contents)
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    spoil: set[str] = field(default_factory=set)
    no_ranges: bool = False
    pause: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def starts(self, path: str) -> list[int | None]:
        """Of the requests for a file's bytes, from where on they were wanted."""
        of_weights = path.endswith(".safetensors")
        wanted = [asked for asked in self.asked if asked.method == "GET" and asked.name == path]
        return [asked.start for asked in wanted if asked.large == of_weights]


def _etag(path: str, content: bytes) -> str:
    if path.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: Hub, large: bool, elsewhere: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, whole: bool) -> None:
            path = urlsplit(self.path).path.strip("/")
            if path.startswith("api/"):  # what the package asks on its own account
                self.reply(404, {"Content-Length": "0"})
                return
            path = path.replace("/resolve/main/", "/")
            span = self.headers.get("Range")
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else None
            token = self.headers.get("Authorization")
            hub.asked.append(Asked(self.command, path, start, token, large))
            status, code = hub.status.get(path, (0, ""))
            content = hub.files.get(path, b"")
            if status or path not in hub.files:
                self.reply(status or 404, {"X-Error-Code": code or "EntryNotFound", "Content-Length": "0"})
            elif not large and path.endswith(".safetensors"):
                about = {"X-Linked-Etag": f'"{_etag(path, content)}"', "X-Linked-Size": str(len(content))}
                location = f"{elsewhere}/{path}?signature=x"
                self.reply(302, about | {"Location": location, "X-Repo-Commit": REVISION, "Content-Length": "0"})
            elif start is not None and start >= len(content):
                self.reply(416, {"Content-Length": "0"})
            else:
                begin = 0 if hub.no_ranges or start is None else start
                headers = {"Content-Length": str(len(content) - begin), "X-Repo-Commit": REVISION}
                self.reply(206 if begin else 200, headers | {"ETag": f'"{_etag(path, content)}"'})
                if whole:
                    self.send(path, content, begin)

        def reply(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def send(self, path: str, content: bytes, begin: int) -> None:
            content = bytes(len(content)) if path in hub.spoil else content
            cut = hub.cuts[path].pop(0) if hub.cuts.get(path) else len(content)
            end = min(begin + cut, len(content))
            for place in range(begin, max(end, begin), 50_000):
                chunk = content[place : min(place + 50_000, end)]
                self.wfile.write(chunk)
                self.wfile.flush()
                hub.sent[path] = hub.sent.get(path, 0) + len(chunk)
                time.sleep(hub.pause)
            if end < len(content):
                self.close_connection = True
                self.connection.close()

    return Handler


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that runs as long as the block does."""
    hub = Hub()
    # Of another name: tokens are kept from other hosts.
    with _server(_handler(hub, True, ""), "localhost") as second, _server(_handler(hub, False, second)) as hub.endpoint:
        yield hub


@contextmanager
def _server(handler: type[BaseHTTPRequestHandler], name: str = "127.0.0.1") -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave are wanted here
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://{name}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
