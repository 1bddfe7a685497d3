#!/usr/bin/env python3
"""How near the exported mesh comes to the splats, and to the photo: PSNR in decibels, seconds, sizes, contact sheets.

    .venvs/backend/bin/python scripts/measure_export_mesh.py                     # the packages in out/av
    .venvs/backend/bin/python scripts/measure_export_mesh.py out/av/demo --triangles 60000 --texture 4096

Eight sides, 45 degrees apart, at rest and striding, on grey. "Inside" are the pixels that either of the two pictures
shows the person in, "whole" is the whole picture. The mesh is moved by linear blending of four bones, as engines do,
and drawn with bilinear look-ups and no lights. "To photo" compares with the photo itself, matted, in its own camera.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend.avatar import (  # noqa: E402  (after the path)
    Avatar,
    joint_transforms,
    load_avatar,
    pose_gaussians,
    skin_vertices,
    standing_translation,
)
from backend.avatar.formats.types import TexturedMesh  # noqa: E402
from backend.avatar.motion_library import make_motion  # noqa: E402
from backend.export.mesh import textured_mesh  # noqa: E402
from backend.rendering import render_splats  # noqa: E402
from backend.rendering.triangles import interpolate, rasterize  # noqa: E402
from backend.research.evaluation.metrics import psnr  # noqa: E402
from backend.turntable import orbit_camera  # noqa: E402

PACKAGES = tuple(ROOT / "out" / "av" / name for name in ("demo", "denim_shirt", "standing_woman", "white_skirt"))
AZIMUTHS = range(0, 360, 45)
GREY = 0.5
SAMPLES = 4  # rays across a pixel
STRIDE = "striding"


def posed_vertices(avatar: Avatar, mesh: TexturedMesh, pose: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The mesh [V, 3] in the avatar's space as an engine would pose it: linear blending."""
    weights = np.zeros((len(mesh.vertices), len(avatar.parents)))
    np.add.at(weights, (np.arange(len(weights))[:, None], mesh.joints), mesh.weights)  # joint 0 stands for none, too
    transforms = joint_transforms(np.asarray(pose, dtype=np.float64), avatar.rest_joints, avatar.parents)
    rest = mesh.vertices.astype(np.float64) - standing_translation(avatar)
    return skin_vertices(rest, weights, transforms, translation)


def draw_mesh(
    vertices: np.ndarray, mesh: TexturedMesh, texture: np.ndarray, focal: float, size: int, camera: np.ndarray
) -> np.ndarray:
    """A picture float32 [size, size, 4] of the textured mesh, premultiplied, as ``render_splats`` gives it.

    Args:
        vertices: [V, 3] metres.
        mesh: whose faces and coordinates.
        texture: float32 [T, T, 3] in 0..1.
        focal: pixels; the principal point is the picture's centre.
        size: pixels.
        camera: world to camera [4, 4], OpenCV axes.
    """
    fine = size * SAMPLES
    local = vertices @ camera[:3, :3].T + camera[:3, 3]
    screen = np.concatenate([local[:, :2] / local[:, 2:] * focal * SAMPLES + fine / 2, local[:, 2:]], axis=1)
    faces = torch.as_tensor(mesh.faces.astype(np.int64))
    hits = rasterize(torch.as_tensor(screen, dtype=torch.float32)[None], faces, (fine, fine))
    uv = interpolate(torch.as_tensor(mesh.uv), faces[hits.face].T, hits.barycentric)
    colours = bilinear(texture, uv.numpy())
    picture = np.zeros((fine * fine, 4), dtype=np.float32)
    picture[hits.sample.numpy()] = np.concatenate([colours, np.ones((len(colours), 1), dtype=np.float32)], axis=1)
    return picture.reshape(size, SAMPLES, size, SAMPLES, 4).mean((1, 3))


