"""The avatar: splats, the surface they ride on, skinning, and the files. numpy and the standard library only."""

from .clips import Clip
from .clothed_mesh import ClothedMesh, clothed_mesh
from .frames import KnownTriangles, reference_triangles
from .gaussians import SH_C0, Gaussians, from_rgb, rgb_from_sh, sh_from_rgb
from .motion import Motion, MotionError
from .motion_files import read_motion
from .package import Avatar, AvatarFormatError, Body, Camera, Skin, load_avatar, save_avatar, validate_avatar
from .ply import read_ply, write_ply
from .retarget import retarget
from .skinning import (
    bind_to_surface,
    joint_transforms,
    pose_gaussians,
    rotation_matrices,
    skin_vertices,
    standing_translation,
    stretch,
    triangle_areas,
    triangle_frames,
)

__all__ = [
    "SH_C0",
    "Avatar",
    "AvatarFormatError",
    "Body",
    "Camera",
    "Clip",
    "ClothedMesh",
    "Gaussians",
    "KnownTriangles",
    "Motion",
    "MotionError",
    "Skin",
    "bind_to_surface",
    "clothed_mesh",
    "from_rgb",
    "joint_transforms",
    "load_avatar",
    "pose_gaussians",
    "read_motion",
    "read_ply",
    "reference_triangles",
    "retarget",
    "rgb_from_sh",
    "rotation_matrices",
    "save_avatar",
    "sh_from_rgb",
    "skin_vertices",
    "standing_translation",
    "stretch",
    "triangle_areas",
    "triangle_frames",
    "validate_avatar",
    "write_ply",
]
