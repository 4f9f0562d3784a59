"""The recipe of CONTRIBUTING.md for "nothing changes" shows that nothing changes, and what has."""

import ast
import runpy
import sys

import pytest
import torch

from tests.docs.examples import ROOT, SMALL, users_folder, write_files
from tests.docs.markdown import code_blocks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    with users_folder(tmp_path, monkeypatch) as path:
        yield path
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_two_fingerprints_are_equal_unless_something_has_changed(folder, monkeypatch, capsys):
    write_files(code_blocks(ROOT / "CONTRIBUTING.md"), folder)
    data = ["DATASETS.TRAIN", ("my_data/train.json",), "DATASETS.TEST", ("my_data/val.json",)]

    def run(script: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")

    for name, change in (
        ("before", []),
        ("after", []),
        ("heavier", ["MODEL.MASK_FORMER.DICE_WEIGHT", 5.05]),
        ("deaf", ["MODEL.FUSION.NAME", ""]),
    ):
        run("fingerprint.py", "configs/quickstart.yaml", f"{name}.pt", *data, *SMALL, *change)
    capsys.readouterr()
    run("compare.py", "before.pt", "after.pt")
    assert capsys.readouterr().out == "[] []\n"

    run("compare.py", "before.pt", "heavier.pt")
    names, values = capsys.readouterr().out.strip().split("] [")
    assert names == "["
    assert {"loss loss_dice", "gradient backbone.stem.conv1.weight"} <= set(ast.literal_eval(f"[{values}"))
    assert "weight " not in values and "loss loss_ce'" not in values

    run("compare.py", "before.pt", "deaf.pt")
    names = ast.literal_eval(capsys.readouterr().out.split("] [")[0] + "]")
    assert any(name.startswith("weight fusion.") for name in names)
