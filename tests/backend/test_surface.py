"""The surface preset: its parts against closed forms, and the whole on a rendered person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from backend.assemble import assemble_avatar
from backend.avatar import pose_gaussians
from backend.avatar.meshes import vertex_normals
from backend.avatar.quaternion import from_matrix
from backend.bind import bind
from backend.body.fit import BodyFit
from backend.body.model import JOINT_INDEX, BodyModel, load_body
from backend.estimate.depth import SideDepths
from backend.geometry.maps import barycentric, unproject
from backend.options import ReconstructOptions
from backend.photo import PreparedPhoto
from backend.reconstruct import Reconstruction, Shaped, SurfaceConfig, SurfaceReconstructor, shape
from backend.reconstruct.config import DeformConfig
from backend.reconstruct.deform import OutlineView, _laplacian, deform, smooth, solve
from backend.reconstruct.matching import draw, match_pictures
from backend.reconstruct.parts import PART_OF_JOINT, Part
from backend.reconstruct.sampling import SurfaceSamples, face_areas, poisson_disk_samples
from backend.reconstruct.shape import _hang_on_body, _torn
from backend.reconstruct.sheets import GarmentPatch, LayeredDepthImage, build_layers
from backend.reconstruct.splats import Splats, join, rest_of_body, splat_frames
from backend.reconstruct.types import SurfaceMesh
from backend.reconstruct.views import SplatsInPicture
from backend.reconstruct.visibility import View
from backend.rendering import CameraTensors, GaussianTensors, contributions, render_gaussians
from backend.rendering.mesh import MeshHits, rasterize_mesh
from backend.research.evaluation.mannequins import Mannequin, make_mannequin
from backend.turntable import orbit_camera

SIZE = 512


def tube(
    radius: float, centre: tuple[float, float, float], rings: int = 41, sides: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """An upright open cylinder 1 m tall: vertices [V, 3] and faces wound outwards."""
    angle = np.arange(sides) / sides * 2 * np.pi
    heights = np.linspace(-0.5, 0.5, rings)
    vertices = np.array([[radius * np.sin(a), y, -radius * np.cos(a)] for y in heights for a in angle]) + centre
    faces = []
    for r in range(rings - 1):
        for s in range(sides):
            a, b = r * sides + s, r * sides + (s + 1) % sides
            faces += [[a, a + sides, b], [b, a + sides, b + sides]]
    faces = np.array(faces)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    outward = vertices[faces].mean(1) - np.array(centre) * [1, 0, 1] - vertices[faces].mean(1) * [0, 1, 0]
    return vertices, faces if (normals * outward).sum(1).mean() > 0 else faces[:, ::-1]


def test_the_deformation_is_the_minimiser_of_its_energy() -> None:
    rng = np.random.default_rng(0)
    vertices, faces = tube(0.2, (0, 0, 3), rings=6, sides=8)
    count, exact = len(vertices), DeformConfig(tolerance=1e-12, iterations=2000)
    edges = {tuple(sorted((int(f[a]), int(f[b])))) for f in faces for a, b in ((0, 1), (1, 2), (2, 0))}
    dense = np.zeros((count, count))
    for i, j in edges:
        dense[[i, j], [i, j]] += 1
        dense[[i, j], [j, i]] -= 1
    laplacian = _laplacian(np.ascontiguousarray(faces, np.int64).tobytes(), count)
    np.testing.assert_array_equal(laplacian.toarray(), dense)
    # One number for each vertex, pulled at by some of them.
    target, trust = rng.normal(size=count), rng.random(count) * (rng.random(count) < 0.5)
    expected = np.linalg.solve(exact.stiffness * dense + np.diag(trust + exact.held), trust * target)
    np.testing.assert_allclose(smooth(laplacian, target, trust, exact), expected, atol=1e-7)
    # Three numbers, pulled at along directions that need not be axes.
    axes = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    weight = np.einsum("vab,vb,vcb->vac", axes, rng.random((count, 3)), axes)
    right = np.einsum("vab,vb->va", weight, rng.normal(size=(count, 3)))
    system = np.kron(exact.stiffness * dense, np.eye(3)) + exact.held * np.eye(3 * count)
    for v in range(count):
        system[3 * v : 3 * v + 3, 3 * v : 3 * v + 3] += weight[v]
    expected = np.linalg.solve(system, right.ravel()).reshape(-1, 3)
    np.testing.assert_allclose(solve(laplacian, weight, right, exact), expected, atol=1e-7)


FOCAL = 700.0
PIXEL = 3 / FOCAL
"""Metres at the tubes' distance; the mesh keeps one inside the outline."""


