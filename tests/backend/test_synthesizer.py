"""The novel-view synthesizer: noise and sampler, what the network is told, both models, training that learns."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.body.model import load_body
from backend.errors import BackendError
from backend.networks import read_network
from backend.reconstruct.parts import KIND, Part
from backend.rendering.triangles import vertex_normals
from backend.research.training.latent_data import ORBIT
from backend.research.training.loop import save_weights
from backend.research.training.person.identity import body_model
from backend.research.training.samples import Sample, make_sample
from backend.research.training.synthesizer_data import (
    Example,
    follow_photo,
    hide,
    imperfect_latents,
    join_examples,
    joint_rows,
    lite_example,
    lite_loss,
    orbit_example,
    picture_loss,
)
from backend.views.latent.codec import LatentCodec
from backend.views.latent.stage import orbit_views
from backend.views.latent.views import ViewCameras, draw_body, without_white
from backend.views.synthesize import (
    CONFIGS,
    Conditions,
    FullConfig,
    Synthesizer,
    ViewUNet,
    azimuths_of,
    conditions,
    full,
    label_body,
    layout,
)
from backend.views.synthesize.conditions import (
    CHANNELS,
    CONDITION_CHANNELS,
    PARTS,
    BodyLabels,
    carry_photo,
    channel_slice,
    spread_out,
    vertex_parts,
)
from backend.views.synthesize.fill import PALETTE, draw_colours, vertex_colours
from backend.views.synthesize.memory import GIGABYTE, choose_mode
from backend.views.synthesize.painter import Painter, draw_taste
from backend.views.synthesize.schedule import (
    guidance_scales,
    guide,
    karras_sigmas,
    orbit_scales,
    sample_euler,
    scalings,
    velocity,
)
from backend.views.synthesize.tiny import TINY_UNET, TinyEmbedder, tiny_full, tiny_vae

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def person() -> tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras]:
    """Vertices, faces and labels of the neutral body in the cameras' world, and the four cameras."""
    body = load_body("neutral")
    pelvis = np.array([0.0, 0.05, 3.0])
    focal = 0.5 / math.tan(math.radians(39.6) / 2)
    # The body's axes are x left, y up; the first camera looks at its front with y down.
    there = body.template * torch.tensor([1.0, -1.0, -1.0]) - body.joint_regressor[0] @ (
        body.template * torch.tensor([1.0, -1.0, -1.0])
    )
    unit = float(pelvis[2]) / (2 * focal)
    return (there / unit).float(), body.faces, label_body(body), orbit_views(pelvis, focal)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(4, ORBIT, 128, augment=True, estimate="noise")


@pytest.fixture(scope="module")
def example(sample: Sample) -> Example:
    torch.manual_seed(0)
    codec = LatentCodec(8).requires_grad_(False)
    bodies = {name: body_model(name) for name in ("neutral", "female", "male", "child")}
    return lite_example(sample, CONFIGS["smoke"](), codec, bodies)


def random_network(seed: int = 0) -> ViewUNet:
    """A smoke network whose zero-initialised layers are random too."""
    torch.manual_seed(seed)
    network = ViewUNet(CONFIGS["smoke"]())
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


# Noise levels, sampler, guidance


def test_scalings_agree_with_the_closed_form() -> None:
    for value in (0.002, 0.3, 1.0, 7.0, 700.0):
        s = scalings(torch.tensor(value, dtype=torch.float64))
        root = math.hypot(value, 1)
        assert float(s.skip) == pytest.approx(1 / root**2)
        assert float(s.out) == pytest.approx(-value / root)
        assert float(s.into) == pytest.approx(1 / root)
        assert float(s.noise) == pytest.approx(math.log(value) / 4)


def test_velocity_gives_back_the_clean_latents_and_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(20000, generator=generator, dtype=torch.float64) for _ in range(2))
    for value in (0.01, 1.0, 50.0):
        sigma = torch.tensor(value, dtype=torch.float64)
        s, v = scalings(sigma), velocity(clean, noise, sigma)
        assert torch.allclose(s.skip * (clean + sigma * noise) + s.out * v, clean, atol=1e-9)
        assert float((s.into * (clean + sigma * noise)).var()) == pytest.approx(1, abs=0.03)
        assert float(v.var()) == pytest.approx(1, abs=0.03)


def gaussian_denoiser(mean: float, deviation: float):  # noqa: ANN201
    """The expected clean value of x = x0 + sigma * noise where x0 is normal: Bayes' rule."""
    return lambda x, sigma: (deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2)


def test_sampler_approaches_the_exact_flow_of_a_gaussian() -> None:
    mean, deviation, top = 0.7, 0.4, 80.0
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = noise * math.sqrt(top**2 + 1)
    # d(x - m)/dsigma = sigma (x - m) / (deviation^2 + sigma^2) has the solution (x - m) ~ sqrt(deviation^2 + sigma^2).
    exact = mean + (start - mean) * deviation / math.hypot(deviation, top)
    errors = [
        float(
            (sample_euler(gaussian_denoiser(mean, deviation), noise, karras_sigmas(n, 1e-3, top)) - exact).abs().max()
        )
        for n in (20, 40, 80, 400)
    ]
    assert errors[3] < 0.02
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)  # of first order
    assert errors[0] > errors[1] > errors[2] > errors[3]


def test_levels_and_steps_agree_with_the_scheduler_of_diffusers() -> None:
    scheduler = EulerDiscreteScheduler(**full.SVD_SCHEDULE)
    scheduler.set_timesteps(10)
    sigmas = karras_sigmas(10, 0.002, 700.0)
    assert torch.allclose(scheduler.sigmas.double(), torch.tensor(sigmas, dtype=torch.float64), rtol=1e-4)
    noise = torch.randn(64, generator=torch.Generator().manual_seed(0))
    denoise = gaussian_denoiser(0.2, 0.8)
    ours = sample_euler(denoise, noise, sigmas)
    x = noise * scheduler.init_noise_sigma
    for level in scheduler.timesteps:
        into = scheduler.scale_model_input(x, level)
        sigma = torch.exp(4 * level)
        s = scalings(sigma)
        assert torch.allclose(into, s.into * x, rtol=1e-4)
        answer = (denoise(x, float(sigma)) - s.skip * x) / s.out
        x = scheduler.step(answer, level, x).prev_sample
    assert torch.allclose(x, ours, atol=2e-3)


