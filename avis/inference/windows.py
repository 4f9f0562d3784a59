"""A video through overlapping windows of frames, each decoded as if it were a whole video.

What a window holds is linked with the tracks so far (`linking.py`). A frame's masks come from the first
window that has the frame. So the result is that of a stream, and memory is that of a window.

Dimensions: T frames of a video, W frames of a window, O of them shared with the window before, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from avis.inference.linking import LinkedTrack, Linker, Linking
from avis.modeling.candidates import Candidates
from avis.modeling.postprocess import select_tracks
from avis.modeling.progress import Progress, listen
from avis.modeling.whole_video import VideoModel, find_candidates
from avis.structures import RLE, Track, VideoPrediction

# What a model's input has of each frame.
_OF_FRAMES = ("image", "audio_examples", "audio_features")


@dataclass(frozen=True)
class Windows:
    """Windows of `size` frames, each of which shares `overlap` frames with the one before.

    The last window of a video ends with it and shares more. A shorter video is one window.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 <= self.overlap < self.size:
            raise ValueError(
                f"windows of {self.size} frames cannot overlap by {self.overlap}: the overlap (OVERLAP) is 0 "
                "or more, and less than the window (WINDOW)"
            )

    @property
    def stride(self) -> int:
        """Frames by which a window is later than the one before."""
        return self.size - self.overlap

    def of(self, length: int) -> Iterator[slice]:
        """The windows of a video of T frames, T at least 1."""
        stop = min(self.size, length)
        yield slice(0, stop)
        while stop < length:
            stop = min(stop + self.stride, length)
            yield slice(stop - self.size, stop)


@dataclass(frozen=True)
class WindowTracks:
    """What a window adds.

    Attributes:
        frames: those that no window before has had.
        masks: of each of the window's tracks, in these frames.
    """

    frames: range
    masks: list[tuple[LinkedTrack, list[RLE | None]]]


class WindowTracker:
    """Decodes windows and links what they hold."""

    def __init__(self, model: VideoModel, linking: Linking) -> None:
        """Begin before the first frame; the model is in evaluation mode."""
        self.model = model
        self.linker = Linker(linking)
        self.num_frames = 0

    def add(self, window: dict, start: int) -> WindowTracks:
        """Decode the next window.

        Args:
            window: its frames and sound as an input of the model.
            start: its first frame.
        """
        found = find_candidates(self.model, window).found_queries()
        known = self.num_frames - start
        self.num_frames = start + len(window["image"])
        tracks = self.linker.link(start, found)
        masks = [(track, entry.segmentations[known:]) for track, entry in zip(tracks, found, strict=True)]
        return WindowTracks(range(start + known, self.num_frames), masks)


class TrackHistory:
    """The masks of all tracks in all frames: it grows with the stream."""

    def __init__(self) -> None:
        """Begin before the first frame."""
        self.num_frames = 0
        self._tracks: dict[int, tuple[LinkedTrack, list[RLE | None]]] = {}

    def add(self, window: WindowTracks) -> None:
        """Keep what a window adds."""
        for track, masks in window.masks:
            _, kept = self._tracks.setdefault(track.id, (track, []))
            kept += [None] * (window.frames.start - len(kept))
            kept += masks
        self.num_frames = window.frames.stop

    def best(self, topk: int, min_score: float) -> list[Track]:
        """The best (track, class) pairs, as of a whole video; see `Candidates.tracks`."""
        if not self._tracks:
            return []
        tracks, masks = zip(*self._tracks.values(), strict=True)
        probabilities = torch.stack([track.probabilities for track in tracks])
        queries = torch.stack([track.query for track in tracks])
        scores, classes, chosen = select_tracks(probabilities, topk)
        quality = torch.tensor([track.quality for track in tracks])[chosen]
        segmentations = [self._whole(masks[index]) for index in chosen.tolist()]
        best = Candidates(probabilities, queries, scores, classes, chosen, quality, segmentations)
        return best.tracks(min_score)

    def _whole(self, masks: list[RLE | None]) -> list[RLE | None]:
        """Masks of a track in all frames, also those after it was found last."""
        return masks + [None] * (self.num_frames - len(masks))


class WindowedModel(nn.Module):
    """Predicts whole videos window by window, as a stream of their frames would be."""

    @configurable
    def __init__(self, model: nn.Module, *, windows: Windows, linking: Linking) -> None:
        """Wrap a model, which is an `AVISMaskFormer` or has what `VideoModel` says."""
        super().__init__()
        self.model = model
        self.windows, self.linking = windows, linking
        self.train(model.training)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Arguments of the class from a config."""
        online = cfg.MODEL.MASK_FORMER.TEST.ONLINE
        return {
            "model": model,
            "windows": Windows(online.WINDOW, online.OVERLAP),
            "linking": Linking(online.QUERY_WEIGHT, online.MIN_SIMILARITY, online.PATIENCE),
        }

    def forward(self, videos: list[dict]) -> list[VideoPrediction]:
        """Predict videos, given as a model takes them in evaluation."""
        return [self._predict(video) for video in videos]

    def _predict(self, video: dict) -> VideoPrediction:
        tracker, history = WindowTracker(self.model, self.linking), TrackHistory()
        windows = list(self.windows.of(len(video["image"])))
        with Progress(f"video {video['video_id']!r}", len(windows)) as progress:
            for number, frames in enumerate(windows):
                # One count for all windows, not one for each.
                with listen(lambda done, _, number=number: progress.reach(number + done)):
                    history.add(tracker.add(select_frames(video, frames), frames.start))
        tracks = history.best(self.model.topk, self.model.min_score)
        return VideoPrediction(video["video_id"], video["height"], video["width"], history.num_frames, tracks)


def through_windows(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model, or where MODEL.MASK_FORMER.TEST.ONLINE.WINDOW is not 0, the model through windows."""
    return WindowedModel(cfg, model) if cfg.MODEL.MASK_FORMER.TEST.ONLINE.WINDOW else model


def select_frames(video: dict, frames: slice) -> dict:
    """Some frames of a model's input."""
    return {key: value[frames] if key in _OF_FRAMES else value for key, value in video.items()}
