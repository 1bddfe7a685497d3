"""The rasteriser against closed forms, the slow reference, and finite differences."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from synthetic import make_avatar

torch = pytest.importorskip("torch")

from backend.avatar import from_rgb, pose_gaussians  # noqa: E402
from backend.rendering import (  # noqa: E402
    CameraTensors,
    GaussianTensors,
    gsplat_backend,
    rasterizer,
    reference,
    render,
    render_gaussians,
)

DOUBLE = torch.float64
NAMES = ("position", "rotation", "scale", "opacity", "color")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny pictures: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_camera(width: int = 48, height: int = 40, dtype: torch.dtype = DOUBLE) -> CameraTensors:
    """A turned and shifted camera with unequal focal lengths and an off-centre principal point."""
    turn = reference.rotation_matrix(torch.tensor([0.97, 0.1, -0.15, 0.12], dtype=dtype))
    world_to_camera = torch.eye(4, dtype=dtype)
    world_to_camera[:3, :3] = turn
    world_to_camera[:3, 3] = torch.tensor([0.1, -0.2, 3.0], dtype=dtype)
    intrinsics = torch.tensor([40.0, 44.0, 0.45 * width, 0.55 * height], dtype=dtype)
    return CameraTensors(world_to_camera, intrinsics, width, height)


def plain_camera(size: int, focal: float, dtype: torch.dtype = DOUBLE) -> CameraTensors:
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2], dtype=dtype)
    return CameraTensors(torch.eye(4, dtype=dtype), intrinsics, size, size)


def make_splats(kind: str, count: int = 60, seed: int = 0) -> GaussianTensors:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=DOUBLE)

    position = 0.6 * normal(count, 3)
    scale = torch.exp(0.5 * normal(count, 3) - 2.5)
    opacity = torch.rand(count, generator=random, dtype=DOUBLE)
    if kind == "behind":
        position[:, 2] *= 6
    elif kind == "off screen":
        position[:, :2] *= 8
    elif kind == "huge":
        scale = torch.exp(0.3 * normal(count, 3) + 0.5)
        opacity = 0.3 * opacity
    elif kind == "needle":
        scale[:, 0] = 1.5
        scale[:, 1:] = 1e-4
    elif kind == "flat":
        scale[:, 2] = 0
    elif kind == "tiny":
        scale = scale * 1e-3
    elif kind == "overlapping":
        position = 0.02 * normal(count, 3)
        opacity = 0.5 + 0.5 * opacity
    elif kind == "opaque":
        position[:, 2] = torch.linspace(-1, 1, count, dtype=DOUBLE)
        scale = scale * 4
        opacity = torch.ones_like(opacity)
    elif kind == "same depth":
        position[:, 2] = 0
        position = position @ make_camera().world_to_camera[:3, :3]
    color = torch.rand(count, 3, generator=random, dtype=DOUBLE)
    return GaussianTensors(position, 3 * normal(count, 4), scale, opacity, color)


KINDS = ("plain", "behind", "off screen", "huge", "needle", "flat", "tiny", "overlapping", "opaque", "same depth")


@pytest.mark.parametrize("batch", [300, 1_000_000])
@pytest.mark.parametrize("kind", KINDS)
def test_fast_equals_reference(kind: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasterizer, "PAIRS_PER_BATCH", batch)
    camera = make_camera()
    for seed in range(3):
        splats = make_splats(kind, seed=seed)
        with torch.no_grad():
            found = render(splats, camera, backend="torch")
            expected = render(splats, camera, backend="reference")
        assert expected.alpha.max() > 0.05
        # Finished pixels may lack up to OPAQUE of what lies behind them.
        for name in ("rgb", "alpha", "depth"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-4, rtol=0)
        shallow = expected.alpha < 1 - 2 * rasterizer.OPAQUE
        torch.testing.assert_close(found.rgb[shallow], expected.rgb[shallow], atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_equals_double_reference(kind: str) -> None:
    splats = make_splats(kind, seed=7)
    single = GaussianTensors(*(getattr(splats, name).float() for name in NAMES))
    with torch.no_grad():
        found = render(single, make_camera(dtype=torch.float32), backend="torch")
        expected = render(splats, make_camera(), backend="reference")
    assert found.rgb.dtype == torch.float32
    difference = (found.rgb.double() - expected.rgb).abs().amax(2)
    # A pair within rounding of 1/255 may fall on either side of the threshold: a step of that size, in a pixel or two.
    assert (difference > 1e-4).sum() <= 2
    assert difference.max() < 5e-3


def test_one_round_splat_is_the_closed_form() -> None:
    focal, z, sigma, opacity = 50.0, 2.0, 0.08, 0.9
    splats = GaussianTensors(
        position=torch.tensor([[0.1, -0.05, z]], dtype=DOUBLE),
        rotation=torch.tensor([[1.0, 0, 0, 0]], dtype=DOUBLE),
        scale=torch.full((1, 3), sigma, dtype=DOUBLE),
        opacity=torch.tensor([opacity], dtype=DOUBLE),
        color=torch.tensor([[0.2, 0.5, 1.0]], dtype=DOUBLE),
    )
    output = render(splats, plain_camera(32, focal), backend="torch")
    x, y = focal * 0.1 / z + 16, focal * -0.05 / z + 16
    columns, rows = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    # The linearised projection of a sphere: variance f^2 s^2 / z^2 (I + (u, v)(u, v)^T), u = x/z, v = y/z.
    tilt = np.array([0.1, -0.05]) / z
    covariance = (focal * sigma / z) ** 2 * (np.eye(2) + np.outer(tilt, tilt)) + 0.3 * np.eye(2)
    offset = np.stack([columns - x, rows - y], -1)
    alpha = opacity * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covariance), offset))
    alpha[alpha < 1 / 255] = 0
    np.testing.assert_allclose(output.alpha.numpy(), alpha, atol=1e-12)
    np.testing.assert_allclose(output.rgb.numpy(), alpha[:, :, None] * [0.2, 0.5, 1.0], atol=1e-12)
    np.testing.assert_allclose(output.depth.numpy(), np.where(alpha > 0, z, 0), atol=1e-12)


def test_one_turned_splat_is_the_closed_form() -> None:
    focal, z, angle, sigmas = 60.0, 1.5, 0.6, np.array([0.12, 0.03, 0.05])
    splats = GaussianTensors(
        position=torch.tensor([[0.0, 0.0, z]], dtype=DOUBLE),
        rotation=torch.tensor([[np.cos(angle / 2), 0, 0, np.sin(angle / 2)]], dtype=DOUBLE),
        scale=torch.tensor(sigmas[None], dtype=DOUBLE),
        opacity=torch.ones(1, dtype=DOUBLE),
        color=torch.ones(1, 3, dtype=DOUBLE),
    )
    alpha = render(splats, plain_camera(40, focal), backend="torch").alpha.numpy()
    columns, rows = np.meshgrid(np.arange(40) - 19.5, np.arange(40) - 19.5)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    across = -np.sin(angle) * columns + np.cos(angle) * rows
    variance = (focal * sigmas[:2] / z) ** 2 + 0.3
    expected = np.minimum(np.exp(-0.5 * (along**2 / variance[0] + across**2 / variance[1])), 0.99)
    expected[expected < 1 / 255] = 0
    np.testing.assert_allclose(alpha, expected, atol=1e-12)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_nearer_splat_covers_the_farther_whatever_their_order(order: list[int]) -> None:
    depths, opacities = torch.tensor([1.0, 2.0], dtype=DOUBLE), torch.tensor([0.6, 0.5], dtype=DOUBLE)
    splats = GaussianTensors(
        position=torch.tensor([[0, 0, 1.0], [0, 0, 2.0]], dtype=DOUBLE)[order],
        rotation=torch.tensor([[1.0, 0, 0, 0]], dtype=DOUBLE).expand(2, 4),
        scale=torch.full((2, 3), 0.05, dtype=DOUBLE),
        opacity=opacities[order],
        color=torch.eye(3, dtype=DOUBLE)[:2][order],
    )
    output = render(splats, plain_camera(9, 60.0), background=(0.0, 0.0, 1.0), backend="torch")
    # The middle pixel's centre is the splats' centre.
    np.testing.assert_allclose(output.rgb[4, 4], [0.6, 0.4 * 0.5, 0.4 * 0.5], atol=1e-12)
    np.testing.assert_allclose(output.alpha[4, 4], 0.8, atol=1e-12)
    np.testing.assert_allclose(output.depth[4, 4], (0.6 * depths[0] + 0.2 * depths[1]) / 0.8, atol=1e-12)


def _loss(splats: GaussianTensors, camera: CameraTensors, backend: str) -> torch.Tensor:
    output = render(splats, camera, background=(0.3, 0.6, 0.1), backend=backend)
    random = torch.Generator().manual_seed(3)
    weights = torch.randn(camera.height, camera.width, 5, generator=random, dtype=DOUBLE)
    pictures = torch.cat([output.rgb, output.alpha[..., None], output.depth[..., None]], dim=2)
    return (weights * pictures).sum()


@pytest.mark.parametrize("batch", [200, 1_000_000])
@pytest.mark.parametrize("kind", ["plain", "needle", "huge", "off screen", "opaque", "overlapping"])
def test_gradients_equal_those_of_the_reference(kind: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasterizer, "PAIRS_PER_BATCH", batch)
    monkeypatch.setattr(rasterizer, "OPAQUE", 1e-12)
    splats, camera = make_splats(kind, 40, seed=11), make_camera(32, 24)
    inputs = [getattr(splats, name).requires_grad_() for name in NAMES]
    inputs += [camera.world_to_camera.requires_grad_(), camera.intrinsics.requires_grad_()]
    found = torch.autograd.grad(_loss(splats, camera, "torch"), inputs)
    expected = torch.autograd.grad(_loss(splats, camera, "reference"), inputs)
    for name, ours, theirs in zip((*NAMES, "world_to_camera", "intrinsics"), found, expected):
        assert theirs.abs().max() > 0, name
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8 * theirs.abs().max().item(), msg=name)


def test_gradients_equal_finite_differences() -> None:
    splats, camera = make_splats("plain", 4, seed=2), make_camera(9, 8)
    inputs = [getattr(splats, name).detach().requires_grad_() for name in NAMES]

    def pictures(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = render(GaussianTensors(*tensors), camera, backend="torch")
        return output.rgb, output.alpha, output.depth

    assert torch.autograd.gradcheck(pictures, inputs, eps=1e-7, atol=1e-5, rtol=1e-4)


def test_early_end_changes_gradients_little() -> None:
    splats, camera = make_splats("opaque", 60, seed=1), make_camera(32, 24)
    inputs = [getattr(splats, name).requires_grad_() for name in NAMES]
    found = torch.autograd.grad(_loss(splats, camera, "torch"), inputs)
    expected = torch.autograd.grad(_loss(splats, camera, "reference"), inputs)
    for ours, theirs in zip(found, expected):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


@pytest.mark.parametrize("kind", ["none", "all behind", "all transparent"])
def test_nothing_to_see(kind: str) -> None:
    splats = make_splats("plain", 0 if kind == "none" else 5)
    if kind == "all behind":
        splats.position[:, 2] -= 50
    if kind == "all transparent":
        splats.opacity.fill_(1 / 256)
    inputs = [getattr(splats, name).requires_grad_() for name in NAMES]
    output = render(splats, make_camera(6, 5), background=(0.1, 0.2, 0.3), backend="torch")
    assert output.rgb.shape == (5, 6, 3) and not output.alpha.any() and not output.depth.any()
    torch.testing.assert_close(output.rgb, torch.tensor([0.1, 0.2, 0.3], dtype=DOUBLE).expand(5, 6, 3))
    gradients = torch.autograd.grad(output.rgb.sum() + output.depth.sum(), inputs, allow_unused=True)
    assert all(g is None or not g.any() for g in gradients)


def test_opacity_zero_has_finite_gradients() -> None:
    splats = make_splats("plain", 10)
    splats.opacity[::2] = 0
    inputs = [getattr(splats, name).requires_grad_() for name in NAMES]
    output = render(splats, make_camera(), backend="torch")
    assert all(g.isfinite().all() for g in torch.autograd.grad(output.rgb.sum() + output.depth.sum(), inputs))


def test_any_number_of_channels() -> None:
    splats, camera = make_splats("plain"), make_camera()
    labels = torch.rand(len(splats), 7, dtype=DOUBLE)
    labels[:, 2:5] = splats.color
    many = GaussianTensors(splats.position, splats.rotation, splats.scale, splats.opacity, labels)
    found = render(many, camera, background=torch.zeros(7), backend="torch").rgb
    assert found.shape == (40, 48, 7)
    torch.testing.assert_close(found[..., 2:5], render(splats, camera, backend="torch").rgb)


def test_avatar_stands_upright_with_its_left_on_the_right() -> None:
    avatar = make_avatar(4000, seed=3)
    posed = pose_gaussians(avatar, np.zeros((24, 3)))
    rgb = np.stack([posed.position[:, 0] > 0.3, posed.position[:, 1] > 1.45, posed.position[:, 1] < 0.2], 1)
    painted = from_rgb(posed.position, posed.rotation, posed.scale, posed.opacity, rgb.astype(np.float32))
    with torch.no_grad():
        output = render(GaussianTensors.from_gaussians(painted), CameraTensors.from_camera(avatar.camera))
    rows, columns = (grid.numpy() for grid in torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    left, head, feet = output.rgb.numpy().transpose(2, 0, 1)
    assert np.average(columns, weights=left) > 150
    assert np.average(rows, weights=head) < 80
    assert np.average(rows, weights=feet) > 180
    # The camera is 3 m from the body's middle.
    assert output.depth[output.alpha > 0.5].mean() == pytest.approx(3, abs=0.1)


def test_numpy_pictures_equal_tensor_pictures() -> None:
    splats, camera = make_splats("plain"), make_camera(40, 40)
    arrays = {name: getattr(splats, name).numpy() for name in NAMES}
    arrays["rgb"] = arrays.pop("color")
    found = render_gaussians(**arrays, focal=30.0, size=(20, 40), world_to_camera=camera.world_to_camera.numpy())
    assert found.shape == (20, 40, 4) and found.dtype == np.float32
    same = CameraTensors(camera.world_to_camera, torch.tensor([30.0, 30.0, 20.0, 10.0], dtype=DOUBLE), 40, 20)
    expected = render(splats, same, backend="reference")
    np.testing.assert_allclose(found[..., :3], expected.rgb, atol=1e-4)
    np.testing.assert_allclose(found[..., 3], expected.alpha, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: GaussianTensors(s.position[:, :2], s.rotation, s.scale, s.opacity, s.color),
        lambda s: GaussianTensors(s.position, s.rotation[:-1], s.scale, s.opacity, s.color),
        lambda s: GaussianTensors(s.position, s.rotation, s.scale, s.opacity[:, None], s.color),
        lambda s: GaussianTensors(s.position, s.rotation, s.scale, s.opacity, s.color[0]),
        lambda s: render(s, make_camera(), backend="other"),
        lambda s: render(s, make_camera(), backend="gsplat"),
        lambda s: CameraTensors(torch.eye(3), torch.ones(4), 4, 4),
        lambda s: CameraTensors(torch.eye(4), torch.ones(4), 0, 4),
    ],
)
def test_wrong_arguments_are_refused(change: Callable[[GaussianTensors], Any]) -> None:
    with pytest.raises(ValueError):
        change(make_splats("plain"))


def test_gsplat_is_called_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with gsplat's documented signature and outputs; the real one runs on CUDA alone."""
    splats, camera = make_splats("plain"), make_camera()

    def rasterization(
        means: torch.Tensor,
        quats: torch.Tensor,
        scales: torch.Tensor,
        opacities: torch.Tensor,
        colors: torch.Tensor,
        viewmats: torch.Tensor,
        Ks: torch.Tensor,
        width: int,
        height: int,
        near_plane: float = 0.01,
        eps2d: float = 0.3,
        render_mode: str = "RGB",
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        assert viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3) and eps2d == 0.3 and render_mode == "RGB+ED"
        torch.testing.assert_close(Ks[0, 2], torch.tensor([0, 0, 1], dtype=DOUBLE))
        intrinsics = torch.stack([Ks[0, 0, 0], Ks[0, 1, 1], Ks[0, 0, 2], Ks[0, 1, 2]])
        output = reference.render(
            GaussianTensors(means, quats, scales, opacities, colors),
            CameraTensors(viewmats[0], intrinsics, width, height),
        )
        return torch.cat([output.rgb, output.depth[..., None]], 2)[None], output.alpha[None, ..., None], {}

    module = types.ModuleType("gsplat")
    module.rasterization = rasterization
    monkeypatch.setitem(sys.modules, "gsplat", module)
    with torch.no_grad():
        found = gsplat_backend.render(splats, camera)
        expected = render(splats, camera, backend="torch")
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-4, rtol=0)
