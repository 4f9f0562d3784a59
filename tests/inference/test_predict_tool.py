"""tools/predict.py as a process."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from avis.commands.predict import PredictionRun, output_paths, parse
from avis.evaluation import evaluate_predictions
from avis.media.video import read_waveform, shown_pictures, write_video
from tests.inference.conftest import CONFIG, OVERRIDES
from tests.media.recordings import onset, record, tone
from tests.small_dataset import HEIGHT, LENGTH, WIDTH


@pytest.fixture
def arguments(request, cfg):
    """The tool's command line; inputs may be followed by options."""

    root = request.config.rootpath

    def command(output, *inputs, opts=()):
        return list(map(str, [
            root / "tools" / "predict.py", "--config-file", root / CONFIG,
            "--weights", cfg.MODEL.WEIGHTS, "--fps", "1", "--input", *inputs, "--output", output,
            *OVERRIDES, "DATASETS.TEST", cfg.DATASETS.TEST, "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.1",
            *opts,
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

    def run(output, *inputs, opts=()):
        monkeypatch.setattr(sys, "argv", arguments(output, *inputs, opts=opts))
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


@pytest.mark.parametrize(
    "mistake", [lambda: next(iter(())), lambda: int("x")], ids=["unnamed", "a conversion"]
)
def test_one_input_that_goes_wrong_in_any_way_does_not_end_the_others(
    predict, film, tmp_path, monkeypatch, mistake
):
    other = shutil.copy(film, tmp_path / "other.mp4")
    as_it_is = PredictionRun.__call__

    def fail(self, path, *args):
        if path == str(film):
            mistake()
        as_it_is(self, path, *args)

    monkeypatch.setattr(PredictionRun, "__call__", fail)
    code, said = predict(tmp_path / "out", film, other)
    assert code == 1 and "film.mp4 failed: " in said and "Traceback" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other.json", "other.mp4"]


@pytest.mark.parametrize("sound", ["ends before the pictures begin", "ends before the part"])
def test_a_sound_that_is_over_is_silence(predict, tmp_path, sound):
    late = sound == "ends before the pictures begin"
    path = film_of(tmp_path / "film.mp4", [Fraction(3 * late) + Fraction(k, 4) for k in range(16)], 1)
    code, said = predict(tmp_path / "out", path, *([] if late else ["--start", "2"]))
    assert code == 0, said
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        assert not any(packet.size for packet in container.demux() if packet.stream.type == "audio")
    assert lasts(tmp_path / "out" / "film.mp4") == pytest.approx(3.75 - 2 * (not late) + 1 / 30, abs=0.001)


@pytest.mark.parametrize("where", ["a file", "below a file"])
def test_an_output_that_cannot_be_a_folder_is_refused(predict, film, tmp_path, where):
    (tmp_path / "out").write_text("mine")
    code, said = predict(tmp_path / "out" / ("" if where == "a file" else "deep"), film)
    assert code == 2 and str(tmp_path / "out") in said and said.count("\n") == 1


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


SLOWLY_DRAWN = ("--fps", "2", "--overlay-fps", "300")


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_half_written_files_go_and_what_is_done_is_kept(start, predict, film, tmp_path, number):
    output = tmp_path / "predictions"
    process = start(output, film, *SLOWLY_DRAWN, "--save-masks")
    try:
        wait_for(lambda: list(output.glob(".unfinished~*.mp4")), process)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in said
    left = {path.name for path in output.iterdir() if not path.name.startswith(".unfinished~")}
    assert left == {"film.json", "film_masks"}
    assert len(list(output.iterdir())) == 2 + (number == signal.SIGKILL)
    before = (output / "film.json").stat().st_mtime_ns
    code, said = predict(output, film, "--resume", *SLOWLY_DRAWN, "--save-masks")
    assert code == 0, said
    assert sorted(path.name for path in output.iterdir()) == ["film.json", "film.mp4", "film_masks"]
    assert (output / "film.json").stat().st_mtime_ns == before  # it was only drawn


def test_ctrl_c_ends_all_processes(start, film, tmp_path):
    other = shutil.copy(film, tmp_path / "other.mp4")
    process = start(tmp_path / "out", film, other, *SLOWLY_DRAWN, "--jobs", "2")
    try:
        wait_for(lambda: list((tmp_path / "out").glob("*.mp4")), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)  # until all have closed the pipe
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said
    assert not list((tmp_path / "out").glob(".unfinished~*.mp4"))


def test_processes_end_with_the_one_that_has_started_them(start, film, tmp_path):
    other, output = shutil.copy(film, tmp_path / "other.mp4"), tmp_path / "out"
    process = start(output, film, other, "--fps", "2", "--overlay-fps", "1000", "--jobs", "2")
    try:
        wait_for(lambda: list(output.glob(".unfinished~*.mp4")), process)
        process.kill()
        _, said = process.communicate(timeout=60)  # until all have closed the pipe
    finally:
        process.kill()
    assert "Traceback" not in said
    assert not list(output.glob("*.mp4"))  # nor unfinished ones


def test_processes_share_a_folder_of_videos(start, film, tmp_path):
    videos, output = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(film, videos / name)
    (videos / "c.mp4").write_text("no video")
    for name in ("cover.jpg", "a.jpg", "._a.mp4", "Thumbs.db"):
        (videos / name).write_text("left behind")
    process = start(output, videos, "--jobs", "2", "--format", "coco,csv", "--save-masks")
    _, said = process.communicate()
    assert process.returncode == 1
    assert "c.mp4 failed" in said and "1 of 3 inputs failed" in said
    assert sorted(path.name for path in output.iterdir()) == [
        f"{stem}{end}" for stem in "ab" for end in (".coco.json", ".csv", ".json", ".mp4", "_masks")
    ]  # fmt: skip


def test_predictions_of_a_data_set_are_scored(predict, json_file, tmp_path):
    output = tmp_path / "out"
    code, said = predict(output, json_file.with_suffix(""), "--format", "coco")
    assert code == 0, said
    assert sorted(path.name for path in output.iterdir()) == ["clip1.coco.json", "clip1.json", "clip1.mp4"]
    metrics = evaluate_predictions(json_file, output)
    assert metrics == evaluate_predictions(json_file, output / "clip1.json")
    assert metrics == evaluate_predictions(json_file, output / "clip1.coco.json")
    assert predict(output, json_file.with_suffix(""), "--fps", "1", "--end", "3")[0] == 0
    with pytest.raises(ValueError, match=r"clip1\.json: 3 frames of 'clip1' were predicted, and 6 are annot"):
        evaluate_predictions(json_file, output / "clip1.json")


TIMES = {
    "23.976": [Fraction(1001 * k, 24000) for k in range(50)],
    "variable": [Fraction(k, 10) for k in range(10)] + [1 + Fraction(k, 30) for k in range(30)],
    "a pause": [Fraction(0), Fraction(1, 10), Fraction(33, 10), Fraction(34, 10)],
}


def level(index: int) -> int:
    return 30 + 50 * (index * 3 % 5)


def film_of(path, times, sound_seconds):
    """A video whose frame k, of level(k), comes at times[k]; a tone sounds in each second's second half."""
    base = Fraction(1, 72000)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=30, options={"crf": "1", "bf": "0"})
        video.height, video.width, video.pix_fmt, video.codec_context.time_base = 48, 64, "yuv420p", base
        track = output.add_stream("aac", rate=44100, layout="mono")
        for index, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level(index), np.uint8), format="rgb24")
            frame.pts, frame.time_base = int(seconds / base), base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        add_sound(output, track, sound_seconds)
    return path


