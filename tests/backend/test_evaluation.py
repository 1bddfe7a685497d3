"""The evaluation as a whole, on painted bodies: a perfect avatar scores, others do not; alignment fits one scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from figures import cube, figure_from, mannequin_figure
from scipy.spatial.transform import Rotation

from backend.avatar import from_rgb
from backend.errors import BackendError
from backend.research.evaluation import report, runner
from backend.research.evaluation.alignment import CropCamera, Similarity, rigid
from backend.research.evaluation.candidates import Candidate, perfect
from backend.research.evaluation.compare import align, compare, median_depth, render_pictures
from backend.research.evaluation.metrics import Lpips, outline_iou, psnr
from backend.research.evaluation.sources import FactorySource, target_pose
from backend.research.evaluation.truth import ORBIT, SIDES, BodyPoints, Truth, make_truth, render_photo, surface_points
from backend.research.training.cameras import orbit
from backend.research.training.samples import Scene, facing, make_scene, split_seeds

SIZE = 96
PHOTO = 256
SPACING = 0.01
"""Coarse, to be quick: what finer splats score at full size is in docs/evaluation.md."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The pictures are small: a second thread mostly waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(3, figure=mannequin_figure("relaxed", 0))


@pytest.fixture(scope="module")
def truth(scene: Scene) -> Truth:
    return make_truth("relaxed", scene, SIZE, mannequin_figure("a_pose", 0))


@pytest.fixture(scope="module")
def best(scene: Scene, truth: Truth) -> Candidate:
    return replace(perfect(scene, PHOTO, truth, SPACING), seconds={"reconstruct": 2.0, "save": 1.0}, peak_bytes=2**30)


def _body_in_camera(truth: Truth, shift: np.ndarray) -> BodyPoints:
    to_camera = rigid(truth.orbit.cameras.world_to_camera[0].numpy())
    points = replace(truth.body, joints=truth.body.joints + shift * np.eye(24)[:, [4]])
    return BodyPoints(to_camera.points(points.joints), to_camera.points(points.vertices))


def test_perfect_avatar_scores(best: Candidate, truth: Truth) -> None:
    body = _body_in_camera(truth, np.array([0.0, 0.0, 0.024]))
    found = compare(replace(best, body=body), truth, PHOTO, Lpips())
    values = found.values
    assert values["orbit.psnr"] > 26 and values["input.psnr"] > 26 and values["back.psnr"] > 25.5
    assert values["input.psnr_inside"] > 20
    assert values["orbit.psnr_masked"] > 18 and values["orbit.iou"] > 0.85
    assert values["head.psnr"] > 21 and values["hands.psnr"] > 17 and values["repose.psnr"] > 26
    assert values["shape.chamfer"] < 10 and values["shape.normal"] < 11
    assert values["alignment.scale"] == pytest.approx(1, abs=4e-3)
    # One of 24 joints is off by 24 mm, the vertices are right: up to the scale's last thousandths.
    assert values["body.mpjpe"] == pytest.approx(1, abs=1.5) and values["body.mpjpe"] > values["body.pve"]
    assert values["body.pve"] < 2
    assert values["seconds.total"] == 3 and values["memory.peak"] == 1
    assert list(found.tiles)[:4] == list(SIDES) and found.tiles["input"].shape == (3 * SIZE, SIZE, 3)
    assert np.array_equal(found.tiles["back"][:SIZE], (truth.orbit.pictures.rgb[12] * 255).round().astype(np.uint8))


def test_another_person_scores_low(truth: Truth) -> None:
    other = make_scene(4, figure=mannequin_figure("arms_out", 5, "male"))
    values = compare(perfect(other, PHOTO, spacing=SPACING), truth, PHOTO, Lpips()).values
    assert values["orbit.psnr"] < 18 and values["orbit.psnr_masked"] < 11
    assert values["shape.chamfer"] > 30 and "repose.psnr" not in values


def test_alignment_undoes_crop_focal_length_and_scale_but_nothing_else(best: Candidate, truth: Truth) -> None:
    """A prediction in the frame of a shifted crop, with another focal length, at two thirds of the size."""
    focal = best.camera.focal
    centre = np.array([PHOTO / 2] * 2)
    crop = CropCamera(left=-40.0, top=25.0, side=200.0, focal=0.8 * focal)
    middle = np.array([crop.left + crop.side / 2, crop.top + crop.side / 2]) - centre
    ray = np.array([*middle, focal])
    turn, _ = Rotation.align_vectors([ray / np.linalg.norm(ray)], [[0, 0, 1]])
    inverse = turn.inv().as_matrix()
    there = Similarity(1.0, inverse, np.zeros(3)).splats(best.splats)
    depth = float(np.median(there.position[:, 2]))
    # The shorter focal length brings the person nearer in proportion to the length of the crop's ray.
    nearer = depth * (crop.focal / np.linalg.norm(ray) - 1)
    moved = Similarity(1.0, np.eye(3), np.array([0, 0, nearer])).splats(there)
    small = Similarity(2 / 3, np.eye(3), np.zeros(3)).splats(moved)
    to_world, scale = align(replace(best, splats=small, camera=crop), truth, PHOTO)
    assert scale == pytest.approx(1.5, abs=0.01)
    straight, _ = align(best, truth, PHOTO)
    error = to_world.points(small.position) - straight.points(best.splats.position)
    # Within a turn about the ray, which the shortest rotation leaves at almost nothing.
    assert np.abs(error).max() < 0.02
    # A prediction that leans keeps its error.
    leaning = Similarity(1.0, Rotation.from_euler("x", 10, degrees=True).as_matrix(), np.zeros(3))
    pivot = best.splats.position.mean(0)
    about = replace(leaning, translation=pivot - leaning.rotation @ pivot)
    to_world, _ = align(replace(best, splats=about.splats(best.splats)), truth, PHOTO)
    error = to_world.points(about.points(best.splats.position)) - straight.points(best.splats.position)
    assert np.linalg.norm(error, axis=1).max() > 0.1


