"""MV-Adapter: attention, noise levels, cameras and maps against closed forms; names and shapes; the miniature's views.

How its answers compare with the published code's is in docs/models.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from test_surface import tube

from backend.body.fit import BodyFit
from backend.errors import BackendError, Cancelled
from backend.photo import PreparedPhoto
from backend.views.adapter import I2MV, IG2MV, VARIANTS, AdapterConfig, ViewAngle
from backend.views.adapter import load as loading
from backend.views.adapter.attention import attend_rows, attend_rows_and_columns
from backend.views.adapter.conditions import mesh_conditions, ray_conditions, view_camera
from backend.views.adapter.layout import (
    SDXL_UNET,
    adapter_shapes,
    base_shapes,
    check_adapter,
    check_base,
    empty_networks,
    weight_files,
)
from backend.views.adapter.schedule import shifted_betas
from backend.views.adapter.source import AdapterSource
from backend.views.adapter.tiny import SDXL_SCHEDULE, TINY_CONFIG, TINY_UNET, tiny_adapter, write_tiny
from backend.views.backdrop import matte_over, picture_over
from backend.views.source import SideView, Subject
from backend.views.synthesize.memory import GIGABYTE, MemoryMode, choose_mode, smaller_mode

SIZE = 96
CENTRE = np.array([0.1, -0.2, 3.0])


# Attention


def softmax_mean(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of one query [D] to keys and values [n, D]."""
    return torch.softmax(keys @ query / math.sqrt(len(query)), 0) @ values


def test_views_attend_along_rows_and_columns() -> None:
    """Pixel by pixel; the front is mirrored before its columns meet those of the back, the top and the bottom."""
    views, side = 6, 3
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, views, side, side, 2, 4, generator=generator)
    rows, both = attend_rows(query, key, value), attend_rows_and_columns(query, key, value)
    for person, view, y, x, head in np.ndindex(2, views, side, side, 2):
        asked = query[person, view, y, x, head]
        everywhere = [(v, y, k) for v in range(views) for k in range(side)]
        around = [(v, y, k) for v in range(4) for k in range(side)]
        column = side - 1 - x if view == 0 else x
        plane = [(v, k, side - 1 - column if v == 0 else column) for v in (0, 2, 4, 5) for k in range(side)]

        def attend(places: list[tuple[int, int, int]], person: int = person, head: int = head) -> torch.Tensor:
            index = (person, *(torch.tensor(at) for at in zip(*places)), head)
            return softmax_mean(asked, key[index], value[index])  # noqa: B023 (called at once)

        assert torch.allclose(rows[person, view, y, x, head], attend(everywhere), atol=1e-5)
        parts = [attend(around)] if view < 4 else []
        parts += [attend(plane)] if view in (0, 2, 4, 5) else []
        assert torch.allclose(both[person, view, y, x, head], sum(parts) / len(parts), atol=1e-5)


def test_a_view_alone_without_reference_is_sdxl(tiny: AdapterSource) -> None:
    """Recording reads the stock network's inputs, and changes nothing in its answer."""
    model = tiny.model
    stock = UNet2DConditionModel.from_config(TINY_UNET)
    values = model.networks.unet.state_dict()
    stock.load_state_dict({name: value for name, value in values.items() if ".processor." not in name})
    latent = torch.randn(1, 4, 8, 8)
    seen: dict[str, torch.Tensor] = {}
    for name, layer in stock.named_modules():
        if name.endswith("attn1"):
            layer.register_forward_pre_hook(lambda _, given, name=name: seen.__setitem__(f"{name}.processor", given[0]))
    tokens, pooled = model.networks.prompts.tokens[1:], model.networks.prompts.pooled[1:]
    sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])
    with torch.no_grad():
        stock(latent, torch.zeros(()), tokens, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes})
        remembered = model._reference_features(latent)
    assert remembered.keys() == seen.keys() and len(seen) == 11
    for name, values in remembered.items():
        assert not values[0].any() and torch.allclose(values[1], seen[name][0], atol=1e-5)


# Noise levels