def clothed_tube(centre: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube 0.15 m wide in the matte of another: its vertices before and after, and that matte."""
    vertices, faces = tube(0.15, (0, 0, 3))
    weights = np.zeros((len(vertices), 24))
    weights[:, JOINT_INDEX["spine2"]] = 1
    clothed, _ = tube(radius, centre)
    matte = rasterize_mesh(clothed, faces, FOCAL, (SIZE, SIZE)).face >= 0
    view = OutlineView(np.eye(4), FOCAL, matte, np.ones_like(matte))
    return vertices, deform(vertices, faces, weights, np.zeros(len(vertices), bool), [view]), matte


def test_the_outline_tells_how_far_the_clothes_stand_off() -> None:
    vertices, after, _ = clothed_tube((0, 0, 3), 0.18)
    moved = after - vertices
    middle = np.abs(vertices[:, 1]) < 0.3
    sides = middle & (np.abs(vertices[:, 0]) > 0.147)
    assert (moved * np.sign(vertices))[sides, 0] == pytest.approx(np.full(sides.sum(), 0.03 - PIXEL), abs=0.006)
    # In depth the body grows half as much: the photo does not show it.
    front = middle & (vertices[:, 2] < 2.851)
    assert moved[front, 2] == pytest.approx(np.full(front.sum(), -0.5 * (0.03 - PIXEL)), abs=0.006)
    assert np.abs(moved[middle, 1]).max() < 0.004


def test_a_misplaced_limb_is_shifted_and_keeps_its_depth() -> None:
    vertices, after, _ = clothed_tube((0.03, 0, 3), 0.15)
    moved = after - vertices
    middle = np.abs(vertices[:, 1]) < 0.3
    assert moved[middle, 0] == pytest.approx(np.full(middle.sum(), 0.03), abs=0.009)
    assert abs(moved[middle, 2].mean()) < 0.001 and np.abs(moved[middle, 2]).max() < 0.012


def test_a_thinner_outline_brings_the_mesh_into_the_matte() -> None:
    vertices, after, matte = clothed_tube((0, 0, 3), 0.11)
    middle = np.abs(vertices[:, 1]) < 0.3
    assert np.abs(after[middle, 0]).max() < 0.11 + PIXEL
    pixels = np.floor(after[middle, :2] / after[middle, 2:] * FOCAL + SIZE / 2).astype(int)
    assert matte[pixels[:, 1], pixels[:, 0]].mean() > 0.95


def legs(left: tuple, right: tuple) -> np.ndarray:
    """Joints [24, 3] of upright legs of 1 m, from hips to ankles, with their middles at these places."""
    joints = np.zeros((24, 3))
    for side, place in (("left", left), ("right", right)):
        for name, down, ahead in (("hip", -0.5, 0), ("knee", 0, 0), ("ankle", 0.5, 0), ("foot", 0.5, 0.15)):
            joints[JOINT_INDEX[f"{side}_{name}"]] = np.add(place, (0, down, -ahead))
    return joints


def cloth_between(
    left: tuple,
    right: tuple,
    beside: int = 0,
    depths: SideDepths | None = None,
    bones: tuple = (0, 0, 0),
    below: int = 0,
    lower: str = "auto",
    rgb: np.ndarray | None = None,
) -> tuple[np.ndarray, LayeredDepthImage, GarmentPatch]:
    """(matte, layers, sheet) of two tubes at these places for legs, and a matte that closes the gap and goes on for
    some pixels beside them; depths as a network might say. The legs' bones lie ``bones`` off their
    middle; ``below`` pixels under them are matte too, from leg to leg. ``lower`` and ``rgb`` as for build_layers."""
    parts = [tube(0.08, place) for place in (left, right)]
    count = len(parts[0][0])
    vertices, faces = np.vstack([p[0] for p in parts]), np.vstack([parts[0][1], parts[1][1] + count])
    weights = np.zeros((len(vertices), 24))
    weights[:count, JOINT_INDEX["left_hip"]] = 1
    weights[count:, JOINT_INDEX["right_hip"]] = 1
    focal = 700.0
    first = rasterize_mesh(vertices, faces, focal, (SIZE, SIZE))
    last = rasterize_mesh(vertices, faces, focal, (SIZE, SIZE), farthest=True)
    matte = cv2.morphologyEx((first.face >= 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, 61), np.uint8)) > 0
    matte = cv2.dilate(matte.astype(np.uint8), np.ones((1, 2 * beside + 1), np.uint8)) > 0
    rows, columns = (np.nonzero(matte.any(axis))[0] for axis in (1, 0))
    matte[rows[-1] : rows[-1] + 1 + below, columns[0] : columns[-1] + 1] |= below > 0
    leg = np.ones(len(faces), bool)
    joints = legs(left, right) + bones
    layers, sheet = build_layers(
        matte, first.depth, last.depth, first.face, vertices, weights, leg, joints, focal, depths, None, lower, rgb
    )
    return matte, layers, sheet


def test_no_flap_hangs_between_legs_that_stride() -> None:
    # 4 cm apart across; without a step between them they are joined, with one of 25 cm they are not.
    for step, joined in ((0.0, True), (0.25, False)):
        matte, layers, sheet = cloth_between((0.1, 0, 3), (-0.1, 0, 3 + step))
        assert layers.gap.sum() > 500
        assert (len(sheet.faces) > 50) == joined
        # What lies in the gap stays with one of the legs.
        assert (layers.face[matte] >= 0).all()
        middle = ((layers.front + layers.back) / 2)[layers.gap]
        away = np.minimum(abs(middle - 3), abs(middle - 3 - step))
        assert np.quantile(away, 0.9) < 0.03


def test_a_skirt_hangs_on_both_legs() -> None:
    matte, layers, sheet = cloth_between((0.14, 0, 3), (-0.14, 0, 3))
    assert len(sheet.faces) > 100
    np.testing.assert_allclose(sheet.weights.sum(1), 1, atol=1e-9)
    # Weights go from one leg to the other without a jump, and are even in the middle.
    share = sheet.weights[:, JOINT_INDEX["left_hip"]]
    order = np.argsort(sheet.posed[:, 0])
    middle = (np.abs(sheet.posed[:, 0]) < 0.01) & (np.abs(sheet.posed[:, 1]) < 0.4)
    assert share[middle] == pytest.approx(np.full(middle.sum(), 0.5), abs=0.12)
    assert np.corrcoef(sheet.posed[order, 0], share[order])[0, 1] > 0.9
    # The layers close the gap in front of and behind the sheet, at the legs' depth.
    row = SIZE // 2
    gap = layers.gap[row]
    assert gap.sum() > 10
    assert (layers.front[row][gap] <= layers.back[row][gap]).all()
    assert layers.front[row][gap] == pytest.approx(np.full(gap.sum(), 2.97), abs=0.08)
    assert (layers.face[matte] >= 0).all()


def test_a_strip_beside_a_leg_is_no_train_of_a_dress() -> None:
    # A network takes the shadow beside a leg, 10 pixels of 4 mm, and all else for a dress that is 1 m deep.
    flat = np.zeros((SIZE, SIZE))
    deep = SideDepths(flat + 2.5, flat + 3.5, flat + 0.01, flat + 0.01, np.ones((SIZE, SIZE), bool))
    _, layers, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3), 10, deep)
    row = SIZE // 2
    strip = np.nonzero(layers.gap[row])[0]
    # The left leg ends 51 pixels from the middle.
    strip, between = (strip[which] for which in (strip > row + 51, np.abs(strip - row) < 5))
    assert len(strip) >= 6 and len(between) >= 8
    # Half a strip is 2 cm wide: that is the most by which it leaves a leg of 16 cm.
    assert (layers.back - layers.front)[row, strip].max() < 0.16 + 2 * 0.03
    assert (layers.back - layers.front)[row, strip].min() >= 0
    # Between the legs 12 cm are open: there the dress may be deeper.
    dress = (layers.back - layers.front)[row, between]
    assert dress.min() > (layers.back - layers.front)[row, strip].max() + 0.05
    # But not where the network is unsure of it.
    unsure = replace(deep, front_spread=flat + 0.2, back_spread=flat + 0.2)
    _, layers, _ = cloth_between((0.14, 0, 3), (-0.14, 0, 3), 10, unsure)
    assert (layers.back - layers.front)[row, between].max() < dress.min() - 0.05


def test_a_corner_that_stands_off_is_thin_and_a_skirt_is_not() -> None:
    for apart, wide in ((0.14, True), (0.083, False)):
        _, layers, _ = cloth_between((apart, 0, 3), (-apart, 0, 3))
        row = slice(SIZE // 2 - 20, SIZE // 2 + 20)
        between = slice(SIZE // 2 - 1, SIZE // 2 + 1)
        thick = (layers.back - layers.front)[row, between]
        assert layers.gap[row, between].all() == wide and layers.gap[row, between].any() == wide
        assert (thick.min() > 0.03) if wide else (thick.max() < 0.02)


def test_a_sheet_that_the_rest_pose_tears_hangs_on_the_body() -> None:
    # Front and back of two faces each.
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)
    corners = np.vstack([corners, corners + np.array([0, 0, 1])])
    front = np.array([[0, 2, 1], [1, 2, 3]])
    sheet = GarmentPatch(corners, np.vstack([front, front[:, ::-1] + 4]), np.zeros((8, 24)))
    assert not _torn(corners * 1.5, sheet).any()
    for node in (3, 7):
        rest = corners.copy()
        rest[node] += 2
        torn = _torn(rest, sheet)
        np.testing.assert_array_equal(torn, [False, True])
    # Body faces 0 and 1 at the sides of a gap where the sheet's faces 2 and 3 lie; another sheet's face 2 far away.
    face = np.array([[0, 2, 3, 3, 1, -1, -1, 2]])
    body = np.where(face > 1, -1, face)
    # The right one is 20 cm behind the left one, and the sheet on its way there.
    depth = np.array([[2.0, 2.05, 2.1, 2.15, 2.2, 0, 0, 2.0]])
    first = MeshHits(body, np.zeros((*face.shape, 3)), np.where(body < 0, np.inf, depth))
    layers = LayeredDepthImage(depth, depth + 0.2, face=face, gap=face > 1)
    hung = _hang_on_body(layers, torn, first, np.zeros(2, bool))
    np.testing.assert_array_equal(hung.face, [[0, 0, 0, 1, 1, -1, -1, 2]])
    np.testing.assert_allclose(hung.front, [[2.0, 2.03, 2.03, 2.17, 2.2, 0, 0, 2.0]])
    np.testing.assert_allclose((hung.back - hung.front)[0], [0.2, 0.03, 0.03, 0.03, 0.2, 0.2, 0.2, 0.2])
    np.testing.assert_array_equal(hung.gap, layers.gap)
    # Where a body fills it, it has no back of its own.
    filled = replace(first, face=np.where(face == 2, 0, first.face))
    assert _hang_on_body(layers, torn, filled, np.zeros(2, bool)).gap.tolist() == [
        [False] * 2 + [True] * 2 + [False] * 3 + [True]
    ]
    # Of a large sheet hardly anything may be torn: it stays in place.
    wide = np.full((1, 61), 2)
    wide[0, [0, 20]] = 0, 3
    deep = LayeredDepthImage(np.full(wide.shape, 2.0), np.full(wide.shape, 2.2), face=wide, gap=wide > 1)
    behind = MeshHits(np.where(wide > 1, -1, wide), np.zeros((*wide.shape, 3)), np.where(wide > 1, np.inf, 2.5))
    scrap = _hang_on_body(deep, torn, behind, np.zeros(2, bool))
    assert scrap.face[0, 20] == 0 and (scrap.face != wide).sum() == 1
    np.testing.assert_array_equal([scrap.front, scrap.back], [deep.front, deep.back])
    # What hangs on a leg may be a skirt.
    skirt = _hang_on_body(layers, torn, first, np.ones(2, bool))
    np.testing.assert_array_equal(skirt.face, hung.face)
    np.testing.assert_array_equal([skirt.front, skirt.back], [layers.front, layers.back])


def test_poisson_disk_samples_keep_their_distance_and_density() -> None:
    vertices, faces = tube(0.3, (0, 0, 0))
    density = np.where(vertices[faces].mean(1)[:, 1] > 0, 4.0, 1.0)
    spacing = 0.02 / np.sqrt(density)
    samples = poisson_disk_samples(vertices, faces, vertex_normals(vertices, faces), spacing, SurfaceConfig.darts)
    np.testing.assert_array_equal(samples.spacing, spacing[samples.face])
    point = (vertices[faces[samples.face]] * samples.barycentric[..., None]).sum(1)
    distance = np.linalg.norm(point[:, None] - point[None], axis=2) + np.eye(len(point)) * 9
    allowed = 0.5 * (samples.spacing[:, None] + samples.spacing[None])
    assert (distance >= allowed - 1e-9).all()
    assert (distance.min(1) < 2.0 * samples.spacing).all()
    # Maximal: hardly a place on the surface is further from a sample than the spacing there.
    rng = np.random.default_rng(1)
    face, (u, v) = rng.integers(len(faces), size=20_000), rng.random((2, 20_000))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (vertices[faces[face, k]] for k in range(3))
    away, nearest = cKDTree(point).query(a + u[:, None] * (b - a) + v[:, None] * (c - a))
    assert (away > 1.05 * samples.spacing[nearest]).mean() < 0.01
    # Discs of half the spacing cover about half of the surface: no such set is much denser.
    covered = (np.pi / 4 * samples.spacing**2).sum() / face_areas(vertices, faces).sum()
    assert 0.45 < covered < 0.6
    upper = (point[:, 1] > 0).mean()
    assert upper == pytest.approx(0.8, abs=0.04)
    assert face_areas(vertices, faces).sum() == pytest.approx(2 * np.pi * 0.3, rel=0.01)


def test_the_seat_is_where_people_sit(case: Case) -> None:
    seat = case.body.template.numpy()[case.made.regions.seat]
    joints = (case.body.joint_regressor @ case.body.template).numpy()
    hips = joints[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]]
    assert seat[:, 1].min() < hips[:, 1].min() - 0.05 and seat[:, 1].max() < joints[JOINT_INDEX["spine2"], 1]
    assert np.abs(seat[:, 0]).max() < 0.25 and seat[:, 2].min() < hips[:, 2].min() < seat[:, 2].max()


def test_barycentric_coordinates_give_points_back() -> None:
    rng = np.random.default_rng(0)
    corners, share = rng.normal(size=(50, 3, 3)), rng.dirichlet([1, 1, 1], 50)
    points = np.einsum("nc,ncx->nx", share, corners)
    above = 0.3 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    np.testing.assert_allclose(barycentric(points + above, corners), share, atol=1e-9)
    beyond = barycentric(3 * corners[:, 0] - corners[:, 1] - corners[:, 2], corners)
    np.testing.assert_allclose(beyond, np.tile([1.0, 0, 0], (50, 1)), atol=1e-9)


def test_hairlines_cut_through_the_triangles_of_the_mesh(case: Case) -> None:
    template, faces = case.body.template.numpy(), case.body.faces.numpy()
    part = case.made.regions.parts
    corner = faces[case.made.regions.head[faces].all(1)]
    corner = np.repeat(corner[(part[corner] != part[corner[:, :1]]).any(1)], 20, 0)
    share = np.random.default_rng(0).dirichlet([1, 1, 1], len(corner))
    places = np.einsum("nc,ncx->nx", share, template[corner])
    mesh = SurfaceMesh(template, template, faces, case.body.weights.numpy(), len(template), len(faces))
    # In front of the ears and below the hair is face, by landmarks of the body.
    points = dict(zip(case.body.keypoint_names, (case.body.keypoint_regressor @ case.body.template).numpy()))
    ear, eye = 0.5 * (points["left_ear"] + points["right_ear"]), points["left_eye"]
    true = (places[:, 2] > ear[2] - 0.01) & (places[:, 1] < eye[1] + 0.055)
    found = case.made._parts(places, mesh, corner, part) == Part.FACE
    assert (found == true).mean() > 0.98 > 0.9 > (found == (part[corner[:, 0]] == Part.FACE)).mean()


def test_contributions_render_as_the_reference_does() -> None:
    rng = np.random.default_rng(3)
    count, size, focal = 150, 48, 60.0
    position = np.column_stack([rng.uniform(-0.6, 0.6, (count, 2)), rng.uniform(1.5, 3, count)])
    quaternion = rng.normal(size=(count, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    scale, opacity, rgb = rng.uniform(0.01, 0.1, (count, 3)), rng.uniform(0.1, 1, count), rng.random((count, 3))
    tensors = (torch.as_tensor(a, dtype=torch.float32) for a in (position, quaternion, scale, opacity, rgb))
    camera = CameraTensors(torch.eye(4), torch.tensor([focal, focal, size / 2, size / 2]), size, size)
    ours = contributions(GaussianTensors(*tensors), camera)
    picture = ours.render(torch.as_tensor(np.column_stack([rgb, np.ones(count)]), dtype=torch.float32))
    expected = render_gaussians(position, quaternion, scale, opacity, rgb, focal, (size, size), backend="reference")
    np.testing.assert_allclose(picture.reshape(size, size, 4).numpy(), expected, atol=2e-4)
    # gather is the transpose of render: <render(x), y> = <x, gather(y)>.
    x, y = torch.rand(count, 1), torch.rand(size * size, 1)
    assert float((ours.render(x) * y).sum()) == pytest.approx(float((x * ours.gather(y)).sum()), rel=1e-4)


@dataclass(frozen=True)
class Case:
    body: BodyModel
    mannequin: Mannequin
    photo: PreparedPhoto
    fit: BodyFit
    made: SurfaceReconstructor
    shaped: Shaped
    result: Reconstruction


def true_photo(mannequin: Mannequin) -> tuple[PreparedPhoto, BodyFit]:
    """The photo and fit that the stages before would give if they made no mistake."""
    side = mannequin.rgb.shape[0]
    photo = PreparedPhoto(
        rgb=mannequin.rgb, alpha=mannequin.mask.astype(np.float32), inside=np.ones((side, side), bool),
        landmarks=np.zeros((33, 2)), visibility=np.ones(33), world_landmarks=np.zeros((33, 3)), left_hand=None,
        right_hand=None, focal=mannequin.focal, matte_given=True, person_count=1, warnings=(), name="m.png", sha256="0",
    )  # fmt: skip
    fit = BodyFit(
        pose=mannequin.pose, betas=mannequin.betas, translation=mannequin.translation, focal=mannequin.focal,
        landmark_error=0.0, person_size=500.0, confidence=np.ones(24),
    )  # fmt: skip
    return photo, fit


@pytest.fixture(scope="module")
def case() -> Case:
    body = load_body("neutral")
    mannequin = make_mannequin(body, "a_pose", yaw=0.0, seed=4, size=768)
    photo, fit = true_photo(mannequin)
    made = SurfaceReconstructor(body)
    shaped = made.shape(fit, photo)
    return Case(body, mannequin, photo, fit, made, shaped, made.colour(made.pose(shaped)))


def part_of(case: Case, result: Reconstruction) -> np.ndarray:
    """The part [n] of the body on which each splat hangs whole; NONE on borders and sheets."""
    corner = result.surface.faces[result.face]
    count = result.surface.body_vertices
    part = case.made.regions.parts[corner.clip(max=count - 1)]
    return np.where((corner < count).all(1) & (part == part[:, :1]).all(1), part[:, 0], int(Part.NONE))


def picture(result: Reconstruction, focal: float, size: int, world_to_camera: np.ndarray | None = None) -> np.ndarray:
    return render_gaussians(
        result.position, from_matrix(result.rotation), result.scale, result.opacity, result.rgb, focal, (size, size),
        world_to_camera,
    )  # fmt: skip


def test_photo_view_meets_the_photo(case: Case) -> None:
    out = picture(case.result, case.fit.focal, 768)
    matte = case.mannequin.mask
    shown = out[..., 3] > 0.5
    assert (shown & matte).sum() / (shown | matte).sum() > 0.97
    inner = cv2.erode(matte.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    error = out[..., :3][inner] - case.mannequin.rgb[inner] / 255
    assert -10 * np.log10((error**2).mean()) > 26


def test_what_shines_through_a_dense_front_is_not_shown() -> None:
    size, distance = 128, 2.0
    pixels = np.stack(np.meshgrid(np.arange(24.5, 104), np.arange(24.5, 104)), -1).reshape(-1, 2)
    behind = np.stack(np.meshgrid(np.arange(40.0, 96, 8), np.arange(40.0, 96, 8)), -1).reshape(-1, 2)

    def splats(pixels: np.ndarray, depth: float, sigma: float, toward: float) -> Splats:
        count = len(pixels)
        position = np.column_stack([(pixels - size / 2) * depth / size, np.full(count, depth)])
        normal = np.tile([0.0, 0.0, toward], (count, 1))
        ones = np.ones(count)
        wide = sigma * depth / size * ones
        return Splats(position, normal, 0 * normal, wide, ones, 0.9 * ones, np.zeros(count, int))

    front, back = splats(pixels, distance, 0.65, -1.0), splats(behind, distance + 0.3, 10.0, 1.0)
    alpha = np.zeros((size, size))
    alpha[24:104, 24:104] = 1
    image = np.full((size, size, 3), 0.8, np.float32)

    def matched(both: Splats, count: int) -> tuple[np.ndarray, np.ndarray]:
        axes, scale = splat_frames(both)
        rgb = np.full((len(scale), 3), 0.75)
        opacity, blending = draw(both, axes, scale, count, alpha, float(size), size, torch.device("cpu"))
        return match_pictures(both, axes, scale, opacity, rgb, image, blending)

    rgb, shown = matched(join(front, back), len(pixels))
    assert np.median(shown[: len(pixels)]) > 0.5
    assert np.all(shown[len(pixels) :] == 0) and np.allclose(rgb[len(pixels) :], 0.75)
    # By themselves they are all that it shows.
    assert matched(back, 0)[1].min() > 1


def test_colours_meet_the_photo_and_further_pictures_and_the_photo_counts_most() -> None:
    # Two walls of splats: the photo sees the near one alone, a picture from behind the far one alone.
    size, depth = 96, 3.0
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(20, 76), np.arange(20, 76)))
    pixels = np.column_stack([x, y]) + 0.5

    def wall(at: float, toward: float) -> Splats:
        count = len(pixels)
        position = np.column_stack([(pixels - size / 2) * depth / size, np.full(count, at)])
        ones = np.ones(count)
        normal = np.tile([0.0, 0.0, toward], (count, 1))
        return Splats(position, normal, 0 * normal, 0.65 * depth / size * ones, ones, 0.9 * ones, np.zeros(count, int))

    both = join(wall(depth, -1.0), wall(depth + 0.4, 1.0))
    axes, scale = splat_frames(both)
    alpha = np.zeros((size, size))
    alpha[20:76, 20:76] = 1
    opacity, blending = draw(both, axes, scale, len(pixels), alpha, float(size), size, torch.device("cpu"))

    def seen(turn: np.ndarray, colour: float) -> SplatsInPicture:
        centre = np.array([0, 0, depth + 0.2])
        turns = np.broadcast_to(turn, (len(opacity), 3, 3))
        image = np.full((size, size, 3), colour, np.float32)
        return SplatsInPicture((both.position - centre) @ turn.T + centre, turns, image, alpha, float(size), 1.0)

    behind, same = np.diag([-1.0, 1.0, -1.0]), np.eye(3)
    start, photo = np.full((len(opacity), 3), 0.6), np.full((size, size, 3), 0.8, np.float32)
    near, far = np.split(np.arange(len(opacity)), 2)

    def matched(*pictures: SplatsInPicture) -> np.ndarray:
        return match_pictures(both, axes, scale, opacity, start, photo, blending, pictures)[0][:, 0]

    alone = matched()
    assert np.median(alone[near]) == pytest.approx(0.8, abs=0.02) and np.median(alone[far]) == pytest.approx(0.6)
    found = matched(seen(behind, 0.3))
    assert np.median(found[near]) == pytest.approx(0.8, abs=0.02)
    assert np.median(found[far]) == pytest.approx(0.3, abs=0.02)
    # Of one place they say different things: the photo counts more, however many others there are.
    say = SurfaceConfig().photo
    for others in ((0.4,), (0.4, 0.6)):
        mean = (say * 0.8 + np.mean(others)) / (say + 1)
        found = matched(*(seen(same, colour) for colour in others))
        assert np.median(found[near]) == pytest.approx(mean, abs=0.02)


def test_number_and_size_of_splats(case: Case) -> None:
    assert 60_000 <= len(case.result.position) <= 120_000
    assert case.result.scale.min() > 1e-5 and case.result.scale.max() < 0.05
    np.testing.assert_allclose(np.linalg.det(case.result.rotation), 1, atol=1e-6)


def test_no_holes_from_any_side(case: Case) -> None:
    mesh = case.result.surface
    flip = np.diag([1.0, -1.0, -1.0, 1.0])  # the orbit wants y up
    upright = mesh.posed @ flip[:3, :3]
    for azimuth in range(0, 360, 45):
        world_to_camera, focal = orbit_camera(upright, azimuth, 384)
        matrix = world_to_camera @ flip
        camera = mesh.posed @ matrix[:3, :3].T + matrix[:3, 3]
        solid = rasterize_mesh(camera, mesh.faces, focal, (384, 384)).face >= 0
        solid = cv2.erode(solid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        alpha = picture(case.result, focal, 384, matrix)[..., 3]
        assert (alpha[solid] < 0.5).mean() < 0.004, azimuth


def test_back_of_the_head_is_hair_not_face(case: Case) -> None:
    part = part_of(case, case.result)
    face, hair = part == Part.FACE, part == Part.HAIR
    behind = case.result.position[:, 2] > np.median(case.result.position[hair, 2])
    front_hair = np.median(case.result.rgb[hair & ~behind], 0)
    back_hair = np.median(case.result.rgb[hair & behind], 0)
    skin = np.median(case.result.rgb[face], 0)
    assert np.linalg.norm(back_hair - front_hair) < 0.4 * np.linalg.norm(back_hair - skin)


def test_a_print_stays_in_front(case: Case) -> None:
    mesh, focal = case.result.surface, case.fit.focal
    trunk = mesh.weights.argmax(1)[: mesh.body_vertices] == JOINT_INDEX["spine3"]
    chest = mesh.posed[: mesh.body_vertices][trunk].mean(0)
    column, row = (chest[:2] / chest[2] * focal + 768 / 2 + np.array([0, 20])).astype(int)
    rgb = case.mannequin.rgb.copy()
    rgb[row - 20 : row + 20, column - 20 : column + 20] = [0, 255, 0]
    # The print is told before anything is coloured.
    shaped = case.made.shape(case.fit, replace(case.photo, rgb=rgb))
    place = case.made.local(shaped)
    result = case.made.colour(case.made.pose(shaped))
    green = result.rgb[:, 1] - result.rgb[:, [0, 2]].max(1) > 0.3
    behind = result.rotation[:, 2, 2] > 0.3
    assert (green & ~behind).sum() > 500 and (green & behind).sum() < 0.02 * green.sum()
    pixel = place[:, :2] / place[:, 2:] * focal + 768 / 2 - [column, row]
    printed, near = np.abs(pixel).max(1) < 26, np.abs(pixel[:, 1]) < 100
    assert printed.sum() > 500 and printed[near].mean() > 0.9 and printed.mean() > 0.5


def relabelled(case: Case, monkeypatch: pytest.MonkeyPatch, parts: tuple[Part, ...], instead: Part) -> Shaped:
    """The person where what body or photo have for ``parts`` is told to be something else."""
    with monkeypatch.context() as patch:
        usual = shape.label_photo

        def label(rgb: np.ndarray, matte: np.ndarray, body: np.ndarray, *more: object) -> np.ndarray:
            found = usual(rgb, matte, body, *more)
            return np.where(matte & (np.isin(body, parts) | np.isin(found, parts)), int(instead), found)

        patch.setattr(shape, "label_photo", label)
        return case.made.shape(case.fit, case.photo)


def test_what_is_told_to_be_hair_goes_with_the_head(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    after = relabelled(case, monkeypatch, (Part.LEFT_ARM,), Part.HAIR)
    elbow = PART_OF_JOINT == Part.LEFT_ARM

    def on_arm(shaped: Shaped) -> int:
        face = shaped.splats.face[: shaped.front_count]
        return int(elbow[shaped.mesh.weights.argmax(1)[shaped.mesh.faces[face, 0]]].sum())

    # The rims of the matte beside it stay with the arm.
    assert on_arm(case.shaped) > 1000 and on_arm(after) < 0.4 * on_arm(case.shaped)


def test_a_stiff_hand_where_the_photo_shows_none_has_not_the_photos_colour_there(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the body has its hand, the labels say sleeve."""
    hand, arm = Part.LEFT_HAND, Part.LEFT_ARM
    before, after = case.shaped, relabelled(case, monkeypatch, (hand,), arm)
    for shaped, shown in ((before, True), (after, False)):
        own = shaped.places.part == hand
        believed = (shaped.seen.confidence > 0.1) & own
        assert (believed.sum() > 300) if shown else not believed.any()
    # What is shown there is the arm's.
    grown = [(shaped.places.part[: shaped.front_count] == arm).sum() for shaped in (before, after)]
    assert grown[1] > grown[0] + 300


def test_splats_of_one_limb_do_not_hide_another_that_the_photo_shows() -> None:
    """The body's hand lies before a trunk; what the labels say of it decides whether it is there."""
    focal, distance = 512.0, {"front": 2.0, "back": 2.2, "hand": 1.8}
    corners = {name: (100.0, 412.0) if name != "hand" else (200.0, 300.0) for name in distance}
    posed = np.vstack(
        [
            unproject(np.array([(a, a), (b, a), (b, b), (a, b)]), np.full(4, distance[name]), focal)
            for name, (a, b) in corners.items()
        ]
    )
    # The trunk's front faces the camera, its back and the hand's face away.
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [8, 9, 10], [8, 10, 11]])
    facing = vertex_normals(posed, faces)[:, 2]
    assert (facing[:4] < -0.9).all() and (facing[4:] > 0.9).all()
    parts = np.repeat([int(Part.TRUNK), int(Part.TRUNK), int(Part.LEFT_HAND)], 4)
    weights = np.zeros((12, 24))
    weights[:8, JOINT_INDEX["spine2"]] = weights[8:, JOINT_INDEX["left_hand"]] = 1
    mesh = SurfaceMesh(posed, posed, faces, weights, 12, 6)
    rng = np.random.default_rng(0)
    face = np.repeat(np.arange(6), 50)
    samples = SurfaceSamples(face, rng.dirichlet([1, 1, 1], 300), np.full(300, 0.01))
    body = SimpleNamespace(faces=torch.as_tensor(faces), template=torch.as_tensor(posed))
    square = np.zeros((SIZE, SIZE), bool)
    square[100:412, 100:412] = True
    photo = SimpleNamespace(inside_at=lambda size: np.ones((size, size), bool))
    held = np.zeros_like(square)
    held[200:300, 200:300] = True

    def kept(labels: np.ndarray, shown: np.ndarray) -> np.ndarray:
        front = np.where(shown, 1.79, 2.0)
        layers = LayeredDepthImage(
            front, front + 0.1, np.where(square, np.where(shown, 4, 0), -1), np.zeros_like(square)
        )
        view = View.of(np.eye(4), focal, np.where(square, front, np.inf), square, labels)
        splats = rest_of_body(body, samples, mesh, layers, view, parts, photo, focal, SurfaceConfig())
        return np.bincount(splats.face, minlength=6)

    trunk = np.where(square, int(Part.TRUNK), int(Part.NONE))
    # The grid shows the trunk's front already; the hand is not there.
    found = kept(trunk, np.zeros_like(square))
    assert found[:2].sum() < 10 and found[2:4].sum() == 100 and found[4:].sum() == 0
    # A hand that is: its far side is kept, and the trunk's front behind it.
    found = kept(np.where(held, int(Part.LEFT_HAND), trunk), held)
    assert found[2:4].sum() == found[4:].sum() == 100 and found[:2].sum() > 5


