"""What hangs between the legs: shares and weights against closed forms, and a skirt in a stride."""

from __future__ import annotations

import numpy as np
import pytest
from test_surface import cloth_between, legs, tube

from backend.avatar.skinning import joint_transforms, skin_vertices
from backend.body.model import JOINT_INDEX, load_body
from backend.estimate.depth import SideDepths
from backend.reconstruct.sheets import GarmentPatch
from backend.reconstruct.skirts import Skirt, between_legs, find_skirt
from backend.reconstruct.splats import Splats, back_of_sheets
from backend.reconstruct.types import SurfaceMesh

LEFT, RIGHT = (JOINT_INDEX[f"{side}_hip"] for side in ("left", "right"))
JOINTS = legs((0.1, 0, 3), (-0.1, 0, 3))


def strip(top: float, hem: float, width: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """Places between the legs of ``JOINTS``, and their areas, from ``top`` to ``hem`` metres below the hips."""
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, 21), np.linspace(top, hem, 101) - 0.5)
    points = np.stack([x, y, np.full(x.shape, 3.0)], -1).reshape(-1, 3)
    return points, np.full(len(points), width * (hem - top) / len(points))


def test_weights_go_by_the_squares_of_distances_from_the_legs() -> None:
    skirt = Skirt(JOINTS, 1.5)
    # At the height of the knees, on the left leg, in the middle, and 8 cm beside the left leg.
    points = np.array([[0.1, 0, 3], [0, 0, 3], [0.18, 0, 3], [0, 0, 2.9]])
    weights = np.zeros((4, 24))
    weights[:, LEFT] = 1
    out = skirt.carry(points, weights, weights)
    expected = [1, 0.5, 0.28**2 / (0.28**2 + 0.08**2), 0.5]
    np.testing.assert_allclose(out[:, LEFT], expected)
    np.testing.assert_allclose(out[:, RIGHT], 1 - out[:, LEFT])


def test_weights_are_the_other_legs_in_the_mirror_and_the_trunks_stay() -> None:
    skirt = Skirt(JOINTS, 1.5)
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.2, -0.5, 2.8], [0.2, 0.5, 3.2], (50, 3))
    weights = rng.random((50, 24))
    weights /= weights.sum(1, keepdims=True)
    out = skirt.carry(points, weights, weights)
    np.testing.assert_allclose(out.sum(1), 1)
    sides = [(JOINT_INDEX[f"left_{n}"], JOINT_INDEX[f"right_{n}"]) for n in ("hip", "knee", "ankle", "foot")]
    swap = np.arange(24)
    for a, b in sides:
        swap[[a, b]] = b, a
    mirrored = weights[:, swap]
    np.testing.assert_allclose(skirt.carry(points * [-1, 1, 1], mirrored, mirrored)[:, swap], out, atol=1e-12)
    others = np.setdiff1d(np.arange(24), np.ravel(sides))
    np.testing.assert_allclose(out[:, others], weights[:, others])
    # Knees stay knees, of one leg or the other.
    for a, b in sides:
        np.testing.assert_allclose(out[:, [a, b]].sum(1), weights[:, [a, b]].sum(1))


def test_at_the_hips_weights_are_as_they_were_and_change_without_a_jump() -> None:
    skirt = Skirt(JOINTS, 1.5)
    hand, leg = np.zeros((2, 41, 24))
    hand[:, JOINT_INDEX["left_hand"]] = leg[:, LEFT] = 1
    points = np.stack([np.full(41, 0.05), np.linspace(-0.6, -0.2, 41), np.full(41, 3.0)], 1)
    out = skirt.carry(points, hand, leg)
    np.testing.assert_array_equal(out[:10], hand[:10])
    assert not out[-1, JOINT_INDEX["left_hand"]]
    assert np.abs(np.diff(out, axis=0)).max() < 0.08


def test_a_skirt_is_what_hangs_between_the_legs_from_above_the_knees() -> None:
    skirt = find_skirt(*strip(0.15, 0.6), JOINTS)
    assert skirt is not None
    # Bones of half a metre, and a hem 60 cm below the hips.
    assert skirt.hem == pytest.approx(0.6 / 0.5, abs=0.03)
    # No garment covers feet.
    longest = find_skirt(*strip(0.15, 1.2), JOINTS)
    assert longest is not None and longest.hem <= 2
    assert find_skirt(*strip(0.15, 0.2), JOINTS) is None
    # Between shins alone, or all but alone: trousers before a shadow.
    shadow, crotch = strip(0.6, 0.95), strip(0.1, 0.15)
    assert find_skirt(*shadow, JOINTS) is None
    assert find_skirt(*(np.concatenate(both) for both in zip(shadow, crotch)), JOINTS) is None
    assert find_skirt(np.zeros((0, 3)), np.zeros(0), JOINTS) is None
    # A child's is as much smaller as its legs.
    points, area = strip(0.15, 0.6, 0.05)
    assert find_skirt(0.6 * points, 0.36 * area, 0.6 * JOINTS) is not None
    assert find_skirt(points, 0.36 * area, JOINTS) is None


def test_it_covers_the_legs_down_to_its_hem() -> None:
    skirt = Skirt(JOINTS, 1.2)
    x = np.array([0.1, 0.18, 0.0, -0.1])
    for below, expected in ((0.0, 0), (0.1, 0.5), (0.3, 1), (0.59, 1), (0.62, 0), (0.9, 0)):
        points = np.stack([x, np.full(4, below - 0.5), np.full(4, 3.0)], 1)
        np.testing.assert_allclose(skirt.inside(points), expected, atol=1e-9)


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


def test_a_stride_stretches_a_skirt_less_than_a_sheet_whose_weights_are_diffused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    monkeypatch.setattr(Skirt, "carry", lambda _, points, hung, legs: hung)
    _, _, diffused = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    np.testing.assert_array_equal(sheet.posed, diffused.posed)
    assert np.quantile(stretched(sheet), 0.99) < 0.8 * np.quantile(stretched(diffused), 0.99)


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