def test_noise_grows_by_the_shift_at_the_last_step() -> None:
    base = EulerDiscreteScheduler(**SDXL_SCHEDULE)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # "scaled_linear"
    signal = np.cumprod(1 - betas)
    sigma = np.sqrt((1 - signal) / signal * 8 ** (np.arange(1000) / 999))
    shifted = np.cumprod(1 - shifted_betas(base.alphas_cumprod, 8.0).astype(float))
    np.testing.assert_allclose(np.sqrt((1 - shifted) / shifted), sigma, rtol=1e-4)
    assert sigma[-1] == pytest.approx(14.6146 * math.sqrt(8), rel=1e-4)  # 14.6146 is SDXL's largest


# Cameras and maps


@pytest.fixture(scope="module")
def mesh() -> tuple[np.ndarray, np.ndarray]:
    """A slim tube, 1 m tall, leaning to the person's left and away from the photo's camera."""
    vertices, faces = tube(0.15, (0.0, 0.0, 0.0), rings=9, sides=16)
    height = vertices[:, 1].copy()
    vertices[:, 0] -= 0.2 * height
    vertices[:, 2] -= 0.1 * height
    return vertices + CENTRE, faces


def published_camera(azimuth: float, elevation: float) -> np.ndarray:
    """Rows right, down and forward of a camera that looks at the origin, z up; azimuth 0 looks along y."""
    a, e = np.radians(azimuth - 90), np.radians(elevation)
    forward = -np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, -np.cross(right, forward), forward])


@pytest.mark.parametrize("angle", [*IG2MV.angles, *I2MV.angles, ViewAngle(30.0, 20.0)])
def test_cameras_stand_where_they_were_published(angle: ViewAngle) -> None:
    matrix, focal = view_camera(angle, CENTRE, 2.0, SIZE)
    offset = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))  # in the photo camera's axes
    seen = (CENTRE + offset) @ matrix[:3, :3].T + matrix[:3, 3]
    pixels = seen[:, :2] / seen[:, 2:] * focal + SIZE / 2
    world = offset[:, [0, 2, 1]] * [1, 1, -1]  # x right, y away from the photo's camera, z up
    exact = world @ published_camera(angle.turn, angle.elevation).T
    # Forty widths away is nearly orthographic: 0.9 of 80 m nearer is 1 % of at most 0.5 widths.
    np.testing.assert_allclose(pixels, exact[:, :2] / 2.0 * SIZE + SIZE / 2, atol=0.4)
    np.testing.assert_allclose(seen[:, 2] - 80.0, exact[:, 2], atol=1e-9)


