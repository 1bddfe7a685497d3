"""Cloth that swings, held to a numpy integration of the same spring and to what a damped spring is known to do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import bpy
import numpy as np
import pytest
from humansplat.humansplat_blender import scene
from humansplat.humansplat_blender.scene import attributes, sway
from humansplat.humansplat_blender.scene.nodes import sway as nodes
from humansplat.humansplat_blender.scene.nodes.build import set_input

from backend.avatar.clothed_mesh import clothed_mesh
from tests.synthetic import make_avatar

ROOM = 0.06
FPS = 25
FRAMES = 60


@pytest.fixture
def loose(package: Path) -> scene.ImportedAvatar:
    """An avatar whose every second vertex has room, standing in its rest pose."""
    avatar = scene.import_avatar(bpy.context, package)
    scene.rest_pose(avatar.armature)
    count = len(avatar.body.data.vertices)
    attributes.write_points(avatar.body.data, {nodes.ROOM: ("FLOAT", ROOM * (np.arange(count) % 2))})
    bpy.context.scene.render.fps = FPS
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, FRAMES
    return avatar


def _walk_to(avatar: scene.ImportedAvatar, path: np.ndarray) -> None:
    """Key the root bone along its x axis, a place [T] metres a frame from frame 1 on."""
    root = avatar.armature.pose.bones["root"]
    for number, place in enumerate(path):
        root.location = (place, 0.0, 0.0)
        root.keyframe_insert("location", frame=number + 1)


def _vertices(body: bpy.types.Object) -> np.ndarray:
    mesh = body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    found = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", found)
    return found.reshape(-1, 3).astype(np.float64)


def _play(avatar: scene.ImportedAvatar, frames: int = FRAMES) -> np.ndarray:
    """Vertices [T, V, 3] of every frame in turn."""
    found = []
    for frame in range(1, frames + 1):
        bpy.context.scene.frame_set(frame)
        found.append(_vertices(avatar.body))
    return np.stack(found)


def _expected(places: np.ndarray, room: np.ndarray, frequency: float, damping: float, amount: float) -> np.ndarray:
    """The same spring in numpy, from the places [T, V, 3] without cloth's inertia."""
    step, omega = 1 / FPS, 2 * np.pi * frequency
    offset, velocity = np.zeros_like(places[0]), np.zeros_like(places[0])
    shown, speed = [places[0]], None
    for before, now in pairwise(places):
        new = (now - before) / step
        if speed is not None:
            velocity = velocity - (new - speed)
        speed = new
        velocity = (velocity - omega**2 * step * offset) / (1 + 2 * damping * omega * step + (omega * step) ** 2)
        offset = offset + step * velocity
        far = np.linalg.norm(offset, axis=1)
        shown.append(now + offset * (amount * room / np.maximum(room + far, 1e-9))[:, None])
    return np.stack(shown)


def test_vertices_follow_the_spring(loose: scene.ImportedAvatar) -> None:
    time = np.arange(FRAMES) / FPS
    _walk_to(loose, 0.3 * np.sin(2 * np.pi * 0.8 * time) * (time < 1.2))
    still = _play(loose)
    assert sway.add_sway(loose) == pytest.approx(ROOM)
    modifier = sway.sway_modifier(loose)
    set_input(modifier, nodes.FREQUENCY, 2.0)
    set_input(modifier, nodes.DAMPING, 0.2)
    set_input(modifier, nodes.AMOUNT, 0.7)
    found = _play(loose)
    room = attributes.read_points(loose.body.data, nodes.ROOM).astype(np.float64)
    np.testing.assert_allclose(found, _expected(still, room, 2.0, 0.2, 0.7), atol=2e-5)
    moved = np.linalg.norm(found - still, axis=2)
    assert moved[:, room == 0].max() < 1e-6 and 0.5 * ROOM * 0.7 < moved.max() < ROOM * 0.7
    sway.remove_sway(loose)
    np.testing.assert_allclose(_play(loose), still, atol=1e-6)


