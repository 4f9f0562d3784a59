"""VideoPredictor of a checkpoint alone, used by several threads, and following a stream."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from avis.commands.predict import main as predict
from avis.config import ConfigError
from avis.inference import OnlineSession, VideoPredictor, cfg_of_checkpoint, open_video
from avis.weights import about, read_checkpoint, write_weights
from tests.small_dataset import CATEGORIES, LENGTH


@pytest.fixture(scope="module")
def checkpoint(cfg, tmp_path_factory) -> Path:
    """A checkpoint as a training writes it: with its config, of which the audio weights are gone since."""
    path = tmp_path_factory.mktemp("run") / "model_final.pth"
    recorded = cfg.clone()
    recorded.MODEL.WEIGHTS = "start.pkl"
    recorded.MODEL.AUDIO.WEIGHTS = "gone.pth"
    recorded.MODEL.DEVICE = "cuda:7"
    weights = torch.load(cfg.MODEL.WEIGHTS)["model"]
    torch.save({"model": weights, "categories": CATEGORIES, "config": recorded.dump(), "iteration": 9}, path)
    return path


def test_a_checkpoint_is_enough(checkpoint, predictor, folder):
    assert VideoPredictor.from_checkpoint(checkpoint)(folder) == predictor(folder)


def test_of_safetensors_as_well(checkpoint, predictor, folder, tmp_path):
    content = read_checkpoint(str(checkpoint))
    write_weights(tmp_path / "w.safetensors", content["model"], "model_final.pth", about(content))
    assert VideoPredictor.from_checkpoint(str(tmp_path / "w.safetensors"))(folder) == predictor(folder)


def test_what_is_given_wins(checkpoint, folder):
    topk = ["MODEL.MASK_FORMER.TEST.TOPK", 1]
    one = VideoPredictor.from_checkpoint(checkpoint, device="cpu", opts=topk)
    assert len(one(folder).tracks) == 1
    none = VideoPredictor.from_checkpoint(checkpoint, score_threshold=1)
    assert none.score_threshold == 1 and none(folder).tracks == []
    with pytest.raises(ConfigError, match=r"MODEL\.DEVICE is 'cuda:99'"):
        VideoPredictor.from_checkpoint(checkpoint, device="cuda:99")
    assert cfg_of_checkpoint(checkpoint, ["MODEL.AUDIO.WEIGHTS", "a.pth"]).MODEL.AUDIO.WEIGHTS == "a.pth"


def test_audio_weights_that_a_checkpoint_lacks_come_from_its_config(checkpoint, tmp_path):
    content = torch.load(checkpoint)
    weights = {key: value for key, value in content["model"].items() if "audio_backbone" not in key}
    torch.save({**content, "model": weights}, tmp_path / "w.pth")
    assert cfg_of_checkpoint(tmp_path / "w.pth").MODEL.AUDIO.WEIGHTS == "gone.pth"


def test_a_file_without_a_config_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match=r"model\.pth does not hold its config, .*give --config-file"):
        VideoPredictor.from_checkpoint(cfg.MODEL.WEIGHTS)
    torch.save({"model": {"a": torch.zeros(1)}, "config": "A: 1"}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w\.pth: its config: there is no config key 'A'"):
        VideoPredictor.from_checkpoint(tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError, match="weight file not found"):
        VideoPredictor.from_checkpoint(tmp_path / "none.pth")


class Watched(torch.nn.Module):
    """A model that notes when two threads are in it at once."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.inside, self.most = model, 0, 0

    def forward(self, videos):
        self.inside += 1
        self.most = max(self.most, self.inside)
        found = self.model(videos)
        self.inside -= 1
        return found


def test_threads_get_the_numbers_of_one(checkpoint, folder, monkeypatch):
    predictor = VideoPredictor.from_checkpoint(checkpoint)
    rates = [1.0, 2.0] * 3
    alone = [predictor(folder, rate) for rate in rates[:2]]
    assert alone[0] != alone[1]
    watched = Watched(predictor.model)
    monkeypatch.setattr(predictor, "_predict_videos", watched)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda rate: predictor(folder, rate), rates))
    assert together == alone * 3
    assert watched.most == 1


def tones(length: int, rate: int) -> np.ndarray:
    return np.sin(np.arange(length) * 2 * np.pi * 440 / rate).astype(np.float32)


@pytest.mark.parametrize("audio", ["whole", "pieces", "short", "none"])
def test_a_stream_is_a_session_step_by_step(predictor, folder, audio):
    frames, rate = list(open_video(folder, 1.0).frames()), 8000
    sound = tones(LENGTH * rate, rate)
    pieces = list(sound.reshape(LENGTH, rate))
    half = np.concatenate([sound[: rate // 2], np.zeros(rate // 2, np.float32)])
    given, expected = {
        "whole": (sound, pieces),
        "pieces": (iter(pieces), pieces),
        "short": (torch.from_numpy(sound[: rate // 2]), [half, *[None] * LENGTH]),
        "none": (None, [None] * LENGTH),
    }[audio]
    session = OnlineSession(predictor, window=2, overlap=1, fps=1, sample_rate=rate)
    steps = [session.step([f], s) for f, s in zip(frames, expected, strict=False)] + [session.finish()]
    options = {"window": 2, "overlap": 1, "fps": 1, "sample_rate": rate}
    assert list(predictor.stream(iter(frames), given, **options)) == steps
    assert sum(len(step.frames) for step in steps) == LENGTH and steps[-1].tracks


def test_a_stream_has_no_end_in_memory(predictor, folder):
    """It takes a frame only when it is asked for what was found."""
    frames = iter(list(open_video(folder, 1.0).frames()))
    found = predictor.stream(frames, window=2, overlap=1, fps=1)
    next(found)
    assert len(list(frames)) == LENGTH - 1


def test_importing_the_room_waits_for_no_model(request):
    code = "import sys, torch; from avis.inference import VideoPredictor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=request.config.rootpath, capture_output=True, text=True, check=True
    )
    slow = {"detectron2", "torchvision", "timm", "torch._dynamo", "scipy", "avis.modeling", "avis.data"}
    assert slow & set(done.stdout.split()) == set()


def test_the_command_predicts_with_a_checkpoint_alone(checkpoint, predictor, folder, tmp_path, capsys):
    words = ["--input", folder, "--output", tmp_path, "--score-threshold", 0]
    predict([str(word) for word in ("--weights", checkpoint, *words)])
    found = json.loads((tmp_path / "clip1.json").read_text())
    assert [track["score"] for track in found["tracks"]] == pytest.approx(
        [track.score for track in predictor(folder).tracks], abs=1e-4
    )
    with pytest.raises(SystemExit) as end:
        predict([str(word) for word in ("--weights", without_config(checkpoint, tmp_path), *words)])
    assert end.value.code == 2
    assert "bare.pth does not hold its config" in capsys.readouterr().err


def without_config(checkpoint: Path, tmp_path: Path) -> Path:
    """The same weights in a file without a config."""
    torch.save({"model": torch.load(checkpoint)["model"]}, tmp_path / "bare.pth")
    return tmp_path / "bare.pth"
