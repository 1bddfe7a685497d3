"""What the add-on makes of the backend's answers about large models. Needs no bpy."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from backend.models import catalogue, states  # noqa: E402  (after the path)
from backend.models.store import Store  # noqa: E402
from backend.options import SOURCES  # noqa: E402
from humansplat_blender.models import BUILT_IN, MODELS, ModelState, card_note, models_from_json  # noqa: E402


@pytest.fixture
def answer(tmp_path: Path) -> dict[str, Any]:
    """The backend's own, of an empty store."""
    return states.describe_models(Store(tmp_path))


def state(answer: dict[str, Any], **changes: Any) -> ModelState:
    value = copy.deepcopy(answer)
    value["models"][0].update(changes)
    return models_from_json(value).states["mv-adapter"]


def test_both_sides_know_the_same_models(answer: dict[str, Any], tmp_path: Path) -> None:
    found = models_from_json(answer)
    assert list(found.states) == list(MODELS) == list(catalogue.MODELS) and (BUILT_IN, *MODELS) == SOURCES
    assert MODELS == {name: model.title for name, model in catalogue.MODELS.items()}
    assert found.folder == str(tmp_path) and found.free > 0
    for name, model in catalogue.MODELS.items():
        shown = found.states[name]
        assert [licence.key for licence in shown.licences] == [licence.key for licence in model.licences]
        assert (shown.size, shown.least_memory) == (model.size(), model.least_memory)
        assert not (shown.accepted or shown.installed or shown.usable)


def test_a_model_s_state_is_said_in_a_sentence(answer: dict[str, Any]) -> None:
    when = "2026-11-30T12:00:00"
    assert state(answer).sentence == "MV-Adapter is not installed: about 10.7 GB to download."
    begun = state(answer, on_disk=3_000_000_000)
    assert "3.0 GB of about 10.7 GB are there" in begun.sentence and not begun.usable
    there = state(answer, installed=when, on_disk=10_700_000_000)
    assert there.sentence == "MV-Adapter is installed, but its licence is not accepted." and not there.usable
    ready = state(answer, installed=when, accepted=when, on_disk=10_700_000_000)
    assert ready.sentence == "MV-Adapter is installed (10.7 GB)." and ready.usable
    hurt = state(answer, installed=when, accepted=when, faults=["vae/config.json is missing"])
    assert "is damaged: vae/config.json is missing." in hurt.sentence and not hurt.usable


def test_the_card_is_compared_with_what_the_model_needs(answer: dict[str, Any]) -> None:
    model = state(answer)
    assert card_note(model, {}) == ""
    assert "none was found" in card_note(model, {"device": "cpu", "device_memory": 0})
    small = card_note(model, {"device": "cuda", "device_memory": 8_500_000_000})
    assert small == ("The graphics card is too small for MV-Adapter: it has 8 GB of memory, and 14 GB are needed.")
    assert card_note(model, {"device": "cuda", "device_memory": 24_000_000_000}) == ""
    assert card_note(model, {"device": "cuda"}) == "" == card_note(model, {"device": "cuda", "device_memory": "much"})


@pytest.mark.parametrize(
    "changes",
    [
        {"title": 5}, {"size": -1}, {"size": 1.5}, {"size": True}, {"licences": 3}, {"faults": [3]},
        {"licences": [{"key": "a", "name": "b", "address": "file:///etc/passwd", "forbids": ""}]},
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(answer: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        state(answer, **changes)
    for wrong in ({}, [], {"models": 5}, {"models": [], "folder": None, "free": 1}):
        with pytest.raises(ValueError):
            models_from_json(wrong)