def test_maps_hold_places_and_normals_of_the_mesh(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = mesh
    config = AdapterConfig(picture=SIZE)
    found = mesh_conditions(vertices, faces, IG2MV.angles, config)
    low, high = vertices.min(0), vertices.max(0)
    extent = (high - low).max()
    assert found.maps.shape == (6, 6, SIZE, SIZE) and found.maps.dtype == np.float32
    assert found.maps.min() >= 0 and found.maps.max() <= 1
    for view, angle in enumerate(IG2MV.angles):
        hit = found.covered[view]
        assert (found.maps[view][:, ~hit] == 0.5).all()
        # A map's place, back in metres, lies on the ray of its pixel.
        place = (found.maps[view][:3, hit].T - 0.5) * extent
        camera = place[:, [0, 2, 1]] * [1, -1, 1] + (low + high) / 2
        seen = camera @ found.matrices[view][:3, :3].T + found.matrices[view][:3, 3]
        pixels = seen[:, :2] / seen[:, 2:] * found.focal + SIZE / 2
        rows, columns = np.nonzero(hit)
        np.testing.assert_allclose(pixels, np.stack([columns, rows], 1) + 0.5, atol=0.01)
        normal = found.maps[view][3:, hit].T * 2 - 1
        np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
        if angle.elevation == 0:
            # The tube is closed all around, so that only its outer side is seen from there.
            facing = normal @ published_camera(angle.turn, 0.0)[2]
            assert (facing < 0.2).all() and facing.min() < -0.9
    # The upper end leans to the person's left (x) and is high (z).
    first = np.nonzero(found.covered[0].any(1))[0][0]
    upper = found.maps[0][:, first][:, found.covered[0][first]]
    assert upper[0].mean() > 0.5 and upper[2].mean() > 0.95
    # The longest side of the mesh is 1 / 1.1 of the picture's.
    rows = np.nonzero(found.covered[0].any(1))[0]
    assert (rows[-1] - rows[0] + 1) == pytest.approx(SIZE / 1.1, abs=1.5)


def test_rays_are_directions_of_the_cameras() -> None:
    rays = ray_conditions(I2MV.angles, AdapterConfig(picture=32))
    assert rays.shape == (6, 6, 32, 32)
    for ray, angle in zip(rays, I2MV.angles):
        a = np.radians(angle.turn)
        camera = np.array([np.sin(a), -np.cos(a), 0.0])
        expected = np.concatenate([-camera, camera]) / 2 + 0.5
        np.testing.assert_allclose(ray, np.broadcast_to(expected[:, None, None], ray.shape), atol=1e-6)


# Pictures


def test_the_reference_shows_the_person_over_grey() -> None:
    rgb, alpha = np.full((200, 200, 3), 250, np.uint8), np.zeros((200, 200), np.float32)
    rgb[50:150, 20:70], alpha[50:150, 20:70] = (200, 60, 10), 1.0
    alpha[0, 0] = 0.01  # a matte's haze does not count
    picture = picture_over(rgb, alpha, 0.5, 0.9, SIZE)
    assert picture.shape == (SIZE, SIZE, 3) and (picture[0] == 127).all() and (picture[:, 0] == 127).all()
    person = np.abs(picture.astype(int) - [200, 60, 10]).max(2) < 20
    rows, columns = np.nonzero(person.any(1))[0], np.nonzero(person.any(0))[0]
    assert len(rows) == pytest.approx(0.9 * SIZE, abs=3) and len(columns) == pytest.approx(0.45 * SIZE, abs=3)
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(SIZE / 2, abs=1.5)
    with pytest.raises(BackendError) as error:
        picture_over(rgb, np.zeros_like(alpha), 0.5, 0.9, SIZE)
    assert error.value.kind == "no_person"


def test_what_stands_before_grey_is_matted() -> None:
    rng = np.random.default_rng(0)
    picture = rng.normal(127, 2, (SIZE, SIZE, 3))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    disc = np.clip(30 - np.hypot(x - SIZE / 2, y - SIZE / 2) + 0.5, 0, 1)
    picture += disc[..., None] * ([220, 40, 60] - picture)
    picture[44:52, 44:52] = 127  # grey clothes inside of the outline are person
    alpha = matte_over(picture.clip(0, 255).astype(np.uint8), 0.5)
    assert alpha.dtype == np.float32 and np.abs(alpha - disc).mean() < 0.01
    assert alpha[48, 48] == 1 and alpha[0, 0] == 0


# Files


def test_the_adapter_has_the_published_names_and_shapes() -> None:
    unet, encoder = empty_networks(SDXL_UNET)
    shapes, base = adapter_shapes(unet, encoder), base_shapes(unet)
    # Self-attention of SDXL: transformers a block, blocks, channels.
    layers = {
        f"{block}.attentions.{k}.transformer_blocks.{layer}.attn1.processor": channels
        for block, attentions, depth, channels in (
            ("down_blocks.1", 2, 2, 640),
            ("down_blocks.2", 2, 10, 1280),
            ("mid_block", 1, 10, 1280),
            ("up_blocks.0", 3, 10, 1280),
            ("up_blocks.1", 3, 2, 640),
        )
        for k in range(attentions)
        for layer in range(depth)
    }
    expected = {
        f"{name}.to_{role}_{kind}.weight": (channels, channels)
        for name, channels in layers.items()
        for role in ("q", "k", "v", "out")
        for kind in ("mv", "ref")
    }
    expected = {name.replace("to_out_mv", "to_out_mv.0").replace("to_out_ref", "to_out_ref.0"): shape
                for name, shape in expected.items()}  # fmt: skip
    expected |= {
        f"{name}.to_out_{kind}.0.bias": (channels,) for name, channels in layers.items() for kind in ("mv", "ref")
    }
    # The condition encoder: position and normal in blocks of 16 x 16 pixels.
    expected |= {"adapter.conv_in.weight": (320, 6 * 256, 3, 3), "adapter.conv_in.bias": (320,)}
    for block, channels in enumerate((320, 640, 1280, 1280)):
        for layer in range(2):
            start = f"adapter.body.{block}.resnets.{layer}"
            expected |= {f"{start}.block1.weight": (channels, channels, 3, 3), f"{start}.block1.bias": (channels,)}
            expected |= {f"{start}.block2.weight": (channels, channels, 1, 1), f"{start}.block2.bias": (channels,)}
    for block, enter, leave in ((1, 320, 640), (2, 640, 1280)):
        expected |= {f"adapter.body.{block}.in_conv.weight": (leave, enter, 1, 1)}
        expected |= {f"adapter.body.{block}.in_conv.bias": (leave,)}
    assert shapes == expected
    # 3.6 GB in single precision, the size of the published files.
    assert (len(shapes), sum(math.prod(s) for s in shapes.values())) == (738, 900_606_400)
    # The number of parameters that is published for SDXL's UNet.
    assert (len(base), sum(math.prod(s) for s in base.values())) == (1680, 2_567_463_684)


def test_adapter_files_are_checked_before_they_are_read(tmp_path: Path) -> None:
    unet, encoder = empty_networks(TINY_UNET)
    path = tmp_path / "mvadapter_ig2mv_sdxl.safetensors"

    def kind_of(check: Callable[[], object], match: str) -> str:
        with pytest.raises(BackendError, match=match) as error:
            check()
        return error.value.kind

    values = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in adapter_shapes(unet, encoder).items()}
    assert kind_of(lambda: check_adapter(path, unet, encoder), "no file") == "weights_missing"
    save_file(values, str(path))
    check_adapter(path, unet, encoder)
    text_only = {name: value for name, value in values.items() if "_ref." not in name}
    save_file(text_only, str(path))
    assert kind_of(lambda: check_adapter(path, unet, encoder), "guided by text") == "weights_mismatch"
    save_file(values | {"adapter.conv_in.bias": torch.zeros(5)}, str(path))
    assert kind_of(lambda: check_adapter(path, unet, encoder), r"\(5,\) instead of \(32,\)") == "weights_mismatch"
    path.write_bytes(path.read_bytes()[:100])
    assert kind_of(lambda: check_adapter(path, unet, encoder), "no readable safetensors") == "weights_damaged"
    pickle = tmp_path / "mvadapter_ig2mv_sdxl.ckpt"
    pickle.write_bytes(b"pickle")
    assert kind_of(lambda: check_adapter(pickle, unet, encoder), "no safetensors file") == "weights_unsafe"
    (tmp_path / "unet").mkdir()
    assert kind_of(lambda: weight_files(tmp_path / "unet"), "no weights") == "weights_missing"
    (tmp_path / "unet" / "model.bin").write_bytes(b"pickle")
    assert kind_of(lambda: weight_files(tmp_path / "unet"), "only as pickles") == "weights_unsafe"
    base = {name: torch.zeros(shape) for name, shape in base_shapes(unet).items()}
    save_file(base, str(tmp_path / "unet" / "model.fp16.safetensors"))
    files, variant = weight_files(tmp_path / "unet")
    assert variant == "fp16"
    check_base(files, unet, tmp_path / "unet")
    save_file({name: base[name] for name in list(base)[1:]}, str(files[0]))
    assert kind_of(lambda: check_base(files, unet, tmp_path), "1 tensors are missing") == "weights_mismatch"
    damaged = values | {"adapter.conv_in.bias": torch.full((32,), math.nan)}
    save_file(damaged, str(path))
    assert kind_of(lambda: loading.read_weights(encoder, [path], torch.float32), "no numbers") == "weights_damaged"


