"""Distances to masks and the nearest of them, against SciPy's exact ones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from backend.geometry.distances import depth_inside, nearest_of


def _mask() -> np.ndarray:
    rows, columns = np.indices((512, 400))
    mask = (np.hypot(rows - 260, columns - 130) < 90) | ((np.abs(rows - 400) < 6) & (columns > 20))
    return mask & ~((rows > 250) & (rows < 254))


def test_depths_are_the_exact_distances() -> None:
    np.testing.assert_allclose(depth_inside(_mask()), ndimage.distance_transform_edt(_mask()), atol=1e-4)


def test_the_nearest_lies_in_the_mask_and_hardly_farther_than_it_must() -> None:
    mask = _mask()
    row, column = nearest_of(mask)
    assert mask[row, column].all()
    rows, columns = np.indices(mask.shape)
    assert (row[mask] == rows[mask]).all() and (column[mask] == columns[mask]).all()
    exact, found = ndimage.distance_transform_edt(~mask), np.hypot(row - rows, column - columns)
    assert (found <= 1.05 * exact + 1.5).all() and (found - exact).mean() < 0.2


def test_without_a_mask_every_pixel_is_its_own() -> None:
    row, column = nearest_of(np.zeros((4, 5), bool))
    rows, columns = np.indices((4, 5))
    assert (row == rows).all() and (column == columns).all()
