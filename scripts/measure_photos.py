#!/usr/bin/env python3
"""Measure the reconstruction on a folder of photos and draw a sheet of each avatar from four sides and in other poses.

    .venvs/backend/bin/python scripts/measure_photos.py FOLDER [-o out/photos] [--only NAME ...]

Columns:
    landmark    mean distance of the fitted body's landmarks from the detected visible ones, % of the person's height
    IoU         outline of the avatar rendered from the photo's camera against the matte, at 512 x 512
    PSNR        against the photo, where the matte is above 0.9 (its rim mixes in the background), at 512 x 512
    PSNR rim    the same where the matte is above 0.5, both composited on white with their own alpha
    holes       share of the surface's silhouette, worst of 8 sides, that lets more than half of the light through
    seconds     photo to package with warm networks; body: the fit alone
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from demo_poses import pose
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from backend.avatar import Avatar, Gaussians, load_avatar, pose_gaussians
from backend.avatar.skinning import surface_in_pose
from backend.body.fit import BodyFit
from backend.errors import BackendError
from backend.options import DEFAULT_PRESET, PRESETS, ReconstructOptions
from backend.pipeline import Pipeline
from backend.prepare import load_photo, prepare
from backend.rendering import render_splats
from backend.rendering.mesh import rasterize_mesh
from backend.research.evaluation.candidates import peak_bytes
from backend.turntable import orbit_camera

SIZE = 512
SIDES = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
POSES = ((None, (0.0, 180.0)), ("walk", (30.0,)), ("squat", (30.0,)))
"""The demo's poses, None for the T-pose, and the azimuths that the sheet shows each from."""


def render(posed: Gaussians, world_to_camera: np.ndarray, focal: float) -> np.ndarray:
    """RGBA [512, 512, 4] of an avatar's posed splats, premultiplied."""
    return render_splats(posed, focal, (SIZE, SIZE), world_to_camera)


def around(posed: Gaussians, azimuths: Iterable[float]) -> list[np.ndarray]:
    """Pictures [512, 512, 3] of an avatar's posed splats from these azimuths in degrees, on white."""
    return [on_white(render(posed, *orbit_camera(posed.position, azimuth, SIZE))) for azimuth in azimuths]


