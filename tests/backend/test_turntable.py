"""Pictures of an avatar from any side: the camera in closed form, and which side is seen."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_backend import make_avatar
from PIL import Image

from backend import __main__ as cli
from backend.avatar import Avatar, save_avatar
from backend.avatar.gaussians import SH_C0
from backend.errors import BackendError, Cancelled
from backend.posing import choose_pose
from backend.rendering import rasterizer
from backend.turntable import FIELD_OF_VIEW, orbit_camera, render_picture, write_png


def project(points: np.ndarray, world_to_camera: np.ndarray, focal: float, size: int) -> np.ndarray:
    camera = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    assert (camera[:, 2] > 0).all()
    return camera[:, :2] / camera[:, 2:] * focal + size / 2


@pytest.mark.parametrize("azimuth", [0.0, 37.0, 90.0, 180.0, 270.0, -45.0])
def test_camera_is_rigid_and_sees_everything(azimuth: float) -> None:
    points = np.random.default_rng(0).normal(size=(500, 3)) * (0.3, 0.8, 0.2) + (1.0, 2.0, -3.0)
    world_to_camera, focal = orbit_camera(points, azimuth, 400)
    rotation = world_to_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert 2 * np.degrees(np.arctan(200 / focal)) == pytest.approx(FIELD_OF_VIEW)
    pixels = project(points, world_to_camera, focal, 400)
    assert pixels.min() > 0 and pixels.max() < 400
    middle = (points.min(0) + points.max(0)) / 2
    np.testing.assert_allclose(project(middle[None], world_to_camera, focal, 400), [[200, 200]], atol=1e-9)


def test_sides_of_the_camera() -> None:
    points = np.array([[-1.0, 0, -1], [1, 2, 1]])
    left, up = np.array([[0.5, 1, 0]]), np.array([[0, 1.5, 0]])
    front, focal = orbit_camera(points, 0.0, 100)
    back, _ = orbit_camera(points, 180.0, 100)
    assert project(left, front, focal, 100)[0, 0] > 50  # the person's left is on the right of a picture of the front
    assert project(left, back, focal, 100)[0, 0] < 50
    assert project(up, front, focal, 100)[0, 1] < 50
    side, _ = orbit_camera(points, 90.0, 100)  # stands at +x, nearer to the left half
    assert (side @ [0.5, 1, 0, 1])[2] < (side @ [-0.5, 1, 0, 1])[2]


@pytest.fixture(scope="module")
def two_coloured() -> Avatar:
    """The stick figure, its left half red and its right half blue."""
    avatar = make_avatar(4000)
    red = avatar.gaussians.position[:, :1] > 0
    rgb = np.where(red, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    sh_dc = ((rgb - 0.5) / SH_C0).astype(np.float32)
    return replace(avatar, gaussians=replace(avatar.gaussians, sh_dc=sh_dc))


def reds(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 150) & (picture[..., 2] < 100) & (picture[..., 3] > 128)


def test_each_view_shows_its_side(two_coloured: Avatar) -> None:
    front = reds(render_picture(two_coloured, 0.0, "rest", 64, None))
    assert front[:, 34:].sum() > 100 and front[:, :30].sum() == 0
    back = reds(render_picture(two_coloured, 180.0, "rest", 64, None))
    assert back[:, :30].sum() > 100 and back[:, 34:].sum() == 0
    left = render_picture(two_coloured, 90.0, "rest", 64, None)
    right = render_picture(two_coloured, 270.0, "rest", 64, None)
    assert reds(left).sum() > 5 * reds(right).sum()


def test_background_and_transparency(two_coloured: Avatar) -> None:
    clear = render_picture(two_coloured, 0.0, "rest", 48, None)
    assert clear.shape == (48, 48, 4)
    assert clear[0, 0, 3] == 0
    grey = render_picture(two_coloured, 0.0, "rest", 48, (0.5, 0.5, 0.5))
    assert (grey[..., 3] == 255).all()
    np.testing.assert_array_equal(grey[0, 0, :3], [128, 128, 128])


def test_arms_go_down_from_rest_to_photo(two_coloured: Avatar) -> None:
    def height_and_width(pose: str) -> np.ndarray:
        rows, columns = np.nonzero(render_picture(two_coloured, 0.0, pose, 64, None)[..., 3] > 128)
        return np.array([np.ptp(rows), np.ptp(columns)])

    rest, photo = height_and_width("rest"), height_and_width("photo")
    assert photo[1] / photo[0] < 0.9 * rest[1] / rest[0]


def test_pose_from_a_file(tmp_path: Path, two_coloured: Avatar) -> None:
    pose = np.random.default_rng(1).normal(size=(24, 3))
    np.savez(tmp_path / "pose.npz", pose=pose.reshape(-1), translation=[1, 2, 3])
    loaded, translation = choose_pose(two_coloured, str(tmp_path / "pose.npz"))
    np.testing.assert_array_equal(loaded, pose)
    np.testing.assert_array_equal(translation, [1, 2, 3])
    np.savez(tmp_path / "short.npz", pose=pose[:5])
    np.savez(tmp_path / "nan.npz", pose=pose * np.nan)
    np.savez(tmp_path / "other.npz", poses=pose)
    np.savez(tmp_path / "turns.npz", pose=pose * 1e300)
    np.savez(tmp_path / "far.npz", pose=pose, translation=[1e30, 0, 0])
    np.savez(tmp_path / "pickle.npz", pose=np.array([{"a": 1}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("short", "nan", "other", "turns", "far", "pickle", "text", "gone"):
        with pytest.raises(BackendError) as error:
            choose_pose(two_coloured, str(tmp_path / f"{name}.npz"))
        assert error.value.kind == "pose_unreadable"


def test_command_writes_the_picture(tmp_path: Path, two_coloured: Avatar, capsys: pytest.CaptureFixture[str]) -> None:
    save_avatar(two_coloured, tmp_path / "avatar")
    arguments = ["render", str(tmp_path / "avatar"), "-o", str(tmp_path / "new" / "a.png"), "--size", "40"]
    assert cli.main([*arguments, "--view", "back", "--pose", "rest", "--background", "#ffffff"]) == 0
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.size == (40, 40)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    for bad in (["render", str(tmp_path), "-o", "x.png"], [*arguments, "--size", "100000"]):
        assert cli.main(bad) == 2
    (tmp_path / "file").write_text("")
    assert cli.main(["render", str(tmp_path / "avatar"), "-o", str(tmp_path / "file" / "a.png"), "--size", "8"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_large_picture_tells_of_its_progress_and_can_be_stopped(
    two_coloured: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = render_picture(two_coloured, 0.0, "rest", 96, None)
    monkeypatch.setattr(rasterizer, "PAIRS_PER_BATCH", 20_000)
    shares: list[float] = []
    told = render_picture(two_coloured, 0.0, "rest", 96, None, shares.append)
    assert np.abs(told.astype(int) - plain).max() <= 1
    assert len(shares) > 2 and shares == sorted(shares) and shares[0] == 0.0 and shares[-1] < 1.0

    def stop(share: float) -> None:
        if share > 0.3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        render_picture(two_coloured, 0.0, "rest", 96, None, stop)


def test_a_picture_is_written_beside_its_place_under_no_name_that_can_be_known(tmp_path: Path) -> None:
    """Who may write to the folder must not be able to lay a link there that leads elsewhere."""
    image = np.zeros((4, 4, 4), np.uint8)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    try:
        (tmp_path / ".a.png.part").symlink_to(victim)
    except OSError:
        pytest.skip("this system makes no links")
    write_png(image, tmp_path / "a.png")
    assert victim.read_text() == "mine" and (tmp_path / ".a.png.part").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.png.part", "a.png", "victim"]
    (tmp_path / "folder").mkdir()
    for bad in (tmp_path / "folder", tmp_path / "victim" / "a.png", tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(BackendError) as error:
            write_png(image, bad)
        assert error.value.kind == "output_not_writable"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_pipe_or_device_is_not_replaced_by_a_picture(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BackendError, match="not a plain file"):
        write_png(np.zeros((4, 4, 4), np.uint8), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_fifo() and len(list(tmp_path.iterdir())) == 1
