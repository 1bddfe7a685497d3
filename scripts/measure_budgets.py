#!/usr/bin/env python3
"""What merging splats to a budget costs: pictures of the merged splats beside those of all, and the photo.

For each package: PSNR of eight views of the rest pose against all splats, and PSNR of the photo's own view (inside the
matte) against the photo, for all splats and for each budget. Writes a sheet a package.

    .venvs/backend/bin/python scripts/measure_budgets.py out/av/demo -o out/budgets
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import Avatar, Gaussians, load_avatar  # noqa: E402
from backend.avatar.formats.cloud import clean, pose_cloud, splat_cloud, standing_transforms  # noqa: E402
from backend.avatar.formats.merge import BUDGETS, merge_splats  # noqa: E402
from backend.avatar.formats.types import SplatCloud  # noqa: E402
from backend.avatar.skinning import standing_translation  # noqa: E402
from backend.export.looks import looks  # noqa: E402
from backend.export.recolour import recolour  # noqa: E402
from backend.rendering import render_splats  # noqa: E402
from backend.turntable import orbit_camera  # noqa: E402

GREY = 0.5
VIEWS = 8


def picture(gaussians: Gaussians, azimuth: float, size: int, points: np.ndarray) -> np.ndarray:
    """One view on grey, float [size, size, 3]."""
    world_to_camera, focal = orbit_camera(points, azimuth, size)
    rgba = render_splats(gaussians, focal=focal, size=(size, size), world_to_camera=world_to_camera)
    return (rgba[..., :3] + (1 - rgba[..., 3:]) * GREY).clip(0, 1)


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Decibels of two pictures with values in 0..1, inside a mask."""
    error = ((a - b) ** 2).mean(-1)
    return float(-10 * np.log10(max(error[mask].mean() if mask is not None else error.mean(), 1e-12)))


def photo_psnr(avatar: Avatar, cloud: SplatCloud, photo: np.ndarray) -> float:
    """PSNR inside the matte of the photo's view of the splats, posed as fitted."""
    camera = avatar.camera
    rgba = render_splats(
        pose_cloud(cloud, standing_transforms(avatar, avatar.pose, avatar.translation)),
        focal=camera.fx,
        size=(camera.width, camera.height),
        world_to_camera=camera.world_to_camera,
    )
    shown = rgba[..., :3] + (1 - rgba[..., 3:]) * GREY
    matte = photo[..., 3:]
    return psnr(shown, photo[..., :3] * matte + (1 - matte) * GREY, matte[..., 0] > 0.5)


def main() -> None:
    """Print a table a package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/budgets"))
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for package in arguments.packages:
        avatar = load_avatar(package)
        photo = np.asarray(Image.open(package / "input.png").convert("RGBA")) / 255.0
        cloud, _ = clean(splat_cloud(avatar))
        points = cloud.gaussians.position
        azimuths = [360 / VIEWS * view for view in range(VIEWS)]
        true = [picture(cloud.gaussians, azimuth, arguments.size, points) for azimuth in azimuths]
        print(f"{package.name}: {len(cloud)} splats, photo's view {photo_psnr(avatar, cloud, photo):.2f} dB")
        rows, shown = [np.concatenate(true, 1)], looks(avatar)
        for budget in BUDGETS:
            started = time.perf_counter()
            plain = merge_splats(cloud, budget)
            merged = recolour(plain, shown, standing_translation(avatar))
            seconds = time.perf_counter() - started
            pictures = [picture(merged.gaussians, azimuth, arguments.size, points) for azimuth in azimuths]
            rows.append(np.concatenate(pictures, 1))
            values = [psnr(a, b) for a, b in zip(pictures, true)]
            inside = [psnr(a, b, (np.abs(b - GREY) > 0.01).any(-1)) for a, b in zip(pictures, true)]
            print(
                f"  {budget:>7} ({len(merged)}): against all {np.mean(values):5.2f} dB (least {min(values):5.2f}), "
                f"on the person {np.mean(inside):5.2f} dB; photo's view {photo_psnr(avatar, merged, photo):5.2f} dB "
                f"({photo_psnr(avatar, plain, photo):5.2f} with mean colours); "
                f"{seconds:.1f} s"
            )
        sheet = (np.concatenate(rows, 0) * 255).round().astype(np.uint8)
        Image.fromarray(sheet).save(arguments.output / f"{package.name}.png")


if __name__ == "__main__":
    main()
