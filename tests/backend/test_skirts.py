"""What hangs between the legs: shares and weights against closed forms, and a skirt in a stride."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from test_surface import cloth_between, legs, tube

from backend.avatar.skinning import joint_transforms, skin_vertices
from backend.body.model import JOINT_INDEX, load_body
from backend.estimate.depth import SideDepths
from backend.options import LOWER
from backend.reconstruct import sheets
from backend.reconstruct.config import SurfaceConfig
from backend.reconstruct.sheets import GarmentPatch, LayeredDepthImage, _diffused_weights
from backend.reconstruct.skirts import between_legs, down_legs, find_hem, hem_by_colours
from backend.reconstruct.splats import Splats, back_of_sheets, flanks_of_sheets
from backend.reconstruct.types import SurfaceMesh

LEFT, RIGHT = (JOINT_INDEX[f"{side}_hip"] for side in ("left", "right"))
JOINTS = legs((0.1, 0, 3), (-0.1, 0, 3))


def strip(top: float, hem: float, width: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """Places between the legs of ``JOINTS``, and their areas, from ``top`` to ``hem`` metres below the hips."""
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, 21), np.linspace(top, hem, 101) - 0.5)
    points = np.stack([x, y, np.full(x.shape, 3.0)], -1).reshape(-1, 3)
    return points, np.full(len(points), width * (hem - top) / len(points))


def test_a_skirt_is_what_hangs_between_the_legs_from_above_the_knees() -> None:
    # Bones of half a metre, and a hem 60 cm below the hips.
    assert find_hem(*strip(0.15, 0.6), JOINTS) == pytest.approx(0.6 / 0.5, abs=0.03)
    assert find_hem(*strip(0.15, 0.2), JOINTS) is None
    # No garment covers feet.
    assert find_hem(*strip(0.15, 1.2), JOINTS) == 2
    # Between shins alone, or all but alone: trousers before a shadow.
    shadow, crotch = strip(0.6, 0.95), strip(0.1, 0.15)
    assert find_hem(*shadow, JOINTS) is None
    assert find_hem(*(np.concatenate(both) for both in zip(shadow, crotch)), JOINTS) is None
    assert find_hem(np.zeros((0, 3)), np.zeros(0), JOINTS) is None
    # A child's is as much smaller as its legs.
    points, area = strip(0.15, 0.6, 0.05)
    assert find_hem(0.6 * points, 0.36 * area, 0.6 * JOINTS) is not None
    assert find_hem(points, 0.36 * area, JOINTS) is None


def test_a_close_skirt_ends_where_the_colours_of_the_legs_change_most() -> None:
    rng = np.random.default_rng(0)
    along = rng.uniform(-0.2, 2.2, 20_000)
    # Red down to 0.9 but for a white belt; skin below, in the shade further down; black shoes.
    rgb = np.where((along < 0.9)[:, None], [200, 20, 30], [190, 140, 120])
    rgb[(along > 0) & (along < 0.1)] = 230
    rgb[(along > 0.9) & (along < 1.3)] = 150, 110, 95
    rgb[along > 1.9] = 20
    noisy = (rgb + rng.normal(0, 8, rgb.shape)).clip(0, 255).astype(np.uint8)
    assert hem_by_colours(along, noisy) == pytest.approx(0.9, abs=0.05)
    # A robe of stripes hides the legs whole.
    stripes = np.where(((along * 12).astype(int) % 2 == 0)[:, None], [40, 60, 160], [220, 220, 210]).astype(np.uint8)
    assert hem_by_colours(along, stripes) == 2
    assert hem_by_colours(np.zeros(0), np.zeros((0, 3), np.uint8)) == 2


def test_the_artist_says_whether_it_is_a_skirt() -> None:
    # Red legs that touch, in a picture whose lower half is skin: shorts to the outline, a skirt when that is said.
    row = np.arange(512)[:, None, None]
    rgb = np.broadcast_to(np.where(row < 256, [200, 20, 30], [190, 140, 120]), (512, 512, 3)).astype(np.uint8)
    sheet = {
        lower: cloth_between((0.08, 0, 3), (-0.08, 0, 3), lower=lower, rgb=rgb)[2] for lower in LOWER
    }  # fmt: skip
    assert not len(sheet["auto"].faces) and not len(sheet["trousers"].faces)
    skirt = sheet["skirt"]
    # From the hips to the hem halfway down, before and behind; its middle goes with both legs.
    assert len(skirt.faces) > 500
    assert skirt.posed[:, 1].max() == pytest.approx(0, abs=0.04) and skirt.posed[:, 1].min() < -0.45
    middle = np.abs(skirt.posed[:, 0]) < 0.005
    assert middle.any() and np.abs(skirt.weights[middle, LEFT] - 0.5).max() < 0.3
    # And a skirt that hangs between the legs is none where trousers are said.
    assert len(cloth_between((0.14, 0, 3), (-0.14, 0, 3))[2].faces)
    assert not len(cloth_between((0.14, 0, 3), (-0.14, 0, 3), lower="trousers")[2].faces)


def test_places_go_down_the_legs_from_the_hips_to_the_feet() -> None:
    x = np.array([0.1, 0.18, 0.0, -0.1])
    for below, expected in ((-0.2, 0), (0.0, 0), (0.25, 0.5), (0.5, 1), (0.9, 1.8)):
        points = np.stack([x, np.full(4, below - 0.5), np.full(4, 3.0)], 1)
        np.testing.assert_allclose(down_legs(points, JOINTS), expected, atol=1e-9)


def test_between_legs() -> None:
    points = np.array([[0, 0, 3], [0.02, 0.2, 3], [0, -0.3, 2.95], [0.1, 0, 3], [-0.3, 0, 3], [0, 0, 2.8]])
    between, halfway = between_legs(points, JOINTS)
    np.testing.assert_array_equal(halfway, [True, True, True, False, False, False])
    np.testing.assert_array_equal(between, [True, True, True, False, False, False])
    # Between both, but nearer to one.
    np.testing.assert_array_equal(between_legs(np.array([[0.07, 0, 3]]), JOINTS), [[True], [False]])
    # In profile a strip before both legs is not between them.
    profile = legs((0, 0, 2.9), (0, 0, 3.1))
    for said in between_legs(np.array([[0.11, 0, 3], [0.04, 0, 3]]), profile):
        np.testing.assert_array_equal(said, [False, True])


def stretched(sheet: GarmentPatch) -> np.ndarray:
    """How many times as long edges of a sheet between :func:`cloth_between`'s legs become in a long stride."""
    pose = np.zeros((24, 3))
    pose[[LEFT, RIGHT], 0] = 0.6, -0.6
    transforms = joint_transforms(pose, legs((0.14, 0, 3), (-0.14, 0, 3)), load_body("neutral").parents)
    edges = np.vstack([sheet.faces[:, [0, 1]], sheet.faces[:, [1, 2]], sheet.faces[:, [2, 0]]])
    before, after = (
        np.linalg.norm(np.subtract(*points[edges.T]), axis=1)
        for points in (sheet.posed, skin_vertices(sheet.posed, sheet.weights, transforms))
    )
    return after / before


