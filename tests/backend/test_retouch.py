"""Views of an avatar, and retouched ones taken over: what the written package's avatar shows afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_backend import make_avatar, png
from PIL import Image

from backend import __main__ as cli
from backend.avatar import Avatar, load_avatar, pose_gaussians, save_avatar
from backend.errors import BackendError, Cancelled
from backend.retouch import VIEWS
from backend.retouch.repaint import RetouchedPicture, repaint
from backend.retouch.views import read_views, save_views, write_views
from backend.turntable import render_picture

SIZE = 384
RADIUS = 12
"""Pixels; within the back, whose edges are seen from the front as well."""
RED = (230, 20, 20)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with its views, not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "avatar"
    avatar = make_avatar(25_000)  # so dense that no side shines through the other
    save_avatar(avatar, folder, png(2, 2, bytes(16)), _png(np.zeros((512, 1024, 3), np.uint8)))
    write_views(avatar, folder / "views", size=SIZE)
    return folder


@pytest.fixture
def package(saved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "avatar"))


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def view(package: Path, name: str) -> np.ndarray:
    """A saved view, uint8 [S, S, 4]."""
    return np.array(Image.open(package / "views" / f"{name}.png"))


def drawn(package: Path, name: str) -> np.ndarray:
    """What a package's avatar shows now, uint8 [S, S, 4], by the renderer of the command line."""
    return render_picture(load_avatar(package), VIEWS[name], "photo", SIZE, None)


