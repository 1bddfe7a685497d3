"""Scraps that would hang in the air in other poses, on two boards of which one is raised before the other."""

from __future__ import annotations

import numpy as np

from backend.body.model import JOINT_INDEX, load_body
from backend.geometry.maps import unproject
from backend.reconstruct.floaters import is_floater, without_floaters
from backend.reconstruct.sheets import LayeredDepthImage
from backend.reconstruct.types import SurfaceMesh
from backend.rendering.mesh import rasterize_mesh

SIZE, FOCAL = 128, 160.0
TRUNK, ARM, SCRAP = (slice(10, 120), slice(30, 90)), (slice(30, 45), slice(20, 110)), (slice(70, 78), slice(50, 60))
"""Rows and columns; the arm lies before the trunk, and the scrap on the trunk."""
TRUNK_DEPTH, ARM_DEPTH = 2.0, 1.7
DOWN = np.array([0.0, 0.9, 0.0])
"""Metres from where the arm is in the photo to where it hangs."""


def boards() -> SurfaceMesh:
    """Trunk and arm, two triangles each; only the arm is elsewhere at rest."""
    corners = np.array([(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)], float)
    posed = [unproject(corners, np.full(4, depth), FOCAL, SIZE) for depth in (TRUNK_DEPTH, ARM_DEPTH)]
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    weights = np.repeat(np.eye(24)[:2], 4, 0)
    return SurfaceMesh(np.vstack([posed[0], posed[1] + DOWN]), np.vstack(posed), faces, weights, 8, 4)


def picture() -> LayeredDepthImage:
    """The trunk with the arm before it, and a scrap of the trunk that hangs on the arm."""
    face = np.full((SIZE, SIZE), -1)
    front = np.full((SIZE, SIZE), TRUNK_DEPTH)
    face[TRUNK] = 0
    face[ARM], front[ARM] = 2, ARM_DEPTH
    face[SCRAP], front[SCRAP] = 2, ARM_DEPTH
    return LayeredDepthImage(front, front + 0.1, face, np.zeros(face.shape, bool))


def test_a_scrap_goes_with_what_lies_around_it() -> None:
    before = picture()
    after = without_floaters(before, boards(), FOCAL)
    assert (after.face[SCRAP] == 0).all() and (after.front[SCRAP] == TRUNK_DEPTH).all()
    elsewhere = np.ones((SIZE, SIZE), bool)
    elsewhere[SCRAP] = False
    for name in ("face", "front", "back"):
        assert np.array_equal(getattr(after, name)[elsewhere], getattr(before, name)[elsewhere])


def test_what_is_as_large_as_a_limb_is_none() -> None:
    # It hangs as far from everything as a scrap, but is as wide as a forearm with its hand.
    large = picture()
    large.face[70:90, 40:80], large.front[70:90, 40:80] = 2, ARM_DEPTH
    assert without_floaters(large, boards(), FOCAL) is large


def test_toes_below_a_long_skirt_are_no_scraps() -> None:
    body = load_body("male")
    rest, faces, weights = body.template.numpy().astype(float), body.faces.numpy(), body.weights.numpy()
    rest = rest * (1.9 / np.ptp(rest[:, 1]))  # its faces are larger than a cell
    posed = (rest - (rest.min(0) + rest.max(0)) / 2) * [1, -1, -1] + [0, 0, 3.0]
    hits = rasterize_mesh(posed, faces, 700.0, (512, 512))
    joint = weights.argmax(1)[faces[:, 0]]
    toes, hidden = (
        np.isin(joint, [k for name, k in JOINT_INDEX.items() if name.endswith(ends)])
        for ends in ("_foot", ("_hip", "_knee", "_ankle"))
    )
    shown = (hits.face >= 0) & ~hidden[hits.face]
    assert 0 < (shown & toes[hits.face]).sum() < 0.04 * shown.sum()  # each of them less than a scrap's most
    face = np.where(shown, hits.face, -1)
    layers = LayeredDepthImage(hits.depth, hits.depth + 0.1, face, np.zeros(face.shape, bool))
    mesh = SurfaceMesh(rest, posed, faces, weights, len(rest), len(faces))
    assert without_floaters(layers, mesh, 700.0) is layers


def test_unseen_scraps_are_adrift_and_shown_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    body = rng.uniform([-0.2, -0.5, -0.05], [0.2, 0.5, 0.05], (40000, 3))
    scrap = rng.uniform(0, 0.02, (30, 3))
    shown, hidden = (scrap + np.array([side, 0.2, 0.0]) for side in (0.5, -0.5))
    hidden[-1] = 1e4  # no room is large enough for that
    rest = np.vstack([shown, body, hidden])
    assert np.array_equal(is_floater(rest, len(shown) + 20000), np.arange(len(rest)) >= len(shown) + len(body))
