"""Large models as the source of the other sides: from the model manager to the avatar, in miniature, and made up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend import pipeline as pipeline_module
from backend import steps
from backend.avatar import Avatar, load_avatar, pose_gaussians, rgb_from_sh
from backend.body.model import load_body
from backend.errors import BackendError, Cancelled
from backend.models.catalogue import MODELS, Model, RemoteFile
from backend.models.importing import import_folder
from backend.models.store import Store
from backend.options import ReconstructOptions, SidePicture
from backend.pipeline import Pipeline, ReconstructResult
from backend.reconstruct import SurfaceReconstructor
from backend.reconstruct.config import SurfaceConfig
from backend.rendering.mesh import rasterize_mesh
from backend.research.evaluation.mannequins import Mannequin, make_mannequin
from backend.views import sources
from backend.views.source import SideView, Step, Subject, far_camera
from backend.views.synthesize import layout
from backend.views.synthesize.config import FullConfig
from backend.views.synthesize.memory import choose_mode
from backend.views.synthesize.orbit_source import OrbitSource
from backend.views.synthesize.tiny import tiny_full

RED = np.array([200, 30, 30])
LARGE = ReconstructOptions(preset="surface", source="sv3d")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """With an empty store of models; its avatars have few splats."""
    few = replace(SurfaceConfig(), spacing=0.015, front_count=15_000, correction_size=256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "SurfaceReconstructor", partial(SurfaceReconstructor, config=few))
        yield Pipeline("cpu", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def front() -> Mannequin:
    """A person from the front."""
    return make_mannequin(load_body("neutral"), "relaxed", yaw=0.0, seed=7)


@pytest.fixture(scope="module")
def photo_file(front: Mannequin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo of them."""
    path = tmp_path_factory.mktemp("photo") / "front.png"
    Image.fromarray(front.rgb).save(path)
    return path


def red_from(subject: Subject, turn: float, size: int = 256) -> SideView:
    """The subject in red as a camera at ``turn`` degrees sees it."""
    matrix, focal = far_camera(turn, subject.pelvis, 2.2, size)
    hits = rasterize_mesh(subject.vertices @ matrix[:3, :3].T + matrix[:3, 3], subject.faces, focal, (size, size))
    rgb = np.broadcast_to(RED.astype(np.uint8), (size, size, 3)).copy()
    return SideView(rgb, (hits.face >= 0).astype(np.float32), turn, matrix, focal, outline=False)


class MadeUp:
    """A source whose views are made by a function; counts its calls and their steps."""

    title = "Made up"

    def __init__(self, make: Callable[[Subject], Sequence[SideView]]) -> None:
        self.make, self.seeds, self.steps = make, [], 0
        self.described = [{"name": "made-up/weights.safetensors", "sha256": f"{id(self):064x}", "licence": "MIT"}]

    def views(self, subject: Subject, seed: int, step: Step) -> Sequence[SideView]:
        """What the function makes."""
        self.seeds.append(seed)
        for number in range(5):
            step(number / 5, f"Step {number + 1} of 5")
            self.steps += 1
        return self.make(subject)


@contextmanager
def using(pipeline: Pipeline, make: Callable[[Subject], Sequence[SideView]]) -> Iterator[MadeUp]:
    """The pipeline takes a made-up source for SV3D."""
    made = MadeUp(make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "resolve", lambda name, store: {"part": Path(str(id(made)))})
        patch.setattr(pipeline_module, "load_source", lambda name, device, store: made)
        yield made
    pipeline.free_source()


@dataclass(frozen=True)
class Run:
    """A reconstruction with a made-up source that paints the back red.

    Attributes:
        made: the source.
        result: of the pipeline.
        told: stage and step of each report.
        found: results of its stages by name.
    """

    made: MadeUp
    result: ReconstructResult
    told: list[tuple[str, str]]
    found: dict[str, Any]


