"""Further pictures of the person: what they say of surface and colours, and the way from files to an avatar."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from backend.__main__ import main
from backend.avatar import load_avatar, pose_gaussians, rgb_from_sh
from backend.avatar.threads import AtOnce
from backend.body import several
from backend.body.fit import BodyFit
from backend.body.model import JOINT_NAMES, load_body
from backend.errors import BackendError
from backend.options import MOST_PICTURES, ReconstructOptions, SidePicture
from backend.pipeline import Pipeline
from backend.reconstruct.completion import Said
from backend.reconstruct.config import ViewsConfig
from backend.reconstruct.deform import OutlineView, deform
from backend.reconstruct.hull import OtherOutlines, filled
from backend.reconstruct.types import SurfaceMesh
from backend.reconstruct.views import best_of, light_between
from backend.research.evaluation.given import another_moment, picture_of
from backend.research.evaluation.mannequins import make_mannequin
from backend.research.evaluation.sources import FactorySource
from backend.stages import Stage, run_stages

RED = np.array([200, 30, 30])


def from_the_left(distance: float) -> np.ndarray:
    """[4, 4] to a camera that looks at (0, 0, ``distance``) from x = ``distance`` on."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0, np.pi / 2, 0]).as_matrix()
    matrix[:3, 3] = [0, 0, distance] - matrix[:3, :3] @ [0, 0, distance]
    return matrix


def test_depths_move_to_where_a_picture_from_the_side_shows_the_person() -> None:
    size, focal, distance = 64, 100.0, 2.0
    motion = from_the_left(distance)[None, :3]
    # From the side, the photo's depth runs to the picture's left or right: the person is a wall of 20 cm there.
    columns = np.arange(size) + 0.5
    reach = np.abs(columns - size / 2) / focal * distance < 0.1
    view = OutlineView(motion, focal, np.broadcast_to(reach, (size, size)), np.ones((size, size), bool))
    depth = np.full((size, size), distance)
    depth[:, :20], depth[:, 40:] = distance - 0.18, distance + 0.16
    where = np.zeros((size, size), bool)
    where[30:34] = True
    found = OtherOutlines([view], np.array([[0.0, 0.0, distance]]), focal).within(depth, where)
    np.testing.assert_array_equal(found[~where], depth[~where])
    # The wall is as deep as it looks where rays are parallel; those of a camera spread by as much as it stands near.
    middle = found[32, 28:36]
    np.testing.assert_array_equal(middle, depth[32, 28:36])
    assert (np.abs(found[32, 18:20] - (distance - 0.1)) < 0.02).all()
    assert (np.abs(found[32, 40:42] - (distance + 0.1)) < 0.02).all()
    # What no offset brings there stays.
    nowhere = OutlineView(motion, focal, np.zeros((size, size), bool), np.ones((size, size), bool))
    outlines = OtherOutlines([nowhere], np.array([[0.0, 0.0, distance]]), focal)
    np.testing.assert_array_equal(outlines.within(depth, where), depth)


def test_a_skirt_fills_the_outline_that_a_picture_from_the_side_shows() -> None:
    # A cylinder of 0.3 m, 4 m away, seen from the front and from the left; the photo alone makes it 5 cm thick.
    size, focal, distance, radius = 128, 400.0, 4.0, 0.3
    columns = np.broadcast_to(np.arange(size) + 0.5, (size, size))
    round_one = np.abs(columns - size / 2) / focal * distance < radius
    rows = np.arange(size)[:, None]
    garment = round_one & (rows > 40) & (rows < 100)
    view = OutlineView(from_the_left(distance)[None, :3], focal, garment, np.ones((size, size), bool))
    outlines = OtherOutlines([view], np.array([[0.0, 0.0, distance]]), focal)
    flat = np.full((size, size), distance)
    in_garment = ndimage.distance_transform_edt(round_one)
    front, back = filled(flat - 0.025, flat + 0.025, garment, in_garment, outlines, 2.0)
    across = (columns[70] - size / 2) / focal * distance
    true = np.sqrt(np.maximum(radius**2 - across**2, 0))
    inner = garment[70] & (np.abs(across) < 0.9 * radius)
    assert np.abs(front[70] - (distance - true))[inner].max() < 0.04
    assert np.abs(back[70] - (distance + true))[inner].max() < 0.04
    # Where the picture does not limit it, it stays as it was.
    unknown = OutlineView(view.matrix, focal, garment, np.zeros((size, size), bool))
    front, _ = filled(flat - 0.025, flat + 0.025, garment, in_garment, replace(outlines, views=[unknown]), 2.0)
    np.testing.assert_array_equal(front, flat - 0.025)


