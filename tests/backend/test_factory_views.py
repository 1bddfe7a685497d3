"""Cameras, light and pictures of the factory against closed forms."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from figures import cube, figure_from, mannequin_figure  # noqa: E402

from backend.research.training.cameras import FIELD_OF_VIEW, MARGIN, frame, frame_figure, orbit  # noqa: E402
from backend.research.training.figure import PART_INDEX, Figure  # noqa: E402
from backend.research.training.lighting import Light, bake_light, lit_colours, sample_light, shade, visibility  # noqa: E402
from backend.research.training.views import render_views  # noqa: E402


def plain_light(key: float = 0.0, ambient: float = 0.0, direction: tuple[float, float, float] = (0, 1, 0)) -> Light:
    return Light(
        top=torch.full((3,), ambient),
        bottom=torch.full((3,), ambient),
        key_direction=torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0),
        key=torch.full((3,), key),
        softness=0.05,
        fill_direction=torch.tensor([0.0, 1.0, 0.0]),
        fill=torch.zeros(3),
        exposure=1.0,
    )


def merge(*parts: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = [sum(len(v) for v, _ in parts[:i]) for i in range(len(parts))]
    return torch.cat([v for v, _ in parts]), torch.cat([f + o for (_, f), o in zip(parts, offsets)])


def grid(half: float, height: float, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A level square of ``count`` squared quads that looks up."""
    line = torch.linspace(-half, half, count + 1)
    x, z = torch.meshgrid(line, line, indexing="ij")
    vertices = torch.stack([x, torch.full_like(x, height), z], -1).reshape(-1, 3)
    corner = (torch.arange(count)[:, None] * (count + 1) + torch.arange(count)).reshape(-1)
    quads = torch.stack([corner, corner + 1, corner + count + 2, corner + count + 1], 1)
    return vertices, torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def encode(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def test_a_known_cube_projects_where_it_must() -> None:
    """Seen from the front at distance d, the near face of a cube of side a spans f a / (d - a/2) pixels."""
    side, distance, size = 0.8, 3.0, 200
    figure = figure_from(*cube((0.0, 1.0, 0.0), side))
    camera = orbit([0.0, 90.0], 0.0, (0.0, 1.0, 0.0), distance, size)
    focal = size / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    assert float(camera.focal[0]) == pytest.approx(focal, rel=1e-6)
    views = render_views([figure], [plain_light(ambient=1.0)], [camera], size, supersample=1)
    span = focal * side / (distance - side / 2)
    low, high = math.ceil(size / 2 - span / 2 - 0.5), math.floor(size / 2 + span / 2 - 0.5)
    expected = torch.zeros(size, size)
    expected[low : high + 1, low : high + 1] = 1
    for view, normal in ((0, (0.0, 0.0, 1.0)), (1, (1.0, 0.0, 0.0))):
        assert torch.equal(views.alpha[view], expected)
        inside = expected.bool()
        torch.testing.assert_close(
            views.depth[view][inside], torch.full((int(inside.sum()),), distance - side / 2), rtol=1e-5, atol=1e-5
        )
        assert views.depth[view][~inside].isinf().all()
        middle = views.normal[view, size // 2, size // 2]
        assert (middle @ torch.tensor(normal)) > 0.95


def test_orbit_follows_the_avatar_axes() -> None:
    """From the front the person's left (+x) is on the picture's right; up is up; at 90 degrees the chest is left."""
    points = torch.tensor([[0.3, 1.0, 0.0], [0.0, 1.5, 0.0], [0.0, 1.0, 0.2]])
    front, left, above = orbit([0.0, 90.0, 0.0], torch.tensor([0.0, 0.0, 90.0]), (0.0, 1.0, 0.0), 2.5, 100).project(
        points
    )
    assert front[0, 0] > 50 and abs(front[0, 1] - 50) < 1e-3 and front[1, 1] < 50
    assert left[2, 0] < 50 and float(left[0, 2]) == pytest.approx(2.2, abs=1e-5)
    assert float(above[1, 2]) == pytest.approx(2.0, abs=1e-5)
    camera = orbit([37.0], 12.0, (0.1, 1.0, 0.2), 2.5, 100)
    torch.testing.assert_close(
        (camera.positions()[0] - torch.tensor([0.1, 1.0, 0.2])).norm(), torch.tensor(2.5), rtol=1e-5, atol=1e-5
    )
    rotation = camera.world_to_camera[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), rtol=1e-5, atol=1e-5)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(camera.resized(50).project(points)[..., :2], camera.project(points)[..., :2] / 2)


@pytest.mark.parametrize("azimuth", [0.0, 35.0, 180.0])
def test_a_framed_person_fills_the_picture_as_a_prepared_photo_does(azimuth: float) -> None:
    figure = mannequin_figure("waving")
    target, distance = frame(figure.vertices, azimuth, 7.0)
    pixels = orbit([azimuth], 7.0, target, distance, 1024).project(figure.vertices)[0, :, :2]
    low, high = pixels.amin(0), pixels.amax(0)
    torch.testing.assert_close((low + high) / 2, torch.full((2,), 512.0), rtol=0, atol=0.5)
    assert float((high - low).max()) * (1 + 2 * MARGIN) == pytest.approx(1024, abs=1)
    # What an orbit about the target turns about is the pelvis.
    target, distance = frame_figure(figure, azimuth, 7.0)
    depths = orbit([azimuth], 7.0, target, distance, 1024).project(figure.body.joints[:1].float())[0, 0, 2]
    assert float(depths) == pytest.approx(distance, abs=1e-4)


def test_light_on_a_plain_square() -> None:
    """Ambient light alone gives the albedo; a lamp adds albedo times the cosine; both pass the sRGB curve."""
    vertices, faces = grid(0.5, 0.0, 8)
    figure = figure_from(vertices, faces, torch.full((len(vertices), 3), 0.4))
    face, middle = torch.tensor([60]), torch.full((1, 3), 1 / 3)
    for light, radiance in (
        (plain_light(ambient=0.9), None),
        (plain_light(key=0.8, direction=(0.0, 1.0, 0.0)), 0.32),
        (plain_light(key=0.8, direction=(0.0, 1.0, 1.7320508)), 0.16),
    ):
        baked = bake_light(figure, light)
        colour = lit_colours(figure, light, baked, face, middle)
        if radiance is None:
            assert encode(0.4 * 0.9 * 0.8) < float(colour[0, 0]) <= encode(0.4 * 0.9) + 1e-5
        else:
            torch.testing.assert_close(colour, torch.full((1, 3), encode(radiance)), rtol=1e-4, atol=1e-4)
        # A matt surface looks the same from everywhere.
        side = torch.nn.functional.normalize(torch.tensor([[0.5, 0.5, 0.0]]), dim=1)
        torch.testing.assert_close(shade(figure, light, baked, face, middle, side), colour)


def test_a_plate_shadows_the_plane_below_it() -> None:
    ground, plate = grid(1.0, 0.0, 40), grid(0.3, 0.5, 12)
    vertices, faces = merge(ground, plate)
    figure = figure_from(vertices, faces, two_sided=True)
    tilt = math.radians(30)
    light = plain_light(key=1.0, direction=(math.sin(tilt), math.cos(tilt), 0.0))
    seen = bake_light(figure, light).key_visibility[: len(ground[0])]
    # The shadow of a plate at height h lies h tan(tilt) away from the lamp; its edges blur by h tan(softness).
    x, z = ground[0][:, 0] + 0.5 * math.tan(tilt), ground[0][:, 2]
    away = torch.maximum(x.abs(), z.abs()) - 0.3
    blur = 0.5 * math.tan(0.05) / math.cos(tilt) ** 2 + 0.03
    assert (seen[away < -blur] < 0.02).all()
    assert (seen[away > blur] > 0.98).all()
    edge = seen[away.abs() < 0.02]
    assert 0.2 < float(edge.mean()) < 0.8
    above = bake_light(figure, light).key_visibility[len(ground[0]) :]
    assert (above > 0.98).all(), "the plate does not shadow itself"


def test_a_ball_has_no_acne_and_open_corners_are_brighter() -> None:
    count = 40
    theta = torch.linspace(0, math.pi, count + 1)[1:-1]
    phi = torch.arange(2 * count) * math.pi / count
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    ring = torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], -1).reshape(-1, 3) * 0.9
    index = torch.arange((count - 2) * 2 * count)
    beside = torch.where(index % (2 * count) == 2 * count - 1, index - 2 * count + 1, index + 1)
    low, low_beside = index + 2 * count, beside + 2 * count
    faces = torch.cat([torch.stack([index, low, beside], 1), torch.stack([beside, low, low_beside], 1)])
    figure = figure_from(ring, faces, two_sided=False)
    assert ((figure.normals * ring).sum(1) > 0).all()
    directions = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.1, 0.6]]), dim=1)
    seen, cosine = visibility(figure, directions, 160), directions @ figure.normals.T
    inner = (ring[:, 1].abs() < 0.85).expand_as(seen)
    assert (seen[inner & (cosine > 0.25)] > 0.99).all(), "lit faces shadow themselves"
    assert (seen[inner & (cosine < -0.25)] < 0.01).all(), "light leaks through"
    wall, floor = grid(0.5, 0.0, 20), grid(0.5, 0.0, 20)
    upright = (torch.stack([wall[0][:, 0], -wall[0][:, 2] + 0.5, torch.full((len(wall[0]),), -0.5)], 1), wall[1])
    vertices, faces = merge(floor, upright)
    corner = figure_from(vertices, faces, two_sided=True)
    ambient = bake_light(corner, plain_light(ambient=1.0)).ambient[: len(floor[0]), 0]
    assert ambient[(floor[0][:, 2] < -0.44)].mean() < 0.72 * ambient[floor[0][:, 2] > 0.4].mean()


