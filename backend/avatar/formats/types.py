"""What exporters work on: splats or a mesh, moved by a skeleton whose bones have no rotation at rest, and clips.

Space: metres, y up, x to the person's left, z out of the chest, the soles on y = 0 with the pelvis above the origin:
the avatar's axes, which are glTF's too. Other clients' axes are a matter of each writer (see ``axes``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussians import Gaussians


class ExportError(ValueError):
    """An export that cannot be done; the message is one sentence for the user, with what to do next."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """J bones whose axes are the world's at rest.

    Attributes:
        names: J names, all different.
        parents: J indices, -1 first; parents come before their children.
        heads: float64 [J, 3] metres, where each bone turns, at rest.
        hips: index of the bone that carries the body's movement through space.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    heads: np.ndarray
    hips: int

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class BoneClip:
    """A motion of a :class:`Skeleton`.

    Attributes:
        name: what engines list it as.
        fps: frames a second.
        rotations: float64 [T, J, 4] unit quaternions wxyz of each bone, relative to its parent; the rest pose is the
            identity everywhere.
        hips: float64 [T, 3] metres, place of the bone ``Skeleton.hips`` relative to its parent's head (to the origin,
            where it has none).
    """

    name: str
    fps: float
    rotations: np.ndarray
    hips: np.ndarray

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (len(self) - 1) / self.fps


@dataclass(frozen=True, eq=False)
class SplatCloud:
    """N splats at rest with the bones that move them by linear blend skinning.

    Attributes:
        gaussians: N splats.
        joints: uint8 [N, 4] bones.
        weights: float32 [N, 4], rows sum to 1, the largest first.
    """

    gaussians: Gaussians
    joints: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.gaussians)


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A closed, textured, skinned triangle mesh at rest. Vertices along seams of the texture come several times.

    Attributes:
        vertices: float32 [V, 3] metres.
        normals: float32 [V, 3] of length 1, outwards.
        faces: int32 [F, 3], counter-clockwise seen from outside.
        uv: float32 [V, 2] in 0..1, the origin at the picture's top left as in glTF.
        joints: uint8 [V, 4] bones.
        weights: float32 [V, 4], rows sum to 1, the largest first.
        texture: a PNG file, display sRGB, opaque.
        texture_size: pixels a side.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    texture: bytes
    texture_size: int


@dataclass(frozen=True)
class Provenance:
    """Who made an avatar of what, for every file that has a place for it.

    Attributes:
        name: the avatar's.
        generator: program and version.
        licence: of the body model and the weights.
        source: the photo's name.
    """

    name: str
    generator: str
    licence: str
    source: str