def test_guidance_rises_towards_the_back() -> None:
    angles = torch.tensor([0.0, 90.0, 180.0, 270.0, 360.0, 45.0])
    assert guidance_scales(angles, 1.0, 3.0).tolist() == pytest.approx([1, 2, 3, 2, 1, 1.5])
    assert guidance_scales(angles, 2.0, 2.0).tolist() == [2.0] * 6
    orbit = orbit_scales(21, 1.0, 2.5)
    assert orbit[0] == orbit[-1] == 1.0
    assert float(orbit[10]) == 2.5 and orbit.argmax() == 10
    assert torch.allclose(orbit, orbit.flip(0))
    without, given = torch.randn(1, 3, 4, 2, 2), torch.randn(1, 3, 4, 2, 2)
    out = guide(without, given, torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(out[:, 0], without[:, 0])
    assert torch.allclose(out[:, 1], given[:, 1], atol=1e-6)
    assert torch.allclose(out[:, 2], 2 * given[:, 2] - without[:, 2], atol=1e-6)


# What the network is told


def nearest_hit(origin: np.ndarray, direction: np.ndarray, triangles: np.ndarray) -> float:
    """Smallest positive t at which origin + t * direction meets one of [F, 3, 3] (Moeller and Trumbore 1997)."""
    a, ab, ac = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = np.cross(direction, ac)
    det = (ab * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((origin - a) * p).sum(1) / det
        q = np.cross(origin - a, ab)
        v = (q @ direction) / det
        t = (q * ac).sum(1) / det
    hit = (np.abs(det) > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-6)
    return float(t[hit].min()) if hit.any() else math.inf


def test_carried_photo_and_visibility_agree_with_brute_force(
    person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras],
) -> None:
    vertices, faces, _, cameras = person
    size = 96
    maps = draw_body(vertices, vertex_normals(vertices, faces), faces, cameras, size)
    # A photo whose colours are its own coordinates: what is carried says where from.
    steps = (torch.arange(256) + 0.5) / 256
    photo = torch.stack([steps.expand(256, 256), steps[:, None].expand(256, 256)])[None]
    carried, seen = carry_photo(photo, torch.ones(1, 1, 256, 256), maps, cameras)
    triangles = vertices.numpy().astype(np.float64)[faces.numpy()]
    eye = cameras.rays(1)[0][0].double().numpy()
    origins, directions = (v.double().numpy() for v in cameras.rays(size))
    rng = np.random.default_rng(0)
    agree, flags = 0, {True: 0, False: 0}
    for view in (0, 1, 2, 3):
        inside = np.argwhere(maps.mask[view].numpy() > 0)
        for row, column in inside[rng.choice(len(inside), 40, replace=False)]:
            t = nearest_hit(origins[view], directions[view, row, column], triangles)
            if not math.isfinite(t):
                continue  # a pixel that only the rasteriser's slack gives to the body
            point = origins[view] + t * directions[view, row, column]
            place = cameras.project(torch.as_tensor(point[None], dtype=torch.float32))[0, 0, :2]
            assert torch.allclose(carried[view, :, row, column], place, atol=6e-3)
            slope = float(maps.normal[view, row, column].double().numpy() @ (eye - point)) / np.linalg.norm(eye - point)
            if abs(slope) < 0.1:
                continue  # at the photo's outline, seen or not is a matter of a pixel
            truly = nearest_hit(eye, point - eye, triangles) > 1 - 5e-3
            flags[truly] += 1
            agree += bool(seen[view, row, column] > 0) == truly
    assert flags[True] > 20 and flags[False] > 20
    assert agree >= 0.98 * sum(flags.values())
    assert not carried.permute(0, 2, 3, 1)[maps.mask == 0].any()


def test_the_back_carries_the_front_and_is_not_seen(
    person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras],
) -> None:
    vertices, faces, _, cameras = person
    maps = draw_body(vertices, vertex_normals(vertices, faces), faces, cameras, 96)
    photo = torch.full((1, 3, 64, 64), 0.5)
    carried, seen = carry_photo(photo, torch.ones(1, 1, 64, 64), maps, cameras)
    share = seen.sum((1, 2)) / maps.mask.sum((1, 2))
    assert share[0] > 0.97
    assert share[2] < 0.03
    assert 0.1 < share[1] < 0.9
    assert torch.allclose(carried[2][:, maps.mask[2] > 0], torch.tensor(0.5), atol=1e-5)
    # A photo that ends at the waist shows nothing of the legs, in any view.
    half = torch.ones(1, 1, 64, 64)
    half[:, :, 32:] = 0
    _, seen = carry_photo(photo, half, maps, cameras)
    assert not seen[:, 56:].any()
    assert seen[0, :40].any()


def test_colours_spread_beyond_the_person() -> None:
    """What is known stays; beside it comes the colour near by; nothing known gives nothing."""
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., :16], picture[..., 16:] = 1.0, 2.0
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., 8:24, 8:24] = 1
    out = spread_out(picture + 50 * (1 - weight), weight)  # the background must not leak in
    assert torch.equal(out[..., 8:24, 8:24], picture[..., 8:24, 8:24])
    assert out.min() >= 1 - 1e-5 and out.max() <= 2 + 1e-5
    assert (out[..., 8:24, :4] < 1.2).all() and (out[..., 8:24, 28:] > 1.8).all()
    assert not spread_out(picture, torch.zeros_like(weight)).any()


def test_hidden_vertices_take_the_colours_of_their_kind(
    person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras],
) -> None:
    vertices, faces, labels, cameras = person
    part = KIND[labels.fill.part]
    kinds, number = np.unique(part, return_inverse=True)
    levels = torch.tensor([0.1, 0.5, 0.9])
    palette = torch.cartesian_prod(levels, levels, levels)[[2 * k for k in range(len(kinds))]]
    true = palette[torch.as_tensor(number)]
    normals = vertex_normals(vertices, faces)
    fine = draw_body(vertices, normals, faces, cameras, 256)
    photo = spread_out(draw_colours(true, faces, fine)[:1], fine.mask[:1, None])
    alpha = torch.nn.functional.max_pool2d(fine.mask[:1, None], 11, 1, 5)  # hair and clothes stand off the body
    maps = draw_body(vertices, normals, faces, cameras, 128)
    offered = vertex_colours(labels.fill, photo, alpha, maps, cameras, vertices, normals)
    assert offered.shape == (len(vertices), len(PALETTE), 3)
    found = offered[:, PALETTE.index("filled")]
    away = normals @ cameras.world_to_camera[0, 2, :3] > 0.2
    for kind in (Part.HAIR, Part.LEFT_HAND, Part.TRUNK, Part.LEFT_LEG):
        hidden = away & torch.as_tensor(part == kind)
        assert hidden.sum() > 50
        # Seams between kinds blur a little; behind, no face shows through the hair.
        like = torch.cdist(found[hidden], palette).argmin(1)
        assert (like == int(np.searchsorted(kinds, kind))).float().mean() > 0.85, kind
    # Hair stands off the head.
    hair, face = (int(np.searchsorted(kinds, kind)) for kind in (Part.HAIR, Part.FACE))
    photo = torch.where(fine.mask[:1, None] > 0, photo, palette[hair][None, :, None, None])
    offered = vertex_colours(labels.fill, photo, alpha, maps, cameras, vertices, normals)
    for name, number in (("hair", hair), ("skin", face)):
        said = offered[:, PALETTE.index(name)]
        assert (said == said[0]).all() and (said[0] - palette[number]).abs().max() < 0.1, name
    blank = vertex_colours(labels.fill, photo, torch.zeros_like(alpha), maps, cameras, vertices, normals)
    assert (blank == 0.5).all()


