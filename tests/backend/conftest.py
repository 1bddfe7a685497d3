"""Makes the repository root and ``tests/`` importable, from wherever pytest is started; a person for many tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
for _folder in (_ROOT / "tests", _ROOT):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from backend.body.model import load_body  # noqa: E402  (after the path)
from backend.photo import PreparedPhoto  # noqa: E402
from backend.pipeline import Pipeline  # noqa: E402
from backend.prepare import prepare  # noqa: E402
from backend.prepare.image import Photo  # noqa: E402
from backend.research.evaluation.mannequins import make_mannequin  # noqa: E402


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """One for each module, unless it has its own."""
    return Pipeline("cpu")


@pytest.fixture(scope="module")
def photo(pipeline: Pipeline) -> PreparedPhoto:
    """A standing person, prepared."""
    rgb = make_mannequin(load_body("neutral"), "relaxed", yaw=5.0, seed=7).rgb
    return prepare(Photo(rgb, None, "person", ""), pipeline.networks())
