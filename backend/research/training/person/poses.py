"""Random natural poses: limbs from hand-written repertoires, joined and disturbed, kept apart from the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....body.poses import Limb, NamedPose

ARMS: dict[str, tuple[tuple[float, Limb], ...]] = {
    "hanging": (
        (5, ((0.25, -1.0, 0.0), (0.15, -1.0, 0.15))), (5, ((0.3, -1, 0.05), (0.1, -0.95, 0.35))),
        (3, ((0.35, -1, -0.1), (0.2, -1, 0.2))), (3, ((0.55, -1, 0), (0.45, -1, 0.2))),
        (2, ((0.8, -1, 0), (0.75, -1, 0.15))), (2, ((0.45, -0.9, -0.35), (-0.1, -0.75, 0.6))),
    ),
    "bent": (
        (4, ((0.8, -0.7, -0.25), (-0.75, -0.6, 0.3))), (2, ((0.3, -0.9, 0.3), (-0.1, 0.1, 1))),
        (2, ((0.35, -0.85, 0.45), (-0.2, 0.85, 0.6))), (2, ((0.4, -1, -0.25), (-0.35, -0.5, 0.75))),
        (2, ((0.35, -1, 0.05), (-0.3, -0.35, 0.85))), (1, ((0.5, -0.9, 0.1), (0.5, -0.1, 0.9))),
    ),
    "raised": (
        (3, ((1, 0.25, 0.1), (0.35, 1, 0.15))), (2, ((0.45, 1, 0.1), (0.2, 1, 0.1))),
        (2, ((1, -0.1, 0), (1, -0.05, 0.1))), (2, ((1, -0.5, 0), (0.9, -0.5, 0.1))), (2, ((1, 0.35, 0), (0.8, 0.7, 0))),
        (2, ((0.2, -0.1, 1), (0.1, 0.1, 1))), (2, ((0.5, 0.2, 0.9), (0.3, 0.4, 0.9))),
        (1, ((0.9, 0.5, -0.05), (-0.2, 0.9, 0.1))), (1, ((0.7, -0.2, 0.7), (0.6, 0.1, 0.8))),
    ),
    "swinging": (
        (2, ((0.25, -0.8, -0.6), (-0.1, -0.5, 0.85))), (2, ((0.25, -0.9, 0.45), (-0.25, 0.5, 0.85))),
        (2, ((0.2, -1, -0.35), (0.1, -1, 0.1))), (2, ((0.2, -1, 0.3), (0.05, -0.8, 0.6))),
    ),
}  # fmt: skip
"""Upper arm and forearm as if of the left arm, with how often each is drawn."""

LEGS: dict[str, tuple[tuple[float, Limb, Limb, bool], ...]] = {
    "standing": (
        (6, ((0.08, -1, 0), (0.04, -1, -0.03)), ((0.08, -1, 0), (0.04, -1, -0.03)), True),
        (4, ((0.2, -1, 0), (0.15, -1, 0)), ((0.2, -1, 0), (0.15, -1, 0)), True),
        (3, ((0.25, -1, 0.2), (0.1, -1, -0.2)), ((0.03, -1, 0), (0.05, -1, -0.03)), True),
        (2, ((0.12, -1, 0.1), (0.1, -1, -0.1)), ((0.1, -1, -0.08), (0.06, -1, -0.1)), True),
        (1, ((0.4, -1, 0), (0.35, -1, 0)), ((0.4, -1, 0), (0.35, -1, 0)), True),
    ),
    "walking": (
        (3, ((0.04, -1, 0.4), (0.03, -1, 0.2)), ((0.04, -1, -0.2), (0.03, -0.9, -0.55)), False),
        (2, ((0.05, -1, 0.25), (0.05, -1, 0.0)), ((0.05, -1, -0.2), (0.05, -1, -0.35)), False),
    ),
    "sports": (
        (2, ((0.03, -0.6, 0.8), (0.02, -1, -0.4)), ((0.03, -1, -0.35), (0.02, -0.35, -0.95)), False),
        (2, ((0.06, -0.45, 0.9), (0.05, -1, -0.1)), ((0.06, -0.9, -0.5), (0.05, -0.7, -0.75)), False),
        (1, ((0.4, -0.45, 0.85), (0.15, -0.9, -0.35)), ((0.4, -0.45, 0.85), (0.15, -0.9, -0.35)), True),
        (1, ((0.1, -0.2, 1.0), (0.05, -0.7, 0.6)), ((0.08, -1, -0.05), (0.05, -1, -0.1)), False),
        (1, ((0.9, -0.8, 0.1), (0.85, -0.8, 0)), ((0.2, -1, 0), (0.1, -1, -0.05)), False),
        (1, ((0.65, -0.85, 0.2), (0.25, -1, -0.05)), ((0.65, -1, 0), (0.6, -1, 0)), True),
        (1, ((0.75, -0.65, 0.35), (-0.7, -0.6, -0.2)), ((0.05, -1, 0), (0.05, -1, 0)), True),
    ),
    "sitting": (
        (2, ((0.15, -0.1, 1), (0.05, -1, 0.05)), ((0.15, -0.1, 1), (0.05, -1, -0.1)), True),
        (1, ((0.35, -0.15, 1), (0.1, -1, 0.15)), ((0.25, -0.1, 1), (0.1, -1, -0.15)), True),
    ),
}  # fmt: skip
"""Left and right thigh and shin, each as if of the left leg; whether the soles are level."""

KINDS: dict[str, tuple[float, str, dict[str, float]]] = {
    "standing": (0.5, "standing", {"hanging": 0.6, "bent": 0.32, "raised": 0.08}),
    "walking": (0.14, "walking", {"hanging": 0.35, "swinging": 0.5, "bent": 0.15}),
    "reaching": (0.12, "standing", {"raised": 0.75, "hanging": 0.25}),
    "sports": (0.17, "sports", {"raised": 0.45, "swinging": 0.35, "bent": 0.2}),
    "sitting": (0.07, "sitting", {"hanging": 0.25, "bent": 0.65, "raised": 0.1}),
}
"""Kind of pose: how often, which legs, which arms."""


def choose(rng: np.random.Generator, options: dict[str, float]) -> str:
    """A key drawn with the probability that its value is of the sum."""
    weights = np.array(list(options.values()))
    return list(options)[rng.choice(len(weights), p=weights / weights.sum())]


def _draw(rng: np.random.Generator, options: tuple) -> tuple:
    weights = np.array([option[0] for option in options])
    return options[rng.choice(len(options), p=weights / weights.sum())]


def _disturb(rng: np.random.Generator, limb: Limb, spread: float) -> Limb:
    """Each direction turned by about ``spread`` radians; knees and elbows stay bent the right way by construction."""
    out = []
    for part in limb:
        v = np.array(part) / np.linalg.norm(part)
        v = v + rng.normal(size=3) * spread * np.array([0.7, 1.0, 1.0])
        out.append(tuple(v / np.linalg.norm(v)))
    return tuple(out)


def sample_pose(rng: np.random.Generator) -> tuple[str, NamedPose]:
    """A random kind of pose and the pose."""
    kind = choose(rng, {name: entry[0] for name, entry in KINDS.items()})
    _, legs, arms = KINDS[kind]
    _, left_leg, right_leg, flat = _draw(rng, LEGS[legs])
    if rng.random() < 0.5:
        left_leg, right_leg = right_leg, left_leg
    group = choose(rng, arms)
    left = _draw(rng, ARMS[group])[1]
    same = rng.random() < 0.35
    right = left if same else _draw(rng, ARMS[choose(rng, arms)])[1]
    lively = {"standing": 0.5, "sitting": 0.5}.get(kind, 1.0)
    pose = NamedPose(
        left_arm=_disturb(rng, left, 0.07),
        right_arm=_disturb(rng, right, 0.07),
        left_leg=_disturb(rng, left_leg, 0.035),
        right_leg=_disturb(rng, right_leg, 0.035),
        trunk=(rng.normal(0.05, 0.07) * lively, rng.normal(0, 0.14) * lively, rng.normal(0, 0.07) * lively),
        head=(rng.normal(0, 0.10), rng.normal(0, 0.2), rng.normal(0, 0.06)),
        pelvis=(rng.normal(0.02, 0.03) * lively + (0.1 if kind == "sports" else 0), 0.0, rng.normal(0, 0.03)),
        flat_feet=flat,
    )
    return kind, pose


def spread_arms(pose: NamedPose, left: float, right: float) -> NamedPose:
    """``pose`` with each arm further from the body: ``left`` and ``right`` are added to the outward directions."""

    def open_(limb: Limb, amount: float) -> Limb:
        (ux, uy, uz), (lx, ly, lz) = limb
        return (ux + amount, uy, uz), (lx + 1.1 * amount, ly, lz + 0.3 * amount)

    return replace(pose, left_arm=open_(pose.left_arm, left), right_arm=open_(pose.right_arm, right))


def spread_legs(pose: NamedPose, amount: float) -> NamedPose:
    """``pose`` with each leg ``amount`` further outward."""

    def open_(limb: Limb) -> Limb:
        (ux, uy, uz), (lx, ly, lz) = limb
        return (ux + amount, uy, uz), (lx + amount, ly, lz)

    return replace(pose, left_leg=open_(pose.left_leg), right_leg=open_(pose.right_leg))
