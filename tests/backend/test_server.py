"""The protocol, spoken with a real child process around a made-up pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FAKE_BACKEND = Path(__file__).resolve().parents[1] / "fake_backend.py"
STEPS = 20


class Child:
    """A fake backend and the plainest possible client."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE_BACKEND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.seen: list[dict[str, Any]] = []

    def send_line(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, request_id: int | str | None, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.send_line(json.dumps(message if request_id is None else message | {"id": request_id}).encode())

    def read(self) -> dict[str, Any]:
        """The next line; fails on anything that is not a JSON-RPC object."""
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        self.seen.append(message)
        return message

    def answer(self, request_id: int | str | None) -> dict[str, Any]:
        while True:
            message = self.read()
            if "method" not in message and message["id"] == request_id:
                return message

    def progress(self) -> list[dict[str, Any]]:
        return [m["params"] for m in self.seen if m.get("method") == "progress" and m["params"]["stage"] != "load"]

    def wait_for_progress(self) -> None:
        while not self.progress():
            self.read()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.process.kill()
    child.process.wait()
    for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
        assert stream is not None
        stream.close()


def reconstruct(child: Child, request_id: int | str, folder: Path, photo: str = "photo.png", **params: Any) -> None:
    child.send(request_id, "reconstruct", image=photo, output=str(folder / "avatar"), **params)


def test_initialize_describes_the_backend(child: Child) -> None:
    child.send(1, "initialize", protocol=1)
    result = child.answer(1)["result"]
    assert result["protocol"] == 1
    assert result["presets"] == ["surface", "lite"]
    assert result["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"backend_version", "torch", "device", "device_name", "missing"} <= set(result)


def test_other_protocol_is_refused(child: Child) -> None:
    child.send(1, "initialize", protocol=2)
    error = child.answer(1)["error"]
    assert error["data"]["kind"] == "protocol_version"
    assert error["data"]["fix"]


def test_reconstruct_reports_every_step_and_writes_the_package(child: Child, tmp_path: Path) -> None:
    reconstruct(child, "job", tmp_path, seed=3, person=None)
    result = child.answer("job")["result"]
    assert (Path(result["package"]) / "avatar.json").is_file()
    assert list(result["seconds"]) == ["prepare", "body", "reconstruct", "bind", "save"]
    assert result["warnings"] == ["This avatar is made up."]
    progress = child.progress()
    assert len(progress) == STEPS
    assert all(p["id"] == "job" and p["stage_count"] == 5 for p in progress)
    overall = [p["overall"] for p in progress]
    assert overall == sorted(overall) and overall[0] == 0.0
    # shares 1 + 1 + 2 + 0.5 + 0.5 of 5: the third stage starts at 2/5
    assert next(p["overall"] for p in progress if p["stage"] == "reconstruct") == pytest.approx(0.4)


def test_second_job_is_busy_and_the_first_goes_on(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path / "a")
    reconstruct(child, 2, tmp_path / "b")
    error = child.answer(2)["error"]
    assert (error["data"]["kind"], error["code"]) == ("busy", -32001)
    assert "result" in child.answer(1)
    reconstruct(child, 3, tmp_path / "b")  # free again as soon as the answer is there
    assert "result" in child.answer(3)


def test_cancel_stops_between_steps(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path, "slow.png")
    child.wait_for_progress()
    start = time.monotonic()
    child.send(2, "cancel", id=1)
    assert child.answer(2)["result"] == {"cancelled": True}
    error = child.answer(1)["error"]
    assert time.monotonic() - start < 1.0
    assert (error["code"], error["data"]["kind"]) == (-32800, "cancelled")
    assert list(tmp_path.iterdir()) == []


def test_cancel_of_nothing(child: Child) -> None:
    child.send(1, "cancel", id=99)
    assert child.answer(1)["result"] == {"cancelled": False}


@pytest.mark.parametrize("photo", ["slow.png", "hang.png"])
def test_ends_within_a_second_when_input_closes_during_a_job(child: Child, tmp_path: Path, photo: str) -> None:
    reconstruct(child, 1, tmp_path, photo)
    child.wait_for_progress()
    if photo == "hang.png":
        while child.progress()[-1]["stage"] != "body" or child.progress()[-1]["stage_fraction"] < 0.7:
            child.read()
    assert child.process.stdin is not None
    start = time.monotonic()
    child.process.stdin.close()
    assert child.process.wait(5.0) == 0
    assert time.monotonic() - start < 1.0
    assert list(tmp_path.iterdir()) == []


def test_shutdown_answers_then_ends(child: Child) -> None:
    child.send(1, "shutdown")
    assert child.answer(1)["result"] == {}
    assert child.process.wait(2.0) == 0


def test_expected_error_is_typed(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path, "no_person.png")
    error = child.answer(1)["error"]
    assert -32099 <= error["code"] <= -32000
    assert error["message"] == "There is no person in the photo."
    assert error["data"] == {"kind": "no_person", "fix": "Choose a photo that shows a person.", "details": ""}


def test_unexpected_error_carries_its_traceback_and_the_server_lives(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path, "unexpected.png")
    error = child.answer(1)["error"]
    assert error["data"]["kind"] == "internal"
    assert "nobody foresaw this" in error["message"]
    assert "Traceback" in error["data"]["details"] and "_make_trouble" in error["data"]["details"]
    reconstruct(child, 2, tmp_path)
    assert "result" in child.answer(2)


def test_only_the_protocol_reaches_standard_output(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path, "chatty.png")
    assert "result" in child.answer(1)  # every line on the way was a JSON-RPC object, or read() had failed
    child.send(2, "shutdown")
    child.answer(2)
    out, err = child.process.communicate()
    assert out == b""
    assert b"a library prints" in err and b"native code writes" in err


def request_line(method: Any, params: Any, **changes: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": params} | changes).encode()


@pytest.mark.parametrize(
    ("line", "code", "answer_id"),
    [
        (b"{nonsense", -32700, None),
        (b"\xff\xfe", -32700, None),
        (b"[]", -32600, None),
        (request_line("initialize", {}, jsonrpc="1.0"), -32600, 5),
        (request_line(7, {}), -32600, 5),
        (request_line("cancel", {}, id=[1]), -32600, None),
        (request_line("dance", {}), -32601, 5),
        (request_line("cancel", [1]), -32602, 5),
        (request_line("reconstruct", {"image": "a.png"}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "seed": 1.5}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "sed": 1}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "person": 0}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "preset": "gold"}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "shading": 1.5}), -32602, 5),
    ],
)
def test_bad_requests_get_json_rpc_errors(child: Child, line: bytes, code: int, answer_id: int | None) -> None:
    child.send_line(line)
    message = child.read()
    assert (message["id"], message["error"]["code"]) == (answer_id, code)
    child.send(6, "initialize", protocol=1)  # and the server goes on
    assert "result" in child.answer(6)


def test_requests_without_id_get_no_answer(child: Child) -> None:
    child.send(None, "cancel", id=1)
    child.send(None, "dance")
    child.send(1, "initialize", protocol=1)
    assert child.read()["id"] == 1
