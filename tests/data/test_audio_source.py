"""One source of sound for all data sets of a run; what a data set lacks, or others have made, is refused."""

import logging
import shutil

import numpy as np
import pytest
import torch

from avis.audio import EXAMPLE_SECONDS, AudioCNN
from avis.audio.log_mel import FRONT_END_VERSION
from avis.data import build_test_loader, build_train_loader
from avis.dataset_tools.audio_features import prepare_features
from avis.dataset_tools.sound_files import find_sounds
from avis.formats.audio_features import Provenance, write_features
from tests.small_dataset import LENGTH, write_split


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return AudioCNN().eval()


@pytest.fixture
def val_json(tmp_path):
    return write_split(tmp_path, "val", num_videos=2)


@pytest.fixture
def run(cfg, val_json, backbone, tmp_path):
    """A run that trains on one data set and tests on another, with a frozen AudioCNN that has weights."""
    torch.save(backbone.state_dict(), tmp_path / "audio.pth")
    cfg.MODEL.AUDIO.NAME, cfg.MODEL.AUDIO.WEIGHTS = "AudioCNN", str(tmp_path / "audio.pth")
    cfg.DATASETS.TEST = (str(val_json),)
    return cfg


def prepare(backbone, *json_files, **options):
    prepare_features(find_sounds(json_files), backbone, **options)


def remove_sound(json_file):
    shutil.rmtree(json_file.with_suffix("") / "WAVAudios")


def write_bare(json_file, channels=128):
    """Features of videos 1 to 3 in files that do not say what made them; their folder."""
    folder = json_file.with_suffix("") / "FEATAudios"
    folder.mkdir()
    for number in (1, 2, 3):
        np.save(folder / f"clip{number}.npy", np.random.rand(LENGTH, channels).astype(np.float32))
    return folder


def heard(cfg):
    """What training and evaluation hear: the keys of their clips, the same for both."""
    (training, *_), ((evaluation,), *_) = (
        next(iter(build_train_loader(cfg))),
        list(build_test_loader(cfg, cfg.DATASETS.TEST[0])),
    )
    sources = [{key for key in clip if key.startswith("audio")} for clip in (training, evaluation)]
    assert sources[0] == sources[1]
    return "features" if "audio_features" in sources[0] else "waveform"


def test_auto_takes_features_where_all_have_them_of_this_backbone(run, train_json, val_json, backbone):
    prepare(backbone, train_json)
    assert heard(run) == "waveform"
    prepare(backbone, val_json)
    assert heard(run) == "features"
    run.MODEL.AUDIO.FREEZE = False
    assert heard(run) == "waveform"


def test_one_line_says_the_source_of_each_data_set(run, train_json, val_json, caplog):
    with caplog.at_level(logging.INFO):
        build_train_loader(run)
    lines = [message for message in caplog.messages if "audio source" in message]
    assert lines == [f"audio source of {train_json}, {val_json}: waveform"]


def other_weights(cfg, prepare_both):
    prepare_both(AudioCNN())


def other_rate(cfg, prepare_both):
    prepare_both(fps=2)


def other_name(cfg, prepare_both):
    prepare_both()
    cfg.MODEL.AUDIO.NAME, cfg.MODEL.AUDIO.WEIGHTS = "VGGish", ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_weights, r"made with the weights \w{16}, those in MODEL\.AUDIO\.WEIGHTS are \w{16}"),
        (other_rate, r"made at 2 FPS, INPUT\.FPS is 1"),
        (other_name, r"made by AudioCNN, MODEL\.AUDIO\.NAME is VGGish"),
    ],
)
def test_features_that_others_made_are_refused(run, train_json, val_json, backbone, change, message):
    def prepare_both(maker=backbone, **options):
        prepare(maker, train_json, val_json, **options)

    change(run, prepare_both)
    assert heard(run) == "waveform"
    run.INPUT.AUDIO.SOURCE = "features"
    for build in (build_train_loader, lambda cfg: build_test_loader(cfg, cfg.DATASETS.TEST[0])):
        with pytest.raises(ValueError, match=rf"clip\d\.npy was {message}"):
            build(run)


def test_features_of_several_makers_are_refused(run, train_json, val_json, backbone):
    prepare(backbone, train_json)
    prepare(AudioCNN(), val_json)
    run.merge_from_list(["MODEL.AUDIO.NAME", "PrecomputedFeatures", "INPUT.AUDIO.SOURCE", "features"])
    with pytest.raises(ValueError, match=r"val.*1\.npy was made by AudioCNN.*train.*1\.npy by AudioCNN"):
        build_train_loader(run)


