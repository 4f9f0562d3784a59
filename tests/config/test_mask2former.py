"""Configs of Mask2Former for video, as it publishes them (facebookresearch/Mask2Former)."""

import logging
import re
from pathlib import Path

import pytest
import yaml

from avis.config import CfgNode, ConfigError, get_avis_cfg
from avis.config.tree import leaves

# configs/youtubevis_2019/Base-YouTubeVIS-VideoInstanceSegmentation.yaml
BASE = """
MODEL:
  BACKBONE: {FREEZE_AT: 0, NAME: "build_resnet_backbone"}
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  MASK_ON: True
  RESNETS:
    DEPTH: 50
    STEM_TYPE: "basic"  # not used
    STEM_OUT_CHANNELS: 64
    STRIDE_IN_1X1: False
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
    RES5_MULTI_GRID: [1, 1, 1]  # not used
DATASETS:
  TRAIN: ("ytvis_2019_train",)
  TEST: ("ytvis_2019_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.0001
  STEPS: (4000,)
  MAX_ITER: 6000
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 10
  WEIGHT_DECAY: 0.05
  OPTIMIZER: "ADAMW"
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: "full_model", CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
  AMP: {ENABLED: True}
INPUT:
  MIN_SIZE_TRAIN_SAMPLING: "choice_by_clip"
  RANDOM_FLIP: "flip_by_clip"
  AUGMENTATIONS: []
  MIN_SIZE_TRAIN: (360, 480)
  MIN_SIZE_TEST: 360
  CROP:
    ENABLED: False
    TYPE: "absolute_range"
    SIZE: (600, 720)
  FORMAT: "RGB"
TEST: {EVAL_PERIOD: 0}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: False, NUM_WORKERS: 4}
VERSION: 2
"""
# configs/youtubevis_2019/video_maskformer2_R50_bs16_8ep.yaml
R50 = """
_BASE_: base.yaml
MODEL:
  WEIGHTS: "model_final_3c8ec9.pkl"
  META_ARCHITECTURE: "VideoMaskFormer"
  SEM_SEG_HEAD:
    NAME: "MaskFormerHead"
    IGNORE_VALUE: 255
    NUM_CLASSES: 40
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: "GN"
    PIXEL_DECODER_NAME: "MSDeformAttnPixelDecoder"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: ["res3", "res4", "res5"]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: "VideoMultiScaleMaskedTransformerDecoder"
    TRANSFORMER_IN_FEATURE: "multi_scale_pixel_decoder"
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    HIDDEN_DIM: 256
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.0
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    PRE_NORM: False
    ENFORCE_INPUT_PROJ: False
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 10
    TRAIN_NUM_POINTS: 12544
    OVERSAMPLE_RATIO: 3.0
    IMPORTANCE_SAMPLE_RATIO: 0.75
    TEST:
      SEMANTIC_ON: False
      INSTANCE_ON: True
      PANOPTIC_ON: False
      OVERLAP_THRESHOLD: 0.8
      OBJECT_MASK_THRESHOLD: 0.8
"""
# configs/youtubevis_2019/swin/video_maskformer2_swin_large_IN21k_384_bs16_8ep.yaml
SWIN_LARGE = """
_BASE_: r50.yaml
MODEL:
  BACKBONE: {NAME: "D2SwinTransformer"}
  SWIN:
    EMBED_DIM: 192
    DEPTHS: [2, 2, 18, 2]
    NUM_HEADS: [6, 12, 24, 48]
    WINDOW_SIZE: 12
    APE: False
    DROP_PATH_RATE: 0.3
    PATCH_NORM: True
    PRETRAIN_IMG_SIZE: 384
  WEIGHTS: "model_final_e5f453.pkl"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  MASK_FORMER: {NUM_OBJECT_QUERIES: 200}
INPUT: {MIN_SIZE_TEST: 480}
"""
SWIN_TINY = {"MODEL.META_ARCHITECTURE": "VideoMaskFormer", "MODEL.BACKBONE.NAME": "D2SwinTransformer"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in {"base": BASE, "r50": R50, "swin_large": SWIN_LARGE}.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    return tmp_path


def as_dict(cfg: CfgNode) -> dict:
    return yaml.safe_load(cfg.dump())


def pairs(values: dict) -> list:
    return [item for pair in values.items() for item in pair]


def model_keys(cfg: CfgNode) -> dict:
    values = {key: value for key, value in leaves(cfg).items() if key.startswith("MODEL.")}
    return {key: value for key, value in values.items() if key not in ("MODEL.WEIGHTS", "MODEL.MASK_ON")}


def test_r50_is_our_vision_only_model(files: Path):
    cfg = get_avis_cfg(files / "r50.yaml")
    ours = get_avis_cfg("configs/video_maskformer_R50.yaml", ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", 40])
    assert model_keys(cfg) == model_keys(ours)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING) == (16, "choice_by_clip")


def test_swin_large_is_timms(files: Path):
    cfg = get_avis_cfg(files / "swin_large.yaml")
    ours = get_avis_cfg("configs/avis_SwinL.yaml")
    assert (cfg.MODEL.BACKBONE, cfg.MODEL.TIMM) == (ours.MODEL.BACKBONE, ours.MODEL.TIMM)
    assert (cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES, cfg.INPUT.MIN_SIZE_TEST) == (200, 480)
    assert "SWIN" not in cfg.MODEL


def test_no_key_of_mask2former_stays_behind(files: Path):
    assert leaves(get_avis_cfg(files / "swin_large.yaml")).keys() == leaves(get_avis_cfg()).keys()


def test_the_dumped_config_reads_back_the_same(files: Path):
    cfg = get_avis_cfg(files / "swin_large.yaml")
    (files / "config.yaml").write_text(cfg.dump())
    assert as_dict(get_avis_cfg(files / "config.yaml")) == as_dict(cfg)


def test_what_file_or_command_line_set_wins_over_what_is_implied(files: Path):
    wanted = {"MODEL.AUDIO.NAME": "AudioCNN", "MODEL.FUSION.NAME": "TPAVI", "MODEL.TIMM.DROP_PATH_RATE": 0.1}
    cfg = get_avis_cfg(files / "swin_large.yaml", pairs(wanted))
    assert {key: leaves(cfg)[key] for key in wanted} == wanted
    assert (cfg.MODEL.MASK_FORMER.AUDIO_QUERY, cfg.MODEL.MASK_FORMER.MASK_HEAD) == ("", "dot")
    (files / "own.yaml").write_text("_BASE_: r50.yaml\nMODEL: {MASK_FORMER: {MASK_HEAD: residual}}")
    assert get_avis_cfg(files / "own.yaml").MODEL.MASK_FORMER.MASK_HEAD == "residual"


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "window", "name"),
    [
        (96, 6, 3, 7, "swin_tiny_patch4_window7_224"),
        (96, 18, 3, 7, "swin_small_patch4_window7_224"),
        (128, 18, 4, 7, "swin_base_patch4_window7_224"),
        (128, 18, 4, 12, "swin_base_patch4_window12_384"),
        (192, 18, 6, 7, "swin_large_patch4_window7_224"),
        (192, 18, 6, 12, "swin_large_patch4_window12_384"),
    ],
)
def test_swins_of_all_sizes_have_names(dim: int, depth: int, heads: int, window: int, name: str):
    swin = {
        "MODEL.SWIN.EMBED_DIM": dim,
        "MODEL.SWIN.DEPTHS": [2, 2, depth, 2],
        "MODEL.SWIN.NUM_HEADS": [heads * 2**stage for stage in range(4)],
        "MODEL.SWIN.WINDOW_SIZE": window,
        "MODEL.SWIN.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.SWIN.USE_CHECKPOINT": True,
    }
    timm = get_avis_cfg(opts=pairs(SWIN_TINY | swin)).MODEL.TIMM
    assert (name, True) == (timm.NAME, timm.GRAD_CHECKPOINTING)
    assert timm.OUT_FEATURES == ["res3", "res4", "res5"]


