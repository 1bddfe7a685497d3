"""The geometry of the views: rays, and what the fitted body looks like from each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from ...rendering.triangles import interpolate, rasterize


@dataclass(frozen=True)
class ViewCameras:
    """V pinhole cameras with square pictures, OpenCV axes. World: any; metres times ``1 / scale``.

    Attributes:
        world_to_camera: [V, 4, 4].
        focal: [V], the focal length in picture widths.
        centre: [V, 2] principal point in picture widths.
    """

    world_to_camera: torch.Tensor
    focal: torch.Tensor
    centre: torch.Tensor

    def __len__(self) -> int:
        return len(self.focal)

    def __getitem__(self, chosen: slice | list[int]) -> ViewCameras:
        """Some of the cameras."""
        return ViewCameras(self.world_to_camera[chosen], self.focal[chosen], self.centre[chosen])

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """[V, N, 3]: place in the picture (0..1 across and down) and depth of world ``points`` [N, 3]."""
        seen = points @ self.world_to_camera[:, :3, :3].transpose(1, 2) + self.world_to_camera[:, None, :3, 3]
        place = seen[..., :2] / seen[..., 2:] * self.focal[:, None, None] + self.centre[:, None]
        return torch.cat([place, seen[..., 2:]], -1)

    def rays(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins [V, 3] and directions [V, S, S, 3] of the rays through the pixels' middles.

        Directions have depth one (their z in the camera is 1), so that origin + depth * direction is the point.
        """
        steps = (torch.arange(size, device=self.focal.device) + 0.5) / size
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        plane = (torch.stack([x, y], -1)[None] - self.centre[:, None, None]) / self.focal[:, None, None, None]
        local = torch.cat([plane, torch.ones_like(plane[..., :1])], -1)
        rotation, shift = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        directions = torch.einsum("vij,vhwi->vhwj", rotation, local)
        return -torch.einsum("vij,vi->vj", rotation, shift), directions


_FAINT = 0.2
"""Coverage below which a colour is not freed from the white any further."""


def without_white(rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Colours [N, 3, ...] of what covers white by ``alpha`` [N, 1, ...] such that ``rgb`` is seen."""
    return ((rgb - 1) / alpha.clamp(min=_FAINT) + 1).clamp(0, 1)


@dataclass(frozen=True)
class SideViews:
    """The person from V sides, the photo's own first, which completes the photo.

    Attributes:
        latents: [V, 4, L, L].
        pictures: [V, 4, F, F] colours, which mean nothing where nothing is covered, and coverage, all in 0..1; None
            where they are what the latents decode to.
        imagined: whether they are a guess rather than pictures of the person.
    """

    latents: torch.Tensor
    pictures: torch.Tensor | None = None
    imagined: bool = False

    def __getitem__(self, chosen: slice) -> SideViews:
        """Some of the views."""
        pictures = None if self.pictures is None else self.pictures[chosen]
        return replace(self, latents=self.latents[chosen], pictures=pictures)


def pluecker(cameras: ViewCameras, size: int) -> torch.Tensor:
    """Pluecker coordinates [V, 6, S, S] of the pixels' rays: moment o x d and unit direction d."""
    origins, directions = cameras.rays(size)
    unit = functional.normalize(directions, dim=-1)
    moment = torch.linalg.cross(origins[:, None, None].expand_as(unit), unit)
    return torch.cat([moment, unit], -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class BodyMaps:
    """What a body looks like from V views of S pixels.

    Attributes:
        depth: [V, S, S] along the camera's axis; beside the body, that of the nearest pixel that sees it.
        normal: [V, S, S, 3] world space; zero beside the body.
        mask: [V, S, S] 1 where the body is.
        face: int64 [V, S, S], beside the body that of the nearest pixel that sees it.
    """

    depth: torch.Tensor
    normal: torch.Tensor
    mask: torch.Tensor
    face: torch.Tensor

    def stacked(self, distance: torch.Tensor) -> torch.Tensor:
        """[V, 5, S, S] for the network: depth about ``distance`` [V], normal, mask."""
        relative = ((self.depth - distance[:, None, None]) * self.mask)[..., None]
        return torch.cat([relative, self.normal, self.mask[..., None]], -1).permute(0, 3, 1, 2)

    def resized(self, size: int) -> BodyMaps:
        """The same maps with ``size`` pixels a side, nearest pixel."""
        step = self.depth.shape[1] / size
        index = ((torch.arange(size, device=self.depth.device) + 0.5) * step).long()
        return BodyMaps(*(value[:, index][:, :, index] for value in (self.depth, self.normal, self.mask, self.face)))


def draw_body(
    vertices: torch.Tensor, normals: torch.Tensor, faces: torch.Tensor, cameras: ViewCameras, size: int
) -> BodyMaps:
    """Draw a body of ``vertices`` [N, 3] with unit ``normals`` [N, 3] and int64 ``faces`` [F, 3]."""
    place = cameras.project(vertices)
    screen = torch.cat([place[..., :2] * size, place[..., 2:]], -1)
    hits = rasterize(screen, faces, (size, size), None)
    corners = faces[hits.face].T
    normal = functional.normalize(interpolate(normals, corners, hits.barycentric), dim=1)
    seen = torch.ones_like(hits.depth)
    mask = hits.spread(seen)
    depth = hits.spread(hits.depth)
    face = hits.spread(hits.face)
    depth, face = _grow(depth, face, mask)
    return BodyMaps(depth, hits.spread(normal), mask, face)


def spread_points(points: torch.Tensor, count: int) -> torch.Tensor:
    """Indices int64 [count] of ``points`` [N, 3] as far from each other as can be (farthest point sampling)."""
    if count >= len(points):
        return torch.arange(len(points), device=points.device)
    chosen = [points[:, 1].argmax()]
    distance = (points - points[chosen[0]]).pow(2).sum(1)
    for _ in range(count - 1):
        chosen.append(distance.argmax())
        distance = torch.minimum(distance, (points - points[chosen[-1]]).pow(2).sum(1))
    return torch.stack(chosen)


def _grow(depth: torch.Tensor, face: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill what lies beside the mask from the nearest pixel inside (jump flooding; Rong and Tan 2006)."""
    views, size, _ = depth.shape
    rows = torch.arange(size, device=depth.device)
    y, x = torch.meshgrid(rows, rows, indexing="ij")
    far = 4 * size
    sy, sx = (torch.where(mask > 0, v[None], v.new_tensor(-far)) for v in (y, x))
    best = (sy - y) ** 2 + (sx - x) ** 2
    step = size // 2
    while step >= 1:
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                if dy == dx == 0:
                    continue
                ny = functional.pad(sy, (step,) * 4, value=-far)[
                    :, step + dy : step + dy + size, step + dx : step + dx + size
                ]
                nx = functional.pad(sx, (step,) * 4, value=-far)[
                    :, step + dy : step + dy + size, step + dx : step + dx + size
                ]
                distance = (ny - y) ** 2 + (nx - x) ** 2
                closer = distance < best
                sy, sx, best = (torch.where(closer, a, b) for a, b in ((ny, sy), (nx, sx), (distance, best)))
        step //= 2
    index = (sy.clamp(min=0) * size + sx.clamp(min=0)).reshape(views, -1)
    filled_depth, filled_face = (v.reshape(views, -1).gather(1, index).reshape(v.shape) for v in (depth, face))
    return filled_depth, filled_face
