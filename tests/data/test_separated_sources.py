"""Features of separated sources: where they are found, what clips hold of them, and what is refused.

S sources, T frames; (T, A) each in a file of its own.
"""

import shutil

import numpy as np
import pytest
import torch

from avis.audio import EXAMPLE_SECONDS
from avis.audio.log_mel import FRONT_END_VERSION
from avis.data import build_test_loader, build_train_loader, load_aviseg_json
from avis.data.records import with_features
from avis.dataset_tools.sound_checks import SoundSettings
from avis.dataset_tools.validation import validate_dataset
from avis.formats.audio_features import Provenance, open_features, read_provenance, write_features
from avis.inference import VideoPredictor
from tests.small_dataset import LENGTH, edit, write_split

NUM_SOURCES = 3
FOLDER = "FEATAudios_sep"


def made_by(weights="0" * 16, silence=(0.5,) * 128):
    return Provenance("VGGish", weights, 1.0, EXAMPLE_SECONDS, 16000, FRONT_END_VERSION, silence)


def values(video, source, length=LENGTH):
    """Features (T, A) that say which video, source and frame they are of."""
    rows = 100 * video + 10 * source + np.arange(length, dtype=np.float32)
    return np.repeat(rows[:, None], 128, axis=1)


def write_sources(json_file, num_videos=3, num_sources=NUM_SOURCES, made=None):
    folder = json_file.with_suffix("") / FOLDER
    for video in range(1, num_videos + 1):
        for source in range(1, num_sources + 1):
            path = folder / f"clip{video}" / f"source_{source:02d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            if made is None:
                np.save(path, values(video, source))
            else:
                write_features(path, values(video, source), made)
    return folder


@pytest.fixture
def val_json(tmp_path):
    return write_split(tmp_path, "val", num_videos=2)


@pytest.fixture
def run(cfg, train_json, val_json):
    """A run with three separated sources in training and test data."""
    write_sources(train_json)
    write_sources(val_json, num_videos=2)
    cfg.DATASETS.TEST = (str(val_json),)
    cfg.INPUT.AUDIO.FEATURES_DIR, cfg.INPUT.AUDIO.NUM_SOURCES = FOLDER, NUM_SOURCES
    return cfg


def heard_in_test(cfg):
    return [video for (video,) in build_test_loader(cfg, cfg.DATASETS.TEST[0])]


def expected(video, frames, length=LENGTH):
    """(F, S, A) of a video's frames."""
    sources = [values(video, source, length) for source in range(1, NUM_SOURCES + 1)]
    return np.stack(sources, axis=1)[list(frames)]


@pytest.mark.parametrize("source", ["auto", "features"])
def test_clips_hold_the_sources_of_their_frames(run, source):
    run.INPUT.AUDIO.SOURCE = source
    for clip in next(iter(build_train_loader(run))):
        wanted = expected(clip["video_id"], clip["frame_indices"])
        np.testing.assert_array_equal(clip["audio_features"], wanted)
    for video in heard_in_test(run):
        wanted = expected(video["video_id"], range(LENGTH))
        np.testing.assert_array_equal(video["audio_features"], wanted)


def test_one_file_with_an_axis_of_sources_is_the_same(run, train_json, val_json):
    before = heard_in_test(run)
    for folder in [
        path for file in (train_json, val_json) for path in (file.with_suffix("") / FOLDER).iterdir()
    ]:
        np.save(folder.with_suffix(".npy"), open_features(folder))
        shutil.rmtree(folder)
    for video, other in zip(heard_in_test(run), before, strict=True):
        assert torch.equal(video["audio_features"], other["audio_features"])


def test_another_video_is_heard_shuffled_and_no_video_in_silence(run, train_json, val_json):
    run.INPUT.AUDIO.AT_TEST = "shuffled"
    np.testing.assert_array_equal(heard_in_test(run)[0]["audio_features"], expected(2, range(LENGTH)))
    run.INPUT.AUDIO.AT_TEST = "silent"
    assert [video["audio_silence"] for video in heard_in_test(run)] == [NUM_SOURCES, NUM_SOURCES]
    for json_file, number in ((train_json, 3), (val_json, 2)):
        write_sources(json_file, number, made=made_by())
    silence = heard_in_test(run)[0]["audio_features"]
    assert silence.shape == (LENGTH, NUM_SOURCES, 128) and (silence == 0.5).all()


def test_videos_in_nested_folders_and_one_named_as_a_folder_are_kept_apart(tmp_path):
    """Features of a/b lie in the folder a, which is not one of the sources of a video called a."""
    json_file = write_split(tmp_path, "nested", num_videos=2)

    def nest(content):
        for video, name in zip(content["videos"], ("a", "a/b"), strict=True):
            video["file_names"] = [f"{name}/{t}.png" for t in range(LENGTH)]

    edit(json_file, nest)
    folder = json_file.with_suffix("") / FOLDER / "a" / "b"
    folder.mkdir(parents=True)
    np.save(folder / "source_01.npy", values(1, 1))
    found = [record["audio_features_file"] for record in with_features(load_aviseg_json(json_file), FOLDER)]
    assert found == [None, str(folder)]


def test_a_video_that_starts_within_its_sound_has_none(run, train_json):
    edit(train_json, lambda content: content["videos"][1].update(start=2))
    found = [r["audio_features_file"] for r in with_features(load_aviseg_json(train_json), FOLDER)]
    assert found[0].endswith(f"{FOLDER}/clip1") and found[1] is None


def remove_second(folder):
    (folder / "clip2" / "source_02.npy").unlink()


