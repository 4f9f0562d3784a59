"""Every example of docs/extending.md does what the page says."""

import importlib
import os
import runpy
import sys

import pytest

from avis.engine import AVISTrainer
from avis.modeling import build_model
from tests.docs.examples import (
    ROOT,
    check_predictions,
    commands,
    config_of,
    train_a_step,
    users_folder,
    write_files,
)
from tests.docs.markdown import Block, code_blocks

BLOCKS = code_blocks(ROOT / "docs/extending.md")
# The anchors of the parts of a model, and the class that the model then has.
PARTS = {
    "the-smallest-example": "SumFusion",
    "image-backbone": "ConvBackbone",
    "audio-backbone": "WindowTransformer",
    "fusion": "GatedFusion",
    "pixel-decoder": "PlainFPN",
    "decoder": "FrameDecoder",
    "audio-query": "AttentiveAudioQuery",
    "temporal-fusion": "RecurrentFusion",
    "mask-head": "CosineMaskHead",
    "loss": "SilenceLoss",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    with users_folder(tmp_path, monkeypatch) as path:
        yield path


def blocks_of(section: str) -> list[Block]:
    return [block for block in BLOCKS if block.section == section]


def test_every_block_of_code_is_run_by_a_test_below():
    assert {block.section for block in BLOCKS} == {*PARTS, "add-a-part", "data-set", "metric"}
    assert {block.language for block in BLOCKS} == {"python", "bash", "yaml"}
    assert all(block.path for block in BLOCKS if block.language != "bash")


@pytest.mark.parametrize("section", PARTS)
def test_a_part_trains_in_the_model_and_predicts(section, folder):
    blocks = blocks_of(section)
    write_files(blocks, folder)
    (command,) = commands(blocks)
    cfg = config_of(command)
    model, _ = train_a_step(cfg)
    assert PARTS[section] in {type(module).__name__ for module in model.modules()}
    check_predictions(cfg, model)


def test_the_keys_of_a_part_reach_it(folder):
    """A file and the command line may set what `add_config` has added."""
    write_files([*blocks_of("add-a-part"), *blocks_of("fusion"), *blocks_of("loss")], folder)
    (of_file,), (of_fusion,), (of_loss,) = (
        commands(blocks_of(section)) for section in ("add-a-part", "fusion", "loss")
    )
    for command in (of_file, of_fusion):
        gates = [fusion.gate.bias for fusion in build_model(config_of(command)).fusion.values()]
        assert len(gates) == 3 and all((bias == 1.0).all() for bias in gates)
    cfg = config_of(of_loss)
    _, losses = train_a_step(cfg)
    cfg.MODEL.LOSSES.SILENCE_WEIGHT *= 2
    _, doubled = train_a_step(cfg)
    assert losses["loss_silence"] > 0
    assert doubled["loss_silence"].item() == pytest.approx(2 * losses["loss_silence"].item(), rel=1e-5)


def test_a_json_and_a_registered_name_are_data_sets(folder):
    blocks = blocks_of("data-set")
    write_files(blocks, folder)
    by_path, by_name = map(config_of, commands(blocks))
    assert by_path.DATASETS.TRAIN == ("my_data/train.json",)
    assert by_name.DATASETS.TRAIN == ("concerts_train",)
    losses = [train_a_step(cfg)[1] for cfg in (by_path, by_name)]
    assert losses[0] == losses[1]


def test_a_metric_is_computed_from_results_and_after_every_evaluation(folder, monkeypatch, capsys):
    write_files(blocks_of("metric"), folder)
    monkeypatch.syspath_prepend(folder)
    of_results, of_training = commands(blocks_of("metric"))
    assert of_training[:2] == ["-m", "my_package.train"]
    assert (folder / "my_package/train.py").is_file()

    cfg = config_of(["tools/train_net.py", *of_training[2:]])
    trainer = importlib.import_module("my_package.train").MyTrainer
    assert issubclass(trainer, AVISTrainer)
    cfg.OUTPUT_DIR = "output"
    value = trainer.test(cfg, build_model(cfg).eval())["avis"]["MBIoU"]
    assert 0 < value < 100

    monkeypatch.setattr(sys, "argv", of_results[1:])
    del sys.modules["my_package.mean_best_iou"]
    runpy.run_module(of_results[1], run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == f"{value:.1f}"
    assert os.path.samefile(of_results[-1], folder / "output/inference/val/results.json")
