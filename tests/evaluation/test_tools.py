"""The command lines."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  registers the models
from avis.config import get_avis_cfg
from avis.evaluation import evaluate_predictions
from tests import preloaded
from tests.evaluation.builders import annotation, columns, ground_truth, prediction

ROOT = Path(__file__).parents[2]
SMALL = [
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1",
    "MODEL.MASK_FORMER.DEC_LAYERS", "2",
    "INPUT.MIN_SIZE_TEST", "64",
]  # fmt: skip


THRESHOLDS = {"AP_score_threshold": 0.0, "HOTA_score_threshold": 0.5, "FSLA_score_threshold": 0.5}


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """A command line for evaluate.py: one of two objects is found."""
    truth = ground_truth(annotation(columns(0, 5)), annotation(columns(3, 9), category_id=5))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps([prediction(columns(0, 5))]))
    files = ["--gt", tmp_path / "gt.json", "--predictions", tmp_path / "results.json"]
    return [str(argument) for argument in (*files, "--output", tmp_path / "out/metrics.json")]


def run_evaluate(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    runpy.run_path(str(ROOT / "tools/evaluate.py"), run_name="__main__")


def test_evaluate(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    run_evaluate(inputs, monkeypatch)
    printed = capsys.readouterr()
    assert "| 50.00 | 50.00 |" in " ".join(printed.out.split())
    assert printed.err == ""
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    expected = evaluate_predictions(tmp_path / "gt.json", tmp_path / "results.json", score_threshold=0.5)
    assert metrics == expected | THRESHOLDS
    assert metrics["AP"] == pytest.approx(50)


def test_evaluate_without_low_scores(inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = tmp_path / "results.json"
    tracks = [
        prediction(columns(0, 5), 0.9),
        prediction(columns(20, 25), 0.3),
        prediction(columns(3, 9), 0.1),
    ]
    results.write_text(json.dumps(tracks))
    run_evaluate([*inputs, "--min-score", "0.3"], monkeypatch)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    results.write_text(json.dumps(tracks[:1]))
    thresholds = {**THRESHOLDS, "AP_score_threshold": 0.3}
    assert metrics == evaluate_predictions(tmp_path / "gt.json", results) | thresholds
    assert metrics == evaluate_predictions(tmp_path / "gt.json", tracks, min_score=0.3) | thresholds
    assert metrics["HOTA"] > evaluate_predictions(tmp_path / "gt.json", tracks)["HOTA"]


def test_evaluate_by_both_protocols(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    run_evaluate([*inputs, "--protocol", "both"], monkeypatch)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("| standard ") == printed.out.count("| aviseg ") == 3
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    files = tmp_path / "gt.json", tmp_path / "results.json"
    assert list(metrics) == ["standard", "aviseg"]
    assert metrics["standard"] == evaluate_predictions(*files, score_threshold=0.5) | THRESHOLDS
    assert metrics["aviseg"] == evaluate_predictions(*files, "aviseg")


@pytest.mark.parametrize("protocol", ["aviseg", "aviseg-dense"])
def test_evaluate_as_released_with_null_frames(
    protocol: str,
    inputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    # two sound at a time, of three in all
    masks = [[columns(a, a + 5) if frame != a // 10 else None for frame in range(3)] for a in (0, 10, 20)]
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth(*map(annotation, masks))))
    (tmp_path / "results.json").write_text(json.dumps([prediction(mask) for mask in masks]))
    run_evaluate([*inputs, "--protocol", protocol], monkeypatch)
    printed = capsys.readouterr()
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    warning = "warning: protocol aviseg: FSLA is undefined (1 videos): video 1, frame 0: "
    assert printed.err.startswith(warning) == (metrics["FSLA"] == -1) == (protocol == "aviseg")


def test_evaluate_bad_input(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "results.json").write_text(json.dumps([prediction(columns(0, 5), video_id=7)]))
    with pytest.raises(SystemExit) as exit_info:
        run_evaluate(inputs, monkeypatch)
    assert exit_info.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(
        f"error: {tmp_path}/results.json: entry 0: video 7 is not in the ground truth"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_evaluate_names_a_malformed_mask_whoever_reads_it(
    jobs: str,
    inputs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    track = prediction(columns(0, 5))
    track["segmentations"][2] = {**track["segmentations"][2], "counts": "0d0"}
    (tmp_path / "results.json").write_text(json.dumps([track]))
    with pytest.raises(SystemExit) as ended:
        run_evaluate([*inputs, "--jobs", jobs], monkeypatch)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(f"error: {tmp_path}/results.json: entry 0: video 1: frame 2: the RLE covers 20")
    assert len(error.splitlines()) == 1


@pytest.fixture(scope="module")
def listening(synthavis_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which check_listening.py has compared three sounds; what it printed is in stdout.txt."""
    folder = tmp_path_factory.mktemp("listening")
    config = ROOT / "configs/quickstart.yaml"
    torch.manual_seed(0)
    model = build_model(get_avis_cfg(config, SMALL))
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    command = [
        sys.executable, ROOT / "tools/check_listening.py",
        "--config-file", config, "--weights", folder / "weights.pth", *SMALL,
        "DATASETS.TEST", f"('{synthavis_root}/val.json',)", "OUTPUT_DIR", folder / "output",
    ]  # fmt: skip
    done = preloaded.run(command)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


@pytest.mark.slow
def test_check_listening_prints_the_table_last(listening: Path):
    *_, header, _, own, silent, shuffled = (listening / "stdout.txt").read_text().splitlines()
    assert header.replace(" ", "") == "|themodelhears|AP|AP50|AP75|AR1|AR10|"
    assert own.startswith("| own sound")
    assert silent.startswith("| silence")
    assert shuffled.startswith("| another video's sound")


@pytest.mark.slow
def test_check_listening_writes_all_numbers(listening: Path):
    folder = listening / "output/listening"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == ["own", "silent", "shuffled"]
    for sound, numbers in metrics.items():
        assert numbers == json.loads((folder / sound / "inference/val/metrics.json").read_text())


@pytest.mark.slow
def test_check_listening_changes_the_sound(listening: Path):
    results = (listening / "output/listening").glob("*/inference/val/results.json")
    assert len({path.read_text() for path in results}) == 3


@pytest.mark.slow
def test_check_listening_leaves_the_training_run_alone(listening: Path):
    assert [path.name for path in (listening / "output").iterdir()] == ["listening"]
