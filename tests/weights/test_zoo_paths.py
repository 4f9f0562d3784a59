"""zoo://NAME in the place of weight files."""

import io
import pickle
from pathlib import Path

import pytest
import torch
from detectron2.utils.file_io import PathManager
from torch import nn

from avis.audio.pca import read_pca
from avis.weights import load_weights, read_checkpoint
from tests.zoo.server import serving, write_zoo


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.fixture
def model() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.fixture(autouse=True)
def zoo(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved, pca = io.BytesIO(), io.BytesIO()
    torch.save({"model": model.state_dict()}, saved)
    torch.save({"pca_eigen_vectors": torch.eye(4), "pca_means": torch.ones(4)}, pca)
    content = {
        "/model.pth": saved.getvalue(),
        "/pca.pth": pca.getvalue(),
        "/evil.pkl": pickle.dumps({"model": Runs(tmp_path / "ran")}),
    }
    with serving(content) as files:
        names = {name[1:-4]: {"file": name[1:]} for name in content}
        monkeypatch.setenv("AVIS_ZOO", str(write_zoo(tmp_path / "zoo.yaml", files.address, **names)))
        monkeypatch.setenv("AVIS_CACHE", str(tmp_path / "cache"))
        yield files


def test_weights_of_a_model(model: nn.Module):
    other = nn.Linear(3, 2)
    report = load_weights(other, "zoo://model")
    assert report.complete() and torch.equal(other.weight, model.weight)


def test_whatever_resolves_paths_resolves_names(tmp_path: Path):
    assert PathManager.get_local_path("zoo://model") == str(tmp_path / "cache/model.pth")
    with PathManager.open("zoo://model", "rb") as file:
        assert file.read(2) == b"PK"
    assert read_pca("zoo://pca")["pproc.pca_means"].shape == (4, 1)


def test_files_of_the_zoo_are_read_as_safely_as_any_other(tmp_path: Path):
    with pytest.raises(ValueError, match="zoo://evil is no weight file"):
        read_checkpoint("zoo://evil")
    assert not (tmp_path / "ran").exists()


def test_one_line_says_what_is_wrong():
    with pytest.raises(ValueError, match="zoo://modell: the zoo has no such weights; nearest: model"):
        read_checkpoint("zoo://modell")
    with pytest.raises(OSError, match=r"^zoo://acvis_R50 is downloaded by hand: open https://drive"):
        read_checkpoint("zoo://acvis_R50")
