"""What hangs between the legs: shares and weights against closed forms, and a skirt in a stride."""

from __future__ import annotations

import numpy as np
import pytest
from test_surface import cloth_between, legs

from backend.avatar.skinning import joint_transforms, skin_vertices
from backend.body.model import JOINT_INDEX, load_body
from backend.reconstruct import sheets
from backend.reconstruct.sheets import Sheet
from backend.reconstruct.skirts import Skirt, between_legs, find_skirt

LEFT, RIGHT = (JOINT_INDEX[f"{side}_hip"] for side in ("left", "right"))
JOINTS = legs((0.1, 0, 3), (-0.1, 0, 3))


def strip(top: float, hem: float, width: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """Places between the legs of ``JOINTS``, and their areas, from ``top`` to ``hem`` metres below the hips."""
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, 21), np.linspace(top, hem, 101) - 0.5)
    points = np.stack([x, y, np.full(x.shape, 3.0)], -1).reshape(-1, 3)
    return points, np.full(len(points), width * (hem - top) / len(points))


def test_weights_go_by_the_squares_of_distances_from_the_legs() -> None:
    skirt = Skirt(JOINTS, 0.3, 1.5)
    # At the height of the knees, on the left leg, in the middle, and 8 cm beside the left leg.
    points = np.array([[0.1, 0, 3], [0, 0, 3], [0.18, 0, 3], [0, 0, 2.9]])
    weights = np.zeros((4, 24))
    weights[:, LEFT] = 1
    out = skirt.carry(points, weights)
    expected = [1, 0.5, 0.28**2 / (0.28**2 + 0.08**2), 0.5]
    np.testing.assert_allclose(out[:, LEFT], expected)
    np.testing.assert_allclose(out[:, RIGHT], 1 - out[:, LEFT])


def test_weights_are_the_other_legs_in_the_mirror_and_the_trunks_stay() -> None:
    skirt = Skirt(JOINTS, 0.3, 1.5)
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.2, -0.5, 2.8], [0.2, 0.5, 3.2], (50, 3))
    weights = rng.random((50, 24))
    weights /= weights.sum(1, keepdims=True)
    out = skirt.carry(points, weights)
    np.testing.assert_allclose(out.sum(1), 1)
    sides = [(JOINT_INDEX[f"left_{n}"], JOINT_INDEX[f"right_{n}"]) for n in ("hip", "knee", "ankle", "foot")]
    swap = np.arange(24)
    for a, b in sides:
        swap[[a, b]] = b, a
    np.testing.assert_allclose(skirt.carry(points * [-1, 1, 1], weights[:, swap])[:, swap], out, atol=1e-12)
    others = np.setdiff1d(np.arange(24), np.ravel(sides))
    np.testing.assert_array_equal(out[:, others], weights[:, others])
    # Knees stay knees, of one leg or the other.
    for a, b in sides:
        np.testing.assert_allclose(out[:, [a, b]].sum(1), weights[:, [a, b]].sum(1))


def test_at_the_hips_weights_are_as_they_were() -> None:
    weights = np.zeros((2, 24))
    weights[:, LEFT] = 1
    high = np.array([[0, -0.5, 3], [0.05, -0.6, 3]])
    np.testing.assert_array_equal(Skirt(JOINTS, 0.3, 1.5).carry(high, weights), weights)


def test_a_skirt_is_what_hangs_from_above_the_knees() -> None:
    skirt = find_skirt(*strip(0.15, 0.6), JOINTS)
    assert skirt is not None
    # Bones of half a metre: 15 and 60 cm below the hips.
    assert skirt.top == pytest.approx(0.15 / 0.5, abs=0.06) and skirt.hem == pytest.approx(0.6 / 0.5, abs=0.03)
    assert find_skirt(*strip(0.15, 0.2), JOINTS) is None
    # Between shins alone: trousers before a shadow.
    assert find_skirt(*strip(0.6, 0.95), JOINTS) is None
    # Beside one leg: a train, a shadow.
    points, area = strip(0.15, 0.6)
    assert find_skirt(points + np.array([0.3, 0, 0]), area, JOINTS) is None
    assert find_skirt(np.zeros((0, 3)), np.zeros(0), JOINTS) is None


def test_it_covers_the_legs_down_to_its_hem() -> None:
    skirt = Skirt(JOINTS, 0.3, 1.2)
    x = np.array([0.1, 0.18, 0.0, -0.1])
    for below, expected in ((0.0, 0), (0.3, 1), (0.5, 1), (0.62, 0), (0.9, 0)):
        points = np.stack([x, np.full(4, below - 0.5), np.full(4, 3.0)], 1)
        np.testing.assert_allclose(skirt.inside(points), expected, atol=1e-9)


def test_between_legs() -> None:
    points = np.array([[0, 0, 3], [0.02, 0.2, 3], [0, -0.3, 2.8], [0.1, 0, 3], [-0.3, 0, 3]])
    np.testing.assert_array_equal(between_legs(points, JOINTS), [True, True, True, False, False])


def stretched(sheet: Sheet) -> np.ndarray:
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


def test_a_stride_stretches_a_skirt_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    _, layers, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    assert (layers.face >= 0).any()
    # It is on the legs too, front and back.
    assert np.ptp(sheet.posed[:, 0]) > 0.36
    worst = np.quantile(stretched(sheet), 0.99)
    monkeypatch.setattr(sheets, "find_skirt", lambda *_: None)
    monkeypatch.setattr(sheets, "between_legs", lambda points, _: np.zeros(len(points), bool))
    _, _, apart = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    assert worst < 0.75 * np.quantile(stretched(apart), 0.99)


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
