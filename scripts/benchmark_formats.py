#!/usr/bin/env python3
"""How long and with how much memory a million splats are written, format by format.

    .venvs/backend/bin/python scripts/benchmark_formats.py [SPLATS]

Each format is written in a process of its own. Memory is the growth of the peak over the splats' own arrays, as a
multiple of these.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar.formats.compressed_ply import write_compressed_ply  # noqa: E402
from backend.avatar.formats.skinned_ply import write_skinned_ply  # noqa: E402
from backend.avatar.formats.splat_file import write_splat  # noqa: E402
from backend.avatar.formats.spz import write_spz  # noqa: E402
from backend.avatar.formats.types import SplatCloud  # noqa: E402
from backend.avatar.gaussians import Gaussians  # noqa: E402
from backend.avatar.quaternion import normalize  # noqa: E402

WRITERS = {
    "ply": lambda path, cloud: write_skinned_ply(path, cloud),
    "ply, 62 floats": lambda path, cloud: write_skinned_ply(path, cloud, 3, bones=False),
    "spz 3": lambda path, cloud: write_spz(path, cloud.gaussians),
    "compressed ply": lambda path, cloud: write_compressed_ply(path, cloud.gaussians),
    "splat": lambda path, cloud: write_splat(path, cloud.gaussians),
}


def make_cloud(count: int) -> SplatCloud:
    """Random splats about as large and near as a person's."""
    rng = np.random.default_rng(0)
    gaussians = Gaussians(
        rng.normal(0, 0.4, (count, 3)).astype(np.float32),
        normalize(rng.normal(size=(count, 4)).astype(np.float32)),
        np.exp(rng.normal(-6, 0.5, (count, 3))).astype(np.float32),
        rng.uniform(0.1, 1, count).astype(np.float32),
        rng.normal(0, 1, (count, 3)).astype(np.float32),
    )
    weights = rng.dirichlet((4, 1, 1, 1), count).astype(np.float32)
    return SplatCloud(gaussians, rng.integers(0, 24, (count, 4)).astype(np.uint8), weights)


def peak() -> int:
    """Bytes of the process's largest size so far."""
    import resource  # not on Windows, where this script does not run

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(name: str, count: int) -> None:
    """Write one format and print what it took."""
    cloud = make_cloud(count)
    g = cloud.gaussians
    arrays = (g.position, g.rotation, g.scale, g.opacity, g.sh_dc, cloud.joints, cloud.weights)
    size = sum(array.nbytes for array in arrays)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "splats"
        before = peak()
        started = time.perf_counter()
        WRITERS[name](path, cloud)
        seconds = time.perf_counter() - started
        grown = (peak() - before) / size
        megabytes = path.stat().st_size / 1e6
    print(f"{name:<16} {seconds:6.2f} s {megabytes:8.1f} MB   memory beside the arrays {grown:.1f} x them", flush=True)


def main() -> None:
    """Measure every format, or in a child process one."""
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
        return
    count = int(sys.argv[1]) if len(sys.argv) == 2 else 1_000_000
    print(f"{count:,} splats, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    for name in WRITERS:
        subprocess.run([sys.executable, __file__, name, str(count)], check=True)


if __name__ == "__main__":
    main()
