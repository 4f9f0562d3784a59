"""YouTube-VIS, OVIS and COCO trained and evaluated on as they are, without conversion."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from PIL import Image

from avis.data import build_test_loader, build_train_loader, get_categories, get_dataset_records
from avis.data.catalog import VISUAL_SETS
from avis.evaluation import evaluate_predictions
from tests.formats.foreign_files import HEIGHT, WIDTH, coco, cocovid, write, youtube_vis


def write_frames(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(root / name)


def write_coco(root: Path) -> Path:
    """As COCO lies on disk: annotations/instances_train2017.json beside train2017."""
    content = coco()
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("/", "_")
    write_frames(root / "train2017", [image["file_name"] for image in content["images"]])
    return write(root / "annotations/instances_train2017.json", content)


def write_ovis(root: Path) -> Path:
    """As OVIS lies on disk: annotations_train.json beside train."""
    write_frames(root / "train", youtube_vis()["videos"][0]["file_names"])
    return write(root / "annotations_train.json", youtube_vis())


def write_youtube_vis(root: Path) -> Path:
    write_frames(root / "train/JPEGImages", youtube_vis()["videos"][0]["file_names"])
    return write(root / "train.json", youtube_vis())


WRITERS = {"coco": write_coco, "ovis": write_ovis, "youtube_vis": write_youtube_vis}


@pytest.fixture
def small(cfg: CfgNode) -> CfgNode:
    """A config of small clips whose crop moves."""
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "moving", (32, 40)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return cfg


@pytest.mark.parametrize("kind", WRITERS)
def test_a_path_is_trained_and_evaluated_on(tmp_path: Path, small: CfgNode, kind: str):
    path = str(WRITERS[kind](tmp_path / "data"))
    small.DATASETS.TRAIN = small.DATASETS.TEST = (path,)
    (clip, *_) = next(iter(build_train_loader(small)))
    assert len(clip["image"]) == 3 and clip["audio_examples"].shape == (3, 96, 64)
    assert clip["audio_examples"].min() == clip["audio_examples"].max()  # silence
    videos = [batch[0] for batch in build_test_loader(small, path)]
    assert [video["length"] for video in videos] == ([1, 1, 1] if kind == "coco" else [2])
    perfect = [
        {"video_id": record["video_id"], "score": 1.0, "segmentations": list(entry["segmentations"]),
         "category_id": get_categories(path).ids[entry["category_id"]]}
        for record in get_dataset_records([path])
        for entry in record["annotations"]
    ]  # fmt: skip
    assert evaluate_predictions(path, perfect)["AP"] == pytest.approx(100)


def test_clips_of_a_picture_pan_over_it(tmp_path: Path, small: CfgNode):
    content = json.loads(write_coco(tmp_path).read_text())
    small.DATASETS.TRAIN = (str(tmp_path / "annotations/instances_train2017.json"),)
    content["annotations"] = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [[0, 0, WIDTH, 0, WIDTH, HEIGHT // 2]]}
        for i in (1, 2, 3)
    ]
    write(tmp_path / "annotations/instances_train2017.json", content)
    clip = next(iter(build_train_loader(small)))[0]
    assert clip["frame_indices"] == [0, 0, 0]
    masks = [instances.gt_masks.tensor for instances in clip["instances"]]
    assert any(not (mask == masks[0]).all() for mask in masks[1:])


def test_neighbours_are_mixed_with_data_that_sounds(tmp_path: Path, small: CfgNode, train_json: Path):
    content = youtube_vis()
    content["categories"] = [{"id": 5, "name": "dog"}, {"id": 9, "name": "violin"}]
    write_frames(tmp_path / "ovis/train", content["videos"][0]["file_names"])
    ovis = write(tmp_path / "ovis/annotations_train.json", content)
    small.DATASETS.TRAIN = (str(train_json), str(ovis))
    assert [len(record["file_names"]) for record in get_dataset_records(small.DATASETS.TRAIN)] == [6, 6, 6, 2]
    dog = get_dataset_records(small.DATASETS.TRAIN)[3]["annotations"][0]
    assert get_categories(str(train_json)).names[dog["category_id"]] == "dog"
    assert len(next(iter(build_train_loader(small)))) == 2


def test_frames_that_are_nowhere_are_told(tmp_path: Path):
    path = write(tmp_path / "instances_val2017.json", coco())
    with pytest.raises(FileNotFoundError, match=r"a/2\.png of video 1 is not in .*val2017"):
        get_dataset_records([str(path)])
    assert evaluate_predictions(path, [])["AP"] == 0  # for which no frame is needed


def test_cocovid_is_evaluated_by_its_videos(tmp_path: Path):
    path = write(tmp_path / "vid.json", cocovid())
    write_frames(tmp_path, [image["file_name"] for image in cocovid()["images"]])
    (record,) = get_dataset_records([str(path)])
    assert [Path(name).name for name in record["file_names"]] == ["x.png", "y.png", "z.png"]
    assert [mask is not None for mask in record["annotations"][0]["segmentations"]] == [True, False, True]


NAMES = ("coco_clips_train", "ovis_train", "youtube_vis_2021_train")


def test_neighbours_have_names(tmp_path: Path):
    assert set(NAMES) < set(VISUAL_SETS) <= set(DatasetCatalog.list())
    write_coco(tmp_path / "coco")
    write_ovis(tmp_path / "ovis")
    write_youtube_vis(tmp_path / "ytvis_2021")
    code = (
        "import sys; from avis.data import get_dataset_records; "
        "print(*[len(get_dataset_records([name])) for name in sys.argv[1:]])"
    )
    environment = os.environ | {"DETECTRON2_DATASETS": str(tmp_path)}
    command = [sys.executable, "-c", code, *NAMES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["3", "1", "1"], done.stderr


def test_three_kinds_are_mixed_in_ratios_and_what_the_model_lacks_is_dropped(
    tmp_path: Path, small: CfgNode, train_json: Path
):
    paths = (train_json, write_coco(tmp_path / "coco"), write_youtube_vis(tmp_path / "ytvis"))
    small.DATASETS.TRAIN = tuple(map(str, paths))
    with pytest.raises(ValueError, match="cat is not among violin, dog"):
        build_train_loader(small)
    small.DATASETS.UNKNOWN_CATEGORIES, small.DATASETS.RATIOS = "drop", (2, 1, 1)
    small.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    loader = build_train_loader(small)
    # Of COCO's three pictures the two with dogs are left, of YouTube-VIS the only video.
    assert [r["data_set"] for r in loader.dataset.records] == [str(paths[i]) for i in (0, 0, 0, 1, 1, 2)]
    batches = itertools.islice(loader, 60)
    drawn = Counter(
        Path(clip["file_names"][0]).relative_to(tmp_path).parts[0] for batch in batches for clip in batch
    )
    assert dict(drawn) == pytest.approx({"data": 60, "coco": 30, "ytvis": 30}, abs=2)