def _labelled() -> Figure:
    """A head above a torso beside an arm, three cubes."""
    vertices, faces = merge(cube((0, 1.5, 0), 0.3), cube((0, 1.0, 0), 0.5), cube((0.6, 1.0, 0), 0.3))
    part = torch.tensor([PART_INDEX["head"]] * 12 + [PART_INDEX["torso"]] * 12 + [PART_INDEX["arms"]] * 12)
    return figure_from(vertices, faces, part=part)


def test_labels_alpha_and_background() -> None:
    figure, light = _labelled(), plain_light(ambient=0.7)
    camera = orbit([0.0], 0.0, (0.0, 1.0, 0.0), 3.0, 96)
    views = render_views([figure], [light], [camera], 96)
    pixels = camera.project(torch.tensor([[0.0, 1.5, 0.15], [0.0, 1.0, 0.25], [0.6, 1.0, 0.15], [-0.6, 1.5, 0.0]]))[0]
    seen = [int(views.label[0, int(y), int(x)]) for x, y, _ in pixels.tolist()]
    assert seen == [PART_INDEX["head"], PART_INDEX["torso"], PART_INDEX["arms"], 0]
    assert ((views.label > 0) == views.depth.isfinite()).all()
    assert (views.rgb[views.alpha == 0] == 1).all()
    blue = render_views([figure], [light], [camera], 96, background=(0.0, 0.0, 1.0))
    foreground = views.rgb - (1 - views.alpha[..., None])
    torch.testing.assert_close(
        blue.rgb, foreground + (1 - views.alpha[..., None]) * torch.tensor([0, 0, 1.0]), rtol=0, atol=1e-6
    )
    # The mean over 2 x 2 samples is what four times the pixels, averaged, give.
    fine = render_views([figure], [light], [camera], 192, supersample=1)
    torch.testing.assert_close(fine.alpha.reshape(1, 96, 2, 96, 2).mean((2, 4)), views.alpha)


def test_same_figure_same_bytes_and_batches_agree() -> None:
    figure, light = mannequin_figure(), sample_light(3)
    cameras = orbit([0.0, 140.0], 5.0, (0.0, 0.9, 0.0), 3.0, 64)
    first, again = (render_views([figure], [light], [cameras], 64) for _ in range(2))
    other = render_views([_labelled(), figure], [light, light], [cameras[:1], cameras], 64)
    for name in ("rgb", "alpha", "depth", "normal", "label"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert torch.equal(getattr(first, name), getattr(other, name)[1:])


def test_lights_differ_and_repeat() -> None:
    one, same, two = sample_light(1), sample_light(1), sample_light(2)
    assert torch.equal(one.key, same.key) and torch.equal(one.key_direction, same.key_direction)
    assert not torch.equal(one.key, two.key) and not torch.equal(one.key_direction, two.key_direction)
    for seed in range(40):
        light = sample_light(seed)
        assert (light.top >= 0).all() and (light.bottom >= 0).all() and (light.key >= 0).all()
        assert float(light.key_direction.norm()) == pytest.approx(1, abs=1e-5) and light.key_direction[1] > 0
