"""A stand-in for a clone of Mask2Former: its entry points, and next to nothing behind them."""

from pathlib import Path

from avis.benchmark.clone import CONFIG

FILES = {
    "mask2former/__init__.py": """
def add_maskformer2_config(cfg):
    cfg.MODEL.SEM_SEG_HEAD.FAKE_WIDTH = 1
""",
    "mask2former_video/__init__.py": """
import MultiScaleDeformableAttention  # which is not compiled
import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import nn


def add_maskformer2_video_config(cfg):
    cfg.INPUT.SAMPLING_FRAME_NUM, cfg.INPUT.SAMPLING_FRAME_RANGE = 2, 20


@META_ARCH_REGISTRY.register()
class VideoMaskFormer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.num_frames = cfg.INPUT.SAMPLING_FRAME_NUM
        self.classes = nn.Linear(3, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)

    def forward(self, batch):
        frames = torch.stack([frame for clip in batch for frame in clip["image"]]).float()
        logits = self.classes(frames.mean(dim=(2, 3)) / 255)
        if not self.training:
            return {"pred_scores": logits.softmax(1)}
        assert len(frames) == len(batch) * self.num_frames
        labels = torch.cat([frame.gt_classes[:1] for clip in batch for frame in clip["instances"]])
        return {"loss_ce": nn.functional.cross_entropy(logits, labels)}


class YTVISDatasetMapper:
    def __init__(self, cfg, is_train):
        assert is_train and cfg.INPUT.MIN_SIZE_TRAIN == (48, 48)

    def __call__(self, record):
        assert all({"id", "bbox", "segmentation"} < set(seen) for seen in record["annotations"][0])
        return [np.asarray(Image.open(file)) for file in record["file_names"]]
""",
    CONFIG: 'MODEL:\n  META_ARCHITECTURE: "VideoMaskFormer"\n  SEM_SEG_HEAD:\n    FAKE_WIDTH: 2\n',
}


def make_clone(folder: Path) -> Path:
    """Write the files; the folder itself is returned."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
