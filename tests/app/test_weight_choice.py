"""Which weights the page offers."""

import pytest
import torch

from avis.app import WeightChoice, find_weights


def test_folders_stand_for_their_files_and_their_runs(tmp_path):
    for name in ("a.pth", "b.safetensors", "notes.txt", "run/model_final.pth", "run/model_0001.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "other/run").mkdir(parents=True)
    (tmp_path / "other/run/model_final.pth").touch()
    found = find_weights(
        [str(tmp_path), str(tmp_path / "other/run/model_final.pth"), str(tmp_path / "a.pth")]
    )
    parts = [path.relative_to(tmp_path).as_posix() for path in found.values()]
    assert parts == ["a.pth", "b.safetensors", "run/model_final.pth", "other/run/model_final.pth"]
    assert list(found)[3] == "other/run/model_final.pth" and len(set(found)) == 4


def test_without_weights_the_quickstarts_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"give --weights FILE, or make .* by tools/quickstart.sh"):
        find_weights([])
    (tmp_path / "output/quickstart").mkdir(parents=True)
    (tmp_path / "output/quickstart/model_final.pth").touch()
    assert list(find_weights([])) == ["quickstart/model_final.pth"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        find_weights([str(tmp_path / "none.pth")])
    with pytest.raises(FileNotFoundError, match="the folder holds no weights"):
        find_weights([str(tmp_path)])


def test_the_config_comes_from_the_file_or_the_command_line(weights, choice, tmp_path):
    predictor = choice.load("tiny")
    assert predictor.score_threshold == 0.0
    assert predictor.categories.names == ("violin", "dog")
    assert choice.load("tiny") is predictor
    content = torch.load(weights)
    config = tmp_path / "config.yaml"
    config.write_text(content.pop("config"))
    bare = tmp_path / "bare.pth"
    torch.save(content, bare)
    with pytest.raises(ValueError, match="bare does not hold its config: start with --config-file FILE"):
        WeightChoice({"bare": bare}, "", ()).load("bare")
    assert WeightChoice({"bare": bare}, str(config), ()).load("bare").categories == predictor.categories
