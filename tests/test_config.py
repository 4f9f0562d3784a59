"""The config: files, overrides, and what is refused."""

import re

import pytest
import yaml

from avis.config import get_avis_cfg


def test_overrides_come_after_the_file():
    cfg = get_avis_cfg("configs/avis_R50.yaml", ["SOLVER.MAX_ITER", 7])
    assert cfg.SOLVER.MAX_ITER == 7
    assert cfg.SOLVER.BASE_LR == 0.0001


def test_the_papers_numbers():
    cfg = get_avis_cfg("configs/avis_R50.yaml")
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (12, 6000, (4000,))
    assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.BACKBONE_MULTIPLIER) == (0.05, 0.1)
    assert (cfg.INPUT.SAMPLING_FRAME_NUM, cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES) == (2, 100)
    assert cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD == 0.5


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=re.escape("no_such.yaml")):
        get_avis_cfg("no_such.yaml")


def test_an_unknown_key_is_named(tmp_path):
    config = tmp_path / "typo.yaml"
    config.write_text("MODEL:\n  AUDIOS: 1\n")
    with pytest.raises(KeyError, match=re.escape("MODEL.AUDIOS")):
        get_avis_cfg(config)


def test_a_config_cannot_run_code(tmp_path):
    planted = tmp_path / "planted"
    config = tmp_path / "hostile.yaml"
    config.write_text(f'MODEL: !!python/object/apply:os.mkdir ["{planted}"]\n')
    with pytest.raises(yaml.YAMLError):
        get_avis_cfg(config)
    assert not planted.exists()
