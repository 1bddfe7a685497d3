"""Cut-outs told from frames, legs that are hidden or end, front told from back, and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from backend.avatar import load_avatar
from backend.body.model import load_body
from backend.errors import BackendError
from backend.options import ReconstructOptions
from backend.photo import AGREED, Agreement, PreparedPhoto
from backend.pipeline import Pipeline
from backend.prepare import BlazePose, load_photo, prepare
from backend.prepare.blazepose import MIRRORED, PoseLandmarks
from backend.prepare.cutout import is_cut_out, rim_width, without_rim
from backend.prepare.detect import _agreed_facing, facing
from backend.prepare.doubt import (
    Seen,
    _sharpness,
    disagreement,
    doubts,
    hangs_before_legs,
    refuse_misfit,
    refuse_non_person,
)
from backend.prepare.image import Photo
from backend.prepare.legs import UnseenLegs, find_unseen_legs
from backend.prepare.weights import missing_weights

PERSON = Path(__file__).resolve().parents[2] / "docs" / "demo" / "person.jpg"
SIZE = 400


def _landmarks() -> np.ndarray:
    """[33, 2] of somebody who stands straight and faces the camera, in a picture of 400 pixels."""
    points = np.full((33, 2), 200.0)
    points[:11] = [200, 60]
    points[[2, 5]] = [[206, 55], [194, 55]]
    points[[9, 10]] = [[204, 66], [196, 66]]
    for left, right, y, half in ((11, 12, 90, 30), (23, 24, 190, 20), (25, 26, 265, 20), (27, 28, 340, 20)):
        points[left], points[right] = (200 + half, y), (200 - half, y)
    points[[29, 31]], points[[30, 32]] = (220, 350), (180, 350)
    points[[13, 15, 17, 19, 21]], points[[14, 16, 18, 20, 22]] = (245, 150), (155, 150)
    return points


def _figure(to: float = 355.0, legs: tuple[bool, bool] = (True, True)) -> np.ndarray:
    """bool [400, 400], the outline of that person down to the row ``to``."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(mask, (200, 60), 22, 1, -1)
    cv2.rectangle(mask, (168, 82), (232, 200), 1, -1)
    for shown, x in zip(legs, (220, 180)):
        if shown:
            cv2.rectangle(mask, (x - 14, 190), (x + 14, int(to)), 1, -1)
    return mask > 0


# --- cut-outs ----------------------------------------------------------------------------------------------------


def _frame(kind: str) -> np.ndarray:
    mask = Image.new("L", (SIZE, SIZE), 0)
    draw = ImageDraw.Draw(mask)
    if kind == "rounded":
        draw.rounded_rectangle((0, 0, SIZE - 1, SIZE - 1), 50, fill=255)
    elif kind == "oval":
        draw.ellipse((20, 0, SIZE - 20, SIZE), fill=255)
    else:
        draw.rectangle((90, 10, 310, 390), fill=255)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(2))).astype(np.float32) / 255


def test_frames_are_no_cut_outs() -> None:
    soft = cv2.GaussianBlur(_figure().astype(np.float32), (0, 0), 3)
    for kind in ("rounded", "oval", "padded"):
        assert not is_cut_out(_frame(kind), soft), kind
    # The network's mask never is the true outline: a cut-out may be wider, and hold a bag.
    wide = cv2.dilate(_figure().astype(np.uint8), np.ones((7, 7), np.uint8))
    wide[150:230, 232:280] = 1
    assert is_cut_out(wide.astype(np.float32), soft)
    assert not is_cut_out(np.ones((SIZE, SIZE), np.float32), soft)
    assert not is_cut_out(np.zeros((SIZE, SIZE), np.float32), soft)


