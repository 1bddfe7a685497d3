"""What a picture shows of points: against closed forms before a flat wall, and a second computation by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.geometry.maps import unproject
from backend.reconstruct.config import SURFACE_STEP_M, VisibilityConfig
from backend.reconstruct.parts import Part
from backend.reconstruct.visibility import Observation, View, compatible, observe, ramp

SIZE, FOCAL, DEPTH = 96, 120.0, 2.0
CONFIG = VisibilityConfig()
TOWARDS = np.array([0.0, 0.0, -1.0])
MIDDLE = (48.5, 48.5)


def board(low: int = 16, high: int = 80) -> np.ndarray:
    """A square of the picture, bool [S, S]."""
    inside = np.zeros((SIZE, SIZE), bool)
    inside[low:high, low:high] = True
    return inside


def wall(**changed: object) -> View:
    """A square wall across the camera's axis."""
    view = View.of(np.eye(4), FOCAL, np.where(board(), DEPTH, np.inf), board())
    return replace(view, **changed)


def at(pixel: tuple[float, float], depth: float, normal: np.ndarray = TOWARDS, part: Part = Part.TRUNK,
       view: View | None = None) -> Observation:  # fmt: skip
    """How a view, if not given the wall's, sees one point on the ray of a pixel."""
    place = unproject(np.array([pixel]), np.array([depth]), FOCAL, SIZE)
    return observe(place, normal[None], np.array([part]), wall() if view is None else view)


def test_ramp_is_linear_between_its_limits() -> None:
    np.testing.assert_allclose(ramp(np.array([-1.0, 2, 3, 4.5, 6, 9]), (2.0, 6.0)), [0, 0, 0.25, 0.625, 1, 1])


def test_confidence_falls_with_the_slant_of_the_surface() -> None:
    """Along the camera's axis, the cosine is that of the angle by which the normal is turned."""
    low, high = CONFIG.facing
    for degrees in (0.0, 50.0, 65.0, 75.0, 83.0, 88.0, 120.0, 180.0):
        turned = Rotation.from_euler("y", degrees, degrees=True).apply(TOWARDS)
        seen = at((SIZE / 2, SIZE / 2), DEPTH, turned)
        cosine = np.cos(np.radians(degrees))
        assert seen.facing[0] == pytest.approx(cosine, abs=1e-9)
        assert seen.confidence[0] == pytest.approx(np.clip((cosine - low) / (high - low), 0, 1), abs=1e-6)
    # At the picture's rim the ray is aslant, and a wall is no longer met face on.
    seen = at((70.5, 48.0), DEPTH)
    assert seen.facing[0] == pytest.approx(FOCAL / np.hypot(FOCAL, 22.5))


def test_confidence_rises_from_the_outline_inwards() -> None:
    low, high = CONFIG.outline
    for column in range(10, 48):
        seen = at((column + 0.5, 48.5), DEPTH)
        # The first pixel of the wall, number 16, is one pixel from what is outside.
        inner = max(0, column - 15)
        assert seen.inner[0] == pytest.approx(inner, abs=1e-4)
        assert seen.confidence[0] == pytest.approx(np.clip((inner - low) / (high - low), 0, 1), abs=1e-4)
        np.testing.assert_allclose(seen.pixels, [[column + 0.5, 48.5]], atol=1e-9)


def test_what_is_nearer_hides_what_lies_behind() -> None:
    for behind, expected in ((-0.3, 1), (0.0, 1), (CONFIG.behind - 1e-3, 1), (CONFIG.behind + 1e-3, 0), (0.5, 0)):
        seen = at(MIDDLE, DEPTH + behind)
        assert seen.confidence[0] == expected and (seen.inner[0] > 0) == expected
    # A nearer pole hides just what it covers.
    depth = np.where(board(), DEPTH, np.inf)
    depth[:, 40:44] = 1.5
    view = wall(depth=depth)
    assert at((41.5, 48.5), DEPTH, view=view).confidence[0] == 0
    assert at((44.5, 48.5), DEPTH, view=view).confidence[0] == at((39.5, 48.5), DEPTH, view=view).confidence[0] == 1


def test_what_may_be_off_by_some_pixels_is_not_believed_beside_something_nearer() -> None:
    depth = np.where(board(), DEPTH, np.inf)
    depth[:, 40:44] = 1.5
    sharp, blurred = wall(depth=depth), wall(depth=depth, blur=3)
    for column, expected in ((33, 1), (36, 1), (37, 0), (39, 0), (41, 0), (44, 0), (46, 0), (47, 1), (52, 1)):
        assert at((column + 0.5, 48.5), DEPTH, view=blurred).confidence[0] == expected, column
        assert at((column + 0.5, 48.5), DEPTH, view=sharp).confidence[0] == (column not in range(40, 44))
    # What is nearer by less than the tolerance is the same surface in a fold.
    for step, expected in ((2 * SURFACE_STEP_M - 1e-3, 1), (2 * SURFACE_STEP_M + 1e-3, 0)):
        depth[:, 40:44] = DEPTH - step
        assert at((46.5, 48.5), DEPTH, view=wall(depth=depth, blur=3)).confidence[0] == expected