@pytest.fixture(scope="module")
def red(pipeline: Pipeline, photo_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The one reconstruction of this module that does everything."""
    told: list[tuple[str, str]] = []
    coloured: list[Any] = []
    colour = steps.colour_splats
    with (
        using(pipeline, lambda subject: [red_from(subject, 180.0)]) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        kept = functools.wraps(colour)(lambda **given: coloured.append(colour(**given)) or coloured[0])
        patch.setattr(steps, "colour_splats", kept)
        folder = tmp_path_factory.mktemp("red") / "a"
        result = pipeline.reconstruct(
            photo_file, folder, LARGE, lambda report: told.append((report.stage, report.step))
        )
    return Run(made, result, told, pipeline._kept.found | {"coloured": coloured[0]})


def redness(avatar: Avatar, front: bool) -> float:
    """How much more red than green the avatar is on the middle of its front or its back, -1..1."""
    position = pose_gaussians(avatar, np.zeros((24, 3)), np.zeros(3)).position
    spine = avatar.rest_joints[6]
    near = (np.abs(position[:, :2] - spine[:2]) < 0.05).all(1) & ((position[:, 2] > spine[2]) == front)
    rgb = rgb_from_sh(avatar.gaussians.sh_dc)[near]
    return float((rgb[:, 0] - rgb[:, 1]).mean())


def test_a_red_back_whose_camera_is_known(red: Run, front: Mannequin) -> None:
    avatar = load_avatar(red.result.package)
    assert redness(avatar, front=False) == pytest.approx((RED[0] - RED[1]) / 255, abs=0.02)
    # Where the photo sees the person, they are as it shows them.
    column, row = front.pixels(front.joints[[6]])[0].round().astype(int)
    shown = front.rgb[row - 15 : row + 15, column - 15 : column + 15].astype(float) / 255
    assert redness(avatar, front=True) == pytest.approx((shown[..., 0] - shown[..., 1]).mean(), abs=0.02)
    assert avatar.generator["sides"] == "sv3d" and avatar.generator["weights"] == red.made.described
    assert ("prepare", "Loading SV3D") in red.told and ("sides", "Step 5 of 5") in red.told
    assert "sides" in red.result.seconds and avatar.warnings == ()
    # Coverage of the mesh itself does not change the mesh.
    np.testing.assert_allclose(red.found["shaped"].mesh.posed, red.found["subject"].vertices, atol=1e-9)


@pytest.fixture
def short(red: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes after the fit to all views, the pipeline takes the results of the first run: it takes long."""
    for step, name in {
        "shape_clothes": "shaped", "find_local": "local", "bind_splats": "bound", "colour_splats": "coloured"
    }.items():  # fmt: skip
        monkeypatch.setattr(steps, step, _giving(red.found[name]))
    monkeypatch.setattr(steps, "pose_colours", _giving(None))


def _giving(result: Any) -> Callable[[], Any]:
    """A stage that needs nothing."""
    return lambda: result


@pytest.mark.usefixtures("short")
def test_another_seed_draws_again_and_another_shading_does_not(
    pipeline: Pipeline, photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "clothe_subject", None)  # it is kept of the first run
    with using(pipeline, lambda subject: []) as made:
        for options in (LARGE, replace(LARGE, shading=0.5), replace(LARGE, seed=1)):
            pipeline.reconstruct(photo_file, tmp_path / "a", options)
        assert made.seeds == [0, 1] and pipeline._source is not None
        pipeline.reconstruct(photo_file, tmp_path / "a", ReconstructOptions(preset="surface"))
        assert pipeline._source is None  # its memory is free once the sides come from elsewhere
    assert "sides" not in load_avatar(tmp_path / "a").generator


@pytest.mark.usefixtures("short")
def test_views_whose_cameras_are_sought_go_through_the_fit(
    pipeline: Pipeline, photo_file: Path, tmp_path: Path
) -> None:
    behind = make_mannequin(load_body("neutral"), "relaxed", yaw=180.0, seed=7)
    back = SideView(behind.rgb, behind.mask.astype(np.float32), 180.0, belief=0.5)
    nobody = SideView(np.full((256, 256, 3), 255, np.uint8), np.zeros((256, 256), np.float32), 270.0)
    with using(pipeline, lambda subject: [back, nobody, red_from(subject, 90.0)]):
        result = pipeline.reconstruct(photo_file, tmp_path / "a", LARGE)
    left, found = pipeline._kept.found["pictures"].used
    assert left.turn == 90 and left.picture.rgb.shape == (1024, 1024, 3)
    assert abs(abs(found.turn) - 180) < 5 and found.belief == 0.5 and found.fit.landmark_error > 0
    (said,) = result.warnings
    assert said.startswith("The view of the right side by Made up was left out: ")


def test_cancelled_between_the_steps(pipeline: Pipeline, photo_file: Path, tmp_path: Path) -> None:
    with using(pipeline, lambda subject: []) as made, pytest.raises(Cancelled):
        pipeline.reconstruct(photo_file, tmp_path / "a", LARGE, cancelled=lambda: made.steps == 2)
    assert made.steps == 2 and not list(tmp_path.iterdir())


def refused(pipeline: Pipeline, output: Path, options: ReconstructOptions = LARGE) -> BackendError:
    """The error of a reconstruction of a photo that is not even there; checks that nothing is written."""
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(BackendError) as caught:
        pipeline.reconstruct(output.parent / "none.png", output, options)
    assert sorted(output.parent.rglob("*")) == before
    return caught.value


def test_what_cannot_be_used_is_refused_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hand" / "pipeline"
    model = small(MODELS["sv3d"], {"pipeline": {"unet/config.json": 2}})
    monkeypatch.setitem(MODELS, "sv3d", model)
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    store = Store(tmp_path / "models")
    pipeline = Pipeline("cpu", store.folder)
    error = refused(pipeline, tmp_path / "out")
    assert error.kind == "model_missing" and "models download sv3d" in error.fix
    import_folder(model, folder.parent, store)
    assert refused(pipeline, tmp_path / "out").kind == "licence_missing"
    store.accept(model)
    assert refused(pipeline, tmp_path / "out").kind == "image_unreadable"
    both = replace(LARGE, pictures=(SidePicture(tmp_path / "back.png", "back"),))
    error = refused(pipeline, tmp_path / "out", both)
    assert error.kind == "arguments" and "cannot be used together" in error.message


def test_every_model_of_the_catalogue_can_be_loaded() -> None:
    assert set(sources._LOADERS) == set(MODELS)


# The models themselves, in miniature


def small(model: Model, sizes: dict[str, dict[str, int]]) -> Model:
    """``model`` with other files: by part and name, their sizes."""
    parts = tuple(
        replace(part, files=tuple(RemoteFile(name, size) for name, size in sizes[part.name].items()))
        for part in model.parts
    )
    return replace(model, parts=parts)


def installed(model: Model, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install what lies in FOLDER/PART as ``model``, whose catalogue entry names these files."""
    sizes = {
        part.name: {
            path.relative_to(folder / part.name).as_posix(): path.stat().st_size
            for path in sorted((folder / part.name).rglob("*"))
            if path.is_file()
        }
        for part in model.parts
    }
    listed = small(model, sizes)
    monkeypatch.setitem(MODELS, model.name, listed)
    import_folder(listed, folder, store)
    store.accept(listed)


def write_mv_adapter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.views.adapter.tiny import TINY_CONFIG, write_tiny

    monkeypatch.setattr(sources, "ADAPTER", replace(TINY_CONFIG, picture=64, steps=2))
    adapter = write_tiny(folder)["adapter"]
    (folder / "adapter").mkdir()
    adapter.rename(folder / "adapter" / adapter.name)


def write_sv3d(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.views.synthesize.tiny import write_tiny

    write_tiny(folder / "pipeline")
    shapes = layout.read_shapes(folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    monkeypatch.setattr(layout, "expected_shapes", lambda: shapes)
    monkeypatch.setattr(sources, "ORBIT", FullConfig(picture=64, frames=5, steps=2))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("name", "write"), [("mv-adapter", write_mv_adapter), ("sv3d", write_sv3d)])
def test_from_a_folder_to_an_avatar(
    name: str,
    write: Callable[[Path, pytest.MonkeyPatch], None],
    pipeline: Pipeline,
    photo_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers", reason="the large models need the package transformers")
    torch.manual_seed(0)
    write(tmp_path / "hand", monkeypatch)
    store, texts = pipeline.store, []
    installed(MODELS[name], tmp_path / "hand", store, monkeypatch)
    options = ReconstructOptions(preset="surface", source=name)
    result = pipeline.reconstruct(photo_file, tmp_path / "a", options, progress=lambda r: texts.append(r.step))
    avatar = load_avatar(result.package)
    assert avatar.generator["sides"] == name
    assert avatar.generator["weights"] == sources.describe_files(name, store)
    assert {weights["name"].split("/")[0] for weights in avatar.generator["weights"]} == {name}
    assert "Imagining the other sides, step 2 of 2 (memory: processor)" in texts
    # Noise shows nobody: what SV3D's miniature draws is left out, and said to be.
    assert len(avatar.warnings) == (0 if name == "mv-adapter" else 3)
    assert pipeline.source(name) is pipeline.source(name)


def test_sv3d_draws_again_in_a_smaller_mode_where_memory_runs_out(red: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = replace(choose_mode(22_000_000_000), dtype=torch.float32)
    synthesizer = tiny_full(FullConfig(picture=64, frames=5, steps=2), mode=mode)
    orbit, short = synthesizer.orbit, [True, True]

    def runs_out(*given: object, **named: object) -> object:
        if short.pop():
            raise torch.OutOfMemoryError
        return orbit(*given, **named)

    short.insert(0, False)
    monkeypatch.setattr(synthesizer, "orbit", runs_out)
    texts: list[str] = []
    views = OrbitSource(synthesizer, []).views(red.found["subject"], 0, lambda fraction, text: texts.append(text))
    assert synthesizer.mode.name == "12 GB" and texts[-1].endswith("(memory: 12 GB)")
    assert [(view.turn, view.matrix, view.rgb.shape) for view in views] == [
        (turn, None, (64, 64, 3)) for turn in (90.0, 180.0, 270.0)
    ]
    short[:] = [True] * 9
    with pytest.raises(BackendError) as caught:
        OrbitSource(synthesizer, []).views(red.found["subject"], 0, lambda fraction, text: None)
    assert caught.value.kind == "memory_short" and synthesizer.mode.name == "8 GB"
