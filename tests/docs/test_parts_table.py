"""The table of all parts in docs/extending.md is so."""

import importlib
import re

import pytest
from detectron2.config import CfgNode

from avis.config import get_avis_cfg
from tests.docs.examples import (
    ROOT,
    commands,
    config_of,
    train_a_step,
    users_folder,
    write_files,
)
from tests.docs.markdown import code_blocks, table_below

PAGE = ROOT / "docs/extending.md"
ROWS = {re.sub(r"\[(.+)\]\(.+\)", r"\1", row["part"]): row for row in table_below(PAGE, "All parts")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    with users_folder(tmp_path, monkeypatch) as path:
        yield path


def key_value(cfg: CfgNode, key: str) -> object:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def test_the_table_has_every_part():
    assert list(ROWS) == [
        "image backbone", "audio backbone", "fusion", "pixel decoder", "decoder", "audio query",
        "temporal fusion", "mask head", "loss",
    ]  # fmt: skip


@pytest.mark.parametrize("part", ROWS)
def test_the_default_of_the_key_is_in_the_registry(part):
    row = ROWS[part]
    module, _, name = row["registry"].strip("`").rpartition(".")
    registry = getattr(importlib.import_module(module), name)
    default = key_value(get_avis_cfg(), row["config key"].strip("`"))
    if part == "temporal fusion":  # the baseline has none
        default = default or key_value(get_avis_cfg("configs/avism_R50.yaml"), row["config key"].strip("`"))
    names = default if isinstance(default, list) else [default]
    assert names and all(name in registry for name in names)


@pytest.mark.parametrize("part", ROWS)
def test_the_linked_example_is_built_from_the_row_s_key_and_trains(part, folder):
    row = ROWS[part]
    anchor = re.search(r"\(#(.+)\)", row["part"])[1]
    blocks = [block for block in code_blocks(PAGE) if block.section == anchor]
    write_files(blocks, folder)
    (command,) = commands(blocks)
    key, registry = row["config key"].strip("`"), row["registry"].strip("`").rpartition(".")[2]
    assert key in command
    (module,) = (block.text for block in blocks if block.language == "python")
    assert f"@{registry}.register(" in module
    built_as = "input_shape" if "input_shape" in row["built as"] else "shapes"
    assert re.search(rf"cfg: CfgNode, {built_as}: ", module)
    train_a_step(config_of(command))
