"""The factory's z-buffer against closed forms and against a rasteriser in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from figures import cube, mannequin_figure  # noqa: E402
from zbuffer import numpy_hits  # noqa: E402

from backend.rendering import triangles  # noqa: E402
from backend.rendering.mesh import rasterize_mesh  # noqa: E402
from backend.rendering.triangles import depth_maps, rasterize  # noqa: E402
from backend.research.training.cameras import orbit  # noqa: E402


def _random_scene(seed: int, faces: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Camera-space vertices and faces: a soup of triangles of all sizes."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform([-1, -1, 2], [1, 1, 4], (faces, 1, 3))
    corner = centre + rng.normal(size=(faces, 3, 3)) * rng.uniform(0.01, 0.4, (faces, 1, 1))
    return corner.reshape(-1, 3), np.arange(3 * faces).reshape(-1, 3)


@pytest.mark.parametrize(("seed", "farthest"), [(0, False), (1, False), (0, True), (1, True)])
def test_agrees_with_the_numpy_rasterizer(seed: int, farthest: bool) -> None:
    vertices, faces = _random_scene(seed)
    size, focal = (96, 80), 100.0
    expected = numpy_hits(vertices, faces, focal, size, farthest=farthest)
    hits = rasterize_mesh(vertices, faces, focal, size, farthest=farthest)
    same = hits.face == expected.face
    # Samples on an edge, within rounding, may go either way.
    assert same.mean() > 0.997
    assert np.isinf(hits.depth[hits.face < 0]).all() and not hits.barycentric[hits.face < 0].any()
    both = same & (hits.face >= 0)
    assert both.sum() > 2000
    np.testing.assert_allclose(hits.depth[both], expected.depth[both], rtol=2e-4)
    np.testing.assert_allclose(hits.barycentric[both], expected.barycentric[both], atol=5e-3)


def test_depth_and_barycentric_of_a_tilted_plane() -> None:
    """A pixel's ray meets the plane n.p = d at depth d / (n . ray)."""
    corners = torch.tensor([[-3.0, -3.0, 2.0], [3.0, -3.0, 4.0], [3.0, 3.0, 5.0], [-3.0, 3.0, 3.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    size, focal = 64, 60.0
    screen = torch.cat([corners[:, :2] / corners[:, 2:] * focal + size / 2, corners[:, 2:]], 1)
    hits = rasterize(screen[None], faces, (size, size))
    assert len(hits.sample) == size * size, "neither a seam between the two faces nor a hole"
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    row, column = hits.sample // size, hits.sample % size
    ray = torch.stack([(column + 0.5 - size / 2) / focal, (row + 0.5 - size / 2) / focal, torch.ones(len(row))], 1)
    expected = (normal @ corners[0]) / (ray @ normal)
    torch.testing.assert_close(hits.depth, expected, rtol=1e-5, atol=1e-5)
    point = torch.einsum("nkc,nk->nc", corners[faces[hits.face]], hits.barycentric)
    torch.testing.assert_close(point, ray * expected[:, None], rtol=1e-4, atol=1e-4)


def test_parallel_rays_interpolate_depth_linearly() -> None:
    screen = torch.tensor([[0.0, 0.0, 1.0], [8.0, 0.0, 9.0], [0.0, 8.0, 1.0], [8.0, 8.0, 9.0]])
    depth = depth_maps(*screen.T[:, None], torch.tensor([[0, 1, 2], [1, 3, 2]]), (8, 8))
    expected = (torch.arange(8) + 1.5).expand(8, 8)
    torch.testing.assert_close(depth[0], expected, rtol=1e-5, atol=1e-5)


def test_faces_seen_from_behind_are_culled_unless_two_sided() -> None:
    vertices, faces = cube((0, 0, 0), 1.0)
    camera = orbit([30.0], 20.0, (0.0, 0.0, 0.0), 4.0, 64)
    screen = camera.project(vertices)
    outside = rasterize(screen, faces, (64, 64), torch.zeros(12, dtype=torch.bool))
    both = rasterize(screen, faces, (64, 64), torch.ones(12, dtype=torch.bool))
    inverted = rasterize(screen, faces.flip(1), (64, 64), torch.zeros(12, dtype=torch.bool))
    torch.testing.assert_close(outside.depth, both.depth)
    assert len(inverted.sample) > 0 and (inverted.depth.max() > outside.depth.max())
    assert sorted(set(outside.face.tolist()) & set(inverted.face.tolist())) == []


def test_pieces_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = mannequin_figure()
    camera = orbit([0.0, 120.0, 260.0], 5.0, (0.0, 0.9, 0.0), 3.0, 80)
    screen = camera.project(figure.vertices)
    whole = rasterize(screen, figure.faces, (80, 80), figure.two_sided)
    monkeypatch.setattr(triangles, "_CPU_FACES", 1000)
    monkeypatch.setattr(triangles, "_CPU_PAIRS", 700)
    pieces = rasterize(screen, figure.faces, (80, 80), figure.two_sided)
    single = rasterize(screen[1:2], figure.faces, (80, 80), figure.two_sided)
    for name in ("sample", "face", "barycentric", "depth"):
        assert torch.equal(getattr(whole, name), getattr(pieces, name))
    assert torch.equal(whole.spread(whole.face, -1)[1], single.spread(single.face, -1)[0])


def test_a_closed_body_has_no_hole_inside_its_outline() -> None:
    from scipy.ndimage import binary_fill_holes

    figure = mannequin_figure("standing")
    camera = orbit([0.0, 90.0], 0.0, (0.0, 0.9, 0.0), 3.0, 300)
    hits = rasterize(camera.project(figure.vertices), figure.faces, (300, 300), figure.two_sided)
    back = rasterize(camera.project(figure.vertices), figure.faces, (300, 300))
    assert torch.equal(hits.sample, back.sample), "where the body is seen at all, a front face is"
    for mask in hits.spread(hits.face, -1).numpy() >= 0:
        filled = binary_fill_holes(mask)
        assert (filled & ~mask).sum() < 0.02 * mask.sum()  # gaps between arm and trunk at most
