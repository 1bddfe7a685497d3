"""What the renderers take and give: frozen dataclasses of tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..avatar import Camera, Gaussians

DILATION = 0.3
"""What 3DGS adds, square pixels."""


def exact_device(device: torch.device | str) -> torch.device:
    """Where sums in float64 are made for what computes on ``device``: there, or on the processor where it knows none.

    Long running sums, and sums that must not depend on their order, need float64; Apple's graphics processors refuse
    it, and share their memory with the processor anyway.
    """
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


@dataclass(frozen=True, eq=False)
class GaussianTensors:
    """N splats on one device and of one floating-point type.

    Attributes:
        position: [N, 3] metres, world space.
        rotation: [N, 4] quaternions wxyz, normalised by the renderer.
        scale: [N, 3] standard deviation along each axis, metres (linear).
        opacity: [N] in 0..1 (linear).
        color: [N, C]; C is 3 for display sRGB, other numbers of channels render just the same (labels, normals).
    """

    position: torch.Tensor
    rotation: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor
    color: torch.Tensor

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not belong together."""
        count = len(self.position)
        expected = {"position": (count, 3), "rotation": (count, 4), "scale": (count, 3), "opacity": (count,)}
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"GaussianTensors.{name} has the shape {found}, expected {shape}.")
        if self.color.ndim != 2 or len(self.color) != count or self.color.shape[1] < 1:
            raise ValueError(f"GaussianTensors.color has the shape {tuple(self.color.shape)}, expected ({count}, C).")

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def from_gaussians(
        cls, gaussians: Gaussians, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> GaussianTensors:
        """The splats of an avatar; colours below zero become zero."""
        arrays = (gaussians.position, gaussians.rotation, gaussians.scale, gaussians.opacity, gaussians.rgb.clip(0))
        return cls(*(torch.as_tensor(array).to(device=device, dtype=dtype) for array in arrays))

    def to(self, device: torch.device | str) -> GaussianTensors:
        """The same splats on another device."""
        return GaussianTensors(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class CameraTensors:
    """A pinhole camera with OpenCV axes (x right, y down, z forward).

    Attributes:
        world_to_camera: [4, 4] rigid, metres.
        intrinsics: [4] fx, fy, cx, cy in pixels; the centre of the first pixel lies at (0.5, 0.5).
        width, height: pixels.
        dilation: square pixels added to the splats' variance along both image axes, so that none falls between pixels.
    """

    world_to_camera: torch.Tensor
    intrinsics: torch.Tensor
    width: int
    height: int
    dilation: float = DILATION

    def __post_init__(self) -> None:
        """Raise ValueError for wrong shapes or an empty picture."""
        if tuple(self.world_to_camera.shape) != (4, 4) or tuple(self.intrinsics.shape) != (4,):
            raise ValueError("CameraTensors needs world_to_camera [4, 4] and intrinsics [4].")
        if self.width < 1 or self.height < 1:
            raise ValueError("CameraTensors needs a width and a height of at least one pixel.")

    @classmethod
    def from_camera(
        cls, camera: Camera, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> CameraTensors:
        """The camera of an avatar."""
        return cls(
            world_to_camera=torch.as_tensor(camera.world_to_camera).to(device=device, dtype=dtype),
            intrinsics=torch.tensor([camera.fx, camera.fy, camera.cx, camera.cy], device=device, dtype=dtype),
            width=camera.width,
            height=camera.height,
        )

    def to(self, device: torch.device | str) -> CameraTensors:
        """The same camera on another device."""
        return replace(self, world_to_camera=self.world_to_camera.to(device), intrinsics=self.intrinsics.to(device))


@dataclass(frozen=True, eq=False)
class RenderOutput:
    """A picture.

    Attributes:
        rgb: [H, W, C] premultiplied with alpha; with a background, composited on it.
        alpha: [H, W] in 0..1.
        depth: [H, W] metres along the camera's z, the mean over what is seen weighted by its share; 0 where alpha is 0.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