@pytest.mark.parametrize("width", [3, 5])
def test_a_rim_of_one_colour_is_found_and_taken_off(width: int) -> None:
    rng = np.random.default_rng(1)
    figure = _figure()
    rgb = cv2.resize(rng.integers(0, 200, (50, 50, 3), dtype=np.uint8), (SIZE, SIZE))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1,) * 2)
    wide = cv2.dilate(figure.astype(np.uint8), disc) > 0
    rgb[wide & ~figure] = 250
    alpha = wide.astype(np.float32)
    assert abs(rim_width(rgb, alpha) - width) <= 1
    left = without_rim(rgb, alpha) > 0.5
    assert (left & ~figure).sum() < 0.005 * figure.sum() and (left & figure).sum() > 0.93 * figure.sum()
    assert rim_width(rgb, figure.astype(np.float32)) == 0
    # All in white is no rim.
    assert rim_width(np.full_like(rgb, 240), alpha) == 0


# --- legs --------------------------------------------------------------------------------------------------------


def _seen_legs(
    figure: np.ndarray, rgb: np.ndarray, unseen: tuple[int, ...], landmarks: np.ndarray | None = None
) -> UnseenLegs:
    visibility = np.ones(33)
    visibility[list(unseen)] = 0.2
    points = _landmarks() if landmarks is None else landmarks
    return find_unseen_legs(rgb, figure.astype(np.float32), np.ones((SIZE, SIZE), bool), points, visibility)


def test_hidden_legs_go_on_and_missing_ones_end() -> None:
    wall = np.full((SIZE, SIZE, 3), 150, np.uint8)
    assert _seen_legs(_figure(), wall, ()) == UnseenLegs((), (), pytest.approx(np.zeros((SIZE, SIZE), bool)))
    table = wall.copy()
    table[260:] = (90, 60, 40)
    hidden = _seen_legs(_figure(259), table, (27, 28))
    assert hidden.hidden == ("left", "right") and not hidden.ended
    assert hidden.unknown[300, 220] and hidden.unknown[300, 180] and not hidden.unknown[250].any()
    one = _seen_legs(_figure(259, (True, True)) | _figure(355, (False, True)), wall, (27,))
    assert one.ended == ("left",) and not one.hidden and not one.unknown.any()
    # An ankle that the network has drawn up to the knee, where the leg ends.
    folded = _landmarks()
    folded[27] = (222, 255)
    assert _seen_legs(_figure(259) | _figure(355, (False, True)), wall, (27,), folded).ended == ("left",)


def test_legs_that_the_picture_cuts_are_not_hidden() -> None:
    inside = np.ones((SIZE, SIZE), bool)
    inside[260:] = False
    visibility = np.ones(33)
    visibility[[27, 28]] = 0.2
    wall = np.full((SIZE, SIZE, 3), 150, np.uint8)
    wall[260:] = 0
    found = find_unseen_legs(wall, _figure(259).astype(np.float32), inside, _landmarks(), visibility)
    assert found.hidden == () and found.ended == ()


# --- front and back ----------------------------------------------------------------------------------------------


def _look(points: np.ndarray, toes: float = -0.1, score: float = 1.0) -> PoseLandmarks:
    world = np.zeros((33, 3))
    world[[31, 32], 2] = toes
    return PoseLandmarks(points, np.ones(33), world, score, np.zeros((1, 1), np.float32), (200.0, 200.0, 400.0, 0.0))


def test_feet_decide_where_looks_disagree_on_front_and_back() -> None:
    front = _landmarks()
    back, edge = front[MIRRORED], front.copy()
    edge[[11, 12, 23, 24], 0] = [203, 197, 202, 198]
    assert facing(_look(front)) == pytest.approx(0.5) and facing(_look(back)) == pytest.approx(-0.5)
    kept, unclear = _agreed_facing([_look(front), _look(back), _look(front), _look(edge)])
    assert unclear and len(kept) == 2 and all(facing(look) > 0.4 for look in kept)
    kept, unclear = _agreed_facing([_look(front, 0.1), _look(back, 0.1), _look(back, 0.1), _look(edge, 0.1)])
    assert unclear and len(kept) == 2 and all(facing(look) < -0.4 for look in kept)
    # Turned on its side and upside down it is the same.
    turned = (front - 200) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 200
    assert facing(_look(turned)) == pytest.approx(0.5)
    assert _agreed_facing([_look(front)] * 4)[1] is False


# --- what is said ------------------------------------------------------------------------------------------------

