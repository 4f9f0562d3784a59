"""Pictures of what a model predicts while it learns, beside the ground truth, for TensorBoard.

Dimensions: F frames shown of a video.
"""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.engine import HookBase
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from pycocotools import mask as coco_mask
from torch import nn

from avis.data import build_test_loader, get_categories, get_dataset_records, is_class_agnostic
from avis.engine.rng import preserved_rng
from avis.evaluation.overlap import VideoOverlap, found_tracks
from avis.formats.segmentation import compress_segmentation
from avis.formats.tracks import GroundTruthTrack, PredictedTrack, Video, mean_area
from avis.media.pictures import read_pictures
from avis.structures import Track, VideoPrediction
from avis.visualization import ComparedVideo, draw_comparison
from avis.visualization.comparison import MAX_COLUMNS
from avis.weights import classes_of

_VIDEOS = 2


@dataclass(frozen=True)
class PicturedVideo:
    """Some frames of a video.

    Attributes:
        clip: as the model takes it, of F frames.
        frames: RGB uint8 (H, W, 3), F of them.
        truth: the annotated tracks in these frames.
        title: written above them.
        step: frames of the video from one of them to the next.
    """

    clip: dict
    frames: list[np.ndarray]
    truth: VideoPrediction
    title: str
    step: int


class PredictionPictures(HookBase):
    """Draws the first videos of the first test set (without one, training set) that have objects.

    The main process does, and neither weights nor random numbers change.

    Args:
        cfg: of the data.
        model: not wrapped for distributed training.
        period: iterations between two pictures; 0: there are none.
        score_threshold: tracks that do not score more are not drawn.
        data_set: that has the videos.
    """

    @configurable
    def __init__(
        self, *, cfg: CfgNode, model: nn.Module, period: int, score_threshold: float, data_set: str
    ) -> None:
        if period < 0:
            raise ValueError(f"VIS_PERIOD is {period}; it is a number of iterations, or 0 for no pictures")
        self.cfg, self.model, self.data_set = cfg, model, data_set
        self.period = period
        self.score_threshold = score_threshold
        self._videos: list[PicturedVideo] = []
        self._class_names: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """VIS_PERIOD, DATASETS.* and SCORE_THRESHOLD."""
        return {
            "cfg": cfg,
            "model": model,
            "period": cfg.VIS_PERIOD,
            "score_threshold": cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD,
            "data_set": next(iter((*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN)), ""),
        }

    def before_train(self) -> None:
        """Read the videos in every process, so that what is wrong with them ends all of them now."""
        if self.period:
            classes = classes_of(self.model) or get_categories(self.data_set)
            self._class_names = classes.names
            known = None if is_class_agnostic(self.data_set) else classes
            with preserved_rng():
                records = get_dataset_records([self.data_set], filter_empty=True, classes=known)[:_VIDEOS]
                self._videos = [_pictured(self.cfg, self.data_set, record) for record in records]

    def after_step(self) -> None:
        """Draw, if it is time."""
        if self._videos and comm.is_main_process() and (self.trainer.iter + 1) % self.period == 0:
            with preserved_rng(), inference_context(self.model), torch.no_grad():
                picture = np.concatenate(_padded([self._draw(video) for video in self._videos]))
            name = f"predictions/{self.data_set.rpartition('/')[2]}"
            self.trainer.storage.put_image(name, picture.transpose(2, 0, 1))

    def _draw(self, video: PicturedVideo) -> np.ndarray:
        (predicted,) = self.model([video.clip])
        prediction = predicted.above(self.score_threshold)
        compared = ComparedVideo(
            title=video.title,
            frames=dict(enumerate(video.frames)),
            ground_truth=video.truth,
            prediction=prediction,
            found=found_tracks(_overlap(prediction, video.truth)),
        )
        return draw_comparison([compared], self._class_names, self.cfg.INPUT.FPS / video.step)


def _pictured(cfg: CfgNode, data_set: str, record: dict) -> PicturedVideo:
    others = {other["video_id"] for other in get_dataset_records([data_set])} - {record["video_id"]}
    video = build_test_loader(cfg, data_set, skip=others).dataset[0]
    step = -(-record["length"] // MAX_COLUMNS)
    indices = list(range(0, record["length"], step))
    sound = {name: value[indices] for name, value in video.items() if torch.is_tensor(value)}
    images = torch.stack([video["image"][index] for index in indices])
    tracks = [
        Track(
            1.0,
            annotation["category_id"],
            [
                compress_segmentation(annotation["segmentations"][index], record["height"], record["width"])
                for index in indices
            ],
        )
        for annotation in record["annotations"]
        if not annotation["iscrowd"]
    ]
    size = (record["video_id"], record["height"], record["width"], len(indices))
    return PicturedVideo(
        clip={**video, **sound, "image": images, "length": len(indices)},
        frames=list(read_pictures([record["file_names"][index] for index in indices])),
        truth=VideoPrediction(*size, tracks),
        title=str(record.get("name", record["video_id"])),
        step=step,
    )


def _overlap(prediction: VideoPrediction, truth: VideoPrediction) -> VideoOverlap:
    video = Video(truth.video_id, truth.height, truth.width, file_names=[""] * truth.length)
    found = [PredictedTrack(*_measured(track), score=track.score) for track in prediction.tracks]
    true = [GroundTruthTrack(*_measured(track), is_crowd=False, id=0) for track in truth.tracks]
    return VideoOverlap(video, found, true)


def _measured(track: Track) -> tuple:
    """The fields of a `MaskTrack`."""
    areas = np.array([0 if rle is None else coco_mask.area(rle) for rle in track.segmentations], np.int64)
    return track.category_id, track.segmentations, areas, areas > 0, mean_area(areas.tolist())


def _padded(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures with white on their right, all of one width."""
    width = max(picture.shape[1] for picture in pictures)
    return [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
        for picture in pictures
    ]
