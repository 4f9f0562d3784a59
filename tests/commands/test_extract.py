"""Videos cut into frames and sound by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avis.commands.extract import main
from avis.data import load_aviseg_json
from avis.media.video import read_waveform
from tests.media.recordings import onset, record, shown_seconds, tone


def extract(*arguments: object) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos, of which the one in a folder of its own has sound, from 1.5 s on."""
    (tmp_path / "videos/day").mkdir(parents=True)
    record(tmp_path / "videos/quiet.mp4", 2, first=4)
    record(tmp_path / "videos/day/concert.mp4", 3, sounds=(tone(3, begin=1.5),))
    (tmp_path / "videos/notes.txt").write_text("not a video")
    return tmp_path / "videos"


def test_videos_become_a_split_without_annotations(tmp_path: Path, videos: Path):
    assert extract(videos, "--output", tmp_path / "out", "--split", "all", "--categories", "dog", "cat") == 0
    concert, quiet = load_aviseg_json(tmp_path / "out/all.json")
    assert [concert["name"], quiet["name"]] == ["day/concert", "quiet"]
    frames = [[np.asarray(Image.open(f)) for f in found["file_names"]] for found in (concert, quiet)]
    assert [shown_seconds(pictures) for pictures in frames] == [[0, 1, 2], [4, 5]]
    assert onset(*read_waveform(concert["audio_file"])) == pytest.approx(1.5, abs=0.05)
    assert quiet["audio_file"] is None
    content = json.loads((tmp_path / "out/all.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert content["annotations"] == [] and content["info"]["fps"] == 1


def test_sound_that_ends_early_goes_on_as_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    video = record(tmp_path / "short.mp4", 3, sounds=(tone(1),))
    assert extract(video, "--output", tmp_path / "out") == 0
    assert "whose sound ends before the picture" in caplog.text
    waveform, rate = read_waveform(tmp_path / "out/train/WAVAudios/short.wav")
    assert len(waveform) >= 3 * rate and np.abs(waveform[2 * rate :]).max() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be decoded"), (b"not a video", "cannot be decoded"), (None, "no such file")],
)
def test_broken_videos_are_refused(tmp_path: Path, capsys, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    assert extract(tmp_path / "a.mp4", "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out/train.json").exists()


def test_a_folder_without_videos_is_refused(tmp_path: Path, capsys):
    (tmp_path / "empty").mkdir()
    assert extract(tmp_path / "empty", "--output", tmp_path / "out") == 2
    assert "there is no video file in" in capsys.readouterr().err
