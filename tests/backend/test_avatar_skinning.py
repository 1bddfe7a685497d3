"""Skinning and quaternion maths against smplx, scipy and a splat-by-splat loop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import PARENTS, REST_JOINTS, make_avatar, make_pose, make_shipped_avatar

from backend.avatar import (
    Avatar,
    AvatarFormatError,
    Gaussians,
    KnownTriangles,
    bind_to_surface,
    joint_transforms,
    load_avatar,
    pose_gaussians,
    quaternion,
    reference_triangles,
    rotation_matrices,
    save_avatar,
    skin_vertices,
    triangle_frames,
)
from backend.avatar.rows import distinct_rows
from backend.avatar.skinning import (
    PRESERVE_VOLUME,
    STRETCH_LIMITS,
    nearest_on_triangles,
    unskin_vertices,
    vertex_transforms,
)


def test_distinct_rows_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for rows in (
        rng.integers(-5, 7, (4000, 4)),
        rng.integers(0, 2, (30, 1)),
        np.full((3, 2), -9),
        np.zeros((0, 3), int),
    ):
        _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        ours, numbered = distinct_rows(rows)
        assert np.array_equal(ours, first) and np.array_equal(numbered, kind.reshape(-1))


def scipy_rotation(q: np.ndarray) -> Rotation:
    return Rotation.from_quat(q[..., [1, 2, 3, 0]])


@pytest.fixture(scope="module")
def quaternions() -> np.ndarray:
    random = np.random.default_rng(0)
    q = random.normal(size=(500, 4))
    # Half turns, where w is 0 and the naive trace formula divides by nearly nothing.
    q[:8] = [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
        [0, 1, 1, 0],
        [1e-9, 1, 0, 2],
        [-1, 0, 0, 0],
        [-1] * 4,
    ]
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def test_matrices_agree_with_scipy(quaternions: np.ndarray) -> None:
    np.testing.assert_allclose(quaternion.to_matrix(quaternions), scipy_rotation(quaternions).as_matrix(), atol=1e-14)


def test_quaternions_of_matrices_agree_with_scipy(quaternions: np.ndarray) -> None:
    found = quaternion.from_matrix(scipy_rotation(quaternions).as_matrix())
    assert (found[:, 0] >= 0).all()
    np.testing.assert_allclose(np.abs((found * quaternions).sum(1)), 1, atol=1e-14)


def test_product_and_rotation_agree_with_scipy(quaternions: np.ndarray) -> None:
    a, b = quaternions, quaternions[::-1]
    product = scipy_rotation(a) * scipy_rotation(b)
    np.testing.assert_allclose(quaternion.to_matrix(quaternion.multiply(a, b)), product.as_matrix(), atol=1e-14)
    v = np.random.default_rng(1).normal(size=(len(a), 3))
    np.testing.assert_allclose(quaternion.rotate(a, v), scipy_rotation(a).apply(v), atol=1e-14)
    unit = np.broadcast_to([1.0, 0, 0, 0], a.shape)
    np.testing.assert_allclose(quaternion.multiply(a, quaternion.conjugate(a)), unit, atol=1e-14)


def test_zero_quaternion_becomes_identity() -> None:
    np.testing.assert_array_equal(
        quaternion.normalize(np.array([[0.0, 0, 0, 0], [0, 0, 3, 4]])), [[1, 0, 0, 0], [0, 0, 0.6, 0.8]]
    )


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-5, 0.7, np.pi, 6.0])
def test_rodrigues_agrees_with_scipy(size: float) -> None:
    axis = np.random.default_rng(2).normal(size=(50, 3))
    vectors = size * axis / np.linalg.norm(axis, axis=1, keepdims=True)
    np.testing.assert_allclose(rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)


def test_skinning_agrees_with_smplx() -> None:
    torch = pytest.importorskip("torch")
    lbs = pytest.importorskip("smplx.lbs").lbs
    random = np.random.default_rng(3)
    count = 300
    vertices = random.normal(size=(count, 3))
    regressor = random.dirichlet(np.ones(count), size=24)
    weights = random.dirichlet(np.full(24, 0.3), size=count)
    pose = random.normal(scale=0.8, size=(24, 3))
    translation = random.normal(size=3)
    expected, joints = lbs(
        betas=torch.zeros(1, 10, dtype=torch.float64),
        pose=torch.tensor(pose.reshape(1, 72)),
        v_template=torch.tensor(vertices)[None],
        shapedirs=torch.zeros(count, 3, 10, dtype=torch.float64),
        posedirs=torch.zeros(207, count * 3, dtype=torch.float64),
        J_regressor=torch.tensor(regressor),
        parents=torch.tensor(PARENTS),
        lbs_weights=torch.tensor(weights),
    )
    rest_joints = regressor @ vertices
    transforms = joint_transforms(pose, rest_joints, PARENTS)
    # smplx adds 1e-8 to the rotation vector before taking its length: agreement ends there.
    np.testing.assert_allclose(
        skin_vertices(vertices, weights, transforms, translation), expected[0].numpy() + translation, atol=1e-6
    )
    posed_joints = np.einsum("jab,jb->ja", transforms[:, :3, :3], rest_joints) + transforms[:, :3, 3]
    np.testing.assert_allclose(posed_joints, joints[0].numpy(), atol=1e-6)


def test_root_rotation_turns_about_the_pelvis() -> None:
    pose = np.zeros((24, 3))
    pose[0] = [0, np.pi / 2, 0]
    joints = REST_JOINTS + np.array([1.0, 2.0, 3.0])
    transforms = joint_transforms(pose, joints, PARENTS)
    # A quarter turn about y takes x to -z.
    point = joints[0] + [0.5, 0.25, 0]
    np.testing.assert_allclose(transforms[7] @ [*point, 1], [*(joints[0] + [0, 0.25, -0.5]), 1], atol=1e-12)


def test_triangle_frame_is_the_written_recipe() -> None:
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [0.5, 3, 0], [7, 0, 0]])
    frames, area = triangle_frames(vertices, np.array([[0, 1, 2], [1, 2, 0], [0, 1, 3]]))
    np.testing.assert_allclose(frames[0], np.eye(3), atol=1e-15)
    first = np.array([-1.5, 3, 0]) / np.hypot(1.5, 3)
    np.testing.assert_allclose(frames[1][:, 0], first, atol=1e-15)
    np.testing.assert_allclose(frames[1][:, 2], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(frames[1][:, 1], np.cross([0, 0, 1], first), atol=1e-15)
    np.testing.assert_allclose(area, [3, 3, 0])
    np.testing.assert_array_equal(frames[2], np.eye(3))


def test_binding_to_a_flat_reference_triangle_is_refused() -> None:
    gaussians = make_avatar(1).gaussians
    vertices, triangle = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]])
    with pytest.raises(ValueError, match="without an area"):
        bind_to_surface(gaussians, vertices, triangle, np.repeat(triangle, 3, axis=0))


def test_nearest_point_of_a_triangle_beats_every_other_one() -> None:
    random = np.random.default_rng(7)
    corners, points = random.normal(size=(60, 3, 3)), 2 * random.normal(size=(60, 3))
    corners[:5, 2] = 0.3 * corners[:5, 0] + 0.7 * corners[:5, 1]  # flat ones
    corners[5, 1:] = corners[5, 0]
    found = nearest_on_triangles(points, corners)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    assert found.min() >= 0
    own = np.linalg.norm(np.einsum("nc,nci->ni", found, corners) - points, axis=1)
    tried = np.einsum("kc,nci->nki", random.dirichlet(np.full(3, 0.5), size=4000), corners)
    best = np.linalg.norm(tried - points[:, None], axis=2).min(axis=1)
    assert (own <= best + 1e-12).all()
    assert (best - own).max() < 0.1


def triangle_heights(corners: np.ndarray) -> np.ndarray:
    """Above their longest sides [n], of triangles [n, 3, 3]."""
    edges = corners - np.roll(corners, 1, axis=1)
    return np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / np.linalg.norm(edges, axis=2).max(axis=1)


def test_reference_triangles_are_wide_and_move_with_their_vertex() -> None:
    avatar = make_avatar(10, detail=3)
    body = avatar.body
    references = body.reference_triangles
    np.testing.assert_array_equal(references, reference_triangles(body.surface_vertices, body.surface_weights))
    rest = body.surface_vertices.astype(np.float64)
    assert triangle_heights(rest[references]).min() > 0.04
    centres = rest[references].mean(axis=1)
    assert np.linalg.norm(centres - rest, axis=1).max() < 0.2
    transforms = joint_transforms(make_pose(3, 0.5), avatar.rest_joints, avatar.parents)
    posed = skin_vertices(rest, body.surface_weights, transforms)
    assert triangle_heights(posed[references]).min() > 0.035


def test_known_reference_triangles_are_taken_where_they_hold() -> None:
    body = make_avatar(10, detail=3).body
    rest, weights = body.surface_vertices.astype(np.float64), body.surface_weights
    known = KnownTriangles(rest, body.reference_triangles)
    taller = rest * [1.1, 1.15, 1.1]
    np.testing.assert_array_equal(reference_triangles(taller, weights, known), known.triangles)
    # Squeezed to a ribbon, the triangles around a part are low: those that touch it are sought again.
    squeezed = rest.copy()
    squeezed[weights.argmax(1) == weights.argmax(1)[0], 1] *= 0.3
    found = reference_triangles(squeezed, weights, known)
    heights = triangle_heights(squeezed[found])
    changed = (found != known.triangles).any(1)
    assert 0 < changed.sum() < len(found)
    np.testing.assert_array_equal(found[changed], reference_triangles(squeezed, weights)[changed])
    assert (heights[~changed] >= 0.8 * np.minimum(0.07, triangle_heights(rest[found])[~changed]) - 1e-6).all()
    assert heights.min() >= triangle_heights(squeezed[known.triangles]).min()


def test_reference_triangles_of_rigid_parts_stay_on_them() -> None:
    body = make_avatar(10, detail=2).body
    owner = body.surface_weights.argmax(axis=1)
    references = reference_triangles(body.surface_vertices, np.eye(24)[owner])
    assert (owner[references] == owner[:, None]).all(axis=1).mean() > 0.98


def test_reference_triangles_of_a_tiny_surface() -> None:
    vertices = np.array([[0.0, 0, 0], [0.005, 0, 0], [0, 0.004, 0], [0.004, 0.004, 0.001]])
    found = reference_triangles(vertices, np.ones((4, 1)))
    _, area = triangle_frames(vertices, found)
    assert (area > 0).all()


def assert_same_splats(found: Gaussians, expected: Gaussians, tolerance: float) -> None:
    np.testing.assert_allclose(found.position, expected.position, atol=tolerance)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=20 * tolerance)
    np.testing.assert_allclose(np.abs((found.rotation * expected.rotation).sum(1)), 1, atol=tolerance)
    np.testing.assert_array_equal(found.opacity, expected.opacity)
    np.testing.assert_array_equal(found.sh_dc, expected.sh_dc)


def test_rest_pose_gives_the_canonical_splats() -> None:
    avatar = make_avatar(3000, seed=4)
    assert_same_splats(pose_gaussians(avatar, np.zeros((24, 3)), np.zeros(3)), avatar.gaussians, 1e-6)


def posed_one_by_one(avatar: Avatar, pose: np.ndarray, translation: np.ndarray) -> Gaussians:
    """The recipe in float64 with scipy's rotations and 4x4 products, without any function of ours."""
    world = []
    for joint, parent in enumerate(avatar.parents):
        local = np.eye(4)
        local[:3, :3] = Rotation.from_rotvec(pose[joint]).as_matrix()
        local[:3, 3] = avatar.rest_joints[joint] - (avatar.rest_joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    body, skin = avatar.body, avatar.skin
    inverse_bind = [np.eye(4) for _ in world]
    for joint, matrix in enumerate(inverse_bind):
        matrix[:3, 3] = -avatar.rest_joints[joint]

    def posed(vertex: int) -> np.ndarray:
        rest = np.append(body.surface_vertices[vertex].astype(float), 1)
        blend = sum(
            float(weight) * (world[joint] @ inverse_bind[joint] @ rest)
            for joint, weight in enumerate(body.surface_weights[vertex])
        )
        return blend[:3] + translation

    def half_cross(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return 0.5 * np.cross(b - a, c - a)

    positions, rotations, scales = [], [], []
    for splat in range(len(avatar.gaussians)):
        ids = skin.vertex_ids[splat]
        a, b, c = (posed(vertex) for vertex in ids)
        area = np.linalg.norm(half_cross(a, b, c))
        rest_area = np.linalg.norm(half_cross(*body.surface_vertices[ids].astype(float)))
        p, q, r = (posed(vertex) for vertex in body.reference_triangles[ids[0]])
        x, n = (q - p) / np.linalg.norm(q - p), half_cross(p, q, r) / np.linalg.norm(half_cross(p, q, r))
        frame = Rotation.from_matrix(np.stack([x, np.cross(n, x), n], axis=1))
        positions.append(np.array(skin.barycentric[splat], float) @ [a, b, c] + frame.apply(skin.offset[splat]))
        rotations.append((frame * scipy_rotation(skin.rotation[splat])).as_quat()[[3, 0, 1, 2]])
        scales.append(avatar.gaussians.scale[splat] * min(max(np.sqrt(area / rest_area), 0.5), 2.0))
    return dataclasses.replace(
        avatar.gaussians, position=np.array(positions), rotation=np.array(rotations), scale=np.array(scales)
    )


@pytest.mark.parametrize("strength", [0.4, 1.5])
def test_posed_splats_agree_with_a_loop(strength: float) -> None:
    avatar = make_avatar(150, seed=5)
    pose, translation = make_pose(6, strength), np.array([0.3, 1.0, -2.0])
    found = pose_gaussians(avatar, pose, translation)
    assert found.position.dtype == found.rotation.dtype == found.scale.dtype == np.float32
    assert_same_splats(found, posed_one_by_one(avatar, pose, translation), 3e-6)


def dual_quaternions_one_by_one(vertex: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Kavan et al. 2008 by scipy's rotations, in float64: where the blended dual quaternion takes one vertex."""
    real, dual = np.zeros(4), np.zeros(4)
    for weight, transform in zip(weights, transforms):
        if weight == 0:
            continue
        turn = Rotation.from_matrix(transform[:3, :3]).as_quat()[[3, 0, 1, 2]]
        sign = -1.0 if turn @ real < 0 else 1.0
        half = 0.5 * quaternion.multiply(np.append(0, transform[:3, 3]), turn)
        real, dual = real + sign * weight * turn, dual + sign * weight * half
    length = np.linalg.norm(real)
    shift = 2 * quaternion.multiply(dual / length, quaternion.conjugate(real / length))[1:]
    return scipy_rotation(real).apply(vertex) + shift


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_of_dual_quaternions_agree_with_a_loop(share: float) -> None:
    avatar = make_avatar(1)
    body = avatar.body
    transforms = joint_transforms(make_pose(4, 0.7), avatar.rest_joints, avatar.parents)
    rest, weights = body.surface_vertices[::29].astype(np.float64), body.surface_weights[::29].astype(np.float64)
    found = skin_vertices(rest, weights, transforms, preserve_volume=share)
    linear = np.einsum("vj,jab,vb->va", weights, transforms[:, :3], np.column_stack([rest, np.ones(len(rest))]))
    dual = np.array([dual_quaternions_one_by_one(*pair, transforms) for pair in zip(rest, weights)])
    np.testing.assert_allclose(found, (1 - share) * linear + share * dual, atol=1e-12)
    rigid = vertex_transforms(weights, transforms, 1.0)[:, :, :3]
    np.testing.assert_allclose(rigid @ np.swapaxes(rigid, 1, 2), np.broadcast_to(np.eye(3), rigid.shape), atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_unskinning_is_the_way_back(share: float) -> None:
    avatar = make_avatar(1)
    body = avatar.body
    transforms = joint_transforms(make_pose(2, 0.3), avatar.rest_joints, avatar.parents)
    rest = body.surface_vertices.astype(np.float64)
    blended = vertex_transforms(body.surface_weights, transforms, share)
    posed = skin_vertices(rest, body.surface_weights, transforms, preserve_volume=share)
    np.testing.assert_allclose(unskin_vertices(posed, blended), rest, atol=1e-9)


@pytest.mark.parametrize("name", ["neutral", "female", "male", "child"])
def test_bent_limbs_of_shipped_bodies_keep_their_volume(name: str) -> None:
    """At 120 degrees, against 80 % of the straight limb on both sides; and the section at the joint."""
    measure = pytest.importorskip("scripts.measure_bending")
    body = measure.of_shipped(name)
    straight = measure.volume(body.vertices, body.faces)
    for bend in measure.BENDS[:2]:
        pose = body.pose_of(bend.joint, np.array(bend.axis), 120)
        start, along, _ = body.bone(bend.joint, bend.below)
        cut = measure.ring(body, start, along)
        linear, kept = (body.posed(pose, share) for share in (0.0, PRESERVE_VOLUME))
        change = (measure.volume(kept, body.faces) - straight) / measure.limb_volume(body, bend, 0.8)
        assert abs(change) < 0.12
        section = measure.ring_area(kept, cut) / measure.ring_area(body.vertices, cut)
        assert section > 0.72
        assert section > measure.ring_area(linear, cut) / measure.ring_area(body.vertices, cut) + 0.05
    start, along, length = body.bone("left_elbow", "left_wrist")
    rolled = body.posed(body.pose_of("left_wrist", along, 120), PRESERVE_VOLUME)
    for share in np.linspace(0.05, 0.95, 10):
        cut = measure.ring(body, start + share * length * along, along)
        assert measure.ring_area(rolled, cut) > 0.65 * measure.ring_area(body.vertices, cut)


def test_a_forearm_that_rolls_does_not_tear() -> None:
    measure = pytest.importorskip("scripts.measure_bending")
    avatar = dataclasses.replace(make_shipped_avatar(60_000), preserve_volume=PRESERVE_VOLUME)
    opaque = np.full_like(avatar.gaussians.opacity, 0.97)
    avatar = dataclasses.replace(avatar, gaussians=dataclasses.replace(avatar.gaussians, opacity=opaque))
    body = measure.of_package(avatar, "shipped")
    along = body.bone("left_elbow", "left_wrist")[1]
    rest = measure.uncovered(avatar, np.zeros((24, 3)))
    assert rest < 0.03
    for joint in ("left_wrist", "left_elbow"):
        assert measure.uncovered(avatar, body.pose_of(joint, along, 120)) < rest + 0.01
    # And the measure sees a tear: splats of a twentieth of the size leave gaps.
    small = dataclasses.replace(avatar.gaussians, scale=avatar.gaussians.scale * np.float32(0.05))
    assert measure.uncovered(dataclasses.replace(avatar, gaussians=small), np.zeros((24, 3))) > 0.5


def test_random_poses_keep_splats_finite_and_within_the_clamp() -> None:
    avatar = dataclasses.replace(make_avatar(500, seed=8), preserve_volume=PRESERVE_VOLUME)
    for seed in range(200):
        posed = pose_gaussians(avatar, make_pose(seed, 0.4 + 0.005 * seed))
        for array in (posed.position, posed.rotation, posed.scale):
            assert np.isfinite(array).all()
        growth = posed.scale / avatar.gaussians.scale
        assert STRETCH_LIMITS[0] * 0.9999 <= growth.min() and growth.max() <= STRETCH_LIMITS[1] * 1.0001


def test_packages_say_how_they_are_posed(tmp_path: Path) -> None:
    """Packages that do not say so are posed linearly, as they were when they were made."""
    avatar = dataclasses.replace(make_avatar(20), preserve_volume=0.25)
    save_avatar(avatar, tmp_path / "new")
    assert load_avatar(tmp_path / "new").preserve_volume == 0.25
    metadata = tmp_path / "new" / "avatar.json"
    content = json.loads(metadata.read_text())
    del content["preserve_volume"]
    metadata.write_text(json.dumps(content))
    assert load_avatar(tmp_path / "new").preserve_volume == 0
    with pytest.raises(AvatarFormatError, match="preserve_volume"):
        save_avatar(dataclasses.replace(avatar, preserve_volume=1.5), tmp_path / "bad")


def test_own_translation_is_the_default() -> None:
    avatar = make_avatar(20)
    shift = pose_gaussians(avatar, avatar.pose).position - pose_gaussians(avatar, avatar.pose, np.zeros(3)).position
    np.testing.assert_allclose(shift, np.broadcast_to(avatar.translation, shift.shape), atol=1e-6)
