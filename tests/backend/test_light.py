"""The photo's light: against closed forms on balls, a baked ball, and a person lit from one side."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from figures import figure_from

from backend.estimate.light import FEATURES, LightEstimator, LightNetwork, differences, features
from backend.estimate.shading import _MOST, PhotoLight, harmonics, in_light_of
from backend.photo import PreparedPhoto
from backend.pipeline import Pipeline
from backend.research.training.depth_batches import DepthPool
from backend.research.training.depth_data import make_examples, write_examples
from backend.research.training.light_data import AHEAD, DIRECTIONS, functions, irradiance, lit_photos, usual_lights
from backend.research.training.lighting import bake_light, lit_colours, sample_light
from backend.research.training.loop import save_weights

ROOT = Path(__file__).resolve().parents[2]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def directions(count: int = 4000) -> np.ndarray:
    """Unit vectors spread evenly."""
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def sphere(rings: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices [V, 3] of a ball of half a metre about (0, 1, 0), y up, and faces [F, 3] that look outward."""
    polar = np.pi * np.arange(rings + 1) / rings
    turn = np.pi * np.arange(2 * rings) / rings
    along, around = np.meshgrid(polar, turn, indexing="ij")
    points = np.stack([np.sin(along) * np.sin(around), np.cos(along), np.sin(along) * np.cos(around)], -1)
    i, j = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
    faces = np.concatenate([np.stack([a, a + 2 * rings, b], -1), np.stack([b, a + 2 * rings, b + 2 * rings], -1)])
    return torch.as_tensor(0.5 * points.reshape(-1, 3) + [0, 1, 0]), torch.as_tensor(faces.reshape(-1, 3))


def test_harmonics_are_orthogonal_and_each_of_one_degree() -> None:
    at, weight = np.polynomial.legendre.leggauss(8)
    angle = 2 * np.pi * np.arange(16) / 16
    z, turn = np.meshgrid(at, angle, indexing="ij")
    ring = np.sqrt(1 - z**2)
    found = harmonics(np.stack([ring * np.cos(turn), ring * np.sin(turn), z], -1).reshape(-1, 3))
    products = (found * np.repeat(weight, 16)[:, None]).T @ found
    scale = np.sqrt(np.diag(products))
    assert np.abs(products / scale / scale[:, None] - np.eye(15)).max() < 1e-12
    assert np.abs(np.repeat(weight, 16) @ found).max() < 1e-12
    points = directions(50)
    parity = np.repeat([-1, 1, -1], [3, 5, 7])
    assert np.allclose(harmonics(-points), parity * harmonics(points))


def test_light_from_the_camera_darkens_what_turns_away() -> None:
    light = PhotoLight(np.eye(15)[2] * -0.6)
    ahead, aside, away = light.display(np.array([[0.0, 0, -1], [1, 0, 0], [0, 0, 1]]))[:, 0]
    assert ahead == pytest.approx(1)
    assert aside == pytest.approx(np.exp(-0.6 / 2.2))
    assert _MOST < 1.2 and away == pytest.approx(np.exp(-_MOST / 2.2)), "no more than the limit"
    half, none = (replace(light, share=share).display(np.array([[0.0, 0, 1]]))[0, 0] for share in (0.5, 0.0))
    assert (half, none) == (pytest.approx(np.exp(-_MOST / 2 / 2.2)), 1.0)


def test_colours_come_into_the_light_of_the_model_and_stay_what_they_are() -> None:
    normals = directions()
    level = harmonics(normals)[:, :8] @ [0.07, -0.13, 0.2, 0.03, 0, -0.03, 0.07, 0.03]
    factor = np.exp(level)[:, None]
    assert np.abs(level).max() < _MOST / 2.2  # as far as anything is made brighter or darker
    cloth = np.where(normals[:, :1] > 0.2, [[0.5, 0.3, 0.2]], [[0.2, 0.3, 0.4]])
    model = cloth * factor
    # A fifth of all places are something else: darker hair, which must stay as much darker.
    hair = np.random.default_rng(1).random(len(normals)) < 0.2
    rgb = np.where(hair[:, None], 0.4 * cloth, cloth)
    found = in_light_of(rgb, model, normals, np.ones(len(normals)))
    ratio = found / (rgb * factor)
    assert np.abs(np.log(ratio)).max() < 0.03
    assert np.array_equal(in_light_of(rgb, model, normals, np.zeros(len(normals))), rgb)


