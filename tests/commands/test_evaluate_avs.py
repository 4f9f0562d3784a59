"""AVSBench as tasks: converted, trained, evaluated and saved as maps."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from avis.commands.convert import main as convert
from avis.commands.evaluate_avs import main
from avis.config import get_avis_cfg
from avis.engine import AVISTrainer
from avis.formats.categories import voc_colour
from tests.evaluation.builders import HEIGHT, LENGTH, WIDTH, annotation, columns, ground_truth, prediction
from tests.formats.foreign_files import write, write_avss, write_s4

ROOT = Path(__file__).parents[2]
# Two dogs overlap by five columns; the one that scores more comes first.
TRUTH = ground_truth(annotation(columns(0, 10)), num_videos=1)
TWO_VIDEOS = ground_truth(annotation(columns(0, 2)), num_videos=2)
PREDICTED = [prediction(columns(0, 8), 0.9), prediction(columns(5, 12), 0.8, category_id=5)]


def run(folder: Path, predicted: list[dict], *options: object, truth: dict = TRUTH) -> dict[str, float]:
    """The metrics that the command writes."""
    gt, results = write(folder / "gt.json", truth), write(folder / "results.json", predicted)
    output = folder / "metrics.json"
    main([str(word) for word in ("--gt", gt, "--predictions", results, "--output", output, *options)])
    return json.loads(output.read_text())


def test_what_sounds_is_scored_without_classes(tmp_path: Path, capsys: pytest.CaptureFixture):
    metrics = run(tmp_path, [*PREDICTED, prediction(columns(20, 30), 0.5)])
    # 10 columns are right, of 12 predicted and 10 true; at thresholds above 0.8 it is 8 of 8.
    f = max(1.3 * p * r / (0.3 * p + r) for p, r in ((10 / 12, 1), (1, 8 / 10)))
    assert metrics == pytest.approx({"J": 100 * 10 / 12, "F": 100 * f, "score_threshold": 0.5})
    assert f"{100 * f:.2f}" in capsys.readouterr().out
    elsewhere = [{**entry, "category_id": 77} for entry in PREDICTED]
    assert run(tmp_path, elsewhere)["J"] == metrics["J"]


def test_classes_are_scored_where_the_better_score_wins(tmp_path: Path):
    metrics = run(tmp_path, PREDICTED, "--task", "avss")
    # Background 18 of 20, dog 8 of 10, cat 0 of 4.
    assert metrics["mIoU"] == pytest.approx(100 * (18 / 20 + 8 / 10 + 0) / 3)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, [{**PREDICTED[0], "category_id": 77}], "--task", "avss")


def test_maps_are_pictures_named_as_the_frames(tmp_path: Path):
    run(tmp_path, PREDICTED, "--save-maps", tmp_path / "avs")
    run(tmp_path, PREDICTED, "--save-maps", tmp_path / "avss", "--task", "avss")
    names = [f"{frame}.png" for frame in range(LENGTH)]
    assert sorted(path.name for path in (tmp_path / "avs/1").iterdir()) == names
    white = np.zeros((HEIGHT, WIDTH), np.uint8)
    white[:, :12] = 255
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "avs/1/2.png")), white)
    picture = Image.open(tmp_path / "avss/1/0.png")
    assert np.asarray(picture)[0, :13].tolist() == [2] * 8 + [5] * 4 + [0]
    assert [picture.convert("RGB").getpixel((x, 0)) for x in (0, 9, 20)] == [
        voc_colour(2), voc_colour(5), (0, 0, 0),
    ]  # fmt: skip
    assert (voc_colour(2), voc_colour(5)) == ((0, 128, 0), (128, 0, 128))


@pytest.mark.parametrize(
    ("truth", "options", "message"),
    [
        ({**TRUTH, "annotations": []}, (), "has no annotations"),
        (TWO_VIDEOS, ("--task", "avss", "--save-maps", "maps"), "300"),
        (TWO_VIDEOS, ("--save-maps", "maps"), "would be a picture of 1 and of 2"),
    ],
)  # fmt: skip
def test_bad_input_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    truth: dict, options: tuple[str, ...], message: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    truth = json.loads(json.dumps(truth))
    if message == "300":
        truth["categories"].append({"id": 300, "name": "horse"})
    elif "picture" in message:
        truth["videos"][1]["file_names"] = truth["videos"][0]["file_names"]
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, PREDICTED, *options, truth=truth)
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


# By name: what writes it, its classes, the task, a frame of its test split, and AVSBench's mask of that.
SETS = {
    "s4": (write_s4, 2, "avs", "dog/woof/woof_3", "s4_data/gt_masks/test/dog/woof/woof_3"),
    "avss": (write_avss, 3, "avss", "v2/meow/2", "v2/meow/labels_rgb/2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_avsbench_is_converted_trained_on_and_evaluated(tmp_path: Path, name: str):
    write_set, num_classes, task, frame, mask = SETS[name]
    source, data = write_set(tmp_path / "source"), tmp_path / "data"
    for split in ("train", "test"):
        with pytest.raises(SystemExit, match="0"):
            convert([str(source), "--output", str(data), "--split", split])
    options = {
        "DATASETS.TRAIN": (str(data / "train.json"),), "DATASETS.TEST": (str(data / "test.json"),),
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": num_classes, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 50,
        "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD": 0.0, "MODEL.DEVICE": "cpu", "INPUT.MIN_SIZE_TRAIN": (48,),
        "INPUT.MIN_SIZE_TEST": 48, "SOLVER.IMS_PER_BATCH": 2, "SOLVER.MAX_ITER": 2, "SOLVER.STEPS": (),
        "TEST.TASKS": [task], "OUTPUT_DIR": str(tmp_path / "output"),
    }  # fmt: skip
    cfg = get_avis_cfg(ROOT / "configs/quickstart.yaml", [word for pair in options.items() for word in pair])
    (tmp_path / "output").mkdir()
    trainer = AVISTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    metrics = AVISTrainer.test(cfg, trainer.model)["avis"]
    assert set(metrics) == ({"J", "F"} if task == "avs" else {"mIoU", "mF"})
    # What was predicted, scored and saved by the command.
    folder = next((tmp_path / "output/inference").rglob("results.json")).parent
    arguments = [
        "--gt",
        data / "test.json",
        "--predictions",
        folder,
        "--task",
        task,
        "--score-threshold",
        0.0,
    ]
    saved = ["--save-maps", tmp_path / "maps", "--output", tmp_path / "metrics.json"]
    main([str(word) for word in (*arguments, *saved)])
    assert json.loads((tmp_path / "metrics.json").read_text()) == pytest.approx(
        {**metrics, "score_threshold": 0}
    )
    # The truth as predictions gives AVSBench's own masks.
    truth = json.loads((data / "test.json").read_text())
    perfect = [
        {
            "video_id": a["video_id"],
            "category_id": a["category_id"],
            "score": 0.9,
            "segmentations": a["segmentations"],
        }
        for a in truth["annotations"]
    ]
    arguments[3] = write(tmp_path / "perfect.json", perfect)
    main([str(word) for word in (*arguments, *saved)])
    scores = {**dict.fromkeys(metrics, 100), "score_threshold": 0}
    assert json.loads((tmp_path / "metrics.json").read_text()) == pytest.approx(scores)
    made, own = (
        Image.open(path).convert("RGB") for path in (tmp_path / f"maps/{frame}.png", source / f"{mask}.png")
    )
    np.testing.assert_array_equal(np.asarray(made), np.asarray(own))
    assert coco_mask.area(perfect[0]["segmentations"][0]) > 0
