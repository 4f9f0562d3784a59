"""The keys, their defaults, and who hears."""

import pytest

from avis.config import get_avis_cfg, hears

QUERY = "MODEL.MASK_FORMER.AUDIO_QUERY"


def test_the_papers_numbers():
    cfg = get_avis_cfg("configs/avis_R50.yaml")
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (12, 6000, (4000,))
    assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.BACKBONE_MULTIPLIER) == (0.05, 0.1)
    assert (cfg.INPUT.SAMPLING_FRAME_NUM, cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES) == (2, 100)
    assert cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD == 0.5


def test_the_baselines_parts_are_the_default():
    cfg = get_avis_cfg()
    assert (cfg.IMPORTS, cfg.MODEL.LOSSES.NAMES) == ([], ["prediction"])
    assert (cfg.MODEL.FUSION.NAME, cfg.MODEL.FUSION.AT) == ("TPAVI", "backbone")
    assert cfg.MODEL.MASK_FORMER.AUDIO_QUERY == "mean"
    assert cfg.MODEL.MASK_FORMER.TEMPORAL_POSITION is True


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        ([], True),
        ([QUERY, ""], True),
        (["MODEL.FUSION.NAME", ""], True),
        ([QUERY, "", "MODEL.FUSION.NAME", ""], False),
        (["MODEL.AUDIO.NAME", ""], False),
    ],
)
def test_a_model_hears_by_fusion_or_query(opts: list[str], expected: bool):
    assert hears(get_avis_cfg(opts=opts)) is expected
