"""The lifter: its frame, what it makes of the landmark network's hints, and what it learns from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backend.body.landmarks import LANDMARK_INDICES, POSE_LANDMARKS
from backend.body.model import load_body
from backend.errors import BackendError
from backend.prepare import BlazePose
from backend.prepare.lift import WEIGHTS, Lifter, LiftNetwork, observe
from backend.prepare.weights import missing_weights
from backend.research.evaluation.mannequins import Mannequin, make_mannequin
from backend.research.training.latent_pool import SamplePool, pack, write_person
from backend.research.training.lift_data import LiftExamples, lift_examples
from backend.research.training.lift_mix import MixedPeople

ROOT = Path(__file__).resolve().parents[2]
needs_networks = pytest.mark.skipif(bool(missing_weights()), reason="the pose networks have not been unpacked")


@pytest.fixture(scope="module")
def networks() -> Iterator[BlazePose]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield BlazePose(torch.device("cpu"))
    torch.set_num_threads(threads)


def someone(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks, visibility and hints of somebody who stands, roughly."""
    rng = np.random.default_rng(seed)
    world = rng.normal(size=(33, 3)) * [0.2, 0.5, 0.1]
    world[[11, 12]] = [[0.2, -0.5, 0.0], [-0.2, -0.5, 0.05]]
    world[[23, 24]] = [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]
    return world[:, :2] * 300 + [400, 500], rng.uniform(size=33), world


def test_the_frame_forgets_place_size_and_turn_of_the_picture() -> None:
    landmarks, visibility, world = someone()
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = 2.5 * landmarks @ turn.T + [30, -70]
    tilted = np.concatenate([world[:, :2] @ turn.T, world[:, 2:]], 1) + np.array([0.3, 0.1, -0.2])
    seen, again = (
        observe(*(torch.as_tensor(v)[None] for v in (points, visibility, hints)))
        for points, hints in ((landmarks, world), (moved, tilted))
    )
    assert torch.allclose(seen.vector, again.vector, atol=1e-9)
    assert torch.allclose(seen.hints, again.hints, atol=1e-9)
    lifter = Lifter()
    lifted, elsewhere = lifter.lift(landmarks, visibility, world), lifter.lift(moved, visibility, tilted)
    back = np.concatenate([elsewhere[LANDMARK_INDICES, :2] @ turn, elsewhere[LANDMARK_INDICES, 2:]], 1)
    assert np.allclose(back, lifted[LANDMARK_INDICES], atol=1e-4)
    others = [k for k in range(33) if k not in LANDMARK_INDICES]
    assert np.array_equal(lifted[others], world[others])


def test_an_untrained_network_leaves_the_hints() -> None:
    seen = observe(*(torch.as_tensor(v, dtype=torch.float32)[None] for v in someone()))
    assert torch.equal(LiftNetwork(16).eval()(seen), seen.hints)


def test_missing_and_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as missing:
        Lifter(tmp_path / "lifter.safetensors")
    assert missing.value.kind == "weights_missing"
    (tmp_path / "lifter.safetensors").write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(BackendError) as damaged:
        Lifter(tmp_path / "lifter.safetensors")
    assert damaged.value.kind == "weights_damaged"
    save_file({"other": torch.zeros(1)}, str(tmp_path / "lifter.safetensors"))
    with pytest.raises(BackendError):
        Lifter(tmp_path / "lifter.safetensors")


