"""Hair before a raised arm: told from the arm by colour, and put back on the head."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.body.model import JOINT_INDEX
from backend.reconstruct.hair import hair_before_arms, with_hair
from backend.reconstruct.maps import unproject
from backend.rendering.mesh import MeshHits, rasterize_mesh

SIZE, FOCAL = 128, 160.0
SKIN, HAIR = (214, 165, 140), (70, 45, 30)
HEAD, FACE, ARM = (40, 15, 88, 65), (52, 28, 72, 55), (78, 20, 96, 120)
"""Left, top, right and bottom; the arm is in front of the head."""
LOCK = (78, 25, 93, 50)
"""Where hair falls before the arm."""


def inside(box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    row, column = np.indices((SIZE, SIZE))
    return (column >= left) & (column < right) & (row >= top) & (row < bottom)


@pytest.fixture(scope="module")
def body() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [12, 3], faces [6, 3], weights [12, 24] of three boards, and which vertices are the face's [12]."""
    vertices, faces = [], []
    for number, (box, depth) in enumerate(((HEAD, 3.0), (FACE, 2.95), (ARM, 2.6))):
        left, top, right, bottom = box
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
        vertices.append(unproject(corners, np.full(4, depth), FOCAL, SIZE))
        faces += [[4 * number, 4 * number + 2, 4 * number + 1], [4 * number, 4 * number + 3, 4 * number + 2]]
    weights = np.zeros((12, 24))
    weights[:8, JOINT_INDEX["head"]] = weights[8:, JOINT_INDEX["left_elbow"]] = 1
    return np.vstack(vertices), np.array(faces), weights, np.arange(12) // 4 == 1


def seen(body: tuple[np.ndarray, ...]) -> MeshHits:
    return rasterize_mesh(body[0], body[1], FOCAL, (SIZE, SIZE))


def found(body: tuple[np.ndarray, ...], lock: tuple[int, int, int, int] | None, hair: tuple[int, ...]) -> np.ndarray:
    """What of a striped sleeve is told to be hair where the photo has a ``lock`` before it."""
    bands = (np.arange(SIZE) // 5 % 2)[:, None, None]
    rgb = np.broadcast_to(np.where(bands, [40, 60, 120], [225, 225, 230]), (SIZE, SIZE, 3)).astype(float)
    rgb = np.where(inside(HEAD)[..., None] & ~inside(ARM)[..., None], hair, rgb)
    rgb = np.where(inside(FACE)[..., None], SKIN, rgb)
    if lock is not None:
        rgb = np.where(inside(lock)[..., None], hair, rgb)
    rgb = (rgb + np.random.default_rng(0).normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)
    matte = inside(HEAD) | inside(ARM)
    return hair_before_arms(SimpleNamespace(rgb=rgb), matte, seen(body), *body[1:])


def test_a_lock_before_a_sleeve_is_hair(body: tuple[np.ndarray, ...]) -> None:
    mask, true = found(body, LOCK, HAIR), inside(LOCK)
    assert (mask & true).sum() / (mask | true).sum() > 0.9


@pytest.mark.parametrize(
    ("lock", "hair"),
    [
        (None, HAIR),  # nothing falls there
        (LOCK, SKIN),  # a shaved head tells nothing
        ((86, 30, 95, 50), HAIR),  # a dark patch on the sleeve, away from the hair
        ((78, 100, 96, 118), HAIR),  # out of reach
    ],
)
def test_sleeves_stay_with_the_arm(
    body: tuple[np.ndarray, ...], lock: tuple[int, int, int, int] | None, hair: tuple[int, ...]
) -> None:
    assert not found(body, lock, hair).any()


def test_hair_goes_with_the_head(body: tuple[np.ndarray, ...]) -> None:
    first, mask = seen(body), inside(LOCK)
    moved = with_hair(first, mask, *body[:3], FOCAL)
    head = np.isin(moved.face, [0, 1])
    # Also where the lock falls beside the head, 5 pixels of it.
    assert head[mask].all() and moved.depth[mask] == pytest.approx(3.0)
    for name in ("face", "barycentric", "depth"):
        np.testing.assert_array_equal(getattr(moved, name)[~mask], getattr(first, name)[~mask])
    assert with_hair(first, np.zeros_like(mask), *body[:3], FOCAL) is first