def test_the_name_tells_the_variant() -> None:
    for variant in VARIANTS:
        assert loading.variant_of(Path(f"mvadapter_{variant.name}_sdxl.safetensors")) is variant
    with pytest.raises(BackendError, match="does not say") as error:
        loading.variant_of(Path("adapter.safetensors"))
    assert error.value.kind == "weights_mismatch"


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="part base is missing: there is no") as error:
        loading.load_adapter({"base": tmp_path / "base", "vae": tmp_path, "adapter": tmp_path}, "cpu")
    assert error.value.kind == "weights_missing"
    with pytest.raises(BackendError, match="part vae is missing"):
        loading.load_adapter({"base": tmp_path}, "cpu")
    with pytest.raises(BackendError, match="has no folder unet"):
        loading.load_adapter(dict.fromkeys(loading.PARTS, tmp_path), "cpu")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_written_miniature_is_loaded(tmp_path: Path, variant: object, subject: Subject) -> None:
    pytest.importorskip("transformers", reason="SDXL's text encoders need the package transformers")
    half = variant is I2MV
    parts = write_tiny(tmp_path, variant, half=half)
    source = loading.load_adapter(parts, "cpu", config=TINY_CONFIG)
    assert source.model.variant is variant and source.title == "MV-Adapter"
    assert {entry["licence"] for entry in source.described} == {"Apache-2.0", "MIT", "CreativeML Open RAIL++-M"}
    assert len(source.described) == 5 and all(len(entry["sha256"]) == 64 for entry in source.described)
    held = source.model.networks.unet.state_dict() | source.model.networks.encoder.state_dict()
    for name, value in load_file(str(parts["adapter"])).items():
        assert torch.equal(held[name], value.float())
    prompts = source.model.networks.prompts
    assert prompts.tokens.shape == (2, 77, 64) and prompts.pooled.shape == (2, 32)
    assert not torch.allclose(prompts.tokens[0], prompts.tokens[1])
    assert len(source.views(subject, 0, lambda fraction, text: None)) == (5 if variant.geometry else 3)
    for path in parts["vae"].glob("*.safetensors"):
        assert (".fp16." in path.name) == half
        path.write_bytes(b"no weights")
    with pytest.raises(BackendError, match="SDXL cannot be loaded") as error:
        loading.load_adapter(parts, "cpu", config=TINY_CONFIG)
    assert error.value.kind == "weights_damaged"


