"""A z-buffer for triangle meshes seen from many views at once, in plain tensor operations on any device.

Every face is expanded into the pixels of its bounding box; the pixels inside compete for the smallest 64-bit number
made of the depth's bits above the face's number. The answer does not depend on the order of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

NEAR = 1e-2
"""Faces with a corner nearer than this (metres) are dropped."""
_MIN_AREA = 1e-9
_SLACK = 1e-3
"""Pixels by which a face is widened, so that rounding opens no seam between neighbours."""
_EMPTY = torch.iinfo(torch.int64).max
_CPU_FACES, _CPU_PAIRS = 1 << 16, 1 << 17
"""Work on a processor goes in pieces that its cache holds."""
_GPU_FACES, _GPU_PAIRS = 1 << 22, 1 << 24


@dataclass(frozen=True)
class Hits:
    """The n samples that see a face, ordered by view, row, column.

    Attributes:
        sample: int64 [n], (view * height + row) * width + column.
        face: int64 [n].
        barycentric: [n, 3], perspective-correct.
        depth: [n] along z.
        behind: bool [n], whether the face shows its back.
        shape: (views, height, width).
    """

    sample: torch.Tensor
    face: torch.Tensor
    barycentric: torch.Tensor
    depth: torch.Tensor
    behind: torch.Tensor
    shape: tuple[int, int, int]

    def spread(self, values: torch.Tensor, empty: float = 0.0) -> torch.Tensor:
        """``values`` [n, ...] laid out as pictures [B, H, W, ...]; ``empty`` where nothing is seen."""
        count = self.shape[0] * self.shape[1] * self.shape[2]
        out = values.new_full((count, *values.shape[1:]), empty)
        out[self.sample] = values
        return out.reshape(*self.shape, *values.shape[1:])


def vertex_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Area-weighted unit normals [V, 3] of ``vertices`` [V, 3] with int64 ``faces`` [F, 3]."""
    a, b, c = vertices[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    out = torch.zeros_like(vertices)
    for k in range(3):
        out.index_add_(0, faces[:, k], normal)
    return torch.nn.functional.normalize(out, dim=1)


def interpolate(values: torch.Tensor, corners: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """``values`` [V, C] mixed at ``corners`` int64 [3, n] by ``barycentric`` [n, 3]: [n, C]."""
    out = values.index_select(0, corners[0]) * barycentric[:, :1]
    for k in (1, 2):
        out.addcmul_(values.index_select(0, corners[k]), barycentric[:, k : k + 1])
    return out


def rasterize(
    screen: torch.Tensor,
    faces: torch.Tensor,
    size: tuple[int, int],
    two_sided: torch.Tensor | None = None,
    *,
    perspective: bool = True,
) -> Hits:
    """Which face each sample sees first. Sample centres lie at +0.5.

    Args:
        screen: float32 [B, V, 3], each view's x, y in pixels (y down) and positive depth z.
        faces: int64 [F, 3], counter-clockwise seen from outside.
        size: (height, width).
        two_sided: bool [F], faces also seen from behind; None means all of them.
        perspective: depth is a distance along a pinhole's axis; False for parallel projection.
    """
    views, (height, width) = len(screen), size
    nearest = _nearest(*(screen[..., k].contiguous() for k in range(3)), faces, size, two_sided, perspective)
    sample = torch.nonzero(nearest != _EMPTY)[:, 0]
    face = nearest.index_select(0, sample) & 0xFFFFFFFF
    count = height * width
    view = torch.div(sample, count, rounding_mode="floor")
    within = (sample - view * count).to(torch.int32)
    row = torch.div(within, width, rounding_mode="floor")
    x, y = (within - row * width).to(screen.dtype) + 0.5, row.to(screen.dtype) + 0.5
    flat, start = screen.reshape(-1, 3), view * screen.shape[1]
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (
        flat.index_select(0, faces[:, k].index_select(0, face) + start).unbind(1) for k in range(3)
    )
    ax, ay, bx, by, x, y = x1 - x0, y1 - y0, x2 - x0, y2 - y0, x - x0, y - y0
    area = ax * by - ay * bx
    second, third = ((x * by - y * bx) / area).clamp(0, 1), ((ax * y - ay * x) / area).clamp(0, 1)
    first = (1 - second - third).clamp(min=0)
    if perspective:
        first, second, third = first / z0, second / z1, third / z2
        total = first + second + third
        depth = 1 / total
    else:
        total = first + second + third
        depth = (first * z0 + second * z1 + third * z2) / total
    if perspective:
        # The slack at edges leaves weights whose sum is not quite one.
        depth = depth * (first * z0 + second * z1 + third * z2)
    weights = torch.stack([first, second, third], 1) / total[:, None]
    return Hits(sample, face, weights, depth, area > 0, (views, height, width))


def depth_maps(
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    faces: torch.Tensor,
    size: tuple[int, int],
    two_sided: torch.Tensor | None = None,
) -> torch.Tensor:
    """Depth [B, H, W] of what parallel rays see first, infinite where they see nothing.

    Args:
        x, y, z: [B, V] each, as in the last axis of :func:`rasterize`'s ``screen``; the rest as there.
    """
    nearest = _nearest(x, y, z, faces, size, two_sided, False)
    depth = (nearest >> 32).to(torch.int32).view(torch.float32)
    return torch.where(nearest == _EMPTY, torch.inf, depth).reshape(len(x), *size)


def _nearest(
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    faces: torch.Tensor,
    size: tuple[int, int],
    two_sided: torch.Tensor | None,
    perspective: bool,
) -> torch.Tensor:
    """int64 [B * H * W]: depth bits above the face's number, the largest integer where nothing is seen."""
    views, (height, width) = len(x), size
    nearest = torch.full((views * height * width,), _EMPTY, dtype=torch.int64, device=x.device)
    gpu = x.device.type == "cuda"
    most_faces, most_pairs = (_GPU_FACES, _GPU_PAIRS) if gpu else (_CPU_FACES, _CPU_PAIRS)
    step = max(1, most_faces // max(views, 1)) if gpu else most_faces
    for start in range(0, len(faces), step):
        piece = faces[start : start + step].T.contiguous()
        sides = None if two_sided is None else two_sided[start : start + step]
        # On a processor the views come one by one: each one's working set stays in cache.
        for first, last in [(0, views)] if gpu else [(b, b + 1) for b in range(views)]:
            part = tuple(axis[first:last] for axis in (x, y, z))
            _scatter(nearest, *part, piece, first, start, size, sides, perspective, most_pairs)
    return nearest


def _scatter(
    nearest: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    corners: torch.Tensor,
    first_view: int,
    first_face: int,
    size: tuple[int, int],
    two_sided: torch.Tensor | None,
    perspective: bool,
    most_pairs: int,
) -> None:
    """Enter the faces ``corners`` [3, F] of some views into ``nearest``."""
    height, width = size
    x0, x1, x2 = (x.index_select(1, corner) for corner in corners)
    y0, y1, y2 = (y.index_select(1, corner) for corner in corners)
    ax, ay, bx, by = x1 - x0, y1 - y0, x2 - x0, y2 - y0
    area = ax * by - ay * bx
    # Rows point down, so what is counter-clockwise from outside has a negative area.
    wanted = area < -_MIN_AREA if two_sided is not None else area.abs() > _MIN_AREA
    if two_sided is not None:
        wanted |= two_sided & (area > _MIN_AREA)
    left = (torch.minimum(torch.minimum(x0, x1), x2) - (0.5 + _SLACK)).ceil_().clamp_(0, width)
    top = (torch.minimum(torch.minimum(y0, y1), y2) - (0.5 + _SLACK)).ceil_().clamp_(0, height)
    right = (torch.maximum(torch.maximum(x0, x1), x2) - (0.5 - _SLACK)).floor_().clamp_(-1, width - 1)
    bottom = (torch.maximum(torch.maximum(y0, y1), y2) - (0.5 - _SLACK)).floor_().clamp_(-1, height - 1)
    wanted &= (right >= left) & (bottom >= top)
    kept = torch.nonzero(wanted.reshape(-1))[:, 0]
    if len(kept) == 0:
        return

    def take(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(-1).index_select(0, kept)

    left, top = take(left), take(top)
    columns, rows = (take(right) - left + 1).to(torch.int32), (take(bottom) - top + 1).to(torch.int32)
    ax, ay, bx, by, inverse = take(ax), take(ay), take(bx), take(by), 1 / take(area)
    view = torch.div(kept, corners.shape[1], rounding_mode="floor")
    face = kept - view * corners.shape[1]
    z0, z1, z2 = (z.reshape(-1).index_select(0, corner.index_select(0, face) + view * z.shape[1]) for corner in corners)
    pairs = columns * rows * (torch.minimum(torch.minimum(z0, z1), z2) > NEAR)
    if perspective:
        z0, z1, z2 = 1 / z0, 1 / z1, 1 / z2
    z1, z2 = z1 - z0, z2 - z0
    # Affine in the picture: both weights, and the depth (or its inverse), from the box's first sample.
    dx, dy = left + 0.5 - take(x0), top + 0.5 - take(y0)
    second_x, second_y = by * inverse, -bx * inverse
    third_x, third_y = -ay * inverse, ax * inverse
    second, third = second_x * dx + second_y * dy, third_x * dx + third_y * dy
    slack = _SLACK / torch.maximum(torch.maximum(ax.abs(), ay.abs()), torch.maximum(bx.abs(), by.abs()))
    plane = torch.stack(
        [
            second + slack, second_x, second_y,
            third + slack, third_x, third_y,
            z0 + second * z1 + third * z2, second_x * z1 + third_x * z2, second_y * z1 + third_y * z2,
            1 + 3 * slack,
        ],
        1,
    )  # fmt: skip
    number = face + first_face
    base = (view + first_view) * (height * width) + top.long() * width + left.long()
    ends = pairs.cumsum(0, dtype=torch.int64)
    total = int(ends[-1])
    cuts = [0, len(kept)]
    if total > most_pairs:
        marks = torch.arange(most_pairs, total, most_pairs, device=ends.device)
        cuts = [0, *torch.searchsorted(ends, marks, right=True).tolist(), len(kept)]
    for low, high in pairwise(cuts):
        if high > low:
            part = slice(low, high)
            _enter(nearest, plane[part], columns[part], pairs[part], base[part], number[part], width, perspective)


def _enter(
    nearest: torch.Tensor,
    plane: torch.Tensor,
    columns: torch.Tensor,
    pairs: torch.Tensor,
    base: torch.Tensor,
    number: torch.Tensor,
    width: int,
    perspective: bool,
) -> None:
    """One piece of :func:`_scatter`: expand to (face, pixel) pairs, drop those outside, keep the nearest."""
    ends = pairs.cumsum(0)
    total = int(ends[-1])
    if total == 0:
        return
    owner = torch.repeat_interleave(torch.arange(len(pairs), device=pairs.device), pairs, output_size=total)
    within = torch.arange(total, dtype=torch.int32, device=pairs.device) - (ends - pairs).to(torch.int32)[owner]
    across = columns[owner]
    row = torch.div(within, across, rounding_mode="floor")
    column = within - row * across
    p = plane.index_select(0, owner)
    x, y = column.to(plane.dtype), row.to(plane.dtype)
    second = p[:, 0] + p[:, 1] * x + p[:, 2] * y
    third = p[:, 3] + p[:, 4] * x + p[:, 5] * y
    inside = torch.nonzero((second >= 0) & (third >= 0) & (second + third <= p[:, 9]))[:, 0]
    owner, x, y = owner[inside], x[inside], y[inside]
    z = p[:, 6][inside] + p[:, 7][inside] * x + p[:, 8][inside] * y
    depth = (1 / z if perspective else z).clamp(min=NEAR)
    pixel = base[owner] + (row[inside] * width + column[inside])
    key = depth.contiguous().view(torch.int32).long() << 32 | number[owner]
    nearest.scatter_reduce_(0, pixel, key, "amin")
