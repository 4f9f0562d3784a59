"""tools/predict.py as a process."""

import json
import runpy
import subprocess
import sys

import av
import numpy as np
import pytest

from avis.media.video import read_waveform
from tests.inference.conftest import CONFIG, OVERRIDES
from tests.media.recordings import record, tone
from tests.small_dataset import HEIGHT, LENGTH, WIDTH


@pytest.fixture(scope="module")
def predict(request, cfg):
    root = request.config.rootpath

    def run(output, *inputs):
        command = [
            sys.executable, root / "tools" / "predict.py", "--config-file", root / CONFIG,
            "--weights", cfg.MODEL.WEIGHTS, "--output", output, "--score-threshold", "0.1",
            "--input", *inputs, "--fps", "1", *OVERRIDES, "DATASETS.TEST", str(cfg.DATASETS.TEST),
        ]  # fmt: skip
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=output.parent)

    return run


def test_good_inputs_are_done_and_bad_ones_reported(predict, json_file, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    output = tmp_path / "predictions"
    output.mkdir()
    (output / "clip1.json").write_text("older")
    done = predict(output, tmp_path / "broken.mp4", json_file.with_suffix("") / "JPEGImages" / "clip1")
    assert done.returncode == 1
    assert "broken.mp4: cannot be decoded" in done.stderr
    assert sorted(path.name for path in output.iterdir()) == ["clip1.json", "clip1.mp4"]

    report = json.loads((output / "clip1.json").read_text())
    assert report["video"]["num_frames"] == LENGTH
    assert (report["video"]["height"], report["video"]["width"]) == (HEIGHT, WIDTH)
    assert {track["category"] for track in report["tracks"]} <= {"violin", "dog"}
    assert report["tracks"] and all(track["score"] > 0.1 for track in report["tracks"])
    with av.open(str(output / "clip1.mp4")) as container:
        assert container.streams.video[0].frames == LENGTH
        assert container.streams.audio
        assert container.duration / 1e6 == pytest.approx(LENGTH, abs=0.1)


@pytest.fixture(scope="module")
def output_paths(request):
    return runpy.run_path(str(request.config.rootpath / "tools" / "predict.py"))["output_paths"]


def test_inputs_of_one_name_are_refused(output_paths, tmp_path):
    with pytest.raises(ValueError, match=r"several inputs would be written to .*clip\.mp4"):
        output_paths(["one/clip.mp4", "two/clip.mov"], tmp_path)


def test_a_prediction_does_not_overwrite_its_input(output_paths, tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4 would be overwritten"):
        output_paths([str(tmp_path / "clip.mp4")], tmp_path)
    assert output_paths([str(tmp_path / "clip.mov")], tmp_path) == [tmp_path / "clip.mp4"]


def test_an_audio_track_is_chosen_and_a_missing_one_reported(predict, tmp_path):
    record(tmp_path / "tracks.mkv", 2, sounds=(tone(2, amplitude=0), tone(2)))
    record(tmp_path / "mute.mkv", 2)
    done = predict(tmp_path / "out", tmp_path / "tracks.mkv", tmp_path / "mute.mkv", "--audio-track", "0")
    assert done.returncode == 1
    assert "mute.mkv: there is no audio track 0, the file has 0" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tracks.json", "tracks.mp4"]
    assert np.abs(read_waveform(tmp_path / "out" / "tracks.mp4")[0]).max() < 0.01
