"""A video in, its sounding objects out.

Dimensions: T frames, H×W the video's own size.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms

from avis.config import hears, use_available_device
from avis.data.augmentation import build_augmentations
from avis.data.clip_audio import VideoSound, load_examples
from avis.data.preprocessing import PreparedFrames, draw_preparation, prepare_frames
from avis.data.video_frames import SpooledFrames, VideoFrames
from avis.inference.video_source import VideoSource, open_video
from avis.inference.windows import through_windows
from avis.modeling import load_trained_model
from avis.structures import Categories, VideoPrediction
from avis.weights import classes_of


class VideoPredictor:
    """Runs the model of a config, with the weights of MODEL.WEIGHTS, on whole videos.

    cfg = get_avis_cfg("configs/avis_R50.yaml", ["MODEL.WEIGHTS", "model_final.pth"])
    prediction = VideoPredictor(cfg)("concert.mp4")

    Attributes:
        model: in evaluation mode.
        hears: whether it needs sound.
        fps: frames per second of the training data, INPUT.FPS.
        score_threshold: of the tracks that are shown.
        categories: of the classes, as the weight file names them; "class 0", "class 1", … where it does not.
    """

    def __init__(self, cfg: CfgNode):
        """Build the model and load its weights; a machine without CUDA computes on the CPU.

        Raises:
            FileNotFoundError: there is no such weight file.
            ValueError: MODEL.WEIGHTS is empty, damaged or of another model, or the audio backbone has no
                weights or takes separated sources.
        """
        _refuse_separated_sources(cfg)
        cfg = cfg.clone()
        cfg.defrost()
        use_available_device(cfg)
        self.model = load_trained_model(cfg).eval()
        self._predict_videos = through_windows(cfg, self.model)
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        self.categories = classes_of(self.model) or Categories.numbered(num_classes)
        self.fps = cfg.INPUT.FPS
        self.score_threshold = cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD
        self.hears = hears(cfg)
        if self.hears:
            self.model.audio_backbone.check_hearing()
        self._image_format = cfg.INPUT.FORMAT
        self._augmentations = transforms.AugmentationList(build_augmentations(cfg, is_train=False))

    def __call__(self, path: str | Path, fps: float | None = None) -> VideoPrediction:
        """Predict on a video file or a folder of frames (see `open_video`).

        Args:
            path: of the file or folder.
            fps: frames per second; by default INPUT.FPS, those of the training data.

        Returns:
            The tracks that score higher than SCORE_THRESHOLD, with masks at the video's own size.

        Raises:
            MediaError: the video cannot be read; the message names the file.
        """
        return self.predict(open_video(path, fps or self.fps))

    def prepare(self, frames: Iterable[np.ndarray]) -> PreparedFrames:
        """At least one frame, RGB uint8 (H, W, 3) all alike, as the model takes them."""
        return prepare_frames(frames, self._augmentations, self._image_format)

    @torch.inference_mode()
    def predict(self, video: VideoSource) -> VideoPrediction:
        """Predict on a video that is already open: the tracks that score higher than SCORE_THRESHOLD."""
        decoded = iter(video.frames())
        first = next(decoded)
        prepare, image = draw_preparation(first, self._augmentations, self._image_format)
        others = (prepare(frame, index) for index, frame in enumerate(decoded, start=1))
        with SpooledFrames(chain([image], others)) as images:
            return self._predict(video, images, prepare.size)

    def _predict(self, video: VideoSource, images: VideoFrames, size: tuple[int, int]) -> VideoPrediction:
        """Predict on the frames (3, h, w) of a video of size (H, W)."""
        frame_indices = list(range(len(images)))
        height, width = size
        inputs = {
            "image": images,
            "height": height,
            "width": width,
            "length": len(images),
            "video_id": video.name,
            "frame_indices": frame_indices,
        }
        if self.hears:
            sound = VideoSound(
                video.name, len(images), video.audio_file, audio_track=video.audio_track, start=video.start
            )
            inputs["audio_examples"] = load_examples(sound, frame_indices, video.fps)
        return self._predict_videos([inputs])[0].above(self.score_threshold)


def _refuse_separated_sources(cfg: CfgNode) -> None:
    """Refuse a model that hears what no video file has."""
    num_sources = cfg.INPUT.AUDIO.NUM_SOURCES
    if hears(cfg) and num_sources > 1:
        raise ValueError(
            f"the model hears {num_sources} separated sources (INPUT.AUDIO.NUM_SOURCES), and the sound of a "
            "video is one mixture. Make a data set of the video, prepare its sources with "
            "tools/prepare_audio.py, and predict by tools/train_net.py --eval-only"
        )
