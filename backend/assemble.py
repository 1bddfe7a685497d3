"""What a reconstruction found, as an avatar that stands in the world, and its preview."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from . import __version__
from .avatar import Avatar, Body, Camera, pose_gaussians
from .avatar.skinning import PRESERVE_VOLUME
from .bind import Bound
from .body.fit import BodyFit
from .body.model import JOINT_NAMES, BodyModel
from .body.upright import rotation_between, up_direction
from .options import ReconstructOptions
from .photo import PreparedPhoto
from .reconstruct import Reconstruction
from .rendering import render_splats

PREVIEW_SIZE = 512
_CAMERA_TO_WORLD = np.diag([1.0, -1.0, -1.0])
"""OpenCV axes (y down, z away) to the avatar's (y up, z towards the camera): half a turn about x."""


def assemble_avatar(
    body: BodyModel,
    photo: PreparedPhoto,
    reconstruction: Reconstruction,
    options: ReconstructOptions,
    bound: Bound,
) -> Avatar:
    """Describe the ``bound`` splats of a ``reconstruction`` in world space (y up against gravity, see
    :mod:`.body.upright`; standing on y = 0, pelvis at x = z = 0)."""
    gaussians, skin, references = bound
    mesh, fit = reconstruction.surface, reconstruction.fit
    with torch.no_grad():
        rest, joints = (x.numpy() for x in body.shaped(torch.as_tensor(fit.betas)))
    to_world = _camera_to_world(body, fit)
    pelvis = to_world @ (joints[0] + fit.translation)
    lowest = (mesh.posed[: mesh.body_vertices] @ to_world.T)[:, 1].min()
    shift = -np.array([pelvis[0], lowest, pelvis[2]])
    pose = fit.pose.copy()
    pose[0] = Rotation.from_matrix(to_world @ Rotation.from_rotvec(fit.pose[0]).as_matrix()).as_rotvec()
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = to_world.T
    world_to_camera[:3, 3] = -to_world.T @ shift
    side = photo.rgb.shape[0]
    has_uv = body.uv is not None and body.uv_faces is not None
    return Avatar(
        gaussians=gaussians,
        skin=skin,
        body=Body(
            vertices=rest.astype(np.float32),
            faces=body.faces.numpy().astype(np.int32),
            weights=body.weights.numpy().astype(np.float32),
            surface_vertices=mesh.rest.astype(np.float32),
            surface_faces=mesh.faces.astype(np.int32),
            surface_weights=mesh.weights.astype(np.float32),
            reference_triangles=references,
            uv=body.uv.numpy().astype(np.float32) if has_uv else None,
            uv_faces=body.uv_faces.numpy().astype(np.int32) if has_uv else None,
        ),
        joint_names=tuple(JOINT_NAMES),
        parents=body.parents,
        rest_joints=joints,
        betas=fit.betas,
        pose=pose,
        translation=pelvis + shift - joints[0],
        joint_confidence=fit.confidence,
        camera=Camera(
            width=side, height=side, fx=fit.focal, fy=fit.focal, cx=side / 2, cy=side / 2,
            world_to_camera=world_to_camera,
        ),
        body_model={"name": body.name, "licence": body.licence},
        generator={"name": "humansplat", "version": __version__, "preset": options.preset, "weights": []},
        source={"name": photo.name, "sha256": photo.sha256, "crop": list(photo.crop)},
        seconds={},
        warnings=photo.warnings,
        preserve_volume=PRESERVE_VOLUME,
    )  # fmt: skip


def _camera_to_world(body: BodyModel, fit: BodyFit) -> np.ndarray:
    """From camera to world axes [3, 3]: half a turn about x, and as much as the camera looks up or down."""
    with torch.no_grad():
        vertices, joints = (x.numpy() for x in body.pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas)))
    up = up_direction(vertices, body.faces.numpy(), joints, fit.confidence)
    return rotation_between(_CAMERA_TO_WORLD @ up, np.array([0.0, 1.0, 0.0])) @ _CAMERA_TO_WORLD


def render_preview(avatar: Avatar, photo: PreparedPhoto, device: torch.device) -> np.ndarray:
    """The photo beside the avatar, uint8 [S, 2 S, 3]."""
    size = (PREVIEW_SIZE, PREVIEW_SIZE)
    theirs = np.asarray(Image.fromarray(photo.rgb).resize(size, Image.Resampling.LANCZOS))
    return np.hstack([theirs, render_as_photographed(avatar, device)])


def render_as_photographed(avatar: Avatar, device: torch.device) -> np.ndarray:
    """The avatar over white as the photo's camera sees it, uint8 [S, S, 3]: the preview's right half."""
    size = PREVIEW_SIZE
    posed = pose_gaussians(avatar, avatar.pose, avatar.translation)
    camera = avatar.camera
    rgba = render_splats(
        posed,
        focal=camera.fx * size / camera.width,
        size=(size, size),
        device=device,
        world_to_camera=camera.world_to_camera,
    )
    ours = rgba[..., :3] + (1 - rgba[..., 3:])
    return (ours.clip(0, 1) * 255).round().astype(np.uint8)


def png_bytes(image: np.ndarray) -> bytes:
    """``image`` [H, W, C] as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stream, "PNG", compress_level=4)
    return stream.getvalue()
