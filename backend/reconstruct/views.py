"""What other views of a person say of the colours of splats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from ..avatar.threads import in_threads
from ..geometry.maps import MAP_SIZE, bilinear
from ..prepare import person_colours
from ..rendering.mesh import rasterize_mesh
from .completion import Said
from .config import COMPLETION, ViewsConfig
from .parts import WITHOUT_FACE
from .shape import ClothedSurface, PicturedMesh
from .types import SurfaceMesh
from .visibility import Observation, View, observe, ramp


@dataclass(frozen=True, eq=False)
class ViewedPerson:
    """V views of a person, the photo's first. Space: the photo camera's, metres.

    Attributes:
        matrices: [V, 4, 4] from that space to each camera's.
        focal: in picture widths.
        rgb: [V, S, S, 3] the person's colours, 0..1.
        coverage: [V, S, S] 0..1.
    """

    matrices: np.ndarray
    focal: float
    rgb: np.ndarray
    coverage: np.ndarray


def said_by(
    viewed: ViewedPerson,
    position: np.ndarray,
    normal: np.ndarray,
    part: np.ndarray,
    mesh: SurfaceMesh,
    device: torch.device | None = None,
    config: ViewsConfig | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [n, 3] that the views together say of splats, and how far that counts [n] in 0..1.

    Args:
        viewed: the views.
        position, normal, part: [n, 3], [n, 3], int [n] of the splats.
        mesh: the surface that hides some of them.
        device: see :func:`~backend.rendering.mesh.rasterize_mesh`.
        config: weights.
    """
    config = config or ViewsConfig()
    size = viewed.coverage.shape[1]

    def one(number: int) -> tuple[np.ndarray, np.ndarray]:
        matrix = viewed.matrices[number]
        local = mesh.posed @ matrix[:3, :3].T + matrix[:3, 3]
        hits = rasterize_mesh(local, mesh.faces, viewed.focal * size, (size, size), device=device)
        view = View.of(matrix, viewed.focal * size, hits.depth, viewed.coverage[number] > 0.5, None, config.blur)
        seen = observe(position, normal, part, view)
        found = bilinear(np.dstack([viewed.rgb[number], viewed.coverage[number]]).astype(np.float32), seen.pixels)
        weight = np.where(seen.inner > 0, seen.facing.clip(0, 1) ** 2, 0) * ramp(found[:, 3], config.coverage)
        return weight, weight[:, None] * found[:, :3]

    total, mixed = (cast(np.ndarray, sum(parts)) for parts in zip(*in_threads(one, range(len(viewed.matrices)))))
    return mixed / np.maximum(total, 1e-6)[:, None], (total / config.enough).clip(0, 1)


def colours_at(image: np.ndarray, seen: Observation) -> np.ndarray:
    """Colours [n, 3] of ``image`` [S, S, 3] where it shows the places that were observed."""
    return bilinear(image, seen.pixels * image.shape[0] / MAP_SIZE).astype(float)


@dataclass(frozen=True, eq=False)
class SplatsInPicture:
    """Where a further picture has n splats, and its colours.

    Attributes:
        position: [n, 3] in the picture camera's space.
        turn: [n, 3, 3] from the photo's pose and camera.
        image: float32 [S, S, 3] the person's colours in the photo's light, 0..1, free of background.
        alpha: [S, S] the picture's matte.
        focal: pixels of the image.
        belief: in 0..1, how far its colours are believed.
    """

    position: np.ndarray
    turn: np.ndarray
    image: np.ndarray
    alpha: np.ndarray
    focal: float
    belief: float