def test_irradiance_is_that_of_a_baked_ball() -> None:
    vertices, faces = sphere(48)
    ball = figure_from(vertices, faces, torch.full((len(vertices), 3), 0.3))
    for seed in (3, 8, 21):
        light = replace(sample_light(seed), exposure=0.5)
        baked = bake_light(ball, light)
        face, middle = torch.arange(len(faces)), torch.full((len(faces), 3), 1 / 3)
        display = lit_colours(ball, light, baked, face, middle).numpy().astype(float)
        linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
        level = np.log(linear @ LUMINANCE)
        normals = ball.normals[faces].mean(1).numpy()
        # World axes (y up, towards a camera at azimuth 0) to the camera's.
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) * [1, -1, -1]
        nearest = torch.as_tensor(normals @ DIRECTIONS.numpy().T).argmax(1)
        said = irradiance(light, 0.0)[nearest].numpy()
        # Where the ball meets the ground it shades it.
        free = normals[:, 1] < 0.2
        level, said = level[free], said[free]
        off = (level - said) - np.median(level - said)
        assert np.quantile(np.abs(off), 0.9) < 0.12
        assert np.corrcoef(level, said)[0, 1] > 0.99
    assert float(AHEAD @ irradiance(sample_light(3), 5.0)) == pytest.approx(0, abs=1e-9)