def remove_last(folder):
    (folder / "clip2" / "source_03.npy").unlink()


def rename_last(folder):
    (folder / "clip2" / "source_03.npy").rename(folder / "clip2" / "source_3.npy")


def remove_all(folder):
    shutil.rmtree(folder / "clip2")


def mix_makers(folder):
    write_features(folder / "clip2" / "source_02.npy", values(2, 2), made_by())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_second, r"clip2/source_02\.npy is missing: 2 sources .* here is source_03\.npy"),
        (rename_last, r"clip2/source_03\.npy is missing: 3 sources .* here is source_3\.npy"),
        (remove_last, r"clip2 has 2 separated sources, INPUT\.AUDIO\.NUM_SOURCES is 3"),
        (remove_all, r"separated sources come as features only, but 1 videos have none in FEATAudios_sep"),
        (mix_makers, r"clip2: its sources were not made alike"),
    ],
)
@pytest.mark.parametrize("build", [build_train_loader, heard_in_test])
def test_what_is_missing_in_any_data_set_of_the_run_is_named(run, train_json, damage, message, build):
    damage(train_json.with_suffix("") / FOLDER)
    with pytest.raises(ValueError, match=message):
        build(run)


@pytest.mark.parametrize(
    "array", [values(1, 2, LENGTH - 1), values(1, 2)[:, :64], np.zeros((LENGTH, 1, 128))]
)
def test_sources_of_different_shapes_are_named(run, val_json, array):
    np.save(val_json.with_suffix("") / FOLDER / "clip1" / "source_02.npy", array)
    with pytest.raises(ValueError, match=r"video 1: .*clip1/source_02\.npy: shape .* \(6, 128\)"):
        heard_in_test(run)


def test_sources_of_another_length_than_the_video_are_named(run, val_json):
    for source in (1, 2, 3):
        path = val_json.with_suffix("") / FOLDER / "clip1" / f"source_{source:02d}.npy"
        np.save(path, values(1, source, LENGTH + 1))
    with pytest.raises(ValueError, match=r"video 1: .*clip1: shape \(7, 3, 128\), not \(6, 128\)"):
        heard_in_test(run)


def test_the_number_of_sources_is_what_the_config_says(run, train_json, val_json):
    run.INPUT.AUDIO.NUM_SOURCES = 1
    assert all("audio_examples" in video for video in heard_in_test(run))  # "auto" finds no features for one
    run.INPUT.AUDIO.SOURCE = "features"
    with pytest.raises(ValueError, match=r"'features', but .*clip1 has 3 separated sources, .*SOURCES is 1"):
        heard_in_test(run)
    run.INPUT.AUDIO.NUM_SOURCES = 0
    with pytest.raises(ValueError, match="NUM_SOURCES is 0"):
        heard_in_test(run)
    run.INPUT.AUDIO.NUM_SOURCES, run.INPUT.AUDIO.SOURCE = NUM_SOURCES, "waveform"
    with pytest.raises(ValueError, match=r"'waveform', but .*choose 'features' or 'auto'"):
        heard_in_test(run)


def test_a_data_set_without_any_sound_is_tested_in_the_silence_of_all_sources(run, val_json):
    shutil.rmtree(val_json.with_suffix("") / FOLDER)
    shutil.rmtree(val_json.with_suffix("") / "WAVAudios")
    run.INPUT.AUDIO.AT_TEST, run.DATASETS.TRAIN = "silent", ("absent.json",)
    for source, number, key in (
        ("auto", NUM_SOURCES, "audio_silence"),
        ("features", NUM_SOURCES, "audio_silence"),
        ("features", 1, "audio_silence"),
        ("auto", 1, "audio_examples"),
    ):
        run.INPUT.AUDIO.SOURCE, run.INPUT.AUDIO.NUM_SOURCES = source, number
        videos = heard_in_test(run)
        assert all(key in video and video.get("audio_silence", number) == number for video in videos)


@pytest.mark.parametrize("folder", ["../other", "/etc", "", "a/../../b"])
def test_a_folder_of_features_beyond_the_data_set_is_refused(run, folder):
    run.INPUT.AUDIO.FEATURES_DIR = folder
    with pytest.raises(ValueError, match=r"FEATURES_DIR is .*not a folder beside JPEGImages"):
        build_train_loader(run)


def test_sources_made_on_several_devices_are_made_alike(tmp_path):
    for number, silence in ((1, 0.5), (2, 0.500001)):
        write_features(tmp_path / f"source_{number:02d}.npy", values(1, number), made_by(silence=(silence,)))
    assert read_provenance(tmp_path) == made_by(silence=(0.5,))


def test_the_validation_reads_them(run, train_json):
    settings = SoundSettings(features_dir=FOLDER, num_sources=NUM_SOURCES)
    assert validate_dataset(train_json, settings) == []
    remove_second(train_json.with_suffix("") / FOLDER)
    (problem,) = validate_dataset(train_json, settings)
    assert problem.kind == "unusable features" and "source_02.npy is missing" in problem.message
    remove_all(train_json.with_suffix("") / FOLDER)
    problems = validate_dataset(train_json, SoundSettings(features_dir=FOLDER, num_sources=2))
    assert [problem.message.partition("has ")[2] for problem in problems] == [
        "3 separated sources, not 2",
        "3 separated sources, not 2",
    ]


def test_a_model_of_separated_sources_takes_no_video_files(run):
    with pytest.raises(ValueError, match=r"hears 3 separated sources .*sound of a video is one mixture"):
        VideoPredictor(run)