def test_rings_around_trunk_and_limbs_leave_out_badges(
    person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras],
) -> None:
    vertices, faces, labels, cameras = person
    rest = torch.as_tensor(labels.fill.rest, dtype=torch.float32)
    red, grey = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.5, 0.5, 0.5])
    shirt = torch.where((rest[:, 1:2] > 0.25).expand(-1, 3), red, grey)  # grey below, red above
    badge = (rest[:, :2] - torch.tensor([0.06, 0.33])).norm(dim=1) < 0.035
    painted = torch.where(badge[:, None], torch.ones(3), shirt)
    # In the face's own colour, the shirt's red would be the skin of a neckline.
    face = torch.as_tensor(labels.fill.part == Part.FACE)
    painted = torch.where(face[:, None], torch.tensor([0.8, 0.6, 0.5]), painted)
    normals = vertex_normals(vertices, faces)
    fine = draw_body(vertices, normals, faces, cameras, 256)
    photo = spread_out(draw_colours(painted, faces, fine)[:1], fine.mask[:1, None])
    alpha = torch.nn.functional.max_pool2d(fine.mask[:1, None], 7, 1, 3)
    maps = draw_body(vertices, normals, faces, cameras, 128)
    offered = vertex_colours(labels.fill, photo, alpha, maps, cameras, vertices, normals)
    filled, median, mean = (offered[:, PALETTE.index(name)] for name in ("filled", "median", "mean"))
    away = normals @ cameras.world_to_camera[0, 2, :3] > 0.2
    trunk = torch.as_tensor(labels.fill.part == Part.TRUNK) & (rest[:, 0].abs() < 0.12)
    behind = away & trunk & ((rest[:, :2] - torch.tensor([0.06, 0.33])).norm(dim=1) < 0.03)
    assert behind.sum() > 5
    # The nearest place is the badge, but it does not go on around the trunk: no source, though its blurred rim is.
    assert ((filled[behind] - red).norm(dim=1) < 0.15).all()
    assert (median[behind] - red).abs().max() < 0.05 and (mean[behind] - red).abs().max() < 0.05
    # Told that the badge is one, no source offers it.
    local = (photo.mean(1, keepdim=True) > 0.6) & (fine.mask[:1, None] > 0)
    local = torch.nn.functional.max_pool2d(local.float(), 5, 1, 2) > 0
    without = vertex_colours(labels.fill, photo, alpha, maps, cameras, vertices, normals, local)
    for name in ("filled", "median", "mean"):
        assert (without[behind, PALETTE.index(name)] - red).abs().max() < 0.01, name
    # The seam runs around the trunk at its height.
    for low, high, colour in ((0.12, 0.2, grey), (0.36, 0.42, red)):
        band = away & trunk & (rest[:, 1] > low) & (rest[:, 1] < high)
        assert band.sum() > 20 and (median[band] - colour).abs().mean() < 0.05


def test_azimuths_of_cameras(person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras]) -> None:
    turned = azimuths_of(person[3])
    away = (turned - torch.tensor(ORBIT) + 180) % 360 - 180
    assert away.abs().max() < 1e-3


def test_conditions_are_laid_out_as_said(
    person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras],
) -> None:
    vertices, _, labels, cameras = person
    config = CONFIGS["smoke"]()
    latent, rgb = torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64)
    alpha = torch.zeros(1, 1, 64, 64)
    alpha[..., :32] = 1
    both = conditions(latent, rgb, alpha, cameras, vertices, labels, config)
    told, fine = both.coarse[0], both.fine[0]
    assert told.shape == (4, CONDITION_CHANNELS, 8, 8) == (4, 24, 8, 8)
    # The fine maps are those that the coarse ones are means of.
    assert fine.shape == (4, 6 + 3 * len(PALETTE), 32, 32) == (4, 21, 32, 32)
    means = torch.nn.functional.avg_pool2d(fine, 4)
    for channels, name in ((means[:, :3], "normal"), (means[:, 4:5], "mask")):
        assert torch.allclose(channels, told[:, channel_slice(name)], atol=1e-5)
    for view in range(4):
        assert torch.equal(told[view, channel_slice("photo_latent")], latent[0])
    assert torch.allclose(told[2, channel_slice("matte")][0], (torch.arange(8) < 4).float().expand(8, 8))
    mask = told[:, channel_slice("mask")]
    beside = (mask == 0).squeeze(1)
    for name in ("normal", "depth", "parts", "carried_latent", "carried_rgb", "seen"):
        assert not told[:, channel_slice(name)].permute(0, 2, 3, 1)[beside].any()
    # Surfaces that a camera sees face it; labels share out the mask; the head is above the feet.
    assert (told[:, channel_slice("normal")][:, 2] <= 1e-6).all()
    labels = told[:, channel_slice("parts")]
    assert torch.allclose(labels.sum(1), mask[:, 0], atol=1e-5)
    rows = torch.arange(8.0)[:, None]
    height = [float((labels[0, PARTS.index(p)] * rows).sum() / labels[0, PARTS.index(p)].sum()) for p in PARTS]
    assert height[0] < height[1] < height[4] < height[5]
    # The distance to what stands nearer than the pelvis is negative.
    assert told[0, channel_slice("depth")].abs().max() < 0.5
    without = both.without_photo()
    assert torch.equal(without.fine[0, :, :5], fine[:, :5]) and not without.fine[0, :, 5:].any()
    bare = without.coarse[0]
    for name in CHANNELS:
        kept = name in ("normal", "depth", "mask", "parts")
        expected = told[:, channel_slice(name)] if kept else torch.zeros_like(told[:, channel_slice(name)])
        assert torch.equal(bare[:, channel_slice(name)], expected)


def test_every_part_has_vertices() -> None:
    body = load_body("neutral")
    parts = vertex_parts(body)
    height = body.template[:, 1]
    means = [float(height[parts == k].mean()) for k in range(len(PARTS))]
    assert means[0] > means[1] > means[4] > means[5]
    assert float(body.template[parts == PARTS.index("hands"), 0].abs().min()) > 0.3


