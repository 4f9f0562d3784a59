"""Files of features are ordinary .npy files that say how they were made."""

import numpy as np
import pytest

from avis.formats.audio_features import Provenance, open_features, read_provenance, write_features

SILENCE = (float(np.float32(0.1)), -3.0)
MADE = Provenance("AudioCNN", "0123456789abcdef", 1.0, 0.96, 16000, 1, SILENCE)
FEATURES = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "FEATAudios" / "clip.npy"
    write_features(path, FEATURES, MADE)
    return path


def test_a_file_says_how_it_was_made_and_numpy_reads_it(path):
    assert read_provenance(path) == MADE
    for features in (np.load(path), np.load(path, mmap_mode="r"), open_features(path)):
        np.testing.assert_array_equal(features, FEATURES)
    assert [file.name for file in path.parent.iterdir()] == ["clip.npy"]


def test_a_file_of_another_program_says_nothing(path):
    np.save(path, np.load(path))
    assert read_provenance(path) is None


@pytest.mark.parametrize("behind", [b"x", b"[]", b"{}", b'{"avis_audio_features": {"silence": []}}'])
def test_what_cannot_be_read_behind_the_array_is_named(path, behind):
    np.save(path, FEATURES)
    with path.open("ab") as file:
        file.write(behind)
    with pytest.raises(ValueError, match=r"clip\.npy: how it was made cannot be read"):
        read_provenance(path)


def test_what_holds_no_numbers_is_named(path):
    np.save(path, np.array(["a"]))
    with pytest.raises(ValueError, match=r"clip\.npy: <U1 in it, not numbers"):
        open_features(path)
    path.write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"clip\.npy: no array can be read"):
        read_provenance(path)
