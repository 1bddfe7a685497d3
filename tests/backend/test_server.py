"""The protocol, spoken with a real child process around a made-up pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backend.server import explain_unexpected

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
        (request_line("reconstruct", {"image": "a.png", "output": "b", "lower": "kilt"}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "shading": float("nan")}), -32700, None),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "shading": float("inf")}), -32700, None),
        (
            request_line("reconstruct", {"image": "a.png", "output": "b", "shading": 7}).replace(b"7", b"1e999"),
            -32602,
            5,
        ),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "seed": 2**63}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "device": "cpu:abc"}), -32023, 5),
        (request_line("reconstruct", {"image": "a\0.png", "output": "b"}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b\ud800"}), -32602, 5),
        (request_line("reconstruct", {"image": "a.png", "output": "b", "body": "/\0"}), -32602, 5),
        (request_line("export", {"package": "\ud800", "output": "b", "target": "web"}), -32602, 5),
        (request_line("export", {"package": "a", "output": "b", "target": "web", "clips": "/dev/null"}), -32602, 5),
        (request_line("views", {"package": "a"}), -32602, 5),
        (request_line("views", {"package": "a", "output": "b", "size": 9}), -32602, 5),
        (request_line("cut", {"sheet": "", "output": "b"}), -32602, 5),
        (request_line("repaint", {"package": "a", "output": "b", "pictures": []}), -32602, 5),
        (request_line("repaint", {"package": "a", "output": "b", "pictures": [{"path": "p", "view": "x"}]}), -32602, 5),
        (request_line("repaint", {"package": "a", "output": "b", "pictures": [{"path": "p\0"}]}), -32602, 5),
        (b"[" * 200_000, -32700, None),
        (b'{"a":' * 100_000, -32700, None),
        (b'{"id": ' + b"9" * 5000 + b"}", -32700, None),
        (b'{"id": 5, "jsonrpc": "2.0", "method": "cancel", "params": ' + b"[" * 300 + b"]" * 300 + b"}", -32602, 5),
        (b"x" * 3_500_000, -32700, None),
        (b"[" * 1_000_000, -32700, None),
    ],
    ids=lambda value: repr(value)[:40],
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


def test_an_endless_line_is_not_kept_in_memory(child: Child) -> None:
    before = _memory(child)
    for _ in range(64):
        assert child.process.stdin is not None
        child.process.stdin.write(b" " * 1_000_000)
    child.send_line(b"")
    assert "longer than" in child.read()["error"]["message"]
    assert _memory(child) - before < 20e6
    child.send(6, "initialize", protocol=1)
    assert "result" in child.answer(6)


def _memory(child: Child) -> int:
    """Bytes that the process holds; 0 where the system does not say."""
    status = Path(f"/proc/{child.process.pid}/status")
    if not status.is_file():
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def test_a_flood_of_requests_is_answered(child: Child, tmp_path: Path) -> None:
    """Each gets an answer, most of them that the backend is busy, and the job among them is done."""
    reconstruct(child, "job", tmp_path)
    count = 3000
    writer = threading.Thread(
        target=lambda: [child.send(k, ("initialize", "cancel")[k % 2], protocol=1) for k in range(count)]
    )
    writer.start()
    answers = {}
    while len(answers) < count + 1:
        message = child.read()
        if "method" not in message:
            answers[message["id"]] = message
    writer.join()
    assert "result" in answers["job"]
    assert all("result" in answers[k] for k in range(1, count, 2))
    busy = [k for k in range(0, count, 2) if answers[k].get("error", {}).get("data", {}).get("kind") == "busy"]
    assert busy and all("result" in answers[k] for k in range(0, count, 2) if k not in busy)


def test_the_heart_beats_while_there_is_work(child: Child, tmp_path: Path) -> None:
    """Even while the job says nothing; not while there is none."""
    reconstruct(child, "job", tmp_path, "hang.png")
    beats: list[dict[str, Any]] = []
    arrived: list[float] = []
    while len(beats) < 3:
        message = child.read()
        if message.get("method") == "heartbeat":
            beats.append(message["params"])
            arrived.append(time.monotonic())
    assert all(beat["id"] == "job" and 0 <= beat["cpu"] < 60 for beat in beats)
    assert all(0.5 < later - earlier < 3.0 for earlier, later in pairwise(arrived))


def test_the_heart_is_silent_without_work(child: Child) -> None:
    child.send(1, "initialize", protocol=1)
    child.answer(1)
    time.sleep(2.2)
    child.send(2, "shutdown")
    child.answer(2)
    assert not [message for message in child.seen if message.get("method") == "heartbeat"]


class FakeAcceleratorError(RuntimeError):
    """As PyTorch's."""


FakeAcceleratorError.__name__ = "AcceleratorError"


@pytest.mark.parametrize(
    "error",
    [FakeAcceleratorError("CUDA error: unspecified launch failure"), RuntimeError("CUDA error: invalid device ordinal"),
     RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), RuntimeError("MPS backend operation failed")],
)  # fmt: skip
def test_a_card_that_stops_is_not_the_photos_fault(error: Exception) -> None:
    failure = explain_unexpected(error)
    assert failure.kind == "device_failed" and "photo" not in failure.fix and "processor" in failure.fix


def test_other_errors_are_not_the_cards_fault() -> None:
    assert explain_unexpected(ValueError("no CUDA here")).kind == "internal"


def test_views_are_saved_repainted_and_sheets_are_cut(child: Child, tmp_path: Path) -> None:
    reconstruct(child, 1, tmp_path)
    package = child.answer(1)["result"]["package"]
    child.send(2, "views", package=package, output=str(tmp_path / "views"))
    assert child.answer(2)["result"] == {
        "folder": str(tmp_path / "views"), "files": ["front.png", "back.png"], "notes": []
    }  # fmt: skip
    pictures = [{"path": str(tmp_path / "views" / "back.png"), "view": "back"}]
    child.send(3, "repaint", package=package, output=str(tmp_path / "red"), pictures=pictures)
    result = child.answer(3)["result"]
    assert result["package"] == str(tmp_path / "red") and result["warnings"] == ["A note on the picture."]
    assert (tmp_path / "red" / "gaussians.ply").is_file()
    child.send(4, "repaint", package=package, output=str(tmp_path / "no"), pictures=[{"path": "same.png"}])
    error = child.answer(4)["error"]
    assert (error["code"], error["data"]["kind"]) == (-32030, "nothing_changed") and not (tmp_path / "no").exists()
    child.send(5, "cut", sheet=str(tmp_path / "anna.png"), output=str(tmp_path / "cut"))
    figures = child.answer(5)["result"]["figures"]
    assert [figure["side"] for figure in figures] == ["front", "back", "left", "other"]
    assert all(Path(figure["path"]).is_file() for figure in figures)
    assert {"repaint", "views", "cut"} <= {progress["stage"] for progress in child.progress()}