def add_sound(output, track, seconds):
    rate = track.sample_rate
    time = np.arange(round(seconds * rate)) / rate
    sound = (0.5 * np.sin(2 * np.pi * 440 * time) * (time % 1 >= 0.5)).astype(np.float32)
    for begin in range(0, len(sound), 1024):
        frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))


def shown(path):
    """The times of a video's pictures, and the grey of each."""
    return [(picture.begin, float(np.median(picture.content[:400]))) for picture in shown_pictures(path)]


def lasts(path):
    """How long players say that a video lasts."""
    with av.open(str(path)) as container:
        return float(container.streams.video[0].duration * container.streams.video[0].time_base)


NOTHING = ("MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "1.0")  # so that pictures stay as they are


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("sound_seconds", [1.2, 5])
def test_the_overlay_plays_as_the_video_does(predict, tmp_path, name, sound_seconds):
    times = TIMES[name]
    path = film_of(tmp_path / "film.mp4", times, sound_seconds)
    code, said = predict(tmp_path / "out", path, opts=NOTHING)
    assert code == 0, said
    seen = shown(tmp_path / "out" / "film.mp4")
    assert set(times) <= {time for time, _ in seen}  # and a pause has predicted frames, too
    assert {time for time, _ in seen} - set(times) <= {Fraction(k) for k in range(4)}
    for time_, grey in seen:
        index = max(k for k, begin in enumerate(times) if begin <= time_)
        assert grey == pytest.approx(level(index), abs=4)
    sound, rate = read_waveform(tmp_path / "out" / "film.mp4")
    end = float(times[-1]) + 1 / 30  # of the rate that the encoder was told
    assert lasts(tmp_path / "out" / "film.mp4") == pytest.approx(end, abs=0.001)
    assert len(sound) / rate == pytest.approx(min(end, sound_seconds), abs=0.06)
    assert onset(sound, rate) == pytest.approx(0.5, abs=0.03)


def test_a_part_of_a_video_at_a_rate_of_ones_own(predict, tmp_path):
    path = film_of(tmp_path / "film.mp4", [Fraction(k, 10) for k in range(40)], 4)
    options = ("--start", "0:1.2", "--end", "3.3", "--fps", "2", "--overlay-fps", "5")
    code, said = predict(tmp_path / "out", path, *options, opts=NOTHING)
    assert code == 0, said
    content = json.loads((tmp_path / "out" / "film.json").read_text())
    assert content["frame_times"] == pytest.approx([1.2, 1.7, 2.2, 2.7, 3.2])
    seen = shown(tmp_path / "out" / "film.mp4")
    assert [time for time, _ in seen] == [Fraction(k, 5) for k in range(11)]
    assert lasts(tmp_path / "out" / "film.mp4") == pytest.approx(2.1, abs=0.001)
    assert [grey for _, grey in seen] == pytest.approx([level(12 + 2 * k) for k in range(11)], abs=4)
    sound, rate = read_waveform(tmp_path / "out" / "film.mp4")
    assert onset(sound, rate) == pytest.approx(0.3, abs=0.03)
    code, said = predict(tmp_path / "out", path, "--start", "9")
    assert code == 1 and "the video ends at 3.93 s, before its part from 9 s on" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "-1"], "expected one argument|is no time"),
        (["--start", "1:2:3:4"], "1:2:3:4 is no time: give seconds, m:s or h:m:s"),
        (["--start", "2", "--end", "1:00"], ""),
        (["--start", "2", "--end", "2"], r"--end \(2 s\) must be later than --start \(2 s\)"),
        (["--fps", "0"], "'0' must be a number from 0.001 to 1000"),
        (["--fps", "1e-9"], "must be a number from 0.001"),
        (["--fps", "fast"], "'fast' must be a number from"),
        (["--score-threshold", "nan"], "'nan' must be a number from 0 to 1"),
        (["--audio-track", "-1"], "'-1' must be a whole number of 0 or more"),
        (["two.mp4"], "two.mp4: KEY VALUE pairs follow the options, and all inputs follow one --input"),
        (["--overlay-fps", "nan"], "'nan' must be a number from"),
        (["--jobs", "0"], "'0' must be a whole number of 1 or more"),
        (["--jobs", "x"], "'x' must be a whole number of 1 or more"),
        (["--format", "xml"], "--format xml: it is one or more of json, coco and csv"),
        (["--num-gpus", "2", "--device", "cpu"], "--device says cpu"),
    ],
)
def test_options_that_make_no_sense_are_explained(capsys, options, message):
    command = ["--config-file", "c", "--weights", "w", "--input", "i", "--output", "o", *options]
    if not message:
        assert parse(command).end == 60
        return
    with pytest.raises(SystemExit) as ended:
        parse(command)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_formats_are_given_in_any_way():
    command = ["--config-file", "c", "--weights", "w", "--input", "i", "--output", "o"]
    for given in ("--format csv,coco", "--format coco csv", "--format csv --format coco"):
        assert parse([*command, *given.split()]).format == ("coco", "csv")


