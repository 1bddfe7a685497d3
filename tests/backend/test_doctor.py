"""What ``doctor`` finds, damage by damage, and what ``doctor --repair`` does about it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend import __main__ as cli
from backend import devices, doctor, manifest, networks
from backend import repair as repairs
from backend.doctor import Check
from backend.errors import BackendError
from backend.prepare import weights
from backend.prepare.graph import GraphNetwork
from backend.prepare.lift import Lifter

Spoil = Callable[[Path], None]


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    """The second half and, of networks, all weights, as a disk that lost power leaves them; the header stays."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little") if path.suffix == ".safetensors" else len(data) // 2
    path.write_bytes(data[:start] + bytes(len(data) - start))


def zero_all(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def put_nan(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(data)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILT = pytest.mark.parametrize(
    "spoil", [truncate, empty, zero, zero_all, put_nan, flip_a_bit, remove, make_folder], ids=lambda f: f.__name__
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data that ship, in the place of ``backend/``."""
    folder = tmp_path / "backend"
    for name in manifest.shipped().files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest.BACKEND / name, folder / name)
    monkeypatch.setattr(manifest, "BACKEND", folder)
    return folder


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the unpacked networks, which takes their place."""
    if weights.missing_weights():
        pytest.skip("the pose networks have not been unpacked")
    folder = tmp_path / "networks"
    folder.mkdir()
    for name in weights.NETWORKS:
        shutil.copyfile(weights.network_path(name), folder / f"{name}.safetensors")
    monkeypatch.setenv("HUMANSPLAT_WEIGHTS", str(folder))
    return folder


def wrong(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if check.required and not check.ok]


def test_the_manifest_is_that_of_the_tree() -> None:
    """Where this fails because data have changed on purpose: run scripts/make_manifest.py."""
    assert not weights.missing_weights()
    folder = weights.weights_folder()
    made = manifest.make({name: folder / f"{name}.safetensors" for name in weights.NETWORKS})
    assert made == json.loads(manifest.MANIFEST.read_text("utf-8"))
    assert {"body/data/neutral.npz", "prepare/lifter.safetensors", "weights/lite/depth.safetensors"} <= set(
        made["files"]
    )
    assert not [name for name in made["files"] if name.startswith("training")]


def test_content_is_the_same_however_it_is_laid_out(tmp_path: Path) -> None:
    def file(name: str, order: str, pad: int, values: bytes = b"ABCDEFGH") -> Path:
        parts = {"a": values[:4], "b": values[4:]}
        header, offset = {"__metadata__": {"graph": "{}"}}, 0
        for key in order:
            header[key] = {"dtype": "F32", "shape": [1], "data_offsets": [offset, offset + 4]}
            offset += 4
        text = json.dumps(header).encode() + b" " * pad
        path = tmp_path / name
        path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts[key] for key in order))
        return path

    digest = manifest.content_digest(file("one", "ab", 0))
    assert manifest.content_digest(file("two", "ba", 5)) == digest
    assert manifest.content_digest(file("three", "ab", 0, b"ABCDEFGX")) != digest
    for spoil in (truncate, empty, zero_all):
        path = file("four", "ab", 0)
        spoil(path)
        with pytest.raises(ValueError):
            manifest.content_digest(path)


@SPOILT
@pytest.mark.parametrize(
    "name", ["body/data/female.npz", "prepare/lifter.safetensors", "weights/lite/light.safetensors"]
)
def test_every_damage_of_a_file_that_ships_is_found(tree: Path, name: str, spoil: Spoil) -> None:
    assert wrong(doctor.check_data()) == []
    spoil(tree / name)
    checks = doctor.check_data()
    assert wrong(checks) == [name]
    (check,) = [check for check in checks if not check.ok]
    assert "Install the extension" in check.what_to_do
    assert check.blocks == (not name.startswith("weights/"))  # without them there is still a preset
    assert not doctor.as_json(checks)["ok"]
    assert name in doctor.report(checks) and "missing or damaged" in doctor.report(checks)


def test_a_deleted_folder_of_weights_is_found(tree: Path) -> None:
    shutil.rmtree(tree / "weights")
    assert len(wrong(doctor.check_data())) == 6
    assert not [check for check in doctor.check_data() if check.found and not check.ok]


def test_a_missing_or_damaged_manifest_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.json")
    for text in (None, "", "{}", "[]", '{"files": {"a": 1}, "networks": {}}', "[" * 100_000):
        manifest.shipped.cache_clear()
        if text is not None:
            (tmp_path / "manifest.json").write_text(text)
        assert wrong(doctor.check_data()) == ["manifest.json"]
    manifest.shipped.cache_clear()


@SPOILT
def test_every_damage_of_an_unpacked_network_is_found(unpacked: Path, spoil: Spoil) -> None:
    assert wrong(doctor.check_weights()) == []
    spoil(unpacked / "pose_landmark.safetensors")
    checks = doctor.check_weights()
    assert wrong(checks) == ["network pose_landmark"]
    assert "setup" in next(check.what_to_do for check in checks if not check.ok)


@pytest.mark.parametrize("spoil", [truncate, empty, zero, zero_all, put_nan], ids=lambda f: f.__name__)
def test_damaged_pose_networks_are_not_run(unpacked: Path, spoil: Spoil) -> None:
    """Or the photo would be blamed for what they say."""
    path = unpacked / "pose_detection.safetensors"
    GraphNetwork(path)
    spoil(path)
    with pytest.raises(BackendError) as caught:
        GraphNetwork(path)
    assert caught.value.kind == "weights_damaged" and "doctor --repair" in caught.value.fix


def test_a_network_of_another_kind_is_not_run(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.network_path("pose_landmark")
    shutil.copyfile(weights.network_path("hand_landmark"), path)
    with pytest.raises(BackendError) as caught:
        weights.network_path("pose_landmark")
    assert caught.value.kind == "weights_damaged" and "pose_landmark" in caught.value.message
    assert "doctor --repair" in caught.value.fix
    # Without a manifest nothing is known of it, and that is no reason to stop.
    monkeypatch.setattr(manifest, "MANIFEST", unpacked / "manifest.json")
    manifest.shipped.cache_clear()
    assert weights.network_path("pose_landmark") == path
    manifest.shipped.cache_clear()


def test_networks_with_nan_or_other_content_are_not_run(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    values = torch.nn.Linear(3, 2).state_dict()
    save_file(values, tmp_path / "good.safetensors")
    networks.read_network(torch.nn.Linear(3, 2), tmp_path / "good.safetensors")
    for bad in (float("nan"), float("inf")):
        values["bias"][1] = bad
        save_file(values, tmp_path / "bad.safetensors")
        with pytest.raises(BackendError, match="not all of them are numbers"):
            networks.read_network(torch.nn.Linear(3, 2), tmp_path / "bad.safetensors")
    assert len(networks.describe(tree / "weights/lite", "light.safetensors")) == 1
    assert len(networks.describe(tmp_path, "bad.safetensors")) == 1  # nobody's but the user's
    zero(tree / "weights/lite/light.safetensors")
    with pytest.raises(BackendError, match=r"light\.safetensors are damaged"):
        networks.describe(tree / "weights/lite", "light.safetensors")
    zero(tree / "prepare/lifter.safetensors")
    with pytest.raises(BackendError) as caught:
        Lifter(tree / "prepare/lifter.safetensors")
    assert caught.value.kind == "weights_damaged"


def test_setup_unpacks_what_is_damaged(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only what is missing."""

    def no_network(*_arguments: object, **_named: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "no network")

    monkeypatch.setattr(subprocess, "run", no_network)
    assert weights.ensure_weights() == unpacked
    truncate(unpacked / "hand_landmark.safetensors")
    with pytest.raises(BackendError, match="could not be downloaded"):
        weights.ensure_weights()
    (unpacked / "file").write_bytes(b"mine")
    with pytest.raises(BackendError, match="cannot be written to") as caught:
        weights.ensure_weights(unpacked / "file")
    assert caught.value.kind == "weights_missing" and (unpacked / "file").read_bytes() == b"mine"


def missing(name: str) -> str:
    """As if no package were installed."""
    raise importlib.metadata.PackageNotFoundError(name)


def test_wrong_versions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(doctor.check_packages()) == []
    (tmp_path / "scipy-1.2.3.dist-info").mkdir()
    (tmp_path / "scipy-1.2.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 1.2.3\n")
    (tmp_path / "numpy-9.dist-info").mkdir()
    (tmp_path / "numpy-9.dist-info" / "METADATA").write_bytes(b"\0" * 100)
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = {check.name: check for check in doctor.check_packages()}
    assert checks["scipy"].found.startswith("1.2.3 instead of") and not checks["scipy"].ok
    assert not checks["scipy"].blocks  # it may well work
    assert not checks["numpy"].ok and checks["numpy"].blocks
    monkeypatch.setattr(importlib.metadata, "version", missing)
    checks = {check.name: check for check in doctor.check_packages()}
    assert not checks["transformers"].ok and not checks["transformers"].blocks  # only large models need it
    assert not checks["torch"].ok and checks["torch"].blocks


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libtorch.so: file too short')", "file too short"),
        ("import os; os.abort()", "exit status"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("version = None", "does not load"),
    ],
)
def test_a_broken_torch_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    """Even one that ends the process that loads it."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = doctor.run_tiny_run()
    assert check.name == "tiny run: torch" and said in check.found and check.required
    assert repairs.wrong_packages([check]) == ["torch"]


def test_a_torch_that_computes_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "trial", lambda device: "a convolution gives wrong numbers")
    (check,) = doctor.tiny_run()
    assert not check.ok and "a convolution gives wrong numbers" in check.found


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("xatlas", "backend.pipeline"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    monkeypatch.delattr("backend.pipeline", raising=False)
    (check,) = doctor.tiny_run()
    assert check.name == "tiny run: xatlas" and repairs.wrong_packages([check]) == ["xatlas"]
    monkeypatch.delitem(sys.modules, "xatlas")
    (check,) = doctor.tiny_run()
    assert check.name == "tiny run: program" and check.what_to_do == doctor.DATA_HINT


def test_the_device_that_failed_its_trial_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = devices.Choice(torch.device("cpu"), "The graphics card GTX was not used, because it is old.")
    monkeypatch.setattr(devices, "choose", lambda name: choice)
    check = doctor.check_device()
    assert check.found.startswith("cpu: ") and "GTX" in check.what_to_do and not check.required
    assert "GTX" in doctor.report([check]) and doctor.as_json([check])["ok"]
    described = doctor.describe()
    assert described["notes"] == [choice.note] and described["device"] == "cpu" and described["missing"] == []


# --- repair ---------------------------------------------------------------------------------------------------------


def test_repair_installs_unpacks_and_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_wrong = Check("tiny run: torch", "does not load", doctor.INSTALL_HINT)
    network_wrong = Check("network pose_landmark", "damaged", doctor.SETUP_HINT)
    body_wrong = Check("body/data/male.npz", "", doctor.DATA_HINT)
    state = [torch_wrong, body_wrong]
    commands: list[list[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(list(command))
        if "pip" in command:
            state[0] = network_wrong  # which only shows once PyTorch loads
        else:
            state[0] = replace(network_wrong, found="unpacked", what_to_do="")
        return ""

    said: list[str] = []
    outcome = repairs.repair(lambda: list(state), run, said.append)
    assert "pip" in commands[0] and any(word.startswith("torch==") or word == "-r" for word in commands[0])
    assert commands[1][-3:] == ["-m", "backend", "setup"] and len(commands) == 2
    assert outcome.repaired == ["tiny run: torch"]
    (left,) = outcome.left
    assert left.startswith("body/data/male.npz: missing.") and "Install the extension" in left
    assert len(said) == 3


def test_repair_of_what_is_whole_does_nothing() -> None:
    def run(command: Sequence[str]) -> str:
        raise AssertionError(command)

    outcome = repairs.repair(lambda: [Check("torch", "2.13.0"), Check("gsplat", "", "get it", required=False)], run)
    assert (outcome.repaired, outcome.left) == ([], [])


def test_repair_says_what_it_could_not_do() -> None:
    bad = [Check("numpy", "", doctor.INSTALL_HINT), Check("network hand_landmark", "", doctor.SETUP_HINT)]
    outcome = repairs.repair(lambda: bad, lambda command: "ERROR: No matching distribution found.")
    assert outcome.repaired == []
    assert any("No matching distribution" in text and "internet" in text for text in outcome.left)
    assert any(text.startswith("network hand_landmark: missing.") for text in outcome.left)


def test_packages_come_with_the_hashes_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "LOCKS", tmp_path)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(repairs, "torch_build", lambda: "cu130")
    python = f"py3{sys.version_info.minor}"
    (tmp_path / f"windows-x64-{python}.txt").write_text(
        "# comment\nnumpy==2.4.6 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "OpenCV_python-headless==4.11.0.86 \\\n    --hash=sha256:cc\n"
    )
    (command, torch_command) = repairs.pip_commands(["numpy", "torch"], tmp_path)
    assert "--require-hashes" in command and "--only-binary=:all:" in command
    written = Path(command[-1]).read_text()
    assert written.split() == ["numpy==2.4.6", "\\", "--hash=sha256:aa", "\\", "--hash=sha256:bb"]
    assert torch_command[-3:-1] == ["--index-url", "https://download.pytorch.org/whl/cu130"]
    assert torch_command[-1].startswith("torch==")
    (tmp_path / f"windows-x64-{python}-cu130.txt").write_text("torch==2.13.0 \\\n    --hash=sha256:dd\n")
    (command,) = repairs.pip_commands(["torch", "opencv-python-headless"], tmp_path)
    assert Path(command[-1]).read_text().split()[::3] == ["torch==2.13.0", "OpenCV_python-headless==4.11.0.86"]


@pytest.mark.parametrize("as_json", [True, False])
def test_doctor_repair_from_the_command_line(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    good = (unpacked / "pose_landmark.safetensors").read_bytes()
    zero(unpacked / "pose_landmark.safetensors")
    monkeypatch.setattr(doctor, "run_tiny_run", doctor.check_weights)
    monkeypatch.setattr(
        repairs, "_run", lambda command: str((unpacked / "pose_landmark.safetensors").write_bytes(good) * 0)[1:]
    )
    assert cli.main(["doctor", *["--json"] * as_json]) == 1
    assert "pose_landmark" in capsys.readouterr().out
    assert cli.main(["doctor", "--repair", *["--json"] * as_json]) == 0
    out, err = capsys.readouterr()
    assert "unpacking the pose networks" in err
    if as_json:
        answer = json.loads(out)
        assert answer["ok"] and answer["repaired"] == ["network pose_landmark"] and answer["left"] == []
    else:
        assert "Repaired: network pose_landmark" in out
    assert np.array_equal(np.frombuffer(good, np.uint8), np.fromfile(unpacked / "pose_landmark.safetensors", np.uint8))
