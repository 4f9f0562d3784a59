"""Keys of Detectron2 that nothing of AVIS reads."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from avis.config import ConfigError, get_avis_cfg
from avis.config.tree import leaves
from avis.config.unread import unread_keys

# Keys of Detectron2, or sections, by who reads them. A key of a newer Detectron2 has to join a list.
READ_BY_AVIS = (
    *("DATALOADER.REPEAT_SQRT", "DATALOADER.REPEAT_THRESHOLD", "DATALOADER.SAMPLER_TRAIN"),
    *("DATALOADER.FILTER_EMPTY_ANNOTATIONS", "DATALOADER.NUM_WORKERS", "DATASETS.TEST", "DATASETS.TRAIN"),
    *("INPUT.CROP", "INPUT.FORMAT", "INPUT.MAX_SIZE_TEST", "INPUT.MAX_SIZE_TRAIN", "INPUT.MIN_SIZE_TEST"),
    *("INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "INPUT.RANDOM_FLIP"),
    *("MODEL.BACKBONE", "MODEL.DEVICE", "MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS"),
    *("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "MODEL.SEM_SEG_HEAD.NAME"),
    *("MODEL.SEM_SEG_HEAD.IN_FEATURES", "MODEL.SEM_SEG_HEAD.NORM", "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    *("OUTPUT_DIR", "SEED", "SOLVER.AMP", "SOLVER.BASE_LR", "SOLVER.CHECKPOINT_PERIOD"),
    *("SOLVER.CLIP_GRADIENTS", "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "SOLVER.MOMENTUM"),
    *("SOLVER.NESTEROV", "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM", "TEST.EVAL_PERIOD"),
)
READ_BY_DETECTRON2 = (
    *("CUDNN_BENCHMARK", "FLOAT32_PRECISION"),  # default_setup
    *("MODEL.FPN", "MODEL.RESNETS"),  # its backbones
    *("SOLVER.REFERENCE_WORLD_SIZE",),  # auto_scale_workers
    *("SOLVER.BASE_LR_END", "SOLVER.GAMMA", "SOLVER.LR_SCHEDULER_NAME", "SOLVER.NUM_DECAYS"),  # schedules
    *("SOLVER.RESCALE_INTERVAL", "SOLVER.STEPS", "SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_ITERS"),
    *("SOLVER.WARMUP_METHOD",),
)
FREE = (
    *("GLOBAL",),  # Detectron2 keeps it for its users
    *("MODEL.MASK_ON",),  # Mask2Former's configs set it, and our model always finds masks
)


def is_in(key: str, keys: tuple[str, ...]) -> bool:
    return any(f"{key}.".startswith(f"{other}.") for other in keys)


def test_every_key_of_detectron2_is_read_or_refused():
    read = {key for key in leaves(get_cfg()) if is_in(key, (*READ_BY_AVIS, *READ_BY_DETECTRON2, *FREE))}
    refused = set(unread_keys())
    assert not read & refused
    assert set(leaves(get_cfg())) - read - refused == set()


def other_value(value: object) -> object:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (tuple, list)):
        return type(value)([*value, 0.5])
    if value is None or isinstance(value, str):
        return f"{value}x"
    return value + type(value)(1)


@pytest.mark.parametrize("key", unread_keys())
def test_a_value_that_would_do_nothing_is_refused(key: str):
    default = leaves(get_cfg())[key]
    assert get_avis_cfg(opts=[key, default]) == get_avis_cfg()
    with pytest.raises(ConfigError, match=rf"^command line: {key} is .*, but nothing reads it: \w.*\w$"):
        get_avis_cfg(opts=[key, other_value(default)])


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("TEST.PRECISE_BN.ENABLED", "True", "FrozenBN"),
        ("TEST.DETECTIONS_PER_IMAGE", "5", r"MODEL\.MASK_FORMER\.TEST\.TOPK"),
        ("DATALOADER.ASPECT_RATIO_GROUPING", "False", "padded to one size"),
    ],
)
def test_the_hint_says_what_to_do(key: str, value: str, hint: str):
    with pytest.raises(ConfigError, match=rf"{key} is .*: .*{hint}"):
        get_avis_cfg(opts=[key, value])


def test_a_key_that_is_refused_in_a_section_names_its_source(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("TEST: {AUG: {FLIP: False}}")
    (tmp_path / "c.yaml").write_text("_BASE_: base.yaml\nSOLVER: {MAX_ITER: 1}")
    with pytest.raises(ConfigError, match=r"base\.yaml: TEST\.AUG\.FLIP"):
        get_avis_cfg(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"command line: TEST\.AUG\.FLIP"):
        get_avis_cfg(opts=["TEST.AUG", CfgNode({"FLIP": False})])


def test_a_users_own_model_may_read_all_of_MODEL_but_not_what_the_trainer_ignores():
    opts = ["MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES", 3]
    assert get_avis_cfg(opts=opts).MODEL.ROI_HEADS.NUM_CLASSES == 3
    with pytest.raises(ConfigError, match=r"TEST\.DETECTIONS_PER_IMAGE"):
        get_avis_cfg(opts=[*opts, "TEST.DETECTIONS_PER_IMAGE", 5])


def test_a_part_that_the_decoder_does_not_have_is_refused():
    setting = ["MODEL.TEMPORAL_FUSION.NAME", "window_attention"]
    with pytest.raises(ConfigError, match=r"FUSION\.NAME is .*but nothing reads it.*FrameClipDecoder"):
        get_avis_cfg("configs/avis_R50.yaml", setting)
    assert get_avis_cfg("configs/avism_R50.yaml", setting)