# Training data


def test_views_follow_the_photos_colours(sample: Sample) -> None:
    rgb, alpha = sample.views.rgb, sample.views.alpha
    gain, offset = torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0.05, 0.0, 0.1])
    white = 1 - alpha[..., None]
    truth = (rgb - white) * gain + alpha[..., None] * offset + white
    assert (follow_photo(rgb, alpha, truth[0], alpha[0]) - truth).abs().max() < 0.03
    assert torch.allclose(follow_photo(rgb, alpha, rgb[0], alpha[0]), rgb, atol=2e-3)
    assert torch.equal(follow_photo(rgb, alpha, truth[0], torch.zeros_like(alpha[0])), rgb)
    # A noisy photo with another background says the same.
    noise = 0.05 * torch.randn(truth[0].shape, generator=torch.Generator().manual_seed(0))
    spoilt = torch.where(alpha[0, ..., None] > 0.95, truth[0] + noise, torch.zeros(()))
    assert (follow_photo(rgb, alpha, spoilt, alpha[0]) - truth).abs().mean() < 0.01


def test_hiding_takes_away_and_is_repeatable(sample: Sample) -> None:
    rows = joint_rows(sample)
    assert rows["neck"] < rows["waist"] < rows["knees"]
    alpha = torch.ones(128, 128)
    hidden = [hide(alpha, rows, np.random.default_rng(k)) for k in range(200)]
    assert torch.equal(hidden[7], hide(alpha, rows, np.random.default_rng(7)))
    assert all(((h == 0) | (h == 1)).all() for h in hidden)
    share = np.mean([float((h == 0).any()) for h in hidden])
    assert 0.2 < share < 0.5
    assert any(not h[-1].any() for h in hidden) and any(not h[0].any() for h in hidden)


def test_examples_are_of_the_true_person_and_the_estimated_body(sample: Sample, example: Example) -> None:
    config = CONFIGS["smoke"]()
    bodies = {name: body_model(name) for name in ("neutral", "female", "male", "child")}
    torch.manual_seed(0)
    codec = LatentCodec(8).requires_grad_(False)
    true = lite_example(sample, config, codec, bodies, given=sample.body)
    assert torch.equal(true.latents, example.latents)
    again = lite_example(sample, config, codec, bodies, latents=example.latents)
    assert torch.equal(again.given.coarse, example.given.coarse) and torch.equal(again.latents, example.latents)
    mask = channel_slice("mask")
    assert not torch.equal(true.given.coarse[:, :, mask], example.given.coarse[:, :, mask])
    assert example.pictures.shape == (1, 4, 5, 32, 32)
    assert torch.allclose(
        example.pictures[0, :, 3],
        torch.nn.functional.interpolate(sample.views.alpha[None], size=(32, 32), mode="area")[0],
    )
    assert example.latents.shape == (1, 4, 4, 8, 8)
    assert example.weight.min() >= 0.25 and example.weight.max() > 1
    # The true body lies where the pictures show the person: bare skin and close clothes.
    covered = torch.nn.functional.interpolate(sample.views.alpha[:, None], size=(8, 8), mode="area")
    body = true.given.coarse[0, :, mask]
    assert float((body * (covered == 0)).sum() / body.sum()) < 0.02
    both = join_examples([example, true])
    assert (
        both.latents.shape[0] == both.given.coarse.shape[0] == both.given.fine.shape[0] == both.azimuths.shape[0] == 2
    )


