"""Features of separated sources, computed once: of which sounds, in which files, and what is missing."""

import numpy as np
import pytest
import torch

from avis.audio import SILENCE, AudioCNN
from avis.data import load_aviseg_json
from avis.data.clip_audio import VideoSound, load_examples
from avis.data.records import with_features
from avis.dataset_tools.audio_features import prepare_features
from avis.dataset_tools.sound_files import find_sources
from avis.formats.audio_features import open_features
from tests.small_dataset import LENGTH, edit, tones, write_wav


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return AudioCNN(output_dim=24).eval()


def write_sources(json_file, *videos, num_sources=2):
    """WAVs of separated sources of videos: source s of clip v sounds like video 10 v + s."""
    for video in videos:
        for source in range(1, num_sources + 1):
            path = json_file.with_suffix("") / "WAVAudios_sep" / f"clip{video}" / f"source_{source:02d}.wav"
            write_wav(path, tones(10 * video + source, LENGTH))
    return json_file.with_suffix("") / "WAVAudios_sep"


@torch.no_grad()
def test_each_source_has_features_of_its_own_and_a_silent_video_of_silence(train_json, backbone):
    write_sources(train_json, 1, 2)
    (train_json.with_suffix("") / "WAVAudios" / "clip3.wav").unlink()
    summary = prepare_features(find_sources([train_json], 2, "FEATAudios_sep"), backbone)
    assert (summary.written, summary.silent, summary.failed) == (6, 2, [])
    records = with_features(load_aviseg_json(train_json), "FEATAudios_sep")
    for record in records[:2]:
        features = open_features(record["audio_features_file"])
        assert features.shape == (LENGTH, 2, 24)
        for source in (1, 2):
            wav = f"{record['split']}/WAVAudios_sep/{record['name']}/source_{source:02d}.wav"
            examples = load_examples(VideoSound("", LENGTH, wav), range(LENGTH), 1)
            np.testing.assert_allclose(features[:, source - 1], backbone(examples), rtol=1e-5, atol=1e-5)
    silence = backbone(torch.full((1, 96, 64), SILENCE))[0]
    np.testing.assert_allclose(open_features(records[2]["audio_features_file"])[3, 1], silence, atol=1e-5)
    assert prepare_features(find_sources([train_json], 2, "FEATAudios_sep"), backbone).kept == 6


def test_sources_that_are_missing_or_too_many_are_named(train_json):
    with pytest.raises(
        ValueError, match=r"clip1 has 0 files source_01\.wav, …, .*NUM_SOURCES is 2; .*--help"
    ):
        find_sources([train_json], 2)
    folder = write_sources(train_json, 1, 2, 3, num_sources=3)
    with pytest.raises(ValueError, match=r"clip1 has 3 files source_01\.wav, …, .*NUM_SOURCES is 2"):
        find_sources([train_json], 2)
    assert len(find_sources([train_json], 3)) == 9
    (folder / "clip2" / "source_02.wav").unlink()
    with pytest.raises(ValueError, match=r"clip2/source_02\.wav is missing"):
        find_sources([train_json], 3)


def test_a_split_without_any_sound_is_refused(train_json):
    for path in (train_json.with_suffix("") / "WAVAudios").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no video of .*train\.json has sound in WAVAudios_sep"):
        find_sources([train_json], 2)


def test_a_video_that_starts_later_than_its_sound_gets_no_features(train_json):
    write_sources(train_json, 1, 2, 3)
    edit(train_json, lambda content: content["videos"][1].update(start=2))
    with pytest.raises(ValueError, match="video 2 starts at 2 s of the sound of 'clip2'"):
        find_sources([train_json], 2)
