"""Every test set has a folder of its own."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.config import get_avis_cfg
from avis.engine.inference_folders import distinct_names, inference_dir

CASES = {
    ("avis_val",): ["avis_val"],
    ("data/val.json",): ["val"],
    ("avis.v1", "avis.v2"): ["avis.v1", "avis.v2"],
    ("a/val.json", "b/val.json"): ["a_val", "b_val"],
    ("a/val.json", "b/val.json", "b/test.json"): ["a_val", "b_val", "test"],
    ("x/a/val.json", "y/a/val.json", "y/b/val.json"): ["x_a_val", "y_a_val", "b_val"],
    ("val", "a/val.json"): ["val", "a_val"],
    ("a_val", "a/val.json", "b/val.json"): None,
    ("mine/val", "yours/val"): ["mine_val", "yours_val"],
}


@pytest.mark.parametrize("names", CASES)
def test_names_are_as_short_as_they_can_be(names: tuple[str, ...]):
    found = distinct_names(names)
    assert len(set(found)) == len(names)
    assert CASES[names] is None or found == CASES[names]


def test_a_file_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"DATASETS.TEST: a/val.json, \./a/val.json would write the same"):
        distinct_names(["a/val.json", "./a/val.json", "b/val.json"])


paths = st.lists(st.sampled_from(["a", "b", "a_b", "val"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(paths.map(lambda path: f"{path}.json"), min_size=1, max_size=6, unique=True))
def test_no_two_test_sets_share_a_folder(names: list[str]):
    try:
        found = distinct_names(names)
    except ValueError:
        return
    assert len(set(found)) == len(names)
    assert all(
        os.path.basename(name).removesuffix(".json") in folder
        for name, folder in zip(names, found, strict=True)
    )


def test_folders_follow_the_config():
    cfg = get_avis_cfg("", ["DATASETS.TEST", "('a/val.json', 'b/val.json')", "OUTPUT_DIR", "runs/1"])
    assert str(inference_dir(cfg, "b/val.json")) == "runs/1/inference/b_val"
    assert str(inference_dir(cfg, "c/val.json")) == "runs/1/inference/c_val"
    assert str(inference_dir(cfg, "c/test.json")) == "runs/1/inference/test"
