"""Features computed once: what the files hold, which are made and which kept, and tools/prepare_audio.py."""

import logging
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
import torch

from avis.audio import SILENCE, AudioCNN, VGGish
from avis.data import choose_audio_source, get_dataset_records, load_aviseg_json
from avis.data.clip_audio import VideoSound, load_examples
from avis.dataset_tools.audio_features import prepare_features
from avis.dataset_tools.sound_files import find_sounds
from avis.formats.audio_features import read_provenance
from avis.media.video import write_video
from tests.small_dataset import LENGTH, edit, tones, write_split, write_wav

# Of the data set whose preparation is killed: more than can be done before the kill arrives.
NUM_VIDEOS = 150


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return AudioCNN(output_dim=24).eval()


@pytest.fixture(scope="module")
def weights(backbone, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "audio.pth"
    torch.save(backbone.state_dict(), path)
    return path


@pytest.fixture
def command(request, weights):
    """Makes command lines of the tool for the small backbone."""
    tool = request.config.rootpath / "tools" / "prepare_audio.py"

    def make(json_file, *options, weights=weights, more=()):
        command = [
            tool, "--json", json_file, *options, "--workers", 2, "--weights", weights,
            "MODEL.DEVICE", "cpu", "MODEL.AUDIO.NAME", "AudioCNN", "MODEL.AUDIO.FEATURE_DIM", 24,
            *more,
        ]  # fmt: skip
        return list(map(str, command))

    return make


@pytest.fixture
def run(command, monkeypatch, caplog):
    """Runs the tool in this process; gives its exit code."""

    def run_here(*arguments, **weights):
        monkeypatch.setattr(sys, "argv", command(*arguments, **weights))
        with pytest.raises(SystemExit) as exit_info, caplog.at_level(logging.INFO):
            runpy.run_path(sys.argv[0], run_name="__main__")
        return exit_info.value.code

    return run_here


@pytest.fixture
def start(command):
    """Starts the tool as a process."""

    def start_process(*arguments):
        return subprocess.Popen(
            [sys.executable, *command(*arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_process


def features_folder(json_file):
    return json_file.with_suffix("") / "FEATAudios"


@torch.no_grad()
def assert_files_hold_what_the_model_hears(backbone, json_file, fps=1):
    for record in load_aviseg_json(json_file):
        features = np.load(record["audio_features_file"])
        examples = load_examples(VideoSound.of(record), range(record["length"]), fps)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, backbone(examples), rtol=1e-5, atol=1e-5)


def test_rows_are_what_vggish_makes_of_what_the_model_hears(train_json, tmp_path):
    """Videos of 6 and 2 frames, one of 44.1 kHz stereo sound; 5 rows a batch leave none of them whole."""
    torch.manual_seed(0)
    vggish = VGGish().eval()
    sound = tones(2, LENGTH, 44100)
    write_wav(
        train_json.with_suffix("") / "WAVAudios" / "clip2.wav", np.stack([sound, sound / 2], axis=1), 44100
    )
    short = write_split(tmp_path, "short", num_videos=1, length=2)
    summary = prepare_features(find_sounds([train_json, short]), vggish, batch_size=5)
    assert (summary.written, summary.kept, summary.silent, summary.failed) == (4, 0, 0, [])
    for json_file in (train_json, short):
        assert_files_hold_what_the_model_hears(vggish, json_file)


def test_other_frame_rates_hear_their_own_times(train_json, backbone):
    prepare_features(find_sounds([train_json]), backbone, fps=4)
    assert_files_hold_what_the_model_hears(backbone, train_json, fps=4)


def test_features_that_are_prepared_are_taken(train_json, cfg):
    records = get_dataset_records([str(train_json)])
    cfg.INPUT.AUDIO.SOURCE = "features"
    with pytest.raises(ValueError, match=r"tools/prepare_audio\.py makes them"):
        choose_audio_source(cfg, records)
    cfg.INPUT.AUDIO.SOURCE = "auto"
    prepare_features(find_sounds([train_json]), VGGish())
    assert choose_audio_source(cfg, list(load_aviseg_json(train_json))) == "features"


@pytest.fixture
def prepared(train_json, backbone):
    """The small data set with features, and their files."""
    prepare_features(find_sounds([train_json]), backbone)
    return train_json, sorted(features_folder(train_json).iterdir())


def cut_off(path):
    os.truncate(path, 300)


def shorten(path):
    np.save(path, np.load(path)[:-1])


def put_nan(path):
    features = np.load(path)
    features[3, 3] = np.nan
    np.save(path, features)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_off, shorten, put_nan, empty])
def test_good_files_are_kept_and_damaged_ones_made_anew(prepared, backbone, damage, caplog):
    json_file, files = prepared
    damage(files[1])
    before = [path.stat().st_ino for path in files]
    summary = prepare_features(find_sounds([json_file]), backbone)
    assert (summary.written, summary.kept) == (1, 2)
    assert "clip2.npy" in caplog.text and "made anew" in caplog.text
    assert [path.stat().st_ino == inode for path, inode in zip(files, before, strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert_files_hold_what_the_model_hears(backbone, json_file)


def test_a_backbone_of_other_channels_or_overwriting_makes_all_anew(prepared, backbone):
    json_file, _ = prepared
    assert prepare_features(find_sounds([json_file]), AudioCNN(output_dim=8)).written == 3
    summary = prepare_features(find_sounds([json_file]), backbone, overwrite=True)
    assert (summary.written, summary.kept) == (3, 0)
    assert_files_hold_what_the_model_hears(backbone, json_file)


def test_files_of_other_weights_or_rates_are_made_anew_with_one_line(prepared, backbone, caplog):
    json_file, _ = prepared
    other = AudioCNN(output_dim=24)
    assert prepare_features(find_sounds([json_file]), other).written == 3
    assert_files_hold_what_the_model_hears(other, json_file)
    assert prepare_features(find_sounds([json_file]), other, fps=2).written == 3
    first, second = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    for digest in (backbone.weights_digest(), other.weights_digest()):
        assert digest in first
    assert "3 files are of AudioCNN" in first and "made anew" in first
    assert "at 1 FPS" in second and "at 2 FPS" in second
    assert prepare_features(find_sounds([json_file]), other, fps=2).kept == 3


def test_files_of_separated_sources_are_not_those_of_one(prepared, backbone, caplog):
    json_file, files = prepared
    np.save(files[1], np.zeros((LENGTH, 2, 24), np.float32))
    assert prepare_features(find_sounds([json_file]), backbone).written == 1
    assert "clip2.npy: of 2 separated sources" in caplog.text


def test_files_that_do_not_say_are_kept_as_those_of_vggish_only(train_json, caplog):
    features_folder(train_json).mkdir()
    paths = [features_folder(train_json) / f"clip{number}.npy" for number in (1, 2, 3)]
    for path in paths:
        np.save(path, np.ones((LENGTH, 128), np.float32))
    with caplog.at_level(logging.INFO):
        assert prepare_features(find_sounds([train_json]), VGGish()).kept == 3
    assert "3 files do not say what made them: taken for VGGish's" in caplog.text
    assert prepare_features(find_sounds([train_json]), AudioCNN(output_dim=128)).written == 3


def test_postprocessed_features_are_whole_numbers_and_files_that_do_not_say_are_not_theirs(tmp_path):
    json_file = write_split(tmp_path, num_videos=1, length=2)
    features_folder(json_file).mkdir()
    path = features_folder(json_file) / "clip1.npy"
    np.save(path, np.ones((2, 128), np.float32))
    vggish = VGGish(postprocess=True)
    with torch.no_grad():
        vggish.embeddings[-2].bias.uniform_()  # or all features of weights as built would be about 0
    assert prepare_features(find_sounds([json_file]), vggish).written == 1
    features = np.load(path)
    assert len(np.unique(features)) > 20 and (features == features.round()).all()
    assert features.min() >= 0 and features.max() <= 255
    assert_files_hold_what_the_model_hears(vggish, json_file)
    assert read_provenance(path).postprocess
    assert prepare_features(find_sounds([json_file]), vggish).kept == 1


def test_a_config_of_separated_sources_takes_them(run, train_json, tmp_path, capsys):
    sources = ["INPUT.AUDIO.NUM_SOURCES", 2, "INPUT.AUDIO.FEATURES_DIR", "other"]
    folder = train_json.with_suffix("")
    for name in (f"clip{video}/source_0{source}.wav" for video in (1, 2, 3) for source in (1, 2)):
        write_wav(folder / "WAVAudios_sep" / name, tones(1, LENGTH))
    assert run(train_json, more=sources) == 0
    assert len(list(folder.glob("other/clip?/source_0?.npy"))) == 6
    assert run(train_json, "--videos", tmp_path, more=sources) == 2
    assert "a video file has no separated sources" in capsys.readouterr().err


def test_unfinished_files_of_dead_processes_are_removed_and_of_living_ones_left(prepared, backbone):
    json_file, files = prepared
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living = (
        files[0].with_name(f".unfinished~{socket.gethostname()}~{process}~0a1b2c3d.npy")
        for process in (ended.pid, os.getpid())
    )
    dead.touch()
    living.touch()
    prepare_features(find_sounds([json_file]), backbone)
    assert not dead.exists()
    assert living.exists()


def test_nothing_is_written_of_a_backbone_that_gives_nan(train_json):
    broken = AudioCNN()
    torch.nn.init.constant_(broken.projection.bias, torch.nan)
    with pytest.raises(FloatingPointError, match="AudioCNN gives NaN"):
        prepare_features(find_sounds([train_json]), broken)
    assert not features_folder(train_json).exists()


def test_a_video_that_is_listed_twice_is_prepared_once(train_json):
    def list_again(content):
        content["videos"].append(content["videos"][0] | {"id": 9})

    assert len(find_sounds([edit(train_json, list_again), train_json])) == 3


def test_videos_of_one_name_and_different_lengths_are_refused(train_json):
    def list_shorter(content):
        files = content["videos"][0]["file_names"]
        content["videos"].append(content["videos"][0] | {"id": 9, "length": 1, "file_names": files[:1]})

    with pytest.raises(ValueError, match=r"train\.json: two videos of different lengths are called 'clip1'"):
        find_sounds([edit(train_json, list_shorter)])


def test_a_split_without_any_sound_is_refused(train_json, tmp_path):
    shutil.rmtree(train_json.with_suffix("") / "WAVAudios")
    with pytest.raises(ValueError, match=r"no video of .*train\.json has sound in .*WAVAudios; --videos"):
        find_sounds([train_json])
    with pytest.raises(ValueError, match=r"no video of .*train\.json has sound in"):
        find_sounds([train_json], tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder of videos"):
        find_sounds([train_json], tmp_path / "missing")


def test_a_name_that_leaves_the_data_set_is_refused(train_json):
    def leave(content):
        content["videos"][0]["file_names"] = [f"../../out/{t}.jpg" for t in range(LENGTH)]

    with pytest.raises(ValueError, match="leaves the folder of the data set"):
        find_sounds([edit(train_json, leave)])


def write_videos(folder, *numbers, suffix=".mp4"):
    """Video files clip1, clip2, … whose second k is the tone of second k; of clip2 without sound."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        sound = folder / "sound.wav"
        write_wav(sound, tones(number, LENGTH))
        frames = np.zeros((LENGTH, 32, 32, 3), np.uint8)
        write_video(folder / f"clip{number}{suffix}", frames, 1, None if number == 2 else sound)
        sound.unlink()
    return folder


def test_several_files_of_a_video_are_refused(train_json, tmp_path):
    write_videos(tmp_path / "videos", 1)
    write_videos(tmp_path / "videos", 1, suffix=".mkv")
    with pytest.raises(ValueError, match=r"'clip1' has several files, leave one: .*clip1\.mkv, .*clip1\.mp4"):
        find_sounds([train_json], tmp_path / "videos")


@torch.no_grad()
def test_sound_of_video_files_and_one_that_is_missing(run, train_json, tmp_path, backbone, caplog):
    shutil.rmtree(train_json.with_suffix("") / "WAVAudios")
    videos = write_videos(tmp_path / "videos", 1, 2)
    assert run(train_json, "--videos", videos) == 1
    assert "2 files written, 1 of them of silence; 0 kept; 1 videos failed" in caplog.text
    assert "video 'clip2' has no sound" in caplog.text
    assert f"failed: {videos}/clip3.mp4: no such file" in caplog.text
    written = sorted(path.name for path in features_folder(train_json).iterdir())
    assert written == ["clip1.npy", "clip2.npy"]

    record = load_aviseg_json(train_json)[0]
    sound = VideoSound("clip1", LENGTH, str(videos / "clip1.mp4"))
    examples = load_examples(sound, range(LENGTH), 1)
    heard = np.load(record["audio_features_file"])
    np.testing.assert_allclose(heard, backbone(examples), rtol=1e-5, atol=1e-5)
    assert np.abs(np.diff(heard, axis=0)).max() > 1e-3  # every second has its own tone
    silence = backbone(torch.full((LENGTH, 96, 64), SILENCE))
    np.testing.assert_allclose(np.load(features_folder(train_json) / "clip2.npy"), silence, atol=1e-5)


@pytest.mark.slow
def test_a_killed_run_leaves_whole_files_and_the_next_goes_on(start, tmp_path, backbone):
    json_file = write_split(tmp_path, num_videos=NUM_VIDEOS, length=2)
    process = start(json_file, "--batch-size", 1)
    folder = features_folder(json_file)
    for _ in count():
        if folder.exists() and any(folder.glob("clip*.npy")):
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = list(folder.glob("clip*.npy"))
    assert 0 < len(done) < NUM_VIDEOS
    assert all(np.load(path).shape == (2, 24) for path in done)

    process = start(json_file)
    printed = process.communicate()[1]
    assert process.returncode == 0, printed
    assert f"{NUM_VIDEOS - len(done)} files written, 0 of them of silence; {len(done)} kept" in printed
    assert len(list(folder.iterdir())) == NUM_VIDEOS
    assert_files_hold_what_the_model_hears(backbone, json_file)


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(start, tmp_path, backbone):
    json_file = write_split(tmp_path, num_videos=10, length=2)
    processes = [start(json_file, "--overwrite", "--batch-size", 1) for _ in range(2)]
    printed = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert len(list(features_folder(json_file).iterdir())) == 10
    assert_files_hold_what_the_model_hears(backbone, json_file)


def test_weights_that_do_not_fit_are_named_and_nothing_is_written(run, train_json, tmp_path, capsys):
    torch.save({"projection.bias": torch.zeros(24)}, tmp_path / "other.pth")
    assert run(train_json, weights=tmp_path / "other.pth") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "other.pth" in line and "stages.0.0.weight" in line
    assert not features_folder(train_json).exists()


def test_a_video_that_starts_later_than_its_sound_gets_no_features(train_json):
    edit(train_json, lambda content: content["videos"][1].update(start=2))
    with pytest.raises(ValueError, match="video 2 starts at 2 s of the sound of 'clip2'"):
        find_sounds([train_json])
