"""Mask2Former for video from its own code, measured as ours is: steps of training, videos, loading.

Every function runs in a fresh process, and imports nothing of avis that registers parts of models.

Dimensions: T frames, B clips, H×W images.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from avis.benchmark.clone import CONFIG, import_clone
from avis.benchmark.random_clips import SEED, random_clips
from avis.benchmark.times import Times
from avis.benchmark.timing import Mark, measure_steps
from avis.benchmark.videos import load_video, measure_videos
from avis.data import load_aviseg_json


def measure_step(
    path: str, num_classes: int, frames: int, clips: int, size: Sequence[int], repeats: int
) -> dict:
    """Steps of training; see `avis.benchmark.timing.measure_steps`.

    AdamW has a group for each parameter, and gradients are clipped, as in the original's train_net_video.py.
    """
    model = _model(path, num_classes, frames).train()
    batch = random_clips(clips, frames, tuple(size), num_classes)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([{"params": [p]} for p in parameters], lr=1e-4, weight_decay=0.05)

    def step(mark: Mark) -> None:
        total = sum(model(batch).values())
        mark()
        optimizer.zero_grad()
        total.backward()
        mark()
        torch.nn.utils.clip_grad_norm_(parameters, 0.01)
        optimizer.step()

    return measure_steps(step, repeats)


def measure_video(path: str, num_classes: int, json_file: str, repeats: int) -> dict:
    """Whole videos; see `avis.benchmark.videos.measure_videos`. All frames are loaded, then predicted."""
    model = _model(path, num_classes).eval()

    def predict(video: dict) -> None:
        model([{"image": list(video["image"][:]), "height": video["height"], "width": video["width"]}])

    return measure_videos(predict, lambda: load_video(json_file), repeats)


def measure_loading(
    path: str, json_file: str, shortest_edge: int, frames: int, frame_range: int, clips: int
) -> dict:
    """Seconds of the processor that its mapper takes for a clip, by one thread; pictures and masks alone."""
    torch.set_num_threads(1)
    cfg = _config(path, num_classes=1)
    cfg.INPUT.SAMPLING_FRAME_NUM, cfg.INPUT.SAMPLING_FRAME_RANGE = frames, frame_range
    cfg.INPUT.MIN_SIZE_TRAIN = (shortest_edge, shortest_edge)
    mapper = import_clone(Path(path))[1].YTVISDatasetMapper(cfg, is_train=True)
    records = [_record(record) for record in load_aviseg_json(json_file)]
    random.seed(SEED)
    np.random.seed(SEED)
    mapper(records[0])
    seconds = [_cpu_seconds(mapper, records[number % len(records)]) for number in range(clips)]
    return {"seconds": asdict(Times.of(seconds))}


def _model(path: str, num_classes: int, frames: int = 1) -> torch.nn.Module:
    torch.manual_seed(SEED)
    cfg = _config(path, num_classes)
    cfg.INPUT.SAMPLING_FRAME_NUM = frames  # by which it tells the clips of a batch apart, in training
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    return build_model(cfg)


def _config(path: str, num_classes: int) -> CfgNode:
    """The original's config for YouTube-VIS with ResNet-50, as its train_net_video.py reads it."""
    mask2former, mask2former_video = import_clone(Path(path))
    cfg = get_cfg()
    add_deeplab_config(cfg)
    mask2former.add_maskformer2_config(cfg)
    mask2former_video.add_maskformer2_video_config(cfg)
    cfg.merge_from_file(str(Path(path) / CONFIG))
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
    return cfg


def _record(record: dict) -> dict:
    """A video as the original's loader of YouTube-VIS gives it: its objects frame by frame, boxes too."""
    return {
        "file_names": record["file_names"],
        "length": len(record["file_names"]),
        "video_id": record["video_id"],
        "height": record["height"],
        "width": record["width"],
        "annotations": [_objects(record["annotations"], t) for t in range(len(record["file_names"]))],
    }


def _objects(annotations: Sequence[dict], frame: int) -> list[dict]:
    seen = [annotation for annotation in annotations if annotation["segmentations"][frame]]
    return [
        {
            "id": annotation["id"],
            "category_id": 0,
            "iscrowd": 0,
            "bbox": coco_mask.toBbox(annotation["segmentations"][frame]).tolist(),
            "bbox_mode": BoxMode.XYWH_ABS,
            "segmentation": annotation["segmentations"][frame],
        }
        for annotation in seen
    ]


def _cpu_seconds(mapper: Callable[[dict], dict], record: dict) -> float:
    start = time.process_time()
    mapper(record)
    return time.process_time() - start