def test_progress_is_said_off_a_terminal(predict, film, tmp_path, monkeypatch):
    monkeypatch.setattr("avis.modeling.progress._SECONDS_BETWEEN_LINES", 0.0)
    window = ("MODEL.MASK_FORMER.TEST.ONLINE.WINDOW", "4", "MODEL.MASK_FORMER.TEST.ONLINE.OVERLAP", "2")
    code, said = predict(tmp_path / "out", film, "--fps", "5", opts=window)
    assert code == 0, said
    for doing in ("film: decoding", "video 'film'", "film: writing"):
        shares = [int(share) for share in re.findall(rf"{doing}: (\d+) % done, \d+:\d+ left", said)]
        assert len(shares) > 2 and shares == sorted(shares) and shares[-1] == 100


def test_progress_is_said_where_nobody_knows_how_long_a_video_lasts(predict, tmp_path, monkeypatch):
    monkeypatch.setattr("avis.modeling.progress._SECONDS_BETWEEN_LINES", 0.0)
    write_live(tmp_path / "live.mkv")
    code, said = predict(tmp_path / "out", tmp_path / "live.mkv")
    assert code == 0, said
    for doing, last in (("decoding", 3), ("writing", 3)):
        counted = [int(seconds) for seconds in re.findall(rf"live: {doing}: (\d+) s done", said)]
        assert len(counted) > 2 and counted == sorted(counted) and counted[-1] == last