def test_orbit_is_the_photo_and_turns_about_the_person(scene: Scene, truth: Truth) -> None:
    assert len(truth.orbit.pictures) == ORBIT
    rgb, alpha = render_photo(scene, SIZE)
    shown = rgb / 255 * (alpha[..., None] > 250)
    assert psnr(shown, truth.orbit.pictures.rgb[0] * (alpha[..., None] > 250)) > 40
    joints = truth.orbit.cameras.project(torch.as_tensor(truth.body.joints).float()).numpy()
    # The person's left shoulder is on the right in front, in front on the left side, on the left from behind.
    left, right = joints[:, 16], joints[:, 17]
    assert left[SIDES["input"], 0] > right[SIDES["input"], 0] and left[SIDES["back"], 0] < right[SIDES["back"], 0]
    assert left[SIDES["left"], 2] < right[SIDES["left"], 2] and left[SIDES["right"], 2] > right[SIDES["right"], 2]


def test_crops_show_head_and_hands(truth: Truth) -> None:
    head, hands = truth.crops["head"], truth.crops["hands"]
    assert head is not None and hands is not None and len(head.pictures) == 4 and 4 <= len(hands.pictures) <= 8
    inside = head.cameras.project(torch.as_tensor(truth.body.joints[15:16]).float())[:, 0, :2]
    assert ((inside > 0.2 * head.cameras.size) & (inside < 0.8 * head.cameras.size)).all()
    wrists = hands.cameras.project(torch.as_tensor(truth.body.joints[[22, 23]]).float())[..., :2]
    near = ((wrists > 0) & (wrists < hands.cameras.size)).all(2)
    assert near.any(1).all()


def test_surface_points_of_a_cube() -> None:
    vertices, faces = cube((0.0, 1.0, 0.0), 0.5)
    figure = figure_from(vertices, faces)
    made = make_truth("cube", make_scene(0, figure=figure), SIZE)
    distance = np.abs(np.abs(made.points - [0, 1, 0]).max(1) - 0.25)
    assert len(made.points) > 2000 and distance.max() < 2e-3
    assert made.body is None and made.reposed is None and made.crops == {"head": None, "hands": None}


def test_median_depth_of_two_walls() -> None:
    """A front wall that stops 70 % of the light, another one behind it: the front one counts."""
    x, y = np.meshgrid(np.arange(-0.5, 0.5, 0.01), np.arange(-0.5, 0.5, 0.01))
    flat = np.stack([x, y, np.zeros_like(x)], 2).reshape(-1, 3)
    wall = np.array([0, 0, 0.3])
    place = np.concatenate([flat + wall, flat - wall])
    count = len(place)
    splats = from_rgb(
        place,
        np.tile([1.0, 0, 0, 0], (count, 1)),
        np.full((count, 3), [0.008, 0.008, 1e-4]),
        np.full(count, 0.25),
        np.full((count, 3), 0.5),
    )
    camera = orbit([0.0], 0.0, [0.0, 0.0, 0.0], 3.0, 32)
    depth = median_depth(splats, camera)[0]
    assert depth[16, 16] == pytest.approx(2.7, abs=1e-3)
    alone = from_rgb(place[:1], [[1.0, 0, 0, 0]], [[0.01] * 3], [0.9], [[0.5] * 3])
    assert np.isinf(median_depth(alone, camera)[0, 16, 16])
    points = surface_points(depth[None], camera)
    assert points[:, 2] == pytest.approx(0.3, abs=2e-3) and np.abs(points[:, :2]).max() < 0.5
    # Their normals are the walls', towards the camera.
    assert render_pictures(splats, camera).normal[0, 16, 16] == pytest.approx([0, 0, 1], abs=1e-3)


def test_outline_of_a_cube_at_the_known_place() -> None:
    """A cube of half a metre before a camera three metres away covers the pixels that similar triangles say."""
    vertices, faces = cube((0.0, 0.0, 0.0), 0.5)
    scene = make_scene(0, figure=figure_from(vertices, faces))
    straight = replace(scene, azimuth=0.0, elevation=0.0, target=torch.zeros(3), distance=3.0)
    made = make_truth("cube", straight, SIZE)
    half = 0.25 / 2.75 * SIZE / 2 / np.tan(np.radians(39.6 / 2))
    grid = np.abs(np.arange(SIZE) + 0.5 - SIZE / 2) < half
    assert outline_iou(made.orbit.pictures.alpha[0], grid[:, None] & grid) > 0.97