def test_transformers_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(BackendError) as error:
        loading.require_transformers()
    assert error.value.kind == "package_missing"


# The whole in miniature


@pytest.fixture(scope="module")
def subject(mesh: tuple[np.ndarray, np.ndarray]) -> Subject:
    """The tube as a photo shows it."""
    vertices, faces = mesh
    side = 128
    y, x = np.mgrid[:side, :side]
    alpha = ((np.abs(x - 64) < 20) & (np.abs(y - 64) < 50)).astype(np.float32)
    rgb = (np.stack([x, y, np.full_like(x, 128)], 2) * 2).clip(0, 255).astype(np.uint8)
    photo = PreparedPhoto(
        rgb=rgb, alpha=alpha, inside=alpha > -1, landmarks=np.zeros((33, 2)), visibility=np.ones(33),
        world_landmarks=np.zeros((33, 3)), left_hand=None, right_hand=None, focal=200.0, matte_given=True,
        person_count=1, warnings=(), name="m.png", sha256="0",
    )  # fmt: skip
    fit = BodyFit(
        pose=np.zeros((24, 3)), betas=np.zeros(10), translation=CENTRE, focal=200.0, landmark_error=0.0,
        person_size=100.0, confidence=np.ones(24),
    )  # fmt: skip
    return Subject(photo, fit, vertices, faces, CENTRE)


@pytest.fixture(scope="module")
def tiny() -> AdapterSource:
    torch.manual_seed(0)
    return tiny_adapter()


@pytest.fixture(scope="module")
def views(tiny: AdapterSource, subject: Subject) -> list[SideView]:
    return list(tiny.views(subject, 1, lambda fraction, text: None))


