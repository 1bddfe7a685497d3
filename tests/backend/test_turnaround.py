"""Turnaround sheets of mannequins whose sides are known: what is cut, and what each figure is said to show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from backend import __main__ as cli
from backend.body.model import load_body
from backend.errors import BackendError
from backend.options import SidePicture
from backend.pipeline import Pipeline
from backend.prepare import BlazePose
from backend.prepare.blazepose import PoseLandmarks
from backend.prepare.image import Photo
from backend.prepare.turnaround import _distinct, _sides, cut, cut_photo, describe, front_of
from backend.research.evaluation.mannequins import make_mannequin

YAWS = {"front": 0.0, "left": -90.0, "back": 180.0, "right": 90.0}
GAP = 40


@pytest.fixture(scope="module")
def networks(pipeline: Pipeline) -> BlazePose:
    return pipeline.networks()


@pytest.fixture(scope="module")
def figures() -> dict[str, np.ndarray]:
    """By side: the same mannequin cut out, uint8 [h, w, 4]."""
    body, found = load_body("neutral"), {}
    for side, yaw in YAWS.items():
        mannequin = make_mannequin(body, "relaxed", yaw, seed=7, size=512)
        rows, columns = (np.flatnonzero(mannequin.mask.any(axis)) for axis in (1, 0))
        picture = np.dstack([mannequin.rgb, mannequin.mask * np.uint8(255)])
        found[side] = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return found


def sheet_of(pictures: list[np.ndarray]) -> tuple[np.ndarray, list[slice]]:
    """uint8 [H, W, 4], transparent beside the figures, and the columns of each."""
    tall = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] + GAP for picture in pictures) + GAP
    sheet, left, places = np.zeros((tall + 2 * GAP, width, 4), np.uint8), GAP, []
    for picture in pictures:
        sheet[GAP + tall - len(picture) : GAP + tall, left : left + picture.shape[1]] = picture
        places.append(slice(left, left + picture.shape[1]))
        left += picture.shape[1] + GAP
    return sheet, places


def over(sheet: np.ndarray, behind: np.ndarray | int) -> np.ndarray:
    """The sheet before a background, uint8 [H, W, 3]."""
    alpha = sheet[..., 3:] / 255
    return (sheet[..., :3] * alpha + np.broadcast_to(behind, sheet[..., :3].shape) * (1 - alpha)).astype(np.uint8)


def test_figures_are_cut_and_named_whatever_else_is_on_the_sheet(
    networks: BlazePose, figures: dict[str, np.ndarray]
) -> None:
    order = ["back", "front", "right", "left"]
    sheet, places = sheet_of([figures[side] for side in order])
    rgb = over(sheet, 235)
    middle = figures["front"].shape[1] // 2
    head = over(figures["front"], 235)[:70, middle - 40 : middle + 40]
    rgb = np.pad(rgb, ((0, 0), (0, 130), (0, 0)), constant_values=235)
    rgb[20 : 20 + len(head), -110 : -110 + head.shape[1]] = head
    cv2.putText(rgb, "FRONT", (places[1].start, len(rgb) - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 2)
    found = cut_photo(Photo(rgb, None, "sheet", ""), networks)
    assert [figure.side for figure in found] == order
    assert front_of(found) is found[1] and min(figure.confidence for figure in found) > 0.6
    for figure, place in zip(found, places):
        left, top, right, bottom = figure.box
        assert left <= place.start and place.stop <= right and top <= GAP and figure.alpha is None
        assert figure.rgb.shape == (bottom - top, right - left, 3)
        # Nothing of the text or of neighbours: only background beside the figure.
        beside = np.ones(rgb.shape[1], bool)
        beside[place.start - 3 : place.stop + 3] = False
        assert np.abs(figure.rgb[:, beside[left:right]].astype(int) - 235).max(initial=0) < 20
    assert describe(found) == "4 figures were cut from the sheet, from left to right: back, front, right, left."


def test_a_cluttered_background(networks: BlazePose, figures: dict[str, np.ndarray]) -> None:
    order = ["front", "left", "back"]
    sheet, places = sheet_of([figures[side] for side in order])
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(40, 220, (6, 9, 3)).astype(np.uint8), sheet.shape[1::-1])
    found = cut_photo(Photo(over(sheet, wall), None, "sheet", ""), networks)
    assert [figure.side for figure in found] == order
    for figure, place in zip(found, places):
        assert abs((figure.box[0] + figure.box[2]) / 2 - (place.start + place.stop) / 2) < 30


def test_a_transparent_sheet_gives_transparent_pictures(
    networks: BlazePose, figures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    sheet, _ = sheet_of([figures["left"], figures["front"]])
    Image.fromarray(sheet).save(tmp_path / "anna.png")
    found = cut(tmp_path / "anna.png", networks)
    assert [figure.side for figure in found] == ["left", "front"]
    assert all(figure.alpha is not None and 0.1 < figure.alpha.mean() < 0.9 for figure in found)


def test_the_front_is_the_photo_and_what_is_given_by_name_counts_more(
    networks: BlazePose, figures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    sheet, _ = sheet_of([figures[side] for side in YAWS])
    path, folder = tmp_path / "anna.jpg", tmp_path / "figures"
    Image.fromarray(over(sheet, 200)).save(path, quality=95)
    folder.mkdir()
    mine = SidePicture(tmp_path / "mine.png", "back")
    photo, pictures = cli._cut_sheet(path, None, (mine,), networks, folder)
    assert photo == folder / "anna_front.png"
    assert [(one.path.name, one.side) for one in pictures] == [
        ("mine.png", "back"), ("anna_left.png", "left"), ("anna_right.png", "right")
    ]  # fmt: skip
    assert {one.name for one in folder.iterdir()} == {f"anna_{side}.png" for side in YAWS}
    photo, pictures = cli._cut_sheet(path, tmp_path / "photo.png", (), networks, folder)
    assert photo.name == "photo.png" and {one.side for one in pictures} == {"left", "back", "right"}


def test_refusals(networks: BlazePose, figures: dict[str, np.ndarray]) -> None:
    def sheet(*sides: str) -> Photo:
        return Photo(over(sheet_of([figures[side] for side in sides])[0], 235), None, "sheet.png", "")

    with pytest.raises(BackendError, match=r"Only one figure was found in sheet\.png") as caught:
        cut_photo(sheet("front"), networks)
    assert caught.value.kind == "no_turnaround"
    with pytest.raises(BackendError, match="No figure was found") as caught:
        cut_photo(Photo(np.full((200, 400, 3), 235, np.uint8), None, "sheet.png", ""), networks)
    with pytest.raises(BackendError, match="from the front") as caught:
        front_of(cut_photo(sheet("left", "back"), networks))
    assert caught.value.kind == "no_front"


def test_each_side_once_counted_from_the_front() -> None:
    assert _sides([2, 91, -178, -88])[0] == ["front", "left", "back", "right"]
    # A person who stands turned by 25 degrees in all figures.
    assert _sides([25, 115, -155, -65])[0] == ["front", "left", "back", "right"]
    # Two that look like the front: the nearer is it.
    assert _sides([12, -3, 180])[0] == ["other", "front", "back"]
    assert _sides([40, 90])[0] == ["front", "other"]
    assert _sides([90, 180])[0] == ["left", "back"]


def test_a_photo_or_a_sheet_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reconstruct", "-o", str(tmp_path / "out")]) == 2
    assert "There is no photo" in capsys.readouterr().err
    assert cli.main(["reconstruct", "--turnaround", str(tmp_path / "none.png"), "-o", str(tmp_path / "out")]) == 2
    assert "none.png" in capsys.readouterr().err


def test_a_part_of_a_person_seen_once_more_is_no_other_person() -> None:
    def person(low: tuple[float, float], high: tuple[float, float], score: float) -> PoseLandmarks:
        image = np.random.default_rng(0).uniform(low, high, (33, 2))
        image[:2] = low, high
        return PoseLandmarks(image, np.full(33, 0.9), np.zeros((33, 3)), score, np.zeros((4, 4)), (0, 0, 1, 0))

    whole, beside = person((100, 100), (300, 900), 0.9), person((350, 100), (550, 900), 0.8)
    # Most landmarks lie beside the whole one's, but most of the box within its.
    part = person((60, 110), (290, 520), 0.6)
    part.image[2:22, 0] = 80
    kept = _distinct([part, beside, whole])
    assert len(kept) == 2 and kept[0] is whole and kept[1] is beside
