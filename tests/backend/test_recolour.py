"""Colours of merged splats: those of what is seen, not the mean of what was merged."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.avatar import Avatar, from_rgb
from backend.avatar.formats.cloud import clean, splat_cloud
from backend.avatar.formats.merge import merge_splats
from backend.avatar.formats.types import SplatCloud
from backend.avatar.skinning import standing_translation
from backend.export.job import ExportOptions, export_avatar
from backend.export.looks import Look, looks, sides
from backend.export.recolour import recolour
from backend.export.targets import TARGETS
from backend.rendering import render_splats
from tests.synthetic import make_avatar


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return make_avatar(4000)


def _cloud(position: np.ndarray, rgb: np.ndarray, scale: float) -> SplatCloud:
    count = len(position)
    still = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    g = from_rgb(
        position=position.astype(np.float32),
        rotation=still,
        scale=np.full((count, 3), scale, np.float32),
        opacity=np.full(count, 0.95, np.float32),
        rgb=rgb.astype(np.float32),
    )
    weights = np.zeros((count, 4), np.float32)
    weights[:, 0] = 1
    return SplatCloud(g, np.zeros((count, 4), np.uint8), weights)


def test_a_merged_splat_has_the_colour_that_is_seen_of_its_pair() -> None:
    # A red splat and, 5 mm behind it, a blue one. Their mean is violet; from the front they are red.
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.uniform(-0.3, 0.3, (300, 2)), np.zeros((300, 1))], axis=1)
    both = np.concatenate([places, places - [0, 0, 0.005]])
    red_blue = np.concatenate([np.tile([1.0, 0, 0], (300, 1)), np.tile([0, 0, 1.0], (300, 1))])
    cloud = _cloud(both, red_blue, 0.02)
    merged = _cloud(places, np.tile([0.5, 0, 0.5], (300, 1)), 0.02)
    from_the_front = [look for look in sides(cloud.gaussians) if look.world_to_camera[2, 2] == -1]
    assert len(from_the_front) == 1
    found = recolour(merged, from_the_front).gaussians.rgb
    # 0.95 of red before 0.95 of blue: at least 0.95 red, at most 0.05 blue where splats overlap.
    assert np.median(found[:, 0]) > 0.9 and np.median(found[:, 2]) < 0.1
    assert found.min() >= -1e-6 and found.max() <= 1 + 1e-6


def _difference(cloud: SplatCloud, look: Look, moved: np.ndarray) -> float:
    g = replace(cloud.gaussians, position=cloud.gaussians.position - moved.astype(np.float32))
    height, width = look.alpha.shape
    rgba = render_splats(g, float(look.intrinsics[0]), (height, width), look.world_to_camera)
    return float(((rgba[..., :3] - look.rgb * look.alpha[..., None]) ** 2).mean())


def test_merged_splats_are_nearer_to_all_from_every_side(avatar: Avatar) -> None:
    cloud, _ = clean(splat_cloud(avatar))
    standing = standing_translation(avatar)
    plain = merge_splats(cloud, 1000)
    pictures = looks(avatar)
    fitted = recolour(plain, pictures, standing)
    for name in ("position", "rotation", "scale", "opacity"):
        assert np.array_equal(getattr(fitted.gaussians, name), getattr(plain.gaussians, name))
    for look in pictures[1:]:
        assert _difference(fitted, look, standing) < _difference(plain, look, standing)


def test_damaged_splats_do_not_hide_the_others_from_the_sides(avatar: Avatar) -> None:
    position = avatar.gaussians.position.copy()
    position[7] = np.nan
    damaged = sides(replace(avatar.gaussians, position=position))
    for found, whole in zip(damaged, sides(avatar.gaussians)):
        assert found.alpha.sum() == pytest.approx(whole.alpha.sum(), rel=0.01)


def test_mesh_and_splats_are_made_of_the_same_looks(
    avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr("backend.export.looks.looks", lambda *given: drawn.append(given) or looks(*given))
    options = ExportOptions("unity", formats=("ply",), triangles=8000, texture=1024, budget=1000)
    no_fbx = replace(TARGETS["unity"], mesh=("glb",))
    monkeypatch.setattr("backend.export.job.TARGETS", {**TARGETS, "unity": no_fbx})
    export_avatar(avatar, tmp_path / "a", options)
    assert len(drawn) == 1


def test_without_the_backend_colours_are_means_and_that_is_said(
    avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExportOptions("splats", formats=("ply",), budget=1000)
    assert not any("softer" in note for note in export_avatar(avatar, tmp_path / "a", options).notes)
    monkeypatch.setitem(sys.modules, "backend.export.recolour", None)
    assert any("softer" in note for note in export_avatar(avatar, tmp_path / "b", options).notes)
