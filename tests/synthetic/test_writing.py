"""A data set is the same wherever it is made, is made once, and nothing else is ever overwritten."""

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avis.synthetic import SynthOptions, make_synthavis


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_the_number_of_processes(
    tiny_root: Path, tiny_options: SynthOptions, tmp_path: Path
) -> None:
    make_synthavis(tmp_path, tiny_options, workers=2, progress=False)
    assert contents(tmp_path) == contents(tiny_root)


def test_another_seed_gives_another_data_set_and_more_videos_the_same_first_ones(
    tiny_root: Path, tiny_options: SynthOptions, tmp_path: Path
) -> None:
    make_synthavis(tmp_path / "seed", replace(tiny_options, seed=1), workers=1, progress=False)
    make_synthavis(tmp_path / "fewer", replace(tiny_options, train=2, val=0), workers=1, progress=False)
    frame = "train/JPEGImages/train_00001/00000.jpg"
    original = (tiny_root / frame).read_bytes()
    assert (tmp_path / "seed" / frame).read_bytes() != original
    assert (tmp_path / "fewer" / frame).read_bytes() == original


def test_a_complete_data_set_is_left_alone_and_a_missing_split_is_added(
    tiny_options: SynthOptions, tmp_path: Path
) -> None:
    options = replace(tiny_options, train=1, val=1)
    make_synthavis(tmp_path, options, workers=1, progress=False)
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make_synthavis(tmp_path, options, workers=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times

    (tmp_path / "val.json").unlink()  # as an interruption leaves it
    make_synthavis(tmp_path, options, workers=1, progress=False)
    assert contents(tmp_path) == before
    assert (tmp_path / "train.json").stat().st_mtime_ns == times[tmp_path / "train.json"]


def test_other_options_need_overwrite_and_leave_nothing_behind(
    tiny_options: SynthOptions, tmp_path: Path
) -> None:
    make_synthavis(tmp_path, replace(tiny_options, train=2, val=1), workers=1, progress=False)
    fewer = replace(tiny_options, train=1, val=0)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"train 2, not 1, val 1, not 0"):
        make_synthavis(tmp_path, fewer, workers=1, progress=False)
    assert contents(tmp_path) == before
    make_synthavis(tmp_path, fewer, workers=1, progress=False, overwrite=True)
    assert len(json.loads((tmp_path / "train.json").read_text())["videos"]) == 1
    assert [path.name for path in (tmp_path / "train" / "JPEGImages").iterdir()] == ["train_00000"]
    assert not (tmp_path / "val").exists() and not (tmp_path / "val.json").exists()


def test_data_of_others_is_never_touched(tiny_options: SynthOptions, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"holds train\.json, not made by SynthAVIS"):
        make_synthavis(tmp_path, tiny_options, workers=1, progress=False, overwrite=True)
    assert contents(tmp_path) == {"train.json": b"{}"}


def read_pcm(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)


def test_separated_sources_add_up_to_the_sound_and_change_nothing_else(
    tiny_root: Path, tiny_options: SynthOptions, tmp_path: Path
) -> None:
    make_synthavis(tmp_path, replace(tiny_options, separated_sources=5), workers=1, progress=False)
    made, places = contents(tmp_path), set()
    assert {name: made[name] for name in contents(tiny_root) if not name.endswith(".json")} == {
        name: content for name, content in contents(tiny_root).items() if not name.endswith(".json")
    }
    for sound in tmp_path.glob("*/WAVAudios/*.wav"):
        folder = sound.parents[1] / "WAVAudios_sep" / sound.stem
        files = sorted(folder.iterdir())
        assert [path.name for path in files] == [f"source_0{number}.wav" for number in range(1, 6)]
        sources = np.stack([read_pcm(path) for path in files])
        # The options have no noise; each source is rounded to a step of its own.
        np.testing.assert_allclose(sources.sum(axis=0), read_pcm(sound), atol=len(files))
        places |= set(np.flatnonzero(sources.any(axis=1)))
    assert places == set(range(5))


def test_sources_are_not_added_to_a_data_set_without(tiny_root: Path, tiny_options: SynthOptions) -> None:
    assert "separated_sources" not in (tiny_root / "synthavis.json").read_text()
    with pytest.raises(FileExistsError, match=r"made otherwise \(separated_sources None, not 5\)"):
        make_synthavis(tiny_root, replace(tiny_options, separated_sources=5), workers=1)


def test_a_data_set_with_sources_is_not_one_without(tiny_options: SynthOptions, tmp_path: Path) -> None:
    options = replace(tiny_options, train=1, val=0)
    make_synthavis(tmp_path, replace(options, separated_sources=4), workers=1, progress=False)
    with pytest.raises(FileExistsError, match=r"made otherwise \(separated_sources 4, not None\)"):
        make_synthavis(tmp_path, options, workers=1)