def test_files_that_do_not_say_are_vggishs(run, train_json, val_json, caplog):
    for json_file in (train_json, val_json):
        write_bare(json_file)
    assert heard(run) == "waveform"
    run.MODEL.AUDIO.NAME, run.MODEL.AUDIO.WEIGHTS = "VGGish", ""
    with caplog.at_level(logging.INFO):
        build_train_loader(run)
    assert len([message for message in caplog.messages if "taken for VGGish's" in message]) == 1
    assert heard(run) == "features"


def test_features_with_and_without_postprocessing_are_told_apart(run, train_json, val_json):
    """Also by a model that has no weights to compare, and where files do not say what made them."""
    files = [write_bare(json_file) for json_file in (train_json, val_json)]
    run.MODEL.AUDIO.NAME, run.MODEL.AUDIO.WEIGHTS, run.MODEL.AUDIO.POSTPROCESS = "VGGish", "", True
    assert heard(run) == "waveform"
    run.INPUT.AUDIO.SOURCE = "features"
    with pytest.raises(ValueError, match=r"made without post-processing, MODEL\.AUDIO\.POSTPROCESS is True"):
        build_train_loader(run)
    made = Provenance("VGGish", "0" * 16, 1.0, EXAMPLE_SECONDS, 16000, FRONT_END_VERSION, (0.0,), True)
    for path in (path for folder in files for path in folder.iterdir()):
        write_features(path, np.load(path), made)
    assert heard(run) == "features"
    run.MODEL.AUDIO.POSTPROCESS = False
    with pytest.raises(ValueError, match=r"made with post-processing, MODEL\.AUDIO\.POSTPROCESS is False"):
        build_train_loader(run)


@pytest.mark.parametrize("source", ["waveform", "auto"])
def test_a_model_of_waveforms_is_not_deaf_to_features(run, train_json, val_json, source):
    write_bare(train_json)
    remove_sound(train_json)
    run.INPUT.AUDIO.SOURCE = source
    with pytest.raises(ValueError, match=r"train\.json'.*waveforms.*3 videos have features.*SOURCE features"):
        build_train_loader(run)
    run.DATASETS.TRAIN, run.DATASETS.TEST = run.DATASETS.TEST, run.DATASETS.TRAIN
    with pytest.raises(ValueError, match=r"train\.json'.*waveforms"):
        build_train_loader(run)  # what is found before the training need not be found after it


def test_features_of_silence_are_no_sound(run, train_json, backbone):
    sound = train_json.with_suffix("") / "WAVAudios" / "clip2.wav"
    content = sound.read_bytes()
    sound.unlink()
    prepare(backbone, train_json)
    run.INPUT.AUDIO.SOURCE = "waveform"
    assert heard(run) == "waveform"
    sound.write_bytes(content)
    prepare(backbone, train_json, overwrite=True)
    sound.unlink()
    with pytest.raises(ValueError, match="1 videos have features in FEATAudios and no sound"):
        build_train_loader(run)


def test_a_data_set_without_sound_is_refused(run, val_json):
    remove_sound(val_json)
    name = run.DATASETS.TEST[0]
    for build in (build_train_loader, lambda cfg: build_test_loader(cfg, name)):
        with pytest.raises(ValueError, match=r"val\.json': none of its 2 videos has sound.*AUDIO\.NAME ''"):
            build(run)
    run.INPUT.AUDIO.AT_TEST = "silent"
    build_train_loader(run)
    assert len(list(build_test_loader(run, name))) == 2
    run.DATASETS.TRAIN, run.INPUT.AUDIO.SOURCE = run.DATASETS.TEST, "waveform"
    with pytest.raises(ValueError, match="none of its 2 videos has sound"):
        build_train_loader(run)
    run.MODEL.AUDIO.NAME = ""
    build_train_loader(run)


def test_an_evaluation_elsewhere_needs_no_training_data(run, train_json, val_json):
    train_json.unlink()
    run.DATASETS.TRAIN = (str(train_json), "registered_elsewhere")
    assert len(list(build_test_loader(run, str(val_json)))) == 2


def test_a_source_that_is_named_lets_a_model_of_features_hear_new_sound(run, train_json, val_json):
    write_bare(train_json)
    remove_sound(train_json)
    with pytest.raises(ValueError, match=r"'auto' takes no features: .*val\.json"):
        build_test_loader(run, str(val_json))
    run.INPUT.AUDIO.SOURCE = "waveform"
    assert len(list(build_test_loader(run, str(val_json)))) == 2