def test_a_mesh_becomes_views(tiny: AdapterSource, subject: Subject, views: list[SideView]) -> None:
    assert [view.turn for view in views] == [90.0, 180.0, 270.0, 180.0, 180.0]
    for view in views:
        assert view.rgb.shape == (64, 64, 3) and view.rgb.dtype == np.uint8 and view.rgb.std() > 1
        assert view.alpha.dtype == np.float32 and 0 < view.belief <= 1 and view.matrix is not None
        # The mesh lies where alpha says.
        seen = subject.vertices @ view.matrix[:3, :3].T + view.matrix[:3, 3]
        pixels = seen[:, :2] / seen[:, 2:] * view.focal + 32
        rows, columns = np.nonzero(view.alpha)
        np.testing.assert_allclose(
            [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1],
            [pixels[:, 0].min(), pixels[:, 0].max(), pixels[:, 1].min(), pixels[:, 1].max()], atol=1.0,
        )  # fmt: skip
    said: list[float] = []
    again = tiny.views(subject, 1, lambda fraction, text: said.append(fraction))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(views, again))
    assert said == sorted(said) and len(said) == TINY_CONFIG.steps + 2 and said[-1] < 1
    other = tiny.views(subject, 2, lambda fraction, text: None)
    assert not np.array_equal(views[0].rgb, other[0].rgb)


def test_sampling_stops_between_steps(tiny: AdapterSource, subject: Subject, views: list[SideView]) -> None:
    def cancel(fraction: float, text: str) -> None:
        if "step 2" in text:
            raise Cancelled

    with pytest.raises(Cancelled):
        tiny.views(subject, 1, cancel)
    assert np.array_equal(tiny.views(subject, 1, lambda fraction, text: None)[0].rgb, views[0].rgb)


def test_views_that_are_no_numbers_are_refused(subject: Subject) -> None:
    source = tiny_adapter()
    torch.nn.init.constant_(source.model.networks.vae.decoder.conv_out.bias, math.nan)
    with pytest.raises(BackendError, match="not finite") as error:
        source.views(subject, 0, lambda fraction, text: None)
    assert error.value.kind == "weights_damaged"


def test_views_without_geometry_have_no_cameras(subject: Subject) -> None:
    found = tiny_adapter(I2MV).views(subject, 0, lambda fraction, text: None)
    assert [view.turn for view in found] == [90.0, 180.0, 270.0]
    assert all(view.matrix is None and view.alpha.shape == (64, 64) for view in found)


def mode_of(gigabytes: int) -> MemoryMode:
    """A card's mode, in single precision for the processor."""
    return replace(choose_mode(gigabytes * GIGABYTE), dtype=torch.float32)


def test_memory_that_runs_out_is_saved_and_changes_nothing(
    subject: Subject, views: list[SideView], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    source = tiny_adapter(mode=mode_of(23))
    imagine, tried, failures = source.model.imagine, [], [0]

    def short(*given: object) -> np.ndarray:
        tried.append(source.model.mode.name)
        if len(tried) <= failures[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return imagine(*given)

    monkeypatch.setattr(source.model, "imagine", short)
    for count, modes in ((0, ["24 GB"]), (1, ["24 GB", "16 GB"]), (1, ["16 GB", "12 GB"]), (1, ["12 GB", "8 GB"])):
        tried[:], failures[0] = [], count
        found = source.views(subject, 1, lambda fraction, text: None)
        assert tried == modes
        # The VAE of the last mode works on tiles, which in miniature are the whole picture.
        assert max(np.abs(a.rgb.astype(int) - b.rgb).max() for a, b in zip(found, views)) <= 1
    tried[:], failures[0] = [], 9
    with pytest.raises(BackendError) as error:
        source.views(subject, 1, lambda fraction, text: None)
    assert error.value.kind == "memory_short" and tried == ["8 GB"]


def test_smaller_modes_end() -> None:
    mode, names = choose_mode(80 * GIGABYTE, bf16=True), []
    with pytest.raises(BackendError, match="too small for it, even layer by layer") as error:
        while True:
            assert mode.dtype is torch.bfloat16
            names.append(mode.name)
            mode = smaller_mode(mode, "it")
    assert names == ["24 GB", "16 GB", "12 GB", "8 GB"] and error.value.kind == "memory_short"
