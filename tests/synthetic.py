"""A made-up avatar for tests: one tube along each bone of an SMPL-like skeleton, covered with random splats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from backend.avatar import Avatar, Body, Camera, Gaussians, Skin, bind_to_surface, reference_triangles, sh_from_rgb
from backend.avatar.quaternion import normalize, to_matrix

# name, parent, rest position in metres (T-pose, pelvis at the origin, x to the person's left, y up, z forward)
SKELETON = (
    ("pelvis", -1, (0.0, 0.0, 0.0)),
    ("left_hip", 0, (0.07, -0.08, 0.0)),
    ("right_hip", 0, (-0.07, -0.08, 0.0)),
    ("spine1", 0, (0.0, 0.11, -0.01)),
    ("left_knee", 1, (0.10, -0.46, 0.0)),
    ("right_knee", 2, (-0.10, -0.46, 0.0)),
    ("spine2", 3, (0.0, 0.25, -0.01)),
    ("left_ankle", 4, (0.10, -0.86, -0.03)),
    ("right_ankle", 5, (-0.10, -0.86, -0.03)),
    ("spine3", 6, (0.0, 0.31, 0.0)),
    ("left_foot", 7, (0.12, -0.92, 0.09)),
    ("right_foot", 8, (-0.12, -0.92, 0.09)),
    ("neck", 9, (0.0, 0.52, -0.02)),
    ("left_collar", 9, (0.08, 0.43, -0.01)),
    ("right_collar", 9, (-0.08, 0.43, -0.01)),
    ("head", 12, (0.0, 0.60, 0.02)),
    ("left_shoulder", 13, (0.18, 0.45, -0.02)),
    ("right_shoulder", 14, (-0.18, 0.45, -0.02)),
    ("left_elbow", 16, (0.44, 0.44, -0.03)),
    ("right_elbow", 17, (-0.44, 0.44, -0.03)),
    ("left_wrist", 18, (0.69, 0.45, -0.02)),
    ("right_wrist", 19, (-0.69, 0.45, -0.02)),
    ("left_hand", 20, (0.78, 0.44, -0.03)),
    ("right_hand", 21, (-0.78, 0.44, -0.03)),
)
JOINT_NAMES = tuple(name for name, _, _ in SKELETON)
PARENTS = tuple(parent for _, parent, _ in SKELETON)
REST_JOINTS = np.array([place for _, _, place in SKELETON], dtype=np.float64)

_RADIUS = {"spine1": 0.12, "spine2": 0.12, "spine3": 0.13, "neck": 0.08, "head": 0.09, "left_knee": 0.08}
_RADIUS |= {"right_knee": 0.08, "left_hip": 0.09, "right_hip": 0.09}
_CLOTH = 0.01


def make_avatar(n_splats: int = 2000, seed: int = 0, detail: int = 1) -> Avatar:
    """An avatar of ``n_splats`` random splats bound to tubes around 23 bones; the same for the same arguments.

    Triangles measure about 3 to 6 cm; ``detail`` divides that.
    """
    random = np.random.default_rng(seed)
    vertices, normals, faces = _tubes(detail)
    weights = _weights(vertices)
    surface = (vertices + _CLOTH * normals).astype(np.float32)
    gaussians, triangles = _splats(surface, faces, n_splats, random)
    references = reference_triangles(surface, weights)
    triangles, barycentric, offset, rotation = bind_to_surface(gaussians, surface, triangles, references)
    own = np.einsum("nc,ncj->nj", barycentric, weights[triangles])
    joint_ids = np.argsort(-own, axis=1)[:, :4]
    joint_weights = np.take_along_axis(own, joint_ids, axis=1)
    lowest = float(vertices[:, 1].min())
    return Avatar(
        gaussians=gaussians,
        skin=Skin(
            vertex_ids=triangles,
            barycentric=barycentric,
            offset=offset,
            rotation=rotation,
            joint_ids=joint_ids.astype(np.uint8),
            joint_weights=(joint_weights / joint_weights.sum(axis=1, keepdims=True)).astype(np.float32),
            seen=random.uniform(size=len(triangles)).astype(np.float32),
        ),
        body=Body(
            vertices=vertices.astype(np.float32),
            faces=faces,
            weights=weights,
            surface_vertices=surface,
            surface_faces=faces,
            surface_weights=weights,
            reference_triangles=references,
        ),
        joint_names=JOINT_NAMES,
        parents=PARENTS,
        rest_joints=REST_JOINTS.copy(),
        betas=np.zeros(10),
        pose=make_pose(seed),
        translation=np.array([0.0, -lowest, 0.0]),
        joint_confidence=np.full(24, 0.9),
        camera=make_camera(),
        body_model={"name": "tubes", "licence": "CC0-1.0"},
        generator={"name": "humansplat", "version": "0.1.0", "preset": "surface", "weights": []},
        source={"name": "photo.jpg", "sha256": "0" * 64},
        seconds={"prepare": 0.5, "body": 1.0},
        warnings=("Made up.",),
    )


def make_shipped_avatar(n_splats: int = 1000, body: str = "neutral", seed: int = 0) -> Avatar:
    """The naked body of a body file that ships, with ``n_splats`` random splats on its skin."""
    with np.load(Path(__file__).resolve().parents[1] / "backend" / "body" / "data" / f"{body}.npz") as arrays:
        surface, faces, weights = (arrays[name] for name in ("v_template", "f", "weights"))
        joints = arrays["J_regressor"].astype(np.float64) @ surface
    faces = faces.astype(np.int32)
    gaussians, triangles = _splats(surface, faces, n_splats, np.random.default_rng(seed))
    references = reference_triangles(surface, weights)
    ids, barycentric, offset, rotation = bind_to_surface(gaussians, surface, triangles, references)
    joint_weights = np.einsum("nc,ncj->nj", barycentric, weights[ids])
    joint_ids = np.argsort(-joint_weights, axis=1)[:, :4]
    top = np.take_along_axis(joint_weights, joint_ids, axis=1)
    tubes = make_avatar(1)
    return replace(
        tubes,
        gaussians=gaussians,
        skin=Skin(
            vertex_ids=ids,
            barycentric=barycentric,
            offset=offset,
            rotation=rotation,
            joint_ids=joint_ids.astype(np.uint8),
            joint_weights=(top / top.sum(axis=1, keepdims=True)).astype(np.float32),
        ),
        body=Body(surface, faces, weights, surface, faces, weights, references),
        rest_joints=joints,
        body_model={"name": f"anny-{body}", "licence": "CC0-1.0"},
    )


def covariances(g: Gaussians) -> np.ndarray:
    """Covariances [N, 3, 3] of splats, float64, square metres."""
    axes = to_matrix(normalize(g.rotation.astype(np.float64))) * g.scale[:, None]
    return axes @ axes.swapaxes(1, 2)


def make_pose(seed: int = 0, strength: float = 0.4) -> np.ndarray:
    """A random pose [24, 3]: axis-angle vectors of about ``strength`` radians a component."""
    return np.random.default_rng(seed + 1000).normal(scale=strength, size=(24, 3))


def make_camera(width: int = 256, height: int = 256, distance: float = 3.0) -> Camera:
    """A camera at chest height in front of the avatar, ``distance`` metres away, the whole body in the picture."""
    world_to_camera = np.diag([1.0, -1.0, -1.0, 1.0])
    world_to_camera[:3, 3] = [0, 0.9, distance]
    focal = 0.45 * height * distance
    return Camera(width, height, focal, focal, width / 2, height / 2, world_to_camera)


def _tubes(detail: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3], outward normals [V, 3] and faces [F, 3] of open tubes with rounded ends."""
    sides, rings = 12 * detail, 6 * detail + 1
    vertices, normals, faces = [], [], []
    grid = np.arange(rings * sides).reshape(rings, sides)
    following = np.roll(grid, -1, axis=1)
    lower = np.stack([grid[:-1], following[:-1], following[1:]], -1).reshape(-1, 3)
    upper = np.stack([grid[:-1], following[1:], grid[1:]], -1).reshape(-1, 3)
    angle = np.arange(sides) * 2 * np.pi / sides
    along = np.linspace(0.0, 1.0, rings)
    # A half ellipse's outline, cut short of the poles so that no triangle loses its area.
    profile = np.sqrt(1 - (0.95 * (2 * along - 1)) ** 4)
    for joint in range(1, len(PARENTS)):
        start, end = REST_JOINTS[PARENTS[joint]], REST_JOINTS[joint]
        axis = (end - start) / np.linalg.norm(end - start)
        if JOINT_NAMES[joint] == "head":
            end = end + 0.16 * axis
        side = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        outward = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
        radius = _RADIUS.get(JOINT_NAMES[joint], 0.05)
        centre = start + along[:, None] * (end - start)
        faces.append(np.concatenate([lower, upper]) + sum(map(len, vertices)))
        vertices.append((centre[:, None] + radius * profile[:, None, None] * outward).reshape(-1, 3))
        normals.append(np.broadcast_to(outward, (rings, sides, 3)).reshape(-1, 3))
    return np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces).astype(np.int32)