def test_swins_defaults_are_mask2formers():
    cfg = get_avis_cfg(opts=pairs(SWIN_TINY))
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT) == ("build_timm_backbone", 0)
    assert (cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.DROP_PATH_RATE) == ("swin_tiny_patch4_window7_224", 0.3)
    cfg.MODEL.TIMM.OUT_FEATURES.pop()
    assert len(get_avis_cfg(opts=pairs(SWIN_TINY)).MODEL.TIMM.OUT_FEATURES) == 4


@pytest.mark.parametrize(("key", "value"), [("WINDOW_SIZE", 9), ("DEPTHS", [[2]]), ("NUM_HEADS", None)])
def test_a_swin_that_timm_lacks_is_refused_unless_timms_model_is_named(key: str, value: object):
    opts = pairs(SWIN_TINY | {f"MODEL.SWIN.{key}": value})
    message = rf"^command line: timm has no Swin .*{key} {re.escape(str(value))}.*: set MODEL\.BACKBONE\.NAME"
    with pytest.raises(ConfigError, match=message):
        get_avis_cfg(opts=opts)
    name = "swin_tiny_patch4_window7_224"
    assert name == get_avis_cfg(opts=[*opts, "MODEL.TIMM.NAME", name]).MODEL.TIMM.NAME


UNSUPPORTED = {
    "INPUT.COLOR_AUG_SSD": True,
    "INPUT.SIZE_DIVISIBILITY": 32,
    "MODEL.MASK_FORMER.DROPOUT": 0.1,
    "MODEL.MASK_FORMER.ENC_LAYERS": 3,
    "MODEL.MASK_FORMER.PRE_NORM": True,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 2, 4],
    "MODEL.RESNETS.STEM_TYPE": "deeplab",
}
UNSUPPORTED_SWIN = {
    "MODEL.SWIN.APE": True,
    "MODEL.SWIN.ATTN_DROP_RATE": 0.1,
    "MODEL.SWIN.DROP_RATE": 0.1,
    "MODEL.SWIN.MLP_RATIO": 2.0,
    "MODEL.SWIN.PATCH_NORM": False,
    "MODEL.SWIN.PATCH_SIZE": 8,
    "MODEL.SWIN.QKV_BIAS": False,
    "MODEL.SWIN.QK_SCALE": 0.5,
}


