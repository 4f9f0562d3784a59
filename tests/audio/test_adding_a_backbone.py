"""Features of other programs need no audio backbone. (docs/extending.md: a backbone of one's own.)"""

import numpy as np
import pytest
import torch

from avis.config import get_avis_cfg
from avis.data import build_test_loader, build_train_loader
from avis.modeling import build_model
from tests.small_dataset import LENGTH, write_split


@pytest.fixture
def cfg(request, tmp_path):
    """The quickstart's model at a quarter of its size, on the small data set."""
    cfg = get_avis_cfg(request.config.rootpath / "configs" / "quickstart.yaml")
    json_file = str(write_split(tmp_path))
    overrides = {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 2,
        "MODEL.MASK_FORMER.DEC_LAYERS": 2,
        "INPUT.MIN_SIZE_TRAIN": (48,),
        "INPUT.MIN_SIZE_TEST": 0,
        "SOLVER.IMS_PER_BATCH": 2,
        "DATASETS.TRAIN": (json_file,),
        "DATASETS.TEST": (json_file,),
    }
    cfg.merge_from_list([item for pair in overrides.items() for item in pair])
    return cfg


def train_a_step(cfg):
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    sum(model(next(iter(build_train_loader(cfg)))).values()).backward()
    optimizer.step()
    return model


def test_features_of_other_programs_train_a_model_and_change_its_predictions(cfg, tmp_path):
    channels = 40
    cfg.merge_from_list(
        ["MODEL.AUDIO.NAME", "PrecomputedFeatures", "MODEL.AUDIO.FEATURE_DIM", channels,
         "MODEL.AUDIO.FREEZE", True, "INPUT.AUDIO.SOURCE", "features"]
    )  # fmt: skip
    folder = tmp_path / "train" / "FEATAudios"
    folder.mkdir()
    for number in (1, 2, 3):
        features = np.random.default_rng(number).standard_normal((LENGTH, channels))
        np.save(folder / f"clip{number}.npy", features.astype(np.float16))
    model = train_a_step(cfg).eval()
    predictions = {}
    for sound in ("own", "silent"):
        cfg.INPUT.AUDIO.AT_TEST = sound
        with torch.no_grad():
            (predictions[sound],) = model(next(iter(build_test_loader(cfg, cfg.DATASETS.TEST[0]))))
    assert predictions["own"].length == LENGTH
    scores = {
        sound: [track.score for track in prediction.tracks] for sound, prediction in predictions.items()
    }
    assert scores["own"] != scores["silent"]


def test_a_model_of_precomputed_features_refuses_to_hear(cfg):
    cfg.merge_from_list(["MODEL.AUDIO.NAME", "PrecomputedFeatures"])
    with pytest.raises(ValueError, match=r"cannot hear sound itself: set INPUT\.AUDIO\.SOURCE features"):
        train_a_step(cfg)
