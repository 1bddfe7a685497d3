"""Time the renderer on a person-like shell of splats and print what the numbers were measured on.

    python scripts/benchmark_rendering.py --splats 100000 --size 512

The scene: ellipsoids for head, trunk, arms and legs, 1.7 m tall, filling the height of a square picture; splats of
about 4 mm (one standard deviation) on their surface, flattened along the normal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.avatar import Gaussians, from_rgb, quaternion
from backend.rendering import CameraTensors, GaussianTensors, render

HEIGHT = 1.7
DISTANCE = 3.0
# centre and half axes in metres, y up from the floor
ELLIPSOIDS = (
    ((0.0, 1.58, 0.0), (0.08, 0.12, 0.10)),
    ((0.0, 1.16, 0.0), (0.19, 0.34, 0.12)),
    ((0.30, 1.12, 0.0), (0.05, 0.33, 0.05)),
    ((-0.30, 1.12, 0.0), (0.05, 0.33, 0.05)),
    ((0.10, 0.44, 0.0), (0.08, 0.44, 0.09)),
    ((-0.10, 0.44, 0.0), (0.08, 0.44, 0.09)),
)


def make_person(count: int, seed: int = 0) -> Gaussians:
    """``count`` splats on ellipsoids, in proportion to their surface."""
    random = np.random.default_rng(seed)
    centers, axes = (np.array(part) for part in zip(*ELLIPSOIDS))
    a, b, c = axes.T
    # Thomsen's approximation of an ellipsoid's surface.
    area = (((a * b) ** 1.6 + (a * c) ** 1.6 + (b * c) ** 1.6) / 3) ** (1 / 1.6)
    part = random.choice(len(axes), size=count, p=area / area.sum())
    direction = random.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = direction / axes[part]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    side = np.cross(normal, random.normal(size=(count, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    return from_rgb(
        position=centers[part] + axes[part] * direction,
        rotation=quaternion.from_matrix(np.stack([side, np.cross(normal, side), normal], axis=2)),
        scale=0.004 * np.exp(0.3 * random.normal(size=(count, 3))) * [1, 1, 0.3],
        opacity=random.uniform(0.3, 0.98, size=count),
        rgb=0.5 + 0.4 * normal,
    )


def make_camera(size: int) -> CameraTensors:
    """In front of the person, who fills the picture's height."""
    world_to_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    world_to_camera[:3, 3] = torch.tensor([0.0, HEIGHT / 2, DISTANCE])
    focal = size * DISTANCE / HEIGHT * 0.98
    return CameraTensors(world_to_camera, torch.tensor([focal, focal, size / 2, size / 2]), size, size)


def resident_bytes() -> int:
    """This process's memory now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class PeakMemory:
    """Watches the resident memory from a thread while the block runs."""

    def __enter__(self) -> PeakMemory:
        self.base = self.peak = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, resident_bytes())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splats", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backend", default="auto", choices=("auto", "torch", "gsplat", "reference"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves PyTorch's choice")
    parser.add_argument("--gradients", action="store_true", help="time a backward pass as well")
    parser.add_argument("--picture", type=Path, help="save the picture here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    gaussians = GaussianTensors.from_gaussians(make_person(options.splats), options.device)
    camera = make_camera(options.size).to(options.device)
    tensors = [getattr(gaussians, name) for name in gaussians.__dataclass_fields__]
    for tensor in tensors:
        tensor.requires_grad_(options.gradients)

    def run() -> torch.Tensor:
        output = render(gaussians, camera, backend=options.backend)
        if options.gradients:
            torch.autograd.grad(output.rgb.square().sum() + output.alpha.sum(), tensors)
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        return output.rgb.detach()

    with torch.set_grad_enabled(options.gradients), PeakMemory() as memory:
        picture = run()
        seconds = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    if options.picture:
        from PIL import Image

        Image.fromarray((picture.cpu().numpy().clip(0, 1) * 255).astype(np.uint8)).save(options.picture)
    report = {
        "splats": options.splats,
        "size": options.size,
        "backend": options.backend,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "gradients": options.gradients,
        "median_seconds": round(statistics.median(seconds), 4),
        "minimum_seconds": round(min(seconds), 4),
        "extra_memory_mib": round((memory.peak - memory.base) / 2**20, 1),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
