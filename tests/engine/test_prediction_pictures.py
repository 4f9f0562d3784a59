"""Pictures and profiles of a training, which it does not notice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avis.engine import launch
from avis.engine.prediction_pictures import PredictionPictures
from avis.engine.profiling import Profiler
from avis.modeling import build_model
from avis.structures import Track, VideoPrediction
from avis.visualization.drawing import track_color
from tests.engine import processes
from tests.engine.processes import small_run
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import train
from tests.small_dataset import edit


class Oracle(torch.nn.Module):
    """Predicts the second object of `tests.small_dataset` as the first, and something in the corner."""

    def __init__(self, truth: VideoPrediction) -> None:
        super().__init__()
        corner = np.zeros((truth.height, truth.width), np.uint8)
        corner[:6, -6:] = 1
        from pycocotools import mask

        rle = mask.encode(np.asfortranarray(corner))
        tracks = [Track(0.9, 0, truth.tracks[1].segmentations), Track(0.8, 0, [rle] * truth.length)]
        tracks.append(Track(0.1, 0, [rle] * truth.length))  # below the threshold
        self.prediction = VideoPrediction(truth.video_id, truth.height, truth.width, truth.length, tracks)

    def forward(self, clips: list[dict]) -> list[VideoPrediction]:
        assert not self.training
        assert len(clips[0]["image"]) == len(clips[0]["audio_examples"]) == self.prediction.length == 3
        return [self.prediction]


class Standing:
    """What a hook sees of a trainer."""

    def __init__(self, iteration: int) -> None:
        self.iter, self.storage = iteration, EventStorage(iteration)


def test_picture_shows_ground_truth_and_what_has_found_it(train_json: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("avis.engine.prediction_pictures.MAX_COLUMNS", 3)  # of the 6 frames
    monkeypatch.setattr("avis.engine.prediction_pictures._VIDEOS", 1)
    cfg = small_run(train_json, tmp_path, 1)
    cfg.VIS_PERIOD = 2
    hook = PredictionPictures(cfg, model=torch.nn.Identity())
    hook.before_train()
    (video,) = hook._videos
    assert video.clip["frame_indices"][::2] == [0, 2, 4] and video.step == 2 and video.title == "clip1"
    hook.model = Oracle(video.truth).train()
    for iteration in (0, 1):
        hook.trainer = Standing(iteration)
        hook.after_step()
        assert len(hook.trainer.storage._vis_data) == iteration
    assert hook.model.training
    ((name, picture, step),) = hook.trainer.storage._vis_data
    assert (name, step) == ("predictions/train.json", 1) and picture.dtype == np.uint8
    rows = picture.transpose(1, 2, 0)
    second, false = track_color(1), track_color(2)
    has = {color: np.flatnonzero((rows == color).all(-1).any(1)) for color in (second, false)}
    # Ground truth and prediction have one colour, above and below; what is false has one of its own, below.
    assert has[second].max() - has[second].min() > 216
    assert has[false].size and has[false].min() > has[second].min() + 100
    assert not (rows == track_color(3)).all(-1).any()


def test_pictures_are_of_videos_with_objects(train_json: Path, tmp_path: Path):
    def silence(content: dict) -> None:
        content["annotations"] = [a for a in content["annotations"] if a["video_id"] == 3]

    edit(train_json, silence)
    cfg = small_run(train_json, tmp_path, 1)
    cfg.VIS_PERIOD = 1
    hook = PredictionPictures(cfg, model=build_model(cfg))
    hook.before_train()
    assert [video.title for video in hook._videos] == ["clip3"]


@pytest.mark.slow
def test_a_training_that_is_watched_ends_with_the_same_bits(train_json: Path, tmp_path: Path):
    launch(processes.train_with_pictures, 2, args=(str(train_json), str(tmp_path)), device="cpu")
    for rank in range(2):
        plain, watched = (torch.load(tmp_path / f"{name}{rank}.pt") for name in ("plain", "watched"))
        torch.testing.assert_close(watched, plain, atol=0, rtol=0)
    events = EventAccumulator(str(tmp_path / "watched"), size_guidance={"images": 0}).Reload()
    assert [image.step for image in events.Images("predictions/train.json")] == [0, 1]
    assert not EventAccumulator(str(tmp_path / "plain")).Reload().Tags()["images"]
    assert {path.name for path in (tmp_path / "watched" / "profile").iterdir()} == {
        "iterations_0_2.pt.trace.json", "operations.txt"
    }  # fmt: skip


@pytest.mark.parametrize(("iterations", "last"), [((1, 3), 3), ((2, 9), 4)])
def test_profile_is_a_trace_and_a_table(tmp_path: Path, iterations: tuple[int, int], last: int):
    cfg = small_cfg(tmp_path)
    cfg.PROFILE = iterations
    train(cfg, trainer_class=SmallTrainer)
    trace = json.loads(
        (tmp_path / "profile" / "iterations_{}_{}.pt.trace.json".format(*iterations)).read_text()
    )
    steps = [event for event in trace["traceEvents"] if "Optimizer.step#" in event.get("name", "")]
    assert len(steps) == last - iterations[0]
    assert "aten::addmm" in (tmp_path / "profile" / "operations.txt").read_text()


def test_profile_of_a_training_that_fails_is_kept(tmp_path: Path):
    class Failing(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == 2:
                raise RuntimeError("out of memory")
            super().run_step()

    cfg = small_cfg(tmp_path)
    cfg.PROFILE = (1, 4)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(cfg, trainer_class=Failing)
    assert (tmp_path / "profile" / "operations.txt").is_file()


@pytest.mark.parametrize("iterations", [(5,), (5, 5), (-1, 3), (1, 2, 3)])
def test_iterations_that_make_no_sense_are_refused(tmp_path: Path, iterations: tuple[int, ...]):
    cfg = small_cfg(tmp_path)
    cfg.PROFILE = iterations
    with pytest.raises(ValueError, match=r"PROFILE is \("):
        Profiler(cfg)


def test_period_that_makes_no_sense_is_refused(tmp_path: Path):
    cfg = small_cfg(tmp_path)
    cfg.VIS_PERIOD = -1
    with pytest.raises(ValueError, match="VIS_PERIOD is -1"):
        PredictionPictures(cfg, model=torch.nn.Identity())
