"""Whatever is done to a valid file: it is scored, or there is one error that names it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avis.evaluation import evaluate_predictions
from tests.evaluation.builders import HEIGHT, WIDTH, annotation, columns, ground_truth, perfect, prediction

POLYGON = [[3, 0, 9, 0, 9, 20, 3, 20]]
UNCOMPRESSED = {"size": [HEIGHT, WIDTH], "counts": [60, 120, 420]}
TRUTH = ground_truth(
    annotation([columns(0, 5), None, POLYGON], areas=[100, None, 120], iscrowd=0),
    annotation([UNCOMPRESSED, columns(3, 9), None], video_id=2, category_id=5, bboxes=[None] * 3),
)
PREDICTIONS = [*perfect(TRUTH), prediction(columns(2, 4), 0.9), prediction([None] * 3, 0.1, video_id=2)]

NUMBERS = st.one_of(
    st.integers(-3, 700),
    st.sampled_from([2**31, 2**32, 2**63, 2**64, -(2**63), 10**30, 10**400]),
    st.floats(),
    st.booleans(),
)
TEXTS = st.one_of(st.text(max_size=5), st.text("0123456789:;<=>?@ABCOPno", max_size=12))
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FILES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any) -> list[tuple[dict | list, Any]]:
    """All containers of a JSON tree with all their keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@st.composite
def mutated(draw: st.DrawFn, content: Any) -> Any:
    """The content with one to three of its values replaced, removed or doubled."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        around = places(content)
        if not around:
            return content
        container, key = draw(st.sampled_from(around))
        what = draw(st.sampled_from(("replace", "replace", "remove", "double")))
        if what == "replace":
            container[key] = draw(VALUES)
        elif what == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return content


def assert_scored_or_refused(truth: Path, predictions: Path, culprit: Path) -> None:
    try:
        metrics = evaluate_predictions(truth, predictions)
    except ValueError as error:
        assert str(error).startswith(str(culprit))
        assert len(str(error)) < 2000  # five problems at most
    else:
        assert all(value == -1 or -1e-9 <= value <= 100 + 1e-9 for value in metrics.values())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    truth, predictions = tmp_path / "gt.json", tmp_path / "results.json"
    truth.write_text(json.dumps(TRUTH))
    predictions.write_text(json.dumps(PREDICTIONS))
    return truth, predictions


@FILES
@given(content=mutated(PREDICTIONS))
def test_mutated_predictions(files: tuple[Path, Path], content: Any):
    files[1].write_text(json.dumps(content))
    assert_scored_or_refused(*files, culprit=files[1])


@FILES
@given(content=mutated(PREDICTIONS))
def test_parsed_predictions_are_judged_as_their_file(files: tuple[Path, Path], content: Any):
    files[1].write_text(json.dumps(content))

    def outcome(predictions: Any) -> Any:
        try:
            return evaluate_predictions(TRUTH, predictions)
        except ValueError as error:
            return str(error).removeprefix(str(files[1])).removeprefix("predictions")

    assert outcome(files[1]) == outcome(json.loads(files[1].read_text()))


@FILES
@given(content=mutated(TRUTH))
def test_mutated_ground_truth(files: tuple[Path, Path], content: Any):
    files[0].write_text(json.dumps(content))
    files[1].write_text("[]")
    assert_scored_or_refused(*files, culprit=files[0])


@FILES
@given(
    which=st.sampled_from((0, 1)),
    start=st.floats(0, 1),
    length=st.integers(0, 40),
    data=st.binary(max_size=8),
)
def test_damaged_bytes(files: tuple[Path, Path], which: int, start: float, length: int, data: bytes):
    files[0].write_text(json.dumps(TRUTH))
    files[1].write_text(json.dumps(PREDICTIONS) if which else "[]")
    content = files[which].read_bytes()
    place = int(start * len(content))
    files[which].write_bytes(content[:place] + data + content[place + length :])
    assert_scored_or_refused(*files, culprit=files[which])


@pytest.mark.parametrize("which", [0, 1])
def test_endless_nesting(files: tuple[Path, Path], which: int):
    files[which].write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not valid JSON"):
        evaluate_predictions(*files)


def test_endless_nesting_in_a_mask(files: tuple[Path, Path]):
    text = json.dumps(PREDICTIONS).replace("[null, null, null]", "[" * 100_000 + "]" * 100_000)
    files[1].write_text(text)
    with pytest.raises(ValueError, match=str(files[1])):
        evaluate_predictions(*files)
