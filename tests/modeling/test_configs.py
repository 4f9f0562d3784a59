"""Every config of the model zoo builds its model."""

from functools import reduce
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_backbone, build_model

import avis.modeling  # noqa: F401  (registers the models)
from avis.config import get_avis_cfg

CONFIGS = sorted(path for path in Path("configs").glob("*.yaml") if not path.name.startswith("Base"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_its_model(path):
    cfg = get_avis_cfg(path, ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    predictor = model.sem_seg_head.predictor
    queries = getattr(predictor, "frame", predictor).query_feat.weight
    assert queries.shape == (cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES, cfg.MODEL.MASK_FORMER.HIDDEN_DIM)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_head_of_a_config_states_the_command_that_trains_it(path):
    head = [line for line in path.read_text().split("_BASE_")[0].splitlines() if line.startswith("#")]
    command = "tools/quickstart.sh" if path.stem == "quickstart" else f"train_net.py --config-file {path}"
    assert any(command in line for line in head)


# Section 5.1 of the paper, and what it takes over from Mask2Former for video.
PAPER = {
    "INPUT.FPS": 1.0,
    "INPUT.MIN_SIZE_TRAIN": (360, 480),
    "INPUT.MIN_SIZE_TEST": 360,
    "INPUT.SAMPLING_FRAME_NUM": 2,
    "INPUT.SAMPLING_FRAME_RANGE": 20,
    "INPUT.SAMPLING_FRAME_SHUFFLE": False,
    "MODEL.AUDIO.NAME": "VGGish",
    "MODEL.AUDIO.FREEZE": True,
    "MODEL.AUDIO.FEATURE_DIM": 128,
    "MODEL.FUSION.NAME": "TPAVI",
    "MODEL.FUSION.AT": "backbone",
    "MODEL.FUSION.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.LOSSES.NAMES": ["prediction"],
    "MODEL.TEMPORAL_FUSION.NAME": "",
    "MODEL.AUDIO.POSTPROCESS": False,
    "MODEL.MASK_FORMER.SOUNDING_GATE": False,
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "VideoMultiScaleMaskedTransformerDecoder",
    "MODEL.MASK_FORMER.TEST.MASK_QUALITY": False,
    "MODEL.MASK_FORMER.TEST.MIN_SCORE": 0.0,
    "MODEL.MASK_FORMER.AUDIO_QUERY": "mean",
    "MODEL.MASK_FORMER.MASK_HEAD": "residual",
    "MODEL.MASK_FORMER.HIDDEN_DIM": 256,
    "MODEL.MASK_FORMER.DEC_LAYERS": 10,
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": True,
    "MODEL.MASK_FORMER.CLASS_WEIGHT": 2.0,
    "MODEL.MASK_FORMER.MASK_WEIGHT": 5.0,
    "MODEL.MASK_FORMER.DICE_WEIGHT": 5.0,
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": 0.1,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 12544,
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": 3.0,
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": 0.75,
    "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD": 0.5,
    "MODEL.MASK_FORMER.TEST.TOPK": 10,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 26,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 6,
    "SOLVER.IMS_PER_BATCH": 12,
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "SOLVER.MAX_ITER": 6000,
    "SOLVER.STEPS": (4000,),
    "SOLVER.GAMMA": 0.1,
    "SOLVER.WARMUP_FACTOR": 1.0,
    "SOLVER.WARMUP_ITERS": 10,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.01,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": 2.0,
    "SOLVER.AMP.ENABLED": False,
}
ARCHITECTURES = [path for path in CONFIGS if path.stem.startswith(("avis_", "video_maskformer"))]
VISION_ONLY = {
    "MODEL.AUDIO.NAME": "",
    "MODEL.FUSION.NAME": "",
    "MODEL.MASK_FORMER.AUDIO_QUERY": "",
    "MODEL.MASK_FORMER.MASK_HEAD": "dot",
}


@pytest.mark.parametrize("path", ARCHITECTURES, ids=lambda path: path.stem)
def test_models_of_the_paper_are_trained_as_the_paper_trains(path):
    cfg = get_avis_cfg(path)
    expected = PAPER | (VISION_ONLY if path.stem.startswith("video_maskformer") else {})
    assert {key: reduce(getattr, key.split("."), cfg) for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "embed_dim", "depths", "window"),
    [
        ("avis_SwinT", 96, (2, 2, 6, 2), 7),
        ("avis_SwinS", 96, (2, 2, 18, 2), 7),
        ("avis_SwinB", 128, (2, 2, 18, 2), 12),
        ("avis_SwinL", 192, (2, 2, 18, 2), 12),
    ],
)
def test_swin_backbones_drop_paths_at_a_linearly_growing_rate(name, embed_dim, depths, window):
    """Up to 0.3, as Mask2Former trains all of them."""
    cfg = get_avis_cfg(f"configs/{name}.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert backbone.output_shape()["res2"].channels == embed_dim
    blocks = [module for module in backbone.modules() if hasattr(module, "drop_path")]
    assert len(blocks) == sum(depths)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))])
    assert f"window{window}_" in cfg.MODEL.TIMM.NAME
