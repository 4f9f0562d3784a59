"""Endless streams: frames and sound in, the tracks so far out, while memory stays as it is.

    session = OnlineSession(VideoPredictor(cfg), window=6, overlap=3, fps=5, sample_rate=48000)
    for frames, waveform in webcam:
        tracks = session.step(frames, waveform)

The stream passes in windows (`windows.py`), so the result approximates that of the whole video. It *is* that
where one window holds the whole. Masks come late, because a window must be full, and its last frame heard.

Dimensions: n frames of a step, N samples, H×W the stream's frames.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, repeat
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avis.inference.linking import LinkedTrack, Linking
from avis.inference.sound_stream import SoundStream, as_sound
from avis.inference.windows import TrackHistory, Windows, WindowTracker, WindowTracks
from avis.structures import RLE, VideoPrediction

if TYPE_CHECKING:
    from avis.inference.predictor import VideoPredictor

# Frames and sound that come so far apart are not of the same stream, and would fill the memory.
_MAX_APART_SECONDS = 10.0
# Steps over which the latency is taken.
_STEPS_TIMED = 100


@dataclass(frozen=True)
class OnlineTrack:
    """An object of a stream.

    Attributes:
        id: counts from 1, and never changes.
        score: confidence so far, in [0, 1].
        category_id: the most probable class index so far.
        segmentations: masks in the frames of the step, None where the object is silent or out of view.
        sounding: whether it has a mask in the newest frame that has been decided.
    """

    id: int
    score: float
    category_id: int
    segmentations: list[RLE | None]
    sounding: bool


@dataclass(frozen=True)
class OnlineTracks:
    """What is known after a step.

    Attributes:
        frames: those whose masks are there since this step; often none.
        tracks: the tracks so far that score more than SCORE_THRESHOLD, best first.
    """

    frames: range
    tracks: list[OnlineTrack]


@dataclass(frozen=True)
class Latency:
    """How late masks come, over the last 100 steps that gave any.

    Attributes:
        seconds: the median that such a step took to compute.
        frames: the most frames that had come after a frame by the time that it got its masks.
    """

    seconds: float
    frames: int


class OnlineSession:
    """Follows the sounding objects of one stream."""

    def __init__(
        self,
        predictor: "VideoPredictor",
        window: int = 6,
        overlap: int = 3,
        *,
        fps: float | None = None,
        sample_rate: int = 16000,
        linking: Linking | None = None,
        keep_masks: bool = False,
    ) -> None:
        """Begin before the first frame.

        Args:
            predictor: with the model.
            window: frames that the model sees at once.
            overlap: frames that a window shares with the one before.
            fps: frames per second of the stream; by default INPUT.FPS, those of the training data.
            sample_rate: of its sound, in Hz.
            linking: how windows are linked.
            keep_masks: keep all masks for `prediction`; memory then grows with the stream.

        Raises:
            ValueError: the overlap is not less than the window, or a rate is not positive.
        """
        self.predictor, self.windows = predictor, Windows(window, overlap)
        self.fps = predictor.fps if fps is None else fps
        self._sound = SoundStream(self.fps, sample_rate)
        self._tracker = WindowTracker(predictor.model, linking or Linking())
        self._history = TrackHistory() if keep_masks else None
        self._size: tuple[int, int] | None = None
        self._num_frames, self._next_stop, self._finished = 0, window, False
        # The newest frames, and what of them is heard already; the last frame of `_images` is the newest.
        self._images: list[Tensor] = []
        self._examples: list[Tensor] = []
        self._first = 0
        self._seconds: deque[float] = deque(maxlen=_STEPS_TIMED)
        self._delays: deque[int] = deque(maxlen=_STEPS_TIMED)

    @property
    def latency(self) -> Latency:
        """How late masks come; without any so far, 0 seconds and 0 frames."""
        if not self._seconds:
            return Latency(0.0, 0)
        return Latency(median(self._seconds), max(self._delays))

    @torch.inference_mode()
    def step(self, frames: Sequence[np.ndarray], waveform: np.ndarray | Tensor | None = None) -> OnlineTracks:
        """Take in what has come since the last step.

        Args:
            frames: n frames, RGB uint8 (H, W, 3); none are allowed.
            waveform: the sound of the same time, (N,) or (channels, N) at `sample_rate`; None: silence, as
                long as the frames.

        Returns:
            The tracks so far, with masks of the frames that this step has decided.

        Raises:
            ValueError: the session is finished, a frame or the sound has another shape or type than it had
                before, or frames and sound are more than 10 s apart.
        """
        if self._finished:
            raise ValueError("the session is finished: begin another one for another stream")
        begin = time.perf_counter()
        self._see(frames)
        self._listen(len(frames), waveform)
        return self._decide(begin)

    @torch.inference_mode()
    def finish(self) -> OnlineTracks:
        """Say that the stream has ended: the last frames are decided, and what sound they lack is silence."""
        self._finished = True
        return self._decide(time.perf_counter())

    @torch.inference_mode()
    def prediction(self, name: str = "stream") -> VideoPrediction:
        """All that was found so far, as a predictor says it of a video.

        Raises:
            ValueError: the masks were not kept, or no frame has been decided.
        """
        if self._history is None:
            raise ValueError("the masks are gone: make the session with keep_masks=True to get a prediction")
        if not self._history.num_frames:
            raise ValueError("no frame has been decided yet: step further, or finish the session")
        model, length = self.predictor.model, self._history.num_frames
        tracks = self._history.best(model.topk, model.min_score)
        prediction = VideoPrediction(name, *self._size, length, tracks)
        return prediction.above(self.predictor.score_threshold)

    def _see(self, frames: Sequence[np.ndarray]) -> None:
        """Prepare frames for the model."""
        for index, frame in enumerate(frames, start=self._num_frames):
            _check_frame(frame, index, self._size)
            self._size = self._size or frame.shape[:2]
        if len(frames):
            self._images += self.predictor.prepare(frames).images
        self._num_frames += len(frames)

    def _listen(self, num_frames: int, waveform: np.ndarray | Tensor | None) -> None:
        """Collect the sound that has come with some frames."""
        if not self.predictor.hears:
            return
        if waveform is None:
            self._sound.append_silence(num_frames / self.fps)
        else:
            self._sound.append(waveform)
        apart = self._sound.seconds - self._num_frames / self.fps
        if abs(apart) > _MAX_APART_SECONDS:
            order = "ahead of" if apart > 0 else "behind"
            raise ValueError(
                f"the sound is {abs(apart):.1f} s {order} the {self._num_frames} frames at {self.fps:g} FPS: "
                "give each step the sound of its time, or None for silence, and check fps and sample_rate"
            )

    def _decide(self, begin: float) -> OnlineTracks:
        """Decode the windows that are full; all frames, if the stream has ended."""
        ready, added = self._num_ready(), []
        while ready >= self._next_stop:
            added.append(self._decode(self._next_stop))
            self._next_stop += self.windows.stride
        if self._finished and ready > self._tracker.num_frames:
            added.append(self._decode(ready))
        if added:
            self._seconds.append(time.perf_counter() - begin)
            self._delays.append(self._num_frames - 1 - added[0].frames.start)
        return self._report(added)

    def _num_ready(self) -> int:
        """Frames from the start on that are there with their sound."""
        if not self.predictor.hears:
            return self._num_frames
        self._examples += self._sound.take(self._num_frames, self._finished).unbind()
        return self._first + len(self._examples)

    def _decode(self, stop: int) -> WindowTracks:
        """Decode the window that ends before frame `stop`, and forget what no later window needs."""
        start = max(stop - self.windows.size, 0)
        frames = slice(start - self._first, stop - self._first)
        height, width = self._size
        window = {"image": self._images[frames], "height": height, "width": width, "video_id": "stream"}
        if self.predictor.hears:
            window["audio_examples"] = torch.stack(self._examples[frames])
        with self.predictor.lock:
            added = self._tracker.add(window, start)
        if self._history is not None:
            self._history.add(added)
        # The last window of the stream may begin right after this one does.
        del self._images[: frames.start], self._examples[: frames.start]
        self._first = start
        return added

    def _report(self, added: list[WindowTracks]) -> OnlineTracks:
        """The tracks so far, with the masks that some windows have added."""
        decided = self._tracker.num_frames
        frames = range(added[0].frames.start if added else decided, decided)
        masks: dict[int, list[RLE | None]] = {}
        tracks = {track.id: track for track in self._tracker.linker.tracks}
        for window in added:
            for track, new in window.masks:
                tracks[track.id] = track
                in_step = masks.setdefault(track.id, [None] * len(frames))
                in_step[window.frames.start - frames.start : window.frames.stop - frames.start] = new
        shown = [track for track in tracks.values() if track.score > self.predictor.score_threshold]
        shown.sort(key=lambda track: track.score, reverse=True)
        silent = [None] * len(frames)
        return OnlineTracks(
            frames, [_describe(track, masks.get(track.id, silent), decided) for track in shown]
        )


def sound_of_frames(
    audio: np.ndarray | Tensor | Iterable[np.ndarray] | None, fps: float, sample_rate: int
) -> Iterator[np.ndarray | Tensor | None]:
    """The sound of each frame of a stream, as `step` takes it; None without end where there is no more.

    Args:
        audio: all of it, (N,) or (channels, N), or an iterable of that of each frame, or None.
        fps: frames per second.
        sample_rate: in Hz.
    """
    if not isinstance(audio, np.ndarray | Tensor):
        return chain(audio or (), repeat(None))
    return _cut(as_sound(audio), sample_rate / fps)


def _cut(waveform: np.ndarray, samples: float) -> Iterator[np.ndarray | None]:
    """Pieces of a sound, so many samples each on average; the last one is filled up with silence."""
    for index in count():
        start, stop = round(index * samples), round((index + 1) * samples)
        piece = waveform[..., start:stop]
        missing = stop - start - piece.shape[-1]
        if missing == stop - start:
            break
        yield np.concatenate([piece, np.zeros((*piece.shape[:-1], missing), piece.dtype)], axis=-1)
    yield from repeat(None)


def _describe(track: LinkedTrack, segmentations: list[RLE | None], decided: int) -> OnlineTrack:
    sounding = track.stop == decided and track.masks[-1] is not None
    return OnlineTrack(track.id, track.score, track.category_id, segmentations, sounding)


def _check_frame(frame: np.ndarray, index: int, size: tuple[int, int] | None) -> None:
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"frame {index} is a {type(frame).__name__}; frames are RGB uint8 (H, W, 3) arrays")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame {index} is {frame.dtype} {frame.shape}; frames are RGB uint8 (H, W, 3)")
    if size not in (None, frame.shape[:2]):
        raise ValueError(f"frame {index} is {frame.shape[:2]}, those before are {size}")