@dataclass(frozen=True)
class Mannequins:
    """Two painted bodies; the second cannot be made."""

    key: str = "mannequins"

    def __len__(self) -> int:
        return 2

    def name(self, index: int) -> str:
        return f"person{index}"

    def truth(self, index: int, size: int) -> Truth:
        return make_truth(self.name(index), self.scene(index), size)

    def scene(self, index: int) -> Scene:
        return make_scene(index, figure=mannequin_figure("standing", index))

    def other(self, index: int) -> int:
        return 1 - index


def _settings(folder: Path, **changes: object) -> runner.Settings:
    settings = runner.Settings(
        source=Mannequins(), size=32, photo_size=64, matte=False, device="cpu", folder=folder, digest="1"
    )
    return replace(settings, **changes)


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def candidate(settings: runner.Settings, preset: str, index: int, truth: Truth) -> Candidate:
        calls.append(index)
        if index == 1:
            raise BackendError("no_person", "No person was found.", "Try another.")
        return perfect(truth.scene, settings.photo_size, spacing=0.02)

    monkeypatch.setattr(runner, "_candidate", candidate)
    settings = _settings(tmp_path)
    stopped = runner.run(settings, ["perfect"], 1)
    index, rows, seconds = next(stopped)
    assert index == 0 and seconds > 0 and rows["perfect"].values["orbit.psnr"] > 18
    stopped.close()
    again = {index: (rows["perfect"], seconds) for index, rows, seconds in runner.run(settings, ["perfect"], 1)}
    assert calls == [0, 1] and again[0][1] == 0 and again[0][0] == rows["perfect"]
    assert again[1][0].error == "No person was found. Try another." and again[1][0].picture is None
    # Other code or other settings are other results.
    assert _settings(tmp_path, digest="2").cache("perfect") != settings.cache("perfect")
    assert _settings(tmp_path, size=64).cache("perfect") != settings.cache("perfect")
    everyone = [again[0][0], again[1][0]]
    summary = report.summarise("perfect", everyone)
    assert summary.people == 2 and list(summary.failures) == ["person1"]
    text = report.markdown([summary], "no weights")
    assert "1 of 2" in text and "LPIPS was not measured: no weights." in text
    sheet = report.sheet(everyone, 4)
    assert sheet is not None and sheet.height < 1000


def test_results_are_of_the_code_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "BACKEND", tmp_path)
    for name in ("pipeline.py", "server.py", "body.npz"):
        (tmp_path / name).write_text("1")
    first = runner.code_digest()
    (tmp_path / "server.py").write_text("2")  # changes no number
    assert runner.code_digest() == first
    (tmp_path / "body.npz").write_text("2")
    second = runner.code_digest()
    (tmp_path / "pipeline.py").write_text("2")
    assert len({first, second, runner.code_digest()}) == 3


def test_summary_is_the_mean_and_memory_the_peak() -> None:
    rows = [
        runner.Row("a", {"orbit.psnr": 20.0, "memory.peak": 1.0, "hands.psnr": 10.0}, None, None),
        runner.Row("b", {"orbit.psnr": 24.0, "memory.peak": 3.0}, None, None),
    ]
    summary = report.summarise("surface", rows)
    assert summary.mean == {"orbit.psnr": 22, "memory.peak": 3, "hands.psnr": 10}
    assert summary.spread["orbit.psnr"] == 2
    lines = report.markdown([summary], None).splitlines()
    row = next(line for line in lines if "orbit of 24" in line)
    assert [cell.strip() for cell in row.split("|")][1:5] == ["surface", "orbit of 24", "22.00", "–"]
    assert len({len(line) for line in lines[: len(report.VIEWS) + 2]}) == 1


def test_a_section_of_a_document_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- results -->\nold \\1\n<!-- end of results -->\nafter\n")
    report.write_section(document, "results", "new \\1 | table")
    report.write_section(document, "results", "new \\1 | table")
    content = document.read_text()
    assert content == "before\n<!-- results -->\n\nnew \\1 | table\n\n<!-- end of results -->\nafter\n"
    with pytest.raises(ValueError, match="no section other"):
        report.write_section(document, "other", "")


def test_people_come_from_the_test_split_and_are_posed_anew() -> None:
    source = FactorySource(5)
    seeds = [int(source.name(k)) for k in range(5)]
    assert set(seeds) <= set(split_seeds("test")) and not set(seeds) & set(split_seeds("validation"))
    assert all(source.other(k) != k for k in range(5))
    pose = target_pose(0, 90.0)
    figure = mannequin_figure("walking")
    turned = replace(figure, body=replace(figure.body, pose=torch.as_tensor(pose)))
    assert facing(turned) == pytest.approx(90, abs=3)