def test_values_that_our_model_lacks_are_refused_all_at_once(files: Path):
    with pytest.raises(ConfigError) as caught:
        get_avis_cfg(files / "swin_large.yaml", pairs(UNSUPPORTED | UNSUPPORTED_SWIN))
    lines = str(caught.value).split("\n")
    named = {line.split()[2] for line in lines if ", but nothing reads it: " in line}
    assert named == {*UNSUPPORTED, *UNSUPPORTED_SWIN}
    assert len(lines) == len(named)


WITHOUT_EFFECT = {
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 0.5,
    "INPUT.DATASET_MAPPER_NAME": "coco_instance_lsj",
    "INPUT.IMAGE_SIZE": 512,
    "INPUT.MAX_SCALE": 3.0,
    "INPUT.MIN_SCALE": 0.2,
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": False,
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": 0.1,
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": 0.1,
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": True,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": True,
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": True,
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "res5",
}


def test_values_that_nothing_ever_read_are_dropped(files: Path, caplog: pytest.LogCaptureFixture):
    plain = get_avis_cfg(files / "r50.yaml")
    with caplog.at_level(logging.WARNING, "avis.config"):
        cfg = get_avis_cfg(files / "r50.yaml", pairs(WITHOUT_EFFECT | UNSUPPORTED_SWIN))
    assert cfg == plain
    assert all(key in caplog.text for key in WITHOUT_EFFECT)


def test_a_key_that_mask2former_lacks_too_gets_a_suggestion():
    with pytest.raises(
        ConfigError, match=r"'MODEL\.SWIN\.WINDOWSIZE'; did you mean 'MODEL\.SWIN\.WINDOW_SIZE'"
    ):
        get_avis_cfg(opts=["MODEL.SWIN.WINDOWSIZE", 7])


def test_keys_that_a_users_module_adds_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_swin.py").write_text(
        "from detectron2.config import CfgNode\n\n\ndef add_config(cfg):\n"
        "    cfg.MODEL.SWIN = CfgNode({'PATCH_SIZE': 4})\n    cfg.MODEL.MASK_FORMER.DROPOUT = 0.1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    opts = ["MODEL.SWIN.PATCH_SIZE", 8, "MODEL.MASK_FORMER.DROPOUT", 0.2]
    cfg = get_avis_cfg(opts=["IMPORTS", ["own_swin"], "MODEL.BACKBONE.NAME", "D2SwinTransformer", *opts])
    assert cfg.MODEL.BACKBONE.NAME == "D2SwinTransformer"
    assert (cfg.MODEL.SWIN.PATCH_SIZE, cfg.MODEL.MASK_FORMER.DROPOUT) == (8, 0.2)
