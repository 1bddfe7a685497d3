"""Axes: y up to z up, and back."""

from __future__ import annotations

import numpy as np
from humansplat.humansplat_blender.scene import convert
from mathutils import Matrix, Quaternion, Vector

from backend.avatar import rotation_matrices
from backend.avatar.quaternion import normalize

RANDOM = np.random.default_rng(0)
# Blender's own maths: a quarter turn about x.
TURN = Matrix.Rotation(np.pi / 2, 3, "X")


def test_up_is_up_and_the_chest_faces_the_front_view() -> None:
    np.testing.assert_array_equal(convert.to_blender(np.eye(3)), [[1, 0, 0], [0, 0, 1], [0, -1, 0]])


def test_vectors_turn_as_in_mathutils() -> None:
    vectors = RANDOM.normal(size=(5, 3)).astype(np.float32)
    expected = [TURN @ Vector(v) for v in vectors]
    np.testing.assert_allclose(convert.to_blender(vectors), expected, atol=1e-6)
    assert convert.to_blender(vectors).dtype == np.float32
    np.testing.assert_array_equal(convert.from_blender(convert.to_blender(vectors)), vectors)


def test_orientations_turn_as_in_mathutils() -> None:
    quaternions = normalize(RANDOM.normal(size=(5, 4)))
    expected = [TURN.to_quaternion() @ Quaternion(q) for q in quaternions]
    found = convert.orientations_to_blender(quaternions)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(convert.orientations_from_blender(found), quaternions, atol=1e-12)


def test_motions_act_alike_on_both_sides() -> None:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation_matrices(RANDOM.normal(size=3)), RANDOM.normal(size=3)
    point = RANDOM.normal(size=3)
    moved = convert.transform_to_blender(motion) @ np.append(convert.to_blender(point), 1)
    np.testing.assert_allclose(moved[:3], convert.to_blender((motion @ np.append(point, 1))[:3]), atol=1e-12)
    # An axis-angle vector is an axis: it converts as a vector does.
    turn = RANDOM.normal(size=3)
    np.testing.assert_allclose(
        rotation_matrices(convert.to_blender(turn)),
        np.array(TURN, dtype=float) @ rotation_matrices(turn) @ np.array(TURN, dtype=float).T,
        atol=1e-6,
    )