def test_weights_are_the_bodys_where_a_patch_touches_it_and_linear_between() -> None:
    # A strip of 21 nodes a row from one vertex to another, 1 m away.
    x, y = np.meshgrid(np.linspace(0, 1, 21), np.arange(3) / 20)
    nodes = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    number = np.arange(63).reshape(3, 21)
    a, b, c, d = (n.ravel() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    faces = np.vstack([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    ends, weights = (
        np.vstack([nodes[x.ravel() == 0], nodes[x.ravel() == 1]]),
        np.repeat(np.eye(24)[[LEFT, RIGHT]], 3, 0),
    )
    found = _diffused_weights(nodes, faces, ends, weights).reshape(3, 21, 24)
    np.testing.assert_allclose(found.sum(2), 1)
    np.testing.assert_allclose(found[..., LEFT], found[::-1, ::-1, RIGHT], atol=1e-3)
    steps = np.diff(found[1, 1:-1, RIGHT])
    assert found[1, 0, LEFT] > 0.9 and steps.min() > 0.02 and steps.max() < 0.06


def test_a_stride_stretches_a_skirt_less_than_one_that_goes_with_the_nearest_leg(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    nearest = lambda posed, faces, vertices, weights: weights[cKDTree(vertices).query(posed)[1]]  # noqa: E731
    monkeypatch.setattr(sheets, "_diffused_weights", nearest)
    _, _, parted = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    np.testing.assert_array_equal(sheet.posed, parted.posed)
    assert np.quantile(stretched(sheet), 0.99) < 0.5 * np.quantile(stretched(parted), 0.99)
    # Not more than what hangs between legs must.
    assert np.quantile(stretched(sheet), 0.99) < 5.5


def test_a_skirt_covers_the_legs_and_what_lies_between_trousers_hangs_on_them() -> None:
    count = len(tube(0.08, (0, 0, 0))[1])
    # Trousers: what gapes is between the shins. Also where one leg's bones are much nearer than the other's.
    for bones, skirt in (((0, 0, 0), True), ((0, -0.55, 0), False), ((-0.05, -0.55, 0), False)):
        matte, layers, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3), bones=bones)
        middle = layers.face[256, 256 - 5 : 256 + 5]
        leg = layers.face[256, int(256 + 0.14 * 700 / 3)]
        assert matte[256, 256] and (middle >= 2 * count).all() == skirt and (leg >= 2 * count) == skirt
        # The gap is 12 cm wide: trousers are half as thick there at most, or their front and back part when legs turn.
        thick = (layers.back - layers.front)[256, 256 - 5 : 256 + 5]
        assert (thick > 0.09).all() if skirt else (thick <= 0.061).all() and (thick > 0.04).all()
        # But for the rims: from the top to where the bones end.
        assert (layers.face[140:256] >= 2 * count).any() == skirt
        if not skirt:
            # Also where the gap goes on into something wider, a shadow on the floor.
            _, layers, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3), bones=bones, below=60)
            assert ((layers.back - layers.front)[256, 256 - 5 : 256 + 5] <= 0.061).all()
            assert (layers.face[140:256] < 2 * count).all()