def bilinear(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Colours [n, 3] of a picture [H, W, 3] at ``uv`` [n, 2], 0..1 from its top left."""
    height, width = texture.shape[:2]
    place = uv * [width, height] - 0.5
    low = np.floor(place).astype(np.int64)
    share = (place - low).astype(np.float32)
    out = np.zeros((len(uv), texture.shape[2]), dtype=np.float32)
    for down in (0, 1):
        for right in (0, 1):
            rows, columns = (low[:, 1] + down).clip(0, height - 1), (low[:, 0] + right).clip(0, width - 1)
            weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - down - share[:, 1])
            out += weight[:, None] * texture[rows, columns]
    return out


def on_grey(picture: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] of a premultiplied picture."""
    return (picture[..., :3] + GREY * (1 - picture[..., 3:])).clip(0, 1)


def compare(truth: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """PSNR (inside, whole) of two premultiplied pictures [H, W, 4]."""
    inside = (truth[..., 3] > 0.5) | (ours[..., 3] > 0.5)
    return psnr(on_grey(truth), on_grey(ours), inside), psnr(on_grey(truth), on_grey(ours))


def poses(avatar: Avatar) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pose [24, 3] and translation [3] by name."""
    stride = make_motion(STRIDE, avatar.rest_joints, avatar.parents)
    return {"rest": (np.zeros((24, 3)), np.zeros(3)), "stride": (stride.poses[0], np.zeros(3))}


def measure(package: Path, counts: list[int], texture: int, size: int, sheet: Path) -> None:
    """Print a package's rows and write its contact sheet."""
    avatar = load_avatar(package)
    truth: dict[str, list[np.ndarray]] = {}
    cameras: dict[str, list[tuple[np.ndarray, float]]] = {}
    for name, (pose, translation) in poses(avatar).items():
        splats = pose_gaussians(avatar, pose, translation)
        cameras[name] = [orbit_camera(splats.position, azimuth, size) for azimuth in AZIMUTHS]
        truth[name] = [render_splats(splats, focal, (size, size), camera) for camera, focal in cameras[name]]
    camera = avatar.camera
    with Image.open(package / "input.png") as file:
        photo = np.asarray(file.convert("RGBA"), dtype=np.float32) / 255
    photo = np.concatenate([photo[..., :3] * photo[..., 3:], photo[..., 3:]], axis=2)
    matrix = np.asarray(camera.world_to_camera)
    own = render_splats(pose_gaussians(avatar, avatar.pose), camera.fx, photo.shape[:2], matrix)
    print(f"{package.name}: splats to photo {compare(photo, own)[0]:.2f} dB inside, {compare(photo, own)[1]:.2f} whole")
    rows = {f"splats, {name}": pictures for name, pictures in truth.items()}
    for count in counts:
        start, begun = time.perf_counter(), time.process_time()
        mesh = textured_mesh(avatar, count, texture)
        seconds, busy = time.perf_counter() - start, time.process_time() - begun
        with Image.open(io.BytesIO(mesh.texture)) as file:
            pixels = np.asarray(file, dtype=np.float32) / 255
        words = []
        for name, (pose, translation) in poses(avatar).items():
            vertices = posed_vertices(avatar, mesh, pose, translation)
            pictures = [draw_mesh(vertices, mesh, pixels, focal, size, view) for view, focal in cameras[name]]
            rows[f"{count} triangles, {name}"] = pictures
            inside, whole = np.mean([compare(a, b) for a, b in zip(truth[name], pictures)], axis=0)
            words.append(f"{name} {inside:.2f} inside {whole:.2f} whole")
        vertices = posed_vertices(avatar, mesh, avatar.pose, avatar.translation)
        shown = draw_mesh(vertices, mesh, pixels, camera.fx, len(photo), matrix)
        inside, whole = compare(photo, shown)
        print(
            f"  {len(mesh.faces)} triangles, {len(mesh.vertices)} vertices, {texture} texture "
            f"({len(mesh.texture) / 1e6:.1f} MB), {seconds:.1f} s ({busy:.1f} s of processor): mesh to splats "
            f"{', '.join(words)}; mesh to photo {inside:.2f} inside {whole:.2f} whole",
            flush=True,
        )
    sheet.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(sheet)


def contact_sheet(rows: dict[str, list[np.ndarray]]) -> Image.Image:
    """A row of pictures under each title."""
    bar, size = 20, len(next(iter(rows.values()))[0])
    picture = Image.new("RGB", (size * len(AZIMUTHS), (size + bar) * len(rows)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for row, (title, pictures) in enumerate(rows.items()):
        top = row * (size + bar)
        draw.text((6, top + 2), title, "black", font)
        for column, one in enumerate(pictures):
            tile = (on_grey(one) * 255).round().astype(np.uint8)
            picture.paste(Image.fromarray(tile), (column * size, top + bar))
    return picture


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path, nargs="*", default=PACKAGES)
    parser.add_argument("--triangles", type=int, nargs="+", default=[60_000, 20_000, 8_000])
    parser.add_argument("--texture", type=int, default=2048)
    parser.add_argument("--size", type=int, default=512, help="pixels of each picture's side")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "mesh", help="folder of the contact sheets")
    arguments = parser.parse_args()
    for package in arguments.packages:
        sheet = arguments.output / f"{package.name}.png"
        measure(package, arguments.triangles, arguments.texture, arguments.size, sheet)


if __name__ == "__main__":
    main()
