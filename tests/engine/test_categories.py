"""A class is its name: through training, checkpoints, evaluation and prediction, in whatever order."""

import json
import os
import sys
from pathlib import Path

import pytest
import safetensors
import torch
from detectron2.config import CfgNode

from avis import __version__
from avis.config import get_avis_cfg
from avis.engine import AVISTrainer
from avis.modeling import load_trained_model
from tests import preloaded
from tests.inference.conftest import OVERRIDES
from tests.small_dataset import edit, renumber, write_split

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "quickstart.yaml"
LAYER = "sem_seg_head.predictor.class_embed"
# What a training of one iteration takes.
TRAINING = (
    "INPUT.MIN_SIZE_TRAIN", "(48,)",
    "INPUT.SAMPLING_FRAME_NUM", "2",
    "MODEL.DEVICE", "cpu",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "1",
    "SOLVER.MAX_ITER", "1",
    "SEED", "1",
)  # fmt: skip


def configure(output: Path, train: list[Path], test: list[Path] = (), **model: object) -> CfgNode:
    names = {"DATASETS.TRAIN": tuple(map(str, train)), "DATASETS.TEST": tuple(map(str, test))}
    pairs = [item for pair in names.items() for item in pair]
    cfg = get_avis_cfg(CONFIG, [*OVERRIDES, *TRAINING, *pairs, "OUTPUT_DIR", str(output)])
    for key, value in model.items():
        cfg.MODEL[key] = value
    return cfg