def _weights(vertices: np.ndarray) -> np.ndarray:
    """Smooth weights [V, 24]: a joint pulls the nearer its bone (from the joint to its child) lies."""
    distance = np.full((len(vertices), 24), np.inf)
    for joint in range(24):
        children = [child for child, parent in enumerate(PARENTS) if parent == joint]
        for end in [REST_JOINTS[child] for child in children] or [REST_JOINTS[joint] + 1e-6]:
            start = REST_JOINTS[joint]
            bone = end - start
            share = np.clip((vertices - start) @ bone / (bone @ bone), 0, 1)
            nearest = start + share[:, None] * bone
            distance[:, joint] = np.minimum(distance[:, joint], np.linalg.norm(vertices - nearest, axis=1))
    distance -= distance.min(axis=1, keepdims=True)
    weights = np.exp(-distance / 0.02)
    fourth = np.sort(weights, axis=1)[:, -4]
    weights[weights < fourth[:, None]] = 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _splats(
    vertices: np.ndarray, faces: np.ndarray, count: int, random: np.random.Generator
) -> tuple[Gaussians, np.ndarray]:
    """Random splats near the surface and the triangle [N, 3] of each."""
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    face = random.choice(len(faces), size=count, p=area / area.sum())
    barycentric = random.dirichlet(np.ones(3), size=count)
    offset = random.normal(scale=0.004, size=(count, 1))
    position = np.einsum("nc,nci->ni", barycentric, corners[face]) + offset * (normals / area[:, None])[face]
    rgb = np.clip(0.5 + 0.5 * np.sin(7 * position + [0, 2, 4]), 0.02, 0.98)
    return (
        Gaussians(
            position=position.astype(np.float32),
            rotation=normalize(random.normal(size=(count, 4))).astype(np.float32),
            scale=random.uniform(0.003, 0.012, size=(count, 3)).astype(np.float32),
            opacity=random.uniform(0.4, 0.98, size=count).astype(np.float32),
            sh_dc=sh_from_rgb(rgb).astype(np.float32),
        ),
        faces[face],
    )
