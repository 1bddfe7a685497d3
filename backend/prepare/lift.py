"""Where a person's landmarks are in space: a small network that mends the 3D hints of the landmark network.

BlazePose guesses depth poorly: it makes people lean forward, bends straight knees and turns hips. A perceptron that
sees its landmarks, their visibility and its 3D hints, and was trained on the factory's people, whose truth is known,
says better where the landmarks are (lifting, after Martinez et al. 2017). It works on numbers alone, never on pictures,
in a frame of the person's own: hips at the origin, trunk upright in the picture, one unit of length the landmarks' box.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from ..body.landmarks import LANDMARK_INDICES
from ..errors import BackendError
from ..manifest import check_digest, file_digest

WEIGHTS = Path(__file__).parent / "lifter.safetensors"
_SHOULDERS, _HIPS = [11, 12], [23, 24]
_COUNT = 33
_INPUTS = _COUNT * 6
_FURTHEST = 6.0
"""Standard deviations beyond which an input is cut: what training never saw must not lead far astray."""


@dataclass(frozen=True)
class Observation:
    """What the network sees of B people.

    Attributes:
        vector: [B, 198].
        hints: [B, 27, 3] the landmark network's own answer, metres about the hips, trunk upright in the picture.
        turn: [B, 2, 2] from the picture's axes to those.
    """

    vector: torch.Tensor
    hints: torch.Tensor
    turn: torch.Tensor


def turned(points: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Points [B, N, 3] with x and y turned by [B, 2, 2]."""
    return torch.cat([points[..., :2] @ turn.transpose(1, 2), points[..., 2:]], -1)


def observe(landmarks: torch.Tensor, visibility: torch.Tensor, world: torch.Tensor) -> Observation:
    """Bring B people into their own frames.

    Args:
        landmarks: [B, 33, 2] pixels of any picture, x right, y down.
        visibility: [B, 33] in 0..1.
        world: [B, 33, 3] the landmark network's 3D hints.
    """
    flat = landmarks - landmarks[:, _HIPS].mean(1, keepdim=True)
    world = world - world[:, _HIPS].mean(1, keepdim=True)
    trunk = flat[:, _SHOULDERS].mean(1)
    angle = -torch.atan2(trunk[:, 0], -trunk[:, 1])
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    flat, world = flat @ turn.transpose(1, 2), turned(world, turn)
    size = (flat.amax(1) - flat.amin(1)).amax(1).clamp(min=1e-6)
    flat = flat / size[:, None, None]
    vector = torch.cat([flat.flatten(1), visibility, world.flatten(1)], 1)
    return Observation(vector, world[:, LANDMARK_INDICES], turn)


class LiftNetwork(nn.Module):
    """What is added to the hints.

    Args:
        width: of the hidden layers.
        drop: share of their values that training leaves out.
    """

    def __init__(self, width: int = 768, drop: float = 0.15) -> None:
        super().__init__()
        self.enter, self.middle = nn.Linear(_INPUTS, width), nn.Linear(width, width)
        self.leave = nn.Linear(width, 3 * len(LANDMARK_INDICES))
        self.drop = drop
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("mean", torch.zeros(_INPUTS))
        self.register_buffer("deviation", torch.ones(_INPUTS))

    def forward(self, seen: Observation, noise: float = 0.0) -> torch.Tensor:
        """Landmarks [B, 27, 3] in the frames of ``seen``; ``noise`` is added to the inputs, in their deviations."""
        x = ((seen.vector - self.mean) / self.deviation).clamp(-_FURTHEST, _FURTHEST)
        if noise:
            x = x + noise * torch.randn_like(x)
        x = functional.dropout(functional.gelu(self.enter(x)), self.drop, self.training)
        x = functional.dropout(functional.gelu(self.middle(x)), self.drop, self.training)
        return seen.hints + self.leave(x).unflatten(1, (len(LANDMARK_INDICES), 3))


class Lifter:
    """The trained network, loaded once.

    Raises:
        BackendError: kind ``weights_missing`` or ``weights_damaged``.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        if not weights.is_file():
            missing = f"The file {weights.name} is missing from the installation."
            raise BackendError("weights_missing", missing, "Install HumanSplat again.")
        check_digest(weights, file_digest(weights))
        try:
            values = {name: value.float() for name, value in load_file(str(weights)).items()}
            self._network = LiftNetwork(values["middle.weight"].shape[0]).eval()
            self._network.load_state_dict(values)
        except Exception as error:  # safetensors raises a class of its own
            raise BackendError(
                "weights_damaged", f"The file {weights.name} is damaged.", "Install HumanSplat again."
            ) from error

    @torch.no_grad()
    def lift(self, landmarks: np.ndarray, visibility: np.ndarray, world: np.ndarray) -> np.ndarray:
        """One person's landmarks in space.

        Args:
            landmarks: [33, 2] pixels.
            visibility: [33] in 0..1.
            world: [33, 3] metres about the hips, OpenCV axes.

        Returns:
            [33, 3] likewise; the landmarks that are not in ``LANDMARK_INDICES`` stay where ``world`` has them. Sizes
            are those of a person of average height.
        """
        arrays = (torch.as_tensor(np.asarray(v), dtype=torch.float32)[None] for v in (landmarks, visibility, world))
        seen = observe(*arrays)
        out = np.array(world, dtype=np.float64)
        out[LANDMARK_INDICES] = turned(self._network(seen), seen.turn.transpose(1, 2))[0].double().numpy()
        return out
