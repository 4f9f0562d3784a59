"""The same weights predict the same by every way to hear, silence among them."""

import numpy as np
import pytest
import torch

from avis.audio import SILENCE, AudioCNN, VGGish
from avis.audio.backbone import WeightState
from avis.audio.weights import load_audio_weights
from avis.config import get_avis_cfg
from avis.data import build_test_loader, build_train_loader
from avis.dataset_tools.audio_features import prepare_features
from avis.dataset_tools.sound_files import find_sounds
from avis.modeling import build_model
from tests.small_dataset import LENGTH, write_split


@pytest.fixture
def json_file(tmp_path):
    """The second of its three videos is silent."""
    json_file = write_split(tmp_path)
    (json_file.with_suffix("") / "WAVAudios" / "clip2.wav").unlink()
    return json_file


@pytest.fixture
def cfg(request, json_file, tmp_path):
    """The quickstart's model with few layers, whose frozen audio backbone has weights."""
    torch.manual_seed(0)
    backbone = AudioCNN()
    with torch.no_grad():
        backbone.projection.bias.add_(3.0)  # silence is far from zeros
    torch.save(backbone.state_dict(), tmp_path / "audio.pth")
    return get_avis_cfg(
        request.config.rootpath / "configs" / "quickstart.yaml",
        ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2, "MODEL.MASK_FORMER.DEC_LAYERS", 2,
         "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", 0.0,
         "INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 0,
         "SOLVER.IMS_PER_BATCH", 3, "DATASETS.TRAIN", (str(json_file),), "DATASETS.TEST", (str(json_file),),
         "MODEL.AUDIO.FREEZE", True, "MODEL.AUDIO.WEIGHTS", str(tmp_path / "audio.pth")],
    )  # fmt: skip


def prepare(cfg, json_file):
    """FEATAudios of the sounding videos alone."""
    prepare_features(find_sounds([json_file]), build_model(cfg).audio_backbone)
    (json_file.with_suffix("") / "FEATAudios" / "clip2.npy").unlink()


@torch.no_grad()
def scores(cfg, model, source, sound):
    cfg.INPUT.AUDIO.SOURCE, cfg.INPUT.AUDIO.AT_TEST = source, sound
    loader = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    return [[track.score for track in model(video)[0].tracks] for video in loader]


def test_predictions_are_the_same_by_waveform_and_features(cfg, json_file):
    prepare(cfg, json_file)
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    found = {}
    for sound in ("own", "silent", "shuffled"):
        found[sound] = scores(cfg, model, "waveform", sound)
        by_features = np.array(scores(cfg, model, "features", sound))
        assert by_features == pytest.approx(np.array(found[sound]), abs=1e-5)
    assert np.abs(np.subtract(found["own"], found["silent"])).max() > 1e-3


def test_training_hears_the_same_by_waveform_and_features(cfg, json_file):
    """Its batch mixes sound and silence."""
    prepare(cfg, json_file)
    model, heard = build_model(cfg).train(), {}
    for cfg.INPUT.AUDIO.SOURCE in ("waveform", "features"):
        heard[cfg.INPUT.AUDIO.SOURCE] = model.hear(next(iter(build_train_loader(cfg))))
    torch.testing.assert_close(heard["waveform"], heard["features"], rtol=1e-4, atol=1e-4)


def frames(number):
    return torch.zeros(number, 3, 32, 64)


@torch.no_grad()
@pytest.mark.parametrize("num_sources", [1, 3])
def test_silence_that_no_file_says_is_the_backbones(cfg, num_sources):
    model = build_model(cfg).train()
    silence = model.hear([{"audio_examples": torch.full((4, 96, 64), SILENCE)}])
    sound = torch.randn(4, num_sources, 128)
    clips = [
        {"image": frames(4), "audio_silence": num_sources},
        {"image": frames(4), "audio_features": sound},
    ]
    heard = model.hear(clips)
    torch.testing.assert_close(heard[:1], silence.expand(1, 4, num_sources, 128), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(heard[1], sound)
    assert silence.abs().max() > 1


@pytest.mark.parametrize("name", ["AudioCNN", "PrecomputedFeatures"])
def test_without_weights_silence_is_zeros_with_one_warning_and_is_no_hearing(cfg, name, caplog):
    cfg.MODEL.AUDIO.NAME, cfg.MODEL.AUDIO.WEIGHTS = name, ""
    model = build_model(cfg).train()
    for _ in range(2):
        assert not model.hear([{"image": frames(2), "audio_silence": 1}]).any()
    assert model.audio_backbone.weight_state is WeightState.INITIAL
    if name == "AudioCNN":
        model.audio_backbone.weight_state = WeightState.DEAF
        assert not model.eval().hear([{"image": frames(2), "audio_silence": 1}]).any()
    assert len([m for m in caplog.messages if f"how {name} hears silence is not known" in m]) == 1


def test_features_of_other_sources_keep_their_number_in_silence(cfg, json_file):
    folder = json_file.with_suffix("") / "FEATAudios"
    folder.mkdir()
    for number in (1, 3):
        np.save(folder / f"clip{number}.npy", np.ones((LENGTH, 2, 128), np.float32))
    cfg.merge_from_list(["MODEL.AUDIO.NAME", "PrecomputedFeatures", "MODEL.AUDIO.WEIGHTS", ""])
    cfg.INPUT.AUDIO.NUM_SOURCES = 2
    model = build_model(cfg)
    assert model.hear(next(iter(build_train_loader(cfg)))).shape[2:] == (2, 128)
    cfg.INPUT.AUDIO.AT_TEST = "silent"
    for video in build_test_loader(cfg, cfg.DATASETS.TEST[0]):
        assert model.hear(video).shape == (1, LENGTH, 2, 128)


def test_features_that_other_weights_made_are_refused_by_the_model(cfg, json_file):
    """Also where the config does not name them, as those of a checkpoint."""
    prepare(cfg, json_file)
    weights = cfg.MODEL.AUDIO.WEIGHTS
    cfg.MODEL.AUDIO.WEIGHTS, cfg.INPUT.AUDIO.SOURCE = "", "features"
    model = build_model(cfg)
    (video, *_) = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    model.hear(video)  # it has no weights yet, and so no features of its own
    load_audio_weights(model.audio_backbone, weights)
    model.hear(video)
    with torch.no_grad():
        model.audio_backbone.projection.bias.add_(1)
    with pytest.raises(ValueError, match=r"made with the weights \w{16}, the model's AudioCNN has \w{16}"):
        model.hear(video)


@pytest.mark.parametrize("backbone", [AudioCNN, VGGish])
def test_a_frozen_backbone_computes_alike_in_lower_precision(backbone):
    torch.manual_seed(0)
    model, examples = backbone().eval(), torch.randn(2, 96, 64)
    with torch.no_grad():
        expected = model(examples)
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(model(examples).float(), expected)
    model.freeze()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.train()(examples.bfloat16().float()), model(examples.bfloat16()))
        torch.testing.assert_close(model.train()(examples), expected, rtol=0, atol=0)
