"""An avatar's splats as one closed, textured, skinned mesh."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from ..avatar.clothed_mesh import ClothedMesh, clothed_mesh
from ..avatar.formats.cloud import sorted_weights
from ..avatar.formats.types import ExportError, TexturedMesh
from ..avatar.meshes import vertex_normals
from ..avatar.package import Avatar
from ..avatar.quaternion import to_matrix
from ..avatar.skinning import outward_axes, standing_translation
from ..errors import Cancelled
from .atlas import unwrap
from .bake import bake, find_texels
from .fit import fitted, smoothed
from .improve import improved
from .looks import Look, looks
from .manifold import make_manifold, unfold
from .simplify import carried_over, simplified

TRIANGLES = (2_000, 400_000)
"""What may be asked for."""
TEXTURES = (256, 8192)
"""Pixels a side that may be asked for."""
VOXEL = 0.0065
"""Metres, about two splats: of larger ones fingers and thighs grow together, finer ones show the splats' noise."""
_SOLID = 0.8  # of the coarse mesh's volume


def textured_mesh(
    avatar: Avatar,
    triangles: int = 60_000,
    texture: int = 2048,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    look: Callable[[Avatar, Callable[[float], None]], list[Look]] = looks,
) -> TexturedMesh:
    """The avatar at rest, the soles on the ground, as a mesh for programs that know no splats; deterministic.

    Args:
        avatar: whose splats.
        triangles: about how many; fewer where the avatar's surface has not so much to tell.
        texture: pixels of the picture's side.
        progress: told which share is done, 0..1.
        cancelled: asked between steps.
        look: draws the avatar's looks, told where to report; a caller that needs them too keeps them.

    Raises:
        ExportError: a package is missing, or the numbers cannot be used.
        Cancelled: ``cancelled`` said so.
    """
    if not TRIANGLES[0] <= triangles <= TRIANGLES[1]:
        raise ExportError(f"A mesh of {triangles} triangles cannot be made: ask for {TRIANGLES[0]} to {TRIANGLES[1]}.")
    if not TEXTURES[0] <= texture <= TEXTURES[1]:
        raise ExportError(f"A texture of {texture} pixels cannot be made: ask for {TEXTURES[0]} to {TEXTURES[1]}.")

    def step(share: float) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled()
        if progress is not None:
            progress(share)

    step(0.0)
    fine = _fine_mesh(avatar)
    vertices, faces = make_manifold(fine.vertices, fine.faces)
    vertices, faces = unfold(smoothed(vertices, faces), faces, rounds=1)
    step(0.1)
    pictures = look(avatar, lambda share: step(0.1 + 0.3 * share))
    vertices = fitted(vertices, faces, _weights(vertices, fine), pictures)
    step(0.45)
    vertices, faces = simplified(vertices, faces, triangles)
    dense = _weights(vertices, fine)
    joints, shares = sorted_weights(np.broadcast_to(np.arange(dense.shape[1]), dense.shape), dense)
    weights = np.zeros((len(vertices), len(avatar.parents)))
    np.add.at(weights, (np.arange(len(weights))[:, None], joints), shares)
    step(0.5)
    atlas = unwrap(vertices, faces, weights[faces].sum(1).argmax(1), texture)
    step(0.55)
    texels = find_texels(atlas, texture)
    normals = vertex_normals(vertices, faces)
    colours = bake(
        avatar.gaussians, _outward(avatar), vertices, normals, faces, texels, lambda share: step(0.6 + 0.15 * share)
    )
    colours = improved(
        colours, pictures, vertices, weights, faces, atlas, texels, lambda share: step(0.75 + 0.2 * share)
    )
    file = io.BytesIO()
    Image.fromarray((texels.picture(colours) * 255).round().astype(np.uint8)).save(file, "PNG")
    step(1.0)
    source = atlas.source
    return TexturedMesh(
        vertices=(vertices + standing_translation(avatar))[source].astype(np.float32),
        normals=normals[source].astype(np.float32),
        faces=atlas.faces.astype(np.int32),
        uv=atlas.uv.astype(np.float32),
        joints=joints[source],
        weights=shares[source],
        texture=file.getvalue(),
        texture_size=texture,
    )


def _outward(avatar: Avatar) -> np.ndarray:
    """The direction [N, 3] in which each splat's outside looks."""
    turns = to_matrix(avatar.gaussians.rotation.astype(np.float64))
    return np.einsum("nij,nj->ni", turns, outward_axes(avatar))


def _weights(points: np.ndarray, mesh: ClothedMesh) -> np.ndarray:
    return carried_over(points, mesh.vertices.astype(np.float64), mesh.faces, mesh.weights)


def _fine_mesh(avatar: Avatar) -> ClothedMesh:
    mesh, coarse = clothed_mesh(avatar, VOXEL), clothed_mesh(avatar)
    # Small voxels may leave a hole in the surface, through which the inside is outside: a hollow person.
    return mesh if _volume(mesh) > _SOLID * _volume(coarse) else coarse


def _volume(mesh: ClothedMesh) -> float:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    return float((np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6)