def test_splats_say_how_far_the_photo_shows_them(case: Case) -> None:
    seen, position = case.result.seen, case.result.position
    assert seen.min() >= 0 and seen.max() <= 1 and 0.3 < seen.mean() < 0.7
    outward = case.result.rotation[:, :, 2]
    facing = -(outward * position).sum(1) / np.linalg.norm(position, axis=1)
    assert (seen[facing < -0.3] < 0.05).mean() > 0.98 and seen[facing > 0.8].mean() > 0.95


def test_both_hands_and_legs_have_their_own_splats(case: Case) -> None:
    joint = case.result.surface.weights.argmax(1)[case.result.surface.faces[case.result.face][:, 0]]
    for name in ("left_hand", "right_hand", "left_knee", "right_knee", "left_foot", "right_foot"):
        assert (joint == JOINT_INDEX[name]).sum() > 150, name


def test_binding_gives_the_reconstruction_back(case: Case) -> None:
    avatar = assemble_avatar(case.body, case.photo, case.result, ReconstructOptions(), bind(case.result))
    posed = pose_gaussians(avatar, avatar.pose)
    camera = avatar.camera.world_to_camera
    np.testing.assert_allclose(posed.position @ camera[:3, :3].T + camera[:3, 3], case.result.position, atol=2e-5)
    np.testing.assert_allclose(posed.scale, case.result.scale, rtol=1e-3)
    # The lowest point stands on the ground below the pelvis.
    assert abs(posed.position[:, 1].min()) < 0.03
    assert np.abs((avatar.rest_joints[0] + avatar.translation)[[0, 2]]).max() < 1e-9