def test_a_motion_of_each_vertex_is_a_camera_where_all_are_the_same() -> None:
    body = load_body("neutral")
    vertices = body.template.numpy() * [1, -1, -1] + [0, 0.1, 3.0]
    faces, weights = body.faces.numpy(), body.weights.numpy()
    yy, xx = np.mgrid[:256, :256]
    matte = (np.abs(xx - 128) < 30) & (np.abs(yy - 128) < 90)
    matrix = from_the_left(3.0)
    nothing = np.zeros(len(vertices), bool)
    one, many = (
        deform(vertices, faces, weights, nothing, [OutlineView(m, 300.0, matte, np.ones_like(matte))])
        for m in (matrix, np.broadcast_to(matrix[:3], (len(vertices), 3, 4)))
    )
    np.testing.assert_allclose(one, many, atol=1e-12)
    moved = one - vertices
    # Seen from the side, what moves across the picture moves in depth and height.
    assert np.abs(moved[:, 1:]).max() > 0.02


def test_points_are_carried_along_with_a_mesh_that_turns() -> None:
    rng = np.random.default_rng(0)
    posed = rng.normal(size=(3, 3))
    mesh = SurfaceMesh(posed, posed, np.array([[0, 1, 2]]), np.zeros((3, 24)), 3, 1)
    turn = Rotation.from_rotvec([0.3, -1.0, 0.7]).as_matrix()
    shift = np.array([0.2, 0.1, -0.4])
    points = rng.normal(size=(5, 3))
    found, turned = mesh.carried(points, np.tile([0, 1, 2], (5, 1)), posed @ turn.T + shift)
    np.testing.assert_allclose(found, points @ turn.T + shift, atol=1e-12)
    np.testing.assert_allclose(turned, np.broadcast_to(turn, (5, 3, 3)), atol=1e-12)


def test_of_pictures_the_one_that_is_believed_and_sees_most_squarely_counts() -> None:
    red, green, blue = np.eye(3)
    config = ViewsConfig(sharpness=2.0)
    photo = Said(np.tile(red, (4, 1)), np.array([1.0, 0.5, 0.0, 0.0])), np.ones(4)
    one = Said(np.tile(green, (4, 1)), np.array([1.0, 1.0, 1.0, 0.0])), np.array([0.5, 1.0, 0.5, 1.0])
    two = Said(np.tile(blue, (4, 1)), np.array([0.0, 0.0, 1.0, 0.0])), np.array([1.0, 1.0, 1.0, 1.0])
    found, share = best_of([photo, one, two], config)
    np.testing.assert_allclose(found.belief, [1, 1, 1, 0])
    # Weights are squares of belief times cosine; what nobody sees is the first one's.
    np.testing.assert_allclose(share, [1 / 1.25, 0.25 / 1.25, 0, 1])
    expected = [(red + 0.25 * green) / 1.25, (0.25 * red + green) / 1.25, (0.25 * green + blue) / 1.25, red]
    np.testing.assert_allclose(found.rgb, expected)