def test_a_pixel_that_shows_another_limb_says_nothing() -> None:
    """An arm before the wall, by the labels: neither the trunk takes its colour nor the arm the trunk's."""
    part = np.where(board(), int(Part.TRUNK), int(Part.NONE))
    part[:, 40:56] = np.where(board()[:, 40:56], int(Part.LEFT_ARM), int(Part.NONE))
    view = wall(part=part)
    for pixel, own, expected in (
        ((48.5, 48.5), Part.TRUNK, 0), ((48.5, 48.5), Part.LEFT_ARM, 1), ((48.5, 48.5), Part.RIGHT_ARM, 0),
        ((30.5, 48.5), Part.TRUNK, 1), ((30.5, 48.5), Part.SEAT, 1), ((30.5, 48.5), Part.LEFT_ARM, 0),
    ):  # fmt: skip
        seen = at(pixel, DEPTH, part=own, view=view)
        assert seen.confidence[0] == expected and (seen.inner[0] > 0) == expected
    # Without labels the surface alone decides.
    assert at((48.5, 48.5), DEPTH, part=Part.RIGHT_ARM).confidence[0] == 1


def test_a_stiff_hand_where_the_photo_shows_a_sleeve_is_not_seen() -> None:
    part = np.where(board(), int(Part.LEFT_ARM), int(Part.NONE))
    view = wall(part=part)
    assert at(MIDDLE, DEPTH, part=Part.LEFT_HAND, view=view).confidence[0] == 0
    assert at(MIDDLE, DEPTH, part=Part.LEFT_ARM, view=view).confidence[0] == 1
    # And nor does the arm take the colour of a hand that the photo shows there.
    view = wall(part=np.where(board(), int(Part.LEFT_HAND), int(Part.NONE)))
    assert at(MIDDLE, DEPTH, part=Part.LEFT_HAND, view=view).confidence[0] == 1
    assert at(MIDDLE, DEPTH, part=Part.LEFT_ARM, view=view).confidence[0] == 0


def test_what_parts_may_be_seen_in_each_other() -> None:
    """By hand: one limb, but hands, faces and hair are themselves, and hair falls over the neck."""
    limbs = [
        {Part.NECK, Part.TRUNK, Part.SEAT}, {Part.LEFT_LEG, Part.LEFT_FOOT}, {Part.RIGHT_LEG, Part.RIGHT_FOOT},
        {Part.HAIR, Part.NECK}, *({part} for part in Part if part != Part.NONE),
    ]  # fmt: skip
    for shown in Part:
        for own in Part:
            if own == Part.NONE:
                continue
            expected = any({shown, own} <= limb for limb in limbs)
            assert bool(compatible(np.array([shown]), np.array([own]))[0]) == expected, (shown, own)


def test_what_lies_beside_the_picture_is_not_seen() -> None:
    """A wall that fills the picture goes on beyond it; the photo does not show it there."""
    everywhere = np.ones((SIZE, SIZE), bool)
    everywhere[:8] = False
    view = View.of(np.eye(4), FOCAL, np.where(everywhere, DEPTH, np.inf), everywhere)
    assert at((48.5, SIZE - 20.5), DEPTH, view=view).confidence[0] == 1
    for pixel in ((48.5, SIZE + 30.0), (-30.0, 60.0), (SIZE + 200.0, 60.0)):
        assert at(pixel, DEPTH, view=view).confidence[0] == 0, pixel


def test_a_turned_camera_sees_what_a_second_computation_says() -> None:
    """Random points and normals before a camera that is elsewhere, one by one."""
    rng = np.random.default_rng(0)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.2, 2.8, -0.1]).as_matrix()
    matrix[:3, 3] = [0.1, -0.2, 2.5]
    depth = np.where(board(), rng.uniform(2.2, 2.8, (SIZE, SIZE)), np.inf)
    part = np.where(board(), rng.choice([Part.TRUNK, Part.SEAT, Part.LEFT_ARM], (SIZE, SIZE)), Part.NONE)
    view = View.of(matrix, FOCAL, depth, board(), part)
    points = rng.uniform(-0.5, 0.5, (400, 3))
    normals = rng.normal(size=(400, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    own = rng.choice([Part.TRUNK, Part.LEFT_ARM], 400)
    seen = observe(points, normals, own, view)
    outside = np.argwhere(~board())
    for k in range(400):
        x, y, z = (matrix @ [*points[k], 1])[:3]
        column, row = x / z * FOCAL + SIZE / 2, y / z * FOCAL + SIZE / 2
        r, c = int(row), int(column)
        assert 0 <= r < SIZE and 0 <= c < SIZE
        eye = np.linalg.inv(matrix)[:3, 3] - points[k]
        facing = float(normals[k] @ eye / np.linalg.norm(eye))
        same = {int(own[k]), int(part[r, c])} in ({3}, {5}, {3, 4})
        inner = np.sqrt(((outside - [r, c]) ** 2).sum(1).min()) if same and z < depth[r, c] + CONFIG.behind else 0.0
        expected = np.clip((inner - 1.5) / 6.5, 0, 1) * np.clip((facing - 0.1) / 0.4, 0, 1)
        assert seen.facing[k] == pytest.approx(facing) and seen.inner[k] == pytest.approx(inner, abs=1e-4)
        assert seen.confidence[k] == pytest.approx(expected, abs=1e-4)
    assert 0.05 < (seen.confidence > 0).mean() < 0.5