def test_orbit_example_ends_with_the_photos_view(sample: Sample) -> None:
    def encode(rgb: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(rgb, 8).repeat(1, 2, 1, 1)[:, :4]

    taken = orbit_example(sample, 64, encode, TinyEmbedder(), 0.5)
    assert torch.rad2deg(taken.azimuth).tolist() == pytest.approx([90, 180, 270, 0])
    assert float(taken.polar[0]) == pytest.approx(math.radians(90 - float(sample.elevations[1])), abs=1e-5)
    assert taken.latents.shape == (4, 4, 8, 8) and taken.embedding.shape == (1, 16)
    clean = follow_photo(sample.views.rgb, sample.views.alpha, sample.photo_rgb, sample.photo_alpha)
    last = encode(torch.nn.functional.interpolate(clean[:1].permute(0, 3, 1, 2), size=(64, 64), mode="area"))
    assert torch.allclose(taken.latents[-1], last[0] * 0.5, atol=1e-5)


# The small network


def test_lite_has_the_size_that_ships() -> None:
    with torch.device("meta"):
        network = ViewUNet(CONFIGS["lite"]())
    count = sum(p.numel() for p in network.parameters())
    assert 12e6 < count < 16e6
    assert 2 * count < 64 * 2**20


def test_views_look_at_each_other_and_have_no_order(example: Example) -> None:
    network = random_network()
    latents = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([0.1])
    with torch.no_grad():
        out = network(latents, level, example.given, example.azimuths)
        other = latents.clone()
        other[:, 2] += 1
        changed = network(other, level, example.given, example.azimuths)
        order = [2, 0, 3, 1]
        given = Conditions(example.given.coarse[:, order], example.given.fine[:, order])
        swapped = network(latents[:, order], level, given, example.azimuths[:, order])
        elsewhere = network(latents, level, example.given, example.azimuths + 30)
    assert not torch.allclose(changed[:, 0], out[:, 0], atol=1e-4)
    assert torch.allclose(swapped, out[:, order], atol=1e-4)
    assert not torch.allclose(elsewhere, out, atol=1e-4)


def test_people_of_a_batch_do_not_mix_and_checkpointing_changes_nothing(example: Example) -> None:
    network = random_network().train()
    latents = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = join_examples([example, example])
    given, azimuths = batch.given, batch.azimuths
    levels = torch.tensor([0.1, -0.5])
    out = network(latents, levels, given, azimuths)
    alone = network(latents[1:], levels[1:], example.given, azimuths[1:])
    assert torch.allclose(out[1:], alone, atol=1e-4)
    gradients = []
    for checkpointing in (False, True):
        network.checkpointing = checkpointing
        network.zero_grad()
        network(latents, levels, given, azimuths).square().mean().backward()
        gradients.append(network.enter.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6)


def test_one_person_is_learnt(example: Example) -> None:
    torch.manual_seed(0)
    # Random latents of the right variance: nothing but memory can give them.
    target = replace(example, latents=torch.randn(1, 4, 4, 8, 8), weight=torch.ones_like(example.weight))
    network = ViewUNet(CONFIGS["smoke"]())
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    generator, history = torch.Generator().manual_seed(0), []
    batch = join_examples([target] * 8)
    for _ in range(120):
        loss, _ = lite_loss(network, batch, 0.0, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert np.mean(history[-10:]) < 0.35 * history[0]
    noise = torch.randn(target.latents.shape, generator=generator)
    with torch.no_grad():
        made = sample_euler(
            lambda x, s: network.denoise(x, torch.tensor([s]), target.given, target.azimuths),
            noise,
            karras_sigmas(12, 0.02, 80.0),
        )
    assert float((made - target.latents).square().mean()) < 0.3  # noise has 2, the mean of all has 1


def test_imperfect_latents_are_clean_where_there_is_no_noise(example: Example) -> None:
    network, generator = random_network(), torch.Generator().manual_seed(0)
    near = imperfect_latents(network, example, 0.01, generator)
    far = imperfect_latents(network, example, 5.0, generator)
    assert (near - example.latents).abs().mean() < 0.05
    assert (far - example.latents).abs().mean() > (near - example.latents).abs().mean()


def test_painting_begins_with_the_mean_of_what_is_offered_and_is_learnt(example: Example) -> None:
    torch.manual_seed(0)
    painter = Painter(8)
    fine = example.given.fine[0]
    rgb, alpha = torch.rand(4, 3, 64, 64), torch.ones(4, 64, 64)
    with torch.no_grad():
        painted, shade = painter(rgb, alpha, fine)
    mask, seen = fine[:, 4], fine[:, -1:]
    assert torch.equal(painted[:, 3] > 0, mask > 0.5) and (shade == 1).all()
    colours = (0.5 + 0.5 * fine[:, 5:-1].unflatten(1, (len(PALETTE), 3))).unbind(1)
    shown = (seen > 0).expand_as(colours[0])
    assert torch.allclose(painted[:, :3][~shown], torch.stack(colours).mean(0)[~shown], atol=1e-5)
    # What the photo shows hardly mixes with anything.
    assert (painted[:, :3] - colours[0])[shown].abs().max() < 0.1
    before = float(picture_loss(painted[None], example.pictures))
    optimiser = torch.optim.Adam(painter.parameters(), 3e-3)
    for _ in range(80):
        painted, shade = painter(rgb, alpha, fine)
        loss = picture_loss(torch.cat([painted[:, :3] * shade, painted[:, 3:]], 1)[None], example.pictures)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.6 * before
    out = painter.paint(rgb, alpha, fine)
    assert out.shape == (4, 4, 32, 32) and 0 <= out.min() <= out.max() <= 1


def test_painted_colours_are_those_that_the_photo_offers(example: Example) -> None:
    torch.manual_seed(0)
    painter = Painter(8)
    torch.nn.init.normal_(painter.leave.weight[: len(PALETTE)])  # the light stays as it is
    fine = example.given.fine[0].clone()
    fine[:, 5:-1] = fine[:, 5:-1].clamp(-0.5, 0.25)
    out = painter.paint(torch.rand(4, 3, 64, 64), torch.ones(4, 64, 64), fine)[:, :3]
    offered = (0.5 + 0.5 * fine[:, 5:-1]).unflatten(1, (len(PALETTE), 3))
    assert (out >= offered.amin(1) - 1e-5).all() and (out <= offered.amax(1) + 1e-5).all()
    # Chosen rather than mixed: most pixels are close to one of them.
    assert ((out[:, None] - offered).norm(dim=2).amin(1) < 0.02).float().mean() > 0.5


def test_seeds_like_different_colours_and_leave_what_is_seen(example: Example) -> None:
    assert not draw_taste(0).any() and torch.equal(draw_taste(3), draw_taste(3))
    assert (draw_taste(3) - draw_taste(4)).abs().max() > 0.3
    torch.manual_seed(0)
    painter, fine = Painter(8), example.given.fine[0]
    rgb, alpha = torch.rand(4, 3, 64, 64), torch.ones(4, 64, 64)
    first, other = (painter.paint(rgb, alpha, fine, draw_taste(seed)) for seed in (0, 3))
    seen, hidden = (fine[:, -1] == 1), (fine[:, -1] == 0) & (fine[:, 4] == 1)
    change = (first - other)[:, :3].abs().amax(1)
    assert change[seen].max() == 0 and change[hidden].mean() > 0.01
    assert torch.equal(first[:, 3], other[:, 3])


def test_colours_are_freed_from_the_white() -> None:
    colour = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    alpha = torch.full((2, 1, 5, 5), 0.4)
    assert torch.allclose(without_white(colour * alpha + 1 - alpha, alpha), colour, atol=1e-6)
    assert torch.equal(without_white(torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)), torch.ones(1, 3, 2, 2))


def test_the_picture_loss_is_least_at_the_truth_and_blind_to_what_is_not_covered() -> None:
    generator = torch.Generator().manual_seed(0)
    colour = torch.rand(1, 2, 3, 16, 16, generator=generator)
    alpha = (torch.rand(1, 2, 1, 16, 16, generator=generator) > 0.5).float()
    truth = torch.cat([colour * alpha + 1 - alpha, alpha, torch.zeros_like(alpha)], 2)
    right = torch.cat([colour, 40 * (alpha - 0.5)], 2)
    assert float(picture_loss(right, truth)) < 1e-5
    elsewhere = right.clone()
    elsewhere[:, :, :3] += 1 - alpha
    assert torch.equal(picture_loss(elsewhere, truth), picture_loss(right, truth))
    off = right.clone()
    off[:, :, :3] += 0.1
    assert float(picture_loss(off, truth) - picture_loss(right, truth)) == pytest.approx(0.2, rel=1e-3)


# The stage


def decode(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A codec's part of the stage's work: greys."""
    large = torch.nn.functional.interpolate(latents, scale_factor=8).sigmoid()
    return large[:, :3], large[:, 3]


@pytest.fixture
def stage(tmp_path: Path) -> Synthesizer:
    save_weights(random_network().state_dict(), tmp_path / "synthesizer.safetensors")
    save_weights(Painter().state_dict(), tmp_path / "painter.safetensors")
    return Synthesizer(CONFIGS["smoke"](), tmp_path, load_body("neutral"), "cpu")


def test_a_seed_is_a_back_and_another_seed_another(
    stage: Synthesizer, person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras]
) -> None:
    vertices, _, _, cameras = person
    photo = (torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))
    said: list[tuple[float, str]] = []
    first = stage.synthesize(*photo, cameras, vertices, decode, seed=3, step=lambda f, t: said.append((f, t)))
    assert first.latents.shape == (4, 4, 8, 8) and torch.isfinite(first.latents).all()
    assert first.pictures.shape == (4, 4, 32, 32) and 0 <= first.pictures.min() <= first.pictures.max() <= 1
    again = stage.synthesize(*photo, cameras, vertices, decode, seed=3)
    assert torch.equal(first.latents, again.latents) and torch.equal(first.pictures, again.pictures)
    another = stage.synthesize(*photo, cameras, vertices, decode, seed=4)
    assert (another.latents - first.latents).abs().mean() > 0.01
    assert not torch.equal(first.latents, stage.synthesize(*photo, cameras, vertices, decode, seed=3, steps=5).latents)
    fractions = [f for f, _ in said]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert [len(entry["sha256"]) for entry in stage.described] == [64, 64]
    with pytest.raises(ValueError, match="1 to 20"):
        stage.synthesize(*photo, cameras, vertices, decode, steps=21)

    class Stopped(Exception):
        pass

    def stop(fraction: float, text: str) -> None:
        if fraction > 0.4:
            raise Stopped

    with pytest.raises(Stopped):
        stage.synthesize(*photo, cameras, vertices, decode, step=stop)


def test_guidance_without_effect_is_left_out(
    stage: Synthesizer, person: tuple[torch.Tensor, torch.Tensor, BodyLabels, ViewCameras]
) -> None:
    vertices, _, _, cameras = person
    photo = (torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))
    calls = []
    stage.network.register_forward_hook(lambda *_: calls.append(1))
    stage.synthesize(*photo, cameras, vertices, decode)
    assert len(calls) == 3
    plain = stage.synthesize(*photo, cameras, vertices, decode)
    stage.config = replace(stage.config, guidance=(1.0, 3.0))
    calls.clear()
    guided = stage.synthesize(*photo, cameras, vertices, decode)
    assert len(calls) == 6
    assert (guided.latents[2] - plain.latents[2]).abs().mean() > 1e-3


def test_missing_and_damaged_weights_are_told(tmp_path: Path) -> None:
    body, config = load_body("neutral"), CONFIGS["smoke"]()
    with pytest.raises(BackendError) as missing:
        Synthesizer(config, tmp_path, body, "cpu")
    assert missing.value.kind == "weights_missing"
    (tmp_path / "synthesizer.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(BackendError) as damaged:
        Synthesizer(config, tmp_path, body, "cpu")
    assert damaged.value.kind == "weights_damaged"
    save_weights(LatentCodec(8).state_dict(), tmp_path / "synthesizer.safetensors")
    with pytest.raises(BackendError, match="another version"):
        Synthesizer(config, tmp_path, body, "cpu")


# SV3D


def published_blocks() -> dict[str, tuple[int, int]]:
    """Residual blocks and their channels in and out, as DiffSynth-Studio (diffsynth/models/svd_unet.py) lists them."""
    out = {}
    down = [(320, 320), (320, 320), (320, 640), (640, 640), (640, 1280), (1280, 1280), (1280, 1280), (1280, 1280)]
    for k, channels in enumerate(down):
        out[f"down_blocks.{k // 2}.resnets.{k % 2}"] = channels
    up = [
        (2560, 1280), (2560, 1280), (2560, 1280), (2560, 1280), (2560, 1280), (1920, 1280),
        (1920, 640), (1280, 640), (960, 640), (960, 320), (640, 320), (640, 320),
    ]  # fmt: skip
    for k, channels in enumerate(up):
        out[f"up_blocks.{k // 3}.resnets.{k % 3}"] = channels
    return out | {f"mid_block.resnets.{k}": (1280, 1280) for k in range(2)}


def test_sv3d_has_the_published_names_and_shapes() -> None:
    shapes = layout.expected_shapes()
    for name, (enter, leave) in published_blocks().items():
        assert shapes[f"{name}.spatial_res_block.conv1.weight"] == (leave, enter, 3, 3)
        assert shapes[f"{name}.spatial_res_block.time_emb_proj.weight"] == (leave, 1280)
        assert shapes[f"{name}.temporal_res_block.conv1.weight"] == (leave, leave, 3, 1, 1)
        assert shapes[f"{name}.time_mixer.mix_factor"] == (1,)
        assert (f"{name}.spatial_res_block.conv_shortcut.weight" in shapes) == (enter != leave)
    found = {name.rsplit(".spatial_res_block", 1)[0] for name in shapes if "spatial_res_block" in name}
    assert found == set(published_blocks())
    attends = {name.split(".norm.weight")[0] for name in shapes if name.endswith(".norm.weight")}
    assert attends == {
        *(f"down_blocks.{b}.attentions.{k}" for b in range(3) for k in range(2)),
        *(f"up_blocks.{b}.attentions.{k}" for b in range(1, 4) for k in range(3)),
        "mid_block.attentions.0",
    }
    assert shapes["conv_in.weight"] == (320, 8, 3, 3) and shapes["conv_out.weight"] == (4, 320, 3, 3)
    assert shapes["add_embedding.linear_1.weight"] == (1280, 1280)  # adm_in_channels of sv3d_p.yaml
    key = "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn2.to_k.weight"
    assert shapes[key] == (320, 1024)  # context_dim of sv3d_p.yaml
    # Stable Video Diffusion with a wider camera embedding and nothing else.
    assert sum(math.prod(shape) for shape in shapes.values()) == 1_525_278_442
    assert len(shapes) == 1428


def test_original_names_agree_with_published_ones() -> None:
    """Names from DiffSynth-Studio's table of Stability AI's checkpoint and from common tables of Stable Diffusion's."""
    pairs = {
        "conv_in.weight": "input_blocks.0.0.weight",
        "conv_norm_out.bias": "out.0.bias",
        "conv_out.weight": "out.2.weight",
        "time_embedding.linear_2.bias": "time_embed.2.bias",
        "add_embedding.linear_1.weight": "label_emb.0.0.weight",
        "down_blocks.0.resnets.0.temporal_res_block.conv1.weight": "input_blocks.1.0.time_stack.in_layers.2.weight",
        "down_blocks.0.resnets.0.temporal_res_block.conv2.bias": "input_blocks.1.0.time_stack.out_layers.3.bias",
        "down_blocks.0.attentions.0.norm.bias": "input_blocks.1.1.norm.bias",
        "down_blocks.0.attentions.0.temporal_transformer_blocks.0.ff_in.net.0.proj.weight": (
            "input_blocks.1.1.time_stack.0.ff_in.net.0.proj.weight"
        ),
        "down_blocks.1.downsamplers.0.conv.weight": "input_blocks.6.0.op.weight",
        "down_blocks.3.resnets.1.spatial_res_block.conv2.weight": "input_blocks.11.0.out_layers.3.weight",
        "mid_block.attentions.0.time_pos_embed.linear_2.weight": "middle_block.1.time_pos_embed.2.weight",
        "mid_block.attentions.0.time_mixer.mix_factor": "middle_block.1.time_mixer.mix_factor",
        "mid_block.resnets.1.spatial_res_block.norm1.weight": "middle_block.2.in_layers.0.weight",
        "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.1.conv.weight",
        "up_blocks.1.upsamplers.0.conv.weight": "output_blocks.5.2.conv.weight",
        "up_blocks.1.resnets.0.spatial_res_block.conv_shortcut.weight": "output_blocks.3.0.skip_connection.weight",
    }
    for ours, theirs in pairs.items():
        assert layout.original_name(ours) == theirs
        assert ours in layout.expected_shapes()
    names = {layout.original_name(name) for name in layout.expected_shapes()}
    assert len(names) == len(layout.expected_shapes())


def write_header(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of the right length that is all hole: only its header is read."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def test_checkpoints_are_checked_before_they_are_read(tmp_path: Path) -> None:
    path, shapes = tmp_path / "diffusion_pytorch_model.safetensors", layout.expected_shapes()
    with pytest.raises(BackendError) as error:
        layout.check_folder(tmp_path)
    assert error.value.kind == "weights_missing"
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BackendError) as error:
        layout.check_folder(tmp_path)
    assert error.value.kind == "weights_unsafe"
    path.write_bytes(b"no header")
    with pytest.raises(BackendError) as error:
        layout.check_folder(tmp_path)
    assert error.value.kind == "weights_damaged"
    write_header(path, shapes)
    layout.check_folder(tmp_path)
    wrong = {k: v for k, v in shapes.items() if k != "conv_in.bias"} | {"extra": (3,), "conv_in.weight": (320, 4, 3, 3)}
    write_header(path, wrong)
    with pytest.raises(BackendError, match=r"1 tensors are missing \(such as conv_in.bias\)") as error:
        layout.check_folder(tmp_path)
    assert "such as extra" in error.value.message and "(320, 4, 3, 3) instead of (320, 8, 3, 3)" in error.value.message
    with pytest.raises(BackendError, match="knows no cameras"):
        layout.check_shapes(shapes | {"add_embedding.linear_1.weight": (1280, 768)}, "it")
    with pytest.raises(BackendError, match=r"layout sv3d_p\.safetensors"):
        layout.check_shapes({"model.diffusion_model.out.2.bias": (4,)}, "it")


def test_the_original_checkpoint_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {"conv_out.bias": (4,), "down_blocks.0.downsamplers.0.conv.bias": (320,)}
    monkeypatch.setattr(layout, "expected_shapes", lambda: some)
    values = {layout.ORIGINAL_PREFIX + layout.original_name(n): torch.randn(s) for n, s in some.items()}
    save_file(values | {"first_stage_model.encoder.x": torch.zeros(1)}, str(tmp_path / "sv3d_p.safetensors"))
    assert "input_blocks.3.0.op.bias" in next(k for k in values if "op" in k)
    written = layout.convert_original(tmp_path / "sv3d_p.safetensors", tmp_path / "out")
    assert layout.read_shapes(written) == some
    assert json.loads((written.parent / "config.json").read_text())["projection_class_embeddings_input_dim"] == 1280
    layout.check_folder(written.parent)
    save_file({"x": torch.zeros(1)}, str(tmp_path / "bad.safetensors"))
    with pytest.raises(BackendError, match="2 tensors are missing"):
        layout.convert_original(tmp_path / "bad.safetensors", tmp_path / "out")


def test_memory_modes_follow_the_card() -> None:
    names = {gigabytes: choose_mode(gigabytes * GIGABYTE).name for gigabytes in (7, 11, 15, 23, 80)}
    assert names == {7: "8 GB", 11: "12 GB", 15: "16 GB", 23: "24 GB", 80: "24 GB"}
    assert choose_mode(7 * GIGABYTE).offload == "layers" and choose_mode(11 * GIGABYTE).offload == "parts"
    assert choose_mode(23 * GIGABYTE).dtype == torch.float16
    assert choose_mode(23 * GIGABYTE, bf16=True).dtype == torch.bfloat16
    assert choose_mode(None).dtype == torch.float32
    assert all(choose_mode(g * GIGABYTE).sentence.endswith(".") for g in (7, 11, 15, 23))
    with pytest.raises(BackendError) as error:
        choose_mode(4 * GIGABYTE)
    assert error.value.kind == "memory_short"


def test_orbit_goes_round_and_hits_the_views() -> None:
    even = full.orbit_azimuths(21)
    assert even[0] == pytest.approx(360 / 21) and even[-1] == 360 and len(even) == 21
    through = full.orbit_azimuths(21, (0.0, 90.0, 180.0, 270.0))
    steps = np.diff([0.0, *through])
    assert {90.0, 180.0, 270.0, 360.0} <= set(np.round(through, 6))
    assert steps.min() > 14 and steps.max() < 19
    assert full.orbit_azimuths(24, (0.0, 90.0, 180.0, 270.0)) == pytest.approx(full.orbit_azimuths(24))
    assert full.orbit_azimuths(2, (90.0, 180.0, 270.0)) == [180.0, 360.0]


def test_unet_is_the_stock_one_but_for_the_cameras() -> None:
    torch.manual_seed(0)
    ours, stock = full.SV3DUNet(**TINY_UNET).eval(), UNetSpatioTemporalConditionModel(**TINY_UNET).eval()
    stock.load_state_dict(ours.state_dict())
    given, photo, level = torch.randn(1, 3, 8, 8, 8), torch.randn(1, 1, 16), torch.tensor(0.3)
    cameras = torch.tensor([[[0.0, 1.5, 0.0], [0.0, 1.5, 2.0], [0.0, 1.5, 4.0]]])
    with torch.no_grad():
        out = ours(given, level, photo, cameras)
        turned = ours(given, level, photo, cameras + torch.tensor([0.0, 0.0, 1.0]))
        assert not torch.allclose(out, turned, atol=1e-5)
        for network in (ours, stock):
            network.add_embedding.linear_2.weight.zero_()
            network.add_embedding.linear_2.bias.zero_()
        blind = ours(given, level, photo, cameras)
        same = stock(given, level, photo, torch.zeros(1, 5)).sample
    assert torch.allclose(blind, same, atol=1e-5)


def test_sv3d_takes_pictures_of_576_pixels() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes alone: no memory, no work
        unet = full.SV3DUNet(**layout.SV3D_UNET)
        given, cameras = torch.empty(1, 21, 8, 72, 72), torch.empty(1, 21, 3)
        out = unet(given, torch.zeros(()), torch.empty(1, 1, 1024), cameras)
    assert out.shape == (1, 21, 4, 72, 72)


CONFIG = FullConfig(picture=64, frames=5, steps=2)


def tiny(mode: str = "processor", **changes: object) -> full.FullSynthesizer:
    torch.manual_seed(0)
    chosen = {"processor": choose_mode(None), "12": choose_mode(11 * GIGABYTE), "8": choose_mode(7 * GIGABYTE)}[mode]
    return tiny_full(replace(CONFIG, **changes), mode=replace(chosen, dtype=torch.float32))


def test_tiny_sv3d_runs_from_photo_to_pictures() -> None:
    photo = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    synthesizer, said = tiny(), []
    latents, azimuths = synthesizer.orbit(photo, seed=1, step=lambda f, t: said.append(f))
    assert latents.shape == (5, 4, 8, 8) and torch.isfinite(latents).all() and azimuths[-1] == 360
    assert said == sorted(said) and said[-1] == 1
    assert torch.equal(latents, synthesizer.orbit(photo, seed=1)[0])
    assert not torch.allclose(latents, synthesizer.orbit(photo, seed=2)[0], atol=1e-3)
    views = synthesizer.synthesize(None, photo, seed=1)
    assert views.shape == (4, 4, 8, 8)
    scaling = synthesizer.vae.config.scaling_factor
    assert scaling == 0.18215
    assert torch.allclose(views[0], synthesizer.encode(photo)[0] * scaling)
    assert torch.equal(views[2], latents[azimuths.index(180.0)])
    assert synthesizer.decode(views).shape == (4, 3, 64, 64)


def test_economies_change_nothing_but_the_memory() -> None:
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    plain = tiny().orbit(photo)[0]
    together = tiny()
    together.mode = replace(together.mode, split_guidance=False)
    assert torch.allclose(together.orbit(photo)[0], plain, atol=2e-3, rtol=1e-3)
    for mode in ("12", "8"):
        assert torch.allclose(tiny(mode).orbit(photo)[0], plain, atol=2e-3, rtol=1e-3)
    assert not torch.allclose(tiny(guidance=(1.0, 1.0)).orbit(photo)[0], plain, atol=1e-3)


def test_full_loads_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesizer = tiny()
    with pytest.raises(BackendError, match="no folder") as error:
        full.load_full(tmp_path / "nowhere" / "at" / "all")
    assert error.value.kind == "weights_missing"
    with pytest.raises(BackendError, match="cannot be loaded from nobody/nothing") as error:
        full.load_full("nobody/nothing")  # a hub id is not fetched without consent
    assert error.value.kind == "weights_missing"
    synthesizer.unet.save_pretrained(tmp_path / "unet")
    synthesizer.vae.save_pretrained(tmp_path / "vae")
    synthesizer.scheduler.save_pretrained(tmp_path / "scheduler")
    with pytest.raises(BackendError, match="no folder image_encoder"):
        full.load_full(tmp_path)
    for part in ("image_encoder", "feature_extractor"):
        (tmp_path / part).mkdir()
    with pytest.raises(BackendError) as error:
        full.load_full(tmp_path)
    assert error.value.kind == "weights_mismatch"
    monkeypatch.setattr(full, "check_folder", lambda folder: None)
    monkeypatch.setattr(full, "_load_clip", lambda source, dtype, options: synthesizer.embed)
    loaded = full.load_full(tmp_path, CONFIG)
    assert type(loaded.vae) is type(tiny_vae())
    photo = torch.rand(1, 3, 64, 64)
    assert torch.allclose(loaded.orbit(photo)[0], synthesizer.orbit(photo)[0], atol=2e-3, rtol=1e-3)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BackendError, match="cannot be loaded"):
        full.load_full(tmp_path, CONFIG)


def test_clip_is_asked_for_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackendError) as error:
        full._load_clip("a/b", torch.float32, {})
    assert error.value.kind == "package_missing"

    class Encoder(torch.nn.Linear):
        def forward(self, pixels: torch.Tensor) -> object:
            assert pixels.shape == (1, 3, 224, 224)
            return type("Answer", (), {"image_embeds": super().forward(pixels.mean((2, 3)))})

    embedder = full.ClipEmbedder(Encoder(3, 1024), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert torch.allclose(
        embedder(torch.full((1, 3, 50, 50), 0.75))[:, 0], embedder.encoder.bias + embedder.encoder.weight.sum(1),
        atol=1e-3,
    )  # fmt: skip


# Training


def smoke(folder: Path, config: str) -> list[dict[str, float]]:
    """Two sittings; the log."""
    script = str(ROOT / "scripts/train_synthesizer.py")
    command = [sys.executable, script, "--config", config, "--smoke", "--threads", "1", "--out", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-800:]
    for name in ("weights.safetensors", "state.pt", "log.jsonl", "sample.png"):
        assert (folder / name).stat().st_size > 0
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_smoke_training_of_lite_stops_and_goes_on(tmp_path: Path) -> None:
    first = smoke(tmp_path, "lite")
    assert first[-1]["step"] == 4 and "held_out_psnr" in first[-1]
    again = smoke(tmp_path, "lite")
    assert len(again) > len(first) and again[-1]["step"] == 4
    (tmp_path / "weights.safetensors").rename(tmp_path / "synthesizer.safetensors")
    save_weights(Painter().state_dict(), tmp_path / "painter.safetensors")
    Synthesizer(CONFIGS["smoke"](), tmp_path, load_body("neutral"), "cpu")


def test_smoke_training_of_the_painter_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts/train_painter.py"),
        "--smoke",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-800:]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4 and 0 < log[-1]["held_out_iou"] < 1
    read_network(Painter(8), tmp_path / "weights.safetensors")


def test_smoke_training_of_full(tmp_path: Path) -> None:
    assert smoke(tmp_path, "full")[-1]["step"] == 4
    unet = full.SV3DUNet.from_pretrained(str(tmp_path / "unet"), use_safetensors=True)
    assert unet.config.projection_class_embeddings_input_dim == TINY_UNET["projection_class_embeddings_input_dim"]


def test_training_says_what_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("train_synthesizer", ROOT / "scripts/train_synthesizer.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for extra, said in (
        (["lite"], "--codec"),
        (["full"], "--weights"),
        (["full", "--people-folder", "people"], "four views"),
        (["lite", "--scans", "scans"], "--scan-bodies"),
    ):
        monkeypatch.setattr(sys, "argv", ["train_synthesizer.py", "--out", str(tmp_path), "--config", *extra])
        with pytest.raises(SystemExit):
            script.main()
        assert said in capsys.readouterr().err
    missing = ["train_synthesizer.py", "--out", str(tmp_path), "--codec", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", missing)
    assert script.main() == 1
    assert "not installed" in capsys.readouterr().err