def test_after_a_stop_it_swings_at_its_frequency_and_comes_to_rest(loose: scene.ImportedAvatar) -> None:
    stop = 10
    _walk_to(loose, 0.01 * np.minimum(np.arange(FRAMES), stop))
    still = _play(loose)
    sway.add_sway(loose)
    set_input(sway.sway_modifier(loose), nodes.FREQUENCY, 1.5)
    set_input(sway.sway_modifier(loose), nodes.DAMPING, 0.1)
    along = (_play(loose) - still)[:, 1, 0]
    # Steady walking from the first frame on leaves cloth where it is; the stop throws it forward.
    assert np.abs(along[: stop + 1]).max() < 1e-5
    forward = np.sign(still[stop, 1, 0] - still[0, 1, 0])
    assert along[stop + 1] * forward > 0.004
    crossings = np.flatnonzero(np.diff(np.sign(along[stop + 1 :])) != 0)
    half_swings = np.diff(crossings)
    assert np.mean(half_swings) == pytest.approx(FPS / 1.5 / 2, rel=0.1)
    assert np.abs(along[-8:]).max() < 0.35 * np.abs(along).max()


def test_splats_swing_with_the_cloth(loose: scene.ImportedAvatar) -> None:
    _walk_to(loose, 0.02 * np.arange(20))
    bpy.context.scene.frame_end = 20
    root = loose.armature.pose.bones["root"]
    root.location = (0.0, 0.0, 0.0)
    root.keyframe_insert("location", frame=12)
    _play(loose, 14)
    before = scene.read_splats(bpy.context, loose.splats).position
    sway.add_sway(loose)
    _play(loose, 14)
    after = scene.read_splats(bpy.context, loose.splats).position
    assert np.linalg.norm(after - before, axis=1).max() > 0.01


def test_room_is_what_stands_off_the_legs() -> None:
    avatar = make_avatar(500)
    clothed = clothed_mesh(avatar)
    assert sway.room_of(avatar, clothed).max() < 0.02  # clothes a centimetre off the body
    surface = avatar.body.surface_vertices.copy()
    low = surface[:, 1] < -0.2
    centre = avatar.rest_joints[0]
    away = surface - centre
    surface[low] += 0.15 * (away / np.linalg.norm(away, axis=1, keepdims=True))[low]
    wide = replace(avatar, body=replace(avatar.body, surface_vertices=surface))
    room = sway.room_of(wide, clothed)[: len(surface)]
    distance = np.linalg.norm(surface[:, None] - avatar.body.vertices[None], axis=2).min(1)
    lower = [avatar.joint_names.index(name) for name in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")]
    share = avatar.body.surface_weights[:, lower].sum(1)
    np.testing.assert_allclose(room, share * 0.8 * np.maximum(distance - 0.02, 0), atol=1e-6)
    assert room.max() > 0.05
    high = surface[:, 1] > 0.4  # chest, arms and head stay
    assert room[high].max() < 1e-6


def test_what_cannot_sway_is_said(loose: scene.ImportedAvatar, package: Path) -> None:
    close = scene.import_avatar(bpy.context, package)
    attributes.write_points(close.body.data, {nodes.ROOM: ("FLOAT", np.zeros(len(close.body.data.vertices)))})
    with pytest.raises(ValueError, match="nothing loose"):
        sway.add_sway(close)
    close.body.data.attributes.remove(close.body.data.attributes[nodes.ROOM])
    with pytest.raises(ValueError, match="earlier version"):
        sway.add_sway(close)
    assert sway.sway_modifier(close) is None
    # A copy has its own, and another avatar in its place sways as well.
    sway.add_sway(loose)
    set_input(sway.sway_modifier(loose), nodes.FREQUENCY, 2.5)
    copy = scene.duplicate_avatar(bpy.context, loose)
    assert sway.sway_modifier(copy) is not None and sway.sway_modifier(copy).node_group.users == 2