def write_live(path):
    """A video of 3 s as it is streamed: its header does not say how long it lasts."""
    with av.open(str(path), "w", options={"live": "1"}) as output:
        video = output.add_stream("libx264", rate=2, options={"bf": "0"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * index, np.uint8), format="rgb24")
            frame.pts = index
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def test_inputs_of_one_name_are_refused(tmp_path):
    for other in ("two/clip.mov", "one/clip.mov", "one/clip.mp4"):
        with pytest.raises(ValueError, match=rf"several inputs .* to .*clip\.mp4: one/clip.mp4, {other}"):
            output_paths(["one/clip.mp4", other], tmp_path)


def test_long_names_of_inputs_stay_different(tmp_path):
    inputs = [f"{'x' * 250}{end}.mp4" for end in "ab"]
    first, second = output_paths(inputs, tmp_path)
    assert first != second and all(len(path.with_suffix(".json").name) == 255 for path in (first, second))


def test_a_prediction_does_not_overwrite_its_input(tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4 would be overwritten"):
        output_paths([str(tmp_path / "clip.mp4")], tmp_path)
    assert output_paths([str(tmp_path / "clip.mov")], tmp_path) == [tmp_path / "clip.mp4"]


@pytest.mark.parametrize("way", ["spelling", "symlink", "link to the folder", "hard link", "other input"])
def test_an_input_is_no_output_however_it_is_reached(tmp_path, way):
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


def test_an_audio_track_is_chosen_and_a_missing_one_reported(predict, tmp_path):
    record(tmp_path / "tracks.mkv", 2, sounds=(tone(2, amplitude=0), tone(2)))
    record(tmp_path / "mute.mkv", 2)
    code, said = predict(
        tmp_path / "out", tmp_path / "tracks.mkv", tmp_path / "mute.mkv", "--audio-track", "0"
    )
    assert code == 1
    assert "mute.mkv: there is no audio track 0, the file has 0" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tracks.json", "tracks.mp4"]
    assert np.abs(read_waveform(tmp_path / "out" / "tracks.mp4")[0]).max() < 0.01
