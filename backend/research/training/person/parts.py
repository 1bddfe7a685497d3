"""The pieces that a figure is put together from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CORNER_WIDTH = 7
"""Numbers at each face corner: template or local position (3), fabric coordinates (2), distance from the hem, spare."""


@dataclass(frozen=True)
class Piece:
    """One piece of the figure: skin, a garment, hair, a shoe.

    Attributes:
        vertices, normals: [V, 3] posed, metres.
        faces: int64 [F, 3].
        position: [V, 3] what patterns that live in space are evaluated at: template position or a local one, metres.
        fabric: [F, 3, 2] metres around and along.
        hem: [V] metres from the nearest hem; large where there is none.
        spare: [V] for the material's use.
        part: int64 [F] labels.
        two_sided: draw the faces from behind too.
        look: number of the look in the figure's table (see looks.py).
    """

    vertices: torch.Tensor
    normals: torch.Tensor
    faces: torch.Tensor
    position: torch.Tensor
    fabric: torch.Tensor
    hem: torch.Tensor
    spare: torch.Tensor
    part: torch.Tensor
    two_sided: bool
    look: int

    def corners(self) -> torch.Tensor:
        """[F, 3, 7], see :data:`CORNER_WIDTH`."""
        at = self.faces
        return torch.cat([self.position[at], self.fabric, self.hem[at][..., None], self.spare[at][..., None]], -1)


def grid_faces(rows: int, columns: int, closed: bool, device: torch.device | str = "cpu") -> torch.Tensor:
    """Faces int64 [F, 3] of a grid of vertices numbered row by row; ``closed`` joins the last column to the first.

    Counter-clockwise seen from the side where, with rows going down, columns run to the right.
    """
    last = columns if closed else columns - 1
    i, j = torch.meshgrid(torch.arange(rows - 1), torch.arange(last), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return torch.stack([a, c, b, b, c, d], -1).reshape(-1, 3).to(device)


def grid_normals(points: torch.Tensor, closed: bool) -> torch.Tensor:
    """Unit normals [R, C, 3] of a grid of ``points`` [R, C, 3]; the side of :func:`grid_faces`."""
    if closed:
        around = points.roll(-1, 1) - points.roll(1, 1)
    else:
        around = torch.cat(
            [points[:, 1:2] - points[:, :1], points[:, 2:] - points[:, :-2], points[:, -1:] - points[:, -2:-1]], 1
        )
    down = torch.cat([points[1:2] - points[:1], points[2:] - points[:-2], points[-1:] - points[-2:-1]])
    return torch.nn.functional.normalize(torch.linalg.cross(down, around, dim=-1), dim=-1, eps=1e-12)


def grid_piece(
    points: torch.Tensor,
    *,
    closed: bool,
    around: torch.Tensor,
    along: torch.Tensor,
    part: int,
    look: int,
    hem: torch.Tensor | None = None,
    position: torch.Tensor | None = None,
    spare: torch.Tensor | None = None,
    two_sided: bool = True,
    caps: bool = False,
) -> Piece:
    """A piece from a grid of ``points`` [R, C, 3].

    Args:
        points: rows go down, columns to the right as seen from outside.
        closed: the last column meets the first; ``around`` then has C + 1 values.
        around: [C] or [C + 1] metres (any unit that the pattern takes).
        along: [R] metres.
        part: label.
        look: number of the look.
        hem: [R, C] metres from the hem.
        position: [R, C, 3]; the points themselves by default.
        spare: [R, C].
        two_sided: draw from behind too.
        caps: close both ends of a tube with a point in the middle of the first and of the last row.
    """
    normals = grid_normals(points, closed)
    if caps:
        ends = [points[k].mean(0).expand(1, points.shape[1], 3) for k in (0, -1)]
        out = torch.nn.functional.normalize(ends[0][0, :1] - ends[1][0, :1], dim=-1).expand(1, points.shape[1], 3)
        points = torch.cat([ends[0], points, ends[1]])
        normals = torch.cat([out, normals, -out])
        along = torch.cat([along[:1], along, along[-1:]])
        position, hem, spare = (
            None
            if v is None
            else torch.cat(
                [v[:1].mean(1, keepdim=True).expand_as(v[:1]), v, v[-1:].mean(1, keepdim=True).expand_as(v[:1])]
            )
            for v in (position, hem, spare)
        )
    rows, columns, _ = points.shape
    faces = grid_faces(rows, columns, closed, points.device)
    row, column = faces // columns, faces % columns
    if closed:
        # Faces of the last column end at the full turn, not at zero.
        column = torch.where((column == 0) & (column.max(1, keepdim=True).values == columns - 1), columns, column)
    flat = points.reshape(-1, 3)
    large = flat.new_full((len(flat),), 1.0)
    return Piece(
        vertices=flat,
        normals=normals.reshape(-1, 3),
        faces=faces,
        position=flat if position is None else position.reshape(-1, 3),
        fabric=torch.stack([around[column], along[row]], -1),
        hem=large if hem is None else hem.reshape(-1),
        spare=torch.zeros_like(large) if spare is None else spare.reshape(-1),
        part=torch.full((len(faces),), part, device=points.device),
        two_sided=two_sided,
        look=look,
    )