def keypoints(mannequin: Mannequin, names: tuple[str, ...]) -> np.ndarray:
    """The lifted landmarks' true places [27, 3] about the hips."""
    places = dict(zip(names, mannequin.keypoints))
    hips = (places["left_hip"] + places["right_hip"]) / 2
    return np.stack([places[name] for _, name, _ in POSE_LANDMARKS]) - hips


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean in metres after the best scale; no fingers."""
    found = found * (found * truth).sum() / (found**2).sum()
    body = [k for k, (_, name, _) in enumerate(POSE_LANDMARKS) if not name.endswith(("pinky", "index", "thumb"))]
    return float(np.linalg.norm((found - truth)[body], axis=1).mean())


@needs_networks
def test_it_mends_the_hints_of_people_of_another_kind(networks: BlazePose) -> None:
    # Mannequins have poses, bodies and looks of their own: nothing of them was in training.
    body = load_body("neutral")
    before, after = [], []
    for k, (pose, yaw) in enumerate(
        [("relaxed", 10.0), ("standing", -15.0), ("walking", 25.0), ("arms_up", 0.0), ("lunge", -20.0), ("a_pose", 5.0)]
    ):
        mannequin = make_mannequin(body, pose, yaw, seed=50 + k, size=512)
        found = networks.landmarks(mannequin.rgb, networks.detect(mannequin.rgb)[0])
        truth = keypoints(mannequin, body.keypoint_names)
        hints = found.world - found.world[[23, 24]].mean(0)
        before.append(distance(hints[LANDMARK_INDICES], truth))
        after.append(
            distance(networks.lifter.lift(found.image, found.visibility, found.world)[LANDMARK_INDICES], truth)
        )
    # The median: one of them is read as seen from behind, which no lifting mends.
    assert np.median(after) < 0.7 * np.median(before)
    assert np.median(after) < 0.07


@needs_networks
def test_examples_pair_what_is_seen_with_the_truth(networks: BlazePose, tmp_path: Path) -> None:
    sample = SamplePool(256, 1, 1, None, "cpu").make(10_000)
    examples = lift_examples(sample, networks)
    assert len(examples.truth) == len(examples.landmarks) == 4 + 4
    hips = [[name for _, name, _ in POSE_LANDMARKS].index(side + "hip") for side in ("left_", "right_")]
    assert np.abs(examples.truth[:, hips].mean(1)).max() < 1e-6
    # Truth and picture agree up to perspective: so do left and right, also where the picture is mirrored.
    flat = examples.landmarks[:, LANDMARK_INDICES] - examples.landmarks[:, [23, 24]].mean(1, keepdims=True)
    for seen, truth in zip(flat, examples.truth[:, :, :2]):
        assert np.corrcoef(seen.ravel(), truth.ravel())[0, 1] > 0.94
    for seen, truth in zip(flat[:4], examples.truth[:4]):
        assert np.corrcoef(seen[:, 0], truth[:, 0])[0, 1] > 0.9
    assert examples.spoilt.sum() == 2 and (examples.azimuth[:4] == 0).all()
    # The photo and its mirror image.
    plain, mirrored = examples.truth[2], examples.truth[3]
    swapped = mirrored[[0, *(k + 1 if k % 2 else k - 1 for k in range(1, 27))]] * [-1, 1, 1]
    assert np.allclose(plain, swapped, atol=1e-6)


def crowd(count: int = 12) -> MixedPeople:
    """People whose truth is what the network says of them, as the camera sees them without perspective."""
    rng = np.random.default_rng(5)
    world = np.stack([someone(k)[2] for k in range(count)]) + 0.05 * rng.normal(size=(count, 33, 3))
    world -= world[:, [23, 24]].mean(1, keepdims=True)
    values = (300 * world[..., :2] + 40, rng.random((count, 33)), world, world[:, LANDMARK_INDICES])
    examples = LiftExamples(*(v.astype(np.float32) for v in values), np.zeros(count), np.zeros(count, bool))
    return MixedPeople.of(examples, torch.arange(count) // 2, list(range(5, 27)))


def test_limbs_change_places_with_all_that_is_said_of_them() -> None:
    people, rows = crowd(), torch.arange(12)
    assert (people.alike // 2 != rows[:, None] // 2).all()  # nobody's limbs are their own
    seen, truth = people.draw(rows, 0.0, 0.0)
    alone = observe(people.image, people.visibility, people.world)
    assert torch.equal(seen.vector, alone.vector)
    torch.manual_seed(3)
    seen, truth = people.draw(rows, 1.0, 0.0)
    # What is said and what is true move together, so one still is the other, in the picture and in space.
    assert torch.allclose(seen.hints, truth, atol=1e-5)
    image = seen.vector[:, :66].unflatten(1, (33, 2))[:, LANDMARK_INDICES]
    scale = (image * truth[..., :2]).sum((1, 2)) / image.square().sum((1, 2))
    assert torch.allclose(scale[:, None, None] * image, truth[..., :2], atol=1e-4)
    names = [name for _, name, _ in POSE_LANDMARKS]
    length = torch.linalg.vector_norm
    for trunk, limb, far in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        a, b, c = (names.index(f"left_{name}") for name in (trunk, limb, far))
        other = (
            length(people.truth[:, b] - people.truth[:, a], dim=1),
            length(people.truth[:, c] - people.truth[:, b], dim=1),
        )
        mine = length(truth[:, b] - truth[:, a], dim=1), length(truth[:, c] - truth[:, b], dim=1)
        # Both bones are those of one person, and of another than the trunk.
        same = ((mine[0][:, None] - other[0]).abs() < 1e-5) & ((mine[1][:, None] - other[1]).abs() < 1e-5)
        assert (same.sum(1) == 1).all() and not same.diagonal().any()
    width = length(truth[:, names.index("left_hip")] - truth[:, names.index("right_hip")], dim=1)
    assert torch.allclose(
        width, length(people.truth[:, names.index("left_hip")] - people.truth[:, names.index("right_hip")], dim=1)
    )


def test_people_are_turned_as_a_whole() -> None:
    people, rows = crowd(), torch.arange(12)
    torch.manual_seed(3)
    seen, truth = people.draw(rows, 0.0, 0.3)
    apart = []
    for value in (truth, people.truth):
        apart.append(torch.linalg.vector_norm(value[:, :, None] - value[:, None], dim=-1))
    assert torch.allclose(*apart, atol=1e-4)
    assert torch.allclose(seen.hints, truth, atol=1e-5) and (truth - people.truth).abs().max() > 0.05
    image = seen.vector[:, :66].unflatten(1, (33, 2))[:, LANDMARK_INDICES]
    scale = (image * truth[..., :2]).sum((1, 2)) / image.square().sum((1, 2))
    assert torch.allclose(scale[:, None, None] * image, truth[..., :2], atol=1e-4)


@needs_networks
def test_training_writes_weights_that_load(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    for seed in (10_000, 10_001):
        write_person(pack(SamplePool(256, 0, 1, None, "cpu").make(seed)), people / f"{seed}.person")
    command = [sys.executable, str(ROOT / "scripts" / "train_lifter.py"), "--people-folder", str(people), "--out"]
    command += [str(tmp_path / "lifter"), "--steps", "400", "--width", "64", "--batch", "4", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "lifter" / "log.json").read_text())
    assert figures["people"] == 2 and figures["error_in_training_mm"] < 0.6 * figures["error_of_hints_mm"]
    lifted = Lifter(tmp_path / "lifter" / "lifter.safetensors").lift(*someone())
    assert lifted.shape == (33, 3) and np.isfinite(lifted).all()