class Told:
    """A fitter that knows how far each picture's landmarks lie from a pose that it shares with the photo."""

    skeleton = SimpleNamespace(joints=np.zeros((24, 3)), joints_by_shape=np.zeros((24, 3, 10)))

    def __init__(self, alone: dict[str, float], shared: dict[str, float], photo: tuple[float, float]) -> None:
        self.alone, self.shared, self.photo, self.asked = alone, shared, photo, []
        self.own = BodyFit(np.zeros((24, 3)), np.zeros(10), np.array([0, 0, 3.0]), 500.0, 0.0, 1.0, np.ones(24))

    def fit(self, picture: Any, check: Any) -> BodyFit:
        return self.own

    def place(self, fit: BodyFit, picture: Any, start: Any, check: Any) -> tuple[BodyFit, float]:
        return replace(self.own, landmark_error=self.alone[picture.name]), 0.0

    def adjust(self, fit: BodyFit, photo: Any, views: list[Any], check: Any) -> tuple[BodyFit, list[np.ndarray]]:
        self.asked.append(len(views))
        return replace(self.own, betas=np.ones(10)), [np.eye(4)] * len(views)

    def misses(self, fit: BodyFit, picture: Any) -> float:
        if picture.name == "photo":
            return self.photo[int(fit.betas[0])]
        return self.shared[picture.name]

    def follow(self, fit: BodyFit, picture: Any, little: bool, check: Any) -> BodyFit:
        return fit


