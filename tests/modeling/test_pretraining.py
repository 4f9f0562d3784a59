"""The configs of configs/pretrain: each builds its model, and steps on clips of pictures, in silence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import avis.modeling  # noqa: F401  (registers the models)
from avis.config import get_avis_cfg
from avis.data import build_train_loader
from tests.formats.foreign_files import write

FOLDER = Path("configs/pretrain")
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("Base"))
FAMILY = ("vita", "avism", "acvis", "h2s")
# A model of the same parts that steps in a second.
SMALL = {
    "MODEL.DEVICE": "cpu", "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32, "MODEL.SEM_SEG_HEAD.MASK_DIM": 32,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1, "MODEL.MASK_FORMER.HIDDEN_DIM": 32,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 32, "MODEL.MASK_FORMER.DEC_LAYERS": 4,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 6, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 32,
    "MODEL.CLIP_DECODER.NUM_QUERIES": 6, "MODEL.CLIP_DECODER.ENC_LAYERS": 2,
    "MODEL.CLIP_DECODER.DEC_LAYERS": 1, "INPUT.CROP.MIN_SIZE": (64,),
    "INPUT.CROP.SIZE": (48, 64), "INPUT.MIN_SIZE_TRAIN": (64,),
    "SOLVER.IMS_PER_BATCH": 2, "DATALOADER.NUM_WORKERS": 0, "SEED": 1, "MODEL.RESNETS.NORM": "FrozenBN",
}  # fmt: skip


def write_pictures(root: Path) -> Path:
    """COCO of two pictures with three objects, of the 80 categories."""
    generator = np.random.default_rng(0)
    (root / "train2017").mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(generator.integers(0, 255, (80, 96, 3), np.uint8)).save(
            root / f"train2017/{number}.png"
        )
    boxes = [(1, 5, 5), (1, 30, 20), (2, 20, 10)]
    return write(
        root / "annotations/instances_train2017.json",
        {
            "images": [{"id": n, "file_name": f"{n}.png", "height": 80, "width": 96} for n in (1, 2)],
            "categories": [{"id": n, "name": f"thing {n}"} for n in range(1, 81)],
            "annotations": [
                {
                    "id": n, "image_id": image, "category_id": 7 * (n + 1), "iscrowd": 0,
                    "segmentation": [[x, y, x + 50, y, x + 50, y + 40, x, y + 40]],
                }
                for n, (image, x, y) in enumerate(boxes)
            ],
        },
    )  # fmt: skip


def small(path: Path, data: Path) -> list:
    options = SMALL | {"DATASETS.TRAIN": (str(data),), "DATASETS.TEST": ()}
    if "Swin" in path.stem:
        options |= {"MODEL.TIMM.NAME": "swin_tiny_patch4_window7_224"}
    return [word for pair in options.items() for word in pair]


def test_every_model_has_one():
    names = {path.stem.removesuffix("_on_COCO") for path in CONFIGS}
    wanted = {
        "avis_R50",
        "avis_SwinL",
        "video_maskformer_R50",
        "vita_R50",
        "avism_R50",
        "acvis_R50",
        "h2s_R50",
    }
    assert wanted < names and all(path.stem.endswith("_on_COCO") for path in CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_its_model_s_but_for_data_and_schedule(path: Path):
    cfg = get_avis_cfg(path, ["MODEL.DEVICE", "meta"])
    name = path.stem.removesuffix("_on_COCO")
    own = next(file for file in (f"configs/{name}.yaml", f"configs/{name}_COCO.yaml") if Path(file).is_file())
    base = get_avis_cfg(own, ["MODEL.DEVICE", "meta", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 80])
    assert cfg.MODEL == base.MODEL and cfg.INPUT.AUDIO == base.INPUT.AUDIO
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("coco_clips_train",), ("coco_clips_val",))
    assert (cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.PROB) == ("moving", 1.0)
    is_of_family = path.stem.startswith(FAMILY)
    assert (5 if is_of_family else 2) == cfg.INPUT.SAMPLING_FRAME_NUM
    assert ((5e-5, 8) if is_of_family else (1e-4, 16)) == (cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH)
    assert f"output/{path.stem}" == cfg.OUTPUT_DIR
    assert f"train_net.py --config-file {path}" in path.read_text()
    with torch.device("meta"):
        model = build_model(cfg)
    assert any(parameter.shape[0] == 81 for parameter in model.parameters() if parameter.ndim)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_model_steps_on_pictures_in_silence(tmp_path: Path, path: Path):
    cfg = get_avis_cfg(path, small(path, write_pictures(tmp_path)))
    batch = next(iter(build_train_loader(cfg)))
    assert all(len(clip["image"]) == cfg.INPUT.SAMPLING_FRAME_NUM for clip in batch)
    assert any((clip["image"][0] != clip["image"][1]).any() for clip in batch)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    learned = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert any(name.startswith("backbone.") for name in learned)
    assert any("class_embed" in name for name in learned)