def flat(image: np.ndarray, background: int = 255) -> np.ndarray:
    """Without transparency, uint8 [S, S, 3]."""
    alpha = image[..., 3:] / 255
    return (image[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)


def disc(image: np.ndarray, height: float = 0.33) -> np.ndarray:
    """Bool [S, S]: a disc on the trunk."""
    rows = np.flatnonzero((image[..., 3] > 127).any(1))
    middle = rows.min() + height * np.ptp(rows)
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((y - middle) ** 2 + (x - SIZE / 2) ** 2 < RADIUS**2) & (image[..., 3] > 127)


def painted(image: np.ndarray, where: np.ndarray, colour: tuple[int, int, int] = RED) -> np.ndarray:
    """With a colour on it."""
    image = image.copy()
    image[where, :3] = colour
    return image


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels of colours in 0..255."""
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-9)))


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Largest difference of the pixels over grey, [S, S]."""
    return np.abs(flat(before, 128).astype(int) - flat(after, 128)).max(2)


def give(folder: Path, name: str, image: np.ndarray, **options: Any) -> RetouchedPicture:
    """A picture file."""
    Image.fromarray(image).save(folder / name, **options)
    return RetouchedPicture(folder / name)


def refused(kind: str, package: Path, *pictures: RetouchedPicture) -> str:
    """The sentence with which pictures are refused; nothing is written."""
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    with pytest.raises(BackendError) as caught:
        repaint(package, pictures)
    assert caught.value.kind == kind and caught.value.fix
    assert before == {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    return caught.value.message


def test_views_are_drawn_from_the_cameras_that_are_written(saved: Path) -> None:
    avatar = load_avatar(saved)
    found = read_views(saved / "views")
    assert found is not None and list(found.views) == list(VIEWS)
    points = pose_gaussians(avatar, avatar.pose, avatar.translation).position
    of_photo = points @ avatar.camera.world_to_camera[:3, :3].T + avatar.camera.world_to_camera[:3, 3]
    for name, camera in found.views.items():
        image = view(saved, name)
        assert image.shape == (SIZE, SIZE, 4) and camera.turn == VIEWS[name]
        assert change(image, drawn(saved, name)).max() <= 1
        assert camera.sha256 == hashlib.sha256((saved / "views" / camera.file).read_bytes()).hexdigest()
        seen = of_photo @ camera.matrix[:3, :3].T + camera.matrix[:3, 3]
        column, row = (seen[:, :2] / seen[:, 2:] * camera.focal + SIZE / 2).astype(int).T
        assert (image[row, column, 3] > 127).mean() > 0.98
        rows = np.flatnonzero((image[..., 3] > 127).any(1))
        assert np.ptp(rows) > 0.7 * SIZE


def test_a_disc_on_the_back_is_taken_over_and_nothing_else_changes(package: Path, tmp_path: Path) -> None:
    back, front = view(package, "back"), view(package, "front")
    where = disc(back)
    wanted = painted(back, where)
    before = load_avatar(package)
    result = repaint(package, [give(tmp_path, "back.png", wanted)])
    assert result.package == package and result.notes == () and list(result.views) == ["back"]
    after = drawn(package, "back")
    assert psnr(back[where, :3], wanted[where, :3]) < 12
    assert psnr(after[where, :3], wanted[where, :3]) > 18
    core = cv2.erode(where.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert psnr(after[core, :3], wanted[core, :3]) > 30
    # A splat at the rim lies on both sides of it; beyond the reach of splats nothing may change.
    away = cv2.distanceTransform((~where).astype(np.uint8), cv2.DIST_L2, 5)
    assert change(back, after)[away > 12].max() <= 1
    assert change(front, drawn(package, "front")).max() <= 1
    _same_but_for_colours(before, load_avatar(package), result.splats)
    assert (package / "views" / "back.png").is_file() and (package / "input.png").read_bytes() == png(2, 2, bytes(16))
    source = json.loads((package / "avatar.json").read_text("utf-8"))["source"]
    assert [entry["view"] for entry in source["repainted"]] == ["back"]


def _same_but_for_colours(before: Avatar, after: Avatar, changed: int) -> None:
    for name in ("position", "rotation", "scale", "opacity"):  # rounded once more by the file
        np.testing.assert_allclose(getattr(before.gaussians, name), getattr(after.gaussians, name), atol=2e-7)
    for name in ("vertex_ids", "barycentric", "offset", "rotation", "joint_ids", "joint_weights"):
        np.testing.assert_array_equal(getattr(before.skin, name), getattr(after.skin, name))
    np.testing.assert_array_equal(before.pose, after.pose)
    different = (before.gaussians.sh_dc != after.gaussians.sh_dc).any(1)
    assert 0 < different.sum() == changed < 0.1 * len(different)


def test_several_pictures_at_once_into_another_package(package: Path, tmp_path: Path) -> None:
    wanted, places = {}, {}
    for name, colour in (("back", RED), ("front", (20, 220, 40))):
        places[name] = disc(view(package, name))
        wanted[name] = painted(view(package, name), places[name], colour)
    pictures = [give(tmp_path, f"anna_{name}_final.png", image) for name, image in wanted.items()]
    shutil.copytree(package / "views", tmp_path, dirs_exist_ok=True)
    shutil.rmtree(package / "views")  # those beside the pictures count as well
    before = (package / "gaussians.ply").read_bytes()
    result = repaint(package, pictures, tmp_path / "other")
    assert set(result.views) == {"back", "front"} and (package / "gaussians.ply").read_bytes() == before
    for name, image in wanted.items():
        assert psnr(drawn(tmp_path / "other", name)[places[name], :3], image[places[name], :3]) > 18
    # The photo beside the avatar stays in the preview, the avatar is drawn anew.
    preview = np.asarray(Image.open(tmp_path / "other" / "preview.png"))
    assert not preview[:, :512].any() and preview[:, 512:].any()


@pytest.mark.parametrize(
    "name, options", [("back.jpg", {"quality": 75}), ("back.webp", {"quality": 80}), ("back.png", {})]
)
def test_what_an_editor_writes_of_an_unchanged_view_is_no_retouch(
    package: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    image = flat(view(package, "back"), 90)
    sentence = refused("nothing_changed", package, give(tmp_path, name, image, **options))
    assert sentence == f"{name} shows nothing that the avatar does not show already."
    if not options:
        bigger = np.asarray(Image.fromarray(image).resize((400, 400), Image.Resampling.LANCZOS))
        refused("nothing_changed", package, give(tmp_path, "back2.png", bigger))
        refused("nothing_changed", package, RetouchedPicture(package / "views" / "left.png"))


def test_a_flattened_jpeg_of_another_size_is_taken_over(package: Path, tmp_path: Path) -> None:
    back = view(package, "back")
    where = disc(back)
    wanted = painted(back, where)
    bigger = Image.fromarray(flat(wanted)).resize((400, 400), Image.Resampling.LANCZOS)
    repaint(package, [give(tmp_path, "back.jpg", np.asarray(bigger), quality=85)])
    after = drawn(package, "back")
    assert psnr(after[where, :3], wanted[where, :3]) > 18
    away = cv2.distanceTransform((~where).astype(np.uint8), cv2.DIST_L2, 5)
    assert np.quantile(change(back, after)[(away > 16) & (back[..., 3] > 127)], 0.99) <= 1


def test_alpha_is_ignored_and_another_picture_is_named(package: Path, tmp_path: Path) -> None:
    back = view(package, "back")
    erased = back.copy()
    erased[disc(back)] = 0
    refused("nothing_changed", package, give(tmp_path, "back.png", erased))
    other = painted(back, back[..., 3] > 0, (40, 160, 90))
    result = repaint(package, [give(tmp_path, "back.png", other)])
    assert result.views["back"] > 0.9 and "may be of another avatar" in result.notes[0]
    shown = back[..., 3] > 250
    assert psnr(drawn(package, "back")[shown, :3], other[shown, :3]) > 25


def test_refusals(package: Path, tmp_path: Path) -> None:
    wanted = painted(view(package, "back"), disc(view(package, "back")))
    assert "384 x 200" in refused("picture_size", package, give(tmp_path, "back.png", wanted[:200]))
    small = np.asarray(Image.fromarray(wanted).resize((100, 100)))
    assert "too few" in refused("picture_size", package, give(tmp_path, "back.png", small))
    assert "nice.png" in refused("view_unknown", package, give(tmp_path, "nice.png", wanted))
    assert "top" in refused("view_unknown", package, replace(give(tmp_path, "nice.png", wanted), view="top"))
    good = give(tmp_path, "back.png", wanted)
    refused("arguments", package, good, replace(give(tmp_path, "nice.png", wanted), view="back"))
    refused("arguments", package)
    broken = tmp_path / "front.png"
    broken.write_bytes(good.path.read_bytes()[:2000])
    refused("image_unreadable", package, RetouchedPicture(broken))
    described = json.loads((package / "views" / "views.json").read_text("utf-8"))
    for text in ("{", "[]", json.dumps(described | {"version": 9}), json.dumps(described | {"views": [{}]})):
        (package / "views" / "views.json").write_text(text, "utf-8")
        refused("views_unreadable", package, good)
    described["views"][0]["matrix"][0][0] = 2.0
    (package / "views" / "views.json").write_text(json.dumps(described), "utf-8")
    assert "rigid" in refused("views_unreadable", package, good)
    shutil.rmtree(package / "views")
    assert "were not saved" in refused("views_missing", package, good)
    with pytest.raises(Cancelled):
        repaint(package, [good], cancelled=lambda: True)


def test_views_of_another_avatar_are_refused(package: Path, tmp_path: Path) -> None:
    avatar = load_avatar(package)
    moved = replace(avatar, gaussians=replace(avatar.gaussians, position=avatar.gaussians.position + 0.01))
    save_avatar(moved, tmp_path / "moved")
    wanted = painted(view(package, "back"), disc(view(package, "back")))
    assert "another avatar" in refused("views_missing", tmp_path / "moved", give(package / "views", "back.png", wanted))


def test_a_retouched_view_is_not_overwritten(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.retouch.views.write_views", lambda *a: write_views(*a, size=64))
    save_views(package)  # as they were: replaced
    back = package / "views" / "back.png"
    Image.fromarray(painted(view(package, "back"), np.ones((64, 64), bool))).save(back)
    kept = back.read_bytes()
    with pytest.raises(BackendError, match=r"back\.png in .* is not as it was saved") as caught:
        save_views(package)
    assert caught.value.kind == "views_changed" and back.read_bytes() == kept


def test_the_command_line(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = view(package, "back")
    picture = give(tmp_path, "mine.png", painted(back, disc(back))).path
    assert cli.main(["repaint", str(package), str(picture), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "view_unknown"
    assert cli.main(["repaint", str(package), str(picture), "--view", "back", "--view", "left"]) == 2
    assert cli.main(["repaint", str(package), str(picture), "--view", "back", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["package"] == str(package) and answer["splats"] > 20
    assert cli.main(["views", str(tmp_path / "nowhere")]) == 2