@pytest.mark.parametrize(
    ("alone", "shared", "photo", "same", "asked"),
    [
        # All show the photo's pose, though before they told its depths they seemed off.
        ((0.04, 0.02, 0.04), (0.015, 0.01, 0.015), (0.007, 0.009), (True, True, True), [3]),
        # One surely does not; one only once all have told.
        ((0.08, 0.02, 0.03), (0.09, 0.01, 0.015), (0.007, 0.009), (False, True, True), [2]),
        ((0.04, 0.02, 0.03), (0.04, 0.01, 0.015), (0.007, 0.009), (False, True, True), [3, 2]),
        # Those that fit by chance go with the others.
        ((0.08, 0.09, 0.03), (0.09, 0.09, 0.01), (0.007, 0.009), (False, False, False), [1]),
        # What the photo denies is not so.
        ((0.03, 0.03, 0.03), (0.02, 0.025, 0.02), (0.007, 0.015), (False, False, False), [3, 2, 1]),
    ],
)
def test_pictures_of_another_moment_are_told_from_those_of_the_photos_pose(
    alone: tuple[float, ...], shared: tuple[float, ...], photo: tuple[float, float], same: tuple[bool, ...],
    asked: list[int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    names = ("left", "back", "right")
    fitter = Told(dict(zip(names, alone)), dict(zip(names, shared)), photo)
    monkeypatch.setattr(several, "view_of", lambda picture, matrix, turn: None)
    pictures = [SimpleNamespace(name=name, focal=500.0) for name in names]
    fit, found = several.fit_pictures(
        fitter, fitter.own, SimpleNamespace(name="photo"), pictures, [90.0, 180.0, -90.0]
    )
    assert tuple(one.outline for one in found) == same
    assert fitter.asked == asked
    assert fit.betas[0] == (1 if any(same) else 0)


def test_pictures_are_made_as_bright_as_the_photo_by_places_that_both_show() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.2, 0.6, (3000, 3))
    facing = np.ones(3000)

    def shows(first: int, last: int, gain: np.ndarray) -> Said:
        belief = np.zeros(3000)
        belief[first:last] = 1
        return Said(true * gain + rng.normal(size=true.shape) * 0.002, belief)

    photo = shows(0, 1000, np.ones(3))
    # The side overlaps the photo, the back only the side; a last one overlaps nobody.
    side, back = shows(700, 1700, np.array([1.3, 1.2, 1.1])), shows(1400, 2500, np.array([0.6, 0.7, 0.8]))
    alone = shows(2600, 3000, np.array([0.5, 0.5, 0.5]))
    gains = light_between(photo, [(back, facing), (alone, facing), (side, facing)], ViewsConfig())
    np.testing.assert_allclose(gains[2], 1 / np.array([1.3, 1.2, 1.1]), rtol=0.01)
    np.testing.assert_allclose(gains[0], 1 / np.array([0.6, 0.7, 0.8]), rtol=0.01)
    np.testing.assert_array_equal(gains[1], 1)


def test_pictures_of_another_moment_are_smaller_in_another_pose_and_light() -> None:
    source = FactorySource(2)
    scene, bent = source.scene(1), source.bent(1)
    assert bent is not None and bent.body is not None and scene.figure.body is not None
    changed = (bent.body.pose - scene.figure.body.pose).abs().sum(1) > 1e-6
    assert {JOINT_NAMES[k] for k in np.flatnonzero(changed.cpu())} == {
        "left_shoulder", "right_shoulder", "left_hip", "right_hip"
    }  # fmt: skip
    same = another_moment(scene, None)
    height = [
        np.ptp(np.nonzero(picture_of(one, 256, "back", other)[1].max(1) > 127)[0])
        for one, other in ((same, False), (same, True))
    ]
    assert height[1] / height[0] == pytest.approx(0.9, abs=0.02)
    assert not torch.allclose(same.light.key, scene.light.key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One mannequin from the front, with a red patch on its back from behind, and from both sides; and nobody."""
    folder = tmp_path_factory.mktemp("pictures")
    out = {}
    for name, yaw in (("front", 0.0), ("back", 180.0), ("right", 90.0), ("left", -90.0)):
        mannequin = make_mannequin(load_body("neutral"), "relaxed", yaw=yaw, seed=7)
        rgb = mannequin.rgb.copy()
        if name == "back":
            column, row = mannequin.pixels(mannequin.joints[[6]])[0].round().astype(int)  # the spine
            rgb[row - 20 : row + 20, column - 20 : column + 20] = RED
        out[name] = folder / f"{name}.png"
        Image.fromarray(rgb).save(out[name])
    stranger = make_mannequin(load_body("neutral"), "relaxed", yaw=180.0, seed=4)
    out["stranger"] = folder / "stranger.png"
    Image.fromarray(stranger.rgb[..., ::-1].copy()).save(out["stranger"])
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    out["nobody"] = folder / "nobody.png"
    Image.fromarray(noise).save(out["nobody"])
    return out


def made(pipeline: Pipeline, files: dict[str, Path], output: Path, *pictures: SidePicture) -> tuple[np.ndarray, tuple]:
    """How red the avatar is on the middle of its back, and what is said of it."""
    options = ReconstructOptions(preset="surface", pictures=pictures)
    result = pipeline.reconstruct(files["front"], output, options)
    avatar = load_avatar(result.package)
    position = pose_gaussians(avatar, np.zeros((24, 3)), np.zeros(3)).position
    spine = avatar.rest_joints[6]
    near = (np.abs(position[:, :2] - spine[:2]) < 0.03).all(1) & (position[:, 2] < spine[2])
    rgb = rgb_from_sh(avatar.gaussians.sh_dc)[near]
    return (rgb[:, 0] - rgb[:, 1]).mean(), result.warnings


def test_a_picture_from_behind_colours_the_back(pipeline: Pipeline, files: dict[str, Path], tmp_path: Path) -> None:
    alone, said = made(pipeline, files, tmp_path / "alone")
    with_back, told = made(pipeline, files, tmp_path / "back", SidePicture(files["back"], "back"))
    wanted = (RED[0] - RED[1]) / 255
    assert alone < 0.3 * wanted and with_back > 0.7 * wanted
    assert told == said
    # With other pictures nothing of the last photo is taken for this one.
    assert made(pipeline, files, tmp_path / "again")[0] == alone


def test_wrong_pictures_are_noticed(pipeline: Pipeline, files: dict[str, Path], tmp_path: Path) -> None:
    _, said = made(pipeline, files, tmp_path / "a", SidePicture(files["front"], "back"))
    assert "from another side" in said[-1] and "front.png" in said[-1]
    _, said = made(pipeline, files, tmp_path / "b", SidePicture(files["right"], "left"))
    assert "from another side" in said[-1] and "right.png" in said[-1]
    _, said = made(pipeline, files, tmp_path / "c", SidePicture(files["nobody"], "other"))
    assert "left out" in said[-1] and "nobody.png" in said[-1]
    _, said = made(pipeline, files, tmp_path / "e", SidePicture(files["stranger"], "back"))
    assert "somebody else" in said[-1] and "stranger.png" in said[-1]
    missing = ReconstructOptions(preset="surface", pictures=(SidePicture(tmp_path / "none.png", "back"),))
    with pytest.raises(BackendError, match=r"The picture of the back, none\.png, cannot be read\."):
        pipeline.reconstruct(files["front"], tmp_path / "d", missing)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "pictures, sentence",
    [
        ([SidePicture(Path("a"), "back"), SidePicture(Path("b"), "back")], "two pictures of the back"),
        ([SidePicture(Path("a"))] * (MOST_PICTURES + 1), f"{MOST_PICTURES} are the most"),
        ([SidePicture(Path("a"), "above")], "no side above"),
    ],
)
def test_pictures_that_cannot_be_used_together_are_refused(pictures: list[SidePicture], sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        ReconstructOptions(pictures=tuple(pictures)).check()


def test_the_command_line_takes_pictures(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], tmp_path: Path
) -> None:
    seen: list[ReconstructOptions] = []

    class Fake:
        def __init__(self, device: str) -> None:
            pass

        def reconstruct(self, photo: Path, output: Path, options: ReconstructOptions, **named: object) -> None:
            seen.append(options)
            raise BackendError("stop", "Enough.", "Stop.")

    monkeypatch.setattr("backend.pipeline.Pipeline", Fake)
    command = ["reconstruct", files["front"], "-o", tmp_path / "a", "--left", files["left"], "--back", files["back"]]
    assert main([str(part) for part in [*command, "--more", "x.png", "y.png"]]) != 0
    assert [(picture.path.name, picture.side) for picture in seen[0].pictures] == [
        ("back.png", "back"), ("left.png", "left"), ("x.png", "other"), ("y.png", "other")
    ]  # fmt: skip


def test_stages_get_what_they_name_and_are_left_out_where_it_is_known() -> None:
    ran: list[str] = []

    def first(start: int) -> tuple[int, int]:
        ran.append("first")
        return start + 1, start + 2

    def slow(one: int) -> int:
        ran.append("slow")
        return 10 * one

    def last(two: int, tens: int, start: int) -> int:
        ran.append("last")
        return two + tens + start

    stages = [
        Stage(("one", "two"), first, "a", "First"),
        Stage(("tens",), slow, beside=True),
        Stage(("sum",), last, "b", "Last"),
    ]
    watched: list[tuple[str, str]] = []

    def watch(group: str, text: str) -> nullcontext[None]:
        watched.append((group, text))
        return nullcontext()

    found = run_stages(stages, {"start": 1}, AtOnce(), watch)
    assert found == {"start": 1, "one": 2, "two": 3, "tens": 20, "sum": 24}
    assert watched == [("a", "First"), ("b", "Last")] and ran == ["first", "slow", "last"]
    again = run_stages(stages, {"start": 5, "one": 2, "two": 3, "tens": 20}, AtOnce(), watch)
    assert again["sum"] == 28 and ran[3:] == ["last"]
    assert stages[2].needs == ("two", "tens", "start")
    with pytest.raises(KeyError):
        run_stages(stages[1:], {"start": 1}, AtOnce(), watch)

    def failing(one: int) -> int:
        raise BackendError("out_of_memory", "There is not enough memory.", "Choose the processor.")

    with pytest.raises(BackendError, match="memory"):
        run_stages([stages[0], Stage(("tens",), failing, beside=True), stages[2]], {"start": 1}, AtOnce(), watch)