NO_LEGS = UnseenLegs((), (), np.zeros((SIZE, SIZE), bool))


def _seen(**changes: object) -> Seen:
    rgb = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    good = Seen(
        rgb, _figure().astype(np.float32), np.ones((SIZE, SIZE), bool), _landmarks(), np.ones(33), 0.5, AGREED, NO_LEGS,
        1.0, False, False, False,
    )  # fmt: skip
    return replace(good, **changes)


def test_nothing_is_said_of_a_good_photo() -> None:
    assert doubts(_seen()) == []


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"agreement": Agreement(0.03, 1.0, False)}, "doubtful"),
        ({"agreement": Agreement(0.0, 0.6, False)}, "doubtful"),
        ({"agreement": Agreement(0.0, 1.0, True)}, "front or from behind"),
        ({"facing": -0.5}, "from behind"),
        ({"scale": 4.0}, "pixels tall"),
        ({"legs": replace(NO_LEGS, hidden=("left",))}, "hides the left leg"),
        ({"legs": replace(NO_LEGS, hidden=("left", "right"))}, "hides both legs"),
        ({"legs": replace(NO_LEGS, ended=("right",))}, "the right leg"),
        ({"neighbour": True}, "Another person"),
    ],
)
def test_each_doubt_is_said(changes: dict[str, object], word: str) -> None:
    said = doubts(_seen(**changes))
    assert len(said) == 1 and word in said[0] and said[0].endswith(".")


def test_pieces_edges_heads_and_blur() -> None:
    pieces = _figure()
    pieces[120:150] = False
    assert "pieces" in doubts(_seen(alpha=pieces.astype(np.float32)))[0]
    inside = np.ones((SIZE, SIZE), bool)
    inside[:, 220:] = False
    assert "right edge" in doubts(_seen(alpha=(_figure() & inside).astype(np.float32), inside=inside))[0]
    child = _landmarks()
    child[[9, 10], 1] = 75
    child[[25, 26], 1], child[[27, 28], 1] = 240, 290
    assert "large for the body" in doubts(_seen(landmarks=child))[0]
    sharp, everywhere = _seen().rgb, np.ones((SIZE, SIZE), bool)
    assert _sharpness(sharp, everywhere, 1.0) == 1
    texture = np.asarray(Image.open(PERSON).convert("RGB"))
    whole = np.ones(texture.shape[:2], bool)
    shares = [_sharpness(cv2.GaussianBlur(texture, (0, 0), sigma), whole, 1.0) for sigma in (0.5, 4, 8, 16)]
    assert shares == sorted(shares, reverse=True) and shares[0] >= 0.5 and shares[2] <= 0.125


def test_what_is_no_person_is_refused() -> None:
    refuse_non_person(Agreement(0.02, 0.7, False))
    refuse_misfit(Agreement(0.03, 0.9, False), 0.01)
    refuse_misfit(Agreement(0.005, 1.0, False), 0.05)
    for raised in (
        lambda: refuse_non_person(Agreement(0.09, 1.0, False)),
        lambda: refuse_non_person(Agreement(0.0, 0.1, False)),
        lambda: refuse_misfit(Agreement(0.03, 0.9, False), 0.03),
    ):
        with pytest.raises(BackendError) as caught:
            raised()
        assert caught.value.kind == "no_person" and caught.value.fix


def test_a_body_far_from_the_outline_is_said() -> None:
    inside = np.ones((SIZE, SIZE), bool)
    figure = _figure()
    assert disagreement(figure.astype(np.float32), figure, inside) is None
    assert "far apart" in disagreement(figure.astype(np.float32), np.roll(figure, 60, 1), inside)
    # What the picture does not show does not count.
    half = inside.copy()
    half[200:] = False
    assert disagreement((figure & half).astype(np.float32), figure, half) is None