def said_by_pictures(
    clothed: ClothedSurface,
    photo: Said,
    facing: np.ndarray,
    position: np.ndarray,
    normal: np.ndarray,
    triangles: np.ndarray,
    part: np.ndarray,
    device: torch.device | None = None,
    config: ViewsConfig | None = None,
) -> tuple[Said, np.ndarray, tuple[SplatsInPicture, ...]]:
    """What the photo and further pictures say of n splats, each the colour of the one that shows it best; the photo's
    share [n] of that; and the splats in those pictures whose outlines they keep to.

    Args:
        clothed: the surface, and the pictures of it.
        photo: its colours and beliefs.
        facing: [n] cosine at which it sees each.
        position, normal, part: [n, 3], [n, 3], int [n] of the splats, in the photo's pose.
        triangles: int [n, 3], vertices that each moves with.
        device: see :func:`~backend.prepare.person_colours`.
        config: weights.
    """
    config = config or ViewsConfig()

    def one(pictured: PicturedMesh) -> tuple[SplatsInPicture, tuple[Said, np.ndarray]]:
        points, turn = clothed.mesh.carried(position, triangles, pictured.posed)
        seen = observe(points, np.einsum("nab,nb->na", turn, normal), WITHOUT_FACE[part], pictured.view)
        image = person_colours(pictured.picture, device or "cpu").astype(np.float32) / 255
        focal = pictured.view.focal * len(image) / MAP_SIZE
        placed = SplatsInPicture(points, turn, image, pictured.picture.alpha, focal, pictured.belief)
        return placed, (Said(colours_at(image, seen), seen.confidence * pictured.belief), seen.facing)

    placed, pictures = zip(*(one(pictured) for pictured in clothed.pictures))
    gains = light_between(photo, pictures, config)
    lit = [(_lit(said, gain), square) for (said, square), gain in zip(pictures, gains)]
    kept = tuple(
        replace(one, image=(one.image * gain.astype(np.float32)).clip(0, 1))
        for one, gain, pictured in zip(placed, gains, clothed.pictures)
        if pictured.outline
    )
    return *best_of([(photo, facing), *lit], config), kept


def light_between(
    photo: Said, pictures: Sequence[tuple[Said, np.ndarray]], config: ViewsConfig
) -> list[np.ndarray]:
    """What the colours of each of ``pictures``, see :func:`best_of`, are to be multiplied with, [3], to be as bright
    and of the tint of the photo: exposures and white balances differ.

    Where two pictures show the same places the median of their colours' ratio, of each channel, tells; a picture that
    shows nothing of what the photo shows is compared with those that do.
    """
    known, out, left = photo, dict[int, np.ndarray](), set(range(len(pictures)))
    while left:
        shared = {k: np.flatnonzero(np.minimum(known.belief, pictures[k][0].belief) > COMPLETION.source) for k in left}
        number = max(sorted(left), key=lambda k: len(shared[k]))
        left.remove(number)
        said, facing = pictures[number]
        places, out[number] = shared[number], np.ones(3)
        if len(places) >= COMPLETION.fewest:
            ratio = np.log(np.maximum(known.rgb[places], 1 / 255) / np.maximum(said.rgb[places], 1 / 255))
            out[number] = np.exp(np.median(ratio, 0))
        known, _ = best_of([(known, np.ones(len(known.belief))), (_lit(said, out[number]), facing)], config)
    return [out[number] for number in range(len(pictures))]


def _lit(said: Said, gain: np.ndarray) -> Said:
    return Said((said.rgb * gain).clip(0, 1), said.belief)


def best_of(pictures: Sequence[tuple[Said, np.ndarray]], config: ViewsConfig) -> tuple[Said, np.ndarray]:
    """Of pictures that see n places with cosines [n], the colours of the one that is believed and sees it most
    squarely; and the first one's share [n] of that."""
    belief = np.stack([said.belief for said, _ in pictures])
    square = np.stack([facing.clip(0, 1) for _, facing in pictures])
    weight = (belief * square) ** config.sharpness
    total = weight.sum(0)
    rgb = (weight[..., None] * np.stack([said.rgb for said, _ in pictures])).sum(0)
    seen = total > 0
    rgb /= np.maximum(total, 1e-12)[:, None]
    share = np.where(seen, weight[0] / np.maximum(total, 1e-12), 1.0)
    return Said(np.where(seen[:, None], rgb, pictures[0][0].rgb), belief.max(0)), share
