"""VideoPredictor: sizes, the same numbers as evaluation, and that it hears."""

import dataclasses

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from pycocotools import mask as mask_utils

from avis.data import ClipMapper, get_dataset_records
from avis.inference import VideoPredictor, open_video
from avis.media.video import write_video
from tests.media.recordings import record
from tests.small_dataset import LENGTH, tones, write_wav


def scores(prediction):
    return [track.score for track in prediction.tracks]


def test_a_folder_gives_what_evaluation_gives_for_the_same_record(cfg, predictor, json_file, folder):
    record = get_dataset_records([str(json_file)])[0]
    inputs = ClipMapper(cfg, is_train=False, audio_source="waveform")(record)
    with torch.no_grad():
        (expected,) = predictor.model([inputs])
    expected.video_id = "clip1"
    assert predictor(folder) == expected
    assert len(expected.tracks) == 3


def test_masks_have_the_videos_own_size_and_frame_rate(tmp_path, predictor):
    write_wav(tmp_path / "sound.wav", tones(1, 2))
    frames = np.random.default_rng(0).integers(0, 255, (8, 50, 90, 3)).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", frames, fps=4.0, audio_from=tmp_path / "sound.wav")
    for fps, length in ((None, 2), (2.0, 4)):
        prediction = predictor(tmp_path / "clip.mp4", fps)
        assert (prediction.height, prediction.width, prediction.length) == (50, 90, length)
        assert prediction.tracks
        for track in prediction.tracks:
            assert len(track.segmentations) == length
            masks = [mask for mask in track.segmentations if mask is not None]
            assert all(mask_utils.decode(mask).shape == (50, 90) for mask in masks)


def test_the_prediction_depends_on_the_sound(predictor, folder):
    video = open_video(folder, fps=1.0)
    silent = dataclasses.replace(video, audio_file=None)
    assert not np.allclose(scores(predictor.predict(video)), scores(predictor.predict(silent)), atol=1e-4)


@pytest.mark.parametrize("audio_backbone", ["", "AudioCNN"])
def test_a_model_that_does_not_listen_takes_videos_as_well(cfg, tmp_path, folder, audio_backbone):
    cfg = cfg.clone()
    cfg.MODEL.AUDIO.NAME, cfg.MODEL.FUSION.NAME = audio_backbone, ""
    cfg.MODEL.MASK_FORMER.AUDIO_QUERY = False
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    assert VideoPredictor(cfg)(folder).length == LENGTH


def test_a_rate_of_0_is_none(predictor, tmp_path):
    record(tmp_path / "a.mp4", 1)
    with pytest.raises(ValueError, match="fps must be positive"):
        predictor(tmp_path / "a.mp4", fps=0)


def test_weights_are_needed(cfg):
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        VideoPredictor(cfg)


def test_weights_of_a_model_with_other_classes_are_refused(cfg):
    cfg = cfg.clone()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES += 1
    with pytest.raises(ValueError, match=r"do not fit the model of the config: .*NUM_CLASSES 3"):
        VideoPredictor(cfg)


def test_audio_weights_of_the_config_win_over_the_checkpoints(cfg, tmp_path):
    """A model trained on precomputed features has never had any: its checkpoint holds random ones."""
    cfg = cfg.clone()
    cfg.MODEL.AUDIO.FREEZE = True
    cfg.MODEL.AUDIO.WEIGHTS = str(tmp_path / "audio.pth")
    in_checkpoint = VideoPredictor(without_audio_weights(cfg)).model.audio_backbone.state_dict()
    other = {name: torch.zeros_like(value) for name, value in in_checkpoint.items()}
    torch.save(other, cfg.MODEL.AUDIO.WEIGHTS)
    loaded = VideoPredictor(cfg).model.audio_backbone.state_dict()
    torch.testing.assert_close(loaded, other)


def without_audio_weights(cfg):
    cfg = cfg.clone()
    cfg.MODEL.AUDIO.WEIGHTS = ""
    return cfg
