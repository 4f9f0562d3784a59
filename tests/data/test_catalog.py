"""Data sets by name, and by the path of their annotations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from avis.data import ensure_registered, get_metadata
from avis.formats.categories import AVISEG_CATEGORIES
from tests.small_dataset import edit


def test_category_ids_may_have_gaps_and_any_order(train_json):
    edit(train_json, lambda content: content["categories"].reverse())
    metadata = get_metadata(str(train_json))
    assert metadata.thing_classes == ["violin", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert metadata.evaluator_type == "avis"


def test_a_json_path_is_a_data_set_name(train_json):
    ensure_registered(str(train_json))
    ensure_registered(str(train_json))
    assert len(DatasetCatalog.get(str(train_json))) == 3


def test_the_known_splits_are_registered():
    for name in ("avis_train", "avis_val", "avis_test", "synthavis_train", "synthavis_val", "synthavis_test"):
        assert name in DatasetCatalog.list()
    assert Path(MetadataCatalog.get("synthavis_val").json_file).parts[-2:] == ("synthavis", "val.json")
    assert len(set(AVISEG_CATEGORIES)) == 26


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'avis_trian'.*avis_train"):
        ensure_registered("avis_trian")


@pytest.mark.parametrize(
    ("splits", "used", "warns"),
    [
        (("train", "test"), "test.json", True),
        (("train", "val", "test"), "val.json", False),
        (("train",), "val.json", False),
    ],
)
def test_avis_val_is_the_test_split_where_there_is_no_other(tmp_path, splits, used, warns):
    for split in splits:
        (tmp_path / f"{split}.json").write_text("{}")
    code = "from avis.data.catalog import json_file_of; print(json_file_of('avis_val'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DETECTRON2_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tmp_path / used), done.stderr
    assert ("AVISeg v1 has no val.json" in done.stderr) == warns
