import pytest
import torch
from detectron2.modeling import build_model

import avis.modeling  # noqa: F401  (registers the model)
from avis.app import Limits, PredictionService, WeightChoice, Workspace
from avis.config import get_avis_cfg
from tests.inference.conftest import CONFIG, OVERRIDES
from tests.media.recordings import record, tone
from tests.small_dataset import CATEGORIES


@pytest.fixture(scope="session")
def weights(tmp_path_factory, request):
    """A weight file that holds its config; an untrained model's scores are low."""
    cfg = get_avis_cfg(request.config.rootpath / CONFIG, OVERRIDES)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    content = {"model": build_model(cfg).state_dict(), "categories": CATEGORIES, "config": cfg.dump()}
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def choice(weights):
    return WeightChoice({"tiny": weights}, "", ())


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    workspace = Workspace()
    yield workspace
    workspace.remove()


@pytest.fixture
def service(workspace, choice):
    return PredictionService(workspace, choice, Limits(5, 1))


@pytest.fixture
def upload(workspace):
    """Puts a video where the page's uploads go, by default one of two seconds with sound."""

    def put(name="concert.mp4", content=None, folder="digest"):
        path = workspace.folder / folder / name
        path.parent.mkdir(exist_ok=True)
        if content is None:
            return record(path, 2, sounds=(tone(2),))
        path.write_bytes(content)
        return path

    return put
