"""Depths of front and back: against closed forms, the factory's truth, and a network that is told what to say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zbuffer import numpy_hits

from backend.body.model import JOINT_INDEX, BodyModel, load_body, rotation_matrices
from backend.errors import BackendError
from backend.estimate.depth import (
    MAP_SIZE,
    PHOTO_SIZE,
    UNIT,
    DepthEstimator,
    DepthNetwork,
    SideDepths,
    body_maps,
    both_sides,
    enlarged,
    mirrored_maps,
    no_thicker,
    rest_places,
)
from backend.networks import in_eight_bits, read_network
from backend.photo import PreparedPhoto
from backend.pipeline import Pipeline
from backend.reconstruct.deform import meet_depths
from backend.reconstruct.mend import mend_fit
from backend.research.training.depth_batches import DepthPool, DepthViewer, drawn, mirrored, rolled, rolled_body
from backend.research.training.depth_data import (
    errors_of,
    imagined_examples,
    make_examples,
    otherwise_fitted,
    read_examples,
    write_examples,
)
from backend.research.training.depth_farm import Maker, lent_errors
from backend.research.training.depth_pack import PackedDepths, PackedPool, pack_examples
from backend.research.training.depth_spoil import other_outlines, spoilt, with_things_beside
from backend.research.training.estimate import FitErrors
from backend.research.training.loop import save_weights
from backend.research.training.person import build_person
from backend.research.training.samples import make_scene
from backend.research.training.views import render_views

ROOT = Path(__file__).resolve().parents[2]
FOCAL, SIZE = 1.4, 128


def sphere(radius: float = 0.5, distance: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and outward faces [F, 3] of a sphere before the camera."""
    rows, columns = 48, 96
    polar, around = np.meshgrid(np.linspace(1e-3, np.pi - 1e-3, rows), 2 * np.pi * np.arange(columns) / columns)
    polar, around = polar.T, around.T
    points = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    faces = np.concatenate([np.stack([a, b, b + columns], -1), np.stack([a, b + columns, a + columns], -1)])
    return radius * points.reshape(-1, 3) + [0, 0, distance], faces.reshape(-1, 3)


