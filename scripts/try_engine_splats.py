"""Draw the skinned splats of a GLB at moments of a clip with our renderer, for ``scripts/try_engine`` to compare with.

    python scripts/try_engine_splats.py FILE.glb FOLDER [--clip NAME] [--shots 0,0.5,1] [--camera ...] [--size 540x720]

Arguments and pictures are those of ``scripts/try_engine_blender.py``; colours are multiplied by coverage. The file is
read, posed and drawn without anything that the engine's side uses.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar.formats.cloud import pose_cloud  # noqa: E402  (after the path)
from backend.avatar.formats.gltf import read_glb  # noqa: E402
from backend.avatar.formats.types import SplatCloud  # noqa: E402
from backend.avatar.gaussians import Gaussians  # noqa: E402
from backend.rendering import CameraTensors, GaussianTensors, render  # noqa: E402

SPLATS = "KHR_gaussian_splatting"


class SplatFile:
    """A GLB of skinned splats."""

    def __init__(self, data: bytes) -> None:
        self.document, self._binary = read_glb(data)
        (self._node,) = [node for node in self.document["nodes"] if "mesh" in node]
        self._skin = self.document["skins"][self._node["skin"]]

    def array(self, accessor: int) -> np.ndarray:
        """Numbers [N, K]; normalised integers as 0..1."""
        entry = self.document["accessors"][accessor]
        view = self.document["bufferViews"][entry["bufferView"]]
        dtype = {5126: "<f4", 5121: "u1", 5123: "<u2"}[entry["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        values = np.frombuffer(self._binary, dtype, entry["count"] * width, start).reshape(-1, width).copy()
        return values / np.iinfo(dtype).max if entry.get("normalized") else values

    def cloud(self) -> SplatCloud:
        """The splats at rest."""
        names = self.document["meshes"][self._node["mesh"]]["primitives"][0]["attributes"]
        rotation, scale, opacity, colour = (
            self.array(names[f"{SPLATS}:{name}"]) for name in ("ROTATION", "SCALE", "OPACITY", "SH_DEGREE_0_COEF_0")
        )
        gaussians = Gaussians(self.array(names["POSITION"]), rotation[:, [3, 0, 1, 2]], scale, opacity[:, 0], colour)
        return SplatCloud(gaussians, self.array(names["JOINTS_0"]), self.array(names["WEIGHTS_0"]).astype(np.float32))

    def transforms(self, clip: str, share: float) -> np.ndarray:
        """Transforms [J, 4, 4] of the bones at a share of a clip (the first in the file without a name)."""
        (animation, *_) = [a for a in self.document["animations"] if clip in ("", a["name"])]
        nodes: list[dict[str, Any]] = [dict(node) for node in self.document["nodes"]]
        ends = [self.array(sampler["input"])[-1, 0] for sampler in animation["samplers"]]
        time = share * float(max(ends))
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            target = channel["target"]
            if target["path"] == "rotation":
                value = Slerp(times, Rotation.from_quat(values))(min(time, times[-1])).as_quat()
            else:
                value = np.array([np.interp(time, times, column) for column in values.T])
            nodes[target["node"]][target["path"]] = value
        world: dict[int, np.ndarray] = {}

        def place(index: int, above: np.ndarray) -> None:
            node = nodes[index]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, 3] = node.get("translation", [0, 0, 0])
            world[index] = above @ local
            for child in node.get("children", []):
                place(child, world[index])

        for index in self.document["scenes"][0]["nodes"]:
            place(index, np.eye(4))
        back = self.array(self._skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
        return np.stack([world[joint] for joint in self._skin["joints"]]) @ back


def camera_tensors(numbers: list[float], width: int, height: int) -> CameraTensors:
    """A camera from vertical degrees, place and target."""
    place, target = np.array(numbers[1:4]), np.array(numbers[4:7])
    ahead = (target - place) / np.linalg.norm(target - place)
    right = np.cross(ahead, [0, 1, 0])
    right /= np.linalg.norm(right)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = [right, np.cross(ahead, right), ahead]
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ place
    focal = height / 2 / np.tan(np.radians(numbers[0] / 2))
    return CameraTensors(
        torch.tensor(world_to_camera, dtype=torch.float32),
        torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float32),
        width,
        height,
    )


def main() -> None:
    """Read, pose, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("glb", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clip", default="")
    parser.add_argument("--shots", type=lambda text: [float(part) for part in text.split(",")], default=[0, 0.5, 1])
    parser.add_argument("--camera", type=lambda text: [float(part) for part in text.split(",")], required=True)
    parser.add_argument("--size", default="540x720")
    arguments = parser.parse_args()
    file = SplatFile(arguments.glb.read_bytes())
    cloud = file.cloud()
    camera = camera_tensors(arguments.camera, *(int(part) for part in arguments.size.split("x")))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for index, share in enumerate(arguments.shots):
        posed = pose_cloud(cloud, file.transforms(arguments.clip, share))
        output = render(GaussianTensors.from_gaussians(posed), camera)
        picture = torch.cat([output.rgb, output.alpha[..., None]], dim=-1).clamp(0, 1).mul(255).round().byte()
        Image.fromarray(picture.numpy()).save(arguments.folder / f"shot_{index}.png")


if __name__ == "__main__":
    main()
