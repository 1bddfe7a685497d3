"""Samples: splits, determinism, cameras, augmentation, JPEG, estimated bodies."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from figures import cube, figure_from, mannequin_figure  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402

from backend.body.model import JOINT_INDEX, load_body  # noqa: E402
from backend.research.training.augment import augment_photo  # noqa: E402
from backend.research.training.cameras import MARGIN, Camera  # noqa: E402
from backend.research.training.estimate import (  # noqa: E402
    FitErrors,
    body_of_fit,
    fit_errors,
    neutral_betas,
    noisy_body,
    placed_body,
    rotation_vectors,
    scale_of,
    seen_by,
)
from backend.research.training.figure import Figure, TrueBody  # noqa: E402
from backend.research.training.jpeg import jpeg  # noqa: E402
from backend.research.training.samples import Sample, cut_rows, facing, make_sample, make_scene, split_seeds  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def people(seed: int) -> Figure:
    return mannequin_figure(("walking", "relaxed", "standing")[seed % 3], seed)


def tensors(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors in a tree of dataclasses."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if is_dataclass(value):
        return {k: v for f in fields(value) for k, v in tensors(getattr(value, f.name), f"{name}.{f.name}").items()}
    return {}


def other_side(joint: str) -> str:
    """The joint of that name on the other side."""
    if joint.startswith("left"):
        return joint.replace("left", "right", 1)
    return joint.replace("right", "left", 1)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


def test_splits_are_disjoint() -> None:
    splits = [split_seeds(name) for name in ("train", "validation", "test")]
    for i, one in enumerate(splits):
        assert len(one) >= 1000
        for other in splits[i + 1 :]:
            assert one.stop <= other.start or other.stop <= one.start
    with pytest.raises(ValueError, match="train"):
        split_seeds("everything")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(1, 3, 128, source=people)


def test_same_seed_same_bytes_another_seed_another_sample(sample: Sample) -> None:
    again, other = (tensors(make_sample(seed, 3, 128, source=people)) for seed in (1, 4))
    first = tensors(sample)
    assert len(first) > 20 and first.keys() == again.keys()
    for name, value in first.items():
        assert value.numpy().tobytes() == again[name].numpy().tobytes(), name
    assert not torch.equal(first[".photo_rgb"], other[".photo_rgb"])
    assert not torch.equal(first[".azimuths"], other[".azimuths"])


def test_the_number_of_threads_changes_last_digits_at_most() -> None:
    # Sums in another order round differently, and that can move a pixel across an edge: a few pixels, not a picture.
    threads, made = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            made.append(tensors(make_sample(7, 1, 256, source=people)))
    finally:
        torch.set_num_threads(threads)
    assert made[0].keys() == made[1].keys()
    for name, value in made[0].items():
        other = made[1][name]
        assert value.shape == other.shape and value.dtype == other.dtype, name
        same = torch.isclose(value.double(), other.double(), rtol=1e-4, atol=1e-4, equal_nan=True)
        assert same.double().mean() > 0.999, name


def test_sizes_and_halves(sample: Sample) -> None:
    assert sample.views.rgb.shape == (3, 128, 128, 3) and sample.half.rgb.shape == (3, 64, 64, 3)
    assert sample.views.label.dtype == torch.uint8 and sample.photo_rgb.shape == (128, 128, 3)
    block = sample.views.rgb[2, 30:32, 64:66].mean((0, 1))
    torch.testing.assert_close(sample.half.rgb[2, 15, 32], block)
    assert ((sample.photo_rgb * 255).round() / 255 - sample.photo_rgb).abs().max() < 1e-6, "photos have 8 bits"


def test_the_photo_is_framed_and_the_body_is_where_it_says(sample: Sample) -> None:
    rows, columns = torch.nonzero(sample.views.alpha[0] > 0.5).unbind(1)
    extent = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
    assert extent * (1 + 2 * MARGIN) == pytest.approx(128, abs=2.5)
    body = load_body(sample.body.name)
    vertices, joints = body.pose(sample.body.pose, sample.body.betas)
    torch.testing.assert_close(joints + sample.body.translation, sample.body.joints)
    for view in range(3):
        pixels = sample.cameras[view : view + 1].project((vertices + sample.body.translation).float())[0]
        column, row = pixels[:, 0].long(), pixels[:, 1].long()
        ok = (column >= 1) & (column < 127) & (row >= 1) & (row < 127)
        around = torch.nn.functional.max_pool2d(sample.views.alpha[view][None, None], 3, 1, 1)[0, 0]
        assert around[row[ok], column[ok]].min() > 0, "every vertex lies inside the outline"


def test_given_azimuths_go_around_from_the_photo() -> None:
    scene = make_scene(2, source=people)
    around = make_sample(2, [0, 90, 180, 270], 64, augment=False, scene=scene)
    assert torch.equal(around.photo_rgb, around.views.rgb[0])
    offsets = around.cameras.positions() - scene.target
    unit = torch.nn.functional.normalize(offsets[:, [0, 2]], dim=1)
    torch.testing.assert_close(offsets.norm(dim=1), torch.full((4,), scene.distance), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unit[0], -unit[2], rtol=1e-4, atol=1e-4)
    # From the front, the person's left is at +90 degrees: x = z turned about y.
    torch.testing.assert_close(torch.stack([unit[0][1], -unit[0][0]]), unit[1], rtol=1e-4, atol=1e-4)
    assert torch.equal(make_sample(2, [0, 90, 180, 270], 64, augment=False, source=people).views.rgb, around.views.rgb)
    with pytest.raises(ValueError, match="first azimuth"):
        make_sample(2, [10, 20], 64, scene=scene)


def test_photos_are_mostly_from_the_front_of_the_person() -> None:
    person = people(0)
    figure = figure_from(*cube((0.0, 0.9, 0.0), 1.8), body=person.body)
    turn = Rotation.from_euler("y", 70, degrees=True)
    pose = figure.body.pose.clone()
    pose[0] = torch.as_tensor((turn * Rotation.from_rotvec(pose[0].numpy())).as_rotvec())
    turned = Figure(**{**vars(figure), "body": TrueBody(**{**vars(figure.body), "pose": pose})})
    assert facing(turned) - facing(figure) == pytest.approx(70, abs=1)
    aside = np.array([make_scene(s, figure=figure).azimuth - facing(figure) for s in range(40)])
    assert (np.abs(aside) <= 25).mean() > 0.6 and np.abs(aside).max() <= 60


@pytest.mark.parametrize("quality", [40, 75, 92])
def test_jpeg_loses_what_pillow_loses(sample: Sample, quality: int) -> None:
    picture = make_sample(3, 1, 128, augment=False, source=people).photo_rgb
    grain = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)) * 0.02
    picture = ((picture + grain).clamp(0, 1) * 255).round() / 255
    stream = io.BytesIO()
    pixels = (picture * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = torch.as_tensor(np.array(Image.open(stream))).float() / 255
    ours = jpeg(picture, quality)
    assert psnr(ours, picture) == pytest.approx(psnr(theirs, picture), abs=0.4)
    assert psnr(ours, theirs) > psnr(theirs, picture) + 6
    odd = picture[:101, :77]
    assert jpeg(odd, quality).shape == odd.shape


def test_augmentation_repeats_and_cuts() -> None:
    scene = make_scene(0, source=people)
    clean = make_sample(0, 1, 128, augment=False, scene=scene)
    rows = cut_rows(scene, clean.cameras)
    assert rows[0] > rows[1] > rows[2], "knees below waist below chest"
    seen, cuts = [], 0
    for seed in range(60):
        rgb, alpha = augment_photo(clean.photo_rgb, clean.views.alpha[0], rows, torch.Generator().manual_seed(seed))
        assert rgb.isfinite().all() and 0 <= rgb.min() and rgb.max() <= 1 and 0 <= alpha.min() and alpha.max() <= 1
        inside = alpha[clean.views.alpha[0] > 0.99]
        cuts += bool((alpha[-20:] == 0).all())
        seen.append(float(inside.mean()))
    assert 3 <= cuts <= 25, "about one in five photos is cut off"
    assert np.median(seen) > 0.9, "most mattes hold the person"
    again, _ = augment_photo(clean.photo_rgb, clean.views.alpha[0], rows, torch.Generator().manual_seed(59))
    assert torch.equal(again, rgb)


def test_rotation_vectors_agree_with_scipy() -> None:
    rotations = Rotation.random(100, random_state=1)
    found = rotation_vectors(torch.as_tensor(rotations.as_matrix()))
    np.testing.assert_allclose(found.numpy(), rotations.as_rotvec(), atol=1e-12)
    assert torch.equal(rotation_vectors(torch.eye(3, dtype=torch.float64)), torch.zeros(3, dtype=torch.float64))


def test_a_shape_of_another_body_becomes_the_nearest_neutral_one() -> None:
    rng = np.random.default_rng(0)
    betas = torch.as_tensor(rng.normal(size=10) * 0.5)
    zeros = torch.zeros(24, 3, dtype=torch.float64)
    female = TrueBody("female", betas, zeros, zeros[0], zeros)
    assert torch.equal(neutral_betas(TrueBody("neutral", betas, zeros, zeros[0], zeros)), betas)
    wanted = load_body("female").shaped(betas)[0]
    found = load_body("neutral").shaped(neutral_betas(female))[0]
    plain = load_body("neutral").shaped(torch.zeros(10, dtype=torch.float64))[0]
    error, before = ((v - v.mean(0) - wanted + wanted.mean(0)).norm(dim=1).mean() for v in (found, plain))
    assert error < 0.5 * before and error < 0.02


def test_fits_err_as_in_like_poses(sample: Sample) -> None:
    """Of forty fits those sixteen lend errors whose people stand like this one, in the mirror here."""
    truth, camera = sample.body, sample.cameras[:1]
    here = seen_by(truth, camera)
    swapped = [JOINT_INDEX[other_side(name)] for name in JOINT_INDEX]
    pose = here.pose[swapped] * torch.tensor([1.0, -1.0, -1.0])
    mirror = placed_body("neutral", neutral_betas(truth), pose, here.joints[0] * torch.tensor([-1.0, 1.0, 1.0]))
    plain = Camera(torch.eye(4)[None], torch.ones(1), torch.zeros(1, 2), 1)
    alike = fit_errors(mirror, mirror, plain)
    rng = np.random.default_rng(3)
    far = rng.normal(size=(24, *alike.bones.shape[1:]))
    far /= np.linalg.norm(far, axis=2, keepdims=True)
    errors = FitErrors(
        pose=np.zeros((40, 24, 3)),
        betas=np.repeat(alike.betas, 40, 0),
        true_betas=np.repeat(alike.betas, 40, 0),
        place=np.repeat([[0.01, 0.0, 0.0], [0.3, 0.0, 0.0]], [16, 24], 0),
        bones=np.concatenate([np.repeat(alike.bones, 16, 0), far]),
    )
    for seed in range(8):
        place = fit_errors(truth, noisy_body(truth, camera, seed, errors), camera).place[0]
        assert -0.0131 < place[0] < -0.0059
    by_chance = replace(errors, bones=None)
    places = [fit_errors(truth, noisy_body(truth, camera, seed, by_chance), camera).place[0, 0] for seed in range(16)]
    assert max(map(abs, places)) > 0.1 and min(places) < 0 < max(places)


def test_errors_that_were_measured_come_back(sample: Sample) -> None:
    """Measure the errors of a body that differs from the truth in known ways; apply them; measure again."""
    truth, camera = sample.body, sample.cameras[:1]
    rng = np.random.default_rng(2)
    made = FitErrors(
        pose=rng.normal(size=(1, 24, 3)) * 0.1,
        betas=rng.normal(size=(1, 10)) * 0.3,
        true_betas=neutral_betas(truth).numpy()[None],
        place=np.array([[0.01, -0.02, 0.03]]),
    )
    distances = []
    for seed in range(8):
        noisy = noisy_body(truth, camera, seed, made)
        again = noisy_body(truth, camera, seed, made)
        assert torch.equal(noisy.pose, again.pose) and noisy.name == "neutral"
        found = fit_errors(truth, noisy, camera)
        # Strength varies from photo to photo; the direction of the error does not, but for a mirror.
        share = found.place[0] / made.place[0]
        assert abs(share[0]) == pytest.approx(share[1], rel=1e-4)
        assert share[1] == pytest.approx(share[2], rel=1e-4)
        assert 0.6 <= share[1] <= 1.3
        np.testing.assert_allclose(found.betas, made.betas, atol=1e-9)
        distances.append(np.linalg.norm(found.pose, axis=-1).mean() / share[1])
        joints = load_body("neutral").pose(noisy.pose, noisy.betas)[1] + noisy.translation
        torch.testing.assert_close(joints, noisy.joints)
        # Bones keep a part of their error alone across the picture: what a fit gets wrong is depth.
        offset = (camera.project(noisy.joints.float()) - camera.project(truth.joints.float()))[0, :, :2]
        offset = offset - offset.mean(0)
        assert offset.norm(dim=1).mean() < 0.02 * camera.size
    assert 0.5 < np.mean(distances) / np.linalg.norm(made.pose, axis=-1).mean() < 1.1


def test_a_fit_is_carried_into_the_world_of_the_photo() -> None:
    """A fit that is right, seen through another crop and focal length, projects where the truth does."""
    from types import SimpleNamespace

    scene = make_scene(5, source=people)
    truth, camera = scene.figure.body, scene.camera(size=512)
    rotation = camera.world_to_camera[0, :3, :3].double()
    pose = truth.pose.clone()
    pose[0] = torch.as_tensor(
        (Rotation.from_matrix(rotation.numpy()) * Rotation.from_rotvec(pose[0].numpy())).as_rotvec()
    )
    pelvis = (rotation @ truth.joints[0]) + camera.world_to_camera[0, :3, 3].double()
    rest = load_body(truth.name).shaped(truth.betas)[1][0]
    photo = SimpleNamespace(crop=(0.0, 0.0, 512.0), rgb=np.zeros((1024, 1024, 3)))
    fit = SimpleNamespace(
        pose=pose.numpy(),
        betas=truth.betas.numpy(),
        translation=(pelvis - rest).numpy(),
        focal=2 * float(camera.focal[0]),
    )
    same = body_of_fit(fit, photo, camera, truth.name)
    torch.testing.assert_close(same.joints, truth.joints, rtol=0, atol=1e-5)
    assert scale_of(same, truth, camera) == pytest.approx(1, abs=1e-5)
    far = SimpleNamespace(**{**vars(fit), "focal": 3 * fit.focal / 2, "translation": fit.translation})
    moved = body_of_fit(far, SimpleNamespace(crop=(20.0, -10.0, 512.0), rgb=photo.rgb), camera, truth.name)
    a, b = (camera.project(body.joints.float())[0, 0, :2] for body in (moved, truth))
    expected = (b - 256) * 1.5 + torch.tensor([276.0, 246.0])
    torch.testing.assert_close(a, expected, rtol=1e-4, atol=1e-2)


def test_the_factory_needs_pytorch_and_numpy_alone() -> None:
    """A training machine may have no scipy, OpenCV or Pillow: a sample is made where they cannot be imported."""
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("scipy", "cv2", "PIL", "trimesh", "skimage", "mediapipe"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import backend.research.training.estimate, backend.research.training.scans
from backend.research.training.samples import make_sample
print(tuple(make_sample(10_000, 2, 64, estimate="noise").views.rgb.shape))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 64, 64, 3)"