def start(cfg: CfgNode, resume: bool = False) -> AVISTrainer:
    torch.manual_seed(0)
    trainer = AVISTrainer(cfg)
    trainer.resume_or_load(resume)
    return trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_split(folder, "train", num_videos=1)
    renumber(write_split(folder, "turned", num_videos=1), ["dog", "violin"])
    renumber(write_split(folder, "dogs", num_videos=1), ["dog"])
    edit(write_split(folder, "cellos", num_videos=1), lambda c: c["categories"][0].update(name="cello"))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a training on violins and dogs."""
    output = tmp_path_factory.mktemp("trained")
    start(configure(output, [data / "train.json"])).train()
    return output / "model_final.pth"


def test_checkpoints_say_what_they_are(trained: Path):
    checkpoint = torch.load(trained, weights_only=True)
    assert checkpoint["categories"] == [{"id": 3, "name": "violin"}, {"id": 7, "name": "dog"}]
    assert checkpoint["version"] == __version__
    assert CfgNode.load_cfg(checkpoint["config"]).MODEL.SEM_SEG_HEAD.NUM_CLASSES == 2


def evaluate(trained: Path, test: Path, output: Path) -> list[tuple[str, float]]:
    """The name and score of each track in results.json."""
    cfg = configure(output, [test], [test], WEIGHTS=str(trained))
    cfg.MODEL.MASK_FORMER.TEST.TOPK = 1000  # whatever the classes, all that is found
    AVISTrainer.test(cfg, load_trained_model(cfg))
    results = json.loads((output / "inference" / test.stem / "results.json").read_text())
    names = {c["id"]: c["name"] for c in json.loads(test.read_text())["categories"]}
    return [(names[track["category_id"]], track["score"]) for track in results]


def test_a_test_set_is_evaluated_by_name(trained: Path, data: Path, tmp_path: Path):
    expected = evaluate(trained, data / "train.json", tmp_path)
    assert {name for name, _ in expected} == {"dog", "violin"}
    assert evaluate(trained, data / "turned.json", tmp_path) == expected
    assert evaluate(trained, data / "dogs.json", tmp_path) == [t for t in expected if t[0] == "dog"]


@pytest.mark.parametrize("tests", [["cellos"], ["train", "cellos"]])
def test_a_test_set_of_other_categories_is_refused_before_training(
    data: Path, tmp_path: Path, tests: list[str]
):
    trainer = start(configure(tmp_path, [data / "train.json"], [data / f"{name}.json" for name in tests]))
    with pytest.raises(ValueError, match=r"cellos\.json' has categories that the model has not: cello"):
        trainer.train()
    assert not list(tmp_path.rglob("*.*"))


def test_no_test_set_is_evaluated_if_one_is_refused(trained: Path, data: Path, tmp_path: Path):
    cfg = configure(tmp_path, [], [data / "train.json", data / "cellos.json"], WEIGHTS=str(trained))
    with pytest.raises(ValueError, match="cello"):
        AVISTrainer.test(cfg, load_trained_model(cfg))
    assert not list(tmp_path.iterdir())


def test_training_sets_in_several_orders_are_evaluated_by_name(data: Path, tmp_path: Path):
    cfg = configure(tmp_path, [data / "train.json", data / "turned.json"], [data / "dogs.json"])
    start(cfg).train()
    results = json.loads((tmp_path / "inference" / "dogs" / "results.json").read_text())
    assert {track["category_id"] for track in results} <= {1}
    assert (tmp_path / "inference" / "dogs" / "metrics.json").exists()


def test_fine_tuning_brings_the_class_layer_into_the_order_of_the_names(
    trained: Path, data: Path, tmp_path: Path
):
    saved = torch.load(trained, weights_only=True)["model"]
    trainer = start(configure(tmp_path, [data / "turned.json"], WEIGHTS=str(trained)))
    own = trainer.model.state_dict()
    for name in (f"{LAYER}.weight", f"{LAYER}.bias"):
        torch.testing.assert_close(own[name], saved[name][[1, 0, 2]], atol=0, rtol=0)
    others = [name for name in saved if not name.startswith(LAYER)]
    assert all(torch.equal(own[name], saved[name]) for name in others)


def test_fine_tuning_on_other_names_starts_the_class_layer_anew(
    trained: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    cfg = configure(tmp_path, [data / "cellos.json"])
    initial = start(cfg).model.state_dict()
    cfg.MODEL.WEIGHTS = str(trained)
    trainer = start(cfg)
    own = trainer.model.state_dict()
    assert torch.equal(own[f"{LAYER}.weight"], initial[f"{LAYER}.weight"])
    assert "the class layer starts anew" in caplog.text and "violin, dog" in caplog.text
    trainer.train()
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert [category["name"] for category in saved["categories"]] == ["cello", "dog"]


def test_a_run_is_not_resumed_with_other_categories(trained: Path, data: Path):
    with pytest.raises(
        ValueError, match=r"cannot resume from .*its categories are violin, dog, .*cello, dog"
    ):
        start(configure(trained.parent, [data / "cellos.json"]), resume=True)


def test_a_run_is_resumed_with_categories_in_another_order(data: Path, tmp_path: Path):
    def train(output: Path, name: str, iterations: int) -> dict[str, torch.Tensor]:
        cfg = configure(output, [data / f"{name}.json"])
        cfg.SOLVER.MAX_ITER = iterations
        start(cfg, resume=True).train()
        return torch.load(output / "model_final.pth", weights_only=True)

    train(tmp_path / "resumed", "train", 1)
    resumed = train(tmp_path / "resumed", "turned", 2)
    train(tmp_path / "straight", "train", 1)
    straight = train(tmp_path / "straight", "train", 2)
    assert resumed["categories"] == straight["categories"]
    torch.testing.assert_close(resumed["model"], straight["model"], atol=0, rtol=0)


def test_a_run_of_before_that_has_no_names_is_resumed(trained: Path, data: Path, tmp_path: Path):
    older = torch.load(trained, weights_only=True)
    for key in ("categories", "config", "version"):
        del older[key]
    torch.save(older, tmp_path / "model_final.pth")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    assert start(configure(tmp_path, [data / "train.json"]), resume=True).start_iter == 1


def run_tool(name: str, folder: Path, *arguments: object) -> None:
    command = [sys.executable, ROOT / "tools" / f"{name}.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DETECTRON2_DATASETS": str(folder / "none")}
    done = preloaded.run(command, folder, environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["pth", "converted.pth", "safetensors", "without names"])
def test_predictions_have_the_weights_names_without_the_data_set(
    trained: Path, data: Path, tmp_path: Path, kind: str
):
    weights = trained
    if kind == "without names":
        weights = tmp_path / "w.pth"
        torch.save({"model": torch.load(trained, weights_only=True)["model"]}, weights)
    elif kind != "pth":
        weights = tmp_path / f"w.{kind}"
        run_tool("convert_weights", tmp_path, trained, weights)
    run_tool(
        "predict", tmp_path, "--config-file", CONFIG, "--weights", weights, "--output", "out",
        "--input", data / "train" / "JPEGImages" / "clip1", "--fps", 1, "--score-threshold", 0.0, *OVERRIDES,
    )  # fmt: skip
    report = json.loads((tmp_path / "out" / "clip1.json").read_text())
    expected = [{"id": 3, "name": "violin"}, {"id": 7, "name": "dog"}]
    if kind == "without names":
        expected = [{"id": 0, "name": "class 0"}, {"id": 1, "name": "class 1"}]
    assert report["categories"] == expected
    names = {category["id"]: category["name"] for category in expected}
    assert report["tracks"]
    assert all(track["category"] == names[track["category_id"]] for track in report["tracks"])


def test_metadata_of_safetensors_is_readable_by_others(trained: Path, tmp_path: Path):
    run_tool("convert_weights", tmp_path, trained, tmp_path / "w.safetensors")
    with safetensors.safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["categories"])[1] == {"id": 7, "name": "dog"}
    assert metadata["version"] == __version__
    assert "NUM_CLASSES: 2" in metadata["config"]
