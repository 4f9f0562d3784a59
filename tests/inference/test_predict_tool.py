"""tools/predict.py as a process."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from avis.media.video import read_waveform, write_video
from tests.inference.conftest import CONFIG, OVERRIDES
from tests.media.recordings import record, tone
from tests.small_dataset import HEIGHT, LENGTH, WIDTH


@pytest.fixture
def arguments(request, cfg):
    """The tool's command line; inputs may be followed by options."""

    root = request.config.rootpath

    def command(output, *inputs):
        return list(map(str, [
            root / "tools" / "predict.py", "--config-file", root / CONFIG,
            "--weights", cfg.MODEL.WEIGHTS, "--fps", "1", "--input", *inputs, "--output", output,
            *OVERRIDES, "DATASETS.TEST", cfg.DATASETS.TEST, "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.1",
        ]))  # fmt: skip

    return command


@pytest.fixture
def start(arguments, tmp_path):
    """Starts the tool as a process."""

    def begin(output, *inputs):
        command = [sys.executable, *arguments(output, *inputs)]
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    return begin


@pytest.fixture
def predict(arguments, tmp_path, monkeypatch, capsys, caplog):
    """Runs the tool here, as a process takes seconds to start: exit code, and what is said."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")

    def run(output, *inputs):
        monkeypatch.setattr(sys, "argv", arguments(output, *inputs))
        caplog.clear()
        code = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        return code, caplog.text + capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    pictures = (np.full((HEIGHT, WIDTH, 3), 40 * t, np.uint8) for t in range(4))
    write_video(path, pictures, fps=2)
    return path


def test_good_inputs_are_done_and_bad_ones_reported(start, json_file, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    output = tmp_path / "predictions"
    process = start(output, tmp_path / "broken.mp4", json_file.with_suffix("") / "JPEGImages" / "clip1")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "broken.mp4: cannot be decoded" in stderr
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


def test_finished_predictions_are_kept_and_others_made_anew(predict, json_file, tmp_path):
    frames = shutil.copytree(json_file.with_suffix("") / "JPEGImages" / "clip1", tmp_path / "clip1")
    output, files = tmp_path / "predictions", ("clip1.json", "clip1.mp4")

    def is_kept(*options):
        """Predict; whether the files are the same as before."""
        before = [(output / name).stat().st_mtime_ns for name in files if (output / name).exists()]
        code, said = predict(output, frames, *options)
        assert code == 0, said
        kept = [(output / name).stat().st_mtime_ns for name in files] == before
        assert kept == ("finished already" in said)
        return kept

    assert not is_kept()
    assert is_kept("--resume")
    assert not is_kept()
    assert not is_kept("--resume", "--fps", "2")
    (output / "clip1.json").unlink()
    assert not is_kept("--resume")
    os.utime(frames / "00000.png", (1, 1))
    assert not is_kept("--resume")


def test_what_the_tool_did_not_make_is_refused(predict, json_file, tmp_path):
    frames = json_file.with_suffix("") / "JPEGImages" / "clip1"
    output = tmp_path / "predictions"
    output.mkdir()
    for name, content in (("clip1.mp4", b"mine"), ("clip1.json", b'{"made_by": {"program": "mine"}}')):
        foreign = output / name
        foreign.write_bytes(content)
        code, said = predict(output, frames)
        assert code == 2 and said.count("\n") == 1
        assert f"{foreign} was not made by tools/predict.py" in said
        assert foreign.read_bytes() == content
        foreign.rename(tmp_path / "away")
    (tmp_path / "away").rename(foreign)
    assert predict(output, frames, "--overwrite")[0] == 0
    moved = shutil.copytree(frames, tmp_path / "other" / "clip1")
    code, said = predict(output, moved)
    assert code == 2 and f"was made of {frames.resolve()}, not of {moved.resolve()}" in said


def test_names_of_any_kind_can_be_written(predict, film, tmp_path):
    names = ["10:30 – clip.mp4", "x" * 251 + ".mp4", "é" * 125 + "x.mp4", "-y.mp4"]
    inputs = [f"./{shutil.copy(film, tmp_path / name) and name}" for name in names]
    code, said = predict("out:1", *inputs)
    assert code == 0, said
    videos = {path.stem for path in (tmp_path / "out:1").glob("*.mp4")}
    assert videos == {path.stem for path in (tmp_path / "out:1").glob("*.json")}
    assert len(videos) == 4 and {"10:30 – clip", "-y"} < videos


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_half_written_files_go(start, predict, film, tmp_path, number):
    output = tmp_path / "predictions"
    process = start(output, film, "--fps", "100")
    try:
        deadline = time.monotonic() + 60
        while not list(output.glob(".unfinished~*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert len(list(output.iterdir())) == (number == signal.SIGKILL)
    code, said = predict(output, film, "--resume")
    assert code == 0, said
    assert sorted(path.name for path in output.iterdir()) == ["film.json", "film.mp4"]


@pytest.fixture(scope="module")
def output_paths(request):
    return runpy.run_path(str(request.config.rootpath / "tools" / "predict.py"))["output_paths"]


def test_inputs_of_one_name_are_refused(output_paths, tmp_path):
    for other in ("two/clip.mov", "one/clip.mov", "one/clip.mp4"):
        with pytest.raises(ValueError, match=rf"several inputs .* to .*clip\.mp4: one/clip.mp4, {other}"):
            output_paths(["one/clip.mp4", other], tmp_path)


def test_long_names_of_inputs_stay_different(output_paths, tmp_path):
    inputs = [f"{'x' * 250}{end}.mp4" for end in "ab"]
    first, second = output_paths(inputs, tmp_path)
    assert first != second and all(len(path.with_suffix(".json").name) == 255 for path in (first, second))


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


@pytest.mark.parametrize("way", ["spelling", "symlink", "link to the folder", "hard link", "other input"])
def test_an_input_is_no_output_however_it_is_reached(output_paths, tmp_path, way):
    (tmp_path / "in").mkdir()
    video, output = tmp_path / "in" / "clip.mp4", tmp_path / "out"
    video.touch()
    inputs = [str(video)]
    if way == "spelling":
        output, inputs = tmp_path / "in", [f"{tmp_path}/in/../in/clip.mp4"]
    elif way == "link to the folder":
        output.symlink_to(tmp_path / "in")
    else:
        output.mkdir()
        (output / "clip.mp4").hardlink_to(video) if way == "hard link" else (output / "clip.mp4").symlink_to(
            video
        )
    if way == "other input":
        inputs = [f"{tmp_path}/else/clip.mov", str(video.rename(tmp_path / "in" / "other.mp4"))]
        (output / "clip.mp4").unlink()
        (output / "clip.mp4").symlink_to(tmp_path / "in" / "other.mp4")
    with pytest.raises(ValueError, match=r"\.mp4 would be overwritten"):
        output_paths(inputs, output)