def test_a_skirt_lies_before_and_behind_legs_where_the_depths_say_so_and_never_in_them() -> None:
    flat = np.zeros((512, 512))
    _, plain, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    place = (256, int(256 + 0.14 * 700 / 3))
    # The gap is 12 cm wide: as far as half of it from the legs at most.
    for off, moved in ((0.04, 0.04), (0.5, 0.06), (-0.04, 0)):
        front, back = (layer[place] + sign * off for layer, sign in ((plain.front, -1), (plain.back, 1)))
        depths = SideDepths(flat + front, flat + back, flat + 1e-4, flat + 1e-4, np.ones((512, 512), bool))
        _, layers, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3), depths=depths)
        assert layers.front[place] == pytest.approx(plain.front[place] - moved, abs=0.006)
        assert layers.back[place] == pytest.approx(plain.back[place] + moved, abs=0.006)


def test_front_and_back_lie_on_their_own_meshes() -> None:
    _, layers, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    half, nodes = len(sheet.faces) // 2, len(sheet.posed) // 2
    np.testing.assert_array_equal(sheet.faces[half:], sheet.faces[:half, ::-1] + nodes)
    front, back = sheet.posed[:nodes], sheet.posed[nodes:]
    # On the same rays, at the depths of the layers.
    np.testing.assert_allclose(front[:, :2] / front[:, 2:], back[:, :2] / back[:, 2:], atol=1e-12)
    column, row = (np.round(front[:, :2] / front[:, 2:] * 700) + 256).astype(int).clip(0, 511).T
    inside = layers.gap[row, column]
    assert inside.sum() > 100
    np.testing.assert_allclose(front[inside, 2], layers.front[row, column][inside], atol=1e-6)
    np.testing.assert_allclose(back[inside, 2], layers.back[row, column][inside], atol=1e-6)


def test_splats_of_the_back_hang_on_the_back() -> None:
    _, layers, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    parts = [tube(0.08, (x, 0, 3)) for x in (0.14, -0.14)]
    legs_vertices, legs_faces = (np.concatenate(both) for both in zip(*parts))
    body, faces = len(legs_vertices), len(legs_faces)
    posed = np.vstack([legs_vertices, sheet.posed])
    mesh = SurfaceMesh(
        posed, posed, np.vstack([legs_faces, sheet.faces + body]), np.zeros((len(posed), 24)), body, faces
    )
    y, x = np.nonzero(layers.gap & (layers.face >= faces))
    n, pixels = len(x), np.column_stack([x, y]) + 0.5
    front = Splats(*np.zeros((3, n, 3)), *np.zeros((3, n)), layers.face[y, x])
    back = back_of_sheets(front, pixels, layers, mesh, 700.0)
    assert (back.face >= faces + len(sheet.faces) // 2).all()
    # Within a cell of the triangle that each hangs on.
    corners = mesh.posed[mesh.faces[back.face]]
    away = np.linalg.norm(corners - back.position[:, None], axis=2).min(1)
    assert np.quantile(away, 0.98) < 0.03


def test_torn_sheets_have_no_flanks() -> None:
    """A curtain whose fold is steep to the rays, at 700 pixels; and the same after its pixels were hung elsewhere."""
    x, z = np.array([-0.2, -0.02, 0.02, 0.2]), np.array([3.0, 3.0, 3.3, 3.3])
    top, bottom = (np.column_stack([x, np.full(4, y), z]) for y in (-0.3, 0.3))
    curtain = np.vstack([top, bottom])
    grid = np.array([[k, k + 1, k + 4] for k in range(3)] + [[k + 1, k + 5, k + 4] for k in range(3)])
    wall = np.array([[-1, -1, 4], [1, -1, 4], [0, 1, 4.0]])
    posed = np.vstack([wall, curtain])
    mesh = SurfaceMesh(posed, posed, np.vstack([[[0, 1, 2]], grid + 3]), np.zeros((len(posed), 24)), 3, 1)
    rows, columns = np.mgrid[:512, :512]
    there = (np.abs(rows - 256) < 70) & (np.abs(columns - 256) < 46)
    front = np.full((512, 512), 3.0)
    hung = LayeredDepthImage(front, front + 0.1, np.where(there, 1, -1), np.zeros_like(there))
    flanks = flanks_of_sheets(mesh, hung, 700.0, SurfaceConfig())
    assert len(flanks.face) > 100
    # On the fold, between its ends.
    assert set(flanks.face.tolist()) <= {2, 5} and (np.abs(flanks.position[:, 0]) < 0.021).all()
    torn = LayeredDepthImage(front, front + 0.1, np.where(there, 0, -1), np.zeros_like(there))
    assert len(flanks_of_sheets(mesh, torn, 700.0, SurfaceConfig()).face) == 0