def test_a_bag_before_the_legs_is_told_from_a_skirt() -> None:
    legs = np.array([[[220.0, 195], [220, 265], [220, 340]], [[180.0, 195], [180, 265], [180, 340]]])
    body = _figure()
    bag, skirt = body.copy(), body.copy()
    bag[240:300, 170:230] = True
    cv2.fillPoly(paint := skirt.astype(np.uint8), [np.array([[168, 185], [232, 185], [250, 310], [150, 310]])], 1)
    assert hangs_before_legs(body.astype(np.float32), body, legs) is None
    assert hangs_before_legs(paint.astype(np.float32), body, legs) is None
    assert "bag" in hangs_before_legs(bag.astype(np.float32), body, legs)


# --- whole pictures ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks() -> Iterator[BlazePose]:
    if missing_weights():
        pytest.skip("the pose networks have not been unpacked")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield BlazePose(torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    return load_photo(PERSON).rgb


@pytest.fixture(scope="module")
def plain(networks: BlazePose, person: np.ndarray) -> PreparedPhoto:
    return prepare(Photo(person, None, "", ""), networks)


def test_the_demo_person_raises_no_doubt(plain: PreparedPhoto) -> None:
    assert plain.warnings == () and plain.agreement.spread < 0.01


def test_alpha_that_is_a_frame_changes_nothing(networks: BlazePose, person: np.ndarray, plain: PreparedPhoto) -> None:
    height, width = person.shape[:2]
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), 90, fill=255)
    alpha = np.asarray(mask).astype(np.float32) / 255
    rgb = (person * alpha[..., None] + 128 * (1 - alpha[..., None])).astype(np.uint8)
    framed = prepare(Photo(rgb, alpha, "", ""), networks)
    assert not framed.matte_given and framed.warnings == ()
    both = (framed.alpha > 0.5, plain.alpha > 0.5)
    assert (both[0] & both[1]).sum() > 0.97 * (both[0] | both[1]).sum()


def test_hidden_legs_hang_straight(networks: BlazePose, person: np.ndarray) -> None:
    from backend.body.fit import BodyFitter

    walled = person.copy()
    walled[int(0.74 * len(person)) :] = (150, 140, 128)
    prepared = prepare(Photo(walled, None, "", ""), networks)
    assert len(prepared.warnings) == 1 and "hides both legs" in prepared.warnings[0]
    fitter = BodyFitter(load_body("neutral"))
    fit = fitter.fit(prepared)
    with torch.no_grad():
        _, joints = load_body("neutral").pose(torch.as_tensor(fit.pose), torch.as_tensor(fit.betas))
    hips, knees, ankles = (joints.numpy()[[first, first + 1]] for first in (1, 4, 7))
    thigh, shin = knees - hips, ankles - knees
    bend = np.degrees(np.arccos((thigh * shin).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shin, axis=1)))
    assert bend.max() < 35  # folded back they were at 125


def test_a_neighbour_is_noticed(networks: BlazePose, person: np.ndarray, plain: PreparedPhoto) -> None:
    height, width = person.shape[:2]
    scale = plain.crop[2] / len(plain.alpha)
    back = np.array([[scale, 0, plain.crop[0]], [0, scale, plain.crop[1]]])
    matte = cv2.warpAffine(plain.alpha, back, (width, height))[..., None]
    beside, shade = np.roll(person, int(0.27 * width), 1), np.roll(matte, int(0.27 * width), 1)
    both = person * (1 - shade) + 0.55 * beside * shade
    both = (both * (1 - matte) + person * matte).astype(np.uint8)
    assert any("Another person" in said for said in prepare(Photo(both, None, "", ""), networks).warnings)


def test_an_avatar_says_that_a_bag_hangs_before_the_legs(person: np.ndarray, tmp_path: Path) -> None:
    if missing_weights():
        pytest.skip("the pose networks have not been unpacked")
    height, width = person.shape[:2]
    carried = person.copy()
    carried[int(0.66 * height) : int(0.84 * height), int(0.37 * width) : int(0.63 * width)] = (20, 26, 48)
    Image.fromarray(carried).save(tmp_path / "photo.png")
    made = Pipeline("cpu").reconstruct(tmp_path / "photo.png", tmp_path / "a", ReconstructOptions(preset="surface"))
    assert any("hangs before both legs" in said for said in made.warnings)
    assert load_avatar(made.package).warnings == made.warnings