def ball(coefficients: np.ndarray, halves: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Photo and body maps of a ball that fills most of the frame, its halves of two cloths, under one light."""
    pixel = (np.arange(256) + 0.5) / 128 - 1

    def normals(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(at / 0.9, at / 0.9)
        inside = x**2 + y**2 < 0.98
        z = -np.sqrt(np.maximum(1 - x**2 - y**2, 0))
        return np.where(inside[..., None], np.stack([x, y, z], -1), 0.0), inside

    fine, there = normals(pixel)
    light = np.exp((harmonics(fine.reshape(-1, 3)) @ coefficients).reshape(there.shape))
    albedo = np.where(pixel[:, None] < 0, halves[0], halves[1])
    display = np.clip(0.25 * albedo * light, 0, 1) ** (1 / 2.2)
    photo = np.concatenate([np.repeat((display * there)[None], 3, 0), there[None].astype(float)])
    coarse, covered = normals(pixel.reshape(64, 4).mean(1))
    body = np.zeros((16, 64, 64))
    body[0], body[2:5] = covered, coarse.transpose(2, 0, 1)
    body[5:8] = 0.3 * coarse.transpose(2, 0, 1) * [[[1]], [[-1]], [[1]]]
    return torch.as_tensor(photo).float(), torch.as_tensor(body).float()


def test_the_fit_finds_the_light_on_what_is_seen_whatever_the_cloth() -> None:
    truth = np.zeros(15)
    truth[:8] = [0.5, -0.3, -0.3, 0.0, 0.1, -0.1, 0.1, 0.0]
    for halves in ((1.0, 1.0), (1.0, 0.3)):
        photo, body = ball(truth, halves)
        light, basis, _, _ = differences(photo, body)
        assert np.median(np.abs((light - basis @ torch.as_tensor(truth).float()).numpy())) < 0.01
        told = features(photo, body, torch.zeros(15), 0.01 * torch.eye(15))
        assert told is not None and told.shape == (FEATURES,) and bool(told.isfinite().all())
        seen = directions()
        seen = seen[seen[:, 2] < -0.3]
        level = harmonics(seen) @ np.stack([told[:15].double().numpy(), truth]).T
        assert np.corrcoef(level.T)[0, 1] > 0.98
        assert np.abs((level - level.mean(0)) @ [1, -1]).mean() < 0.06
    assert features(torch.zeros(4, 256, 256), torch.zeros(16, 64, 64), torch.zeros(15), torch.eye(15)) is None


def test_usual_lights_come_from_ahead_and_their_covariance_is_whole() -> None:
    usual, precision = usual_lights(range(400))
    level = functions().float() @ usual
    assert float(level[DIRECTIONS[:, 2] < -0.8].mean()) > float(level[DIRECTIONS[:, 2] > 0.8].mean()) + 0.2
    assert float(level[DIRECTIONS[:, 1] < -0.8].mean()) > float(level[DIRECTIONS[:, 1] > 0.8].mean())
    assert bool((torch.linalg.eigvalsh(precision) > 0).all())


def test_unseen_sides_are_lit_as_the_light_says(pipeline: Pipeline, photo: PreparedPhoto) -> None:
    fit = pipeline.fitter().fit(photo)
    preset = pipeline._bodies["neutral"][2]
    plain = preset.reconstruct(fit, photo)
    darker = preset.reconstruct(fit, photo, light=PhotoLight(np.eye(15)[2] * -0.4))
    back = (plain.rotation[:, 2, 2] > 0.8) & (plain.seen < 0.1)
    assert back.sum() > 1000
    ratio = darker.rgb[back].mean() / plain.rgb[back].mean()
    # Sources face the camera by .3 at least, targets away by .8.
    assert np.exp(-0.8 / 2.2) < ratio < np.exp(-0.4 * 1.1 / 2.2)
    front = plain.seen > 0.9
    assert np.abs(darker.rgb[front] - plain.rgb[front]).mean() < 0.01


def test_an_estimate_is_what_the_network_says_of_the_features(
    pipeline: Pipeline, photo: PreparedPhoto, tmp_path: Path
) -> None:
    network = LightNetwork()
    with torch.no_grad():
        network.layers[-1].weight.zero_()
        network.layers[-1].bias.copy_(torch.arange(15.0))
    save_weights(network.state_dict(), tmp_path / "light.safetensors")
    estimator = LightEstimator(tmp_path, pipeline.body())
    fit = pipeline.fitter().fit(photo)
    found = estimator.estimate(fit, photo)
    assert found is not None and np.allclose(found.coefficients, np.arange(15))
    nobody = replace(photo, alpha=np.zeros_like(photo.alpha))
    assert estimator.estimate(fit, nobody) is None


def test_photos_in_the_mirror_have_the_light_in_the_mirror(pipeline: Pipeline, tmp_path: Path) -> None:
    write_examples(make_examples(1001, pipeline, photos=1), tmp_path / "1001.depths")
    pool = DepthPool(tmp_path, pipeline.body())
    usual, precision = usual_lights(range(200))
    own, twin, spoilt = lit_photos(pool, usual, precision, varied=True).features
    levels = lit_photos(pool, usual, precision, varied=True).levels
    assert len(levels) == 3 and torch.equal(levels[0], levels[2])
    across = torch.tensor([-1.0, 1.0, 1.0]).double()
    nearest = (DIRECTIONS * across @ DIRECTIONS.T).argmax(1)
    assert float((levels[1] - levels[0][nearest]).abs().mean()) < 0.05
    # What the fit says of a photo in the mirror is its mirror image, as near as pixels allow.
    odd = torch.as_tensor(harmonics(directions(60) * across.numpy()) / harmonics(directions(60))).median(0).values
    assert float((own[:15] * odd.sign() - twin[:15]).abs().mean()) < 0.02
    assert float((own[:15] - spoilt[:15]).abs().mean()) < 0.2
    assert len(lit_photos(pool, usual, precision, varied=False).levels) == 1


def test_training_runs_and_says_what_is_missing(pipeline: Pipeline, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in (1001, 1002):
        write_examples(make_examples(seed, pipeline, photos=1), photos / f"{seed}.depths")
    command = [sys.executable, str(ROOT / "scripts/train_light.py"), "--held-out", str(photos)]
    run = subprocess.run(
        [*command, "--photos", str(photos), "--out", str(tmp_path / "run"), "--steps", "3"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "behind" in run.stdout and (tmp_path / "run/weights.safetensors").is_file()
    empty = subprocess.run(
        [*command, "--photos", str(tmp_path), "--out", str(tmp_path / "no")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert empty.returncode == 1 and "make_depths.py" in empty.stderr
