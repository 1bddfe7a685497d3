"""From a picture file to an avatar package, and every kind of bad input: one sentence, nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend import output as output_module
from backend import pipeline as pipeline_module
from backend.avatar import load_avatar, pose_gaussians, rgb_from_sh
from backend.avatar.threads import workers
from backend.bind import bind, template_triangles
from backend.body.fit import BodyFitter
from backend.body.model import load_body
from backend.errors import BackendError, Cancelled
from backend.options import ReconstructOptions
from backend.pipeline import Pipeline
from backend.progress import Progress
from backend.reconstruct import Reconstruction, SurfaceReconstructor
from backend.reconstruct import surface as surface_module
from backend.research.evaluation.mannequins import make_mannequin
from backend.views.latent.stage import Step
from backend.views.synthesize import Synthesizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    loaded = Pipeline("cpu")
    loaded.load()
    return loaded


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    """uint8 [768, 768, 3], one person."""
    return make_mannequin(load_body("neutral"), "relaxed", yaw=5.0, seed=7).rgb


@pytest.fixture(scope="module")
def photo(person: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "person.png"
    Image.fromarray(person).save(path)
    return path


def error_of(pipeline: Pipeline, photo: Path, output: Path, **options: object) -> BackendError:
    """The error that the picture raises; checks that it reads well and that nothing was written."""
    parent = output.parent
    before = sorted(parent.rglob("*")) if parent.exists() else []
    with pytest.raises(BackendError) as caught:
        pipeline.reconstruct(photo, output, ReconstructOptions(**options))
    error = caught.value
    for sentence in (error.message, error.fix):
        assert sentence[0].isupper() or sentence[0] in "/'" or sentence.startswith(photo.name)
        assert sentence.rstrip().endswith(".") and "Traceback" not in sentence
    assert (sorted(parent.rglob("*")) if parent.exists() else []) == before
    return error


def test_photo_to_package(pipeline: Pipeline, photo: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    surface = ReconstructOptions(preset="surface")
    result = pipeline.reconstruct(photo, tmp_path / "a", surface, progress=reports.append)
    avatar = load_avatar(result.package)
    assert 60_000 <= len(avatar.gaussians) <= 120_000
    assert avatar.source["name"] == "person.png" and avatar.generator["preset"] == "surface"
    # The package says how far the photo shows each splat.
    assert avatar.skin.seen.max() == 1 and 0.2 < avatar.skin.seen.mean() < 0.8
    assert set(result.seconds) == {"prepare", "body", "surface", "reconstruct", "bind", "save"}
    assert {p.name for p in result.package.iterdir()} == {
        "avatar.json", "gaussians.ply", "skin.npz", "body.npz", "input.png", "preview.png"
    }  # fmt: skip
    with Image.open(result.package / "preview.png") as preview:
        assert preview.size == (1024, 512)
    overall = [r.overall for r in reports]
    assert overall == sorted(overall) and 0 <= overall[0] and overall[-1] <= 1
    assert [s for i, s in enumerate(r.stage for r in reports) if i == 0 or reports[i - 1].stage != s] == [
        "prepare", "body", "surface", "reconstruct", "bind", "save"
    ]  # fmt: skip
    # The person stands: head up, feet on the ground.
    posed = pose_gaussians(avatar, avatar.pose).position
    assert abs(posed[:, 1].min()) < 0.05 and 1.2 < posed[:, 1].max() < 2.1
    # The same photo gives the same bytes.
    pipeline.reconstruct(photo, tmp_path / "b", surface)
    assert (tmp_path / "a/gaussians.ply").read_bytes() == (tmp_path / "b/gaussians.ply").read_bytes()


def test_not_an_image(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    assert error_of(pipeline, path, tmp_path / "out").kind == "image_unreadable"


def test_missing_file(pipeline: Pipeline, tmp_path: Path) -> None:
    assert error_of(pipeline, tmp_path / "none.jpg", tmp_path / "out").kind == "image_unreadable"


def test_truncated_file(pipeline: Pipeline, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    path.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    assert error_of(pipeline, path, tmp_path / "out").kind == "image_unreadable"


def test_no_person(pipeline: Pipeline, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert error_of(pipeline, tmp_path / "noise.png", tmp_path / "out").kind == "no_person"


@pytest.mark.parametrize(("size", "kind"), [((1, 1), "image_too_small"), ((20000, 20000), "image_too_large")])
def test_absurd_sizes(pipeline: Pipeline, tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    Image.new("1", size).save(tmp_path / "odd.png")
    started = time.monotonic()
    assert error_of(pipeline, tmp_path / "odd.png", tmp_path / "out").kind == kind
    assert time.monotonic() - started < 20


def test_three_people(pipeline: Pipeline, tmp_path: Path) -> None:
    body = load_body("neutral")
    small = [make_mannequin(body, "standing", 0.0, seed, size=384 + 40 * seed).rgb for seed in range(3)]
    canvas = np.full((480, 1280, 3), 150, np.uint8)
    left = 0
    for picture in small:
        side = picture.shape[0]
        canvas[480 - side :, left : left + side] = picture
        left += side
    path = tmp_path / "three.png"
    Image.fromarray(canvas).save(path)
    result = pipeline.reconstruct(path, tmp_path / "out")
    assert len(result.warnings) == 1 and "people were found" in result.warnings[0]
    error = error_of(pipeline, path, tmp_path / "other", person=9)
    assert error.kind == "person_index" and "from 1" in error.fix


@pytest.mark.parametrize(("top", "bottom", "words"), [(0.0, 0.72, "cuts the person"), (0.27, 1.0, "cuts the head")])
def test_cut_people_are_told(
    pipeline: Pipeline, person: np.ndarray, tmp_path: Path, top: float, bottom: float, words: str
) -> None:
    side = len(person)
    Image.fromarray(person[int(top * side) : int(bottom * side)]).save(tmp_path / "cut.png")
    try:
        result = pipeline.reconstruct(tmp_path / "cut.png", tmp_path / "out")
    except BackendError as error:
        assert error.kind == "no_person"
        assert not (tmp_path / "out").exists()
    else:
        assert any(words in warning for warning in result.warnings)
        load_avatar(tmp_path / "out")


def test_output_in_the_way(pipeline: Pipeline, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    assert error_of(pipeline, photo, tmp_path / "mine").kind == "output_not_writable"
    (tmp_path / "file").write_text("x")
    assert error_of(pipeline, photo, tmp_path / "file").kind == "output_not_writable"
    assert error_of(pipeline, photo, tmp_path / "file/below").kind == "output_not_writable"


def test_read_only_output(pipeline: Pipeline, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.mkdir

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        if self.name.startswith(".out."):  # what is written before it takes its place
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert error_of(pipeline, photo, tmp_path / "out").kind == "output_not_writable"


def test_full_disk(pipeline: Pipeline, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1, 1, 0))
    assert error_of(pipeline, photo, tmp_path / "out").kind == "disk_full"
    monkeypatch.undo()

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output_module, "save_avatar", full)
    assert error_of(pipeline, photo, tmp_path / "out").kind == "disk_full"


def test_cancel_leaves_nothing(pipeline: Pipeline, photo: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(Cancelled):
        pipeline.reconstruct(
            photo, tmp_path / "out", progress=lambda p: seen.append(p.stage), cancelled=lambda: "reconstruct" in seen
        )
    assert not list(tmp_path.iterdir())


def test_unknown_preset_and_device(pipeline: Pipeline, photo: Path, tmp_path: Path) -> None:
    assert error_of(pipeline, photo, tmp_path / "out", preset="best").kind == "preset_unknown"
    assert error_of(pipeline, photo, tmp_path / "out", shading=float("nan")).kind == "shading_unknown"
    with pytest.raises(BackendError) as caught:
        Pipeline("cuda:7" if not pipeline_module.torch.cuda.is_available() else "tpu")
    assert caught.value.kind == "device_missing"


def test_killed_in_the_middle_leaves_nothing(photo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "reconstruct", str(photo), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "body" in line:
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_two_jobs_at_once_do_not_disturb_each_other(photo: Path, tmp_path: Path) -> None:
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "backend", "reconstruct", str(photo), "-o", str(tmp_path / "same")],
            cwd=ROOT, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [job.wait(300) for job in jobs] == [0, 0]
    load_avatar(tmp_path / "same")
    assert [p.name for p in tmp_path.iterdir()] == ["same"]


def test_another_guess_at_the_same_photo_does_not_fit_the_body_again(
    pipeline: Pipeline, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.forget()
    fits = []
    fit = BodyFitter.fit
    monkeypatch.setattr(BodyFitter, "fit", lambda self, *given: fits.append(1) or fit(self, *given))
    first = pipeline.reconstruct(photo, tmp_path / "a", ReconstructOptions(preset="surface"))
    again = pipeline.reconstruct(photo, tmp_path / "b", ReconstructOptions(preset="surface", seed=1))
    assert len(fits) == 1 and list(again.seconds) == list(first.seconds)
    for name in ("gaussians.ply", "skin.npz", "body.npz", "input.png"):
        assert (again.package / name).read_bytes() == (first.package / name).read_bytes(), name
    # The same picture under another name keeps its own name; another person is another fit.
    copy = tmp_path / "copy.png"
    copy.write_bytes(photo.read_bytes())
    named = load_avatar(pipeline.reconstruct(copy, tmp_path / "c", ReconstructOptions(preset="surface")).package)
    assert len(fits) == 1 and named.source["name"] == "copy.png"
    pipeline.reconstruct(photo, tmp_path / "d", ReconstructOptions(preset="surface", person=1))
    assert len(fits) == 2
    pipeline.forget()
    pipeline.reconstruct(photo, tmp_path / "d", ReconstructOptions(preset="surface", person=1))
    assert len(fits) == 3


def test_lite_with_missing_or_damaged_weights_says_so_and_gives_surface(
    pipeline: Pipeline, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    monkeypatch.setattr(pipeline_module, "WEIGHTS_FOLDER", folder)
    monkeypatch.setattr(pipeline, "_latent", {})
    result = pipeline.reconstruct(photo, tmp_path / "a", ReconstructOptions(preset="lite"))
    assert any("not installed" in w and "surface was used" in w for w in result.warnings)
    generator = load_avatar(result.package).generator
    assert generator["preset"] == "surface" and generator["weights"] == []
    (folder / "lite").mkdir(parents=True)
    (folder / "lite/codec.safetensors").write_bytes(b"half a download")
    result = pipeline.reconstruct(photo, tmp_path / "b", ReconstructOptions(preset="lite"))
    assert any("damaged" in w and "surface was used" in w for w in result.warnings)
    assert load_avatar(result.package).generator["preset"] == "surface"


def test_lite_with_weights_makes_a_package(
    pipeline: Pipeline, photo: Path, person: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With untrained weights: splats on the body that show the photo where it sees them."""
    import torch

    from backend.estimate.depth import DepthEstimator, DepthNetwork
    from backend.estimate.light import LightNetwork
    from backend.research.training.loop import save_weights
    from backend.views.latent import CONFIGS, LatentTransformer
    from backend.views.latent.codec import LatentCodec
    from backend.views.synthesize import CONFIGS as SYNTHESIZERS
    from backend.views.synthesize import ViewUNet
    from backend.views.synthesize.painter import Painter

    config, imagined = replace(CONFIGS["smoke"](), reference=256), SYNTHESIZERS["smoke"]()
    monkeypatch.setattr(pipeline_module, "CONFIGS", {"lite": lambda: config})
    monkeypatch.setattr(pipeline_module, "SYNTHESIZERS", {"lite": lambda: imagined})
    monkeypatch.setattr(pipeline_module, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.setattr(pipeline, "_latent", {})
    monkeypatch.setattr(pipeline, "_synthesizers", {})
    monkeypatch.setattr(pipeline, "_depth", {})
    monkeypatch.setattr(pipeline, "_light", {})
    torch.manual_seed(0)
    (tmp_path / "lite").mkdir()
    save_weights(LatentTransformer(config).state_dict(), tmp_path / "lite/reconstruction.safetensors")
    save_weights(LatentCodec().state_dict(), tmp_path / "lite/codec.safetensors")
    stages = ["prepare", "body", "depth", "light", "surface", "reconstruct", "bind", "save"]
    seen: list[str] = []
    options = ReconstructOptions(preset="lite")
    pipeline.forget()
    result = pipeline.reconstruct(photo, tmp_path / "a", options, progress=lambda p: seen.append(p.stage))
    assert list(dict.fromkeys(seen)) == [stage for stage in stages if stage not in ("depth", "light")]
    assert len(result.warnings) == 3
    assert "depth.safetensors" in result.warnings[0] and "fitted body" in result.warnings[0]
    assert "light.safetensors" in result.warnings[1] and "as bright" in result.warnings[1]
    assert "synthesizer.safetensors" in result.warnings[2] and "surface" in result.warnings[2]
    save_weights(DepthNetwork().state_dict(), tmp_path / "lite/depth.safetensors")
    save_weights(LightNetwork().state_dict(), tmp_path / "lite/light.safetensors")
    save_weights(ViewUNet(imagined).state_dict(), tmp_path / "lite/synthesizer.safetensors")
    save_weights(Painter().state_dict(), tmp_path / "lite/painter.safetensors")
    made: list[Reconstruction] = []
    colour = SurfaceReconstructor.colour
    monkeypatch.setattr(
        SurfaceReconstructor, "colour", lambda self, *given: made.append(colour(self, *given)) or made[-1]
    )
    result = pipeline.reconstruct(photo, tmp_path / "a", options)
    avatar = load_avatar(result.package)
    # Bound while the other sides were imagined, and yet in the colours that came of that.
    np.testing.assert_allclose(rgb_from_sh(avatar.gaussians.sh_dc), made[0].rgb, atol=1e-6)
    gaussians, skin, _ = bind(made[0], template_triangles(pipeline.body()))
    np.testing.assert_array_equal(avatar.gaussians.position, gaussians.position)
    np.testing.assert_array_equal(avatar.skin.vertex_ids, skin.vertex_ids)
    np.testing.assert_array_equal(avatar.skin.seen, skin.seen)
    assert len(made) == 1 and 0.3 < avatar.skin.seen.mean() < 0.7
    assert result.warnings == ()
    assert list(result.seconds) == stages
    assert avatar.generator["preset"] == "lite"
    assert [len(w["sha256"]) for w in avatar.generator["weights"]] == [64] * 6
    # Whatever networks say, the photo's own view stays the photo's.
    with Image.open(result.package / "preview.png") as preview:
        pixels = np.asarray(preview.convert("RGB")).astype(float)
    theirs, ours = pixels[:, :512], pixels[:, 512:]
    with Image.open(result.package / "input.png") as crop:
        alpha = np.asarray(crop.resize((512, 512)))[..., 3] > 250
    assert np.abs(theirs - ours)[alpha].mean() < 30
    # The same seed gives the same, whatever was imagined in between.
    again = [
        load_avatar(pipeline.reconstruct(photo, tmp_path / "b", replace(options, seed=seed)).package) for seed in (1, 0)
    ]
    np.testing.assert_array_equal(again[1].gaussians.sh_dc, avatar.gaussians.sh_dc)
    assert not np.array_equal(again[0].gaussians.sh_dc, avatar.gaussians.sh_dc)
    # Another shading colours anew what the photo does not show, on the same fit, and leads back.
    with monkeypatch.context() as patch:
        patch.setattr(BodyFitter, "fit", _out_of_memory)
        patch.setattr(DepthEstimator, "estimate", _out_of_memory)
        even, back = (
            load_avatar(pipeline.reconstruct(photo, tmp_path / "b", replace(options, shading=shading)).package)
            for shading in (0.0, 1.0)
        )
    np.testing.assert_array_equal(even.gaussians.position, avatar.gaussians.position)
    np.testing.assert_array_equal(back.gaussians.sh_dc, avatar.gaussians.sh_dc)
    apart, seen = np.abs(even.gaussians.sh_dc - avatar.gaussians.sh_dc).max(1), avatar.skin.seen
    # What the photo half shows changes by half.
    assert np.median(apart[seen < 0.01]) > 20 * np.median(apart[seen > 0.99])
    # The other sides are imagined in a thread beside: what stops that stops the whole.
    before = (tmp_path / "b/avatar.json").read_bytes()
    pipeline.forget()
    with monkeypatch.context() as patch:
        patch.setattr(Synthesizer, "synthesize", _out_of_memory)
        with pytest.raises(BackendError, match="memory"):
            pipeline.reconstruct(photo, tmp_path / "b", options)
    assert (tmp_path / "b/avatar.json").read_bytes() == before
    # So does whoever cancels while they are, and what fails beside them stops them.
    pipeline.forget()
    asked: list[str] = []
    synthesize = Synthesizer.synthesize
    with monkeypatch.context() as patch:
        patch.setattr(
            Synthesizer, "synthesize", lambda *given, **named: asked.append("") or synthesize(*given, **named)
        )
        with pytest.raises(Cancelled):
            pipeline.reconstruct(photo, tmp_path / "b", options, cancelled=lambda: bool(asked))
    assert asked and (tmp_path / "b/avatar.json").read_bytes() == before
    pipeline.forget()
    stopped: list[BaseException | None] = []

    def slow(*given: object, step: Step, **named: object) -> None:
        until = time.monotonic() + 60
        try:
            while time.monotonic() < until:
                step(0.0, "")
                time.sleep(0.01)
            stopped.append(None)
        except BaseException as error:
            stopped.append(error)
            raise

    with monkeypatch.context() as patch:
        patch.setattr(Synthesizer, "synthesize", slow)
        patch.setattr(surface_module, "pose_problem", _out_of_memory)
        with pytest.raises(BackendError, match="memory"):
            pipeline.reconstruct(photo, tmp_path / "b", options)
        while not stopped:
            time.sleep(0.01)
    assert isinstance(stopped[0], Cancelled)
    # And then it works as ever.
    last = load_avatar(pipeline.reconstruct(photo, tmp_path / "b", options).package)
    np.testing.assert_array_equal(last.gaussians.sh_dc, avatar.gaussians.sh_dc)


def _out_of_memory(*_: object, **__: object) -> None:
    raise BackendError("out_of_memory", "There is not enough memory.", "Choose the processor.")


def test_devices_that_take_one_thread_get_one() -> None:
    here = threading.get_ident()
    with workers(2, "mps") as one, workers(2, "cpu") as two:
        assert one.submit(threading.get_ident).result() == here != two.submit(threading.get_ident).result()
        failed = one.submit(_out_of_memory)
    with pytest.raises(BackendError, match="memory"):
        failed.result()