def on_white(rgba: np.ndarray) -> np.ndarray:
    return rgba[..., :3] + 1 - rgba[..., 3:]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def holes(avatar: Avatar, posed: Gaussians) -> float:
    """Worst share, over eight sides, of the surface's silhouette with alpha of the ``posed`` splats under one half."""
    count = len(avatar.body.vertices)
    vertices = surface_in_pose(avatar, avatar.pose, avatar.translation)
    used = np.unique(avatar.skin.vertex_ids)
    faces = avatar.body.surface_faces
    # Body that the photo shows to be absent carries no splats: it is no hole.
    carried = np.isin(faces, used).all(1) & (faces < count).all(1)
    worst = 0.0
    for azimuth in np.arange(8) * 45.0:
        world_to_camera, focal = orbit_camera(vertices, azimuth, SIZE)
        camera = vertices @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
        solid = rasterize_mesh(camera, faces[carried], focal, (SIZE, SIZE)).face >= 0
        solid = cv2.erode(solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        alpha = render(posed, world_to_camera, focal)[..., 3]
        worst = max(worst, float((solid & (alpha < 0.5)).sum() / solid.sum()))
    return worst


def person_height_pixels(avatar: Avatar, fit: BodyFit) -> float:
    """The upright person's height in pixels of the crop, at the pelvis' distance."""
    height = float(np.ptp(avatar.body.vertices[:, 1]))
    return height * fit.focal / float(avatar.rest_joints[0, 2] + fit.translation[2])


def measure(
    pipeline: Pipeline, photo: Path, output: Path, options: ReconstructOptions
) -> tuple[dict[str, float], Image.Image]:
    """One row of the table, and the strip of pictures."""
    started = time.perf_counter()
    result = pipeline.reconstruct(photo, output, options)
    seconds = time.perf_counter() - started
    avatar = load_avatar(output)
    networks, fitter = pipeline.networks(), pipeline.fitter(options.body)
    prepared = prepare(load_photo(photo), networks)
    fit = fitter.fit(prepared)
    camera = avatar.camera
    posed = pose_gaussians(avatar, avatar.pose)
    ours = render(posed, camera.world_to_camera, camera.fx * SIZE / camera.width)
    alpha = cv2.resize(prepared.alpha, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    theirs = cv2.resize(prepared.rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA) / 255
    known = cv2.resize(prepared.inside.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 0.99
    matte, inner, shown = alpha > 0.5, alpha > 0.9, ours[..., 3] > 0.5
    white = theirs * alpha[..., None] + 1 - alpha[..., None]
    row = {
        "landmark_percent": 100 * fit.landmark_error / person_height_pixels(avatar, fit),
        "iou": float((matte & shown & known).sum() / ((matte | shown) & known).sum()),
        "psnr": psnr(ours[..., :3][inner], theirs[inner]),
        "psnr_rim": psnr(on_white(ours)[matte], white[matte]),
        "holes_percent": 100 * holes(avatar, posed),
        "seconds": seconds,
        "body_seconds": result.seconds["body"],
        "splats": len(avatar.gaussians),
    }
    tiles = [white, on_white(ours), *around(posed, SIDES.values())]
    for name, azimuths in POSES:
        other = np.zeros_like(avatar.pose) if name is None else pose(name)
        tiles += around(pose_gaussians(avatar, other), azimuths)
    strip = Image.fromarray((np.hstack(tiles).clip(0, 1) * 255).astype(np.uint8))
    text = (
        f"{photo.name}   IoU {row['iou']:.3f}   PSNR {row['psnr']:.1f} dB   landmarks {row['landmark_percent']:.2f} %"
    )
    ImageDraw.Draw(strip).text((8, 4), text, fill=(0, 0, 0))
    return row, strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/photos"))
    parser.add_argument("--only", nargs="*", default=[], help="names without their endings")
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--body", default="neutral")
    parser.add_argument("--shading", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    endings = {".jpg", ".jpeg", ".png", ".webp"}
    photos = sorted(p for p in arguments.folder.iterdir() if p.suffix.lower() in endings)
    photos = [p for p in photos if not arguments.only or p.stem in arguments.only]
    arguments.output.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline()
    pipeline.load(arguments.body)
    options = ReconstructOptions(preset=arguments.preset, body=arguments.body, shading=arguments.shading)
    rows: dict[str, dict[str, float]] = {}
    strips = []
    print(f"{'photo':24} landmark    IoU   PSNR  PSNR rim  holes  seconds  body  splats", file=sys.stderr)
    for photo in photos:
        try:
            row, strip = measure(pipeline, photo, arguments.output / photo.stem, options)
        except BackendError as error:
            print(f"{photo.name:24} {error}", file=sys.stderr)
            continue
        rows[photo.name] = row
        strips.append(strip)
        strip.save(arguments.output / f"{photo.stem}.png")
        print(
            f"{photo.name:24} {row['landmark_percent']:6.2f} %  {row['iou']:.3f}  {row['psnr']:5.2f}"
            f"  {row['psnr_rim']:8.2f}"
            f"  {row['holes_percent']:4.1f} %  {row['seconds']:5.1f}  {row['body_seconds']:4.1f}  {row['splats']:6.0f}",
            file=sys.stderr,
        )
    if strips:
        sheet = Image.new("RGB", (strips[0].width, sum(s.height for s in strips)), "white")
        for k, strip in enumerate(strips):
            sheet.paste(strip, (0, k * strip.height))
        sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(
            arguments.output / "sheet.png"
        )
    peak = peak_bytes() / 2**30
    print(f"peak memory {peak:.2f} GiB; sheet: {arguments.output / 'sheet.png'}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
