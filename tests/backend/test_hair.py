"""Hair before a raised arm: told from the arm by colour, and put back on the head."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.body.model import JOINT_INDEX
from backend.reconstruct.hair import hair_before_arms, with_hair
from backend.reconstruct.maps import unproject
from backend.reconstruct.regions import BodyRegions
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


def found(
    body: tuple[np.ndarray, ...],
    lock: tuple[int, int, int, int] | None,
    hair: tuple[int, ...],
    before: tuple[int, ...] | None = None,
) -> np.ndarray:
    """What of a striped sleeve is told to be hair where the photo has a ``lock`` of ``hair``, or something of another
    colour, ``before`` it."""
    bands = (np.arange(SIZE) // 5 % 2)[:, None, None]
    rgb = np.broadcast_to(np.where(bands, [40, 60, 120], [225, 225, 230]), (SIZE, SIZE, 3)).astype(float)
    rgb = np.where(inside(HEAD)[..., None] & ~inside(ARM)[..., None], hair, rgb)
    rgb = np.where(inside(FACE)[..., None], SKIN, rgb)
    if lock is not None:
        rgb = np.where(inside(lock)[..., None], hair if before is None else before, rgb)
    rgb = (rgb + np.random.default_rng(0).normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)
    matte = inside(HEAD) | inside(ARM)
    regions = BodyRegions(
        face=body[3], hair=np.arange(12) < 4, nape=np.zeros(12, bool), seat=np.zeros(12, bool), inside=np.zeros((12, 2))
    )
    return hair_before_arms(SimpleNamespace(rgb=rgb), matte, seen(body), *body[1:3], regions)


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


def test_shaded_skin_before_hair_is_no_hair(body: tuple[np.ndarray, ...]) -> None:
    # A hand at half the face's display brightness: a fifth of its light.
    assert not found(body, LOCK, HAIR, tuple(c // 2 for c in SKIN)).any()


def test_dark_cloth_around_a_shaved_head_is_no_hair(body: tuple[np.ndarray, ...]) -> None:
    vertices, faces, weights, face = body
    neck = weights.copy()
    # The lower board is a neck in a dark collar, the face above it is all that is seen of the head.
    neck[:4] = 0
    neck[:4, JOINT_INDEX["neck"]] = 1
    regions = BodyRegions(
        face=face, hair=np.zeros(12, bool), nape=np.zeros(12, bool), seat=np.zeros(12, bool), inside=np.zeros((12, 2))
    )
    rgb = np.where(inside(LOCK)[..., None], HAIR, np.where(inside(FACE)[..., None], SKIN, (225, 225, 230)))
    rgb = np.where((inside(HEAD) & ~inside(FACE) & ~inside(ARM))[..., None], HAIR, rgb).astype(np.uint8)
    matte = inside(HEAD) | inside(ARM)
    first = seen((vertices, faces))
    assert not hair_before_arms(SimpleNamespace(rgb=rgb), matte, first, faces, neck, regions).any()


def test_hair_goes_with_the_head(body: tuple[np.ndarray, ...]) -> None:
    first, mask = seen(body), inside(LOCK)
    moved = with_hair(first, mask, *body[:3], FOCAL)
    head = np.isin(moved.face, [0, 1])
    # Also where the lock falls beside the head, 5 pixels of it.
    assert head[mask].all() and moved.depth[mask] == pytest.approx(3.0)
    for name in ("face", "barycentric", "depth"):
        np.testing.assert_array_equal(getattr(moved, name)[~mask], getattr(first, name)[~mask])
    assert with_hair(first, np.zeros_like(mask), *body[:3], FOCAL) is first
