"""--eval-only over several checkpoints, in real processes and here."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from avis.engine import AVISTrainer, evaluate_checkpoint, evaluate_checkpoints, find_checkpoints
from avis.engine.evaluation_history import read_evaluations
from tests.engine.processes import small_run
from tests.engine.test_train_net import run_here, train_net


@pytest.fixture(scope="module")
def trained(pristine_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training with three checkpoints, evaluated once."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = small_run(pristine_dataset / "train.json", folder, 3)
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    torch.manual_seed(0)
    AVISTrainer(cfg).train()
    return folder


@pytest.fixture
def run(trained: Path, pristine_dataset: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def evaluate(run: Path, data: Path, *patterns: str, resume: bool = False, **keys: object) -> None:
    cfg = small_run(data / "train.json", run, 3)
    cfg.MODEL.MASK_FORMER.TEST.TOPK = keys.get("topk", 10)
    cfg.TEST.LOSS = keys.get("loss", False)
    evaluate_checkpoints(cfg, find_checkpoints(patterns or ["all"], run), resume)


def evaluated(run: Path) -> list[tuple]:
    """Of --eval-only: the checkpoint's name and its iteration."""
    return [(Path(e["checkpoint"]).name, e["iteration"]) for e in read_evaluations(run) if "run" in e]


ALL = [("model_0000000.pth", 0), ("model_0000001.pth", 1), ("model_final.pth", 2)]


def test_each_checkpoint_has_its_folder_its_row_and_its_line(
    run: Path, pristine_dataset: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    evaluate(run, pristine_dataset)
    assert evaluated(run) == ALL
    final = {}
    for name, _ in ALL:
        folder = run / "evaluations" / Path(name).stem / "inference" / "train"
        final = json.loads((folder / "metrics.json").read_text())
        assert (folder / "results.json").is_file()
    table = caplog.messages[-1].splitlines()
    assert table[0] == f"{pristine_dataset}/train.json:"
    assert [line.split("|")[1].strip() for line in table[3:]] == [Path(name).stem for name, _ in ALL]
    assert table[1].split("|")[2].strip() == "AP"
    assert float(table[-1].split("|")[2]) == pytest.approx(final["AP"], abs=0.005)
    # The training's own evaluation of the last one has the same numbers.
    training, *_, last = read_evaluations(run)
    assert training["iteration"] == last["iteration"] and "run" not in training
    for name, value in training["metrics"].items():
        assert last["metrics"][name] == value


def test_what_is_evaluated_already_is_left_out_unless_something_changed(run: Path, pristine_dataset: Path):
    evaluate(run, pristine_dataset, str(run / "model_0*.pth"))
    first = {path: path.stat().st_mtime_ns for path in run.rglob("results.json")}
    evaluate(run, pristine_dataset, resume=True)
    assert evaluated(run) == ALL
    for path, changed in first.items():
        assert path.stat().st_mtime_ns == changed
    shutil.copy(run / "model_final.pth", run / "model_0000000.pth")  # other weights of the same name
    evaluate(run, pristine_dataset, resume=True)
    assert len(evaluated(run)) == 4
    evaluate(run, pristine_dataset, resume=True, topk=3)
    assert len(evaluated(run)) == 7
    evaluate(run, pristine_dataset, str(run / "model_final.pth"), resume=True, topk=3, loss=True)
    assert len(evaluated(run)) == 7  # the same one, now with its loss
    assert "val_loss/total_loss" in read_evaluations(run)[-1]["metrics"]
    evaluate(run, pristine_dataset, str(run / "model_final.pth"), topk=3)  # again, as nothing resumes
    assert len(evaluated(run)) == 7
    assert "val_loss/total_loss" not in read_evaluations(run)[-1]["metrics"]


def test_a_damaged_checkpoint_does_not_keep_others_from_being_evaluated(run: Path, pristine_dataset: Path):
    (run / "model_0000001.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"^1 of 3 checkpoints .*model_0000001\.pth cannot be read"):
        evaluate(run, pristine_dataset)
    assert evaluated(run) == [ALL[0], ALL[2]]


def test_checkpoints_of_one_name_have_folders_of_their_own(run: Path, pristine_dataset: Path):
    (run / "other").mkdir()
    shutil.copy(run / "model_final.pth", run / "other" / "model_final.pth")
    evaluate(run, pristine_dataset, str(run / "model_final.pth"), str(run / "other" / "*.pth"))
    assert {path.name for path in (run / "evaluations").iterdir()} == {"run_model_final", "other_model_final"}


def test_one_checkpoint_is_in_the_history_too(run: Path, pristine_dataset: Path):
    cfg = small_run(pristine_dataset / "train.json", run, 3)
    cfg.MODEL.WEIGHTS = str(run / "model_0000000.pth")
    evaluate_checkpoint(cfg)
    evaluate_checkpoint(cfg, resume=True)  # of the last one
    assert evaluated(run) == [ALL[0], ALL[2]]


def test_patterns_are_expanded_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("model_1.pth", "model_2.pth", "model_[3].pth", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = find_checkpoints(["model_2.pth", "./model_?.pth", "model_[3].pth"], tmp_path)
    assert [path.name for path in found] == ["model_2.pth", "model_1.pth", "model_[3].pth"]
    assert len(find_checkpoints(["all"], tmp_path)) == 3
    with pytest.raises(FileNotFoundError, match=r"--checkpoints none\*: there is no such file"):
        find_checkpoints(["model_1.pth", "none*"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"--checkpoints all: there is none in "):
        find_checkpoints(["all"], tmp_path / "absent")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoints", "a.pth"], "--checkpoints is for --eval-only"),
        (["--eval-only", "--checkpoints", "SEED", "1"], "--checkpoints needs at least one file"),
        (
            ["--eval-only", "--checkpoints", "a.pth", "MODEL.DEVICE", "cpu"],
            "--checkpoints a.pth: there is no",
        ),
    ],
)
def test_mistakes_of_the_command_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert message in run_here(monkeypatch, capsys, *words)


@pytest.mark.slow
def test_two_processes_evaluate_several(synthavis_root: Path, tmp_path: Path):
    keys = {"OUTPUT_DIR": tmp_path, "SOLVER__MAX_ITER": 2, "SOLVER__CHECKPOINT_PERIOD": 1, "TEST__LOSS": True}
    assert train_net(synthavis_root, **keys).returncode == 0
    patterns = ["--eval-only", "--num-gpus", "2", "--checkpoints", tmp_path / "model_*.pth"]
    done = train_net(synthavis_root, patterns, **keys)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| model_0000000 " in done.stdout and "val_loss/total_loss" in done.stdout
    training, first, final = read_evaluations(tmp_path)
    assert training["metrics"] == final["metrics"] and first["iteration"] == 0
    patterns[2] = "1"
    again = train_net(synthavis_root, [*patterns, "--resume"], **keys)
    assert again.stdout.count("is evaluated already") == 2
