#!/usr/bin/env python3
"""Measure what bending and rolling joints does to bodies: linear blending, dual quaternions, and shares in between.

    .venvs/backend/bin/python scripts/measure_bending.py                            # the shipped bodies
    .venvs/backend/bin/python scripts/measure_bending.py out/av/demo out/av/other   # avatar packages
    .venvs/backend/bin/python scripts/measure_bending.py --shares 0 1 --poses 0

Volume is that of the closed body by the divergence theorem (flesh that is pressed into flesh counts twice, flesh that
is turned inside out counts against it), and its change is given in per cent of the straight segment: half of the bone
on either side of an elbow or knee, twice half of the bone below a shoulder or hip. The limb is 80 % of both bones. The
section is the ring of skin around the joint: its area in the bend against that at rest. The roll turns wrist or elbow
by 120 degrees about the forearm: the narrowest ring of the forearm, and the edge that is stretched most. Of packages
also how much of the arm's surface shows through its splats, at rest and bent and rolled so far: tears would.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import (  # noqa: E402  (after the path)
    Avatar,
    joint_transforms,
    load_avatar,
    pose_gaussians,
    skin_vertices,
)
from backend.avatar.quaternion import to_matrix  # noqa: E402
from backend.avatar.skinning import STRETCH_LIMITS, surface_in_pose  # noqa: E402

BODIES = ("neutral", "female", "male", "child")
ANGLES = (30, 60, 90, 120)
SHARES = (0.0, 0.5, 1.0)
ROLL = 120
_NEAR = 0.16  # metres from a bone's line within which skin belongs to the limb
_RINGS = np.linspace(0.05, 0.95, 19)  # along the forearm
_ARM = ("left_shoulder", "left_elbow", "left_wrist")
_POINTS, _NEIGHBOURS = 20_000, 24  # on the arm; splats that may cover one of them


@dataclass(frozen=True)
class Bend:
    """A way to bend a joint.

    Attributes:
        name: for people.
        joint, below: SMPL's names of the joint and of the next one down the limb.
        above: the joint at the other end of the bone above, None where the trunk is.
        axis: about which the joint turns, in the body's axes at rest (T-pose).
    """

    name: str
    joint: str
    below: str
    above: str | None
    axis: tuple[float, float, float]


BENDS = (
    Bend("elbow", "left_elbow", "left_wrist", "left_shoulder", (0, -1, 0)),
    Bend("knee", "left_knee", "left_ankle", "left_hip", (1, 0, 0)),
    Bend("shoulder down", "left_shoulder", "left_elbow", None, (0, 0, -1)),
    Bend("shoulder forward", "left_shoulder", "left_elbow", None, (0, -1, 0)),
    Bend("hip forward", "left_hip", "left_knee", None, (-1, 0, 0)),
)


@dataclass(frozen=True, eq=False)
class Skinned:
    """A closed skinned mesh at rest.

    Attributes:
        name: for people.
        vertices: [V, 3] metres.
        faces: int [F, 3].
        weights: [V, 24].
        joints: [24, 3] metres.
        parents, names: of the joints.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joints: np.ndarray
    parents: tuple[int, ...]
    names: tuple[str, ...]

    def posed(self, pose: np.ndarray, share: float) -> np.ndarray:
        """Vertices [V, 3] in ``pose`` [24, 3], ``share`` of dual quaternions."""
        transforms = joint_transforms(pose, self.joints, self.parents)
        return skin_vertices(self.vertices, self.weights, transforms, preserve_volume=share)

    def pose_of(self, joint: str, axis: np.ndarray, degrees: float) -> np.ndarray:
        """The pose [24, 3] that turns one joint."""
        pose = np.zeros((len(self.joints), 3))
        pose[self.names.index(joint)] = np.radians(degrees) * np.asarray(axis) / np.linalg.norm(axis)
        return pose

    def bone(self, start: str, end: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Start [3], direction [3] and length of the line from joint to joint."""
        first, last = (self.joints[self.names.index(name)] for name in (start, end))
        length = float(np.linalg.norm(last - first))
        return first, (last - first) / length, length


def of_shipped(name: str) -> Skinned:
    from backend.body.model import JOINT_NAMES, load_body

    body = load_body(name)
    vertices = body.template.numpy()
    joints = body.joint_regressor.numpy() @ vertices
    return Skinned(name, vertices, body.faces.numpy(), body.weights.numpy(), joints, body.parents, tuple(JOINT_NAMES))


def of_package(avatar: Avatar, name: str) -> Skinned:
    """The clothed surface without its sheets, which are not closed."""
    body, count = avatar.body, len(avatar.body.vertices)
    vertices, weights = (array[:count].astype(np.float64) for array in (body.surface_vertices, body.surface_weights))
    return Skinned(name, vertices, body.faces, weights, avatar.rest_joints, avatar.parents, avatar.joint_names)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Cubic metres inside a closed mesh, by the divergence theorem."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("ni,ni->", a, np.cross(b, c)) / 6)


def limb_volume(body: Skinned, bend: Bend, reach: float) -> float:
    """Cubic metres of the straight limb between ``reach`` (share) of the bones on both sides of the joint.

    Its flat ends have normals along the bone, so of div(r) = 2, r the distance from the bone, only the skin remains:
    V = 1/2 sum of r . n dA.
    """
    start, along, length = body.bone(bend.joint, bend.below)
    low = -reach * body.bone(bend.above, bend.joint)[2] if bend.above else 0.0
    place = (body.vertices - start) @ along
    off = body.vertices - start - place[:, None] * along
    inside = (place > low) & (place < reach * length) & (np.linalg.norm(off, axis=1) < _NEAR)
    faces = body.faces[inside[body.faces].all(1)]
    corners = body.vertices[faces]
    normal = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    found = float(0.5 * np.einsum("ni,ni->", off[faces].mean(1), normal))
    return found if bend.above else 2 * found


def ring(body: Skinned, start: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a plane cuts the limb's skin: vertex pairs int [E, 2] in order around it, and the shares [E] between."""
    height = (body.vertices - start) @ along
    radius = np.linalg.norm(body.vertices - start - height[:, None] * along, axis=1)
    edges = np.unique(np.sort(body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    edges = edges[(height[edges[:, 0]] > 0) != (height[edges[:, 1]] > 0)]
    edges = edges[(radius[edges] < _NEAR).all(1)]
    share = height[edges[:, 0]] / (height[edges[:, 0]] - height[edges[:, 1]])
    points = _at(body.vertices, edges, share)
    side = np.cross(along, [0.0, 0.0, 1.0] if abs(along[2]) < 0.9 else [1.0, 0.0, 0.0])
    from_middle = points - points.mean(0)
    order = np.argsort(np.arctan2(from_middle @ np.cross(along, side), from_middle @ side))
    return edges[order], share[order]


def ring_area(vertices: np.ndarray, cut: tuple[np.ndarray, np.ndarray]) -> float:
    """Square metres that a ring encloses: the length of its vector area."""
    points = _at(vertices, *cut)
    points = points - points.mean(0)
    return float(0.5 * np.linalg.norm(np.cross(points, np.roll(points, -1, axis=0)).sum(0)))


def _at(vertices: np.ndarray, edges: np.ndarray, share: np.ndarray) -> np.ndarray:
    return vertices[edges[:, 0]] + share[:, None] * (vertices[edges[:, 1]] - vertices[edges[:, 0]])


def bend_rows(body: Skinned, shares: list[float]) -> Iterator[str]:
    straight = volume(body.vertices, body.faces)
    for bend in BENDS:
        start, along, _ = body.bone(bend.joint, bend.below)
        cut = ring(body, start, along) if bend.above else None
        segment, limb = limb_volume(body, bend, 0.5), limb_volume(body, bend, 0.8)
        for share in shares:
            cells, change = [], 0.0
            for angle in ANGLES:
                posed = body.posed(body.pose_of(bend.joint, np.array(bend.axis), angle), share)
                change = 100 * (volume(posed, body.faces) - straight)
                section = "" if cut is None else f" ({ring_area(posed, cut) / ring_area(body.vertices, cut):4.2f})"
                cells.append(f"{change / segment:6.1f}{section}")
            yield f"{body.name:<16} {bend.name:<17} {share:4.2f}  {'  '.join(cells)}   limb {change / limb:6.1f}"


def roll_rows(body: Skinned, shares: list[float]) -> Iterator[str]:
    start, along, length = body.bone("left_elbow", "left_wrist")
    cuts = [ring(body, start + share * length * along, along) for share in _RINGS]
    edges = np.unique(np.sort(body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    place = (body.vertices - start) @ along / length
    near = ((place > -0.3) & (place < 1.3))[edges].all(1)
    long = np.linalg.norm(body.vertices[edges[:, 0]] - body.vertices[edges[:, 1]], axis=1)
    for share in shares:
        cells = []
        for joint in ("left_wrist", "left_elbow"):
            posed = body.posed(body.pose_of(joint, along, ROLL), share)
            narrow = min(ring_area(posed, cut) / ring_area(body.vertices, cut) for cut in cuts)
            stretched = np.linalg.norm(posed[edges[:, 0]] - posed[edges[:, 1]], axis=1) / long
            cells.append(f"{narrow:5.2f} {stretched[near].max():5.2f} {np.quantile(stretched[near], 0.999):5.2f}")
        yield f"{body.name:<16} {share:4.2f}   {'      '.join(cells)}"


def uncovered(avatar: Avatar, pose: np.ndarray) -> float:
    """Share of the left arm's posed surface over which its splats, looked at along their thin axes, stop less than
    half of the light.

    Args:
        avatar: whose splats.
        pose: [24, 3] axis-angle.
    """
    body, gaussians = avatar.body, pose_gaussians(avatar, pose, np.zeros(3))
    faces = body.surface_faces[: len(body.faces)]
    share = body.surface_weights[:, [avatar.joint_names.index(name) for name in _ARM]].sum(1)
    corners = surface_in_pose(avatar, pose)[faces[(share[faces] > 0.6).all(1)]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    random = np.random.default_rng(0)
    chosen = random.choice(len(corners), _POINTS, p=area / area.sum())
    points = np.einsum("nc,nci->ni", random.dirichlet(np.ones(3), _POINTS), corners[chosen])
    near = cKDTree(gaussians.position).query(points, k=_NEIGHBOURS)[1]
    away = points[:, None] - gaussians.position[near]
    scale = gaussians.scale.astype(np.float64)[near]
    along = np.einsum("nkab,nka->nkb", to_matrix(gaussians.rotation.astype(np.float64))[near], away) / scale
    np.put_along_axis(along, scale.argmin(2)[..., None], 0.0, 2)
    alpha = gaussians.opacity[near] * np.exp(-0.5 * (along**2).sum(2))
    return float((np.prod(1 - alpha, axis=1) > 0.5).mean())


def cover_row(avatar: Avatar, body: Skinned) -> str:
    """Per cent of the arm that is not covered, at rest, at an elbow of 120 degrees, and rolled at wrist and elbow."""
    along = body.bone("left_elbow", "left_wrist")[1]
    poses = [np.zeros((24, 3)), body.pose_of("left_elbow", np.array(BENDS[0].axis), 120)]
    poses += [body.pose_of(joint, along, ROLL) for joint in ("left_wrist", "left_elbow")]
    return f"{body.name:<16} " + "  ".join(f"{100 * uncovered(avatar, pose):11.2f}" for pose in poses)


def random_pose_row(avatar: Avatar, name: str, count: int) -> str:
    """Worst growth of splats in random poses, and how many numbers are not finite."""
    worst, broken = 0.0, 0
    for seed in range(count):
        pose = np.random.default_rng(seed).normal(scale=0.6, size=(24, 3))
        posed = pose_gaussians(avatar, pose)
        for array in (posed.position, posed.rotation, posed.scale):
            broken += int((~np.isfinite(array)).sum())
        worst = max(worst, float((posed.scale / avatar.gaussians.scale).max()))
    limit = STRETCH_LIMITS[1]
    return f"{name:<16} {count} random poses: splats grow up to {worst:.3f} (limit {limit}), {broken} not finite"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "packages", nargs="*", type=Path, help="avatar packages; the shipped bodies where none is given"
    )
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of dual quaternions, 0 to 1")
    parser.add_argument("--poses", type=int, default=20, help="random poses of each package")
    arguments = parser.parse_args()
    avatars = [(load_avatar(folder), folder.resolve().name) for folder in arguments.packages]
    bodies = [of_package(*named) for named in avatars] or [of_shipped(name) for name in BODIES]
    print(
        "Change of volume, % of the straight segment (section at the joint, 1 = as at rest), at the angles; limb at 120"
    )
    print(f"{'body':<16} {'joint':<17} share  " + "  ".join(f"{angle:>13}" for angle in ANGLES))
    for body in bodies:
        print("\n".join(bend_rows(body, arguments.shares)))
    print(f"\nRoll of {ROLL} degrees: narrowest section, longest edge and its 99.9th percentile, 1: as at rest")
    print(f"{'body':<16} share   {'wrist':<22} elbow")
    for body in bodies:
        print("\n".join(roll_rows(body, arguments.shares)))
    if avatars:
        print("\nPer cent of the arm's surface that its splats leave uncovered")
        print(f"{'body':<16} {'rest':>11}  {'elbow 120':>11}  {'wrist roll':>11}  {'elbow roll':>11}")
        for (avatar, _), body in zip(avatars, bodies):
            print(cover_row(avatar, body))
    for named in avatars if arguments.poses else []:
        print(random_pose_row(*named, arguments.poses))


if __name__ == "__main__":
    main()
