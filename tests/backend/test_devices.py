"""The choice of a device: tried before it is trusted; and the whole path on one that knows no float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import DEVICE, PretendMps, is_there

from backend import __main__ as cli
from backend import devices
from backend import steps as steps_module
from backend.avatar import load_avatar
from backend.errors import BackendError
from backend.options import ReconstructOptions
from backend.photo import PreparedPhoto
from backend.pipeline import Pipeline, ReconstructResult
from backend.prepare import prepare
from backend.rendering import CameraTensors, GaussianTensors, contributions, exact_device, rasterizer, render

PHOTO = Path(__file__).resolve().parents[2] / "docs" / "demo" / "person.jpg"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Beside other work, PyTorch's threads wait for each other for most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def cards() -> Iterator[list[str]]:
    """Two NVIDIA cards as far as PyTorch says; what is computed on them is asked of the processor, and goes wrong as
    the list says: "no kernel" and "memory" raise, "zeros" computes nothing, "nan" nonsense."""
    fault, run = [""], devices._tiny_run

    def on_processor(device: torch.device) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
        if device.type == "cuda" and fault[0] == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")
        if device.type == "cuda" and fault[0] == "no kernel":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with ...")
        spoilt = {"zeros": 0.0, "nan": np.nan}.get(fault[0], 1.0) if device.type == "cuda" else 1.0
        return [(what, found * spoilt, right, most) for what, found, right, most in run(torch.device("cpu"))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "_tiny_run", on_processor)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: "GeForce GTX 1080")
        devices._passed.clear()
        yield fault
    devices._passed.clear()


@pytest.fixture
def card() -> Iterator[list[str]]:
    """See :func:`cards`."""
    with cards() as fault:
        yield fault


@pytest.fixture(scope="module")
def fallen_back(tmp_path_factory: pytest.TempPathFactory) -> ReconstructResult:
    """What ``auto`` makes where there is a card without kernels."""
    output = tmp_path_factory.mktemp("fallen_back") / "a"
    with cards() as fault:
        fault[0] = "no kernel"
        pipeline = Pipeline("auto")
        assert pipeline.device.type == "cpu"
        return pipeline.reconstruct(PHOTO, output, ReconstructOptions(preset="surface"))


def test_a_card_that_computes_is_used(card: list[str]) -> None:
    assert devices.choose("auto") == devices.Choice(torch.device("cuda"))
    assert devices.choose("cuda:1").device == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("no kernel", "no kernel image"), ("zeros", "wrong numbers"), ("nan", "wrong numbers"), ("memory", "of memory")],
)
def test_a_card_that_does_not_compute_is_left_alone(card: list[str], fault: str, reason: str) -> None:
    card[0] = fault
    chosen = devices.choose("auto")
    assert chosen.device == torch.device("cpu")
    assert reason in chosen.note and "GeForce GTX 1080" in chosen.note and "processor did the work" in chosen.note
    assert "Compile with" not in chosen.note
    with pytest.raises(BackendError, match=reason) as caught:
        devices.choose("cuda")
    assert caught.value.kind == "device_failed" and "another photo" not in caught.value.fix
    assert ("driver" in caught.value.fix) == (fault != "memory") == ("driver" in chosen.note)
    card[0] = ""  # it is tried anew
    assert devices.choose("auto").device == torch.device("cuda")


def test_the_avatar_says_why_the_card_was_not_used(fallen_back: ReconstructResult) -> None:
    assert [warning for warning in fallen_back.warnings if "GeForce GTX 1080 was not used" in warning]
    assert load_avatar(fallen_back.package).warnings == fallen_back.warnings


def test_the_trial_finds_wrong_numbers_of_the_processor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.trial(torch.device("cpu")) == ""
    devices._passed.clear()
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda image, weight: image[:, :4, 1:-1, 1:-1])
    assert devices.trial(torch.device("cpu")) == "a convolution gives wrong numbers"
    devices._passed.clear()


@pytest.mark.parametrize("name", ["cpu:abc", "", "gpu", "cuda:-1", "cuda:0:0", "mps\n", "cuda:9"])
def test_devices_that_are_none(name: str, card: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError) as caught:
        devices.choose(name)
    assert caught.value.kind == "device_missing"
    assert cli.main(["reconstruct", str(PHOTO), "-o", str(tmp_path / "a"), "--device", name]) == 2
    err = capsys.readouterr().err
    assert "device" in err and "Traceback" not in err


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendMps]:
    """A made-up Apple graphics processor, while it is entered."""
    devices._passed.clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    yield PretendMps()
    devices._passed.clear()


def test_the_made_up_device_refuses_what_the_real_one_does(apple: PretendMps) -> None:
    with apple:
        there = torch.ones(3, device="mps")
        assert there.device == DEVICE and (there + 1).device == DEVICE and not is_there(there.cpu())
        for wrong in (
            lambda: torch.zeros(3, dtype=torch.float64, device="mps"),
            lambda: torch.as_tensor(np.zeros(3), device=DEVICE),
            lambda: torch.zeros(3, dtype=torch.float64).to("mps"),
            lambda: there.double(),
            lambda: there.numpy(),
            lambda: there.to(torch.float64),
        ):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        layer = torch.nn.Linear(3, 2).to("mps")
        assert layer(there).device == DEVICE
        with pytest.raises(RuntimeError, match="same device"):
            layer(torch.ones(3))


def test_renders_for_a_device_without_float64(apple: PretendMps, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    splats = GaussianTensors(
        torch.randn(50, 3) * 0.3 + torch.tensor([0.0, 0.0, 3.0]), torch.randn(50, 4), torch.rand(50, 3) * 0.1,
        torch.rand(50), torch.rand(50, 3),
    )  # fmt: skip
    camera = CameraTensors(torch.eye(4), torch.tensor([60.0, 60.0, 24.0, 24.0]), 48, 48)
    expected, pairs = render(splats, camera), contributions(splats, camera)
    with apple:
        found, same = render(splats.to("mps"), camera.to("mps")), contributions(splats.to("mps"), camera.to("mps"))
        assert found.rgb.device == same.weight.device == DEVICE
        for ours, theirs in ((found.rgb, expected.rgb), (found.depth, expected.depth), (same.weight, pairs.weight)):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=0, atol=0)
        monkeypatch.setattr(rasterizer, "exact_device", torch.device)
        with pytest.raises(TypeError, match="float64"):
            render(splats.to("mps"), camera.to("mps"))


def test_the_whole_path_holds_float32_where_there_is_no_float64(
    apple: PretendMps, fallen_back: ReconstructResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both presets; ``lite`` passes through every network."""
    prepared: list[PreparedPhoto] = []

    def once(*given: Any) -> PreparedPhoto:
        if not prepared:
            prepared.append(prepare(*given))
        return prepared[0]

    monkeypatch.setattr(steps_module, "prepare", once)
    options = ReconstructOptions(preset="surface", device="mps")
    with apple:
        pipeline = Pipeline("mps")
        assert exact_device(pipeline.device) == torch.device("cpu")
        imagined = pipeline.reconstruct(PHOTO, tmp_path / "lite", ReconstructOptions(preset="lite", device="mps"))
        networks = apple.calls
        plain = pipeline.reconstruct(PHOTO, tmp_path / "surface", options)
    assert networks > 5000  # it did work there
    lite, surface = load_avatar(imagined.package), load_avatar(plain.package)
    assert lite.generator["preset"] == "lite" and not [w for w in lite.warnings if "instead" in w]
    assert all(np.isfinite(values).all() for values in vars(lite.gaussians).values() if isinstance(values, np.ndarray))
    # In front both are the photo; slanted rims, whose colours the two take from elsewhere, differ.
    assert np.median(np.abs(lite.gaussians.sh_dc[:50_000] - surface.gaussians.sh_dc[:50_000])) < 0.2
    ours, theirs = surface.gaussians, load_avatar(fallen_back.package).gaussians
    assert abs(len(ours) - len(theirs)) <= 0.001 * len(theirs)
    if len(ours) == len(theirs):
        apart = np.abs(ours.position - theirs.position).max(1)
        assert np.quantile(apart, 0.999) < 1e-4 and apart.max() < 1e-3  # metres
        assert np.abs(ours.sh_dc - theirs.sh_dc).mean() < 1e-3