def test_binding_survives_the_package(case: Case, tmp_path: Path) -> None:
    from backend.avatar import load_avatar, save_avatar

    avatar = assemble_avatar(case.body, case.photo, case.result, ReconstructOptions(), bind(case.result))
    save_avatar(avatar, tmp_path / "a")
    again = load_avatar(tmp_path / "a")
    np.testing.assert_allclose(
        pose_gaussians(again, again.pose).position, pose_gaussians(avatar, avatar.pose).position, atol=1e-5
    )


def test_skin_weights_never_mix_far_limbs(case: Case) -> None:
    _, skin, _ = bind(case.result)
    np.testing.assert_allclose(skin.joint_weights.sum(1), 1, atol=1e-5)
    dense = np.zeros((len(skin.joint_ids), 24))
    np.put_along_axis(dense, skin.joint_ids.astype(int), skin.joint_weights, 1)
    left, right = dense[:, JOINT_INDEX["left_knee"]], dense[:, JOINT_INDEX["right_knee"]]
    body_only = (skin.vertex_ids < case.result.surface.body_vertices).all(1)
    assert (np.minimum(left, right)[body_only] < 0.05).all()


def test_a_person_cut_by_the_frame_keeps_the_hidden_legs(case: Case) -> None:
    inside = case.photo.inside.copy()
    inside[480:] = False
    photo = replace(case.photo, inside=inside, alpha=case.photo.alpha * inside)
    result = case.made.reconstruct(case.fit, photo)
    joint = result.surface.weights.argmax(1)[result.surface.faces[result.face][:, 0]]
    assert (joint == JOINT_INDEX["left_foot"]).sum() > 150
