"""A video in, its sounding objects out.

    predictor = VideoPredictor.from_checkpoint("model_final.pth")
    prediction = predictor("concert.mp4")

What computes is imported when a predictor is made, because it takes seconds.

Dimensions: T frames, H×W the video's own size, N samples.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avis.inference.video_source import VideoSource, open_video
from avis.structures import Categories, VideoPrediction

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor

    from avis.data.preprocessing import PreparedFrames
    from avis.data.video_frames import VideoFrames
    from avis.inference.linking import Linking
    from avis.inference.online import OnlineTracks


class VideoPredictor:
    """Runs the model of a config, with the weights of MODEL.WEIGHTS, on whole videos.

    Several threads may use one: videos are read and prepared at once, and pass the model one after the other.

    Attributes:
        model: in evaluation mode.
        lock: is held while the model computes.
        hears: whether it needs sound.
        fps: frames per second of the training data, INPUT.FPS.
        score_threshold: of the tracks that are shown.
        categories: of the classes, as the weight file names them; "class 0", "class 1", … where it does not.
    """

    def __init__(self, cfg: "CfgNode") -> None:
        """Build the model and load its weights; a machine without CUDA computes on the CPU.

        Raises:
            FileNotFoundError: there is no such weight file.
            ValueError: MODEL.WEIGHTS is empty, damaged or of another model, or the audio backbone has no
                weights or takes separated sources.
        """
        from detectron2.data import transforms

        from avis.config import hears, use_available_device
        from avis.data.augmentation import build_augmentations
        from avis.inference.windows import through_windows
        from avis.modeling import load_trained_model
        from avis.weights import classes_of

        self.hears = hears(cfg)
        if self.hears:
            _refuse_separated_sources(cfg.INPUT.AUDIO.NUM_SOURCES)
        cfg = cfg.clone()
        cfg.defrost()
        use_available_device(cfg)
        self.lock = threading.Lock()
        self.model = load_trained_model(cfg).eval()
        self._predict_videos = through_windows(cfg, self.model)
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        self.categories = classes_of(self.model) or Categories.numbered(num_classes)
        self.fps = cfg.INPUT.FPS
        self.score_threshold = cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD
        if self.hears:
            self.model.audio_backbone.check_hearing()
        self._image_format = cfg.INPUT.FORMAT
        self._augmentations = transforms.AugmentationList(build_augmentations(cfg, is_train=False))

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        score_threshold: float | None = None,
        opts: Sequence = (),
    ) -> "VideoPredictor":
        """Make one of a checkpoint, which holds the config of its model.

        Args:
            path: as `cfg_of_checkpoint` takes it.
            device: "cpu", "cuda", "cuda:1", …; None: CUDA where there is some.
            score_threshold: tracks that score more are shown; None: as the config says.
            opts: KEY, VALUE, … of any other config keys.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file does not hold its config, or as the class.
            ConfigError: the config or a value does not fit.
        """
        from avis.inference.checkpoint_config import cfg_of_checkpoint

        given = [] if device is None else ["MODEL.DEVICE", device]
        if score_threshold is not None:
            given += ["MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", float(score_threshold)]
        return cls(cfg_of_checkpoint(path, [*given, *opts]))

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
        return self.predict(open_video(path, self.fps if fps is None else fps))

    def stream(
        self,
        frames: Iterable[np.ndarray],
        audio: "np.ndarray | Tensor | Iterable[np.ndarray] | None" = None,
        *,
        sample_rate: int = 16000,
        fps: float | None = None,
        window: int = 6,
        overlap: int = 3,
        linking: "Linking | None" = None,
    ) -> "Iterator[OnlineTracks]":
        """Follow a stream, which may be endless; see `OnlineSession`.

        Args:
            frames: one after the other, RGB uint8 (H, W, 3).
            audio: the whole sound, (N,) or (channels, N), or an iterable with the sound of each frame. Where
                it is missing or ends earlier, there is silence.
            sample_rate: of the sound, in Hz.
            fps: frames per second of the stream; by default INPUT.FPS, those of the training data.
            window: frames that the model sees at once.
            overlap: frames that a window shares with the one before.
            linking: how windows are linked.

        Yields:
            The tracks so far after each frame, and once more at the end of the stream.

        Raises:
            ValueError: as `OnlineSession`.
        """
        from avis.inference.online import OnlineSession, sound_of_frames

        session = OnlineSession(self, window, overlap, fps=fps, sample_rate=sample_rate, linking=linking)
        for frame, waveform in zip(frames, sound_of_frames(audio, session.fps, sample_rate), strict=False):
            yield session.step([frame], waveform)
        yield session.finish()

    def prepare(self, frames: Iterable[np.ndarray]) -> "PreparedFrames":
        """At least one frame, RGB uint8 (H, W, 3) all alike, as the model takes them."""
        from avis.data.preprocessing import prepare_frames

        return prepare_frames(frames, self._augmentations, self._image_format)

    @torch.inference_mode()
    def predict(self, video: VideoSource) -> VideoPrediction:
        """Predict on a video that is already open: the tracks that score higher than SCORE_THRESHOLD."""
        from avis.data.preprocessing import draw_preparation
        from avis.data.video_frames import SpooledFrames

        decoded = iter(video.frames())
        first = next(decoded)
        prepare, image = draw_preparation(first, self._augmentations, self._image_format)
        others = (prepare(frame, index) for index, frame in enumerate(decoded, start=1))
        with SpooledFrames(chain([image], others)) as images:
            return self._predict(video, images, prepare.size)

    def _predict(self, video: VideoSource, images: "VideoFrames", size: tuple[int, int]) -> VideoPrediction:
        """Predict on the frames (3, h, w) of a video of size (H, W)."""
        from avis.data.clip_audio import VideoSound, load_examples

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
        with self.lock:
            return self._predict_videos([inputs])[0].above(self.score_threshold)


def _refuse_separated_sources(num_sources: int) -> None:
    """Refuse a model that hears what no video file has."""
    if num_sources > 1:
        raise ValueError(
            f"the model hears {num_sources} separated sources (INPUT.AUDIO.NUM_SOURCES), and the sound of a "
            "video is one mixture. Make a data set of the video, prepare its sources with "
            "tools/prepare_audio.py, and predict by tools/train_net.py --eval-only"
        )