def ball_depths(radius: float, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays through pixel centres enter and leave a ball, [S, S] each; NaN beside it. Closed form."""
    at = (np.arange(SIZE) + 0.5 - SIZE / 2) / (FOCAL * SIZE)
    x, y = np.meshgrid(at, at)
    a, b, c = x**2 + y**2 + 1, -2 * distance, distance**2 - radius**2
    with np.errstate(invalid="ignore"):
        root = np.sqrt(b**2 - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def test_both_sides_of_a_ball() -> None:
    vertices, faces = sphere()
    front, back, hits = both_sides(torch.as_tensor(vertices).float(), torch.as_tensor(faces), FOCAL, SIZE)
    near, far = ball_depths(0.5, 3.0)
    solid = np.isfinite(near) & np.isfinite(front.numpy())
    assert solid.sum() > 0.97 * np.isfinite(near).sum()
    # Where the ball faces the camera: a flat triangle lies up to 1 mm under the sphere.
    inner = solid & (far - near > 0.4)
    assert np.abs(front.numpy() - near)[inner].max() < 3e-3
    assert np.abs(back.numpy() - far)[inner].max() < 3e-3
    assert len(hits[0].face) == len(hits[1].face) and set(hits[0].face.tolist()).isdisjoint(hits[1].face.tolist())


def test_trunks_alone_are_no_thicker_than_clothes_make_them() -> None:
    # Four columns: a trunk, an arm before it, a hip, and what no body covers beside it.
    body, offset = torch.zeros(16, 4, 4), torch.zeros(1, 2, 4, 4)
    body[[0, 8], :, :3] = 1
    body[[6, 14]] = torch.tensor([0.3, 0.3, -0.1, 0.0])
    body[5, :, 1] = 0.5
    # Thicker by 5, 10, 20 and 100 cm, up to 4 cm of it in front.
    more = torch.tensor([0.05, 0.1, 0.2, 1.0])[:, None].expand(4, 4)
    offset[0, 0] = -(more / 3).clamp(max=0.04) / UNIT
    offset[0, 1] = offset[0, 0] + more / UNIT
    found = no_thicker(offset, body)
    assert torch.equal(found[:, 0], offset[:, 0])
    thicker = (found[0, 1] - found[0, 0]) * UNIT
    torch.testing.assert_close(thicker[:, 1:], more[:, 1:])
    torch.testing.assert_close(thicker[:2, 0], more[:2, 0])
    assert 0.12 < float(thicker[2, 0]) < 0.16 and float(thicker[3, 0]) == pytest.approx(0.16, abs=1e-4)
    # What stands off in front does not press the back into the body.
    ahead = torch.zeros_like(offset)
    ahead[0, 0], ahead[0, 1, 2:] = -3, 1
    kept = no_thicker(ahead, body)[0, 1]
    assert torch.equal(kept[:2], ahead[0, 1, :2]) and (kept[2:, 0] >= 0).all() and (kept[2:, 0] < 1).all()
    # Beside a trunk its limit goes on.
    body[:, :, 2] = body[:, :, 0]
    beside = (no_thicker(offset, body)[0, 1] - offset[0, 0])[:, 3] * UNIT
    torch.testing.assert_close(beside, thicker[:, 0])


def test_a_ball_meets_the_depths_of_a_thicker_one() -> None:
    vertices, faces = sphere()
    near, far = ball_depths(0.5, 3.0)
    known = np.isfinite(near) & (far - near > 0.3)
    none = np.zeros((SIZE, SIZE))
    wanted = SideDepths(np.nan_to_num(near) - 0.06, np.nan_to_num(far) + 0.1, none, none, known)
    moved = vertices + meet_depths(vertices, faces, FOCAL * SIZE, wanted)
    # Along the rays: the photo's view stays as it is.
    assert np.abs(moved[:, :2] / moved[:, 2:] - vertices[:, :2] / vertices[:, 2:]).max() < 1e-12
    shift = moved[:, 2] - vertices[:, 2]
    middle = np.hypot(*vertices[:, :2].T) < 0.2
    in_front = vertices[:, 2] < 3
    assert shift[middle & in_front] == pytest.approx(-0.06, abs=0.01)
    assert shift[middle & ~in_front] == pytest.approx(0.1, abs=0.01)
    # Of a doubtful thickness half is believed, of where its middle is all.
    doubtful = replace(wanted, front_spread=none + 0.04, back_spread=none + 0.04)
    shift = meet_depths(vertices, faces, FOCAL * SIZE, doubtful)[:, 2]
    assert shift[middle & in_front] == pytest.approx(-0.02, abs=0.01)
    assert shift[middle & ~in_front] == pytest.approx(0.06, abs=0.01)
    # Depths that are foretold to be wrong are not followed.
    unsure = replace(wanted, front_spread=none + 9, back_spread=none + 9)
    assert np.abs(meet_depths(vertices, faces, FOCAL * SIZE, unsure)[middle]).max() < 0.02
    # Another limb's say nothing: the front goes with the back, as a limb does.
    other = meet_depths(vertices, faces, FOCAL * SIZE, replace(wanted, front=np.nan_to_num(near) - 1))
    assert other[middle & in_front, 2] == pytest.approx(0.1, abs=0.01)
    other = replace(doubtful, front=np.nan_to_num(near) - 0.4)
    assert meet_depths(vertices, faces, FOCAL * SIZE, other)[middle & ~in_front, 2] == pytest.approx(0.1, abs=0.01)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("neutral")


def test_maps_of_a_mirrored_body_are_mirrored(body: BodyModel) -> None:
    vertices = body.template.float() @ torch.diag(torch.tensor([1.0, -1.0, -1.0])) + torch.tensor([0.2, 0.1, 3.0])
    pelvis = torch.tensor([0.2, 0.1, 3.0])
    rest = rest_places(body)
    maps = body_maps(vertices, rest, body.faces, FOCAL, pelvis)
    assert maps.shape == (16, MAP_SIZE, MAP_SIZE)
    across = torch.tensor([-1.0, 1.0, 1.0])
    turned = body_maps(vertices * across, rest * across, body.faces.flip(1), FOCAL, pelvis * across)
    difference = (mirrored_maps(maps[None])[0] - turned).abs()
    covered = maps[0].flip(-1) > 0
    assert float((difference.amax(0) > 0.02)[covered].float().mean()) < 0.01
    # The front's places are the nearer ones.
    covered = maps[0] > 0
    assert float(maps[1][covered].mean()) < float(maps[9][covered].mean())
    assert float(maps[4][covered].mean()) < -0.3  # normals of the front look to the camera
    left = maps[5][:, : MAP_SIZE // 2][covered[:, : MAP_SIZE // 2]]
    assert float(left.mean()) < 0  # the person's right arm, x below zero, is on the picture's left


def test_enlarged_maps_keep_to_their_limb() -> None:
    # Left half of the picture: a limb 3 m away; right half: one 4 m away, their edge in the middle of a coarse pixel.
    fine = torch.full((1, 32, 32), 3.0)
    fine[..., 14:] = 4.0
    coarse = fine[..., 2::4, 2::4]
    values = torch.where(coarse < 3.5, 1.0, 5.0)
    grown = enlarged(values, coarse, fine)
    assert torch.allclose(grown, torch.where(fine < 3.5, 1.0, 5.0), atol=1e-4)
    # On one slope they are mixed as bilinear interpolation mixes them.
    flat, ramp = torch.full((1, 32, 32), 3.0), torch.arange(8.0).expand(1, 8, 8)
    grown = enlarged(ramp, flat[..., ::4, ::4], flat)
    wanted = torch.nn.functional.interpolate(ramp[None], scale_factor=4.0, mode="bilinear")[0]
    assert torch.allclose(grown, wanted, atol=1e-4)


def test_the_network_says_nothing_before_it_has_learnt() -> None:
    network = DepthNetwork()
    photo, maps = torch.rand(2, 4, PHOTO_SIZE, PHOTO_SIZE), torch.rand(2, 16, MAP_SIZE, MAP_SIZE)
    with torch.no_grad():
        offset, spread = network(photo, maps)
    assert offset.shape == spread.shape == (2, 2, MAP_SIZE, MAP_SIZE)
    assert float(offset.abs().max()) == 0 and float(spread.min()) > 0


class Told(nn.Module):
    """A network that says that what is higher in the photo is nearer, so that the person leans towards the camera, and
    that everything is thicker."""

    def __init__(self, lean: float, thicker: float) -> None:
        super().__init__()
        self.lean, self.thicker = lean, thicker

    def forward(self, photo: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height = torch.linspace(1, 0, MAP_SIZE)[:, None].expand(MAP_SIZE, MAP_SIZE)
        offset = (-self.lean * height / UNIT).repeat(len(photo), 2, 1, 1)
        offset[:, 1] += self.thicker / UNIT
        return offset, torch.full_like(offset, 0.02)


def told(body: BodyModel, lean: float, tmp_path: Path, thicker: float = 0.0) -> DepthEstimator:
    save_weights(DepthNetwork().state_dict(), tmp_path / "depth.safetensors")
    estimator = DepthEstimator(tmp_path, body, torch.device("cpu"))
    estimator.network = Told(lean, thicker)
    return estimator


def test_estimate_is_the_body_and_what_the_network_adds(
    body: BodyModel, pipeline: Pipeline, photo: PreparedPhoto, tmp_path: Path
) -> None:
    fit = pipeline.fitter().fit(photo)
    depths = told(body, 0.0, tmp_path).estimate(fit, photo, 512)
    vertices = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[0].numpy() + fit.translation
    focal = fit.focal * 512 / photo.rgb.shape[0]
    # An independent rasteriser sees the same two sides.
    for farthest, ours in ((False, depths.front), (True, depths.back)):
        hits = numpy_hits(vertices, body.faces.numpy(), focal, (512, 512), farthest=farthest)
        both = np.isfinite(hits.depth) & depths.known
        assert np.median(np.abs(ours - hits.depth)[both]) < 1e-4
    assert depths.front_spread[depths.known] == pytest.approx(0.02 * UNIT)


def test_a_hump_is_not_believed(body: BodyModel, pipeline: Pipeline, photo: PreparedPhoto, tmp_path: Path) -> None:
    fit = pipeline.fitter().fit(photo)
    plain, humped = (told(body, 0.0, tmp_path, thicker).estimate(fit, photo, 512) for thicker in (0.0, 0.3))
    joints = body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))[1].numpy() + fit.translation
    column, row = (joints[:, :2] / joints[:, 2:] * (fit.focal * 512 / photo.rgb.shape[0]) + 256).round().astype(int).T
    more = (humped.back - plain.back)[row, column]
    chest, knees = JOINT_INDEX["spine3"], [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]
    assert more[chest] == pytest.approx(0.158, abs=0.003) and more[knees] == pytest.approx(0.3, abs=0.003)
    np.testing.assert_array_equal(humped.front, plain.front)


def test_a_mended_fit_leans_as_far_as_the_depths_say(
    body: BodyModel, pipeline: Pipeline, photo: PreparedPhoto, tmp_path: Path
) -> None:
    fitter = pipeline.fitter()
    fit = fitter.fit(photo)

    def place(found: object, name: int) -> np.ndarray:
        joints = body.pose(torch.as_tensor(found.pose), torch.as_tensor(found.betas))[1].numpy() + found.translation
        return joints[name] - joints[0]

    for lean in (0.0, 0.25):
        mended, depths = mend_fit(told(body, lean, tmp_path), fitter, fit, photo, 512)
        # Head and ankles are 1.4 m apart, four fifths of the picture: so much of the lean lies between them.
        before, after = (place(found, 15)[2] - place(found, 7)[2] for found in (fit, mended))
        assert after - before == pytest.approx(-0.78 * lean, abs=0.05)
        assert mended.landmark_error < 1.3 * fit.landmark_error + 1
        at = np.median(depths.front[depths.known])
        assert at == pytest.approx(mended.translation[2], abs=0.35)


def test_weights_of_eight_bits_are_half_a_step_off(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.Linear(5, 3))
    wanted = {name: value.clone() for name, value in layers.state_dict().items()}
    wanted["0.weight"][2] = 0  # a row of nothing stays one
    save_weights(in_eight_bits(wanted), tmp_path / "eight.safetensors")
    save_weights(wanted, tmp_path / "half.safetensors")
    assert (tmp_path / "eight.safetensors").stat().st_size < (tmp_path / "half.safetensors").stat().st_size
    found = read_network(layers, tmp_path / "eight.safetensors").state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        rows = value.reshape(len(value), -1)
        step = rows.abs().amax(1, keepdim=True) / 127
        assert float(((found[name].reshape(rows.shape) - rows).abs() - 0.6 * step).max()) < 1e-4, name


def test_missing_weights_are_said(body: BodyModel, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        DepthEstimator(tmp_path, body, torch.device("cpu"))
    assert caught.value.kind == "weights_missing"


def test_examples_hold_the_true_depth(pipeline: Pipeline, body: BodyModel, tmp_path: Path) -> None:
    seed = 1003
    examples = make_examples(seed, pipeline, photos=2)
    write_examples(examples, tmp_path / f"{seed}.depths")
    kept = read_examples(tmp_path / f"{seed}.depths")
    assert len(kept) == 2
    for ours, theirs in zip(examples, kept):
        assert all(
            torch.equal(v, w) if isinstance(v, torch.Tensor) else v == w
            for v, w in zip(vars(ours).values(), vars(theirs).values())
        )
    # The factory's own depth map of the photo is the same picture, but for size and crop.
    example = kept[0]
    scene = make_scene(seed, figure=build_person(seed).figure())
    views = render_views([scene.figure], [scene.light], [scene.camera(size=256)], 256, 2, baked=[scene.baked])
    pelvis = float(example.translation[2] + body.shaped(example.betas.double())[1][0, 2])
    ours, theirs = example.front.float() + pelvis, views.depth[0]
    assert float(ours.isfinite().sum()) * 4 == pytest.approx(float(theirs.isfinite().sum()), rel=0.08)
    spans = [d[d.isfinite()].quantile(torch.tensor([0.02, 0.5, 0.98])) for d in (ours, theirs)]
    spans = [span / span[1] for span in spans]
    assert spans[0] == pytest.approx(spans[1], abs=0.01)
    # A batch tells how to get from the fitted body to the truth, mirrored or not.
    pool = DepthPool(tmp_path, body)
    batch = pool.clean()[0]
    assert batch.photo.shape == (1, 4, PHOTO_SIZE, PHOTO_SIZE) and batch.known.any()
    depth = batch.body[:, [1, 9]] * UNIT + batch.truth * UNIT
    true = torch.stack([example.front, example.back]).float()[:, 1::2, 1::2]
    known = batch.known.expand_as(depth)
    error = (depth[0] - true)[known[0]]
    error = error[error.isfinite()]
    # A map's pixel is 27 mm wide; the truth is sampled beside its middle.
    assert float((error - error.median()).abs().quantile(0.8)) < 0.03
    twin = mirrored(batch)
    assert torch.equal(twin.truth.flip(-1), batch.truth) and torch.equal(twin.body[:, 13], -batch.body[:, 13].flip(-1))
    # Turned by a quarter about the camera's axis everything is, body included.
    quarter = np.pi / 2
    turned = rolled(example, quarter)
    found = rolled_body((example.pose, example.betas, example.translation), body, quarter)
    pose, betas, translation = (value.float() for value in found)
    write_examples([replace(turned, pose=pose, betas=betas, translation=translation)], tmp_path / "turned.depths")
    pool.refresh()
    after = pool.clean()[-1]
    assert float((after.photo - batch.photo.rot90(-1, (-2, -1))).abs().mean()) < 1e-3
    truth, were = (value.rot90(-1, (-2, -1)) for value in (batch.truth, batch.body))
    places = after.body
    both = (batch.known.rot90(-1, (-2, -1)) & after.known).expand_as(truth)
    assert float((after.truth - truth)[both].abs().quantile(0.9)) < 1e-3
    assert float((places[:, 1] - were[:, 1]).abs().quantile(0.95)) < 1e-3
    assert float((places[:, 2] + were[:, 3]).abs().quantile(0.95)) < 1e-3
    assert float((places[:, 5:8] - were[:, 5:8]).abs().quantile(0.95)) < 1e-3
    drawn = pool.batch(3, np.random.default_rng(0))
    assert len(drawn.photo) == 3 and float(drawn.truth.abs().max()) <= 6 + 1e-5


def test_packed_photos_are_nearly_the_same(pipeline: Pipeline, body: BodyModel, tmp_path: Path) -> None:
    examples = make_examples(1002, pipeline, photos=2)
    assert pack_examples(examples, tmp_path / "two.packed", 10**6) == 2
    assert pack_examples(examples, tmp_path / "one.packed", 1) == 1
    packed = PackedDepths(tmp_path / "two.packed")
    assert len(packed) == 2 and len(PackedDepths(tmp_path / "one.packed")) == 1
    # Files and a folder's files are one sequence.
    for name in ("more", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "one.packed").rename(tmp_path / "more" / "one.packed")
    joint = PackedDepths(tmp_path / "two.packed", tmp_path / "more")
    assert len(joint) == 3 and torch.equal(joint[2].rgb, packed[0].rgb) and torch.equal(joint[1].rgb, packed[1].rgb)
    with pytest.raises(IndexError):
        joint[3]
    with pytest.raises(FileNotFoundError, match=r"make_depths\.py"):
        PackedDepths(tmp_path / "empty")
    (tmp_path / "all").mkdir()
    write_examples(examples, tmp_path / "all" / "1002.depths")
    pool = DepthPool(tmp_path / "all", body)
    for number, batch in enumerate(pool.clean()):
        ours = pool.unspoilt(packed[number])
        assert torch.equal(ours.body, batch.body)
        assert float((ours.known ^ batch.known).sum()) < 0.02 * float(batch.known.sum())
        both = (ours.known & batch.known).expand_as(batch.truth)
        # Depths in steps of 2 mm: a millimetre at most, and what the median of their quotients moves.
        assert float((ours.truth - batch.truth)[both].abs().quantile(0.99)) * UNIT < 0.002
        assert float((ours.photo - batch.photo)[batch.photo[:, 3:].expand_as(batch.photo) > 0.5].abs().mean()) < 0.03
    # Drawn from the file alone, both come, and much as they are: one of a whole person, one of the upper half.
    alpha = examples[1].alpha.clone()
    alpha[PHOTO_SIZE // 2 :] = 0
    pack_examples([examples[0], replace(examples[1], alpha=alpha)], tmp_path / "half.packed", 10**6)
    torch.manual_seed(0)
    halves = PackedPool([tmp_path / "half.packed"], body)
    assert len(PackedPool([tmp_path / "half.packed", tmp_path / "half.packed"], body).packed) == 4
    shown = halves.batch(64, np.random.default_rng(0)).known.sum((1, 2, 3)).float()[:, None]
    whole = torch.stack([batch.known.sum().float() for batch in halves.clean()])
    near = (shown / whole).log().abs()
    assert float(near.amin(1).median()) < 0.05 and set(near.argmin(1).tolist()) == {0, 1}


def test_imagined_photos_are_as_prepared_ones(pipeline: Pipeline, body: BodyModel) -> None:
    seed = 1005  # who wears close clothes
    fitted = make_examples(seed, pipeline, photos=1)
    errors = errors_of(fitted)
    # The errors are those that take the true body to the fitted one.
    true, found = (rotation_matrices(pose.double()) for pose in (fitted[0].true_pose, fitted[0].pose))
    assert torch.allclose(rotation_matrices(torch.as_tensor(errors.pose[0])) @ true, found, atol=1e-6)
    none = FitErrors(0 * errors.pose, errors.true_betas, errors.true_betas, 0 * errors.place)
    fronts = []
    for wrong in (none, errors):
        example = imagined_examples(seed, 1, wrong)[0]
        # The photo itself is of the same person from the same side.
        ours, theirs = (e.rgb[e.alpha > 250].float().mean(0) for e in (example, fitted[0]))
        assert torch.allclose(ours, theirs, atol=12)
        batch = DepthViewer(body).unspoilt(example)
        fronts.append(float((batch.truth[:, :1].abs() * batch.known).sum() / batch.known.sum() * UNIT))
        # What the photo shows is where the true depth is.
        small = torch.nn.functional.avg_pool2d(example.alpha.float()[None] / 255, 2)[0] > 0.5
        assert float((small ^ example.front.isfinite()).sum()) < 0.05 * float(small.sum())
    # Without errors clothes and hair are left, and what the neutral body's shape cannot be.
    assert fronts[0] < 0.016 and fronts[1] > 1.3 * fronts[0]
    # A prepared photo may be given another body: the truth stays where the photo shows it.
    others = [DepthViewer(body).unspoilt(otherwise_fitted(fitted[0], none, np.random.default_rng(k))) for k in range(5)]
    errors = [float((b.truth[:, :1].abs() * b.known).sum() / b.known.sum() * UNIT) for b in others]
    assert np.median(errors) < 0.016
    before = DepthViewer(body).unspoilt(fitted[0])
    assert all(torch.equal(batch.photo, before.photo) for batch in others)
    assert not torch.equal(others[0].body, others[1].body)


def test_makers_mix_imagined_and_prepared_photos(pipeline: Pipeline, tmp_path: Path) -> None:
    pack_examples(make_examples(1002, pipeline, photos=1), tmp_path / "one.packed", 10**6)
    packed = PackedDepths(tmp_path / "one.packed")
    photo, maps, truth, known = Maker(packed, lent_errors(packed, 0)).samples(200_000)
    assert len(photo) == len(maps) == len(truth) == len(known) == 43
    assert photo.dtype == np.uint8 and np.isfinite(maps.astype(float)).all() and np.isfinite(truth.astype(float)).all()
    assert (known.sum((1, 2, 3)) > 30).all()


def test_photos_are_spoilt_at_every_draw(pipeline: Pipeline) -> None:
    example = make_examples(1002, pipeline, photos=1)[0]
    photo = drawn(example).expand(64, -1, -1, -1)
    known = torch.rand(64, 1, 64, 64) < 0.9
    torch.manual_seed(0)
    seen, still = spoilt(photo, known, np.random.default_rng(0))
    assert seen.shape == photo.shape and 0 <= float(seen.min()) and float(seen.max()) <= 1
    assert float(seen[:, :3].amax(1).sub(seen[:, 3]).max()) < 1e-6  # colours are times the matte
    assert not bool((still & ~known).any()) and bool((seen[:, 3, 2::4, 2::4][still[:, 0]] > 0).all())
    # Above and below, people are drawn wider or narrower, each by itself, and on the average as they are.
    own = photo[:, 3].float() / 255
    otherwise = other_outlines(photo[:, :3].float() / 255, own[:, None])[1][:, 0]
    share = [part.sum((1, 2)) / whole.sum((1, 2)) for part, whole in zip(otherwise.chunk(2, 1), own.chunk(2, 1))]
    for half in share:
        assert float(half.min()) < 0.96 and float(half.max()) > 1.04 and abs(float(half.mean()) - 1) < 0.04
    assert float(torch.corrcoef(torch.stack(share))[0, 1]) < 0.8
    # Colours fill what is drawn wider: none of the black beside the person comes in.
    bright = torch.full((8, 3, 256, 256), 0.8) * (own[:8, None] > 0)
    rgb, alpha = other_outlines(bright, own[:8, None])
    assert float((rgb / 0.8)[(alpha > 0.9).expand_as(rgb)].quantile(0.01)) > 0.85


def test_mattes_may_take_in_what_is_beside_the_person() -> None:
    # Two bars, as an arm beside a trunk.
    alpha = torch.zeros(200, 1, 256, 256)
    alpha[..., 60:200, 80:130] = alpha[..., 60:200, 146:160] = 1
    rgb = 0.3 * alpha.expand(-1, 3, -1, -1)
    torch.manual_seed(0)
    drawn_rgb, drawn_alpha = with_things_beside(rgb, alpha)
    person, more = alpha > 0, drawn_alpha > alpha
    assert torch.equal(drawn_alpha[person], alpha[person]) and float(drawn_alpha.max()) <= 1
    assert torch.equal(drawn_rgb[person.expand_as(rgb)], rgb[person.expand_as(rgb)])
    assert 0.25 < float(more.flatten(1).any(1).float().mean()) < 0.45
    # Never far from the outline; most often between the two.
    far = torch.ones(256, 256, dtype=torch.bool)
    far[60 - 24 : 200 + 24, 80 - 24 : 160 + 24] = False
    assert not bool(more[:, 0, far].any())
    often = more[:, 0].float().mean(0)
    assert float(often[80:180, 134:142].mean()) > 1.5 * float(often[80:180, 64:72].mean()) > 0
    # In the person's own colour as often as in another.
    filled = drawn_rgb[(drawn_alpha > 0.9).expand_as(rgb) & (alpha == 0).expand_as(rgb)]
    assert 0.3 < float(((filled - 0.3).abs() < 0.02).float().mean()) < 0.75


def test_smoke_training_stops_and_goes_on(pipeline: Pipeline, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    write_examples(make_examples(1001, pipeline, photos=1), photos / "1001.depths")
    script = str(ROOT / "scripts/train_depth.py")
    command = [sys.executable, script, "--photos", str(photos), "--held-out", str(photos), "--smoke"]
    for steps in (2, 2):
        run = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        assert f"step {steps}" in run.stdout
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    pack_examples(make_examples(1001, pipeline, photos=1), tmp_path / "packed", 10**6)
    command[3] = str(tmp_path / "packed")
    run = subprocess.run([*command, "--out", str(tmp_path / "file")], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "prepared 1" in run.stdout, run.stderr
    folder = tmp_path / "imagined"
    made = [sys.executable, str(ROOT / "scripts/make_depths.py"), "--out", str(folder), "--imagine"]
    made += [str(tmp_path / "packed"), "--skip", "700", "--count", "1", "--photos", "2"]
    run = subprocess.run(made, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and len(PackedDepths(folder)) == 2, run.stderr
    command = [sys.executable, script, "--packed", str(tmp_path / "packed"), str(folder)]
    command += ["--held-out", str(tmp_path / "packed")]
    farm = ["--makers", "1", "--smoke", "--out", str(tmp_path / "farm")]
    run = subprocess.run([*command, *farm], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "step 2" in run.stdout and "samples" in run.stdout
    command = [sys.executable, str(ROOT / "scripts/measure_depth.py"), str(tmp_path / "packed")]
    measured = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert measured.returncode == 0, measured.stderr
    moves = [float(line.split()[-1]) for line in measured.stdout.splitlines() if "pixels" in line]
    assert len(moves) == 3 and max(map(abs, moves)) < 20  # the shipped network takes no width for nearness
    empty = subprocess.run(
        [sys.executable, script, "--photos", str(tmp_path), "--held-out", str(photos), "--out", str(tmp_path / "no")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert empty.returncode == 1 and "make_depths.py" in empty.stderr
